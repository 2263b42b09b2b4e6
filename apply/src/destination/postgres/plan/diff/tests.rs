use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_common::config;
use lockstep_common::model::definition::{
    Check, ColumnDefinition, ForeignKey, Identity as Sequence, Index, IndexColumn, IndexKind,
    Referential,
};
use lockstep_common::{Column, LogicalType, Origin};

use super::super::rules::tests::{column as plain, types};
use super::super::{Naming, TablePlan};
use super::*;

/// A table's state: `(id, name, source type, logical type)`, the first column its key.
#[derive(Clone)]
struct State {
    version: TableVersion,
    definition: Definition,
}

const INT: LogicalType = LogicalType::Int { bytes: 4 };
const BIGINT: LogicalType = LogicalType::Int { bytes: 8 };
const DATETIME: LogicalType = LogicalType::Timestamp { digits: 3 };
const DATETIME2: LogicalType = LogicalType::Timestamp { digits: 7 };

fn text(max: u32) -> LogicalType {
    LogicalType::String { max: Some(max), fixed: false }
}

fn decimal(precision: u8, scale: u8) -> LogicalType {
    LogicalType::Decimal { precision, scale }
}

fn column(id: i32, name: &str, source_type: &str, ty: LogicalType) -> Column {
    Column { id: Some(id), ..plain(name, source_type, ty) }
}

fn naming(more: &str) -> Naming {
    Naming {
        schemas: BTreeMap::from([("dbo".to_owned(), "public".to_owned())]),
        rule: config::NameRule::Keep,
        types: Arc::new(types(more)),
    }
}

/// `t(id int not null primary key, a int, b nvarchar(10), at datetime)`
fn start() -> State {
    let version = TableVersion {
        dialect: "sqlserver".into(),
        object_id: 1,
        origin: Some(Origin { timeline: 1, created: 5 }),
        name: TableName { schema: "dbo".into(), table: "t".into() },
        columns: vec![
            Column { nullable: false, ..column(1, "id", "int", INT) },
            column(2, "a", "int", INT),
            column(3, "b", "nvarchar(10)", text(10)),
            column(4, "at", "datetime", DATETIME),
        ],
        key: vec![0],
    };
    let definition = Definition {
        table: version.id(),
        name: version.name.clone(),
        columns: ["id", "a", "b", "at"].map(|name| defined(name, None)).into(),
        indexes: vec![index("ix", "a", false)],
        foreign_keys: vec![foreign_key("fk", "a")],
        checks: vec![check("ck", "([a]>(0))")],
        others: Vec::new(),
    };
    State { version, definition }
}

fn defined(column: &str, default: Option<&str>) -> ColumnDefinition {
    ColumnDefinition {
        column: column.into(),
        default: default.map(str::to_owned),
        ..Default::default()
    }
}

fn index(name: &str, column: &str, unique: bool) -> Index {
    Index {
        name: name.into(),
        kind: IndexKind::Plain,
        unique,
        columns: vec![IndexColumn { column: column.into(), descending: false }],
        included: Vec::new(),
        filter: None,
        disabled: false,
    }
}

fn foreign_key(name: &str, column: &str) -> ForeignKey {
    ForeignKey {
        name: name.into(),
        columns: vec![column.into()],
        referenced: TableName { schema: "dbo".into(), table: "other".into() },
        referenced_columns: vec!["id".into()],
        on_delete: Referential::NoAction,
        on_update: Referential::NoAction,
        disabled: false,
        unchecked: false,
    }
}

fn check(name: &str, condition: &str) -> Check {
    Check { name: name.into(), condition: condition.into(), disabled: false, unchecked: false }
}

/// What becomes of `start` when `change` is made to it.
fn changed(change: impl FnOnce(&mut State)) -> Vec<Action> {
    changed_with("", Policies::default(), &[], change)
}

fn changed_with(
    rules: &str,
    policies: Policies,
    kept: &[String],
    change: impl FnOnce(&mut State),
) -> Vec<Action> {
    let before = start();
    let mut after = before.clone();
    change(&mut after);
    between(&naming(rules), policies, kept, &before, Some(&after))
}

