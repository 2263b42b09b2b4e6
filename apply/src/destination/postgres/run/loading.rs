//! Changes of a table that is being loaded: its rows come by chunks beside the stream, so that a change
//! may meet its row, or not, or one that is younger. Why what is written here comes out right is argued
//! in `load::notes`. Nothing of it is a conflict.

use std::sync::Arc;

use lockstep_common::Value;
use lockstep_common::model::record::{Before, Change, Operation};

use super::super::image::{changes_key, is_complete, key_value};
use super::super::load::Notes;
use super::super::pipe::Pipe;
use super::super::relation::Relation;
use super::super::statement::{Check, Kind};
use super::{ChangeError, Runs};

/// Nobody checks how many rows these statements meet.
const ANY: Check = Check::Tolerant;

impl Runs {
    pub(super) fn change_loading(
        &mut self,
        relation: &Arc<Relation>,
        notes: &Arc<Notes>,
        change: &Change<'_>,
        index: u64,
        pipe: &mut Pipe,
    ) -> Result<(), ChangeError> {
        self.notes = Some(Arc::clone(notes));
        // Of keys that the target holds equal, a chunk has to know which one the stream has written.
        let noted = notes.keep || relation.folds_keys();
        let upsert = if noted { Kind::UpsertNoted } else { Kind::Upsert };
        match change.operation {
            Operation::Insert => self.push(upsert, ANY, relation, change, index, pipe),
            Operation::Delete => self.push(Kind::DeleteNoted, ANY, relation, change, index, pipe),
            Operation::Update => {
                let rekey = changes_key(relation, change);
                match (is_complete(relation, &change.after), rekey) {
                    (true, false) => self.push(upsert, ANY, relation, change, index, pipe),
                    (true, true) => {
                        self.push(Kind::DeleteNoted, ANY, relation, change, index, pipe)?;
                        self.push(upsert, ANY, relation, change, index, pipe)
                    }
                    (false, false) => {
                        self.push(Kind::UpdateNoted, ANY, relation, change, index, pipe)
                    }
                    (false, true) => self.rekey_loading(relation, change, index, pipe),
                }
            }
            Operation::Truncate => Err(ChangeError::Unidentified(
                "a table is emptied while it is being loaded: which rows its chunks read before \
                 that is not known",
            )),
        }
    }

    /// A change of the key that lacks columns. Where another row of the new key is there already, it is
    /// the younger one and the old one goes; else the old one moves. Then both keys are noted, or the one
    /// that they are in the target. (A delete by the old key would then meet the row that has moved.)
    fn rekey_loading(
        &mut self,
        relation: &Arc<Relation>,
        change: &Change<'_>,
        index: u64,
        pipe: &mut Pipe,
    ) -> Result<(), ChangeError> {
        if relation.folds_keys() {
            // The old spelling is one that the stream has named, though the target may hold both equal.
            let mut named = Change { before: Before::None, ..change.clone() };
            named.after.iter_mut().for_each(|value| *value = Value::Unavailable);
            for (place, column) in relation.key.iter().enumerate() {
                if let (Some(value), Some(old)) =
                    (named.after.get_mut(*column), key_value(relation, change, place))
                {
                    *value = old.clone();
                }
            }
            self.push(Kind::UpdateNoted, ANY, relation, &named, index, pipe)?;
        }
        self.push(Kind::DeleteAside, ANY, relation, change, index, pipe)?;
        self.push(Kind::Rekey, ANY, relation, change, index, pipe)?;
        let mut moved = Change { before: Before::None, ..change.clone() };
        for (place, column) in relation.key.iter().enumerate() {
            if let (Some(new), Some(old)) =
                (moved.after.get_mut(*column), key_value(relation, change, place))
                && new.is_unavailable()
            {
                *new = old.clone();
            }
        }
        self.push(Kind::GoneNoted, ANY, relation, change, index, pipe)?;
        self.push(Kind::UpdateNoted, ANY, relation, &moved, index, pipe)
    }
}
