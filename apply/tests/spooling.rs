//! Outages of the target, the spool, its budget, and what it must not be used for.

use bytesize::ByteSize;
use lockstep_apply::testing::{Line, Memory};
use lockstep_common::service::status::{ApplyStatus, TaskState};
use lockstep_common::{FailPoints, LogicalType, TableId, Value};

use crate::bed::Bed;
use crate::source::{INT, account, accounts, at, insert, int, table};

async fn write(bed: &mut Bed<Memory>, table: TableId, ids: std::ops::Range<i64>) -> u64 {
    let filler = "x".repeat(1000);
    let transactions: Vec<_> = ids.map(|i| vec![insert(table, account(i, &filler, 1))]).collect();
    bed.source.commit_all(&transactions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_fills_the_spool_and_apply_may_restart_in_it() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    let mut settings = bed.settings();
    settings.config.memory = ByteSize::kib(256);
    let n = write(&mut bed, a, 0..10).await;
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    apply.reaches(n).await;
    bed.database.set_line(Line::Down);
    apply.until("the outage", |status| status.state == TaskState::Retrying).await;
    write(&mut bed, a, 10..1000).await;
    let status = apply.until("the spool", |s| s.waiting_transactions >= 990).await;
    assert!(status.spool_bytes > 900_000 && status.memory_bytes < 300_000, "{status:?}");
    apply.stop().await;
    // Started again while the target is away: goes on reading from where the spool ends.
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    let n = write(&mut bed, a, 1000..1500).await;
    let waits = |s: &ApplyStatus| s.waiting_transactions >= 1490 && s.state == TaskState::Retrying;
    apply.until("more in the spool, without the target", waits).await;
    apply.kill().await;
    let mut apply = bed.start_with(settings, FailPoints::default());
    bed.database.set_line(Line::Up);
    apply.reaches(n).await;
    let n = write(&mut bed, a, 1500..1510).await;
    let status = apply.reaches(n).await;
    assert_eq!(status.waiting_transactions, 0);
    apply.until("an empty spool", |s| s.spool_bytes == 0).await;
    apply.stop().await;
    assert_eq!(bed.ids().len(), 1510);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_commit_is_enough_to_go_on_from_without_the_target() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    let settings = bed.settings();
    let n = write(&mut bed, a, 0..1).await;
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    apply.reaches(n).await;
    // Killed in its first moments: nothing was written in passing.
    apply.kill().await;
    bed.database.set_line(Line::Down);
    let n = write(&mut bed, a, 1..100).await;
    let mut apply = bed.start_with(settings, FailPoints::default());
    let waits = |s: &ApplyStatus| s.waiting_transactions == 99 && s.state == TaskState::Retrying;
    apply.until("what was written meanwhile", waits).await;
    bed.database.set_line(Line::Up);
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.ids().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_stops_the_reading_and_nothing_else() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    let mut settings = bed.settings();
    settings.config.memory = ByteSize::kib(64);
    settings.config.spool_budget = ByteSize::kib(300);
    let n = write(&mut bed, a, 0..10).await;
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.reaches(n).await;
    bed.database.set_line(Line::Down);
    apply.until("the outage", |status| status.state == TaskState::Retrying).await;
    let n = write(&mut bed, a, 10..2000).await;
    let status = apply.until("back-pressure", |status| status.back_pressure).await;
    assert!(status.spool_bytes < 400_000, "{status:?}");
    bed.database.set_line(Line::Up);
    apply.reaches(n).await;
    apply.stop().await;
    assert_eq!(bed.ids().len(), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_is_spooled_then_streamed() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    let filler = "y".repeat(500);
    let changes: Vec<_> = (0..20_000).map(|i| insert(a, account(i, &filler, 1))).collect();
    write(&mut bed, a, 100_000..100_003).await;
    bed.source.commit_in_fragments(&changes, 500).await;
    write(&mut bed, a, 100_003..100_006).await;
    let mut settings = bed.settings();
    settings.config.memory = ByteSize::mib(1);
    let status = bed.catch_up_with(settings).await;
    assert_eq!(status.transactions, 7);
    assert_eq!(bed.ids().len(), 20006);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_larger_than_the_budget_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    let filler = "z".repeat(1000);
    let changes: Vec<_> = (0..2000).map(|i| insert(a, account(i, &filler, 1))).collect();
    bed.source.commit_in_fragments(&changes, 100).await;
    let mut settings = bed.settings();
    settings.config.memory = ByteSize::kib(64);
    settings.config.spool_budget = ByteSize::mib(1);
    let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.spool_budget", "{failure}");
    settings.config.spool_budget = ByteSize::mib(8);
    bed.catch_up_with(settings).await;
    assert_eq!(bed.ids().len(), 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_restored_from_a_backup_goes_on_from_its_own_checkpoint() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    write(&mut bed, a, 0..10).await;
    bed.catch_up().await;
    let backup = bed.database.backup();
    write(&mut bed, a, 10..500).await;
    let mut settings = bed.settings();
    settings.config.memory = ByteSize::kib(64);
    bed.catch_up_with(settings.clone()).await;
    // The same apply, the same spool, the contents of before.
    bed.database.restore(&backup, true);
    assert_eq!(bed.ids().len(), 10);
    bed.catch_up_with(settings).await;
    assert_eq!(bed.ids().len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_of_another_log_is_dropped() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    write(&mut bed, a, 0..50).await;
    bed.catch_up().await;
    bed.replace_log("other").await;
    bed.database = Memory::new();
    let a = bed.source.table(&accounts()).await;
    write(&mut bed, a, 0..5).await;
    let status = bed.catch_up().await;
    assert_eq!(status.position, at(5));
    assert_eq!(bed.ids().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_another_process_holds_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    write(&mut bed, a, 0..5).await;
    let mut apply = bed.start();
    apply.reaches(5).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.spool", "{failure}");
    assert!(failure.message.contains("spool"), "{failure}");
    apply.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_cannot_be_written_halts() {
    let mut bed = Bed::in_memory().await;
    let a = bed.source.table(&accounts()).await;
    write(&mut bed, a, 0..5).await;
    let mut settings = bed.settings();
    let file = bed.spool("file");
    std::fs::write(&file, "not a directory").unwrap();
    settings.config.spool = file.join("spool");
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.spool", "{failure}");
    assert!(failure.remedy.contains("nothing is lost"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_values_are_put_together_again() {
    use lockstep_common::{LongKind, LongValue};
    use sha2::{Digest, Sha256};
    let mut bed = Bed::new().await;
    let columns =
        [("id", INT), ("a", crate::source::TEXT), ("b", LogicalType::Bytes { max: None })];
    let t = bed.source.table(&table("documents", 1, &columns)).await;
    let text: String = ('a'..='z').cycle().take(700_000).collect();
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let long = |id, bytes: &[u8], kind| {
        Value::Long(LongValue {
            id,
            length: bytes.len() as u64,
            digest: Sha256::digest(bytes).into(),
            kind,
        })
    };
    let row =
        vec![int(1), long(0, text.as_bytes(), LongKind::Text), long(1, &bytes, LongKind::Bytes)];
    let longs: [(u32, &[u8]); 2] = [(0, text.as_bytes()), (1, &bytes)];
    bed.source.commit_long(&longs, &[insert(t, row.clone())], 100_000).await;
    bed.catch_up().await;
    let found = bed.query("SELECT length(a), md5(a), length(b) FROM documents").await;
    let md5 = bed.query(&format!("SELECT md5('{text}')")).await;
    assert_eq!(found, [format!("700000|{}|1200000", md5[0])]);
    // A part that is not what its change says.
    let wrong: [(u32, &[u8]); 2] = [(0, &text.as_bytes()[1..]), (1, &bytes)];
    bed.source.commit_long(&wrong, &[insert(t, row)], 100_000).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.damaged", "{failure}");
}
