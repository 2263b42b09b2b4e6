//! What the records of a load leave in the target's own tables: each in one transaction of the cold
//! connection that begins by moving the checkpoint, while the stream has nothing in flight.

use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::model::load::Handoff;
use lockstep_common::model::record::ChunkEnd;
use lockstep_common::{Failure, Position, TableId};
use tokio_postgres::{Client, Row, Transaction};
use uuid::Uuid;

use super::super::checkpoint::{Chain, signed, unsigned};
use super::super::define::LoadTable;
use super::super::error;
use super::super::held;
use super::super::plan::TargetName;
use super::super::relation::Relation;
use super::book::{Stage, StoredLoad, StoredTable, TableStage};
use super::notes;
use crate::unit::Mark;

/// Where the snapshot stream has a chunk that is to be put into the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRange {
    pub(crate) load: Uuid,
    pub(crate) table: TableId,
    pub(crate) chunk: u32,
    pub(crate) partition: u32,
    pub(crate) offsets: (u64, u64),
    pub(crate) rows: u64,
}

/// A table of a load that begins.
#[derive(Debug)]
pub(in super::super) struct Beginning<'b> {
    pub(in super::super) table: &'b LoadTable,
    pub(in super::super) relation: &'b Relation,
    /// Where it goes.
    pub(in super::super) target: TargetName,
    /// Where its notes go.
    pub(in super::super) notes: Option<String>,
}

/// Writes down what one record says.
pub(in super::super) struct Recorder<'a> {
    pub(in super::super) client: &'a mut Client,
    pub(in super::super) chain: &'a mut Chain,
    pub(in super::super) mark: &'a Mark,
    /// Triggers and foreign keys are not to fire.
    pub(in super::super) replica: bool,
}

fn failed(e: &tokio_postgres::Error) -> Failure {
    error::failure(Code::ApplyLoad, "cannot write down the full load", e)
}

