//! The configuration's types held against the target, and shown beforehand.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::config;
use lockstep_common::model::definition::Definition;
use lockstep_common::service::check::{CheckResult, Verdict};
use lockstep_common::{Failure, TableName, TableVersion};
use tokio_postgres::{Client, Error};

use super::Target;
use super::catalog;
use super::define::{self, Design, Planned};
use super::extension::Extensions;
use super::plan::Naming;
use super::{collation, error, prerequisites, readiness};

/// What to do about types that are wrong.
const FIX: &str = "correct `types`, `columns`, `key_collation` of this apply, or install what the \
    target lacks (docs/types.md)";

impl Target {
    /// The names and types of this target, once all of the configuration that can be checked without
    /// tables is right.
    ///
    /// # Errors
    /// `Halt` with everything that is wrong.
    pub(super) async fn typed(&self, client: &Client) -> Result<Naming, Failure> {
        let extensions = Extensions::read(client).await.map_err(|e| {
            error::failure(Code::ApplyTypes, "cannot look at the target's types", &e)
        })?;
        let types = self.naming.types.with(extensions);
        let wrong = types.at_start();
        if wrong.is_empty() {
            Ok(Naming { types: Arc::new(types), ..self.naming.clone() })
        } else {
            Err(Failure::new(Code::ApplyTypes, wrong.join("; ")).remedy(FIX))
        }
    }

    /// Makes the collations of keys, where they are asked for and absent.
    pub(super) async fn create_collations(&self, client: &Client) -> Result<(), Failure> {
        if !self.naming.types.collates() {
            return Ok(());
        }
        collation::create(client).await.map_err(|e| {
            let what = "cannot make the collations of `key_collation` in schema lockstep";
            error::failure(Code::ApplyTypes, what, &e)
        })
    }

    /// Whether what the configuration asks for is there, and can be made where it is not.
    pub(super) async fn check_typing(&self, client: &Client) -> Result<Vec<CheckResult>, Error> {
        let types = self.naming.types.with(Extensions::read(client).await?);
        let wrong = types.at_start();
        if !wrong.is_empty() {
            return Ok(wrong
                .into_iter()
                .map(|what| CheckResult::fail("types", what, FIX))
                .collect());
        }
        let mut results = Vec::new();
        if types.collates() {
            let name = "collations of keys";
            let may = "SELECT CASE WHEN to_regnamespace('lockstep') IS NULL \
                THEN has_database_privilege(current_database(), 'CREATE') \
                ELSE has_schema_privilege('lockstep', 'CREATE') END";
            results.push(if collation::present(client).await? {
                CheckResult::pass(name, "are there")
            } else if client.query_one(may, &[]).await?.get(0) {
                CheckResult::pass(name, "will be made in schema lockstep")
            } else {
                CheckResult::fail(
                    name,
                    "the role may not make them in schema lockstep",
                    "GRANT CREATE ON SCHEMA lockstep to the role, or make them yourself: \
                     `lockstep schema --print` shows how",
                )
            });
        }
        Ok(results)
    }

    /// Whether the types that the configuration asks for have a form of every value of these tables, and
    /// whether the target's tables that are there already take their rows as they are.
    ///
    /// # Errors
    /// When the target cannot be reached.
    pub(crate) async fn check_types(
        &self,
        pipeline: &str,
        tables: &[(Arc<TableVersion>, Definition)],
    ) -> Result<Vec<CheckResult>, Failure> {
        let client = self.login.cold().await?;
        let failed = |e| error::failure(Code::ApplyTypes, "cannot look at the target's types", &e);
        let extensions = Extensions::read(&client).await.map_err(failed)?;
        let types = self.naming.types.with(extensions);
        let wrong = types.of_tables(tables.iter().map(|(version, _)| &**version), true);
        let mut results: Vec<CheckResult> =
            wrong.into_iter().map(|what| CheckResult::fail("types", what, FIX)).collect();
        if results.is_empty() {
            let what = format!("every column of {} table(s) has one", tables.len());
            results.push(CheckResult::pass("types", what));
        }
        let naming = Naming { types: Arc::new(types), ..self.naming.clone() };
        let mut foreseen = foreseen(&client, &naming, tables).await.map_err(failed)?;
        results.append(&mut foreseen);
        let names: Vec<_> =
            tables.iter().map(|(version, _)| self.naming.table(&version.name)).collect();
        let design = Design { naming, ..self.design.clone() };
        let unfit = self.unfit(&client, pipeline, &design, tables).await.map_err(failed)?;
        // What is known of a table already is said once.
        results.retain(|r| {
            let known = |new: &CheckResult| new.detail.ends_with(readiness::of_table(&r.detail));
            r.verdict != Verdict::Warn || !unfit.iter().any(known)
        });
        let new = |new: &CheckResult| !results.iter().any(|r| r.detail == new.detail);
        let unfit: Vec<CheckResult> = unfit.into_iter().filter(new).collect();
        results.extend(unfit);
        let replica = define::may_be_replica(&client).await.map_err(failed)?;
        let found =
            catalog::hazards_of_unclaimed(&client, pipeline, &names).await.map_err(failed)?;
        for (table, hazards) in found {
            let policy = self.triggers;
            results.extend(prerequisites::hazard_results(&table, &hazards, replica, policy));
        }
        Ok(results)
    }

