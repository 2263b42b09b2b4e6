//! Before the load.

use super::*;

#[tokio::test]
async fn each_mode_treats_a_table_that_is_there_as_it_says() {
    let mut bed = Bed::new().await;
    let tables = vec![table("plain", vec![int("id"), nullable(int("n"))], |_| {})];
    // Absent, then there and empty: a crash before the load's commit.
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("INSERT INTO plain VALUES (1, 1)").await;
    let message = bed.refused(Prepare::Create, &tables).await;
    assert!(message.contains("\"public\".\"plain\" is not empty"), "{message}");
    bed.prepare(Prepare::Keep, &tables).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM plain").await, ["1"]);
    let message = bed.refused(Prepare::DropAndCreate, &tables).await;
    assert!(message.contains("drop_tables = true"), "{message}");
    bed.run("ALTER TABLE plain ADD mine int").await;
    bed.prepare(Prepare::Truncate, &tables).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM plain").await, ["0"]);
    bed.run("INSERT INTO plain VALUES (1, 1)").await;
    bed.config.drop_tables = true;
    bed.prepare(Prepare::DropAndCreate, &tables).await.unwrap();
    let columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'plain'::regclass AND attnum > 0 ORDER BY attnum";
    assert_eq!(bed.query(columns).await, ["id", "n"]);
    bed.config.create_tables = false;
    bed.run("DROP TABLE plain").await;
    let message = bed.refused(Prepare::Create, &tables).await;
    assert!(message.contains("does not exist (`create_tables`)"), "{message}");
}

