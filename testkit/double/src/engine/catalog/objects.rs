//! Tables, columns, indexes, constraints.

use super::{Definition, NAME, Rows, Source, bit, date, optional, text, types};
use crate::engine::collation;
use crate::storage::{ColumnDef, IndexDef, IndexKind, ReferentialAction, TableDef};
use crate::{SqlError, SqlType, Value};

const LONG: SqlType = SqlType::NVarChar(Some(60));
const TEXT: SqlType = SqlType::NVarChar(None);

/// The views of this module.
pub(super) const VIEWS: &[Definition] = &[
    Definition {
        schema: "sys",
        name: "schemas",
        columns: &[("name", NAME), ("schema_id", SqlType::Int), ("principal_id", SqlType::Int)],
        rows: schemas,
    },
    Definition { schema: "sys", name: "objects", columns: OBJECT, rows: objects },
    Definition { schema: "sys", name: "all_objects", columns: OBJECT, rows: objects },
    Definition {
        schema: "sys",
        name: "tables",
        columns: &[
            ("name", NAME),
            ("object_id", SqlType::Int),
            ("schema_id", SqlType::Int),
            ("parent_object_id", SqlType::Int),
            ("type", SqlType::Char(2)),
            ("type_desc", LONG),
            ("create_date", SqlType::DateTime),
            ("modify_date", SqlType::DateTime),
            ("is_ms_shipped", SqlType::Bit),
            ("is_tracked_by_cdc", SqlType::Bit),
            ("temporal_type", SqlType::TinyInt),
            ("is_memory_optimized", SqlType::Bit),
            ("is_external", SqlType::Bit),
        ],
        rows: tables,
    },
    Definition { schema: "sys", name: "columns", columns: COLUMN, rows: columns },
    Definition { schema: "sys", name: "all_columns", columns: COLUMN, rows: columns },
    Definition {
        schema: "sys",
        name: "types",
        columns: &[
            ("name", NAME),
            ("system_type_id", SqlType::TinyInt),
            ("user_type_id", SqlType::Int),
            ("schema_id", SqlType::Int),
            ("max_length", SqlType::SmallInt),
            ("precision", SqlType::TinyInt),
            ("scale", SqlType::TinyInt),
            ("collation_name", NAME),
            ("is_nullable", SqlType::Bit),
            ("is_user_defined", SqlType::Bit),
            ("is_assembly_type", SqlType::Bit),
            ("is_table_type", SqlType::Bit),
        ],
        rows: type_rows,
    },
    Definition {
        schema: "sys",
        name: "indexes",
        columns: &[
            ("object_id", SqlType::Int),
            ("name", NAME),
            ("index_id", SqlType::Int),
            ("type", SqlType::TinyInt),
            ("type_desc", LONG),
            ("is_unique", SqlType::Bit),
            ("is_primary_key", SqlType::Bit),
            ("is_unique_constraint", SqlType::Bit),
            ("is_disabled", SqlType::Bit),
            ("is_hypothetical", SqlType::Bit),
            ("has_filter", SqlType::Bit),
            ("filter_definition", TEXT),
            ("ignore_dup_key", SqlType::Bit),
        ],
        rows: indexes,
    },
    Definition {
        schema: "sys",
        name: "index_columns",
        columns: &[
            ("object_id", SqlType::Int),
            ("index_id", SqlType::Int),
            ("index_column_id", SqlType::Int),
            ("column_id", SqlType::Int),
            ("key_ordinal", SqlType::TinyInt),
            ("partition_ordinal", SqlType::TinyInt),
            ("is_descending_key", SqlType::Bit),
            ("is_included_column", SqlType::Bit),
        ],
        rows: index_columns,
    },
    Definition {
        schema: "sys",
        name: "key_constraints",
        columns: &[
            ("name", NAME),
            ("object_id", SqlType::Int),
            ("schema_id", SqlType::Int),
            ("parent_object_id", SqlType::Int),
            ("type", SqlType::Char(2)),
            ("type_desc", LONG),
            ("unique_index_id", SqlType::Int),
        ],
        rows: key_constraints,
    },
    Definition {
        schema: "sys",
        name: "identity_columns",
        columns: &[
            ("object_id", SqlType::Int),
            ("name", NAME),
            ("column_id", SqlType::Int),
            ("seed_value", SqlType::BigInt),
            ("increment_value", SqlType::BigInt),
            ("last_value", SqlType::BigInt),
        ],
        rows: identity_columns,
    },
    Definition {
        schema: "sys",
        name: "default_constraints",
        columns: &[
            ("name", NAME),
            ("object_id", SqlType::Int),
            ("schema_id", SqlType::Int),
            ("parent_object_id", SqlType::Int),
            ("type", SqlType::Char(2)),
            ("parent_column_id", SqlType::Int),
            ("definition", TEXT),
        ],
        rows: default_constraints,
    },
    Definition {
        schema: "sys",
        name: "check_constraints",
        columns: &[
            ("name", NAME),
            ("object_id", SqlType::Int),
            ("schema_id", SqlType::Int),
            ("parent_object_id", SqlType::Int),
            ("type", SqlType::Char(2)),
            ("is_disabled", SqlType::Bit),
            ("parent_column_id", SqlType::Int),
            ("definition", TEXT),
        ],
        rows: check_constraints,
    },
    Definition {
        schema: "sys",
        name: "computed_columns",
        columns: &[
            ("object_id", SqlType::Int),
            ("name", NAME),
            ("column_id", SqlType::Int),
            ("system_type_id", SqlType::TinyInt),
            ("user_type_id", SqlType::Int),
            ("definition", TEXT),
            ("is_persisted", SqlType::Bit),
        ],
        rows: computed_columns,
    },
    Definition {
        schema: "sys",
        name: "foreign_keys",
        columns: &[
            ("name", NAME),
            ("object_id", SqlType::Int),
            ("schema_id", SqlType::Int),
            ("parent_object_id", SqlType::Int),
            ("type", SqlType::Char(2)),
            ("referenced_object_id", SqlType::Int),
            ("key_index_id", SqlType::Int),
            ("is_disabled", SqlType::Bit),
            ("delete_referential_action", SqlType::TinyInt),
            ("update_referential_action", SqlType::TinyInt),
        ],
        rows: foreign_keys,
    },
    Definition {
        schema: "sys",
        name: "foreign_key_columns",
        columns: &[
            ("constraint_object_id", SqlType::Int),
            ("constraint_column_id", SqlType::Int),
            ("parent_object_id", SqlType::Int),
            ("parent_column_id", SqlType::Int),
            ("referenced_object_id", SqlType::Int),
            ("referenced_column_id", SqlType::Int),
        ],
        rows: foreign_key_columns,
    },
    Definition {
        schema: "sys",
        name: "partitions",
        columns: &[
            ("partition_id", SqlType::BigInt),
            ("object_id", SqlType::Int),
            ("index_id", SqlType::Int),
            ("partition_number", SqlType::Int),
            ("rows", SqlType::BigInt),
        ],
        rows: partitions,
    },
];

