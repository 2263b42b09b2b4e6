//! Ranges of a key as statements that seek.
//!
//! A range is `lower < key <= upper` in the order of the key's columns, each in the server's own
//! order. Written as one condition over a key of several columns a server seeks by the first column
//! at best, so it is cut into *pieces*, each a run of equal columns followed by at most one
//! inequality or interval; each is one seek of the key's index, read in its order. (Every column
//! counts upwards here, whatever the index does, so that a range means the same for as long as a load
//! takes. An index that mixes directions is sought all the same; its pieces are then sorted.)
//!
//! # Why the pieces tile the range
//!
//! By induction over the columns, for rows whose columns before `i` equal the bounds' (write `a` for
//! the row's column `i`, `x` and `u` for the bounds'; the order is total, so exactly one of `a < x`,
//! `a = x`, `a > x` holds):
//!
//! - *above* `lower`: either `a = x` and the rest is above, or `a > x`. At the last column: `a > x`.
//! - *below or at* `upper`: either `a < u`, or `a = u` and the rest is below or at. At the last
//!   column: `a <= u`.
//! - *between*, when `x < u`: a row above `lower` has `a >= x`, one below or at `upper` has
//!   `a <= u`. So `a = x` (then `a < u`, and only the rest above `lower` matters), or
//!   `x < a < u` (nothing else matters), or `a = u` (then `a > x`, and only the rest below or at
//!   `upper` matters): three disjoint cases, each tiled by the case before. When `x = u`: `a = x`
//!   and the rest is between.
//!
//! Whether `x < u` or `x = u` is the server's to say where values that are not the same may be equal
//! (`'a'` and `'A'`): there both cases are sent, each guarded by a comparison of the parameters
//! alone, of which the server finds one true. Same values are equal, so there only the second is
//! sent; values of a type without such equalities differ, so there only the first.
//!
//! # Why chunks tile the table
//!
//! A chunk's `upper` is the next one's `lower`: the same value, sent by the same code, converted by
//! the server in the same way. Whatever the server makes of it, a key is `<=` it or `>` it, never
//! both and never neither. Nothing rests on the value being exactly some row's.

use lockstep_common::Value;

use super::key::{KeyColumn, Parameter};

/// A range's bounds, both optional, of as many values as the key has columns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds<'a> {
    /// Exclusive.
    pub lower: Option<&'a [Value<'static>]>,
    /// Inclusive.
    pub upper: Option<&'a [Value<'static>]>,
}

/// A statement and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeStatement {
    /// Text.
    pub sql: String,
    /// `@P1`, `@P2`, …
    pub parameters: Vec<Parameter>,
}

/// Bounds that are not of the key's columns and types.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the range's bounds are not values of the table's key")]
pub struct NotOfKey;

/// Reads every row of a range, in the key's order.
pub fn rows(
    columns: &str,
    table: &str,
    key: &[KeyColumn],
    bounds: Bounds<'_>,
) -> Result<RangeStatement, NotOfKey> {
    let (pieces, parameters) = pieces(key, bounds)?;
    let order = match key {
        [] => String::new(),
        key => format!(" ORDER BY {}", names(key)),
    };
    let select = |piece: &Vec<String>| {
        let condition = match piece.as_slice() {
            [] => String::new(),
            piece => format!(" WHERE {}", piece.join(" AND ")),
        };
        format!("SELECT {columns} FROM {table} AS t{condition}{order}")
    };
    let sql = pieces.iter().map(select).collect::<Vec<_>>().join("; ");
    Ok(RangeStatement { sql, parameters })
}

/// Reads the first `count` rows of a range, in the key's order and through the index that `hint` names: a
/// statement for each piece, to be sent one after the other with what is left of the count, which is the
/// last parameter of each.
pub fn first(
    columns: &str,
    table: &str,
    hint: &str,
    key: &[KeyColumn],
    bounds: Bounds<'_>,
) -> Result<(Vec<String>, Vec<Parameter>), NotOfKey> {
    let (pieces, parameters) = pieces(key, bounds)?;
    let (order, count) = (names(key), parameters.len() + 1);
    let select = |piece: &Vec<String>| {
        let condition = match piece.as_slice() {
            [] => String::new(),
            piece => format!(" WHERE {}", piece.join(" AND ")),
        };
        format!(
            "SELECT TOP (@P{count}) {columns} FROM {table} AS t{hint}{condition} ORDER BY {order}"
        )
    };
    Ok((pieces.iter().map(select).collect(), parameters))
}

