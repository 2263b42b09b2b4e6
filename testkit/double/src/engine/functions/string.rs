//! Functions over strings and binaries. Positions count from 1; a length or position out of range
//! is cut to what is there, as SQL Server does.

use super::{Arguments, Bound, Computed, call, string_like, units};
use crate::engine::bind::types;
use crate::engine::collation::{self, Collation, Label};
use crate::engine::env::Env;
use crate::engine::expr::{Node, Typed, like};
use crate::{SqlError, SqlType, Value};

/// Binds a function of this module.
///
/// # Errors
/// Numbers and types of arguments.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    match name {
        "LEN" => {
            arguments.arity(1, 1)?;
            let text = arguments.text()?;
            let ty = if text.type_or_int().is_max() { SqlType::BigInt } else { SqlType::Int };
            let node = Typed::call(len, vec![text.node], SqlType::Int).converted(&ty).node;
            Ok(Some(Typed { node, ty: Some(ty), nullable: true }))
        }
        "DATALENGTH" => {
            arguments.arity(1, 1)?;
            let value = arguments.any()?;
            let own = value.type_or_int();
            let ty = if own.is_max() { SqlType::BigInt } else { SqlType::Int };
            let fixed = i32::from(own.max_length());
            let width = Node::Constant(Value::Int(fixed));
            Ok(Some(Typed::call(data_length, vec![value.node, width], SqlType::Int).converted(&ty)))
        }
        "SUBSTRING" => {
            arguments.arity(3, 3)?;
            let value = arguments.any()?;
            let value = match value.type_or_int() {
                SqlType::Text => value.converted(&SqlType::VarChar(None)),
                SqlType::NText => value.converted(&SqlType::NVarChar(None)),
                SqlType::Image => value.converted(&SqlType::VarBinary(None)),
                SqlType::RowVersion => value.converted(&SqlType::VarBinary(Some(8))),
                _ => value,
            };
            let ty = match value.type_or_int() {
                SqlType::Binary(n) => SqlType::VarBinary(Some(n)),
                ty @ SqlType::VarBinary(_) => ty,
                ty if ty.is_text() => variable(&ty),
                ty => return Err(argument_type(&ty, 1, "substring")),
            };
            call(substring, vec![value.node, arguments.int()?, arguments.int()?], ty)
        }
        "LEFT" | "RIGHT" => {
            arguments.arity(2, 2)?;
            let value = arguments.text()?;
            let ty = variable(&value.type_or_int());
            let function = if name == "LEFT" { left } else { right };
            call(function, vec![value.node, arguments.int()?], ty)
        }
        "UPPER" | "LOWER" => {
            arguments.arity(1, 1)?;
            let value = arguments.text()?;
            let ty = variable(&value.type_or_int());
            call(if name == "UPPER" { upper } else { lower }, vec![value.node], ty)
        }
        "LTRIM" | "RTRIM" | "TRIM" => {
            arguments.arity(1, 1)?;
            let value = arguments.text()?;
            let ty = variable(&value.type_or_int());
            let function = match name {
                "LTRIM" => trim_left,
                "RTRIM" => trim_right,
                _ => trim,
            };
            call(function, vec![value.node], ty)
        }
        "REVERSE" => {
            arguments.arity(1, 1)?;
            let value = arguments.text()?;
            let ty = variable(&value.type_or_int());
            call(reverse, vec![value.node], ty)
        }
        "REPLACE" => {
            arguments.arity(3, 3)?;
            let (value, from, to) = (arguments.text()?, arguments.text()?, arguments.text()?);
            let unicode = [&value, &from, &to].iter().any(|v| v.type_or_int().is_unicode());
            let max = value.type_or_int().is_max();
            let ty = sized(unicode, max);
            let wide = if unicode { SqlType::NVarChar(None) } else { SqlType::VarChar(None) };
            let arguments = [value, from, to].map(|v| v.converted(&wide).node).to_vec();
            let result = Typed::call(replace, arguments, wide);
            types::implicit(result, &ty).map(Some)
        }
        "REPLICATE" => {
            arguments.arity(2, 2)?;
            let value = arguments.text()?;
            let own = value.type_or_int();
            let ty = sized(own.is_unicode(), own.is_max());
            let limit = match (own.is_max(), own.is_unicode()) {
                (true, _) => i32::MAX,
                (false, true) => 4000,
                (false, false) => 8000,
            };
            call(
                replicate,
                vec![value.node, arguments.int()?, Node::Constant(Value::Int(limit))],
                ty,
            )
        }
        "SPACE" => {
            arguments.arity(1, 1)?;
            call(space, vec![arguments.int()?], SqlType::VarChar(Some(8000)))
        }
        "STUFF" => {
            arguments.arity(4, 4)?;
            let value = arguments.text()?;
            let (start, length) = (arguments.int()?, arguments.int()?);
            let insert = arguments.text()?;
            let unicode = value.type_or_int().is_unicode() || insert.type_or_int().is_unicode();
            let max = value.type_or_int().is_max() || insert.type_or_int().is_max();
            let wide = if unicode { SqlType::NVarChar(None) } else { SqlType::VarChar(None) };
            let parts =
                vec![value.converted(&wide).node, start, length, insert.converted(&wide).node];
            let result = Typed::call(stuff, parts, wide);
            types::implicit(result, &sized(unicode, max)).map(Some)
        }
        "CHARINDEX" => {
            arguments.arity(2, 3)?;
            let (needle, text) = (arguments.text()?, arguments.text()?);
            let start = match arguments.more() {
                true => arguments.int()?,
                false => Node::Constant(Value::Int(1)),
            };
            let ty = if text.type_or_int().is_max() { SqlType::BigInt } else { SqlType::Int };
            let bound = Typed::call(char_index, vec![needle.node, text.node, start], SqlType::Int);
            Ok(Some(bound.converted(&ty)))
        }
        "PATINDEX" => {
            arguments.arity(2, 2)?;
            let (pattern, text) = (arguments.text()?, arguments.text()?);
            call(pattern_index, vec![pattern.node, text.node], SqlType::Int)
        }
        "CONCAT" => concat(arguments),
        "STR" => {
            arguments.arity(1, 3)?;
            let value = arguments.of(&SqlType::Float)?;
            let length =
                if arguments.more() { arguments.int()? } else { Node::Constant(Value::Int(10)) };
            let places =
                if arguments.more() { arguments.int()? } else { Node::Constant(Value::Int(0)) };
            call(str, vec![value.node, length, places], SqlType::VarChar(Some(8000)))
        }
        "CHAR" => {
            arguments.arity(1, 1)?;
            call(char, vec![arguments.int()?], SqlType::Char(1))
        }
        "NCHAR" => {
            arguments.arity(1, 1)?;
            call(nchar, vec![arguments.int()?], SqlType::NChar(1))
        }
        "ASCII" => {
            arguments.arity(1, 1)?;
            let value = arguments.text()?.converted(&SqlType::VarChar(None));
            call(ascii, vec![value.node], SqlType::Int)
        }
        "UNICODE" => {
            arguments.arity(1, 1)?;
            let value = arguments.text()?;
            call(unicode, vec![value.node], SqlType::Int)
        }
        "QUOTENAME" => {
            arguments.arity(1, 1)?;
            let value = arguments.of(&SqlType::NVarChar(Some(128)))?;
            call(quote_name, vec![value.node], SqlType::NVarChar(Some(258)))
        }
        _ => Ok(None),
    }
}

