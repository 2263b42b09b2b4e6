//! Definitions as scripts of real databases write them: options of indexes, filegroups, what else a
//! column is.

use super::fixture::server;

#[test]
fn options_of_indexes_are_those_of_the_catalogue() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE dbo.t (
            id int IDENTITY(1,1) NOT FOR REPLICATION NOT NULL,
            a int NOT NULL, b varchar(max) NULL,
            CONSTRAINT pk PRIMARY KEY CLUSTERED (id ASC) WITH (PAD_INDEX = ON, FILLFACTOR = 70,
                STATISTICS_NORECOMPUTE = OFF, IGNORE_DUP_KEY = OFF, ALLOW_ROW_LOCKS = ON,
                ALLOW_PAGE_LOCKS = OFF, OPTIMIZE_FOR_SEQUENTIAL_KEY = OFF) ON [PRIMARY]
        ) ON [PRIMARY] TEXTIMAGE_ON [PRIMARY]");
    c.ok("CREATE UNIQUE NONCLUSTERED INDEX ux ON dbo.t (a DESC) INCLUDE (id)
            WITH (SORT_IN_TEMPDB = OFF, DROP_EXISTING = OFF, ONLINE = OFF, MAXDOP = 2, DATA_COMPRESSION = PAGE)
            ON [PRIMARY]");
    c.ok("CREATE INDEX old ON t (a) WITH FILLFACTOR = 90, PAD_INDEX");
    let indexes = "SELECT name, type, is_unique, fill_factor, is_padded, allow_row_locks, allow_page_locks, \
                   ignore_dup_key, data_space_id FROM sys.indexes WHERE object_id = OBJECT_ID('t') ORDER BY index_id";
    assert_eq!(
        c.rows(indexes),
        ["pk|1|1|70|1|1|0|0|1", "ux|2|1|0|0|1|1|0|1", "old|2|0|90|1|1|1|0|1"]
    );
    let compressed = "SELECT index_id, data_compression_desc FROM sys.partitions \
                      WHERE object_id = OBJECT_ID('t') ORDER BY index_id";
    assert_eq!(c.rows(compressed), ["1|NONE", "2|PAGE", "3|NONE"]);
    c.ok("ALTER INDEX ALL ON t REBUILD PARTITION = ALL WITH (FILLFACTOR = 80, DATA_COMPRESSION = ROW)");
    c.ok("ALTER INDEX ux ON t SET (ALLOW_ROW_LOCKS = OFF, IGNORE_DUP_KEY = OFF)");
    assert_eq!(
        c.rows(indexes),
        ["pk|1|1|80|1|1|0|0|1", "ux|2|1|80|0|0|1|0|1", "old|2|0|80|1|1|1|0|1"]
    );
    assert_eq!(c.rows(compressed), ["1|ROW", "2|ROW", "3|ROW"]);
    c.ok("ALTER TABLE t REBUILD WITH (DATA_COMPRESSION = NONE)");
    assert_eq!(c.rows(compressed), ["1|NONE", "2|ROW", "3|ROW"]);
    // What would be seen and is not kept up is refused.
    assert_eq!(c.error("CREATE UNIQUE INDEX x ON t (a, id) WITH (IGNORE_DUP_KEY = ON)"), 102);
    assert_eq!(c.error("CREATE INDEX x ON t (a) WITH (NO_SUCH = ON)"), 102);
    assert_eq!(c.error("CREATE INDEX x ON t (a) WITH (FILLFACTOR = 101)"), 102);
    assert_eq!(
        c.value("SELECT is_not_for_replication FROM sys.identity_columns WHERE object_id = OBJECT_ID('t')"),
        "1"
    );
    c.ok("CREATE TABLE h (a int) WITH (DATA_COMPRESSION = PAGE)");
    let heap =
        "SELECT index_id, data_compression FROM sys.partitions WHERE object_id = OBJECT_ID('h')";
    assert_eq!(c.value(heap), "0|2");
    c.ok("CREATE CLUSTERED INDEX cx ON h (a)");
    assert_eq!(c.value(heap), "1|0");
    c.ok("DROP INDEX h.cx");
    assert_eq!(c.value(heap), "0|0");
}

