//! Full loads in numbers, for the progress display and for `lockstep status`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lockstep_common::service::status::{LoadState, LoadStatus, TableLoadState, TableLoadStatus};

/// Sums over the tables of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) tables: usize,
    pub(crate) loaded: usize,
    pub(crate) chunks: u64,
    /// None while a table's are not known.
    pub(crate) chunks_total: Option<u64>,
    pub(crate) rows: u64,
    /// None when a table's are not known.
    pub(crate) expected: Option<u64>,
    pub(crate) bytes: u64,
}

impl Totals {
    pub(crate) fn of(load: &LoadStatus) -> Self {
        let tables = || load.tables.values();
        Totals {
            tables: load.tables.len(),
            loaded: tables().filter(|table| table.state == TableLoadState::Loaded).count(),
            chunks: tables().map(|table| u64::from(table.chunks)).sum(),
            chunks_total: tables().map(|table| table.chunks_total.map(u64::from)).sum(),
            rows: tables().map(|table| table.rows).sum(),
            expected: tables().map(expected).sum(),
            bytes: tables().map(|table| table.bytes).sum(),
        }
    }
}

/// Rows of a table: an estimate while it is loading, and never fewer than there are.
pub(crate) fn expected(table: &TableLoadStatus) -> Option<u64> {
    match table.state {
        TableLoadState::Loaded => Some(table.rows),
        _ => table.rows_expected.map(|expected| expected.max(table.rows)),
    }
}

/// Rows a second over a table's whole load; none before there is time to speak of.
#[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
pub(crate) fn mean_rate(table: &TableLoadStatus) -> Option<f64> {
    (table.seconds > 0.0).then(|| table.rows as f64 / table.seconds)
}

/// The name of a load's state.
pub(crate) fn state_name(state: LoadState) -> &'static str {
    match state {
        LoadState::Loading => "loading",
        LoadState::Converging => "converging",
        LoadState::Finishing => "finishing",
        LoadState::Done => "done",
    }
}

/// The name of a table's state.
pub(crate) fn table_state_name(state: TableLoadState) -> &'static str {
    match state {
        TableLoadState::Waiting => "waiting",
        TableLoadState::Loading => "loading",
        TableLoadState::Loaded => "loaded",
    }
}

/// A rate over the last few seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    seen: VecDeque<(Instant, u64)>,
}

/// Long enough that chunks, which count as a whole, do not make it jump.
const SPAN: Duration = Duration::from_secs(10);

impl Rate {
    /// Takes a count that does not fall; one that has fallen begins anew.
    pub(crate) fn add(&mut self, now: Instant, count: u64) {
        if self.seen.back().is_some_and(|(_, last)| count < *last) {
            self.seen.clear();
        }
        self.seen.push_back((now, count));
        // One from before the span stays, so that it is covered.
        while self.seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= SPAN) {
            self.seen.pop_front();
        }
    }

    /// Counts a second; none before there are two moments.
    #[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
    pub(crate) fn per_second(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.seen.front()?, self.seen.back()?);
        let seconds = to.duration_since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (last - first) as f64 / seconds)
    }

    /// How long `left` more will take at this rate.
    #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
    pub(crate) fn time_for(&self, left: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate > 0.0)?;
        Duration::try_from_secs_f64((left as f64 / rate).ceil()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(state: TableLoadState, rows: u64, rows_expected: Option<u64>) -> TableLoadStatus {
        TableLoadStatus { state, rows, rows_expected, chunks: 2, ..TableLoadStatus::default() }
    }

    #[test]
    fn what_is_loaded_is_known_and_an_estimate_never_below_it() {
        let load = |tables: Vec<TableLoadStatus>| LoadStatus {
            tables: tables.into_iter().enumerate().map(|(i, t)| (i.to_string(), t)).collect(),
            ..LoadStatus::default()
        };
        let all = load(vec![
            table(TableLoadState::Loaded, 7, Some(1000)),
            table(TableLoadState::Loading, 30, Some(20)),
            table(TableLoadState::Waiting, 0, Some(50)),
        ]);
        let totals = Totals::of(&all);
        assert_eq!((totals.tables, totals.loaded, totals.chunks), (3, 1, 6));
        assert_eq!((totals.rows, totals.expected), (37, Some(87)));
        let unknown = load(vec![table(TableLoadState::Loading, 30, None)]);
        assert_eq!(Totals::of(&unknown).expected, None);
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds_and_survives_a_new_beginning() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        assert_eq!(rate.per_second(), None);
        for second in 0..60 {
            // Fast at first, then 100 a second.
            let count = if second < 30 { second * 1000 } else { 30_000 + (second - 30) * 100 };
            rate.add(start + Duration::from_secs(second), count);
        }
        assert_eq!(rate.per_second(), Some(100.0));
        assert_eq!(rate.time_for(250), Some(Duration::from_secs(3)));
        rate.add(start + Duration::from_secs(60), 5);
        assert_eq!(rate.per_second(), None);
        rate.add(start + Duration::from_secs(61), 5);
        assert_eq!(rate.time_for(1), None);
    }
}
