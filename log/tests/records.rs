//! Records and entries for tests: small, real, readable.

use std::collections::BTreeMap;

use bytes::Bytes;
use lockstep_common::model::record::{Body, Boundary, EpochStart, Fragment, Progress, Record};
use lockstep_common::{Position, codec};
use lockstep_log::{Entry, Item, Stream};
use uuid::Uuid;

/// Position number `n`.
pub fn at(n: u64) -> Position {
    Position::new(1, &n.to_be_bytes()).expect("eight bytes fit")
}

/// Writes records of one epoch; time is the position times ten.
#[derive(Clone, Copy)]
pub struct Scribe {
    pub log_id: Uuid,
    pub epoch: u64,
}

impl Scribe {
    pub fn fragment(&self, n: u64, after: u64, index: u32, last: bool) -> Entry {
        let body = Body::Fragment(Fragment {
            boundary: Boundary::SourceTransaction,
            transaction_id: Some(n.to_be_bytes().to_vec()),
            source_time: None,
            index,
            last,
            changes_before: 0,
            totals: vec![],
            parts: vec![],
            changes: vec![],
        });
        self.record(n, after, body, index)
    }

    pub fn transaction(&self, n: u64, after: u64) -> Entry {
        self.fragment(n, after, 0, true)
    }

    pub fn progress(&self, n: u64, after: u64) -> Entry {
        self.record(n, after, Body::Progress(Progress::default()), 0)
    }

    pub fn epoch(&self, n: u64) -> Entry {
        let body =
            Body::Epoch(EpochStart { host: "h".into(), version: "v".into(), source: "s".into() });
        self.record(n, n, body, 0)
    }

    fn record(&self, n: u64, after: u64, body: Body<'_>, index: u32) -> Entry {
        let record = Record {
            log_id: self.log_id,
            epoch: self.epoch,
            position: at(n),
            after: at(after),
            time: time(n),
            skippable: false,
            attributes: BTreeMap::new(),
            body,
        };
        let mut payload = Vec::new();
        codec::encode(&record, &mut payload);
        Entry {
            stream: Stream::Transactions,
            key: None,
            headers: Some((at(n), index)),
            payload: payload.into(),
        }
    }
}

/// The time of position `n`.
pub fn time(n: u64) -> i64 {
    i64::try_from(n).expect("test positions are small") * 10
}

/// An entry that is no record, for streams that are not searched.
pub fn raw(stream: Stream, key: Option<&str>, payload: &str) -> Entry {
    Entry {
        stream,
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        headers: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

/// Position number and fragment index of a record.
pub fn place(payload: &[u8]) -> (u64, u32) {
    let header = codec::header(payload).expect("a record of ours");
    let n = header.position.source().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (n, header.fragment.map_or(0, |fragment| fragment.index))
}

/// [`place`] of each item.
pub fn places(items: &[Item]) -> Vec<(u64, u32)> {
    items.iter().map(|item| place(&item.payload)).collect()
}
