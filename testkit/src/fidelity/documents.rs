//! `docs/types.md` against the types that are tried: every row of its table is a type of
//! [`Kind`], with the PostgreSQL type that a column of it gets, and names tests that exist.

use std::collections::BTreeMap;
use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::kind::Kind;
use super::value::Mapping;

/// The table's rows: SQL Server's types, PostgreSQL's, names of tests.
fn rows() -> Vec<[String; 3]> {
    include_str!("../../../docs/types.md")
        .lines()
        .skip_while(|line| !line.starts_with("| SQL Server | PostgreSQL |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 4, "{line}");
            [cells[0].replace('`', ""), cells[1].to_owned(), cells[3].to_owned()]
        })
        .collect()
}

fn kinds() -> Vec<Kind> {
    let mut kinds = Kind::all(&mut StdRng::seed_from_u64(1));
    kinds.extend(Kind::recent());
    kinds
}

/// `format_type`'s names as people write them, without facets.
fn short(postgres: &str) -> String {
    let array = if postgres.ends_with("[]") { "[]" } else { "" };
    let base = postgres.split(['(', '[']).next().unwrap_or(postgres).trim();
    let zoned = postgres.ends_with("with time zone") && !postgres.contains("without");
    let name = match base {
        "character varying" => "varchar",
        "character" => "char",
        "timestamp" if zoned => "timestamptz",
        other => other,
    };
    format!("{name}{array}")
}

#[test]
fn every_type_has_a_row_and_every_row_a_type() {
    let mut documented: BTreeMap<String, String> =
        rows().into_iter().map(|[source, target, _]| (source, target)).collect();
    for kind in kinds() {
        let row = kind.documented();
        assert!(documented.contains_key(row), "docs/types.md has no row for {row}");
    }
    for kind in kinds() {
        documented.remove(kind.documented());
    }
    assert!(documented.is_empty(), "nobody tries {:?}", documented.keys());
}

#[test]
fn every_row_says_the_type_that_a_column_gets() {
    let documented: BTreeMap<String, String> =
        rows().into_iter().map(|[source, target, _]| (source, target)).collect();
    for kind in kinds().iter().filter(|kind| !matches!(kind, Kind::Alias { .. })) {
        let said = &documented[kind.documented()];
        let first = said.split('`').nth(1).unwrap_or_default();
        let gets = short(&kind.arrives_as(Mapping::Default));
        // What depends on the target comes second: "where there is PostGIS … else `bytea`".
        assert!(
            short(first) == gets || said.contains(&format!("else `{gets}`")),
            "{} gets {gets}, docs/types.md says {said}",
            kind.declared()
        );
    }
}

#[test]
fn every_row_names_tests_that_exist() {
    let mut sources = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for part in ["capture", "apply", "common", "testkit"] {
        read(&root.join(part), &mut sources);
    }
    for [row, _, tests] in rows() {
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row} names no test");
        for name in names {
            assert!(sources.contains(&format!("fn {name}(")), "{row}: there is no test {name}");
        }
    }
}

fn read(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            sources.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}
