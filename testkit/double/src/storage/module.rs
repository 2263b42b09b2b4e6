//! What the catalogue says of objects that are no tables: views, functions, procedures and security
//! policies.

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
}
