//! Commit order, and order within a transaction over all tables.

use lockstep_common::model::record::{Before, Change, Operation};
use lockstep_common::{FailPoints, Value, config};

use crate::contents::{self, Contents};
use crate::server::{Server, text};
use crate::service::{Bed, capture};

/// Table, operation and first column of every change, transaction by transaction.
fn outline(contents: &Contents) -> Vec<Vec<(String, Operation, i64)>> {
    let of = |change: &Change<'static>| {
        let row = match &change.before {
            Before::Full(row) => row,
            _ => &change.after,
        };
        let Value::I64(id) = row[0] else { panic!("a number first: {row:?}") };
        (contents.versions[&change.table].name.table.clone(), change.operation, id)
    };
    contents.transactions.iter().map(|t| t.changes.iter().map(of).collect()).collect()
}

fn change(table: &str, operation: Operation, id: i64) -> (String, Operation, i64) {
    (table.to_owned(), operation, id)
}

use Operation::{Delete, Insert, Update};

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_transaction_keep_their_order_across_tables() {
    let mut server = Server::new().await;
    for table in ["b", "a"] {
        server.table(table, "id int NOT NULL PRIMARY KEY, v int NULL").await;
    }
    server
        .captured(
            "BEGIN TRAN; INSERT INTO dbo.a VALUES (1, 1); INSERT INTO dbo.b VALUES (2, 2); \
             INSERT INTO dbo.a VALUES (3, 3); UPDATE dbo.b SET v = 5 WHERE id = 2; \
             UPDATE dbo.a SET v = 6 WHERE id = 1; DELETE FROM dbo.b WHERE id = 2; COMMIT",
        )
        .await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let expected = vec![vec![
        change("a", Insert, 1),
        change("b", Insert, 2),
        change("a", Insert, 3),
        change("b", Update, 2),
        change("a", Update, 1),
        change("b", Delete, 2),
    ]];
    assert_eq!(outline(&contents), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_changes_are_deletes_before_inserts() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1), (2, 2), (3, 3)").await;
    server.captured("UPDATE dbo.t SET id = 9 WHERE id = 1").await;
    server.captured("UPDATE dbo.t SET id = id + 1").await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let outline = outline(&contents);
    assert_eq!(outline[0].len(), 3);
    assert_eq!(outline[1], [change("t", Delete, 1), change("t", Insert, 9)]);
    // Whatever the server makes of a set-based change of keys, replaying it must work: a key is
    // deleted before it is inserted again.
    let mut keys = std::collections::BTreeSet::from([2, 3, 9]);
    for (_, operation, id) in &outline[2] {
        match operation {
            Delete => assert!(keys.remove(id), "{id} is deleted but not there: {outline:?}"),
            _ => assert!(keys.insert(*id), "{id} is inserted but there: {outline:?}"),
        }
    }
    assert_eq!(keys, [3, 4, 10].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_transactions_come_whole_in_commit_order_and_rollbacks_never() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v nvarchar(10) NULL").await;
    let (mut one, mut two, mut three) =
        (server.session().await, server.session().await, server.session().await);
    one.run("BEGIN TRAN; INSERT INTO dbo.t VALUES (1, N'one')").await;
    two.run("BEGIN TRAN; INSERT INTO dbo.t VALUES (2, N'two')").await;
    three.run("BEGIN TRAN; INSERT INTO dbo.t VALUES (3, N'three')").await;
    one.run("INSERT INTO dbo.t VALUES (11, N'one')").await;
    two.run("INSERT INTO dbo.t VALUES (12, N'two')").await;
    two.run("COMMIT").await;
    three.run("ROLLBACK").await;
    one.run("UPDATE dbo.t SET v = N'1' WHERE id = 1; COMMIT").await;
    server.scan().await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let expected = vec![
        vec![change("t", Insert, 2), change("t", Insert, 12)],
        vec![change("t", Insert, 1), change("t", Insert, 11), change("t", Update, 1)],
    ];
    assert_eq!(outline(&contents), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_transaction_comes_in_many_fragments_with_one_connection_or_many() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v nvarchar(200) NULL").await;
    server.table("u", "id int NOT NULL PRIMARY KEY, v nvarchar(200) NULL").await;
    let mut session = server.session().await;
    session.run("BEGIN TRAN").await;
    for block in 0..40 {
        let rows: Vec<String> = (0..100)
            .map(|i| format!("({}, N'{}')", block * 100 + i, "0123456789".repeat(20)))
            .collect();
        session.run(&format!("INSERT INTO dbo.t VALUES {}", rows.join(", "))).await;
        session.run(&format!("INSERT INTO dbo.u VALUES ({block}, N'x')")).await;
    }
    session.run("COMMIT").await;
    server.scan().await;
    let many = Bed::new().await;
    let expected = server.run_through(&many).await;
    let [transaction] = expected.transactions.as_slice() else { panic!("one transaction") };
    assert_eq!(transaction.changes.len(), 4040);
    assert_eq!(transaction.changes[0].after[1], text(&"0123456789".repeat(20)));
    assert_eq!(transaction.changes[100].after, [Value::I64(0), text("x")]);
    assert!(expected.fragments[&transaction.position] > 1, "{:?}", expected.fragments);

    // In pages that end within the transaction, over a single connection.
    let one = Bed::new().await;
    let paged = config::Capture { max_connections: 1, page_rows: 37, ..capture() };
    let contents = server.run_through_with(&one, paged).await;
    assert_eq!(contents.transactions, expected.transactions);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tables_than_connections_give_the_same_log() {
    let mut server = Server::new().await;
    for i in 0..6 {
        server.table(&format!("t{i}"), "id int NOT NULL PRIMARY KEY, v int NULL").await;
    }
    for n in 0..30 {
        let statements: Vec<String> = (0..6)
            .filter(|i| (n + i) % 3 != 0)
            .flat_map(|i| {
                let id = n * 10;
                [
                    format!("INSERT INTO dbo.t{i} VALUES ({id}, 0), ({}, 0)", id + 1),
                    format!("UPDATE dbo.t{i} SET v = {n} WHERE id >= {}", id - 10),
                ]
            })
            .collect();
        server.admin.run(&format!("BEGIN TRAN; {}; COMMIT", statements.join("; "))).await;
    }
    server.scan().await;
    let bed = Bed::new().await;
    let expected = server.run_through(&bed).await;
    assert_eq!(expected.transactions.len(), 30);
    for (connections, rows) in [(1, 1), (2, 3), (3, 1000)] {
        let other = Bed::new().await;
        let capture = config::Capture {
            max_connections: connections,
            page_rows: rows,
            window_transactions: 7,
            ..capture()
        };
        let contents = server.run_through_with(&other, capture).await;
        assert_eq!(contents.transactions, expected.transactions, "{connections} connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_anywhere_gives_the_same_log() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v nvarchar(max) NULL").await;
    for n in 0..9 {
        server.admin.run(&format!("INSERT INTO dbo.t VALUES ({n}, N'{n}')")).await;
    }
    // Long values, so that fragments are appended within a transaction.
    server.admin.run("UPDATE dbo.t SET v = REPLICATE(CAST(N'y' AS nvarchar(max)), 700000)").await;
    server.admin.run("DELETE FROM dbo.t").await;
    server.scan().await;
    let bed = Bed::new().await;
    let expected = server.run_through(&bed).await;
    assert_eq!(expected.transactions.len(), 11);
    for point in crate::crashes::POINTS {
        for hit in [1, 2, 3] {
            let bed = Bed::new().await;
            let capture = config::Capture { window_transactions: 3, ..capture() };
            let newest = server.newest().await;
            let mut running =
                server.follow_with(&bed.log, capture.clone(), FailPoints::armed(point, hit));
            if point == lockstep_capture::fail_points::EPOCH_WRITTEN && hit > 1 {
                running.reaches(newest).await;
                running.stop().await.expect("it stops as asked");
            } else {
                assert_eq!(
                    running.ends().await.expect_err("it crashes").code.as_str(),
                    "failpoint"
                );
            }
            contents::read(bed.log.as_ref()).await;
            let contents = server.run_through_with(&bed, capture).await;
            assert_eq!(contents.transactions, expected.transactions, "{point}:{hit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_pass_and_cut_connections_change_nothing() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL").await;
    for n in 0..20 {
        server.admin.run(&format!("INSERT INTO dbo.t VALUES ({n}, {n})")).await;
    }
    server.scan().await;
    let bed = Bed::new().await;
    let expected = server.run_through(&bed).await;
    assert_eq!(expected.transactions.len(), 20);
    for number in [1205, 1222] {
        let bed = Bed::new().await;
        server
            .admin
            .run(&format!(
                "EXEC [double].set_fault @name = N'error', @value = N'{number},1,2', \
                 @object = N'cdc.dbo_t_CT'"
            ))
            .await;
        let contents = server.run_through(&bed).await;
        assert_eq!(contents.transactions, expected.transactions, "error {number}");
        server.fault("clear_errors", "").await;
    }
    for rows in [1, 5, 20, 40] {
        let bed = Bed::new().await;
        let newest = server.newest().await;
        server.double.faults().cut_after_rows(rows);
        let mut running = server.follow(&bed.log);
        running.reaches(newest).await;
        running.stop().await.expect("it stops as asked");
        let contents = contents::read(bed.log.as_ref()).await;
        assert_eq!(contents.transactions, expected.transactions, "cut after {rows} rows");
    }
}
