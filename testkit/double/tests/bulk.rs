//! Bulk load, as a driver sends it.

use tiberius::{IntoRow, SqlBulkCopyOption};

use crate::support::{connect, number_of, run, start};

#[tokio::test]
async fn rows_come_in_bulk() {
    let double = start().await;
    let mut client = connect(&double).await;
    run(
        &mut client,
        "CREATE TABLE dbo.b (id int IDENTITY(5, 5) PRIMARY KEY, a nvarchar(max) NULL, n decimal(9,2) NULL, d int NULL DEFAULT 7)",
    )
    .await
    .expect("created");
    let mut request = client.bulk_insert_columns("dbo.b", &["a", "d"]).await.expect("begins");
    for n in 0..3000 {
        let row = (Some(format!("row {n}")), (n % 2 == 0).then_some(n)).into_row();
        request.send(row).await.expect("sent");
    }
    assert_eq!(request.finalize().await.expect("ends").total(), 3000);
    let mut value = async |sql: &'static str| {
        let row = client.simple_query(sql).await.expect("runs").into_row().await;
        row.expect("reads").expect("a row").get::<i32, _>(0).expect("a value")
    };
    assert_eq!(value("SELECT COUNT(*) FROM dbo.b").await, 3000);
    assert_eq!(value("SELECT id FROM dbo.b WHERE a = N'row 2'").await, 15);
    assert_eq!(value("SELECT COUNT(*) FROM dbo.b WHERE d = 7").await, 1500);
    assert_eq!(value("SELECT COUNT(*) FROM dbo.b WHERE n IS NULL").await, 3000);

    let options = SqlBulkCopyOption::KeepIdentity | SqlBulkCopyOption::KeepNulls;
    let mut request =
        client.bulk_insert_with_options("dbo.b", &["id", "d"], options, &[]).await.expect("begins");
    request.send((1i32, None::<i32>).into_row()).await.expect("sent");
    request.finalize().await.expect("ends");
    let mut value = async |sql: &'static str| {
        let row = client.simple_query(sql).await.expect("runs").into_row().await;
        row.expect("reads").expect("a row").get::<i32, _>(0).expect("a value")
    };
    assert_eq!(value("SELECT COUNT(*) FROM dbo.b WHERE id = 1 AND d IS NULL").await, 1);

    // A key that is there fails the whole load.
    let options = SqlBulkCopyOption::KeepIdentity.into();
    let mut request =
        client.bulk_insert_with_options("dbo.b", &["id"], options, &[]).await.expect("begins");
    for id in [2i32, 1] {
        request.send(id.into_row()).await.expect("sent");
    }
    let error = request.finalize().await.expect_err("refused");
    assert_eq!(number_of(&error), 2627);
    let mut value = async |sql: &'static str| {
        let row = client.simple_query(sql).await.expect("runs").into_row().await;
        row.expect("reads").expect("a row").get::<i32, _>(0).expect("a value")
    };
    assert_eq!(value("SELECT COUNT(*) FROM dbo.b WHERE id = 2").await, 0);

    run(&mut client, "ALTER TABLE dbo.b ADD CONSTRAINT c CHECK (d < 9)")
        .await
        .expect_err("8 and up");
    run(&mut client, "DELETE dbo.b; ALTER TABLE dbo.b ADD CONSTRAINT c CHECK (d < 9)")
        .await
        .expect("altered");
    let error = client.bulk_insert_columns("dbo.b", &["d"]).await.expect_err("refused");
    assert_eq!(number_of(&error), 102);
    let options = SqlBulkCopyOption::CheckConstraints.into();
    let mut request =
        client.bulk_insert_with_options("dbo.b", &["d"], options, &[]).await.expect("begins");
    request.send(9i32.into_row()).await.expect("sent");
    let error = request.finalize().await.expect_err("refused");
    assert_eq!(number_of(&error), 547);
    double.stop().await;
}

#[tokio::test]
async fn a_load_of_all_columns_leaves_out_those_that_are_not_written() {
    let double = start().await;
    let mut client = connect(&double).await;
    run(
        &mut client,
        "CREATE TABLE dbo.w (id int IDENTITY PRIMARY KEY, a int NOT NULL, twice AS a * 2, v rowversion, b varchar(9) NULL)",
    )
    .await
    .expect("created");
    let mut request = client.bulk_insert("dbo.w").await.expect("begins");
    for n in 0..3 {
        request.send((n, Some(format!("r{n}"))).into_row()).await.expect("sent");
    }
    assert_eq!(request.finalize().await.expect("ends").total(), 3);
    let found = crate::support::rows(
        &mut client,
        "SELECT CONCAT(id, ' ', a, ' ', twice, ' ', b) FROM dbo.w ORDER BY id",
        &[],
    )
    .await
    .expect("reads");
    let found: Vec<String> = found.iter().map(|row| format!("{:?}", row[0])).collect();
    assert!(found[2].contains("3 2 4 r2"), "{found:?}");
    double.stop().await;
}
