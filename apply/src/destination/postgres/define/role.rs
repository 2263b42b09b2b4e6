//! What apply's role may do in the target.

use std::collections::HashMap;

use lockstep_common::model::name::quote_postgres;
use tokio_postgres::Client;

use super::super::plan::TargetName;

/// What the role may.
pub(super) struct Role {
    /// Schemas of the load that are there, and whether the role may create tables in them.
    pub(super) schemas: HashMap<String, bool>,
    /// It may create schemas.
    pub(super) creates_schemas: bool,
    /// It may keep triggers and foreign keys from firing.
    pub(super) replica: bool,
}

impl Role {
    pub(super) async fn read(
        client: &Client,
        names: &[TargetName],
    ) -> Result<Self, tokio_postgres::Error> {
        let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
        let rows = client
            .query(
                "SELECT nspname::text, has_schema_privilege(oid, 'CREATE') AND \
                 has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = ANY ($1)",
                &[&schemas],
            )
            .await?;
        Ok(Role {
            schemas: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
            creates_schemas: client
                .query_one("SELECT has_database_privilege(current_database(), 'CREATE')", &[])
                .await?
                .get(0),
            replica: may_be_replica(client).await?,
        })
    }
}

/// Whether the role may set `session_replication_role`.
pub(in super::super) async fn may_be_replica(
    client: &Client,
) -> Result<bool, tokio_postgres::Error> {
    // It may be set for the role already.
    let able: bool = client
        .query_one(
            "SELECT rolsuper OR current_setting('session_replication_role') = 'replica' \
             FROM pg_roles WHERE rolname = current_user",
            &[],
        )
        .await?
        .get(0);
    if able {
        return Ok(true);
    }
    // The function is there from PostgreSQL 15 on.
    let known: bool = client
        .query_one(
            "SELECT to_regprocedure('pg_catalog.has_parameter_privilege(text,text)') IS NOT NULL",
            &[],
        )
        .await?
        .get(0);
    if !known {
        return Ok(false);
    }
    let may = "SELECT has_parameter_privilege('session_replication_role', 'SET')";
    Ok(client.query_one(may, &[]).await?.get(0))
}

/// What the role lacks for making a table.
pub(super) fn create_rights(role: &Role, name: &TargetName) -> Option<String> {
    let schema = quote_postgres(&name.schema);
    match role.schemas.get(&name.schema) {
        Some(true) => None,
        Some(false) => Some(format!("the role lacks USAGE and CREATE on schema {schema}")),
        None if role.creates_schemas => None,
        None => Some(format!(
            "schema {schema} does not exist, and the role lacks CREATE on the database"
        )),
    }
}
