"""FreeTDS's own programs, tsql and bsqldb, with TLS on and off: every type, errors, transactions,
scripts with GO.

usage: freetds.py PORT PASSWORD WORK-DIRECTORY
"""

import os
import subprocess
import sys

from check import equal, finish, report, step

PORT, PASSWORD, WORK = sys.argv[1:4]

CONF = os.path.join(WORK, "freetds.conf")
with open(CONF, "w") as conf:
    for encryption in ("off", "request", "require"):
        conf.write(f"[{encryption}]\n\thost = 127.0.0.1\n\tport = {PORT}\n\ttds version = 7.4\n"
                   f"\tclient charset = UTF-8\n\tencryption = {encryption}\n\n")
ENVIRONMENT = {**os.environ, "FREETDSCONF": CONF, "LC_ALL": "C.UTF-8"}


def tsql(server, script):
    """Rows of all results, tab-separated, and what was said on standard error."""
    ran = subprocess.run(["tsql", "-o", "fhq", "-S", server, "-U", "sa", "-P", PASSWORD],
                         input=script, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    return ran.stdout.replace("\r", "").strip("\n"), ran.stderr


def bsqldb(server, script):
    """The same through bsqldb, which reads a file; fields between bars."""
    path = os.path.join(WORK, "script.sql")
    with open(path, "w") as file:
        file.write(script)
    ran = subprocess.run(["bsqldb", "-h", "-q", "-t", "|", "-S", server, "-U", "sa",
                          "-P", PASSWORD, "-i", path],
                         capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    return ran.returncode, ran.stdout, ran.stderr


# Column type, T-SQL value, what tsql prints; it prints times to the minute.
VALUES = [
    ("bit", "1", "1"),
    ("tinyint", "255", "255"),
    ("smallint", "-32768", "-32768"),
    ("int", "-2147483648", "-2147483648"),
    ("bigint", "9223372036854775807", "9223372036854775807"),
    ("decimal(38,10)", "1234567890123456789012345678.0123456789",
     "1234567890123456789012345678.0123456789"),
    ("numeric(5,0)", "-99999", "-99999"),
    ("money", "-922337203685477.5808", "-922337203685477.5808"),
    ("smallmoney", "214748.3647", "214748.3647"),
    ("real", "1.5", "1.5"),
    ("float", "-2.5e300", "-2.5000000000000001e+300"),
    ("char(5)", "'ab'", "ab   "),
    ("varchar(20)", "'ü€'", "ü€"),
    ("varchar(max)", "REPLICATE(CAST('x' AS varchar(max)), 9000)", "x" * 9000),
    ("nchar(5)", "N'žo'", "žo   "),
    ("nvarchar(20)", "N'😀 smile'", "😀 smile"),
    ("nvarchar(max)", "REPLICATE(CAST(N'é' AS nvarchar(max)), 9000)", "é" * 9000),
    ("binary(4)", "0x0102", "01020000"),
    ("varbinary(8)", "0xFF", "ff"),
    ("varbinary(max)", "0x00FF", "00ff"),
    ("date", "'2024-02-29'", "Feb 29 2024 12:00AM"),
    ("time(7)", "'23:59:59.9999999'", "Jan  1 1900 11:59PM"),
    ("smalldatetime", "'2024-02-29T12:34:00'", "Feb 29 2024 12:34PM"),
    ("datetime", "'2024-02-29T12:34:56.997'", "Feb 29 2024 12:34PM"),
    ("datetime2(7)", "'2024-02-29T12:34:56.1234567'", "Feb 29 2024 12:34PM"),
    ("datetime2(3)", "'2024-02-29T12:34:56.789'", "Feb 29 2024 12:34PM"),
    ("datetimeoffset(7)", "'2024-02-29T12:34:56.1234567+05:30'", "Feb 29 2024 12:34PM"),
    ("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
     "6F9619FF-8B86-D011-B42D-00C04FC964FF"),
    ("text", "'ü€'", "ü€"),
    ("ntext", "N'😀 smile'", "😀 smile"),
    ("image", "0x00FF", "00ff"),
    ("xml", "N'<a b=''1''>é<c></c></a>'", '<a b="1">é<c/></a>'),
    ("sql_variant", "CAST(-1.5 AS decimal(9,2))", "-1.50"),
    ("sql_variant", "N'é'", "é"),
    ("varchar(20) COLLATE Cyrillic_General_CI_AS", "N'Привет'", "Привет"),
    ("varchar(20) COLLATE Japanese_CI_AS", "N'日本'", "日本"),
    ("char(3) COLLATE Polish_CI_AI", "N'żół'", "żół"),
    ("varchar(20) COLLATE SQL_Latin1_General_CP850_CI_AS", "N'╔é'", "╔é"),
    ("varchar(20) COLLATE Latin1_General_100_CI_AS_SC_UTF8", "N'é😀'", "é😀"),
    ("hierarchyid", "'/1/2/'", "5b40"),
    ("geometry", "'POINT (1 2)'", "00000000010c000000000000f03f0000000000000040"),
]

with step("freetds makes a database"):
    out, errors = tsql("off", "CREATE DATABASE freetds\nGO\n")
    equal("freetds makes a database", errors, "")

for server in ("off", "request", "require"):
    with step(f"tsql, encryption {server}"):
        columns = ", ".join(f"c{at} {ty} NULL" for at, (ty, *_) in enumerate(VALUES))
        values = ", ".join(value for _, value, _ in VALUES)
        nulls = ", ".join("NULL" for _ in VALUES)
        out, errors = tsql(server, f"USE freetds\nGO\nCREATE TABLE [{server}] ({columns})\n"
                                   f"INSERT [{server}] VALUES ({values}), ({nulls})\nGO\n"
                                   f"SELECT * FROM [{server}]\nGO\n")
        lines = out.split("\n")
        equal(f"tsql, encryption {server}: no error", errors, "")
        equal(f"tsql, encryption {server}: two rows", len(lines), 2)
        for (ty, _, expected), found in zip(VALUES, lines[0].split("\t")):
            equal(f"tsql, encryption {server}: {ty}", found, expected)
        equal(f"tsql, encryption {server}: NULL", set(lines[1].split("\t")), {"NULL"})

with step("tsql errors"):
    _, errors = tsql("off", "INSERT nowhere VALUES (1)\nGO\n")
    report("tsql shows number, severity and text of an error",
           "Msg 208 (severity 16, state 1)" in errors and "Invalid object name 'nowhere'." in errors,
           errors)
    out, errors = tsql("off", "PRINT 'said'\nGO\nRAISERROR ('low', 10, 1)\nGO\nSELECT 1\nGO\n")
    report("tsql goes on after messages", out == "1" and "said" in errors and "low" in errors,
           out + errors)
    _, errors = tsql("off", "SELECT 1/0\nGO\n")
    report("tsql shows a division by zero", "Msg 8134" in errors, errors)

with step("tsql transaction"):
    out, errors = tsql("off", "USE freetds\nGO\nCREATE TABLE t (a int)\nGO\nBEGIN TRAN\nGO\n"
                              "INSERT t VALUES (1)\nGO\nROLLBACK\nGO\nBEGIN TRAN\n"
                              "INSERT t VALUES (2)\nCOMMIT\nGO\nSELECT a, @@TRANCOUNT FROM t\nGO\n")
    equal("tsql rolls back and commits", (out, errors), ("2\t0", ""))

SCRIPT = """USE freetds
GO
-- as an administrator writes it
CREATE TABLE dbo.ledger (
    id int IDENTITY(100, 10) NOT NULL CONSTRAINT pk_ledger PRIMARY KEY,
    account nvarchar(20) NOT NULL CONSTRAINT uq_ledger UNIQUE,
    amount decimal(12, 2) NOT NULL CONSTRAINT ck_amount CHECK (amount >= 0),
    entered datetime NOT NULL DEFAULT GETDATE())
GO
INSERT INTO dbo.ledger (account, amount) VALUES (N'Žižka', 10.5), (N'Ada', 0)
GO
DECLARE @n int = 0
WHILE @n < 3
BEGIN
    UPDATE dbo.ledger SET amount += 1 WHERE account = N'Ada'
    SET @n += 1
END
GO
SELECT id, account, amount, CONVERT(varchar(4), entered, 112) AS year FROM dbo.ledger ORDER BY id
GO
"""

for server in ("off", "require"):
    with step(f"bsqldb, encryption {server}"):
        status, out, errors = bsqldb(server, SCRIPT.replace("ledger", f"ledger_{server}"))
        rows = [line.replace(" ", "").rsplit("|", 1)[0] for line in out.splitlines() if "|" in line]
        equal(f"bsqldb, encryption {server}", (status, rows),
              (0, ["100|Žižka|10.50", "110|Ada|3.00"]))
    with step(f"bsqldb error, encryption {server}"):
        status, out, errors = bsqldb(server, f"USE freetds\nGO\nINSERT dbo.ledger_{server} (account, amount) VALUES (N'Ada', 1)\nGO\n")
        report(f"bsqldb shows a duplicate key, encryption {server}", "2627" in errors, out + errors)

with step("an administrator's script"):
    with open(os.path.join(os.path.dirname(__file__), "administrator.sql")) as file:
        status, out, errors = bsqldb("off", file.read())
    lines = [line.strip() for line in out.splitlines() if line.strip()]
    equal("an administrator's script ends well", status, 0)
    equal("every check of an administrator's script holds", lines[-1:], ["checks: 50"])
    report("no check of an administrator's script fails", len(lines) == 1, out + errors)

finish()
