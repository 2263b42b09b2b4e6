//! Subqueries in expressions. One that reads nothing of the queries around it runs once a
//! statement.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use super::{Outcome, RowPlan};
use crate::engine::env::Env;
use crate::engine::expr::{Frame, Place};
use crate::{SqlError, Value};

/// A subquery.
pub struct Subquery {
    /// How it runs.
    pub plan: RowPlan,
    /// What it reads of the query it stands in (depth 0) and of those further out.
    pub outer_places: Vec<Place>,
    /// Key of its result, if it reads nothing around it.
    pub cache: Option<usize>,
}

/// What an independent subquery answered.
pub enum Cached {
    /// A scalar.
    Value(Value),
    /// EXISTS
    Exists(bool),
    /// IN: values by hash, and whether there was a NULL.
    Set(HashMap<u64, Vec<Value>>, bool),
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash_into(&mut hasher);
    hasher.finish()
}

impl Subquery {
    /// Runs it, once if it can; `want` picks the result's kind.
    fn cached<T>(
        &self,
        env: &Env<'_>,
        compute: impl FnOnce() -> Outcome<Cached>,
        take: impl FnOnce(&Cached) -> Outcome<T>,
    ) -> Outcome<T> {
        match self.cache {
            Some(key) => take(&*env.cached(key, compute)?),
            None => take(&compute()?),
        }
    }

    /// The one value, NULL if there is no row.
    ///
    /// # Errors
    /// 512 for more than one row.
    pub fn scalar(&self, frame: &Frame<'_>, env: &Env<'_>) -> Outcome<Value> {
        self.cached(
            env,
            || {
                let mut cursor = self.plan.open(Some(frame), env)?;
                let mut row = Vec::new();
                if !cursor.next(&mut row, Some(frame), env)? {
                    return Ok(Cached::Value(Value::Null));
                }
                let value = row.first().cloned().unwrap_or(Value::Null);
                if cursor.next(&mut row, Some(frame), env)? {
                    return Err(SqlError::new(
                        512,
                        16,
                        1,
                        "Subquery returned more than 1 value. This is not permitted when the subquery follows =, !=, <, <= , >, >= or when the subquery is used as an expression.",
                    ));
                }
                Ok(Cached::Value(value))
            },
            |cached| match cached {
                Cached::Value(value) => Ok(value.clone()),
                _ => Err(crate::engine::expr::internal("a subquery's result")),
            },
        )
    }

    /// Whether it has a row.
    ///
    /// # Errors
    /// Those of its plan.
    pub fn exists(&self, frame: &Frame<'_>, env: &Env<'_>) -> Outcome<bool> {
        self.cached(
            env,
            || {
                let mut cursor = self.plan.open(Some(frame), env)?;
                Ok(Cached::Exists(cursor.next(&mut Vec::new(), Some(frame), env)?))
            },
            |cached| match cached {
                Cached::Exists(exists) => Ok(*exists),
                _ => Err(crate::engine::expr::internal("a subquery's result")),
            },
        )
    }

    /// IN.
    ///
    /// # Errors
    /// Those of its plan.
    pub fn contains(
        &self,
        value: &Value,
        frame: &Frame<'_>,
        env: &Env<'_>,
    ) -> Outcome<Option<bool>> {
        self.cached(
            env,
            || {
                let mut cursor = self.plan.open(Some(frame), env)?;
                let (mut set, mut with_null) = (HashMap::<u64, Vec<Value>>::new(), false);
                let mut row = Vec::new();
                while cursor.next(&mut row, Some(frame), env)? {
                    match row.first() {
                        Some(Value::Null) | None => with_null = true,
                        Some(value) => {
                            let bucket = set.entry(hash(value)).or_default();
                            if !bucket.iter().any(|known| known.compare(value).is_eq()) {
                                bucket.push(value.clone());
                            }
                        }
                    }
                }
                Ok(Cached::Set(set, with_null))
            },
            |cached| match cached {
                Cached::Set(set, with_null) => Ok(membership(value, set, *with_null)),
                _ => Err(crate::engine::expr::internal("a subquery's result")),
            },
        )
    }
}

fn membership(value: &Value, set: &HashMap<u64, Vec<Value>>, with_null: bool) -> Option<bool> {
    if set.is_empty() && !with_null {
        return Some(false);
    }
    if value.is_null() {
        return None;
    }
    let found = set
        .get(&hash(value))
        .is_some_and(|bucket| bucket.iter().any(|known| known.compare(value).is_eq()));
    match (found, with_null) {
        (true, _) => Some(true),
        (false, true) => None,
        (false, false) => Some(false),
    }
}
