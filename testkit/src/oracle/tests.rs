//! The oracle against a real PostgreSQL: it must see what is wrong, and nothing else.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use lockstep_servers::{Postgres, PostgresOptions};
use tiberius::ColumnData;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};

use super::{Observer, ObserverOptions, Target};
use crate::history::{Effect, History, Lsn, Tag};
use crate::render::{Row, source_cell};
use crate::shape::{Table, Type, column, nullable};
use crate::source::Source;

const PIPELINE: &str = "p";

fn lsn(n: u8) -> Lsn {
    let mut bytes = [0; 10];
    bytes[9] = n;
    Lsn(bytes)
}

fn row(values: &[&str]) -> Row {
    Row(values.iter().map(|v| Some((*v).into())).collect())
}

/// A target as apply would leave it, and a history that says what should be in it.
struct Bench {
    postgres: Postgres,
    history: Arc<History>,
    observer: Observer,
}

impl Bench {
    fn new() -> Bench {
        let postgres = Postgres::start(PostgresOptions::default()).unwrap();
        postgres.create_database("t").unwrap();
        let table = Table::keyed("t", 1, vec![column("id", Type::Int), column("v", Type::Int)]);
        let history = History::new(vec![table]);
        let nowhere = Source::parse("mssql://u:p@127.0.0.1:1/d").unwrap();
        let observer = Observer::new(ObserverOptions {
            target: Target::new(&postgres.url("t"), PIPELINE).unwrap(),
            source: nowhere,
            history: Arc::clone(&history),
            conditions: &[],
            pause: Duration::ZERO,
        });
        let bench = Bench { postgres, history, observer };
        bench.target(
            "CREATE SCHEMA lockstep; CREATE SCHEMA dbo; \
             CREATE TABLE lockstep.checkpoint (pipeline text PRIMARY KEY, position text); \
             CREATE TABLE dbo.t (id int PRIMARY KEY, v int); \
             CREATE TABLE dbo.ledger (l_session int, l_n int, l_kind text); \
             CREATE TABLE dbo.sessions (s_session int, s_count int)",
        );
        bench
    }

    fn target(&self, sql: &str) {
        self.postgres.psql("t", sql).unwrap();
    }

    /// Transaction `n` of session 1 wrote `v` to row 7.
    fn history_goes_on(&self, n: u8, v: &str) {
        let tag = Tag { session: 1, n: n.into() };
        let n_text = n.to_string();
        let effect =
            |table, group: &str, row| Effect { table, group: group.into(), rows: vec![row] };
        let effects = vec![
            effect(0, "7", row(&["7", v])),
            effect(self.history.ledger(), &format!("1|{n}"), row(&["1", &n_text, "k"])),
            effect(self.history.sessions(), "1", row(&["1", &n_text])),
        ];
        self.history.record(tag, effects);
        self.history.commit(lsn(n), tag).unwrap();
    }

    fn target_follows(&self, n: u8, v: &str) {
        self.target(&format!(
            "INSERT INTO dbo.t VALUES (7, {v}) ON CONFLICT (id) DO UPDATE SET v = {v}; \
             INSERT INTO dbo.ledger VALUES (1, {n}, 'k'); \
             DELETE FROM dbo.sessions; INSERT INTO dbo.sessions VALUES (1, {n});"
        ));
        self.target_is_at(n);
    }

    fn target_is_at(&self, n: u8) {
        let position = lsn(n).to_string();
        self.target(&format!(
            "DELETE FROM lockstep.checkpoint; \
             INSERT INTO lockstep.checkpoint VALUES ('{PIPELINE}', '1/{position}')"
        ));
    }

    async fn findings(&mut self) -> Vec<String> {
        self.observer.observe().await.unwrap();
        self.observer.observations().findings.iter().map(|f| f.what.clone()).collect()
    }
}

