//! Stored procedures, the texts of views and procedures, and parameters.

use super::definition::{
    Columns, Definition, Inside, NVar, Name, Text, ViewOf, null, off, off_null, on_null,
};
use super::objects::{ModuleObject, modules, object_columns};
use super::source::Catalog;
use crate::SqlError;
use crate::storage::{ModuleKind, ObjectId, ParameterDef};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("procedures", procedure_columns, procedures),
    &ViewOf::sys("sql_modules", module_columns, all_modules),
    &ViewOf::sys("all_sql_modules", module_columns, all_modules),
    &ViewOf::sys("parameters", parameter_columns, parameters),
    &ViewOf::sys("all_parameters", parameter_columns, parameters),
];

fn procedures(catalog: &Catalog<'_>) -> Result<Vec<ModuleObject>, SqlError> {
    Ok(modules(catalog, Some(ModuleKind::Procedure)))
}

fn procedure_columns() -> Columns<ModuleObject> {
    Columns::new()
        .extend(object_columns(), |p: &ModuleObject| &p.object)
        .add("is_auto_executed", off)
        .add_each(
            &["is_execution_replicated", "is_repl_serializable_only", "skips_repl_constraints"],
            off_null,
        )
}

fn all_modules(catalog: &Catalog<'_>) -> Result<Vec<ModuleObject>, SqlError> {
    Ok(modules(catalog, None))
}

fn module_columns() -> Columns<ModuleObject> {
    Columns::new()
        .add("object_id", |m: &ModuleObject| m.object.id)
        .add("definition", |m| m.definition.clone().map(Text))
        .add("uses_ansi_nulls", |m| Some(m.def.module.as_ref().is_none_or(|m| !m.ansi_nulls_off)))
        .add("uses_quoted_identifier", |m| {
            Some(m.def.module.as_ref().is_none_or(|m| !m.quoted_off))
        })
        .add_each(&["is_schema_bound"], |m| {
            Some(m.def.module.as_ref().is_some_and(|module| module.schema_bound))
        })
        .add_each(&["uses_database_collation", "is_recompiled", "null_on_null_input"], off_null)
        .add("execute_as_principal_id", null::<_, i32>)
        .add("uses_native_compilation", off_null)
        .add_each(&["inline_type", "is_inlineable"], off_null)
}

struct Parameter {
    object: ObjectId,
    position: i32,
    def: ParameterDef,
}

fn parameters(catalog: &Catalog<'_>) -> Result<Vec<Parameter>, SqlError> {
    let of = |procedure: ModuleObject| {
        let defs = procedure.def.module.as_ref().map(|module| module.parameters.clone());
        (1..).zip(defs.unwrap_or_default()).map(move |(position, def)| Parameter {
            object: procedure.object.id,
            position,
            def,
        })
    };
    Ok(modules(catalog, None).into_iter().flat_map(of).collect())
}

fn parameter_columns() -> Columns<Parameter> {
    Columns::new()
        .add("object_id", |p: &Parameter| p.object)
        .add("name", |p| Some(Name(p.def.name.clone())))
        .add("parameter_id", |p| p.position)
        .add("system_type_id", |p| p.def.ty.system_type_id())
        .add("user_type_id", |p| i32::from(p.def.ty.system_type_id()))
        .add("max_length", |p| p.def.ty.max_length())
        .add("precision", |p| p.def.ty.precision())
        .add("scale", |p| p.def.ty.scale())
        .add("is_output", |p| p.def.output)
        .add("is_cursor_ref", off)
        // Only CLR objects have their defaults in this view.
        .add("has_default_value", off)
        .add("is_xml_document", off)
        .add("default_value", null::<_, Inside>)
        .add("xml_collection_id", |_| 0)
        .add("is_readonly", off)
        .add("is_nullable", on_null)
        .add("encryption_type", null::<_, i32>)
        .add("encryption_type_desc", null::<_, NVar<64>>)
        .add("encryption_algorithm_name", null::<_, Name>)
        .add("column_encryption_key_id", null::<_, i32>)
        .add("column_encryption_key_database_name", null::<_, Name>)
}