fn between(
    naming: &Naming,
    policies: Policies,
    kept: &[String],
    before: &State,
    after: Option<&State>,
) -> Vec<Action> {
    let plan = |state: &State| TablePlan::new(naming, &state.version, Some(&state.definition));
    let (old, new) = (plan(before), after.map(plan));
    fn side<'a>(state: &'a State, plan: &'a TablePlan) -> Side<'a> {
        Side { version: &state.version, definition: Some(&state.definition), plan }
    }
    let new = after.zip(new.as_ref()).map(|(state, plan)| side(state, plan));
    diff(side(before, &old), new, kept, policies)
}

fn add(name: &str, ty: PgType) -> Action {
    Action::AddColumn { name: name.into(), ty, collation: None }
}

fn alter(name: &str, from: PgType, to: PgType, rewrite: bool) -> Action {
    Action::AlterType { name: name.into(), from, to, rewrite }
}

fn backfill(names: &[&str]) -> Action {
    Action::Backfill(names.iter().map(|name| (*name).to_owned()).collect())
}

fn wait(name: &str, reason: Waits) -> Action {
    Action::Wait { name: name.into(), reason }
}

fn dropped(name: &str, keep: bool) -> Action {
    Action::DropColumn { name: name.into(), keep }
}

fn aside(name: &str) -> Action {
    Action::MoveAside { name: name.into() }
}

fn objects_changed(objects: &[Object]) -> Action {
    Action::DefinitionChanged(objects.iter().cloned().collect())
}

#[test]
fn nothing_comes_of_nothing_and_of_what_the_target_does_not_have() {
    assert_eq!(changed(|_| ()), []);
    // The order of columns is the version's own.
    let reordered = changed(|state| {
        state.version.columns.swap(1, 3);
        state.definition.columns.reverse();
    });
    assert_eq!(reordered, []);
    // A type under another name.
    assert_eq!(changed(|state| state.version.columns[1].source_type = "INT".into()), []);
}

#[test]
fn an_added_column_comes_empty_and_is_filled() {
    let new = |nullable| Column { nullable, ..column(5, "c", "bigint", BIGINT) };
    let added = changed(|state| state.version.columns.push(new(true)));
    assert_eq!(added, [add("c", PgType::Int8), backfill(&["c"])]);
    // NOT NULL, as identities and rowversions are, only when every row has a value.
    let added = changed(|state| state.version.columns.push(new(false)));
    let last = Action::SetNotNullAfterBackfill { name: "c".into() };
    assert_eq!(added, [add("c", PgType::Int8), backfill(&["c"]), last]);
    // One that existed all along and is captured now, in the middle.
    let wider = changed(|state| state.version.columns.insert(1, new(true)));
    assert_eq!(wider, [add("c", PgType::Int8), backfill(&["c"])]);
    let ignore = Policies { added: Added::Ignore, ..Policies::default() };
    assert_eq!(changed_with("", ignore, &[], |s| s.version.columns.push(new(true))), []);
    // Nothing can be given to one whose rule has no type for it, and a computed one has no rows' values.
    let rule = "[apply.main.columns]\n\"dbo.t.c\" = \"uuid\"\n";
    let added = changed_with(rule, Policies::default(), &[], |s| s.version.columns.push(new(true)));
    assert_eq!(added, [wait("c", Waits::Mistyped)]);
    let computed = Column { computed: true, ..new(true) };
    let added = changed(|state| state.version.columns.push(computed));
    assert_eq!(added, [wait("c", Waits::Computed)]);
}

#[test]
fn an_added_time_brings_its_derived_columns() {
    let zoned = LogicalType::TimestampTz { digits: 0 };
    let added = changed_with("offset_columns = \"_offset\"\n", Policies::default(), &[], |state| {
        state.version.columns.push(column(5, "z", "datetimeoffset(0)", zoned));
    });
    let columns = [add("z", PgType::TimestampTz(0)), add("z_offset", PgType::Int2)];
    assert_eq!(added[..2], columns);
    assert_eq!(added[2..], [backfill(&["z", "z_offset"])]);
}

