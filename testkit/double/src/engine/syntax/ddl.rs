//! Definitions: databases, schemas, tables, indexes.

use super::ast::{
    AlterTable, ColumnContent, ColumnDefinition, ConstraintContent, ConstraintDefinition, Ddl,
    DefaultDefinition, Enabling, ForeignKeyDefinition, IndexOptions, ObjectName, SourceText,
    StatementKind,
};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};
use crate::storage::{ColumnTraits, ReferentialAction};

impl Parser<'_> {
    /// After CREATE, for what this module defines.
    pub fn create(&mut self) -> Parsed<StatementKind> {
        if let Some(module) = self.module(false)? {
            return Ok(module);
        }
        if let Some(policy) = self.security_policy(true)? {
            return Ok(StatementKind::Ddl(policy));
        }
        let ddl = if self.accept_word("DATABASE") {
            self.create_database()?
        } else if self.accept_word("SCHEMA") {
            let name = self.identifier()?;
            let owner = match self.accept_word("AUTHORIZATION") {
                true => Some(self.identifier()?),
                false => None,
            };
            Ddl::CreateSchema { name, owner }
        } else if self.accept_word("TABLE") {
            self.create_table()?
        } else if self.accept_words(&["PARTITION", "FUNCTION"]) {
            self.create_partition_function()?
        } else if self.accept_words(&["PARTITION", "SCHEME"]) {
            self.create_partition_scheme()?
        } else if self.accept_word("SEQUENCE") {
            let (name, options) = self.sequence(false)?;
            Ddl::CreateSequence { name, options }
        } else if self.accept_word("TYPE") {
            self.create_type()?
        } else if self.accept_word("LOGIN") {
            return self.create_login();
        } else if self.accept_word("USER") {
            return self.create_user();
        } else if self.accept_word("ROLE") {
            return self.create_role();
        } else {
            self.create_index()?
        };
        Ok(StatementKind::Ddl(ddl))
    }

    /// `TYPE name FROM base [NULL | NOT NULL]`
    fn create_type(&mut self) -> Parsed<Ddl> {
        let name = self.object_name()?;
        if self.is_word("AS") || self.is_word("EXTERNAL") {
            return Err(self.unsupported("table type"));
        }
        self.expect_word("FROM")?;
        let (ty, _) = self.declared_type()?;
        let nullable = match self.accept_words(&["NOT", "NULL"]) {
            true => false,
            false => {
                self.accept_word("NULL");
                true
            }
        };
        Ok(Ddl::CreateType { name, ty, nullable })
    }

    fn create_table(&mut self) -> Parsed<Ddl> {
        let name = self.object_name()?;
        self.expect("(")?;
        let (columns, constraints) = self.table_elements(|p| p.is(")"))?;
        self.expect(")")?;
        // WITH and ON may stand in either order.
        let mut options = self.index_options()?;
        let lob_space = match self.accept_word("TEXTIMAGE_ON") {
            true => Some(self.space_name()?),
            false => None,
        };
        if self.is_word("WITH") && *self.kind_after(1) == TokenKind::Symbol("(") {
            let space = options.space.take();
            options = IndexOptions { space, ..self.index_options()? };
        }
        Ok(Ddl::CreateTable { name, columns, constraints, options, lob_space })
    }

    pub(super) fn table_elements(
        &mut self,
        done: impl Fn(&Self) -> bool,
    ) -> Parsed<(Vec<ColumnDefinition>, Vec<ConstraintDefinition>)> {
        let (mut columns, mut constraints) = (Vec::new(), Vec::new());
        loop {
            if let Some(constraint) = self.constraint(None)? {
                constraints.push(constraint);
            } else {
                columns.push(self.column_definition()?);
            }
            let more = self.accept(",");
            if !more || done(self) {
                return Ok((columns, constraints));
            }
        }
    }

    fn column_definition(&mut self) -> Parsed<ColumnDefinition> {
        let name = self.identifier()?;
        let content = if self.accept_word("AS") {
            let text = self.source_text(Self::expression)?;
            let persisted = self.accept_word("PERSISTED");
            ColumnContent::Computed { text, persisted }
        } else {
            let (ty, user_type) = self.aliased_type()?;
            ColumnContent::Stored { ty, user_type }
        };
        let mut column = ColumnDefinition {
            name,
            content,
            nullable: None,
            collation: None,
            mask: None,
            identity: None,
            default: None,
            constraints: Vec::new(),
            traits: ColumnTraits::default(),
        };
        while self.column_property(&mut column)? {}
        Ok(column)
    }

    fn column_property(&mut self, column: &mut ColumnDefinition) -> Parsed<bool> {
        if self.accept_words(&["NOT", "NULL"]) {
            column.nullable = Some(false);
        } else if self.accept_word("NULL") {
            column.nullable = Some(true);
        } else if self.accept_word("COLLATE") {
            column.collation = Some(self.collation()?);
        } else if self.is_word("MASKED") {
            column.mask = Some(self.mask()?);
        } else if self.accept_word("IDENTITY") {
            column.identity = Some(self.identity()?);
        } else if self.accept_word("ROWGUIDCOL") {
            column.traits.row_guid = true;
        } else if self.accept_word("SPARSE") {
            column.traits.sparse = true;
        } else if column.identity.is_some() && self.accept_words(&["NOT", "FOR", "REPLICATION"]) {
            column.traits.not_for_replication = true;
        } else {
            let mark = self.mark();
            let name = match self.accept_word("CONSTRAINT") {
                true => Some(self.identifier()?),
                false => None,
            };
            if self.accept_word("DEFAULT") {
                let value = self.source_text(Self::expression)?;
                let for_rows = self.accept_words(&["WITH", "VALUES"]);
                column.default = Some(DefaultDefinition { name, value, for_rows });
                return Ok(true);
            }
            self.reset(mark);
            match self.constraint(Some(&column.name))? {
                Some(constraint) => column.constraints.push(constraint),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// `MASKED WITH (FUNCTION = '…')`
    fn mask(&mut self) -> Parsed<String> {
        self.expect_word("MASKED")?;
        self.expect_word("WITH")?;
        self.expect("(")?;
        self.expect_word("FUNCTION")?;
        self.expect("=")?;
        let function = self.string()?;
        self.expect(")")?;
        Ok(function)
    }

    fn identity(&mut self) -> Parsed<(i64, i64)> {
        if !self.accept("(") {
            return Ok((1, 1));
        }
        let seed = self.integer()?;
        self.expect(",")?;
        let increment = self.integer()?;
        self.expect(")")?;
        if increment == 0 {
            return Err(self.unexpected());
        }
        Ok((seed, increment))
    }

    /// Runs `parse` and keeps what it found as the catalogue shows it.
    fn source_text(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Parsed<super::ast::Expr>,
    ) -> Parsed<SourceText> {
        let value = parse(self)?;
        Ok(SourceText { text: super::normal::definition(&value), value })
    }

    /// A constraint, of `column` where it is written with one; `None` if none starts here.
    fn constraint(&mut self, column: Option<&str>) -> Parsed<Option<ConstraintDefinition>> {
        if self.accept_word("INDEX") {
            let name = Some(self.identifier()?);
            let content = ConstraintContent::Index(self.inline_index(column)?);
            return Ok(Some(ConstraintDefinition { name, content }));
        }
        let name = match self.accept_word("CONSTRAINT") {
            true => Some(self.identifier()?),
            false => None,
        };
        let content = if self.accept_words(&["PRIMARY", "KEY"]) {
            self.key_constraint(true, column)?
        } else if self.accept_word("UNIQUE") {
            self.key_constraint(false, column)?
        } else if self.is_word("FOREIGN") || (column.is_some() && self.is_word("REFERENCES")) {
            self.foreign_key(column)?
        } else if self.accept_word("CHECK") {
            let not_for_replication = self.accept_words(&["NOT", "FOR", "REPLICATION"]);
            self.expect("(")?;
            let text = self.source_text(Self::condition)?;
            self.expect(")")?;
            ConstraintContent::Check { text, not_for_replication }
        } else if column.is_none() && name.is_some() && self.accept_word("DEFAULT") {
            self.default_for()?
        } else if column.is_none() && self.is_word("DEFAULT") {
            self.next();
            self.default_for()?
        } else if name.is_some() {
            return Err(self.unexpected());
        } else {
            return Ok(None);
        };
        Ok(Some(ConstraintDefinition { name, content }))
    }

    fn default_for(&mut self) -> Parsed<ConstraintContent> {
        let value = self.source_text(Self::expression)?;
        self.expect_word("FOR")?;
        let column = self.identifier()?;
        Ok(ConstraintContent::Default { column, value })
    }

    fn key_constraint(&mut self, primary: bool, column: Option<&str>) -> Parsed<ConstraintContent> {
        let clustered = self.one_of(&[("CLUSTERED", true), ("NONCLUSTERED", false)]);
        let columns = match column {
            // Columns in parentheses make it the table's: a comma before it may be missing.
            Some(name) if !self.is("(") => vec![(name.to_owned(), false)],
            _ => self.key_columns()?,
        };
        let options = self.index_options()?;
        Ok(ConstraintContent::Key { primary, clustered, columns, options })
    }

    fn foreign_key(&mut self, column: Option<&str>) -> Parsed<ConstraintContent> {
        let columns = if self.accept_words(&["FOREIGN", "KEY"]) {
            match column {
                Some(name) if !self.is("(") => vec![name.to_owned()],
                _ => self.name_list()?,
            }
        } else {
            column.map(str::to_owned).into_iter().collect()
        };
        self.expect_word("REFERENCES")?;
        let table = self.object_name()?;
        let referenced = match self.is("(") {
            true => self.name_list()?,
            false => Vec::new(),
        };
        let (mut on_delete, mut on_update) = (None, None);
        while self.is_word("ON") && (self.word_after(1, "DELETE") || self.word_after(1, "UPDATE")) {
            self.next();
            let action = match self.accept_word("DELETE") {
                true => &mut on_delete,
                false => {
                    self.expect_word("UPDATE")?;
                    &mut on_update
                }
            };
            if action.is_some() {
                return Err(self.unexpected());
            }
            *action = Some(self.referential_action()?);
        }
        let not_for_replication = self.accept_words(&["NOT", "FOR", "REPLICATION"]);
        Ok(ConstraintContent::ForeignKey(ForeignKeyDefinition {
            columns,
            table,
            referenced,
            on_delete: on_delete.unwrap_or(ReferentialAction::NoAction),
            on_update: on_update.unwrap_or(ReferentialAction::NoAction),
            not_for_replication,
        }))
    }

    fn referential_action(&mut self) -> Parsed<ReferentialAction> {
        if self.accept_words(&["NO", "ACTION"]) {
            Ok(ReferentialAction::NoAction)
        } else if self.accept_word("CASCADE") {
            Ok(ReferentialAction::Cascade)
        } else if self.accept_words(&["SET", "NULL"]) {
            Ok(ReferentialAction::SetNull)
        } else if self.accept_words(&["SET", "DEFAULT"]) {
            Ok(ReferentialAction::SetDefault)
        } else {
            Err(self.unexpected())
        }
    }

    /// After DROP.
    pub fn drop_object(&mut self) -> Parsed<StatementKind> {
        if let Some(ddl) = self.drop_module()? {
            return Ok(StatementKind::Ddl(ddl));
        }
        let ddl = if self.accept_words(&["PARTITION", "FUNCTION"]) {
            Ddl::DropPartitionFunction(self.identifier()?)
        } else if self.accept_words(&["PARTITION", "SCHEME"]) {
            Ddl::DropPartitionScheme(self.identifier()?)
        } else if self.accept_word("DATABASE") {
            let if_exists = self.if_exists();
            let names = self.comma_list(Self::identifier)?;
            Ddl::DropDatabase { names, if_exists }
        } else if self.accept_word("SCHEMA") {
            let if_exists = self.if_exists();
            let name = self.identifier()?;
            Ddl::DropSchema { name, if_exists }
        } else if self.accept_words(&["SECURITY", "POLICY"]) {
            let if_exists = self.if_exists();
            let name = self.object_name()?;
            Ddl::DropPolicy { name, if_exists }
        } else if self.accept_word("TYPE") {
            let if_exists = self.if_exists();
            let name = self.object_name()?;
            Ddl::DropType { name, if_exists }
        } else if self.accept_word("TABLE") {
            let if_exists = self.if_exists();
            let names = self.comma_list(Self::object_name)?;
            Ddl::DropTable { names, if_exists }
        } else if self.accept_word("INDEX") {
            self.drop_index()?
        } else {
            return self.drop_principal();
        };
        Ok(StatementKind::Ddl(ddl))
    }

    /// `IF EXISTS`
    pub fn if_exists(&mut self) -> bool {
        self.accept_words(&["IF", "EXISTS"])
    }

    /// After ALTER.
    pub fn alter(&mut self) -> Parsed<StatementKind> {
        if let Some(module) = self.module(true)? {
            return Ok(module);
        }
        if let Some(policy) = self.security_policy(false)? {
            return Ok(StatementKind::Ddl(policy));
        }
        let ddl = if self.accept_word("TABLE") {
            let table = self.object_name()?;
            let action = self.alter_table()?;
            Ddl::AlterTable { table, action }
        } else if self.accept_word("DATABASE") {
            self.alter_database()?
        } else if self.accept_word("SEQUENCE") {
            let (name, options) = self.sequence(true)?;
            Ddl::AlterSequence { name, options }
        } else if self.accept_word("INDEX") {
            self.alter_index()?
        } else {
            return self.alter_principal();
        };
        Ok(StatementKind::Ddl(ddl))
    }

    /// `ALL`, or names of constraints.
    fn constraint_names(&mut self) -> Parsed<Option<Vec<String>>> {
        if self.accept_word("ALL") {
            return Ok(None);
        }
        self.comma_list(Self::identifier).map(Some)
    }

    /// `ADD|DROP` of what else a column is.
    fn altered_trait(&mut self) -> Option<(ColumnTraits, bool)> {
        let mark = self.mark();
        let on = match () {
            () if self.is_word("ADD") => true,
            () if self.is_word("DROP") => false,
            () => return None,
        };
        self.next();
        let none = ColumnTraits::default();
        let which = match () {
            () if self.accept_word("ROWGUIDCOL") => ColumnTraits { row_guid: true, ..none },
            () if self.accept_word("SPARSE") => ColumnTraits { sparse: true, ..none },
            () if self.accept_words(&["NOT", "FOR", "REPLICATION"]) => {
                ColumnTraits { not_for_replication: true, ..none }
            }
            () => {
                self.reset(mark);
                return None;
            }
        };
        Some((which, on))
    }

    fn alter_table(&mut self) -> Parsed<AlterTable> {
        let checks = if self.accept_words(&["WITH", "CHECK"]) {
            Some(true)
        } else {
            self.accept_words(&["WITH", "NOCHECK"]).then_some(false)
        };
        if self.accept_word("ADD") {
            let (columns, constraints) = self.table_elements(|_| false)?;
            // New constraints are checked unless told otherwise.
            return Ok(AlterTable::Add { columns, constraints, checked: checks.unwrap_or(true) });
        }
        if self.accept_words(&["CHECK", "CONSTRAINT"]) {
            let names = self.constraint_names()?;
            // Old ones that are enabled again are not.
            let enable = Enabling::On { checked: checks.unwrap_or(false) };
            return Ok(AlterTable::Constraints { names, enable });
        }
        if self.accept_words(&["NOCHECK", "CONSTRAINT"]) {
            let names = self.constraint_names()?;
            return Ok(AlterTable::Constraints { names, enable: Enabling::Off });
        }
        if checks.is_some() {
            return Err(self.unexpected());
        }
        if self.accept_word("REBUILD") {
            self.all_partitions()?;
            return Ok(AlterTable::Rebuild(self.index_options()?));
        }
        if self.accept_word("SWITCH") {
            if self.is_word("PARTITION") {
                return Err(self.unsupported("PARTITION"));
            }
            self.expect_word("TO")?;
            let target = self.object_name()?;
            if self.is_word("PARTITION") || self.is_word("WITH") {
                return Err(self.unexpected());
            }
            return Ok(AlterTable::Switch { target });
        }
        if self.accept_words(&["ALTER", "COLUMN"]) {
            let name = self.identifier()?;
            if let Some((which, on)) = self.altered_trait() {
                return Ok(AlterTable::AlterTrait { name, which, on });
            }
            if self.accept_word("ADD") {
                let function = Some(self.mask()?);
                return Ok(AlterTable::Mask { name, function });
            }
            if self.accept_words(&["DROP", "MASKED"]) {
                return Ok(AlterTable::Mask { name, function: None });
            }
            let (ty, user_type) = self.aliased_type()?;
            let collation = match self.accept_word("COLLATE") {
                true => Some(self.collation()?),
                false => None,
            };
            let mask = match self.is_word("MASKED") {
                true => Some(self.mask()?),
                false => None,
            };
            let nullable = if self.accept_words(&["NOT", "NULL"]) {
                Some(false)
            } else {
                self.accept_word("NULL").then_some(true)
            };
            return Ok(AlterTable::AlterColumn { name, ty, user_type, nullable, collation, mask });
        }
        self.expect_word("DROP")?;
        if self.accept_word("COLUMN") {
            let if_exists = self.if_exists();
            let names = self.comma_list(Self::identifier)?;
            return Ok(AlterTable::DropColumns { names, if_exists });
        }
        self.accept_word("CONSTRAINT");
        let if_exists = self.if_exists();
        let names = self.comma_list(Self::identifier)?;
        Ok(AlterTable::DropConstraints { names, if_exists })
    }

    /// A table by name, for statements that name nothing else.
    pub fn truncate(&mut self) -> Parsed<StatementKind> {
        self.expect_word("TABLE")?;
        let table: ObjectName = self.object_name()?;
        if self.is_word("WITH") {
            return Err(self.unsupported("PARTITIONS"));
        }
        Ok(StatementKind::Truncate(table))
    }
}
