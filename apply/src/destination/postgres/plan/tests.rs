use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_common::config;
use lockstep_common::model::definition::{ForeignKey, Index, IndexColumn, IndexKind, Referential};
use lockstep_common::model::record::{Before, Change, Operation};
use lockstep_common::{LogicalType, TableId, Value};

use super::rules::tests::{column, orders, types};
use super::*;

fn naming(more: &str) -> Naming {
    Naming { schemas: BTreeMap::new(), rule: config::NameRule::Keep, types: Arc::new(types(more)) }
}

fn plan(naming: &Naming, table: &TableVersion) -> TablePlan {
    TablePlan::new(naming, table, None)
}

/// Names of the derived columns, before the rule of names.
fn derived(plan: &TablePlan) -> Vec<&str> {
    plan.derived().map(|(column, ..)| column.column.name.as_str()).collect()
}

fn time(name: &str, ty: LogicalType) -> Column {
    column(name, "", ty)
}

const T7: LogicalType = LogicalType::Timestamp { digits: 7 };

fn index(column: &str, unique: bool, disabled: bool) -> Index {
    Index {
        name: column.into(),
        kind: IndexKind::Plain,
        unique,
        columns: vec![IndexColumn { column: column.into(), descending: true }],
        included: Vec::new(),
        filter: None,
        disabled,
    }
}

fn foreign_key(column: &str) -> ForeignKey {
    ForeignKey {
        name: "f".into(),
        columns: vec![column.into()],
        referenced: TableName { schema: "dbo".into(), table: "other".into() },
        referenced_columns: vec!["id".into()],
        on_delete: Referential::NoAction,
        on_update: Referential::NoAction,
        disabled: false,
        unchecked: false,
    }
}

fn definition(
    table: &TableVersion,
    indexes: Vec<Index>,
    foreign_keys: Vec<ForeignKey>,
) -> Definition {
    Definition {
        table: table.id(),
        name: table.name.clone(),
        columns: Vec::new(),
        indexes,
        foreign_keys,
        checks: Vec::new(),
        others: Vec::new(),
    }
}

#[test]
fn offsets_get_columns_behind_the_others() {
    let table = orders();
    assert_eq!(derived(&plan(&naming(""), &table)), [""; 0]);
    let plan = plan(&naming("offset_columns = \"_offset\"\n"), &table);
    assert_eq!(plan.columns.len(), 5);
    assert_eq!(plan.columns[4].from, From::Derived { of: 2, part: Part::Offset });
    assert_eq!(plan.columns[4].name, "at_offset");
    assert_eq!(plan.key, [0]);
}

/// The rule of docs/types.md: by which columns rows are told apart, and whether their type loses a digit.
#[test]
fn times_that_tell_rows_apart_keep_their_last_digit() {
    let mut table = orders();
    table.columns = vec![
        time("t7", LogicalType::Time { digits: 7 }),
        time("t6", LogicalType::Time { digits: 6 }),
        time("d7", T7),
        time("z7", LogicalType::TimestampTz { digits: 7 }),
        time("d3", LogicalType::Timestamp { digits: 3 }),
        Column { computed: true, ..time("c7", LogicalType::Time { digits: 7 }) },
        time("n", LogicalType::Int { bytes: 4 }),
    ];
    table.key = vec![2, 6, 0];
    let naming = naming("");
    let keyed = plan(&naming, &table);
    assert_eq!(derived(&keyed), ["t7_100ns", "d7_100ns"]);
    assert_eq!(keyed.key, [2, 8, 6, 0, 7]);
    assert_eq!(keyed.digit_of("d7").as_deref(), Some("\"d7_100ns\""));
    assert_eq!(keyed.digit_of("z7"), None);
    // Without a key, all.
    table.key = Vec::new();
    let all = ["t7_100ns", "d7_100ns", "z7_100ns"];
    assert_eq!(derived(&plan(&naming, &table)), all);
    // Nothing is lost in a text.
    let text = self::naming("[apply.main.types]\n\"datetime2\" = \"text\"\n");
    table.columns[2].source_type = "datetime2(7)".into();
    assert_eq!(derived(&plan(&text, &table)), ["t7_100ns", "z7_100ns"]);
    // The narrowest type that a configuration may ask for loses as much as the usual one.
    let narrow = self::naming("[apply.main.types]\n\"datetime2\" = \"timestamp(6)\"\n");
    assert_eq!(derived(&plan(&narrow, &table)), all);
}

