//! `/metrics`: the statuses as Prometheus sees them, in OpenMetrics text. Nothing is counted here.
//!
//! Base units: seconds, bytes. Names are part of the interface: renaming one breaks dashboards.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::TICKS_PER_SECOND;
use crate::service::status::{
    ApplyStatus, CaptureStatus, Counts, LoadState, LoadStatus, TableLoadStatus, TaskState,
};

/// 1 for the state capture is in, 0 for the others; label `state`.
pub const CAPTURE_STATE: &str = "lockstep_capture_state";
/// Capture's epoch in the log.
pub const CAPTURE_EPOCH: &str = "lockstep_capture_epoch";
/// Source transactions written to the log.
pub const CAPTURE_TRANSACTIONS: &str = "lockstep_capture_transactions_total";
/// Changes written to the log; labels `table`, `operation`.
pub const CAPTURE_CHANGES: &str = "lockstep_capture_changes_total";
/// Bytes written to the log.
pub const CAPTURE_BYTES: &str = "lockstep_capture_bytes_total";
/// Commit time of the newest transaction in the log, since 1970.
pub const CAPTURE_COMMIT_TIME: &str = "lockstep_capture_commit_timestamp_seconds";
/// How far the log is behind the source: 0 when nothing newer is known.
pub const CAPTURE_LAG: &str = "lockstep_capture_lag_seconds";
/// 1 for the state of the newest full load, 0 for the others; label `state`. As all of a load, it is
/// absent while there is none.
pub const CAPTURE_LOAD_STATE: &str = "lockstep_capture_load_state";
/// Rows of the load that are in the log; label `table`, as on the three that follow.
pub const CAPTURE_LOAD_ROWS: &str = "lockstep_capture_load_rows";
/// Rows there are, as the source estimates.
pub const CAPTURE_LOAD_ROWS_EXPECTED: &str = "lockstep_capture_load_rows_expected";
/// Bytes of the rows in the log.
pub const CAPTURE_LOAD_BYTES: &str = "lockstep_capture_load_bytes";
/// Time from the table's first chunk to its last, or until now.
pub const CAPTURE_LOAD_TIME: &str = "lockstep_capture_load_seconds";

/// 1 for the state the apply is in, 0 for the others; labels `apply`, `state`.
pub const APPLY_STATE: &str = "lockstep_apply_state";
/// The apply's epoch in the target; label `apply`, as on all that follow.
pub const APPLY_EPOCH: &str = "lockstep_apply_epoch";
/// Source transactions committed in the target.
pub const APPLY_TRANSACTIONS: &str = "lockstep_apply_transactions_total";
/// Changes committed in the target; labels `table`, `operation`.
pub const APPLY_CHANGES: &str = "lockstep_apply_changes_total";
/// Commit time of the checkpoint in the source, since 1970.
pub const APPLY_COMMIT_TIME: &str = "lockstep_apply_commit_timestamp_seconds";
/// How far the target is behind the log: 0 when nothing newer is known.
pub const APPLY_LAG: &str = "lockstep_apply_lag_seconds";
/// How old the state of the source is that the target has, at most.
pub const APPLY_STALENESS: &str = "lockstep_apply_staleness_seconds";
/// Next log offset after the checkpoint.
pub const APPLY_NEXT_OFFSET: &str = "lockstep_apply_next_offset";
/// Log offset read up to.
pub const APPLY_FETCHED_OFFSET: &str = "lockstep_apply_fetched_offset";
/// Transactions waiting in memory and spool.
pub const APPLY_WAITING: &str = "lockstep_apply_waiting_transactions";
/// Bytes waiting in memory.
pub const APPLY_MEMORY: &str = "lockstep_apply_memory_bytes";
/// Bytes in the spool.
pub const APPLY_SPOOL: &str = "lockstep_apply_spool_bytes";
/// 1 while the spool is at its budget and the log is not read.
pub const APPLY_BACK_PRESSURE: &str = "lockstep_apply_back_pressure";
/// Transactions set aside.
pub const APPLY_EXCEPTIONS: &str = "lockstep_apply_exceptions_total";
/// Rows that `converge` found otherwise than the source had them, since their table was last loaded.
pub const APPLY_FORCED: &str = "lockstep_apply_forced_rows";
/// 1 when the target may differ from every state of the source.
pub const APPLY_DIVERGED: &str = "lockstep_apply_diverged";
/// Characters that PostgreSQL cannot store and U+FFFD was written for.
pub const APPLY_REPLACED: &str = "lockstep_apply_replaced_characters_total";
/// 1 for the state of the newest full load, 0 for the others; labels `apply`, `state`.
pub const APPLY_LOAD_STATE: &str = "lockstep_apply_load_state";
/// Rows of the load that are in the target; labels `apply`, `table`, as on the three that follow.
pub const APPLY_LOAD_ROWS: &str = "lockstep_apply_load_rows";
/// Rows there are, as far as that is known.
pub const APPLY_LOAD_ROWS_EXPECTED: &str = "lockstep_apply_load_rows_expected";
/// Bytes of the rows that are in the target, as they are in the log.
pub const APPLY_LOAD_BYTES: &str = "lockstep_apply_load_bytes";
/// Time from the table's first chunk to its last, or until now.
pub const APPLY_LOAD_TIME: &str = "lockstep_apply_load_seconds";

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the services of a process say of themselves at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Capture, if it runs here.
    pub(crate) capture: Option<CaptureStatus>,
    /// Applies by name.
    pub(crate) applies: BTreeMap<String, ApplyStatus>,
}

