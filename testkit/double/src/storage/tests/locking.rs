//! Waiting, for real.

use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Waits until that many transactions wait for others.
fn until_blocked(database: &Arc<Database>, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while database.blocked().len() < count {
        assert!(Instant::now() < deadline, "nobody waits");
        thread::yield_now();
    }
}

fn with_pair(database: &Arc<Database>) -> ObjectId {
    let table = pairs(database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    txn.insert(table, pair(1, 0)).expect("a new key");
    txn.insert(table, pair(2, 0)).expect("a new key");
    txn.commit().expect("nothing stands against it");
    table
}

#[test]
fn a_writer_waits_for_the_row_and_then_sees_it() {
    let (_storage, database) = memory();
    let table = with_pair(&database);
    let mut first = database.begin(IsolationLevel::ReadCommitted);
    set_value(&mut first, table, 1, 5).expect("nothing stands against it");
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut txn = database.begin(IsolationLevel::ReadCommitted);
            let mut scan = txn
                .scan_for_update(table, None, key(1), Direction::Forward, RowLock::Update)
                .expect("it is there");
            let (_, row) = scan.next(&mut txn).expect("the wait ends").expect("the row is there");
            number(&row[1])
        });
        until_blocked(&database, 1);
        // A reader does not wait, and does not see it.
        assert_eq!(committed(&database, table), [(1, 0), (2, 0)]);
        first.commit().expect("nothing stands against it");
        assert_eq!(second.join().expect("no panic"), 5);
    });
}

#[test]
fn an_insert_waits_for_whoever_holds_the_key() {
    for commits in [true, false] {
        let (_storage, database) = memory();
        let table = with_pair(&database);
        let mut first = database.begin(IsolationLevel::ReadCommitted);
        first.insert(table, pair(3, 1)).expect("a new key");
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let mut txn = database.begin(IsolationLevel::ReadCommitted);
                let inserted = txn.insert(table, pair(3, 2)).map_err(|error| error.number);
                txn.commit().expect("still open");
                inserted.map(drop)
            });
            until_blocked(&database, 1);
            if commits {
                first.commit().map(drop).expect("nothing stands against it");
            } else {
                first.rollback();
            }
            let expected = if commits { Err(2627) } else { Ok(()) };
            assert_eq!(second.join().expect("no panic"), expected);
        });
    }
}

#[test]
fn a_circle_of_waits_kills_one_and_only_one() {
    let (_storage, database) = memory();
    let table = with_pair(&database);
    let mut first = database.begin(IsolationLevel::ReadCommitted);
    set_value(&mut first, table, 1, 1).expect("nothing stands against it");
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut txn = database.begin(IsolationLevel::ReadCommitted);
            txn.set_deadlock_priority(-5);
            set_value(&mut txn, table, 2, 2).expect("nothing stands against it");
            let result = set_value(&mut txn, table, 1, 2).map_err(|error| error.number);
            (result, txn.is_active())
        });
        until_blocked(&database, 1);
        assert_eq!(set_value(&mut first, table, 2, 1), Ok(1));
        first.commit().expect("it is not the victim");
        assert_eq!(second.join().expect("no panic"), (Err(1205), false));
    });
    assert_eq!(committed(&database, table), [(1, 1), (2, 1)]);
}

#[test]
fn a_shared_table_lock_waits_for_writers_and_keeps_new_ones_out() {
    let (_storage, database) = memory();
    let table = with_pair(&database);
    let mut writer = database.begin(IsolationLevel::ReadCommitted);
    set_value(&mut writer, table, 1, 7).expect("nothing stands against it");
    thread::scope(|scope| {
        let (held, release) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
        let database = &database;
        scope.spawn(move || {
            let mut txn = database.begin(IsolationLevel::ReadCommitted);
            txn.lock_table(table, TableLock::Shared).expect("the wait ends");
            held.0.send(committed(database, table)).expect("the test listens");
            release.1.recv().expect("the test speaks");
        });
        until_blocked(database, 1);
        // It only waits yet, and holds newcomers back already.
        let mut late = database.begin(IsolationLevel::ReadCommitted);
        late.set_lock_timeout(Some(Duration::ZERO));
        assert_eq!(set_value(&mut late, table, 2, 1).map_err(|e| e.number), Err(1222));
        writer.commit().expect("nothing stands against it");
        assert_eq!(held.1.recv().expect("it gets the lock"), [(1, 7), (2, 0)]);
        assert_eq!(set_value(&mut late, table, 2, 1).map_err(|e| e.number), Err(1222));
        release.0.send(()).expect("it listens");
        late.set_lock_timeout(None);
        assert_eq!(set_value(&mut late, table, 2, 1), Ok(1));
    });
}