const OBJECT: &[(&str, SqlType)] = &[
    ("name", NAME),
    ("object_id", SqlType::Int),
    ("schema_id", SqlType::Int),
    ("parent_object_id", SqlType::Int),
    ("type", SqlType::Char(2)),
    ("type_desc", LONG),
    ("create_date", SqlType::DateTime),
    ("modify_date", SqlType::DateTime),
    ("is_ms_shipped", SqlType::Bit),
];

const COLUMN: &[(&str, SqlType)] = &[
    ("object_id", SqlType::Int),
    ("name", NAME),
    ("column_id", SqlType::Int),
    ("system_type_id", SqlType::TinyInt),
    ("user_type_id", SqlType::Int),
    ("max_length", SqlType::SmallInt),
    ("precision", SqlType::TinyInt),
    ("scale", SqlType::TinyInt),
    ("collation_name", NAME),
    ("is_nullable", SqlType::Bit),
    ("is_ansi_padded", SqlType::Bit),
    ("is_rowguidcol", SqlType::Bit),
    ("is_identity", SqlType::Bit),
    ("is_computed", SqlType::Bit),
    ("is_filestream", SqlType::Bit),
    ("default_object_id", SqlType::Int),
    ("is_sparse", SqlType::Bit),
    ("is_column_set", SqlType::Bit),
    ("generated_always_type", SqlType::TinyInt),
    ("is_hidden", SqlType::Bit),
    ("is_masked", SqlType::Bit),
    ("encryption_type", SqlType::Int),
];

fn schemas(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    Ok(source
        .schemas
        .iter()
        .map(|(id, name)| vec![text(name), Value::Int(*id), Value::Int(1)])
        .collect())
}

/// `object_id` of a DEFAULT, which storage does not number: from its table's and column's.
fn default_id(table: &TableDef, column: &ColumnDef) -> i32 {
    match column.default {
        Some(_) => super::system_object_id(&format!("default {} {}", table.id, column.id))
            .unsigned_abs() as i32,
        None => 0,
    }
}

fn object(
    source: &Source<'_, '_>,
    table: &TableDef,
    name: &str,
    id: i32,
    kind: (&str, &str),
) -> Vec<Value> {
    let parent = if id == table.id { 0 } else { table.id };
    vec![
        text(name),
        Value::Int(id),
        Value::Int(source.schema_id(&table.schema)),
        Value::Int(parent),
        Value::ansi(&format!("{:<2}", kind.0)),
        text(kind.1),
        date(table.create_date),
        date(table.modify_date),
        bit(table.ms_shipped),
    ]
}

