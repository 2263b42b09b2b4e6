//! A session: transactions over hot connections, the catalogue over a cold one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use lockstep_common::config::TriggerPolicy;
use lockstep_common::model::record::Change;
use lockstep_common::service::status::HeldTable;
use lockstep_common::{Code, FailPoints, Failure, Position, TableId, TableVersion};
use tokio::sync::Notify;
use tokio_postgres::Client;

use super::catalog::{self, Absent, Prepared};
use super::checkpoint::{self, Chain};
use super::connect::Login;
use super::load::{Loads, Regime};
use super::plan::Naming;
use super::relation::Relation;
use super::run::{ChangeError, Claims, Place, Runs};
use super::trouble::change_trouble;
use super::wire::{Ears, Wire};
use super::{held, lost, set_aside};
use crate::destination::{self, Refusal, Trouble};
use crate::unit::Mark;

/// Bytes gathered before they are handed to the socket.
const FLUSH_BYTES: usize = 64 << 10;

/// One connection to the target under one epoch.
pub(crate) struct Session {
    pub(super) cold: Client,
    /// Connections that carry commits.
    pub(super) wires: Vec<Wire>,
    /// The one that the commit in hand is written on.
    pub(super) lane: usize,
    /// Told of confirmations and errors on any of them.
    pub(super) changed: Arc<Notify>,
    /// What the commit in hand touches, and each of those in flight, where there are several
    /// connections.
    pub(super) claims: Claims,
    pub(super) claimed: VecDeque<Claims>,
    pub(super) runs: Runs,
    pub(super) chain: Chain,
    pub(super) entries: HashMap<TableId, Entry>,
    pub(super) naming: Naming,
    pub(super) absent: Absent,
    pub(super) triggers: TriggerPolicy,
    /// Tables whose changes are passed over.
    pub(super) held: HashMap<TableId, HeldTable>,
    /// Of the transaction being written.
    pub(super) position: Position,
    pub(super) loads: Loads,
    pub(super) login: Login,
    /// What an operator should know and has not been told.
    pub(super) notices: Vec<String>,
    pub(super) fail: FailPoints,
}

/// A table that changes are written into.
pub(super) struct Entry {
    pub(super) relation: Arc<Relation>,
    pub(super) regime: Regime,
}

impl Session {
    /// Passes over what comes of a table.
    pub(super) fn hold(&mut self, id: TableId, version: &TableVersion, reason: String) {
        self.held.insert(id, HeldTable::until_loaded(version.name.to_string(), reason));
    }

    /// Holds a table that is to be written against what may lose or alter its rows.
    ///
    /// # Errors
    /// `Halt` when rules of it fire, or triggers that are not allowed to.
    pub(super) fn admit(&mut self, relation: &Relation) -> Result<(), Failure> {
        let replica = self.runs.mode.replica;
        self.notices.extend(relation.hazards.notice(replica));
        let refused = relation.hazards.refused(replica, self.triggers);
        if refused.is_empty() { Ok(()) } else { Err(catalog::hazardous(&refused)) }
    }
}

impl destination::Session for Session {
    fn ears(&self) -> Box<dyn destination::Ears> {
        Box::new(Ears(self.wires.iter().map(Wire::ear).collect()))
    }

    fn knows(&self, id: TableId) -> bool {
        self.entries.contains_key(&id) || self.held.contains_key(&id)
    }

    async fn prepare(&mut self, id: TableId, version: &TableVersion) -> Result<(), Failure> {
        let (pipeline, naming) = (&self.chain.pipeline, &self.naming);
        let prepared =
            catalog::prepare(&mut self.cold, pipeline, naming, self.absent, id, version).await?;
        match prepared {
            Prepared::Ready(relation) => {
                self.admit(&relation)?;
                self.enter(relation)
            }
            Prepared::Held(reason) => {
                self.hold(id, version, reason);
                Ok(())
            }
        }
    }

    async fn held(&self) -> Result<Vec<HeldTable>, Failure> {
        match self.absent {
            Absent::Hold => held::list(&self.cold, &self.chain.pipeline).await,
            Absent::Refuse | Absent::Create => Ok(Vec::new()),
        }
    }

    fn is_held(&self, id: TableId) -> bool {
        self.held.contains_key(&id)
    }

    async fn told(&self) -> Result<Option<(u64, u64)>, Failure> {
        if !self.runs.mode.converge {
            return Ok(None);
        }
        let pipeline = &self.chain.pipeline;
        let exceptions = checkpoint::open_exceptions(&self.cold, pipeline).await?;
        Ok(Some((exceptions, checkpoint::forced(&self.cold, pipeline).await?)))
    }

    fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    async fn remember_lost(&self, at: Position, failure: &Failure) -> Result<(), Failure> {
        lost::remember(&self.cold, &self.chain.pipeline, &at.to_string(), &failure.message).await
    }

    async fn store_start(&self, start: &str) -> Result<(), Failure> {
        checkpoint::store_start(&self.cold, &self.chain.pipeline, self.chain.epoch, start).await
    }

    fn set_careful(&mut self, careful: bool) {
        self.runs.mode.careful = careful;
    }

    fn lanes(&self) -> usize {
        self.wires.len()
    }

    fn begin(&mut self) -> usize {
        self.runs.clear();
        self.claims = Claims::default();
        self.lane = (self.lane + 1) % self.wires.len();
        self.lane
    }

    fn must_wait(&mut self, change: &Change<'_>, index: u64) -> Result<bool, Trouble> {
        if self.is_held(change.table) {
            return Ok(false);
        }
        let Entry { relation, regime } = &self.entries[&change.table];
        let loading = !matches!(regime, Regime::Stream);
        let claim = self
            .runs
            .claim(relation, loading, &relation.projection.apply(change))
            .map_err(|error| change_trouble(error, relation, Some(change), index))?;
        self.claims.add(&claim);
        Ok(self.claimed.iter().any(|claims| claims.meet(&claim)))
    }

    fn settled(&mut self) {
        self.claimed.pop_front();
    }

    fn may_share(&self) -> bool {
        let loading = |entry: &Entry| matches!(entry.regime, Regime::Loading(_));
        !self.runs.mode.converge && !self.entries.values().any(loading)
    }

    fn go_to(&mut self, mark: &Mark) {
        self.position = mark.position;
        if self.runs.mode.converge {
            let (pipeline, position) = (self.chain.pipeline.clone(), mark.position.to_string());
            self.runs.place = Place { pipeline, position };
        }
    }

    fn change(&mut self, change: &Change<'_>, index: u64) -> Result<bool, Trouble> {
        if self.is_held(change.table) {
            return Ok(false);
        }
        let Entry { relation, regime } = &self.entries[&change.table];
        let notes = match regime {
            Regime::Stream => None,
            Regime::Loading(notes) => Some(notes),
            Regime::Beyond(Some(from)) if self.position > *from => None,
            Regime::Beyond(_) => return Ok(false),
        };
        let wide = relation.projection.apply(change);
        self.runs
            .change(relation, notes, &wide, index, &mut self.wires[self.lane].pipe)
            .map_err(|error| change_trouble(error, relation, Some(change), index))?;
        Ok(true)
    }

    fn is_gathered(&self) -> bool {
        self.wires[self.lane].pipe.out.len() >= FLUSH_BYTES
    }

    fn end_statements(&mut self) -> Result<(), Failure> {
        self.claimed.push_back(std::mem::take(&mut self.claims));
        self.runs.finish(&mut self.wires[self.lane].pipe).map_err(|error| {
            let what = match error {
                ChangeError::Value { error, .. } => error.to_string(),
                ChangeError::Unidentified(what) | ChangeError::Corrupt(what) => what.to_owned(),
            };
            Failure::new(Code::ApplyStatement, what)
        })
    }

    fn commit(&mut self, lane: usize, mark: &Mark, flushed: bool) {
        let wire = &mut self.wires[lane];
        self.chain.commit(mark, flushed, wire.backend_pid, &mut wire.pipe);
    }

    fn set_aside(&mut self, refusal: &Refusal, mark: &Mark, first_offset: u64) {
        let pipe = &mut self.wires[self.lane].pipe;
        set_aside::record(&self.chain.pipeline, refusal, mark, first_offset, pipe);
    }

    async fn flush(&mut self) -> Result<(), Trouble> {
        let mut result = Ok(());
        for wire in &mut self.wires {
            result = result.and(wire.flush().await);
        }
        result.map_err(|latched| self.trouble(latched))
    }

    async fn written(&self) {
        for wire in &self.wires {
            wire.written().await;
        }
    }

    fn committed(&self) -> u64 {
        self.wires.iter().map(Wire::committed).sum()
    }

    fn check(&self) -> Result<(), Trouble> {
        match self.wires.iter().find_map(Wire::latched) {
            None => Ok(()),
            Some(latched) => Err(self.trouble(latched)),
        }
    }

    fn has_tables(&self) -> bool {
        !self.entries.is_empty()
    }

    async fn look_again(&mut self, at: Position) -> Result<(), Failure> {
        self.examine_tables(at).await
    }

    async fn changed(&mut self) -> Result<(), Failure> {
        tokio::select! {
            () = self.changed.notified() => Ok(()),
            moved = self.loads.changed() => moved,
        }
    }
}
