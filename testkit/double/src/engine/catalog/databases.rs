//! The server, its databases, transactions and principals.

use super::{Definition, NAME, Rows, Source, bit, date, optional, text};
use crate::engine::collation;
use crate::engine::security::{DatabaseSecurity, load_logins};
use crate::{SqlError, SqlType, Value};

const LONG: SqlType = SqlType::NVarChar(Some(60));
const NUMBER: SqlType = SqlType::Decimal { precision: 25, scale: 0 };

/// The views of this module.
pub(super) const VIEWS: &[Definition] = &[
    Definition {
        schema: "sys",
        name: "databases",
        columns: &[
            ("name", NAME),
            ("database_id", SqlType::Int),
            ("create_date", SqlType::DateTime),
            ("compatibility_level", SqlType::TinyInt),
            ("collation_name", NAME),
            ("user_access", SqlType::TinyInt),
            ("user_access_desc", LONG),
            ("is_read_only", SqlType::Bit),
            ("state", SqlType::TinyInt),
            ("state_desc", LONG),
            ("snapshot_isolation_state", SqlType::TinyInt),
            ("snapshot_isolation_state_desc", LONG),
            ("is_read_committed_snapshot_on", SqlType::Bit),
            ("recovery_model", SqlType::TinyInt),
            ("recovery_model_desc", LONG),
            ("is_cdc_enabled", SqlType::Bit),
            ("log_reuse_wait", SqlType::TinyInt),
            ("log_reuse_wait_desc", LONG),
        ],
        rows: databases,
    },
    Definition {
        schema: "sys",
        name: "database_recovery_status",
        columns: &[
            ("database_id", SqlType::Int),
            ("database_guid", SqlType::UniqueIdentifier),
            ("family_guid", SqlType::UniqueIdentifier),
            ("last_log_backup_lsn", NUMBER),
            ("recovery_fork_guid", SqlType::UniqueIdentifier),
            ("first_recovery_fork_guid", SqlType::UniqueIdentifier),
            ("fork_point_lsn", NUMBER),
        ],
        rows: recovery,
    },
    Definition {
        schema: "sys",
        name: "dm_server_services",
        columns: &[
            ("servicename", SqlType::NVarChar(Some(256))),
            ("startup_type", SqlType::Int),
            ("startup_type_desc", SqlType::NVarChar(Some(256))),
            ("status", SqlType::Int),
            ("status_desc", SqlType::NVarChar(Some(256))),
        ],
        rows: services,
    },
    Definition {
        schema: "sys",
        name: "dm_tran_database_transactions",
        columns: &[
            ("transaction_id", SqlType::BigInt),
            ("database_id", SqlType::Int),
            ("database_transaction_begin_time", SqlType::DateTime),
            ("database_transaction_log_record_count", SqlType::BigInt),
            ("database_transaction_begin_lsn", NUMBER),
            ("database_transaction_last_lsn", NUMBER),
            ("database_transaction_most_recent_savepoint_lsn", NUMBER),
        ],
        rows: transactions,
    },
    Definition {
        schema: "sys",
        name: "dm_tran_current_transaction",
        columns: &[("transaction_id", SqlType::BigInt), ("transaction_is_snapshot", SqlType::Bit)],
        rows: current_transaction,
    },
    Definition {
        schema: "sys",
        name: "database_principals",
        columns: &[
            ("name", NAME),
            ("principal_id", SqlType::Int),
            ("type", SqlType::Char(1)),
            ("type_desc", LONG),
            ("default_schema_name", NAME),
        ],
        rows: principals,
    },
    Definition {
        schema: "sys",
        name: "server_principals",
        columns: &[
            ("name", NAME),
            ("principal_id", SqlType::Int),
            ("type", SqlType::Char(1)),
            ("type_desc", LONG),
            ("default_database_name", NAME),
        ],
        rows: logins,
    },
];

fn databases(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let all = source.env.shared.storage.databases();
    Ok(all
        .iter()
        .map(|database| {
            let info = database.info();
            let snapshot = if info.allow_snapshot { 1 } else { 0 };
            vec![
                text(&info.name),
                Value::Int(info.id),
                date(info.create_date),
                Value::TinyInt(160),
                text(collation::NAME),
                Value::TinyInt(0),
                text("MULTI_USER"),
                bit(false),
                Value::TinyInt(0),
                text("ONLINE"),
                Value::TinyInt(snapshot),
                text(if info.allow_snapshot { "ON" } else { "OFF" }),
                bit(true),
                Value::TinyInt(1),
                text("FULL"),
                bit(info.cdc_enabled),
                Value::TinyInt(0),
                text("NOTHING"),
            ]
        })
        .collect())
}

