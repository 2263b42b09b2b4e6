//! Window functions, common table expressions before changes, recursion.

use super::fixture::server;
use mssql_double::SqlType;

#[test]
fn aggregates_look_through_windows() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, g char(1), n int NULL)");
    c.ok("INSERT t VALUES (1,'a',1),(2,'a',2),(3,'a',2),(4,'b',10),(5,'b',NULL),(6,'b',30)");
    assert_eq!(
        c.rows("SELECT id, SUM(n) OVER (PARTITION BY g) FROM t ORDER BY id"),
        ["1|5", "2|5", "3|5", "4|40", "5|40", "6|40"]
    );
    // The default extent takes the peers of the current row in.
    assert_eq!(
        c.rows("SELECT id, SUM(n) OVER (PARTITION BY g ORDER BY n) FROM t ORDER BY id"),
        ["1|1", "2|5", "3|5", "4|10", "5|NULL", "6|40"]
    );
    assert_eq!(
        c.rows("SELECT id, SUM(n) OVER (PARTITION BY g ORDER BY n ROWS UNBOUNDED PRECEDING), COUNT(*) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM t ORDER BY id"),
        ["1|1|2", "2|3|3", "3|5|3", "4|10|3", "5|NULL|3", "6|40|2"]
    );
    assert_eq!(
        c.rows("SELECT id, MAX(n) OVER (ORDER BY id ROWS BETWEEN 2 FOLLOWING AND UNBOUNDED FOLLOWING), MIN(n) OVER (ORDER BY id ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING), COUNT(n) OVER (ORDER BY id DESC RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) FROM t ORDER BY id"),
        ["1|30|NULL|1", "2|30|NULL|2", "3|30|1|3", "4|30|1|4", "5|NULL|2|4", "6|NULL|2|5"]
    );
    assert_eq!(
        c.rows("SELECT g, COUNT(*) AS n, SUM(COUNT(*)) OVER () AS total, AVG(SUM(n)) OVER (ORDER BY g) FROM t GROUP BY g ORDER BY g"),
        ["a|3|6|5", "b|3|6|22"]
    );
    assert_eq!(c.type_of("COUNT(*) OVER ()"), SqlType::Int);
    assert_eq!(
        c.type_of("AVG(CAST(1 AS decimal(5,2))) OVER ()"),
        SqlType::Numeric { precision: 38, scale: 6 }
    );
}

#[test]
fn rows_look_at_others() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, n int NULL); INSERT t VALUES (1,10),(2,20),(3,NULL),(4,40),(5,40)");
    assert_eq!(
        c.rows("SELECT id, LAG(n) OVER (ORDER BY id), LEAD(n, 2, -1) OVER (ORDER BY id), LAG(n, 0) OVER (ORDER BY id) FROM t ORDER BY id"),
        ["1|NULL|NULL|10", "2|10|40|20", "3|20|40|NULL", "4|NULL|-1|40", "5|40|-1|40"]
    );
    assert_eq!(
        c.rows("SELECT id, FIRST_VALUE(n) OVER (ORDER BY id), LAST_VALUE(id) OVER (ORDER BY n), LAST_VALUE(id) OVER (ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) FROM t ORDER BY id"),
        ["1|10|1|5", "2|10|2|5", "3|10|3|5", "4|10|5|5", "5|10|5|5"]
    );
    assert_eq!(
        c.rows("SELECT id, NTILE(2) OVER (ORDER BY id), NTILE(9) OVER (ORDER BY id), RANK() OVER (ORDER BY n), DENSE_RANK() OVER (ORDER BY n), PERCENT_RANK() OVER (ORDER BY n), CUME_DIST() OVER (ORDER BY n) FROM t ORDER BY id"),
        ["1|1|1|2|2|0.25|0.4", "2|1|2|3|3|0.5|0.6", "3|1|3|1|1|0.0|0.2", "4|2|4|4|4|0.75|1.0", "5|2|5|4|4|0.75|1.0"]
    );
    for (expression, number) in [
        ("ROW_NUMBER() OVER ()", 4112),
        ("LAG(n) OVER (PARTITION BY id)", 4112),
        ("ROW_NUMBER() OVER (ORDER BY 1)", 5308),
        ("SUM(n) OVER (ORDER BY 'x')", 5309),
        ("COUNT(DISTINCT n) OVER ()", 10759),
        ("SUM(n) OVER (ROWS UNBOUNDED PRECEDING)", 10756),
        ("RANK() OVER (ORDER BY n ROWS UNBOUNDED PRECEDING)", 10752),
        ("SUM(n) OVER (ORDER BY n RANGE 1 PRECEDING)", 4194),
        ("SUM(n) OVER (ORDER BY n ROWS BETWEEN CURRENT ROW AND 1 PRECEDING)", 102),
        ("SUM(RANK() OVER (ORDER BY n)) OVER ()", 4109),
        ("LAG(n, -1) OVER (ORDER BY n)", 8730),
        ("NTILE(0) OVER (ORDER BY n)", 4116),
        ("LEN('x') OVER ()", 4113),
        ("RANK() OVER (ORDER BY CAST('x' AS text))", 306),
        ("COUNT(*) OVER (PARTITION BY CAST('<x/>' AS xml))", 305),
    ] {
        assert_eq!(c.error(&format!("SELECT {expression} FROM t")), number, "{expression}");
    }
    assert_eq!(c.error("SELECT id FROM t WHERE SUM(n) OVER () > 1"), 4108);
}

