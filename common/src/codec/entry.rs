//! What stands in `<pipeline>.schemas`: a compacted stream, keyed by kind and id, never tombstoned.
//!
//! Each kind has its own Avro schema in `schemas/`; all go through apache-avro, in single-object
//! encoding. The schema of [`SchemaEntry::WriterSchema`] never changes within the major version,
//! because it is what tells the others: whoever reads the stream to its end knows every schema used
//! in it and in the other streams.

mod definition;
mod load;
mod wire;

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{DecodeError, Decoder, RECORD_FINGERPRINT, RECORD_SCHEMA, schema};
use crate::model::definition::Definition;
use crate::model::load::TableLoad;
use crate::model::record::SourceTime;
use crate::{Position, TableId, TableVersion};

/// An entry of the schemas stream.
#[derive(Clone, Debug, PartialEq)]
pub enum SchemaEntry {
    /// The log's identity; written first, once.
    Log {
        /// Random, and the same for as long as the log exists.
        log_id: Uuid,
        /// When the log was made, 100 ns since 1970-01-01Z.
        created: i64,
    },
    /// The schema of a writer, stored before its first use.
    WriterSchema {
        /// CRC-64-AVRO of its parsing canonical form.
        fingerprint: u64,
        /// The Avro schema, as JSON.
        json: String,
    },
    /// A table version. The id its users name it by is the key's: a reader that knows fewer
    /// properties than the writer would compute another one from the content.
    Table(TableVersion),
    /// Where the log stood: tells an emptied log from a new one.
    Position(KeptPosition),
    /// What a table has beside its shape.
    Definition(Definition),
    /// Where the full load of a table stands.
    Load(TableLoad),
}

/// A position kept outside the transactions stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPosition {
    /// Identity of the log.
    pub log_id: Uuid,
    /// The writer's epoch.
    pub epoch: u64,
    /// The newest complete position.
    pub position: Position,
    /// Its time, 100 ns since 1970-01-01Z.
    pub time: i64,
    /// The source's identifier of the transaction there, where it has one.
    pub transaction_id: Option<Vec<u8>>,
    /// The source's raw time of it.
    pub source_time: Option<SourceTime>,
}

/// What a key of the schemas stream says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKey {
    /// `log`
    Log,
    /// `schema:` and the fingerprint, 16 hexadecimal digits
    WriterSchema(u64),
    /// `table:` and the id, 16 hexadecimal digits
    Table(TableId),
    /// `position`
    Position,
    /// `definition:` and the table version's id, 16 hexadecimal digits
    Definition(TableId),
    /// `load:` and the source's identity of the table, a decimal number
    Load(i64),
}

impl EntryKey {
    /// The key's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            EntryKey::Log => b"log".to_vec(),
            EntryKey::WriterSchema(fingerprint) => format!("schema:{fingerprint:016x}").into(),
            EntryKey::Table(id) => format!("table:{id}").into(),
            EntryKey::Position => b"position".to_vec(),
            EntryKey::Definition(id) => format!("definition:{id}").into(),
            EntryKey::Load(object) => format!("load:{object}").into(),
        }
    }

    /// Reads a key; `None` for one of a later version, to be passed over.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let hex = |digits: &str| {
            let well_formed = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            well_formed.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        match std::str::from_utf8(key).ok()? {
            "log" => Some(EntryKey::Log),
            "position" => Some(EntryKey::Position),
            key => match key.split_once(':')? {
                ("schema", id) => Some(EntryKey::WriterSchema(hex(id)?)),
                ("table", id) => Some(EntryKey::Table(TableId(hex(id)?))),
                ("definition", id) => Some(EntryKey::Definition(TableId(hex(id)?))),
                ("load", id) => {
                    let object: i64 = id.parse().ok()?;
                    (object.to_string() == id).then_some(EntryKey::Load(object))
                }
                _ => None,
            },
        }
    }
}

/// A kind of entry: its schema, and the kind's name in it.
struct Kind {
    name: &'static str,
    json: &'static str,
}

const LOG: Kind = Kind { name: "Log", json: include_str!("../../../schemas/log.avsc") };
const WRITER_SCHEMA: Kind =
    Kind { name: "WriterSchema", json: include_str!("../../../schemas/writer_schema.avsc") };
const TABLE: Kind = Kind { name: "Table", json: include_str!("../../../schemas/table.avsc") };
const POSITION: Kind =
    Kind { name: "KeptPosition", json: include_str!("../../../schemas/position.avsc") };
const DEFINITION: Kind =
    Kind { name: "Definition", json: include_str!("../../../schemas/definition.avsc") };
const LOAD: Kind = Kind { name: "TableLoad", json: include_str!("../../../schemas/load.avsc") };

/// The kinds' schemas, parsed, with their fingerprints and names.
static SCHEMAS: LazyLock<[OwnSchema; 6]> = LazyLock::new(|| {
    [LOG, WRITER_SCHEMA, TABLE, POSITION, DEFINITION, LOAD].map(|kind| {
        let (fingerprint, schema) =
            schema::parse(kind.json).expect("the embedded schemas are valid");
        OwnSchema { kind, fingerprint, schema }
    })
});

