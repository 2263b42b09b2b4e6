//! What a writer finds when it takes over: the log's identity, epoch and position.
//!
//! The schemas stream is read first, because it holds the schemas of the writers whose records the
//! transactions stream is then searched for. Both searches come after the fencing of the writer
//! before, so that nothing can be added to what they find.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lockstep_common::Code;
use lockstep_common::codec::Decoder;
use lockstep_common::codec::entry::{self, EntryKey, SchemaEntry};
use lockstep_common::{Failure, TICKS_PER_SECOND};
use uuid::Uuid;

use crate::search::{Newest, Probe, Search};
use crate::{Batch, Bounds, Entry, Reader, Stream, Tail, Writer};

/// What the schemas stream says besides table versions.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) decoder: Decoder,
    log_id: Option<Uuid>,
    position: Option<Bytes>,
    keys: HashSet<Bytes>,
}

impl Kept {
    /// Reads the schemas stream to its end.
    pub(crate) async fn read(schemas: &mut dyn Reader) -> Result<Self, Failure> {
        let mut kept = Kept::default();
        let mut log = None;
        while let Batch::Items(items) = schemas.read().await? {
            for item in items {
                let Some(key) = item.key else { continue };
                match EntryKey::parse(&key) {
                    Some(EntryKey::WriterSchema(_)) => kept.learn(&item.payload)?,
                    Some(EntryKey::Log) => log = Some(item.payload),
                    Some(EntryKey::Position) => kept.position = Some(item.payload),
                    Some(EntryKey::Table(_) | EntryKey::Definition(_) | EntryKey::Load(_))
                    | None => {}
                }
                kept.keys.insert(key);
            }
        }
        if let Some(log) = log
            && let SchemaEntry::Log { log_id, .. } = SchemaEntry::decode(&log, &kept.decoder)?
        {
            kept.log_id = Some(log_id);
        }
        Ok(kept)
    }

    fn learn(&mut self, payload: &[u8]) -> Result<(), Failure> {
        if let SchemaEntry::WriterSchema { fingerprint, json } =
            SchemaEntry::decode(payload, &self.decoder)?
        {
            self.decoder.add(fingerprint, &json)?;
        }
        Ok(())
    }
}

/// The identity that the schemas stream keeps.
pub(crate) async fn kept_identity(schemas: &mut dyn Reader) -> Result<Option<Uuid>, Failure> {
    Ok(Kept::read(schemas).await?.log_id)
}

/// Finds the tail, and writes what the schemas stream of a new log or an older writer lacks.
pub(crate) async fn find(
    writer: &mut dyn Writer,
    schemas: &mut dyn Reader,
    probe: &mut dyn Probe,
    bounds: Bounds,
) -> Result<Tail, Failure> {
    let kept = Kept::read(schemas).await?;
    let newest = Search::new(probe, &kept.decoder).newest(bounds).await?;
    let log_id = identity(&kept, newest.as_ref())?;
    prepare(writer, &kept, newest.is_none().then_some(log_id)).await?;
    Ok(Tail {
        log_id,
        kept_log_id: kept.log_id,
        epoch: newest.as_ref().map_or(0, |n| n.last.header.epoch),
        position: newest.as_ref().map(|n| n.position),
        time: newest.as_ref().map_or(0, |n| n.last.header.time),
        record: newest.and_then(|n| n.record),
        kept_position: kept.position,
    })
}

fn identity(kept: &Kept, newest: Option<&Newest>) -> Result<Uuid, Failure> {
    let found = newest.map(|n| n.last.header.log_id);
    match (found, kept.log_id) {
        (Some(found), Some(kept)) if found != kept => Err(Failure::new(
            Code::LogIdentity,
            format!("the transactions stream belongs to log {found}, the schemas stream to {kept}"),
        )
        .remedy(
            "one of the two has been replaced: bring back the streams that belong together, or \
             remove all of them and load the targets again",
        )),
        (Some(found), _) => Ok(found),
        (None, Some(kept)) => Ok(kept),
        (None, None) => Ok(Uuid::new_v4()),
    }
}

/// Writes the schemas this version writes with, and the identity of a log that has neither records
/// nor one.
async fn prepare(
    writer: &mut dyn Writer,
    kept: &Kept,
    empty_log: Option<Uuid>,
) -> Result<(), Failure> {
    let log = empty_log.filter(|_| kept.log_id.is_none());
    let lacking: Vec<Entry> = log
        .map(|log_id| SchemaEntry::Log { log_id, created: now() })
        .into_iter()
        .chain(entry::writer_schemas())
        .filter(|entry| !kept.keys.contains(entry.key().as_slice()))
        .map(|entry| Entry {
            stream: Stream::Schemas,
            key: Some(entry.key().into()),
            headers: None,
            payload: entry.encode().into(),
        })
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    writer.append(lacking).await?;
    writer.commit().await
}

/// 100 ns since 1970-01-01Z.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos() / (1_000_000_000 / u128::from(TICKS_PER_SECOND.unsigned_abs())))
        .unwrap_or(i64::MAX)
}
