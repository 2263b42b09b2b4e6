//! Rows of the wire become values: one [`RowDecoder`] per capture instance, made once.
//!
//! Nothing is nulled, cut or replaced here. Text that is not valid Unicode stays UTF-16 bytes; what
//! cannot be decoded is an error that names the column and stops capture.

use std::borrow::Cow;
use std::vec;

use lockstep_common::model::record::{Before, Change};
use lockstep_common::{TableId, Value};
use tiberius::{ColumnData, Row};

use super::lsn::Lsn;
use super::merge::{ChangeRow, PairedChange};
use super::order::ChangeKey;
use super::text::{cp1252, utf8, utf16};
use super::types::{Reading, Recording, TypePlan};
use super::{mask, spatial, time, variant};

/// Columns of a change row before those of the table.
const SYSTEM_COLUMNS: usize = 5;

/// A row that cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The system columns are not what a change table has.
    #[error("the change row's {0} is not what a change table holds")]
    System(&'static str),
    /// A column's value.
    #[error("column {column}: {reason}")]
    Column {
        /// Its name.
        column: String,
        /// What is wrong; never the value.
        reason: &'static str,
    },
    /// A value above the configured limit.
    #[error("column {column}: a value is larger than capture.max_value_bytes ({limit} bytes)")]
    TooLarge {
        /// Its name.
        column: String,
        /// The limit.
        limit: u64,
    },
}

/// One column of an instance.
#[derive(Clone, Debug)]
pub struct ColumnPlan {
    /// Its name.
    pub name: String,
    /// `column_ordinal`: its bit in the update mask.
    pub ordinal: u32,
    /// Whether the source table may have NULL in it. (The change table always may.)
    pub nullable: bool,
    /// How it is read.
    pub plan: TypePlan,
}

/// A row's mask and values.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRow {
    /// Bit per column of the new row of an update: was it set. Empty for other rows.
    pub changed: Vec<u8>,
    /// In column order.
    pub values: Vec<Value<'static>>,
    /// About how many bytes it holds.
    pub size: usize,
}

/// Decodes the change rows of one instance.
#[derive(Clone, Debug)]
pub struct RowDecoder {
    table: TableId,
    columns: Vec<ColumnPlan>,
    max_value_bytes: u64,
    has_max: bool,
}

impl RowDecoder {
    /// For rows that hold the system columns and then `columns`, of table version `table`.
    pub fn new(table: TableId, columns: Vec<ColumnPlan>, max_value_bytes: u64) -> Self {
        let has_max = columns.iter().any(|column| column.plan.recording == Recording::WhenSet);
        RowDecoder { table, columns, max_value_bytes, has_max }
    }

    /// Whether some column's values may not be recorded with every update.
    pub fn has_max(&self) -> bool {
        self.has_max
    }

    /// When a column's NULL means "not recorded".
    pub fn recording(&self, column: usize) -> Recording {
        self.columns[column].plan.recording
    }

    /// A column's place in the update mask, from 1.
    pub fn ordinal(&self, column: usize) -> u32 {
        self.columns[column].ordinal
    }

    /// Reads a row.
    pub fn row(&self, row: Row) -> Result<ChangeRow<DecodedRow>, DecodeError> {
        if row.len() != SYSTEM_COLUMNS + self.columns.len() {
            return Err(DecodeError::System("number of columns"));
        }
        let mut cells = row.into_iter();
        let key = key(&mut cells)?;
        let mask = match cells.next() {
            Some(ColumnData::Binary(mask)) => mask.unwrap_or_default(),
            _ => return Err(DecodeError::System("__$update_mask")),
        };
        let values = self.values(cells, key.operation, &mask)?;
        let spare = values.capacity() - values.len();
        let size = 64 + values.iter().map(weight).sum::<usize>() + spare * size_of::<Value<'_>>();
        let changed = match key.operation {
            4 => mask::changed(&mask, self.columns.iter().map(|column| column.ordinal)),
            _ => Vec::new(),
        };
        Ok(ChangeRow { key, row: DecodedRow { changed, values, size } })
    }

