use lockstep_common::config::Config;

use lockstep_common::model::definition::Definition;

use super::super::catalog::Naming;
use super::super::extension::Extensions;
use super::*;

fn types(more: &str) -> Types {
    let file = format!(
        "[pipeline]\nname = \"p\"\n[log]\nkind = \"embedded\"\npath = \"l\"\n[apply.main]\n\
         host = \"h\"\ndatabase = \"d\"\nuser = \"u\"\nspool = \"s\"\n{more}"
    );
    let config: Config = config::parse(&file, "test", []).expect("a configuration");
    Types::new(&config.apply["main"])
}

fn column(name: &str, source_type: &str, ty: LogicalType) -> Column {
    Column {
        id: None,
        name: name.into(),
        ty,
        source_type: source_type.into(),
        nullable: true,
        collation: None,
        identity: false,
        computed: false,
    }
}

fn orders() -> TableVersion {
    TableVersion {
        dialect: "sqlserver".into(),
        object_id: 1,
        origin: None,
        name: TableName { schema: "dbo".into(), table: "orders".into() },
        columns: vec![
            column("id", "int", LogicalType::Int { bytes: 4 }),
            column("total", "decimal(10,2)", LogicalType::Decimal { precision: 10, scale: 2 }),
            column("at", "datetimeoffset(7)", LogicalType::TimestampTz { digits: 7 }),
            column("note", "nvarchar(40)", LogicalType::String { max: Some(40), fixed: false }),
        ],
        key: vec![0],
    }
}

#[test]
fn a_column_beats_a_type_and_a_type_with_limits_one_without() {
    let types = types(
        "[apply.main.types]\n\"decimal\" = \"numeric\"\n\"decimal(10,2)\" = \"numeric(12,2)\"\n\
         nvarchar = \"text\"\n[apply.main.columns]\n\"dbo.orders.note\" = \"citext\"\n",
    );
    assert_eq!(types.at_start(), Vec::<String>::new());
    let table = orders();
    let wanted = |i: usize| types.wanted(&table.name, &table.columns[i]);
    assert_eq!(wanted(0), Ok(PgType::Int4));
    assert_eq!(wanted(1), Ok(PgType::Numeric(Some((12, 2)))));
    assert_eq!(wanted(3), Ok(PgType::Citext));
    let other = column("d", "decimal(12,0)", LogicalType::Decimal { precision: 12, scale: 0 });
    assert_eq!(types.wanted(&table.name, &other), Ok(PgType::Numeric(None)));
}

#[test]
fn all_that_is_wrong_is_found_at_once() {
    let types = types(
        "key_collation = \"icu\"\n[apply.main.types]\nmoney = \"numeric(10,2)\"\nfoo = \"text\"\n\
         bit = \"bol\"\nnvarchar = \"citext\"\ndecimal = \"bigint\"\n[apply.main.columns]\n\
         \"dbo.orders.nope\" = \"text\"\n\"dbo.absent.c\" = \"text\"\n\"c\" = \"text\"\n",
    )
    .with(Extensions::default());
    let start = types.at_start().join("\n");
    for what in ["money", "foo", "bol", "CREATE EXTENSION citext", "c is no schema", "ICU"] {
        assert!(start.contains(what), "{what}: {start}");
    }
    assert!(!start.contains("decimal"), "a decimal's limits are not known yet: {start}");
    let tables = types.of_tables([&orders()], true).join("\n");
    for what in ["dbo.orders.nope", "dbo.absent.c", "\"total\"", "citext"] {
        assert!(tables.contains(what), "{what}: {tables}");
    }
    assert!(!types.of_tables([&orders()], false).join("\n").contains("dbo.absent.c"));
}

fn naming(more: &str) -> Naming {
    Naming {
        schemas: BTreeMap::new(),
        rule: config::NameRule::Keep,
        types: std::sync::Arc::new(types(more)),
    }
}

fn names(companions: &[Companion]) -> Vec<&str> {
    companions.iter().map(|companion| companion.name.as_str()).collect()
}

#[test]
fn offsets_get_columns_behind_the_others() {
    let table = orders();
    assert_eq!(naming("").companions(&table, None), []);
    let companions = naming("offset_columns = \"_offset\"\n").companions(&table, None);
    let expanded = expand(&table, &companions);
    assert_eq!(expanded.columns.len(), 5);
    assert_eq!((expanded.columns[4].name.as_str(), companions[0].of), ("at_offset", 2));
    assert_eq!(expanded.key, [0]);
}

