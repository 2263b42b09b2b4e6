//! Runs a batch: control flow, variables, errors, and the transaction around each statement.

mod cursor;
pub mod dynamic;
mod evaluate;
mod option;
mod server_cursor;

use std::cell::RefCell;

pub use server_cursor::ServerCursor;

use super::bind::{Binder, Variables};
use super::env::{Env, Outlet, Results};
use super::expr::Frame;
use super::fault::{Fault, Reach, of_binding, reach};
use super::session::Session;
use super::statement::declared;
use super::syntax::ast::{Batch, Declaration, Expr, Statement, StatementKind};
use crate::{Cancelled, EnvChange, Param, ResultSink, SqlError, SqlType, Value};

/// Where a statement leaves its batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next one.
    Next,
    /// BREAK
    Break,
    /// CONTINUE
    Continue,
    /// RETURN
    Return(Option<i32>),
}

/// Why a batch stops.
#[derive(Debug)]
pub enum Stop {
    /// The client is gone or sent an attention.
    Cancelled,
    /// An error ended it; the client knows.
    Aborted,
    /// An error on its way to a CATCH block.
    Caught(SqlError),
}

impl From<Cancelled> for Stop {
    fn from(_: Cancelled) -> Self {
        Stop::Cancelled
    }
}

/// Runs one batch of one session.
pub struct Executor<'a> {
    pub(super) session: &'a mut Session,
    pub(super) batch: &'a Batch,
    pub(super) sink: Outlet<'a>,
    pub(super) variables: Variables,
    pub(super) values: RefCell<Vec<Value>>,
    /// Depth of TRY blocks around the statement that runs, in this batch.
    tries: u32,
    /// Whether a TRY block of a batch around this one is waiting.
    tried_outside: bool,
    /// Depth of EXEC.
    pub(super) nesting: u32,
    /// Whether an INSERT … EXEC takes the results.
    pub(super) collected: bool,
    /// Number of the batch.
    pub(super) scope: u64,
}

impl<'a> Executor<'a> {
    /// An executor.
    pub fn new(session: &'a mut Session, batch: &'a Batch, sink: &'a mut dyn ResultSink) -> Self {
        Executor {
            scope: session.begin_scope(),
            session,
            batch,
            sink: Outlet::new(sink),
            variables: Variables::default(),
            values: RefCell::default(),
            tries: 0,
            tried_outside: false,
            nesting: 0,
            collected: false,
        }
    }

