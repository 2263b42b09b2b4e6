//! A session and the loads that run through it.

mod after;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use lockstep_common::Code;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::Handoff;
use lockstep_common::model::record::ChunkEnd;
use lockstep_common::service::status::LoadStatus;
use lockstep_common::{Failure, Position, TableId, TableVersion};
use tokio_postgres::Client;
use uuid::Uuid;

use super::super::catalog::{self, Absent, Prepared};
use super::super::define::{self, Design, LoadTable};
use super::super::encode::Rules;
use super::super::error;
use super::super::held;
use super::super::plan::Naming;
use super::super::relation::Relation;
use super::super::session::{Entry, Session};
use super::super::trust;
use super::book::{Book, Live, Load, Stage, StoredLoad, StoredTable, Table, TableStage};
use super::finishing::Finishing;
use super::loader::{ChunkDone, Loaders};
use super::notes::{self, Notes, Touched};
use super::record::{self, Beginning, ChunkRange, Recorder, disorder};
use super::{ChunkJob, Regime};
use crate::destination::{Described, Loading};
use crate::unit::Mark;

/// What a session knows of loads.
pub(in super::super) struct Loads {
    pub(in super::super) design: Design,
    pub(in super::super) loaders: Loaders,
    /// Sessions before this one left these.
    pub(in super::super) pending: Vec<ChunkRange>,
    book: Book,
    /// Tables, beside those of loads, that lost objects while one was loaded again.
    others: Vec<LoadTable>,
    finishing: Option<Finishing>,
    /// A chunk has come to the target since somebody asked.
    moved: bool,
    /// Touched keys that are held, over all tables.
    touched: Arc<AtomicUsize>,
}

impl Loads {
    pub(in super::super) fn new(
        design: Design,
        loaders: Loaders,
        stored: Vec<StoredLoad>,
        pending: Vec<ChunkRange>,
    ) -> Self {
        let book = Book { loads: stored.into_iter().map(Load::restored).collect() };
        Loads {
            design,
            loaders,
            pending,
            book,
            others: Vec::new(),
            finishing: None,
            moved: false,
            touched: Arc::default(),
        }
    }
}

impl Loads {
    /// The tables of loads that are not done.
    pub(in super::super) fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        let tables = self.book.loads.iter().flat_map(|load| &load.tables);
        tables.filter_map(|table| table.live.as_ref()).map(|live| &live.relation)
    }

    /// Changes what is known of a target table.
    pub(in super::super) fn change_relations(
        &mut self,
        oid: u32,
        change: impl Fn(&Relation) -> Arc<Relation>,
    ) {
        let tables = self.book.loads.iter_mut().flat_map(|load| &mut load.tables);
        let lives = tables.filter_map(|table| table.live.as_mut());
        for live in lives.filter(|live| live.relation.oid == oid) {
            live.relation = change(&live.relation);
        }
    }

    /// Waits until a chunk has come to the target, or what comes after a load is made.
    ///
    /// # Errors
    /// What a chunk came to.
    pub(crate) async fn changed(&mut self) -> Result<(), Failure> {
        let Loads { loaders, finishing, book, moved, .. } = self;
        let made = async {
            match finishing {
                Some(finishing) => finishing.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            done = loaders.changed() => {
                book.chunk_done(&done?);
                *moved = true;
            }
            () = made => {}
        }
        Ok(())
    }

    fn chunk_done(&mut self, done: &ChunkDone) {
        self.book.chunk_done(done);
        self.moved = true;
    }
}

/// A table of a load, as it is defined here.
fn load_table(described: &Described) -> LoadTable {
    LoadTable {
        id: described.id,
        version: Arc::clone(&described.version),
        definition: Some(Arc::clone(&described.definition)),
        handoff: described.handoff,
    }
}

/// Finds a table that is there already, and which of its columns indexes to come will watch.
async fn found(
    cold: &mut Client,
    pipeline: &str,
    naming: &Naming,
    table: &LoadTable,
    absent: Absent,
) -> Result<Prepared, Failure> {
    let prepared =
        catalog::prepare(cold, pipeline, naming, absent, table.id, &table.version).await?;
    Ok(match prepared {
        Prepared::Ready(relation) => Prepared::Ready(define::with_contested(relation, table)),
        held @ Prepared::Held(_) => held,
    })
}

