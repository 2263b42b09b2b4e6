//! Target tables: found or made, checked against the source's version, claimed.
//!
//! A table is checked before the first change of its version is written. Everything that is wrong
//! with it is said at once, each with what was expected.

use std::collections::BTreeMap;

use lockstep_common::config::NameRule;
use lockstep_common::name::quote_postgres;
use lockstep_common::{Column, Failure, TableId, TableVersion};
use tokio_postgres::{Client, Row};

use super::error;
use super::relation::{Relation, TargetColumn, source_name};
use super::types::PgType;

/// Where source tables go.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    /// Target schema by source schema; one not named keeps its name.
    pub(super) schemas: BTreeMap<String, String>,
    pub(super) rule: NameRule,
}

/// A target table's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TargetName {
    schema: String,
    table: String,
}

impl TargetName {
    fn quoted(&self) -> String {
        format!("{}.{}", quote_postgres(&self.schema), quote_postgres(&self.table))
    }
}

impl Naming {
    fn table(&self, version: &TableVersion) -> TargetName {
        let schema = match self.schemas.get(&version.name.schema) {
            Some(schema) => schema.clone(),
            None => self.carry(&version.name.schema),
        };
        TargetName { schema, table: self.carry(&version.name.table) }
    }

    fn carry(&self, name: &str) -> String {
        match self.rule {
            NameRule::Keep => name.to_owned(),
            NameRule::Lower => name.to_lowercase(),
        }
    }
}

/// Finds or makes the target table of `version`, checks and claims it.
///
/// # Errors
/// `Halt` with everything that is wrong with the table, or when another pipeline owns it.
pub(super) async fn prepare(
    client: &mut Client,
    pipeline: &str,
    naming: &Naming,
    create: bool,
    id: TableId,
    version: &TableVersion,
) -> Result<Relation, Failure> {
    let name = naming.table(version);
    let what = format!("cannot prepare target table {}", name.quoted());
    let failed = |e: tokio_postgres::Error| error::failure("apply.table", &what, &e);
    claim(client, pipeline, &name, id, version).await?;
    let mut found = find(client, &name).await.map_err(failed)?;
    if found.is_none() && create {
        let statements = create_table(naming, &name, version)?;
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute(&statements).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        tracing::info!(table = %version.name, target = %name.quoted(), "created the target table");
        found = find(client, &name).await.map_err(failed)?;
    }
    let Some(found) = found else {
        return Err(unfit(version, &name, &["it does not exist".to_owned()]));
    };
    check(naming, &name, id, version, &found)
}

/// Makes this pipeline the table's owner, for one source table.
async fn claim(
    client: &Client,
    pipeline: &str,
    name: &TargetName,
    id: TableId,
    version: &TableVersion,
) -> Result<(), Failure> {
    let row = client
        .query_one(
            "INSERT INTO lockstep.tables AS t (schema_name, table_name, pipeline, source, version) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (schema_name, table_name) DO UPDATE \
             SET version = CASE WHEN t.pipeline = $3 AND t.source = $4 THEN $5 \
                           ELSE t.version END \
             RETURNING t.pipeline, t.source",
            &[&name.schema, &name.table, &pipeline, &version.name.to_string(), &id.to_string()],
        )
        .await
        .map_err(|e| error::failure("apply.table", "cannot write lockstep.tables", &e))?;
    let (owner, source): (String, String) = (row.get(0), row.get(1));
    if owner == pipeline && source == version.name.to_string() {
        return Ok(());
    }
    if owner == pipeline {
        return Err(Failure::halt(
            "apply.table",
            format!(
                "source tables {source} and {} both go to target table {}",
                version.name,
                name.quoted()
            ),
            "let each source table have a target table of its own: change `schemas` or `names`, or \
             delete the row in lockstep.tables once the other source table is gone",
        ));
    }
    Err(Failure::halt(
        "apply.claimed",
        format!("target table {} belongs to pipeline {owner}", name.quoted()),
        "let each table have one pipeline: change `schemas`, or delete the row in lockstep.tables \
         once the other pipeline is gone",
    ))
}

