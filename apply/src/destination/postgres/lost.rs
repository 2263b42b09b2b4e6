//! Rows that the target counted otherwise than they were sent.
//!
//! A statement whose table has a trigger that fires compares the counts itself, before its commit. Of
//! any other the count comes with the reply, when the commit is on its way already: a trigger was made
//! meanwhile. Then the target lacks rows, and that must not be forgotten: it is an exception that nobody
//! has resolved, and apply does not start while there is one.

use lockstep_common::Code;
use lockstep_common::Failure;
use tokio_postgres::Client;

use super::error;

/// What such an exception is called, in `lockstep.exceptions` and as a code.
pub(super) const KIND: &str = "rows";
/// Of a statement that met another number of rows than it was sent.
pub(super) fn failure(what: &str) -> Failure {
    Failure::new(Code::ApplyRows, format!("{what}: something in the target drops or adds rows (a trigger, a rule)")).remedy("disable the trigger, set `resolved_at` of the row of kind `rows` in lockstep.exceptions, start \
         apply and load the table again (`lockstep reload`), or correct its rows before")
}

/// # Errors
/// `Halt` while rows are known to be missing.
pub(super) async fn none_open(client: &Client, pipeline: &str) -> Result<(), Failure> {
    let row = client
        .query_opt(
            "SELECT error FROM lockstep.exceptions WHERE pipeline = $1 AND kind = $2 \
             AND resolved_at IS NULL ORDER BY id LIMIT 1",
            &[&pipeline, &KIND],
        )
        .await
        .map_err(|e| error::failure(Code::ApplySchema, "cannot read lockstep.exceptions", &e))?;
    row.map_or(Ok(()), |row| Err(failure(row.get(0))))
}

/// Remembers it for every later start.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn remember(
    client: &Client,
    pipeline: &str,
    position: &str,
    what: &str,
) -> Result<(), Failure> {
    client
        .execute(
            "INSERT INTO lockstep.exceptions (pipeline, kind, position, error) \
             VALUES ($1, $2, $3, $4)",
            &[&pipeline, &KIND, &position, &what],
        )
        .await
        .map(drop)
        .map_err(|e| error::failure(Code::ApplySchema, "cannot write lockstep.exceptions", &e))
}
