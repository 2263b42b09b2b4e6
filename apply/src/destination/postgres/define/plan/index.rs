//! Indexes and unique constraints.

use std::collections::BTreeSet;

use lockstep_common::model::definition::{Definition, Index, IndexKind};
use lockstep_common::{Column, LogicalType, TableVersion};

use super::super::super::plan::OutputColumn;
use super::super::super::text;
use super::super::super::types::PgType;
use super::super::expression::{self, Purpose, is_binary_text, is_unicode};
use super::name::Taken;
use super::{Action, Context, Fate, Kind, Object};

/// Columns of an index, included ones among them (`INDEX_MAX_KEYS`).
const MOST_COLUMNS: usize = 32;

/// Bytes of an index entry: a third of a page, less what stands beside the values.
pub(crate) const MOST_ENTRY_BYTES: u64 = 2600;

/// The first server that can take NULLs for equal in a unique index.
const NULLS_NOT_DISTINCT: u32 = 15;

/// For each column of `version`, whether a unique index that is to come, other than the key's, has
/// it: its values may pass through states that a row-by-row check refuses.
pub(crate) fn contested(version: &TableVersion, definition: &Definition) -> Vec<bool> {
    let mut columns = vec![false; version.columns.len()];
    let key: BTreeSet<&str> = key_columns(version).collect();
    for index in &definition.indexes {
        // Over the key's columns, in whatever order, it keeps out what the key does.
        let named: BTreeSet<&str> = index.columns.iter().map(|c| c.column.as_str()).collect();
        let as_key = index.filter.is_none() && named == key;
        if !index.unique || index.disabled || as_key {
            continue;
        }
        for (contested, column) in columns.iter_mut().zip(&version.columns) {
            let named = index.columns.iter().any(|c| c.column == column.name);
            // A condition may depend on any column, and so may a computed one.
            *contested |= named || index.filter.is_some() || has_computed(version, index);
        }
    }
    columns
}

fn has_computed(version: &TableVersion, index: &Index) -> bool {
    let computed = |name: &str| version.columns.iter().any(|c| c.name == name && c.computed);
    index.columns.iter().any(|c| computed(&c.column))
}

/// Names of the key's columns.
fn key_columns(version: &TableVersion) -> impl Iterator<Item = &str> {
    let key = version.key.iter().filter_map(|k| version.columns.get(usize::from(*k)));
    key.map(|column| column.name.as_str())
}

/// The index that the target's key, which comes with the table, stands for: of the same columns in the
/// same order, the primary key's before others. One of the same columns in another order serves other
/// queries, and a second one of the same order is an object of its own.
fn key_index(version: &TableVersion, definition: &Definition) -> Option<usize> {
    let is_key = |index: &Index| {
        let columns = index.columns.iter().map(|c| c.column.as_str());
        let whole = index.unique && index.filter.is_none() && !index.disabled;
        whole && !version.key.is_empty() && columns.eq(key_columns(version))
    };
    let found = definition.indexes.iter().enumerate().filter(|(_, index)| is_key(index));
    found.min_by_key(|(_, index)| index.kind != IndexKind::Primary).map(|(number, _)| number)
}

/// What becomes of the indexes, but for the key's.
pub(super) fn indexes(context: &Context<'_>, taken: &mut Taken) -> Vec<Object> {
    let mut objects = Vec::new();
    let key = key_index(context.version, context.definition);
    for (number, index) in context.definition.indexes.iter().enumerate() {
        // The key's index comes with the table; what it carries along is another matter.
        if key == Some(number) && index.included.is_empty() {
            objects.extend(order_of_key(context, index));
            continue;
        }
        let kind = match index.kind {
            IndexKind::Plain => Kind::Index,
            IndexKind::Primary | IndexKind::Constraint => Kind::Unique,
        };
        let target = &context.table.target;
        let name = taken.index(&target.schema, &target.table, &context.naming.carry(&index.name));
        let fate = match action(context, index, kind) {
            Ok((action, notes)) => {
                Fate::Make { action, note: (!notes.is_empty()).then(|| notes.join("; ")) }
            }
            Err(reason) => Fate::LeaveOut(reason),
        };
        objects.push(context.object(kind, &index.name, &name, fate));
    }
    objects
}

/// A key whose columns go up and down: PostgreSQL's keys go up. (Where all go down, the index serves as it
/// is, read backwards.)
fn order_of_key(context: &Context<'_>, index: &Index) -> Option<Object> {
    let down = index.columns.iter().filter(|column| column.descending).count();
    (0 < down && down < index.columns.len()).then(|| {
        let reason = "the key is there, with all its columns ascending: a key of PostgreSQL has no \
                      other order; make an index for queries that need it";
        context.object(Kind::Index, &index.name, "", Fate::LeaveOut(reason.to_owned()))
    })
}

