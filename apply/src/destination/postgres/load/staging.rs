//! The second way into the target: rows go to a table of the connection's own, and from there into the
//! target as the notes say.

use super::super::relation::Relation;
use super::super::statement::Mask;
use super::notes::{
    COLUMN, GIVEN, GONE, Notes, PARTIAL, SPELT, STATE, WHOLE, aliased, same_key, spelling,
};

/// Name of the connection's table for rows of a target table.
fn name(relation: &Relation) -> String {
    format!("pg_temp.\"rows of {}\"", relation.id)
}

/// Makes the table, once for each connection; it is empty after every commit.
pub(super) fn create(relation: &Relation) -> String {
    format!(
        "CREATE TEMP TABLE IF NOT EXISTS \"rows of {}\" ON COMMIT DELETE ROWS AS SELECT {} FROM {} \
         WITH NO DATA",
        relation.id,
        aliased(relation),
        relation.name
    )
}

/// COPY into it.
pub(super) fn copy(relation: &Relation, columns: &Mask) -> String {
    let columns: Vec<String> = columns.iter().map(|c| format!("{COLUMN}{c}")).collect();
    format!("COPY {} ({}) FROM STDIN (FORMAT binary)", name(relation), columns.join(", "))
}

/// Its rows into the target: but for those whose key is noted as gone, overlaid with what is noted,
/// and only where the target has none, or, where rows were kept, no whole one.
pub(super) fn merge(
    relation: &Relation,
    columns: &Mask,
    notes: Option<&Notes>,
    keep: bool,
) -> String {
    let key: Vec<&str> = relation.key.iter().map(|c| relation.column(*c).name.as_str()).collect();
    let names: Vec<&str> = columns.iter().map(|c| relation.column(c).name.as_str()).collect();
    let values: Vec<String> = columns
        .iter()
        .map(|c| match notes {
            // Of a key that the target holds equal, the note has the spelling that the stream gave.
            Some(_) if relation.column(c).key && relation.column(c).folds() => format!(
                "CASE WHEN n.{STATE} = '{PARTIAL}' THEN n.{COLUMN}{c} ELSE s.{COLUMN}{c} END"
            ),
            Some(_) if !relation.column(c).key => format!(
                "CASE WHEN n.{STATE} = '{PARTIAL}' AND get_bit(n.{GIVEN}, {c}) = 1 \
                 THEN n.{COLUMN}{c} ELSE s.{COLUMN}{c} END"
            ),
            _ => format!("s.{COLUMN}{c}"),
        })
        .collect();
    let mut from = noted_rows(relation, notes);
    if notes.is_some() {
        from = format!("{from} WHERE {} IS NOT TRUE", left_out(keep));
    }
    let sets: Vec<String> = columns
        .iter()
        .map(|c| relation.column(c))
        .filter(|column| !column.key || column.folds())
        .map(|column| format!("{0} = EXCLUDED.{0}", column.name))
        .collect();
    let action = match (keep, sets.is_empty()) {
        (true, false) => format!("UPDATE SET {}", sets.join(", ")),
        _ => "NOTHING".to_owned(),
    };
    let conflict = if key.is_empty() {
        String::new()
    } else {
        format!(" ON CONFLICT ({}) DO {action}", key.join(", "))
    };
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {from}{conflict}",
        relation.name,
        names.join(", "),
        values.join(", ")
    )
}

/// The staged rows, each beside the note of its key.
fn noted_rows(relation: &Relation, notes: Option<&Notes>) -> String {
    let rows = format!("{} AS s", name(relation));
    let Some(notes) = notes else { return rows };
    let same = |c: &usize| {
        relation.column(*c).equals(&format!("n.{COLUMN}{c}"), &format!("s.{COLUMN}{c}"))
    };
    let same: Vec<String> = relation.key.iter().map(same).collect();
    format!("{rows} LEFT JOIN {} AS n ON {}", notes.table, same.join(" AND "))
}

/// Whether the stream took the row of a note away, or wrote it anew.
fn left_out(keep: bool) -> String {
    let states = if keep { format!("'{GONE}', '{WHOLE}'") } else { format!("'{GONE}'") };
    format!("(n.{STATE} IN ({states}))")
}

/// Fails unless each of the staged rows, whose number is the parameter, is there or accounted for. A row
/// of the target stands for one of them: where two keys of the source are one in the target, a row is
/// missing. And it has the key as it was staged, or the stream has named both spellings.
pub(super) fn check(relation: &Relation, notes: Option<&Notes>, keep: bool) -> String {
    let column = |c: usize| format!("t.{}", relation.column(c).name);
    let staged = spelling(relation, |c| format!("s.{COLUMN}{c}"));
    let named = match &staged {
        Some(staged) => format!("{staged} = ANY (n.{SPELT})"),
        None => "true".to_owned(),
    };
    let alike = match staged.zip(spelling(relation, column)) {
        None => "true".to_owned(),
        Some((staged, found)) if notes.is_some() => {
            format!("({staged} = {found} OR ({named} AND {found} = ANY (n.{SPELT})))")
        }
        Some((staged, found)) => format!("{staged} = {found}"),
    };
    let accounted = match notes {
        Some(_) => format!("({} AND {named})", left_out(keep)),
        None => "false".to_owned(),
    };
    format!(
        "WITH c AS (SELECT count(*) FILTER (WHERE {accounted}) AS accounted, \
         count(DISTINCT (t.tableoid, t.ctid)) FILTER (WHERE {accounted} IS NOT TRUE \
         AND t.ctid IS NOT NULL AND {alike}) AS there \
         FROM {} LEFT JOIN {} AS t ON {}) \
         SELECT lockstep.expect_placed($1, there, accounted) FROM c WHERE there + accounted <> $1",
        noted_rows(relation, notes),
        relation.name,
        same_key(relation, "t", "s"),
    )
}
