//! Key columns: which types can be cut into ranges.

use super::{RawColumn, id, is_vector};

/// How a key column's values go back to the server as parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// bit
    Bit,
    /// tinyint, smallint, int, bigint
    Integer,
    /// decimal, numeric, money, smallmoney
    Decimal,
    /// real
    Real,
    /// float
    Float,
    /// date
    Date,
    /// time
    Time,
    /// datetime
    DateTime,
    /// smalldatetime, datetime2
    DateTime2,
    /// datetimeoffset
    DateTimeOffset,
    /// uniqueidentifier
    Uuid,
    /// binary, varbinary
    Binary,
    /// nchar, nvarchar
    National,
    /// char, varchar
    CodePage,
}

/// How values of a column go back to the server; `None` for a type that is no parameter or has no
/// order of its own (rowversion, hierarchyid, …).
pub fn key_type(column: &RawColumn) -> Option<KeyType> {
    Some(match column.system_type {
        _ if column.max_length == -1 || is_vector(column) => return None,
        id::BIT => KeyType::Bit,
        id::TINYINT | id::SMALLINT | id::INT | id::BIGINT => KeyType::Integer,
        id::DECIMAL | id::NUMERIC | id::MONEY | id::SMALLMONEY => KeyType::Decimal,
        id::REAL => KeyType::Real,
        id::FLOAT => KeyType::Float,
        id::DATE => KeyType::Date,
        id::TIME => KeyType::Time,
        id::DATETIME => KeyType::DateTime,
        id::SMALLDATETIME | id::DATETIME2 => KeyType::DateTime2,
        id::DATETIMEOFFSET => KeyType::DateTimeOffset,
        id::UNIQUEIDENTIFIER => KeyType::Uuid,
        id::BINARY | id::VARBINARY => KeyType::Binary,
        id::NCHAR | id::NVARCHAR => KeyType::National,
        id::CHAR | id::VARCHAR => KeyType::CodePage,
        _ => return None,
    })
}