#[test]
fn a_wait_can_be_interrupted() {
    let (_storage, database) = memory();
    let table = with_pair(&database);
    let mut first = database.begin(IsolationLevel::ReadCommitted);
    set_value(&mut first, table, 1, 1).expect("nothing stands against it");
    let mut second = database.begin(IsolationLevel::ReadCommitted);
    let handle = second.cancel_handle();
    thread::scope(|scope| {
        let waiting =
            scope.spawn(|| set_value(&mut second, table, 1, 2).map_err(|error| error.number));
        until_blocked(&database, 1);
        handle.cancel();
        assert_eq!(waiting.join().expect("no panic"), Err(ATTENTION));
    });
}

#[test]
fn explicit_row_locks_exclude_each_other() {
    let (_storage, database) = memory();
    let table = with_pair(&database);
    let mut first = database.begin(IsolationLevel::ReadCommitted);
    let mut scan = first
        .scan_for_update(table, None, key(1), Direction::Forward, RowLock::Update)
        .expect("it is there");
    let (id, _) = scan.next(&mut first).expect("no wait").expect("it is there");
    let mut second = database.begin(IsolationLevel::ReadCommitted);
    second.set_lock_timeout(Some(Duration::ZERO));
    assert!(second.lock_row(table, id, RowLock::Shared).is_ok());
    assert_eq!(second.lock_row(table, id, RowLock::Update).map_err(|e| e.number), Err(1222));
    assert_eq!(second.delete(table, id).map_err(|e| e.number), Err(1222));
    first.release_row(table, id);
    assert_eq!(second.delete(table, id), Ok(true));
}

/// Money is moved between accounts by several threads at once; every snapshot has all of it.
#[test]
fn transfers_never_lose_money() {
    const ACCOUNTS: i32 = 6;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = StorageOptions {
        data: Some(folder.path().to_owned()),
        checkpoint_bytes: Some(4096),
        ..Default::default()
    };
    let storage = Storage::open(options.clone()).expect("an empty folder");
    let database = storage.create_database("d").expect("a new name");
    let table = pairs(&database);
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    for k in 0..ACCOUNTS {
        txn.insert(table, pair(k, 100)).expect("a new key");
    }
    txn.commit().expect("nothing stands against it");
    let total = |rows: &[(i32, i32)]| rows.iter().map(|(_, v)| *v).sum::<i32>();
    thread::scope(|scope| {
        let movers: Vec<_> = (0..4)
            .map(|seed| {
                let database = &database;
                scope.spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed);
                    let mut done = 0;
                    while done < 60 {
                        let from = random.random_range(0..ACCOUNTS);
                        let to = (from + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
                        match transfer(database, table, from, to) {
                            Ok(()) => done += 1,
                            Err(error) => assert_eq!(error.number, 1205),
                        }
                    }
                })
            })
            .collect();
        while !movers.iter().all(|mover| mover.is_finished()) {
            assert_eq!(total(&committed(&database, table)), 100 * ACCOUNTS);
            thread::yield_now();
        }
    });
    let left = committed(&database, table);
    assert_eq!(total(&left), 100 * ACCOUNTS);
    storage.shutdown();
    drop((database, storage));
    let storage = Storage::open(options).expect("what was written");
    let database = storage.database("D").expect("it is there");
    assert_eq!(committed(&database, table), left);
}

fn transfer(database: &Arc<Database>, table: ObjectId, from: i32, to: i32) -> Result<(), SqlError> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    for (k, change) in [(from, -1), (to, 1)] {
        let mut scan =
            txn.scan_for_update(table, None, key(k), Direction::Forward, RowLock::Update)?;
        while let Some((id, row)) = scan.next(&mut txn)? {
            txn.update(table, vec![(id, pair(k, number(&row[1]) + change))], &[1])?;
        }
    }
    txn.commit().map(drop)
}
