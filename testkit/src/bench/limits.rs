//! What PostgreSQL and the disk can do without us.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use lockstep_servers::Postgres;
use tokio_postgres::{Client, NoTls};

use super::Options;
use super::figures::Report;

/// Rows for one plain COPY.
const COPY_ROWS: u64 = 600_000;

/// The table of the benchmark, in PostgreSQL's types.
const CREATE: &str = "CREATE TABLE copied (id bigint PRIMARY KEY, a int, b smallint,
    amount numeric(18,4), ratio float8, made timestamp, seen timestamptz, name varchar(50),
    note text, flag boolean)";

/// Measures both and returns the rows a second of one plain COPY.
pub(super) async fn postgres(
    options: &Options,
    report: &mut Report,
    postgres: &Postgres,
) -> Result<f64> {
    report.part("limits of PostgreSQL and the disk");
    flushes(options, report)?;
    let rows = options.scaled(COPY_ROWS);
    let time = copy(postgres, rows).await?;
    report.rate("limit: one binary COPY", rows, "rows", time);
    Ok(super::figures::per_second(rows, time))
}

/// Opens a connection that lives as long as the client.
pub(super) async fn connect(postgres: &Postgres, database: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&postgres.url(database), NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "the benchmark's connection ended");
        }
    });
    Ok(client)
}

/// The time of one binary COPY of `rows` rows.
async fn copy(postgres: &Postgres, rows: u64) -> Result<Duration> {
    copy_into(postgres, "copy_limit", rows, binary_rows(rows).into_iter().map(Ok)).await
}

/// The same from a file.
pub(super) async fn copy_from_file(postgres: &Postgres, rows: u64) -> Result<Duration> {
    use std::io::{Read, Seek, Write};
    let mut file = tempfile::tempfile()?;
    for chunk in binary_rows(rows) {
        file.write_all(&chunk)?;
    }
    file.rewind()?;
    let chunks = std::iter::from_fn(move || {
        let mut chunk = vec![0; 64 << 10];
        match file.read(&mut chunk) {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some(Ok(Bytes::from(chunk)))
            }
            Err(error) => Some(Err(error)),
        }
    });
    copy_into(postgres, "copy_from_file", rows, chunks).await
}

async fn copy_into(
    postgres: &Postgres,
    database: &str,
    rows: u64,
    chunks: impl Iterator<Item = std::io::Result<Bytes>>,
) -> Result<Duration> {
    postgres.create_database(database).context("make a database")?;
    let client = connect(postgres, database).await?;
    client.batch_execute(CREATE).await?;
    let started = Instant::now();
    let sink = client.copy_in("COPY copied FROM STDIN (FORMAT binary)").await?;
    let mut sink = std::pin::pin!(sink);
    for chunk in chunks {
        sink.feed(chunk?).await?;
    }
    let copied = sink.finish().await?;
    anyhow::ensure!(copied == rows, "COPY took {copied} of {rows} rows");
    Ok(started.elapsed())
}

/// The COPY stream, prebuilt, in pieces of about 64 KiB.
fn binary_rows(rows: u64) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut out = BytesMut::with_capacity(80 << 10);
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    out.put_u64(0);
    for id in 0..rows as i64 {
        row(&mut out, id);
        if out.len() > 64 << 10 {
            chunks.push(out.split().freeze());
        }
    }
    out.put_i16(-1);
    chunks.push(out.freeze());
    chunks
}

fn row(out: &mut BytesMut, id: i64) {
    fn field(out: &mut BytesMut, bytes: &[u8]) {
        out.put_i32(i32::try_from(bytes.len()).expect("a short field"));
        out.put_slice(bytes);
    }
    out.put_i16(10);
    field(out, &id.to_be_bytes());
    field(out, &((id % 1_000_003) as i32).to_be_bytes());
    field(out, &((id % 30_011) as i16).to_be_bytes());
    // numeric: two digits of base 10000, weight 1, positive, four decimals.
    let digits = [(id / 10_000 % 10_000) as i16, (id % 10_000) as i16, 7];
    out.put_i32(8 + 6);
    for header in [3i16, 1, 0, 4] {
        out.put_i16(header);
    }
    digits.iter().for_each(|digit| out.put_i16(*digit));
    field(out, &(id as f64 / 3.0).to_be_bytes());
    field(out, &(700_000_000_000_000 + id).to_be_bytes());
    field(out, &(700_000_000_000_000 + id).to_be_bytes());
    field(out, b"a name of some thirty letters.");
    field(out, b"a note that is a little longer than the name above");
    field(out, &[u8::from(id % 2 == 0)]);
}

/// How often a page can be written and flushed.
fn flushes(options: &Options, report: &mut Report) -> Result<()> {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile()?;
    let page = [7u8; 8192];
    let count = options.scaled(5_000);
    let started = Instant::now();
    for _ in 0..count {
        file.rewind()?;
        file.write_all(&page)?;
        file.sync_data()?;
    }
    report.rate("limit: 8 KiB written and flushed", count, "flushes", started.elapsed());
    Ok(())
}
