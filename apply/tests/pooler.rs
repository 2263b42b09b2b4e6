//! PgBouncer before the target.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use lockstep_common::FailPoints;
use lockstep_common::service::check::Verdict;
use tempfile::TempDir;

use crate::bed::{Bed, connect};
use crate::source::{account, accounts, insert};

struct PgBouncer {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// None where this machine has none; says so.
fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    let found = places.into_iter().map(|place| place.join("pgbouncer")).find(|p| p.exists());
    if found.is_none() {
        eprintln!("skipped: pgbouncer is not on this machine");
    }
    found
}

impl PgBouncer {
    /// `None` where it is not installed.
    async fn new(bed: &Bed, mode: &str, more: &str) -> Option<Self> {
        let binary = installed()?;
        let directory = tempfile::tempdir().expect("a directory");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = directory.path().join("pgbouncer.ini");
        std::fs::write(
            &file,
            format!(
                "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
                 default_pool_size = 20\n{more}\n",
                bed.database.port
            )
            .replace("* = host", &format!("{} = user=postgres host", bed.database.name)),
        )
        .unwrap();
        // It refuses to run as root.
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        let mut command = Command::new(binary);
        if std::env::var("USER").as_deref() == Ok("root") || std::fs::metadata("/root").is_ok() {
            use std::os::unix::process::CommandExt;
            command.uid(65534).gid(65534);
        }
        let child = command
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer starts");
        let pooler = PgBouncer { port, child, _directory: directory };
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::task::yield_now().await;
        }
        Some(pooler)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_by_the_session_is_as_good_as_the_server() {
    let mut bed = Bed::new().await;
    let Some(pooler) = PgBouncer::new(&bed, "session", "").await else { return };
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.port = pooler.port;
    let results = lockstep_apply::check(&settings).await;
    assert!(results.iter().all(|r| r.verdict != Verdict::Fail), "{results:#?}");
    let mut apply = bed.start_with(settings, FailPoints::default());
    apply.reaches(1).await;
    let n = bed.source.commit(&[insert(a, account(2, "x", 1))]).await;
    let status = apply.reaches(n).await;
    assert_eq!(status.last_error, None);
    apply.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_changes_server_processes_is_refused_and_left_as_it_was() {
    for more in ["", "server_round_robin = 1", "ignore_startup_parameters = options,timezone"] {
        let mut bed = Bed::new().await;
        let Some(pooler) = PgBouncer::new(&bed, "transaction", more).await else { return };
        let a = bed.source.table(&accounts()).await;
        bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
        // Somebody else's processes, idle in the pool.
        let mut others = Vec::new();
        for _ in 0..2 {
            let other = connect(pooler.port, &bed.database.name, "postgres").await;
            other.batch_execute("BEGIN; SELECT 1").await.unwrap();
            others.push(other);
        }
        for other in &others {
            other.batch_execute("COMMIT").await.unwrap();
        }
        let mut settings = bed.settings();
        settings.config.port = pooler.port;
        let results = lockstep_apply::check(&settings).await;
        let named = results.iter().find(|r| r.detail.contains("pooler"));
        assert!(named.is_some_and(|r| r.verdict == Verdict::Fail), "{more}: {results:#?}");
        let failure = bed.start_with(settings, FailPoints::default()).halts().await;
        assert_eq!(failure.code.as_str(), "apply.pooler", "{more}: {failure}");
        assert!(failure.message.contains("PgBouncer"), "{failure}");
        // Nobody else's session is another than it was.
        for _ in 0..4 {
            for other in &others {
                let set = "SELECT current_setting('session_replication_role'), \
                           current_setting('search_path'), current_setting('statement_timeout')";
                let rows = other.simple_query(set).await.unwrap();
                let tokio_postgres::SimpleQueryMessage::Row(row) = rows
                    .iter()
                    .find(|m| matches!(m, tokio_postgres::SimpleQueryMessage::Row(_)))
                    .unwrap()
                else {
                    unreachable!()
                };
                let found: Vec<_> = (0..3).map(|i| row.get(i).unwrap()).collect();
                assert_eq!(found, ["origin", "\"$user\", public", "0"], "{more}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_by_the_statement_is_refused() {
    let mut bed = Bed::new().await;
    let Some(pooler) = PgBouncer::new(&bed, "statement", "").await else { return };
    let a = bed.source.table(&accounts()).await;
    bed.source.commit(&[insert(a, account(1, "x", 1))]).await;
    let mut settings = bed.settings();
    settings.config.port = pooler.port;
    let failure = bed.start_with(settings, FailPoints::default()).halts().await;
    assert_eq!(failure.code.as_str(), "apply.pooler", "{failure}");
}
