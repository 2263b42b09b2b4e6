//! MAX values that a change may not have recorded as they are: compared with the row itself.
//!
//! # Why
//!
//! What a change table has of these is not documented:
//!
//! - a value that `.WRITE` changed in part: the whole value, the piece that was written, or NULL; with the
//!   column's bit in the mask, or without;
//! - the insert of a key update (a delete and an insert with one sequence number), whose MAX value was not
//!   touched and lies off the row: the value, or NULL.
//!
//! A piece taken for the value, or a NULL, would reach the target without a word.
//!
//! # The rule
//!
//! Each new row of an update *claims*, for each of its MAX columns that were set or have a value, how long
//! the value is (or that it is NULL). The row in the table, found by its key, has the value of now. Where it
//! has the claimed length, the claim is right: `.WRITE` replaces `d` characters by the piece, so the piece is
//! as long as the whole only where it replaced all there was, and then it is the whole. Where it has another
//! one, somebody has written the value since, and a later change has that, once the capture job has come
//! past the moment at which the row was looked at; or nobody has, and the change did not record it. Then
//! going on would leave the target without it: capture halts. A later change makes a claim of its own, so
//! of several changes of a row in one batch only the last claim about a column is looked at. A row that is
//! gone proves nothing and needs no proof: its delete follows, or the insert under its new key, which claims
//! too.
//!
//! # What cannot be seen
//!
//! A change table that has nothing of `.WRITE` (no row, or NULL without the bit beside other columns that
//! were set) gives no reason to look. A table without a key has nothing to look for a row by. Then only a
//! comparison of source and target finds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::model::name::quote_mssql as quote;
use lockstep_common::{Column, Failure, Value};
use tiberius::ToSql;

use super::captured_table::CapturedTable;
use super::connection::Pool;
use super::decode::DecodedRow;
use super::fields::{self, Fields};
use super::load::{KeyColumn, Parameter};
use super::merge::ChangeRow;
use super::order::ChangeKey;
use super::types::Recording;
use super::{clock_of, statements, time, wrong_results};

/// How often the capture job's progress is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// How much later a commit must be dated than a moment that it lies after, in 100 ns.
const SLACK: i64 = lockstep_common::TICKS_PER_SECOND;
/// Rows that one statement looks at, always as many: the server keeps a plan for this size.
const GROUP: usize = 16;

/// What a change says of a value's length: its `DATALENGTH` on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// There is no value.
    Null,
    /// So many bytes.
    Bytes(usize),
    /// Text of so many characters in a code page of one byte or two a character.
    OneOrTwo(usize),
    /// There is a value, of a type whose length on the server says nothing.
    Some,
}

/// Whether the length of what the server stores is known of a value: of text and bytes as they are, not of
/// what is stored in another form and read as text (`xml`, `json`, `vector`, spatial types).
fn has_length(column: &Column) -> bool {
    ["varchar(max)", "nvarchar(max)", "varbinary(max)"].contains(&column.source_type.as_str())
}

impl Length {
    fn of(value: &Value<'_>, column: &Column) -> Self {
        match value {
            Value::Null | Value::Unavailable => Length::Null,
            _ if !has_length(column) => Length::Some,
            Value::Bytes(bytes) => Length::Bytes(bytes.len()),
            Value::Utf16(bytes) => Length::text(bytes.len() / 2, bytes.len(), column),
            Value::String(text) => Length::text(text.encode_utf16().count(), text.len(), column),
            _ => Length::Some,
        }
    }

    /// Of text with so many units of UTF-16, and bytes of UTF-8.
    fn text(units: usize, utf8: usize, column: &Column) -> Self {
        let collation = column.collation.as_deref().unwrap_or_default().to_ascii_uppercase();
        let of_two = ["JAPANESE", "CHINESE", "KOREAN"];
        if column.source_type.starts_with('n') {
            Length::Bytes(2 * units)
        } else if collation.ends_with("_UTF8") {
            Length::Bytes(utf8)
        } else if of_two.iter().any(|family| collation.starts_with(family)) {
            Length::OneOrTwo(units)
        } else {
            Length::Bytes(units)
        }
    }

