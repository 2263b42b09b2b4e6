//! What a service does about a failure.
//!
//! Every error of a service ends as a [`Failure`] with a [`Code`], and the code alone decides
//! ([`Code::disposition`]). `Retry` is for what time may heal (a lost connection, a deadlock); `Wait`
//! for what heals once a person has acted outside (a password, a grant); `Halt` for what a person
//! must decide (data no longer there, a value that cannot be stored); `Fenced` says that another
//! instance took over, and that this one must not be started again.

mod backoff;
pub mod code;

use std::fmt;

use crate::service::failpoint::Crash;

pub use backoff::Backoff;
pub use code::Code;

/// The four dispositions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again after a moment.
    Retry,
    /// Say what is waited for, and try again until somebody has seen to it.
    Wait,
    /// Stop and say what to do.
    Halt,
    /// Stop for good: another instance took over.
    Fenced,
}

impl Disposition {
    /// Whether the service lives and tries again.
    pub const fn is_tried_again(self) -> bool {
        matches!(self, Disposition::Retry | Disposition::Wait)
    }
}

/// A service's failure: what happened, where, and what to do.
#[derive(Debug)]
pub struct Failure {
    /// What kind of failure it is, which decides what the service does.
    pub code: Code,
    /// What happened and where (LSN, table, offset); one line, no row values, no secrets.
    pub message: String,
    /// What the operator should do; empty for what is retried.
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
    /// A failure without a remedy of its own.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let remedy = match code.disposition() {
            Disposition::Fenced => "do not restart this instance: another one is doing its work",
            Disposition::Retry | Disposition::Wait | Disposition::Halt => "",
        };
        Failure { code, message: message.into(), remedy: remedy.into(), source: None }
    }

    /// Says what the operator should do.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// What the service does about it.
    pub fn disposition(&self) -> Disposition {
        self.code.disposition()
    }

    /// Attaches the cause.
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The exit code of a service that ends with this failure.
    pub fn exit_code(&self) -> u8 {
        match self.disposition() {
            Disposition::Retry | Disposition::Wait => exit::INTERNAL,
            Disposition::Halt => exit::HALT,
            Disposition::Fenced => exit::FENCED,
        }
    }
}

/// A crash at a fail point: stops the service where it stands. Only tests arm fail points.
impl From<Crash> for Failure {
    fn from(crash: Crash) -> Self {
        Failure::new(Code::Failpoint, crash.to_string())
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
