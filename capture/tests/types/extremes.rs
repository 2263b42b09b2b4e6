//! The ends of every type's range, and what stands beside them.

use lockstep_common::{TICKS_PER_DAY, TICKS_PER_SECOND, Value};

use super::{arrive, date, same};
use crate::server::{Server, text};
use crate::service::Bed;

/// Days from 1970-01-01 to 9999-12-31, and to 0001-01-01.
const LAST_DAY: i64 = 2_932_896;
const FIRST_DAY: i64 = -719_162;
const NINES: i128 = 99_999_999_999_999_999_999_999_999_999_999_999_999;

fn decimal(unscaled: i128, scale: u8) -> Value<'static> {
    Value::Decimal { unscaled, scale }
}

fn timestamp(days: i64, ticks: i64) -> Value<'static> {
    Value::Timestamp(days * TICKS_PER_DAY + ticks)
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_at_the_ends_of_their_ranges() {
    let mut server = Server::new().await;
    let cases = [
        ("bit", "0", Value::Bool(false)),
        ("tinyint", "0", Value::I64(0)),
        ("smallint", "32767", Value::I64(32767)),
        ("int", "2147483647", Value::I64(2_147_483_647)),
        ("bigint", "-9223372036854775808", Value::I64(i64::MIN)),
        ("decimal(38,0)", "99999999999999999999999999999999999999", decimal(NINES, 0)),
        ("decimal(38,0)", "-99999999999999999999999999999999999999", decimal(-NINES, 0)),
        ("decimal(38,38)", "0.99999999999999999999999999999999999999", decimal(NINES, 38)),
        ("numeric(38,38)", "-0.00000000000000000000000000000000000001", decimal(-1, 38)),
        ("numeric(1,0)", "0", decimal(0, 0)),
        ("decimal(19,4)", "-0.0001", decimal(-1, 4)),
        ("money", "922337203685477.5807", decimal(i64::MAX.into(), 4)),
        ("money", "-0.0001", decimal(-1, 4)),
        ("smallmoney", "-214748.3648", decimal(i32::MIN.into(), 4)),
        ("real", "3.40282347E+38", Value::F32(f32::MAX)),
        ("real", "-1.17549435E-38", Value::F32(-f32::MIN_POSITIVE)),
        ("float", "1.7976931348623157E308", Value::F64(f64::MAX)),
        ("float", "-2.2250738585072014E-308", Value::F64(-f64::MIN_POSITIVE)),
        ("float", "0.30000000000000004E0", Value::F64(0.1 + 0.2)),
    ];
    arrive(&mut server, &cases).await;
}

