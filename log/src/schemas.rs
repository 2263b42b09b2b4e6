//! The readers' view of the schemas stream: table versions, their definitions and writers' schemas by
//! id, loads by table.
//!
//! A writer commits an entry in an earlier log transaction than its first use, but a Kafka
//! transaction becomes visible partition by partition: a reader may meet an id a moment before its
//! entry. So an unknown id makes this read on, for a bounded time, before it is an error.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::codec::entry::{EntryKey, SchemaEntry};
use lockstep_common::codec::{DecodeError, Decoder, RECORD_FINGERPRINT};
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::TableLoad;
use lockstep_common::{Failure, TableId, TableVersion};
use tokio::time::Instant;

use crate::{Batch, Item, Log, Reader, Stream};

/// How long an id may be ahead of its entry.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the schemas stream of one log says.
pub struct Schemas {
    reader: Box<dyn Reader>,
    decoder: Decoder,
    /// Fingerprints `decoder` knows beside our own.
    writers: HashSet<u64>,
    tables: HashMap<TableId, Arc<TableVersion>>,
    definitions: HashMap<TableId, Arc<Definition>>,
    loads: HashMap<i64, TableLoad>,
    /// Entries of writers whose schema comes later in the stream, the newest of each key.
    undecoded: HashMap<EntryKey, Item>,
    next_offset: u64,
}

impl Schemas {
    /// Reads the schemas stream of `log` up to now.
    ///
    /// # Errors
    /// As [`Log::reader`] and [`Reader::read`]; `Halt` for an entry that cannot be read.
    pub async fn open(log: &dyn Log) -> Result<Self, Failure> {
        let mut schemas = Schemas {
            reader: log.reader(Stream::Schemas).await?,
            decoder: Decoder::new(),
            writers: HashSet::from([RECORD_FINGERPRINT]),
            tables: HashMap::new(),
            definitions: HashMap::new(),
            loads: HashMap::new(),
            undecoded: HashMap::new(),
            next_offset: 0,
        };
        while schemas.read_on().await? {}
        Ok(schemas)
    }

    /// The table version with this id; reads on for up to ten seconds when it is not known yet.
    ///
    /// # Errors
    /// `Halt` when it does not appear; `Retry` when the log is away.
    pub async fn table(&mut self, id: TableId) -> Result<Arc<TableVersion>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(version) = self.tables.get(&id) {
                return Ok(version.clone());
            }
            self.read_on_until(deadline, &format!("table version {id}")).await?;
        }
    }

    /// The decoder, knowing the writer's schema with this fingerprint: what to call after
    /// [`DecodeError::UnknownSchema`]. Reads on as [`Schemas::table`] does.
    ///
    /// # Errors
    /// As [`Schemas::table`].
    pub async fn writer_schema(&mut self, fingerprint: u64) -> Result<&Decoder, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !self.writers.contains(&fingerprint) {
            let what = format!("writer's schema {fingerprint:016x}");
            self.read_on_until(deadline, &what).await?;
        }
        Ok(&self.decoder)
    }

    /// The decoder as it is now.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The table versions known now.
    pub fn tables(&self) -> impl Iterator<Item = (TableId, &Arc<TableVersion>)> {
        self.tables.iter().map(|(id, version)| (*id, version))
    }

    /// The newest definition of the table version that is known now.
    pub fn definition(&self, id: TableId) -> Option<Arc<Definition>> {
        self.definitions.get(&id).cloned()
    }

    /// The newest load of each table, as known now.
    pub fn loads(&self) -> impl Iterator<Item = &TableLoad> {
        self.loads.values()
    }

    /// As [`Schemas::definition`]; reads on as [`Schemas::table`] does when none is known yet.
    ///
    /// # Errors
    /// As [`Schemas::table`].
    pub async fn await_definition(&mut self, id: TableId) -> Result<Arc<Definition>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(definition) = self.definition(id) {
                return Ok(definition);
            }
            self.read_on_until(deadline, &format!("definition of table version {id}")).await?;
        }
    }

    async fn read_on_until(&mut self, deadline: Instant, what: &str) -> Result<(), Failure> {
        match tokio::time::timeout_at(deadline, self.read_on()).await {
            Ok(read) => read.map(drop),
            Err(_) => Err(Failure::new(
                Code::LogUnknownId,
                format!(
                    "{what} is used in the log but is not in its schemas stream, read up to \
                     offset {} for {} s",
                    self.next_offset,
                    PATIENCE.as_secs()
                ),
            )
            .remedy(
                "the schemas stream lost entries: check that it is compacted and was never emptied",
            )),
        }
    }

    /// One read; `false` when there is nothing more now. Cancel-safe, as the reader is.
    async fn read_on(&mut self) -> Result<bool, Failure> {
        match self.reader.read().await? {
            Batch::Items(items) => {
                for item in items {
                    self.next_offset = item.offset + 1;
                    self.take(item)?;
                }
                self.decode_rest()?;
                Ok(true)
            }
            Batch::CaughtUp { next_offset } => {
                self.next_offset = next_offset;
                Ok(false)
            }
        }
    }

    fn take(&mut self, item: Item) -> Result<(), Failure> {
        match item.key.as_deref().and_then(EntryKey::parse) {
            Some(EntryKey::WriterSchema(_)) => {
                match SchemaEntry::decode(&item.payload, &self.decoder)? {
                    SchemaEntry::WriterSchema { fingerprint, json } => {
                        self.decoder.add(fingerprint, &json)?;
                        self.writers.insert(fingerprint);
                    }
                    _ => return Err(misplaced(&item)),
                }
            }
            Some(key @ (EntryKey::Table(_) | EntryKey::Definition(_) | EntryKey::Load(_))) => {
                self.undecoded.insert(key, item);
            }
            Some(EntryKey::Log | EntryKey::Position) | None => {}
        }
        Ok(())
    }

    fn decode_rest(&mut self) -> Result<(), Failure> {
        for (key, item) in std::mem::take(&mut self.undecoded) {
            match (key, SchemaEntry::decode(&item.payload, &self.decoder)) {
                (EntryKey::Table(id), Ok(SchemaEntry::Table(version))) => {
                    self.tables.insert(id, Arc::new(version));
                }
                (EntryKey::Definition(id), Ok(SchemaEntry::Definition(definition))) => {
                    self.definitions.insert(id, Arc::new(definition));
                }
                (EntryKey::Load(object), Ok(SchemaEntry::Load(load))) => {
                    self.loads.insert(object, load);
                }
                (_, Ok(_)) => return Err(misplaced(&item)),
                (_, Err(DecodeError::UnknownSchema(_))) => {
                    self.undecoded.insert(key, item);
                }
                (_, Err(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// An entry under another kind's key.
fn misplaced(item: &Item) -> Failure {
    Failure::new(
        Code::LogCorruptRecord,
        format!("the schemas entry at offset {} is not what its key says", item.offset),
    )
    .remedy("something else wrote to the log")
}
