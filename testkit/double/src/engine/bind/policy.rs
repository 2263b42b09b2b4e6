//! Row-level security: the predicates of enabled security policies.
//!
//! A FILTER predicate hides rows from SELECT, UPDATE and DELETE of everybody, owners and sysadmin
//! among them ("security policies apply to all users, including dbo users in the database";
//! Microsoft, Row-level security). It says nothing to capture, which reads the log: "db_owner and
//! members of this gating role can see all data changes on a table, even if there's a security policy
//! on the table" (the same, Change data capture). BLOCK predicates keep rows out; those that are asked
//! before a change are refused here.

use std::rc::Rc;

use super::{Binder, Bound, Scope, Source, Target, Variables, columns_of, unsupported};
use crate::IsolationLevel;
use crate::engine::expr::Condition;
use crate::engine::syntax::ast::Hints;
use crate::engine::syntax::parse_condition;
use crate::storage::{BlockOperation, POLICY_SETTING, PredicateDef};

impl Binder<'_, '_> {
    /// What enabled policies let through of a table in a slot.
    ///
    /// # Errors
    /// Those of binding a predicate.
    pub(super) fn row_filter(&self, target: &Target, slot: usize) -> Bound<Vec<Condition>> {
        let of = |(schema, predicate): (String, PredicateDef)| {
            self.predicate(target, slot, &schema, &predicate)
        };
        let known = self.predicates(target);
        known.into_iter().filter(|(_, predicate)| !predicate.block).map(of).collect()
    }

    /// What new rows of a table, in slot 0, must satisfy: BLOCK predicates asked after a change.
    ///
    /// # Errors
    /// Those of binding a predicate; 102 for predicates that are asked before a change.
    pub fn row_blocks(&self, target: &Target) -> Bound<Vec<(Option<BlockOperation>, Condition)>> {
        let mut blocks = Vec::new();
        for (schema, predicate) in self.predicates(target) {
            if !predicate.block {
                continue;
            }
            use BlockOperation::{AfterInsert, AfterUpdate};
            if !matches!(predicate.operation, Some(AfterInsert | AfterUpdate)) {
                return Err(unsupported("a BLOCK predicate BEFORE a change"));
            }
            let condition = self.predicate(target, 0, &schema, &predicate)?;
            blocks.push((predicate.operation, condition));
        }
        Ok(blocks)
    }

    /// Whether a predicate can be bound.
    ///
    /// # Errors
    /// Those of binding it.
    pub fn check_predicate(&self, target: &Target, predicate: &PredicateDef) -> Bound<()> {
        self.predicate(target, 0, &target.table.schema, predicate).map(drop)
    }

    /// The predicates of enabled policies on a table, with the schemas of their policies.
    fn predicates(&self, target: &Target) -> Vec<(String, PredicateDef)> {
        let here = &self.env.status.database;
        let database = target.elsewhere.as_ref().unwrap_or(here);
        // Databases without policies must not pay for them with every name.
        if target.table.is_temporary() || database.setting(POLICY_SETTING).is_none() {
            return Vec::new();
        }
        let objects = match &target.elsewhere {
            None => self.env.with_txn(|txn| txn.objects()),
            Some(database) => database.begin(IsolationLevel::ReadCommitted).objects(),
        };
        let mut found = Vec::new();
        for object in objects {
            let Some(policy) = object.policy().filter(|policy| policy.enabled) else {
                continue;
            };
            for predicate in &policy.predicates {
                if predicate.target == target.table.id {
                    found.push((object.schema.clone(), predicate.clone()));
                }
            }
        }
        found
    }

    fn predicate(
        &self,
        target: &Target,
        slot: usize,
        schema: &str,
        predicate: &PredicateDef,
    ) -> Bound<Condition> {
        let call = predicate.definition.trim_start_matches('(');
        let call = call.strip_suffix(')').unwrap_or(call);
        let exists = parse_condition(&format!("EXISTS (SELECT 1 FROM {call})"))?;
        let table = &target.table;
        let mut scope = Scope::inside(None);
        scope.sources.push(Source {
            name: table.name.clone(),
            schema: Some(table.schema.clone()),
            slot,
            columns: columns_of(table),
            unreadable: Vec::new(),
            used: Default::default(),
            stored: None,
        });
        // Whoever reads the table needs no right on the function (SCHEMABINDING = ON).
        let database = target.elsewhere.as_ref().map(|database| database.name());
        let within = self.deeper(database, schema, Hints::default())?;
        let none = Variables::default();
        let inner = Binder { read: Rc::clone(&self.read), ..Binder::new(self.env, &none) };
        inner.within.replace(Some(within));
        inner.condition(&exists, &scope)
    }
}