/// `CREATE SCHEMA` and `CREATE TABLE` for a version.
///
/// # Errors
/// `Halt` naming the columns whose type has no place in PostgreSQL yet.
fn create_table(
    naming: &Naming,
    name: &TargetName,
    version: &TableVersion,
) -> Result<String, Failure> {
    let mut parts = Vec::new();
    let mut wrong = Vec::new();
    for (index, column) in version.columns.iter().enumerate() {
        if column.computed {
            continue;
        }
        let Some(ty) = PgType::for_column(column) else {
            wrong.push(unsupported(column));
            continue;
        };
        let key = version.key.iter().any(|k| usize::from(*k) == index);
        let null = if column.nullable && !key { "" } else { " NOT NULL" };
        parts.push(format!("{} {ty}{null}", quote_postgres(&naming.carry(&column.name))));
    }
    if !wrong.is_empty() {
        return Err(unfit(version, name, &wrong));
    }
    if !version.key.is_empty() {
        let key: Vec<String> = version
            .key
            .iter()
            .filter_map(|k| version.columns.get(usize::from(*k)))
            .map(|c| quote_postgres(&naming.carry(&c.name)))
            .collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    let schema = quote_postgres(&name.schema);
    // A role that may create in an existing schema need not be able to create one.
    let exists = lockstep_common::name::literal_postgres(&name.schema);
    let make_schema = lockstep_common::name::literal_postgres(&format!("CREATE SCHEMA {schema}"));
    Ok(format!(
        "DO $do$ BEGIN IF to_regnamespace({exists_quoted}) IS NULL THEN EXECUTE {make_schema}; \
         END IF; END $do$; CREATE TABLE {} ({})",
        name.quoted(),
        parts.join(", "),
        exists_quoted = format_args!("quote_ident({exists})"),
    ))
}

/// A table as the target has it.
#[derive(Debug, Default)]
struct Found {
    kind: String,
    missing_rights: Vec<String>,
    columns: Vec<FoundColumn>,
    indexes: Vec<UniqueIndex>,
}

#[derive(Debug)]
struct FoundColumn {
    name: String,
    ty: Option<PgType>,
    type_text: String,
    not_null: bool,
    has_default: bool,
    always_identity: bool,
    identity: bool,
    generated: bool,
}

#[derive(Debug)]
struct UniqueIndex {
    /// Neither partial nor over expressions, and valid.
    plain: bool,
    unique: bool,
    columns: Vec<String>,
}

async fn find(client: &Client, name: &TargetName) -> Result<Option<Found>, tokio_postgres::Error> {
    let table = client
        .query_opt(
            "SELECT c.oid, c.relkind::text, ARRAY(SELECT r FROM unnest(ARRAY['SELECT', 'INSERT', \
             'UPDATE', 'DELETE']) AS r WHERE NOT has_table_privilege(c.oid, r)) \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2",
            &[&name.schema, &name.table],
        )
        .await?;
    let Some(table) = table else { return Ok(None) };
    let oid: u32 = table.get(0);
    let columns = client
        .query(
            "SELECT attname::text, atttypid, atttypmod, format_type(atttypid, atttypmod), \
             attnotnull, atthasdef, attidentity::text, attgenerated::text FROM pg_attribute \
             WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&oid],
        )
        .await?;
    let indexes = client
        .query(
            "SELECT i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL, i.indisunique, \
             ARRAY(SELECT a.attname::text FROM generate_series(0, i.indnkeyatts - 1) AS k \
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] \
                   ORDER BY k) \
             FROM pg_index i WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)",
            &[&oid],
        )
        .await?;
    Ok(Some(Found {
        kind: table.get(1),
        missing_rights: table.get(2),
        columns: columns.iter().map(found_column).collect(),
        indexes: indexes
            .iter()
            .map(|row| UniqueIndex { plain: row.get(0), unique: row.get(1), columns: row.get(2) })
            .collect(),
    }))
}

fn found_column(row: &Row) -> FoundColumn {
    let identity: String = row.get(6);
    FoundColumn {
        name: row.get(0),
        ty: PgType::from_catalog(row.get(1), row.get(2)),
        type_text: row.get(3),
        not_null: row.get(4),
        has_default: row.get(5),
        always_identity: identity == "a",
        identity: !identity.is_empty(),
        generated: !row.get::<_, String>(7).is_empty(),
    }
}

/// Holds the table against the version and says everything that is wrong.
fn check(
    naming: &Naming,
    name: &TargetName,
    id: TableId,
    version: &TableVersion,
    found: &Found,
) -> Result<Relation, Failure> {
    let mut wrong = Vec::new();
    if !matches!(found.kind.as_str(), "r" | "p") {
        wrong.push("it is not a table".to_owned());
    }
    if !found.missing_rights.is_empty() {
        wrong.push(format!("the role lacks {} on it", found.missing_rights.join(", ")));
    }
    let key: Vec<usize> = version.key.iter().map(|k| usize::from(*k)).collect();
    let mut columns = Vec::with_capacity(version.columns.len());
    for (index, column) in version.columns.iter().enumerate() {
        let carried = naming.carry(&column.name);
        let target = found.columns.iter().find(|c| c.name == carried);
        columns.push(match column_type(column, target) {
            Ok(None) => None,
            Ok(Some(ty)) => Some(TargetColumn {
                name: quote_postgres(&carried),
                ty,
                key: key.contains(&index),
                contested: false,
            }),
            Err(what) => {
                wrong.push(what);
                None
            }
        });
    }
    let carried: Vec<String> = version.columns.iter().map(|c| naming.carry(&c.name)).collect();
    for extra in found.columns.iter().filter(|c| !carried.contains(&c.name)) {
        if extra.not_null && !extra.has_default && !extra.identity && !extra.generated {
            wrong.push(format!(
                "column {} is NOT NULL without a default and the source does not have it",
                quote_postgres(&extra.name)
            ));
        }
    }
    check_key(naming, version, found, &mut columns, &mut wrong);
    if !wrong.is_empty() {
        return Err(unfit(version, name, &wrong));
    }
    Ok(Relation { id, source: source_name(version), name: name.quoted(), columns, key })
}

/// The type a column is written as; none when the target leaves a computed column out.
fn column_type(column: &Column, target: Option<&FoundColumn>) -> Result<Option<PgType>, String> {
    let quoted = quote_postgres(&column.name);
    let Some(target) = target else {
        return if column.computed { Ok(None) } else { Err(format!("column {quoted} is missing")) };
    };
    if target.generated {
        return if column.computed {
            Ok(None)
        } else {
            Err(format!("column {quoted} is generated in the target"))
        };
    }
    if target.always_identity {
        return Err(format!("column {quoted} is GENERATED ALWAYS AS IDENTITY; make it BY DEFAULT"));
    }
    let Some(expected) = PgType::for_column(column) else { return Err(unsupported(column)) };
    match target.ty {
        Some(ty) if ty.holds(column) => Ok(Some(ty)),
        _ => Err(format!(
            "column {quoted} has type {}, source type {} needs {expected}",
            target.type_text, column.source_type
        )),
    }
}

/// The target must tell rows apart as the source does; its other unique constraints are noted.
fn check_key(
    naming: &Naming,
    version: &TableVersion,
    found: &Found,
    columns: &mut [Option<TargetColumn>],
    wrong: &mut Vec<String>,
) {
    let mut key: Vec<String> = version
        .key
        .iter()
        .filter_map(|k| version.columns.get(usize::from(*k)))
        .map(|c| naming.carry(&c.name))
        .collect();
    key.sort();
    let is_key = |index: &UniqueIndex| {
        let mut names = index.columns.clone();
        names.sort();
        index.unique && index.plain && names == key
    };
    if !key.is_empty() && !found.indexes.iter().any(is_key) {
        let names: Vec<String> = key.iter().map(|name| quote_postgres(name)).collect();
        wrong.push(format!("it has no primary key or unique index on ({})", names.join(", ")));
    }
    for index in found.indexes.iter().filter(|index| !is_key(index)) {
        for column in columns.iter_mut().flatten() {
            let named = index.columns.iter().any(|name| quote_postgres(name) == column.name);
            // An index over expressions or with a condition may depend on any column.
            column.contested |= named || !index.plain;
        }
    }
}

fn unsupported(column: &Column) -> String {
    format!(
        "column {} has source type {}, which apply does not write yet",
        quote_postgres(&column.name),
        column.source_type
    )
}

fn unfit(version: &TableVersion, name: &TargetName, wrong: &[String]) -> Failure {
    Failure::halt(
        "apply.table",
        format!(
            "target table {} does not fit source table {}: {}",
            name.quoted(),
            version.name,
            wrong.join("; ")
        ),
        "correct the target table, or drop it and let apply create it (`create_tables`)",
    )
}
