//! Views, functions, procedures, sequences and security policies.

use super::{ObjectName, Query};
use crate::SqlType;
use crate::storage::{BlockOperation, ParameterDef};

/// What is known of by name in CREATE and DROP; only views and procedures can be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleWord {
    /// VIEW
    View,
    /// PROCEDURE
    Procedure,
    /// FUNCTION
    Function,
    /// TRIGGER
    Trigger,
    /// SEQUENCE
    Sequence,
}

/// `CREATE` or `ALTER SEQUENCE` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceOptions {
    /// AS.
    pub ty: Option<SqlType>,
    /// START WITH.
    pub start: Option<i64>,
    /// INCREMENT BY.
    pub increment: Option<i64>,
    /// MINVALUE; none in it for NO MINVALUE.
    pub least: Option<Option<i64>>,
    /// MAXVALUE.
    pub most: Option<Option<i64>>,
    /// CYCLE.
    pub cycle: Option<bool>,
    /// CACHE: 0 without a number; none in it for NO CACHE.
    pub cache: Option<Option<i32>>,
    /// RESTART, and with what.
    pub restart: Option<Option<i64>>,
}

/// Which verb a definition begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleVerb {
    /// CREATE
    Create,
    /// ALTER
    Alter,
    /// CREATE OR ALTER
    CreateOrAlter,
}

/// A view or procedure.
#[derive(Debug)]
pub struct Module {
    /// Verb.
    pub verb: ModuleVerb,
    /// Name.
    pub name: ObjectName,
    /// The batch, with CREATE in the place of the verb.
    pub definition: String,
    /// What it is.
    pub content: ModuleContent,
}

/// What a module holds.
#[derive(Debug)]
pub enum ModuleContent {
    /// A view.
    View {
        /// Names of its columns, where given.
        columns: Vec<String>,
        /// Its query.
        query: Box<Query>,
        /// WITH CHECK OPTION.
        check_option: bool,
    },
    /// A procedure, whose body is text.
    Procedure(Vec<ParameterDef>),
    /// An inline table-valued function.
    Function {
        /// Parameters.
        parameters: Vec<ParameterDef>,
        /// Its query.
        query: Box<Query>,
        /// WITH SCHEMABINDING.
        schema_bound: bool,
    },
}

/// CREATE or ALTER SECURITY POLICY.
#[derive(Debug)]
pub struct SecurityPolicy {
    /// CREATE rather than ALTER.
    pub create: bool,
    /// Name.
    pub name: ObjectName,
    /// Changes of its predicates, in order.
    pub actions: Vec<PredicateAction>,
    /// STATE
    pub enabled: Option<bool>,
    /// SCHEMABINDING
    pub schema_bound: Option<bool>,
    /// `[ADD | DROP] NOT FOR REPLICATION`
    pub not_for_replication: Option<bool>,
}

/// What becomes of a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredicateVerb {
    /// ADD
    Add,
    /// ALTER
    Alter,
    /// DROP
    Drop,
}

/// A change of one predicate of a policy.
#[derive(Debug)]
pub struct PredicateAction {
    /// Verb.
    pub verb: PredicateVerb,
    /// BLOCK rather than FILTER.
    pub block: bool,
    /// The call of its function, as the catalogue has it; empty for DROP.
    pub definition: String,
    /// Table.
    pub table: ObjectName,
    /// Of a BLOCK predicate.
    pub operation: Option<BlockOperation>,
}
