//! WRITETEXT and UPDATETEXT, and how a value is changed in part.
//!
//! A text pointer is `binary(16)`: the table and the row. Neither statement is captured: vendors list
//! it among the limitations of change data capture (AWS DMS, "WRITETEXT and UPDATETEXT"), and
//! Microsoft says nothing against it.

use super::ddl::not_found_or_allowed;
use crate::engine::batch::{Executor, Flow};
use crate::engine::bind::{Binder, Scope, types, unsupported};
use crate::engine::convert;
use crate::engine::expr::{Frame, Typed};
use crate::engine::fault::{Fault, of_binding};
use crate::engine::security::Permission;
use crate::engine::syntax::ast::WriteText;
use crate::storage::{ObjectId, Row, RowId, RowLock};
use crate::{SqlError, SqlType, Value};

/// The pointer to a row's value.
pub fn pointer(table: ObjectId, row: i64) -> Value {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&table.to_be_bytes());
    bytes[8..].copy_from_slice(&row.to_be_bytes());
    Value::binary(&bytes)
}

fn row_of(pointer: &Value, table: ObjectId) -> Option<RowId> {
    let Value::Binary(bytes) = pointer else {
        return None;
    };
    let (of, row) = (bytes.get(..4)?, bytes.get(8..16)?);
    let row = u64::from_be_bytes(row.try_into().ok()?);
    (of == table.to_be_bytes()).then_some(RowId(row))
}

/// Error 7133 or its kin: no such text.
fn invalid_pointer(pointer: &Value) -> SqlError {
    let shown = match pointer {
        Value::Binary(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => String::from("NULL"),
    };
    SqlError::new(7123, 16, 1, format!("Invalid text, ntext, or image pointer value {shown}."))
}

/// A value with a part of it replaced, from `offset` on (none: at its end) for `length` units (none: to
/// its end). Without new content it is cut at the offset.
///
/// # Errors
/// 102 for NULL and a place outside the value, whose errors are not known.
pub(super) fn spliced(
    old: &Value,
    new: &Value,
    (offset, length): (&Value, &Value),
) -> Result<Value, SqlError> {
    fn splice<T: Copy>(
        old: &[T],
        new: Option<&[T]>,
        offset: Option<i64>,
        length: Option<i64>,
    ) -> Result<Vec<T>, SqlError> {
        let outside = || unsupported("a place outside the value in .WRITE");
        let start = match offset {
            None => old.len(),
            Some(offset) => usize::try_from(offset).map_err(|_| outside())?,
        };
        let (head, tail) = old.split_at_checked(start).ok_or_else(outside)?;
        let Some(new) = new else {
            return Ok(head.to_vec());
        };
        let gone = match (offset, length) {
            (None, _) | (_, None) => tail.len(),
            (_, Some(length)) => usize::try_from(length).map_err(|_| outside())?.min(tail.len()),
        };
        Ok([head, new, &tail[gone..]].concat())
    }
    let (offset, length) = (offset.as_i64(), length.as_i64());
    let label = old.label();
    Ok(match (old, new) {
        (Value::String(old), Value::String(new)) => {
            Value::String(splice(old, Some(new), offset, length)?.into()).of_collation(label)
        }
        (Value::NString(old), Value::NString(new)) => {
            Value::NString(splice(old, Some(new), offset, length)?.into()).of_collation(label)
        }
        (Value::Binary(old), Value::Binary(new)) => {
            Value::Binary(splice(old, Some(new), offset, length)?.into())
        }
        (Value::String(old), Value::Null) => {
            Value::String(splice(old, None, offset, length)?.into()).of_collation(label)
        }
        (Value::NString(old), Value::Null) => {
            Value::NString(splice(old, None, offset, length)?.into()).of_collation(label)
        }
        (Value::Binary(old), Value::Null) => {
            Value::Binary(splice(old, None, offset, length)?.into())
        }
        _ => return Err(unsupported(".WRITE of a NULL column")),
    })
}

impl Executor<'_> {
    pub(crate) fn write_text(&mut self, write: &WriteText) -> Result<Flow, Fault> {
        self.with_env(true, |env, variables| {
            let binder = Binder::new(env, variables);
            let target = binder.resolve(&write.table, Permission::Update).map_err(of_binding)?;
            if target.elsewhere.is_some() {
                return Err(Fault::Compile(unsupported("a change in another database")));
            }
            let table = &target.table;
            let at = table
                .position(&write.column)
                .filter(|at| table.columns[*at].ty.is_old_lob())
                .ok_or_else(|| not_found_or_allowed(&write.column))?;
            let ty = &table.columns[at].ty;
            let value = |expr, ty: &SqlType| -> Result<Value, Fault> {
                let scope = Scope::inside(None);
                let typed: Typed = binder.scalar(expr, &scope).map_err(of_binding)?;
                let typed = types::implicit(typed, ty).map_err(of_binding)?;
                Ok(typed.node.eval(&Frame::empty(), env)?.into_owned())
            };
            let pointer = value(&write.pointer, &SqlType::VarBinary(Some(16)))?;
            let row = row_of(&pointer, table.id).ok_or_else(|| invalid_pointer(&pointer))?;
            let found = env.with_txn(|txn| txn.lock_row(table.id, row, RowLock::Update))?;
            let mut content = found.ok_or_else(|| invalid_pointer(&pointer))?.to_vec();
            let label = table.columns[at].label();
            let data = match &write.data {
                Some(data) => value(data, ty)?.labelled(label),
                None => Value::Null,
            };
            content[at] = match &write.place {
                None => data,
                Some((offset, length)) => {
                    let offset = value(offset, &SqlType::BigInt)?;
                    let length = value(length, &SqlType::BigInt)?;
                    let empty =
                        convert::convert(&Value::text(""), &SqlType::NVarChar(None), ty, None);
                    let data = match (&write.data, empty) {
                        (None, Ok(empty)) => empty,
                        _ => data,
                    };
                    spliced(&content[at], &data, (&offset, &length))?
                }
            };
            let row_now: Row = content.into();
            env.with_txn(|txn| txn.update_unseen(table.id, row, &row_now))?;
            Ok(())
        })?;
        self.done()
    }
}
