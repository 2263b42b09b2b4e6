//! Preparing, finishing and unmaking, against a real PostgreSQL.

mod finish;
mod plan;
mod prepare;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use lockstep_common::config::Prepare;
use lockstep_common::model::definition::{
    Check, ColumnDefinition, Definition, ForeignKey, Identity, Index, IndexColumn, IndexKind,
    OtherObject, Referential,
};
use lockstep_common::model::load::Handoff;
use lockstep_common::{
    Column, Disposition, Failure, LogicalType, Shutdown, TableName, TableVersion,
};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use super::super::checkpoint::{self, Fence};
use super::super::connect::Login;
use super::super::extension::Extensions;
use super::finish::{Finish, Report, finish, set_sequences};
use super::plan::{Fate, Planned, Server, contested, plan};
use super::prepare::{Prepared, prepare};
use super::unmake::unmake;
use super::{Design, LoadTable};
use lockstep_servers::cluster;

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
             [apply.main]\nhost = \"127.0.0.1\"\ntls = \"disable\"\nport = {}\ndatabase = \"{name}\"\n\
             user = \"postgres\"\nspool = \"spool\"\nschemas = {{ dbo = \"public\" }}\n",
            cluster::shared().port
        );
        let mut config =
            lockstep_common::config::parse(&file, "test", []).expect("a configuration");
        let config = config.apply.remove("main").expect("an apply");
        Bed { name, client, config }
    }

    fn design(&self, mode: Prepare) -> Design {
        let mut design = Design { prepare: mode, ..Design::new(&self.config) };
        // These databases have no extensions.
        design.naming.types = Arc::new(design.naming.types.with(Extensions::default()));
        design
    }

    async fn prepare(&mut self, mode: Prepare, tables: &[LoadTable]) -> Result<Prepared, Failure> {
        let design = self.design(mode);
        prepare(&mut self.client, PIPELINE, &design, tables, FENCE).await
    }

    /// Prepares and halts; gives the message.
    async fn refused(&mut self, mode: Prepare, tables: &[LoadTable]) -> String {
        let failure = self.prepare(mode, tables).await.expect_err("it is refused");
        assert_eq!(
            (failure.code.as_str(), failure.disposition()),
            ("apply.prepare", Disposition::Halt)
        );
        failure.message
    }

    fn work(&self, load: u128, tables: &[LoadTable]) -> Finish {
        let loaded =
            |other: &LoadTable| tables.iter().any(|t| t.version.name == other.version.name);
        Finish {
            pipeline: PIPELINE.to_owned(),
            load: Uuid::from_u128(load),
            design: self.design(Prepare::Create),
            tables: tables.to_vec(),
            others: shop().into_iter().filter(|other| !loaded(other)).collect(),
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
        let messages =
            self.client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
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
        id: None,
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
        origin: None,
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
    definition
        .indexes
        .push(Index { kind: IndexKind::Primary, ..index("PK", true, &[&version.columns[0].name]) });
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
            d.indexes
                .push(Index { kind: IndexKind::Constraint, ..index("UQ_name", true, &["name"]) });
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
            Column {
                computed: true,
                ..nullable(column(
                    "twice",
                    "decimal(12,2)",
                    LogicalType::Decimal { precision: 12, scale: 2 },
                ))
            },
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
