//! What is said of a configuration that cannot be read: the key, where it stands, and the right form.
//! Never a value: it may be a secret in the wrong place.

use figment::error::{Actual, Kind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::load::ConfigError;
use super::variables::Variable;

/// Every key in its right form.
pub(super) const EXAMPLE: &str = include_str!("example.toml");

/// The texts that a configuration came from.
pub(super) struct Texts<'t> {
    /// What the file is called.
    pub(super) origin: &'t str,
    pub(super) text: &'t str,
    pub(super) file: &'t DeTable<'t>,
    pub(super) variables: &'t [Variable],
}

/// A file that is not TOML.
pub(super) fn syntax(origin: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map(|span| place(text, span.start)).unwrap_or_default();
    ConfigError::Parse {
        origin: format!("{origin}{place}"),
        message: format!("not TOML: {}", error.message().replace('\n', "; ")),
    }
}

impl Texts<'_> {
    /// A key that is wrong, missing or unknown.
    pub(super) fn wrong(&self, error: &figment::Error) -> ConfigError {
        let mut path = error.path.clone();
        let message = match &error.kind {
            Kind::UnknownField(field, known) => {
                path.push(field.clone());
                format!("unknown key `{}`; known here: {}", path.join("."), known.join(", "))
            }
            Kind::MissingField(field) => {
                path.push(field.to_string());
                let what = if path.len() == 1 { "section" } else { "key" };
                format!("the {what} `{}` is missing{}", path.join("."), write(&path))
            }
            Kind::InvalidType(_, expected)
                if path.len() == 2 && expected.contains("struct Apply") =>
            {
                format!(
                    "`{}` stands in [apply], but each target has a section with a name of its own: \
                     write [apply.main] above its keys",
                    path.join(".")
                )
            }
            kind => format!("key `{}`: {}{}", path.join("."), wrong_value(kind), write(&path)),
        };
        ConfigError::Parse { origin: self.place_of(&path), message }
    }

    /// A number that was taken for a word.
    pub(super) fn number_for_word(&self, path: &[String]) -> ConfigError {
        ConfigError::Parse {
            origin: self.place_of(path),
            message: format!(
                "key `{}`: a number is not understood here{}",
                path.join("."),
                write(path)
            ),
        }
    }

    /// The variable that set the key, or the line of the file.
    fn place_of(&self, path: &[String]) -> String {
        let mut offset = None;
        let mut depth = 0;
        let mut at = Some(self.file);
        for segment in path {
            let Some((key, value)) = at.and_then(|table| {
                table.iter().find(|(key, _)| key.get_ref().as_ref() == segment.as_str())
            }) else {
                break;
            };
            offset = Some(key.span().start);
            depth += 1;
            at = value.get_ref().as_table();
        }
        // The variable that set the key, something below it, or the table that lacks it.
        let of_variable = |variable: &&Variable| {
            variable.path.starts_with(path)
                || path.starts_with(&variable.path)
                || (depth + 1 < path.len() && variable.path.starts_with(&path[..=depth]))
        };
        if let Some(variable) = self.variables.iter().find(of_variable) {
            return format!("variable {}", variable.name);
        }
        let place = offset.map(|offset| place(self.text, offset)).unwrap_or_default();
        format!("{}{place}", self.origin)
    }
}

/// `, line 3, column 8` of a byte.
fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!(", line {line}, column {column}")
}

/// What is wrong with a value, without the value.
fn wrong_value(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.clone(),
        Kind::InvalidType(actual, expected) => {
            format!("{} is not understood here, wanted is {expected}", form(actual))
        }
        Kind::InvalidValue(actual, expected) => {
            format!("{} of this value is not understood, wanted is {expected}", form(actual))
        }
        Kind::InvalidLength(_, expected) => format!("wrong length, wanted is {expected}"),
        Kind::UnknownVariant(given, known) => {
            format!("`{given}` is none of {}", known.join(", "))
        }
        _ => "cannot be read".to_owned(),
    }
}

fn form(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "this",
    }
}

fn write(path: &[String]) -> String {
    example(path).map(|line| format!("; write for example: {line}")).unwrap_or_default()
}

/// The line of [`EXAMPLE`] that sets a key, or begins a section.
pub(super) fn example(path: &[String]) -> Option<&'static str> {
    let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
    if path.first() == Some(&"apply") && path.len() > 1 {
        path[1] = "main";
    }
    let (key, section) = path.split_last()?;
    let whole = format!("[{}]", path.join("."));
    let section = format!("[{}]", section.join("."));
    let mut here = "";
    EXAMPLE.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).find(|line| {
        if line.starts_with('[') {
            here = line;
        }
        let sets = line.split_once(" = ").is_some_and(|(name, _)| name == *key);
        *line == whole || (here == section && sets)
    })
}

/// The keys of the file whose values are numbers.
pub(super) fn numbers(table: &DeTable<'_>) -> Vec<Vec<String>> {
    fn walk(at: &mut Vec<String>, value: &Spanned<DeValue<'_>>, found: &mut Vec<Vec<String>>) {
        match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) => found.push(at.clone()),
            DeValue::Table(table) => each(at, table, found),
            _ => {}
        }
    }
    fn each(at: &mut Vec<String>, table: &DeTable<'_>, found: &mut Vec<Vec<String>>) {
        for (key, value) in table {
            at.push(key.get_ref().to_string());
            walk(at, value, found);
            at.pop();
        }
    }
    let mut found = Vec::new();
    each(&mut Vec::new(), table, &mut found);
    found
}
