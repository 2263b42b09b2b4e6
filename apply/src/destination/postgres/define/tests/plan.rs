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
    // What a second index over the key's columns keeps out, the key does.
    let mut turned = customers.clone();
    turned.indexes = vec![index("UX_turned", true, &["name", "id"])];
    let version = TableVersion { key: vec![0, 1], ..(*tables[0].version).clone() };
    assert!(contested(&version, &turned).iter().all(|contested| !contested));
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
    // Unique by all seven digits.
    let Fate::Make { action, note: None } = of("UX_at") else { panic!() };
    let statement = &action.statements(&objects[0].table, "x")[0];
    assert!(statement.starts_with("CREATE UNIQUE INDEX"), "{statement}");
    assert!(statement.ends_with("(\"at\", \"at_100ns\")"), "{statement}");
}

/// Each unique index of the source is made, listed, or the key: none of them is passed over because of
/// another one over the same columns.
#[tokio::test]
async fn unique_indexes_over_the_columns_of_the_key_are_made_too() {
    let mut bed = Bed::new().await;
    let mut two = table("two", vec![int("a"), int("b"), int("c")], |d| {
        let columns = |index: &mut Index, down: [bool; 2]| {
            for (column, down) in index.columns.iter_mut().zip(down) {
                column.descending = down;
            }
        };
        d.indexes[0] = Index { kind: IndexKind::Primary, ..index("PK", true, &["a", "b"]) };
        let mut down = index("UX_down", true, &["a", "b"]);
        columns(&mut down, [false, true]);
        let mut constraint =
            Index { kind: IndexKind::Constraint, ..index("UQ_down", true, &["b", "a"]) };
        columns(&mut constraint, [true, true]);
        d.indexes.extend([
            // First of all: the primary key is found behind it.
            index("UX_turned", true, &["b", "a"]),
            index("UX_same", true, &["a", "b"]),
            Index { kind: IndexKind::Constraint, ..index("UQ_same", true, &["a", "b"]) },
            Index { included: vec!["c".into()], ..index("UX_with", true, &["a", "b"]) },
            Index { filter: Some("([c]>(1))".into()), ..index("UX_some", true, &["a", "b"]) },
            Index { disabled: true, ..index("UX_off", true, &["a", "b"]) },
            index("IX_plain", false, &["a", "b"]),
            down,
            constraint,
        ]);
        d.indexes.rotate_left(1);
    });
    let mut version = (*two.version).clone();
    version.key = vec![0, 1];
    two.id = version.id();
    two.version = Arc::new(version);
    // A key that goes up and down is listed: a key of PostgreSQL does not.
    let mixed = table("mixed", vec![int("id"), int("n")], |d| {
        let mut key = Index { kind: IndexKind::Primary, ..index("PK_mixed", true, &["id", "n"]) };
        key.columns[1].descending = true;
        d.indexes[0] = key;
    });
    let mixed = {
        let version = TableVersion { key: vec![0, 1], ..(*mixed.version).clone() };
        LoadTable { id: version.id(), version: Arc::new(version), ..mixed }
    };
    let tables = [two, mixed];
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    let report = bed.finish(1, &tables).await;
    assert!(report.failed.is_empty(), "{report:?}");
    let made = bed
        .query(
            "SELECT c.relname || ' ' || regexp_replace(pg_get_indexdef(i.indexrelid), '^.*USING btree ', '') \
             || CASE WHEN i.indisunique THEN ' unique' ELSE '' END FROM pg_index i \
             JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'two'::regclass ORDER BY 1",
        )
        .await;
    assert_eq!(
        made,
        [
            "IX_plain (a, b)",
            "UQ_down (b, a) unique",
            "UQ_same (a, b) unique",
            "UX_down (a, b DESC) unique",
            "UX_same (a, b) unique",
            "UX_some (a, b) WHERE (c > 1) unique",
            "UX_turned (b, a) unique",
            "UX_with (a, b) INCLUDE (c) unique",
            "two_pkey (a, b) unique",
        ]
    );
    let listed = report.left_out.join("\n");
    assert!(listed.contains("UX_off of dbo.two: it is disabled"), "{listed}");
    assert!(
        listed.contains("PK_mixed of dbo.mixed: the key is there, with all its columns ascending"),
        "{listed}"
    );
    assert_eq!(report.left_out.len(), 2, "{listed}");
    let differing = report.differing.join("\n");
    assert!(differing.contains("UQ_down of dbo.two: without its descending order"), "{differing}");
}

