//! The calls that open server cursors: each becomes `sp_cursoropen` with a statement's parameters
//! typed and named as declared.

use super::{
    Argument, Output, Prepared, Resolved, Statement, handle_of, handle_output, missing, text,
};
use crate::{Param, Request, SqlError, SqlType, Value};

/// Bit of `@scrollopt`: the statement has parameters.
const PARAMETERIZED: i64 = 0x1000;

/// The arguments of `sp_cursoropen` before those of the statement.
struct Opening {
    cursor: Argument,
    scroll: Argument,
    concurrency: Argument,
    rows: Option<Argument>,
    /// Where `@cursor` and `@rowcount` stand in the call, from 0.
    places: (u16, u16),
}

impl Opening {
    /// Takes what follows the cursor.
    fn take(
        procedure: &str,
        arguments: &mut impl Iterator<Item = Argument>,
        cursor: Argument,
        places: (u16, u16),
    ) -> Result<Opening, SqlError> {
        let mut next = |name: &str| arguments.next().ok_or_else(|| missing(procedure, name));
        let scroll = next("@scrollopt")?;
        let concurrency = next("@ccopt")?;
        Ok(Opening { cursor, scroll, concurrency, rows: arguments.next(), places })
    }

    fn resolve(self, sql: String, params: Vec<Param>, mut outputs: Vec<Output>) -> Resolved {
        let int = |name: &str, argument: &Argument| Param {
            name: name.to_owned(),
            ty: SqlType::Int,
            value: argument.value.clone(),
            output: argument.by_reference,
        };
        let missing = Argument {
            name: String::new(),
            ty: SqlType::Int,
            value: Value::Null,
            by_reference: false,
            default: false,
        };
        let rows = self.rows.as_ref().unwrap_or(&missing);
        let mut all = vec![
            int("@cursor", &self.cursor),
            Param {
                name: "@stmt".to_owned(),
                ty: SqlType::NVarChar(None),
                value: Value::text(&sql),
                output: false,
            },
            int("@scrollopt", &self.scroll),
            int("@ccopt", &self.concurrency),
            int("@rowcount", rows),
        ];
        all.extend(params);
        let output = |declared: &str, argument: &Argument, ordinal: u16| Output {
            declared: declared.to_owned(),
            sent: argument.name.clone(),
            ordinal,
        };
        outputs.push(output("@cursor", &self.cursor, self.places.0));
        outputs.push(output("@rowcount", rows, self.places.1));
        Resolved {
            request: Some(Request::Procedure { name: "sp_cursoropen".to_owned(), params: all }),
            outputs,
            handle: None,
            handle_first: true,
            statement: false,
        }
    }
}

impl Prepared {
    /// `sp_cursoropen @cursor OUTPUT, @stmt, @scrollopt, @ccopt, @rowcount OUTPUT [, @params, …]`
    pub(super) fn cursor_open(&mut self, arguments: Vec<Argument>) -> Result<Resolved, SqlError> {
        const NAME: &str = "sp_cursoropen";
        let mut arguments = arguments.into_iter();
        let cursor = arguments.next().ok_or_else(|| missing(NAME, "@cursor"))?;
        let sql = text(arguments.next(), NAME, "@stmt")?;
        let opening = Opening::take(NAME, &mut arguments, cursor, (0, 4))?;
        let parameterized = opening.scroll.value.as_i64().unwrap_or(0) & PARAMETERIZED != 0;
        let list = match parameterized {
            true => text(arguments.next(), NAME, "@params")?,
            false => String::new(),
        };
        let statement = Statement::new(sql, list)?;
        let (params, outputs) = statement.bind(arguments.collect(), 6)?;
        Ok(opening.resolve(statement.sql, params, outputs))
    }

    /// `sp_cursorprepare @handle OUTPUT, @params, @stmt, @options [, …]`
    pub(super) fn cursor_prepare(
        &mut self,
        arguments: Vec<Argument>,
    ) -> Result<Resolved, SqlError> {
        self.prepare(arguments)
    }

    /// `sp_cursorexecute @handle, @cursor OUTPUT, @scrollopt, @ccopt, @rowcount OUTPUT, values…`
    pub(super) fn cursor_execute(
        &mut self,
        arguments: Vec<Argument>,
    ) -> Result<Resolved, SqlError> {
        const NAME: &str = "sp_cursorexecute";
        let mut arguments = arguments.into_iter();
        let handle = handle_of(arguments.next(), NAME)?;
        let cursor = arguments.next().ok_or_else(|| missing(NAME, "@cursor"))?;
        let opening = Opening::take(NAME, &mut arguments, cursor, (1, 4))?;
        let statement = self.find(handle)?;
        let (params, outputs) = statement.bind(arguments.collect(), 5)?;
        Ok(opening.resolve(statement.sql.clone(), params, outputs))
    }

    /// `sp_cursorprepexec @handle OUTPUT, @cursor OUTPUT, @params, @stmt, @scrollopt, @ccopt,
    /// @rowcount OUTPUT, values…`
    pub(super) fn cursor_prepare_and_execute(
        &mut self,
        arguments: Vec<Argument>,
    ) -> Result<Resolved, SqlError> {
        const NAME: &str = "sp_cursorprepexec";
        let mut arguments = arguments.into_iter();
        let handle = arguments.next().ok_or_else(|| missing(NAME, "@handle"))?;
        let cursor = arguments.next().ok_or_else(|| missing(NAME, "@cursor"))?;
        let list = text(arguments.next(), NAME, "@params")?;
        let sql = text(arguments.next(), NAME, "@stmt")?;
        let opening = Opening::take(NAME, &mut arguments, cursor, (1, 6))?;
        let statement = Statement::new(sql, list)?;
        let (params, mut outputs) = statement.bind(arguments.collect(), 7)?;
        outputs.push(handle_output(&handle));
        let mut resolved = opening.resolve(statement.sql.clone(), params, outputs);
        resolved.handle = Some(self.add(statement));
        Ok(resolved)
    }
}