    /// The driver's row becomes ours in its own memory: a vector collects in place what comes out of a
    /// vector of elements as large, and a cell of the driver's is as large as a value.
    fn values(
        &self,
        cells: vec::IntoIter<ColumnData<'static>>,
        operation: i32,
        mask: &[u8],
    ) -> Result<Vec<Value<'static>>, DecodeError> {
        let cells = cells.zip(&self.columns);
        cells.map(|(cell, column)| self.value(column, cell, operation, mask)).collect()
    }

    /// A change in the log's form.
    pub fn change(&self, mut paired: PairedChange<DecodedRow>) -> (Change<'static>, usize) {
        self.fill_old_row(&mut paired);
        let size = paired.before.as_ref().map_or(0, |row| row.size)
            + paired.after.as_ref().map_or(0, |row| row.size);
        let (changed, after) = match paired.after {
            Some(row) => (row.changed, row.values),
            None => (Vec::new(), Vec::new()),
        };
        let change = Change {
            table: self.table,
            operation: paired.operation,
            changed: Cow::Owned(changed),
            before: paired.before.map_or(Before::None, |row| Before::Full(row.values)),
            after,
            attributes: Default::default(),
        };
        (change, size)
    }

    /// Gives the old row of an update what it lacks of NOT NULL columns: the new row has it of every
    /// column that was not set.
    fn fill_old_row(&self, paired: &mut PairedChange<DecodedRow>) {
        let (Some(old), Some(new)) = (&mut paired.before, &paired.after) else { return };
        for (i, column) in self.columns.iter().enumerate() {
            let set = new.changed.get(i / 8).is_none_or(|byte| byte >> (i % 8) & 1 == 1);
            let lacking = !column.nullable && old.values[i].is_unavailable();
            if lacking && !set && column.plan.recording == Recording::Always {
                old.values[i] = new.values[i].clone();
                old.size += weight(&new.values[i]);
            }
        }
    }

    fn value(
        &self,
        column: &ColumnPlan,
        cell: ColumnData<'static>,
        operation: i32,
        mask: &[u8],
    ) -> Result<Value<'static>, DecodeError> {
        let value = column.value(cell, self.max_value_bytes)?;
        let recorded = match column.plan.recording {
            Recording::Always => true,
            Recording::Never => false,
            Recording::WhenSet => !matches!(operation, 3 | 4) || mask::is_set(mask, column.ordinal),
            Recording::NewOnly => {
                operation == 2 || operation == 4 && mask::is_set(mask, column.ordinal)
            }
        };
        // The new row of an update repeats what it did not set; an insert and a column that was set
        // are taken at their word.
        let old =
            matches!(operation, 1 | 3) || operation == 4 && !mask::is_set(mask, column.ordinal);
        Ok(match value {
            Value::Null if !recorded || old && !column.nullable => Value::Unavailable,
            _ if column.plan.recording == Recording::Never => Value::Unavailable,
            value => value,
        })
    }
}

impl ColumnPlan {
    /// Reads a cell that was selected as the plan says.
    pub fn value(
        &self,
        cell: ColumnData<'static>,
        limit: u64,
    ) -> Result<Value<'static>, DecodeError> {
        let failed = |reason| DecodeError::Column { column: self.name.clone(), reason };
        let limit = match self.plan.reading {
            Reading::Plain => return plain(cell).map_err(failed),
            // What a variant holds is bounded by SQL Server, and it is selected in a longer form.
            Reading::Variant => limit.max(variant::LARGEST_BYTES),
            _ => limit,
        };
        match self.bytes(cell, limit)? {
            None => Ok(Value::Null),
            Some(bytes) => {
                from_bytes(self.plan.reading, bytes, &self.plan.source_type).map_err(failed)
            }
        }
    }

    fn bytes(&self, cell: ColumnData<'static>, limit: u64) -> Result<Option<Vec<u8>>, DecodeError> {
        let ColumnData::Binary(bytes) = cell else {
            let column = self.name.clone();
            return Err(DecodeError::Column { column, reason: "the server sent no bytes" });
        };
        let too_large = |bytes: &Cow<'_, [u8]>| bytes.len() as u64 > limit;
        if bytes.as_ref().is_some_and(too_large) {
            return Err(DecodeError::TooLarge { column: self.name.clone(), limit });
        }
        Ok(bytes.map(Cow::into_owned))
    }
}

