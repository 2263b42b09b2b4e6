-- One long script as administrators write them. Every check leaves a row in #checks; the last
-- batches show those that do not hold, and how many there are.
IF DB_ID('administrator') IS NOT NULL DROP DATABASE administrator;
CREATE DATABASE administrator;
GO
USE administrator;
SET NOCOUNT ON;
CREATE TABLE #checks (id int IDENTITY PRIMARY KEY, name nvarchar(100) NOT NULL, holds bit NOT NULL);
GO
/* schemas, quoted identifiers, keys, defaults, computed columns */
CREATE SCHEMA sales;
GO
SET QUOTED_IDENTIFIER ON;
CREATE TABLE sales.customers (
    customer_id int IDENTITY(100, 10) NOT NULL CONSTRAINT pk_customers PRIMARY KEY CLUSTERED,
    [e-mail] nvarchar(80) NOT NULL CONSTRAINT uq_email UNIQUE,
    "full name" nvarchar(60) NULL,
    rating tinyint NOT NULL CONSTRAINT df_rating DEFAULT (3) CONSTRAINT ck_rating CHECK (rating BETWEEN 1 AND 5),
    joined datetime2(3) NOT NULL DEFAULT SYSUTCDATETIME(),
    domain AS SUBSTRING([e-mail], CHARINDEX('@', [e-mail]) + 1, 80));
CREATE TABLE sales.orders (
    order_id int NOT NULL PRIMARY KEY,
    customer_id int NOT NULL CONSTRAINT fk_customer REFERENCES sales.customers (customer_id) ON DELETE CASCADE,
    placed date NOT NULL,
    amount decimal(12, 2) NOT NULL);
CREATE TABLE sales.lines (
    order_id int NOT NULL REFERENCES sales.orders (order_id) ON DELETE CASCADE ON UPDATE CASCADE,
    line_no smallint NOT NULL,
    item varchar(20) NOT NULL,
    price money NOT NULL,
    CONSTRAINT pk_lines PRIMARY KEY (order_id, line_no));
CREATE UNIQUE NONCLUSTERED INDEX ix_name ON sales.customers ("full name") WHERE "full name" IS NOT NULL;
CREATE INDEX ix_placed ON sales.orders (placed DESC) INCLUDE (amount);
GO
INSERT INTO sales.customers ([e-mail], "full name") VALUES (N'ada@example.org', N'Ada'), (N'bob@example.net', N'Bob'), (N'čyd@example.org', NULL);
INSERT #checks (name, holds) SELECT N'identity and default',
    CASE WHEN MIN(customer_id) = 100 AND MAX(customer_id) = 120 AND SUM(rating) = 9 THEN 1 ELSE 0 END FROM sales.customers;
INSERT #checks (name, holds) SELECT N'computed column', CASE WHEN domain = 'example.net' THEN 1 ELSE 0 END FROM sales.customers WHERE [full name] = 'BOB';
INSERT #checks (name, holds) VALUES (N'SCOPE_IDENTITY', CASE WHEN IDENT_CURRENT('sales.customers') = 120 THEN 1 ELSE 0 END);
GO
SET IDENTITY_INSERT sales.customers ON;
INSERT sales.customers (customer_id, [e-mail], rating) VALUES (500, N'dan@example.com', 5);
SET IDENTITY_INSERT sales.customers OFF;
INSERT sales.customers ([e-mail]) VALUES (N'eve@example.com');
INSERT #checks (name, holds) VALUES (N'IDENTITY_INSERT moves the identity', CASE WHEN SCOPE_IDENTITY() = 510 THEN 1 ELSE 0 END);
GO
/* constraints, by their numbers */
DECLARE @cases TABLE (no int, text nvarchar(400), number int);
INSERT @cases VALUES
    (1, N'INSERT sales.customers ([e-mail]) VALUES (N''ADA@EXAMPLE.ORG'')', 2627),
    (2, N'INSERT sales.customers ([e-mail], [full name]) VALUES (N''x@y'', N''ada'')', 2601),
    (3, N'INSERT sales.customers ([e-mail], rating) VALUES (N''x@y'', 9)', 547),
    (4, N'INSERT sales.customers ([e-mail]) VALUES (NULL)', 515),
    (5, N'INSERT sales.orders VALUES (1, 99, ''20240101'', 1)', 547),
    (6, N'INSERT sales.customers (customer_id, [e-mail]) VALUES (1, N''x@y'')', 544),
    (7, N'INSERT sales.customers ([e-mail], [full name]) VALUES (N''x@y'', REPLICATE(N''z'', 61))', 2628),
    (8, N'SELECT 1 / 0', 8134),
    (9, N'SELECT CAST(''abc'' AS int)', 245),
    (10, N'SELECT CAST(300 AS tinyint)', 220),
    (11, N'INSERT sales.customers ([e-mail], domain) VALUES (N''x@y'', N''y'')', 271),
    (12, N'DROP TABLE sales.customers', 3726),
    (13, N'SELECT * FROM sales.nowhere', 208),
    (14, N'RAISERROR (N''number %d of %s'', 16, 1, 7, N''x'')', 50000),
    (15, N'THROW 51234, N''thrown'', 1', 51234);
