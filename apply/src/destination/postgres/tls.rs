//! How a connection is protected, and what may be said over it.
//!
//! A password in the clear, or as MD5 (whose answer is as good as the password), is told to nobody but
//! the server itself: over a local socket, or under a certificate that was verified for the host's
//! name. Everywhere else only SCRAM answers, which tells nothing and has the server prove that it knows
//! the password as well; bound to the certificate where the server offers that (RFC 5929,
//! `tls-server-end-point`), so that nobody can stand in between either.

use std::error::Error;
use std::io;
use std::path::Path;

use bytes::BytesMut;
use lockstep_common::Code;
use lockstep_common::Failure;
use lockstep_common::config::{self, TargetTls};
use native_tls::{Certificate, Identity, TlsConnector};
use openssl::pkey::PKey;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connect::Login;
use super::socket::{Duplex, HandshakeError};

/// A byte stream, and what it is good for.
pub(super) struct Line {
    pub(super) stream: Box<dyn Duplex>,
    /// Nobody but the server is at the other end.
    pub(super) verified: bool,
    /// What identifies the certificate that is there.
    pub(super) end_point: Option<Vec<u8>>,
}

/// Encrypts a connection as its configuration wants it.
pub(super) async fn secure(
    login: &Login,
    host: &str,
    mut stream: TcpStream,
) -> Result<Line, HandshakeError> {
    let verified = login.config.verifies();
    let tls = login.config.tls;
    if tls == TargetTls::Disable && !verified {
        return Ok(Line { stream: Box::new(stream), verified: false, end_point: None });
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await? {
        b'S' => {
            let connector = tokio_native_tls::TlsConnector::from(connector(&login.config)?);
            let stream = connector.connect(host, stream).await.map_err(refused)?;
            let end_point = stream.get_ref().tls_server_end_point().map_err(refused)?;
            Ok(Line { stream: Box::new(stream), verified, end_point })
        }
        b'N' if tls == TargetTls::Prefer && !verified => {
            Ok(Line { stream: Box::new(stream), verified: false, end_point: None })
        }
        b'N' => Err(HandshakeError::Refused("the server does not offer TLS".into())),
        _ => Err(HandshakeError::Refused("the server does not speak PostgreSQL's protocol".into())),
    }
}

/// From the files as they are now: certificates are renewed while apply runs.
fn connector(config: &config::Apply) -> Result<TlsConnector, Failure> {
    let mut builder = TlsConnector::builder();
    if !config.verifies() {
        builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    }
    if let Some(path) = &config.ca_file {
        let found = Certificate::stack_from_pem(&read(path, "ca_file")?);
        let found = found.map_err(|error| unusable("ca_file", &error))?;
        if found.is_empty() {
            return Err(unusable("ca_file", &"it holds no certificate"));
        }
        for certificate in found {
            builder.add_root_certificate(certificate);
        }
    }
    if let (Some(certificates), Some(key)) = (&config.cert_file, &config.key_file) {
        let certificates = read(certificates, "cert_file")?;
        let key = read(key, "key_file")?;
        // Keys of every kind that OpenSSL reads.
        let key = PKey::private_key_from_pem(&key).and_then(|key| key.private_key_to_pem_pkcs8());
        let key = key.map_err(|_| unusable("key_file", &"it holds no private key in the clear"))?;
        let identity = Identity::from_pkcs8(&certificates, &key);
        builder.identity(identity.map_err(|error| unusable("cert_file", &error))?);
    }
    builder.build().map_err(|error| unusable("cert_file", &error))
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let what = format!("cannot read {}: {error}", path.display());
        Failure::new(Code::ApplyConfig, what).remedy(format!("correct `{key}`"))
    })
}

fn unusable(key: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Code::ApplyConfig, format!("the file of `{key}` cannot be used: {why}")).remedy("let `ca_file` name certificates, `cert_file` a certificate with those that vouch for it, and \
         `key_file` its key without a passphrase, all PEM")
}

/// A connection that ended while TLS was being agreed on comes back; a certificate that nobody vouches
/// for does not.
fn refused(error: native_tls::Error) -> HandshakeError {
    let text = super::error::chain(&error);
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return HandshakeError::Io(io::Error::new(error.kind(), format!("TLS: {text}")));
        }
        cause = error.source();
    }
    if text.to_lowercase().contains("unexpected eof") {
        let what = format!("TLS: {text}");
        return HandshakeError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, what));
    }
    HandshakeError::Refused(format!("TLS: {text}"))
}
