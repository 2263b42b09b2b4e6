//! Random sessions, interleaved, against a model that copies whole tables. Nothing waits (the
//! lock timeout is zero), so a run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const KEYS: i32 = 12;

type Content = BTreeMap<i32, i32>;

/// A session's transaction as the model has it.
struct Modelled {
    txn: Txn,
    snapshot: Option<(Content, u64)>,
    is_snapshot: bool,
    /// Keys written, with what they hold now.
    own: BTreeMap<i32, Option<i32>>,
    /// Keys whose rows it has locked; a failed statement and a savepoint keep the lock.
    held: BTreeSet<i32>,
    saved: Option<(Savepoint, BTreeMap<i32, Option<i32>>)>,
}

struct Run {
    seed: u64,
    random: StdRng,
    database: Arc<Database>,
    table: ObjectId,
    committed: Content,
    commits: u64,
    /// Commit that last changed a key.
    changed: BTreeMap<i32, u64>,
    sessions: Vec<Option<Modelled>>,
    /// Views kept open with what they must go on showing.
    open_views: Vec<(View, Vec<(i32, i32)>)>,
    last_commit: Lsn,
}

impl Run {
    fn new(seed: u64) -> Run {
        let (_, database) = memory();
        database.set_allow_snapshot(true).expect("in memory");
        let table = pairs(&database);
        Run {
            seed,
            random: StdRng::seed_from_u64(seed),
            database,
            table,
            committed: Content::new(),
            commits: 0,
            changed: BTreeMap::new(),
            sessions: (0..4).map(|_| None).collect(),
            open_views: Vec::new(),
            last_commit: Lsn::ZERO,
        }
    }

    fn steps(&mut self, count: usize) {
        for step in 0..count {
            let at = self.random.random_range(0..self.sessions.len());
            match self.sessions[at].take() {
                None => self.begin(at),
                Some(session) => self.act(at, session),
            }
            if step % 7 == 0 {
                self.check_views();
            }
        }
    }

    fn begin(&mut self, at: usize) {
        let is_snapshot = self.random.random_bool(0.4);
        let level =
            if is_snapshot { IsolationLevel::Snapshot } else { IsolationLevel::ReadCommitted };
        let mut txn = self.database.begin(level);
        txn.set_lock_timeout(Some(Duration::ZERO));
        self.sessions[at] = Some(Modelled {
            txn,
            snapshot: None,
            is_snapshot,
            own: BTreeMap::new(),
            held: BTreeSet::new(),
            saved: None,
        });
    }

    fn act(&mut self, at: usize, mut session: Modelled) {
        match self.random.random_range(0..100) {
            0..=9 => self.commit(session),
            10..=13 => session.txn.rollback(),
            14..=18 => {
                session.saved = Some((session.txn.savepoint(), session.own.clone()));
                self.sessions[at] = Some(session);
            }
            19..=22 => {
                if let Some((savepoint, own)) = session.saved.clone() {
                    session.txn.rollback_to(savepoint);
                    session.own = own;
                }
                self.sessions[at] = Some(session);
            }
            23..=39 => {
                self.read(&mut session);
                self.sessions[at] = Some(session);
            }
            _ => self.write(at, session),
        }
    }

    fn commit(&mut self, session: Modelled) {
        let lsn = session.txn.commit().expect("an open transaction commits");
        if let Some(lsn) = lsn {
            assert!(lsn > self.last_commit, "seed {}", self.seed);
            self.last_commit = lsn;
        }
        self.commits += 1;
        for (key, value) in session.own {
            self.changed.insert(key, self.commits);
            match value {
                Some(value) => self.committed.insert(key, value),
                None => self.committed.remove(&key),
            };
        }
    }

    fn access(&self, session: &mut Modelled) {
        if session.is_snapshot && session.snapshot.is_none() {
            session.snapshot = Some((self.committed.clone(), self.commits));
        }
    }

    /// What the session's next statement sees.
    fn seen(&self, session: &Modelled) -> Content {
        let mut seen = match &session.snapshot {
            Some((content, _)) => content.clone(),
            None => self.committed.clone(),
        };
        for (key, value) in &session.own {
            match value {
                Some(value) => seen.insert(*key, *value),
                None => seen.remove(key),
            };
        }
        seen
    }

    fn read(&mut self, session: &mut Modelled) {
        self.access(session);
        let expected: Vec<(i32, i32)> = self.seen(session).into_iter().collect();
        let view = session.txn.statement_view().expect("snapshots are allowed");
        assert_eq!(contents(&view, self.table), expected, "seed {}", self.seed);
        let from = self.random.random_range(0..KEYS);
        let range = KeyRange {
            lower: std::ops::Bound::Excluded(vec![Value::Int(from)]),
            upper: std::ops::Bound::Included(vec![Value::Int(from + 4)]),
        };
        let backward: Vec<i32> = view
            .scan(self.table, None, range, Direction::Backward)
            .expect("the table is there")
            .map(|row| number(&row.expect("a scan does not fail").1[0]))
            .collect();
        let wanted: Vec<i32> = expected
            .iter()
            .rev()
            .map(|(k, _)| *k)
            .filter(|k| (from + 1..=from + 4).contains(k))
            .collect();
        assert_eq!(backward, wanted, "seed {}", self.seed);
        // Writes of its own may be rolled back under a view.
        if session.own.is_empty() && self.random.random_bool(0.3) {
            self.open_views.push((view, expected));
            if self.open_views.len() > 5 {
                self.open_views.remove(0);
            }
        }
    }

