//! SQL Server's types, as far as a translation has to tell them apart.

use lockstep_common::{Column, LogicalType};

use super::Refusal;
use super::parse::TypeName;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    /// The constant NULL.
    Null,
    Bit,
    /// 1 (unsigned), 2, 4 or 8 bytes.
    Int(u8),
    /// Precision and scale.
    Decimal(u8, u8),
    Money,
    SmallMoney,
    Real,
    Float,
    Text(Text),
    Bytes(Option<u32>),
    Uuid,
    Date,
    /// Fractional digits.
    Time(u8),
    /// 1/300 s.
    DateTime,
    SmallDateTime,
    /// Fractional digits.
    DateTime2(u8),
    /// Fractional digits.
    DateTimeOffset(u8),
}

/// A text type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// UTF-16 rather than a code page.
    pub(super) unicode: bool,
    /// Length in UTF-16 units or bytes; none for MAX.
    pub(super) max: Option<u32>,
    /// Padded with blanks.
    pub(super) fixed: bool,
    /// None for a constant: it takes that of the other side.
    pub(super) collation: Option<String>,
}

impl Text {
    fn collation(&self) -> &str {
        self.collation.as_deref().unwrap_or_default()
    }

    /// Compared by code alone (trailing blanks apart).
    pub(super) fn binary(&self) -> bool {
        let name = self.collation().to_ascii_uppercase();
        name.ends_with("_BIN2") || name.ends_with("_BIN") || name.contains("_BIN2_")
    }

    fn utf8(&self) -> bool {
        self.collation().to_ascii_uppercase().ends_with("_UTF8")
    }

    /// Whether SQL Server counts this text in characters, as PostgreSQL does: one byte is one
    /// character in most code pages; UTF-16 units are characters under collations with
    /// supplementary characters, which those of version 140 all are.
    pub(super) fn counts_characters(&self) -> bool {
        let name = self.collation().to_ascii_uppercase();
        if self.unicode || self.utf8() {
            return self.utf8() || name.contains("_SC") || name.contains("_140_");
        }
        let wide = ["JAPANESE", "CHINESE", "KOREAN"].iter().any(|script| name.contains(script));
        self.collation.is_some() && !wide
    }

    /// Its code page has one byte for each character: a length of the type is one of the text.
    pub(super) fn single_byte(&self) -> bool {
        !self.unicode && !self.utf8() && self.counts_characters()
    }

    /// Text of code page 1252.
    pub(super) fn latin(&self) -> bool {
        let name = self.collation().to_ascii_uppercase();
        let western =
            name.starts_with("LATIN1_GENERAL_") || name.starts_with("SQL_LATIN1_GENERAL_CP1_");
        !self.unicode && !self.utf8() && western
    }
}

impl Ty {
    /// Of a source column.
    ///
    /// # Errors
    /// A type that no expression is translated with.
    pub(super) fn of(column: &Column) -> Result<Ty, Refusal> {
        let base = base_name(&column.source_type);
        let refused = || Err(format!("type {} is not translated", column.source_type));
        Ok(match &column.ty {
            LogicalType::Bool => Ty::Bit,
            LogicalType::Int { bytes } => Ty::Int(*bytes),
            LogicalType::Decimal { precision, scale } => match base.as_str() {
                "money" => Ty::Money,
                "smallmoney" => Ty::SmallMoney,
                _ => Ty::Decimal(*precision, *scale),
            },
            LogicalType::F32 => Ty::Real,
            LogicalType::F64 => Ty::Float,
            LogicalType::String { max, fixed } => {
                let unicode = match base.as_str() {
                    "nchar" | "nvarchar" | "sysname" => true,
                    "char" | "varchar" => false,
                    _ => return refused(),
                };
                let collation = column.collation.clone();
                Ty::Text(Text { unicode, max: *max, fixed: *fixed, collation })
            }
            LogicalType::Bytes { max } => match base.as_str() {
                "binary" | "varbinary" => Ty::Bytes(*max),
                _ => return refused(),
            },
            LogicalType::Uuid => Ty::Uuid,
            LogicalType::Date => Ty::Date,
            LogicalType::Time { digits } => Ty::Time(*digits),
            LogicalType::Timestamp { digits } => match base.as_str() {
                "datetime" => Ty::DateTime,
                "smalldatetime" => Ty::SmallDateTime,
                "datetime2" => Ty::DateTime2(*digits),
                _ => return refused(),
            },
            LogicalType::TimestampTz { digits } => Ty::DateTimeOffset(*digits),
            LogicalType::Variant | LogicalType::Geometry | LogicalType::Other => return refused(),
        })
    }

