//! The procedures the wire itself knows: `sp_executesql` and the prepared statements of a
//! connection. Each call becomes a statement with parameters typed as declared, so that the engine
//! sees one kind of request for all of them.

mod cursors;

use std::collections::HashMap;

use super::rpc::{Argument, Call};
use super::sink::Output;
use crate::engine::syntax::parse_declarations;
use crate::{Param, Request, SqlError, SqlType, Value};

/// What a call comes to.
#[derive(Debug, PartialEq)]
pub(super) struct Resolved {
    /// What the engine is to run, if anything.
    pub request: Option<Request>,
    /// The OUTPUT parameters the request may return.
    pub outputs: Vec<Output>,
    /// A prepared handle to return.
    pub handle: Option<Param>,
    /// Whether it is returned before what the request returns.
    pub handle_first: bool,
    /// Whether the request is a statement, whose status the wire tells.
    pub statement: bool,
}

/// A declared parameter.
#[derive(Debug)]
struct Declared {
    name: String,
    ty: SqlType,
    output: bool,
}

#[derive(Debug)]
struct Statement {
    sql: String,
    /// The list as given, for error messages.
    list: String,
    declared: Vec<Declared>,
}

/// The prepared statements of a connection.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    statements: HashMap<i32, Statement>,
    last_handle: i32,
}

impl Prepared {
    /// Forgets all of them, as a reset of the session does.
    pub(super) fn clear(&mut self) {
        self.statements.clear();
    }

    /// Turns a call into what is to be done, and keeps the books of prepared statements.
    pub(super) fn resolve(&mut self, call: Call) -> Result<Resolved, SqlError> {
        let name = call.procedure.to_ascii_lowercase();
        let bare = name.rsplit('.').next().unwrap_or(&name).trim_matches(['[', ']']);
        match bare {
            "sp_executesql" => execute_sql(call.arguments),
            "sp_prepare" => self.prepare(call.arguments),
            "sp_execute" => self.execute(call.arguments),
            "sp_prepexec" => self.prepare_and_execute(call.arguments),
            "sp_unprepare" => self.unprepare(&call.arguments),
            "sp_cursoropen" => self.cursor_open(call.arguments),
            "sp_cursorprepare" => self.cursor_prepare(call.arguments),
            "sp_cursorexecute" => self.cursor_execute(call.arguments),
            "sp_cursorprepexec" => self.cursor_prepare_and_execute(call.arguments),
            "sp_cursorunprepare" => self.unprepare(&call.arguments),
            "sp_cursorfetch" | "sp_cursorclose" => procedure(call),
            cursor if cursor.starts_with("sp_cursor") || cursor == "sp_prepexecrpc" => {
                let text = format!("The procedure '{cursor}' is not supported.");
                Err(SqlError::new(16937, 16, 1, text))
            }
            _ => procedure(call),
        }
    }

    fn add(&mut self, statement: Statement) -> Param {
        self.last_handle += 1;
        self.statements.insert(self.last_handle, statement);
        Param {
            name: String::new(),
            ty: SqlType::Int,
            value: Value::Int(self.last_handle),
            output: true,
        }
    }

    /// `sp_prepare @handle OUTPUT, @params, @stmt [, @options]`
    fn prepare(&mut self, arguments: Vec<Argument>) -> Result<Resolved, SqlError> {
        let mut arguments = arguments.into_iter();
        let handle = arguments.next().ok_or_else(|| missing("sp_prepare", "@handle"))?;
        let list = text(arguments.next(), "sp_prepare", "@params")?;
        let sql = text(arguments.next(), "sp_prepare", "@stmt")?;
        let statement = Statement::new(sql, list)?;
        Ok(Resolved {
            request: None,
            outputs: vec![handle_output(&handle)],
            handle: Some(self.add(statement)),
            handle_first: false,
            statement: true,
        })
    }

