//! Full loads, which the destination in memory does not take.

use std::sync::Arc;

use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::Handoff;
use lockstep_common::model::record::ChunkEnd;
use lockstep_common::service::status::LoadStatus;
use lockstep_common::{Code, Failure, Position, TableId, TableVersion};
use uuid::Uuid;

use super::session::MemorySession;
use crate::destination::{Described, Loading};
use crate::unit::Mark;

/// There are none: one that begins is refused.
impl Loading for MemorySession {
    fn unfinished(&self) -> Vec<(Uuid, TableId, Handoff)> {
        Vec::new()
    }

    async fn resume(&mut self, _load: Uuid, _described: Described) -> Result<(), Failure> {
        Err(no_loads())
    }

    fn holds(&self) -> bool {
        false
    }

    async fn give_up_for_later(&mut self, _: Uuid, _: Described) -> Result<(), Failure> {
        Err(no_loads())
    }

    fn resumed(&mut self, _mark: Option<&Mark>) {}

    fn follows(&self, _load: Uuid) -> bool {
        false
    }

    fn knows_load(&self, _load: Uuid) -> bool {
        false
    }

    fn loads_table(&self, _load: Uuid, _table: TableId) -> bool {
        false
    }

    fn awaits_chunks(&self) -> bool {
        false
    }

    fn is_pending(&self, _of: impl Fn(TableId) -> bool) -> bool {
        false
    }

    fn load_status(&self) -> Option<LoadStatus> {
        None
    }

    async fn begin_load(
        &mut self,
        _mark: &Mark,
        _load: Uuid,
        _reload: bool,
        _described: &[Described],
    ) -> Result<Vec<String>, Failure> {
        Err(no_loads())
    }

    async fn open_chunk(
        &mut self,
        _mark: &Mark,
        _load: Uuid,
        _table: TableId,
        _chunk: u32,
        _from: Option<Position>,
        _restart: bool,
    ) -> Result<(), Failure> {
        Err(no_loads())
    }

    async fn end_chunk(&mut self, _mark: &Mark, _end: &ChunkEnd) -> Result<(), Failure> {
        Err(no_loads())
    }

    fn take_chunks(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn table_read(
        &mut self,
        _mark: &Mark,
        _load: Uuid,
        _table: TableId,
        _chunks: u32,
        _rows: u64,
    ) -> Result<(), Failure> {
        Err(no_loads())
    }

    async fn end_load(
        &mut self,
        _mark: &Mark,
        _load: Uuid,
        _consistent: Position,
    ) -> Result<(), Failure> {
        Err(no_loads())
    }

    async fn stop_finishing(&mut self) {}

    fn is_finishing(&self) -> bool {
        false
    }

    async fn take_finished(&mut self) -> Result<Option<Vec<String>>, Failure> {
        Ok(None)
    }

    async fn unmade(&self) -> Result<Vec<TableId>, Failure> {
        Ok(Vec::new())
    }

    fn know_unmade(&mut self, _tables: Vec<(TableId, Arc<TableVersion>, Arc<Definition>)>) {}

    async fn set_sequences(&self) -> Result<(), Failure> {
        Ok(())
    }
}

fn no_loads() -> Failure {
    Failure::new(Code::ApplyPrepare, "the destination in memory takes no full loads")
        .remedy("use a cluster for this test")
}
