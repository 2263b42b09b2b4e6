//! CREATE, ALTER and DROP of views and procedures.

use std::sync::Arc;

use super::{cannot_drop, denied, may_define};
use crate::SqlError;
use crate::engine::bind::{Binder, invalid_object, unsupported};
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::{Module, ModuleContent, ModuleVerb, ModuleWord, ObjectName};
use crate::storage::{ColumnDef, ModuleDef, ModuleKind, TableDef, same_name};

/// CREATE or ALTER.
pub fn define(binder: &Binder<'_, '_>, module: &Module) -> Result<(), Fault> {
    let env = binder.env;
    let (kind, word) = match &module.content {
        ModuleContent::View { .. } => (ModuleKind::View, "VIEW"),
        ModuleContent::Procedure(_) => (ModuleKind::Procedure, "PROCEDURE"),
        ModuleContent::Function { .. } => (ModuleKind::Function, "FUNCTION"),
    };
    if module.name.database.is_some() {
        return Err(SqlError::new(
            166,
            15,
            1,
            format!("'CREATE/ALTER {word}' does not allow specifying the database name as a prefix to the object name."),
        )
        .into());
    }
    let schema = module.name.schema.clone().unwrap_or_else(|| "dbo".to_owned());
    let known = env.with_txn(|txn| txn.object(&schema, &module.name.name))?;
    let known = match (module.verb, known) {
        (ModuleVerb::Create, _) | (ModuleVerb::CreateOrAlter, None) => None,
        (ModuleVerb::Alter, None) => {
            return Err(Fault::Compile(invalid_object(&module.name)));
        }
        (_, Some(known)) => Some(known),
    };
    match &known {
        None => may_define(env, &format!("CREATE {word}"))?,
        Some(known) if known.module.as_ref().is_none_or(|module| module.kind != kind) => {
            return Err(SqlError::new(
                2010,
                16,
                1,
                format!(
                    "Cannot perform alter on '{}' because it is an incompatible object type.",
                    module.name
                ),
            )
            .into());
        }
        Some(known) => {
            if !env.status.rights.may_define()
                && !env.status.rights.has_object_permission("ALTER", known)
            {
                return Err(denied(&format!("ALTER {word}"), &env.status.database.name()).into());
            }
        }
    }
    let (columns, check_option, parameters) = match &module.content {
        ModuleContent::View { columns, query, check_option } => {
            let columns =
                binder.view_columns(module, &schema, columns, query).map_err(of_binding)?;
            (columns, *check_option, Vec::new())
        }
        ModuleContent::Procedure(parameters) => (Vec::new(), false, parameters.clone()),
        ModuleContent::Function { parameters, query, .. } => {
            let columns =
                binder.function_columns(module, &schema, parameters, query).map_err(of_binding)?;
            (columns, false, parameters.clone())
        }
    };
    let definition = ModuleDef {
        kind,
        definition: module.definition.clone(),
        check_option,
        parameters,
        schema_bound: matches!(module.content, ModuleContent::Function { schema_bound: true, .. }),
        policy: None,
        ansi_nulls_off: env.status.off.nulls,
        quoted_off: env.status.off.quoted,
        sequence: None,
    };
    store(env, &schema, &module.name.name, known, columns, definition)
}

fn store(
    env: &Env<'_>,
    schema: &str,
    name: &str,
    known: Option<Arc<TableDef>>,
    columns: Vec<ColumnDef>,
    module: ModuleDef,
) -> Result<(), Fault> {
    let module = Some(module);
    match known {
        None => {
            let object = TableDef { module, ..TableDef::new(schema, name, columns) };
            env.with_txn(|txn| txn.create_table(object))?;
        }
        Some(known) => {
            let object = TableDef { columns, next_column_id: 1, module, ..TableDef::clone(&known) };
            env.with_txn(|txn| txn.redefine(object, "", None))?;
        }
    }
    Ok(())
}

fn word(kind: ModuleWord) -> &'static str {
    match kind {
        ModuleWord::View => "view",
        ModuleWord::Procedure => "procedure",
        ModuleWord::Function => "function",
        ModuleWord::Trigger => "trigger",
        ModuleWord::Sequence => "sequence",
    }
}

/// Error 3705 if the name is of something of another kind; without a kind, if it is no table.
///
/// # Errors
/// 3705.
pub fn check_kind(env: &Env<'_>, kind: Option<ModuleWord>, name: &ObjectName) -> Result<(), Fault> {
    if name.is_temporary() {
        return Ok(());
    }
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let Some(found) = env.with_txn(|txn| txn.object(schema, &name.name))? else {
        return Ok(());
    };
    let is = match found.module.as_ref().map(|module| module.kind) {
        None => None,
        Some(ModuleKind::View) => Some(ModuleWord::View),
        Some(ModuleKind::Procedure) => Some(ModuleWord::Procedure),
        Some(ModuleKind::Function) => Some(ModuleWord::Function),
        Some(ModuleKind::Sequence) => Some(ModuleWord::Sequence),
        Some(ModuleKind::Policy) => return Err(cannot_drop("object", &name.to_string()).into()),
    };
    if is == kind {
        return Ok(());
    }
    let wrong = kind.map_or("table", word);
    let right = is.map_or("table", word);
    Err(SqlError::new(
        3705,
        16,
        1,
        format!(
            "Cannot use DROP {} with '{name}' because '{name}' is a {right}. Use DROP {}.",
            wrong.to_uppercase(),
            right.to_uppercase()
        ),
    )
    .into())
}

/// DROP.
pub fn drop_module(
    env: &Env<'_>,
    kind: ModuleWord,
    name: &ObjectName,
    if_exists: bool,
) -> Result<(), Fault> {
    let current = env.status.database.name();
    if name.database.as_ref().is_some_and(|database| !same_name(database, &current)) {
        return Err(Fault::Compile(unsupported("a definition in another database")));
    }
    check_kind(env, Some(kind), name)?;
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let found = env.with_txn(|txn| txn.object(schema, &name.name))?;
    let Some(found) = found.filter(|_| env.status.rights.may_define()) else {
        return match if_exists {
            true => Ok(()),
            false => Err(cannot_drop(word(kind), &name.to_string()).into()),
        };
    };
    let call = format!(
        "({}.{}(",
        crate::engine::syntax::normal::bracketed(&found.schema),
        crate::engine::syntax::normal::bracketed(&found.name)
    );
    for object in env.with_txn(|txn| txn.objects()) {
        let Some(policy) = object.policy().filter(|policy| policy.schema_bound) else {
            continue;
        };
        if policy.predicates.iter().any(|known| known.definition.starts_with(&call)) {
            return Err(SqlError::new(
                3729,
                16,
                1,
                format!(
                    "Cannot DROP FUNCTION '{name}' because it is being referenced by object '{}'.",
                    object.name
                ),
            )
            .into());
        }
    }
    if kind == ModuleWord::Sequence {
        super::sequence::check_unused(env, &found, name)?;
    }
    env.with_txn(|txn| txn.drop_table(found.id))?;
    Ok(())
}
