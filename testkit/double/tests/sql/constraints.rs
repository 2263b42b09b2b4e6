//! Filtered and disabled indexes, constraints that are off or not trusted, cascades.

use super::fixture::server;

#[test]
fn a_filtered_index_is_unique_among_its_rows() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, code varchar(10), status tinyint NOT NULL, gone datetime NULL)");
    c.ok("CREATE UNIQUE INDEX ux ON t (code) INCLUDE (gone) WHERE gone IS NULL AND status != 9");
    c.ok(
        "CREATE INDEX ix ON t (status DESC) WHERE status in (1, 2,3) and id >= -5 and code > 'a' ",
    );
    assert_eq!(
        c.rows("SELECT name, has_filter, filter_definition FROM sys.indexes WHERE object_id = OBJECT_ID('t') ORDER BY index_id").split_off(1),
        [
            "ux|1|([gone] IS NULL AND [status]<>(9))",
            "ix|1|([status] IN ((1), (2), (3)) AND [id]>=(-5) AND [code]>'a')",
        ]
    );
    c.ok("INSERT t VALUES (1, 'a', 1, NULL), (2, 'a', 1, '2020-01-01'), (3, 'a', 9, NULL)");
    assert_eq!(c.error("INSERT t VALUES (4, 'A', 1, NULL)"), 2601);
    assert_eq!(c.error("UPDATE t SET gone = NULL WHERE id = 2"), 2601);
    assert_eq!(c.error("UPDATE t SET status = 1 WHERE id = 3"), 2601);
    c.ok("UPDATE t SET status = CASE id WHEN 1 THEN 9 ELSE 1 END WHERE id IN (1, 3)");
    c.ok("INSERT t VALUES (4, 'b', 1, NULL); DELETE t WHERE id = 3; INSERT t VALUES (5, 'a', 2, NULL)");
    // A plan never takes it for the whole table.
    assert_eq!(c.rows("SELECT id FROM t WHERE code = 'a' ORDER BY id"), ["1", "2", "5"]);
    assert_eq!(c.rows("SELECT id FROM t ORDER BY status DESC, id"), ["1", "5", "2", "4"]);
    assert_eq!(c.error("CREATE TABLE k (code varchar(10) REFERENCES t (code))"), 1776);
    for (filter, number) in [
        ("id > 1 OR id < 0", 10735),
        ("id BETWEEN 1 AND 2", 10735),
        ("LEN(code) > 1", 10735),
        ("nope = 1", 207),
        ("id = 1.5e0", 10620),
        ("code = N'a'", 10620),
    ] {
        assert_eq!(
            c.error(&format!("CREATE INDEX i2 ON t (id) WHERE {filter}")),
            number,
            "{filter}"
        );
    }
}

#[test]
fn definitions_are_kept_as_the_server_prints_them() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a int DEFAULT 0 CHECK (a IN (1, 2)), b datetime DEFAULT CURRENT_TIMESTAMP, d AS a * 2 + 1)");
    assert_eq!(
        c.rows("SELECT definition FROM sys.default_constraints ORDER BY parent_column_id"),
        ["((0))", "(getdate())"]
    );
    assert_eq!(c.value("SELECT definition FROM sys.check_constraints"), "([a]=(2) OR [a]=(1))");
    assert_eq!(c.value("SELECT definition FROM sys.computed_columns"), "([a]*(2)+(1))");
    assert_eq!(c.error("INSERT t (id) VALUES (1)"), 547);
    c.ok("INSERT t (id, a) VALUES (1, 2)");
    assert_eq!(c.value("SELECT d FROM t"), "5");
}

#[test]
fn a_disabled_index_is_neither_kept_nor_enforced() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int NOT NULL CONSTRAINT pk PRIMARY KEY, u int CONSTRAINT uq UNIQUE)");
    c.ok("CREATE TABLE k (id int PRIMARY KEY, u int CONSTRAINT fk REFERENCES t (u))");
    c.ok("INSERT t VALUES (1, 1); ALTER INDEX uq ON t DISABLE; INSERT t VALUES (2, 1)");
    assert_eq!(c.value("SELECT is_disabled FROM sys.indexes WHERE name = 'uq'"), "1");
    assert_eq!(c.value("SELECT is_disabled FROM sys.foreign_keys WHERE name = 'fk'"), "1");
    assert_eq!(c.rows("SELECT id FROM t WHERE u = 1 ORDER BY id"), ["1", "2"]);
    assert_eq!(c.error("ALTER INDEX uq ON t REBUILD"), 1505);
    c.ok("DELETE t WHERE id = 2; ALTER INDEX uq ON t REBUILD");
    assert_eq!(c.error("INSERT t VALUES (2, 1)"), 2627);
    c.ok("ALTER INDEX pk ON t DISABLE");
    assert_eq!(c.error("SELECT * FROM t"), 8655);
    assert_eq!(c.error("INSERT t VALUES (2, 2)"), 8655);
    c.ok("ALTER INDEX ALL ON t REBUILD; ALTER INDEX ALL ON t REORGANIZE");
    assert_eq!(c.rows("SELECT id, u FROM t"), ["1|1"]);
    assert_eq!(c.error("ALTER INDEX nope ON t REBUILD"), 2727);
}

