//! Preparing, finishing and unmaking, against a real PostgreSQL.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lockstep_common::config::Prepare;
use lockstep_common::definition::{
    Check, ColumnDefinition, Definition, ForeignKey, Identity, Index, IndexColumn, IndexKind,
    OtherObject, Referential,
};
use lockstep_common::load::Handoff;
use lockstep_common::{
    Column, Disposition, Failure, LogicalType, Shutdown, TableName, TableVersion,
};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use super::super::checkpoint::{self, Fence};
use super::super::connect::Login;
use super::finish::{Finish, Report, finish, set_sequences};
use super::plan::{Fate, Planned, Server, plan};
use super::prepare::{Prepared, prepare};
use super::unmake::unmake;
use super::{Design, LoadTable, cluster, contested};

const PIPELINE: &str = "shop";
const FENCE: Fence<'static> = Fence { pipeline: PIPELINE, epoch: 1 };

/// A database of its own.
struct Bed {
    name: String,
    client: Client,
    config: lockstep_common::config::Apply,
}

async fn open(database: &str, user: &str) -> Client {
    let port = cluster::shared().port;
    let config = format!("host=127.0.0.1 port={port} user={user} dbname={database}");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

impl Bed {
    async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("define{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let admin = open("postgres", "postgres").await;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let mut client = open(&name, "postgres").await;
        checkpoint::create_schema(&mut client).await.expect("the schema");
        // As apply writes.
        let sql = "SET session_replication_role = replica; \
                   INSERT INTO lockstep.checkpoint (pipeline, epoch) VALUES ('shop', 1)";
        client.batch_execute(sql).await.expect("a checkpoint");
        let file = format!(
            "[pipeline]\nname = \"shop\"\n[log]\nkind = \"embedded\"\npath = \"log\"\n\
             [apply.main]\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{name}\"\n\
             user = \"postgres\"\nspool = \"spool\"\nschemas = {{ dbo = \"public\" }}\n",
            cluster::shared().port
        );
        let mut config = lockstep_common::config::parse(&file, "test", []).expect("a configuration");
        let config = config.apply.remove("main").expect("an apply");
        Bed { name, client, config }
    }

    fn design(&self, mode: Prepare) -> Design {
        Design { prepare: mode, ..Design::new(&self.config) }
    }

    async fn prepare(&mut self, mode: Prepare, tables: &[LoadTable]) -> Result<Prepared, Failure> {
        let design = self.design(mode);
        prepare(&mut self.client, PIPELINE, &design, tables, FENCE).await
    }

    /// Prepares and halts; gives the message.
    async fn refused(&mut self, mode: Prepare, tables: &[LoadTable]) -> String {
        let failure = self.prepare(mode, tables).await.expect_err("it is refused");
        assert_eq!((failure.code, failure.disposition), ("apply.prepare", Disposition::Halt));
        failure.message
    }

    fn work(&self, load: u128, tables: &[LoadTable]) -> Finish {
        Finish {
            pipeline: PIPELINE.to_owned(),
            load: Uuid::from_u128(load),
            design: self.design(Prepare::Create),
            tables: tables.to_vec(),
        }
    }

    fn login(&self) -> Login {
        Login::new(&self.config, PIPELINE).expect("a login")
    }

    async fn finish(&self, load: u128, tables: &[LoadTable]) -> Report {
        finish(&self.login(), &self.work(load, tables), &Shutdown::new()).await.expect("finished")
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    async fn query(&self, sql: &str) -> Vec<String> {
        let messages = self.client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let text = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|i| row.get(i).unwrap_or("NULL"));
                Some(values.collect::<Vec<_>>().join("|"))
            }
            _ => None,
        };
        messages.iter().filter_map(text).collect()
    }

    /// Waits until a query gives these rows.
    async fn shows(&self, sql: &str, rows: &[&str]) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let found = self.query(sql).await;
            if found == rows {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{sql}: {found:?}, not {rows:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn indexes(&self) -> Vec<String> {
        self.query("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1").await
    }

    async fn constraints(&self) -> Vec<String> {
        self.query(
            "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) \
             FROM pg_constraint WHERE contype IN ('c', 'f', 'u') AND connamespace = 'public'::regnamespace \
             ORDER BY 1",
        )
        .await
    }
}

fn column(name: &str, source_type: &str, ty: LogicalType) -> Column {
    Column {
        name: name.into(),
        ty,
        source_type: source_type.into(),
        nullable: false,
        collation: None,
        identity: false,
        computed: false,
    }
}

fn int(name: &str) -> Column {
    column(name, "int", LogicalType::Int { bytes: 4 })
}

fn nullable(column: Column) -> Column {
    Column { nullable: true, ..column }
}

fn text(name: &str, max: u32) -> Column {
    let ty = LogicalType::String { max: Some(max), fixed: false };
    let collation = Some("SQL_Latin1_General_CP1_CI_AS".to_owned());
    Column { collation, ..nullable(column(name, &format!("nvarchar({max})"), ty)) }
}

fn table(name: &str, columns: Vec<Column>, change: impl FnOnce(&mut Definition)) -> LoadTable {
    let name = TableName { schema: "dbo".into(), table: name.into() };
    let version = TableVersion {
        dialect: "sqlserver".into(),
        object_id: 1,
        name: name.clone(),
        columns,
        key: vec![0],
    };
    let id = version.id();
    let mut definition = Definition {
        table: id,
        name,
        columns: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        others: Vec::new(),
    };
    definition.indexes.push(Index {
        kind: IndexKind::Primary,
        ..index("PK", true, &[&version.columns[0].name])
    });
    change(&mut definition);
    LoadTable {
        id,
        version: Arc::new(version),
        definition: Some(Arc::new(definition)),
        handoff: Handoff::Bracketed,
    }
}

fn index(name: &str, unique: bool, columns: &[&str]) -> Index {
    Index {
        name: name.into(),
        kind: IndexKind::Plain,
        unique,
        columns: columns
            .iter()
            .map(|column| IndexColumn { column: (*column).into(), descending: false })
            .collect(),
        included: Vec::new(),
        filter: None,
        disabled: false,
    }
}

fn foreign_key(name: &str, column: &str, to: &str, referenced: &str) -> ForeignKey {
    ForeignKey {
        name: name.into(),
        columns: vec![column.into()],
        referenced: TableName { schema: "dbo".into(), table: to.into() },
        referenced_columns: vec![referenced.into()],
        on_delete: Referential::NoAction,
        on_update: Referential::NoAction,
        disabled: false,
        unchecked: false,
    }
}

fn check(name: &str, condition: &str) -> Check {
    Check { name: name.into(), condition: condition.into(), disabled: false, unchecked: false }
}

fn default(column: &str, text: &str) -> ColumnDefinition {
    ColumnDefinition {
        column: column.into(),
        default: Some(text.into()),
        ..ColumnDefinition::default()
    }
}

fn identity(column: &str, seed: i64, increment: i64) -> ColumnDefinition {
    ColumnDefinition {
        column: column.into(),
        identity: Some(Identity { seed, increment }),
        ..ColumnDefinition::default()
    }
}

/// Orders and customers that point to each other, and customers that point to customers.
fn shop() -> Vec<LoadTable> {
    let customers = table(
        "customers",
        vec![int("id"), text("name", 40), nullable(int("parent")), nullable(int("last_order"))],
        |d| {
            d.columns = vec![identity("id", 1, 1), default("name", "(N'new')")];
            d.indexes.push(Index {
                kind: IndexKind::Constraint,
                ..index("UQ_name", true, &["name"])
            });
            d.foreign_keys = vec![
                foreign_key("FK_parent", "parent", "customers", "id"),
                foreign_key("FK_last", "last_order", "orders", "id"),
            ];
        },
    );
    let total = LogicalType::Decimal { precision: 10, scale: 2 };
    let orders = table(
        "orders",
        vec![
            int("id"),
            int("customer"),
            column("total", "decimal(10,2)", total.clone()),
            nullable(column("open", "bit", LogicalType::Bool)),
            Column { computed: true, ..nullable(column("twice", "decimal(12,2)", LogicalType::Decimal { precision: 12, scale: 2 })) },
            Column { computed: true, ..nullable(text("odd", 40)) },
        ],
        |d| {
            d.columns = vec![
                identity("id", -1, -1),
                default("total", "((0))"),
                default("open", "(suser_sname())"),
                ColumnDefinition {
                    column: "twice".into(),
                    computed: Some("([total]*(2))".into()),
                    ..ColumnDefinition::default()
                },
                ColumnDefinition {
                    column: "odd".into(),
                    computed: Some("(upper([dbo].[f]([id])))".into()),
                    ..ColumnDefinition::default()
                },
            ];
            let mut by_customer = index("IX_customer", false, &["customer", "total"]);
            by_customer.columns[1].descending = true;
            by_customer.included = vec!["open".into()];
            let mut open = index("IX_customer_open", false, &["customer"]);
            open.filter = Some("([open]=(1))".into());
            let odd = index("IX_odd", false, &["odd"]);
            let disabled = Index { disabled: true, ..index("IX_off", false, &["total"]) };
            d.indexes.extend([by_customer, open, odd, disabled]);
            d.checks = vec![
                check("CK_total", "([total]>=(0))"),
                check("CK_name", "([odd]<>'')"),
                Check { unchecked: true, ..check("CK_old", "([total]<(1000))") },
                Check { disabled: true, ..check("CK_off", "([total]>(5))") },
            ];
            d.foreign_keys = vec![
                ForeignKey {
                    on_delete: Referential::Cascade,
                    ..foreign_key("FK_customer", "customer", "customers", "id")
                },
                foreign_key("FK_elsewhere", "customer", "elsewhere", "id"),
            ];
            d.others = vec![OtherObject { kind: "SQL_TRIGGER".into(), name: "tr".into() }];
        },
    );
    vec![customers, orders]
}

const ROWS: &str = "INSERT INTO customers (id, name, parent, last_order) VALUES \
    (1, 'a', NULL, -7), (2, 'b', 1, NULL), (9, NULL, 9, NULL); \
    INSERT INTO orders (id, customer, total, open) VALUES (-7, 1, 1.50, true), (-9, 2, 2, false);";

#[tokio::test]
async fn everything_of_the_source_is_made_or_said() {
    let mut bed = Bed::new().await;
    let tables = shop();
    let prepared = bed.prepare(Prepare::Create, &tables).await.unwrap();
    let relation = &prepared.relations[0];
    assert!(relation.columns[1].as_ref().is_some_and(|c| c.contested), "{relation:?}");
    assert!(prepared.relations[1].columns[4].is_none(), "a computed column is not written");
    bed.run(ROWS).await;
    let report = bed.finish(1, &tables).await;
    assert_eq!(
        bed.indexes().await,
        [
            "CREATE INDEX \"IX_customer\" ON public.orders USING btree (customer, total DESC) INCLUDE (open)",
            "CREATE INDEX \"IX_customer_open\" ON public.orders USING btree (customer) WHERE (open = true)",
            "CREATE UNIQUE INDEX \"UQ_name\" ON public.customers USING btree (name) NULLS NOT DISTINCT",
            "CREATE UNIQUE INDEX customers_pkey ON public.customers USING btree (id)",
            "CREATE UNIQUE INDEX orders_pkey ON public.orders USING btree (id)",
        ]
    );
    assert_eq!(
        bed.constraints().await,
        [
            "customers FK_last FOREIGN KEY (last_order) REFERENCES orders(id)",
            "customers FK_parent FOREIGN KEY (parent) REFERENCES customers(id)",
            "customers UQ_name UNIQUE NULLS NOT DISTINCT (name)",
            "orders CK_old CHECK ((total < (1000)::numeric)) NOT VALID",
            "orders CK_total CHECK ((total >= (0)::numeric))",
            "orders FK_customer FOREIGN KEY (customer) REFERENCES customers(id) ON DELETE CASCADE",
        ]
    );
    assert_eq!(report.failed, Vec::<String>::new());
    let left_out: Vec<&str> =
        report.left_out.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        left_out,
        [
            "computed column odd of dbo.orders",
            "index IX_odd of dbo.orders",
            "index IX_off of dbo.orders",
            "default of column open of dbo.orders",
            "check CK_name of dbo.orders",
            "check CK_off of dbo.orders",
            "foreign key FK_elsewhere of dbo.orders",
            "object tr of dbo.orders",
        ]
    );
    assert!(report.left_out[0].contains("dbo.f"), "{:?}", report.left_out);
    let differing = report.differing.join("\n");
    assert!(differing.contains("CK_old") && differing.contains("UQ_name"), "{differing}");
    // Defaults, the generated column, and identities that count on in their direction.
    bed.run("INSERT INTO customers DEFAULT VALUES; INSERT INTO orders (customer) VALUES (10)").await;
    assert_eq!(bed.query("SELECT id, name FROM customers WHERE id > 9").await, ["10|new"]);
    assert_eq!(bed.query("SELECT id, total FROM orders WHERE id < -9").await, ["-10|0.00"]);
    assert_eq!(bed.query("SELECT twice FROM orders WHERE id = -7").await, ["3.00"]);
    // Once more: nothing is left to do, and the report is the same.
    assert_eq!(bed.finish(1, &tables).await, report);
}

