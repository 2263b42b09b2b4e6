//! Target tables: found or made, checked against the source's version, claimed.
//!
//! A table is checked before the first change of its version is written. Everything that is wrong
//! with it is said at once, each with what was expected.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::config::TriggerPolicy;
use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Failure, TableId, TableVersion};
use tokio_postgres::{Client, Row};

use super::define;
use super::error;
use super::hazards::Hazards;
use super::held;
use super::plan::{Naming, OutputColumn, TablePlan, TargetName};
use super::relation::{Relation, TargetColumn, source_name};
use super::types::PgType;

/// What becomes of a target table that does not have the rows that changes are made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// It is an error.
    Refuse,
    /// A table that is missing is made, empty.
    Create,
    /// Its changes are passed over until a load brings it in.
    Hold,
}

/// What was found of a target table.
pub(super) enum Prepared {
    /// It can be written.
    Ready(Relation),
    /// It is held, and why.
    Held(String),
}

/// Finds or makes the target table of `version`, checks and claims it.
///
/// # Errors
/// `Halt` with everything that is wrong with the table, or when another pipeline owns it.
pub(super) async fn prepare(
    client: &mut Client,
    pipeline: &str,
    naming: &Naming,
    absent: Absent,
    id: TableId,
    version: &TableVersion,
) -> Result<Prepared, Failure> {
    let name = naming.table(&version.name);
    let what = format!("cannot prepare target table {}", name.quoted());
    let failed = |e: tokio_postgres::Error| error::failure(Code::ApplyTable, &what, &e);
    let plan = TablePlan::new(naming, version, None);
    if !plan.unusable.is_empty() {
        return Err(unfit(version, &name, &plan.unusable));
    }
    claim(client, pipeline, &name, id, version).await?;
    let mut found = find(client, &name).await.map_err(failed)?;
    if absent == Absent::Hold {
        let oid = found.as_ref().map(|found| found.oid);
        if let Some(reason) = held::examine(client, pipeline, &name, version, oid).await? {
            return Ok(Prepared::Held(reason));
        }
    }
    if found.is_none() && absent == Absent::Create {
        let table = define::create_table(naming, &plan, version, None, None)
            .map_err(|wrong| unfit(version, &name, &wrong))?;
        let schema = define::create_schema(&name.schema);
        let transaction = client.transaction().await.map_err(failed)?;
        define::make_way(&transaction, &name).await.map_err(failed)?;
        transaction.batch_execute(&format!("{schema}; {table}")).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        tracing::info!(table = %version.name, target = %name.quoted(), "created the target table");
        found = find(client, &name).await.map_err(failed)?;
    }
    let Some(found) = found else {
        return Err(unfit(version, &name, &["it does not exist".to_owned()]));
    };
    let relation = check(naming, &name, id, version, &found)?;
    if let Some(what) = lacks_digits(&relation) {
        tracing::warn!(table = %version.name, "target table {}: {what}", name.quoted());
    }
    Ok(Prepared::Ready(relation))
}

