//! `mssql-tds`, Microsoft's Rust implementation of TDS, as a second decoder of what the double
//! encodes: every type, NULL and not, with TLS on and off; transactions by requests of the
//! transaction manager; errors.
//!
//! Prints a line for each check, `ok …` or `FAILED …`, which `scripts/clients` counts.

use std::fmt::Debug;
use std::process::ExitCode;

use mssql_tds::connection::client_context::ClientContext;
use mssql_tds::connection::tds_client::{ResultSet, TdsClient};
use mssql_tds::connection_provider::tds_connection_provider::TdsConnectionProvider;
use mssql_tds::core::{EncryptionOptions, EncryptionSetting, TdsResult};
use mssql_tds::datatypes::column_values::ColumnValues;
use mssql_tds::message::transaction_management::TransactionIsolationLevel;

/// Column types, T-SQL values, and the decoded values as text. Days count from 0001-01-01, those of
/// the old types from 1900-01-01; times count 100 ns, whatever the crate's field is called.
const VALUES: [(&str, &str, &str); 46] = [
    ("bit", "1", "bit true"),
    ("tinyint", "255", "tinyint 255"),
    ("smallint", "-32768", "smallint -32768"),
    ("int", "-2147483648", "int -2147483648"),
    ("bigint", "9223372036854775807", "bigint 9223372036854775807"),
    (
        "decimal(38,10)",
        "1234567890123456789012345678.0123456789",
        "decimal(38,10) 1234567890123456789012345678.0123456789",
    ),
    ("decimal(9,2)", "-0.01", "decimal(9,2) -0.01"),
    ("money", "-922337203685477.5808", "money -9223372036854775808"),
    ("money", "922337203685477.5807", "money 9223372036854775807"),
    ("smallmoney", "-214748.3648", "smallmoney -2147483648"),
    ("real", "1.5", "real 1.5"),
    ("float", "-2.5e300", "float -2.5e300"),
    ("float", "4.9406564584124654e-324", "float 5e-324"),
    ("char(5)", "'ab'", "text \"ab   \""),
    ("varchar(20)", "'ü€'", "text \"ü€\""),
    ("varchar(20)", "''", "text \"\""),
    ("varchar(max)", "'body'", "text \"body\""),
    ("nchar(5)", "N'žo'", "text \"žo   \""),
    ("nvarchar(20)", "N'😀 smile'", "text \"😀 smile\""),
    ("nvarchar(max)", "N'é'", "text \"é\""),
    ("binary(4)", "0x0102", "bytes [1, 2, 0, 0]"),
    ("varbinary(8)", "0x", "bytes []"),
    ("varbinary(max)", "0x00FF", "bytes [0, 255]"),
    ("date", "'0001-01-01'", "date 0"),
    ("date", "'9999-12-31'", "date 3652058"),
    ("time(7)", "'23:59:59.9999999'", "time(7) 863999999999"),
    ("time(0)", "'12:34:56'", "time(0) 452960000000"),
    ("smalldatetime", "'2079-06-06T23:59:00'", "smalldatetime 65535 1439"),
    ("datetime", "'1753-01-01T00:00:00'", "datetime -53690 0"),
    ("datetime", "'9999-12-31T23:59:59.997'", "datetime 2958463 25919999"),
    ("datetime2(7)", "'9999-12-31T23:59:59.9999999'", "datetime2(7) 3652058 863999999999"),
    ("datetime2(3)", "'2024-02-29T12:34:56.789'", "datetime2(3) 738944 452967890000"),
    (
        "datetimeoffset(7)",
        "'2024-02-29T12:34:56.1234567+05:30'",
        // In UTC, as it is on the wire.
        "datetimeoffset(7) 738944 254961234567 330",
    ),
    (
        "uniqueidentifier",
        "'6F9619FF-8B86-D011-B42D-00C04FC964FF'",
        "uuid 6f9619ff-8b86-d011-b42d-00c04fc964ff",
    ),
    ("sysname", "N'name'", "text \"name\""),
    ("numeric(9,2)", "-0.01", "numeric(9,2) -0.01"),
    ("text", "'ü€'", "text \"ü€\""),
    ("ntext", "N'😀 smile'", "text \"😀 smile\""),
    ("image", "0x00FF", "bytes [0, 255]"),
    ("xml", "N'<a b=''1''>é<c></c></a>'", "xml <a b=\"1\">é<c/></a>"),
    ("sql_variant", "CAST(-1.5 AS decimal(9,2))", "decimal(9,2) -1.50"),
    ("sql_variant", "N'é'", "text \"é\""),
    ("varchar(20) COLLATE Cyrillic_General_CI_AS", "N'Привет'", "text \"Привет\""),
    ("varchar(20) COLLATE Japanese_CI_AS", "N'日本'", "text \"日本\""),
    ("varchar(20) COLLATE Latin1_General_100_CI_AS_SC_UTF8", "N'é😀'", "text \"é😀\""),
    ("hierarchyid", "'/1/2/'", "bytes [91, 64]"),
];

