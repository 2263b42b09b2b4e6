//! One request to a service's own endpoints: what `lockstep status`, `lockstep reload` and the tools of the
//! tests ask with.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{self, Body};
use axum::http::{Request, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::Secret;

/// Longest answer that is taken, in bytes: status and metrics of a few thousand tables.
const MOST_BYTES: usize = 64 << 20;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code, e.g. 200.
    pub status: u16,
    /// Body, UTF-8.
    pub body: String,
}

impl Answer {
    /// The body of a 200.
    ///
    /// # Errors
    /// What the service said, for any other status.
    pub fn ok(self) -> io::Result<String> {
        match self {
            Answer { status: 200, body } => Ok(body),
            Answer { status, body } if body.trim().is_empty() => {
                Err(io::Error::other(format!("it answers {status}")))
            }
            Answer { body, .. } => Err(io::Error::other(body.trim().to_owned())),
        }
    }
}

/// Asks the services of one pipeline.
#[derive(Clone, Debug, Default)]
pub struct Client {
    token: Option<Secret>,
}

impl Client {
    /// With the bearer token that lets requests in, where one is wanted.
    pub fn new(token: Option<Secret>) -> Self {
        Client { token }
    }

    /// `GET path`, over a connection of its own.
    ///
    /// # Errors
    /// When there is no answer within `deadline`.
    pub async fn get(
        &self,
        address: SocketAddr,
        path: &str,
        deadline: Duration,
    ) -> io::Result<Answer> {
        self.send(address, "GET", path, &[], deadline).await
    }

    /// `POST path` without a body, and with these headers.
    ///
    /// # Errors
    /// When there is no answer within `deadline`.
    pub async fn post(
        &self,
        address: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        deadline: Duration,
    ) -> io::Result<Answer> {
        self.send(address, "POST", path, headers, deadline).await
    }

    async fn send(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        deadline: Duration,
    ) -> io::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).map_err(io::Error::other)?;
        let answer = tokio::time::timeout(deadline, exchange(address, request)).await;
        answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn exchange(address: SocketAddr, request: Request<Body>) -> io::Result<Answer> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let body = body::to_bytes(Body::new(answer.into_body()), MOST_BYTES).await;
        let body = String::from_utf8_lossy(&body.map_err(io::Error::other)?).into_owned();
        Ok(Answer { status, body })
    };
    tokio::pin!(answer);
    // The connection moves the bytes; once it is at its end, what it had is in the answer.
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// `path?name=value&…`, encoded as forms are.
pub fn with_query(path: &str, parameters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("{path}?{query}")
}

/// The value of a query's parameter, decoded; none when it is absent, empty, or is no UTF-8.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let (_, value) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name)?;
    // What is not UTF-8 is decoded with U+FFFD, which is in no name that could be meant.
    (!value.is_empty() && !value.contains('\u{FFFD}')).then(|| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_carries_any_text() {
        for text in ["dbo.orders", "dbo.a b\r\nX: é&c=d+e%20", "[a.b].[c]"] {
            let path = with_query("/reload", &[("force", "1"), ("table", text)]);
            let (path, query) = path.split_once('?').expect("a query");
            assert_eq!(path, "/reload");
            assert!(query.bytes().all(|byte| byte.is_ascii_graphic()), "{query}");
            assert_eq!(parameter(query, "table").as_deref(), Some(text));
        }
        assert_eq!(parameter("table=%FF", "table"), None);
        assert_eq!(parameter("tables=a", "table"), None);
    }
}
