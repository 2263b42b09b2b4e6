//! Enabling, disabling, metadata, DDL, rights.

use std::time::Duration;

use mssql_double::storage::*;
use mssql_double::{SqlType, Value};

use super::fixture::*;

#[test]
fn functions_without_cdc() {
    let server = Server::new();
    assert_eq!(number(server.call("sys.fn_cdc_get_max_lsn", &[])), Some(208));
    assert_eq!(number(server.enable("t", None)), Some(22901));
    let one = Lsn::new(1, 2, 3);
    assert_eq!(
        server.call("sys.fn_cdc_increment_lsn", &[one.to_value()]),
        Ok(one.increment().to_value())
    );
    assert_eq!(
        server.call("sys.fn_cdc_decrement_lsn", &[Lsn::ZERO.to_value()]),
        Ok(Lsn::MAX.to_value())
    );
    assert_eq!(server.call("sys.fn_cdc_increment_lsn", &[Value::Null]), Ok(Value::Null));
}

#[test]
fn enabling_the_database() {
    let server = Server::enabled();
    assert!(server.database.info().cdc_enabled);
    assert_eq!(server.call("sys.fn_cdc_get_max_lsn", &[]), Ok(Value::Null));
    let again = server.run("sp_cdc_enable_db", &[]).expect("only a message");
    assert_eq!(again.messages[0].number, 22905);
    let nobody = Rights::default();
    assert_eq!(number(server.run_as(&nobody, "sp_cdc_enable_db", &[])), Some(22902));
    server.run("sp_cdc_disable_db", &[]).expect("CDC goes off");
    assert_eq!(number(server.call("sys.fn_cdc_get_max_lsn", &[])), Some(208));
    server.run("sp_cdc_enable_db", &[]).expect("CDC goes on again");
}

#[test]
fn a_fresh_instance_has_no_floor_until_capture_meets_its_enabling() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let min = |server: &Server| server.call("sys.fn_cdc_get_min_lsn", &[Value::text("DBO_T")]);
    assert_eq!(min(&server), Ok(Value::Null));
    server.fault("fresh_min_lsn_is_zero", "on");
    assert_eq!(min(&server), Ok(Lsn::ZERO.to_value()));
    let (_, commit) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.scan();
    let start = lsn(&min(&server).expect("it answers"));
    assert!(start < commit);
    assert_eq!(lsn(&server.rows("change_tables")[0][4]), start);
    // The enabling has a row of its own, without a transaction.
    let mapping = server.rows("lsn_time_mapping");
    assert_eq!(mapping.len(), 2);
    assert_eq!((lsn(&mapping[0][0]), mapping[0][3].clone()), (start, Value::binary(&[0])));
    assert_eq!(lsn(&mapping[0][4]), Lsn::ZERO);
    assert_eq!(server.call("sys.fn_cdc_get_max_lsn", &[]), Ok(commit.to_value()));
    assert_eq!(
        server.call("sys.fn_cdc_get_min_lsn", &[Value::text("nobody")]),
        Ok(Lsn::ZERO.to_value())
    );
}

#[test]
fn a_fresh_start_may_be_above_the_newest_mapping_row() {
    for (mode, job) in [("unmapped", true), ("at_once", false)] {
        let server = Server::enabled();
        let table = server.create_t();
        server.enable("t", Some("v1")).expect("it is enabled");
        let (_, commit) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
        server.scan();
        server.fault("fresh_start_lsn", mode);
        server.enable("t", Some("v2")).expect("it is enabled");
        let start = |server: &Server| server.rows("change_tables")[1][4].clone();
        assert_eq!(start(&server) == Value::Null, job, "{mode}");
        server.scan();
        assert_eq!(server.call("sys.fn_cdc_get_max_lsn", &[]), Ok(commit.to_value()), "{mode}");
        let start = lsn(&start(&server));
        assert!(commit < start, "{mode}");
        // The next change of the table is above it, and brings the mapping rows past it.
        let (_, next) = server.commit(|txn| txn.insert(table, t(2, 1, "")).expect("a new key"));
        server.scan();
        assert!(start < next, "{mode}");
        assert_eq!(server.call("sys.fn_cdc_get_max_lsn", &[]), Ok(next.to_value()), "{mode}");
        let rows = server.rows("v2_CT");
        assert_eq!(rows.iter().map(|row| lsn(&row[0])).collect::<Vec<_>>(), [next], "{mode}");
    }
}