#[tokio::test]
async fn sequences_never_go_back() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.finish(1, &tables).await;
    let next = "SELECT nextval(pg_get_serial_sequence('customers', 'id'))";
    assert_eq!(bed.query(next).await, ["1"]);
    bed.run("INSERT INTO customers (id) VALUES (50)").await;
    set_sequences(&bed.client, PIPELINE).await.unwrap();
    assert_eq!(bed.query(next).await, ["51"]);
    bed.run("DELETE FROM customers; INSERT INTO orders (id, customer) VALUES (-5, 1), (7, 1)").await;
    set_sequences(&bed.client, PIPELINE).await.unwrap();
    assert_eq!(bed.query(next).await, ["52"]);
    let next = "SELECT nextval(pg_get_serial_sequence('orders', 'id'))";
    assert_eq!(bed.query(next).await, ["-6"]);
}

#[tokio::test]
async fn each_mode_treats_a_table_that_is_there_as_it_says() {
    let mut bed = Bed::new().await;
    let tables = vec![table("plain", vec![int("id"), nullable(int("n"))], |_| {})];
    // Absent, then there and empty: a crash before the load's commit.
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("INSERT INTO plain VALUES (1, 1)").await;
    let message = bed.refused(Prepare::Create, &tables).await;
    assert!(message.contains("\"public\".\"plain\" is not empty"), "{message}");
    bed.prepare(Prepare::Keep, &tables).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM plain").await, ["1"]);
    let message = bed.refused(Prepare::DropAndCreate, &tables).await;
    assert!(message.contains("drop_tables = true"), "{message}");
    bed.run("ALTER TABLE plain ADD mine int").await;
    bed.prepare(Prepare::Truncate, &tables).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM plain").await, ["0"]);
    bed.run("INSERT INTO plain VALUES (1, 1)").await;
    bed.config.drop_tables = true;
    bed.prepare(Prepare::DropAndCreate, &tables).await.unwrap();
    let columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'plain'::regclass AND attnum > 0 ORDER BY attnum";
    assert_eq!(bed.query(columns).await, ["id", "n"]);
    bed.config.create_tables = false;
    bed.run("DROP TABLE plain").await;
    let message = bed.refused(Prepare::Create, &tables).await;
    assert!(message.contains("does not exist (`create_tables`)"), "{message}");
}