    fn check_views(&self) {
        for (view, expected) in &self.open_views {
            assert_eq!(&contents(view, self.table), expected, "seed {}", self.seed);
        }
    }

    /// Keys that other sessions have written and not committed.
    fn taken(&self) -> BTreeSet<i32> {
        self.sessions.iter().flatten().flat_map(|session| session.own.keys().copied()).collect()
    }

    /// The same, and those locked.
    fn locked(&self) -> BTreeSet<i32> {
        let held = self.sessions.iter().flatten().flat_map(|session| session.held.iter().copied());
        held.chain(self.taken()).collect()
    }

    fn write(&mut self, at: usize, mut session: Modelled) {
        self.access(&mut session);
        let (k, to, v) = (
            self.random.random_range(0..KEYS),
            self.random.random_range(0..KEYS),
            self.random.random_range(0..1000),
        );
        let what = self.random.random_range(0..4);
        let seen = self.seen(&session);
        let expected = self.expect(&session, &seen, what, k, to);
        let statement = session.txn.savepoint();
        let done = match what {
            0 => session.txn.insert(self.table, pair(k, v)).map(|_| 1),
            1 => set_value(&mut session.txn, self.table, k, v),
            2 => remove(&mut session.txn, self.table, k),
            _ => set_key(&mut session.txn, self.table, k, to),
        };
        let number = done.as_ref().err().map(|error| error.number);
        // A row of the snapshot whose key has moved on: it, or what has its key now, may be locked.
        let either = self.is_stale(&session, k)
            && [expected, number].iter().all(|n| matches!(n, Some(1222 | 3960)));
        assert!(
            either || number == expected,
            "seed {}: {what} {k} {to}: {expected:?} {done:?}",
            self.seed
        );
        // READ COMMITTED locks what it finds before it changes it.
        if what > 0
            && !session.is_snapshot
            && seen.contains_key(&k)
            && !session.own.contains_key(&k)
            && !self.locked().contains(&k)
        {
            session.held.insert(k);
        }
        match done {
            Err(error) if error.number == 3960 => {
                assert!(!session.txn.is_active());
                return;
            }
            Err(_) => session.txn.rollback_to(statement),
            Ok(0) => {}
            Ok(_) => {
                let before = seen.get(&k).copied();
                match what {
                    0 | 1 => drop(session.own.insert(k, Some(v))),
                    2 => drop(session.own.insert(k, None)),
                    _ if k == to => drop(session.own.insert(k, before)),
                    _ => {
                        session.own.insert(k, None);
                        session.own.insert(to, before);
                    }
                }
            }
        }
        session.txn.end_statement();
        self.sessions[at] = Some(session);
    }

    fn is_stale(&self, session: &Modelled, key: i32) -> bool {
        let snapshot = session.snapshot.as_ref().map_or(u64::MAX, |(_, seq)| *seq);
        self.changed.get(&key).is_some_and(|changed| *changed > snapshot)
    }

    /// The error a write must meet.
    fn expect(
        &self,
        session: &Modelled,
        seen: &Content,
        what: i32,
        k: i32,
        to: i32,
    ) -> Option<i32> {
        let taken = self.taken();
        let newest = |key: i32| match session.own.get(&key) {
            Some(value) => value.is_some(),
            None => self.committed.contains_key(&key),
        };
        if what == 0 {
            if taken.contains(&k) {
                return Some(1222);
            }
            return if newest(k) { Some(2627) } else { seen.contains_key(&k).then_some(3960) };
        }
        if session.is_snapshot {
            // It looks at its snapshot first, and locks only what it finds there.
            if !seen.contains_key(&k) {
                return None;
            }
            if self.locked().contains(&k) {
                return Some(1222);
            }
            if !session.own.contains_key(&k) && self.is_stale(session, k) {
                return Some(3960);
            }
        } else if taken.contains(&k) || (newest(k) && self.locked().contains(&k)) {
            return Some(1222);
        } else if !newest(k) {
            return None;
        }
        if what == 3 && to != k {
            if taken.contains(&to) {
                return Some(1222);
            }
            return if newest(to) { Some(2627) } else { seen.contains_key(&to).then_some(3960) };
        }
        None
    }
}

#[test]
fn interleaved_sessions_agree_with_the_model() {
    for seed in 0..400 {
        let mut run = Run::new(seed);
        run.steps(600);
        run.sessions.clear();
        let committed: Vec<(i32, i32)> = run.committed.clone().into_iter().collect();
        assert_eq!(super::committed(&run.database, run.table), committed, "seed {seed}");
        // With no view left, one version per row is left.
        run.open_views.clear();
        let (rows, bytes) = run.database.table_size(run.table).expect("the table is there");
        // Two ints, each behind its tag, and eight bytes of the row itself.
        let expected = (committed.len() as u64, committed.len() as u64 * 18);
        assert_eq!((rows, bytes), expected, "seed {seed}");
    }
}
