//! What a target table has at the end beside its rows: indexes, keys, checks, defaults, identities.

use anyhow::{Result, ensure};
use lockstep_common::FailPoints;
use lockstep_testkit::harness::{LogKind, Pipeline, Statements};
use lockstep_testkit::shape::{Key, Table, Type, column, nullable};

use super::loading;

crate::over_each_log!(constraints_are_there_at_the_end);

const CUSTOMERS: usize = 0;
const ORDERS: usize = 1;

fn tables() -> Vec<Table> {
    let customers = vec![
        column("id", Type::Int),
        column("code", Type::VarChar(20)),
        column("name", Type::NVarChar(40)),
        column("created", Type::DateTime2(3)),
        column("active", Type::Bit),
        nullable("score", Type::Int),
        nullable("parent", Type::Int),
    ];
    let orders = vec![
        column("id", Type::BigInt),
        column("customer", Type::Int),
        column("total", Type::Decimal(12, 2)),
        column("state", Type::Char(1)),
        nullable("note", Type::NVarChar(200)),
    ];
    vec![
        Table::keyed("customers", 1, customers).created_by(
            "CREATE TABLE dbo.customers (
                id int IDENTITY(1, 1) NOT NULL CONSTRAINT pk_customers PRIMARY KEY,
                code varchar(20) NOT NULL CONSTRAINT uq_customers_code UNIQUE,
                name nvarchar(40) NOT NULL CONSTRAINT df_name DEFAULT (N'nobody'),
                created datetime2(3) NOT NULL CONSTRAINT df_created DEFAULT (sysutcdatetime()),
                active bit NOT NULL CONSTRAINT df_active DEFAULT ((1)),
                score int NULL CONSTRAINT ck_score CHECK (score >= 0 AND score <= 100),
                parent int NULL)",
        ),
        Table::keyed("orders", 1, orders).created_by(
            "CREATE TABLE dbo.orders (
                id bigint IDENTITY(100, 10) NOT NULL CONSTRAINT pk_orders PRIMARY KEY,
                customer int NOT NULL
                    CONSTRAINT fk_orders_customers REFERENCES dbo.customers (id),
                total decimal(12, 2) NOT NULL CONSTRAINT ck_total CHECK (total >= (0)),
                state char(1) NOT NULL CONSTRAINT df_state DEFAULT ('N'),
                note nvarchar(200) NULL)",
        ),
    ]
}

const SHAPE: [&str; 3] = [
    "ALTER TABLE dbo.customers ADD CONSTRAINT fk_parent FOREIGN KEY (parent) \
     REFERENCES dbo.customers (id)",
    "CREATE INDEX ix_orders_customer ON dbo.orders (customer, id DESC) INCLUDE (total)",
    "CREATE UNIQUE INDEX ix_orders_state ON dbo.orders (state, id)",
];

async fn constraints_are_there_at_the_end(log: LogKind) -> Result<()> {
    let builder = SHAPE.iter().fold(loading(log, tables()), |builder, sql| builder.shape(*sql));
    let mut pipeline = builder.signal().build().await?;
    let mut session = pipeline.session();
    let customers: Vec<String> =
        (1..=60).map(|id| format!("('code {id}', {}, {})", id % 100, (id + 1) / 2)).collect();
    // Each one's parent is there before it or is itself.
    for customer in customers.chunks(20).enumerate() {
        let (n, rows) = (i64::try_from(customer.0)?, customer.1.join(", "));
        let keys = (n * 20 + 1..=n * 20 + 20).map(|id| Key::of([id]));
        let sql = format!("INSERT INTO dbo.customers (code, score, parent) VALUES {rows}");
        session.run(&Statements::new().then(CUSTOMERS, keys, sql)).await?;
    }
    let orders: Vec<String> = (1..=60).map(|id| format!("({id}, {id}.50), ({id}, 0)")).collect();
    let keys = (0..120).map(|n| Key::of([100 + 10 * n]));
    let sql = format!("INSERT INTO dbo.orders (customer, total) VALUES {}", orders.join(", "));
    session.run(&Statements::new().then(ORDERS, keys, sql)).await?;

    let watching = pipeline.start_watching("target")?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    objects(&pipeline)?;
    behaviour(&pipeline)?;

    // The stream goes on under them.
    let more = "INSERT INTO dbo.customers (code) VALUES ('after')";
    let plan = Statements::new()
        .then(CUSTOMERS, [Key::of([61])], more)
        .then(ORDERS, [Key::of([1300])], "INSERT INTO dbo.orders (customer, total) VALUES (61, 1)")
        .then(ORDERS, [Key::of([100])], "DELETE FROM dbo.orders WHERE id = 100");
    session.run(&plan).await?;
    pipeline.await_arrived(&mut apply).await?;
    watching.stop().await?;
    apply.finish().await?;
    capture.finish().await
}

