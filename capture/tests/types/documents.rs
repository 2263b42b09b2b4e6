//! `xml`, and `json` and `vector` of SQL Server 2025 as a client from before them sees them.

use lockstep_common::model::record::Before;
use lockstep_common::{LogicalType, Value};

use super::arrive;
use crate::server::{Server, text};
use crate::service::Bed;

#[tokio::test(flavor = "multi_thread")]
async fn xml_arrives_as_its_text() {
    let mut server = Server::new().await;
    let cases = [
        (
            "xml",
            "N'<a b=\"1\">caf\u{e9} \u{1f600}</a>'",
            text("<a b=\"1\">caf\u{e9} \u{1f600}</a>"),
        ),
        ("xml", "N''", text("")),
    ];
    let version = arrive(&mut server, &cases).await;
    assert_eq!(version.columns[1].source_type, "xml");
}

fn vector(dimensions: u16, words: &str) -> Value<'static> {
    let type_name = format!("vector({dimensions})").into();
    Value::Other { type_name, text: words.to_owned().into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_vectors_arrive_as_their_text() {
    let mut server = Server::of_2025().await;
    let json = "{\"b\":1,\"a\":[12345678901234567890.5,null,\"\u{e9}\"]}";
    let literal = format!("N'{json}'");
    let cases = [
        ("json", literal.as_str(), text(json)),
        (
            "vector(3)",
            "'[1, -2.5, 0.1]'",
            vector(3, "[1.0000000e+000,-2.5000000e+000,1.0000000e-001]"),
        ),
    ];
    let version = arrive(&mut server, &cases).await;
    let types: Vec<_> =
        version.columns[1..].iter().map(|c| (c.source_type.as_str(), c.ty.clone())).collect();
    let string = LogicalType::String { max: None, fixed: false };
    assert_eq!(types, [("json", string), ("vector(3)", LogicalType::Other)]);
}

/// What is stored as MAX types are is not recorded in the old row of an update that leaves it alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_update_leaves_alone_is_unavailable_before() {
    let mut server = Server::new().await;
    server
        .table("t", "id int NOT NULL PRIMARY KEY, n int NULL, x xml NULL, v sql_variant NULL")
        .await;
    server.captured("INSERT INTO dbo.t VALUES (1, 1, N'<a/>', N'x')").await;
    server.captured("UPDATE dbo.t SET n = 2").await;
    server.captured("UPDATE dbo.t SET x = NULL, v = NULL").await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let x = || {
        let value = Box::new(text("x"));
        Value::Variant { type_name: "nvarchar(1)".into(), value }
    };
    let row = |n, xml, variant| vec![Value::I64(1), Value::I64(n), xml, variant];
    let change = &contents.transactions[1].changes[0];
    assert_eq!(change.before, Before::Full(row(1, Value::Unavailable, x())));
    assert_eq!(change.after, row(2, text("<a/>"), x()));
    let change = &contents.transactions[2].changes[0];
    assert_eq!(change.before, Before::Full(row(2, text("<a/>"), x())));
    assert_eq!(change.after, row(2, Value::Null, Value::Null));
}