/// Whether a target table is there and this pipeline's.
pub(super) async fn is_owned(
    client: &Client,
    pipeline: &str,
    name: &TargetName,
) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT to_regclass($4::text) IS NOT NULL AND EXISTS (SELECT FROM lockstep.tables \
             WHERE pipeline = $1 AND schema_name = $2 AND table_name = $3)",
            &[&pipeline, &name.schema, &name.table, &name.quoted()],
        )
        .await?;
    Ok(row.get(0))
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
            "INSERT INTO lockstep.tables AS t \
             (schema_name, table_name, pipeline, source, version, source_ref) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (schema_name, table_name) DO UPDATE \
             SET version = CASE WHEN t.pipeline = $3 AND t.source = $4 THEN $5 \
                           ELSE t.version END, \
                 source_ref = CASE WHEN t.pipeline = $3 AND t.source = $4 THEN $6 \
                              ELSE t.source_ref END \
             RETURNING t.pipeline, t.source",
            &[
                &name.schema,
                &name.table,
                &pipeline,
                &version.name.to_string(),
                &id.to_string(),
                &version.table_ref().to_string(),
            ],
        )
        .await
        .map_err(|e| error::failure(Code::ApplyTable, "cannot write lockstep.tables", &e))?;
    let (owner, source): (String, String) = (row.get(0), row.get(1));
    if owner == pipeline && source == version.name.to_string() {
        return Ok(());
    }
    if owner == pipeline {
        return Err(Failure::new(
            Code::ApplyTable,
            format!(
                "source tables {source} and {} both go to target table {}",
                version.name,
                name.quoted()
            ),
        )
        .remedy(
            "let each source table have a target table of its own: change `schemas` or `names`, or \
             delete the row in lockstep.tables once the other source table is gone",
        ));
    }
    Err(Failure::new(
        Code::ApplyClaimed,
        format!("target table {} belongs to pipeline {owner}", name.quoted()),
    )
    .remedy(
        "let each table have one pipeline: change `schemas`, or delete the row in lockstep.tables \
         once the other pipeline is gone",
    ))
}

/// Looks at every target table of the pipeline; gives what an operator should know.
///
/// # Errors
/// `Halt` with everything of them that loses or alters rows.
pub(super) async fn survey(
    client: &Client,
    pipeline: &str,
    replica: bool,
    policy: TriggerPolicy,
) -> Result<Vec<String>, Failure> {
    let found = hazards_of(client, pipeline)
        .await
        .map_err(|e| error::failure(Code::ApplyTable, "cannot look at the target's tables", &e))?;
    let mut wrong = Vec::new();
    let mut notices = Vec::new();
    for hazards in found.values() {
        wrong.extend(hazards.refused(replica, policy));
        notices.extend(hazards.notice(replica));
    }
    if wrong.is_empty() { Ok(notices) } else { Err(hazardous(&wrong)) }
}

/// Whether `lockstep.tables` is there and may be read.
pub(super) async fn has_claims(client: &Client) -> Result<bool, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = 'lockstep' AND c.relname = 'tables' \
             AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// What tables of the target have that may lose or alter rows, by their names; those that the pipeline
/// has claimed are left out.
pub(super) async fn hazards_of_unclaimed(
    client: &Client,
    pipeline: &str,
    names: &[TargetName],
) -> Result<BTreeMap<String, Hazards>, tokio_postgres::Error> {
    let claimed = match has_claims(client).await? {
        true => hazards_of(client, pipeline).await?,
        false => BTreeMap::new(),
    };
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let tables: Vec<&str> = names.iter().map(|name| name.table.as_str()).collect();
    let rows = client
        .query(
            "SELECT DISTINCT c.oid, format('%I.%I', n.nspname, c.relname) \
             FROM unnest($1::text[], $2::text[]) AS t(schema_name, table_name) \
             JOIN pg_namespace n ON n.nspname = t.schema_name \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name",
            &[&schemas, &tables],
        )
        .await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut found = Hazards::read(client, &oids).await?;
    let named = rows.iter().filter_map(|row| Some((row.get(1), found.remove(&row.get(0))?)));
    Ok(named.filter(|(name, _): &(String, _)| !claimed.contains_key(name)).collect())
}

/// What the target tables of a pipeline have that may lose or alter rows, by their names.
pub(super) async fn hazards_of(
    client: &Client,
    pipeline: &str,
) -> Result<BTreeMap<String, Hazards>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT c.oid, format('%I.%I', t.schema_name, t.table_name) FROM lockstep.tables t \
             JOIN pg_namespace n ON n.nspname = t.schema_name \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.table_name \
             WHERE t.pipeline = $1",
            &[&pipeline],
        )
        .await?;
    let tables: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let mut found = Hazards::read(client, &tables).await?;
    let named = rows.iter().filter_map(|row| Some((row.get(1), found.remove(&row.get(0))?)));
    Ok(named.collect())
}

