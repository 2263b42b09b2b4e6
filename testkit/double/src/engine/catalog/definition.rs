//! How a view is written down: columns beside what computes them.

use std::sync::Arc;

use crate::engine::bind::SourceColumn;
use crate::engine::convert;
use crate::storage::{Lsn, Micros, Row, datetime};
use crate::value::Variant;
use crate::{Origin, SqlError, SqlType, Value};

use super::SYSNAME;
use super::source::Catalog;

/// A Rust value with the SQL type a column of it has.
pub(super) trait Field {
    /// Type of the column.
    const TYPE: SqlType;
    /// Whether NULL may come.
    const NULLABLE: bool = false;
    /// The value.
    fn value(self) -> Value;
}

macro_rules! field {
    ($($rust:ty => $ty:expr, $make:expr;)*) => {
        $(impl Field for $rust {
            const TYPE: SqlType = $ty;
            fn value(self) -> Value {
                let make: fn($rust) -> Value = $make;
                make(self)
            }
        })*
    };
}

/// `sysname`
pub(super) struct Name(pub String);
/// `nvarchar(60)`, as the `…_desc` columns are.
pub(super) struct Desc(pub &'static str);
/// `datetime`, server-local.
pub(super) struct At(pub Micros);
/// `nvarchar(max)`
pub(super) struct Text(pub String);
/// `nvarchar(n)`
pub(super) struct NVar<const N: u16>(pub String);
/// `varchar(n)`
pub(super) struct Var<const N: u16>(pub String);
/// `char(n)`, padded.
pub(super) struct Code<const N: u16>(pub &'static str);
/// `sql_variant`
#[derive(Clone)]
pub(super) struct Inside {
    /// Its base type.
    ty: SqlType,
    value: Value,
}

impl Inside {
    /// A value of a type.
    pub fn of(ty: &SqlType, value: Value) -> Inside {
        Inside { ty: ty.clone(), value }
    }

    /// What a `sql_variant` holds.
    pub fn unwrapped(value: &Value) -> Option<Inside> {
        match value {
            Value::Variant(variant) => Some(Inside::of(&variant.ty, variant.value.clone())),
            _ => None,
        }
    }

    /// A number as the type has it, or a `bigint` where that has no such number.
    pub fn number(ty: &SqlType, number: i64) -> Inside {
        let wide = Value::BigInt(number);
        match convert::convert(&wide, &SqlType::BigInt, ty, None) {
            Ok(value) => Inside { ty: ty.clone(), value },
            Err(_) => Inside { ty: SqlType::BigInt, value: wide },
        }
    }
}

/// `varbinary(85)`: a security identifier.
pub(super) struct Sid(pub Vec<u8>);

field! {
    bool => SqlType::Bit, Value::Bit;
    u8 => SqlType::TinyInt, Value::TinyInt;
    i16 => SqlType::SmallInt, Value::SmallInt;
    i32 => SqlType::Int, Value::Int;
    i64 => SqlType::BigInt, Value::BigInt;
    [u8; 16] => SqlType::UniqueIdentifier, Value::Guid;
    Lsn => SqlType::Numeric { precision: 25, scale: 0 }, Lsn::to_numeric;
    Name => SYSNAME, |name| Value::text(&name.0);
    Desc => SqlType::NVarChar(Some(60)), |desc| Value::text(desc.0);
    At => SqlType::DateTime, |at| datetime(at.0);
    Inside => SqlType::Variant, |it| Value::Variant(Arc::new(Variant { ty: it.ty, value: it.value }));
    Text => SqlType::NVarChar(None), |text| Value::text(&text.0);
    Sid => SqlType::VarBinary(Some(85)), |sid| Value::binary(&sid.0);
}

impl<const N: u16> Field for NVar<N> {
    const TYPE: SqlType = SqlType::NVarChar(Some(N));
    fn value(self) -> Value {
        Value::text(&self.0.chars().take(usize::from(N)).collect::<String>())
    }
}

impl<const N: u16> Field for Var<N> {
    const TYPE: SqlType = SqlType::VarChar(Some(N));
    fn value(self) -> Value {
        Value::ansi(&self.0)
    }
}

impl<const N: u16> Field for Code<N> {
    const TYPE: SqlType = SqlType::Char(N);
    fn value(self) -> Value {
        Value::ansi(&format!("{:1$}", self.0, usize::from(N)))
    }
}

impl<F: Field> Field for Option<F> {
    const TYPE: SqlType = F::TYPE;
    const NULLABLE: bool = true;
    fn value(self) -> Value {
        self.map_or(Value::Null, F::value)
    }
}

/// A column that is 0 in every row, NOT NULL.
pub(super) fn off<T>(_: &T) -> bool {
    false
}

/// A `bit` that is 0 in every row and could be NULL.
pub(super) fn off_null<T>(_: &T) -> Option<bool> {
    Some(false)
}

/// A `bit` that is 1 in every row and could be NULL.
pub(super) fn on_null<T>(_: &T) -> Option<bool> {
    Some(true)
}

/// A column without a value in any row.
pub(super) fn null<T, F: Field>(_: &T) -> Option<F> {
    None
}

struct Column<T> {
    name: &'static str,
    ty: SqlType,
    nullable: bool,
    value: Box<dyn Fn(&T) -> Value>,
}

/// Columns over items of one kind, in order.
pub(super) struct Columns<T>(Vec<Column<T>>);

impl<T: 'static> Columns<T> {
    /// None yet.
    pub fn new() -> Columns<T> {
        Columns(Vec::new())
    }

    /// One more.
    pub fn add<F: Field>(
        mut self,
        name: &'static str,
        value: impl Fn(&T) -> F + 'static,
    ) -> Columns<T> {
        self.0.push(Column {
            name,
            ty: F::TYPE,
            nullable: F::NULLABLE,
            value: Box::new(move |item| value(item).value()),
        });
        self
    }

    /// One more of each name, all computed alike.
    pub fn add_each<F: Field>(
        self,
        names: &[&'static str],
        value: impl Fn(&T) -> F + Copy + 'static,
    ) -> Columns<T> {
        names.iter().fold(self, |columns, name| columns.add(name, value))
    }

    /// The columns of another view that this one extends; `part` is what they are of.
    pub fn extend<U: 'static>(
        mut self,
        other: Columns<U>,
        part: impl Fn(&T) -> &U + Copy + 'static,
    ) -> Columns<T> {
        self.0.extend(other.0.into_iter().map(|column| Column {
            name: column.name,
            ty: column.ty,
            nullable: column.nullable,
            value: Box::new(move |item| (column.value)(part(item))),
        }));
        self
    }

    fn row(&self, item: &T) -> Row {
        self.0.iter().map(|column| (column.value)(item)).collect()
    }

    fn describe(&self) -> Vec<SourceColumn> {
        self.0
            .iter()
            .map(|column| SourceColumn {
                mask: None,
                name: column.name.to_owned(),
                ty: Some(column.ty.clone()),
                nullable: column.nullable,
                origin: Origin::Stored,
                label: None,
            })
            .collect()
    }
}

/// A view, whatever its rows are of.
pub(super) trait Definition: Sync {
    /// Schema.
    fn schema(&self) -> &'static str;
    /// Name without schema.
    fn name(&self) -> &'static str;
    /// Its columns.
    fn columns(&self) -> Vec<SourceColumn>;
    /// Whether its first column is the `object_id` of an object of [`Catalog::objects`], and each row
    /// is of that object alone: whoever asks for some objects needs the rows of no others.
    fn is_by_object(&self) -> bool;
    /// Its rows as the caller may see them.
    ///
    /// # Errors
    /// A permission that a dynamic view needs and the caller lacks; damaged settings.
    fn rows(&self, catalog: &Catalog<'_>) -> Result<Vec<Row>, SqlError>;
}

/// A view over items of one kind.
pub(super) struct ViewOf<T> {
    pub schema: &'static str,
    pub name: &'static str,
    pub columns: fn() -> Columns<T>,
    pub items: fn(&Catalog<'_>) -> Result<Vec<T>, SqlError>,
    pub by_object: bool,
}

impl<T> ViewOf<T> {
    /// A view of schema `sys`.
    pub const fn sys(
        name: &'static str,
        columns: fn() -> Columns<T>,
        items: fn(&Catalog<'_>) -> Result<Vec<T>, SqlError>,
    ) -> ViewOf<T> {
        ViewOf { schema: "sys", name, columns, items, by_object: false }
    }

    /// The same, of [`Definition::is_by_object`].
    pub const fn by_object(self) -> ViewOf<T> {
        ViewOf { by_object: true, ..self }
    }
}

impl<T: 'static> Definition for ViewOf<T> {
    fn schema(&self) -> &'static str {
        self.schema
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn columns(&self) -> Vec<SourceColumn> {
        (self.columns)().describe()
    }

    fn is_by_object(&self) -> bool {
        self.by_object
    }

    fn rows(&self, catalog: &Catalog<'_>) -> Result<Vec<Row>, SqlError> {
        let columns = (self.columns)();
        Ok((self.items)(catalog)?.iter().map(|item| columns.row(item)).collect())
    }
}