DECLARE @no int = 1, @text nvarchar(400), @number int, @found int;
WHILE @no <= (SELECT MAX(no) FROM @cases)
BEGIN
    SELECT @text = text, @number = number FROM @cases WHERE no = @no;
    SET @found = 0;
    BEGIN TRY
        EXEC sp_executesql @text;
    END TRY
    BEGIN CATCH
        SET @found = ERROR_NUMBER();
    END CATCH;
    INSERT #checks (name, holds) VALUES (CONCAT(N'error ', @number, N': ', LEFT(@text, 60)), IIF(@found = @number, 1, 0));
    SET @no += 1;
END;
INSERT #checks (name, holds) SELECT N'nothing came in', IIF(COUNT(*) = 5, 1, 0) FROM sales.customers;
GO
/* OUTPUT, cascades, transactions, savepoints */
DECLARE @new TABLE (id int, at date);
INSERT sales.orders OUTPUT inserted.order_id, inserted.placed INTO @new (id, at)
VALUES (1, 100, '20240105', 10), (2, 100, '20240210', 20.5), (3, 110, '20240210', 30), (4, 120, '20240301', 40);
INSERT sales.lines SELECT id, 1, 'first', id * 2 FROM @new UNION ALL SELECT id, 2, 'second', id FROM @new WHERE id < 3;
INSERT #checks (name, holds) SELECT N'OUTPUT INTO', IIF(COUNT(*) = 4 AND MAX(at) = '2024-03-01', 1, 0) FROM @new;
BEGIN TRANSACTION;
UPDATE sales.orders SET order_id = order_id + 1000 WHERE order_id = 2;
SAVE TRANSACTION here;
DELETE sales.customers WHERE customer_id = 100;
DECLARE @left int = (SELECT COUNT(*) FROM sales.lines);
ROLLBACK TRANSACTION here;
INSERT #checks (name, holds) VALUES (N'ON DELETE CASCADE', IIF(@left = 2, 1, 0));
INSERT #checks (name, holds) SELECT N'back to the savepoint, ON UPDATE CASCADE', IIF(COUNT(*) = 2 AND @@TRANCOUNT = 1, 1, 0) FROM sales.lines WHERE order_id = 1002;
COMMIT;
INSERT #checks (name, holds) VALUES (N'no transaction is left', IIF(@@TRANCOUNT = 0, 1, 0));
GO
SET XACT_ABORT ON;
BEGIN TRY
    BEGIN TRAN;
    UPDATE sales.orders SET amount += 1;
    INSERT sales.orders VALUES (1, 100, '20240101', 1);
    COMMIT;
END TRY
BEGIN CATCH
    DECLARE @state int = XACT_STATE();
    IF @@TRANCOUNT > 0 ROLLBACK;
    INSERT #checks (name, holds) VALUES (N'XACT_ABORT dooms the transaction', IIF(@state = -1 AND ERROR_NUMBER() = 2627, 1, 0));
END CATCH;
SET XACT_ABORT OFF;
GO
INSERT #checks (name, holds) SELECT N'the doomed update is undone', IIF(SUM(amount) = 100.5, 1, 0) FROM sales.orders;
GO
/* MERGE */
DECLARE @log TABLE (what nvarchar(10), old int, new int);
MERGE INTO sales.customers WITH (HOLDLOCK) AS t
USING (VALUES (N'ada@example.org', 5), (N'zoe@example.org', 4)) AS s ([e-mail], rating)
    ON s.[e-mail] = t.[e-mail]
WHEN MATCHED AND t.rating <> s.rating THEN UPDATE SET rating = s.rating
WHEN NOT MATCHED BY TARGET THEN INSERT ([e-mail], rating) VALUES (s.[e-mail], s.rating)
WHEN NOT MATCHED BY SOURCE AND t.customer_id >= 500 THEN DELETE
OUTPUT $action, deleted.customer_id, inserted.customer_id INTO @log;
INSERT #checks (name, holds) SELECT N'MERGE',
    IIF(COUNT(*) = 4 AND SUM(IIF(what = 'DELETE', 1, 0)) = 2 AND MAX(new) > 510, 1, 0) FROM @log;
