//! Every type arrives exactly, read by a login with the least rights.

use lockstep_common::model::record::{Before, Operation};
use lockstep_common::{LogicalType, TICKS_PER_DAY, TICKS_PER_SECOND, TableVersion, Value};

use crate::load_bed::{Loading, whole};
use crate::server::{Server, text};
use crate::service::Bed;

mod collations;
mod documents;
mod extremes;
mod named;
mod others;
mod spatial;
mod variants;

fn date(days: i64) -> Value<'static> {
    Value::Date(i32::try_from(days).expect("a date"))
}

/// Days from 1970-01-01 to 2026-11-23.
const DAY: i64 = 20_780;

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_exactly() {
    let mut server = Server::new().await;
    let columns: &[(&str, &str, Value<'static>)] = &[
        ("bit", "1", Value::Bool(true)),
        ("tinyint", "255", Value::I64(255)),
        ("smallint", "-32768", Value::I64(-32768)),
        ("int", "-2147483648", Value::I64(-2_147_483_648)),
        ("bigint", "9223372036854775807", Value::I64(i64::MAX)),
        (
            "decimal(38,10)",
            "-1234567890123456789012345678.0123456789",
            Value::Decimal {
                unscaled: -12_345_678_901_234_567_890_123_456_780_123_456_789,
                scale: 10,
            },
        ),
        ("decimal(5,0)", "-99999", Value::Decimal { unscaled: -99_999, scale: 0 }),
        ("money", "-922337203685477.5808", Value::Decimal { unscaled: i64::MIN.into(), scale: 4 }),
        ("smallmoney", "214748.3647", Value::Decimal { unscaled: i32::MAX.into(), scale: 4 }),
        ("real", "1.5", Value::F32(1.5)),
        ("float", "0.1", Value::F64(0.1)),
        ("char(5)", "'ab'", text("ab   ")),
        ("varchar(20)", "'caf\u{e9} '", text("caf\u{e9} ")),
        ("nchar(5)", "N'\u{20ac}'", text("\u{20ac}    ")),
        ("nvarchar(20)", "N'\u{1f600} x '", text("\u{1f600} x ")),
        ("varchar(max)", "'long'", text("long")),
        ("nvarchar(max)", "N'l\u{f6}ng'", text("l\u{f6}ng")),
        ("binary(4)", "0x0102", Value::Bytes(vec![1, 2, 0, 0].into())),
        ("varbinary(8)", "0xff00", Value::Bytes(vec![0xff, 0].into())),
        ("varbinary(max)", "0x00", Value::Bytes(vec![0].into())),
        ("date", "'2026-11-23'", date(DAY)),
        ("time(7)", "'23:59:59.9999999'", Value::Time(TICKS_PER_DAY - 1)),
        ("time(0)", "'01:02:03'", Value::Time(3723 * TICKS_PER_SECOND)),
        (
            "datetime",
            "'2026-11-23T10:00:00.007'",
            Value::Timestamp(DAY * TICKS_PER_DAY + 36_000 * TICKS_PER_SECOND + 70_000),
        ),
        (
            "smalldatetime",
            "'2026-11-23T10:01:00'",
            Value::Timestamp(DAY * TICKS_PER_DAY + 36_060 * TICKS_PER_SECOND),
        ),
        (
            "datetime2(7)",
            "'0001-01-01T00:00:00.0000001'",
            Value::Timestamp(-719_162 * TICKS_PER_DAY + 1),
        ),
        (
            "datetime2(3)",
            "'9999-12-31T23:59:59.999'",
            Value::Timestamp(2_932_897 * TICKS_PER_DAY - 10_000),
        ),
        (
            "datetimeoffset(7)",
            "'2026-11-23T10:00:00.1234567+05:30'",
            Value::TimestampTz {
                ticks: DAY * TICKS_PER_DAY + 16_200 * TICKS_PER_SECOND + 1_234_567,
                offset: 330,
            },
        ),
        (
            "uniqueidentifier",
            "'00112233-4455-6677-8899-aabbccddeeff'",
            Value::Uuid([
                0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                0xee, 0xff,
            ]),
        ),
    ];
    let version = arrive(&mut server, columns).await;
    assert_eq!(version.key, [0]);
    assert_eq!(version.columns.len(), columns.len() + 1);
    assert!(!version.columns[0].nullable && version.columns[1].nullable);
    for (i, (ty, _, _)) in columns.iter().enumerate() {
        assert_eq!(version.columns[i + 1].source_type, *ty);
    }
    assert_eq!(version.columns[8].ty, LogicalType::Decimal { precision: 19, scale: 4 });
}

/// A column's type, a literal, and the value it must arrive as.
type Case<'c> = (&'c str, &'c str, Value<'static>);

