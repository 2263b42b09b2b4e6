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