/// The snapshot in OpenMetrics text.
pub(crate) fn render(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

/// How a metric is read off a status.
enum Reading<S> {
    Counter(fn(&S) -> u64),
    /// Absent while there is nothing to say.
    Gauge(fn(&S) -> Option<f64>),
    State(fn(&S) -> TaskState),
    Changes(fn(&S) -> &BTreeMap<String, Counts>),
    LoadState(fn(&S) -> Option<&LoadStatus>),
    /// One for each table of the load.
    Load(fn(&S) -> Option<&LoadStatus>, fn(&TableLoadStatus) -> Option<f64>),
}

/// A metric: its name, its help, how it is read.
type Metric<S> = (&'static str, &'static str, Reading<S>);

const CAPTURE: &[Metric<CaptureStatus>] = &[
    (CAPTURE_STATE, "What capture is doing", Reading::State(|s| s.state)),
    (CAPTURE_EPOCH, "Epoch in the log", Reading::Gauge(|s| Some(number(s.epoch)))),
    (CAPTURE_TRANSACTIONS, "Source transactions written", Reading::Counter(|s| s.transactions)),
    (CAPTURE_CHANGES, "Changes written", Reading::Changes(|s| &s.tables)),
    (CAPTURE_BYTES, "Bytes written", Reading::Counter(|s| s.bytes)),
    (
        CAPTURE_COMMIT_TIME,
        "Commit time of the newest transaction written",
        Reading::Gauge(|s| seconds(s.commit_time)),
    ),
    (CAPTURE_LAG, "How far the log is behind the source", Reading::Gauge(|s| s.lag_seconds)),
    (CAPTURE_LOAD_STATE, "How far the newest full load is", Reading::LoadState(capture_load)),
    (
        CAPTURE_LOAD_ROWS,
        "Rows of the load in the log",
        Reading::Load(capture_load, |t| Some(number(t.rows))),
    ),
    (
        CAPTURE_LOAD_ROWS_EXPECTED,
        "Rows there are, as far as that is known",
        Reading::Load(capture_load, |t| t.rows_expected.map(number)),
    ),
    (
        CAPTURE_LOAD_BYTES,
        "Bytes of those rows in the log",
        Reading::Load(capture_load, |t| Some(number(t.bytes))),
    ),
    (
        CAPTURE_LOAD_TIME,
        "Time from the table's first chunk to its last, or until now",
        Reading::Load(capture_load, |t| Some(t.seconds)),
    ),
];

fn capture_load(status: &CaptureStatus) -> Option<&LoadStatus> {
    status.load.as_ref()
}

const APPLY: &[Metric<ApplyStatus>] = &[
    (APPLY_STATE, "What the apply is doing", Reading::State(|s| s.state)),
    (APPLY_EPOCH, "Epoch in the target", Reading::Gauge(|s| Some(number(s.epoch)))),
    (APPLY_TRANSACTIONS, "Source transactions committed", Reading::Counter(|s| s.transactions)),
    (APPLY_CHANGES, "Changes committed", Reading::Changes(|s| &s.tables)),
    (
        APPLY_COMMIT_TIME,
        "Commit time of the checkpoint in the source",
        Reading::Gauge(|s| seconds(s.commit_time)),
    ),
    (APPLY_LAG, "How far the target is behind the log", Reading::Gauge(|s| s.lag_seconds)),
    (
        APPLY_STALENESS,
        "How old the state of the source is that the target has, at most",
        Reading::Gauge(|s| s.staleness_seconds),
    ),
    (
        APPLY_NEXT_OFFSET,
        "Next log offset after the checkpoint",
        Reading::Gauge(|s| Some(number(s.next_offset))),
    ),
    (
        APPLY_FETCHED_OFFSET,
        "Log offset read up to",
        Reading::Gauge(|s| Some(number(s.fetched_offset))),
    ),
    (
        APPLY_WAITING,
        "Transactions waiting in memory and spool",
        Reading::Gauge(|s| Some(number(s.waiting_transactions))),
    ),
    (APPLY_MEMORY, "Bytes waiting in memory", Reading::Gauge(|s| Some(number(s.memory_bytes)))),
    (APPLY_SPOOL, "Bytes in the spool", Reading::Gauge(|s| Some(number(s.spool_bytes)))),
    (
        APPLY_BACK_PRESSURE,
        "Whether the spool is at its budget",
        Reading::Gauge(|s| Some(f64::from(u8::from(s.back_pressure)))),
    ),
    (APPLY_EXCEPTIONS, "Transactions set aside", Reading::Counter(|s| s.exceptions)),
    (
        APPLY_FORCED,
        "Rows that were found otherwise than the source had them, and forced in",
        Reading::Gauge(|s| Some(number(s.forced))),
    ),
    (
        APPLY_DIVERGED,
        "Whether the target may differ from every state of the source",
        Reading::Gauge(|s| Some(f64::from(u8::from(s.diverged)))),
    ),
    (
        APPLY_REPLACED,
        "Characters that PostgreSQL cannot store, replaced",
        Reading::Counter(|s| s.replaced_characters),
    ),
    (APPLY_LOAD_STATE, "How far the newest full load is", Reading::LoadState(apply_load)),
    (
        APPLY_LOAD_ROWS,
        "Rows of the load in the target",
        Reading::Load(apply_load, |t| Some(number(t.rows))),
    ),
    (
        APPLY_LOAD_ROWS_EXPECTED,
        "Rows there are, as far as that is known",
        Reading::Load(apply_load, |t| t.rows_expected.map(number)),
    ),
    (
        APPLY_LOAD_BYTES,
        "Bytes of those rows in the log",
        Reading::Load(apply_load, |t| Some(number(t.bytes))),
    ),
    (
        APPLY_LOAD_TIME,
        "Time from the table's first chunk to its last, or until now",
        Reading::Load(apply_load, |t| Some(t.seconds)),
    ),
];

fn apply_load(status: &ApplyStatus) -> Option<&LoadStatus> {
    status.load.as_ref()
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(capture) = &self.capture {
            for metric in CAPTURE {
                encode(&mut encoder, metric, &[(None, capture)])?;
            }
        }
        if !self.applies.is_empty() {
            let applies: Vec<_> =
                self.applies.iter().map(|(name, status)| (Some(name.as_str()), status)).collect();
            for metric in APPLY {
                encode(&mut encoder, metric, &applies)?;
            }
        }
        Ok(())
    }
}

