//! Poolers between apply and the server.
//!
//! A session is what apply sets it to: names, triggers, timeouts, prepared statements, temporary
//! tables, locks. A pooler that gives a server process to one client for as long as it stays
//! (PgBouncer's session mode) is as good as the server. One that changes processes between transactions
//! would spread those settings over everybody who uses the pool, triggers and foreign keys being off
//! among them, and it is refused.
//!
//! How it is found: a pooler greets a client with a process number of its own, which no server process
//! has. Then a second connection holds a transaction. A pooler that gives processes by the transaction
//! gives it the one that the first connection seemed to have, or gives the first one another meanwhile.
//! That is looked at before anything is set. And every commit names the process that it is meant for
//! (`checkpoint`), because a pool that is busy may hide all of this for a while.

use lockstep_common::Code;
use lockstep_common::Failure;

use super::ask::{Ask, AskError};
use super::connect::Login;

/// Qualified: nothing is set yet when it is asked.
const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Transactions held at once in search of a changed process.
const PROBES: usize = 2;

/// The server process that answers now.
///
/// # Errors
/// When there is no answer.
pub(super) async fn backend(session: &mut impl Ask, login: &Login) -> Result<i32, Failure> {
    let rows = session.ask(BACKEND).await.map_err(|error| error.into_failure(login))?;
    let number = rows.last().and_then(|row| row.first()?.as_deref()?.parse().ok());
    number.ok_or_else(|| {
        let what = format!("{}: no process number in its answer", login.unreachable());
        Failure::new(Code::ApplyTargetAway, what)
    })
}

/// Looks for a pooler that takes the process `backend` from a connection between its transactions.
///
/// # Errors
/// `Halt` when there is one.
pub(super) async fn probe(
    session: &mut impl Ask,
    login: &Login,
    backend: i32,
) -> Result<(), Failure> {
    let mut others = Vec::new();
    for _ in 0..PROBES {
        let mut other = login.bare().await?;
        match other.ask("BEGIN").await {
            Ok(_) => {}
            // PgBouncer's statement mode has no transactions.
            Err(AskError::Server(_)) => return Err(refused(login)),
            Err(error) => return Err(error.into_failure(login)),
        }
        let held = self::backend(&mut other, login).await?;
        others.push(other);
        if held == backend || self::backend(session, login).await? != backend {
            return Err(refused(login));
        }
    }
    Ok(())
}

/// What stands there, and what to do.
pub(super) fn refused(login: &Login) -> Failure {
    Failure::new(Code::ApplyPooler, format!(
            "{} is a connection pooler (PgBouncer or one like it) that changes server processes \
             between transactions: what apply sets for its session would be everybody's who uses the \
             pool",
            login.place()
        )).remedy("let `host` and `port` name PostgreSQL itself, or a pool of the pooler in session mode \
         (PgBouncer: `pool_mode = session` for this database or user)")
}

/// Raised by `lockstep.expect_process`: a commit came to another process than the session's.
pub(super) const ANOTHER_PROCESS: &str = "LS004";
