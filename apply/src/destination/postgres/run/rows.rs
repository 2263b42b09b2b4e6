//! A run on its way to the wire: rows and values in its buffers, then its statement.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use lockstep_common::model::record::Change;

use super::super::encode::{EncodeError, Rules};
use super::super::image::{key_value, old_value};
use super::super::parameter::{put_array, put_int8, put_text};
use super::super::pipe::{Note, Pipe};
use super::super::statement::{self, Check, Field, Kind, Mask, Shape};
use super::open::{Order, Run};
use super::{ChangeError, Place, put};
use crate::destination::word;

/// Rows that are updated or deleted by a statement each: fewer than what an array's plan costs to
/// start. Measured, `docs/benchmarks.md`.
const FEW_ROWS: u64 = 2;

impl Run {
    /// The row after, as COPY takes it.
    pub(super) fn append_row(
        &mut self,
        change: &Change<'_>,
        rules: &Rules,
    ) -> Result<(), ChangeError> {
        let Run { relation, shape, buffers, .. } = self;
        let data = &mut buffers.data;
        let start = data.len();
        data.put_u16(0);
        let mut count = 0u16;
        for (column, value) in change.after.iter().enumerate() {
            if shape.after.contains(column) {
                put(relation, column, value, rules, data)?;
                count += 1;
            }
        }
        data[start..start + 2].copy_from_slice(&count.to_be_bytes());
        Ok(())
    }

    /// The value of each field.
    pub(super) fn append_fields(
        &mut self,
        change: &Change<'_>,
        rules: &Rules,
    ) -> Result<(), ChangeError> {
        let Run { relation, fields, buffers, .. } = self;
        for (field, out) in fields.iter().zip(&mut buffers.columns) {
            let value = match *field {
                Field::After(column) => change.after.get(column),
                Field::Key(place) => key_value(relation, change, place),
                Field::Before(column) => old_value(change, column),
            };
            let value = value.ok_or(ChangeError::Corrupt("an image lacks a column"))?;
            put(relation, statement::column_of(relation, *field), value, rules, out)?;
        }
        Ok(())
    }

    /// Writes its statement, or the end of its COPY.
    ///
    /// # Errors
    /// When it is larger than one message may be.
    pub(super) fn write(&mut self, place: &Place, pipe: &mut Pipe) -> Result<(), ChangeError> {
        match self.shape.kind {
            Kind::Copy => self.finish_rows(pipe),
            Kind::Replace => {
                let shape = Shape { after: Mask::default(), ..self.shape.clone() };
                self.execute(Shape { kind: Kind::Delete, ..shape }, place, pipe)?;
                if let Some(rows) = self.replacement.rows(&self.data) {
                    self.data = rows;
                }
                self.finish_rows(pipe)
            }
            _ => self.execute(self.shape.clone(), place, pipe),
        }
    }

    /// Sends what is in the row buffer as part of its COPY. From here on it is not known which keys it
    /// names.
    pub(super) fn copy_rows(&mut self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        self.copy_begin(pipe)?;
        pipe.copy_data(&self.data);
        self.data.clear();
        self.seen.clear();
        Ok(())
    }

    /// The same as a counted statement for each row. (A COPY's count comes with its reply, behind the
    /// commit.)
    pub(super) fn insert_rows(&mut self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        let shape = self.row_shape(Kind::CountedInsert);
        let columns = shape.after.iter().count();
        let rows = self.data.split();
        let mut rest = &rows[..];
        while !rest.is_empty() {
            // The number of values stands before them.
            rest = &rest[2..];
            let name = pipe.prepare(&shape, || statement::sql(&self.relation, None, &shape));
            let row = |out: &mut BytesMut| {
                (0..columns).for_each(|_| out.put_slice(split_value(&mut rest)));
            };
            let note = Note { rows: 1, ..self.note() };
            pipe.execute(name, columns, row, note).map_err(self.too_large())?;
        }
        Ok(())
    }

    fn finish_rows(&mut self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        if self.fires {
            return self.insert_rows(pipe);
        }
        if self.rows == 1 && !self.copying {
            return self.insert(pipe);
        }
        self.copy_begin(pipe)?;
        self.data.put_i16(-1);
        pipe.copy_data(&self.data);
        pipe.copy_end(self.rows);
        Ok(())
    }

    fn copy_begin(&mut self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        if self.copying {
            return Ok(());
        }
        let shape = self.row_shape(Kind::Copy);
        let name = pipe.prepare(&shape, || statement::sql(&self.relation, None, &shape));
        pipe.copy_begin(name, self.note()).map_err(self.too_large())?;
        pipe.copy_data(COPY_HEADER);
        self.copying = true;
        Ok(())
    }

    /// A single row: its parameters are the row as COPY takes it, without the count before it.
    fn insert(&self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        let shape = self.row_shape(Kind::Insert);
        let name = pipe.prepare(&shape, || statement::sql(&self.relation, None, &shape));
        let count = shape.after.iter().count();
        let row = &self.data[2..];
        let note = Note { counted: true, ..self.note() };
        let written = pipe.execute(name, count, |out| out.put_slice(row), note);
        written.map_err(self.too_large())
    }