#[test]
fn a_fresh_start_stays_above_until_an_idle_row_comes() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", Some("v1")).expect("it is enabled");
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.scan();
    server.fault("fresh_start_lsn", "at_once");
    server.enable("t", Some("v2")).expect("it is enabled");
    let start = lsn(&server.rows("change_tables")[1][4]);
    server.scan();
    server.storage.clock().advance(Duration::from_secs(300));
    assert!(server.scan().dummy);
    let max = server.call("sys.fn_cdc_get_max_lsn", &[]).expect("it answers");
    assert!(lsn(&max) > start);
}

#[test]
fn enabling_while_others_write_splits_exactly() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", Some("v1")).expect("it is enabled");
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.enable("t", Some("v2")).expect("it is enabled");
    server.commit(|txn| txn.insert(table, t(2, 1, "")).expect("a new key"));
    server.scan();
    let start = |at: usize| lsn(&server.rows("change_tables")[at][4]);
    let lsns = |name: &str| server.rows(name).iter().map(|row| lsn(&row[0])).collect::<Vec<_>>();
    let (v1, v2) = (lsns("v1_CT"), lsns("v2_CT"));
    assert_eq!((v1.len(), v2.len()), (2, 1));
    assert!(v1[0] < start(1) && start(1) < v1[1] && v1[1] == v2[0]);
    assert_eq!(number(server.enable("t", Some("v3"))), Some(22962));
}

#[test]
fn enabling_waits_for_open_writers() {
    let server = Server::enabled();
    let table = server.create_t();
    let mut writer = server.begin();
    writer.insert(table, t(1, 1, "")).expect("a new key");
    std::thread::scope(|scope| {
        let enabling = scope.spawn(|| server.enable("t", None).map(drop));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while server.database.blocked().is_empty() {
            assert!(std::time::Instant::now() < deadline, "it does not wait");
            std::thread::yield_now();
        }
        writer.commit().expect("it commits");
        assert_eq!(enabling.join().expect("no panic"), Ok(()));
    });
    server.scan();
    assert_eq!(server.rows("dbo_t_CT").len(), 0, "what was open before is not captured");
}

#[test]
fn refused_instances() {
    let server = Server::enabled();
    server.create_t();
    server.create(TableDef::new("dbo", "heap", vec![ColumnDef::new("a", SqlType::Int, true)]));
    server.enable("t", Some("x")).expect("it is enabled");
    let with = |table: &str, name: &'static str, value: Value| {
        let arguments = [
            ("@source_schema", Value::text("dbo")),
            ("@source_name", Value::text(table)),
            ("@role_name", Value::Null),
            (name, value),
        ];
        number(server.run("sp_cdc_enable_table", &arguments))
    };
    assert_eq!(with("heap", "@capture_instance", Value::text("X")), Some(22926));
    assert_eq!(with("t", "@capture_instance", Value::text(&"n".repeat(101))), Some(22927));
    assert_eq!(with("heap", "@supports_net_changes", Value::Bit(true)), Some(22939));
    assert_eq!(with("t", "@captured_column_list", Value::text("k, nothing")), Some(22930));
    assert_eq!(with("t", "@captured_column_list", Value::text("k, [k]")), Some(22929));
    assert_eq!(with("t", "@captured_column_list", Value::text("v")), Some(22938));
    assert_eq!(with("t", "@index_name", Value::text("none")), Some(22942));
    assert_eq!(with("missing", "@index_name", Value::Null), Some(22931));
    assert_eq!(with("t", "@enable_extended_ddl_handling", Value::Bit(true)), Some(22874));
    let no_role = [("@source_schema", Value::text("dbo")), ("@source_name", Value::text("t"))];
    assert_eq!(number(server.run("sp_cdc_enable_table", &no_role)), Some(201));
    let unknown = [("@nonsense", Value::Null)];
    assert_eq!(number(server.run("sp_cdc_enable_table", &unknown)), Some(8145));
}

