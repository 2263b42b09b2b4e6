//! Names of the target.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_common::TableName;
use lockstep_common::config::{self, NameRule};
use lockstep_common::model::name::quote_postgres;

use super::super::define;
use super::rules::Types;

/// Where source tables go, and as what.
#[derive(Clone, Debug)]
pub(in super::super) struct Naming {
    /// Target schema by source schema; one not named keeps its name.
    pub(in super::super) schemas: BTreeMap<String, String>,
    pub(in super::super) rule: NameRule,
    pub(in super::super) types: Arc<Types>,
}

/// A target table's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct TargetName {
    pub(in super::super) schema: String,
    pub(in super::super) table: String,
}

impl TargetName {
    /// Schema and table, each quoted.
    pub(in super::super) fn quoted(&self) -> String {
        format!("{}.{}", quote_postgres(&self.schema), quote_postgres(&self.table))
    }
}

impl Naming {
    /// From a configuration, for a target that is not known yet.
    pub(in super::super) fn new(config: &config::Apply) -> Self {
        Naming {
            schemas: config.schemas.clone(),
            rule: config.names,
            types: Arc::new(Types::new(config)),
        }
    }

    /// The target table of a source table.
    pub(in super::super) fn table(&self, source: &TableName) -> TargetName {
        let schema = match self.schemas.get(&source.schema) {
            Some(schema) => schema.clone(),
            None => self.carry(&source.schema),
        };
        TargetName { schema, table: self.carry(&source.table) }
    }

    /// A name by the rule, and not longer than PostgreSQL's names are.
    pub(in super::super) fn carry(&self, name: &str) -> String {
        match self.rule {
            NameRule::Keep => define::fit(name),
            NameRule::Lower => define::fit(&name.to_lowercase()),
        }
    }
}