#[test]
fn constraints_can_be_off_or_not_trusted() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE k (id int PRIMARY KEY, p int, q int)");
    c.ok("INSERT p VALUES (1); INSERT k VALUES (1, 7, -1)");
    assert_eq!(c.error("ALTER TABLE k ADD CONSTRAINT fk FOREIGN KEY (p) REFERENCES p"), 547);
    assert_eq!(c.error("ALTER TABLE k WITH CHECK ADD CONSTRAINT ck CHECK (q > 0)"), 547);
    c.ok("ALTER TABLE k WITH NOCHECK ADD CONSTRAINT fk FOREIGN KEY (p) REFERENCES p");
    c.ok("ALTER TABLE k WITH NOCHECK ADD CONSTRAINT ck CHECK (q > 0)");
    let state = "SELECT f.is_disabled, f.is_not_trusted, c.is_disabled, c.is_not_trusted \
                 FROM sys.foreign_keys AS f CROSS JOIN sys.check_constraints AS c";
    assert_eq!(c.value(state), "0|1|0|1");
    // What comes now is checked; what was there is not, until it is touched.
    assert_eq!(c.error("INSERT k VALUES (2, 7, 1)"), 547);
    assert_eq!(c.error("INSERT k VALUES (2, 1, -1)"), 547);
    c.ok("ALTER TABLE k ADD CONSTRAINT other CHECK (id < 100)");
    c.ok("ALTER TABLE k NOCHECK CONSTRAINT ALL; INSERT k VALUES (2, 9, -9)");
    c.ok("ALTER TABLE k DROP CONSTRAINT other");
    assert_eq!(c.value(state), "1|1|1|1");
    c.ok("ALTER TABLE k CHECK CONSTRAINT fk, ck");
    assert_eq!(c.value(state), "0|1|0|1");
    assert_eq!(c.error("ALTER TABLE k WITH CHECK CHECK CONSTRAINT fk"), 547);
    assert_eq!(c.error("ALTER TABLE k WITH CHECK CHECK CONSTRAINT ck"), 547);
    c.ok("DELETE k; ALTER TABLE k WITH CHECK CHECK CONSTRAINT ALL");
    assert_eq!(c.value(state), "0|0|0|0");
    assert_eq!(c.error("ALTER TABLE k NOCHECK CONSTRAINT nope"), 4917);
}

