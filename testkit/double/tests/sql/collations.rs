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
    assert_eq!(c.error("SELECT 'a' COLLATE Japanese_CI_AS"), 102);
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