#[test]
fn a_dropped_column_stays_unless_it_is_to_go() {
    let drop_b = |state: &mut State| {
        state.version.columns.remove(2);
        state.definition.columns.remove(2);
    };
    assert_eq!(changed(drop_b), [dropped("b", true)]);
    let policies = Policies { dropped: Dropped::Drop, ..Policies::default() };
    assert_eq!(changed_with("", policies, &[], drop_b), [dropped("b", false)]);
}

#[test]
fn a_name_that_comes_back_is_free_first() {
    let again = |state: &mut State| {
        state.version.columns[2] = column(5, "b", "int", INT);
    };
    let made = [add("b", PgType::Int4), backfill(&["b"])];
    let actions = changed(again);
    assert_eq!(actions[..2], [dropped("b", true), aside("b")]);
    assert_eq!(actions[2..], made);
    let policies = Policies { dropped: Dropped::Drop, ..Policies::default() };
    let actions = changed_with("", policies, &[], again);
    assert_eq!(actions[..1], [dropped("b", false)]);
    assert_eq!(actions[1..], made);
    // Kept since an earlier version.
    let kept = ["gone".to_owned(), "c".to_owned()];
    let actions = changed_with("", Policies::default(), &kept, |state| {
        state.version.columns.push(column(5, "c", "int", INT));
    });
    assert_eq!(actions, [aside("c"), add("c", PgType::Int4), backfill(&["c"])]);
}

#[test]
fn the_same_name_and_type_with_another_id_is_another_column() {
    let actions = changed(|state| state.version.columns[1].id = Some(9));
    // What named the old one names another one now, the text of a check among it.
    let objects =
        [Object::Index("ix".into()), Object::ForeignKey("fk".into()), Object::Check("ck".into())];
    let first = [dropped("a", true), aside("a"), add("a", PgType::Int4)];
    assert_eq!(actions[..3], first);
    assert_eq!(actions[3..], [objects_changed(&objects), backfill(&["a"])]);
    // What a log did not record cannot tell them apart.
    let mut old = start();
    old.version.columns.iter_mut().for_each(|column| column.id = None);
    old.version.origin = None;
    let mut new = start();
    new.version.columns[1].id = Some(9);
    assert_eq!(between(&naming(""), Policies::default(), &[], &old, Some(&new)), []);
}

#[test]
fn a_renamed_column_is_renamed_with_what_it_has() {
    let rename = |state: &mut State| {
        state.version.columns[1].name = "c".into();
        state.definition.columns[1].column = "c".into();
        state.definition.indexes[0].columns[0].column = "c".into();
        state.definition.foreign_keys[0].columns[0] = "c".into();
    };
    let renamed = Action::RenameColumn { from: "a".into(), to: "c".into() };
    assert_eq!(changed(rename), std::slice::from_ref(&renamed));
    // And a new one takes its name.
    let actions = changed(|state| {
        rename(state);
        state.version.columns.push(column(5, "a", "int", INT));
    });
    assert_eq!(actions, [renamed, add("a", PgType::Int4), backfill(&["a"])]);
    // Two that swap their names, and one that takes a name which becomes free.
    let named = |from: &str, to: &str| Action::RenameColumn { from: from.into(), to: to.into() };
    let swapped = |names: [&str; 3]| {
        changed(|state| {
            for (at, name) in (1..).zip(names) {
                state.version.columns[at].name = name.into();
                state.definition.columns[at].column = name.into();
            }
            state.definition.indexes[0].columns[0].column = names[0].into();
            state.definition.foreign_keys[0].columns[0] = names[0].into();
        })
    };
    assert_eq!(
        swapped(["b", "a", "at"]),
        [named("a", "lockstep_renamed_2"), named("b", "a"), named("lockstep_renamed_2", "b")]
    );
    assert_eq!(swapped(["b", "c", "at"]), [named("b", "c"), named("a", "b")]);
    // Its derived column goes with it.
    let time = |name: &str| column(4, name, "datetime2(7)", DATETIME2);
    let mut old = start();
    old.version.columns[3] = time("at");
    old.definition.indexes.push(index("ux", "at", true));
    let mut new = old.clone();
    new.version.columns[3] = time("when");
    new.definition.columns[3].column = "when".into();
    new.definition.indexes[1].columns[0].column = "when".into();
    assert_eq!(
        between(&naming(""), Policies::default(), &[], &old, Some(&new)),
        [named("at", "when"), named("at_100ns", "when_100ns")]
    );
}