fn objects(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        rows.push(object(source, table, &table.name, table.id, ("U", "USER_TABLE")));
        for index in constraint_indexes(table) {
            rows.push(object(source, table, &index.name, index.constraint_id, key_kind(index)));
        }
        for check in &table.checks {
            rows.push(object(source, table, &check.name, check.id, ("C", "CHECK_CONSTRAINT")));
        }
        for foreign in &table.foreign_keys {
            rows.push(object(
                source,
                table,
                &foreign.name,
                foreign.id,
                ("F", "FOREIGN_KEY_CONSTRAINT"),
            ));
        }
        for column in &table.columns {
            if let Some(default) = &column.default {
                let id = default_id(table, column);
                rows.push(object(source, table, &default.name, id, ("D", "DEFAULT_CONSTRAINT")));
            }
        }
    }
    Ok(rows)
}

fn constraint_indexes(table: &TableDef) -> impl Iterator<Item = &IndexDef> {
    table.indexes.iter().filter(|index| index.kind != IndexKind::Index)
}

fn key_kind(index: &IndexDef) -> (&'static str, &'static str) {
    match index.kind {
        IndexKind::PrimaryKey => ("PK", "PRIMARY_KEY_CONSTRAINT"),
        _ => ("UQ", "UNIQUE_CONSTRAINT"),
    }
}

fn tables(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    Ok(source
        .tables
        .iter()
        .map(|table| {
            let mut row = object(source, table, &table.name, table.id, ("U", "USER_TABLE"));
            row.extend([bit(table.tracked_by_cdc()), Value::TinyInt(0), bit(false), bit(false)]);
            row
        })
        .collect())
}

fn columns(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for column in &table.columns {
            let ty = &column.ty;
            rows.push(vec![
                Value::Int(table.id),
                text(&column.name),
                Value::Int(column.id),
                Value::TinyInt(ty.system_type_id()),
                Value::Int(i32::from(ty.system_type_id())),
                Value::SmallInt(ty.max_length()),
                Value::TinyInt(ty.precision()),
                Value::TinyInt(ty.scale()),
                optional(ty.is_text().then_some(collation::NAME)),
                bit(column.nullable),
                bit(ty.is_text() || matches!(ty, SqlType::Binary(_) | SqlType::VarBinary(_))),
                bit(false),
                bit(column.identity.is_some()),
                bit(column.computed.is_some()),
                bit(false),
                Value::Int(default_id(table, column)),
                bit(false),
                bit(false),
                Value::TinyInt(0),
                bit(false),
                bit(false),
                Value::Null,
            ]);
        }
    }
    Ok(rows)
}

fn type_rows(_: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let row = |name: &str, ty: &SqlType, user_type: i32, nullable: bool| {
        vec![
            text(name),
            Value::TinyInt(ty.system_type_id()),
            Value::Int(user_type),
            Value::Int(4),
            Value::SmallInt(ty.max_length()),
            Value::TinyInt(ty.precision()),
            Value::TinyInt(ty.scale()),
            optional(ty.is_text().then_some(collation::NAME)),
            bit(nullable),
            bit(false),
            bit(false),
            bit(false),
        ]
    };
    let mut rows: Rows = types()
        .iter()
        .map(|(ty, name)| row(name, ty, i32::from(ty.system_type_id()), true))
        .collect();
    rows.push(row("numeric", &SqlType::Decimal { precision: 38, scale: 38 }, 108, true));
    rows.push(row("sysname", &SqlType::NVarChar(Some(128)), 256, false));
    Ok(rows)
}

fn indexes(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        let row = |name: Value, id: i32, kind: (u8, &str), index: Option<&IndexDef>| {
            vec![
                Value::Int(table.id),
                name,
                Value::Int(id),
                Value::TinyInt(kind.0),
                text(kind.1),
                bit(index.is_some_and(|index| index.unique)),
                bit(index.is_some_and(|index| index.kind == IndexKind::PrimaryKey)),
                bit(index.is_some_and(|index| index.kind == IndexKind::UniqueConstraint)),
                bit(false),
                bit(false),
                bit(false),
                Value::Null,
                bit(false),
            ]
        };
        if table.clustered().is_none() {
            rows.push(row(Value::Null, 0, (0, "HEAP"), None));
        }
        for index in &table.indexes {
            let kind = if index.clustered { (1, "CLUSTERED") } else { (2, "NONCLUSTERED") };
            rows.push(row(text(&index.name), index.id, kind, Some(index)));
        }
    }
    Ok(rows)
}