    /// `sp_execute @handle, values…`
    fn execute(&mut self, arguments: Vec<Argument>) -> Result<Resolved, SqlError> {
        let mut arguments = arguments.into_iter();
        let handle = handle_of(arguments.next(), "sp_execute")?;
        let statement = self.find(handle)?;
        let (params, outputs) = statement.bind(arguments.collect(), 1)?;
        Ok(Resolved::statement(statement.sql.clone(), params, outputs))
    }

    /// `sp_prepexec @handle OUTPUT, @params, @stmt, values…`
    fn prepare_and_execute(&mut self, arguments: Vec<Argument>) -> Result<Resolved, SqlError> {
        let mut arguments = arguments.into_iter();
        let handle = arguments.next().ok_or_else(|| missing("sp_prepexec", "@handle"))?;
        let list = text(arguments.next(), "sp_prepexec", "@params")?;
        let sql = text(arguments.next(), "sp_prepexec", "@stmt")?;
        let statement = Statement::new(sql, list)?;
        let (params, mut outputs) = statement.bind(arguments.collect(), 3)?;
        outputs.push(handle_output(&handle));
        let mut resolved = Resolved::statement(statement.sql.clone(), params, outputs);
        resolved.handle = Some(self.add(statement));
        Ok(resolved)
    }

    /// `sp_unprepare @handle`
    fn unprepare(&mut self, arguments: &[Argument]) -> Result<Resolved, SqlError> {
        let handle = handle_of(arguments.first().cloned(), "sp_unprepare")?;
        self.find(handle)?;
        self.statements.remove(&handle);
        Ok(Resolved {
            request: None,
            outputs: Vec::new(),
            handle: None,
            handle_first: false,
            statement: true,
        })
    }

    fn find(&self, handle: i32) -> Result<&Statement, SqlError> {
        self.statements.get(&handle).ok_or_else(|| {
            let text = format!("Could not find prepared statement with handle {handle}.");
            SqlError::new(8179, 16, 2, text)
        })
    }
}

impl Resolved {
    fn statement(sql: String, params: Vec<Param>, outputs: Vec<Output>) -> Self {
        Resolved {
            request: Some(Request::Statement { sql, params }),
            outputs,
            handle: None,
            handle_first: false,
            statement: true,
        }
    }
}

impl Statement {
    fn new(sql: String, list: String) -> Result<Self, SqlError> {
        let declared = parse_declarations(&list)?
            .into_iter()
            .map(|(declaration, output)| Declared {
                name: declaration.name,
                ty: declaration.ty,
                output,
            })
            .collect();
        Ok(Statement { sql, list, declared })
    }

    /// Puts arguments, named or in order, under the declared parameters. `before` is the number
    /// of arguments that stand before them in the call.
    fn bind(
        &self,
        arguments: Vec<Argument>,
        before: u16,
    ) -> Result<(Vec<Param>, Vec<Output>), SqlError> {
        let mut slots: Vec<Option<Param>> = self.declared.iter().map(|_| None).collect();
        let mut outputs = Vec::new();
        for (position, argument) in arguments.into_iter().enumerate() {
            let slot = self.slot(position, &argument.name)?;
            let declared = &self.declared[slot];
            let output = declared.output && argument.by_reference;
            if output {
                outputs.push(Output {
                    declared: declared.name.clone(),
                    sent: argument.name,
                    ordinal: before.saturating_add(u16::try_from(position).unwrap_or(u16::MAX)),
                });
            }
            slots[slot] = Some(Param {
                name: declared.name.clone(),
                ty: declared.ty.clone(),
                value: argument.value,
                output,
            });
        }
        let params: Result<Vec<Param>, SqlError> = slots
            .into_iter()
            .zip(&self.declared)
            .map(|(slot, declared)| slot.ok_or_else(|| self.not_supplied(&declared.name)))
            .collect();
        Ok((params?, outputs))
    }

