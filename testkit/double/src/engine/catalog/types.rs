//! `sys.types`: every type that SQL Server 2022 has, whether the double stores it or not.

use super::definition::{Columns, Definition, Name, ViewOf, null, off};
use super::source::Catalog;
use crate::SqlError;
use crate::engine::collation;
use crate::storage::{SYSNAME_ID, same_name};

pub(super) const VIEWS: &[&dyn Definition] = &[&ViewOf::sys("types", columns, types)];

/// `system_type_id` of types implemented in .NET.
const CLR: u8 = 240;

/// Name, `system_type_id`, `user_type_id`, `max_length`, `precision`, `scale`.
type BuiltIn = (&'static str, u8, i32, i16, u8, u8);

const TYPES: [BuiltIn; 34] = [
    ("image", 34, 34, 16, 0, 0),
    ("text", 35, 35, 16, 0, 0),
    ("uniqueidentifier", 36, 36, 16, 0, 0),
    ("date", 40, 40, 3, 10, 0),
    ("time", 41, 41, 5, 16, 7),
    ("datetime2", 42, 42, 8, 27, 7),
    ("datetimeoffset", 43, 43, 10, 34, 7),
    ("tinyint", 48, 48, 1, 3, 0),
    ("smallint", 52, 52, 2, 5, 0),
    ("int", 56, 56, 4, 10, 0),
    ("smalldatetime", 58, 58, 4, 16, 0),
    ("real", 59, 59, 4, 24, 0),
    ("money", 60, 60, 8, 19, 4),
    ("datetime", 61, 61, 8, 23, 3),
    ("float", 62, 62, 8, 53, 0),
    ("sql_variant", 98, 98, 8016, 0, 0),
    ("ntext", 99, 99, 16, 0, 0),
    ("bit", 104, 104, 1, 1, 0),
    ("decimal", 106, 106, 17, 38, 38),
    ("numeric", 108, 108, 17, 38, 38),
    ("smallmoney", 122, 122, 4, 10, 4),
    ("bigint", 127, 127, 8, 19, 0),
    ("hierarchyid", CLR, 128, 892, 0, 0),
    ("geometry", CLR, 129, -1, 0, 0),
    ("geography", CLR, 130, -1, 0, 0),
    ("varbinary", 165, 165, 8000, 0, 0),
    ("varchar", 167, 167, 8000, 0, 0),
    ("binary", 173, 173, 8000, 0, 0),
    ("char", 175, 175, 8000, 0, 0),
    ("timestamp", 189, 189, 8, 0, 0),
    ("nvarchar", 231, 231, 8000, 0, 0),
    ("nchar", 239, 239, 8000, 0, 0),
    ("xml", 241, 241, -1, 0, 0),
    ("sysname", 231, SYSNAME_ID, 256, 0, 0),
];

/// The types that SQL Server 2025 brought.
const NEW_TYPES: [BuiltIn; 2] = [("json", 244, 244, -1, 0, 0), ("vector", 255, 255, 8000, 0, 0)];

/// Every type that SQL Server itself has.
fn built_in() -> impl Iterator<Item = BuiltIn> {
    TYPES.into_iter().chain(NEW_TYPES)
}

/// Name of a type by `user_type_id` (`TYPE_NAME`).
pub fn type_name(id: i32) -> Option<&'static str> {
    built_in().find(|(_, _, user, ..)| *user == id).map(|(name, ..)| name)
}

/// `user_type_id` by name (`TYPE_ID`).
pub fn type_id(name: &str) -> Option<i32> {
    built_in().find(|known| same_name(known.0, name)).map(|known| known.2)
}

/// A row of `sys.types`.
pub(super) struct Type {
    pub name: String,
    pub system: u8,
    pub user: i32,
    pub schema: i32,
    pub max_length: i16,
    pub precision: u8,
    pub scale: u8,
    pub nullable: bool,
}

pub(super) fn types(catalog: &Catalog<'_>) -> Result<Vec<Type>, SqlError> {
    let own = TYPES.into_iter().chain(NEW_TYPES.into_iter().filter(|_| catalog.has_new_types()));
    let built_in = own.map(|(name, system, user, max_length, precision, scale)| Type {
        name: name.to_owned(),
        system,
        user,
        schema: 4,
        max_length,
        precision,
        scale,
        nullable: !matches!(name, "sysname" | "timestamp"),
    });
    let aliases = catalog.txn.types().into_iter().map(|known| Type {
        system: known.ty.system_type_id(),
        user: known.id,
        schema: catalog.schema_id(&known.schema),
        max_length: known.ty.max_length(),
        precision: known.ty.precision(),
        scale: known.ty.scale(),
        nullable: known.nullable,
        name: known.name,
    });
    Ok(built_in.chain(aliases).collect())
}

fn is_text(ty: &Type) -> bool {
    matches!(ty.system, 35 | 99 | 167 | 175 | 231 | 239)
}

fn columns() -> Columns<Type> {
    Columns::new()
        .add("name", |ty: &Type| Name(ty.name.clone()))
        .add("system_type_id", |ty| ty.system)
        .add("user_type_id", |ty| ty.user)
        .add("schema_id", |ty| ty.schema)
        .add("principal_id", null::<_, i32>)
        .add("max_length", |ty| ty.max_length)
        .add("precision", |ty| ty.precision)
        .add("scale", |ty| ty.scale)
        .add("collation_name", |ty| is_text(ty).then(|| Name(collation::NAME.to_owned())))
        .add("is_nullable", |ty| Some(ty.nullable))
        .add("is_user_defined", |ty| ty.user > SYSNAME_ID)
        .add("is_assembly_type", |ty| ty.system == CLR)
        .add("default_object_id", |_| 0)
        .add("rule_object_id", |_| 0)
        .add("is_table_type", off)
}
