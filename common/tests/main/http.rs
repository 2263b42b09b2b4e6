//! The HTTP endpoints, over a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use lockstep_common::http::{self, Endpoints};
use lockstep_common::metrics;
use lockstep_common::reload::{Refused, Reloads};
use lockstep_common::status::{
    ApplyStatus, CaptureStatus, Counts, LoadState, LoadStatus, TableLoadState, TableLoadStatus,
    TaskState,
};
use lockstep_common::{Position, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    fn start(endpoints: Endpoints) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(http::serve(listener, endpoints, shutdown.clone()));
        Server { address, shutdown, task }
    }

    /// Status code, head and body of a GET.
    async fn get(&self, path: &str) -> (u16, String, String) {
        self.ask("GET", path, "").await
    }

    /// Status code, head and body of a request; `headers` with their line ends.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

fn capture() -> CaptureStatus {
    CaptureStatus {
        state: TaskState::Running,
        epoch: 3,
        position: Position::new(1, &[0, 0x0A]).unwrap(),
        commit_time: 15_000_000,
        transactions: 7,
        tables: tables(),
        bytes: 1024,
        lag_seconds: Some(0.5),
        ..CaptureStatus::default()
    }
}

fn tables() -> BTreeMap<String, Counts> {
    let counts = Counts { inserts: 1, updates: 2, deletes: 3 };
    BTreeMap::from([("dbo.\"odd\"\nname".to_owned(), counts)])
}

fn apply() -> ApplyStatus {
    ApplyStatus {
        state: TaskState::Running,
        transactions: 5,
        tables: tables(),
        next_offset: 10,
        spool_bytes: 2048,
        back_pressure: true,
        load: Some(load()),
        ..ApplyStatus::default()
    }
}

fn load() -> LoadStatus {
    let table = TableLoadStatus {
        state: TableLoadState::Loaded,
        rows: 12,
        rows_expected: None,
        bytes: 1200,
        chunks: 3,
        chunks_total: Some(3),
        started: 15_000_000,
        seconds: 0.25,
    };
    LoadStatus {
        state: LoadState::Converging,
        tables: BTreeMap::from([("dbo.loaded".to_owned(), table)]),
        ..LoadStatus::default()
    }
}

#[tokio::test]
async fn readiness_follows_every_service() {
    let (capture_says, seen_capture) = watch::channel(CaptureStatus::default());
    let (apply_says, seen_apply) = watch::channel(apply());
    let endpoints = Endpoints::capture(seen_capture).with(Endpoints::apply("reports", seen_apply));
    let server = Server::start(endpoints);

    assert_eq!(server.get("/livez").await.0, 200);
    let (code, _, body) = server.get("/readyz").await;
    assert_eq!((code, body.as_str()), (503, "capture: starting\nreports: running\n"));

    capture_says.send_replace(capture());
    assert_eq!(server.get("/readyz").await.0, 200);

    apply_says.send_modify(|status| {
        status.state = TaskState::Retrying;
        status.last_error = Some("the target is away".into());
    });
    let (code, _, body) = server.get("/readyz").await;
    assert_eq!(code, 200);
    assert!(body.contains("reports: retrying: the target is away"), "{body}");

    for (state, name) in [
        (TaskState::Halted, "halted"),
        (TaskState::Fenced, "fenced"),
        (TaskState::Stopped, "stopped"),
    ] {
        capture_says.send_modify(|status| {
            status.state = state;
            status.last_error = Some("[source.gap] changes are gone; load again".into());
        });
        let (code, _, body) = server.get("/readyz").await;
        assert_eq!(code, 503);
        let reason = format!("capture: {name}: [source.gap] changes are gone; load again\n");
        assert!(body.contains(&reason), "{body}");
        assert_eq!(server.get("/livez").await.0, 200);
    }
    server.stop().await;
}

