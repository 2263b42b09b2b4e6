//! Columns of catalogue rows by name. A column that is not there or has another type is a server
//! that is not what the documents describe; capture stops rather than guess.

use lockstep_common::Code;
use lockstep_common::Failure;
use tiberius::{ColumnData, Row};

use super::lsn::Lsn;
use super::time;
use super::window::MappingRow;

/// A catalogue row; `of` names the statement it answers.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    row: &'a Row,
    of: &'static str,
}

impl<'a> Fields<'a> {
    /// Reads `row`, an answer to `of`.
    pub fn new(row: &'a Row, of: &'static str) -> Self {
        Fields { row, of }
    }

    /// Text, if not NULL.
    pub fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.cell(name)? {
            ColumnData::String(text) => Ok(text.as_ref().map(|text| text.to_string())),
            _ => Err(self.unexpected(name)),
        }
    }

    /// Text that is never NULL.
    pub fn name(&self, name: &str) -> Result<String, Failure> {
        self.text(name)?.ok_or_else(|| self.unexpected(name))
    }

    /// A number of any integer type or a bit, if not NULL.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Failure> {
        match self.cell(name)? {
            ColumnData::U8(v) => Ok(v.map(i64::from)),
            ColumnData::I16(v) => Ok(v.map(i64::from)),
            ColumnData::I32(v) => Ok(v.map(i64::from)),
            ColumnData::I64(v) => Ok(*v),
            ColumnData::Bit(v) => Ok(v.map(i64::from)),
            _ => Err(self.unexpected(name)),
        }
    }

    /// A number that is never NULL and fits `T`.
    pub fn integer<T: TryFrom<i64>>(&self, name: &str) -> Result<T, Failure> {
        self.number(name)?
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| self.unexpected(name))
    }

    /// A bit; NULL is false.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        Ok(self.number(name)?.is_some_and(|value| value != 0))
    }

    /// Bytes, if not NULL.
    pub fn bytes(&self, name: &str) -> Result<Option<&'a [u8]>, Failure> {
        match self.cell(name)? {
            ColumnData::Binary(bytes) => Ok(bytes.as_deref()),
            _ => Err(self.unexpected(name)),
        }
    }

    /// An LSN; NULL and zero are none.
    pub fn lsn(&self, name: &str) -> Result<Option<Lsn>, Failure> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        let lsn = Lsn::from_slice(bytes).ok_or_else(|| self.unexpected(name))?;
        Ok((!lsn.is_zero()).then_some(lsn))
    }

    /// As [`Fields::lsn`], of the column at this place, from 0.
    pub fn lsn_at(&self, at: usize) -> Result<Option<Lsn>, Failure> {
        let bytes = match self.row.cells().nth(at) {
            Some((_, ColumnData::Binary(None))) => return Ok(None),
            Some((_, ColumnData::Binary(Some(bytes)))) => Lsn::from_slice(bytes),
            _ => None,
        };
        let lsn = bytes.ok_or_else(|| self.unexpected(&format!("number {}", at + 1)))?;
        Ok((!lsn.is_zero()).then_some(lsn))
    }

    /// A `datetime`, 100 ns since 1970-01-01.
    pub fn datetime(&self, name: &str) -> Result<i64, Failure> {
        match self.cell(name)? {
            ColumnData::DateTime(Some(value)) => Ok(time::datetime(*value)),
            _ => Err(self.unexpected(name)),
        }
    }

    /// A `datetimeoffset`: 100 ns since 1970-01-01Z and the offset in minutes.
    pub fn datetime_offset(&self, name: &str) -> Result<(i64, i16), Failure> {
        match self.cell(name)? {
            ColumnData::DateTimeOffset(Some(value)) => {
                time::datetime_offset(*value).ok_or_else(|| self.unexpected(name))
            }
            _ => Err(self.unexpected(name)),
        }
    }

    /// A row of `cdc.lsn_time_mapping`.
    pub fn mapping(&self) -> Result<MappingRow, Failure> {
        let lsn = self.bytes("start_lsn")?.and_then(Lsn::from_slice);
        Ok(MappingRow {
            lsn: lsn.ok_or_else(|| self.unexpected("start_lsn"))?,
            end_time: self.datetime("tran_end_time")?,
            tran_id: self.bytes("tran_id")?.unwrap_or_default().to_vec(),
        })
    }

    fn cell(&self, name: &str) -> Result<&'a ColumnData<'static>, Failure> {
        self.row.get_column_data(name).map_err(|_| self.unexpected(name))
    }

    fn unexpected(&self, name: &str) -> Failure {
        Failure::new(
            Code::SourceMetadata,
            format!("{}: column {name} of the answer is not what SQL Server documents", self.of),
        )
        .remedy("report this with the server's version")
    }
}

/// All rows of a result as mapping rows.
pub fn mapping_rows(rows: &[Row]) -> Result<Vec<MappingRow>, Failure> {
    rows.iter().map(|row| Fields::new(row, "cdc.lsn_time_mapping").mapping()).collect()
}
