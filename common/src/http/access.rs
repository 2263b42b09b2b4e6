//! Who may ask what.
//!
//! A browser on an operator's machine is a way in for any page it has open: by a name of its own that
//! resolves to the service's address, or by a request across origins. Both show in what the browser
//! says of itself, and are refused.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::config::{Http, Secret};

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) local: IpAddr,
    pub(super) peer: IpAddr,
}

impl Link {
    /// Whether it does not leave the machine.
    fn is_loopback(self) -> bool {
        self.local.is_loopback() && self.peer.is_loopback()
    }
}

/// What a request may have, for its handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted {
    /// More than a yes or a no.
    pub(super) details: bool,
    /// Something may be changed.
    pub(super) changes: bool,
}

/// Paths that show nothing of the pipeline, and are asked for by what has no token.
const OPEN: &[&str] = &["/", "/dashboard.css", "/dashboard.js", "/livez", "/readyz"];

/// Lets a request through, or says why not.
pub(super) async fn guard(
    State(access): State<Arc<Http>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    match granted(&access, &head).await {
        Ok(granted) => {
            head.extensions.insert(granted);
            next.run(Request::from_parts(head, body)).await
        }
        Err(refusal) => refusal,
    }
}

async fn granted(access: &Http, request: &Parts) -> Result<Granted, Response> {
    let link = request.extensions.get::<Link>().copied();
    let host = host(request).map_err(|message| refusal(StatusCode::BAD_REQUEST, message))?;
    if let Some(host) = &host
        && !is_known(access, link, host.host())
    {
        let message = format!(
            "`{}` is not a host of this service; add it to http.hosts if it is",
            printable(host.host())
        );
        return Err(refusal(StatusCode::FORBIDDEN, message));
    }
    if !request.headers.get_all(header::ORIGIN).iter().all(|origin| {
        origin.to_str().is_ok_and(|origin| is_own_origin(access, host.as_ref(), origin))
    }) {
        let message = "a page of another origin may not ask; add its host to http.hosts if it may";
        return Err(refusal(StatusCode::FORBIDDEN, message));
    }
    let Some(file) = &access.token_file else {
        return Ok(Granted { details: true, changes: link.is_some_and(Link::is_loopback) });
    };
    let trusted = match token(file).await {
        Ok(token) => bearer(&request.headers).is_some_and(|given| is_same(given, token.expose())),
        Err(error) => {
            tracing::error!("no request is answered: http.token_file: {error}");
            false
        }
    };
    if !trusted && !OPEN.contains(&request.uri.path()) {
        let answer = refusal(StatusCode::UNAUTHORIZED, "the request needs the bearer token");
        return Err(([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response());
    }
    Ok(Granted { details: trusted, changes: trusted })
}

fn refusal(code: StatusCode, message: impl Into<String>) -> Response {
    (code, message.into() + "\n").into_response()
}

/// The host that is asked for. HTTP/1.0 need not name one; no browser speaks it.
fn host(request: &Parts) -> Result<Option<Authority>, &'static str> {
    let mut named = request.headers.get_all(header::HOST).iter();
    let named = match (named.next(), named.next()) {
        (_, Some(_)) => return Err("the request names more than one host"),
        (None, None) if request.version == Version::HTTP_10 => None,
        (None, None) => return Err("the request names no host"),
        (Some(host), None) => Some(
            host.to_str()
                .ok()
                .filter(|host| !host.contains('@'))
                .and_then(|host| host.parse::<Authority>().ok())
                .ok_or("the request's host cannot be read")?,
        ),
    };
    match (request.uri.authority(), named) {
        (Some(target), Some(host)) if *target != host => Err("the request names two hosts"),
        (Some(target), None) => Ok(Some(target.clone())),
        (_, named) => Ok(named),
    }
}

fn is_known(access: &Http, link: Option<Link>, host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = bare.parse::<IpAddr>() {
        let address = address.to_canonical();
        if address.is_loopback() || link.is_some_and(|link| link.local == address) {
            return true;
        }
    }
    let is_named = |known: &String| known.eq_ignore_ascii_case(bare);
    name.eq_ignore_ascii_case("localhost") || access.hosts.iter().any(is_named)
}

fn is_own_origin(access: &Http, host: Option<&Authority>, origin: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let Some(authority) = origin.authority() else { return false };
    Some(authority) == host
        || access.hosts.iter().any(|known| known.eq_ignore_ascii_case(authority.host()))
}

/// As it may stand in an answer.
fn printable(host: &str) -> String {
    host.chars().take(100).collect()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares digests, so that the time it takes says nothing of the token.
fn is_same(given: &str, token: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(token)
}

/// What the token file holds now.
pub(super) async fn token(file: &Path) -> Result<Secret, String> {
    let place = file.display();
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| format!("{place} cannot be read: {error}"))?;
    match text.trim() {
        "" => Err(format!("{place} is empty")),
        token => Ok(Secret::new(token)),
    }
}
