//! Derived columns: columns of the target that hold what the type of another one leaves out.
//!
//! Two parts of a value have no place in PostgreSQL's own types: the offset of a `datetimeoffset`, which
//! the configuration may ask for (`offset_columns`), and the seventh fractional digit (100 ns) of a time.
//! The digit gets a column of its own wherever rows are told apart by the time: in a key, a unique index
//! or a foreign key, and in a table without a key, whose rows are found by all they have. There it is part
//! of the key, the index, the reference, the match, so that what the source tells apart stays apart. Where
//! the time arrives whole (as text), nothing is lost and there is no such column.
//!
//! Its name is its column's with a suffix, and `_` after it while another column has that name. It depends
//! on the table's columns alone, so that it stays the same whatever indexes come and go.

use std::collections::HashSet;

use lockstep_common::model::definition::Definition;
use lockstep_common::{Column, LogicalType, TableVersion, Value};

use super::super::types::{MOST_DIGITS, PgType};
use super::naming::Naming;

/// What ends the name of the column of a time's digit.
const TICKS_SUFFIX: &str = "_100ns";

/// 100 ns units that PostgreSQL's microseconds take together.
const TICKS_PER_MICRO: i64 = 10;

/// What a derived column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Part {
    /// Minutes east of UTC.
    Offset,
    /// The seventh fractional digit, 0 to 9.
    Ticks,
}

/// A column that a version's table may have in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Derived {
    /// The place of the column whose value it completes.
    pub(super) of: usize,
    /// What it holds.
    pub(super) part: Part,
    /// Before the target's rule of names.
    pub(super) name: String,
}

impl Derived {
    /// The column as a source would have it.
    pub(super) fn column(&self, of: &Column) -> Column {
        Column {
            id: None,
            name: self.name.clone(),
            ty: LogicalType::Int { bytes: 2 },
            source_type: "smallint".to_owned(),
            nullable: of.nullable,
            collation: None,
            identity: false,
            computed: false,
        }
    }
}

impl Part {
    /// The part of a value.
    pub(in super::super) fn of(self, value: &Value<'_>) -> Value<'static> {
        match (self, value) {
            (_, Value::Unavailable) => Value::Unavailable,
            (Part::Offset, Value::TimestampTz { offset, .. }) => Value::I64((*offset).into()),
            (
                Part::Ticks,
                Value::Time(ticks) | Value::Timestamp(ticks) | Value::TimestampTz { ticks, .. },
            ) => Value::I64(ticks.rem_euclid(TICKS_PER_MICRO)),
            _ => Value::Null,
        }
    }
}

/// All derived columns that a table may have.
pub(super) fn possible(naming: &Naming, version: &TableVersion) -> Vec<Derived> {
    let mut taken: HashSet<String> =
        version.columns.iter().map(|column| naming.carry(&column.name)).collect();
    let mut derived = Vec::new();
    if let Some(suffix) = naming.types.offset_suffix() {
        for (of, column) in version.columns.iter().enumerate() {
            let zoned = matches!(column.ty, LogicalType::TimestampTz { .. });
            if zoned && !column.computed {
                // The configuration names it: what has that name already is an error.
                let name = format!("{}{suffix}", column.name);
                taken.insert(naming.carry(&name));
                derived.push(Derived { of, part: Part::Offset, name });
            }
        }
    }
    for (of, column) in version.columns.iter().enumerate() {
        if is_cut(naming, version, column) {
            let mut name = digit_name(&column.name);
            while !taken.insert(naming.carry(&name)) {
                name.push('_');
            }
            derived.push(Derived { of, part: Part::Ticks, name });
        }
    }
    derived
}

/// Whether the target's type of a column has no place for its seventh fractional digit.
fn is_cut(naming: &Naming, version: &TableVersion, column: &Column) -> bool {
    let (LogicalType::Time { digits }
    | LogicalType::Timestamp { digits }
    | LogicalType::TimestampTz { digits }) = column.ty
    else {
        return false;
    };
    let time =
        |ty: PgType| matches!(ty, PgType::Time(_) | PgType::Timestamp(_) | PgType::TimestampTz(_));
    let column = super::of_dialect(&version.dialect, column);
    !column.computed
        && digits > MOST_DIGITS
        && naming.types.wanted(&version.name, &column).is_ok_and(time)
}

/// What the column of the digit of a column's times is called, unless another column is.
pub(in super::super) fn digit_name(column: &str) -> String {
    format!("{column}{TICKS_SUFFIX}")
}

/// For each column, whether rows are told apart or referred to by it.
pub(in super::super) fn telling(
    version: &TableVersion,
    definition: Option<&Definition>,
) -> Vec<bool> {
    let is_key = |at: usize| version.key.iter().any(|key| usize::from(*key) == at);
    let named = named(version, definition).into_iter().enumerate();
    named.map(|(at, named)| named || version.key.is_empty() || is_key(at)).collect()
}

/// For each column, whether a unique index or a foreign key has it.
pub(super) fn named(version: &TableVersion, definition: Option<&Definition>) -> Vec<bool> {
    let indexes = definition.map_or(&[][..], |definition| &definition.indexes);
    let foreign_keys = definition.map_or(&[][..], |definition| &definition.foreign_keys);
    let of_index = |name: &str| {
        let mut unique = indexes.iter().filter(|index| index.unique && !index.disabled);
        unique.any(|index| index.columns.iter().any(|column| column.column == name))
    };
    let of_foreign_key =
        |name: &str| foreign_keys.iter().any(|key| key.columns.iter().any(|c| c == name));
    let columns = version.columns.iter();
    columns.map(|column| of_index(&column.name) || of_foreign_key(&column.name)).collect()
}
