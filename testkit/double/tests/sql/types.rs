//! Types with rules of their own: `rowversion`, `numeric`, `text` and its kin, `xml`, `sql_variant`.

use super::fixture::{Client, server};
use mssql_double::SqlType;

#[test]
fn the_server_sets_a_row_version_with_every_change() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a int, v rowversion)");
    c.ok("INSERT t (id, a) VALUES (1, 1), (2, 2); INSERT t VALUES (3, 3, DEFAULT)");
    let versions = |c: &mut Client| c.rows("SELECT v FROM t ORDER BY v");
    assert_eq!(
        versions(&mut c),
        ["0x00000000000007D1", "0x00000000000007D2", "0x00000000000007D3"]
    );
    c.ok("UPDATE t SET a = a WHERE id = 2");
    assert_eq!(c.value("SELECT v FROM t WHERE id = 2"), "0x00000000000007D4");
    assert_eq!(c.eval("@@DBTS"), "0x00000000000007D4");
    assert_eq!(c.rows("SELECT id FROM t WHERE v > 0x00000000000007D2 ORDER BY id"), ["2", "3"]);
    assert_eq!(c.value("SELECT CAST(v AS bigint) FROM t WHERE id = 1"), "2001");
    assert_eq!(c.eval("CAST(5 AS timestamp)"), "0x0000000000000005");
    assert_eq!(c.error("INSERT t VALUES (4, 4, 0x01)"), 273);
    assert_eq!(c.error("INSERT t SELECT 4, 4, 0x01"), 273);
    assert_eq!(c.error("UPDATE t SET v = 0x01"), 272);
    assert_eq!(
        c.error("MERGE t USING (SELECT 9 AS id) AS s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id, v) VALUES (9, 0x01);"),
        273
    );
    c.ok("BEGIN TRAN; MERGE t USING (SELECT 1 AS id) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 9;");
    assert_eq!(c.value("SELECT COUNT(*) FROM t WHERE v = @@DBTS AND a = 9"), "1");
    c.ok("ROLLBACK");
    assert_eq!(c.error("CREATE TABLE u (a rowversion, b timestamp)"), 2738);
    assert_eq!(c.error("CREATE TABLE u (a rowversion DEFAULT 0x01)"), 1755);
    assert_eq!(c.error("ALTER TABLE t ALTER COLUMN v binary(8)"), 4928);
    assert_eq!(c.error("ALTER TABLE t ALTER COLUMN a timestamp"), 4927);
    assert_eq!(c.error("SELECT CAST(v AS nvarchar(10)) FROM t"), 529);
    c.ok("CREATE TABLE u (a int); INSERT u VALUES (1), (2); ALTER TABLE u ADD v rowversion");
    assert_eq!(c.value("SELECT COUNT(DISTINCT v) FROM u"), "2");
    let before = c.rows("SELECT v FROM u ORDER BY v");
    c.ok("ALTER TABLE u ADD w int NOT NULL DEFAULT 1");
    assert_eq!(c.rows("SELECT v FROM u ORDER BY v"), before);
    assert_eq!(
        c.value("SELECT system_type_id, user_type_id, max_length, is_nullable FROM sys.columns WHERE name = 'v' AND object_id = OBJECT_ID('t')"),
        "189|189|8|0"
    );
    assert_eq!(
        c.value("SELECT DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 't' AND COLUMN_NAME = 'v'"),
        "timestamp"
    );
}

