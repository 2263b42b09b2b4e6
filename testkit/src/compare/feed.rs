//! The source side: the shop's transactions, and the scans that make them visible.
//!
//! The database's capture job is stopped and its scan is called by hand, as SQL Server allows
//! (`sys.sp_cdc_scan`, <https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sys-sp-cdc-scan-transact-sql>),
//! so that the moment at which change rows become visible is known: it is the scan's return.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::{self, MissedTickBehavior};

use super::shop::{self, Shop, Totals};
use crate::source::{Connection, Source};
use crate::workload;

/// Transactions of one batch.
const BATCH: u64 = 50;
/// Transactions of one scan when nobody waits for them.
const SCAN: u64 = 2000;
/// How often the scan is called at a steady rate.
pub(super) const SCAN_EVERY: Duration = Duration::from_millis(50);

/// An order and when its change rows became visible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visible {
    pub(super) n: i64,
    pub(super) at: Instant,
}

/// The one session that writes.
pub(super) struct Feed {
    connection: Connection,
    shop: Shop,
}

impl Feed {
    /// Makes the database, its tables and their capture instances.
    pub(super) async fn install(source: &Source, seed: u64) -> Result<Self> {
        workload::install(source, &shop::tables()).await?;
        let mut connection = source.connect().await?;
        connection.run("EXEC sys.sp_cdc_stop_job @job_type = N'capture'").await?;
        Ok(Feed { connection, shop: Shop::new(seed) })
    }

    pub(super) fn totals(&self) -> Totals {
        self.shop.totals()
    }

    /// Fills the tables.
    pub(super) async fn fill(&mut self) -> Result<()> {
        for statement in self.shop.fill() {
            self.connection.run(&statement).await?;
        }
        self.scan().await
    }

    /// So many transactions as fast as it goes, all in the change tables when it returns.
    pub(super) async fn bulk(&mut self, transactions: u64) -> Result<()> {
        let mut left = transactions;
        while left > 0 {
            let now = left.min(SCAN);
            let mut unscanned = now;
            while unscanned > 0 {
                let batch = unscanned.min(BATCH);
                self.write(batch).await?;
                unscanned -= batch;
            }
            self.scan().await?;
            left -= now;
        }
        Ok(())
    }

    /// `rate` transactions a second for `duration`; returns when each order became visible.
    pub(super) async fn steady(&mut self, rate: f64, duration: Duration) -> Result<Vec<Visible>> {
        let (began, mut visible, mut written) = (Instant::now(), Vec::new(), 0);
        let mut ticks = time::interval(SCAN_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while began.elapsed() < duration {
            ticks.tick().await;
            let due = whole(began.elapsed().as_secs_f64() * rate) - written;
            if due == 0 {
                continue;
            }
            let orders = self.write(due).await?;
            self.scan().await?;
            let at = Instant::now();
            visible.extend(orders.into_iter().map(|n| Visible { n, at }));
            written += due;
        }
        Ok(visible)
    }

    /// Writes transactions and returns the numbers of those that are orders.
    async fn write(&mut self, transactions: u64) -> Result<Vec<i64>> {
        let (mut batch, mut orders) = (String::from("SET NOCOUNT ON;"), Vec::new());
        for _ in 0..transactions {
            let (sql, order) = self.shop.next();
            batch.push_str(&sql);
            orders.extend(order.then(|| self.shop.totals().transactions));
        }
        self.connection.run(&batch).await.context("write transactions")?;
        Ok(orders)
    }

    async fn scan(&mut self) -> Result<()> {
        let scan = "EXEC sys.sp_cdc_scan @maxtrans = 1000000, @maxscans = 100";
        self.connection.run(scan).await.context("scan the log")
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small positive")]
fn whole(number: f64) -> u64 {
    number as u64
}
