//! What changes note of rows while their table is being loaded.
//!
//! A chunk's rows are read from the source's present, ahead of the stream, and come to the target
//! when the stream is at the chunk's second bracket. What of a row is right then?
//!
//! - A change that gives its whole row is written whole, whether the row is there or not (an upsert).
//!   So a row that is in the target is right as the stream has it, and the chunk's is left out.
//! - A key that was deleted last stays away: the chunk's row is an older one, or a younger one whose
//!   insert the stream still brings.
//! - An update that lacks columns (values the source did not record) changes the row where it is
//!   there. Where it is not, the columns it gave are noted, and overlay the chunk's row: it may have
//!   been read before the update. If it was read after it, and after still younger ones, the stream
//!   brings those too, before `consistent`.
//!
//! So a note has a state: *gone*, *partial* with the columns given since the row was last gone, or,
//! in a table whose rows were kept, *whole*: there a present row without that note is from before the
//! load, and the chunk replaces it. Each is written in the statement, and so in the commit, of the
//! change that it is about, from the load's begin to its end. Whether a chunk's bracket was open when
//! a note was made does not matter: what is noted lies before the chunk's end in the stream.
//!
//! An update may change a row's key and lack columns. Its old key is gone, its new one partial; if the
//! row is in the target it moves. If it is not, only a chunk that was read after the update has it
//! under its new key, and the others only under the old one: at the load's end a partial note whose
//! row is still absent says so, and halts, where otherwise a row would be missing. (SQL Server records
//! an update of a key as a delete and a whole insert; what is left are keys that a collation holds
//! equal.)
//!
//! The target may hold keys equal too that differ in their characters (`citext`, or a collation that is
//! not deterministic): then the table of notes, whose columns are the target's, does the same. A row
//! whose key is only spelt anew keeps its note, which takes the new spelling, and is not noted as gone;
//! a chunk's row takes the note's spelling with its columns. Two keys that the source tells apart may be
//! equal there, too: so a note remembers each spelling that the stream has named, and stands for no row
//! but of those.
//!
//! Which keys were touched is known by their characters, and that is enough: a change names its row by
//! the spelling that the row had in the source at that moment. So if the stream has not named the
//! spelling that a chunk read, it has brought no change of that row from after the reading: the chunk's
//! row is the present one, or ahead. If the target has the row under an older spelling, the copy is
//! refused by the key's index, and the chunk is merged.

use std::collections::HashSet;
use std::hash::RandomState;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use lockstep_common::model::name::quote_postgres;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use super::super::relation::Relation;

/// Name of a note's state, beside the columns.
pub(in super::super) const STATE: &str = "state";
/// Name of its bits: which columns it gives, by the source's order.
pub(in super::super) const GIVEN: &str = "given";
/// Name of the spellings of its key that the stream has named, where the target may hold keys equal.
pub(in super::super) const SPELT: &str = "spelt";
/// Columns are named by the source's order: `c0`, `c1`, …
pub(in super::super) const COLUMN: &str = "c";

/// The row was deleted last.
pub(in super::super) const GONE: &str = "g";
/// The row was updated, and some columns were given.
pub(in super::super) const PARTIAL: &str = "p";
/// The row was written whole.
pub(in super::super) const WHOLE: &str = "w";

/// Keys that a process remembers as touched, over all tables: 8 bytes each, some 20 with their table.
const MOST_TOUCHED: usize = 1 << 20;

/// The notes of one table.
#[derive(Debug)]
pub(in super::super) struct Notes {
    /// The table they are in, quoted.
    pub(in super::super) table: String,
    /// Rows from before the load are in the target.
    pub(in super::super) keep: bool,
    /// Columns of the source's table.
    pub(in super::super) columns: usize,
    /// Keys that changes have named.
    pub(in super::super) touched: Touched,
}

/// Keys that the stream has named since the load began, by hash: rows of other keys are neither in the
/// target nor noted. A collision makes a row touched that is not, which is harmless.
#[derive(Debug)]
pub(in super::super) struct Touched {
    pub(in super::super) hasher: RandomState,
    /// None when they are not known, or too many: then every key counts as touched.
    keys: RwLock<Option<HashSet<u64>>>,
    /// How many are held, over all tables.
    held: Arc<AtomicUsize>,
}

impl Touched {
    /// `known` when the stream has touched nothing yet.
    pub(in super::super) fn new(hasher: RandomState, held: Arc<AtomicUsize>, known: bool) -> Self {
        Touched { hasher, keys: RwLock::new(known.then(HashSet::new)), held }
    }

    /// The stream names a key.
    pub(in super::super) fn add(&self, key: u64) {
        let mut keys = self.keys.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(known) = keys.as_mut() else { return };
        if known.insert(key) && self.held.fetch_add(1, Ordering::Relaxed) >= MOST_TOUCHED {
            self.held.fetch_sub(known.len(), Ordering::Relaxed);
            *keys = None;
        }
    }