    /// Runs the batch as a client's request with its parameters.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn request(mut self, params: Vec<Param>) -> Result<(), Cancelled> {
        if let Err(error) = self.take_params(&params) {
            self.session.status.error = error.number;
            return self.sink.message(&error);
        }
        let batch = self.batch;
        let outcome = self.run(&batch.statements);
        self.session.end_scope(self.scope);
        let completed = self.finish(outcome)?;
        if completed {
            self.return_params(&params)?;
        }
        Ok(())
    }

    /// Takes the rows of an INSERT BULK.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn bulk_request(
        mut self,
        columns: Vec<(String, SqlType)>,
        rows: Vec<Vec<Value>>,
    ) -> Result<(), Cancelled> {
        let outcome = match self.bulk(columns, rows) {
            Ok(flow) => Ok(flow),
            Err(fault) => self.fail(fault, 1).map(|()| Flow::Next),
        };
        self.finish(outcome).map(|_| ())
    }

    /// Calls a procedure as a client's request.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn procedure_request(mut self, name: &str, params: Vec<Param>) -> Result<(), Cancelled> {
        let outcome = match self.call_procedure(name, params) {
            Ok(result) => {
                let sink = &self.sink;
                sink.return_status(result.status)?;
                for param in &result.outputs {
                    sink.return_value(param)?;
                }
                Ok(Flow::Next)
            }
            Err(fault) => self.fail(fault, 1).map(|()| Flow::Next),
        };
        self.finish(outcome).map(|_| ())
    }

    /// The end of a request; whether it ran to its end. A doomed transaction does not outlive it.
    fn finish(&mut self, outcome: Result<Flow, Stop>) -> Result<bool, Cancelled> {
        let completed = match outcome {
            Ok(_) => true,
            Err(Stop::Aborted) => false,
            Err(Stop::Cancelled) => {
                // An attention leaves the transaction open, unless XACT_ABORT is ON.
                if self.session.status.xact_abort {
                    self.roll_everything_back()?;
                }
                return Err(Cancelled);
            }
            Err(Stop::Caught(error)) => {
                self.sink.message(&error)?;
                false
            }
        };
        self.session.status.caught = None;
        if self.session.status.doomed && self.session.open.is_some() {
            let error = SqlError::new(
                3998,
                16,
                1,
                "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
            );
            self.sink.message(&error)?;
            self.roll_everything_back()?;
        }
        Ok(completed)
    }

    fn roll_everything_back(&mut self) -> Result<(), Cancelled> {
        match self.session.rollback_all() {
            Some(change) => self.sink.env_change(&change),
            None => Ok(()),
        }
    }

    fn take_params(&mut self, params: &[Param]) -> Result<(), SqlError> {
        for param in params {
            let from = natural_type(&param.value).unwrap_or_else(|| param.ty.clone());
            let value = super::convert::convert(&param.value, &from, &param.ty, None)?;
            self.declare(&param.name, &param.ty, value);
        }
        Ok(())
    }

    fn return_params(&mut self, params: &[Param]) -> Result<(), Cancelled> {
        for param in params.iter().filter(|param| param.output) {
            if let Some((at, _)) = self.variables.find(&param.name) {
                let value = self.values.borrow()[at].clone();
                let returned = Param { value, ..param.clone() };
                self.sink.return_value(&returned)?;
            }
        }
        Ok(())
    }

    /// Declares a variable with a value.
    pub(super) fn declare(&mut self, name: &str, ty: &SqlType, value: Value) {
        let at = self.variables.declare(name, ty);
        let mut values = self.values.borrow_mut();
        if values.len() <= at {
            values.resize(at + 1, Value::Null);
        }
        values[at] = value;
    }

    /// Runs statements one after another.
    ///
    /// # Errors
    /// What stops the batch.
    pub(super) fn run(&mut self, statements: &[Statement]) -> Result<Flow, Stop> {
        for statement in statements {
            match self.statement(statement)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement) -> Result<Flow, Stop> {
        if self.sink.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.passed_over(statement)? {
            return Ok(Flow::Next);
        }
        match &statement.kind {
            StatementKind::Block(body) => return self.run(body),
            StatementKind::If { condition, then, otherwise } => {
                return match (self.test(condition, statement.line)?, otherwise) {
                    (Some(true), _) => self.statement(then),
                    (Some(false), Some(otherwise)) => self.statement(otherwise),
                    _ => Ok(Flow::Next),
                };
            }
            StatementKind::While { condition, body } => {
                while self.test(condition, statement.line)? == Some(true) {
                    match self.statement(body)? {
                        Flow::Break => break,
                        Flow::Next | Flow::Continue => {}
                        leave @ Flow::Return(_) => return Ok(leave),
                    }
                }
                return Ok(Flow::Next);
            }
            StatementKind::TryCatch { attempt, handler } => {
                return self.try_catch(attempt, handler);
            }
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
            _ => {}
        }
        match self.simple(statement) {
            Ok(flow) => {
                self.settle(&statement.kind);
                Ok(flow)
            }
            Err(fault) => self.fail(fault, statement.line).map(|()| Flow::Next),
        }
    }

    /// What `@@ERROR` and `@@ROWCOUNT` are after a statement that succeeded.
    fn settle(&mut self, kind: &StatementKind) {
        let status = &mut self.session.status;
        match kind {
            // These have set both themselves, or leave them to the statements they ran.
            StatementKind::Execute(_) | StatementKind::ExecuteText(_) => {}
            StatementKind::Select(_)
            | StatementKind::Insert(_)
            | StatementKind::Update(_)
            | StatementKind::Delete(_)
            | StatementKind::Merge(_) => status.error = 0,
            StatementKind::DeclareTable { .. } => {}
            StatementKind::Fetch { .. } => status.error = 0,
            StatementKind::Declare(all) if all.iter().all(|one| one.value.is_none()) => {}
            StatementKind::Assign { .. } | StatementKind::Declare(_) => {
                status.error = 0;
                status.row_count = 1;
            }
            _ => {
                status.error = 0;
                status.row_count = 0;
            }
        }
    }

    /// Evaluates a condition of IF or WHILE; none after an error that the batch survives.
    fn test(&mut self, condition: &Expr, line: u32) -> Result<Option<bool>, Stop> {
        let result = self.with_env(false, |env, variables| {
            let binder = Binder::new(env, variables);
            let scope = super::bind::Scope::inside(None);
            let condition = binder.condition(condition, &scope).map_err(of_binding)?;
            Ok(condition.holds(&Frame::empty(), env)?)
        });
        match result {
            Ok(truth) => {
                self.session.status.row_count = 0;
                Ok(Some(truth))
            }
            Err(fault) => self.fail(fault, line).map(|()| None),
        }
    }

    fn try_catch(&mut self, attempt: &[Statement], handler: &[Statement]) -> Result<Flow, Stop> {
        self.tries += 1;
        let outcome = self.run(attempt);
        self.tries -= 1;
        let error = match outcome {
            Err(Stop::Caught(error)) => error,
            other => return other,
        };
        self.session.status.error = error.number;
        let before = self.session.status.caught.replace(error);
        let outcome = self.run(handler);
        self.session.status.caught = before;
        outcome
    }

    /// Does to batch and transaction what an error does.
    ///
    /// # Errors
    /// What stops the batch.
    pub(super) fn fail(&mut self, fault: Fault, line: u32) -> Result<(), Stop> {
        let raised = matches!(fault, Fault::Raised(_));
        let (mut error, compile, mut reach) = match fault {
            Fault::Cancelled => return Err(Stop::Cancelled),
            Fault::Run(error) => {
                let reach = reach(&error);
                (error, false, reach)
            }
            Fault::Thrown(error) => (error, false, Reach::Batch),
            Fault::Raised(error) => (error, false, Reach::Statement),
            Fault::Compile(error) => (error, true, Reach::Batch),
        };
        if error.line <= 1 {
            error.line = line;
        }
        self.session.status.error = error.number;
        self.session.status.row_count = 0;
        let gone = self.session.open.as_ref().is_some_and(|open| !open.txn.is_active());
        if gone {
            self.roll_everything_back()?;
        }
        if self.session.status.xact_abort && !raised && !compile {
            reach = Reach::Transaction;
        }
        // TRY does not catch what is wrong with the text of its own batch.
        let caught = match compile {
            true => self.tries == 0 && self.tried_outside,
            false => self.tries > 0 || self.tried_outside,
        };
        if caught && error.class < 20 {
            if reach == Reach::Transaction && self.session.open.is_some() {
                self.session.status.doomed = true;
            }
            return Err(Stop::Caught(error));
        }
        self.sink.message(&error)?;
        self.sink.done(None)?;
        match reach {
            Reach::Statement => Ok(()),
            Reach::Batch => {
                if self.session.status.xact_abort {
                    self.roll_everything_back()?;
                }
                Err(Stop::Aborted)
            }
            Reach::Transaction => {
                self.roll_everything_back()?;
                Err(Stop::Aborted)
            }
        }
    }

    /// Tells the client of a change.
    pub(super) fn tell(&self, change: Option<EnvChange>) -> Result<(), Fault> {
        match change {
            Some(change) => Ok(self.sink.env_change(&change)?),
            None => Ok(()),
        }
    }

    /// A statement without rows has ended.
    pub(super) fn done(&self) -> Result<Flow, Fault> {
        self.sink.done(None)?;
        Ok(Flow::Next)
    }

    fn simple(&mut self, statement: &Statement) -> Result<Flow, Fault> {
        self.before(&statement.kind)?;
        match &statement.kind {
            StatementKind::Select(query) => self.select(query),
            StatementKind::Insert(insert) => self.insert(insert),
            StatementKind::Update(update) => self.update(update),
            StatementKind::Delete(delete) => self.delete(delete),
            StatementKind::Merge(merge) => self.merge(merge),
            StatementKind::InsertBulk(bulk) => self.insert_bulk(bulk),
            StatementKind::Truncate(table) => self.truncate(table),
            StatementKind::WriteText(write) => self.write_text(write),
            StatementKind::Ddl(ddl) => {
                let (from, to) = statement.span;
                let text = self.batch.text.get(from..to).unwrap_or_default().to_owned();
                self.ddl(ddl, &text)
            }
            StatementKind::Security(security) => self.security(security),
            StatementKind::Use(name) => {
                let change = self.session.use_database(name)?;
                let text = format!("Changed database context to '{}'.", self.session.database());
                self.tell(Some(change))?;
                self.sink.message(&SqlError::new(5701, 0, 2, text))?;
                self.done()
            }
            StatementKind::Declare(declarations) => self.declarations(declarations),
            StatementKind::DeclareTable { name, columns, constraints } => {
                self.declare_table(name, columns, constraints)
            }
            StatementKind::DeclareCursor(def) => self.declare_cursor(def),
            StatementKind::OpenCursor(name) => self.open_cursor(name),
            StatementKind::Fetch { cursor, from, into } => self.fetch(cursor, from, into),
            StatementKind::CloseCursor(name) => self.close_cursor(name),
            StatementKind::Deallocate(name) => {
                self.session.cursors.deallocate(name, self.scope)?;
                self.cursors_changed();
                Ok(Flow::Next)
            }
            StatementKind::Assign { variable, value } => {
                let value = self.evaluate_for(variable, value)?;
                self.assign(variable, value)?;
                Ok(Flow::Next)
            }
            StatementKind::SetOption(option) => self.set_option(option),
            StatementKind::Return(value) => {
                let status = match value {
                    Some(value) => self.integer(value)?,
                    None => None,
                };
                Ok(Flow::Return(status))
            }
            StatementKind::Print(value) => {
                let value = self.evaluate_as(value, &SqlType::NVarChar(Some(4000)))?;
                let text = value.to_text().unwrap_or_else(|| " ".into());
                self.sink.message(&SqlError::new(0, 0, 1, text))?;
                Ok(Flow::Next)
            }
            StatementKind::RaiseError { message, severity, state, arguments } => {
                self.raise_error(message, severity, state, arguments)
            }
            StatementKind::Throw(values) => Err(self.throw(values.as_deref())?),
            StatementKind::Begin(name) => {
                let change = self.session.begin(name.as_deref());
                self.tell(change)?;
                self.done()
            }
            StatementKind::Commit => {
                let change = self.session.commit()?;
                self.tell(change)?;
                self.done()
            }
            StatementKind::Rollback(_) if self.collected => Err(SqlError::new(
                3915,
                16,
                0,
                "Cannot use the ROLLBACK statement within an INSERT-EXEC statement.",
            )
            .into()),
            StatementKind::Rollback(name) => {
                let change = self.session.rollback(name.as_deref())?;
                self.tell(change)?;
                self.done()
            }
            StatementKind::Save(name) => {
                self.session.save(name)?;
                self.done()
            }
            StatementKind::WaitForDelay(delay) => self.wait(delay),
            StatementKind::Execute(execute) => self.execute(execute),
            StatementKind::ExecuteText(text) => self.execute_text(text),
            StatementKind::ExecuteAs { login, name } => self.execute_as(*login, name),
            StatementKind::Revert => self.revert(),
            StatementKind::Nothing => self.done(),
            StatementKind::Backup { database, file } => self.backup(database, file),
            StatementKind::Restore { database, file, keep_cdc, replace } => {
                self.restore(database, file, *keep_cdc, *replace)
            }
            StatementKind::Block(_)
            | StatementKind::If { .. }
            | StatementKind::While { .. }
            | StatementKind::TryCatch { .. }
            | StatementKind::Break
            | StatementKind::Continue => {
                Err(super::expr::internal("a statement of control flow").into())
            }
        }
    }

    /// The type of a variable, which may be declared with an alias type.
    pub(crate) fn type_of(&mut self, declaration: &Declaration) -> Result<SqlType, Fault> {
        self.with_env(false, |env, _| {
            let alias = declaration.user_type.as_ref();
            Ok(declared(env, &declaration.ty, alias).map_err(of_binding)?.ty)
        })
    }

    fn declarations(&mut self, declarations: &[Declaration]) -> Result<Flow, Fault> {
        for declaration in declarations {
            let ty = self.type_of(declaration)?;
            self.declare(&declaration.name, &ty, Value::Null);
            if let Some(value) = &declaration.value {
                let value = self.evaluate_for(&declaration.name, value)?;
                self.assign(&declaration.name, value)?;
            }
        }
        Ok(Flow::Next)
    }

    /// Runs `work` in the session's transaction, or in one of its own that commits after it. An
    /// error undoes what it did. Writes are refused in a doomed transaction.
    pub(super) fn with_env<T>(
        &mut self,
        writes: bool,
        work: impl FnOnce(&Env<'_>, &Variables) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if writes && self.session.status.doomed {
            return Err(super::session::doomed().into());
        }
        super::convert::set_level(self.session.status.database.compatibility_level());
        let mut own = None;
        let mut open = self.session.open.take();
        let mut txn = match &mut open {
            Some(open) => &mut open.txn,
            None => {
                let level = self.session.status.isolation;
                own.insert(self.session.status.database.begin(level))
            }
        };
        self.session.prepare(txn);
        let savepoint = txn.savepoint();
        let result = {
            let env = Env::new(
                &self.session.shared,
                &self.session.status,
                &mut *txn,
                &self.values,
                &self.sink,
            );
            work(&env, &self.variables)
        };
        txn = match (&mut open, &mut own) {
            (Some(open), _) => &mut open.txn,
            (None, Some(own)) => own,
            (None, None) => return Err(super::expr::internal("no transaction").into()),
        };
        if txn.is_active() {
            if result.is_err() {
                txn.rollback_to(savepoint);
            }
            txn.end_statement();
        }
        self.session.open = open;
        let value = result?;
        if let Some(own) = own {
            own.commit()?;
        }
        Ok(value)
    }
}

