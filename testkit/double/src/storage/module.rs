//! What the catalogue says of objects that are no tables: views, functions, procedures, sequences and
//! security policies.

use super::ObjectId;
use crate::SqlType;

/// What a module is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleKind {
    /// CREATE VIEW
    View,
    /// CREATE PROCEDURE
    Procedure,
    /// CREATE FUNCTION … RETURNS TABLE AS RETURN …
    Function,
    /// CREATE SECURITY POLICY
    Policy,
    /// CREATE SEQUENCE
    Sequence,
}

/// What a sequence counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceDef {
    /// Type of its values.
    pub ty: SqlType,
    /// START WITH.
    pub start: i64,
    /// INCREMENT BY.
    pub increment: i64,
    /// MINVALUE.
    pub least: i64,
    /// MAXVALUE.
    pub most: i64,
    /// CYCLE.
    pub cycle: bool,
    /// CACHE: how many; 0 where it is left to the server, none for NO CACHE.
    pub cache: Option<i32>,
    /// RESTART WITH: the first value from then on.
    pub restart: Option<i64>,
}

impl SequenceDef {
    /// The value behind one; none at the end.
    pub fn after(&self, last: i64) -> Option<i64> {
        let next = last.checked_add(self.increment);
        next.filter(|next| (self.least..=self.most).contains(next)).or_else(|| {
            let first = if self.increment > 0 { self.least } else { self.most };
            self.cycle.then_some(first)
        })
    }
}

/// Setting of a database that has had a security policy.
pub const POLICY_SETTING: &str = "security_policies";

/// When a BLOCK predicate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOperation {
    /// AFTER INSERT
    AfterInsert,
    /// AFTER UPDATE
    AfterUpdate,
    /// BEFORE UPDATE
    BeforeUpdate,
    /// BEFORE DELETE
    BeforeDelete,
}

/// A predicate of a security policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredicateDef {
    /// `security_predicate_id`, from 1.
    pub id: i32,
    /// BLOCK rather than FILTER.
    pub block: bool,
    /// Of a BLOCK predicate; none for all operations.
    pub operation: Option<BlockOperation>,
    /// The call of its function.
    pub definition: String,
    /// Table.
    pub target: ObjectId,
}

/// What a security policy says; its meaning is the executor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDef {
    /// STATE
    pub enabled: bool,
    /// SCHEMABINDING
    pub schema_bound: bool,
    /// NOT FOR REPLICATION
    pub not_for_replication: bool,
    /// Predicates by id.
    pub predicates: Vec<PredicateDef>,
}

/// A parameter of a procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterDef {
    /// Name with its `@`.
    pub name: String,
    /// Type.
    pub ty: SqlType,
    /// OUTPUT.
    pub output: bool,
    /// Whether it has a default.
    pub has_default: bool,
}

/// What makes an object of the catalogue a view or a procedure: text, and no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleDef {
    /// What it is.
    pub kind: ModuleKind,
    /// The batch that made it, as `sys.sql_modules.definition` has it.
    pub definition: String,
    /// WITH CHECK OPTION.
    pub check_option: bool,
    /// Parameters of a procedure or function.
    pub parameters: Vec<ParameterDef>,
    /// WITH SCHEMABINDING.
    pub schema_bound: bool,
    /// What a security policy says.
    pub policy: Option<PolicyDef>,
    /// Made under ANSI_NULLS OFF.
    pub ansi_nulls_off: bool,
    /// Made under QUOTED_IDENTIFIER OFF.
    pub quoted_off: bool,
    /// What a sequence counts.
    pub sequence: Option<SequenceDef>,
}
