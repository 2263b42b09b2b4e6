//! Target tables looked at again while apply runs.
//!
//! What a table is was read before the first change was written into it. Meanwhile somebody may drop it,
//! put another in its place, or make a trigger or a rule that fires: PostgreSQL tells nobody, and
//! statements that name the table go on into whatever has its name. So the catalogue is asked again at
//! intervals, and whenever the target refuses something:
//!
//! - a table that is gone, or that another took the place of, is *held* (`held`) where tables come by
//!   loads. What was written into the other one is lost with it, which its load makes good. Elsewhere
//!   apply halts;
//! - what fires and did not may have altered or dropped what was written since the last look, and not all
//!   statements count rows where nothing fires. That is an exception nobody has resolved (`lost`), so
//!   that no later start passes over it;
//! - whatever else has changed counts from now on.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_common::{Code, Failure, Position};

use super::catalog::{self, Absent};
use super::hazards::Hazards;
use super::relation::Relation;
use super::{Session, error, held, lost};

impl Session {
    /// Looks whether the tables that this session writes are what they were. `at` is where the target
    /// is, for what is written down.
    ///
    /// # Errors
    /// `Retry` when a table is to be held from now on, which the next session does; `Halt` for what
    /// cannot go on.
    pub(super) async fn examine_tables(&mut self, at: Position) -> Result<(), Failure> {
        let failed = |e| error::failure(Code::ApplyTable, "cannot look at the target's tables", &e);
        let relations = self.relations();
        let names: Vec<&str> = relations.keys().map(|(_, name)| name.as_str()).collect();
        let rows = self
            .cold
            .query(
                "SELECT to_regclass(name)::oid FROM unnest($1::text[]) WITH ORDINALITY \
                 AS t(name, n) ORDER BY n",
                &[&names],
            )
            .await
            .map_err(failed)?;
        for (row, relation) in rows.iter().zip(relations.values()) {
            let found: Option<u32> = row.get(0);
            if found != Some(relation.oid) {
                return Err(self.replaced(relation, found).await?);
            }
        }
        let oids: Vec<u32> = relations.values().map(|relation| relation.oid).collect();
        let mut hazards = Hazards::read(&self.cold, &oids).await.map_err(failed)?;
        for relation in relations.values() {
            let now = hazards.remove(&relation.oid).unwrap_or_default();
            if now != relation.hazards {
                self.changed_hazards(relation, now, at).await?;
            }
        }
        Ok(())
    }

    /// The tables that are written, or loaded.
    fn relations(&self) -> BTreeMap<(u32, String), Arc<Relation>> {
        let entries = self.entries.values().map(|entry| &entry.relation);
        let all = entries.chain(self.loads.relations());
        all.map(|r| ((r.oid, r.name.clone()), Arc::clone(r))).collect()
    }

    /// A table is gone, or another has its name: what that means.
    async fn replaced(
        &mut self,
        relation: &Relation,
        found: Option<u32>,
    ) -> Result<Failure, Failure> {
        let Relation { source, name, .. } = relation;
        let what = match found {
            None => format!("target table {name} was dropped, or renamed, while apply ran"),
            Some(_) => {
                format!("another table took the place of target table {name} while apply ran")
            }
        };
        if self.absent != Absent::Hold {
            return Ok(Failure::new(Code::ApplyTable, what).remedy(
                "bring the table back with its rows, then start apply again; or reset the target and \
                 load it anew. A start with `create_tables` makes a missing table, empty",
            ));
        }
        let failed = |e| error::failure(Code::ApplyTable, "cannot write lockstep.tables", &e);
        let transaction = self.cold.transaction().await.map_err(failed)?;
        self.chain.fence().hold(&transaction).await?;
        held::hold(&transaction, &self.chain.pipeline, source, &what).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(Failure::new(Code::ApplyTableGone, format!("{what}: it is held from now on")))
    }

    /// Triggers, rules or the like have come or gone.
    async fn changed_hazards(
        &mut self,
        relation: &Relation,
        now: Hazards,
        at: Position,
    ) -> Result<(), Failure> {
        let replica = self.runs.mode.replica;
        if let Some(names) = now.arrived(&relation.hazards, replica, self.triggers) {
            let what = format!(
                "{names} came while apply wrote into {}, and fires: rows written around {at} may be \
                 altered or missing",
                relation.name
            );
            let failure = lost::failure(&what);
            lost::remember(&self.cold, &self.chain.pipeline, &at.to_string(), &failure.message)
                .await?;
            return Err(failure);
        }
        if !now.wrong.is_empty() {
            return Err(catalog::hazardous(&now.wrong));
        }
        self.notices.extend(now.notice(replica));
        for entry in self.entries.values_mut().filter(|e| e.relation.oid == relation.oid) {
            entry.relation = with_hazards(&entry.relation, &now);
        }
        self.loads.change_relations(relation.oid, |relation| with_hazards(relation, &now));
        Ok(())
    }

    /// Forgets what is known of tables that are no more.
    pub(super) fn forget_others_of(&mut self, relation: &Relation) {
        self.entries.retain(|_, entry| {
            entry.relation.name != relation.name || entry.relation.oid == relation.oid
        });
    }
}

fn with_hazards(relation: &Relation, now: &Hazards) -> Arc<Relation> {
    Arc::new(Relation { hazards: now.clone(), ..relation.clone() })
}
