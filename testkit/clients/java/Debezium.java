import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * The unmodified Debezium SQL Server connector in Connect standalone, against the double: initial
 * snapshot, streaming, and a restart after SIGKILL in the middle, in both data.query.modes. What it
 * writes to Kafka is compared with what was done to the tables.
 *
 * <p>Debezium delivers at least once: records that come again after the kill are left out by their
 * position in the source (commit LSN, change LSN, serial number).
 */
public final class Debezium {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** How long a record may take before the run is given up. */
    private static final Duration PATIENCE = Duration.ofSeconds(90);

    private final int port;
    private final String password;
    private final String brokers;
    private final Path work;
    private final String mode;
    private final String database;
    private final String prefix;
    private Process connect;
    private KafkaConsumer<String, String> consumer;
    private final List<JsonNode> changes = new ArrayList<>();
    private final List<JsonNode> transactions = new ArrayList<>();
    private final Set<String> seen = new HashSet<>();
    private int repeated;
    private int tombstones;

    private Debezium(String[] args, String mode) {
        port = Integer.parseInt(args[0]);
        password = args[1];
        brokers = args[2];
        work = Path.of(args[3]);
        this.mode = mode;
        database = "debezium_" + mode;
        prefix = "lockstep-" + mode + "-" + ProcessHandle.current().pid();
    }

    /** Arguments: the double's port, the password of sa, the brokers, a directory to work in. */
    public static void main(String[] args) {
        for (String mode : List.of("function", "direct")) {
            Debezium run = new Debezium(args, mode);
            Check.step("debezium " + mode, run::run);
            run.close();
        }
        Check.finish();
    }

    private void run() throws Exception {
        try (Connection connection = open("master"); Statement sql = connection.createStatement()) {
            sql.execute("CREATE DATABASE " + database);
        }
        try (Connection connection = open(database); Statement sql = connection.createStatement()) {
            define(sql);
            openTopics();
            startConnect();
            snapshot();
            stream(connection, sql);
            restart(sql);
        }
    }

    private Connection open(String database) throws Exception {
        return DriverManager.getConnection(
            "jdbc:sqlserver://127.0.0.1:" + port + ";trustServerCertificate=true;databaseName=" + database,
            "sa", password);
    }

    private static final String TYPES =
        "id int NOT NULL PRIMARY KEY, c_bit bit, c_tinyint tinyint, c_smallint smallint, c_int int,"
            + " c_bigint bigint, c_decimal decimal(38,10), c_numeric numeric(9,2), c_money money,"
            + " c_smallmoney smallmoney, c_real real, c_float float, c_char char(5), c_varchar varchar(20),"
            + " c_text varchar(max), c_nchar nchar(5), c_nvarchar nvarchar(20), c_ntext nvarchar(max),"
            + " c_binary binary(4), c_varbinary varbinary(8), c_image varbinary(max), c_date date,"
            + " c_time time(7), c_smalldatetime smalldatetime, c_datetime datetime,"
            + " c_datetime2 datetime2(7), c_datetime3 datetime2(3), c_offset datetimeoffset(7),"
            + " c_guid uniqueidentifier, c_oldtext text, c_oldntext ntext, c_oldimage image, c_xml xml,"
            + " c_cyrillic varchar(20) COLLATE Cyrillic_General_CI_AS,"
            + " c_utf8 varchar(20) COLLATE Latin1_General_100_CI_AS_SC_UTF8";
    private static final String VALUES =
        "1, 255, -32768, -2147483648, 9223372036854775807, 1234567890123456789012345678.0123456789,"
            + " -1234567.89, -922337203685477.5808, 214748.3647, 1.5, -2.5e300, 'ab', 'ü€', REPLICATE("
            + "CAST('x' AS varchar(max)), 20000), N'žo', N'😀 smile', REPLICATE(CAST(N'é' AS nvarchar(max)), 9000),"
            + " 0x0102, 0xFF, 0x00FF, '2024-02-29', '23:59:59.9999999', '2024-02-29T12:34:00',"
            + " '2024-02-29T12:34:56.997', '2024-02-29T12:34:56.1234567', '2024-02-29T12:34:56.789',"
            + " '2024-02-29T12:34:56.1234567+05:30', '6F9619FF-8B86-D011-B42D-00C04FC964FF',"
            + " 'old ü', N'old é', 0x01FF, N'<a b=''1''/>', N'Привет', N'é😀'";

