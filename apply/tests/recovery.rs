//! Crashes: at every fail point, and of the target.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use lockstep_apply::failpoints;
use lockstep_common::model::record::Change;
use lockstep_common::{FailPoints, TableId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bed::Bed;
use crate::source::{account, accounts, delete, insert, update};

const ROWS: &str = "SELECT id, owner, balance FROM accounts ORDER BY id";

/// A source that keeps its own account of its rows.
struct Model {
    table: TableId,
    rows: BTreeMap<i64, i64>,
    random: StdRng,
}

impl Model {
    fn new(table: TableId, seed: u64) -> Self {
        Model { table, rows: BTreeMap::new(), random: StdRng::seed_from_u64(seed) }
    }

    fn transaction(&mut self, changes: usize) -> Vec<Change<'static>> {
        (0..changes).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change<'static> {
        let id = self.random.random_range(0..200);
        let balance = self.random.random_range(0..1000);
        match self.rows.get(&id).copied() {
            None => {
                self.rows.insert(id, balance);
                insert(self.table, account(id, "x", balance))
            }
            Some(old) if self.random.random_bool(0.3) => {
                self.rows.remove(&id);
                delete(self.table, account(id, "x", old))
            }
            Some(old) => {
                self.rows.insert(id, balance);
                update(self.table, account(id, "x", old), account(id, "x", balance))
            }
        }
    }

    fn expected(&self) -> Vec<String> {
        self.rows.iter().map(|(id, balance)| format!("{id}|x|{balance}")).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_fail_point_changes_nothing() {
    for way in [(1, 1), (20, 1), (5, 3)] {
        a_crash_at_any_fail_point(way).await;
    }
}

/// With so many transactions to a commit, at most, and so many connections.
async fn a_crash_at_any_fail_point((shared, connections): (u32, usize)) {
    for (point, hits) in failpoints::ALL.iter().zip([1, 1, 1, 7, 1, 1, 1]) {
        let mut bed = Bed::new().await;
        let a = bed.source.table(&accounts()).await;
        let mut model = Model::new(a, 7);
        for _ in 0..5 {
            let transactions: Vec<_> = (0..30).map(|_| model.transaction(5)).collect();
            bed.source.commit_all(&transactions).await;
        }
        let large = model.transaction(2000);
        bed.source.commit_in_fragments(&large, 100).await;
        let after = model.transaction(5);
        bed.source.commit(&after).await;
        let mut settings = bed.settings();
        // So little that the spool is used too.
        settings.config.memory = ByteSize::kib(16);
        settings.config.group_commit = shared.try_into().expect("at least one");
        settings.config.connections = connections.try_into().expect("at least one");
        let failure =
            bed.start_with(settings.clone(), FailPoints::armed(point, hits)).fails().await;
        assert_eq!(failure.code.as_str(), "failpoint", "{point}: {failure}");
        bed.catch_up_with(settings).await;
        assert_eq!(bed.query(ROWS).await, model.expected(), "{point}, {shared} to a commit");
        let seq = bed.query("SELECT seq FROM lockstep.checkpoint").await;
        let seq: u64 = seq[0].parse().expect("a number");
        let fits = if shared == 1 { seq == 152 } else { (8..152).contains(&seq) };
        assert!(fits, "{point}, {shared} to a commit: {seq}");
    }
}

/// In-process kills at random moments, again and again, while the source goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_change_nothing() {
    for way in [(1, 1), (4, 2)] {
        kills_at_random_moments(way).await;
    }
}

/// With so many transactions to a commit, at most, and so many connections.
async fn kills_at_random_moments((shared, connections): (u32, usize)) {
    let mut bed = Bed::new().await;
    let a = bed.source.table(&accounts()).await;
    let mut model = Model::new(a, 11);
    let mut settings = bed.settings();
    settings.config.memory = ByteSize::kib(32);
    settings.config.group_commit = shared.try_into().expect("at least one");
    settings.config.connections = connections.try_into().expect("at least one");
    for round in 0..12 {
        let transactions: Vec<_> = (0..40).map(|_| model.transaction(6)).collect();
        bed.source.commit_all(&transactions).await;
        let points = failpoints::ALL;
        let point = points[model.random.random_range(0..points.len())];
        let fail = FailPoints::armed(point, model.random.random_range(1..20));
        let mut apply = bed.start_with(settings.clone(), fail);
        let reached = bed.source.at - model.random.random_range(0..30);
        // Either it gets there and is killed, or the fail point was first.
        let _ = apply.status.wait_for(|s| s.position >= crate::source::at(reached)).await;
        apply.kill().await;
        let seq: Vec<String> = bed.query("SELECT seq, position FROM lockstep.checkpoint").await;
        assert!(seq.len() <= 1, "round {round}: {seq:?}");
    }
    bed.catch_up_with(settings).await;
    assert_eq!(bed.query(ROWS).await, model.expected());
    let seq = bed.query("SELECT seq FROM lockstep.checkpoint").await;
    let seq: u64 = seq[0].parse().expect("a number");
    assert!(if shared == 1 { seq == bed.source.at } else { seq < bed.source.at }, "{seq}");
}