    /// Whether the row's value can be the one that is claimed; `now` is its `DATALENGTH`.
    fn is(self, now: Option<i64>) -> bool {
        let now = now.and_then(|now| usize::try_from(now).ok());
        match (self, now) {
            (Length::Null, now) => now.is_none(),
            (_, None) => false,
            (Length::Bytes(bytes), Some(now)) => bytes == now,
            (Length::OneOrTwo(units), Some(now)) => (units..=2 * units).contains(&now),
            (Length::Some, Some(_)) => true,
        }
    }
}

/// What a change says of a value.
#[derive(Clone, Copy, Debug)]
struct Claim {
    column: usize,
    length: Length,
    /// The change.
    at: ChangeKey,
}

/// What changes say of a row's MAX values: the last one of each column.
#[derive(Debug)]
struct Claims {
    /// The row's key, in the key's order.
    key: Vec<Parameter>,
    claims: Vec<Claim>,
}

/// Collects the claims of one instance's rows, in their order, and verifies them.
#[derive(Debug, Default)]
pub struct MaxValues {
    /// The row before, where the next one belongs to it: a delete or an old row, and which of its MAX values
    /// are NULL.
    before: Option<(ChangeKey, Vec<bool>)>,
    /// None once one of several about the same row has taken its place.
    claims: Vec<Option<Claims>>,
    /// The newest claims about a row.
    newest: HashMap<String, usize>,
}

