//! Tokens of the response stream ([MS-TDS] 2.2.7), all but rows.

use bytes::BufMut;

use super::encode::{put_type_info, put_units};
use super::types::COLLATION;
use crate::engine::collation::Label;
use crate::product::{PRODUCT_NAME, Release, SERVER_NAME};
use crate::{Column, EnvChange, Origin, SqlError, SqlType, StatementKind};

const RETURN_STATUS: u8 = 0x79;
const COL_METADATA: u8 = 0x81;
const ERROR: u8 = 0xAA;
const INFO: u8 = 0xAB;
const RETURN_VALUE: u8 = 0xAC;
const LOGIN_ACK: u8 = 0xAD;
const FEATURE_EXT_ACK: u8 = 0xAE;
pub(super) const ROW: u8 = 0xD1;
pub(super) const NULL_BITMAP_ROW: u8 = 0xD2;
const ENV_CHANGE: u8 = 0xE3;

/// The longest message text SQL Server sends, in UTF-16 units.
const MAX_MESSAGE_UNITS: usize = 2047;

/// Bits of a DONE token's status ([MS-TDS] 2.2.7.6).
pub(super) mod status {
    /// More of the response follows.
    pub const MORE: u16 = 0x0001;
    /// The statement failed.
    pub const ERROR: u16 = 0x0002;
    /// A transaction is open.
    pub const IN_TRANSACTION: u16 = 0x0004;
    /// The row count is valid.
    pub const COUNT: u16 = 0x0010;
}

/// Which of the three DONE tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum DoneToken {
    /// A statement of a batch ended.
    Done = 0xFD,
    /// A procedure ended.
    Proc = 0xFE,
    /// A statement of a procedure ended.
    InProc = 0xFF,
}

/// A DONE, DONEPROC or DONEINPROC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub token: DoneToken,
    pub status: u16,
    pub kind: StatementKind,
    pub rows: u64,
}

pub(super) fn put_done(out: &mut Vec<u8>, done: Done) {
    out.push(done.token as u8);
    out.put_u16_le(done.status);
    out.put_u16_le(match done.kind {
        StatementKind::Select => 0xC1,
        StatementKind::Insert => 0xC3,
        StatementKind::Delete => 0xC4,
        StatementKind::Update => 0xC5,
        StatementKind::Merge => 0x117,
        StatementKind::Other => 0,
    });
    out.put_u64_le(done.rows);
}

/// Acknowledges an attention: a DONE with a status and a command of its own.
pub(super) fn put_attention_acknowledgement(out: &mut Vec<u8>) {
    const ATTENTION: u16 = 0x0020;
    const COMMAND: u16 = 0x00FD;
    out.push(DoneToken::Done as u8);
    out.put_u16_le(ATTENTION);
    out.put_u16_le(COMMAND);
    out.put_u64_le(0);
}

/// Text behind a one-byte count of units; cut at 255, which no name reaches.
fn put_short_text(out: &mut Vec<u8>, text: &str) {
    let units: Vec<u16> = text.encode_utf16().take(255).collect();
    out.push(u8::try_from(units.len()).expect("at most 255"));
    put_units(out, &units);
}

/// Writes a token whose body stands behind a two-byte length.
fn put_counted(out: &mut Vec<u8>, token: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(token);
    let place = out.len();
    out.put_u16_le(0);
    body(out);
    let length = u16::try_from(out.len() - place - 2).expect("token bodies are bounded");
    out[place..place + 2].copy_from_slice(&length.to_le_bytes());
}

/// An error from class 11 on, else an informational message.
pub(super) fn put_message(out: &mut Vec<u8>, message: &SqlError) {
    let token = if message.class > 10 { ERROR } else { INFO };
    put_counted(out, token, |out| {
        out.put_i32_le(message.number);
        out.push(message.state);
        out.push(message.class);
        let units = message.message.encode_utf16().take(MAX_MESSAGE_UNITS);
        let units: Vec<u16> = units.collect();
        out.put_u16_le(u16::try_from(units.len()).expect("at most 2047"));
        put_units(out, &units);
        put_short_text(out, SERVER_NAME);
        put_short_text(out, &message.procedure);
        out.put_u32_le(message.line);
    });
}

