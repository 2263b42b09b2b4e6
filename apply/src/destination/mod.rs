//! Destinations: what transactions are committed in.
//!
//! A [`Destination`] is how one is reached; a [`Session`] writes one under one epoch. PostgreSQL is the
//! first implementation; `testing` has one in memory. Everything else in apply knows these traits
//! only.
//!
//! # What a destination promises
//!
//! - **Whole.** What is written between [`Session::begin`] and [`Session::commit`] is committed all
//!   or not at all, and readers never see a part. What was not committed when the session ends is
//!   undone.
//! - **The checkpoint is part of it.** The mark given to `commit` is stored by the commit of the changes,
//!   never before and never after. [`Attached::mark`] is the one of the last commit, whether or not its
//!   confirmation was heard.
//! - **In order.** Commits take effect, and are confirmed, in the order in which `commit` was called for
//!   them; after one that fails none takes effect. [`Session::committed`] counts confirmations.
//! - **Fenced.** To attach is to take the next epoch. From the return of [`Destination::attach`] on, no
//!   commit and no record of an older epoch takes effect; each gives `Fenced` in the process that was
//!   replaced.
//! - **Flushed.** A commit for which `flushed` was asked survives any crash of the destination once it
//!   is confirmed, and with it every commit before it. Others may be lost, from the last back and with
//!   their checkpoints. What attaching returns survives, too, and so does what a record of a load
//!   ([`Loading`]) or [`Session::store_start`] wrote when the call returns.
//! - **Nothing passes silently.** A change that meets another number of rows than it is for, a value that
//!   does not fit, a table that is not what it was: each is an error, unless the conflict policy says
//!   otherwise.
//!
//! A failure is [`Trouble::Refused`] when the destination refuses these changes and would take others;
//! the conflict policy decides about them. Anything else is a [`Failure`], whose disposition tells what
//! apply does. After any error of a session it is dropped, and the destination attached to again.

pub(crate) mod postgres;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::Handoff;
use lockstep_common::model::record::{Change, ChunkEnd, Operation};
use lockstep_common::service::check::CheckResult;
use lockstep_common::service::status::{HeldTable, LoadStatus};
use lockstep_common::{FailPoints, Failure, Position, TableId, TableVersion};
use lockstep_log::Log;
use uuid::Uuid;

use crate::unit::Mark;

/// How a destination is reached and written.
pub(crate) trait Destination {
    /// What writes it.
    type Session: Session;

    /// Every prerequisite for following `pipeline`, each with its fix when it is not met. Changes
    /// nothing.
    async fn check(&self, pipeline: &str) -> Vec<CheckResult>;

    /// Connects and takes the next epoch, which ends whatever session wrote before. A claimant without an
    /// epoch takes over only when `log` reaches the checkpoint. `careful` writes one row to a statement.
    /// Chunks of loads are read from `log`.
    ///
    /// # Errors
    /// `Retry` when the destination is away, `Halt` when it refuses, `Fenced` when another instance has
    /// it.
    async fn attach(
        &self,
        claimant: &Claimant,
        careful: bool,
        log: &Arc<dyn Log>,
        fail: &FailPoints,
    ) -> Result<(Self::Session, Attached), Failure>;

    /// Removes the pipeline's checkpoint, and fences whoever still writes; gives the position it had.
    ///
    /// # Errors
    /// When the destination cannot be reached or refuses.
    async fn reset(&self, pipeline: &str) -> Result<Option<String>, Failure>;

    /// Counts characters that cannot be stored and are replaced, where that is allowed.
    fn replaced(&self) -> Option<Arc<AtomicU64>>;
}

/// Writes transactions under one epoch.
///
/// A transaction goes over one of a session's connections (`lanes`): [`begin`](Session::begin), changes,
/// [`end_statements`](Session::end_statements), [`commit`](Session::commit). Where there are several,
/// only one transaction is written at a time, and `commit` is called for a transaction when all before it
/// are confirmed. Nothing waits for confirmations but [`changed`](Session::changed).
pub(crate) trait Session: Loading {
    /// What tells whether its connections have fallen silent.
    fn ears(&self) -> Box<dyn Ears>;

    /// Whether changes of `id` can be written already.
    fn knows(&self, id: TableId) -> bool;

    /// Finds or makes the target table of a version, checks and claims it.
    ///
    /// # Errors
    /// `Halt` with everything that is wrong with it.
    async fn prepare(&mut self, id: TableId, version: &TableVersion) -> Result<(), Failure>;

    /// The tables whose changes are passed over.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    async fn held(&self) -> Result<Vec<HeldTable>, Failure>;

    /// Whether changes of a table are passed over.
    fn is_held(&self, id: TableId) -> bool;

    /// Exceptions that nobody has resolved, and rows that were forced in, where that may change without a
    /// word.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    async fn told(&self) -> Result<Option<(u64, u64)>, Failure>;

    /// What an operator should know and has not been told.
    fn take_notices(&mut self) -> Vec<String>;

