//! Quoting of identifiers and literals: one function per dialect, and no other place.

/// `[name]` for SQL Server.
pub fn quote_mssql(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
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
    }
}
