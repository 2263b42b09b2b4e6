//! What a unit's fragments say, checked as it is read: order, counts, totals, long values.

use std::borrow::Cow;
use std::collections::HashMap;

use lockstep_common::Code;
use lockstep_common::codec::FragmentHeader;
use lockstep_common::model::record::{Before, Change, Part, TableTotal};
use lockstep_common::{Failure, LongKind, LongValue, Position, TableId, Value};
use sha2::{Digest, Sha256};

/// What has been read of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Content {
    changes: u64,
    tables: Vec<(TableId, u64)>,
    totals: Vec<TableTotal>,
    fragments: u32,
    complete: bool,
    longs: Longs,
}

/// Long values whose pieces have come, and whose rows have not.
#[derive(Debug, Default)]
pub(crate) struct Longs(HashMap<u32, Vec<u8>>);

impl Longs {
    /// Takes a piece.
    pub(crate) fn part(&mut self, part: &Part<'_>) {
        self.0.entry(part.id).or_default().extend_from_slice(&part.data);
    }

    /// Puts a long value where it belongs; others stay.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn settle(&mut self, value: &mut Value<'_>) -> Result<(), &'static str> {
        if let Value::Long(long) = value {
            *value = self.take(long)?;
        }
        Ok(())
    }

    fn take(&mut self, long: &LongValue) -> Result<Value<'static>, &'static str> {
        let bytes = self
            .0
            .remove(&long.id)
            .filter(|bytes| bytes.len() as u64 == long.length)
            .filter(|bytes| Sha256::digest(bytes).as_slice() == long.digest)
            .ok_or("a long value is not what its row says")?;
        Ok(match long.kind {
            LongKind::Text => Value::String(Cow::Owned(
                String::from_utf8(bytes).map_err(|_| "a long text is not UTF-8")?,
            )),
            LongKind::Utf16 => Value::Utf16(Cow::Owned(bytes)),
            LongKind::Bytes => Value::Bytes(Cow::Owned(bytes)),
        })
    }
}

impl Content {
    /// Changes read so far: the number of the next one.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Begins the next fragment of the transaction at `position`.
    ///
    /// # Errors
    /// `Halt` when it is not the next one.
    pub(crate) fn fragment(
        &mut self,
        position: Position,
        found: Position,
        header: Option<FragmentHeader>,
    ) -> Result<(), Failure> {
        let header = header.filter(|h| {
            found == position
                && h.index == self.fragments
                && h.changes_before == self.changes
                && !self.complete
        });
        let Some(header) = header else {
            return Err(damaged(position, "its fragments do not follow one another"));
        };
        self.fragments += 1;
        self.complete = header.last;
        Ok(())
    }

    /// Takes a piece of a long value.
    pub(crate) fn part(&mut self, part: &Part<'_>) {
        self.longs.part(part);
    }

    /// Counts a change, and puts its long values where they belong.
    ///
    /// # Errors
    /// `Halt` when a long value is not what its change says.
    pub(crate) fn change(
        &mut self,
        position: Position,
        change: &mut Change<'_>,
    ) -> Result<(), Failure> {
        self.changes += 1;
        match self.tables.iter_mut().find(|(table, _)| *table == change.table) {
            Some((_, count)) => *count += 1,
            None => self.tables.push((change.table, 1)),
        }
        let before = match &mut change.before {
            Before::None => &mut [][..],
            Before::Key(row) | Before::Full(row) => row.as_mut_slice(),
        };
        for value in change.after.iter_mut().chain(before) {
            self.longs.settle(value).map_err(|what| damaged(position, what))?;
        }
        Ok(())
    }

    /// Takes a total of the last fragment.
    pub(crate) fn total(&mut self, total: TableTotal) {
        self.totals.push(total);
    }

    /// Checks that the transaction is whole; gives its changes per table.
    ///
    /// # Errors
    /// `Halt` when it is not.
    pub(crate) fn finish(self, position: Position) -> Result<Vec<(TableId, u64)>, Failure> {
        if !self.complete {
            return Err(damaged(position, "its last fragment is missing"));
        }
        let counted: u64 = self.totals.iter().map(|total| total.changes).sum();
        let agree = self.totals.iter().all(|total| {
            self.tables.iter().any(|(id, count)| *id == total.table && *count == total.changes)
        });
        if counted != self.changes || !agree {
            return Err(damaged(position, "its changes are not as many as its totals say"));
        }
        Ok(self.tables)
    }
}

/// The records of a transaction are not a transaction.
pub(crate) fn damaged(position: Position, what: &str) -> Failure {
    Failure::new(Code::ApplyDamaged, format!("transaction {position} is damaged: {what}"))
        .remedy("delete the spool; if it stays so, the log is damaged: restore it")
}