impl Recorder<'_> {
    /// Begins the record's transaction.
    async fn start(&mut self) -> Result<Transaction<'_>, Failure> {
        let transaction = self.client.transaction().await.map_err(|e| failed(&e))?;
        self.chain.advance(&transaction, self.mark).await?;
        Ok(transaction)
    }

    /// A load begins. Tables of an unfinished one go over to it. When it is a reload, they are emptied.
    pub(in super::super) async fn begin(
        &mut self,
        load: Uuid,
        reload: bool,
        tables: &[Beginning<'_>],
    ) -> Result<(), Failure> {
        let (pipeline, replica) = (self.chain.pipeline.clone(), self.replica);
        let transaction = self.start().await?;
        insert(&transaction, &pipeline, load, reload, tables).await.map_err(|e| failed(&e))?;
        for table in tables {
            held::follow(&transaction, &pipeline, &table.target, &table.relation.source).await?;
        }
        if reload {
            let relations: Vec<&Relation> = tables.iter().map(|table| table.relation).collect();
            empty(&transaction, replica, &relations, Seen::AsOfBefore).await?;
        }
        transaction.commit().await.map_err(|e| failed(&e))?;
        self.chain.advanced();
        Ok(())
    }

    /// A chunk is about to be read. `restart` gives the table whose rows and chunks of an attempt
    /// before go; `keep` says that it held rows of others.
    pub(in super::super) async fn open_chunk(
        &mut self,
        load: Uuid,
        table: TableId,
        chunk: u32,
        from: Option<Position>,
        restart: Option<(&Relation, bool)>,
    ) -> Result<(), Failure> {
        let (pipeline, replica) = (self.chain.pipeline.clone(), self.replica);
        let (load, version, number) = (load.to_string(), table.to_string(), integer(chunk));
        let mark = self.mark;
        let transaction = self.start().await?;
        if let Some((relation, keep)) = restart {
            // Waits for a chunk that an apply before this one may still have in hand.
            let rows = transaction
                .query(
                    "DELETE FROM lockstep.load_chunk WHERE pipeline = $1 \
                     AND load = $2::text::uuid AND version = $3 RETURNING state = 'done' AND rows > 0",
                    &[&pipeline, &load, &version],
                )
                .await
                .map_err(|e| failed(&e))?;
            let written = rows.iter().any(|row| row.get(0));
            if written && keep {
                return Err(cannot_restart(relation));
            }
            if written {
                let reload = "SELECT reload FROM lockstep.load WHERE pipeline = $1 \
                              AND load = $2::text::uuid";
                let row = transaction.query_one(reload, &[&pipeline, &load]).await;
                let seen = match row.map_err(|e| failed(&e))?.get(0) {
                    true => Seen::AsOfBefore,
                    false => Seen::Converging,
                };
                empty(&transaction, replica, &[relation], seen).await?;
            }
        }
        let opened = transaction
            .execute(
                "INSERT INTO lockstep.load_chunk AS c (pipeline, load, version, chunk, state) \
                 VALUES ($1, $2::text::uuid, $3, $4, 'open') \
                 ON CONFLICT (pipeline, load, version, chunk) DO UPDATE SET state = 'open' \
                 WHERE c.state = 'open'",
                &[&pipeline, &load, &version, &number],
            )
            .await
            .map_err(|e| failed(&e))?;
        if opened == 0 {
            return Err(disorder(mark, "begins a chunk that has ended"));
        }
        transaction
            .execute(
                "UPDATE lockstep.load_table SET started_at = coalesce(started_at, clock_timestamp()), \
                 from_position = $4 WHERE pipeline = $1 AND load = $2::text::uuid AND version = $3",
                &[&pipeline, &load, &version, &from.map(|from| from.to_string())],
            )
            .await
            .map_err(|e| failed(&e))?;
        transaction.commit().await.map_err(|e| failed(&e))?;
        self.chain.advanced();
        Ok(())
    }

    /// A chunk has been read.
    pub(in super::super) async fn end_chunk(&mut self, end: &ChunkEnd) -> Result<(), Failure> {
        let (pipeline, mark) = (self.chain.pipeline.clone(), self.mark);
        let transaction = self.start().await?;
        let (first, last) = end
            .offsets
            .map_or((None, None), |(first, last)| (Some(signed(first)), Some(signed(last))));
        let ended = transaction
            .execute(
                "UPDATE lockstep.load_chunk SET \
                 state = CASE WHEN $6::bigint IS NULL THEN 'done' ELSE 'pending' END, \
                 partition = $5, first_offset = $6, last_offset = $7, rows = $8 \
                 WHERE pipeline = $1 AND load = $2::text::uuid AND version = $3 AND chunk = $4 \
                 AND state = 'open'",
                &[
                    &pipeline,
                    &end.load.to_string(),
                    &end.table.to_string(),
                    &integer(end.chunk),
                    &integer(end.partition),
                    &first,
                    &last,
                    &signed(end.rows),
                ],
            )
            .await
            .map_err(|e| failed(&e))?;
        if ended == 0 {
            return Err(disorder(mark, "ends a chunk that has not begun"));
        }
        transaction.commit().await.map_err(|e| failed(&e))?;
        self.chain.advanced();
        Ok(())
    }

    /// All chunks of a table are in the target.
    pub(in super::super) async fn table_read(
        &mut self,
        load: Uuid,
        table: TableId,
        source: &str,
        chunks: u32,
        rows: u64,
    ) -> Result<(), Failure> {
        let pipeline = self.chain.pipeline.clone();
        let (load, version) = (load.to_string(), table.to_string());
        let transaction = self.start().await?;
        let found = transaction
            .query_one(
                "SELECT count(*), count(*) FILTER (WHERE state = 'done' AND chunk < $4), \
                 coalesce(sum(rows), 0)::bigint FROM lockstep.load_chunk \
                 WHERE pipeline = $1 AND load = $2::text::uuid AND version = $3",
                &[&pipeline, &load, &version, &integer(chunks)],
            )
            .await
            .map_err(|e| failed(&e))?;
        let all = unsigned(found.get(0));
        let (done, counted) = (unsigned(found.get(1)), unsigned(found.get(2)));
        if (all, done, counted) != (chunks.into(), chunks.into(), rows) {
            return Err(Failure::new(
                Code::ApplyLoadGap,
                format!(
                    "the log says that {source} was read in {chunks} chunks with {rows} rows; \
                     {done} of {all} chunks with {counted} rows have come"
                ),
            )
            .remedy(
                "restore the log's missing records, or load the table again (`lockstep reload`)",
            ));
        }
        transaction
            .execute(
                "UPDATE lockstep.load_table SET state = 'read', chunks = $4, rows = $5, \
                 ended_at = clock_timestamp() \
                 WHERE pipeline = $1 AND load = $2::text::uuid AND version = $3",
                &[&pipeline, &load, &version, &i64::from(chunks), &signed(rows)],
            )
            .await
            .map_err(|e| failed(&e))?;
        transaction.commit().await.map_err(|e| failed(&e))?;
        self.chain.advanced();
        Ok(())
    }

    /// From here on the target equals the source.
    pub(in super::super) async fn end(
        &mut self,
        load: Uuid,
        consistent: Position,
        noted: &[(&Relation, &str)],
    ) -> Result<(), Failure> {
        let (pipeline, load) = (self.chain.pipeline.clone(), load.to_string());
        let transaction = self.start().await?;
        long(&transaction).await?;
        for (relation, table) in noted {
            let sql = notes::incomplete(table, relation);
            let row = transaction.query_one(&sql, &[]).await.map_err(|e| failed(&e))?;
            if row.get(0) {
                return Err(incomplete(relation));
            }
        }
        for (_, table) in noted {
            let sql = format!("DROP TABLE IF EXISTS {table}");
            transaction.batch_execute(&sql).await.map_err(|e| failed(&e))?;
        }
        for sql in [
            "UPDATE lockstep.load SET state = 'consistent', consistent = $3, \
             consistent_at = clock_timestamp() WHERE pipeline = $1 AND load = $2::text::uuid",
            "UPDATE lockstep.load_table SET notes = NULL \
             WHERE pipeline = $1 AND load = $2::text::uuid AND $3::text IS NOT NULL",
        ] {
            transaction
                .execute(sql, &[&pipeline, &load, &consistent.to_string()])
                .await
                .map_err(|e| failed(&e))?;
        }
        transaction.commit().await.map_err(|e| failed(&e))?;
        self.chain.advanced();
        Ok(())
    }
}