/// Error 8116.
pub fn argument_type(ty: &SqlType, position: u32, function: &str) -> SqlError {
    SqlError::new(
        8116,
        16,
        1,
        format!(
            "Argument data type {} is invalid for argument {position} of {function} function.",
            ty.name()
        ),
    )
}

fn variable(ty: &SqlType) -> SqlType {
    match ty {
        SqlType::Char(n) => SqlType::VarChar(Some(*n)),
        SqlType::NChar(n) => SqlType::NVarChar(Some(*n)),
        other => other.clone(),
    }
}

fn sized(unicode: bool, max: bool) -> SqlType {
    match (unicode, max) {
        (true, true) => SqlType::NVarChar(None),
        (true, false) => SqlType::NVarChar(Some(4000)),
        (false, true) => SqlType::VarChar(None),
        (false, false) => SqlType::VarChar(Some(8000)),
    }
}

fn count(value: usize) -> Value {
    Value::Int(i32::try_from(value).unwrap_or(i32::MAX))
}

fn any_null(arguments: &[Value]) -> bool {
    arguments.iter().any(Value::is_null)
}

fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn len(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match units(&arguments[0]) {
        None => Value::Null,
        Some(units) => count(units.iter().rposition(|unit| *unit != 0x20).map_or(0, |at| at + 1)),
    })
}

