//! What becomes of a target table when its source changes: from the plan of the old version to the
//! actions that make its table the new one's. Pure.
//!
//! Columns are matched by the source's column ids: a column that was renamed is the same, one that was
//! dropped and added again under its name is another. Versions of logs that did not record ids yet are
//! matched by name. A derived column belongs to the column whose value it completes.
//!
//! Actions stand in the order in which they are to be done: names are made free before they are taken, and
//! what needs every row ([`Action::Backfill`], and NOT NULL after it) comes last.

mod convert;
mod objects;

use std::collections::{BTreeMap, BTreeSet};

use lockstep_common::model::definition::Definition;
use lockstep_common::{TableName, TableVersion};

use super::super::types::PgType;
use super::{From, OutputColumn, Part, TablePlan};
use convert::{casts, converts_alike, widens_in_place};
use objects::objects;

/// What is done where there is a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Policies {
    /// What a column that the source added becomes.
    pub(in super::super) added: Added,
    /// What a column that the source dropped becomes.
    pub(in super::super) dropped: Dropped,
    /// What is done where PostgreSQL writes a table anew.
    pub(in super::super) retyped: Retyped,
    /// The target's table takes the new name, too.
    pub(in super::super) rename_table: bool,
}

/// What a column that the source added becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Added {
    /// One of the target, too.
    #[default]
    Add,
    /// Nothing.
    Ignore,
}

/// What a column that the source dropped becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Dropped {
    /// It stays, and may be NULL.
    #[default]
    Keep,
    /// It goes.
    Drop,
}

/// What is done where a change of type has PostgreSQL write a table anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Retyped {
    /// It does so.
    #[default]
    Rewrite,
    /// Somebody has it do so.
    Wait,
}

/// A version, what it has beside it, and its plan.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Side<'a> {
    pub(in super::super) version: &'a TableVersion,
    pub(in super::super) definition: Option<&'a Definition>,
    pub(in super::super) plan: &'a TablePlan,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Action {
    /// The source's table ended: dropped, or no longer captured. The target's is suspended.
    Suspend(Ended),
    /// The source's table has another name. `target` is the name that the target's table takes; none where
    /// it keeps its own.
    TableRenamed { from: TableName, to: TableName, target: Option<String> },
    /// A column kept from before makes way for one that takes its name.
    MoveAside { name: String },
    /// A column goes, or stays and may be NULL.
    DropColumn { name: String, keep: bool },
    /// A column has another name.
    RenameColumn { from: String, to: String },
    /// A column comes, without values: they come by a backfill.
    AddColumn { name: String, ty: PgType, collation: Option<&'static str> },
    /// A column's type changes; `rewrite`: PostgreSQL writes the whole table anew, or reads it.
    AlterType { name: String, from: PgType, to: PgType, rewrite: bool },
    /// The target cannot follow by itself, or is not to: it waits until the column is so.
    Wait { name: String, reason: Waits },
    /// A column may be NULL, or may not.
    SetNullability { name: String, nullable: bool },
    /// Objects beside columns and key: each of these names is compared with what was made.
    DefinitionChanged(BTreeSet<Object>),
    /// The values of these columns are read again from the source, for all rows.
    Backfill(Vec<String>),
    /// No row of a column is NULL any more once its backfill has ended: it may not be from then on.
    SetNotNullAfterBackfill { name: String },
}

/// How a source table ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Ended {
    /// There is no such table any more, or it is not captured.
    Gone,
    /// Another table has its place.
    Replaced,
    /// Its rows are told apart by another key: the same table begins anew.
    KeyChanged,
}

/// What a target waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Waits {
    /// No value of the old type has a form in the new one that PostgreSQL gives by itself.
    Type { from: PgType, to: PgType },
    /// The configuration says that a table is not written anew by itself.
    Rewrite { from: PgType, to: PgType },
    /// Rows are told apart by another collation.
    Collation,
    /// It is computed from something else, or no longer computed, or newly so.
    Computed,
    /// The configuration asks for a type that the column cannot have.
    Mistyped,
}

/// An object beside columns and key, by its kind and its name in the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Object {
    Default(String),
    Identity(String),
    Index(String),
    ForeignKey(String),
    Check(String),
}