    /** The values in the connector's documented representation. */
    private static Map<String, String> expectedTypes() {
        Map<String, String> of = new HashMap<>();
        of.put("c_oldtext", "\"old ü\"");
        of.put("c_oldntext", "\"old é\"");
        of.put("c_oldimage", "\"Af8=\"");
        of.put("c_xml", "\"<a b=\\\"1\\\"/>\"");
        of.put("c_cyrillic", "\"Привет\"");
        of.put("c_utf8", "\"é😀\"");
        of.put("c_bit", "true");
        of.put("c_tinyint", "255");
        of.put("c_smallint", "-32768");
        of.put("c_int", "-2147483648");
        of.put("c_bigint", "9223372036854775807");
        of.put("c_decimal", "\"1234567890123456789012345678.0123456789\"");
        of.put("c_numeric", "\"-1234567.89\"");
        of.put("c_money", "\"-922337203685477.5808\"");
        of.put("c_smallmoney", "\"214748.3647\"");
        of.put("c_real", "1.5");
        of.put("c_float", "-2.5E300");
        of.put("c_char", "\"ab   \"");
        of.put("c_varchar", "\"ü€\"");
        of.put("c_text", "\"" + "x".repeat(20000) + "\"");
        of.put("c_nchar", "\"žo   \"");
        of.put("c_nvarchar", "\"😀 smile\"");
        of.put("c_ntext", "\"" + "é".repeat(9000) + "\"");
        of.put("c_binary", "\"AQIAAA==\"");
        of.put("c_varbinary", "\"/w==\"");
        of.put("c_image", "\"AP8=\"");
        of.put("c_date", "19782");
        of.put("c_time", "86399999999900");
        of.put("c_smalldatetime", "1709210040000");
        of.put("c_datetime", "1709210096997");
        of.put("c_datetime2", "1709210096123456700");
        of.put("c_datetime3", "1709210096789");
        of.put("c_offset", "\"2024-02-29T12:34:56.1234567+05:30\"");
        of.put("c_guid", "\"6F9619FF-8B86-D011-B42D-00C04FC964FF\"");
        return of;
    }

    private void define(Statement sql) throws Exception {
        sql.execute("EXEC sys.sp_cdc_enable_db");
        sql.execute("CREATE TABLE dbo.customers (id int NOT NULL PRIMARY KEY, name nvarchar(50) NOT NULL)");
        sql.execute("CREATE TABLE dbo.orders (id bigint IDENTITY PRIMARY KEY, customer int NOT NULL, total money NOT NULL)");
        sql.execute("CREATE TABLE dbo.types (" + TYPES + ")");
        sql.execute("INSERT dbo.customers VALUES (1, N'Ada'), (2, N'Čapek')");
        sql.execute("INSERT dbo.orders (customer, total) VALUES (1, 12.34)");
        sql.execute("INSERT dbo.types VALUES (1, " + VALUES + ")");
        sql.execute("INSERT dbo.types (id) VALUES (2)");
        for (String table : List.of("customers", "orders", "types")) {
            sql.execute("EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'"
                + table + "', @role_name = NULL, @supports_net_changes = 0");
        }
        // One second instead of five between scans.
        sql.execute("EXEC sys.sp_cdc_stop_job @job_type = N'capture'");
        sql.execute("EXEC sys.sp_cdc_change_job @job_type = N'capture', @pollinginterval = 1");
        sql.execute("EXEC sys.sp_cdc_start_job @job_type = N'capture'");
    }