/// Shown to who owns the database or may view any.
fn recovery(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let rights = &source.env.status.rights;
    let current = source.env.status.database.id();
    let all = source.env.shared.storage.databases();
    Ok(all
        .iter()
        .map(|database| database.info())
        .filter(|info| rights.sysadmin || (rights.is_owner() && info.id == current))
        .map(|info| {
            vec![
                Value::Int(info.id),
                Value::Guid(info.database_guid),
                Value::Guid(info.family_guid),
                Value::Null,
                Value::Guid(info.recovery_fork_guid),
                Value::Guid(info.recovery_fork_guid),
                Value::Null,
            ]
        })
        .collect())
}

/// Error 300.
fn denied(permission: &str, scope: &str) -> SqlError {
    SqlError::new(
        300,
        14,
        1,
        format!("{permission} permission was denied on object '{scope}', database 'master'."),
    )
}

fn services(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    if !source.rights.has_server_permission("VIEW SERVER STATE") {
        return Err(denied("VIEW SERVER STATE", "server"));
    }
    let service = |name: &str, running: bool| {
        vec![
            text(name),
            Value::Int(2),
            text("Automatic"),
            Value::Int(if running { 4 } else { 1 }),
            text(if running { "Running" } else { "Stopped" }),
        ]
    };
    Ok(vec![
        service("SQL Server (MSSQLSERVER)", true),
        service("SQL Server Agent (MSSQLSERVER)", source.env.shared.storage.cdc.agent_runs()),
    ])
}

fn transactions(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let rights = &source.rights;
    let allowed = rights.has_server_permission("VIEW SERVER STATE")
        || rights.has_database_permission("VIEW DATABASE STATE")
        || rights.has_database_permission("VIEW DATABASE PERFORMANCE STATE");
    if !allowed {
        return Err(denied("VIEW DATABASE STATE", &source.database.name()));
    }
    let lsn = |lsn: Option<crate::storage::Lsn>| lsn.map_or(Value::Null, |lsn| lsn.to_numeric());
    Ok(source
        .database
        .transactions()
        .into_iter()
        .map(|info| {
            vec![
                Value::BigInt(i64::try_from(info.id).unwrap_or(i64::MAX)),
                Value::Int(source.database.id()),
                info.begin_lsn.map_or(Value::Null, |_| date(info.begin_time)),
                Value::BigInt(i64::try_from(info.log_records).unwrap_or(i64::MAX)),
                lsn(info.begin_lsn),
                lsn(info.last_lsn),
                lsn(info.savepoint_lsn),
            ]
        })
        .collect())
}

fn current_transaction(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let Some(info) = source.env.with_txn(|txn| txn.info()) else {
        return Ok(Vec::new());
    };
    Ok(vec![vec![Value::BigInt(i64::try_from(info.id).unwrap_or(i64::MAX)), bit(info.snapshot)]])
}

fn principals(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let security = DatabaseSecurity::load(&source.database)?;
    let mut rows = vec![
        principal("public", 0, "R", "DATABASE_ROLE", None),
        principal("dbo", 1, "S", "SQL_USER", Some("dbo")),
        principal("guest", 2, "S", "SQL_USER", Some("guest")),
    ];
    let mut id = 5;
    for user in &security.users {
        rows.push(principal(&user.name, id, "S", "SQL_USER", Some("dbo")));
        id += 1;
    }
    for role in &security.roles {
        rows.push(principal(&role.name, id, "R", "DATABASE_ROLE", None));
        id += 1;
    }
    Ok(rows)
}

fn principal(
    name: &str,
    id: i32,
    kind: &str,
    description: &str,
    schema: Option<&str>,
) -> Vec<Value> {
    vec![text(name), Value::Int(id), Value::ansi(kind), text(description), optional(schema)]
}

fn logins(source: &Source<'_, '_>) -> Result<Rows, SqlError> {
    let mut rows = vec![principal("sa", 1, "S", "SQL_LOGIN", Some("master"))];
    for (id, login) in (256..).zip(load_logins(&source.env.shared.storage)?) {
        let database = login.database.as_deref().unwrap_or("master");
        if source.rights.sysadmin || super::same_name(&login.name, &source.rights.login) {
            rows.push(principal(&login.name, id, "S", "SQL_LOGIN", Some(database)));
        }
    }
    Ok(rows)
}
