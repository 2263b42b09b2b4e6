//! The table-valued functions of an instance.
//!
//! They read the change table WITH (NOLOCK), as SQL Server's do: rows of a scan that has not
//! committed yet can be in their answer.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::functions::{authorised, open};
use super::schema::{CT_PREFIX, Instance};
use super::{Context, TableFunction, required, same_name};
use crate::storage::{Direction, KeyRange, Lsn, Row, TableDef};
use crate::{Column, Origin, SqlError, SqlType, Value};

/// Rows of an answer.
pub type Rows = Box<dyn Iterator<Item = Result<Row, SqlError>> + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    All,
    Net,
}

/// The function of this name in the current database.
pub(super) fn find(
    context: &mut Context<'_>,
    name: &str,
) -> Result<Option<TableFunction>, SqlError> {
    let name = super::bare_name(name, "cdc");
    let prefixes = [("fn_cdc_get_all_changes_", Kind::All), ("fn_cdc_get_net_changes_", Kind::Net)];
    let found = prefixes.into_iter().find_map(|(prefix, kind)| {
        let (head, rest) = name.split_at_checked(prefix.len())?;
        same_name(head, prefix).then_some((kind, rest))
    });
    let Some((kind, instance)) = found else {
        return Ok(None);
    };
    if !context.txn.database().info().cdc_enabled {
        return Ok(None);
    }
    let (tables, view) = open(context)?;
    let instance = tables.find(&view, instance)?;
    let Some(instance) = instance.filter(|i| kind == Kind::All || i.supports_net_changes) else {
        return Ok(None);
    };
    let Some(table) = context.txn.table_by_id(instance.change_table)? else {
        return Ok(None);
    };
    Ok(Some(TableFunction {
        columns: columns(&table, kind),
        parameters: vec![
            required("@from_lsn", SqlType::Binary(10)),
            required("@to_lsn", SqlType::Binary(10)),
            required("@row_filter_option", SqlType::NVarChar(Some(30))),
        ],
        table,
        kind,
        instance,
    }))
}

fn columns(table: &TableDef, kind: Kind) -> Vec<Column> {
    positions(table, kind)
        .map(|at| {
            let column = &table.columns[at];
            Column {
                name: column.name.clone(),
                ty: column.ty.clone(),
                nullable: column.nullable,
                origin: Origin::Stored,
                label: column.label(),
            }
        })
        .collect()
}

/// Columns of the answer: no `__$end_lsn`, no `__$command_id`; net changes have no `__$seqval`.
fn positions(table: &TableDef, kind: Kind) -> impl Iterator<Item = usize> {
    let head: &[usize] = if kind == Kind::All { &[0, 2, 3, 4] } else { &[0, 3, 4] };
    head.iter().copied().chain(CT_PREFIX..table.columns.len() - 1)
}

/// Error 313, the same for every cause; the ` ... ` is in the name as SQL Server says it.
fn not_enough_arguments(kind: Kind) -> SqlError {
    let what = if kind == Kind::All { "all" } else { "net" };
    SqlError::new(
        313,
        16,
        3,
        format!(
            "An insufficient number of arguments were supplied for the procedure or function cdc.fn_cdc_get_{what}_changes_ ... ."
        ),
    )
}