#[test]
fn changes_see_common_table_expressions() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE s (id int, n int)");
    c.ok("WITH two AS (SELECT 1 AS id UNION ALL SELECT 2) INSERT t (id, n) SELECT id, id * 10 FROM two");
    c.ok("WITH x AS (SELECT 2 AS id) UPDATE t SET n = 7 FROM t JOIN x ON x.id = t.id");
    assert_eq!(c.rows("SELECT * FROM t ORDER BY id"), ["1|10", "2|7"]);
    c.ok("WITH x AS (SELECT MIN(id) AS id FROM t) DELETE FROM t WHERE id IN (SELECT id FROM x)");
    assert_eq!(c.rows("SELECT id FROM t"), ["2"]);
}

#[test]
fn recursion_goes_down_level_by_level() {
    let server = server();
    let mut c = server.connect();
    assert_eq!(
        c.value("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 101) SELECT COUNT(*) FROM n"),
        "101"
    );
    let deep = "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 102) SELECT MAX(i) FROM n";
    assert_eq!(c.error(deep), 530);
    assert_eq!(c.value(&format!("{deep} OPTION (MAXRECURSION 101)")), "102");
    assert_eq!(c.value(&format!("{deep} OPTION (MAXRECURSION 0)")), "102");
    c.ok("CREATE TABLE staff (id int PRIMARY KEY, boss int NULL, name varchar(10))");
    c.ok("INSERT staff VALUES (1, NULL, 'Ada'), (2, 1, 'Bob'), (3, 1, 'Cyd'), (4, 3, 'Dan')");
    let tree = "WITH tree (id, name, depth, path) AS (
            SELECT id, name, 0, CAST(name AS varchar(100)) FROM staff WHERE boss IS NULL
            UNION ALL
            SELECT s.id, s.name, t.depth + 1, CAST(t.path + '/' + s.name AS varchar(100))
            FROM staff AS s INNER JOIN tree AS t ON s.boss = t.id)";
    assert_eq!(
        c.rows(&format!("{tree} SELECT path, depth FROM tree ORDER BY path")),
        ["Ada|0", "Ada/Bob|1", "Ada/Cyd|1", "Ada/Cyd/Dan|2"]
    );
    // Twice in one query, and in a change.
    assert_eq!(
        c.value(&format!(
            "{tree} SELECT COUNT(*) FROM tree AS a JOIN tree AS b ON b.depth = a.depth"
        )),
        "6"
    );
    c.ok(&format!("{tree} UPDATE s SET name = t.path FROM staff AS s JOIN tree AS t ON t.id = s.id WHERE LEN(t.path) < 10"));
    assert_eq!(c.value("SELECT name FROM staff WHERE id = 2"), "Ada/Bob");
    for (query, number) in [
        ("WITH n AS (SELECT i FROM n) SELECT * FROM n", 252),
        ("WITH n AS (SELECT 1 AS i UNION SELECT i + 1 FROM n) SELECT * FROM n", 252),
        (
            "WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n UNION ALL SELECT 2) SELECT * FROM n",
            247,
        ),
        (
            "WITH n AS (SELECT 1 AS i UNION ALL SELECT CAST(i AS bigint) FROM n) SELECT * FROM n",
            240,
        ),
        (
            "WITH n AS (SELECT 1 AS i UNION ALL SELECT n.i FROM n CROSS JOIN n AS m) SELECT * FROM n",
            253,
        ),
        ("WITH n AS (SELECT 1 AS i UNION ALL SELECT DISTINCT i FROM n) SELECT * FROM n", 460),
        ("WITH n AS (SELECT 1 AS i UNION ALL SELECT TOP 1 i FROM n) SELECT * FROM n", 461),
        (
            "WITH n AS (SELECT 1 AS i UNION ALL SELECT n.i FROM n LEFT JOIN staff ON 1 = 1) SELECT * FROM n",
            462,
        ),
        ("WITH n AS (SELECT 1 AS i UNION ALL SELECT MAX(i) FROM n) SELECT * FROM n", 467),
        (
            "WITH n AS (SELECT 1 AS i UNION ALL SELECT i FROM n, (SELECT MAX(i) AS m FROM n) AS x) SELECT * FROM n",
            465,
        ),
        (
            "WITH n AS (SELECT 1 AS i UNION ALL SELECT i FROM n) SELECT * FROM n OPTION (MAXRECURSION 40000)",
            310,
        ),
    ] {
        assert_eq!(c.error(query), number, "{query}");
    }
}

