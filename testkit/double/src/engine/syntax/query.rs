//! SELECT.

use super::ast::{
    Cte, Expr, Hints, IndexHint, JoinKind, Query, QueryBody, Select, SelectItem, SetOp, TableRef,
};
use super::lexer::TokenKind;
use super::parser::{MAX_CHAIN, Parsed, Parser};

impl Parser<'_> {
    /// A query, possibly led by WITH.
    pub fn query(&mut self) -> Parsed<Query> {
        self.nested(|p| {
            let with = p.common_tables()?;
            p.query_after(with)
        })
    }

    /// The common table expressions before a query or a change.
    pub fn common_tables(&mut self) -> Parsed<Vec<Cte>> {
        if !self.accept_word("WITH") {
            return Ok(Vec::new());
        }
        self.comma_list(|p| {
            let name = p.identifier()?;
            let columns = match p.is("(") {
                true => p.name_list()?,
                false => Vec::new(),
            };
            p.expect_word("AS")?;
            let query = p.parenthesised_query()?;
            Ok(Cte { name, columns, query })
        })
    }

    /// The rest of a query.
    pub fn query_after(&mut self, with: Vec<Cte>) -> Parsed<Query> {
        let body = self.query_body()?;
        let mut query =
            Query { with, max_recursion: None, body, order: Vec::new(), offset: None, fetch: None };
        if self.accept_word("ORDER") {
            self.expect_word("BY")?;
            query.order = self.order_items()?;
            if self.accept_word("OFFSET") {
                query.offset = Some(self.expression()?);
                self.row_word()?;
                if self.accept_word("FETCH") {
                    if !self.accept_word("NEXT") {
                        self.expect_word("FIRST")?;
                    }
                    query.fetch = Some(self.expression()?);
                    self.row_word()?;
                    self.expect_word("ONLY")?;
                }
            }
        }
        // FOR READ ONLY ends the declaration of a cursor.
        if self.is_word("FOR") && !self.word_after(1, "READ") {
            return Err(self.unsupported("FOR"));
        }
        query.max_recursion = self.query_options()?;
        Ok(query)
    }

    fn row_word(&mut self) -> Parsed<()> {
        if self.accept_word("ROWS") || self.accept_word("ROW") {
            return Ok(());
        }
        Err(self.unexpected())
    }

    /// `OPTION (…)`: MAXRECURSION, and hints that cannot change an answer.
    pub fn query_options(&mut self) -> Parsed<Option<u32>> {
        let mut max_recursion = None;
        if !self.accept_word("OPTION") {
            return Ok(max_recursion);
        }
        self.expect("(")?;
        self.comma_list(|p| {
            if p.accept_word("RECOMPILE")
                || p.accept_words(&["LOOP", "JOIN"])
                || p.accept_words(&["HASH", "JOIN"])
                || p.accept_words(&["MERGE", "JOIN"])
                || p.accept_words(&["FORCE", "ORDER"])
                || p.accept_words(&["KEEPFIXED", "PLAN"])
                || p.accept_words(&["OPTIMIZE", "FOR", "UNKNOWN"])
            {
                return Ok(());
            }
            if p.accept_word("MAXDOP") || p.accept_word("FAST") {
                p.integer()?;
                return Ok(());
            }
            if p.accept_word("MAXRECURSION") {
                let most = p.integer()?;
                let within = u32::try_from(most).ok().filter(|most| *most <= 32767);
                max_recursion = Some(within.ok_or_else(|| p.too_many_recursions(most))?);
                return Ok(());
            }
            Err(p.unexpected())
        })?;
        self.expect(")")?;
        Ok(max_recursion)
    }

    /// Error 310.
    fn too_many_recursions(&self, most: i64) -> crate::SqlError {
        let mut error = crate::SqlError::new(
            310,
            15,
            1,
            format!(
                "The value {most} specified for the MAXRECURSION option exceeds the allowed maximum of 32767."
            ),
        );
        error.line = self.token().line;
        error
    }

    /// UNION and EXCEPT group from the left; INTERSECT binds tighter.
    fn query_body(&mut self) -> Parsed<QueryBody> {
        let mut left = self.intersection()?;
        for _ in 0..MAX_CHAIN {
            let op = if self.accept_word("UNION") {
                match self.accept_word("ALL") {
                    true => SetOp::UnionAll,
                    false => SetOp::Union,
                }
            } else if self.accept_word("EXCEPT") {
                SetOp::Except
            } else {
                return Ok(left);
            };
            let right = self.intersection()?;
            left = QueryBody::Set(op, Box::new(left), Box::new(right));
        }
        Err(self.too_deep())
    }

    fn intersection(&mut self) -> Parsed<QueryBody> {
        let mut left = self.query_term()?;
        let mut length = 0;
        while self.accept_word("INTERSECT") {
            length += 1;
            if length > MAX_CHAIN {
                return Err(self.too_deep());
            }
            let right = self.query_term()?;
            left = QueryBody::Set(SetOp::Intersect, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn query_term(&mut self) -> Parsed<QueryBody> {
        if self.accept("(") {
            let body = self.nested(Self::query_body)?;
            self.expect(")")?;
            return Ok(body);
        }
        self.expect_word("SELECT")?;
        Ok(QueryBody::Select(Box::new(self.select()?)))
    }

    fn select(&mut self) -> Parsed<Select> {
        let distinct = self.accept_word("DISTINCT");
        if !distinct {
            self.accept_word("ALL");
        }
        let top = self.top()?;
        let items = self.comma_list(Self::select_item)?;
        let into = match self.accept_word("INTO") {
            true => Some(self.object_name()?),
            false => None,
        };
        let from = self.from()?;
        let filter = self.filter()?;
        let (group, sets) = match self.accept_word("GROUP") {
            true => {
                self.expect_word("BY")?;
                self.grouping()?
            }
            false => Default::default(),
        };
        let having = match self.accept_word("HAVING") {
            true => Some(self.condition()?),
            false => None,
        };
        Ok(Select { distinct, top, items, into, from, filter, group, sets, having })
    }

    /// `TOP (n)` or `TOP n`.
    pub fn top(&mut self) -> Parsed<Option<Expr>> {
        if !self.accept_word("TOP") {
            return Ok(None);
        }
        let count = if self.accept("(") {
            let count = self.expression()?;
            self.expect(")")?;
            count
        } else {
            match self.kind() {
                TokenKind::Number(_) => Expr::Literal(
                    crate::Value::BigInt(self.integer()?),
                    Some(crate::SqlType::BigInt),
                ),
                _ => return Err(self.unexpected()),
            }
        };
        if self.is_word("PERCENT") {
            return Err(self.unsupported("PERCENT"));
        }
        if self.is_word("WITH") && self.word_after(1, "TIES") {
            return Err(self.unsupported("WITH TIES"));
        }
        Ok(Some(count))
    }

    /// An item of a select or OUTPUT list.
    pub fn select_item(&mut self) -> Parsed<SelectItem> {
        if self.accept("*") {
            return Ok(SelectItem::Wildcard(Vec::new()));
        }
        if let Some(qualifier) = self.qualified_wildcard()? {
            return Ok(SelectItem::Wildcard(qualifier));
        }
        if let TokenKind::Variable(variable) = self.kind().clone()
            && *self.kind_after(1) == TokenKind::Symbol("=")
        {
            self.next();
            self.next();
            let value = self.expression()?;
            return Ok(SelectItem::Assign { variable, value });
        }
        if self.is_identifier() && *self.kind_after(1) == TokenKind::Symbol("=") {
            let alias = Some(self.identifier()?);
            self.expect("=")?;
            let value = self.expression()?;
            return Ok(SelectItem::Value { value, alias });
        }
        let value = self.expression()?;
        let alias = self.column_alias()?;
        Ok(SelectItem::Value { value, alias })
    }

    fn qualified_wildcard(&mut self) -> Parsed<Option<Vec<String>>> {
        let mark = self.mark();
        let mut qualifier = Vec::new();
        while self.is_identifier() {
            qualifier.push(self.identifier()?);
            if !self.accept(".") {
                break;
            }
            if self.accept("*") {
                return Ok(Some(qualifier));
            }
        }
        self.reset(mark);
        Ok(None)
    }

    fn column_alias(&mut self) -> Parsed<Option<String>> {
        let named = self.accept_word("AS");
        if let TokenKind::String(text) = self.kind().clone() {
            self.next();
            return Ok(Some(text));
        }
        if named {
            return self.identifier().map(Some);
        }
        Ok(self.accept_identifier())
    }

    /// FROM, empty where there is none.
    pub fn from(&mut self) -> Parsed<Vec<TableRef>> {
        match self.accept_word("FROM") {
            true => self.comma_list(Self::joined_table),
            false => Ok(Vec::new()),
        }
    }

    /// WHERE, if there is one.
    pub fn filter(&mut self) -> Parsed<Option<Expr>> {
        if !self.accept_word("WHERE") {
            return Ok(None);
        }
        if self.is_word("CURRENT") {
            return Err(self.unsupported("CURRENT OF"));
        }
        self.condition().map(Some)
    }

    fn joined_table(&mut self) -> Parsed<TableRef> {
        self.nested(|p| {
            let mut left = p.table()?;
            let mut length = 0;
            while let Some(kind) = p.join_kind()? {
                length += 1;
                if length > MAX_CHAIN {
                    return Err(p.too_deep());
                }
                let with_condition =
                    !matches!(kind, JoinKind::Cross | JoinKind::CrossApply | JoinKind::OuterApply);
                // `a JOIN b JOIN c ON … ON …`: the right side is itself a join until its ON.
                let right = match with_condition {
                    true => p.join_operand()?,
                    false => p.table()?,
                };
                let on = match with_condition {
                    true => {
                        p.expect_word("ON")?;
                        Some(p.condition()?)
                    }
                    false => None,
                };
                left = TableRef::Join { kind, left: Box::new(left), right: Box::new(right), on };
            }
            Ok(left)
        })
    }

    fn join_operand(&mut self) -> Parsed<TableRef> {
        let operand = self.table()?;
        if self.is_word("ON") {
            return Ok(operand);
        }
        let Some(kind) = self.join_kind()? else {
            return Err(self.unexpected());
        };
        if matches!(kind, JoinKind::Cross | JoinKind::CrossApply | JoinKind::OuterApply) {
            return Err(self.unexpected());
        }
        let right = self.nested(Self::join_operand)?;
        self.expect_word("ON")?;
        let on = Some(self.condition()?);
        Ok(TableRef::Join { kind, left: Box::new(operand), right: Box::new(right), on })
    }

    fn join_kind(&mut self) -> Parsed<Option<JoinKind>> {
        if self.accept_word("JOIN") {
            return Ok(Some(JoinKind::Inner));
        }
        if self.accept_words(&["CROSS", "JOIN"]) {
            return Ok(Some(JoinKind::Cross));
        }
        if self.accept_words(&["CROSS", "APPLY"]) {
            return Ok(Some(JoinKind::CrossApply));
        }
        if self.accept_words(&["OUTER", "APPLY"]) {
            return Ok(Some(JoinKind::OuterApply));
        }
        let Some(kind) = self.one_of(&[
            ("INNER", JoinKind::Inner),
            ("LEFT", JoinKind::Left),
            ("RIGHT", JoinKind::Right),
            ("FULL", JoinKind::Full),
        ]) else {
            return Ok(None);
        };
        if kind != JoinKind::Inner {
            self.accept_word("OUTER");
        }
        // Join hints choose a plan, never an answer.
        let _ = self.accept_word("LOOP") || self.accept_word("HASH") || self.accept_word("MERGE");
        self.expect_word("JOIN")?;
        Ok(Some(kind))
    }

    pub(super) fn table(&mut self) -> Parsed<TableRef> {
        if self.is("(") {
            return self.parenthesised_table();
        }
        if matches!(self.kind(), TokenKind::Variable(_)) {
            let name = self.variable()?;
            let alias = self.table_alias()?;
            // Nobody else reaches a table variable: hints about locks mean nothing.
            self.hints()?;
            return Ok(TableRef::Variable { name, alias });
        }
        let name = self.object_name()?;
        if self.is("(") && !self.old_style_hint() {
            self.expect("(")?;
            let arguments = match self.is(")") {
                true => Vec::new(),
                false => self.comma_list(Self::expression)?,
            };
            self.expect(")")?;
            let alias = self.table_alias()?;
            return Ok(TableRef::Function { name, arguments, alias });
        }
        let alias = self.table_alias()?;
        for word in ["PIVOT", "UNPIVOT", "TABLESAMPLE"] {
            if self.is_word(word) {
                return Err(self.unsupported(word));
            }
        }
        let hints = self.hints()?;
        Ok(TableRef::Named { name, alias, hints })
    }

    fn old_style_hint(&self) -> bool {
        (self.word_after(1, "NOLOCK") || self.word_after(1, "HOLDLOCK"))
            && *self.kind_after(2) == TokenKind::Symbol(")")
    }

    fn parenthesised_table(&mut self) -> Parsed<TableRef> {
        if self.starts_query() {
            let query = Box::new(self.parenthesised_query()?);
            let (alias, columns) = self.derived_alias()?;
            return Ok(TableRef::Derived { query, alias, columns });
        }
        self.expect("(")?;
        if self.accept_word("VALUES") {
            let rows = self.value_rows()?;
            self.expect(")")?;
            let (alias, columns) = self.derived_alias()?;
            if columns.is_empty() {
                return Err(self.unexpected());
            }
            return Ok(TableRef::Values { rows, alias, columns });
        }
        let table = self.joined_table()?;
        self.expect(")")?;
        Ok(table)
    }

    fn derived_alias(&mut self) -> Parsed<(String, Vec<String>)> {
        self.accept_word("AS");
        let alias = self.identifier()?;
        let columns = match self.is("(") {
            true => self.name_list()?,
            false => Vec::new(),
        };
        Ok((alias, columns))
    }

    /// `(a, b), (c, d)`
    pub fn value_rows(&mut self) -> Parsed<Vec<Vec<Expr>>> {
        self.comma_list(|p| {
            p.expect("(")?;
            let row = p.comma_list(Self::expression)?;
            p.expect(")")?;
            Ok(row)
        })
    }

    /// `[AS] alias`
    pub fn table_alias(&mut self) -> Parsed<Option<String>> {
        if self.accept_word("AS") {
            return self.identifier().map(Some);
        }
        Ok(self.accept_identifier())
    }

    /// `WITH (hint, …)`
    pub fn hints(&mut self) -> Parsed<Hints> {
        let mut hints = Hints::default();
        if self.is("(") && self.old_style_hint() {
            self.next();
        } else if self.is_word("WITH") && *self.kind_after(1) == TokenKind::Symbol("(") {
            self.next();
            self.next();
        } else {
            return Ok(hints);
        }
        loop {
            self.hint(&mut hints)?;
            if self.accept(")") {
                return Ok(hints);
            }
            // Hints may stand without commas between them.
            self.accept(",");
        }
    }

    fn hint(&mut self, hints: &mut Hints) -> Parsed<()> {
        let TokenKind::Word(word) = self.kind().clone() else {
            return Err(self.unexpected());
        };
        match word.to_ascii_uppercase().as_str() {
            "NOLOCK" | "READUNCOMMITTED" => hints.no_lock = true,
            "UPDLOCK" => hints.update_lock = true,
            "XLOCK" => hints.exclusive_lock = true,
            "HOLDLOCK" | "SERIALIZABLE" => hints.hold_lock = true,
            "TABLOCK" => hints.table_lock = true,
            "TABLOCKX" => hints.table_exclusive = true,
            "REPEATABLEREAD" => hints.repeatable_read = true,
            "READCOMMITTEDLOCK" => hints.read_committed_lock = true,
            // Granularity and plan choices, without effect on what is read.
            "ROWLOCK" | "PAGLOCK" | "READCOMMITTED" | "FORCESCAN" => {}
            "INDEX" => return self.index_hint(hints),
            "FORCESEEK" => return self.force_seek(hints),
            _ => return Err(self.unsupported(&word)),
        }
        self.next();
        if self.is("(") {
            return Err(self.unexpected());
        }
        Ok(())
    }

    /// `INDEX (name | id)`, `INDEX = name | id`
    fn index_hint(&mut self, hints: &mut Hints) -> Parsed<()> {
        self.next();
        let equal = self.accept("=");
        let brackets = self.is("(");
        if !equal || brackets {
            self.expect("(")?;
        }
        let index = self.hinted_index()?;
        if !equal || brackets {
            if self.is(",") {
                return Err(self.unsupported("a hint of several indexes"));
            }
            self.expect(")")?;
        }
        hints.index = Some(index);
        Ok(())
    }

    fn hinted_index(&mut self) -> Parsed<IndexHint> {
        match self.kind() {
            TokenKind::Number(_) => {
                let id = self.integer()?;
                i32::try_from(id).map(IndexHint::Id).map_err(|_| self.unexpected())
            }
            _ => self.identifier().map(IndexHint::Name),
        }
    }

    /// `FORCESEEK`, `FORCESEEK (index (column, …))`
    fn force_seek(&mut self, hints: &mut Hints) -> Parsed<()> {
        self.next();
        hints.force_seek = true;
        if self.accept("(") {
            hints.index = Some(self.hinted_index()?);
            self.name_list()?;
            self.expect(")")?;
        }
        Ok(())
    }
}