/// `(column, its new source type and type, rewritten, read again)`
#[test]
fn a_type_that_changes_is_followed_and_read_again_unless_both_sides_convert_alike() {
    let cases = [
        (1, "bigint", BIGINT, PgType::Int4, PgType::Int8, true, false),
        (1, "smallint", LogicalType::Int { bytes: 2 }, PgType::Int4, PgType::Int2, true, true),
        (
            1,
            "decimal(12,2)",
            decimal(12, 2),
            PgType::Int4,
            PgType::Numeric(Some((12, 2))),
            true,
            true,
        ),
        (
            2,
            "nvarchar(20)",
            text(20),
            PgType::Varchar(Some(10)),
            PgType::Varchar(Some(20)),
            false,
            false,
        ),
        (
            2,
            "nvarchar(5)",
            text(5),
            PgType::Varchar(Some(10)),
            PgType::Varchar(Some(5)),
            true,
            true,
        ),
        (
            2,
            "nvarchar(max)",
            LogicalType::String { max: None, fixed: false },
            PgType::Varchar(Some(10)),
            PgType::Text,
            false,
            false,
        ),
        (
            2,
            "nchar(10)",
            LogicalType::String { max: Some(10), fixed: true },
            PgType::Varchar(Some(10)),
            PgType::Char(10),
            true,
            true,
        ),
        // 00.003 s becomes 00.0033333 s there.
        (3, "datetime2(7)", DATETIME2, PgType::Timestamp(3), PgType::Timestamp(6), false, true),
        (3, "date", LogicalType::Date, PgType::Timestamp(3), PgType::Date, true, true),
    ];
    for (at, source_type, ty, from, to, rewrite, read) in cases {
        let retype = |state: &mut State| {
            state.version.columns[at].source_type = source_type.into();
            state.version.columns[at].ty = ty.clone();
        };
        let name = start().version.columns[at].name.clone();
        let mut expected = vec![alter(&name, from, to, rewrite)];
        expected.extend(read.then(|| backfill(&[&name])));
        assert_eq!(changed(retype), expected, "{source_type}");
        let policies = Policies { retyped: Retyped::Wait, ..Policies::default() };
        let expected = match rewrite {
            true => vec![wait(&name, Waits::Rewrite { from, to })],
            false => expected,
        };
        assert_eq!(changed_with("", policies, &[], retype), expected, "{source_type}, wait");
    }
}

#[test]
fn a_type_that_is_the_same_in_the_target_may_still_be_read_again() {
    // Both are timestamp(6) with the rule, and the source's conversion adds digits.
    let rule = "[apply.main.types]\ndatetime = \"timestamp(6)\"\n";
    let actions = changed_with(rule, Policies::default(), &[], |state| {
        state.version.columns[3] = column(4, "at", "datetime2(7)", DATETIME2);
    });
    assert_eq!(actions, [backfill(&["at"])]);
}

