//! What the change of a column's type asks of PostgreSQL, and of the values that are there.

use lockstep_common::{Column, LogicalType};

use super::super::super::types::{PgType, base_name};
use crate::tsql::is_unicode;

/// Whether PostgreSQL changes a column's type without writing or reading the table: the types are binary
/// coercible, or the new limits are wider (`varchar_support`, `numeric_support`, `TemporalSimplify`).
/// <https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-NOTES>
pub(super) fn widens_in_place(from: PgType, to: PgType) -> bool {
    use PgType::{Numeric, Text, Time, Timestamp, TimestampTz, Varchar};
    match (from, to) {
        (Varchar(_), Text | Varchar(None))
        | (Text, Varchar(None))
        | (Numeric(_), Numeric(None)) => true,
        (Varchar(Some(from)), Varchar(Some(to))) => from <= to,
        (Numeric(Some((from, scale))), Numeric(Some((to, scale_now)))) => {
            from <= to && scale == scale_now
        }
        (Time(from), Time(to))
        | (Timestamp(from), Timestamp(to))
        | (TimestampTz(from), TimestampTz(to)) => from <= to,
        (from, to) => from == to,
    }
}

/// Whether PostgreSQL has a cast that no value of the source's old type makes fail for its form alone:
/// among numbers, among texts, among times, and from anything to text.
pub(super) fn casts(from: PgType, to: PgType) -> bool {
    use PgType::{
        Date, Float4, Float8, Int2, Int4, Int8, Json, Jsonb, Numeric, Reals, Time, Timestamp,
        TimestampTz, Vector,
    };
    let number = |ty| matches!(ty, Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_));
    let instant = |ty| matches!(ty, Date | Timestamp(_) | TimestampTz(_));
    from == to
        || to.is_text()
        || (number(from) && number(to))
        || (instant(from) && instant(to))
        || matches!((from, to), (PgType::Bool, Int4))
        || matches!((from, to), (Time(_) | Timestamp(_) | TimestampTz(_), Time(_)))
        || matches!((from, to), (Json | Jsonb, Json | Jsonb))
        || matches!((from, to), (Reals | Vector(_), Reals | Vector(_)))
}

/// Whether values that the target has are what the source makes of the same values when its type changes:
/// only what the source does not convert. Of all other pairs the two sides' conversions are different
/// functions (`datetime` to `datetime2(7)`, characters that a code page lacks, blanks of `char`, zeros of
/// `binary`), and the source records no change for them.
pub(super) fn converts_alike(before: &Column, now: &Column, from: PgType, to: PgType) -> bool {
    let longer = |before: &Option<u32>, now: &Option<u32>| {
        before.zip(*now).map_or(now.is_none(), |(before, now)| before <= now)
    };
    let types = [base_name(&before.source_type), base_name(&now.source_type)];
    let named = types[0] == types[1];
    let alike = match (&before.ty, &now.ty) {
        (LogicalType::Int { bytes: before }, LogicalType::Int { bytes: now }) => before <= now,
        (
            LogicalType::Decimal { precision: before, scale },
            LogicalType::Decimal { precision: now, scale: scale_now },
        ) => before <= now && scale == scale_now,
        (
            LogicalType::String { max: most, fixed: false },
            LogicalType::String { max: most_now, fixed: false },
        ) => {
            let to_unicode = types == ["varchar", "nvarchar"];
            let same_page = is_unicode(now) || before.collation == now.collation;
            (to_unicode || named && same_page) && longer(most, most_now)
        }
        (LogicalType::Bytes { max: before }, LogicalType::Bytes { max: now }) => {
            named && (before == now || types[0] == "varbinary" && longer(before, now))
        }
        (LogicalType::String { .. }, LogicalType::String { .. }) => {
            named && before.ty == now.ty && (is_unicode(now) || before.collation == now.collation)
        }
        (before, now) => named && before == now,
    };
    // What the target has in another family than usual is another text of it.
    alike && (from == to || from.is_text() == to.is_text())
}