/// As [`found`], of a table that has to be there.
async fn is_there(
    cold: &mut Client,
    pipeline: &str,
    naming: &Naming,
    table: &LoadTable,
) -> Result<super::super::Relation, Failure> {
    match found(cold, pipeline, naming, table, Absent::Refuse).await? {
        Prepared::Ready(relation) => Ok(relation),
        Prepared::Held(reason) => {
            Err(Failure::new(Code::ApplyPrepare, reason).remedy("report this"))
        }
    }
}

impl Session {
    /// What has come of a table is gone: its load comes to nothing, and it is held.
    async fn give_up(
        &mut self,
        load: Uuid,
        table: &LoadTable,
        reason: String,
    ) -> Result<(), Failure> {
        record::give_up(&mut self.cold, &self.chain, load, table.id).await?;
        if let Some(table) = self.loads.book.table(load, table.id) {
            table.stored.stage = TableStage::Superseded;
            table.stored.notes = None;
            table.live = None;
        }
        self.loads.pending.retain(|range| (range.load, range.table) != (load, table.id));
        self.hold(table.id, &table.version, reason);
        Ok(())
    }

    fn table(&self, load: Uuid, id: TableId) -> Option<(&Table, &Live)> {
        let load = self.loads.book.loads.iter().find(|l| l.id == load && l.stage == Stage::Loading);
        let table = load?.tables.iter().find(|table| table.stored.id == id)?;
        Some((table, table.live.as_ref()?))
    }

    /// Rows of a table without a key cannot be told from those the stream brings.
    fn check_handoffs(&self, described: &[Described]) -> Result<(), Failure> {
        for table in described {
            if table.handoff == Handoff::Bracketed && table.version.key.is_empty() {
                return Err(Failure::new(
                    Code::ApplyCorrupt,
                    format!("{} has no key and is loaded beside the stream", table.version.name),
                )
                .remedy("the log is damaged or its writer is broken: restore it"));
            }
        }
        Ok(())
    }

    async fn prepare_load(
        &mut self,
        reload: bool,
        tables: &[LoadTable],
    ) -> Result<(Vec<super::super::Relation>, Vec<String>), Failure> {
        let pipeline = self.chain.pipeline.clone();
        let failed = |e| {
            super::super::error::failure(
                Code::ApplyPrepare,
                "cannot look at the target's tables",
                &e,
            )
        };
        // A table that is not there, or nobody's, is loaded for the first time.
        let mut first = !reload;
        if self.absent == Absent::Hold {
            for table in tables {
                let name = self.naming.table(&table.version.name);
                first |= !catalog::is_owned(&self.cold, &pipeline, &name).await.map_err(failed)?;
            }
        }
        if first {
            let fence = self.chain.fence();
            let design = &self.loads.design;
            let prepared =
                define::prepare(&mut self.cold, &pipeline, design, tables, fence).await?;
            return Ok((prepared.relations, prepared.notices));
        }
        let naming = self.loads.design.naming.clone();
        for table in tables {
            let relation = is_there(&mut self.cold, &pipeline, &naming, table).await?;
            if let Some(what) = catalog::lacks_digits(&relation) {
                return Err(unready(&relation, &what));
            }
        }
        define::unmake(&mut self.cold, &pipeline, tables, self.chain.fence()).await?;
        let mut relations = Vec::with_capacity(tables.len());
        for table in tables {
            relations.push(is_there(&mut self.cold, &pipeline, &naming, table).await?);
        }
        Ok((relations, Vec::new()))
    }

    fn is_reload(&self, load: Uuid) -> bool {
        self.loads.book.loads.iter().any(|l| l.id == load && l.reload)
    }

    fn dispatch(&mut self, log_id: Uuid, range: ChunkRange) {
        let keep = self.loads.design.keeps() && !self.is_reload(range.load);
        let (pipeline, epoch) = (self.chain.pipeline.as_str().into(), self.chain.epoch);
        let rules = Rules { whole_keys: true, ..self.runs.mode.rules.clone() };
        let Some(table) = self.loads.book.table(range.load, range.table) else { return };
        let Some(live) = &table.live else { return };
        table.pending += 1;
        let job = ChunkJob {
            pipeline,
            epoch,
            log_id,
            load: range.load,
            table: range.table,
            chunk: range.chunk,
            partition: range.partition,
            offsets: range.offsets,
            rows: range.rows,
            relation: Arc::clone(&live.relation),
            notes: live.notes.clone(),
            keep,
            rules,
        };
        self.loads.loaders.submit(job);
    }