#[test]
fn row_versions_go_on_behind_a_restart() {
    use mssql_double::engine::{Config, Server};
    use mssql_double::product::Release;
    let folder = tempfile::tempdir().expect("a folder");
    let open = || {
        let data = Some(folder.path().to_owned());
        Server::open(Config { data, sa_password: "secret".into(), release: Release::default() })
            .expect("a server opens")
    };
    let last = {
        let fixture = super::fixture::Fixture { server: open() };
        let mut c = fixture.connect_to("master");
        c.ok("CREATE DATABASE shop");
        c.ok("USE shop; CREATE TABLE t (id int PRIMARY KEY, v rowversion, x sql_variant, n text)");
        c.ok("INSERT t (id, x, n) VALUES (1, CAST(1.5 AS decimal(5, 2)), 'a'); INSERT t (id, x) VALUES (2, N'x')");
        let last = c.value("SELECT MAX(v) FROM t");
        fixture.server.shutdown();
        last
    };
    let fixture = super::fixture::Fixture { server: open() };
    let mut c = fixture.connect_to("shop");
    assert_eq!(c.value("SELECT MAX(v) FROM t"), last);
    assert_eq!(
        c.rows("SELECT SQL_VARIANT_PROPERTY(x, 'BaseType'), CAST(x AS varchar(9)), CAST(n AS varchar(9)) FROM t ORDER BY id"),
        ["(decimal)|1.50|a", "(nvarchar)|x|NULL"]
    );
    c.ok("INSERT t (id) VALUES (3)");
    assert_eq!(
        c.value("SELECT COUNT(*) FROM t WHERE id = 3 AND v > (SELECT v FROM t WHERE id = 2)"),
        "1"
    );
    fixture.server.shutdown();
}

#[test]
fn a_captured_row_version_is_a_binary_that_every_update_sets() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a int, v rowversion)");
    c.ok("EXEC sys.sp_cdc_enable_db");
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL");
    c.ok("EXEC sys.sp_cdc_stop_job 'capture'; INSERT t (id, a) VALUES (1, 1); UPDATE t SET a = 2");
    c.ok("EXEC sys.sp_cdc_scan");
    assert_eq!(
        c.rows("SELECT __$operation, __$update_mask, v FROM cdc.dbo_t_CT ORDER BY __$start_lsn, __$operation"),
        [
            "2|0x07|0x00000000000007D1",
            "3|0x06|0x00000000000007D1",
            "4|0x06|0x00000000000007D2"
        ]
    );
    assert_eq!(
        c.value("SELECT TYPE_NAME(system_type_id), is_nullable FROM sys.columns WHERE name = 'v' AND object_id = OBJECT_ID('cdc.dbo_t_CT')"),
        "binary|1"
    );
    assert_eq!(
        c.value("SELECT column_type FROM cdc.captured_columns WHERE column_name = 'v'"),
        "timestamp"
    );
}

#[test]
fn numeric_is_a_type_beside_decimal() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a numeric(9, 2), b decimal(9, 2))");
    assert_eq!(
        c.rows("SELECT name, system_type_id, user_type_id FROM sys.columns WHERE object_id = OBJECT_ID('t') ORDER BY column_id"),
        ["a|108|108", "b|106|106"]
    );
    c.ok("INSERT t VALUES (1.255, 1)");
    assert_eq!(c.rows("SELECT a, b FROM t WHERE a > b"), ["1.26|1.00"]);
    let numeric = |precision, scale| SqlType::Numeric { precision, scale };
    assert_eq!(c.type_of("1.5"), numeric(2, 1));
    assert_eq!(c.type_of("b * 2 FROM t"), numeric(11, 2));
    assert_eq!(c.type_of("b FROM t"), SqlType::Decimal { precision: 9, scale: 2 });
    assert_eq!(c.type_of("CAST(1 AS dec(5))"), SqlType::Decimal { precision: 5, scale: 0 });
}

