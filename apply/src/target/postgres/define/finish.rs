//! After the load.

use lockstep_common::{Failure, Shutdown};
use tokio_postgres::Client;
use uuid::Uuid;

use super::super::connect::Login;
use super::{Design, LoadTable};

/// What is to be finished.
#[derive(Clone, Debug)]
pub(crate) struct Finish {
    /// The pipeline.
    pub(crate) pipeline: String,
    /// The load.
    pub(crate) load: Uuid,
    /// How.
    pub(crate) design: Design,
    /// The load's tables.
    pub(crate) tables: Vec<LoadTable>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Objects made.
    pub(crate) made: usize,
    /// What was left out, for people: object and reason.
    pub(crate) left_out: Vec<String>,
    /// What the target refused, for people: object and error.
    pub(crate) failed: Vec<String>,
}

/// Makes everything that comes after the load.
pub(crate) async fn finish(
    _login: &Login,
    _work: &Finish,
    _stop: &Shutdown,
) -> Result<Report, Failure> {
    Ok(Report::default())
}

/// Sets the identity sequences that we made past what their columns hold.
pub(crate) async fn set_sequences(_client: &Client, _pipeline: &str) -> Result<(), Failure> {
    Ok(())
}
