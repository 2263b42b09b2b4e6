//! Type tokens of TYPE_INFO ([MS-TDS] 2.2.5.4), the collation, and the limits of the types.

/// `SQL_Latin1_General_CP1_CI_AS`: LCID 0x0409, case- and kana- and width-insensitive, sort id 52.
pub(super) const COLLATION: [u8; 5] = [0x09, 0x04, 0xD0, 0x00, 0x34];

/// Length that marks a MAX type, whose values are partially length-prefixed (PLP).
pub(super) const MAX_LENGTH: u16 = 0xFFFF;
/// Most bytes of a `sql_variant` with its facets.
pub(super) const VARIANT_LENGTH: u32 = 8009;
/// PLP length of NULL.
pub(super) const PLP_NULL: u64 = u64::MAX;
/// PLP length of a value whose length is not known ahead.
pub(super) const PLP_UNKNOWN: u64 = u64::MAX - 1;

pub(super) mod token {
    //! Values of the type byte.
    pub const NULL: u8 = 0x1F;
    pub const INT1: u8 = 0x30;
    pub const BIT: u8 = 0x32;
    pub const INT2: u8 = 0x34;
    pub const INT4: u8 = 0x38;
    pub const SMALL_DATE_TIME: u8 = 0x3A;
    pub const FLOAT4: u8 = 0x3B;
    pub const MONEY: u8 = 0x3C;
    pub const DATE_TIME: u8 = 0x3D;
    pub const FLOAT8: u8 = 0x3E;
    pub const SMALL_MONEY: u8 = 0x7A;
    pub const INT8: u8 = 0x7F;

    pub const IMAGE: u8 = 0x22;
    pub const TEXT: u8 = 0x23;
    pub const GUID: u8 = 0x24;
    pub const INT_N: u8 = 0x26;
    pub const DATE: u8 = 0x28;
    pub const TIME: u8 = 0x29;
    pub const DATE_TIME_2: u8 = 0x2A;
    pub const DATE_TIME_OFFSET: u8 = 0x2B;
    pub const VARIANT: u8 = 0x62;
    pub const NTEXT: u8 = 0x63;
    pub const BIT_N: u8 = 0x68;
    pub const DECIMAL: u8 = 0x6A;
    pub const NUMERIC: u8 = 0x6C;
    pub const FLOAT_N: u8 = 0x6D;
    pub const MONEY_N: u8 = 0x6E;
    pub const DATE_TIME_N: u8 = 0x6F;
    pub const BIG_VARBINARY: u8 = 0xA5;
    pub const BIG_VARCHAR: u8 = 0xA7;
    pub const BIG_BINARY: u8 = 0xAD;
    pub const BIG_CHAR: u8 = 0xAF;
    pub const NVARCHAR: u8 = 0xE7;
    pub const NCHAR: u8 = 0xEF;
    pub const UDT: u8 = 0xF0;
    pub const XML: u8 = 0xF1;
}

/// Bytes of a decimal's value with its sign, by precision.
pub(super) fn decimal_length(precision: u8) -> u8 {
    match precision {
        0..=9 => 5,
        10..=19 => 9,
        20..=28 => 13,
        _ => 17,
    }
}

/// Bytes of a time of day with `scale` digits.
pub(super) fn time_length(scale: u8) -> u8 {
    match scale {
        0..=2 => 3,
        3..=4 => 4,
        _ => 5,
    }
}

/// 100 ns units in one unit of a time with `scale` digits.
pub(super) fn time_unit(scale: u8) -> u64 {
    10u64.pow(u32::from(7 - scale.min(7)))
}

/// 100 ns units in a day.
pub(super) const DAY: u64 = 864_000_000_000;
/// Days from 0001-01-01 to 9999-12-31.
pub(super) const LAST_DAY: u32 = 3_652_058;
/// Days from 1900-01-01 to 1753-01-01 and to 9999-12-31: the range of `datetime`.
pub(super) const DATE_TIME_DAYS: std::ops::RangeInclusive<i32> = -53_690..=2_958_463;
/// 1/300 seconds in a day.
pub(super) const DAY_TICKS: u32 = 300 * 86_400;
/// Minutes in a day.
pub(super) const DAY_MINUTES: u16 = 24 * 60;
/// Largest offset of a `datetimeoffset` in minutes.
pub(super) const MAX_OFFSET: u16 = 14 * 60;
