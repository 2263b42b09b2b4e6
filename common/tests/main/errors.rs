//! docs/errors.md against the sources: every code, with its one disposition, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Codes = BTreeMap<String, BTreeSet<&'static str>>;

/// The sources of the services, without their tests.
fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut places: Vec<PathBuf> =
        ["common", "log", "capture", "apply", "cli"].map(|part| root.join(part).join("src")).into();
    let mut texts = Vec::new();
    while let Some(path) = places.pop() {
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            places.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            texts.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
        }
    }
    texts
}

fn quoted(text: &str) -> Option<&str> {
    let (code, _) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    let plain = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    (!code.is_empty() && code.chars().all(plain)).then_some(code)
}

/// Codes by the name of the constant that holds them.
fn constants(sources: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        for rest in source.split("const ").skip(1) {
            let Some((name, value)) = rest.split_once(": &str = ") else { continue };
            if let (Some(code), false) = (quoted(value), name.contains(char::is_whitespace)) {
                found.entry(name.to_owned()).or_default().insert(code.to_owned());
            }
        }
    }
    found
}

fn of_sources() -> Codes {
    let sources = sources();
    let constants = constants(&sources);
    let mut codes = Codes::new();
    let calls = [
        ("Failure::retry(", "retry"),
        ("Failure::halt(", "halt"),
        ("Failure::fenced(", "fenced"),
        // By SQLSTATE: what is retried has one code for all of them.
        ("error::failure(", "halt"),
        ("server_failure(", "halt"),
    ];
    for source in &sources {
        for (call, disposition) in calls {
            for rest in source.split(call).skip(1) {
                let name: String = rest
                    .trim_start()
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
                    .collect();
                let constant = name.rsplit("::").next().and_then(|name| constants.get(name));
                let named = quoted(rest).map(str::to_owned).into_iter();
                for code in named.chain(constant.into_iter().flatten().cloned()) {
                    codes.entry(code).or_default().insert(disposition);
                }
            }
        }
    }
    // Shown in the status beside what goes on: `[code] …` in a text of its own.
    for source in &sources {
        for rest in source.split("\"[").skip(1) {
            if let Some((code, _)) = rest.split_once("] ")
                && quoted(&format!("\"{code}\"")).is_some_and(|code| code.starts_with("source."))
            {
                codes.entry(code.to_owned()).or_default().insert("retry");
            }
        }
    }
    // Chosen by a match, beside the call.
    for code in ["log.newer_writer", "log.unknown_schema"] {
        codes.entry(code.to_owned()).or_default().insert("halt");
    }
    codes
}

fn disposition(text: &str) -> Option<&'static str> {
    ["retry", "halt", "fenced"].into_iter().find(|known| {
        text.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
    })
}

fn of_documentation() -> Codes {
    let mut codes = Codes::new();
    let mut section = None;
    for line in include_str!("../../../docs/errors.md").lines() {
        section = match line {
            "Retried:" => Some("retry"),
            "Halt:" => Some("halt"),
            _ if line.starts_with('#') => None,
            _ => section,
        };
        let Some(row) = line.strip_prefix("| `") else { continue };
        let cells: Vec<&str> = row.split(" | ").collect();
        let said = section.or_else(|| disposition(cells.get(1)?.trim()));
        for code in format!("`{}", cells[0]).split('`').filter(|code| code.contains('.')) {
            let said =
                said.unwrap_or_else(|| panic!("{code} has no disposition in docs/errors.md"));
            codes.entry(code.to_owned()).or_default().insert(said);
        }
    }
    codes
}

#[test]
fn every_code_has_one_disposition_and_is_documented_with_it() {
    let (mut used, documented) = (of_sources(), of_documentation());
    used.remove("failpoint");
    assert!(used.len() > 80, "{}", used.len());
    for (code, dispositions) in &used {
        assert_eq!(dispositions.len(), 1, "{code} means {dispositions:?}: give each its own code");
        assert_eq!(documented.get(code), Some(dispositions), "{code} in docs/errors.md");
    }
    for code in documented.keys() {
        assert!(used.contains_key(code), "docs/errors.md has {code}, which nothing says");
    }
}