/// Finds the key of the `count`th row above `lower`: one row, or none. `columns` selects the key.
///
/// The pieces are counted off one after the other, since an OFFSET over several of them would sort
/// them. Rows that come and go meanwhile move the boundary by as much, and a boundary may be any
/// key.
pub fn boundary(
    columns: &str,
    table: &str,
    key: &[KeyColumn],
    lower: Option<&[Value<'static>]>,
    count: u32,
) -> Result<RangeStatement, NotOfKey> {
    let (pieces, mut parameters) = pieces(key, Bounds { lower, upper: None })?;
    parameters.push(Parameter::number(i64::from(count.max(1))));
    let mut sql =
        format!("DECLARE @left bigint, @have bigint; SET @left = @P{}; ", parameters.len());
    let (last, others) = pieces.split_last().ok_or(NotOfKey)?;
    let condition = |piece: &[String]| match piece {
        [] => String::new(),
        piece => format!(" WHERE {}", piece.join(" AND ")),
    };
    let order = names(key);
    let nth = |piece: &[String]| {
        format!(
            "SELECT {columns} FROM {table} AS t{} ORDER BY {order} \
             OFFSET (@left - 1) ROWS FETCH NEXT 1 ROWS ONLY",
            condition(piece)
        )
    };
    for piece in others {
        sql += &format!(
            "SET @have = (SELECT COUNT_BIG(*) FROM \
             (SELECT TOP (@left) 1 AS one FROM {table} AS t{}) AS p); \
             IF @have >= @left {} ELSE BEGIN SET @left = @left - @have; ",
            condition(piece),
            nth(piece)
        );
    }
    sql += &nth(last);
    sql += &"; END".repeat(others.len());
    Ok(RangeStatement { sql, parameters })
}

fn names(key: &[KeyColumn]) -> String {
    key.iter().map(|column| column.column.as_str()).collect::<Vec<_>>().join(", ")
}

type Pieces = (Vec<Vec<String>>, Vec<Parameter>);

/// The pieces of a range, each a list of conditions, in the key's order.
fn pieces(key: &[KeyColumn], bounds: Bounds<'_>) -> Result<Pieces, NotOfKey> {
    let mut parameters = Vec::new();
    let mut bind = |values: Option<&[Value<'static>]>| {
        let Some(values) = values else { return Ok(None) };
        if values.len() != key.len() || key.is_empty() {
            return Err(NotOfKey);
        }
        let mut bound = Vec::with_capacity(key.len());
        for (column, value) in key.iter().zip(values) {
            parameters.push(column.parameter(value).ok_or(NotOfKey)?);
            bound.push(column.typed(parameters.len()));
        }
        Ok(Some(bound))
    };
    let (lower, upper) = (bind(bounds.lower)?, bind(bounds.upper)?);
    let mut cutter = Cutter { key, pieces: Vec::new() };
    match (&lower, &upper) {
        (None, None) => cutter.pieces.push(Vec::new()),
        (Some(lower), None) => cutter.above(0, lower, Vec::new()),
        (None, Some(upper)) => cutter.below(0, upper, Vec::new()),
        (Some(lower), Some(upper)) => {
            let same: Vec<bool> = bounds
                .lower
                .into_iter()
                .flatten()
                .zip(bounds.upper.into_iter().flatten())
                .map(|(x, u)| same(x, u))
                .collect();
            cutter.between(0, lower, upper, &same, Vec::new());
        }
    }
    Ok((cutter.pieces, parameters))
}

/// Whether two values are the same to the last bit; NaN, which no key holds, is not.
fn same(x: &Value<'_>, u: &Value<'_>) -> bool {
    match (x, u) {
        (Value::F32(x), Value::F32(u)) => x.to_bits() == u.to_bits(),
        (Value::F64(x), Value::F64(u)) => x.to_bits() == u.to_bits(),
        _ => x == u,
    }
}

struct Cutter<'a> {
    key: &'a [KeyColumn],
    pieces: Vec<Vec<String>>,
}

impl Cutter<'_> {
    fn condition(&self, i: usize, op: &str, value: &str) -> String {
        format!("{} {op} {value}", self.key[i].column)
    }

    fn push(&mut self, given: &[String], more: impl IntoIterator<Item = String>) {
        self.pieces.push(given.iter().cloned().chain(more).collect());
    }

    fn above(&mut self, i: usize, lower: &[String], given: Vec<String>) {
        let greater = self.condition(i, ">", &lower[i]);
        if i + 1 < self.key.len() {
            let mut equal = given.clone();
            equal.push(self.condition(i, "=", &lower[i]));
            self.above(i + 1, lower, equal);
        }
        self.push(&given, [greater]);
    }

    fn below(&mut self, i: usize, upper: &[String], given: Vec<String>) {
        if i + 1 == self.key.len() {
            let condition = self.condition(i, "<=", &upper[i]);
            self.push(&given, [condition]);
            return;
        }
        let less = self.condition(i, "<", &upper[i]);
        self.push(&given, [less]);
        let mut equal = given;
        equal.push(self.condition(i, "=", &upper[i]));
        self.below(i + 1, upper, equal);
    }

    fn between(
        &mut self,
        i: usize,
        lower: &[String],
        upper: &[String],
        same: &[bool],
        given: Vec<String>,
    ) {
        let (x, u) = (&lower[i], &upper[i]);
        if i + 1 == self.key.len() {
            let ends = [self.condition(i, ">", x), self.condition(i, "<=", u)];
            self.push(&given, ends);
            return;
        }
        let with = |more: Vec<String>| given.iter().cloned().chain(more).collect::<Vec<_>>();
        let guarded = self.key[i].may_equal() && !same[i];
        if same[i] || guarded {
            let mut equal = vec![self.condition(i, "=", x)];
            if guarded {
                equal.push(format!("{x} = {u}"));
            }
            self.between(i + 1, lower, upper, same, with(equal));
        }
        if !same[i] {
            let guard = guarded.then(|| format!("{x} < {u}"));
            let with_guard = |more| with(std::iter::once(more).chain(guard.clone()).collect());
            self.above(i + 1, lower, with_guard(self.condition(i, "=", x)));
            let ends = [self.condition(i, ">", x), self.condition(i, "<", u)];
            self.push(&given, ends.into_iter().chain(guard.clone()));
            self.below(i + 1, upper, with_guard(self.condition(i, "=", u)));
        }
    }
}

#[cfg(test)]
mod tests;
