//! Filegroups, partition schemes and functions, extended properties.

use std::sync::Arc;

use super::definition::{At, Code, Columns, Definition, Desc, Inside, Name, ViewOf, off, off_null};
use super::source::Catalog;
use crate::SqlError;
use crate::engine::collation;
use crate::storage::{
    CLASS_INDEX, CLASS_OBJECT, DatabaseDefs, PRIMARY, PartitionFunctionDef, PropertyDef, SpaceDef,
};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("data_spaces", space_columns, spaces),
    &ViewOf::sys("filegroups", filegroup_columns, filegroups),
    &ViewOf::sys("partition_schemes", scheme_columns, schemes),
    &ViewOf::sys("destination_data_spaces", destination_columns, destinations),
    &ViewOf::sys("partition_functions", function_columns, functions),
    &ViewOf::sys("partition_range_values", range_columns, ranges),
    &ViewOf::sys("partition_parameters", parameter_columns, functions),
    &ViewOf::sys("extended_properties", property_columns, properties),
];

fn spaces(catalog: &Catalog<'_>) -> Result<Vec<SpaceDef>, SqlError> {
    Ok(catalog.txn.defs().spaces.clone())
}

fn filegroups(catalog: &Catalog<'_>) -> Result<Vec<SpaceDef>, SqlError> {
    let mut spaces = spaces(catalog)?;
    spaces.retain(|space| space.scheme.is_none());
    Ok(spaces)
}

fn schemes(catalog: &Catalog<'_>) -> Result<Vec<SpaceDef>, SqlError> {
    let mut spaces = spaces(catalog)?;
    spaces.retain(|space| space.scheme.is_some());
    Ok(spaces)
}

fn space_columns() -> Columns<SpaceDef> {
    Columns::new()
        .add("name", |s: &SpaceDef| Name(s.name.clone()))
        .add("data_space_id", |s| s.id)
        .add("type", |s| Code::<2>(if s.scheme.is_some() { "PS" } else { "FG" }))
        .add("type_desc", |s| {
            Some(Desc(if s.scheme.is_some() { "PARTITION_SCHEME" } else { "ROWS_FILEGROUP" }))
        })
        .add("is_default", |s| Some(s.id == PRIMARY))
        .add("is_system", off_null)
}

fn filegroup_columns() -> Columns<SpaceDef> {
    space_columns()
        .add("filegroup_guid", |_| None::<[u8; 16]>)
        .add("log_filegroup_id", |_| None::<i32>)
        .add_each(&["is_read_only", "is_autogrow_all_files"], off_null)
}

fn scheme_columns() -> Columns<SpaceDef> {
    space_columns().add("function_id", |s| s.scheme.as_ref().map_or(0, |scheme| scheme.function))
}

/// Where a partition of a scheme lies.
struct Destination {
    scheme: i32,
    number: i32,
    space: i32,
}

fn destinations(catalog: &Catalog<'_>) -> Result<Vec<Destination>, SqlError> {
    let of = |space: &SpaceDef| {
        let spaces = space.scheme.iter().flat_map(|scheme| scheme.spaces.clone());
        let scheme = space.id;
        let numbered = (1..).zip(spaces);
        numbered.map(|(number, space)| Destination { scheme, number, space }).collect::<Vec<_>>()
    };
    Ok(spaces(catalog)?.iter().flat_map(of).collect())
}

fn destination_columns() -> Columns<Destination> {
    Columns::new()
        .add("partition_scheme_id", |d: &Destination| d.scheme)
        .add("destination_id", |d| d.number)
        .add("data_space_id", |d| d.space)
}

fn functions(catalog: &Catalog<'_>) -> Result<Vec<PartitionFunctionDef>, SqlError> {
    Ok(catalog.txn.defs().functions.clone())
}

fn function_columns() -> Columns<PartitionFunctionDef> {
    Columns::new()
        .add("name", |f: &PartitionFunctionDef| Name(f.name.clone()))
        .add("function_id", |f| f.id)
        .add("type", |_| Code::<2>("R"))
        .add("type_desc", |_| Some(Desc("RANGE")))
        .add("fanout", |f| i32::try_from(f.values.len() + 1).unwrap_or(i32::MAX))
        .add("boundary_value_on_right", |f| f.right)
        .add("is_system", off)
        .add("create_date", |f| At(f.create_date))
        .add("modify_date", |f| At(f.create_date))
}

/// A boundary of a partition function.
struct Boundary {
    function: i32,
    number: i32,
    value: Inside,
}

fn ranges(catalog: &Catalog<'_>) -> Result<Vec<Boundary>, SqlError> {
    let of = |function: &PartitionFunctionDef| {
        let (id, ty) = (function.id, function.ty.clone());
        let numbered = (1..).zip(function.values.clone());
        let boundary =
            move |(number, value)| Boundary { function: id, number, value: Inside::of(&ty, value) };
        numbered.map(boundary).collect::<Vec<_>>()
    };
    Ok(functions(catalog)?.iter().flat_map(of).collect())
}

fn range_columns() -> Columns<Boundary> {
    Columns::new()
        .add("function_id", |b: &Boundary| b.function)
        .add("boundary_id", |b| b.number)
        .add("parameter_id", |_| 1)
        .add("value", |b| Some(b.value.clone()))
}

fn parameter_columns() -> Columns<PartitionFunctionDef> {
    Columns::new()
        .add("function_id", |f: &PartitionFunctionDef| f.id)
        .add("parameter_id", |_| 1)
        .add("system_type_id", |f| f.ty.system_type_id())
        .add("max_length", |f| f.ty.max_length())
        .add("precision", |f| f.ty.precision())
        .add("scale", |f| f.ty.scale())
        .add("collation_name", |f| f.ty.is_text().then(|| Name(collation::NAME.to_owned())))
        .add("user_type_id", |f| f.ty.user_type_id())
}

/// Properties of what the reader may know of.
fn properties(catalog: &Catalog<'_>) -> Result<Vec<PropertyDef>, SqlError> {
    let defs: Arc<DatabaseDefs> = catalog.txn.defs();
    let seen: std::collections::HashSet<i32> =
        super::objects::user_objects(catalog)?.iter().map(|object| object.id).collect();
    let mut properties = defs.properties.clone();
    properties.retain(|property| match property.of.class {
        CLASS_OBJECT | CLASS_INDEX => seen.contains(&property.of.major),
        _ => true,
    });
    properties.sort_by_key(|property| property.of);
    Ok(properties)
}

fn property_columns() -> Columns<PropertyDef> {
    Columns::new()
        .add("class", |p: &PropertyDef| p.of.class)
        .add("class_desc", |p| {
            Some(Desc(match p.of.class {
                0 => "DATABASE",
                1 => "OBJECT_OR_COLUMN",
                3 => "SCHEMA",
                6 => "TYPE",
                7 => "INDEX",
                20 => "DATASPACE",
                _ => "PARTITION_FUNCTION",
            }))
        })
        .add("major_id", |p| p.of.major)
        .add("minor_id", |p| p.of.minor)
        .add("name", |p| Name(p.name.clone()))
        .add("value", |p| Inside::unwrapped(&p.value))
}
