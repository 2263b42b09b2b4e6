//! Files: restarts, crashes at every byte, checkpoints, backups.

use std::fs;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::wal::Wal;
use super::*;

fn open(folder: &Path, checkpoint_bytes: Option<u64>) -> Arc<Storage> {
    let options =
        StorageOptions { data: Some(folder.to_owned()), checkpoint_bytes, ..Default::default() };
    Storage::open(options).expect("the folder opens")
}

/// One random transaction; rolled back now and then.
fn transact(database: &Arc<Database>, table: ObjectId, random: &mut StdRng) -> Option<Lsn> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    for _ in 0..random.random_range(1..5) {
        let (k, v) = (random.random_range(0..8), random.random_range(0..100));
        let statement = txn.savepoint();
        let done = match random.random_range(0..4) {
            0 | 1 => txn.insert(table, pair(k, v)).map(drop),
            2 => set_value(&mut txn, table, k, v).map(drop),
            _ => remove(&mut txn, table, k).map(drop),
        };
        if done.is_err() {
            txn.rollback_to(statement);
        }
    }
    if random.random_bool(0.2) {
        txn.rollback();
        return None;
    }
    txn.commit().expect("the file is written")
}

#[test]
fn a_crash_at_any_byte_leaves_a_prefix_of_the_commits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let storage = open(folder.path(), None);
    let database = storage.create_database("d").expect("a new name");
    let files = folder.path().join(format!("db{}", database.id()));
    let log = files.join("log.1");
    let table = pairs(&database);
    let mut random = StdRng::seed_from_u64(3);
    let length = || fs::metadata(&log).expect("the log is there").len();
    let mut history = vec![(length(), committed(&database, table), database.last_lsn())];
    let created = history[0].0;
    for _ in 0..40 {
        if let Some(lsn) = transact(&database, table, &mut random) {
            history.push((length(), committed(&database, table), lsn));
        }
    }
    let bytes = fs::read(&log).expect("the log is there");
    let crashed = tempfile::tempdir().expect("a temporary folder");
    fs::copy(files.join("image.1"), crashed.path().join("image.1")).expect("copied");
    for cut in created..=bytes.len() as u64 {
        let cut_at = usize::try_from(cut).expect("a small file");
        fs::write(crashed.path().join("log.1"), &bytes[..cut_at]).expect("written");
        let (state, _, _) = Wal::open(crashed.path()).expect("it opens").expect("it has an image");
        let (_, rows, lsn) =
            history.iter().rev().find(|(length, ..)| *length <= cut).expect("the first");
        let found: Vec<(i32, i32)> = state.tables[&table]
            .chains()
            .filter_map(|(_, chain)| chain.committed()?.row.clone())
            .map(|row| (number(&row.value(0)), number(&row.value(1))))
            .collect();
        let mut found_sorted = found.clone();
        found_sorted.sort_unstable();
        assert_eq!(&found_sorted, rows, "cut at byte {cut}");
        assert!(state.log.lsns.clone().next(1) > *lsn, "cut at byte {cut}");
    }
}

#[test]
fn a_flipped_byte_ends_the_log_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let storage = open(folder.path(), None);
    let database = storage.create_database("d").expect("a new name");
    let files = folder.path().join(format!("db{}", database.id()));
    let table = pairs(&database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    txn.insert(table, pair(1, 1)).expect("a new key");
    txn.commit().expect("the file is written");
    let mut bytes = fs::read(files.join("log.1")).expect("the log is there");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(files.join("log.1"), bytes).expect("written");
    let (state, ..) = Wal::open(&files).expect("it opens").expect("it has an image");
    assert_eq!(state.tables[&table].size().0, 0);
}

#[test]
fn checkpoints_keep_the_log_short_and_lose_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = StdRng::seed_from_u64(11);
    let mut last = Lsn::ZERO;
    let mut table = 0;
    let mut expected = Vec::new();
    for round in 0..4 {
        let storage = open(folder.path(), Some(1000));
        let database = match storage.database("d") {
            Some(database) => database,
            None => storage.create_database("d").expect("a new name"),
        };
        if round == 0 {
            table = pairs(&database);
        }
        assert_eq!(committed(&database, table), expected, "after restart {round}");
        for _ in 0..200 {
            if let Some(lsn) = transact(&database, table, &mut random) {
                assert!(lsn > last, "LSNs go on after a restart");
                last = lsn;
            }
        }
        expected = committed(&database, table);
        let files = folder.path().join(format!("db{}", database.id()));
        let size: u64 = fs::read_dir(files)
            .expect("it is there")
            .map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len())
            .sum();
        assert!(size < 12_000, "{size} bytes");
    }
}

