//! A run on its way to the wire: rows and values in its buffers, then its statement.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use lockstep_common::record::Change;

use super::super::encode::EncodeError;
use super::super::image::{key_value, old_value};
use super::super::parameter::{put_array, put_int8, put_text};
use super::super::pipe::{Note, Pipe};
use super::super::relation::Relation;
use super::super::statement::{self, Check, Field, Kind, Mask, Shape};
use super::{ChangeError, Replacement, Run, Runs, put};

impl Runs {
    pub(super) fn append(
        &mut self,
        relation: &Relation,
        change: &Change<'_>,
    ) -> Result<(), ChangeError> {
        let run = self.run.as_mut().expect("a run was begun");
        run.rows += 1;
        if run.shape.kind == Kind::Copy {
            self.append_row(relation, change)
        } else {
            self.append_fields(relation, change)
        }
    }

    /// The row after, as COPY takes it.
    pub(super) fn append_row(
        &mut self,
        relation: &Relation,
        change: &Change<'_>,
    ) -> Result<(), ChangeError> {
        let start = self.rows.len();
        self.rows.put_u16(0);
        let mut count = 0u16;
        for (column, value) in change.after.iter().enumerate() {
            if self.shape.after.contains(column) {
                put(relation, column, value, &self.mode.rules, &mut self.rows)?;
                count += 1;
            }
        }
        self.rows[start..start + 2].copy_from_slice(&count.to_be_bytes());
        Ok(())
    }

    /// The value of each field.
    pub(super) fn append_fields(
        &mut self,
        relation: &Relation,
        change: &Change<'_>,
    ) -> Result<(), ChangeError> {
        let run = self.run.as_ref().expect("a run was begun");
        for (field, out) in run.fields.iter().zip(&mut self.columns) {
            let value = match *field {
                Field::After(column) => change.after.get(column),
                Field::Key(place) => key_value(relation, change, place),
                Field::Before(column) => old_value(change, column),
            };
            let value = value.ok_or(ChangeError::Corrupt("an image lacks a column"))?;
            put(relation, statement::column_of(relation, *field), value, &self.mode.rules, out)?;
        }
        Ok(())
    }

    /// Ends the run in hand: its statement is then written.
    ///
    /// # Errors
    /// When it is larger than one message may be.
    pub(in super::super) fn finish(&mut self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        let Some(mut run) = self.run.take() else { return Ok(()) };
        match run.shape.kind {
            Kind::Copy => self.finish_rows(&mut run, pipe)?,
            Kind::Replace => {
                let shape = Shape { after: Mask::default(), ..run.shape.clone() };
                self.execute(&run, Shape { kind: Kind::Delete, ..shape }, pipe)?;
                self.drop_stale_rows();
                self.finish_rows(&mut run, pipe)?;
            }
            _ => self.execute(&run, run.shape.clone(), pipe)?,
        }
        self.reset_buffers();
        Ok(())
    }

    pub(super) fn reset_buffers(&mut self) {
        self.rows.clear();
        self.columns.iter_mut().for_each(BytesMut::clear);
        self.seen.clear();
        if !self.replacement.rows.is_empty() {
            self.replacement = Replacement::default();
        }
    }

    fn drop_stale_rows(&mut self) {
        if self.replacement.stale {
            let mut rows = BytesMut::with_capacity(self.rows.len());
            for range in &self.replacement.rows {
                rows.put_slice(&self.rows[range.clone()]);
            }
            self.rows = rows;
        }
    }

    /// Sends what is in the row buffer as part of the run's COPY.
    pub(super) fn copy_rows(&mut self, pipe: &mut Pipe) -> Result<(), ChangeError> {
        let run = self.run.as_mut().expect("rows belong to a run");
        copy_begin(run, pipe)?;
        pipe.copy_data(&self.rows);
        self.rows.clear();
        Ok(())
    }

    fn finish_rows(&mut self, run: &mut Run, pipe: &mut Pipe) -> Result<(), ChangeError> {
        if run.rows == 1 && !run.copying {
            return self.insert(run, pipe);
        }
        copy_begin(run, pipe)?;
        self.rows.put_i16(-1);
        pipe.copy_data(&self.rows);
        pipe.copy_end(run.rows);
        Ok(())
    }

    /// A single row: its parameters are the row as COPY takes it, without the count before it.
    fn insert(&mut self, run: &Run, pipe: &mut Pipe) -> Result<(), ChangeError> {
        let shape = row_shape(run, Kind::Insert);
        let name = pipe.prepare(&shape, || statement::sql(&run.relation, None, &shape));
        let count = shape.after.iter().count();
        let row = &self.rows[2..];
        pipe.execute(name, count, |out| out.put_slice(row), note(run)).map_err(too_large(run))
    }

    fn execute(&self, run: &Run, mut shape: Shape, pipe: &mut Pipe) -> Result<(), ChangeError> {
        shape.many = run.rows > 1;
        let notes = run.notes.as_deref();
        let name = pipe.prepare(&shape, || statement::sql(&run.relation, notes, &shape));
        let counted = !matches!(shape.kind, Kind::Upsert | Kind::UpsertNoted | Kind::Clear);
        let extra = match shape.check {
            Check::Exact if counted && shape.many => 1,
            Check::Noted if counted => 4,
            _ => 0,
        };
        let parameters = |out: &mut BytesMut| {
            for (field, bytes) in run.fields.iter().zip(&self.columns) {
                if shape.many {
                    let column = statement::column_of(&run.relation, *field);
                    put_array(run.relation.column(column).oids.0, run.rows, bytes, out);
                } else {
                    out.put_slice(bytes);
                }
            }
            match extra {
                1 => put_int8(run.rows, out),
                4 => {
                    put_text(&self.place.pipeline, out);
                    put_text(&self.place.position, out);
                    put_text(&run.relation.source, out);
                    put_int8(run.first_change, out);
                }
                _ => {}
            }
        };
        pipe.execute(name, run.fields.len() + extra, parameters, note(run)).map_err(too_large(run))
    }
}

/// The header of binary COPY: signature, no flags, no extension.
pub(in super::super) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

fn copy_begin(run: &mut Run, pipe: &mut Pipe) -> Result<(), ChangeError> {
    if run.copying {
        return Ok(());
    }
    let shape = row_shape(run, Kind::Copy);
    let name = pipe.prepare(&shape, || statement::sql(&run.relation, None, &shape));
    pipe.copy_begin(name, note(run)).map_err(too_large(run))?;
    pipe.copy_data(COPY_HEADER);
    run.copying = true;
    Ok(())
}

/// The shape of the statement that takes a run's rows.
fn row_shape(run: &Run, kind: Kind) -> Shape {
    Shape { table: run.relation.id, after: run.shape.after.clone(), ..Shape::of(kind) }
}

fn note(run: &Run) -> Note {
    Note {
        table: Some(Arc::clone(&run.relation.source)),
        operation: Some(run.operation),
        first_change: run.first_change,
        changes: run.rows,
    }
}

fn too_large(run: &Run) -> impl Fn(EncodeError) -> ChangeError {
    let column = run.relation.source.to_string();
    move |error| ChangeError::Value { column: column.clone(), error }
}
