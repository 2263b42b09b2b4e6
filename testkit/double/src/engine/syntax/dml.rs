//! INSERT, UPDATE, DELETE.

use super::ast::{
    Assignment, BinaryOp, Cte, Delete, Expr, Insert, InsertSource, InsertTarget, ObjectName,
    Output, SelectItem, StatementKind, Update, WriteText,
};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// After INSERT.
    pub fn insert(&mut self, with: Vec<Cte>) -> Parsed<StatementKind> {
        if with.is_empty() && self.accept_word("BULK") {
            return self.insert_bulk();
        }
        let top = self.top()?;
        self.accept_word("INTO");
        let target = self.insert_target()?;
        let hints = self.hints()?;
        let columns = match self.is("(") && !self.starts_query() {
            true => self.name_list()?,
            false => Vec::new(),
        };
        let output = self.output()?;
        let source = if self.accept_words(&["DEFAULT", "VALUES"]) {
            InsertSource::Defaults
        } else if self.accept_word("VALUES") {
            let rows = self.value_rows()?;
            if rows.len() > 1000 {
                let mut error = crate::SqlError::new(
                    10738,
                    15,
                    1,
                    "The number of row value expressions in the INSERT statement exceeds the maximum allowed number of 1000 row values.",
                );
                error.line = self.token().line;
                return Err(error);
            }
            InsertSource::Values(rows)
        } else if self.starts_query() || self.is_word("WITH") {
            InsertSource::Query(self.query()?)
        } else if output.is_none() && (self.accept_word("EXEC") || self.accept_word("EXECUTE")) {
            match self.execute()? {
                call @ (StatementKind::Execute(_) | StatementKind::ExecuteText(_)) => {
                    InsertSource::Execute(Box::new(call))
                }
                _ => return Err(self.unexpected()),
            }
        } else {
            return Err(self.unexpected());
        };
        self.query_options()?;
        Ok(StatementKind::Insert(Insert { with, target, top, hints, columns, output, source }))
    }

    fn insert_target(&mut self) -> Parsed<InsertTarget> {
        match self.kind() {
            TokenKind::Variable(_) => self.variable().map(InsertTarget::Variable),
            _ => self.object_name().map(InsertTarget::Table),
        }
    }

    pub(super) fn output(&mut self) -> Parsed<Option<Output>> {
        if !self.accept_word("OUTPUT") {
            return Ok(None);
        }
        let items = self.comma_list(Self::select_item)?;
        if items.iter().any(|item| matches!(item, SelectItem::Assign { .. })) {
            return Err(self.unexpected());
        }
        let into = match self.accept_word("INTO") {
            true => {
                let table = self.insert_target()?;
                let columns = match self.is("(") {
                    true => self.name_list()?,
                    false => Vec::new(),
                };
                Some((table, columns))
            }
            false => None,
        };
        if self.is_word("OUTPUT") {
            return Err(self.unsupported("second OUTPUT"));
        }
        Ok(Some(Output { items, into }))
    }

    /// After UPDATE.
    pub fn update(&mut self, with: Vec<Cte>) -> Parsed<StatementKind> {
        let top = self.top()?;
        let target = self.object_name()?;
        let hints = self.hints()?;
        self.expect_word("SET")?;
        let assignments = self.comma_list(Self::assignment)?;
        let output = self.output()?;
        let from = self.from()?;
        let filter = self.filter()?;
        let max_recursion = self.query_options()?;
        Ok(StatementKind::Update(Update {
            with,
            max_recursion,
            target,
            hints,
            top,
            assignments,
            output,
            from,
            filter,
        }))
    }

    pub(super) fn assignment(&mut self) -> Parsed<Assignment> {
        let variable = match self.kind() {
            TokenKind::Variable(_) => Some(self.variable()?),
            _ => None,
        };
        if let Some(name) = &variable {
            let target = Expr::Variable(name.clone());
            if let Some(value) = self.compound_assignment(target)? {
                return Ok(Assignment {
                    variable,
                    column: None,
                    value,
                    compound: false,
                    write: None,
                });
            }
            self.expect("=")?;
            // `@v = column = value`
            let mark = self.mark();
            if self.is_identifier() {
                let column = self.column_path()?;
                if self.accept("=") {
                    let value = self.expression()?;
                    return Ok(Assignment {
                        variable,
                        column: Some(column),
                        value,
                        compound: false,
                        write: None,
                    });
                }
                self.reset(mark);
            }
            let value = self.expression()?;
            return Ok(Assignment { variable, column: None, value, compound: false, write: None });
        }
        let mut column = self.column_path()?;
        let writes = column.last().is_some_and(|name| name.eq_ignore_ascii_case("WRITE"));
        if writes && column.len() > 1 && self.accept("(") {
            column.pop();
            let value = self.expression()?;
            self.expect(",")?;
            let offset = self.expression()?;
            self.expect(",")?;
            let length = self.expression()?;
            self.expect(")")?;
            let write = Some(Box::new((offset, length)));
            return Ok(Assignment {
                variable,
                column: Some(column),
                value,
                compound: false,
                write,
            });
        }
        let target = Expr::Column(column.clone());
        let (value, compound) = match self.compound_assignment(target)? {
            Some(value) => (value, true),
            None => {
                self.expect("=")?;
                (self.expression()?, false)
            }
        };
        Ok(Assignment { variable, column: Some(column), value, compound, write: None })
    }

    fn column_path(&mut self) -> Parsed<Vec<String>> {
        let mut parts = vec![self.identifier()?];
        while self.accept(".") {
            parts.push(self.identifier()?);
        }
        Ok(parts)
    }

    /// `target op= value` as `target op (value)`.
    pub fn compound_assignment(&mut self, target: Expr) -> Parsed<Option<Expr>> {
        let operators = [
            ("+=", BinaryOp::Add),
            ("-=", BinaryOp::Subtract),
            ("*=", BinaryOp::Multiply),
            ("/=", BinaryOp::Divide),
            ("%=", BinaryOp::Modulo),
            ("&=", BinaryOp::BitAnd),
            ("|=", BinaryOp::BitOr),
            ("^=", BinaryOp::BitXor),
        ];
        for (symbol, op) in operators {
            if self.accept(symbol) {
                let value = self.expression()?;
                return Ok(Some(Expr::Binary(op, Box::new(target), Box::new(value))));
            }
        }
        Ok(None)
    }

    /// After WRITETEXT and UPDATETEXT.
    pub fn write_text(&mut self, updates: bool) -> Parsed<StatementKind> {
        self.accept_word("BULK");
        let path = self.object_name()?;
        let table = path.schema.ok_or_else(|| self.unexpected())?;
        let table = ObjectName { name: table, schema: path.database, database: None };
        let pointer = self.expression()?;
        let place = match updates {
            true => Some((self.expression()?, self.expression()?)),
            false => None,
        };
        self.accept_words(&["WITH", "LOG"]);
        let data = match self.kind().clone() {
            TokenKind::Variable(_)
            | TokenKind::String(_)
            | TokenKind::NString(_)
            | TokenKind::Hex(_) => Some(self.expression()?),
            _ if self.accept_word("NULL") => Some(Expr::Literal(crate::Value::Null, None)),
            _ if updates => None,
            _ => return Err(self.unexpected()),
        };
        let column = path.name;
        let write = WriteText { table, column, pointer, place, data };
        Ok(StatementKind::WriteText(Box::new(write)))
    }

    /// After DELETE.
    pub fn delete(&mut self, with: Vec<Cte>) -> Parsed<StatementKind> {
        let top = self.top()?;
        self.accept_word("FROM");
        let target = self.object_name()?;
        let hints = self.hints()?;
        let output = self.output()?;
        let from = self.from()?;
        let filter = self.filter()?;
        let max_recursion = self.query_options()?;
        Ok(StatementKind::Delete(Delete {
            with,
            max_recursion,
            target,
            hints,
            top,
            output,
            from,
            filter,
        }))
    }
}
