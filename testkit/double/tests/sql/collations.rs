//! Columns and expressions of other collations than the database's.

use super::fixture::server;
use mssql_double::{SqlType, Value};

#[test]
fn columns_compare_as_their_collations_say() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (b varchar(10) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY, s nvarchar(10) COLLATE SQL_Latin1_General_CP1_CS_AS UNIQUE, i varchar(10))");
    c.ok("INSERT t VALUES ('a', N'x', 'x'), ('B', N'X', 'X'), ('A', N'y', 'y'), ('b', NULL, 'Y')");
    assert_eq!(c.rows("SELECT b FROM t ORDER BY b"), ["A", "B", "a", "b"]);
    assert_eq!(c.rows("SELECT b FROM t WHERE b > 'B'"), ["a", "b"]);
    assert_eq!(c.rows("SELECT b FROM t WHERE b >= 'B' AND b < 'b' ORDER BY b DESC"), ["a", "B"]);
    assert_eq!(c.rows("SELECT s FROM t WHERE s IS NOT NULL ORDER BY s"), ["X", "x", "y"]);
    assert_eq!(c.rows("SELECT b FROM t WHERE s = 'x'"), ["a"]);
    assert_eq!(c.rows("SELECT b FROM t WHERE b LIKE '[A-Z]%' ORDER BY b"), ["A", "B"]);
    assert_eq!(c.value("SELECT COUNT(DISTINCT s) FROM t"), "3");
    assert_eq!(c.value("SELECT COUNT(DISTINCT i) FROM t"), "2");
    assert_eq!(
        c.rows("SELECT UPPER(s), COUNT(*) FROM t WHERE s IS NOT NULL GROUP BY UPPER(s) ORDER BY 1"),
        ["X|2", "Y|1"]
    );
    assert_eq!(c.rows("SELECT MAX(b), MIN(b) FROM t"), ["b|A"]);
    assert_eq!(c.error("INSERT t VALUES ('a ', N'z', 'z')"), 2627);
    assert_eq!(c.error("INSERT t VALUES ('c', N'x', 'z')"), 2627);
    c.ok("UPDATE t SET b = 'C' WHERE b = 'a'");
    assert_eq!(c.rows("SELECT b FROM t"), ["A", "B", "C", "b"]);
    assert_eq!(
        c.rows("SELECT name, collation_name FROM sys.columns WHERE object_id = OBJECT_ID('t') ORDER BY column_id"),
        ["b|Latin1_General_100_BIN2", "s|SQL_Latin1_General_CP1_CS_AS", "i|SQL_Latin1_General_CP1_CI_AS"]
    );
    // Parameters have the database's collation and give way to the column's.
    let param = super::fixture::param("@p", SqlType::NVarChar(Some(10)), Value::text("B"));
    assert_eq!(c.call("SELECT b FROM t WHERE b > @p ORDER BY b", vec![param]).rows, ["C", "b"]);
}

