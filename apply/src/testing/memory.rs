//! The destination in memory: what it holds, and what a test may do to it.
//!
//! It keeps rows of tables with a key, the checkpoint of each pipeline, and what undoes the commits that
//! are not flushed. It takes no full loads, and does not converge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use lockstep_common::service::check::CheckResult;
use lockstep_common::{Code, FailPoints, Failure, Position};
use lockstep_log::Log;
use tokio::sync::Notify;
use uuid::Uuid;

use super::session::{Commit, Latched, MemorySession, Step};
use crate::destination::{Attached, Changes, Claimant, Destination, Refusal};
use crate::reach;
use crate::unit::Mark;

/// A destination in memory. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub(super) Arc<Shared>);

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// As it should.
    #[default]
    Up,
    /// It cannot be reached; whoever was connected is cut off.
    Down,
    /// It takes what it is sent and does nothing about it.
    Held,
    /// It commits and does not say so.
    Mute,
}

/// Its contents at some time.
#[derive(Clone, Debug)]
pub struct Backup(Content);

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told of whatever a session may be waiting for.
    pub(super) changed: Notify,
}

/// A value, as far as it is compared and shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Text(String),
}

pub(super) type Key = Vec<Cell>;
pub(super) type Row = Vec<Cell>;

#[derive(Clone, Debug, Default)]
struct Content {
    tables: BTreeMap<String, BTreeMap<Key, Row>>,
    checkpoints: BTreeMap<String, Checkpoint>,
    exceptions: Vec<Position>,
    /// Marks in the order in which their commits took effect.
    commits: Vec<Position>,
}

#[derive(Clone, Debug, Default)]
struct Checkpoint {
    epoch: u64,
    instance: Option<Uuid>,
    mark: Option<Mark>,
    start: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    content: Content,
    /// Of commits that are not flushed, the oldest first.
    undo: Vec<Undo>,
    line: Line,
    /// Raised to cut everybody off.
    generation: u64,
    refused: BTreeSet<Position>,
}