    /// The keys, or none when all count as touched. Nothing is added while a chunk is loaded: the
    /// stream waits for it.
    pub(in super::super) fn keys(&self) -> RwLockReadGuard<'_, Option<HashSet<u64>>> {
        self.keys.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        let known = self.keys().as_ref().map_or(0, HashSet::len);
        self.held.fetch_sub(known, Ordering::Relaxed);
    }
}

/// Name of the table of notes that belong to a target table, with its schema: a target table belongs
/// to one pipeline, and is in one load.
pub(super) fn table_name(relation: &Relation) -> String {
    let digest = Sha256::digest(relation.name.as_bytes());
    let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("lockstep.{}", quote_postgres(&format!("notes_{hex}")))
}

/// Whether a name is one of those.
pub(super) fn is_name(name: &str) -> bool {
    let hex = name.strip_prefix("lockstep.\"notes_").and_then(|rest| rest.strip_suffix('"'));
    hex.is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Makes the empty table of notes.
pub(super) fn create(table: &str, relation: &Relation) -> String {
    let columns = aliased(relation);
    let key: Vec<String> = relation.key.iter().map(|column| format!("{COLUMN}{column}")).collect();
    format!(
        "DROP TABLE IF EXISTS {table}; \
         CREATE TABLE {table} AS SELECT {columns}, ''::text AS {STATE}, B''::varbit AS {GIVEN}, \
         '{{}}'::text[] AS {SPELT} FROM {} WITH NO DATA; ALTER TABLE {table} ADD PRIMARY KEY ({})",
        relation.name,
        key.join(", ")
    )
}

/// Gives the columns of a table of notes the types that the target's have by now: a person may have
/// changed one while the load stood still.
pub(super) async fn align(
    client: &Client,
    table: &str,
    relation: &Relation,
) -> Result<(), tokio_postgres::Error> {
    let columns = relation.columns.iter().enumerate();
    let (numbers, names): (Vec<String>, Vec<&str>) = columns
        .filter_map(|(i, column)| Some((format!("{COLUMN}{i}"), column.as_ref()?.name.as_str())))
        .unzip();
    let changed = client
        .query(
            "SELECT i.number, format_type(t.atttypid, t.atttypmod), \
             (SELECT quote_ident(m.nspname) || '.' || quote_ident(c.collname) FROM pg_collation c \
              JOIN pg_namespace m ON m.oid = c.collnamespace WHERE c.oid = t.attcollation) \
             FROM unnest($3::text[], $4::text[]) AS i(number, name) \
             JOIN pg_attribute t ON t.attrelid = to_regclass($1)::oid AND t.attnum > 0 \
             AND '\"' || replace(t.attname, '\"', '\"\"') || '\"' = i.name \
             JOIN pg_attribute n ON n.attrelid = to_regclass($2)::oid AND n.attname = i.number \
             WHERE (n.atttypid, n.atttypmod) <> (t.atttypid, t.atttypmod)",
            &[&relation.name, &table, &numbers, &names],
        )
        .await?;
    for row in changed {
        let (number, ty, collation): (&str, &str, Option<&str>) =
            (row.get(0), row.get(1), row.get(2));
        let collate = collation.map_or(String::new(), |name| format!(" COLLATE {name}"));
        let sql = format!(
            "ALTER TABLE {table} ALTER COLUMN {number} TYPE {ty}{collate} USING {number}::{ty}"
        );
        client.batch_execute(&sql).await?;
    }
    // Of a load that an earlier version has begun.
    client
        .batch_execute(&format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {SPELT} text[]"))
        .await
}

/// How a key is spelt, of columns that are named so; none where the target never holds keys equal.
pub(in super::super) fn spelling(
    relation: &Relation,
    name: impl Fn(usize) -> String,
) -> Option<String> {
    let key: Vec<String> = relation.key.iter().map(|c| format!("{}::text", name(*c))).collect();
    relation.folds_keys().then(|| format!("(ROW({})::text COLLATE \"C\")", key.join(", ")))
}

/// The target's columns under the names they have in notes and staging tables.
pub(super) fn aliased(relation: &Relation) -> String {
    let columns: Vec<String> = relation
        .columns
        .iter()
        .enumerate()
        .filter_map(|(i, column)| Some(format!("{} AS {COLUMN}{i}", column.as_ref()?.name)))
        .collect();
    columns.join(", ")
}

/// Finds a key whose row a change gave in part and that the target still lacks: nothing can complete
/// it any more.
pub(super) fn incomplete(table: &str, relation: &Relation) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM {table} AS n WHERE {STATE} = '{PARTIAL}' \
         AND NOT EXISTS (SELECT FROM {} AS t WHERE {}))",
        relation.name,
        same_key(relation, "t", "n")
    )
}

/// The row of `target` (the target table) has the key of the row of `other` (notes or staging).
pub(super) fn same_key(relation: &Relation, target: &str, other: &str) -> String {
    let keys: Vec<String> = relation
        .key
        .iter()
        .map(|c| {
            let column = relation.column(*c);
            column.equals(&format!("{target}.{}", column.name), &format!("{other}.{COLUMN}{c}"))
        })
        .collect();
    keys.join(" AND ")
}