    fn recorder<'s>(&'s mut self, mark: &'s Mark) -> Recorder<'s> {
        Recorder {
            client: &mut self.cold,
            chain: &mut self.chain,
            mark,
            replica: self.runs.mode.replica,
        }
    }
}

impl Loading for Session {
    fn unfinished(&self) -> Vec<(Uuid, TableId, Handoff)> {
        let loads = self.loads.book.loads.iter().filter(|load| load.stage != Stage::Done);
        let tables =
            loads.flat_map(|load| load.tables.iter().map(|table| (load.id, &table.stored)));
        tables
            .filter(|(_, stored)| stored.stage != TableStage::Superseded)
            .map(|(load, stored)| (load, stored.id, stored.handoff))
            .collect()
    }

    async fn resume(&mut self, load: Uuid, described: Described) -> Result<(), Failure> {
        let described = load_table(&described);
        let naming = &self.loads.design.naming;
        let absent = match self.absent {
            Absent::Hold => Absent::Hold,
            Absent::Create | Absent::Refuse => Absent::Refuse,
        };
        let pipeline = &self.chain.pipeline;
        let relation = match found(&mut self.cold, pipeline, naming, &described, absent).await? {
            Prepared::Ready(relation) => relation,
            Prepared::Held(reason) => return self.give_up(load, &described, reason).await,
        };
        self.admit(&relation)?;
        if let Some(notes) =
            self.loads.book.table(load, described.id).and_then(|t| t.stored.notes.clone())
        {
            notes::align(&self.cold, &notes, &relation).await.map_err(|e| {
                let what = format!("cannot give {notes} the types of {}", relation.name);
                error::failure(Code::ApplyLoad, &what, &e)
            })?;
        }
        let keep = self.loads.design.keeps();
        let hasher = self.runs.hasher().clone();
        let held = Arc::clone(&self.loads.touched);
        if let Some(table) = self.loads.book.table(load, described.id) {
            let columns = relation.columns.len();
            // The name is made again, not taken from a table that others may write.
            let notes = table.stored.notes.is_some().then(|| notes::table_name(&relation));
            if let Some(notes) = &notes {
                trust::examine_notes(&self.cold, &[notes]).await?;
            }
            let notes = notes.map(|table| {
                Arc::new(Notes { table, keep, columns, touched: Touched::new(hasher, held, false) })
            });
            table.live = Some(Live { table: described, relation: Arc::new(relation), notes });
        }
        Ok(())
    }

    fn holds(&self) -> bool {
        self.absent == Absent::Hold
    }

    async fn give_up_for_later(&mut self, load: Uuid, described: Described) -> Result<(), Failure> {
        let table = load_table(&described);
        let reason = format!("its load {load} failed, and the log has a later one");
        let source = table.version.name.to_string();
        held::hold(&self.cold, &self.chain.pipeline, &source, &reason).await?;
        self.give_up(load, &table, reason).await
    }

    fn resumed(&mut self, mark: Option<&Mark>) {
        self.set_regimes();
        for range in std::mem::take(&mut self.loads.pending) {
            if let Some(mark) = mark {
                self.dispatch(mark.log_id, range);
            }
        }
        self.finish_next();
    }

    fn follows(&self, load: Uuid) -> bool {
        self.loads.book.loads.iter().any(|l| l.id == load && l.stage == Stage::Loading)
    }

    fn knows_load(&self, load: Uuid) -> bool {
        self.loads.book.loads.iter().any(|l| l.id == load)
    }

    fn loads_table(&self, load: Uuid, table: TableId) -> bool {
        self.table(load, table).is_some()
    }

    fn awaits_chunks(&self) -> bool {
        self.loads.loaders.outstanding() > 0
    }

    fn is_pending(&self, of: impl Fn(TableId) -> bool) -> bool {
        self.loads.book.is_pending(of)
    }

    fn load_status(&self) -> Option<LoadStatus> {
        self.loads.book.status()
    }