#[tokio::test]
async fn everything_wrong_with_every_table_is_said_at_once_and_nothing_is_changed() {
    let mut bed = Bed::new().await;
    bed.run(
        "CREATE TABLE full_one (id int PRIMARY KEY); INSERT INTO full_one VALUES (1); \
         CREATE TABLE narrow (id smallint PRIMARY KEY); \
         CREATE TABLE strict (id int PRIMARY KEY, n int UNIQUE); \
         INSERT INTO lockstep.tables VALUES ('public', 'taken', 'other', 'dbo.taken', 'x'), \
         ('public', 'moved', 'shop', 'dbo.before', 'x')",
    )
    .await;
    let reserved = vec![int("id"), nullable(int("xmin"))];
    let place = column("place", "geography", LogicalType::Geometry);
    let mut tables = vec![
        table("fine", vec![int("id")], |_| {}),
        table("full_one", vec![int("id")], |_| {}),
        table("narrow", vec![int("id")], |_| {}),
        table("strict", vec![int("id"), nullable(int("n"))], |_| {}),
        table("taken", vec![int("id")], |_| {}),
        table("moved", vec![int("id")], |_| {}),
        table("reserved", reserved, |_| {}),
        table("places", vec![int("id"), place], |_| {}),
        table("twice", vec![int("id")], |_| {}),
        table("Twice", vec![int("id"), int("a"), int("A")], |_| {}),
    ];
    bed.config.names = lockstep_common::config::NameRule::Lower;
    let message = bed.refused(Prepare::Create, &tables).await;
    for part in [
        "[dbo.full_one] target table \"public\".\"full_one\" is not empty",
        "[dbo.narrow] target table \"public\".\"narrow\": column \"id\" has type smallint",
        "\"strict_n_key\"",
        "belongs to pipeline other",
        "belongs to source table dbo.before",
        "column \"xmin\" has a name that PostgreSQL keeps",
        "column \"place\" has source type geography",
        "columns a and A are both \"a\"",
        "go",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(message.contains("goes to target table \"public\".\"twice\" too"), "{message}");
    assert!(!message.contains("fine"), "{message}");
    assert_eq!(bed.query("SELECT to_regclass('fine')").await, ["NULL"]);
    // The exact handoff never shows such states to a unique index.
    tables.truncate(4);
    tables.drain(..3);
    tables[0].handoff = Handoff::Exact;
    bed.prepare(Prepare::Create, &tables).await.unwrap();
}

#[tokio::test]
async fn missing_rights_are_said_before_anything_is_changed() {
    let mut bed = Bed::new().await;
    let user = format!("poor_{}", bed.name);
    bed.run(&format!(
        "CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA lockstep TO {user}; \
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA lockstep TO {user}; \
         CREATE TABLE given (id int PRIMARY KEY); GRANT SELECT, INSERT ON given TO {user}"
    ))
    .await;
    bed.client = open(&bed.name, &user).await;
    bed.config.schemas.insert("new".into(), "fresh".into());
    let mut fresh = table("t", vec![int("id")], |_| {});
    Arc::make_mut(&mut fresh.version).name.schema = "new".into();
    let tables = vec![
        table("given", vec![int("id")], |_| {}),
        table("absent", vec![int("id")], |_| {}),
        fresh,
    ];
    let message = bed.refused(Prepare::Truncate, &tables).await;
    for part in [
        "the role lacks UPDATE, DELETE on it",
        "does not own target table \"public\".\"given\"",
        "lacks TRUNCATE",
        "lacks USAGE and CREATE on schema \"public\"",
        "schema \"fresh\" does not exist, and the role lacks CREATE on the database",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // Where foreign keys fire, those that would act upon the stream's changes are left out.
    let objects = plan(
        &bed.design(Prepare::Create).naming,
        Server { version: 14, replica: false },
        &shop().iter().map(|t| Planned { version: &t.version, definition: t.definition.as_deref() }).collect::<Vec<_>>(),
        &BTreeSet::new(),
    );
    let made: Vec<&str> = objects
        .iter()
        .filter(|o| o.kind.as_str() == "foreign_key" && matches!(o.fate, Fate::Make { .. }))
        .map(|o| o.object.as_str())
        .collect();
    assert_eq!(made, ["FK_last"]);
    let unique = objects.iter().find(|o| o.object == "UQ_name").unwrap();
    let Fate::Make { note: Some(note), .. } = &unique.fate else { panic!("{unique:?}") };
    assert!(note.contains("older than 15"), "{note}");
}

#[tokio::test]
async fn what_hangs_on_a_table_keeps_it_from_being_emptied_or_dropped() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.finish(1, &tables).await;
    bed.run(
        "CREATE TABLE mine (c int CONSTRAINT mine_fk REFERENCES customers (id)); \
         CREATE VIEW seen AS SELECT * FROM orders",
    )
    .await;
    // Unique indexes that we made stand in the way of a bracketed load as any others do.
    let message = bed.refused(Prepare::Truncate, &tables).await;
    assert!(message.contains("mine.mine_fk") && message.contains("\"UQ_name\""), "{message}");
    bed.config.drop_tables = true;
    let message = bed.refused(Prepare::DropAndCreate, &tables).await;
    assert!(message.contains("drop seen") && message.contains("mine.mine_fk"), "{message}");
    bed.run("DROP TABLE mine; DROP VIEW seen").await;
    bed.prepare(Prepare::DropAndCreate, &tables).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM lockstep.load_object").await, ["0"]);
    let exact: Vec<LoadTable> =
        tables.iter().map(|t| LoadTable { handoff: Handoff::Exact, ..t.clone() }).collect();
    // Tables that point to each other are emptied together.
    bed.finish(2, &tables).await;
    bed.run(ROWS).await;
    bed.prepare(Prepare::Truncate, &exact).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM customers").await, ["0"]);
}

#[tokio::test]
async fn an_apply_that_was_replaced_prepares_nothing() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("INSERT INTO orders (id, customer, total) VALUES (1, 1, 1); UPDATE lockstep.checkpoint SET epoch = 2").await;
    let failure = bed.prepare(Prepare::Truncate, &tables).await.unwrap_err();
    assert_eq!(failure.disposition, Disposition::Fenced);
    assert_eq!(bed.query("SELECT count(*) FROM orders").await, ["1"]);
    let failure = unmake(&mut bed.client, PIPELINE, &tables, FENCE).await.unwrap_err();
    assert_eq!(failure.disposition, Disposition::Fenced);
}