/// A table's load comes to nothing: what was to come of it is forgotten.
pub(in super::super) async fn give_up(
    client: &mut Client,
    chain: &Chain,
    load: Uuid,
    table: TableId,
) -> Result<(), Failure> {
    let transaction = client.transaction().await.map_err(|e| failed(&e))?;
    chain.fence().hold(&transaction).await?;
    let (load, version) = (load.to_string(), table.to_string());
    let of = "pipeline = $1 AND load = $2::text::uuid AND version = $3";
    let notes = transaction
        .query(
            &format!("SELECT notes FROM lockstep.load_table WHERE {of} AND notes IS NOT NULL"),
            &[&chain.pipeline, &load, &version],
        )
        .await
        .map_err(|e| failed(&e))?;
    for row in &notes {
        let drop = format!("DROP TABLE IF EXISTS {}", row.get::<_, &str>(0));
        transaction.batch_execute(&drop).await.map_err(|e| failed(&e))?;
    }
    for sql in [
        format!("DELETE FROM lockstep.load_chunk WHERE {of}"),
        format!("UPDATE lockstep.load_table SET state = 'superseded', notes = NULL WHERE {of}"),
    ] {
        transaction
            .execute(&sql, &[&chain.pipeline, &load, &version])
            .await
            .map_err(|e| failed(&e))?;
    }
    transaction.commit().await.map_err(|e| failed(&e))
}

