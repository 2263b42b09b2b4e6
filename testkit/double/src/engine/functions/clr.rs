//! Methods of `hierarchyid`, `geometry` and `geography`: those that read a value or make one of
//! text. What computes with shapes is refused.

use super::{Bound, Computed};
use crate::engine::bind::{types, unsupported};
use crate::engine::convert::clr;
use crate::engine::env::Env;
use crate::engine::expr::{Function, Node, Typed};
use crate::engine::hierarchy;
use crate::engine::spatial::{self, Kind, Spatial};
use crate::{SqlError, SqlType, Value};

/// A method or property of a value; `arguments` is none for a property.
///
/// # Errors
/// 258 for a type without methods, 102 for a method that is not covered, 174.
pub fn method(value: Typed, name: &str, arguments: Option<Vec<Typed>>) -> Bound<Typed> {
    let ty = value.type_or_int();
    let (function, result, parameters): (Function, SqlType, &[SqlType]) = match (&ty, name) {
        (SqlType::HierarchyId, _) => hierarchy_method(name)?,
        (SqlType::Geometry | SqlType::Geography, _) => {
            spatial_method(name, ty == SqlType::Geography)?
        }
        (SqlType::Xml, _) => return Err(unsupported(name)),
        _ => {
            return Err(SqlError::new(
                258,
                15,
                1,
                format!("Cannot call methods on {}.", ty.name()),
            ));
        }
    };
    let is_property = PROPERTIES.contains(&name);
    if is_property == arguments.is_some() {
        return Err(unsupported(name));
    }
    let arguments = arguments.unwrap_or_default();
    let mut nodes = vec![value.node];
    nodes.extend(converted(name, arguments, parameters)?);
    // The type goes with the value: the bytes alone do not tell which of the two they are.
    nodes.push(Node::Constant(Value::Bit(ty == SqlType::Geography)));
    Ok(Typed::call(function, nodes, result))
}

/// Names that stand without parentheses.
const PROPERTIES: [&str; 9] = ["STSrid", "STX", "STY", "Lat", "Long", "Z", "M", "HasZ", "HasM"];

/// Whether a name behind a column is a property of its type rather than a column.
pub fn is_property(name: &str) -> bool {
    PROPERTIES.contains(&name)
}

fn converted(name: &str, values: Vec<Typed>, parameters: &[SqlType]) -> Bound<Vec<Node>> {
    if values.len() != parameters.len() {
        return Err(SqlError::new(
            174,
            15,
            1,
            format!("The {name} function requires {} argument(s).", parameters.len()),
        ));
    }
    let pairs = values.into_iter().zip(parameters);
    pairs.map(|(value, ty)| Ok(types::implicit(value, ty)?.node)).collect()
}

