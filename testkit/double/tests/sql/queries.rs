//! SELECT.

use super::fixture::{Client, param, server};
use mssql_double::{SqlType, Value};

fn shop(c: &mut Client) {
    c.ok(
        "CREATE TABLE customers (id int NOT NULL PRIMARY KEY, name varchar(20), city nvarchar(20))",
    );
    c.ok("CREATE TABLE orders (
            id int IDENTITY(1,1) NOT NULL CONSTRAINT pk_orders PRIMARY KEY,
            customer int NULL REFERENCES customers(id),
            total decimal(10,2) NOT NULL,
            INDEX_ int)");
    c.ok("CREATE INDEX ix_customer ON orders (customer)");
    c.ok("INSERT customers VALUES (1,'Ann',N'Oslo'), (2,'Bob',N'Rome'), (3,'Cid',NULL)");
    c.ok("INSERT orders (customer, total) VALUES (1, 10), (1, 5.50), (2, 7), (NULL, 1)");
}

#[test]
fn joins() {
    let server = server();
    let mut c = server.connect();
    shop(&mut c);
    assert_eq!(
        c.rows("SELECT c.name, o.total FROM customers c JOIN orders o ON o.customer = c.id ORDER BY o.id"),
        ["Ann|10.00", "Ann|5.50", "Bob|7.00"]
    );
    assert_eq!(
        c.rows("SELECT c.name, o.id FROM customers AS c LEFT JOIN orders AS o ON o.customer = c.id AND o.total > 6 ORDER BY c.id, o.id"),
        ["Ann|1", "Bob|3", "Cid|NULL"]
    );
    assert_eq!(
        c.rows("SELECT c.name, o.id FROM customers c RIGHT JOIN orders o ON o.customer = c.id ORDER BY o.id"),
        ["Ann|1", "Ann|2", "Bob|3", "NULL|4"]
    );
    assert_eq!(
        c.rows("SELECT c.name, o.id FROM customers c FULL JOIN orders o ON o.customer = c.id ORDER BY c.id, o.id"),
        ["NULL|4", "Ann|1", "Ann|2", "Bob|3", "Cid|NULL"]
    );
    assert_eq!(c.value("SELECT COUNT(*) FROM customers CROSS JOIN orders"), "12");
    assert_eq!(
        c.rows("SELECT a.id, b.id FROM customers a, customers b WHERE a.id < b.id ORDER BY 1, 2"),
        ["1|2", "1|3", "2|3"]
    );
    assert_eq!(
        c.rows("SELECT c.name, x.n FROM customers c CROSS APPLY (SELECT COUNT(*) AS n FROM orders o WHERE o.customer = c.id) x ORDER BY c.id"),
        ["Ann|2", "Bob|1", "Cid|0"]
    );
    assert_eq!(
        c.rows("SELECT c.name, x.total FROM customers c OUTER APPLY (SELECT TOP (1) total FROM orders o WHERE o.customer = c.id ORDER BY total DESC) x ORDER BY c.id"),
        ["Ann|10.00", "Bob|7.00", "Cid|NULL"]
    );
}

#[test]
fn subqueries() {
    let server = server();
    let mut c = server.connect();
    shop(&mut c);
    assert_eq!(
        c.rows("SELECT name FROM customers c WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer = c.id) ORDER BY name"),
        ["Ann", "Bob"]
    );
    assert_eq!(
        c.rows("SELECT name FROM customers WHERE id NOT IN (SELECT customer FROM orders WHERE customer IS NOT NULL)"),
        ["Cid"]
    );
    // A NULL among the values makes NOT IN unknown.
    assert!(
        c.rows("SELECT name FROM customers WHERE id NOT IN (SELECT customer FROM orders)")
            .is_empty()
    );
    assert_eq!(
        c.rows("SELECT name, (SELECT SUM(total) FROM orders o WHERE o.customer = c.id) FROM customers c ORDER BY id"),
        ["Ann|15.50", "Bob|7.00", "Cid|NULL"]
    );
    assert_eq!(c.error("SELECT (SELECT id FROM customers)"), 512);
    assert_eq!(
        c.rows("WITH big AS (SELECT customer, total FROM orders WHERE total > 6) SELECT customer FROM big ORDER BY customer DESC"),
        ["2", "1"]
    );
    assert_eq!(
        c.rows(
            "SELECT d.n FROM (SELECT name AS n, id FROM customers) AS d WHERE d.id > 1 ORDER BY d.n"
        ),
        ["Bob", "Cid"]
    );
    assert_eq!(
        c.rows("SELECT CASE WHEN EXISTS (SELECT 1 FROM orders WHERE total > 9) THEN 1 ELSE 0 END, CASE WHEN EXISTS (SELECT 1 FROM orders WHERE total > 90) THEN 1 ELSE 0 END"),
        ["1|0"]
    );
    // A query in FROM does not see its neighbours.
    assert_eq!(c.error("SELECT 1 FROM customers c, (SELECT c.id AS x) d"), 4104);
}

