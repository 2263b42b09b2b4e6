//! File, then variables, then checks.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use toml::Table;
use toml::de::DeTable;

use super::explain::{self, Texts};
use super::transport;
use super::variables::{self, Variable};
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
/// A variable is text: it becomes a number, a boolean, a list or a table where its key is one, and a
/// secret is what it says, sign by sign.
///
/// # Errors
/// [`ConfigError`] naming the file, the key or the variable.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string(), variables::of_process()?)
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
    let syntax = |error: toml::de::Error| explain::syntax(origin, text, &error);
    let places = DeTable::parse(text).map_err(syntax)?;
    let file: Table = toml::from_str(text).map_err(syntax)?;
    let variables = variables::keys(&file, variables)?;
    let texts = Texts { origin, text, file: places.get_ref(), variables: &variables };
    let config: Config = variables
        .iter()
        .fold(Figment::from(Serialized::defaults(&file)), |figment, variable| {
            figment.merge(Serialized::defaults(nested(variable)))
        })
        .extract_lossy()
        .map_err(|error| texts.wrong(&error))?;
    words_are_text(&config, &texts)?;
    check(config)
}

/// A variable's value at the end of its path.
fn nested(variable: &Variable) -> Value {
    variable.path.iter().rev().fold(Value::from(variable.text.as_str()), |value, key| {
        Value::from(Dict::from([(key.clone(), value)]))
    })
}

/// Refuses `encrypt = 1`, which the library takes for the second word that may stand there.
fn words_are_text(config: &Config, texts: &Texts<'_>) -> Result<(), ConfigError> {
    let read = serde_json::to_value(config).unwrap_or_default();
    let is_word = |path: &&Vec<String>| {
        let value = path.iter().try_fold(&read, |at, key| at.get(key));
        let word = value.and_then(serde_json::Value::as_str);
        word.is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    match explain::numbers(texts.file).iter().find(is_word) {
        Some(path) => Err(texts.number_for_word(path)),
        None => Ok(()),
    }
}

/// Connections of one kind that a service may have: each is a process of the server and a descriptor
/// here, and far fewer are of any use.
const MOST_CONNECTIONS: usize = 128;

fn too_many_connections() -> String {
    format!("is at most {MOST_CONNECTIONS}: more do not make anything faster")
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
    if let Some((key, message)) = config.source.as_ref().and_then(super::source::wrong) {
        return invalid(key, &message);
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
    for (key, count) in [
        ("capture.max_connections", config.capture.max_connections),
        ("capture.load_readers", config.capture.load_readers),
    ] {
        if count > MOST_CONNECTIONS {
            return invalid(key, &too_many_connections());
        }
    }
    for (name, apply) in &config.apply {
        for (key, count) in
            [("connections", apply.connections.get()), ("load_connections", apply.load_connections)]
        {
            if count > MOST_CONNECTIONS {
                return invalid(&format!("apply.{name}.{key}"), &too_many_connections());
            }
        }
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
    if let Some((key, message)) = transport::contradiction(&config) {
        return invalid(&key, message);
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
