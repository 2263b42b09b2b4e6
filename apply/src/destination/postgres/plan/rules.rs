//! The rules of a target: which PostgreSQL type each source column gets, its own or what the configuration
//! says.
//!
//! A configured type must have a form of every value of the source's type (`types::fit`), and must be
//! there in the target. What is wrong is found before anything is written: what the configuration alone
//! shows, and whether types of extensions are there, by [`Types::at_start`]; what hangs on tables, when
//! they come ([`Types::of_tables`], [`Types::wanted`]).

mod key;

use std::collections::BTreeMap;

use lockstep_common::config::{self, KeyCollation};
use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Column, LogicalType, TableName, TableVersion};

use super::super::collation;
use super::super::encode::{Form, Way};
use super::super::extension::Extensions;
use super::super::text::Style;
use super::super::types::{PgType, base_name};
use key::{ColumnKey, TypeKey};

/// What columns become.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Types {
    by_type: BTreeMap<TypeKey, PgType>,
    by_column: BTreeMap<ColumnKey, PgType>,
    /// What is wrong with the configuration itself.
    wrong: Vec<String>,
    /// What the name of a column of offsets has behind it.
    suffix: Option<String>,
    collation: KeyCollation,
    /// None while nobody asked the target: then all are taken to be there.
    extensions: Option<Extensions>,
}

impl Types {
    /// From a configuration, for a target that is not known yet.
    pub(in super::super) fn new(config: &config::Apply) -> Self {
        let mut wrong = Vec::new();
        let mut by_type = BTreeMap::new();
        for (key, ty) in &config.types {
            match (TypeKey::parse(key), PgType::parse(ty)) {
                (Ok(key), Ok(ty)) => {
                    by_type.insert(key, ty);
                }
                (key, ty) => {
                    let found = [key.err(), ty.err()].into_iter().flatten();
                    wrong.extend(found.map(|what| format!("types: {what}")));
                }
            }
        }
        let mut by_column = BTreeMap::new();
        for (key, ty) in &config.columns {
            match (ColumnKey::parse(key), PgType::parse(ty)) {
                (Ok(key), Ok(ty)) => {
                    by_column.insert(key, ty);
                }
                (key, ty) => {
                    let found = [key.err(), ty.err()].into_iter().flatten();
                    wrong.extend(found.map(|what| format!("columns: {what}")));
                }
            }
        }
        Types {
            by_type,
            by_column,
            wrong,
            suffix: config.offset_columns.clone(),
            collation: config.key_collation,
            extensions: None,
        }
    }

    /// The same for a target that has these.
    pub(in super::super) fn with(&self, extensions: Extensions) -> Self {
        Types { extensions: Some(extensions), ..self.clone() }
    }

    // --- What is wrong --------------------------------------------------------------------------

    /// What is wrong with the configuration and the target, whatever tables come.
    pub(in super::super) fn at_start(&self) -> Vec<String> {
        let mut wrong = self.wrong.clone();
        for (key, ty) in &self.by_type {
            let found = match key.column() {
                Some(column) => suits(*ty, &column).and_then(|()| self.present(*ty)),
                None => self.present(*ty),
            };
            wrong.extend(found.err().map(|what| format!("types: {key} = {ty}: {what}")));
        }
        for (key, ty) in &self.by_column {
            let found = self.present(*ty);
            wrong.extend(found.err().map(|what| format!("columns: {key} = {ty}: {what}")));
        }
        let known = self.extensions.as_ref();
        if self.collation == KeyCollation::Icu && known.is_some_and(|known| !known.icu) {
            wrong.push("key_collation: the server was built without ICU".to_owned());
        }
        wrong
    }

