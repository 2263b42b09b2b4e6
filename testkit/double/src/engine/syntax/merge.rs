//! MERGE.

use super::ast::{Cte, Merge, MergeAction, MergeClause, MergeWhen, StatementKind};
use super::parser::{Parsed, Parser};
use crate::SqlError;

impl Parser<'_> {
    /// After MERGE.
    pub fn merge(&mut self, with: Vec<Cte>) -> Parsed<StatementKind> {
        let top = self.top()?;
        self.accept_word("INTO");
        let target = self.object_name()?;
        let hints = self.hints()?;
        // USING is no reserved word, and would do for an alias.
        let alias = match self.is_word("USING") {
            true => None,
            false => self.table_alias()?,
        };
        self.expect_word("USING")?;
        let source = self.table()?;
        self.expect_word("ON")?;
        let on = self.condition()?;
        let mut clauses: Vec<MergeClause> = Vec::new();
        while self.accept_word("WHEN") {
            let clause = self.merge_clause()?;
            check_clause(&clauses, &clause).map_err(|error| self.at_token(error))?;
            clauses.push(clause);
        }
        if clauses.is_empty() {
            return Err(self.unexpected());
        }
        let output = self.output()?;
        let max_recursion = self.query_options()?;
        if !self.is(";") {
            let text = "A MERGE statement must be terminated by a semi-colon (;).";
            return Err(self.at_token(SqlError::new(10713, 15, 1, text)));
        }
        Ok(StatementKind::Merge(Box::new(Merge {
            with,
            max_recursion,
            top,
            target,
            hints,
            alias,
            source,
            on,
            clauses,
            output,
        })))
    }

    fn at_token(&self, mut error: SqlError) -> SqlError {
        error.line = self.token().line;
        error
    }

    fn merge_clause(&mut self) -> Parsed<MergeClause> {
        let when = if self.accept_word("MATCHED") {
            MergeWhen::Matched
        } else {
            self.expect_word("NOT")?;
            self.expect_word("MATCHED")?;
            match self.accept_word("BY") {
                true => self
                    .one_of(&[
                        ("TARGET", MergeWhen::NotByTarget),
                        ("SOURCE", MergeWhen::NotBySource),
                    ])
                    .ok_or_else(|| self.unexpected())?,
                false => MergeWhen::NotByTarget,
            }
        };
        let condition = match self.accept_word("AND") {
            true => Some(self.condition()?),
            false => None,
        };
        self.expect_word("THEN")?;
        let action = if self.accept_word("UPDATE") {
            self.expect_word("SET")?;
            MergeAction::Update(self.comma_list(Self::assignment)?)
        } else if self.accept_word("DELETE") {
            MergeAction::Delete
        } else {
            self.expect_word("INSERT")?;
            self.merge_insert()?
        };
        Ok(MergeClause { when, condition, action })
    }

    fn merge_insert(&mut self) -> Parsed<MergeAction> {
        let columns = match self.is("(") {
            true => self.name_list()?,
            false => Vec::new(),
        };
        if self.accept_words(&["DEFAULT", "VALUES"]) {
            return Ok(MergeAction::Insert { columns, values: None });
        }
        self.expect_word("VALUES")?;
        self.expect("(")?;
        let values = self.comma_list(Self::expression)?;
        self.expect(")")?;
        Ok(MergeAction::Insert { columns, values: Some(values) })
    }
}

fn phrase(when: MergeWhen) -> &'static str {
    match when {
        MergeWhen::Matched => "WHEN MATCHED",
        MergeWhen::NotByTarget => "WHEN NOT MATCHED",
        MergeWhen::NotBySource => "WHEN NOT MATCHED BY SOURCE",
    }
}

/// Which clauses may follow which: errors 5324, 10711 and 10714.
fn check_clause(before: &[MergeClause], clause: &MergeClause) -> Result<(), SqlError> {
    let phrase = phrase(clause.when);
    let action = match clause.action {
        MergeAction::Update(_) => "UPDATE",
        MergeAction::Delete => "DELETE",
        MergeAction::Insert { .. } => "INSERT",
    };
    let inserts = action == "INSERT";
    if inserts != (clause.when == MergeWhen::NotByTarget) {
        return Err(SqlError::new(
            10711,
            15,
            1,
            format!(
                "An action of type '{action}' is not allowed in the '{phrase}' clause of a MERGE statement."
            ),
        ));
    }
    for earlier in before.iter().filter(|earlier| earlier.when == clause.when) {
        if std::mem::discriminant(&earlier.action) == std::mem::discriminant(&clause.action) {
            return Err(SqlError::new(
                10714,
                15,
                1,
                format!(
                    "An action of type '{action}' cannot appear more than once in a '{phrase}' clause of a MERGE statement."
                ),
            ));
        }
        if earlier.condition.is_none() {
            return Err(SqlError::new(
                5324,
                15,
                1,
                format!(
                    "In a MERGE statement, a '{phrase}' clause with a search condition cannot appear after a '{phrase}' clause with no search condition."
                ),
            ));
        }
    }
    Ok(())
}