#[test]
fn collate_decides_and_different_columns_need_it() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, i varchar(10), s varchar(10) COLLATE Latin1_General_CS_AS)");
    c.ok("CREATE INDEX ix ON t (i); INSERT t VALUES (1, 'a', 'A'), (2, 'A', 'A'), (3, N'\u{e9}', 'b')");
    assert_eq!(c.rows("SELECT id FROM t WHERE i = 'A' COLLATE Latin1_General_BIN2"), ["2"]);
    assert_eq!(c.rows("SELECT id FROM t WHERE i COLLATE Latin1_General_CS_AS = 'A'"), ["2"]);
    assert_eq!(c.rows("SELECT id FROM t WHERE i = 'e' COLLATE Latin1_General_CI_AI"), ["3"]);
    assert_eq!(
        c.rows("SELECT id FROM t WHERE s = 'a' COLLATE DATABASE_DEFAULT ORDER BY id"),
        ["1", "2"]
    );
    assert_eq!(c.error("SELECT id FROM t WHERE i = s"), 468);
    assert_eq!(
        c.rows("SELECT id FROM t WHERE i = s COLLATE DATABASE_DEFAULT ORDER BY id"),
        ["1", "2"]
    );
    assert_eq!(
        c.rows("SELECT i FROM t WHERE id < 3 ORDER BY i COLLATE Latin1_General_BIN2"),
        ["A", "a"]
    );
    assert_eq!(c.rows("SELECT DISTINCT s FROM t ORDER BY s"), ["A", "b"]);
    c.ok("ALTER TABLE t ALTER COLUMN s varchar(10) COLLATE SQL_Latin1_General_CP1_CI_AS NULL");
    assert_eq!(c.rows("SELECT id FROM t WHERE i = s ORDER BY id"), ["1", "2"]);
    c.ok("DECLARE @v varchar(5); SELECT @v = s COLLATE Latin1_General_BIN2 FROM t WHERE id = 1; IF @v <> 'a' RAISERROR ('kept', 16, 1)");
    assert_eq!(c.error("SELECT 1 COLLATE Latin1_General_BIN2"), 447);
    assert_eq!(c.error("CREATE TABLE u (a int COLLATE Latin1_General_BIN2)"), 447);
    assert_eq!(c.error("SELECT 'a' COLLATE nope"), 448);
    assert_eq!(c.error("SELECT 'a' COLLATE Klingon_CI_AS"), 102);
}

#[test]
fn collations_survive_a_check_and_the_capture() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, s varchar(10) COLLATE Latin1_General_BIN2 CHECK (s <> 'X'))");
    assert_eq!(c.error("INSERT t VALUES (1, 'X')"), 547);
    c.ok("EXEC sys.sp_cdc_enable_db");
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL");
    c.ok("EXEC sys.sp_cdc_stop_job 'capture'; INSERT t VALUES (1, 'x'), (2, 'Y')");
    c.ok("EXEC sys.sp_cdc_scan");
    assert_eq!(c.rows("SELECT id FROM cdc.dbo_t_CT WHERE s = 'x' OR s = 'y'"), ["1"]);
    assert_eq!(
        c.value("SELECT collation_name FROM sys.columns WHERE object_id = OBJECT_ID('cdc.dbo_t_CT') AND name = 's'"),
        "Latin1_General_BIN2"
    );
}

