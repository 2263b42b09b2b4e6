//! Before the load: every target table is looked at, everything that is wrong with any of them is
//! said at once, and only when nothing is wrong is anything changed, in one transaction.
//!
//! What a crash does: before that transaction's commit, nothing happened; after it, the tables are as
//! the mode wants them and the load has not begun. Preparing them again finds them empty (`create`),
//! empties or drops what is empty (`truncate`, `drop_and_create`), or leaves them (`keep`).
//!
//! A bracketed load passes through states that the source never had. A unique index that the target
//! has beside the key's would refuse them, and so would a foreign key that fires: such a target is
//! refused beforehand. What [`mod@super::finish`] makes later is another matter.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use lockstep_common::Code;
use lockstep_common::config::Prepare;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::Handoff;
use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Failure, TableVersion};
use tokio_postgres::{Client, GenericClient, Transaction};

use super::super::catalog::{self, Found};
use super::super::checkpoint::Fence;
use super::super::error::{self, Class, ServerError};
use super::super::plan::{TablePlan, TargetName, telling};
use super::super::relation::Relation;
use super::plan::{Planned, contested, create_schema, create_table, key_names};
use super::role::{Role, create_rights};
use super::way::make_way;
use super::{Design, LoadTable};

/// The target's tables, ready for the load.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// In the order of the load's tables.
    pub(crate) relations: Vec<Relation>,
    /// What an operator should know.
    pub(crate) notices: Vec<String>,
}

/// Checks all tables of a load and makes them ready.
///
/// # Errors
/// `Halt` with everything that is wrong with every table, `Fenced` when the epoch is no longer ours;
/// nothing was changed then. `Retry` when the
/// target is away, or a table is locked for too long.
pub(crate) async fn prepare(
    client: &mut Client,
    pipeline: &str,
    design: &Design,
    tables: &[LoadTable],
    fence: Fence<'_>,
) -> Result<Prepared, Failure> {
    let survey = survey(client, pipeline, design, tables).await.map_err(|e| {
        error::failure(Code::ApplyPrepare, "cannot look at the target's tables", &e)
    })?;
    if !survey.wrong.is_empty() {
        return Err(unready(&survey.wrong));
    }
    let failed = |e| error::failure(Code::ApplyPrepare, "cannot prepare the target's tables", &e);
    let transaction = client.transaction().await.map_err(failed)?;
    fence.hold(&transaction).await?;
    // A lock that is not free in time is another matter than a table that takes its time.
    transaction.batch_execute("SET LOCAL statement_timeout = 0").await.map_err(failed)?;
    let notices = change(&transaction, pipeline, design, tables, &survey).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    for (index, table) in tables.iter().enumerate() {
        if !survey.present.contains(&index) {
            let target = design.naming.table(&table.version.name).quoted();
            tracing::info!(table = %table.version.name, %target, "created the target table");
        }
    }
    let mut relations = Vec::with_capacity(tables.len());
    let mut wrong = Wrong::new();
    for table in tables {
        let name = design.naming.table(&table.version.name);
        let found = catalog::find(client, &name).await.map_err(|e| {
            error::failure(Code::ApplyPrepare, "cannot look at the target's tables", &e)
        })?;
        let fit = match found {
            None => Err(vec!["it is gone again".to_owned()]),
            Some(found) => catalog::fit(&design.naming, &name, table.id, &table.version, &found),
        };
        match fit {
            Ok(relation) => relations.push(with_contested(relation, table)),
            Err(found) => note(&mut wrong, &table.version, found),
        }
    }
    if !wrong.is_empty() {
        return Err(unready(&wrong));
    }
    Ok(Prepared { relations, notices: survey.notices.into_iter().chain(notices).collect() })
}

/// What is wrong, by source table.
type Wrong = BTreeMap<String, Vec<String>>;

/// What stands there for what is wrong with no table.
const CONFIGURATION: &str = "configuration";

fn note(wrong: &mut Wrong, version: &TableVersion, found: Vec<String>) {
    if !found.is_empty() {
        wrong.entry(version.name.to_string()).or_default().extend(found);
    }
}

fn unready(wrong: &Wrong) -> Failure {
    let mut message = String::from("the target is not ready for the load, and was not changed:");
    for (table, found) in wrong {
        let _ = write!(message, " [{table}] {};", found.join("; "));
    }
    message.pop();
    Failure::new(Code::ApplyPrepare, message).remedy(
        "correct what is listed; `prepare` says what is done with tables that are there (`create`, \
         `truncate`, `drop_and_create`, `keep`)",
    )
}

