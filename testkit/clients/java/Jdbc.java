import com.microsoft.sqlserver.jdbc.Geography;
import com.microsoft.sqlserver.jdbc.Geometry;
import com.microsoft.sqlserver.jdbc.SQLServerPreparedStatement;
import com.microsoft.sqlserver.jdbc.SQLServerResultSet;
import java.math.BigDecimal;
import java.sql.BatchUpdateException;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * Microsoft's JDBC driver against the double, with TLS on and off: every type as a literal and as a
 * parameter, transactions without autocommit, prepared statements, the whole of DatabaseMetaData
 * that a tool or a connector asks.
 */
public final class Jdbc {
    private final int port;
    private final String password;
    private final boolean encrypt;
    private final String database;
    private final String label;

    private Jdbc(String[] args, boolean encrypt) {
        port = Integer.parseInt(args[0]);
        password = args[1];
        this.encrypt = encrypt;
        database = encrypt ? "jdbc_tls" : "jdbc_plain";
        label = "jdbc, TLS " + (encrypt ? "on" : "off") + ": ";
    }

    /** Arguments: the double's port and the password of sa. */
    public static void main(String[] args) {
        for (boolean encrypt : new boolean[] {false, true}) {
            Jdbc run = new Jdbc(args, encrypt);
            Check.step(run.label + "run", run::run);
        }
        Check.finish();
    }

    private Connection open(String database, String more) throws SQLException {
        return DriverManager.getConnection("jdbc:sqlserver://127.0.0.1:" + port + ";databaseName=" + database
            + ";encrypt=" + encrypt + ";trustServerCertificate=true" + more, "sa", password);
    }

    private void run() throws Exception {
        try (Connection connection = open("master", ""); Statement sql = connection.createStatement()) {
            sql.execute("CREATE DATABASE " + database);
        }
        // Else the driver sends a time as a datetime, to 1/300 s.
        try (Connection connection = open(database, ";sendTimeAsDatetime=false")) {
            step("types as literals", () -> literals(connection));
            step("types as parameters", () -> parameters(connection));
            step("rowversion", () -> rowVersion(connection));
            step("shapes", () -> shapes(connection));
            step("prepared statements", () -> prepared(connection));
            step("transactions", () -> transactions(connection));
            step("errors", () -> errors(connection));
            step("metadata", () -> metadata(connection));
            JdbcQuestions questions = new JdbcQuestions(connection, database, label);
            step("questions", questions::ask);
            step("cursors", questions::cursors);
        }
        try (Connection connection = open(database, ";selectMethod=cursor")) {
            step("cursors by selectMethod", new JdbcQuestions(connection, database, label)::blocks);
        }
        step("refused login", this::refused);
        step("database in the URL", this::unknownDatabase);
    }

    private void step(String name, Check.Step step) {
        Check.step(label + name, step);
    }

    private void equal(String name, Object found, Object expected) {
        Check.equal(label + name, found, expected);
    }

    /** A type, a literal, the same value for setObject, and what getObject must give. */
    private record Sample(String type, String literal, Object value, int jdbcType, Object expected) {
        Sample(String type, String literal, Object value, int jdbcType) {
            this(type, literal, value, jdbcType, value);
        }
    }

