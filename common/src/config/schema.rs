//! `schemas/lockstep.schema.json` and the table of keys in README come from the types of the configuration:
//! types, defaults and doc comments. `UPDATE=1` writes both.

use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

const BEGIN: &str = "<!-- keys -->\n";
const END: &str = "<!-- end of keys -->\n";

fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    schema["title"] = "lockstep.toml".into();
    schema
}

/// A row of the table.
struct Row {
    key: String,
    default: String,
    meaning: String,
}

/// The keys below `path`, in the order of their fields.
fn rows(path: &str, schema: &Value, rows_: &mut Vec<Row>) {
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    for (name, property) in &properties {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if let Some(kinds) = property["oneOf"].as_array().filter(|_| name == "log") {
            let names: Vec<&str> = kinds
                .iter()
                .filter_map(|kind| kind["properties"]["kind"]["const"].as_str())
                .collect();
            rows_.push(Row {
                key: "log.kind".to_owned(),
                default: String::new(),
                meaning: format!("`{}`.", names.join("` or `")),
            });
            for (kind, name) in kinds.iter().zip(names) {
                let before = rows_.len();
                rows(&key, kind, rows_);
                rows_.retain(|row| row.key != "log.kind" || !row.meaning.is_empty());
                for row in &mut rows_[before..] {
                    row.meaning = format!("Of `{name}`: {}", row.meaning);
                }
            }
            continue;
        }
        let section = section(property);
        if let Some(one) = section.get("properties") {
            assert!(one.is_object());
            rows(&key, section, rows_);
        } else if name == "apply" {
            rows("apply.<name>", &section["additionalProperties"], rows_);
        } else {
            let meaning = property["description"].as_str().unwrap_or_default();
            let meaning = meaning.split("\n\n").next().unwrap_or_default().replace('\n', " ");
            let required =
                schema["required"].as_array().is_some_and(|all| all.contains(&name.clone().into()));
            let default = if required { String::new() } else { default(&property["default"]) };
            rows_.push(Row { key, default, meaning });
        }
    }
}

/// The schema of a section, which may be left out.
fn section(property: &Value) -> &Value {
    let options = property["anyOf"].as_array();
    options.and_then(|all| all.iter().find(|one| one["properties"].is_object())).unwrap_or(property)
}

fn default(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Object(items) if items.is_empty() => "none".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn table(schema: &Value) -> String {
    let mut all = Vec::new();
    rows("", schema, &mut all);
    let order = example_order();
    let place = |row: &Row| {
        let at = order.iter().position(|key| *key == row.key);
        at.unwrap_or_else(|| panic!("{} is not in example.toml", row.key))
    };
    all.sort_by_key(place);
    let mut table = String::from("| key | default | meaning |\n| --- | --- | --- |\n");
    for Row { key, default, meaning } in all {
        assert!(!meaning.is_empty(), "{key} has no doc comment");
        table.push_str(&format!("| `{key}` | {default} | {} |\n", meaning.replace('|', "\\|")));
    }
    table
}

/// The keys of the example, those that are commented out too, in their order.
fn example_order() -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in super::explain::EXAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let apply = name.split_once('.').is_some_and(|(head, _)| head == "apply");
            section = if apply { "apply.<name>".to_owned() } else { name.to_owned() };
        } else if let Some((key, _)) = line.trim_start_matches(['#', ' ']).split_once(" =")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn compare(path: PathBuf, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(path, wanted).expect("it is written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} differs from the configuration's types: run this with UPDATE=1",
        path.display()
    );
}

#[test]
fn the_schema_is_the_types() {
    let text = serde_json::to_string_pretty(&schema()).expect("a schema is JSON");
    compare(root().join("schemas/lockstep.schema.json"), &format!("{text}\n"));
}

#[test]
fn the_table_in_the_readme_is_the_types() {
    let path = root().join("README.md");
    let page = std::fs::read_to_string(&path).expect("there is a README");
    let (head, rest) = page.split_once(BEGIN).expect("the table has a beginning");
    let (_, tail) = rest.split_once(END).expect("the table has an end");
    compare(path, &format!("{head}{BEGIN}{}{END}{tail}", table(&schema())));
}

/// The schema takes the example, in which every key stands.
#[test]
fn the_schema_has_the_keys_of_the_example() {
    let mut all = Vec::new();
    rows("", &schema(), &mut all);
    let example: toml::Table = super::explain::EXAMPLE.parse().expect("the example is TOML");
    for (section, keys) in &example {
        let keys = keys.as_table().expect("a section");
        let (prefix, keys) = match section.as_str() {
            "apply" => (
                "apply.<name>",
                keys.values().next().and_then(toml::Value::as_table).expect("an apply"),
            ),
            section => (section, keys),
        };
        for key in keys.keys() {
            let key = format!("{prefix}.{key}");
            assert!(all.iter().any(|row| row.key == key), "{key} is not in the schema");
        }
    }
    assert!(all.len() > 60, "{}", all.len());
}
