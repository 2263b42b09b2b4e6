//! A source that says what it is told to say.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lockstep_capture::source::load::{Clock, Frozen, Loader, Rows, Survey};
use lockstep_capture::source::{
    Changes, Cursor, Head, Located, Poll, Source, Start, Table, Window, Witness,
};
use lockstep_common::Code;
use lockstep_common::model::definition::Definition;
use lockstep_common::model::load::ChunkRange;
use lockstep_common::model::record::{Before, Change, Operation, SourceTime};
use lockstep_common::{
    Column, Failure, LogicalType, Position, TICKS_PER_SECOND, TableName, TableVersion, Value,
};

/// Calls until it strikes, and the failure.
pub type Fault = (u32, fn() -> Failure);

/// What the source holds and how it behaves; shared by every service that reads it.
#[derive(Default)]
pub struct Script {
    /// Transactions by number; some without changes.
    pub transactions: Vec<Vec<Change<'static>>>,
    /// Places of a window.
    pub window: usize,
    /// Calls of `verify` that fail, counted down; the failure.
    pub verify: Option<Fault>,
    /// Batches of changes after which a read fails, counted down; the failure.
    pub read: Option<Fault>,
    /// Connections made.
    pub connects: u32,
}

pub type Shared = Arc<Mutex<Script>>;

pub fn position(n: usize) -> Position {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&(n as u64).to_be_bytes());
    Position::new(1, &bytes).expect("ten bytes")
}

pub fn version() -> TableVersion {
    let column = |name: &str, ty| Column {
        id: None,
        name: name.to_owned(),
        ty,
        source_type: "of no matter".to_owned(),
        nullable: true,
        collation: None,
        identity: false,
        computed: false,
    };
    TableVersion {
        dialect: "scripted".to_owned(),
        object_id: 7,
        origin: None,
        name: TableName { schema: "dbo".to_owned(), table: "t".to_owned() },
        columns: vec![
            column("id", LogicalType::Int { bytes: 8 }),
            column("text", LogicalType::String { max: None, fixed: false }),
        ],
        key: vec![0],
    }
}

pub fn insert(id: i64, bytes: usize) -> Change<'static> {
    // Incompressible and different everywhere, so that a part out of place shows.
    let text: String = (0..bytes)
        .map(|i| char::from(b'a' + ((i * 31 + i / 251 + id as usize) % 26) as u8))
        .collect();
    Change {
        table: version().id(),
        operation: Operation::Insert,
        changed: Vec::new().into(),
        before: Before::None,
        after: vec![Value::I64(id), Value::String(text.into())],
        attributes: Default::default(),
    }
}

fn head(n: usize, empty: bool) -> Head {
    Head {
        position: position(n),
        // Clocks go back now and then; the log's time must not.
        time: (n as i64 - i64::from(n.is_multiple_of(3)) * 2) * TICKS_PER_SECOND,
        witness: Witness {
            transaction_id: (!empty).then(|| vec![n as u8]),
            source_time: SourceTime { raw: format!("moment {n}"), offset: 60 },
        },
    }
}

/// A reader of the script.
pub struct Scripted(pub Shared);

#[async_trait]
impl Source for Scripted {
    async fn connect(&mut self) -> Result<String, Failure> {
        self.0.lock().unwrap().connects += 1;
        Ok("scripted".to_owned())
    }

    async fn locate(&mut self, _: Start) -> Result<Cursor, Failure> {
        Ok(Cursor { position: position(0), witness: None })
    }

    async fn resume(&mut self, cursor: &Cursor, known: &[TableVersion]) -> Result<(), Failure> {
        let script = self.0.lock().unwrap();
        let n = number(&cursor.position);
        if let Some(witness) = &cursor.witness {
            assert_eq!(*witness, head(n, script.transactions[n - 1].is_empty()).witness);
        } else {
            assert_eq!(n, 0, "the log keeps the witness of every place but the start");
        }
        assert!(known.iter().all(|known| *known == version()));
        Ok(())
    }

    fn tables(&self, _: Position) -> Vec<Table> {
        vec![Table { id: version().id(), version: Arc::new(version()) }]
    }

    async fn poll(&mut self, after: Position) -> Result<Poll, Failure> {
        let script = self.0.lock().unwrap();
        let (from, all) = (number(&after), script.transactions.len());
        let to = all.min(from + script.window.max(1));
        let heads = (from + 1..=to).map(|n| head(n, script.transactions[n - 1].is_empty()));
        let window = Window { after, heads: heads.collect(), more: to < all };
        Ok(Poll {
            window: (from < to).then_some(window),
            newest: Some(position(all)),
            clock: Some(all as i64 * TICKS_PER_SECOND),
        })
    }

    async fn read(&mut self, window: &Window) -> Result<Box<dyn Changes>, Failure> {
        let script = self.0.lock().unwrap();
        let located = window.heads.iter().enumerate().flat_map(|(i, head)| {
            let changes = script.transactions[number(&head.position) - 1].clone();
            changes.into_iter().map(move |change| Located { head: i, change, size: 100_000 })
        });
        Ok(Box::new(Batches { changes: located.collect(), script: Arc::clone(&self.0) }))
    }

    async fn verify(&mut self, _: &Window) -> Result<(), Failure> {
        countdown(&mut self.0.lock().unwrap().verify)
    }

    fn loader(&self) -> Arc<dyn Loader> {
        Arc::new(NoRows)
    }

    async fn inspect(&mut self, _: Position) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
}

/// Fails at the count's end, once.
fn countdown(fault: &mut Option<Fault>) -> Result<(), Failure> {
    let Some((left, failure)) = fault else { return Ok(()) };
    *left -= 1;
    if *left > 0 {
        return Ok(());
    }
    let failure = *failure;
    *fault = None;
    Err(failure())
}

fn number(position: &Position) -> usize {
    let bytes: [u8; 8] = position.source()[2..].try_into().expect("ten bytes");
    u64::from_be_bytes(bytes) as usize
}

struct Batches {
    changes: std::collections::VecDeque<Located>,
    script: Shared,
}

#[async_trait]
impl Changes for Batches {
    async fn next(&mut self) -> Result<Option<Vec<Located>>, Failure> {
        countdown(&mut self.script.lock().unwrap().read)?;
        let some = self.changes.len().min(3);
        let batch: Vec<Located> = self.changes.drain(..some).collect();
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// The script has changes only.
struct NoRows;

fn no_rows<T>() -> Result<T, Failure> {
    Err(Failure::new(Code::SourceStatement, "the script has no rows to load")
        .remedy("follow its changes"))
}

#[async_trait]
impl Loader for NoRows {
    async fn definitions(&self, _: &[Table]) -> Result<Vec<Definition>, Failure> {
        no_rows()
    }

    async fn survey(&self, _: &[Table]) -> Result<Vec<Survey>, Failure> {
        no_rows()
    }

    async fn boundary(
        &self,
        _: &Table,
        _: Option<&[Value<'static>]>,
        _: u32,
    ) -> Result<Option<Vec<Value<'static>>>, Failure> {
        no_rows()
    }

    async fn rows(&self, _: &Table, _: &ChunkRange) -> Result<Box<dyn Rows>, Failure> {
        no_rows()
    }

    async fn clock(&self) -> Result<Clock, Failure> {
        no_rows()
    }

    fn proves(&self, _: &Head, _: &Clock) -> bool {
        false
    }

    async fn signal(&self) -> Result<Option<String>, Failure> {
        no_rows()
    }

    async fn freeze(&self, _: &[Table], _: usize) -> Result<Frozen, Failure> {
        no_rows()
    }
}
