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
use crate::status::{ApplyStatus, CaptureStatus, Counts, TaskState};

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
/// The source's clock less that time.
pub const CAPTURE_LAG: &str = "lockstep_capture_lag_seconds";

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
/// Now less that time while transactions wait, else 0.
pub const APPLY_LAG: &str = "lockstep_apply_lag_seconds";
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
/// 1 when the target may differ from every state of the source.
pub const APPLY_DIVERGED: &str = "lockstep_apply_diverged";

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
    (CAPTURE_LAG, "The source's clock less that time", Reading::Gauge(|s| s.lag_seconds)),
];

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
    (APPLY_LAG, "Now less that time while transactions wait", Reading::Gauge(|s| s.lag_seconds)),
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
        APPLY_DIVERGED,
        "Whether the target may differ from every state of the source",
        Reading::Gauge(|s| Some(f64::from(u8::from(s.diverged)))),
    ),
];

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
        Reading::Gauge(_) | Reading::State(_) => MetricType::Gauge,
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
        TaskState::Halted,
        TaskState::Fenced,
        TaskState::Stopped,
    ] {
        let value = f64::from(u8::from(state == now));
        gauge(metric, &with(own, &[("state", state_name(state))]), value)?;
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
