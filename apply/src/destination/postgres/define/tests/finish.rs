//! After the load, and before a table is loaded again.

use super::*;

#[tokio::test]
async fn everything_of_the_source_is_made_or_said() {
    let mut bed = Bed::new().await;
    let tables = shop();
    let prepared = bed.prepare(Prepare::Create, &tables).await.unwrap();
    let relation = &prepared.relations[0];
    assert!(relation.columns[1].as_ref().is_some_and(|c| c.contested), "{relation:?}");
    assert!(prepared.relations[1].columns[4].is_none(), "a computed column is not written");
    bed.run(ROWS).await;
    let report = bed.finish(1, &tables).await;
    assert_eq!(
        bed.indexes().await,
        [
            "CREATE INDEX \"IX_customer\" ON public.orders USING btree (customer, total DESC) INCLUDE (open)",
            "CREATE INDEX \"IX_customer_open\" ON public.orders USING btree (customer) WHERE (open = true)",
            "CREATE UNIQUE INDEX \"UQ_name\" ON public.customers USING btree (name) NULLS NOT DISTINCT",
            "CREATE UNIQUE INDEX customers_pkey ON public.customers USING btree (id)",
            "CREATE UNIQUE INDEX orders_pkey ON public.orders USING btree (id)",
        ]
    );
    assert_eq!(
        bed.constraints().await,
        [
            "customers FK_last FOREIGN KEY (last_order) REFERENCES orders(id)",
            "customers FK_parent FOREIGN KEY (parent) REFERENCES customers(id)",
            "customers UQ_name UNIQUE NULLS NOT DISTINCT (name)",
            "orders CK_old CHECK ((total < (1000)::numeric)) NOT VALID",
            "orders CK_total CHECK ((total >= (0)::numeric))",
            "orders FK_customer FOREIGN KEY (customer) REFERENCES customers(id) ON DELETE CASCADE",
        ]
    );
    assert_eq!(report.failed, Vec::<String>::new());
    let left_out: Vec<&str> =
        report.left_out.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        left_out,
        [
            "computed column odd of dbo.orders",
            "index IX_odd of dbo.orders",
            "index IX_off of dbo.orders",
            "default of column open of dbo.orders",
            "check CK_name of dbo.orders",
            "check CK_off of dbo.orders",
            "foreign key FK_elsewhere of dbo.orders",
            "object tr of dbo.orders",
        ]
    );
    assert!(report.left_out[0].contains("dbo.f"), "{:?}", report.left_out);
    let differing = report.differing.join("\n");
    assert!(differing.contains("CK_old") && differing.contains("UQ_name"), "{differing}");
    // Defaults, the generated column, and identities that count on in their direction.
    bed.run("INSERT INTO customers DEFAULT VALUES; INSERT INTO orders (customer) VALUES (10)")
        .await;
    assert_eq!(bed.query("SELECT id, name FROM customers WHERE id > 9").await, ["10|new"]);
    assert_eq!(bed.query("SELECT id, total FROM orders WHERE id < -9").await, ["-10|0.00"]);
    assert_eq!(bed.query("SELECT twice FROM orders WHERE id = -7").await, ["3.00"]);
    // Once more: nothing is left to do, and the report is the same.
    assert_eq!(bed.finish(1, &tables).await, report);
}

#[tokio::test]
async fn sequences_never_go_back() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.finish(1, &tables).await;
    let next = "SELECT nextval(pg_get_serial_sequence('customers', 'id'))";
    assert_eq!(bed.query(next).await, ["1"]);
    bed.run("INSERT INTO customers (id) VALUES (50)").await;
    set_sequences(&bed.client, PIPELINE).await.unwrap();
    assert_eq!(bed.query(next).await, ["51"]);
    bed.run("DELETE FROM customers; INSERT INTO orders (id, customer) VALUES (-5, 1), (7, 1)")
        .await;
    set_sequences(&bed.client, PIPELINE).await.unwrap();
    assert_eq!(bed.query(next).await, ["52"]);
    let next = "SELECT nextval(pg_get_serial_sequence('orders', 'id'))";
    assert_eq!(bed.query(next).await, ["-6"]);
}

