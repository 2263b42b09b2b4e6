//! Chunks: whatever the key is, they hold every row once, in the server's own order.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use lockstep_common::{TICKS_PER_DAY, Value};

use crate::load_bed::{Loading, integers, whole};
use crate::server::Server;

const SEED: u64 = 20_261_126;

/// Makes a literal.
type Literal = fn(&mut StdRng) -> String;

/// Types a key may have, each with a maker of literals.
const TYPES: [(&str, Literal); 32] = [
    ("bit", |r| r.random_range(0..2).to_string()),
    ("tinyint", |r| r.random_range(0..=255).to_string()),
    ("smallint", |r| r.random::<i16>().to_string()),
    ("int", |r| r.random::<i32>().to_string()),
    ("bigint", |r| (r.random::<i64>() | 1).to_string()),
    ("decimal(38,38)", |r| format!("{}0.{:038}", sign(r), digits(r))),
    ("numeric(9,2)", |r| {
        format!("{}{}.{:02}", sign(r), r.random_range(0..50), r.random_range(0..100))
    }),
    ("decimal(38,0)", |r| format!("{}{}", sign(r), digits(r))),
    ("money", |r| format!("{}{}.{:04}", sign(r), r.random::<u32>(), r.random_range(0..10_000))),
    ("smallmoney", |r| {
        format!("{}{}.{:04}", sign(r), r.random::<u16>(), r.random_range(0..10_000))
    }),
    ("real", |r| format!("{:e}", r.random_range(-1.0f32..1.0) * 1e10)),
    ("float", |r| format!("{:e}", r.random_range(-1.0f64..1.0) * 1e-10)),
    ("date", |r| format!("'{}'", day(r))),
    ("time(7)", |r| format!("'{}.{:07}'", clock(r), r.random_range(0..10_000_000))),
    ("time(2)", |r| format!("'{}.{:02}'", clock(r), r.random_range(0..100))),
    ("datetime", |r| format!("'{}T{}.{:03}'", late_day(r), clock(r), r.random_range(0..1000))),
    ("smalldatetime", |r| format!("'20{:02}-01-05T{}'", r.random_range(0..70), clock(r))),
    ("datetime2(7)", |r| format!("'{}T{}.{:07}'", day(r), clock(r), r.random_range(0..10_000_000))),
    ("datetime2(0)", |r| format!("'{}T{}'", day(r), clock(r))),
    ("datetimeoffset(7)", |r| {
        let (hours, fraction) = (r.random_range(-13..=13), r.random_range(0..10_000_000));
        format!("'2026-01-05T{}.{fraction:07}{hours:+03}:30'", clock(r))
    }),
    ("uniqueidentifier", |r| format!("'{}'", uuid(r))),
    ("binary(3)", |r| format!("0x{:06X}", r.random_range(0..0x0100_0000))),
    ("varbinary(4)", |r| format!("0x{}", &"00FF01"[..2 * r.random_range(0..4)])),
    ("char(6)", |r| format!("'{}'", latin(r))),
    ("varchar(6)", |r| format!("'{}'", latin(r))),
    ("nchar(6)", |r| format!("N'{}'", unicode(r))),
    ("nvarchar(6)", |r| format!("N'{}'", unicode(r))),
    ("char(6) COLLATE Latin1_General_BIN2", |r| format!("'{}'", latin(r))),
    ("varchar(6) COLLATE Latin1_General_100_CS_AS", |r| format!("'{}'", latin(r))),
    ("nvarchar(6) COLLATE Latin1_General_100_BIN2", |r| format!("N'{}'", unicode(r))),
    ("nvarchar(6) COLLATE Latin1_General_CI_AI", |r| format!("N'{}'", unicode(r))),
    ("nchar(6) COLLATE SQL_Latin1_General_CP1_CS_AS", |r| format!("N'{}'", unicode(r))),
];

fn sign(r: &mut StdRng) -> &'static str {
    if r.random() { "-" } else { "" }
}

fn digits(r: &mut StdRng) -> u128 {
    r.random::<u128>() % 10u128.pow(r.random_range(1..38))
}

fn clock(r: &mut StdRng) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        r.random_range(0..24),
        r.random_range(0..60),
        r.random_range(0..60)
    )
}

fn day(r: &mut StdRng) -> String {
    let (y, m, d) = (r.random_range(1..10_000), r.random_range(1..13), r.random_range(1..29));
    format!("{y:04}-{m:02}-{d:02}")
}

fn late_day(r: &mut StdRng) -> String {
    let (y, m, d) = (r.random_range(1753..10_000), r.random_range(1..13), r.random_range(1..29));
    format!("{y:04}-{m:02}-{d:02}")
}

