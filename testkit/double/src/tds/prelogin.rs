//! PRELOGIN ([MS-TDS] 2.2.6.5): the table of options, and what encryption comes of it.

use super::Encryption;
use super::reader::{Malformed, Reader};
use crate::product::Release;

const VERSION: u8 = 0x00;
const ENCRYPTION: u8 = 0x01;
const INSTANCE: u8 = 0x02;
const THREAD_ID: u8 = 0x03;
const MARS: u8 = 0x04;
const FEDERATED_AUTHENTICATION: u8 = 0x06;
const TERMINATOR: u8 = 0xFF;

const ENCRYPT_OFF: u8 = 0x00;
const ENCRYPT_ON: u8 = 0x01;
const ENCRYPT_NOT_SUPPORTED: u8 = 0x02;
const ENCRYPT_REQUIRED: u8 = 0x03;

/// What the client said.
#[derive(Debug)]
pub(super) struct PreLogin {
    encryption: u8,
    asks_federated: bool,
}

/// What of the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    Nothing,
    /// Only the LOGIN7 message.
    Login,
    Everything,
    /// The two sides cannot agree; the client is answered and the connection ends.
    Impossible,
}

impl PreLogin {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        const WHAT: &str = "PRELOGIN";
        let mut table = Reader::new(payload, WHAT);
        let mut parsed = PreLogin { encryption: ENCRYPT_NOT_SUPPORTED, asks_federated: false };
        loop {
            let token = table.u8()?;
            if token == TERMINATOR {
                return Ok(parsed);
            }
            let offset = usize::from(u16::from_be_bytes(table.array()?));
            let length = usize::from(u16::from_be_bytes(table.array()?));
            let data = payload.get(offset..offset + length).ok_or(Malformed(WHAT))?;
            match token {
                ENCRYPTION => parsed.encryption = *data.first().ok_or(Malformed(WHAT))?,
                FEDERATED_AUTHENTICATION => parsed.asks_federated = data.first() == Some(&1),
                _ => {}
            }
        }
    }

    /// The server's ENCRYPTION byte, and what follows from both, as in the table of 2.2.6.5.
    fn negotiate(&self, server: Encryption) -> (u8, Protection) {
        let wanted = self.encryption & 0x03;
        match (server, wanted) {
            (Encryption::NotSupported, ENCRYPT_OFF | ENCRYPT_NOT_SUPPORTED) => {
                (ENCRYPT_NOT_SUPPORTED, Protection::Nothing)
            }
            (Encryption::NotSupported, _) => (ENCRYPT_NOT_SUPPORTED, Protection::Impossible),
            (Encryption::Supported, ENCRYPT_OFF) => (ENCRYPT_OFF, Protection::Login),
            (Encryption::Supported, ENCRYPT_NOT_SUPPORTED) => {
                (ENCRYPT_NOT_SUPPORTED, Protection::Nothing)
            }
            (Encryption::Required, ENCRYPT_NOT_SUPPORTED) => {
                (ENCRYPT_REQUIRED, Protection::Impossible)
            }
            (Encryption::Required, ENCRYPT_OFF) => (ENCRYPT_REQUIRED, Protection::Everything),
            (_, _) => (ENCRYPT_ON, Protection::Everything),
        }
    }

    /// The answer's payload, and the protection agreed on.
    pub(super) fn answer(&self, server: Encryption, release: Release) -> (Vec<u8>, Protection) {
        let (encryption, protection) = self.negotiate(server);
        let (major, minor, build) = release.version();
        let [build_high, build_low] = build.to_be_bytes();
        let version = [major, minor, build_high, build_low, 0, 0];
        let mut options: Vec<(u8, &[u8])> = vec![
            (VERSION, &version),
            (ENCRYPTION, std::slice::from_ref(&encryption)),
            (INSTANCE, &[0]),
            (THREAD_ID, &[]),
            (MARS, &[0]),
        ];
        if self.asks_federated {
            options.push((FEDERATED_AUTHENTICATION, &[0]));
        }
        (encode(&options), protection)
    }
}

fn encode(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut data = Vec::new();
    let table_length = options.len() * 5 + 1;
    for (token, value) in options {
        let place = |n: usize| u16::try_from(n).expect("a few dozen bytes").to_be_bytes();
        table.push(*token);
        table.extend_from_slice(&place(table_length + data.len()));
        table.extend_from_slice(&place(value.len()));
        data.extend_from_slice(value);
    }
    table.push(TERMINATOR);
    table.extend_from_slice(&data);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(encryption: u8) -> PreLogin {
        PreLogin::parse(&encode(&[(VERSION, &[0; 6]), (ENCRYPTION, &[encryption])]))
            .expect("well-formed")
    }

    #[test]
    fn encryption_follows_the_table_of_the_specification() {
        use Encryption::{NotSupported, Required, Supported};
        use Protection::{Everything, Impossible, Login, Nothing};
        let table = [
            (NotSupported, ENCRYPT_OFF, ENCRYPT_NOT_SUPPORTED, Nothing),
            (NotSupported, ENCRYPT_ON, ENCRYPT_NOT_SUPPORTED, Impossible),
            (NotSupported, ENCRYPT_NOT_SUPPORTED, ENCRYPT_NOT_SUPPORTED, Nothing),
            (Supported, ENCRYPT_OFF, ENCRYPT_OFF, Login),
            (Supported, ENCRYPT_ON, ENCRYPT_ON, Everything),
            (Supported, ENCRYPT_NOT_SUPPORTED, ENCRYPT_NOT_SUPPORTED, Nothing),
            (Required, ENCRYPT_OFF, ENCRYPT_REQUIRED, Everything),
            (Required, ENCRYPT_ON, ENCRYPT_ON, Everything),
            (Required, ENCRYPT_NOT_SUPPORTED, ENCRYPT_REQUIRED, Impossible),
        ];
        for (server, wanted, answer, protection) in table {
            assert_eq!(
                client(wanted).negotiate(server),
                (answer, protection),
                "{server:?} against {wanted}"
            );
        }
    }

    #[test]
    fn the_answer_parses_as_a_prelogin_of_its_own() {
        let (answer, _) = client(ENCRYPT_ON).answer(Encryption::Supported, Release::default());
        assert_eq!(PreLogin::parse(&answer).expect("parses").encryption, ENCRYPT_ON);
    }

    #[test]
    fn a_truncated_table_is_malformed() {
        let (answer, _) = client(ENCRYPT_ON).answer(Encryption::Supported, Release::default());
        for cut in 0..25 {
            assert!(PreLogin::parse(&answer[..cut]).is_err(), "cut at {cut}");
        }
    }
}
