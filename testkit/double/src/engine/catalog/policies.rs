//! Security policies and their predicates. "Principals that have the ALTER ANY SECURITY POLICY
//! permission have access to all objects in this catalog view as well as anyone with VIEW DEFINITION
//! on the object" (Microsoft, sys.security_policies).

use super::Table;
use super::definition::{Columns, Definition, Desc, NVar, ViewOf, off};
use super::objects::{Object, object_columns};
use super::source::Catalog;
use crate::SqlError;
use crate::storage::{BlockOperation, ObjectId, PolicyDef, PredicateDef};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("security_policies", policy_columns, policies),
    &ViewOf::sys("security_predicates", predicate_columns, predicates),
];

struct Policy {
    object: Object,
    def: PolicyDef,
}

fn policies(catalog: &Catalog<'_>) -> Result<Vec<Policy>, SqlError> {
    let all = catalog.rights.has_database_permission("ALTER ANY SECURITY POLICY");
    let of = |object: Table| {
        let def = object.policy()?.clone();
        let seen = all || catalog.sees_definitions(&object);
        seen.then(|| Policy { object: Object::of_table(catalog, &object), def })
    };
    Ok(catalog.txn.objects().into_iter().filter_map(of).collect())
}

fn policy_columns() -> Columns<Policy> {
    Columns::new()
        .extend(object_columns(), |p: &Policy| &p.object)
        .add("is_enabled", |p| p.def.enabled)
        .add("is_not_for_replication", |p| p.def.not_for_replication)
        .add("uses_database_collation", off)
        .add("is_schema_bound", |p| p.def.schema_bound)
}

struct Predicate {
    policy: ObjectId,
    def: PredicateDef,
}

fn predicates(catalog: &Catalog<'_>) -> Result<Vec<Predicate>, SqlError> {
    let of = |policy: Policy| {
        let id = policy.object.id;
        policy.def.predicates.into_iter().map(move |def| Predicate { policy: id, def })
    };
    Ok(policies(catalog)?.into_iter().flat_map(of).collect())
}

fn operation(operation: BlockOperation) -> (i32, &'static str) {
    match operation {
        BlockOperation::AfterInsert => (1, "AFTER INSERT"),
        BlockOperation::AfterUpdate => (2, "AFTER UPDATE"),
        BlockOperation::BeforeUpdate => (3, "BEFORE UPDATE"),
        BlockOperation::BeforeDelete => (4, "BEFORE DELETE"),
    }
}

fn predicate_columns() -> Columns<Predicate> {
    Columns::new()
        .add("object_id", |p: &Predicate| p.policy)
        .add("security_predicate_id", |p| p.def.id)
        .add("target_object_id", |p| p.def.target)
        .add("predicate_definition", |p| NVar::<4000>(p.def.definition.clone()))
        .add("predicate_type", |p| Some(i32::from(p.def.block)))
        .add("predicate_type_desc", |p| Some(Desc(if p.def.block { "BLOCK" } else { "FILTER" })))
        .add("operation", |p| p.def.operation.map(|known| operation(known).0))
        .add("operation_desc", |p| p.def.operation.map(|known| Desc(operation(known).1)))
}