/// What is made after a load is made.
pub(in super::super) async fn finished(
    client: &mut Client,
    chain: &Chain,
    load: Uuid,
) -> Result<(), Failure> {
    let transaction = client.transaction().await.map_err(|e| failed(&e))?;
    chain.fence().hold(&transaction).await?;
    transaction
        .execute(
            "UPDATE lockstep.load SET state = 'done', ended_at = clock_timestamp() \
             WHERE pipeline = $1 AND load = $2::text::uuid AND state = 'consistent'",
            &[&chain.pipeline, &load.to_string()],
        )
        .await
        .map_err(|e| failed(&e))?;
    transaction.commit().await.map_err(|e| failed(&e))
}

async fn insert(
    transaction: &Transaction<'_>,
    pipeline: &str,
    load: Uuid,
    reload: bool,
    tables: &[Beginning<'_>],
) -> Result<(), tokio_postgres::Error> {
    let load = load.to_string();
    transaction
        .execute(
            "INSERT INTO lockstep.load (pipeline, load, reload, state) \
             VALUES ($1, $2::text::uuid, $3, 'loading')",
            &[&pipeline, &load, &reload],
        )
        .await?;
    for beginning in tables {
        let version = beginning.table.id.to_string();
        let source = &*beginning.relation.source;
        for sql in [
            "DELETE FROM lockstep.load_chunk c USING lockstep.load_table t WHERE t.pipeline = $1 \
             AND t.source = $2 AND c.pipeline = t.pipeline AND c.load = t.load \
             AND c.version = t.version AND t.state IN ('loading', 'read')",
            "UPDATE lockstep.load_table t SET state = 'superseded', notes = NULL \
             FROM lockstep.load l WHERE t.pipeline = $1 AND t.source = $2 \
             AND l.pipeline = t.pipeline AND l.load = t.load AND l.state <> 'done'",
            "UPDATE lockstep.forced SET rows = 0 WHERE pipeline = $1 AND source_table = $2",
        ] {
            transaction.execute(sql, &[&pipeline, &source]).await?;
        }
        transaction
            .execute(
                "INSERT INTO lockstep.load_table \
                 (pipeline, load, version, source, handoff, state, notes) \
                 VALUES ($1, $2::text::uuid, $3, $4, $5, 'loading', $6)",
                &[
                    &pipeline,
                    &load,
                    &version,
                    &source,
                    &beginning.table.handoff.as_str(),
                    &beginning.notes,
                ],
            )
            .await?;
        if let Some(notes) = &beginning.notes {
            transaction.batch_execute(&notes::create(notes, beginning.relation)).await?;
        }
    }
    Ok(())
}

/// What follows may take its time.
async fn long(transaction: &Transaction<'_>) -> Result<(), Failure> {
    transaction.batch_execute("SET LOCAL statement_timeout = 0").await.map_err(|e| failed(&e))
}

/// What a reader whose snapshot is older than this transaction may take a table for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// For what it was: it equalled the source.
    AsOfBefore,
    /// For one that is being loaded for the first time.
    Converging,
}

/// Takes all rows away. TRUNCATE takes them from older snapshots too, so that a table which readers
/// may rely on is emptied row by row; the others at once where the target allows it (a foreign key of
/// the user's, or a role that does not own the tables, do not).
async fn empty(
    transaction: &Transaction<'_>,
    replica: bool,
    relations: &[&Relation],
    seen: Seen,
) -> Result<(), Failure> {
    if relations.is_empty() {
        return Ok(());
    }
    long(transaction).await?;
    let names: Vec<&str> = relations.iter().map(|relation| relation.name.as_str()).collect();
    let mut sql = String::new();
    if seen == Seen::Converging {
        let point = "SAVEPOINT emptying";
        transaction.batch_execute(point).await.map_err(|e| failed(&e))?;
        let truncated = transaction.batch_execute(&format!("TRUNCATE {}", names.join(", "))).await;
        let Err(error) = truncated else { return Ok(()) };
        if error.code().is_none_or(|code| !matches!(code.code(), "0A000" | "42501")) {
            return Err(failed(&error));
        }
        sql.push_str("ROLLBACK TO SAVEPOINT emptying; ");
    }
    if replica {
        sql.push_str(
            "SELECT set_config('session_replication_role', 'replica', true) \
             WHERE current_setting('session_replication_role') <> 'replica'; ",
        );
    }
    for name in names {
        sql.push_str(&format!("DELETE FROM {name}; "));
    }
    transaction.batch_execute(&sql).await.map_err(|e| failed(&e))
}

