//! Keys that differ in case only, compared by their characters and by ICU's collations.

use lockstep_apply::ApplySettings;
use lockstep_common::config::{ConflictPolicy, KeyCollation, Prepare};
use lockstep_common::model::definition::{ForeignKey, Index, IndexColumn, IndexKind, Referential};
use lockstep_common::model::load::{ChunkAttributes, Handoff};
use lockstep_common::model::record::{Before, Change, Operation};
use lockstep_common::{LogicalType, TableId, TableName, TableVersion, Value};
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{INT, TEXT, bare, change, collated, delete, insert, int, text, typed, update};

const LOAD: Uuid = Uuid::from_u128(7);
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };
const NAME: LogicalType = LogicalType::String { max: Some(40), fixed: false };
const ROWS: &str = "SELECT name, body, n FROM docs ORDER BY n";
const FIRST: &str = "SELECT name, body, n FROM docs WHERE n < 100 ORDER BY n";

/// `docs(name nvarchar(40) key, body nvarchar(max), n int)`
fn docs(collation: &str) -> TableVersion {
    let mut version = typed(
        "docs",
        1,
        &[("name", "nvarchar(40)", NAME), ("body", "nvarchar(max)", TEXT), ("n", "int", INT)],
    );
    collated(&mut version, "name", collation);
    version
}

fn doc(name: &str, body: &str, n: i64) -> Vec<Value<'static>> {
    vec![text(name), text(body), int(n)]
}

/// An update that says nothing of the body, as SQL Server records one of a row whose MAX column it did
/// not touch.
fn partial(table: TableId, old: &str, new: &str, n: i64) -> Change<'static> {
    let before = vec![text(old), Value::Unavailable, int(0)];
    change(
        table,
        Operation::Update,
        Before::Full(before),
        vec![text(new), Value::Unavailable, int(n)],
    )
}

fn icu(bed: &Bed) -> ApplySettings {
    let mut settings = bed.settings();
    settings.config.key_collation = KeyCollation::Icu;
    settings
}

