//! Statements of control flow, session options and transactions, and which parser takes a statement.

use super::ast::{
    AnsiOption, Argument, Declaration, Execute, Expr, PermissionAction, SetOption, Statement,
    StatementKind,
};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};
use crate::IsolationLevel;

impl Parser<'_> {
    /// One statement, without its semicolon.
    pub(super) fn statement_kind(&mut self) -> Parsed<StatementKind> {
        let TokenKind::Word(word) = self.kind().clone() else {
            if self.starts_query() {
                return self.query().map(StatementKind::Select);
            }
            return self.implicit_execute();
        };
        let upper = word.to_ascii_uppercase();
        match upper.as_str() {
            "SELECT" => return self.query().map(StatementKind::Select),
            "WITH" => return self.with_statement(),
            _ => {}
        }
        self.next();
        match upper.as_str() {
            "INSERT" => self.insert(Vec::new()),
            "UPDATE" => self.update(Vec::new()),
            "DELETE" => self.delete(Vec::new()),
            "MERGE" => self.merge(Vec::new()),
            "TRUNCATE" => self.truncate(),
            "WRITETEXT" => self.write_text(false),
            "UPDATETEXT" => self.write_text(true),
            "CREATE" => self.create(),
            "ALTER" => self.alter(),
            "DROP" => self.drop_object(),
            "USE" => self.identifier().map(StatementKind::Use),
            "DECLARE" if self.declares_table() => self.table_declaration(),
            "DECLARE" if self.is_identifier() => self.declare_cursor(),
            "OPEN" => self.cursor_name().map(StatementKind::OpenCursor),
            "FETCH" => self.fetch(),
            "CLOSE" => self.cursor_name().map(StatementKind::CloseCursor),
            "DEALLOCATE" => self.cursor_name().map(StatementKind::Deallocate),
            "DECLARE" => {
                let declarations = self.comma_list(Self::local_variable)?;
                Ok(StatementKind::Declare(declarations))
            }
            "SET" => self.set(),
            "IF" => self.if_else(),
            "WHILE" => {
                let condition = self.condition()?;
                let body = Box::new(self.statement()?);
                Ok(StatementKind::While { condition, body })
            }
            "BREAK" => Ok(StatementKind::Break),
            "CONTINUE" => Ok(StatementKind::Continue),
            "RETURN" => self.return_value(),
            "BEGIN" => self.begin(),
            "COMMIT" => {
                if self.transaction_word() {
                    // A name here is decoration.
                    self.accept_identifier();
                }
                Ok(StatementKind::Commit)
            }
            "ROLLBACK" => {
                let named = self.transaction_word();
                let name = match named {
                    true => self.accept_identifier(),
                    false => None,
                };
                Ok(StatementKind::Rollback(name))
            }
            "SAVE" => {
                if !self.transaction_word() {
                    return Err(self.unexpected());
                }
                self.identifier().map(StatementKind::Save)
            }
            "PRINT" => self.expression().map(StatementKind::Print),
            "RAISERROR" => self.raise_error(),
            "THROW" => self.throw(),
            "WAITFOR" => {
                self.expect_word("DELAY")?;
                self.expression().map(StatementKind::WaitForDelay)
            }
            "EXEC" | "EXECUTE" => self.execute(),
            "REVERT" => Ok(StatementKind::Revert),
            "CHECKPOINT" => Ok(StatementKind::Nothing),
            "RECONFIGURE" => {
                self.accept_words(&["WITH", "OVERRIDE"]);
                Ok(StatementKind::Nothing)
            }
            "BACKUP" => self.backup(),
            "RESTORE" => self.restore(),
            "GRANT" => self.permission(PermissionAction::Grant),
            "DENY" => self.permission(PermissionAction::Deny),
            "REVOKE" => self.permission(PermissionAction::Revoke),
            _ => {
                self.reset(self.mark() - 1);
                self.implicit_execute()
            }
        }
    }

    /// A batch's first statement may be a procedure call without EXEC.
    fn implicit_execute(&mut self) -> Parsed<StatementKind> {
        if self.mark() != 0 || !self.is_identifier() {
            return Err(self.unexpected());
        }
        self.procedure_call(None)
    }

    fn with_statement(&mut self) -> Parsed<StatementKind> {
        let with = self.common_tables()?;
        if self.accept_word("INSERT") {
            return self.insert(with);
        }
        if self.accept_word("UPDATE") {
            return self.update(with);
        }
        if self.accept_word("DELETE") {
            return self.delete(with);
        }
        if self.accept_word("MERGE") {
            return self.merge(with);
        }
        self.query_after(with).map(StatementKind::Select)
    }

    /// One variable of a DECLARE, which is of any type but the oldest.
    fn local_variable(&mut self) -> Parsed<Declaration> {
        let line = self.token().line;
        let declaration = self.declaration()?;
        if declaration.ty.is_old_lob() {
            let mut error = crate::SqlError::new(
                2739,
                16,
                1,
                "The text, ntext, and image data types are invalid for local variables.",
            );
            error.line = line;
            return Err(error);
        }
        Ok(declaration)
    }

    /// One variable of a DECLARE or parameter of a statement.
    pub fn declaration(&mut self) -> Parsed<Declaration> {
        let name = self.variable()?;
        self.declare(&name)?;
        self.accept_word("AS");
        let (ty, user_type) = self.aliased_type()?;
        let value = match self.accept("=") {
            true => Some(self.expression()?),
            false => None,
        };
        Ok(Declaration { name, ty, user_type, value })
    }

    /// `@t [AS] TABLE`
    fn declares_table(&self) -> bool {
        let after = if self.word_after(1, "AS") { 2 } else { 1 };
        matches!(self.kind(), TokenKind::Variable(_)) && self.word_after(after, "TABLE")
    }

    /// A table variable, which stands alone in its DECLARE.
    fn table_declaration(&mut self) -> Parsed<StatementKind> {
        let name = self.variable()?;
        self.declare(&name)?;
        self.accept_word("AS");
        self.expect_word("TABLE")?;
        self.expect("(")?;
        let (columns, constraints) = self.table_elements(|p| p.is(")"))?;
        self.expect(")")?;
        Ok(StatementKind::DeclareTable { name, columns, constraints })
    }

    fn if_else(&mut self) -> Parsed<StatementKind> {
        let condition = self.condition()?;
        let then = Box::new(self.statement()?);
        let otherwise = match self.accept_word("ELSE") {
            true => Some(Box::new(self.statement()?)),
            false => None,
        };
        Ok(StatementKind::If { condition, then, otherwise })
    }

    fn return_value(&mut self) -> Parsed<StatementKind> {
        let value = match self.kind() {
            TokenKind::Number(_) | TokenKind::Variable(_) | TokenKind::Symbol("-" | "(") => {
                Some(self.expression()?)
            }
            _ => None,
        };
        Ok(StatementKind::Return(value))
    }

    fn transaction_word(&mut self) -> bool {
        if self.accept_word("WORK") {
            return false;
        }
        self.accept_word("TRAN") || self.accept_word("TRANSACTION")
    }

    fn begin(&mut self) -> Parsed<StatementKind> {
        if self.is_word("TRAN") || self.is_word("TRANSACTION") {
            self.next();
            let name = self.accept_identifier();
            if self.is_word("WITH") && self.word_after(1, "MARK") {
                return Err(self.unsupported("WITH MARK"));
            }
            return Ok(StatementKind::Begin(name));
        }
        if self.is_word("DISTRIBUTED") {
            return Err(self.unexpected());
        }
        if self.accept_word("TRY") {
            let attempt = self.statements_until(&["END", "TRY"])?;
            while self.accept(";") {}
            if !self.accept_words(&["BEGIN", "CATCH"]) {
                return Err(self.unexpected());
            }
            let handler = self.statements_until(&["END", "CATCH"])?;
            return Ok(StatementKind::TryCatch { attempt, handler });
        }
        let body = self.statements_until(&["END"])?;
        if body.is_empty() {
            return Err(self.unexpected());
        }
        Ok(StatementKind::Block(body))
    }

    fn statements_until(&mut self, end: &[&str]) -> Parsed<Vec<Statement>> {
        let mut statements = Vec::new();
        loop {
            while self.accept(";") {}
            if self.accept_words(end) {
                return Ok(statements);
            }
            if self.at_end() {
                return Err(self.unexpected());
            }
            statements.push(self.statement()?);
        }
    }

    fn raise_error(&mut self) -> Parsed<StatementKind> {
        self.expect("(")?;
        let message = self.expression()?;
        self.expect(",")?;
        let severity = self.expression()?;
        self.expect(",")?;
        let state = self.expression()?;
        let mut arguments = Vec::new();
        while self.accept(",") {
            arguments.push(self.expression()?);
        }
        self.expect(")")?;
        if self.accept_word("WITH") && !self.accept_word("NOWAIT") {
            return Err(self.unexpected());
        }
        Ok(StatementKind::RaiseError { message, severity, state, arguments })
    }

    fn throw(&mut self) -> Parsed<StatementKind> {
        let with_values = matches!(self.kind(), TokenKind::Number(_) | TokenKind::Variable(_));
        if !with_values {
            return Ok(StatementKind::Throw(None));
        }
        let number = self.expression()?;
        self.expect(",")?;
        let message = self.expression()?;
        self.expect(",")?;
        let state = self.expression()?;
        Ok(StatementKind::Throw(Some(Box::new((number, message, state)))))
    }

    /// After EXEC.
    pub(super) fn execute(&mut self) -> Parsed<StatementKind> {
        if self.accept_word("AS") {
            let login = self
                .one_of(&[("USER", false), ("LOGIN", true)])
                .ok_or_else(|| self.unexpected())?;
            self.expect("=")?;
            let name = self.string()?;
            if self.is_word("WITH") {
                return Err(self.unexpected());
            }
            return Ok(StatementKind::ExecuteAs { login, name });
        }
        if self.accept("(") {
            let text = self.expression()?;
            self.expect(")")?;
            if self.is_word("AS") || self.is_word("AT") {
                return Err(self.unexpected());
            }
            return Ok(StatementKind::ExecuteText(text));
        }
        let mut status = None;
        if matches!(self.kind(), TokenKind::Variable(_)) {
            status = Some(self.variable()?);
            self.expect("=")?;
        }
        self.procedure_call(status)
    }

    fn procedure_call(&mut self, status: Option<String>) -> Parsed<StatementKind> {
        let procedure = self.object_name()?;
        let mut arguments = Vec::new();
        if self.starts_argument() {
            arguments = self.comma_list(Self::argument)?;
        }
        if self.is_word("WITH") {
            return Err(self.unexpected());
        }
        Ok(StatementKind::Execute(Execute { status, procedure, arguments }))
    }

    fn starts_argument(&self) -> bool {
        match self.kind() {
            TokenKind::Word(word) => {
                word.eq_ignore_ascii_case("NULL")
                    || word.eq_ignore_ascii_case("DEFAULT")
                    || self.is_identifier()
            }
            TokenKind::Symbol(symbol) => *symbol == "-" || *symbol == "+",
            TokenKind::End => false,
            _ => true,
        }
    }

    fn argument(&mut self) -> Parsed<Argument> {
        let mut name = None;
        if matches!(self.kind(), TokenKind::Variable(_))
            && *self.kind_after(1) == TokenKind::Symbol("=")
        {
            name = Some(self.variable()?);
            self.next();
        }
        let value = if self.accept_word("DEFAULT") { None } else { Some(self.argument_value()?) };
        let output = self.accept_word("OUTPUT") || self.accept_word("OUT");
        Ok(Argument { name, value, output })
    }

    /// A constant, a variable, or a bare word, which is a string.
    fn argument_value(&mut self) -> Parsed<Expr> {
        if let Some(word) = self.accept_identifier() {
            let value = crate::Value::text(&word);
            let ty = crate::SqlType::NVarChar(Some(128));
            return Ok(Expr::Literal(value, Some(ty)));
        }
        let value = self.expression()?;
        let constant =
            |e: &Expr| matches!(e, Expr::Literal(..) | Expr::Variable(_) | Expr::Global(_));
        let allowed =
            constant(&value) || matches!(&value, Expr::Unary(_, inner) if constant(inner));
        if allowed { Ok(value) } else { Err(self.unexpected()) }
    }

    fn set(&mut self) -> Parsed<StatementKind> {
        if matches!(self.kind(), TokenKind::Variable(_)) {
            let variable = self.variable()?;
            if let Some(value) = self.compound_assignment(Expr::Variable(variable.clone()))? {
                return Ok(StatementKind::Assign { variable, value });
            }
            self.expect("=")?;
            let value = self.expression()?;
            return Ok(StatementKind::Assign { variable, value });
        }
        if self.accept_words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
            let level = self.isolation()?;
            return Ok(StatementKind::SetOption(SetOption::Isolation(level)));
        }
        let TokenKind::Word(word) = self.kind().clone() else {
            return Err(self.unexpected());
        };
        self.next();
        let option = match word.to_ascii_uppercase().as_str() {
            "NOCOUNT" => SetOption::NoCount(self.on_or_off()?),
            "XACT_ABORT" => SetOption::XactAbort(self.on_or_off()?),
            "LOCK_TIMEOUT" => SetOption::LockTimeout(self.expression()?),
            "TEXTSIZE" => SetOption::TextSize(self.expression()?),
            "DEADLOCK_PRIORITY" => SetOption::DeadlockPriority(self.deadlock_priority()?),
            "IDENTITY_INSERT" => {
                let table = self.object_name()?;
                SetOption::IdentityInsert(table, self.on_or_off()?)
            }
            "ROWCOUNT" => SetOption::RowCount(self.expression()?),
            "IMPLICIT_TRANSACTIONS" => SetOption::ImplicitTransactions(self.on_or_off()?),
            "FMTONLY" => SetOption::FormatOnly(self.on_or_off()?),
            "NOEXEC" => SetOption::NoExecute(self.on_or_off()?),
            "CURSOR_CLOSE_ON_COMMIT" => SetOption::CursorCloseOnCommit(self.on_or_off()?),
            "LANGUAGE" if self.accept_word("us_english") || self.accept_word("English") => {
                SetOption::Accepted
            }
            "DATEFORMAT" if self.accept_word("mdy") => SetOption::Accepted,
            "DATEFIRST" if matches!(self.kind(), TokenKind::Number(n) if n == "7") => {
                self.next();
                SetOption::Accepted
            }
            "STATISTICS"
                if self.accept_word("XML")
                    || self.accept_word("IO")
                    || self.accept_word("TIME") =>
            {
                self.only(false)?
            }
            // Options in the state this server has, and only that one.
            name @ ("ANSI_NULLS"
            | "ANSI_PADDING"
            | "ANSI_WARNINGS"
            | "ARITHABORT"
            | "QUOTED_IDENTIFIER"
            | "CONCAT_NULL_YIELDS_NULL"
            | "ANSI_NULL_DFLT_ON"
            | "ANSI_NULL_DFLT_OFF"
            | "NUMERIC_ROUNDABORT"
            | "PARSEONLY"
            | "SHOWPLAN_TEXT"
            | "FORCEPLAN"
            | "REMOTE_PROC_TRANSACTIONS") => {
                let mut names = vec![name.to_owned()];
                while self.accept(",") {
                    match self.next() {
                        TokenKind::Word(word) => names.push(word.to_ascii_uppercase()),
                        _ => return Err(self.unexpected()),
                    }
                }
                self.fixed_options(&names)?
            }
            _ => {
                self.reset(self.mark() - 1);
                return Err(self.unexpected());
            }
        };
        Ok(StatementKind::SetOption(option))
    }

    fn fixed_options(&mut self, names: &[String]) -> Parsed<SetOption> {
        let on = |name: &str| name == "ANSI_NULL_DFLT_ON";
        let ansi = |name: &String| match name.as_str() {
            "ANSI_NULLS" => Some(AnsiOption::Nulls),
            "ANSI_PADDING" => Some(AnsiOption::Padding),
            "ANSI_WARNINGS" => Some(AnsiOption::Warnings),
            "CONCAT_NULL_YIELDS_NULL" => Some(AnsiOption::Concat),
            "QUOTED_IDENTIFIER" => Some(AnsiOption::Quoted),
            "ARITHABORT" => Some(AnsiOption::Arithmetic),
            _ => None,
        };
        if let Some(options) = names.iter().map(ansi).collect::<Option<Vec<AnsiOption>>>() {
            let on = self.on_or_off()?;
            // It counts where the batch is parsed, wherever in the batch it stands.
            if !on && options.contains(&AnsiOption::Quoted) && self.has_double_quotes() {
                return Err(self.unsupported("a double quote under QUOTED_IDENTIFIER OFF"));
            }
            return Ok(SetOption::Ansi(options, on));
        }
        let Some(first) = names.first() else {
            return Err(self.unexpected());
        };
        if names.iter().any(|name| on(name) != on(first)) {
            return Err(self.unexpected());
        }
        self.only(on(first))
    }

    fn only(&mut self, state: bool) -> Parsed<SetOption> {
        let mark = self.mark();
        if self.on_or_off()? == state {
            return Ok(SetOption::Accepted);
        }
        self.reset(mark);
        Err(self.unsupported(if state { "OFF" } else { "ON" }))
    }

    fn deadlock_priority(&mut self) -> Parsed<i8> {
        if let Some(priority) = self.one_of(&[("LOW", -5), ("NORMAL", 0), ("HIGH", 5)]) {
            return Ok(priority);
        }
        let value = self.integer()?;
        i8::try_from(value)
            .ok()
            .filter(|value| (-10..=10).contains(value))
            .ok_or_else(|| self.unexpected())
    }

    fn isolation(&mut self) -> Parsed<IsolationLevel> {
        if self.accept_words(&["READ", "UNCOMMITTED"]) {
            Ok(IsolationLevel::ReadUncommitted)
        } else if self.accept_words(&["READ", "COMMITTED"]) {
            Ok(IsolationLevel::ReadCommitted)
        } else if self.accept_words(&["REPEATABLE", "READ"]) {
            Ok(IsolationLevel::RepeatableRead)
        } else if self.accept_word("SERIALIZABLE") {
            Ok(IsolationLevel::Serializable)
        } else if self.accept_word("SNAPSHOT") {
            Ok(IsolationLevel::Snapshot)
        } else {
            Err(self.unexpected())
        }
    }
}
