//! Login, types, sizes and transactions, over the wire and through the engine.

use std::borrow::Cow;

use tiberius::numeric::Numeric;
use tiberius::{AuthMethod, ColumnData, EncryptionLevel, ToSql, time};

use crate::support::{connect, connect_with, login, number_of, rows, run, start};

#[tokio::test]
async fn logins_are_checked() {
    let double = start().await;
    use EncryptionLevel::{NotSupported, Off, On};
    for level in [NotSupported, Off, On] {
        let mut config = login();
        config.encryption(level);
        connect_with(double.addr(), config.clone())
            .await
            .unwrap_or_else(|error| panic!("{level:?}: {error}"));
        let mut wrong = config.clone();
        wrong.authentication(AuthMethod::sql_server("sa", "wrong"));
        let error = connect_with(double.addr(), wrong).await.expect_err("refused");
        assert_eq!(number_of(&error), 18456);
        let mut missing = config;
        missing.database("no such database");
        let error = connect_with(double.addr(), missing).await.expect_err("refused");
        assert_eq!(number_of(&error), 4060);
    }
    double.stop().await;
}

/// A value bound as a parameter as it is.
struct Bound(ColumnData<'static>);

impl ToSql for Bound {
    fn to_sql(&self) -> ColumnData<'_> {
        self.0.clone()
    }
}

fn xml(text: &str) -> Cow<'static, tiberius::xml::XmlData> {
    Cow::Owned(tiberius::xml::XmlData::new(text))
}

/// A type's name, a value as a parameter, and the value as it comes back from a column.
fn extremes() -> Vec<(&'static str, ColumnData<'static>, ColumnData<'static>)> {
    let same = |ty, data: ColumnData<'static>| (ty, data.clone(), data);
    let text = |s: &str| ColumnData::String(Some(Cow::Owned(s.to_owned())));
    let binary = |b: &[u8]| ColumnData::Binary(Some(Cow::Owned(b.to_vec())));
    let numeric = |v, scale| ColumnData::Numeric(Some(Numeric::new_with_scale(v, scale)));
    let last = 10i128.pow(38) - 1;
    let day = time::Date::new(3_652_058);
    let tick = time::Time::new(863_999_999_999, 7);
    let second = time::Time::new(86_399, 0);
    let moment = time::DateTime2::new(day, tick);
    let mut cases = vec![
        same("bit", ColumnData::Bit(Some(true))),
        same("tinyint", ColumnData::U8(Some(255))),
        same("smallint", ColumnData::I16(Some(i16::MIN))),
        same("int", ColumnData::I32(Some(i32::MIN))),
        same("bigint", ColumnData::I64(Some(i64::MIN))),
        same("bigint", ColumnData::I64(Some(i64::MAX))),
        same("decimal(38,0)", numeric(last, 0)),
        // tiberius declares a precision of 39 for 38 digits behind the point.
        same("decimal(38,37)", numeric(-last, 37)),
        same("decimal(5,2)", numeric(-99_999, 2)),
        same("float", ColumnData::F64(Some(f64::MAX))),
        same("float", ColumnData::F64(Some(-5e-324))),
        same("real", ColumnData::F32(Some(f32::MIN))),
        ("money", numeric(-12_345, 4), ColumnData::F64(Some(-1.2345))),
        ("smallmoney", numeric(2_147_483_647, 4), ColumnData::F64(Some(214_748.364_7))),
        same("date", ColumnData::Date(Some(time::Date::new(0)))),
        same("date", ColumnData::Date(Some(day))),
        same("time", ColumnData::Time(Some(tick))),
        same("time(0)", ColumnData::Time(Some(second))),
        same("datetime2", ColumnData::DateTime2(Some(moment))),
        same("datetime2(0)", ColumnData::DateTime2(Some(time::DateTime2::new(day, second)))),
        same(
            "smalldatetime",
            ColumnData::SmallDateTime(Some(time::SmallDateTime::new(65_535, 1439))),
        ),
        same("datetime", ColumnData::DateTime(Some(time::DateTime::new(-53_690, 0)))),
        same("datetime", ColumnData::DateTime(Some(time::DateTime::new(2_958_463, 25_919_999)))),
        same(
            "uniqueidentifier",
            ColumnData::Guid(Some(uuid::Uuid::from_u128(
                0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
            ))),
        ),
        ("char(8)", text("na\u{ef}ve €"), text("na\u{ef}ve € ")),
        same("varchar(20)", text("na\u{ef}ve €")),
        same("varchar(20)", text("")),
        ("nchar(4)", text("a𝄞"), text("a𝄞 ")),
        same("nvarchar(4000)", text(&"世".repeat(4000))),
        ("binary(4)", binary(&[1, 0]), binary(&[1, 0, 0, 0])),
        same("varbinary(8000)", binary(&[0xFE; 8000])),
        same("varbinary(10)", binary(&[])),
        same("varchar(max)", text(&"x".repeat(1_000_001))),
        same("nvarchar(max)", text(&"Grüße, 世界 𝄞. ".repeat(200_000))),
        same("varbinary(max)", binary(&[7; 3_000_000])),
        same("varbinary(max)", binary(&[])),
        same("numeric(38,0)", numeric(last, 0)),
        same("text", text("na\u{ef}ve €")),
        same("text", text("")),
        same("ntext", text(&"Grüße, 世界 𝄞. ".repeat(20_000))),
        same("image", binary(&[7; 100_000])),
        same("image", binary(&[])),
        same("sql_variant", ColumnData::I32(Some(-5))),
        same("sql_variant", ColumnData::F64(Some(-0.0))),
        same("sql_variant", numeric(-12_345, 4)),
        same("sql_variant", text("naïve 世")),
        same("sql_variant", ColumnData::DateTime2(Some(moment))),
        ("xml", text("<a b='1'></a>"), ColumnData::Xml(Some(xml("<a b=\"1\"/>")))),
    ];
    for offset in [-840, 0, 840] {
        let inside = time::DateTime2::new(time::Date::new(738_000), tick);
        let data = time::DateTimeOffset::new(inside, offset);
        cases.push(same("datetimeoffset", ColumnData::DateTimeOffset(Some(data))));
    }
    cases
}

