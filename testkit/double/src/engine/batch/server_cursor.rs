//! Server cursors, as drivers open them for results that scroll: `sp_cursoropen`, `sp_cursorfetch`,
//! `sp_cursorclose`.
//!
//! A cursor stands on a block of rows, those of the last fetch; what is fetched next is told from
//! the first row of it. Its rows are read when it is opened ([`cursor`](crate::engine::cursor)).
//! Each row has a column more than the query, ROWSTAT, which is 1 for a row that is there.

use super::{Executor, cursor};
use crate::engine::bind::{Variables, unsupported};
use crate::engine::cursor::OpenCursor;
use crate::engine::env::Results;
use crate::engine::fault::Fault;
use crate::engine::statement::Called;
use crate::engine::syntax::ast::StatementKind;
use crate::{Column, Origin, Param, SqlError, SqlType, Value};

/// The kinds of `@scrollopt`.
mod scroll {
    pub const KEYSET: i64 = 0x01;
    pub const DYNAMIC: i64 = 0x02;
    pub const FORWARD_ONLY: i64 = 0x04;
    pub const STATIC: i64 = 0x08;
    pub const FAST_FORWARD: i64 = 0x10;
    /// All of them; the other bits say how results come.
    pub const KINDS: i64 = 0x1F;
}

/// The kinds of `@fetchtype`.
mod fetch {
    pub const FIRST: i64 = 0x01;
    pub const NEXT: i64 = 0x02;
    pub const PREVIOUS: i64 = 0x04;
    pub const LAST: i64 = 0x08;
    pub const ABSOLUTE: i64 = 0x10;
    pub const RELATIVE: i64 = 0x20;
    pub const REFRESH: i64 = 0x80;
    pub const PREVIOUS_NO_ADJUST: i64 = 0x200;
}

/// READ_ONLY of `@ccopt`, among the bits that say how others' changes are met.
const READ_ONLY: i64 = 0x01;
const CONCURRENCY: i64 = 0x0F;
/// Return status of a fetch that was to go before the first row and went to it instead.
const ADJUSTED: i32 = 2;

/// An open server cursor.
pub struct ServerCursor {
    pub(in crate::engine) rows: OpenCursor,
    /// Whether it stays as it was opened, whatever happens to its tables.
    pub(in crate::engine) fixed: bool,
    scrolls: bool,
    /// First row of the block, from 1; 0 before the first row.
    first: i64,
    /// Rows of the block.
    length: i64,
}

/// A block to go to, and the return status.
struct Move {
    first: i64,
    length: i64,
    status: i32,
}

impl ServerCursor {
    fn go(&self, kind: i64, number: i64, wanted: i64) -> Result<Move, SqlError> {
        let count = i64::try_from(self.rows.rows.len()).unwrap_or(i64::MAX);
        let to = |first: i64, length: i64| Move { first, length, status: 0 };
        let before = Move { first: 0, length: 1, status: 0 };
        // Before the first row there is none to stand on: the first one is taken instead.
        let from = |first: i64| match first < 1 && count > 0 {
            true => Move { first: 1, length: wanted, status: ADJUSTED },
            false => to(first, wanted),
        };
        let moved = match kind {
            fetch::NEXT => to(self.first + self.length, wanted),
            _ if !self.scrolls && kind != fetch::FIRST => {
                return Err(SqlError::new(
                    16911,
                    16,
                    1,
                    "sp_cursorfetch: The fetch type cannot be used with forward only cursors.",
                ));
            }
            fetch::FIRST if wanted == 0 => return Ok(before),
            fetch::FIRST => to(1, wanted),
            fetch::LAST if wanted == 0 => to(count + 1, 0),
            fetch::LAST => to((count + 1 - wanted).max(1), wanted),
            fetch::ABSOLUTE if number == 0 => return Ok(before),
            fetch::ABSOLUTE if number > 0 => to(number, wanted),
            fetch::ABSOLUTE => from(count + 1 + number),
            fetch::RELATIVE => from(self.first + number),
            fetch::REFRESH => to(self.first, self.length),
            fetch::PREVIOUS | fetch::PREVIOUS_NO_ADJUST if self.first <= 1 => return Ok(before),
            fetch::PREVIOUS => from(self.first - wanted),
            fetch::PREVIOUS_NO_ADJUST => {
                let first = (self.first - wanted).max(1);
                to(first, self.first - first)
            }
            _ => return Err(unsupported("a fetch type")),
        };
        if moved.first > count {
            return Ok(to(count + 1, 0));
        }
        let length = moved.length.min(count + 1 - moved.first).max(0);
        Ok(Move { length, ..moved })
    }
}

fn whole(param: Option<&Param>, default: i64) -> i64 {
    param.and_then(|param| param.value.as_i64()).unwrap_or(default)
}

/// Error 16909.
fn unknown(procedure: &str, handle: i64) -> SqlError {
    SqlError::new(
        16909,
        16,
        1,
        format!("{procedure}: The cursor identifier value provided ({handle}) is not valid."),
    )
}

/// The columns of a query and ROWSTAT.
fn with_status(columns: &[Column]) -> Vec<Column> {
    let status = Column {
        name: "ROWSTAT".to_owned(),
        ty: SqlType::Int,
        nullable: false,
        origin: Origin::Expression,
        ..columns[0].clone()
    };
    columns.iter().cloned().chain([status]).collect()
}