#[test]
fn changes_go_through_common_table_expressions() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, k int, v varchar(10))");
    c.ok("INSERT t VALUES (1,1,'a'),(2,1,'b'),(3,2,'c'),(4,2,'d'),(5,3,'e')");
    assert_eq!(
        c.rows("WITH d AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY id DESC) AS rn FROM t WHERE id < 5)
                DELETE FROM d OUTPUT deleted.id WHERE rn > 1"),
        ["1", "3"]
    );
    c.ok("WITH x (name, more) AS (SELECT v, k + 1 FROM t) UPDATE x SET name += '!' WHERE more > 2");
    assert_eq!(c.rows("SELECT id, v FROM t ORDER BY id"), ["2|b", "4|d!", "5|e!"]);
    c.ok("WITH last AS (SELECT TOP (1) id FROM t ORDER BY k DESC, id) DELETE last");
    assert_eq!(c.rows("SELECT id FROM t ORDER BY id"), ["2", "4"]);
    assert_eq!(c.error("WITH x AS (SELECT k + 1 AS m FROM t) UPDATE x SET m = 1"), 4406);
    assert_eq!(c.error("WITH x AS (SELECT DISTINCT k FROM t) DELETE x"), 102);
    assert_eq!(c.error("WITH x AS (SELECT k FROM t) UPDATE x SET v = 'z'"), 207);
}

#[test]
fn grouping_sets_give_totals() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a varchar(5) NULL, b int NOT NULL, n int NOT NULL)");
    c.ok("INSERT t VALUES ('x', 1, 10), ('x', 2, 20), ('y', 1, 5), (NULL, 1, 7)");
    assert_eq!(
        c.rows("SELECT a, b, SUM(n), GROUPING(a), GROUPING_ID(a, b) FROM t GROUP BY ROLLUP (a, b) ORDER BY GROUPING_ID(a, b), a, b"),
        [
            "NULL|1|7|0|0", "x|1|10|0|0", "x|2|20|0|0", "y|1|5|0|0",
            "NULL|NULL|7|0|1", "x|NULL|30|0|1", "y|NULL|5|0|1",
            "NULL|NULL|42|1|3",
        ]
    );
    assert_eq!(
        c.rows("SELECT b, COUNT(*) FROM t GROUP BY b WITH ROLLUP ORDER BY GROUPING(b), b"),
        ["1|3", "2|1", "NULL|4"]
    );
    assert_eq!(c.rows("SELECT a, b, COUNT(*) FROM t GROUP BY CUBE (a, b)").len(), 4 + 3 + 2 + 1);
    assert_eq!(
        c.rows("SELECT CASE WHEN GROUPING(a) = 1 THEN 'all' ELSE a END, b, SUM(n) FROM t WHERE a IS NOT NULL GROUP BY GROUPING SETS ((a), (b), ()) HAVING SUM(n) > 5 ORDER BY 1, 2"),
        ["all|NULL|35", "all|1|15", "all|2|20", "x|NULL|30"]
    );
    assert_eq!(c.rows("SELECT a, b, COUNT(*) FROM t GROUP BY b, ROLLUP (a)").len(), 4 + 2);
    assert_eq!(
        c.rows("SELECT COUNT(*), GROUPING_ID(a) FROM t WHERE 1 = 0 GROUP BY ROLLUP (a)"),
        ["0|1"]
    );
    assert_eq!(c.error("SELECT GROUPING(b) FROM t GROUP BY ROLLUP (a)"), 8161);
}
