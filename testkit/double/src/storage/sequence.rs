//! Values of sequences. They are handed out outside of transactions: no rollback takes one back.
//!
//! What is on disk is the end of a block of values: after a crash a sequence goes on behind the
//! block, so that none is handed out twice; the rest of it is lost, as with CACHE documented.

use super::{ObjectId, Txn, invalid_object};
use crate::SqlError;

/// How many values are reserved at once where CACHE does not say it.
const BLOCK: i64 = 50;

fn key(sequence: ObjectId) -> String {
    format!("sequence/{sequence}")
}

impl Txn {
    /// The next value of a sequence.
    ///
    /// # Errors
    /// 208; 11728 at its end; 9001 if the log cannot be written.
    pub fn next_in_sequence(&mut self, id: ObjectId) -> Result<i64, SqlError> {
        let database = self.database().clone();
        let mut state = database.lock();
        let reserved: Option<i64> =
            state.settings.get(&key(id)).and_then(|value| value.parse().ok());
        let found = state.tables.get_mut(&id).ok_or_else(|| invalid_object(&id.to_string()))?;
        let def = found.def.clone();
        let sequence = def.sequence().ok_or_else(|| invalid_object(&def.full_name()))?;
        let last = found.identity.or(reserved);
        let next = match last {
            None => Some(sequence.restart.unwrap_or(sequence.start)),
            Some(last) => sequence.after(last),
        };
        let next = next.ok_or_else(|| {
            SqlError::new(
                11_728,
                16,
                1,
                format!(
                    "The sequence object '{}' has reached its minimum or maximum value. Restart the sequence object to allow new values to be generated.",
                    def.name
                ),
            )
        })?;
        found.identity = Some(next);
        let up = sequence.increment > 0;
        let cycled = last.is_some_and(|last| if up { next <= last } else { next >= last });
        let covered = |end: i64| if up { next <= end } else { next >= end };
        if !cycled && last.is_some() && reserved.is_some_and(covered) {
            return Ok(next);
        }
        let block = match sequence.cache {
            None => 1,
            Some(0) => BLOCK,
            Some(values) => i64::from(values),
        };
        let end = next
            .saturating_add(sequence.increment.saturating_mul(block - 1))
            .clamp(sequence.least, sequence.most);
        database.reserve(state, key(id), end)?;
        Ok(next)
    }

    /// RESTART: the next value is the first again.
    ///
    /// # Errors
    /// 9001 if the log cannot be written.
    pub fn restart_sequence(&mut self, id: ObjectId) -> Result<(), SqlError> {
        let database = self.database().clone();
        if let Some(found) = database.lock().tables.get_mut(&id) {
            found.identity = None;
        }
        database.set_setting(&key(id), None)
    }

    /// The last value handed out since the server started; none before the first.
    pub fn last_in_sequence(&self, id: ObjectId) -> Option<i64> {
        let state = self.database().lock();
        let reserved = || state.settings.get(&key(id)).and_then(|value| value.parse().ok());
        state.tables.get(&id)?.identity.or_else(reserved)
    }
}
