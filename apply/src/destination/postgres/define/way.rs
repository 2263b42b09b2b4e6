//! Names that tables, indexes and sequences of a schema share.
//!
//! PostgreSQL calls the key of `t` `t_pkey` and its sequence `t_id_seq`; the source may have tables of
//! those names, which are met later. What Lockstep made for another table then gets another name.

use lockstep_common::model::name::quote_postgres;
use tokio_postgres::{Error, GenericClient};

use super::super::plan::TargetName;
use super::plan::other_index_name;

/// Gives an index or a sequence of a table of ours another name, where a table is to have its name.
pub(crate) async fn make_way(client: &impl GenericClient, name: &TargetName) -> Result<(), Error> {
    let found = client
        .query_opt(
            "SELECT c.relkind = 'S', t.relname::text FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_index i ON i.indexrelid = c.oid \
             LEFT JOIN pg_depend d ON c.relkind = 'S' AND d.classid = 'pg_class'::regclass \
             AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') \
             JOIN pg_class t ON t.oid = coalesce(i.indrelid, d.refobjid) \
             JOIN lockstep.tables l ON l.schema_name = n.nspname AND l.table_name = t.relname \
             WHERE n.nspname = $1 AND c.relname = $2 AND pg_has_role(c.relowner, 'USAGE')",
            &[&name.schema, &name.table],
        )
        .await?;
    let Some(found) = found else { return Ok(()) };
    let (sequence, table): (bool, &str) = (found.get(0), found.get(1));
    let new = other_index_name(&name.schema, table, &name.table);
    let kind = if sequence { "SEQUENCE" } else { "INDEX" };
    let sql = format!("ALTER {kind} {} RENAME TO {}", name.quoted(), quote_postgres(&new));
    client.batch_execute(&sql).await?;
    client
        .execute(
            "UPDATE lockstep.load_object SET name = $3 \
             WHERE schema_name = $1 AND name = $2 AND kind IN ('index', 'unique')",
            &[&name.schema, &name.table, &new],
        )
        .await?;
    Ok(())
}
