//! A followed table as full loads read it: from the table itself, where the stream reads its change
//! table.
//!
//! The captured columns are read, in the table version's order. Computed columns are left out: the
//! stream never has them, so the rows do not have them either. What is read, and how, comes from the
//! shape that the table was settled with; [`LoadTable::same_shape`] proves after a read that the
//! table still had it, since a cast to a length that the column had would cut a longer value.

use lockstep_common::Code;
use lockstep_common::model::name::quote_mssql as quote;
use lockstep_common::{Failure, TableName, Value};
use tiberius::ColumnData;

use super::super::captured_table::{self, CapturedTable};
use super::super::catalog;
use super::super::connection::Lease;
use super::super::decode::{ColumnPlan, weight};
use super::super::secured;
use super::super::types::{RawColumn, Recording};
use super::key::KeyColumn;
use super::range::NotOfKey;

/// A table of a load.
#[derive(Debug)]
pub struct LoadTable {
    /// Name.
    pub name: TableName,
    /// `object_id`
    pub object_id: i32,
    /// Its capture instance.
    pub instance: String,
    /// Its captured columns as the source had them.
    pub source: Vec<RawColumn>,
    /// The captured columns: how each is read.
    pub columns: Vec<ColumnPlan>,
    /// The select list: all of `columns` that are not computed.
    pub list: String,
    /// It in a FROM clause.
    pub from: String,
    /// The key by which it is cut into ranges, or why it cannot be.
    pub key: Result<Vec<KeyColumn>, String>,
    /// The key's select list.
    pub key_list: String,
    /// Largest value.
    pub max_value_bytes: u64,
    /// The server knows masks and security policies.
    pub secures: bool,
}

impl LoadTable {
    /// Of a followed table.
    ///
    /// # Errors
    /// `Halt` for a shape that cannot be followed.
    pub fn new(
        followed: &CapturedTable,
        database_collation: Option<&str>,
        max_value_bytes: u64,
    ) -> Result<Self, Failure> {
        let (columns, sources) = captured_table::source_plans(&followed.instance, &followed.shape)?;
        let expression =
            |plan: &ColumnPlan| plan.plan.expression(&format!("t.{}", quote(&plan.name)));
        let list = |plans: &mut dyn Iterator<Item = &ColumnPlan>| {
            plans.map(expression).collect::<Vec<_>>().join(", ")
        };
        let version = &followed.table.version;
        let key_of = |index: &u16| {
            let index = usize::from(*index);
            KeyColumn::new(&sources[index], index, database_collation)
        };
        let key = match version.key.as_slice() {
            [] => Err("it has no key (a primary key, or a unique index without nullable columns, \
                       all of whose columns are captured)"
                .to_owned()),
            key => key.iter().map(key_of).collect(),
        };
        Ok(LoadTable {
            name: version.name.clone(),
            object_id: followed.instance.table_id,
            instance: followed.instance.name.clone(),
            source: sources.clone(),
            list: match list(&mut columns.iter().filter(|plan| is_read(plan))) {
                // Every captured column is computed: rows without values.
                none if none.is_empty() => "1".to_owned(),
                list => list,
            },
            // It may have been renamed since the log first had it.
            from: {
                let now = &followed.instance.table;
                format!("{}.{}", quote(&now.schema), quote(&now.table))
            },
            key_list: list(&mut version.key.iter().map(|index| &columns[usize::from(*index)])),
            key,
            columns,
            max_value_bytes,
            secures: true,
        })
    }

    /// What is done, for messages.
    pub fn doing(&self) -> String {
        format!("read the rows of {}", self.name)
    }

    /// Decodes a row of the select list. Returns about how many bytes it holds.
    pub fn row(&self, row: tiberius::Row, values: &mut Vec<Value<'_>>) -> Result<usize, Failure> {
        let mut cells = row.into_iter();
        let mut size = 0;
        values.clear();
        values.reserve(self.columns.len());
        for column in &self.columns {
            let value = if is_read(column) {
                self.value(column, cells.next())?
            } else {
                Value::Unavailable
            };
            size += weight(&value);
            values.push(value);
        }
        Ok(size)
    }

