//! The scalar functions `sys.fn_cdc_*`.

use std::cmp::Ordering;
use std::ops::Bound;

use super::schema::{Instance, Tables};
use super::{Context, Parameter, ScalarFunction, required};
use crate::storage::{Direction, KeyRange, Lsn, View};
use crate::{SqlError, SqlType, Value};

const LSN: SqlType = SqlType::Binary(10);
const NAME: SqlType = SqlType::NVarChar(Some(128));
const MASK: SqlType = SqlType::VarBinary(Some(128));

/// All of them.
pub(super) static FUNCTIONS: &[ScalarFunction] = &[
    ScalarFunction {
        name: "fn_cdc_get_max_lsn",
        parameters: Vec::new,
        returns: LSN,
        run: get_max_lsn,
    },
    ScalarFunction {
        name: "fn_cdc_get_min_lsn",
        parameters: || vec![required("@capture_instance", NAME)],
        returns: LSN,
        run: get_min_lsn,
    },
    ScalarFunction {
        name: "fn_cdc_increment_lsn",
        parameters: one_lsn,
        returns: LSN,
        run: |_, arguments| Ok(step(&arguments[0], Lsn::increment)),
    },
    ScalarFunction {
        name: "fn_cdc_decrement_lsn",
        parameters: one_lsn,
        returns: LSN,
        run: |_, arguments| Ok(step(&arguments[0], Lsn::decrement)),
    },
    ScalarFunction {
        name: "fn_cdc_map_lsn_to_time",
        parameters: one_lsn,
        returns: SqlType::DateTime,
        run: map_lsn_to_time,
    },
    ScalarFunction {
        name: "fn_cdc_map_time_to_lsn",
        parameters: || {
            vec![
                required("@relational_operator", SqlType::NVarChar(Some(30))),
                required("@tracking_time", SqlType::DateTime),
            ]
        },
        returns: LSN,
        run: map_time_to_lsn,
    },
    ScalarFunction {
        name: "fn_cdc_get_column_ordinal",
        parameters: || vec![required("@capture_instance", NAME), required("@column_name", NAME)],
        returns: SqlType::Int,
        run: |context, arguments| column_ordinal(context, &arguments[0], &arguments[1]),
    },
    ScalarFunction {
        name: "fn_cdc_is_bit_set",
        parameters: || vec![required("@position", SqlType::Int), required("@update_mask", MASK)],
        returns: SqlType::Bit,
        run: |_, arguments| Ok(is_bit_set(&arguments[0], &arguments[1])),
    },
    ScalarFunction {
        name: "fn_cdc_has_column_changed",
        parameters: || {
            vec![
                required("@capture_instance", NAME),
                required("@column_name", NAME),
                required("@update_mask", MASK),
            ]
        },
        returns: SqlType::Bit,
        run: |context, arguments| {
            let ordinal = column_ordinal(context, &arguments[0], &arguments[1])?;
            Ok(is_bit_set(&ordinal, &arguments[2]))
        },
    },
];

fn one_lsn() -> Vec<Parameter> {
    vec![required("@lsn_value", LSN)]
}

fn step(lsn: &Value, by: impl Fn(Lsn) -> Lsn) -> Value {
    Lsn::from_value(lsn).map_or(Value::Null, |lsn| by(lsn).to_value())
}

/// The `cdc` tables and what a statement may see of them; 208 `cdc.lsn_time_mapping` where CDC
/// is off.
pub(super) fn open(context: &mut Context<'_>) -> Result<(Tables, View), SqlError> {
    let tables = Tables::open(context.txn)?;
    let view = context.txn.statement_view()?;
    Ok((tables, view))
}

/// Whether the caller may see an instance: db_owner, or SELECT on all captured columns of the
/// source and the gating role where there is one.
pub(super) fn authorised(context: &Context<'_>, instance: &Instance) -> bool {
    context.access.is_db_owner()
        || (context.access.can_select(instance.source, &instance.column_ids())
            && instance.role_name.as_ref().is_none_or(|role| context.access.is_role_member(role)))
}

