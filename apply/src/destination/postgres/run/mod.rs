//! Runs: changes that one statement can carry.
//!
//! A run holds changes of one [`Shape`]: same table, same operation, same columns. Several runs stand
//! open side by side, and a change joins the one of its shape although others came between. What is
//! committed is what the changes one by one would leave, because a change passes another one only where
//! nothing can tell ([`open`] holds the rule):
//!
//! - changes of different tables do not see each other: foreign keys and triggers are out of the way
//!   (replica role), and readers see the commit only. Where they are not, or a trigger fires all the
//!   same, or one row a statement is asked for, a single run stands open at a time;
//! - changes of one table pass each other only if their keys, old and new, are different ones and no
//!   other unique constraint watches any column. A change of a key that an open run names waits for
//!   that run's statement; a run that is being sent already names every key;
//! - in one run of inserts the order is kept, and a repeated key fails either way;
//! - a run of updates or deletes names no key twice, so that no change of it depends on another; a
//!   change that repeats a key ends the run and begins the next;
//! - an update of a column under another unique constraint is a statement of its own, unless it can
//!   be done as a replacement: delete all rows of the run, then insert them as they are in the end.
//!   That is right whatever the order in which values move between the rows, which a source that
//!   checks at the end of its statement allows and PostgreSQL, row by row, refuses. It needs whole
//!   after images, and foreign keys and triggers out of the way (replica role).
//!
//! None of this asks where one source transaction ends and the next begins, so runs of transactions
//! that share a commit are runs as well.
//!
//! Keys are compared by 64-bit hashes of their encoded bytes: a collision ends a run too early,
//! which is harmless. The target may hold keys equal whose bytes differ (`citext`, a collation that is
//! not deterministic), and bytes are enough all the same: a change names its row by the very spelling
//! that it has, and a spelling changes only by a change that names both, which are compared. So two
//! changes of one row are always seen. What is left is a row that takes a key in one spelling while
//! another gives it up in another: in such tables one run stands open at a time, and changes of keys
//! are statements of their own. Rows are encoded as they come, into buffers that are kept.

mod claims;
mod loading;
mod open;
mod rows;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::BytesMut;
use lockstep_common::Value;
use lockstep_common::model::record::{Before, Change, Operation};

use super::encode::{self, EncodeError, Rules};
use super::image::{
    changes_key, check_lengths, each_available, is_complete, key_value, old_value,
    touches_contested,
};
use super::load::Notes;
use super::pipe::Pipe;
use super::relation::Relation;
use super::statement::{Check, Kind, Shape};

pub(super) use claims::Claims;
use open::{Buffers, Run};

pub(super) use rows::COPY_HEADER;

/// Bytes after which rows of a COPY go out, and after which a run of arrays ends.
const RUN_BYTES: usize = 64 << 10;
/// The same for replacements, which are wrong when cut: a longer one can only fail.
const REPLACEMENT_BYTES: usize = 16 << 20;
/// Rows in a run of arrays.
const RUN_ROWS: u64 = 1000;

/// How changes are written.
#[derive(Clone, Debug)]
pub(super) struct Mode {
    /// Upsert semantics.
    pub(super) converge: bool,
    /// Triggers and foreign keys do not fire.
    pub(super) replica: bool,
    /// One row to a statement, so that an error names its change.
    pub(super) careful: bool,
    pub(super) rules: Rules,
}

/// A change that cannot be written.
#[derive(Debug)]
pub(super) enum ChangeError {
    /// A value that the target cannot take; the conflict policy decides.
    Value { column: String, error: EncodeError },
    /// The change does not say which row; the conflict policy cannot help.
    Unidentified(&'static str),
    /// The change does not fit its own table version.
    Corrupt(&'static str),
}

/// What a noted statement stores about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) pipeline: String,
    pub(super) position: String,
}

/// The runs being built, and the buffers that outlive them.
pub(super) struct Runs {
    pub(super) mode: Mode,
    pub(super) place: Place,
    /// In the order in which they were begun.
    open: Vec<Run>,
    spare: Vec<Buffers>,
    /// The notes of the change in hand, when its table is being loaded.
    notes: Option<Arc<Notes>>,
    /// Shape of the change in hand.
    shape: Shape,
    /// Encoded key of the change in hand.
    key: BytesMut,
    hasher: RandomState,
    /// Of tables that are being loaded.
    loading: Rules,
}

impl Runs {
    pub(super) fn new(mode: Mode) -> Self {
        Runs {
            loading: Rules { whole_keys: true, ..mode.rules.clone() },
            mode,
            place: Place::default(),
            open: Vec::new(),
            spare: Vec::new(),
            notes: None,
            shape: Shape::of(Kind::Copy),
            key: BytesMut::new(),
            hasher: RandomState::new(),
        }
    }

    /// Forgets unfinished runs.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// What hashes of keys are made with.
    pub(super) fn hasher(&self) -> &RandomState {
        &self.hasher
    }