#[tokio::test]
async fn what_the_target_refuses_is_taken_back_and_everything_else_goes_on() {
    let mut bed = Bed::new().await;
    let mut tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    // Nothing of this can come from a source that enforces what it has.
    bed.run(
        "INSERT INTO customers (id, name, parent) VALUES (20, 'a', 404); \
         INSERT INTO orders (id, customer, total) VALUES (-20, 1, -1), (-21, 1, 5000)",
    )
    .await;
    let report = bed.finish(1, &tables).await;
    let failed: Vec<&str> = report.failed.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        failed,
        [
            "unique constraint UQ_name of dbo.customers",
            "check CK_old of dbo.orders",
            "check CK_total of dbo.orders",
            "foreign key FK_parent of dbo.customers",
        ]
    );
    assert!(report.failed[0].contains("23505"), "{:?}", report.failed);
    assert!(!report.failed.join(" ").contains("404"), "no values of rows: {:?}", report.failed);
    assert!(bed.indexes().await.iter().all(|index| !index.contains("UQ_name")));
    assert_eq!(bed.constraints().await.len(), 2);
    // Nothing half made refuses the stream's rows.
    bed.run("INSERT INTO customers (id, name, parent) VALUES (21, 'a', 405); UPDATE orders SET total = -2 WHERE id = -20").await;
    let notices = report.notices().join(" ");
    assert!(notices.contains("4 object(s)"), "{notices}");
    // Another load tries again.
    bed.run("DELETE FROM customers WHERE id > 19; DELETE FROM orders WHERE id < -19").await;
    tables.rotate_left(1);
    let report = bed.finish(2, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 6);
}