    fn execute(&self, mut shape: Shape, place: &Place, pipe: &mut Pipe) -> Result<(), ChangeError> {
        let by_key = matches!(shape.kind, Kind::Update | Kind::Delete);
        let few = (2..=FEW_ROWS).contains(&self.rows);
        let plain = matches!(shape.check, Check::Exact | Check::Tolerant);
        if few && by_key && plain && self.order != Order::All {
            return self.execute_each(&shape, pipe);
        }
        shape.many = self.rows > 1;
        let upserts = matches!(shape.kind, Kind::Upsert | Kind::UpsertNoted);
        if upserts && matches!(shape.check, Check::Told | Check::Fresh) {
            self.tell_present(&shape, place, pipe)?;
        }
        if upserts {
            // Beside a load a row in another spelling of the key is not written over.
            let spelt = shape.kind == Kind::UpsertNoted && self.relation.folds_keys();
            let all = (self.fires || spelt) && statement::upserts_all(&self.relation, &shape);
            shape.check = if all { Check::Exact } else { Check::Tolerant };
        }
        let notes = self.notes.as_deref();
        let name = pipe.prepare(&shape, || statement::sql(&self.relation, notes, &shape));
        let extra = match shape.check {
            _ if shape.kind == Kind::Clear => 0,
            Check::Exact if shape.many => 1,
            Check::Noted => 4,
            Check::Told | Check::Fresh => 5,
            Check::Exact | Check::Tolerant => 0,
        };
        let parameters = |out: &mut BytesMut| {
            self.put_fields(&shape, |_| true, out);
            match extra {
                1 => put_int8(self.rows, out),
                5 => self.put_told(place, out),
                4 => {
                    put_text(&place.pipeline, out);
                    put_text(&place.position, out);
                    put_text(&self.relation.source, out);
                    put_int8(self.first_change, out);
                }
                _ => {}
            }
        };
        let count = self.fields.len() + extra;
        let counted = shape.kind == Kind::Upsert
            && shape.check == Check::Tolerant
            && statement::upserts_all(&self.relation, &shape);
        let note = Note { counted, ..self.note() };
        pipe.execute(name, count, parameters, note).map_err(self.too_large())
    }

    /// Before an upsert: counts what of it is not as it was in the source.
    fn tell_present(
        &self,
        upsert: &Shape,
        place: &Place,
        pipe: &mut Pipe,
    ) -> Result<(), ChangeError> {
        let of_key = |column: usize| self.relation.column(column).key;
        let mut shape = Shape { kind: Kind::Present, ..upsert.clone() };
        shape.after.clear(self.relation.columns.len());
        upsert.after.iter().filter(|c| of_key(*c)).for_each(|c| shape.after.insert(c));
        let name = pipe.prepare(&shape, || statement::sql(&self.relation, None, &shape));
        let count = shape.after.iter().count() + 5;
        let parameters = |out: &mut BytesMut| {
            self.put_fields(&shape, of_key, out);
            self.put_told(place, out);
        };
        pipe.execute(name, count, parameters, self.note()).map_err(self.too_large())
    }

    /// The values of its fields, of those columns.
    fn put_fields(&self, shape: &Shape, which: impl Fn(usize) -> bool, out: &mut BytesMut) {
        for (field, bytes) in self.fields.iter().zip(&self.columns) {
            let column = statement::column_of(&self.relation, *field);
            if !which(column) {
                continue;
            }
            if shape.many {
                put_array(self.relation.column(column).oids.0, self.rows, bytes, out);
            } else {
                out.put_slice(bytes);
            }
        }
    }

    fn put_told(&self, place: &Place, out: &mut BytesMut) {
        put_text(&place.pipeline, out);
        put_text(&place.position, out);
        put_text(&self.relation.source, out);
        put_text(word(self.operation), out);
        put_int8(self.rows, out);
    }

    /// A statement for each row, which names a key that no other row does, so that their order
    /// does not matter either. Not where foreign keys and triggers fire: they may see the rows that one
    /// statement of the source met only together.
    fn execute_each(&self, shape: &Shape, pipe: &mut Pipe) -> Result<(), ChangeError> {
        let notes = self.notes.as_deref();
        let mut columns: Vec<&[u8]> = self.columns.iter().map(|column| &column[..]).collect();
        columns.truncate(self.fields.len());
        for _ in 0..self.rows {
            let name = pipe.prepare(shape, || statement::sql(&self.relation, notes, shape));
            let row = |out: &mut BytesMut| {
                columns.iter_mut().for_each(|column| out.put_slice(split_value(column)));
            };
            let note = Note { rows: 1, ..self.note() };
            pipe.execute(name, self.fields.len(), row, note).map_err(self.too_large())?;
        }
        Ok(())
    }

    /// The shape of the statement that takes its rows.
    fn row_shape(&self, kind: Kind) -> Shape {
        let after = self.shape.after.clone();
        Shape { table: self.relation.id, after, ..Shape::of(kind) }
    }

    fn note(&self) -> Note {
        Note {
            table: Some(Arc::clone(&self.relation.source)),
            operation: Some(self.operation),
            first_change: self.first_change,
            last_change: self.last_change,
            rows: self.rows,
            counted: false,
        }
    }

    fn too_large(&self) -> impl Fn(EncodeError) -> ChangeError + use<> {
        let column = self.relation.source.to_string();
        move |error| ChangeError::Value { column: column.clone(), error }
    }
}

/// Takes the first value off: its length, -1 for null, and its bytes.
fn split_value<'a>(values: &mut &'a [u8]) -> &'a [u8] {
    let length = i32::from_be_bytes(values[..4].try_into().expect("a value has a length"));
    let (value, rest) = values.split_at(4 + usize::try_from(length).unwrap_or(0));
    *values = rest;
    value
}

/// The header of binary COPY: signature, no flags, no extension.
pub(in super::super) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
