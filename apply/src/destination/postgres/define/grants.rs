//! What an ordinary role needs, as a script for whoever may grant it: `lockstep schema --grants`.

use std::collections::BTreeSet;
use std::fmt::Write;

use lockstep_common::TableName;
use lockstep_common::model::name::{literal_postgres, quote_postgres};

use super::super::plan::TargetName;
use super::Design;
use super::plan::create_schema_plainly;

/// The first major version whose settings can be granted.
const GRANTS_SETTINGS: u32 = 15;

/// Everything that apply's role needs in `database` for these source tables, on a server of that major
/// version. Running it again changes nothing.
pub(crate) fn grants(
    design: &Design,
    user: &str,
    database: &str,
    version: u32,
    tables: &[&TableName],
) -> String {
    let (role, database) = (quote_postgres(user), quote_postgres(database));
    let names: Vec<TargetName> = tables.iter().map(|table| design.naming.table(table)).collect();
    let schemas: BTreeSet<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let mut out = String::new();
    section(&mut out, "The role (give it its password by \\password)");
    let create = format!(
        "BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {}) THEN EXECUTE {}; END IF; END",
        literal_postgres(user),
        literal_postgres(&format!("CREATE ROLE {role} LOGIN")),
    );
    statement(&mut out, &format!("DO {}", literal_postgres(&create)));
    section(&mut out, "Temporary tables, for chunks of loads that meet changes");
    statement(&mut out, &format!("GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {role}"));
    section(&mut out, "Lockstep's own schema: checkpoint, claims, loads, exceptions");
    statement(&mut out, &format!("CREATE SCHEMA IF NOT EXISTS lockstep AUTHORIZATION {role}"));
    section(&mut out, "The target's schemas, in which it makes and owns its tables");
    for schema in schemas {
        statement(&mut out, &create_schema_plainly(schema));
        let schema = quote_postgres(schema);
        statement(&mut out, &format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}"));
    }
    section(
        &mut out,
        "Tables that are there already. (For indexes and constraints after a load it has to own them: \
         ALTER TABLE … OWNER TO, or `constraints = false`.)",
    );
    if !names.is_empty() {
        statement(&mut out, &existing(&role, &names));
    }
    section(&mut out, "Triggers and foreign keys do not fire for what it writes");
    let replica = if version >= GRANTS_SETTINGS {
        format!("GRANT SET ON PARAMETER session_replication_role TO {role}")
    } else {
        format!("ALTER ROLE {role} IN DATABASE {database} SET session_replication_role = 'replica'")
    };
    statement(&mut out, &replica);
    out
}

/// Grants on those of the tables that are there.
fn existing(role: &str, names: &[TargetName]) -> String {
    let list: Vec<String> = names.iter().map(|name| literal_postgres(&name.quoted())).collect();
    let body = format!(
        "DECLARE t text; BEGIN FOREACH t IN ARRAY ARRAY[\n    {}\n] LOOP \
         IF to_regclass(t) IS NOT NULL THEN EXECUTE \
         {} || t || {}; END IF; END LOOP; END",
        list.join(",\n    "),
        literal_postgres("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON "),
        literal_postgres(&format!(" TO {role}")),
    );
    format!("DO {}", literal_postgres(&body))
}

fn section(out: &mut String, title: &str) {
    let before = if out.is_empty() { "" } else { "\n" };
    let _ = writeln!(out, "{before}-- {title}");
}

fn statement(out: &mut String, sql: &str) {
    let _ = writeln!(out, "{sql};");
}