fn data_length(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match &arguments[0] {
        Value::Null => Value::Null,
        Value::String(bytes) | Value::Binary(bytes) => count(bytes.len()),
        Value::NString(units) => count(units.len() * 2),
        Value::Variant(variant) => match &variant.value {
            Value::String(bytes) | Value::Binary(bytes) => count(bytes.len()),
            Value::NString(units) => count(units.len() * 2),
            _ => Value::Int(i32::from(variant.ty.max_length())),
        },
        _ => arguments[1].clone(),
    })
}

/// The part of `length` items from position `start`, which may lie before the first.
fn part<T>(items: &[T], start: i64, length: i64) -> &[T] {
    let end = start.saturating_add(length).saturating_sub(1).max(0);
    let from = usize::try_from((start - 1).max(0)).unwrap_or(usize::MAX).min(items.len());
    let to = usize::try_from(end).unwrap_or(usize::MAX).clamp(from, items.len());
    &items[from..to]
}

fn substring(_: &Env<'_>, arguments: &[Value]) -> Computed {
    if any_null(arguments) {
        return Ok(Value::Null);
    }
    let (start, length) = (whole(&arguments[1]), whole(&arguments[2]));
    if length < 0 {
        return Err(SqlError::new(
            537,
            16,
            3,
            "Invalid length parameter passed to the LEFT or SUBSTRING function.",
        ));
    }
    Ok(match &arguments[0] {
        Value::String(bytes) if bytes.label().page().is_wide() => {
            let units = arguments[0].units().unwrap_or_default();
            string_like(&arguments[0], part(&units, start, length).to_vec())
        }
        Value::String(bytes) => {
            Value::String(part(bytes, start, length).into()).of_collation(bytes.label())
        }
        Value::NString(units) => Value::NString(part(units, start, length).into()),
        Value::Binary(bytes) => Value::Binary(part(bytes, start, length).into()),
        _ => Value::Null,
    })
}

fn left(env: &Env<'_>, arguments: &[Value]) -> Computed {
    substring(env, &[arguments[0].clone(), Value::Int(1), arguments[1].clone()])
}

fn right(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(units), false) = (units(&arguments[0]), arguments[1].is_null()) else {
        return Ok(Value::Null);
    };
    let length = usize::try_from(whole(&arguments[1])).map_err(|_| {
        SqlError::new(536, 16, 4, "Invalid length parameter passed to the RIGHT function.")
    })?;
    let from = units.len().saturating_sub(length);
    Ok(string_like(&arguments[0], units[from..].to_vec()))
}

fn mapped(value: &Value, map: impl FnOnce(Vec<u16>) -> Vec<u16>) -> Computed {
    Ok(match units(value) {
        Some(units) => string_like(value, map(units)),
        None => Value::Null,
    })
}

fn upper(_: &Env<'_>, arguments: &[Value]) -> Computed {
    mapped(&arguments[0], |units| units.into_iter().map(collation::upper).collect())
}

