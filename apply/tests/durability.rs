//! A crash of the target itself, with real fsync.

use lockstep_common::FailPoints;
use lockstep_common::config::Durability;

use crate::bed::Bed;
use crate::source::{account, accounts, insert};
use lockstep_servers::cluster::{Cluster, Kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_target_loses_nothing() {
    for durability in [Durability::Group, Durability::Strict] {
        let mut cluster = tokio::task::block_in_place(|| Cluster::new(Kind::Durable));
        let mut bed = Bed::on(&cluster).await;
        let a = bed.source.table(&accounts()).await;
        let mut settings = bed.settings();
        settings.config.durability = durability;
        let mut apply = bed.start_with(settings, FailPoints::default());
        let mut next = 0;
        for _ in 0..3 {
            let transactions: Vec<_> =
                (next..next + 250).map(|i| vec![insert(a, account(i, "x", 1))]).collect();
            next += 250;
            let n = bed.source.commit_all(&transactions).await;
            apply.reaches(n - 200).await;
            tokio::task::block_in_place(|| {
                cluster.crash();
                cluster.restart();
            });
            apply.reaches(n).await;
        }
        bed.database.reconnect().await;
        let found = bed.query("SELECT count(*), count(DISTINCT id), max(id) FROM accounts").await;
        assert_eq!(found, ["750|750|749"], "{durability:?}");
        assert_eq!(bed.query("SELECT seq FROM lockstep.checkpoint").await, ["750"]);
        apply.stop().await;
    }
}

/// What was confirmed as flushed survives, whatever else does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_apply_has_everything_flushed() {
    let mut cluster = tokio::task::block_in_place(|| Cluster::new(Kind::Durable));
    let mut bed = Bed::on(&cluster).await;
    let a = bed.source.table(&accounts()).await;
    let mut apply = bed.start();
    let transactions: Vec<_> = (0..250).map(|i| vec![insert(a, account(i, "x", 1))]).collect();
    let n = bed.source.commit_all(&transactions).await;
    apply.reaches(n).await;
    apply.kill().await;
    tokio::task::block_in_place(|| {
        cluster.crash();
        cluster.restart();
    });
    bed.database.reconnect().await;
    assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["250"]);
}
