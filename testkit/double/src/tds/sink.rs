//! From the engine's results to tokens.
//!
//! The last DONE of a response must not have its MORE bit, and nobody knows it is the last until
//! the request has ended. So every DONE is held back until something follows it (then it has MORE)
//! or the request ends (then the connection sends it as the last token).

use super::encode::{Cell, Mismatch, null_length, put_cell};
use super::response::Response;
use super::tokens::{
    Done, DoneToken, NULL_BITMAP_ROW, ROW, put_columns, put_done, put_env_change, put_message,
    put_return_status, put_return_value_head, status,
};
use crate::engine::collation::Label;
use crate::{
    Cancelled, Column, EnvChange, Param, ResultSink, SqlError, SqlType, StatementKind, Value,
};

/// Severity from which SQL Server ends the connection.
const FATAL_CLASS: u8 = 20;

/// An OUTPUT parameter as the client passed it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Output {
    /// Name by which the request knows it.
    pub declared: String,
    /// Name with which it is returned.
    pub sent: String,
    /// Place in the call, from 0.
    pub ordinal: u16,
}

/// What a client told at login that it can read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// Rows with a bitmap of their NULLs.
    pub null_bitmaps: bool,
    /// Strings in UTF-8.
    pub utf8: bool,
}

#[derive(Debug)]
struct ColumnShape {
    ty: SqlType,
    nullable: bool,
    label: Label,
    null_length: usize,
}

/// The results of the requests of one message.
pub(super) struct Sink {
    response: Response,
    reads: Reads,
    /// Statements end with DONEINPROC rather than DONE.
    procedure: bool,
    /// EXECs of a batch around what runs, which end like procedures.
    calls: u32,
    columns: Vec<ColumnShape>,
    pending: Option<Done>,
    kind: Option<StatementKind>,
    /// Number of an error no DONE has told of yet.
    failure: Option<i32>,
    last_error: Option<i32>,
    return_status: Option<i32>,
    outputs: Vec<Output>,
    returned: Vec<Param>,
    in_transaction: bool,
    fatal: bool,
}

/// What is left when a message's requests have run.
pub(super) struct Finished {
    pub response: Response,
    /// The last token of the response, to be sent without MORE.
    pub last: Done,
    pub in_transaction: bool,
    /// The connection is to be closed after the response.
    pub fatal: bool,
}

impl Sink {
    pub(super) fn new(response: Response, reads: Reads, in_transaction: bool) -> Self {
        Sink {
            response,
            reads,
            procedure: false,
            calls: 0,
            columns: Vec::new(),
            pending: None,
            kind: None,
            failure: None,
            last_error: None,
            return_status: None,
            outputs: Vec::new(),
            returned: Vec::new(),
            in_transaction,
            fatal: false,
        }
    }

    /// Begins a procedure call with these OUTPUT parameters.
    pub(super) fn begin_procedure(&mut self, outputs: Vec<Output>) {
        self.procedure = true;
        self.outputs = outputs;
        self.last_error = None;
        self.return_status = None;
        self.returned.clear();
    }

    /// Ends it: status, OUTPUT parameters, DONEPROC. `statement` says that the call runs a
    /// statement (as `sp_executesql` does), whose status is 0 or the number of its last error.
    pub(super) fn end_procedure(&mut self, statement: bool) -> Result<(), Cancelled> {
        self.flush_pending();
        let status =
            self.return_status.take().or_else(|| statement.then(|| self.last_error.unwrap_or(0)));
        if let Some(status) = status {
            put_return_status(self.response.out(), status);
        }
        for param in std::mem::take(&mut self.returned) {
            self.put_return_value(&param)?;
        }
        let failed = self.failure.take().is_some();
        self.pending = Some(self.make_done(DoneToken::Proc, failed, None));
        self.procedure = false;
        Ok(())
    }

    /// Ends the response: after an error no DONE has told of, or when the request was cancelled,
    /// with an error.
    pub(super) fn finish(mut self, outcome: Result<(), Cancelled>) -> Finished {
        let failed = self.failure.take().is_some() || outcome.is_err();
        if failed {
            self.flush_pending();
        }
        let last = self.pending.unwrap_or_else(|| self.make_done(DoneToken::Done, failed, None));
        Finished {
            last,
            response: self.response,
            in_transaction: self.in_transaction,
            fatal: self.fatal,
        }
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.fatal
    }

    pub(super) fn response(&mut self) -> &mut Response {
        &mut self.response
    }