#[tokio::test]
async fn a_half_built_index_is_dropped_and_built_again() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    // As a crash in the middle of the build leaves it.
    bed.run("INSERT INTO customers (id, name) VALUES (30, 'a')").await;
    let build = "CREATE UNIQUE INDEX CONCURRENTLY \"UQ_name\" ON customers (name)";
    bed.client.batch_execute(build).await.expect_err("it is not unique");
    bed.run("DELETE FROM customers WHERE id = 30").await;
    // And the first half of a constraint; and an index that only lacks its constraint's name.
    bed.run("ALTER TABLE orders ADD CONSTRAINT \"CK_total\" CHECK (total >= 0) NOT VALID").await;
    let report = bed.finish(1, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(bed.query(invalid).await, ["0"]);
    assert_eq!(bed.constraints().await.len(), 6);
    let validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'CK_total'";
    assert_eq!(bed.query(validated).await, ["t"]);
}

#[tokio::test]
async fn a_name_that_something_else_has_becomes_another() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("CREATE TABLE \"IX_customer\" (n int); CREATE SEQUENCE \"UQ_name\"").await;
    let report = bed.finish(1, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    let names = bed.query("SELECT name FROM lockstep.load_object WHERE object IN ('IX_customer', 'UQ_name') ORDER BY 1").await;
    assert!(names[0].starts_with("IX_customer_") && names[1].starts_with("UQ_name_"), "{names:?}");
    assert_eq!(bed.constraints().await.len(), 6);
    // Another load finds it under that name.
    let count = bed.indexes().await.len();
    let report = bed.finish(2, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.indexes().await.len(), count);
}

