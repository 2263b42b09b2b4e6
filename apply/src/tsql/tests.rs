//! Translations, evaluated by a real PostgreSQL and held against what SQL Server answers by its
//! documentation.

use lockstep_common::model::name::quote_postgres;
use lockstep_common::{Column, LogicalType};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::postgres::{FUNCTIONS, Translator};
use super::{Purpose, Scope, condition, parse, value};
use lockstep_servers::cluster;

const USUAL: &str = "SQL_Latin1_General_CP1_CI_AS";
const BINARY: &str = "Latin1_General_BIN2";
const SUPPLEMENTARY: &str = "Latin1_General_100_CI_AS_SC";

fn column(name: &str, source_type: &str, ty: LogicalType, collation: Option<&str>) -> Column {
    Column {
        id: None,
        name: name.into(),
        ty,
        source_type: source_type.into(),
        nullable: true,
        collation: collation.map(str::to_owned),
        identity: false,
        computed: false,
    }
}

fn text(name: &str, source_type: &str, max: u32, collation: &str) -> Column {
    let fixed = source_type.starts_with("char") || source_type.starts_with("nchar");
    let ty = LogicalType::String { max: Some(max), fixed };
    column(name, source_type, ty, Some(collation))
}

fn columns() -> Vec<Column> {
    let int = |bytes| LogicalType::Int { bytes };
    vec![
        column("a", "int", int(4), None),
        column("b", "int", int(4), None),
        column("tiny", "tinyint", int(1), None),
        column("big", "bigint", int(8), None),
        column("flag", "bit", LogicalType::Bool, None),
        column("price", "decimal(10,2)", LogicalType::Decimal { precision: 10, scale: 2 }, None),
        column("cash", "money", LogicalType::Decimal { precision: 19, scale: 4 }, None),
        column("x", "float", LogicalType::F64, None),
        column("r", "real", LogicalType::F32, None),
        text("uname", "nvarchar(20)", 20, USUAL),
        text("sc", "nvarchar(20)", 20, SUPPLEMENTARY),
        text("code", "varchar(10)", 10, USUAL),
        text("bin", "varchar(10)", 10, BINARY),
        text("ubin", "nvarchar(10)", 10, BINARY),
        text("fix", "char(5)", 5, BINARY),
        column("d", "date", LogicalType::Date, None),
        column("dt", "datetime", LogicalType::Timestamp { digits: 3 }, None),
        column("dt3", "datetime2(3)", LogicalType::Timestamp { digits: 3 }, None),
        column("dt7", "datetime2(7)", LogicalType::Timestamp { digits: 7 }, None),
        column("sd", "smalldatetime", LogicalType::Timestamp { digits: 0 }, None),
        column("t", "time(3)", LogicalType::Time { digits: 3 }, None),
        column("off", "datetimeoffset(3)", LogicalType::TimestampTz { digits: 3 }, None),
        column("id", "uniqueidentifier", LogicalType::Uuid, None),
        column("bytes", "varbinary(10)", LogicalType::Bytes { max: Some(10) }, None),
    ]
}

/// The table of [`columns`], as apply makes it.
const TABLE: &str = "CREATE TABLE \"all types\" (a integer, b integer, tiny smallint, big bigint, \
    flag boolean, price numeric(10,2), cash numeric(19,4), x double precision, r real, \
    uname varchar(20), sc varchar(20), code varchar(10), bin varchar(10), ubin varchar(10), \
    fix char(5), d date, dt timestamp(3), dt3 timestamp(3), dt7 timestamp(6), sd timestamp(0), \
    t time(3), off timestamptz(3), id uuid, bytes bytea)";

fn scope(columns: &[Column]) -> Scope<'_> {
    Scope::new(columns.iter().map(|column| (column, quote_postgres(&column.name), false)))
}

