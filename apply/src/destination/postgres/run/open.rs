//! Which runs may stand open side by side, and which one a change joins. The module above argues why.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use lockstep_common::model::record::{Change, Operation};

use super::super::image::touches_contested;
use super::super::load::Notes;
use super::super::pipe::Pipe;
use super::super::relation::Relation;
use super::super::statement::{self, Check, Field, Kind, Shape};
use super::{ChangeError, RUN_BYTES, RUN_ROWS, Runs};

/// Runs that may stand open: looking through them costs little beside a row.
const MOST_OPEN: usize = 32;

/// What of it the order of changes must be kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Changes of one key.
    Key,
    /// Changes of the table.
    Table,
    /// All changes.
    All,
}

/// A run, open.
pub(super) struct Run {
    pub(super) relation: Arc<Relation>,
    /// Of a table that is being loaded.
    pub(super) notes: Option<Arc<Notes>>,
    pub(super) shape: Shape,
    pub(super) order: Order,
    pub(super) operation: Operation,
    pub(super) fields: Vec<Field>,
    pub(super) rows: u64,
    pub(super) first_change: u64,
    pub(super) last_change: u64,
    /// Triggers fire for its rows, and may drop some: each statement counts them.
    pub(super) fires: bool,
    /// The COPY has begun: its statement is on the wire, and every key may be in it.
    pub(super) copying: bool,
    pub(super) buffers: Buffers,
}

impl Deref for Run {
    type Target = Buffers;

    fn deref(&self) -> &Buffers {
        &self.buffers
    }
}

impl DerefMut for Run {
    fn deref_mut(&mut self) -> &mut Buffers {
        &mut self.buffers
    }
}

/// What a run gathers.
#[derive(Default)]
pub(super) struct Buffers {
    /// Hashes of the keys it names.
    pub(super) seen: HashSet<u64>,
    /// Rows as COPY and single inserts take them.
    pub(super) data: BytesMut,
    /// Values per field.
    pub(super) columns: Vec<BytesMut>,
    pub(super) replacement: Replacement,
}

impl Run {
    /// Whether it names one of the keys, or may.
    fn names(&self, keys: &[Option<u64>]) -> bool {
        self.copying || keys.iter().flatten().any(|key| self.seen.contains(key))
    }

    /// Whether it can take no further row of its own shape.
    fn is_full(&self, change: &Change<'_>) -> bool {
        let relation = &*self.relation;
        match (self.shape.kind, self.shape.check) {
            (Kind::Copy, _) => false,
            (
                Kind::UpdateWhole
                | Kind::DeleteWhole
                | Kind::DeleteAside
                | Kind::GoneNoted
                | Kind::Clear,
                _,
            )
            | (_, Check::Noted) => true,
            (Kind::Update | Kind::Rekey, _) if touches_contested(relation, change) => true,
            // One row may leave a key that another comes to in another spelling.
            (Kind::Rekey, _) if relation.folds_keys() => true,
            // Several arrays in one array would be one of more dimensions.
            _ if self.fields.iter().any(|f| !has_array(relation, *f)) => true,
            _ => {
                let bytes: usize = self.columns.iter().map(BytesMut::len).sum();
                self.rows >= RUN_ROWS || bytes >= RUN_BYTES
            }
        }
    }
}

impl Runs {
    /// Whether triggers fire for what is written into a table.
    pub(super) fn fires(&self, relation: &Relation) -> bool {
        relation.hazards.fires(self.mode.replica)
    }

    /// What order the change in hand has to keep.
    fn order(&self, relation: &Relation) -> Order {
        self.order_of(relation, self.notes.is_some(), self.shape.kind == Kind::Clear)
    }

    /// What order the changes of a table have to keep: one that is being loaded, or that `clears`.
    pub(super) fn order_of(&self, relation: &Relation, loading: bool, clears: bool) -> Order {
        if !self.mode.replica || self.mode.careful || self.fires(relation) {
            Order::All
        } else if self.mode.converge || loading || clears || !relation.tells_rows_by_key_alone() {
            Order::Table
        } else {
            Order::Key
        }
    }

    /// Whether other changes of the table may pass an insert, so that its key has to be known. None
    /// passes a COPY that is on the wire.
    pub(super) fn is_passed(&self, relation: &Relation) -> bool {
        self.order(relation) == Order::Key
            && !self.open.iter().any(|run| run.copying && run.shape == self.shape)
    }

    /// The open run that the change in hand joins; none when it begins one. Runs that it may not
    /// pass are ended.
    pub(super) fn room(
        &mut self,
        relation: &Relation,
        change: &Change<'_>,
        keys: &[Option<u64>],
        pipe: &mut Pipe,
    ) -> Result<Option<usize>, ChangeError> {
        let fits = |run: &Run| {
            let repeats = !run.copying && run.names(keys);
            run.shape == self.shape && !self.mode.careful && !run.is_full(change) && !repeats
        };
        let joined = self.open.iter().position(fits);
        self.make_room(relation, keys, joined, pipe)
    }