    /// Remembers that a statement behind `at` met another number of rows than it was sent, so that no
    /// later start passes over it.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    async fn remember_lost(&self, at: Position, failure: &Failure) -> Result<(), Failure>;

    /// Remembers the start point chosen for this target.
    ///
    /// # Errors
    /// `Fenced` when the epoch is no longer ours.
    async fn store_start(&self, start: &str) -> Result<(), Failure>;

    /// Writes one row to a statement, or runs again.
    fn set_careful(&mut self, careful: bool);

    /// Connections that carry commits.
    fn lanes(&self) -> usize;

    /// Begins a transaction, on the connection whose last one was confirmed longest ago; gives its
    /// number.
    fn begin(&mut self) -> usize;

    /// Whether a change of a known table has to wait until every commit in flight is confirmed; it is
    /// taken for one of the commit in hand.
    ///
    /// # Errors
    /// When it does not say which row it is of.
    fn must_wait(&mut self, change: &Change<'_>, index: u64) -> Result<bool, Trouble>;

    /// The oldest commit in flight is confirmed.
    fn settled(&mut self);

    /// Whether changes up to several marks may be in one transaction. Not while a table is being
    /// loaded, and not where statements note which source transaction they are of.
    fn may_share(&self) -> bool;

    /// What follows leads to `mark`.
    fn go_to(&mut self, mark: &Mark);

    /// Writes a change of a known table; `index` is its number within the transaction. `false` when it
    /// is passed over: the rows of a load have it already, or will have.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must then not be committed.
    fn change(&mut self, change: &Change<'_>, index: u64) -> Result<bool, Trouble>;

    /// Whether enough has gathered to be handed to the socket.
    fn is_gathered(&self) -> bool;

    /// Ends the transaction's statements; its commit comes next, once the commits before it are
    /// confirmed or were sent on the same connection.
    ///
    /// # Errors
    /// When the last of them cannot be written.
    fn end_statements(&mut self) -> Result<(), Failure>;

    /// Appends checkpoint and commit of the transaction on connection `lane`.
    fn commit(&mut self, lane: usize, mark: &Mark, flushed: bool);

    /// Sets a transaction aside instead of its changes; [`Session::commit`] follows.
    fn set_aside(&mut self, refusal: &Refusal, mark: &Mark, first_offset: u64);

    /// Hands everything to the socket.
    ///
    /// # Errors
    /// The connection's first error.
    async fn flush(&mut self) -> Result<(), Trouble>;

    /// Waits until everything handed to the sockets is written, or a connection is dead.
    async fn written(&self);

    /// Commits confirmed.
    fn committed(&self) -> u64;

    /// A connection's first error, if there is one.
    fn check(&self) -> Result<(), Trouble>;

    /// Whether there is any table to look at.
    fn has_tables(&self) -> bool;

    /// Looks whether the tables that this session writes are what they were. `at` is where the target
    /// is, for what is written down.
    ///
    /// # Errors
    /// `Retry` when a table is to be held from now on, which the next session does; `Halt` for what
    /// cannot go on.
    async fn look_again(&mut self, at: Position) -> Result<(), Failure>;

    /// Waits until there may be more confirmations or an error, a chunk has come to the target, or what
    /// comes after a load is made.
    ///
    /// # Errors
    /// What a chunk came to.
    async fn changed(&mut self) -> Result<(), Failure>;
}

/// Writes full loads, within a session. Each record is stored with its mark as the checkpoint, by one
/// commit that is flushed when the call returns; nothing is in flight when one is written.
pub(crate) trait Loading {
    /// What is to be known of tables of loads that are not done.
    fn unfinished(&self) -> Vec<(Uuid, TableId, Handoff)>;

    /// Goes on with a table of a load that is not done.
    ///
    /// # Errors
    /// `Halt` when the target's table is not what it was.
    async fn resume(&mut self, load: Uuid, described: Described) -> Result<(), Failure>;

    /// Whether tables that lack their rows are held.
    fn holds(&self) -> bool;

    /// A table's load has failed, and the log has a later one: it is held until that begins.
    ///
    /// # Errors
    /// `Fenced` when the epoch is no longer ours.
    async fn give_up_for_later(&mut self, load: Uuid, described: Described) -> Result<(), Failure>;

    /// All tables are resumed: chunks that were pending are loaded, what is made after a load is made.
    fn resumed(&mut self, mark: Option<&Mark>);

    /// Whether this target follows a load.
    fn follows(&self, load: Uuid) -> bool;

    /// Whether this target has, or had, a load.
    fn knows_load(&self, load: Uuid) -> bool;

    /// Whether a table of a load is still loaded by it.
    fn loads_table(&self, load: Uuid, table: TableId) -> bool;

    /// Whether chunks are on their way to the target.
    fn awaits_chunks(&self) -> bool;

    /// Whether chunks of one of these tables are on their way to the target.
    fn is_pending(&self, of: impl Fn(TableId) -> bool) -> bool;

    /// The newest load, for people.
    fn load_status(&self) -> Option<LoadStatus>;

    /// A load begins. Gives what an operator should know.
    ///
    /// # Errors
    /// `Halt` with everything that is wrong with its tables, before anything is changed.
    async fn begin_load(
        &mut self,
        mark: &Mark,
        load: Uuid,
        reload: bool,
        described: &[Described],
    ) -> Result<Vec<String>, Failure>;

    /// A chunk is about to be read.
    ///
    /// # Errors
    /// `Halt` where no chunk can begin.
    async fn open_chunk(
        &mut self,
        mark: &Mark,
        load: Uuid,
        table: TableId,
        chunk: u32,
        from: Option<Position>,
        restart: bool,
    ) -> Result<(), Failure>;

    /// A chunk has been read: its rows are on their way once this returns.
    ///
    /// # Errors
    /// `Halt` for a chunk that has not begun.
    async fn end_chunk(&mut self, mark: &Mark, end: &ChunkEnd) -> Result<(), Failure>;

    /// Takes note of chunks that have come to the target; whether there were any since the last time.
    ///
    /// # Errors
    /// What one of them came to.
    fn take_chunks(&mut self) -> Result<bool, Failure>;

    /// All chunks of a table are in the target.
    ///
    /// # Errors
    /// `Halt` when the log has lost one.
    async fn table_read(
        &mut self,
        mark: &Mark,
        load: Uuid,
        table: TableId,
        chunks: u32,
        rows: u64,
    ) -> Result<(), Failure>;

    /// From here on the target equals the source: indexes and constraints are made beside the stream.
    ///
    /// # Errors
    /// `Halt` when a table has not been read, or a row of one is incomplete.
    async fn end_load(
        &mut self,
        mark: &Mark,
        load: Uuid,
        consistent: Position,
    ) -> Result<(), Failure>;

    /// Ends what is being made, at its next step.
    async fn stop_finishing(&mut self);

    /// Whether something is still being made.
    fn is_finishing(&self) -> bool;

    /// Takes note of what has been made; gives what an operator should know, once.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    async fn take_finished(&mut self) -> Result<Option<Vec<String>>, Failure>;

    /// Versions of the tables that lost objects while a table was loaded again.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    async fn unmade(&self) -> Result<Vec<TableId>, Failure>;

    /// What the log says of those, so that their objects can be made again.
    fn know_unmade(&mut self, tables: Vec<(TableId, Arc<TableVersion>, Arc<Definition>)>);

    /// An orderly end: sequences go past what the stream has written.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    async fn set_sequences(&self) -> Result<(), Failure>;
}

/// Tells whether a session's connections have fallen silent; usable while the session waits.
pub(crate) trait Ears: Send {
    /// The failure that a silence of at least `patience` shows as, while it lasts.
    fn silent_for(&self, patience: Duration) -> Option<Failure>;
}

/// Who attaches.
#[derive(Clone, Debug)]
pub(crate) struct Claimant {
    pub(crate) pipeline: String,
    pub(crate) apply: String,
    /// This run of this process.
    pub(crate) instance: Uuid,
    /// The highest epoch it has held; 0 before its first one.
    pub(crate) epoch: u64,
    /// It has seen a checkpoint in the target.
    pub(crate) applied: bool,
}

/// What a new session found.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Its epoch.
    pub(crate) epoch: u64,
    /// The checkpoint; none on a target without one.
    pub(crate) mark: Option<Mark>,
    /// The start point that was chosen for this target.
    pub(crate) start: Option<String>,
    /// Exceptions that nobody resolved.
    pub(crate) exceptions: u64,
    /// Rows that were forced in.
    pub(crate) forced: u64,
    /// What an operator should know.
    pub(crate) notices: Vec<String>,
}

/// A table of a load, as the log describes it.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) id: TableId,
    pub(crate) handoff: Handoff,
    pub(crate) version: Arc<TableVersion>,
    pub(crate) definition: Arc<Definition>,
}

/// Why a transaction or a connection came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The target refuses the transaction; the conflict policy decides.
    Refused(Refusal),
    /// Anything else.
    Failure(Failure),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Refused(refusal) => refusal.fmt(f),
            Trouble::Failure(failure) => failure.fmt(f),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failure(failure)
    }
}

/// Why the target refuses a transaction. Holds no row values.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The destination's own code (SQLSTATE), where it has one.
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    /// The changes that were refused, where they are known.
    pub(crate) changes: Option<Changes>,
    /// What to do under `halt`.
    pub(crate) remedy: &'static str,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        match &self.changes {
            Some(changes) => write!(f, " ({changes})"),
            None => Ok(()),
        }
    }
}

/// Changes of one table in one transaction, counted from 0 within it. Others may lie between.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// Source table.
    pub(crate) table: Arc<str>,
    /// What they do there, where all do the same.
    pub(crate) operation: Option<Operation>,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Changes { table, operation, first, last } = self;
        let operation = operation.map_or("change", word);
        match last > first {
            true => write!(f, "{operation} on {table}, changes {first} to {last}"),
            false => write!(f, "{operation} on {table}, change {first}"),
        }
    }
}

/// What an operation is called.
pub(crate) fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Truncate => "truncate",
    }
}
