//! Every type both ways: to the client, and from it.

use std::borrow::Cow;

use tiberius::{ColumnData, numeric::Numeric, time};

use super::*;

fn text(text: &str) -> Value {
    Value::NString(text.encode_utf16().collect())
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Binary(bytes.into())
}

/// Extremes of every type, and how tiberius tells them. `exact` is false where tiberius itself is
/// not (money goes through f64 there).
fn extremes() -> Vec<(SqlType, Value, ColumnData<'static>)> {
    let mut cases = numbers();
    cases.extend(times());
    cases.extend(strings());
    cases
}

fn numbers() -> Vec<(SqlType, Value, ColumnData<'static>)> {
    let decimal = |precision, scale, unscaled| {
        (
            SqlType::Decimal { precision, scale },
            Value::Decimal { unscaled, scale },
            ColumnData::Numeric(Some(Numeric::new_with_scale(unscaled, scale))),
        )
    };
    let mut cases = vec![
        (SqlType::Bit, Value::Bit(true), ColumnData::Bit(Some(true))),
        (SqlType::Bit, Value::Bit(false), ColumnData::Bit(Some(false))),
        (SqlType::TinyInt, Value::TinyInt(0), ColumnData::U8(Some(0))),
        (SqlType::TinyInt, Value::TinyInt(255), ColumnData::U8(Some(255))),
        (SqlType::Float, Value::Float(f64::MAX), ColumnData::F64(Some(f64::MAX))),
        (SqlType::Float, Value::Float(-5e-324), ColumnData::F64(Some(-5e-324))),
        (SqlType::Real, Value::Real(f32::MIN), ColumnData::F32(Some(f32::MIN))),
        (SqlType::Real, Value::Real(1e-45), ColumnData::F32(Some(1e-45))),
        (SqlType::Money, Value::Money(-12_345), ColumnData::F64(Some(-1.2345))),
        (SqlType::Money, Value::Money(1 << 33), ColumnData::F64(Some((1u64 << 33) as f64 / 1e4))),
        (SqlType::SmallMoney, Value::SmallMoney(i32::MIN), ColumnData::F64(Some(-214_748.364_8))),
        (
            SqlType::UniqueIdentifier,
            Value::Guid([
                0x33, 0x22, 0x11, 0, 0x55, 0x44, 0x77, 0x66, 8, 9, 10, 11, 12, 13, 14, 15,
            ]),
            ColumnData::Guid(Some("00112233-4455-6677-0809-0a0b0c0d0e0f".parse().expect("a GUID"))),
        ),
        decimal(1, 0, 9),
        decimal(9, 4, -999_999_999),
        decimal(10, 10, 1),
        decimal(19, 0, 10i128.pow(19) - 1),
        decimal(20, 5, -1),
        decimal(28, 28, 10i128.pow(28) - 1),
        decimal(29, 0, 0),
        decimal(38, 0, 10i128.pow(38) - 1),
        decimal(38, 37, 1 - 10i128.pow(38)),
    ];
    for v in [i16::MIN, -1, i16::MAX] {
        cases.push((SqlType::SmallInt, Value::SmallInt(v), ColumnData::I16(Some(v))));
    }
    for v in [i32::MIN, -1, i32::MAX] {
        cases.push((SqlType::Int, Value::Int(v), ColumnData::I32(Some(v))));
    }
    for v in [i64::MIN, -1, i64::MAX] {
        cases.push((SqlType::BigInt, Value::BigInt(v), ColumnData::I64(Some(v))));
    }
    cases
}

fn times() -> Vec<(SqlType, Value, ColumnData<'static>)> {
    const LAST_TICK: u64 = 864_000_000_000 - 1;
    let mut cases = vec![
        (SqlType::Date, Value::Date(0), ColumnData::Date(Some(time::Date::new(0)))),
        (SqlType::Date, Value::Date(3_652_058), ColumnData::Date(Some(time::Date::new(3_652_058)))),
        (
            SqlType::SmallDateTime,
            Value::SmallDateTime { days: u16::MAX, minutes: 1439 },
            ColumnData::SmallDateTime(Some(time::SmallDateTime::new(u16::MAX, 1439))),
        ),
        (
            SqlType::DateTime,
            Value::DateTime { days: -53_690, ticks: 0 },
            ColumnData::DateTime(Some(time::DateTime::new(-53_690, 0))),
        ),
        (
            SqlType::DateTime,
            Value::DateTime { days: 2_958_463, ticks: 25_919_999 },
            ColumnData::DateTime(Some(time::DateTime::new(2_958_463, 25_919_999))),
        ),
    ];
    for scale in 0..=7u8 {
        let unit = 10u64.pow(u32::from(7 - scale));
        let last = LAST_TICK / unit;
        let time_of_day = time::Time::new(last, scale);
        let moment = time::DateTime2::new(time::Date::new(3_652_058), time_of_day);
        let (days, time) = (3_652_058, last * unit);
        cases.push((SqlType::Time(scale), Value::Time(time), ColumnData::Time(Some(time_of_day))));
        cases.push((
            SqlType::DateTime2(scale),
            Value::DateTime2 { days, time },
            ColumnData::DateTime2(Some(moment)),
        ));
        for offset in [-840, 0, 840] {
            cases.push((
                SqlType::DateTimeOffset(scale),
                Value::DateTimeOffset { days, time, offset },
                ColumnData::DateTimeOffset(Some(time::DateTimeOffset::new(moment, offset))),
            ));
        }
    }
    cases
}