/// Inserts a row of `cases` and one of NULLs, and deletes the first: both the stream and a full load
/// must have them as the cases say, and the deleted row is the inserted one.
async fn arrive(server: &mut Server, cases: &[Case<'_>]) -> TableVersion {
    let definitions: Vec<String> =
        cases.iter().enumerate().map(|(i, (ty, _, _))| format!("c{i} {ty} NULL")).collect();
    let literals: Vec<&str> = cases.iter().map(|(_, literal, _)| *literal).collect();
    server.table("t", &format!("id int NOT NULL PRIMARY KEY, {}", definitions.join(", "))).await;
    let nulls = vec!["NULL"; cases.len()];
    server.captured(&format!("INSERT INTO dbo.t VALUES (1, {})", literals.join(", "))).await;
    server.captured(&format!("INSERT INTO dbo.t VALUES (2, {})", nulls.join(", "))).await;
    let loading = Loading::new(server).await;
    let loaded = loading.rows(loading.table("t"), &whole()).await.expect("both rows");
    server.captured("DELETE FROM dbo.t WHERE id = 1").await;

    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let [first, second, third] = contents.transactions.as_slice() else {
        panic!("three transactions: {contents:?}")
    };
    for (i, (ty, literal, expected)) in cases.iter().enumerate() {
        let short: String = literal.chars().take(60).collect();
        same(&first.changes[0].after[i + 1], expected, &format!("{ty} {short}"));
        same(&loaded[0][i + 1], expected, &format!("{ty} {short}, loaded"));
        same(&second.changes[0].after[i + 1], &Value::Null, ty);
        same(&loaded[1][i + 1], &Value::Null, ty);
    }
    let Before::Full(before) = &third.changes[0].before else { panic!("a whole old row") };
    assert_eq!(third.changes[0].operation, Operation::Delete);
    assert_eq!(*before, first.changes[0].after);
    contents.versions[&first.changes[0].table].clone()
}

/// Equal, and the sign of a zero too.
fn same(got: &Value<'_>, expected: &Value<'_>, what: &str) {
    assert_eq!(got, expected, "{what}");
    let sign = |value: &Value<'_>| match value {
        Value::F32(v) => v.is_sign_negative(),
        Value::F64(v) => v.is_sign_negative(),
        _ => false,
    };
    assert_eq!(sign(got), sign(expected), "the sign of {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_max_column_left_untouched_is_unavailable_before_and_whole_after() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, n int NULL, big nvarchar(max) NULL").await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1, N'big')").await;
    server.captured("UPDATE dbo.t SET n = 2 WHERE id = 1").await;
    server.captured("UPDATE dbo.t SET big = N'bigger' WHERE id = 1").await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let untouched = &contents.transactions[1].changes[0];
    assert_eq!(untouched.changed.as_ref(), [0b010]);
    let before = vec![Value::I64(1), Value::I64(1), Value::Unavailable];
    assert_eq!(untouched.before, Before::Full(before));
    assert_eq!(untouched.after, [Value::I64(1), Value::I64(2), text("big")]);
    let touched = &contents.transactions[2].changes[0];
    assert_eq!(touched.changed.as_ref(), [0b100]);
    assert_eq!(touched.before, Before::Full(vec![Value::I64(1), Value::I64(2), text("big")]));
    assert_eq!(touched.after, [Value::I64(1), Value::I64(2), text("bigger")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_over_the_limit_stops_capture_and_names_its_column() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, big varbinary(max) NULL").await;
    server
        .captured("INSERT INTO dbo.t VALUES (1, CAST(REPLICATE('x', 2000) AS varbinary(max)))")
        .await;
    let bed = Bed::new().await;
    let small = lockstep_common::config::Capture {
        max_value_bytes: bytesize::ByteSize::b(1999),
        ..crate::service::capture()
    };
    let running = server.follow_with(&bed.log, small, Default::default());
    let failure = running.ends().await.expect_err("it halts");
    assert_eq!(failure.code.as_str(), "source.value");
    assert!(failure.to_string().contains("big"), "{failure}");
    let enough = lockstep_common::config::Capture {
        max_value_bytes: bytesize::ByteSize::b(2000),
        ..crate::service::capture()
    };
    let contents = server.run_through_with(&bed, enough).await;
    let value = &contents.transactions[0].changes[0].after[1];
    assert_eq!(*value, Value::Bytes(vec![b'x'; 2000].into()));
}