struct OwnSchema {
    kind: Kind,
    fingerprint: u64,
    schema: Schema,
}

impl OwnSchema {
    fn find(test: impl Fn(&OwnSchema) -> bool) -> Option<&'static OwnSchema> {
        SCHEMAS.iter().find(|own| test(own))
    }
}

/// Every schema this version writes with, as entries: a writer stores those that the stream lacks
/// before it writes anything else.
pub fn writer_schemas() -> Vec<SchemaEntry> {
    let record = (RECORD_FINGERPRINT, RECORD_SCHEMA);
    std::iter::once(record)
        .chain(SCHEMAS.iter().map(|own| (own.fingerprint, own.kind.json)))
        .map(|(fingerprint, json)| SchemaEntry::WriterSchema { fingerprint, json: json.to_owned() })
        .collect()
}

impl SchemaEntry {
    /// The key it stands under.
    pub fn key(&self) -> Vec<u8> {
        match self {
            SchemaEntry::Log { .. } => EntryKey::Log,
            SchemaEntry::WriterSchema { fingerprint, .. } => EntryKey::WriterSchema(*fingerprint),
            SchemaEntry::Table(version) => EntryKey::Table(version.id()),
            SchemaEntry::Position(_) => EntryKey::Position,
            SchemaEntry::Definition(definition) => EntryKey::Definition(definition.table),
            SchemaEntry::Load(load) => EntryKey::Load(load.object_id),
        }
        .to_bytes()
    }

    /// The entry in single-object encoding.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            SchemaEntry::Log { log_id, created } => {
                write(&LOG, &wire::Log { log_id: log_id.to_string(), created: *created })
            }
            SchemaEntry::WriterSchema { fingerprint, json } => {
                let (fingerprint, json) = (fingerprint.cast_signed(), json.clone());
                write(&WRITER_SCHEMA, &wire::WriterSchema { fingerprint, json })
            }
            SchemaEntry::Table(version) => write(&TABLE, &wire::Table::from(version)),
            SchemaEntry::Position(kept) => write(&POSITION, &wire::Kept::from(kept)),
            SchemaEntry::Definition(definition) => {
                write(&DEFINITION, &definition::Wire::from(definition))
            }
            SchemaEntry::Load(load) => write(&LOAD, &load::Wire::from(load)),
        }
    }

    /// Reads an entry; `decoder` knows the writers' schemas read so far.
    ///
    /// # Errors
    /// As [`Decoder::translate`]. [`DecodeError::UnknownSchema`] of an entry other than
    /// [`SchemaEntry::WriterSchema`] may be answered further on in the stream, because compaction
    /// keeps the newest of each key only.
    pub fn decode(payload: &[u8], decoder: &Decoder) -> Result<Self, DecodeError> {
        let (fingerprint, datum) = schema::split(payload)?;
        let (own, value) = match OwnSchema::find(|own| own.fingerprint == fingerprint) {
            Some(own) => (own, crate::codec::read_value(&own.schema, datum)?),
            None => {
                let writer = decoder.writer(fingerprint)?;
                let name = writer.name().map_or("", |name| name.name());
                let own = OwnSchema::find(|own| own.kind.name == name).ok_or_else(|| {
                    DecodeError::UnknownKind { kind: name.to_owned(), skippable: true }
                })?;
                (own, decoder.resolve(fingerprint, datum, &own.schema)?)
            }
        };
        Self::from_value(&own.kind, &value, decoder)
    }

    fn from_value(kind: &Kind, value: &Value, decoder: &Decoder) -> Result<Self, DecodeError> {
        match kind.name {
            name if name == LOG.name => {
                let wire::Log { log_id, created } = read(value)?;
                Ok(SchemaEntry::Log { log_id: wire::log_id(&log_id)?, created })
            }
            name if name == WRITER_SCHEMA.name => {
                let wire::WriterSchema { fingerprint, json } = read(value)?;
                let fingerprint = fingerprint.cast_unsigned();
                Ok(SchemaEntry::WriterSchema { fingerprint, json })
            }
            name if name == TABLE.name => {
                read::<wire::Table>(value)?.try_into().map(SchemaEntry::Table)
            }
            name if name == DEFINITION.name => {
                read::<definition::Wire>(value)?.try_into().map(SchemaEntry::Definition)
            }
            name if name == LOAD.name => {
                read::<load::Wire>(value)?.into_load(decoder).map(SchemaEntry::Load)
            }
            _ => read::<wire::Kept>(value)?.try_into().map(SchemaEntry::Position),
        }
    }
}

fn write<T: Serialize>(kind: &Kind, entry: &T) -> Vec<u8> {
    let own = OwnSchema::find(|own| own.kind.name == kind.name).expect("every kind has a schema");
    let mut out = Vec::with_capacity(256);
    schema::put_head(&mut out, own.fingerprint);
    GenericDatumWriter::builder(&own.schema)
        .build()
        .and_then(|writer| writer.write_ser(&mut out, entry))
        .expect("the entries are laid out as their schemas");
    out
}

fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, DecodeError> {
    apache_avro::serde::from_value(value)
        .map_err(|_| DecodeError::Corrupt("an entry that its schema does not describe"))
}
