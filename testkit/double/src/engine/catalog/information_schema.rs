//! `INFORMATION_SCHEMA`.

use super::Table;
use super::constraints::referenced_index;
use super::definition::{Columns, Definition, NVar, Name, Var, ViewOf, null};
use super::source::Catalog;
use crate::engine::collation;
use crate::sql_type::Family;
use crate::storage::{IndexKind, ReferentialAction};
use crate::{SqlError, SqlType};

const fn view<T>(
    name: &'static str,
    columns: fn() -> Columns<T>,
    items: fn(&Catalog<'_>) -> Result<Vec<T>, SqlError>,
) -> ViewOf<T> {
    ViewOf { schema: "INFORMATION_SCHEMA", name, columns, items, by_object: false }
}

pub(super) const VIEWS: &[&dyn Definition] = &[
    &view("SCHEMATA", schema_columns, schemas),
    &view("TABLES", table_columns, tables),
    &view("VIEWS", stored_view_columns, stored_views),
    &view("COLUMNS", column_columns, columns),
    &view("TABLE_CONSTRAINTS", constraint_columns, constraints),
    &view("KEY_COLUMN_USAGE", usage_columns, usages),
    &view("REFERENTIAL_CONSTRAINTS", reference_columns, references),
];

/// A table with the name of its database.
#[derive(Clone)]
struct Named {
    database: String,
    table: Table,
}

fn name(name: &str) -> Option<Name> {
    Some(Name(name.to_owned()))
}

fn tables(catalog: &Catalog<'_>) -> Result<Vec<Named>, SqlError> {
    let database = catalog.database().name();
    let mut tables = catalog.objects();
    tables.retain(|object| object.module.is_none() || object.is_view());
    let tables = tables.into_iter();
    Ok(tables.map(|table| Named { database: database.clone(), table }).collect())
}

fn table_name_columns() -> Columns<Named> {
    Columns::new()
        .add("TABLE_CATALOG", |t: &Named| name(&t.database))
        .add("TABLE_SCHEMA", |t| name(&t.table.schema))
        .add("TABLE_NAME", |t| Name(t.table.name.clone()))
}

fn table_columns() -> Columns<Named> {
    table_name_columns().add("TABLE_TYPE", |t| {
        Some(Var::<10>(if t.table.is_view() { "VIEW" } else { "BASE TABLE" }.to_owned()))
    })
}

struct StoredView {
    of: Named,
    definition: Option<String>,
}

fn stored_views(catalog: &Catalog<'_>) -> Result<Vec<StoredView>, SqlError> {
    let of = |of: Named| {
        let module = of.table.module.as_ref().filter(|_| of.table.is_view())?;
        let shown = catalog.sees_definitions(&of.table);
        // A text that does not fit is NULL.
        let fits = |text: &String| shown && text.encode_utf16().count() <= 4000;
        let definition = Some(module.definition.clone()).filter(fits);
        Some(StoredView { definition, of })
    };
    Ok(tables(catalog)?.into_iter().filter_map(of).collect())
}

fn stored_view_columns() -> Columns<StoredView> {
    Columns::new()
        .extend(table_name_columns(), |v: &StoredView| &v.of)
        .add("VIEW_DEFINITION", |v| v.definition.clone().map(NVar::<4000>))
        .add("CHECK_OPTION", |v| {
            let on = v.of.table.module.as_ref().is_some_and(|module| module.check_option);
            Some(Var::<7>(if on { "CASCADE" } else { "NONE" }.to_owned()))
        })
        .add("IS_UPDATABLE", |_| Var::<2>("NO".to_owned()))
}

struct Schema {
    database: String,
    name: String,
}

fn schemas(catalog: &Catalog<'_>) -> Result<Vec<Schema>, SqlError> {
    let database = catalog.database().name();
    let schemas = catalog.txn.schemas().into_iter();
    Ok(schemas.map(|(_, name)| Schema { database: database.clone(), name }).collect())
}

fn schema_columns() -> Columns<Schema> {
    Columns::new()
        .add("CATALOG_NAME", |s: &Schema| name(&s.database))
        .add("SCHEMA_NAME", |s| Name(s.name.clone()))
        .add("SCHEMA_OWNER", |s| {
            let own = matches!(&*s.name, "guest" | "INFORMATION_SCHEMA" | "sys");
            name(if own { &s.name } else { "dbo" })
        })
        .add("DEFAULT_CHARACTER_SET_CATALOG", null::<_, Var<6>>)
        .add("DEFAULT_CHARACTER_SET_SCHEMA", null::<_, Var<3>>)
        .add("DEFAULT_CHARACTER_SET_NAME", |_| name("iso_1"))
}

struct Column {
    of: Named,
    name: String,
    position: i32,
    default: Option<String>,
    nullable: bool,
    ty: SqlType,
    collation: Option<String>,
    /// Schema and name of its alias type.
    domain: Option<(String, String)>,
}

fn columns(catalog: &Catalog<'_>) -> Result<Vec<Column>, SqlError> {
    let aliases = catalog.txn.types();
    let domain = |id: Option<i32>| {
        let known = aliases.iter().find(|known| Some(known.id) == id)?;
        Some((known.schema.clone(), known.name.clone()))
    };
    let domain = &domain;
    let of_table = |of: Named| {
        let shown = catalog.sees_definitions(&of.table);
        let columns = of.table.columns.clone();
        (1..).zip(columns).map(move |(position, column)| Column {
            of: of.clone(),
            name: column.name,
            position,
            default: column.default.filter(|_| shown).map(|default| default.definition),
            nullable: column.nullable,
            collation: column
                .ty
                .is_text()
                .then_some(column.collation)
                .map(|own| own.unwrap_or_else(|| collation::NAME.to_owned())),
            ty: column.ty,
            domain: domain(column.alias),
        })
    };
    Ok(tables(catalog)?.into_iter().flat_map(of_table).collect())
}

impl Column {
    fn is_string(&self) -> bool {
        matches!(self.ty.family(), Family::Text | Family::Binary) && self.ty != SqlType::RowVersion
    }

    /// Bytes, -1 for MAX.
    fn octets(&self) -> Option<i32> {
        match self.ty.large_length() {
            Some((_, octets)) => Some(octets),
            None => self.is_string().then(|| i32::from(self.ty.max_length())),
        }
    }

    /// Characters, -1 for MAX.
    fn characters(&self) -> Option<i32> {
        if let Some((characters, _)) = self.ty.large_length() {
            return Some(characters);
        }
        let octets = self.octets()?;
        Some(if self.ty.is_unicode() && octets > 0 { octets / 2 } else { octets })
    }

    /// Precision, radix and scale of a number; `bit` is none.
    fn number(&self) -> Option<(u8, i16, Option<i32>)> {
        match self.ty {
            SqlType::Bit => None,
            SqlType::Float | SqlType::Real => Some((self.ty.precision(), 2, None)),
            _ if self.ty.is_numeric() => {
                Some((self.ty.precision(), 10, Some(i32::from(self.ty.scale()))))
            }
            _ => None,
        }
    }

    fn datetime_precision(&self) -> Option<i16> {
        (self.ty.family() == Family::Temporal).then(|| i16::from(self.ty.scale()))
    }

    fn character_set(&self) -> Option<Name> {
        let set = if self.ty.is_unicode() { "UNICODE" } else { "iso_1" };
        self.ty.is_text().then(|| Name(set.to_owned()))
    }
}

fn column_columns() -> Columns<Column> {
    Columns::new()
        .extend(table_name_columns(), |c: &Column| &c.of)
        .add("COLUMN_NAME", |c| name(&c.name))
        .add("ORDINAL_POSITION", |c| Some(c.position))
        .add("COLUMN_DEFAULT", |c| c.default.clone().map(NVar::<4000>))
        .add("IS_NULLABLE", |c| Some(Var::<3>(if c.nullable { "YES" } else { "NO" }.to_owned())))
        .add("DATA_TYPE", |c| name(c.ty.name()))
        .add("CHARACTER_MAXIMUM_LENGTH", Column::characters)
        .add("CHARACTER_OCTET_LENGTH", Column::octets)
        .add("NUMERIC_PRECISION", |c| c.number().map(|(precision, ..)| precision))
        .add("NUMERIC_PRECISION_RADIX", |c| c.number().map(|(_, radix, _)| radix))
        .add("NUMERIC_SCALE", |c| c.number().and_then(|(.., scale)| scale))
        .add("DATETIME_PRECISION", Column::datetime_precision)
        .add_each(&["CHARACTER_SET_CATALOG", "CHARACTER_SET_SCHEMA"], null::<_, Name>)
        .add("CHARACTER_SET_NAME", Column::character_set)
        .add_each(&["COLLATION_CATALOG", "COLLATION_SCHEMA"], null::<_, Name>)
        .add("COLLATION_NAME", |c| c.collation.clone().map(Name))
        .add("DOMAIN_CATALOG", |c| c.domain.as_ref().map(|_| Name(c.of.database.clone())))
        .add("DOMAIN_SCHEMA", |c| c.domain.as_ref().map(|(schema, _)| Name(schema.clone())))
        .add("DOMAIN_NAME", |c| c.domain.as_ref().map(|(_, name)| Name(name.clone())))
}

/// A constraint of a table, which lives in the table's schema.
#[derive(Clone)]
struct Constraint {
    of: Named,
    name: String,
    kind: &'static str,
}

fn constraints(catalog: &Catalog<'_>) -> Result<Vec<Constraint>, SqlError> {
    let of_table = |of: Named| {
        let table = &of.table;
        let keys = table.indexes.iter().filter_map(|index| match index.kind {
            IndexKind::PrimaryKey => Some((&index.name, "PRIMARY KEY")),
            IndexKind::UniqueConstraint => Some((&index.name, "UNIQUE")),
            IndexKind::Index => None,
        });
        let foreign = table.foreign_keys.iter().map(|key| (&key.name, "FOREIGN KEY"));
        let checks = table.checks.iter().map(|check| (&check.name, "CHECK"));
        let all = keys.chain(foreign).chain(checks);
        all.map(|(name, kind)| Constraint { of: of.clone(), name: name.clone(), kind })
            .collect::<Vec<_>>()
    };
    Ok(tables(catalog)?.into_iter().flat_map(of_table).collect())
}

fn constraint_name_columns() -> Columns<Constraint> {
    Columns::new()
        .add("CONSTRAINT_CATALOG", |c: &Constraint| name(&c.of.database))
        .add("CONSTRAINT_SCHEMA", |c| name(&c.of.table.schema))
        .add("CONSTRAINT_NAME", |c| Name(c.name.clone()))
}

fn constraint_columns() -> Columns<Constraint> {
    constraint_name_columns()
        .extend(table_name_columns(), |c| &c.of)
        .add("CONSTRAINT_TYPE", |c| Some(Var::<11>(c.kind.to_owned())))
        .add_each(&["IS_DEFERRABLE", "INITIALLY_DEFERRED"], |_| Var::<2>("NO".to_owned()))
}

/// A column of a key or foreign key.
struct Usage {
    constraint: Constraint,
    column: String,
    position: i32,
}

fn usages(catalog: &Catalog<'_>) -> Result<Vec<Usage>, SqlError> {
    let of_constraint = |constraint: Constraint| {
        let table = &constraint.of.table;
        let key = table.indexes.iter().find(|index| index.name == constraint.name);
        let foreign = table.foreign_keys.iter().find(|key| key.name == constraint.name);
        let ids = match (constraint.kind, key, foreign) {
            ("PRIMARY KEY" | "UNIQUE", Some(index), _) => {
                index.keys.iter().map(|key| key.column).collect()
            }
            ("FOREIGN KEY", _, Some(key)) => key.columns.clone(),
            _ => Vec::new(),
        };
        let of_column = |(position, id)| {
            let column = table.columns.iter().find(|column| column.id == id)?;
            Some(Usage { constraint: constraint.clone(), column: column.name.clone(), position })
        };
        (1..).zip(ids).filter_map(of_column).collect::<Vec<_>>()
    };
    Ok(constraints(catalog)?.into_iter().flat_map(of_constraint).collect())
}

fn usage_columns() -> Columns<Usage> {
    Columns::new()
        .extend(constraint_name_columns(), |u: &Usage| &u.constraint)
        .extend(table_name_columns(), |u| &u.constraint.of)
        .add("COLUMN_NAME", |u| name(&u.column))
        .add("ORDINAL_POSITION", |u| u.position)
}

struct Reference {
    constraint: Constraint,
    /// Schema and name of the key referred to.
    unique: Option<(String, String)>,
    on_update: ReferentialAction,
    on_delete: ReferentialAction,
}

fn references(catalog: &Catalog<'_>) -> Result<Vec<Reference>, SqlError> {
    let all = catalog.txn.tables();
    let of_table = |of: Named| {
        let of_key = |key: &crate::storage::ForeignKeyDef| {
            let referenced = all.iter().find(|table| table.id == key.referenced_table);
            let index = referenced_index(&all, key);
            Reference {
                constraint: Constraint {
                    of: of.clone(),
                    name: key.name.clone(),
                    kind: "FOREIGN KEY",
                },
                unique: referenced
                    .zip(index)
                    .map(|(table, (name, _))| (table.schema.clone(), name)),
                on_update: key.on_update,
                on_delete: key.on_delete,
            }
        };
        of.table.foreign_keys.iter().map(of_key).collect::<Vec<_>>()
    };
    Ok(tables(catalog)?.into_iter().flat_map(of_table).collect())
}

fn rule(action: ReferentialAction) -> Option<Var<11>> {
    let rule = match action {
        ReferentialAction::NoAction => "NO ACTION",
        ReferentialAction::Cascade => "CASCADE",
        ReferentialAction::SetNull => "SET NULL",
        ReferentialAction::SetDefault => "SET DEFAULT",
    };
    Some(Var(rule.to_owned()))
}

fn reference_columns() -> Columns<Reference> {
    Columns::new()
        .extend(constraint_name_columns(), |r: &Reference| &r.constraint)
        .add("UNIQUE_CONSTRAINT_CATALOG", |r| name(&r.constraint.of.database))
        .add("UNIQUE_CONSTRAINT_SCHEMA", |r| r.unique.clone().map(|(schema, _)| Name(schema)))
        .add("UNIQUE_CONSTRAINT_NAME", |r| r.unique.clone().map(|(_, key)| Name(key)))
        .add("MATCH_OPTION", |_| Some(Var::<7>("SIMPLE".to_owned())))
        .add("UPDATE_RULE", |r| rule(r.on_update))
        .add("DELETE_RULE", |r| rule(r.on_delete))
}
