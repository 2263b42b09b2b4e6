//! `mssql-double` as a program.

use std::net::SocketAddr;
use std::process::Stdio;

use tiberius::ColumnData;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{PASSWORD, connect_with, login, rows, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mssql-double");

/// Starts the program and waits for the line that says it accepts connections.
async fn start(arguments: &[&str]) -> (Child, SocketAddr) {
    let mut child = Command::new(PROGRAM)
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .env("MSSQL_SA_PASSWORD", PASSWORD)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let out = child.stdout.take().expect("is piped");
    let line = BufReader::new(out).lines().next_line().await.expect("reads");
    let line = line.expect("a line");
    let address = line.strip_prefix("mssql-double listening on ").expect(&line);
    (child, address.parse().expect("an address"))
}

async fn stop(mut child: Child) {
    let id = i32::try_from(child.id().expect("runs")).expect("a process id");
    let killed = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
    assert!(killed.expect("kill runs").success());
    assert!(child.wait().await.expect("ends").success(), "a clean stop");
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("UTF-8");
    let (child, address) = start(&["--data", data]).await;
    let mut client = connect_with(address, login()).await.expect("logs in");
    run(&mut client, "CREATE TABLE t (id int PRIMARY KEY)").await.expect("creates");
    run(&mut client, "INSERT t VALUES (1)").await.expect("inserts");
    run(&mut client, "BEGIN TRAN; INSERT t VALUES (2)").await.expect("inserts");
    stop(child).await;
    let (child, address) = start(&["--data", data]).await;
    let mut client = connect_with(address, login()).await.expect("logs in");
    let got = rows(&mut client, "SELECT id FROM t", &[]).await.expect("reads");
    assert_eq!(got, [[ColumnData::I32(Some(1))]]);
    stop(child).await;
}

#[tokio::test]
async fn it_runs_in_memory() {
    let (child, address) = start(&["--memory"]).await;
    let mut client = connect_with(address, login()).await.expect("logs in");
    let got = rows(&mut client, "SELECT 1", &[]).await.expect("reads");
    assert_eq!(got, [[ColumnData::I32(Some(1))]]);
    stop(child).await;
}

#[tokio::test]
async fn without_a_password_it_does_not_start() {
    let output = Command::new(PROGRAM)
        .arg("--memory")
        .env_remove("MSSQL_SA_PASSWORD")
        .output()
        .await
        .expect("runs");
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("MSSQL_SA_PASSWORD"), "{error}");
}