#[test]
fn a_derived_column_gives_way_to_a_column_of_its_name() {
    let mut table = orders();
    table.columns = vec![
        column("at", "datetime2(7)", T7),
        column("at_100ns", "int", LogicalType::Int { bytes: 4 }),
        column("AT", "datetime2(7)", T7),
        column("AT_100NS_", "int", LogicalType::Int { bytes: 4 }),
    ];
    table.key = vec![0, 2];
    assert_eq!(derived(&plan(&naming(""), &table)), ["at_100ns_", "AT_100ns"]);
    let lower = Naming { rule: config::NameRule::Lower, ..naming("") };
    assert_eq!(derived(&plan(&lower, &table)), ["at_100ns__", "AT_100ns___"]);
    // Nor is it cut to the name of another.
    let long = "x".repeat(63);
    table.columns[0].name = long.clone() + "y";
    table.columns[2].name = long + "z";
    let plan = plan(&naming(""), &table);
    let names: std::collections::HashSet<_> = plan.columns.iter().map(|c| &c.name).collect();
    assert_eq!((names.len(), plan.unusable.len()), (plan.columns.len(), 0));
}

#[test]
fn unique_indexes_and_foreign_keys_tell_rows_apart_too() {
    let mut table = orders();
    for name in ["unique", "off", "plain", "pointing"] {
        table.columns.push(column(name, "datetime2(7)", T7));
    }
    let indexes =
        vec![index("unique", true, false), index("off", true, true), index("plain", false, false)];
    let definition = definition(&table, indexes, vec![foreign_key("pointing")]);
    let plan = TablePlan::new(&naming(""), &table, Some(&definition));
    assert_eq!(derived(&plan), ["unique_100ns", "pointing_100ns"]);
    assert_eq!(plan.key, [0]);
    let tells: Vec<&str> =
        plan.columns.iter().filter(|c| c.tells).map(|c| c.name.as_str()).collect();
    assert_eq!(tells, ["id", "unique", "pointing"]);
}

#[test]
fn a_table_that_is_there_has_the_derived_columns_that_it_has() {
    let mut table = orders();
    table.columns.push(column("when", "datetime2(7)", T7));
    table.key = vec![4, 0];
    let naming = naming("offset_columns = \"_offset\"\n");
    let without = TablePlan::of_existing(&naming, &table, |_| false);
    // The one that the configuration asks for it must have.
    assert_eq!(derived(&without), ["at_offset"]);
    assert_eq!(without.key, [4, 0]);
    let lacking: Vec<&str> = without.lacking.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(lacking, ["when_100ns"]);
    assert!(without.lacking[0].completes(4) && !without.lacking[0].completes(0));
    // It may have more than it would be made with.
    let with = TablePlan::of_existing(&naming, &table, |name| name.ends_with("_100ns"));
    assert_eq!(derived(&with), ["at_offset", "at_100ns", "when_100ns"]);
    assert_eq!(with.key, [4, 7, 0]);
    assert!(with.lacking.is_empty());
}

#[test]
fn collations_are_those_of_columns_that_an_index_or_a_foreign_key_has() {
    let naming = naming("key_collation = \"icu\"\n");
    let mut table = orders();
    let text = |name: &str| Column {
        collation: Some("Latin1_General_CI_AS".into()),
        ..column(name, "nvarchar(40)", LogicalType::String { max: Some(40), fixed: false })
    };
    table.columns = ["key", "unique", "pointing", "other"].map(text).into();
    let indexes = vec![index("unique", true, false), index("other", false, false)];
    let definition = definition(&table, indexes, vec![foreign_key("pointing")]);
    let collated = |table: &TableVersion| -> Vec<String> {
        let plan = TablePlan::new(&naming, table, Some(&definition));
        assert!(plan.columns.iter().all(|column| column.folds));
        let columns = plan.columns.iter().filter(|column| column.collation.is_some());
        columns.map(|column| column.name.clone()).collect()
    };
    assert_eq!(collated(&table), ["key", "unique", "pointing"]);
    table.key = Vec::new();
    assert_eq!(collated(&table), ["unique", "pointing"]);
}