async fn database(name: &str) -> Client {
    let port = cluster::shared().port;
    let open = |database: String| async move {
        let config = format!("host=127.0.0.1 port={port} user=postgres dbname={database}");
        let (client, connection) =
            tokio_postgres::connect(&config, NoTls).await.expect("connected");
        tokio::spawn(connection);
        client
    };
    open("postgres".into()).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let client = open(name.into()).await;
    client.batch_execute(TABLE).await.unwrap();
    client
        .batch_execute(
            "INSERT INTO \"all types\" VALUES \
             (-7, 2, 200, 5000000000, true, -1.55, 2.3456, 2.5, 0.5, 'Ab😀c ', 'Ab😀c ', 'Straße', \
              'A b ', 'x%y', 'ab', '2024-02-29', '2024-02-29 23:59:59.997', \
              '2024-12-31 23:59:59.999', '2024-01-01 00:00:00.123456', '2024-03-01 12:30:00', \
              '08:15:00.5', '2024-01-01 00:00:00+02', '6F9619FF-8B86-D011-B42D-00C04FC964FF', \
              '\\x0102'), \
             (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
              NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .await
        .unwrap();
    client
}

/// What each of the two rows gives.
async fn rows(client: &Client, sql: &str) -> Result<Vec<Option<String>>, String> {
    let sql = format!("SELECT ({sql})::text FROM \"all types\" ORDER BY a NULLS LAST");
    let messages = client.simple_query(&sql).await.map_err(|e| format!("{e:?}"))?;
    let value = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    };
    Ok(messages.iter().filter_map(value).collect())
}