const CI: &str = "SQL_Latin1_General_CP1_CI_AS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_only_update_of_a_key_arrives_under_either_collation() {
    for collation in [KeyCollation::Exact, KeyCollation::Icu] {
        for policy in [ConflictPolicy::Halt, ConflictPolicy::Converge] {
            let mut bed = Bed::new().await;
            let t = bed.source.table(&docs(CI)).await;
            bed.source
                .commit(&[insert(t, doc("a", "body", 1)), insert(t, doc("b", "other", 2))])
                .await;
            // One row; then chains in one transaction, whole and in part.
            bed.source.commit(&[update(t, doc("a", "body", 1), doc("A", "body", 1))]).await;
            bed.source.commit(&[partial(t, "A", "a", 3)]).await;
            bed.source
                .commit(&[
                    partial(t, "a", "A", 4),
                    partial(t, "A", "aa", 5),
                    partial(t, "b", "B", 6),
                    partial(t, "B", "B", 7),
                ])
                .await;
            bed.source
                .commit(&[
                    delete(t, doc("aa", "body", 5)),
                    insert(t, doc("AA", "again", 8)),
                    update(t, doc("AA", "again", 8), doc("Aa", "again", 9)),
                ])
                .await;
            let mut settings = bed.settings();
            settings.config.key_collation = collation;
            settings.config.on_conflict = policy;
            let status = bed.catch_up_with(settings).await;
            assert_eq!(
                bed.query(ROWS).await,
                ["B|other|7", "Aa|again|9"],
                "{collation:?} {policy:?}"
            );
            assert_eq!(status.exceptions, 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn created_keys_follow_the_collations_of_the_source() {
    let cases = [
        (CI, "lockstep_ci", "tf"),
        ("Latin1_General_100_CI_AI", "lockstep_ai", "tt"),
        ("Latin1_General_100_CS_AI_SC_UTF8", "lockstep_cs_ai", "ft"),
        ("Latin1_General_100_CS_AS", "default", "ff"),
        ("Latin1_General_100_BIN2", "default", "ff"),
        ("Japanese_CI_AS_KS_WS", "default", "ff"),
    ];
    for (source, collation, equal) in cases {
        let mut bed = Bed::new().await;
        let t = bed.source.table(&docs(source)).await;
        bed.source.commit(&[insert(t, doc("resume", "x", 1))]).await;
        bed.catch_up_with(icu(&bed)).await;
        let of = "SELECT c.collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation \
            WHERE a.attrelid = 'docs'::regclass AND a.attname = ";
        assert_eq!(bed.query(&format!("{of}'name'")).await, [collation], "{source}");
        // Only what tells rows apart.
        assert_eq!(bed.query(&format!("{of}'body'")).await, ["default"]);
        let found = bed.query("SELECT name = 'RESUME', name = 'résumé' FROM docs").await;
        assert_eq!(found[0].replace('|', ""), equal, "{source}");
    }
}

/// Rows give a key up in one spelling and take it in another, in one statement of the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_hands_in_other_spellings() {
    for careful in [false, true] {
        let mut bed = Bed::new().await;
        let t = bed.source.table(&docs(CI)).await;
        // They lie where a scan of the table meets who takes a key before who gives it up, and a table
        // of so many rows is scanned for a few of them where it may not be looked up by key.
        let rows = [("d", 4), ("c", 3), ("b", 2), ("a", 1)];
        let more = (100..1100).map(|n| insert(t, doc(&n.to_string(), "x", n)));
        let rows = rows.iter().map(|(name, n)| insert(t, doc(name, "x", *n)));
        bed.source.commit(&rows.chain(more).collect::<Vec<_>>()).await;
        bed.catch_up_with(icu(&bed)).await;
        bed.query("ANALYZE docs").await;
        for plan in ["indexscan", "bitmapscan", "nestloop", "mergejoin"] {
            let name = &bed.database.name;
            bed.query(&format!("ALTER DATABASE {name} SET enable_{plan} = off")).await;
        }
        // a → e, b → A, c → B, d → C: each takes what the one before gave up.
        let moves = [("a", "e", 1), ("b", "A", 2), ("c", "B", 3), ("d", "C", 4)];
        let moves: Vec<_> = moves
            .iter()
            .map(|(old, new, n)| update(t, doc(old, "x", *n), doc(new, "x", *n)))
            .collect();
        bed.source.commit(&moves).await;
        let mut settings = icu(&bed);
        if careful {
            settings.config.on_conflict = ConflictPolicy::Exceptions;
        }
        bed.catch_up_with(settings).await;
        assert_eq!(bed.query(FIRST).await, ["e|x|1", "A|x|2", "B|x|3", "C|x|4"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_icu_holds_equal_and_the_source_does_not_is_a_conflict() {
    let mut bed = Bed::new().await;
    let t = bed.source.table(&docs(CI)).await;
    // A soft hyphen counts for nothing in Unicode's algorithm.
    bed.source.commit(&[insert(t, doc("ab", "x", 1)), insert(t, doc("a\u{ad}b", "x", 2))]).await;
    let failure = bed.start_with(icu(&bed), Default::default()).halts().await;
    assert!(failure.message.contains("23505"), "{failure}");
}

// --- Full loads ---------------------------------------------------------------------------------

/// Chunks whose rows are spelt otherwise than what the stream says of them meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_meets_keys_that_are_spelt_anew_beside_it() {
    for prepare in [Prepare::Create, Prepare::Keep] {
        let mut bed = Bed::new().await;
        let version = docs(CI);
        let t = bed.source.table_with(&version, bare(&version)).await;
        if prepare == Prepare::Keep {
            bed.query(
                "CREATE SCHEMA lockstep; CREATE COLLATION lockstep.lockstep_ci \
                 (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
                 CREATE TABLE docs (name varchar(40) COLLATE lockstep.lockstep_ci PRIMARY KEY, \
                 body text, n int); INSERT INTO docs VALUES ('A', 'stale', -1), ('kept', 'kept', 0), \
                 ('G', 'stale', -7)",
            )
            .await;
        }
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
        bed.source.chunk_begin((LOAD, t, 0), PLAIN).await;
        bed.source
            .commit(&[
                // Absent yet: the columns given before and after the new spelling are both kept.
                change(
                    t,
                    Operation::Update,
                    Before::Key(vec![text("b")]),
                    vec![text("b"), text("new body"), Value::Unavailable],
                ),
                partial(t, "b", "B", 20),
                // Whole: deleted and written anew.
                update(t, doc("c", "old", 3), doc("C", "whole", 30)),
                // Gone in one spelling, there again in another.
                delete(t, doc("d", "old", 4)),
                insert(t, doc("D", "again", 40)),
                delete(t, doc("e", "old", 5)),
            ])
            .await;
        let rows = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5), ("f", 6), ("g", 7)];
        let rows: Vec<_> = rows.iter().map(|(name, n)| doc(name, "old", *n)).collect();
        let offsets = bed.source.chunk_rows((LOAD, t, 0), 0, &rows, 3).await;
        bed.source.chunk_end((LOAD, t, 0), 0, offsets, rows.len()).await;
        // Behind the chunk: the row is there and moves, and is not taken for its own rival.
        bed.source.commit(&[partial(t, "f", "F", 60), partial(t, "F", "fF", 61)]).await;
        // A chunk that was read ahead of the stream, in a spelling that the stream brings later.
        bed.source.chunk((LOAD, t, 1), PLAIN, &[doc("B", "new body", 21)]).await;
        bed.source.table_read(LOAD, t, 2, 8).await;
        bed.source.end_load(LOAD).await;
        bed.source.commit(&[partial(t, "B", "b", 22)]).await;
        let mut settings = icu(&bed);
        settings.config.prepare = prepare;
        bed.catch_up_with(settings).await;
        let mut expected =
            vec!["a|old|1", "g|old|7", "b|new body|22", "C|whole|30", "D|again|40", "fF|old|61"];
        if prepare == Prepare::Keep {
            expected.insert(0, "kept|kept|0");
        }
        assert_eq!(bed.query(ROWS).await, expected, "{prepare:?}");
    }
}

/// A unique index that comes after the load, values that change hands under it, and a foreign key whose
/// values are spelt otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unique_indexes_and_foreign_keys_after_a_load_compare_as_the_source_does() {
    let index = |name: &str, kind, column: &str| Index {
        name: name.into(),
        kind,
        unique: true,
        columns: vec![IndexColumn { column: column.into(), descending: false }],
        included: Vec::new(),
        filter: None,
        disabled: false,
    };
    let mut bed = Bed::new().await;
    let mut users = typed("users", 1, &[("id", "int", INT), ("login", "nvarchar(40)", NAME)]);
    collated(&mut users, "login", CI);
    let mut owned = typed("owned", 1, &[("id", "int", INT), ("login", "nvarchar(40)", NAME)]);
    collated(&mut owned, "login", CI);
    let mut of_users = bare(&users);
    of_users.indexes.push(index("UQ_login", IndexKind::Constraint, "login"));
    let mut of_owned = bare(&owned);
    of_owned.foreign_keys.push(ForeignKey {
        name: "FK_login".into(),
        columns: vec!["login".into()],
        referenced: TableName { schema: "dbo".into(), table: "users".into() },
        referenced_columns: vec!["login".into()],
        on_delete: Referential::NoAction,
        on_update: Referential::NoAction,
        disabled: false,
        unchecked: false,
    });
    let u = bed.source.table_with(&users, of_users).await;
    let o = bed.source.table_with(&owned, of_owned).await;
    let row = |id: i64, login: &str| vec![int(id), text(login)];
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(u, Handoff::Bracketed), (o, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, u, 0), PLAIN, &[row(1, "ann"), row(2, "bob")]).await;
    bed.source.table_read(LOAD, u, 1, 2).await;
    bed.source.chunk((LOAD, o, 0), PLAIN, &[row(1, "ANN")]).await;
    bed.source.table_read(LOAD, o, 1, 1).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.progress().await;
    let mut apply = bed.start_with(icu(&bed), Default::default());
    apply.reaches(n).await;
    let done = "SELECT state FROM lockstep.load";
    bed.database.shows(done, &["done"]).await;
    // What one of them has in upper case the other takes in lower case, and back.
    let n = bed
        .source
        .commit(&[update(u, row(1, "ann"), row(1, "BOB")), update(u, row(2, "bob"), row(2, "Ann"))])
        .await;
    apply.reaches(n).await;
    let status = apply.stop().await;
    assert_eq!(bed.query("SELECT id, login FROM users ORDER BY id").await, ["1|BOB", "2|Ann"]);
    assert_eq!(status.exceptions, 0);
    let objects = "SELECT kind, object, state, reason FROM lockstep.load_object ORDER BY kind";
    assert_eq!(
        bed.query(objects).await,
        [
            "foreign_key|FK_login|made|NULL".to_owned(),
            format!("unique|UQ_login|made|{}", bed.of_nulls().await)
        ]
    );
    let refused = bed
        .query(
            "DO $$ BEGIN INSERT INTO users VALUES (3, 'ANN'); RAISE 'accepted'; \
                EXCEPTION WHEN unique_violation THEN NULL; END $$; SELECT count(*) FROM users",
        )
        .await;
    assert_eq!(refused, ["2"]);
}
