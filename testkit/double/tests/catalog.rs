//! Catalogue views in queries.

use mssql_double::engine::{Config, Server, Session};
use mssql_double::product::Release;
use mssql_double::{Cancelled, Column, EnvChange, Param, Request, ResultSink, SqlError, Value};

const PASSWORD: &str = "Catalogue-1";

/// What a batch sent: rows as text, and errors.
#[derive(Default)]
struct Answer {
    rows: Vec<Vec<String>>,
    columns: Vec<Column>,
    errors: Vec<i32>,
}

impl ResultSink for Answer {
    fn columns(&mut self, columns: &[Column]) -> Result<(), Cancelled> {
        self.columns = columns.to_vec();
        Ok(())
    }
    fn row(&mut self, row: &[Value]) -> Result<(), Cancelled> {
        self.rows.push(row.iter().map(show).collect());
        Ok(())
    }
    fn done(&mut self, _: Option<u64>) -> Result<(), Cancelled> {
        Ok(())
    }
    fn message(&mut self, message: &SqlError) -> Result<(), Cancelled> {
        if message.class > 10 {
            self.errors.push(message.number);
        }
        Ok(())
    }
    fn env_change(&mut self, _: &EnvChange) -> Result<(), Cancelled> {
        Ok(())
    }
    fn return_status(&mut self, _: i32) -> Result<(), Cancelled> {
        Ok(())
    }
    fn return_value(&mut self, _: &Param) -> Result<(), Cancelled> {
        Ok(())
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bit(bit) => u8::from(*bit).to_string(),
        other => match (other.as_i64(), other.to_text()) {
            (Some(number), _) => number.to_string(),
            (_, Some(text)) => text,
            _ => format!("{other:?}"),
        },
    }
}

struct Client(Session);

impl Client {
    fn answer(&mut self, sql: &str) -> Answer {
        let mut answer = Answer::default();
        let request = Request::Batch(sql.to_owned());
        self.0.execute(request, &mut answer).expect("nobody cancels");
        answer
    }

    fn run(&mut self, sql: &str) {
        let errors = self.answer(sql).errors;
        assert!(errors.is_empty(), "{sql}: {errors:?}");
    }

    /// Rows of a query, their columns joined by blanks.
    fn rows(&mut self, sql: &str) -> Vec<String> {
        let answer = self.answer(sql);
        assert!(answer.errors.is_empty(), "{sql}: {:?}", answer.errors);
        answer.rows.iter().map(|row| row.join(" ")).collect()
    }
}

/// A server with the database `shop`, and its `sa`.
fn shop() -> (Server, Client) {
    let config =
        Config { data: None, sa_password: PASSWORD.to_owned(), release: Release::default() };
    let server = Server::open(config).expect("a server in memory");
    let mut sa = login(&server, "sa");
    for sql in [
        "CREATE DATABASE shop",
        "USE shop",
        "CREATE TABLE dbo.customers (id int IDENTITY(1, 1) CONSTRAINT pk_customers PRIMARY KEY, \
         name nvarchar(40) NULL)",
        "CREATE TABLE dbo.orders (id bigint NOT NULL PRIMARY KEY, customer int NOT NULL \
         CONSTRAINT fk_customer REFERENCES dbo.customers (id), \
         total decimal(12, 2) NOT NULL CONSTRAINT df_total DEFAULT 0)",
        "CREATE UNIQUE INDEX ux_customer ON dbo.orders (customer, id DESC)",
    ] {
        sa.run(sql);
    }
    (server, sa)
}

fn login(server: &Server, user: &str) -> Client {
    Client(server.login(user, PASSWORD, "").expect("the login is right"))
}

/// A user of `shop` without any permission.
fn ordinary(server: &Server, sa: &mut Client) -> Client {
    sa.run(&format!("CREATE LOGIN reader WITH PASSWORD = '{PASSWORD}'"));
    sa.run("CREATE USER reader FOR LOGIN reader");
    let mut reader = login(server, "reader");
    reader.run("USE shop");
    reader
}

#[test]
fn tables_columns_and_types_join() {
    let (_server, mut sa) = shop();
    let columns = sa.rows(
        "SELECT s.name, t.name, c.name, y.name, c.max_length, c.precision, c.scale, c.is_nullable \
         FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id \
         JOIN sys.columns AS c ON c.object_id = t.object_id \
         JOIN sys.types AS y ON y.user_type_id = c.user_type_id \
         ORDER BY t.name, c.column_id",
    );
    assert_eq!(
        columns,
        [
            "dbo customers id int 4 10 0 0",
            "dbo customers name nvarchar 80 0 0 1",
            "dbo orders id bigint 8 19 0 0",
            "dbo orders customer int 4 10 0 0",
            "dbo orders total decimal 9 12 2 0",
        ]
    );
    let found = sa.rows(
        "SELECT OBJECT_NAME(object_id) FROM sys.objects WHERE object_id = OBJECT_ID('dbo.orders')",
    );
    assert_eq!(found, ["orders"]);
}

