//! Target tables of full loads: checked and made before the load ([`mod@prepare`]), given their indexes,
//! constraints, defaults and identities after it ([`mod@finish`]).
//!
//! - [`plan`] is pure: from what the source has to statements for PostgreSQL, and to a list of what
//!   has no equal there, with the reasons. `lockstep schema --print` shows it.
//! - Nothing is changed before everything has been checked, and what is changed before the load is
//!   one transaction: a crash leaves the target as it was, or prepared; preparing a prepared target
//!   changes nothing but what the mode asks for anyway.
//! - What is made after the load goes object by object, each with its row in `lockstep.load_object`.
//!   A crash between an object and its row leaves an object that the next run finds and accepts, or a
//!   half-made index that it drops and makes again.

mod expression;
mod finish;
mod foresee;
mod grants;
mod make;
mod objects;
mod plan;
mod prepare;
mod print;
mod role;
mod unmake;
mod way;

use std::sync::Arc;

use lockstep_common::config::{self, Prepare};
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::Handoff;
use lockstep_common::{TableId, TableVersion};

use super::plan::{Naming, TablePlan};

#[cfg(test)]
mod tests;

pub(super) use finish::{Finish, Report, finish, set_sequences};
pub(super) use foresee::{digits, doubles, warnings};
pub(super) use grants::grants;
pub(super) use plan::{Planned, create_schema, create_table, fit};
pub(super) use prepare::{prepare, unready_tables, with_contested};
pub(super) use print::print;
pub(super) use role::may_be_replica;
pub(super) use unmake::{unmade, unmake};
pub(super) use way::make_way;

/// What `lockstep.load_object` is; `schema.sql` comes before it.
pub(crate) const SCHEMA: &str = include_str!("schema.sql");

/// How target tables are to be made.
#[derive(Clone, Debug)]
pub(super) struct Design {
    /// Names of schemas, tables and columns.
    pub(super) naming: Naming,
    /// Tables that are absent may be made.
    pub(super) create: bool,
    /// What is done with tables that are there.
    pub(super) prepare: Prepare,
    /// The explicit yes that dropping needs.
    pub(super) drop_tables: bool,
    /// Indexes and constraints are made after a load.
    pub(super) constraints: bool,
}

impl Design {
    /// From a configuration.
    pub(super) fn new(config: &config::Apply) -> Self {
        Design {
            naming: Naming::new(config),
            create: config.create_tables,
            prepare: config.prepare,
            drop_tables: config.drop_tables,
            constraints: config.constraints,
        }
    }
}

/// A table of a load.
#[derive(Clone, Debug)]
pub(super) struct LoadTable {
    /// Identity of `version`.
    pub(super) id: TableId,
    /// Its shape.
    pub(super) version: Arc<TableVersion>,
    /// What it has beside; none when the log does not say.
    pub(super) definition: Option<Arc<Definition>>,
    /// How rows and stream are fitted together.
    pub(super) handoff: Handoff,
}

impl LoadTable {
    /// The table as it is to be made.
    fn plan(&self, naming: &Naming) -> TablePlan {
        TablePlan::new(naming, &self.version, self.definition.as_deref())
    }
}
