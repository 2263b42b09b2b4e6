//! A source that no longer has what comes next, or says so in a misleading way.

use std::time::Duration;

use anyhow::{Context, Result};
use lockstep_common::FailPoints;
use lockstep_common::service::status::CaptureStatus;
use lockstep_testkit::harness::{LogKind, Pipeline, skipped};
use lockstep_testkit::history::Lsn;

use super::support::{add, administer, assert_says, insert, items};

crate::over_each_log!(
    cleanup_overtakes_a_stopped_capture,
    the_database_is_restored,
    the_shape_of_a_table_changes,
    a_capture_instance_is_dropped,
    a_dummy_row_has_the_lsn_of_a_later_commit,
    a_commit_stays_hidden_behind_a_dummy_row,
);

async fn cleanup_overtakes_a_stopped_capture(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let reached = capture.status().position;
    capture.finish().await?;

    session.run(&add(1..=3, 1)).await?;
    session.run(&add(1..=3, 1)).await?;
    let mark = pipeline.await_captured_by_source().await?;
    let cleanup = format!(
        "EXEC sys.sp_cdc_cleanup_change_table @capture_instance = N'dbo_items', \
         @low_water_mark = {}",
        mark.literal()
    );
    administer(&pipeline, &cleanup).await?;
    for _ in 0..2 {
        let mut capture = pipeline.start_capture(FailPoints::default()).await?;
        let failure = capture.ended().await?.expect_halted();
        let (from, to) = (after(Lsn::of_position(&reached.to_string())?), before(mark));
        assert_says(&failure, "source.gap", &["dbo.items", &from.to_string(), &to.to_string()]);
    }
    pipeline.observe().await?;
    apply.finish().await
}

/// The next LSN there could be.
fn after(lsn: Lsn) -> Lsn {
    let mut bytes = lsn.0;
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    Lsn(bytes)
}

/// The last LSN before it.
fn before(lsn: Lsn) -> Lsn {
    let mut bytes = lsn.0;
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != 0xFF {
            break;
        }
    }
    Lsn(bytes)
}

/// Taken back by a backup, the source is another history: at once, and when it has gone past the
/// place where it was.
async fn the_database_is_restored(log: LogKind) -> Result<()> {
    if skipped("the_database_is_restored", "RESTORE without a word to other sessions") {
        return Ok(());
    }
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let mut master = pipeline.source().with_database("master").connect().await?;
    let (name, file) = (pipeline.name().to_owned(), format!("{}.bak", pipeline.name()));
    master.run(&format!("BACKUP DATABASE [{name}] TO DISK = N'{file}'")).await?;
    session.run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let reached = Lsn::of_position(&capture.status().position.to_string())?;
    capture.finish().await?;

    drop(session);
    let restore = format!("RESTORE DATABASE [{name}] FROM DISK = N'{file}' WITH REPLACE, KEEP_CDC");
    master.run(&restore).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let failure = capture.ended().await?.expect_halted();
    assert_says(&failure, "source.rewound", &[&reached.to_string(), "restored"]);

    let mut source = pipeline.source().connect().await?;
    let newest = "SELECT CONVERT(bigint, SUBSTRING(sys.fn_cdc_get_max_lsn(), 3, 8))";
    let passed = i64::from_be_bytes(reached.0[2..].try_into()?);
    for id in 100.. {
        source.run(&format!("INSERT INTO dbo.items VALUES ({id}, 0, NULL)")).await?;
        if source.integer(newest).await?.context("there is a newest LSN")? > passed {
            break;
        }
    }
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let failure = capture.ended().await?.expect_halted();
    assert_says(&failure, "source.rewound", &[&reached.to_string()]);
    pipeline.observe().await?;
    apply.finish().await
}