#[test]
fn text_ntext_and_image_are_stored_and_not_compared() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a text, b ntext, c image)");
    c.ok("INSERT t VALUES (1, 'caf\u{e9}', N'\u{4e16}', 0x0102), (2, NULL, NULL, NULL), (3, '', N'', 0x)");
    assert_eq!(
        c.rows("SELECT a, b, c FROM t ORDER BY id"),
        ["caf\u{e9}|\u{4e16}|0x0102", "NULL|NULL|NULL", "||0x"]
    );
    assert_eq!(c.type_of("a FROM t"), SqlType::Text);
    assert_eq!(c.rows("SELECT id FROM t WHERE a LIKE 'ca%'"), ["1"]);
    assert_eq!(c.rows("SELECT id FROM t WHERE b IS NULL"), ["2"]);
    assert_eq!(
        c.rows("SELECT DATALENGTH(a), DATALENGTH(b), DATALENGTH(c), SUBSTRING(a, 2, 2), PATINDEX('%f%', a) FROM t WHERE id = 1"),
        ["4|2|2|af|3"]
    );
    assert_eq!(c.value("SELECT CAST(a AS varchar(max)) FROM t WHERE id = 1"), "caf\u{e9}");
    assert_eq!(c.value("SELECT CAST(b AS nvarchar(10)) + N'!' FROM t WHERE id = 1"), "\u{4e16}!");
    assert_eq!(c.value("SELECT CAST(c AS varbinary(max)) FROM t WHERE id = 1"), "0x0102");
    c.ok("UPDATE t SET a = 'x' + REPLICATE(CAST('y' AS varchar(max)), 10000) WHERE id = 2");
    assert_eq!(c.value("SELECT DATALENGTH(a) FROM t WHERE id = 2"), "10001");
    for (sql, number) in [
        ("SELECT id FROM t WHERE a = 'x'", 402),
        ("SELECT id FROM t WHERE 0x01 < c", 402),
        ("SELECT id FROM t ORDER BY a", 306),
        ("SELECT COUNT(*) FROM t GROUP BY b", 306),
        ("SELECT DISTINCT c FROM t", 421),
        ("SELECT a FROM t UNION SELECT a FROM t", 5335),
        ("SELECT MAX(a) FROM t", 8117),
        ("SELECT COUNT(DISTINCT a) FROM t", 8117),
        ("SELECT LEN(a) FROM t", 8116),
        ("SELECT a + 'x' FROM t", 402),
        ("SELECT CAST(a AS int) FROM t", 529),
        ("SELECT CAST(1 AS text)", 529),
        ("DECLARE @t text", 2739),
        ("CREATE INDEX i ON t (a)", 1919),
        ("CREATE TABLE u (a image PRIMARY KEY)", 1919),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    assert_eq!(c.rows("SELECT a FROM t WHERE id = 1 UNION ALL SELECT 'z'"), ["caf\u{e9}", "z"]);
    assert_eq!(
        c.rows("SELECT DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 't' AND COLUMN_NAME <> 'id' ORDER BY ORDINAL_POSITION"),
        ["text|2147483647|2147483647", "ntext|1073741823|2147483646", "image|2147483647|2147483647"]
    );
}

#[test]
fn xml_is_kept_as_content() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, x xml)");
    c.ok("INSERT t VALUES (1, '<?xml version=\"1.0\"?> <a  b=''1''> <c></c></a>'), (2, N'<\u{e4}>\u{4e16}</\u{e4}>'), (3, NULL), (4, '')");
    assert_eq!(
        c.rows("SELECT x FROM t ORDER BY id"),
        ["<a b=\"1\"><c/></a>", "<\u{e4}>\u{4e16}</\u{e4}>", "NULL", ""]
    );
    assert_eq!(c.type_of("x FROM t"), SqlType::Xml);
    assert_eq!(
        c.value("SELECT CAST(x AS nvarchar(max)) FROM t WHERE id = 2"),
        "<\u{e4}>\u{4e16}</\u{e4}>"
    );
    assert_eq!(c.eval("CAST(CAST('<a/>' AS xml) AS varbinary(max))"), "0xFFFE3C0061002F003E00");
    assert_eq!(c.eval("CONVERT(xml, '<a> </a>', 1)"), "<a> </a>");
    assert_eq!(c.eval("CAST(0x3C612F3E AS xml)"), "<a/>");
    for (sql, number) in [
        ("INSERT t VALUES (9, '<a>')", 9400),
        ("INSERT t VALUES (9, N'<?xml version=\"1.0\" encoding=\"utf-8\"?><a/>')", 9402),
        ("SELECT id FROM t WHERE x = '<a/>'", 402),
        ("SELECT a.id FROM t a JOIN t b ON a.x = b.x", 305),
        ("SELECT id FROM t ORDER BY x", 305),
        ("SELECT DISTINCT x FROM t", 421),
        ("SELECT CAST(x AS varchar(3)) FROM t WHERE id = 1", 6354),
        ("SELECT LEN(x) FROM t", 8116),
        ("DECLARE @v varchar(10) = CAST('<a/>' AS xml)", 257),
        ("SELECT CAST(1 AS xml)", 529),
        ("CREATE TABLE u (x xml PRIMARY KEY)", 1919),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    assert_eq!(
        c.value("SELECT system_type_id, max_length FROM sys.columns WHERE name = 'x' AND object_id = OBJECT_ID('t')"),
        "241|-1"
    );
}

