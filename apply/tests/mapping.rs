//! Types that the configuration asks for, and text that PostgreSQL cannot store.

use std::borrow::Cow;
use std::sync::Arc;

use lockstep_apply::ApplySettings;
use lockstep_common::config::{ConflictPolicy, InvalidText, KeyCollation};
use lockstep_common::model::definition::{Check, ColumnDefinition, Definition};
use lockstep_common::service::check::{CheckResult, Verdict};
use lockstep_common::{LogicalType, TICKS_PER_DAY, Value};

use crate::bed::Bed;
use crate::offsets::events;
use crate::source::{
    INT, TEXT, account, accounts, bare, collated, delete, insert, int, text, typed, update,
};
use crate::types::{other, variant};

fn mapped(bed: &Bed, types: &[(&str, &str)], columns: &[(&str, &str)]) -> ApplySettings {
    let owned = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, ty)| ((*key).to_owned(), (*ty).to_owned())).collect()
    };
    let mut settings = bed.settings();
    settings.config.types = owned(types);
    settings.config.columns = owned(columns);
    settings
}

fn columns() -> Vec<(&'static str, &'static str, LogicalType)> {
    let decimal = LogicalType::Decimal { precision: 38, scale: 4 };
    vec![
        ("id", "int", INT),
        ("flag", "bit", LogicalType::Bool),
        ("number", "bit", LogicalType::Bool),
        ("big", "bigint", LogicalType::Int { bytes: 8 }),
        ("amount", "decimal(38,4)", decimal),
        ("double", "float", LogicalType::F64),
        ("raw", "varbinary(8)", LogicalType::Bytes { max: Some(8) }),
        ("guid", "uniqueidentifier", LogicalType::Uuid),
        ("day", "date", LogicalType::Date),
        ("clock", "time(7)", LogicalType::Time { digits: 7 }),
        ("stamp", "datetime", LogicalType::Timestamp { digits: 3 }),
        ("exact", "datetime2(7)", LogicalType::Timestamp { digits: 7 }),
        ("zoned", "datetimeoffset(7)", LogicalType::TimestampTz { digits: 7 }),
        ("version", "timestamp", LogicalType::Bytes { max: Some(8) }),
        ("any", "sql_variant", LogicalType::Variant),
        ("facts", "json", TEXT),
        ("doc", "xml", TEXT),
        ("embedding", "vector(2)", LogicalType::Other),
    ]
}

const TYPES: &[(&str, &str)] = &[
    ("BIT", "text"),
    ("bigint", "varchar(20)"),
    ("decimal", "text"),
    ("float", "text"),
    ("varbinary", "text"),
    ("uniqueidentifier", "varchar(36)"),
    ("date", "text"),
    ("time(7)", "text"),
    ("datetime", "text"),
    ("datetime2(7)", "text"),
    ("datetimeoffset", "text"),
    ("rowversion", "bigint"),
    ("sql_variant", "text"),
    ("json", "jsonb"),
    ("xml", "text"),
    ("vector", "text"),
];

fn row(id: i64) -> Vec<Value<'static>> {
    vec![
        int(id),
        Value::Bool(true),
        Value::Bool(true),
        int(i64::MIN),
        Value::Decimal { unscaled: -5, scale: 4 },
        Value::F64(1e-7),
        Value::Bytes(vec![0, 0xfe].into()),
        Value::Uuid([0xab; 16]),
        Value::Date(-719_162),
        Value::Time(TICKS_PER_DAY - 1),
        Value::Timestamp(33_333 * 10_000),
        Value::Timestamp(253_402_300_799 * 10_000_000 + 9_999_999),
        Value::TimestampTz { ticks: 1, offset: 330 },
        Value::Bytes(vec![0x80, 0, 0, 0, 0, 0, 0, 1].into()),
        variant("datetime2(7)", Value::Timestamp(1)),
        text("{\"b\":1,\"a\":2}"),
        text("<a/>"),
        other("vector(2)", "[1.0000000e+000,2.0000000e+000]"),
    ]
}

