//! What the services say at `/status`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use lockstep_common::http::client::Client;
use lockstep_common::service::status::{ApplyStatus, CaptureStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A dead service must not hold up the view.
const DEADLINE: Duration = Duration::from_millis(500);

/// The newest answers; none from a service that is down.
#[derive(Clone, Debug, Default)]
pub(super) struct Statuses {
    pub(super) capture: Option<CaptureStatus>,
    pub(super) apply: Option<ApplyStatus>,
}

impl Statuses {
    /// Picks capture and the apply called `name` from two answers, which may be one server's.
    pub(super) fn of(capture: &Result<Value>, apply: &Result<Value>, name: &str) -> Self {
        let answers = || [capture, apply].into_iter().flatten();
        Statuses {
            capture: answers().find_map(|answer| read(answer.get("capture")?)),
            apply: answers().find_map(|answer| read(answer.get("apply")?.get(name)?)),
        }
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// What `/status` says.
pub(crate) async fn ask(address: SocketAddr) -> Result<Value> {
    let body = Client::default().get(address, "/status", DEADLINE).await?.ok()?;
    Ok(serde_json::from_str(&body)?)
}