#[test]
fn a_variant_keeps_type_facets_and_value() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, v sql_variant)");
    for (id, value) in [
        (1, "1"),
        (2, "CAST(1.5 AS decimal(10, 2))"),
        (3, "N'abc'"),
        (4, "'x'"),
        (5, "CAST('2020-01-02T03:04:05.1234567' AS datetime2(7))"),
        (6, "0x0102"),
        (7, "NULL"),
        (8, "1e0"),
        (9, "CAST(5 AS money)"),
        (10, "2.5"),
    ] {
        c.ok(&format!("INSERT t VALUES ({id}, {value})"));
    }
    let facts = c.rows("SELECT CAST(SQL_VARIANT_PROPERTY(v, 'BaseType') AS sysname), CAST(SQL_VARIANT_PROPERTY(v, 'Precision') AS int), CAST(SQL_VARIANT_PROPERTY(v, 'Scale') AS int), CAST(SQL_VARIANT_PROPERTY(v, 'MaxLength') AS int), CAST(SQL_VARIANT_PROPERTY(v, 'Collation') AS sysname) FROM t ORDER BY id");
    assert_eq!(
        facts,
        [
            "int|10|0|4|NULL",
            "decimal|10|2|9|NULL",
            "nvarchar|0|0|6|SQL_Latin1_General_CP1_CI_AS",
            "varchar|0|0|1|SQL_Latin1_General_CP1_CI_AS",
            "datetime2|27|7|8|NULL",
            "varbinary|0|0|2|NULL",
            "NULL|NULL|NULL|NULL|NULL",
            "float|53|0|8|NULL",
            "money|19|4|8|NULL",
            "numeric|2|1|5|NULL"
        ]
    );
    // By family: times, approximate numbers, exact ones, strings, binaries.
    assert_eq!(
        c.rows("SELECT id FROM t ORDER BY v, id"),
        ["7", "6", "3", "4", "1", "2", "10", "9", "8", "5"]
    );
    assert_eq!(c.rows("SELECT id FROM t WHERE v = 1"), ["1"]);
    assert_eq!(c.rows("SELECT id FROM t WHERE v = 'ABC'"), ["3"]);
    assert_eq!(c.rows("SELECT id FROM t WHERE CAST(SQL_VARIANT_PROPERTY(v, 'BaseType') AS nvarchar(128)) IN ('int', 'float') ORDER BY id"), ["1", "8"]);
    assert_eq!(
        c.rows("SELECT id FROM t WHERE SQL_VARIANT_PROPERTY(v, 'BaseType') = 'money'"),
        ["9"]
    );
    assert_eq!(c.value("SELECT COUNT(DISTINCT v) FROM t"), "9");
    assert_eq!(c.value("SELECT CAST(v AS int) + 1 FROM t WHERE id = 1"), "2");
    assert_eq!(
        c.value("SELECT CONVERT(varchar(40), v, 121) FROM t WHERE id = 5"),
        "2020-01-02 03:04:05.1234567"
    );
    assert_eq!(c.value("SELECT DATALENGTH(v) FROM t WHERE id = 3"), "6");
    for (sql, number) in [
        ("SELECT v + 1 FROM t", 8117),
        ("DECLARE @i int = (SELECT v FROM t WHERE id = 1)", 257),
        ("INSERT t VALUES (11, CAST('x' AS varchar(max)))", 206),
        ("INSERT t VALUES (11, CAST('<a/>' AS xml))", 206),
        ("SELECT CAST(v AS xml) FROM t", 529),
        ("SELECT LEN(v) FROM t", 8116),
        ("SELECT CAST(v AS int) FROM t WHERE id = 3", 245),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("DECLARE @v sql_variant = 5; SET @v = N'x'; INSERT t VALUES (12, @v)");
    assert_eq!(
        c.value("SELECT CAST(SQL_VARIANT_PROPERTY(v, 'BaseType') AS sysname) FROM t WHERE id = 12"),
        "nvarchar"
    );
    c.ok("CREATE INDEX i ON t (v)");
    assert_eq!(c.rows("SELECT id FROM t WHERE v > CAST('2000-01-01' AS date)"), ["5"]);
}