/// What takes a commit back.
#[derive(Debug)]
struct Undo {
    pipeline: String,
    mark: Option<Mark>,
    exceptions: usize,
    rows: Vec<(String, Key, Option<Row>)>,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Null => f.write_str("NULL"),
            Cell::Int(value) => value.fmt(f),
            Cell::Text(value) => value.fmt(f),
        }
    }
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows of a table in the order of the key, columns between bars.
    #[must_use]
    pub fn rows(&self, table: &str) -> Vec<String> {
        let shown = |row: &Row| row.iter().map(Cell::to_string).collect::<Vec<_>>().join("|");
        let state = self.0.lock();
        state
            .content
            .tables
            .get(table)
            .map_or(Vec::new(), |rows| rows.values().map(shown).collect())
    }

    /// Marks in the order in which their commits took effect; those that a crash took are not among them.
    #[must_use]
    pub fn commits(&self) -> Vec<Position> {
        self.0.lock().content.commits.clone()
    }

    /// Transactions that were set aside.
    #[must_use]
    pub fn exceptions(&self) -> Vec<Position> {
        self.0.lock().content.exceptions.clone()
    }

    /// The newest epoch of a pipeline.
    #[must_use]
    pub fn epoch(&self, pipeline: &str) -> u64 {
        self.0.lock().content.checkpoints.get(pipeline).map_or(0, |checkpoint| checkpoint.epoch)
    }

    /// The checkpoint of a pipeline.
    #[must_use]
    pub fn checkpoint(&self, pipeline: &str) -> Option<Position> {
        let state = self.0.lock();
        Some(state.content.checkpoints.get(pipeline)?.mark?.position)
    }

    /// How many rows a table has, and the position of a pipeline's checkpoint, at one moment.
    #[must_use]
    pub fn moment(&self, table: &str, pipeline: &str) -> (u64, Option<Position>) {
        let content = &self.0.lock().content;
        let rows = content.tables.get(table).map_or(0, |rows| rows.len() as u64);
        let mark = content.checkpoints.get(pipeline).and_then(|checkpoint| checkpoint.mark);
        (rows, mark.map(|mark| mark.position))
    }

    /// Waits until a table has so many rows.
    pub async fn shows(&self, table: &str, rows: usize) {
        loop {
            let mut told = std::pin::pin!(self.0.changed.notified());
            told.as_mut().enable();
            if self.rows(table).len() == rows {
                return;
            }
            told.await;
        }
    }

    /// Answers otherwise from now on.
    pub fn set_line(&self, line: Line) {
        self.change(|state| {
            state.line = line;
            state.generation += u64::from(line == Line::Down);
        });
    }

    /// Refuses the transaction of this position.
    pub fn refuse(&self, position: Position) {
        self.change(|state| state.refused.extend([position]));
    }

    /// Takes it again.
    pub fn allow(&self, position: Position) {
        self.change(|state| state.refused.retain(|refused| *refused != position));
    }

    /// Crashes, and is there again: commits that were not flushed are gone.
    pub fn crash(&self) {
        self.change(|state| {
            while let Some(undo) = state.undo.pop() {
                state.content.take_back(undo);
            }
            state.generation += 1;
        });
    }

    /// Its contents as of now.
    #[must_use]
    pub fn backup(&self) -> Backup {
        Backup(self.0.lock().content.clone())
    }

    /// Puts contents of an earlier time back; cuts off whoever is connected, or leaves them.
    pub fn restore(&self, backup: &Backup, cut_off: bool) {
        self.change(|state| {
            state.content = backup.0.clone();
            state.undo.clear();
            state.generation += u64::from(cut_off);
        });
    }

    /// Another instance takes a pipeline's next epoch.
    pub fn displace(&self, pipeline: &str) {
        self.change(|state| {
            let checkpoint = state.content.checkpoints.entry(pipeline.to_owned()).or_default();
            checkpoint.epoch += 1;
            checkpoint.instance = None;
        });
    }

    /// Removes a pipeline's checkpoint, as nobody should.
    pub fn remove_checkpoint(&self, pipeline: &str) {
        self.change(|state| drop(state.content.checkpoints.remove(pipeline)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock());
        self.0.changed.notify_waiters();
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    pub(super) fn line(&self) -> Line {
        self.line
    }

    /// Whether a session may still write.
    pub(super) fn admits(
        &self,
        pipeline: &str,
        epoch: u64,
        generation: u64,
    ) -> Result<(), Latched> {
        if self.generation != generation {
            return Err(Latched::Lost);
        }
        match self.content.checkpoints.get(pipeline) {
            Some(checkpoint) if checkpoint.epoch == epoch => Ok(()),
            _ => Err(Latched::Displaced),
        }
    }

    /// Commits a transaction and its checkpoint, or changes nothing.
    pub(super) fn commit(&mut self, pipeline: &str, commit: &Commit) -> Result<(), Latched> {
        let Some(checkpoint) = self.content.checkpoints.get(pipeline) else {
            return Err(Latched::Displaced);
        };
        let mut undo = Undo {
            pipeline: pipeline.to_owned(),
            mark: checkpoint.mark,
            exceptions: self.content.exceptions.len(),
            rows: Vec::new(),
        };
        for step in &commit.steps {
            let refusal = match step {
                Step::SetAside { position } => {
                    self.content.exceptions.push(*position);
                    continue;
                }
                Step::Change { position, changes, .. } if self.refused.contains(position) => {
                    Some(refusal("told to refuse it", changes))
                }
                Step::Change { table, write, changes, .. } => {
                    let rows = self.content.tables.entry(table.clone()).or_default();
                    let refused = write.apply(rows, |key, row| {
                        undo.rows.push((table.clone(), key, row));
                    });
                    refused.err().map(|what| refusal(what, changes))
                }
            };
            if let Some(refusal) = refusal {
                self.content.rewind(undo);
                return Err(Latched::Refused(refusal));
            }
        }
        if let Some(checkpoint) = self.content.checkpoints.get_mut(pipeline) {
            checkpoint.mark = Some(commit.mark);
        }
        self.content.commits.push(commit.mark.position);
        self.undo.push(undo);
        if commit.flushed {
            self.undo.clear();
        }
        Ok(())
    }

    pub(super) fn store_start(&mut self, pipeline: &str, start: &str) {
        if let Some(checkpoint) = self.content.checkpoints.get_mut(pipeline) {
            checkpoint.start = Some(start.to_owned());
        }
    }
}

impl Content {
    /// Takes back what a commit that came to nothing had changed.
    fn rewind(&mut self, undo: Undo) {
        self.exceptions.truncate(undo.exceptions);
        for (table, key, row) in undo.rows.into_iter().rev() {
            let rows = self.tables.entry(table).or_default();
            match row {
                Some(row) => rows.insert(key, row),
                None => rows.remove(&key),
            };
        }
    }

    /// Takes the last commit back.
    fn take_back(&mut self, undo: Undo) {
        if let Some(checkpoint) = self.checkpoints.get_mut(&undo.pipeline) {
            checkpoint.mark = undo.mark;
        }
        self.commits.pop();
        self.rewind(undo);
    }
}

fn refusal(what: &str, changes: &Changes) -> Refusal {
    Refusal {
        code: None,
        message: what.to_owned(),
        changes: Some(changes.clone()),
        remedy: "look at the test",
    }
}

fn down() -> Failure {
    Failure::new(Code::ApplyConnection, "the destination in memory is down")
}

impl Destination for Memory {
    type Session = MemorySession;

    async fn check(&self, _pipeline: &str) -> Vec<CheckResult> {
        match self.0.lock().line {
            Line::Down => vec![CheckResult::fail("memory", down().message, "bring it up")],
            Line::Up | Line::Held | Line::Mute => Vec::new(),
        }
    }

    async fn attach(
        &self,
        claimant: &Claimant,
        _careful: bool,
        log: &Arc<dyn Log>,
        _fail: &FailPoints,
    ) -> Result<(MemorySession, Attached), Failure> {
        let pipeline = &claimant.pipeline;
        if self.0.lock().line == Line::Down {
            return Err(down());
        }
        if claimant.epoch == 0 {
            let known = self.0.lock().content.checkpoints.get(pipeline).and_then(|c| c.mark);
            reach::reaches(log, known.as_ref()).await?;
        }
        let mut state = self.0.lock();
        let State { content, undo, generation, .. } = &mut *state;
        let checkpoint = content.checkpoints.entry(pipeline.clone()).or_default();
        if claimant.epoch > 0 && checkpoint.epoch < claimant.epoch {
            if claimant.applied && checkpoint.mark.is_none() {
                return Err(Failure::new(
                    Code::ApplyCheckpointGone,
                    format!("the checkpoint of pipeline {pipeline} is gone"),
                )
                .remedy("look at the test"));
            }
        } else if claimant.epoch > 0 && checkpoint.instance != Some(claimant.instance) {
            let what = format!("another apply took over pipeline {pipeline}");
            return Err(Failure::new(Code::ApplyFenced, what));
        }
        checkpoint.epoch = checkpoint.epoch.max(claimant.epoch) + 1;
        checkpoint.instance = Some(claimant.instance);
        // What attaching returns survives a crash.
        undo.clear();
        let attached = Attached {
            epoch: checkpoint.epoch,
            mark: checkpoint.mark,
            start: checkpoint.start.clone(),
            exceptions: content.exceptions.len() as u64,
            forced: 0,
            notices: Vec::new(),
        };
        let session =
            MemorySession::new(Arc::clone(&self.0), pipeline.clone(), attached.epoch, *generation);
        drop(state);
        self.0.changed.notify_waiters();
        Ok((session, attached))
    }

    async fn reset(&self, pipeline: &str) -> Result<Option<String>, Failure> {
        let mut state = self.0.lock();
        let Some(checkpoint) = state.content.checkpoints.get_mut(pipeline) else { return Ok(None) };
        checkpoint.epoch += 1;
        checkpoint.instance = None;
        checkpoint.start = None;
        Ok(checkpoint.mark.take().map(|mark| mark.position.to_string()))
    }

    fn replaced(&self) -> Option<Arc<AtomicU64>> {
        None
    }
}
