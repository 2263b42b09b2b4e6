//! The live view: a few lines that change in place on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use lockstep_common::service::status::{
    ApplyStatus, CaptureStatus, LoadState, LoadStatus, TableLoadState,
};

use super::status::Statuses;
use crate::oracle::Observations;
use crate::session::Tally;

/// Shows how the demo goes.
#[derive(Debug)]
pub(super) struct View {
    terminal: Option<Terminal>,
    began: Instant,
    last_line: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Terminal {
    bars: MultiProgress,
    time: ProgressBar,
    lines: [ProgressBar; 5],
}

/// What there is to see at one moment.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// What everybody is waiting for.
    pub(super) phase: &'static str,
    /// How far it is.
    pub(super) progress: Progress,
    pub(super) tally: &'a Tally,
    pub(super) statuses: &'a Statuses,
    pub(super) seen: &'a Observations,
}

/// How far a phase is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// Time since it began, and its length or how long it may take.
    Time { elapsed: Duration, whole: Duration },
    /// Rows that are in the target, and that are expected there.
    Rows { done: u64, expected: u64 },
}

/// Time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);
/// Lines of a log are for reading later: one every so often.
const PLAIN_EVERY: Duration = Duration::from_secs(2);

impl View {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal().then(Terminal::new);
        View { terminal, began: Instant::now(), last_line: Mutex::new(None) }
    }

    /// Something happened.
    pub(super) fn event(&self, what: &str) {
        let line = format!("{:>6.1}s  {what}", self.began.elapsed().as_secs_f64());
        match &self.terminal {
            // A terminal that cannot be written to shows nothing either way.
            Some(terminal) => drop(terminal.bars.println(line)),
            None => println!("{line}"),
        }
    }

    /// The state of things.
    pub(super) fn show(&self, scene: &Scene<'_>) {
        let statuses = scene.statuses;
        let lines = [
            source_line(scene.tally),
            statuses.capture.as_ref().map_or_else(|| away("capture"), capture_line),
            statuses.apply.as_ref().map_or_else(|| away("apply"), apply_line),
            statuses
                .apply
                .as_ref()
                .and_then(|s| s.load.as_ref())
                .map_or_else(String::new, load_line),
            observer_line(scene.seen),
        ];
        match &self.terminal {
            Some(terminal) => terminal.show(scene, lines),
            None if self.plain_line_is_due() => {
                let lines: Vec<String> =
                    lines.into_iter().filter(|line| !line.is_empty()).collect();
                self.event(&lines.join(" | "));
            }
            None => {}
        }
    }

    /// Leaves the last state on the screen.
    pub(super) fn finish(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.time.finish_and_clear();
            terminal.lines.iter().for_each(ProgressBar::abandon);
        }
    }

    fn plain_line_is_due(&self) -> bool {
        let mut last = self.last_line.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let due = last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl Terminal {
    fn new() -> Self {
        let bars = MultiProgress::new();
        let time = bars.add(ProgressBar::new(0));
        time.set_style(style("{msg:<22} {wide_bar:.cyan/blue}"));
        let lines = [(); 5].map(|()| {
            let line = bars.add(ProgressBar::new_spinner());
            line.set_style(style("{wide_msg}"));
            line
        });
        Terminal { bars, time, lines }
    }

    fn show(&self, scene: &Scene<'_>, lines: [String; 5]) {
        match scene.progress {
            Progress::Time { elapsed, whole } => {
                let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
                self.time.set_length(millis(whole));
                self.time.set_position(millis(elapsed.min(whole)));
                let (elapsed, whole) = (elapsed.min(whole).as_secs(), whole.as_secs());
                self.time.set_message(format!("{} {elapsed}/{whole} s", scene.phase));
            }
            Progress::Rows { done, expected } => {
                self.time.set_length(expected.max(1));
                self.time.set_position(done);
                let percent = done * 100 / expected.max(1);
                self.time.set_message(format!("{} {percent} %", scene.phase));
            }
        }
        for (bar, line) in self.lines.iter().zip(lines) {
            bar.set_message(line);
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants")
}

fn source_line(tally: &Tally) -> String {
    format!(
        "source: {} committed, {} rolled back",
        HumanCount(tally.committed.load(Ordering::Relaxed)),
        HumanCount(tally.rolled_back.load(Ordering::Relaxed))
    )
}

fn capture_line(status: &CaptureStatus) -> String {
    format!(
        "capture: {} transactions since start, {}, {:?}, lag {}",
        HumanCount(status.transactions),
        HumanBytes(status.bytes),
        status.state,
        seconds(status.lag_seconds)
    )
}

fn apply_line(status: &ApplyStatus) -> String {
    format!(
        "apply: {} transactions since start, {} waiting, spool {}, {:?}, lag {}",
        HumanCount(status.transactions),
        HumanCount(status.waiting_transactions),
        HumanBytes(status.spool_bytes),
        status.state,
        seconds(status.lag_seconds)
    )
}

fn load_line(load: &LoadStatus) -> String {
    let tables = || load.tables.values();
    let seconds = tables().map(|table| table.seconds).fold(0.0, f64::max);
    let rows: u64 = tables().map(|table| table.rows).sum();
    let loaded = tables().filter(|table| table.state == TableLoadState::Loaded).count();
    let waiting = match (load.state, &load.waiting) {
        (LoadState::Done, _) | (_, None) => String::new(),
        (_, Some(waiting)) => format!(", waiting: {waiting}"),
    };
    format!(
        "full load: {:?}, {loaded} of {} tables, {} rows, {}, {seconds:.0} s{waiting}",
        load.state,
        load.tables.len(),
        HumanCount(rows),
        HumanBytes(tables().map(|table| table.bytes).sum())
    )
}

fn observer_line(seen: &Observations) -> String {
    format!(
        "observer: {} snapshots judged, {} while converging, {} transactions in the target, {} wrong",
        HumanCount(seen.snapshots),
        HumanCount(seen.converging),
        HumanCount(u64::try_from(seen.transactions).unwrap_or(u64::MAX)),
        seen.findings.len()
    )
}

fn away(service: &str) -> String {
    format!("{service}: no answer")
}

fn seconds(lag: Option<f64>) -> String {
    lag.map_or_else(|| "unknown".to_owned(), |lag| format!("{lag:.1} s"))
}