/// The rule of docs/types.md: by which columns rows are told apart, and whether their type loses a digit.
#[test]
fn times_that_tell_rows_apart_keep_their_last_digit_beside_them() {
    let time = |name: &str, ty| column(name, "", ty);
    let mut table = orders();
    table.columns = vec![
        time("t7", LogicalType::Time { digits: 7 }),
        time("t6", LogicalType::Time { digits: 6 }),
        time("d7", LogicalType::Timestamp { digits: 7 }),
        time("z7", LogicalType::TimestampTz { digits: 7 }),
        time("d3", LogicalType::Timestamp { digits: 3 }),
        Column { computed: true, ..time("c7", LogicalType::Time { digits: 7 }) },
        time("n", LogicalType::Int { bytes: 4 }),
    ];
    table.key = vec![2, 6, 0];
    let naming = naming("");
    assert_eq!(names(&naming.companions(&table, None)), ["t7_100ns", "d7_100ns"]);
    let expanded = expand(&table, &naming.companions(&table, None)).into_owned();
    assert_eq!(expanded.key, [2, 8, 6, 0, 7]);
    // Without a key, all.
    table.key = Vec::new();
    let all = ["t7_100ns", "d7_100ns", "z7_100ns"];
    assert_eq!(names(&naming.companions(&table, None)), all);
    // Nothing is lost in a text.
    let text = self::naming("[apply.main.types]\n\"datetime2\" = \"text\"\n");
    table.columns[2].source_type = "datetime2(7)".into();
    assert_eq!(names(&text.companions(&table, None)), ["t7_100ns", "z7_100ns"]);
    // The narrowest type that a configuration may ask for loses as much as the usual one.
    let narrow = self::naming("[apply.main.types]\n\"datetime2\" = \"timestamp(6)\"\n");
    assert_eq!(names(&narrow.companions(&table, None)), all);
}

#[test]
fn a_companion_gives_way_to_a_column_of_its_name() {
    let mut table = orders();
    let time = LogicalType::Timestamp { digits: 7 };
    table.columns = vec![
        column("at", "datetime2(7)", time.clone()),
        column("at_100ns", "int", LogicalType::Int { bytes: 4 }),
        column("AT", "datetime2(7)", time),
        column("AT_100NS_", "int", LogicalType::Int { bytes: 4 }),
    ];
    table.key = vec![0, 2];
    assert_eq!(names(&naming("").companions(&table, None)), ["at_100ns_", "AT_100ns"]);
    let lower = Naming { rule: config::NameRule::Lower, ..naming("") };
    assert_eq!(names(&lower.companions(&table, None)), ["at_100ns__", "AT_100ns___"]);
    // Nor is it cut to the name of another.
    let long = "x".repeat(63);
    table.columns[0].name = long.clone() + "y";
    table.columns[2].name = long + "z";
    let companions = naming("").companions(&table, None);
    assert_ne!(naming("").carry(&companions[0].name), naming("").carry(&companions[1].name));
}

#[test]
fn unique_indexes_and_foreign_keys_tell_rows_apart_too() {
    use lockstep_common::model::definition::{
        ForeignKey, Index, IndexColumn, IndexKind, Referential,
    };
    let mut table = orders();
    for name in ["unique", "off", "plain", "pointing"] {
        table.columns.push(column(name, "datetime2(7)", LogicalType::Timestamp { digits: 7 }));
    }
    let index = |column: &str, unique, disabled| Index {
        name: column.into(),
        kind: IndexKind::Plain,
        unique,
        columns: vec![IndexColumn { column: column.into(), descending: true }],
        included: Vec::new(),
        filter: None,
        disabled,
    };
    let definition = Definition {
        table: table.id(),
        name: table.name.clone(),
        columns: Vec::new(),
        indexes: vec![
            index("unique", true, false),
            index("off", true, true),
            index("plain", false, false),
        ],
        foreign_keys: vec![ForeignKey {
            name: "f".into(),
            columns: vec!["pointing".into()],
            referenced: table.name.clone(),
            referenced_columns: vec!["unique".into()],
            on_delete: Referential::NoAction,
            on_update: Referential::NoAction,
            disabled: false,
            unchecked: false,
        }],
        checks: Vec::new(),
        others: Vec::new(),
    };
    let companions = naming("").companions(&table, Some(&definition));
    assert_eq!(names(&companions), ["unique_100ns", "pointing_100ns"]);
    assert_eq!(expand(&table, &companions).key, [0]);
}

#[test]
fn geometries_are_bytes_where_postgis_is_not() {
    let shape = column("g", "geometry", LogicalType::Geometry);
    assert_eq!(types("").own(&shape), PgType::Geometry);
    assert_eq!(types("").with(Extensions::default()).own(&shape), PgType::Bytea);
}
