//! Quoting of identifiers and literals: one function per dialect, and no other place.

use std::borrow::Cow;

/// `[name]` for SQL Server.
pub fn quote_mssql(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A part of a dotted name: in brackets where it could be taken for more than one.
pub fn written_mssql(name: &str) -> Cow<'_, str> {
    if name.contains(['.', '[', ']']) { quote_mssql(name).into() } else { name.into() }
}

/// `N'text'` for SQL Server.
pub fn literal_mssql(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// `"name"` for PostgreSQL.
pub fn quote_postgres(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'` for PostgreSQL; backslashes as they are (`standard_conforming_strings`).
pub fn literal_postgres(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_one_identifier() {
        assert_eq!(quote_mssql("a]b\"c.d é"), "[a]]b\"c.d é]");
        assert_eq!(quote_postgres("a]b\"c.d é"), "\"a]b\"\"c.d é\"");
        assert_eq!(literal_mssql("it's"), "N'it''s'");
        assert_eq!(literal_postgres("it's"), "'it''s'");
        for (name, written) in [("a", "a"), ("a b", "a b"), ("a.b", "[a.b]"), ("a]b", "[a]]b]")] {
            assert_eq!(written_mssql(name), written);
        }
    }
}
