//! What is planned.

use super::*;

#[test]
fn unique_indexes_to_come_contest_their_columns() {
    let tables = shop();
    let customers = tables[0].definition.as_deref().unwrap();
    assert_eq!(contested(&tables[0].version, customers), [false, true, false, false]);
    let orders = tables[1].definition.as_deref().unwrap();
    assert!(contested(&tables[1].version, orders).iter().all(|contested| !contested));
    let mut filtered = customers.clone();
    filtered.indexes[1].filter = Some("([id]>(1))".into());
    assert!(contested(&tables[0].version, &filtered).iter().all(|contested| *contested));
}

#[test]
fn indexes_that_postgresql_has_no_room_for_are_not_made_whole() {
    let time = column("at", "datetime2(7)", LogicalType::Timestamp { digits: 7 });
    let long =
        nullable(column("body", "nvarchar(max)", LogicalType::String { max: None, fixed: false }));
    let wide = table("wide", vec![int("id"), text("note", 500), long, time], |d| {
        let mut carrying = index("IX_carrying", false, &["id", "at"]);
        carrying.included = vec!["note".into(), "body".into()];
        d.indexes.extend([
            carrying,
            index("IX_body", false, &["body"]),
            index("UX_at", true, &["at"]),
        ]);
    });
    let planned = Planned { version: &wide.version, definition: wide.definition.as_deref() };
    let naming = super::super::Naming {
        schemas: [].into(),
        rule: lockstep_common::config::NameRule::Keep,
        types: Arc::default(),
    };
    let server = Server { version: 15, replica: true };
    let objects = plan(&naming, server, &[planned], &BTreeSet::new());
    let of = |name: &str| &objects.iter().find(|object| object.object == name).unwrap().fate;
    let Fate::Make { action, note: Some(note) } = of("IX_carrying") else { panic!() };
    let statements = action.statements(&objects[0].table, "IX_carrying");
    assert!(statements[0].ends_with("(\"id\", \"at\") INCLUDE (\"note\")"), "{statements:?}");
    assert!(note.contains("body"), "{note}");
    assert!(matches!(of("IX_body"), Fate::LeaveOut(reason) if reason.contains("index entry")));
    let Fate::Make { action, note: Some(note) } = of("UX_at") else { panic!() };
    assert!(action.statements(&objects[0].table, "x")[0].starts_with("CREATE INDEX"));
    assert!(note.contains("seventh"), "{note}");
}

/// What is printed beforehand is a script that makes the same.
#[tokio::test]
async fn the_printed_schema_makes_what_a_load_makes() {
    let mut bed = Bed::new().await;
    let tables = shop();
    let planned: Vec<Planned<'_>> = tables
        .iter()
        .map(|table| Planned { version: &table.version, definition: table.definition.as_deref() })
        .collect();
    let script = super::super::print(&bed.design(Prepare::Create), 15, &planned);
    assert!(
        script.contains("-- check CK_off of dbo.orders: it is disabled in the source"),
        "{script}"
    );
    let other = Bed::new().await;
    let code: Vec<&str> = script.lines().filter(|line| !line.starts_with("--")).collect();
    for statement in code.join("\n").split(";\n").filter(|s| !s.trim().is_empty()) {
        other.run(statement).await;
    }
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.finish(1, &tables).await;
    assert_eq!(other.indexes().await, bed.indexes().await);
    assert_eq!(other.constraints().await, bed.constraints().await);
    let columns = "SELECT table_name, column_name, data_type, column_default, is_identity, \
        generation_expression FROM information_schema.columns WHERE table_schema = 'public' \
        ORDER BY 1, ordinal_position";
    assert_eq!(other.query(columns).await, bed.query(columns).await);
}

/// Defaults, checks and indexes of types that no expression is translated with: a constant text has its
/// like, everything else is listed with a reason.
#[tokio::test]
async fn objects_of_types_without_a_like_are_made_or_listed() {
    const LONG: LogicalType = LogicalType::String { max: None, fixed: false };
    let mut bed = Bed::new().await;
    let columns = vec![
        int("id"),
        nullable(column("facts", "json", LONG)),
        nullable(column("broken", "json", LONG)),
        nullable(column("doc", "xml", LONG)),
        nullable(column("any", "sql_variant", LogicalType::Variant)),
        nullable(column("path", "hierarchyid", LogicalType::Other)),
        nullable(column("shape", "geometry", LogicalType::Geometry)),
        nullable(column("v", "vector(2)", LogicalType::Other)),
        nullable(column("version", "timestamp", LogicalType::Bytes { max: Some(8) })),
    ];
    let tables = [table("odd", columns, |d| {
        d.columns = vec![
            default("facts", "(N'{\"a\":1}')"),
            default("broken", "('{')"),
            default("doc", "('<a/>')"),
            default("any", "((1))"),
            default("path", "([hierarchyid]::GetRoot())"),
            default("v", "('[1,2]')"),
        ];
        d.checks = vec![check("CK_any", "([any]=(1))"), check("CK_path", "([path] IS NOT NULL)")];
        d.indexes.push(index("IX_path", false, &["path"]));
        d.indexes.push(index("IX_version", true, &["version"]));
        d.others = vec![OtherObject { kind: "SPATIAL".into(), name: "SX_shape".into() }];
    })];
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    let report = bed.finish(1, &tables).await;
    let left_out = report.left_out.join("\n");
    for what in ["default of column any", "default of column path", "default of column v", "CK_any"]
    {
        assert!(left_out.contains(what), "{what}: {report:?}");
    }
    for what in ["IX_path", "SX_shape"] {
        assert!(left_out.contains(what), "{what}: {report:?}");
    }
    // What is no JSON is no default of a json column.
    assert_eq!(report.failed.len(), 1, "{report:?}");
    assert!(report.failed[0].contains("broken"), "{report:?}");
    bed.run("INSERT INTO odd (id) VALUES (1)").await;
    let made = bed.query("SELECT facts, broken, doc FROM odd").await;
    assert_eq!(made, ["{\"a\":1}|NULL|<a/>"]);
    assert!(bed.indexes().await.iter().any(|sql| sql.contains("IX_version")));
}
