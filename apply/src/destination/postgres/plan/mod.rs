//! What this target makes of a source table: the one place that decides it.
//!
//! A [`TablePlan`] is pure: from a table version, what the source has beside it (its definition) and this
//! target's rules ([`Naming`], [`Types`](rules::Types)) to the target's table: its name, its columns with their types and
//! collations, its key, and everything that is wrong with it. `lockstep check`, `lockstep schema --print`,
//! the making of tables, loads and the stream read the same plan.
//!
//! A target table that is there already may lack derived columns or have more of them:
//! [`TablePlan::of_existing`] plans for it, and `catalog` holds the table against that plan.
//!
//! Rows and changes go through a plan once ([`Projection`]). Behind it a column's number is its place in
//! [`TablePlan::columns`], and nothing knows the source's.

mod derived;
// Schema changes that the stream brings are followed by it.
#[cfg_attr(not(test), allow(dead_code))]
mod diff;
mod naming;
mod problem;
mod projection;
mod rules;

use std::borrow::Cow;

use lockstep_common::model::definition::Definition;
use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Column, TableName, TableVersion};

use super::encode::Form;
use super::types::PgType;
use derived::Derived;
pub(super) use derived::{Part, digit_name, telling};
pub(super) use naming::{Naming, TargetName};
pub(super) use projection::Projection;
use rules::form;

/// What SQL Server's versions of tables call their dialect.
pub(super) const TSQL: &str = "sqlserver";

/// A source table as this target is to have it.
#[derive(Clone, Debug)]
pub(super) struct TablePlan {
    /// The source table.
    pub(super) source: TableName,
    /// The target table.
    pub(super) target: TargetName,
    /// The target's columns: those of the source in its order, and behind them the derived ones.
    pub(super) columns: Vec<OutputColumn>,
    /// Places in `columns`, in key order; a derived column stands behind the one it completes. Empty for
    /// a table without a key.
    pub(super) key: Vec<usize>,
    /// Derived columns of the key that the target's table lacks: one made by hand, or before there were
    /// any. Its key then keeps rows out that it cannot tell apart.
    pub(super) lacking: Vec<OutputColumn>,
    /// Why no table of PostgreSQL can stand for it.
    pub(super) unusable: Vec<String>,
    /// Rules of the configuration that name columns which the table does not have.
    pub(super) unknown_columns: Vec<String>,
}

/// Where a column's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// A column of the source, by its place in the version.
    Source(usize),
    /// Part of the value of another one.
    Derived {
        /// The place of the other one.
        of: usize,
        /// The part.
        part: Part,
    },
}

/// A column of the target.
#[derive(Clone, Debug)]
pub(super) struct OutputColumn {
    /// Where its values come from.
    pub(super) from: From,
    /// Its name in the target.
    pub(super) name: String,
    /// What the source says of it; of a derived column what it would say.
    pub(super) column: Column,
    /// Its type when it is made, or why it cannot have the one that the configuration asks for.
    pub(super) ty: Result<PgType, String>,
    /// That type as it stands in `CREATE TABLE`.
    pub(super) type_name: String,
    /// The configuration asks for its type.
    asked: bool,
    /// The collation that it is made with, if not the database's: where rows are told apart or referred
    /// to by it.
    pub(super) collation: Option<&'static str>,
    /// The target may hold values of it equal that differ, where rows are told apart by it.
    pub(super) folds: bool,
    /// It is part of the key.
    pub(super) key: bool,
    /// Rows are told apart or referred to by it.
    pub(super) tells: bool,
}

impl TablePlan {
    /// The plan for a table that is to be made. `definition` says which indexes and foreign keys it is to
    /// have.
    pub(super) fn new(
        naming: &Naming,
        version: &TableVersion,
        definition: Option<&Definition>,
    ) -> Self {
        let telling = telling(version, definition);
        Self::plan(naming, version, definition, |derived| {
            derived.part == Part::Offset || telling[derived.of]
        })
    }

    /// The plan for a table that is there. It has to have the columns that the configuration asks for;
    /// `has` tells of another derived column, by its name, whether the table has it.
    pub(super) fn of_existing(
        naming: &Naming,
        version: &TableVersion,
        has: impl Fn(&str) -> bool,
    ) -> Self {
        Self::plan(naming, version, None, |derived| {
            derived.part == Part::Offset || has(&naming.carry(&derived.name))
        })
    }

    fn plan(
        naming: &Naming,
        version: &TableVersion,
        definition: Option<&Definition>,
        has: impl Fn(&Derived) -> bool,
    ) -> Self {
        let named = derived::named(version, definition);
        let is_key = |at: usize| version.key.iter().any(|key| usize::from(*key) == at);
        let mut columns = Vec::with_capacity(version.columns.len());
        for (at, column) in version.columns.iter().enumerate() {
            let planned = output(naming, version, From::Source(at), column);
            let key = is_key(at);
            let tells = key || named[at] || version.key.is_empty();
            columns.push(planned.told_apart(key, tells, key || named[at]));
        }
        let mut digits = vec![None; columns.len()];
        let mut lacking = Vec::new();
        for derived in derived::possible(naming, version) {
            let Derived { of, part, .. } = derived;
            let key = part == Part::Ticks && is_key(of);
            let column = derived.column(&version.columns[of]);
            let planned = output(naming, version, From::Derived { of, part }, &column);
            let planned = planned.told_apart(key, key || version.key.is_empty(), key);
            if has(&derived) {
                if part == Part::Ticks {
                    digits[of] = Some(columns.len());
                }
                columns.push(planned);
            } else if key {
                lacking.push(planned);
            }
        }
        let key = version.key.iter().map(|key| usize::from(*key));
        let key = key.flat_map(|at| [Some(at), digits.get(at).copied().flatten()]).flatten();
        let mut plan = TablePlan {
            source: version.name.clone(),
            target: naming.table(&version.name),
            key: key.collect(),
            columns,
            lacking,
            unusable: Vec::new(),
            unknown_columns: naming.types.unknown_columns(version),
        };
        plan.unusable = problem::unusable(&plan);
        plan
    }

