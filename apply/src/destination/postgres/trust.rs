//! A schema `lockstep` that was there before is not trusted for its name.
//!
//! Whoever may create a schema could have made it, and put into it what then runs with apply's rights:
//! a trigger, a default, a function. So everything that apply uses there has to belong to apply's role,
//! to one that it is a member of, or to a superuser (who gains nothing by it), and to have nothing that
//! runs beside. Calls name the functions' exact argument types, so that none of another's that fits
//! better can come between: others may have the right to create objects in the schema, as a second
//! pipeline's role has.

use lockstep_common::Code;
use lockstep_common::Failure;
use tokio_postgres::{Client, Error};

use super::error;

/// What Lockstep has there beside notes of loads.
const TABLES: &[&str] = &[
    "checkpoint",
    "exceptions",
    "forced",
    "load",
    "load_chunk",
    "load_object",
    "load_table",
    "tables",
];
const FUNCTIONS: &[&str] = &[
    "claim_chunk",
    "expect_placed",
    "expect_process",
    "expect_rows",
    "note_absent",
    "note_forced",
];

/// What is wrong with the tables `$1`, or those of notes, and the functions `$2`, each with what to do.
const WRONG: &str = "WITH RECURSIVE mine AS (SELECT oid FROM pg_roles WHERE rolname = current_user \
           UNION SELECT m.roleid FROM pg_auth_members m JOIN mine ON mine.oid = m.member), \
     trusted AS (SELECT oid FROM mine UNION SELECT oid FROM pg_roles WHERE rolsuper), \
     s AS (SELECT oid, nspowner FROM pg_namespace WHERE nspname = 'lockstep'), \
     t AS (SELECT c.oid, c.relkind, c.relpersistence, c.relowner, c.relrowsecurity, \
           format('lockstep.%I', c.relname) AS name FROM pg_class c JOIN s ON s.oid = c.relnamespace \
           WHERE c.relname = ANY ($1)) \
     SELECT format('it belongs to role %s: DROP SCHEMA lockstep CASCADE, or ALTER SCHEMA lockstep \
           OWNER TO the role of apply', pg_get_userbyid(nspowner)) FROM s WHERE nspowner NOT IN (SELECT oid FROM trusted) \
     UNION ALL SELECT format('%s belongs to role %s: drop it, or ALTER TABLE … OWNER TO the role of \
           apply', name, pg_get_userbyid(relowner)) FROM t WHERE relowner NOT IN (SELECT oid FROM trusted) \
     UNION ALL SELECT format('%s is no table of Lockstep''s: drop it', name) FROM t \
           WHERE relkind <> 'r' OR relpersistence <> 'p' \
     UNION ALL SELECT format('function %s belongs to role %s: drop it', p.oid::regprocedure, \
           pg_get_userbyid(proowner)) FROM pg_proc p JOIN s ON s.oid = pronamespace \
           WHERE proname = ANY ($2) AND proowner NOT IN (SELECT oid FROM trusted) \
     UNION ALL SELECT format('collation lockstep.%I belongs to role %s: drop it', collname, \
           pg_get_userbyid(collowner)) FROM pg_collation JOIN s ON s.oid = collnamespace WHERE collowner NOT IN (SELECT oid FROM trusted) \
     UNION ALL SELECT format('trigger %I runs on %s: DROP TRIGGER %I ON %s', tgname, name, tgname, \
           name) FROM pg_trigger JOIN t ON t.oid = tgrelid \
     UNION ALL SELECT format('rule %I runs on %s: DROP RULE %I ON %s', rulename, name, rulename, name) \
           FROM pg_rewrite JOIN t ON t.oid = ev_class WHERE relkind = 'r' \
     UNION ALL SELECT format('%s has row-level security: ALTER TABLE %s DISABLE ROW LEVEL SECURITY', \
           name, name) FROM t WHERE relrowsecurity \
     UNION ALL SELECT format('policy %I is on %s: DROP POLICY %I ON %s', polname, name, polname, name) \
           FROM pg_policy JOIN t ON t.oid = polrelid \
     UNION ALL SELECT format('constraint %I is on %s: ALTER TABLE %s DROP CONSTRAINT %I', conname, \
           name, name, conname) FROM pg_constraint JOIN t ON t.oid = conrelid \
           WHERE contype NOT IN ('p', 'n') \
     UNION ALL SELECT format('an index of %s is over expressions: DROP INDEX %s', name, \
           indexrelid::regclass) FROM pg_index JOIN t ON t.oid = indrelid \
           WHERE indexprs IS NOT NULL OR indpred IS NOT NULL \
     UNION ALL SELECT format('%s inherits from %s: drop it', inhrelid::regclass, name) \
           FROM pg_inherits JOIN t ON t.oid = inhparent \
     UNION ALL SELECT DISTINCT format('a default of %s calls what is not PostgreSQL''s own: \
           ALTER TABLE %s ALTER COLUMN … DROP DEFAULT', name, name) \
           FROM pg_attrdef a JOIN t ON t.oid = a.adrelid JOIN pg_depend d ON d.objid = a.oid \
           AND d.classid = 'pg_attrdef'::regclass AND d.refclassid IN ('pg_proc'::regclass, \
           'pg_operator'::regclass, 'pg_type'::regclass) \
     UNION ALL SELECT format('column %I of %s has a type of somebody''s: drop the table', attname, name) \
           FROM pg_attribute a JOIN t ON t.oid = attrelid JOIN pg_type y ON y.oid = atttypid \
           WHERE attnum > 0 AND NOT attisdropped AND typnamespace <> 'pg_catalog'::regnamespace \
     AND name NOT LIKE 'lockstep.notes\\_%' ORDER BY 1";

/// Holds tables of notes, by their names with schema and quotes, against what apply may rely on.
///
/// # Errors
/// `Halt` with everything that is wrong with them.
pub(super) async fn examine_notes(client: &Client, notes: &[&str]) -> Result<(), Failure> {
    let bare = |name: &&str| name.trim_start_matches("lockstep.").trim_matches('"').to_owned();
    let names: Vec<String> = notes.iter().map(bare).collect();
    let none: &[&str] = &[];
    let rows = client.query(WRONG, &[&names, &none]).await.map_err(|e| {
        error::failure(Code::ApplySchema, "cannot look at the schema `lockstep` of the target", &e)
    })?;
    refuse(rows.iter().map(|row| row.get(0)).collect())
}

/// Everything of the schema that apply's role may not rely on; nothing where there is no such schema.
///
/// # Errors
/// When the target cannot be reached or refuses.
pub(super) async fn wrong(client: &Client) -> Result<Vec<String>, Error> {
    let rows = client.query(WRONG, &[&TABLES, &FUNCTIONS]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Holds the schema against what apply may rely on.
///
/// # Errors
/// `Halt` with everything that is wrong with it.
pub(super) async fn examine(client: &Client) -> Result<(), Failure> {
    let wrong = wrong(client).await.map_err(|e| {
        error::failure(Code::ApplySchema, "cannot look at the schema `lockstep` of the target", &e)
    })?;
    refuse(wrong)
}

fn refuse(wrong: Vec<String>) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Code::ApplyUntrusted,
        format!("the schema lockstep of the target is not Lockstep's alone: {}", wrong.join("; ")),
    )
    .remedy(FIX))
}

/// What to do about it.
pub(super) const FIX: &str = "find out who made that; do what is said of each, or drop the schema if no pipeline has been here";