#[tokio::test]
async fn status_is_the_statuses() {
    let (_capture, seen_capture) = watch::channel(capture());
    let (_apply, seen_apply) = watch::channel(apply());
    let (_other, seen_other) = watch::channel(ApplyStatus::default());
    let endpoints = Endpoints::capture(seen_capture)
        .with(Endpoints::apply("reports", seen_apply))
        .with(Endpoints::apply("archive", seen_other));
    let server = Server::start(endpoints);
    let (code, head, body) = server.get("/status").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    let read: CaptureStatus = serde_json::from_value(status["capture"].clone()).unwrap();
    assert_eq!(read.position, capture().position);
    assert_eq!(read.tables, tables());
    let read: BTreeMap<String, ApplyStatus> =
        serde_json::from_value(status["apply"].clone()).unwrap();
    assert_eq!(read["reports"].spool_bytes, 2048);
    assert_eq!(read["archive"].state, TaskState::Starting);
    server.stop().await;
}

#[tokio::test]
async fn metrics_are_the_statuses() {
    let (_capture, seen_capture) = watch::channel(capture());
    let (_apply, seen_apply) = watch::channel(apply());
    let (_other, seen_other) = watch::channel(ApplyStatus::default());
    let endpoints = Endpoints::capture(seen_capture)
        .with(Endpoints::apply("reports", seen_apply))
        .with(Endpoints::apply("archive", seen_other));
    let server = Server::start(endpoints);
    let (code, head, body) = server.get("/metrics").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: application/openmetrics-text"), "{head}");
    for line in [
        "lockstep_capture_transactions_total 7",
        "lockstep_capture_bytes_total 1024",
        "lockstep_capture_epoch 3.0",
        "lockstep_capture_lag_seconds 0.5",
        "lockstep_capture_commit_timestamp_seconds 1.5",
        "lockstep_capture_state{state=\"running\"} 1.0",
        "lockstep_capture_state{state=\"halted\"} 0.0",
        r#"lockstep_capture_changes_total{table="dbo.\"odd\"\nname",operation="update"} 2"#,
        "lockstep_apply_transactions_total{apply=\"reports\"} 5",
        "lockstep_apply_transactions_total{apply=\"archive\"} 0",
        "lockstep_apply_next_offset{apply=\"reports\"} 10.0",
        "lockstep_apply_spool_bytes{apply=\"reports\"} 2048.0",
        "lockstep_apply_back_pressure{apply=\"reports\"} 1.0",
        "lockstep_apply_state{apply=\"archive\",state=\"starting\"} 1.0",
        r#"lockstep_apply_changes_total{apply="reports",table="dbo.\"odd\"\nname",operation="delete"} 3"#,
        "lockstep_apply_load_state{apply=\"reports\",state=\"converging\"} 1.0",
        "lockstep_apply_load_state{apply=\"reports\",state=\"done\"} 0.0",
        "lockstep_apply_load_rows{apply=\"reports\",table=\"dbo.loaded\"} 12.0",
        "lockstep_apply_load_bytes{apply=\"reports\",table=\"dbo.loaded\"} 1200.0",
        "lockstep_apply_load_seconds{apply=\"reports\",table=\"dbo.loaded\"} 0.25",
        "# TYPE lockstep_apply_transactions counter",
        "# TYPE lockstep_apply_lag_seconds gauge",
        "# EOF",
    ] {
        assert!(body.lines().any(|l| l == line), "{line} is not in\n{body}");
    }
    // No latency is known, so none is claimed; and a name is described once.
    assert!(!body.contains("lockstep_apply_lag_seconds{"), "{body}");
    assert!(!body.contains("lockstep_apply_load_rows_expected{"), "{body}");
    assert!(!body.contains("lockstep_capture_load_rows{"), "{body}");
    assert!(!body.contains("load_state{apply=\"archive\""), "{body}");
    let described = body.matches(&format!("# HELP {}", metrics::APPLY_SPOOL)).count();
    assert_eq!(described, 1);
    server.stop().await;
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_exists() {
    let (_capture, seen_capture) = watch::channel(capture());
    let (_apply, seen_apply) = watch::channel(apply());
    let server =
        Server::start(Endpoints::capture(seen_capture).with(Endpoints::apply("one", seen_apply)));
    let (_, _, body) = server.get("/metrics").await;
    server.stop().await;
    let shown: BTreeSet<String> = body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(
            |(name, kind)| {
                if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
            },
        )
        .collect();
    let documented: BTreeSet<String> = include_str!("../../../docs/monitoring.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `lockstep_")?.split_once('`'))
        .map(|(name, _)| format!("lockstep_{name}"))
        .collect();
    assert_eq!(shown, documented);
}