    /// Takes the change numbered `index` within its transaction; `notes` are its table's while that is
    /// being loaded.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must then not be committed.
    pub(super) fn change(
        &mut self,
        relation: &Arc<Relation>,
        notes: Option<&Arc<Notes>>,
        change: &Change<'_>,
        index: u64,
        pipe: &mut Pipe,
    ) -> Result<(), ChangeError> {
        check_lengths(relation, change)?;
        if let Some(notes) = notes {
            return self.change_loading(relation, notes, change, index, pipe);
        }
        self.notes = None;
        match change.operation {
            Operation::Insert => {
                let kind = if self.mode.converge && !relation.key.is_empty() {
                    Kind::Upsert
                } else {
                    Kind::Copy
                };
                let check = if kind == Kind::Upsert { Check::Fresh } else { Check::Exact };
                self.push(kind, check, relation, change, index, pipe)
            }
            Operation::Update => self.update(relation, change, index, pipe),
            Operation::Delete => {
                let kind = if relation.key.is_empty() { Kind::DeleteWhole } else { Kind::Delete };
                let check = if self.mode.converge { Check::Told } else { Check::Exact };
                self.push(kind, check, relation, change, index, pipe)
            }
            Operation::Truncate => {
                self.push(Kind::Clear, Check::Tolerant, relation, change, index, pipe)
            }
        }
    }

    fn update(
        &mut self,
        relation: &Arc<Relation>,
        change: &Change<'_>,
        index: u64,
        pipe: &mut Pipe,
    ) -> Result<(), ChangeError> {
        let complete = is_complete(relation, &change.after);
        if relation.key.is_empty() {
            if !self.mode.converge {
                return self.push(Kind::UpdateWhole, Check::Exact, relation, change, index, pipe);
            }
            if !complete {
                return self.push(Kind::UpdateWhole, Check::Noted, relation, change, index, pipe);
            }
            self.push(Kind::DeleteWhole, Check::Told, relation, change, index, pipe)?;
            return self.push(Kind::Copy, Check::Exact, relation, change, index, pipe);
        }
        let rekey = changes_key(relation, change);
        if self.mode.converge {
            return match (complete, rekey) {
                (true, false) => {
                    self.push(Kind::Upsert, Check::Told, relation, change, index, pipe)
                }
                (true, true) => {
                    self.push(Kind::Delete, Check::Told, relation, change, index, pipe)?;
                    // Keys may change hands: what stands at the new one says nothing.
                    self.push(Kind::Upsert, Check::Exact, relation, change, index, pipe)
                }
                (false, false) => {
                    self.push(Kind::Update, Check::Noted, relation, change, index, pipe)
                }
                (false, true) => {
                    self.push(Kind::Rekey, Check::Noted, relation, change, index, pipe)
                }
            };
        }
        if complete && self.mode.replica && self.may_shuffle(relation, change) {
            return self.replace(relation, change, index, pipe);
        }
        let kind = if rekey { Kind::Rekey } else { Kind::Update };
        self.push(kind, Check::Exact, relation, change, index, pipe)
    }

    /// Whether an update may be part of values changing places: it moves one, or stands between
    /// updates that do.
    fn may_shuffle(&self, relation: &Relation, change: &Change<'_>) -> bool {
        let between = |run: &Run| run.shape.kind == Kind::Replace && run.shape.table == relation.id;
        touches_contested(relation, change) || self.open.iter().any(between)
    }

    /// Adds an update to a replacement.
    fn replace(
        &mut self,
        relation: &Arc<Relation>,
        change: &Change<'_>,
        index: u64,
        pipe: &mut Pipe,
    ) -> Result<(), ChangeError> {
        self.set_shape(Kind::Replace, Check::Exact, relation, change)?;
        let old = self.key_bytes(relation, |place| key_value(relation, change, place))?;
        let new = self.key_bytes(relation, |place| change.after.get(relation.key[place]))?;
        let fits = |run: &Run| {
            run.shape == self.shape
                && run.data.len() < REPLACEMENT_BYTES
                && run.replacement.takes(&old, &new)
        };
        let at = match self.open.iter().position(fits) {
            Some(at) => at,
            None => {
                self.make_room(relation, &[], None, pipe)?;
                self.begin(relation, change.operation, index)
            }
        };
        let rules = &self.mode.rules;
        let run = &mut self.open[at];
        run.last_change = index;
        let start = run.data.len();
        run.append_row(change, rules)?;
        let range = start..run.data.len();
        if !run.replacement.moves(&old, range.clone()) {
            run.append_fields(change, rules)?;
            run.rows += 1;
            run.replacement.adds(old, range);
        }
        run.replacement.names(new);
        Ok(())
    }

    fn key_bytes<'v>(
        &mut self,
        relation: &Relation,
        value: impl Fn(usize) -> Option<&'v Value<'v>>,
    ) -> Result<Vec<u8>, ChangeError> {
        self.hash_key(relation, value)?;
        Ok(self.key.to_vec())
    }