#[test]
fn an_index_takes_the_place_of_another() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int NOT NULL CONSTRAINT pk PRIMARY KEY NONCLUSTERED, a int, b int)");
    c.ok("CREATE INDEX ix ON t (a); CREATE CLUSTERED INDEX cx ON t (b)");
    c.ok("INSERT t VALUES (1, 1, 1), (2, 1, 2)");
    let shape = "SELECT i.name, i.index_id, i.is_unique, i.is_primary_key, COL_NAME(i.object_id, c.column_id) \
                 FROM sys.indexes i JOIN sys.index_columns c ON c.object_id = i.object_id AND c.index_id = i.index_id \
                 WHERE i.object_id = OBJECT_ID('t') ORDER BY i.index_id, c.index_column_id";
    c.ok("CREATE UNIQUE INDEX ix ON t (a, b) WITH (DROP_EXISTING = ON)");
    c.ok("CREATE CLUSTERED INDEX cx ON t (id) WITH DROP_EXISTING");
    c.ok("CREATE UNIQUE INDEX pk ON t (id) WITH (DROP_EXISTING = ON, FILLFACTOR = 50)");
    assert_eq!(c.rows(shape), ["cx|1|0|0|id", "pk|2|1|1|id", "ix|3|1|0|a", "ix|3|1|0|b"]);
    assert_eq!(c.error("INSERT t VALUES (3, 1, 1)"), 2601);
    assert_eq!(c.error("CREATE INDEX none ON t (a) WITH (DROP_EXISTING = ON)"), 7999);
    assert_eq!(c.error("CREATE INDEX ix ON t (a)"), 1913);
    assert_eq!(c.error("CREATE UNIQUE INDEX pk ON t (a) WITH (DROP_EXISTING = ON)"), 1907);
    assert_eq!(c.error("CREATE INDEX cx ON t (a) WITH (DROP_EXISTING = ON)"), 1925);
    assert_eq!(c.error("CREATE UNIQUE INDEX ix ON t (a) WITH (DROP_EXISTING = ON)"), 1505);
    c.ok("DROP INDEX ix ON t, cx ON t");
    assert_eq!(c.rows(shape), ["pk|2|1|1|id"]);
    // The index that identifies the rows of an instance stays what it is, and may be rebuilt.
    c.ok("EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL");
    c.ok("CREATE UNIQUE INDEX pk ON t (id) WITH (DROP_EXISTING = ON)");
    c.ok("ALTER INDEX pk ON t REBUILD WITH (FILLFACTOR = 60)");
}

#[test]
fn commas_may_be_missing_before_constraints() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE p (a int NOT NULL, b int NOT NULL PRIMARY KEY CLUSTERED (a ASC, b DESC) WITH (FILLFACTOR = 80) ON [PRIMARY])");
    c.ok("CREATE TABLE t (a int NOT NULL, b int NOT NULL
            CONSTRAINT pk PRIMARY KEY (b, a)
            CONSTRAINT uq UNIQUE NONCLUSTERED (a, b),
            c int INDEX ic, d int INDEX id UNIQUE NONCLUSTERED WHERE d > 0,
            e int CONSTRAINT fk FOREIGN KEY (a, b) REFERENCES p (a, b),
            INDEX ie CLUSTERED (e), INDEX ii (c, d DESC) INCLUDE (e) WITH (FILLFACTOR = 70))");
    assert_eq!(
        c.rows("SELECT name, type, is_unique, has_filter, fill_factor FROM sys.indexes WHERE object_id = OBJECT_ID('t') ORDER BY name"),
        ["ic|2|0|0|0", "id|2|1|1|0", "ie|1|0|0|0", "ii|2|0|0|70", "pk|2|1|0|0", "uq|2|1|0|0"]
    );
    assert_eq!(
        c.rows(
            "SELECT COL_NAME(object_id, column_id), is_descending_key FROM sys.index_columns \
                WHERE object_id = OBJECT_ID('p') ORDER BY key_ordinal"
        ),
        ["a|0", "b|1"]
    );
    assert_eq!(c.value("SELECT name FROM sys.foreign_keys"), "fk");
    c.ok("INSERT p VALUES (1, 2); INSERT t VALUES (1, 2, 1, 0, 1)");
    assert_eq!(c.error("INSERT t VALUES (2, 1, 1, 0, 1)"), 547);
}

#[test]
fn columns_are_what_they_are_declared_as() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (id int, g uniqueidentifier ROWGUIDCOL NOT NULL DEFAULT NEWID(), s int SPARSE NULL, v varchar(9) SPARSE)");
    let traits = "SELECT name, is_rowguidcol, is_sparse FROM sys.columns WHERE object_id = OBJECT_ID('t') ORDER BY column_id";
    assert_eq!(c.rows(traits), ["id|0|0", "g|1|0", "s|0|1", "v|0|1"]);
    c.ok("ALTER TABLE t ALTER COLUMN g DROP ROWGUIDCOL; ALTER TABLE t ALTER COLUMN s DROP SPARSE; ALTER TABLE t ALTER COLUMN id ADD SPARSE");
    assert_eq!(c.rows(traits), ["id|0|1", "g|0|0", "s|0|0", "v|0|1"]);
    c.ok("ALTER TABLE t ALTER COLUMN g ADD ROWGUIDCOL; INSERT t (id) VALUES (1)");
    for (sql, number) in [
        ("CREATE TABLE x (g int ROWGUIDCOL)", 2761),
        ("CREATE TABLE x (g uniqueidentifier ROWGUIDCOL, h uniqueidentifier ROWGUIDCOL)", 8196),
        ("ALTER TABLE t ADD h uniqueidentifier ROWGUIDCOL", 8196),
        ("CREATE TABLE x (s int SPARSE NOT NULL)", 1731),
        ("CREATE TABLE x (s int SPARSE DEFAULT 1)", 1731),
        ("CREATE TABLE x (s text SPARSE)", 1731),
        ("CREATE TABLE x (s int IDENTITY SPARSE)", 1731),
        ("DECLARE @t TABLE (s int SPARSE)", 102),
    ] {
        assert_eq!(c.error(sql), number, "{sql}");
    }
    // They say nothing of the rows.
    c.ok("EXEC sys.sp_cdc_enable_db; EXEC sys.sp_cdc_enable_table 'dbo', 't', @role_name = NULL");
    assert_eq!(c.rows("SELECT id, s FROM t"), ["1|NULL"]);
}
