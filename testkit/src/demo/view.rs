//! The live view: a few lines that change in place on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use lockstep_common::status::{ApplyStatus, CaptureStatus};

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
    lines: [ProgressBar; 4],
}

/// What there is to see at one moment.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    /// What everybody is waiting for.
    pub(super) phase: &'static str,
    /// Time since the phase began.
    pub(super) elapsed: Duration,
    /// Its length, or how long it may take.
    pub(super) whole: Duration,
    pub(super) tally: &'a Tally,
    pub(super) statuses: &'a Statuses,
    pub(super) seen: &'a Observations,
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
            observer_line(scene.seen),
        ];
        match &self.terminal {
            Some(terminal) => terminal.show(scene, lines),
            None if self.plain_line_is_due() => self.event(&lines.join(" | ")),
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
        let lines = [(); 4].map(|()| {
            let line = bars.add(ProgressBar::new_spinner());
            line.set_style(style("{wide_msg}"));
            line
        });
        Terminal { bars, time, lines }
    }

    fn show(&self, scene: &Scene<'_>, lines: [String; 4]) {
        let (elapsed, whole) = (scene.elapsed.min(scene.whole), scene.whole);
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        self.time.set_length(millis(whole));
        self.time.set_position(millis(elapsed));
        self.time.set_message(format!(
            "{} {}/{} s",
            scene.phase,
            elapsed.as_secs(),
            whole.as_secs()
        ));
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

fn observer_line(seen: &Observations) -> String {
    format!(
        "observer: {} snapshots, {} transactions in the target, {} wrong",
        HumanCount(seen.snapshots),
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