/// Names of types are SQL Server's where the version says so, and nothing else's.
#[test]
fn types_of_another_dialect_are_not_taken_for_those_of_sql_server() {
    let naming =
        naming("key_collation = \"icu\"\n[apply.main.types]\nuniqueidentifier = \"text\"\n");
    let text = LogicalType::String { max: None, fixed: false };
    let mut table = orders();
    table.columns = vec![
        column("id", "uniqueidentifier", LogicalType::Uuid),
        column("document", "xml", text.clone()),
        Column {
            collation: Some("Latin1_General_CI_AS".into()),
            ..column("name", "varchar", text)
        },
        column("points", "vector(3)", LogicalType::Other),
        column("n", "int", LogicalType::Int { bytes: 4 }),
    ];
    table.key = vec![0, 2];
    let types = |table: &TableVersion| -> Vec<_> {
        let plan = plan(&naming, table);
        plan.columns.iter().map(|c| (c.type_name.clone(), c.collation.is_some())).collect()
    };
    let named =
        |types: [(&str, bool); 5]| types.map(|(name, collated)| (name.to_owned(), collated));
    let of_sql_server =
        [("text", false), ("xml", false), ("text", true), ("real[]", false), ("integer", false)];
    assert_eq!(types(&table), named(of_sql_server));
    table.dialect = "postgres".into();
    let of_another =
        [("uuid", false), ("text", false), ("text", false), ("text", false), ("integer", false)];
    assert_eq!(types(&table), named(of_another));
}

#[test]
fn everything_that_is_wrong_is_in_the_plan() {
    let mut naming = naming(
        "[apply.main.types]\nint = \"uuid\"\n[apply.main.columns]\n\"dbo.orders.nope\" = \"text\"\n",
    );
    naming.schemas.insert("dbo".into(), "pg_mine".into());
    let mut table = orders();
    table.columns.push(column("xmin", "bit", LogicalType::Bool));
    table.columns[1].computed = true;
    table.key = vec![0, 1];
    let plan = plan(&naming, &table);
    let unusable = plan.unusable.join("\n");
    for what in ["pg_mine", "xmin"] {
        assert!(unusable.contains(what), "{what}: {unusable}");
    }
    let mistyped = plan.mistyped().join("\n");
    for what in ["nope", "\"id\" of type int cannot be uuid", "key column \"total\" is computed"] {
        assert!(mistyped.contains(what), "{what}: {mistyped}");
    }
    // More columns than a table, and more in the key than an index has, derived ones among them.
    let mut wide = orders();
    wide.columns = (0..1700).map(|n| time(&format!("t{n}"), T7)).collect();
    wide.key = (0..17).collect();
    let unusable = self::plan(&self::naming(""), &wide).unusable.join("\n");
    for what in ["1717 columns", "34 columns"] {
        assert!(unusable.contains(what), "{what}: {unusable}");
    }
}

#[test]
fn rows_and_changes_go_through_once() {
    let mut table = orders();
    table.columns.push(column("when", "datetime2(7)", T7));
    table.key = vec![4, 0];
    let projection = plan(&naming("offset_columns = \"_offset\"\n"), &table).projection();
    assert_eq!(projection.width(), 5);
    let row = |when: i64| {
        let zoned = Value::TimestampTz { ticks: 5, offset: 60 };
        vec![Value::I64(1), Value::Null, zoned, Value::Unavailable, Value::Timestamp(when)]
    };
    let change = |before, changed: Vec<u8>| Change {
        table: TableId(1),
        operation: Operation::Update,
        changed: changed.into(),
        before,
        after: row(-1),
        attributes: Default::default(),
    };
    let given = change(Before::Key(vec![Value::Timestamp(13), Value::I64(1)]), vec![0b1_0100]);
    let applied = projection.apply(&given);
    assert_eq!(applied.after[5..], [Value::I64(60), Value::I64(9)]);
    let Before::Key(key) = &applied.before else { panic!("{:?}", applied.before) };
    assert_eq!(*key, [Value::Timestamp(13), Value::I64(3), Value::I64(1)]);
    assert_eq!(*applied.changed, [0b111_0100]);
    let applied = projection.apply(&change(Before::Full(row(20)), Vec::new())).into_owned();
    let Before::Full(before) = &applied.before else { panic!("{:?}", applied.before) };
    assert_eq!(before[5..], [Value::I64(60), Value::I64(0)]);
    assert!(applied.changed.is_empty());
    // A row of another width is left for whoever refuses it.
    let mut odd = vec![Value::Null];
    projection.apply_row(&mut odd);
    assert_eq!(odd, [Value::Null]);
}