fn shown(id: i64) -> String {
    format!(
        "{id}|true|1|-9223372036854775808|-0.0005|1e-07|0x00FE|\
         abababab-abab-abab-abab-abababababab|0001-01-01|23:59:59.9999999|1970-01-01 00:00:33.333|\
         9999-12-31 23:59:59.9999999|1970-01-01 05:30:00.0000001+05:30|-9223372036854775807|\
         1970-01-01 00:00:00.0000001|{{\"a\": 2, \"b\": 1}}|<a/>|[1.0000000e+000,2.0000000e+000]"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mapped_types_are_created_and_every_value_keeps_all_it_has() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&typed("mapped", 1, &columns())).await;
    bed.source.commit(&[insert(t, row(1))]).await;
    bed.source.commit(&[insert(t, row(2)), insert(t, row(3))]).await;
    let nulls = |id| {
        let mut row = vec![Value::Null; columns().len()];
        row[0] = int(id);
        row
    };
    bed.source.commit(&[update(t, row(1), nulls(1))]).await;
    bed.source.commit(&[update(t, nulls(1), row(1)), update(t, row(2), row(2))]).await;
    let settings = mapped(&bed, TYPES, &[("dbo.mapped.number", "smallint")]);
    bed.catch_up_with(settings.clone()).await;
    assert_eq!(bed.query("SELECT * FROM mapped ORDER BY id").await, [1, 2, 3].map(shown));
    let types = "SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attnum) \
        FROM pg_attribute WHERE attrelid = 'mapped'::regclass AND attnum > 0";
    let expected = "integer,text,smallint,character varying(20),text,text,text,\
        character varying(36),text,text,text,text,text,bigint,text,jsonb,text,text";
    assert_eq!(bed.query(types).await, [expected]);
    // PostgreSQL reads the texts as what they are.
    let read = "SELECT amount::numeric, double::float8, guid::uuid, clock::time, exact::timestamp, \
        zoned::timestamptz AT TIME ZONE 'UTC' FROM mapped WHERE id = 1";
    bed.query("SET TimeZone = 'UTC'").await;
    assert_eq!(
        bed.query(read).await,
        ["-0.0005|1e-07|abababab-abab-abab-abab-abababababab|24:00:00|10000-01-01 00:00:00|\
          1970-01-01 00:00:00"]
    );
    // What was created is accepted again; without the mapping it is another type.
    bed.source.commit(&[insert(t, row(4))]).await;
    bed.catch_up_with(settings).await;
    bed.source.commit(&[insert(t, row(5))]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.table");
    assert!(failure.message.contains("\"clock\""), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_that_cannot_be_halts_with_all_that_is_wrong_before_anything_is_written() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(t, account(1, "x", 1))]).await;
    let types = [
        ("money", "numeric(10,2)"),
        ("datetime2", "timestamptzz"),
        ("varchar", "citext"),
        ("nvarchra", "text"),
        ("vector", "vector"),
    ];
    let failure = bed
        .start_with(mapped(&bed, &types, &[("accounts.owner", "text")]), Default::default())
        .halts()
        .await;
    assert_eq!(failure.code.as_str(), "apply.types");
    for part in [
        "money = numeric(10,2): not every value of money has a lossless form in it",
        "timestamptzz is no type of PostgreSQL",
        "CREATE EXTENSION citext",
        "CREATE EXTENSION vector",
        "nvarchra is no type of SQL Server",
        "accounts.owner is no schema.table.column",
    ] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
    assert_eq!(bed.query("SELECT to_regnamespace('lockstep')").await, ["NULL"]);
    // What hangs on a table is said when it comes, before anything of it is written.
    let settings =
        mapped(&bed, &[], &[("dbo.accounts.owner", "integer"), ("dbo.accounts.nope", "text")]);
    let failure = bed.start_with(settings, Default::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.table");
    for part in ["\"owner\"", "cannot be integer", "dbo.accounts.nope"] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
    assert_eq!(bed.query("SELECT to_regclass('accounts')").await, ["NULL"]);
}

/// The extension is in a schema that is not on the path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn citext_is_found_where_it_is_and_its_keys_are_matched_as_it_does() {
    let mut bed = Bed::new().await;
    bed.query("CREATE SCHEMA \"odd ext\"; CREATE EXTENSION citext SCHEMA \"odd ext\"").await;
    let mut version = typed(
        "people",
        1,
        &[
            ("name", "nvarchar(40)", LogicalType::String { max: Some(40), fixed: false }),
            ("note", "nvarchar(max)", TEXT),
            ("n", "int", INT),
        ],
    );
    collated(&mut version, "name", "Latin1_General_100_CI_AS");
    let t = bed.source.table(&version).await;
    let row = |name: &str, note: &str, n: i64| vec![text(name), text(note), int(n)];
    bed.source.commit(&[insert(t, row("ann", "a", 1)), insert(t, row("bob", "b", 2))]).await;
    bed.source
        .commit(&[
            update(t, row("ann", "a", 1), row("Ann", "a", 1)),
            update(t, row("Ann", "a", 1), row("ANN", "A", 3)),
            delete(t, row("bob", "b", 2)),
            insert(t, row("BOB", "b", 4)),
        ])
        .await;
    let columns = [("dbo.people.name", "citext"), ("dbo.people.note", "citext")];
    bed.catch_up_with(mapped(&bed, &[], &columns)).await;
    let rows = "SELECT name, note, n, pg_typeof(name) FROM people ORDER BY n";
    let expected = ["ANN|A|3|\"odd ext\".citext", "BOB|b|4|\"odd ext\".citext"];
    assert_eq!(bed.query(rows).await, expected);
    // Its index serves updates: they name it by its own operator.
    bed.source
        .commit(&[
            update(t, row("ANN", "A", 3), row("ANN", "A", 5)),
            update(t, row("BOB", "b", 4), row("BOB", "b", 6)),
        ])
        .await;
    bed.catch_up_with(mapped(&bed, &[], &columns)).await;
    assert_eq!(bed.query("SELECT n FROM people ORDER BY n").await, ["5", "6"]);
    let scans = "SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE relname = 'people'";
    bed.database.shows(scans, &["t"]).await;
}

