//! The programs' own log lines: on standard error, as text or JSON, filtered by `LOCKSTEP_LOG`.
//!
//! Lines name positions, tables and offsets, never values of rows. Drivers print values and
//! statements at their lower levels, and a server's errors, which quote values, at any: so only
//! Lockstep's own targets are let through, and the Kafka client's reports, whatever the filter asks for.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable with the filter, in `tracing-subscriber`'s syntax: `info`,
/// `warn,lockstep_apply=debug`.
pub const FILTER_VARIABLE: &str = "LOCKSTEP_LOG";

/// Form of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the process and says which `service` of which version it is.
///
/// A filter that cannot be read is reported and replaced by `info`. A second call does nothing.
pub fn init(service: &str, format: LogFormat) {
    let variable = std::env::var(FILTER_VARIABLE).ok();
    let (filter, complaint) = filter(variable.as_deref());
    let colours = std::io::stderr().is_terminal();
    if subscriber(format, filter, colours, || Lines).try_init().is_err() {
        return;
    }
    if let Some(complaint) = complaint {
        tracing::warn!("{FILTER_VARIABLE} is not a filter, `info` is used: {complaint}");
    }
    tracing::debug!(service, version = env!("CARGO_PKG_VERSION"), "starting");
}

/// Draws something that must be out of the way while a line is written: it calls what it is given.
type Beside = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

static BESIDE: OnceLock<Beside> = OnceLock::new();

/// Says what else draws on the terminal: from now on it is asked to make room for each line. Only
/// the first call has an effect.
pub fn draw_beside(make_room: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static) {
    // A second drawer would have to share the terminal with the first, which neither can.
    let _ = BESIDE.set(Box::new(make_room));
}

/// Standard error, beside whatever else is drawn there. An event comes as one write.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let Some(make_room) = BESIDE.get() else { return std::io::stderr().write(line) };
        let mut result = Ok(0);
        make_room(&mut || result = std::io::stderr().write_all(line).map(|()| line.len()));
        result
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// The filter to use, and what is wrong with the one given.
fn filter(given: Option<&str>) -> (EnvFilter, Option<String>) {
    let info = || EnvFilter::new("info");
    match given {
        None | Some("") => (info(), None),
        Some(text) => match text.parse() {
            Ok(filter) => (filter, None),
            Err(error) => (info(), Some(format!("{error}"))),
        },
    }
}

/// Whether an event may be written at all.
fn is_own(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    match root {
        "lockstep" => true,
        // What comes over the `log` facade was judged by its own target before it got this one.
        "rdkafka" | "log" => *metadata.level() <= Level::INFO,
        _ => root.starts_with("lockstep_"),
    }
}

/// What writes lines as [`init`] does, filtered by `filter`, to `writer`: for tests that read them.
pub fn subscriber_to<W>(filter: &str, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    subscriber(LogFormat::Text, self::filter(Some(filter)).0, false, writer)
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(is_own));
    match format {
        LogFormat::Text => Box::new(registry.with(lines.with_ansi(colours))),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, given: Option<&str>) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = subscriber(format, filter(given).0, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("apply", name = "one").entered();
            tracing::info!(position = "1/0A", "committed");
            tracing::debug!("detail");
        });
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_are_json_with_fields_and_spans() {
        let text = lines(LogFormat::Json, None);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "committed");
        assert_eq!(line["position"], "1/0A");
        assert_eq!(line["span"]["name"], "apply");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn drivers_write_nothing_at_any_level() {
        for given in
            ["trace", "tiberius=trace", "tokio_postgres=trace,hyper=trace,rdkafka=trace", "off"]
        {
            let memory = Memory::default();
            let writer = memory.clone();
            let subscriber = subscriber_to(given, move || writer.clone());
            tracing::subscriber::with_default(subscriber, || {
                tracing::error!(target: "tiberius::tds::stream::token", "canary");
                tracing::trace!(target: "tiberius::tds::codec::column_data", "canary");
                tracing::info!(target: "tokio_postgres::connection", "canary");
                tracing::debug!(target: "tokio_postgres::query", "canary");
                tracing::trace!(target: "hyper::proto::h1", "canary");
                tracing::warn!(target: "somebody_else", "canary");
                tracing::error!(target: "lockstepping", "canary");
                tracing::debug!(target: "rdkafka::consumer", "canary");
                tracing::trace!(target: "lockstep_apply::write", "ours");
            });
            let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
            assert!(!text.contains("canary"), "{given}: {text}");
            assert_eq!(text.contains("ours"), given == "trace", "{text}");
        }
    }

    #[test]
    fn the_filter_decides() {
        assert_eq!(lines(LogFormat::Text, None).lines().count(), 1);
        assert_eq!(lines(LogFormat::Text, Some("debug")).lines().count(), 2);
        assert_eq!(lines(LogFormat::Text, Some("error")).lines().count(), 0);
        assert!(filter(Some("a=b=c")).1.is_some());
        assert_eq!(lines(LogFormat::Text, Some("a=b=c")).lines().count(), 1);
    }
}