    fn make_done(&self, token: DoneToken, failed: bool, rows: Option<u64>) -> Done {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        Done {
            token,
            status: bit(failed, status::ERROR)
                | bit(self.in_transaction, status::IN_TRANSACTION)
                | bit(rows.is_some(), status::COUNT),
            kind: self.kind.unwrap_or_default(),
            rows: rows.unwrap_or(0),
        }
    }

    fn flush_pending(&mut self) {
        if let Some(mut done) = self.pending.take() {
            done.status |= status::MORE;
            put_done(self.response.out(), done);
        }
    }

    fn put_return_value(&mut self, param: &Param) -> Result<(), Cancelled> {
        let known = self.outputs.iter().find(|o| o.declared.eq_ignore_ascii_case(&param.name));
        let (name, ordinal) = known.map_or((param.name.as_str(), 0), |o| (&o.sent, o.ordinal));
        let mark = self.response.mark();
        put_return_value_head(self.response.out(), ordinal, name, &param.ty);
        self.put_value(&param.ty, true, &param.value)
            .unwrap_or_else(|mismatch| Err(self.internal_error(&mismatch, mark)))
    }

    fn put_value(
        &mut self,
        ty: &SqlType,
        nullable: bool,
        value: &Value,
    ) -> Result<Result<(), Cancelled>, Mismatch> {
        put_value(&mut self.response, ty, nullable, Label::default(), value)
    }

    /// The engine broke its contract. The client gets an error and then no connection, which is
    /// what SQL Server does when it cannot go on.
    fn internal_error(&mut self, mismatch: &Mismatch, mark: usize) -> Cancelled {
        tracing::error!(%mismatch, "result not encodable");
        self.fatal = true;
        if !self.response.rewind(mark) {
            return self.response.cut();
        }
        let text = format!("The double failed to encode a result: {mismatch}.");
        put_message(self.response.out(), &SqlError::new(596, 21, 1, text));
        self.failure = Some(596);
        Cancelled
    }

    fn put_row(&mut self, row: &[Value]) -> Result<Result<(), Cancelled>, Mismatch> {
        if self.response.faults().cuts_this_row() {
            return self.cut_row(row);
        }
        let bitmap = self.reads.null_bitmaps && self.saves_with_bitmap(row);
        if bitmap {
            self.response.out().push(NULL_BITMAP_ROW);
            put_bitmap(self.response.out(), row);
        } else {
            self.response.out().push(ROW);
        }
        for (column, value) in self.columns.iter().zip(row) {
            if bitmap && *value == Value::Null {
                continue;
            }
            let written = column.put(&mut self.response, value)?;
            if written.is_err() {
                return Ok(written);
            }
        }
        Ok(self.response.spill())
    }

    /// Writes the first half of a row, up to the middle of a value, and ends the connection there.
    fn cut_row(&mut self, row: &[Value]) -> Result<Result<(), Cancelled>, Mismatch> {
        let middle = row.len() / 2;
        self.response.out().push(ROW);
        for (i, (column, value)) in self.columns.iter().zip(row).take(middle + 1).enumerate() {
            let start = self.response.mark();
            let written = column.put(&mut self.response, value)?;
            if written.is_err() {
                return Ok(written);
            }
            if i == middle {
                self.response.halve(start);
            }
        }
        Ok(Err(self.response.cut()))
    }

    /// Whether leaving out the NULLs of `row` saves more than the bitmap costs.
    fn saves_with_bitmap(&self, row: &[Value]) -> bool {
        let saved: usize = self
            .columns
            .iter()
            .zip(row)
            .filter(|(_, value)| matches!(value, Value::Null))
            .map(|(column, _)| column.null_length)
            .sum();
        saved > self.columns.len().div_ceil(8)
    }
}

impl ColumnShape {
    fn put(
        &self,
        response: &mut Response,
        value: &Value,
    ) -> Result<Result<(), Cancelled>, Mismatch> {
        put_value(response, &self.ty, self.nullable, self.label, value)
    }
}

/// What a client that does not read UTF-8 is sent in the place of a UTF-8 column: UTF-16, of as
/// many units as the column has bytes.
fn without_utf8(column: &Column) -> Column {
    let ty = match column.ty {
        SqlType::Char(n @ 1..=4000) => SqlType::NChar(n),
        SqlType::VarChar(Some(n @ 1..=4000)) => SqlType::NVarChar(Some(n)),
        SqlType::Char(_) | SqlType::VarChar(_) => SqlType::NVarChar(None),
        SqlType::Text => SqlType::NText,
        ref other => other.clone(),
    };
    Column { ty, ..column.clone() }
}

