//! Which tables are wanted: all, or those of `source.tables`.
//!
//! A name of `source.tables` means the table that has it; or the one that the log has under it, should
//! it have been renamed; or the one that the server finds by it, as the database's collation compares
//! names.

use std::collections::HashSet;

use lockstep_common::Code;
use lockstep_common::model::name::quote_mssql as quote;
use lockstep_common::{Failure, TableName};

use super::connection::Lease;
use super::fields::Fields;
use super::instance::Instance;
use super::{SqlServer, catalog, forbidden, statements};

/// The instances of the wanted tables.
///
/// # Errors
/// `Halt` naming every configured table that has none.
pub async fn wanted(source: &SqlServer, lease: &mut Lease) -> Result<Vec<Instance>, Failure> {
    let instances = catalog::instances(lease).await?;
    selected(source, lease, instances).await
}

async fn selected(
    source: &SqlServer,
    lease: &mut Lease,
    instances: Vec<Instance>,
) -> Result<Vec<Instance>, Failure> {
    if source.tables.is_empty() {
        if instances.is_empty() {
            return Err(none(source, lease).await);
        }
        return Ok(instances);
    }
    let mut wanted = HashSet::new();
    let mut missing = Vec::new();
    for name in &source.tables {
        match find(source, lease, &instances, name).await? {
            Some(id) => drop(wanted.insert(id)),
            None => missing.push(name.as_str()),
        }
    }
    if !missing.is_empty() {
        return Err(absent(source, lease, &missing).await);
    }
    Ok(instances.into_iter().filter(|instance| wanted.contains(&instance.table_id)).collect())
}

/// The table that has an instance and is meant by `name`.
pub async fn find(
    source: &SqlServer,
    lease: &mut Lease,
    instances: &[Instance],
    name: &str,
) -> Result<Option<i32>, Failure> {
    let is = |table: &TableName| table.to_string() == *name;
    // First of all what the log has under the name: another table may have taken it since.
    let known = |i: &&Instance| source.names.get(&i64::from(i.table_id)).is_some_and(is);
    let found = instances.iter().find(known).or(instances.iter().find(|i| is(&i.table)));
    if let Some(instance) = found {
        return Ok(Some(instance.table_id));
    }
    for id in resolve(lease, name).await? {
        if instances.iter().any(|instance| instance.table_id == id) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The tables that the server finds by `schema.table`, whichever dot is the one between the two.
pub async fn resolve(lease: &mut Lease, name: &str) -> Result<Vec<i32>, Failure> {
    let mut found = Vec::new();
    for (dot, _) in name.match_indices('.') {
        let (schema, table) = (&name[..dot], &name[dot + 1..]);
        if schema.is_empty() || table.is_empty() {
            continue;
        }
        let quoted = format!("{}.{}", quote(schema), quote(table));
        let doing = "look for a table of source.tables";
        let results = lease.query(statements::OBJECT_ID, &[&quoted.as_str()], doing).await?;
        let row = results.iter().flatten().next();
        let id = row.map(|row| Fields::new(row, "OBJECT_ID()").number("object_id")).transpose()?;
        found.extend(id.flatten().and_then(|id| i32::try_from(id).ok()));
    }
    Ok(found)
}

/// The failure that there is nothing to read.
pub async fn none(source: &SqlServer, lease: &mut Lease) -> Failure {
    let mut message =
        format!("the login may read no capture instance of database {}", source.database);
    let forbidden = match source.forbidden.is_empty() {
        true => forbidden::list(lease, source.accesses.marks, &[]).await,
        false => source.forbidden.clone(),
    };
    forbidden.iter().for_each(|table| message.push_str(&format!("; {table}")));
    Failure::new(Code::SourceNoInstances, message).remedy(
        "enable tables with sys.sp_cdc_enable_table, and GRANT SELECT on them and on their change \
         tables",
    )
}

async fn absent(source: &SqlServer, lease: &mut Lease, missing: &[&str]) -> Failure {
    let mut message =
        format!("no capture instance that the login may read: {}", missing.join(", "));
    let prefix = format!("{}.", source.database.to_lowercase());
    for name in missing {
        if name.to_lowercase().starts_with(&prefix) {
            let rest = &name[prefix.len()..];
            message.push_str(&format!("; for {name} write schema.table: {rest}"));
        }
    }
    for table in forbidden::list(lease, source.accesses.marks, &[]).await {
        if missing.iter().any(|name| table.is(name)) {
            message.push_str(&format!("; {table}"));
        }
    }
    Failure::new(Code::SourceInstance, message).remedy(
        "enable the tables with sys.sp_cdc_enable_table, GRANT SELECT on them and on their change \
         tables, or take them out of source.tables (written schema.table)",
    )
}
