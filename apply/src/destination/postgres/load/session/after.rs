//! How changes of each table are written while loads run, and what is made after them.

use std::sync::Arc;

use lockstep_common::Code;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::Handoff;
use lockstep_common::{Failure, TableId, TableVersion};

use super::super::super::define::{self, LoadTable};
use super::super::super::relation::Relation;
use super::super::super::{Entry, Session};
use super::super::Regime;
use super::super::book::Stage;
use super::super::finishing::Finishing;
use super::super::record;

impl Session {
    pub(super) fn set_regimes(&mut self) {
        for entry in self.entries.values_mut() {
            entry.regime = self.loads.book.regime(&entry.relation);
        }
    }

    /// Makes a table's relation known, as its load wants it.
    ///
    /// # Errors
    /// `Halt` for another shape of a table than the one that is being loaded.
    pub(in super::super::super) fn enter(&mut self, mut relation: Relation) -> Result<(), Failure> {
        let regime = self.loads.book.regime(&relation);
        if let Some(table) = self.loads.book.defined(&relation.name) {
            if table.id != relation.id && !matches!(regime, Regime::Stream) {
                return Err(reshaped(&relation));
            }
            if table.id == relation.id {
                relation = define::with_contested(relation, table);
            }
        }
        let relation = Arc::new(relation);
        self.entries.insert(relation.id, Entry { relation, regime });
        Ok(())
    }

    /// Begins to make what comes after the oldest load that is consistent, unless that is being made.
    pub(super) fn finish_next(&mut self) {
        if self.loads.finishing.is_some() {
            return;
        }
        let mut loads = self.loads.book.loads.iter();
        let Some(load) = loads.find(|load| load.stage == Stage::Consistent) else { return };
        let lives = load.tables.iter().filter_map(|table| table.live.as_ref());
        let finish = define::Finish {
            pipeline: self.chain.pipeline.clone(),
            load: load.id,
            design: self.loads.design.clone(),
            tables: lives.map(|live| live.table.clone()).collect(),
            others: self.loads.others.clone(),
        };
        self.loads.finishing = Some(Finishing::start(self.login.clone(), finish));
    }

    /// Ends what is being made, at its next step.
    pub(super) async fn stop_finishing(&mut self) {
        if let Some(finishing) = self.loads.finishing.take() {
            finishing.stop().await;
        }
    }

    /// Whether something is still being made.
    pub(super) fn is_finishing(&self) -> bool {
        self.loads.finishing.is_some()
    }

    /// Takes note of what has been made; gives what an operator should know, once.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(super) async fn take_finished(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let Some(finishing) = &mut self.loads.finishing else { return Ok(None) };
        let Some((load, result)) = finishing.ended() else { return Ok(None) };
        self.loads.finishing = None;
        let notices = match result {
            Ok(report) => report.notices(),
            Err(failure) => vec![format!("indexes and constraints cannot be made: {failure}")],
        };
        record::finished(&mut self.cold, &self.chain, load).await?;
        if let Some(load) = self.loads.book.load(load) {
            load.stage = Stage::Done;
        }
        let newest = self.loads.book.loads.last().map(|load| load.id);
        self.loads.book.loads.retain(|l| l.stage != Stage::Done || Some(l.id) == newest);
        self.finish_next();
        Ok(Some(notices))
    }

    /// Versions of the tables that lost objects while a table was loaded again.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(super) async fn unmade(&self) -> Result<Vec<TableId>, Failure> {
        define::unmade(&self.cold, &self.chain.pipeline).await
    }

    /// What the log says of those, so that their objects can be made again.
    pub(super) fn know_unmade(
        &mut self,
        tables: Vec<(TableId, Arc<TableVersion>, Arc<Definition>)>,
    ) {
        let known = tables.into_iter().map(|(id, version, definition)| LoadTable {
            id,
            version,
            definition: Some(definition),
            handoff: Handoff::Bracketed,
        });
        self.loads.others = known.collect();
    }

    /// An orderly end: sequences go past what the stream has written.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(super) async fn set_sequences(&self) -> Result<(), Failure> {
        define::set_sequences(&self.cold, &self.chain.pipeline).await
    }
}

fn reshaped(relation: &Relation) -> Failure {
    Failure::new(
        Code::ApplyLoadReshaped,
        format!("{} changed its shape while it is being loaded", relation.source),
    )
    .remedy("load the table again (`lockstep reload`)")
}