GO
/* common table expressions, window functions, set operations */
WITH totals AS (
    SELECT customer_id, COUNT(*) AS orders, SUM(amount) AS total FROM sales.orders GROUP BY customer_id
), ranked AS (
    SELECT *, RANK() OVER (ORDER BY total DESC) AS place, SUM(total) OVER () AS everything FROM totals
)
INSERT #checks (name, holds)
SELECT N'windows over groups', IIF(STRING_AGG(CONCAT(customer_id, ':', place), ',') WITHIN GROUP (ORDER BY place) = '120:1,100:2,110:3' AND MAX(everything) = 100.5, 1, 0) FROM ranked;
WITH days AS (
    SELECT CAST('20240101' AS date) AS day
    UNION ALL
    SELECT DATEADD(day, 1, day) FROM days WHERE day < '20240331'
)
INSERT #checks (name, holds) SELECT N'recursion over days', IIF(COUNT(*) = 92 AND COUNT(o.order_id) = 4, 1, 0)
FROM days LEFT JOIN sales.orders AS o ON o.placed = days.day OPTION (MAXRECURSION 100);
INSERT #checks (name, holds) SELECT N'LAG and running totals', IIF(MAX(gap) = 36 AND MAX(running) = 100.5, 1, 0)
FROM (SELECT DATEDIFF(day, LAG(placed) OVER (ORDER BY placed, order_id), placed) AS gap,
             SUM(amount) OVER (ORDER BY placed, order_id ROWS UNBOUNDED PRECEDING) AS running
      FROM sales.orders) AS x;
INSERT #checks (name, holds) SELECT N'set operations', IIF(COUNT(*) = 2, 1, 0) FROM (
    SELECT customer_id FROM sales.customers EXCEPT SELECT customer_id FROM sales.orders
    UNION SELECT 1) AS x;
GO
/* duplicates go by ROW_NUMBER */
SELECT item, price INTO sales.copies FROM sales.lines UNION ALL SELECT item, price FROM sales.lines;
WITH numbered AS (SELECT *, ROW_NUMBER() OVER (PARTITION BY item, price ORDER BY (SELECT NULL)) AS rn FROM sales.copies)
DELETE FROM numbered WHERE rn > 1;
INSERT #checks (name, holds) SELECT N'duplicates are gone', IIF(COUNT(*) = (SELECT COUNT(*) FROM (SELECT DISTINCT item, price FROM sales.lines) AS d), 1, 0) FROM sales.copies;
GO
/* views and three-part names */
CREATE VIEW sales.big_orders (id, customer, amount) AS
SELECT o.order_id, COALESCE(c."full name", c.[e-mail]), o.amount
FROM sales.orders AS o INNER JOIN sales.customers AS c ON c.customer_id = o.customer_id
WHERE o.amount >= 20;
GO
INSERT #checks (name, holds) SELECT N'view', IIF(COUNT(*) = 3 AND MIN(customer) = N'Ada', 1, 0) FROM administrator.sales.big_orders;
USE master;
DECLARE @sum decimal(12, 2) = (SELECT SUM(v.amount) FROM administrator.sales.big_orders AS v);
USE administrator;
INSERT #checks (name, holds) VALUES (N'three-part name', IIF(@sum = 90.5, 1, 0));
GO
CREATE OR ALTER PROCEDURE sales.kept @since date, @count int = 0 OUTPUT AS
SELECT @count = COUNT(*) FROM sales.orders WHERE placed >= @since;
GO
INSERT #checks (name, holds) SELECT N'procedures are in the catalogue', IIF(COUNT(*) = 2, 1, 0)
FROM sys.parameters WHERE object_id = OBJECT_ID('sales.kept', 'P');
GO
/* a cursor and dynamic SQL */
DECLARE @name sysname, @sql nvarchar(max), @rows bigint, @all nvarchar(max) = N'';
DECLARE each_table CURSOR LOCAL STATIC FOR
    SELECT QUOTENAME(s.name) + N'.' + QUOTENAME(t.name) FROM sys.tables AS t JOIN sys.schemas AS s ON s.schema_id = t.schema_id ORDER BY t.name;
OPEN each_table;
FETCH NEXT FROM each_table INTO @name;
WHILE @@FETCH_STATUS = 0
BEGIN
    SET @sql = N'SELECT @rows = COUNT_BIG(*) FROM ' + @name;
    EXEC sp_executesql @sql, N'@rows bigint OUTPUT', @rows = @rows OUTPUT;
    SET @all += CONCAT(@name, N'=', @rows, N' ');
    FETCH NEXT FROM each_table INTO @name;
