//! What scripts of old servers use: options of ANSI behaviour turned off, the system tables of SQL
//! Server 2000, and functions of their time.

use super::fixture::server;

#[test]
fn options_that_are_off_are_kept_or_refused() {
    let server = server();
    let mut c = server.connect();
    c.ok("SET ANSI_NULLS OFF; SET QUOTED_IDENTIFIER OFF; SET ANSI_WARNINGS OFF; SET CONCAT_NULL_YIELDS_NULL OFF; SET ARITHABORT OFF");
    c.ok("CREATE TABLE t (a int, b varchar(9))");
    c.ok("CREATE PROCEDURE p AS SELECT 1");
    assert_eq!(c.value("SELECT uses_ansi_nulls FROM sys.tables WHERE name = 't'"), "0");
    assert_eq!(
        c.value("SELECT uses_ansi_nulls, uses_quoted_identifier FROM sys.sql_modules"),
        "0|0"
    );
    // What would have another answer has none.
    for sql in [
        "SELECT 1 FROM t WHERE a = NULL",
        "DECLARE @v int; SELECT 1 FROM t WHERE a <> @v",
        "DECLARE @v int; SELECT 1 FROM t WHERE a IN (1, @v)",
        "DECLARE @v int; SELECT CASE a WHEN @v THEN 1 END FROM t",
        "SELECT b + NULL FROM t",
        "SELECT b + 'x' FROM t",
        "SELECT \"a\" FROM t",
        "EXEC ('SELECT \"a\" FROM t')",
    ] {
        assert_eq!(c.error(sql), 102, "{sql}");
    }
    assert!(c.rows("SELECT a FROM t WHERE a = 1 AND b <> 'x' AND a IS NOT NULL").is_empty());
    assert_eq!(c.error("CREATE INDEX f ON t (a) WHERE a > 1"), 1934);
    c.ok("SET ANSI_NULLS, QUOTED_IDENTIFIER, ANSI_WARNINGS, CONCAT_NULL_YIELDS_NULL ON");
    c.ok("CREATE INDEX f ON t (a) WHERE a > 1; INSERT t VALUES (1, 'x')");
    assert_eq!(c.rows("SELECT \"a\", b + 'y' FROM t WHERE a = 1"), ["1|xy"]);
    c.ok("SET QUOTED_IDENTIFIER OFF");
    for sql in [
        "INSERT t VALUES (2, 'y')",
        "UPDATE t SET b = 'z'",
        "DELETE t",
        "MERGE t USING (VALUES (1)) s (a) ON t.a = s.a WHEN MATCHED THEN DELETE;",
    ] {
        assert_eq!(c.error(sql), 1934, "{sql}");
    }
    assert_eq!(c.error("SET QUOTED_IDENTIFIER OFF; SELECT \"a\" FROM t"), 102);
    assert_eq!(c.error("SET NUMERIC_ROUNDABORT ON"), 102);
    // Another session has its own.
    server.connect().ok("INSERT t VALUES (2, 'y')");
}

#[test]
fn columns_without_padding_lose_what_trails() {
    let server = server();
    let mut c = server.connect();
    c.ok("SET ANSI_PADDING OFF");
    c.ok("CREATE TABLE t (v varchar(9), c char(4) NULL, f char(4) NOT NULL, b varbinary(9), n nvarchar(9))");
    c.ok("SET ANSI_PADDING ON; ALTER TABLE t ADD p varchar(9)");
    c.ok("INSERT t VALUES ('a  ', 'b ', 'c', 0x0100, N'd ', 'e  ')");
    let lengths = "SELECT DATALENGTH(v), DATALENGTH(c), DATALENGTH(f), DATALENGTH(b), DATALENGTH(n), DATALENGTH(p) FROM t";
    assert_eq!(c.rows(lengths), ["1|1|4|1|4|3"]);
    c.ok("UPDATE t SET v = '  ', c = 'x   ', p = v + '!  '");
    assert_eq!(c.rows(lengths), ["0|1|4|1|4|4"]);
    assert_eq!(
        c.rows("SELECT name, is_ansi_padded FROM sys.columns WHERE object_id = OBJECT_ID('t') ORDER BY column_id"),
        ["v|0", "c|0", "f|0", "b|0", "n|1", "p|1"]
    );
}