#[tokio::test]
async fn a_default_of_the_users_stays() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("ALTER TABLE orders ALTER total SET DEFAULT 42").await;
    let report = bed.finish(1, &tables).await;
    assert!(report.left_out.iter().any(|l| l.contains("has a default already")), "{report:?}");
    let default = "SELECT column_default FROM information_schema.columns WHERE table_name = 'orders' AND column_name = 'total'";
    assert_eq!(bed.query(default).await, ["42"]);
    // One that we made is made again without a word.
    let report = bed.finish(2, &tables).await;
    assert_eq!(report.left_out.iter().filter(|l| l.contains("already")).count(), 1);
}

#[tokio::test]
async fn without_constraints_nothing_is_made() {
    let mut bed = Bed::new().await;
    bed.config.constraints = false;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    assert_eq!(bed.finish(1, &tables).await, Report::default());
    assert_eq!(bed.indexes().await.len(), 2);
}

/// Writers never fail and never stop while everything is made beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_go_on_while_everything_is_made() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    bed.run("INSERT INTO orders (id, customer, total, open) SELECT -100 - n, 1, n % 900, n % 2 = 0 FROM generate_series(1, 30000) n").await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (name, stop) = (bed.name.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let client = open(&name, "postgres").await;
                client.batch_execute("SET session_replication_role = replica").await.unwrap();
                let mut written = 0;
                while !stop.load(Ordering::Relaxed) {
                    let n = 1000 + 2 * written + writer;
                    let sql = format!(
                        "BEGIN; INSERT INTO customers (id, name) VALUES ({n}, 'w{n}'); \
                         INSERT INTO orders (id, customer, total) VALUES (-{n}0000, {n}, 1); \
                         UPDATE customers SET last_order = -{n}0000 WHERE id = {n}; COMMIT"
                    );
                    client.batch_execute(&sql).await.expect("a writer is never refused");
                    written += 1;
                }
                written
            })
        })
        .collect();
    let report = bed.finish(1, &tables).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 6);
    let dangling = "SELECT count(*) FROM orders o LEFT JOIN customers c ON c.id = o.customer WHERE c.id IS NULL";
    assert_eq!(bed.query(dangling).await, ["0"]);
}

