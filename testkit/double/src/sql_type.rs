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
    /// `decimal(p, s)`
    Decimal {
        /// 1 to 38.
        precision: u8,
        /// 0 to `precision`.
        scale: u8,
    },
    /// `numeric(p, s)`: what `decimal` is, under a name and numbers of its own. Literals and results
    /// of arithmetic are of this one.
    Numeric {
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
    /// `rowversion`, which the catalogue calls `timestamp`: eight bytes that the server sets with
    /// every change of the row.
    RowVersion,
    /// `text`
    Text,
    /// `ntext`
    NText,
    /// `image`
    Image,
    /// `xml`, without a schema collection.
    Xml,
    /// `sql_variant`
    Variant,
    /// `hierarchyid`
    HierarchyId,
    /// `geometry`
    Geometry,
    /// `geography`
    Geography,
    /// `json`, of SQL Server 2025.
    Json,
    /// `vector(n)`, of SQL Server 2025.
    Vector(u16),
}

/// Families of types that convert and compare alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `bit`, integers
    Integer,
    /// `decimal`
    Decimal,
    /// `money`, `smallmoney`
    Money,
    /// `float`, `real`
    Float,
    /// Character strings of both kinds
    Text,
    /// `binary`, `varbinary`
    Binary,
    /// Dates and times
    Temporal,
    /// `uniqueidentifier`
    Guid,
    /// `xml`
    Xml,
    /// `sql_variant`
    Variant,
    /// `hierarchyid`, `geometry`, `geography`: types implemented in .NET.
    Clr,
    /// `json`
    Json,
    /// `vector`
    Vector,
}

impl SqlType {
    /// Its family.
    pub fn family(&self) -> Family {
        use SqlType::*;
        match self {
            Bit | TinyInt | SmallInt | Int | BigInt => Family::Integer,
            SqlType::Decimal { .. } | Numeric { .. } => Family::Decimal,
            SqlType::Money | SmallMoney => Family::Money,
            SqlType::Float | Real => Family::Float,
            Char(_) | VarChar(_) | NChar(_) | NVarChar(_) | SqlType::Text | NText => Family::Text,
            SqlType::Binary(_) | VarBinary(_) | Image | RowVersion => Family::Binary,
            Date | Time(_) | SmallDateTime | DateTime | DateTime2(_) | DateTimeOffset(_) => {
                Family::Temporal
            }
            UniqueIdentifier => Family::Guid,
            SqlType::Xml => Family::Xml,
            SqlType::Variant => Family::Variant,
            HierarchyId | Geometry | Geography => Family::Clr,
            SqlType::Json => Family::Json,
            SqlType::Vector(_) => Family::Vector,
        }
    }

    /// Whether it is a number.
    pub fn is_numeric(&self) -> bool {
        matches!(self.family(), Family::Integer | Family::Decimal | Family::Money | Family::Float)
    }

    /// Whether it is a character string.
    pub fn is_text(&self) -> bool {
        self.family() == Family::Text
    }

    /// Whether it is a Unicode string.
    pub fn is_unicode(&self) -> bool {
        matches!(self, SqlType::NChar(_) | SqlType::NVarChar(_) | SqlType::NText)
    }

    /// Whether it is a MAX type.
    pub fn is_max(&self) -> bool {
        matches!(self, SqlType::VarChar(None) | SqlType::NVarChar(None) | SqlType::VarBinary(None))
    }

    /// Whether it is `text`, `ntext` or `image`, which the MAX types replaced.
    pub fn is_old_lob(&self) -> bool {
        matches!(self, SqlType::Text | SqlType::NText | SqlType::Image)
    }

    /// Whether its values may be of any length.
    pub fn is_lob(&self) -> bool {
        use SqlType::*;
        self.is_max() || self.is_old_lob() || matches!(self, Xml | Geometry | Geography | Json)
    }

    /// Whether it is one of the types implemented in .NET.
    pub fn is_clr(&self) -> bool {
        self.family() == Family::Clr
    }

    /// Whether its values have an order, and can be told apart.
    pub fn is_comparable(&self) -> bool {
        use SqlType::*;
        !self.is_old_lob() && !matches!(self, Xml | Geometry | Geography | Json | Vector(_))
    }

    /// Whether it goes into a `sql_variant`.
    pub fn fits_variant(&self) -> bool {
        use SqlType::*;
        !self.is_lob() && !matches!(self, HierarchyId | RowVersion | Vector(_) | Variant)
    }

