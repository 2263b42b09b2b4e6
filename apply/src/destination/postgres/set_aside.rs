//! Transactions that the target refuses: what is said about them, and the row that remembers one.

use bytes::{BufMut, BytesMut};

use super::encode::EncodeError;
use super::error::{self, ServerError};
use super::parameter::{put_int8, put_text};
use super::pipe::{Note, Pipe};
use super::statement::{Kind, Shape, Sql};
use crate::destination::{Refusal, word};
use crate::unit::Mark;

impl Refusal {
    pub(super) fn by_server(error: &ServerError, note: Option<Note>) -> Self {
        Refusal {
            code: Some(error.code.clone()),
            message: error.to_string(),
            changes: note.as_ref().and_then(Note::changes),
            remedy: error::remedy(error),
        }
    }

    /// `row`: which one, where its key is known.
    pub(super) fn by_value(
        column: &str,
        error: EncodeError,
        row: Option<&str>,
        note: &Note,
    ) -> Self {
        let of_row = row.map_or(String::new(), |row| format!(", in the row with {row}"));
        Refusal {
            code: None,
            message: format!("column {column} holds {error}{of_row}"),
            changes: note.changes(),
            remedy: "change the value at the source and load the table anew, or set the \
                     transaction aside (`on_conflict = \"exceptions\"`)",
        }
    }
}

/// ` (insert on dbo.orders, changes 3 to 7)`
pub(super) fn describe(note: Option<&Note>) -> String {
    let changes = note.and_then(Note::changes);
    changes.map_or(String::new(), |changes| format!(" ({changes})"))
}

/// Appends the row in `lockstep.exceptions` that stands for the whole transaction.
pub(super) fn record(
    pipeline: &str,
    refusal: &Refusal,
    mark: &Mark,
    first_offset: u64,
    pipe: &mut Pipe,
) {
    let name = pipe.prepare(&Shape::of(Kind::SetAside), sql);
    let changes = refusal.changes.as_ref();
    let parameters = |out: &mut BytesMut| {
        put_text(pipeline, out);
        put_text(&mark.position.to_string(), out);
        put_int8(first_offset, out);
        put_int8(mark.next_offset, out);
        put_optional(changes.map(|changes| &*changes.table), out);
        put_optional(changes.and_then(|changes| changes.operation).map(word), out);
        match changes {
            Some(changes) => put_int8(changes.first, out),
            None => out.put_i32(-1),
        }
        put_optional(refusal.code.as_deref(), out);
        put_text(&refusal.message, out);
    };
    let note = Note::default();
    pipe.execute(name, 9, parameters, note).expect("an exception is small");
}

fn sql() -> Sql {
    Sql {
        text: "INSERT INTO lockstep.exceptions (pipeline, kind, position, first_offset, \
               next_offset, source_table, operation, change, sqlstate, error) \
               VALUES ($1, 'refused', $2, $3, $4, $5, $6, $7, $8, $9)"
            .to_owned(),
        parameters: vec![25, 25, 20, 20, 25, 25, 20, 25, 25],
    }
}

fn put_optional(value: Option<&str>, out: &mut BytesMut) {
    match value {
        Some(value) => put_text(value, out),
        None => out.put_i32(-1),
    }
}