#[tokio::test]
async fn metrics_without_a_capture_name_none() {
    let (_apply, seen) = watch::channel(apply());
    let server = Server::start(Endpoints::apply("reports", seen));
    let (_, _, body) = server.get("/metrics").await;
    assert!(!body.contains("lockstep_capture"), "{body}");
    assert!(body.contains(metrics::APPLY_SPOOL));
    let (_, _, body) = server.get("/status").await;
    assert!(!body.contains("\"capture\""), "{body}");
    server.stop().await;
}

#[tokio::test]
async fn the_dashboard_needs_nothing_from_outside() {
    let (_capture, seen) = watch::channel(capture());
    let server = Server::start(Endpoints::capture(seen));
    let (code, head, body) = server.get("/").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("default-src 'none'"), "{head}");
    // The only address in it is SVG's namespace, which nothing fetches.
    let addresses: Vec<_> = body.match_indices("://").collect();
    assert_eq!(addresses.len(), 1);
    assert!(body.contains("fetch(\"status\""));
    assert_eq!(server.get("/nothing").await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn a_taken_address_is_an_error() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    assert!(http::spawn(address, Endpoints::default(), Shutdown::new()).is_err());
}

#[tokio::test]
async fn a_reload_is_asked_for_with_a_header_and_answered_by_the_capture() {
    let reloads = Reloads::default();
    let (_sender, status) = watch::channel(capture());
    let server = Server::start(Endpoints::capture(status).with_reloads(reloads.clone()));
    const HEADER: &str = "X-Lockstep: reload\r\n";
    let path = "/reload?table=dbo.%C3%A4%20+t";
    for headers in ["", "X-Lockstep: other\r\n", "Origin: http://elsewhere\r\n"] {
        let (code, _, body) = server.ask("POST", path, headers).await;
        assert_eq!(code, 403, "{body}");
    }
    assert_eq!(server.ask("GET", path, HEADER).await.0, 405);
    for path in ["/reload", "/reload?table=", "/reload?table=%4", "/reload?table=%FF"] {
        assert_eq!(server.ask("POST", path, HEADER).await.0, 400, "{path}");
    }
    let (code, _, body) = server.ask("POST", path, HEADER).await;
    assert_eq!(code, 409);
    assert!(body.contains("not running"), "{body}");

    let serving = reloads.serve();
    let answers = [
        (Ok(Uuid::from_u128(7)), 200, "00000000-0000-0000-0000-000000000007"),
        (Err(Refused::UnknownTable("dbo.\u{e4}  t".into())), 404, "dbo.\u{e4}  t"),
        (Err(Refused::AlreadyLoading("dbo.t".into())), 409, "already"),
        (Err(Refused::Failed("the source is away".into())), 502, "away"),
    ];
    for (answer, expected, says) in answers {
        let served = async {
            let request = serving.next().await;
            assert_eq!(request.table(), "dbo.\u{e4}  t");
            request.answer(answer);
        };
        let ((code, _, body), ()) = tokio::join!(server.ask("POST", path, HEADER), served);
        assert_eq!(code, expected, "{body}");
        assert!(body.contains(says), "{body}");
    }
    server.stop().await;

    let (_sender, status) = watch::channel(apply());
    let server = Server::start(Endpoints::apply("one", status));
    assert_eq!(server.ask("POST", path, HEADER).await.0, 404);
    server.stop().await;
}
