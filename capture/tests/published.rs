//! Transactional replication beside change data capture: transactions that come in parts.

use lockstep_capture::check;
use lockstep_common::service::check::Verdict;
use lockstep_common::{Disposition, FailPoints};

use crate::contents;
use crate::server::Server;
use crate::service::{Bed, capture};

const SCAN: &str = "EXEC sys.sp_cdc_scan @maxtrans = 1, @maxscans = 1";

async fn published(split: &str) -> Server {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.admin.run("EXEC sp_replicationdboption N'shop', N'publish', N'true'").await;
    server.fault("split_transactions", split).await;
    server
}

/// All parts have the commit's LSN: it is not closed before a later one is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_comes_bit_by_bit_is_read_when_it_is_whole() {
    let mut server = published("same,2").await;
    let bed = Bed::new().await;
    let mut running = server.follow_with(&bed.log, capture(), FailPoints::default());
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    server.captured("INSERT INTO dbo.t VALUES (2)").await;
    running.shows("the first", |status| status.transactions == 1).await;
    server.admin.run("INSERT INTO dbo.t VALUES (10), (11), (12), (13), (14)").await;
    server.admin.run(SCAN).await;
    running.shows("the second", |status| status.transactions == 2).await;
    for _ in 0..2 {
        server.admin.run(SCAN).await;
    }
    let whole = server.newest().await;
    server.captured("INSERT INTO dbo.t VALUES (20)").await;
    running.reaches(whole).await;
    running.stop().await.expect("it stops as asked");
    let contents = contents::read(bed.log.as_ref()).await;
    let sizes: Vec<_> = contents.transactions.iter().map(|t| t.changes.len()).collect();
    assert_eq!(sizes, [1, 1, 5]);
}

/// Each part has an LSN of its own: nothing of it is taken for a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_parts_have_lsns_of_their_own_halts() {
    // Alone, and with a commit amid its parts, whose LSN the reader has passed.
    for amid in [false, true] {
        let mut server = published("own,2").await;
        let bed = Bed::new().await;
        server.captured("INSERT INTO dbo.t VALUES (1)").await;
        let mut large = server.session().await;
        large.run("BEGIN TRAN; INSERT INTO dbo.t VALUES (10), (11), (12)").await;
        if amid {
            server.captured("INSERT INTO dbo.t VALUES (2)").await;
            server.captured("INSERT INTO dbo.t VALUES (3)").await;
        }
        let mut running = server.follow(&bed.log);
        if amid {
            running.shows("what is before", |status| status.transactions == 2).await;
        }
        large.run("INSERT INTO dbo.t VALUES (13), (14); COMMIT").await;
        server.scan().await;
        server.captured("INSERT INTO dbo.t VALUES (20)").await;
        let failure = running.ends().await.expect_err("it halts");
        assert_eq!(
            (failure.code.as_str(), failure.disposition()),
            ("source.split", Disposition::Halt)
        );
        assert!(failure.remedy.contains("MaxCmdsInTran"), "{failure}");
        let contents = contents::read(bed.log.as_ref()).await;
        assert!(contents.transactions.iter().all(|t| t.changes.len() == 1), "{contents:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_that_replication_runs_beside_capture() {
    let mut server = published("off").await;
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    let results = check(&server.source()).await;
    let found = results.iter().find(|result| result.name == "transactional replication");
    assert_eq!(found.map(|result| result.verdict), Some(Verdict::Warn), "{results:#?}");
}