/// An expression and what it gives for the first row, and for the row of NULLs.
const VALUES: &[(&str, Option<&str>, Option<&str>)] = &[
    // Integers divide towards zero, the remainder has the dividend's sign.
    ("[a]/[b]", Some("-3"), None),
    ("[a]%[b]", Some("-1"), None),
    ("-[a]*[b]", Some("14"), None),
    ("[a]+[b]*2", Some("-3"), None),
    ("([a]+[b])*2", Some("-10"), None),
    // T-SQL's bits stand beside its sums: (3 & 1) + 4, not 3 & 5.
    ("3 & 1 + 4", Some("5"), Some("5")),
    ("[a] & 3", Some("1"), None),
    ("[b] | 5", Some("7"), None),
    ("[b] ^ 3", Some("1"), None),
    ("~[b]", Some("-3"), None),
    ("[big]+1", Some("5000000001"), None),
    ("2147483648", Some("2147483648"), Some("2147483648")),
    ("[flag]+1", Some("2"), None),
    ("[price]*2", Some("-3.10"), None),
    ("[price]*[price]", Some("2.4025"), None),
    ("[price]+[cash]", Some("0.7956"), None),
    ("[cash]*3", Some("7.0368"), None),
    ("$1.5+[cash]", Some("3.8456"), None),
    ("[x]*2", Some("5"), None),
    ("[x]*1.5", Some("3.75"), None),
    ("[r]+[x]", Some("3"), None),
    // Text.
    ("N'it''s'", Some("it's"), Some("it's")),
    ("[uname]+N'!'", Some("Ab😀c !"), None),
    ("[fix]+'|'", Some("ab   |"), None),
    ("isnull([uname],'')+'x'", Some("Ab😀c x"), Some("x")),
    ("concat([code],'-',[uname])", Some("Straße-Ab😀c "), Some("-")),
    // Trailing blanks do not count, and the face is two UTF-16 units.
    ("len([uname])", Some("5"), None),
    ("len([sc])", Some("4"), None),
    ("len([bin])", Some("3"), None),
    ("len([fix])", Some("2"), None),
    ("len('a  ')", Some("1"), Some("1")),
    ("datalength(N'a ')", Some("4"), Some("4")),
    ("[a]/2", Some("-3"), None),
    ("$+1", Some("1.0000"), Some("1.0000")),
    ("datalength([uname])", Some("12"), None),
    ("datalength([bytes])", Some("2"), None),
    ("upper([code])", Some("STRAßE"), None),
    ("lower([bin])", Some("a b "), None),
    ("rtrim([bin])", Some("A b"), None),
    ("ltrim('  a ')", Some("a "), Some("a ")),
    ("trim([bin])+'.'", Some("A b."), None),
    ("left([code],3)", Some("Str"), None),
    ("right([fix],4)", Some("b   "), None),
    ("substring([sc],3,2)", Some("😀c"), None),
    ("substring([code],0,3)", Some("St"), None),
    ("replace([bin],'A','')", Some(" b "), None),
    // Choices.
    ("coalesce([a],[b],0)", Some("-7"), Some("0")),
    ("nullif([b],2)", None, None),
    ("iif([a]<0,'neg','pos')", Some("neg"), Some("pos")),
    ("choose([b],'one','two')", Some("two"), None),
    ("case when [a] is null then 1 when [a]<0 then 2 else 3 end", Some("2"), Some("1")),
    ("case [b] when 1 then 'a' when 2 then 'b' end", Some("b"), None),
    // Numbers.
    ("abs([a])", Some("7"), None),
    ("ceiling([price])", Some("-1"), None),
    ("floor([price])", Some("-2"), None),
    ("round([price],1)", Some("-1.6"), None),
    ("round([price],1,1)", Some("-1.5"), None),
    ("round([a],-1)", Some("-10"), None),
    ("round([b],2)", Some("2"), None),
    ("power([b],10)", Some("1024"), None),
    ("sign([a])", Some("-1"), None),
    // Conversions: decimals are cut, money is rounded.
    ("CONVERT([int],[price])", Some("-1"), None),
    ("CAST([cash]+[cash] AS int)", Some("5"), None),
    ("CONVERT([int],[x])", Some("2"), None),
    ("CAST([a] AS bigint)", Some("-7"), None),
    ("CAST([price] AS decimal(10,1))", Some("-1.6"), None),
    ("CONVERT([varchar](12),[a])", Some("-7"), None),
    ("CONVERT([bit],[a])", Some("true"), None),
    ("CAST([code] AS varchar(3))", Some("Str"), None),
    ("CONVERT([varchar](36),[id])", Some("6F9619FF-8B86-D011-B42D-00C04FC964FF"), None),
    ("CONVERT([varchar](8),[dt],(112))", Some("20240229"), None),
    ("CONVERT([char](10),[d],(23))", Some("2024-02-29"), None),
    ("CONVERT([date],[dt])", Some("2024-02-29"), None),
    (
        "CONVERT([datetime],'20240131',(112))",
        Some("2024-01-31 00:00:00"),
        Some("2024-01-31 00:00:00"),
    ),
    ("CAST([dt3] AS time(3))", Some("23:59:59.999"), None),
    // Dates.
    ("year([d])*100+month([d])", Some("202402"), None),
    ("day([dt])", Some("29"), None),
    ("dateadd(year,1,[d])", Some("2025-02-28"), None),
    ("dateadd(month,-1,[dt])", Some("2024-01-29 23:59:59.997"), None),
    ("dateadd(day,[b],[dt3])", Some("2025-01-02 23:59:59.999"), None),
    ("dateadd(mi,5,[sd])", Some("2024-03-01 12:35:00"), None),
    ("[dt]+1", Some("2024-03-01 23:59:59.997"), None),
    ("datediff(day,[d],[dt3])", Some("306"), None),
    ("datediff(year,[dt3],'20250101')", Some("1"), None),
    ("datediff(month,[d],[sd])", Some("1"), None),
    ("datediff(quarter,[d],[dt3])", Some("3"), None),
    ("datediff(hour,[dt3],'2025-01-01')", Some("1"), None),
    ("datediff(minute,[sd],'2024-03-01 12:31:59')", Some("1"), None),
    // The 3rd of March 2024 was a Sunday.
    ("datediff(week,'20240302','20240303')", Some("1"), Some("1")),
    ("datediff(wk,'20240303','20240309')", Some("0"), Some("0")),
];

