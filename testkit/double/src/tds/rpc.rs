//! RPC requests ([MS-TDS] 2.2.6.6): one message may carry several calls.

use super::decode::{DecodeError, read_param};
use super::reader::{Malformed, Reader};
use super::request::skip_headers;
use crate::{SqlError, SqlType, Value};

/// Procedures with a number of their own, by which clients call them.
const NUMBERED: [&str; 15] = [
    "sp_cursor",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorexecute",
    "sp_cursorprepexec",
    "sp_cursorunprepare",
    "sp_cursorfetch",
    "sp_cursoroption",
    "sp_cursorclose",
    "sp_executesql",
    "sp_prepare",
    "sp_execute",
    "sp_prepexec",
    "sp_prepexecrpc",
    "sp_unprepare",
];
/// Bytes that separate calls: run both, or (to be refused) do not run the one before.
const BATCH_FLAG: u8 = 0xFF;
const NO_EXECUTION_FLAG: u8 = 0xFE;

const BY_REFERENCE: u8 = 0x01;
const DEFAULT_VALUE: u8 = 0x02;
const ENCRYPTED: u8 = 0x08;

/// One call.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub procedure: String,
    pub arguments: Vec<Argument>,
}

/// An argument as sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Argument {
    /// With its `@`, or empty for a positional one.
    pub name: String,
    pub ty: SqlType,
    pub value: Value,
    pub by_reference: bool,
    /// The procedure's default is wanted, there is no value.
    pub default: bool,
}

/// Reads all calls of a message. The outer error ends the connection, the inner one is the answer.
pub(super) fn parse(payload: &[u8]) -> Result<Result<Vec<Call>, SqlError>, Malformed> {
    let mut reader = skip_headers(payload, "RPC request")?;
    let mut calls = Vec::new();
    while !reader.is_empty() {
        match parse_call(&mut reader) {
            Ok(call) => calls.push(call),
            Err(CallError::Malformed(malformed)) => return Err(malformed),
            Err(CallError::Refused(error)) => return Ok(Err(error)),
        }
    }
    Ok(Ok(calls))
}

enum CallError {
    Malformed(Malformed),
    Refused(SqlError),
}

impl From<Malformed> for CallError {
    fn from(malformed: Malformed) -> Self {
        CallError::Malformed(malformed)
    }
}

fn refused(number: i32, text: String) -> CallError {
    CallError::Refused(SqlError::new(number, 16, 1, text))
}

fn parse_call(reader: &mut Reader<'_>) -> Result<Call, CallError> {
    let procedure = read_procedure(reader)?;
    let _options = reader.u16()?;
    let mut arguments = Vec::new();
    loop {
        match reader.rest().first() {
            None => break,
            Some(&BATCH_FLAG) => {
                reader.u8()?;
                break;
            }
            Some(&NO_EXECUTION_FLAG) => {
                let text = "Calls that are not to be executed are not supported.";
                return Err(refused(8002, text.into()));
            }
            Some(_) => {
                let argument = read_argument(reader, &procedure, arguments.len() + 1)?;
                arguments.push(argument);
            }
        }
    }
    Ok(Call { procedure, arguments })
}

fn read_procedure(reader: &mut Reader<'_>) -> Result<String, CallError> {
    const NUMBER_FOLLOWS: u16 = 0xFFFF;
    match reader.u16()? {
        NUMBER_FOLLOWS => {
            let number = reader.u16()?;
            usize::from(number)
                .checked_sub(1)
                .and_then(|index| NUMBERED.get(index))
                .map(|name| (*name).to_owned())
                .ok_or_else(|| {
                    refused(2812, format!("Could not find stored procedure '{number}'."))
                })
        }
        units => Ok(reader.text(usize::from(units))?),
    }
}

fn read_argument(
    reader: &mut Reader<'_>,
    procedure: &str,
    position: usize,
) -> Result<Argument, CallError> {
    let name = reader.short_text()?;
    let flags = reader.u8()?;
    if flags & ENCRYPTED != 0 {
        return Err(refused(33299, "Always Encrypted is not supported.".into()));
    }
    let (ty, value) = read_param(reader).map_err(|error| match error {
        DecodeError::Malformed(malformed) => CallError::Malformed(malformed),
        DecodeError::Invalid(ty) => refused(8023, not_valid(position, &name, ty)),
        DecodeError::Unsupported(what) => refused(
            8009,
            format!(
                "{procedure}: parameter {position} (\"{name}\"): type {what} is not supported."
            ),
        ),
    })?;
    Ok(Argument {
        name,
        ty,
        value,
        by_reference: flags & BY_REFERENCE != 0,
        default: flags & DEFAULT_VALUE != 0,
    })
}

/// Message 8023 as SQL Server words it.
fn not_valid(position: usize, name: &str, ty: &str) -> String {
    format!(
        "The incoming tabular data stream (TDS) remote procedure call (RPC) protocol stream is \
         incorrect. Parameter {position} (\"{name}\"): The supplied value is not a valid instance \
         of data type {ty}. Check the source data for invalid values. An example of an invalid \
         value is data of numeric type with scale greater than precision."
    )
}
