//! Extended properties, filegroups and partitions, options of databases.

use super::fixture::{Client, server};

fn shop(c: &mut Client) {
    c.ok("CREATE TABLE dbo.t (id int NOT NULL CONSTRAINT pk PRIMARY KEY, a int CONSTRAINT df DEFAULT 1, \
          b int CONSTRAINT ck CHECK (b > 0)); CREATE INDEX ix ON t (a)");
    c.ok("CREATE VIEW v AS SELECT id FROM t");
}

const ALL: &str = "SELECT class, class_desc, minor_id, name, CAST(value AS nvarchar(99)) \
                   FROM sys.extended_properties ORDER BY class, minor_id, name, major_id";

#[test]
fn properties_are_of_what_has_them() {
    let server = server();
    let mut c = server.connect();
    shop(&mut c);
    c.ok("EXEC sys.sp_addextendedproperty @name = N'MS_Description', @value = N'key', @level0type = N'SCHEMA', \
          @level0name = N'dbo', @level1type = N'TABLE', @level1name = N't', @level2type = N'COLUMN', @level2name = N'id'");
    c.ok("EXEC sp_addextendedproperty 'MS_Description', 'a table', 'user', 'dbo', 'table', 't'");
    c.ok("EXEC sp_addextendedproperty 'v', 7, 'schema', 'dbo', 'table', 't', 'index', 'ix'");
    c.ok(
        "EXEC sp_addextendedproperty 'n', NULL, 'schema', 'dbo', 'table', 't', 'constraint', 'ck'",
    );
    c.ok("EXEC sp_addextendedproperty 'd', '', 'schema', 'dbo', 'table', 't', 'constraint', 'df'");
    c.ok("EXEC sp_addextendedproperty 'whole', N'it', 'schema', 'dbo', 'view', 'v'");
    c.ok("EXEC sp_addextendedproperty @name = 'db', @value = 1.5; EXEC sp_addextendedproperty 's', 's', 'SCHEMA', 'dbo'");
    assert_eq!(
        c.rows(ALL),
        [
            "0|DATABASE|0|db|1.5",
            "1|OBJECT_OR_COLUMN|0|d|",
            "1|OBJECT_OR_COLUMN|0|MS_Description|a table",
            "1|OBJECT_OR_COLUMN|0|n|NULL",
            "1|OBJECT_OR_COLUMN|0|whole|it",
            "1|OBJECT_OR_COLUMN|1|MS_Description|key",
            "3|SCHEMA|0|s|s",
            "7|INDEX|2|v|7",
        ]
    );
    assert_eq!(
        c.rows(
            "SELECT OBJECT_NAME(major_id) FROM sys.extended_properties WHERE class = 1 ORDER BY 1"
        ),
        ["ck", "df", "t", "t", "v"]
    );
    assert_eq!(
        c.value("SELECT SQL_VARIANT_PROPERTY(value, 'BaseType') FROM sys.extended_properties WHERE name = 'v'"),
        "(int)"
    );
    c.ok("EXEC sp_updateextendedproperty 'MS_Description', N'the key', 'schema', 'dbo', 'table', 't', 'column', 'ID'");
    c.ok("EXEC sp_dropextendedproperty 'db'; EXEC sp_dropextendedproperty @name = 'd', @level0type = 'schema', \
          @level0name = 'dbo', @level1type = 'table', @level1name = 't', @level2type = 'constraint', @level2name = 'df'");
    for (sql, number) in [
        ("sp_addextendedproperty 'MS_Description', 'x', 'schema', 'dbo', 'table', 't'", 15233),
        ("sp_updateextendedproperty 'none', 'x', 'schema', 'dbo', 'table', 't'", 15217),
        ("sp_dropextendedproperty 'none'", 15217),
        ("sp_addextendedproperty 'x', 'x', 'schema', 'dbo', 'table', 'v'", 15135),
        ("sp_addextendedproperty 'x', 'x', 'schema', 'dbo', 'table', 't', 'column', 'z'", 15135),
        ("sp_addextendedproperty 'x', 'x', 'schema', 'nobody'", 15135),
        ("sp_addextendedproperty 'x', 'x', 'schema', NULL, 'table', 't'", 15600),
        ("sp_addextendedproperty NULL, 'x'", 15600),
        ("sp_addextendedproperty @nme = 'x', @value = 'x'", 8145),
    ] {
        assert_eq!(c.error(&format!("EXEC {sql}")), number, "{sql}");
    }
    // They go with what has them, and come back with a rollback.
    c.ok("BEGIN TRAN; ALTER TABLE t DROP CONSTRAINT ck; DROP INDEX ix ON t; EXEC sp_dropextendedproperty 's', 'schema', 'dbo'");
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.extended_properties"), "3");
    c.ok("ROLLBACK");
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.extended_properties"), "6");
    c.ok("DROP INDEX ix ON t; CREATE INDEX other ON t (b); ALTER TABLE t DROP CONSTRAINT ck; DROP VIEW v");
    assert_eq!(
        c.rows(ALL),
        [
            "1|OBJECT_OR_COLUMN|0|MS_Description|a table",
            "1|OBJECT_OR_COLUMN|1|MS_Description|the key",
            "3|SCHEMA|0|s|s",
        ]
    );
    c.ok("ALTER TABLE t DROP CONSTRAINT pk; ALTER TABLE t DROP COLUMN id");
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.extended_properties WHERE class = 1"), "1");
    c.ok("DROP TABLE t");
    assert_eq!(c.rows(ALL), ["3|SCHEMA|0|s|s"]);
}