impl TableFunction {
    /// Opens it.
    ///
    /// # Errors
    /// 313 for every argument it does not like, 229 without rights.
    pub fn open(&self, context: &mut Context<'_>, arguments: &[Value]) -> Result<Rows, SqlError> {
        if !authorised(context, &self.instance) {
            let database = context.txn.database().name();
            let what = if self.kind == Kind::All { "all" } else { "net" };
            return Err(SqlError::new(
                229,
                14,
                5,
                format!(
                    "The SELECT permission was denied on the object 'fn_cdc_get_{what}_changes_{}', database '{database}', schema 'cdc'.",
                    self.instance.name
                ),
            ));
        }
        let refused = || not_enough_arguments(self.kind);
        let [from, to, option] = arguments else {
            return Err(refused());
        };
        let (Some(from), Some(to), Some(option)) =
            (Lsn::from_value(from), Lsn::from_value(to), option.to_text())
        else {
            return Err(refused());
        };
        let (tables, view) = open(context)?;
        let newest = tables.newest_mapping(&view)?.and_then(|row| Lsn::from_value(&row[0]));
        // The instance as it is now: its mark may have moved since the statement was bound.
        let start =
            tables.find(&view, &self.instance.name)?.and_then(|instance| instance.start_lsn);
        let within =
            start.is_some_and(|start| from >= start) && newest.is_some_and(|newest| to <= newest);
        if !within || from > to {
            return Err(refused());
        }
        let Some(table) = context.txn.table_by_id(self.instance.change_table)? else {
            return Err(crate::storage::invalid_object(&format!("cdc.{}_CT", self.instance.name)));
        };
        let range = KeyRange {
            lower: Bound::Included(vec![from.to_value()]),
            upper: Bound::Included(vec![to.to_value()]),
        };
        let rows = context.txn.dirty_view().scan(table.id, None, range, Direction::Forward)?;
        let rows = rows.map(|row| row.map(|(_, row)| row));
        match (self.kind, option.trim().to_lowercase().as_str()) {
            (Kind::All, "all") => Ok(all_changes(&table, rows, false)),
            (Kind::All, "all update old") => Ok(all_changes(&table, rows, true)),
            (Kind::Net, option @ ("all" | "all with mask" | "all with merge")) => {
                net_changes(&table, &self.instance, rows, option)
            }
            _ => Err(refused()),
        }
    }
}

fn all_changes(
    table: &TableDef,
    rows: impl Iterator<Item = Result<Row, SqlError>> + Send + 'static,
    old: bool,
) -> Rows {
    let positions: Vec<usize> = positions(table, Kind::All).collect();
    Box::new(rows.filter_map(move |row| match row {
        Err(error) => Some(Err(error)),
        Ok(row) if row[3] == Value::Int(3) && !old => None,
        Ok(row) => Some(Ok(positions.iter().map(|at| row[*at].clone()).collect())),
    }))
}

/// A key whose order is the values'.
struct Key(Vec<Value>);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0
            .iter()
            .zip(&other.0)
            .map(|(left, right)| left.compare(right))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

struct Net {
    first: i32,
    last: Row,
    mask: Vec<u8>,
}

/// One row per key: what the window's changes come to.
fn net_changes(
    table: &TableDef,
    instance: &Instance,
    rows: impl Iterator<Item = Result<Row, SqlError>>,
    option: &str,
) -> Result<Rows, SqlError> {
    let key: Vec<usize> = instance.key.iter().filter_map(|name| table.position(name)).collect();
    let mut net: BTreeMap<Key, Net> = BTreeMap::new();
    for row in rows {
        let row = row?;
        let operation = super::schema::int(&row[3]);
        if operation == 3 {
            continue;
        }
        let mask = match &row[4] {
            Value::Binary(mask) if operation == 4 => mask.to_vec(),
            _ => Vec::new(),
        };
        let id = Key(key.iter().map(|at| row[*at].clone()).collect());
        let entry = net.entry(id).or_insert_with(|| Net {
            first: operation,
            last: row.clone(),
            mask: Vec::new(),
        });
        entry.last = row;
        if entry.mask.len() < mask.len() {
            entry.mask = mask;
        } else {
            entry.mask.iter_mut().zip(mask).for_each(|(all, one)| *all |= one);
        }
    }
    let positions: Vec<usize> = positions(table, Kind::Net).collect();
    let mut result: Vec<Row> = Vec::new();
    for net in net.into_values() {
        let last = super::schema::int(&net.last[3]);
        let operation = match (net.first, last) {
            (2, 1) => continue,
            (_, 1) => 1,
            _ if option == "all with merge" => 5,
            (2, _) => 2,
            _ => 4,
        };
        let mut row = net.last.to_vec();
        row[3] = Value::Int(operation);
        row[4] = match operation {
            4 if option == "all with mask" => Value::binary(&net.mask),
            _ => Value::Null,
        };
        result.push(positions.iter().map(|at| row[*at].clone()).collect());
    }
    Ok(Box::new(result.into_iter().map(Ok)))
}
