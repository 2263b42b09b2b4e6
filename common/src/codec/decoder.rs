//! Reading what another version of Lockstep wrote.
//!
//! Within a major version a writer may know fields and kinds that we do not, and lack some that we
//! have. Its schema stands in the schemas stream under its fingerprint. A foreign payload is read
//! with that schema, fitted to ours ([`resolve`](super::resolve)) and encoded again, so that every
//! reader in the process handles one form only. A payload of our own schema passes untouched.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::ResolvedSchema;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;

use super::resolve::{self, Misfit};
use super::schema::{self, RECORD, RECORD_FINGERPRINT};
use super::{DecodeError, Header, KINDS};
use crate::model::record::Record;

/// Knows writers' schemas by fingerprint.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    writers: HashMap<u64, Schema>,
}

impl Decoder {
    /// A decoder that knows our own schemas only.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// Learns a writer's schema, as found in the schemas stream.
    ///
    /// # Errors
    /// [`DecodeError::BadSchema`] when it is none, or not the one with this fingerprint.
    pub fn add(&mut self, fingerprint: u64, json: &str) -> Result<(), DecodeError> {
        let (actual, schema) = schema::parse(json)?;
        if actual != fingerprint {
            return Err(DecodeError::BadSchema(format!(
                "stored as {fingerprint:016x}, but its fingerprint is {actual:016x}"
            )));
        }
        self.writers.insert(fingerprint, schema);
        Ok(())
    }

    /// The payload in our own schema: itself when it is so already.
    ///
    /// # Errors
    /// [`DecodeError::UnknownSchema`] when the writer's schema has not been added;
    /// [`DecodeError::UnknownKind`] and [`DecodeError::Unresolved`] when it says something that ours
    /// cannot; [`DecodeError::Corrupt`] when the bytes are none of that schema.
    pub fn translate<'a>(&self, payload: &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
        let (fingerprint, datum) = schema::split(payload)?;
        if fingerprint == RECORD_FINGERPRINT {
            return Ok(Cow::Borrowed(payload));
        }
        let value = self.resolve(fingerprint, datum, &RECORD)?;
        let mut out = Vec::with_capacity(payload.len() + 16);
        schema::put_head(&mut out, RECORD_FINGERPRINT);
        GenericDatumWriter::builder(&RECORD)
            .build()
            .and_then(|writer| writer.write_value_ref(&mut out, &value))
            .map_err(DecodeError::unresolved)?;
        Ok(Cow::Owned(out))
    }

    /// Reads a whole record of any known schema.
    ///
    /// # Errors
    /// As [`Decoder::translate`] and [`decode`](fn@super::decode).
    pub fn decode<'a>(&self, payload: &'a [u8]) -> Result<Record<'a>, DecodeError> {
        match self.translate(payload)? {
            Cow::Borrowed(payload) => super::decode(payload),
            Cow::Owned(payload) => super::decode(&payload).map(Record::into_owned),
        }
    }

    /// Reads the header of a record of any known schema.
    ///
    /// # Errors
    /// As [`Decoder::translate`] and [`header`](super::header).
    pub fn header(&self, payload: &[u8]) -> Result<Header, DecodeError> {
        super::header(&self.translate(payload)?)
    }

    /// The schema with this fingerprint.
    pub(crate) fn writer(&self, fingerprint: u64) -> Result<&Schema, DecodeError> {
        self.writers.get(&fingerprint).ok_or(DecodeError::UnknownSchema(fingerprint))
    }

    /// A datum of a foreign schema as a value of ours.
    pub(crate) fn resolve(
        &self,
        fingerprint: u64,
        datum: &[u8],
        reader: &Schema,
    ) -> Result<Value, DecodeError> {
        let writer = self.writer(fingerprint)?;
        let value = read_value(writer, datum)?;
        check_kind(writer, &value)?;
        let names = ResolvedSchema::new(writer).map_err(DecodeError::schema)?;
        let own_names = ResolvedSchema::new(reader).map_err(DecodeError::schema)?;
        resolve::Resolver { writer: names.get_names(), reader: own_names.get_names() }
            .resolve(value, writer, reader)
            .map_err(|Misfit(what)| DecodeError::Unresolved(what))
    }
}

/// Reads all of a datum with the schema it was written with.
pub(crate) fn read_value(schema: &Schema, datum: &[u8]) -> Result<Value, DecodeError> {
    let mut input = Strict(datum);
    let value = GenericDatumReader::builder(schema)
        .build()
        .map_err(DecodeError::schema)?
        .read_value(&mut input)
        .map_err(|_| DecodeError::Corrupt("the bytes are none of the writer's schema"))?;
    if input.0.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::Corrupt("bytes after the end of the record"))
    }
}

/// A slice whose end is an error of its own: apache-avro takes a plain end of file inside a string,
/// a boolean or a union for null.
struct Strict<'a>(&'a [u8]);

impl Read for Strict<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it ends too early"));
        }
        self.0.read(buffer)
    }
}

/// A record of a kind that our schema lacks is told from other misfits: it may be skippable.
fn check_kind(writer: &Schema, value: &Value) -> Result<(), DecodeError> {
    let (Schema::Record(schema), Value::Record(fields)) = (writer, value) else {
        return Ok(());
    };
    let field = |name: &str| {
        let number = *schema.lookup.get(name)?;
        Some((&schema.fields.get(number)?.schema, &fields.get(number)?.1))
    };
    let Some((Schema::Union(kinds), Value::Union(number, _))) = field("body") else {
        return Ok(());
    };
    let kind = usize::try_from(*number)
        .ok()
        .and_then(|n| kinds.variants().get(n)?.name())
        .map_or("", |name| name.name());
    if KINDS.iter().any(|known| known.name() == kind) {
        return Ok(());
    }
    let skippable = matches!(field("skippable"), Some((_, Value::Boolean(true))));
    Err(DecodeError::UnknownKind { kind: kind.to_owned(), skippable })
}