// --- Text that PostgreSQL cannot store -----------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_text_is_replaced_by_the_rule_and_counted() {
    let mut bed = Bed::new().await;
    let columns = [
        ("id", "int", INT),
        ("t", "nvarchar(max)", TEXT),
        ("any", "sql_variant", LogicalType::Variant),
    ];
    let t = bed.source.table(&typed("texts", 1, &columns)).await;
    // A high surrogate alone, a pair, a low one alone.
    let units = [0x61_u16, 0xd83d, 0xd83e, 0xdd80, 0xdc00];
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let lone = || Value::Utf16(Cow::Owned(bytes.clone()));
    bed.source
        .commit(&[insert(t, vec![int(1), text("a\0b\0"), variant("nchar(5)", lone())])])
        .await;
    bed.source
        .commit(&[
            insert(t, vec![int(2), lone(), Value::Null]),
            insert(t, vec![int(3), text("whole 🦀"), variant("nvarchar(1)", text("\0"))]),
        ])
        .await;
    let mut settings = bed.settings();
    settings.config.invalid_text = InvalidText::Replace;
    let status = bed.catch_up_with(settings).await;
    assert_eq!(
        bed.query("SELECT id, t, \"any\" ->> 'value' FROM texts ORDER BY id").await,
        [
            "1|a\u{fffd}b\u{fffd}|a\u{fffd}🦀\u{fffd}",
            "2|a\u{fffd}🦀\u{fffd}|NULL",
            "3|whole 🦀|\u{fffd}"
        ]
    );
    assert_eq!(status.replaced_characters, 7);
    assert_eq!(status.exceptions, 0);
}

/// Replaced keys might become one: none is replaced, whatever the policy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_not_replaced_and_never_become_one() {
    let mut bed = Bed::new().await;
    let t = bed
        .source
        .table(&typed("texts", 1, &[("t", "nvarchar(max)", TEXT), ("n", "int", INT)]))
        .await;
    bed.source.commit(&[insert(t, vec![text("a\u{fffd}"), int(1)])]).await;
    bed.source.commit(&[insert(t, vec![text("a\0"), int(2)])]).await;
    let mut settings = bed.settings();
    settings.config.invalid_text = InvalidText::Replace;
    for policy in [ConflictPolicy::Halt, ConflictPolicy::Converge] {
        settings.config.on_conflict = policy;
        let failure = bed.start_with(settings.clone(), Default::default()).halts().await;
        assert!(failure.message.contains("column \"t\" holds text"), "{failure}");
        assert!(failure.message.contains("not replaced"), "{failure}");
    }
    settings.config.on_conflict = ConflictPolicy::Exceptions;
    let status = bed.catch_up_with(settings).await;
    assert_eq!(
        (status.exceptions, bed.query("SELECT n FROM texts").await),
        (1, vec!["1".to_owned()])
    );
}