async fn the_shape_of_a_table_changes(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    // A column that no instance has changes nothing of what is replicated: it is named, and work goes on.
    administer(&pipeline, "ALTER TABLE dbo.items ADD extra int NULL").await?;
    session.run(&add(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let named = |status: &CaptureStatus| status.notices.iter().any(|n| n.contains("extra"));
    capture.until("the column is named", named).await?;
    // What was committed before a captured column changes arrives; what comes after it does not.
    administer(&pipeline, "ALTER TABLE dbo.items ALTER COLUMN v bigint NULL").await?;
    pipeline.await_arrived(&mut apply).await?;
    session.run(&add(1..=3, 1)).await?;
    for again in [false, true] {
        if again {
            pipeline.await_captured_by_source().await?;
            capture = pipeline.start_capture(FailPoints::default()).await?;
        }
        let failure = capture.ended().await?.expect_halted();
        let words = ["dbo.items", "ALTER COLUMN", "LSN 0"];
        match failure.code.as_str() {
            "source.ddl" => assert_says(&failure, "source.ddl", &words),
            _ => assert_says(&failure, "source.shape", &["dbo.items"]),
        }
    }
    pipeline.observe().await?;
    apply.finish().await
}

async fn a_capture_instance_is_dropped(log: LogKind) -> Result<()> {
    let mut pipeline = Pipeline::builder(log, items())
        .capture(|capture| capture.progress_interval = Duration::from_millis(100))
        .build()
        .await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;
    let disable = "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', \
                   @source_name = N'items', @capture_instance = N'dbo_items'";
    administer(&pipeline, disable).await?;
    assert_says(&capture.ended().await?.expect_halted(), "source.instance", &["dbo.items"]);
    // Made anew it lacks what came between.
    administer(&pipeline, "UPDATE dbo.items SET v = v + 1").await?;
    administer(&pipeline, &pipeline.history().tables()[0].enable_cdc_sql()).await?;
    session.run(&add(1..=3, 1)).await?;
    pipeline.await_captured_by_source().await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let failure = capture.ended().await?.expect_halted();
    assert!(["source.gap", "source.instance"].contains(&failure.code.as_str()), "{failure}");
    assert_says(&failure, failure.code.as_str(), &["dbo.items"]);
    pipeline.observe().await?;
    apply.finish().await
}

/// An idle server's dummy row may take the LSN of a commit whose changes come to the change tables
/// only with the next scan: seen, it must not count as read.
async fn a_dummy_row_has_the_lsn_of_a_later_commit(log: LogKind) -> Result<()> {
    if skipped("a_dummy_row_has_the_lsn_of_a_later_commit", "dummy_meets_commit") {
        return Ok(());
    }
    meet_a_dummy(log, false).await
}

/// On a patched server the dummy row stays, and no row of the mapping names the commit.
async fn a_commit_stays_hidden_behind_a_dummy_row(log: LogKind) -> Result<()> {
    if skipped("a_commit_stays_hidden_behind_a_dummy_row", "hide_commit_behind_dummy") {
        return Ok(());
    }
    meet_a_dummy(log, true).await
}

async fn meet_a_dummy(log: LogKind, hide: bool) -> Result<()> {
    const SCAN: &str = "EXEC sys.sp_cdc_scan @maxscans = 1";
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    session.run(&insert(1..=3, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    // The capture job scans when this test says so, and takes any pause for idleness.
    administer(&pipeline, "EXEC sys.sp_cdc_stop_job @job_type = N'capture'").await?;
    let fault = |name: &str, value: &str| format!("EXEC [double].set_fault '{name}', '{value}'");
    administer(&pipeline, &fault("dummy_meets_commit", "on")).await?;
    administer(&pipeline, &fault("dummy_after", "0")).await?;
    if hide {
        administer(&pipeline, &fault("hide_commit_behind_dummy", "on")).await?;
    }
    for round in 0..3 {
        let before = capture.status().source_position;
        session.run(&add(1..=3, round)).await?;
        administer(&pipeline, SCAN).await?;
        let mapped = "SELECT COUNT(*) FROM cdc.lsn_time_mapping WHERE tran_id = 0x00";
        let dummies = pipeline.source().connect().await?.integer(mapped).await?;
        assert!(dummies > Some(round), "the scan wrote a dummy row");
        // Capture has seen the dummy and nothing else.
        capture.until("capture sees the dummy", |s| s.source_position > before).await?;
        pipeline.observe().await?;
        administer(&pipeline, SCAN).await?;
    }
    administer(&pipeline, &fault("dummy_meets_commit", "off")).await?;
    administer(&pipeline, &fault("dummy_after", "300")).await?;
    administer(&pipeline, "EXEC sys.sp_cdc_start_job @job_type = N'capture'").await?;
    session.run(&insert(4..=5, 1)).await?;
    pipeline.await_arrived(&mut apply).await?;

    apply.finish().await?;
    capture.finish().await
}