    /// Name without facets, as in messages and `sys.types`.
    pub fn name(&self) -> &'static str {
        use SqlType::*;
        match self {
            Bit => "bit",
            TinyInt => "tinyint",
            SmallInt => "smallint",
            Int => "int",
            BigInt => "bigint",
            Decimal { .. } => "decimal",
            Numeric { .. } => "numeric",
            Money => "money",
            SmallMoney => "smallmoney",
            Float => "float",
            Real => "real",
            Char(_) => "char",
            VarChar(_) => "varchar",
            NChar(_) => "nchar",
            NVarChar(_) => "nvarchar",
            Binary(_) => "binary",
            VarBinary(_) => "varbinary",
            Date => "date",
            Time(_) => "time",
            SmallDateTime => "smalldatetime",
            DateTime => "datetime",
            DateTime2(_) => "datetime2",
            DateTimeOffset(_) => "datetimeoffset",
            UniqueIdentifier => "uniqueidentifier",
            RowVersion => "timestamp",
            Text => "text",
            NText => "ntext",
            Image => "image",
            Xml => "xml",
            Variant => "sql_variant",
            HierarchyId => "hierarchyid",
            Geometry => "geometry",
            Geography => "geography",
            Json => "json",
            Vector(_) => "vector",
        }
    }

    /// Name as conversion and arithmetic errors give it: `numeric` for `decimal`.
    pub fn message_name(&self) -> &'static str {
        match self {
            SqlType::Decimal { .. } => "numeric",
            other => other.name(),
        }
    }

    /// `system_type_id` of `sys.types`.
    pub fn system_type_id(&self) -> u8 {
        use SqlType::*;
        match self {
            Bit => 104,
            TinyInt => 48,
            SmallInt => 52,
            Int => 56,
            BigInt => 127,
            Decimal { .. } => 106,
            Numeric { .. } => 108,
            Money => 60,
            SmallMoney => 122,
            Float => 62,
            Real => 59,
            Char(_) => 175,
            VarChar(_) => 167,
            NChar(_) => 239,
            NVarChar(_) => 231,
            Binary(_) => 173,
            VarBinary(_) => 165,
            Date => 40,
            Time(_) => 41,
            SmallDateTime => 58,
            DateTime => 61,
            DateTime2(_) => 42,
            DateTimeOffset(_) => 43,
            UniqueIdentifier => 36,
            RowVersion => 189,
            Text => 35,
            NText => 99,
            Image => 34,
            Xml => 241,
            Variant => 98,
            HierarchyId | Geometry | Geography => 240,
            Json => 244,
            Vector(_) => 255,
        }
    }

    /// `user_type_id` of the type itself.
    pub fn user_type_id(&self) -> i32 {
        match self {
            SqlType::HierarchyId => 128,
            SqlType::Geometry => 129,
            SqlType::Geography => 130,
            other => i32::from(other.system_type_id()),
        }
    }

    /// `max_length` of `sys.columns`: bytes, -1 for MAX.
    pub fn max_length(&self) -> i16 {
        use SqlType::*;
        let bytes = |n: &u16| i16::try_from(*n).unwrap_or(i16::MAX);
        let units = |n: &u16| i16::try_from(u32::from(*n) * 2).unwrap_or(i16::MAX);
        match self {
            Bit | TinyInt => 1,
            SmallInt => 2,
            Int | Real | SmallMoney | SmallDateTime => 4,
            BigInt | Money | Float | DateTime => 8,
            Decimal { precision, .. } | Numeric { precision, .. } => match precision {
                0..=9 => 5,
                10..=19 => 9,
                20..=28 => 13,
                _ => 17,
            },
            Char(n) | Binary(n) => bytes(n),
            VarChar(n) | VarBinary(n) => n.as_ref().map_or(-1, bytes),
            NChar(n) => units(n),
            NVarChar(n) => n.as_ref().map_or(-1, units),
            Date => 3,
            Time(scale) => time_bytes(*scale),
            DateTime2(scale) => time_bytes(*scale) + 3,
            DateTimeOffset(scale) => time_bytes(*scale) + 5,
            UniqueIdentifier | Text | NText | Image => 16,
            RowVersion => 8,
            Xml | Geometry | Geography | Json => -1,
            Variant => 8016,
            HierarchyId => 892,
            Vector(n) => i16::try_from(8 + 4 * u32::from(*n)).unwrap_or(i16::MAX),
        }
    }

    /// CHARACTER_MAXIMUM_LENGTH and CHARACTER_OCTET_LENGTH of a type without a length facet.
    pub fn large_length(&self) -> Option<(i32, i32)> {
        use SqlType::*;
        match self {
            Text | Image => Some((i32::MAX, i32::MAX)),
            NText => Some((i32::MAX / 2, i32::MAX - 1)),
            Xml | Geometry | Geography | Json => Some((-1, -1)),
            Variant => Some((0, 0)),
            HierarchyId => Some((892, 892)),
            _ => None,
        }
    }

    /// `precision` of `sys.columns`; 0 for strings and binaries.
    pub fn precision(&self) -> u8 {
        use SqlType::*;
        let with_fraction = |base: u8, scale: u8| base + if scale == 0 { 0 } else { scale + 1 };
        match self {
            Bit => 1,
            TinyInt => 3,
            SmallInt => 5,
            Int => 10,
            BigInt => 19,
            Decimal { precision, .. } | Numeric { precision, .. } => *precision,
            Money => 19,
            SmallMoney => 10,
            Float => 53,
            Real => 24,
            Date => 10,
            Time(scale) => with_fraction(8, *scale),
            SmallDateTime => 16,
            DateTime => 23,
            DateTime2(scale) => with_fraction(19, *scale),
            DateTimeOffset(scale) => with_fraction(26, *scale),
            _ => 0,
        }
    }

    /// `scale` of `sys.columns`.
    pub fn scale(&self) -> u8 {
        use SqlType::*;
        match self {
            Decimal { scale, .. } | Numeric { scale, .. } => *scale,
            Money | SmallMoney => 4,
            DateTime => 3,
            Time(scale) | DateTime2(scale) | DateTimeOffset(scale) => *scale,
            _ => 0,
        }
    }

    /// Rank in data type precedence; of two operands the lower rank is converted.
    pub fn rank(&self) -> u8 {
        use SqlType::*;
        match self {
            Binary(_) => 0,
            VarBinary(_) => 1,
            Char(_) => 2,
            VarChar(_) => 3,
            NChar(_) => 4,
            NVarChar(_) => 5,
            UniqueIdentifier => 6,
            RowVersion => 7,
            Image => 8,
            Text => 9,
            NText => 10,
            Bit => 11,
            TinyInt => 12,
            SmallInt => 13,
            Int => 14,
            BigInt => 15,
            SmallMoney => 16,
            Money => 17,
            Decimal { .. } | Numeric { .. } => 18,
            Real => 19,
            Float => 20,
            Time(_) => 21,
            Date => 22,
            SmallDateTime => 23,
            DateTime => 24,
            DateTime2(_) => 25,
            DateTimeOffset(_) => 26,
            Xml => 27,
            Variant => 28,
            Vector(_) => 29,
            Json => 30,
            HierarchyId => 31,
            Geometry => 32,
            Geography => 33,
        }
    }

    /// Precision and scale of the `decimal` that holds every value of an exact number type.
    pub fn as_decimal(&self) -> Option<(u8, u8)> {
        match self.family() {
            Family::Integer | Family::Decimal | Family::Money => {
                Some((self.precision(), self.scale()))
            }
            _ => None,
        }
    }

    /// Longest text it can convert to by default: characters of an implicit conversion.
    pub fn display_length(&self) -> u16 {
        use SqlType::*;
        match self {
            Bit => 1,
            TinyInt => 3,
            SmallInt => 6,
            Int => 12,
            BigInt => 24,
            Decimal { .. } | Numeric { .. } => 41,
            Money | SmallMoney => 30,
            Float | Real => 32,
            Char(n) | NChar(n) | Binary(n) => *n,
            VarChar(n) | NVarChar(n) | VarBinary(n) => n.unwrap_or(8000),
            Date | Time(_) | SmallDateTime | DateTime | DateTime2(_) | DateTimeOffset(_) => 34,
            UniqueIdentifier => 36,
            RowVersion => 8,
            Text | NText | Image | Xml | Variant | Json | Vector(_) => 8000,
            HierarchyId | Geometry | Geography => 4000,
        }
    }
}

fn time_bytes(scale: u8) -> i16 {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

impl std::fmt::Display for SqlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use SqlType::*;
        f.write_str(self.name())?;
        match self {
            Decimal { precision, scale } | Numeric { precision, scale } => {
                write!(f, "({precision},{scale})")
            }
            Vector(n) => write!(f, "({n})"),
            Char(n) | NChar(n) | Binary(n) | VarChar(Some(n)) | NVarChar(Some(n))
            | VarBinary(Some(n)) => write!(f, "({n})"),
            VarChar(None) | NVarChar(None) | VarBinary(None) => f.write_str("(max)"),
            Time(n) | DateTime2(n) | DateTimeOffset(n) => write!(f, "({n})"),
            _ => Ok(()),
        }
    }
}
