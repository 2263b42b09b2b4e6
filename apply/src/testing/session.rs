//! A session that writes into memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_common::model::record::{Before, Change, Operation};
use lockstep_common::service::status::HeldTable;
use lockstep_common::{Code, Failure, Position, TableId, TableVersion, Value};

use super::memory::{Cell, Key, Line, Row, Shared};
use crate::destination::{Changes, Ears, Refusal, Session, Trouble};
use crate::unit::Mark;

/// One transaction, with its checkpoint.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) steps: Vec<Step>,
    pub(super) mark: Mark,
    pub(super) flushed: bool,
}

/// A part of a transaction.
#[derive(Debug)]
pub(super) enum Step {
    Change { position: Position, table: String, write: Write, changes: Changes },
    SetAside { position: Position },
}

/// A change of one row, or of all.
#[derive(Debug)]
pub(super) enum Write {
    Insert(Key, Row),
    /// None of a cell: it stays.
    Update(Key, Vec<Option<Cell>>, Vec<usize>),
    Delete(Key),
    Truncate,
}

impl Write {
    /// Changes rows; says to `before` what was there.
    pub(super) fn apply(
        &self,
        rows: &mut BTreeMap<Key, Row>,
        mut before: impl FnMut(Key, Option<Row>),
    ) -> Result<(), &'static str> {
        match self {
            Write::Insert(key, _) if rows.contains_key(key) => {
                return Err("the row is there already");
            }
            Write::Insert(key, row) => {
                rows.insert(key.clone(), row.clone());
                before(key.clone(), None);
            }
            Write::Update(key, cells, places) => {
                let old = rows.remove(key).ok_or("the row is not there")?;
                let kept = cells.iter().zip(&old);
                let row: Row = kept.map(|(new, old)| new.as_ref().unwrap_or(old).clone()).collect();
                let moved: Key = places.iter().map(|&place| row[place].clone()).collect();
                before(key.clone(), Some(old));
                if rows.contains_key(&moved) {
                    return Err("a row with its new key is there already");
                }
                before(moved.clone(), None);
                rows.insert(moved, row);
            }
            Write::Delete(key) => {
                let old = rows.remove(key).ok_or("the row is not there")?;
                before(key.clone(), Some(old));
            }
            Write::Truncate => {
                std::mem::take(rows).into_iter().for_each(|(key, row)| before(key, Some(row)));
            }
        }
        Ok(())
    }
}

/// A connection's first error.
#[derive(Clone, Debug)]
pub(super) enum Latched {
    Lost,
    Displaced,
    Refused(Refusal),
}

/// One connection, under one epoch.
#[derive(Debug)]
pub(crate) struct MemorySession {
    shared: Arc<Shared>,
    pipeline: String,
    epoch: u64,
    generation: u64,
    tables: HashMap<TableId, Arc<TableVersion>>,
    position: Position,
    open: Vec<Step>,
    /// Transactions whose statements have ended; in order.
    ended: VecDeque<Vec<Step>>,
    sent: VecDeque<Commit>,
    /// Committed, and not yet said so.
    unsaid: u64,
    confirmed: u64,
    latched: Option<Latched>,
    /// Something happened since somebody waited for it.
    news: bool,
    silence: Arc<std::sync::Mutex<Option<Instant>>>,
}

impl MemorySession {
    pub(super) fn new(shared: Arc<Shared>, pipeline: String, epoch: u64, generation: u64) -> Self {
        MemorySession {
            shared,
            pipeline,
            epoch,
            generation,
            tables: HashMap::new(),
            position: Position::ORIGIN,
            open: Vec::new(),
            ended: VecDeque::new(),
            sent: VecDeque::new(),
            unsaid: 0,
            confirmed: 0,
            latched: None,
            news: false,
            silence: Arc::default(),
        }
    }

