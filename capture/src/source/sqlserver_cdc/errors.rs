//! What to do about an error of SQL Server, by its number: this file and no other decides.
//!
//! Retried is what time mends: lock conflicts with the capture and cleanup jobs, a failover, a lost
//! connection. What time does not mend halts (docs/reader-rules.md, rule 14). A login or a database that was
//! refused is a configuration error at first and a server still starting afterwards, so the first
//! successful connection changes what these mean.

use std::time::Duration;

use lockstep_common::Failure;

use crate::source::LOCKED;

/// What a person should do about a server that cannot be reached.
const CHECK_ADDRESS: &str = "check source.host, source.port and that the server is running";

/// Codes of failures after which the source should be looked at anew before anyone is bothered:
/// a dropped instance and a lost right both show as one of these.
pub const MISSING: &str = "source.missing";
/// The server refuses the login itself.
pub const CREDENTIALS: &str = "source.login";
/// There is no such database, or the login has no user in it.
const DATABASE: &str = "source.database";
/// See [`MISSING`].
pub const PERMISSION: &str = "source.permission";

/// Pause before a statement is sent again that has met somebody else's lock: a lock wait has its own
/// length, a deadlock has none.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Waits a moment when `failure` is somebody else's lock.
///
/// # Errors
/// Any other failure.
pub async fn wait_for_lock(failure: Failure) -> Result<(), Failure> {
    if failure.code != LOCKED {
        return Err(failure);
    }
    tracing::debug!(%failure, "asking again");
    tokio::time::sleep(LOCK_PAUSE).await;
    Ok(())
}

/// An error of the driver while `doing` something (a present-tense phrase: "read dbo_orders").
/// `established` says that this service has connected before.
pub fn classify(error: tiberius::error::Error, doing: &str, established: bool) -> Failure {
    use tiberius::error::Error;
    let failure = match &error {
        Error::Server(token) => {
            let message = format!("cannot {doing}: error {}: {}", token.code(), token.message());
            return server(token.code(), token.class(), message, established);
        }
        Error::Io { .. } | Error::Routing { .. } => {
            Failure::retry("source.connection", format!("cannot {doing}"))
        }
        Error::Tls(_) if !established => Failure::halt(
            "source.tls",
            format!("cannot {doing}: no TLS connection"),
            "if the server's certificate is not trusted, name the authority that signed it in \
             source.ca_file (PEM), or, for a test server only, set source.trust_server_certificate = \
             true; if the server has no TLS, set source.encrypt",
        ),
        // The driver's decoder lost its place: the connection is of no more use, a new one may be.
        // (No value is decoded by the driver that could be at fault itself.)
        Error::Tls(_) | Error::Protocol(_) => {
            Failure::retry("source.connection", format!("cannot {doing}"))
        }
        _ => Failure::halt(
            "source.driver",
            format!("cannot {doing}: the driver cannot read the server's answer"),
            "report this with the server's version",
        ),
    };
    failure.with_source(error)
}

/// An error of the driver while logging in to `address`. Refused credentials and, before the source was
/// ever followed, a database that cannot be opened are mistakes of the configuration. Whatever else a
/// server says at a login it says of itself: it is starting, being patched, failing over, out of
/// something, or open to administrators only; and that passes.
pub fn login(error: tiberius::error::Error, address: &str, established: bool) -> Failure {
    let doing = format!("connect to {address}");
    let tiberius::error::Error::Server(token) = &error else {
        return classify(error, &doing, established);
    };
    let judged = classify(error.clone(), &doing, established);
    match judged.code {
        CREDENTIALS | DATABASE => judged,
        _ => {
            let (number, text) = (token.code(), token.message());
            Failure::retry("source.unavailable", format!("cannot {doing}: error {number}: {text}"))
        }
    }
}

/// A login that one server after the other sends on.
pub fn sent_in_circles(address: &str, times: usize) -> Failure {
    let message = format!("the login to {address} was sent on more than {times} times");
    Failure::retry("source.unavailable", message)
}

/// A TCP connection that could not be made.
pub fn unreachable(error: std::io::Error, address: &str) -> Failure {
    let message = format!("cannot connect to {address} ({CHECK_ADDRESS})");
    Failure::retry("source.unreachable", message).with_source(error)
}

