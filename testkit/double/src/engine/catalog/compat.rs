//! The views that stand for the system tables of SQL Server 2000. They have the documented columns
//! that mean something still; those kept for their place alone are absent (error 207).
//! <https://learn.microsoft.com/sql/relational-databases/system-compatibility-views/system-compatibility-views-transact-sql>

use std::sync::Arc;

use super::Table;
use super::definition::{At, Code, Columns, Definition, NVar, Name, Sid, ViewOf};
use super::logins::OWNER_SID;
use super::objects::{Object, user_objects};
use super::source::Catalog;
use super::types::{Type, types};
use crate::engine::collation;
use crate::storage::{ColumnDef, DatabaseInfo, IndexDef, default_constraint_id};
use crate::{SqlError, SqlType};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("sysobjects", object_columns, user_objects),
    &ViewOf::sys("syscolumns", column_columns, columns),
    &ViewOf::sys("sysindexes", index_columns, indexes),
    &ViewOf::sys("sysindexkeys", index_key_columns, index_keys),
    &ViewOf::sys("sysforeignkeys", foreign_key_columns, foreign_keys),
    &ViewOf::sys("syscomments", comment_columns, comments),
    &ViewOf::sys("systypes", type_columns, types),
    &ViewOf::sys("sysdatabases", database_columns, databases),
];

/// `smallint` of what was one in 2000.
fn small(number: impl TryInto<i16>) -> i16 {
    number.try_into().unwrap_or(i16::MAX)
}

fn object_columns() -> Columns<Object> {
    Columns::new()
        .add("name", |o: &Object| Name(o.name.clone()))
        .add("id", |o| o.id)
        .add("xtype", |o| Code::<2>(o.kind.code()))
        .add("uid", |o| Some(small(o.schema_id)))
        .add("parent_obj", |o| o.parent)
        .add("crdate", |o| At(o.created))
        .add("type", |o| {
            Some(Code::<2>(match o.kind.code() {
                "PK" | "UQ" => "K",
                other => other,
            }))
        })
        .add("refdate", |o| At(o.created))
}

/// A column of a table or view.
struct Column {
    object: Table,
    at: usize,
}

impl Column {
    fn def(&self) -> &ColumnDef {
        &self.object.columns[self.at]
    }

    /// `prec`: digits, or the length as it was declared.
    fn precision(&self) -> i16 {
        let ty = &self.def().ty;
        match ty {
            SqlType::NChar(n) | SqlType::NVarChar(Some(n)) => small(*n),
            _ if ty.precision() > 0 => i16::from(ty.precision()),
            _ => ty.max_length(),
        }
    }
}

fn columns(catalog: &Catalog<'_>) -> Result<Vec<Column>, SqlError> {
    let of = |object: Table| {
        (0..object.columns.len()).map(move |at| Column { object: Arc::clone(&object), at })
    };
    Ok(catalog.objects().into_iter().flat_map(of).collect())
}

fn column_columns() -> Columns<Column> {
    Columns::new()
        .add("name", |c: &Column| Some(Name(c.def().name.clone())))
        .add("id", |c| c.object.id)
        .add("xtype", |c| c.def().ty.system_type_id())
        .add("xusertype", |c| Some(small(c.def().user_type_id())))
        .add("length", |c| c.def().ty.max_length())
        .add("xprec", |c| c.def().ty.precision())
        .add("xscale", |c| c.def().ty.scale())
        .add("colid", |c| Some(small(c.def().id)))
        .add("colstat", |c| Some(i16::from(c.def().identity.is_some())))
        .add("cdefault", |c| match c.def().default {
            Some(_) => default_constraint_id(c.object.id, c.def().id),
            None => 0,
        })
        .add("colorder", |c| Some(small(c.def().id)))
        .add("status", |c| {
            let nullable = if c.def().nullable { 0x08 } else { 0 };
            Some(nullable | if c.def().identity.is_some() { 0x80_u8 } else { 0 })
        })
        .add("prec", |c| Some(c.precision()))
        .add("scale", |c| Some(i32::from(c.def().ty.scale())))
        .add("iscomputed", |c| Some(i32::from(c.def().computed.is_some())))
        .add("isoutparam", |_| Some(0))
        .add("isnullable", |c| Some(i32::from(c.def().nullable)))
        .add("collation", |c| {
            let own = c.def().collation.clone();
            let collation = || Name(own.unwrap_or_else(|| collation::NAME.to_owned()));
            c.def().ty.is_text().then(collation)
        })
}

/// An index; a heap is one without a definition.
struct Index {
    table: Table,
    index: Option<IndexDef>,
    rows: i64,
}

fn indexes(catalog: &Catalog<'_>) -> Result<Vec<Index>, SqlError> {
    Ok(catalog.of_tables(|table| {
        let (rows, _) = catalog.database().table_size(table.id).unwrap_or_default();
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let of = |index| Index { table: Arc::clone(table), index, rows };
        let heap = table.clustered().is_none().then(|| of(None));
        let mut found: Vec<Index> =
            heap.into_iter().chain(table.indexes.iter().cloned().map(|i| of(Some(i)))).collect();
        found.sort_by_key(|index| index.index.as_ref().map_or(0, |index| index.id));
        found
    }))
}

