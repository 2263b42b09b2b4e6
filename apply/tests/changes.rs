//! What changes do to tables.

use lockstep_common::Value;
use lockstep_common::model::record::{Before, Operation};

use crate::bed::Bed;
use crate::source::{
    INT, TEXT, account, accounts, change, delete, insert, int, table, text, update,
};

const ACCOUNTS: &str = "SELECT id, owner, balance FROM accounts ORDER BY id";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inserts_updates_and_deletes_of_several_tables_arrive() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    let log = bed.source.table(&table("audit", 2, &[("a", INT), ("b", INT), ("what", TEXT)])).await;
    let entry = |a, b, what: &str| vec![int(a), int(b), text(what)];
    bed.source
        .commit(&[
            insert(a, account(1, "ann", 10)),
            insert(a, account(2, "bob", 20)),
            insert(a, account(3, "cid", 30)),
            insert(log, entry(1, 1, "open")),
            insert(a, account(4, "dee", 40)),
        ])
        .await;
    bed.source
        .commit(&[
            update(a, account(1, "ann", 10), account(1, "ann", 5)),
            update(a, account(2, "bob", 20), account(2, "bob", 25)),
            delete(a, account(3, "cid", 30)),
            delete(log, entry(1, 1, "open")),
            insert(log, entry(1, 2, "move")),
        ])
        .await;
    let status = bed.catch_up().await;
    assert_eq!(bed.query(ACCOUNTS).await, ["1|ann|5", "2|bob|25", "4|dee|40"]);
    assert_eq!(bed.query("SELECT a, b, what FROM audit").await, ["1|2|move"]);
    let counts = status.tables["dbo.accounts"];
    assert_eq!((counts.inserts, counts.updates, counts.deletes), (4, 2, 1));
    assert_eq!(status.transactions, 2);
    let seq = bed.query("SELECT seq, position, commit_time FROM lockstep.checkpoint").await;
    assert_eq!(seq, ["2|1/00000000:00000002|1970-01-01 00:00:02+00"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_one_by_one_and_in_sets() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    let rows: Vec<_> = (1..=5).map(|i| insert(a, account(i, "x", i * 10))).collect();
    bed.source.commit(&rows).await;
    // One row; then a chain of the same row; then a swap through a third key.
    bed.source.commit(&[update(a, account(5, "x", 50), account(50, "x", 50))]).await;
    bed.source
        .commit(&[
            update(a, account(4, "x", 40), account(40, "x", 40)),
            update(a, account(40, "x", 40), account(41, "x", 40)),
            update(a, account(1, "x", 10), account(99, "x", 10)),
            update(a, account(2, "x", 20), account(1, "x", 20)),
            update(a, account(99, "x", 10), account(2, "x", 10)),
        ])
        .await;
    // A set: disjoint old and new keys, and a delete and an insert of the same key.
    bed.source
        .commit(&[
            update(a, account(1, "x", 20), account(101, "x", 20)),
            update(a, account(2, "x", 10), account(102, "x", 10)),
            delete(a, account(3, "x", 30)),
            insert(a, account(3, "y", 31)),
        ])
        .await;
    bed.catch_up().await;
    let rows = bed.query(ACCOUNTS).await;
    assert_eq!(rows, ["3|y|31", "41|x|40", "50|x|50", "101|x|20", "102|x|10"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_columns_are_never_written() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source
        .commit(&[insert(a, account(1, "long text", 1)), insert(a, account(2, "b", 2))])
        .await;
    let touched = |id, balance| vec![int(id), Value::Unavailable, int(balance)];
    bed.source
        .commit(&[
            update(a, touched(1, 1), touched(1, 7)),
            change(a, Operation::Update, Before::None, touched(2, 8)),
            change(a, Operation::Update, Before::Key(vec![int(2)]), touched(3, 9)),
            insert(a, vec![int(4), Value::Unavailable, int(4)]),
            // Nothing but the key is known: the row has to be there.
            change(
                a,
                Operation::Update,
                Before::None,
                vec![int(1), Value::Unavailable, Value::Unavailable],
            ),
        ])
        .await;
    bed.catch_up().await;
    assert_eq!(bed.query(ACCOUNTS).await, ["1|long text|7", "3|b|9", "4|NULL|4"]);
}

/// An untouched MAX column is in the after image only; it still tells two rows apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unrecorded_column_of_a_table_without_key_is_taken_from_the_after_image() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&table("heap", 0, &[("n", INT), ("s", TEXT)])).await;
    let row = |n, s: &str| vec![int(n), text(s)];
    bed.source.commit(&[insert(t, row(1, "other")), insert(t, row(1, "this"))]).await;
    let mut moved = update(t, vec![int(1), Value::Unavailable], row(2, "this"));
    moved.changed = vec![1].into();
    bed.source.commit(&[moved]).await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT * FROM heap ORDER BY n").await, ["1|other", "2|this"]);
}

/// Which of two rows was meant cannot be known: neither is touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_fits_two_different_rows_is_refused() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&table("heap", 0, &[("n", INT), ("s", TEXT)])).await;
    let row = |n, s: &str| vec![int(n), text(s)];
    bed.source.commit(&[insert(t, row(1, "a")), insert(t, row(1, "b"))]).await;
    bed.source.commit(&[delete(t, vec![int(1), Value::Unavailable])]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.conflict", "{failure}");
    assert!(failure.remedy.starts_with("several rows of the target fit"), "{}", failure.remedy);
    assert_eq!(bed.query("SELECT * FROM heap ORDER BY s").await, ["1|a", "1|b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_without_key_are_told_apart_by_whole_rows() {
    use lockstep_common::LogicalType::F64;
    let mut bed = Bed::new().await;
    let t = bed.source.table(&table("heap", 0, &[("n", INT), ("f", F64), ("s", TEXT)])).await;
    let row =
        |n: Option<i64>, f: f64, s: &str| vec![n.map_or(Value::Null, int), Value::F64(f), text(s)];
    bed.source
        .commit(&[
            insert(t, row(Some(1), 0.0, "same")),
            insert(t, row(Some(1), 0.0, "same")),
            insert(t, row(Some(1), -0.0, "same")),
            insert(t, row(None, 1.5, "null")),
            insert(t, row(Some(2), 0.1, "Case")),
            insert(t, row(Some(2), 0.1, "case")),
        ])
        .await;
    bed.source
        .commit(&[
            delete(t, row(Some(1), -0.0, "same")),
            update(t, row(Some(1), 0.0, "same"), row(Some(1), 0.0, "other")),
            update(t, row(None, 1.5, "null"), row(Some(9), 1.5, "null")),
            delete(t, row(Some(2), 0.1, "Case")),
            // A column that the source did not record identifies nothing.
            update(
                t,
                vec![int(2), Value::F64(0.1), Value::Unavailable],
                vec![int(3), Value::F64(0.1), Value::Unavailable],
            ),
        ])
        .await;
    bed.catch_up().await;
    let rows = bed.query("SELECT n, f, s FROM heap ORDER BY n, s").await;
    assert_eq!(rows, ["1|0|other", "1|0|same", "3|0.1|case", "9|1.5|null"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_under_another_unique_constraint_may_change_places() {
    let mut bed = Bed::new().await;
    bed.query(
        "CREATE TABLE accounts (id int PRIMARY KEY, owner text UNIQUE, balance int); \
         CREATE TABLE child (id int REFERENCES accounts ON DELETE CASCADE)",
    )
    .await;
    let a = bed.source.table(&accounts()).await;
    let rows: Vec<_> = ["a", "b", "c"].iter().zip(1..).collect();
    let inserts: Vec<_> = rows.iter().map(|(s, i)| insert(a, account(*i, s, 0))).collect();
    bed.source.commit(&inserts).await;
    bed.catch_up().await;
    bed.query("INSERT INTO child VALUES (1), (2), (3)").await;
    // UPDATE accounts SET owner = the next one's, in one statement of the source.
    bed.source
        .commit(&[
            update(a, account(1, "a", 0), account(1, "b", 0)),
            update(a, account(2, "b", 0), account(2, "c", 0)),
            update(a, account(3, "c", 0), account(3, "a", 0)),
        ])
        .await;
    bed.catch_up().await;
    assert_eq!(bed.query(ACCOUNTS).await, ["1|b|0", "2|c|0", "3|a|0"]);
    assert_eq!(bed.query("SELECT count(*) FROM child").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_carried_by_rule_and_always_quoted() {
    let mut bed = Bed::new().await;
    let hostile = table("Weird \"Tab.le\"", 1, &[("Select", INT), ("a\"b é", TEXT)]);
    let t = bed.source.table(&hostile).await;
    bed.source
        .commit(&[insert(t, vec![int(1), text("x")]), insert(t, vec![int(2), text("y")])])
        .await;
    bed.source.commit(&[update(t, vec![int(1), text("x")], vec![int(1), text("z")])]).await;
    let mut settings = bed.settings();
    settings.config.schemas.clear();
    settings.config.names = lockstep_common::config::NameRule::Lower;
    bed.catch_up_with(settings).await;
    let rows = bed
        .query("SELECT \"select\", \"a\"\"b é\" FROM dbo.\"weird \"\"tab.le\"\"\" ORDER BY 1")
        .await;
    assert_eq!(rows, ["1|z", "2|y"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncate_empties_the_table() {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1)), insert(a, account(2, "x", 1))]).await;
    bed.source
        .commit(&[
            change(a, Operation::Truncate, Before::None, Vec::new()),
            insert(a, account(2, "y", 2)),
        ])
        .await;
    bed.catch_up().await;
    assert_eq!(bed.query(ACCOUNTS).await, ["2|y|2"]);
}