/// A condition, and whether it holds for the first row and for the row of NULLs.
const CONDITIONS: &[(&str, Option<&str>, Option<&str>)] = &[
    ("([a]>(0) OR [b]=(2))", Some("true"), None),
    ("[a]<(0) AND NOT [b]<>(2)", Some("true"), None),
    ("[a] IS NULL OR [a]>=(-10) AND [a]<=(10)", Some("true"), Some("true")),
    ("[a] BETWEEN -10 AND 0", Some("true"), None),
    ("[a] NOT BETWEEN -10 AND 0", Some("false"), None),
    ("[b] IN (1,2,3)", Some("true"), None),
    ("[b] NOT IN (1,NULLIF(2,2))", None, None),
    ("(10)>[b]", Some("true"), None),
    ("[flag]=(1)", Some("true"), None),
    ("[flag]=1 AND [flag]<>0", Some("true"), None),
    ("[flag]='true'", Some("true"), None),
    ("[a]='-7'", Some("true"), None),
    ("[price]<=(-1.55)", Some("true"), None),
    ("[price]>[cash]", Some("false"), None),
    ("[x]>=(2.5)", Some("true"), None),
    ("[r]=(0.5)", Some("true"), None),
    // Trailing blanks mean nothing, case does under a binary collation.
    ("[bin]='A b'", Some("true"), None),
    ("[bin]='a b'", Some("false"), None),
    ("[bin]<>'A b    '", Some("false"), None),
    ("[fix]='ab'", Some("true"), None),
    ("[fix] IN ('ab','cd')", Some("true"), None),
    ("[code] COLLATE Latin1_General_BIN2 = N'Straße'", Some("true"), None),
    ("[ubin] LIKE N'x[%]%'", Some("true"), None),
    ("[ubin] LIKE N'x!%y' ESCAPE N'!'", Some("true"), None),
    ("[bin] LIKE '[A-C][^0-9]b%'", Some("true"), None),
    ("[bin] NOT LIKE '[a-c]%'", Some("true"), None),
    ("len([code])>=(6)", Some("true"), None),
    ("[id]='6f9619ff-8b86-d011-b42d-00c04fc964ff'", Some("true"), None),
    ("[d]>='20240229'", Some("true"), None),
    ("[d]<'2024-03-01'", Some("true"), None),
    ("[dt]>'20240229 23:59:59'", Some("true"), None),
    ("[dt3]<=[dt3]", Some("true"), None),
    ("[d]<=[dt]", Some("true"), None),
    ("[dt7]>='2024-01-01 00:00:00.123456'", Some("true"), None),
    ("[t]<'08:15:00.501'", Some("true"), None),
    ("(([a]))<(1)", Some("true"), None),
    ("case when [a]<0 then 1 else 0 end = 1", Some("true"), Some("false")),
];

