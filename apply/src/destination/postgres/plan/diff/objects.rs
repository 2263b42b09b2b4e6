//! Objects of a table beside its columns and its key, compared.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_common::model::definition::Definition;

use super::{Object, Pairs};

/// Objects that are in one of two definitions only, or otherwise in both.
pub(super) fn objects(
    pairs: &Pairs<'_>,
    old: Option<&Definition>,
    new: Option<&Definition>,
) -> BTreeSet<Object> {
    let (Some(old), Some(new)) = (old, new) else { return BTreeSet::new() };
    let old = under_new_names(pairs, old);
    let mut found = BTreeSet::new();
    // What belongs to a column comes and goes with it.
    let there = |name: &String| pairs.new.column(name).is_some_and(|c| !c.column.computed);
    let defaults = |d: &Definition| by_name(&d.columns, |c| (&c.column, c.default.clone()));
    let names = differing(&defaults(&old), &defaults(new));
    found.extend(names.into_iter().filter(there).map(Object::Default));
    let identities = |d: &Definition| by_name(&d.columns, |c| (&c.column, c.identity));
    let names = differing(&identities(&old), &identities(new));
    found.extend(names.into_iter().filter(there).map(Object::Identity));
    let indexes = |d: &Definition| by_name(&d.indexes, |i| (&i.name, Some(i.clone())));
    found.extend(differing(&indexes(&old), &indexes(new)).into_iter().map(Object::Index));
    let keys = |d: &Definition| by_name(&d.foreign_keys, |k| (&k.name, Some(k.clone())));
    found.extend(differing(&keys(&old), &keys(new)).into_iter().map(Object::ForeignKey));
    let checks = |d: &Definition| by_name(&d.checks, |c| (&c.name, Some(c.clone())));
    found.extend(differing(&checks(&old), &checks(new)).into_iter().map(Object::Check));
    found
}

/// A definition with the names that columns have now: a column that is gone has one that none has, so that
/// what named it differs, whatever column has its name now. Conditions are the source's own text, which
/// has the names of columns in brackets; those of columns that conditions name cannot change there
/// (`sp_rename` refuses).
fn under_new_names(pairs: &Pairs<'_>, old: &Definition) -> Definition {
    let mut definition = old.clone();
    let gone = |name: &str| format!("{name}\0");
    let own = pairs.old.columns.iter().enumerate().filter(|(_, column)| !column.is_derived());
    let names: BTreeMap<&str, String> = own
        .map(|(at, column)| {
            let name = column.column.name.as_str();
            let now = pairs.same.get(&at).map(|at| pairs.new.columns[*at].column.name.clone());
            (name, now.unwrap_or_else(|| gone(name)))
        })
        .collect();
    let rename = |name: &mut String| {
        if let Some(now) = names.get(name.as_str()) {
            name.clone_from(now);
        }
    };
    let condition = |text: &mut String| {
        for (name, now) in names.iter().filter(|(name, now)| **now == gone(name)) {
            *text = text.replace(&bracketed(name), &bracketed(now));
        }
    };
    definition.columns.iter_mut().for_each(|column| rename(&mut column.column));
    for index in &mut definition.indexes {
        index.columns.iter_mut().for_each(|column| rename(&mut column.column));
        index.included.iter_mut().for_each(rename);
        index.filter.iter_mut().for_each(condition);
    }
    definition.foreign_keys.iter_mut().flat_map(|key| &mut key.columns).for_each(rename);
    definition.checks.iter_mut().for_each(|check| condition(&mut check.condition));
    definition
}

fn bracketed(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// What items have, by their names; nothing for those that do not have it.
fn by_name<'i, T, V>(
    items: &'i [T],
    entry: impl Fn(&'i T) -> (&'i String, Option<V>),
) -> BTreeMap<String, V> {
    let entries = items.iter().map(entry);
    entries.filter_map(|(name, value)| Some((name.clone(), value?))).collect()
}

fn differing<V: PartialEq>(old: &BTreeMap<String, V>, new: &BTreeMap<String, V>) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
}
