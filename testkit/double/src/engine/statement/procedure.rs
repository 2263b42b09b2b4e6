//! EXEC: the procedures of change data capture, and the few this engine has itself.

use std::sync::Arc;

use super::security::change_members;
use crate::cdc;
use crate::engine::batch::{Executor, Flow, natural_type};
use crate::engine::bind::same_name;
use crate::engine::convert;
use crate::engine::env::{Outlet, Results};
use crate::engine::fault::Fault;
use crate::engine::security::{CaptureAccess, DatabaseSecurity};
use crate::engine::syntax::ast::{Execute, Expr, ObjectName};
use crate::engine::syntax::{parse_declarations, parse_name};
use crate::{Param, ResultSink, SqlError, SqlType, Value};

/// What a procedure answered.
pub struct Called {
    /// Return status.
    pub status: i32,
    /// Values of its OUTPUT parameters, by position or name as they were passed.
    pub outputs: Vec<Param>,
}

/// Error 2812.
fn unknown(name: &str) -> SqlError {
    SqlError::new(2812, 16, 62, format!("Could not find stored procedure '{name}'."))
}

impl Executor<'_> {
    pub(crate) fn execute(&mut self, execute: &Execute) -> Result<Flow, Fault> {
        let mut params = Vec::new();
        for argument in &execute.arguments {
            let (value, ty) = match &argument.value {
                None => continue,
                Some(value) => self.evaluate(value)?,
            };
            params.push(Param {
                name: argument.name.clone().unwrap_or_default(),
                ty: ty.unwrap_or(SqlType::NVarChar(Some(1))),
                value,
                output: argument.output,
            });
        }
        // A positional DEFAULT would shift the others.
        if execute
            .arguments
            .iter()
            .any(|argument| argument.value.is_none() && argument.name.is_none())
        {
            return Err(Fault::Compile(crate::engine::bind::unsupported("DEFAULT")));
        }
        self.sink.begin_call();
        let called = self.call_procedure(&execute.procedure.to_string(), params);
        let status = called.as_ref().ok().map(|called| called.status);
        self.sink.end_call(status)?;
        let called = called?;
        if let Some(variable) = &execute.status {
            self.assign(variable, Value::Int(called.status))?;
        }
        let given = execute.arguments.iter().filter(|argument| argument.output);
        for (argument, result) in given.zip(&called.outputs) {
            if let Some(Expr::Variable(variable)) = &argument.value {
                let (_, ty) = self.variables.get(variable).map_err(Fault::Compile)?;
                let value = convert::convert(&result.value, &result.ty, ty, None)?;
                self.assign(variable, value)?;
            }
        }
        Ok(Flow::Next)
    }

    /// Calls a procedure; OUTPUT values come back in the order their parameters were passed.
    ///
    /// # Errors
    /// 2812 and the procedure's own.
    pub(crate) fn call_procedure(
        &mut self,
        name: &str,
        params: Vec<Param>,
    ) -> Result<Called, Fault> {
        let parsed = parse_name(name).ok();
        let database = parsed.as_ref().and_then(|name| name.database.as_deref());
        if let Some(database) = database
            && !same_name(database, &self.session.database())
        {
            return self.call_elsewhere(database, name, params);
        }
        let bare = match &parsed {
            Some(name) => name.name.to_ascii_lowercase(),
            None => name.to_ascii_lowercase(),
        };
        match bare.as_str() {
            "sp_executesql" => return self.execute_sql(params),
            "sp_rename" => return self.rename(&params),
            "sp_configure" => return self.configure(&params),
            "sp_addrolemember" | "sp_droprolemember" => {
                return self.role_member(&params, bare == "sp_addrolemember");
            }
            _ => {}
        }
        if let Some(called) = self.property_procedure(&bare, &params)? {
            return Ok(called);
        }
        if let Some(called) = self.cursor_procedure(&bare, &params)? {
            return Ok(called);
        }
        if let Some(called) = self.metadata_procedure(&bare, &params)? {
            return Ok(called);
        }
        let full = self.qualified(name);
        let Some(procedure) = cdc::procedure(&full).or_else(|| cdc::procedure(name)) else {
            return Err(self.not_run(name, parsed.as_ref()));
        };
        self.capture_procedure(procedure, params)
    }

    /// Why a procedure is not run: it is not there, or it is stored, and stored ones never are.
    fn not_run(&mut self, name: &str, parsed: Option<&ObjectName>) -> Fault {
        let stored = parsed.map(|parsed| {
            self.with_env(false, |env, _| {
                let schema = env.schema_of(parsed);
                let object = env.with_txn(|txn| txn.object(&schema, &parsed.name))?;
                Ok(object.is_some_and(|object| object.module.is_some() && !object.is_view()))
            })
        });
        match stored {
            Some(Ok(true)) => SqlError::new(
                102,
                15,
                1,
                format!("Incorrect syntax near '{name}'. This server keeps stored procedures and does not run them."),
            )
            .into(),
            Some(Err(fault)) => fault,
            _ => unknown(name).into(),
        }
    }

    /// Calls a system procedure in another database, which is the current one while it runs.
    fn call_elsewhere(
        &mut self,
        database: &str,
        name: &str,
        params: Vec<Param>,
    ) -> Result<Called, Fault> {
        let before = self.session.database();
        self.session.use_database(database)?;
        let result = self.call_procedure(name, params);
        self.session.use_database(&before)?;
        result
    }

    /// A name without its database, which must be the current one for what is done there.
    fn qualified(&self, name: &str) -> String {
        match parse_name(name) {
            Ok(parsed) => match parsed.schema {
                Some(schema) => format!("{schema}.{}", parsed.name),
                None => parsed.name,
            },
            Err(_) => name.to_owned(),
        }
    }

    fn capture_procedure(
        &mut self,
        procedure: &'static cdc::Procedure,
        params: Vec<Param>,
    ) -> Result<Called, Fault> {
        let declared = procedure.parameters();
        let mut arguments = Vec::new();
        for (at, param) in params.iter().enumerate() {
            let parameter = match param.name.is_empty() {
                true => declared.get(at),
                false => declared.iter().find(|known| known.name.eq_ignore_ascii_case(&param.name)),
            };
            // What does not fit is for the procedure to refuse.
            let Some(parameter) = parameter else {
                arguments.push(param.clone());
                continue;
            };
            let from = natural_type(&param.value).unwrap_or_else(|| param.ty.clone());
            let value = match convert::implicit_allowed(&from, &parameter.ty) {
                true => convert::convert(&param.value, &from, &parameter.ty, None)?,
                false => {
                    return Err(SqlError::new(
                        8114,
                        16,
                        1,
                        format!(
                            "Error converting data type {} to {}.",
                            from.name(),
                            parameter.ty.message_name()
                        ),
                    )
                    .into());
                }
            };
            arguments.push(Param {
                name: parameter.name.to_owned(),
                ty: parameter.ty.clone(),
                value,
                output: param.output,
            });
        }
        let mut outputs: Vec<Param> =
            arguments.iter().filter(|param| param.output).cloned().collect();
        let no_transaction = self.session.open.is_none();
        let result = {
            let mut own = None;
            let mut open = self.session.open.take();
            let result = {
                let txn = match &mut open {
                    Some(open) => &mut open.txn,
                    None => own
                        .insert(self.session.status.database.begin(self.session.status.isolation)),
                };
                self.session.prepare(txn);
                let savepoint = txn.savepoint();
                let access = CaptureAccess {
                    rights: &self.session.status.rights,
                    database: &self.session.status.database,
                };
                let mut context =
                    cdc::Context { storage: &self.session.shared.storage, txn, access: &access };
                let mut taker = Taker { sink: self.sink.reborrow(), outputs: &mut outputs };
                let result = procedure.call(&mut context, &arguments, &mut taker);
                let txn = context.txn;
                if txn.is_active() {
                    if result.is_err() {
                        txn.rollback_to(savepoint);
                    }
                    txn.end_statement();
                }
                result
            };
            self.session.open = open;
            match (result, own) {
                (Ok(status), Some(own)) => own.commit().map(|_| status).map_err(Fault::from),
                (Ok(status), None) => Ok(status),
                (Err(cdc::ProcedureError::Cancelled), _) => Err(Fault::Cancelled),
                (Err(cdc::ProcedureError::Sql(error)), _) => Err(error.into()),
            }
        };
        debug_assert!(no_transaction == self.session.open.is_none());
        self.session.shared.security_changed();
        Ok(Called { status: result?, outputs })
    }

    /// `sp_executesql @stmt, @params, @p1, …`
    fn execute_sql(&mut self, params: Vec<Param>) -> Result<Called, Fault> {
        let text = |param: Option<&Param>| param.and_then(|param| param.value.to_text());
        let Some(statement) = text(params.first()) else {
            return Err(SqlError::new(
                214,
                16,
                2,
                "Procedure expects parameter '@statement' of type 'ntext/nchar/nvarchar'.",
            )
            .into());
        };
        let declared = match text(params.get(1)) {
            Some(declarations) => parse_declarations(&declarations)?,
            None => Vec::new(),
        };
        let given = params.get(2..).unwrap_or_default();
        let mut passed = Vec::new();
        for (at, (declaration, output)) in declared.iter().enumerate() {
            let argument = given
                .iter()
                .find(|param| param.name.eq_ignore_ascii_case(&declaration.name))
                .or_else(|| given.get(at).filter(|param| param.name.is_empty()));
            let Some(argument) = argument else {
                return Err(SqlError::new(
                    8178,
                    16,
                    1,
                    format!("The parameterized query expects the parameter '{}', which was not supplied.", declaration.name),
                )
                .into());
            };
            passed.push(Param {
                name: declaration.name.clone(),
                ty: declaration.ty.clone(),
                value: argument.value.clone(),
                output: *output && argument.output,
            });
        }
        if given.len() > declared.len() {
            return Err(SqlError::new(
                8144,
                16,
                2,
                "Procedure or function sp_executesql has too many arguments specified.",
            )
            .into());
        }
        let results = self.run_text(&statement, passed)?;
        // In the order in which they were passed.
        let mut outputs = Vec::new();
        for param in given.iter().filter(|param| param.output) {
            let found = results.iter().enumerate().find(|(at, result)| {
                result.name.eq_ignore_ascii_case(&param.name)
                    || (param.name.is_empty()
                        && given.get(*at).is_some_and(|own| std::ptr::eq(own, param)))
            });
            if let Some((_, result)) = found {
                outputs.push(result.clone());
            }
        }
        Ok(Called { status: 0, outputs })
    }

    /// `sp_configure 'option', value`: of the options only `max text repl size` means something
    /// here; the gate to the advanced ones is always open.
    fn configure(&mut self, params: &[Param]) -> Result<Called, Fault> {
        let rights = &self.session.status.rights;
        if !rights.sysadmin {
            return Err(SqlError::new(
                15247,
                16,
                1,
                "User does not have permission to perform this action.",
            )
            .into());
        }
        let name = params.first().and_then(|param| param.value.to_text()).unwrap_or_default();
        let value = params.get(1).and_then(|param| param.value.as_i64());
        match (name.to_ascii_lowercase().as_str(), value) {
            ("show advanced options", Some(_)) => {}
            ("max text repl size" | "max text repl size (b)", Some(bytes))
                if (-1..=i64::from(i32::MAX)).contains(&bytes) =>
            {
                self.session.shared.storage.set_max_text_repl_size(bytes)?;
            }
            _ => {
                return Err(SqlError::new(
                    15123,
                    16,
                    1,
                    format!("The configuration option '{name}' does not exist, or it may be an advanced option."),
                )
                .into());
            }
        }
        Ok(Called { status: 0, outputs: Vec::new() })
    }

    fn role_member(&mut self, params: &[Param], add: bool) -> Result<Called, Fault> {
        if !self.session.status.rights.is_owner() {
            return Err(SqlError::new(
                15247,
                16,
                1,
                "User does not have permission to perform this action.",
            )
            .into());
        }
        let text = |at: usize| params.get(at).and_then(|param| param.value.to_text());
        let (Some(role), Some(member)) = (text(0), text(1)) else {
            return Err(SqlError::new(
                201,
                16,
                4,
                "Procedure or function 'sp_addrolemember' expects parameter '@rolename', which was not supplied.",
            )
            .into());
        };
        let database = Arc::clone(&self.session.status.database);
        let mut known = DatabaseSecurity::load(&database)?;
        change_members(&mut known, &role, &member, add)?;
        known.store(&database)?;
        self.session.shared.security_changed();
        Ok(Called { status: 0, outputs: Vec::new() })
    }
}

