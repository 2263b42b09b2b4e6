//! PostgreSQL as a target.
//!
//! A *cold* connection through tokio-postgres for the catalogue, the epoch and the tables, and one or
//! more *hot* ones that speak the protocol themselves and carry nothing but transactions, pipelined.
//! `checkpoint` argues why each transaction is committed exactly once, `run` why statements for many
//! rows do what single ones would, `wire` why nothing waits.

mod ask;
mod authenticate;
mod catalog;
mod checkpoint;
mod collation;
mod connect;
mod define;
mod encode;
mod entered;
mod error;
mod ewkb;
mod extension;
mod hazards;
mod held;
mod image;
mod load;
mod lost;
mod parameter;
mod pipe;
mod plan;
mod pooler;
mod prerequisites;
mod readiness;
mod relation;
mod run;
mod set_aside;
mod settings;
mod socket;
mod statement;
mod text;
mod tls;
mod trouble;
mod trust;
mod types;
mod typing;
mod variant;
mod watch;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lockstep_common::Code;
use lockstep_common::config::{self, ConflictPolicy, Durability, InvalidText, TriggerPolicy};
use lockstep_common::model::record::Change;
use lockstep_common::service::status::HeldTable;
use lockstep_common::{FailPoints, Failure, Position, TableId, TableVersion};
use lockstep_log::Log;
use tokio::sync::Notify;
use tokio_postgres::Client;

pub(crate) use checkpoint::{Claimant, Taken};
pub(crate) use load::Described;
pub(crate) use set_aside::Refusal;
pub(crate) use trouble::Trouble;
pub(crate) use typing::{grants, schema};
pub(crate) use wire::Ears;

use crate::reach;
use crate::unit::Mark;
use ask::Ask;
use catalog::{Absent, Prepared};
use checkpoint::Chain;
use connect::Login;
use define::Design;
use encode::Rules;
use load::{Loaders, Loads, Regime};
use plan::Naming;
use relation::Relation;
use run::{ChangeError, Claims, Mode, Place, Runs};
use trouble::change_trouble;
use wire::Wire;

/// Bytes gathered before they are handed to the socket.
const FLUSH_BYTES: usize = 64 << 10;

/// How a target is reached and written.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    login: Login,
    naming: Naming,
    create_tables: bool,
    /// Tables come by loads.
    loads: bool,
    policy: ConflictPolicy,
    triggers: TriggerPolicy,
    design: Design,
    load_connections: usize,
    connections: usize,
    durability: Durability,
    rules: Rules,
}

/// One connection to the target under one epoch.
pub(crate) struct Session {
    cold: Client,
    /// Connections that carry commits.
    wires: Vec<Wire>,
    /// The one that the commit in hand is written on.
    lane: usize,
    /// Told of confirmations and errors on any of them.
    changed: Arc<Notify>,
    /// What the commit in hand touches, and each of those in flight, where there are several
    /// connections.
    claims: Claims,
    claimed: VecDeque<Claims>,
    runs: Runs,
    chain: Chain,
    entries: HashMap<TableId, Entry>,
    naming: Naming,
    absent: Absent,
    triggers: TriggerPolicy,
    /// Tables whose changes are passed over.
    held: HashMap<TableId, HeldTable>,
    /// Of the transaction being written.
    position: Position,
    loads: Loads,
    login: Login,
    /// What an operator should know and has not been told.
    notices: Vec<String>,
    fail: FailPoints,
}

/// A table that changes are written into.
struct Entry {
    relation: Arc<Relation>,
    regime: Regime,
}

/// What a new session found.
#[derive(Debug)]
pub(crate) struct Attached {
    /// The checkpoint row.
    pub(crate) taken: Taken,
    /// Exceptions that nobody resolved.
    pub(crate) exceptions: u64,
    /// Rows that were forced in.
    pub(crate) forced: u64,
    /// What an operator should know.
    pub(crate) notices: Vec<String>,
}

impl Target {
    /// From a configuration.
    ///
    /// # Errors
    /// `Halt` when a file it names cannot be read.
    pub(crate) fn new(config: &config::Apply, pipeline: &str) -> Result<Self, Failure> {
        Ok(Target {
            login: Login::new(config, pipeline)?,
            naming: Naming::new(config),
            create_tables: config.create_tables,
            loads: false,
            policy: config.on_conflict,
            triggers: config.triggers,
            design: Design::new(config),
            load_connections: config.load_connections,
            connections: config.connections.get(),
            durability: config.durability,
            rules: Rules {
                replaced: (config.invalid_text == InvalidText::Replace).then(Arc::default),
                // It would write one over the other.
                whole_keys: config.on_conflict == ConflictPolicy::Converge,
                ..Rules::default()
            },
        })
    }

