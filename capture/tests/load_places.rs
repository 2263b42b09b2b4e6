//! Places in the stream that a load can rest on: signals, and commits that a moment lies before.

use lockstep_capture::source::load::Clock;
use lockstep_capture::source::{Head, Source};
use lockstep_common::model::record::Operation;
use lockstep_common::{Disposition, Position, config};

use crate::load_bed::{Loading, see_positions};
use crate::server::{Server, text};
use crate::service::capture;

fn signalling() -> config::Capture {
    config::Capture { signal_table: Some("dbo.signals".to_owned()), ..capture() }
}

/// Every closed place that the source shows, and the changes in them.
async fn stream(
    loading: &mut Loading,
    after: Position,
) -> (Vec<Head>, Vec<(usize, Operation, String)>) {
    let poll = loading.source.poll(after).await.expect("a poll");
    let Some(window) = poll.window else { return (Vec::new(), Vec::new()) };
    let mut reading = loading.source.read(&window).await.expect("changes");
    let mut changes = Vec::new();
    while let Some(batch) = reading.next().await.expect("changes") {
        for located in batch {
            let values = match located.change.operation {
                Operation::Delete => format!("{:?}", located.change.before),
                _ => format!("{:?}", located.change.after),
            };
            changes.push((located.head, located.change.operation, values));
        }
    }
    (window.heads, changes)
}

