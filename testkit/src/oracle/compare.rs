//! Two states of one table, value by value.

use std::fmt;

use crate::history::TableState;
use crate::render::Row;
use crate::shape::Table;

/// The first place where two states differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Table.
    pub table: String,
    /// Canonical key of the group of rows.
    pub group: String,
    /// What is different, in words.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]: {}", self.table, self.group, self.what)
    }
}

/// The first difference between what should be and what is, in key order.
pub fn compare(table: &Table, expected: &TableState, actual: &TableState) -> Option<Difference> {
    let wrong = expected
        .iter()
        .filter(|(group, rows)| actual.get(*group) != Some(rows))
        .map(|(group, _)| group);
    let extra = actual.keys().filter(|group| !expected.contains_key(*group));
    let group = wrong.chain(extra).min()?;
    let none = Vec::new();
    let rows = |state: &'_ TableState| state.get(group).unwrap_or(&none).clone();
    Some(Difference {
        table: table.name.clone(),
        group: group.clone(),
        what: describe(table, &rows(expected), &rows(actual)),
    })
}

fn describe(table: &Table, expected: &[Row], actual: &[Row]) -> String {
    let ([expected], [actual]) = (expected, actual) else {
        return format!("{} rows expected, {} found", expected.len(), actual.len());
    };
    let columns = table.columns.iter().zip(expected.0.iter().zip(&actual.0));
    let different: Vec<String> = columns
        .filter(|(_, (expected, actual))| expected != actual)
        .map(|(column, (expected, actual))| {
            format!("{} is {}, expected {}", column.name, show(actual), show(expected))
        })
        .collect();
    different.join("; ")
}

/// Long values are cut: the test data's, never a user's.
fn show(value: &Option<Box<str>>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) if text.chars().count() > 60 => {
            let head: String = text.chars().take(60).collect();
            format!("{head:?}… ({} characters)", text.chars().count())
        }
        Some(text) => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::grouped;
    use crate::shape::{Type, column};

    fn row(values: [&str; 2]) -> Row {
        Row(values.iter().map(|v| Some((*v).into())).collect())
    }

    #[test]
    fn missing_extra_and_changed_rows_are_found() {
        let table = Table::keyed("t", 1, vec![column("id", Type::Int), column("v", Type::Int)]);
        let state = |rows: &[[&str; 2]]| grouped(&table, rows.iter().map(|r| row(*r)));
        let base = state(&[["1", "a"], ["2", "b"]]);
        assert_eq!(compare(&table, &base, &base), None);
        let missing = compare(&table, &base, &state(&[["1", "a"]])).unwrap();
        assert_eq!(missing.to_string(), "t [2]: 1 rows expected, 0 found");
        let extra = compare(&table, &state(&[["1", "a"]]), &base).unwrap();
        assert_eq!(extra.to_string(), "t [2]: 0 rows expected, 1 found");
        let changed = compare(&table, &base, &state(&[["1", "x"], ["2", "b"]])).unwrap();
        assert_eq!(changed.to_string(), "t [1]: v is \"x\", expected \"a\"");
    }

    #[test]
    fn equal_rows_of_a_table_without_a_key_are_counted() {
        let table = Table::keyless("t", vec![column("g", Type::Int), column("v", Type::Int)]);
        let state = |n| grouped(&table, vec![row(["1", "a"]); n]);
        assert_eq!(compare(&table, &state(2), &state(2)), None);
        assert!(compare(&table, &state(2), &state(1)).is_some());
    }
}
