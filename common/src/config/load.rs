//! File, then variables, then checks.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Apply, Config, Prepare, Secret, Source};

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, a key is unknown, or a value has the wrong type.
    #[error("configuration {origin}: {message}")]
    Parse {
        /// Which file or variable.
        origin: String,
        /// What is wrong, with line and column where it is known.
        message: String,
    },
    /// A value is out of its range.
    #[error("configuration key {key}: {message}")]
    Invalid {
        /// Which key.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

/// Reads `path`, lays `LOCKSTEP_…` variables over it and checks the whole.
///
/// # Errors
/// [`ConfigError`] naming the file, the key or the variable.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string(), std::env::vars())
}

/// The same from a text and given variables.
///
/// # Errors
/// As [`load`].
pub fn parse(
    text: &str,
    origin: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let wrong = |message: String| ConfigError::Parse { origin: origin.to_owned(), message };
    // Once on its own, so that an error shows the line of the file.
    let mut table: Table = toml::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let overridden = overlay(&mut table, variables)?;
    let config: Config = if overridden {
        table.try_into().map_err(|e: toml::de::Error| wrong(e.to_string()))?
    } else {
        toml::from_str(text).map_err(|e| wrong(e.to_string()))?
    };
    check(config)
}

/// Variables under the prefix that are not configuration.
const RESERVED: &[&str] =
    &["FAIL_POINT", "CONFIG", "LOG", "LOG_FORMAT", "SOURCE_URL", "TARGET_URL"];

fn overlay(
    table: &mut Table,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<bool, ConfigError> {
    let mut any = false;
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix("LOCKSTEP_") else { continue };
        if RESERVED.contains(&rest) || rest.starts_with("TEST_") || !rest.contains("__") {
            continue;
        }
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        set(table, &path, &value).ok_or_else(|| ConfigError::Parse {
            origin: format!("variable {name}"),
            message: "does not name a key".into(),
        })?;
        any = true;
    }
    Ok(any)
}

fn set(table: &mut Table, path: &[String], text: &str) -> Option<()> {
    let (key, parents) = path.split_last()?;
    let mut at = table;
    for parent in parents {
        let entry = at.entry(parent.clone()).or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut()?;
    }
    // The value keeps the type the file gives it; else TOML's own reading; else text.
    let value = match at.get(key) {
        Some(Value::String(_)) => Value::String(text.to_owned()),
        _ => scalar(text),
    };
    at.insert(key.clone(), value);
    Some(())
}

fn scalar(text: &str) -> Value {
    toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn check(config: Config) -> Result<Config, ConfigError> {
    let invalid = |key: &str, message: &str| {
        Err(ConfigError::Invalid { key: key.to_owned(), message: message.to_owned() })
    };
    let name = &config.pipeline.name;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 200 || !name.chars().all(allowed) {
        return invalid("pipeline.name", "use 1 to 200 letters, digits, `.`, `_` or `-`");
    }
    if config.capture.window_transactions < 2 {
        return invalid("capture.window_transactions", "must be at least 2");
    }
    if config.capture.max_connections == 0 {
        return invalid("capture.max_connections", "must be at least 1");
    }
    if config.capture.page_rows == 0 {
        return invalid("capture.page_rows", "must be at least 1");
    }
    if config.capture.chunk_rows == 0 {
        return invalid("capture.chunk_rows", "must be at least 1");
    }
    if config.capture.load_readers == 0 {
        return invalid("capture.load_readers", "must be at least 1");
    }
    for (name, apply) in &config.apply {
        if apply.memory.as_u64() < 1 << 20 {
            return invalid(&format!("apply.{name}.memory"), "must be at least 1 MiB");
        }
        if apply.load_connections == 0 {
            return invalid(&format!("apply.{name}.load_connections"), "must be at least 1");
        }
        if apply.offset_columns.as_ref().is_some_and(String::is_empty) {
            let message = "is what a name has behind it; leave the key out for no such columns";
            return invalid(&format!("apply.{name}.offset_columns"), message);
        }
        if apply.prepare == Prepare::DropAndCreate && !apply.drop_tables {
            return invalid(
                &format!("apply.{name}.prepare"),
                "\"drop_and_create\" drops target tables with all their rows; set drop_tables = true \
                 beside it to mean it",
            );
        }
    }
    Ok(config)
}

impl Source {
    /// The password, from the configuration or its file; empty when neither is given.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn secret(&self) -> Result<Secret, ConfigError> {
        secret(self.password.as_ref(), self.password_file.as_deref())
    }
}

