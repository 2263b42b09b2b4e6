//! What a change's images say of its row, held against the target table.

use lockstep_common::Value;
use lockstep_common::model::record::{Before, Change, Operation};

use super::relation::Relation;
use super::run::ChangeError;
use super::text::{self, Style};

/// Checks that the images have the columns of their table version.
///
/// # Errors
/// `Corrupt` when they do not.
pub(super) fn check_lengths(relation: &Relation, change: &Change<'_>) -> Result<(), ChangeError> {
    let columns = relation.columns.len();
    let after = match change.operation {
        Operation::Insert | Operation::Update => change.after.len() == columns,
        Operation::Delete | Operation::Truncate => true,
    };
    let before = match &change.before {
        Before::None => change.operation != Operation::Delete,
        Before::Key(key) => key.len() == relation.key.len(),
        Before::Full(row) => row.len() == columns,
    };
    if after && before {
        Ok(())
    } else {
        Err(ChangeError::Corrupt("a row does not have its table version's columns"))
    }
}

/// The value that identifies the row, at `place` of the key.
pub(super) fn key_value<'c>(
    relation: &Relation,
    change: &'c Change<'_>,
    place: usize,
) -> Option<&'c Value<'c>> {
    match &change.before {
        Before::None => change.after.get(relation.key[place]),
        Before::Key(key) => key.get(place),
        Before::Full(row) => row.get(relation.key[place]),
    }
}

/// Which row, for messages: the key's columns, with their values where those are numbers, times or the
/// like. Texts and bytes are not shown.
pub(super) fn key_in_words<'v>(
    relation: &Relation,
    value: impl Fn(usize) -> Option<&'v Value<'v>>,
) -> Option<String> {
    let style = Style { digits: 0, between: ' ' };
    let words = |(place, column): (usize, &usize)| {
        let mut shown = String::new();
        let value = value(place)?;
        let is_shown = !matches!(value, Value::Bytes(_)) && text::render(value, style, &mut shown);
        let name = &relation.column(*column).name;
        Some(if is_shown { format!("{name} = {shown}") } else { format!("{name} (not shown)") })
    };
    let own = |(_, column): &(usize, &usize)| **column < relation.projection.width();
    let words: Vec<String> =
        relation.key.iter().enumerate().filter(own).filter_map(words).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// Whether an update gives its row another key.
pub(super) fn changes_key(relation: &Relation, change: &Change<'_>) -> bool {
    relation.key.iter().enumerate().any(|(place, column)| {
        change.after.get(*column).is_some_and(|new| {
            !new.is_unavailable() && key_value(relation, change, place) != Some(new)
        })
    })
}

/// Whether the row gives every column the target has.
pub(super) fn is_complete(relation: &Relation, row: &[Value<'_>]) -> bool {
    row.iter().zip(&relation.columns).all(|(v, column)| column.is_none() || !v.is_unavailable())
}

/// Whether an update may move a value that another unique constraint watches.
pub(super) fn touches_contested(relation: &Relation, change: &Change<'_>) -> bool {
    relation
        .columns
        .iter()
        .enumerate()
        .any(|(i, column)| column.as_ref().is_some_and(|c| c.contested) && may_set(change, i))
}

/// Whether an update may have set a column: its mask says so, or it has none.
fn may_set(change: &Change<'_>, column: usize) -> bool {
    change.changed.is_empty()
        || change.changed.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1)
}

/// What a row without key had in a column: as its before image gives it, or, where the source did not
/// record it there, as the after image has it of a column that the update did not set.
pub(super) fn old_value<'c>(change: &'c Change<'_>, column: usize) -> Option<&'c Value<'c>> {
    let Before::Full(row) = &change.before else { return None };
    let kept = || {
        let update = change.operation == Operation::Update;
        if update && !may_set(change, column) { change.after.get(column) } else { None }
    };
    let given = |value: &&Value<'_>| !value.is_unavailable();
    row.get(column).filter(given).or_else(|| kept().filter(given))
}

/// Calls `take` with every column that the row gives and the target has.
pub(super) fn each_available<'v>(
    relation: &Relation,
    row: &'v [Value<'v>],
    mut take: impl FnMut(usize, &'v Value<'v>),
) {
    for (column, value) in row.iter().enumerate() {
        if relation.columns[column].is_some() && !value.is_unavailable() {
            take(column, value);
        }
    }
}
