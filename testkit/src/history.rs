//! The source's own history: which rows every transaction left behind, in commit order.
//!
//! Sessions record, before they commit, the rows they hold locks on (read back through SQL, so that
//! set-based statements need no second implementation here). Commit order is the server's to
//! decide; each transaction writes one row to `dbo.ledger`, and the ledger's change table tells at
//! which commit LSN it was committed. Both together give the source's state at any position,
//! without a look at anything that Lockstep decoded.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result};

use crate::render::Row;
use crate::shape::{Table, Type, column};
use crate::source::{Connection, integer};

/// A commit LSN: ten bytes, compared as unsigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub [u8; 10]);

impl Lsn {
    /// Reads the source's part of a position's text, `1/00000027:00000758:0005`.
    ///
    /// # Errors
    /// When the text is not of that form.
    pub fn of_position(text: &str) -> Result<Self> {
        let lsn = || {
            let (_, hex) = text.split_once('/')?;
            let digits = hex.replace(':', "");
            let mut bytes = [0; 10];
            if digits.is_empty() {
                return Some(Lsn(bytes));
            }
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok()?;
            }
            (digits.len() == 20).then_some(Lsn(bytes))
        };
        lsn().with_context(|| format!("`{text}` is not a position of SQL Server"))
    }

    /// T-SQL literal.
    pub fn literal(self) -> String {
        let digits: String = self.0.iter().map(|b| format!("{b:02X}")).collect();
        format!("0x{digits}")
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.literal();
        write!(f, "{}:{}:{}", &digits[2..10], &digits[10..18], &digits[18..])
    }
}

/// Names a transaction: the session and its number there, as in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Session.
    pub session: i64,
    /// Number within the session, from 1.
    pub n: i64,
}

/// What one group of rows is after a transaction.
#[derive(Clone, Debug)]
pub struct Effect {
    /// Index of the table.
    pub table: usize,
    /// Canonical key of the group.
    pub group: String,
    /// All its rows; none when it is gone.
    pub rows: Vec<Row>,
}

/// The ledger: one row a transaction.
pub fn ledger_table() -> Table {
    Table::keyed(
        "ledger",
        2,
        vec![
            column("l_session", Type::Int),
            column("l_n", Type::Int),
            column("l_kind", Type::VarChar(24)),
        ],
    )
}

/// How many transactions each session has committed: a row that each of them updates.
pub fn sessions_table() -> Table {
    Table::keyed("sessions", 1, vec![column("s_session", Type::Int), column("s_count", Type::Int)])
}

/// The history of one source database.
#[derive(Debug)]
pub struct History {
    tables: Vec<Table>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Recorded, and neither seen in the ledger nor known to have failed.
    pending: HashMap<Tag, Vec<Effect>>,
    committed: Vec<(Lsn, Tag, Vec<Effect>)>,
}

impl History {
    /// An empty history of `tables`; the ledger and the sessions are added to them.
    pub fn new(mut tables: Vec<Table>) -> Arc<Self> {
        tables.push(ledger_table());
        tables.push(sessions_table());
        Arc::new(History { tables, inner: Mutex::default() })
    }

    /// The workload's tables, then the ledger, then the sessions.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Index of the ledger in [`History::tables`].
    pub fn ledger(&self) -> usize {
        self.tables.len() - 2
    }

    /// Index of the sessions in [`History::tables`].
    pub fn sessions(&self) -> usize {
        self.tables.len() - 1
    }

    /// Notes what a transaction has done, just before it commits.
    pub fn record(&self, tag: Tag, effects: Vec<Effect>) {
        self.lock().pending.insert(tag, effects);
    }

    /// Takes it back: the transaction is known to have been rolled back.
    pub fn forget(&self, tag: Tag) {
        self.lock().pending.remove(&tag);
    }

    /// Reads what the source has committed (and its capture job has captured) since the last call,
    /// and returns how far that is: the LSN of the newest ledger row.
    ///
    /// Change rows of one scan of the capture job become visible together and scans go in commit
    /// order, so that nothing below a visible LSN can appear later.
    ///
    /// # Errors
    /// When the source is away, or its ledger holds a transaction that nobody recorded.
    pub async fn learn(&self, source: &mut Connection) -> Result<Lsn> {
        let from = self.newest();
        let rows = source
            .rows(&format!(
                "SELECT [__$start_lsn], [l_session], [l_n] FROM cdc.[dbo_ledger_CT] \
                 WHERE [__$start_lsn] > {} AND [__$operation] = 2 ORDER BY [__$start_lsn]",
                from.literal()
            ))
            .await?;
        for row in rows {
            let bytes: &[u8] = row.try_get(0)?.context("a change row without an LSN")?;
            let lsn = Lsn(bytes.try_into().context("an LSN has ten bytes")?);
            let session = integer(&row, 1)?.context("a ledger row without a session")?;
            let n = integer(&row, 2)?.context("a ledger row without a number")?;
            self.commit(lsn, Tag { session, n })?;
        }
        Ok(self.newest())
    }