fn lower(_: &Env<'_>, arguments: &[Value]) -> Computed {
    mapped(&arguments[0], |units| units.into_iter().map(collation::lower).collect())
}

fn without_left(units: Vec<u16>) -> Vec<u16> {
    units.into_iter().skip_while(|unit| *unit == 0x20).collect()
}

fn without_right(mut units: Vec<u16>) -> Vec<u16> {
    while units.last() == Some(&0x20) {
        units.pop();
    }
    units
}

fn trim_left(_: &Env<'_>, arguments: &[Value]) -> Computed {
    mapped(&arguments[0], without_left)
}

fn trim_right(_: &Env<'_>, arguments: &[Value]) -> Computed {
    mapped(&arguments[0], without_right)
}

fn trim(_: &Env<'_>, arguments: &[Value]) -> Computed {
    mapped(&arguments[0], |units| without_left(without_right(units)))
}

fn reverse(_: &Env<'_>, arguments: &[Value]) -> Computed {
    mapped(&arguments[0], |mut units| {
        units.reverse();
        units
    })
}

/// Position of `needle` at or behind `from`, under a collation.
fn find(text: &[u16], needle: &[u16], from: usize, rule: Collation) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    (from..=text.len().checked_sub(needle.len())?).find(|at| {
        text[*at..*at + needle.len()].iter().zip(needle).all(|(l, r)| rule.same_char(*l, *r))
    })
}

fn replace(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(text), Some(from), Some(to)) =
        (units(&arguments[0]), units(&arguments[1]), units(&arguments[2]))
    else {
        return Ok(Value::Null);
    };
    let (mut result, mut at) = (Vec::new(), 0);
    let rule = arguments[0].label().with(arguments[1].label()).collation();
    while let Some(found) = find(&text, &from, at, rule) {
        result.extend_from_slice(&text[at..found]);
        result.extend_from_slice(&to);
        at = found + from.len();
    }
    result.extend_from_slice(&text[at..]);
    Ok(string_like(&arguments[0], result))
}

fn replicate(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(text), false) = (units(&arguments[0]), arguments[1].is_null()) else {
        return Ok(Value::Null);
    };
    let Ok(times) = usize::try_from(whole(&arguments[1])) else {
        return Ok(Value::Null);
    };
    let limit = usize::try_from(whole(&arguments[2])).unwrap_or(usize::MAX);
    let wanted = text.len().saturating_mul(times);
    if wanted > limit && limit == i32::MAX as usize {
        return Err(SqlError::new(
            7119,
            16,
            1,
            "Attempting to grow LOB beyond maximum allowed size of 2147483647 bytes.",
        ));
    }
    let mut result = text.repeat(times.min(limit / text.len().max(1) + 1));
    result.truncate(limit);
    Ok(string_like(&arguments[0], result))
}

fn space(_: &Env<'_>, arguments: &[Value]) -> Computed {
    if any_null(arguments) {
        return Ok(Value::Null);
    }
    let Ok(times) = usize::try_from(whole(&arguments[0])) else {
        return Ok(Value::Null);
    };
    Ok(Value::String(vec![b' '; times.min(8000)].into()))
}

fn stuff(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let Some(text) = units(&arguments[0]) else {
        return Ok(Value::Null);
    };
    if arguments[1].is_null() || arguments[2].is_null() {
        return Ok(Value::Null);
    }
    let (start, length) = (whole(&arguments[1]), whole(&arguments[2]));
    let start = match usize::try_from(start - 1) {
        Ok(start) if start < text.len() && length >= 0 => start,
        _ => return Ok(Value::Null),
    };
    let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(text.len());
    let mut result = text[..start].to_vec();
    result.extend(units(&arguments[3]).unwrap_or_default());
    result.extend_from_slice(&text[end..]);
    Ok(string_like(&arguments[0], result))
}

