//! What is in a `sql_variant`, and what a collation is.

use std::sync::Arc;

use super::{Arguments, Bound, Computed, call};
use crate::engine::collation::Label;
use crate::engine::env::Env;
use crate::engine::expr::Typed;
use crate::sql_type::Family;
use crate::value::Variant;
use crate::{SqlType, Value};

/// Binds a function of this module.
///
/// # Errors
/// Numbers and types of arguments.
pub fn bind(name: &str, arguments: &mut Arguments) -> Bound<Option<Typed>> {
    match name {
        "SQL_VARIANT_PROPERTY" => {
            arguments.arity(2, 2)?;
            let value = arguments.of(&SqlType::Variant)?;
            let property = arguments.of(&SqlType::VarChar(Some(128)))?;
            call(variant_property, vec![value.node, property.node], SqlType::Variant)
        }
        "COLLATIONPROPERTY" => {
            arguments.arity(2, 2)?;
            let collation = arguments.of(&SqlType::NVarChar(Some(128)))?;
            let property = arguments.of(&SqlType::VarChar(Some(128)))?;
            call(collation_property, vec![collation.node, property.node], SqlType::Variant)
        }
        _ => Ok(None),
    }
}

fn number(value: i32) -> Value {
    Value::Variant(Arc::new(Variant { ty: SqlType::Int, value: Value::Int(value) }))
}

/// <https://learn.microsoft.com/sql/t-sql/functions/collation-functions-collationproperty-transact-sql>
fn collation_property(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let label = arguments[0].to_text().and_then(|name| Label::named(name.trim_end()));
    let (Some(label), Some(property)) = (label, arguments[1].to_text()) else {
        return Ok(Value::Null);
    };
    let whole = |value: u32| number(i32::try_from(value).unwrap_or(i32::MAX));
    Ok(match &*property.trim_end().to_ascii_lowercase() {
        "codepage" => number(i32::from(label.page().0)),
        "lcid" => whole(label.lcid()),
        "version" => whole(label.version()),
        "comparisonstyle" => whole(label.comparison_style()),
        _ => Value::Null,
    })
}

/// NULL for what is no property, and for a property that the base type does not have.
/// <https://learn.microsoft.com/sql/t-sql/functions/sql-variant-property-transact-sql>
fn variant_property(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Value::Variant(variant), Some(property)) = (&arguments[0], arguments[1].to_text()) else {
        return Ok(Value::Null);
    };
    let ty = &variant.ty;
    let name = |text: &str| {
        let value = Value::text(text);
        Value::Variant(Arc::new(Variant { ty: SqlType::NVarChar(Some(128)), value }))
    };
    Ok(match &*property.trim_end().to_ascii_lowercase() {
        "basetype" => name(ty.name()),
        "precision" => number(i32::from(ty.precision())),
        "scale" => number(i32::from(ty.scale())),
        "maxlength" => number(i32::from(ty.max_length())),
        "totalbytes" => number(total_bytes(variant)),
        "collation" if ty.is_text() => name(&variant.value.label().name()),
        _ => Value::Null,
    })
}

/// Bytes of data and metadata: two, and the facets of types that have some.
fn total_bytes(variant: &Variant) -> i32 {
    let data = match &variant.value {
        Value::String(bytes) | Value::Binary(bytes) => bytes.len(),
        Value::NString(units) => 2 * units.len(),
        _ => usize::try_from(variant.ty.max_length()).unwrap_or_default(),
    };
    let facets = match variant.ty.family() {
        Family::Text => 6,
        Family::Binary | Family::Decimal => 2,
        Family::Temporal if variant.ty.scale() > 0 && variant.ty != SqlType::DateTime => 1,
        _ => 0,
    };
    i32::try_from(2 + facets + data).unwrap_or(i32::MAX)
}