    /// What is wrong with `tables`. When they are `all` there are, configured columns of others are
    /// wrong too.
    pub(in super::super) fn of_tables<'v>(
        &self,
        tables: impl IntoIterator<Item = &'v TableVersion>,
        all: bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut names = Vec::new();
        for version in tables {
            wrong.extend(self.unknown_columns(version));
            for column in &version.columns {
                let found = self.wanted(&version.name, column);
                wrong.extend(found.err().map(|what| format!("{}: {what}", version.name)));
            }
            names.push(&version.name);
        }
        if all {
            wrong.extend(self.absent_tables(&names));
        }
        wrong
    }

    /// Configured columns of tables other than `all` there are.
    pub(in super::super) fn absent_tables(&self, all: &[&TableName]) -> Vec<String> {
        let absent = self.by_column.keys().filter(|key| !all.contains(&&key.table));
        absent.map(|key| format!("columns: {key}: there is no such table")).collect()
    }

    /// Configured columns that their table has not.
    pub(in super::super) fn unknown_columns(&self, version: &TableVersion) -> Vec<String> {
        let of_table = self.by_column.keys().filter(|key| key.table == version.name);
        let absent =
            of_table.filter(|key| version.columns.iter().all(|column| column.name != key.column));
        absent.map(|key| format!("columns: {key}: there is no such column")).collect()
    }

    fn present(&self, ty: PgType) -> Result<(), String> {
        match (ty.extension(), &self.extensions) {
            (Some(extension), Some(known)) if known.find(ty).is_none() => Err(format!(
                "the target has no type {}: CREATE EXTENSION {extension}",
                ty.base_name()
            )),
            _ => Ok(()),
        }
    }

    // --- Types ----------------------------------------------------------------------------------

    /// What the configuration says of a column.
    pub(in super::super) fn asked(&self, table: &TableName, column: &Column) -> Option<PgType> {
        let of_column =
            self.by_column.get(&ColumnKey { table: table.clone(), column: column.name.clone() });
        of_column
            .or_else(|| self.by_type.get(&TypeKey::whole(&column.source_type)))
            .or_else(|| self.by_type.get(&TypeKey::base(&column.source_type)))
            .copied()
    }

    /// What a column gets that nothing is said of.
    pub(in super::super) fn own(&self, column: &Column) -> PgType {
        let known = self.extensions.as_ref();
        let postgis = known.is_none_or(|known| known.find(PgType::Geometry).is_some());
        PgType::for_column(column, postgis)
    }

    /// The type that a created column gets.
    ///
    /// # Errors
    /// Why it cannot have the one that the configuration says.
    pub(in super::super) fn wanted(
        &self,
        table: &TableName,
        column: &Column,
    ) -> Result<PgType, String> {
        let Some(ty) = self.asked(table, column) else { return Ok(self.own(column)) };
        suits(ty, column).and_then(|()| self.present(ty)).map(|()| ty).map_err(|what| {
            format!(
                "column {} of type {} cannot be {ty}: {what}",
                quote_postgres(&column.name),
                column.source_type
            )
        })
    }

    /// A type as it stands in `CREATE TABLE`.
    pub(in super::super) fn name(&self, ty: PgType) -> String {
        match self.extensions.as_ref().and_then(|known| known.find(ty)) {
            Some(found) => format!("{}.{ty}", quote_postgres(&found.schema)),
            None => ty.to_string(),
        }
    }

    /// The collation of a column by which keys and unique indexes tell rows apart.
    pub(in super::super) fn collation(&self, column: &Column, ty: PgType) -> Option<&'static str> {
        let asked = self.collation == KeyCollation::Icu;
        let text = matches!(ty, PgType::Text | PgType::Varchar(_) | PgType::Char(_));
        column.collation.as_deref().filter(|_| asked && text).and_then(collation::of)
    }

    /// Whether such collations are made at all.
    pub(in super::super) fn collates(&self) -> bool {
        self.collation == KeyCollation::Icu
    }

    /// What the name of a column of offsets has behind it, where they are asked for.
    pub(in super::super) fn offset_suffix(&self) -> Option<&str> {
        self.suffix.as_deref()
    }
}

/// Whether a column that is to have `wanted`, as the configuration asks for or not, may have `found`.
pub(super) fn serves(asked: bool, column: &Column, found: PgType, wanted: PgType) -> bool {
    match asked {
        true => found.serves_as(wanted, column),
        // Tables of earlier versions have it.
        false if found == PgType::Geography => found.converts(column),
        false => found.holds(column),
    }
}

/// How values of a column are written into a column of type `ty`.
pub(in super::super) fn form(ty: PgType, column: &Column) -> Form {
    let way = match (&column.ty, ty) {
        (LogicalType::Geometry, _) => Way::Geometry,
        _ if ty.holds(column) => Way::Direct,
        (_, PgType::Int2 | PgType::Int4 | PgType::Int8) => Way::Number,
        _ => Way::Text(Style::of(column)),
    };
    Form { ty, way }
}

fn suits(ty: PgType, column: &Column) -> Result<(), String> {
    if ty.holds(column) || ty.converts(column) {
        return Ok(());
    }
    let base = base_name(&column.source_type);
    Err(format!("not every value of {base} has a lossless form in it"))
}

#[cfg(test)]
pub(super) mod tests;