    private static final List<Sample> SAMPLES = List.of(
        new Sample("bit", "1", true, Types.BIT),
        new Sample("tinyint", "255", (short) 255, Types.TINYINT),
        new Sample("smallint", "-32768", (short) -32768, Types.SMALLINT),
        new Sample("int", "-2147483648", Integer.MIN_VALUE, Types.INTEGER),
        new Sample("bigint", "9223372036854775807", Long.MAX_VALUE, Types.BIGINT),
        new Sample("decimal(38,10)", "1234567890123456789012345678.0123456789",
            new BigDecimal("1234567890123456789012345678.0123456789"), Types.DECIMAL),
        new Sample("decimal(38,38)", "-0.99999999999999999999999999999999999999",
            new BigDecimal("-0.99999999999999999999999999999999999999"), Types.DECIMAL),
        new Sample("numeric(5,0)", "-99999", new BigDecimal("-99999"), Types.NUMERIC),
        new Sample("money", "-922337203685477.5808", new BigDecimal("-922337203685477.5808"), Types.DECIMAL),
        new Sample("smallmoney", "214748.3647", new BigDecimal("214748.3647"), Types.DECIMAL),
        new Sample("real", "1.5", 1.5f, Types.REAL),
        new Sample("float", "1.7976931348623157e308", Double.MAX_VALUE, Types.DOUBLE),
        new Sample("char(5)", "'ab'", "ab   ", Types.CHAR),
        new Sample("varchar(20)", "'ü€'", "ü€", Types.VARCHAR),
        new Sample("varchar(20)", "''", "", Types.VARCHAR),
        new Sample("varchar(max)", "REPLICATE(CAST('x' AS varchar(max)), 100000)", "x".repeat(100000), Types.LONGVARCHAR),
        new Sample("nchar(5)", "N'žo'", "žo   ", Types.NCHAR),
        new Sample("nvarchar(20)", "N'😀 smile'", "😀 smile", Types.NVARCHAR),
        new Sample("nvarchar(max)", "REPLICATE(CAST(N'é' AS nvarchar(max)), 50000)", "é".repeat(50000), Types.LONGNVARCHAR),
        new Sample("binary(4)", "0x01020304", new byte[] {1, 2, 3, 4}, Types.BINARY),
        new Sample("varbinary(8)", "0x", new byte[0], Types.VARBINARY),
        new Sample("varbinary(max)", "CAST(REPLICATE(CAST('a' AS varchar(max)), 9000) AS varbinary(max))",
            "a".repeat(9000).getBytes(), Types.LONGVARBINARY),
        new Sample("date", "'0001-01-01'", LocalDate.of(1, 1, 1), Types.DATE),
        new Sample("date", "'9999-12-31'", LocalDate.of(9999, 12, 31), Types.DATE),
        new Sample("time(7)", "'23:59:59.9999999'", LocalTime.of(23, 59, 59, 999_999_900), Types.TIME),
        new Sample("smalldatetime", "'2079-06-06T23:59:00'", LocalDateTime.of(2079, 6, 6, 23, 59), Types.TIMESTAMP),
        new Sample("datetime", "'2024-02-29T12:34:56.997'", LocalDateTime.of(2024, 2, 29, 12, 34, 56, 997_000_000), Types.TIMESTAMP),
        new Sample("datetime2(7)", "'9999-12-31T23:59:59.9999999'",
            LocalDateTime.of(9999, 12, 31, 23, 59, 59, 999_999_900), Types.TIMESTAMP),
        new Sample("datetime2(3)", "'2024-02-29T12:34:56.789'", LocalDateTime.of(2024, 2, 29, 12, 34, 56, 789_000_000), Types.TIMESTAMP),
        new Sample("datetimeoffset(7)", "'2024-02-29T12:34:56.1234567+05:30'",
            OffsetDateTime.of(2024, 2, 29, 12, 34, 56, 123_456_700, ZoneOffset.ofHoursMinutes(5, 30)),
            microsoft.sql.Types.DATETIMEOFFSET),
        new Sample("uniqueidentifier", "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
            "6F9619FF-8B86-D011-B42D-00C04FC964FF", Types.CHAR),
        new Sample("sysname", "N'name'", "name", Types.NVARCHAR),
        new Sample("text", "'ü€'", "ü€", Types.LONGVARCHAR),
        new Sample("ntext", "REPLICATE(CAST(N'é' AS nvarchar(max)), 50000)", "é".repeat(50000), Types.LONGNVARCHAR),
        new Sample("image", "0x00FF", new byte[] {0, (byte) 0xFF}, Types.LONGVARBINARY),
        new Sample("xml", "N'<a b=''1''>é<c></c></a>'", "<a b='1'>é<c></c></a>", Types.SQLXML, "<a b=\"1\">é<c/></a>"),
        new Sample("sql_variant", "CAST(-1.5 AS decimal(9,2))", new BigDecimal("-1.50"), Types.DECIMAL),
        new Sample("sql_variant", "N'é'", "é", Types.NVARCHAR),
        new Sample("varchar(20) COLLATE Cyrillic_General_CI_AS", "N'Привет'", "Привет", Types.VARCHAR),
        new Sample("varchar(20) COLLATE Japanese_CI_AS", "N'日本'", "日本", Types.VARCHAR),
        new Sample("char(3) COLLATE Polish_CI_AI", "N'żół'", "żół", Types.CHAR),
        new Sample("varchar(20) COLLATE SQL_Latin1_General_CP850_CI_AS", "N'╔é'", "╔é", Types.VARCHAR),
        new Sample("varchar(max) COLLATE Latin1_General_100_BIN2_UTF8", "N'é😀'", "é😀", Types.LONGVARCHAR),
        new Sample("hierarchyid", "'/1/2/'", new byte[] {0x5b, 0x40}, Types.VARBINARY));

