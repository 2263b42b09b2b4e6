//! How fast rows are read. A measurement, run by hand:
//! `cargo test -p lockstep-capture --test main load_speed -- --ignored --nocapture`

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use lockstep_capture::source::load::RowSink;
use lockstep_common::Value;
use tokio_util::compat::TokioAsyncWriteCompatExt;

use crate::load_bed::{Loading, whole};
use crate::server::Server;

const ROWS: usize = 200_000;

#[derive(Default)]
struct Count {
    rows: usize,
    bytes: usize,
}

impl RowSink for Count {
    fn row(&mut self, row: &mut Vec<Value<'_>>, size: usize) {
        assert_eq!(row.len(), 10);
        self.rows += 1;
        self.bytes += size;
    }
}

fn rate(what: &str, rows: usize, took: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = rows as f64 / took.as_secs_f64();
    println!("{what}: {rows} rows in {:.2} s, {rate:.0} rows/s", took.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rows_of_ten_columns() {
    let mut server = Server::new().await;
    server
        .table(
            "t",
            "id int NOT NULL PRIMARY KEY, customer bigint NOT NULL, code nvarchar(20) NOT NULL, \
             name nvarchar(60) NOT NULL, price decimal(12,2) NOT NULL, amount float NOT NULL, \
             placed datetime2(3) NOT NULL, flag bit NOT NULL, note varchar(100) NULL, day date NOT NULL",
        )
        .await;
    for start in (0..ROWS).step_by(1000) {
        let rows: Vec<String> = (start..start + 1000)
            .map(|i| {
                format!(
                    "({i}, {}, N'code-{i}', N'a name of some length {i}', {i}.25, {i}.5, \
                     '2026-11-26T10:00:00.123', 1, 'a note of middling length, number {i}', '2026-11-26')",
                    i * 7
                )
            })
            .collect();
        server.admin.run(&format!("INSERT INTO dbo.t VALUES {}", rows.join(", "))).await;
    }
    let loading = Loading::new(&server).await;
    let table = loading.table("t");
    for _ in 0..2 {
        let start = Instant::now();
        let mut reading = loading.loader.rows(table, &whole()).await.expect("rows");
        let mut count = Count::default();
        while reading.next(&mut count).await.expect("rows") {}
        assert_eq!(count.rows, ROWS);
        rate("one reader", count.rows, start.elapsed());
    }
    for size in [ROWS / 2, ROWS / 4] {
        let size = u32::try_from(size).expect("small");
        let start = Instant::now();
        let chunks = loading.chunks(table, size).await;
        rate("planning", ROWS, start.elapsed());
        let start = Instant::now();
        let readers = chunks.iter().map(|chunk| {
            let (loader, table, chunk) = (loading.loader.clone(), table.clone(), chunk.clone());
            tokio::spawn(async move {
                let mut reading = loader.rows(&table, &chunk).await.expect("rows");
                let mut count = Count::default();
                while reading.next(&mut count).await.expect("rows") {}
                count.rows
            })
        });
        let mut total = 0;
        for reader in readers.collect::<Vec<_>>() {
            total += reader.await.expect("a reader ends");
        }
        assert_eq!(total, ROWS);
        rate(&format!("{} readers", chunks.len()), total, start.elapsed());
    }
    let start = Instant::now();
    let rows = driver_alone(&server).await;
    rate("the driver alone", rows, start.elapsed());
}

/// The same statement without this program's work.
async fn driver_alone(server: &Server) -> usize {
    let source = server.source();
    let mut config = tiberius::Config::new();
    config.host(&source.host);
    config.port(source.port);
    config.database(&source.database);
    let password = source.secret().expect("a password");
    config.authentication(tiberius::AuthMethod::sql_server(&source.user, password.expose()));
    config.encryption(tiberius::EncryptionLevel::NotSupported);
    config.packet_size(16_000);
    let stream = tokio::net::TcpStream::connect(server.double.addr()).await.expect("it listens");
    let client = tiberius::Client::connect(config, stream.compat_write()).await;
    let mut client = client.expect("it lets the client in");
    let sql = "SELECT id, customer, CAST(code AS varbinary(40)), CAST(name AS varbinary(120)), price, \
               amount, placed, flag, CAST(note AS varbinary(100)), day FROM dbo.t ORDER BY id";
    let mut items = client.query(sql, &[]).await.expect("rows");
    let mut rows = 0;
    while let Some(item) = items.try_next().await.expect("rows") {
        rows += usize::from(matches!(item, tiberius::QueryItem::Row(_)));
    }
    rows
}
