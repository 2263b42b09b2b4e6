//! Databases, their files and filegroups, partition functions and schemes.

use super::ast::{DatabaseOption, Ddl};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};

/// Options that the catalogue shows and nothing here depends on: their names, the values they may
/// have, the first being that of a new database. Those of ANSI behaviour count for sessions that do
/// not set their own, and every client sets them.
const SHOWN: [(&str, &[&str]); 27] = [
    ("RECOVERY", &["FULL", "SIMPLE", "BULK_LOGGED"]),
    ("PAGE_VERIFY", &["CHECKSUM", "TORN_PAGE_DETECTION", "NONE"]),
    ("AUTO_CLOSE", &["OFF", "ON"]),
    ("AUTO_SHRINK", &["OFF", "ON"]),
    ("AUTO_CREATE_STATISTICS", &["ON", "OFF"]),
    ("AUTO_UPDATE_STATISTICS", &["ON", "OFF"]),
    ("AUTO_UPDATE_STATISTICS_ASYNC", &["OFF", "ON"]),
    ("ANSI_NULL_DEFAULT", &["OFF", "ON"]),
    ("ANSI_NULLS", &["OFF", "ON"]),
    ("ANSI_PADDING", &["OFF", "ON"]),
    ("ANSI_WARNINGS", &["OFF", "ON"]),
    ("ARITHABORT", &["OFF", "ON"]),
    ("CONCAT_NULL_YIELDS_NULL", &["OFF", "ON"]),
    ("NUMERIC_ROUNDABORT", &["OFF", "ON"]),
    ("QUOTED_IDENTIFIER", &["OFF", "ON"]),
    ("RECURSIVE_TRIGGERS", &["OFF", "ON"]),
    ("CURSOR_CLOSE_ON_COMMIT", &["OFF", "ON"]),
    ("CURSOR_DEFAULT", &["GLOBAL", "LOCAL"]),
    ("DATE_CORRELATION_OPTIMIZATION", &["OFF", "ON"]),
    ("TRUSTWORTHY", &["OFF", "ON"]),
    ("DB_CHAINING", &["OFF", "ON"]),
    ("PARAMETERIZATION", &["SIMPLE", "FORCED"]),
    ("HONOR_BROKER_PRIORITY", &["OFF", "ON"]),
    ("DISABLE_BROKER", &["", ""]),
    ("READ_WRITE", &["", ""]),
    ("ONLINE", &["", ""]),
    ("QUERY_STORE", &["OFF", "ON"]),
];