#[tokio::test]
async fn what_the_target_refuses_is_taken_back_and_everything_else_goes_on() {
    let mut bed = Bed::new().await;
    let mut tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    // Nothing of this can come from a source that enforces what it has.
    bed.run(
        "INSERT INTO customers (id, name, parent) VALUES (20, 'a', 404); \
         INSERT INTO orders (id, customer, total) VALUES (-20, 1, -1), (-21, 1, 5000)",
    )
    .await;
    let report = bed.finish(1, &tables).await;
    let failed: Vec<&str> =
        report.failed.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(
        failed,
        [
            "unique constraint UQ_name of dbo.customers",
            "check CK_old of dbo.orders",
            "check CK_total of dbo.orders",
            "foreign key FK_parent of dbo.customers",
        ]
    );
    assert!(report.failed[0].contains("23505"), "{:?}", report.failed);
    assert!(!report.failed.join(" ").contains("404"), "no values of rows: {:?}", report.failed);
    assert!(bed.indexes().await.iter().all(|index| !index.contains("UQ_name")));
    assert_eq!(bed.constraints().await.len(), 2);
    // Nothing half made refuses the stream's rows.
    bed.run("INSERT INTO customers (id, name, parent) VALUES (21, 'a', 405); UPDATE orders SET total = -2 WHERE id = -20").await;
    let notices = report.notices().join(" ");
    assert!(notices.contains("4 object(s)"), "{notices}");
    // Another load tries again.
    bed.run("DELETE FROM customers WHERE id > 19; DELETE FROM orders WHERE id < -19").await;
    tables.rotate_left(1);
    let report = bed.finish(2, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 6);
}

#[tokio::test]
async fn a_half_built_index_is_dropped_and_built_again() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    // As a crash in the middle of the build leaves it.
    bed.run("INSERT INTO customers (id, name) VALUES (30, 'a')").await;
    let build = "CREATE UNIQUE INDEX CONCURRENTLY \"UQ_name\" ON customers (name)";
    bed.client.batch_execute(build).await.expect_err("it is not unique");
    bed.run("DELETE FROM customers WHERE id = 30").await;
    // And the first half of a constraint; and an index that only lacks its constraint's name.
    bed.run("ALTER TABLE orders ADD CONSTRAINT \"CK_total\" CHECK (total >= 0) NOT VALID").await;
    let report = bed.finish(1, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(bed.query(invalid).await, ["0"]);
    assert_eq!(bed.constraints().await.len(), 6);
    let validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'CK_total'";
    assert_eq!(bed.query(validated).await, ["t"]);
}

#[tokio::test]
async fn a_name_that_something_else_has_becomes_another() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("CREATE TABLE \"IX_customer\" (n int); CREATE SEQUENCE \"UQ_name\"").await;
    let report = bed.finish(1, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    let names = bed.query("SELECT name FROM lockstep.load_object WHERE object IN ('IX_customer', 'UQ_name') ORDER BY 1").await;
    assert!(names[0].starts_with("IX_customer_") && names[1].starts_with("UQ_name_"), "{names:?}");
    assert_eq!(bed.constraints().await.len(), 6);
    // Another load finds it under that name.
    let count = bed.indexes().await.len();
    let report = bed.finish(2, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.indexes().await.len(), count);
}

#[tokio::test]
async fn a_default_of_the_users_stays() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run("ALTER TABLE orders ALTER total SET DEFAULT 42").await;
    let report = bed.finish(1, &tables).await;
    assert!(report.left_out.iter().any(|l| l.contains("has a default already")), "{report:?}");
    let default = "SELECT column_default FROM information_schema.columns WHERE table_name = 'orders' AND column_name = 'total'";
    assert_eq!(bed.query(default).await, ["42"]);
    // One that we made is made again without a word.
    let report = bed.finish(2, &tables).await;
    assert_eq!(report.left_out.iter().filter(|l| l.contains("already")).count(), 1);
}

#[tokio::test]
async fn without_constraints_nothing_is_made() {
    let mut bed = Bed::new().await;
    bed.config.constraints = false;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    assert_eq!(bed.finish(1, &tables).await, Report::default());
    assert_eq!(bed.indexes().await.len(), 2);
}