/// Removes what is kept of a pipeline's loads.
pub(in super::super) async fn forget(
    transaction: &Transaction<'_>,
    pipeline: &str,
) -> Result<(), tokio_postgres::Error> {
    let rows = transaction
        .query(
            "SELECT notes FROM lockstep.load_table WHERE pipeline = $1 AND notes IS NOT NULL",
            &[&pipeline],
        )
        .await?;
    // Names that nobody else wrote there.
    let names = rows.iter().map(|row| row.get::<_, String>(0)).filter(|name| notes::is_name(name));
    for notes in names {
        transaction.batch_execute(&format!("DROP TABLE IF EXISTS {notes}")).await?;
    }
    for table in ["load_chunk", "load_table", "load"] {
        let sql = format!("DELETE FROM lockstep.{table} WHERE pipeline = $1");
        transaction.execute(&sql, &[&pipeline]).await?;
    }
    Ok(())
}

/// The loads that are not done, oldest first, and the newest one.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(in super::super) async fn stored(
    client: &Client,
    pipeline: &str,
) -> Result<Vec<StoredLoad>, Failure> {
    let unreadable = |what: &str| {
        Failure::new(
            Code::ApplyLoad,
            format!("the target's tables of full loads have an unreadable {what}"),
        )
        .remedy("restore the rows in lockstep.load, load_table and load_chunk")
    };
    let rows = client
        .query(
            "SELECT load::text, reload, state, consistent, \
             (extract(epoch FROM started_at) * 1000000)::bigint FROM lockstep.load l \
             WHERE pipeline = $1 AND (state <> 'done' OR started_at = (SELECT max(started_at) \
             FROM lockstep.load WHERE pipeline = $1)) ORDER BY started_at",
            &[&pipeline],
        )
        .await
        .map_err(|e| failed(&e))?;
    let mut loads = Vec::new();
    for row in rows {
        let id: String = row.get(0);
        let tables = client
            .query(TABLES, &[&pipeline, &id])
            .await
            .map_err(|e| failed(&e))?
            .iter()
            .map(stored_table)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| unreadable("table"))?;
        loads.push(StoredLoad {
            id: id.parse().map_err(|_| unreadable("load"))?,
            reload: row.get(1),
            stage: Stage::parse(row.get(2)).ok_or_else(|| unreadable("state"))?,
            consistent: position(row.get(3)).ok_or_else(|| unreadable("position"))?,
            started: ticks(row.get(4)),
            tables,
        });
    }
    Ok(loads)
}

const TABLES: &str = "SELECT t.version, t.source, t.handoff, t.state, t.from_position, t.notes, \
    t.chunks, (extract(epoch FROM t.started_at) * 1000000)::bigint, \
    (extract(epoch FROM t.ended_at) * 1000000)::bigint, \
    count(c.*) FILTER (WHERE c.state = 'done'), \
    coalesce(sum(c.rows) FILTER (WHERE c.state = 'done'), t.rows, 0)::bigint, \
    coalesce(sum(c.bytes) FILTER (WHERE c.state = 'done'), 0)::bigint \
    FROM lockstep.load_table t LEFT JOIN lockstep.load_chunk c \
    ON c.pipeline = t.pipeline AND c.load = t.load AND c.version = t.version \
    WHERE t.pipeline = $1 AND t.load = $2::text::uuid GROUP BY t.pipeline, t.load, t.version \
    ORDER BY t.source";

