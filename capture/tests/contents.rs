//! Reads a log as an independent reader would, and holds it to its rules.

use std::collections::{BTreeMap, HashMap};

use lockstep_common::codec;
use lockstep_common::model::record::{Before, Body, Change, Record};
use lockstep_common::{LongKind, Position, TableId, TableVersion, Value};
use lockstep_log::{Batch, Log, Schemas, Seek, Stream};

/// A transaction that is in the log whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Transaction {
    pub position: Position,
    pub id: Option<Vec<u8>>,
    pub changes: Vec<Change<'static>>,
}

/// What a log says.
#[derive(Debug, Default)]
pub struct Contents {
    pub transactions: Vec<Transaction>,
    /// Fragments of each transaction, by its position.
    pub fragments: BTreeMap<Position, u32>,
    /// Positions of progress records.
    pub progress: Vec<Position>,
    pub epochs: Vec<u64>,
    /// Position of the newest complete record.
    pub end: Position,
    /// Sizes of all records.
    pub sizes: Vec<usize>,
    pub versions: HashMap<TableId, TableVersion>,
}

/// Reads everything committed.
pub async fn read(log: &dyn Log) -> Contents {
    read_all(log, false).await
}

/// As [`read`], of a log whose task has ended.
pub async fn read_markers_aside(log: &dyn Log) -> Contents {
    read_all(log, true).await
}

async fn read_all(log: &dyn Log, markers: bool) -> Contents {
    let schemas = Schemas::open(log).await.expect("the schemas stream is readable");
    let versions =
        schemas.tables().map(|(id, version)| (id, TableVersion::clone(version))).collect();
    let mut contents = Contents { versions, ..Contents::default() };
    let mut open: Option<Open> = None;
    let mut reader = log.reader(Stream::Transactions).await.expect("a reader");
    reader.seek(Seek::Earliest).await.expect("the beginning");
    let (mut epoch, mut time) = (0, i64::MIN);
    while let Batch::Items(items) = reader.read().await.expect("the log is readable") {
        for item in items {
            contents.sizes.push(item.payload.len());
            let record = codec::decode(&item.payload).expect("a record of this version");
            assert!(record.time >= time, "time goes back at {}", record.position);
            time = record.time;
            assert!(record.epoch >= epoch, "epoch goes back at {}", record.position);
            if record.epoch > epoch {
                assert!(matches!(record.body, Body::Epoch(_)), "an epoch begins with its record");
                epoch = record.epoch;
                open = None;
            }
            if !(markers && matches!(record.body, Body::Marker { .. })) {
                contents.take(record, &mut open);
            }
        }
    }
    contents
}

/// A transaction whose last fragment has not come.
struct Open {
    position: Position,
    next: u32,
    changes: Vec<Change<'static>>,
    parts: HashMap<u32, Vec<u8>>,
}

impl Contents {
    fn take(&mut self, record: Record<'_>, open: &mut Option<Open>) {
        let begun = self.end != Position::ORIGIN;
        match record.body {
            Body::Epoch(_) => {
                self.epochs.push(record.epoch);
                assert_eq!(record.position, record.after);
                assert!(
                    !begun || record.position == self.end,
                    "an epoch begins where the log ends"
                );
            }
            Body::Progress(_) => {
                assert!(!begun || record.after == self.end, "a hole before {}", record.position);
                assert!(open.is_none(), "progress within a transaction");
                self.progress.push(record.position);
                self.end = record.position;
            }
            Body::Fragment(fragment) => {
                assert_eq!(record.after, self.end, "a hole before {}", record.position);
                assert!(record.position > self.end);
                let current = open.get_or_insert_with(|| Open {
                    position: record.position,
                    next: 0,
                    changes: Vec::new(),
                    parts: HashMap::new(),
                });
                assert_eq!(current.position, record.position, "two transactions are interleaved");
                assert_eq!(current.next, fragment.index);
                assert_eq!(current.changes.len() as u64, fragment.changes_before);
                current.next += 1;
                for part in fragment.parts {
                    current.parts.entry(part.id).or_default().extend_from_slice(&part.data);
                }
                for change in fragment.changes {
                    assert!(self.versions.contains_key(&change.table), "an unknown table version");
                    current.changes.push(own(change, &current.parts));
                }
                if fragment.last {
                    let whole = open.take().expect("it was just there");
                    self.end = whole.position;
                    let mut totals: HashMap<TableId, u64> = HashMap::new();
                    for change in &whole.changes {
                        *totals.entry(change.table).or_default() += 1;
                    }
                    let said: HashMap<_, _> =
                        fragment.totals.iter().map(|t| (t.table, t.changes)).collect();
                    assert_eq!(said, totals);
                    self.fragments.insert(whole.position, whole.next);
                    self.transactions.push(Transaction {
                        position: whole.position,
                        id: fragment.transaction_id,
                        changes: whole.changes,
                    });
                }
            }
            other => panic!("a record that capture does not write: {other:?}"),
        }
    }
}

fn own(change: Change<'_>, parts: &HashMap<u32, Vec<u8>>) -> Change<'static> {
    let row = |values: Vec<Value<'_>>| values.into_iter().map(|v| whole(v, parts)).collect();
    Change {
        table: change.table,
        operation: change.operation,
        changed: change.changed.into_owned().into(),
        before: match change.before {
            Before::None => Before::None,
            Before::Key(values) => Before::Key(row(values)),
            Before::Full(values) => Before::Full(row(values)),
        },
        after: row(change.after),
        attributes: change.attributes,
    }
}

/// A long value put together again.
fn whole(value: Value<'_>, parts: &HashMap<u32, Vec<u8>>) -> Value<'static> {
    use sha2::{Digest, Sha256};
    let Value::Long(long) = value else { return value.into_owned() };
    let bytes = parts.get(&long.id).expect("the parts come ahead").clone();
    assert_eq!(bytes.len() as u64, long.length);
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), long.digest);
    match long.kind {
        LongKind::Text => Value::String(String::from_utf8(bytes).expect("text").into()),
        LongKind::Utf16 => Value::Utf16(bytes.into()),
        LongKind::Bytes => Value::Bytes(bytes.into()),
    }
}
