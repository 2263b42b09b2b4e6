//! Errors with SQL Server's own numbers.

use std::fmt;

/// An error (class 11 and up) or an informational message (class 10 and below).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// SQL Server's message number.
    pub number: i32,
    /// State.
    pub state: u8,
    /// Severity.
    pub class: u8,
    /// Text as SQL Server words it.
    pub message: String,
    /// Line in the batch, from 1.
    pub line: u32,
    /// The procedure it came from, or empty.
    pub procedure: String,
}

impl SqlError {
    /// An error raised by a statement of the batch.
    pub fn new(number: i32, class: u8, state: u8, message: impl Into<String>) -> Self {
        SqlError {
            number,
            state,
            class,
            message: message.into(),
            line: 1,
            procedure: String::new(),
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Msg {}, Level {}, State {}: {}",
            self.number, self.class, self.state, self.message
        )
    }
}

impl std::error::Error for SqlError {}
