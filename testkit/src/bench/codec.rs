//! Encoding and decoding of records, beside copying their bytes.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lockstep_common::TableId;
use lockstep_common::codec::{self, FragmentHead, FragmentReader, FragmentWriter};
use lockstep_common::model::record::{Before, Change, Operation};
use uuid::Uuid;

use super::figures::Report;
use super::{Options, row};

/// Each figure is the best of as many rounds: the work is always the same, so that what makes a
/// round longer is something else on the machine.
const ROUNDS: u32 = 50;

pub(super) fn measure(options: &Options, report: &mut Report) -> Result<()> {
    for (what, change) in [("inserts", insert as fn(TableId, i64) -> _), ("updates", update)] {
        for rows in [1, 10, 100] {
            report.part(&format!("codec, records of {rows} ten-column {what}, a row"));
            records_of(rows, change, options, report)?;
        }
    }
    Ok(())
}

fn insert(table: TableId, id: i64) -> Change<'static> {
    row::insert(table, id)
}

/// An update with both images whole.
fn update(table: TableId, id: i64) -> Change<'static> {
    Change {
        operation: Operation::Update,
        changed: Cow::Borrowed(&[0xFF, 0x03]),
        before: Before::Full(row::values(id)),
        ..row::insert(table, id + 1)
    }
}

fn records_of(
    rows: u64,
    change: fn(TableId, i64) -> Change<'static>,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let records = options.scaled(20_000).div_ceil(rows);
    let table = row::table().id();
    let first = 1_000_000;
    let changes: Vec<_> = (first..).take(rows as usize).map(|id| change(table, id)).collect();
    let head = row::head(Uuid::nil(), 1, 1);
    let mut each = |what: &str, time: Duration| report.each(what, records * rows, time);

    each("encode", best(records, || Ok(encode(&head, &changes)))?);
    let payload = encode(&head, &changes);
    each("decode, one change at a time, as apply does", best(records, || read(&payload))?);
    each("decode, the whole record", best(records, || Ok(codec::decode(black_box(&payload))?))?);
    each("decode, the record's header", best(records, || Ok(codec::header(black_box(&payload))?))?);
    each("limit: copying the same bytes", best(records, || Ok(black_box(&payload).to_vec()))?);
    report.line("bytes", &(payload.len() as u64 / rows).to_string());
    Ok(())
}

fn encode(head: &FragmentHead, changes: &[Change<'_>]) -> bytes::Bytes {
    let mut writer = FragmentWriter::new(head);
    changes.iter().for_each(|change| writer.push_change(change));
    writer.finish()
}

fn read(payload: &[u8]) -> Result<()> {
    let mut reader = FragmentReader::new(black_box(payload))?.context("a fragment was written")?;
    while let Some(part) = reader.part()? {
        black_box(part);
    }
    while let Some(change) = reader.change()? {
        black_box(change);
    }
    while let Some(total) = reader.total()? {
        black_box(total);
    }
    Ok(())
}

/// The time of the shortest round of `times`.
fn best<T>(times: u64, mut work: impl FnMut() -> Result<T>) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..times {
            black_box(work()?);
        }
        best = best.min(started.elapsed());
    }
    Ok(best)
}
