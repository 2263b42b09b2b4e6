//! Rows of `lockstep.load_object`: what came of each object, so that a restart goes on where it was.

use std::collections::HashMap;

use tokio_postgres::{Client, Error, GenericClient};
use uuid::Uuid;

use super::super::plan::TargetName;
use super::plan::Kind;

/// How far an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It may be there, whole or in part.
    Making,
    Made,
    LeftOut,
    /// The target refused it.
    Failed,
    /// It was made, and goes while its table is loaded again.
    Unmade,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            State::Making => "making",
            State::Made => "made",
            State::LeftOut => "left_out",
            State::Failed => "failed",
            State::Unmade => "unmade",
        }
    }

    fn parse(text: &str) -> Option<State> {
        [State::Making, State::Made, State::LeftOut, State::Failed, State::Unmade]
            .into_iter()
            .find(|state| state.as_str() == text)
    }

    /// Nothing remains to be done in the load that brought it here.
    pub(super) fn is_settled(self) -> bool {
        matches!(self, State::Made | State::LeftOut | State::Failed)
    }
}

/// An object as the target remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) source: String,
    pub(super) kind: Kind,
    /// Its name in the source.
    pub(super) object: String,
    pub(super) load: String,
    pub(super) table: TargetName,
    /// Its name in the target.
    pub(super) name: String,
    pub(super) state: State,
    /// From the plan, never from the table: what is stored there is for people to read.
    pub(super) statements: Vec<String>,
    pub(super) reason: Option<String>,
}

/// What tells objects apart.
pub(super) type Key = (String, Kind, String);

impl Row {
    pub(super) fn key(&self) -> Key {
        (self.source.clone(), self.kind, self.object.clone())
    }
}

/// All objects of a pipeline.
pub(super) async fn read(client: &Client, pipeline: &str) -> Result<HashMap<Key, Row>, Error> {
    let rows = client
        .query(
            "SELECT source, kind, object, load::text, schema_name, table_name, name, state, reason \
             FROM lockstep.load_object WHERE pipeline = $1",
            &[&pipeline],
        )
        .await?;
    let parse = |row: &tokio_postgres::Row| {
        Some(Row {
            source: row.get(0),
            kind: Kind::parse(row.get(1))?,
            object: row.get(2),
            load: row.get(3),
            table: TargetName { schema: row.get(4), table: row.get(5) },
            name: row.get(6),
            state: State::parse(row.get(7))?,
            statements: Vec::new(),
            reason: row.get(8),
        })
    };
    // What a newer version wrote is its business.
    Ok(rows.iter().filter_map(parse).map(|row| (row.key(), row)).collect())
}

/// Writes an object's row.
pub(super) async fn write(
    client: &impl GenericClient,
    pipeline: &str,
    load: Uuid,
    row: &Row,
) -> Result<(), Error> {
    client
        .execute(
            "INSERT INTO lockstep.load_object (pipeline, source, kind, object, load, schema_name, \
             table_name, name, state, statements, reason, noted_at) \
             VALUES ($1, $2, $3, $4, $5::text::uuid, $6, $7, $8, $9, $10, $11, clock_timestamp()) \
             ON CONFLICT (pipeline, source, kind, object) DO UPDATE SET load = excluded.load, \
             schema_name = excluded.schema_name, table_name = excluded.table_name, \
             name = excluded.name, state = excluded.state, statements = excluded.statements, \
             reason = excluded.reason, noted_at = excluded.noted_at",
            &[
                &pipeline,
                &row.source,
                &row.kind.as_str(),
                &row.object,
                &load.to_string(),
                &row.table.schema,
                &row.table.table,
                &row.name,
                &row.state.as_str(),
                &row.statements,
                &row.reason,
            ],
        )
        .await?;
    Ok(())
}

/// Notes that a column's default is ours.
pub(super) async fn own_default(
    client: &impl GenericClient,
    pipeline: &str,
    row: &Row,
) -> Result<(), Error> {
    client
        .execute(
            "UPDATE lockstep.load_object SET default_made = true \
             WHERE pipeline = $1 AND source = $2 AND kind = $3 AND object = $4",
            &[&pipeline, &row.source, &row.kind.as_str(), &row.object],
        )
        .await?;
    Ok(())
}

/// Keeps the finish of one pipeline from running twice at once, in this process or another.
pub(super) const LOCK: &str = "hashtext('lockstep finish'), hashtext($1)";
