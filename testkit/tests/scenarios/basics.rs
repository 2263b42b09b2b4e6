//! What every pipeline does every day.

use anyhow::Result;
use lockstep_common::FailPoints;
use lockstep_testkit::harness::{LogKind, Pipeline, Statements};
use lockstep_testkit::session::Outcome;
use lockstep_testkit::shape::{Key, Table, Type, column, nullable};
use lockstep_testkit::workload::order_entry::OrderEntry;
use lockstep_testkit::workload::random::RandomWork;
use lockstep_testkit::workload::{self, Run, Workload};

crate::over_each_log!(
    one_transaction_over_several_tables,
    interleaved_transactions,
    key_updates,
    rolled_back_work_never_arrives,
    order_entry_arrives,
    random_work_arrives,
);

const PARENTS: usize = 0;
const CHILDREN: usize = 1;

fn tables() -> Vec<Table> {
    let parents = vec![
        column("id", Type::Int),
        column("name", Type::NVarChar(40)),
        nullable("total", Type::Decimal(12, 2)),
        nullable("seen", Type::DateTimeOffset(7)),
    ];
    let children = vec![
        column("parent", Type::Int),
        column("n", Type::TinyInt),
        nullable("text", Type::NVarCharMax),
        nullable("blob", Type::VarBinaryMax),
    ];
    vec![Table::keyed("parents", 1, parents), Table::keyed("children", 2, children)]
}

async fn one_transaction_over_several_tables(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, tables()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    let insert = Statements::new()
        .then(
            PARENTS,
            [Key::of([1]), Key::of([2])],
            "INSERT INTO dbo.parents VALUES (1, N'one', 1.50, NULL), \
             (2, N'two 🚚', -2, '2024-02-29T12:30:00.1234567+05:30')",
        )
        .then(
            CHILDREN,
            [Key::of([1, 1]), Key::of([1, 2])],
            "INSERT INTO dbo.children VALUES (1, 1, N'a', 0x00FF), (1, 2, NULL, NULL)",
        );
    session.run(&insert).await?;
    pipeline.await_arrived(&mut apply).await?;

    let all_kinds = Statements::new()
        .then(CHILDREN, [Key::of([2, 1])], "INSERT INTO dbo.children VALUES (2, 1, N'new', 0x01)")
        .then(PARENTS, [Key::of([1])], "UPDATE dbo.parents SET total = total * 2 WHERE id = 1")
        .then(CHILDREN, [Key::of([1, 2])], "DELETE FROM dbo.children WHERE parent = 1 AND n = 2")
        .then(
            CHILDREN,
            [Key::of([2, 1])],
            "UPDATE dbo.children SET n = 1, text = NULL WHERE parent = 2",
        )
        .then(PARENTS, [Key::of([2])], "DELETE FROM dbo.parents WHERE id = 2")
        .then(PARENTS, [Key::of([2])], "INSERT INTO dbo.parents VALUES (2, N'again', NULL, NULL)");
    session.run(&all_kinds).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}

/// Two sessions write different rows at once; the one that began last commits first.
async fn interleaved_transactions(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, tables()).build().await?;
    let (mut first, mut second) = (pipeline.session(), pipeline.session());
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    // The first holds its rows until the second has committed in the middle of it.
    let inner = Interloper {
        session: tokio::sync::Mutex::new(&mut second),
        plan: Statements::new().then(
            PARENTS,
            [Key::of([10])],
            "INSERT INTO dbo.parents VALUES (10, N'inner', 1, NULL)",
        ),
    };
    first.run(&inner).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}

/// Writes, lets another session commit, and writes again.
struct Interloper<'a> {
    session: tokio::sync::Mutex<&'a mut lockstep_testkit::session::Session>,
    plan: Statements,
}

impl lockstep_testkit::session::Plan for Interloper<'_> {
    fn kind(&self) -> &'static str {
        "outer"
    }

    async fn execute(
        &self,
        tx: &mut lockstep_testkit::session::Transaction<'_>,
    ) -> Result<lockstep_testkit::session::End> {
        tx.run("INSERT INTO dbo.parents VALUES (1, N'before', 1, NULL)").await?;
        let outcome = self.session.lock().await.run(&self.plan).await?;
        assert_eq!(outcome, Outcome::Committed);
        tx.run("INSERT INTO dbo.parents VALUES (2, N'after', 2, NULL)").await?;
        tx.run("UPDATE dbo.parents SET name = N'changed by the outer' WHERE id = 10").await?;
        for id in [1, 2, 10] {
            tx.touch(PARENTS, Key::of([id]));
        }
        Ok(lockstep_testkit::session::End::Commit)
    }
}

async fn key_updates(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, tables()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let keys = |ids: std::ops::RangeInclusive<i64>| ids.map(|id| Key::of([id]));

    let values: Vec<String> =
        (1..=5).map(|id| format!("({id}, N'row {id}', {id}, NULL)")).collect();
    let insert = format!("INSERT INTO dbo.parents VALUES {}", values.join(", "));
    session.run(&Statements::new().then(PARENTS, keys(1..=5), insert)).await?;

    let single = "UPDATE dbo.parents SET id = 9, name = N'moved' WHERE id = 3";
    let plan = Statements::new().then(PARENTS, [Key::of([3]), Key::of([9])], single);
    session.run(&plan).await?;
    pipeline.await_arrived(&mut apply).await?;

    // Every new key but the last is another row's old one.
    let shift = "UPDATE dbo.parents SET id = id + 1 WHERE id BETWEEN 1 AND 5";
    session.run(&Statements::new().then(PARENTS, keys(1..=6), shift)).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}

async fn rolled_back_work_never_arrives(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, tables()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;

    let row = |id: i64| format!("INSERT INTO dbo.parents VALUES ({id}, N'row', 0, NULL)");
    let gone = Statements::new().then(PARENTS, [Key::of([1])], row(1)).rolled_back();
    assert_eq!(session.run(&gone).await?, Outcome::RolledBack);
    session.run(&Statements::new().then(PARENTS, [Key::of([2])], row(2))).await?;
    // The key of the row that never was is free.
    session.run(&Statements::new().then(PARENTS, [Key::of([1])], row(1))).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}

async fn order_entry_arrives(log: LogKind) -> Result<()> {
    work_arrives(log, OrderEntry::new(1), 3, 40).await
}

async fn random_work_arrives(log: LogKind) -> Result<()> {
    work_arrives(log, RandomWork::new(11, 3), 3, 40).await
}

/// Sessions at once, observed all the while.
async fn work_arrives<W: Workload>(
    log: LogKind,
    work: W,
    sessions: usize,
    transactions: u64,
) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, work.tables()).build().await?;
    let mut filler = pipeline.session();
    workload::populate(&work, 1, &mut filler).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let stop = lockstep_common::Shutdown::new();
    let observer = tokio::spawn(pipeline.new_observer("target")?.run(stop.clone()));

    let run = Run {
        sessions,
        seed: 1,
        rate: None,
        limit: Some(transactions),
        first_session: pipeline.session_numbers(sessions),
    };
    let (source, history, tally) =
        (pipeline.source().clone(), pipeline.history().clone(), pipeline.tally().clone());
    workload::run(std::sync::Arc::new(work), source, history, tally, run, stop.child_token())
        .await?;
    pipeline.await_arrived(&mut apply).await?;

    stop.cancel();
    let seen = observer.await?.observations().clone();
    assert!(seen.findings.is_empty(), "{:#?}", seen.findings);
    apply.finish().await?;
    capture.finish().await
}
