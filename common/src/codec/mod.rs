//! The records' wire format: Avro single-object encoding of `schemas/record.avsc`.
//!
//! Our own schema goes through a codec compiled by hand from it, because it is the hot path of both
//! services: encoding allocates nothing per value, decoding borrows from the payload. Any other
//! writer's schema goes through apache-avro, which is also the test oracle: a [`Decoder`] translates
//! such a payload to our schema, and everything else sees only that.
//!
//! `docs/log-format.md` says the same for people who read the log with something else.

mod bound;
mod cell;
mod chunk;
mod decode;
mod decoder;
mod encode;
pub mod entry;
mod fragment;
mod items;
mod resolve;
pub(crate) mod schema;
mod wire;

use crate::Code;
use crate::Failure;

pub use chunk::{ChunkHead, ChunkReader, ChunkWriter};
pub use decode::{decode, header};
pub use decoder::Decoder;
pub(crate) use decoder::read_value;
pub use encode::encode;
pub use fragment::{FragmentHead, FragmentReader, FragmentWriter};
use schema::branch;
pub use schema::{RECORD_FINGERPRINT, RECORD_SCHEMA};
use wire::{Input, Malformed};

use uuid::Uuid;

use crate::Position;

/// What a record says of itself before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Identity of the log.
    pub log_id: Uuid,
    /// Which writer wrote it.
    pub epoch: u64,
    /// The position it brings the reader to.
    pub position: Position,
    /// The position of the complete transaction or progress record before it.
    pub after: Position,
    /// Commit time, 100 ns since 1970-01-01Z.
    pub time: i64,
    /// A reader that does not know the kind may pass over it.
    pub skippable: bool,
    /// Which body it has.
    pub kind: Kind,
    /// For fragments only.
    pub fragment: Option<FragmentHeader>,
}

impl Header {
    /// Whether `position` is reached with this record: what comes next has it as its `after`.
    /// True of the last fragment of a transaction, of progress and of a new timeline.
    pub fn completes(&self) -> bool {
        match self.kind {
            Kind::Fragment => self.fragment.is_some_and(|f| f.last),
            Kind::Progress | Kind::Timeline => true,
            _ => false,
        }
    }
}

/// Which piece of its transaction a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// From 0.
    pub index: u32,
    /// No more fragments of this transaction follow.
    pub last: bool,
    /// Changes in the fragments before this one.
    pub changes_before: u64,
}

/// The kinds of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`Body::Fragment`](crate::model::record::Body::Fragment)
    Fragment,
    /// [`Body::Progress`](crate::model::record::Body::Progress)
    Progress,
    /// [`Body::Epoch`](crate::model::record::Body::Epoch)
    Epoch,
    /// [`Body::Timeline`](crate::model::record::Body::Timeline)
    Timeline,
    /// [`Body::SchemaChange`](crate::model::record::Body::SchemaChange)
    SchemaChange,
    /// [`Body::ChunkBegin`](crate::model::record::Body::ChunkBegin)
    ChunkBegin,
    /// [`Body::ChunkEnd`](crate::model::record::Body::ChunkEnd)
    ChunkEnd,
    /// [`Body::Marker`](crate::model::record::Body::Marker)
    Marker,
    /// [`Body::ChunkRows`](crate::model::record::Body::ChunkRows)
    ChunkRows,
}

/// The kinds by the number of their branch in the schema.
const KINDS: [Kind; 9] = [
    Kind::Fragment,
    Kind::Progress,
    Kind::Epoch,
    Kind::Timeline,
    Kind::SchemaChange,
    Kind::ChunkBegin,
    Kind::ChunkEnd,
    Kind::Marker,
    Kind::ChunkRows,
];

impl Kind {
    /// Its name in the schema.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Fragment => "Fragment",
            Kind::Progress => "Progress",
            Kind::Epoch => "Epoch",
            Kind::Timeline => "Timeline",
            Kind::SchemaChange => "SchemaChange",
            Kind::ChunkBegin => "ChunkBegin",
            Kind::ChunkEnd => "ChunkEnd",
            Kind::Marker => "Marker",
            Kind::ChunkRows => "ChunkRows",
        }
    }
}

/// Appends an enum's or a union's number: where the value stands in `symbols`.
#[inline]
fn put_enum<T: PartialEq>(out: &mut Vec<u8>, symbols: &[T], value: T) {
    let number = symbols.iter().position(|s| *s == value).expect("every symbol is listed");
    wire::put_len(out, number);
}

/// Reads an enum's or a union's number.
#[inline]
fn get_enum<T: Copy>(input: &mut Input<'_>, symbols: &[T]) -> Result<T, Malformed> {
    let number = input.number::<usize>()?;
    symbols.get(number).copied().ok_or(Malformed("an unknown symbol or kind"))
}

/// A payload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It does not begin as Avro single-object encoding does.
    #[error("not an Avro single-object encoding")]
    NotSingleObject,
    /// Its writer's schema, by fingerprint, has not been seen in the schemas stream: read on there.
    #[error("written with the unknown schema {0:016x}")]
    UnknownSchema(u64),
    /// A newer writer's kind of record. Pass over it when `skippable`, else halt.
    #[error("a record of the unknown kind `{kind}`")]
    UnknownKind {
        /// The kind's name in its writer's schema.
        kind: String,
        /// The writer allows readers that do not know the kind to pass over it.
        skippable: bool,
    },
    /// A newer writer's record says something our schema has no place for.
    #[error("its writer says more than this version can read: {0}")]
    Unresolved(String),
    /// The schema itself is invalid, or is not the one its fingerprint says.
    #[error("a writer's schema is unusable: {0}")]
    BadSchema(String),
    /// The bytes are no record of their schema.
    #[error("corrupt: {0}")]
    Corrupt(&'static str),
}

impl DecodeError {
    fn schema(error: apache_avro::Error) -> Self {
        DecodeError::BadSchema(error.to_string())
    }

    fn unresolved(error: apache_avro::Error) -> Self {
        DecodeError::Unresolved(error.to_string())
    }
}

/// A record that cannot be read stops the reader: passing over it would be a gap. (A skippable
/// [`DecodeError::UnknownKind`] is for the reader to look at before.)
impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        let (code, remedy) = match &error {
            DecodeError::UnknownSchema(_) => (
                Code::LogUnknownSchema,
                "the schemas stream lost it: check that the topic is compacted and was not emptied",
            ),
            DecodeError::UnknownKind { .. } | DecodeError::Unresolved(_) => {
                (Code::LogNewerWriter, "upgrade this reader to the writer's version")
            }
            DecodeError::NotSingleObject | DecodeError::BadSchema(_) | DecodeError::Corrupt(_) => (
                Code::LogCorruptRecord,
                "something else wrote to the log, or its storage is damaged",
            ),
        };
        Failure::new(code, error.to_string()).remedy(remedy)
    }
}
