//! CREATE, ALTER and DROP SECURITY POLICY.

use std::sync::Arc;

use super::{cannot_drop, may_define, not_found_or_allowed, own_table};
use crate::SqlError;
use crate::engine::bind::{Binder, Target, invalid_object};
use crate::engine::env::Env;
use crate::engine::fault::{Fault, of_binding};
use crate::engine::syntax::ast::{ObjectName, PredicateAction, PredicateVerb, SecurityPolicy};
use crate::storage::{ModuleDef, ModuleKind, POLICY_SETTING, PolicyDef, PredicateDef, TableDef};

fn find(env: &Env<'_>, name: &ObjectName) -> Result<Option<Arc<TableDef>>, Fault> {
    let schema = name.schema.as_deref().unwrap_or("dbo");
    let found = env.with_txn(|txn| txn.object(schema, &name.name))?;
    Ok(found.filter(|object| object.policy().is_some()))
}

/// CREATE or ALTER.
pub fn define(binder: &Binder<'_, '_>, statement: &SecurityPolicy) -> Result<(), Fault> {
    let env = binder.env;
    may_define(env, "ALTER ANY SECURITY POLICY")?;
    let known = match statement.create {
        true => None,
        false => {
            let missing = || not_found_or_allowed(&statement.name.to_string());
            Some(find(env, &statement.name)?.ok_or_else(missing)?)
        }
    };
    let mut policy =
        known.as_ref().and_then(|known| known.policy().cloned()).unwrap_or(PolicyDef {
            enabled: true,
            schema_bound: true,
            not_for_replication: false,
            predicates: Vec::new(),
        });
    for action in &statement.actions {
        change(env, &statement.name, &mut policy, action)?;
    }
    policy.enabled = statement.enabled.unwrap_or(policy.enabled);
    policy.schema_bound = statement.schema_bound.unwrap_or(policy.schema_bound);
    policy.not_for_replication =
        statement.not_for_replication.unwrap_or(policy.not_for_replication);
    let module = ModuleDef {
        kind: ModuleKind::Policy,
        definition: String::new(),
        check_option: false,
        parameters: Vec::new(),
        schema_bound: policy.schema_bound,
        policy: Some(policy.clone()),
        ansi_nulls_off: false,
        quoted_off: false,
        sequence: None,
    };
    env.status.database.set_setting(POLICY_SETTING, Some("used"))?;
    match known {
        Some(known) => {
            let object = TableDef { module: Some(module), ..TableDef::clone(&known) };
            env.with_txn(|txn| txn.redefine(object, "", None))?;
        }
        None => {
            let schema = statement.name.schema.as_deref().unwrap_or("dbo");
            let object = TableDef {
                module: Some(module),
                ..TableDef::new(schema, &statement.name.name, Vec::new())
            };
            env.with_txn(|txn| txn.create_table(object))?;
        }
    }
    check(binder, &policy)
}

/// Its predicates can be bound, whether it is enabled or not.
fn check(binder: &Binder<'_, '_>, policy: &PolicyDef) -> Result<(), Fault> {
    for predicate in &policy.predicates {
        let table = binder.env.with_txn(|txn| txn.table_by_id(predicate.target))?;
        if let Some(table) = table {
            let target = Target { table, elsewhere: None };
            binder.check_predicate(&target, predicate).map_err(of_binding)?;
        }
    }
    Ok(())
}

fn change(
    env: &Env<'_>,
    name: &ObjectName,
    policy: &mut PolicyDef,
    action: &PredicateAction,
) -> Result<(), Fault> {
    let table = own_table(env, &action.table)?
        .ok_or_else(|| Fault::Compile(invalid_object(&action.table)))?;
    let same = |known: &PredicateDef| {
        known.target == table.id
            && known.block == action.block
            && known.operation == action.operation
    };
    let at = policy.predicates.iter().position(same);
    let kind = if action.block { "BLOCK" } else { "FILTER" };
    match (action.verb, at) {
        (PredicateVerb::Add, None) => {
            let elsewhere = env.with_txn(|txn| txn.objects()).iter().any(|other| {
                other.policy().is_some_and(|known| {
                    !other.is_named(name.schema.as_deref().unwrap_or("dbo"), &name.name)
                        && known.predicates.iter().any(same)
                })
            });
            if elsewhere {
                return Err(taken(kind, &table));
            }
            let last = policy.predicates.iter().map(|known| known.id).max().unwrap_or(0);
            policy.predicates.push(PredicateDef {
                id: last + 1,
                block: action.block,
                operation: action.operation,
                definition: action.definition.clone(),
                target: table.id,
            });
        }
        (PredicateVerb::Add, Some(_)) => return Err(taken(kind, &table)),
        (PredicateVerb::Alter, Some(at)) => {
            policy.predicates[at].definition.clone_from(&action.definition);
        }
        (PredicateVerb::Drop, Some(at)) => {
            policy.predicates.remove(at);
        }
        (PredicateVerb::Alter | PredicateVerb::Drop, None) => {
            return Err(SqlError::new(
                33263,
                16,
                1,
                format!(
                    "Security predicate not found on table '{}' for security policy '{name}'.",
                    table.full_name()
                ),
            )
            .into());
        }
    }
    Ok(())
}

fn taken(kind: &str, table: &TableDef) -> Fault {
    SqlError::new(
        33264,
        16,
        1,
        format!(
            "A {kind} predicate for the same operation has already been defined on table '{}'.",
            table.full_name()
        ),
    )
    .into()
}

/// DROP.
pub fn drop_policy(env: &Env<'_>, name: &ObjectName, if_exists: bool) -> Result<(), Fault> {
    match find(env, name)? {
        Some(policy) => {
            may_define(env, "ALTER ANY SECURITY POLICY")?;
            env.with_txn(|txn| txn.drop_table(policy.id))?;
            Ok(())
        }
        None if if_exists => Ok(()),
        None => Err(cannot_drop("security policy", &name.to_string()).into()),
    }
}