fn char_index(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(needle), Some(text)) = (units(&arguments[0]), units(&arguments[1])) else {
        return Ok(Value::Null);
    };
    let from = usize::try_from(whole(&arguments[2]) - 1).unwrap_or(0);
    let rule = arguments[0].label().with(arguments[1].label()).collation();
    Ok(count(find(&text, &needle, from, rule).map_or(0, |at| at + 1)))
}

fn pattern_index(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(mut pattern), Some(text)) = (units(&arguments[0]), units(&arguments[1])) else {
        return Ok(Value::Null);
    };
    // With a leading `%` the position of what follows it counts.
    let floating = pattern.first() == Some(&0x25);
    if floating {
        pattern.remove(0);
    }
    let last = if floating { text.len() } else { 0 };
    for at in 0..=last {
        let rest = Value::NString(text[at..].into());
        if like::matches(&rest, &Value::NString(pattern.clone().into()), None)? == Some(true) {
            return Ok(count(at + 1));
        }
    }
    Ok(Value::Int(0))
}

/// CONCAT: NULLs count as empty.
fn concat(arguments: &mut Arguments) -> Bound<Option<Typed>> {
    arguments.arity(2, 254)?;
    let mut parts = Vec::new();
    while arguments.more() {
        parts.push(arguments.text()?);
    }
    let unicode = parts.iter().any(|part| part.type_or_int().is_unicode());
    let max = parts.iter().any(|part| part.type_or_int().is_max());
    let wide = if unicode { SqlType::NVarChar(None) } else { SqlType::VarChar(None) };
    let nodes = parts.into_iter().map(|part| part.converted(&wide).node).collect();
    let ty = sized(unicode, max);
    let function = if unicode { concat_unicode } else { concat_bytes };
    let joined = Typed { nullable: false, ..Typed::call(function, nodes, wide) };
    Ok(Some(types::implicit(joined, &ty)?))
}

fn concat_unicode(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let joined: Vec<u16> = arguments.iter().filter_map(units).flatten().collect();
    Ok(Value::NString(joined.into()))
}

fn concat_bytes(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let label = arguments.iter().fold(Label::default(), |label, part| label.with(part.label()));
    let mut joined = Vec::new();
    for argument in arguments {
        if let Value::String(bytes) = argument.clone().labelled(label) {
            joined.extend_from_slice(&bytes);
        }
    }
    Ok(Value::String(joined.into()).of_collation(label))
}

fn str(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Value::Float(value), false) = (&arguments[0], any_null(arguments)) else {
        return Ok(Value::Null);
    };
    let length = usize::try_from(whole(&arguments[1])).unwrap_or(0).min(8000);
    let places = usize::try_from(whole(&arguments[2])).unwrap_or(0).min(16);
    let mut text = format!("{value:.places$}");
    if text.len() > length {
        let whole_part = text.split('.').next().unwrap_or_default().len();
        if whole_part > length {
            return Ok(Value::ansi(&"*".repeat(length)));
        }
        text = format!("{value:.*}", length.saturating_sub(whole_part + 1));
    }
    Ok(Value::ansi(&format!("{text:>length$}")))
}

fn char(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match u8::try_from(whole(&arguments[0])) {
        Ok(byte) if !arguments[0].is_null() => Value::String([byte].into()),
        _ => Value::Null,
    })
}

fn nchar(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match u16::try_from(whole(&arguments[0])) {
        Ok(unit) if !arguments[0].is_null() => Value::NString([unit].into()),
        _ => Value::Null,
    })
}

fn ascii(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match &arguments[0] {
        Value::String(bytes) => {
            bytes.first().map_or(Value::Null, |byte| Value::Int(i32::from(*byte)))
        }
        _ => Value::Null,
    })
}

fn unicode(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(units(&arguments[0])
        .and_then(|units| units.first().copied())
        .map_or(Value::Null, |unit| Value::Int(i32::from(unit))))
}

fn quote_name(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match arguments[0].to_text() {
        Some(name) => Value::text(&format!("[{}]", name.replace(']', "]]"))),
        None => Value::Null,
    })
}
