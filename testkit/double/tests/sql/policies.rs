//! Row-level security, and the inline functions that it stands on.

use super::fixture::{Client, Fixture, server};

fn filtered() -> (Fixture, Client) {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE orders (id int PRIMARY KEY, rep sysname NOT NULL, region int NULL, total int)");
    c.ok("CREATE TABLE allowed (region int PRIMARY KEY)");
    c.ok("INSERT orders VALUES (1, 'ann', 1, 10), (2, 'bob', 1, 20), (3, 'ann', 2, 30); INSERT allowed VALUES (2)");
    c.ok("CREATE SCHEMA rls");
    c.ok("CREATE FUNCTION rls.of_rep (@rep AS sysname)\n RETURNS TABLE\nWITH SCHEMABINDING\nAS\n RETURN SELECT 1 AS result WHERE @rep = USER_NAME() OR USER_NAME() = 'boss';");
    c.ok("CREATE USER ann WITHOUT LOGIN; CREATE USER boss WITHOUT LOGIN; GRANT SELECT, UPDATE, DELETE, INSERT ON orders TO ann; GRANT SELECT ON orders TO boss");
    (server, c)
}

fn ids(c: &mut Client, user: &str) -> Vec<String> {
    c.ok(&format!("EXECUTE AS USER = '{user}'"));
    let rows = c.rows("SELECT id FROM orders ORDER BY id");
    c.ok("REVERT");
    rows
}

#[test]
fn filters_hide_rows_from_everybody_whom_they_do_not_let_through() {
    let (_server, mut c) = filtered();
    c.ok("CREATE SECURITY POLICY rls.filter ADD FILTER PREDICATE rls.of_rep(rep) ON dbo.orders WITH (STATE = ON)");
    // The owner, too.
    assert_eq!(c.rows("SELECT id FROM orders"), [""; 0]);
    assert_eq!(ids(&mut c, "ann"), ["1", "3"]);
    assert_eq!(ids(&mut c, "boss"), ["1", "2", "3"]);
    c.ok("CREATE VIEW v AS SELECT COUNT(*) AS n, MAX(total) AS most FROM orders; ");
    c.ok("GRANT SELECT ON v TO ann; EXECUTE AS USER = 'ann'");
    assert_eq!(c.rows("SELECT n, most FROM v"), ["2|30"]);
    // Before an outer join, not behind it.
    assert_eq!(
        c.rows("SELECT x.i, o.id FROM (VALUES (1), (2)) x (i) LEFT JOIN orders o ON o.id = x.i ORDER BY x.i"),
        ["1|1", "2|NULL"]
    );
    c.ok("UPDATE orders SET total = total + 1");
    c.ok("DELETE orders WHERE id IN (2, 3)");
    c.ok("REVERT; ALTER SECURITY POLICY rls.filter WITH (STATE = OFF)");
    assert_eq!(c.rows("SELECT id, total FROM orders"), ["1|11", "2|20"]);
    assert_eq!(
        c.rows("SELECT name, is_enabled, is_schema_bound FROM sys.security_policies"),
        ["filter|0|1"]
    );
    assert_eq!(
        c.rows("SELECT p.predicate_definition, p.predicate_type_desc, p.operation, OBJECT_NAME(p.target_object_id) FROM sys.security_predicates p JOIN sys.security_policies s ON s.object_id = p.object_id"),
        ["([rls].[of_rep]([rep]))|FILTER|NULL|orders"]
    );
    // Only those who may see definitions see policies.
    c.ok("EXECUTE AS USER = 'ann'");
    assert_eq!(c.rows("SELECT name FROM sys.security_policies"), [""; 0]);
    c.ok("REVERT; GRANT VIEW DEFINITION TO ann; EXECUTE AS USER = 'ann'");
    assert_eq!(c.rows("SELECT name FROM sys.security_policies"), ["filter"]);
    c.ok("REVERT");
    assert_eq!(c.error("DROP FUNCTION rls.of_rep"), 3729);
    c.ok("DROP SECURITY POLICY rls.filter; DROP FUNCTION rls.of_rep; DROP SECURITY POLICY IF EXISTS rls.filter");
    assert_eq!(c.rows("SELECT name FROM sys.objects WHERE type IN ('SP', 'IF')"), [""; 0]);
}

