"""pymssql (DB-API over its own FreeTDS): every type, transactions, parameters, procedures.

usage: pymssql_client.py PORT PASSWORD
"""

import datetime as dt
import sys
import uuid
from decimal import Decimal

import pymssql

from check import equal, finish, report, step

PORT, PASSWORD = sys.argv[1:3]


def connect(database="master", **more):
    return pymssql.connect(server="127.0.0.1", port=PORT, user="sa", password=PASSWORD,
                           database=database, tds_version="7.4", **more)


# Type, T-SQL value, what Python must get. Python has microseconds: the last of seven digits is
# beyond its types, not lost by the server (FreeTDS's own programs show it).
UTC_0530 = dt.timezone(dt.timedelta(hours=5, minutes=30))
VALUES = [
    ("bit", "1", True),
    ("bit", "NULL", None),
    ("tinyint", "255", 255),
    ("smallint", "-32768", -32768),
    ("int", "-2147483648", -2147483648),
    ("bigint", "9223372036854775807", 9223372036854775807),
    ("decimal(38,10)", "1234567890123456789012345678.0123456789",
     Decimal("1234567890123456789012345678.0123456789")),
    ("decimal(38,38)", "-0.99999999999999999999999999999999999999",
     Decimal("-0.99999999999999999999999999999999999999")),
    ("numeric(5,0)", "-99999", Decimal("-99999")),
    ("money", "-922337203685477.5808", Decimal("-922337203685477.5808")),
    ("money", "922337203685477.5807", Decimal("922337203685477.5807")),
    ("smallmoney", "214748.3647", Decimal("214748.3647")),
    ("real", "1.5", 1.5),
    ("float", "1.7976931348623157e308", 1.7976931348623157e308),
    ("float", "2.2250738585072014e-308", 2.2250738585072014e-308),
    ("char(5)", "'ab'", "ab   "),
    ("varchar(10)", "'ü€'", "ü€"),
    ("varchar(10)", "''", ""),
    ("varchar(max)", "REPLICATE(CAST('x' AS varchar(max)), 100000)", "x" * 100000),
    ("nchar(4)", "N'žo'", "žo  "),
    ("nvarchar(20)", "N'😀 smile'", "😀 smile"),
    ("nvarchar(max)", "REPLICATE(CAST(N'é' AS nvarchar(max)), 50000)", "é" * 50000),
    ("binary(4)", "0x0102", b"\x01\x02\x00\x00"),
    ("varbinary(8)", "0x", b""),
    ("varbinary(max)", "CAST(REPLICATE(CAST('a' AS varchar(max)), 9000) AS varbinary(max))",
     b"a" * 9000),
    ("date", "'0001-01-01'", dt.date(1, 1, 1)),
    ("date", "'9999-12-31'", dt.date(9999, 12, 31)),
    ("time(7)", "'23:59:59.9999999'", dt.time(23, 59, 59, 999999)),
    ("time(0)", "'12:34:56'", dt.time(12, 34, 56)),
    ("smalldatetime", "'2079-06-06T23:59:00'", dt.datetime(2079, 6, 6, 23, 59)),
    ("datetime", "'1753-01-01T00:00:00'", dt.datetime(1753, 1, 1)),
    ("datetime", "'9999-12-31T23:59:59.997'", dt.datetime(9999, 12, 31, 23, 59, 59, 997000)),
    ("datetime2(7)", "'0001-01-01T00:00:00'", dt.datetime(1, 1, 1)),
    ("datetime2(7)", "'9999-12-31T23:59:59.9999999'",
     dt.datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ("datetime2(3)", "'2024-02-29T01:02:03.456'", dt.datetime(2024, 2, 29, 1, 2, 3, 456000)),
    ("datetimeoffset(7)", "'2024-02-29T01:02:03.1234567+05:30'",
     dt.datetime(2024, 2, 29, 1, 2, 3, 123456, tzinfo=UTC_0530)),
    ("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
     uuid.UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")),
    ("sysname", "N'name'", "name"),
    ("text", "'ü€'", "ü€"),
    ("ntext", "REPLICATE(CAST(N'é' AS nvarchar(max)), 50000)", "é" * 50000),
    ("image", "0x00FF", b"\x00\xff"),
    ("xml", "N'<a b=''1''>é<c></c></a>'", '<a b="1">é<c/></a>'),
    # pymssql does not look into a sql_variant: it hands on the bytes that FreeTDS found in it.
    ("sql_variant", "5", b"\x05\x00\x00\x00"),
    ("sql_variant", "N'é'", "é".encode()),
    ("varchar(20) COLLATE Cyrillic_General_CI_AS", "N'Привет'", "Привет"),
    ("varchar(20) COLLATE Japanese_CI_AS", "N'日本'", "日本"),
    ("char(3) COLLATE Polish_CI_AI", "N'żół'", "żół"),
    ("varchar(20) COLLATE Latin1_General_100_CI_AS_SC_UTF8", "N'é😀'", "é😀"),
    ("hierarchyid", "'/1/2/'", b"\x5b\x40"),
    ("geometry", "'POINT (1 2)'", bytes.fromhex("00000000010c000000000000f03f0000000000000040")),
]

for encryption in ("off", "request", "require"):
    with step(f"pymssql connects, encryption {encryption}"):
        with connect(encryption=encryption) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT N'€', @@SPID")
            equal(f"pymssql connects, encryption {encryption}", cursor.fetchone()[0], "€")

with step("pymssql makes a database"):
    with connect(autocommit=True) as connection:
        connection.cursor().execute("CREATE DATABASE python")
        report("pymssql makes a database", True)

for encryption in ("off", "require"):
    with connect("python", autocommit=True, encryption=encryption) as connection:
        cursor = connection.cursor()
        for at, (ty, literal, expected) in enumerate(VALUES):
            name = f"pymssql, encryption {encryption}: {ty} {literal[:30]}"
            with step(name):
                table = f"dbo.{encryption}_{at}"
                nullable = "" if ty == "sysname" else "NULL"
                cursor.execute(f"CREATE TABLE {table} (k int NOT NULL PRIMARY KEY, v {ty} {nullable})")
                cursor.execute(f"INSERT INTO {table} VALUES (1, {literal})")
                cursor.execute(f"SELECT v FROM {table}")
                equal(name, cursor.fetchall(), [(expected,)])

with step("pymssql transactions"):
    with connect("python") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE account (id int PRIMARY KEY, n int)")
        connection.commit()
        cursor.execute("INSERT account VALUES (%d, %d)", (1, 2))
        connection.rollback()
        cursor.execute("SELECT COUNT(*) FROM account")
        equal("pymssql rolls back", cursor.fetchone(), (0,))
        cursor.executemany("INSERT account VALUES (%d, %s)", [(i, i * i) for i in range(5)])
        connection.commit()
        cursor.execute("SELECT * FROM account ORDER BY id DESC")
        equal("pymssql commits", cursor.fetchall(), [(4, 16), (3, 9), (2, 4), (1, 1), (0, 0)])
        cursor.execute("UPDATE account SET n = n + 1 WHERE id > 2")
        equal("pymssql counts rows", cursor.rowcount, 2)
        try:
            cursor.execute("INSERT account VALUES (1, 1)")
            report("pymssql sees a duplicate key", False, "no error")
        except pymssql.IntegrityError as error:
            equal("pymssql sees a duplicate key", error.args[0], 2627)
        connection.rollback()
        cursor.execute("SELECT SUM(n) FROM account")
        equal("pymssql goes on after an error", cursor.fetchone(), (30,))
        cursor.execute("SELECT 1 AS a; SELECT N'two' AS b")
        first = cursor.fetchall()
        cursor.nextset()
        equal("pymssql reads two results", (first, cursor.fetchall()), ([(1,)], [("two",)]))

with step("pymssql procedures"):
    with connect("python") as connection:
        cursor = connection.cursor()
        cursor.callproc("sp_tables", ("account",))
        equal("pymssql calls sp_tables", cursor.fetchall(),
              [("python", "dbo", "account", "TABLE", None)])
        cursor.callproc("sp_pkeys", ("account",))
        equal("pymssql calls sp_pkeys", [row[2:5] for row in cursor.fetchall()],
              [("account", "id", 1)])
        cursor.callproc("sp_columns", ("account",))
        equal("pymssql calls sp_columns", [row[3:8] for row in cursor.fetchall()],
              [("id", 4, "int", 10, 4), ("n", 4, "int", 10, 4)])

with step("pymssql timeout"):
    with connect("python", timeout=1) as connection:
        try:
            connection.cursor().execute("WAITFOR DELAY '00:00:05'")
            report("pymssql cancels", False, "no error")
        except pymssql.OperationalError:
            report("pymssql cancels", True)

with step("pymssql refused login"):
    try:
        pymssql.connect(server="127.0.0.1", port=PORT, user="sa", password="wrong")
        report("pymssql is refused with a wrong password", False, "let in")
    except pymssql.OperationalError as error:
        report("pymssql is refused with a wrong password", "18456" in str(error), str(error))

finish()
