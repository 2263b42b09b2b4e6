//! The text of every statement that changes a target table.
//!
//! A statement is determined by its [`Shape`]: table, kind, columns. Statements for many rows take
//! one array per column (`unnest`), those for one row take the values themselves; inserts of many
//! rows are COPY. Updates and deletes are wrapped so that the server itself compares the rows they
//! met with the rows they were sent for, and raises an error when they differ: a client would notice
//! only after the commit it has already sent.

mod noted;

use std::fmt::Write;

use super::load::Notes;
use super::relation::{Relation, TargetColumn};
use lockstep_common::TableId;

/// A statement and its parameters' types.
#[derive(Debug)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) parameters: Vec<u32>,
}

/// A set of columns, by their number in the source's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Mask(Vec<u64>);

impl Mask {
    pub(super) fn clear(&mut self, columns: usize) {
        self.0.clear();
        self.0.resize(columns.div_ceil(64), 0);
    }

    pub(super) fn insert(&mut self, column: usize) {
        self.0[column / 64] |= 1 << (column % 64);
    }

    pub(super) fn contains(&self, column: usize) -> bool {
        self.0.get(column / 64).is_some_and(|word| word >> (column % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 64).filter(|column| self.contains(*column))
    }
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// New rows, by COPY.
    Copy,
    /// One new row.
    Insert,
    /// The same, refused where the table ends up without it.
    CountedInsert,
    /// New rows, or the rows of that key as they are now.
    Upsert,
    /// Rows by key; the key stays.
    Update,
    /// Rows by their old key; the key changes.
    Rekey,
    /// Rows by key.
    Delete,
    /// Rows by their old key, deleted and inserted anew: two statements, a delete and a COPY.
    Replace,
    /// One row by its whole before image.
    UpdateWhole,
    /// One row by its whole before image.
    DeleteWhole,
    /// All rows. Not TRUNCATE, which other snapshots would see at once.
    Clear,
    /// While a table is being loaded: rows by key, and a note that they are gone.
    DeleteNoted,
    /// The same: rows by key where they are, and a note of the columns given.
    UpdateNoted,
    /// The same, into tables whose rows are kept: rows as they are now, and a note that they are whole.
    UpsertNoted,
    /// The same: one row by its old key, where there is another one of its new key already.
    DeleteAside,
    /// The same: a note that an old key is gone, unless the target holds the new one for it.
    GoneNoted,
    /// Before an upsert: how many of its rows are there, against what its check says.
    Present,
    /// The transaction's commit is confirmed only once it is on the disk.
    Flush,
    /// The checkpoint.
    Checkpoint,
    /// A transaction set aside.
    SetAside,
    /// A chunk of a full load is taken in hand.
    ChunkClaim,
    /// Its rows are in.
    ChunkDone,
    /// A table for rows that are merged.
    Stage,
    /// Rows into that table, by COPY.
    StageCopy,
    /// From there into the target.
    StageMerge,
    /// Whether each of them has its place.
    StageCheck,
}

/// What is asked of the number of rows a statement met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Check {
    /// As many as were sent, or an error.
    Exact,
    /// Any.
    Tolerant,
    /// One; when there was none, that is noted as an exception in the same transaction.
    Noted,
    /// As many as were sent; where it was fewer, that is counted in the same transaction.
    Told,
    /// None; where there were some, that is counted in the same transaction.
    Fresh,
}

/// What determines a statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) table: TableId,
    pub(super) kind: Kind,
    pub(super) check: Check,
    /// More than one row.
    pub(super) many: bool,
    /// Columns of the after image.
    pub(super) after: Mask,
    /// Columns of the whole before image that have a value, where it identifies the row.
    pub(super) before: Mask,
    /// Columns of the whole before image that are null.
    pub(super) nulls: Mask,
}

impl Shape {
    /// A statement without table.
    pub(super) fn of(kind: Kind) -> Self {
        Shape {
            table: TableId(0),
            kind,
            check: Check::Exact,
            many: false,
            after: Mask::default(),
            before: Mask::default(),
            nulls: Mask::default(),
        }
    }
}

/// Where a parameter's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The row after.
    After(usize),
    /// The key before: its place in the key.
    Key(usize),
    /// The whole row before.
    Before(usize),
}

