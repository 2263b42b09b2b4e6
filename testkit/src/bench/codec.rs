//! Encoding and decoding of records, beside copying their bytes.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use lockstep_common::codec::{self, FragmentWriter};
use lockstep_common::record::Body;
use uuid::Uuid;

use super::figures::Report;
use super::{Options, row};

const ROWS_PER_RECORD: u64 = 100;

pub(super) fn measure(options: &Options, report: &mut Report) -> Result<()> {
    report.part("codec, ten-column insert, records of 100 rows");
    let records = options.scaled(20_000);
    let table = row::table().id();
    let changes: Vec<_> = (0..ROWS_PER_RECORD as i64).map(|id| row::insert(table, id)).collect();
    let head = row::head(Uuid::nil(), 1, 1);

    let started = Instant::now();
    for _ in 0..records {
        let mut writer = FragmentWriter::new(&head);
        changes.iter().for_each(|change| writer.push_change(change));
        black_box(writer.finish());
    }
    report.each("encode, a row", records * ROWS_PER_RECORD, started.elapsed());

    let mut writer = FragmentWriter::new(&head);
    changes.iter().for_each(|change| writer.push_change(change));
    let payload = writer.finish();
    let started = Instant::now();
    for _ in 0..records {
        let record = codec::decode(black_box(&payload))?;
        if let Body::Fragment(fragment) = &record.body {
            black_box(fragment.changes.len());
        }
    }
    report.each("decode, a row", records * ROWS_PER_RECORD, started.elapsed());

    let started = Instant::now();
    for _ in 0..records {
        black_box(black_box(&payload).to_vec());
    }
    report.each(
        "limit: copying the same bytes, a row",
        records * ROWS_PER_RECORD,
        started.elapsed(),
    );
    report.line("bytes a row", &(payload.len() as u64 / ROWS_PER_RECORD).to_string());
    Ok(())
}
