//! What a row must pass on its way into a table: conversions, defaults, computed columns, NOT NULL
//! and CHECK.

use std::borrow::Cow;
use std::sync::Arc;

use super::bind::{Binder, Bound, Scope, Target, columns_of, types};
use super::collation::Label;
use super::convert;
use super::env::Env;
use super::expr::{Condition, Frame, Node, Typed};
use super::syntax::{parse_condition, parse_scalar};
use crate::storage::{BlockOperation, ColumnDef, Row, TableDef};
use crate::value::Str;
use crate::{SqlError, SqlType, Value};

/// Statements, as messages name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
    /// MERGE
    Merge,
    /// ALTER TABLE
    Alter,
}

impl Verb {
    /// As in messages.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Insert => "INSERT",
            Verb::Update => "UPDATE",
            Verb::Delete => "DELETE",
            Verb::Merge => "MERGE",
            Verb::Alter => "ALTER TABLE",
        }
    }
}

/// The rules of one table, bound.
pub struct RowRules {
    /// Table.
    pub table: Arc<TableDef>,
    /// Collations of its columns.
    labels: Vec<Label>,
    database: String,
    computed: Vec<(usize, Node)>,
    checks: Vec<(String, Condition)>,
    /// BLOCK predicates of security policies.
    blocks: Vec<(Option<BlockOperation>, Condition)>,
}

impl RowRules {
    /// Binds the rules of a table.
    ///
    /// # Errors
    /// Those of binding, if a definition no longer fits its table.
    pub fn new(binder: &Binder<'_, '_>, table: &Arc<TableDef>) -> Bound<RowRules> {
        binder.env.status.off.check("The statement", table)?;
        let mut scope = Scope::inside(None);
        scope.add_table(&table.name, columns_of(table));
        let mut computed = Vec::new();
        for (at, column) in table.columns.iter().enumerate() {
            if let Some(definition) = &column.computed {
                let value = binder.scalar(&parse_scalar(&definition.definition)?, &scope)?;
                computed.push((at, value.converted(&column.ty).node));
            }
        }
        let mut checks = Vec::new();
        for check in table.checks.iter().filter(|check| !check.disabled) {
            let condition = binder.condition(&parse_condition(&check.definition)?, &scope)?;
            checks.push((check.name.clone(), condition));
        }
        let target = Target { table: Arc::clone(table), elsewhere: None };
        Ok(RowRules {
            blocks: binder.row_blocks(&target)?,
            labels: table.columns.iter().map(ColumnDef::label).collect(),
            table: Arc::clone(table),
            database: binder.env.status.database.name(),
            computed,
            checks,
        })
    }

    /// The table's name as messages give it.
    pub fn full_name(&self) -> String {
        // A table variable stands in no database.
        if self.table.schema.is_empty() {
            return self.table.name.clone();
        }
        format!("{}.{}", self.database, self.table.full_name())
    }

    /// A value for a column.
    ///
    /// # Errors
    /// 2628 and those of conversions.
    pub fn assign(&self, at: usize, value: Value, from: &SqlType) -> Result<Value, SqlError> {
        let (column, label) = (&self.table.columns[at], self.labels[at]);
        let name = || (self.full_name(), column.name.clone());
        let value = convert::assign(value, from, &column.ty, label, name)?.labelled(label);
        Ok(if column.traits.unpadded { trimmed(value, column) } else { value })
    }

