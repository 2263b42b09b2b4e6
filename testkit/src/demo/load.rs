//! The full load: copying what is there while the work goes on, with a SIGKILL in the middle.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::HumanCount;
use lockstep_common::service::status::{LoadState, LoadStatus};
use tokio::task::JoinHandle;
use tokio::time;

use super::Stage;
use super::view::{self, Progress};
use crate::oracle::{Digest, Snapshot};
use crate::source::Connection;
use crate::workload::archive;

/// The longest that the load may take.
const LONGEST: Duration = Duration::from_secs(900);

impl Stage {
    /// Waits until the target is loaded, with its indexes and constraints, and kills each process of
    /// the pipeline once on the way. Returns how it went and what was disrupted.
    pub(super) async fn load(
        &mut self,
        sessions: &JoinHandle<Result<()>>,
    ) -> Result<(String, Vec<String>)> {
        let began = Instant::now();
        // A third of the rows and two thirds of them, of what there is at least.
        let mut kills =
            (0..self.services.count()).map(|n| (n, self.options.rows * (n as u64 + 1) / 3));
        let mut kill = kills.next();
        let (mut disruptions, mut consistent) = (Vec::new(), None);
        let mut ticks = time::interval(view::INTERVAL);
        while !sessions.is_finished() {
            ticks.tick().await;
            self.services.check()?;
            let apply = self.services.statuses().await.apply;
            let Some(load) = apply.and_then(|status| status.load) else {
                self.show("full load", Progress::Rows { done: 0, expected: 0 }).await;
                continue;
            };
            let (rows, expected) = rows(&load, self.options.rows);
            if let Some((index, _)) = kill.filter(|(_, at)| rows >= *at) {
                let done = self.services.kill_and_restart(index)?;
                let done = format!("{done}, with {} rows loaded", HumanCount(rows));
                self.view.event(&done);
                disruptions.push(done);
                kill = kills.next();
            }
            if consistent.is_none() && matches!(load.state, LoadState::Finishing | LoadState::Done)
            {
                consistent = Some(began.elapsed());
                self.view
                    .event("all rows are there and consistent; making indexes and constraints");
            }
            self.show("full load", Progress::Rows { done: rows, expected }).await;
            if load.state == LoadState::Done {
                let consistent = consistent.unwrap_or_default().as_secs_f64();
                let whole = began.elapsed().as_secs_f64();
                let line = format!(
                    "{} rows of {} tables, consistent after {consistent:.1} s, with indexes and \
                     constraints after {whole:.1} s",
                    HumanCount(rows),
                    load.tables.len()
                );
                self.view.event(&format!("the full load is done: {line}"));
                return Ok((line, disruptions));
            }
            if began.elapsed() > LONGEST {
                bail!("the load is not done after {LONGEST:?}:\n{}", self.services.output());
            }
        }
        bail!("the workload ended before the load")
    }
}

/// Rows in the target, and how many are expected there.
fn rows(load: &LoadStatus, at_least: u64) -> (u64, u64) {
    let done = load.tables.values().map(|table| table.rows).sum();
    let expected = load.tables.values().map(|t| t.rows_expected.unwrap_or(0).max(t.rows)).sum();
    (done, std::cmp::max(expected, at_least).max(done))
}

/// The large tables at rest.
pub(super) struct Archive {
    pub(super) rows: u64,
    pub(super) different: Option<String>,
}

/// Compares them.
pub(super) async fn compare_archive(source: &mut Connection, target: &Snapshot) -> Result<Archive> {
    let mut found = Archive { rows: 0, different: None };
    for table in archive::tables() {
        // Each side on its own connection, both at once.
        let (in_source, in_target) =
            tokio::try_join!(Digest::of_source(source, &table), Digest::of_target(target, &table))?;
        found.rows += in_target.rows;
        if in_source != in_target {
            found.different = Some(format!(
                "{} differs: {} rows in the source, {} in the target, or other values",
                table.name, in_source.rows, in_target.rows
            ));
        }
    }
    Ok(found)
}
