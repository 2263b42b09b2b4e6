//! Transactions that the target refuses, under each policy; and what follows them on the wire.

use std::borrow::Cow;

use lockstep_apply::ApplySettings;
use lockstep_common::config::ConflictPolicy;
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::{FailPoints, Value};

use crate::bed::Bed;
use crate::source::{INT, account, accounts, at, change, delete, insert, int, table, update};

const ROWS: &str = "SELECT id, owner, balance FROM accounts ORDER BY id";

/// The trap of pipelining: the failed transaction is lost and later ones commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_the_middle_of_the_pipeline_stops_everything_behind_it() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(0, "x", 0))]).await;
    bed.catch_up().await;
    let mut transactions: Vec<_> = (1..=300).map(|i| vec![insert(a, account(i, "x", 1))]).collect();
    transactions[149].push(insert(a, account(0, "twice", 2)));
    bed.source.commit_all(&transactions).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.conflict");
    assert!(failure.message.contains(&at(151).to_string()), "{failure}");
    assert!(failure.message.contains("23505"), "{failure}");
    assert!(failure.message.contains("insert on dbo.accounts"), "{failure}");
    assert!(failure.message.contains("accounts_pkey"), "{failure}");
    assert!(!failure.message.contains("twice"), "{failure}");
    assert_eq!(bed.query("SELECT count(*), max(id) FROM accounts").await, ["150|149"]);
    assert_eq!(bed.query("SELECT position FROM lockstep.checkpoint").await, [at(150).to_string()]);
    // The row out of the way, it goes on where it stood.
    bed.query("DELETE FROM accounts WHERE id = 0").await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT count(*), max(id) FROM accounts").await, ["301|300"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_not_there_halt() {
    for many in [1, 3] {
        for operation in [Operation::Update, Operation::Delete] {
            let mut bed = Bed::new().await;
            let a = bed.source.table(&accounts()).await;
            let rows: Vec<_> = (0..many).map(|i| insert(a, account(i, "x", 1))).collect();
            bed.source.commit(&rows).await;
            bed.catch_up().await;
            bed.query("DELETE FROM accounts WHERE id = 0").await;
            let changes: Vec<_> = (0..many)
                .map(|i| match operation {
                    Operation::Update => update(a, account(i, "x", 1), account(i, "y", 2)),
                    _ => delete(a, account(i, "x", 1)),
                })
                .collect();
            bed.source.commit(&changes).await;
            bed.source.commit(&[insert(a, account(100, "behind", 1))]).await;
            let failure = bed.start().halts().await;
            assert_eq!(failure.code.as_str(), "apply.conflict");
            assert!(failure.message.contains("LS001"), "{failure}");
            assert_eq!(bed.query(ROWS).await.len() as i64, many - 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exceptions_set_the_whole_transaction_aside_and_go_on() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut transactions: Vec<_> = (2..=60).map(|i| vec![insert(a, account(i, "x", 1))]).collect();
    // Position 21: its third change is refused; position 41: a value PostgreSQL cannot store.
    transactions[19] = vec![
        insert(a, account(201, "gone", 1)),
        insert(a, account(202, "gone", 1)),
        insert(a, account(1, "twice", 1)),
        insert(a, account(203, "gone", 1)),
    ];
    transactions[39] = vec![insert(a, account(204, "nul\0", 1))];
    bed.source.commit_all(&transactions).await;
    let mut settings = bed.settings();
    settings.config.on_conflict = ConflictPolicy::Exceptions;
    let status = bed.catch_up_with(settings.clone()).await;
    assert_eq!((status.exceptions, status.diverged), (2, true));
    assert_eq!(bed.query("SELECT count(*), max(id) FROM accounts").await, ["58|60"]);
    let noted = bed
        .query(
            "SELECT kind, position, source_table, operation, change, sqlstate, \
             next_offset > first_offset FROM lockstep.exceptions ORDER BY id",
        )
        .await;
    assert_eq!(
        noted,
        [
            format!("refused|{}|dbo.accounts|insert|2|23505|t", at(21)),
            format!("refused|{}|dbo.accounts|insert|0|NULL|t", at(41)),
        ]
    );
    assert_eq!(bed.query("SELECT seq FROM lockstep.checkpoint").await, ["60"]);
    // Still said after a restart.
    let mut apply = bed.start_with(settings, FailPoints::default());
    let status = apply.until("divergence", |status| status.diverged).await;
    assert_eq!(status.exceptions, 2);
    apply.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn converge_upserts() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.query(
        "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int); \
         INSERT INTO accounts VALUES (1, 'old', 0), (7, 'old', 7)",
    )
    .await;
    bed.source
        .commit(&[
            insert(a, account(1, "new", 1)),
            insert(a, account(2, "new", 2)),
            insert(a, account(2, "newer", 3)),
            update(a, account(3, "x", 0), account(3, "absent", 3)),
            update(a, account(7, "old", 7), account(8, "rekeyed", 8)),
            update(a, account(10, "x", 0), account(11, "both absent", 11)),
            delete(a, account(99, "x", 0)),
            change(
                a,
                Operation::Update,
                Before::Key(vec![int(50)]),
                vec![int(50), Value::Unavailable, int(1)],
            ),
        ])
        .await;
    let mut settings = bed.settings();
    settings.config.on_conflict = ConflictPolicy::Converge;
    bed.catch_up_with(settings).await;
    let rows = bed.query(ROWS).await;
    assert_eq!(rows, ["1|new|1", "2|newer|3", "3|absent|3", "8|rekeyed|8", "11|both absent|11"]);
    let noted = bed.query("SELECT kind, source_table, change FROM lockstep.exceptions").await;
    assert_eq!(noted, ["absent|dbo.accounts|7"]);
}

/// What `converge` found otherwise than the source had it is counted with the commit that forces it in, one
/// row to a statement or many, and shown until the table is loaded again; what is as it was is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_converge_forces_in_is_counted_and_shown() {
    const FORCED: &str = "SELECT source_table, operation, rows FROM lockstep.forced ORDER BY 1, 2";
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    let keyless = table("lines", 0, &[("n", INT), ("m", INT)]);
    let k = bed.source.table(&keyless).await;
    let row = |id| account(id, "x", 1);
    let line = |n: i64| vec![int(n), int(n)];
    let many = |ids: std::ops::Range<i64>| ids.map(|id| insert(a, row(id))).collect::<Vec<_>>();
    bed.source.commit(&many(1..11)).await;
    bed.source.commit(&(1..6).map(|n| insert(k, line(n))).collect::<Vec<_>>()).await;
    let settings = {
        let mut settings = bed.settings();
        settings.config.on_conflict = ConflictPolicy::Converge;
        settings
    };
    let mut apply = bed.start_with(settings.clone(), FailPoints::default());
    // As the source has it: inserts, updates that keep and change keys, deletes.
    bed.source.commit(&[update(a, row(1), account(1, "y", 2)), update(a, row(2), row(12))]).await;
    bed.source.commit(&[delete(a, row(12)), insert(a, row(12)), delete(a, row(12))]).await;
    let n = bed.source.commit(&[update(k, line(1), line(7)), delete(k, line(2))]).await;
    let status = apply.reaches(n).await;
    assert_eq!((status.forced, status.diverged), (0, false), "{status:?}");
    assert!(bed.query(FORCED).await.is_empty());
    // The target loses rows, and gets some of its own.
    bed.query("DELETE FROM accounts WHERE id IN (3, 4); DELETE FROM lines WHERE n IN (3, 4)").await;
    bed.query("INSERT INTO accounts SELECT n, 'own', 0 FROM generate_series(21, 26) AS n").await;
    bed.source.commit(&[insert(a, row(21))]).await;
    bed.source.commit(&many(22..32)).await;
    bed.source.commit(&[update(a, row(3), account(3, "again", 3))]).await;
    bed.source.commit(&[delete(a, row(4))]).await;
    let gone: Vec<_> = [3, 4, 7, 8].map(|id| delete(a, row(id))).to_vec();
    bed.source.commit(&gone).await;
    let n = bed.source.commit(&[update(k, line(3), line(8)), delete(k, line(4))]).await;
    apply.reaches(n).await;
    let counted = [
        "dbo.accounts|delete|2",
        "dbo.accounts|insert|6",
        "dbo.accounts|update|1",
        "dbo.lines|delete|1",
        "dbo.lines|update|1",
    ];
    assert_eq!(bed.query(FORCED).await, counted);
    let status = apply.until("what was forced", |s| s.forced == 11).await;
    assert!(status.diverged && status.exceptions == 0, "{status:?}");
    let ids = bed.query("SELECT id FROM accounts ORDER BY id").await;
    let left: Vec<String> =
        [1, 5, 6, 9, 10].into_iter().chain(21..32).map(|n| n.to_string()).collect();
    assert_eq!(ids, left);
    assert_eq!(bed.query("SELECT n FROM lines ORDER BY n").await, ["5", "7", "8"]);
    apply.stop().await;
    // A restart knows it; a load of the table settles what was of it.
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.until("what was forced before", |s| s.forced == 11 && s.diverged).await;
    apply.stop().await;
    bed.query("UPDATE lockstep.forced SET rows = 0").await;
    let status = bed.catch_up().await;
    assert_eq!((status.forced, status.diverged), (0, false), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_postgresql_cannot_store_halt_by_name() {
    let surrogate = Value::Utf16(Cow::Owned(vec![0x00, 0xd8]));
    let cases = [(Value::String("a\0b".into()), "U+0000"), (surrogate, "surrogate")];
    for (value, word) in cases {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        bed.source
            .commit(&[insert(a, account(2, "x", 1)), insert(a, vec![int(3), value, int(1)])])
            .await;
        bed.source.commit(&[insert(a, account(4, "x", 1))]).await;
        let failure = bed.start().halts().await;
        assert_eq!(failure.code.as_str(), "apply.conflict");
        assert!(failure.message.contains(word), "{failure}");
        assert!(failure.message.contains("\"owner\""), "{failure}");
        assert_eq!(bed.query("SELECT id FROM accounts").await, ["1"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_and_foreign_keys_do_not_fire_in_replica_role() {
    let mut bed = Bed::new().await;
    bed.query(
        "CREATE TABLE owners (name text PRIMARY KEY); \
         CREATE TABLE accounts (id int PRIMARY KEY, owner text REFERENCES owners, balance int)",
    )
    .await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "nobody", 1))]).await;
    bed.catch_up().await;
    assert_eq!(bed.query(ROWS).await, ["1|nobody|1"]);
    // A role without the right says so, and foreign keys hold.
    bed.source.commit(&[insert(a, account(2, "nobody either", 1))]).await;
    let apply = bed.start_with(plain_role(&bed).await, FailPoints::default());
    let status = apply.status.clone();
    let failure = apply.halts().await;
    assert!(failure.message.contains("23503"), "{failure}");
    let notices = status.borrow().notices.join(" ");
    assert!(notices.contains("session_replication_role"), "{notices}");
}

/// SQL Server checks a foreign key when its statement ends, and so must what comes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_refer_to_each_other_go_together_where_foreign_keys_fire() {
    let mut bed = Bed::new().await;
    bed.query(
        "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int REFERENCES accounts)",
    )
    .await;
    let a = bed.source.table(&accounts()).await;
    // Each even one refers to the odd one before it.
    let row = |id: i64| account(id, "x", id - (id - 1) % 2);
    let gone = |ids: &[i64]| ids.iter().map(|id| delete(a, row(*id))).collect::<Vec<_>>();
    bed.source.commit(&(1..=6).map(|id| insert(a, row(id))).collect::<Vec<_>>()).await;
    bed.catch_up().await;
    bed.source.commit(&gone(&[1, 2])).await;
    bed.source.commit(&gone(&[3, 4, 5, 6])).await;
    let settings = plain_role(&bed).await;
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query(ROWS).await, [] as [&str; 0]);
}

/// For a role that may not set `session_replication_role`.
async fn plain_role(bed: &Bed) -> ApplySettings {
    let role = format!("plain_{}", bed.database.name);
    bed.query(&format!(
        "CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public, lockstep TO {role}; \
         GRANT USAGE ON SCHEMA lockstep TO {role}"
    ))
    .await;
    let mut settings = bed.settings();
    settings.config.user = role;
    settings
}