/// The parameters of a shape, in order.
pub(super) fn fields(relation: &Relation, shape: &Shape) -> Vec<Field> {
    let keys = || (0..relation.key.len()).map(Field::Key);
    let after = || shape.after.iter().map(Field::After);
    match shape.kind {
        Kind::Copy
        | Kind::Insert
        | Kind::CountedInsert
        | Kind::Upsert
        | Kind::UpsertNoted
        | Kind::Present => after().collect(),
        Kind::Update | Kind::UpdateNoted => {
            let rest = shape.after.iter().filter(|c| !relation.column(*c).key).map(Field::After);
            keys().chain(rest).collect()
        }
        Kind::Rekey => keys().chain(after()).collect(),
        Kind::Delete | Kind::Replace | Kind::DeleteNoted => keys().collect(),
        Kind::DeleteAside | Kind::GoneNoted => {
            let new = shape.after.iter().filter(|c| relation.column(*c).key).map(Field::After);
            keys().chain(new).collect()
        }
        Kind::UpdateWhole => shape.before.iter().map(Field::Before).chain(after()).collect(),
        Kind::DeleteWhole => shape.before.iter().map(Field::Before).collect(),
        Kind::Clear
        | Kind::Checkpoint
        | Kind::Flush
        | Kind::SetAside
        | Kind::ChunkClaim
        | Kind::ChunkDone
        | Kind::Stage
        | Kind::StageCopy
        | Kind::StageMerge
        | Kind::StageCheck => Vec::new(),
    }
}

/// The source column a field is about.
pub(super) fn column_of(relation: &Relation, field: Field) -> usize {
    match field {
        Field::After(column) | Field::Before(column) => column,
        Field::Key(place) => relation.key[place],
    }
}

/// The statement of `shape`. Beside its [`fields`], an exact statement for many rows takes their
/// number (int8), and a noted one pipeline, position, table (text) and the change's number (int8).
/// `notes` are those of a table that is being loaded.
pub(super) fn sql(relation: &Relation, notes: Option<&Notes>, shape: &Shape) -> Sql {
    let fields = fields(relation, shape);
    let types: Vec<(u32, u32)> =
        fields.iter().map(|f| relation.column(column_of(relation, *f)).oids).collect();
    let mut text = Text { relation, notes, shape, fields: &fields, out: String::new() };
    text.statement();
    let text = text.out;
    let mut parameters: Vec<u32> = types
        .iter()
        .map(|ty| if shape.many && shape.kind != Kind::Copy { ty.1 } else { ty.0 })
        .collect();
    match shape.kind {
        Kind::Copy => parameters.clear(),
        Kind::Insert | Kind::CountedInsert | Kind::Clear => {}
        _ => match shape.check {
            Check::Exact if shape.many => parameters.push(INT8),
            Check::Exact | Check::Tolerant => {}
            Check::Noted => parameters.extend([TEXT, TEXT, TEXT, INT8]),
            Check::Told | Check::Fresh => parameters.extend([TEXT, TEXT, TEXT, TEXT, INT8]),
        },
    }
    Sql { text, parameters }
}

/// Columns that an upsert sets in a row that is there already. A key that the target holds equal may
/// be spelt another way.
fn upserted_columns<'r>(
    relation: &'r Relation,
    shape: &'r Shape,
) -> impl Iterator<Item = &'r TargetColumn> {
    let columns = shape.after.iter().map(|c| relation.column(c));
    columns.filter(|column| !column.key || column.folds())
}

/// Whether an upsert meets every row that it is sent: it sets something in those that are there.
pub(super) fn upserts_all(relation: &Relation, shape: &Shape) -> bool {
    upserted_columns(relation, shape).next().is_some()
}

/// What follows SELECT so that a statement fails unless `from` has that many rows, an `int8` exactly: a
/// function of the same name that fitted better would be called (`trust`). The function is called only to fail: it is slower than all the rest of a small statement.
pub(super) fn expect_rows(from: &str, rows: &str) -> String {
    format!("lockstep.expect_rows(count(*), {rows}) FROM {from} HAVING count(*) <> {rows}")
}

/// `pg_type` numbers of the parameters beside the rows.
const INT8: u32 = 20;
const TEXT: u32 = 25;

struct Text<'a> {
    relation: &'a Relation,
    notes: Option<&'a Notes>,
    shape: &'a Shape,
    fields: &'a [Field],
    out: String,
}

