//! Where capture goes on: the log itself says.
//!
//! Opening the writer fences whoever wrote before and gives the [`Tail`]: the newest complete
//! position, with the record that gave it. A log without one is new, or it was emptied; the kept
//! position in the schemas stream tells which. A new log of the task `cdc` begins where
//! `capture.start` says, by default with the earliest change the source has; one that is to be loaded
//! begins now. An emptied log is refused: readers of it have lost records that only an operator can
//! account for. It is accepted only with a start position at or below the kept one, because then
//! every record that is gone comes again; but those of a load that had begun would not.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::codec::entry::{KeptPosition, SchemaEntry};
use lockstep_common::codec::{Decoder, Kind};
use lockstep_common::config::Task;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::{TableLoad, TableStage};
use lockstep_common::model::record::Body;
use lockstep_common::{Failure, TableId, TableVersion};
use lockstep_log::{Log, Schemas, Tail, Writer};
use uuid::Uuid;

use crate::source::{CommitFingerprint, Cursor, Start};
use crate::task;

/// What was found.
pub struct Recovered {
    /// The log's writer, the only one.
    pub writer: Box<dyn Writer>,
    /// Identity of the log.
    pub log_id: Uuid,
    /// The epoch to write with.
    pub epoch: u64,
    /// No record may have a time below this.
    pub time: i64,
    /// Where to go on.
    pub from: From,
    /// The table versions that the log has.
    pub known: Vec<(TableId, TableVersion)>,
    /// What the log has of tables beside their shapes.
    pub definitions: HashMap<TableId, Arc<Definition>>,
    /// The newest load of each table.
    pub loads: Vec<TableLoad>,
}

/// Where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// After this, where the log ends.
    Cursor(Cursor),
    /// Anew, from here.
    Start(Start),
}

/// Opens the log and finds its end.
///
/// # Errors
/// As [`Log::writer`]; `Halt` for an emptied log, and for a start that the task does not have.
pub async fn recover(log: &dyn Log, task: Task, start: Option<&str>) -> Result<Recovered, Failure> {
    let start = task::parse_start(start)?;
    let (writer, tail) = log.writer().await?;
    let schemas = Schemas::open(log).await?;
    let kept = kept(&tail, schemas.decoder())?;
    let from = from(&tail, kept.as_ref(), schemas.decoder(), task, start)?;
    // Versions of a new log stand for nothing yet: only its first records make them count.
    let new = matches!(from, From::Start(_)) && kept.is_none();
    let tables = schemas.tables().filter(|_| !new);
    let known: Vec<_> = tables.map(|(id, version)| (id, TableVersion::clone(version))).collect();
    let loads: Vec<_> = schemas.loads().filter(|_| !new).cloned().collect();
    if let From::Start(_) = from
        && loads.iter().any(|load| load.stage != TableStage::Done)
    {
        return Err(emptied_within_a_load());
    }
    let definitions =
        known.iter().filter_map(|(id, _)| Some((*id, schemas.definition(*id)?))).collect();
    let (epoch, time) = kept.as_ref().map_or((0, 0), |kept| (kept.epoch, kept.time));
    Ok(Recovered {
        writer,
        log_id: tail.log_id,
        epoch: tail.epoch.max(epoch) + 1,
        time: tail.time.max(time),
        from,
        known,
        definitions,
        loads,
    })
}

fn kept(tail: &Tail, decoder: &Decoder) -> Result<Option<KeptPosition>, Failure> {
    let Some(payload) = &tail.kept_position else { return Ok(None) };
    match SchemaEntry::decode(payload, decoder)? {
        SchemaEntry::Position(kept) => Ok(Some(kept)),
        _ => Err(Failure::new(
            Code::LogCorruptRecord,
            "the schemas stream's entry `position` is something else",
        )
        .remedy("something else wrote to the log, or its storage is damaged")),
    }
}

fn from(
    tail: &Tail,
    kept: Option<&KeptPosition>,
    decoder: &Decoder,
    task: Task,
    start: Option<Start>,
) -> Result<From, Failure> {
    match (tail.position, kept) {
        (Some(position), kept) => {
            let fingerprint = match &tail.record {
                Some(record) => fingerprint(record, decoder)?,
                None => kept.filter(|kept| kept.position == position).and_then(kept_fingerprint),
            };
            Ok(From::Cursor(Cursor { position, fingerprint }))
        }
        (None, None) => Ok(From::Start(task::first_start(task, start)?)),
        (None, Some(kept)) => match start {
            Some(Start::After(position)) if position <= kept.position => {
                Ok(From::Start(Start::After(position)))
            }
            _ => Err(emptied(kept)),
        },
    }
}

