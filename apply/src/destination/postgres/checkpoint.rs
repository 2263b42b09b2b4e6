//! The checkpoint: one row per pipeline in the target, committed with the data it speaks of.
//!
//! Why a transaction is applied exactly once, whatever crashes:
//!
//! - **The chain.** The last statement of every transaction sets `seq` from `prev` to `prev + 1` and
//!   the position, in the same commit as the data. It holds only if the row's `epoch` and `seq` are
//!   what this connection believes; otherwise it writes null into a column that takes none, which is
//!   an *error*. (Zero rows updated would be none, and the commit is already on the wire behind it.)
//!   A row that is missing raises too. So when one of many pipelined transactions fails, every later
//!   one fails at its chain, although the server goes on after each Sync: none can commit past a gap.
//! - **The epoch.** Every connection begins by raising `epoch`. The UPDATE waits for the row's lock,
//!   that is for whatever commit the connection before had in hand, and from then on that
//!   connection's chain is broken, in this process or another one. What it returns is the outcome of
//!   every commit whose reply was never read.
//! - **Who may.** A process takes over once, when it starts, and only after it has found that its log
//!   reaches the checkpoint (`reach`). A process that comes back from a lost connection, or from a
//!   broken chain, and finds another instance in the row has been replaced: it is fenced and ends, or
//!   the two would take turns for ever. An epoch *below* its own says something else: the target went
//!   back to an earlier state (a standby without the newest claim was promoted, a backup restored).
//!   Nobody took over, and it goes on from the checkpoint that is there, under an epoch above both.
//!
//! The epoch's own commit is flushed, and with it everything before it in the server's log: what it
//! returns survives a crash of the server. In `group` durability the commits after it are flushed at
//! every n-th one (`synchronous_commit` is on for that transaction alone); a crash of the server
//! takes the tail and its checkpoint back together, and the tail is applied again.
//!
//! What is done beside the stream, on the cold connection, takes the row's lock first ([`Fence`],
//! [`Chain::advance`]): the next epoch waits for it to end, and after that it finds another epoch and
//! does nothing.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use lockstep_common::Code;
use lockstep_common::{Failure, Position};
use tokio_postgres::{Client, Transaction};

use super::parameter::{put_int4, put_int8, put_text};
use super::pipe::{Note, Pipe};
use super::statement::{Kind, Shape, Sql};
use super::{define, error, trust};
use crate::destination::Claimant;
use crate::unit::Mark;

/// The schema's tables and functions; made when one is absent.
const SCHEMA: &str = include_str!("schema.sql");

/// Whether a schema that is there is this version's: every version's script brings an older one up
/// to itself.
const PRESENT: &str = "SELECT to_regclass('lockstep.checkpoint') IS NOT NULL \
    AND to_regclass('lockstep.tables') IS NOT NULL \
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('lockstep.tables') \
        AND attname = 'source_ref' AND NOT attisdropped) \
    AND to_regclass('lockstep.exceptions') IS NOT NULL \
    AND to_regclass('lockstep.load') IS NOT NULL \
    AND to_regclass('lockstep.load_table') IS NOT NULL \
    AND to_regclass('lockstep.load_chunk') IS NOT NULL \
    AND to_regclass('lockstep.load_object') IS NOT NULL \
    AND to_regprocedure('lockstep.claim_chunk(text,uuid,text,integer,bigint)') IS NOT NULL \
    AND to_regprocedure('lockstep.expect_rows(bigint,bigint)') IS NOT NULL \
    AND to_regprocedure('lockstep.expect_process(integer)') IS NOT NULL \
    AND to_regprocedure('lockstep.expect_placed(bigint,bigint,bigint)') IS NOT NULL \
    AND to_regprocedure('lockstep.note_absent(bigint,text,text,text,bigint)') IS NOT NULL \
    AND to_regclass('lockstep.forced') IS NOT NULL \
    AND to_regprocedure('lockstep.note_forced(text,text,text,text,bigint)') IS NOT NULL";

/// What the row said when the epoch was taken.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    /// None on a target without a checkpoint.
    pub(super) mark: Option<Mark>,
    /// The start point that was chosen for this target.
    pub(super) start: Option<String>,
}

/// Makes the `lockstep` schema where it is absent, and trusts one that is there as far as [`trust`] says.
///
/// # Errors
/// `Halt` without the right to, or where somebody else had a hand in it.
pub(super) async fn create_schema(client: &mut Client) -> Result<(), Failure> {
    let failed = |e: tokio_postgres::Error| {
        error::failure(Code::ApplySchema, "cannot create the schema `lockstep` in the target", &e)
    };
    trust::examine(client).await?;
    let present = client.query_one(PRESENT, &[]).await.map_err(failed)?;
    if present.get(0) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    // Two applies may come at the same moment; "if not exists" alone does not keep them apart.
    transaction
        .batch_execute("SELECT pg_advisory_xact_lock(hashtext('lockstep schema'))")
        .await
        .map_err(failed)?;
    transaction.batch_execute(SCHEMA).await.map_err(failed)?;
    transaction.batch_execute(define::SCHEMA).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    // "If not exists" passes over what somebody made meanwhile.
    trust::examine(client).await
}