#[test]
fn disabling_takes_everything_at_once() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", Some("v1")).expect("it is enabled");
    server.enable("t", Some("v2")).expect("it is enabled");
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    let disable = |instance: &str| {
        server.run(
            "sp_cdc_disable_table",
            &[
                ("@source_schema", Value::text("dbo")),
                ("@source_name", Value::text("t")),
                ("@capture_instance", Value::text(instance)),
            ],
        )
    };
    disable("v1").expect("it is disabled");
    assert_eq!(number(disable("v1")), Some(22960));
    // What was in the log for it is nobody's.
    server.scan();
    assert_eq!(server.rows("v2_CT").len(), 1);
    assert_eq!(server.rows("change_tables").len(), 1);
    let mut txn = server.begin();
    assert_eq!(txn.table("cdc", "v1_CT"), Ok(None));
    drop(txn);
    disable("all").expect("it is disabled");
    assert!(server.rows("captured_columns").is_empty() && server.rows("index_columns").is_empty());
    let mut txn = server.begin();
    assert!(!txn.table("dbo", "t").expect("no wait").expect("it is there").tracked_by_cdc());
}

#[test]
fn dropping_the_table_drops_its_instances() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.commit(|txn| txn.drop_table(table).expect("it is dropped"));
    server.scan();
    assert!(server.rows("change_tables").is_empty());
    assert_eq!(
        number(server.select_from(&server.rights, "cdc.fn_cdc_get_all_changes_dbo_t", &[])),
        Some(208)
    );
}

#[test]
fn metadata_procedures() {
    let server = Server::enabled();
    server.create_t();
    server.enable("t", None).expect("it is enabled");
    server.scan();
    let help = server.run("sp_cdc_help_change_data_capture", &[]).expect("it answers");
    assert_eq!(help.rows.len(), 1);
    let text = |at: usize| help.rows[0][at].to_text();
    assert_eq!(text(2).as_deref(), Some("dbo_t"));
    assert_eq!(text(13).as_deref(), Some("[k]"));
    assert_eq!(text(14).as_deref(), Some("[k], [v], [note]"));
    assert_eq!(help.rows[0][6], Value::Null);
    let half = [("@source_schema", Value::text("dbo"))];
    assert_eq!(number(server.run("sp_cdc_help_change_data_capture", &half)), Some(22972));
    let none = [("@source_schema", Value::text("dbo")), ("@source_name", Value::text("none"))];
    assert_eq!(number(server.run("sp_cdc_help_change_data_capture", &none)), Some(22981));
    let captured = server
        .run("sp_cdc_get_captured_columns", &[("@capture_instance", Value::text("dbo_t"))])
        .expect("it answers");
    assert_eq!(captured.columns[3], "column_name");
    let names: Vec<Option<String>> = captured.rows.iter().map(|row| row[6].to_text()).collect();
    assert_eq!(
        names,
        [Some("int".to_owned()), Some("int".to_owned()), Some("nvarchar".to_owned())]
    );
    assert_eq!(captured.rows[2][7], Value::Int(-1));
}

#[test]
fn the_all_tables_form_leaks_the_previous_index_columns() {
    let server = Server::enabled();
    server.create_t();
    server.create(TableDef::new("dbo", "heap", vec![ColumnDef::new("a", SqlType::Int, true)]));
    server.enable("t", None).expect("it is enabled");
    server.enable("heap", None).expect("it is enabled");
    let help = server.run("sp_cdc_help_change_data_capture", &[]).expect("it answers");
    assert_eq!(help.rows[1][13].to_text().as_deref(), Some("[k]"));
    let one = [("@source_schema", Value::text("dbo")), ("@source_name", Value::text("heap"))];
    let help = server.run("sp_cdc_help_change_data_capture", &one).expect("it answers");
    assert_eq!(help.rows[0][13], Value::Null);
}