fn stored_table(row: &Row) -> Option<StoredTable> {
    let handoff = match row.get::<_, &str>(2) {
        "bracketed" => Handoff::Bracketed,
        "exact" => Handoff::Exact,
        _ => return None,
    };
    Some(StoredTable {
        id: u64::from_str_radix(row.get(0), 16).ok().map(TableId)?,
        source: row.get(1),
        handoff,
        stage: TableStage::parse(row.get(3))?,
        from: position(row.get(4))?,
        notes: row.get(5),
        chunks_total: row.get::<_, Option<i64>>(6).map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        started: ticks(row.get::<_, Option<i64>>(7).unwrap_or(0)),
        ended: row.get::<_, Option<i64>>(8).map(ticks),
        chunks: u32::try_from(row.get::<_, i64>(9)).unwrap_or(u32::MAX),
        rows: unsigned(row.get(10)),
        bytes: unsigned(row.get(11)),
    })
}

/// The chunks that have ended and are not in the target, in the order of the log.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(in super::super) async fn pending(
    client: &Client,
    pipeline: &str,
) -> Result<Vec<ChunkRange>, Failure> {
    let rows = client
        .query(
            "SELECT c.load::text, c.version, c.chunk, c.partition, c.first_offset, c.last_offset, \
             c.rows FROM lockstep.load_chunk c JOIN lockstep.load_table t \
             USING (pipeline, load, version) WHERE c.pipeline = $1 AND c.state = 'pending' \
             AND t.state = 'loading' ORDER BY c.version, c.chunk",
            &[&pipeline],
        )
        .await
        .map_err(|e| failed(&e))?;
    let range = |row: &Row| {
        Some(ChunkRange {
            load: row.get::<_, &str>(0).parse().ok()?,
            table: u64::from_str_radix(row.get(1), 16).ok().map(TableId)?,
            chunk: u32::try_from(row.get::<_, i32>(2)).ok()?,
            partition: u32::try_from(row.get::<_, Option<i32>>(3)?).ok()?,
            offsets: (
                unsigned(row.get::<_, Option<i64>>(4)?),
                unsigned(row.get::<_, Option<i64>>(5)?),
            ),
            rows: unsigned(row.get(6)),
        })
    };
    rows.iter().map(range).collect::<Option<_>>().ok_or_else(|| {
        Failure::new(Code::ApplyLoad, "lockstep.load_chunk has an unreadable row")
            .remedy("restore the rows in lockstep.load_chunk")
    })
}

/// Microseconds since 1970 as the units of times.
fn ticks(micros: i64) -> i64 {
    micros.saturating_mul(10)
}

/// The time now, in those units.
pub(in super::super) fn now() -> i64 {
    let since: Duration = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_nanos() / 100).unwrap_or(i64::MAX)
}

#[expect(clippy::option_option, reason = "absent and unreadable are different")]
fn position(text: Option<&str>) -> Option<Option<Position>> {
    match text {
        None => Some(None),
        Some(text) => text.parse().ok().map(Some),
    }
}

/// A number as PostgreSQL's integer; what is larger meets no row.
fn integer(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// A record of a load where none of its kind may be.
pub(in super::super) fn disorder(mark: &Mark, what: &str) -> Failure {
    Failure::new(
        Code::ApplyDisorder,
        format!(
            "the record of a full load at offset {} {what}",
            mark.next_offset.saturating_sub(1)
        ),
    )
    .remedy("something other than one fenced writer wrote to the log; restore it")
}

fn cannot_restart(relation: &Relation) -> Failure {
    Failure::new(
        Code::ApplyLoadRestart,
        format!(
            "{} is read anew, and rows of the attempt before are in {} among rows that were to be \
             kept",
            relation.source, relation.name
        ),
    )
    .remedy(
        "remove the rows that are not to be kept and load the table again, with `prepare` = \
         \"truncate\"",
    )
}

fn incomplete(relation: &Relation) -> Failure {
    Failure::new(
        Code::ApplyLoadIncomplete,
        format!(
            "a row of {} was given another key while the table was read, and its other columns \
             never came",
            relation.source
        ),
    )
    .remedy("load the table again (`lockstep reload`), if need be under the exact handoff")
}