/// Takes the next epoch for the connection whose server process is `backend_pid`.
///
/// # Errors
/// `Fenced` when another instance holds the target.
pub(super) async fn take_epoch(
    client: &Client,
    claimant: &Claimant,
    backend_pid: i32,
) -> Result<Taken, Failure> {
    let failed = |e: tokio_postgres::Error| {
        error::failure(Code::ApplyEpoch, "cannot take the checkpoint's next epoch", &e)
    };
    client
        .execute(
            "INSERT INTO lockstep.checkpoint (pipeline) VALUES ($1) ON CONFLICT DO NOTHING",
            &[&claimant.pipeline],
        )
        .await
        .map_err(failed)?;
    let found = client
        .query_one(
            "SELECT instance IS NOT DISTINCT FROM $2::text::uuid, epoch, position IS NULL \
             FROM lockstep.checkpoint WHERE pipeline = $1",
            &[&claimant.pipeline, &claimant.instance.to_string()],
        )
        .await
        .map_err(failed)?;
    let (own, fresh): (bool, bool) = (found.get(0), found.get(2));
    let epoch = unsigned(found.get(1));
    if claimant.epoch > 0 && epoch < claimant.epoch {
        if claimant.applied && fresh {
            return Err(gone(&claimant.pipeline));
        }
        tracing::warn!(
            epoch,
            own = claimant.epoch,
            "the target went back to an earlier state: going on from its checkpoint"
        );
    } else if claimant.epoch > 0 && !own {
        return Err(fenced(&claimant.pipeline));
    }
    end_predecessor(client, &claimant.pipeline).await;
    let row = client
        .query_opt(
            "UPDATE lockstep.checkpoint SET epoch = greatest(epoch, $5::bigint) + 1, apply = $2, \
                 instance = $3::text::uuid, backend_pid = $4, backend_start = \
                 (SELECT backend_start FROM pg_stat_activity WHERE pid = $4) \
             WHERE pipeline = $1 AND ($5::bigint = 0 OR instance = $3::text::uuid \
                 OR epoch < $5::bigint) \
             RETURNING epoch, seq, log_id::text, position, next_offset, \
                 (extract(epoch FROM commit_time) * 1000000)::bigint, start",
            &[
                &claimant.pipeline,
                &claimant.apply,
                &claimant.instance.to_string(),
                &backend_pid,
                &signed(claimant.epoch),
            ],
        )
        .await
        .map_err(failed)?
        .ok_or_else(|| fenced(&claimant.pipeline))?;
    Ok(Taken {
        epoch: unsigned(row.get(0)),
        seq: unsigned(row.get(1)),
        mark: mark(&row)?,
        start: row.get(6),
    })
}

/// The checkpoint, without taking anything.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn look(client: &Client, pipeline: &str) -> Result<Option<Mark>, Failure> {
    let row = client
        .query_opt(
            "SELECT epoch, seq, log_id::text, position, next_offset, \
             (extract(epoch FROM commit_time) * 1000000)::bigint \
             FROM lockstep.checkpoint WHERE pipeline = $1",
            &[&pipeline],
        )
        .await
        .map_err(|e| error::failure(Code::ApplyEpoch, "cannot read the checkpoint", &e))?;
    row.as_ref().map_or(Ok(None), mark)
}

/// Of columns 2 to 5.
fn mark(row: &tokio_postgres::Row) -> Result<Option<Mark>, Failure> {
    let (log_id, position): (Option<String>, Option<String>) = (row.get(2), row.get(3));
    let (Some(log_id), Some(position)) = (log_id, position) else { return Ok(None) };
    let unreadable = |what: &str| {
        Failure::new(
            Code::ApplyCheckpoint,
            format!("the checkpoint in the target has an unreadable {what}"),
        )
        .remedy("restore the row in lockstep.checkpoint")
    };
    Ok(Some(Mark {
        log_id: log_id.parse().map_err(|_| unreadable("log_id"))?,
        position: position.parse::<Position>().map_err(|_| unreadable("position"))?,
        next_offset: unsigned(row.get::<_, Option<i64>>(4).unwrap_or(0)),
        time: row.get::<_, Option<i64>>(5).unwrap_or(0).saturating_mul(10),
    }))
}

