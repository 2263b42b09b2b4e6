//! Companions: columns of the target that hold what the type of another one leaves out.
//!
//! Two parts of a value have no place in PostgreSQL's own types: the offset of a `datetimeoffset`, which
//! the configuration may ask for (`offset_columns`), and the seventh fractional digit (100 ns) of a time.
//! The digit gets a column of its own wherever rows are told apart by the time: in a key, a unique index
//! or a foreign key, and in a table without a key, whose rows are found by all they have. There it is part
//! of the key, the index, the reference, the match, so that what the source tells apart stays apart. Where
//! the time arrives whole (as text), nothing is lost and there is no companion.
//!
//! A companion's name is its column's with a suffix, and `_` behind it while another column has that
//! name. It hangs on the table's columns alone, so that it stays the same whatever indexes come and go.

use std::borrow::Cow;
use std::collections::HashSet;

use lockstep_common::model::definition::Definition;
use lockstep_common::{Column, LogicalType, TableVersion, Value};

use super::super::catalog::Naming;
use super::super::types::{MOST_DIGITS, PgType};

/// What stands behind the name of a time's column.
const TICKS_SUFFIX: &str = "_100ns";

/// 100 ns units that PostgreSQL's microseconds take together.
const TICKS_PER_MICRO: i64 = 10;

/// What a companion holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Part {
    /// Minutes east of UTC.
    Offset,
    /// The seventh fractional digit, 0 to 9.
    Ticks,
}

/// A column of the target beside those of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Companion {
    /// Whose value it completes, by number.
    pub(in super::super) of: usize,
    pub(in super::super) part: Part,
    /// Before the target's rule of names.
    pub(in super::super) name: String,
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

impl Naming {
    /// All companions that columns of a table may have.
    pub(in super::super) fn possible_companions(&self, version: &TableVersion) -> Vec<Companion> {
        let mut taken: HashSet<String> =
            version.columns.iter().map(|column| self.carry(&column.name)).collect();
        let mut companions = Vec::new();
        if let Some(suffix) = self.types.offset_suffix() {
            for (of, column) in version.columns.iter().enumerate() {
                let zoned = matches!(column.ty, LogicalType::TimestampTz { .. });
                if zoned && !column.computed {
                    // The configuration names it: what has that name already is an error.
                    let name = format!("{}{suffix}", column.name);
                    taken.insert(self.carry(&name));
                    companions.push(Companion { of, part: Part::Offset, name });
                }
            }
        }
        for (of, column) in version.columns.iter().enumerate() {
            if self.is_cut(version, column) {
                let mut name = digit_name(&column.name);
                while !taken.insert(self.carry(&name)) {
                    name.push('_');
                }
                companions.push(Companion { of, part: Part::Ticks, name });
            }
        }
        companions
    }

    /// The companions that a table is made with; `definition` says which indexes and foreign keys it is
    /// to have.
    pub(in super::super) fn companions(
        &self,
        version: &TableVersion,
        definition: Option<&Definition>,
    ) -> Vec<Companion> {
        let telling = telling(version, definition);
        let mut companions = self.possible_companions(version);
        companions.retain(|c| c.part == Part::Offset || telling[c.of]);
        companions
    }

    /// Whether the target's type of a column has no place for its seventh fractional digit.
    pub(in super::super) fn is_cut(&self, version: &TableVersion, column: &Column) -> bool {
        let (LogicalType::Time { digits }
        | LogicalType::Timestamp { digits }
        | LogicalType::TimestampTz { digits }) = column.ty
        else {
            return false;
        };
        let time = |ty: PgType| {
            matches!(ty, PgType::Time(_) | PgType::Timestamp(_) | PgType::TimestampTz(_))
        };
        !column.computed
            && digits > MOST_DIGITS
            && self.types.wanted(&version.name, column).is_ok_and(time)
    }
}

/// What the companion of a column's times is called, unless another column is.
pub(in super::super) fn digit_name(column: &str) -> String {
    format!("{column}{TICKS_SUFFIX}")
}

/// For each column, whether rows are told apart or pointed to by it.
pub(in super::super) fn telling(
    version: &TableVersion,
    definition: Option<&Definition>,
) -> Vec<bool> {
    let indexes = definition.map_or(&[][..], |definition| &definition.indexes);
    let foreign_keys = definition.map_or(&[][..], |definition| &definition.foreign_keys);
    let of_index = |name: &str| {
        let mut unique = indexes.iter().filter(|index| index.unique && !index.disabled);
        unique.any(|index| index.columns.iter().any(|column| column.column == name))
    };
    let of_foreign_key =
        |name: &str| foreign_keys.iter().any(|key| key.columns.iter().any(|c| c == name));
    let tells = |(index, column): (usize, &Column)| {
        version.key.is_empty()
            || version.key.iter().any(|key| usize::from(*key) == index)
            || of_index(&column.name)
            || of_foreign_key(&column.name)
    };
    version.columns.iter().enumerate().map(tells).collect()
}

/// The version as the target has it: the companions behind the source's columns, and in the key those of
/// its times, each behind its column.
pub(in super::super) fn expand<'v>(
    version: &'v TableVersion,
    companions: &[Companion],
) -> Cow<'v, TableVersion> {
    if companions.is_empty() {
        return Cow::Borrowed(version);
    }
    let mut expanded = version.clone();
    let number = |place: usize| u16::try_from(version.columns.len() + place).unwrap_or(u16::MAX);
    let mut key = Vec::new();
    for &column in &version.key {
        key.push(column);
        let digit =
            companions.iter().position(|c| c.part == Part::Ticks && c.of == usize::from(column));
        key.extend(digit.map(number));
    }
    expanded.key = key;
    expanded.columns.extend(companions.iter().map(|companion| Column {
        id: None,
        name: companion.name.clone(),
        ty: LogicalType::Int { bytes: 2 },
        source_type: "smallint".to_owned(),
        nullable: version.columns[companion.of].nullable,
        collation: None,
        identity: false,
        computed: false,
    }));
    Cow::Owned(expanded)
}