#[tokio::test]
async fn a_target_that_follows_is_right_at_every_position() {
    let mut bench = Bench::new();
    assert!(bench.findings().await.is_empty(), "without a checkpoint there is nothing to judge");
    for n in 1..4 {
        bench.history_goes_on(n, &n.to_string());
        bench.target_follows(n, &n.to_string());
        assert_eq!(bench.findings().await, Vec::<String>::new());
    }
    let seen = bench.observer.observations();
    assert_eq!((seen.snapshots, seen.positions, seen.transactions), (3, 3, 3));
}

#[tokio::test]
async fn half_a_transaction_is_torn() {
    let mut bench = Bench::new();
    bench.history_goes_on(1, "1");
    bench.target_follows(1, "1");
    bench.history_goes_on(2, "2");
    bench.target("UPDATE dbo.t SET v = 2");
    let findings = bench.findings().await;
    assert_eq!(findings, ["torn state: t [7]: v is \"2\", expected \"1\""]);
}

#[tokio::test]
async fn a_transaction_applied_twice_is_counted() {
    let mut bench = Bench::new();
    bench.history_goes_on(1, "1");
    bench.target_follows(1, "1");
    bench.target("INSERT INTO dbo.ledger VALUES (1, 1, 'k')");
    let findings = bench.findings().await;
    assert!(findings.iter().any(|f| f.contains("2 transactions in the ledger, 1 committed")));
    assert!(findings.iter().any(|f| f.contains("as many transactions as it counts")));
}

#[tokio::test]
async fn a_lost_transaction_and_a_way_back_are_seen() {
    let mut bench = Bench::new();
    bench.history_goes_on(1, "1");
    bench.history_goes_on(2, "2");
    bench.target_follows(2, "2");
    let findings = bench.findings().await;
    assert!(findings.iter().any(|f| f.starts_with("torn state: ledger [1|1]")), "{findings:?}");
    bench.target_is_at(1);
    let findings = bench.findings().await;
    assert!(findings.iter().any(|f| f.starts_with("the position went back")), "{findings:?}");
}

#[tokio::test]
async fn a_crash_of_the_server_may_take_data_and_checkpoint_back_together() {
    let mut bench = Bench::new();
    for n in 1..3 {
        bench.history_goes_on(n, &n.to_string());
        bench.target_follows(n, &n.to_string());
        assert!(bench.findings().await.is_empty());
    }
    bench.target("UPDATE dbo.t SET v = 1; DELETE FROM dbo.ledger WHERE l_n = 2");
    bench.target("UPDATE dbo.sessions SET s_count = 1");
    bench.target_is_at(1);
    bench.postgres.restart(lockstep_servers::Stop::Kill).unwrap();
    assert_eq!(bench.findings().await, Vec::<String>::new());
    assert_eq!(bench.observer.observations().taken_back, 1);

    // The checkpoint alone must not go back, new start or not.
    bench.target_follows(2, "2");
    assert!(bench.findings().await.is_empty());
    bench.target_is_at(1);
    bench.postgres.restart(lockstep_servers::Stop::Kill).unwrap();
    let findings = bench.findings().await;
    assert!(findings.iter().any(|f| f.starts_with("torn state")), "{findings:?}");
}

/// The same value on both sides has one canonical text.
#[tokio::test]
async fn both_sides_render_alike() {
    let values = same_values();
    let columns = |(i, (ty, ..)): (usize, &SameValue)| nullable(&format!("c{i}"), *ty);
    let table = Table::keyless("t", values.iter().enumerate().map(columns).collect());
    let postgres = Postgres::start(PostgresOptions::default()).unwrap();
    postgres.create_database("t").unwrap();
    let literals: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(i, (_, pg_type, text, _))| format!("'{text}'::{pg_type} AS c{i}"))
        .collect();
    let create = format!("CREATE SCHEMA dbo; CREATE TABLE dbo.t AS SELECT {}", literals.join(", "));
    postgres.psql("t", &create).unwrap();

    let target = Target::new(&postgres.url("t"), PIPELINE).unwrap();
    let state = target.snapshot().await.unwrap().table(&table).await.unwrap();
    let in_target = &state.values().next().unwrap()[0];
    for ((ty, _, text, data), actual) in values.iter().zip(&in_target.0) {
        let expected = source_cell(*ty, data).unwrap();
        assert_eq!(actual.as_deref(), expected.as_deref(), "{ty} {text}");
    }
}