/// Ends the server process of the connection before, where that is allowed: it may hold locks that
/// only a dead client's timeout would release. Safe in any case: its chain is broken.
async fn end_predecessor(client: &Client, pipeline: &str) {
    let ended = client
        .execute(
            "SELECT pg_terminate_backend(a.pid) FROM lockstep.checkpoint c \
             JOIN pg_stat_activity a ON a.pid = c.backend_pid AND a.backend_start = c.backend_start \
             WHERE c.pipeline = $1",
            &[&pipeline],
        )
        .await;
    if let Err(error) = ended {
        tracing::warn!(error = %error::chain(&error), "the connection before cannot be ended");
    }
}

/// Remembers the start point that was chosen for this target.
///
/// # Errors
/// `Retry` when the epoch is no longer ours: the next connection sees whose it is.
pub(super) async fn store_start(
    client: &Client,
    pipeline: &str,
    epoch: u64,
    start: &str,
) -> Result<(), Failure> {
    let stored = client
        .execute(
            "UPDATE lockstep.checkpoint SET start = $3 WHERE pipeline = $1 AND epoch = $2",
            &[&pipeline, &signed(epoch), &start],
        )
        .await
        .map_err(|e| error::failure(Code::ApplyEpoch, "cannot store the start point", &e))?;
    if stored == 1 { Ok(()) } else { Err(displaced(pipeline)) }
}

/// Removes the checkpoint and what is kept of loads, keeping the epoch's count, so that an apply that
/// still runs is fenced. Gives the position that was removed.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn reset(client: &mut Client, pipeline: &str) -> Result<Option<String>, Failure> {
    let failed = |e: tokio_postgres::Error| {
        error::failure(Code::ApplyReset, "cannot remove the checkpoint", &e)
    };
    let transaction = client.transaction().await.map_err(failed)?;
    let row = transaction
        .query_opt("SELECT position FROM lockstep.checkpoint WHERE pipeline = $1", &[&pipeline])
        .await
        .map_err(failed)?;
    transaction
        .execute(
            "UPDATE lockstep.checkpoint SET epoch = epoch + 1, seq = seq + 1, log_id = NULL, \
             position = NULL, next_offset = NULL, commit_time = NULL, start = NULL, \
             instance = NULL WHERE pipeline = $1",
            &[&pipeline],
        )
        .await
        .map_err(failed)?;
    super::load::forget(&transaction, pipeline).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(row.and_then(|row| row.get(0)))
}

/// How many exceptions are open.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn open_exceptions(client: &Client, pipeline: &str) -> Result<u64, Failure> {
    let row = client
        .query_one(
            "SELECT count(*) FROM lockstep.exceptions WHERE pipeline = $1 AND resolved_at IS NULL",
            &[&pipeline],
        )
        .await
        .map_err(|e| error::failure(Code::ApplySchema, "cannot read lockstep.exceptions", &e))?;
    Ok(unsigned(row.get(0)))
}

/// How many rows `converge` has forced in since they were last loaded.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn forced(client: &Client, pipeline: &str) -> Result<u64, Failure> {
    let row = client
        .query_one(
            "SELECT coalesce(sum(rows), 0)::bigint FROM lockstep.forced WHERE pipeline = $1",
            &[&pipeline],
        )
        .await
        .map_err(|e| error::failure(Code::ApplySchema, "cannot read lockstep.forced", &e))?;
    Ok(unsigned(row.get(0)))
}

/// The checkpoint is not what this connection left. Whether another instance has it, or the target went
/// back, is seen by the next connection.
pub(super) fn displaced(pipeline: &str) -> Failure {
    Failure::new(
        Code::ApplyDisplaced,
        format!(
            "the checkpoint of pipeline {pipeline} in the target is not the one that this connection \
             left"
        ),
    )
}

/// A target that had a checkpoint has none.
fn gone(pipeline: &str) -> Failure {
    Failure::new(Code::ApplyCheckpointGone, format!(
            "the target has no checkpoint of pipeline {pipeline} any more: it was put back to before the \
             pipeline, or the row was removed"
        )).remedy("restore lockstep.checkpoint with the tables; or start again, which begins at `start` as on a \
         new target")
}

/// Another instance holds the target.
fn fenced(pipeline: &str) -> Failure {
    Failure::new(
        Code::ApplyFenced,
        format!("another apply took over pipeline {pipeline} on this target"),
    )
}

/// Holds off whoever takes the next epoch, for the rest of a transaction of the cold connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence<'a> {
    pub(super) pipeline: &'a str,
    pub(super) epoch: u64,
}

impl Fence<'_> {
    /// Has to be the transaction's first statement.
    ///
    /// # Errors
    /// `Retry` when the epoch is no longer ours: the next connection sees whose it is.
    pub(super) async fn hold(&self, transaction: &Transaction<'_>) -> Result<(), Failure> {
        let held = transaction
            .query_opt(
                "SELECT FROM lockstep.checkpoint WHERE pipeline = $1 AND epoch = $2 FOR UPDATE",
                &[&self.pipeline, &signed(self.epoch)],
            )
            .await
            .map_err(|e| error::failure(Code::ApplyEpoch, "cannot lock the checkpoint", &e))?;
        held.map(drop).ok_or_else(|| displaced(self.pipeline))
    }
}