#[tokio::test]
async fn a_table_with_every_type_keeps_every_value() {
    let double = start().await;
    let mut client = connect(&double).await;
    run(&mut client, "CREATE DATABASE types").await.expect("creates");
    run(&mut client, "USE types").await.expect("uses");
    for (i, (ty, sent, want)) in extremes().into_iter().enumerate() {
        for null in ["NULL", "NOT NULL"] {
            let table = format!("t{i}_{}", null.len());
            let create = format!("CREATE TABLE {table} (id int PRIMARY KEY, v {ty} {null})");
            run(&mut client, &create).await.expect(ty);
            let insert = format!("INSERT {table} VALUES (1, @P1)");
            let inserted = client
                .execute(insert, &[&Bound(sent.clone())])
                .await
                .unwrap_or_else(|error| panic!("{ty}: {error}"));
            assert_eq!(inserted.total(), 1);
            let select = format!("SELECT v FROM {table}");
            let got = rows(&mut client, &select, &[]).await.expect(ty);
            assert_eq!(got, [[want.clone()]], "{ty} {null}");
            if null == "NULL" {
                run(&mut client, &format!("UPDATE {table} SET v = NULL")).await.expect(ty);
                let select = format!("SELECT COUNT(*) FROM {table} WHERE v IS NULL");
                let got = rows(&mut client, &select, &[]).await.expect(ty);
                assert_eq!(got, [[ColumnData::I32(Some(1))]], "{ty}");
            }
        }
    }
    double.stop().await;
}

#[tokio::test]
async fn errors_leave_the_session_usable() {
    let double = start().await;
    let mut client = connect(&double).await;
    for (sql, number) in [
        ("SELECT 1 +", 102),
        ("SELEKT 1", 2812),
        ("SELECT * FROM no_such_table", 208),
        ("SELECT 1 / 0", 8134),
    ] {
        let error = run(&mut client, sql).await.expect_err(sql);
        assert_eq!(number_of(&error), number, "{sql}");
        let got = rows(&mut client, "SELECT @P1 + 1", &[&41i32]).await.expect("runs");
        assert_eq!(got, [[ColumnData::I32(Some(42))]]);
    }
    double.stop().await;
}

#[tokio::test]
async fn transactions_of_two_connections_commit_and_roll_back() {
    let double = start().await;
    let (mut one, mut other) = (connect(&double).await, connect(&double).await);
    run(&mut one, "CREATE TABLE t (id int PRIMARY KEY)").await.expect("creates");
    one.begin_transaction().await.expect("begins");
    other.begin_transaction().await.expect("begins");
    run(&mut one, "INSERT t VALUES (1)").await.expect("inserts");
    run(&mut other, "INSERT t VALUES (2)").await.expect("inserts beside it");
    one.rollback_transaction().await.expect("rolls back");
    other.commit_transaction().await.expect("commits");
    for client in [&mut one, &mut other] {
        let got = rows(client, "SELECT id FROM t", &[]).await.expect("reads");
        assert_eq!(got, [[ColumnData::I32(Some(2))]]);
    }
    double.stop().await;
}

#[tokio::test]
async fn a_lost_connection_rolls_back() {
    let double = start().await;
    let mut one = connect(&double).await;
    run(&mut one, "CREATE TABLE t (id int PRIMARY KEY)").await.expect("creates");
    run(&mut one, "BEGIN TRAN; INSERT t VALUES (1)").await.expect("inserts");
    drop(one);
    let mut other = connect(&double).await;
    // Waits for the row's lock until the session that held it is gone.
    run(&mut other, "INSERT t VALUES (1)").await.expect("the row is free again");
    double.stop().await;
}

#[tokio::test]
async fn strings_of_other_code_pages_arrive() {
    let double = start().await;
    let mut client = connect(&double).await;
    run(&mut client, "CREATE TABLE t (r varchar(10) COLLATE Cyrillic_General_CI_AS, p char(3) COLLATE Polish_CI_AS, j varchar(max) COLLATE Japanese_CI_AS, k text COLLATE Korean_Wansung_CI_AS, u varchar(10) COLLATE Latin1_General_100_CI_AS_SC_UTF8, m varchar(max) COLLATE Latin1_General_100_BIN2_UTF8, n nvarchar(5) COLLATE Greek_CI_AS)")
        .await
        .expect("creates");
    run(
        &mut client,
        "INSERT t VALUES (N'Привет', N'żół', N'日本', N'한글', N'é😀', N'é😀', N'αβ')",
    )
    .await
    .expect("inserts");
    let text = |s: &str| ColumnData::String(Some(Cow::Owned(s.to_owned())));
    let got = rows(&mut client, "SELECT * FROM t", &[]).await.expect("reads");
    assert_eq!(
        got,
        [[
            text("Привет"),
            text("żół"),
            text("日本"),
            text("한글"),
            text("é😀"),
            text("é😀"),
            text("αβ")
        ]]
    );
    double.stop().await;
}
