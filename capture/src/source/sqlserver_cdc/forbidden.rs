//! Captured tables that the login may not read: named, with what lets it read them.
//!
//! `sys.sp_cdc_help_change_data_capture` lists the instances whose captured columns the caller may
//! SELECT and whose gating role it is in, and says nothing of the others. `sys.tables` shows tables on
//! which the caller has any right at all, and whether they are tracked; `cdc.change_tables`, where the
//! login may read it, shows every instance (reference, 1.1 and 1.2).

use std::collections::BTreeMap;
use std::fmt;

use lockstep_common::model::name::quote_mssql as quote;
use lockstep_common::{Failure, TableName};

use super::catalog::Access;
use super::connection::Lease;
use super::fields::Fields;
use super::instance::Instance;
use super::{SqlServer, statements};

/// A captured table that the login may not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// It; none where the login may not even see its name.
    pub table: Option<TableName>,
    /// Its capture instance, if that is known.
    pub instance: Option<String>,
    /// `object_id` of the table.
    pub table_id: i32,
    /// What lets the login read it.
    pub grants: Vec<String>,
}

impl Forbidden {
    /// Whether it has this name.
    pub fn is(&self, name: &str) -> bool {
        self.table.as_ref().is_some_and(|t| t.to_string().to_lowercase() == name.to_lowercase())
    }

    /// It, for people.
    pub fn name(&self) -> String {
        match (&self.table, &self.instance) {
            (Some(table), _) => table.to_string(),
            (None, Some(instance)) => format!("the table of capture instance {instance}"),
            (None, None) => format!("the table with object id {}", self.table_id),
        }
    }

    /// What lets the login read it, in one line.
    pub fn fix(&self) -> String {
        self.grants.join("; ")
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is captured and the login may not read it: {}", self.name(), self.fix())
    }
}

/// The captured tables that are not among `listed`, as far as the login can see that they are there. A
/// login that may not ask is told nothing: that is no error.
pub async fn list(lease: &mut Lease, access: Access, listed: &[Instance]) -> Vec<Forbidden> {
    find(lease, access, listed).await.unwrap_or_default()
}

/// Parts `instances` into those that the login may read and the rest, which is named together with the
/// tables that are not even listed. With `source.tables` nothing is left out: reading says what is
/// missing. Nor is one asked for that is followed: there, too, reading says it.
///
/// # Errors
/// When the server cannot be asked.
pub async fn readable(
    source: &SqlServer,
    lease: &mut Lease,
    instances: Vec<Instance>,
) -> Result<(Vec<Instance>, Vec<Forbidden>), Failure> {
    if !source.tables.is_empty() {
        return Ok((instances, Vec::new()));
    }
    let mut forbidden = list(lease, source.accesses.marks, &instances).await;
    let mut refused: BTreeMap<i32, Forbidden> = BTreeMap::new();
    let followed = |i: &&Instance| source.followed.iter().any(|f| f.instance.is(i));
    let asked: Vec<&Instance> = instances.iter().filter(|i| !followed(i)).collect();
    for some in asked.chunks(AT_ONCE) {
        let names: Vec<&str> = some.iter().map(|instance| instance.name.as_str()).collect();
        let sql = statements::forbidden_changes(&names);
        let doing = "ask which change tables may be read";
        for row in lease.batch(&sql, doing).await?.iter().flatten() {
            let fields = Fields::new(row, "HAS_PERMS_BY_NAME()");
            let name = fields.name("capture_instance")?;
            let user = quote(&fields.text("user_name")?.unwrap_or_default());
            let Some(instance) = some.iter().find(|i| i.name == name) else { continue };
            let change_table = statements::change_table(&name);
            refused.insert(
                instance.change_table_id,
                Forbidden {
                    table: Some(instance.table.clone()),
                    instance: Some(name),
                    table_id: instance.table_id,
                    grants: vec![format!("GRANT SELECT ON {change_table} TO {user}")],
                },
            );
        }
    }
    let (refused_ones, readable): (Vec<_>, Vec<_>) =
        instances.into_iter().partition(|i| refused.contains_key(&i.change_table_id));
    for instance in refused_ones {
        // Another instance of the table may do.
        if !readable.iter().any(|other: &Instance| other.table_id == instance.table_id) {
            forbidden.extend(refused.remove(&instance.change_table_id));
        }
    }
    Ok((readable, forbidden))
}