// --- Beforehand ---------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_and_the_printed_schema_show_the_mapping() {
    let bed = Bed::new().await;
    let mut version = events(1);
    version.columns.push(lockstep_common::Column {
        id: None,
        name: "shape".into(),
        ty: LogicalType::Geometry,
        source_type: "geometry".into(),
        nullable: true,
        collation: None,
        identity: false,
        computed: false,
    });
    let definition = Definition {
        columns: vec![ColumnDefinition {
            column: "at".into(),
            default: Some("(sysdatetimeoffset())".into()),
            ..ColumnDefinition::default()
        }],
        checks: vec![Check {
            name: "CK_at".into(),
            condition: "([at]>'2000-01-01T00:00:00+00:00')".into(),
            disabled: false,
            unchecked: false,
        }],
        ..bare(&version)
    };
    let tables = [(Arc::new(version), definition)];
    let types = [("datetimeoffset(7)", "text"), ("nvarchar", "citext")];
    let columns = [("dbo.events.id", "smallint"), ("dbo.gone.c", "text")];
    let mut settings = mapped(&bed, &types, &columns);
    settings.config.offset_columns = Some("_offset".into());
    settings.config.key_collation = KeyCollation::Icu;
    let failed = |results: Vec<CheckResult>| -> Vec<String> {
        let failed = results.into_iter().filter(|result| result.verdict == Verdict::Fail);
        failed.map(|result| format!("{}: {}", result.name, result.detail)).collect()
    };
    let missing = failed(lockstep_apply::check(&settings).await).join("\n");
    assert!(missing.contains("types: types: nvarchar = citext"), "{missing}");
    bed.query("CREATE EXTENSION citext").await;
    assert_eq!(failed(lockstep_apply::check(&settings).await), Vec::<String>::new());
    let wrong = failed(lockstep_apply::check_types(&settings, &tables).await).join("\n");
    for part in
        ["column \"id\" of type int cannot be smallint", "dbo.gone.c: there is no such table"]
    {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    let script = lockstep_apply::schema(&settings, 15, &tables).await;
    assert!(script.contains("-- columns: dbo.gone.c: there is no such table"), "{script}");
    assert!(script.contains("-- table dbo.events: column \"id\" of type int cannot"), "{script}");
    settings.config.columns.clear();
    let passed = lockstep_apply::check_types(&settings, &tables).await;
    assert!(passed.iter().all(|result| result.verdict == Verdict::Pass), "{passed:?}");
    let script = lockstep_apply::schema(&settings, 15, &tables).await;
    for part in [
        "CREATE COLLATION IF NOT EXISTS lockstep.lockstep_ci",
        "\"at\" text,",
        "\"what\" \"public\".citext,",
        // No PostGIS in this database.
        "\"shape\" bytea,",
        "\"at_offset\" smallint,",
        "-- default of column at of dbo.events: its column's type is mapped to another one",
        "-- check CK_at of dbo.events: the type of at is mapped to another one",
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
    // Nobody answers: the script says what it took for granted.
    settings.config.port = 1;
    let script = lockstep_apply::schema(&settings, 15, &tables).await;
    assert!(script.starts_with("-- The target was not asked"), "{script}");
    assert!(script.contains("\"shape\" geometry,"), "{script}");
}

/// pgvector is asked what it holds, where it is installed; Debian has no package of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_become_pgvectors_own() {
    let mut bed = Bed::new().await;
    let there = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
    if bed.query(there).await != ["1"] {
        eprintln!(
            "NOT RUN: the extension vector (pgvector) is not installed beside this PostgreSQL"
        );
        return;
    }
    bed.query("CREATE SCHEMA ai; CREATE EXTENSION vector SCHEMA ai").await;
    let columns = [
        ("id", "int", INT),
        ("v", "vector(3)", LogicalType::Other),
        ("w", "vector(2)", LogicalType::Other),
    ];
    let t = bed.source.table(&typed("points", 1, &columns)).await;
    let h = bed.source.table(&typed("heap", 0, &columns)).await;
    let three = || other("vector(3)", "[1.0000000e+000,-2.5000000e-001,3.4028235e+038]");
    let two = || other("vector(2)", "[0.0000000e+000,1.0000000e+000]");
    let row = |id| vec![int(id), three(), two()];
    let nulls = |id| vec![int(id), Value::Null, Value::Null];
    bed.source.commit(&[insert(t, row(1)), insert(t, nulls(2)), insert(t, nulls(3))]).await;
    bed.source.commit(&[insert(h, row(1)), insert(h, nulls(2))]).await;
    bed.source.commit(&[update(t, nulls(2), row(2)), update(t, nulls(3), row(3))]).await;
    bed.source.commit(&[update(h, row(1), row(7)), delete(h, nulls(2))]).await;
    let settings = mapped(&bed, &[("vector(3)", "vector(3)"), ("vector", "vector")], &[]);
    bed.catch_up_with(settings.clone()).await;
    let shown = |id: i64| format!("{id}|[1,-0.25,3.4028235e+38]|[0,1]");
    assert_eq!(bed.query("SELECT * FROM points ORDER BY id").await, [1, 2, 3].map(shown));
    assert_eq!(bed.query("SELECT * FROM heap").await, [shown(7)]);
    let types = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
        WHERE attrelid = 'points'::regclass AND attnum > 1";
    assert_eq!(bed.query(types).await, ["ai.vector(3)", "ai.vector"]);
    let short = [other("vector(3)", "[1,2]"), Value::Null];
    bed.source.commit(&[insert(t, [vec![int(9)], short.to_vec()].concat())]).await;
    let failure = bed.start_with(settings, Default::default()).halts().await;
    assert!(failure.message.contains("a vector whose text"), "{failure}");
}