    /// Adds a row to the run of its shape, ending the runs that it may not pass.
    fn push(
        &mut self,
        kind: Kind,
        check: Check,
        relation: &Arc<Relation>,
        change: &Change<'_>,
        index: u64,
        pipe: &mut Pipe,
    ) -> Result<(), ChangeError> {
        self.set_shape(kind, check, relation, change)?;
        let keys = self.hash_keys(kind, relation, change)?;
        let at = match self.room(relation, change, &keys, pipe)? {
            Some(at) => at,
            None => self.begin(relation, change.operation, index),
        };
        let run = &mut self.open[at];
        for key in keys.into_iter().flatten() {
            run.seen.insert(key);
            if let Some(notes) = &self.notes {
                notes.touched.add(key);
            }
        }
        run.rows += 1;
        run.last_change = index;
        let rules = if self.notes.is_some() { &self.loading } else { &self.mode.rules };
        if kind != Kind::Copy {
            return run.append_fields(change, rules);
        }
        run.append_row(change, rules)?;
        if run.data.len() >= RUN_BYTES { self.copy_rows(at, pipe) } else { Ok(()) }
    }

    fn set_shape(
        &mut self,
        kind: Kind,
        check: Check,
        relation: &Relation,
        change: &Change<'_>,
    ) -> Result<(), ChangeError> {
        let shape = &mut self.shape;
        (shape.table, shape.kind, shape.check) = (relation.id, kind, check);
        let columns = relation.columns.len();
        shape.after.clear(columns);
        shape.before.clear(columns);
        shape.nulls.clear(columns);
        if !matches!(kind, Kind::Delete | Kind::DeleteNoted | Kind::DeleteWhole | Kind::Clear) {
            each_available(relation, &change.after, |column, _| shape.after.insert(column));
        }
        if matches!(kind, Kind::UpdateWhole | Kind::DeleteWhole) {
            if !matches!(change.before, Before::Full(_)) {
                return Err(ChangeError::Unidentified(
                    "a change of a table without key has no whole before image",
                ));
            }
            for column in (0..columns).filter(|column| relation.columns[*column].is_some()) {
                match old_value(change, column) {
                    None => {}
                    Some(Value::Null) => shape.nulls.insert(column),
                    Some(_) => shape.before.insert(column),
                }
            }
            if shape.before.is_empty() && shape.nulls.is_empty() {
                return Err(ChangeError::Unidentified("nothing of the before image is available"));
            }
        }
        Ok(())
    }

    /// Hashes of the keys the change names: the old one and, where it differs, the new one.
    fn hash_keys(
        &mut self,
        kind: Kind,
        relation: &Relation,
        change: &Change<'_>,
    ) -> Result<[Option<u64>; 2], ChangeError> {
        let by_old = matches!(
            kind,
            Kind::Update
                | Kind::UpdateNoted
                | Kind::Rekey
                | Kind::Delete
                | Kind::DeleteNoted
                | Kind::DeleteAside
                | Kind::GoneNoted
        );
        let by_new =
            matches!(kind, Kind::Rekey | Kind::Upsert | Kind::UpsertNoted | Kind::DeleteAside)
                || (kind == Kind::Copy && self.is_passed(relation));
        let old = if by_old {
            Some(self.hash_key(relation, |p| key_value(relation, change, p))?)
        } else {
            None
        };
        let new = if by_new {
            Some(self.hash_key(relation, |place| change.after.get(relation.key[place]))?)
        } else {
            None
        };
        Ok([old, new])
    }

    fn hash_key<'v>(
        &mut self,
        relation: &Relation,
        value: impl Fn(usize) -> Option<&'v Value<'v>>,
    ) -> Result<u64, ChangeError> {
        self.put_key(relation, value)?;
        Ok(self.hasher.hash_one(&self.key[..]))
    }

    /// Encodes a key.
    fn put_key<'v>(
        &mut self,
        relation: &Relation,
        value: impl Fn(usize) -> Option<&'v Value<'v>>,
    ) -> Result<(), ChangeError> {
        self.key.clear();
        for (place, column) in relation.key.iter().enumerate() {
            match value(place) {
                None | Some(Value::Null | Value::Unavailable) => {
                    return Err(ChangeError::Unidentified("a change does not give its row's key"));
                }
                Some(value) => {
                    let rules = if self.notes.is_some() { &self.loading } else { &self.mode.rules };
                    put(relation, *column, value, rules, &mut self.key)?;
                }
            }
        }
        Ok(())
    }
}

/// Appends a value as the target's column takes it.
///
/// # Errors
/// When the column cannot take it.
pub(super) fn put(
    relation: &Relation,
    column: usize,
    value: &Value<'_>,
    rules: &Rules,
    out: &mut BytesMut,
) -> Result<(), ChangeError> {
    let target = relation.column(column);
    let of_key;
    let applied = if target.tells {
        of_key = rules.of_key(target.cut);
        &of_key
    } else {
        rules
    };
    encode::field(value, target.form, applied, out).map_err(|error| {
        let replaces = rules.replaced.is_some() && target.tells;
        let error = match error {
            EncodeError::Nul | EncodeError::Surrogate if replaces => EncodeError::InKey,
            other => other,
        };
        ChangeError::Value { column: target.name.clone(), error }
    })
}