#[test]
fn the_tables_of_old_are_views() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE p (id int IDENTITY CONSTRAINT pk PRIMARY KEY, n nvarchar(20) NOT NULL, d decimal(9,2) CONSTRAINT df DEFAULT 1.5, c AS id + 1)");
    c.ok("CREATE TABLE f (id int CONSTRAINT fk REFERENCES p); INSERT p (n) VALUES (N'x'), (N'y')");
    assert_eq!(
        c.rows("SELECT name, xtype, type, OBJECT_NAME(parent_obj) FROM sysobjects WHERE parent_obj = OBJECT_ID('p') OR id = OBJECT_ID('p') ORDER BY name"),
        ["df|D |D |p", "p|U |U |NULL", "pk|PK|K |p"]
    );
    assert_eq!(c.value("SELECT COUNT(*) FROM dbo.sysobjects WHERE id = object_id(N'[dbo].[p]') AND OBJECTPROPERTY(id, N'IsUserTable') = 1"), "1");
    assert_eq!(
        c.rows("SELECT name, xtype, length, prec, scale, isnullable, iscomputed, colstat FROM sys.syscolumns WHERE id = OBJECT_ID('p') ORDER BY colid"),
        ["id|56|4|10|0|0|0|1", "n|231|40|20|0|0|0|0", "d|106|5|9|2|1|0|0", "c|56|4|10|0|1|1|0"]
    );
    assert_eq!(
        c.rows("SELECT i.name, i.indid, i.rows FROM sysindexes i WHERE i.id = OBJECT_ID('p')"),
        ["pk|1|2"]
    );
    assert_eq!(c.rows("SELECT OBJECT_NAME(constid), OBJECT_NAME(rkeyid), fkey, rkey, keyno FROM sysforeignkeys"), ["fk|p|1|1|1"]);
    assert_eq!(c.rows("SELECT text FROM syscomments WHERE id = OBJECT_ID('df')"), ["((1.5))"]);
    assert_eq!(c.rows("SELECT name FROM master..sysdatabases WHERE name = 'shop'"), ["shop"]);
    assert_eq!(c.rows("SELECT name, length FROM systypes WHERE xusertype = 56"), ["int|4"]);
    assert_eq!(c.error("SELECT * FROM sysnothing"), 208);
}

#[test]
fn bytes_are_hashed() {
    let server = server();
    let mut c = server.connect();
    for (algorithm, wanted) in [
        ("md5", "0x900150983CD24FB0D6963F7D28E17F72"),
        ("SHA", "0xA9993E364706816ABA3E25717850C26C9CD0D89D"),
        ("SHA1", "0xA9993E364706816ABA3E25717850C26C9CD0D89D"),
        ("SHA2_256", "0xBA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
    ] {
        assert_eq!(c.eval(&format!("HASHBYTES('{algorithm}', 'abc')")), wanted, "{algorithm}");
        assert_eq!(c.eval(&format!("HASHBYTES('{algorithm}', 0x616263)")), wanted, "{algorithm}");
    }
    assert_eq!(c.eval("DATALENGTH(HASHBYTES('SHA2_512', N'abc'))"), "64");
    assert_eq!(c.eval("HASHBYTES('MD5', N'abc')"), "0xCE1473CF80C6B3FDA8E3DFC006ADC315");
    assert_eq!(c.eval("HASHBYTES('MD5', NULL), HASHBYTES('nothing', 'abc')"), "NULL|NULL");
    assert_eq!(c.error("SELECT HASHBYTES('MD5', 1)"), 8116);
    assert_eq!(c.error("SELECT HASHBYTES('MD4', 'abc')"), 102);
}