/// Of tables that lose or alter rows.
pub(super) fn hazardous(wrong: &[String]) -> Failure {
    Failure::new(
        Code::ApplyTable,
        format!("target tables lose or alter what is written into them: {}", wrong.join("; ")),
    )
    .remedy(
        "do what is said of each (DROP RULE, or ALTER TABLE … DISABLE RULE, DISABLE TRIGGER; \
         `triggers = \"allow\"` lets triggers fire that are meant to), then start apply again; what was \
         written since the trigger or rule was made may be altered: `lockstep reload` of its table",
    )
}

/// A table as the target has it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) oid: u32,
    kind: String,
    missing_rights: Vec<String>,
    /// The role is, or is a member of, its owner.
    pub(super) owned: bool,
    /// What may lose or alter its rows.
    hazards: Hazards,
    columns: Vec<FoundColumn>,
    pub(super) indexes: Vec<UniqueIndex>,
}

impl Found {
    /// The plan for a version whose table it is.
    pub(super) fn plan(&self, naming: &Naming, version: &TableVersion) -> TablePlan {
        TablePlan::of_existing(naming, version, |derived| {
            self.columns.iter().any(|column| column.name == derived && column.takes_numbers())
        })
    }
}

impl FoundColumn {
    fn takes_numbers(&self) -> bool {
        let number = matches!(self.ty, Some(PgType::Int2 | PgType::Int4 | PgType::Int8));
        number && !self.generated && !self.always_identity
    }
}

#[derive(Debug)]
struct FoundColumn {
    name: String,
    ty: Option<PgType>,
    /// The type's number and that of its array.
    oids: (u32, u32),
    /// Of the type, where it belongs to an extension; quoted.
    schema: Option<Arc<str>>,
    /// A collation that is not deterministic, quoted with its schema.
    folding: Option<Arc<str>>,
    type_text: String,
    not_null: bool,
    has_default: bool,
    always_identity: bool,
    identity: bool,
    generated: bool,
}

/// An index that keeps rows out.
#[derive(Debug)]
pub(super) struct UniqueIndex {
    pub(super) name: String,
    /// Neither partial nor over expressions, and valid.
    plain: bool,
    unique: bool,
    columns: Vec<String>,
}

impl UniqueIndex {
    /// Whether it tells rows apart by `key`, which is in the order of its names.
    pub(super) fn is_key(&self, key: &[String]) -> bool {
        let mut names = self.columns.clone();
        names.sort();
        self.unique && self.plain && names == key
    }
}

/// Reads a table from the catalogue; none when nothing has the name.
pub(super) async fn find(
    client: &Client,
    name: &TargetName,
) -> Result<Option<Found>, tokio_postgres::Error> {
    let table = client
        .query_opt(
            "SELECT c.oid, c.relkind::text, ARRAY(SELECT r FROM unnest(ARRAY['SELECT', 'INSERT', \
             'UPDATE', 'DELETE']) AS r WHERE NOT has_table_privilege(c.oid, r)), \
             pg_has_role(c.relowner, 'USAGE') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind NOT IN ('i', 'I', 'S')",
            &[&name.schema, &name.table],
        )
        .await?;
    let Some(table) = table else { return Ok(None) };
    let oid: u32 = table.get(0);
    let columns = client
        .query(
            "SELECT a.attname::text, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), \
             a.attnotnull, a.atthasdef, a.attidentity::text, a.attgenerated::text, \
             t.typarray, t.typname::text, e.extname::text, quote_ident(n.nspname), \
             (SELECT quote_ident(m.nspname) || '.' || quote_ident(c.collname) FROM pg_collation c \
              JOIN pg_namespace m ON m.oid = c.collnamespace \
              WHERE c.oid = a.attcollation AND NOT c.collisdeterministic) \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             JOIN pg_namespace n ON n.oid = t.typnamespace \
             LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid \
             AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' \
             LEFT JOIN pg_extension e ON e.oid = d.refobjid \
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&oid],
        )
        .await?;
    let indexes = client
        .query(
            "SELECT i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL, i.indisunique, \
             ARRAY(SELECT a.attname::text FROM generate_series(0, i.indnkeyatts - 1) AS k \
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k] \
                   ORDER BY k), \
             (SELECT relname::text FROM pg_class WHERE oid = i.indexrelid) \
             FROM pg_index i WHERE i.indrelid = $1 AND (i.indisunique OR i.indisexclusion)",
            &[&oid],
        )
        .await?;
    Ok(Some(Found {
        oid,
        kind: table.get(1),
        missing_rights: table.get(2),
        owned: table.get(3),
        hazards: Hazards::of(client, oid).await?,
        columns: columns.iter().map(found_column).collect(),
        indexes: indexes
            .iter()
            .map(|row| UniqueIndex {
                plain: row.get(0),
                unique: row.get(1),
                columns: row.get(2),
                name: row.get(3),
            })
            .collect(),
    }))
}