/// The actions that make the table of `old` the one of `new`; none when there is nothing to do. `new` is
/// absent when the table ended. `kept` are columns of the target that earlier versions left there.
pub(in super::super) fn diff(
    old: Side<'_>,
    new: Option<Side<'_>>,
    kept: &[String],
    policies: Policies,
) -> Vec<Action> {
    let Some(new) = new else { return vec![Action::Suspend(Ended::Gone)] };
    if !old.version.table_ref().matches(&new.version.table_ref()) {
        return vec![Action::Suspend(Ended::Replaced)];
    }
    let mut actions = Vec::new();
    if old.version.name != new.version.name {
        actions.push(Action::TableRenamed {
            from: old.version.name.clone(),
            to: new.version.name.clone(),
            target: policies.rename_table.then(|| new.plan.target.quoted()),
        });
    }
    let pairs = Pairs::new(old.plan, new.plan);
    if pairs.key_changed() {
        actions.push(Action::Suspend(Ended::KeyChanged));
        return actions;
    }
    pairs.columns(old, new, kept, policies, &mut actions);
    let objects = objects(&pairs, old.definition, new.definition);
    if !objects.is_empty() {
        let at = actions.iter().position(Action::needs_rows).unwrap_or(actions.len());
        actions.insert(at, Action::DefinitionChanged(objects));
    }
    actions
}

impl Action {
    fn needs_rows(&self) -> bool {
        matches!(self, Action::Backfill(_) | Action::SetNotNullAfterBackfill { .. })
    }
}

/// What a column is the same by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity<'a> {
    id: Option<i32>,
    name: Option<&'a str>,
    part: Option<&'static str>,
}

/// The columns of two plans, matched.
struct Pairs<'a> {
    old: &'a TablePlan,
    new: &'a TablePlan,
    /// Places in the new plan by places in the old one.
    same: BTreeMap<usize, usize>,
}

impl<'a> Pairs<'a> {
    fn new(old: &'a TablePlan, new: &'a TablePlan) -> Self {
        let has_ids = |plan: &TablePlan| {
            plan.columns.iter().all(|column| column.is_derived() || column.column.id.is_some())
        };
        let by_id = has_ids(old) && has_ids(new);
        let found: BTreeMap<Identity<'_>, usize> =
            (0..new.columns.len()).map(|at| (identity(new, at, by_id), at)).collect();
        let same = (0..old.columns.len())
            .filter_map(|at| Some((at, *found.get(&identity(old, at, by_id))?)))
            .collect();
        Pairs { old, new, same }
    }

    /// Whether rows are told apart by other columns of the source. (A derived column comes and goes with
    /// the type of the one that it completes.)
    fn key_changed(&self) -> bool {
        let own = |plan: &TablePlan| -> Vec<usize> {
            plan.key.iter().copied().filter(|at| !plan.columns[*at].is_derived()).collect()
        };
        let old: Vec<Option<usize>> =
            own(self.old).iter().map(|at| self.same.get(at).copied()).collect();
        let new: Vec<Option<usize>> = own(self.new).into_iter().map(Some).collect();
        old != new
    }

    fn columns(
        &self,
        old: Side<'_>,
        new: Side<'_>,
        kept: &[String],
        policies: Policies,
        actions: &mut Vec<Action>,
    ) {
        let (mut names, mut types, mut last) = (Vec::new(), Vec::new(), Vec::new());
        let (mut added, mut filled) = (Vec::new(), Vec::new());
        let dropped = (0..self.old.columns.len()).filter(|at| !self.same.contains_key(at));
        let dropped: Vec<&str> = dropped.map(|at| self.old.columns[at].name.as_str()).collect();
        for (at, now) in self.new.columns.iter().enumerate() {
            let before = self.same.iter().find(|(_, new)| **new == at).map(|(old, _)| *old);
            match before.map(|before| &self.old.columns[before]) {
                Some(before) => {
                    if before.name != now.name {
                        names.push((before.name.clone(), now.name.clone()));
                    }
                    let fills = self.retyped(before, now, old, new, policies, &mut types);
                    filled.extend(fills.then(|| now.name.clone()));
                }
                None if policies.added == Added::Ignore && !self.completes_one(now) => {}
                None => added_column(now, &mut added, &mut filled, &mut last),
            }
        }
        // Names are free before they are taken.
        let taken: BTreeSet<&str> = self.new.columns.iter().map(|c| c.name.as_str()).collect();
        for name in kept.iter().filter(|name| taken.contains(name.as_str())) {
            actions.push(Action::MoveAside { name: name.clone() });
        }
        for name in dropped {
            let keep = policies.dropped == Dropped::Keep;
            actions.push(Action::DropColumn { name: name.to_owned(), keep });
            if keep && taken.contains(name) {
                actions.push(Action::MoveAside { name: name.to_owned() });
            }
        }
        actions.extend(in_order(names));
        actions.extend(types);
        actions.extend(added);
        if !filled.is_empty() {
            actions.push(Action::Backfill(filled));
        }
        actions.extend(last);
    }