#[test]
fn keys_come_in_order() {
    let (_server, mut sa) = shop();
    let keys = sa.rows(
        "SELECT i.name, i.is_primary_key, k.key_ordinal, c.name, k.is_descending_key \
         FROM sys.indexes AS i \
         JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id \
         JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id \
         WHERE i.object_id = OBJECT_ID(N'orders') AND i.is_primary_key = 0 \
         ORDER BY i.index_id, k.key_ordinal",
    );
    assert_eq!(keys, ["ux_customer 0 1 customer 0", "ux_customer 0 2 id 1"]);
    let foreign = sa.rows(
        "SELECT k.CONSTRAINT_NAME, k.TABLE_NAME, k.COLUMN_NAME, r.UNIQUE_CONSTRAINT_NAME \
         FROM INFORMATION_SCHEMA.KEY_COLUMN_USAGE AS k \
         JOIN INFORMATION_SCHEMA.REFERENTIAL_CONSTRAINTS AS r \
         ON r.CONSTRAINT_NAME = k.CONSTRAINT_NAME",
    );
    assert_eq!(foreign, ["fk_customer orders customer pk_customers"]);
}

#[test]
fn another_database_is_named_in_three_parts() {
    let (server, mut sa) = shop();
    sa.run("USE master");
    assert_eq!(sa.rows("SELECT COUNT(*) FROM sys.tables WHERE name = 'orders'"), ["0"]);
    assert_eq!(sa.rows("SELECT COUNT(*) FROM shop.sys.tables WHERE name = 'orders'"), ["1"]);
    assert_eq!(sa.answer("SELECT * FROM nowhere.sys.tables").errors, [208]);
    assert_eq!(sa.answer("SELECT * FROM sys.nothing").errors, [208]);
    sa.run(&format!("CREATE LOGIN stranger WITH PASSWORD = '{PASSWORD}'"));
    let mut stranger = login(&server, "stranger");
    assert_eq!(stranger.answer("SELECT * FROM shop.sys.tables").errors, [916]);
}

#[test]
fn only_what_the_user_may_use_is_seen() {
    let (server, mut sa) = shop();
    let mut reader = ordinary(&server, &mut sa);
    assert!(reader.rows("SELECT name FROM sys.tables").is_empty());
    sa.run("GRANT SELECT ON dbo.orders TO reader");
    assert_eq!(reader.rows("SELECT name FROM sys.tables"), ["orders"]);
    assert_eq!(reader.rows("SELECT COUNT(*) FROM sys.columns"), ["3"]);
    assert_eq!(reader.rows("SELECT definition FROM sys.default_constraints"), ["NULL"]);
    sa.run("DENY SELECT ON dbo.orders TO reader");
    assert!(reader.rows("SELECT name FROM sys.tables").is_empty());
    assert_eq!(reader.answer("SELECT * FROM sys.dm_server_services").errors, [300]);
    assert!(reader.rows("SELECT * FROM sys.database_recovery_status").is_empty());
}

#[test]
fn a_table_is_seen_by_its_transaction_first() {
    let (server, mut sa) = shop();
    let mut other = login(&server, "sa");
    other.run("USE shop");
    const COUNT: &str = "SELECT COUNT(*) FROM sys.tables WHERE name = 'fresh'";
    sa.run("BEGIN TRANSACTION; CREATE TABLE dbo.fresh (a int NOT NULL)");
    assert_eq!(sa.rows(COUNT), ["1"]);
    assert_eq!(other.rows(COUNT), ["0"]);
    sa.run("COMMIT");
    assert_eq!(other.rows(COUNT), ["1"]);
}

#[test]
fn databases_and_tables_tell_of_their_settings() {
    let (_server, mut sa) = shop();
    const DATABASE: &str = "SELECT snapshot_isolation_state_desc, is_cdc_enabled \
         FROM sys.databases WHERE database_id = DB_ID()";
    const TABLES: &str = "SELECT name, is_tracked_by_cdc FROM sys.tables \
         WHERE is_ms_shipped = 0 ORDER BY name";
    assert_eq!(sa.rows(DATABASE), ["OFF 0"]);
    sa.run("ALTER DATABASE shop SET ALLOW_SNAPSHOT_ISOLATION ON");
    sa.run("EXEC sys.sp_cdc_enable_db");
    sa.run(
        "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'orders', \
         @role_name = NULL",
    );
    assert_eq!(sa.rows(DATABASE), ["ON 1"]);
    assert_eq!(sa.rows(TABLES), ["customers 0", "orders 1"]);
    assert_eq!(sa.rows("SELECT s.name FROM sys.schemas AS s WHERE s.name = 'cdc'"), ["cdc"],);
    assert_eq!(
        sa.rows(
            "SELECT CAST(c.value_in_use AS int) FROM sys.configurations AS c \
             WHERE c.name = N'max text repl size (B)'"
        ),
        ["65536"]
    );
    assert_eq!(
        sa.rows(
            "SELECT s.status_desc FROM sys.dm_server_services AS s \
             WHERE s.servicename LIKE N'SQL Server Agent (%'"
        ),
        ["Running"]
    );
}

