//! Before a table is loaded again: what would refuse the states that it passes through goes.
//!
//! One transaction drops the objects and notes them as unmade; [`super::finish()`] makes them again. A
//! crash before its commit leaves everything as it was, one after it finds nothing more to do.

use lockstep_common::Code;
use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Failure, TableId};
use tokio_postgres::{Client, Error, Transaction};

use super::super::checkpoint::Fence;
use super::super::error;
use super::LoadTable;
use super::objects::{LOCK, State};

/// Drops the secondary unique indexes of `tables` and the foreign keys from and to them, as far as
/// we made them.
///
/// # Errors
/// `Fenced` when the epoch is no longer ours, `Retry` when the target is away or a finish still runs, `Halt` when something of the user's hangs
/// on such an index.
pub(crate) async fn unmake(
    client: &mut Client,
    pipeline: &str,
    tables: &[LoadTable],
    fence: Fence<'_>,
) -> Result<(), Failure> {
    let failed = |e: Error| {
        error::failure(
            Code::ApplyUnmake,
            "cannot drop unique indexes and foreign keys of a table that is loaded again",
            &e,
        )
    };
    let transaction = client.transaction().await.map_err(failed)?;
    fence.hold(&transaction).await?;
    // Tried for, not waited for: see `finish`.
    let lock = format!("SELECT pg_try_advisory_xact_lock({LOCK})");
    if !transaction.query_one(&lock, &[&pipeline]).await.map_err(failed)?.get::<_, bool>(0) {
        let what = "indexes of an earlier load are still being made in the target";
        return Err(Failure::new(Code::ApplyUnmakeWaits, what));
    }
    let sources: Vec<String> = tables.iter().map(|table| table.version.name.to_string()).collect();
    drop_all(&transaction, pipeline, &sources).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

async fn drop_all(
    transaction: &Transaction<'_>,
    pipeline: &str,
    sources: &[String],
) -> Result<(), Error> {
    let tables = transaction
        .query(
            "SELECT format('%I.%I', schema_name, table_name) FROM lockstep.tables \
             WHERE pipeline = $1 AND source = ANY ($2)",
            &[&pipeline, &sources],
        )
        .await?;
    let names: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    let states = [State::Made.as_str(), State::Making.as_str()];
    // Foreign keys first: they hang on the indexes.
    let keys = transaction
        .query(
            "SELECT o.source, o.kind, o.object, o.schema_name, o.table_name, o.name \
             FROM lockstep.load_object o JOIN pg_constraint c ON c.conname = o.name AND \
             c.conrelid = to_regclass(format('%I.%I', o.schema_name, o.table_name))::oid \
             WHERE o.pipeline = $1 AND o.kind = 'foreign_key' AND o.state = ANY ($2) AND EXISTS \
             (SELECT FROM unnest($3::text[]) AS t WHERE to_regclass(t)::oid IN (c.conrelid, c.confrelid))",
            &[&pipeline, &states.as_slice(), &names],
        )
        .await?;
    let indexes = transaction
        .query(
            "SELECT o.source, o.kind, o.object, o.schema_name, o.table_name, o.name, \
             EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype = 'u') \
             FROM lockstep.load_object o JOIN pg_class k ON k.relname = o.name \
             JOIN pg_index i ON i.indexrelid = k.oid AND \
             i.indrelid = to_regclass(format('%I.%I', o.schema_name, o.table_name))::oid \
             WHERE o.pipeline = $1 AND o.kind IN ('index', 'unique') AND o.state = ANY ($2) AND \
             i.indisunique AND EXISTS \
             (SELECT FROM unnest($3::text[]) AS t WHERE to_regclass(t)::oid = i.indrelid)",
            &[&pipeline, &states.as_slice(), &names],
        )
        .await?;
    for row in keys.iter().chain(&indexes) {
        let (schema, table, name): (String, String, String) = (row.get(3), row.get(4), row.get(5));
        let (schema, name) = (quote_postgres(&schema), quote_postgres(&name));
        let constraint = row.len() == 6 || row.get(6);
        let sql = if constraint {
            format!("ALTER TABLE {schema}.{} DROP CONSTRAINT {name}", quote_postgres(&table))
        } else {
            format!("DROP INDEX {schema}.{name}")
        };
        transaction.batch_execute(&sql).await?;
        let (source, kind, object): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        transaction
            .execute(
                "UPDATE lockstep.load_object SET state = $5, noted_at = clock_timestamp() \
                 WHERE pipeline = $1 AND source = $2 AND kind = $3 AND object = $4",
                &[&pipeline, &source, &kind, &object, &State::Unmade.as_str()],
            )
            .await?;
    }
    Ok(())
}

/// Versions of the tables that have objects which went and are not made again.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(crate) async fn unmade(client: &Client, pipeline: &str) -> Result<Vec<TableId>, Failure> {
    let rows = client
        .query(
            "SELECT DISTINCT t.version FROM lockstep.load_object o \
             JOIN lockstep.tables t USING (pipeline, source) WHERE o.pipeline = $1 AND o.state = $2",
            &[&pipeline, &State::Unmade.as_str()],
        )
        .await
        .map_err(|e| error::failure(Code::ApplyFinish, "cannot read lockstep.load_object", &e))?;
    let ids = rows.iter().filter_map(|row| u64::from_str_radix(row.get(0), 16).ok());
    Ok(ids.map(TableId).collect())
}
