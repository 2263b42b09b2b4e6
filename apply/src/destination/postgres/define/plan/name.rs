//! Names in the target.
//!
//! PostgreSQL's names have at most 63 bytes, and it cuts longer ones without a word; SQL Server's have
//! up to 128 characters. A longer name becomes its first bytes, `_`, and eight hexadecimal digits of
//! the SHA-256 of the whole, so that it stays the same name wherever it is used and two long names
//! that begin alike stay two.
//!
//! Indexes share one space of names with tables and sequences in each schema of PostgreSQL, while in
//! SQL Server an index is named within its table. An index (or the primary key or unique constraint
//! that it stands for) keeps its name if no table and no index before it in the load has that name
//! in the target schema; else it is `<table>_<name>`; if that is taken too, it gets the eight digits.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// PostgreSQL's `NAMEDATALEN` - 1.
const MOST_BYTES: usize = 63;

/// A name that PostgreSQL keeps as it is.
pub(crate) fn fit(name: &str) -> String {
    if name.len() <= MOST_BYTES { name.to_owned() } else { mark(name, name) }
}

/// `name` with the mark of `whole`.
fn mark(name: &str, whole: &str) -> String {
    let digest = Sha256::digest(whole.as_bytes());
    let digits: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut end = name.len().min(MOST_BYTES - 1 - digits.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{digits}", &name[..end])
}

/// The names taken so far in the schemas of the target.
#[derive(Debug, Default)]
pub(super) struct Taken(HashSet<(String, String)>);

impl Taken {
    /// Takes the name of a table.
    pub(super) fn table(&mut self, schema: &str, name: &str) {
        self.0.insert((schema.to_owned(), name.to_owned()));
    }

    /// Takes a name for an index of `table`.
    pub(super) fn index(&mut self, schema: &str, table: &str, name: &str) -> String {
        let whole = format!("{table}_{name}");
        let candidates = [fit(name), fit(&whole), mark(&whole, &format!("{schema}.{whole}"))];
        for candidate in &candidates {
            if self.0.insert((schema.to_owned(), candidate.clone())) {
                return candidate.clone();
            }
        }
        let [.., last] = candidates;
        last
    }
}

/// Another name for an index whose name something else in the target has.
pub(crate) fn other_index_name(schema: &str, table: &str, name: &str) -> String {
    mark(name, &format!("{schema}.{table}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_stay_apart() {
        let long = "ä".repeat(70);
        let longer = format!("{long}x");
        for name in [&long, &longer] {
            assert!(fit(name).len() <= MOST_BYTES);
            assert_eq!(fit(name), fit(name));
        }
        assert_ne!(fit(&long), fit(&longer));
        assert_eq!(fit("short"), "short");
        assert_eq!(fit(&"x".repeat(63)), "x".repeat(63));
    }

    #[test]
    fn indexes_of_two_tables_may_have_one_name() {
        let mut taken = Taken::default();
        taken.table("public", "orders");
        taken.table("public", "items");
        assert_eq!(taken.index("public", "orders", "IX_state"), "IX_state");
        assert_eq!(taken.index("public", "items", "IX_state"), "items_IX_state");
        assert_eq!(taken.index("other", "items", "IX_state"), "IX_state");
        assert_eq!(taken.index("public", "orders", "orders"), "orders_orders");
        let third = taken.index("public", "items", "IX_state");
        assert!(third.starts_with("items_IX_state_"), "{third}");
    }
}