    /** The value of a column as the class that the sample has. */
    private static Object get(ResultSet rows, int column, Object like) throws SQLException {
        if (like instanceof byte[]) {
            return rows.getBytes(column);
        }
        return rows.getObject(column, like.getClass());
    }

    private static boolean same(Object left, Object right) {
        if (left instanceof byte[] a && right instanceof byte[] b) {
            return Arrays.equals(a, b);
        }
        return Objects.equals(left, right);
    }

    private void literals(Connection connection) throws SQLException {
        try (Statement sql = connection.createStatement()) {
            for (int at = 0; at < SAMPLES.size(); at++) {
                Sample sample = SAMPLES.get(at);
                String table = "dbo.literal_" + at;
                sql.execute("CREATE TABLE " + table + " (k int PRIMARY KEY, v " + sample.type
                    + (sample.type.equals("sysname") ? "" : " NULL") + ")");
                sql.execute("INSERT " + table + " VALUES (1, " + sample.literal + ")");
                try (ResultSet rows = sql.executeQuery("SELECT v FROM " + table)) {
                    rows.next();
                    Object found = get(rows, 1, sample.expected);
                    Check.report(label + "literal " + sample.type, same(found, sample.expected), "found " + found);
                    String name = rows.getMetaData().getColumnTypeName(1);
                    equal("type name of " + sample.type, name,
                        sample.type.equals("sysname") ? "nvarchar" : sample.type.replaceAll("[ (].*", ""));
                }
            }
        }
    }

    private void parameters(Connection connection) throws SQLException {
        for (int at = 0; at < SAMPLES.size(); at++) {
            Sample sample = SAMPLES.get(at);
            String table = "dbo.literal_" + at;
            String insert = "INSERT " + table + " (k, v) VALUES (?, ?)";
            try (PreparedStatement statement = connection.prepareStatement(insert)) {
                for (int key = 2; key < 6; key++) {
                    statement.setInt(1, key);
                    if (key == 5 && !sample.type.equals("sysname")) {
                        statement.setNull(2, sample.jdbcType);
                    } else if (sample.value instanceof byte[] bytes) {
                        statement.setBytes(2, bytes);
                    } else if (sample.type.equals("money") || sample.type.equals("smallmoney")) {
                        statement.setBigDecimal(2, (BigDecimal) sample.value);
                    } else {
                        statement.setObject(2, sample.value);
                    }
                    equal("rows of a parameter " + sample.type, statement.executeUpdate(), 1);
                }
            }
            try (PreparedStatement statement = connection.prepareStatement("SELECT v FROM " + table + " WHERE k BETWEEN ? AND ? ORDER BY k")) {
                statement.setInt(1, 2);
                statement.setInt(2, 5);
                try (ResultSet rows = statement.executeQuery()) {
                    for (int key = 2; key < 5; key++) {
                        rows.next();
                        Object found = get(rows, 1, sample.expected);
                        Check.report(label + "parameter " + sample.type, same(found, sample.expected), "found " + found);
                    }
                    rows.next();
                    if (!sample.type.equals("sysname")) {
                        equal("NULL of " + sample.type, rows.getObject(1), null);
                    }
                }
            }
        }
    }

    private void rowVersion(Connection connection) throws SQLException {
        try (Statement sql = connection.createStatement()) {
            sql.execute("CREATE TABLE dbo.versioned (id int PRIMARY KEY, v rowversion); INSERT dbo.versioned (id) VALUES (1), (2)");
            try (ResultSet rows = sql.executeQuery("SELECT v, @@DBTS FROM dbo.versioned ORDER BY v DESC")) {
                rows.next();
                equal("type name of rowversion", rows.getMetaData().getColumnTypeName(1), "timestamp");
                Check.report(label + "rowversion", Arrays.equals(rows.getBytes(1), rows.getBytes(2)), "not the last one");
            }
        }
    }

