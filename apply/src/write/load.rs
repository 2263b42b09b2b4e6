//! Records of full loads, as units of the stream: `destination::postgres::load` argues why they come out
//! right. What is seen to here is the order of things:
//!
//! - nothing is in flight when a record is written down, so that everything before it is committed;
//! - rows of a chunk are on their way only once its end is committed;
//! - a transaction that names a table, the table's `TableRead`, and a load's end wait until the chunks
//!   of it that have ended are in the target. A transaction waits before its first statement: it holds
//!   no lock that a loader could wait for.

use lockstep_common::Code;
use lockstep_common::codec::{self, FragmentReader};
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::model::record::{Body as RecordBody, ChunkBegin, ChunkEnd};
use lockstep_common::{Failure, TableId};
use uuid::Uuid;

use super::{Stopped, Writer};
use crate::content::damaged;
use crate::destination::{Described, Session};
use crate::feed::unreadable;
use crate::unit::{Body, Mark, Unit, UnitKind};

/// What a record of a load says.
enum Record {
    ChunkBegin(ChunkBegin, ChunkAttributes),
    ChunkEnd(ChunkEnd),
    Marker(LoadMarker),
}

impl Record {
    /// The load it belongs to; none for the end of the task.
    fn load(&self) -> Option<Uuid> {
        match self {
            Record::ChunkBegin(ChunkBegin { load, .. }, _)
            | Record::ChunkEnd(ChunkEnd { load, .. })
            | Record::Marker(
                LoadMarker::Begin { load, .. }
                | LoadMarker::TableRead { load, .. }
                | LoadMarker::End { load, .. },
            ) => Some(*load),
            Record::Marker(LoadMarker::TaskEnd) => None,
        }
    }

    /// The table it is about, when it is about one.
    fn table(&self) -> Option<TableId> {
        match self {
            Record::ChunkBegin(ChunkBegin { table, .. }, _)
            | Record::ChunkEnd(ChunkEnd { table, .. })
            | Record::Marker(LoadMarker::TableRead { table, .. }) => Some(*table),
            Record::Marker(_) => None,
        }
    }
}

