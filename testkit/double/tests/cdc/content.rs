//! What change tables hold: section 2 of the documents.

use std::sync::Arc;

use mssql_double::storage::*;
use mssql_double::{SqlType, Value};

use super::fixture::*;

#[test]
fn one_transaction_in_key_order_with_one_commit_lsn() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (_, commit) = server.commit(|txn| {
        let id = txn.insert(table, t(1, 10, "a")).expect("a new key");
        txn.update(table, vec![(id, t(1, 11, "a"))], &[1]).expect("it is there");
        txn.update(table, vec![(id, t(1, 12, "a"))], &[1]).expect("it is there");
        assert_eq!(txn.delete(table, id), Ok(true));
    });
    server.scan();
    let rows = server.rows("dbo_t_CT");
    assert_eq!(commands(&rows), [(2, 1), (3, 2), (4, 2), (3, 3), (4, 3), (1, 4)]);
    assert!(rows.iter().all(|row| lsn(&row[0]) == commit && row[1].is_null()));
    // 3 and 4 share the seqval, which precedes the commit.
    assert_eq!(row_pairs(&rows), [(1, 2), (3, 4)]);
    assert!(rows.iter().all(|row| lsn(&row[2]) < commit));
    let mapping = server.real_mappings();
    assert_eq!(mapping.len(), 1);
    assert_eq!(lsn(&mapping[0][0]), commit);
    assert!(lsn(&mapping[0][4]) < lsn(&rows[0][2]));
}

/// Places of rows with equal seqval and command id.
fn row_pairs(rows: &[Row]) -> Vec<(usize, usize)> {
    (1..rows.len())
        .filter(|at| rows[at - 1][2] == rows[*at][2] && rows[at - 1].last() == rows[*at].last())
        .map(|at| (at - 1, at))
        .collect()
}

#[test]
fn two_instances_share_one_command_counter() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", Some("v1")).expect("it is enabled");
    server.enable("t", Some("v2")).expect("it is enabled");
    server.commit(|txn| {
        let id = txn.insert(table, t(1, 10, "a")).expect("a new key");
        txn.update(table, vec![(id, t(1, 11, "a"))], &[1]).expect("it is there");
        assert_eq!(txn.delete(table, id), Ok(true));
    });
    server.scan();
    let ids = |rows: &[Row]| commands(rows).into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    let (v1, v2) = (server.rows("v1_CT"), server.rows("v2_CT"));
    assert_eq!((ids(&v1), ids(&v2)), (vec![1, 3, 3, 5], vec![2, 4, 4, 6]));
    // The same change has the same seqval in both.
    assert!(v1.iter().zip(&v2).all(|(a, b)| a[2] == b[2] && a[3] == b[3]));
}

#[test]
fn the_counter_runs_over_all_tables() {
    let server = Server::enabled();
    let table = server.create_t();
    let other =
        server.create(TableDef::new("dbo", "u", vec![ColumnDef::new("a", SqlType::Int, true)]));
    server.enable("t", None).expect("it is enabled");
    server.enable("u", None).expect("it is enabled");
    server.commit(|txn| {
        txn.insert(table, t(1, 1, "")).expect("a new key");
        txn.insert(other, Arc::new([Value::Int(1)])).expect("a heap");
        txn.insert(table, t(2, 2, "")).expect("a new key");
    });
    server.scan();
    assert_eq!(commands(&server.rows("dbo_t_CT")), [(2, 1), (2, 3)]);
    assert_eq!(commands(&server.rows("dbo_u_CT")), [(2, 2)]);
}

#[test]
fn commit_order_decides_and_records_interleave() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (mut first, mut second) = (server.begin(), server.begin());
    first.insert(table, t(1, 0, "")).expect("a new key");
    second.insert(table, t(2, 0, "")).expect("a new key");
    first.insert(table, t(3, 0, "")).expect("a new key");
    second.insert(table, t(4, 0, "")).expect("a new key");
    let second = second.commit().expect("it commits").expect("it has written");
    let first = first.commit().expect("it commits").expect("it has written");
    assert!(second < first);
    server.scan();
    let rows = server.rows("dbo_t_CT");
    let keys: Vec<i64> = rows.iter().map(|row| int(&row[5])).collect();
    assert_eq!(keys, [2, 4, 1, 3]);
    let mut by_seqval: Vec<(Lsn, i64)> =
        rows.iter().map(|row| (lsn(&row[2]), int(&row[5]))).collect();
    by_seqval.sort();
    assert_eq!(by_seqval.into_iter().map(|(_, key)| key).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let mapping = server.real_mappings();
    assert_eq!(mapping.iter().map(|row| lsn(&row[0])).collect::<Vec<_>>(), [second, first]);
    // The first began first: begin LSNs run against the commit order.
    assert!(lsn(&mapping[0][4]) > lsn(&mapping[1][4]));
}

