//! Views, garbage and indexes.

use super::*;

#[test]
fn a_bounded_table_keeps_its_size_over_many_updates() {
    let (_storage, database) = memory();
    let table = pairs(&database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    for k in 0..10 {
        txn.insert(table, pair(k, 0)).expect("a new key");
    }
    txn.commit().expect("nothing stands against it");
    let before = database.table_size(table);
    for round in 0..500 {
        let mut txn = database.begin(IsolationLevel::ReadCommitted);
        for k in 0..10 {
            assert_eq!(set_value(&mut txn, table, k, round), Ok(1));
        }
        txn.commit().expect("nothing stands against it");
    }
    assert_eq!(database.table_size(table), before);
}

#[test]
fn an_open_view_holds_old_versions_and_lets_them_go() {
    let (_storage, database) = memory();
    let table = pairs(&database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    txn.insert(table, pair(1, 1)).expect("a new key");
    txn.commit().expect("nothing stands against it");
    let mut reader = database.begin(IsolationLevel::ReadCommitted);
    let view = reader.statement_view().expect("READ COMMITTED needs nothing");
    for v in 2..50 {
        let mut txn = database.begin(IsolationLevel::ReadCommitted);
        set_value(&mut txn, table, 1, v).expect("nothing stands against it");
        txn.commit().expect("nothing stands against it");
    }
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    remove(&mut txn, table, 1).expect("nothing stands against it");
    txn.commit().expect("nothing stands against it");
    assert_eq!(contents(&view, table), [(1, 1)]);
    drop(view);
    assert_eq!(database.table_size(table), Some((0, 0)));
}

#[test]
fn a_statement_does_not_meet_its_own_writes() {
    let (_storage, database) = memory();
    let table = pairs(&database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    txn.insert(table, pair(1, 1)).expect("a new key");
    let view = txn.statement_view().expect("READ COMMITTED needs nothing");
    let scan = view.scan(table, None, KeyRange::all(), Direction::Forward).expect("it is there");
    for row in scan {
        let (_, row) = row.expect("a scan does not fail");
        let k = number(&row[0]);
        txn.insert(table, pair(k + 1, 0)).expect("a new key");
    }
    txn.commit().expect("nothing stands against it");
    assert_eq!(committed(&database, table), [(1, 1), (2, 0)]);
}

#[test]
fn a_set_based_key_update_may_swap_keys() {
    let (_storage, database) = memory();
    let table = pairs(&database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let a = txn.insert(table, pair(1, 10)).expect("a new key");
    let b = txn.insert(table, pair(2, 20)).expect("a new key");
    txn.update(table, vec![(a, pair(2, 10)), (b, pair(1, 20))], &[0]).expect("keys are swapped");
    txn.commit().expect("nothing stands against it");
    assert_eq!(committed(&database, table), [(1, 20), (2, 10)]);
}

#[test]
fn ddl_rolls_back_with_its_transaction() {
    let (_storage, database) = memory();
    let table = pairs(&database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    txn.insert(table, pair(1, 1)).expect("a new key");
    let mut wide = (*txn.table_by_id(table).expect("no wait").expect("it is there")).clone();
    wide.columns.push(ColumnDef::new("extra", SqlType::Int, true));
    txn.alter_table(
        wide,
        "ALTER TABLE t ADD extra int",
        Some(&mut |row| {
            let mut row = row.to_vec();
            row.push(Value::Null);
            Ok(row.into())
        }),
    )
    .expect("rows grow");
    txn.insert(table, Arc::new([Value::Int(2), Value::Int(2), Value::Int(2)])).expect("a new key");
    txn.create_table(TableDef::new("dbo", "u", vec![ColumnDef::new("a", SqlType::Int, true)]))
        .expect("a new name");
    txn.rollback();
    assert_eq!(committed(&database, table), []);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    assert_eq!(txn.table("dbo", "T").expect("no wait").map(|t| t.columns.len()), Some(2));
    assert_eq!(txn.table("dbo", "u"), Ok(None));
}

#[test]
fn a_snapshot_older_than_ddl_is_refused() {
    let (_storage, database) = memory();
    database.set_allow_snapshot(true).expect("in memory");
    let table = pairs(&database);
    let mut reader = database.begin(IsolationLevel::Snapshot);
    drop(reader.statement_view().expect("snapshots are allowed"));
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let def = txn.table_by_id(table).expect("no wait").expect("it is there");
    txn.alter_table((*def).clone(), "ALTER TABLE t REBUILD", None)
        .expect("nothing stands against it");
    txn.commit().expect("nothing stands against it");
    let view = reader.statement_view().expect("snapshots are allowed");
    let refused = view.scan(table, None, KeyRange::all(), Direction::Forward).err();
    assert_eq!(refused.map(|error| error.number), Some(3961));
}

#[test]
fn snapshot_has_to_be_allowed() {
    let (_storage, database) = memory();
    let mut txn = database.begin(IsolationLevel::Snapshot);
    assert_eq!(txn.statement_view().err().map(|error| error.number), Some(3952));
}

#[test]
fn text_keys_are_equal_without_regard_to_case_and_trailing_blanks() {
    let (_storage, database) = memory();
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let columns = vec![ColumnDef::new("name", SqlType::NVarChar(Some(20)), false)];
    let table = TableDef::new("dbo", "n", columns).with_index(
        "ux",
        IndexKind::Index,
        true,
        false,
        &["name"],
    );
    let table = txn.create_table(table).expect("a new table").id;
    txn.insert(table, Arc::new([Value::text("Abc")])).expect("a new key");
    let refused = txn.insert(table, Arc::new([Value::text("aBC  ")])).expect_err("the same key");
    assert_eq!(refused.number, 2601);
    assert!(refused.message.ends_with("The duplicate key value is (aBC  )."), "{refused}");
}

#[test]
fn identity_is_not_undone() {
    let (_storage, database) = memory();
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let mut column = ColumnDef::new("id", SqlType::TinyInt, false);
    column.identity = Some(Identity { seed: 250, increment: 3 });
    let table = txn.create_table(TableDef::new("dbo", "i", vec![column])).expect("a new table").id;
    txn.commit().expect("nothing stands against it");
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    assert_eq!(txn.next_identity(table), Ok(250));
    txn.rollback();
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    assert_eq!(txn.next_identity(table), Ok(253));
    assert_eq!(txn.next_identity(table).map_err(|error| error.number), Err(8115));
}