#[test]
fn keys_cascade() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE a (id int PRIMARY KEY)");
    c.ok("CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL CONSTRAINT fb REFERENCES a ON DELETE CASCADE ON UPDATE CASCADE)");
    c.ok("CREATE TABLE d (id int PRIMARY KEY, b int NULL REFERENCES b ON DELETE SET NULL ON UPDATE NO ACTION)");
    c.ok("CREATE TABLE e (id int PRIMARY KEY, a int DEFAULT 0 REFERENCES a ON DELETE SET DEFAULT)");
    assert_eq!(
        c.rows("SELECT OBJECT_NAME(parent_object_id), delete_referential_action_desc, update_referential_action_desc FROM sys.foreign_keys ORDER BY 1"),
        ["b|CASCADE|CASCADE", "d|SET_NULL|NO_ACTION", "e|SET_DEFAULT|NO_ACTION"]
    );
    c.ok("INSERT a VALUES (0), (1), (2), (3); INSERT b VALUES (10, 1), (11, 1), (20, 2)");
    c.ok("INSERT d VALUES (100, 10), (101, 11), (102, 20), (103, NULL); INSERT e VALUES (1, 3), (2, 2)");
    // Keys that change places take their rows with them.
    c.ok("UPDATE a SET id = 3 - id WHERE id IN (1, 2)");
    assert_eq!(c.rows("SELECT id, a FROM b ORDER BY id"), ["10|2", "11|2", "20|1"]);
    assert_eq!(c.error("UPDATE a SET id = 30 WHERE id = 3"), 547);
    assert_eq!(c.ok("DELETE a WHERE id IN (2, 3)").counts, [Some(2)]);
    assert_eq!(c.rows("SELECT id, a FROM b"), ["20|1"]);
    assert_eq!(c.rows("SELECT b FROM d ORDER BY id"), ["NULL", "NULL", "20", "NULL"]);
    assert_eq!(c.rows("SELECT a FROM e ORDER BY id"), ["0", "0"]);
    // The default must be there.
    c.ok("INSERT e VALUES (3, 1); DELETE e WHERE id < 3; DELETE a WHERE id = 0");
    assert_eq!(c.error("DELETE a WHERE id = 1"), 547);
    assert_eq!(c.rows("SELECT id, a FROM b"), ["20|1"]);
    c.ok("ALTER TABLE b NOCHECK CONSTRAINT fb; DELETE e; DELETE a");
    assert_eq!(c.rows("SELECT id, a FROM b"), ["20|1"]);
    for (sql, number) in [
        (
            "CREATE TABLE f (x int REFERENCES a ON DELETE CASCADE, y int REFERENCES a ON DELETE SET NULL)",
            1785,
        ),
        ("CREATE TABLE f (x int PRIMARY KEY, y int REFERENCES f ON DELETE CASCADE)", 1785),
        ("CREATE TABLE f (x int NOT NULL REFERENCES a ON DELETE SET NULL)", 1761),
        ("CREATE TABLE f (x int NOT NULL REFERENCES a ON DELETE SET DEFAULT)", 1762),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("CREATE TABLE f (x int PRIMARY KEY, y int REFERENCES f); INSERT f VALUES (1, 1), (2, 1)");
    assert_eq!(c.error("DELETE f WHERE x = 1"), 547);
}

#[test]
fn cascaded_changes_are_captured_in_the_same_transaction() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE a (id int PRIMARY KEY)");
    c.ok("CREATE TABLE b (id int PRIMARY KEY, a int NULL REFERENCES a ON DELETE CASCADE ON UPDATE SET NULL)");
    c.ok("INSERT a VALUES (1), (2); INSERT b VALUES (10, 1), (20, 2)");
    c.ok("EXEC sys.sp_cdc_enable_db");
    for table in ["a", "b"] {
        c.ok(&format!("EXEC sys.sp_cdc_enable_table 'dbo', '{table}', @role_name = NULL"));
    }
    c.ok("EXEC sys.sp_cdc_stop_job 'capture'");
    c.ok("UPDATE a SET id = 3 WHERE id = 1; DELETE a WHERE id = 2");
    c.ok("EXEC sys.sp_cdc_scan");
    let rows = c.rows(
        "SELECT DENSE_RANK() OVER (ORDER BY x.s), x.t, x.o, x.id, x.a FROM ( \
         SELECT __$start_lsn AS s, __$command_id AS n, __$operation AS o, 'a' AS t, id, NULL AS a FROM cdc.dbo_a_CT \
         UNION ALL SELECT __$start_lsn, __$command_id, __$operation, 'b', id, a FROM cdc.dbo_b_CT) AS x \
         ORDER BY x.s, x.n, x.o",
    );
    assert_eq!(
        rows,
        [
            "1|a|1|1|NULL",
            "1|a|2|3|NULL",
            "1|b|3|10|1",
            "1|b|4|10|NULL",
            "2|a|1|2|NULL",
            "2|b|1|20|2"
        ]
    );
}

#[test]
fn a_table_lock_lasts_as_long_as_its_hint_says() {
    let server = server();
    let (mut a, mut b, mut reader) = (server.connect(), server.connect(), server.connect());
    a.ok("CREATE TABLE t (id int PRIMARY KEY, v int)");
    b.ok("SET LOCK_TIMEOUT 0");
    // TABLOCK alone is given back with the statement, on an empty table too.
    a.ok("BEGIN TRAN; SELECT TOP (1) 1 FROM t WITH (TABLOCK)");
    b.ok("INSERT t VALUES (1, 1)");
    a.ok("SELECT TOP (1) 1 FROM t WITH (TABLOCK, HOLDLOCK)");
    assert_eq!(b.error("INSERT t VALUES (2, 1)"), 1222);
    assert_eq!(b.error("UPDATE t SET v = 2"), 1222);
    assert_eq!(reader.rows("SELECT id FROM t"), ["1"]);
    assert_eq!(
        reader
            .rows("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN; SELECT v FROM t; COMMIT"),
        ["1"]
    );
    b.ok("SELECT TOP (1) 1 FROM t WITH (TABLOCK, HOLDLOCK)");
    a.ok("COMMIT");
    b.ok("BEGIN TRAN; UPDATE t SET v = 3");
    a.ok("SET LOCK_TIMEOUT 0");
    assert_eq!(a.error("SELECT TOP (1) 1 FROM t WITH (TABLOCK, HOLDLOCK)"), 1222);
    // Under SNAPSHOT the hints ask for nothing.
    assert_eq!(reader.rows("BEGIN TRAN; SELECT v FROM t WITH (TABLOCK, HOLDLOCK)"), ["1"]);
    b.ok("COMMIT; UPDATE t SET v = 4");
    assert_eq!(reader.rows("SELECT v FROM t; COMMIT"), ["1"]);
}

