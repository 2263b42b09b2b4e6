//! What `lockstep run` shows of a full load: bars on a terminal, else a log line now and then.
//!
//! A bar for each service says how far it is with all tables (capture reads them from the source,
//! an apply writes them to its target), and one for each table that is being loaded how far that is
//! on its way to the first target. Bars go when the load is done.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{
    HumanBytes, HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget,
    ProgressStyle,
};
use lockstep_common::service::status::{
    ApplyStatus, CaptureStatus, LoadState, LoadStatus, StatusReceiver, TableLoadState,
};
use lockstep_common::{Shutdown, service::telemetry};

use crate::load_view::{Rate, Totals, expected, state_name};

/// Between two pictures on a terminal.
const FRAME: Duration = Duration::from_millis(250);
/// Between two log lines.
const LINE: Duration = Duration::from_secs(5);
/// Bars of tables at once.
const MOST_TABLES: usize = 12;

/// The services to show.
#[derive(Default)]
pub(crate) struct ProgressBars {
    capture: Option<StatusReceiver<CaptureStatus>>,
    applies: Vec<(String, StatusReceiver<ApplyStatus>)>,
}

impl ProgressBars {
    pub(crate) fn add_capture(&mut self, status: StatusReceiver<CaptureStatus>) {
        self.capture = Some(status);
    }

    pub(crate) fn add_apply(&mut self, name: String, status: StatusReceiver<ApplyStatus>) {
        self.applies.push((name, status));
    }

    /// Shows loads until shutdown.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut display = if std::io::stderr().is_terminal() {
            Display::Bars(Box::new(Bars::new()))
        } else {
            Display::Lines(Lines::default())
        };
        let mut frames = tokio::time::interval(display.interval());
        loop {
            tokio::select! {
                _ = frames.tick() => display.show(&self.loads(), Instant::now()),
                () = shutdown.cancelled() => break,
            }
        }
        display.show(&self.loads(), Instant::now());
        display.clear();
    }

    /// The loads of all services, capture first.
    fn loads(&self) -> Vec<(String, LoadStatus)> {
        let capture = self.capture.as_ref().and_then(|status| status.borrow().load.clone());
        let capture = capture.map(|load| ("capture".to_owned(), load));
        let applies = self.applies.iter().filter_map(|(name, status)| {
            let load = status.borrow().load.clone()?;
            Some((format!("apply.{name}"), load))
        });
        capture.into_iter().chain(applies).collect()
    }
}

enum Display {
    Bars(Box<Bars>),
    Lines(Lines),
}

impl Display {
    fn interval(&self) -> Duration {
        match self {
            Display::Bars(_) => FRAME,
            Display::Lines(_) => LINE,
        }
    }

    fn show(&mut self, loads: &[(String, LoadStatus)], now: Instant) {
        match self {
            Display::Bars(bars) => bars.show(loads, now),
            Display::Lines(lines) => lines.show(loads, now),
        }
    }

    fn clear(&mut self) {
        if let Display::Bars(bars) = self {
            bars.clear();
        }
    }
}

/// Log lines.
#[derive(Default)]
struct Lines {
    rates: BTreeMap<String, Rate>,
    /// The last thing said of a service.
    said: BTreeMap<String, (String, LoadState)>,
}

impl Lines {
    fn show(&mut self, loads: &[(String, LoadStatus)], now: Instant) {
        for (service, load) in loads {
            let totals = Totals::of(load);
            let rate = self.rates.entry(service.clone()).or_default();
            rate.add(now, totals.rows);
            let this = (load.id.clone(), load.state);
            // One that was done before we came is no news; one that becomes it is.
            let first = self.said.insert(service.clone(), this.clone());
            let done = load.state == LoadState::Done;
            if done && first.is_none_or(|first| first == this) {
                continue;
            }
            tracing::info!("full load, {service}: {}", summary(load, &totals, rate));
        }
    }
}