    /// Decodes a row of the key's select list.
    pub fn key_row(&self, row: tiberius::Row) -> Result<Vec<Value<'static>>, Failure> {
        let key = self.key.as_ref().map_err(|_| self.not_of_key(NotOfKey))?;
        let mut cells = row.into_iter();
        key.iter().map(|column| self.value(&self.columns[column.index], cells.next())).collect()
    }

    /// The key of a row of the select list.
    pub fn key_of(&self, row: &tiberius::Row) -> Result<Vec<Value<'static>>, Failure> {
        let key = self.key.as_ref().map_err(|_| self.not_of_key(NotOfKey))?;
        let value = |column: &KeyColumn| {
            let before = self.columns[..column.index].iter().filter(|plan| is_read(plan)).count();
            let cell = row.cells().nth(before).map(|(_, cell)| cell.clone());
            self.value(&self.columns[column.index], cell)
        };
        key.iter().map(value).collect()
    }

    /// `column_id` of a captured column.
    pub fn column_id(&self, index: usize) -> Option<i32> {
        let name = &self.columns.get(index)?.name;
        self.source.iter().find(|column| column.name == *name).map(|column| column.column_id)
    }

    /// The failure of a key that the server has otherwise than it is sent back: planning or reading would
    /// never end.
    pub fn never_ends(&self) -> Failure {
        Failure::new(
            Code::SourceLoad,
            format!("a key of {} compares as greater than itself", self.name),
        )
        .remedy(
            "its values cannot be sent back exactly: load it with capture.handoff = \"exact\", and \
             report this with the key's type and collation",
        )
    }

    fn value(
        &self,
        column: &ColumnPlan,
        cell: Option<ColumnData<'static>>,
    ) -> Result<Value<'static>, Failure> {
        let cell = cell.ok_or_else(|| super::super::wrong_results(&self.doing()))?;
        column.value(cell, self.max_value_bytes).map_err(|error| {
            Failure::new(Code::SourceValue, format!("cannot {}", self.doing())).remedy("a value must arrive exactly or not at all: raise capture.max_value_bytes if that \
                 is the limit, else report this")
            .with_source(error)
        })
    }

    /// A range that is not of this table's key.
    pub fn not_of_key(&self, error: NotOfKey) -> Failure {
        Failure::new(Code::SourceLoad, format!("cannot {}", self.doing())).remedy("the log's own picture of the load does not fit the table: begin a new pipeline (new log)")
        .with_source(error)
    }

    /// Proves that the table has the shape it was settled with.
    ///
    /// # Errors
    /// `Halt` when it was altered or dropped.
    pub async fn same_shape(&self, lease: &mut Lease) -> Result<(), Failure> {
        let now = catalog::columns(lease, vec![self.object_id]).await?;
        let of = |column: &&RawColumn| self.source.iter().any(|c| c.column_id == column.column_id);
        match now.get(&self.object_id) {
            Some(columns) if columns.iter().filter(of).eq(&self.source) => Ok(()),
            Some(_) => Err(self.altered("it was altered")),
            None => Err(self.altered("it was dropped, or the login may no longer read it")),
        }
    }

    /// Proves that the login sees the table's values and rows, as far as it may see what hides them.
    ///
    /// # Errors
    /// `Halt` when it does not.
    pub async fn nothing_hidden(&self, lease: Lease) -> Result<Lease, Failure> {
        if !self.secures {
            return Ok(lease);
        }
        let (lease, hidden) = secured::hidden(lease, &[self.object_id]).await?;
        let captured = |name: &str| self.columns.iter().any(|column| column.name == name);
        if let Some(failure) = hidden.of_table(self.object_id, &self.name, captured).pop() {
            return Err(failure);
        }
        lease.ok_or_else(|| super::super::wrong_results("look for masks and policies"))
    }

    /// As [`LoadTable::nothing_hidden`]; for a login that may not see policies, rows are counted as well.
    ///
    /// # Errors
    /// As [`LoadTable::nothing_hidden`].
    pub async fn all_shown(&self, lease: Lease) -> Result<Lease, Failure> {
        let mut lease = self.nothing_hidden(lease).await?;
        if self.secures && !secured::sees_policies(&mut lease).await? {
            secured::count(&mut lease, &self.name, &self.from, self.object_id).await?;
        }
        Ok(lease)
    }

    /// The failure of a table that changed under the load.
    pub fn altered(&self, what: &str) -> Failure {
        Failure::new(
            Code::SourceShape,
            format!("table {} changed while its rows were read: {what}", self.name),
        )
        .remedy(
            "rows of one load must have one shape: begin a new pipeline (new log), with the table \
             as it is now or without it",
        )
    }

    /// What an error of the server means while this table is read.
    pub fn classify(&self, lease: &Lease, error: tiberius::error::Error) -> Failure {
        match error.code() {
            // Dropped, or a column of it was.
            Some(207 | 208) => self.altered("it or a column of it is gone").with_source(error),
            // Under SNAPSHOT: DDL came behind the snapshot. A new look tells whether it was of matter.
            Some(3961) => Failure::new(
                Code::SourceLoadAgain,
                format!("table {} was altered while its rows were read", self.name),
            )
            .with_source(error),
            // The hint's index is gone.
            Some(307 | 308) => Failure::new(
                Code::SourceLoadAgain,
                format!("the index of the key of {} is gone", self.name),
            )
            .with_source(error),
            // SNAPSHOT is not allowed any more: a new connection asks how rows are read.
            Some(3952) => Failure::new(
                Code::SourceLoadAgain,
                "the database no longer allows snapshot isolation",
            )
            .with_source(error),
            // The version store no longer has the snapshot, or had no room for it.
            Some(3958 | 3959 | 3966 | 3967) => Failure::new(
                Code::SourceLoadAgain,
                format!("the snapshot that {} was read in is gone", self.name),
            )
            .with_source(error),
            Some(229 | 230) => {
                Failure::new(Code::SourcePermission, format!("the login may not {}", self.doing()))
                    .remedy(format!(
                        "GRANT SELECT ON {} to its user: a full load reads the table itself",
                        self.from
                    ))
                    .with_source(error)
            }
            _ => lease.classify(error, &self.doing()),
        }
    }
}

/// Whether a column is in the select list.
fn is_read(column: &ColumnPlan) -> bool {
    column.plan.recording != Recording::Never
}

/// About how many bytes a row takes before it is decoded.
pub fn row_weight(row: &tiberius::Row) -> usize {
    let cell = |cell: &ColumnData<'static>| match cell {
        ColumnData::Binary(Some(bytes)) => bytes.len(),
        ColumnData::String(Some(text)) => text.len(),
        _ => 0,
    };
    row.cells().map(|(_, data)| 32 + cell(data)).sum()
}
