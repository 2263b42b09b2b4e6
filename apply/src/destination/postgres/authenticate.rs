//! Startup and authentication.
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>
//!
//! Passwords are answered here and nowhere else, the driver's connections included: what may be said
//! over which line is the argument of `tls`.

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;

use super::connect::Login;
use super::error::ServerError;
use super::socket::{HandshakeError, next};
use super::tls::Line;

/// An exchange by SCRAM.
struct Scram {
    client: ScramSha256,
    /// The server has proved that it knows the password.
    proved: bool,
}

/// Logs in, up to the first ReadyForQuery; gives the server process's number.
pub(super) async fn log_in(
    login: &Login,
    parameters: &[(&str, &str)],
    line: &mut Line,
) -> Result<i32, HandshakeError> {
    let password = login.password()?;
    let password = password.expose().as_bytes();
    let user = login.config.user.as_str();
    let mut out = BytesMut::new();
    let identity = [("user", user), ("database", login.config.database.as_str())];
    frontend::startup_message(identity.iter().chain(parameters).copied(), &mut out)?;
    line.stream.write_all(&out).await?;
    let mut input = BytesMut::new();
    let mut scram: Option<Scram> = None;
    let mut backend_pid = 0;
    loop {
        out.clear();
        match next(&mut line.stream, &mut input).await? {
            Message::ParameterStatus(_) | Message::NoticeResponse(_) => {}
            Message::AuthenticationOk => {
                if scram.as_ref().is_some_and(|scram| !scram.proved) {
                    return Err(unexpected());
                }
            }
            Message::AuthenticationCleartextPassword => {
                told(line, "in the clear")?;
                frontend::password_message(password, &mut out)?;
            }
            Message::AuthenticationMd5Password(body) => {
                told(line, "as MD5")?;
                let hash = md5_hash(user.as_bytes(), password, body.salt());
                frontend::password_message(hash.as_bytes(), &mut out)?;
            }
            Message::AuthenticationSasl(body) => {
                let (mechanism, binding) = mechanism(&body, line)?;
                let client = ScramSha256::new(password, binding);
                frontend::sasl_initial_response(mechanism, client.message(), &mut out)?;
                scram = Some(Scram { client, proved: false });
            }
            Message::AuthenticationSaslContinue(body) => {
                let Scram { client, .. } = scram.as_mut().ok_or_else(unexpected)?;
                client.update(body.data()).map_err(garbled)?;
                frontend::sasl_response(client.message(), &mut out)?;
            }
            Message::AuthenticationSaslFinal(body) => {
                let scram = scram.as_mut().ok_or_else(unexpected)?;
                scram.client.finish(body.data()).map_err(garbled)?;
                scram.proved = true;
            }
            Message::BackendKeyData(body) => backend_pid = body.process_id(),
            Message::ReadyForQuery(_) => return Ok(backend_pid),
            Message::ErrorResponse(body) => {
                return Err(HandshakeError::Server(Box::new(ServerError::from_response(&body))));
            }
            _ => {
                return Err(HandshakeError::Refused(
                    "the server asks for an authentication method that is not supported".into(),
                ));
            }
        }
        if !out.is_empty() {
            line.stream.write_all(&out).await?;
        }
    }
}

/// Whether the password may be told to whoever is at the other end.
fn told(line: &Line, how: &str) -> Result<(), HandshakeError> {
    if line.verified {
        return Ok(());
    }
    Err(HandshakeError::Refused(format!(
        "the server asks for the password {how}, over a connection on which it is not certain who asks"
    )))
}

/// SCRAM with the certificate bound in, where both sides can.
fn mechanism(
    body: &AuthenticationSaslBody,
    line: &Line,
) -> Result<(&'static str, ChannelBinding), HandshakeError> {
    let (mut plain, mut plus) = (false, false);
    let mut offered = body.mechanisms();
    while let Some(mechanism) = offered.next()? {
        plain |= mechanism == SCRAM_SHA_256;
        plus |= mechanism == SCRAM_SHA_256_PLUS;
    }
    match &line.end_point {
        Some(end_point) if plus => {
            Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(end_point.clone())))
        }
        // The server learns that we could have: whoever has taken its offer away is found out.
        Some(_) if plain => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
        None if plain => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
        _ => Err(HandshakeError::Refused("no known SASL mechanism offered".into())),
    }
}

fn unexpected() -> HandshakeError {
    HandshakeError::Refused("the server's authentication messages are out of order".into())
}

/// A proof that does not hold, or a message that is none: not the server that knows the password.
fn garbled(error: io::Error) -> HandshakeError {
    HandshakeError::Refused(format!(
        "the server does not prove that it knows the password: {error}"
    ))
}