    /// Whether a column that is new is derived from one that was there.
    fn completes_one(&self, now: &OutputColumn) -> bool {
        self.same.values().any(|at| now.completes(*at))
    }

    /// What a column that stays has otherwise; whether its values have to be read again.
    fn retyped(
        &self,
        before: &OutputColumn,
        now: &OutputColumn,
        old: Side<'_>,
        new: Side<'_>,
        policies: Policies,
        actions: &mut Vec<Action>,
    ) -> bool {
        let name = now.name.clone();
        let wait = |reason| Action::Wait { name: name.clone(), reason };
        let computed = |side: Side<'_>, column: &OutputColumn| {
            let columns = side.definition.map_or(&[][..], |definition| &definition.columns);
            let found = columns.iter().find(|c| c.column == column.column.name);
            (column.column.computed, found.and_then(|c| Some((c.computed.clone()?, c.persisted))))
        };
        if computed(old, before) != computed(new, now) {
            actions.push(wait(Waits::Computed));
            return false;
        }
        let (Ok(from), Ok(to)) = (&before.ty, &now.ty) else {
            if before.ty != now.ty {
                actions.push(wait(Waits::Mistyped));
            }
            return false;
        };
        let (from, to) = (*from, *to);
        if from != to {
            let rewrite = !widens_in_place(from, to);
            if !casts(from, to) {
                actions.push(wait(Waits::Type { from, to }));
                return false;
            }
            if rewrite && policies.retyped == Retyped::Wait {
                actions.push(wait(Waits::Rewrite { from, to }));
                return false;
            }
            actions.push(Action::AlterType { name: name.clone(), from, to, rewrite });
        }
        if now.tells && before.column.collation != now.column.collation && before.tells {
            actions.push(wait(Waits::Collation));
        }
        let (was, is) = (before.column.nullable, now.column.nullable);
        if was != is && !now.key {
            actions.push(Action::SetNullability { name, nullable: is });
        }
        !converts_alike(&before.column, &now.column, from, to)
    }
}

fn added_column(
    now: &OutputColumn,
    added: &mut Vec<Action>,
    filled: &mut Vec<String>,
    last: &mut Vec<Action>,
) {
    let name = now.name.clone();
    let Ok(ty) = now.ty else {
        return added.push(Action::Wait { name, reason: Waits::Mistyped });
    };
    if now.column.computed {
        return added.push(Action::Wait { name, reason: Waits::Computed });
    }
    added.push(Action::AddColumn { name: name.clone(), ty, collation: now.collation });
    filled.push(name.clone());
    if !now.column.nullable {
        last.push(Action::SetNotNullAfterBackfill { name });
    }
}

fn identity(plan: &TablePlan, at: usize, by_id: bool) -> Identity<'_> {
    let (of, part) = match plan.columns[at].from {
        From::Source(_) => (at, None),
        From::Derived { of, part: Part::Offset } => (of, Some("offset")),
        From::Derived { of, part: Part::Ticks } => (of, Some("ticks")),
    };
    let column = &plan.columns[of].column;
    let id = column.id.filter(|_| by_id);
    let name = id.is_none().then_some(column.name.as_str());
    Identity { id, name, part }
}

/// Renames so ordered that no name is taken before it is free. Where names go round, one column takes
/// another name meanwhile.
fn in_order(mut names: Vec<(String, String)>) -> Vec<Action> {
    let mut actions = Vec::with_capacity(names.len());
    while !names.is_empty() {
        let free = |(_, to): &(String, String)| names.iter().all(|(from, _)| from != to);
        match names.iter().position(free) {
            Some(at) => {
                let (from, to) = names.remove(at);
                actions.push(Action::RenameColumn { from, to });
            }
            None => {
                let to = format!("lockstep_renamed_{}", names.len());
                let from = std::mem::replace(&mut names[0].0, to.clone());
                actions.push(Action::RenameColumn { from, to });
            }
        }
    }
    actions
}

#[cfg(test)]
mod tests;
