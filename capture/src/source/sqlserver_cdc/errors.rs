//! What to do about an error of SQL Server, by its number: this file and no other decides.
//!
//! Retried is what time mends: lock conflicts with the capture and cleanup jobs, a failover, a lost
//! connection. What time does not mend halts (docs/reader-rules.md, rule 14). A login or a database that was
//! refused is a configuration error at first and a server still starting afterwards, so the first
//! successful connection changes what these mean.

use std::time::Duration;

use lockstep_common::Code;
use lockstep_common::Failure;

/// What a person should do about a server that cannot be reached.
const CHECK_ADDRESS: &str = "check source.host, source.port and that the server is running";

/// Pause before a statement is sent again that has met somebody else's lock: a lock wait has its own
/// length, a deadlock has none.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Waits a moment when `failure` is somebody else's lock.
///
/// # Errors
/// Any other failure.
pub async fn wait_for_lock(failure: Failure) -> Result<(), Failure> {
    if failure.code != Code::SourceLocked {
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
            Failure::new(Code::SourceConnection, format!("cannot {doing}"))
        }
        Error::Tls(_) if !established => Failure::new(Code::SourceTls, format!("cannot {doing}: no TLS connection")).remedy("if the server's certificate is not trusted, name the authority that signed it in \
             source.ca_file (PEM), or, for a test server only, set source.trust_server_certificate = \
             true; if the server has no TLS, set source.encrypt"),
        // The driver's decoder lost its place: the connection is of no more use, a new one may be.
        // (No value is decoded by the driver that could be at fault itself.)
        Error::Tls(_) | Error::Protocol(_) => {
            Failure::new(Code::SourceConnection, format!("cannot {doing}"))
        }
        _ => Failure::new(Code::SourceDriver, format!("cannot {doing}: the driver cannot read the server's answer")).remedy("report this with the server's version"),
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
        Code::SourceLogin | Code::SourceLoginRefused | Code::SourceDatabase => judged,
        _ => {
            let (number, text) = (token.code(), token.message());
            Failure::new(Code::SourceUnavailable, format!("cannot {doing}: error {number}: {text}"))
        }
    }
}

/// A login that one server after the other sends on.
pub fn sent_in_circles(address: &str, times: usize) -> Failure {
    let message = format!("the login to {address} was sent on more than {times} times");
    Failure::new(Code::SourceUnavailable, message)
}

/// A TCP connection that could not be made.
pub fn unreachable(error: std::io::Error, address: &str) -> Failure {
    let message = format!("cannot connect to {address} ({CHECK_ADDRESS})");
    Failure::new(Code::SourceUnreachable, message).with_source(error)
}

/// A TCP connection that was not made in time.
pub fn timed_out(address: &str, after: Duration) -> Failure {
    let message =
        format!("no connection to {address} within {} s ({CHECK_ADDRESS})", after.as_secs());
    Failure::new(Code::SourceUnreachable, message)
}

fn server(number: u32, class: u8, message: String, established: bool) -> Failure {
    match number {
        // Deadlock victim, lock timeout.
        1205 | 1222 => Failure::new(Code::SourceLocked, message),
        // The log-scan session is taken, sp_repldone failed.
        22903 | 22831 | 22912 => Failure::new(Code::SourceBusy, message),
        // Out of memory, locks, worker threads or time for a grant.
        701 | 802 | 1204 | 8645 | 8651 | 10928 | 10929 | 17809 => {
            Failure::new(Code::SourceBusy, message)
        }
        // The server is shutting down, starting, failing over or moving (Azure).
        596 | 921 | 922 | 926 | 927 | 952 | 976 | 978 | 983 | 6002 | 6005 | 17142 | 40143
        | 40197 | 40501 | 40540 | 40613 | 49918 | 49919 | 49920 | 10053 | 10054 | 10060 => {
            Failure::new(Code::SourceUnavailable, message)
        }
        924 | 942 | 945 | 982 | 988 | 4221 | 17187 | 17188 | 17197 | 18401 | 18451 | 18461
        | 40544 | 40549 | 40550 | 40551 | 40552 | 40553 => {
            Failure::new(Code::SourceUnavailable, message)
        }
        4060 | 4064 | 911 if established => Failure::new(Code::SourceUnavailable, message),
        4060 | 4064 | 911 => Failure::new(Code::SourceDatabase, message)
            .remedy("check source.database, and that the login has a user in it"),
        18452 | 18456 | 18463..=18468 | 18470 | 18471 | 18486 | 18487 | 18488 if established => {
            Failure::new(Code::SourceLoginRefused, message).remedy(
                "give the login back its rights, or write its new password into \
                 source.password_file, which is read at every attempt",
            )
        }
        18452 | 18456 | 18463..=18468 | 18470 | 18471 | 18486 | 18487 | 18488 => {
            Failure::new(Code::SourceLogin, message)
                .remedy("check source.user and source.password (or source.password_file)")
        }
        229 | 230 | 262 | 297 | 300 | 916 | 22985 => Failure::new(Code::SourcePermission, message)
            .remedy(
                "GRANT SELECT on the source tables and on their change tables in schema cdc; \
             `lockstep check` names what is missing",
            ),
        207 | 208 | 313 | 2812 => Failure::new(Code::SourceMissing, message).remedy(
            "change data capture was disabled, or an instance was dropped or altered; \
             `lockstep check` says which",
        ),
        // Severity 20 and above ends the connection; the cause is in the server's log.
        _ if class >= 20 => Failure::new(Code::SourceConnection, message),
        _ => Failure::new(Code::SourceStatement, message)
            .remedy("the server refused a statement it should know: report this with its version"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_common::Disposition::{self, Halt, Retry, Wait};

    fn judge(number: u32, class: u8, established: bool) -> (&'static str, Disposition) {
        let failure = server(number, class, String::new(), established);
        assert_eq!(failure.disposition() != Retry, !failure.remedy.is_empty(), "{number}");
        (failure.code.as_str(), failure.disposition())
    }

    #[test]
    fn lock_conflicts_and_outages_are_retried() {
        for number in [1205, 1222] {
            assert_eq!(judge(number, 13, true), ("source.locked", Retry), "{number}");
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
            assert_eq!(judge(number, 16, true), ("source.missing", Halt), "{number}");
        }
        assert_eq!(judge(229, 14, true), ("source.permission", Halt));
        assert_eq!(judge(18456, 14, false), ("source.login", Halt));
        assert_eq!(judge(102, 15, true), ("source.statement", Halt));
    }

    #[test]
    fn a_login_that_was_accepted_before_is_waited_for() {
        for number in [18452, 18456, 18470, 18486, 18488] {
            assert_eq!(judge(number, 14, true), ("source.login_refused", Wait), "{number}");
        }
    }

    #[test]
    fn an_unknown_database_is_a_mistake_at_first_and_an_outage_later() {
        assert_eq!(judge(4060, 11, false), ("source.database", Halt));
        assert_eq!(judge(4060, 11, true), ("source.unavailable", Retry));
    }
}
