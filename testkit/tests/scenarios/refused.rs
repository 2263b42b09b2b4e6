//! Transactions that PostgreSQL refuses, under each policy.

use anyhow::Result;
use lockstep_common::FailPoints;
use lockstep_common::config::ConflictPolicy;
use lockstep_testkit::harness::{LogKind, Pipeline, Statements};
use lockstep_testkit::shape::{Key, Table, Type, column, nullable};

use super::support::{ITEMS, add, assert_says, insert, insert_with, items};

crate::over_each_log!(
    halt_stops_before_the_refused_transaction,
    exceptions_sets_the_whole_transaction_aside,
    converge_mends_rows_and_never_a_value,
);

/// A text with U+0000, which PostgreSQL's text types cannot hold.
const WITH_NUL: &str = "N'a' + NCHAR(0) + N'b'";

async fn halt_stops_before_the_refused_transaction(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    pipeline.query_target("target", "ALTER TABLE dbo.items ADD CONSTRAINT few CHECK (v < 100)")?;

    // The offending row is the last of several, and more transactions are behind.
    let refused = Statements::new()
        .then(ITEMS, [Key::of([1])], "UPDATE dbo.items SET v = 2 WHERE id = 1")
        .then(ITEMS, [Key::of([4])], "INSERT INTO dbo.items VALUES (4, 500, NULL)");
    session.run(&refused).await?;
    let at = pipeline.await_captured_by_source().await?;
    session.run(&add(1..=3, 1)).await?;
    for _ in 0..2 {
        let failure = apply.ended().await?.expect_halted();
        assert_says(&failure, "apply.conflict", &[&at.to_string(), "few", "dbo.items", "offset"]);
        pipeline.observe().await?;
        apply = pipeline.start_apply(FailPoints::default()).await?;
    }
    apply.ended().await?.expect_halted();
    // The operator mends the target; nothing was lost.
    pipeline.query_target("target", "ALTER TABLE dbo.items DROP CONSTRAINT few")?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_arrived(&mut apply).await?;

    session.run(&insert_with(5..=5, 0, WITH_NUL)).await?;
    let at = pipeline.await_captured_by_source().await?;
    let failure = apply.ended().await?.expect_halted();
    assert_says(&failure, "apply.conflict", &[&at.to_string(), "note", "dbo.items"]);
    pipeline.observe().await?;
    capture.finish().await
}

async fn exceptions_sets_the_whole_transaction_aside(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items())
        .apply(|apply| apply.on_conflict = ConflictPolicy::Exceptions)
        .build()
        .await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    assert!(!apply.status().diverged);
    pipeline.query_target("target", "ALTER TABLE dbo.items ADD CONSTRAINT few CHECK (v < 100)")?;

    let by_check = Statements::new()
        .then(ITEMS, [Key::of([4])], "INSERT INTO dbo.items VALUES (4, 0, NULL)")
        .then(ITEMS, [Key::of([5])], "INSERT INTO dbo.items VALUES (5, 500, NULL)");
    session.run(&by_check).await?;
    let first = pipeline.await_captured_by_source().await?;
    session.run(&insert_with(6..=6, 0, WITH_NUL)).await?;
    let second = pipeline.await_captured_by_source().await?;
    session.run(&add(1..=3, 1)).await?;
    session.run(&insert(7..=7, 0)).await?;
    pipeline.await_position(&mut apply).await?;
    let status = apply.until("both are counted", |s| s.exceptions == 2).await?;
    assert!(status.diverged);

    // Of the two nothing is there, of the others everything.
    let rows = pipeline.query_target("target", "SELECT id, v FROM dbo.items ORDER BY id")?;
    assert_eq!(rows, "1|2\n2|2\n3|2\n7|0");
    let kept = pipeline.query_target(
        "target",
        "SELECT position, first_offset < next_offset, source_table, error \
         FROM lockstep.exceptions ORDER BY position",
    )?;
    let kept: Vec<&str> = kept.lines().collect();
    let [by_check, by_nul] = kept.as_slice() else { panic!("{kept:?}") };
    for (line, at, why) in [(by_check, first, "few"), (by_nul, second, "note")] {
        let words = [at.to_string(), "|t|".to_owned(), "dbo.items".to_owned(), why.to_owned()];
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
    }
    // It stays known over a restart.
    apply.finish().await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    apply.until("it still says so", |s| s.diverged && s.exceptions == 2).await?;
    apply.finish().await?;
    capture.finish().await
}

async fn converge_mends_rows_and_never_a_value(log: LogKind) -> Result<()> {
    let mut tables = items();
    tables.push(papers());
    let mut pipeline = Pipeline::builder(log, tables)
        .apply(|apply| apply.on_conflict = ConflictPolicy::Converge)
        .build()
        .await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let write = "INSERT INTO dbo.papers VALUES (1, 0, NULL)";
    session.run(&insert(1..=4, 1).then(PAPERS, [Key::of([1])], write)).await?;
    pipeline.await_arrived(&mut apply).await?;

    // Somebody writes to the target; what the source does next to those rows mends them.
    pipeline.query_target("target", "DELETE FROM dbo.items WHERE id IN (1, 2)")?;
    pipeline.query_target("target", "INSERT INTO dbo.items VALUES (9, 99, 'not ours')")?;
    let mend = add(1..=1, 1)
        .then(ITEMS, [Key::of([2])], "DELETE FROM dbo.items WHERE id = 2")
        .then(ITEMS, [Key::of([9])], "INSERT INTO dbo.items VALUES (9, 1, NULL)");
    session.run(&mend).await?;
    pipeline.await_arrived(&mut apply).await?;

    // A row that is gone cannot come back from a change that does not hold all of it: that is said.
    pipeline.query_target("target", "DELETE FROM dbo.papers")?;
    let touch = "UPDATE dbo.papers SET n = n + 1";
    session.run(&Statements::new().then(PAPERS, [Key::of([1])], touch)).await?;
    pipeline.await_position(&mut apply).await?;
    let noted =
        pipeline.query_target("target", "SELECT kind, source_table FROM lockstep.exceptions")?;
    assert_eq!(noted, "absent|dbo.papers");
    // Noted in the target's own transaction, it is counted with the next connection.
    apply.finish().await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    apply.until("it says that the target has diverged", |s| s.diverged).await?;
    pipeline.compare_table("target", ITEMS).await?;

    // A value that cannot be stored is no matter of rows: nothing is made of it.
    session.run(&insert_with(5..=5, 0, WITH_NUL)).await?;
    let at = pipeline.await_captured_by_source().await?;
    let failure = apply.ended().await?.expect_halted();
    assert_says(&failure, "apply.conflict", &[&at.to_string(), "note", "dbo.items"]);
    assert_eq!(
        pipeline.query_target("target", "SELECT count(*) FROM dbo.items WHERE id = 5")?,
        "0"
    );
    capture.finish().await
}

const PAPERS: usize = 1;

/// An update that leaves an absent body alone does not tell whether there is one: the change table
/// shows NULL for what it does not hold.
fn papers() -> Table {
    let columns =
        vec![column("id", Type::Int), column("n", Type::Int), nullable("body", Type::NVarCharMax)];
    Table::keyed("papers", 1, columns)
}