/// Flags of a column ([MS-TDS] 2.2.7.4). Outside of FOR BROWSE SQL Server does not find out whether
/// a stored column can be written, and says that; what never can be is read-only, and an
/// expression counts as computed ([MS-TDS] 4.4).
fn flags(column: &Column) -> u16 {
    const NULLABLE: u16 = 0x0001;
    const CASE_SENSITIVE: u16 = 0x0002;
    const UPDATEABLE_UNKNOWN: u16 = 0x0008;
    const IDENTITY: u16 = 0x0010;
    const COMPUTED: u16 = 0x0020;
    let origin = match column.origin {
        Origin::Stored if column.ty == SqlType::RowVersion => 0,
        Origin::Stored => UPDATEABLE_UNKNOWN,
        Origin::Identity => IDENTITY,
        Origin::Computed | Origin::Expression => COMPUTED,
    };
    // "Set to 1 for string columns with binary collation and always for the XML data type."
    let binary = column.ty.is_text() && column.label.is_binary();
    let exact = binary || column.ty == SqlType::Xml;
    origin | if column.nullable { NULLABLE } else { 0 } | if exact { CASE_SENSITIVE } else { 0 }
}

pub(super) fn put_columns(out: &mut Vec<u8>, columns: &[Column]) {
    /// The one user type below 256 that a column is told to have.
    const TIMESTAMP: u32 = 0x50;
    out.push(COL_METADATA);
    out.put_u16_le(u16::try_from(columns.len()).expect("at most 4096 columns"));
    for column in columns {
        out.put_u32_le(if column.ty == SqlType::RowVersion { TIMESTAMP } else { 0 });
        out.put_u16_le(flags(column));
        put_type_info(out, &column.ty, column.nullable, column.label);
        put_short_text(out, &column.name);
    }
}

pub(super) fn put_return_status(out: &mut Vec<u8>, status: i32) {
    out.push(RETURN_STATUS);
    out.put_i32_le(status);
}

/// All of a RETURNVALUE but its value.
pub(super) fn put_return_value_head(out: &mut Vec<u8>, ordinal: u16, name: &str, ty: &SqlType) {
    const OUTPUT_PARAMETER: u8 = 0x01;
    out.push(RETURN_VALUE);
    out.put_u16_le(ordinal);
    put_short_text(out, name);
    out.push(OUTPUT_PARAMETER);
    out.put_u32_le(0);
    out.put_u16_le(0);
    put_type_info(out, ty, true, Label::default());
}

pub(super) fn put_env_change(out: &mut Vec<u8>, change: &EnvChange) {
    match change {
        EnvChange::Database { new, old } => put_env_text(out, 1, new, old),
        EnvChange::TransactionBegun(descriptor) => {
            put_env_bytes(out, 8, &descriptor.to_le_bytes(), &[]);
        }
        EnvChange::TransactionCommitted(descriptor) => {
            put_env_bytes(out, 9, &[], &descriptor.to_le_bytes());
        }
        EnvChange::TransactionRolledBack(descriptor) => {
            put_env_bytes(out, 10, &[], &descriptor.to_le_bytes());
        }
    }
}

/// Tells that the session was reset, as the request asked.
pub(super) fn put_reset_acknowledgement(out: &mut Vec<u8>) {
    put_env_bytes(out, 18, &[], &[]);
}

fn put_env_text(out: &mut Vec<u8>, kind: u8, new: &str, old: &str) {
    put_counted(out, ENV_CHANGE, |out| {
        out.push(kind);
        put_short_text(out, new);
        put_short_text(out, old);
    });
}

