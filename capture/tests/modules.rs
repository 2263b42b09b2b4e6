//! No circles: what a module of capture uses does not use it, among the crate's modules and among those of
//! the SQL Server reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Uses = BTreeMap<String, BTreeSet<String>>;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

/// The module of `root` that a file belongs to, and how deep below it the file's own module is.
fn module(root: &Path, file: &Path) -> Option<(String, usize)> {
    let path = file.strip_prefix(root).ok()?.with_extension("");
    let mut parts: Vec<String> =
        path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    let depth = parts.len();
    let top = parts.into_iter().next()?;
    (!matches!(top.as_str(), "lib" | "main")).then_some((top, depth))
}

/// What each module names of the others in code that is no test: by `crate::`, or by so many `super::` as
/// lead to their common parent.
fn uses(root: &Path, by_crate: bool) -> Uses {
    let mut uses = Uses::new();
    for file in files(root) {
        let Some((top, depth)) = module(root, &file) else { continue };
        if file.iter().any(|part| part == "tests" || part == "tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let prefix = if by_crate { "crate::".to_owned() } else { "super::".repeat(depth) };
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for (at, _) in line.match_indices(&prefix) {
                if line[..at].ends_with("super::") {
                    continue;
                }
                let rest = &line[at + prefix.len()..];
                let names: Vec<&str> = match rest.strip_prefix('{') {
                    Some(list) => list.split(['}', ',']).map(str::trim).collect(),
                    None => vec![rest],
                };
                for name in names {
                    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                    let name = name[..end.unwrap_or(name.len())].to_owned();
                    if name != top {
                        uses.entry(top.clone()).or_default().insert(name);
                    }
                }
            }
        }
    }
    let modules: BTreeSet<String> =
        files(root).iter().filter_map(|file| module(root, file).map(|(top, _)| top)).collect();
    uses.values_mut().for_each(|names| names.retain(|name| modules.contains(name)));
    uses
}

/// A way from `at` back to the beginning of `way`.
fn circle(uses: &Uses, way: &mut Vec<String>, done: &mut BTreeSet<String>, at: &str) -> bool {
    if way.iter().any(|name| name == at) {
        way.push(at.to_owned());
        return true;
    }
    if !done.insert(at.to_owned()) {
        return false;
    }
    way.push(at.to_owned());
    let found =
        uses.get(at).is_some_and(|names| names.iter().any(|name| circle(uses, way, done, name)));
    if !found {
        way.pop();
    }
    found
}

fn without_circles(uses: &Uses) {
    let mut done = BTreeSet::new();
    for start in uses.keys() {
        let mut way = Vec::new();
        assert!(!circle(uses, &mut way, &mut done, start), "a circle: {}", way.join(" uses "));
    }
}

#[test]
fn no_module_uses_one_that_uses_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let uses_of_all = uses(&source, true);
    assert!(uses_of_all.len() > 6 && uses_of_all["pipeline"].contains("output"), "{uses_of_all:?}");
    without_circles(&uses_of_all);
}

#[test]
fn no_module_of_the_reader_uses_one_that_uses_it() {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/sqlserver_cdc");
    let uses_of_reader = uses(&reader, false);
    assert!(uses_of_reader["merge"].contains("order"), "{uses_of_reader:?}");
    without_circles(&uses_of_reader);
}

#[test]
fn a_circle_is_found() {
    let uses: Uses = [("a", "b"), ("b", "c"), ("c", "b")]
        .map(|(from, to)| (from.to_owned(), BTreeSet::from([to.to_owned()])))
        .into();
    let found = std::panic::catch_unwind(|| without_circles(&uses));
    assert!(found.is_err());
}
