//! What the source lets capture wait for: said in the status, and no reason not to stop.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use lockstep_common::config::Capture;
use lockstep_common::service::status::TaskState;
use lockstep_common::{Disposition, FailPoints};
use mssql_double::SqlError;
use mssql_double::tds::LoginFault;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::contents;
use crate::server::{Server, follow};
use crate::service::{Bed, capture};

fn unavailable() -> Option<LoginFault> {
    Some(LoginFault::Error(SqlError::new(4060, 11, 1, "Cannot open database \"shop\".")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_the_log_knows_is_waited_for_by_a_new_process() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    let bed = Bed::new().await;

    server.double.faults().answer_logins(unavailable());
    let failure = server.follow(&bed.log).ends().await.expect_err("nothing shows that it is right");
    assert_eq!(
        (failure.code.as_str(), failure.disposition()),
        ("source.database", Disposition::Halt)
    );

    server.double.faults().answer_logins(None);
    server.run_through(&bed).await;
    server.double.faults().answer_logins(unavailable());
    let mut running = server.follow(&bed.log);
    running.shows("to retry", |status| status.state == TaskState::Retrying).await;
    server.double.faults().answer_logins(None);
    server.captured("INSERT INTO dbo.t VALUES (2)").await;
    running.reaches(server.newest().await).await;
    running.stop().await.expect("it stops as asked");
    assert_eq!(contents::read(bed.log.as_ref()).await.transactions.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_falls_silent_shows_and_keeps_nobody_from_stopping() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut source = server.source();
    source.port = listener.local_addr().expect("its address").port();
    let (silence, silent) = watch::channel(false);
    let address = server.double.addr();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut silent = silent.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(address).await.expect("the double listens");
                let falls = async { silent.wait_for(|silent| *silent).await.map(drop) };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                    _ = falls => {}
                }
                // Both ends stay open, and nothing passes.
                std::future::pending::<()>().await;
            });
        }
    });
    let bed = Bed::new().await;
    let mut running = follow(source, &bed.log, capture(), FailPoints::default());
    running.reaches(server.newest().await).await;
    silence.send_replace(true);
    let says =
        |error: &Option<String>| error.as_deref().is_some_and(|e| e.contains("not answered"));
    running.shows("to say so", |s| s.state == TaskState::Retrying && says(&s.last_error)).await;
    running.stop().await.expect("it stops as asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_stop_ends_an_idle_source_that_can_be_signalled() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.table("signals", "id varchar(64) NOT NULL PRIMARY KEY").await;
    server.admin.run("GRANT INSERT, DELETE ON dbo.signals TO reader").await;
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    let stop = SystemTime::now() + Duration::from_secs(2);
    let settings = Capture {
        stop: Some(format!("time:{}", humantime::format_rfc3339(stop))),
        signal_table: Some("dbo.signals".to_owned()),
        ..capture()
    };
    let bed = Bed::new().await;
    let running = server.follow_with(&bed.log, settings, FailPoints::default());
    let mut ending = pin!(running.ends());
    let ended = loop {
        tokio::select! {
            ended = &mut ending => break ended,
            () = server.scan() => {}
        }
    };
    ended.expect("it ends by itself");
}
