//! `double.set_fault`: test switches by T-SQL. It is not SQL Server's; only a sysadmin may call
//! it. `EXEC [double].set_fault @name, @value, @object`:
//!
//! | name | value |
//! |---|---|
//! | `fresh_min_lsn_is_zero`, `stalled`, `dummy_meets_commit`, `hide_commit_behind_dummy`, `ddl_history_backfill`, `seqval_backwards`, `cleanup_in_two_calls`, `covering_scan` | `on`, `off`: see [`Modes`](super::Modes) |
//! | `fresh_start_lsn` | `mapped`, `unmapped`, `at_once`: see [`FreshStart`] |
//! | `key_update_max_null` | `on`, `off` |
//! | `max_write` | `full`, `null`, `piece`, `unmarked`, `unmarked_null`, `lost`: see [`MaxWrite`] |
//! | `split_transactions` | `off`, `same,n`, `own,n`: see [`Split`] |
//! | `ddl_history_lag` | scans |
//! | `dummy_after` | seconds |
//! | `idle_purge` | — : deletes every row of `lsn_time_mapping` with a transaction id, raises each instance's start to the oldest row left, and deletes change rows below it, as cleanup on a database idle for longer than its retention |
//! | `error` | `number` or `number,skip,times`: statements that touch `@object` (default any) fail |
//! | `clear_errors` | — |
//! | `agent` | `on`, `off` |
//! | `clock_advance` | seconds |
//! | `clock_back` | seconds |
//! | `server_name` | name |
//! | `failover_mark` | — |
//! | `failover` | — : the database is as at the mark, under a new recovery fork, and its log goes on from there; transactions of others are gone |
//! | `scan_open` | `on`, `off` |
//! | `null_in_old_image` | name of a column, or `off` |
//! | `clock` | `freeze`, `thaw` |
//! | `utc_offset` | minutes east of UTC |
//! | `advance_vlf` | how many virtual log files to skip |
//!
//! An unknown name or value is error 50000.

use std::sync::Arc;
use std::time::Duration;

use super::schema::{Tables, change_tables};
use super::{Context, FreshStart, MaxWrite, ProcedureError, Server, Split, cleanup};
use crate::storage::{Database, Direction, Injection, KeyRange, Lsn, Row};
use crate::{IsolationLevel, ResultSink, SqlError, Value};

fn bad(what: &str) -> SqlError {
    SqlError::new(50_000, 16, 1, format!("double.set_fault: {what}."))
}

pub(super) fn set_fault(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    _: &mut dyn ResultSink,
) -> Result<(), ProcedureError> {
    if !context.access.is_sysadmin() {
        return Err(bad("only a sysadmin may call it").into());
    }
    let [name, value, object] = arguments else {
        return Ok(());
    };
    let name = name.to_text().unwrap_or_default().to_lowercase();
    let value = value.to_text().unwrap_or_default().to_lowercase();
    let object = object.to_text();
    Ok(apply(context, &name, &value, object)?)
}

fn apply(
    context: &Context<'_>,
    name: &str,
    value: &str,
    object: Option<String>,
) -> Result<(), SqlError> {
    let storage = context.storage;
    let database = context.txn.database().clone();
    let clock = storage.clock();
    match name {
        "error" => storage.inject(injection(&database, value, object)?),
        "clear_errors" => storage.clear_injections(),
        "agent" => Server::set_agent(storage, on(value)?),
        "clock_advance" => clock.advance(Duration::from_secs(number(value)?)),
        "clock" if value == "freeze" => clock.freeze(),
        "clock" if value == "thaw" => clock.thaw(),
        "clock_back" => clock.set_back(Duration::from_secs(number(value)?)),
        "server_name" => storage.set_server_name(value.to_uppercase()),
        "failover_mark" => storage.mark(&database)?,
        "failover" => storage.fail_over(&database, context.txn.id())?,
        "utc_offset" => {
            let minutes =
                value.parse().map_err(|_| bad("minutes are a number from -840 to 840"))?;
            clock.set_utc_offset_minutes(minutes);
        }
        "advance_vlf" => {
            let last = database.last_lsn();
            let skip = u32::try_from(number(value)?).map_err(|_| bad("that is too far"))?;
            let vlf = last.vlf().checked_add(skip).ok_or_else(|| bad("that is too far"))?;
            storage.advance_lsn(&database, Lsn::new(vlf, 0x10, 1));
        }
        "idle_purge" => idle_purge(&database)?,
        name => set_mode(context, &database, name, value)?,
    }
    Ok(())
}

fn set_mode(
    context: &Context<'_>,
    database: &Database,
    name: &str,
    value: &str,
) -> Result<(), SqlError> {
    let mut modes = context.storage.cdc.modes(database.id());
    match name {
        "fresh_min_lsn_is_zero" => modes.fresh_min_lsn_is_zero = on(value)?,
        "fresh_start_lsn" => {
            modes.fresh_start = match value {
                "mapped" => FreshStart::Mapped,
                "unmapped" => FreshStart::Unmapped,
                "at_once" => FreshStart::AtOnce,
                _ => return Err(bad("the value is 'mapped', 'unmapped' or 'at_once'")),
            };
        }
        "stalled" => modes.stalled = on(value)?,
        "dummy_meets_commit" => modes.dummy_meets_commit = on(value)?,
        "hide_commit_behind_dummy" => modes.hide_commit_behind_dummy = on(value)?,
        "ddl_history_backfill" => modes.ddl_history_backfill = on(value)?,
        "seqval_backwards" => modes.seqval_backwards = on(value)?,
        "key_update_max_null" => modes.key_update_max_null = on(value)?,
        "max_write" => modes.max_write = max_write(value)?,
        "split_transactions" => modes.split = split(value)?,
        "scan_open" => modes.scan_open = on(value)?,
        "null_in_old_image" => {
            modes.null_in_old_image = Some(value.to_owned()).filter(|name| name != "off");
        }
        "covering_scan" => modes.covering_scan = on(value)?,
        "cleanup_in_two_calls" => modes.cleanup_in_two_calls = on(value)?,
        "ddl_history_lag" => {
            modes.ddl_history_lag =
                u32::try_from(number(value)?).map_err(|_| bad("that is too long"))?;
        }
        "dummy_after" => modes.dummy_after = Duration::from_secs(number(value)?),
        other => return Err(bad(&format!("there is no switch '{other}'"))),
    }
    context.storage.cdc.set_modes(database.id(), |current| *current = modes);
    Ok(())
}

