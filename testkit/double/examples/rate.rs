//! How fast the double fills and answers: rows of ten columns over one TDS connection, drained by a
//! client that only counts packets, and by tiberius.
//!
//! `cargo run -p mssql-double --example rate [ROWS]`

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mssql_double::{Config, Double};
use tokio_util::compat::TokioAsyncWriteCompatExt;

const PASSWORD: &str = "Correct-Horse-1";

const TABLE: &str = "CREATE TABLE dbo.bench (
    id bigint NOT NULL PRIMARY KEY, a int NULL, b smallint NULL, amount decimal(18, 4) NULL,
    ratio float NULL, made datetime2(6) NULL, seen datetimeoffset(6) NULL, name varchar(50) NULL,
    note nvarchar(200) NULL, flag bit NULL)";

/// A client without a driver: packets of 32 KiB, no encryption.
struct Raw(TcpStream);

impl Raw {
    fn connect(double: &Double, database: &str) -> Raw {
        let mut raw = Raw(TcpStream::connect(double.addr()).expect("connects"));
        raw.send(0x12, &[1, 0, 6, 0, 1, 0xFF, 2]);
        raw.drain();
        let mut fixed = vec![0; 94];
        fixed[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
        fixed[8..12].copy_from_slice(&32_767u32.to_le_bytes());
        let password = utf16(PASSWORD).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect();
        for (entry, bytes) in [(40, utf16("sa")), (44, password), (68, utf16(database))] {
            let place = (fixed.len() as u16).to_le_bytes();
            fixed[entry..entry + 2].copy_from_slice(&place);
            fixed[entry + 2..entry + 4].copy_from_slice(&(bytes.len() as u16 / 2).to_le_bytes());
            fixed.extend_from_slice(&bytes);
        }
        raw.send(0x10, &fixed);
        raw.drain();
        raw
    }

    fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = (payload.len() as u16 + 8).to_be_bytes();
        let packet = [&[kind, 1, length[0], length[1], 0, 0, 1, 0], payload].concat();
        self.0.write_all(&packet).expect("sends");
    }

    /// Reads a message to its end; its bytes, and the row count of its last token.
    fn drain(&mut self) -> (u64, u64) {
        let (mut total, mut last) = (0, vec![0; 64 * 1024]);
        loop {
            let mut header = [0; 8];
            self.0.read_exact(&mut header).expect("a header");
            let body = usize::from(u16::from_be_bytes([header[2], header[3]])) - 8;
            self.0.read_exact(&mut last[..body]).expect("a packet");
            total += body as u64;
            if header[1] & 1 != 0 {
                let rows = last[..body].last_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
                return (total, rows);
            }
        }
    }

    fn query(&mut self, sql: &str) -> (u64, u64) {
        self.send(1, &[&4u32.to_le_bytes()[..], &utf16(sql)].concat());
        self.drain()
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn report(what: &str, rows: u64, bytes: u64, time: Duration) {
    let seconds = time.as_secs_f64();
    println!(
        "{what:45} {:>10.0} rows/s {:>7.0} MB/s {seconds:>7.2} s   {} MB resident",
        rows as f64 / seconds,
        bytes as f64 / seconds / 1e6,
        resident()
    );
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096 / 1_000_000
}

async fn drained(double: &Double, sql: &str) -> (u64, Duration) {
    let mut config = tiberius::Config::new();
    config.authentication(tiberius::AuthMethod::sql_server("sa", PASSWORD));
    config.encryption(tiberius::EncryptionLevel::NotSupported);
    config.database("bench");
    config.packet_size(32_767);
    let tcp = tokio::net::TcpStream::connect(double.addr()).await.expect("connects");
    let mut client = tiberius::Client::connect(config, tcp.compat_write()).await.expect("logs in");
    let started = Instant::now();
    let mut rows = client.simple_query(sql).await.expect("runs").into_row_stream();
    let mut count = 0;
    while rows.try_next().await.expect("reads").is_some() {
        count += 1;
    }
    (count, started.elapsed())
}

fn main() {
    let rows: u64 = std::env::args().nth(1).map_or(1_000_000, |rows| rows.parse().expect("rows"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let double = runtime.block_on(Double::start(Config::in_memory(PASSWORD))).expect("starts");
    let mut master = Raw::connect(&double, "master");
    master.query("CREATE DATABASE bench");
    let mut raw = Raw::connect(&double, "bench");
    raw.query(TABLE);
    let ten = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))";
    let joins: Vec<String> = "abcdefg".chars().map(|n| format!("{ten} AS {n} (d)")).collect();
    let fill = format!(
        "INSERT INTO dbo.bench SELECT TOP ({rows}) n, n % 1000003, n % 30011, \
         CAST(n AS decimal(18,4)) / 7, n / 3.0e0, \
         DATEADD(second, n, CAST('2020-01-01' AS datetime2(6))), \
         CAST('2023-11-14 22:13:20.000001 +01:00' AS datetimeoffset(6)), \
         'a name of some thirty letters.', \
         N'a note that is a little longer than the name above', n % 2 \
         FROM (SELECT ROW_NUMBER() OVER (ORDER BY (SELECT NULL)) AS n FROM {}) AS s",
        joins.join(" CROSS JOIN ")
    );
    let fill_rows = |raw: &mut Raw, what: &str| {
        let started = Instant::now();
        let (bytes, count) = raw.query(&fill);
        assert_eq!(count, rows, "rows filled in");
        report(what, count, bytes, started.elapsed());
    };
    println!("{} MB resident before", resident());
    fill_rows(&mut raw, "INSERT … SELECT");
    for _ in 0..2 {
        let started = Instant::now();
        let (bytes, count) = raw.query("SELECT * FROM dbo.bench");
        report("SELECT *, raw client", count, bytes, started.elapsed());
        let started = Instant::now();
        let (bytes, count) = raw.query(
            "SELECT id, a, b, amount, CONVERT(float, ratio), made, seen, name, note, flag \
             FROM dbo.bench WHERE id > 10 ORDER BY id",
        );
        report("SELECT of columns in a range, raw client", count, bytes, started.elapsed());
    }
    let (count, time) = runtime.block_on(drained(&double, "SELECT * FROM dbo.bench"));
    report("SELECT *, tiberius", count, 0, time);
    raw.query("DELETE dbo.bench");
    raw.query("EXEC sys.sp_cdc_enable_db");
    raw.query("EXEC sys.sp_cdc_enable_table 'dbo', 'bench', @role_name = NULL");
    raw.query("EXEC sys.sp_cdc_stop_job 'capture'");
    fill_rows(&mut raw, "INSERT … SELECT, captured table");
    let started = Instant::now();
    raw.query("EXEC sys.sp_cdc_scan @maxtrans = 1000000, @maxscans = 100");
    report("scan of the log", rows, 0, started.elapsed());
    let changes = "SELECT * FROM cdc.[dbo_bench_CT] ORDER BY [__$start_lsn], [__$command_id], \
                   [__$seqval], [__$operation]";
    let started = Instant::now();
    let (bytes, count) = raw.query(changes);
    report("change table, raw client", count, bytes, started.elapsed());
    let (count, time) = runtime.block_on(drained(&double, changes));
    report("change table, tiberius", count, 0, time);
    runtime.block_on(double.stop());
}