/// The type of a value as it came over the wire, wide enough not to lose anything.
pub(super) fn natural_type(value: &Value) -> Option<SqlType> {
    Some(match value {
        Value::Null => return None,
        Value::Bit(_) => SqlType::Bit,
        Value::TinyInt(_) => SqlType::TinyInt,
        Value::SmallInt(_) => SqlType::SmallInt,
        Value::Int(_) => SqlType::Int,
        Value::BigInt(_) => SqlType::BigInt,
        Value::Decimal { scale, .. } => SqlType::Decimal { precision: 38, scale: *scale },
        Value::Money(_) => SqlType::Money,
        Value::SmallMoney(_) => SqlType::SmallMoney,
        Value::Float(_) => SqlType::Float,
        Value::Real(_) => SqlType::Real,
        Value::String(_) => SqlType::VarChar(None),
        Value::NString(_) => SqlType::NVarChar(None),
        Value::Binary(_) => SqlType::VarBinary(None),
        Value::Date(_) => SqlType::Date,
        Value::Time(_) => SqlType::Time(7),
        Value::SmallDateTime { .. } => SqlType::SmallDateTime,
        Value::DateTime { .. } => SqlType::DateTime,
        Value::DateTime2 { .. } => SqlType::DateTime2(7),
        Value::DateTimeOffset { .. } => SqlType::DateTimeOffset(7),
        Value::Guid(_) => SqlType::UniqueIdentifier,
        Value::Variant(_) => SqlType::Variant,
    })
}