/// What a load of `tables` would find wrong, by source table; nothing is changed.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(crate) async fn unready_tables(
    client: &Client,
    pipeline: &str,
    design: &Design,
    tables: &[LoadTable],
) -> Result<Wrong, tokio_postgres::Error> {
    let mut wrong = survey(client, pipeline, design, tables).await?.wrong;
    // Of the configuration, not of a table.
    wrong.remove(CONFIGURATION);
    Ok(wrong)
}

/// What the target has.
#[derive(Default)]
struct Survey {
    wrong: Wrong,
    notices: Vec<String>,
    /// Those of the load's tables that are there, by their number in it.
    present: BTreeSet<usize>,
}

async fn survey(
    client: &Client,
    pipeline: &str,
    design: &Design,
    tables: &[LoadTable],
) -> Result<Survey, tokio_postgres::Error> {
    let mut survey = Survey::default();
    let names: Vec<TargetName> =
        tables.iter().map(|table| design.naming.table(&table.version.name)).collect();
    let role = Role::read(client, &names).await?;
    let sources: Vec<_> = tables.iter().map(|table| &table.version.name).collect();
    let strangers = design.naming.types.absent_tables(&sources);
    if !strangers.is_empty() {
        survey.wrong.insert(CONFIGURATION.to_owned(), strangers);
    }
    let mut taken: HashMap<(&str, &str), usize> = HashMap::new();
    let mut oids = Vec::new();
    let claims = catalog::has_claims(client).await?;
    for (index, (table, name)) in tables.iter().zip(&names).enumerate() {
        let plan = table.plan(&design.naming);
        let mut wrong = plan.unusable.clone();
        if let Some(first) = taken.insert((&name.schema, &name.table), index) {
            let first = &tables[first].version.name;
            wrong.push(format!("{first} goes to target table {} too", name.quoted()));
        }
        if claims {
            wrong.extend(claimed(client, pipeline, name, &table.version).await?);
        }
        let found = catalog::find(client, name).await?;
        match &found {
            None => wrong.extend(absent(design, &role, &plan)),
            Some(found) => {
                survey.present.insert(index);
                oids.push(found.oid);
                wrong.extend(present(client, design, &role, &plan, table, found).await?);
            }
        }
        note(&mut survey.wrong, &table.version, wrong);
    }
    if matches!(design.prepare, Prepare::Truncate | Prepare::DropAndCreate) {
        for &index in &survey.present {
            let wrong = dependents(client, design, &names[index], &oids).await?;
            note(&mut survey.wrong, &tables[index].version, wrong);
        }
    }
    if !role.replica && survey.wrong.is_empty() && design.constraints {
        survey.notices.push(
            "the role may not set session_replication_role: foreign keys that would act upon what \
             apply writes will not be made (PostgreSQL 15: GRANT SET ON PARAMETER)"
                .to_owned(),
        );
    }
    Ok(survey)
}

/// A target table that belongs to somebody else, or to another source table.
async fn claimed(
    client: &Client,
    pipeline: &str,
    name: &TargetName,
    version: &TableVersion,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "SELECT pipeline, source FROM lockstep.tables \
             WHERE schema_name = $1 AND table_name = $2",
            &[&name.schema, &name.table],
        )
        .await?;
    let Some(row) = row else { return Ok(Vec::new()) };
    let (owner, source): (String, String) = (row.get(0), row.get(1));
    let row_of = "or delete its row in lockstep.tables once that one is gone";
    Ok(if owner != pipeline {
        vec![format!(
            "target table {} belongs to pipeline {owner}: change `schemas`, {row_of}",
            name.quoted()
        )]
    } else if source != version.name.to_string() {
        vec![format!(
            "target table {} belongs to source table {source}: change `schemas` or `names`, {row_of}",
            name.quoted()
        )]
    } else {
        Vec::new()
    })
}

/// What keeps a table from being made.
fn absent(design: &Design, role: &Role, plan: &TablePlan) -> Vec<String> {
    let name = &plan.target;
    let mut wrong = Vec::new();
    if !design.create {
        wrong.push(format!("target table {} does not exist (`create_tables`)", name.quoted()));
        return wrong;
    }
    wrong.extend(create_rights(role, name));
    wrong.extend(plan.mistyped());
    wrong
}

