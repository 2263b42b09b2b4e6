//! What a full load would make, as a script for people: `lockstep schema --print`.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::super::collation;
use super::plan::{
    Fate, Planned, Server, create_schema_plainly, create_table, key_names, plan, unusable,
};
use super::{Design, foresee};

/// The whole DDL of a load of `tables`, for a server of that major version, and as comments what is
/// not made and why.
pub(crate) fn print(design: &Design, version: u32, tables: &[Planned<'_>]) -> String {
    let mut out = String::new();
    let mut not_made = Vec::new();
    section(&mut out, "Before the load");
    let usable =
        |table: &&Planned<'_>| unusable(&design.naming, table.version, table.definition).is_empty();
    let schemas: BTreeSet<String> = tables
        .iter()
        .filter(usable)
        .map(|table| design.naming.table(&table.version.name).schema)
        .collect();
    for schema in schemas {
        statement(&mut out, &create_schema_plainly(&schema));
    }
    let types = &design.naming.types;
    if types.collates() {
        statement(&mut out, &create_schema_plainly("lockstep"));
        collation::statements().iter().for_each(|sql| statement(&mut out, sql));
    }
    let names: Vec<_> = tables.iter().map(|table| &table.version.name).collect();
    not_made.extend(types.at_start());
    not_made.extend(types.absent_tables(&names));
    let key_names = key_names(&design.naming, tables);
    let mut refused = foresee::doubles(&design.naming, tables);
    for (table, key_name) in tables.iter().zip(&key_names) {
        let (name, version) = (&table.version.name, table.version);
        let mut wrong = unusable(&design.naming, version, table.definition);
        let made = create_table(&design.naming, version, table.definition, key_name.as_deref());
        match made {
            Ok(sql) if wrong.is_empty() => {
                let companions = foresee::companions(&design.naming, table);
                for line in companions.into_iter().chain(foresee::warnings(&design.naming, table)) {
                    comment(&mut out, &format!("{name}: {line}"));
                }
                statement(&mut out, &sql);
            }
            Ok(_) => {}
            Err(found) => wrong.extend(found),
        }
        refused.extend(wrong.into_iter().map(|wrong| (name.clone(), wrong)));
    }
    for (name, wrong) in refused {
        not_made.push(format!("table {name}: {wrong}"));
    }
    section(&mut out, "After it, once the target is consistent");
    let made: Vec<Planned<'_>> = tables.iter().filter(usable).copied().collect();
    let objects = plan(&design.naming, Server { version, replica: true }, &made, &BTreeSet::new());
    if !design.constraints {
        comment(&mut out, "nothing: constraints = false");
    }
    for object in objects {
        let what = format!("{} {} of {}", object.kind, object.object, object.source);
        match object.fate {
            Fate::Make { .. } if !design.constraints => {}
            Fate::Make { action, note } => {
                if let Some(note) = note {
                    comment(&mut out, &format!("{what}: {note}"));
                }
                for sql in action.statements(&object.table, &object.name) {
                    statement(&mut out, &sql);
                }
            }
            Fate::LeaveOut(reason) => not_made.push(format!("{what}: {reason}")),
        }
    }
    section(&mut out, "Not made");
    if not_made.is_empty() {
        comment(&mut out, "nothing is left out");
    }
    for line in not_made {
        comment(&mut out, &line);
    }
    out
}

fn section(out: &mut String, title: &str) {
    let before = if out.is_empty() { "" } else { "\n" };
    let _ = writeln!(out, "{before}-- {title}\n");
}

fn statement(out: &mut String, sql: &str) {
    let _ = writeln!(out, "{sql};");
}

/// One line, whatever names have in them.
fn comment(out: &mut String, text: &str) {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(out, "-- {line}");
}
