//! How fast chunks go into the target, beside COPY of the same rows from a file of the server. Not part
//! of the suite: `cargo test -p lockstep-apply --test main -- --ignored --nocapture load_speed`.

use std::time::Instant;

use lockstep_common::codec::ChunkWriter;
use lockstep_common::config::Prepare;
use lockstep_common::load::{ChunkAttributes, Handoff};
use lockstep_common::{FailPoints, LogicalType, Value};
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{BIGINT, INT, TEXT, table};

const LOAD: Uuid = Uuid::from_u128(7);
const CHUNKS: u32 = 10;
const CHUNK_ROWS: i64 = 100_000;
const RECORD_BYTES: usize = 500 << 10;

fn row(i: i64) -> Vec<Value<'static>> {
    vec![
        Value::I64(i),
        Value::I64(i % 1000),
        Value::String(format!("name number {i}").into()),
        Value::String(format!("some longer text that says nothing of {i} and {}", i * 7).into()),
        Value::Decimal { unscaled: (i * 101).into(), scale: 2 },
        Value::Timestamp(17_000_000_000_000_000 + i * 10_000),
        Value::Date(19_000 + i32::try_from(i % 1000).unwrap()),
        Value::Bool(i % 3 == 0),
        Value::Uuid(u128::to_be_bytes(u128::from(i.unsigned_abs()) << 64)),
        Value::F64(1.5),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn chunks_beside_copy_from_a_file() {
    let mut bed = Bed::new().await;
    let columns = [
        ("id", BIGINT),
        ("kind", INT),
        ("name", TEXT),
        ("note", TEXT),
        ("price", LogicalType::Decimal { precision: 12, scale: 2 }),
        ("at", LogicalType::Timestamp { digits: 6 }),
        ("day", LogicalType::Date),
        ("flag", LogicalType::Bool),
        ("code", LogicalType::Uuid),
        ("rate", LogicalType::F64),
    ];
    let t = bed.source.defined(&table("big", 1, &columns)).await;
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
    for chunk in 0..CHUNKS {
        bed.source.chunk_begin((LOAD, t, chunk), ChunkAttributes::default()).await;
        let mut writer = ChunkWriter::new(&bed.source.chunk_head(LOAD, t, chunk));
        let mut payloads = Vec::new();
        let first = i64::from(chunk) * CHUNK_ROWS;
        for i in first..first + CHUNK_ROWS {
            writer.push_row(&row(i));
            if writer.len() >= RECORD_BYTES {
                payloads.push(writer.cut());
            }
        }
        payloads.push(writer.cut());
        let partition = chunk % 4;
        let offsets = bed.source.chunk_records(partition, payloads).await;
        let rows = usize::try_from(CHUNK_ROWS).unwrap();
        bed.source.chunk_end((LOAD, t, chunk), partition, offsets, rows).await;
    }
    let total = u64::from(CHUNKS) * CHUNK_ROWS.unsigned_abs();
    bed.source.table_read(LOAD, t, CHUNKS, total).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.progress().await;
    for (connections, keep) in [(1, false), (2, false), (4, false), (1, true)] {
        let mut settings = bed.settings();
        settings.config.prepare = if keep { Prepare::Keep } else { Prepare::DropAndCreate };
        settings.config.drop_tables = true;
        settings.config.load_connections = connections;
        settings.config.spool = bed.spool(&format!("s{connections}{keep}"));
        if keep {
            bed.query("TRUNCATE big").await;
        }
        lockstep_apply::reset(&settings).await.unwrap();
        let start = Instant::now();
        let mut apply = bed.start_with(settings, FailPoints::default());
        apply.reaches(n).await;
        let seconds = start.elapsed().as_secs_f64();
        apply.stop().await;
        let way = if keep { "merged" } else { "copied" };
        println!("{connections} connections, {way}: {:.0} rows/s", total as f64 / seconds);
    }
    let file = "/tmp/lockstep-load-speed";
    bed.query(&format!("COPY big TO '{file}' (FORMAT binary)")).await;
    for _ in 0..2 {
        bed.query("DROP TABLE IF EXISTS copy; CREATE TABLE copy (LIKE big INCLUDING ALL)").await;
        let start = Instant::now();
        bed.query(&format!("COPY copy FROM '{file}' (FORMAT binary)")).await;
        println!("COPY from a file: {:.0} rows/s", total as f64 / start.elapsed().as_secs_f64());
    }
    bed.query(&format!("COPY (SELECT 1) TO PROGRAM 'rm {file}'")).await;
}