#[test]
fn code_pages_hold_their_own_letters() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, r varchar(10) COLLATE Cyrillic_General_CI_AS, p char(4) COLLATE Polish_CI_AI, j varchar(6) COLLATE Japanese_CI_AS, u varchar(12) COLLATE Latin1_General_100_CI_AS_SC_UTF8, o varchar(10) COLLATE SQL_Latin1_General_CP850_CI_AS, l varchar(10))");
    c.ok("INSERT t VALUES (1, N'\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}', N'\u{17c}\u{f3}\u{142}', N'\u{65e5}\u{672c}', N'\u{e9}\u{1f600}', N'\u{2554}\u{e9}', N'\u{41f}\u{e9}')");
    assert_eq!(
        c.value("SELECT r, p, j, u, o, l FROM t"),
        "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}|\u{17c}\u{f3}\u{142} |\u{65e5}\u{672c}|\u{e9}\u{1f600}|\u{2554}\u{e9}|?\u{e9}"
    );
    assert_eq!(
        c.value("SELECT DATALENGTH(r), DATALENGTH(p), DATALENGTH(j), DATALENGTH(u), DATALENGTH(o), LEN(u) FROM t"),
        "6|4|4|6|2|3"
    );
    assert_eq!(
        c.value("SELECT CAST(r AS varbinary(9)), CAST(u AS varbinary(9)), CAST(o AS varbinary(9)), CAST(j AS varbinary(9)) FROM t"),
        "0xCFF0E8E2E5F2|0xC3A9F09F9880|0xC982|0x93FA967B"
    );
    // Comparison, case and concatenation in the column's own page.
    assert_eq!(
        c.rows("SELECT id FROM t WHERE r = N'\u{43f}\u{420}\u{418}\u{432}\u{435}\u{442}'"),
        ["1"]
    );
    assert_eq!(c.rows("SELECT id FROM t WHERE p = N'ZOL' OR p = N'Z\u{d3}\u{141}'"), ["1"]);
    assert_eq!(
        c.value("SELECT UPPER(r) + '!' FROM t"),
        "\u{41f}\u{420}\u{418}\u{412}\u{415}\u{422}!"
    );
    assert_eq!(
        c.value("SELECT SUBSTRING(j, 2, 1) + SUBSTRING(u, 1, 1) COLLATE Japanese_CI_AS FROM t"),
        "\u{672c}e"
    );
    assert_eq!(
        c.rows("SELECT MAX(r), COUNT(*) FROM t GROUP BY r"),
        ["\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}|1"]
    );
    assert_eq!(c.value("SELECT CAST(r AS varchar(3)) FROM t"), "\u{41f}\u{440}\u{438}");
    assert_eq!(c.value("SELECT CAST(r AS nvarchar(3)) FROM t"), "\u{41f}\u{440}\u{438}");
    assert_eq!(c.value("SELECT r COLLATE Latin1_General_CI_AS FROM t"), "??????");
    // Lengths are bytes of the page.
    assert_eq!(c.error("INSERT t (id, j) VALUES (2, N'\u{65e5}\u{672c}\u{8a9e}\u{65e5}')"), 2628);
    assert_eq!(c.error("INSERT t (id, u) VALUES (2, N'\u{1f600}\u{1f600}\u{1f600}x')"), 2628);
    c.ok("INSERT t (id, j, u) VALUES (2, N'\u{65e5}\u{672c}\u{8a9e}', N'\u{1f600}\u{1f600}\u{1f600}')");
    // An index in such a page.
    c.ok("CREATE TABLE k (r varchar(10) COLLATE Cyrillic_General_CI_AS PRIMARY KEY)");
    c.ok("INSERT k VALUES (N'\u{431}'), (N'\u{430}'), (N'\u{432}')");
    assert_eq!(c.rows("SELECT r FROM k"), ["\u{430}", "\u{431}", "\u{432}"]);
    assert_eq!(c.rows("SELECT r FROM k WHERE r > N'\u{410}' AND r < N'\u{412}'"), ["\u{431}"]);
    assert_eq!(c.error("INSERT k VALUES (N'\u{411}')"), 2627);
    // Variables have the database's collation.
    assert_eq!(
        c.rows("DECLARE @v varchar(10); SELECT @v = r FROM t WHERE id = 1; SELECT @v"),
        ["??????"]
    );
    assert_eq!(
        c.eval(
            "CAST(SQL_VARIANT_PROPERTY((SELECT r FROM t WHERE id = 1), 'Collation') AS sysname)"
        ),
        "Cyrillic_General_CI_AS"
    );
    assert_eq!(
        c.eval("CAST(COLLATIONPROPERTY('Latin1_General_100_BIN2_UTF8', 'CodePage') AS int)"),
        "65001"
    );
    assert_eq!(c.eval("CAST(COLLATIONPROPERTY('Polish_CI_AI', 'LCID') AS int)"), "1045");
}

