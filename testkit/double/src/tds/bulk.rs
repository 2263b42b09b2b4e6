//! Bulk load ([MS-TDS] 2.2.6.1): what a client sends after INSERT BULK, a result the other way
//! round: COLMETADATA, rows, DONE.

use super::decode::{DecodeError, TypeInfo, read_column_type, read_column_value};
use super::reader::{Malformed, Reader};
use super::tokens::{NULL_BITMAP_ROW, ROW};
use crate::{Request, SqlError, Value};

const COL_METADATA: u8 = 0x81;
const DONE: u8 = 0xFD;

/// Reads a message. The outer error ends the connection, the inner one is the answer.
pub(super) fn parse(payload: &[u8]) -> Result<Result<Request, SqlError>, Malformed> {
    let mut reader = Reader::new(payload, "bulk load");
    match read(&mut reader) {
        Ok(request) => Ok(Ok(request)),
        Err(DecodeError::Malformed(malformed)) => Err(malformed),
        Err(DecodeError::Invalid(ty)) => Ok(Err(SqlError::new(
            4815,
            16,
            1,
            format!("Received an invalid column value from bcp client for a column of type {ty}."),
        ))),
        Err(DecodeError::Unsupported(what)) => {
            Ok(Err(SqlError::new(8009, 16, 1, format!("Type {what} is not supported."))))
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    if reader.u8()? != COL_METADATA {
        return Err(reader.malformed().into());
    }
    let count = reader.u16()?;
    let mut columns: Vec<(String, TypeInfo)> = Vec::new();
    for _ in 0..count {
        let (_user_type, _flags) = (reader.u32()?, reader.u16()?);
        let info = read_column_type(reader)?;
        columns.push((reader.short_text()?, info));
    }
    let mut rows = Vec::new();
    while !reader.is_empty() {
        match reader.u8()? {
            ROW => {
                let value = |(_, info): &(String, TypeInfo)| read_column_value(reader, info);
                rows.push(columns.iter().map(value).collect::<Result<Vec<Value>, _>>()?);
            }
            NULL_BITMAP_ROW => {
                let bitmap = reader.bytes(columns.len().div_ceil(8))?;
                let mut row = Vec::with_capacity(columns.len());
                for (at, (_, info)) in columns.iter().enumerate() {
                    row.push(match bitmap[at / 8] >> (at % 8) & 1 {
                        1 => Value::Null,
                        _ => read_column_value(reader, info)?,
                    });
                }
                rows.push(row);
            }
            DONE => break,
            _ => return Err(reader.malformed().into()),
        }
    }
    let columns = columns.into_iter().map(|(name, info)| (name, info.ty)).collect();
    Ok(Request::Bulk { columns, rows })
}