/// A load in one line.
fn summary(load: &LoadStatus, totals: &Totals, rate: &Rate) -> String {
    let mut parts = vec![
        state_name(load.state).to_owned(),
        format!("{} of {} tables", totals.loaded, totals.tables),
        match totals.chunks_total {
            Some(total) => format!("{} of {} chunks", totals.chunks, total),
            None => format!("{} chunks", totals.chunks),
        },
        match totals.expected {
            Some(expected) if load.state == LoadState::Loading => {
                format!("{} of about {} rows", HumanCount(totals.rows), HumanCount(expected))
            }
            _ => format!("{} rows", HumanCount(totals.rows)),
        },
        HumanBytes(totals.bytes).to_string(),
    ];
    if load.state == LoadState::Loading {
        parts.extend(rate.per_second().map(rows_per_second));
        let left = totals.expected.and_then(|expected| rate.time_for(expected - totals.rows));
        parts.extend(left.map(|left| format!("{} left", HumanDuration(left))));
    }
    parts.extend(load.waiting.clone());
    parts.join(", ")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive")]
fn rows_per_second(rate: f64) -> String {
    format!("{} rows/s", HumanCount(rate as u64))
}

/// Bars on a terminal.
struct Bars {
    all: MultiProgress,
    rates: BTreeMap<String, Rate>,
    services: BTreeMap<String, ProgressBar>,
    tables: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let room = all.clone();
        telemetry::draw_beside(move |write| room.suspend(write));
        Bars { all, rates: BTreeMap::new(), services: BTreeMap::new(), tables: BTreeMap::new() }
    }

    fn show(&mut self, loads: &[(String, LoadStatus)], now: Instant) {
        if loads.iter().all(|(_, load)| load.state == LoadState::Done) {
            return self.clear();
        }
        for (service, load) in loads {
            self.show_service(service, load, now);
        }
        // The first target's, or the source's where this process writes to none.
        if let Some((_, load)) = loads.iter().find(|(name, _)| name != "capture").or(loads.first())
        {
            self.show_tables(load, now);
        }
    }

    fn show_service(&mut self, service: &str, load: &LoadStatus, now: Instant) {
        let totals = Totals::of(load);
        let rate = self.rates.entry(service.to_owned()).or_default();
        rate.add(now, totals.rows);
        let bar = self.services.entry(service.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            bar.set_style(style("{prefix:<16} {bar:24.cyan/blue} {wide_msg}"));
            bar.set_prefix(service.to_owned());
            bar
        });
        bar.set_length(totals.expected.unwrap_or(totals.rows).max(1));
        bar.set_position(totals.rows);
        bar.set_message(summary(load, &totals, rate));
    }

    fn show_tables(&mut self, load: &LoadStatus, now: Instant) {
        let gone = |name: &String| {
            load.tables.get(name).is_none_or(|table| table.state != TableLoadState::Loading)
        };
        let over: Vec<String> = self.tables.keys().filter(|name| gone(name)).cloned().collect();
        for name in over {
            if let Some(bar) = self.tables.remove(&name) {
                bar.finish_and_clear();
                self.all.remove(&bar);
            }
            self.rates.remove(&table_key(&name));
        }
        for (name, table) in &load.tables {
            let wanted = table.state == TableLoadState::Loading;
            if !wanted || (self.tables.len() >= MOST_TABLES && !self.tables.contains_key(name)) {
                continue;
            }
            let rate = self.rates.entry(table_key(name)).or_default();
            rate.add(now, table.rows);
            let bar = self.tables.entry(name.clone()).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(0));
                bar.set_style(style("  {prefix:<30} {bar:24.green/blue} {wide_msg}"));
                bar.set_prefix(name.clone());
                bar
            });
            bar.set_length(expected(table).unwrap_or(table.rows).max(1));
            bar.set_position(table.rows);
            let mut parts = vec![match expected(table) {
                Some(expected) => format!("{} of {}", HumanCount(table.rows), HumanCount(expected)),
                None => HumanCount(table.rows).to_string(),
            }];
            parts.extend(rate.per_second().map(rows_per_second));
            parts.push(HumanBytes(table.bytes).to_string());
            bar.set_message(parts.join(", "));
        }
    }

    fn clear(&mut self) {
        for bar in std::mem::take(&mut self.services).into_values() {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        for bar in std::mem::take(&mut self.tables).into_values() {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        self.rates.clear();
    }
}

/// Rates of tables beside those of services, which have no blank in their names.
fn table_key(name: &str) -> String {
    format!("table {name}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates are constants")
        .progress_chars("━╸─")
}

#[cfg(test)]
mod tests {
    use lockstep_common::service::status::TableLoadStatus;

    use super::*;

    fn load(state: LoadState, rows: u64) -> LoadStatus {
        let table = TableLoadStatus {
            state: TableLoadState::Loading,
            rows,
            rows_expected: Some(1_000_000),
            bytes: 3 << 20,
            chunks: 2,
            ..TableLoadStatus::default()
        };
        LoadStatus {
            state,
            tables: [("dbo.orders".to_owned(), table)].into(),
            ..LoadStatus::default()
        }
    }

    #[test]
    fn a_load_is_one_line_with_rate_and_time_left() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.add(start, 0);
        rate.add(start + Duration::from_secs(2), 100_000);
        let mut load = load(LoadState::Loading, 100_000);
        assert_eq!(
            summary(&load, &Totals::of(&load), &rate),
            "loading, 0 of 1 tables, 2 chunks, 100,000 of about 1,000,000 rows, 3.00 MiB, \
             50,000 rows/s, 18 seconds left"
        );
        load.state = LoadState::Converging;
        load.waiting = Some("the source's next commit".to_owned());
        assert_eq!(
            summary(&load, &Totals::of(&load), &rate),
            "converging, 0 of 1 tables, 2 chunks, 100,000 rows, 3.00 MiB, \
             the source's next commit"
        );
    }

    #[test]
    fn bars_come_and_go_with_their_tables() {
        let mut bars = Bars {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            rates: BTreeMap::new(),
            services: BTreeMap::new(),
            tables: BTreeMap::new(),
        };
        let now = Instant::now();
        let at = |load: LoadStatus| vec![("apply.main".to_owned(), load)];
        bars.show(&at(load(LoadState::Loading, 10)), now);
        assert_eq!((bars.services.len(), bars.tables.len()), (1, 1));
        let mut loaded = load(LoadState::Finishing, 20);
        loaded.tables.values_mut().for_each(|table| table.state = TableLoadState::Loaded);
        bars.show(&at(loaded), now);
        assert_eq!((bars.services.len(), bars.tables.len()), (1, 0));
        bars.show(&at(load(LoadState::Done, 20)), now);
        assert_eq!((bars.services.len(), bars.tables.len()), (0, 0));
    }
}