#[test]
fn grouping() {
    let server = server();
    let mut c = server.connect();
    shop(&mut c);
    assert_eq!(
        c.rows("SELECT customer, COUNT(*), SUM(total), AVG(total), MIN(total), MAX(id) FROM orders GROUP BY customer ORDER BY customer"),
        [
            "NULL|1|1.00|1.000000|1.00|4",
            "1|2|15.50|7.750000|5.50|2",
            "2|1|7.00|7.000000|7.00|3"
        ]
    );
    assert_eq!(
        c.rows("SELECT customer + 1 AS k, COUNT(*) FROM orders GROUP BY customer + 1 HAVING COUNT(*) > 1"),
        ["2|2"]
    );
    assert_eq!(
        c.rows("SELECT COUNT(*), SUM(total), MAX(id) FROM orders WHERE 1 = 0"),
        ["0|NULL|NULL"]
    );
    assert_eq!(c.value("SELECT COUNT(DISTINCT customer) FROM orders"), "2");
    assert_eq!(c.value("SELECT COUNT_BIG(customer) FROM orders"), "3");
    assert_eq!(
        c.value("SELECT STRING_AGG(name, ',') WITHIN GROUP (ORDER BY id DESC) FROM customers"),
        "Cid,Bob,Ann"
    );
    assert_eq!(c.error("SELECT customer, total FROM orders GROUP BY customer"), 8120);
    assert_eq!(c.value("SELECT AVG(a) FROM (VALUES (1),(2)) v(a)"), "1");
    assert_eq!(
        c.rows("SELECT CASE WHEN total > 6 THEN 'big' ELSE 'small' END, COUNT(*) FROM orders GROUP BY CASE WHEN total > 6 THEN 'big' ELSE 'small' END ORDER BY 2, 1"),
        ["big|2", "small|2"]
    );
    assert_eq!(
        c.rows("SELECT c.name, COUNT(o.id) FROM customers c LEFT JOIN orders o ON o.customer = c.id GROUP BY c.name, c.id ORDER BY COUNT(o.id) DESC, c.name"),
        ["Ann|2", "Bob|1", "Cid|0"]
    );
    assert_eq!(
        c.rows("SELECT id, ROW_NUMBER() OVER (PARTITION BY customer ORDER BY total) AS n FROM orders ORDER BY id"),
        ["1|2", "2|1", "3|1", "4|1"]
    );
}

#[test]
fn order_and_limits() {
    let server = server();
    let mut c = server.connect();
    shop(&mut c);
    assert_eq!(c.rows("SELECT TOP 2 id FROM orders ORDER BY id DESC"), ["4", "3"]);
    assert_eq!(c.rows("DECLARE @n int = 1; SELECT TOP (@n) id FROM orders ORDER BY total"), ["4"]);
    assert_eq!(
        c.rows("SELECT id FROM orders ORDER BY id OFFSET 1 ROWS FETCH NEXT 2 ROWS ONLY"),
        ["2", "3"]
    );
    assert_eq!(
        c.rows("SELECT DISTINCT customer FROM orders ORDER BY customer DESC"),
        ["2", "1", "NULL"]
    );
    assert_eq!(c.rows("SELECT name n FROM customers ORDER BY n DESC"), ["Cid", "Bob", "Ann"]);
    assert_eq!(c.rows("SELECT id FROM customers UNION ALL SELECT customer FROM orders WHERE customer = 1 ORDER BY id"), ["1", "1", "1", "2", "3"]);
    assert_eq!(c.rows("SELECT id FROM customers EXCEPT SELECT customer FROM orders"), ["3"]);
    assert_eq!(
        c.rows("SELECT id FROM customers INTERSECT SELECT customer FROM orders ORDER BY 1"),
        ["1", "2"]
    );
    assert_eq!(c.rows("SELECT 1 UNION SELECT 1.5 ORDER BY 1"), ["1.0", "1.5"]);
    assert_eq!(c.error("SELECT DISTINCT name FROM customers ORDER BY id"), 145);
}