#[test]
fn a_key_change_of_one_row_is_a_delete_and_an_insert_of_one_record() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (id, _) = server.commit(|txn| txn.insert(table, t(1, 10, "a")).expect("a new key"));
    server.commit(|txn| txn.update(table, vec![(id, t(2, 10, "a"))], &[0]).expect("a new key"));
    server.scan();
    let rows = &server.rows("dbo_t_CT")[1..];
    assert_eq!(commands(rows), [(1, 1), (2, 2)]);
    assert_eq!((rows[0][0].clone(), rows[0][2].clone()), (rows[1][0].clone(), rows[1][2].clone()));
    assert_eq!((int(&rows[0][5]), int(&rows[1][5])), (1, 2));
    // Both images are whole.
    assert!(rows.iter().all(|row| row[7] == Value::text("a") && row[4] == Value::binary(&[7])));
}

#[test]
fn a_key_change_of_many_rows_is_all_deletes_then_all_inserts() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (ids, _) =
        server.commit(|txn| [1, 2, 3].map(|k| txn.insert(table, t(k, k, "")).expect("a new key")));
    server.commit(|txn| {
        let rows = ids.iter().zip([2, 3, 4]).map(|(id, k)| (*id, t(k, k - 1, ""))).collect();
        txn.update(table, rows, &[0]).expect("keys move up");
    });
    server.scan();
    let rows = &server.rows("dbo_t_CT")[3..];
    assert_eq!(commands(rows), [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]);
    let keys: Vec<i64> = rows.iter().map(|row| int(&row[5])).collect();
    assert_eq!(keys, [1, 2, 3, 2, 3, 4]);
    let mut seqvals: Vec<Lsn> = rows.iter().map(|row| lsn(&row[2])).collect();
    let written = seqvals.clone();
    seqvals.sort();
    seqvals.dedup();
    assert_eq!(seqvals, written, "each has its own");
}

#[test]
fn rolled_back_work_never_appears() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let mut txn = server.begin();
    txn.insert(table, t(9, 9, "")).expect("a new key");
    txn.rollback();
    server.commit(|txn| {
        txn.insert(table, t(1, 1, "")).expect("a new key");
        let saved = txn.save();
        txn.insert(table, t(2, 2, "")).expect("a new key");
        txn.rollback_to(saved);
        txn.insert(table, t(3, 3, "")).expect("a new key");
    });
    server.scan();
    let rows = server.rows("dbo_t_CT");
    assert_eq!(rows.iter().map(|row| int(&row[5])).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(commands(&rows), [(2, 1), (2, 2)]);
}

#[test]
fn transactions_without_captured_changes_leave_nothing() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (id, _) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    let other =
        server.create(TableDef::new("dbo", "u", vec![ColumnDef::new("a", SqlType::Int, true)]));
    server.commit(|txn| txn.insert(other, Arc::new([Value::Int(1)])).expect("a heap"));
    server.scan();
    assert_eq!(server.real_mappings().len(), 1);
    // Only uncaptured columns are set.
    server
        .run(
            "sp_cdc_enable_table",
            &[
                ("@source_schema", Value::text("dbo")),
                ("@source_name", Value::text("t")),
                ("@role_name", Value::Null),
                ("@capture_instance", Value::text("narrow")),
                ("@captured_column_list", Value::text("v, [k]")),
            ],
        )
        .expect("it is enabled");
    server.commit(|txn| txn.update(table, vec![(id, t(1, 1, "new"))], &[2]).expect("it is there"));
    server.scan();
    assert_eq!(server.rows("narrow_CT").len(), 0);
    assert_eq!(commands(&server.rows("dbo_t_CT")), [(2, 1), (3, 1), (4, 1)]);
}

