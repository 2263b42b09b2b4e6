//! `xml`.

use lockstep_common::Value;
use lockstep_common::record::Before;

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
