//! Text from its bytes, in the encodings that are decoded here.

use std::borrow::Cow;

use lockstep_common::Value;

fn string(text: String) -> Value<'static> {
    Value::String(Cow::Owned(text))
}

/// UTF-16 as text where it is valid, as its bytes where it is not.
pub fn utf16(mut bytes: Vec<u8>) -> Result<Value<'static>, &'static str> {
    if !bytes.len().is_multiple_of(2) {
        return Err("UTF-16 with an odd number of bytes");
    }
    // Most text is ASCII, and that is found out many characters at a time. It becomes text where it
    // stands.
    if bytes.chunks_exact(2).all(|pair| pair[0] < 0x80 && pair[1] == 0) {
        let length = bytes.len() / 2;
        for i in 0..length {
            bytes[i] = bytes[2 * i];
        }
        bytes.truncate(length);
        return String::from_utf8(bytes).map(string).map_err(|_| "ASCII that is not ASCII");
    }
    let mut text = String::with_capacity(bytes.len() / 2);
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => text.push(character),
            Err(_) => return Ok(Value::Utf16(Cow::Owned(bytes))),
        }
    }
    Ok(string(text))
}

/// UTF-8.
pub fn utf8(bytes: Vec<u8>) -> Result<Value<'static>, &'static str> {
    String::from_utf8(bytes).map(string).map_err(|_| "bytes that are not UTF-8")
}

/// What code page 1252 has at 0x80 to 0x9F; the rest is Latin-1. The five bytes that it leaves
/// undefined are the C1 controls of their number, as Windows and SQL Server convert them.
const CP1252_HIGH: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Code page 1252.
pub fn cp1252(bytes: Vec<u8>) -> Value<'static> {
    string(match String::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => text,
        Ok(text) => cp1252_slow(text.as_bytes()),
        Err(error) => cp1252_slow(error.as_bytes()),
    })
}

fn cp1252_slow(bytes: &[u8]) -> String {
    let decode = |byte: &u8| match byte {
        0x80..=0x9f => CP1252_HIGH[usize::from(byte - 0x80)],
        _ => char::from(*byte),
    };
    bytes.iter().map(decode).collect()
}
