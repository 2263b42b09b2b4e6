//! Which of a table's capture instances is read.
//!
//! A table may have two, and each may have been made by anybody for any purpose. Two are never read
//! together: they would tell every change twice. What is read is decided by shape first:
//!
//! 1. An instance that gives the version that the log has of the table, with the same columns and the
//!    same key. Whatever else was made beside it, narrower or wider, earlier or later, does not matter.
//! 2. Of a table that the log does not have: one whose captured columns the table still has; then the
//!    one that captures most.
//!
//! Among equals, the newest that has everything after the cursor; where none has, the oldest.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use lockstep_common::{Failure, TableVersion};

use super::catalog::{self, Shape};
use super::connection::Lease;
use super::followed::Followed;
use super::instance::Instance;
use super::lsn::Lsn;

/// An instance, and what following it would be.
#[derive(Debug)]
pub struct Candidate {
    /// The capture instance, as `cdc.change_tables` describes it.
    pub instance: Instance,
    /// The table as it would be followed, or why it cannot be.
    pub followed: Result<Followed, Failure>,
    /// It gives the version that the log has.
    same: bool,
}

impl Candidate {
    /// Of an instance of this shape; `known` are versions that the log has of any tables.
    pub fn new(instance: Instance, shape: Shape, known: &[TableVersion], most: u64) -> Self {
        let like = |version: Option<&TableVersion>| {
            Followed::new(instance.clone(), shape.clone(), most, version)
        };
        let mut versions =
            known.iter().filter(|v| v.object_id == i64::from(instance.table_id)).peekable();
        let any = versions.peek().copied();
        for version in versions {
            if let Ok(followed) = like(Some(version))
                && followed.table.id == version.id()
            {
                return Candidate { instance, followed: Ok(followed), same: true };
            }
        }
        Candidate { followed: like(any), instance, same: false }
    }

    /// How many columns it captures, if it can be followed.
    fn columns(&self) -> Option<usize> {
        self.followed.as_ref().ok().map(|followed| followed.shape.captured.len())
    }

    /// Whether it is to be preferred.
    fn compare(&self, other: &Candidate, cursor: Lsn) -> Ordering {
        let covers =
            |c: &Candidate| c.instance.start_lsn.is_some_and(|start| start <= cursor.next());
        // Cleanup can make the marks of two instances equal: then the date tells which is newer.
        let age = |c: &Candidate| {
            let i = &c.instance;
            (i.start_lsn.is_none(), i.start_lsn, i.created, i.change_table_id)
        };
        let by_age = match covers(self) {
            true => age(self).cmp(&age(other)),
            false => age(other).cmp(&age(self)),
        };
        let rank = |c: &Candidate| (c.same, c.columns().is_some(), covers(c), c.columns());
        rank(self).cmp(&rank(other)).then(by_age)
    }
}

/// One instance of each table, tables in the order of their names, for a reader at `cursor`.
pub async fn choose(
    lease: &mut Lease,
    timeline: u32,
    instances: Vec<Instance>,
    cursor: Lsn,
    known: &[TableVersion],
    most: u64,
) -> Result<Vec<Candidate>, Failure> {
    let shapes = catalog::shapes(lease, timeline, &instances.iter().collect::<Vec<_>>()).await?;
    let candidates = instances.into_iter().zip(shapes);
    let candidates = candidates.map(|(i, shape)| Candidate::new(i, shape, known, most));
    Ok(best(candidates.collect(), cursor))
}

fn best(candidates: Vec<Candidate>, cursor: Lsn) -> Vec<Candidate> {
    let mut best: BTreeMap<_, Candidate> = BTreeMap::new();
    for candidate in candidates {
        let table = (candidate.instance.table.clone(), candidate.instance.table_id);
        let better = best
            .get(&table)
            .is_none_or(|other| candidate.compare(other, cursor) == Ordering::Greater);
        if better {
            best.insert(table, candidate);
        }
    }
    best.into_values().collect()
}

#[cfg(test)]
mod tests {
    use lockstep_common::TableName;