fn key(cells: &mut impl Iterator<Item = ColumnData<'static>>) -> Result<ChangeKey, DecodeError> {
    let lsn = |cell, name| match cell {
        Some(ColumnData::Binary(Some(bytes))) => {
            Lsn::from_slice(&bytes).ok_or(DecodeError::System(name))
        }
        _ => Err(DecodeError::System(name)),
    };
    let start_lsn = lsn(cells.next(), "__$start_lsn")?;
    let Some(ColumnData::I32(command_id)) = cells.next() else {
        return Err(DecodeError::System("__$command_id"));
    };
    let seqval = lsn(cells.next(), "__$seqval")?;
    let Some(ColumnData::I32(Some(operation))) = cells.next() else {
        return Err(DecodeError::System("__$operation"));
    };
    Ok(ChangeKey { start_lsn, command_id, seqval, operation })
}

/// Values that the driver decodes exactly.
fn plain(cell: ColumnData<'static>) -> Result<Value<'static>, &'static str> {
    fn of<T>(value: Option<T>, f: impl Fn(T) -> Value<'static>) -> Option<Value<'static>> {
        Some(value.map_or(Value::Null, f))
    }
    fn timed<T>(
        value: Option<T>,
        f: impl Fn(T) -> Option<Value<'static>>,
    ) -> Option<Value<'static>> {
        value.map_or(Some(Value::Null), f)
    }
    let value = match cell {
        ColumnData::Bit(v) => of(v, Value::Bool),
        ColumnData::U8(v) => of(v, |v| Value::I64(v.into())),
        ColumnData::I16(v) => of(v, |v| Value::I64(v.into())),
        ColumnData::I32(v) => of(v, |v| Value::I64(v.into())),
        ColumnData::I64(v) => of(v, Value::I64),
        ColumnData::F32(v) => of(v, Value::F32),
        ColumnData::F64(v) => of(v, Value::F64),
        ColumnData::Numeric(v) => {
            of(v, |v| Value::Decimal { unscaled: v.value(), scale: v.scale() })
        }
        // The driver has already put the three little-endian groups into network order.
        ColumnData::Guid(v) => of(v, |v| Value::Uuid(*v.as_bytes())),
        ColumnData::Date(v) => timed(v, |v| i32::try_from(time::date(v)).ok().map(Value::Date)),
        ColumnData::Time(v) => timed(v, |v| time::time(v).map(Value::Time)),
        ColumnData::DateTime(v) => of(v, |v| Value::Timestamp(time::datetime(v))),
        ColumnData::SmallDateTime(v) => of(v, |v| Value::Timestamp(time::small_datetime(v))),
        ColumnData::DateTime2(v) => timed(v, |v| time::datetime2(v).map(Value::Timestamp)),
        ColumnData::DateTimeOffset(v) => timed(v, |v| {
            time::datetime_offset(v).map(|(ticks, offset)| Value::TimestampTz { ticks, offset })
        }),
        ColumnData::String(_) | ColumnData::Binary(_) | ColumnData::Xml(_) => None,
    };
    value.ok_or("the server sent a value of another type than the column's")
}

/// Values that were selected as bytes.
fn from_bytes(
    reading: Reading,
    bytes: Vec<u8>,
    source_type: &str,
) -> Result<Value<'static>, &'static str> {
    match reading {
        Reading::Plain => Err("it is not selected as bytes"),
        Reading::Bytes => Ok(Value::Bytes(Cow::Owned(bytes))),
        Reading::Utf16 => utf16(bytes),
        Reading::Utf8 => utf8(bytes),
        Reading::Cp1252 => Ok(cp1252(bytes)),
        Reading::Other => utf16(bytes).and_then(|text| other(source_type, text)),
        Reading::Variant => variant::decode(&bytes),
        Reading::Geometry => geometry(&bytes, false),
        Reading::Geography => geometry(&bytes, true),
    }
}

fn other(type_name: &str, text: Value<'static>) -> Result<Value<'static>, &'static str> {
    match text {
        Value::String(text) => {
            Ok(Value::Other { type_name: Cow::Owned(type_name.to_owned()), text })
        }
        _ => Err("the type's text is not valid Unicode"),
    }
}

fn geometry(bytes: &[u8], geography: bool) -> Result<Value<'static>, &'static str> {
    let decoded = spatial::decode(bytes, geography)?;
    Ok(decoded.map_or(Value::Null, |spatial| Value::Geometry {
        wkb: Cow::Owned(spatial.wkb),
        srid: spatial.srid,
    }))
}

