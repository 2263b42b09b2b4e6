//! Table variables, INSERT … EXEC, and SET options that change what statements do.

use mssql_double::EnvChange;

use super::fixture::server;

#[test]
fn table_variables_live_as_long_as_their_batch() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int PRIMARY KEY, b nvarchar(9))");
    assert_eq!(
        c.rows(
            "DECLARE @v TABLE (id int IDENTITY(10, 5), a int NOT NULL, b nvarchar(9) DEFAULT N'x');
             INSERT @v (a) VALUES (1), (2);
             INSERT INTO @v (a, b) SELECT a * 3, NULL FROM @v;
             SELECT * FROM @v AS v ORDER BY v.id"
        ),
        ["10|1|x", "15|2|x", "20|3|NULL", "25|6|NULL"]
    );
    assert_eq!(c.error("SELECT * FROM @v"), 1087);
    assert_eq!(c.error("INSERT @v VALUES (1)"), 1087);
    // No transaction holds them; a statement that fails adds nothing.
    assert_eq!(
        c.rows(
            "DECLARE @v TABLE (a int CHECK (a < 9));
             BEGIN TRAN; INSERT @v VALUES (1); INSERT t VALUES (1, N'a'); ROLLBACK;
             BEGIN TRY INSERT @v SELECT 2 UNION ALL SELECT 9 END TRY BEGIN CATCH END CATCH;
             SELECT v.a, (SELECT COUNT(*) FROM t) FROM @v v"
        ),
        ["1|0"]
    );
    assert_eq!(
        c.rows(
            "DECLARE @v TABLE (a int, b nvarchar(9));
             INSERT t OUTPUT inserted.a, inserted.b INTO @v VALUES (1, N'a'), (2, N'b');
             DELETE t OUTPUT deleted.a, N'gone' INTO @v WHERE a = 2;
             SELECT * FROM @v"
        ),
        ["1|a", "2|b", "2|gone"]
    );
    assert_eq!(c.error("DECLARE @v TABLE (a int NOT NULL); INSERT @v VALUES (NULL)"), 515);
    assert_eq!(c.error("DECLARE @v TABLE (a int PRIMARY KEY)"), 102);
}

#[test]
fn insert_takes_the_results_of_a_procedure_or_text() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int, b nvarchar(9))");
    let kept = c.ok("INSERT t EXEC ('SELECT 1, N''a''; PRINT ''said''; SELECT 2, 3')");
    assert!(kept.columns.is_empty() && kept.rows.is_empty());
    assert_eq!(kept.counts, [Some(2)]);
    assert_eq!(kept.messages.len(), 1);
    assert_eq!(c.rows("SELECT * FROM t"), ["1|a", "2|3"]);
}

#[test]
fn insert_from_a_procedure_is_held_to_its_rules() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int)");
    assert_eq!(c.error("INSERT t EXEC ('SELECT 1, 2')"), 213);
    assert_eq!(c.error("INSERT nowhere EXEC ('SELECT 1')"), 208);
    assert_eq!(c.error("INSERT t EXEC ('INSERT t EXEC (''SELECT 1'')')"), 8164);
    assert_eq!(c.error("BEGIN TRAN; INSERT t EXEC ('ROLLBACK')"), 3915);
    c.ok("IF @@TRANCOUNT > 0 ROLLBACK");
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "0");
    assert_eq!(
        c.rows(
            "DECLARE @v TABLE (a int); DECLARE @n int;
             INSERT @v EXEC sp_executesql N'SELECT @p * 2', N'@p int', 21;
             SELECT * FROM @v"
        ),
        ["42"]
    );
}

#[test]
fn implicit_transactions_begin_with_what_touches_tables() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int)");
    c.ok("SET IMPLICIT_TRANSACTIONS ON");
    assert_eq!(c.value("SELECT @@TRANCOUNT"), "0", "no table is read");
    let kept = c.ok("INSERT t VALUES (1)");
    assert!(matches!(kept.changes[..], [EnvChange::TransactionBegun(_)]));
    assert_eq!(c.value("SELECT @@TRANCOUNT"), "1");
    c.ok("ROLLBACK");
    assert_eq!(c.value("SELECT COUNT(*) FROM t"), "0");
    assert_eq!(c.value("SELECT @@TRANCOUNT"), "1", "the count has read the table");
    c.ok("COMMIT");
    assert_eq!(c.value("BEGIN TRAN; SELECT @@TRANCOUNT"), "2");
    c.ok("COMMIT; COMMIT; SET IMPLICIT_TRANSACTIONS OFF; INSERT t VALUES (2)");
    assert_eq!(c.value("SELECT @@TRANCOUNT"), "0");
}

#[test]
fn fmtonly_tells_columns_and_runs_nothing() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int NOT NULL, b nvarchar(9))");
    let kept = c.ok("SET FMTONLY ON;
         DECLARE @p int = 1;
         INSERT t VALUES (1, N'x');
         IF @p = 1 SELECT a FROM t WHERE a = @p ELSE SELECT b FROM t;
         SET FMTONLY OFF;
         SELECT COUNT(*) FROM t");
    let names: Vec<&str> = kept.columns.iter().map(|set| set[0].name.as_str()).collect();
    assert_eq!(names, ["a", "b", ""]);
    assert_eq!(kept.rows, ["0"]);
    assert_eq!(c.rows("SET NOEXEC ON; SELECT 1; SET NOEXEC OFF; SELECT 2"), ["2"]);
}

#[test]
fn rowcount_limits_what_a_query_answers() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE t (a int); INSERT t VALUES (1), (2), (3)");
    assert_eq!(c.rows("SET ROWCOUNT 2; SELECT a FROM t ORDER BY a DESC"), ["3", "2"]);
    assert_eq!(c.error("DELETE t"), 102);
    assert_eq!(c.rows("SET ROWCOUNT 0; SELECT a FROM t"), ["1", "2", "3"]);
}