/// What capture's statements need: ranges and order by a composite clustered key.
#[test]
fn ranges_of_a_composite_key() {
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE ct (lsn binary(10) NOT NULL, seq int NOT NULL, v varchar(10))");
    c.ok("CREATE UNIQUE CLUSTERED INDEX ci ON ct (lsn, seq)");
    c.ok("INSERT ct VALUES (0x01, 2, 'b'), (0x01, 1, 'a'), (0x02, 1, 'c'), (0x03, 1, 'd')");
    let lsn = |byte: u8| Value::binary(&[byte, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let ty = SqlType::VarBinary(Some(10));
    let kept = c.call(
        "SELECT v FROM ct WHERE [lsn] > @a AND [lsn] <= @b ORDER BY [lsn], seq",
        vec![param("@a", ty.clone(), lsn(0)), param("@b", ty.clone(), lsn(2))],
    );
    assert_eq!(kept.rows, ["a", "b", "c"]);
    let kept = c.call(
        "SELECT TOP (@n) v FROM ct WHERE lsn > @a ORDER BY lsn DESC, seq DESC",
        vec![param("@n", SqlType::BigInt, Value::BigInt(2)), param("@a", ty.clone(), lsn(1))],
    );
    assert_eq!(kept.rows, ["d", "c"]);
    let kept =
        c.call("SELECT v FROM ct WHERE lsn = @a AND seq = 2", vec![param("@a", ty, Value::Null)]);
    assert!(kept.rows.is_empty());
}

#[test]
fn the_catalogue_describes_tables() {
    let server = server();
    let mut c = server.connect();
    shop(&mut c);
    assert_eq!(
        c.rows("SELECT c.name, t.name, c.max_length, c.is_nullable, c.is_identity FROM sys.columns c JOIN sys.types t ON t.user_type_id = c.user_type_id WHERE c.object_id = OBJECT_ID('dbo.orders') ORDER BY c.column_id"),
        ["id|int|4|0|1", "customer|int|4|1|0", "total|decimal|9|0|0", "INDEX_|int|4|1|0"]
    );
    assert_eq!(
        c.rows("SELECT i.name, c.name FROM sys.indexes i JOIN sys.index_columns ic ON ic.object_id = i.object_id AND ic.index_id = i.index_id JOIN sys.columns c ON c.object_id = ic.object_id AND c.column_id = ic.column_id WHERE i.object_id = OBJECT_ID('orders') AND i.is_primary_key = 1"),
        ["pk_orders|id"]
    );
    assert_eq!(
        c.rows(
            "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'dbo' ORDER BY 1"
        ),
        ["customers", "orders"]
    );
    assert_eq!(
        c.value("SELECT d.is_cdc_enabled FROM sys.databases d LEFT JOIN sys.database_recovery_status r ON r.database_id = d.database_id WHERE d.database_id = DB_ID() AND r.database_guid IS NOT NULL"),
        "0"
    );
    assert_eq!(c.eval("OBJECT_NAME(OBJECT_ID('dbo.customers'))"), "customers");
    assert_eq!(c.eval("COL_NAME(OBJECT_ID('customers'), 2)"), "name");
}

#[test]
fn columns_say_where_they_come_from() {
    use mssql_double::Origin::{Computed, Expression, Identity, Stored};
    let server = server();
    let mut c = server.connect();
    c.ok("CREATE TABLE k (id int IDENTITY, a int, b AS a + 1)");
    c.ok("CREATE VIEW v AS SELECT id, a, b, a * 2 AS c FROM k");
    let mut origins =
        |sql: &str| -> Vec<_> { c.ok(sql).columns[0].iter().map(|column| column.origin).collect() };
    let all = vec![Identity, Stored, Computed];
    assert_eq!(origins("SELECT * FROM k"), all);
    assert_eq!(origins("SELECT TOP 0 [id], [a], [b] FROM k ORDER BY a"), all);
    assert_eq!(origins("SELECT DISTINCT x.id, x.a, x.b FROM (SELECT * FROM k) x"), all);
    assert_eq!(origins("WITH x AS (SELECT * FROM k) SELECT * FROM x"), all);
    assert_eq!(origins("SELECT * FROM v"), [Identity, Stored, Computed, Expression]);
    assert_eq!(
        origins("SELECT l.a, r.id FROM k l LEFT JOIN k r ON r.id = l.a"),
        [Stored, Identity]
    );
    assert_eq!(origins("SELECT 1, a + 0, CAST(a AS bigint), NULL FROM k"), vec![Expression; 4]);
    assert_eq!(origins("SELECT COUNT(*), MAX(id) FROM k GROUP BY a"), vec![Expression; 2]);
    assert_eq!(origins("SELECT a FROM k UNION ALL SELECT id FROM k"), [Expression]);
    assert_eq!(
        origins("INSERT k (a) OUTPUT inserted.id, inserted.a + 1 VALUES (1)"),
        [Identity, Expression]
    );
}