    /** Microsoft's own reader of the serialization, in the driver. */
    private void shapes(Connection connection) throws SQLException {
        List<String> texts = List.of("POINT(1 2)", "POINT(1 2 3 4)", "LINESTRING(0 0, 1.5 1, 3 -2)", "LINESTRING(0 0, 1 1)",
            "POLYGON((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 2 1, 2 2, 1 1))", "MULTIPOINT((1 2), (3 4))",
            "MULTILINESTRING((0 0, 1 1), (2 2, 3 3, 4 4))",
            "MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))",
            "GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))", "CIRCULARSTRING(0 0, 1 1, 2 0)",
            "COMPOUNDCURVE((0 0, 1 0, 2 0), CIRCULARSTRING(2 0, 3 1, 4 0), (4 0, 5 0))",
            "CURVEPOLYGON(CIRCULARSTRING(0 0, 1 1, 2 0, 1 -1, 0 0))");
        try (Statement sql = connection.createStatement()) {
            for (String text : texts) {
                try (ResultSet rows = sql.executeQuery("SELECT geometry::STGeomFromText('" + text + "', 7), geography::STGeomFromText('"
                    + text + "', 4326)")) {
                    rows.next();
                    SQLServerResultSet shapes = rows.unwrap(SQLServerResultSet.class);
                    Geometry geometry = shapes.getGeometry(1);
                    equal("geometry " + text, text(geometry.toString()) + " " + geometry.getSrid(), text(text) + " 7");
                    Geography geography = shapes.getGeography(2);
                    equal("geography " + text, text(geography.toString()) + " " + geography.getSrid(), text(text) + " 4326");
                }
            }
            try (PreparedStatement statement = connection.prepareStatement("SELECT ?, CAST(? AS geometry).STAsText()")) {
                SQLServerPreparedStatement call = statement.unwrap(SQLServerPreparedStatement.class);
                call.setGeometry(1, Geometry.STGeomFromText("LINESTRING(0 0, 1 1, 2 2)", 5));
                call.setGeometry(2, Geometry.STGeomFromText("POINT(1 2)", 0));
                try (ResultSet rows = call.executeQuery()) {
                    rows.next();
                    equal("geometry as a parameter", rows.unwrap(SQLServerResultSet.class).getGeometry(1).getSrid() + rows.getString(2), "5POINT (1 2)");
                }
            }
        }
    }

    /** Well-known text without the blanks and zeros that are a matter of taste. */
    private static String text(String wellKnown) {
        return wellKnown.replace(" (", "(").replace(".0", "");
    }