/// Passes results on and keeps OUTPUT values.
struct Taker<'a, 'o> {
    sink: Outlet<'a>,
    outputs: &'o mut Vec<Param>,
}

impl ResultSink for Taker<'_, '_> {
    fn columns(&mut self, columns: &[crate::Column]) -> Result<(), crate::Cancelled> {
        self.sink.get_mut().columns(columns)
    }

    fn row(&mut self, row: &[Value]) -> Result<(), crate::Cancelled> {
        self.sink.get_mut().row(row)
    }

    fn done(&mut self, rows: Option<u64>) -> Result<(), crate::Cancelled> {
        self.sink.get_mut().done(rows)
    }

    fn message(&mut self, message: &SqlError) -> Result<(), crate::Cancelled> {
        self.sink.get_mut().message(message)
    }

    fn env_change(&mut self, change: &crate::EnvChange) -> Result<(), crate::Cancelled> {
        self.sink.get_mut().env_change(change)
    }

    fn statement(&mut self, kind: crate::StatementKind) {
        self.sink.get_mut().statement(kind);
    }

    fn is_cancelled(&self) -> bool {
        use crate::engine::env::Results;
        self.sink.is_cancelled()
    }

    fn return_status(&mut self, _: i32) -> Result<(), crate::Cancelled> {
        // The status is the call's result.
        Ok(())
    }

    fn return_value(&mut self, param: &Param) -> Result<(), crate::Cancelled> {
        if let Some(known) =
            self.outputs.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&param.name))
        {
            known.ty = param.ty.clone();
            known.value = param.value.clone();
        }
        Ok(())
    }
}
