//! Records of full loads.
//!
//! Those of the transactions stream stand between transactions and repeat the position the log is
//! at: none may be written while one is open. What the schemas stream keeps of a table's load goes in
//! the same append as the record it goes with. Rows are another stream's; they may go at any time,
//! and mean nothing before their chunk's end.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use lockstep_common::codec::ChunkHead;
use lockstep_common::codec::entry::SchemaEntry;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::{LoadMarker, TableLoad};
use lockstep_common::model::record::Body;
use lockstep_common::{Failure, TableId};
use lockstep_log::{Entry, Stream};
use uuid::Uuid;

use super::{Output, schemas_entry};
use crate::fail_points;

impl Output {
    /// Stores definitions of tables, in a log transaction of their own: the load's begin, which makes
    /// readers look for them, comes later.
    pub async fn publish_definitions(
        &mut self,
        definitions: Vec<Definition>,
    ) -> Result<(), Failure> {
        if definitions.is_empty() {
            return Ok(());
        }
        let entries = definitions.into_iter().map(SchemaEntry::Definition);
        self.writer.append(entries.map(|entry| schemas_entry(&entry)).collect()).await?;
        self.load_appended = None;
        self.writer.commit().await
    }

    /// What the records of an attempt at a chunk have in common.
    pub fn chunk_head(&self, load: Uuid, chunk: u32, table: TableId) -> ChunkHead {
        ChunkHead {
            log_id: self.log_id,
            epoch: self.epoch,
            position: self.end.position,
            after: self.end.position,
            time: self.time,
            load,
            chunk,
            table,
        }
    }

    /// Collects what the schemas stream keeps of each table of a load that begins. It goes ahead of the
    /// begin itself: alone it means nothing in a new log.
    pub fn table_loads<'a>(&mut self, tables: impl IntoIterator<Item = &'a TableLoad>) {
        tables.into_iter().for_each(|table| self.table_load(table));
    }

    /// Collects a marker.
    pub fn load_marker(&mut self, marker: &LoadMarker) {
        let (name, attributes) = marker.to_marker();
        self.load_record(Body::Marker { name }, attributes);
    }

    /// Collects a bracket of a chunk or a marker.
    pub fn load_record(&mut self, body: Body<'_>, attributes: BTreeMap<String, String>) {
        debug_assert!(self.open.is_none(), "nothing of a load stands inside a transaction");
        self.record_with(body, self.end.position, attributes);
    }

    /// Collects where a table's load stands.
    pub fn table_load(&mut self, entry: &TableLoad) {
        let entry = schemas_entry(&SchemaEntry::Load(entry.clone()));
        self.bytes += entry.payload.len();
        self.entries.push(entry);
    }

    /// Hands what is collected to the log as one append: all of it is in one log transaction.
    pub async fn append_load(&mut self) -> Result<(), Failure> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.written += self.bytes as u64;
        self.bytes = 0;
        self.writer.append(std::mem::take(&mut self.entries)).await?;
        self.load_appended.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Hands rows of a chunk to the log.
    pub async fn rows(&mut self, partition: u32, payload: Bytes) -> Result<(), Failure> {
        self.written += payload.len() as u64;
        let stream = Stream::Snapshot(partition);
        self.writer.append(vec![Entry { stream, key: None, headers: None, payload }]).await?;
        self.load_appended.get_or_insert_with(Instant::now);
        Ok(self.fail.hit(fail_points::LOAD_ROWS_APPENDED)?)
    }

    /// The offset of the newest rows handed to a partition.
    pub async fn newest_rows(&mut self, partition: u32) -> Result<Option<u64>, Failure> {
        self.writer.newest(Stream::Snapshot(partition)).await
    }

    /// Since when something of a load waits for a commit.
    pub fn load_appended(&self) -> Option<Instant> {
        self.load_appended
    }

    /// Commits what was handed to the log.
    pub async fn commit_load(&mut self) -> Result<(), Failure> {
        if self.load_appended.take().is_none() {
            return Ok(());
        }
        self.fail.hit(fail_points::LOAD_COMMIT_BEFORE)?;
        self.writer.commit().await?;
        Ok(self.fail.hit(fail_points::LOAD_COMMIT_AFTER)?)
    }

    /// Writes that the task ends here, for good.
    pub async fn task_end(&mut self) -> Result<(), Failure> {
        self.load_marker(&LoadMarker::TaskEnd);
        self.keep();
        self.append_load().await?;
        self.fail.hit(fail_points::TASK_END_APPENDED)?;
        self.commit_load().await
    }
}