/// Writers never fail and never stop while everything is made beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_go_on_while_everything_is_made() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    bed.run("INSERT INTO orders (id, customer, total, open) SELECT -100 - n, 1, n % 900, n % 2 = 0 FROM generate_series(1, 30000) n").await;
    let stop = Arc::new(AtomicBool::new(false));
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (name, stop, begun) = (bed.name.clone(), Arc::clone(&stop), begun.clone());
            tokio::spawn(async move {
                let client = open(&name, "postgres").await;
                client.batch_execute("SET session_replication_role = replica").await.unwrap();
                let mut written = 0;
                while !stop.load(Ordering::Relaxed) {
                    let n = 1000 + 2 * written + writer;
                    let sql = format!(
                        "BEGIN; INSERT INTO customers (id, name) VALUES ({n}, 'w{n}'); \
                         INSERT INTO orders (id, customer, total) VALUES (-{n}0000, {n}, 1); \
                         UPDATE customers SET last_order = -{n}0000 WHERE id = {n}; COMMIT"
                    );
                    client.batch_execute(&sql).await.expect("a writer is never refused");
                    written += 1;
                    if written == 1 {
                        begun.send(()).expect("it is waited for");
                    }
                }
                written
            })
        })
        .collect();
    for _ in 0..2 {
        begins.recv().await.expect("a writer is never refused");
    }
    let report = bed.finish(1, &tables).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0);
    }
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 6);
    let dangling = "SELECT count(*) FROM orders o LEFT JOIN customers c ON c.id = o.customer WHERE c.id IS NULL";
    assert_eq!(bed.query(dangling).await, ["0"]);
}

/// Somebody looks at a table in a long transaction: what needs its lock waits and lets others by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_lock_delays_one_object_and_stops_nobody() {
    let mut bed = Bed::new().await;
    let mut tables = shop();
    // Building an index concurrently would wait for the transaction as well.
    for table in &mut tables {
        let definition = Arc::make_mut(table.definition.as_mut().unwrap());
        definition.indexes.clear();
    }
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    let reader = open(&bed.name, "postgres").await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM orders").await.unwrap();
    let (login, work) = (bed.login(), bed.work(1, &tables));
    let finishing = tokio::spawn(async move { finish(&login, &work, &Shutdown::new()).await });
    // What does not need the lock is made, and writers pass.
    bed.shows(
        "SELECT object FROM lockstep.load_object WHERE state = 'made' AND source = 'dbo.customers' ORDER BY 1",
        &["FK_last", "FK_parent", "id", "name"],
    )
    .await;
    bed.run("INSERT INTO orders (id, customer, total) VALUES (-50, 1, 1)").await;
    assert!(!finishing.is_finished());
    reader.batch_execute("COMMIT").await.unwrap();
    let report = finishing.await.unwrap().unwrap();
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 5);
}

