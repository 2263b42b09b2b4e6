//! Changes of a table that is being loaded: what is done with its rows, and the note of it, in one
//! statement. `load::notes` says what a note is and why.

use super::super::load::Notes;
use super::super::load::notes::{COLUMN, GIVEN, GONE, PARTIAL, SPELT, STATE, WHOLE, spelling};
use super::{Field, Text};

impl Text<'_> {
    fn notes(&self) -> &Notes {
        self.notes.expect("changes of a table that is being loaded come with its notes")
    }

    pub(super) fn delete_noted(&mut self) {
        self.push("WITH w AS (");
        self.change();
        self.push(") ");
        let note = self.note(GONE, "");
        self.push(&note);
    }

    pub(super) fn update_noted(&mut self) {
        self.push("WITH w AS (");
        self.change();
        self.push(") ");
        let given = self.fields.iter().filter_map(|field| match field {
            Field::After(column) => Some(*column),
            Field::Key(_) | Field::Before(_) => None,
        });
        // The note has the key as it is spelt now.
        let key = self.relation.key.iter().copied();
        let spelt = key.filter(|column| self.relation.column(*column).folds());
        let sets: Vec<String> = given
            .chain(spelt)
            .map(|column| format!(", {COLUMN}{column} = EXCLUDED.{COLUMN}{column}"))
            .collect();
        let note = self.note(PARTIAL, &sets.concat());
        self.push(&note);
    }

    /// Where the target may hold keys equal, a row in another spelling is another row: it is not written
    /// over, and that is an error.
    pub(super) fn upsert_noted(&mut self) {
        self.upsert();
        let mut upsert = std::mem::take(&mut self.out);
        let note = self.note(WHOLE, "");
        if self.spells() {
            let (name, key) = (&self.relation.name, &self.relation.key);
            let alike = |column: &usize| {
                let column = self.relation.column(*column);
                let (found, new) =
                    (format!("{name}.{}", column.name), format!("EXCLUDED.{}", column.name));
                column.spelt_alike(&found, &new)
            };
            let alike: Vec<String> = key.iter().filter_map(alike).collect();
            upsert.push_str(&format!(" WHERE {}", alike.join(" AND ")));
        }
        self.out = match self.upserted() {
            None => format!("WITH w AS ({upsert}) {note}"),
            Some(check) => {
                format!("WITH w AS ({upsert} RETURNING 1), n AS ({note}) SELECT {check}")
            }
        };
    }

    pub(super) fn delete_aside(&mut self) {
        let name = &self.relation.name;
        let mut others = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            if let Field::After(column) = field {
                let column = self.relation.column(*column);
                others.push(column.equals(&format!("o.{}", column.name), &format!("${}", i + 1)));
            }
        }
        // The row itself may have both keys, where the target holds them equal.
        self.out = format!(
            "DELETE FROM {name} AS t WHERE {} AND EXISTS (SELECT FROM {name} AS o WHERE {} \
             AND (o.ctid <> t.ctid OR o.tableoid <> t.tableoid))",
            self.keys(),
            others.join(" AND ")
        );
    }

    pub(super) fn gone_noted(&mut self) {
        let mut same = Vec::new();
        for (i, field) in self.fields.iter().enumerate() {
            let Field::Key(place) = field else { continue };
            let key = self.relation.key[*place];
            if let Some(new) = self.fields.iter().position(|f| *f == Field::After(key)) {
                let column = self.relation.column(key);
                same.push(column.equals_detached(&self.value(i), &self.value(new)));
            }
        }
        self.out = self.noted(GONE, "", &format!(" WHERE NOT ({})", same.join(" AND ")));
    }

    fn note(&self, state: &str, sets: &str) -> String {
        self.noted(state, sets, "")
    }

    /// Puts a note at each key, on a condition. Of an earlier one, columns stay noted unless the row was
    /// gone meanwhile, and a whole row stays whole until it is gone.
    fn noted(&self, state: &str, sets: &str, condition: &str) -> String {
        let notes = self.notes();
        let mut columns = Vec::new();
        let mut values = Vec::new();
        let mut given = vec![b'0'; notes.columns];
        for (i, field) in self.fields.iter().enumerate() {
            let column = super::column_of(self.relation, *field);
            let key = self.relation.column(column).key;
            if state == GONE && matches!(field, Field::After(_)) {
                continue;
            }
            if state == PARTIAL || key {
                columns.push(format!("{COLUMN}{column}"));
                values.push(self.value(i));
            }
            if state == PARTIAL && !key {
                given[column] = b'1';
            }
        }
        let given = String::from_utf8(given).expect("zeros and ones");
        let key: Vec<String> =
            self.relation.key.iter().map(|column| format!("{COLUMN}{column}")).collect();
        // How the key is spelt in this change.
        let spelt = spelling(self.relation, |column| {
            let old = self.fields.iter().position(
                |f| matches!(f, Field::Key(place) if self.relation.key[*place] == column),
            );
            let new = self.fields.iter().position(|f| *f == Field::After(column));
            self.value(old.or(new).expect("a note names its key"))
        });
        let mut remembered = String::new();
        if let Some(spelt) = spelt {
            columns.push(SPELT.to_owned());
            values.push(format!("ARRAY[{spelt}]"));
            remembered = format!(
                ", {SPELT} = CASE WHEN EXCLUDED.{SPELT} <@ n.{SPELT} THEN n.{SPELT} \
                 ELSE coalesce(n.{SPELT}, '{{}}') || EXCLUDED.{SPELT} END"
            );
        }
        let from = if self.shape.many { format!(" FROM {}", self.unnest()) } else { String::new() };
        let (columns, values, key) = (columns.join(", "), values.join(", "), key.join(", "));
        let merged = if state == PARTIAL {
            format!(
                "{STATE} = CASE n.{STATE} WHEN '{WHOLE}' THEN n.{STATE} ELSE EXCLUDED.{STATE} END, \
                 {GIVEN} = CASE n.{STATE} WHEN '{PARTIAL}' THEN n.{GIVEN} | EXCLUDED.{GIVEN} \
                 ELSE EXCLUDED.{GIVEN} END{sets}"
            )
        } else {
            format!("{STATE} = EXCLUDED.{STATE}, {GIVEN} = EXCLUDED.{GIVEN}")
        };
        format!(
            "INSERT INTO {} AS n ({columns}, {STATE}, {GIVEN}) \
             SELECT {values}, '{state}', B'{given}'::varbit{from}{condition} \
             ON CONFLICT ({key}) DO UPDATE SET {merged}{remembered}",
            notes.table
        )
    }
}