#[test]
fn masks_are_big_endian_over_their_whole_length() {
    let server = Server::enabled();
    let columns = (1..=10).map(|n| ColumnDef::new(format!("c{n}"), SqlType::Int, false)).collect();
    let table = server.create(TableDef::new("dbo", "w", columns).with_index(
        "pk_w",
        IndexKind::PrimaryKey,
        true,
        true,
        &["c1"],
    ));
    server.enable("w", None).expect("it is enabled");
    let row = |v: i32| -> Row { (0..10).map(|n| Value::Int(if n == 0 { 1 } else { v })).collect() };
    let (id, _) = server.commit(|txn| txn.insert(table, row(1)).expect("a new key"));
    server.commit(|txn| txn.update(table, vec![(id, row(2))], &[1, 8]).expect("it is there"));
    server.commit(|txn| txn.delete(table, id).expect("it is there"));
    server.scan();
    let masks: Vec<Value> = server.rows("dbo_w_CT").iter().map(|row| row[4].clone()).collect();
    let all = Value::binary(&[0x03, 0xFF]);
    let some = Value::binary(&[0x01, 0x02]);
    assert_eq!(masks, [all.clone(), some.clone(), some.clone(), all]);
    for (ordinal, set) in [(1, false), (2, true), (9, true), (10, false), (17, false)] {
        let bit = server.call("sys.fn_cdc_is_bit_set", &[Value::Int(ordinal), some.clone()]);
        assert_eq!(bit, Ok(Value::Bit(set)), "ordinal {ordinal}");
    }
    let instance = Value::text("dbo_w");
    let ordinal =
        server.call("sys.fn_cdc_get_column_ordinal", &[instance.clone(), Value::text("C9")]);
    assert_eq!(ordinal, Ok(Value::Int(9)));
    let changed =
        server.call("sys.fn_cdc_has_column_changed", &[instance, Value::text("c9"), some]);
    assert_eq!(changed, Ok(Value::Bit(true)));
}

#[test]
fn max_columns_are_null_in_a_before_image_unless_set() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (id, _) = server.commit(|txn| txn.insert(table, t(1, 1, "old")).expect("a new key"));
    server.commit(|txn| txn.update(table, vec![(id, t(1, 2, "old"))], &[1]).expect("it is there"));
    server.commit(|txn| txn.update(table, vec![(id, t(1, 2, "new"))], &[2]).expect("it is there"));
    server.commit(|txn| txn.delete(table, id).expect("it is there"));
    server.scan();
    let rows = server.rows("dbo_t_CT");
    let notes: Vec<Option<String>> = rows.iter().map(|row| row[7].to_text()).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(notes, [some("old"), None, some("old"), some("old"), some("new"), some("new")]);
    assert_eq!(commands(&rows), [(2, 1), (3, 1), (4, 1), (3, 1), (4, 1), (1, 1)]);
}

#[test]
fn computed_columns_are_always_null() {
    let server = Server::enabled();
    let mut doubled = ColumnDef::new("d", SqlType::Int, true);
    doubled.computed = Some(ComputedDef { definition: "([k]*(2))".to_owned(), persisted: true });
    let columns = vec![ColumnDef::new("k", SqlType::Int, false), doubled];
    let table = server.create(TableDef::new("dbo", "c", columns));
    server.enable("c", None).expect("it is enabled");
    server
        .commit(|txn| txn.insert(table, Arc::new([Value::Int(2), Value::Int(4)])).expect("a heap"));
    server.scan();
    let rows = server.rows("dbo_c_CT");
    assert_eq!((int(&rows[0][5]), rows[0][6].clone()), (2, Value::Null));
    let columns = server.rows("captured_columns");
    assert_eq!(
        columns.iter().map(|row| row[5].clone()).collect::<Vec<_>>(),
        [Value::Bit(false), Value::Bit(true)]
    );
}

#[test]
fn change_table_columns_are_nullable_and_in_order() {
    let server = Server::enabled();
    server.create_t();
    server.enable("t", None).expect("it is enabled");
    let mut txn = server.begin();
    let table = txn.table("cdc", "dbo_t_CT").expect("no wait").expect("it is there");
    let columns: Vec<(&str, bool)> =
        table.columns.iter().map(|c| (c.name.as_str(), c.nullable)).collect();
    assert_eq!(
        columns,
        [
            ("__$start_lsn", false),
            ("__$end_lsn", true),
            ("__$seqval", false),
            ("__$operation", false),
            ("__$update_mask", true),
            ("k", true),
            ("v", true),
            ("note", true),
            ("__$command_id", true),
        ]
    );
    assert!(table.ms_shipped);
    let clustered = table.clustered().expect("it has one");
    assert!(clustered.unique);
    let order: Vec<&str> =
        table.key_positions(clustered).iter().map(|at| table.columns[*at].name.as_str()).collect();
    assert_eq!(order, ["__$start_lsn", "__$command_id", "__$seqval", "__$operation"]);
}