fn put_env_bytes(out: &mut Vec<u8>, kind: u8, new: &[u8], old: &[u8]) {
    put_counted(out, ENV_CHANGE, |out| {
        out.push(kind);
        for value in [new, old] {
            out.push(u8::try_from(value.len()).expect("a descriptor or a collation"));
            out.extend_from_slice(value);
        }
    });
}

/// What a successful login is answered with.
#[derive(Debug)]
pub(super) struct LoginAnswer<'a> {
    pub version: u32,
    pub packet_size: usize,
    pub previous_packet_size: usize,
    pub database: &'a str,
    pub utf8: bool,
    pub release: Release,
}

pub(super) fn put_login_answer(out: &mut Vec<u8>, answer: &LoginAnswer<'_>) {
    const LANGUAGE: &str = "us_english";
    put_env_text(out, 1, answer.database, "master");
    let text = format!("Changed database context to '{}'.", answer.database);
    put_message(out, &SqlError::new(5701, 0, 2, text));
    put_env_bytes(out, 7, &COLLATION, &[]);
    put_env_text(out, 2, LANGUAGE, "");
    let text = format!("Changed language setting to {LANGUAGE}.");
    put_message(out, &SqlError::new(5703, 0, 1, text));
    put_login_acknowledgement(out, answer.version, answer.release);
    put_env_text(out, 4, &answer.packet_size.to_string(), &answer.previous_packet_size.to_string());
    if answer.utf8 {
        out.extend_from_slice(&[FEATURE_EXT_ACK, 0x0A, 1, 0, 0, 0, 1, 0xFF]);
    }
}

/// Sends the client to another server.
pub(super) fn put_routing(out: &mut Vec<u8>, host: &str, port: u16) {
    const ROUTING: u8 = 20;
    const TCP: u8 = 0;
    put_counted(out, ENV_CHANGE, |out| {
        out.push(ROUTING);
        let units: Vec<u8> = host.encode_utf16().flat_map(u16::to_le_bytes).collect();
        out.extend_from_slice(&(5 + units.len() as u16).to_le_bytes());
        out.push(TCP);
        out.extend_from_slice(&port.to_le_bytes());
        out.extend_from_slice(&((units.len() / 2) as u16).to_le_bytes());
        out.extend_from_slice(&units);
        out.extend_from_slice(&[0, 0]);
    });
}

fn put_login_acknowledgement(out: &mut Vec<u8>, version: u32, release: Release) {
    const TRANSACT_SQL: u8 = 1;
    let (major, minor, build) = release.version();
    put_counted(out, LOGIN_ACK, |out| {
        out.push(TRANSACT_SQL);
        out.put_u32(version);
        put_short_text(out, PRODUCT_NAME);
        out.extend_from_slice(&[major, minor]);
        out.put_u16(build);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_can_be_written() {
        let column = |ty: SqlType, nullable, origin| Column {
            name: "c".into(),
            ty,
            nullable,
            origin,
            label: Label::default(),
        };
        for (ty, nullable, origin, wanted) in [
            (SqlType::Int, false, Origin::Stored, 0x08),
            (SqlType::Int, true, Origin::Stored, 0x09),
            (SqlType::Int, false, Origin::Identity, 0x10),
            (SqlType::Int, true, Origin::Computed, 0x21),
            (SqlType::Int, false, Origin::Expression, 0x20),
            (SqlType::RowVersion, false, Origin::Stored, 0x00),
            (SqlType::Xml, true, Origin::Stored, 0x0B),
        ] {
            let column = column(ty, nullable, origin);
            assert_eq!(flags(&column), wanted, "{column:?}");
        }
        let label = Label::named("Latin1_General_100_BIN2").expect("a collation");
        let exact = Column { label, ..column(SqlType::VarChar(Some(9)), false, Origin::Stored) };
        assert_eq!(flags(&exact), 0x0A);
        // It is a number's, too, where it says nothing.
        assert_eq!(flags(&Column { ty: SqlType::Int, ..exact }), 0x08);
    }
}
