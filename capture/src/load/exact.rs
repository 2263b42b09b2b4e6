//! Tables under the exact handoff: the stream stands still while they are read, frozen, over snapshots
//! of one position.
//!
//! All of them are frozen together, those that an earlier attempt did not read whole among them:
//! they begin anew. The freeze stops writers for a moment only; what is read then is read from the
//! snapshots, one to a reader, which also plan the ranges. Any failure here ends the attempt, and
//! with it the snapshots: tables that have been read whole by then stay read.

use std::sync::Arc;
use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::{Backoff, Failure, Shutdown};
use tracing::{info, warn};

use super::readers::Reader;
use super::state::TableState;
use super::{Loads, Slot};
use crate::fail_points;
use crate::output::Output;
use crate::source::Table;
use crate::source::load::Frozen;

/// Times that freezing may fail for now: writers that hold their locks for long.
const MOST_FREEZES: u32 = 5;

impl Loads {
    /// Tables wait to be read frozen.
    pub fn wants_freeze(&self) -> bool {
        self.loads.iter().flat_map(|load| &load.tables).any(TableState::is_exact)
    }

    /// Reads all tables that are to be read frozen. No transaction may be open, and the stream stands
    /// still until it returns: when they are read, or on shutdown.
    ///
    /// # Errors
    /// As the source and the log.
    pub async fn read_frozen(
        &mut self,
        output: &mut Output,
        shutdown: &Shutdown,
    ) -> Result<(), Failure> {
        let exact = self.loads.iter().flat_map(|load| &load.tables).filter(|t| t.is_exact());
        let tables: Vec<Table> = exact.map(|table| table.table.clone()).collect();
        let Some(frozen) = self.freeze(output, &tables, shutdown).await? else { return Ok(()) };
        self.fail.hit(fail_points::LOAD_FROZEN)?;
        info!(position = %frozen.position, tables = tables.len(), "reading tables frozen");
        let states = self.loads.iter_mut().flat_map(|load| &mut load.tables);
        for table in states.filter(|table| table.is_exact()) {
            table.freeze(frozen.position);
        }
        let snapshots = (0..).zip(frozen.snapshots);
        self.slots.extend(
            snapshots.map(|(index, snapshot)| Slot { index, reader: Reader::Frozen(snapshot) }),
        );
        self.frozen = true;
        loop {
            self.step(output).await?;
            if !self.wants_freeze() {
                break;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = self.wait(output) => {}
            }
        }
        self.frozen = false;
        self.slots.retain(|slot| matches!(slot.reader, Reader::Committed(_)));
        output.commit_load().await
    }

    /// None on shutdown.
    async fn freeze(
        &mut self,
        output: &mut Output,
        tables: &[Table],
        shutdown: &Shutdown,
    ) -> Result<Option<Frozen>, Failure> {
        let loader = Arc::clone(&self.loader);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut failures = 0;
        loop {
            let freezing = async {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => None,
                    frozen = loader.freeze(tables, self.readers) => Some(frozen),
                }
            };
            let failure = match freezing.await {
                None => return Ok(None),
                Some(Ok(frozen)) if frozen.snapshots.is_empty() => {
                    return Err(Failure::new(
                        Code::SourceInternal,
                        "the source froze tables and gave no snapshot of them",
                    )
                    .remedy("report this with the program's log"));
                }
                Some(Ok(frozen)) => return Ok(Some(frozen)),
                Some(Err(failure)) => failure,
            };
            failures += 1;
            if !failure.disposition().is_tried_again() || failures >= MOST_FREEZES {
                return Err(failure);
            }
            warn!(error = %failure, "the tables will be frozen again");
            self.write_rows(output).await?;
            output.commit_load().await?;
            if !backoff.wait(shutdown).await {
                return Ok(None);
            }
        }
    }
}