impl Apply {
    /// The password, from the configuration or its file; empty when neither is given.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn secret(&self) -> Result<Secret, ConfigError> {
        secret(self.password.as_ref(), self.password_file.as_deref())
    }
}

fn secret(inline: Option<&Secret>, file: Option<&Path>) -> Result<Secret, ConfigError> {
    match (inline, file) {
        (Some(secret), _) => Ok(secret.clone()),
        (None, None) => Ok(Secret::new("")),
        (None, Some(path)) => std::fs::read_to_string(path)
            .map(|text| Secret::new(text.trim_end_matches(['\r', '\n'])))
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [pipeline]
        name = "shop"
        [source]
        host = "db1"
        database = "shop"
        user = "lockstep"
        password = "s3cret"
        [log]
        kind = "kafka"
        brokers = "k1:9092"
        properties = { "sasl.password" = "x" }
        [apply.main]
        host = "pg1"
        database = "shop"
        user = "lockstep"
        spool = "spool"
    "#;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn variables_override_the_file() {
        let env = variables(&[
            ("LOCKSTEP_SOURCE__PORT", "1500"),
            ("LOCKSTEP_SOURCE__PASSWORD", "007"),
            ("LOCKSTEP_APPLY__MAIN__SPOOL_BUDGET", "1 GiB"),
            ("LOCKSTEP_CAPTURE__POLL_INTERVAL", "1s"),
            ("LOCKSTEP_FAIL_POINT", "x:1"),
            ("HOME", "/"),
        ]);
        let config = parse(FILE, "test", env).unwrap();
        let source = config.source.unwrap();
        assert_eq!(source.port, 1500);
        assert_eq!(source.password.unwrap().expose(), "007");
        assert_eq!(config.apply["main"].spool_budget.as_u64(), 1 << 30);
        assert_eq!(config.capture.poll_interval.as_secs(), 1);
    }

    #[test]
    fn unknown_keys_are_named() {
        let wrong = FILE.replace("host = \"pg1\"", "host = \"pg1\"\nhosst = 1");
        let message = parse(&wrong, "test", []).unwrap_err().to_string();
        assert!(message.contains("hosst"), "{message}");
        let env = variables(&[("LOCKSTEP_SOURCE__PROT", "1")]);
        let message = parse(FILE, "test", env).unwrap_err().to_string();
        assert!(message.contains("prot"), "{message}");
    }

    #[test]
    fn tables_are_dropped_only_for_somebody_who_says_so_twice() {
        let drop = FILE.replace("host = \"pg1\"", "host = \"pg1\"\nprepare = \"drop_and_create\"");
        let message = parse(&drop, "test", []).unwrap_err().to_string();
        assert!(message.contains("apply.main.prepare") && message.contains("drop_tables"));
        let meant = drop.replace("host = \"pg1\"", "host = \"pg1\"\ndrop_tables = true");
        assert_eq!(
            parse(&meant, "test", []).unwrap().apply["main"].prepare,
            Prepare::DropAndCreate
        );
        let env = variables(&[("LOCKSTEP_CAPTURE__CHUNK_ROWS", "0")]);
        assert!(parse(FILE, "test", env).unwrap_err().to_string().contains("capture.chunk_rows"));
    }

    #[test]
    fn types_are_mapped_by_names_that_have_dots_and_brackets() {
        let mapped = FILE.to_owned()
            + "key_collation = \"icu\"\ninvalid_text = \"replace\"\noffset_columns = \"_offset\"\n\
               [apply.main.types]\n\"datetime2(7)\" = \"text\"\nrowversion = \"bigint\"\n\
               [apply.main.columns]\n\"dbo.orders.note\" = \"citext\"\n";
        let config = parse(&mapped, "test", []).unwrap();
        let apply = &config.apply["main"];
        assert_eq!(apply.types["datetime2(7)"], "text");
        assert_eq!(apply.columns["dbo.orders.note"], "citext");
        assert_eq!(apply.offset_columns.as_deref(), Some("_offset"));
        assert_eq!(apply.key_collation, crate::config::KeyCollation::Icu);
        assert_eq!(apply.invalid_text, crate::config::InvalidText::Replace);
        let empty = FILE.to_owned() + "offset_columns = \"\"\n";
        assert!(parse(&empty, "test", []).unwrap_err().to_string().contains("offset_columns"));
        let wrong = FILE.to_owned() + "key_collation = \"nocase\"\n";
        assert!(parse(&wrong, "test", []).unwrap_err().to_string().contains("nocase"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = parse(FILE, "test", []).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        assert!(!toml::to_string(&config).unwrap().contains("s3cret"));
    }
}