#[test]
fn columns_have_the_servers_types() {
    let (_server, mut sa) = shop();
    let answer = sa.answer("SELECT * FROM sys.tables");
    let described: Vec<String> =
        answer.columns.iter().take(8).map(|c| format!("{} {}", c.name, c.ty)).collect();
    assert_eq!(
        described,
        [
            "name nvarchar(128)",
            "object_id int",
            "principal_id int",
            "schema_id int",
            "parent_object_id int",
            "type char(2)",
            "type_desc nvarchar(60)",
            "create_date datetime",
        ]
    );
}

/// Numbers that have another type for every column or option come in a sql_variant.
#[test]
fn counters_and_options_are_variants() {
    let (_server, mut sa) = shop();
    sa.run("CREATE TABLE dbo.wide (id decimal(20, 0) IDENTITY(5000000000, -2) NOT NULL, v int)");
    sa.run("CREATE TABLE dbo.small (id tinyint IDENTITY(7, 1) NOT NULL, v int)");
    sa.run("INSERT dbo.wide (v) VALUES (1), (2)");
    const COUNTERS: &str = "SELECT OBJECT_NAME(object_id), CAST(seed_value AS bigint), \
         TRY_CONVERT(bigint, increment_value), CAST(last_value AS bigint), \
         CAST(SQL_VARIANT_PROPERTY(seed_value, 'BaseType') AS sysname), \
         CAST(SQL_VARIANT_PROPERTY(seed_value, 'Precision') AS int) FROM sys.identity_columns \
         WHERE OBJECT_NAME(object_id) IN ('wide', 'small') ORDER BY 1";
    assert_eq!(
        sa.rows(COUNTERS),
        ["small 7 1 NULL tinyint 3", "wide 5000000000 -2 4999999998 decimal 20"]
    );
    let answer = sa.answer("SELECT seed_value FROM sys.identity_columns");
    assert_eq!(answer.columns[0].ty.to_string(), "sql_variant");
    assert_eq!(sa.rows("SELECT 1 FROM sys.identity_columns WHERE seed_value = 7"), ["1"]);

    assert_eq!(
        sa.rows(
            "SELECT CAST(SQL_VARIANT_PROPERTY(value, 'BaseType') AS sysname) \
                 FROM sys.configurations WHERE configuration_id = 103"
        ),
        ["int"]
    );
}

#[test]
fn a_view_asked_for_some_objects_gives_what_it_gives_among_all() {
    let (_server, mut client) = shop();
    client
        .run("CREATE TABLE dbo.a (id int NOT NULL PRIMARY KEY, x int); CREATE TABLE dbo.b (y int)");
    for view in ["columns", "indexes", "index_columns"] {
        for values in [
            "OBJECT_ID('dbo.a')",
            "OBJECT_ID('dbo.a'), NULL, OBJECT_ID('dbo.b'), 7",
            "CAST(OBJECT_ID('dbo.a') AS bigint), 99999999999",
            "CAST(OBJECT_ID('dbo.a') AS decimal(12, 1)), 0.5",
            "NULL, 7",
        ] {
            let rows = |column: &str| {
                format!("SELECT * FROM sys.{view} AS v WHERE {column} IN ({values})")
            };
            // An expression is no column: all rows are made and looked at.
            let all = client.rows(&rows("v.object_id + 0"));
            assert_eq!(client.rows(&rows("v.object_id")), all, "{view}: {values}");
            assert_eq!(all.is_empty(), values.starts_with("NULL"), "{view}: {values}");
        }
        let joined = |on: &str| {
            format!(
                "SELECT t.name, v.* FROM sys.tables AS t LEFT JOIN sys.{view} AS v ON {on} \
                 ORDER BY t.object_id"
            )
        };
        let all = client.rows(&joined("v.object_id + 0 = t.object_id"));
        assert_eq!(client.rows(&joined("v.object_id = t.object_id")), all);
    }
}

#[test]
fn a_name_that_changes_hands_is_found_where_it_is_now() {
    let (_server, mut client) = shop();
    client.run("CREATE TABLE dbo.a (id int); INSERT dbo.a VALUES (1)");
    assert_eq!(client.rows("SELECT id FROM dbo.a"), ["1"]);
    client.run("EXEC sp_rename 'dbo.a', 'b'");
    client.run("CREATE TABLE dbo.a (id int); INSERT dbo.a VALUES (2)");
    assert_eq!(client.rows("SELECT id FROM dbo.a"), ["2"]);
    assert_eq!(client.rows("SELECT id FROM dbo.B"), ["1"]);
    client.run("DROP TABLE dbo.a; CREATE TABLE dbo.a (id int); INSERT dbo.a VALUES (3)");
    assert_eq!(client.rows("SELECT id FROM DBO.A"), ["3"]);
    assert_eq!(client.rows("SELECT id FROM dbo.a"), ["3"]);
}
