//! MERGE.

use super::fixture::server;
use mssql_double::SqlType;

const TABLES: &str =
    "CREATE TABLE t (id int PRIMARY KEY, a varchar(10) NOT NULL DEFAULT 'none', n int NULL);
    CREATE TABLE s (id int, a varchar(10), n int);
    INSERT t VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3), (4, 'four', NULL);
    INSERT s VALUES (2, 'zwei', 20), (3, 'drei', 30), (5, 'fünf', 50), (6, 'sechs', 60)";

#[test]
fn output_tells_what_was_done() {
    let server = server();
    let mut c = server.connect();
    c.ok(TABLES);
    let merged = c.ok("MERGE t AS d USING s ON d.id = s.id
         WHEN MATCHED AND s.n > 25 THEN DELETE
         WHEN MATCHED THEN UPDATE SET a = s.a, n += s.n
         WHEN NOT MATCHED AND s.id < 6 THEN INSERT (id, a) VALUES (s.id, s.a)
         WHEN NOT MATCHED BY SOURCE AND d.n IS NULL THEN DELETE
         WHEN NOT MATCHED BY SOURCE THEN UPDATE SET a = 'left'
         OUTPUT $action, inserted.id, deleted.*, s.id AS source;");
    let mut rows = merged.rows;
    rows.sort();
    assert_eq!(
        rows,
        [
            "DELETE|NULL|3|three|3|3",
            "DELETE|NULL|4|four|NULL|NULL",
            "INSERT|5|NULL|NULL|NULL|5",
            "UPDATE|1|1|one|1|NULL",
            "UPDATE|2|2|two|2|2",
        ]
    );
    assert_eq!(merged.counts, [Some(5)]);
    assert_eq!(merged.columns[0][0].ty, SqlType::NVarChar(Some(10)));
    assert_eq!(c.rows("SELECT * FROM t ORDER BY id"), ["1|left|1", "2|zwei|22", "5|fünf|NULL"]);
    assert_eq!(
        c.value("MERGE t USING s ON t.id = s.id WHEN MATCHED THEN DELETE; SELECT @@ROWCOUNT"),
        "2"
    );
}

#[test]
fn sources_are_of_every_kind() {
    let server = server();
    let mut c = server.connect();
    c.ok(TABLES);
    c.ok("MERGE t USING (VALUES (1, 'x'), (9, 'y')) AS v (id, a) ON v.id = t.id
          WHEN MATCHED THEN UPDATE SET t.a = v.a
          WHEN NOT MATCHED THEN INSERT (id, a) VALUES (v.id, v.a);");
    c.ok("WITH big AS (SELECT id, n FROM s WHERE n > 40)
          MERGE t USING big ON big.id = t.id
          WHEN NOT MATCHED THEN INSERT (id, n) VALUES (id, n);");
    c.ok("DECLARE @v TABLE (id int); INSERT @v VALUES (4);
          MERGE t USING @v AS v ON v.id = t.id WHEN MATCHED THEN DELETE;");
    c.ok("MERGE TOP (1) t USING (SELECT 10 AS id UNION ALL SELECT 11) AS v ON v.id = t.id
          WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id);");
    assert_eq!(
        c.rows("SELECT id, a FROM t ORDER BY id"),
        ["1|x", "2|two", "3|three", "5|none", "6|none", "9|y", "10|none"]
    );
    c.ok("MERGE t USING t AS other ON other.id = t.id + 1
          WHEN MATCHED THEN UPDATE SET a = other.a;");
    assert_eq!(c.value("SELECT a FROM t WHERE id = 1"), "two");
}

#[test]
fn identities_and_variables_come_along() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int IDENTITY PRIMARY KEY, k int UNIQUE, twice AS k * 2)");
    c.ok("CREATE TABLE log (what nvarchar(10), id int, twice int)");
    c.ok("MERGE t USING (VALUES (7), (8)) AS v (k) ON v.k = t.k
          WHEN NOT MATCHED THEN INSERT (k) VALUES (v.k)
          OUTPUT $action, inserted.id, inserted.twice INTO log (what, id, twice);");
    assert_eq!(c.rows("SELECT * FROM log ORDER BY id"), ["INSERT|1|14", "INSERT|2|16"]);
    assert_eq!(c.value("SELECT SCOPE_IDENTITY()"), "2");
    // Keys that are given up are free for the statement's own rows.
    c.ok("MERGE t USING (VALUES (1, 8), (2, 7)) AS v (id, k) ON v.id = t.id
          WHEN MATCHED THEN UPDATE SET k = v.k;");
    assert_eq!(c.rows("SELECT id, k FROM t ORDER BY id"), ["1|8", "2|7"]);
    c.ok("MERGE t USING (VALUES (2, 99)) AS v (id, k) ON v.id = t.id
          WHEN NOT MATCHED BY SOURCE THEN DELETE
          WHEN MATCHED THEN UPDATE SET k = 8;");
    assert_eq!(c.rows("SELECT id, k FROM t"), ["2|8"]);
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let server = server();
    let mut c = server.connect();
    c.ok(TABLES);
    c.ok("CREATE VIEW v AS SELECT id FROM t");
    c.ok("CREATE TABLE child (t int REFERENCES t (id)); INSERT child VALUES (1)");
    let with = |clauses: &str| format!("MERGE t USING s ON t.id = s.id {clauses}");
    for (clauses, number) in [
        ("WHEN MATCHED THEN DELETE", 10713),
        (";", 102),
        ("WHEN MATCHED THEN INSERT (id) VALUES (1);", 10711),
        ("WHEN NOT MATCHED THEN DELETE;", 10711),
        ("WHEN MATCHED THEN DELETE WHEN MATCHED AND 1 = 1 THEN UPDATE SET n = 1;", 5324),
        ("WHEN MATCHED AND 1 = 1 THEN DELETE WHEN MATCHED THEN DELETE;", 10714),
        ("WHEN NOT MATCHED THEN INSERT (id) VALUES (t.id);", 5333),
        ("WHEN NOT MATCHED BY SOURCE THEN UPDATE SET n = s.n;", 5334),
        ("WHEN NOT MATCHED THEN INSERT (id) VALUES (nosuch);", 207),
        ("WHEN NOT MATCHED THEN INSERT (id, a) VALUES (1);", 109),
        ("WHEN NOT MATCHED THEN INSERT (id) VALUES (1, 2);", 110),
        ("WHEN NOT MATCHED BY SOURCE THEN DELETE;", 547),
        ("WHEN NOT MATCHED THEN INSERT (id) VALUES (1);", 2627),
        ("WHEN NOT MATCHED THEN INSERT (id) VALUES (NULL);", 515),
    ] {
        assert_eq!(c.error(&with(clauses)), number, "{clauses}");
    }
    assert_eq!(
        c.error("MERGE t USING (VALUES (1), (1)) AS v (id) ON v.id = t.id WHEN MATCHED THEN UPDATE SET n = 1;"),
        8672
    );
    assert_eq!(c.error("MERGE v USING s ON v.id = s.id WHEN MATCHED THEN DELETE;"), 102);
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "4");
}