impl MaxValues {
    /// Takes the next row.
    ///
    /// # Errors
    /// `Halt` for a row that lacks a value and has no key to look for it by.
    pub fn push(
        &mut self,
        followed: &CapturedTable,
        row: &ChangeRow<DecodedRow>,
    ) -> Result<(), Failure> {
        if !followed.decoder.has_max() {
            return Ok(());
        }
        let last = self.before.take();
        let (at, values) = (row.key, &row.row.values);
        let is_null = |i: usize| matches!(values[i], Value::Null | Value::Unavailable);
        match at.operation {
            1 | 3 => self.before = Some((at, (0..values.len()).map(is_null).collect())),
            2 | 4 => {
                let Some((before, was_null)) = last else { return Ok(()) };
                if (before.start_lsn, before.seqval) != (at.start_lsn, at.seqval) {
                    return Ok(());
                }
                let lengths = claimed(followed, row, &was_null);
                if lengths.is_empty() {
                    return Ok(());
                }
                if let Some(key) = key(followed, values) {
                    self.claim(at, key, lengths);
                } else if !followed.table.version.key.is_empty()
                    && lengths.iter().any(|(i, length)| {
                        *length == Length::Null && (at.operation == 2 || was_null[*i])
                    })
                {
                    return Err(no_key(followed));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn claim(&mut self, at: ChangeKey, key: Vec<Parameter>, lengths: Vec<(usize, Length)>) {
        let claim = |(column, length)| Claim { column, length, at };
        let mut claims: Vec<Claim> = lengths.into_iter().map(claim).collect();
        let next = self.claims.len();
        if let Some(older) = self.newest.insert(format!("{key:?}"), next)
            && let Some(older) = self.claims[older].take()
        {
            // Each keeps its own place: between the two the row may have been deleted and inserted.
            let about = |column: usize| claims.iter().any(|claim| claim.column == column);
            let open: Vec<_> =
                older.claims.into_iter().filter(|claim| !about(claim.column)).collect();
            claims.extend(open);
        }
        self.claims.push(Some(Claims { key, claims }));
    }

    /// Compares what was claimed with the rows.
    ///
    /// # Errors
    /// `Halt` when a value was not recorded, `Retry` when the source does not answer; then what is not
    /// verified yet is there for the next attempt.
    pub async fn verify(
        &mut self,
        pool: &Arc<Pool>,
        followed: &CapturedTable,
    ) -> Result<(), Failure> {
        self.newest.clear();
        self.claims.retain(Option::is_some);
        while !self.claims.is_empty() {
            let from = self.claims.len().saturating_sub(GROUP);
            let group: Vec<&Claims> = self.claims[from..].iter().flatten().collect();
            verify(pool, followed, &group).await?;
            self.claims.truncate(from);
        }
        Ok(())
    }
}

/// What the new row of an update or a key update claims. An update that set nothing at all may be one
/// by `.WRITE` whose bit is not set.
fn claimed(
    followed: &CapturedTable,
    row: &ChangeRow<DecodedRow>,
    was_null: &[bool],
) -> Vec<(usize, Length)> {
    let is_update = row.key.operation == 4;
    let is_set = |i: usize| row.row.changed[i / 8] >> (i % 8) & 1 == 1;
    let sets_nothing = is_update && row.row.changed.iter().all(|byte| *byte == 0);
    let claim = |i: usize| {
        if followed.decoder.recording(i) != Recording::WhenSet {
            return None;
        }
        let length = Length::of(&row.row.values[i], &followed.table.version.columns[i]);
        let claims = match (length, is_update) {
            (Length::Some, _) => false,
            (Length::Null, true) => is_set(i) || sets_nothing,
            // A delete without the value has it NULL; then there is nothing to carry on.
            (Length::Null, false) => !was_null[i],
            _ => true,
        };
        claims.then_some((i, length))
    };
    (0..row.row.values.len()).filter_map(claim).collect()
}

/// Looks at the rows of at most [`GROUP`] claims.
async fn verify(
    pool: &Arc<Pool>,
    followed: &CapturedTable,
    group: &[&Claims],
) -> Result<(), Failure> {
    let name = &followed.table.version.name;
    let doing = format!("compare MAX values of {name} with what its changes have");
    let mut columns: Vec<usize> =
        group.iter().flat_map(|claims| &claims.claims).map(|claim| claim.column).collect();
    columns.sort_unstable();
    columns.dedup();
    let Some(first) = group.first() else { return Ok(()) };
    // A group that is not full asks for its first row again.
    let rows: Vec<&Claims> =
        group.iter().copied().chain(std::iter::repeat(*first)).take(GROUP).collect();
    let parameters: Vec<&dyn ToSql> =
        rows.iter().flat_map(|claims| &claims.key).map(|p| p as &dyn ToSql).collect();
    let mut lease = pool.get().await?;
    let results = lease.query(&lengths_now(followed, &columns)?, &parameters, &doing).await?;
    lease.keep();
    let [found, clock] = results.as_slice() else { return Err(wrong_results(&doing)) };
    let looked = clock_of(clock)?.0;
    let mut now = HashMap::new();
    for row in found {
        let fields = Fields::new(row, "the lengths of a row");
        let at = fields.number("n")?.and_then(|n| usize::try_from(n).ok());
        let at = at.ok_or_else(|| wrong_results(&doing))?;
        let lengths = columns.iter().map(|i| fields.number(&format!("c{i}")));
        now.insert(at, lengths.collect::<Result<Vec<_>, _>>()?);
    }
    for (n, claims) in group.iter().enumerate() {
        let Some(now) = now.get(&n) else { continue };
        for claim in &claims.claims {
            let at = columns.iter().position(|i| *i == claim.column);
            let now = at.and_then(|at| now[at]);
            if !claim.length.is(now) {
                written_since(pool, followed, &claims.key, claim, looked).await?;
            }
        }
    }
    Ok(())
}

/// The statement that reads the lengths of [`GROUP`] rows, and the clock after them.
fn lengths_now(followed: &CapturedTable, columns: &[usize]) -> Result<String, Failure> {
    let version = &followed.table.version;
    let lengths: Vec<String> = columns
        .iter()
        .map(|i| {
            let name = quote(&version.columns[*i].name);
            if has_length(&version.columns[*i]) {
                format!("CONVERT(bigint, DATALENGTH(t.{name})) AS c{i}")
            } else {
                format!("CASE WHEN t.{name} IS NULL THEN NULL ELSE CONVERT(bigint, 0) END AS c{i}")
            }
        })
        .collect();
    let table = format!("{}.{}", quote(&version.name.schema), quote(&version.name.table));
    let one = |n: usize| {
        let first = n * version.key.len() + 1;
        let conditions = conditions(followed, first)?;
        Ok(format!(
            "SELECT CONVERT(bigint, {n}) AS n, {} FROM {table} AS t WHERE {conditions}",
            lengths.join(", ")
        ))
    };
    let rows = (0..GROUP).map(one).collect::<Result<Vec<_>, Failure>>()?;
    Ok(format!("{}; SELECT SYSDATETIMEOFFSET() AS clock", rows.join(" UNION ALL ")))
}

/// Passes once a later change has the column; `looked` is when the row had another value.
///
/// # Errors
/// `Halt` when there is none.
async fn written_since(
    pool: &Arc<Pool>,
    followed: &CapturedTable,
    key: &[Parameter],
    claim: &Claim,
    looked: i64,
) -> Result<(), Failure> {
    let version = &followed.table.version;
    let name = &version.columns[claim.column].name;
    let doing = format!("look for later changes of {name} of {}", version.name);
    let lsn = &claim.at.start_lsn.as_bytes()[..];
    let seqval = &claim.at.seqval.as_bytes()[..];
    let command = claim.at.command_id.unwrap_or_default();
    let mut parameters: Vec<&dyn ToSql> = key.iter().map(|p| p as &dyn ToSql).collect();
    parameters.extend([&lsn as &dyn ToSql, &seqval, &command]);
    let [lsn, seqval, command] = [2, 1, 0].map(|back| parameters.len() - back);
    // The order of changes within a transaction: see `order`.
    let after = format!("t.[__$seqval] > CONVERT(binary(10), @P{seqval})");
    let after = match claim.at.command_id {
        Some(_) => format!(
            "(t.[__$command_id] > @P{command} OR t.[__$command_id] = @P{command} AND {after})"
        ),
        None => format!("({after} AND @P{command} = 0)"),
    };
    let ordinal = followed.decoder.ordinal(claim.column);
    let later = format!(
        "SELECT COUNT_BIG(*) AS total FROM {} AS t WHERE \
         (t.[__$start_lsn] > CONVERT(binary(10), @P{lsn}) OR t.[__$start_lsn] = CONVERT(binary(10), @P{lsn}) \
         AND {after}) AND (t.[__$operation] IN (1, 2) OR \
         t.[__$operation] = 4 AND (t.{name} IS NOT NULL OR \
         sys.fn_cdc_is_bit_set({ordinal}, t.[__$update_mask]) = 1)) AND {}",
        statements::change_table(&followed.instance.name),
        conditions(followed, 1)?,
        name = quote(name),
    );
    // A change that has the value may be there before it is certain that none is to come: an idle
    // source takes ten minutes for that.
    loop {
        let is_last = has_captured(pool, looked).await?;
        let mut lease = pool.get().await?;
        let results = lease.query(&later, &parameters, &doing).await?;
        lease.keep();
        if total(results.first().map_or(&[], Vec::as_slice), &doing)? > 0 {
            return Ok(());
        }
        if is_last {
            break;
        }
        // The server tells nobody when the capture job has written: it must be asked.
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::new(
        Code::SourceLeftOut,
        format!(
            "the change of a row of {} at LSN {} does not have the value that the row has in {name}, and \
             no later change has it",
            version.name, claim.at.start_lsn
        ),
    )
    .remedy(
        "the server does not record such values whole: begin a new pipeline (new log), assign them whole \
         (not by .WRITE, and along with a change of the key), and report this with the server's version",
    ))
}

/// Conditions for a row, whose key's first parameter is number `first`.
fn conditions(followed: &CapturedTable, first: usize) -> Result<String, Failure> {
    let columns = key_columns(followed).ok_or_else(|| no_key(followed))?;
    let one = |(n, column): (usize, &KeyColumn)| {
        format!("{} = {}", column.column, column.typed(first + n))
    };
    Ok(columns.iter().enumerate().map(one).collect::<Vec<_>>().join(" AND "))
}

/// The key's columns; none where a row cannot be looked for by them.
fn key_columns(followed: &CapturedTable) -> Option<Vec<KeyColumn>> {
    let version = &followed.table.version;
    let column = |index: &u16| {
        let index = usize::from(*index);
        let name = &version.columns[index].name;
        let source = followed.shape.source.iter().find(|column| column.name == *name)?;
        KeyColumn::new(source, index, None).ok()
    };
    let columns: Option<Vec<_>> = version.key.iter().map(column).collect();
    columns.filter(|columns| !columns.is_empty())
}

fn key(followed: &CapturedTable, values: &[Value<'static>]) -> Option<Vec<Parameter>> {
    let parameter = |column: KeyColumn| column.parameter(values.get(column.index)?);
    key_columns(followed)?.into_iter().map(parameter).collect()
}

fn no_key(followed: &CapturedTable) -> Failure {
    let what = format!("a row of {} has no key to look for it by", followed.table.version.name);
    Failure::new(Code::SourceLeftOut, what)
        .remedy("begin a new pipeline (new log), and give the table a key of another type")
}

fn total(rows: &[tiberius::Row], doing: &str) -> Result<i64, Failure> {
    let row = rows.first().ok_or_else(|| wrong_results(doing))?;
    Ok(Fields::new(row, "a count").number("total")?.unwrap_or(0))
}

/// Whether the capture job has come past a moment of the server's clock: a closed row is of a later time.
async fn has_captured(pool: &Arc<Pool>, moment: i64) -> Result<bool, Failure> {
    const DOING: &str = "read the newest commit";
    let mut lease = pool.get().await?;
    let results = lease.batch(statements::NEWEST, DOING).await?;
    lease.keep();
    let [rows, clock] = results.as_slice() else { return Err(wrong_results(DOING)) };
    let (_, offset) = clock_of(clock)?;
    let mut rows = fields::mapping_rows(rows)?.into_iter();
    // Commits may still come below a dummy row that is the newest (docs/reader-rules.md).
    let closed = match rows.next() {
        Some(newest) if newest.is_dummy() => rows.next(),
        newest => newest,
    };
    Ok(closed.is_some_and(|row| time::to_utc(row.end_time, offset) > moment + SLACK))
}

#[cfg(test)]
mod tests {
    use lockstep_common::LogicalType;

    use super::*;

    fn column(source_type: &str, collation: Option<&str>) -> Column {
        Column {
            id: None,
            name: "c".into(),
            ty: LogicalType::String { max: None, fixed: false },
            source_type: source_type.into(),
            nullable: true,
            collation: collation.map(str::to_owned),
            identity: false,
            computed: false,
        }
    }

    #[test]
    fn a_length_is_the_values_in_the_columns_own_bytes() {
        let of = |source_type, collation| {
            Length::of(&Value::String("naïve 日本".into()), &column(source_type, collation))
        };
        assert_eq!(of("nvarchar(max)", Some("Latin1_General_CI_AS")), Length::Bytes(16));
        assert_eq!(of("varchar(max)", Some("Latin1_General_CI_AS")), Length::Bytes(8));
        assert_eq!(of("varchar(max)", Some("Latin1_General_100_CI_AS_SC_UTF8")), Length::Bytes(13));
        let japanese = of("varchar(max)", Some("Japanese_CI_AS"));
        assert!(japanese.is(Some(10)) && !japanese.is(Some(7)) && !japanese.is(Some(17)));
        assert!(Length::Null.is(None) && !Length::Null.is(Some(0)));
        assert!(Length::Bytes(0).is(Some(0)) && !Length::Bytes(0).is(None));
    }
}
