//! A service's HTTP endpoints: `/livez`, `/readyz`, `/metrics`, `/status` and a dashboard at `/`.
//!
//! These are views of the services' statuses; none changes anything, and none shows a row's values.
//! Beside them, capture's server takes `POST /reload?table=schema.table`: it loads a table again. It
//! wants the header [`RELOAD_HEADER`], which a web page of elsewhere cannot send, and comes from the
//! machine itself or with the token of `http.token_file`.

mod access;
pub mod client;
mod server;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde_json::json;

use self::access::Granted;
use crate::Shutdown;
use crate::config::{Http, Secret};
use crate::service::metrics::{self, Snapshot, state_name};
use crate::service::reload::{Refused, Reloads};
use crate::service::status::{ApplyStatus, CaptureStatus, StatusReceiver, TaskState};

/// Whose statuses a server shows.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    capture: Option<StatusReceiver<CaptureStatus>>,
    applies: BTreeMap<String, StatusReceiver<ApplyStatus>>,
    reloads: Option<Reloads>,
    access: Arc<Http>,
}

/// The header, with the value `reload`, that a request to load a table again must have.
pub const RELOAD_HEADER: &str = "x-lockstep";

impl Endpoints {
    /// Of a capture.
    pub fn capture(status: StatusReceiver<CaptureStatus>) -> Self {
        Endpoints { capture: Some(status), ..Endpoints::default() }
    }

    /// Of the apply with this name.
    pub fn apply(name: impl Into<String>, status: StatusReceiver<ApplyStatus>) -> Self {
        Endpoints { applies: BTreeMap::from([(name.into(), status)]), ..Endpoints::default() }
    }

    /// With a capture that can be asked to load a table again.
    #[must_use]
    pub fn with_reloads(mut self, reloads: Reloads) -> Self {
        self.reloads = Some(reloads);
        self
    }

    /// For those who `access` lets through.
    #[must_use]
    pub fn with_access(mut self, access: &Http) -> Self {
        self.access = Arc::new(access.clone());
        self
    }

    /// These and those of `other`, which replace what both have: services that share an address.
    #[must_use]
    pub fn with(mut self, other: Endpoints) -> Self {
        self.capture = other.capture.or(self.capture);
        self.reloads = other.reloads.or(self.reloads);
        self.applies.extend(other.applies);
        self
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            capture: self.capture.as_ref().map(|status| status.borrow().clone().now()),
            applies: self
                .applies
                .iter()
                .map(|(name, status)| (name.clone(), status.borrow().clone().now()))
                .collect(),
        }
    }
}

/// Listens on `address` and serves in the background until `shutdown`; needs a running runtime.
///
/// # Errors
/// When the address cannot be listened on.
pub fn spawn(address: SocketAddr, endpoints: Endpoints, shutdown: Shutdown) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    if !address.ip().is_loopback() {
        let open = match endpoints.access.token_file {
            Some(_) => "with the token of http.token_file",
            None => "without a token (http.token_file), though not to change anything",
        };
        tracing::warn!(%address, "the HTTP endpoints can be asked from other machines {open}");
    }
    tokio::spawn(async move {
        if let Err(error) = serve(listener, endpoints, shutdown).await {
            tracing::error!(%address, %error, "the HTTP endpoints are gone");
        }
    });
    Ok(())
}

/// Serves on a listener until `shutdown`.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    endpoints: Endpoints,
    shutdown: Shutdown,
) -> io::Result<()> {
    let access = Arc::clone(&endpoints.access);
    let routes = Router::new()
        .route("/", get(page))
        .route("/dashboard.css", get(style))
        .route("/dashboard.js", get(script))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/reload", post(reload))
        .with_state(Arc::new(endpoints))
        .layer(middleware::from_fn_with_state(access, access::guard))
        .layer(middleware::from_fn(closed));
    server::serve(listener, routes, shutdown).await
}

