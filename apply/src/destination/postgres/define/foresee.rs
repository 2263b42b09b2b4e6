//! What can be told of tables before anything of them is in the target.

use std::collections::HashMap;

use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Column, LogicalType, TableName};

use super::super::catalog::{Naming, TargetName};
use super::super::mapping::{self, Part};
use super::super::types::PgType;
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
pub(crate) fn warnings(naming: &Naming, table: &Planned<'_>) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(merging(naming, table));
    found.extend(long_key(naming, table));
    found.extend(long_row(naming, table));
    found
}

/// What companions a table has, and why.
pub(crate) fn companions(naming: &Naming, table: &Planned<'_>) -> Vec<String> {
    let companions = naming.companions(table.version, table.definition);
    let digits = companions.iter().filter(|companion| companion.part == Part::Ticks);
    digits
        .map(|companion| {
            format!(
                "column {} holds the seventh fractional digit of {}, by which rows are told apart",
                quote_postgres(&naming.carry(&companion.name)),
                quote_postgres(&naming.carry(&table.version.columns[companion.of].name))
            )
        })
        .collect()
}

/// Keys that a collation of the target may hold equal where the source does not.
fn merging(naming: &Naming, table: &Planned<'_>) -> Option<String> {
    let telling = mapping::telling(table.version, table.definition);
    let columns = table.version.columns.iter().zip(telling);
    let folding = |(column, telling): &(&Column, bool)| {
        let Ok(ty) = naming.types.wanted(&table.version.name, column) else { return false };
        let folds = naming.types.collation(column, ty).is_some() || ty == PgType::Citext;
        let keyed = !table.version.key.is_empty();
        *telling && keyed && folds && !column.computed
    };
    let names: Vec<String> =
        columns.filter(folding).map(|(column, _)| quote_postgres(&column.name)).collect();
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
fn long_key(naming: &Naming, table: &Planned<'_>) -> Option<String> {
    let version = table.version;
    let key = version.key.iter().filter_map(|k| version.columns.get(usize::from(*k)));
    let bytes = key.map(|column| bytes_of(naming, version, column)).sum::<Option<u64>>();
    (!version.key.is_empty() && bytes.is_none_or(|bytes| bytes > MOST_ENTRY_BYTES)).then(|| {
        "its key may be longer than an index entry of PostgreSQL, 2704 bytes: a row with such a key halts \
         apply (54000)"
            .to_owned()
    })
}

/// Rows that may be larger than a page, though all of their long values stand elsewhere.
fn long_row(naming: &Naming, table: &Planned<'_>) -> Option<String> {
    let version = table.version;
    let expanded = mapping::expand(version, &naming.companions(version, table.definition));
    // A header, and a bit for each column that is null.
    let header = (23 + expanded.columns.len() as u64 / 8).next_multiple_of(8);
    let mut bytes = header;
    for column in expanded.columns.iter().filter(|column| !column.computed) {
        bytes = match fixed(&column.ty) {
            Some((size, align)) => bytes.next_multiple_of(align) + size,
            None => {
                let most = bytes_of(naming, version, column).unwrap_or(u64::MAX);
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
