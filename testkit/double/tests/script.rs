//! A long script as administrators write them, over the wire.

use crate::support::{connect, start};

const SCRIPT: &str = include_str!("../../clients/administrator.sql");

/// The batches of a script: what stands between lines of GO.
fn batches(script: &str) -> Vec<String> {
    let mut batches = vec![String::new()];
    for line in script.lines() {
        if line.trim().eq_ignore_ascii_case("GO") {
            batches.push(String::new());
        } else if let Some(batch) = batches.last_mut() {
            batch.push_str(line);
            batch.push('\n');
        }
    }
    batches.retain(|batch| !batch.trim().is_empty());
    batches
}

#[tokio::test]
async fn every_check_of_the_script_holds() {
    let double = start().await;
    let mut client = connect(&double).await;
    let mut last = Vec::new();
    for batch in batches(SCRIPT) {
        let answer = async { client.simple_query(batch.as_str()).await?.into_results().await };
        let results = answer.await.unwrap_or_else(|error| panic!("{error}\n{batch}"));
        let text = |row: &tiberius::Row| row.get::<&str, _>(0).unwrap_or_default().to_owned();
        if batch.starts_with("SELECT") {
            last.push(results.iter().flatten().map(text).collect::<Vec<_>>());
        }
    }
    assert_eq!(last, [vec![], vec!["checks: 50".to_owned()]]);
    double.stop().await;
}