    /// The target's types, as the script of a load needs them.
    ///
    /// # Errors
    /// When the target cannot be reached.
    pub(crate) async fn extensions(&self) -> Result<Extensions, Failure> {
        let client = self.login.cold().await?;
        Extensions::read(&client)
            .await
            .map_err(|e| error::failure(Code::ApplyTypes, "cannot look at the target's types", &e))
    }
}

/// What can be told of the target's tables and keys before anything is written.
async fn foreseen(
    client: &Client,
    naming: &Naming,
    tables: &[(Arc<TableVersion>, Definition)],
) -> Result<Vec<CheckResult>, Error> {
    const NAMES: &str = "change `schemas` or `names` of this apply, or leave the table out \
        (`source.tables`)";
    let planned = planned(tables);
    let fail =
        |name: &TableName, what| CheckResult::fail("tables", format!("{name}: {what}"), NAMES);
    let mut results: Vec<CheckResult> = define::doubles(naming, &planned)
        .into_iter()
        .map(|(name, what)| fail(&name, what))
        .collect();
    for table in &planned {
        let (version, name) = (table.version, &table.version.name);
        let plan = table.plan(naming);
        results.extend(plan.unusable.iter().map(|what| fail(name, what.clone())));
        for what in define::digits(&plan) {
            results.push(CheckResult::pass("keys", format!("{name}: {what}")));
        }
        for what in define::warnings(&plan) {
            let fix = "docs/types.md says what the target's types and keys can hold";
            results.push(CheckResult::warn("tables", format!("{name}: {what}"), fix));
        }
        let Some(found) = catalog::find(client, &plan.target).await? else { continue };
        let fit = catalog::fit(naming, &plan.target, version.id(), version, &found);
        let Ok(relation) = fit else {
            continue;
        };
        if let Some(what) = catalog::lacks_digits(&relation) {
            let fix = "change the target table as described, then load it again (`lockstep reload`); \
                until then keys that differ in that digit only halt apply";
            results.push(CheckResult::warn("keys", format!("{name}: {what}"), fix));
        }
    }
    Ok(results)
}

fn planned(tables: &[(Arc<TableVersion>, Definition)]) -> Vec<Planned<'_>> {
    tables
        .iter()
        .map(|(version, definition)| Planned { version, definition: Some(definition) })
        .collect()
}

/// What a full load would make in a target of `version`, and what not, as a script. Of a target that
/// nobody asked, types of extensions are taken to be there.
pub(crate) fn schema(
    config: &config::Apply,
    version: u32,
    tables: &[(Arc<TableVersion>, Definition)],
    extensions: Option<Extensions>,
) -> String {
    let planned = planned(tables);
    let mut design = Design::new(config);
    if let Some(extensions) = extensions {
        design.naming.types = Arc::new(design.naming.types.with(extensions));
    }
    define::print(&design, version, &planned)
}

/// What apply's role needs in its target, of that major version, as a script.
pub(crate) fn grants(config: &config::Apply, version: u32, tables: &[&TableName]) -> String {
    define::grants(&Design::new(config), &config.user, &config.database, version, tables)
}