    /// In a task that loads, where tables come by loads and by nothing else.
    pub(crate) fn for_task(self, task: config::Task) -> Self {
        Target { loads: task != config::Task::Cdc, ..self }
    }

    /// Characters that PostgreSQL cannot store and that were replaced.
    pub(crate) fn replaced(&self) -> Option<Arc<AtomicU64>> {
        self.rules.replaced.clone()
    }

    /// Connects and takes the next epoch. `careful` writes one row to a statement. Chunks of loads are
    /// read from `log`.
    ///
    /// # Errors
    /// `Retry` when the target is away, `Halt` when it refuses, `Fenced` when another instance has it.
    pub(crate) async fn attach(
        &self,
        claimant: &Claimant,
        careful: bool,
        log: &Arc<dyn Log>,
        fail: &FailPoints,
    ) -> Result<(Session, Attached), Failure> {
        let mut cold = self.login.cold().await?;
        let naming = self.typed(&cold).await?;
        checkpoint::create_schema(&mut cold).await?;
        self.create_collations(&cold).await?;
        let mut socket = self.login.hot().await?;
        let mut notices = Vec::new();
        let replica = settings::enter_replica_role(&mut socket, &self.login).await?;
        if !replica {
            notices.push(
                "triggers and foreign keys of the target fire: the role may not set \
                 session_replication_role (`lockstep schema --grants`)"
                    .to_owned(),
            );
        }
        if claimant.epoch == 0 {
            // Whoever takes over stops the one before: not without a log to go on from.
            let checkpoint = checkpoint::look(&cold, &claimant.pipeline).await?;
            reach::reaches(log, checkpoint.as_ref()).await?;
        }
        let taken = checkpoint::take_epoch(&cold, claimant, socket.backend_pid).await?;
        // Only now: the epoch is what every later commit hangs on.
        self.set_flushing(&mut socket).await?;
        let changed = Arc::<Notify>::default();
        let queue = if self.connections == 1 { wire::QUEUE_BYTES } else { wire::LANE_BYTES };
        let mut wires = vec![Wire::new(socket, Arc::clone(&changed), queue)];
        while wires.len() < self.connections {
            let mut socket = self.login.hot().await?;
            settings::enter_replica_role(&mut socket, &self.login).await?;
            self.set_flushing(&mut socket).await?;
            wires.push(Wire::new(socket, Arc::clone(&changed), queue));
        }
        if !replica && wires.len() > 1 {
            notices.push(
                "triggers and foreign keys see the order of changes: all go over one of the \
                 `connections`"
                    .to_owned(),
            );
        }
        let exceptions = checkpoint::open_exceptions(&cold, &claimant.pipeline).await?;
        let forced = checkpoint::forced(&cold, &claimant.pipeline).await?;
        lost::none_open(&cold, &claimant.pipeline).await?;
        notices.extend(catalog::survey(&cold, &claimant.pipeline, replica, self.triggers).await?);
        let stored = load::stored(&cold, &claimant.pipeline).await?;
        let pending = load::pending(&cold, &claimant.pipeline).await?;
        let loaders =
            Loaders::new(self.login.clone(), Arc::clone(log), fail.clone(), self.load_connections);
        let mode = Mode {
            converge: self.policy == ConflictPolicy::Converge,
            replica,
            careful,
            rules: self.rules.clone(),
        };
        let design = Design { naming: naming.clone(), ..self.design.clone() };
        let chain = Chain {
            pipeline: claimant.pipeline.clone(),
            epoch: taken.epoch,
            seq: taken.seq,
            each_flushed: self.durability == Durability::Strict,
        };
        let session = Session {
            cold,
            wires,
            lane: 0,
            changed,
            claims: Claims::default(),
            claimed: VecDeque::new(),
            runs: Runs::new(mode),
            chain,
            entries: HashMap::new(),
            naming,
            absent: match (self.loads, self.create_tables) {
                (true, _) => Absent::Hold,
                (false, true) => Absent::Create,
                (false, false) => Absent::Refuse,
            },
            triggers: self.triggers,
            held: HashMap::new(),
            position: Position::ORIGIN,
            loads: Loads::new(design, loaders, stored, pending),
            login: self.login.clone(),
            notices: Vec::new(),
            fail: fail.clone(),
        };
        Ok((session, Attached { taken, exceptions, forced, notices }))
    }

