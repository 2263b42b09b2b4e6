//! What a session is set to, whatever the role, the database or the server has set.
//!
//! Names are resolved where Lockstep says: in `pg_catalog`, and in the session's own temporary schema
//! last, which is searched *first* for tables and types unless it is named. Everything else is written
//! with its schema. So nobody who may make an operator, a function or a type somewhere can have apply
//! call it (<https://www.postgresql.org/docs/current/runtime-config-client.html>, CVE-2018-1058).
//!
//! Settings are made by SET behind the login, not by startup parameters, which poolers refuse or keep
//! to themselves; and they are read back in another transaction, where a pooler that changes server
//! processes shows (`pooler`).

use lockstep_common::Code;
use lockstep_common::Failure;

use super::ask::{Ask, AskError, TextRow};
use super::connect::Login;
use super::pooler;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Catalogue, epoch, tables.
    Cold,
    /// Changes.
    Stream,
    /// Rows of a full load.
    Load,
}

/// Of every session, as `pg_settings` has them: name and value.
const EVERY: &[(&str, &str)] = &[
    // How names and statements are understood. The first one tells how the next is read back.
    ("quote_all_identifiers", "off"),
    ("search_path", "pg_catalog, pg_temp"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    // Rows that a policy would hide are an error rather than absent.
    ("row_security", "off"),
    // How values look as text.
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("xmloption", "content"),
    ("xmlbinary", "base64"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    // What a transaction is, and how long it may be idle.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("idle_in_transaction_session_timeout", "60000"),
    ("exit_on_error", "off"),
    ("client_min_messages", "warning"),
    // Constraints and functions are checked when they are made.
    ("check_function_bodies", "on"),
];

/// Settings that not every version has: no statement, transaction or pause is too long.
const WHERE_KNOWN: &[&str] = &["idle_session_timeout", "transaction_timeout"];

/// What the server does for a lost client; not read back: a local socket has none of it.
const KEEPALIVE: &[(&str, &str)] = &[
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_user_timeout", "60000"),
];

const COLD: &[(&str, &str)] =
    &[("statement_timeout", "60000"), ("lock_timeout", "30000"), ("synchronous_commit", "on")];

/// No statement timeout: a large transaction takes its time, and a lock's holder is waited for.
const LOAD: &[(&str, &str)] =
    &[("statement_timeout", "0"), ("lock_timeout", "0"), ("synchronous_commit", "on")];

/// Plans are made once per statement, before its table has grown: an index has to be used even where a
/// scan of today's few rows would be cheaper, and rows are met in the order sent. (Whether commits are
/// flushed is set once the epoch is taken.)
const STREAM: &[(&str, &str)] = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

impl Purpose {
    fn own(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Purpose::Cold => COLD,
            Purpose::Stream => STREAM,
            Purpose::Load => LOAD,
        }
    }
}

/// Sets the session, and reads back what became of it; gives the server process's number. `greeted`
/// is the number that the login's answer gave.
///
/// # Errors
/// `Halt` where a setting does not stay, or a pooler changes server processes.
pub(super) async fn pin(
    session: &mut impl Ask,
    login: &Login,
    purpose: Purpose,
    greeted: i32,
) -> Result<i32, Failure> {
    // Before anything is set: settings of a process that others use too would be theirs as well.
    let backend = pooler::backend(session, login).await?;
    if backend != greeted {
        pooler::probe(session, login, backend).await?;
    }
    ask(session, login, &statement(purpose)).await?;
    let rows = ask(session, login, &read_back()).await?;
    hold(&rows, login, purpose)?;
    let pid = rows.last().and_then(|row| row.first()?.as_deref()?.parse().ok());
    if pid == Some(backend) { Ok(backend) } else { Err(pooler::refused(login)) }
}

/// Sets what not every version has, and reads all settings; the server process is the last row.
fn read_back() -> String {
    let known = WHERE_KNOWN.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ({known}); \
         SELECT name, setting FROM pg_settings; SELECT pg_backend_pid()"
    )
}

fn statement(purpose: Purpose) -> String {
    let settings = EVERY.iter().chain(KEEPALIVE).chain(purpose.own());
    let set = |(name, value): &(&str, &str)| match *name {
        // A list of names.
        "search_path" => format!("SET {name} = {value}"),
        _ => format!("SET {name} = '{value}'"),
    };
    settings.map(set).collect::<Vec<_>>().join("; ")
}

/// Holds what was read against what was asked for.
fn hold(rows: &[TextRow], login: &Login, purpose: Purpose) -> Result<(), Failure> {
    let found = |name: &str| {
        let row = rows.iter().find(|row| row.first().is_some_and(|n| n.as_deref() == Some(name)));
        row.and_then(|row| row.get(1)?.as_deref())
    };
    let asked = EVERY.iter().chain(purpose.own()).copied();
    let known = WHERE_KNOWN.iter().filter(|name| found(name).is_some()).map(|name| (*name, "0"));
    let other: Vec<&str> = asked
        .chain(known)
        .filter(|(name, value)| found(name) != Some(*value))
        .map(|(name, _)| name)
        .collect();
    if other.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Code::ApplySession,
        format!(
            "PostgreSQL at {} does not keep what a session is set to: {}",
            login.place(),
            other.join(", ")
        ),
    )
    .remedy(
        "see what stands between apply and the server, and let `host` and `port` name the server \
         itself",
    ))
}

/// Keeps triggers, rules and foreign keys from firing, where the role may: the source enforced them.
/// The role may be set so already (`ALTER ROLE … SET`), which then needs no right.
///
/// # Errors
/// When the connection is lost.
pub(super) async fn enter_replica_role(
    session: &mut impl Ask,
    login: &Login,
) -> Result<bool, Failure> {
    let is_replica = "SELECT current_setting('session_replication_role') = 'replica'";
    let yes = |rows: &[TextRow]| rows.first().and_then(|row| row.first()?.as_deref()) == Some("t");
    if yes(&ask(session, login, is_replica).await?) {
        return Ok(true);
    }
    match session.ask("SET session_replication_role = 'replica'").await {
        Ok(_) => Ok(yes(&ask(session, login, is_replica).await?)),
        Err(AskError::Server(error)) if error.code == "42501" => Ok(false),
        Err(error) => Err(error.into_failure(login)),
    }
}

async fn ask(session: &mut impl Ask, login: &Login, sql: &str) -> Result<Vec<TextRow>, Failure> {
    session.ask(sql).await.map_err(|error| error.into_failure(login))
}