/// What keeps a table that is there from taking the load.
async fn present(
    client: &Client,
    design: &Design,
    role: &Role,
    plan: &TablePlan,
    table: &LoadTable,
    found: &Found,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let name = &plan.target;
    if design.prepare == Prepare::DropAndCreate {
        let mut wrong = absent(design, role, plan);
        if !design.drop_tables {
            wrong.push(format!(
                "target table {} is there, and dropping it needs `drop_tables = true`",
                name.quoted()
            ));
        }
        if !found.owned {
            wrong.push(format!("the role does not own target table {}", name.quoted()));
        }
        return Ok(wrong);
    }
    let fit = catalog::fit(&design.naming, name, table.id, &table.version, found);
    let wrong = match fit {
        Ok(relation) => catalog::lacks_digits(&relation).into_iter().collect(),
        Err(wrong) => wrong,
    };
    let mut wrong: Vec<String> =
        wrong.into_iter().map(|what| format!("target table {}: {what}", name.quoted())).collect();
    if design.constraints && !found.owned {
        wrong.push(format!(
            "the role does not own target table {}, which indexes and constraints need \
             (`constraints = false` makes none)",
            name.quoted()
        ));
    }
    let may = |right: &'static str| async move {
        let row = client
            .query_one("SELECT has_table_privilege($1::oid, $2)", &[&found.oid, &right])
            .await?;
        Ok::<bool, tokio_postgres::Error>(row.get(0))
    };
    match design.prepare {
        Prepare::Truncate if !may("TRUNCATE").await? => {
            wrong.push(format!("the role lacks TRUNCATE on target table {}", name.quoted()));
        }
        Prepare::Create if may("SELECT").await? => {
            let any = format!("SELECT EXISTS (SELECT FROM {})", name.quoted());
            if client.query_one(&any, &[]).await?.get(0) {
                wrong.push(format!("target table {} is not empty", name.quoted()));
            }
        }
        _ => {}
    }
    if table.handoff == Handoff::Bracketed {
        wrong.extend(refusing(client, design, role, name, table, found).await?);
    }
    Ok(wrong)
}

/// What would refuse a state that the source never had.
async fn refusing(
    client: &Client,
    design: &Design,
    role: &Role,
    name: &TargetName,
    table: &LoadTable,
    found: &Found,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut wrong = Vec::new();
    let key = found.plan(&design.naming, &table.version).key_names();
    let others: Vec<String> = found
        .indexes
        .iter()
        .filter(|index| !index.is_key(&key))
        .map(|index| quote_postgres(&index.name))
        .collect();
    if !others.is_empty() {
        wrong.push(format!(
            "target table {} has unique indexes or exclusion constraints beside its key's, which may \
             refuse rows while the load converges: drop {} (what the source has is made after the \
             load), or use `handoff = \"exact\"`",
            name.quoted(),
            others.join(", ")
        ));
    }
    if !role.replica {
        let keys: Option<Vec<String>> = client
            .query_one(
                "SELECT array_agg(quote_ident(conname)) FROM pg_constraint \
                 WHERE contype = 'f' AND $1::oid IN (conrelid, confrelid)",
                &[&found.oid],
            )
            .await?
            .get(0);
        if let Some(keys) = keys {
            wrong.push(format!(
                "foreign keys of target table {} ({}) would fire while the load converges: drop them, \
                 or grant the role SET on parameter session_replication_role",
                name.quoted(),
                keys.join(", ")
            ));
        }
    }
    Ok(wrong)
}

/// What else hangs on a table that is to be emptied or dropped.
async fn dependents(
    client: &Client,
    design: &Design,
    name: &TargetName,
    oids: &[u32],
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut wrong = Vec::new();
    let keys: Option<Vec<String>> = client
        .query_one(
            "SELECT array_agg(conrelid::regclass::text || '.' || quote_ident(conname)) \
             FROM pg_constraint WHERE contype = 'f' AND confrelid = to_regclass($1)::oid \
             AND conrelid <> ALL ($2)",
            &[&name.quoted(), &oids],
        )
        .await?
        .get(0);
    if let Some(keys) = keys {
        wrong.push(format!(
            "foreign keys of other tables point to target table {}: drop {}",
            name.quoted(),
            keys.join(", ")
        ));
    }
    if design.prepare == Prepare::DropAndCreate {
        let views: Option<Vec<String>> = client
            .query_one(
                "SELECT array_agg(DISTINCT r.ev_class::regclass::text) \
                 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid \
                 WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass \
                 AND d.refobjid = to_regclass($1)::oid AND r.ev_class <> d.refobjid",
                &[&name.quoted()],
            )
            .await?
            .get(0);
        if let Some(views) = views {
            wrong.push(format!(
                "views look at target table {}: drop {}",
                name.quoted(),
                views.join(", ")
            ));
        }
    }
    Ok(wrong)
}