fn emptied(kept: &KeptPosition) -> Failure {
    Failure::new(
        Code::LogEmptied,
        format!("the log has no records but once ended at {}: it was emptied", kept.position),
    )
    .remedy(format!(
        "if every target is at or past that position, or can be loaded anew, set capture.start \
             to {} (or a lower position that the source still has)",
        kept.position
    ))
}

fn emptied_within_a_load() -> Failure {
    Failure::new(
        Code::LogEmptied,
        "the log has no records, and a full load had begun in it that has not ended",
    )
    .remedy("begin a new pipeline (new log), which loads the tables anew")
}

/// What the record at the log's end says of the source's transaction there.
fn fingerprint(record: &[u8], decoder: &Decoder) -> Result<Option<CommitFingerprint>, Failure> {
    let kind = decoder.header(record)?.kind;
    let (transaction_id, source_time) = match (kind, decoder.decode(record)?.body) {
        (Kind::Progress, Body::Progress(progress)) => {
            (progress.transaction_id, progress.source_time)
        }
        (_, Body::Fragment(fragment)) => (fragment.transaction_id, fragment.source_time),
        _ => (None, None),
    };
    Ok(source_time.map(|source_time| CommitFingerprint { transaction_id, source_time }))
}

fn kept_fingerprint(kept: &KeptPosition) -> Option<CommitFingerprint> {
    let source_time = kept.source_time.clone()?;
    Some(CommitFingerprint { transaction_id: kept.transaction_id.clone(), source_time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use lockstep_common::Position;
    use lockstep_common::codec;
    use lockstep_common::model::record::{Progress, Record, SourceTime};
    use std::collections::BTreeMap;

    fn position(n: u8) -> Position {
        Position::new(1, &[n; 10]).unwrap()
    }

    fn source_time() -> SourceTime {
        SourceTime { raw: "2026-11-23 10:00:00.003".to_owned(), offset: 60 }
    }

    fn tail(at: Option<u8>, record: Option<Bytes>) -> Tail {
        Tail {
            log_id: Uuid::nil(),
            kept_log_id: Some(Uuid::nil()),
            epoch: 3,
            position: at.map(position),
            time: 5,
            record,
            kept_position: None,
        }
    }

    fn kept_at(n: u8) -> KeptPosition {
        KeptPosition {
            log_id: Uuid::nil(),
            epoch: 3,
            position: position(n),
            time: 5,
            transaction_id: Some(vec![n]),
            source_time: Some(source_time()),
        }
    }

    fn progress(n: u8) -> Bytes {
        let mut out = Vec::new();
        let body = Body::Progress(Progress {
            transaction_id: Some(vec![n]),
            source_time: Some(source_time()),
        });
        let record = Record {
            log_id: Uuid::nil(),
            epoch: 3,
            position: position(n),
            after: position(n),
            time: 5,
            skippable: false,
            attributes: BTreeMap::new(),
            body,
        };
        codec::encode(&record, &mut out);
        out.into()
    }

    fn expect(tail: &Tail, kept: Option<&KeptPosition>, start: Option<Start>) -> Option<From> {
        from(tail, kept, &Decoder::new(), Task::Cdc, start).ok()
    }

    fn cursor(n: u8) -> From {
        let fingerprint =
            CommitFingerprint { transaction_id: Some(vec![n]), source_time: source_time() };
        From::Cursor(Cursor { position: position(n), fingerprint: Some(fingerprint) })
    }

    #[test]
    fn the_newest_record_gives_the_cursor_and_its_fingerprint() {
        let with_record = tail(Some(7), Some(progress(7)));
        assert_eq!(expect(&with_record, None, Some(Start::Now)), Some(cursor(7)));
        // The record itself is gone, but the kept position is of the same place.
        assert_eq!(expect(&tail(Some(7), None), Some(&kept_at(7)), None), Some(cursor(7)));
        let no_fingerprint = From::Cursor(Cursor { position: position(8), fingerprint: None });
        assert_eq!(expect(&tail(Some(8), None), Some(&kept_at(7)), None), Some(no_fingerprint));
    }

    #[test]
    fn a_new_log_begins_where_it_is_told_and_an_emptied_one_does_not_begin() {
        let new = tail(None, None);
        assert_eq!(expect(&new, None, None), Some(From::Start(Start::Earliest)));
        assert_eq!(expect(&new, None, Some(Start::Now)), Some(From::Start(Start::Now)));
        for start in [None, Some(Start::Now), Some(Start::Earliest)] {
            assert_eq!(expect(&new, Some(&kept_at(7)), start), None);
        }
        let later = Some(Start::After(position(8)));
        assert_eq!(expect(&new, Some(&kept_at(7)), later), None);
        let same = Some(Start::After(position(7)));
        assert_eq!(expect(&new, Some(&kept_at(7)), same), same.map(From::Start));
    }
}