    /// Ends the runs that a change of these keys may not pass, but not the one that it joins, which is
    /// `joined` before and what is returned after; that one too when its COPY stands in another's way.
    pub(super) fn make_room(
        &mut self,
        relation: &Relation,
        keys: &[Option<u64>],
        joined: Option<usize>,
        pipe: &mut Pipe,
    ) -> Result<Option<usize>, ChangeError> {
        let order = self.order(relation);
        let crowded = joined.is_none() && self.open.len() >= MOST_OPEN;
        let stays = |run: &Run| match order.max(run.order) {
            _ if crowded => false,
            Order::All => false,
            _ if run.shape.table != relation.id => true,
            Order::Table => false,
            Order::Key => run.shape != self.shape && !run.names(keys),
        };
        let ended: Vec<bool> =
            (0..self.open.len()).map(|at| joined != Some(at) && !stays(&self.open[at])).collect();
        if !ended.contains(&true) {
            return Ok(joined);
        }
        let copying = self.open.iter().position(|run| run.copying);
        let mut joined_shape = joined.is_some();
        if let Some(at) = copying {
            // One COPY is on the wire, and nothing else can be before it ends.
            joined_shape &= joined != Some(at);
            let run = self.open.remove(at);
            self.end(run, pipe)?;
        }
        let mut at = 0;
        for (before, ended) in ended.into_iter().enumerate() {
            if copying == Some(before) {
                continue;
            }
            if ended {
                let run = self.open.remove(at);
                self.end(run, pipe)?;
            } else {
                at += 1;
            }
        }
        let shape = &self.shape;
        Ok(self.open.iter().position(|run| joined_shape && run.shape == *shape))
    }

    /// Begins a run of the shape in hand; gives its place.
    pub(super) fn begin(
        &mut self,
        relation: &Arc<Relation>,
        operation: Operation,
        first_change: u64,
    ) -> usize {
        let fields = statement::fields(relation, &self.shape);
        let mut buffers = self.spare.pop().unwrap_or_default();
        if buffers.columns.len() < fields.len() {
            buffers.columns.resize_with(fields.len(), BytesMut::new);
        }
        self.open.push(Run {
            relation: Arc::clone(relation),
            notes: self.notes.clone(),
            shape: self.shape.clone(),
            order: self.order(relation),
            operation,
            fields,
            rows: 0,
            first_change,
            last_change: first_change,
            fires: self.fires(relation),
            copying: false,
            buffers,
        });
        self.open.len() - 1
    }

    /// Ends every run.
    ///
    /// # Errors
    /// When one is larger than one message may be.
    pub(in super::super) fn finish(&mut self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        // A COPY on the wire comes first.
        let mut runs = std::mem::take(&mut self.open);
        runs.sort_by_key(|run| !run.copying);
        for run in runs.drain(..) {
            self.end(run, pipe)?;
        }
        self.open = runs;
        Ok(())
    }

    /// Writes a run's statement, or its end.
    fn end(&mut self, mut run: Run, pipe: &mut Pipe) -> Result<(), ChangeError> {
        run.write(&self.place, pipe)?;
        let mut buffers = run.buffers;
        buffers.clear();
        self.spare.push(buffers);
        Ok(())
    }

    /// Sends the rows that a COPY has gathered, as the only one on the wire.
    pub(super) fn copy_rows(&mut self, mut at: usize, pipe: &mut Pipe) -> Result<(), ChangeError> {
        if self.open[at].fires {
            return self.open[at].insert_rows(pipe);
        }
        if let Some(other) = self.open.iter().position(|run| run.copying)
            && other != at
        {
            let run = self.open.remove(other);
            at -= usize::from(other < at);
            self.end(run, pipe)?;
        }
        self.open[at].copy_rows(pipe)
    }
}

impl Buffers {
    fn clear(&mut self) {
        self.data.clear();
        self.columns.iter_mut().for_each(BytesMut::clear);
        self.seen.clear();
        if !self.replacement.rows.is_empty() {
            self.replacement = Replacement::default();
        }
    }
}

/// The rows of a replacement. Here keys are compared by their bytes: a later update of a row that is
/// part of it takes the row's place, which a collision must not do to another row.
#[derive(Default)]
pub(super) struct Replacement {
    /// Keys the rows had in the target.
    old: HashSet<Vec<u8>>,
    /// Keys the rows have now, and which row it is.
    new: HashMap<Vec<u8>, usize>,
    /// Where each row stands in the row buffer.
    rows: Vec<Range<usize>>,
    /// The row that the update in hand is of.
    current: usize,
    /// The buffer holds rows that later ones took the place of.
    stale: bool,
}

impl Replacement {
    /// Whether an update from key to key can be part of it: its row is no other one than it seems.
    pub(super) fn takes(&self, old: &[u8], new: &[u8]) -> bool {
        let takes_place = old != new && self.new.contains_key(new);
        let left = !self.new.contains_key(old) && self.old.contains(old);
        !takes_place && !left
    }

    /// Puts a row in the place of the one that has `old` now; `false` when none has.
    pub(super) fn moves(&mut self, old: &[u8], range: Range<usize>) -> bool {
        let Some(row) = self.new.remove(old) else { return false };
        self.rows[row] = range;
        self.stale = true;
        self.current = row;
        true
    }

    /// Adds a row that the target has under `old`.
    pub(super) fn adds(&mut self, old: Vec<u8>, range: Range<usize>) {
        self.rows.push(range);
        self.old.insert(old);
        self.current = self.rows.len() - 1;
    }

    /// The row in hand has this key now.
    pub(super) fn names(&mut self, new: Vec<u8>) {
        self.new.insert(new, self.current);
    }

    /// The rows that count, of all that were gathered in `data`.
    pub(super) fn rows(&self, data: &BytesMut) -> Option<BytesMut> {
        self.stale.then(|| {
            let mut rows = BytesMut::with_capacity(data.len());
            for range in &self.rows {
                rows.put_slice(&data[range.clone()]);
            }
            rows
        })
    }
}

/// Whether values of a field can be the elements of an array.
fn has_array(relation: &Relation, field: Field) -> bool {
    relation.column(statement::column_of(relation, field)).oids.1 != 0
}
