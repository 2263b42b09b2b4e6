//! `hierarchyid`, `geometry`, `geography`; alias types; the types of SQL Server 2025.

use mssql_double::SqlType;
use mssql_double::product::Release;

use super::fixture::{server, server_of};

#[test]
fn a_hierarchyid_is_a_path_that_sorts_and_reads() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (h hierarchyid PRIMARY KEY, n varchar(10))");
    c.ok("INSERT t VALUES ('/', 'root'); INSERT t VALUES (hierarchyid::Parse('/1/'), 'a'); INSERT t VALUES (0x5AC0, 'b')");
    c.ok("INSERT t VALUES (hierarchyid::Parse('/1/').GetAncestor(1).ToString() + '2.5/', 'c'), (CAST('/-3/' AS hierarchyid), 'd')");
    assert_eq!(
        c.rows("SELECT h.ToString(), t.h.GetLevel(), n FROM t ORDER BY h"),
        ["/|0|root", "/-3/|1|d", "/1/|1|a", "/1/1/|2|b", "/2.5/|1|c"]
    );
    assert_eq!(c.rows("SELECT n FROM t WHERE h = '/1/1/'"), ["b"]);
    assert_eq!(c.rows("SELECT n FROM t WHERE h.IsDescendantOf('/1/') = 1 ORDER BY n"), ["a", "b"]);
    assert_eq!(
        c.rows("SELECT CAST(h AS varbinary(892)), CAST(h AS nvarchar(100)) FROM t WHERE n = 'b'"),
        ["0x5AC0|/1/1/"]
    );
    assert_eq!(c.type_of("h FROM t"), SqlType::HierarchyId);
    assert_eq!(c.rows("SELECT COUNT(DISTINCT h) FROM t"), ["5"]);
    for (sql, number) in [
        ("INSERT t VALUES ('1/2', 'x')", 6522),
        ("INSERT t VALUES (0x01, 'x')", 6522),
        ("INSERT t VALUES ('/1/', 'x')", 2627),
        ("INSERT t VALUES (1, 'x')", 206),
        ("SELECT h.GetDescendant(NULL, NULL) FROM t", 102),
        ("SELECT n.ToString() FROM t", 258),
        ("DECLARE @v varbinary(892) = (SELECT h FROM t WHERE n = 'a')", 257),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    assert_eq!(
        c.value("SELECT system_type_id, user_type_id, max_length FROM sys.columns WHERE name = 'h' AND object_id = OBJECT_ID('t')"),
        "240|128|892"
    );
}

#[test]
fn shapes_come_from_text_and_read_back() {
    let server = server();
    let mut c = server.connect();
    for text in [
        "POINT (1 2)",
        "POINT EMPTY",
        "LINESTRING (0 0, 1.5 1, 3 -2)",
        "LINESTRING (0 0, 1 1)",
        "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 2 1, 2 2, 1 1))",
        "MULTIPOINT ((1 2), (3 4), EMPTY)",
        "MULTILINESTRING ((0 0, 1 1), (2 2, 3 3, 4 4))",
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))",
        "GEOMETRYCOLLECTION (POINT (1 2), GEOMETRYCOLLECTION (LINESTRING (0 0, 1 1)), POLYGON EMPTY)",
        "CIRCULARSTRING (0 0, 1 1, 2 0)",
        "COMPOUNDCURVE ((0 0, 1 0, 2 0), CIRCULARSTRING (2 0, 3 1, 4 0), (4 0, 5 0))",
        "CURVEPOLYGON (CIRCULARSTRING (0 0, 1 1, 2 0, 1 -1, 0 0), (0.5 0, 1 0, 1 0.5, 0.5 0))",
        "CURVEPOLYGON (COMPOUNDCURVE ((0 0, 2 0, 2 2), CIRCULARSTRING (2 2, 1 0, 0 0)))",
        "POINT (1E+20 -1.5E-07)",
    ] {
        assert_eq!(c.eval(&format!("geometry::STGeomFromText('{text}', 0).STAsText()")), text);
        assert_eq!(c.eval(&format!("geometry::Parse('{text}').ToString()")), text);
        if !text.contains("E+20") {
            assert_eq!(
                c.eval(&format!("geography::STGeomFromText('{text}', 4326).STAsText()")),
                text
            );
        }
    }
    assert_eq!(c.eval("geometry::Parse('POINT (1 2 3 4)').ToString()"), "POINT (1 2 3 4)");
    assert_eq!(
        c.eval("geometry::Parse('LINESTRING (1 2 3, 4 5 NULL 6)').AsTextZM()"),
        "LINESTRING (1 2 3, 4 5 NULL 6)"
    );
    assert_eq!(c.eval("geometry::Parse('POINT (1 2 3 4)').STAsText()"), "POINT (1 2)");
    assert_eq!(c.eval("geography::STGeomFromText('FULLGLOBE', 4326).ToString()"), "FULLGLOBE");
}