#[test]
fn a_snapshot_begins_at_the_first_access_and_has_an_lsn_by_a_savepoint() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.ok("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE empty (id int)");
    b.ok("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRAN");
    // Neither views of the catalogue nor savepoints are accesses.
    b.ok("SELECT COUNT(*) FROM sys.tables; SAVE TRANSACTION s");
    a.ok("INSERT t VALUES (1)");
    let lsn = "SELECT dt.database_transaction_most_recent_savepoint_lsn \
               FROM sys.dm_tran_database_transactions AS dt \
               JOIN sys.dm_tran_current_transaction AS ct ON ct.transaction_id = dt.transaction_id \
               WHERE dt.database_transaction_most_recent_savepoint_lsn IS NOT NULL";
    let first: u128 = b.value(lsn).parse().expect("a number");
    b.ok("SELECT TOP (1) 1 FROM empty");
    a.ok("INSERT t VALUES (2)");
    assert_eq!(b.rows("SELECT id FROM t"), ["1"]);
    b.ok("SAVE TRANSACTION s");
    let second: u128 = b.value(lsn).parse().expect("a number");
    assert!(second > first);
    a.ok("ALTER TABLE t ADD x int NULL");
    assert_eq!(b.error("SELECT id FROM t"), 3961);
    b.ok("IF @@TRANCOUNT > 0 ROLLBACK");
    a.ok("ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION OFF");
    b.ok("BEGIN TRAN; SELECT COUNT(*) FROM sys.tables");
    assert_eq!(b.error("SELECT id FROM t"), 3952);
    b.ok("IF @@TRANCOUNT > 0 ROLLBACK; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; BEGIN TRAN");
    assert_eq!(b.error("SET TRANSACTION ISOLATION LEVEL SNAPSHOT; SELECT id FROM t"), 3951);
}

#[test]
fn tools_find_the_views_they_ask_for() {
    let server = server();
    let mut c = server.connect();
    for view in [
        "triggers",
        "trigger_events",
        "procedures",
        "synonyms",
        "sequences",
        "extended_properties",
        "partition_schemes",
        "partition_functions",
    ] {
        assert_eq!(c.value(&format!("SELECT COUNT(*) FROM sys.{view}")), "0", "{view}");
    }
    assert_eq!(c.value("SELECT name, data_space_id FROM sys.filegroups"), "PRIMARY|1");
    assert_eq!(c.value("SELECT type_desc FROM sys.data_spaces"), "ROWS_FILEGROUP");
}

#[test]
fn foreign_keys_are_of_the_types_they_refer_to() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE p (i int PRIMARY KEY, v varchar(10) UNIQUE, n nvarchar(10) UNIQUE, d decimal(9,2) UNIQUE,
            t datetime2(3) UNIQUE, b varchar(10) COLLATE Latin1_General_BIN2 UNIQUE, a decimal(9,2) NOT NULL UNIQUE)");
    c.ok("CREATE TYPE dbo.code FROM varchar(10)");
    for (column, ty, wanted) in [
        ("i", "bigint", 1778),
        ("i", "smallint", 1778),
        ("v", "nvarchar(10)", 1778),
        ("v", "char(10)", 1778),
        ("d", "numeric(9,2)", 1778),
        ("v", "varchar(20)", 1753),
        ("n", "nvarchar(9)", 1753),
        ("d", "decimal(9,3)", 1753),
        ("t", "datetime2(7)", 1753),
        ("b", "varchar(10)", 1757),
    ] {
        let sql = format!("CREATE TABLE x (c {ty} CONSTRAINT fk REFERENCES p({column}))");
        assert_eq!(c.error(&sql), wanted, "{sql}");
        c.ok(&format!("CREATE TABLE y (c {ty})"));
        let sql = format!("ALTER TABLE y ADD CONSTRAINT fk FOREIGN KEY (c) REFERENCES p({column})");
        assert_eq!(c.error(&sql), wanted, "{sql}");
        c.ok("DROP TABLE y");
    }
    for (column, ty) in
        [("i", "int NOT NULL"), ("v", "dbo.code"), ("d", "decimal(9,2)"), ("t", "datetime2(3)")]
    {
        c.ok(&format!(
            "CREATE TABLE x (c {ty} CONSTRAINT fk REFERENCES p({column})); DROP TABLE x"
        ));
    }
}