    async fn begin_load(
        &mut self,
        mark: &Mark,
        load: Uuid,
        reload: bool,
        described: &[Described],
    ) -> Result<Vec<String>, Failure> {
        self.check_handoffs(described)?;
        self.stop_finishing().await;
        let tables: Vec<LoadTable> = described.iter().map(load_table).collect();
        let (relations, notices) = self.prepare_load(reload, &tables).await?;
        relations.iter().try_for_each(|relation| self.admit(relation))?;
        self.fail.hit(crate::failpoints::LOAD_BEGIN)?;
        let beginnings: Vec<Beginning<'_>> = tables
            .iter()
            .zip(&relations)
            .map(|(table, relation)| Beginning {
                table,
                relation,
                target: self.naming.table(&table.version.name),
                notes: (table.handoff == Handoff::Bracketed).then(|| notes::table_name(relation)),
            })
            .collect();
        let noted: Vec<_> = beginnings.iter().map(|beginning| beginning.notes.clone()).collect();
        self.recorder(mark).begin(load, reload, &beginnings).await?;
        // A reload empties its tables.
        let keep = self.loads.design.keeps() && !reload;
        let live =
            tables.into_iter().zip(relations).zip(noted).map(|((table, relation), noted)| {
                let notes = noted.map(|notes| {
                    let held = Arc::clone(&self.loads.touched);
                    let touched = Touched::new(self.runs.hasher().clone(), held, !keep);
                    Arc::new(Notes { table: notes, keep, columns: relation.columns.len(), touched })
                });
                Live { table, relation: Arc::new(relation), notes }
            });
        let tables = live.map(Table::beginning).collect();
        let begun = Load {
            id: load,
            reload,
            stage: Stage::Loading,
            consistent: None,
            started: record::now(),
            tables,
        };
        for table in &begun.tables {
            if let Some(live) = &table.live {
                let relation = Arc::clone(&live.relation);
                self.forget_others_of(&relation);
                self.entries.insert(relation.id, Entry { relation, regime: Regime::Stream });
            }
        }
        let sources: Vec<String> =
            begun.tables.iter().map(|table| table.stored.source.clone()).collect();
        self.held.retain(|_, held| !sources.contains(&held.table));
        self.loads.book.begin(begun);
        self.set_regimes();
        self.finish_next();
        Ok(notices)
    }

    async fn open_chunk(
        &mut self,
        mark: &Mark,
        load: Uuid,
        table: TableId,
        chunk: u32,
        from: Option<Position>,
        restart: bool,
    ) -> Result<(), Failure> {
        let keep = self.loads.design.keeps();
        let Some((known, live)) = self.table(load, table) else { return Ok(()) };
        let exact = live.table.handoff == Handoff::Exact;
        if known.stored.stage != TableStage::Loading {
            return Err(disorder(mark, "begins a chunk of a table that has been read"));
        }
        if exact != from.is_some() || (restart && !exact) {
            return Err(disorder(mark, "begins a chunk under another handoff than its load says"));
        }
        if from.is_some_and(|from| mark.position > from) {
            return Err(disorder(mark, "begins a chunk of a position that the stream has passed"));
        }
        let reload = self.is_reload(load);
        let relation = Arc::clone(&live.relation);
        let restarted = restart.then_some((&*relation, keep && !reload));
        self.recorder(mark).open_chunk(load, table, chunk, from, restarted).await?;
        if let Some(table) = self.loads.book.table(load, table) {
            let stored = &mut table.stored;
            stored.from = from;
            if stored.started == 0 {
                stored.started = record::now();
            }
            if restart {
                (stored.chunks, stored.rows, stored.bytes) = (0, 0, 0);
            }
        }
        Ok(())
    }

    async fn end_chunk(&mut self, mark: &Mark, end: &ChunkEnd) -> Result<(), Failure> {
        self.recorder(mark).end_chunk(end).await?;
        self.fail.hit(crate::failpoints::CHUNK_NOTED)?;
        match end.offsets {
            Some(offsets) => self.dispatch(
                mark.log_id,
                ChunkRange {
                    load: end.load,
                    table: end.table,
                    chunk: end.chunk,
                    partition: end.partition,
                    offsets,
                    rows: end.rows,
                },
            ),
            None => {
                if let Some(table) = self.loads.book.table(end.load, end.table) {
                    table.stored.chunks += 1;
                }
            }
        }
        Ok(())
    }

