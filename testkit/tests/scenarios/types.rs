//! Every type, from a statement on the source to psql's view of the target.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lockstep_common::FailPoints;
use lockstep_common::config::{InvalidText, KeyCollation, Task};
use lockstep_servers::{Double, DoubleOptions};
use lockstep_testkit::fidelity::value::configuration;
use lockstep_testkit::fidelity::{Kind, Mapping, Table};
use lockstep_testkit::harness::{LogKind, Pipeline, Statements, shared_postgres, skipped};
use lockstep_testkit::source::{Connection, integer};
use rand::SeedableRng;
use rand::rngs::StdRng;

crate::over_each_log!(
    every_type_arrives_exactly,
    every_type_arrives_as_configured,
    keys_that_differ_in_case_only,
    text_that_postgresql_cannot_store_is_replaced_on_request,
    offsets_arrive_beside_their_instants,
    keys_within_a_microsecond_stay_apart,
);

/// Another seed: `LOCKSTEP_TYPES_SEED=n`.
fn seed(default: u64) -> u64 {
    let given = std::env::var("LOCKSTEP_TYPES_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(default);
    println!("seed {seed}");
    seed
}

/// Tables of every type, loaded and followed.
async fn every_type_arrives_exactly(log: LogKind) -> Result<()> {
    let seed = seed(if log == LogKind::Kafka { 2 } else { 1 });
    let mut rng = StdRng::seed_from_u64(seed);
    let tables = Table::deal(Kind::all(&mut rng), &mut rng);
    let pipeline = Pipeline::builder(log, Vec::new()).task(Task::FullLoadAndCdc).build().await?;
    arrive(pipeline, tables, Mapping::Default, &mut rng).await
}

/// The same with other PostgreSQL types asked for, those of SQL Server 2025 among them.
async fn every_type_arrives_as_configured(log: LogKind) -> Result<()> {
    if skipped("every_type_arrives_as_configured", "--release 2025") {
        return Ok(());
    }
    let seed = seed(if log == LogKind::Kafka { 4 } else { 3 });
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kinds = Kind::all(&mut rng);
    kinds.extend(Kind::recent());
    let tables = Table::deal(kinds, &mut rng);
    let release = vec!["--release".to_owned(), "2025".to_owned()];
    let double = Double::start(DoubleOptions { args: release, ..DoubleOptions::default() })?;
    let double = Arc::new(double);
    let mut pipeline = Pipeline::builder(log, Vec::new())
        .task(Task::FullLoadAndCdc)
        .double(Arc::clone(&double))
        .build()
        .await?;
    pipeline.change_apply("target", |apply| {
        let types = configuration().into_iter();
        apply.types = types.map(|(from, to)| (from.to_owned(), to.to_owned())).collect();
    })?;
    arrive(pipeline, tables, Mapping::Configured, &mut rng).await
}

async fn arrive(
    mut pipeline: Pipeline,
    mut tables: Vec<Table>,
    mapping: Mapping,
    rng: &mut StdRng,
) -> Result<()> {
    let mut source = pipeline.source().connect().await?;
    for table in &tables {
        for sql in table.create_sql() {
            source.run(&sql).await.with_context(|| sql.clone())?;
        }
    }
    work(&mut source, &mut tables, rng).await?;

    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    work(&mut source, &mut tables, rng).await?;
    pipeline.await_loaded(&mut apply).await?;
    for _ in 0..2 {
        work(&mut source, &mut tables, rng).await?;
    }
    // What is awaited is the position of a transaction behind all that.
    pipeline.session().run(&Statements::new()).await?;
    pipeline.await_arrived(&mut apply).await?;

    for table in &mut tables {
        learn_versions(&mut source, table).await?;
        table.check_types(mapping, &pipeline.query_target("target", &table.types_sql())?)?;
        table.check_rows(mapping, &pipeline.query_target("target", &table.rows_sql(mapping))?)?;
    }
    let rows: usize = tables.iter().map(Table::rows).sum();
    println!("{} tables, {rows} rows", tables.len());
    apply.finish().await?;
    capture.finish().await
}

async fn work(source: &mut Connection, tables: &mut [Table], rng: &mut StdRng) -> Result<()> {
    for table in tables {
        for sql in table.work(rng) {
            source.run(&sql).await.with_context(|| sql.chars().take(2000).collect::<String>())?;
        }
    }
    Ok(())
}

async fn learn_versions(source: &mut Connection, table: &mut Table) -> Result<()> {
    let Some(sql) = table.versions_sql() else { return Ok(()) };
    for row in source.rows(&sql).await? {
        let id = integer(&row, 0)?.context("a key")?;
        let version: &str = row.get(1).context("a row version")?;
        table.learn_version(i32::try_from(id)?, version)?;
    }
    Ok(())
}

/// A key of text whose collation does not tell 'a' from 'A' or 'á' from 'à', updated where only
/// that changes, exchanged between rows, deleted and made anew in another case; into a target that
/// tells them apart, and one that does not.
async fn keys_that_differ_in_case_only(log: LogKind) -> Result<()> {
    let mut pipeline =
        Pipeline::builder(log, Vec::new()).task(Task::FullLoadAndCdc).build().await?;
    pipeline.add_target("icu", shared_postgres()?)?;
    pipeline.change_apply("icu", |apply| apply.key_collation = KeyCollation::Icu)?;
    let mut source = pipeline.source().connect().await?;
    for table in ["codes", "accents"] {
        let collation =
            if table == "codes" { "Latin1_General_CI_AS" } else { "Latin1_General_CI_AI" };
        let create = format!(
            "CREATE TABLE dbo.{table} (code nvarchar(20) COLLATE {collation} NOT NULL PRIMARY KEY, \
             label varchar(20) COLLATE {collation} NOT NULL, n int NOT NULL); \
             CREATE UNIQUE INDEX u_{table} ON dbo.{table} (label)"
        );
        source.run(&create).await?;
        let capture = format!(
            "EXEC sys.sp_cdc_enable_table N'dbo', N'{table}', @role_name = NULL, \
             @supports_net_changes = 0"
        );
        source.run(&capture).await?;
        let rows = "(N'a', 'one', 1), (N'b', 'two', 2), (N'C', 'three', 3), (N'é', 'four', 4)";
        source.run(&format!("INSERT INTO dbo.{table} VALUES {rows}")).await?;
    }
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut exact = pipeline.start_apply(FailPoints::default()).await?;
    let mut icu = pipeline.start_apply_to("icu", FailPoints::default()).await?;
    pipeline.await_loaded(&mut exact).await?;
    pipeline.await_loaded(&mut icu).await?;

    for table in ["codes", "accents"] {
        for change in [
            "UPDATE dbo.@ SET code = N'A' WHERE code = N'a'",
            "UPDATE dbo.@ SET label = 'ONE', n = n + 10 WHERE code = N'a'",
            "UPDATE dbo.@ SET code = CASE n WHEN 11 THEN N'B' ELSE N'a' END WHERE n IN (2, 11)",
            "UPDATE dbo.@ SET label = CASE label WHEN 'one' THEN 'TWO' ELSE 'oNE' END \
             WHERE label IN ('one', 'two')",
            "BEGIN TRANSACTION; DELETE FROM dbo.@ WHERE code = N'c'; \
             INSERT INTO dbo.@ VALUES (N'c', 'THREE', 30); \
             UPDATE dbo.@ SET code = N'É', label = 'FOUR' WHERE code = N'é'; COMMIT",
            "UPDATE dbo.@ SET code = UPPER(code), n = n + 100",
            "UPDATE dbo.@ SET code = LOWER(code) WHERE n > 110",
        ] {
            let sql = change.replace('@', table);
            source.run(&sql).await.with_context(|| sql.clone())?;
        }
    }
    pipeline.session().run(&Statements::new()).await?;
    pipeline.await_arrived(&mut exact).await?;
    pipeline.await_arrived_at("icu", &mut icu).await?;

    for table in ["codes", "accents"] {
        let mut expected = String::new();
        let rows = format!("SELECT code, label, n FROM dbo.{table} ORDER BY n");
        for row in source.rows(&rows).await? {
            let (code, label): (&str, &str) =
                (row.get(0).context("code")?, row.get(1).context("label")?);
            expected.push_str(&format!("{code}|{label}|{}\n", integer(&row, 2)?.context("n")?));
        }
        for target in ["target", "icu"] {
            let arrived = pipeline.query_target(target, &rows)?;
            ensure!(
                arrived.trim() == expected.trim(),
                "{target}, {table}: {arrived}not {expected}"
            );
        }
        // The code is 'A' by now.
        let found = format!("SELECT count(*) FROM dbo.{table} WHERE code = 'a'");
        for (target, rows) in [("target", "0"), ("icu", "1")] {
            let found = pipeline.query_target(target, &found)?;
            ensure!(found.trim() == rows, "{target} finds {found}");
        }
    }
    exact.finish().await?;
    icu.finish().await?;
    capture.finish().await
}

/// U+0000 and halves of surrogate pairs, under the policy that replaces them.
async fn text_that_postgresql_cannot_store_is_replaced_on_request(log: LogKind) -> Result<()> {
    let mut pipeline =
        Pipeline::builder(log, Vec::new()).task(Task::FullLoadAndCdc).build().await?;
    pipeline.change_apply("target", |apply| apply.invalid_text = InvalidText::Replace)?;
    let mut source = pipeline.source().connect().await?;
    let row = |id: u8| {
        format!(
            "INSERT INTO dbo.odd VALUES ({id}, N'a' + NCHAR(0) + N'b' + NCHAR(0xD83D), \
             'x' + CHAR(0), NCHAR(0xDE9A) + CAST(N'🚚' AS nvarchar(max)))"
        )
    };
    source
        .run(
            "CREATE TABLE dbo.odd (id int NOT NULL PRIMARY KEY, n nvarchar(20), c varchar(20), \
             m nvarchar(max))",
        )
        .await?;
    source
        .run("EXEC sys.sp_cdc_enable_table N'dbo', N'odd', @role_name = NULL, @supports_net_changes = 0")
        .await?;
    source.run(&row(1)).await?;
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    source.run(&row(2)).await?;
    pipeline.session().run(&Statements::new()).await?;
    pipeline.await_arrived(&mut apply).await?;
    let arrived = pipeline.query_target("target", "SELECT id, n, c, m FROM dbo.odd ORDER BY id")?;
    let shown = |id: u8| format!("{id}|a\u{fffd}b\u{fffd}|x\u{fffd}|\u{fffd}🚚");
    ensure!(arrived.trim() == format!("{}\n{}", shown(1), shown(2)), "{arrived}");
    apply.finish().await?;
    capture.finish().await
}

/// Where an instant was written, in a column of its own.
async fn offsets_arrive_beside_their_instants(log: LogKind) -> Result<()> {
    let mut pipeline =
        Pipeline::builder(log, Vec::new()).task(Task::FullLoadAndCdc).build().await?;
    pipeline.change_apply("target", |apply| apply.offset_columns = Some("_offset".to_owned()))?;
    let mut source = pipeline.source().connect().await?;
    for sql in [
        "CREATE TABLE dbo.visits (id int NOT NULL PRIMARY KEY, at datetimeoffset(7), n int NOT NULL)",
        "EXEC sys.sp_cdc_enable_table N'dbo', N'visits', @role_name = NULL, \
         @supports_net_changes = 0",
        "INSERT INTO dbo.visits VALUES (1, '2024-03-01T01:30:00.1234567+05:30', 0), (2, NULL, 0)",
    ] {
        source.run(sql).await?;
    }
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    for sql in [
        "INSERT INTO dbo.visits VALUES (3, '2024-02-29T23:59:59.9999999-14:00', 0)",
        "UPDATE dbo.visits SET n = 1",
        "UPDATE dbo.visits SET at = '2024-03-01T00:00:00+00:00' WHERE id = 2",
        "UPDATE dbo.visits SET at = SWITCHOFFSET(at, '-08:00') WHERE id = 1",
    ] {
        source.run(sql).await?;
    }
    pipeline.session().run(&Statements::new()).await?;
    pipeline.await_arrived(&mut apply).await?;
    let arrived = pipeline.query_target(
        "target",
        "SET TimeZone = 'UTC'; SELECT id, at, at_offset, n FROM dbo.visits ORDER BY id",
    )?;
    let expected = "1|2024-02-29 20:00:00.123456+00|-480|1\n2|2024-03-01 00:00:00+00|0|1\n\
                    3|2024-03-01 13:59:59.999999+00|-840|1";
    ensure!(arrived.trim() == expected, "{arrived}");
    apply.finish().await?;
    capture.finish().await
}

/// Keys, unique indexes, foreign keys and rows without a key that differ in the seventh digit only.
async fn keys_within_a_microsecond_stay_apart(log: LogKind) -> Result<()> {
    let mut pipeline =
        Pipeline::builder(log, Vec::new()).task(Task::FullLoadAndCdc).build().await?;
    let mut source = pipeline.source().connect().await?;
    for sql in [
        "CREATE TABLE dbo.moments (at datetime2(7) NOT NULL PRIMARY KEY, v int)",
        "CREATE TABLE dbo.clocks (id int NOT NULL PRIMARY KEY, t time(7) NOT NULL CONSTRAINT UQ_t UNIQUE, \
         at datetime2(7) CONSTRAINT FK_at REFERENCES dbo.moments (at))",
        "CREATE TABLE dbo.heap (at datetimeoffset(7), v int)",
        "INSERT INTO dbo.moments VALUES ('2026-01-01 00:00:00.1234561', 1), \
         ('2026-01-01 00:00:00.1234562', 2), ('2026-01-01 00:00:00.1234563', 3)",
        "INSERT INTO dbo.clocks VALUES (1, '12:00:00.0000001', '2026-01-01 00:00:00.1234562'), \
         (2, '12:00:00.0000002', NULL)",
    ] {
        source.run(sql).await?;
    }
    for table in ["moments", "clocks", "heap"] {
        let enable = format!(
            "EXEC sys.sp_cdc_enable_table N'dbo', N'{table}', @role_name = NULL, \
             @supports_net_changes = 0"
        );
        source.run(&enable).await?;
    }
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    pipeline.await_loaded(&mut apply).await?;
    for sql in [
        "UPDATE dbo.moments SET v = 10 WHERE at = '2026-01-01 00:00:00.1234561'",
        "DELETE FROM dbo.moments WHERE at = '2026-01-01 00:00:00.1234563'",
        "UPDATE dbo.moments SET at = '2026-01-01 00:00:00.1234564', v = 4 \
         WHERE at = '2026-01-01 00:00:00.1234561'",
        "INSERT INTO dbo.clocks VALUES (3, '12:00:00.0000003', '2026-01-01 00:00:00.1234564')",
        "UPDATE dbo.clocks SET t = '12:00:00.0000009' WHERE id = 1",
        "INSERT INTO dbo.heap VALUES ('2026-01-01 00:00:00.0000001+00:00', 1), \
         ('2026-01-01 00:00:00.0000002+00:00', 1), ('2026-01-01 00:00:00.0000003+00:00', 1)",
        "UPDATE dbo.heap SET v = 2 WHERE at = '2026-01-01 00:00:00.0000002+00:00'",
        "DELETE FROM dbo.heap WHERE at = '2026-01-01 00:00:00.0000003+00:00'",
    ] {
        source.run(sql).await?;
    }
    pipeline.session().run(&Statements::new()).await?;
    pipeline.await_arrived(&mut apply).await?;
    for (sql, expected) in [
        ("SELECT at_100ns, v FROM dbo.moments ORDER BY 1", "2|2\n4|4"),
        ("SELECT id, t_100ns, at_100ns FROM dbo.clocks ORDER BY 1", "1|9|2\n2|2|\n3|3|4"),
        ("SELECT at_100ns, v FROM dbo.heap ORDER BY 1", "1|1\n2|2"),
    ] {
        let arrived = pipeline.query_target("target", sql)?;
        ensure!(arrived.trim() == expected, "{sql}: {arrived}");
    }
    apply.finish().await?;
    capture.finish().await
}