#[test]
fn every_type_converts_to_text_without_loss() {
    let server = server();
    let mut c = server.connect();
    for (expression, expected) in [
        ("CONVERT(nvarchar(60), CAST(-0.0e0 AS float), 3)", "-0.0000000000000000e+000"),
        ("CONVERT(nvarchar(60), CAST(1 AS float) / 3, 3)", "3.3333333333333331e-001"),
        ("CONVERT(nvarchar(60), CAST(0.1 AS real), 3)", "1.00000001e-001"),
        ("CONVERT(nvarchar(60), CAST(-922337203685477.5808 AS money), 2)", "-922337203685477.5808"),
        ("CONVERT(nvarchar(60), 0x00FF, 2)", "00FF"),
        (
            "CONVERT(nvarchar(60), CAST('2020-02-29 23:59:59.997' AS datetime), 126)",
            "2020-02-29T23:59:59.997",
        ),
        (
            "CONVERT(nvarchar(60), CAST('2020-02-29 23:59:59.997' AS datetime), 121)",
            "2020-02-29 23:59:59.997",
        ),
        (
            "CONVERT(nvarchar(60), CAST('2020-02-29 23:59' AS smalldatetime), 126)",
            "2020-02-29T23:59:00",
        ),
        ("CONVERT(nvarchar(60), CAST('0001-01-01' AS date), 126)", "0001-01-01"),
        ("CONVERT(nvarchar(60), CAST('23:59:59.9999999' AS time(7)), 126)", "23:59:59.9999999"),
        (
            "CONVERT(nvarchar(60), CAST('9999-12-31T23:59:59.9999999' AS datetime2(7)), 126)",
            "9999-12-31T23:59:59.9999999",
        ),
        (
            "CONVERT(nvarchar(60), CAST('2020-01-01T00:00:00.1234567-05:30' AS datetimeoffset(7)), 126)",
            "2020-01-01T00:00:00.1234567-05:30",
        ),
        (
            "CONVERT(nvarchar(60), CAST('2020-01-01T00:00:00.1234567-05:30' AS datetimeoffset(7)), 121)",
            "2020-01-01 00:00:00.1234567 -05:30",
        ),
        (
            "CONVERT(nvarchar(60), CAST('2020-01-01T00:00:00-05:30' AS datetimeoffset(7)), 127)",
            "2020-01-01T05:30:00.0000000Z",
        ),
        (
            "CONVERT(nvarchar(60), CAST('6F9619FF-8B86-D011-B42D-00C04FC964FF' AS uniqueidentifier))",
            "6F9619FF-8B86-D011-B42D-00C04FC964FF",
        ),
        (
            "CONVERT(nvarchar(60), CAST(99999999999999999999999999999999999.999 AS decimal(38, 3)))",
            "99999999999999999999999999999999999.999",
        ),
    ] {
        assert_eq!(c.eval(expression), expected, "{expression}");
        // The same out of a sql_variant.
        let open = expression.find(", ").expect("a type first") + 2;
        let styled = !expression.ends_with("))");
        let close =
            if styled { expression.rfind(", ").expect("a style") } else { expression.len() - 1 };
        let (value, rest) = (&expression[open..close], &expression[close..]);
        let wrapped = format!("{}CAST({value} AS sql_variant){rest}", &expression[..open]);
        assert_eq!(c.eval(&wrapped), expected, "{wrapped}");
    }
}