    /// Of a type as it is written in CAST and CONVERT.
    ///
    /// # Errors
    /// A type that no expression is translated with.
    pub(super) fn written(name: &TypeName) -> Result<Ty, Refusal> {
        let first = name.arguments.first().copied().flatten();
        let small = |default: u8| first.map_or(default, |n| u8::try_from(n).unwrap_or(u8::MAX));
        let text = |unicode, fixed| {
            // Without a length, CAST and CONVERT take 30.
            let max = if name.arguments.is_empty() { Some(30) } else { first };
            Ty::Text(Text { unicode, max, fixed, collation: None })
        };
        Ok(match name.name.as_str() {
            "bit" => Ty::Bit,
            "tinyint" => Ty::Int(1),
            "smallint" => Ty::Int(2),
            "int" | "integer" => Ty::Int(4),
            "bigint" => Ty::Int(8),
            "decimal" | "numeric" | "dec" => {
                let scale = name.arguments.get(1).copied().flatten().unwrap_or(0);
                let (precision, scale) = (small(18), u8::try_from(scale).unwrap_or(u8::MAX));
                if precision > 38 || scale > precision {
                    return Err("a decimal type has odd limits".to_owned());
                }
                Ty::Decimal(precision, scale)
            }
            "money" => Ty::Money,
            "smallmoney" => Ty::SmallMoney,
            "real" => Ty::Real,
            "float" if small(53) <= 24 => Ty::Real,
            "float" => Ty::Float,
            "char" => text(false, true),
            "varchar" => text(false, false),
            "nchar" => text(true, true),
            "nvarchar" => text(true, false),
            "uniqueidentifier" => Ty::Uuid,
            "date" => Ty::Date,
            "time" => Ty::Time(small(7).min(7)),
            "datetime" => Ty::DateTime,
            "smalldatetime" => Ty::SmallDateTime,
            "datetime2" => Ty::DateTime2(small(7).min(7)),
            "datetimeoffset" => Ty::DateTimeOffset(small(7).min(7)),
            other => return Err(format!("type {other} is not translated")),
        })
    }

    /// As PostgreSQL stores it.
    pub(super) fn postgres(&self) -> String {
        match self {
            Ty::Null => "text".to_owned(),
            Ty::Bit => "boolean".to_owned(),
            Ty::Int(1 | 2) => "smallint".to_owned(),
            Ty::Int(4) => "integer".to_owned(),
            Ty::Int(_) => "bigint".to_owned(),
            Ty::Decimal(precision, scale) => format!("numeric({precision},{scale})"),
            Ty::Money => "numeric(19,4)".to_owned(),
            Ty::SmallMoney => "numeric(10,4)".to_owned(),
            Ty::Real => "real".to_owned(),
            Ty::Float => "double precision".to_owned(),
            Ty::Text(_) => "text".to_owned(),
            Ty::Bytes(_) => "bytea".to_owned(),
            Ty::Uuid => "uuid".to_owned(),
            Ty::Date => "date".to_owned(),
            Ty::Time(digits) => format!("time({})", digits.min(&6)),
            Ty::DateTime => "timestamp(3)".to_owned(),
            Ty::SmallDateTime => "timestamp(0)".to_owned(),
            Ty::DateTime2(digits) => format!("timestamp({})", digits.min(&6)),
            Ty::DateTimeOffset(digits) => format!("timestamptz({})", digits.min(&6)),
        }
    }

    /// Precision and scale of an exact number; none for others.
    pub(super) fn exact(&self) -> Option<(u8, u8)> {
        Some(match self {
            Ty::Bit => (1, 0),
            Ty::Int(1) => (3, 0),
            Ty::Int(2) => (5, 0),
            Ty::Int(4) => (10, 0),
            Ty::Int(_) => (19, 0),
            Ty::Decimal(precision, scale) => (*precision, *scale),
            Ty::Money => (19, 4),
            Ty::SmallMoney => (10, 4),
            _ => return None,
        })
    }

    /// A date with or without a time, without an offset.
    pub(super) fn is_timestamp(&self) -> bool {
        matches!(self, Ty::Date | Ty::DateTime | Ty::SmallDateTime | Ty::DateTime2(_))
    }

    /// Its seventh fractional digit is cut off in the target.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Ty::Time(7) | Ty::DateTime2(7) | Ty::DateTimeOffset(7))
    }
}

/// `nvarchar(40)` is `nvarchar`.
pub(super) fn base_name(source_type: &str) -> String {
    let end = source_type.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    source_type[..end.unwrap_or(source_type.len())].to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unicode: bool, collation: &str) -> Text {
        let collation = Some(collation.to_owned());
        Text { unicode, max: Some(10), fixed: false, collation }
    }

    #[test]
    fn collations_say_what_a_length_counts() {
        let usual = "SQL_Latin1_General_CP1_CI_AS";
        assert!(text(false, usual).counts_characters());
        assert!(text(false, usual).latin());
        assert!(!text(true, usual).counts_characters());
        assert!(!text(true, usual).latin());
        assert!(text(true, "Latin1_General_100_CI_AS_SC").counts_characters());
        assert!(text(true, "Japanese_XJIS_140_CI_AS").counts_characters());
        assert!(!text(false, "Japanese_CI_AS").counts_characters());
        assert!(text(false, "Latin1_General_100_CI_AS_SC_UTF8").counts_characters());
        assert!(!text(false, "Latin1_General_100_CI_AS_SC_UTF8").latin());
        assert!(text(false, usual).single_byte());
        assert!(!text(false, "Latin1_General_100_CI_AS_SC_UTF8").single_byte());
        assert!(!text(true, "Latin1_General_100_CI_AS_SC").single_byte());
        assert!(text(true, "Latin1_General_100_BIN2").binary());
        assert!(!text(true, usual).binary());
    }
}
