//! `lockstep status`: what the running services say, asked over their own HTTP addresses.

use std::net::SocketAddr;
use std::time::Duration;

use lockstep_common::config::Config;
use lockstep_common::disposition::exit;
use lockstep_common::service::Ending;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::arguments::StatusOptions;

/// How long a service may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Prints the status of every service of the file that has an `http` address.
///
/// # Errors
/// When no service has one, or one does not answer.
pub(crate) async fn print(config: &Config, options: StatusOptions) -> Result<(), Ending> {
    let mut services: Vec<(String, SocketAddr)> = Vec::new();
    if let Some(address) = config.capture.http {
        services.push(("capture".into(), address));
    }
    for (name, apply) in &config.apply {
        services.extend(apply.http.map(|address| (format!("apply.{name}"), address)));
    }
    if services.is_empty() {
        return Err(Ending::usage("no service of the configuration has an `http` address to ask"));
    }
    let mut all = Map::new();
    let mut silent = Vec::new();
    for (name, address) in services {
        match ask(address).await {
            Ok(status) => {
                all.insert(name, status);
            }
            Err(error) => {
                all.insert(name.clone(), json!({"unreachable": error.to_string()}));
                silent.push(format!("{name} at {address}: {error}"));
            }
        }
    }
    if options.json {
        println!("{}", Value::Object(all));
    } else {
        all.iter().for_each(|(name, status)| println!("{}", text(name, status)));
    }
    if silent.is_empty() {
        return Ok(());
    }
    Err(Ending { code: exit::CHECK, message: format!("no answer from {}", silent.join("; ")) })
}

/// One GET of `/status` over a connection of its own.
async fn ask(address: SocketAddr) -> std::io::Result<Value> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /status HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let body = answer
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| &answer[at + 4..])
            .unwrap_or_default();
        serde_json::from_slice(body).map_err(std::io::Error::other)
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// The lines for a person: scalars on one line, tables below.
fn text(name: &str, status: &Value) -> String {
    let mut lines = vec![name.to_owned()];
    let Some(fields) = status.as_object() else { return format!("{name}\n  {status}") };
    for (key, value) in fields {
        match value {
            Value::Object(inner) => {
                lines.push(format!("  {key}:"));
                lines.extend(inner.iter().map(|(k, v)| format!("    {k}: {v}")));
            }
            Value::Null => {}
            Value::String(plain) => lines.push(format!("  {key}: {plain}")),
            other => lines.push(format!("  {key}: {other}")),
        }
    }
    lines.join("\n")
}