impl Text<'_> {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn statement(&mut self) {
        let name = &self.relation.name;
        match self.shape.kind {
            Kind::Copy => {
                let columns = self.columns();
                self.out = format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)");
            }
            Kind::Insert => self.out = self.insert(),
            Kind::CountedInsert => {
                self.out = format!(
                    "WITH w AS ({} RETURNING 1) SELECT {}",
                    self.insert(),
                    expect_rows("w", "1::int8")
                );
            }
            Kind::Upsert => {
                self.upsert();
                if let Some(check) = self.upserted() {
                    self.out = format!("WITH w AS ({} RETURNING 1) SELECT {check}", self.out);
                }
            }
            Kind::DeleteNoted => self.delete_noted(),
            Kind::UpdateNoted => self.update_noted(),
            Kind::UpsertNoted => self.upsert_noted(),
            Kind::DeleteAside => self.delete_aside(),
            Kind::GoneNoted => self.gone_noted(),
            Kind::Clear => self.out = format!("DELETE FROM {name}"),
            Kind::Present => self.out = self.present(),
            _ => self.counted(),
        }
    }

    fn insert(&self) -> String {
        let (name, columns) = (&self.relation.name, self.columns());
        let values = self.list(|text, i| write!(text, "${}", i + 1));
        format!("INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({values})")
    }

    /// What is asked of the count of an upsert, if anything is.
    fn upserted(&self) -> Option<String> {
        let rows =
            if self.shape.many { format!("${}", self.fields.len() + 1) } else { "1::int8".into() };
        (self.shape.check == Check::Exact).then(|| expect_rows("w", &rows))
    }

    fn upsert(&mut self) {
        let name = &self.relation.name;
        let columns = self.columns();
        let from = if self.shape.many {
            format!("SELECT * FROM {}", self.unnest())
        } else {
            format!("VALUES ({})", self.list(|text, i| write!(text, "${}", i + 1)))
        };
        let key: Vec<&str> =
            self.relation.key.iter().map(|c| self.relation.column(*c).name.as_str()).collect();
        let sets: Vec<String> = upserted_columns(self.relation, self.shape)
            .map(|c| format!("{0} = EXCLUDED.{0}", c.name))
            .collect();
        let action = if sets.is_empty() {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {}", sets.join(", "))
        };
        self.out = format!(
            "INSERT INTO {name} ({columns}) OVERRIDING SYSTEM VALUE {from} ON CONFLICT ({}) DO {action}",
            key.join(", ")
        );
    }

    /// Updates and deletes, with what is asked of their row count.
    fn counted(&mut self) {
        let n = self.fields.len();
        let check = match self.shape.check {
            Check::Tolerant | Check::Fresh => None,
            Check::Told => Some(self.told("w")),
            Check::Exact if self.shape.many => Some(expect_rows("w", &format!("${}", n + 1))),
            Check::Exact => Some(expect_rows("w", "1::int8")),
            Check::Noted => Some(format!(
                "lockstep.note_absent(count(*), ${}, ${}, ${}, ${}) FROM w",
                n + 1,
                n + 2,
                n + 3,
                n + 4
            )),
        };
        match check {
            None => self.change(),
            Some(check) => {
                self.push("WITH w AS (");
                self.change();
                self.push(" RETURNING 1) SELECT ");
                self.push(&check);
            }
        }
    }

    /// What counts the rows of `from` that are other than expected; its parameters stand behind the rows'.
    fn told(&self, from: &str) -> String {
        let [pipeline, position, table, operation, sent] =
            [1, 2, 3, 4, 5].map(|i| format!("${}", self.fields.len() + i));
        let (expected, forced) = match self.shape.check {
            Check::Fresh => ("0::int8".to_owned(), "count(*)".to_owned()),
            _ => (sent.clone(), format!("{sent} - count(*)")),
        };
        format!(
            "lockstep.note_forced({pipeline}, {position}, {table}, {operation}, {forced}) FROM {from} \
             HAVING count(*) <> {expected}"
        )
    }

    fn present(&self) -> String {
        let keys: Vec<String> = self
            .fields
            .iter()
            .enumerate()
            .map(|(i, field)| {
                let column = self.relation.column(column_of(self.relation, *field));
                column.equals(&format!("t.{}", column.name), &self.value(i))
            })
            .collect();
        let rows = if self.shape.many { format!(", {}", self.unnest()) } else { String::new() };
        let from = format!("{} AS t{rows} WHERE {}", self.relation.name, keys.join(" AND "));
        format!("SELECT {}", self.told(&from))
    }

    fn change(&mut self) {
        let name = &self.relation.name;
        let text = match self.shape.kind {
            Kind::Update | Kind::UpdateNoted | Kind::Rekey if self.shape.many => format!(
                "UPDATE {name} AS t SET {} FROM {} WHERE {}",
                self.sets(),
                self.unnest(),
                self.keys()
            ),
            Kind::Update | Kind::UpdateNoted | Kind::Rekey => {
                format!("UPDATE {name} AS t SET {} WHERE {}", self.sets(), self.keys())
            }
            Kind::Delete | Kind::DeleteNoted if self.shape.many => {
                format!("DELETE FROM {name} AS t USING {} WHERE {}", self.unnest(), self.keys())
            }
            Kind::Delete | Kind::DeleteNoted => {
                format!("DELETE FROM {name} AS t WHERE {}", self.keys())
            }
            Kind::UpdateWhole => format!(
                "UPDATE {name} AS t SET {} FROM {} WHERE t.ctid = r.ctid AND t.tableoid = r.tableoid",
                self.sets(),
                self.one_row()
            ),
            Kind::DeleteWhole => format!(
                "DELETE FROM {name} AS t USING {} WHERE t.ctid = r.ctid AND t.tableoid = r.tableoid",
                self.one_row()
            ),
            other => unreachable!("{other:?} changes no rows"),
        };
        self.push(&text);
    }

    /// `unnest($1, $2, …) AS u(f0, f1, …)`
    fn unnest(&self) -> String {
        let arrays = self.list(|text, i| write!(text, "${}", i + 1));
        let names = self.list(|text, i| write!(text, "f{i}"));
        format!("unnest({arrays}) AS u({names})")
    }

    /// Whether a row is known by the very spelling of its key: a change names it as it is. Rows from before
    /// a load may be spelt otherwise.
    fn spells(&self) -> bool {
        self.relation.folds_keys() && self.notes.is_none_or(|notes| !notes.keep)
    }

    /// How the statement names the value of field `i`.
    fn value(&self, i: usize) -> String {
        if self.shape.many { format!("u.f{i}") } else { format!("${}", i + 1) }
    }

    fn sets(&self) -> String {
        let mut sets: Vec<String> = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            if let Field::After(column) = field {
                sets.push(format!("{} = {}", self.relation.column(*column).name, self.value(i)));
            }
        }
        if sets.is_empty() {
            // Nothing to write, yet the row has to be there.
            let first = self.fields.first().map(|f| column_of(self.relation, *f));
            let name = &self.relation.column(first.expect("a row is identified by a column")).name;
            sets.push(format!("{name} = t.{name}"));
        }
        sets.join(", ")
    }

    fn keys(&self) -> String {
        let mut keys: Vec<String> = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            if let Field::Key(_) = field {
                let column = self.relation.column(column_of(self.relation, *field));
                let (found, value) = (format!("t.{}", column.name), self.value(i));
                keys.push(column.equals(&found, &value));
                if self.spells() {
                    keys.extend(column.spelt_alike(&found, &value));
                }
            }
        }
        keys.join(" AND ")
    }

    /// The one row that equals the before image; of several equal ones any. Where the image lacks a
    /// column, rows that equal it may differ: then a second one is found too, and the check on the
    /// count refuses the change.
    fn one_row(&self) -> String {
        let mut all: Vec<String> = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            if let Field::Before(column) = field {
                all.push(self.relation.column(*column).identical(i + 1));
            }
        }
        for column in self.shape.nulls.iter() {
            all.push(format!("{} IS NULL", self.relation.column(column).name));
        }
        let whole = self.relation.columns.iter().enumerate().all(|(i, column)| {
            column.is_none() || self.shape.before.contains(i) || self.shape.nulls.contains(i)
        });
        let limit = if whole || self.shape.check != Check::Exact { 1 } else { 2 };
        let (name, all) = (&self.relation.name, all.join(" AND "));
        format!("(SELECT ctid, tableoid FROM {name} WHERE {all} LIMIT {limit}) AS r")
    }

    fn columns(&self) -> String {
        let names: Vec<&str> =
            self.shape.after.iter().map(|c| self.relation.column(c).name.as_str()).collect();
        names.join(", ")
    }

    fn list(&self, one: impl Fn(&mut String, usize) -> std::fmt::Result) -> String {
        let mut text = String::new();
        for i in 0..self.fields.len() {
            if i > 0 {
                text.push_str(", ");
            }
            one(&mut text, i).expect("a string grows");
        }
        text
    }
}
