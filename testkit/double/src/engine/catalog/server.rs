//! The server's services and configuration.

use super::definition::{Columns, Definition, Field, Inside, NVar, ViewOf, null};
use super::source::{Catalog, State};
use crate::storage::Micros;
use crate::{SqlError, SqlType, Value};

pub(super) const VIEWS: &[&dyn Definition] = &[
    &ViewOf::sys("dm_server_services", service_columns, services),
    &ViewOf::sys("configurations", option_columns, options),
];

/// `datetimeoffset(7)` in UTC.
struct Moment(Micros);

impl Field for Moment {
    const TYPE: SqlType = SqlType::DateTimeOffset(7);
    fn value(self) -> Value {
        match crate::storage::datetime2(self.0) {
            Value::DateTime2 { days, time } => Value::DateTimeOffset { days, time, offset: 0 },
            other => other,
        }
    }
}

/// A service of the instance. Both run in this one process.
struct Service {
    name: &'static str,
    running: bool,
    started: Option<Micros>,
    executable: &'static str,
    /// `instant_file_initialization_enabled`, for the engine only.
    file_initialization: Option<&'static str>,
}

fn services(catalog: &Catalog<'_>) -> Result<Vec<Service>, SqlError> {
    catalog.need(State::ServerSecurity)?;
    // tempdb is made anew at every start.
    let clock = catalog.storage.clock();
    let offset = i64::from(clock.utc_offset_minutes()) * 60_000_000;
    let started = catalog.storage.database("tempdb").map(|db| db.info().create_date - offset);
    let agent = catalog.storage.cdc.agent_runs();
    Ok(vec![
        Service {
            name: "SQL Server (MSSQLSERVER)",
            running: true,
            started,
            executable: "/opt/mssql/bin/sqlservr",
            file_initialization: Some("Y"),
        },
        Service {
            name: "SQL Server Agent (MSSQLSERVER)",
            running: agent,
            started: started.filter(|_| agent),
            executable: "/opt/mssql/bin/sqlservr",
            file_initialization: None,
        },
    ])
}

fn text(text: &str) -> NVar<256> {
    NVar(text.to_owned())
}

fn service_columns() -> Columns<Service> {
    Columns::new()
        .add("servicename", |s: &Service| text(s.name))
        .add("startup_type", |_| Some(2))
        .add("startup_type_desc", |_| text("Automatic"))
        .add("status", |s| Some(if s.running { 4 } else { 1 }))
        .add("status_desc", |s| text(if s.running { "Running" } else { "Stopped" }))
        .add("process_id", |s| {
            s.running.then(|| i32::try_from(std::process::id()).unwrap_or(i32::MAX))
        })
        .add("last_startup_time", |s| s.started.map(Moment))
        .add("service_account", |_| text("mssql"))
        .add("filename", |s| text(s.executable))
        .add("is_clustered", |_| NVar::<1>("N".to_owned()))
        .add("cluster_nodename", null::<_, NVar<256>>)
        .add("instant_file_initialization_enabled", |s| {
            s.file_initialization.map(|flag| NVar::<1>(flag.to_owned()))
        })
}

/// A configuration option that the double honours.
struct ConfigOption {
    id: i32,
    name: &'static str,
    value: i32,
    minimum: i32,
    maximum: i32,
    description: &'static str,
    dynamic: bool,
    advanced: bool,
}

fn options(catalog: &Catalog<'_>) -> Result<Vec<ConfigOption>, SqlError> {
    let connections = ConfigOption {
        id: 103,
        name: "user connections",
        value: 0,
        minimum: 0,
        maximum: 32_767,
        description: "Number of user connections allowed",
        dynamic: false,
        advanced: true,
    };
    Ok(vec![
        connections,
        ConfigOption {
            id: 1536,
            name: "max text repl size (B)",
            value: i32::try_from(catalog.storage.max_text_repl_size()).unwrap_or(i32::MAX),
            minimum: -1,
            maximum: i32::MAX,
            description: "Maximum size of a text field in replication.",
            dynamic: true,
            advanced: false,
        },
    ])
}

/// As `sys.configurations` has numbers.
fn setting(number: i32) -> Inside {
    Inside::number(&SqlType::Int, number.into())
}

fn option_columns() -> Columns<ConfigOption> {
    Columns::new()
        .add("configuration_id", |o: &ConfigOption| o.id)
        .add("name", |o| NVar::<35>(o.name.to_owned()))
        .add("value", |o| Some(setting(o.value)))
        .add("minimum", |o| Some(setting(o.minimum)))
        .add("maximum", |o| Some(setting(o.maximum)))
        .add("value_in_use", |o| Some(setting(o.value)))
        .add("description", |o| NVar::<255>(o.description.to_owned()))
        .add("is_dynamic", |o| o.dynamic)
        .add("is_advanced", |o| o.advanced)
}