#[test]
fn shapes_are_serialized_as_documented() {
    let server = server();
    let mut c = server.connect();
    let one = "000000000000F03F";
    let two = "0000000000000040";
    // SRID, version, flags, coordinates; a geography has the latitude first.
    assert_eq!(
        c.eval("CAST(geometry::STGeomFromText('POINT (1 2)', 0) AS varbinary(max))"),
        format!("0x00000000010C{one}{two}")
    );
    assert_eq!(
        c.eval("CAST(geography::Point(1, 2, 4326) AS varbinary(max))"),
        format!("0xE6100000010C{one}{two}")
    );
    assert_eq!(
        c.eval("CAST(geography::STGeomFromText('POINT (2 1)', 4326) AS varbinary(max))"),
        format!("0xE6100000010C{one}{two}")
    );
    assert_eq!(
        c.eval("CAST(geometry::Parse('POINT EMPTY') AS varbinary(max))"),
        "0x000000000104000000000000000001000000FFFFFFFFFFFFFFFF01"
    );
    // Lines, then an arc: segments 2, 0, 3.
    let curve = c.eval("CAST(geometry::STGeomFromText('CURVEPOLYGON (COMPOUNDCURVE ((0 0, 2 0, 2 2), CIRCULARSTRING (2 2, 1 0, 0 0)))', 4326) AS varbinary(max))");
    assert!(curve.starts_with("0xE6100000020405000000"), "{curve}");
    assert!(
        curve.ends_with("01000000030000000001000000FFFFFFFF000000000A03000000020003"),
        "{curve}"
    );
    assert_eq!(
        c.eval("geometry::STGeomFromText('LINESTRING (1 2, 2 1)', 0).STAsBinary()"),
        format!("0x010200000002000000{one}{two}{two}{one}")
    );
}

#[test]
fn shapes_stand_in_tables_and_are_not_compared() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int PRIMARY KEY, g geometry, e geography)");
    c.ok(
        "INSERT t VALUES (1, 'POINT (1 2)', geography::Point(47.6, -122.3, 4326)), (2, NULL, NULL)",
    );
    c.ok("INSERT t (id, g) SELECT 3, CAST(g AS varbinary(max)) FROM t WHERE id = 1");
    assert_eq!(
        c.rows("SELECT g.STX, g.STY, t.g.STSrid, e.Lat, e.Long, e.STSrid, g.STGeometryType(), g.HasZ FROM t WHERE id = 1"),
        ["1.0|2.0|0|47.6|-122.3|4326|Point|0"]
    );
    assert_eq!(
        c.rows("SELECT g.ToString(), e.STAsText() FROM t ORDER BY id"),
        ["POINT (1 2)|POINT (-122.3 47.6)", "NULL|NULL", "POINT (1 2)|NULL"]
    );
    for (sql, number) in [
        ("SELECT id FROM t WHERE g = g", 403),
        ("SELECT id FROM t ORDER BY g", 249),
        ("SELECT COUNT(*) FROM t GROUP BY e", 249),
        ("SELECT DISTINCT g FROM t", 421),
        ("SELECT g.STArea() FROM t", 102),
        ("SELECT e.STX FROM t", 102),
        ("INSERT t (id, g) VALUES (9, 'POINT (1')", 6522),
        ("INSERT t (id, g) VALUES (9, 'POLYGON ((0 0, 1 0, 1 1, 0 1))')", 6522),
        ("INSERT t (id, g) VALUES (9, 0x00)", 6522),
        ("SELECT geography::Point(91, 0, 4326)", 6522),
        ("SELECT geography::Point(1, 0, 0)", 6522),
        ("UPDATE t SET g = e", 206),
        ("CREATE INDEX i ON t (g)", 1919),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("EXEC sys.sp_cdc_enable_db");
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL; EXEC sys.sp_cdc_stop_job 'capture'");
    c.ok("UPDATE t SET id = id WHERE id = 1; UPDATE t SET g = 'POINT (5 6)' WHERE id = 1; EXEC sys.sp_cdc_scan");
    assert_eq!(
        c.rows("SELECT __$operation, g.ToString(), e.STSrid FROM cdc.dbo_t_CT ORDER BY __$start_lsn, __$operation"),
        ["3|NULL|NULL", "4|POINT (1 2)|4326", "3|POINT (1 2)|NULL", "4|POINT (5 6)|4326"]
    );
}

