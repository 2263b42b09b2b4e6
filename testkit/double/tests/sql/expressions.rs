//! Typing, arithmetic, functions, conversions.

use super::fixture::server;
use mssql_double::SqlType;

#[test]
fn numbers_follow_their_types() {
    let server = server();
    let mut c = server.connect();
    for (expression, expected) in [
        ("7/2", "3"),
        ("-7/2", "-3"),
        ("7%3", "1"),
        ("7/2.0", "3.500000"),
        ("2.0/3", "0.666666"),
        ("1.50*2.25", "3.3750"),
        ("CAST(1 AS decimal(10,2)) / 3", "0.333333"),
        ("CAST(1 AS decimal(10,2)) / CAST(3 AS int)", "0.3333333333333"),
        ("1 + 2 & 1", "1"),
        ("1 | 2 + 4", "7"),
        ("~5", "-6"),
        ("- -5", "5"),
        ("5 ^ 1", "4"),
        ("1e1/4", "2.5"),
        ("$1.5 * 2", "$30000"),
        ("'1' + 2", "3"),
        ("'a' + N'b'", "ab"),
        ("0x01 + 0x02", "0x0102"),
        ("CAST('1900-01-02' AS datetime) + 1", "DateTime { days: 2, ticks: 0 }"),
        ("CAST(5 AS bigint) * 1000000000", "5000000000"),
        ("NULL + 1", "NULL"),
        ("CASE WHEN 1=1 THEN 1 ELSE 2.5 END", "1.0"),
        ("COALESCE(NULL, 2, 3)", "2"),
        ("ISNULL(NULL, 'x')", "x"),
        ("NULLIF(1, 1)", "NULL"),
        ("IIF(1 > 2, 'a', 'b')", "b"),
    ] {
        assert_eq!(c.eval(expression), expected, "{expression}");
    }
    assert_eq!(c.type_of("2.0/3"), SqlType::Numeric { precision: 7, scale: 6 });
    assert_eq!(c.type_of("1 + CAST(1 AS bigint)"), SqlType::BigInt);
    assert_eq!(c.type_of("'ab' + 'c'"), SqlType::VarChar(Some(3)));
    assert_eq!(c.type_of("3000000000"), SqlType::Numeric { precision: 10, scale: 0 });
}

#[test]
fn errors_have_their_numbers() {
    let server = server();
    let mut c = server.connect();
    for (sql, number) in [
        ("SELECT 1/0", 8134),
        ("SELECT 2147483647 + 1", 8115),
        ("SELECT CAST(256 AS tinyint)", 220),
        ("SELECT CAST('x' AS int)", 245),
        ("SELECT CAST('x' AS decimal(5,2))", 8114),
        ("SELECT CAST('2020-13-01' AS date)", 241),
        ("SELECT CAST('2020-02-31' AS datetime)", 242),
        ("SELECT 'a' - 'b'", 8117),
        ("SELECT CAST(GETDATE() AS date) + 1", 206),
        ("SELECT x", 207),
        ("SELECT * FROM nowhere", 208),
        ("SELECT @x", 137),
        ("SELEC 1", 2812),
        ("SELECT 1 1", 102),
        ("SELECT FROM", 156),
        ("SELECT nofunction(1)", 195),
        ("SELECT 1 WHERE 1", 4145),
        ("SELECT (SELECT 1, 2)", 116),
        ("SELECT SUM('a')", 8117),
        ("SELECT 'abc", 105),
        ("SELECT 1 FROM sys.nothing", 208),
        ("EXEC nothing", 2812),
        ("SELECT a.b FROM sys.tables t", 4104),
        ("SELECT 1 FROM (VALUES (1),(2)) v(a) WHERE a = 0x01 + 'a'", 402),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
}

#[test]
fn what_is_not_covered_is_refused() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int)");
    for sql in [
        "SELECT TOP 10 PERCENT * FROM t",
        "SELECT TOP (1) WITH TIES * FROM t ORDER BY a",
        "SELECT a FROM (SELECT a INTO u FROM t) AS x",
        "SELECT a FROM t FOR XML PATH",
        "SELECT a FROM t WITH (READPAST)",
        "SELECT a FROM t OPTION (TABLE HINT(t))",
        "CREATE FUNCTION f () RETURNS int AS BEGIN RETURN 1 END",
        "CREATE TRIGGER r ON t AFTER INSERT AS PRINT 'r'",
        "CREATE TABLE u (a xml(dbo.c))",
        "CREATE TABLE u (a char(1) COLLATE Klingon_CI_AS)",
        "SELECT GETDATE() AT TIME ZONE 'UTC'",
        "DBCC CHECKDB",
        "SELECT a FROM t WHERE a > ALL (SELECT a FROM t)",
        "SET NUMERIC_ROUNDABORT ON",
        "BACKUP LOG shop TO DISK = 'x'",
    ] {
        let number = c.error(sql);
        assert!(matches!(number, 102 | 156), "{sql}: {number}");
    }
}