/// Somebody looks at a table in a long transaction: what needs its lock waits and lets others by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_lock_delays_one_object_and_stops_nobody() {
    let mut bed = Bed::new().await;
    let mut tables = shop();
    // Building an index concurrently would wait for the transaction as well.
    for table in &mut tables {
        let definition = Arc::make_mut(table.definition.as_mut().unwrap());
        definition.indexes.clear();
    }
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    let reader = open(&bed.name, "postgres").await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM orders").await.unwrap();
    let (login, work) = (bed.login(), bed.work(1, &tables));
    let finishing = tokio::spawn(async move { finish(&login, &work, &Shutdown::new()).await });
    // What does not need the lock is made, and writers pass.
    bed.shows(
        "SELECT object FROM lockstep.load_object WHERE state = 'made' AND source = 'dbo.customers' ORDER BY 1",
        &["FK_last", "FK_parent", "id", "name"],
    )
    .await;
    bed.run("INSERT INTO orders (id, customer, total) VALUES (-50, 1, 1)").await;
    assert!(!finishing.is_finished());
    reader.batch_execute("COMMIT").await.unwrap();
    let report = finishing.await.unwrap().unwrap();
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 5);
}

/// Stopped in the middle of a build that cannot go on, then started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_gives_a_long_statement_up_and_a_restart_goes_on() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    let writer = open(&bed.name, "postgres").await;
    writer.batch_execute("BEGIN; INSERT INTO customers (id, name) VALUES (60, 'x')").await.unwrap();
    let stop = Shutdown::new();
    let (login, work, stopping) = (bed.login(), bed.work(1, &tables), stop.clone());
    let finishing = tokio::spawn(async move { finish(&login, &work, &stopping).await });
    bed.shows(
        "SELECT wait_event_type FROM pg_stat_activity WHERE datname = current_database() \
         AND query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'",
        &["Lock"],
    )
    .await;
    stop.cancel();
    finishing.await.unwrap().unwrap();
    writer.batch_execute("COMMIT").await.unwrap();
    let making = "SELECT object FROM lockstep.load_object WHERE state = 'making'";
    assert_eq!(bed.query(making).await, ["UQ_name"]);
    let report = bed.finish(1, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 6);
    assert_eq!(bed.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, ["0"]);
}

