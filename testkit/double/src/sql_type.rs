//! The SQL Server types the double stores and sends.

/// A column, variable or expression type with its facets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// `bit`
    Bit,
    /// `tinyint`, unsigned.
    TinyInt,
    /// `smallint`
    SmallInt,
    /// `int`
    Int,
    /// `bigint`
    BigInt,
    /// `decimal(p, s)`; `numeric` is the same type under another name.
    Decimal {
        /// 1 to 38.
        precision: u8,
        /// 0 to `precision`.
        scale: u8,
    },
    /// `money`
    Money,
    /// `smallmoney`
    SmallMoney,
    /// `float(53)`
    Float,
    /// `real`
    Real,
    /// `char(n)`, `n` in bytes of the code page.
    Char(u16),
    /// `varchar(n)`; `None` is `varchar(max)`.
    VarChar(Option<u16>),
    /// `nchar(n)`, `n` in UTF-16 units.
    NChar(u16),
    /// `nvarchar(n)`; `None` is `nvarchar(max)`.
    NVarChar(Option<u16>),
    /// `binary(n)`
    Binary(u16),
    /// `varbinary(n)`; `None` is `varbinary(max)`.
    VarBinary(Option<u16>),
    /// `date`
    Date,
    /// `time(n)`, n 0 to 7.
    Time(u8),
    /// `smalldatetime`
    SmallDateTime,
    /// `datetime`
    DateTime,
    /// `datetime2(n)`, n 0 to 7.
    DateTime2(u8),
    /// `datetimeoffset(n)`, n 0 to 7.
    DateTimeOffset(u8),
    /// `uniqueidentifier`
    UniqueIdentifier,
}