    /// Has every commit flushed, or leaves that to each commit.
    async fn set_flushing(&self, socket: &mut socket::Socket) -> Result<(), Failure> {
        let synchronous = if self.durability == Durability::Strict { "on" } else { "off" };
        let set = socket.ask(&format!("SET synchronous_commit = {synchronous}")).await;
        set.map(drop).map_err(|error| error.into_failure(&self.login))
    }

    /// Removes the pipeline's checkpoint from the target; gives the position it had.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(crate) async fn reset(&self, pipeline: &str) -> Result<Option<String>, Failure> {
        let mut cold = self.login.cold().await?;
        checkpoint::create_schema(&mut cold).await?;
        checkpoint::reset(&mut cold, pipeline).await
    }
}

impl Session {
    /// This connection's epoch.
    pub(crate) fn epoch(&self) -> u64 {
        self.chain.epoch
    }

    /// What tells whether its connections have fallen silent.
    pub(crate) fn ears(&self) -> Ears {
        Ears(self.wires.iter().map(Wire::ear).collect())
    }

    /// Whether changes of `id` can be written already.
    pub(crate) fn knows(&self, id: TableId) -> bool {
        self.entries.contains_key(&id) || self.held.contains_key(&id)
    }

    /// Finds or makes the target table of a version, checks and claims it.
    ///
    /// # Errors
    /// `Halt` with everything that is wrong with it.
    pub(crate) async fn prepare(
        &mut self,
        id: TableId,
        version: &TableVersion,
    ) -> Result<(), Failure> {
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

    /// Passes over what comes of a table.
    fn hold(&mut self, id: TableId, version: &TableVersion, reason: String) {
        self.held.insert(id, HeldTable::until_loaded(version.name.to_string(), reason));
    }

    /// The tables whose changes are passed over.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(crate) async fn held(&self) -> Result<Vec<HeldTable>, Failure> {
        match self.absent {
            Absent::Hold => held::list(&self.cold, &self.chain.pipeline).await,
            Absent::Refuse | Absent::Create => Ok(Vec::new()),
        }
    }

    /// Whether changes of a table are passed over.
    pub(crate) fn is_held(&self, id: TableId) -> bool {
        self.held.contains_key(&id)
    }

    /// Holds a table that is to be written against what may lose or alter its rows.
    ///
    /// # Errors
    /// `Halt` when rules of it fire, or triggers that are not allowed to.
    fn admit(&mut self, relation: &Relation) -> Result<(), Failure> {
        let replica = self.runs.mode.replica;
        self.notices.extend(relation.hazards.notice(replica));
        let refused = relation.hazards.refused(replica, self.triggers);
        if refused.is_empty() { Ok(()) } else { Err(catalog::hazardous(&refused)) }
    }

