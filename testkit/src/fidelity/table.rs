//! Tables of drawn types, and what their rows are at any time.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::kind::Kind;
use super::value::{Mapping, Value};

/// What stands behind the last column, because blanks at the end of psql's output are cut off.
const END: &str = ".";

/// Most columns of a table, beside its key.
const COLUMNS: usize = 9;

/// A table with an integer key, and its rows.
#[derive(Clone, Debug)]
pub struct Table {
    /// Name, in schema `dbo`.
    pub name: String,
    columns: Vec<Kind>,
    rows: BTreeMap<i32, Vec<Option<Value>>>,
}

impl Table {
    /// Tables in which each of `kinds` has a column.
    pub fn deal(mut kinds: Vec<Kind>, rng: &mut StdRng) -> Vec<Table> {
        kinds.shuffle(rng);
        let mut tables = Vec::new();
        while !kinds.is_empty() {
            let count = rng.random_range(1..=COLUMNS).min(kinds.len());
            let mut columns: Vec<Kind> = kinds.drain(..count).collect();
            // A table has one at most.
            while columns.iter().filter(|kind| **kind == Kind::RowVersion).count() > 1 {
                kinds.extend(columns.pop());
            }
            let name = format!("typed_{}", tables.len());
            tables.push(Table { name, columns, rows: BTreeMap::new() });
        }
        tables
    }

    /// What makes it, captured.
    pub fn create_sql(&self) -> Vec<String> {
        let mut columns = String::new();
        for (i, kind) in self.columns.iter().enumerate() {
            write!(columns, ", c{i} {}", kind.declared()).expect("a string takes text");
            columns.push_str(if *kind == Kind::RowVersion { " NOT NULL" } else { " NULL" });
        }
        let before = self.columns.iter().filter_map(Kind::before);
        let create =
            format!("CREATE TABLE dbo.{} (id int NOT NULL PRIMARY KEY{columns})", self.name);
        let capture = format!(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{}', \
             @role_name = NULL, @supports_net_changes = 0",
            self.name
        );
        before.chain([create, capture]).collect()
    }

    /// Some statements; the rows are what they leave.
    pub fn work(&mut self, rng: &mut StdRng) -> Vec<String> {
        (0..rng.random_range(3..=8)).map(|_| self.statement(rng)).collect()
    }

    fn statement(&mut self, rng: &mut StdRng) -> String {
        let id = rng.random_range(0..12);
        match self.rows.get(&id) {
            None => self.insert(id, rng),
            Some(_) if rng.random_ratio(1, 5) => {
                self.rows.remove(&id);
                format!("DELETE FROM dbo.{} WHERE id = {id}", self.name)
            }
            Some(_) if rng.random_ratio(1, 6) => self.move_row(id, rng),
            Some(_) => self.update(id, rng),
        }
    }

    fn insert(&mut self, id: i32, rng: &mut StdRng) -> String {
        let row: Vec<Option<Value>> = self
            .columns
            .iter()
            .map(|kind| {
                let null = *kind != Kind::RowVersion && rng.random_ratio(1, 6);
                (!null).then(|| kind.draw(rng))
            })
            .collect();
        let (mut names, mut values) = (String::new(), String::new());
        for (i, (kind, value)) in self.columns.iter().zip(&row).enumerate() {
            if *kind != Kind::RowVersion {
                write!(names, ", c{i}").expect("a string takes text");
                write!(values, ", {}", literal(kind, value.as_ref())).expect("a string takes text");
            }
        }
        self.rows.insert(id, row);
        format!("INSERT INTO dbo.{} (id{names}) VALUES ({id}{values})", self.name)
    }

    /// Sets some of the columns, often not the long ones.
    fn update(&mut self, id: i32, rng: &mut StdRng) -> String {
        let settable: Vec<usize> =
            (0..self.columns.len()).filter(|i| self.columns[*i] != Kind::RowVersion).collect();
        let count = rng.random_range(0..=settable.len());
        let mut sets = vec!["id = id".to_owned()];
        for i in settable.choose_multiple(rng, count) {
            let kind = &self.columns[*i];
            let value = (!rng.random_ratio(1, 6)).then(|| kind.draw(rng));
            sets.push(format!("c{i} = {}", literal(kind, value.as_ref())));
            if let Some(row) = self.rows.get_mut(&id) {
                row[*i] = value;
            }
        }
        // A key cannot stand beside others without being set; with none it is all there is.
        let sets = if sets.len() > 1 { &sets[1..] } else { &sets[..] };
        format!("UPDATE dbo.{} SET {} WHERE id = {id}", self.name, sets.join(", "))
    }

    /// Gives the row another key.
    fn move_row(&mut self, id: i32, rng: &mut StdRng) -> String {
        let to = rng.random_range(12..1000);
        if self.rows.contains_key(&to) {
            return self.update(id, rng);
        }
        if let Some(row) = self.rows.remove(&id) {
            self.rows.insert(to, row);
        }
        format!("UPDATE dbo.{} SET id = {to} WHERE id = {id}", self.name)
    }