#[tokio::test]
async fn everything_wrong_with_every_table_is_said_at_once_and_nothing_is_changed() {
    let mut bed = Bed::new().await;
    bed.run(
        "CREATE TABLE full_one (id int PRIMARY KEY); INSERT INTO full_one VALUES (1); \
         CREATE TABLE narrow (id smallint PRIMARY KEY); \
         CREATE TABLE strict (id int PRIMARY KEY, n int UNIQUE); \
         INSERT INTO lockstep.tables VALUES ('public', 'taken', 'other', 'dbo.taken', 'x'), \
         ('public', 'moved', 'shop', 'dbo.before', 'x')",
    )
    .await;
    let reserved = vec![int("id"), nullable(int("xmin"))];
    let place = column("place", "geography", LogicalType::Geometry);
    let mut tables = vec![
        table("fine", vec![int("id")], |_| {}),
        table("full_one", vec![int("id")], |_| {}),
        table("narrow", vec![int("id")], |_| {}),
        table("strict", vec![int("id"), nullable(int("n"))], |_| {}),
        table("taken", vec![int("id")], |_| {}),
        table("moved", vec![int("id")], |_| {}),
        table("reserved", reserved, |_| {}),
        table("places", vec![int("id"), place], |_| {}),
        table("twice", vec![int("id")], |_| {}),
        table("Twice", vec![int("id"), int("a"), int("A")], |_| {}),
    ];
    bed.config.names = lockstep_common::config::NameRule::Lower;
    let mapped = [("dbo.places.place", "text"), ("dbo.fine.nope", "text"), ("dbo.gone.c", "text")];
    bed.config.columns = mapped.map(|(key, ty)| (key.to_owned(), ty.to_owned())).into();
    let message = bed.refused(Prepare::Create, &tables).await;
    for part in [
        "[dbo.full_one] target table \"public\".\"full_one\" is not empty",
        "[dbo.narrow] target table \"public\".\"narrow\": column \"id\" has type smallint",
        "\"strict_n_key\"",
        "belongs to pipeline other",
        "belongs to source table dbo.before",
        "column \"xmin\" has a name that PostgreSQL keeps",
        "column \"place\" of type geography cannot be text",
        "[dbo.fine] columns: dbo.fine.nope: there is no such column",
        "[configuration] columns: dbo.gone.c: there is no such table",
        "columns a and A are both \"a\"",
        "go",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(message.contains("goes to target table \"public\".\"twice\" too"), "{message}");
    bed.config.columns.clear();
    assert_eq!(bed.query("SELECT to_regclass('fine')").await, ["NULL"]);
    // The exact handoff never shows such states to a unique index.
    tables.truncate(4);
    tables.drain(..3);
    tables[0].handoff = Handoff::Exact;
    bed.prepare(Prepare::Create, &tables).await.unwrap();
}

#[tokio::test]
async fn missing_rights_are_said_before_anything_is_changed() {
    let mut bed = Bed::new().await;
    let user = format!("poor_{}", bed.name);
    bed.run(&format!(
        "CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA lockstep TO {user}; \
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA lockstep TO {user}; \
         CREATE TABLE given (id int PRIMARY KEY); GRANT SELECT, INSERT ON given TO {user}"
    ))
    .await;
    bed.client = open(&bed.name, &user).await;
    bed.config.schemas.insert("new".into(), "fresh".into());
    let mut fresh = table("t", vec![int("id")], |_| {});
    Arc::make_mut(&mut fresh.version).name.schema = "new".into();
    let tables = vec![
        table("given", vec![int("id")], |_| {}),
        table("absent", vec![int("id")], |_| {}),
        fresh,
    ];
    let message = bed.refused(Prepare::Truncate, &tables).await;
    for part in [
        "the role lacks UPDATE, DELETE on it",
        "does not own target table \"public\".\"given\"",
        "lacks TRUNCATE",
        "lacks USAGE and CREATE on schema \"public\"",
        "schema \"fresh\" does not exist, and the role lacks CREATE on the database",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // Where foreign keys fire, those that would act upon the stream's changes are left out.
    let objects = plan(
        &bed.design(Prepare::Create).naming,
        Server { version: 14, replica: false },
        &shop()
            .iter()
            .map(|t| Planned { version: &t.version, definition: t.definition.as_deref() })
            .collect::<Vec<_>>(),
        &BTreeSet::new(),
    );
    let made: Vec<&str> = objects
        .iter()
        .filter(|o| o.kind.as_str() == "foreign_key" && matches!(o.fate, Fate::Make { .. }))
        .map(|o| o.object.as_str())
        .collect();
    assert_eq!(made, ["FK_last"]);
    let unique = objects.iter().find(|o| o.object == "UQ_name").unwrap();
    let Fate::Make { note: Some(note), .. } = &unique.fate else { panic!("{unique:?}") };
    assert!(note.contains("older than 15"), "{note}");
}

#[tokio::test]
async fn what_hangs_on_a_table_keeps_it_from_being_emptied_or_dropped() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.finish(1, &tables).await;
    bed.run(
        "CREATE TABLE mine (c int CONSTRAINT mine_fk REFERENCES customers (id)); \
         CREATE VIEW seen AS SELECT * FROM orders",
    )
    .await;
    // Unique indexes that we made stand in the way of a bracketed load as any others do.
    let message = bed.refused(Prepare::Truncate, &tables).await;
    assert!(message.contains("mine.mine_fk") && message.contains("\"UQ_name\""), "{message}");
    bed.config.drop_tables = true;
    let message = bed.refused(Prepare::DropAndCreate, &tables).await;
    assert!(message.contains("drop seen") && message.contains("mine.mine_fk"), "{message}");
    bed.run("DROP TABLE mine; DROP VIEW seen").await;
    bed.prepare(Prepare::DropAndCreate, &tables).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM lockstep.load_object").await, ["0"]);
    let exact: Vec<LoadTable> =
        tables.iter().map(|t| LoadTable { handoff: Handoff::Exact, ..t.clone() }).collect();
    // Tables that point to each other are emptied together.
    bed.finish(2, &tables).await;
    bed.run(ROWS).await;
    bed.prepare(Prepare::Truncate, &exact).await.unwrap();
    assert_eq!(bed.query("SELECT count(*) FROM customers").await, ["0"]);
}

#[tokio::test]
async fn an_apply_that_was_replaced_prepares_nothing() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("INSERT INTO orders (id, customer, total) VALUES (1, 1, 1); UPDATE lockstep.checkpoint SET epoch = 2").await;
    let failure = bed.prepare(Prepare::Truncate, &tables).await.unwrap_err();
    assert_eq!(failure.code.as_str(), "apply.displaced");
    assert_eq!(bed.query("SELECT count(*) FROM orders").await, ["1"]);
    let failure = unmake(&mut bed.client, PIPELINE, &tables, FENCE).await.unwrap_err();
    assert_eq!(failure.code.as_str(), "apply.displaced");
}

#[tokio::test]
async fn a_computed_column_that_the_target_refuses_does_not_keep_its_table_away() {
    let mut bed = Bed::new().await;
    let computed = Column { computed: true, ..nullable(column("c", "float", LogicalType::F64)) };
    let table = table("odd", vec![int("id"), computed], |d| {
        d.columns.push(ColumnDefinition {
            column: "c".into(),
            computed: Some("(1e400)".into()),
            ..ColumnDefinition::default()
        });
    });
    let prepared = bed.prepare(Prepare::Create, &[table]).await.unwrap();
    assert!(prepared.notices[0].contains("without its computed columns"), "{prepared:?}");
    let columns =
        "SELECT attname FROM pg_attribute WHERE attrelid = 'odd'::regclass AND attnum > 0";
    assert_eq!(bed.query(columns).await, ["id"]);
}
