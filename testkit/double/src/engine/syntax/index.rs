//! Indexes, and how they and tables are kept.

use super::ast::{AlterIndex, Ddl, IndexDefinition, IndexOptions, ObjectName};
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// After CREATE: `[UNIQUE] [CLUSTERED|NONCLUSTERED] INDEX name ON table (…) …`
    pub(super) fn create_index(&mut self) -> Parsed<Ddl> {
        let unique = self.accept_word("UNIQUE");
        let clustered =
            self.one_of(&[("CLUSTERED", true), ("NONCLUSTERED", false)]).unwrap_or_default();
        self.expect_word("INDEX")?;
        let name = self.identifier()?;
        self.expect_word("ON")?;
        let table = self.object_name()?;
        let columns = self.key_columns()?;
        let index = self.index_rest(unique, clustered, columns)?;
        let drop_existing = index.options.drop_existing;
        Ok(Ddl::CreateIndex { name, table, index, drop_existing })
    }

    /// After `INDEX name` among the columns of a table, or with one of them.
    pub(super) fn inline_index(&mut self, column: Option<&str>) -> Parsed<IndexDefinition> {
        let unique = self.accept_word("UNIQUE");
        let clustered =
            self.one_of(&[("CLUSTERED", true), ("NONCLUSTERED", false)]).unwrap_or_default();
        let columns = match column {
            Some(name) if !self.is("(") => vec![(name.to_owned(), false)],
            _ => self.key_columns()?,
        };
        let index = self.index_rest(unique, clustered, columns)?;
        if index.options.drop_existing {
            return Err(self.unexpected());
        }
        Ok(index)
    }

    fn index_rest(
        &mut self,
        unique: bool,
        clustered: bool,
        columns: Vec<(String, bool)>,
    ) -> Parsed<IndexDefinition> {
        let include = match self.accept_word("INCLUDE") {
            true => self.name_list()?,
            false => Vec::new(),
        };
        let filter = match self.accept_word("WHERE") {
            true => Some(self.condition()?),
            false => None,
        };
        let options = self.index_options()?;
        Ok(IndexDefinition { unique, clustered, columns, include, filter, options })
    }

    pub(super) fn key_columns(&mut self) -> Parsed<Vec<(String, bool)>> {
        self.expect("(")?;
        let columns = self.comma_list(|p| {
            let name = p.identifier()?;
            let descending = p.one_of(&[("ASC", false), ("DESC", true)]).unwrap_or_default();
            Ok((name, descending))
        })?;
        self.expect(")")?;
        Ok(columns)
    }

    /// `[WITH (FILLFACTOR = 80, …)] [ON filegroup | scheme(column)]`; of old the options stand
    /// without parentheses, and those that are switches without a value.
    pub(super) fn index_options(&mut self) -> Parsed<IndexOptions> {
        let mut options = IndexOptions::default();
        if self.is_word("WITH") && *self.kind_after(1) == TokenKind::Symbol("(") {
            self.next();
            self.next();
            self.comma_list(|p| p.index_option(&mut options, true))?;
            self.expect(")")?;
        } else if self.is_word("WITH") && OLD_OPTIONS.iter().any(|word| self.word_after(1, word)) {
            self.next();
            self.comma_list(|p| p.index_option(&mut options, false))?;
        }
        let acts = self.word_after(1, "DELETE") || self.word_after(1, "UPDATE");
        if self.is_word("ON") && !acts {
            self.next();
            let name = self.space_name()?;
            let column = match self.accept("(") {
                true => {
                    let column = self.identifier()?;
                    self.expect(")")?;
                    Some(column)
                }
                false => None,
            };
            options.space = Some((name, column));
        }
        Ok(options)
    }

    /// The name of a filegroup or partition scheme; `"default"` is PRIMARY here.
    pub(super) fn space_name(&mut self) -> Parsed<String> {
        let name = match self.next() {
            TokenKind::Quoted(name) | TokenKind::Word(name) | TokenKind::String(name) => name,
            _ => return Err(self.unexpected()),
        };
        Ok(if name.eq_ignore_ascii_case("default") { "PRIMARY".to_owned() } else { name })
    }

    fn index_option(&mut self, options: &mut IndexOptions, valued: bool) -> Parsed<()> {
        let TokenKind::Word(word) = self.next() else {
            return Err(self.unexpected());
        };
        let word = word.to_ascii_uppercase();
        let switch = |p: &mut Self| match valued {
            true => {
                p.expect("=")?;
                p.on_or_off()
            }
            false => Ok(true),
        };
        match word.as_str() {
            "PAD_INDEX" => options.padded = Some(switch(self)?),
            "ALLOW_ROW_LOCKS" => options.row_locks = Some(switch(self)?),
            "ALLOW_PAGE_LOCKS" => options.page_locks = Some(switch(self)?),
            "OPTIMIZE_FOR_SEQUENTIAL_KEY" => options.sequential = Some(switch(self)?),
            "DROP_EXISTING" => options.drop_existing = switch(self)?,
            "IGNORE_DUP_KEY" => {
                if switch(self)? {
                    return Err(self.unsupported("IGNORE_DUP_KEY = ON"));
                }
            }
            // How statistics are kept and an index is built is not seen afterwards.
            "STATISTICS_NORECOMPUTE"
            | "STATISTICS_INCREMENTAL"
            | "SORT_IN_TEMPDB"
            | "RESUMABLE"
            | "ONLINE" => {
                switch(self)?;
                if word == "ONLINE" && self.accept("(") {
                    self.online_wait()?;
                }
            }
            "MAXDOP" | "MAX_DURATION" => {
                self.expect("=")?;
                self.integer()?;
                self.accept_word("MINUTES");
            }
            "FILLFACTOR" => {
                self.expect("=")?;
                let percent = u8::try_from(self.integer()?).ok().filter(|percent| *percent <= 100);
                options.fill_factor = Some(percent.ok_or_else(|| self.unexpected())?);
            }
            "DATA_COMPRESSION" => {
                self.expect("=")?;
                let kinds = [("NONE", 0), ("ROW", 1), ("PAGE", 2)];
                let kind = self.one_of(&kinds).ok_or_else(|| self.unexpected())?;
                options.compression = Some(kind);
                if self.is_word("ON") {
                    return Err(self.unsupported("ON PARTITIONS"));
                }
            }
            _ => return Err(self.unsupported(&word)),
        }
        Ok(())
    }

    /// `WAIT_AT_LOW_PRIORITY (…))`: nobody waits here.
    fn online_wait(&mut self) -> Parsed<()> {
        self.expect_word("WAIT_AT_LOW_PRIORITY")?;
        self.expect("(")?;
        while !self.accept(")") {
            if self.at_end() {
                return Err(self.unexpected());
            }
            self.next();
        }
        self.expect(")")
    }

    /// `PARTITION = ALL`
    pub(super) fn all_partitions(&mut self) -> Parsed<()> {
        if self.accept_word("PARTITION") {
            self.expect("=")?;
            if !self.accept_word("ALL") {
                return Err(self.unsupported("PARTITION"));
            }
        }
        Ok(())
    }

    pub(super) fn alter_index(&mut self) -> Parsed<Ddl> {
        let name = match self.accept_word("ALL") {
            true => None,
            false => Some(self.identifier()?),
        };
        self.expect_word("ON")?;
        let table = self.object_name()?;
        let action = if self.accept_word("DISABLE") {
            AlterIndex::Disable
        } else if self.accept_word("REBUILD") {
            self.all_partitions()?;
            AlterIndex::Rebuild(self.index_options()?)
        } else if self.accept_word("SET") {
            let mut options = IndexOptions::default();
            self.expect("(")?;
            self.comma_list(|p| p.index_option(&mut options, true))?;
            self.expect(")")?;
            AlterIndex::Set(options)
        } else {
            self.expect_word("REORGANIZE")?;
            self.all_partitions()?;
            if self.accept_words(&["WITH"]) {
                self.expect("(")?;
                self.expect_word("LOB_COMPACTION")?;
                self.expect("=")?;
                self.on_or_off()?;
                self.expect(")")?;
            }
            AlterIndex::Reorganize
        };
        Ok(Ddl::AlterIndex { name, table, action })
    }

    /// `[IF EXISTS] index ON table, …`, or as of old `table.index, …`
    pub(super) fn drop_index(&mut self) -> Parsed<Ddl> {
        let if_exists = self.if_exists();
        let indexes = self.comma_list(|p| {
            let ObjectName { name, schema, database } = p.object_name()?;
            if !p.accept_word("ON") {
                let table = schema.ok_or_else(|| p.unexpected())?;
                return Ok((name, ObjectName { name: table, schema: database, database: None }));
            }
            let table = p.object_name()?;
            p.index_options()?;
            Ok((name, table))
        })?;
        Ok(Ddl::DropIndex { indexes, if_exists })
    }
}

/// Options that may stand behind WITH without parentheses.
const OLD_OPTIONS: [&str; 6] = [
    "FILLFACTOR",
    "PAD_INDEX",
    "IGNORE_DUP_KEY",
    "DROP_EXISTING",
    "STATISTICS_NORECOMPUTE",
    "SORT_IN_TEMPDB",
];
