//! Full loads as capture and apply speak of them: markers in the transactions stream, attributes of
//! the chunk brackets, and what the schemas stream keeps of each table's load.
//!
//! The order in `<p>.transactions` of a load is
//!
//! ```text
//! Begin   every table of it, with its handoff
//!   chunk_begin … chunk_end      for each chunk, of several tables and chunks at once
//!   TableRead                    after a table's last chunk_end: how many chunks there are
//! End     all tables are read and `consistent` is reached
//! ```
//!
//! All of these repeat the position before them. None of them stands inside a transaction.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{Position, TableId};

/// How a table's rows and its stream are fitted together.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Handoff {
    /// Chunks are read beside the stream, each between two brackets in it. The target converges
    /// until `consistent`.
    #[default]
    Bracketed,
    /// All rows are of one frozen position; the stream applies to the table from there.
    Exact,
}

/// A load's place in the transactions stream: a [`Body::Marker`](crate::model::record::Body::Marker) with
/// this name and these attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadMarker {
    /// A load begins.
    Begin {
        /// The load's identity, random.
        load: Uuid,
        /// A table is loaded again while the pipeline runs: what the target has of it goes first.
        reload: bool,
        /// Its tables.
        tables: Vec<(TableId, Handoff)>,
    },
    /// All chunks of a table have ended.
    TableRead {
        /// The load.
        load: Uuid,
        /// The table.
        table: TableId,
        /// Its chunks are numbered below this; each has ended.
        chunks: u32,
        /// Rows in all of them.
        rows: u64,
    },
    /// From `consistent` on, which the stream has reached, the target equals the source.
    End {
        /// The load.
        load: Uuid,
        /// The position.
        consistent: Position,
    },
    /// The task ends here as configured; nothing follows unless capture is started again.
    TaskEnd,
}

const BEGIN: &str = "lockstep.load.begin";
const TABLE_READ: &str = "lockstep.load.table_read";
const END: &str = "lockstep.load.end";
const TASK_END: &str = "lockstep.task.end";

/// A marker of a load that does not say what it must.
#[derive(Debug, thiserror::Error)]
#[error("marker `{name}` has no valid attribute `{attribute}`")]
pub struct MarkerError {
    name: String,
    attribute: &'static str,
}

impl LoadMarker {
    /// The marker's name and attributes.
    pub fn to_marker(&self) -> (String, BTreeMap<String, String>) {
        let mut attributes = BTreeMap::new();
        let mut set = |key: &str, value: String| drop(attributes.insert(key.to_owned(), value));
        let name = match self {
            LoadMarker::Begin { load, reload, tables } => {
                set("load", load.to_string());
                set("reload", reload.to_string());
                let tables: Vec<String> = tables
                    .iter()
                    .map(|(table, handoff)| format!("{table}:{}", handoff.as_str()))
                    .collect();
                set("tables", tables.join(","));
                BEGIN
            }
            LoadMarker::TableRead { load, table, chunks, rows } => {
                set("load", load.to_string());
                set("table", table.to_string());
                set("chunks", chunks.to_string());
                set("rows", rows.to_string());
                TABLE_READ
            }
            LoadMarker::End { load, consistent } => {
                set("load", load.to_string());
                set("consistent", consistent.to_string());
                END
            }
            LoadMarker::TaskEnd => TASK_END,
        };
        (name.to_owned(), attributes)
    }

    /// Reads a marker; none when it is not one of a load.
    ///
    /// # Errors
    /// A marker of a load without what it must say.
    pub fn parse(
        name: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, MarkerError> {
        let attributes = Attributes { name, attributes };
        Ok(Some(match name {
            BEGIN => LoadMarker::Begin {
                load: attributes.get("load")?,
                reload: attributes.get("reload")?,
                tables: attributes.tables()?,
            },
            TABLE_READ => LoadMarker::TableRead {
                load: attributes.get("load")?,
                table: parse_table(attributes.text("table")?).ok_or(attributes.error("table"))?,
                chunks: attributes.get("chunks")?,
                rows: attributes.get("rows")?,
            },
            END => LoadMarker::End {
                load: attributes.get("load")?,
                consistent: attributes.get("consistent")?,
            },
            TASK_END => LoadMarker::TaskEnd,
            _ => return Ok(None),
        }))
    }
}

struct Attributes<'a> {
    name: &'a str,
    attributes: &'a BTreeMap<String, String>,
}

impl<'a> Attributes<'a> {
    fn error(&self, attribute: &'static str) -> MarkerError {
        MarkerError { name: self.name.to_owned(), attribute }
    }

    fn text(&self, attribute: &'static str) -> Result<&'a str, MarkerError> {
        self.attributes.get(attribute).map(String::as_str).ok_or(self.error(attribute))
    }

    fn get<T: std::str::FromStr>(&self, attribute: &'static str) -> Result<T, MarkerError> {
        self.text(attribute)?.parse().map_err(|_| self.error(attribute))
    }

    fn tables(&self) -> Result<Vec<(TableId, Handoff)>, MarkerError> {
        let parse = |item: &str| {
            let (table, handoff) = item.split_once(':')?;
            Some((parse_table(table)?, Handoff::parse(handoff)?))
        };
        let text = self.text("tables")?;
        text.split(',')
            .filter(|item| !item.is_empty())
            .map(|item| parse(item).ok_or(self.error("tables")))
            .collect()
    }
}

fn parse_table(text: &str) -> Option<TableId> {
    u64::from_str_radix(text, 16).ok().map(TableId)
}

impl Handoff {
    /// Its name in the configuration and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Handoff::Bracketed => "bracketed",
            Handoff::Exact => "exact",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Handoff::Bracketed, Handoff::Exact].into_iter().find(|handoff| handoff.as_str() == text)
    }
}