/// An instance the caller may see.
pub(super) fn visible_instance(
    context: &mut Context<'_>,
    name: &Value,
) -> Result<Option<Instance>, SqlError> {
    let Some(name) = name.to_text() else {
        return Ok(None);
    };
    let (tables, view) = open(context)?;
    Ok(tables.find(&view, &name)?.filter(|instance| authorised(context, instance)))
}

fn get_max_lsn(context: &mut Context<'_>, _: &[Value]) -> Result<Value, SqlError> {
    let (tables, view) = open(context)?;
    Ok(tables.newest_mapping(&view)?.map_or(Value::Null, |row| row[0].clone()))
}

fn get_min_lsn(context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, SqlError> {
    let Some(instance) = visible_instance(context, &arguments[0])? else {
        return Ok(Lsn::ZERO.to_value());
    };
    let modes = context.storage.cdc.modes(context.txn.database().id());
    Ok(match instance.start_lsn {
        Some(start) => start.to_value(),
        None if modes.fresh_min_lsn_is_zero => Lsn::ZERO.to_value(),
        None => Value::Null,
    })
}

fn map_lsn_to_time(context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, SqlError> {
    let Some(lsn) = Lsn::from_value(&arguments[0]) else {
        return Ok(Value::Null);
    };
    let (tables, view) = open(context)?;
    Ok(tables.mapping(&view, lsn)?.map_or(Value::Null, |(_, row)| row[2].clone()))
}

fn map_time_to_lsn(context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, SqlError> {
    let (Some(operator), time) = (arguments[0].to_text(), arguments[1].clone()) else {
        return Ok(Value::Null);
    };
    if time.is_null() {
        return Ok(Value::Null);
    }
    let time = vec![time];
    let (lower, upper, direction) = match operator.trim().to_lowercase().as_str() {
        "largest less than" => (Bound::Unbounded, Bound::Excluded(time), Direction::Backward),
        "largest less than or equal" => {
            (Bound::Unbounded, Bound::Included(time), Direction::Backward)
        }
        "smallest greater than" => (Bound::Excluded(time), Bound::Unbounded, Direction::Forward),
        "smallest greater than or equal" => {
            (Bound::Included(time), Bound::Unbounded, Direction::Forward)
        }
        _ => return Ok(Value::Null),
    };
    let (tables, view) = open(context)?;
    let index = Some(tables.by_end_time());
    let rows =
        view.scan(tables.lsn_time_mapping.id, index, KeyRange { lower, upper }, direction)?;
    // Several commits may share the time: the last of them for "largest", the first otherwise.
    let mut best: Option<(Value, Value)> = None;
    for row in rows {
        let (_, row) = row?;
        let Some((time, lsn)) = &best else {
            best = Some((row[2].clone(), row[0].clone()));
            continue;
        };
        if row[2].compare(time) != Ordering::Equal {
            break;
        }
        let wanted =
            if direction == Direction::Backward { Ordering::Greater } else { Ordering::Less };
        if row[0].compare(lsn) == wanted {
            best = Some((row[2].clone(), row[0].clone()));
        }
    }
    Ok(best.map_or(Value::Null, |(_, lsn)| lsn))
}

fn column_ordinal(
    context: &mut Context<'_>,
    instance: &Value,
    column: &Value,
) -> Result<Value, SqlError> {
    let (Some(instance), Some(column)) = (visible_instance(context, instance)?, column.to_text())
    else {
        return Ok(Value::Null);
    };
    let found = instance.columns.iter().find(|captured| super::same_name(&captured.name, &column));
    Ok(found
        .map_or(Value::Null, |captured| Value::Int(i32::try_from(captured.ordinal).unwrap_or(0))))
}

/// `SUBSTRING(mask, DATALENGTH(mask)-(ord-1)/8, 1) & 2^((ord-1)%8)`
fn is_bit_set(position: &Value, mask: &Value) -> Value {
    let (Some(position), Value::Binary(mask)) = (position.as_i64(), mask) else {
        return Value::Null;
    };
    let Some(bit) = usize::try_from(position - 1).ok() else {
        return Value::Bit(false);
    };
    let byte = mask.len().checked_sub(bit / 8 + 1).and_then(|at| mask.get(at));
    Value::Bit(byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
}
