//! Tables whose changes are passed over: in a task that loads, a table comes into the target by a load
//! and by nothing else.
//!
//! A target table that is missing (dropped by hand, or never made because this target has not seen a
//! load of it), that is empty and another one than before, or that goes by another name now (`schemas`,
//! `names`) does not have the rows that changes are made to. It is never made empty and followed: it is
//! *held*. Its changes are passed over, everything else goes on, and the begin of the next load of it
//! makes the table and ends the hold.
//!
//! What a crash does: the hold is committed, flushed, before the first change is passed over, so that no
//! checkpoint is ever past a change of a table that is not known to be held. It ends in the commit that
//! writes down the load's begin, with the checkpoint. A table that is the same one under another name
//! (moved by hand) is followed under that name.

use lockstep_common::Code;
use lockstep_common::service::status::HeldTable;
use lockstep_common::{Failure, TableVersion};
use tokio_postgres::{Client, GenericClient};

use super::error;
use super::plan::TargetName;

fn failed(e: &tokio_postgres::Error) -> Failure {
    error::failure(Code::ApplyTable, "cannot write lockstep.tables", e)
}

/// What keeps a claimed target table from being followed, noted for good; none when nothing does.
/// `oid` is the table that was found.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn examine(
    client: &Client,
    pipeline: &str,
    name: &TargetName,
    version: &TableVersion,
    oid: Option<u32>,
) -> Result<Option<String>, Failure> {
    let source = version.name.to_string();
    let rows = client
        .query(
            "SELECT schema_name = $3 AND table_name = $4, held, relation, \
             format('%I.%I', schema_name, table_name) FROM lockstep.tables \
             WHERE pipeline = $1 AND source = $2",
            &[&pipeline, &source, &name.schema, &name.table],
        )
        .await
        .map_err(|e| failed(&e))?;
    let mut own = (None, None);
    let mut other: Option<(Option<u32>, String)> = None;
    for row in &rows {
        let (is_own, held): (bool, Option<String>) = (row.get(0), row.get(1));
        match (is_own, held) {
            (true, held) => own = (held, row.get(2)),
            (false, None) => other = Some((row.get(2), row.get(3))),
            (false, Some(_)) => {}
        }
    }
    let (held, relation): (Option<String>, Option<u32>) = own;
    if held.is_some() {
        return Ok(held);
    }
    let reason = match (oid, other) {
        (None, _) => Some(format!("target table {} does not exist", name.quoted())),
        (Some(oid), Some((before, _))) if before == Some(oid) => None,
        (Some(_), Some((_, before))) => {
            Some(format!("its rows are in {before}, not in {}", name.quoted()))
        }
        (Some(oid), None) if relation.is_some_and(|before| before != oid) => {
            let any = format!("SELECT EXISTS (SELECT FROM {})", name.quoted());
            let row = client.query_one(&any, &[]).await.map_err(|e| failed(&e))?;
            let what = format!("target table {} is a new one and empty", name.quoted());
            (!row.get::<_, bool>(0)).then_some(what)
        }
        (Some(_), None) => None,
    };
    match &reason {
        Some(reason) => hold(client, pipeline, &source, reason).await?,
        None => follow(client, pipeline, name, &source).await?,
    }
    Ok(reason)
}

/// Notes that a source table is held, under all names.
pub(super) async fn hold(
    client: &impl GenericClient,
    pipeline: &str,
    source: &str,
    reason: &str,
) -> Result<(), Failure> {
    let sql = "UPDATE lockstep.tables SET held = coalesce(held, $3) \
               WHERE pipeline = $1 AND source = $2";
    client.execute(sql, &[&pipeline, &source, &reason]).await.map_err(|e| failed(&e))?;
    tracing::warn!("{}", HeldTable::until_loaded(source, reason));
    Ok(())
}

/// Notes that a source table is followed in a target table, and in no other.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn follow(
    client: &impl GenericClient,
    pipeline: &str,
    name: &TargetName,
    source: &str,
) -> Result<(), Failure> {
    client
        .execute(
            "UPDATE lockstep.tables SET \
             held = CASE WHEN schema_name = $3 AND table_name = $4 THEN NULL \
                    ELSE coalesce(held, 'its rows are in ' || $5::text) END, \
             relation = CASE WHEN schema_name = $3 AND table_name = $4 \
                        THEN to_regclass($5::text)::oid ELSE relation END \
             WHERE pipeline = $1 AND source = $2",
            &[&pipeline, &source, &name.schema, &name.table, &name.quoted()],
        )
        .await
        .map(drop)
        .map_err(|e| failed(&e))
}

/// The tables that are held, for people.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn list(client: &Client, pipeline: &str) -> Result<Vec<HeldTable>, Failure> {
    let rows = client
        .query(
            "SELECT source, min(held) FROM lockstep.tables WHERE pipeline = $1 GROUP BY source \
             HAVING bool_and(held IS NOT NULL) ORDER BY source",
            &[&pipeline],
        )
        .await
        .map_err(|e| failed(&e))?;
    let held = |row: &tokio_postgres::Row| {
        HeldTable::until_loaded(row.get::<_, String>(0), row.get::<_, String>(1))
    };
    Ok(rows.iter().map(held).collect())
}