impl<S: Session> Writer<'_, S> {
    /// Goes on with loads that sessions before this one began.
    pub(super) async fn resume_loads(&mut self, at: Option<&Mark>) -> Result<(), Failure> {
        for (load, id, handoff) in self.session.unfinished() {
            let described = self.describe(id, handoff).await?;
            self.session.resume(load, described).await?;
        }
        self.describe_unmade().await?;
        self.session.resumed(at);
        self.context.progress.held(self.session.held().await?);
        self.context.progress.load(self.session.load_status());
        Ok(())
    }

    /// Tells the session what the log says of tables whose objects are to be made again.
    async fn describe_unmade(&mut self) -> Result<(), Failure> {
        let ids = self.session.unmade().await?;
        if ids.is_empty() {
            return Ok(());
        }
        let schemas = self.context.schemas.get().await?;
        let mut known = Vec::with_capacity(ids.len());
        for id in ids {
            let version = schemas.table(id).await?;
            match schemas.definition(id) {
                Some(definition) => known.push((id, version, definition)),
                None => tracing::warn!(
                    table = %version.name,
                    "its indexes and foreign keys are not made again: the log does not have them"
                ),
            }
        }
        self.session.know_unmade(known);
        Ok(())
    }

    pub(super) async fn describe(
        &mut self,
        id: TableId,
        handoff: Handoff,
    ) -> Result<Described, Failure> {
        let schemas = self.context.schemas.get().await?;
        let version = schemas.table(id).await?;
        let definition = schemas.await_definition(id).await?;
        self.context.progress.name(id, &version.name.to_string());
        Ok(Described { id, handoff, version, definition })
    }

    /// An orderly end: what is being made stops at its next step.
    pub(super) async fn end_loads(&mut self) -> Result<(), Failure> {
        self.session.stop_finishing().await;
        self.session.set_sequences().await
    }

    /// Whether the log's task has ended, and nothing is left to do.
    pub(super) fn has_ended_task(&self) -> bool {
        self.task_ended && self.context.buffer.is_at_end() && !self.session.is_finishing()
    }

    /// Accounts for what loaders have done.
    pub(super) fn take_chunks(&mut self) -> Result<(), Failure> {
        if self.session.take_chunks()? {
            self.context.progress.load(self.session.load_status());
        }
        Ok(())
    }

    /// Accounts for what has been made after a load.
    pub(super) async fn take_finished(&mut self) -> Result<(), Failure> {
        if let Some(notices) = self.session.take_finished().await? {
            notices.iter().for_each(|notice| self.context.progress.notice(notice));
            self.context.progress.load(self.session.load_status());
        }
        Ok(())
    }

    // --- Waiting --------------------------------------------------------------------------------

    /// Waits until every commit in flight is confirmed.
    pub(super) async fn quiesce(&mut self) -> Result<(), Stopped> {
        loop {
            self.settle()?;
            if self.in_flight.is_empty() {
                return Ok(());
            }
            // Behind what has just been confirmed the next may commit.
            self.flush().await?;
            self.session.changed().await?;
        }
    }

    /// Waits until no chunk of these tables is on its way; `false` at shutdown.
    async fn await_chunks(&mut self, of: impl Fn(TableId) -> bool) -> Result<bool, Stopped> {
        while self.session.is_pending(&of) {
            if self.shutdown.is_cancelled() {
                return Ok(false);
            }
            self.settle()?;
            self.flush().await?;
            if self.session.is_pending(&of) {
                tokio::select! {
                    changed = self.session.changed() => changed?,
                    () = self.shutdown.cancelled() => {}
                }
            }
        }
        Ok(true)
    }

    /// Waits until no chunk of a table that the transaction names is on its way; `false` at shutdown.
    pub(super) async fn await_chunks_of(&mut self, unit: &Unit) -> Result<bool, Stopped> {
        if !self.session.awaits_chunks() {
            return Ok(true);
        }
        let tables = match &unit.body {
            Body::Memory(fragments) => Some(tables_of(unit, fragments.last())?),
            // Too large to be looked at twice.
            Body::Spooled | Body::Progress => None,
        };
        self.await_chunks(|id| tables.as_ref().is_none_or(|tables| tables.contains(&id))).await
    }

    // --- Records --------------------------------------------------------------------------------

    pub(super) async fn write_load(&mut self, unit: &Unit) -> Result<(), Stopped> {
        match self.load(unit).await {
            Err(Stopped::Failure(failure)) => Err(self.abandon(failure.into()).await),
            result => result,
        }
    }

    async fn load(&mut self, unit: &Unit) -> Result<(), Stopped> {
        let record = self.record(unit)?;
        let Some(load) = record.load() else {
            self.write_plain(unit).await?;
            self.task_ended = true;
            return Ok(());
        };
        let begins = matches!(record, Record::Marker(LoadMarker::Begin { .. }));
        match (begins, self.session.follows(load)) {
            (true, true) => {
                let what = "it begins a load that has begun";
                return Err(unreadable(unit.first_offset, &what).into());
            }
            (false, false) => {
                self.pass_over(load)?;
                return self.write_plain(unit).await;
            }
            (true, false) | (false, true) => {}
        }
        if record.table().is_some_and(|table| !self.session.loads_table(load, table)) {
            // A younger load has the table.
            return self.write_plain(unit).await;
        }
        if !self.await_before(&record).await? {
            return Ok(());
        }
        self.quiesce().await?;
        self.enter(&unit.mark, record).await?;
        self.loaded(unit)
    }

    /// Waits for what has to be in the target before a record is written; `false` at shutdown.
    async fn await_before(&mut self, record: &Record) -> Result<bool, Stopped> {
        match record {
            Record::ChunkEnd(_) => Ok(true),
            Record::ChunkBegin(_, attributes) if !attributes.restart => Ok(true),
            record => {
                let table = record.table();
                self.await_chunks(|id| table.is_none_or(|table| table == id)).await
            }
        }
    }

    /// Writes a record down, with the checkpoint.
    async fn enter(&mut self, mark: &Mark, record: Record) -> Result<(), Failure> {
        match record {
            Record::Marker(LoadMarker::Begin { load, reload, tables }) => {
                let mut described = Vec::with_capacity(tables.len());
                for (id, handoff) in tables {
                    described.push(self.describe(id, handoff).await?);
                }
                let notices = self.session.begin_load(mark, load, reload, &described).await?;
                notices.iter().for_each(|notice| self.context.progress.notice(notice));
                self.context.progress.held(self.session.held().await?);
                Ok(())
            }
            Record::ChunkBegin(begin, attributes) => {
                let ChunkBegin { load, chunk, table, .. } = begin;
                let ChunkAttributes { from, restart } = attributes;
                self.session.open_chunk(mark, load, table, chunk, from, restart).await
            }
            Record::ChunkEnd(end) => self.session.end_chunk(mark, &end).await,
            Record::Marker(LoadMarker::TableRead { load, table, chunks, rows }) => {
                self.session.table_read(mark, load, table, chunks, rows).await
            }
            Record::Marker(LoadMarker::End { load, consistent }) => {
                self.describe_unmade().await?;
                self.session.end_load(mark, load, consistent).await
            }
            Record::Marker(LoadMarker::TaskEnd) => Ok(()),
        }
    }

    /// Accounts for a record that is written down: its commit is on the target's disk, and with it
    /// everything before it.
    fn loaded(&mut self, unit: &Unit) -> Result<(), Stopped> {
        let mark = unit.mark;
        (self.reached, self.current) = (Some(mark.position), None);
        self.task_ended = false;
        self.context.progress.committed(mark, &[], 0);
        self.trim(Some(mark))?;
        self.context.progress.load(self.session.load_status());
        self.context.progress.publish(true, self.context.buffer.levels());
        Ok(())
    }

    /// A load whose beginning this target has not seen.
    fn pass_over(&self, load: Uuid) -> Result<(), Failure> {
        if self.session.knows_load(load) {
            return Ok(());
        }
        if self.earliest {
            return Err(Failure::new(
                Code::ApplyLoadGap,
                format!("the log has lost the beginning of the full load {load}"),
            )
            .remedy(
                "restore the log's missing records, load anew (a new log, or `lockstep reload` for \
                 each table), or reset the target and choose a start point whose rows it has",
            ));
        }
        self.context.progress.notice(&format!(
            "the full load {load} began before this target's start point: it is passed over"
        ));
        Ok(())
    }

    fn record(&self, unit: &Unit) -> Result<Record, Failure> {
        debug_assert_eq!(unit.kind, UnitKind::Load);
        let offset = unit.first_offset;
        let payload = match &unit.body {
            Body::Memory(records) => records.first().cloned(),
            Body::Spooled => {
                let records = self.context.buffer.records(offset..unit.mark.next_offset)?;
                records.into_iter().next().map(|(_, payload)| payload)
            }
            Body::Progress => None,
        };
        let payload = payload.ok_or_else(|| unreadable(offset, &"it is empty"))?;
        let record = codec::decode(&payload)?;
        match record.body {
            RecordBody::ChunkBegin(begin) => {
                let attributes = ChunkAttributes::parse(&record.attributes)
                    .map_err(|error| unreadable(offset, &error))?;
                Ok(Record::ChunkBegin(begin, attributes))
            }
            RecordBody::ChunkEnd(end) => Ok(Record::ChunkEnd(end)),
            RecordBody::Marker { name } => match LoadMarker::parse(&name, &record.attributes) {
                Ok(Some(marker)) => Ok(Record::Marker(marker)),
                Ok(None) => Err(unreadable(offset, &"its name is not one of a load")),
                Err(error) => Err(unreadable(offset, &error)),
            },
            _ => Err(unreadable(offset, &"it is of another kind")),
        }
    }
}

/// The tables that a transaction names, from the totals of its last fragment.
fn tables_of(unit: &Unit, last: Option<&bytes::Bytes>) -> Result<Vec<TableId>, Failure> {
    let reader = last.map(|payload| FragmentReader::new(payload)).transpose()?.flatten();
    let position = unit.mark.position;
    let mut reader = reader.ok_or_else(|| damaged(position, "a record of it is no fragment"))?;
    let mut tables = Vec::new();
    while let Some(total) = reader.total()? {
        tables.push(total.table);
    }
    Ok(tables)
}