#[test]
fn code_pages_survive_queries_changes_and_the_capture() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, r varchar(10) COLLATE Greek_CI_AS, m varchar(max) COLLATE Latin1_General_100_BIN2_UTF8, x text COLLATE Cyrillic_General_CI_AS)");
    c.ok("EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL; EXEC sys.sp_cdc_stop_job 'capture'");
    c.ok("INSERT t OUTPUT inserted.r VALUES (1, N'\u{3b1}', N'\u{4e16}', N'\u{436}')");
    c.ok("UPDATE t SET r = r + N'\u{3b2}'; EXEC sys.sp_cdc_scan");
    c.ok("CREATE VIEW v AS SELECT r, m, x FROM t");
    for sql in [
        "SELECT r, m, x FROM t",
        "SELECT TOP (1) r, m, x FROM cdc.dbo_t_CT WHERE __$operation = 4",
        "SELECT r, m, x FROM (SELECT * FROM t) AS d",
        "WITH d AS (SELECT r, m, x FROM t) SELECT * FROM d",
        "SELECT r, m, x FROM t UNION ALL SELECT r, m, x FROM t WHERE id = 9",
        "SELECT (SELECT r FROM t), m, x FROM t",
        "SELECT ISNULL(r, 'x'), COALESCE(m, 'y'), x FROM t",
        "SELECT FIRST_VALUE(r) OVER (ORDER BY id), MAX(m) OVER (), x FROM t",
        "SELECT r, m, x FROM v",
        "SELECT TOP (1) r, m, x FROM cdc.fn_cdc_get_all_changes_dbo_t(sys.fn_cdc_get_min_lsn('dbo_t'), sys.fn_cdc_get_max_lsn(), N'all') ORDER BY __$start_lsn DESC",
    ] {
        let kept = c.ok(sql);
        assert_eq!(kept.rows, ["\u{3b1}\u{3b2}|\u{4e16}|\u{436}"], "{sql}");
        let pages: Vec<u16> = kept.columns[0].iter().map(|column| column.label.page().0).collect();
        assert_eq!(pages, [1253, 65001, 1251], "{sql}");
    }
    c.ok("SELECT r, m INTO u FROM t; ALTER TABLE t ALTER COLUMN r varchar(20) COLLATE Greek_BIN2");
    assert_eq!(c.value("SELECT r, m FROM u"), "\u{3b1}\u{3b2}|\u{4e16}");
    assert_eq!(c.value("SELECT r FROM t"), "\u{3b1}\u{3b2}");
    c.ok("ALTER TABLE t ALTER COLUMN r varchar(20) COLLATE Cyrillic_General_CI_AS");
    assert_eq!(c.value("SELECT r FROM t"), "??");
    assert_eq!(
        c.rows("SELECT name, collation_name FROM sys.columns WHERE object_id = OBJECT_ID('u') ORDER BY name"),
        ["m|Latin1_General_100_BIN2_UTF8", "r|Greek_CI_AS"]
    );
}

/// A database of an OEM page: strings that come from no column are of that page, those of columns keep
/// their own.
#[test]
fn databases_have_collations() {
    let server = server();
    let mut c = server.connect_to("master");
    c.ok("CREATE DATABASE oem COLLATE SQL_Latin1_General_CP850_CI_AS");
    assert_eq!(
        c.rows("SELECT collation_name, CONVERT(sysname, DATABASEPROPERTYEX('oem', 'Collation')) FROM sys.databases WHERE name = 'oem'"),
        ["SQL_Latin1_General_CP850_CI_AS|SQL_Latin1_General_CP850_CI_AS"]
    );
    let mut c = server.connect_to("oem");
    c.ok("CREATE TABLE t (a varchar(10), b varchar(10) COLLATE Latin1_General_CI_AS, l binary(10)); INSERT t VALUES (N'é', N'é', 0x00000022000000330001)");
    assert_eq!(
        c.rows("SELECT name, collation_name FROM sys.columns WHERE object_id = OBJECT_ID('t') AND collation_name IS NOT NULL"),
        ["a|SQL_Latin1_General_CP850_CI_AS", "b|Latin1_General_CI_AS"]
    );
    // The bytes are the page's, and text made of bytes is read in it.
    let shown = c.ok("SELECT a, b, CAST(a AS varbinary(4)), CAST(b AS varbinary(4)), CAST(0x82 AS varchar(4)), CONVERT(varchar(22), l, 1), 'é' FROM t");
    assert_eq!(shown.rows, ["é|é|0x82|0xE9|é|0x00000022000000330001|é"]);
    let names: Vec<String> = shown.columns[0].iter().map(|column| column.label.name()).collect();
    let oem = "SQL_Latin1_General_CP850_CI_AS";
    assert_eq!([&names[0], &names[4], &names[5], &names[6]], [oem; 4]);
    assert_eq!(names[1], "Latin1_General_CI_AS");
    c.ok("ALTER DATABASE oem COLLATE SQL_Latin1_General_CP437_CI_AS");
    let shown = c.ok("SELECT CAST(1 AS varchar(4)), a FROM t");
    let names: Vec<String> = shown.columns[0].iter().map(|column| column.label.name()).collect();
    assert_eq!(names, ["SQL_Latin1_General_CP437_CI_AS", oem]);
}
