//! The shape of a test table: what the workloads create, write and read back.

use std::fmt;

/// A SQL Server type that the workloads use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are SQL Server's own")]
pub enum Type {
    Bit,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Decimal(u8, u8),
    Money,
    SmallMoney,
    Float,
    Real,
    Char(u16),
    VarChar(u16),
    VarCharMax,
    NChar(u16),
    NVarChar(u16),
    NVarCharMax,
    Binary(u16),
    VarBinary(u16),
    VarBinaryMax,
    Date,
    Time(u8),
    DateTime,
    SmallDateTime,
    DateTime2(u8),
    DateTimeOffset(u8),
    UniqueIdentifier,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Decimal(p, s) => write!(f, "decimal({p},{s})"),
            Type::Char(n) => write!(f, "char({n})"),
            Type::VarChar(n) => write!(f, "varchar({n})"),
            Type::VarCharMax => f.write_str("varchar(max)"),
            Type::NChar(n) => write!(f, "nchar({n})"),
            Type::NVarChar(n) => write!(f, "nvarchar({n})"),
            Type::NVarCharMax => f.write_str("nvarchar(max)"),
            Type::Binary(n) => write!(f, "binary({n})"),
            Type::VarBinary(n) => write!(f, "varbinary({n})"),
            Type::VarBinaryMax => f.write_str("varbinary(max)"),
            Type::Time(n) => write!(f, "time({n})"),
            Type::DateTime2(n) => write!(f, "datetime2({n})"),
            Type::DateTimeOffset(n) => write!(f, "datetimeoffset({n})"),
            // The others are one word, and Rust's name for them is T-SQL's.
            other => f.write_str(&format!("{other:?}").to_lowercase()),
        }
    }
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: Type,
    /// Whether NULL may be written.
    pub nullable: bool,
}

/// A NOT NULL column.
pub fn column(name: &str, ty: Type) -> Column {
    Column { name: name.to_owned(), ty, nullable: false }
}

/// A column that may be NULL.
pub fn nullable(name: &str, ty: Type) -> Column {
    Column { nullable: true, ..column(name, ty) }
}

/// A table of schema `dbo`.
#[derive(Clone, Debug)]
pub struct Table {
    /// Name.
    pub name: String,
    /// Columns in order.
    pub columns: Vec<Column>,
    /// How many leading columns say which group a row belongs to: its primary key, or for a table
    /// without one the columns whose rows only one session writes at a time.
    pub group_columns: usize,
    /// Whether the group columns are the primary key.
    pub has_key: bool,
    /// Its `CREATE TABLE` where the columns' types are not all there is to it.
    pub create: Option<String>,
}

impl Table {
    /// A table whose first `key_columns` columns are its primary key.
    pub fn keyed(name: &str, key_columns: usize, columns: Vec<Column>) -> Self {
        Table {
            name: name.to_owned(),
            columns,
            group_columns: key_columns,
            has_key: true,
            create: None,
        }
    }

    /// A table without a key whose rows are told apart by the first column only as groups.
    pub fn keyless(name: &str, columns: Vec<Column>) -> Self {
        Table { has_key: false, ..Table::keyed(name, 1, columns) }
    }

    /// The same table, made by this statement.
    pub fn created_by(self, sql: &str) -> Self {
        Table { create: Some(sql.to_owned()), ..self }
    }

    /// `CREATE TABLE`
    pub fn create_sql(&self) -> String {
        if let Some(sql) = &self.create {
            return sql.clone();
        }
        let mut parts: Vec<String> = self
            .columns
            .iter()
            .map(|c| {
                let null = if c.nullable { "NULL" } else { "NOT NULL" };
                format!("[{}] {} {null}", c.name, c.ty)
            })
            .collect();
        if self.has_key {
            let key: Vec<String> = self.group().map(|c| format!("[{}]", c.name)).collect();
            parts.push(format!("CONSTRAINT [pk_{}] PRIMARY KEY ({})", self.name, key.join(", ")));
        }
        format!("CREATE TABLE dbo.[{}] ({})", self.name, parts.join(", "))
    }

    /// Makes a capture instance named `dbo_<table>`.
    pub fn enable_cdc_sql(&self) -> String {
        format!(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{}', \
             @role_name = NULL, @supports_net_changes = 0",
            self.name
        )
    }

    /// All columns for a reader of values. Money goes through decimal, because tiberius would make
    /// it a float.
    pub fn select_list(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|c| match c.ty {
                Type::Money | Type::SmallMoney => {
                    format!("CAST([{0}] AS decimal(19,4)) AS [{0}]", c.name)
                }
                _ => format!("[{}]", c.name),
            })
            .collect();
        columns.join(", ")
    }

    /// Reads everything.
    pub fn select_sql(&self) -> String {
        format!("SELECT {} FROM dbo.[{}]", self.select_list(), self.name)
    }

    /// Reads the rows of one group.
    pub fn select_group_sql(&self, key: &Key) -> String {
        format!("{} WHERE {}", self.select_sql(), self.where_group(key))
    }

    /// The condition that picks one group.
    pub fn where_group(&self, key: &Key) -> String {
        let terms: Vec<String> = self
            .group()
            .zip(&key.0)
            .map(|(column, part)| format!("[{}] = {}", column.name, part.literal))
            .collect();
        terms.join(" AND ")
    }

    /// The group columns.
    pub fn group(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().take(self.group_columns)
    }
}

/// One column's value of a key: what a statement says and what a reader will see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPart {
    /// T-SQL literal.
    pub literal: String,
    /// Canonical text, see [`crate::render`].
    pub canonical: String,
}

impl From<i64> for KeyPart {
    fn from(value: i64) -> Self {
        KeyPart { literal: value.to_string(), canonical: value.to_string() }
    }
}

/// The group columns' values of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<KeyPart>);

impl Key {
    /// A key of integers.
    pub fn of<const N: usize>(parts: [i64; N]) -> Self {
        Key(parts.into_iter().map(KeyPart::from).collect())
    }

    /// The canonical texts in one, as [`crate::render::Row::group`] makes it.
    pub fn canonical(&self) -> String {
        let parts: Vec<&str> = self.0.iter().map(|part| part.canonical.as_str()).collect();
        parts.join("|")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_of_a_table() {
        let table = Table::keyed(
            "orders",
            2,
            vec![
                column("w", Type::SmallInt),
                column("id", Type::Int),
                nullable("total", Type::Money),
                nullable("note", Type::NVarCharMax),
            ],
        );
        assert_eq!(
            table.create_sql(),
            "CREATE TABLE dbo.[orders] ([w] smallint NOT NULL, [id] int NOT NULL, \
             [total] money NULL, [note] nvarchar(max) NULL, \
             CONSTRAINT [pk_orders] PRIMARY KEY ([w], [id]))"
        );
        assert_eq!(
            table.select_group_sql(&Key::of([1, 7])),
            "SELECT [w], [id], CAST([total] AS decimal(19,4)) AS [total], [note] \
             FROM dbo.[orders] WHERE [w] = 1 AND [id] = 7"
        );
        assert_eq!(Type::SmallDateTime.to_string(), "smalldatetime");
        assert_eq!(Type::UniqueIdentifier.to_string(), "uniqueidentifier");
    }
}