fn strings() -> Vec<(SqlType, Value, ColumnData<'static>)> {
    let string = |s: String| ColumnData::String(Some(Cow::Owned(s)));
    let binary = |b: Vec<u8>| ColumnData::Binary(Some(Cow::Owned(b)));
    let million = "Grüße, 世界 𝄞. ".repeat(100_000);
    let megabytes: Vec<u8> = (0..5_000_000u32).map(|i| (i * 7) as u8).collect();
    let code_page = Value::String(b"\x80uro na\xEFve"[..].into());
    vec![
        (SqlType::Char(10), code_page.clone(), string("€uro naïve".into())),
        (SqlType::VarChar(Some(8000)), code_page.clone(), string("€uro naïve".into())),
        (SqlType::VarChar(Some(1)), Value::String([][..].into()), string(String::new())),
        (SqlType::VarChar(None), code_page, string("€uro naïve".into())),
        (SqlType::VarChar(None), Value::String([][..].into()), string(String::new())),
        (
            SqlType::VarChar(None),
            Value::String(vec![b'x'; 3_000_001].into()),
            string("x".repeat(3_000_001)),
        ),
        (SqlType::NChar(3), text("a𝄞"), string("a𝄞".into())),
        (SqlType::NVarChar(Some(4000)), text(&"ü".repeat(4000)), string("ü".repeat(4000))),
        (SqlType::NVarChar(Some(4000)), text(""), string(String::new())),
        (SqlType::NVarChar(None), text(""), string(String::new())),
        (SqlType::NVarChar(None), text(&million), string(million)),
        (SqlType::Binary(3), bytes(&[0, 0xFF, 0]), binary(vec![0, 0xFF, 0])),
        (SqlType::VarBinary(Some(8000)), bytes(&[0xFE; 8000]), binary(vec![0xFE; 8000])),
        (SqlType::VarBinary(Some(8000)), bytes(&[]), binary(vec![])),
        (SqlType::VarBinary(None), bytes(&[]), binary(vec![])),
        (SqlType::VarBinary(None), bytes(&megabytes), binary(megabytes)),
    ]
}

/// Sends `rows` and reads them back.
async fn select(
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    encryption: EncryptionLevel,
) -> Vec<tiberius::Row> {
    let (double, script) = start().await;
    *script.table.lock().expect("not poisoned") = (columns, rows);
    let mut client = connect_with(&double, config(encryption)).await.expect("logs in");
    let stream = client.simple_query("table").await.expect("runs");
    stream.into_first_result().await.expect("reads")
}

fn cells(row: &tiberius::Row) -> Vec<ColumnData<'static>> {
    row.cells().map(|(_, data)| data.clone()).collect()
}

#[tokio::test]
async fn every_type_arrives_exactly_from_nullable_and_from_other_columns() {
    for nullable in [true, false] {
        let cases = extremes();
        let columns = cases.iter().map(|(ty, ..)| column("c", ty.clone(), nullable)).collect();
        let row = cases.iter().map(|(_, value, _)| value.clone()).collect();
        for encryption in [EncryptionLevel::NotSupported, EncryptionLevel::On] {
            let rows = select(Vec::clone(&columns), vec![Vec::clone(&row); 2], encryption).await;
            assert_eq!(rows.len(), 2);
            for row in rows {
                for (got, (ty, _, want)) in cells(&row).into_iter().zip(&cases) {
                    assert_eq!(got, *want, "{ty:?}, nullable {nullable}");
                }
            }
        }
    }
}

/// One column of each type.
fn one_of_each() -> Vec<(SqlType, Value, ColumnData<'static>)> {
    let mut cases = extremes();
    cases.retain(|(_, value, _)| !matches!(value, Value::NString(units) if units.len() > 100_000));
    cases.retain(|(_, value, _)| !matches!(value, Value::Binary(b) if b.len() > 100_000));
    cases.dedup_by(|a, b| a.0 == b.0);
    cases
}