#[test]
fn names_of_constraints_are_those_of_no_other_object_of_the_schema() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE SCHEMA s");
    c.ok("CREATE TABLE p (i int CONSTRAINT pk PRIMARY KEY, v int CONSTRAINT df DEFAULT 1)");
    c.ok("CREATE TABLE q (i int, v int CONSTRAINT ck CHECK (v > 0))");
    for name in ["PK", "df", "ck", "p", "q"] {
        for constraint in
            ["CHECK (i > 0)", "UNIQUE (i)", "DEFAULT 1 FOR i", "FOREIGN KEY (i) REFERENCES p"]
        {
            let sql = format!("ALTER TABLE q ADD CONSTRAINT {name} {constraint}");
            assert_eq!(c.error(&sql), 2714, "{sql}");
        }
        assert_eq!(c.error(&format!("CREATE TABLE z (i int CONSTRAINT {name} PRIMARY KEY)")), 2714);
        assert_eq!(c.error(&format!("CREATE TABLE {name} (i int)")), 2714);
    }
    assert_eq!(
        c.error(
            "CREATE TABLE z (i int CONSTRAINT a CHECK (i > 0), j int CONSTRAINT a CHECK (j > 0))"
        ),
        2714
    );
    assert_eq!(c.error("CREATE TABLE z (i int CONSTRAINT z CHECK (i > 0))"), 2714);
    // In another schema, and after it is gone, a name is free; an index is no object.
    c.ok("CREATE TABLE s.p (i int CONSTRAINT pk PRIMARY KEY, v int CONSTRAINT df DEFAULT 1)");
    c.ok("CREATE INDEX pk2 ON p (v); CREATE INDEX pk2 ON q (v)");
    c.ok("ALTER TABLE q DROP CONSTRAINT ck; ALTER TABLE p ADD CONSTRAINT ck CHECK (v > 0)");
    c.ok("DROP TABLE p; CREATE TABLE pk (i int CONSTRAINT df CHECK (i > 0))");
}

#[test]
fn cascades_come_to_a_table_once() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE a (id int PRIMARY KEY)");
    c.ok("CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE SET NULL)");
    // What SET NULL comes to is not deleted, so nothing goes on from there.
    c.ok("CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE, b int REFERENCES b ON DELETE CASCADE)");
    c.ok("INSERT a VALUES (1); INSERT b VALUES (1, 1); INSERT c VALUES (1, NULL, 1), (2, 1, 1)");
    c.ok("DELETE a");
    assert_eq!(c.rows("SELECT b.id, b.a, c.id FROM b JOIN c ON c.b = b.id"), ["1|NULL|1"]);
    c.ok("CREATE TABLE d (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE)");
    for sql in [
        // Two ways to one table, whichever the last step is.
        "CREATE TABLE x (a int REFERENCES a ON DELETE CASCADE, d int REFERENCES d ON DELETE CASCADE)",
        "CREATE TABLE x (a int REFERENCES a ON DELETE SET NULL, d int REFERENCES d ON DELETE CASCADE)",
        "CREATE TABLE x (a int REFERENCES a ON DELETE SET NULL, a2 int REFERENCES a ON DELETE SET NULL)",
        "CREATE TABLE x (a int REFERENCES a ON UPDATE CASCADE, a2 int REFERENCES a ON UPDATE SET NULL)",
        // Cycles.
        "CREATE TABLE x (id int PRIMARY KEY, x int REFERENCES x ON DELETE CASCADE)",
        "CREATE TABLE x (id int PRIMARY KEY, x int REFERENCES x ON DELETE SET NULL)",
        "ALTER TABLE a ADD d int REFERENCES d ON DELETE SET NULL",
    ] {
        assert_eq!(c.error(sql), 1785, "{sql}");
    }
    // NO ACTION ends a branch, and deletes and updates go their own ways.
    c.ok("CREATE TABLE x (a int REFERENCES a ON DELETE CASCADE, a2 int REFERENCES a ON UPDATE CASCADE, d int REFERENCES d)");
}