/// One metric of all services of a kind: a name may be described only once.
fn encode<S>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, reading): &Metric<S>,
    services: &[(Option<&str>, &S)],
) -> fmt::Result {
    let kind = match reading {
        Reading::Counter(_) | Reading::Changes(_) => MetricType::Counter,
        Reading::Gauge(_) | Reading::State(_) | Reading::LoadState(_) | Reading::Load(..) => {
            MetricType::Gauge
        }
    };
    // The encoder adds the suffix of counters itself.
    let name = name.strip_suffix("_total").unwrap_or(name);
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (apply, status) in services {
        let own: Labels = apply.map(|name| ("apply", escaped(name))).into_iter().collect();
        match reading {
            Reading::Counter(read) => counter(&mut metric, &own, read(status))?,
            Reading::Gauge(read) => {
                if let Some(value) = read(status) {
                    gauge(&mut metric, &own, value)?;
                }
            }
            Reading::State(read) => states(&mut metric, &own, read(status))?,
            Reading::Changes(read) => changes(&mut metric, &own, read(status))?,
            Reading::LoadState(load) => {
                if let Some(load) = load(status) {
                    load_states(&mut metric, &own, load.state)?;
                }
            }
            Reading::Load(load, read) => {
                for (table, loaded) in load(status).into_iter().flat_map(|load| &load.tables) {
                    if let Some(value) = read(loaded) {
                        gauge(&mut metric, &with(&own, &[("table", table)]), value)?;
                    }
                }
            }
        }
    }
    Ok(())
}