#[test]
fn a_scan_takes_whole_transactions_up_to_maxtrans() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    for k in 0..5 {
        server.commit(|txn| {
            txn.insert(table, t(2 * k, 0, "")).expect("a new key");
            txn.insert(table, t(2 * k + 1, 0, "")).expect("a new key");
        });
    }
    let outcome = server.job.step(2, 1).expect("a scan succeeds");
    assert_eq!((outcome.transactions, outcome.rows), (2, 4));
    assert_eq!(server.rows("dbo_t_CT").len(), 4);
    assert_eq!(server.job.step(2, 10).expect("a scan succeeds").transactions, 3);
    assert_eq!(server.rows("dbo_t_CT").len(), 10);
    assert_eq!(server.database.log_tail_len(), 0, "captured log is let go");
}

/// While scans publish, every reader finds each transaction whole over both tables, and nothing
/// above the newest mapping row.
#[test]
fn a_scan_becomes_visible_at_once() {
    let server = Server::enabled();
    let table = server.create_t();
    let other =
        server.create(TableDef::new("dbo", "u", vec![ColumnDef::new("a", SqlType::Int, true)]));
    server.enable("t", None).expect("it is enabled");
    server.enable("u", None).expect("it is enabled");
    server.scan();
    for k in 0..300 {
        server.commit(|txn| {
            txn.insert(table, t(k, k, "")).expect("a new key");
            txn.insert(other, Arc::new([Value::Int(k)])).expect("a heap");
        });
    }
    std::thread::scope(|scope| {
        let scanner = scope
            .spawn(|| while server.job.step(7, 1).expect("a scan succeeds").transactions > 0 {});
        let mut seen = 0;
        loop {
            let finished = scanner.is_finished();
            let mut txn = server.begin();
            let mut ids =
                |name: &str| txn.table("cdc", name).expect("no wait").expect("it is there").id;
            let (mapping, first, second) =
                (ids("lsn_time_mapping"), ids("dbo_t_CT"), ids("dbo_u_CT"));
            let view = txn.statement_view().expect("READ COMMITTED needs nothing");
            let lsns = |table: ObjectId| -> Vec<Lsn> {
                view.scan(table, None, KeyRange::all(), Direction::Forward)
                    .expect("it is there")
                    .map(|row| lsn(&row.expect("a scan does not fail").1[0]))
                    .collect()
            };
            let rows = lsns(first);
            assert_eq!(rows, lsns(second));
            // Two rows of enabling come first.
            assert_eq!(rows, lsns(mapping)[2..]);
            assert!(rows.len() >= seen);
            seen = rows.len();
            if finished {
                break;
            }
        }
        assert_eq!(seen, 300);
    });
}

#[test]
fn times_are_server_local_datetime() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    server.storage.clock().set_utc_offset_minutes(120);
    let begin = server.storage.clock().local_now();
    let mut txn = server.begin();
    txn.insert(table, t(1, 1, "")).expect("a new key");
    server.storage.clock().advance(std::time::Duration::from_secs(2));
    let end = server.storage.clock().local_now();
    let commit = txn.commit().expect("it commits").expect("it has written");
    server.scan();
    let mapping = server.real_mappings();
    assert_eq!((mapping[0][1].clone(), mapping[0][2].clone()), (datetime(begin), datetime(end)));
    let time = server.call("sys.fn_cdc_map_lsn_to_time", &[commit.to_value()]);
    assert_eq!(time, Ok(datetime(end)));
}

#[test]
fn long_values_of_captured_tables_are_refused_where_they_are_written() {
    let server = Server::enabled();
    let table = server.create_t();
    let long = "x".repeat(40_000);
    server.commit(|txn| txn.insert(table, t(1, 1, &long)).expect("not captured yet"));
    server.enable("t", None).expect("it is enabled");
    let mut txn = server.begin();
    assert_eq!(number(txn.insert(table, t(2, 1, &long))), Some(7139));
    let view = txn.statement_view().expect("READ COMMITTED needs nothing");
    let stored = view.scan(table, None, KeyRange::all(), Direction::Forward).expect("it is there");
    let stored: Vec<_> = stored.map(|row| row.expect("a row").0).collect();
    // What is stored and not set does not count, whichever way the row is written.
    assert_eq!(number(txn.update(table, vec![(stored[0], t(1, 2, &long))], &[1])), None);
    assert_eq!(number(txn.update(table, vec![(stored[0], t(3, 2, &long))], &[0])), None);
    assert_eq!(number(txn.update(table, vec![(stored[0], t(3, 2, &long))], &[1, 2])), Some(7139));
    server.storage.set_max_text_repl_size(-1).expect("in memory");
    assert_eq!(number(txn.insert(table, t(2, 1, &long))), None);
}