#[test]
fn predicates_may_read_other_tables_and_take_several_columns() {
    let (_server, mut c) = filtered();
    c.ok("CREATE FUNCTION rls.of_region (@region int, @least int) RETURNS TABLE WITH SCHEMABINDING AS RETURN (SELECT 1 AS result FROM dbo.allowed a WHERE a.region = @region AND @least >= 30)");
    c.ok(
        "CREATE SECURITY POLICY p ADD FILTER PREDICATE rls.of_region(region, total) ON dbo.orders",
    );
    assert_eq!(c.rows("SELECT id FROM orders"), ["3"]);
    // No right on the table that the predicate reads.
    assert_eq!(ids(&mut c, "ann"), ["3"]);
    assert_eq!(
        c.error("ALTER SECURITY POLICY p ADD FILTER PREDICATE rls.of_rep(rep) ON dbo.orders"),
        33264
    );
    assert_eq!(
        c.error("CREATE SECURITY POLICY q ADD FILTER PREDICATE rls.of_rep(rep) ON dbo.orders"),
        33264
    );
    assert_eq!(c.error("ALTER SECURITY POLICY p DROP FILTER PREDICATE ON dbo.allowed"), 33263);
    c.ok("ALTER SECURITY POLICY p ALTER FILTER PREDICATE rls.of_rep(rep) ON dbo.orders");
    assert_eq!(ids(&mut c, "ann"), ["1", "3"]);
    c.ok("ALTER SECURITY POLICY p DROP FILTER PREDICATE ON dbo.orders");
    assert_eq!(c.value("SELECT COUNT(*) FROM orders"), "3");
    assert_eq!(
        c.error("ALTER SECURITY POLICY p ADD FILTER PREDICATE rls.of_rep(nothing) ON dbo.orders"),
        207
    );
}

#[test]
fn block_predicates_keep_rows_out() {
    let (_server, mut c) = filtered();
    c.ok("CREATE SECURITY POLICY p ADD BLOCK PREDICATE rls.of_rep(rep) ON dbo.orders AFTER INSERT, ADD BLOCK PREDICATE rls.of_rep(rep) ON dbo.orders AFTER UPDATE");
    c.ok("EXECUTE AS USER = 'ann'");
    c.ok("INSERT orders VALUES (4, 'ann', NULL, 1)");
    assert_eq!(c.error("INSERT orders VALUES (5, 'bob', NULL, 1)"), 33504);
    assert_eq!(c.error("UPDATE orders SET rep = 'bob' WHERE id = 1"), 33504);
    c.ok("DELETE orders WHERE id = 4; REVERT");
    assert_eq!(
        c.rows("SELECT operation, operation_desc FROM sys.security_predicates ORDER BY 1"),
        ["1|AFTER INSERT", "2|AFTER UPDATE"]
    );
}

/// "In effect, db_owner and members of this gating role can see all data changes on a table, even if
/// there's a security policy on the table" (Microsoft, Row-level security).
#[test]
fn change_tables_are_not_filtered() {
    let (_server, mut c) = filtered();
    c.ok("EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table 'dbo', 'orders', @role_name = NULL; EXEC sys.sp_cdc_stop_job 'capture'");
    c.ok("CREATE SECURITY POLICY p ADD FILTER PREDICATE rls.of_rep(rep) ON dbo.orders");
    c.ok("INSERT orders VALUES (8, 'bob', 1, 1)");
    c.ok("EXEC sys.sp_cdc_scan");
    assert_eq!(c.rows("SELECT id FROM orders WHERE id = 8"), [""; 0]);
    assert_eq!(c.rows("SELECT id FROM cdc.dbo_orders_CT"), ["8"]);
}

#[test]
fn inline_functions_are_tables() {
    let (_server, mut c) = filtered();
    c.ok("CREATE FUNCTION dbo.above (@least int) RETURNS TABLE AS RETURN SELECT id, total * 2 AS twice FROM orders WHERE total > @least");
    assert_eq!(
        c.rows("SELECT f.id, f.twice FROM dbo.above(15) AS f ORDER BY f.id"),
        ["2|40", "3|60"]
    );
    assert_eq!(
        c.rows("SELECT a.region, f.id FROM allowed a CROSS APPLY dbo.above(a.region * 10) f"),
        ["2|3"]
    );
    // Names around the call are not seen inside.
    c.ok("CREATE FUNCTION dbo.one () RETURNS TABLE AS RETURN (SELECT 1 AS one)");
    assert_eq!(c.rows("SELECT one FROM one()"), ["1"]);
    assert_eq!(
        c.error("CREATE FUNCTION dbo.bad (@a int) RETURNS TABLE AS RETURN SELECT @b AS b"),
        137
    );
    assert_eq!(c.error("SELECT * FROM dbo.above()"), 313);
    assert_eq!(c.error("SELECT * FROM dbo.above(1, 2)"), 8144);
    assert_eq!(c.error("SELECT * FROM dbo.above"), 216);
    assert_eq!(
        c.error("CREATE FUNCTION dbo.scalar (@a int) RETURNS int AS BEGIN RETURN @a END"),
        102
    );
    assert_eq!(
        c.rows("SELECT o.name, o.type, m.is_schema_bound FROM sys.objects o JOIN sys.sql_modules m ON m.object_id = o.object_id ORDER BY o.name"),
        ["above|IF|0", "of_rep|IF|1", "one|IF|0"]
    );
    c.ok("ALTER FUNCTION dbo.one () RETURNS TABLE AS RETURN SELECT 2 AS one");
    assert_eq!(c.rows("SELECT one FROM dbo.one()"), ["2"]);
}
