//! What an error means: the one place that decides it for statements of the stream.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::model::record::Change;

use super::error::{self, Class, ServerError};
use super::image::{key_in_words, key_value};
use super::pipe::Note;
use super::relation::Relation;
use super::run::ChangeError;
use super::set_aside;
use super::wire::Latched;
use super::{Session, checkpoint, lost, pooler};
use crate::destination::{Refusal, Trouble};

impl Session {
    /// Of a connection's first error.
    pub(super) fn trouble(&self, latched: Latched) -> Trouble {
        match latched {
            Latched::Server { error, note } => self.server_trouble(&error, note),
            Latched::Rows { note, met } => Trouble::Failure(lost::failure(&miscounted(&note, met))),
            Latched::Lost(what) => Trouble::Failure(Failure::new(
                Code::ApplyConnection,
                format!("lost the connection to the target: {what}"),
            )),
            Latched::Protocol(what) => Trouble::Failure(
                Failure::new(
                    Code::ApplyProtocol,
                    format!("the target's answers make no sense: {what}"),
                )
                .remedy("report this with the log"),
            ),
        }
    }

    fn server_trouble(&self, error: &ServerError, note: Option<Note>) -> Trouble {
        if error.code == pooler::ANOTHER_PROCESS {
            return Trouble::Failure(pooler::refused(&self.login));
        }
        let checkpoint = note.as_ref().is_some_and(|note| note.table.is_none());
        match error.class() {
            Class::Conflict if checkpoint => {
                // The chain is broken: a null epoch check, or no row at all.
                Trouble::Failure(checkpoint::displaced(&self.chain.pipeline))
            }
            Class::Conflict => Trouble::Refused(Refusal::by_server(error, note)),
            Class::Retry => {
                Trouble::Failure(error::gave_up("the target gave up a transaction", error))
            }
            Class::Halt => Trouble::Failure(
                Failure::new(
                    Code::ApplyTarget,
                    format!(
                        "the target refuses a statement: {error}{}",
                        set_aside::describe(note.as_ref())
                    ),
                )
                .remedy(error::remedy(error)),
            ),
        }
    }
}

/// Of a statement that met another number of rows than it was sent.
pub(super) fn miscounted(note: &Note, met: Option<u64>) -> String {
    let met = met.map_or("an unknown number".to_owned(), |met| met.to_string());
    let where_ = set_aside::describe(Some(note));
    format!("{} row(s) were sent to the target and {met} met{where_}", note.rows)
}

/// Of a change that cannot be written; `index` is its number within the transaction.
pub(super) fn change_trouble(
    error: ChangeError,
    relation: &Relation,
    change: Option<&Change<'_>>,
    index: u64,
) -> Trouble {
    let note = Note {
        table: Some(Arc::clone(&relation.source)),
        operation: change.map(|c| c.operation),
        first_change: index,
        last_change: index,
        rows: 1,
        counted: false,
    };
    match error {
        ChangeError::Value { column, error } => {
            let row = change.and_then(|change| {
                let before = |place| key_value(relation, change, place);
                key_in_words(relation, before)
            });
            Trouble::Refused(Refusal::by_value(&column, error, row.as_deref(), &note))
        }
        ChangeError::Unidentified(what) => Trouble::Failure(
            Failure::new(
                Code::ApplyUnidentified,
                format!("{what}{}", set_aside::describe(Some(&note))),
            )
            .remedy("have the source record whole before images, or give the table a key"),
        ),
        ChangeError::Corrupt(what) => Trouble::Failure(
            Failure::new(Code::ApplyCorrupt, format!("{what}{}", set_aside::describe(Some(&note))))
                .remedy("the log is damaged or its writer is broken: restore it"),
        ),
    }
}