#[test]
fn rights_hide_an_instance() {
    let server = Server::enabled();
    let table = server.create_t();
    server
        .run(
            "sp_cdc_enable_table",
            &[
                ("@source_schema", Value::text("dbo")),
                ("@source_name", Value::text("t")),
                ("@role_name", Value::text("reader")),
            ],
        )
        .expect("it is enabled");
    server.scan();
    let (_, commit) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.scan();
    let instance = [Value::text("dbo_t")];
    let start = server.call("sys.fn_cdc_get_min_lsn", &instance).expect("it answers");
    let member = Rights { select: true, roles: vec!["reader".to_owned()], ..Rights::default() };
    let outsider = Rights { select: true, ..Rights::default() };
    assert_eq!(server.call_as(&member, "sys.fn_cdc_get_min_lsn", &instance), Ok(start.clone()));
    assert_eq!(
        server.call_as(&outsider, "sys.fn_cdc_get_min_lsn", &instance),
        Ok(Lsn::ZERO.to_value())
    );
    let window = [start, commit.to_value(), Value::text("all")];
    let name = "cdc.fn_cdc_get_all_changes_dbo_t";
    assert_eq!(server.select_from(&member, name, &window).map(|rows| rows.len()), Ok(1));
    assert_eq!(number(server.select_from(&outsider, name, &window)), Some(229));
    let help =
        server.run_as(&outsider, "sp_cdc_help_change_data_capture", &[]).expect("it answers");
    assert!(help.rows.is_empty());
}

#[test]
fn the_all_changes_function() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (id, first) = server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    let (_, second) =
        server.commit(|txn| txn.update(table, vec![(id, t(1, 2, ""))], &[1]).expect("it is there"));
    server.scan();
    let name = "cdc.fn_cdc_get_all_changes_dbo_t";
    let select = |from: Value, to: Value, option: &str| {
        server.select_from(&server.rights, name, &[from, to, Value::text(option)])
    };
    let operations = |rows: Result<Vec<Row>, _>| -> Vec<i64> {
        rows.map(|rows: Vec<Row>| rows.iter().map(|row| int(&row[2])).collect())
            .expect("it answers")
    };
    let (a, b) = (first.to_value(), second.to_value());
    assert_eq!(operations(select(a.clone(), b.clone(), "all")), [2, 4]);
    assert_eq!(operations(select(a.clone(), b.clone(), "all update old")), [2, 3, 4]);
    assert_eq!(operations(select(b.clone(), b.clone(), "all")), [4]);
    for refused in [
        select(b.clone(), a.clone(), "all"),
        select(a.clone(), b.clone(), "some"),
        select(Value::Null, b.clone(), "all"),
        select(Lsn::ZERO.to_value(), b.clone(), "all"),
        select(a.clone(), second.increment().to_value(), "all"),
    ] {
        let error = refused.expect_err("it is refused");
        assert_eq!((error.number, error.class, error.state), (313, 16, 3));
        assert!(error.message.ends_with("cdc.fn_cdc_get_all_changes_ ... ."));
    }
    let net = server.select_from(
        &server.rights,
        "cdc.fn_cdc_get_net_changes_dbo_t",
        &[a, b, Value::text("all")],
    );
    assert_eq!(
        operations(net.map(|rows| {
            rows.iter()
                .map(|row| [Value::Null, Value::Null, row[1].clone()].into_iter().collect())
                .collect()
        })),
        [2]
    );
}

fn widen(
    txn: &mut Txn,
    table: ObjectId,
    change: impl FnOnce(&mut TableDef),
) -> Result<(), mssql_double::SqlError> {
    let mut def = (*txn.table_by_id(table)?.expect("it is there")).clone();
    change(&mut def);
    let (old, wanted) = (txn.table_by_id(table)?.expect("it is there"), def.clone());
    txn.alter_table(
        def,
        "ALTER TABLE t ...",
        Some(&mut |row| {
            let value = |column: &ColumnDef| {
                old.position_of(column.id).map_or(Value::Null, |at| row[at].clone())
            };
            Ok(wanted.columns.iter().map(value).collect())
        }),
    )
    .map(drop)
}

