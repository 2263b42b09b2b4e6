//! `text`, `ntext`, `image`, `rowversion` and computed columns.

use lockstep_common::model::record::Before;
use lockstep_common::{LogicalType, Value};

use crate::load_bed::{Loading, whole};
use crate::server::{Server, text};
use crate::service::Bed;

/// Old LOBs are in no old row, and in a new row that left them alone only if they were not NULL.
#[tokio::test(flavor = "multi_thread")]
async fn old_lobs_are_recorded_in_new_rows_only() {
    let mut server = Server::new().await;
    server
        .table(
            "t",
            "id int NOT NULL PRIMARY KEY, n int NULL, a text NULL, b ntext NULL, c image NULL",
        )
        .await;
    let words = "caf\u{e9} ".repeat(3000);
    let literal = format!("(1, 1, '{words}', N'\u{1f600}', 0x0001), (2, 1, NULL, N'', 0x)");
    server.captured(&format!("INSERT INTO dbo.t VALUES {literal}")).await;
    server.captured("UPDATE dbo.t SET n = 2 WHERE id = 1").await;
    server.captured("UPDATE dbo.t SET b = N'new', c = NULL WHERE id = 1").await;
    let loading = Loading::new(&server).await;
    let loaded = loading.rows(loading.table("t"), &whole()).await.expect("both rows");
    server.captured("DELETE FROM dbo.t WHERE id = 1").await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec().into());
    let id = |id| Value::I64(id);
    let changes: Vec<_> =
        contents.transactions.iter().flat_map(|transaction| &transaction.changes).collect();
    let smile = || text("\u{1f600}");
    let first = vec![id(1), id(1), text(&words), smile(), bytes(&[0, 1])];
    assert_eq!(changes[0].after, first);
    assert_eq!(changes[1].after, [id(2), id(1), Value::Null, text(""), bytes(&[])]);
    let unknown = || Value::Unavailable;
    let left_alone = changes[2];
    assert_eq!(
        left_alone.before,
        Before::Full(vec![id(1), id(1), unknown(), unknown(), unknown()])
    );
    assert_eq!(left_alone.after[..2], [id(1), id(2)]);
    // Recorded or not is the server's to say; made up or nulled it must not be.
    for (value, whole) in left_alone.after[2..].iter().zip(&first[2..]) {
        assert!(value.is_unavailable() || value == whole, "{value:?}");
    }
    let set = changes[3];
    assert_eq!(set.before, Before::Full(vec![id(1), id(2), unknown(), unknown(), unknown()]));
    assert_eq!(set.after[3..], [text("new"), Value::Null]);
    assert!(set.after[2].is_unavailable() || set.after[2] == first[2]);
    let deleted = changes[4];
    assert_eq!(deleted.before, Before::Full(vec![id(1), id(2), unknown(), unknown(), unknown()]));
    assert_eq!(loaded[0], [id(1), id(2), text(&words), text("new"), Value::Null]);
    assert_eq!(loaded[1], [id(2), id(1), Value::Null, text(""), bytes(&[])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_versions_are_their_eight_bytes() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY, v int NULL, r rowversion NOT NULL").await;
    server.captured("INSERT INTO dbo.t (id, v) VALUES (1, 1)").await;
    let first = version(&mut server).await;
    server.captured("UPDATE dbo.t SET v = 2").await;
    let second = version(&mut server).await;
    assert!(second > first);
    let loading = Loading::new(&server).await;
    let loaded = loading.rows(loading.table("t"), &whole()).await.expect("a row");
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let row =
        |v, bytes: &[u8]| vec![Value::I64(1), Value::I64(v), Value::Bytes(bytes.to_vec().into())];
    assert_eq!(contents.transactions[0].changes[0].after, row(1, &first));
    let update = &contents.transactions[1].changes[0];
    assert_eq!(update.before, Before::Full(row(1, &first)));
    assert_eq!(update.after, row(2, &second));
    assert_eq!(loaded, [row(2, &second)]);
    let column = &contents.versions[&update.table].columns[2];
    assert_eq!(column.ty, LogicalType::Bytes { max: Some(8) });
    assert_eq!(column.source_type, "timestamp");
}

async fn version(server: &mut Server) -> Vec<u8> {
    let rows = server.admin.run("SELECT CAST(r AS varbinary(8)) FROM dbo.t").await;
    let bytes: &[u8] = rows[0].get(0).expect("a row version");
    bytes.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_columns_are_unavailable_whatever_they_hold() {
    let mut server = Server::new().await;
    server
        .table("t", "id int NOT NULL PRIMARY KEY, a int NULL, b AS (a + 1), c AS (a * 2) PERSISTED")
        .await;
    server.captured("INSERT INTO dbo.t (id, a) VALUES (1, 1)").await;
    server.captured("UPDATE dbo.t SET a = 2").await;
    let bed = Bed::new().await;
    let contents = server.run_through(&bed).await;
    let row = |a| vec![Value::I64(1), Value::I64(a), Value::Unavailable, Value::Unavailable];
    assert_eq!(contents.transactions[0].changes[0].after, row(1));
    let update = &contents.transactions[1].changes[0];
    assert_eq!((&update.before, &update.after), (&Before::Full(row(1)), &row(2)));
    let columns = &contents.versions[&update.table].columns;
    assert!(columns[2].computed && columns[3].computed && !columns[1].computed);
}
