//! Sequences.

use super::fixture::server;

#[test]
fn sequences_hand_out_values() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE SCHEMA s");
    c.ok("CREATE SEQUENCE s.up AS int START WITH 5 INCREMENT BY 5 MAXVALUE 20 CACHE 10; CREATE SEQUENCE down INCREMENT BY -1 MAXVALUE 2 MINVALUE 1 CYCLE NO CACHE");
    assert_eq!(c.rows("SELECT NEXT VALUE FOR s.up AS n FROM (VALUES (1), (2)) v (x)"), ["5", "10"]);
    assert_eq!(c.eval("NEXT VALUE FOR down"), "2");
    assert_eq!(c.eval("NEXT VALUE FOR dbo.down"), "1");
    assert_eq!(c.eval("NEXT VALUE FOR down"), "2");
    // No rollback takes one back.
    c.ok("BEGIN TRAN; DECLARE @v int; SET @v = NEXT VALUE FOR s.up; ROLLBACK");
    assert_eq!(c.eval("NEXT VALUE FOR s.up"), "20");
    assert_eq!(c.error("SELECT NEXT VALUE FOR s.up"), 11728);
    assert_eq!(
        c.rows("SELECT name, type, start_value, increment, minimum_value, maximum_value, is_cycling, is_cached, cache_size, \
                system_type_id, current_value, is_exhausted, last_used_value FROM sys.sequences ORDER BY name"),
        ["down|SO|(2)|(-1)|(1)|(2)|1|0|NULL|127|(2)|0|(2)", "up|SO|(5)|(5)|(-2147483648)|(20)|0|1|10|56|(20)|1|(20)"]
    );
    c.ok("ALTER SEQUENCE s.up RESTART WITH 7 NO MAXVALUE CYCLE");
    assert_eq!(c.eval("NEXT VALUE FOR s.up"), "7");
    c.ok("ALTER SEQUENCE s.up RESTART");
    assert_eq!(c.eval("NEXT VALUE FOR s.up"), "5");
    for (sql, number) in [
        ("CREATE SEQUENCE s.up", 2714),
        ("CREATE SEQUENCE x INCREMENT BY 0", 11700),
        ("CREATE SEQUENCE x AS varchar(9)", 11702),
        ("CREATE SEQUENCE x AS tinyint START WITH 256", 11703),
        ("CREATE SEQUENCE x MINVALUE 3 MAXVALUE 3", 11705),
        ("ALTER SEQUENCE x RESTART", 15151),
        ("SELECT NEXT VALUE FOR x", 208),
        ("DROP SEQUENCE x", 3701),
        ("DROP TABLE s.up", 3705),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    assert_eq!(c.error("CREATE VIEW v AS SELECT NEXT VALUE FOR s.up AS n"), 11719);
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.sql_modules"), "0");
    c.ok("DROP SEQUENCE IF EXISTS x, s.up");
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.objects WHERE type = 'SO'"), "1");
}

#[test]
fn defaults_take_values_of_sequences() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE SEQUENCE q START WITH 1; CREATE TABLE t (id int NOT NULL CONSTRAINT df DEFAULT (NEXT VALUE FOR q), v int)");
    c.ok("INSERT t (v) VALUES (1), (2); INSERT t (v) SELECT v FROM t; INSERT t VALUES (DEFAULT, 9); INSERT t VALUES (NEXT VALUE FOR q, 10)");
    assert_eq!(c.rows("SELECT id FROM t ORDER BY id"), ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(
        c.value("SELECT definition FROM sys.default_constraints"),
        "(NEXT VALUE FOR [dbo].[q])"
    );
    c.ok("UPDATE t SET id = NEXT VALUE FOR q WHERE v > 8");
    assert_eq!(c.rows("SELECT id FROM t WHERE v > 8 ORDER BY id"), ["7", "8"]);
    assert_eq!(c.error("DROP SEQUENCE q"), 3729);
    assert_eq!(c.error("CREATE TABLE x (a int, b AS NEXT VALUE FOR q)"), 102);
    c.ok("ALTER TABLE t DROP CONSTRAINT df; DROP SEQUENCE q");
}

#[test]
fn no_value_comes_twice_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || {
        let config = mssql_double::engine::Config {
            data: Some(folder.path().to_path_buf()),
            sa_password: "secret".into(),
            release: Default::default(),
        };
        super::fixture::Fixture {
            server: mssql_double::engine::Server::open(config).expect("a server opens"),
        }
    };
    let server = open();
    let mut c = server.connect_to("master");
    c.ok("CREATE SEQUENCE a; CREATE SEQUENCE b AS int START WITH 1 NO CACHE");
    assert_eq!(c.eval("NEXT VALUE FOR b"), "1");
    let before: i64 = c.eval("NEXT VALUE FOR a").parse().expect("a number");
    drop((c, server));
    let server = open();
    let mut c = server.connect_to("master");
    assert_eq!(c.eval("NEXT VALUE FOR b"), "2");
    let after: i64 = c.eval("NEXT VALUE FOR a").parse().expect("a number");
    assert!(after > before);
}