    use super::super::catalog::Captured;
    use super::super::types::RawColumn;
    use super::*;

    fn lsn(n: u8) -> Lsn {
        let mut bytes = [0; 10];
        bytes[9] = n;
        Lsn::new(bytes)
    }

    fn column(id: i32) -> RawColumn {
        RawColumn {
            name: format!("c{id}"),
            column_id: id,
            system_type: 56,
            user_type: 56,
            max_length: 4,
            precision: 10,
            scale: 0,
            collation: None,
            nullable: false,
            identity: false,
            computed: false,
        }
    }

    /// An instance of table `table`, which has columns 1 to 3, that captures `captured`.
    fn candidate(
        (name, table): (&str, i32),
        start: Option<u8>,
        created: i64,
        captured: &[i32],
        known: &[TableVersion],
    ) -> Candidate {
        let instance = Instance {
            name: name.to_owned(),
            table: TableName { schema: "dbo".to_owned(), table: format!("t{table}") },
            change_table_id: 1000 + i32::try_from(created).expect("small"),
            table_id: table,
            start_lsn: start.map(lsn),
            created,
        };
        let shape = Shape {
            captured: captured
                .iter()
                .zip(1..)
                .map(|(id, ordinal)| Captured { name: format!("c{id}"), column_id: *id, ordinal })
                .collect(),
            source: (1..=3).map(column).collect(),
            change_table: captured.iter().map(|id| column(*id)).collect(),
            keys: Vec::new(),
            origin: None,
        };
        Candidate::new(instance, shape, known, 100)
    }

    fn names(candidates: Vec<Candidate>, cursor: u8) -> Vec<String> {
        best(candidates, lsn(cursor)).into_iter().map(|c| c.instance.name).collect()
    }

    #[test]
    fn of_equals_the_newest_that_has_everything_is_read() {
        let all = [1, 2, 3];
        let two = || {
            vec![
                candidate(("v2", 1), Some(20), 2, &all, &[]),
                candidate(("v1", 1), Some(10), 1, &all, &[]),
            ]
        };
        assert_eq!(names(two(), 9), ["v1"]);
        assert_eq!(names(two(), 18), ["v1"]);
        assert_eq!(names(two(), 19), ["v2"]);
        assert_eq!(names(two(), 5), ["v1"], "none has everything: the oldest");
        let of = |name, table, start, created| candidate((name, table), start, created, &all, &[]);
        let tied = vec![of("v2", 1, Some(20), 2), of("v1", 1, Some(20), 1)];
        assert_eq!(names(tied, 30), ["v2"]);
        let fresh = vec![of("v2", 1, None, 2), of("v1", 1, Some(10), 1)];
        assert_eq!(names(fresh, 30), ["v1"]);
        let tables = vec![of("b", 2, Some(1), 1), of("a", 1, Some(1), 2)];
        assert_eq!(names(tables, 30), ["a", "b"]);
    }

    #[test]
    fn the_shape_that_the_log_has_goes_before_all_others_then_the_wider_one() {
        let first = candidate(("v1", 1), Some(10), 1, &[1, 2], &[]);
        let known = [(*first.followed.expect("followed").table.version).clone()];
        let with = |known: &[TableVersion], second: &[i32]| {
            vec![
                candidate(("v1", 1), Some(10), 1, &[1, 2], known),
                candidate(("v2", 1), Some(20), 2, second, known),
            ]
        };
        for second in [&[1][..], &[1, 2, 3], &[2, 3], &[4]] {
            assert_eq!(names(with(&known, second), 30), ["v1"], "{second:?}");
        }
        assert_eq!(names(with(&known, &[1, 2]), 30), ["v2"], "the same shape");
        assert_eq!(names(with(&[], &[1]), 30), ["v1"]);
        assert_eq!(names(with(&[], &[1, 2, 3]), 30), ["v2"]);
        // The table has no fourth column any more.
        assert_eq!(names(with(&[], &[1, 2, 4]), 30), ["v1"]);
    }
}