/// A TCP connection that was not made in time.
pub fn timed_out(address: &str, after: Duration) -> Failure {
    let message =
        format!("no connection to {address} within {} s ({CHECK_ADDRESS})", after.as_secs());
    Failure::retry("source.unreachable", message)
}

fn server(number: u32, class: u8, message: String, established: bool) -> Failure {
    match number {
        // Deadlock victim, lock timeout.
        1205 | 1222 => Failure::retry(LOCKED, message),
        // The log-scan session is taken, sp_repldone failed.
        22903 | 22831 | 22912 => Failure::retry("source.busy", message),
        // Out of memory, locks, worker threads or time for a grant.
        701 | 802 | 1204 | 8645 | 8651 | 10928 | 10929 | 17809 => {
            Failure::retry("source.busy", message)
        }
        // The server is shutting down, starting, failing over or moving (Azure).
        596 | 921 | 922 | 926 | 927 | 952 | 976 | 978 | 983 | 6002 | 6005 | 17142 | 40143
        | 40197 | 40501 | 40540 | 40613 | 49918 | 49919 | 49920 | 10053 | 10054 | 10060 => {
            Failure::retry("source.unavailable", message)
        }
        924 | 942 | 945 | 982 | 988 | 4221 | 17187 | 17188 | 17197 | 18401 | 18451 | 18461
        | 40544 | 40549 | 40550 | 40551 | 40552 | 40553 => {
            Failure::retry("source.unavailable", message)
        }
        4060 | 4064 | 911 if established => Failure::retry("source.unavailable", message),
        4060 | 4064 | 911 => Failure::halt(
            DATABASE,
            message,
            "check source.database, and that the login has a user in it",
        ),
        18452 | 18456 | 18463..=18468 | 18470 | 18471 | 18486 | 18487 | 18488 => Failure::halt(
            CREDENTIALS,
            message,
            "check source.user and source.password (or source.password_file)",
        ),
        229 | 230 | 262 | 297 | 300 | 916 | 22985 => Failure::halt(
            PERMISSION,
            message,
            "GRANT SELECT on the source tables and on their change tables in schema cdc; \
             `lockstep check` names what is missing",
        ),
        207 | 208 | 313 | 2812 => Failure::halt(
            MISSING,
            message,
            "change data capture was disabled, or an instance was dropped or altered; \
             `lockstep check` says which",
        ),
        // Severity 20 and above ends the connection; the cause is in the server's log.
        _ if class >= 20 => Failure::retry("source.connection", message),
        _ => Failure::halt(
            "source.statement",
            message,
            "the server refused a statement it should know: report this with its version",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::Disposition::{self, Halt, Retry};

    fn judge(number: u32, class: u8, established: bool) -> (&'static str, Disposition) {
        let failure = server(number, class, String::new(), established);
        assert_eq!(failure.disposition == Halt, !failure.remedy.is_empty(), "{number}");
        (failure.code, failure.disposition)
    }

    #[test]
    fn lock_conflicts_and_outages_are_retried() {
        for number in [1205, 1222] {
            assert_eq!(judge(number, 13, true), (LOCKED, Retry), "{number}");
        }
        for number in [22903, 22831, 22912] {
            assert_eq!(judge(number, 16, true), ("source.busy", Retry), "{number}");
        }
        assert_eq!(judge(976, 14, true), ("source.unavailable", Retry));
        assert_eq!(judge(50_001, 20, true), ("source.connection", Retry));
    }

    #[test]
    fn what_time_does_not_mend_halts() {
        for number in [313, 208, 207] {
            assert_eq!(judge(number, 16, true), (MISSING, Halt), "{number}");
        }
        assert_eq!(judge(229, 14, true), (PERMISSION, Halt));
        assert_eq!(judge(18456, 14, true), ("source.login", Halt));
        assert_eq!(judge(102, 15, true), ("source.statement", Halt));
    }

    #[test]
    fn an_unknown_database_is_a_mistake_at_first_and_an_outage_later() {
        assert_eq!(judge(4060, 11, false), ("source.database", Halt));
        assert_eq!(judge(4060, 11, true), ("source.unavailable", Retry));
    }
}
