//! What a full load would make, as a script for people: `lockstep schema --print`.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::super::collation;
use super::super::plan::TablePlan;
use super::plan::{Fate, Planned, Server, create_schema_plainly, create_table, key_names, plan};
use super::{Design, foresee};

/// The whole DDL of a load of `tables`, for a server of that major version, and as comments what is
/// not made and why.
pub(crate) fn print(design: &Design, version: u32, tables: &[Planned<'_>]) -> String {
    let mut out = String::new();
    let mut not_made = Vec::new();
    section(&mut out, "Before the load");
    let plans: Vec<TablePlan> = tables.iter().map(|table| table.plan(&design.naming)).collect();
    let usable = plans.iter().filter(|plan| plan.unusable.is_empty());
    let schemas: BTreeSet<&str> = usable.map(|plan| plan.target.schema.as_str()).collect();
    for schema in schemas {
        statement(&mut out, &create_schema_plainly(schema));
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
    for ((table, plan), key_name) in tables.iter().zip(&plans).zip(&key_names) {
        let (version, definition) = (table.version, table.definition);
        let mut wrong = plan.unusable.clone();
        let made = create_table(&design.naming, plan, version, definition, key_name.as_deref());
        match made {
            Ok(sql) if wrong.is_empty() => {
                for line in foresee::digits(plan).into_iter().chain(foresee::warnings(plan)) {
                    comment(&mut out, &format!("{}: {line}", plan.source));
                }
                statement(&mut out, &sql);
            }
            Ok(_) => {}
            Err(found) => wrong.extend(found),
        }
        refused.extend(wrong.into_iter().map(|wrong| (plan.source.clone(), wrong)));
    }
    for (name, wrong) in refused {
        not_made.push(format!("table {name}: {wrong}"));
    }
    section(&mut out, "After it, once the target is consistent");
    let usable = tables.iter().zip(&plans).filter(|(_, plan)| plan.unusable.is_empty());
    let made: Vec<Planned<'_>> = usable.map(|(table, _)| *table).collect();
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
