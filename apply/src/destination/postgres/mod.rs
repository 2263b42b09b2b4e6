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
mod session;
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

use lockstep_common::config::{self, ConflictPolicy, Durability, InvalidText, TriggerPolicy};
use lockstep_common::service::check::CheckResult;
use lockstep_common::{FailPoints, Failure, Position};
use lockstep_log::Log;
use tokio::sync::Notify;

pub(crate) use typing::{grants, schema};

use super::{Attached, Claimant, Destination};
use crate::reach;
use ask::Ask;
use catalog::Absent;
use checkpoint::Chain;
use connect::Login;
use define::Design;
use encode::Rules;
use load::{Loaders, Loads};
use plan::Naming;
use relation::Relation;
use run::{Claims, Mode, Runs};
use session::{Entry, Session};
use wire::Wire;

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

    /// Has every commit flushed, or leaves that to each commit.
    async fn set_flushing(&self, socket: &mut socket::Socket) -> Result<(), Failure> {
        let synchronous = if self.durability == Durability::Strict { "on" } else { "off" };
        let set = socket.ask(&format!("SET synchronous_commit = {synchronous}")).await;
        set.map(drop).map_err(|error| error.into_failure(&self.login))
    }
}

impl Destination for Target {
    type Session = Session;

    async fn check(&self, pipeline: &str) -> Vec<CheckResult> {
        self.prerequisites(pipeline).await
    }

    async fn attach(
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
        let attached = Attached {
            epoch: taken.epoch,
            mark: taken.mark,
            start: taken.start,
            exceptions,
            forced,
            notices,
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
        Ok((session, attached))
    }

    async fn reset(&self, pipeline: &str) -> Result<Option<String>, Failure> {
        let mut cold = self.login.cold().await?;
        checkpoint::create_schema(&mut cold).await?;
        checkpoint::reset(&mut cold, pipeline).await
    }

    fn replaced(&self) -> Option<Arc<AtomicU64>> {
        self.rules.replaced.clone()
    }
}
