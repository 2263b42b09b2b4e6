//! Keys that differ in less than PostgreSQL's types hold: every row of the source has one of its own.

use lockstep_common::FailPoints;
use lockstep_common::config::{ConflictPolicy, InvalidText, KeyCollation, Prepare};
use lockstep_common::model::definition::{ForeignKey, Index, IndexColumn, IndexKind, Referential};
use lockstep_common::model::load::{ChunkAttributes, Handoff, LoadMarker};
use lockstep_common::model::record::{Before, Operation};
use lockstep_common::service::status::{ApplyStatus, LoadState};
use lockstep_common::{LogicalType, TableId, TableVersion, Value};
use uuid::Uuid;

use crate::bed::Bed;
use crate::source::{
    INT, TEXT, accounts, at, bare, change, collated, delete, insert, int, text, typed, update,
};

const LOAD: Uuid = Uuid::from_u128(7);
const AGAIN: Uuid = Uuid::from_u128(8);
const PLAIN: ChunkAttributes = ChunkAttributes { from: None, restart: false };

/// The three types that have seven digits.
fn types() -> [(&'static str, LogicalType); 3] {
    [
        ("datetime2(7)", LogicalType::Timestamp { digits: 7 }),
        ("datetimeoffset(7)", LogicalType::TimestampTz { digits: 7 }),
        ("time(7)", LogicalType::Time { digits: 7 }),
    ]
}

/// 100 ns units behind 00:00:00.123456 of 1970-01-01.
fn time(ty: &LogicalType, digit: i64) -> Value<'static> {
    let ticks = 1_234_560 + digit;
    match ty {
        LogicalType::Timestamp { .. } => Value::Timestamp(ticks),
        LogicalType::TimestampTz { .. } => Value::TimestampTz { ticks, offset: 60 },
        _ => Value::Time(ticks),
    }
}

/// `stamps(at <type>, body nvarchar(max), v int)`
fn stamps(source_type: &str, ty: &LogicalType, keys: u16) -> TableVersion {
    let columns =
        [("at", source_type, ty.clone()), ("body", "nvarchar(max)", TEXT), ("v", "int", INT)];
    typed("stamps", keys, &columns)
}

fn row(ty: &LogicalType, digit: i64, v: i64) -> Vec<Value<'static>> {
    vec![time(ty, digit), text("x"), int(v)]
}

const ROWS: &str = "SELECT at_100ns, body, v FROM stamps ORDER BY at, at_100ns, v";