    fn take_chunks(&mut self) -> Result<bool, Failure> {
        while let Some(outcome) = self.loads.loaders.outcome() {
            self.loads.chunk_done(&outcome?);
        }
        Ok(std::mem::take(&mut self.loads.moved))
    }

    async fn table_read(
        &mut self,
        mark: &Mark,
        load: Uuid,
        table: TableId,
        chunks: u32,
        rows: u64,
    ) -> Result<(), Failure> {
        let Some((known, live)) = self.table(load, table) else { return Ok(()) };
        if known.stored.stage != TableStage::Loading {
            return Err(disorder(mark, "ends a table that has been read"));
        }
        if known.stored.from.is_some_and(|from| mark.position > from) {
            return Err(disorder(mark, "ends a table of a position that the stream has passed"));
        }
        let source = Arc::clone(&live.relation.source);
        self.recorder(mark).table_read(load, table, &source, chunks, rows).await?;
        if let Some(table) = self.loads.book.table(load, table) {
            table.stored.stage = TableStage::Read;
            table.stored.chunks_total = Some(chunks);
            table.stored.ended = Some(record::now());
        }
        self.set_regimes();
        Ok(())
    }

    async fn end_load(
        &mut self,
        mark: &Mark,
        load: Uuid,
        consistent: Position,
    ) -> Result<(), Failure> {
        if mark.position < consistent {
            return Err(disorder(mark, "ends a load before the stream has come to its end"));
        }
        let Some(known) = self.loads.book.load(load) else { return Ok(()) };
        if known.tables.iter().any(|table| table.stored.stage == TableStage::Loading) {
            return Err(disorder(mark, "ends a load whose tables have not all been read"));
        }
        let lives: Vec<Live> = known.tables.iter().filter_map(|table| table.live.clone()).collect();
        let noted: Vec<_> = lives
            .iter()
            .filter_map(|live| Some((&*live.relation, live.notes.as_ref()?.table.as_str())))
            .collect();
        self.fail.hit(crate::failpoints::LOAD_END)?;
        self.recorder(mark).end(load, consistent, &noted).await?;
        if let Some(known) = self.loads.book.load(load) {
            known.stage = Stage::Consistent;
            known.consistent = Some(consistent);
            for live in known.tables.iter_mut().filter_map(|table| table.live.as_mut()) {
                live.notes = None;
            }
        }
        self.fail.hit(crate::failpoints::LOAD_ENDED)?;
        self.set_regimes();
        if self.loads.book.is_settled() {
            self.loads.loaders.rest();
        }
        self.finish_next();
        Ok(())
    }

    async fn stop_finishing(&mut self) {
        Session::stop_finishing(self).await
    }

    fn is_finishing(&self) -> bool {
        Session::is_finishing(self)
    }

    async fn take_finished(&mut self) -> Result<Option<Vec<String>>, Failure> {
        Session::take_finished(self).await
    }

    async fn unmade(&self) -> Result<Vec<TableId>, Failure> {
        Session::unmade(self).await
    }

    fn know_unmade(&mut self, tables: Vec<(TableId, Arc<TableVersion>, Arc<Definition>)>) {
        Session::know_unmade(self, tables)
    }

    async fn set_sequences(&self) -> Result<(), Failure> {
        Session::set_sequences(self).await
    }
}

impl Design {
    /// Rows from before a load stay.
    pub(super) fn keeps(&self) -> bool {
        self.prepare == lockstep_common::config::Prepare::Keep
    }
}

impl Table {
    fn beginning(live: Live) -> Self {
        let stored = StoredTable {
            id: live.table.id,
            source: live.relation.source.to_string(),
            handoff: live.table.handoff,
            stage: TableStage::Loading,
            from: None,
            notes: live.notes.as_ref().map(|notes| notes.table.clone()),
            chunks: 0,
            chunks_total: None,
            rows: 0,
            bytes: 0,
            started: 0,
            ended: None,
        };
        Table { stored, live: Some(live), pending: 0 }
    }
}

/// A table that cannot be loaded again as it is.
fn unready(relation: &super::super::Relation, what: &str) -> Failure {
    Failure::new(Code::ApplyPrepare, format!("{} cannot be loaded again into {}: {what}", relation.source, relation.name)).remedy("change the target table as described and start apply again: the load empties it and goes on")
}
