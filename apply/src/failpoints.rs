//! The places where a test may make apply die; see [`lockstep_common::failpoint`].

/// A batch has been read from the log; nothing of it is kept yet.
pub const FETCHED: &str = "apply.fetched";
/// Something went into the spool.
pub const SPOOL_WRITTEN: &str = "apply.spool.written";
/// This connection's epoch is committed in the target; nothing was applied under it yet.
pub const EPOCH_TAKEN: &str = "apply.epoch.taken";
/// A transaction's statements are written, its checkpoint and commit are not. In-process the
/// statements are on the wire by then; a process that is killed may not have sent the last of them.
pub const STATEMENTS_SENT: &str = "apply.statements.sent";
/// A transaction's commit is on the wire, its reply has not been read.
pub const COMMIT_SENT: &str = "apply.commit.sent";
/// The target confirmed commits; the buffer still holds them.
pub const COMMIT_ACKNOWLEDGED: &str = "apply.commit.acknowledged";
/// The buffer dropped what the target has flushed.
pub const TRIMMED: &str = "apply.trimmed";

/// All of them, in the order a transaction meets them.
pub const ALL: [&str; 7] = [
    FETCHED,
    SPOOL_WRITTEN,
    EPOCH_TAKEN,
    STATEMENTS_SENT,
    COMMIT_SENT,
    COMMIT_ACKNOWLEDGED,
    TRIMMED,
];

/// The code of the failure that a crash at a fail point is: upon it everything is dropped at once.
pub(crate) const CRASH: &str = "failpoint";