/// What could mean another thing, and a word of the reason.
const REFUSED: &[(&str, &str)] = &[
    ("[uname]=N'x'", "collation SQL_Latin1_General_CP1_CI_AS"),
    ("[code]<>''", "collation"),
    ("[code] IN ('A','B')", "collation"),
    ("[code] LIKE 'A%'", "collation"),
    ("[bin]<'B'", "another order"),
    ("[bin] LIKE 'A_b'", "trailing blanks"),
    ("[ubin] LIKE N'x_y'", "UTF-16"),
    ("[uname]=[sc]", "collations"),
    ("left([uname],2)='a'", "UTF-16"),
    ("upper([uname])='A'", "1252"),
    ("[price]/[a]=1", "scale"),
    ("[cash]*[cash]>1", "rounds"),
    ("[cash]/2>1", "rounds"),
    ("[x]=[price]", "rounded"),
    ("[x]>[big]", "rounded"),
    ("[a]+'x'='1'", "not translated"),
    ("[d]='01/02/2024'", "language"),
    ("[dt]>='2024-01-02'", "language"),
    ("[dt7]=[dt7]", "seventh"),
    ("[dt7]>'20240101'", "seventh"),
    ("[dt]=[dt3]", "1/300"),
    ("[d]<=getdate()", "clock"),
    ("[id]>newid()", "order"),
    ("[id]=newid()", "random"),
    ("[off]>='20240101'", "such types"),
    ("year([off])=2024", "offset"),
    ("[a]=NULL", "NULL"),
    ("[dbo].[f]([a])=1", "function dbo.f"),
    ("suser_sname()='x'", "SUSER_SNAME"),
    ("isnumeric([code])=1", "ISNUMERIC"),
    ("charindex('a',[code])>0", "CHARINDEX"),
    ("round([x],1)>0", "floating"),
    ("[bytes]=0x01", "such types"),
    ("[missing]=1", "no column"),
    ("exists (select 1)", "query"),
    ("[a]", "condition"),
    ("convert(varchar(20),[dt],121)='x'", "styles"),
    ("try_cast([code] as int)=1", "TRY_CAST"),
    ("[uname] collate latin1_general_bin2 = cast([uname] as varchar(20))", "code page"),
    ("~[tiny]=1", "not translated"),
    ("[bin]='ä'", "code page"),
    ("len(N'😀')=2", "not ASCII"),
    ("[flag]='2'", "bit"),
    ("[bin] collate Cyrillic_General_BIN2 = 'a'", "code page"),
    ("year('2024-01-02')=2024", "language"),
    ("cast([sc] as nvarchar(3)) collate Latin1_General_BIN2 = N'Ab'", "UTF-16 units or bytes"),
    ("power([x],2)>1", "POWER"),
];

