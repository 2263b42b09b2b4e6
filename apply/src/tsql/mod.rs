//! The expression translator: T-SQL expressions of defaults, checks, computed columns and filters.
//!
//! [`parse`] reads an expression, [`types`] says what SQL Server takes its parts for, [`postgres`]
//! writes it for PostgreSQL. It knows T-SQL and PostgreSQL's SQL, and nothing of how a target is
//! named or made: who uses it says which columns there are ([`Scope`]).
//!
//! A translation means the same for every value that the target can hold, or there is none: what is
//! not known to be the same is refused, with the reason. `docs/full-load.md` ("What is translated")
//! lists what is known; a test holds the list against this module.
//!
//! What it looks after:
//!
//! - **Text.** SQL Server compares text by a collation and takes trailing blanks for nothing; its
//!   lengths count UTF-16 units or bytes. Only binary collations compare as PostgreSQL can, and only
//!   some text is counted in characters ([`types::Text`]). `char(n)` is padded there; here its
//!   padding is put back where it counts.
//! - **Numbers.** Integers divide to integers and bits are numbers in both; the scale of a quotient of
//!   decimals is not (refused); an exact number meets a floating one only where nothing is rounded.
//! - **Times.** Constants must not depend on a session's language; the seventh fractional digit is
//!   cut in the target, so that only comparisons that cannot notice are translated.
//! - **The clock and chance** have a place in defaults only: a check or a computed column that looks
//!   at them would judge a row differently when it is applied later.
//! - **Failure.** A computed column that the source does not store is evaluated when it is read; here
//!   it is evaluated when its row is written. One that could fail (a division) is refused.
//!   (Overflow of an integer sum, difference or product is the exception: it would stop the row.)

mod parse;
mod postgres;
#[cfg(test)]
mod tests;
mod token;
mod types;

use std::collections::HashMap;

use lockstep_common::model::name::literal_postgres;
use lockstep_common::{Column, LogicalType};

use parse::Expr;
use postgres::Translator;
use types::{Text, Ty};

/// Why an expression is not translated.
pub(crate) type Refusal = String;

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A default: evaluated when a row is inserted by somebody else than apply.
    Default,
    /// A check.
    Check,
    /// A computed column.
    Computed {
        /// The source stores it.
        persisted: bool,
    },
    /// A filter of an index.
    Filter,
}

/// A value in PostgreSQL's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// An expression that can stand anywhere.
    pub(crate) sql: String,
    /// In what it differs.
    pub(crate) note: Option<String>,
}

/// What an expression may name.
#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    /// By source name.
    columns: HashMap<&'a str, (String, &'a Column)>,
    /// Columns that the target does not have.
    absent: Vec<String>,
    /// Columns whose type is not what the source's would be by itself.
    mapped: Vec<&'a str>,
    /// No column at all.
    bare: bool,
}

impl<'a> Scope<'a> {
    /// Columns of the source, each with its quoted name in the target and whether the target's type
    /// for it is another than the one that expressions are translated for.
    pub(crate) fn new(columns: impl IntoIterator<Item = (&'a Column, String, bool)>) -> Self {
        let mut scope =
            Scope { columns: HashMap::new(), absent: Vec::new(), mapped: Vec::new(), bare: false };
        for (column, quoted, mapped) in columns {
            scope.columns.insert(column.name.as_str(), (quoted, column));
            if mapped {
                scope.mapped.push(column.name.as_str());
            }
        }
        scope
    }

    /// Whether a column's type is the one that expressions are translated for.
    fn is_mapped(&self, column: &Column) -> bool {
        self.mapped.contains(&column.name.as_str())
    }

    /// A column as an operand.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn operand(&self, name: &str) -> Result<(String, &'a Column), Refusal> {
        let found = self.column(name)?;
        if self.is_mapped(found.1) {
            return Err(format!("the type of {name} is mapped to another one"));
        }
        Ok(found)
    }

    /// Takes a column out.
    pub(crate) fn leave_out(&mut self, name: &str) {
        self.absent.push(name.to_owned());
    }

    /// The same without any column.
    pub(crate) fn without_columns(&self) -> Self {
        Scope { bare: true, ..self.clone() }
    }

    /// A column by its source name: quoted for the target, and what it is in the source.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn column(&self, name: &str) -> Result<(String, &'a Column), Refusal> {
        if self.bare {
            return Err(format!("the name {name} is not translated"));
        }
        let mut alike = self.columns.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let found = match (self.columns.get_key_value(name), alike.next(), alike.next()) {
            (Some(found), ..) | (None, Some(found), None) => found,
            _ => return Err(format!("there is no column {name}")),
        };
        if self.absent.iter().any(|absent| absent == found.0) {
            return Err(format!("computed column {name} is not in the target"));
        }
        Ok(found.1.clone())
    }
}

/// Translates a condition.
///
/// # Errors
/// Why it is not translated.
pub(crate) fn condition(
    text: &str,
    scope: &Scope<'_>,
    purpose: Purpose,
) -> Result<String, Refusal> {
    let translator = Translator::new(scope, purpose);
    let sql = translator.condition(&parse::parse(text)?)?;
    translator.admit()?;
    Ok(sql)
}

/// Translates a value to be stored in `column`.
///
/// # Errors
/// Why it is not translated.
pub(crate) fn value(
    text: &str,
    scope: &Scope<'_>,
    purpose: Purpose,
    column: &Column,
) -> Result<Made, Refusal> {
    let expr = parse::parse(text)?;
    if expr == Expr::Null {
        return Ok(Made { sql: "NULL".to_owned(), note: None });
    }
    let text = matches!(column.ty, LogicalType::String { fixed: false, .. });
    if scope.is_mapped(column) && !(text && matches!(expr, Expr::Text { .. })) {
        return Err("its column's type is mapped to another one".to_owned());
    }
    // Types that are no part of any expression may have a constant text.
    if let (LogicalType::String { max: None, .. }, Expr::Text { value, .. }) = (&column.ty, &expr) {
        return Ok(Made { sql: literal_text(value)?, note: None });
    }
    let translator = Translator::new(scope, purpose);
    let value = translator.value(&expr)?;
    // A computed column's type is the one that the source gave its expression: nothing is narrowed
    // on the way into it.
    let computed = matches!(purpose, Purpose::Computed { .. });
    if computed {
        translator.admit()?;
    }
    let sql = translator.store(value, &Ty::of(column)?)?;
    if !computed {
        translator.admit()?;
    }
    let note = translator
        .is_local()
        .then(|| "the local time of the session here, of the server in the source".to_owned());
    Ok(Made { sql, note })
}

/// A text constant.
fn literal_text(value: &str) -> Result<String, Refusal> {
    if value.contains('\0') {
        return Err("PostgreSQL stores no U+0000".to_owned());
    }
    Ok(literal_postgres(value))
}

/// Whether a column's text is compared by code alone.
pub(crate) fn is_binary_text(column: &Column) -> bool {
    let collation = column.collation.clone();
    Text { unicode: false, max: None, fixed: false, collation }.binary()
}

/// Whether a column's text is UTF-16.
pub(crate) fn is_unicode(column: &Column) -> bool {
    matches!(types::base_name(&column.source_type).as_str(), "nchar" | "nvarchar" | "sysname")
}
