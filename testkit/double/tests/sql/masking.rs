//! Dynamic data masking.

use super::fixture::{Client, Fixture, server};

const TABLE: &str = "CREATE TABLE people (
    id int IDENTITY PRIMARY KEY,
    name nvarchar(40) MASKED WITH (FUNCTION = 'partial(1,\"xxxxx\",1)') NOT NULL,
    mail varchar(60) MASKED WITH (FUNCTION = 'email()') NULL,
    city varchar(20) MASKED WITH (FUNCTION = 'default()') COLLATE Polish_CI_AS NULL,
    short char(2) MASKED WITH (FUNCTION = 'default()') NULL,
    born date MASKED WITH (FUNCTION = 'default()') NULL,
    seen datetime2(3) MASKED WITH (FUNCTION = 'datetime(\"Y\")') NULL,
    points int MASKED WITH (FUNCTION = 'random(1, 12)') NULL,
    wage decimal(9, 2) MASKED WITH (FUNCTION = 'default()') NULL,
    photo varbinary(max) MASKED WITH (FUNCTION = 'default()') NULL,
    tag uniqueidentifier MASKED WITH (FUNCTION = 'default()') NULL,
    doubled AS wage * 2,
    open_text nvarchar(10) NULL)";

fn filled() -> (Fixture, Client) {
    let server = server();
    let mut c = server.connect();
    c.ok(TABLE);
    c.ok("INSERT people (name, mail, city, short, born, seen, points, wage, photo, tag, open_text) VALUES
        (N'Roberto', 'rob@contoso.com', 'Praha', 'ab', '1990-05-06', '2024-02-29T11:12:13.456', 500, 12.5, 0x010203, NEWID(), N'free'),
        (N'Al', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)");
    c.ok("CREATE USER reader WITHOUT LOGIN; GRANT SELECT ON SCHEMA::dbo TO reader; GRANT INSERT, CREATE TABLE TO reader");
    (server, c)
}

#[test]
fn readers_without_unmask_see_masks() {
    let (_server, mut c) = filled();
    c.ok("EXECUTE AS USER = 'reader'");
    assert_eq!(
        c.rows("SELECT name, mail, city, short, wage, photo, tag, doubled, open_text FROM people ORDER BY id"),
        [
            "Rxxxxxo|rXXX@XXXX.com|xxxx|xx|0.00|0x00|Guid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])|0.00|free",
            "xxxxx|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL"
        ]
    );
    assert_eq!(
        c.rows("SELECT * FROM (SELECT born, CONVERT(char(4), 1) AS f FROM people WHERE id = 1) d"),
        ["Date(693595)|1   "]
    );
    // A part of a time is that of 1900-01-01; the day is kept valid.
    assert_eq!(
        c.rows("SELECT seen FROM people WHERE id = 1"),
        ["DateTime2 { days: 693653, time: 403334560000 }"]
    );
    let points: i32 = c.value("SELECT points FROM people WHERE id = 1").parse().expect("a number");
    assert!((1..=12).contains(&points), "{points}");
    // The collation stays the column's own.
    assert_eq!(c.ok("SELECT city FROM people").columns[0][0].label.name(), "Polish_CI_AS");
    c.ok("REVERT");
    assert_eq!(
        c.rows("SELECT name, wage, doubled FROM people WHERE id = 1"),
        ["Roberto|12.50|25.00"]
    );
}

#[test]
fn expressions_over_masked_columns_have_the_default_mask() {
    let (_server, mut c) = filled();
    c.ok("CREATE VIEW v AS SELECT id, name, wage + 1 AS more FROM people");
    c.ok("EXECUTE AS USER = 'reader'");
    let masked = [
        "SELECT UPPER(name) FROM people WHERE id = 1",
        "SELECT CAST(name AS varchar(30)) FROM people WHERE id = 1",
        "SELECT x.n FROM (SELECT name + N'!' AS n FROM people WHERE id = 1) x",
        "SELECT MIN(name) FROM people",
        "SELECT (SELECT name FROM people WHERE id = 1)",
        "SELECT CASE WHEN name = N'Roberto' THEN 'yes' ELSE 'no' END FROM people WHERE id = 1",
        "SELECT LAST_VALUE(name) OVER (ORDER BY id DESC) FROM people WHERE id = 1",
        "SELECT d.v FROM people p CROSS APPLY (VALUES (UPPER(p.name))) d (v) WHERE p.id = 1",
        "SELECT d.v FROM people p CROSS APPLY (SELECT p.name + N'' AS v) d WHERE p.id = 1",
        "WITH x AS (SELECT city FROM people WHERE id = 1) SELECT city FROM x UNION SELECT city FROM x",
        "DECLARE @n nvarchar(40); SELECT @n = UPPER(name) FROM people WHERE id = 1; SELECT @n",
        "DECLARE @n nvarchar(40); SET @n = (SELECT name FROM people WHERE id = 1); SELECT @n",
    ];
    for query in masked {
        let wanted = if query.contains("CASE") { "xxx" } else { "xxxx" };
        assert_eq!(c.value(query), wanted, "{query}");
    }
    for query in [
        "SELECT DATALENGTH(photo) FROM people WHERE id = 1",
        "SELECT SUM(wage) + 1 FROM people",
        "SELECT more - 0.00 FROM v WHERE id = 1",
        "SELECT COUNT(name) FROM people",
    ] {
        let value = c.value(query);
        assert_eq!(value.trim_matches(['0', '.']), "", "{query}");
    }
    // Predicates, joins, orders and groups see what is stored.
    assert_eq!(c.rows("SELECT id FROM people WHERE name = N'Roberto' AND wage = 12.5"), ["1"]);
    assert_eq!(c.rows("SELECT name FROM people ORDER BY name DESC"), ["Rxxxxxo", "xxxxx"]);
    assert_eq!(c.rows("SELECT COUNT(*) FROM people GROUP BY wage"), ["1", "1"]);
    assert_eq!(c.rows("SELECT name FROM v WHERE id = 1"), ["Rxxxxxo"]);
    // What is copied is the mask.
    c.ok("SELECT id, name, wage INTO #copy FROM people WHERE id = 1");
    assert_eq!(c.rows("SELECT name, wage FROM #copy"), ["Rxxxxxo|0.00"]);
    c.ok("INSERT people (name, open_text) SELECT name, N'copied' FROM people WHERE id = 1");
    c.ok("REVERT");
    assert_eq!(c.value("SELECT name FROM people WHERE open_text = N'copied'"), "Rxxxxxo");
}

#[test]
fn unmask_is_granted_on_databases_schemas_tables_and_columns() {
    let (_server, mut c) = filled();
    let seen = |c: &mut Client| {
        c.ok("EXECUTE AS USER = 'reader'");
        let rows = c.rows("SELECT city, wage, HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'UNMASK'), HAS_PERMS_BY_NAME('dbo.people', 'OBJECT', 'UNMASK'), HAS_PERMS_BY_NAME('dbo.people', 'OBJECT', 'UNMASK', 'wage', 'COLUMN') FROM people WHERE id = 1");
        c.ok("REVERT");
        rows[0].clone()
    };
    assert_eq!(seen(&mut c), "xxxx|0.00|0|0|0");
    c.ok("GRANT UNMASK ON dbo.people(wage) TO reader");
    assert_eq!(seen(&mut c), "xxxx|12.50|0|0|1");
    c.ok("REVOKE UNMASK ON dbo.people(wage) FROM reader; GRANT UNMASK ON dbo.people TO reader");
    assert_eq!(seen(&mut c), "Praha|12.50|0|1|1");
    c.ok("DENY UNMASK ON dbo.people(city) TO reader");
    assert_eq!(seen(&mut c), "xxxx|12.50|0|1|1");
    c.ok("REVOKE UNMASK ON dbo.people FROM reader; GRANT UNMASK ON SCHEMA::dbo TO reader");
    assert_eq!(seen(&mut c), "Praha|12.50|0|1|1");
    c.ok("REVOKE UNMASK ON SCHEMA::dbo FROM reader; GRANT UNMASK TO reader");
    assert_eq!(seen(&mut c), "Praha|12.50|1|1|1");
    assert_eq!(
        c.rows("SELECT type, permission_name, class_desc FROM sys.database_permissions WHERE permission_name = 'UNMASK'"),
        ["UMSK|UNMASK|DATABASE"]
    );
    c.ok("EXECUTE AS USER = 'reader'");
    assert_eq!(
        c.rows("SELECT entity_name, permission_name FROM fn_my_permissions(NULL, 'DATABASE') WHERE permission_name IN ('UNMASK', 'SELECT')"),
        ["database|UNMASK"]
    );
    assert_eq!(
        c.rows("SELECT subentity_name, permission_name FROM sys.fn_my_permissions('dbo.people', 'OBJECT') WHERE subentity_name IN ('', 'wage')"),
        ["|SELECT", "|INSERT", "|UNMASK", "wage|SELECT", "wage|UNMASK"]
    );
    c.ok("REVERT; REVOKE UNMASK FROM reader; ALTER ROLE db_owner ADD MEMBER reader");
    assert_eq!(seen(&mut c), "Praha|12.50|1|1|1");
}

#[test]
fn masks_are_put_on_and_taken_off() {
    let (_server, mut c) = filled();
    assert_eq!(
        c.rows("SELECT name, masking_function, is_masked FROM sys.masked_columns WHERE object_id = OBJECT_ID('people') AND name < 'd' ORDER BY name"),
        ["born|default()|1", "city|default()|1"]
    );
    c.ok("ALTER TABLE people ALTER COLUMN open_text ADD MASKED WITH (FUNCTION = 'partial(2,\"\",0)')");
    c.ok("ALTER TABLE people ALTER COLUMN name DROP MASKED");
    c.ok("ALTER TABLE people ADD note varchar(10) MASKED WITH (FUNCTION = 'default()') NULL");
    c.ok("EXECUTE AS USER = 'reader'");
    assert_eq!(c.rows("SELECT name, open_text FROM people WHERE id = 1"), ["Roberto|fr"]);
    c.ok("REVERT");
    assert_eq!(c.error("ALTER TABLE people ALTER COLUMN name DROP MASKED"), 16007);
    assert_eq!(
        c.error("ALTER TABLE people ALTER COLUMN name ADD MASKED WITH (FUNCTION = 'shown()')"),
        16006
    );
    assert_eq!(
        c.error("ALTER TABLE people ALTER COLUMN born ADD MASKED WITH (FUNCTION = 'email()')"),
        16003
    );
    assert_eq!(
        c.error("ALTER TABLE people ALTER COLUMN doubled ADD MASKED WITH (FUNCTION = 'default()')"),
        4928
    );
}

#[test]
fn change_tables_have_the_masks_of_their_columns() {
    let (_server, mut c) = filled();
    c.ok("EXEC sys.sp_cdc_enable_db");
    c.ok("EXEC sys.sp_cdc_enable_table 'dbo', 'people', @role_name = NULL, @captured_column_list = N'id, name, wage'");
    c.ok("EXEC sys.sp_cdc_stop_job");
    c.ok("UPDATE people SET wage = 99 WHERE id = 1");
    c.ok("EXEC sys.sp_cdc_scan");
    assert_eq!(
        c.rows(
            "SELECT column_name, masking_function FROM cdc.captured_columns ORDER BY column_ordinal"
        ),
        ["id|NULL", "name|partial(1,\"xxxxx\",1)", "wage|default()"]
    );
    c.ok("GRANT SELECT ON SCHEMA::cdc TO reader; EXECUTE AS USER = 'reader'");
    let read = "SELECT name, wage FROM cdc.dbo_people_CT WHERE __$operation = 4";
    assert_eq!(c.rows(read), ["Rxxxxxo|0.00"]);
    c.ok("REVERT; GRANT UNMASK ON SCHEMA::cdc TO reader; EXECUTE AS USER = 'reader'");
    assert_eq!(c.rows(read), ["Roberto|99.00"]);
}
