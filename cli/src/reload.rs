//! `lockstep reload`: asks the running capture to load a table again.

use std::io;
use std::time::Duration;

use lockstep_common::config::Config;
use lockstep_common::failure::exit;
use lockstep_common::http::RELOAD_HEADER;
use lockstep_common::http::client::{Answer, with_query};
use lockstep_common::service::Ending;

use crate::arguments::ReloadOptions;
use crate::status_view::client;

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
    let failed = |error: io::Error| Ending { code: exit::CHECK, message: error.to_string() };
    let client = client(&config.http).await?;
    let path = with_query("/reload", &[("table", &options.table)]);
    let answer = client
        .post(address, &path, &[(RELOAD_HEADER, "reload")], DEADLINE)
        .await
        .map_err(|error| io::Error::other(format!("no answer from capture at {address}: {error}")))
        .and_then(Answer::ok);
    answer.map_err(failed)?;
    println!("{} is being loaded again; `lockstep status` shows how far it is", options.table);
    Ok(())
}