fn show(value: &ColumnValues) -> String {
    match value {
        ColumnValues::Null => "NULL".into(),
        ColumnValues::Bit(v) => format!("bit {v}"),
        ColumnValues::TinyInt(v) => format!("tinyint {v}"),
        ColumnValues::SmallInt(v) => format!("smallint {v}"),
        ColumnValues::Int(v) => format!("int {v}"),
        ColumnValues::BigInt(v) => format!("bigint {v}"),
        ColumnValues::Decimal(v) => format!("decimal({},{}) {v}", v.precision, v.scale),
        ColumnValues::Numeric(v) => format!("numeric({},{}) {v}", v.precision, v.scale),
        ColumnValues::Money(v) => {
            let low = i64::from(v.lsb_part.cast_unsigned());
            format!("money {}", i64::from(v.msb_part) << 32 | low)
        }
        ColumnValues::SmallMoney(v) => format!("smallmoney {}", v.int_val),
        ColumnValues::Real(v) => format!("real {v:?}"),
        ColumnValues::Float(v) => format!("float {v:?}"),
        ColumnValues::String(v) => format!("text {:?}", v.to_utf8_string()),
        ColumnValues::Bytes(v) => format!("bytes {v:?}"),
        ColumnValues::Date(v) => format!("date {}", v.get_days()),
        ColumnValues::Time(v) => format!("time({}) {}", v.scale, v.time_nanoseconds),
        ColumnValues::SmallDateTime(v) => format!("smalldatetime {} {}", v.days, v.time),
        ColumnValues::DateTime(v) => format!("datetime {} {}", v.days, v.time),
        ColumnValues::DateTime2(v) => {
            format!("datetime2({}) {} {}", v.time.scale, v.days, v.time.time_nanoseconds)
        }
        ColumnValues::DateTimeOffset(v) => {
            let (days, time) = (v.datetime2.days, &v.datetime2.time);
            format!("datetimeoffset({}) {days} {} {}", time.scale, time.time_nanoseconds, v.offset)
        }
        ColumnValues::Uuid(v) => format!("uuid {v}"),
        ColumnValues::Xml(v) => format!("xml {}", v.as_string()),
        other => format!("{other:?}"),
    }
}

struct Checks {
    failed: usize,
}

impl Checks {
    fn equal<T: PartialEq + Debug>(&mut self, name: &str, found: T, expected: T) {
        if found == expected {
            println!("ok {name}");
        } else {
            self.failed += 1;
            println!("FAILED {name}: found {found:?}, expected {expected:?}");
        }
    }
}

async fn connect(
    port: &str,
    password: &str,
    encryption: EncryptionSetting,
) -> TdsResult<TdsClient> {
    let mut context = ClientContext::default();
    context.user_name = "sa".into();
    context.password = password.into();
    context.database = "master".into();
    context.encryption_options = EncryptionOptions {
        mode: encryption,
        trust_server_certificate: true,
        ..EncryptionOptions::new()
    };
    TdsConnectionProvider {}.create_client(context, &format!("tcp:127.0.0.1,{port}"), None).await
}

/// All rows of the first result that has some.
async fn query(client: &mut TdsClient, sql: String) -> TdsResult<Vec<Vec<String>>> {
    client.execute(sql, ()).await?;
    let mut rows = Vec::new();
    if client.on_rows() {
        while let Some(row) = client.next_row().await? {
            rows.push(row.iter().map(show).collect());
        }
    }
    client.close_query().await?;
    Ok(rows)
}

