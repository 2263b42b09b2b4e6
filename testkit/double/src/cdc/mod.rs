//! Change data capture: procedures, functions, the capture and cleanup jobs.
//!
//! The executor finds everything here by name ([`procedure`], [`scalar_function`],
//! [`table_function`]); the `cdc` schema's tables are ordinary tables of [`storage`](crate::storage).

use std::sync::Arc;

use crate::storage::{ColumnId, ObjectId, Row, Storage, Txn};
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

/// A system procedure.
pub struct Procedure {}

impl Procedure {
    /// Its parameters, in order.
    pub fn parameters(&self) -> Vec<Parameter> {
        unimplemented!()
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
        let _ = (context, arguments, sink);
        unimplemented!()
    }
}

/// A procedure by name, with or without its schema (`sys.sp_cdc_enable_db`,
/// `sp_cdc_enable_db`, `double.set_fault`), in any case.
pub fn procedure(name: &str) -> Option<&'static Procedure> {
    let _ = name;
    None
}

/// A scalar system function.
pub struct ScalarFunction {}

impl ScalarFunction {
    /// Its parameters.
    pub fn parameters(&self) -> Vec<Parameter> {
        unimplemented!()
    }

    /// Type of its result.
    pub fn returns(&self) -> SqlType {
        unimplemented!()
    }

    /// Calls it with arguments converted to the parameters' types.
    ///
    /// # Errors
    /// The function's own (208 where CDC is off).
    pub fn call(&self, context: &mut Context<'_>, arguments: &[Value]) -> Result<Value, SqlError> {
        let _ = (context, arguments);
        unimplemented!()
    }
}

/// A scalar function by name (`sys.fn_cdc_get_max_lsn`), in any case.
pub fn scalar_function(name: &str) -> Option<&'static ScalarFunction> {
    let _ = name;
    None
}

/// A table-valued function of a capture instance.
pub struct TableFunction {
    /// Columns of its result.
    pub columns: Vec<Column>,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
}

impl TableFunction {
    /// Opens it.
    ///
    /// # Errors
    /// 313 for every argument it does not like, 229 without rights.
    pub fn open(
        &self,
        context: &mut Context<'_>,
        arguments: &[Value],
    ) -> Result<Box<dyn Iterator<Item = Result<Row, SqlError>> + Send>, SqlError> {
        let _ = (context, arguments);
        unimplemented!()
    }
}

/// A table-valued function of the current database by name
/// (`cdc.fn_cdc_get_all_changes_dbo_orders`), in any case.
pub fn table_function(context: &mut Context<'_>, name: &str) -> Option<TableFunction> {
    let _ = (context, name);
    None
}

use crate::storage::Database;
/// Jobs.
#[derive(Default)]
pub struct Server {}
impl Server {
    /// x
    pub fn start(_: &Arc<Storage>) {}
    /// x
    pub fn stop_capture(&self, _: &Arc<Database>) {}
    /// x
    pub fn start_capture(_: &Arc<Storage>, _: &Arc<Database>) {}
    /// x
    pub fn shutdown(&self, _: &Storage) {}
}
/// x
pub fn forget_jobs(_: &Storage, _: i32) -> Result<(), SqlError> {
    Ok(())
}
/// x
pub fn drop_database_cdc(_: &Arc<Database>) -> Result<(), SqlError> {
    Ok(())
}