/// Makes the tables as the mode wants them, and claims them.
async fn change(
    transaction: &Transaction<'_>,
    pipeline: &str,
    design: &Design,
    tables: &[LoadTable],
    survey: &Survey,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut notices = Vec::new();
    let names: Vec<TargetName> =
        tables.iter().map(|table| design.naming.table(&table.version.name)).collect();
    let there: Vec<String> = survey.present.iter().map(|&index| names[index].quoted()).collect();
    let there = there.join(", ");
    match design.prepare {
        Prepare::Truncate if !there.is_empty() => {
            transaction.batch_execute(&format!("TRUNCATE {there}")).await?;
        }
        Prepare::DropAndCreate if !there.is_empty() => {
            transaction.batch_execute(&format!("DROP TABLE {there}")).await?;
        }
        _ => {}
    }
    let schemas: BTreeSet<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    for schema in schemas {
        transaction.batch_execute(&create_schema(schema)).await?;
    }
    let planned: Vec<Planned<'_>> = tables
        .iter()
        .map(|table| Planned { version: &table.version, definition: table.definition.as_deref() })
        .collect();
    let key_names = key_names(&design.naming, &planned);
    for (index, table) in tables.iter().enumerate() {
        let drops = design.prepare == Prepare::DropAndCreate;
        if drops || !survey.present.contains(&index) {
            make_way(transaction, &names[index]).await?;
            let key_name = key_names[index].as_deref();
            notices.extend(create(transaction, design, table, key_name).await?);
        }
        claim(transaction, pipeline, &names[index], table).await?;
        if drops {
            forget(transaction, pipeline, &table.version).await?;
        }
    }
    Ok(notices)
}

/// Makes a table, without its computed columns where PostgreSQL refuses one of them.
async fn create(
    transaction: &Transaction<'_>,
    design: &Design,
    table: &LoadTable,
    key_name: Option<&str>,
) -> Result<Option<String>, tokio_postgres::Error> {
    let (naming, version) = (&design.naming, &table.version);
    let plan = table.plan(naming);
    // The survey made sure that it can be made.
    let sql = |definition: Option<&Definition>| {
        create_table(naming, &plan, version, definition, key_name).unwrap_or_default()
    };
    let definition = table.definition.as_deref();
    let whole = sql(definition);
    let without =
        definition.map(|definition| Definition { columns: Vec::new(), ..definition.clone() });
    let bare = sql(without.as_ref());
    if whole == bare {
        transaction.batch_execute(&bare).await?;
        return Ok(None);
    }
    transaction.batch_execute("SAVEPOINT computed").await?;
    let Err(error) = transaction.batch_execute(&whole).await else { return Ok(None) };
    let Some(db) = error.as_db_error() else { return Err(error) };
    let refusal = ServerError::from_client(db);
    if refusal.class() == Class::Retry {
        return Err(error);
    }
    transaction.batch_execute("ROLLBACK TO SAVEPOINT computed").await?;
    transaction.batch_execute(&bare).await?;
    Ok(Some(format!(
        "{} was made without its computed columns, which the target refuses: {refusal}",
        version.name
    )))
}

async fn claim(
    client: &impl GenericClient,
    pipeline: &str,
    name: &TargetName,
    table: &LoadTable,
) -> Result<(), tokio_postgres::Error> {
    let (source, id) = (table.version.name.to_string(), table.id.to_string());
    let source_ref = table.version.table_ref().to_string();
    client
        .execute(
            "INSERT INTO lockstep.tables AS t \
             (schema_name, table_name, pipeline, source, version, source_ref) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (schema_name, table_name) DO UPDATE \
             SET version = $5, source_ref = $6 WHERE t.pipeline = $3 AND t.source = $4",
            &[&name.schema, &name.table, &pipeline, &source, &id, &source_ref],
        )
        .await?;
    Ok(())
}

/// What we made of a table went with it.
async fn forget(
    client: &impl GenericClient,
    pipeline: &str,
    version: &TableVersion,
) -> Result<(), tokio_postgres::Error> {
    client
        .execute(
            "DELETE FROM lockstep.load_object WHERE pipeline = $1 AND source = $2",
            &[&pipeline, &version.name.to_string()],
        )
        .await?;
    Ok(())
}

/// Marks the columns that unique indexes to come will have, and by which rows are told apart then.
pub(crate) fn with_contested(mut relation: Relation, table: &LoadTable) -> Relation {
    if let Some(definition) = &table.definition {
        let to_come = contested(&table.version, definition);
        let telling = telling(&table.version, Some(definition));
        for ((column, to_come), telling) in relation.columns.iter_mut().zip(to_come).zip(telling) {
            if let Some(column) = column {
                column.contested |= to_come;
                column.tells |= telling;
            }
        }
    }
    relation
}
