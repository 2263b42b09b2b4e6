use lockstep_common::config::Config;

use super::super::super::extension::Extensions;
use super::*;

pub(in super::super) fn types(more: &str) -> Types {
    let file = format!(
        "[pipeline]\nname = \"p\"\n[log]\nkind = \"embedded\"\npath = \"l\"\n[apply.main]\n\
         host = \"h\"\ndatabase = \"d\"\nuser = \"u\"\nspool = \"s\"\n{more}"
    );
    let config: Config = config::parse(&file, "test", []).expect("a configuration");
    Types::new(&config.apply["main"])
}

pub(in super::super) fn column(name: &str, source_type: &str, ty: LogicalType) -> Column {
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

pub(in super::super) fn orders() -> TableVersion {
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

#[test]
fn geometries_are_bytes_where_postgis_is_not() {
    let shape = column("g", "geometry", LogicalType::Geometry);
    assert_eq!(types("").own(&shape), PgType::Geometry);
    assert_eq!(types("").with(Extensions::default()).own(&shape), PgType::Bytea);
}
