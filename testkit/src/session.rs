//! A session on the source: runs planned transactions, records what they did, retries deadlocks.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};

use crate::history::{Effect, History, Tag};
use crate::render;
use crate::shape::{Key, Table};
use crate::source::{Connection, Source, SourceError};

/// Deadlocks in a row after which a plan is given up; under any fair scheduler it is never reached.
const MOST_DEADLOCKS: u32 = 100;

/// How a plan ends its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// COMMIT
    Commit,
    /// ROLLBACK
    Rollback,
}

/// A transaction decided beforehand, so that a deadlock's victim can be run again unchanged.
pub trait Plan: Send + Sync {
    /// What it is called in the ledger, at most 24 characters.
    fn kind(&self) -> &'static str;

    /// Runs its statements.
    fn execute(&self, tx: &mut Transaction<'_>) -> impl Future<Output = Result<End>> + Send;
}

/// What sessions have done, counted over all of them.
#[derive(Debug, Default)]
pub struct Tally {
    /// Committed.
    pub committed: AtomicU64,
    /// Rolled back on purpose.
    pub rolled_back: AtomicU64,
    /// Deadlocks, each run again.
    pub deadlocks: AtomicU64,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed.
    Committed,
    /// Rolled back on purpose.
    RolledBack,
    /// The connection was lost: the ledger knows.
    Unknown,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    id: i64,
    next: i64,
    source: Source,
    connection: Option<Connection>,
    history: Arc<History>,
    tally: Arc<Tally>,
}

impl Session {
    /// A session; `id` must be unique in its history.
    pub fn new(id: i64, source: Source, history: Arc<History>, tally: Arc<Tally>) -> Self {
        Session { id, next: 1, source, connection: None, history, tally }
    }

    /// Its number.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Runs `plan` until it commits or rolls back as it wants.
    ///
    /// # Errors
    /// When the source is away before anything was done, or refuses a statement.
    pub async fn run(&mut self, plan: &impl Plan) -> Result<Outcome> {
        for _ in 0..MOST_DEADLOCKS {
            let tag = Tag { session: self.id, n: self.next };
            match self.attempt(tag, plan).await {
                Ok(End::Commit) => {
                    self.next += 1;
                    self.tally.committed.fetch_add(1, Ordering::Relaxed);
                    return Ok(Outcome::Committed);
                }
                Ok(End::Rollback) => {
                    self.tally.rolled_back.fetch_add(1, Ordering::Relaxed);
                    return Ok(Outcome::RolledBack);
                }
                Err(error) => match error.downcast_ref::<SourceError>() {
                    Some(e) if e.is_deadlock() => {
                        self.history.forget(tag);
                        self.tally.deadlocks.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(e) if e.is_disconnect() && self.connection.take().is_some() => {
                        // The number stays used: whether it was committed, the ledger tells.
                        self.next += 1;
                        return Ok(Outcome::Unknown);
                    }
                    _ => {
                        self.connection = None;
                        self.history.forget(tag);
                        return Err(error.context(format!("{} of {tag:?}", plan.kind())));
                    }
                },
            }
        }
        bail!("{} met {MOST_DEADLOCKS} deadlocks in a row", plan.kind())
    }

    async fn attempt(&mut self, tag: Tag, plan: &impl Plan) -> Result<End> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.source.connect().await?),
        };
        let mut tx =
            Transaction { tag, connection, history: &self.history, touched: BTreeSet::new() };
        tx.connection.run("BEGIN TRANSACTION").await?;
        tx.count().await?;
        match plan.execute(&mut tx).await? {
            End::Rollback => {
                tx.connection.run("ROLLBACK TRANSACTION").await?;
                Ok(End::Rollback)
            }
            End::Commit => {
                tx.write_ledger(plan.kind()).await?;
                let effects = tx.effects().await?;
                self.history.record(tag, effects);
                tx.connection.run("COMMIT TRANSACTION").await?;
                Ok(End::Commit)
            }
        }
    }
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction<'a> {
    tag: Tag,
    connection: &'a mut Connection,
    history: &'a History,
    touched: BTreeSet<(usize, Key)>,
}

impl Transaction<'_> {
    /// Which transaction it is.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// A table of the history.
    pub fn table(&self, index: usize) -> &Table {
        &self.history.tables()[index]
    }

    /// The connection, for reads and for statements whose effects are declared with
    /// [`Transaction::touch`].
    pub fn connection(&mut self) -> &mut Connection {
        self.connection
    }

    /// Runs a batch.
    ///
    /// # Errors
    /// The server's.
    pub async fn run(&mut self, sql: &str) -> Result<()> {
        Ok(self.connection.run(sql).await?)
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// The server's.
    pub async fn execute(&mut self, sql: &str) -> Result<u64> {
        Ok(self.connection.execute(sql).await?)
    }

    /// Reads one integer.
    ///
    /// # Errors
    /// The server's.
    pub async fn integer(&mut self, sql: &str) -> Result<Option<i64>> {
        self.connection.integer(sql).await
    }

    /// Declares that this transaction changed the group `key` of table `table` (an index into the
    /// history's tables). Only for what no other session can change before we commit: rows we have
    /// changed ourselves and hence hold locked, and keys that nobody else creates.
    pub fn touch(&mut self, table: usize, key: Key) {
        self.touched.insert((table, key));
    }

    /// Runs a statement on exactly one group, declares it when it changed anything, and returns how
    /// many rows it changed.
    ///
    /// # Errors
    /// The server's.
    pub async fn change(&mut self, table: usize, key: Key, sql: &str) -> Result<u64> {
        let rows = self.execute(sql).await?;
        if rows > 0 {
            self.touch(table, key);
        }
        Ok(rows)
    }

    async fn count(&mut self) -> Result<()> {
        let (session, table) = (self.tag.session, self.history.sessions());
        let update = format!(
            "UPDATE dbo.[sessions] SET [s_count] = [s_count] + 1 WHERE [s_session] = {session}"
        );
        if self.change(table, Key::of([session]), &update).await? == 0 {
            let insert = format!("INSERT INTO dbo.[sessions] VALUES ({session}, 1)");
            self.change(table, Key::of([session]), &insert).await?;
        }
        Ok(())
    }

    async fn write_ledger(&mut self, kind: &str) -> Result<()> {
        let Tag { session, n } = self.tag;
        let insert = format!("INSERT INTO dbo.[ledger] VALUES ({session}, {n}, '{kind}')");
        self.change(self.history.ledger(), Key::of([session, n]), &insert).await?;
        Ok(())
    }

    /// Reads every declared group back, all in one batch.
    async fn effects(&mut self) -> Result<Vec<Effect>> {
        let tables = self.history.tables();
        let selects: Vec<String> =
            self.touched.iter().map(|(table, key)| tables[*table].select_group_sql(key)).collect();
        let results = self.connection.results(&selects.join(";\n")).await?;
        if results.len() != selects.len() {
            bail!("{} SELECTs gave {} result sets", selects.len(), results.len());
        }
        self.touched
            .iter()
            .zip(results)
            .map(|((table, key), rows)| {
                let rows: Result<Vec<_>> =
                    rows.iter().map(|row| render::source_row(&tables[*table], row)).collect();
                let rows = rows.with_context(|| format!("read back {}", tables[*table].name))?;
                Ok(Effect { table: *table, group: key.canonical(), rows })
            })
            .collect()
    }
}