    /// Moves a recorded transaction into the history.
    pub(crate) fn commit(&self, lsn: Lsn, tag: Tag) -> Result<()> {
        let mut inner = self.lock();
        // Two observers may learn at once; the second finds its rows known.
        if inner.committed.last().is_some_and(|(newest, ..)| *newest >= lsn) {
            return Ok(());
        }
        let effects = inner
            .pending
            .remove(&tag)
            .with_context(|| format!("the source committed {tag:?}, which nobody recorded"))?;
        inner.committed.push((lsn, tag, effects));
        Ok(())
    }

    /// LSN of the newest known transaction, zero before the first.
    pub fn newest(&self) -> Lsn {
        self.lock().committed.last().map(|(lsn, ..)| *lsn).unwrap_or_default()
    }

    /// How many transactions are known to be committed.
    pub fn committed(&self) -> usize {
        self.lock().committed.len()
    }

    /// Transactions recorded and not (yet) seen in the ledger.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The rows of a table by group. Groups without rows are not there.
pub type TableState = HashMap<String, Vec<Row>>;

/// The source's state at one position, moved forward as the target goes.
#[derive(Debug)]
pub struct Model {
    history: Arc<History>,
    applied: usize,
    at: Lsn,
    tables: Vec<TableState>,
}

impl Model {
    /// The state before the first transaction: every table empty.
    pub fn new(history: Arc<History>) -> Self {
        let tables = history.tables.iter().map(|_| TableState::new()).collect();
        Model { history, applied: 0, at: Lsn::default(), tables }
    }

    /// Moves on to the state at `lsn`; going back is the caller's error and does nothing.
    pub fn advance(&mut self, lsn: Lsn) {
        let inner = self.history.lock();
        for (commit, _, effects) in &inner.committed[self.applied..] {
            if *commit > lsn {
                break;
            }
            for effect in effects {
                let table = &mut self.tables[effect.table];
                if effect.rows.is_empty() {
                    table.remove(&effect.group);
                } else {
                    table.insert(effect.group.clone(), sorted(effect.rows.clone()));
                }
            }
            self.applied += 1;
        }
        self.at = self.at.max(lsn);
    }

    /// The state of one table.
    pub fn table(&self, index: usize) -> &TableState {
        &self.tables[index]
    }

    /// Transactions in this state.
    pub fn transactions(&self) -> usize {
        self.applied
    }

    /// Where it stands.
    pub fn position(&self) -> Lsn {
        self.at
    }
}

/// Groups the rows of a table.
pub fn grouped(table: &Table, rows: impl IntoIterator<Item = Row>) -> TableState {
    let mut state = TableState::new();
    for row in rows {
        state.entry(row.group(table.group_columns)).or_default().push(row);
    }
    for group in state.values_mut() {
        group.sort();
    }
    state
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(n: u8) -> Lsn {
        let mut bytes = [0; 10];
        bytes[9] = n;
        Lsn(bytes)
    }

    fn row(values: &[&str]) -> Row {
        Row(values.iter().map(|v| Some((*v).into())).collect())
    }

    fn effect(group: &str, rows: Vec<Row>) -> Effect {
        Effect { table: 0, group: group.into(), rows }
    }

    #[test]
    fn positions_read_as_lsns() {
        let lsn = Lsn::of_position("1/00000027:00000758:0005").unwrap();
        assert_eq!(lsn.to_string(), "00000027:00000758:0005");
        assert_eq!(lsn.literal(), "0x00000027000007580005");
        assert_eq!(Lsn::of_position("0/").unwrap(), Lsn::default());
        assert!(Lsn::of_position("1/0000").is_err());
        assert!(Lsn::of_position("0000").is_err());
    }

    #[test]
    fn the_model_follows_commit_order_not_recording_order() {
        let table = Table::keyed("t", 1, vec![column("id", Type::Int), column("v", Type::Int)]);
        let history = History::new(vec![table]);
        let (first, second) = (Tag { session: 1, n: 1 }, Tag { session: 2, n: 1 });
        history.record(first, vec![effect("7", vec![row(&["7", "1"])])]);
        history.record(second, vec![effect("7", vec![row(&["7", "2"])])]);
        history.commit(lsn(5), second).unwrap();
        history.commit(lsn(9), first).unwrap();

        let mut model = Model::new(Arc::clone(&history));
        model.advance(lsn(4));
        assert!(model.table(0).is_empty());
        model.advance(lsn(8));
        assert_eq!(model.table(0)["7"], [row(&["7", "2"])]);
        model.advance(lsn(9));
        assert_eq!(model.table(0)["7"], [row(&["7", "1"])]);

        let gone = Tag { session: 1, n: 2 };
        history.record(gone, vec![effect("7", vec![])]);
        history.commit(lsn(10), gone).unwrap();
        model.advance(lsn(10));
        assert!(model.table(0).is_empty());
    }

    #[test]
    fn a_commit_that_nobody_recorded_is_an_error() {
        let history = History::new(Vec::new());
        let tag = Tag { session: 1, n: 1 };
        history.record(tag, Vec::new());
        history.forget(tag);
        assert!(history.commit(lsn(1), tag).is_err());
    }
}
