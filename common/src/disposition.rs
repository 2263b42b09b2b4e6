//! What to do about a failure: decided here and nowhere else.
//!
//! Every error of a service ends as a [`Failure`]. `Retry` is for what time alone may mend (a lost
//! connection, a deadlock); `Halt` is for what a person must decide (data no longer there, a value
//! that cannot be stored, a missing right); `Fenced` says another instance took over, and this one
//! must not be restarted.

use std::fmt;

use crate::failpoint::Crash;

/// The three dispositions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Wait and try again.
    Retry,
    /// Stop and say what to do.
    Halt,
    /// Stop for good: another instance took over.
    Fenced,
}

/// A service's failure: what happened, where, and what to do.
#[derive(Debug)]
pub struct Failure {
    /// What to do about it.
    pub disposition: Disposition,
    /// Stable code, e.g. `source.gap`; see `docs/errors.md`.
    pub code: &'static str,
    /// What happened and where (LSN, table, offset); one line, no row values, no secrets.
    pub message: String,
    /// What the operator should do; empty for `Retry`.
    pub remedy: String,
    /// The cause, if another error was.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Exit codes of every service, documented in the README.
pub mod exit {
    /// Stopped as asked.
    pub const OK: u8 = 0;
    /// A programming error or something unforeseen.
    pub const INTERNAL: u8 = 1;
    /// Command line or configuration.
    pub const USAGE: u8 = 2;
    /// Halted: an operator must act; the message says how.
    pub const HALT: u8 = 3;
    /// Fenced: another instance took over. Do not restart.
    pub const FENCED: u8 = 4;
    /// `check` found something, or a server could not be reached before the deadline of a command.
    pub const CHECK: u8 = 5;
}

impl Failure {
    /// Something time may mend.
    pub fn retry(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Disposition::Retry, code, message, "")
    }

    /// Something a person must decide.
    pub fn halt(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Disposition::Halt, code, message, remedy)
    }

    /// Another instance took over.
    pub fn fenced(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(
            Disposition::Fenced,
            code,
            message,
            "do not restart this instance: another one is doing its work",
        )
    }

    fn new(
        disposition: Disposition,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Failure { disposition, code, message: message.into(), remedy: remedy.into(), source: None }
    }

    /// Attaches the cause.
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The exit code of a service that ends with this failure.
    pub fn exit_code(&self) -> u8 {
        match self.disposition {
            Disposition::Retry => exit::INTERNAL,
            Disposition::Halt => exit::HALT,
            Disposition::Fenced => exit::FENCED,
        }
    }
}

/// A crash at a fail point: stops the service where it stands. Only tests arm fail points.
impl From<Crash> for Failure {
    fn from(crash: Crash) -> Self {
        Failure::halt("failpoint", crash.to_string(), "")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
