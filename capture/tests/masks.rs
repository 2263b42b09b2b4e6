//! Update masks and values that are not recorded, on tables of every width at which the mask grows by a
//! byte, and of as many columns as can be captured.

use lockstep_common::model::record::{Before, Operation};
use lockstep_common::{Failure, Value};

use crate::contents::Contents;
use crate::server::{Server, text};
use crate::service::{Bed, Running};

/// Whether column `k` (from 1) is a MAX column: the second, those around the byte boundaries of the
/// mask, and the last.
fn is_max(k: usize, columns: usize) -> bool {
    k > 1 && (k == 2 || k % 8 < 2 || k == columns)
}

fn definitions(columns: usize) -> String {
    let column = |k: usize| match k {
        1 => "c1 int NOT NULL PRIMARY KEY".to_owned(),
        k if is_max(k, columns) => format!("c{k} nvarchar(max) NULL"),
        k => format!("c{k} tinyint NULL"),
    };
    (1..=columns).map(column).collect::<Vec<_>>().join(", ")
}

/// Bits of a row: that of column `k` (from 1) is bit `(k - 1) % 8` of byte `(k - 1) / 8`.
fn bits(columns: usize, set: &[usize]) -> Vec<u8> {
    let mut bits = vec![0; columns.div_ceil(8)];
    set.iter().for_each(|k| bits[(k - 1) / 8] |= 1 << ((k - 1) % 8));
    bits
}

/// Inserts a row, sets each of `updated` alone and then all of them together, deletes the row; and
/// what is read must be what was recorded.
async fn updates_are_told_apart(server: &mut Server, columns: usize, updated: &[usize]) {
    let value = |k: usize, round: usize| {
        if is_max(k, columns) { text(&format!("v{round}")) } else { Value::I64(round as i64) }
    };
    let literal = |k: usize, round: usize| {
        if is_max(k, columns) { format!("N'v{round}'") } else { round.to_string() }
    };
    let values: Vec<String> = (2..=columns).map(|k| literal(k, 0)).collect();
    let values = std::iter::once("1".to_owned()).chain(values).collect::<Vec<_>>().join(", ");
    server.admin.run(&format!("INSERT INTO dbo.t VALUES ({values})")).await;
    let mut rounds: Vec<Vec<usize>> = updated.iter().map(|k| vec![*k]).collect();
    rounds.push(updated.to_vec());
    for (i, set) in rounds.iter().enumerate() {
        let set: Vec<String> =
            set.iter().map(|k| format!("c{k} = {}", literal(*k, i + 1))).collect();
        server.admin.run(&format!("UPDATE dbo.t SET {}", set.join(", "))).await;
    }
    server.captured("DELETE FROM dbo.t").await;

    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let changes = changes(&contents);
    assert_eq!(changes.len(), rounds.len() + 2, "{columns} columns");
    let mut row: Vec<Value<'static>> = (1..=columns).map(|k| value(k, 0)).collect();
    row[0] = Value::I64(1);
    assert_eq!(changes[0].after, row, "{columns} columns");
    for (i, set) in rounds.iter().enumerate() {
        let change = changes[i + 1];
        let what = format!("{columns} columns, {set:?} set");
        assert_eq!(change.operation, Operation::Update, "{what}");
        assert_eq!(change.changed.as_ref(), bits(columns, set), "{what}");
        let recorded = |k: usize| !is_max(k, columns) || set.contains(&k);
        let before = (1..=columns)
            .map(|k| if recorded(k) { row[k - 1].clone() } else { Value::Unavailable })
            .collect();
        assert_eq!(change.before, Before::Full(before), "{what}");
        set.iter().for_each(|k| row[k - 1] = value(*k, i + 1));
        assert_eq!(change.after, row, "{what}");
    }
    let last = changes[rounds.len() + 1];
    assert_eq!(last.operation, Operation::Delete);
    assert_eq!(last.before, Before::Full(row), "{columns} columns: a delete has MAX values");
}

