//! The procedures by name, their parameters, and the call of what does the work.

use super::enable::{self, EnableTable, error, require_enabled, require_owner};
use super::job_rows::{self, JobKind, JobRow};
use super::jobs;
use super::{
    Context, Parameter, Procedure, ProcedureError, cleanup, faults, help, optional, required,
};
use crate::storage::Lsn;
use crate::{ResultSink, SqlError, SqlType, Value};

const NAME: SqlType = SqlType::NVarChar(Some(128));
const JOB: SqlType = SqlType::NVarChar(Some(20));

type Outcome = Result<(), ProcedureError>;

pub(super) fn all() -> impl Iterator<Item = &'static Procedure> {
    PROCEDURES.iter()
}

static PROCEDURES: &[Procedure] = &[
    Procedure { schema: "sys", name: "sp_cdc_enable_db", parameters: Vec::new, run: enable_db },
    Procedure { schema: "sys", name: "sp_cdc_disable_db", parameters: Vec::new, run: disable_db },
    Procedure {
        schema: "sys",
        name: "sp_cdc_enable_table",
        parameters: || {
            vec![
                required("@source_schema", NAME),
                required("@source_name", NAME),
                optional("@capture_instance", NAME, Value::Null),
                optional("@supports_net_changes", SqlType::Bit, Value::Null),
                required("@role_name", NAME),
                optional("@index_name", NAME, Value::Null),
                optional("@captured_column_list", SqlType::NVarChar(None), Value::Null),
                optional("@filegroup_name", NAME, Value::Null),
                optional("@allow_partition_switch", SqlType::Bit, Value::Bit(true)),
                optional("@enable_extended_ddl_handling", SqlType::Bit, Value::Bit(false)),
            ]
        },
        run: enable_table,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_disable_table",
        parameters: || {
            vec![
                required("@source_schema", NAME),
                required("@source_name", NAME),
                required("@capture_instance", NAME),
            ]
        },
        run: disable_table,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_help_change_data_capture",
        parameters: || {
            vec![
                optional("@source_schema", NAME, Value::Null),
                optional("@source_name", NAME, Value::Null),
            ]
        },
        run: help::change_data_capture,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_get_captured_columns",
        parameters: || vec![required("@capture_instance", NAME)],
        run: help::captured_columns,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_get_ddl_history",
        parameters: || vec![required("@capture_instance", NAME)],
        run: help::ddl_history,
    },
    Procedure {
        schema: "sys",
        name: "sp_replicationdboption",
        parameters: || {
            vec![required("@dbname", NAME), required("@optname", NAME), required("@value", NAME)]
        },
        run: replication_option,
    },
    Procedure { schema: "sys", name: "sp_cdc_help_jobs", parameters: Vec::new, run: help::jobs },
    Procedure {
        schema: "sys",
        name: "sp_cdc_add_job",
        parameters: || {
            let mut parameters = vec![
                required("@job_type", JOB),
                optional("@start_job", SqlType::Bit, Value::Bit(true)),
            ];
            parameters.extend(job_settings());
            parameters
        },
        run: add_job,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_change_job",
        parameters: || {
            let mut parameters = vec![optional("@job_type", JOB, Value::text("capture"))];
            parameters.extend(job_settings());
            parameters
        },
        run: change_job,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_drop_job",
        parameters: || vec![required("@job_type", JOB)],
        run: drop_job,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_start_job",
        parameters: || vec![optional("@job_type", JOB, Value::text("capture"))],
        run: start_job,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_stop_job",
        parameters: || vec![optional("@job_type", JOB, Value::text("capture"))],
        run: stop_job,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_scan",
        parameters: || {
            vec![
                optional("@maxtrans", SqlType::Int, Value::Int(500)),
                optional("@maxscans", SqlType::Int, Value::Int(10)),
                optional("@continuous", SqlType::TinyInt, Value::TinyInt(0)),
                optional("@pollinginterval", SqlType::BigInt, Value::BigInt(0)),
            ]
        },
        run: scan,
    },
    Procedure {
        schema: "sys",
        name: "sp_cdc_cleanup_change_table",
        parameters: || {
            vec![
                required("@capture_instance", NAME),
                required("@low_water_mark", SqlType::Binary(10)),
                optional("@threshold", SqlType::BigInt, Value::BigInt(5000)),
                Parameter {
                    output: true,
                    ..optional("@fCleanupFailed", SqlType::Bit, Value::Bit(false))
                },
            ]
        },
        run: cleanup_change_table,
    },
    Procedure {
        schema: "double",
        name: "set_fault",
        parameters: || {
            vec![
                required("@name", SqlType::NVarChar(Some(64))),
                optional("@value", SqlType::NVarChar(Some(4000)), Value::Null),
                optional("@object", SqlType::NVarChar(Some(256)), Value::Null),
            ]
        },
        run: faults::set_fault,
    },
];