/// What a chunk's two brackets say beside their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkAttributes {
    /// Under the exact handoff: the position that the rows are of. The stream's changes to the table
    /// at or below it are in the rows already.
    pub from: Option<Position>,
    /// Under the exact handoff, in the first bracket of an attempt at the table: what an attempt
    /// before it left in the target goes.
    pub restart: bool,
}

impl ChunkAttributes {
    /// As a record's attributes.
    pub fn to_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::new();
        if let Some(from) = self.from {
            attributes.insert("from".to_owned(), from.to_string());
        }
        if self.restart {
            attributes.insert("restart".to_owned(), "true".to_owned());
        }
        attributes
    }

    /// Reads a record's attributes.
    ///
    /// # Errors
    /// A `from` that is no position.
    pub fn parse(attributes: &BTreeMap<String, String>) -> Result<Self, MarkerError> {
        let reader = Attributes { name: "chunk", attributes };
        let from = match attributes.get("from") {
            None => None,
            Some(_) => Some(reader.get("from")?),
        };
        Ok(ChunkAttributes { from, restart: attributes.contains_key("restart") })
    }
}

/// Where a table's load stands, for capture: the newest entry of the key `load:<object id>` in the
/// schemas stream, written in the log transaction of the record that brought it there.
#[derive(Clone, Debug, PartialEq)]
pub struct TableLoad {
    /// The load.
    pub load: Uuid,
    /// It is a load of this table again, beside a running pipeline.
    pub reload: bool,
    /// The source's identity of the table.
    pub object_id: i64,
    /// The table version that is loaded.
    pub table: TableId,
    /// How.
    pub handoff: Handoff,
    /// How far.
    pub stage: TableStage,
    /// Number of the next new chunk.
    pub next_chunk: u32,
    /// Everything at or below this key belongs to a chunk that has begun; none is nothing yet.
    pub frontier: Option<Vec<crate::Value<'static>>>,
    /// The last chunk, which is open above, has begun.
    pub planned: bool,
    /// Chunks that have begun and not ended.
    pub unfinished: Vec<ChunkRange>,
    /// Rows of the chunks that have ended.
    pub rows: u64,
    /// Bytes of them in the log.
    pub bytes: u64,
    /// Under the exact handoff: the position the rows are of.
    pub from: Option<Position>,
    /// The source's clock after the last chunk was read, in the source's own words.
    pub read_at: Option<String>,
    /// Where the table's changes begin to be captured, if that lies after the load's begin.
    pub begins: Option<Position>,
    /// The log does not have all of the table's changes: nothing of it is written before another load
    /// of it begins.
    pub held: bool,
}

/// How far a table's load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TableStage {
    /// It has not begun.
    #[default]
    Waiting,
    /// Chunks are being read.
    Reading,
    /// Every chunk has ended.
    Read,
    /// `consistent` is in the log.
    Done,
}

/// A chunk of a table: the rows with a key above `lower` and not above `upper`, in the source's order
/// of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkRange {
    /// Its number within the table's load.
    pub chunk: u32,
    /// None is open.
    pub lower: Option<Vec<crate::Value<'static>>>,
    /// None is open.
    pub upper: Option<Vec<crate::Value<'static>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_as_they_are_written() {
        let load = Uuid::from_u128(7);
        let position = Position::new(1, &[1, 2, 3]).expect("short");
        let tables = vec![(TableId(1), Handoff::Bracketed), (TableId(u64::MAX), Handoff::Exact)];
        for marker in [
            LoadMarker::Begin { load, reload: true, tables },
            LoadMarker::Begin { load, reload: false, tables: Vec::new() },
            LoadMarker::TableRead { load, table: TableId(0xabc), chunks: 3, rows: 9 },
            LoadMarker::End { load, consistent: position },
            LoadMarker::TaskEnd,
        ] {
            let (name, attributes) = marker.to_marker();
            assert_eq!(LoadMarker::parse(&name, &attributes).unwrap(), Some(marker));
        }
        assert_eq!(LoadMarker::parse("validate", &BTreeMap::new()).unwrap(), None);
        assert!(LoadMarker::parse(END, &BTreeMap::new()).is_err());
    }

    #[test]
    fn attributes_of_chunks_are_read_as_they_are_written() {
        let from = Position::new(1, &[9; 10]);
        for attributes in [
            ChunkAttributes::default(),
            ChunkAttributes { from, restart: false },
            ChunkAttributes { from, restart: true },
        ] {
            assert_eq!(ChunkAttributes::parse(&attributes.to_attributes()).unwrap(), attributes);
        }
        let wrong = BTreeMap::from([("from".to_owned(), "nowhere".to_owned())]);
        assert!(ChunkAttributes::parse(&wrong).is_err());
    }
}
