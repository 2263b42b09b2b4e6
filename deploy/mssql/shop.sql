-- A sample database under change data capture, and a login with the least rights that capture needs.
-- sqlcmd variable: capture_password.
IF DB_ID(N'shop') IS NULL CREATE DATABASE shop;
GO
USE shop;
GO
IF (SELECT is_cdc_enabled FROM sys.databases WHERE name = N'shop') = 0 EXEC sys.sp_cdc_enable_db;
GO
IF OBJECT_ID(N'dbo.customers') IS NULL
CREATE TABLE dbo.customers (
    id int IDENTITY(1, 1) NOT NULL PRIMARY KEY,
    code uniqueidentifier NOT NULL DEFAULT NEWID(),
    name nvarchar(80) NOT NULL,
    balance money NOT NULL DEFAULT 0,
    created datetime2(7) NOT NULL DEFAULT SYSUTCDATETIME()
);
GO
IF OBJECT_ID(N'dbo.orders') IS NULL
CREATE TABLE dbo.orders (
    id bigint IDENTITY(1, 1) NOT NULL PRIMARY KEY,
    customer_id int NOT NULL REFERENCES dbo.customers (id),
    placed datetimeoffset(3) NOT NULL,
    total decimal(18, 4) NOT NULL,
    note nvarchar(max) NULL
);
GO
IF NOT EXISTS (SELECT 1 FROM sys.tables WHERE name = N'customers' AND is_tracked_by_cdc = 1)
    EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'customers',
        @role_name = NULL, @supports_net_changes = 0;
IF NOT EXISTS (SELECT 1 FROM sys.tables WHERE name = N'orders' AND is_tracked_by_cdc = 1)
    EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'orders',
        @role_name = NULL, @supports_net_changes = 0;
GO
-- A LOB longer than this would fail in the source itself (error 7139).
EXEC sys.sp_configure N'max text repl size', -1;
RECONFIGURE;
GO
IF SUSER_ID(N'lockstep_reader') IS NULL
    CREATE LOGIN lockstep_reader WITH PASSWORD = N'$(capture_password)';
GO
IF USER_ID(N'lockstep_reader') IS NULL CREATE USER lockstep_reader FOR LOGIN lockstep_reader;
GO
GRANT SELECT ON dbo.customers TO lockstep_reader;
GRANT SELECT ON dbo.orders TO lockstep_reader;
GRANT SELECT ON cdc.[dbo_customers_CT] TO lockstep_reader;
GRANT SELECT ON cdc.[dbo_orders_CT] TO lockstep_reader;
GO
