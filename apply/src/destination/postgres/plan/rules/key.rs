//! What a mapping's key names: a source type or a source column.

use std::fmt;

use lockstep_common::model::name::written_mssql;
use lockstep_common::{Column, LogicalType, TableName};

use super::super::super::types::{base_name, is_limited};

/// A source type, with or without its limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TypeKey(String);

/// A source column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ColumnKey {
    pub(super) table: TableName,
    pub(super) column: String,
}

/// SQL Server's types, as columns have them.
const KNOWN: &[&str] = &[
    "bigint",
    "binary",
    "bit",
    "char",
    "date",
    "datetime",
    "datetime2",
    "datetimeoffset",
    "decimal",
    "float",
    "geography",
    "geometry",
    "hierarchyid",
    "image",
    "int",
    "json",
    "money",
    "nchar",
    "ntext",
    "numeric",
    "nvarchar",
    "real",
    "rowversion",
    "smalldatetime",
    "smallint",
    "smallmoney",
    "sql_variant",
    "text",
    "time",
    "tinyint",
    "uniqueidentifier",
    "varbinary",
    "varchar",
    "vector",
    "xml",
];

impl TypeKey {
    /// # Errors
    /// When there is no such type.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let key = Self::whole(text);
        if KNOWN.contains(&base_name(&key.0).as_str()) {
            Ok(key)
        } else {
            Err(format!("{text} is no type of SQL Server"))
        }
    }

    /// The type with its limits.
    pub(super) fn whole(source_type: &str) -> Self {
        let text: String = source_type.chars().filter(|c| !c.is_whitespace()).collect();
        let limits = text.find('(').map_or("", |at| &text[at..]).to_ascii_lowercase();
        TypeKey(base_name(&text) + &limits)
    }

    /// The type without its limits.
    pub(super) fn base(source_type: &str) -> Self {
        TypeKey(base_name(source_type))
    }

    /// A column of the type, where its name says all that there is to it.
    pub(super) fn column(&self) -> Option<Column> {
        let ty = match (base_name(&self.0).as_str(), is_limited(&self.0)) {
            ("bit", _) => LogicalType::Bool,
            ("tinyint", _) => LogicalType::Int { bytes: 1 },
            ("smallint", _) => LogicalType::Int { bytes: 2 },
            ("int", _) => LogicalType::Int { bytes: 4 },
            ("bigint", _) => LogicalType::Int { bytes: 8 },
            ("money", _) => LogicalType::Decimal { precision: 19, scale: 4 },
            ("smallmoney", _) => LogicalType::Decimal { precision: 10, scale: 4 },
            ("real", _) => LogicalType::F32,
            ("float", false) => LogicalType::F64,
            ("date", _) => LogicalType::Date,
            ("datetime", _) => LogicalType::Timestamp { digits: 3 },
            ("smalldatetime", _) => LogicalType::Timestamp { digits: 0 },
            ("uniqueidentifier", _) => LogicalType::Uuid,
            ("rowversion", _) => LogicalType::Bytes { max: Some(8) },
            ("image", _) => LogicalType::Bytes { max: None },
            ("text" | "ntext" | "xml" | "json", _) => {
                LogicalType::String { max: None, fixed: false }
            }
            ("hierarchyid", _) => LogicalType::Other,
            ("sql_variant", _) => LogicalType::Variant,
            ("geometry" | "geography", _) => LogicalType::Geometry,
            _ => return None,
        };
        Some(Column {
            id: None,
            name: String::new(),
            ty,
            source_type: self.0.clone(),
            nullable: true,
            collation: None,
            identity: false,
            computed: false,
        })
    }
}

impl fmt::Display for TypeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ColumnKey {
    /// `schema.table.column`; a name with a dot in it stands in brackets, and a closing bracket in a
    /// name is doubled there.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let names = split(text)
            .and_then(|names| <[String; 3]>::try_from(names).ok())
            .filter(|names| names.iter().all(|name| !name.is_empty()));
        let [schema, table, column] = names.ok_or_else(|| {
            format!("{text} is no schema.table.column (a name with a dot stands in brackets)")
        })?;
        Ok(ColumnKey { table: TableName { schema, table }, column })
    }
}

impl fmt::Display for ColumnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, written_mssql(&self.column))
    }
}

fn split(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let name = if let Some(mut quoted) = rest.strip_prefix('[') {
            let mut name = String::new();
            loop {
                let (part, behind) = quoted.split_once(']')?;
                name.push_str(part);
                quoted = behind;
                match quoted.strip_prefix(']') {
                    Some(behind) => {
                        name.push(']');
                        quoted = behind;
                    }
                    None => break,
                }
            }
            rest = quoted;
            name
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            rest = behind;
            name.to_owned()
        };
        names.push(name);
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind,
            None if rest.is_empty() => return Some(names),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_with_and_without_brackets() {
        let key =
            |text: &str| ColumnKey::parse(text).map(|k| (k.table.schema, k.table.table, k.column));
        let names = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(key("dbo.orders.note"), names("dbo", "orders", "note"));
        assert_eq!(key("[a.b].[c]]d].e f"), names("a.b", "c]d", "e f"));
        for wrong in ["", "a.b", "a.b.c.d", "a..c", "[a.b.c", "[a]b.c.d", "a.b.", "[].b.c"] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn types_are_named_in_any_case_and_spacing() {
        assert_eq!(TypeKey::parse("Decimal(10, 2)").unwrap(), TypeKey::whole("decimal(10,2)"));
        assert_eq!(TypeKey::parse("TIMESTAMP").unwrap(), TypeKey::parse("rowversion").unwrap());
        assert_eq!(TypeKey::base("decimal(10,2)"), TypeKey::parse("DECIMAL").unwrap());
        assert!(TypeKey::parse("datetim2").is_err());
        let mut sorted = KNOWN.to_vec();
        sorted.sort_unstable();
        assert_eq!(KNOWN, sorted);
    }
}
