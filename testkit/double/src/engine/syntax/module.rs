//! Views, inline functions, procedures and security policies. A procedure's body stays text: it is
//! stored, and never run.

use super::ast::{
    Ddl, Module, ModuleContent, ModuleVerb, ModuleWord, PredicateAction, PredicateVerb,
    SecurityPolicy, StatementKind,
};
use super::lexer::TokenKind;
use super::normal::{bracketed, expression};
use super::parser::{Parsed, Parser};
use crate::SqlError;
use crate::storage::{BlockOperation, ParameterDef};

impl Parser<'_> {
    /// After CREATE or ALTER: a view, procedure or inline function, if one starts here. Other functions
    /// and triggers are refused: they could not be run, and a trigger that never fires would be a
    /// wrong answer.
    pub fn module(&mut self, altered: bool) -> Parsed<Option<StatementKind>> {
        let start = self.mark();
        let verb_end = self.previous_end();
        let or_alter = !altered && self.accept_words(&["OR", "ALTER"]);
        let Some(word) = self.module_word() else {
            self.reset(start);
            return Ok(None);
        };
        let name = match word {
            ModuleWord::View => "VIEW",
            ModuleWord::Procedure => "PROCEDURE",
            ModuleWord::Function => "FUNCTION",
            ModuleWord::Trigger => return Err(self.unsupported("TRIGGER")),
            ModuleWord::Sequence => return Err(self.unexpected()),
        };
        let verb = match (altered, or_alter) {
            (true, _) => ModuleVerb::Alter,
            (false, true) => ModuleVerb::CreateOrAlter,
            (false, false) => ModuleVerb::Create,
        };
        // The verb itself is the batch's first token.
        if start != 1 {
            let verb = if altered { "ALTER" } else { "CREATE" };
            let mut error = SqlError::new(
                111,
                15,
                1,
                format!("'{verb} {name}' must be the first statement in a query batch."),
            );
            error.line = self.token().line;
            return Err(error);
        }
        let definition = self.as_created(verb, verb_end);
        let name = self.object_name()?;
        let content = match word {
            ModuleWord::View => self.view_content()?,
            ModuleWord::Function => self.function_content()?,
            _ => self.procedure_content()?,
        };
        let module = Module { verb, name, definition, content };
        Ok(Some(StatementKind::Ddl(Ddl::Module(Box::new(module)))))
    }

    /// After DROP: views and procedures, if one is named here.
    pub fn drop_module(&mut self) -> Parsed<Option<Ddl>> {
        let kind = match self.accept_word("SEQUENCE") {
            true => Some(ModuleWord::Sequence),
            false => self.module_word(),
        };
        let Some(kind) = kind else {
            return Ok(None);
        };
        let if_exists = self.if_exists();
        let names = self.comma_list(Self::object_name)?;
        Ok(Some(Ddl::DropModules { kind, names, if_exists }))
    }

    fn module_word(&mut self) -> Option<ModuleWord> {
        self.one_of(&[
            ("VIEW", ModuleWord::View),
            ("PROCEDURE", ModuleWord::Procedure),
            ("PROC", ModuleWord::Procedure),
            ("FUNCTION", ModuleWord::Function),
            ("TRIGGER", ModuleWord::Trigger),
        ])
    }

    /// The batch with CREATE as its verb. OR ALTER leaves its blanks, as SQL Server does.
    fn as_created(&self, verb: ModuleVerb, verb_end: usize) -> String {
        let text = self.text;
        match verb {
            ModuleVerb::Create => text.to_owned(),
            ModuleVerb::Alter => {
                let start = verb_end - "ALTER".len();
                format!("{}CREATE{}", &text[..start], &text[verb_end..])
            }
            ModuleVerb::CreateOrAlter => {
                let rest = text[verb_end..].to_ascii_uppercase();
                let after = rest.find("ALTER").map_or(0, |at| at + "ALTER".len());
                format!("{}  {}", &text[..verb_end], &text[verb_end + after..])
            }
        }
    }

    fn view_content(&mut self) -> Parsed<ModuleContent> {
        let columns = match self.is("(") {
            true => self.name_list()?,
            false => Vec::new(),
        };
        if self.accept_word("WITH") && !self.accept_word("VIEW_METADATA") {
            return Err(self.unsupported("an attribute of a view"));
        }
        self.expect_word("AS")?;
        let query = Box::new(self.query()?);
        let check_option = self.accept_words(&["WITH", "CHECK", "OPTION"]);
        while self.accept(";") {}
        if !self.at_end() {
            return Err(self.unexpected());
        }
        Ok(ModuleContent::View { columns, query, check_option })
    }

    /// `(@p type, …) RETURNS TABLE [WITH SCHEMABINDING] [AS] RETURN query`
    fn function_content(&mut self) -> Parsed<ModuleContent> {
        self.expect("(")?;
        let parameters = match self.is(")") {
            true => Vec::new(),
            false => self.comma_list(Self::parameter)?,
        };
        self.expect(")")?;
        self.expect_word("RETURNS")?;
        if !self.accept_word("TABLE") || parameters.iter().any(|given| given.has_default) {
            return Err(self.unsupported("a function that is not an inline one"));
        }
        let schema_bound = self.accept_words(&["WITH", "SCHEMABINDING"]);
        self.accept_word("AS");
        self.expect_word("RETURN")?;
        let brackets = self.is("(");
        let mark = self.mark();
        let query = match self.query() {
            Ok(query) if !brackets || self.at_end() || self.is(";") => query,
            _ => {
                self.reset(mark);
                self.expect("(")?;
                let query = self.query()?;
                self.expect(")")?;
                query
            }
        };
        while self.accept(";") {}
        if !self.at_end() {
            return Err(self.unexpected());
        }
        Ok(ModuleContent::Function { parameters, query: Box::new(query), schema_bound })
    }

    /// After CREATE or ALTER: a security policy, if one starts here.
    pub fn security_policy(&mut self, create: bool) -> Parsed<Option<Ddl>> {
        if !self.accept_words(&["SECURITY", "POLICY"]) {
            return Ok(None);
        }
        let name = self.object_name()?;
        let mut actions = Vec::new();
        loop {
            let verb = match self.one_of(&[
                ("ADD", PredicateVerb::Add),
                ("ALTER", PredicateVerb::Alter),
                ("DROP", PredicateVerb::Drop),
            ]) {
                Some(verb) if !create || verb == PredicateVerb::Add => verb,
                Some(_) => return Err(self.unexpected()),
                None => break,
            };
            actions.push(self.predicate(verb)?);
            if !self.accept(",") {
                break;
            }
        }
        let (mut enabled, mut schema_bound) = (None, None);
        if self.accept_word("WITH") {
            self.expect("(")?;
            while !self.accept(")") {
                let option = match self.accept_word("STATE") {
                    true => &mut enabled,
                    false => {
                        self.expect_word("SCHEMABINDING")?;
                        &mut schema_bound
                    }
                };
                self.expect("=")?;
                *option = Some(self.on_or_off()?);
                self.accept(",");
            }
        }
        let not_for_replication = self.accept_words(&["NOT", "FOR", "REPLICATION"]).then_some(true);
        let policy =
            SecurityPolicy { create, name, actions, enabled, schema_bound, not_for_replication };
        Ok(Some(Ddl::Policy(Box::new(policy))))
    }

    fn predicate(&mut self, verb: PredicateVerb) -> Parsed<PredicateAction> {
        let block = match self.one_of(&[("FILTER", false), ("BLOCK", true)]) {
            Some(block) => block,
            None if verb == PredicateVerb::Add => false,
            None => return Err(self.unexpected()),
        };
        self.expect_word("PREDICATE")?;
        let definition = match verb {
            PredicateVerb::Drop => String::new(),
            _ => self.predicate_call()?,
        };
        self.expect_word("ON")?;
        let table = self.object_name()?;
        let operation = match block {
            true => self.block_operation()?,
            false => None,
        };
        Ok(PredicateAction { verb, block, definition, table, operation })
    }

    /// `schema.function(argument, …)` as `sys.security_predicates` shows it.
    fn predicate_call(&mut self) -> Parsed<String> {
        let function = self.object_name()?;
        let Some(schema) = function.schema.filter(|_| function.database.is_none()) else {
            return Err(self.unexpected());
        };
        self.expect("(")?;
        let arguments = self.comma_list(Self::expression)?;
        self.expect(")")?;
        let arguments: Vec<String> = arguments.iter().map(expression).collect();
        let (schema, name) = (bracketed(&schema), bracketed(&function.name));
        Ok(format!("({schema}.{name}({}))", arguments.join(",")))
    }

    fn block_operation(&mut self) -> Parsed<Option<BlockOperation>> {
        use BlockOperation::{AfterInsert, AfterUpdate, BeforeDelete, BeforeUpdate};
        let operation = if self.accept_word("AFTER") {
            self.one_of(&[("INSERT", AfterInsert), ("UPDATE", AfterUpdate)])
        } else if self.accept_word("BEFORE") {
            self.one_of(&[("UPDATE", BeforeUpdate), ("DELETE", BeforeDelete)])
        } else {
            return Ok(None);
        };
        operation.map(Some).ok_or_else(|| self.unexpected())
    }

    fn procedure_content(&mut self) -> Parsed<ModuleContent> {
        if self.is(";") {
            return Err(self.unsupported("a numbered procedure"));
        }
        let in_brackets = self.accept("(");
        let parameters = match self.kind() {
            TokenKind::Variable(_) => self.comma_list(Self::parameter)?,
            _ => Vec::new(),
        };
        if in_brackets {
            self.expect(")")?;
        }
        if self.accept_word("WITH") {
            self.comma_list(|p| {
                if p.accept_word("RECOMPILE") {
                    return Ok(());
                }
                p.expect_word("EXECUTE")?;
                p.expect_word("AS")?;
                match p.accept_word("OWNER") || p.accept_word("CALLER") || p.accept_word("SELF") {
                    true => Ok(()),
                    false => p.string().map(drop),
                }
            })?;
        }
        self.expect_word("AS")?;
        if self.at_end() {
            return Err(self.unexpected());
        }
        while !self.at_end() {
            self.next();
        }
        Ok(ModuleContent::Procedure(parameters))
    }

    fn parameter(&mut self) -> Parsed<ParameterDef> {
        let name = self.variable()?;
        self.accept_word("AS");
        let (ty, _) = self.declared_type()?;
        let has_default = self.accept("=");
        if has_default {
            self.expression()?;
        }
        let output = self.accept_word("OUTPUT") || self.accept_word("OUT");
        Ok(ParameterDef { name, ty, output, has_default })
    }
}
