//! Loads of tables as `schemas/load.avsc` lays them out, for serde.
//!
//! Keys are kept inside records of `record.avsc`, a chunk's begin each: so values have one encoding
//! in the whole log, and a reader of another version resolves them as it does records.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{self, DecodeError, Decoder};
use crate::model::load::{ChunkRange, Handoff, TableLoad, TableStage};
use crate::model::record::{Body, ChunkBegin, Record};
use crate::{Position, Value};

#[derive(Serialize, Deserialize)]
#[serde(rename = "TableLoad")]
pub(super) struct Wire {
    load: String,
    reload: bool,
    object_id: i64,
    table: String,
    handoff: HandoffName,
    stage: TableStage,
    next_chunk: u32,
    #[serde(with = "apache_avro::serde::bytes_opt")]
    frontier: Option<Vec<u8>>,
    planned: bool,
    unfinished: Vec<Range>,
    rows: i64,
    bytes: i64,
    from: Option<Position>,
    read_at: Option<String>,
    begins: Option<Position>,
    held: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Range(#[serde(with = "apache_avro::serde::bytes")] Vec<u8>);

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename = "Handoff", rename_all = "UPPERCASE")]
enum HandoffName {
    Bracketed,
    Exact,
}

impl From<&TableLoad> for Wire {
    fn from(load: &TableLoad) -> Self {
        let frontier =
            ChunkRange { chunk: load.next_chunk, lower: None, upper: load.frontier.clone() };
        Wire {
            load: load.load.to_string(),
            reload: load.reload,
            object_id: load.object_id,
            table: load.table.to_string(),
            handoff: match load.handoff {
                Handoff::Bracketed => HandoffName::Bracketed,
                Handoff::Exact => HandoffName::Exact,
            },
            stage: load.stage,
            next_chunk: load.next_chunk,
            frontier: load.frontier.as_ref().map(|_| encode(load, frontier)),
            planned: load.planned,
            unfinished: load
                .unfinished
                .iter()
                .map(|range| Range(encode(load, range.clone())))
                .collect(),
            rows: load.rows.cast_signed(),
            bytes: load.bytes.cast_signed(),
            from: load.from,
            read_at: load.read_at.clone(),
            begins: load.begins,
            held: load.held,
        }
    }
}

impl Wire {
    /// The load; `decoder` knows the schemas its keys were written with.
    pub(super) fn into_load(self, decoder: &Decoder) -> Result<TableLoad, DecodeError> {
        let count = |number: i64| {
            u64::try_from(number).map_err(|_| DecodeError::Corrupt("a count below zero"))
        };
        let frontier = self.frontier.map(|payload| decode(&payload, decoder)).transpose()?;
        Ok(TableLoad {
            load: super::wire::log_id(&self.load)?,
            reload: self.reload,
            object_id: self.object_id,
            table: super::wire::table_id(&self.table)?,
            handoff: match self.handoff {
                HandoffName::Bracketed => Handoff::Bracketed,
                HandoffName::Exact => Handoff::Exact,
            },
            stage: self.stage,
            next_chunk: self.next_chunk,
            frontier: frontier.and_then(|range| range.upper),
            planned: self.planned,
            unfinished: self
                .unfinished
                .iter()
                .map(|range| decode(&range.0, decoder))
                .collect::<Result<_, _>>()?,
            rows: count(self.rows)?,
            bytes: count(self.bytes)?,
            from: self.from,
            read_at: self.read_at,
            begins: self.begins,
            held: self.held,
        })
    }
}

fn encode(load: &TableLoad, range: ChunkRange) -> Vec<u8> {
    let record = Record {
        log_id: Uuid::nil(),
        epoch: 0,
        position: Position::default(),
        after: Position::default(),
        time: 0,
        skippable: false,
        attributes: Default::default(),
        body: Body::ChunkBegin(ChunkBegin {
            load: load.load,
            chunk: range.chunk,
            table: load.table,
            lower: range.lower,
            upper: range.upper,
        }),
    };
    let mut out = Vec::with_capacity(128);
    codec::encode(&record, &mut out);
    out
}

fn decode(payload: &[u8], decoder: &Decoder) -> Result<ChunkRange, DecodeError> {
    match decoder.decode(payload)?.body {
        Body::ChunkBegin(begin) => {
            let own = |key: Option<Vec<Value<'_>>>| {
                key.map(|key| key.into_iter().map(Value::into_owned).collect())
            };
            Ok(ChunkRange { chunk: begin.chunk, lower: own(begin.lower), upper: own(begin.upper) })
        }
        _ => Err(DecodeError::Corrupt("a range that is no begin of a chunk")),
    }
}