fn zero() -> Position {
    Position::new(1, &[0; 10]).expect("ten bytes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_comes_and_goes_in_one_commit_after_everything_before_it() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.table("signals", "id varchar(64) NOT NULL PRIMARY KEY").await;
    server.admin.run("GRANT INSERT, DELETE ON dbo.signals TO reader").await;
    let mut loading = Loading::with(&server, signalling()).await;
    server.admin.run("INSERT INTO dbo.t VALUES (1)").await;
    let signal = loading.loader.signal().await.expect("it is written").expect("it may be");
    server.captured("INSERT INTO dbo.t VALUES (2)").await;
    let (heads, changes) = stream(&mut loading, zero()).await;
    let of = |wanted: &str| -> Vec<_> {
        changes.iter().filter(|(_, _, values)| values.contains(wanted)).collect()
    };
    let (before, after) = (of("I64(1)"), of("I64(2)"));
    let signals = of(&format!("{:?}", text(&signal)));
    let [(at, Operation::Insert, _), (same, Operation::Delete, _)] = signals[..] else {
        panic!("an insert and a delete: {signals:?}");
    };
    assert_eq!(heads[*at].position, heads[*same].position);
    assert!(heads[before[0].0].position < heads[*at].position);
    assert!(heads[*at].position < heads[after[0].0].position);
    assert!(server.admin.run("SELECT id FROM dbo.signals").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_table_that_cannot_be_written_is_refused() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    let without = Loading::new(&server).await;
    assert_eq!(without.loader.signal().await.expect("none is wanted"), None);
    let refused = async |server: &Server| {
        let loading = Loading::with(server, signalling()).await;
        let failure = loading.loader.signal().await.expect_err("it is refused");
        assert_eq!(
            (failure.code.as_str(), failure.disposition()),
            ("source.signal_table", Disposition::Halt)
        );
        assert!(failure.remedy.contains("capture.signal_table"), "{failure}");
    };
    // It is not there; it may not be written; another column must be given; no column takes a text.
    refused(&server).await;
    server.table("signals", "id varchar(64) NOT NULL PRIMARY KEY").await;
    refused(&server).await;
    server.admin.run("GRANT INSERT, DELETE ON dbo.signals TO reader").await;
    let loading = Loading::with(&server, signalling()).await;
    assert!(loading.loader.signal().await.expect("now it may").is_some());
    server.table("demanding", "id varchar(64) NOT NULL PRIMARY KEY, v int NOT NULL").await;
    server.table("short", "id varchar(35) NOT NULL PRIMARY KEY").await;
    server.admin.run("GRANT INSERT, DELETE ON dbo.demanding TO reader").await;
    for name in ["dbo.demanding", "dbo.short"] {
        let settings = config::Capture { signal_table: Some(name.to_owned()), ..capture() };
        let failure = Loading::with(&server, settings).await.loader.signal().await.err();
        assert_eq!(failure.expect("it is refused").code.as_str(), "source.signal_table", "{name}");
    }
}

/// A commit before a moment is never its proof; the first one after it that is late enough is.
async fn a_moment_is_proved(server: &mut Server, loading: &mut Loading, kind: &str) {
    server.admin.run("INSERT INTO dbo.t VALUES (1)").await;
    let clock: Clock = loading.loader.clock().await.expect("a clock");
    assert!(clock.starts_with(kind), "{clock}");
    // Captured after the moment, committed before it.
    server.scan().await;
    let (heads, _) = stream(loading, zero()).await;
    let last = heads.last().expect("a commit").position;
    for head in &heads {
        assert!(!loading.loader.proves(head, &clock), "{head:?} is from before {clock}");
    }
    // The double's clock goes on by itself; a commit after a second is later by any proof.
    server.captured("WAITFOR DELAY '00:00:01.100'; INSERT INTO dbo.t VALUES (2)").await;
    let (heads, _) = stream(loading, last).await;
    assert!(loading.loader.proves(heads.last().expect("a commit"), &clock), "{heads:?} {clock}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_proved_by_times_with_the_least_rights() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    let mut loading = Loading::new(&server).await;
    a_moment_is_proved(&mut server, &mut loading, "time ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_is_proved_by_the_log_where_it_may_be_seen() {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    see_positions(&mut server).await;
    let mut loading = Loading::new(&server).await;
    a_moment_is_proved(&mut server, &mut loading, "lsn ").await;
    // At once, too: no second has to pass.
    let clock = loading.loader.clock().await.expect("a clock");
    let before = server.newest().await;
    server.captured("INSERT INTO dbo.t VALUES (3)").await;
    let (heads, _) = stream(&mut loading, before).await;
    assert!(loading.loader.proves(&heads[0], &clock));
}

/// A failover that loses commits, or a restore, behind the stream's back.
async fn lose_commits(server: &mut Server, after_restore: usize) {
    let storage = std::sync::Arc::clone(server.double.server().storage());
    storage.restore("shop", "shop.bak", true).expect("the backup is restored");
    server.admin = server.session().await;
    server.stop_job().await;
    for n in 0..after_restore {
        server.captured(&format!("INSERT INTO dbo.t VALUES ({})", 100 + n)).await;
    }
}

async fn backed_up() -> Server {
    let mut server = Server::new().await;
    server.table("t", "id int NOT NULL PRIMARY KEY").await;
    server.captured("INSERT INTO dbo.t VALUES (1)").await;
    server.double.server().storage().backup("shop", "shop.bak").expect("a backup");
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_read_before_commits_were_lost_are_told_by_what_was_seen_then() {
    for after_restore in [0, 9] {
        let mut server = backed_up().await;
        see_positions(&mut server).await;
        let mut loading = Loading::new(&server).await;
        assert_eq!(loading.loader.mark(), None);
        server.captured("INSERT INTO dbo.t VALUES (2)").await;
        loading.source.poll(server.newest().await).await.expect("a poll");
        let mark = loading.loader.mark().expect("a poll has seen something");
        let clock = loading.loader.clock().await.expect("a clock");
        for text in [&mark, &clock] {
            assert!(text.contains("seen "), "{text}");
            assert_eq!(&loading.loader.recognise(text).await.expect("the same history"), text);
        }
        lose_commits(&mut server, after_restore).await;
        let loading = Loading::new(&server).await;
        for text in [&mark, &clock] {
            let failure = loading.loader.recognise(text).await.expect_err("another history");
            assert_eq!(
                (failure.code.as_str(), failure.disposition()),
                ("source.rewound", Disposition::Halt)
            );
            assert!(failure.message.contains("rows of a full load"), "{failure}");
        }
    }
}

/// The clock of one server says nothing of another's log; that the load came from two is said.
#[tokio::test(flavor = "multi_thread")]
async fn the_clock_of_another_server_is_taken_anew() {
    let mut server = backed_up().await;
    let mut loading = Loading::new(&server).await;
    loading.source.poll(zero()).await.expect("a poll");
    let mark = loading.loader.mark().expect("a poll has seen something");
    let clock = loading.loader.clock().await.expect("a clock");
    let (there, name) = mark.rsplit_once(' ').expect("a server");
    let elsewhere = |text: &str| text.replace(name, "ANOTHER");
    let left = loading.loader.recognise(&elsewhere(&clock)).await.expect("the same history");
    assert_eq!(left, format!("{there} ANOTHER"));
    assert_eq!(loading.loader.recognise(&left).await.expect("as before"), left);
    let notices = loading.source.inspect(server.newest().await).await.expect("notices");
    assert!(notices.iter().any(|notice| notice.contains("ANOTHER")), "{notices:?}");
}

/// Sessions may outlive what happens to the database: a poll asks who the source is, and so does a look
/// at the catalogue.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_has_gone_another_way_is_noticed_without_a_new_start() {
    for after_restore in [0, 9] {
        let mut server = backed_up().await;
        server.captured("INSERT INTO dbo.t VALUES (2)").await;
        let mut loading = Loading::new(&server).await;
        let poll = loading.source.poll(zero()).await.expect("a poll");
        let cursor = poll.window.expect("commits").through();
        loading.source.poll(cursor).await.expect("nothing new");
        lose_commits(&mut server, after_restore).await;
        for inspects in [true, false] {
            let failure = loop {
                let asked = match inspects {
                    true => loading.source.inspect(cursor).await.map(drop),
                    false => loading.source.poll(cursor).await.map(drop),
                };
                match asked.expect_err("it is another source") {
                    // Connections that the restore has cut.
                    failure if failure.disposition() == Disposition::Retry => {}
                    failure => break failure,
                }
            };
            assert_eq!(failure.code.as_str(), "source.rewound", "{failure}");
        }
    }
}

/// A forced failover that loses commits, under sessions that live on.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_commits_is_noticed_under_surviving_sessions() {
    for new_commits in [0, 9] {
        let mut server = backed_up().await;
        let mut loading = Loading::new(&server).await;
        server.fault("failover_mark", "").await;
        server.captured("INSERT INTO dbo.t VALUES (2)").await;
        let poll = loading.source.poll(zero()).await.expect("a poll");
        let cursor = poll.window.expect("commits").through();
        loading.source.poll(cursor).await.expect("nothing new");
        let mark = loading.loader.mark().expect("a poll has seen something");
        server.fault("failover", "").await;
        server.stop_job().await;
        for n in 0..new_commits {
            server.captured(&format!("INSERT INTO dbo.t VALUES ({})", 100 + n)).await;
        }
        let failure = loop {
            match loading.source.poll(cursor).await.map(drop).expect_err("another history") {
                failure if failure.disposition() == Disposition::Retry => {}
                failure => break failure,
            }
        };
        assert_eq!(failure.code.as_str(), "source.rewound", "{failure}");
        let failure = loading.loader.recognise(&mark).await.expect_err("another history");
        assert_eq!(failure.code.as_str(), "source.rewound", "{failure}");
    }
}