fn max_write(value: &str) -> Result<MaxWrite, SqlError> {
    Ok(match value {
        "full" => MaxWrite::Full,
        "null" => MaxWrite::Null,
        "piece" => MaxWrite::Piece,
        "unmarked" => MaxWrite::Unmarked,
        "unmarked_null" => MaxWrite::UnmarkedNull,
        "lost" => MaxWrite::Lost,
        _ => {
            return Err(bad(
                "the value is 'full', 'null', 'piece', 'unmarked', 'unmarked_null' or 'lost'",
            ));
        }
    })
}

/// `off`, `same,n` or `own,n`.
fn split(value: &str) -> Result<Option<Split>, SqlError> {
    if value == "off" {
        return Ok(None);
    }
    let wrong = || bad("the value is 'off', 'same,n' or 'own,n'");
    let (kind, commands) = value.split_once(',').ok_or_else(wrong)?;
    let own_lsn = match kind.trim() {
        "same" => false,
        "own" => true,
        _ => return Err(wrong()),
    };
    let commands = commands.trim().parse().ok().filter(|commands| *commands > 0);
    Ok(Some(Split { commands: commands.ok_or_else(wrong)?, own_lsn }))
}

fn on(value: &str) -> Result<bool, SqlError> {
    match value {
        "on" | "1" | "true" => Ok(true),
        "off" | "0" | "false" => Ok(false),
        _ => Err(bad("the value is 'on' or 'off'")),
    }
}

fn number(value: &str) -> Result<u64, SqlError> {
    value.trim().parse().map_err(|_| bad("the value is a whole number"))
}

fn injection(
    database: &Database,
    value: &str,
    object: Option<String>,
) -> Result<Injection, SqlError> {
    let mut parts = value.split(',').map(str::trim);
    let mut part = |default: u32| match parts.next() {
        None | Some("") => Ok(default),
        Some(text) => text.parse::<u32>().map_err(|_| bad("the value is number,skip,times")),
    };
    let (number, skip, times) = (part(0)?, part(0)?, part(1)?);
    let number = i32::try_from(number).map_err(|_| bad("that is no error number"))?;
    let object = object.unwrap_or_else(|| "*".to_owned());
    Ok(Injection {
        database: database.name(),
        error: injected(number, &object),
        object,
        skip,
        times,
    })
}

/// An error as SQL Server words it, for the numbers a reader is told to expect.
fn injected(number: i32, object: &str) -> SqlError {
    let (class, state, text) = match number {
        1205 => (13, 51, "Transaction (Process ID 51) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction.".to_owned()),
        1222 => (16, 51, "Lock request time out period exceeded.".to_owned()),
        207 => (16, 1, format!("Invalid column name '{object}'.")),
        208 => (16, 1, format!("Invalid object name '{object}'.")),
        229 => (14, 5, format!("The SELECT permission was denied on the object '{object}'.")),
        313 => (16, 3, "An insufficient number of arguments were supplied for the procedure or function cdc.fn_cdc_get_all_changes_ ... .".to_owned()),
        22903 => (16, 1, "Another connection is already running 'sp_replcmds' for Change Data Capture in the current database.".to_owned()),
        other => (16, 1, format!("Error {other} was injected for '{object}'.")),
    };
    SqlError::new(number, class, state, text)
}

/// Cleanup as it leaves a database that was idle for longer than its retention: no mapping row
/// with a transaction is left.
fn idle_purge(database: &Arc<Database>) -> Result<(), SqlError> {
    let mut txn = database.begin(IsolationLevel::ReadCommitted);
    let tables = Tables::open(&mut txn)?;
    let view = txn.statement_view()?;
    let mapping = tables.lsn_time_mapping.id;
    let mut left: Option<Lsn> = None;
    let mut real = Vec::new();
    for row in view.scan(mapping, None, KeyRange::all(), Direction::Forward)? {
        let (id, row) = row?;
        if row[3] == Value::binary(&[0]) {
            left = left.or(Lsn::from_value(&row[0]));
        } else {
            // Everything below a real row that goes has to go too.
            left = None;
            real.push(id);
        }
    }
    let Some(mark) = left else {
        return Err(bad("there is no dummy row behind the real ones yet"));
    };
    let instances = tables.instances(&view)?;
    for instance in &instances {
        let mut row = instance.row.to_vec();
        row[change_tables::START_LSN] = mark.to_value();
        let changed = vec![(instance.row_id, Row::from(row))];
        txn.update(tables.change_tables.id, changed, &[change_tables::START_LSN])?;
    }
    for id in real {
        txn.delete(mapping, id)?;
    }
    txn.commit()?;
    for instance in instances {
        cleanup::delete_rows(database, instance.change_table, mark, 5000)?;
    }
    cleanup::delete_mappings(database, 5000)
}
