//! The HTTP endpoints, over a socket.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use std::time::{Duration, Instant};

use lockstep_common::config::Http;
use lockstep_common::http::{self, Endpoints};
use lockstep_common::service::metrics;
use lockstep_common::service::reload::{Refused, Reloads};
use lockstep_common::service::status::{
    ApplyStatus, CaptureStatus, Counts, LoadState, LoadStatus, Look, TableLoadState,
    TableLoadStatus, TaskState,
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
        Self::listening(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), endpoints)
    }

    fn listening(listener: TcpListener, endpoints: Endpoints) -> Self {
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
        let host = format!("Host: {}\r\n{headers}", self.address);
        self.say(&format!("{method} {path} HTTP/1.1\r\n{host}\r\n")).await
    }

    /// The same of a whole request.
    async fn say(&self, request: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
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
        looked: Some(Look { at: Instant::now(), behind: Duration::ZERO, next: HOUR }),
        ..CaptureStatus::default()
    }
}

/// So long no test takes.
const HOUR: Duration = Duration::from_secs(3600);

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
        "lockstep_capture_lag_seconds 0.0",
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
        "lockstep_apply_lag_seconds{apply=\"reports\"} 0.0",
        "# TYPE lockstep_apply_lag_seconds gauge",
        "# EOF",
    ] {
        assert!(body.lines().any(|l| l == line), "{line} is not in\n{body}");
    }
    // Nothing is known of the second one's delay, so nothing is claimed; and a name is described once.
    assert!(!body.contains("lockstep_apply_lag_seconds{apply=\"archive\"}"), "{body}");
    assert!(!body.contains("lockstep_apply_staleness_seconds{"), "{body}");
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
    let mut files = String::new();
    for (path, kind) in
        [("/", "text/html"), ("/dashboard.css", "text/css"), ("/dashboard.js", "text/javascript")]
    {
        let (code, head, body) = server.get(path).await;
        assert_eq!(code, 200);
        assert!(head.contains(&format!("content-type: {kind}")), "{head}");
        files.push_str(&body);
    }
    // The only address in it is SVG's namespace, which nothing fetches.
    assert_eq!(files.matches("://").count(), 1);
    assert!(files.contains("fetch(\"status\""));
    // The policy forbids what stands in the page itself.
    let page = server.get("/").await.2;
    for inline in ["<style", "style=", "onclick=", "javascript:", "<script>"] {
        assert!(!page.contains(inline), "{inline}");
    }
    assert_eq!(server.get("/nothing").await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let server = Server::start(Endpoints::default());
    for path in ["/", "/status", "/metrics", "/livez", "/nothing", "/reload"] {
        let (_, head, _) = server.get(path).await;
        for line in [
            "content-security-policy: default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.contains(line), "{path}: {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_for_another_host_or_from_another_origin_are_refused() {
    let (_capture, seen) = watch::channel(capture());
    let access = Http { hosts: vec!["Monitor.example".into()], ..Http::default() };
    let server = Server::start(Endpoints::capture(seen).with_access(&access));
    let port = server.address.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "LocalHost.".into(),
        "[::1]:80".into(),
        "monitor.example".into(),
        format!("MONITOR.EXAMPLE:{port}"),
    ] {
        let request = format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(server.say(&request).await.0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "monitor.example.evil.example",
        "evil.example@127.0.0.1",
        "192.0.2.1",
        "[2001:db8::1]",
        "0x7f.1",
        "",
        "a b",
    ] {
        for path in ["GET /status", "GET /", "POST /reload?table=dbo.t"] {
            let request = format!("{path} HTTP/1.1\r\nHost: {host}\r\nX-Lockstep: reload\r\n\r\n");
            let (code, _, body) = server.say(&request).await;
            assert!(code == 403 || code == 400, "{host}: {code} {body}");
        }
    }
    let own = format!("Host: {}\r\n", server.address);
    for request in [
        "GET /status HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /status HTTP/1.1\r\n{own}Host: evil.example\r\n\r\n"),
        format!("GET http://evil.example/status HTTP/1.1\r\n{own}\r\n"),
    ] {
        assert_eq!(server.say(&request).await.0, 400, "{request}");
    }
    let ask = |origin: &str| format!("Origin: {origin}\r\n");
    for origin in [format!("http://127.0.0.1:{port}"), "https://monitor.example".into()] {
        assert_eq!(server.ask("GET", "/status", &ask(&origin)).await.0, 200, "{origin}");
    }
    for origin in ["null", "http://evil.example", "http://127.0.0.1:1", "file://", "x y"] {
        let (code, _, body) = server.ask("GET", "/status", &ask(origin)).await;
        assert_eq!(code, 403, "{origin}: {body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_token_is_read_at_each_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let (_capture, seen) = watch::channel(capture());
    let access = Http { token_file: Some(file.clone()), ..Http::default() };
    let reloads = Reloads::default();
    let endpoints = Endpoints::capture(seen).with_reloads(reloads).with_access(&access);
    let server = Server::start(endpoints);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\nX-Lockstep: reload\r\n");
    // No file, or an empty one, lets nobody in.
    for content in [None, Some("\n")] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        for headers in [String::new(), bearer(""), bearer("first")] {
            assert_eq!(server.ask("GET", "/status", &headers).await.0, 401);
        }
    }
    for (token, other) in [("first", "second"), ("second", "first")] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        for path in ["/status", "/metrics"] {
            let (code, head, body) = server.get(path).await;
            assert_eq!(code, 401);
            assert!(head.contains("www-authenticate: bearer"), "{head}");
            assert!(!body.contains("dbo"), "{body}");
            assert_eq!(server.ask("GET", path, &bearer(other)).await.0, 401);
            assert_eq!(server.ask("GET", path, &bearer(token)).await.0, 200);
        }
        let path = "/reload?table=dbo.t";
        assert_eq!(server.ask("POST", path, "X-Lockstep: reload\r\n").await.0, 401);
        assert_eq!(server.ask("POST", path, &bearer(other)).await.0, 401);
        assert_eq!(server.ask("POST", path, &bearer(token)).await.0, 409);
        // What has no token sees whether, and not what.
        assert_eq!(server.get("/livez").await.0, 200);
        let (code, _, body) = server.get("/readyz").await;
        assert_eq!((code, body.as_str()), (200, ""));
        let (_, _, body) = server.ask("GET", "/readyz", &bearer(token)).await;
        assert_eq!(body, "capture: running\n");
        assert_eq!(server.get("/").await.0, 200);
    }
    server.stop().await;
}

/// An address of this machine that is not its loopback; none where it has no other.
fn outside() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test]
async fn without_a_token_only_the_machine_itself_may_change_something() {
    let path = "/reload?table=dbo.t";
    let header = "X-Lockstep: reload\r\n";
    let (_capture, seen) = watch::channel(capture());
    let local = Server::start(Endpoints::capture(seen.clone()).with_reloads(Reloads::default()));
    assert_eq!(local.ask("POST", path, header).await.0, 409);
    local.stop().await;

    let Some(address) = outside() else { return };
    let listener = TcpListener::bind((address, 0)).unwrap();
    let far =
        Server::listening(listener, Endpoints::capture(seen).with_reloads(Reloads::default()));
    assert_eq!(far.get("/status").await.0, 200);
    let (code, _, body) = far.ask("POST", path, header).await;
    assert_eq!(code, 403);
    assert!(body.contains("http.token_file"), "{body}");
    far.stop().await;
}

#[tokio::test]
async fn half_requests_take_neither_descriptors_nor_the_service() {
    let (_capture, seen) = watch::channel(capture());
    let server = Server::start(Endpoints::capture(seen));
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let mut clients = Vec::new();
    for i in 0..400 {
        let mut client = TcpStream::connect(server.address).await.unwrap();
        let half = format!("GET /status HTTP/1.1\r\nHost: {}\r\nX-{i}: ", server.address);
        client.write_all(half.as_bytes()).await.unwrap();
        clients.push(client);
    }
    // The service answers although none of them goes on: their time for a head is over.
    assert_eq!(server.get("/status").await.0, 200);
    let served = open() - before - clients.len();
    assert!(served < 100, "{served} descriptors for half requests");
    for mut client in clients {
        let mut rest = Vec::new();
        // Closed by the server, with an answer or without one.
        let _ = client.read_to_end(&mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
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
    for path in ["/reload", "/reload?table=", "/reload?table=%FF"] {
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