    /// Computes what is computed and checks what must hold.
    ///
    /// # Errors
    /// 515, 547.
    pub fn complete(
        &self,
        mut values: Vec<Value>,
        verb: Verb,
        env: &Env<'_>,
    ) -> Result<Row, SqlError> {
        if !self.computed.is_empty() {
            let rows = [Row::from(values.clone())];
            let frame = Frame { rows: &rows, outer: None };
            for (at, node) in &self.computed {
                let value = node.eval(&frame, env).map(Cow::into_owned)?;
                values[*at] = value.labelled(self.labels[*at]);
            }
        }
        if let Some(at) = self.table.row_version()
            && (verb != Verb::Alter || values[at].is_null())
        {
            let next = env.status.database.next_row_version();
            values[at] = Value::binary(&next.to_be_bytes());
        }
        for (column, value) in self.table.columns.iter().zip(&values) {
            if !column.nullable && value.is_null() {
                return Err(SqlError::new(
                    515,
                    16,
                    2,
                    format!(
                        "Cannot insert the value NULL into column '{}', table '{}'; column does not allow nulls. {} fails.",
                        column.name,
                        self.full_name(),
                        verb.name()
                    ),
                ));
            }
        }
        let row = Row::from(values);
        if !self.checks.is_empty() {
            self.check(&row, verb, env)?;
        }
        if !self.blocks.is_empty() {
            self.check_blocks(&row, verb, env)?;
        }
        Ok(row)
    }

    /// Error 33504 for a row that a BLOCK predicate keeps out.
    fn check_blocks(&self, row: &Row, verb: Verb, env: &Env<'_>) -> Result<(), SqlError> {
        let rows = [Row::clone(row)];
        let frame = Frame { rows: &rows, outer: None };
        for (operation, condition) in &self.blocks {
            let asked = match verb {
                Verb::Insert => *operation == Some(BlockOperation::AfterInsert),
                Verb::Update => *operation == Some(BlockOperation::AfterUpdate),
                Verb::Merge => true,
                Verb::Delete | Verb::Alter => false,
            };
            if asked && !condition.holds(&frame, env)? {
                return Err(SqlError::new(
                    33504,
                    16,
                    1,
                    format!(
                        "The attempted operation failed because the target object '{}' has a block predicate that conflicts with this operation. If the operation is performed on a view, the block predicate might be enforced on the underlying table. Modify the operation to target only the rows that are allowed by the block predicate.",
                        self.full_name()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// A check constraint holds unless it is FALSE.
    fn check(&self, row: &Row, verb: Verb, env: &Env<'_>) -> Result<(), SqlError> {
        let rows = [Row::clone(row)];
        let frame = Frame { rows: &rows, outer: None };
        for (name, condition) in &self.checks {
            if condition.eval(&frame, env)? == Some(false) {
                return Err(SqlError::new(
                    547,
                    16,
                    0,
                    format!(
                        "The {} statement conflicted with the CHECK constraint \"{name}\". The conflict occurred in database \"{}\", table \"{}\".",
                        verb.name(),
                        self.database,
                        self.table.full_name()
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// A value of a column made under ANSI_PADDING OFF: without trailing blanks or zeros, but where it is
/// of fixed length and NOT NULL.
/// <https://learn.microsoft.com/sql/t-sql/statements/set-ansi-padding-transact-sql>
fn trimmed(value: Value, column: &ColumnDef) -> Value {
    let fixed = matches!(column.ty, SqlType::Char(_) | SqlType::Binary(_));
    if fixed && !column.nullable {
        return value;
    }
    let kept = |bytes: &[u8], filler: u8| {
        bytes.iter().rposition(|byte| *byte != filler).map_or(0, |last| last + 1)
    };
    match value {
        Value::String(text) => {
            let length = kept(&text, b' ');
            Value::String(Str::from(&text[..length]).labelled(text.label()))
        }
        Value::Binary(bytes) => Value::binary(&bytes[..kept(&bytes, 0)]),
        other => other,
    }
}

/// The default of a column, NULL where it has none.
///
/// # Errors
/// Those of binding.
pub fn default_of(binder: &Binder<'_, '_>, table: &TableDef, at: usize) -> Bound<Typed> {
    let column = &table.columns[at];
    match &column.default {
        Some(default) => {
            let scope = Scope::inside(None);
            let value = binder.scalar(&parse_scalar(&default.definition)?, &scope)?;
            if let Some(from) = &value.ty
                && !convert::implicit_allowed(from, &column.ty)
            {
                return Err(types::not_implicit(from, &column.ty));
            }
            Ok(value)
        }
        None => Ok(Typed {
            node: Node::Constant(Value::Null),
            ty: Some(column.ty.clone()),
            nullable: true,
        }),
    }
}