    private String topic(String table) {
        return prefix + "." + database + ".dbo." + table;
    }

    private void openTopics() throws Exception {
        List<String> topics = List.of(topic("customers"), topic("orders"), topic("types"), prefix + ".transaction");
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
            admin.createTopics(topics.stream().map(name -> new NewTopic(name, 1, (short) 1)).toList()).all().get();
        }
        consumer = new KafkaConsumer<>(
            Map.of("bootstrap.servers", brokers, "auto.offset.reset", "earliest"),
            new StringDeserializer(), new StringDeserializer());
        consumer.assign(topics.stream().map(name -> new TopicPartition(name, 0)).toList());
    }

    private void startConnect() throws Exception {
        Path worker = work.resolve("connect-" + mode + ".properties");
        Files.writeString(worker, String.join("\n",
            "bootstrap.servers=" + brokers,
            "key.converter=org.apache.kafka.connect.json.JsonConverter",
            "value.converter=org.apache.kafka.connect.json.JsonConverter",
            "key.converter.schemas.enable=false",
            "value.converter.schemas.enable=false",
            "offset.storage.file.filename=" + work.resolve("offsets-" + mode),
            "offset.flush.interval.ms=500",
            "plugin.discovery=service_load",
            "listeners=HTTP://127.0.0.1:0",
            ""));
        Path source = work.resolve("source-" + mode + ".properties");
        Files.writeString(source, String.join("\n",
            "name=" + prefix,
            "connector.class=io.debezium.connector.sqlserver.SqlServerConnector",
            "database.hostname=127.0.0.1",
            "database.port=" + port,
            "database.user=sa",
            "database.password=" + password,
            "database.names=" + database,
            "database.encrypt=" + mode.equals("direct"),
            "database.trustServerCertificate=true",
            "topic.prefix=" + prefix,
            "table.include.list=dbo.customers,dbo.orders,dbo.types",
            "schema.history.internal.kafka.bootstrap.servers=" + brokers,
            "schema.history.internal.kafka.topic=" + prefix + ".history",
            "data.query.mode=" + mode,
            "provide.transaction.metadata=true",
            "decimal.handling.mode=string",
            "poll.interval.ms=100",
            "topic.creation.enable=true",
            "topic.creation.default.partitions=1",
            "topic.creation.default.replication.factor=1",
            ""));
        File log = work.resolve("connect-" + mode + ".log").toFile();
        connect = new ProcessBuilder(
                ProcessHandle.current().info().command().orElse("java"), "-Xmx512m", "-XX:+UseSerialGC",
                "-cp", System.getProperty("java.class.path"),
                "org.apache.kafka.connect.cli.ConnectStandalone", worker.toString(), source.toString())
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.appendTo(log))
            .start();
        Runtime.getRuntime().addShutdownHook(new Thread(connect::destroyForcibly));
    }

    /** Reads until there are so many changes, and as many ends of transactions. */
    private void await(String what, int wanted, int ends) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (changes.size() < wanted || ends() < ends) {
            if (System.nanoTime() > deadline || !connect.isAlive()) {
                throw new IllegalStateException(what + ": " + changes.size() + " of " + wanted + " changes, "
                    + ends() + " of " + ends + " transactions; see connect-" + mode + ".log");
            }
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                take(record);
            }
        }
    }

    private long ends() {
        return transactions.stream().filter(node -> node.get("status").asText().equals("END")).count();
    }

    private void take(ConsumerRecord<String, String> record) throws Exception {
        if (record.value() == null) {
            tombstones++;
            return;
        }
        JsonNode value = JSON.readTree(record.value());
        if (record.topic().endsWith(".transaction")) {
            transactions.add(value);
            return;
        }
        JsonNode source = value.get("source");
        String position = source.get("table").asText() + source.get("commit_lsn") + source.get("change_lsn")
            + source.get("event_serial_no") + value.get("op") + (value.get("op").asText().equals("r") ? record.key() : "");
        if (!seen.add(position)) {
            repeated++;
            return;
        }
        changes.add(value);
    }

    /** Operation, row before and row after, of a table's changes from one on. */
    private List<String> of(String table, int from) {
        List<String> found = new ArrayList<>();
        for (JsonNode change : changes.subList(from, changes.size())) {
            if (change.get("source").get("table").asText().equals(table)) {
                found.add(change.get("op").asText() + " " + change.get("before") + " " + change.get("after"));
            }
        }
        return found;
    }

    private void snapshot() throws Exception {
        await("snapshot", 5, 0);
        Check.equal("debezium " + mode + ": snapshot of customers", of("customers", 0), List.of(
            "r null {\"id\":1,\"name\":\"Ada\"}", "r null {\"id\":2,\"name\":\"Čapek\"}"));
        Check.equal("debezium " + mode + ": snapshot of orders", of("orders", 0),
            List.of("r null {\"id\":1,\"customer\":1,\"total\":\"12.3400\"}"));
        for (JsonNode change : changes) {
            if (change.get("source").get("table").asText().equals("types")) {
                compareTypes("snapshot", change.get("after"));
            }
        }
    }

    private void compareTypes(String phase, JsonNode row) {
        boolean whole = row.get("id").asInt() % 2 == 1;
        expectedTypes().forEach((column, expected) -> Check.equal(
            "debezium " + mode + ": " + phase + " of " + column + (whole ? "" : " NULL"),
            String.valueOf(row.get(column)), whole ? expected : "null"));
    }

    private void stream(Connection connection, Statement sql) throws Exception {
        int from = changes.size();
        sql.execute("INSERT dbo.customers VALUES (3, N'Curie')");
        sql.execute("UPDATE dbo.customers SET name = N'Lovelace' WHERE id = 1");
        sql.execute("UPDATE dbo.customers SET id = 20 WHERE id = 2");
        sql.execute("DELETE dbo.customers WHERE id = 3");
        connection.setAutoCommit(false);
        sql.execute("INSERT dbo.customers VALUES (4, N'Four')");
        sql.execute("INSERT dbo.orders (customer, total) VALUES (4, 1), (4, 2)");
        sql.execute("UPDATE dbo.customers SET name = N'For' WHERE id = 4");
        connection.commit();
        sql.execute("INSERT dbo.customers VALUES (5, N'nobody')");
        connection.rollback();
        connection.setAutoCommit(true);
        sql.execute("INSERT dbo.types VALUES (3, " + VALUES + ")");
        sql.execute("INSERT dbo.types (id) VALUES (4)");
        // 1 insert, 1 update, delete and insert of the key change, 1 delete, 4 of the transaction, 2.
        await("stream", from + 11, 7);
        Check.equal("debezium " + mode + ": stream of customers", of("customers", from), List.of(
            "c null {\"id\":3,\"name\":\"Curie\"}",
            "u {\"id\":1,\"name\":\"Ada\"} {\"id\":1,\"name\":\"Lovelace\"}",
            "d {\"id\":2,\"name\":\"Čapek\"} null",
            "c null {\"id\":20,\"name\":\"Čapek\"}",
            "d {\"id\":3,\"name\":\"Curie\"} null",
            "c null {\"id\":4,\"name\":\"Four\"}",
            "u {\"id\":4,\"name\":\"Four\"} {\"id\":4,\"name\":\"For\"}"));
        Check.equal("debezium " + mode + ": stream of orders", of("orders", from), List.of(
            "c null {\"id\":2,\"customer\":4,\"total\":\"1.0000\"}",
            "c null {\"id\":3,\"customer\":4,\"total\":\"2.0000\"}"));
        Check.equal("debezium " + mode + ": tombstones", tombstones, 2);
        for (JsonNode change : changes.subList(from, changes.size())) {
            if (change.get("source").get("table").asText().equals("types")) {
                compareTypes("stream", change.get("after"));
            }
        }
        comparePositions(sql, from);
        compareTransaction(from);
    }

    /** The positions in the records are those of the change tables. */
    private void comparePositions(Statement sql, int from) throws Exception {
        for (String table : List.of("customers", "orders", "types")) {
            List<String> expected = new ArrayList<>();
            try (ResultSet rows = sql.executeQuery(
                    "SELECT CONVERT(varchar(30), __$start_lsn, 2) + CONVERT(varchar(30), __$seqval, 2)"
                        + " FROM cdc.dbo_" + table + "_CT WHERE __$operation <> 3"
                        + " ORDER BY __$start_lsn, __$command_id, __$seqval, __$operation")) {
                while (rows.next()) {
                    expected.add(rows.getString(1).toLowerCase());
                }
            }
            List<String> found = new ArrayList<>();
            for (JsonNode change : changes.subList(from, changes.size())) {
                JsonNode source = change.get("source");
                if (source.get("table").asText().equals(table)) {
                    found.add((source.get("commit_lsn").asText() + source.get("change_lsn").asText()).replace(":", ""));
                }
            }
            Check.equal("debezium " + mode + ": positions of " + table, found, expected);
        }
    }

    /** The transaction over two tables: one id, its end with its counts. */
    private void compareTransaction(int from) {
        Set<String> ids = new HashSet<>();
        for (JsonNode change : changes.subList(from, changes.size())) {
            JsonNode row = change.get("after");
            boolean own = change.get("source").get("table").asText().equals("orders") || row.path("id").asInt() == 4;
            if (own && !change.get("source").get("table").asText().equals("types")) {
                ids.add(change.get("transaction").get("id").asText());
            }
        }
        Check.equal("debezium " + mode + ": changes of one transaction have one id", ids.size(), 1);
        for (JsonNode transaction : transactions) {
            if (ids.contains(transaction.get("id").asText()) && transaction.get("status").asText().equals("END")) {
                Check.equal("debezium " + mode + ": end of the transaction", transaction.get("event_count").asInt(), 4);
                return;
            }
        }
        Check.report("debezium " + mode + ": end of the transaction", false, "none in " + transactions);
    }

    /** SIGKILL while rows are coming, changes while it is away, and again. */
    private void restart(Statement sql) throws Exception {
        int from = changes.size();
        sql.execute("INSERT dbo.customers VALUES (100, N'before')");
        await("before the kill", from + 1, 0);
        for (int id = 101; id < 150; id++) {
            sql.execute("INSERT dbo.customers VALUES (" + id + ", N'row')");
        }
        connect.destroyForcibly().waitFor();
        sql.execute("UPDATE dbo.customers SET name = N'away' WHERE id = 149");
        sql.execute("DELETE dbo.customers WHERE id = 100");
        startConnect();
        await("after the restart", from + 52, 0);
        List<String> expected = new ArrayList<>();
        expected.add("c null {\"id\":100,\"name\":\"before\"}");
        for (int id = 101; id < 150; id++) {
            expected.add("c null {\"id\":" + id + ",\"name\":\"row\"}");
        }
        expected.add("u {\"id\":149,\"name\":\"row\"} {\"id\":149,\"name\":\"away\"}");
        expected.add("d {\"id\":100,\"name\":\"before\"} null");
        Check.equal("debezium " + mode + ": nothing lost, nothing disordered over a restart", of("customers", from), expected);
        System.err.println("debezium " + mode + ": " + repeated + " records came again after the kill");
    }

    private void close() {
        if (connect != null) {
            connect.destroyForcibly();
        }
        if (consumer != null) {
            consumer.close();
        }
    }
}