#[test]
fn large_values_follow_the_rules_of_change_tables() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, a int, t text, n ntext, i image, x xml, m varchar(max), v sql_variant)");
    c.ok("EXEC sys.sp_cdc_enable_db");
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL");
    c.ok("EXEC sys.sp_cdc_stop_job 'capture'");
    c.ok("INSERT t VALUES (1, 1, 't', N'n', 0x01, '<x/>', 'm', 5)");
    c.ok("UPDATE t SET a = 2");
    c.ok("UPDATE t SET t = 'u', n = N'o', i = 0x02, x = '<y/>', m = 'w', v = N'v'");
    c.ok("DELETE t; EXEC sys.sp_cdc_scan");
    assert_eq!(
        c.rows("SELECT __$operation, a, t, n, i, x, m, CAST(v AS varchar(9)) FROM cdc.dbo_t_CT ORDER BY __$start_lsn, __$command_id, __$operation"),
        [
            "2|1|t|n|0x01|<x/>|m|5",
            "3|1|NULL|NULL|NULL|NULL|NULL|5",
            "4|2|t|n|0x01|<x/>|m|5",
            "3|2|NULL|NULL|NULL|<x/>|m|5",
            "4|2|u|o|0x02|<y/>|w|v",
            "1|2|NULL|NULL|NULL|<y/>|w|v"
        ]
    );
    assert_eq!(
        c.rows("SELECT TYPE_NAME(system_type_id) FROM sys.columns WHERE object_id = OBJECT_ID('cdc.dbo_t_CT') AND column_id BETWEEN 8 AND 13 ORDER BY column_id"),
        ["text", "ntext", "image", "xml", "varchar", "sql_variant"]
    );
}

#[test]
fn a_captured_table_has_room_for_the_change_tables_own_columns() {
    let server = server();
    let mut c = server.connect();
    let columns = |count: usize| {
        let list: Vec<String> = (1..=count).map(|at| format!("c{at} int")).collect();
        list.join(", ")
    };
    assert_eq!(c.error(&format!("CREATE TABLE t ({})", columns(1025))), 1702);
    c.ok(&format!("CREATE TABLE t ({}); CREATE TABLE u ({})", columns(1024), columns(1018)));
    assert_eq!(c.error("ALTER TABLE t ADD c1025 int"), 1702);
    c.ok("EXEC sys.sp_cdc_enable_db");
    assert_eq!(c.error("EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL"), 22925);
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 'u', @role_name = NULL");
    assert_eq!(
        c.value("SELECT COUNT(*) FROM sys.columns WHERE object_id = OBJECT_ID('cdc.dbo_u_CT')"),
        "1024"
    );
}

#[test]
fn textsize_cuts_what_is_sent_and_nothing_else() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a text, b ntext, c image, d varchar(max), e varchar(10))");
    c.ok("INSERT t VALUES ('abcdef', N'abcdef', 0x010203040506, 'abcdef', 'abcdef')");
    c.ok("SET TEXTSIZE 4");
    assert_eq!(
        c.rows("SELECT a, b, c, d, e, DATALENGTH(a) FROM t"),
        ["abcd|ab|0x01020304|abcd|abcdef|6"]
    );
    c.ok("SET TEXTSIZE 0");
    assert_eq!(c.rows("SELECT a, d FROM t"), ["abcdef|abcdef"]);
}