#[test]
fn constraints_are_objects() {
    let server = server();
    let mut c = server.connect();
    shop(&mut c);
    c.ok("CREATE TABLE u (id int CONSTRAINT fk REFERENCES t, CONSTRAINT uq UNIQUE (id))");
    for (name, kind, property) in [
        ("pk", "PK", "IsPrimaryKey"),
        ("df", "D", "IsDefaultCnst"),
        ("ck", "C", "IsCheckCnst"),
        ("fk", "F", "IsForeignKey"),
        ("uq", "UQ", "IsUniqueCnst"),
    ] {
        let id = format!("OBJECT_ID('dbo.{name}', '{kind}')");
        assert_eq!(
            c.eval(&format!("OBJECT_NAME({id}), OBJECT_SCHEMA_NAME({id})")),
            format!("{name}|dbo")
        );
        assert_eq!(
            c.eval(&format!("OBJECT_ID('{name}') - {id}, OBJECT_ID('{name}', 'U')")),
            "0|NULL"
        );
        let property = format!("OBJECTPROPERTY({id}, '{property}')");
        assert_eq!(c.eval(&format!("{property}, OBJECTPROPERTY({id}, 'IsConstraint'), OBJECTPROPERTY({id}, 'IsUserTable')")), "1|1|0");
        let row = format!("SELECT name FROM sys.objects WHERE object_id = {id}");
        assert_eq!(c.value(&row), name);
    }
    assert_eq!(
        c.eval("OBJECT_ID('fk', 'PK'), OBJECT_ID('nope', 'F'), OBJECT_ID('ix')"),
        "NULL|NULL|NULL"
    );
}

#[test]
fn tables_lie_where_they_are_put() {
    let server = server();
    let mut c = server.connect();
    c.ok("ALTER DATABASE CURRENT ADD FILEGROUP fg; ALTER DATABASE shop ADD FILE (NAME = f, FILENAME = N'/x/f.ndf', SIZE = 8MB, FILEGROWTH = 10%) TO FILEGROUP fg");
    c.ok("CREATE TABLE t (id int CONSTRAINT pk PRIMARY KEY NONCLUSTERED ON fg, b varchar(max)) ON [PRIMARY] TEXTIMAGE_ON fg");
    c.ok("CREATE INDEX ix ON t (id) ON \"default\"");
    assert_eq!(
        c.rows("SELECT name, data_space_id, type FROM sys.filegroups ORDER BY 2"),
        ["PRIMARY|1|FG", "fg|2|FG"]
    );
    assert_eq!(
        c.rows("SELECT i.name, s.name FROM sys.indexes i JOIN sys.data_spaces s ON s.data_space_id = i.data_space_id \
                WHERE i.object_id = OBJECT_ID('t') ORDER BY i.index_id"),
        ["NULL|PRIMARY", "pk|fg", "ix|PRIMARY"]
    );
    assert_eq!(c.value("SELECT lob_data_space_id FROM sys.tables"), "2");
    assert_eq!(c.error("CREATE TABLE x (id int) ON nowhere"), 1921);
    assert_eq!(c.error("CREATE TABLE x (id int) ON fg(id)"), 1921);
    assert_eq!(c.error("ALTER DATABASE shop REMOVE FILEGROUP fg"), 5042);
    assert_eq!(c.error("ALTER DATABASE shop ADD FILEGROUP FG"), 1828);
    c.ok("DROP TABLE t; ALTER DATABASE shop REMOVE FILEGROUP fg");
}