fn uuid(r: &mut StdRng) -> String {
    let hex = format!("{:032x}", r.random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn pick(r: &mut StdRng, letters: &[&str]) -> String {
    let length = r.random_range(0..5);
    (0..length).map(|_| letters[r.random_range(0..letters.len())]).collect()
}

fn latin(r: &mut StdRng) -> String {
    pick(r, &["a", "A", "b", "B", "z", "\u{e9}", "\u{20ac}", " ", "1", "-", "''"])
}

fn unicode(r: &mut StdRng) -> String {
    pick(r, &["a", "A", "\u{3b1}", "\u{391}", "\u{e9}", "E", " ", "9", "_", "\u{4e2d}"])
}

/// Makes `dbo.<name>` with key columns `k0`, `k1`, … and rows that differ in `id`.
async fn fill(server: &mut Server, name: &str, types: &[usize], rows: usize, r: &mut StdRng) {
    let columns: Vec<String> =
        types.iter().enumerate().map(|(i, ty)| format!("k{i} {} NOT NULL", TYPES[*ty].0)).collect();
    let keys: Vec<String> = (0..types.len()).map(|i| format!("k{i}")).collect();
    let columns = format!(
        "id int NOT NULL, {}, double_id AS (id * 2), PRIMARY KEY ({})",
        columns.join(", "),
        keys.join(", ")
    );
    server.table(name, &columns).await;
    for id in 0..rows {
        let values: Vec<String> = types.iter().map(|ty| TYPES[*ty].1(r)).collect();
        let sql = format!(
            "INSERT INTO dbo.{name} (id, {}) VALUES ({id}, {})",
            keys.join(", "),
            values.join(", ")
        );
        // The key may be there already.
        match server.admin.try_run(&sql).await {
            Err(error) if error.code() == Some(2627) => {}
            answer => drop(answer.unwrap_or_else(|error| panic!("{sql}: {error}"))),
        }
    }
}

/// Chunks of every size give what a SELECT of the whole gives, in the order of its ORDER BY.
async fn chunks_are_the_table(server: &mut Server, loading: &Loading, name: &str, sizes: &[u32]) {
    let table = loading.table(name);
    let survey = loading.loader.survey(std::slice::from_ref(table)).await.expect("a survey");
    assert_eq!(survey[0].unranged, None, "{name}");
    let key: Vec<String> = (0..table.version.key.len()).map(|i| format!("k{i}")).collect();
    let sql = format!("SELECT id FROM dbo.{name} ORDER BY {}", key.join(", "));
    let expected: Vec<i64> = server
        .admin
        .run(&sql)
        .await
        .iter()
        .map(|row| row.get::<i32, _>(0).expect("an id").into())
        .collect();
    let all = loading.rows(table, &whole()).await.expect("all rows");
    assert_eq!(integers(&all, 0), expected, "{name} in one piece");
    for size in sizes {
        let chunks = loading.chunks(table, *size).await;
        let mut rows = Vec::new();
        for chunk in &chunks {
            let part = loading.rows(table, chunk).await.expect("rows");
            let last = chunk.upper.is_none();
            let full = part.len() == usize::try_from(*size).expect("small");
            assert!(full || last, "{name}: {} rows instead of {size}", part.len());
            rows.extend(part);
        }
        assert_eq!(rows, all, "{name} in chunks of {size}: {chunks:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_type_is_cut_into_ranges() {
    println!("seed {SEED}");
    let mut r = StdRng::seed_from_u64(SEED);
    let mut server = Server::new().await;
    for i in 0..TYPES.len() {
        fill(&mut server, &format!("t{i}"), &[i], 40, &mut r).await;
    }
    let loading = Loading::new(&server).await;
    for i in 0..TYPES.len() {
        chunks_are_the_table(&mut server, &loading, &format!("t{i}"), &[1, 7, 1000]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn composite_keys_of_any_types_are_cut_into_ranges() {
    println!("seed {SEED}");
    let mut r = StdRng::seed_from_u64(SEED);
    let mut server = Server::new().await;
    // Few values in front, so that prefixes are shared: bits, text that differs in its case alone.
    let (bit, varbinary, nvarchar, binary_order, accentless) = (0, 22, 26, 29, 30);
    let mut shapes = vec![
        vec![bit, 1],
        vec![nvarchar, bit, 1],
        vec![varbinary, nvarchar],
        vec![binary_order, 1],
        vec![accentless, bit, binary_order],
    ];
    for _ in 0..6 {
        let columns = r.random_range(2..4);
        shapes.push((0..columns).map(|_| r.random_range(0..TYPES.len())).collect());
    }
    for (i, types) in shapes.iter().enumerate() {
        fill(&mut server, &format!("t{i}"), types, 60, &mut r).await;
    }
    server
        .table(
            "cases",
            "id int NOT NULL, k0 nvarchar(4) NOT NULL, k1 int NOT NULL, PRIMARY KEY (k0, k1)",
        )
        .await;
    for id in 0..40 {
        let name = ["a", "A", "\u{e9}", "\u{c9}", "a "][r.random_range(0..5)];
        server.admin.run(&format!("INSERT INTO dbo.cases VALUES ({id}, N'{name}', {id})")).await;
    }
    let loading = Loading::new(&server).await;
    for i in 0..shapes.len() {
        chunks_are_the_table(&mut server, &loading, &format!("t{i}"), &[1, 4, 9]).await;
    }
    chunks_are_the_table(&mut server, &loading, "cases", &[1, 2, 3, 7]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_tables_and_single_rows_are_one_chunk() {
    let mut server = Server::new().await;
    server.table("empty", "id int NOT NULL, k0 int NOT NULL PRIMARY KEY").await;
    server.table("single", "id int NOT NULL, k0 int NOT NULL PRIMARY KEY, v AS (id + 1)").await;
    server.admin.run("INSERT INTO dbo.single (id, k0) VALUES (7, 8)").await;
    let loading = Loading::new(&server).await;
    chunks_are_the_table(&mut server, &loading, "empty", &[1, 5]).await;
    chunks_are_the_table(&mut server, &loading, "single", &[1, 5]).await;
    let single = loading.table("single");
    // Exactly one row above nothing, and none above it.
    let key = loading.loader.boundary(single, None, 1).await.expect("a boundary").expect("a row");
    assert_eq!(key, [Value::I64(8)]);
    assert_eq!(loading.loader.boundary(single, Some(&key), 1).await.expect("none"), None);
    let rows = loading.rows(single, &whole()).await.expect("a row");
    // The computed column is left out, as the stream leaves it out.
    assert_eq!(rows, [[Value::I64(7), Value::I64(8), Value::Unavailable]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_without_a_usable_key_say_why() {
    let mut server = Server::new().await;
    server.table("heap", "id int NOT NULL").await;
    server.table("nullable", "id int NULL UNIQUE").await;
    server.table("unique_key", "id int NOT NULL UNIQUE, v int NULL").await;
    server.admin.run("INSERT INTO dbo.heap VALUES (1), (1), (2)").await;
    let loading = Loading::new(&server).await;
    let surveys = loading.loader.survey(&loading.tables).await.expect("surveys");
    let of = |name: &str| {
        let id = loading.table(name).id;
        surveys.iter().find(|survey| survey.table == id).expect("a survey")
    };
    assert!(of("heap").unranged.as_deref().is_some_and(|why| why.contains("no key")));
    assert!(of("nullable").unranged.is_some());
    assert_eq!(of("unique_key").unranged, None);
    assert_eq!(of("heap").rows, Some(3));
    assert_eq!(of("heap").bytes, None, "without VIEW DATABASE STATE");
    let rows = loading.rows(loading.table("heap"), &whole()).await.expect("rows");
    let mut ids = integers(&rows, 0);
    ids.sort_unstable();
    assert_eq!(ids, [1, 1, 2]);
    let refused = loading.loader.boundary(loading.table("heap"), None, 1).await;
    assert_eq!(refused.map_err(|failure| failure.code.as_str()).unwrap_err(), "source.load");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_at_the_ends_of_their_types_come_back() {
    let mut server = Server::new().await;
    let tables: [(&str, &[&str]); 6] = [
        (
            "decimal(38,0)",
            &[
                "-99999999999999999999999999999999999999",
                "0",
                "99999999999999999999999999999999999999",
            ],
        ),
        (
            "datetime2(7)",
            &["'0001-01-01'", "'0001-01-01T00:00:00.0000001'", "'9999-12-31T23:59:59.9999999'"],
        ),
        ("datetime", &["'1753-01-01'", "'1899-12-31T23:59:59.997'", "'9999-12-31T23:59:59.997'"]),
        ("time(7)", &["'00:00'", "'00:00:00.0000001'", "'23:59:59.9999999'"]),
        (
            "float",
            &["-1.7976931348623157E308", "4.9406564584124654E-324", "1.7976931348623157E308"],
        ),
        ("nvarchar(5)", &["N''", "NCHAR(0xD800)", "N'\u{1f600}'"]),
    ];
    for (i, (ty, values)) in tables.iter().enumerate() {
        server
            .table(&format!("t{i}"), &format!("id int NOT NULL, k0 {ty} NOT NULL PRIMARY KEY"))
            .await;
        for (id, value) in values.iter().enumerate() {
            server.admin.run(&format!("INSERT INTO dbo.t{i} VALUES ({id}, {value})")).await;
        }
    }
    let loading = Loading::new(&server).await;
    for i in 0..tables.len() {
        chunks_are_the_table(&mut server, &loading, &format!("t{i}"), &[1, 2]).await;
    }
    let last = loading.rows(loading.table("t3"), &whole()).await.expect("rows").pop();
    assert_eq!(last.expect("a row")[1], Value::Time(TICKS_PER_DAY - 1));
}