type Bindings = (Function, SqlType, &'static [SqlType]);

fn hierarchy_method(name: &str) -> Bound<Bindings> {
    Ok(match name {
        "ToString" => (hierarchy_text, SqlType::NVarChar(Some(4000)), &[]),
        "GetLevel" => (hierarchy_level, SqlType::SmallInt, &[]),
        "IsDescendantOf" => (hierarchy_descends, SqlType::Bit, &[SqlType::HierarchyId]),
        "GetAncestor" => (hierarchy_ancestor, SqlType::HierarchyId, &[SqlType::Int]),
        _ => return Err(unsupported(name)),
    })
}

fn spatial_method(name: &str, geography: bool) -> Bound<Bindings> {
    let text = SqlType::NVarChar(None);
    let (function, result): (Function, SqlType) = match (name, geography) {
        ("ToString" | "AsTextZM", _) => (extended_text, text),
        ("STAsText", _) => (plain_text, text),
        ("STAsBinary", _) => (plain_binary, SqlType::VarBinary(None)),
        ("AsBinaryZM", _) => (extended_binary, SqlType::VarBinary(None)),
        ("STSrid", _) => (srid, SqlType::Int),
        ("STGeometryType", _) => (kind, SqlType::NVarChar(Some(4000))),
        ("STNumPoints", _) => (point_count, SqlType::Int),
        ("STIsEmpty", _) => (is_empty, SqlType::Bit),
        ("STX", false) | ("Lat", true) => (first, SqlType::Float),
        ("STY", false) | ("Long", true) => (second, SqlType::Float),
        ("Z", _) => (z, SqlType::Float),
        ("M", _) => (m, SqlType::Float),
        ("HasZ", _) => (has_z, SqlType::Bit),
        ("HasM", _) => (has_m, SqlType::Bit),
        _ => return Err(unsupported(name)),
    };
    Ok((function, result, &[]))
}

/// A method of a type: `geometry::Point(…)`.
///
/// # Errors
/// 102 for a method that is not covered, 174.
pub fn of_type(ty: &SqlType, name: &str, arguments: Vec<Typed>) -> Bound<Typed> {
    const TEXT: SqlType = SqlType::NVarChar(None);
    const WELL_KNOWN: [(&str, Option<Kind>); 8] = [
        ("STGeomFromText", None),
        ("STPointFromText", Some(Kind::Point)),
        ("STLineFromText", Some(Kind::LineString)),
        ("STPolyFromText", Some(Kind::Polygon)),
        ("STMPointFromText", Some(Kind::MultiPoint)),
        ("STMLineFromText", Some(Kind::MultiLineString)),
        ("STMPolyFromText", Some(Kind::MultiPolygon)),
        ("STGeomCollFromText", Some(Kind::Collection)),
    ];
    let geography = Node::Constant(Value::Bit(*ty == SqlType::Geography));
    let (function, mut nodes): (Function, Vec<Node>) = match (ty, name) {
        (SqlType::HierarchyId, "GetRoot") => {
            converted(name, arguments, &[])?;
            return Ok(Typed::constant(Value::binary(&[]), SqlType::HierarchyId));
        }
        (_, "Parse") => {
            let mut nodes = converted(name, arguments, &[TEXT])?;
            let text = nodes.pop().unwrap_or(Node::Constant(Value::Null));
            return Ok(Typed { node: text, ty: Some(TEXT), nullable: true }.converted(ty));
        }
        (SqlType::HierarchyId, _) => return Err(unsupported(name)),
        (_, "Point") => {
            (point, converted(name, arguments, &[SqlType::Float, SqlType::Float, SqlType::Int])?)
        }
        _ => {
            let (_, kind) = WELL_KNOWN
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| unsupported(name))?;
            let mut nodes = converted(name, arguments, &[TEXT, SqlType::Int])?;
            nodes.push(Node::Constant(Value::Int(kind.map_or(0, |kind| i32::from(kind as u8)))));
            (from_text, nodes)
        }
    };
    nodes.push(geography);
    Ok(Typed::call(function, nodes, ty.clone()))
}

fn path(value: &Value) -> Option<hierarchy::Path> {
    match value {
        Value::Binary(bytes) => hierarchy::decode(bytes),
        _ => None,
    }
}

fn hierarchy_text(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(path(&arguments[0]).map_or(Value::Null, |path| Value::text(&hierarchy::format(&path))))
}

fn hierarchy_level(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(path(&arguments[0])
        .map_or(Value::Null, |path| Value::SmallInt(i16::try_from(path.len()).unwrap_or(i16::MAX))))
}

/// A node descends from itself, too.
fn hierarchy_descends(_: &Env<'_>, arguments: &[Value]) -> Computed {
    Ok(match (path(&arguments[0]), path(&arguments[1])) {
        (Some(path), Some(parent)) => Value::Bit(path.starts_with(&parent)),
        _ => Value::Null,
    })
}

fn hierarchy_ancestor(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let (Some(mut path), Some(levels)) = (path(&arguments[0]), arguments[1].as_i64()) else {
        return Ok(Value::Null);
    };
    let levels = usize::try_from(levels).map_err(|_| {
        clr::failed(
            &SqlType::HierarchyId,
            "24011: SqlHierarchyId.GetAncestor failed because 'n' was negative.",
        )
    })?;
    let Some(kept) = path.len().checked_sub(levels) else {
        return Ok(Value::Null);
    };
    path.truncate(kept);
    Ok(hierarchy::encode(&path).map_or(Value::Null, |bytes| Value::binary(&bytes)))
}

/// The value and whether it is a `geography`.
fn spatial(arguments: &[Value]) -> Option<(Spatial, bool)> {
    match (arguments.first()?, arguments.last()?) {
        (Value::Binary(bytes), geography) => {
            Some((spatial::deserialize(bytes)?, *geography == Value::Bit(true)))
        }
        _ => None,
    }
}

