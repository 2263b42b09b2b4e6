//! LOGIN7 ([MS-TDS] 2.2.6.4).

use super::reader::{Malformed, Reader, units_of};

/// Bytes of the fixed part: up to and with the table of offsets.
const FIXED: usize = 94;
const FEATURE_FEDERATED_AUTHENTICATION: u8 = 0x02;
const FEATURE_UTF8: u8 = 0x0A;
const FEATURE_TERMINATOR: u8 = 0xFF;

const INTEGRATED_SECURITY: u8 = 0x80;
const CHANGE_PASSWORD: u8 = 0x01;
const EXTENSION: u8 = 0x10;

/// TDS 7.3, the oldest version the double speaks: it brought the date and time types.
pub(super) const OLDEST_VERSION: u32 = 0x730A_0003;
/// TDS 7.3B, which brought NBCROW.
const NULL_BITMAP_VERSION: u32 = 0x730B_0003;
const NEWEST_VERSION: u32 = 0x7400_0004;

/// What a client logs in with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// TDS version asked for.
    pub version: u32,
    /// Packet size asked for; 0 leaves it to the server.
    pub packet_size: u32,
    pub host: String,
    pub user: String,
    pub password: String,
    pub application: String,
    /// Empty for the login's default.
    pub database: String,
    pub integrated: bool,
    pub changes_password: bool,
    pub federated: bool,
    /// Asks whether UTF-8 columns may come as they are.
    pub utf8: bool,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("version", &format_args!("{:#010x}", self.version))
            .field("packet_size", &self.packet_size)
            .field("host", &self.host)
            .field("user", &self.user)
            .field("application", &self.application)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// The version both sides will speak.
    pub(super) fn negotiated_version(&self) -> u32 {
        self.version.min(NEWEST_VERSION)
    }

    /// Whether rows may be sent with a bitmap of their NULLs.
    pub(super) fn knows_null_bitmaps(&self) -> bool {
        self.version >= NULL_BITMAP_VERSION
    }

    pub(super) fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let body = Body(payload);
        let mut fixed = Reader::new(payload.get(..FIXED).ok_or(body.malformed())?, Body::WHAT);
        let _length = fixed.u32()?;
        let version = fixed.u32()?;
        let packet_size = fixed.u32()?;
        let _client_version_process_and_connection: [u8; 12] = fixed.array()?;
        let [_flags1, flags2, _type_flags, flags3] = fixed.array()?;
        let _time_zone_and_locale: [u8; 8] = fixed.array()?;

        let host = body.text(&mut fixed)?;
        let user = body.text(&mut fixed)?;
        let password = body.password(&mut fixed)?;
        let application = body.text(&mut fixed)?;
        let _server = body.text(&mut fixed)?;
        let (extension, extension_length) = (fixed.u16()?, fixed.u16()?);
        let _library = body.text(&mut fixed)?;
        let _language = body.text(&mut fixed)?;
        let database = body.text(&mut fixed)?;

        let mut login = Login {
            version,
            packet_size,
            host,
            user,
            password,
            application,
            database,
            integrated: flags2 & INTEGRATED_SECURITY != 0,
            changes_password: flags3 & CHANGE_PASSWORD != 0,
            federated: false,
            utf8: false,
        };
        if flags3 & EXTENSION != 0 && extension_length >= 4 {
            login.features(&body, extension)?;
        }
        Ok(login)
    }

    /// Reads the feature extensions: `extension` is where their own offset stands.
    fn features(&mut self, body: &Body<'_>, extension: u16) -> Result<(), Malformed> {
        let start = body.from(usize::from(extension))?.u32()?;
        let mut features = body.from(usize::try_from(start).map_err(|_| body.malformed())?)?;
        loop {
            let feature = features.u8()?;
            if feature == FEATURE_TERMINATOR {
                return Ok(());
            }
            let length = features.u32()?;
            features.bytes(usize::try_from(length).map_err(|_| body.malformed())?)?;
            match feature {
                FEATURE_FEDERATED_AUTHENTICATION => self.federated = true,
                FEATURE_UTF8 => self.utf8 = true,
                // The server is free to leave a feature unacknowledged; the client then does
                // without it.
                _ => {}
            }
        }
    }
}