/// Tables that PostgreSQL would call another one's key or sequence, in any order, in one load and in a
/// later one.
#[tokio::test]
async fn tables_may_be_called_as_keys_and_sequences_are() {
    for later in [false, true] {
        let mut bed = Bed::new().await;
        let of = |name: &str| {
            let unique = |d: &mut Definition| {
                d.columns = vec![identity("id", 1, 1)];
                d.indexes.push(index("t_ux", true, &["n"]));
            };
            table(name, vec![int("id"), int("n")], unique)
        };
        let names = ["t", "t_pkey", "t_pkey_pkey", "t_id_seq", "t_ux"];
        let tables: Vec<LoadTable> = names.iter().map(|name| of(name)).collect();
        let loads = if later { vec![&tables[..1], &tables[1..]] } else { vec![&tables[..]] };
        for (load, tables) in loads.into_iter().enumerate() {
            bed.prepare(Prepare::Create, tables).await.unwrap();
            let report = bed.finish(load as u128 + 1, tables).await;
            assert!(report.failed.is_empty() && report.left_out.is_empty(), "{report:?}");
        }
        let keys = "SELECT conrelid::regclass FROM pg_constraint WHERE contype = 'p' \
            AND connamespace = 'public'::regnamespace ORDER BY 1::text COLLATE \"C\"";
        assert_eq!(bed.query(keys).await.len(), names.len());
        // Every index is known by its name, and can be taken away before a load again.
        unmake(&mut bed.client, PIPELINE, &tables, FENCE).await.unwrap();
        let unique = "SELECT count(*) FROM pg_index i JOIN lockstep.tables t \
            ON i.indrelid = to_regclass(format('%I.%I', t.schema_name, t.table_name))::oid \
            WHERE NOT i.indisprimary";
        assert_eq!(bed.query(unique).await, ["0"]);
        if !later {
            let planned: Vec<Planned<'_>> = tables
                .iter()
                .map(|t| Planned { version: &t.version, definition: t.definition.as_deref() })
                .collect();
            let script = super::super::print(&bed.design(Prepare::Create), 15, &planned);
            let other = Bed::new().await;
            let code: Vec<&str> = script.lines().filter(|line| !line.starts_with("--")).collect();
            for statement in code.join("\n").split(";\n").filter(|s| !s.trim().is_empty()) {
                other.run(statement).await;
            }
        }
    }
}

/// What the script of a load says of tables that no target can have, and of rows that it may refuse.
#[test]
fn what_cannot_be_made_and_what_may_be_refused_is_printed() {
    let config = |more: &str| {
        let file = format!(
            "[pipeline]\nname = \"shop\"\n[log]\nkind = \"embedded\"\npath = \"log\"\n\
             [apply.main]\nhost = \"h\"\ndatabase = \"d\"\nuser = \"u\"\nspool = \"s\"\n{more}"
        );
        let mut config =
            lockstep_common::config::parse(&file, "test", []).expect("a configuration");
        Design::new(&config.apply.remove("main").expect("an apply"))
    };
    let script = |more: &str, tables: &[LoadTable]| {
        let planned: Vec<Planned<'_>> = tables
            .iter()
            .map(|table| Planned {
                version: &table.version,
                definition: table.definition.as_deref(),
            })
            .collect();
        super::super::print(&config(more), 15, &planned)
    };
    let within = |schema: &str, name: &str| {
        let mut made = table(name, vec![int("id")], |_| ());
        let mut version = (*made.version).clone();
        version.name.schema = schema.to_owned();
        made.version = Arc::new(version);
        made
    };
    for (more, schema) in [
        ("", "lockstep"),
        ("", "pg_catalog"),
        ("", "pg_temp"),
        ("", "information_schema"),
        ("names = \"lower\"\n", "LockStep"),
        ("names = \"lower\"\n", "PG_Catalog"),
        ("schemas = { dbo = \"lockstep\" }\n", "dbo"),
        ("schemas = { dbo = \"pg_toast\" }\n", "dbo"),
    ] {
        let script = script(more, &[within(schema, "t")]);
        assert!(script.contains("belongs to PostgreSQL or Lockstep"), "{schema}: {script}");
        assert!(!script.contains("CREATE TABLE"), "{schema}: {script}");
    }
    let columns = |names: &[&str]| names.iter().map(|name| int(name)).collect::<Vec<_>>();
    let system = ["id", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
    let all = script("", &[table("t", columns(&system), |_| ())]);
    for name in &system[1..] {
        assert!(
            all.contains(&format!("column \"{name}\" has a name that PostgreSQL keeps")),
            "{all}"
        );
    }
    let upper = script("names = \"lower\"\n", &[table("t", columns(&["id", "XMIN"]), |_| ())]);
    assert!(upper.contains("column \"xmin\" has a name"), "{upper}");
    let twice = script("names = \"lower\"\n", &[within("dbo", "T"), within("dbo", "t")]);
    assert!(twice.contains("dbo.T goes to target table \"dbo\".\"t\" too"), "{twice}");
    let text = |n: usize| -> Vec<Column> {
        (0..n).map(|i| text(&format!("c{i}"), 20)).chain([int("id")]).rev().collect()
    };
    let wide = script("", &[table("wide", text(1000), |_| ())]);
    assert!(wide.contains("dbo.wide: a row may need"), "{wide}");
    assert!(wide.contains("54000"), "{wide}");
    assert!(!script("", &[table("narrow", text(100), |_| ())]).contains("54000"));
    let many = (0..1601).map(|i| int(&format!("c{i}"))).collect();
    assert!(script("", &[table("many", many, |_| ())]).contains("at most 1600"));
    let long = LogicalType::String { max: Some(1700), fixed: false };
    let long = column("code", "varchar(1700)", long);
    let long = script("", &[table("long", vec![long], |_| ())]);
    assert!(long.contains("dbo.long: its key may be longer than an index entry"), "{long}");
    let merging =
        table("merging", vec![Column { nullable: false, ..super::text("code", 40) }], |_| ());
    let merging = script("key_collation = \"icu\"\n", &[merging]);
    assert!(merging.contains("dbo.merging: a key or unique index compares \"code\""), "{merging}");
    let time = column("at", "datetime2(7)", LogicalType::Timestamp { digits: 7 });
    let digits = script("", &[table("digits", vec![time], |_| ())]);
    assert!(digits.contains("-- dbo.digits: column \"at_100ns\" holds the seventh"), "{digits}");
    assert!(digits.contains("PRIMARY KEY (\"at\", \"at_100ns\")"), "{digits}");
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