/// Stopped in the middle of a build that cannot go on, then started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_gives_a_long_statement_up_and_a_restart_goes_on() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    let writer = open(&bed.name, "postgres").await;
    writer.batch_execute("BEGIN; INSERT INTO customers (id, name) VALUES (60, 'x')").await.unwrap();
    let stop = Shutdown::new();
    let (login, work, stopping) = (bed.login(), bed.work(1, &tables), stop.clone());
    let finishing = tokio::spawn(async move { finish(&login, &work, &stopping).await });
    bed.shows(
        "SELECT wait_event_type FROM pg_stat_activity WHERE datname = current_database() \
         AND query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'",
        &["Lock"],
    )
    .await;
    stop.cancel();
    finishing.await.unwrap().unwrap();
    writer.batch_execute("COMMIT").await.unwrap();
    let making = "SELECT object FROM lockstep.load_object WHERE state = 'making'";
    assert_eq!(bed.query(making).await, ["UQ_name"]);
    let report = bed.finish(1, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 6);
    assert_eq!(bed.query("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, ["0"]);
}

#[tokio::test]
async fn a_reload_unmakes_what_would_refuse_it_and_makes_it_again() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    bed.finish(1, &tables).await;
    let (indexes, constraints) = (bed.indexes().await, bed.constraints().await);
    bed.run("CREATE UNIQUE INDEX mine ON customers (id, name)").await;
    let customers = &tables[..1];
    unmake(&mut bed.client, PIPELINE, customers, FENCE).await.unwrap();
    unmake(&mut bed.client, PIPELINE, customers, FENCE).await.unwrap();
    let left = bed.constraints().await;
    assert!(left.iter().all(|c| !c.contains("FOREIGN KEY") && !c.contains("UNIQUE")), "{left:?}");
    let unmade = "SELECT object FROM lockstep.load_object WHERE state = 'unmade' ORDER BY 1";
    assert_eq!(bed.query(unmade).await, ["FK_customer", "FK_last", "FK_parent", "UQ_name"]);
    assert!(bed.indexes().await.iter().any(|index| index.contains("mine")));
    // Two rows with one name, for a moment.
    bed.run(
        "INSERT INTO customers (id, name) VALUES (70, 'a'); DELETE FROM customers WHERE id = 70",
    )
    .await;
    let report = bed.finish(2, customers).await;
    assert_eq!(report.failed, Vec::<String>::new());
    bed.run("DROP INDEX mine").await;
    assert_eq!(bed.indexes().await, indexes);
    assert_eq!(bed.constraints().await, constraints);
}

/// While a table is loaded again, the finish of the load before leaves alone what would refuse the
/// states that the table passes through; the finish of the reload makes it.
#[tokio::test]
async fn a_finish_beside_a_reload_waits_with_what_would_refuse_it() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    bed.run(&format!(
        "INSERT INTO lockstep.load (pipeline, load, reload, state) VALUES \
         ('shop', '{first}', false, 'consistent'), ('shop', '{second}', true, 'loading'); \
         INSERT INTO lockstep.load_table (pipeline, load, version, source, handoff, state) VALUES \
         ('shop', '{first}', 'o', 'dbo.orders', 'bracketed', 'read'), \
         ('shop', '{first}', 'c', 'dbo.customers', 'bracketed', 'superseded'), \
         ('shop', '{second}', 'c', 'dbo.customers', 'bracketed', 'loading')"
    ))
    .await;
    let report = bed.finish(1, &tables).await;
    assert_eq!(report.failed, Vec::<String>::new());
    let made = bed.constraints().await.join(" ");
    assert!(made.contains("CK_total") && !made.contains("UNIQUE"), "{made}");
    assert!(!made.contains("FOREIGN KEY"), "{made}");
    bed.run(&format!("UPDATE lockstep.load SET state = 'consistent' WHERE load = '{second}'"))
        .await;
    let report = bed.finish(2, &tables[..1]).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(bed.constraints().await.len(), 6);
}

/// What is stored about an object is for people to read: its statements are the plan's.
#[tokio::test]
async fn stored_statements_are_never_run() {
    let mut bed = Bed::new().await;
    let tables = shop();
    bed.prepare(Prepare::Create, &tables).await.unwrap();
    bed.run(ROWS).await;
    bed.finish(1, &tables).await;
    let (indexes, constraints) = (bed.indexes().await, bed.constraints().await);
    let customers = &tables[..1];
    unmake(&mut bed.client, PIPELINE, customers, FENCE).await.unwrap();
    // Unmade, and as after a crash in the middle of another object.
    bed.run(
        "UPDATE lockstep.load_object SET statements = ARRAY['CREATE TABLE stolen ()', \
         'CREATE TABLE stolen_too ()']; \
         UPDATE lockstep.load_object SET state = 'making', load = '00000000-0000-0000-0000-000000000002' \
         WHERE kind = 'index'",
    )
    .await;
    let report = bed.finish(2, customers).await;
    assert_eq!(report.failed, Vec::<String>::new());
    assert_eq!(
        bed.query("SELECT relname FROM pg_class WHERE relname LIKE 'stolen%'").await.len(),
        0
    );
    assert_eq!(bed.indexes().await, indexes);
    assert_eq!(bed.constraints().await, constraints);
}
