//! What can be told of tables before anything of them is in the target.

use std::collections::HashMap;

use lockstep_common::model::name::quote_postgres;
use lockstep_common::{LogicalType, TableName};

use super::super::plan::{Naming, OutputColumn, Part, TablePlan, TargetName};
use super::plan::{MOST_ENTRY_BYTES, Planned, bytes_of};

/// Bytes of a row that a page has room for (`MaxHeapTupleSize`).
const MOST_ROW_BYTES: u64 = 8160;
/// A longer value is put elsewhere, if it has more bytes than these (`toast_tuple_find_biggest_attribute`).
const MOST_INLINE_BYTES: u64 = 24;

/// Source tables that would go to one target table, each with what is wrong.
pub(crate) fn doubles(naming: &Naming, tables: &[Planned<'_>]) -> Vec<(TableName, String)> {
    let mut taken: HashMap<(String, String), &TableName> = HashMap::new();
    let mut wrong = Vec::new();
    for table in tables {
        let name = &table.version.name;
        let TargetName { schema, table } = naming.table(name);
        let target = TargetName { schema: schema.clone(), table: table.clone() }.quoted();
        if let Some(first) = taken.insert((schema, table), name) {
            wrong.push((name.clone(), format!("{first} goes to target table {target} too")));
        }
    }
    wrong
}

/// What may go wrong with a table's rows, or is other than one might think.
pub(crate) fn warnings(plan: &TablePlan) -> Vec<String> {
    [merging(plan), long_key(plan), long_row(plan)].into_iter().flatten().collect()
}

/// Which columns hold the last digits of times, and why.
pub(crate) fn digits(plan: &TablePlan) -> Vec<String> {
    let digits = plan.derived().filter(|(.., part)| *part == Part::Ticks);
    digits
        .map(|(column, of, _)| {
            format!(
                "column {} holds the seventh fractional digit of {}, by which rows are told apart",
                column.quoted(),
                plan.columns[of].quoted()
            )
        })
        .collect()
}

/// Keys that a collation of the target may hold equal where the source does not.
fn merging(plan: &TablePlan) -> Option<String> {
    let keyed = !plan.key.is_empty();
    let folding = |column: &&OutputColumn| {
        column.tells && keyed && column.folds && column.ty.is_ok() && !column.column.computed
    };
    let columns = plan.columns.iter().filter(folding);
    let names: Vec<String> = columns.map(|column| quote_postgres(&column.column.name)).collect();
    (!names.is_empty()).then(|| {
        format!(
            "a key or unique index compares {} as `key_collation = \"icu\"` or citext does, which may \
             hold two values equal that the source tells apart (a soft hyphen counts for nothing): such \
             rows halt apply. `key_collation = \"exact\"` keeps all rows apart",
            names.join(", ")
        )
    })
}

/// A key whose values may be longer than an index entry.
fn long_key(plan: &TablePlan) -> Option<String> {
    let key = plan.key.iter().map(|at| &plan.columns[*at]).filter(|column| !column.is_derived());
    let bytes = key.map(bytes_of).sum::<Option<u64>>();
    (!plan.key.is_empty() && bytes.is_none_or(|bytes| bytes > MOST_ENTRY_BYTES)).then(|| {
        "its key may be longer than an index entry of PostgreSQL, 2704 bytes: a row with such a key halts \
         apply (54000)"
            .to_owned()
    })
}

/// Rows that may be larger than a page, though all of their long values stand elsewhere.
fn long_row(plan: &TablePlan) -> Option<String> {
    // A header, and a bit for each column that is null.
    let header = (23 + plan.columns.len() as u64 / 8).next_multiple_of(8);
    let mut bytes = header;
    for column in plan.columns.iter().filter(|column| !column.column.computed) {
        bytes = match fixed(&column.column.ty) {
            Some((size, align)) => bytes.next_multiple_of(align) + size,
            None => {
                let most = bytes_of(column).unwrap_or(u64::MAX);
                bytes + most.saturating_add(1).min(MOST_INLINE_BYTES)
            }
        };
    }
    (bytes > MOST_ROW_BYTES).then(|| {
        format!(
            "a row may need {bytes} bytes of a page, though its long values stand elsewhere, and a page of \
             PostgreSQL has room for {MOST_ROW_BYTES}: such a row halts apply (54000). Leave columns out \
             of the capture instance (@captured_column_list)"
        )
    })
}

/// Bytes and alignment of a type that always takes the same.
fn fixed(ty: &LogicalType) -> Option<(u64, u64)> {
    Some(match ty {
        LogicalType::Bool => (1, 1),
        LogicalType::Int { bytes: 1 | 2 } => (2, 2),
        LogicalType::Int { bytes: 4 } | LogicalType::F32 | LogicalType::Date => (4, 4),
        LogicalType::Int { .. }
        | LogicalType::F64
        | LogicalType::Time { .. }
        | LogicalType::Timestamp { .. }
        | LogicalType::TimestampTz { .. } => (8, 8),
        LogicalType::Uuid => (16, 1),
        _ => return None,
    })
}
