//! Principals and permissions.

use super::ast::{PermissionAction, Securable, Security, StatementKind};
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// After CREATE LOGIN.
    pub fn create_login(&mut self) -> Parsed<StatementKind> {
        let name = self.identifier()?;
        let password = self.password()?;
        let mut database = None;
        while self.accept(",") {
            if self.accept_word("DEFAULT_DATABASE") {
                self.expect("=")?;
                database = Some(self.identifier()?);
            } else if self.accept_word("CHECK_POLICY") || self.accept_word("CHECK_EXPIRATION") {
                self.expect("=")?;
                self.on_or_off()?;
            } else {
                return Err(self.unexpected());
            }
        }
        Ok(StatementKind::Security(Security::CreateLogin { name, password, database }))
    }

    fn password(&mut self) -> Parsed<String> {
        self.expect_word("WITH")?;
        self.expect_word("PASSWORD")?;
        self.expect("=")?;
        self.string()
    }

    /// After CREATE USER.
    pub fn create_user(&mut self) -> Parsed<StatementKind> {
        let name = self.identifier()?;
        let login = if self.accept_words(&["WITHOUT", "LOGIN"]) {
            None
        } else if self.accept_word("FOR") || self.accept_word("FROM") {
            self.expect_word("LOGIN")?;
            Some(self.identifier()?)
        } else {
            Some(name.clone())
        };
        if self.accept_words(&["WITH", "DEFAULT_SCHEMA"]) {
            self.expect("=")?;
            if !self.accept_word("dbo") {
                return Err(self.unsupported("DEFAULT_SCHEMA"));
            }
        }
        Ok(StatementKind::Security(Security::CreateUser { name, login }))
    }

    /// After CREATE ROLE.
    pub fn create_role(&mut self) -> Parsed<StatementKind> {
        let name = self.identifier()?;
        if self.accept_word("AUTHORIZATION") {
            self.identifier()?;
        }
        Ok(StatementKind::Security(Security::CreateRole(name)))
    }

    /// After DROP, for principals.
    pub fn drop_principal(&mut self) -> Parsed<StatementKind> {
        let security = if self.accept_word("LOGIN") {
            Security::DropLogin(self.identifier()?)
        } else if self.accept_word("USER") {
            let if_exists = self.if_exists();
            let name = self.identifier()?;
            Security::DropUser { name, if_exists }
        } else if self.accept_word("ROLE") {
            Security::DropRole(self.identifier()?)
        } else {
            return Err(self.unexpected());
        };
        Ok(StatementKind::Security(security))
    }

    /// After ALTER, for principals.
    pub fn alter_principal(&mut self) -> Parsed<StatementKind> {
        if self.accept_word("LOGIN") {
            let name = self.identifier()?;
            let password = self.password()?;
            return Ok(StatementKind::Security(Security::AlterLogin { name, password }));
        }
        let server = self.accept_word("SERVER");
        self.expect_word("ROLE")?;
        let role = self.identifier()?;
        let add =
            self.one_of(&[("ADD", true), ("DROP", false)]).ok_or_else(|| self.unexpected())?;
        self.expect_word("MEMBER")?;
        let member = self.identifier()?;
        Ok(StatementKind::Security(Security::AlterRole { server, role, member, add }))
    }

    /// After GRANT, DENY or REVOKE.
    pub fn permission(&mut self, action: PermissionAction) -> Parsed<StatementKind> {
        if self.is_word("ALL") {
            return Err(self.unsupported("ALL"));
        }
        let permissions = self.comma_list(Self::permission_name)?;
        let mut columns = Vec::new();
        if self.is("(") {
            if permissions.len() > 1 {
                return Err(self.unexpected());
            }
            columns = self.name_list()?;
        }
        let mut securable = Securable::Scope;
        if self.accept_word("ON") {
            securable = self.securable(columns)?;
        } else if !columns.is_empty() {
            return Err(self.unexpected());
        }
        if action == PermissionAction::Revoke {
            if !self.accept_word("FROM") {
                self.expect_word("TO")?;
            }
        } else {
            self.expect_word("TO")?;
        }
        let principals = self.comma_list(|p| match p.accept_word("PUBLIC") {
            true => Ok("public".to_owned()),
            false => p.identifier(),
        })?;
        if self.is_word("WITH") || self.is_word("AS") || self.is_word("CASCADE") {
            return Err(self.unexpected());
        }
        Ok(StatementKind::Security(Security::Permission {
            action,
            permissions,
            securable,
            principals,
        }))
    }

    /// Words up to `ON`, `TO`, `FROM`, a comma or a parenthesis, as in VIEW DATABASE STATE.
    fn permission_name(&mut self) -> Parsed<String> {
        let mut words = Vec::new();
        loop {
            let stop = ["ON", "TO", "FROM"].iter().any(|word| self.is_word(word));
            match self.kind() {
                super::lexer::TokenKind::Word(word) if !stop => {
                    words.push(word.to_ascii_uppercase());
                    self.next();
                }
                _ => break,
            }
        }
        if words.is_empty() {
            return Err(self.unexpected());
        }
        Ok(words.join(" "))
    }

    fn securable(&mut self, columns: Vec<String>) -> Parsed<Securable> {
        if self.accept_words(&["SCHEMA"]) {
            self.expect("::")?;
            return self.identifier().map(Securable::Schema);
        }
        if self.accept_word("DATABASE") {
            self.expect("::")?;
            self.identifier()?;
            return Ok(Securable::Scope);
        }
        if self.accept_word("OBJECT") {
            self.expect("::")?;
        }
        // Columns may stand behind the permission or behind the table.
        let table = self.object_name()?;
        let columns = match columns.is_empty() && self.is("(") {
            true => self.name_list()?,
            false => columns,
        };
        Ok(Securable::Object(table, columns))
    }
}