#[test]
fn alias_types_stand_for_their_base_types() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE SCHEMA s");
    c.ok("CREATE TYPE Phone FROM varchar(20) NOT NULL; CREATE TYPE s.Amount FROM decimal(10, 2)");
    c.ok("CREATE TABLE t (id int PRIMARY KEY, p Phone, q dbo.Phone NULL, a s.Amount, n sysname)");
    c.ok("INSERT t VALUES (1, '123', NULL, 1.5, N'x')");
    assert_eq!(c.error("INSERT t (id, n) VALUES (2, N'x')"), 515);
    assert_eq!(
        c.rows("SELECT c.name, c.system_type_id, y.name, c.max_length, c.is_nullable, y.is_user_defined FROM sys.columns c JOIN sys.types y ON y.user_type_id = c.user_type_id WHERE c.object_id = OBJECT_ID('t') ORDER BY c.column_id"),
        ["id|56|int|4|0|0", "p|167|Phone|20|0|1", "q|167|Phone|20|1|1", "a|106|Amount|9|1|1", "n|231|sysname|256|1|0"]
    );
    assert_eq!(c.type_of("a FROM t"), SqlType::Decimal { precision: 10, scale: 2 });
    assert_eq!(c.eval("TYPE_NAME(TYPE_ID('s.Amount'))"), "Amount");
    assert_eq!(
        c.value("SELECT DATA_TYPE, DOMAIN_SCHEMA, DOMAIN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_NAME = 't' AND COLUMN_NAME = 'a'"),
        "decimal|s|Amount"
    );
    assert_eq!(c.rows("DECLARE @p Phone = 'abc'; SELECT @p"), ["abc"]);
    c.ok("ALTER TABLE t ALTER COLUMN q s.Amount; ALTER TABLE t ADD r Phone NOT NULL DEFAULT 'z'");
    for (sql, number) in [
        ("CREATE TYPE Phone FROM int", 219),
        ("CREATE TYPE nosuch.x FROM int", 2760),
        ("DROP TYPE Phone", 3732),
        ("DROP TYPE nosuch", 218),
        ("CREATE TABLE u (a nosuch)", 2715),
        ("DECLARE @x nosuch", 2715),
        ("DROP SCHEMA s", 3729),
        ("CREATE TYPE v FROM xml", 15018),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("BEGIN TRAN; CREATE TYPE gone FROM int; ROLLBACK");
    assert_eq!(c.eval("TYPE_ID('gone')"), "NULL");
    c.ok("EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL");
    assert_eq!(
        c.rows("SELECT name, TYPE_NAME(user_type_id) FROM sys.columns WHERE object_id = OBJECT_ID('cdc.dbo_t_CT') AND name IN ('p', 'a') ORDER BY name"),
        ["a|decimal", "p|varchar"]
    );
    c.ok("EXEC sys.sp_cdc_disable_db; DROP TABLE t; DROP TYPE Phone; DROP TYPE IF EXISTS Phone");
}

#[test]
fn the_types_of_2025_are_there_in_2025_only() {
    let old = server();
    let mut c = old.connect();
    for sql in ["CREATE TABLE t (a json)", "SELECT CAST('{}' AS json)", "DECLARE @v vector(3)"] {
        assert_eq!(c.error(sql), 2715, "{sql}");
    }
    assert_eq!(c.eval("CAST(SERVERPROPERTY('ProductMajorVersion') AS int)"), "16");
    let server = server_of(Release::V2025);
    let mut c = server.connect();
    assert_eq!(c.eval("CAST(SERVERPROPERTY('ProductMajorVersion') AS int)"), "17");
    assert_eq!(c.eval("LEFT(@@VERSION, 25)"), "Microsoft SQL Server 2025");
    c.ok("CREATE TABLE t (id int PRIMARY KEY, j json, v vector(3))");
    c.ok(
        "INSERT t VALUES (1, '{\"b\":1,\"a\":1.50,\"a\":2}', '[1, -2.5, 0.001]'), (2, NULL, NULL)",
    );
    assert_eq!(
        c.rows("SELECT CAST(j AS nvarchar(max)), CAST(v AS nvarchar(max)) FROM t WHERE id = 1"),
        ["{\"b\":1,\"a\":1.50,\"a\":2}|[1.0000000e+000,-2.5000000e+000,1.0000000e-003]"]
    );
    for (sql, number) in [
        ("INSERT t (id, j) VALUES (3, '{')", 13609),
        ("INSERT t (id, v) VALUES (3, '[1, 2]')", 42204),
        ("SELECT id FROM t WHERE j = '{}'", 402),
        ("SELECT id FROM t ORDER BY v", 249),
        ("CREATE TABLE u (v vector(1999))", 42205),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    assert_eq!(
        c.rows("SELECT c.name, c.system_type_id, t.name, c.max_length FROM sys.columns c JOIN sys.types t ON t.user_type_id = c.user_type_id WHERE c.object_id = OBJECT_ID('t') AND c.name <> 'id' ORDER BY c.name"),
        ["j|244|json|-1", "v|255|vector|20"]
    );
}

#[test]
fn the_catalogue_procedures_know_every_type() {
    let server = server_of(Release::V2025);
    let mut c = server.connect();
    c.ok("CREATE TYPE Phone FROM varchar(20)");
    c.ok("CREATE TABLE t (a rowversion, b numeric(9, 2), c decimal(9, 2), d text, e ntext, f image, g xml, h sql_variant, i hierarchyid, j geometry, k geography, l Phone, m sysname, n json, o vector(3))");
    let shown = |c: &mut super::fixture::Client| -> Vec<String> {
        let rows = c.rows("EXEC sp_columns 't'");
        rows.iter().map(|row| row.split('|').nth(5).unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(
        shown(&mut c),
        [
            "timestamp",
            "numeric",
            "decimal",
            "text",
            "ntext",
            "image",
            "xml",
            "sql_variant",
            "hierarchyid",
            "geometry",
            "geography",
            "Phone",
            "sysname",
            "json",
            "vector"
        ]
    );
}