fn index_columns(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let small = |at: usize| u8::try_from(at).unwrap_or(u8::MAX);
    let mut rows = Vec::new();
    for table in &source.tables {
        for index in &table.indexes {
            let keys = index.keys.iter().map(|key| (key.column, key.descending, false));
            let includes = index.includes.iter().map(|column| (*column, false, true));
            for (at, (column, descending, included)) in keys.chain(includes).enumerate() {
                rows.push(vec![
                    Value::Int(table.id),
                    Value::Int(index.id),
                    Value::Int(i32::from(small(at + 1))),
                    Value::Int(column),
                    Value::TinyInt(if included { 0 } else { small(at + 1) }),
                    Value::TinyInt(0),
                    bit(descending),
                    bit(included),
                ]);
            }
        }
    }
    Ok(rows)
}

fn key_constraints(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for index in constraint_indexes(table) {
            let (kind, description) = key_kind(index);
            rows.push(vec![
                text(&index.name),
                Value::Int(index.constraint_id),
                Value::Int(source.schema_id(&table.schema)),
                Value::Int(table.id),
                Value::ansi(kind),
                text(description),
                Value::Int(index.id),
            ]);
        }
    }
    Ok(rows)
}

fn identity_columns(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for column in &table.columns {
            let Some(identity) = column.identity else {
                continue;
            };
            let last = source.env.with_txn(|txn| txn.identity_current(table.id));
            rows.push(vec![
                Value::Int(table.id),
                text(&column.name),
                Value::Int(column.id),
                Value::BigInt(identity.seed),
                Value::BigInt(identity.increment),
                last.map_or(Value::Null, Value::BigInt),
            ]);
        }
    }
    Ok(rows)
}

fn default_constraints(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for column in &table.columns {
            if let Some(default) = &column.default {
                rows.push(vec![
                    text(&default.name),
                    Value::Int(default_id(table, column)),
                    Value::Int(source.schema_id(&table.schema)),
                    Value::Int(table.id),
                    Value::ansi("D "),
                    Value::Int(column.id),
                    text(&default.definition),
                ]);
            }
        }
    }
    Ok(rows)
}

fn check_constraints(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for check in &table.checks {
            rows.push(vec![
                text(&check.name),
                Value::Int(check.id),
                Value::Int(source.schema_id(&table.schema)),
                Value::Int(table.id),
                Value::ansi("C "),
                bit(check.disabled),
                Value::Int(0),
                text(&check.definition),
            ]);
        }
    }
    Ok(rows)
}

fn computed_columns(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for column in &table.columns {
            if let Some(computed) = &column.computed {
                rows.push(vec![
                    Value::Int(table.id),
                    text(&column.name),
                    Value::Int(column.id),
                    Value::TinyInt(column.ty.system_type_id()),
                    Value::Int(i32::from(column.ty.system_type_id())),
                    text(&computed.definition),
                    bit(computed.persisted),
                ]);
            }
        }
    }
    Ok(rows)
}

fn action(action: ReferentialAction) -> Value {
    Value::TinyInt(match action {
        ReferentialAction::NoAction => 0,
        ReferentialAction::Cascade => 1,
        ReferentialAction::SetNull => 2,
        ReferentialAction::SetDefault => 3,
    })
}

fn foreign_keys(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for foreign in &table.foreign_keys {
            rows.push(vec![
                text(&foreign.name),
                Value::Int(foreign.id),
                Value::Int(source.schema_id(&table.schema)),
                Value::Int(table.id),
                Value::ansi("F "),
                Value::Int(foreign.referenced_table),
                Value::Int(1),
                bit(foreign.disabled),
                action(foreign.on_delete),
                action(foreign.on_update),
            ]);
        }
    }
    Ok(rows)
}

fn foreign_key_columns(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        for foreign in &table.foreign_keys {
            let pairs = foreign.columns.iter().zip(&foreign.referenced_columns);
            for (at, (own, referenced)) in (1..).zip(pairs) {
                rows.push(vec![
                    Value::Int(foreign.id),
                    Value::Int(at),
                    Value::Int(table.id),
                    Value::Int(*own),
                    Value::Int(foreign.referenced_table),
                    Value::Int(*referenced),
                ]);
            }
        }
    }
    Ok(rows)
}

/// One partition an index; `rows` is approximate, as documented.
fn partitions(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in &source.tables {
        let count = source.database.table_size(table.id).map_or(0, |(rows, _)| rows);
        let heap = table.clustered().is_none().then_some(0);
        for index in heap.into_iter().chain(table.indexes.iter().map(|index| index.id)) {
            rows.push(vec![
                Value::BigInt((i64::from(table.id) << 16) + i64::from(index)),
                Value::Int(table.id),
                Value::Int(index),
                Value::Int(1),
                Value::BigInt(i64::try_from(count).unwrap_or(i64::MAX)),
            ]);
        }
    }
    Ok(rows)
}
