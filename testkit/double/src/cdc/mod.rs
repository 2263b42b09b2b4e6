//! Change data capture: procedures, functions, the capture and cleanup jobs.
//!
//! The executor finds everything here by name ([`procedure`], [`scalar_function`],
//! [`table_function`]); the `cdc` schema's tables are ordinary tables of
//! [`storage`](crate::storage), and what CDC does about DDL is within [`Txn::alter_table`] and
//! [`Txn::drop_table`].
//!
//! Where the documents are silent or disagree, this does what is hardest for a reader, and the
//! place that does it says so; [`Modes`] has the switches for the other choice.

mod capture;
mod cleanup;
mod column_list;
mod commands;
mod ddl;
mod enable;
mod faults;
mod functions;
mod help;
mod job_rows;
mod jobs;
mod modes;
mod procedures;
mod schema;
mod tvf;

use std::sync::Arc;

pub use capture::ScanOutcome;
pub(crate) use enable::drop_database_cdc;
pub use job_rows::{JobKind, JobRow};
pub use jobs::{CaptureJob, ScanSession, scan_sessions};
pub(crate) use jobs::{Server, forget_jobs};
pub use modes::{FreshStart, MaxWrite, Modes, Split};
pub use tvf::Rows;

use crate::storage::{ColumnId, ObjectId, Storage, Txn, same_name};
use crate::{Cancelled, Column, Param, ResultSink, SqlError, SqlType, Value};

/// What the caller may do; answered by the executor, which owns logins, users and grants.
pub trait Access {
    /// Member of the server role sysadmin.
    fn is_sysadmin(&self) -> bool;
    /// db_owner of the current database (sysadmins are).
    fn is_db_owner(&self) -> bool;
    /// Member of a database role.
    fn is_role_member(&self, role: &str) -> bool;
    /// Whether SELECT is granted on all these columns of a table.
    fn can_select(&self, table: ObjectId, columns: &[ColumnId]) -> bool;
}

/// What a procedure or function runs in.
pub struct Context<'a> {
    /// The server.
    pub storage: &'a Arc<Storage>,
    /// The caller's transaction in its current database (one of the executor's making for an
    /// autocommit statement, committed by it afterwards). Procedures that the documents say open
    /// transactions of their own (scan, cleanup, jobs) do so.
    pub txn: &'a mut Txn,
    /// The caller's rights.
    pub access: &'a dyn Access,
}

/// How a procedure stops before its end.
#[derive(Debug)]
pub enum ProcedureError {
    /// An error; earlier ones may have gone to the sink.
    Sql(SqlError),
    /// The client is gone or sent an attention.
    Cancelled,
}

impl From<SqlError> for ProcedureError {
    fn from(error: SqlError) -> Self {
        ProcedureError::Sql(error)
    }
}

impl From<Cancelled> for ProcedureError {
    fn from(_: Cancelled) -> Self {
        ProcedureError::Cancelled
    }
}

/// A parameter of a procedure or function.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name with `@`.
    pub name: &'static str,
    /// Type; arguments are to be converted to it before the call.
    pub ty: SqlType,
    /// Default; `None` makes it required (error 201 without it).
    pub default: Option<Value>,
    /// OUTPUT.
    pub output: bool,
}

fn required(name: &'static str, ty: SqlType) -> Parameter {
    Parameter { name, ty, default: None, output: false }
}

fn optional(name: &'static str, ty: SqlType, default: Value) -> Parameter {
    Parameter { name, ty, default: Some(default), output: false }
}

