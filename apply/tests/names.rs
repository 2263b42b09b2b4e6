//! Names and sizes that are one thing in SQL Server and another in PostgreSQL.

use lockstep_apply::ApplySettings;
use lockstep_common::config::{ConflictPolicy, NameRule, Prepare};
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::service::check::Verdict;
use lockstep_common::{FailPoints, LogicalType, TableName, TableVersion};
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{INT, accounts, bare, insert, int, table, text, typed, update};

const LOAD: Uuid = Uuid::from_u128(7);
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

fn named(schema: &str, table: &str) -> TableVersion {
    let name = TableName { schema: schema.into(), table: table.into() };
    TableVersion { name, ..accounts() }
}

fn row(id: i64) -> Vec<lockstep_common::Value<'static>> {
    vec![int(id), text("a"), int(id)]
}

/// What the rows of `lockstep` and of PostgreSQL's catalogues are, whatever the source has.
async fn protected(bed: &Bed) -> Vec<String> {
    bed.query(
        "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relname IN ('checkpoint', 'accounts', 'pg_class') AND c.relkind = 'r' ORDER BY 1",
    )
    .await
}

/// The source cannot write Lockstep's tables, nor PostgreSQL's: by the stream, a load, or a load again,
/// into tables that are there or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserved_schemas_are_refused_on_every_path() {
    type Change = fn(&mut ApplySettings);
    let cases: [(&str, &str, Change); 6] = [
        ("lockstep", "checkpoint", |_| ()),
        ("LOCKSTEP", "Checkpoint", |s| s.config.names = NameRule::Lower),
        ("pg_catalog", "pg_class", |_| ()),
        ("information_schema", "accounts", |_| ()),
        ("dbo", "accounts", |s| {
            s.config.schemas = [("dbo".to_owned(), "lockstep".to_owned())].into();
        }),
        ("dbo", "accounts", |s| {
            s.config.schemas = [("dbo".to_owned(), "pg_toast".to_owned())].into();
        }),
    ];
    for (schema, name, change) in cases {
        for path in ["stream", "load", "load, kept", "load again"] {
            let mut bed = Bed::new().await;
            bed.source.progress().await;
            bed.catch_up().await;
            let before = protected(&bed).await;
            let version = named(schema, name);
            let t = bed.source.defined(&version).await;
            let mut settings = bed.settings();
            change(&mut settings);
            if path == "stream" {
                bed.source.commit(&[insert(t, row(1))]).await;
            } else {
                if path == "load, kept" {
                    settings.config.prepare = Prepare::Keep;
                }
                let (reload, tables) = (path == "load again", vec![(t, Handoff::Bracketed)]);
                bed.source.marker(LoadMarker::Begin { load: LOAD, reload, tables }).await;
                bed.source.progress().await;
            }
            let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
            let case = format!("{schema}.{name} by {path}: {failure}");
            assert!(failure.message.contains("belongs to PostgreSQL or Lockstep"), "{case}");
            assert_eq!(protected(&bed).await, before, "{case}");
            let claimed = bed.query("SELECT count(*) FROM lockstep.tables").await;
            assert_eq!(claimed, ["0"], "{case}");
            let tables = [(version.clone().into(), bare(&version))];
            let checks = lockstep_apply::check_types(&settings, &tables).await;
            let named = |r: &&lockstep_common::service::check::CheckResult| {
                r.verdict == Verdict::Fail && r.detail.contains("belongs to PostgreSQL or Lockstep")
            };
            assert_eq!(checks.iter().filter(named).count(), 1, "{case}: {checks:?}");
        }
    }
}

/// A name of the source is never part of a statement's syntax.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_and_tables_may_have_any_name() {
    let hostile =
        ["a$do$b", "$$", "a'b", "a\"b", "a\\b", "a b", "a.b", "[a]", "%I", "$1", "a;b", "ä-ß"];
    for load in [false, true] {
        let mut bed = Bed::new().await;
        let mut tables = Vec::new();
        for name in hostile {
            tables.push(bed.source.defined(&named(name, name)).await);
        }
        bed.source.progress().await;
        if load {
            let all: Vec<_> = tables.iter().map(|t| (*t, Handoff::Bracketed)).collect();
            bed.source.begin_load(LOAD, &all).await;
            for t in &tables {
                bed.source.chunk((LOAD, *t, 0), PLAIN, &[row(1)]).await;
                bed.source.table_read(LOAD, *t, 1, 1).await;
            }
            bed.source.end_load(LOAD).await;
        } else {
            let rows: Vec<_> = tables.iter().map(|t| insert(*t, row(1))).collect();
            bed.source.commit(&rows).await;
        }
        let after = || vec![int(1), text("b"), int(2)];
        let rows: Vec<_> = tables.iter().map(|t| update(*t, row(1), after())).collect();
        bed.source.commit(&rows).await;
        bed.catch_up().await;
        for name in hostile {
            let quoted = name.replace('"', "\"\"");
            let found = bed.query(&format!("SELECT * FROM \"{quoted}\".\"{quoted}\"")).await;
            assert_eq!(found, ["1|b|2"], "{name}");
        }
    }
}