    private void prepared(Connection connection) throws SQLException {
        try (Statement sql = connection.createStatement()) {
            sql.execute("CREATE TABLE dbo.numbered (id int IDENTITY(7, 3) PRIMARY KEY, name nvarchar(20) NOT NULL, n int NULL)");
        }
        String insert = "INSERT dbo.numbered (name, n) VALUES (?, ?)";
        try (PreparedStatement statement = connection.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
            for (int at = 0; at < 3; at++) {
                statement.setNString(1, "n" + at);
                statement.setInt(2, at);
                statement.executeUpdate();
                try (ResultSet keys = statement.getGeneratedKeys()) {
                    keys.next();
                    equal("generated key", keys.getInt(1), 7 + 3 * at);
                }
            }
        }
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
            for (int at = 0; at < 50; at++) {
                statement.setNString(1, "batch");
                statement.setInt(2, at);
                statement.addBatch();
            }
            equal("batch", Arrays.stream(statement.executeBatch()).sum(), 50);
        }
        try (PreparedStatement statement = connection.prepareStatement("UPDATE dbo.numbered SET n = n + ? WHERE name = ?")) {
            statement.setInt(1, 1);
            statement.setString(2, "batch");
            equal("update count", statement.executeUpdate(), 50);
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT id, name AS called, n FROM dbo.numbered WHERE id < ?")) {
            ResultSetMetaData columns = statement.getMetaData();
            equal("columns before the first execution",
                List.of(columns.getColumnCount(), columns.getColumnName(2), columns.getColumnTypeName(2), columns.getPrecision(2),
                    columns.isAutoIncrement(1), columns.isNullable(3) == ResultSetMetaData.columnNullable),
                List.of(3, "called", "nvarchar", 20, true, true));
        }
        try (Statement sql = connection.createStatement()) {
            sql.setMaxRows(2);
            try (ResultSet rows = sql.executeQuery("SELECT id FROM dbo.numbered ORDER BY id DESC")) {
                equal("at most two rows", ints(rows).size(), 2);
            }
        }
        try (Statement sql = connection.createStatement()) {
            boolean result = sql.execute("SELECT 1; UPDATE dbo.numbered SET n = 0 WHERE id = 7; SELECT 2, 3");
            equal("first of three results", List.of(result, ints(sql.getResultSet())), List.of(true, List.of(1)));
            equal("second of three results", List.of(sql.getMoreResults(), sql.getUpdateCount()), List.of(false, 1));
            equal("third of three results", List.of(sql.getMoreResults(), ints(sql.getResultSet())), List.of(true, List.of(2)));
            equal("no fourth result", List.of(sql.getMoreResults(), sql.getUpdateCount()), List.of(false, -1));
        }
        try (CallableStatement call = connection.prepareCall("{? = call sp_executesql(?, ?, ?)}")) {
            call.registerOutParameter(1, Types.INTEGER);
            call.setString(2, "SELECT @a + 1");
            call.setString(3, "@a int");
            call.setInt(4, 41);
            try (ResultSet rows = call.executeQuery()) {
                equal("procedure's rows", ints(rows), List.of(42));
            }
            equal("procedure's status", call.getInt(1), 0);
        }
        try (CallableStatement call = connection.prepareCall("{call sp_executesql(N'SET @b = @a * 2', N'@a int, @b int OUTPUT', ?, ?)}")) {
            call.setInt(1, 21);
            call.registerOutParameter(2, Types.INTEGER);
            call.execute();
            equal("OUTPUT parameter", call.getInt(2), 42);
        }
    }

    private static List<Integer> ints(ResultSet rows) throws SQLException {
        List<Integer> found = new ArrayList<>();
        while (rows.next()) {
            found.add(rows.getInt(1));
        }
        return found;
    }

    private void transactions(Connection connection) throws SQLException {
        try (Statement sql = connection.createStatement()) {
            sql.execute("CREATE TABLE dbo.account (id int PRIMARY KEY, n int)");
            connection.setAutoCommit(false);
            sql.execute("INSERT dbo.account VALUES (1, 1)");
            connection.rollback();
            equal("rolled back", ints(sql.executeQuery("SELECT id FROM dbo.account")), List.of());
            sql.execute("INSERT dbo.account VALUES (2, 1)");
            Savepoint savepoint = connection.setSavepoint("s");
            sql.execute("INSERT dbo.account VALUES (3, 1)");
            connection.rollback(savepoint);
            try (Connection other = open(database, ""); Statement elsewhere = other.createStatement()) {
                equal("unseen before the commit", ints(elsewhere.executeQuery("SELECT id FROM dbo.account")), List.of());
                connection.commit();
                equal("seen after it", ints(elsewhere.executeQuery("SELECT id FROM dbo.account")), List.of(2));
            }
            connection.setAutoCommit(true);
            equal("no transaction is left", ints(sql.executeQuery("SELECT @@TRANCOUNT")), List.of(0));
            for (int level : new int[] {Connection.TRANSACTION_READ_UNCOMMITTED, Connection.TRANSACTION_REPEATABLE_READ,
                    Connection.TRANSACTION_SERIALIZABLE, Connection.TRANSACTION_READ_COMMITTED}) {
                connection.setTransactionIsolation(level);
                equal("isolation level " + level, ints(sql.executeQuery("SELECT id FROM dbo.account")), List.of(2));
            }
            sql.execute("ALTER DATABASE " + database + " SET ALLOW_SNAPSHOT_ISOLATION ON");
            connection.setTransactionIsolation(com.microsoft.sqlserver.jdbc.SQLServerConnection.TRANSACTION_SNAPSHOT);
            connection.setAutoCommit(false);
            equal("snapshot", ints(sql.executeQuery("SELECT id FROM dbo.account")), List.of(2));
            connection.commit();
            connection.setAutoCommit(true);
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        }
    }

    private void errors(Connection connection) throws SQLException {
        try (Statement sql = connection.createStatement()) {
            refuses(sql, "INSERT dbo.account VALUES (2, 2)", 2627, "23000");
            refuses(sql, "INSERT dbo.account (n) VALUES (2)", 515, "23000");
            refuses(sql, "SELECT * FROM dbo.nowhere", 208, "S0002");
            refuses(sql, "SELECT nothing FROM dbo.account", 207, "S0001");
            refuses(sql, "SELECT 1 +", 102, "S0001");
            refuses(sql, "SELEC 1", 2812, "S0062");
            sql.setQueryTimeout(1);
            try {
                sql.execute("WAITFOR DELAY '00:00:20'");
                Check.report(label + "query timeout", false, "it ran to its end");
            } catch (SQLException error) {
                Check.report(label + "query timeout", error instanceof java.sql.SQLTimeoutException, error.toString());
            }
            sql.setQueryTimeout(0);
            equal("goes on after a timeout", ints(sql.executeQuery("SELECT id FROM dbo.account")), List.of(2));
        }
        try (PreparedStatement statement = connection.prepareStatement("INSERT dbo.account VALUES (?, 0)")) {
            for (int key : new int[] {10, 2, 11}) {
                statement.setInt(1, key);
                statement.addBatch();
            }
            statement.executeBatch();
            Check.report(label + "batch with a duplicate key", false, "no error");
        } catch (BatchUpdateException error) {
            equal("batch with a duplicate key", error.getErrorCode(), 2627);
        }
        equal("valid", connection.isValid(5), true);
    }

    private void refuses(Statement sql, String text, int number, String state) {
        try {
            sql.execute(text);
            Check.report(label + "error " + number, false, "no error");
        } catch (SQLException error) {
            equal("error " + number, List.of(error.getErrorCode(), error.getSQLState()), List.of(number, state));
        }
    }

    /** Columns of every row, joined by bars. */
    private static List<String> rows(ResultSet rows, String... columns) throws SQLException {
        List<String> found = new ArrayList<>();
        while (rows.next()) {
            StringBuilder row = new StringBuilder();
            for (String column : columns) {
                row.append(row.isEmpty() ? "" : "|").append(rows.getString(column));
            }
            found.add(row.toString());
        }
        rows.close();
        return found;
    }

    private void metadata(Connection connection) throws SQLException {
        try (Statement sql = connection.createStatement()) {
            sql.execute("CREATE SCHEMA meta");
            sql.execute("CREATE TABLE meta.parent (a int NOT NULL, b nvarchar(20) NOT NULL, CONSTRAINT pk_parent PRIMARY KEY (b, a))");
            sql.execute("CREATE TABLE meta.child (id bigint IDENTITY PRIMARY KEY, pa int, pb nvarchar(20),"
                + " price decimal(12,3) NOT NULL DEFAULT 1.5, doubled AS price * 2, body varchar(max), at datetime2(3), day date,"
                + " moment datetimeoffset(0), clock time(7), flag bit NOT NULL, tag uniqueidentifier, f float, r real, m money,"
                + " CONSTRAINT fk_child FOREIGN KEY (pb, pa) REFERENCES meta.parent (b, a))");
            sql.execute("CREATE UNIQUE INDEX ux_child ON meta.child (price DESC, id)");
            sql.execute("CREATE INDEX ix_child ON meta.child (pb)");
        }
        DatabaseMetaData data = connection.getMetaData();
        equal("product", data.getDatabaseProductName() + " " + data.getDatabaseMajorVersion(), "Microsoft SQL Server 16");
        equal("user", data.getUserName(), "sa");
        equal("tables", rows(data.getTables(database, "meta", null, new String[] {"TABLE"}), "TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE"),
            List.of(database + "|meta|child|TABLE", database + "|meta|parent|TABLE"));
        equal("tables by pattern", rows(data.getTables(database, "m%", "par_nt", null), "TABLE_NAME"), List.of("parent"));
        equal("escaped pattern", rows(data.getTables(database, "meta", "par\\_nt", null), "TABLE_NAME"), List.of());
        String[] columns = {"COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "COLUMN_SIZE", "DECIMAL_DIGITS", "NULLABLE",
            "ORDINAL_POSITION", "COLUMN_DEF", "IS_AUTOINCREMENT", "IS_GENERATEDCOLUMN"};
        equal("computed column", rows(data.getColumns(database, "meta", "child", "doubled"), columns),
            List.of("doubled|2|numeric|14|3|1|5|null|NO|YES"));
        equal("columns",
            rows(data.getColumns(database, "meta", "child", null), columns).stream()
                .filter(row -> !row.startsWith("doubled")).toList(),
            List.of("id|-5|bigint identity|19|0|0|1|null|YES|NO", "pa|4|int|10|0|1|2|null|NO|NO",
                "pb|-9|nvarchar|20|null|1|3|null|NO|NO", "price|3|decimal|12|3|0|4|((1.5))|NO|NO", "body|12|varchar|2147483647|null|1|6|null|NO|NO",
                "at|93|datetime2|23|3|1|7|null|NO|NO", "day|91|date|10|0|1|8|null|NO|NO",
                "moment|-155|datetimeoffset|26|0|1|9|null|NO|NO", "clock|92|time|16|7|1|10|null|NO|NO",
                "flag|-7|bit|1|null|0|11|null|NO|NO", "tag|1|uniqueidentifier|36|null|1|12|null|NO|NO",
                "f|8|float|53|null|1|13|null|NO|NO", "r|7|real|24|null|1|14|null|NO|NO", "m|3|money|19|4|1|15|null|NO|NO"));
        equal("one column", rows(data.getColumns(database, "meta", "%", "p_"), "TABLE_NAME", "COLUMN_NAME"),
            List.of("child|pa", "child|pb"));
        equal("primary key", rows(data.getPrimaryKeys(database, "meta", "parent"), "COLUMN_NAME", "KEY_SEQ", "PK_NAME"),
            List.of("b|1|pk_parent", "a|2|pk_parent"));
        List<String> indexes = rows(data.getIndexInfo(database, "meta", "child", false, true), "NON_UNIQUE", "INDEX_NAME", "TYPE",
            "ORDINAL_POSITION", "COLUMN_NAME", "ASC_OR_DESC");
        equal("indexes", indexes.stream().map(row -> row.replaceFirst("PK__child__\\w+", "PK")).toList(),
            List.of("null|null|0|null|null|null", "0|PK|1|1|id|A", "0|ux_child|3|1|price|D", "0|ux_child|3|2|id|A", "1|ix_child|3|1|pb|A"));
        String[] keys = {"PKTABLE_NAME", "PKCOLUMN_NAME", "FKTABLE_NAME", "FKCOLUMN_NAME", "KEY_SEQ", "UPDATE_RULE", "DELETE_RULE", "FK_NAME", "PK_NAME"};
        List<String> foreign = List.of("parent|b|child|pb|1|3|3|fk_child|pk_parent", "parent|a|child|pa|2|3|3|fk_child|pk_parent");
        equal("imported keys", rows(data.getImportedKeys(database, "meta", "child"), keys), foreign);
        equal("exported keys", rows(data.getExportedKeys(database, "meta", "parent"), keys), foreign);
        equal("cross reference", rows(data.getCrossReference(database, "meta", "parent", database, "meta", "child"), keys), foreign);
        equal("best row identifier", rows(data.getBestRowIdentifier(database, "meta", "parent", DatabaseMetaData.bestRowTransaction, false), "COLUMN_NAME"),
            List.of("a", "b"));
        equal("version columns", rows(data.getVersionColumns(database, "meta", "parent"), "COLUMN_NAME"), List.of());
        Check.report(label + "schemas", rows(data.getSchemas(), "TABLE_SCHEM").containsAll(List.of("dbo", "meta", "sys")), "");
        Check.report(label + "catalogs", rows(data.getCatalogs(), "TABLE_CAT").containsAll(List.of("master", "msdb", database)), "");
        List<String> types = rows(data.getTypeInfo(), "TYPE_NAME");
        Check.report(label + "type info", types.containsAll(List.of("bit", "int", "int identity", "datetime2", "xml", "sql_variant")), types.toString());
        equal("catalog", connection.getCatalog(), database);
        connection.setCatalog("master");
        equal("catalog, changed", connection.getCatalog(), "master");
        connection.setCatalog(database);
    }

    private void refused() {
        try {
            DriverManager.getConnection("jdbc:sqlserver://127.0.0.1:" + port
                + ";encrypt=" + encrypt + ";trustServerCertificate=true", "sa", "wrong").close();
            Check.report(label + "wrong password", false, "let in");
        } catch (SQLException error) {
            equal("wrong password", error.getErrorCode(), 18456);
        }
    }

    private void unknownDatabase() {
        try {
            // The driver tries again until this time is up.
            open("nowhere", ";loginTimeout=1").close();
            Check.report(label + "unknown database", false, "let in");
        } catch (SQLException error) {
            equal("unknown database", error.getErrorCode(), 4060);
        }
    }
}