/// Instances asked for in one statement.
const AT_ONCE: usize = 100;

async fn find(
    lease: &mut Lease,
    access: Access,
    listed: &[Instance],
) -> Result<Vec<Forbidden>, Failure> {
    let mut found: BTreeMap<i32, Forbidden> = BTreeMap::new();
    let is_listed = |id: i32| listed.iter().any(|instance| instance.table_id == id);
    if access == Access::Table {
        let doing = "look for instances that the login may not read";
        for row in lease.batch(statements::ALL_INSTANCES, doing).await?.iter().flatten() {
            let fields = Fields::new(row, "cdc.change_tables");
            let table_id: i32 = fields.integer("source_object_id")?;
            if !is_listed(table_id) {
                let forbidden = of_instance(&fields, table_id)?;
                found.entry(table_id).or_insert(forbidden);
            }
        }
        for forbidden in found.values_mut().filter(|forbidden| forbidden.grants.is_empty()) {
            columns(lease, forbidden).await?;
        }
    }
    let doing = "look for captured tables";
    for row in lease.batch(statements::TRACKED_TABLES, doing).await?.iter().flatten() {
        let fields = Fields::new(row, "sys.tables");
        let table_id: i32 = fields.integer("object_id")?;
        if is_listed(table_id) || found.contains_key(&table_id) {
            continue;
        }
        let table =
            TableName { schema: fields.name("schema_name")?, table: fields.name("table_name")? };
        let user = quote(&fields.text("user_name")?.unwrap_or_default());
        let on = format!("{}.{}", quote(&table.schema), quote(&table.table));
        let grants = vec![
            format!("GRANT SELECT ON {on} TO {user}"),
            "and add the user to the gating role of its capture instance, if it has one \
             (sys.sp_cdc_help_change_data_capture shows it to db_owner)"
                .to_owned(),
        ];
        found.insert(table_id, Forbidden { table: Some(table), instance: None, table_id, grants });
    }
    Ok(found.into_values().collect())
}

/// A row of [`statements::ALL_INSTANCES`]; no grants when only a column can be what is forbidden.
fn of_instance(fields: &Fields<'_>, table_id: i32) -> Result<Forbidden, Failure> {
    let instance = fields.name("capture_instance")?;
    let user = quote(&fields.text("user_name")?.unwrap_or_default());
    let names = (fields.text("schema_name")?, fields.text("table_name")?);
    let table = match names {
        (Some(schema), Some(table)) => Some(TableName { schema, table }),
        _ => None,
    };
    let mut grants = Vec::new();
    if fields.number("may_select")? != Some(1) {
        grants.push(match &table {
            Some(table) => {
                let on = format!("{}.{}", quote(&table.schema), quote(&table.table));
                format!("GRANT SELECT ON {on} TO {user}")
            }
            // The login may not see the name, and whoever grants may.
            None => statements::grant_on_source(&instance, &user),
        });
    }
    if fields.number("may_select_changes")? != Some(1) {
        grants.push(format!("GRANT SELECT ON {} TO {user}", statements::change_table(&instance)));
    }
    if let Some(role) = fields.text("role_name")?
        && fields.number("is_member")? != Some(1)
    {
        grants.push(format!("ALTER ROLE {} ADD MEMBER {user}", quote(&role)));
    }
    Ok(Forbidden { table, instance: Some(instance), table_id, grants })
}

/// The captured columns that are forbidden one by one.
async fn columns(lease: &mut Lease, forbidden: &mut Forbidden) -> Result<(), Failure> {
    let (Some(table), Some(instance)) = (&forbidden.table, &forbidden.instance) else {
        return Ok(());
    };
    let on = format!("{}.{}", quote(&table.schema), quote(&table.table));
    let parameters: [&dyn tiberius::ToSql; 2] = [&instance.as_str(), &on.as_str()];
    let doing = "look for columns that the login may not read";
    let results = lease.query(statements::FORBIDDEN_COLUMNS, &parameters, doing).await?;
    let mut names = Vec::new();
    let mut user = String::new();
    for row in results.iter().flatten() {
        let fields = Fields::new(row, "cdc.captured_columns");
        names.push(quote(&fields.name("column_name")?));
        user = quote(&fields.text("user_name")?.unwrap_or_default());
    }
    if !names.is_empty() {
        forbidden.grants.push(format!("GRANT SELECT ON {on} ({}) TO {user}", names.join(", ")));
    }
    Ok(())
}