    /// Does what has been sent, as far as the line lets it.
    fn work(&mut self) {
        if self.latched.is_some() {
            return;
        }
        let mut state = self.shared.lock();
        let before = self.unsaid;
        let mut result = state.admits(&self.pipeline, self.epoch, self.generation);
        while result.is_ok()
            && state.line() != Line::Held
            && let Some(commit) = self.sent.pop_front()
        {
            result = state.commit(&self.pipeline, &commit);
            self.unsaid += u64::from(result.is_ok());
        }
        if self.unsaid > before {
            self.shared.changed.notify_waiters();
        }
        if state.line() == Line::Up && self.unsaid > 0 {
            self.confirmed += std::mem::take(&mut self.unsaid);
            self.news = true;
        }
        drop(state);
        if let Err(latched) = result {
            // What was committed before the error counts.
            self.confirmed += match latched {
                Latched::Lost => 0,
                Latched::Displaced | Latched::Refused(_) => std::mem::take(&mut self.unsaid),
            };
            self.latched = Some(latched);
            self.news = true;
        }
        let owed = self.unsaid > 0 || !self.sent.is_empty();
        let mut silence = self.silence.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *silence = match *silence {
            Some(since) if owed && !self.news => Some(since),
            _ => owed.then(Instant::now),
        };
    }

    fn first_error(&self) -> Result<(), Trouble> {
        match &self.latched {
            None => Ok(()),
            Some(Latched::Refused(refusal)) => Err(Trouble::Refused(refusal.clone())),
            Some(Latched::Lost) => {
                let what = "lost the connection to the destination in memory";
                Err(Failure::new(Code::ApplyConnection, what).into())
            }
            Some(Latched::Displaced) => {
                let what = "the checkpoint is not the one that this session left";
                Err(Failure::new(Code::ApplyDisplaced, what).into())
            }
        }
    }
}

/// What a value is here; none where the source did not record it.
fn cell(value: &Value<'_>) -> Option<Cell> {
    match value {
        Value::Unavailable => None,
        Value::Null => Some(Cell::Null),
        Value::I64(value) => Some(Cell::Int(*value)),
        Value::String(text) => Some(Cell::Text(text.clone().into_owned())),
        other => Some(Cell::Text(format!("{other:?}"))),
    }
}

fn unidentified(version: &TableVersion) -> Failure {
    let what = format!("a change of {} does not say which row it is of", version.name);
    Failure::new(Code::ApplyUnidentified, what).remedy("look at the test")
}

/// A change of a table, as it is written.
fn write_of(version: &TableVersion, change: &Change<'_>) -> Result<Write, Failure> {
    let places: Vec<usize> = version.key.iter().map(|&place| usize::from(place)).collect();
    let cells: Vec<Option<Cell>> = change.after.iter().map(cell).collect();
    let key = |row: &[Value<'_>]| -> Option<Key> {
        places.iter().map(|&place| row.get(place).and_then(cell)).collect()
    };
    let old = match &change.before {
        Before::None => key(&change.after),
        Before::Key(values) => values.iter().map(cell).collect(),
        Before::Full(values) => key(values),
    };
    let old = || old.filter(|key| key.len() == places.len()).ok_or_else(|| unidentified(version));
    Ok(match change.operation {
        Operation::Insert => {
            let row = cells.into_iter().collect::<Option<Row>>();
            Write::Insert(old()?, row.ok_or_else(|| unidentified(version))?)
        }
        Operation::Update => Write::Update(old()?, cells, places.clone()),
        Operation::Delete => Write::Delete(old()?),
        Operation::Truncate => Write::Truncate,
    })
}

#[derive(Debug)]
struct MemoryEars(Arc<std::sync::Mutex<Option<Instant>>>);

impl Ears for MemoryEars {
    fn silent_for(&self, patience: Duration) -> Option<Failure> {
        let since = *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        since
            .filter(|since| since.elapsed() >= patience)
            .map(|_| Failure::new(Code::ApplySilent, "the destination in memory does not answer"))
    }
}

