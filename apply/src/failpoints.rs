//! The places where a test may make apply die; see [`lockstep_common::service::failpoint`].

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

/// The tables of a full load are prepared; its begin is not committed.
pub const LOAD_BEGIN: &str = "apply.load.begin";
/// A chunk's end is committed; its rows are not on their way yet.
pub const CHUNK_NOTED: &str = "apply.chunk.noted";
/// A chunk's rows are on the wire, its commit is not.
pub const CHUNK_COPIED: &str = "apply.chunk.copied";
/// A chunk is committed in the target; the stream's side does not know it yet.
pub const CHUNK_COMMITTED: &str = "apply.chunk.committed";
/// A full load is consistent; that is not committed.
pub const LOAD_END: &str = "apply.load.end";
/// That is committed; nothing of indexes and constraints has begun.
pub const LOAD_ENDED: &str = "apply.load.ended";

/// Those of full loads, in the order one meets them.
pub const LOAD: [&str; 6] =
    [LOAD_BEGIN, CHUNK_NOTED, CHUNK_COPIED, CHUNK_COMMITTED, LOAD_END, LOAD_ENDED];

/// Those of the stream, in the order a transaction meets them.
pub const ALL: [&str; 7] = [
    FETCHED,
    SPOOL_WRITTEN,
    EPOCH_TAKEN,
    STATEMENTS_SENT,
    COMMIT_SENT,
    COMMIT_ACKNOWLEDGED,
    TRIMMED,
];