fn job_settings() -> Vec<Parameter> {
    vec![
        optional("@maxtrans", SqlType::Int, Value::Null),
        optional("@maxscans", SqlType::Int, Value::Null),
        optional("@continuous", SqlType::Bit, Value::Null),
        optional("@pollinginterval", SqlType::BigInt, Value::Null),
        optional("@retention", SqlType::BigInt, Value::Null),
        optional("@threshold", SqlType::BigInt, Value::Null),
    ]
}

fn enable_db(context: &mut Context<'_>, _: &mut [Value], sink: &mut dyn ResultSink) -> Outcome {
    if let Some(message) = enable::enable_db(context)? {
        sink.message(&message)?;
    }
    Ok(())
}

fn disable_db(context: &mut Context<'_>, _: &mut [Value], _: &mut dyn ResultSink) -> Outcome {
    Ok(enable::disable_db(context)?)
}

fn enable_table(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    sink: &mut dyn ResultSink,
) -> Outcome {
    let [schema, table, instance, net, role, index, columns, filegroup, switch, extended] =
        arguments
    else {
        return Ok(());
    };
    if *extended == Value::Bit(true) {
        return Err(error(
            22874,
            "Extended DDL handling is not enabled for Change Data Capture on this server.",
        )
        .into());
    }
    let wanted = EnableTable {
        schema: schema.to_text().unwrap_or_default(),
        table: table.to_text().unwrap_or_default(),
        instance: instance.to_text(),
        net_changes: (!net.is_null()).then(|| is_true(net)),
        role: role.to_text().filter(|role| !role.is_empty()),
        index: index.to_text(),
        columns: columns.to_text(),
        filegroup: filegroup.to_text(),
        // "If a table isn't partitioned, the switch setting is always 1, and the actual setting ignored"
        // (Microsoft), and no table is here.
        partition_switch: true,
    };
    enable::enable_table(context, &wanted)?;
    if !is_true(switch) {
        sink.message(&SqlError::new(
            22857,
            10,
            1,
            "The value of @allow_partition_switch was ignored: the source table is not partitioned. Change data capture does not track what ALTER TABLE SWITCH does to it.",
        ))?;
    }
    Ok(())
}

fn disable_table(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    _: &mut dyn ResultSink,
) -> Outcome {
    let [schema, table, instance] = arguments else {
        return Ok(());
    };
    let text = |value: &Value| value.to_text().unwrap_or_default();
    Ok(enable::disable_table(context, &text(schema), &text(table), &text(instance))?)
}

fn is_true(value: &Value) -> bool {
    value.as_i64().is_some_and(|value| value != 0)
}

// ---- jobs ----------------------------------------------------------------------------------

fn kind(value: &Value) -> Result<JobKind, SqlError> {
    let name = value.to_text().unwrap_or_default();
    JobKind::parse(&name).ok_or_else(|| {
        error(22993, format!("The value '{name}' specified for the parameter @job_type is not valid. Specify 'capture' or 'cleanup'."))
    })
}

/// Puts the settings that are not NULL into a job, if they are in range.
fn set(job: &mut JobRow, settings: &[Value]) -> Result<(), SqlError> {
    let out_of_range = |name: &str| {
        error(
            22994,
            format!(
                "The value specified for the parameter {name} is out of range or does not apply to a {} job.",
                job.kind.name()
            ),
        )
    };
    let capture = job.kind == JobKind::Capture;
    for (at, value) in settings.iter().enumerate() {
        let Some(value) = value.as_i64() else {
            continue;
        };
        let small = i32::try_from(value).unwrap_or(i32::MAX);
        match at {
            0 if capture && value > 0 => job.maxtrans = small,
            1 if capture && value > 0 => job.maxscans = small,
            2 if capture => job.continuous = value != 0,
            // Up to 24 hours.
            3 if capture && (0..=86_399).contains(&value) => job.pollinginterval = value,
            // Up to 100 years.
            4 if !capture && (1..=52_494_800).contains(&value) => job.retention = value,
            5 if !capture && value > 0 => job.threshold = value,
            0 => return Err(out_of_range("@maxtrans")),
            1 => return Err(out_of_range("@maxscans")),
            2 => return Err(out_of_range("@continuous")),
            3 => return Err(out_of_range("@pollinginterval")),
            4 => return Err(out_of_range("@retention")),
            _ => return Err(out_of_range("@threshold")),
        }
    }
    Ok(())
}