/// About how many bytes a value holds.
pub fn weight(value: &Value<'_>) -> usize {
    let inner = match value {
        Value::String(v) => v.len(),
        Value::Utf16(v) | Value::Bytes(v) | Value::Geometry { wkb: v, .. } => v.len(),
        Value::Other { type_name, text } => type_name.len() + text.len(),
        Value::Variant { type_name, value } => type_name.len() + weight(value),
        _ => 0,
    };
    size_of::<Value<'_>>() + inner
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::LogicalType;
    use tiberius::numeric::Numeric;

    use crate::source::sqlserver_cdc::types::{RawColumn, plan};

    fn column(system_type: u8, max_length: i16, collation: &str) -> ColumnPlan {
        let raw = RawColumn {
            name: "c".to_owned(),
            column_id: 1,
            system_type,
            user_type: i32::from(system_type),
            max_length,
            precision: 0,
            scale: 0,
            collation: Some(collation.to_owned()),
            nullable: true,
            identity: false,
            computed: false,
        };
        let plan = plan(&raw).expect("a followed type");
        ColumnPlan { name: "c".to_owned(), ordinal: 1, nullable: true, plan }
    }

    fn read(
        column: ColumnPlan,
        cell: ColumnData<'static>,
        operation: i32,
        mask: u8,
    ) -> Result<Value<'static>, DecodeError> {
        let decoder = RowDecoder::new(TableId(1), vec![column.clone()], 100);
        decoder.value(&column, cell, operation, &[mask])
    }

    fn bytes(bytes: &[u8]) -> ColumnData<'static> {
        ColumnData::Binary(Some(Cow::Owned(bytes.to_vec())))
    }

    const UNIQUEIDENTIFIER: u8 = 36;
    const DATETIME2: u8 = 42;
    const INT: u8 = 56;
    const BIT: u8 = 104;
    const DECIMAL: u8 = 106;
    const NVARCHAR: u8 = 231;
    const VARCHAR: u8 = 167;
    const NTEXT: u8 = 99;

    #[test]
    fn a_row_is_not_built_twice() {
        let columns = vec![column(NVARCHAR, 80, "X"); 3];
        let decoder = RowDecoder::new(TableId(1), columns, 100);
        let cells = [ColumnData::I32(Some(2)), bytes(b"A\0"), bytes(b"B\0"), bytes(b"C\0")];
        let cells = cells.to_vec();
        let place = cells.as_ptr().addr();
        let mut cells = cells.into_iter();
        cells.next();
        let values = decoder.values(cells, 2, &[1]).unwrap();
        assert_eq!(values, ["A", "B", "C"].map(|text| Value::String(text.into())));
        assert_eq!(values.as_ptr().addr(), place);
    }

    #[test]
    fn lone_surrogates_stay_bytes_and_pairs_become_characters() {
        let text = || column(NVARCHAR, 80, "X");
        let lone = [0x41, 0, 0x00, 0xd8];
        assert_eq!(
            read(text(), bytes(&lone), 2, 1).unwrap(),
            Value::Utf16(Cow::Borrowed(&lone[..]))
        );
        let pair = [0x3d, 0xd8, 0x00, 0xde, 0x20, 0x00];
        assert_eq!(read(text(), bytes(&pair), 2, 1).unwrap(), Value::String("😀 ".into()));
        assert!(read(text(), bytes(&[1]), 2, 1).is_err());
        assert!(read(text(), ColumnData::I32(Some(1)), 2, 1).is_err());
    }

    #[test]
    fn code_page_1252_and_utf8_are_decoded_to_the_letter() {
        let latin = || column(VARCHAR, 80, "Latin1_General_CI_AS");
        assert_eq!(
            read(latin(), bytes(&[0x80, 0xe9, 0x81, b'a', b' ']), 2, 1).unwrap(),
            Value::String("€é\u{81}a ".into())
        );
        let utf8 = || column(VARCHAR, 80, "Latin1_General_100_CI_AS_SC_UTF8");
        assert_eq!(read(utf8(), bytes("né".as_bytes()), 2, 1).unwrap(), Value::String("né".into()));
        assert!(read(utf8(), bytes(&[0xff]), 2, 1).is_err());
    }

    #[test]
    fn a_null_is_unavailable_where_the_source_did_not_record() {
        let max = || column(NVARCHAR, -1, "X");
        let null = || ColumnData::Binary(None);
        for (operation, mask, expected) in [
            (1, 1, Value::Null),
            (2, 1, Value::Null),
            (3, 0, Value::Unavailable),
            (3, 1, Value::Null),
            (4, 0, Value::Unavailable),
            (4, 1, Value::Null),
        ] {
            assert_eq!(read(max(), null(), operation, mask).unwrap(), expected, "op {operation}");
        }
        assert_eq!(read(max(), bytes(&[0x41, 0]), 4, 0).unwrap(), Value::String("A".into()));
        let old = || column(NTEXT, 16, "X");
        for (operation, mask, expected) in [
            (1, 1, Value::Unavailable),
            (2, 1, Value::Null),
            (3, 1, Value::Unavailable),
            (4, 0, Value::Unavailable),
            (4, 1, Value::Null),
        ] {
            assert_eq!(read(old(), null(), operation, mask).unwrap(), expected, "op {operation}");
        }
    }

    #[test]
    fn a_null_in_a_not_null_column_of_an_old_image_is_unavailable() {
        let null = |system_type: u8| match system_type {
            BIT => ColumnData::Bit(None),
            DATETIME2 => ColumnData::DateTime2(None),
            UNIQUEIDENTIFIER => ColumnData::Guid(None),
            INT => ColumnData::I32(None),
            DECIMAL => ColumnData::Numeric(None),
            _ => ColumnData::Binary(None),
        };
        for system_type in [BIT, INT, DECIMAL, DATETIME2, UNIQUEIDENTIFIER, NVARCHAR, VARCHAR] {
            let column = ColumnPlan { nullable: false, ..column(system_type, 8, "X") };
            for (operation, mask, expected) in [
                (1, 1, Value::Unavailable),
                (2, 1, Value::Null),
                (3, 0, Value::Unavailable),
                (3, 1, Value::Unavailable),
                (4, 0, Value::Unavailable),
                (4, 1, Value::Null),
            ] {
                let read = read(column.clone(), null(system_type), operation, mask).unwrap();
                assert_eq!(read, expected, "type {system_type}, op {operation}, mask {mask}");
                let nullable = ColumnPlan { nullable: true, ..column.clone() };
                let read = self::read(nullable, null(system_type), operation, mask).unwrap();
                assert_eq!(read, Value::Null, "type {system_type}, op {operation}, nullable");
            }
        }
    }

    #[test]
    fn an_old_row_has_what_it_lacks_from_the_new_one_if_that_was_not_set() {
        let column = |ordinal, nullable| ColumnPlan { ordinal, nullable, ..column(INT, 4, "X") };
        let columns = vec![column(1, false), column(2, false), column(3, true)];
        let decoder = RowDecoder::new(TableId(1), columns, 100);
        let row = |values: [Value<'static>; 3], changed: u8| DecodedRow {
            changed: vec![changed],
            values: values.to_vec(),
            size: 0,
        };
        let gone = || Value::Unavailable;
        let key =
            ChangeKey { start_lsn: Lsn::ZERO, command_id: None, seqval: Lsn::ZERO, operation: 3 };
        let (change, _) = decoder.change(PairedChange {
            key,
            operation: lockstep_common::model::record::Operation::Update,
            before: Some(row([gone(), gone(), gone()], 0)),
            after: Some(row([Value::I64(7), Value::I64(8), Value::I64(9)], 0b010)),
        });
        assert_eq!(change.before, Before::Full(vec![Value::I64(7), gone(), gone()]));
    }

    #[test]
    fn a_value_over_the_limit_stops() {
        let error = read(column(NVARCHAR, -1, "X"), bytes(&[0; 102]), 2, 1).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { limit: 100, .. }));
    }

    #[test]
    fn numbers_and_identifiers_are_exact() {
        let negative_zero = plain(ColumnData::F64(Some(-0.0))).unwrap();
        assert!(matches!(negative_zero, Value::F64(v) if v == 0.0 && v.is_sign_negative()));
        let decimal =
            Numeric::new_with_scale(-99_999_999_999_999_999_999_999_999_999_999_999_999, 38);
        assert_eq!(
            plain(ColumnData::Numeric(Some(decimal))).unwrap(),
            Value::Decimal {
                unscaled: -99_999_999_999_999_999_999_999_999_999_999_999_999,
                scale: 38
            }
        );
        assert_eq!(plain(ColumnData::U8(Some(255))).unwrap(), Value::I64(255));
        assert!(plain(ColumnData::String(Some("1".into()))).is_err());
    }

    #[test]
    fn logical_types_carry_the_characters_limit() {
        let plan = column(NVARCHAR, 80, "X").plan;
        assert_eq!(plan.logical, LogicalType::String { max: Some(40), fixed: false });
    }
}
