//! The service's loop.

use std::sync::Arc;

use lockstep_common::status::{CaptureStatus, StatusSender};
use lockstep_common::{FailPoints, Failure, Shutdown};
use lockstep_log::Log;

use crate::CaptureSettings;

pub(crate) async fn run(
    _settings: CaptureSettings,
    _log: Arc<dyn Log>,
    _status: StatusSender<CaptureStatus>,
    _fail: FailPoints,
    _shutdown: Shutdown,
) -> Result<(), Failure> {
    Err(Failure::halt("capture.absent", "capture is not built in", "use a later build"))
}