type SameValue = (Type, &'static str, &'static str, ColumnData<'static>);

/// Source type, target type, the target's literal, what tiberius decodes.
fn same_values() -> Vec<SameValue> {
    let decimal =
        |unscaled, scale| ColumnData::Numeric(Some(Numeric::new_with_scale(unscaled, scale)));
    let text = |text: &'static str| ColumnData::String(Some(Cow::Borrowed(text)));
    let uuid = uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    let last = DateTime2::new(Date::new(3_652_058), Time::new(863_999_999_999, 7));
    vec![
        (Type::Bit, "boolean", "true", ColumnData::Bit(Some(true))),
        (Type::TinyInt, "smallint", "255", ColumnData::U8(Some(255))),
        (Type::BigInt, "bigint", "-9223372036854775808", ColumnData::I64(Some(i64::MIN))),
        (Type::Decimal(38, 10), "numeric(38,10)", "-0.0000000001", decimal(-1, 10)),
        (Type::Decimal(9, 0), "numeric(9,0)", "0", decimal(0, 0)),
        (Type::Money, "numeric(19,4)", "922337203685477.5807", decimal(i64::MAX.into(), 4)),
        (Type::Float, "double precision", "0.1", ColumnData::F64(Some(0.1))),
        (Type::Float, "double precision", "1e20", ColumnData::F64(Some(1e20))),
        (
            Type::Float,
            "double precision",
            "1.7976931348623157e308",
            ColumnData::F64(Some(f64::MAX)),
        ),
        (Type::Real, "real", "0.1", ColumnData::F32(Some(0.1))),
        (Type::Real, "real", "16777216", ColumnData::F32(Some(16_777_216.0))),
        (Type::Char(5), "char(5)", "ab", text("ab   ")),
        (Type::NVarChar(20), "varchar(20)", "blank at the end ", text("blank at the end ")),
        (Type::NVarCharMax, "text", "🚚 漢\n", text("🚚 漢\n")),
        (
            Type::VarBinaryMax,
            "bytea",
            r"\x00ff",
            ColumnData::Binary(Some(Cow::Borrowed(&[0, 255]))),
        ),
        (Type::VarBinary(4), "bytea", "", ColumnData::Binary(Some(Cow::Borrowed(&[])))),
        (
            Type::UniqueIdentifier,
            "uuid",
            "00112233-4455-6677-8899-aabbccddeeff",
            ColumnData::Guid(Some(uuid)),
        ),
        (Type::Date, "date", "0001-01-01", ColumnData::Date(Some(Date::new(0)))),
        (Type::Date, "date", "9999-12-31", ColumnData::Date(Some(Date::new(3_652_058)))),
        (
            Type::Time(7),
            "time(6)",
            "12:00:00.123456",
            ColumnData::Time(Some(Time::new(432_001_234_561, 7))),
        ),
        (Type::Time(0), "time(0)", "00:00:59", ColumnData::Time(Some(Time::new(59, 0)))),
        (
            Type::DateTime,
            "timestamp(3)",
            "1753-01-01 00:00:00.003",
            ColumnData::DateTime(Some(DateTime::new(-53_690, 1))),
        ),
        (
            Type::SmallDateTime,
            "timestamp(0)",
            "2079-06-06 23:59:00",
            ColumnData::SmallDateTime(Some(SmallDateTime::new(65_535, 1439))),
        ),
        (
            Type::DateTime2(7),
            "timestamp(6)",
            "9999-12-31 23:59:59.999999",
            ColumnData::DateTime2(Some(last)),
        ),
        (
            Type::DateTimeOffset(7),
            "timestamptz",
            "9999-12-31 23:59:59.999999+00",
            ColumnData::DateTimeOffset(Some(DateTimeOffset::new(last, 330))),
        ),
    ]
}