/// Something read off a value; NULL of NULL.
fn read(arguments: &[Value], read: impl FnOnce(&Spatial, bool) -> Option<Value>) -> Computed {
    Ok(spatial(arguments)
        .and_then(|(value, geography)| read(&value, geography))
        .unwrap_or(Value::Null))
}

fn plain_text(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, geography| {
        Some(Value::text(&spatial::format(value, geography, false)?))
    })
}

fn extended_text(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, geography| Some(Value::text(&spatial::format(value, geography, true)?)))
}

fn plain_binary(_: &Env<'_>, arguments: &[Value]) -> Computed {
    well_known_binary(arguments, false)
}

fn extended_binary(_: &Env<'_>, arguments: &[Value]) -> Computed {
    well_known_binary(arguments, true)
}

fn well_known_binary(arguments: &[Value], extended: bool) -> Computed {
    let Some((value, geography)) = spatial(arguments) else {
        return Ok(Value::Null);
    };
    match spatial::to_wkb(&value, geography, extended) {
        Some(bytes) => Ok(Value::binary(&bytes)),
        None => Err(clr::failed(
            &SqlType::Geography,
            "24205: The specified input does not represent a valid geography instance: FullGlobe has no well-known binary.",
        )),
    }
}

fn srid(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, _| Some(Value::Int(value.srid)))
}

fn kind(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, _| Some(Value::text(value.kind()?.name())))
}

fn point_count(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, _| Some(Value::Int(i32::try_from(value.points.len()).ok()?)))
}

fn is_empty(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, _| Some(Value::Bit(value.is_empty())))
}

/// A number of a point; NULL of anything else.
fn of_point(arguments: &[Value], of: impl FnOnce(&Spatial) -> Option<f64>) -> Computed {
    read(arguments, |value, _| {
        let point = value.kind() == Some(Kind::Point);
        of(value).filter(|number| point && !number.is_nan()).map(Value::Float)
    })
}

fn first(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_point(arguments, |value| Some(value.points.first()?[0]))
}

fn second(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_point(arguments, |value| Some(value.points.first()?[1]))
}

fn z(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_point(arguments, |value| value.z.first().copied())
}

fn m(_: &Env<'_>, arguments: &[Value]) -> Computed {
    of_point(arguments, |value| value.m.first().copied())
}

fn has_z(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, _| Some(Value::Bit(!value.z.is_empty())))
}

fn has_m(_: &Env<'_>, arguments: &[Value]) -> Computed {
    read(arguments, |value, _| Some(Value::Bit(!value.m.is_empty())))
}

/// Text, SRID, kind wanted or 0, whether it is a `geography`.
fn from_text(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let [text, srid, wanted, geography] = arguments else {
        return Ok(Value::Null);
    };
    let ty = match geography {
        Value::Bit(true) => SqlType::Geography,
        _ => SqlType::Geometry,
    };
    let (Some(text), Some(srid)) = (text.to_text(), srid.as_i64()) else {
        return Ok(Value::Null);
    };
    let srid = i32::try_from(srid).unwrap_or_default();
    let value = clr::spatial_of_text(&text, srid, &ty)?;
    let kind = value.kind().map_or(0, |kind| i64::from(kind as u8));
    if wanted.as_i64().is_some_and(|wanted| wanted != 0 && wanted != kind) {
        return Err(clr::failed(
            &ty,
            "24142: The input well-known text is of another type than the method makes.",
        ));
    }
    Ok(Value::binary(&spatial::serialize(&value)))
}

/// Two coordinates as they are stored, SRID, whether it is a `geography`.
fn point(_: &Env<'_>, arguments: &[Value]) -> Computed {
    let [Value::Float(first), Value::Float(second), srid, geography] = arguments else {
        return Ok(Value::Null);
    };
    let Some(srid) = srid.as_i64() else {
        return Ok(Value::Null);
    };
    if *geography == Value::Bit(true) {
        clr::check_srid(srid)?;
        if !(-90.0..=90.0).contains(first) {
            return Err(clr::failed(
                &SqlType::Geography,
                "24201: Latitude values must be between -90 and 90 degrees.",
            ));
        }
    }
    let srid = i32::try_from(srid).unwrap_or_default();
    Ok(Value::binary(&spatial::serialize(&Spatial::point(*first, *second, srid))))
}
