//! `INFORMATION_SCHEMA`.

use super::{Definition, NAME, Rows, Source, optional, text};
use crate::engine::collation;
use crate::sql_type::Family;
use crate::storage::IndexKind;
use crate::{SqlError, SqlType, Value};

const WORD: SqlType = SqlType::VarChar(Some(11));

/// The views of this module.
pub(super) const VIEWS: &[Definition] = &[
    Definition {
        schema: "INFORMATION_SCHEMA",
        name: "TABLES",
        columns: &[
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("TABLE_TYPE", WORD),
        ],
        rows: tables,
    },
    Definition {
        schema: "INFORMATION_SCHEMA",
        name: "COLUMNS",
        columns: &[
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("ORDINAL_POSITION", SqlType::Int),
            ("COLUMN_DEFAULT", SqlType::NVarChar(Some(4000))),
            ("IS_NULLABLE", SqlType::VarChar(Some(3))),
            ("DATA_TYPE", NAME),
            ("CHARACTER_MAXIMUM_LENGTH", SqlType::Int),
            ("CHARACTER_OCTET_LENGTH", SqlType::Int),
            ("NUMERIC_PRECISION", SqlType::TinyInt),
            ("NUMERIC_PRECISION_RADIX", SqlType::SmallInt),
            ("NUMERIC_SCALE", SqlType::Int),
            ("DATETIME_PRECISION", SqlType::SmallInt),
            ("CHARACTER_SET_NAME", NAME),
            ("COLLATION_NAME", NAME),
        ],
        rows: columns,
    },
    Definition {
        schema: "INFORMATION_SCHEMA",
        name: "TABLE_CONSTRAINTS",
        columns: &[
            ("CONSTRAINT_CATALOG", NAME),
            ("CONSTRAINT_SCHEMA", NAME),
            ("CONSTRAINT_NAME", NAME),
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("CONSTRAINT_TYPE", WORD),
            ("IS_DEFERRABLE", SqlType::VarChar(Some(2))),
            ("INITIALLY_DEFERRED", SqlType::VarChar(Some(2))),
        ],
        rows: constraints,
    },
    Definition {
        schema: "INFORMATION_SCHEMA",
        name: "KEY_COLUMN_USAGE",
        columns: &[
            ("CONSTRAINT_CATALOG", NAME),
            ("CONSTRAINT_SCHEMA", NAME),
            ("CONSTRAINT_NAME", NAME),
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("ORDINAL_POSITION", SqlType::Int),
        ],
        rows: key_columns,
    },
    Definition {
        schema: "INFORMATION_SCHEMA",
        name: "SCHEMATA",
        columns: &[("CATALOG_NAME", NAME), ("SCHEMA_NAME", NAME), ("SCHEMA_OWNER", NAME)],
        rows: schemata,
    },
];

fn tables(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let catalog = source.database.name();
    Ok(source
        .tables
        .iter()
        .map(|table| {
            vec![text(&catalog), text(&table.schema), text(&table.name), Value::ansi("BASE TABLE")]
        })
        .collect())
}

fn columns(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let catalog = source.database.name();
    let mut rows = Vec::new();
    for table in &source.tables {
        for (at, column) in (1..).zip(&table.columns) {
            let ty = &column.ty;
            let (characters, octets) = lengths(ty);
            let (precision, radix, scale) = numeric(ty);
            let fraction = match ty {
                SqlType::Date => Value::SmallInt(0),
                ty if ty.family() == Family::Temporal => Value::SmallInt(i16::from(ty.scale())),
                _ => Value::Null,
            };
            let set = match (ty.is_text(), ty.is_unicode()) {
                (true, true) => Some("UNICODE"),
                (true, false) => Some("iso_1"),
                _ => None,
            };
            rows.push(vec![
                text(&catalog),
                text(&table.schema),
                text(&table.name),
                text(&column.name),
                Value::Int(at),
                optional(column.default.as_ref().map(|default| default.definition.as_str())),
                Value::ansi(if column.nullable { "YES" } else { "NO" }),
                text(ty.name()),
                characters,
                octets,
                precision,
                radix,
                scale,
                fraction,
                optional(set),
                optional(ty.is_text().then_some(collation::NAME)),
            ]);
        }
    }
    Ok(rows)
}

fn lengths(ty: &SqlType) -> (Value, Value) {
    match ty {
        SqlType::VarChar(None) | SqlType::NVarChar(None) | SqlType::VarBinary(None) => {
            (Value::Int(-1), Value::Int(-1))
        }
        SqlType::Char(_) | SqlType::VarChar(_) | SqlType::Binary(_) | SqlType::VarBinary(_) => {
            let bytes = Value::Int(i32::from(ty.max_length()));
            (bytes.clone(), bytes)
        }
        SqlType::NChar(_) | SqlType::NVarChar(_) => {
            (Value::Int(i32::from(ty.max_length()) / 2), Value::Int(i32::from(ty.max_length())))
        }
        _ => (Value::Null, Value::Null),
    }
}

fn numeric(ty: &SqlType) -> (Value, Value, Value) {
    match ty {
        SqlType::Bit => (Value::Null, Value::Null, Value::Null),
        ty if ty.family() == Family::Float => {
            (Value::TinyInt(ty.precision()), Value::SmallInt(2), Value::Null)
        }
        ty if ty.is_numeric() => {
            (Value::TinyInt(ty.precision()), Value::SmallInt(10), Value::Int(i32::from(ty.scale())))
        }
        _ => (Value::Null, Value::Null, Value::Null),
    }
}

/// Constraints: name, table and kind.
fn constraints(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let catalog = source.database.name();
    let mut rows = Vec::new();
    for table in &source.tables {
        let mut push = |name: &str, kind: &str| {
            rows.push(vec![
                text(&catalog),
                text(&table.schema),
                text(name),
                text(&catalog),
                text(&table.schema),
                text(&table.name),
                Value::ansi(kind),
                Value::ansi("NO"),
                Value::ansi("NO"),
            ]);
        };
        for index in &table.indexes {
            match index.kind {
                IndexKind::PrimaryKey => push(&index.name, "PRIMARY KEY"),
                IndexKind::UniqueConstraint => push(&index.name, "UNIQUE"),
                IndexKind::Index => {}
            }
        }
        for check in &table.checks {
            push(&check.name, "CHECK");
        }
        for foreign in &table.foreign_keys {
            push(&foreign.name, "FOREIGN KEY");
        }
    }
    Ok(rows)
}

fn key_columns(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let catalog = source.database.name();
    let mut rows = Vec::new();
    for table in &source.tables {
        let mut push = |name: &str, columns: Vec<i32>| {
            for (at, id) in (1..).zip(columns) {
                let column = table.columns.iter().find(|column| column.id == id);
                rows.push(vec![
                    text(&catalog),
                    text(&table.schema),
                    text(name),
                    text(&catalog),
                    text(&table.schema),
                    text(&table.name),
                    optional(column.map(|column| column.name.as_str())),
                    Value::Int(at),
                ]);
            }
        };
        for index in table.indexes.iter().filter(|index| index.kind != IndexKind::Index) {
            push(&index.name, index.keys.iter().map(|key| key.column).collect());
        }
        for foreign in &table.foreign_keys {
            push(&foreign.name, foreign.columns.clone());
        }
    }
    Ok(rows)
}

fn schemata(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let catalog = source.database.name();
    Ok(source
        .schemas
        .iter()
        .map(|(_, name)| vec![text(&catalog), text(name), text("dbo")])
        .collect())
}
