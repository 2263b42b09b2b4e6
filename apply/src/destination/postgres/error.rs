//! What PostgreSQL's errors mean: decided here, by SQLSTATE, and nowhere else.
//!
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

use lockstep_common::Code;
use std::fmt;

use lockstep_common::Failure;
use postgres_protocol::message::backend::ErrorResponseBody;

/// Raised by `lockstep.expect_rows`: a statement met another number of rows than it was sent for.
pub(super) const ROW_COUNT: &str = "LS001";

/// `program_limit_exceeded`: a row beyond a page, or an index entry beyond a third of one.
pub(super) const TOO_LARGE: &str = "54000";

/// `disk_full`
const DISK_FULL: &str = "53100";

/// An error of the server. The message and detail may hold row values (a duplicate key's), so only
/// what is safe to show is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// SQLSTATE.
    pub(crate) code: String,
    /// The primary message. PostgreSQL puts values there for some classes: see [`ServerError::safe`].
    message: String,
    pub(crate) schema: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) column: Option<String>,
    pub(crate) constraint: Option<String>,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Time may mend it.
    Retry,
    /// The target refuses the transaction: the conflict policy decides.
    Conflict,
    /// A person must.
    Halt,
}

impl ServerError {
    pub(super) fn from_response(body: &ErrorResponseBody) -> Self {
        use fallible_iterator::FallibleIterator;
        let mut error = ServerError::default();
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.code = value,
                b'M' => error.message = value,
                b's' => error.schema = Some(value),
                b't' => error.table = Some(value),
                b'c' => error.column = Some(value),
                b'n' => error.constraint = Some(value),
                _ => {}
            }
        }
        error
    }

    pub(super) fn from_client(error: &tokio_postgres::error::DbError) -> Self {
        ServerError {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            schema: error.schema().map(str::to_owned),
            table: error.table().map(str::to_owned),
            column: error.column().map(str::to_owned),
            constraint: error.constraint().map(str::to_owned),
        }
    }

    pub(super) fn class(&self) -> Class {
        let code = self.code.as_str();
        match (code.get(..2).unwrap_or_default(), code) {
            // A message that is no message: retrying sends the same.
            (_, "08P01") => Class::Halt,
            // The server is being dropped under us.
            (_, "57P04") => Class::Halt,
            // Sent to a server in recovery or set read-only: a failover, mostly.
            (_, "25006" | "25P03" | "25P04" | "55P03" | "55006" | "26000") => Class::Retry,
            // Connection; transaction rollback (serialization, deadlock); resources (disk full, out
            // of memory, too many connections); operator intervention; system error (I/O).
            ("08" | "40" | "53" | "57" | "58", _) => Class::Retry,
            // Data; integrity; what a trigger raises; a view's check; rows met; a row, or a key, that is
            // larger than a page takes.
            ("22" | "23" | "44" | "P0", _) | (_, ROW_COUNT | TOO_LARGE) => Class::Conflict,
            _ => Class::Halt,
        }
    }

    /// The message, unless it may hold a row's value.
    fn safe(&self) -> Option<&str> {
        match self.code.get(..2).unwrap_or_default() {
            // "invalid input syntax for type integer: \"4711\""
            "22" => None,
            _ => Some(&self.message),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLSTATE {}", self.code)?;
        if let Some(message) = self.safe() {
            write!(f, ", {message}")?;
        }
        if let (Some(schema), Some(table)) = (&self.schema, &self.table) {
            write!(f, ", table {schema}.{table}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        if let Some(constraint) = &self.constraint {
            write!(f, ", constraint {constraint}")?;
        }
        Ok(())
    }
}

/// A failure outside of transactions: connecting, preparing the target.
pub(super) fn failure(code: Code, what: &str, error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(db) => server_failure(code, what, &ServerError::from_client(db)),
        None => Failure::new(Code::ApplyTargetAway, format!("{what}: {}", chain(error))),
    }
}

/// A server's error outside of transactions.
pub(super) fn server_failure(code: Code, what: &str, error: &ServerError) -> Failure {
    match error.class() {
        Class::Retry => gave_up(what, error),
        Class::Conflict | Class::Halt => {
            Failure::new(code, format!("{what}: {error}")).remedy(remedy(error))
        }
    }
}

/// Of an error that time mends, or somebody who sees to it.
pub(super) fn gave_up(what: &str, error: &ServerError) -> Failure {
    let code = match error.code.as_str() {
        DISK_FULL => Code::ApplyTargetFull,
        _ => Code::ApplyTargetAway,
    };
    Failure::new(code, format!("{what}: {error}")).remedy(match error.code.as_str() {
        DISK_FULL => {
            "make room on the target's disk, or move tables to another tablespace: apply goes on by itself"
        }
        "53300" => {
            "the server, the database or the role has no connection left: raise `max_connections` (or the \
             CONNECTION LIMIT of role or database), or lower `connections` and `load_connections` of this \
             apply"
        }
        "53200" => "the server is out of memory, or of locks: see its log",
        _ => "",
    })
}

/// What to do about an error that stops apply.
pub(super) fn remedy(error: &ServerError) -> &'static str {
    match error.code.as_str() {
        "28P01" | "28000" => "correct user and password of this apply, or the target's pg_hba.conf",
        "3D000" => "create the database, or correct `database` of this apply",
        "42501" => {
            "grant the role of this apply what it needs: `lockstep schema --grants` prints it"
        }
        "42P01" | "42703" | "3F000" => {
            "the target's tables changed under apply: restore them, then start apply again"
        }
        "23505" => {
            "the target holds rows that the source does not: correct them, make the constraint \
             DEFERRABLE or drop it, or choose another `on_conflict`"
        }
        ROW_COUNT if error.message.ends_with("expected 1 rows, met 2") => {
            "several rows of the target fit the change: the source did not record all of the old row, \
             and the table has no key to tell them apart. Give the table a key or load it anew, or \
             choose another `on_conflict`"
        }
        ROW_COUNT => {
            "the target lacks rows that the source has: correct them or load the table anew, or \
             choose another `on_conflict`"
        }
        TOO_LARGE => {
            "a page of PostgreSQL has room for a row of 8160 bytes (longer values stand elsewhere, as \
             18 bytes each) and an index entry of 2704: shorten the row's values at the source and load \
             the table anew, drop the index if it is not the key's, leave columns out of the capture \
             instance, or the table out of `source.tables`"
        }
        _ => match error.class() {
            Class::Conflict => {
                "correct the target's rows or constraints, or choose another `on_conflict`"
            }
            Class::Retry | Class::Halt => "correct the target, then start apply again",
        },
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(code: &str) -> Class {
        ServerError { code: code.into(), ..ServerError::default() }.class()
    }

    #[test]
    fn classes() {
        for code in ["57P01", "40001", "40P01", "53100", "53200", "08006", "55P03", "25006"] {
            assert_eq!(class(code), Class::Retry, "{code}");
        }
        for code in ["23505", "22003", "LS001", "P0001", "23502", "54000"] {
            assert_eq!(class(code), Class::Conflict, "{code}");
        }
        for code in ["28P01", "3D000", "42P01", "42703", "42501", "08P01", "XX000", ""] {
            assert_eq!(class(code), Class::Halt, "{code}");
        }
    }

    #[test]
    fn no_row_values_are_shown() {
        let error = ServerError {
            code: "22P02".into(),
            message: "invalid input syntax for type integer: \"4711\"".into(),
            ..ServerError::default()
        };
        assert!(!error.to_string().contains("4711"));
    }
}
