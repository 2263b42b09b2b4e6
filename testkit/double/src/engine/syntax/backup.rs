//! BACKUP and RESTORE of whole databases.

use super::ast::StatementKind;
use super::lexer::TokenKind;
use super::parser::{Parsed, Parser};

impl Parser<'_> {
    /// After BACKUP.
    pub fn backup(&mut self) -> Parsed<StatementKind> {
        self.expect_word("DATABASE")?;
        let database = self.identifier()?;
        self.expect_word("TO")?;
        let file = self.disk()?;
        // Each backup is a file of its own, always whole.
        self.options(&["INIT", "FORMAT", "COPY_ONLY", "COMPRESSION", "CHECKSUM", "SKIP"])?;
        Ok(StatementKind::Backup { database, file })
    }

    /// After RESTORE.
    pub fn restore(&mut self) -> Parsed<StatementKind> {
        self.expect_word("DATABASE")?;
        let database = self.identifier()?;
        self.expect_word("FROM")?;
        let file = self.disk()?;
        let given = self.options(&["REPLACE", "KEEP_CDC", "RECOVERY", "CHECKSUM"])?;
        let has = |word: &str| given.iter().any(|known| known == word);
        Ok(StatementKind::Restore {
            database,
            file,
            keep_cdc: has("KEEP_CDC"),
            replace: has("REPLACE"),
        })
    }

    fn disk(&mut self) -> Parsed<super::ast::Expr> {
        self.expect_word("DISK")?;
        self.expect("=")?;
        self.expression()
    }

    /// `WITH a, STATS = 5, b`: the known words among them, upper case.
    fn options(&mut self, known: &[&str]) -> Parsed<Vec<String>> {
        if !self.accept_word("WITH") {
            return Ok(Vec::new());
        }
        let words = self.comma_list(|p| {
            if p.accept_word("STATS") {
                p.expect("=")?;
                p.integer()?;
                return Ok(String::new());
            }
            match p.kind().clone() {
                TokenKind::Word(word) if known.iter().any(|w| w.eq_ignore_ascii_case(&word)) => {
                    p.next();
                    Ok(word.to_ascii_uppercase())
                }
                _ => Err(p.unexpected()),
            }
        })?;
        Ok(words)
    }
}