/// `[a].[b.c]` and `[a.b].[c]` are two tables, wherever they are named in one text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_with_a_dot_are_told_apart() {
    let mut bed = Bed::new().await;
    let versions = [named("a", "b.c"), named("a.b", "c")];
    let mut tables = Vec::new();
    for version in &versions {
        let mut definition = bare(version);
        definition.indexes.push(lockstep_common::model::definition::Index {
            name: "IX".into(),
            kind: lockstep_common::model::definition::IndexKind::Plain,
            unique: false,
            columns: vec![lockstep_common::model::definition::IndexColumn {
                column: "balance".into(),
                descending: false,
            }],
            included: Vec::new(),
            filter: None,
            disabled: false,
        });
        tables.push(bed.source.table_with(version, definition).await);
    }
    bed.source.progress().await;
    let all: Vec<_> = tables.iter().map(|t| (*t, Handoff::Bracketed)).collect();
    bed.source.begin_load(LOAD, &all).await;
    for (n, t) in tables.iter().enumerate() {
        let rows: Vec<_> = (0..=n as i64).map(row).collect();
        bed.source.chunk((LOAD, *t, 0), PLAIN, &rows).await;
        bed.source.table_read(LOAD, *t, 1, rows.len() as u64).await;
    }
    bed.source.end_load(LOAD).await;
    let n = bed.source.progress().await;
    let mut apply = bed.start();
    apply.reaches(n).await;
    bed.database.shows("SELECT state FROM lockstep.load", &["done"]).await;
    let status = apply.stop().await;
    let loaded = status.load.expect("a load").tables;
    let rows = |name: &str| loaded.get(name).map(|table| table.rows);
    assert_eq!((rows("a.[b.c]"), rows("[a.b].c")), (Some(1), Some(2)), "{loaded:?}");
    let objects = "SELECT source, schema_name, state FROM lockstep.load_object ORDER BY 1";
    assert_eq!(bed.query(objects).await, ["[a.b].c|a.b|made", "a.[b.c]|a|made"]);
}

/// Rows and keys that a page of PostgreSQL has no room for: refused with what to do, and set aside where
/// the policy says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_page_cannot_hold_are_refused_by_name() {
    let short = LogicalType::String { max: Some(20), fixed: false };
    let names: Vec<String> = (0..1000).map(|i| format!("c{i}")).collect();
    let columns = names.iter().map(|name| (name.as_str(), "nvarchar(20)", short.clone()));
    let wide: Vec<_> = [("id", "int", INT)].into_iter().chain(columns).collect();
    let wide = typed("wide", 1, &wide);
    let code = LogicalType::String { max: Some(1700), fixed: false };
    let long = typed("long", 1, &[("code", "varchar(1700)", code), ("id", "int", INT)]);
    // Nothing that compression could make shorter.
    let mut seed = 1_u32;
    let noise: String = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32(0x4e00 + (seed >> 8) % 0x5000).expect("a letter")
    })
    .take(1300)
    .collect();
    let wide_row = |value: &str| [vec![int(1)], vec![text(value); 1000]].concat();
    for (version, bad, good) in [
        (wide, wide_row("twenty letters as so"), wide_row("short")),
        (long, vec![text(&noise), int(1)], vec![text("short"), int(1)]),
    ] {
        let mut bed = Bed::new().await;
        let t = bed.source.defined(&version).await;
        bed.source.commit(&[insert(t, bad.clone())]).await;
        let failure = bed.start().halts().await;
        assert_eq!(failure.code.as_str(), "apply.conflict");
        assert!(failure.message.contains("54000"), "{failure}");
        assert!(failure.message.contains(&version.name.to_string()), "{failure}");
        assert!(failure.remedy.contains("shorten"), "{failure}");
        let mut settings = bed.settings();
        settings.config.on_conflict = ConflictPolicy::Exceptions;
        bed.source.commit(&[insert(t, good)]).await;
        let status = bed.catch_up_with(settings).await;
        assert_eq!(status.exceptions, 1);
        let rows = format!("SELECT count(*) FROM {}", version.name.table);
        assert_eq!(bed.query(&rows).await, ["1"]);
        // In a load.
        let mut bed = Bed::new().await;
        let t = bed.source.defined(&version).await;
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
        bed.source.chunk((LOAD, t, 0), PLAIN, &[bad]).await;
        bed.source.table_read(LOAD, t, 1, 1).await;
        bed.source.end_load(LOAD).await;
        let failure = bed.start().halts().await;
        assert_eq!(failure.code.as_str(), "apply.load.refused");
        assert!(failure.message.contains("54000"), "{failure}");
        assert!(failure.remedy.contains("shorten"), "{failure}");
        let tables = [(version.clone().into(), bare(&version))];
        let checks = lockstep_apply::check_types(&bed.settings(), &tables).await;
        let warned = |r: &lockstep_common::service::check::CheckResult| {
            r.verdict == Verdict::Warn && r.detail.contains("54000")
        };
        assert!(checks.iter().any(warned), "{checks:?}");
    }
}

/// All that PostgreSQL has in every row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_named_like_system_columns_are_named_before_anything_is_made() {
    for column in ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"] {
        let mut bed = Bed::new().await;
        let version = table("odd", 1, &[("id", INT), (column, INT)]);
        let t = bed.source.defined(&version).await;
        bed.source.commit(&[insert(t, vec![int(1), int(2)])]).await;
        let failure = bed.start().halts().await;
        let named = format!("column \"{column}\" has a name that PostgreSQL keeps for itself");
        assert!(failure.message.contains(&named), "{failure}");
        let tables = [(version.clone().into(), bare(&version))];
        let checks = lockstep_apply::check_types(&bed.settings(), &tables).await;
        let found = |r: &lockstep_common::service::check::CheckResult| {
            r.verdict == Verdict::Fail && r.detail.contains(&named)
        };
        assert!(checks.iter().any(found), "{checks:?}");
    }
    // Another one of PostgreSQL's words is a name like any other.
    let mut bed = Bed::new().await;
    let t = bed.source.table(&table("odd", 1, &[("oid", INT), ("user", INT)])).await;
    bed.source.commit(&[insert(t, vec![int(1), int(2)])]).await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT oid, \"user\" FROM odd").await, ["1|2"]);
}