    /// Exceptions that nobody has resolved, and rows that were forced in, where that may change without a
    /// word.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(crate) async fn told(&self) -> Result<Option<(u64, u64)>, Failure> {
        if !self.runs.mode.converge {
            return Ok(None);
        }
        let pipeline = &self.chain.pipeline;
        let exceptions = checkpoint::open_exceptions(&self.cold, pipeline).await?;
        Ok(Some((exceptions, checkpoint::forced(&self.cold, pipeline).await?)))
    }

    /// What an operator should know and has not been told.
    pub(crate) fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// Remembers that a statement behind `at` met another number of rows than it was sent, so that no
    /// later start passes over it.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses.
    pub(crate) async fn remember_lost(
        &self,
        at: Position,
        failure: &Failure,
    ) -> Result<(), Failure> {
        lost::remember(&self.cold, &self.chain.pipeline, &at.to_string(), &failure.message).await
    }

    /// Remembers the start point chosen for this target.
    ///
    /// # Errors
    /// `Fenced` when the epoch is no longer ours.
    pub(crate) async fn store_start(&self, start: &str) -> Result<(), Failure> {
        checkpoint::store_start(&self.cold, &self.chain.pipeline, self.chain.epoch, start).await
    }

    /// Writes one row to a statement, or runs again.
    pub(crate) fn set_careful(&mut self, careful: bool) {
        self.runs.mode.careful = careful;
    }

    /// Connections that carry commits.
    pub(crate) fn lanes(&self) -> usize {
        self.wires.len()
    }

    /// Begins a transaction, on the connection whose last one was confirmed longest ago; gives its
    /// number.
    pub(crate) fn begin(&mut self) -> usize {
        self.runs.clear();
        self.claims = Claims::default();
        self.lane = (self.lane + 1) % self.wires.len();
        self.lane
    }

    /// Whether a change of a known table has to wait until every commit in flight is confirmed; it is
    /// taken for one of the commit in hand.
    ///
    /// # Errors
    /// When it does not say which row it is of.
    pub(crate) fn must_wait(&mut self, change: &Change<'_>, index: u64) -> Result<bool, Trouble> {
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

    /// The oldest commit in flight is confirmed.
    pub(crate) fn settled(&mut self) {
        self.claimed.pop_front();
    }

    /// Whether changes up to several marks may be in one transaction. Not while a table is being
    /// loaded, and not where statements note which source transaction they are of.
    pub(crate) fn may_share(&self) -> bool {
        let loading = |entry: &Entry| matches!(entry.regime, Regime::Loading(_));
        !self.runs.mode.converge && !self.entries.values().any(loading)
    }

    /// What follows leads to `mark`.
    pub(crate) fn go_to(&mut self, mark: &Mark) {
        self.position = mark.position;
        if self.runs.mode.converge {
            let (pipeline, position) = (self.chain.pipeline.clone(), mark.position.to_string());
            self.runs.place = Place { pipeline, position };
        }
    }

    /// Writes a change of a known table; `index` is its number within the transaction. `false` when it
    /// is passed over: the rows of a load have it already, or will have.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must then not be committed.
    pub(crate) fn change(&mut self, change: &Change<'_>, index: u64) -> Result<bool, Trouble> {
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

    /// Whether enough has gathered to be handed to the socket.
    pub(crate) fn is_gathered(&self) -> bool {
        self.wires[self.lane].pipe.out.len() >= FLUSH_BYTES
    }

    /// Ends the transaction's statements; its commit comes next, once the commits before it are
    /// confirmed or were sent on the same connection.
    ///
    /// # Errors
    /// When the last of them cannot be written.
    pub(crate) fn end_statements(&mut self) -> Result<(), Failure> {
        self.claimed.push_back(std::mem::take(&mut self.claims));
        self.runs.finish(&mut self.wires[self.lane].pipe).map_err(|error| {
            let what = match error {
                ChangeError::Value { error, .. } => error.to_string(),
                ChangeError::Unidentified(what) | ChangeError::Corrupt(what) => what.to_owned(),
            };
            Failure::new(Code::ApplyStatement, what)
        })
    }

    /// Appends checkpoint and commit of the transaction on connection `lane`.
    pub(crate) fn commit(&mut self, lane: usize, mark: &Mark, flushed: bool) {
        let wire = &mut self.wires[lane];
        self.chain.commit(mark, flushed, wire.backend_pid, &mut wire.pipe);
    }

    /// Sets a transaction aside instead of its changes; [`Session::commit`] follows.
    pub(crate) fn set_aside(&mut self, refusal: &Refusal, mark: &Mark, first_offset: u64) {
        let pipe = &mut self.wires[self.lane].pipe;
        set_aside::record(&self.chain.pipeline, refusal, mark, first_offset, pipe);
    }

    /// Hands everything to the socket.
    ///
    /// # Errors
    /// The connection's first error.
    pub(crate) async fn flush(&mut self) -> Result<(), Trouble> {
        let mut result = Ok(());
        for wire in &mut self.wires {
            result = result.and(wire.flush().await);
        }
        result.map_err(|latched| self.trouble(latched))
    }

    /// Waits until everything handed to the sockets is written, or a connection is dead.
    pub(crate) async fn written(&self) {
        for wire in &self.wires {
            wire.written().await;
        }
    }

    /// Commits confirmed.
    pub(crate) fn committed(&self) -> u64 {
        self.wires.iter().map(Wire::committed).sum()
    }

    /// A connection's first error, if there is one.
    pub(crate) fn check(&self) -> Result<(), Trouble> {
        match self.wires.iter().find_map(Wire::latched) {
            None => Ok(()),
            Some(latched) => Err(self.trouble(latched)),
        }
    }
}
