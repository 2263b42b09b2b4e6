//! CREATE TYPE and DROP TYPE, and what a column's or variable's type means.

use super::may_define;
use crate::engine::bind::Bound;
use crate::engine::env::Env;
use crate::engine::fault::Fault;
use crate::engine::syntax::ast::ObjectName;
use crate::product::Release;
use crate::sql_type::Family;
use crate::storage::{SYSNAME_ID, TypeDef, same_name};
use crate::{SqlError, SqlType};

/// A type as it was declared.
pub struct Declared {
    /// Base type.
    pub ty: SqlType,
    /// `user_type_id` of an alias type.
    pub alias: Option<i32>,
    /// NULL or NOT NULL where the alias type says so.
    pub nullable: Option<bool>,
}

/// Looks an alias type up, and whether this release has the type.
///
/// # Errors
/// 2715.
pub fn declared(env: &Env<'_>, ty: &SqlType, alias: Option<&ObjectName>) -> Bound<Declared> {
    let Some(name) = alias else {
        check_release(env, ty)?;
        return Ok(Declared { ty: ty.clone(), alias: None, nullable: None });
    };
    if name.schema.is_none() && name.name.eq_ignore_ascii_case("sysname") {
        return Ok(Declared { ty: ty.clone(), alias: Some(SYSNAME_ID), nullable: None });
    }
    match find(env, name) {
        Some(known) => {
            Ok(Declared { ty: known.ty, alias: Some(known.id), nullable: Some(known.nullable) })
        }
        None => Err(SqlError::new(2715, 16, 6, format!("Cannot find data type {name}."))),
    }
}

/// Error 2715 for a type that a later release brought.
///
/// # Errors
/// 2715.
pub fn check_release(env: &Env<'_>, ty: &SqlType) -> Bound<()> {
    let new = matches!(ty.family(), Family::Json | Family::Vector);
    match new && env.shared.release < Release::V2025 {
        true => Err(SqlError::new(2715, 16, 6, format!("Cannot find data type {}.", ty.name()))),
        false => Ok(()),
    }
}

fn find(env: &Env<'_>, name: &ObjectName) -> Option<TypeDef> {
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let types = env.with_txn(|txn| txn.types());
    types
        .into_iter()
        .find(|known| same_name(&known.schema, schema) && same_name(&known.name, &name.name))
}

/// CREATE TYPE … FROM.
pub fn create_type(
    env: &Env<'_>,
    name: &ObjectName,
    ty: &SqlType,
    nullable: bool,
) -> Result<(), Fault> {
    may_define(env, "CREATE TYPE")?;
    check_release(env, ty)?;
    if matches!(ty, SqlType::RowVersion | SqlType::Xml) || ty.is_clr() {
        return Err(SqlError::new(
            15018,
            16,
            1,
            format!("Cannot create an alias type of the type {}.", ty.name()),
        )
        .into());
    }
    let schema = name.schema.as_deref().unwrap_or("dbo");
    Ok(env.with_txn(|txn| {
        txn.create_type(TypeDef {
            id: 0,
            schema: schema.to_owned(),
            name: name.name.clone(),
            ty: ty.clone(),
            nullable,
        })
    })?)
}

/// DROP TYPE.
pub fn drop_type(env: &Env<'_>, name: &ObjectName, if_exists: bool) -> Result<(), Fault> {
    may_define(env, "ALTER ANY SCHEMA")?;
    match find(env, name) {
        None if if_exists => Ok(()),
        None => Err(SqlError::new(
            218,
            16,
            1,
            format!("Could not find the type '{name}'. Either it does not exist or you do not have the necessary permission."),
        )
        .into()),
        Some(known) => Ok(env.with_txn(|txn| txn.drop_type(known.id))?),
    }
}