#[tokio::test]
async fn a_reload_unmakes_what_would_refuse_it_and_makes_it_again() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    bed.finish(1, &tables).await;
    let (indexes, constraints) = (bed.indexes().await, bed.constraints().await);
    bed.run("CREATE UNIQUE INDEX mine ON customers (id, name)").await;
    let customers = &tables[..1];
    unmake(&mut bed.client, PIPELINE, customers, FENCE).await.unwrap();
    unmake(&mut bed.client, PIPELINE, customers, FENCE).await.unwrap();
    let left = bed.constraints().await;
    assert!(left.iter().all(|c| !c.contains("FOREIGN KEY") && !c.contains("UNIQUE")), "{left:?}");
    let unmade = "SELECT object FROM lockstep.load_object WHERE state = 'unmade' ORDER BY 1";
    assert_eq!(bed.query(unmade).await, ["FK_customer", "FK_last", "FK_parent", "UQ_name"]);
    assert!(bed.indexes().await.iter().any(|index| index.contains("mine")));
    // Two rows with one name, for a moment.
    bed.run("INSERT INTO customers (id, name) VALUES (70, 'a'); DELETE FROM customers WHERE id = 70").await;
    let report = bed.finish(2, customers).await;
    assert_eq!(report.failed, Vec::<String>::new());
    bed.run("DROP INDEX mine").await;
    assert_eq!(bed.indexes().await, indexes);
    assert_eq!(bed.constraints().await, constraints);
}

#[test]
fn unique_indexes_to_come_contest_their_columns() {
    let tables = shop();
    let customers = tables[0].definition.as_deref().unwrap();
    assert_eq!(contested(&tables[0].version, customers), [false, true, false, false]);
    let orders = tables[1].definition.as_deref().unwrap();
    assert!(contested(&tables[1].version, orders).iter().all(|contested| !contested));
    let mut filtered = customers.clone();
    filtered.indexes[1].filter = Some("([id]>(1))".into());
    assert!(contested(&tables[0].version, &filtered).iter().all(|contested| *contested));
}

#[test]
fn indexes_that_postgresql_has_no_room_for_are_not_made_whole() {
    let time = column("at", "datetime2(7)", LogicalType::Timestamp { digits: 7 });
    let long = nullable(column("body", "nvarchar(max)", LogicalType::String { max: None, fixed: false }));
    let wide = table("wide", vec![int("id"), text("note", 500), long, time], |d| {
        let mut carrying = index("IX_carrying", false, &["id", "at"]);
        carrying.included = vec!["note".into(), "body".into()];
        d.indexes.extend([carrying, index("IX_body", false, &["body"]), index("UX_at", true, &["at"])]);
    });
    let planned = Planned { version: &wide.version, definition: wide.definition.as_deref() };
    let naming = super::Naming { schemas: [].into(), rule: lockstep_common::config::NameRule::Keep };
    let server = Server { version: 15, replica: true };
    let objects = plan(&naming, server, &[planned], &BTreeSet::new());
    let of = |name: &str| &objects.iter().find(|object| object.object == name).unwrap().fate;
    let Fate::Make { action, note: Some(note) } = of("IX_carrying") else { panic!() };
    let statements = action.statements(&objects[0].table, "IX_carrying");
    assert!(statements[0].ends_with("(\"id\", \"at\") INCLUDE (\"note\")"), "{statements:?}");
    assert!(note.contains("body"), "{note}");
    assert!(matches!(of("IX_body"), Fate::LeaveOut(reason) if reason.contains("index entry")));
    let Fate::Make { action, note: Some(note) } = of("UX_at") else { panic!() };
    assert!(action.statements(&objects[0].table, "x")[0].starts_with("CREATE INDEX"));
    assert!(note.contains("seventh"), "{note}");
}
