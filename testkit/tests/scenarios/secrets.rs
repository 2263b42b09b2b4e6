//! What is said to operators, at the lowest level, while rows and passwords go by: none of them.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use lockstep_common::http::client::Client;
use lockstep_common::http::{self, Endpoints};
use lockstep_common::{FailPoints, Shutdown, service::telemetry};
use lockstep_testkit::harness::{LogKind, Pipeline};

use super::support::{insert_with, items};

crate::over_each_log!(nothing_said_has_a_value_or_a_secret);

/// In rows: a text, a number, and text that no target can hold.
const TEXT: &str = "canary-of-a-row";
const NUMBER: i64 = 471_100_174;

/// Lines and panics of the process.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// From here on everything that the process says is kept, once for all tests of it.
fn listen() -> Said {
    static SAID: std::sync::OnceLock<Said> = std::sync::OnceLock::new();
    let begun = || {
        let said = Said::default();
        let writer = said.clone();
        let subscriber = telemetry::subscriber_to("trace", move || writer.clone());
        // What drivers say over the `log` facade comes this way, too.
        tracing_subscriber::util::SubscriberInitExt::try_init(subscriber).expect("the first one");
        let (before, panics) = (std::panic::take_hook(), said.clone());
        std::panic::set_hook(Box::new(move |info| {
            let _ = writeln!(panics.clone(), "{info}");
            before(info);
        }));
        said
    };
    SAID.get_or_init(begun).clone()
}

async fn get(address: std::net::SocketAddr, path: &str) -> Result<String> {
    Ok(Client::default().get(address, path, Duration::from_secs(60)).await?.body)
}

async fn nothing_said_has_a_value_or_a_secret(log: LogKind) -> Result<()> {
    let said = listen();
    let mut pipeline = Pipeline::builder(log, items()).build().await?;
    let mut session = pipeline.session();
    let mut capture = pipeline.start_capture(FailPoints::default()).await?;
    let mut apply = pipeline.start_apply(FailPoints::default()).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (address, shutdown) = (listener.local_addr()?, Shutdown::new());
    let endpoints =
        Endpoints::capture(capture.watch()).with(Endpoints::apply("target", apply.watch()));
    let server = tokio::spawn(http::serve(listener, endpoints, shutdown.clone()));

    let canary = format!("N'{TEXT}'");
    session.run(&insert_with(1..=1, NUMBER, &canary)).await?;
    pipeline.await_arrived(&mut apply).await?;
    // DETAIL of the first refusal quotes the key, that of the second the whole row.
    for refusing in [
        "CREATE UNIQUE INDEX refusing ON dbo.items (note)",
        "ALTER TABLE dbo.items ADD CONSTRAINT refusing CHECK (v = 0) NOT VALID",
    ] {
        pipeline.query_target("target", refusing)?;
        if refusing.starts_with("CREATE") {
            session.run(&insert_with(2..=2, NUMBER, &canary)).await?;
        }
        let failure = apply.ended().await?.expect_halted();
        assert_eq!(failure.code.as_str(), "apply.conflict");
        writeln!(said.clone(), "{failure} {failure:?}")?;
        for path in ["/status", "/metrics", "/readyz"] {
            writeln!(said.clone(), "{}", get(address, path).await?)?;
        }
        pipeline.query_target("target", "DROP INDEX IF EXISTS dbo.refusing")?;
        if refusing.starts_with("CREATE") {
            pipeline.query_target(
                "target",
                "ALTER TABLE dbo.items ADD CONSTRAINT early CHECK (v = 0) NOT VALID",
            )?;
        }
        apply = pipeline.start_apply(FailPoints::default()).await?;
    }
    apply.ended().await?.expect_halted();
    capture.finish().await?;
    shutdown.cancel();
    server.await??;

    let text = String::from_utf8_lossy(&said.0.lock().unwrap()).into_owned();
    assert!(text.contains("lockstep_apply"), "nothing was written");
    assert!(text.contains("apply.conflict"), "no refusal was written");
    let secrets = [pipeline.target_password("target")?, pipeline.source().password.clone()];
    let number = NUMBER.to_string();
    for canary in [TEXT, &number].into_iter().chain(secrets.iter().map(String::as_str)) {
        let line = text.lines().find(|line| line.contains(canary));
        assert!(line.is_none(), "{canary} in: {line:?}");
    }
    Ok(())
}
