//! Indexes and unique constraints.

use std::collections::BTreeSet;

use lockstep_common::definition::{Definition, Index, IndexKind};
use lockstep_common::{Column, LogicalType, TableVersion};

use super::super::super::text;
use super::super::super::types::PgType;
use super::super::translate::{self, Purpose, is_binary_text, is_cut, is_unicode};
use super::name::Taken;
use super::{Action, Context, Fate, Kind, Object};

/// Columns of an index, included ones among them (`INDEX_MAX_KEYS`).
const MOST_COLUMNS: usize = 32;

/// Bytes of an index entry: a third of a page, less what stands beside the values.
const MOST_BYTES: u64 = 2600;

/// The first server that can take NULLs for equal in a unique index.
const NULLS_NOT_DISTINCT: u32 = 15;

/// For each column of `version`, whether a unique index that is to come, other than the key's, has
/// it: its values may pass through states that a row-by-row check refuses.
pub(crate) fn contested(version: &TableVersion, definition: &Definition) -> Vec<bool> {
    let mut columns = vec![false; version.columns.len()];
    for index in &definition.indexes {
        if !index.unique || index.disabled || is_key(version, index) {
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

/// Whether the target's key, which comes with the table, is this index.
fn is_key(version: &TableVersion, index: &Index) -> bool {
    let key: BTreeSet<&str> = version
        .key
        .iter()
        .filter_map(|k| version.columns.get(usize::from(*k)))
        .map(|column| column.name.as_str())
        .collect();
    let columns: BTreeSet<&str> = index.columns.iter().map(|c| c.column.as_str()).collect();
    index.unique && index.filter.is_none() && !key.is_empty() && key == columns
}

/// What becomes of the indexes, but for the key's.
pub(super) fn indexes(context: &Context<'_>, taken: &mut Taken) -> Vec<Object> {
    let mut objects = Vec::new();
    for index in &context.definition.indexes {
        // The key's index comes with the table; what it carries along is another matter.
        if is_key(context.version, index) && index.included.is_empty() {
            continue;
        }
        let kind = match index.kind {
            IndexKind::Plain => Kind::Index,
            IndexKind::Primary | IndexKind::Constraint => Kind::Unique,
        };
        let target = &context.target;
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

fn action(
    context: &Context<'_>,
    index: &Index,
    kind: Kind,
) -> Result<(Action, Vec<String>), String> {
    if index.disabled {
        return Err("it is disabled in the source".to_owned());
    }
    let mut notes = Vec::new();
    let unique = index.unique && is_unique_here(context, index, &mut notes)?;
    let constraint = kind == Kind::Unique && unique;
    let mut keys = Vec::new();
    for column in &index.columns {
        let quoted = context.column(&column.column)?;
        // A constraint has no order. Where NULLs stand is PostgreSQL's default, which is what its
        // queries ask for.
        let downwards = column.descending && !constraint;
        keys.push(if downwards { format!("{quoted} DESC") } else { quoted });
    }
    let names: Vec<&str> = index.columns.iter().map(|c| c.column.as_str()).collect();
    let width = names.iter().map(|name| column_width(context, name)).sum::<Option<u64>>();
    if keys.len() > MOST_COLUMNS || width.is_none_or(|width| width > MOST_BYTES) {
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
        let condition = translate::condition(filter, &context.scope, Purpose::Filter)
            .map_err(|reason| format!("its filter is not translated: {reason}"))?;
        what.push_str(&format!(" WHERE {condition}"));
    }
    Ok((Action::Index { unique, what, constraint }, notes))
}

/// Whether equal keys can be kept out here too: what is unique in the source must be unique in the
/// target, or the stream would be refused.
fn is_unique_here(
    context: &Context<'_>,
    index: &Index,
    notes: &mut Vec<String>,
) -> Result<bool, String> {
    let key = index
        .columns
        .iter()
        .filter_map(|c| context.version.columns.iter().find(|column| column.name == c.column));
    let key: Vec<&Column> = key.collect();
    let times = |column: &Column| {
        matches!(
            context.ty(column),
            PgType::Time(_) | PgType::Timestamp(_) | PgType::TimestampTz(_)
        )
    };
    if let Some(column) = key.iter().find(|column| is_cut(column) && times(column)) {
        notes.push(format!(
            "not unique here: the seventh fractional digit of {} is cut off",
            column.name
        ));
        return Ok(false);
    }
    let exact = |c: &&&Column| c.collation.is_some() && !is_binary_text(c) && !context.collates(c);
    if let Some(column) = key.iter().find(exact) {
        notes.push(format!(
            "tells apart values of {} that collation {} takes for equal",
            column.name,
            column.collation.as_deref().unwrap_or_default()
        ));
    }
    Ok(true)
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
            (Ok(quoted), Some(added)) if fits && width + added <= MOST_BYTES => {
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

/// Most bytes of a column's value in an index; none for one without a limit.
fn column_width(context: &Context<'_>, name: &str) -> Option<u64> {
    let column = context.version.columns.iter().find(|column| column.name == name)?;
    if context.ty(column).is_text() && !matches!(column.ty, LogicalType::String { .. }) {
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