    fn slot(&self, position: usize, name: &str) -> Result<usize, SqlError> {
        if name.is_empty() {
            let text = "Procedure or function has too many arguments specified.";
            return Some(position)
                .filter(|position| *position < self.declared.len())
                .ok_or_else(|| SqlError::new(8144, 16, 2, text));
        }
        let found = |declared: &Declared| declared.name.to_lowercase() == name.to_lowercase();
        self.declared.iter().position(found).ok_or_else(|| {
            let text = format!("{name} is not a parameter for the statement.");
            SqlError::new(8145, 16, 2, text)
        })
    }

    fn not_supplied(&self, name: &str) -> SqlError {
        let text = format!(
            "The parameterized query '({}){}' expects the parameter '{name}', which was not supplied.",
            self.list, self.sql
        );
        SqlError::new(8178, 16, 1, text)
    }
}

fn missing(procedure: &str, parameter: &str) -> SqlError {
    let text = format!(
        "Procedure or function '{procedure}' expects parameter '{parameter}', which was not supplied."
    );
    SqlError::new(201, 16, 10, text)
}

fn handle_output(argument: &Argument) -> Output {
    Output { declared: String::new(), sent: argument.name.clone(), ordinal: 0 }
}

/// A text argument; NULL is the empty text.
fn text(argument: Option<Argument>, procedure: &str, name: &str) -> Result<String, SqlError> {
    match argument.ok_or_else(|| missing(procedure, name))?.value {
        Value::NString(units) => Ok(String::from_utf16_lossy(&units)),
        Value::Null => Ok(String::new()),
        _ => {
            let text =
                format!("Procedure expects parameter '{name}' of type 'ntext/nchar/nvarchar'.");
            Err(SqlError::new(214, 16, 2, text))
        }
    }
}

fn handle_of(argument: Option<Argument>, procedure: &str) -> Result<i32, SqlError> {
    match argument.map(|argument| argument.value) {
        Some(Value::Int(handle)) => Ok(handle),
        Some(Value::SmallInt(handle)) => Ok(i32::from(handle)),
        Some(Value::TinyInt(handle)) => Ok(i32::from(handle)),
        Some(Value::BigInt(handle)) => i32::try_from(handle).map_err(|_| {
            let text = format!("Could not find prepared statement with handle {handle}.");
            SqlError::new(8179, 16, 2, text)
        }),
        Some(_) => {
            let text = "Procedure expects parameter '@handle' of type 'int'.";
            Err(SqlError::new(214, 16, 2, text))
        }
        None => Err(missing(procedure, "@handle")),
    }
}

/// `sp_executesql @stmt [, @params, values…]`
fn execute_sql(arguments: Vec<Argument>) -> Result<Resolved, SqlError> {
    let mut arguments = arguments.into_iter();
    let sql = text(arguments.next(), "sp_executesql", "@statement")?;
    let list = match arguments.next() {
        None => String::new(),
        some => text(some, "sp_executesql", "@params")?,
    };
    let statement = Statement::new(sql, list)?;
    let (params, outputs) = statement.bind(arguments.collect(), 2)?;
    Ok(Resolved::statement(statement.sql, params, outputs))
}

fn procedure(call: Call) -> Result<Resolved, SqlError> {
    let mut outputs = Vec::new();
    let mut params = Vec::new();
    for (position, argument) in call.arguments.into_iter().enumerate() {
        if argument.default {
            if argument.name.is_empty() {
                let text = "DEFAULT for a positional argument is not supported; name it.";
                return Err(SqlError::new(8009, 16, 1, text));
            }
            continue;
        }
        if argument.by_reference {
            outputs.push(Output {
                declared: argument.name.clone(),
                sent: argument.name.clone(),
                ordinal: u16::try_from(position).unwrap_or(u16::MAX),
            });
        }
        params.push(Param {
            name: argument.name,
            ty: argument.ty,
            value: argument.value,
            output: argument.by_reference,
        });
    }
    Ok(Resolved {
        request: Some(Request::Procedure { name: call.procedure, params }),
        outputs,
        handle: None,
        handle_first: false,
        statement: false,
    })
}