#[tokio::test]
async fn values_are_what_sql_server_answers() {
    let client = database("values_are").await;
    let columns = columns();
    let scope = scope(&columns);
    let mut wrong = Vec::new();
    for (text, first, nulls) in VALUES {
        let translator = Translator::new(&scope, Purpose::Check);
        let made = parse::parse(text).and_then(|parsed| translator.value(&parsed));
        match made {
            Err(refusal) => wrong.push(format!("{text}: {refusal}")),
            Ok(made) => {
                let expected = [first.map(str::to_owned), nulls.map(str::to_owned)];
                match rows(&client, &made.text).await {
                    Ok(found) if found == expected => {}
                    found => wrong.push(format!("{text}: {}: {found:?}", made.text)),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn conditions_hold_as_in_sql_server() {
    let client = database("conditions_hold").await;
    let columns = columns();
    let scope = scope(&columns);
    let mut wrong = Vec::new();
    for (index, (text, first, nulls)) in CONDITIONS.iter().enumerate() {
        let made = match condition(text, &scope, Purpose::Check) {
            Ok(made) => made,
            Err(refusal) => {
                wrong.push(format!("{text}: {refusal}"));
                continue;
            }
        };
        let expected = [first.map(str::to_owned), nulls.map(str::to_owned)];
        match rows(&client, &made).await {
            Ok(found) if found == expected => {}
            found => wrong.push(format!("{text}: {made}: {found:?}")),
        }
        // What stands in an index must be immutable.
        let index = format!("CREATE INDEX i{index} ON \"all types\" (a) WHERE {made}");
        if let Err(error) = client.batch_execute(&index).await {
            wrong.push(format!("{text}: {made}: {error:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_value_can_be_a_generated_column() {
    let client = database("generated").await;
    let columns = columns();
    let scope = scope(&columns);
    let mut wrong = Vec::new();
    for (index, (text, first, _)) in VALUES.iter().enumerate() {
        let translator = Translator::new(&scope, Purpose::Computed { persisted: true });
        let Ok(made) = parse::parse(text).and_then(|parsed| translator.value(&parsed)) else {
            wrong.push(format!("{text}: refused"));
            continue;
        };
        let ty = made.ty.postgres();
        let add = format!(
            "ALTER TABLE \"all types\" ADD g{index} {ty} GENERATED ALWAYS AS ({}) STORED",
            made.text
        );
        if let Err(error) = client.batch_execute(&add).await {
            wrong.push(format!("{text}: {add}: {error:?}"));
            continue;
        }
        // The typed column must not change what the expression gives, but for zeros behind a point.
        let stored = rows(&client, &format!("g{index}")).await.unwrap().swap_remove(0);
        let number = |text: &str| text.parse::<f64>().ok();
        let same = match (stored.as_deref(), first) {
            (Some(stored), Some(first)) if number(first).is_some() => {
                number(stored) == number(first)
            }
            (stored, first) => stored == *first,
        };
        if !same {
            wrong.push(format!("{text}: {add}: {stored:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_could_mean_another_thing_is_refused() {
    let columns = columns();
    let scope = scope(&columns);
    for (text, reason) in REFUSED {
        let refusal = condition(text, &scope, Purpose::Check).expect_err(text);
        assert!(refusal.contains(reason), "{text}: {refusal}");
    }
}

#[tokio::test]
async fn defaults_become_defaults() {
    let client = database("defaults").await;
    let columns = columns();
    let scope = scope(&columns).without_columns();
    let cases = [
        ("a", "((0))", Some("0")),
        ("a", "((-1))", Some("-1")),
        ("a", "('5')", Some("5")),
        ("a", "(NULL)", None),
        ("a", "(1+2*3)", Some("7")),
        ("flag", "((1))", Some("true")),
        ("flag", "('false')", Some("false")),
        ("price", "((1.5))", Some("1.50")),
        ("price", "((0))", Some("0.00")),
        ("cash", "($2.5)", Some("2.5000")),
        ("x", "((0.1))", Some("0.1")),
        ("x", "(1e3)", Some("1000")),
        ("uname", "(N'new')", Some("new")),
        ("code", "('a''b')", Some("a'b")),
        ("code", "((7))", Some("7")),
        ("code", "(CONVERT([varchar](3),'abc'))", Some("abc")),
        ("fix", "('ab')", Some("ab")),
        ("d", "('19000101')", Some("1900-01-01")),
        ("d", "('')", Some("1900-01-01")),
        ("dt", "((0))", Some("1900-01-01 00:00:00")),
        ("dt", "('20240101 10:00')", Some("2024-01-01 10:00:00")),
        ("t", "('08:00')", Some("08:00:00")),
        (
            "id",
            "('6F9619FF-8B86-D011-B42D-00C04FC964FF')",
            Some("6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ),
        ("bytes", "(0x0aff)", Some("\\x0aff")),
    ];
    let set = |name: &str, text: &str| {
        let column = columns.iter().find(|column| column.name == name).unwrap();
        value(text, &scope, Purpose::Default, column)
    };
    let insert = async |name: &str, sql: &str| -> Option<String> {
        client
            .batch_execute(&format!(
                "ALTER TABLE \"all types\" ALTER \"{name}\" SET DEFAULT {sql}; \
                 DELETE FROM \"all types\"; INSERT INTO \"all types\" DEFAULT VALUES"
            ))
            .await
            .unwrap_or_else(|e| panic!("{name}: {sql}: {e:?}"));
        let found = rows(&client, &format!("\"{name}\"")).await.unwrap().swap_remove(0);
        client
            .batch_execute(&format!("ALTER TABLE \"all types\" ALTER \"{name}\" DROP DEFAULT"))
            .await
            .unwrap();
        found
    };
    for (name, text, expected) in cases {
        let made = set(name, text).unwrap_or_else(|e| panic!("{name} {text}: {e}"));
        assert_eq!(insert(name, &made.sql).await.as_deref(), expected, "{name} {text}");
        assert_eq!(made.note, None, "{name} {text}");
    }
    // The clock and chance.
    for (name, text) in [
        ("dt", "(getdate())"),
        ("dt", "(sysdatetime())"),
        ("dt7", "(sysutcdatetime())"),
        ("dt3", "(CURRENT_TIMESTAMP)"),
        ("d", "(getdate())"),
        ("t", "(getdate())"),
        ("sd", "(getutcdate())"),
        ("off", "(sysdatetimeoffset())"),
        ("dt", "(dateadd(day,(30),getdate()))"),
        ("dt", "(getdate()+(30))"),
        ("id", "(newid())"),
        ("id", "(newsequentialid())"),
        ("a", "(datediff(day,'20000101',getdate()))"),
        ("code", "(CONVERT([varchar](8),getdate(),(112)))"),
    ] {
        let made = set(name, text).unwrap_or_else(|e| panic!("{name} {text}: {e}"));
        assert!(insert(name, &made.sql).await.is_some(), "{name} {text}");
        let local = text.contains("getdate()")
            || text.contains("sysdatetime()")
            || text.contains("CURRENT");
        assert_eq!(made.note.is_some(), local, "{name} {text}");
    }
    for (name, text, reason) in [
        ("code", "('longer than ten')", "too long"),
        ("a", "('x')", "conversion"),
        ("a", "([b])", "name b"),
        ("code", "(getdate())", "conversion"),
        ("code", "(suser_sname())", "SUSER_SNAME"),
        ("code", "(N'ł')", "code page"),
        ("a", "(NEXT VALUE FOR [dbo].[s])", "NEXT VALUE"),
        ("dt", "('2024-01-01')", "language"),
    ] {
        let refusal = set(name, text).expect_err(text);
        assert!(refusal.contains(reason), "{text}: {refusal}");
    }
}

#[test]
fn a_computed_column_that_may_fail_is_stored_only_where_the_source_stores_it() {
    let columns = columns();
    let scope = scope(&columns);
    let quotient =
        |persisted| value("[a]/[b]", &scope, Purpose::Computed { persisted }, &columns[0]);
    assert!(quotient(true).is_ok());
    assert!(quotient(false).unwrap_err().contains("may fail"));
}

/// The list of the documentation is the list of the code.
#[test]
fn the_documentation_lists_every_function() {
    let page = include_str!("../../../docs/full-load.md");
    let section = page.split("## What is translated").nth(1).expect("the section is there");
    let section = section.split("\n## ").next().expect("a section");
    let line =
        section.lines().find(|line| line.starts_with("Functions: ")).expect("a line of functions");
    let listed: Vec<String> = line
        .trim_start_matches("Functions: ")
        .trim_end_matches('.')
        .split(", ")
        .map(|name| name.trim_matches('`').to_lowercase())
        .collect();
    assert_eq!(listed, FUNCTIONS);
}

/// No text makes the translator panic.
#[test]
fn any_text_is_answered() {
    use rand::{Rng, SeedableRng};
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let columns = columns();
    let scope = scope(&columns);
    let words = [
        "[a]",
        "[uname]",
        "[fix]",
        "[dt]",
        "[price]",
        "(",
        ")",
        ",",
        "+",
        "-",
        "*",
        "/",
        "%",
        "=",
        "<",
        "'x'",
        "N'ä😀'",
        "''",
        "0x1f",
        "1",
        "2.50",
        "$3",
        "1e5",
        "case",
        "when",
        "then",
        "else",
        "end",
        "and",
        "or",
        "not",
        "in",
        "like",
        "is",
        "null",
        "between",
        "convert",
        "cast",
        "as",
        "int",
        "varchar",
        "max",
        "len(",
        "left(",
        "dateadd(",
        "day",
        "isnull(",
        "getdate()",
        "collate",
        "Latin1_General_BIN2",
        "round(",
        "substring(",
        "[",
        "'",
        "99999999999999999999",
        ".",
        "~",
        "'[a-'",
        "'2024-02-29'",
        "'ääääääää'",
        "decimal",
        "concat(",
        "datediff(",
        "power(",
        "38",
    ];
    for _ in 0..20_000 {
        let length = random.random_range(1..12);
        let text: Vec<&str> =
            (0..length).map(|_| words[random.random_range(0..words.len())]).collect();
        let text = text.join(" ");
        let _ = condition(&text, &scope, Purpose::Check);
        let _ = value(&text, &scope, Purpose::Default, &columns[0]);
        let _ = value(&text, &scope, Purpose::Computed { persisted: true }, &columns[9]);
    }
}
