import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;

/** What the JDBC driver asks about views, procedures, privileges and parameters; server cursors. */
final class JdbcQuestions {
    private final Connection connection;
    private final String database;
    private final String label;

    JdbcQuestions(Connection connection, String database, String label) {
        this.connection = connection;
        this.database = database;
        this.label = label;
    }

    private void equal(String name, Object found, Object expected) {
        Check.equal(label + name, found, expected);
    }

    private static List<String> rows(ResultSet rows, String... columns) throws SQLException {
        List<String> found = new ArrayList<>();
        while (rows.next()) {
            List<String> row = new ArrayList<>();
            for (String column : columns) {
                row.add(rows.getString(column));
            }
            found.add(String.join("|", row.stream().map(String::valueOf).toList()));
        }
        rows.close();
        return found;
    }

    void ask() throws SQLException {
        try (Statement sql = connection.createStatement()) {
            sql.execute("CREATE SCHEMA ask");
            sql.execute("CREATE TABLE ask.t (id int NOT NULL PRIMARY KEY, name nvarchar(30) NULL, price decimal(9,2) NOT NULL)");
            sql.execute("CREATE VIEW ask.v AS SELECT id, name FROM ask.t");
            sql.execute("CREATE PROCEDURE ask.p @id int, @name nvarchar(30) = N'x', @price decimal(9,2) OUTPUT AS RETURN 0");
            sql.execute("CREATE USER asker WITHOUT LOGIN");
            sql.execute("GRANT SELECT ON ask.t TO asker");
        }
        DatabaseMetaData data = connection.getMetaData();
        equal("views", rows(data.getTables(database, "ask", null, new String[] {"VIEW"}), "TABLE_NAME", "TABLE_TYPE"), List.of("v|VIEW"));
        equal("columns of a view", rows(data.getColumns(database, "ask", "v", null), "COLUMN_NAME", "TYPE_NAME", "NULLABLE"),
            List.of("id|int|0", "name|nvarchar|1"));
        equal("procedures", rows(data.getProcedures(database, "ask", "p%"), "PROCEDURE_CAT", "PROCEDURE_SCHEM", "PROCEDURE_NAME", "PROCEDURE_TYPE"),
            List.of(database + "|ask|p;1|2"));
        equal("procedure columns",
            rows(data.getProcedureColumns(database, "ask", "p", null), "COLUMN_NAME", "COLUMN_TYPE", "DATA_TYPE", "TYPE_NAME", "ORDINAL_POSITION"),
            List.of("@RETURN_VALUE|5|4|int|0", "@id|1|4|int|1", "@name|1|-9|nvarchar|2", "@price|2|3|decimal|3"));
        equal("table privileges",
            rows(data.getTablePrivileges(database, "ask", "t"), "GRANTEE", "PRIVILEGE", "IS_GRANTABLE"),
            List.of("dbo|DELETE|YES", "dbo|INSERT|YES", "dbo|REFERENCES|YES", "asker|SELECT|NO", "dbo|SELECT|YES", "dbo|UPDATE|YES"));
        equal("column privileges",
            rows(data.getColumnPrivileges(database, "ask", "t", "name"), "COLUMN_NAME", "GRANTEE", "PRIVILEGE"),
            List.of("name|dbo|INSERT", "name|dbo|REFERENCES", "name|asker|SELECT", "name|dbo|SELECT", "name|dbo|UPDATE"));
        try (PreparedStatement statement = connection.prepareStatement("UPDATE ask.t SET name = ? WHERE id = ? AND price > ?")) {
            ParameterMetaData parameters = statement.getParameterMetaData();
            List<String> types = new ArrayList<>();
            for (int at = 1; at <= parameters.getParameterCount(); at++) {
                types.add(parameters.getParameterTypeName(at) + " " + parameters.getPrecision(at));
            }
            equal("types of parameters", types, List.of("nvarchar 30", "int 10", "decimal 9"));
        }
        try (CallableStatement call = connection.prepareCall("{? = call sp_server_info(?)}")) {
            call.registerOutParameter(1, java.sql.Types.INTEGER);
            call.setInt(2, 1);
            try (ResultSet rows = call.executeQuery()) {
                equal("a procedure's rows", rows(rows, "attribute_value"), List.of("Microsoft SQL Server"));
            }
            equal("a procedure's status", call.getInt(1), 0);
        }
    }

    /** Results that scroll, and that come through a cursor in blocks. */
    void cursors() throws SQLException {
        connection.setAutoCommit(true);
        try (Statement sql = connection.createStatement()) {
            sql.execute("CREATE TABLE ask.n (n int PRIMARY KEY, t nvarchar(20) NULL)");
            sql.execute("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 100)"
                + " INSERT ask.n SELECT i, IIF(i % 10 = 0, NULL, CONCAT(N'№ ', i)) FROM n");
        }
        try (Statement sql = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
            sql.setFetchSize(7);
            try (ResultSet rows = sql.executeQuery("SELECT n, t FROM ask.n ORDER BY n")) {
                equal("last row", List.of(rows.last(), rows.getRow(), rows.getInt(1)), List.of(true, 100, 100));
                equal("back", List.of(rows.previous(), rows.getInt(1), rows.getString(2)), List.of(true, 99, "№ 99"));
                equal("absolute", List.of(rows.absolute(50), rows.getInt(1), rows.getString(2) == null), List.of(true, 50, true));
                equal("relative", List.of(rows.relative(-30), rows.getInt(1)), List.of(true, 20));
                equal("from the end", List.of(rows.absolute(-100), rows.getInt(1), rows.isFirst()), List.of(true, 1, true));
                equal("before the first", List.of(rows.relative(-5), rows.isBeforeFirst()), List.of(false, true));
                int sum = 0;
                while (rows.next()) {
                    sum += rows.getInt(1);
                }
                equal("forward over all", List.of(sum, rows.isAfterLast()), List.of(5050, true));
                for (sum = 0; rows.previous();) {
                    sum += rows.getInt("n");
                }
                equal("backward over all", List.of(sum, rows.isBeforeFirst()), List.of(5050, true));
                equal("columns", rows.getMetaData().getColumnCount(), 2);
            }
        }
        try (PreparedStatement statement = connection.prepareStatement("SELECT n FROM ask.n WHERE n > ? AND n <= ? ORDER BY n",
                ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
            for (int from : new int[] {10, 50, 90}) {
                statement.setInt(1, from);
                statement.setInt(2, from + 5);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.afterLast();
                    List<Integer> found = new ArrayList<>();
                    while (rows.previous()) {
                        found.add(rows.getInt(1));
                    }
                    equal("parameters, from " + from, found, List.of(from + 5, from + 4, from + 3, from + 2, from + 1));
                }
            }
        }
        try (Statement sql = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY);
                ResultSet rows = sql.executeQuery("SELECT n FROM ask.n WHERE n > 1000")) {
            equal("an empty result", List.of(rows.next(), rows.last(), rows.first()), List.of(false, false, false));
        }
    }

    /** selectMethod=cursor: rows come in blocks. */
    void blocks() throws SQLException {
        try (Statement sql = connection.createStatement()) {
            sql.setFetchSize(9);
            try (ResultSet rows = sql.executeQuery("SELECT n, t FROM ask.n ORDER BY n DESC")) {
                int sum = 0;
                while (rows.next()) {
                    sum += rows.getInt(1);
                }
                equal("a cursor in blocks", sum, 5050);
            }
            equal("no cursor for a change", sql.executeUpdate("UPDATE ask.n SET t = NULL WHERE n <= 3"), 3);
        }
    }
}