/// The body of a procedure: its arguments stand in the order of its parameters, defaults filled
/// in; OUTPUT parameters are changed in place.
type Body = fn(&mut Context<'_>, &mut [Value], &mut dyn ResultSink) -> Result<(), ProcedureError>;

/// A system procedure.
pub struct Procedure {
    schema: &'static str,
    name: &'static str,
    parameters: fn() -> Vec<Parameter>,
    run: Body,
}

impl Procedure {
    /// Its name without schema.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its parameters, in order.
    pub fn parameters(&self) -> Vec<Parameter> {
        (self.parameters)()
    }

    /// Runs it with arguments by name or position, already converted to the parameters' types;
    /// result sets, messages and OUTPUT values go to the sink. Answers the return status.
    ///
    /// # Errors
    /// 201 and 8144/8145 for wrong arguments; the procedure's own.
    pub fn call(
        &self,
        context: &mut Context<'_>,
        arguments: &[Param],
        sink: &mut dyn ResultSink,
    ) -> Result<i32, ProcedureError> {
        let parameters = self.parameters();
        let mut values = self.bind(&parameters, arguments)?;
        (self.run)(context, &mut values, sink).map_err(|error| match error {
            ProcedureError::Sql(mut error) => {
                error.procedure = self.name.to_owned();
                ProcedureError::Sql(error)
            }
            cancelled => cancelled,
        })?;
        for (at, argument) in arguments.iter().enumerate().filter(|(_, argument)| argument.output) {
            let place = self.place(&parameters, at, argument)?;
            if parameters[place].output {
                sink.return_value(&Param { value: values[place].clone(), ..argument.clone() })?;
            }
        }
        Ok(0)
    }

    fn bind(&self, parameters: &[Parameter], arguments: &[Param]) -> Result<Vec<Value>, SqlError> {
        let mut values: Vec<Option<Value>> = vec![None; parameters.len()];
        for (at, argument) in arguments.iter().enumerate() {
            values[self.place(parameters, at, argument)?] = Some(argument.value.clone());
        }
        let filled = parameters.iter().zip(values).map(|(parameter, value)| {
            value.or_else(|| parameter.default.clone()).ok_or_else(|| {
                SqlError::new(
                    201,
                    16,
                    4,
                    format!(
                        "Procedure or function '{}' expects parameter '{}', which was not supplied.",
                        self.name, parameter.name
                    ),
                )
            })
        });
        filled.collect()
    }

    fn place(
        &self,
        parameters: &[Parameter],
        at: usize,
        argument: &Param,
    ) -> Result<usize, SqlError> {
        if argument.name.is_empty() {
            return (at < parameters.len()).then_some(at).ok_or_else(|| {
                SqlError::new(
                    8144,
                    16,
                    2,
                    format!(
                        "Procedure or function {} has too many arguments specified.",
                        self.name
                    ),
                )
            });
        }
        parameters
            .iter()
            .position(|parameter| same_name(parameter.name, &argument.name))
            .ok_or_else(|| {
                SqlError::new(
                    8145,
                    16,
                    1,
                    format!("{} is not a parameter for procedure {}.", argument.name, self.name),
                )
            })
    }
}

/// A procedure by name, with or without its schema (`sys.sp_cdc_enable_db`,
/// `sp_cdc_enable_db`, `double.set_fault`), in any case.
pub fn procedure(name: &str) -> Option<&'static Procedure> {
    procedures::all().find(|procedure| {
        let bare = bare_name(name, procedure.schema);
        // Only system procedures go without their schema.
        same_name(bare, procedure.name) && (procedure.schema == "sys" || bare.len() < name.len())
    })
}

/// A scalar system function.
pub struct ScalarFunction {
    name: &'static str,
    parameters: fn() -> Vec<Parameter>,
    returns: SqlType,
    run: fn(&mut Context<'_>, &[Value]) -> Result<Value, SqlError>,
}

impl ScalarFunction {
    /// Its parameters.
    pub fn parameters(&self) -> Vec<Parameter> {
        (self.parameters)()
    }

    /// Type of its result.
    pub fn returns(&self) -> SqlType {
        self.returns.clone()
    }

    /// Calls it with arguments converted to the parameters' types.
    ///
    /// # Errors
    /// 313 for too few arguments, 8144 for too many; the function's own (208 where CDC is off).
    pub fn call(&self, context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, SqlError> {
        let wanted = self.parameters().len();
        if arguments.len() != wanted {
            let (number, what) = if arguments.len() < wanted {
                (
                    313,
                    "An insufficient number of arguments were supplied for the procedure or function",
                )
            } else {
                (8144, "Too many arguments were supplied for the procedure or function")
            };
            return Err(SqlError::new(number, 16, 2, format!("{what} sys.{}.", self.name)));
        }
        (self.run)(context, arguments)
    }
}

/// A scalar function by name (`sys.fn_cdc_get_max_lsn`), in any case.
pub fn scalar_function(name: &str) -> Option<&'static ScalarFunction> {
    let name = bare_name(name, "sys");
    functions::FUNCTIONS.iter().find(|function| same_name(function.name, name))
}

/// A table-valued function of a capture instance.
pub struct TableFunction {
    /// Columns of its result.
    pub columns: Vec<Column>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// The change table that it reads.
    pub table: std::sync::Arc<crate::storage::TableDef>,
    kind: tvf::Kind,
    instance: schema::Instance,
}

/// A table-valued function of the current database by name
/// (`cdc.fn_cdc_get_all_changes_dbo_orders`), in any case; `None` is error 208.
///
/// # Errors
/// Of reading the catalogue: 1205, 1222.
pub fn table_function(
    context: &mut Context<'_>,
    name: &str,
) -> Result<Option<TableFunction>, SqlError> {
    tvf::find(context, name)
}

/// A name without this schema before it.
fn bare_name<'a>(name: &'a str, schema: &str) -> &'a str {
    match name.split_once('.') {
        Some((head, rest)) if same_name(head, schema) => rest,
        _ => name,
    }
}
