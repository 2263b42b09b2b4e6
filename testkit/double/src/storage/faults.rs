//! Errors injected into statements.

use std::sync::{Mutex, PoisonError};

use super::same_name;
use crate::SqlError;

/// An error to be raised by a statement that touches an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Database name.
    pub database: String,
    /// Object name as [`Storage::touch`](super::Storage::touch) is told it: `schema.table`, or a
    /// procedure or function with its schema; `*` stands for any.
    pub object: String,
    /// How many touches go by first.
    pub skip: u32,
    /// How many touches fail then.
    pub times: u32,
    /// The error.
    pub error: SqlError,
}

/// Injections under way.
#[derive(Debug, Default)]
pub(super) struct Faults {
    injections: Mutex<Vec<Injection>>,
}

impl Faults {
    pub(super) fn inject(&self, injection: Injection) {
        self.lock().push(injection);
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Counts a touch.
    pub(super) fn touch(&self, database: &str, object: &str) -> Result<(), SqlError> {
        let mut injections = self.lock();
        let matching = injections.iter_mut().find(|injection| {
            same_name(&injection.database, database)
                && (injection.object == "*" || same_name(&injection.object, object))
        });
        let Some(injection) = matching else {
            return Ok(());
        };
        if injection.skip > 0 {
            injection.skip -= 1;
            return Ok(());
        }
        injection.times = injection.times.saturating_sub(1);
        let error = injection.error.clone();
        injections.retain(|injection| injection.times > 0);
        Err(error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Injection>> {
        self.injections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
