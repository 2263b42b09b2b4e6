//! The loads as `/status` shows them.

use std::time::{Duration, Instant};

use lockstep_common::Position;
use lockstep_common::model::load::{Handoff, TableStage};
use lockstep_common::service::status::{LoadState, LoadStatus, TableLoadState, TableLoadStatus};

use super::Loads;
use super::proof::Proof;
use super::state::{Load, TableState};

/// What only counts up is shown this often at most.
const SHOW_EVERY: Duration = Duration::from_millis(200);

impl Loads {
    /// Shows how far the loads are, at once or when it is due.
    pub(super) fn show(&mut self, now: bool) {
        if self.loads.is_empty() || !now && self.shown.elapsed() < SHOW_EVERY {
            return;
        }
        self.shown = Instant::now();
        let status = self.status_of(self.loads.iter());
        self.status.send_modify(|all| all.load = status);
    }

    /// Shows a load that has ended, unless others go on.
    pub(super) fn show_ended(&self, load: Load, consistent: Position) {
        let status = self.status_of(self.loads.iter().chain([&load])).map(|mut status| {
            if self.loads.is_empty() {
                status.state = LoadState::Done;
                status.waiting = None;
            }
            status.consistent = Some(consistent);
            status
        });
        self.status.send_modify(|all| all.load = status);
    }

    /// Shows how far the loads are, now.
    pub fn show_now(&mut self) {
        self.show(true);
    }

    /// Several loads are shown as the newest, with the tables of all.
    fn status_of<'l>(&self, loads: impl Iterator<Item = &'l Load> + Clone) -> Option<LoadStatus> {
        let newest = loads.clone().max_by_key(|load| load.started)?;
        let all_read = loads.clone().all(Load::is_read);
        let tables = loads.clone().flat_map(|load| {
            let id = load.id;
            load.tables.iter().map(move |table| (id, table))
        });
        let waiting = if self.frozen {
            Some("the stream waits until tables under the exact handoff are read".to_owned())
        } else {
            loads.clone().find_map(waits_for)
        };
        Some(LoadStatus {
            id: newest.id.to_string(),
            state: if all_read { LoadState::Converging } else { LoadState::Loading },
            tables: tables
                .map(|(load, table)| {
                    let running = self
                        .attempts
                        .values()
                        .filter(|attempt| attempt.of == (load, table.entry.object_id));
                    let running = running
                        .fold((0, 0), |sum, attempt| (sum.0 + attempt.rows, sum.1 + attempt.bytes));
                    (table.table.version.name.to_string(), of_table(table, running))
                })
                .collect(),
            consistent: None,
            waiting,
            started: newest.started,
        })
    }
}

fn waits_for(load: &Load) -> Option<String> {
    let Proof::Awaiting(moment) = &load.proof else { return None };
    Some(match &moment.signal {
        Some(_) => {
            "all rows are read; waiting for the row written to capture.signal_table".to_owned()
        }
        None => {
            "all rows are read; waiting for the source's next commits (an idle source needs about \
                 two dummy rows, up to 10 minutes, or set capture.signal_table)"
                .to_owned()
        }
    })
}

fn of_table(table: &TableState, (rows, bytes): (u64, u64)) -> TableLoadStatus {
    let entry = &table.entry;
    let begun = entry.next_chunk;
    let unfinished = u32::try_from(entry.unfinished.len()).unwrap_or(u32::MAX);
    let seconds = match table.times {
        (Some(first), Some(last)) => (last - first).as_secs_f64(),
        (Some(first), None) => first.elapsed().as_secs_f64(),
        (None, _) => 0.0,
    };
    // Of an exact table that is to begin anew nothing counts.
    let void = entry.handoff == Handoff::Exact && !table.is_read() && table.times.0.is_none();
    let counted = |count: u64| if void { 0 } else { count };
    TableLoadStatus {
        state: match entry.stage {
            TableStage::Waiting => TableLoadState::Waiting,
            TableStage::Reading => TableLoadState::Loading,
            TableStage::Read | TableStage::Done => TableLoadState::Loaded,
        },
        rows: counted(entry.rows + rows),
        rows_expected: table.expected,
        bytes: counted(entry.bytes + bytes),
        chunks: if void { 0 } else { begun - unfinished.min(begun) },
        chunks_total: entry.planned.then_some(begun),
        started: table.started,
        seconds,
    }
}