impl Executor<'_> {
    /// Calls one of the procedures by its bare name; none if it is no such one.
    pub(in crate::engine) fn cursor_procedure(
        &mut self,
        name: &str,
        params: &[Param],
    ) -> Result<Option<Called>, Fault> {
        match name {
            "sp_cursoropen" => self.server_open(params).map(Some),
            "sp_cursorfetch" => self.server_fetch(params).map(Some),
            "sp_cursorclose" => {
                let handle = whole(params.first(), 0);
                let known = i32::try_from(handle)
                    .ok()
                    .and_then(|handle| self.session.server_cursors.remove(&handle));
                match known {
                    Some(_) => Ok(Some(Called { status: 0, outputs: Vec::new() })),
                    None => Err(unknown(name, handle).into()),
                }
            }
            _ => Ok(None),
        }
    }

    /// `sp_cursoropen @cursor OUTPUT, @stmt, @scrollopt, @ccopt, @rowcount OUTPUT`, then the
    /// parameters of the statement by their names.
    fn server_open(&mut self, params: &[Param]) -> Result<Called, Fault> {
        let text = params.get(1).and_then(|param| param.value.to_text()).unwrap_or_default();
        let kind = whole(params.get(2), scroll::FAST_FORWARD) & scroll::KINDS;
        let fixed = kind == scroll::STATIC;
        let scrolls = matches!(kind, scroll::STATIC | scroll::KEYSET | scroll::DYNAMIC);
        if !scrolls && !matches!(kind, scroll::FORWARD_ONLY | scroll::FAST_FORWARD) {
            return Err(unsupported("a kind of cursor").into());
        }
        if whole(params.get(3), READ_ONLY) & CONCURRENCY & !READ_ONLY != 0 {
            return Err(unsupported("a server cursor that is not read-only").into());
        }
        let arguments = params.get(5..).unwrap_or_default();
        let batch = self.session.shared.parse(&text)?;
        let query = match batch.statements.as_slice() {
            [statement] => match &statement.kind {
                StatementKind::Select(query) => Some(query),
                _ => None,
            },
            _ => None,
        };
        let Some(query) = query else {
            let text = "Executing SQL directly; no cursor.";
            self.sink.message(&SqlError::new(16954, 10, 1, text))?;
            let outputs = self.run_text(&text_of(params), arguments.to_vec())?;
            return Ok(Called { status: 0, outputs });
        };
        let mut inner = self.with_variables(Variables::default(), Vec::new());
        inner.take_params(arguments)?;
        let rows = inner.with_env(false, |env, variables| cursor::read(env, variables, query))?;
        self.sink.columns(&with_status(&rows.columns))?;
        self.sink.done(None)?;
        let count = match kind {
            scroll::STATIC | scroll::KEYSET => i32::try_from(rows.rows.len()).unwrap_or(i32::MAX),
            _ => -1,
        };
        let handle = self.session.next_server_cursor();
        let cursor = ServerCursor { rows, fixed, scrolls, first: 0, length: 1 };
        self.session.server_cursors.insert(handle, cursor);
        let output = |at: usize, value: i32| {
            let param = params.get(at).filter(|param| param.output)?;
            Some(Param { ty: SqlType::Int, value: Value::Int(value), ..param.clone() })
        };
        let outputs = output(0, handle).into_iter().chain(output(4, count)).collect();
        Ok(Called { status: 0, outputs })
    }

    /// `sp_cursorfetch @cursor, @fetchtype, @rownum, @nrows`
    fn server_fetch(&mut self, params: &[Param]) -> Result<Called, Fault> {
        let handle = whole(params.first(), 0);
        let kind = whole(params.get(1), fetch::NEXT);
        let (number, wanted) = (whole(params.get(2), 1), whole(params.get(3), 1));
        let key = i32::try_from(handle).unwrap_or(0);
        let Some(cursor) = self.session.server_cursors.get_mut(&key) else {
            return Err(unknown("sp_cursorfetch", handle).into());
        };
        if !cursor.fixed && cursor.rows.is_stale() {
            return Err(unsupported(
                "a fetch from a cursor that is not static, over a table that was changed after it was opened",
            )
            .into());
        }
        if wanted < 0 {
            return Err(unsupported("a negative number of rows").into());
        }
        let moved = cursor.go(kind, number, wanted)?;
        (cursor.first, cursor.length) = (moved.first, moved.length);
        let start = usize::try_from(moved.first - 1).ok();
        let length = usize::try_from(moved.length).unwrap_or(0);
        let block =
            start.and_then(|start| cursor.rows.rows.get(start..start + length)).unwrap_or_default();
        self.sink.columns(&with_status(&cursor.rows.columns))?;
        for row in block {
            let row: Vec<Value> = row.iter().cloned().chain([Value::Int(1)]).collect();
            self.sink.row(&row)?;
        }
        self.sink.done(Some(block.len() as u64))?;
        Ok(Called { status: moved.status, outputs: Vec::new() })
    }
}

fn text_of(params: &[Param]) -> String {
    params.get(1).and_then(|param| param.value.to_text()).unwrap_or_default()
}