#[tokio::test]
async fn nulls_of_every_type_arrive_wherever_they_stand_in_a_row() {
    let cases = one_of_each();
    let columns = cases.iter().map(|(ty, ..)| column("c", ty.clone(), true)).collect();
    // From no NULL to nothing but NULL, so that both forms of rows are sent.
    let row = |nulls: usize| -> Vec<Value> {
        let null = |i: usize| i * 7 % cases.len() < nulls;
        let value = |(i, case): (usize, &(SqlType, Value, ColumnData<'static>))| {
            if null(i) { Value::Null } else { case.1.clone() }
        };
        cases.iter().enumerate().map(value).collect()
    };
    let rows = (0..=cases.len()).map(row).collect();
    let got = select(columns, rows, EncryptionLevel::NotSupported).await;
    assert_eq!(got.len(), cases.len() + 1);
    for (nulls, row) in got.iter().enumerate() {
        for (i, (cell, (ty, _, want))) in cells(row).into_iter().zip(&cases).enumerate() {
            if i * 7 % cases.len() < nulls {
                assert!(is_null(&cell), "{ty:?} with {nulls} NULLs: {cell:?}");
            } else {
                assert_eq!(cell, *want, "{ty:?} with {nulls} NULLs");
            }
        }
    }
}

fn is_null(data: &ColumnData<'_>) -> bool {
    matches!(
        data,
        ColumnData::U8(None)
            | ColumnData::I16(None)
            | ColumnData::I32(None)
            | ColumnData::I64(None)
            | ColumnData::F32(None)
            | ColumnData::F64(None)
            | ColumnData::Bit(None)
            | ColumnData::String(None)
            | ColumnData::Guid(None)
            | ColumnData::Binary(None)
            | ColumnData::Numeric(None)
            | ColumnData::DateTime(None)
            | ColumnData::SmallDateTime(None)
            | ColumnData::Time(None)
            | ColumnData::Date(None)
            | ColumnData::DateTime2(None)
            | ColumnData::DateTimeOffset(None)
    )
}

/// A value bound as a parameter as it is.
struct Bound(ColumnData<'static>);

impl tiberius::ToSql for Bound {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

#[tokio::test]
async fn parameters_of_every_type_are_understood() {
    let (double, script) = start().await;
    let mut client = connect(&double).await;
    for (ty, want, sent) in extremes() {
        let row = client
            .query("echo", &[&Bound(sent.clone())])
            .await
            .expect("runs")
            .into_row()
            .await
            .expect("reads")
            .expect("a row");
        let seen = script.seen.lock().expect("not poisoned").pop().expect("a request");
        let Request::Statement { params, .. } = seen else {
            panic!("not a statement");
        };
        match (&want, &params[0].value) {
            // tiberius sends these as nvarchar and float.
            (Value::String(_), Value::NString(_)) => {}
            (Value::Money(_) | Value::SmallMoney(_), Value::Float(_)) => {}
            (_, got) => assert_eq!(*got, want, "{ty:?}"),
        }
        assert_eq!(cells(&row)[0], scaled(sent), "{ty:?}");
    }
}

/// tiberius declares times without a scale: they come back with seven digits.
fn scaled(data: ColumnData<'static>) -> ColumnData<'static> {
    let time =
        |t: time::Time| time::Time::new(t.increments() * 10u64.pow(u32::from(7 - t.scale())), 7);
    let moment = |m: time::DateTime2| time::DateTime2::new(m.date(), time(m.time()));
    match data {
        ColumnData::Time(t) => ColumnData::Time(t.map(time)),
        ColumnData::DateTime2(m) => ColumnData::DateTime2(m.map(moment)),
        ColumnData::DateTimeOffset(m) => ColumnData::DateTimeOffset(
            m.map(|m| time::DateTimeOffset::new(moment(m.datetime2()), m.offset())),
        ),
        other => other,
    }
}

#[tokio::test]
async fn null_parameters_of_every_type_are_null() {
    let (double, script) = start().await;
    let mut client = connect(&double).await;
    let nulls = [
        ColumnData::U8(None),
        ColumnData::I16(None),
        ColumnData::I32(None),
        ColumnData::I64(None),
        ColumnData::F32(None),
        ColumnData::F64(None),
        ColumnData::Bit(None),
        ColumnData::String(None),
        ColumnData::Guid(None),
        ColumnData::Binary(None),
        ColumnData::Numeric(None),
        ColumnData::DateTime(None),
        ColumnData::SmallDateTime(None),
        ColumnData::Time(None),
        ColumnData::Date(None),
        ColumnData::DateTime2(None),
        ColumnData::DateTimeOffset(None),
    ];
    for null in nulls {
        let row = client
            .query("echo", &[&Bound(null.clone())])
            .await
            .expect("runs")
            .into_row()
            .await
            .expect("reads")
            .expect("a row");
        assert!(is_null(&cells(&row)[0]), "{null:?}");
        let seen = script.seen.lock().expect("not poisoned").pop().expect("a request");
        assert!(
            matches!(seen, Request::Statement { params, .. } if params[0].value == Value::Null)
        );
    }
}
