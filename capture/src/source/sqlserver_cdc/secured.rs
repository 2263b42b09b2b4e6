//! What the server hides from a login that may read: values behind masks, rows behind security policies.
//! Both answer as if what they give were all there is, so both are looked for, before and after rows are
//! read.
//!
//! - *Masks* ([dynamic data masking](https://learn.microsoft.com/en-us/sql/relational-databases/security/dynamic-data-masking)).
//!   `sys.masked_columns` shows those of tables on which the login has some right. A change table's
//!   columns may have them too. UNMASK lifts them: for the database, and from SQL Server 2022 on for a
//!   schema, a table or a column.
//! - *Security policies* ([row-level security](https://learn.microsoft.com/en-us/sql/relational-databases/security/row-level-security)).
//!   An enabled filter predicate hides rows of the table from everybody whom it does not let through,
//!   `db_owner` included; change tables are not filtered. `sys.security_predicates` shows policies only to
//!   who has VIEW DEFINITION on them or ALTER ANY SECURITY POLICY. Who may not see them can still count: what
//!   the table shows, against what `sys.partitions` says it holds.
//!
//! Before SQL Server 2016 there is neither, and no such views.

use std::collections::BTreeMap;

use lockstep_common::Code;
use lockstep_common::{Failure, TableName};

use super::captured_table::CapturedTable;
use super::connection::Lease;
use super::fields::Fields;

/// Objects asked for in one statement.
const AT_ONCE: usize = 500;
/// Rows that are counted at most where policies cannot be seen.
const MOST_COUNTED: u64 = 1_000_000;
/// Times that a count which does not fit is taken again: rows come and go meanwhile.
const COUNTS: usize = 3;
/// Error for a view that the server does not have.
const NO_SUCH_VIEW: u32 = 208;

/// Columns with a mask that the login sees. A right on the object that the server does not know is NULL.
fn masks(objects: &str) -> String {
    format!(
        "SELECT c.object_id, c.name FROM sys.masked_columns AS c \
         WHERE c.is_masked = 1 AND c.object_id IN ({objects}) \
         AND COALESCE(HAS_PERMS_BY_NAME(QUOTENAME(OBJECT_SCHEMA_NAME(c.object_id)) + N'.' \
         + QUOTENAME(OBJECT_NAME(c.object_id)), N'OBJECT', N'UNMASK', c.name, N'COLUMN'), \
         HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'UNMASK'), 0) = 0 \
         ORDER BY c.object_id, c.column_id"
    )
}

/// Enabled filter predicates, as far as the login may see them.
fn filters(objects: &str) -> String {
    format!(
        "SELECT p.target_object_id AS object_id, \
         QUOTENAME(SCHEMA_NAME(s.schema_id)) + N'.' + QUOTENAME(s.name) AS name \
         FROM sys.security_predicates AS p INNER JOIN sys.security_policies AS s \
         ON s.object_id = p.object_id \
         WHERE s.is_enabled = 1 AND p.predicate_type = 0 AND p.target_object_id IN ({objects})"
    )
}

/// Whether the login may see every policy.
const SEES_POLICIES: &str = "SELECT \
     COALESCE(HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'ALTER ANY SECURITY POLICY'), 0) AS alters, \
     COALESCE(HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DEFINITION'), 0) AS sees";

/// What is hidden, by `object_id`.
#[derive(Debug, Default)]
pub struct Hidden {
    /// Masked columns.
    pub masked: BTreeMap<i32, Vec<String>>,
    /// Policies with a filter predicate.
    pub filtered: BTreeMap<i32, Vec<String>>,
}

/// Looks at `objects`: tables and change tables. A server without the views ends with an error that spoils the
/// connection, so `lease` comes back where it is of further use.
pub async fn hidden(mut lease: Lease, objects: &[i32]) -> Result<(Option<Lease>, Hidden), Failure> {
    let mut hidden = Hidden::default();
    for some in objects.chunks(AT_ONCE) {
        let list = some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let sql = format!("{}; {}", masks(&list), filters(&list));
        let results = match lease.try_batch(&sql).await {
            Err(error) if error.code() == Some(NO_SUCH_VIEW) => {
                return Ok((None, Hidden::default()));
            }
            answer => {
                answer.map_err(|error| lease.classify(error, "look for masks and policies"))?
            }
        };
        let [masked, filtered] = results.as_slice() else {
            return Err(super::wrong_results("look for masks and policies"));
        };
        for (rows, of) in [(masked, &mut hidden.masked), (filtered, &mut hidden.filtered)] {
            for row in rows {
                let fields = Fields::new(row, "sys.masked_columns");
                of.entry(fields.integer("object_id")?).or_default().push(fields.name("name")?);
            }
        }
    }
    Ok((Some(lease), hidden))
}