#[test]
fn rows_lie_in_the_partition_of_their_value() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE PARTITION FUNCTION f (int) AS RANGE RIGHT FOR VALUES (10, 20)");
    c.ok("CREATE PARTITION FUNCTION l (datetime) AS RANGE FOR VALUES ('20250101')");
    c.ok("CREATE PARTITION SCHEME s AS PARTITION f ALL TO ([PRIMARY]); CREATE PARTITION SCHEME ls AS PARTITION l TO ([PRIMARY], [PRIMARY], [PRIMARY])");
    c.ok("CREATE TABLE t (id int NOT NULL, at int NOT NULL, CONSTRAINT pk PRIMARY KEY (id, at) ON s(at)) ON s(at)");
    c.ok("INSERT t VALUES (1, 9), (2, 10), (3, 19), (4, 20), (5, 99)");
    c.ok("CREATE INDEX ix ON t (id)");
    let counts = |table: &str| {
        format!(
            "SELECT index_id, partition_number, rows FROM sys.partitions WHERE object_id = OBJECT_ID('{table}') ORDER BY 1, 2"
        )
    };
    assert_eq!(c.rows(&counts("t")), ["1|1|1", "1|2|2", "1|3|2", "2|1|1", "2|2|2", "2|3|2"]);
    assert_eq!(
        c.rows("SELECT index_id, COL_NAME(object_id, column_id), key_ordinal, partition_ordinal FROM sys.index_columns \
                WHERE object_id = OBJECT_ID('t') ORDER BY 1, index_column_id"),
        ["1|id|1|0", "1|at|2|1", "2|id|1|0", "2|at|0|1"]
    );
    // A boundary is the last value of its partition where nothing else is said; NULL is in the first.
    c.ok("CREATE TABLE h (at datetime NULL) ON ls(at); INSERT h VALUES (NULL), ('20241231'), ('20250101'), ('20250102')");
    assert_eq!(c.rows(&counts("h")), ["0|1|3", "0|2|1"]);
    assert_eq!(
        c.rows("SELECT f.name, f.fanout, f.boundary_value_on_right, p.system_type_id, s.name, s.data_space_id \
                FROM sys.partition_functions f JOIN sys.partition_parameters p ON p.function_id = f.function_id \
                JOIN sys.partition_schemes s ON s.function_id = f.function_id ORDER BY f.function_id"),
        ["f|3|1|56|s|65601", "l|2|0|61|ls|65602"]
    );
    assert_eq!(
        c.rows("SELECT boundary_id, CAST(value AS int) FROM sys.partition_range_values WHERE function_id = 65536"),
        ["1|10", "2|20"]
    );
    assert_eq!(c.value("SELECT COUNT(*) FROM sys.destination_data_spaces"), "5");
    for (sql, number) in [
        ("CREATE TABLE x (id int) ON s", 1922),
        ("CREATE TABLE x (id bigint) ON s(id)", 7726),
        ("CREATE TABLE x (id int) ON s(nope)", 1911),
        ("CREATE TABLE x (id int NOT NULL PRIMARY KEY, at int) ON s(at)", 1908),
        ("CREATE UNIQUE INDEX u ON t (id)", 1908),
        ("CREATE PARTITION FUNCTION f (int) AS RANGE FOR VALUES (1)", 2714),
        ("CREATE PARTITION FUNCTION g (int) AS RANGE FOR VALUES (1, 1)", 7708),
        ("CREATE PARTITION SCHEME n AS PARTITION f TO ([PRIMARY])", 7707),
        ("DROP PARTITION FUNCTION f", 7706),
        ("DROP PARTITION SCHEME s", 7717),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    c.ok("DROP TABLE t, h; DROP PARTITION SCHEME s; DROP PARTITION SCHEME ls; DROP PARTITION FUNCTION f; DROP PARTITION FUNCTION l");
}

#[test]
fn options_of_databases_are_shown() {
    let server = server();
    let mut c = server.connect_to("master");
    c.ok("CREATE DATABASE d CONTAINMENT = NONE ON PRIMARY (NAME = N'd', FILENAME = N'/x/d.mdf', SIZE = 8192KB, MAXSIZE = UNLIMITED), \
          FILEGROUP g (NAME = 'g', FILENAME = '/x/g.ndf') LOG ON (NAME = d_log, FILENAME = '/x/d.ldf') COLLATE SQL_Latin1_General_CP1_CI_AS");
    let shown = "SELECT recovery_model_desc, page_verify_option_desc, is_auto_close_on, is_auto_shrink_on, \
                 is_ansi_nulls_on, is_auto_create_stats_on, is_local_cursor_default, is_trustworthy_on FROM sys.databases WHERE name = 'd'";
    assert_eq!(c.value(shown), "FULL|CHECKSUM|0|0|0|1|0|0");
    c.ok("ALTER DATABASE [d] SET RECOVERY SIMPLE; ALTER DATABASE d SET PAGE_VERIFY NONE WITH NO_WAIT");
    c.ok("ALTER DATABASE d SET AUTO_CLOSE ON, ANSI_NULLS ON, AUTO_CREATE_STATISTICS OFF, CURSOR_DEFAULT LOCAL");
    c.ok("ALTER DATABASE d SET READ_WRITE; ALTER DATABASE d SET MULTI_USER; ALTER DATABASE d SET QUERY_STORE = OFF");
    assert_eq!(c.value(shown), "SIMPLE|NONE|1|0|1|0|1|0");
    c.ok("ALTER DATABASE d COLLATE SQL_Latin1_General_CP1_CI_AS");
    assert_eq!(c.error("ALTER DATABASE d SET READ_ONLY"), 102);
    c.ok("USE d");
    assert_eq!(c.rows("SELECT name FROM sys.filegroups ORDER BY data_space_id"), ["PRIMARY", "g"]);
}