    /// The column that a source column becomes, by its name there.
    pub(super) fn column(&self, source: &str) -> Option<&OutputColumn> {
        let named = |column: &&OutputColumn| !column.is_derived() && column.column.name == source;
        self.columns.iter().find(named)
    }

    /// The derived columns, with the places of those that they complete.
    pub(super) fn derived(&self) -> impl Iterator<Item = (&OutputColumn, usize, Part)> {
        self.columns.iter().filter_map(|column| match column.from {
            From::Source(_) => None,
            From::Derived { of, part } => Some((column, of, part)),
        })
    }

    /// The derived column, quoted, that holds the seventh fractional digit of a source column's times.
    pub(super) fn digit_of(&self, source: &str) -> Option<String> {
        let digit = |&(_, of, part): &(&OutputColumn, usize, Part)| {
            part == Part::Ticks && self.columns[of].column.name == source
        };
        self.derived().find(digit).map(|(column, ..)| column.quoted())
    }

    /// The key's columns in the target, in the order of their names.
    pub(super) fn key_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.key.iter().map(|at| self.columns[*at].name.clone()).collect();
        names.sort();
        names
    }

    /// What keeps it from being made as the configuration says: columns whose type is not what it was to
    /// be, a key over a computed column.
    pub(super) fn mistyped(&self) -> Vec<String> {
        let mut wrong = self.unknown_columns.clone();
        for column in &self.columns {
            match &column.ty {
                Err(what) => wrong.push(what.clone()),
                Ok(_) if column.key && column.column.computed => wrong.push(format!(
                    "key column {} is computed",
                    quote_postgres(&column.column.name)
                )),
                Ok(_) => {}
            }
        }
        wrong
    }

    /// How rows and changes of the source become the target's.
    pub(super) fn projection(&self) -> Projection {
        let derived = self.derived().map(|(_, of, part)| (of, part)).collect::<Vec<_>>();
        Projection::new(self.columns.len() - derived.len(), derived, self.key.clone())
    }
}

impl OutputColumn {
    /// Its name in the target, quoted.
    pub(super) fn quoted(&self) -> String {
        quote_postgres(&self.name)
    }

    /// Whether it holds a part of the values of the column at that place.
    pub(super) fn completes(&self, at: usize) -> bool {
        matches!(self.from, From::Derived { of, .. } if of == at)
    }

    /// Whether the source does not have it.
    pub(super) fn is_derived(&self) -> bool {
        matches!(self.from, From::Derived { .. })
    }

    /// Whether it may have type `found` where `wanted` is planned.
    pub(super) fn may_be(&self, found: PgType, wanted: PgType) -> bool {
        rules::serves(self.asked, &self.column, found, wanted)
    }

    /// How its values are written into a column of type `ty`.
    pub(super) fn form(&self, ty: PgType) -> Form {
        form(ty, &self.column)
    }

    /// `compared`: an index or a foreign key has it. (A table without a key finds its rows by all they
    /// have, and their collation stays.)
    fn told_apart(mut self, key: bool, tells: bool, compared: bool) -> Self {
        self.collation = self.collation.filter(|_| compared);
        (self.key, self.tells) = (key, tells);
        self
    }
}

/// A column that nothing is told apart by.
fn output(naming: &Naming, version: &TableVersion, from: From, column: &Column) -> OutputColumn {
    let column = of_dialect(&version.dialect, column);
    let types = &naming.types;
    let ty = types.wanted(&version.name, &column);
    let known = ty.clone().unwrap_or_else(|_| types.own(&column));
    let collation = types.collation(&column, known);
    OutputColumn {
        from,
        name: naming.carry(&column.name),
        type_name: types.name(known),
        asked: types.asked(&version.name, &column).is_some(),
        folds: collation.is_some() || known == PgType::Citext,
        collation,
        column: column.into_owned(),
        ty,
        key: false,
        tells: false,
    }
}

/// The column as rules see it: names of types and collations are SQL Server's where the version says so.
/// Those of another dialect stand with the dialect's name before them, so that none is taken for one.
fn of_dialect<'c>(dialect: &str, column: &'c Column) -> Cow<'c, Column> {
    if dialect == TSQL {
        return Cow::Borrowed(column);
    }
    Cow::Owned(Column {
        source_type: format!("{dialect} {}", column.source_type),
        collation: None,
        ..column.clone()
    })
}

#[cfg(test)]
mod tests;