fn done(status: &ApplyStatus) -> bool {
    status.load.as_ref().is_some_and(|load| load.state == LoadState::Done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_meet_the_row_that_is_meant_within_a_microsecond() {
    for (source_type, ty) in types() {
        for policy in [ConflictPolicy::Halt, ConflictPolicy::Exceptions, ConflictPolicy::Converge] {
            let mut bed = Bed::new().await;
            let t = bed.source.table(&stamps(source_type, &ty, 1)).await;
            let rows: Vec<_> = (0..10).map(|digit| insert(t, row(&ty, digit, digit))).collect();
            bed.source.commit(&rows).await;
            let mut partial = row(&ty, 4, 40);
            partial[1] = Value::Unavailable;
            bed.source
                .commit(&[
                    update(t, row(&ty, 1, 1), row(&ty, 1, 10)),
                    update(t, row(&ty, 2, 2), row(&ty, 2, 20)),
                    delete(t, row(&ty, 3, 3)),
                    change(t, Operation::Update, Before::Key(vec![time(&ty, 4)]), partial),
                    change(t, Operation::Delete, Before::Key(vec![time(&ty, 5)]), Vec::new()),
                ])
                .await;
            // Keys change hands in one transaction.
            bed.source
                .commit(&[
                    delete(t, row(&ty, 6, 6)),
                    update(t, row(&ty, 7, 7), row(&ty, 6, 7)),
                    insert(t, row(&ty, 7, 70)),
                ])
                .await;
            let mut settings = bed.settings();
            settings.config.on_conflict = policy;
            let status = bed.catch_up_with(settings).await;
            let expected =
                ["0|x|0", "1|x|10", "2|x|20", "4|x|40", "6|x|7", "7|x|70", "8|x|8", "9|x|9"];
            assert_eq!(bed.query(ROWS).await, expected, "{source_type} {policy:?}");
            assert_eq!(status.exceptions, 0);
        }
    }
}

/// Several connections order what they send by keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_connections_keep_the_order_of_keys_within_a_microsecond() {
    for (source_type, ty) in types() {
        let mut bed = Bed::new().await;
        let t = bed.source.table(&stamps(source_type, &ty, 1)).await;
        let key = |digit| vec![time(&ty, digit)];
        let mut transactions = vec![(0..10).map(|digit| insert(t, row(&ty, digit, 0))).collect()];
        for v in 1..=20 {
            for digit in 0..9 {
                let after = row(&ty, digit, v);
                transactions.push(vec![change(
                    t,
                    Operation::Update,
                    Before::Key(key(digit)),
                    after,
                )]);
            }
            // A key that is given up and taken again.
            transactions.push(vec![change(t, Operation::Delete, Before::Key(key(9)), Vec::new())]);
            transactions.push(vec![insert(t, row(&ty, 9, v))]);
        }
        bed.source.commit_all(&transactions).await;
        let mut settings = bed.settings();
        settings.config.connections = std::num::NonZeroUsize::new(3).expect("three");
        bed.catch_up_with(settings).await;
        let expected: Vec<_> = (0..10).map(|digit| format!("{digit}|x|20")).collect();
        assert_eq!(bed.query(ROWS).await, expected, "{source_type}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_keeps_rows_apart_within_a_microsecond() {
    for (source_type, ty) in types() {
        for keep in [false, true] {
            let mut bed = Bed::new().await;
            let version = stamps(source_type, &ty, 1);
            let t = bed.source.defined(&version).await;
            let mut settings = bed.settings();
            if keep {
                settings.config.prepare = Prepare::Keep;
            }
            bed.source.progress().await;
            bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
            bed.source.chunk_begin((LOAD, t, 0), PLAIN).await;
            let mut partial = row(&ty, 4, 40);
            partial[1] = Value::Unavailable;
            bed.source
                .commit(&[
                    // Notes of keys beside which others stand in one microsecond.
                    delete(t, row(&ty, 1, 1)),
                    update(t, row(&ty, 3, 3), row(&ty, 3, 30)),
                    change(t, Operation::Update, Before::Full(row(&ty, 4, 4)), partial),
                ])
                .await;
            let rows: Vec<_> = (0..6).map(|digit| row(&ty, digit, digit)).collect();
            let offsets = bed.source.chunk_rows((LOAD, t, 0), 0, &rows, 4).await;
            bed.source.chunk_end((LOAD, t, 0), 0, offsets, rows.len()).await;
            bed.source.chunk((LOAD, t, 1), PLAIN, &[row(&ty, 7, 7), row(&ty, 8, 8)]).await;
            bed.source.table_read(LOAD, t, 2, 8).await;
            bed.source.end_load(LOAD).await;
            let n = bed
                .source
                .commit(&[delete(t, row(&ty, 7, 7)), update(t, row(&ty, 8, 8), row(&ty, 8, 80))])
                .await;
            let mut apply = bed.start_with(settings, FailPoints::default());
            apply.reaches(n).await;
            apply.until("the load's end", done).await;
            let status = apply.stop().await;
            let expected = ["0|x|0", "2|x|2", "3|x|30", "4|x|40", "5|x|5", "8|x|80"];
            assert_eq!(bed.query(ROWS).await, expected, "{source_type}, keep {keep}");
            assert_eq!(status.load.expect("a load").tables["dbo.stamps"].rows, 8);
            let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'p' \
                AND conrelid = 'stamps'::regclass";
            assert_eq!(bed.query(key).await, ["PRIMARY KEY (at, at_100ns)"]);
        }
    }
}

/// Rows of one microsecond, in a table without a key: each change meets its own, though the rest of the
/// row that would tell them apart is not recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_a_key_are_matched_with_every_digit() {
    for (source_type, ty) in types() {
        let mut bed = Bed::new().await;
        let version = stamps(source_type, &ty, 0);
        let t = bed.source.defined(&version).await;
        bed.source.progress().await;
        let from = bed.source.at;
        bed.source.begin_load(LOAD, &[(t, Handoff::Exact)]).await;
        let attributes = ChunkAttributes { from: Some(at(from)), restart: false };
        let rows: Vec<_> = (0..5).map(|digit| row(&ty, digit, 7)).collect();
        bed.source.chunk((LOAD, t, 0), attributes, &rows).await;
        bed.source.table_read(LOAD, t, 1, 5).await;
        bed.source.end_load(LOAD).await;
        let unrecorded = |digit| vec![time(&ty, digit), Value::Unavailable, int(7)];
        bed.source
            .commit(&[
                change(t, Operation::Delete, Before::Full(unrecorded(2)), Vec::new()),
                update(t, unrecorded(3), vec![time(&ty, 9), text("moved"), int(8)]),
            ])
            .await;
        bed.catch_up().await;
        let expected = ["0|x|7", "1|x|7", "4|x|7", "9|moved|8"];
        assert_eq!(bed.query(ROWS).await, expected, "{source_type}");
    }
}

fn index(name: &str, kind: IndexKind, columns: &[&str]) -> Index {
    let column = |name: &&str| IndexColumn { column: (*name).to_owned(), descending: false };
    Index {
        name: name.into(),
        kind,
        unique: true,
        columns: columns.iter().map(column).collect(),
        included: Vec::new(),
        filter: None,
        disabled: false,
    }
}

/// A unique index and a foreign key over times, in a load and after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unique_indexes_and_foreign_keys_have_the_digit_in_them() {
    let (source_type, ty) = types()[0].clone();
    let mut bed = Bed::new().await;
    let parents = typed("parents", 1, &[("id", "int", INT), ("at", source_type, ty.clone())]);
    let children = typed("children", 1, &[("id", "int", INT), ("parent", source_type, ty.clone())]);
    let mut of_parents = bare(&parents);
    of_parents.indexes.push(index("UQ_at", IndexKind::Constraint, &["at"]));
    let mut of_children = bare(&children);
    of_children.foreign_keys.push(ForeignKey {
        name: "FK_parent".into(),
        columns: vec!["parent".into()],
        referenced: parents.name.clone(),
        referenced_columns: vec!["at".into()],
        on_delete: Referential::NoAction,
        on_update: Referential::NoAction,
        disabled: false,
        unchecked: false,
    });
    let p = bed.source.table_with(&parents, of_parents).await;
    let c = bed.source.table_with(&children, of_children).await;
    let row = |id: i64, digit| vec![int(id), time(&ty, digit)];
    bed.source.progress().await;
    bed.source.begin_load(LOAD, &[(p, Handoff::Bracketed), (c, Handoff::Bracketed)]).await;
    bed.source.chunk((LOAD, p, 0), PLAIN, &[row(1, 1), row(2, 2)]).await;
    bed.source.table_read(LOAD, p, 1, 2).await;
    bed.source.chunk((LOAD, c, 0), PLAIN, &[row(1, 2), vec![int(2), Value::Null]]).await;
    bed.source.table_read(LOAD, c, 1, 2).await;
    bed.source.end_load(LOAD).await;
    let n = bed.source.progress().await;
    let mut apply = bed.start();
    apply.reaches(n).await;
    apply.until("the load's end", done).await;
    let n = bed.source.commit(&[update(p, row(1, 1), row(1, 3)), insert(p, row(3, 1))]).await;
    apply.reaches(n).await;
    apply.stop().await;
    let rows = bed.query("SELECT id, at_100ns FROM parents ORDER BY id").await;
    assert_eq!(rows, ["1|3", "2|2", "3|1"]);
    let rows = bed.query("SELECT id, parent_100ns FROM children ORDER BY id").await;
    assert_eq!(rows, ["1|2", "2|NULL"]);
    let objects = "SELECT kind, object, state, reason FROM lockstep.load_object ORDER BY kind";
    assert_eq!(
        bed.query(objects).await,
        [
            "foreign_key|FK_parent|made|NULL".to_owned(),
            format!("unique|UQ_at|made|{}", bed.of_nulls().await)
        ]
    );
    let made = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname IN \
        ('UQ_at', 'FK_parent') ORDER BY conname";
    let made = bed.query(made).await;
    let foreign_key = "FOREIGN KEY (parent, parent_100ns) REFERENCES parents(at, at_100ns)";
    assert_eq!(made[0], foreign_key);
    // Where the server can, NULLs are equal in it as in the source.
    assert_eq!(made[1].replace(" NULLS NOT DISTINCT", ""), "UNIQUE (at, at_100ns)");
}

// --- Tables that were there before ----------------------------------------------------------------

const BY_HAND: &str = "CREATE TABLE stamps (at timestamp PRIMARY KEY, body text, v int)";
const ADDED: &str = "ALTER TABLE stamps ADD COLUMN at_100ns smallint NOT NULL DEFAULT 0, \
    DROP CONSTRAINT stamps_pkey, ADD PRIMARY KEY (at, at_100ns)";

async fn load(
    bed: &mut Bed,
    load: Uuid,
    table: TableId,
    reload: bool,
    rows: &[Vec<Value<'static>>],
) {
    bed.source.progress().await;
    let tables = vec![(table, Handoff::Bracketed)];
    bed.source.marker(LoadMarker::Begin { load, reload, tables }).await;
    bed.source.chunk((load, table, 0), PLAIN, rows).await;
    bed.source.table_read(load, table, 1, rows.len() as u64).await;
    bed.source.end_load(load).await;
    bed.source.progress().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_into_a_table_without_the_digit_says_what_to_do_and_goes_on_after_it() {
    let (source_type, ty) = types()[0].clone();
    let mut bed = Bed::new().await;
    bed.query(BY_HAND).await;
    let t = bed.source.defined(&stamps(source_type, &ty, 1)).await;
    load(&mut bed, LOAD, t, false, &[row(&ty, 1, 1), row(&ty, 2, 2)]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.prepare");
    assert!(failure.message.contains("ADD COLUMN \"at_100ns\" smallint"), "{failure}");
    bed.query(ADDED).await;
    bed.catch_up().await;
    assert_eq!(bed.query(ROWS).await, ["1|x|1", "2|x|2"]);
}

/// What a pipeline of an earlier version made: it is followed, its key refuses what it cannot tell apart,
/// and loading it again, as its message says, gives it the column.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_table_without_the_digit_never_merges_and_heals_by_a_load() {
    let (source_type, ty) = types()[0].clone();
    for policy in [ConflictPolicy::Halt, ConflictPolicy::Converge] {
        let mut bed = Bed::new().await;
        bed.query(BY_HAND).await;
        let t = bed.source.defined(&stamps(source_type, &ty, 1)).await;
        let mut settings = bed.settings();
        settings.config.on_conflict = policy;
        bed.source.commit(&[insert(t, row(&ty, 0, 0))]).await;
        bed.catch_up_with(settings.clone()).await;
        bed.source.commit(&[insert(t, row(&ty, 1, 1))]).await;
        let failure = bed.start_with(settings, FailPoints::default()).halts().await;
        let what = if policy == ConflictPolicy::Halt { "23505" } else { "\"at\" holds a time" };
        assert!(failure.message.contains(what), "{failure}");
        assert_eq!(bed.query("SELECT v FROM stamps").await, ["0"]);
    }
    let mut bed = Bed::new().await;
    bed.query(BY_HAND).await;
    let t = bed.source.defined(&stamps(source_type, &ty, 1)).await;
    bed.source.commit(&[insert(t, row(&ty, 1, 1))]).await;
    bed.source.commit(&[update(t, row(&ty, 1, 1), row(&ty, 1, 10))]).await;
    bed.catch_up().await;
    assert_eq!(bed.query("SELECT v FROM stamps").await, ["10"]);
    load(&mut bed, AGAIN, t, true, &[row(&ty, 1, 10), row(&ty, 2, 2)]).await;
    let failure = bed.start().halts().await;
    assert_eq!(failure.code.as_str(), "apply.prepare");
    assert!(failure.message.contains("ADD COLUMN \"at_100ns\" smallint"), "{failure}");
    bed.query(ADDED).await;
    bed.source.commit(&[delete(t, row(&ty, 1, 10))]).await;
    bed.catch_up().await;
    assert_eq!(bed.query(ROWS).await, ["2|x|2"]);
}

// --- Texts ----------------------------------------------------------------------------------------

const NAME: LogicalType = LogicalType::String { max: Some(40), fixed: false };

/// `docs(name nvarchar(40), body nvarchar(max))`, under a collation without case.
fn docs(keys: u16) -> TableVersion {
    let columns = [("name", "nvarchar(40)", NAME), ("body", "nvarchar(max)", TEXT)];
    let mut version = typed("docs", keys, &columns);
    collated(&mut version, "name", "SQL_Latin1_General_CP1_CI_AS");
    version
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_by_which_rows_are_told_apart_is_not_replaced() {
    for (keys, unique, column) in
        [(1, None, "\"name\""), (0, None, "\"body\""), (1, Some("body"), "\"body\"")]
    {
        let mut bed = Bed::new().await;
        let version = docs(keys);
        let mut definition = bare(&version);
        definition.indexes.extend(unique.map(|c| index("UQ", IndexKind::Plain, &[c])));
        let t = bed.source.table_with(&version, definition).await;
        let rows = match column {
            "\"name\"" => vec![vec![text("a\0"), text("x")]],
            _ => vec![vec![text("a"), text("b\0")]],
        };
        let mut settings = bed.settings();
        settings.config.invalid_text = InvalidText::Replace;
        let handoff = if keys == 0 { Handoff::Exact } else { Handoff::Bracketed };
        bed.source.progress().await;
        let from = (keys == 0).then(|| at(bed.source.at));
        bed.source.begin_load(LOAD, &[(t, handoff)]).await;
        let attributes = ChunkAttributes { from, restart: false };
        bed.source.chunk((LOAD, t, 0), attributes, &rows).await;
        bed.source.table_read(LOAD, t, 1, 1).await;
        bed.source.end_load(LOAD).await;
        let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
        assert_eq!(failure.code.as_str(), "apply.load.value");
        assert!(failure.message.contains(column), "{failure}");
        assert!(failure.message.contains("not replaced"), "{failure}");
        // The same in the stream, where keys are all there is to know.
        if unique.is_none() {
            let mut bed = Bed::new().await;
            let t = bed.source.table(&version).await;
            bed.source.commit(&[insert(t, rows[0].clone())]).await;
            let mut settings = bed.settings();
            settings.config.invalid_text = InvalidText::Replace;
            let failure = bed.start_with(settings, FailPoints::default()).halts().await;
            assert!(failure.message.contains(column), "{failure}");
        }
    }
}

/// A soft hyphen counts for nothing in Unicode's algorithm, and for a character in the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_a_collation_would_merge_halts() {
    let row = |name: &str| vec![text(name), text("x")];
    let (plain, hyphen, other) = (|| row("ab"), || row("a\u{ad}b"), || row("c"));
    // In one chunk, and in two; where the stream has named neither of them, and where it has named one,
    // whole, in part, or as a row that is gone.
    let named: [(&str, Vec<_>); 4] = [
        ("c", vec![]),
        ("ab, whole", vec![Operation::Insert]),
        ("ab, in part", vec![Operation::Update]),
        ("ab, gone", vec![Operation::Insert, Operation::Delete]),
    ];
    let chunks = [
        (vec![plain(), hyphen()], vec![]),
        (vec![plain()], vec![hyphen(), other()]),
        (vec![other()], vec![hyphen(), plain()]),
    ];
    for ((first, second), (what, operations)) in
        chunks.iter().flat_map(|chunks| named.iter().map(move |named| (chunks, named)))
    {
        let (first, second) = (first.clone(), second.clone());
        let mut bed = Bed::new().await;
        let t = bed.source.defined(&docs(1)).await;
        let total = first.len() + second.len();
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
        bed.source.chunk_begin((LOAD, t, 0), PLAIN).await;
        let unrecorded = || vec![text("ab"), Value::Unavailable];
        let mut changes = vec![update(t, row("d"), row("D"))];
        changes.extend(operations.iter().map(|operation| match operation {
            Operation::Insert => insert(t, plain()),
            Operation::Update => {
                let key = Before::Key(vec![text("ab")]);
                change(t, Operation::Update, key, unrecorded())
            }
            _ => delete(t, plain()),
        }));
        bed.source.commit(&changes).await;
        let offsets = bed.source.chunk_rows((LOAD, t, 0), 0, &first, 2).await;
        bed.source.chunk_end((LOAD, t, 0), 0, offsets, first.len()).await;
        bed.source.chunk((LOAD, t, 1), PLAIN, &second).await;
        bed.source.table_read(LOAD, t, 2, total as u64).await;
        bed.source.end_load(LOAD).await;
        let mut settings = bed.settings();
        settings.config.key_collation = KeyCollation::Icu;
        if operations.contains(&Operation::Delete) {
            // Then one of the two is gone, and the other has its place.
            bed.source.progress().await;
            bed.catch_up_with(settings).await;
            let rows = "SELECT name FROM docs WHERE name LIKE 'a%' COLLATE \"C\"";
            assert_eq!(bed.query(rows).await, ["a\u{ad}b"], "{what}");
            continue;
        }
        for _ in 0..2 {
            let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
            assert_eq!(failure.code.as_str(), "apply.load.unplaced", "{what}: {failure}");
        }
        assert_eq!(bed.query("SELECT state FROM lockstep.load").await, ["loading"], "{what}");
    }
}

/// Beside a load the stream does not write one row over another either, nor takes it away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_beside_a_load_that_a_collation_would_merge_halts() {
    let row = |name: &str| vec![text(name), text("x")];
    let hyphen = "a\u{ad}b";
    for (many, partial) in [(false, false), (true, false), (false, true)] {
        let mut bed = Bed::new().await;
        let t = bed.source.defined(&docs(1)).await;
        bed.source.progress().await;
        bed.source.begin_load(LOAD, &[(t, Handoff::Bracketed)]).await;
        bed.source.chunk((LOAD, t, 0), PLAIN, &[row("ab")]).await;
        let first = match many {
            true => bed.source.commit(&[insert(t, row("c")), insert(t, row("d"))]).await,
            false => bed.source.progress().await,
        };
        let mut settings = bed.settings();
        settings.config.key_collation = KeyCollation::Icu;
        let mut apply = bed.start_with(settings.clone(), FailPoints::default());
        apply.reaches(first).await;
        bed.database.shows("SELECT name FROM docs WHERE name = 'ab' COLLATE \"C\"", &["ab"]).await;
        // What meets no row, because the one that the target holds equal is another.
        let unrecorded = vec![text(hyphen), Value::Unavailable];
        let before = Before::Key(vec![text(hyphen)]);
        let second = match partial {
            true => bed.source.commit(&[change(t, Operation::Update, before, unrecorded)]).await,
            false => bed.source.commit(&[delete(t, row(hyphen))]).await,
        };
        apply.reaches(second).await;
        assert!(bed.query("SELECT name FROM docs").await.contains(&"ab".to_owned()));
        let more = many.then(|| insert(t, row("e")));
        let changes: Vec<_> = more.into_iter().chain([insert(t, row(hyphen))]).collect();
        bed.source.commit(&changes).await;
        let failure = apply.halts().await;
        assert_eq!(failure.code.as_str(), "apply.conflict", "{failure}");
        assert!(bed.query("SELECT name FROM docs").await.contains(&"ab".to_owned()));
    }
}

// --- Rows that the target keeps out ---------------------------------------------------------------

/// On every way that a chunk's rows take, and again after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_of_which_the_target_keeps_a_row_out_is_not_done() {
    let rows: Vec<_> = (1..=3).map(|id| vec![int(id), text("a"), int(id)]).collect();
    for (prepare, touched, handoff) in [
        (Prepare::Create, None, Handoff::Bracketed),
        (Prepare::Create, Some(2), Handoff::Bracketed),
        (Prepare::Create, None, Handoff::Exact),
        (Prepare::Keep, None, Handoff::Bracketed),
        (Prepare::Keep, None, Handoff::Exact),
    ] {
        let mut bed = Bed::new().await;
        bed.query(
            "CREATE TABLE accounts (id int PRIMARY KEY, owner text, balance int); \
             CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END'; \
             CREATE TRIGGER drops BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION drops(); \
             ALTER TABLE accounts ENABLE ALWAYS TRIGGER drops",
        )
        .await;
        let t = bed.source.defined(&accounts()).await;
        bed.source.progress().await;
        let from = (handoff == Handoff::Exact).then(|| at(bed.source.at));
        bed.source.begin_load(LOAD, &[(t, handoff)]).await;
        let attributes = || ChunkAttributes { from, restart: false };
        bed.source.chunk_begin((LOAD, t, 0), attributes()).await;
        if let Some(id) = touched {
            let partial = vec![int(id), Value::Unavailable, int(id)];
            let before = Before::Key(vec![int(id)]);
            bed.source.commit(&[change(t, Operation::Update, before, partial)]).await;
        }
        let offsets = bed.source.chunk_rows((LOAD, t, 0), 0, &rows, 2).await;
        bed.source.chunk_end((LOAD, t, 0), 0, offsets, 3).await;
        bed.source.table_read(LOAD, t, 1, 3).await;
        bed.source.end_load(LOAD).await;
        bed.source.progress().await;
        let mut settings = bed.settings();
        settings.config.prepare = prepare;
        settings.config.triggers = lockstep_common::config::TriggerPolicy::Allow;
        for _ in 0..2 {
            let failure = bed.start_with(settings.clone(), FailPoints::default()).halts().await;
            let case = format!("{prepare:?} {touched:?} {handoff:?}: {failure}");
            assert_eq!(failure.code.as_str(), "apply.load.unplaced", "{case}");
            assert_eq!(bed.query("SELECT id FROM accounts").await, Vec::<String>::new(), "{case}");
        }
        bed.query("DROP TRIGGER drops ON accounts").await;
        bed.catch_up_with(settings).await;
        assert_eq!(bed.query("SELECT count(*) FROM accounts").await, ["3"]);
    }
}
