//! The fault switches, as a client sees them.

use std::time::Duration;

use super::*;
use crate::tds::SlowChunks;

#[tokio::test]
async fn a_connection_is_cut_in_the_middle_of_the_row_asked_for() {
    use futures_util::TryStreamExt;
    let (double, _) = start().await;
    for rows in [0, 1, 2000] {
        let mut client = connect(&double).await;
        double.faults().cut_after_rows(rows);
        let mut seen = 0;
        let outcome = async {
            let mut stream = client.simple_query("count 100000").await?.into_row_stream();
            while let Some(row) = stream.try_next().await? {
                assert_eq!(row.get::<i32, _>(0), Some(seen));
                seen += 1;
            }
            tiberius::Result::Ok(())
        };
        outcome.await.expect_err("the connection is gone");
        assert!(seen as u64 <= rows, "{seen} rows came");
        // Once only: the next connection reads all.
        let rows = connect(&double)
            .await
            .simple_query("count 3000")
            .await
            .expect("runs")
            .into_first_result()
            .await
            .expect("reads");
        assert_eq!(rows.len(), 3000);
    }
}

#[tokio::test]
async fn a_connection_is_cut_in_the_middle_of_a_long_value() {
    let (double, script) = start().await;
    let columns = vec![column("v", SqlType::VarBinary(None), false)];
    let row = vec![Value::Binary(vec![7; 300_000].into())];
    *script.table.lock().expect("not poisoned") = (columns, vec![row]);
    double.faults().cut_after_rows(0);
    let mut client = connect(&double).await;
    let outcome = async { client.simple_query("table").await?.into_first_result().await };
    outcome.await.expect_err("the connection is gone");
    let mut client = connect(&double).await;
    let whole = client.simple_query("table").await.expect("runs");
    assert_eq!(whole.into_first_result().await.expect("reads").len(), 1);
}

#[tokio::test]
async fn long_values_survive_chunks_of_any_size_and_no_total_length() {
    let (double, _) = start().await;
    let mut client = connect(&double).await;
    let text: String = "äöü€".repeat(2000);
    let bytes: Vec<u8> = (0..20_000u32).map(|i| i as u8).collect();
    double.faults().slow_chunks(Some(SlowChunks { bytes: 4097, pause: Duration::from_micros(1) }));
    let row = client
        .query("echo", &[&text, &bytes])
        .await
        .expect("runs")
        .into_row()
        .await
        .expect("reads")
        .expect("a row");
    assert_eq!(row.get::<&str, _>(0), Some(text.as_str()));
    assert_eq!(row.get::<&[u8], _>(1), Some(bytes.as_slice()));
}

#[tokio::test]
async fn a_connection_can_be_dropped_in_the_middle_of_a_slow_value() {
    let (double, script) = start().await;
    let mut client = connect(&double).await;
    let bytes = vec![7u8; 20_000];
    double.faults().slow_chunks(Some(SlowChunks { bytes: 1, pause: Duration::from_secs(3600) }));
    let reading =
        tokio::spawn(async move { client.query("echo", &[&bytes]).await?.into_row().await });
    script.waiting.notified().await;
    double.faults().drop_connections();
    assert!(reading.await.expect("no panic").is_err());
    double.stop().await;
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_comes_back_on_the_same_port() {
    let (double, _) = start().await;
    let mut client = connect(&double).await;
    for _ in 0..3 {
        double.faults().go_down().await;
        let error = TcpStream::connect(double.addr()).await.expect_err("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let old = async { client.simple_query("count 1").await?.into_results().await };
        assert!(old.await.is_err(), "the old connection is gone");
        double.faults().come_up().await;
        client = connect(&double).await;
    }
}

#[tokio::test]
async fn two_servers_of_one_process_have_their_own_switches() {
    let (one, _) = start().await;
    let (other, _) = start().await;
    one.faults().go_down().await;
    let rows = connect(&other)
        .await
        .simple_query("count 1")
        .await
        .expect("runs")
        .into_first_result()
        .await
        .expect("reads");
    assert_eq!(rows.len(), 1);
}
