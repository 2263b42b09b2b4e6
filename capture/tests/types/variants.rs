//! `sql_variant`: every base type, with its facets.

use lockstep_common::{TICKS_PER_DAY, TICKS_PER_SECOND, Value};

use super::{DAY, arrive, date};
use crate::server::{Server, text};
use crate::service::Bed;

fn variant(type_name: &str, value: Value<'static>) -> Value<'static> {
    Value::Variant { type_name: type_name.to_owned().into(), value: Box::new(value) }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_base_type_arrives_in_a_variant() {
    let mut server = Server::new().await;
    let long = "x".repeat(8000);
    let (quoted, national) = (format!("'{long}'"), format!("N'{}'", "\u{20ac}".repeat(4000)));
    let binary = format!("0x{}", "A5".repeat(8000));
    let decimal = |unscaled, scale| Value::Decimal { unscaled, scale };
    let noon = 43_200 * TICKS_PER_SECOND;
    let cases: Vec<(&str, &str, Value<'static>)> = vec![
        ("CAST(1 AS bit)", "bit", Value::Bool(true)),
        ("CAST(255 AS tinyint)", "tinyint", Value::I64(255)),
        ("CAST(-32768 AS smallint)", "smallint", Value::I64(-32768)),
        ("CAST(-2147483648 AS int)", "int", Value::I64(-2_147_483_648)),
        ("CAST(9223372036854775807 AS bigint)", "bigint", Value::I64(i64::MAX)),
        ("CAST(-1234.5 AS decimal(10,2))", "decimal(10,2)", decimal(-123_450, 2)),
        ("CAST(0.5 AS numeric(38,38))", "numeric(38,38)", decimal(5 * 10i128.pow(37), 38)),
        ("CAST(-922337203685477.5808 AS money)", "money", decimal(i64::MIN.into(), 4)),
        ("CAST(0.0001 AS smallmoney)", "smallmoney", decimal(1, 4)),
        ("CAST(0.1 AS real)", "real", Value::F32(0.1)),
        // Nine digits, and no fewer, say which number it is.
        ("CAST(16777214E0 AS real)", "real", Value::F32(16_777_214.0)),
        ("CAST(1.00000012E0 AS real)", "real", Value::F32(1.0 + f32::EPSILON)),
        ("CAST(0.30000000000000004E0 AS float)", "float", Value::F64(0.1 + 0.2)),
        ("CAST('ab' AS char(4))", "char(4)", text("ab  ")),
        ("CAST('a|b ' AS varchar(20))", "varchar(20)", text("a|b ")),
        ("CAST(N'\u{1f600}' AS nchar(4))", "nchar(4)", text("\u{1f600}  ")),
        ("CAST(N'' AS nvarchar(40))", "nvarchar(40)", text("")),
        (&quoted, "varchar(8000)", text(&long)),
        (&national, "nvarchar(4000)", text(&"\u{20ac}".repeat(4000))),
        ("CAST(0x0102 AS binary(3))", "binary(3)", Value::Bytes(vec![1, 2, 0].into())),
        ("CAST(0x00FF AS varbinary(8))", "varbinary(8)", Value::Bytes(vec![0, 0xff].into())),
        (&binary, "varbinary(8000)", Value::Bytes(vec![0xa5; 8000].into())),
        ("CAST('0001-01-01' AS date)", "date", date(-719_162)),
        ("CAST('23:59:59.9999999' AS time(7))", "time(7)", Value::Time(TICKS_PER_DAY - 1)),
        ("CAST('12:00:00.123' AS time(3))", "time(3)", Value::Time(noon + 1_230_000)),
        (
            "CAST('2026-11-23T12:00:00.003' AS datetime)",
            "datetime",
            Value::Timestamp(DAY * TICKS_PER_DAY + noon + 30_000),
        ),
        (
            "CAST('2026-11-23T12:00:00' AS smalldatetime)",
            "smalldatetime",
            Value::Timestamp(DAY * TICKS_PER_DAY + noon),
        ),
        (
            "CAST('9999-12-31T23:59:59.9999999' AS datetime2(7))",
            "datetime2(7)",
            Value::Timestamp(2_932_897 * TICKS_PER_DAY - 1),
        ),
        ("CAST('1970-01-01' AS datetime2(0))", "datetime2(0)", Value::Timestamp(0)),
        (
            "CAST('2026-11-23T12:00:00.0000001-03:30' AS datetimeoffset(7))",
            "datetimeoffset(7)",
            Value::TimestampTz {
                ticks: DAY * TICKS_PER_DAY + noon + 12_600 * TICKS_PER_SECOND + 1,
                offset: -210,
            },
        ),
        (
            "CAST('00112233-4455-6677-8899-aabbccddeeff' AS uniqueidentifier)",
            "uniqueidentifier",
            Value::Uuid([
                0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd,
                0xee, 0xff,
            ]),
        ),
        (
            "CAST(NCHAR(0xD800) AS nvarchar(2))",
            "nvarchar(2)",
            Value::Utf16(vec![0x00, 0xd8].into()),
        ),
    ];
    let columns: Vec<_> = cases
        .into_iter()
        .map(|(literal, ty, value)| ("sql_variant", literal, variant(ty, value)))
        .collect();
    // Rows have room for 8060 bytes, and some values go off the row.
    let version = arrive(&mut server, &columns).await;
    assert_eq!(version.columns[1].source_type, "sql_variant");
}

#[tokio::test(flavor = "multi_thread")]
async fn floats_in_a_variant_keep_every_bit() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v sql_variant NULL").await;
    let numbers = [f64::from_bits(1), f64::MAX, -0.1, 1e23, 9_007_199_254_740_993.0, 2.5e-310];
    for (id, number) in numbers.iter().enumerate() {
        let id = i32::try_from(id).expect("few");
        server.admin.run_with("INSERT INTO dbo.t VALUES (@P1, @P2)", &[&id, number]).await;
    }
    server.scan().await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    for (i, number) in numbers.into_iter().enumerate() {
        let value = &contents.transactions[i].changes[0].after[1];
        assert_eq!(*value, variant("float", Value::F64(number)));
    }
}

/// The limit is for what a variant holds, which SQL Server bounds, not for the form it is read in.
#[tokio::test(flavor = "multi_thread")]
async fn a_small_limit_does_not_cut_variants() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v sql_variant NULL").await;
    let value = "7B".repeat(8000);
    server.captured(&format!("INSERT INTO dbo.t VALUES (1, 0x{value})")).await;
    let bed = Bed::new().await;
    let small = lockstep_common::config::Capture {
        max_value_bytes: bytesize::ByteSize::b(8000),
        ..crate::service::capture()
    };
    let contents = server.run_through_with(&bed, small).await;
    let expected = variant("varbinary(8000)", Value::Bytes(vec![0x7b; 8000].into()));
    assert_eq!(contents.transactions[0].changes[0].after[1], expected);
}
