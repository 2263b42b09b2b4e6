//! DDL of followed tables: what stops the stream, and what it passes.
//!
//! A window never reaches over a statement that may have changed what is replicated: a captured column,
//! or the key. Any other one is passed: constraints, indexes, and columns that the instance does not
//! capture change neither rows nor how they are told apart. Which kind a statement is, its text is not
//! asked: the table is looked at. If the captured columns and the key are as they were settled on, and
//! the change table too, then whatever the statements after the cursor did is undone or was of something
//! else, and rows are read as before. The look comes after the statement was seen, so that it sees what
//! the statement did; and what comes later shows as a row of its own (`SqlServer::check_read`).
//!
//! Why a statement that was undone by a later one does no harm: the capture job converts the change
//! table with a column's type, so that its rows are of the present type; and a column that was dropped
//! and added again has another `column_id`, which is not as it was settled on.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_common::model::name::quote_mssql as quote;
use lockstep_common::{Failure, TableName};
use tracing::warn;

use super::SqlServer;
use super::catalog::{self, Ddl};
use super::connection::Lease;
use super::lsn::Lsn;

/// Statements that changed nothing of what is replicated.
#[derive(Debug, Default)]
pub struct Passed {
    /// Change table and LSN.
    seen: BTreeSet<(Lsn, i32)>,
    /// The newest of each table, for people.
    newest: BTreeMap<TableName, String>,
}

impl Passed {
    /// For people.
    pub fn notices(&self) -> impl Iterator<Item = String> {
        let notice =
            |ddl: &String| format!("{ddl}; nothing that is replicated changed, it is passed");
        self.newest.values().map(notice)
    }

    fn pass(&mut self, ddl: &Ddl) {
        if self.seen.insert((ddl.lsn, ddl.change_table_id)) {
            warn!("{ddl}; nothing that is replicated changed");
            self.newest.insert(ddl.table.clone(), ddl.to_string());
        }
    }
}

/// Those of `seen` that may have changed what is replicated; the others are passed.
///
/// # Errors
/// As reading the shapes.
pub async fn that_matter(
    source: &mut SqlServer,
    lease: &mut Lease,
    mut seen: Vec<Ddl>,
) -> Result<Vec<Ddl>, Failure> {
    seen.retain(|ddl| !source.passed.seen.contains(&(ddl.lsn, ddl.change_table_id)));
    let touched: Vec<_> = source
        .followed
        .iter()
        .filter(|f| seen.iter().any(|ddl| ddl.change_table_id == f.instance.change_table_id))
        .cloned()
        .collect();
    if touched.is_empty() {
        return Ok(Vec::new());
    }
    let instances: Vec<_> = touched.iter().map(|followed| &followed.instance).collect();
    let shapes = catalog::shapes(lease, source.timeline, &instances).await?;
    let same = |(followed, shape): (&std::sync::Arc<super::Followed>, &catalog::Shape)| {
        followed.check_shape(shape).is_ok().then_some(followed.instance.change_table_id)
    };
    let harmless: BTreeSet<i32> = touched.iter().zip(&shapes).filter_map(same).collect();
    let (passed, matter): (Vec<Ddl>, Vec<Ddl>) =
        seen.into_iter().partition(|ddl| harmless.contains(&ddl.change_table_id));
    passed.iter().for_each(|ddl| source.passed.pass(ddl));
    Ok(matter)
}

/// Columns that were added to followed tables and that their instances do not capture.
///
/// # Errors
/// As reading the DDL history.
pub async fn pending_columns(
    source: &SqlServer,
    lease: &mut Lease,
) -> Result<Vec<String>, Failure> {
    let uncaptured: Vec<_> =
        source.followed.iter().filter(|followed| followed.uncaptured().next().is_some()).collect();
    let instances: Vec<_> = uncaptured.iter().map(|followed| &followed.instance).collect();
    if instances.is_empty() {
        return Ok(Vec::new());
    }
    let history = catalog::ddl(lease, source.accesses.ddl, &instances, Lsn::ZERO).await?;
    let mut notices = Vec::new();
    for followed in uncaptured {
        let change_table = followed.instance.change_table_id;
        let added = |name: &str| {
            history
                .iter()
                .filter(|ddl| ddl.change_table_id == change_table)
                .any(|ddl| names_word(&ddl.command, "add") && names_word(&ddl.command, name))
        };
        let names: Vec<&str> =
            followed.uncaptured().map(|column| column.name.as_str()).filter(|c| added(c)).collect();
        if !names.is_empty() {
            notices.push(pending(&followed.instance.table, &followed.instance.name, &names));
        }
    }
    Ok(notices)
}

/// Whether a statement has a word, or a quoted name.
fn names_word(command: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || "_@#$".contains(c);
    let lower = word.to_lowercase();
    let plain = command.split(|c| !letter(c)).any(|part| part.to_lowercase() == lower);
    plain || command.to_lowercase().contains(&quote(&lower))
}

fn pending(table: &TableName, instance: &str, columns: &[&str]) -> String {
    format!(
        "table {table} got columns that capture instance {instance} does not have: {}; they are not \
         replicated (a new instance with them and a new pipeline replicate them)",
        columns.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        let command = "ALTER TABLE [dbo].[t] ADD extra int, [two words] int";
        for (word, is) in
            [("add", true), ("EXTRA", true), ("ext", false), ("two words", true), ("u", false)]
        {
            assert_eq!(names_word(command, word), is, "{word}");
        }
    }
}
