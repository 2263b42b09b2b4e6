//! The part of a database that is old and large: two tables that a full load has to copy while
//! somebody still works in them. They are too large for a history; source and target are compared
//! once both are at rest.

use std::time::Duration;

use anyhow::{Context, Result};
use lockstep_common::Shutdown;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::shape::{Table, Type, column, nullable};
use crate::source::{Connection, Source, SourceError};

/// Rows of one INSERT statement that fills.
const AT_ONCE: u64 = 100_000;
/// One row of the devices for so many of the order history.
const PER_DEVICE: u64 = 10;

/// Both tables.
pub fn tables() -> Vec<Table> {
    let history = vec![
        column("h_id", Type::BigInt),
        column("h_customer", Type::Int),
        column("h_item", Type::SmallInt),
        column("h_amount", Type::Decimal(18, 4)),
        nullable("h_ratio", Type::Float),
        column("h_at", Type::DateTime2(3)),
        nullable("h_seen", Type::DateTimeOffset(3)),
        column("h_name", Type::VarChar(50)),
        nullable("h_note", Type::NVarChar(200)),
        column("h_open", Type::Bit),
    ];
    let devices = vec![
        column("d_id", Type::UniqueIdentifier),
        column("d_number", Type::Int),
        column("d_code", Type::VarChar(20)),
        nullable("d_note", Type::NVarChar(100)),
    ];
    vec![
        Table::keyed("order_history", 1, history).created_by(
            "CREATE TABLE dbo.order_history (
                h_id bigint IDENTITY(1, 1) NOT NULL CONSTRAINT pk_order_history PRIMARY KEY,
                h_customer int NOT NULL,
                h_item smallint NOT NULL,
                h_amount decimal(18, 4) NOT NULL CONSTRAINT ck_history_amount CHECK (h_amount >= 0),
                h_ratio float NULL,
                h_at datetime2(3) NOT NULL CONSTRAINT df_history_at DEFAULT (sysutcdatetime()),
                h_seen datetimeoffset(3) NULL,
                h_name varchar(50) NOT NULL CONSTRAINT df_history_name DEFAULT ('nobody'),
                h_note nvarchar(200) NULL,
                h_open bit NOT NULL CONSTRAINT df_history_open DEFAULT ((0)))",
        ),
        Table::keyed("devices", 1, devices).created_by(
            "CREATE TABLE dbo.devices (
                d_id uniqueidentifier NOT NULL CONSTRAINT pk_devices PRIMARY KEY,
                d_number int NOT NULL CONSTRAINT uq_devices_number UNIQUE,
                d_code varchar(20) NOT NULL CONSTRAINT df_devices_code DEFAULT ('none'),
                d_note nvarchar(100) NULL)",
        ),
    ]
}

/// Makes both tables with `rows` rows of history in them, and captures them once they are filled, so
/// that a full load is the only way to their rows. Says now and then how many there are.
///
/// # Errors
/// When the server refuses.
pub async fn install(source: &Source, rows: u64, said: impl Fn(u64)) -> Result<()> {
    let mut db = source.connect().await?;
    for table in tables() {
        let id = format!("SELECT OBJECT_ID(N'dbo.{}')", table.name);
        if db.integer(&id).await?.is_some() {
            db.run(&format!("DROP TABLE dbo.[{}]", table.name)).await?;
        }
        db.run(&table.create_sql()).await.with_context(|| format!("create {}", table.name))?;
    }
    fill_history(&mut db, rows, &said).await.context("fill the order history")?;
    fill_devices(&mut db, rows / PER_DEVICE).await.context("fill the devices")?;
    db.run("CREATE INDEX ix_history_customer ON dbo.order_history (h_customer) INCLUDE (h_amount)")
        .await?;
    for table in tables() {
        db.run(&table.enable_cdc_sql()).await.with_context(|| format!("capture {}", table.name))?;
    }
    Ok(())
}

