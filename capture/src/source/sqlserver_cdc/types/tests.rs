use super::*;

fn raw(system_type: u8, max_length: i16) -> RawColumn {
    RawColumn {
        name: "c".to_owned(),
        column_id: 1,
        system_type,
        user_type: i32::from(system_type),
        max_length,
        precision: 0,
        scale: 0,
        collation: None,
        nullable: true,
        identity: false,
        computed: false,
    }
}

fn collated(system_type: u8, max_length: i16, collation: &str) -> RawColumn {
    RawColumn { collation: Some(collation.to_owned()), ..raw(system_type, max_length) }
}

fn select(column: &RawColumn) -> String {
    plan(column).expect("a followed type").expression("c.[c]")
}

#[test]
fn text_is_selected_as_its_bytes_and_never_cut() {
    let national = collated(id::NVARCHAR, 80, "Latin1_General_CI_AS");
    assert_eq!(select(&national), "CAST(c.[c] AS varbinary(80))");
    assert_eq!(source_type(&national), "nvarchar(40)");
    assert_eq!(
        select(&collated(id::VARCHAR, 8000, "SQL_Latin1_General_CP1_CI_AS")),
        "CAST(c.[c] AS varbinary(8000))"
    );
    let oem = "SQL_Latin1_General_CP437_CI_AS";
    assert_eq!(
        select(&collated(id::CHAR, 10, oem)),
        "CAST(CAST(c.[c] AS nvarchar(4000)) AS varbinary(20))"
    );
    assert_eq!(
        select(&collated(id::VARCHAR, 4001, oem)),
        "CAST(CAST(c.[c] AS nvarchar(max)) AS varbinary(max))"
    );
    assert_eq!(select(&collated(id::VARCHAR, -1, "X_UTF8")), "CAST(c.[c] AS varbinary(max))");
    assert_eq!(
        plan(&collated(id::VARCHAR, -1, "Latin1_General_100_CI_AS_SC_UTF8")).map(|p| p.reading),
        Some(Reading::Utf8)
    );
    assert_eq!(
        plan(&collated(id::VARCHAR, 5, "Greek_CI_AS")).map(|p| p.reading),
        Some(Reading::Utf16)
    );
}

#[test]
fn money_is_selected_as_an_exact_decimal() {
    assert_eq!(select(&raw(id::MONEY, 8)), "CAST(c.[c] AS decimal(19,4))");
    assert_eq!(select(&raw(id::SMALLMONEY, 4)), "CAST(c.[c] AS decimal(10,4))");
}

#[test]
fn nulls_mean_unknown_only_where_the_source_does_not_record() {
    let of = |column: &RawColumn| plan(column).map(|plan| plan.recording);
    assert_eq!(of(&raw(id::NVARCHAR, -1)), Some(Recording::WhenSet));
    assert_eq!(of(&raw(id::NVARCHAR, 80)), Some(Recording::Always));
    assert_eq!(of(&raw(id::NTEXT, 16)), Some(Recording::NewOnly));
    assert_eq!(of(&RawColumn { computed: true, ..raw(id::INT, 4) }), Some(Recording::Never));
}

#[test]
fn types_that_the_driver_does_not_read_are_selected_as_bytes() {
    let variant = plan(&raw(id::SQL_VARIANT, 8016)).expect("followed");
    assert_eq!((variant.logical, variant.reading), (LogicalType::Variant, Reading::Variant));
    let clr = |user_type| RawColumn { user_type, ..raw(id::CLR, -1) };
    for (user_type, name, reading) in [
        (id::GEOMETRY, "geometry", Reading::Geometry),
        (id::GEOGRAPHY, "geography", Reading::Geography),
    ] {
        let plan = plan(&clr(user_type)).expect("followed");
        assert_eq!((plan.logical.clone(), plan.reading), (LogicalType::Geometry, reading));
        assert_eq!((plan.recording, plan.source_type.as_str()), (Recording::WhenSet, name));
        assert_eq!(plan.expression("c.[c]"), "CAST(c.[c] AS varbinary(max))");
    }
    let hierarchy = RawColumn { user_type: id::HIERARCHYID, ..raw(id::CLR, 892) };
    assert_eq!(
        select(&hierarchy),
        "CAST(CAST(c.[c].ToString() AS nvarchar(4000)) AS varbinary(8000))"
    );
    assert_eq!(plan(&hierarchy).map(|plan| plan.recording), Some(Recording::Always));
    assert_eq!(select(&raw(id::TIMESTAMP, 8)), "c.[c]");
    let text = "CAST(CAST(c.[c] AS nvarchar(max)) AS varbinary(max))";
    let json = raw(id::JSON, -1);
    assert_eq!((select(&json).as_str(), source_type(&json).as_str()), (text, "json"));
    assert_eq!(select(&raw(id::XML, -1)), text);
    let vector = RawColumn { user_type: id::VECTOR, ..raw(id::VARBINARY, 8 + 3 * 4) };
    let plan = plan(&vector).expect("followed");
    assert_eq!((plan.logical.clone(), plan.reading), (LogicalType::Other, Reading::Other));
    assert_eq!((plan.recording, plan.source_type.as_str()), (Recording::WhenSet, "vector(3)"));
    assert_eq!(plan.expression("c.[c]"), text);
    assert_eq!(key_type(&vector), None);
}

#[test]
fn an_alias_type_is_the_type_it_stands_for() {
    let own = RawColumn { user_type: 257, ..collated(id::NVARCHAR, 80, "Latin1_General_CI_AS") };
    assert_eq!(plan(&own), plan(&RawColumn { user_type: 231, ..own.clone() }));
    assert_eq!(source_type(&own), "nvarchar(40)");
    // sysname
    assert_eq!(
        source_type(&RawColumn { user_type: 256, ..raw(id::NVARCHAR, 256) }),
        "nvarchar(128)"
    );
    let bytes = RawColumn { user_type: 258, ..raw(id::VARBINARY, 20) };
    assert_eq!(source_type(&bytes), "varbinary(20)");
}

#[test]
fn types_without_a_rule_are_refused_by_name() {
    let own = RawColumn { user_type: 300, ..raw(id::CLR, 100) };
    assert_eq!(plan(&own), None);
    assert_eq!(source_type(&own), "a user-defined CLR type");
    assert_eq!(plan(&raw(246, 8)), None);
    assert_eq!(source_type(&raw(246, 8)), "a type unknown to this version");
}

#[test]
fn old_lobs_are_made_their_max_types_first() {
    let latin = "Latin1_General_CI_AS";
    assert_eq!(
        select(&collated(id::TEXT, 16, latin)),
        "CAST(CAST(c.[c] AS varchar(max)) AS varbinary(max))"
    );
    assert_eq!(
        select(&collated(id::TEXT, 16, "Greek_CI_AS")),
        "CAST(CAST(c.[c] AS nvarchar(max)) AS varbinary(max))"
    );
    assert_eq!(
        select(&collated(id::NTEXT, 16, latin)),
        "CAST(CAST(c.[c] AS nvarchar(max)) AS varbinary(max))"
    );
    assert_eq!(select(&raw(id::IMAGE, 16)), "CAST(c.[c] AS varbinary(max))");
}