/// The bearer token that requests have to carry, for programs that ask; none when none is wanted.
///
/// # Errors
/// Why its file cannot be used.
pub async fn token(access: &Http) -> Result<Option<Secret>, String> {
    match &access.token_file {
        Some(file) => access::token(file).await.map(Some),
        None => Ok(None),
    }
}

type Shared = State<Arc<Endpoints>>;

/// 200 when every service does its work (a peer that is away included: that is its work too), 503
/// with the reasons when one does not.
async fn readyz(
    State(endpoints): Shared,
    Extension(granted): Extension<Granted>,
) -> (StatusCode, String) {
    let snapshot = endpoints.snapshot();
    let capture = snapshot.capture.iter().map(|s| ("capture", s.state, &s.last_error));
    let applies = snapshot.applies.iter().map(|(name, s)| (name.as_str(), s.state, &s.last_error));
    let mut code = StatusCode::OK;
    let mut lines = String::new();
    for (name, state, error) in capture.chain(applies) {
        let working = match state {
            TaskState::Running | TaskState::Retrying => true,
            TaskState::Starting
            | TaskState::Waiting
            | TaskState::Halted
            | TaskState::Fenced
            | TaskState::Stopped => false,
        };
        if !working {
            code = StatusCode::SERVICE_UNAVAILABLE;
        }
        let reason = match error {
            Some(error) if state != TaskState::Running => format!(": {error}"),
            _ => String::new(),
        };
        lines.push_str(&format!("{name}: {}{reason}\n", state_name(state)));
    }
    match granted.details {
        true => (code, lines),
        false => (code, String::new()),
    }
}

async fn metrics(State(endpoints): Shared) -> Response {
    match metrics::render(endpoints.snapshot()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn status(State(endpoints): Shared) -> Response {
    let snapshot = endpoints.snapshot();
    let mut all = json!({ "version": env!("CARGO_PKG_VERSION") });
    if let Some(capture) = snapshot.capture {
        all["capture"] = json!(capture);
    }
    if !snapshot.applies.is_empty() {
        all["apply"] = json!(snapshot.applies);
    }
    (NO_CACHE, Json(all)).into_response()
}

/// Loads a table again; answers when the load has begun.
async fn reload(
    State(endpoints): Shared,
    Extension(granted): Extension<Granted>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let text =
        |code: StatusCode, text: String| (code, NO_CACHE, format!("{text}\n")).into_response();
    if headers.get(RELOAD_HEADER).is_none_or(|value| value != "reload") {
        let message = format!("the request needs the header `{RELOAD_HEADER}: reload`");
        return text(StatusCode::FORBIDDEN, message);
    }
    if !granted.changes {
        let message =
            "only the machine itself may ask for this, unless http.token_file names a token";
        return text(StatusCode::FORBIDDEN, message.to_owned());
    }
    let Some(table) = query.as_deref().and_then(|query| client::parameter(query, "table")) else {
        let message = "say which table: /reload?table=schema.table".to_owned();
        return text(StatusCode::BAD_REQUEST, message);
    };
    let Some(reloads) = &endpoints.reloads else {
        let message = "this is not a capture: ask at the address of capture.http".to_owned();
        return text(StatusCode::NOT_FOUND, message);
    };
    match reloads.ask(&table).await {
        Ok(load) => (NO_CACHE, Json(json!({ "table": table, "load": load }))).into_response(),
        Err(refused) => {
            let code = match &refused {
                Refused::UnknownTable(_) => StatusCode::NOT_FOUND,
                Refused::AlreadyLoading(_) | Refused::NotRunning(_) => StatusCode::CONFLICT,
                Refused::Failed(_) => StatusCode::BAD_GATEWAY,
            };
            text(code, refused.to_string())
        }
    }
}

async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("dashboard.html"))
}

async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("dashboard.css"))
}

async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("dashboard.js"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

const NO_CACHE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// What a browser may do with any answer: the dashboard's own files and questions, in no frame.
async fn closed(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'self'; script-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