fn changes(contents: &Contents) -> Vec<&lockstep_common::model::record::Change<'static>> {
    contents.transactions.iter().flat_map(|transaction| &transaction.changes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_are_read_from_their_end_at_every_width() {
    for columns in [8, 9, 64, 65] {
        let mut server = Server::new().await;
        server.table("t", &definitions(columns)).await;
        let all: Vec<usize> = (2..=columns).collect();
        let some = if columns < 10 { &all[..] } else { &[2, 7, 8, 9, 16, 17, 33, 63, 64, 65] };
        let some: Vec<usize> = some.iter().copied().filter(|k| *k <= columns).collect();
        updates_are_told_apart(&mut server, columns, &some).await;
    }
}

/// A table may have 1024 columns, and a mask has room for as many bits.
#[tokio::test(flavor = "multi_thread")]
async fn masks_are_read_from_their_end_in_the_widest_table() {
    let mut server = Server::new().await;
    let widest = server.widest_captured(definitions).await;
    assert!(widest >= 1000, "{widest}");
    println!("{widest} columns");
    let some = [2, 8, 9, 255, 256, 257, 511, 513, widest - 1, widest];
    updates_are_told_apart(&mut server, widest, &some).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_one_column_has_a_mask_of_one_bit() {
    let mut server = Server::new().await;
    server.table("t", "c1 nvarchar(max) NULL").await;
    server.admin.run("INSERT INTO dbo.t VALUES (N'a')").await;
    server.admin.run("UPDATE dbo.t SET c1 = N'b'").await;
    server.admin.run("UPDATE dbo.t SET c1 = NULL").await;
    server.captured("DELETE FROM dbo.t").await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let changes = changes(&contents);
    let rows: Vec<_> = changes.iter().map(|c| (c.changed.to_vec(), &c.before, &c.after)).collect();
    let full = |value: Value<'static>| Before::Full(vec![value]);
    assert_eq!(
        rows,
        [
            (vec![], &Before::None, &vec![text("a")]),
            (vec![1], &full(text("a")), &vec![text("b")]),
            (vec![1], &full(text("b")), &vec![Value::Null]),
            // The column was NULL, and a delete says so.
            (vec![], &full(Value::Null), &vec![]),
        ]
    );
}

/// The mask counts captured columns, whatever their place in the table.
#[tokio::test(flavor = "multi_thread")]
async fn the_mask_counts_captured_columns_only() {
    let mut server = Server::new().await;
    let columns: Vec<String> = (2..=30).map(|k| format!("c{k} int NULL")).collect();
    server
        .admin
        .run(&format!("CREATE TABLE dbo.t (c1 int NOT NULL PRIMARY KEY, {})", columns.join(", ")))
        .await;
    let odd: Vec<String> = (1..=30).step_by(2).map(|k| format!("c{k}")).collect();
    server
        .admin
        .run(&format!(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', \
             @role_name = NULL, @supports_net_changes = 0, @captured_column_list = N'{}'",
            odd.join(", ")
        ))
        .await;
    server.stop_job().await;
    server.admin.run("GRANT SELECT ON dbo.t TO reader").await;
    server.admin.run("GRANT SELECT ON cdc.dbo_t_CT TO reader").await;
    server.scan().await;
    server.admin.run("INSERT INTO dbo.t (c1, c2, c29) VALUES (1, 2, 29)").await;
    // One that is captured, one that is not, and both.
    server.admin.run("UPDATE dbo.t SET c17 = 17").await;
    server.admin.run("UPDATE dbo.t SET c18 = 18").await;
    server.captured("UPDATE dbo.t SET c29 = 30, c30 = 30").await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let updates: Vec<_> = changes(&contents).into_iter().skip(1).collect();
    assert_eq!(updates.first().expect("the first").changed.as_ref(), [0, 1]);
    assert_eq!(updates.last().expect("the last").changed.as_ref(), [0, 0b0100_0000]);
    assert_eq!(updates.last().expect("the last").after[14], Value::I64(30));
}

/// Some builds put NULL into NOT NULL columns of old rows. Whatever the column's type, that is not what
/// the row had.
#[tokio::test(flavor = "multi_thread")]
async fn a_not_null_column_that_an_old_row_lacks_is_unavailable() {
    let mut server = Server::new().await;
    let columns = "flag bit NOT NULL, n int NOT NULL, s nvarchar(9) NOT NULL, v int NULL";
    server.table("t", columns).await;
    server.admin.run("INSERT INTO dbo.t VALUES (1, 2, N'x', NULL)").await;
    server.admin.run("UPDATE dbo.t SET n = 3").await;
    server.captured("DELETE FROM dbo.t").await;
    server
        .admin
        .run("UPDATE cdc.dbo_t_CT SET flag = NULL, n = NULL, s = NULL WHERE [__$operation] IN (1, 3)")
        .await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let befores: Vec<_> = changes(&contents).into_iter().map(|c| c.before.clone()).collect();
    let gone = || Value::Unavailable;
    assert_eq!(
        befores,
        [
            Before::None,
            // What the update did not set, its new row has.
            Before::Full(vec![Value::Bool(true), gone(), text("x"), Value::Null]),
            Before::Full(vec![gone(), gone(), gone(), Value::Null]),
        ]
    );
}

/// Changes of a key whose MAX value was not touched, was set, and was set to NULL.
async fn key_updates(server: &mut Server) {
    server.table("t", "id int NOT NULL PRIMARY KEY, note nvarchar(max) NULL, v int NULL").await;
    server
        .admin
        .run("INSERT INTO dbo.t SELECT n, REPLICATE(CAST(N'x' AS nvarchar(max)), 9000), 0 FROM (VALUES (1), (2), (3), (4)) AS a (n)")
        .await;
    server.scan().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_set_to_null_with_the_key_is_null() {
    let mut server = Server::new().await;
    server.fault("key_update_max_null", "on").await;
    key_updates(&mut server).await;
    let bed = Bed::new().await;
    server.run_through(&bed).await;
    // Null now, gone now, and written again since.
    server.admin.run("UPDATE dbo.t SET id = 11, note = NULL WHERE id = 1").await;
    server.admin.run("UPDATE dbo.t SET id = 12, note = NULL WHERE id = 2").await;
    server.admin.run("DELETE FROM dbo.t WHERE id = 12").await;
    server.admin.run("UPDATE dbo.t SET id = 13, note = NULL WHERE id = 3").await;
    server.admin.run("UPDATE dbo.t SET note = N'again' WHERE id = 13").await;
    server.admin.run("UPDATE dbo.t SET id = 14, note = N'new' WHERE id = 4").await;
    server.scan().await;
    let mut running = server.follow(&bed.log);
    let newest = server.newest().await;
    // A row that has a value is looked at again when the capture job has come past that look.
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
    let mut n = 0;
    while running.status.borrow().position < newest {
        pace.tick().await;
        n += 1;
        server.fault("clock_advance", "2").await;
        server.captured(&format!("UPDATE dbo.t SET v = {n} WHERE id = 14")).await;
        assert!(n < 400, "{:?}", *running.status.borrow());
    }
    running.reaches(newest).await;
    running.stop().await.expect("it stops as asked");
    let contents = crate::contents::read(bed.log.as_ref()).await;
    let inserted = |id: i64| {
        let mut all = changes(&contents).into_iter();
        all.find(|c| c.operation == Operation::Insert && c.after[0] == Value::I64(id))
            .map(|c| c.after[1].clone())
    };
    for id in [11, 12, 13] {
        assert_eq!(inserted(id), Some(Value::Null), "{id}");
    }
    assert_eq!(inserted(14), Some(text("new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_a_key_update_leaves_out_halts() {
    for leaves_out in [false, true] {
        let mut server = Server::new().await;
        server.fault("key_update_max_null", if leaves_out { "on" } else { "off" }).await;
        key_updates(&mut server).await;
        let bed = Bed::new().await;
        server.captured("UPDATE dbo.t SET id = 9 WHERE id = 1").await;
        let newest = server.newest().await;
        let mut running = server.follow(&bed.log);
        if !leaves_out {
            running.reaches(newest).await;
            running.stop().await.expect("it stops as asked");
            continue;
        }
        let failure = halts(&mut server, running).await;
        assert_eq!(failure.code.as_str(), "source.left_out", "{failure}");
        assert!(failure.message.contains("dbo.t") && failure.message.contains("note"), "{failure}");
    }
}

/// What an update shows of a value that was changed in part, alone and beside another column: all of it,
/// whatever its mask says, or capture halts. (Nothing tells of an update that leaves no row, nor of NULL
/// whose bit is not set beside another column.)
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_changed_in_part_comes_whole_or_halts() {
    for (answer, beside, whole) in [
        ("full", "", true),
        ("full", ", v = 7", true),
        ("unmarked", "", true),
        ("unmarked", ", v = 7", true),
        ("null", "", false),
        ("null", ", v = 7", false),
        ("piece", "", false),
        ("piece", ", v = 7", false),
        ("unmarked_null", "", false),
    ] {
        let mut server = Server::new().await;
        key_updates(&mut server).await;
        server.fault("max_write", answer).await;
        let bed = Bed::new().await;
        // What is NULL before and after is no doubt where the row has no value.
        server.admin.run("INSERT INTO dbo.t VALUES (8, NULL, 0)").await;
        server.admin.run("UPDATE dbo.t SET note = NULL WHERE id = 8").await;
        let update = format!("UPDATE dbo.t SET note.WRITE(N'piece', 10, 3){beside} WHERE id = 1");
        server.captured(&update).await;
        let newest = server.newest().await;
        let mut running = server.follow(&bed.log);
        if whole {
            running.reaches(newest).await;
            running.stop().await.expect("it stops as asked");
            let contents = crate::contents::read(bed.log.as_ref()).await;
            let last = changes(&contents).last().map(|change| change.after[1].clone());
            let expected = format!("{}piece{}", "x".repeat(10), "x".repeat(8987));
            assert!(last == Some(text(&expected)), "{answer}{beside}");
            continue;
        }
        let failure = halts(&mut server, running).await;
        assert_eq!(failure.code.as_str(), "source.left_out", "{answer}{beside}: {failure}");
    }
}

/// How capture ends while the job goes on: a value is known to be left out once the job has come past.
async fn halts(server: &mut Server, running: Running) -> Failure {
    let mut ended = std::pin::pin!(running.ends());
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(50));
    loop {
        tokio::select! {
            ended = &mut ended => return ended.expect_err("it halts"),
            _ = pace.tick() => {}
        }
        server.fault("clock_advance", "2").await;
        server.captured("UPDATE dbo.t SET v = v + 1 WHERE id = 2").await;
    }
}

/// Pieces of values of other types, and of a table whose key has two columns.
#[tokio::test(flavor = "multi_thread")]
async fn a_piece_is_told_from_the_whole_in_every_type() {
    for (ty, value, piece) in [
        ("varchar(max)", "REPLICATE(CAST('é' AS varchar(max)), 9000)", "'piece'"),
        (
            "varchar(max) COLLATE Latin1_General_100_CI_AS_SC_UTF8",
            "REPLICATE(CAST('x' AS varchar(max)), 9000)",
            "'piece'",
        ),
        ("varbinary(max)", "CAST(REPLICATE('x', 8000) AS varbinary(max))", "0x0102"),
    ] {
        for answer in ["full", "piece"] {
            let mut server = Server::new().await;
            let columns = format!(
                "id int NOT NULL, k nvarchar(9) NOT NULL, note {ty} NULL, v int NULL, PRIMARY KEY (k, id)"
            );
            server.table("t", &columns).await;
            let rows =
                format!("INSERT INTO dbo.t VALUES (1, N'a', {value}, 0), (2, N'b', {value}, 0)");
            server.captured(&rows).await;
            server.fault("max_write", answer).await;
            let bed = Bed::new().await;
            // Set whole: right under every answer.
            server.admin.run(&format!("UPDATE dbo.t SET note = {value} WHERE id = 2")).await;
            let write = format!("UPDATE dbo.t SET note.WRITE({piece}, NULL, 0) WHERE id = 1");
            server.captured(&write).await;
            let newest = server.newest().await;
            let mut running = server.follow(&bed.log);
            if answer == "full" {
                running.reaches(newest).await;
                running.stop().await.expect("it stops as asked");
                continue;
            }
            let failure = halts(&mut server, running).await;
            assert_eq!(failure.code.as_str(), "source.left_out", "{ty}: {failure}");
        }
    }
}

/// A piece that a later change has whole does no harm; nor does one of a row that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_a_later_change_has_whole_passes() {
    let mut server = Server::new().await;
    key_updates(&mut server).await;
    let bed = Bed::new().await;
    server.run_through(&bed).await;
    server.fault("max_write", "piece").await;
    for id in [1, 2, 3] {
        let write = format!("UPDATE dbo.t SET note.WRITE(N'piece', NULL, 0) WHERE id = {id}");
        server.admin.run(&write).await;
    }
    server.scan().await;
    server.admin.run("UPDATE dbo.t SET note = N'whole' WHERE id = 1").await;
    server.admin.run("DELETE FROM dbo.t WHERE id = 2").await;
    server.admin.run("UPDATE dbo.t SET id = 33, note = N'moved' WHERE id = 3").await;
    server.scan().await;
    let contents = server.run_through(&bed).await;
    let last = |id: i64| {
        let mut of =
            changes(&contents).into_iter().filter(|c| c.after.first() == Some(&Value::I64(id)));
        of.next_back().map(|c| c.after[1].clone())
    };
    assert_eq!((last(1), last(33)), (Some(text("whole")), Some(text("moved"))));
}

/// Of several changes of a row that are read together, each column's last one counts from its own place: what
/// a delete and an insert between them brought is no value that was left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_deleted_and_inserted_between_its_updates_passes() {
    let mut server = Server::new().await;
    let columns = "id int NOT NULL PRIMARY KEY, a nvarchar(max) NULL, b nvarchar(max) NULL";
    server.table("t", columns).await;
    server.captured("INSERT INTO dbo.t VALUES (1, N'a', N'b')").await;
    let bed = Bed::new().await;
    server.run_through(&bed).await;
    for statement in [
        "UPDATE dbo.t SET a = N'longer than before' WHERE id = 1",
        "DELETE FROM dbo.t",
        "INSERT INTO dbo.t VALUES (1, N'again', N'b')",
        "UPDATE dbo.t SET b = N'another one' WHERE id = 1",
        // And in one transaction.
        "BEGIN TRAN; UPDATE dbo.t SET a = N'first'; DELETE FROM dbo.t; INSERT INTO dbo.t VALUES (1, N'second one', \
         N'b'); UPDATE dbo.t SET b = N'b of the second'; COMMIT",
    ] {
        server.admin.run(statement).await;
    }
    server.scan().await;
    let contents = server.run_through(&bed).await;
    let last = changes(&contents).last().map(|change| change.after[2].clone());
    assert_eq!(last, Some(text("b of the second")));
}