/// What the target's catalogue says.
fn objects(pipeline: &Pipeline) -> Result<()> {
    let of = "conrelid IN ('dbo.customers'::regclass, 'dbo.orders'::regclass)";
    for (what, sql, expected) in [
        (
            "valid indexes",
            "SELECT count(*) FROM pg_index WHERE indisvalid AND indisready \
             AND indrelid IN ('dbo.customers'::regclass, 'dbo.orders'::regclass)"
                .to_owned(),
            "5",
        ),
        (
            "the included column",
            "SELECT count(*) FROM pg_index WHERE indrelid = 'dbo.orders'::regclass \
             AND indnatts = 3 AND indnkeyatts = 2"
                .to_owned(),
            "1",
        ),
        (
            "validated foreign keys",
            format!(
                "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated AND {of}"
            ),
            "2",
        ),
        (
            "validated checks",
            format!(
                "SELECT count(*) >= 2 AND bool_and(convalidated) FROM pg_constraint \
                 WHERE contype = 'c' AND {of}"
            ),
            "t",
        ),
        (
            "objects that are not made",
            "SELECT count(*) FROM lockstep.load_object WHERE state <> 'made'".to_owned(),
            "0",
        ),
    ] {
        let found = pipeline.query_target("target", &sql)?;
        let all = pipeline.query_target(
            "target",
            "SELECT source, kind, object, state, statements, reason FROM lockstep.load_object",
        )?;
        ensure!(found.trim() == expected, "{what}: {} not {expected}; {all}", found.trim());
    }
    Ok(())
}

/// What somebody meets who writes to the target after the switch.
fn behaviour(pipeline: &Pipeline) -> Result<()> {
    let new = pipeline.query_target(
        "target",
        "BEGIN; INSERT INTO dbo.customers (code) VALUES ('new') \
         RETURNING id > 60, name, active, created > now() - interval '1 day', score; ROLLBACK",
    )?;
    ensure!(new.trim() == "t|nobody|t|t|", "a customer by defaults: {new}");
    let order = pipeline.query_target(
        "target",
        "BEGIN; INSERT INTO dbo.orders (customer, total) VALUES (1, 5) \
         RETURNING id > 1290 AND id % 10 = 0, state; ROLLBACK",
    )?;
    ensure!(order.trim() == "t|N", "an order by defaults: {order}");
    for (sql, refusal) in [
        ("INSERT INTO dbo.customers (code) VALUES ('code 7')", "unique constraint"),
        ("UPDATE dbo.customers SET score = 101 WHERE id = 1", "check constraint"),
        ("INSERT INTO dbo.orders (customer, total) VALUES (1, -1)", "check constraint"),
        ("INSERT INTO dbo.orders (customer, total) VALUES (4711, 1)", "foreign key constraint"),
        ("DELETE FROM dbo.customers WHERE id = 5", "foreign key constraint"),
        ("UPDATE dbo.customers SET code = NULL WHERE id = 1", "not-null constraint"),
    ] {
        let refused = pipeline.query_target("target", &format!("BEGIN; {sql}; ROLLBACK"));
        let said = refused.map_or_else(|error| format!("{error:#}"), |_| "done".to_owned());
        ensure!(said.contains(refusal), "{sql}: {said}");
    }
    Ok(())
}