#[test]
fn added_and_dropped_columns() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let (id, _) = server.commit(|txn| txn.insert(table, t(1, 1, "n")).expect("a new key"));
    let (_, added) = server.commit(|txn| {
        widen(txn, table, |def| def.columns.push(ColumnDef::new("extra", SqlType::Int, true)))
            .expect("it is added");
    });
    let wide = |extra: i32| -> Row {
        [Value::Int(1), Value::Int(1), Value::text("n"), Value::Int(extra)].into()
    };
    // Only the new column is set: no row.
    server.commit(|txn| txn.update(table, vec![(id, wide(5))], &[3]).expect("it is there"));
    let (_, dropped) = server.commit(|txn| {
        widen(txn, table, |def| def.columns.retain(|column| column.name != "v"))
            .expect("it is dropped");
    });
    let narrow: Row = [Value::Int(1), Value::text("m"), Value::Int(5)].into();
    server.commit(|txn| txn.update(table, vec![(id, narrow)], &[1]).expect("it is there"));
    server.scan();
    let rows = server.rows("dbo_t_CT");
    assert_eq!(commands(&rows), [(2, 1), (3, 1), (4, 1)]);
    assert_eq!(
        (int(&rows[0][6]), rows[1][6].clone(), rows[2][6].clone()),
        (1, Value::Null, Value::Null)
    );
    assert_eq!(server.rows("captured_columns").len(), 3, "the instance keeps its columns");
    let history = server
        .run("sp_cdc_get_ddl_history", &[("@capture_instance", Value::text("dbo_t"))])
        .expect("it answers");
    let ddl: Vec<(Value, Lsn)> =
        history.rows.iter().map(|row| (row[3].clone(), lsn(&row[5]))).collect();
    assert_eq!(ddl, [(Value::Bit(false), added), (Value::Bit(false), dropped)]);
}

#[test]
fn a_new_type_reaches_the_change_tables_with_capture() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", Some("v1")).expect("it is enabled");
    server.enable("t", Some("v2")).expect("it is enabled");
    server.commit(|txn| txn.insert(table, t(1, 7, "")).expect("a new key"));
    server.commit(|txn| {
        let mut def = (*txn.table_by_id(table).expect("no wait").expect("it is there")).clone();
        def.columns[1].ty = SqlType::BigInt;
        let mut widen = |row: &Row| -> Result<Row, mssql_double::SqlError> {
            Ok([row[0].clone(), Value::BigInt(int(&row[1])), row[2].clone()].into())
        };
        txn.alter_table(def, "ALTER TABLE t ALTER COLUMN v bigint", Some(&mut widen))
            .expect("it is widened");
    });
    let type_of_v = |instance: &str| {
        let mut txn = server.begin();
        let table =
            txn.table("cdc", &format!("{instance}_CT")).expect("no wait").expect("it is there");
        table.columns[6].ty.clone()
    };
    assert_eq!(type_of_v("v1"), SqlType::Int);
    server.scan();
    assert_eq!((type_of_v("v1"), type_of_v("v2")), (SqlType::BigInt, SqlType::BigInt));
    assert_eq!(server.rows("v1_CT")[0][6], Value::BigInt(7), "older rows are converted");
    let history = server.rows("ddl_history");
    assert_eq!(history.len(), 2, "one row per instance");
    assert!(history.iter().all(|row| row[2] == Value::Bit(true)));
    let types: Vec<Option<String>> = server
        .rows("captured_columns")
        .iter()
        .filter(|row| row[1] == Value::text("v"))
        .map(|row| row[3].to_text())
        .collect();
    assert_eq!(types, [Some("bigint".to_owned()), Some("bigint".to_owned())]);
}

#[test]
fn refused_ddl() {
    let server = Server::enabled();
    let table = server.create_t();
    server.enable("t", None).expect("it is enabled");
    let mut txn = server.begin();
    assert_eq!(number(txn.truncate(table)), Some(4711));
    let renamed = widen(&mut txn, table, |def| def.columns[1].name = "w".to_owned());
    assert_eq!(number(renamed), Some(4928));
    let unkeyed = widen(&mut txn, table, |def| def.indexes.clear());
    assert_eq!(number(unkeyed), Some(22983));
    txn.rename_table(table, "t2").expect("it is allowed");
    txn.commit().expect("it commits");
    server.commit(|txn| txn.insert(table, t(1, 1, "")).expect("a new key"));
    server.scan();
    assert_eq!(server.rows("dbo_t_CT").len(), 1, "the instance keeps its name");
    assert!(server.rows("ddl_history").is_empty(), "a rename is not recorded");
    let help = server.run("sp_cdc_help_change_data_capture", &[]).expect("it answers");
    assert_eq!(help.rows[0][1].to_text().as_deref(), Some("t2"));
}
