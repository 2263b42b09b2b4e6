//! docs/errors.md has its tables from the list of codes, and every code is used.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use lockstep_common::failure::code::{GROUPS, Group};
use lockstep_common::{Code, Disposition};

const BEGIN: &str = "<!-- codes: ";
const END: &str = "<!-- end of codes -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table(group: Group) -> String {
    let mut text = String::from("| code | disposition | meaning | what to do |\n");
    text.push_str("| --- | --- | --- | --- |\n");
    for code in group.codes() {
        let disposition = match code.disposition() {
            Disposition::Retry => "retry",
            Disposition::Wait => "wait",
            Disposition::Halt => "halt",
            Disposition::Fenced => "fenced",
        };
        let (meaning, remedy) = (code.meaning(), code.remedy());
        let _ = writeln!(text, "| `{code}` | {disposition} | {meaning} | {remedy} |");
    }
    text
}

/// The page with the tables of today.
fn generated(page: &str) -> String {
    let mut text = String::new();
    let mut skipping = false;
    for line in page.lines() {
        if line == END {
            skipping = false;
        }
        if !skipping {
            text.push_str(line);
            text.push('\n');
        }
        if let Some(heading) = line.strip_prefix(BEGIN).and_then(|line| line.strip_suffix(" -->")) {
            let group = GROUPS.iter().find(|group| group.heading() == heading);
            let group = group.unwrap_or_else(|| panic!("no group of codes is called {heading}"));
            text.push_str(&table(*group));
            skipping = true;
        }
    }
    text
}

#[test]
fn the_page_of_errors_has_the_tables_of_the_list() {
    let path = root().join("docs/errors.md");
    let page = std::fs::read_to_string(&path).unwrap();
    for group in GROUPS.iter().filter(|group| **group != Group::Tests) {
        assert!(page.contains(&format!("{BEGIN}{} -->", group.heading())), "{group:?}");
    }
    let wanted = generated(&page);
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(&path, &wanted).unwrap();
    }
    assert!(
        page == wanted,
        "docs/errors.md differs from the list of codes: run this with UPDATE=1"
    );
}

/// The sources of the services.
fn sources() -> Vec<String> {
    let mut places: Vec<PathBuf> = ["common", "log", "capture", "apply", "cli"]
        .map(|part| root().join(part).join("src"))
        .into();
    let mut texts = Vec::new();
    while let Some(path) = places.pop() {
        if path.is_dir() {
            places.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("code.rs") {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

#[test]
fn every_code_is_said_somewhere() {
    let sources = sources();
    let all = || GROUPS.iter().flat_map(|group| group.codes());
    assert!(all().count() > 100);
    for code in all() {
        let name = format!("Code::{code:?}");
        let used = |text: &String| {
            text.match_indices(&name)
                .any(|(at, _)| !text[at + name.len()..].starts_with(|c: char| c.is_alphanumeric()))
        };
        assert!(sources.iter().any(used), "nothing says {code}");
    }
}

#[test]
fn codes_are_distinct_and_halts_say_what_to_do() {
    let all: Vec<Code> = GROUPS.iter().flat_map(|group| group.codes()).copied().collect();
    let texts: std::collections::BTreeSet<&str> = all.iter().map(|code| code.as_str()).collect();
    assert_eq!(texts.len(), all.len());
    for code in all {
        assert!(!code.meaning().is_empty() && !code.meaning().contains('|'), "{code}");
        let halts = matches!(code.disposition(), Disposition::Halt | Disposition::Wait);
        if halts && code != Code::Failpoint {
            assert!(!code.remedy().is_empty(), "{code} does not say what to do");
        }
    }
}

/// Every remedy of a halt is followed by a test, to a pipeline that runs, or it is said why by none.
#[test]
fn remedies_are_followed_or_it_is_said_why_not() {
    let list = root().join("common/tests/main/remedies.tsv");
    let list = std::fs::read_to_string(list).unwrap();
    let listed: std::collections::BTreeMap<&str, &str> =
        list.lines().map(|line| line.split_once('\t').expect("a code, a tab, and how")).collect();
    assert_eq!(listed.len(), list.lines().count(), "each code once");
    let stops = |code: &&Code| matches!(code.disposition(), Disposition::Halt | Disposition::Wait);
    let codes = GROUPS.iter().flat_map(|group| group.codes()).filter(stops);
    let codes: std::collections::BTreeSet<&str> = codes.map(|code| code.as_str()).collect();
    let known: std::collections::BTreeSet<&str> = listed.keys().copied().collect();
    assert_eq!(known, codes, "the codes that stop a service");
    for (code, how) in listed {
        if let Some(reason) = how.strip_prefix("- ") {
            assert!(reason.len() > 20, "{code} says why no test follows its remedy");
            continue;
        }
        let (file, test) = how.split_once("::").unwrap_or_else(|| panic!("{code}: {how}"));
        let text = std::fs::read_to_string(root().join(file));
        let text = text.unwrap_or_else(|error| panic!("{code}: {file}: {error}"));
        assert!(text.contains(&format!("fn {test}(")), "{code}: {file} has no {test}");
    }
}