/// Floating-point numbers by their bits, as a driver sends them.
#[tokio::test(flavor = "multi_thread")]
async fn floating_point_numbers_keep_every_bit() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, r real NULL, f float NULL").await;
    let singles = [-0.0, f32::from_bits(1), f32::MIN, 16_777_217.0, 0.1, -f32::MIN_POSITIVE / 2.0];
    let doubles = [-0.0, f64::from_bits(1), f64::MIN, 9_007_199_254_740_993.0, 0.1, 1e23];
    for (id, (r, f)) in singles.into_iter().zip(doubles).enumerate() {
        let id = i32::try_from(id).expect("few");
        server.admin.run_with("INSERT INTO dbo.t VALUES (@P1, @P2, @P3)", &[&id, &r, &f]).await;
    }
    server.scan().await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    for (i, (r, f)) in singles.into_iter().zip(doubles).enumerate() {
        let row = &contents.transactions[i].changes[0].after;
        same(&row[1], &Value::F32(r), &format!("real {r:e}"));
        same(&row[2], &Value::F64(f), &format!("float {f:e}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_at_the_ends_of_their_ranges() {
    let mut server = Server::new().await;
    let tz = |days: i64, ticks: i64, offset| Value::TimestampTz {
        ticks: days * TICKS_PER_DAY + ticks,
        offset,
    };
    let last = TICKS_PER_DAY - 1;
    let cases = [
        ("date", "'0001-01-01'", date(FIRST_DAY)),
        ("date", "'9999-12-31'", date(LAST_DAY)),
        ("date", "'2024-02-29'", date(19_782)),
        ("time(7)", "'00:00:00.0000001'", Value::Time(1)),
        ("time(6)", "'23:59:59.999999'", Value::Time(last - 9)),
        ("time(5)", "'23:59:59.99999'", Value::Time(last - 99)),
        ("time(4)", "'00:00:00.0001'", Value::Time(1000)),
        ("time(3)", "'00:00:00.001'", Value::Time(10_000)),
        ("time(2)", "'00:00:00.01'", Value::Time(100_000)),
        ("time(1)", "'00:00:00.1'", Value::Time(1_000_000)),
        ("time(0)", "'23:59:59'", Value::Time(86_399 * TICKS_PER_SECOND)),
        ("datetime", "'1753-01-01T00:00:00'", timestamp(-79_257, 0)),
        ("datetime", "'9999-12-31T23:59:59.997'", timestamp(LAST_DAY, last - 29_999)),
        ("smalldatetime", "'1900-01-01T00:00:00'", timestamp(-25_567, 0)),
        ("smalldatetime", "'2079-06-06T23:59:00'", timestamp(39_968, 86_340 * TICKS_PER_SECOND)),
        ("datetime2(7)", "'0001-01-01T00:00:00'", timestamp(FIRST_DAY, 0)),
        ("datetime2(7)", "'9999-12-31T23:59:59.9999999'", timestamp(LAST_DAY, last)),
        ("datetime2(7)", "'1969-12-31T23:59:59.9999999'", Value::Timestamp(-1)),
        ("datetime2(6)", "'9999-12-31T23:59:59.999999'", timestamp(LAST_DAY, last - 9)),
        ("datetime2(5)", "'9999-12-31T23:59:59.99999'", timestamp(LAST_DAY, last - 99)),
        ("datetime2(4)", "'1970-01-01T00:00:00.0001'", Value::Timestamp(1000)),
        ("datetime2(2)", "'1970-01-01T00:00:00.01'", Value::Timestamp(100_000)),
        ("datetime2(1)", "'1970-01-01T00:00:00.1'", Value::Timestamp(1_000_000)),
        ("datetime2(0)", "'9999-12-31T23:59:59'", timestamp(LAST_DAY, last - 9_999_999)),
        ("datetimeoffset(7)", "'0001-01-01T14:00:00+14:00'", tz(FIRST_DAY, 0, 840)),
        ("datetimeoffset(7)", "'9999-12-31T09:59:59.9999999-14:00'", tz(LAST_DAY, last, -840)),
        ("datetimeoffset(3)", "'1970-01-01T00:00:00.001-00:01'", tz(0, 600_010_000, -1)),
        ("datetimeoffset(0)", "'1970-01-01T05:45:00+05:45'", tz(0, 0, 345)),
        ("uniqueidentifier", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", Value::Uuid([0xff; 16])),
    ];
    arrive(&mut server, &cases).await;
}

/// Every 1/300 s of a second: .000, .003, .007, .010, …, .997.
#[tokio::test(flavor = "multi_thread")]
async fn every_tick_of_a_datetime_arrives_as_the_server_shows_it() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, d datetime NULL").await;
    let milliseconds: Vec<i64> =
        (0..300).map(|tick| tick / 3 * 10 + [0, 3, 7][tick as usize % 3]).collect();
    let row = |ms: &i64| format!("({ms}, '1970-01-01T00:00:00.{ms:03}')");
    let rows: Vec<String> = milliseconds.iter().map(row).collect();
    server.captured(&format!("INSERT INTO dbo.t VALUES {}", rows.join(", "))).await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let changes = &contents.transactions[0].changes;
    assert_eq!(changes.len(), 300);
    for change in changes {
        let Value::I64(ms) = change.after[0] else { panic!("an id") };
        assert_eq!(change.after[1], Value::Timestamp(ms * 10_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_bytes_of_every_length() {
    let mut server = Server::new().await;
    let long = "x".repeat(8000);
    let emoji = "\u{1f600}".repeat(2000);
    let (quoted, national) = (format!("'{long}'"), format!("N'{emoji}'"));
    let many = "REPLICATE(CAST(N'\u{e9}\u{1f4a9} ' AS nvarchar(max)), 20000)";
    let latin = "REPLICATE(CAST('\u{e9}' AS varchar(max)), 100001)";
    let bytes = "CAST(REPLICATE(CAST('ab' AS varchar(max)), 50000) AS varbinary(max))";
    let cases = [
        ("varchar(8000)", quoted.as_str(), text(&long)),
        ("char(8000)", "'a'", text(&format!("a{}", " ".repeat(7999)))),
        ("nvarchar(4000)", national.as_str(), text(&emoji)),
        ("nchar(4000)", "N'\u{1f600}'", text(&format!("\u{1f600}{}", " ".repeat(3998)))),
        ("nvarchar(max)", many, text(&"\u{e9}\u{1f4a9} ".repeat(20000))),
        ("varchar(max)", latin, text(&"\u{e9}".repeat(100_001))),
        ("varbinary(max)", bytes, Value::Bytes(b"ab".repeat(50_000).into())),
        ("binary(8000)", "0x01", Value::Bytes([&[1][..], &[0; 7999]].concat().into())),
        ("varbinary(8000)", "0x", Value::Bytes(vec![].into())),
        // Empty is not NULL, and blanks at the end are there.
        ("varchar(10)", "''", text("")),
        ("nvarchar(10)", "N''", text("")),
        ("varchar(max)", "''", text("")),
        ("nvarchar(max)", "N''", text("")),
        ("varbinary(max)", "0x", Value::Bytes(vec![].into())),
        ("char(3)", "''", text("   ")),
        ("varchar(10)", "' a  '", text(" a  ")),
        ("nvarchar(10)", "N'  '", text("  ")),
        ("nvarchar(10)", "NCHAR(0) + N'a'", text("\u{0}a")),
        ("varchar(10)", "'a' + CHAR(0)", text("a\u{0}")),
        ("nvarchar(10)", "N'\u{fffd}\u{ffff}\u{10ffff}'", text("\u{fffd}\u{ffff}\u{10ffff}")),
        ("nvarchar(10)", "N'x' + NCHAR(0xDFFF)", Value::Utf16(vec![b'x', 0, 0xff, 0xdf].into())),
        ("nvarchar(max)", "NCHAR(0xDBFF)", Value::Utf16(vec![0xff, 0xdb].into())),
        ("nvarchar(10)", "NCHAR(0xD83D) + NCHAR(0xDE00)", text("\u{1f600}")),
    ];
    arrive(&mut server, &cases).await;
}
