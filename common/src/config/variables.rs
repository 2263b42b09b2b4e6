//! `LOCKSTEP_…` variables: which key each sets.
//!
//! A variable under the prefix that is no key is refused: whoever sets `LOCKSTEP_SOURCE_PASSWORD`
//! means something by it.

use std::ffi::OsString;

use toml::{Table, Value};

use super::load::ConfigError;

const PREFIX: &str = "LOCKSTEP_";

/// Variables under the prefix that have a meaning and are no keys. Those of tests are beside them.
const RESERVED: &[&str] = &[
    "CONFIG",
    "DOUBLE",
    "FAIL_POINT",
    "FUZZ_SECONDS",
    "FUZZ_SEED",
    "LOAD_SEED",
    "LOAD_SEEDS",
    "LOG",
    "LOG_FORMAT",
    "SOURCE_URL",
    "TARGET_URL",
    "TYPES_SEED",
];

/// The sections of the file.
const SECTIONS: &[&str] = &["PIPELINE", "SOURCE", "LOG", "HTTP", "CAPTURE", "APPLY"];

/// A key's value from a variable. It has no `Debug`: the text may be a secret.
pub(super) struct Variable {
    /// Its name, as it was given.
    pub(super) name: String,
    /// The key, from the top of the file.
    pub(super) path: Vec<String>,
    /// Its value: text, whatever it looks like.
    pub(super) text: String,
}

/// Variables of the process under the prefix.
///
/// # Errors
/// When one of them is no text.
pub(super) fn of_process() -> Result<Vec<(String, String)>, ConfigError> {
    let ours = |(name, value): (OsString, OsString)| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with(PREFIX).then_some((name, value))
    };
    let text = |(name, value): (String, OsString)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(refused(&name, "its value is not UTF-8")),
    };
    std::env::vars_os().filter_map(ours).map(text).collect()
}

/// Those of `variables` that set keys; `file` says how names in it are written.
///
/// # Errors
/// When a variable under the prefix is no key, or could be two.
pub(super) fn keys(
    file: &Table,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Variable>, ConfigError> {
    let mut found = Vec::new();
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if RESERVED.contains(&rest) || rest.starts_with("TEST_") {
            continue;
        }
        let segments: Vec<&str> = rest.split("__").collect();
        if segments.len() < 2 || segments.iter().any(|segment| segment.is_empty()) {
            return Err(refused(&name, &meant(rest)));
        }
        let path = path(file, &segments).map_err(|message| refused(&name, &message))?;
        if !SECTIONS.contains(&path[0].to_uppercase().as_str()) {
            return Err(refused(&name, "sets no key: there is no such section"));
        }
        found.push(Variable { name, path, text });
    }
    Ok(found)
}

fn refused(name: &str, message: &str) -> ConfigError {
    ConfigError::Parse { origin: format!("variable {name}"), message: message.to_owned() }
}

/// What a variable without a section was probably meant to be.
fn meant(rest: &str) -> String {
    let key = SECTIONS.iter().find_map(|section| {
        let key = rest.strip_prefix(section)?.trim_matches('_');
        (!key.is_empty()).then(|| match (*section, key.split_once('_')) {
            ("APPLY", Some((name, key))) => format!("{PREFIX}APPLY__{name}__{key}"),
            _ => format!("{PREFIX}{section}__{key}"),
        })
    });
    match key {
        Some(key) => {
            format!("sets no key: two underscores go between section and key, as in {key}")
        }
        None => format!(
            "sets no key: write {PREFIX}SECTION__KEY or {PREFIX}APPLY__NAME__KEY, or remove it"
        ),
    }
}

/// The key of a variable's segments. Variables have neither case nor punctuation, so a segment
/// stands for what the file has there, if it has it.
fn path(file: &Table, segments: &[&str]) -> Result<Vec<String>, String> {
    let mut path: Vec<String> = Vec::with_capacity(segments.len());
    let mut at = Some(file);
    for segment in segments {
        let plain = squashed(segment);
        let candidates: Vec<&String> =
            at.into_iter().flat_map(Table::keys).filter(|key| squashed(key) == plain).collect();
        let key = match candidates.as_slice() {
            [] if path == ["log", "properties"] => plain.replace('_', "."),
            [] => plain,
            [key] => (*key).clone(),
            [first, second, ..] => return Err(format!("may mean `{first}` or `{second}`")),
        };
        at = at.and_then(|table| table.get(&key)).and_then(Value::as_table);
        path.push(key);
    }
    Ok(path)
}

fn squashed(key: &str) -> String {
    key.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}