fn add_job(context: &mut Context<'_>, arguments: &mut [Value], _: &mut dyn ResultSink) -> Outcome {
    require_enabled(context)?;
    require_owner(context)?;
    let mut job = JobRow::new(kind(&arguments[0])?);
    set(&mut job, &arguments[2..])?;
    let database = context.txn.database().clone();
    job_rows::add_job(context.storage, database.id(), &job)?;
    // Only a capture job has anything to do at once.
    if is_true(&arguments[1]) && job.kind == JobKind::Capture && context.storage.cdc.agent_runs() {
        jobs::start_job(context.storage, &database, job.kind)?;
    }
    Ok(())
}

fn change_job(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    _: &mut dyn ResultSink,
) -> Outcome {
    require_enabled(context)?;
    require_owner(context)?;
    let kind = kind(&arguments[0])?;
    let database = context.txn.database().id();
    let (id, mut job) =
        job_rows::job(context.storage, database, kind)?.ok_or_else(|| no_job(kind))?;
    set(&mut job, &arguments[1..])?;
    Ok(job_rows::change_job(context.storage, database, id, &job)?)
}

fn no_job(kind: JobKind) -> SqlError {
    error(22995, format!("The {} job of the current database does not exist.", kind.name()))
}

fn drop_job(context: &mut Context<'_>, arguments: &mut [Value], _: &mut dyn ResultSink) -> Outcome {
    require_owner(context)?;
    let kind = kind(&arguments[0])?;
    let database = context.txn.database().clone();
    if kind == JobKind::Capture {
        context.storage.cdc.stop_capture(&database);
    }
    Ok(job_rows::drop_jobs(context.storage, database.id(), Some(kind))?)
}

fn start_job(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    _: &mut dyn ResultSink,
) -> Outcome {
    require_enabled(context)?;
    require_owner(context)?;
    let database = context.txn.database().clone();
    Ok(jobs::start_job(context.storage, &database, kind(&arguments[0])?)?)
}

fn stop_job(context: &mut Context<'_>, arguments: &mut [Value], _: &mut dyn ResultSink) -> Outcome {
    require_enabled(context)?;
    require_owner(context)?;
    let database = context.txn.database().clone();
    Ok(jobs::stop_job(context.storage, &database, kind(&arguments[0])?)?)
}

/// A scan by hand. `@continuous = 1` keeps scanning until there is nothing left: a client that
/// wants it for ever has the job.
fn scan(context: &mut Context<'_>, arguments: &mut [Value], _: &mut dyn ResultSink) -> Outcome {
    require_enabled(context)?;
    require_owner(context)?;
    let number =
        |at: usize| arguments[at].as_i64().and_then(|v| i32::try_from(v).ok()).unwrap_or(1);
    let database = context.txn.database().clone();
    let scans = if is_true(&arguments[2]) { i32::MAX } else { number(1) };
    jobs::manual_scan(context.storage, &database, number(0), scans)?;
    Ok(())
}

fn cleanup_change_table(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    sink: &mut dyn ResultSink,
) -> Outcome {
    require_enabled(context)?;
    require_owner(context)?;
    let instance = arguments[0].to_text().unwrap_or_default();
    let mark = Lsn::from_value(&arguments[1]);
    let threshold = arguments[2].as_i64().unwrap_or(5000);
    let database = context.txn.database().clone();
    let cleaned = cleanup::change_table(context.storage, &database, &instance, mark, threshold);
    // Lock trouble is what @fCleanupFailed is for.
    match cleaned {
        Err(cause) if matches!(cause.number, 1205 | 1222) => {
            arguments[3] = Value::Bit(true);
            sink.message(&SqlError { class: 10, ..cause })?;
            Ok(())
        }
        other => {
            arguments[3] = Value::Bit(other.is_err());
            Ok(other?)
        }
    }
}

/// `sp_replicationdboption`: whether a database is published. Nothing is replicated by this server; the
/// word is what readers of `sys.databases` find, and what `split_transactions` asks for.
fn replication_option(
    context: &mut Context<'_>,
    arguments: &mut [Value],
    _: &mut dyn ResultSink,
) -> Outcome {
    if !context.access.is_sysadmin() {
        return Err(super::enable::error(
            21089,
            "Only members of the sysadmin fixed server role can perform this operation.",
        )
        .into());
    }
    let text = |value: &Value| value.to_text().unwrap_or_default().to_lowercase();
    let name = text(&arguments[0]);
    let database = context.storage.database(&name).ok_or_else(|| {
        super::enable::error(
            15010,
            format!("The database '{name}' does not exist. Supply a valid database name. To see available databases, use sys.databases."),
        )
    })?;
    let on = match (text(&arguments[1]).as_str(), text(&arguments[2]).as_str()) {
        ("publish", "true") => true,
        ("publish", "false") => false,
        _ => {
            return Err(super::enable::error(
                14_138,
                "The only option that this server knows is 'publish', 'true' or 'false'.",
            )
            .into());
        }
    };
    Ok(database.set_published(on)?)
}