END;
CLOSE each_table;
DEALLOCATE each_table;
PRINT @all;
INSERT #checks (name, holds) VALUES (N'cursor over tables', IIF(@all = N'[sales].[copies]=6 [sales].[customers]=4 [sales].[lines]=6 [sales].[orders]=4 ', 1, 0));
GO
/* scalar functions */
DECLARE @when datetime2(7) = '2024-02-29T23:59:58.1234567';
INSERT #checks (name, holds) VALUES
    (N'CONVERT styles', IIF(CONVERT(varchar(30), @when, 112) = '20240229' AND CONVERT(varchar(23), @when, 121) = '2024-02-29 23:59:58.123', 1, 0)),
    (N'DATEADD, DATEDIFF, DATEPART, EOMONTH', IIF(DATEADD(year, 1, @when) < '20250301' AND DATEDIFF(month, @when, '20250101') = 11 AND DATEPART(weekday, @when) = 5 AND EOMONTH(@when) = '20240229', 1, 0)),
    (N'LEN, DATALENGTH, SUBSTRING', IIF(LEN(N'ab  ') = 2 AND DATALENGTH(N'ab  ') = 8 AND SUBSTRING('hello', 2, 3) = 'ell', 1, 0)),
    (N'REPLACE, STUFF, CHARINDEX, PATINDEX', IIF(REPLACE('aXbX', 'x', '-') = 'a-b-' AND STUFF('abc', 2, 1, 'ZZ') = 'aZZc' AND PATINDEX('%[0-9]%', 'ab3') = 3, 1, 0)),
    (N'ISNULL, COALESCE, NULLIF', IIF(ISNULL(NULL, 'x') = 'x' AND COALESCE(NULL, NULL, 7) = 7 AND NULLIF(1, 1) IS NULL, 1, 0)),
    (N'ROUND, POWER, ABS, %', IIF(ROUND(2.567, 1) = 2.6 AND POWER(2, 10) = 1024 AND ABS(-3) = 3 AND 17 % 5 = 2, 1, 0)),
    (N'TRY_CONVERT, ISDATE', IIF(TRY_CONVERT(int, 'x') IS NULL AND ISDATE('20240230') = 0, 1, 0)),
    (N'NEWID', IIF(NEWID() <> NEWID() AND LEN(CAST(NEWID() AS char(36))) = 36, 1, 0)),
    (N'CASE, LIKE, IN, BETWEEN', IIF(CASE WHEN 'a_b' LIKE 'a[_]b' AND 2 IN (1, 2) AND 'm' BETWEEN 'a' AND 'z' THEN 1 END = 1, 1, 0)),
    (N'GETDATE', IIF(ABS(DATEDIFF(second, GETUTCDATE(), SYSUTCDATETIME())) <= 1, 1, 0));
GO
/* ALTER TABLE, sp_rename, the catalogue */
ALTER TABLE sales.orders ADD note nvarchar(max) NULL, state char(1) NOT NULL CONSTRAINT df_state DEFAULT 'N' WITH VALUES;
DROP INDEX ix_placed ON sales.orders;
ALTER TABLE sales.orders ALTER COLUMN amount decimal(14, 2) NOT NULL;
EXEC sp_rename 'sales.orders.note', 'remark', 'COLUMN';
GO
UPDATE sales.orders SET remark = REPLICATE(CAST(N'x' AS nvarchar(max)), 5000) WHERE order_id = 1;
ALTER TABLE sales.orders DROP CONSTRAINT df_state;
ALTER TABLE sales.orders DROP COLUMN state;
INSERT #checks (name, holds) SELECT N'columns after ALTER TABLE',
    IIF(STRING_AGG(c.name + ':' + TYPE_NAME(c.user_type_id), ',') WITHIN GROUP (ORDER BY c.column_id) = N'order_id:int,customer_id:int,placed:date,amount:decimal,remark:nvarchar', 1, 0)
FROM sys.columns AS c WHERE c.object_id = OBJECT_ID('sales.orders');
INSERT #checks (name, holds) SELECT N'long values', IIF(LEN(remark) = 5000, 1, 0) FROM sales.orders WHERE order_id = 1;
INSERT #checks (name, holds) SELECT N'INFORMATION_SCHEMA', IIF(COUNT(*) = 5, 1, 0) FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'sales';
GO
TRUNCATE TABLE sales.copies;
DROP VIEW sales.big_orders;
DROP PROCEDURE sales.kept;
DROP TABLE sales.copies, sales.lines, sales.orders, sales.customers;
DROP SCHEMA sales;
INSERT #checks (name, holds) SELECT N'all is dropped', IIF(COUNT(*) = 0, 1, 0) FROM sys.objects WHERE type IN ('U', 'V', 'P');
GO
SELECT name FROM #checks WHERE holds = 0 ORDER BY id;
GO
SELECT CONCAT(N'checks: ', COUNT(*)) AS checks FROM #checks;
GO