fn action(
    context: &Context<'_>,
    index: &Index,
    kind: Kind,
) -> Result<(Action, Vec<String>), String> {
    if index.disabled {
        return Err("it is disabled in the source".to_owned());
    }
    let mut notes = Vec::new();
    let unique = index.unique;
    if unique {
        note_collation(context, index, &mut notes);
    }
    let constraint = kind == Kind::Unique && unique;
    let mut keys = Vec::new();
    for column in &index.columns {
        let quoted = context.column(&column.column)?;
        // A constraint has no order. Where NULLs stand is PostgreSQL's default, which is what its
        // queries ask for.
        let downwards = column.descending && !constraint;
        let order = if downwards { " DESC" } else { "" };
        keys.push(format!("{quoted}{order}"));
        // What tells rows apart where the time's own column does not.
        if unique && let Some(digit) = context.table.digit_of(&column.column) {
            keys.push(format!("{digit}{order}"));
        }
    }
    if constraint && index.columns.iter().any(|column| column.descending) {
        notes.push(
            "without its descending order, which a constraint of PostgreSQL has not".to_owned(),
        );
    }
    let names: Vec<&str> = index.columns.iter().map(|c| c.column.as_str()).collect();
    let width = names.iter().map(|name| column_width(context, name)).sum::<Option<u64>>();
    let digits = keys.len() - names.len();
    let width = width.map(|width| width + 2 * digits as u64);
    if keys.len() > MOST_COLUMNS || width.is_none_or(|width| width > MOST_ENTRY_BYTES) {
        return Err("its key can be longer than an index entry of PostgreSQL".to_owned());
    }
    let included = included(context, index, keys.len(), width.unwrap_or(0), &mut notes);
    let mut what = format!("({})", keys.join(", "));
    if !included.is_empty() {
        what.push_str(&format!(" INCLUDE ({})", included.join(", ")));
    }
    let nullable =
        |name: &&str| context.version.columns.iter().any(|c| c.name == **name && c.nullable);
    if unique && names.iter().any(nullable) {
        if context.server.version >= NULLS_NOT_DISTINCT {
            what.push_str(" NULLS NOT DISTINCT");
        } else {
            notes.push(
                "SQL Server allows one NULL, this PostgreSQL (older than 15) any number".to_owned(),
            );
        }
    }
    if let Some(filter) = &index.filter {
        let condition =
            expression::condition(context.version, filter, &context.scope, Purpose::Filter)
                .map_err(|reason| format!("its filter is not translated: {reason}"))?;
        what.push_str(&format!(" WHERE {condition}"));
    }
    Ok((Action::Index { unique, what, constraint }, notes))
}

/// Text that the source compares by a collation, and the target by its characters.
fn note_collation(context: &Context<'_>, index: &Index, notes: &mut Vec<String>) {
    let named = |c: &&Column| index.columns.iter().any(|named| named.column == c.name);
    let exact =
        |c: &&Column| c.collation.is_some() && !is_binary_text(c) && !context.collates(&c.name);
    if let Some(column) = context.version.columns.iter().filter(named).find(exact) {
        notes.push(format!(
            "tells apart values of {} that collation {} takes for equal",
            column.name,
            column.collation.as_deref().unwrap_or_default()
        ));
    }
}

/// The columns carried along that fit.
fn included(
    context: &Context<'_>,
    index: &Index,
    keys: usize,
    width: u64,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut columns = Vec::new();
    let mut left_out = Vec::new();
    let mut width = width;
    for name in &index.included {
        let added = column_width(context, name);
        let fits = keys + columns.len() < MOST_COLUMNS;
        match (context.column(name), added) {
            (Ok(quoted), Some(added)) if fits && width + added <= MOST_ENTRY_BYTES => {
                width += added;
                columns.push(quoted);
            }
            _ => left_out.push(name.as_str()),
        }
    }
    if !left_out.is_empty() {
        notes.push(format!(
            "without INCLUDE of {}, which an index entry of PostgreSQL has no room for",
            left_out.join(", ")
        ));
    }
    columns
}

fn column_width(context: &Context<'_>, name: &str) -> Option<u64> {
    bytes_of(context.output(name)?)
}

/// Most bytes of a column's value; none for one without a limit.
pub(crate) fn bytes_of(output: &OutputColumn) -> Option<u64> {
    let column = &output.column;
    let text = output.ty.clone().is_ok_and(PgType::is_text);
    if text && !matches!(column.ty, LogicalType::String { .. }) {
        return text::longest(column).map(u64::from);
    }
    Some(match &column.ty {
        LogicalType::Bool => 1,
        LogicalType::Int { bytes } => (*bytes).into(),
        // Two bytes for four digits, and a header.
        LogicalType::Decimal { precision, .. } => u64::from(*precision) / 2 + 8,
        LogicalType::F32 => 4,
        LogicalType::F64 | LogicalType::Timestamp { .. } | LogicalType::TimestampTz { .. } => 8,
        LogicalType::Date | LogicalType::Time { .. } => 8,
        LogicalType::Uuid => 16,
        // A UTF-16 unit has at most three bytes in UTF-8, and so has a character of a code page.
        // SQL Server itself keeps keys to 1700 bytes: 850 units.
        LogicalType::String { max: Some(max), .. } if is_unicode(column) => {
            u64::from((*max).min(850)) * 3
        }
        LogicalType::String { max: Some(max), .. } => u64::from((*max).min(1700)) * 3,
        LogicalType::Bytes { max: Some(max) } => u64::from((*max).min(1700)) + 4,
        _ => return None,
    })
}
