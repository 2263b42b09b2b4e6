//! Target tables that are there before anything is written: whether rows can come into them.

use std::sync::Arc;

use lockstep_common::TableVersion;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::Handoff;
use lockstep_common::service::check::CheckResult;
use tokio_postgres::{Client, Error};

use super::define::{self, Design, LoadTable};
use super::{Target, catalog};

/// What to do about a table that a load would refuse.
const PREPARE: &str = "correct it before the load; `prepare` says what is done with tables that are there \
    (`create`, `truncate`, `drop_and_create`, `keep`)";
/// What to do about a table that is followed.
const FIT: &str =
    "correct it; or drop it, start apply again and load the table again (`lockstep reload`)";

impl Target {
    /// What of the target's tables keeps rows from coming into them: for those that a load is to bring in,
    /// all that it would say; for the others, whether they take the source's rows.
    pub(super) async fn unfit(
        &self,
        client: &Client,
        pipeline: &str,
        design: &Design,
        tables: &[(Arc<TableVersion>, Definition)],
    ) -> Result<Vec<CheckResult>, Error> {
        let fail = |name: &str, what: String, fix: &str| {
            CheckResult::fail("tables", format!("{name}: {what}"), fix)
        };
        let claims = catalog::has_claims(client).await?;
        let (mut to_load, mut results) = (Vec::new(), Vec::new());
        for (version, definition) in tables {
            let target = design.naming.table(&version.name);
            if self.loads && !(claims && catalog::is_owned(client, pipeline, &target).await?) {
                to_load.push(LoadTable {
                    id: version.id(),
                    version: Arc::clone(version),
                    definition: Some(Arc::new(definition.clone())),
                    handoff: Handoff::Exact,
                });
                continue;
            }
            let name = version.name.to_string();
            match catalog::find(client, &target).await? {
                None if !self.loads && !self.create_tables => {
                    let what = format!("target table {} does not exist", target.quoted());
                    results.push(fail(&name, what, "make it, or let `create_tables` make it"));
                }
                None => {}
                Some(found) => {
                    let fit = catalog::fit(&design.naming, &target, version.id(), version, &found);
                    let wrong = fit.err().unwrap_or_default().into_iter();
                    results.extend(wrong.map(|what| {
                        let what = format!("target table {}: {what}", target.quoted());
                        fail(&name, what, FIT)
                    }));
                }
            }
        }
        let wrong = define::unready_tables(client, pipeline, design, &to_load).await?;
        for (name, wrong) in &wrong {
            results.extend(wrong.iter().map(|what| fail(name, what.clone(), PREPARE)));
        }
        // What refuses rows only while they converge.
        for table in &mut to_load {
            table.handoff = Handoff::Bracketed;
        }
        for (name, found) in define::unready_tables(client, pipeline, design, &to_load).await? {
            let known = wrong.get(&name);
            for what in found.into_iter().filter(|what| known.is_none_or(|k| !k.contains(what))) {
                let what = format!("{name}: {what}");
                results.push(CheckResult::warn("tables", what, "or `capture.handoff = \"exact\"`"));
            }
        }
        Ok(results)
    }
}

/// What is said of a table, without its name.
pub(super) fn of_table(detail: &str) -> &str {
    detail.split_once(": ").map_or(detail, |(_, rest)| rest)
}