/// The inner result tells of the connection, the outer one of the value.
fn put_value(
    response: &mut Response,
    ty: &SqlType,
    nullable: bool,
    label: Label,
    value: &Value,
) -> Result<Result<(), Cancelled>, Mismatch> {
    Ok(match put_cell(response.out(), ty, nullable, label, value)? {
        Cell::Written => Ok(()),
        Cell::Bytes(bytes) => response.put_plp(bytes),
        Cell::Units(units) => response.put_plp_units(units),
        Cell::Converted(bytes) => response.put_plp(&bytes),
    })
}

fn put_bitmap(out: &mut Vec<u8>, row: &[Value]) {
    for eight in row.chunks(8) {
        let bits = eight.iter().enumerate();
        out.push(
            bits.fold(0, |byte, (i, value)| byte | u8::from(matches!(value, Value::Null)) << i),
        );
    }
}

impl ResultSink for Sink {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.response.check()?;
        self.flush_pending();
        let read = |column: &Column| match column.label.is_utf8() && !self.reads.utf8 {
            true => without_utf8(column),
            false => column.clone(),
        };
        let columns: Vec<Column> = columns.iter().map(read).collect();
        put_columns(self.response.out(), &columns);
        self.columns = columns
            .iter()
            .map(|column| ColumnShape {
                label: column.label,
                ty: column.ty.clone(),
                nullable: column.nullable,
                null_length: null_length(&column.ty, column.nullable),
            })
            .collect();
        self.kind = Some(StatementKind::Select);
        Ok(())
    }

    fn row(&mut self, row: &[Value]) -> Result<(), Cancelled> {
        self.response.check()?;
        assert_eq!(row.len(), self.columns.len(), "a row has its columns' cells");
        let mark = self.response.mark();
        self.put_row(row).unwrap_or_else(|mismatch| Err(self.internal_error(&mismatch, mark)))
    }

    fn done(&mut self, rows: Option<u64>) -> Result<(), Cancelled> {
        self.flush_pending();
        let within = self.procedure || self.calls > 0;
        let token = if within { DoneToken::InProc } else { DoneToken::Done };
        let failed = self.failure.take().is_some();
        self.pending = Some(self.make_done(token, failed, rows));
        self.kind = None;
        self.response.check()
    }

    fn message(&mut self, message: &SqlError) -> Result<(), Cancelled> {
        self.flush_pending();
        put_message(self.response.out(), message);
        if message.class > 10 {
            self.failure = Some(message.number);
            self.last_error = Some(message.number);
        }
        self.fatal |= message.class >= FATAL_CLASS;
        self.response.check()
    }

    fn env_change(&mut self, change: &EnvChange) -> Result<(), Cancelled> {
        self.flush_pending();
        put_env_change(self.response.out(), change);
        match change {
            EnvChange::Database { .. } => {}
            EnvChange::TransactionBegun(_) => self.in_transaction = true,
            EnvChange::TransactionCommitted(_) | EnvChange::TransactionRolledBack(_) => {
                self.in_transaction = false;
            }
        }
        Ok(())
    }

    fn statement(&mut self, kind: StatementKind) {
        self.kind = Some(kind);
    }

    fn is_cancelled(&self) -> bool {
        self.response.is_cancelled()
    }

    fn return_status(&mut self, status: i32) -> Result<(), Cancelled> {
        self.return_status = Some(status);
        Ok(())
    }

    fn begin_call(&mut self) {
        self.calls += 1;
    }

    /// [MS-TDS] 2.2.7.8, 2.2.7.18: EXEC in a batch ends like a call, with RETURNSTATUS and
    /// DONEPROC; one that fails ends with the DONE of its error.
    fn end_call(&mut self, status: Option<i32>) -> Result<(), Cancelled> {
        self.calls -= 1;
        let (Some(status), false, 0) = (status, self.procedure, self.calls) else {
            return Ok(());
        };
        self.flush_pending();
        put_return_status(self.response.out(), status);
        let failed = self.failure.take().is_some();
        self.pending = Some(self.make_done(DoneToken::Proc, failed, None));
        self.kind = None;
        self.response.check()
    }

    fn return_value(&mut self, param: &Param) -> Result<(), Cancelled> {
        self.returned.push(param.clone());
        Ok(())
    }
}