impl Hidden {
    /// What is hidden of a followed table: captured columns, its rows, its change table.
    pub fn of(&self, followed: &CapturedTable) -> Vec<Failure> {
        let instance = &followed.instance;
        let captured = |name: &str| followed.shape.captured.iter().any(|c| c.name == name);
        let mut found = self.of_table(instance.table_id, &instance.table, captured);
        if let Some(columns) = self.masked.get(&instance.change_table_id) {
            found.push(is_masked(columns, "cdc", &format!("{}_CT", instance.name)));
        }
        found
    }

    /// What is hidden of a table itself.
    pub fn of_table(
        &self,
        object_id: i32,
        table: &TableName,
        captured: impl Fn(&str) -> bool,
    ) -> Vec<Failure> {
        let masked: Vec<String> = self
            .masked
            .get(&object_id)
            .into_iter()
            .flatten()
            .filter(|name| captured(name))
            .cloned()
            .collect();
        let masked = (!masked.is_empty()).then(|| is_masked(&masked, &table.schema, &table.table));
        let filtered = self.filtered.get(&object_id).map(|policies| is_filtered(table, policies));
        masked.into_iter().chain(filtered).collect()
    }
}

fn is_masked(columns: &[String], schema: &str, table: &str) -> Failure {
    let quote = lockstep_common::model::name::quote_mssql;
    Failure::new(Code::SourceMasked, format!(
            "the login sees masks instead of values: {} of {schema}.{table}",
            columns.join(", ")
        )).remedy(format!(
            "GRANT UNMASK ON {}.{} to its user (from SQL Server 2022 on; before, GRANT UNMASK, which is \
             for the whole database), or take the table out of source.tables",
            quote(schema),
            quote(table)
        ))
}

fn is_filtered(table: &TableName, policies: &[String]) -> Failure {
    let mut policies = policies.to_vec();
    policies.dedup();
    Failure::new(Code::SourceFiltered, format!("security policy {} filters the rows of {table}", policies.join(", "))).remedy(format!(
            "no right lets a login through, db_owner neither: ALTER SECURITY POLICY {} DROP FILTER \
             PREDICATE ON the table (or WITH (STATE = OFF)), or take the table out of source.tables",
            policies.first().map_or("", String::as_str)
        ))
}

/// Whether the login may see every security policy; a server without them has none to see.
pub async fn sees_policies(lease: &mut Lease) -> Result<bool, Failure> {
    let results = lease.batch(SEES_POLICIES, "read the login's rights").await?;
    let Some(row) = results.iter().flatten().next() else { return Ok(false) };
    let fields = Fields::new(row, "HAS_PERMS_BY_NAME");
    Ok(fields.number("alters")? == Some(1) || fields.number("sees")? == Some(1))
}

/// Counts a table's rows, for a login that may not see policies: those that it is shown must be those that
/// there are.
///
/// # Errors
/// `Halt` when rows are missing.
pub async fn count(
    lease: &mut Lease,
    table: &TableName,
    from: &str,
    object_id: i32,
) -> Result<(), Failure> {
    let doing = format!("count the rows of {table}");
    let held = format!(
        "SELECT SUM(p.rows) AS total FROM sys.partitions AS p \
         WHERE p.index_id IN (0, 1) AND p.object_id = {object_id}"
    );
    let mut last = (0, 0);
    // First without waiting for writers. Then with: rows that are not committed are held, and not shown.
    for hint in ["", " WITH (READCOMMITTEDLOCK)"].into_iter().flat_map(|hint| [hint; COUNTS]) {
        let sql = format!(
            "{held}; SELECT COUNT_BIG(*) AS total FROM (SELECT TOP ({MOST_COUNTED}) 1 AS one \
             FROM {from} AS t{hint}) AS s; {held}"
        );
        let results = lease.batch(&sql, &doing).await?;
        let mut totals = [0_u64; 3];
        for (total, rows) in totals.iter_mut().zip(&results) {
            let row = rows.first().ok_or_else(|| super::wrong_results(&doing))?;
            let number = Fields::new(row, "sys.partitions").number("total")?;
            *total = number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        }
        let [before, shown, after] = totals;
        let held = before.min(after).min(MOST_COUNTED);
        if shown >= held {
            return Ok(());
        }
        last = (shown, held);
    }
    Err(Failure::new(Code::SourceFiltered, format!(
            "{table} has {} rows or more and shows {}: a security policy hides rows",
            last.1, last.0
        )).remedy("GRANT VIEW DEFINITION on the database to its user, and `lockstep check` names the policy; \
         DROP its FILTER PREDICATE ON the table, or take the table out of source.tables. (If there is no \
         policy, DBCC UPDATEUSAGE mends what the server holds to be the number of rows.)"))
}