fn index_columns() -> Columns<Index> {
    Columns::new()
        .add("id", |i: &Index| i.table.id)
        .add("indid", |i| Some(small(i.index.as_ref().map_or(0, |index| index.id))))
        .add("keycnt", |i| Some(small(i.index.as_ref().map_or(0, |index| index.keys.len()))))
        .add("groupid", |i| {
            let keeping = i.index.as_ref().map_or(i.table.keeping, |index| index.keeping);
            Some(small(keeping.space))
        })
        .add("rowcnt", |i| Some(i.rows))
        .add("name", |i| i.index.as_ref().map(|index| Name(index.name.clone())))
        .add("rows", |i| Some(i32::try_from(i.rows).unwrap_or(i32::MAX)))
}

/// Numbers of a table, an index, a column, and the column's place in the index.
type IndexKey = (i32, i32, i32, usize);

fn index_keys(catalog: &Catalog<'_>) -> Result<Vec<IndexKey>, SqlError> {
    Ok(catalog.of_tables(|table| {
        let mut keys = Vec::new();
        for index in &table.indexes {
            let columns = index.keys.iter().map(|key| key.column);
            keys.extend((1..).zip(columns).map(|(at, column)| (table.id, index.id, column, at)));
        }
        keys
    }))
}

fn index_key_columns() -> Columns<IndexKey> {
    Columns::new()
        .add("id", |k: &IndexKey| k.0)
        .add("indid", |k| Some(small(k.1)))
        .add("colid", |k| Some(small(k.2)))
        .add("keyno", |k| Some(small(k.3)))
}

/// Numbers of a constraint, its table and column, those that it refers to, and the column's place.
type ForeignKey = (i32, i32, i32, i32, i32, usize);

fn foreign_keys(catalog: &Catalog<'_>) -> Result<Vec<ForeignKey>, SqlError> {
    Ok(catalog.of_tables(|table| {
        let mut keys = Vec::new();
        for key in &table.foreign_keys {
            let pairs = key.columns.iter().zip(&key.referenced_columns);
            keys.extend((1..).zip(pairs).map(|(at, (own, other))| {
                (key.id, table.id, key.referenced_table, *own, *other, at)
            }));
        }
        keys
    }))
}

fn foreign_key_columns() -> Columns<ForeignKey> {
    Columns::new()
        .add("constid", |k: &ForeignKey| k.0)
        .add("fkeyid", |k| k.1)
        .add("rkeyid", |k| k.2)
        .add("fkey", |k| Some(small(k.3)))
        .add("rkey", |k| Some(small(k.4)))
        .add("keyno", |k| Some(small(k.5)))
}

/// A part of a text: the object's number, the part's, the text.
type Comment = (i32, usize, String);

/// Texts of views, procedures and constraints that the reader may see, in parts of 4,000 characters.
fn comments(catalog: &Catalog<'_>) -> Result<Vec<Comment>, SqlError> {
    let mut texts: Vec<(i32, String)> = Vec::new();
    for object in catalog.objects() {
        if !catalog.sees_definitions(&object) {
            continue;
        }
        texts.extend(object.module.iter().map(|module| (object.id, module.definition.clone())));
        texts.extend(object.checks.iter().map(|check| (check.id, check.definition.clone())));
        texts.extend(object.columns.iter().filter_map(|column| {
            let default = column.default.as_ref()?;
            Some((default_constraint_id(object.id, column.id), default.definition.clone()))
        }));
    }
    let parts = |(id, text): (i32, String)| {
        let characters: Vec<char> = text.chars().collect();
        let parts: Vec<String> =
            characters.chunks(4000).map(|part| part.iter().collect()).collect();
        (1..).zip(parts).map(move |(at, part)| (id, at, part)).collect::<Vec<Comment>>()
    };
    Ok(texts.into_iter().flat_map(parts).collect())
}

fn comment_columns() -> Columns<Comment> {
    Columns::new()
        .add("id", |c: &Comment| c.0)
        .add("colid", |c| small(c.1))
        .add("text", |c| Some(NVar::<4000>(c.2.clone())))
}

fn type_columns() -> Columns<Type> {
    Columns::new()
        .add("name", |t: &Type| Name(t.name.clone()))
        .add("xtype", |t| t.system)
        .add("xusertype", |t| Some(small(t.user)))
        .add("length", |t| t.max_length)
        .add("xprec", |t| t.precision)
        .add("xscale", |t| t.scale)
        .add("uid", |t| Some(small(t.schema)))
        .add("allownulls", |t| Some(t.nullable))
}

fn databases(catalog: &Catalog<'_>) -> Result<Vec<DatabaseInfo>, SqlError> {
    Ok(catalog.storage.databases().iter().map(|database| database.info()).collect())
}

fn database_columns() -> Columns<DatabaseInfo> {
    Columns::new()
        .add("name", |d: &DatabaseInfo| Some(Name(d.name.clone())))
        .add("dbid", |d| Some(small(d.id)))
        .add("sid", |_| Some(Sid(OWNER_SID.to_vec())))
        .add("mode", |_| Some(0_i16))
        .add("crdate", |d| At(d.create_date))
        .add("category", |_| Some(0))
        .add("cmptlevel", |d| d.compatibility_level)
}