/// `(source type and type before, and now, read again)`, where the target's type stays or widens.
#[test]
fn values_that_the_source_converts_are_read_again_though_the_target_keeps_its_type() {
    let bytes = |max| LogicalType::Bytes { max: Some(max) };
    let cases = [
        (("varchar(10)", text(10)), ("nvarchar(10)", text(10)), false),
        // What the code page lacks became a question mark.
        (("nvarchar(10)", text(10)), ("varchar(10)", text(10)), true),
        (("varbinary(4)", bytes(4)), ("varbinary(8)", bytes(8)), false),
        (("varbinary(8)", bytes(8)), ("varbinary(4)", bytes(4)), true),
        // Zeros are added.
        (("binary(4)", bytes(4)), ("binary(8)", bytes(8)), true),
        (("varbinary(8)", bytes(8)), ("binary(8)", bytes(8)), true),
        (("decimal(10,2)", decimal(10, 2)), ("decimal(12,2)", decimal(12, 2)), false),
        (("decimal(10,4)", decimal(10, 4)), ("decimal(10,2)", decimal(10, 2)), true),
        (("datetime", DATETIME), ("datetime2(3)", DATETIME), true),
        (("tinyint", LogicalType::Int { bytes: 1 }), ("int", INT), false),
    ];
    for ((was, before), (is, now), read) in cases {
        let (mut old, mut new) = (start(), start());
        old.version.columns[2] = column(3, "b", was, before);
        new.version.columns[2] = column(3, "b", is, now);
        let actions = between(&naming(""), Policies::default(), &[], &old, Some(&new));
        assert_eq!(actions.contains(&backfill(&["b"])), read, "{was} to {is}: {actions:?}");
    }
    // Another collation is another code page, but for Unicode.
    for (source_type, read) in [("varchar(10)", true), ("nvarchar(10)", false)] {
        let (mut old, mut new) = (start(), start());
        for (state, collation) in [(&mut old, "Latin1_General_CI_AS"), (&mut new, "Greek_CI_AS")] {
            state.version.columns[2].source_type = source_type.into();
            state.version.columns[2].collation = Some(collation.into());
        }
        let actions = between(&naming(""), Policies::default(), &[], &old, Some(&new));
        assert_eq!(actions.contains(&backfill(&["b"])), read, "{source_type}: {actions:?}");
    }
}

#[test]
fn what_the_target_cannot_follow_is_waited_for() {
    let retype = |at: usize, source_type: &str, ty: LogicalType| {
        changed(|state| {
            state.version.columns[at].source_type = source_type.into();
            state.version.columns[at].ty = ty;
        })
    };
    let (from, to) = (PgType::Int4, PgType::Bytea);
    let bytes = LogicalType::Bytes { max: Some(8) };
    assert_eq!(retype(1, "varbinary(8)", bytes), [wait("a", Waits::Type { from, to })]);
    let (from, to) = (PgType::Varchar(Some(10)), PgType::Geometry);
    let shape = LogicalType::Geometry;
    assert_eq!(retype(2, "geometry", shape), [wait("b", Waits::Type { from, to })]);
    // Rows are told apart by a collation where an index or the key has it.
    let collated = |state: &mut State, collation: &str| {
        state.version.columns[2].collation = Some(collation.to_owned());
    };
    let mut old = start();
    collated(&mut old, "Latin1_General_CI_AS");
    let mut new = old.clone();
    collated(&mut new, "Latin1_General_BIN2");
    let compare =
        |old: &State, new: &State| between(&naming(""), Policies::default(), &[], old, Some(new));
    assert_eq!(compare(&old, &new), []);
    for state in [&mut old, &mut new] {
        state.definition.indexes.push(index("ux", "b", true));
    }
    assert_eq!(compare(&old, &new), [wait("b", Waits::Collation)]);
    // Computed from something else, and computed no longer.
    let mut old = start();
    old.version.columns[3].computed = true;
    old.definition.columns[3].computed = Some("([a]+(1))".into());
    let mut new = old.clone();
    new.definition.columns[3].computed = Some("([a]+(2))".into());
    assert_eq!(compare(&old, &new), [wait("at", Waits::Computed)]);
    assert_eq!(compare(&old, &start()), [wait("at", Waits::Computed)]);
}

#[test]
fn nullability_is_followed() {
    let set = |nullable| Action::SetNullability { name: "a".into(), nullable };
    assert_eq!(changed(|state| state.version.columns[1].nullable = false), [set(false)]);
    let mut old = start();
    old.version.columns[1].nullable = false;
    let actions = between(&naming(""), Policies::default(), &[], &old, Some(&start()));
    assert_eq!(actions, [set(true)]);
    // With a type at once: the type first.
    let actions = changed(|state| {
        state.version.columns[1].nullable = false;
        state.version.columns[1].ty = BIGINT;
    });
    assert_eq!(actions, [alter("a", PgType::Int4, PgType::Int8, true), set(false)]);
}