type Labels = Vec<(&'static str, String)>;

fn with(own: &Labels, more: &[(&'static str, &str)]) -> Labels {
    let more = more.iter().map(|(key, value)| (*key, escaped(value)));
    own.iter().cloned().chain(more).collect()
}

/// A label's value as the format wants it; the encoder writes it as it is, and a table may be named
/// anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn states(metric: &mut MetricEncoder<'_>, own: &Labels, now: TaskState) -> fmt::Result {
    for state in [
        TaskState::Starting,
        TaskState::Running,
        TaskState::Retrying,
        TaskState::Waiting,
        TaskState::Halted,
        TaskState::Fenced,
        TaskState::Stopped,
    ] {
        let value = f64::from(u8::from(state == now));
        gauge(metric, &with(own, &[("state", state_name(state))]), value)?;
    }
    Ok(())
}

fn load_states(metric: &mut MetricEncoder<'_>, own: &Labels, now: LoadState) -> fmt::Result {
    for (state, name) in [
        (LoadState::Loading, "loading"),
        (LoadState::Converging, "converging"),
        (LoadState::Finishing, "finishing"),
        (LoadState::Done, "done"),
    ] {
        gauge(metric, &with(own, &[("state", name)]), f64::from(u8::from(state == now)))?;
    }
    Ok(())
}

fn changes(
    metric: &mut MetricEncoder<'_>,
    own: &Labels,
    tables: &BTreeMap<String, Counts>,
) -> fmt::Result {
    for (table, counts) in tables {
        for (operation, count) in
            [("insert", counts.inserts), ("update", counts.updates), ("delete", counts.deletes)]
        {
            counter(metric, &with(own, &[("table", table), ("operation", operation)]), count)?;
        }
    }
    Ok(())
}

fn counter(metric: &mut MetricEncoder<'_>, labels: &Labels, value: u64) -> fmt::Result {
    if labels.is_empty() {
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    } else {
        metric.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }
}

fn gauge(metric: &mut MetricEncoder<'_>, labels: &Labels, value: f64) -> fmt::Result {
    if labels.is_empty() {
        metric.encode_gauge(&value)
    } else {
        metric.encode_family(labels)?.encode_gauge(&value)
    }
}

/// The state as `/status` writes it.
pub(crate) fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Starting => "starting",
        TaskState::Running => "running",
        TaskState::Retrying => "retrying",
        TaskState::Waiting => "waiting",
        TaskState::Halted => "halted",
        TaskState::Fenced => "fenced",
        TaskState::Stopped => "stopped",
    }
}

/// A gauge's number; those above 2^53 lose their last digits.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point in Prometheus too")]
fn number(value: u64) -> f64 {
    value as f64
}

/// Seconds since 1970 of a time in 100 ns; none while there is no time yet.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating point in Prometheus too")]
fn seconds(ticks: i64) -> Option<f64> {
    (ticks != 0).then(|| ticks as f64 / TICKS_PER_SECOND as f64)
}
