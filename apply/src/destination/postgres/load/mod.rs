//! Full loads, as a target takes them: rows of chunks beside the stream, each exactly once.
//!
//! The stream's connection commits what the log's records of a load say together with its checkpoint;
//! loaders bring the rows.
//!
//! ```text
//! Begin       tables prepared, then one commit: rows in lockstep.load, load_table; notes; checkpoint
//! ChunkBegin  load_chunk `open`, checkpoint
//! ChunkEnd    load_chunk `pending`, checkpoint ──► a loader: claim, rows, `done`, in one commit
//! TableRead   no chunk is missing; load_table `read`, checkpoint
//! End         every table is read; load `consistent`, notes gone, checkpoint ──► indexes, constraints
//! ```
//!
//! Why the target is right from `consistent` on: `notes` argues it for tables whose rows are read
//! beside the stream (*bracketed*), given that nothing touches a table between the commit of a chunk's
//! end and that of its rows. The writer sees to that: before it sends a transaction that names the
//! table, `TableRead` of it, or `End`, it waits for the table's pending chunks. Rows of a table under
//! the *exact* handoff are all of one position: changes at or below it are in the rows and are passed
//! over; until all rows are there, every change is, for the source gives none in between (`TableRead`
//! lies at or below that position, or it is a halt).
//!
//! What a crash does:
//!
//! - before a commit of the stream's connection: the record is read again, preparing tables is done
//!   again, to the same end;
//! - behind ChunkEnd's commit: the chunk is found pending by the next session, which does it before
//!   anything touches its table;
//! - in a loader: the target undoes the chunk, or has it whole (`copy`);
//! - behind End's commit: what is made after it goes on where it was (`define`).
//!
//! What the next session does not know is which keys the stream has named since the load began: it
//! takes all of them for named.

mod book;
mod chunk;
mod copy;
mod finishing;
mod loader;
pub(super) mod notes;
mod record;
mod session;
mod staging;

use std::sync::Arc;

use lockstep_common::{Position, TableId};
use uuid::Uuid;

pub(super) use loader::Loaders;
pub(super) use notes::Notes;
pub(super) use record::{forget, pending, stored};
pub(super) use session::Loads;

use super::encode::Rules;
use super::relation::Relation;

/// How changes of a table are written now.
#[derive(Clone, Debug)]
pub(super) enum Regime {
    /// As they are.
    Stream,
    /// Its rows are being loaded beside them.
    Loading(Arc<Notes>),
    /// The rows are or will be of a position: changes up to there are passed over; all while none is
    /// known.
    Beyond(Option<Position>),
}

/// A chunk that is to be put into the target.
#[derive(Clone, Debug)]
pub(super) struct ChunkJob {
    pub(super) pipeline: Arc<str>,
    pub(super) epoch: u64,
    pub(super) log_id: Uuid,
    pub(super) load: Uuid,
    pub(super) table: TableId,
    pub(super) chunk: u32,
    /// Partition of the snapshot stream.
    pub(super) partition: u32,
    /// First and last offset there.
    pub(super) offsets: (u64, u64),
    pub(super) rows: u64,
    pub(super) relation: Arc<Relation>,
    /// Of a table that the stream writes beside the load.
    pub(super) notes: Option<Arc<Notes>>,
    /// Rows from before the load are in the target.
    pub(super) keep: bool,
    /// What is done with what PostgreSQL cannot store.
    pub(super) rules: Rules,
}

impl ChunkJob {
    /// Whether all its rows have to be merged.
    fn is_staged(&self) -> bool {
        let unknown = |notes: &Notes| notes.touched.keys().is_none();
        let keyed = !self.relation.key.is_empty();
        keyed && (self.keep || self.notes.as_deref().is_some_and(unknown))
    }

    /// Whether rows that are in the target already may belong there.
    fn may_stage(&self) -> bool {
        self.notes.is_some() && !self.relation.key.is_empty()
    }
}