fn found_column(row: &Row) -> FoundColumn {
    let identity: String = row.get(6);
    let (oid, typmod): (u32, i32) = (row.get(1), row.get(2));
    let extension: Option<&str> = row.get(10);
    let ty = match extension {
        None => PgType::from_catalog(oid, typmod),
        Some(extension) => PgType::of_extension(extension, row.get(9), typmod),
    };
    FoundColumn {
        name: row.get(0),
        ty,
        oids: ty.and_then(PgType::oids).unwrap_or((oid, row.get(8))),
        schema: extension.map(|_| row.get::<_, &str>(11).into()),
        folding: row.get::<_, Option<&str>>(12).map(Into::into),
        type_text: row.get(3),
        not_null: row.get(4),
        has_default: row.get(5),
        always_identity: identity == "a",
        identity: !identity.is_empty(),
        generated: !row.get::<_, String>(7).is_empty(),
    }
}

/// Holds the table against the version.
fn check(
    naming: &Naming,
    name: &TargetName,
    id: TableId,
    version: &TableVersion,
    found: &Found,
) -> Result<Relation, Failure> {
    fit(naming, name, id, version, found).map_err(|wrong| unfit(version, name, &wrong))
}

/// Holds the table against the version.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn fit(
    naming: &Naming,
    name: &TargetName,
    id: TableId,
    version: &TableVersion,
    found: &Found,
) -> Result<Relation, Vec<String>> {
    let plan = found.plan(naming, version);
    let mut wrong = plan.unknown_columns.clone();
    if !matches!(found.kind.as_str(), "r" | "p") {
        wrong.push("it is not a table".to_owned());
    }
    wrong.extend(found.hazards.wrong.iter().cloned());
    if !found.missing_rights.is_empty() {
        wrong.push(format!("the role lacks {} on it", found.missing_rights.join(", ")));
    }
    let mut columns = Vec::with_capacity(plan.columns.len());
    for (at, column) in plan.columns.iter().enumerate() {
        let target = found.columns.iter().find(|c| c.name == column.name);
        let ty = column_type(column, target);
        columns.push(match ty.map(|ty| ty.zip(target)) {
            Ok(None) => {
                if column.key {
                    wrong.push(format!("key column {} is computed", column.quoted()));
                }
                None
            }
            Ok(Some((ty, target))) => Some(TargetColumn {
                name: column.quoted(),
                form: column.form(ty),
                oids: target.oids,
                schema: target.schema.clone(),
                folding: target.folding.clone(),
                key: column.key,
                tells: column.tells,
                cut: plan.lacking.iter().any(|lacking| lacking.completes(at)),
                contested: false,
            }),
            Err(what) => {
                wrong.push(what);
                None
            }
        });
    }
    let planned = |extra: &FoundColumn| plan.columns.iter().any(|c| c.name == extra.name);
    for extra in found.columns.iter().filter(|c| !planned(c)) {
        if extra.not_null && !extra.has_default && !extra.identity && !extra.generated {
            wrong.push(format!(
                "column {} is NOT NULL without a default and the source does not have it",
                quote_postgres(&extra.name)
            ));
        }
    }
    check_key(&plan.key_names(), found, &mut columns, &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let (source, name) = (source_name(version), name.quoted());
    let hazards = found.hazards.clone();
    let projection = Arc::new(plan.projection());
    let lacking = plan.lacking.iter().map(OutputColumn::quoted).collect();
    Ok(Relation {
        id,
        oid: found.oid,
        source,
        name,
        columns,
        key: plan.key,
        hazards,
        projection,
        lacking,
    })
}

/// What a full load has against a table that its key cannot tell all rows of the source apart in.
pub(super) fn lacks_digits(relation: &Relation) -> Option<String> {
    if relation.lacking.is_empty() {
        return None;
    }
    let added: Vec<String> = relation
        .lacking
        .iter()
        .map(|name| format!("ADD COLUMN {name} smallint NOT NULL DEFAULT 0"))
        .collect();
    let key: Vec<&str> = relation.key.iter().map(|c| relation.column(*c).name.as_str()).collect();
    Some(format!(
        "its key has no place for the seventh fractional digit of {}: two keys of the source may be one \
         in it. ALTER TABLE {} {}, and put a primary key on ({}, {}) in place of the one on ({})",
        relation
            .columns
            .iter()
            .flatten()
            .filter(|column| column.cut)
            .map(|column| column.name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        relation.name,
        added.join(", "),
        key.join(", "),
        relation.lacking.join(", "),
        key.join(", "),
    ))
}

/// The type a column is written as; none when the target leaves a computed column out.
fn column_type(
    planned: &OutputColumn,
    target: Option<&FoundColumn>,
) -> Result<Option<PgType>, String> {
    let column = &planned.column;
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
    let expected = planned.ty.clone()?;
    match target.ty {
        Some(ty) if planned.may_be(ty, expected) => Ok(Some(ty)),
        found => {
            let what = format!(
                "column {quoted} has type {}, source type {} needs {expected}",
                target.type_text, column.source_type
            );
            Err(if (found, expected) == (Some(PgType::Geography), PgType::Geometry) {
                format!("{what}: ALTER COLUMN {quoted} TYPE geometry USING {quoted}::geometry")
            } else {
                what
            })
        }
    }
}

/// The target must tell rows apart as the source does; its other unique constraints are noted.
fn check_key(
    key: &[String],
    found: &Found,
    columns: &mut [Option<TargetColumn>],
    wrong: &mut Vec<String>,
) {
    if !key.is_empty() && !found.indexes.iter().any(|index| index.is_key(key)) {
        let names: Vec<String> = key.iter().map(|name| quote_postgres(name)).collect();
        wrong.push(format!("it has no primary key or unique index on ({})", names.join(", ")));
    }
    for index in found.indexes.iter().filter(|index| !index.is_key(key)) {
        for column in columns.iter_mut().flatten() {
            let named = index.columns.iter().any(|name| quote_postgres(name) == column.name);
            // An index over expressions or with a condition may depend on any column.
            column.contested |= named || !index.plain;
            column.tells |= named && index.unique;
        }
    }
}

fn unfit(version: &TableVersion, name: &TargetName, wrong: &[String]) -> Failure {
    Failure::new(
        Code::ApplyTable,
        format!(
            "target table {} does not fit source table {}: {}",
            name.quoted(),
            version.name,
            wrong.join("; ")
        ),
    )
    .remedy(
        "correct the target table and start apply again; or drop it, start apply again and run \
         `lockstep reload` for it (under the task `cdc`, `create_tables` makes it anew, empty)",
    )
}
