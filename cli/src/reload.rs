//! `lockstep reload`: asks the running capture to load a table again.

use std::net::SocketAddr;
use std::time::Duration;

use lockstep_common::config::Config;
use lockstep_common::failure::exit;
use lockstep_common::http::RELOAD_HEADER;
use lockstep_common::service::Ending;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::arguments::ReloadOptions;
use crate::status_view::authorization;

/// How long capture may take to begin a load: it finishes the window in hand first.
const DEADLINE: Duration = Duration::from_secs(120);

/// Asks, and says what came of it.
///
/// # Errors
/// When capture has no address, does not answer, or refuses.
pub(crate) async fn reload(config: &Config, options: &ReloadOptions) -> Result<(), Ending> {
    let Some(address) = config.capture.http else {
        return Err(Ending::usage(
            "the running capture is asked over HTTP: give it an address with `http` in [capture]",
        ));
    };
    if !options.table.contains('.') {
        return Err(Ending::usage(format!(
            "`{}` has no schema: write the table as schema.table, e.g. dbo.orders",
            options.table
        )));
    }
    let failed = |message: String| Ending { code: exit::CHECK, message };
    let authorization = authorization(&config.http).await?;
    let answer = ask(&request(address, &options.table, &authorization), address)
        .await
        .map_err(|error| failed(format!("no answer from capture at {address}: {error}")))?;
    match answer {
        Answer { code: 200, .. } => {
            println!(
                "{} is being loaded again; `lockstep status` shows how far it is",
                options.table
            );
            Ok(())
        }
        Answer { body, .. } if !body.is_empty() => Err(failed(body)),
        Answer { code, .. } => Err(failed(format!("capture at {address} answers {code}"))),
    }
}

/// What capture said.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: u16,
    body: String,
}

/// One POST over a connection of its own.
async fn ask(request: &str, address: SocketAddr) -> std::io::Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        parse(&String::from_utf8_lossy(&bytes))
            .ok_or_else(|| std::io::Error::other("it does not speak HTTP"))
    };
    tokio::time::timeout(DEADLINE, exchange)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

fn request(address: SocketAddr, table: &str, authorization: &str) -> String {
    format!(
        "POST /reload?table={} HTTP/1.0\r\nHost: {address}\r\n{RELOAD_HEADER}: reload\r\n\
         {authorization}Content-Length: 0\r\n\r\n",
        encoded(table)
    )
}

/// Percent-encoded, but for what needs it nowhere.
fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(
            |byte| {
                if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect()
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let mut words = head.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    Some(Answer { code: words.next()?.parse().ok()?, body: body.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_s_name_stays_one_word() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let request = request(address, "dbo.a b\r\nX: é&c", "");
        let line = request.lines().next().expect("a line");
        assert_eq!(line, "POST /reload?table=dbo.a%20b%0D%0AX%3A%20%C3%A9%26c HTTP/1.0");
    }

    #[test]
    fn answers_are_read() {
        let answer = parse("HTTP/1.0 404 Not Found\r\na: b\r\n\r\nno such table\n");
        assert_eq!(answer, Some(Answer { code: 404, body: "no such table".into() }));
        for nonsense in ["", "HTTP/1.0 200 OK", "SSH-2.0\r\n\r\n", "HTTP/1.0 x\r\n\r\n"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