/// The chain's next link: the state of one connection.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) pipeline: String,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    /// The session asks for every commit to be flushed.
    pub(super) each_flushed: bool,
}

impl Chain {
    /// Appends the checkpoint for `mark` and the commit, which no other server process than
    /// `backend_pid` takes; `flushed` asks the server to confirm only once the commit is on its disk.
    pub(super) fn commit(&mut self, mark: &Mark, flushed: bool, backend_pid: i32, pipe: &mut Pipe) {
        let note = Note::default();
        if flushed && !self.each_flushed {
            let name = pipe.prepare(&Shape::of(Kind::Flush), flush_sql);
            pipe.execute(name, 0, |_| (), note.clone()).expect("nothing is small");
        }
        let name = pipe.prepare(&Shape::of(Kind::Checkpoint), chain_sql);
        let parameters = |out: &mut BytesMut| {
            put_text(&self.pipeline, out);
            put_int8(self.epoch, out);
            put_int8(self.seq, out);
            out.put_u32(16);
            out.put_slice(mark.log_id.as_bytes());
            put_text(&mark.position.to_string(), out);
            put_int8(mark.next_offset, out);
            put_timestamp(mark.time, out);
            put_int4(backend_pid, out);
        };
        pipe.execute(name, 8, parameters, note).expect("a checkpoint is small");
        pipe.sync();
        self.seq += 1;
    }

    /// What keeps others out while this connection does something beside the stream.
    pub(super) fn fence(&self) -> Fence<'_> {
        Fence { pipeline: &self.pipeline, epoch: self.epoch }
    }

    /// Moves the checkpoint to `mark` within a transaction of the cold connection, as its first
    /// statement, while the stream has nothing in flight. [`Chain::advanced`] follows its commit.
    ///
    /// # Errors
    /// `Retry` when the epoch is no longer ours: the next connection sees whose it is.
    pub(super) async fn advance(
        &self,
        transaction: &Transaction<'_>,
        mark: &Mark,
    ) -> Result<(), Failure> {
        let advanced = transaction
            .execute(
                "UPDATE lockstep.checkpoint SET seq = seq + 1, log_id = $4::text::uuid, \
                 position = $5, next_offset = $6, \
                 commit_time = timestamptz 'epoch' + $7::bigint * interval '1 microsecond' \
                 WHERE pipeline = $1 AND epoch = $2 AND seq = $3",
                &[
                    &self.pipeline,
                    &signed(self.epoch),
                    &signed(self.seq),
                    &mark.log_id.to_string(),
                    &mark.position.to_string(),
                    &signed(mark.next_offset),
                    &mark.time.div_euclid(10),
                ],
            )
            .await
            .map_err(|e| error::failure(Code::ApplyCheckpoint, "cannot move the checkpoint", &e))?;
        if advanced == 1 { Ok(()) } else { Err(displaced(&self.pipeline)) }
    }

    /// The transaction of [`Chain::advance`] is committed.
    pub(super) fn advanced(&mut self) {
        self.seq += 1;
    }
}

fn chain_sql() -> Sql {
    // Functions are called only to fail.
    let text = "WITH advanced AS (UPDATE lockstep.checkpoint \
         SET seq = CASE WHEN epoch = $2 AND seq = $3 THEN $3 + 1 END, log_id = $4, \
         position = $5, next_offset = $6, commit_time = $7 WHERE pipeline = $1 RETURNING 1) \
         SELECT CASE WHEN pg_backend_pid() <> $8 THEN lockstep.expect_process($8) \
         ELSE lockstep.expect_rows(count(*), 1::int8) END FROM advanced \
         HAVING count(*) <> 1 OR pg_backend_pid() <> $8"
        .to_owned();
    // text, int8, int8, uuid, text, int8, timestamptz, int4
    Sql { text, parameters: vec![25, 20, 20, 2950, 25, 20, 1184, 23] }
}

fn flush_sql() -> Sql {
    let text = "SELECT set_config('synchronous_commit', 'on', true)".to_owned();
    Sql { text, parameters: Vec::new() }
}

/// PostgreSQL's epoch, 2000-01-01, in microseconds since 1970.
const EPOCH_2000: Duration = Duration::from_secs(10_957 * 86_400);

fn put_timestamp(ticks: i64, out: &mut BytesMut) {
    let epoch = i64::try_from(EPOCH_2000.as_micros()).expect("thirty years fit");
    out.put_u32(8);
    out.put_i64(ticks.div_euclid(10) - epoch);
}

/// A count from PostgreSQL's bigint, never negative in our tables.
pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count as PostgreSQL's bigint.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