#[test]
fn definitions_are_followed_by_the_objects_that_differ() {
    type Change = fn(&mut Definition);
    let cases: Vec<(Change, Object)> = vec![
        (|d| d.columns[1].default = Some("((1))".into()), Object::Default("a".into())),
        (
            |d| d.columns[1].identity = Some(Sequence { seed: 1, increment: 1 }),
            Object::Identity("a".into()),
        ),
        (|d| d.indexes.push(index("new", "b", true)), Object::Index("new".into())),
        (|d| drop(d.indexes.pop()), Object::Index("ix".into())),
        (|d| d.indexes[0].unique = true, Object::Index("ix".into())),
        (|d| d.indexes[0].disabled = true, Object::Index("ix".into())),
        (|d| drop(d.foreign_keys.pop()), Object::ForeignKey("fk".into())),
        (|d| d.foreign_keys[0].on_delete = Referential::Cascade, Object::ForeignKey("fk".into())),
        (|d| d.checks[0].condition = "([a]>(1))".into(), Object::Check("ck".into())),
        (|d| d.checks.push(check("new", "([b]<>'')")), Object::Check("new".into())),
    ];
    for (change, object) in cases {
        let actions = changed(|state| change(&mut state.definition));
        assert_eq!(actions, [objects_changed(&[object])]);
    }
    // With a column at once: after the column is there, before the rows are read.
    let actions = changed(|state| {
        state.version.columns.push(column(5, "c", "int", INT));
        state.definition.columns.push(defined("c", Some("((7))")));
    });
    let objects = objects_changed(&[Object::Default("c".into())]);
    assert_eq!(actions, [add("c", PgType::Int4), objects, backfill(&["c"])]);
}

#[test]
fn another_key_begins_the_table_anew() {
    let suspended = [Action::Suspend(Ended::KeyChanged)];
    type Change = fn(&mut TableVersion);
    let changes: [Change; 4] = [
        |version| version.key = Vec::new(),
        |version| version.key = vec![0, 1],
        |version| version.key = vec![1],
        // The same name, another column.
        |version| version.columns[0].id = Some(9),
    ];
    for change in changes {
        assert_eq!(changed(|state| change(&mut state.version)), suspended);
    }
    // The key's columns may be renamed and retyped.
    let actions = changed(|state| {
        state.version.columns[0].name = "key".into();
        state.version.columns[0].ty = BIGINT;
        state.definition.columns[0].column = "key".into();
    });
    let renamed = Action::RenameColumn { from: "id".into(), to: "key".into() };
    assert_eq!(actions, [renamed, alter("key", PgType::Int4, PgType::Int8, true)]);
}

#[test]
fn a_renamed_table_is_the_same_table() {
    let rename = |state: &mut State| state.version.name.table = "u".into();
    let (from, to) = (start().version.name, TableName { schema: "dbo".into(), table: "u".into() });
    let renamed = |target: Option<&str>| Action::TableRenamed {
        from: from.clone(),
        to: to.clone(),
        target: target.map(str::to_owned),
    };
    assert_eq!(changed(rename), [renamed(None)]);
    let policies = Policies { rename_table: true, ..Policies::default() };
    assert_eq!(changed_with("", policies, &[], rename), [renamed(Some("\"public\".\"u\""))]);
}

#[test]
fn a_table_that_ended_is_suspended() {
    let gone = between(&naming(""), Policies::default(), &[], &start(), None);
    assert_eq!(gone, [Action::Suspend(Ended::Gone)]);
    type Change = fn(&mut TableVersion);
    let changes: [Change; 3] = [
        |version| version.object_id = 2,
        |version| version.origin = Some(Origin { timeline: 1, created: 6 }),
        |version| version.origin = Some(Origin { timeline: 2, created: 5 }),
    ];
    for change in changes {
        let replaced = changed(|state| change(&mut state.version));
        assert_eq!(replaced, [Action::Suspend(Ended::Replaced)]);
    }
}