#[test]
fn string_functions() {
    let server = server();
    let mut c = server.connect();
    for (expression, expected) in [
        ("LEN('ab  ')", "2"),
        ("DATALENGTH(N'ab ')", "6"),
        ("DATALENGTH(CAST(1 AS bigint))", "8"),
        ("SUBSTRING('hello', 2, 3)", "ell"),
        ("SUBSTRING('hello', 0, 3)", "he"),
        ("SUBSTRING(0x010203, 2, 1)", "0x02"),
        ("LEFT('hello', 2) + RIGHT('hello', 2)", "helo"),
        ("UPPER('straße')", "STRAßE"),
        ("LTRIM('  a ') + '|'", "a |"),
        ("TRIM('  a ') + '|'", "a|"),
        ("REPLACE('Banana', 'AN', 'o')", "Booa"),
        ("REPLICATE('ab', 3)", "ababab"),
        ("CHARINDEX('L', 'hello')", "3"),
        ("CHARINDEX('l', 'hello', 4)", "4"),
        ("CONCAT('a', NULL, 1, 2.5)", "a12.5"),
        ("STUFF('hello', 2, 3, 'X')", "hXo"),
        ("STR(123.45, 6, 1)", " 123.5"),
        ("CHAR(65) + NCHAR(8364)", "A€"),
        ("ASCII('A')", "65"),
        ("UNICODE(N'€')", "8364"),
        ("QUOTENAME('a]b')", "[a]]b]"),
        ("CASE WHEN 'ABC ' = 'abc' THEN 1 ELSE 0 END", "1"),
        ("CASE WHEN 'a_c' LIKE 'a[_]%' THEN 1 ELSE 0 END", "1"),
        ("CONVERT(varchar(30), 0x0A1B, 1)", "0x0A1B"),
        ("CONVERT(varbinary(10), '0A1B', 2)", "0x0A1B"),
        (
            "CONVERT(varchar(23), CAST('2026-11-23T17:57:09.123' AS datetime), 126)",
            "2026-11-23T17:57:09.123",
        ),
        ("TRY_CAST('x' AS int)", "NULL"),
        ("TRY_CONVERT(int, '12')", "12"),
    ] {
        assert_eq!(c.eval(expression), expected, "{expression}");
    }
}

#[test]
fn date_and_number_functions() {
    let server = server();
    let mut c = server.connect();
    for (expression, expected) in [
        ("CONVERT(varchar(30), DATEADD(month, 1, CAST('2026-01-31' AS date)))", "2026-02-28"),
        (
            "CONVERT(varchar(30), DATEADD(day, -1, CAST('2026-01-01' AS datetime2(3))))",
            "2025-12-31 00:00:00.000",
        ),
        ("DATEDIFF(day, '2026-01-01', '2026-03-01')", "59"),
        ("DATEDIFF(year, '2025-12-31', '2026-01-01')", "1"),
        ("DATEDIFF(hour, '2026-01-01 00:59', '2026-01-01 01:00')", "1"),
        ("DATEPART(weekday, '2026-11-23')", "2"),
        ("DATENAME(month, '2026-11-23')", "November"),
        ("DATEPART(week, '2026-01-04')", "2"),
        ("YEAR('2026-11-23') * 100 + MONTH('2026-11-23')", "202611"),
        (
            "CONVERT(varchar(40), SWITCHOFFSET(CAST('2026-01-01 00:00 +00:00' AS datetimeoffset(0)), '+02:00'))",
            "2026-01-01 02:00:00 +02:00",
        ),
        ("CONVERT(varchar(10), EOMONTH('2024-02-10'))", "2024-02-29"),
        ("ABS(-5)", "5"),
        ("ROUND(123.456, 2)", "123.460"),
        ("ROUND(123.456, 1, 1)", "123.400"),
        ("ROUND(1250, -2)", "1300"),
        ("FLOOR(-1.5)", "-2"),
        ("CEILING(1.2)", "2"),
        ("POWER(2, 10)", "1024"),
        ("SQRT(16)", "4.0"),
        ("SIGN(-2.5)", "-1.0"),
    ] {
        assert_eq!(c.eval(expression), expected, "{expression}");
    }
}

#[test]
fn the_session_knows_itself() {
    let server = server();
    let mut c = server.connect();
    assert_eq!(c.eval("DB_NAME()"), "shop");
    assert_eq!(c.eval("@@TRANCOUNT"), "0");
    assert_eq!(c.eval("SUSER_SNAME()"), "sa");
    assert_eq!(c.eval("USER_NAME()"), "dbo");
    assert_eq!(c.eval("IS_SRVROLEMEMBER('sysadmin')"), "1");
    assert_eq!(c.eval("SERVERPROPERTY('EngineEdition')"), "(3)");
    assert_eq!(c.eval("DB_ID('nope')"), "NULL");
    assert_eq!(
        c.eval("CASE WHEN OBJECT_ID('sys.sp_cdc_enable_db') IS NULL THEN 0 ELSE 1 END"),
        "1"
    );
}