/// Rows made of the ones before, each time as many again.
async fn fill_history(db: &mut Connection, rows: u64, said: impl Fn(u64)) -> Result<()> {
    const COLUMNS: &str =
        "h_customer, h_item, h_amount, h_ratio, h_at, h_seen, h_name, h_note, h_open";
    let first = rows.min(500);
    let values: Vec<String> = (0..first)
        .map(|n| {
            format!(
                "({n}, {}, {}.{:04}, {n} / 3e0, '2023-11-14T22:13:20.000', \
                 '2023-11-14T22:13:20.000+01:00', 'a name of some thirty letters.', \
                 N'a note that is a little longer than the name above', {})",
                n % 30_011,
                n * 7 / 100,
                n * 7 % 10_000,
                n % 2
            )
        })
        .collect();
    db.run(&format!("INSERT INTO dbo.order_history ({COLUMNS}) VALUES {}", values.join(",\n")))
        .await?;
    let mut filled = first;
    while filled < rows {
        let more = filled.min(rows - filled).min(AT_ONCE);
        db.run(&format!(
            "INSERT INTO dbo.order_history ({COLUMNS}) \
             SELECT TOP ({more}) (h_customer * 7 + {filled}) % 100003, h_item, h_amount + 1, \
             h_ratio + {filled}, DATEADD(second, 1, h_at), h_seen, h_name, h_note, 1 - h_open \
             FROM dbo.order_history"
        ))
        .await?;
        filled += more;
        said(filled);
    }
    Ok(())
}

async fn fill_devices(db: &mut Connection, rows: u64) -> Result<()> {
    db.run(
        "INSERT INTO dbo.devices (d_id, d_number, d_code, d_note) \
         VALUES (NEWID(), 0, 'Device', N'the first')",
    )
    .await?;
    let mut filled = 1;
    while filled < rows {
        let more = filled.min(rows - filled).min(AT_ONCE);
        db.run(&format!(
            "INSERT INTO dbo.devices (d_id, d_number, d_code, d_note) \
             SELECT TOP ({more}) NEWID(), d_number + {filled}, d_code, d_note FROM dbo.devices \
             WHERE d_number < {more}"
        ))
        .await?;
        filled += more;
    }
    Ok(())
}

/// Somebody who works in the large tables until stopped: changes, deletes and adds rows all over
/// them, and gives devices new keys, which takes them from one range to another. A source that is
/// away is waited for. Returns how many statements were committed.
///
/// # Errors
/// When the source refuses a statement.
pub async fn work(source: Source, rows: u64, seed: u64, stop: Shutdown) -> Result<u64> {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut connection, mut done) = (None, 0);
    while !stop.is_cancelled() {
        let sql = statement(rows.max(PER_DEVICE), &mut rng);
        let ran = match &mut connection {
            Some(db) => Connection::run(db, &sql).await,
            none => match source.connect().await {
                Ok(db) => none.insert(db).run(&sql).await,
                Err(error) => Err(error),
            },
        };
        match ran {
            Ok(()) => done += 1,
            Err(error) if error.is_deadlock() => {}
            Err(error) if SourceError::is_disconnect(&error) => connection = None,
            Err(error) => return Err(error).context(sql),
        }
        // A gentle pace: the point is that it happens everywhere, not how often.
        let _ = tokio::time::timeout(Duration::from_millis(20), stop.cancelled()).await;
    }
    Ok(done)
}

fn statement(rows: u64, rng: &mut StdRng) -> String {
    let id = rng.random_range(1..=rows);
    let device = rng.random_range(0..rows / PER_DEVICE);
    match rng.random_range(0..10) {
        0..4 => format!(
            "UPDATE dbo.order_history SET h_note = N'changed {id}', h_open = 1 - h_open \
             WHERE h_id BETWEEN {id} AND {}",
            id + 4
        ),
        4 => format!("DELETE FROM dbo.order_history WHERE h_id = {id}"),
        5..7 => format!(
            "INSERT INTO dbo.order_history (h_customer, h_item, h_amount) VALUES ({}, 1, 0.5)",
            id % 100_003
        ),
        7 => format!("UPDATE dbo.devices SET d_id = NEWID() WHERE d_number = {device}"),
        8 => format!("UPDATE dbo.devices SET d_note = NULL WHERE d_number = {device}"),
        _ => format!("DELETE FROM dbo.devices WHERE d_number = {device}"),
    }
}