    /// A query of the source for what only the server knows: key and row version in hexadecimal;
    /// none for a table without one.
    pub fn versions_sql(&self) -> Option<String> {
        let i = self.columns.iter().position(|kind| *kind == Kind::RowVersion)?;
        Some(format!(
            "SELECT id, CONVERT(varchar(18), CAST(c{i} AS binary(8)), 2) FROM dbo.{}",
            self.name
        ))
    }

    /// Takes what that query says into the rows.
    ///
    /// # Errors
    /// When it is not eight bytes in hexadecimal.
    pub fn learn_version(&mut self, id: i32, text: &str) -> Result<()> {
        ensure!(text.len() == 16, "{text} is not a row version");
        let bytes: Result<Vec<u8>, _> =
            (0..8).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16)).collect();
        let bytes = bytes.context("a row version")?;
        let i = self.columns.iter().position(|kind| *kind == Kind::RowVersion);
        let row = self.rows.get_mut(&id).with_context(|| format!("no row {id}"))?;
        row[i.context("a column")?] = Some(Value::Bytes(bytes));
        Ok(())
    }

    /// A query of the target for the types of its columns, in order, the key first.
    pub fn types_sql(&self) -> String {
        format!(
            "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
             WHERE attrelid = 'dbo.{}'::regclass AND attnum > 0 AND NOT attisdropped \
             ORDER BY attnum",
            self.name
        )
    }

    /// Compares what that query says.
    ///
    /// # Errors
    /// When a type is another.
    pub fn check_types(&self, mapping: Mapping, shown: &str) -> Result<()> {
        let expected: Vec<String> = std::iter::once("integer".to_owned())
            .chain(self.columns.iter().map(|kind| kind.arrives_as(mapping)))
            .collect();
        let shown: Vec<&str> = shown.lines().collect();
        ensure!(
            shown == expected,
            "dbo.{} ({:?}) has the types {shown:?}, not {expected:?}",
            self.name,
            self.columns
        );
        Ok(())
    }

    /// A query of the target for all rows, in PostgreSQL's text format of COPY.
    pub fn rows_sql(&self, mapping: Mapping) -> String {
        let mut columns = String::new();
        for (i, kind) in self.columns.iter().enumerate() {
            let column = match kind {
                Kind::SqlVariant if mapping == Mapping::Default => {
                    format!("(c{i} ->> 'type') || ' ' || (c{i} ->> 'value')")
                }
                _ => format!("c{i}::text"),
            };
            write!(columns, ", {column}").expect("a string takes text");
        }
        format!(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; \
             COPY (SELECT id{columns}, '{END}' FROM dbo.{} ORDER BY id) TO STDOUT",
            self.name
        )
    }

    /// Compares what that query says, value by value.
    ///
    /// # Errors
    /// When anything is not as it should be shown.
    pub fn check_rows(&self, mapping: Mapping, shown: &str) -> Result<()> {
        let lines: Vec<&str> = shown.lines().filter(|line| *line != "SET").collect();
        ensure!(
            lines.len() == self.rows.len(),
            "dbo.{} has {} rows in the target, not {}",
            self.name,
            lines.len(),
            self.rows.len()
        );
        for ((id, row), line) in self.rows.iter().zip(lines) {
            let cells: Vec<Option<String>> = line.split('\t').map(unescape).collect();
            ensure!(cells.len() == row.len() + 2, "dbo.{}: {line}", self.name);
            ensure!(
                cells[0].as_deref() == Some(id.to_string().as_str()),
                "dbo.{}: there is no row {id} but {line}",
                self.name
            );
            for ((kind, value), cell) in self.columns.iter().zip(row).zip(&cells[1..]) {
                let right = match (value, cell) {
                    (None, None) => true,
                    (Some(value), Some(text)) => value.is_shown(kind, mapping, text),
                    _ => false,
                };
                ensure!(
                    right,
                    "dbo.{} {id}: a {} that is {value:?} is shown as {cell:?}",
                    self.name,
                    kind.declared()
                );
            }
        }
        Ok(())
    }

    /// Rows that it has.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Types of its columns.
    pub fn kinds(&self) -> &[Kind] {
        &self.columns
    }
}

fn literal(kind: &Kind, value: Option<&Value>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.literal(kind))
}

/// A field of COPY's text format; none for NULL.
fn unescape(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    let mut out = String::with_capacity(field.len());
    let mut rest = field.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => match rest.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                other => other,
            },
            c => c,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_type_is_dealt_once() {
        let mut rng = StdRng::seed_from_u64(5);
        let kinds = Kind::all(&mut rng);
        let tables = Table::deal(kinds.clone(), &mut rng);
        let dealt: usize = tables.iter().map(|table| table.kinds().len()).sum();
        assert_eq!(dealt, kinds.len());
    }

    #[test]
    fn fields_of_copy_are_read() {
        assert_eq!(unescape("\\N"), None);
        assert_eq!(unescape("a\\tb\\\\N\\r\\n").as_deref(), Some("a\tb\\N\r\n"));
        assert_eq!(unescape("").as_deref(), Some(""));
    }
}