#[test]
fn ddl_and_settings_survive() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table;
    {
        let storage = open(folder.path(), None);
        let database = storage.create_database("d").expect("a new name");
        table = pairs(&database);
        let mut txn = database.begin(IsolationLevel::ReadCommitted);
        txn.create_schema("sales").expect("a new schema");
        txn.insert(table, pair(1, 1)).expect("a new key");
        txn.commit().expect("the file is written");
        let mut txn = database.begin(IsolationLevel::ReadCommitted);
        let mut wide = (*txn.table_by_id(table).expect("no wait").expect("it is there")).clone();
        wide.columns.push(ColumnDef::new("extra", SqlType::VarChar(None), true));
        txn.alter_table(
            wide,
            "",
            Some(&mut |row| {
                let mut row = row.to_vec();
                row.push(Value::ansi("x"));
                Ok(row.into())
            }),
        )
        .expect("rows grow");
        txn.commit().expect("the file is written");
        database.set_allow_snapshot(true).expect("the file is written");
        database.set_setting("user.a", Some("b")).expect("the file is written");
        storage.set_max_text_repl_size(-1).expect("the file is written");
    }
    let storage = open(folder.path(), None);
    let database = storage.database("d").expect("it is there");
    assert!(database.info().allow_snapshot);
    assert_eq!(database.setting("user.a").as_deref(), Some("b"));
    assert_eq!(storage.max_text_repl_size(), -1);
    let mut txn = database.begin(IsolationLevel::Snapshot);
    assert!(txn.schemas().iter().any(|(_, name)| name == "sales"));
    let view = txn.statement_view().expect("snapshots are allowed");
    let rows: Vec<_> = view
        .scan(table, None, KeyRange::all(), Direction::Forward)
        .expect("it is there")
        .map(|row| row.expect("a scan does not fail").1)
        .collect();
    assert_eq!(rows, [Row::from([Value::Int(1), Value::Int(1), Value::ansi("x")])]);
}

#[test]
fn restore_rewinds_rows_and_lsns() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for data in [None, Some(folder.path().to_owned())] {
        let options =
            StorageOptions { data: data.clone(), checkpoint_bytes: None, ..Default::default() };
        let storage = Storage::open(options.clone()).expect("it opens");
        let database = storage.create_database("d").expect("a new name");
        let table = pairs(&database);
        let mut random = StdRng::seed_from_u64(5);
        for _ in 0..20 {
            transact(&database, table, &mut random);
        }
        let (rows, lsn, info) = (committed(&database, table), database.last_lsn(), database.info());
        storage.backup("d", r"C:\backup\d.bak").expect("it is written");
        for _ in 0..20 {
            transact(&database, table, &mut random);
        }
        let later = database.last_lsn();
        let open_txn = database.begin(IsolationLevel::ReadCommitted);
        let refused = storage.restore("d", "/elsewhere/d.bak", false);
        assert_eq!(refused.map_err(|error| error.number), Err(3101));
        drop(open_txn);
        storage.restore("d", "/elsewhere/d.bak", false).expect("nobody is in it");
        assert_eq!(committed(&database, table), rows);
        assert!(database.last_lsn() >= lsn && database.last_lsn() < later);
        let restored = database.info();
        assert_eq!(restored.family_guid, info.family_guid);
        assert_ne!(restored.recovery_fork_guid, info.recovery_fork_guid);
        storage.restore("copy", "d.bak", false).expect("a new name");
        let copy = storage.database("copy").expect("it is there");
        assert_eq!(committed(&copy, table), rows);
        drop((database, copy, storage));
        if data.is_some() {
            let storage = Storage::open(options).expect("it opens");
            let database = storage.database("d").expect("it is there");
            assert_eq!(committed(&database, table), rows);
        }
    }
}
