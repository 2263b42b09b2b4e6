//! `hierarchyid` and alias types.

use lockstep_common::{LogicalType, Value};

use super::arrive;
use crate::server::{Server, text};

#[tokio::test(flavor = "multi_thread")]
async fn hierarchies_arrive_as_their_paths() {
    let mut server = Server::new().await;
    let path =
        |text: &str| Value::Other { type_name: "hierarchyid".into(), text: text.to_owned().into() };
    let cases = [
        ("hierarchyid", "hierarchyid::Parse('/1/-2.18/')", path("/1/-2.18/")),
        ("hierarchyid", "CAST('/' AS hierarchyid)", path("/")),
        ("hierarchyid", "CAST('/1/2/3.4/' AS hierarchyid)", path("/1/2/3.4/")),
    ];
    arrive(&mut server, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alias_types_are_what_they_stand_for() {
    let mut server = Server::new().await;
    server.admin.run("CREATE TYPE dbo.phone FROM varchar(20)").await;
    server.admin.run("CREATE TYPE dbo.amount FROM decimal(12,3)").await;
    server.admin.run("CREATE TYPE dbo.word FROM nvarchar(40)").await;
    let cases = [
        ("dbo.phone", "'+41 1'", text("+41 1")),
        ("dbo.amount", "-1.5", Value::Decimal { unscaled: -1500, scale: 3 }),
        ("dbo.word", "N'\u{3b1} '", text("\u{3b1} ")),
        ("sysname", "N'name'", text("name")),
    ];
    let version = arrive(&mut server, &cases).await;
    let types: Vec<_> = version.columns[1..].iter().map(|c| c.source_type.as_str()).collect();
    assert_eq!(types, ["varchar(20)", "decimal(12,3)", "nvarchar(40)", "nvarchar(128)"]);
    assert_eq!(version.columns[3].ty, LogicalType::String { max: Some(40), fixed: false });
}
