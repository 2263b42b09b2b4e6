//! Tables and transactions that are out of the common run.

use anyhow::Result;
use bytesize::ByteSize;
use lockstep_common::FailPoints;
use lockstep_testkit::harness::{LogKind, Pipeline, Statements};
use lockstep_testkit::session::Session;
use lockstep_testkit::shape::{Key, Table, Type, column, nullable};

use super::support::{administer, records};

crate::over_each_log!(
    a_table_without_a_key,
    max_columns_untouched_and_touched,
    a_large_transaction_in_many_fragments,
);

/// Rows are told apart by all their values, and duplicates by nothing: one of them changes.
async fn a_table_without_a_key(log: LogKind) -> Result<()> {
    let events = Table::keyless(
        "events",
        vec![
            column("kind", Type::Int),
            nullable("note", Type::NVarChar(40)),
            nullable("amount", Type::Decimal(9, 2)),
            nullable("at", Type::DateTime2(7)),
            nullable("ratio", Type::Float),
        ],
    );
    let mut pipeline = Pipeline::builder(log, vec![events]).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    let same = "(1, N'same', 1.50, '2024-02-29T12:30:00.1234567', 0.1)";
    let empty = "(1, NULL, NULL, NULL, NULL)";
    let rows = [same, same, same, empty, empty, "(1, N'', 0, NULL, -0.0)"].join(", ");
    let steps = [
        format!("INSERT INTO dbo.events VALUES {rows}"),
        "UPDATE TOP (1) dbo.events SET amount = 2 WHERE note = N'same'".to_owned(),
        "DELETE TOP (1) FROM dbo.events WHERE note = N'same' AND amount = 1.5".to_owned(),
        "UPDATE TOP (1) dbo.events SET note = N'was null' WHERE note IS NULL".to_owned(),
        "DELETE TOP (1) FROM dbo.events WHERE note IS NULL".to_owned(),
        "UPDATE dbo.events SET ratio = NULL, at = NULL".to_owned(),
        format!("INSERT INTO dbo.events VALUES {same}, {empty}, {empty}"),
        "DELETE FROM dbo.events WHERE note IS NULL".to_owned(),
    ];
    for step in &steps {
        session.run(&Statements::new().then(0, [Key::of([1])], step)).await?;
    }
    pipeline.await_arrived(&mut apply).await?;

    // All of it once more, in one transaction, and into another group.
    let all = steps.iter().fold(Statements::new(), |all, step| all.then(0, [Key::of([1])], step));
    let regroup = "UPDATE dbo.events SET kind = 2 WHERE note = N'same'";
    session.run(&all.then(0, [Key::of([1]), Key::of([2])], regroup)).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}

/// A change table does not hold what an update left alone in a MAX column; the target must.
async fn max_columns_untouched_and_touched(log: LogKind) -> Result<()> {
    let documents = Table::keyed(
        "documents",
        1,
        vec![
            column("id", Type::Int),
            column("n", Type::Int),
            nullable("body", Type::NVarCharMax),
            nullable("plain", Type::VarCharMax),
            nullable("data", Type::VarBinaryMax),
        ],
    );
    let mut pipeline = Pipeline::builder(log, vec![documents]).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    // By default SQL Server refuses long values in captured tables.
    let any_length = "EXEC sp_configure 'max text repl size', -1; RECONFIGURE";
    administer(&pipeline, any_length).await?;
    // The second body is so long that its bytes go ahead of its change.
    let insert = "INSERT INTO dbo.documents VALUES \
         (1, 0, N'short 🚚', 'plain', 0x00FF), \
         (2, 0, REPLICATE(CAST(N'long ' AS nvarchar(max)), 80000), NULL, NULL), \
         (3, 0, NULL, '', 0x)";
    let documents = || (1..=3).map(|id| Key::of([id]));
    session.run(&Statements::new().then(0, documents(), insert)).await?;
    pipeline.await_arrived(&mut apply).await?;
    for update in [
        "SET n = n + 1",
        "SET n = n + 1, body = N'changed' WHERE id = 1",
        "SET plain = NULL, data = 0x0102 WHERE id = 2",
        "SET body = body WHERE id = 2",
        "SET n = n + 1 WHERE id = 2",
        "SET body = REPLICATE(CAST(N'more' AS nvarchar(max)), 80000) WHERE id = 3",
        "SET n = n + 1",
    ] {
        let sql = format!("UPDATE dbo.documents {update}");
        session.run(&Statements::new().then(0, documents(), sql)).await?;
    }
    pipeline.await_arrived(&mut apply).await?;

    // In one transaction: inserted, touched beside its MAX columns, moved to another key.
    let together = Statements::new()
        .then(0, [Key::of([4])], "INSERT INTO dbo.documents VALUES (4, 0, N'four', 'four', 0x04)")
        .then(0, [Key::of([4])], "UPDATE dbo.documents SET n = 4 WHERE id = 4")
        .then(0, documents(), "UPDATE dbo.documents SET n = n * 2")
        .then(0, [Key::of([4]), Key::of([5])], "UPDATE dbo.documents SET id = 5 WHERE id = 4");
    session.run(&together).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}

/// Rows with a number and a text, in groups.
pub fn pages() -> Vec<Table> {
    let columns = vec![
        column("batch", Type::Int),
        column("n", Type::Int),
        nullable("text", Type::NVarChar(1000)),
    ];
    vec![Table::keyless("pages", columns)]
}

/// Inserts 20,000 rows of `width` characters in one transaction.
pub async fn insert_pages(session: &mut Session, batch: i64, width: usize) -> Result<()> {
    let rows: Vec<String> =
        (0..625).map(|n| format!("({batch}, {n}, REPLICATE(N'{}', {width}))", n % 10)).collect();
    let first = format!("INSERT INTO dbo.pages VALUES {}", rows.join(", "));
    let mut plan = Statements::new().then(0, [Key::of([batch])], first);
    for doubling in 0..5 {
        let more = 625 << doubling;
        let double = format!(
            "INSERT INTO dbo.pages SELECT batch, n + {more}, text FROM dbo.pages WHERE batch = {batch}"
        );
        plan = plan.then(0, [Key::of([batch])], double);
    }
    session.run(&plan).await.map(drop)
}

/// 20,000 rows, more than apply may hold in memory.
async fn a_large_transaction_in_many_fragments(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, pages())
        .apply(|apply| apply.memory = ByteSize::mib(1))
        .build()
        .await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    insert_pages(&mut session, 1, 150).await?;
    pipeline.await_arrived(&mut apply).await?;
    let largest =
        records(&mut pipeline).await?.iter().filter_map(|(_, h)| h.fragment).map(|f| f.index).max();
    assert!(largest >= Some(4), "{largest:?}");
    let delete =
        Statements::new().then(0, [Key::of([1])], "DELETE FROM dbo.pages WHERE n % 10 = 3");
    session.run(&delete).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}