impl Session for MemorySession {
    fn ears(&self) -> Box<dyn Ears> {
        Box::new(MemoryEars(Arc::clone(&self.silence)))
    }

    fn knows(&self, id: TableId) -> bool {
        self.tables.contains_key(&id)
    }

    async fn prepare(&mut self, id: TableId, version: &TableVersion) -> Result<(), Failure> {
        if version.key.is_empty() {
            let what = format!("{} has no key: the destination in memory needs one", version.name);
            return Err(Failure::new(Code::ApplyTable, what).remedy("look at the test"));
        }
        self.tables.insert(id, Arc::new(version.clone()));
        Ok(())
    }

    async fn held(&self) -> Result<Vec<HeldTable>, Failure> {
        Ok(Vec::new())
    }

    fn is_held(&self, _id: TableId) -> bool {
        false
    }

    async fn told(&self) -> Result<Option<(u64, u64)>, Failure> {
        Ok(None)
    }

    fn take_notices(&mut self) -> Vec<String> {
        Vec::new()
    }

    async fn remember_lost(&self, _at: Position, _failure: &Failure) -> Result<(), Failure> {
        Ok(())
    }

    async fn store_start(&self, start: &str) -> Result<(), Failure> {
        let mut state = self.shared.lock();
        match state.admits(&self.pipeline, self.epoch, self.generation) {
            Ok(()) => {
                state.store_start(&self.pipeline, start);
                Ok(())
            }
            Err(_) => Err(Failure::new(Code::ApplyDisplaced, "the epoch is another's")),
        }
    }

    fn set_careful(&mut self, _careful: bool) {}

    fn lanes(&self) -> usize {
        1
    }

    fn begin(&mut self) -> usize {
        self.open.clear();
        0
    }

    fn must_wait(&mut self, _change: &Change<'_>, _index: u64) -> Result<bool, Trouble> {
        Ok(false)
    }

    fn settled(&mut self) {}

    fn may_share(&self) -> bool {
        true
    }

    fn go_to(&mut self, mark: &Mark) {
        self.position = mark.position;
    }

    fn change(&mut self, change: &Change<'_>, index: u64) -> Result<bool, Trouble> {
        let version = &self.tables[&change.table];
        let changes = Changes {
            table: version.name.to_string().into(),
            operation: Some(change.operation),
            first: index,
            last: index,
        };
        let (position, table) = (self.position, version.name.table.clone());
        let write = write_of(version, change)?;
        self.open.push(Step::Change { position, table, write, changes });
        Ok(true)
    }

    fn is_gathered(&self) -> bool {
        false
    }

    fn end_statements(&mut self) -> Result<(), Failure> {
        self.ended.push_back(std::mem::take(&mut self.open));
        Ok(())
    }

    fn commit(&mut self, _lane: usize, mark: &Mark, flushed: bool) {
        let steps = self.ended.pop_front().unwrap_or_default();
        self.sent.push_back(Commit { steps, mark: *mark, flushed });
    }

    fn set_aside(&mut self, _refusal: &Refusal, mark: &Mark, _first_offset: u64) {
        self.open.push(Step::SetAside { position: mark.position });
    }

    async fn flush(&mut self) -> Result<(), Trouble> {
        self.work();
        self.first_error()
    }

    async fn written(&self) {}

    fn committed(&self) -> u64 {
        self.confirmed
    }

    fn check(&self) -> Result<(), Trouble> {
        self.first_error()
    }

    fn has_tables(&self) -> bool {
        false
    }

    async fn look_again(&mut self, _at: Position) -> Result<(), Failure> {
        Ok(())
    }

    async fn changed(&mut self) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut told = std::pin::pin!(shared.changed.notified());
            told.as_mut().enable();
            self.work();
            if std::mem::take(&mut self.news) {
                return Ok(());
            }
            told.await;
        }
    }
}