async fn types(client: &mut TdsClient, label: &str, checks: &mut Checks) -> TdsResult<()> {
    for (at, (ty, value, expected)) in VALUES.iter().enumerate() {
        let null = if *ty == "sysname" { "" } else { "NULL" };
        let other = if *ty == "sysname" { "N''" } else { "NULL" };
        query(client, format!("CREATE TABLE t{at} (k int NOT NULL, v {ty} {null})")).await?;
        query(client, format!("INSERT t{at} VALUES (1, {value}), (2, {other})")).await?;
        let rows = query(client, format!("SELECT v FROM t{at} ORDER BY k")).await?;
        let empty = if *ty == "sysname" { "text \"\"" } else { "NULL" };
        let expected = vec![vec![(*expected).to_owned()], vec![empty.to_owned()]];
        checks.equal(&format!("mssql-tds, {label}: {ty} {value}"), rows, expected);
    }
    // Long values, in several chunks, and many NULLs, which come with a bitmap.
    let rows = query(
        client,
        "SELECT REPLICATE(CAST(N'ž' AS nvarchar(max)), 100000), NULL, NULL, NULL, NULL, NULL, NULL, \
         NULL, NULL, NULL, NULL, NULL, NULL, 7"
            .into(),
    )
    .await?;
    let mut expected = vec![format!("text {:?}", "ž".repeat(100_000))];
    expected.extend(vec!["NULL".to_owned(); 12]);
    expected.push("int 7".into());
    checks.equal(
        &format!("mssql-tds, {label}: long values and a NULL bitmap"),
        rows,
        vec![expected],
    );
    Ok(())
}

async fn transactions(client: &mut TdsClient, label: &str, checks: &mut Checks) -> TdsResult<()> {
    let level = || TransactionIsolationLevel::ReadCommitted;
    query(client, "CREATE TABLE account (id int)".into()).await?;
    client.begin_transaction(level(), None).await?;
    query(client, "INSERT account VALUES (1)".into()).await?;
    client.rollback_transaction(None, None).await?;
    client.begin_transaction(level(), None).await?;
    query(client, "INSERT account VALUES (2)".into()).await?;
    client.save_transaction("s".into()).await?;
    query(client, "INSERT account VALUES (3)".into()).await?;
    client.rollback_transaction(Some("s".into()), None).await?;
    client.commit_transaction(None, None).await?;
    let rows = query(client, "SELECT id, @@TRANCOUNT FROM account".into()).await?;
    checks.equal(
        &format!("mssql-tds, {label}: transactions"),
        rows,
        vec![vec!["int 2".into(), "int 0".into()]],
    );
    Ok(())
}

async fn run(port: &str, password: &str, checks: &mut Checks) -> TdsResult<()> {
    for (label, encryption) in
        [("TLS for the login", EncryptionSetting::PreferOff), ("TLS on", EncryptionSetting::On)]
    {
        let mut client = connect(port, password, encryption).await?;
        checks.equal(
            &format!("mssql-tds, {label}: encrypted"),
            client.is_encrypted(),
            label == "TLS on",
        );
        let database = format!("mssql_tds_{}", label.len());
        query(&mut client, format!("CREATE DATABASE {database}")).await?;
        query(&mut client, format!("USE {database}")).await?;
        checks.equal(
            &format!("mssql-tds, {label}: told of the database"),
            client.database().to_owned(),
            database,
        );
        types(&mut client, label, checks).await?;
        transactions(&mut client, label, checks).await?;
        let error = query(&mut client, "SELECT * FROM nowhere".into()).await.err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        checks.equal(
            &format!("mssql-tds, {label}: an error"),
            text.contains("Invalid object name 'nowhere'."),
            true,
        );
        client.close_query().await?;
        let rows = query(&mut client, "SELECT 1".into()).await?;
        checks.equal(
            &format!("mssql-tds, {label}: goes on after it"),
            rows,
            vec![vec!["int 1".to_owned()]],
        );
        client.close_connection().await?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(password)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: mssql-tds-client PORT PASSWORD");
        return ExitCode::FAILURE;
    };
    let mut checks = Checks { failed: 0 };
    if let Err(error) = run(&port, &password, &mut checks).await {
        println!("FAILED mssql-tds: {error}");
        return ExitCode::FAILURE;
    }
    if checks.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