impl Parser<'_> {
    /// After CREATE DATABASE.
    pub(super) fn create_database(&mut self) -> Parsed<Ddl> {
        let name = self.identifier()?;
        if self.accept_word("CONTAINMENT") {
            self.expect("=")?;
            self.expect_word("NONE")?;
        }
        let mut filegroups = Vec::new();
        if self.accept_word("ON") {
            self.accept_word("PRIMARY");
            loop {
                if self.accept_word("FILEGROUP") {
                    filegroups.push(self.identifier()?);
                    self.accept_word("DEFAULT");
                }
                self.file()?;
                if !self.accept(",") {
                    break;
                }
            }
        }
        if self.accept_words(&["LOG", "ON"]) {
            self.comma_list(Self::file)?;
        }
        let collation = match self.accept_word("COLLATE") {
            true => Some(self.collation()?),
            false => None,
        };
        Ok(Ddl::CreateDatabase { name, filegroups, collation })
    }

    /// `(NAME = x, FILENAME = '…', SIZE = 8MB, …)`: there are no files here.
    fn file(&mut self) -> Parsed<()> {
        self.expect("(")?;
        self.comma_list(|p| {
            let known = ["NAME", "NEWNAME", "FILENAME", "SIZE", "MAXSIZE", "FILEGROWTH"];
            if !known.iter().any(|word| p.is_word(word)) {
                return Err(p.unexpected());
            }
            p.next();
            p.expect("=")?;
            match p.next() {
                TokenKind::Number(_) => {
                    // The unit may stand apart.
                    let units = ["KB", "MB", "GB", "TB"];
                    if units.iter().any(|unit| p.is_word(unit)) || p.is("%") {
                        p.next();
                    }
                    Ok(())
                }
                TokenKind::Word(_)
                | TokenKind::Quoted(_)
                | TokenKind::String(_)
                | TokenKind::NString(_) => Ok(()),
                _ => Err(p.unexpected()),
            }
        })?;
        self.expect(")")
    }

    /// After ALTER DATABASE.
    pub(super) fn alter_database(&mut self) -> Parsed<Ddl> {
        let name = match self.accept_word("CURRENT") {
            true => None,
            false => Some(self.identifier()?),
        };
        let options = if self.accept_word("COLLATE") {
            vec![DatabaseOption::Collate(self.collation()?)]
        } else if self.accept_words(&["ADD", "FILEGROUP"]) {
            vec![DatabaseOption::AddFilegroup(self.identifier()?)]
        } else if self.accept_words(&["REMOVE", "FILEGROUP"]) {
            vec![DatabaseOption::RemoveFilegroup(self.identifier()?)]
        } else if self.accept_words(&["ADD", "FILE"])
            || self.accept_words(&["ADD", "LOG", "FILE"])
            || self.accept_words(&["MODIFY", "FILE"])
        {
            self.comma_list(Self::file)?;
            if self.accept_words(&["TO", "FILEGROUP"]) {
                self.space_name()?;
            }
            vec![DatabaseOption::Accepted]
        } else {
            self.expect_word("SET")?;
            let options = self.comma_list(Self::database_option)?;
            // No other session's state stands in the way of these options here.
            if !self.accept_words(&["WITH", "ROLLBACK", "IMMEDIATE"])
                && !self.accept_words(&["WITH", "NO_WAIT"])
                && self.accept_words(&["WITH", "ROLLBACK", "AFTER"])
            {
                self.integer()?;
                self.accept_word("SECONDS");
            }
            options
        };
        Ok(Ddl::AlterDatabase { name, options })
    }

    fn database_option(&mut self) -> Parsed<DatabaseOption> {
        if self.accept_word("ALLOW_SNAPSHOT_ISOLATION") {
            return Ok(DatabaseOption::AllowSnapshot(self.on_or_off()?));
        }
        if self.accept_word("READ_COMMITTED_SNAPSHOT") {
            return Ok(DatabaseOption::ReadCommittedSnapshot(self.on_or_off()?));
        }
        if self.accept_word("COMPATIBILITY_LEVEL") {
            self.expect("=")?;
            return Ok(DatabaseOption::CompatibilityLevel(self.integer()?));
        }
        if self.accept_word("MULTI_USER") {
            return Ok(DatabaseOption::Accepted);
        }
        let Some((name, values)) = SHOWN.iter().find(|(name, _)| self.is_word(name)) else {
            return Err(self.unexpected());
        };
        self.next();
        if values[0].is_empty() {
            return Ok(DatabaseOption::Accepted);
        }
        self.accept("=");
        let value = values.iter().find(|value| self.is_word(value));
        let value = value.ok_or_else(|| self.unexpected())?;
        self.next();
        if *name == "QUERY_STORE" && *value == "ON" {
            return Err(self.unsupported("QUERY_STORE = ON"));
        }
        Ok(DatabaseOption::Shown(name, (*value).to_owned()))
    }

    /// `name (type) AS RANGE [LEFT|RIGHT] FOR VALUES (…)`
    pub(super) fn create_partition_function(&mut self) -> Parsed<Ddl> {
        let name = self.identifier()?;
        self.expect("(")?;
        let (ty, _) = self.declared_type()?;
        if self.is_word("COLLATE") {
            return Err(self.unsupported("COLLATE of a partition function"));
        }
        self.expect(")")?;
        self.expect_word("AS")?;
        self.expect_word("RANGE")?;
        let right = self.one_of(&[("LEFT", false), ("RIGHT", true)]).unwrap_or_default();
        self.expect_word("FOR")?;
        self.expect_word("VALUES")?;
        self.expect("(")?;
        let values = match self.is(")") {
            true => Vec::new(),
            false => self.comma_list(Self::expression)?,
        };
        self.expect(")")?;
        Ok(Ddl::CreatePartitionFunction { name, ty, right, values })
    }

    /// `name AS PARTITION function [ALL] TO (filegroup, …)`
    pub(super) fn create_partition_scheme(&mut self) -> Parsed<Ddl> {
        let name = self.identifier()?;
        self.expect_word("AS")?;
        self.expect_word("PARTITION")?;
        let function = self.identifier()?;
        let all = self.accept_word("ALL");
        self.expect_word("TO")?;
        self.expect("(")?;
        let spaces = self.comma_list(Self::space_name)?;
        self.expect(")")?;
        Ok(Ddl::CreatePartitionScheme { name, function, all, spaces })
    }
}