/// The whole message, into which the table of offsets points.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    const WHAT: &'static str = "LOGIN7";

    fn malformed(&self) -> Malformed {
        Malformed(Self::WHAT)
    }

    fn from(&self, offset: usize) -> Result<Reader<'a>, Malformed> {
        let rest = self.0.get(offset..).ok_or(self.malformed())?;
        Ok(Reader::new(rest, Self::WHAT))
    }

    /// Follows the next entry (offset, length in UTF-16 units) of the table.
    fn bytes(&self, table: &mut Reader<'_>) -> Result<&'a [u8], Malformed> {
        let (offset, units) = (table.u16()?, table.u16()?);
        if units == 0 {
            return Ok(&[]);
        }
        self.from(usize::from(offset))?.bytes(usize::from(units) * 2)
    }

    fn text(&self, table: &mut Reader<'_>) -> Result<String, Malformed> {
        Ok(String::from_utf16_lossy(&units_of(self.bytes(table)?)))
    }

    /// Passwords travel with each byte's halves swapped, then XORed with 0xA5.
    fn password(&self, table: &mut Reader<'_>) -> Result<String, Malformed> {
        let clear: Vec<u8> =
            self.bytes(table)?.iter().map(|byte| (byte ^ 0xA5).rotate_left(4)).collect();
        Ok(String::from_utf16_lossy(&units_of(&clear)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    /// A LOGIN7 message as [MS-TDS] 2.2.6.4 draws it.
    fn message(features: &[u8]) -> Vec<u8> {
        let mut fixed = vec![0; FIXED];
        let mut data: Vec<u8> = Vec::new();
        let password: Vec<u8> =
            utf16("Pä55wörd").iter().map(|byte| byte.rotate_left(4) ^ 0xA5).collect();
        let texts = [
            (36, utf16("client-host")),
            (40, utf16("sa")),
            (44, password),
            (48, utf16("an application")),
            (52, utf16("server")),
            (60, utf16("library")),
            (64, Vec::new()),
            (68, utf16("Sales")),
        ];
        for (entry, bytes) in texts {
            let offset = (FIXED + data.len()) as u16;
            fixed[entry..entry + 2].copy_from_slice(&offset.to_le_bytes());
            let units = (bytes.len() / 2) as u16;
            fixed[entry + 2..entry + 4].copy_from_slice(&units.to_le_bytes());
            data.extend_from_slice(&bytes);
        }
        fixed[4..8].copy_from_slice(&NEWEST_VERSION.to_le_bytes());
        fixed[8..12].copy_from_slice(&8000u32.to_le_bytes());
        if !features.is_empty() {
            fixed[27] = EXTENSION;
            let pointer = FIXED + data.len();
            fixed[56..58].copy_from_slice(&(pointer as u16).to_le_bytes());
            fixed[58..60].copy_from_slice(&4u16.to_le_bytes());
            data.extend_from_slice(&((pointer + 4) as u32).to_le_bytes());
            data.extend_from_slice(features);
        }
        fixed.extend_from_slice(&data);
        fixed
    }

    #[test]
    fn every_field_is_found_through_its_offset() {
        let login = Login::parse(&message(&[])).expect("well-formed");
        assert_eq!(login.version, NEWEST_VERSION);
        assert_eq!(login.packet_size, 8000);
        assert_eq!(login.host, "client-host");
        assert_eq!(login.user, "sa");
        assert_eq!(login.password, "Pä55wörd");
        assert_eq!(login.application, "an application");
        assert_eq!(login.database, "Sales");
        assert!(!login.utf8 && !login.federated && !login.integrated);
    }

    #[test]
    fn known_features_are_seen_among_unknown_ones() {
        let features = [0x55, 2, 0, 0, 0, 1, 2, FEATURE_UTF8, 0, 0, 0, 0, 0xFF];
        let login = Login::parse(&message(&features)).expect("well-formed");
        assert!(login.utf8);
    }

    #[test]
    fn no_truncation_of_a_login_is_taken_for_a_login() {
        let whole = message(&[FEATURE_UTF8, 0, 0, 0, 0, 0xFF]);
        for cut in 0..whole.len() {
            assert!(Login::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn passwords_stay_out_of_the_log() {
        let login = Login::parse(&message(&[])).expect("well-formed");
        assert!(!format!("{login:?}").contains("Pä55wörd"));
    }
}
