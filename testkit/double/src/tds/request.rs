//! The parts of requests that are not parameters: ALL_HEADERS, batches, transaction-manager
//! requests ([MS-TDS] 2.2.5.3, 2.2.6.7, 2.2.6.9).

use super::reader::{Malformed, Reader, units_of};
use crate::{IsolationLevel, Request, SqlError, TransactionRequest};

const BEGIN: u16 = 5;
const COMMIT: u16 = 7;
const ROLLBACK: u16 = 8;
const SAVE: u16 = 9;

/// Skips ALL_HEADERS. The transaction descriptor in it matters only where several requests share a
/// connection (MARS), which PRELOGIN declines.
pub(super) fn skip_headers<'a>(
    payload: &'a [u8],
    what: &'static str,
) -> Result<Reader<'a>, Malformed> {
    let mut reader = Reader::new(payload, what);
    let total = usize::try_from(reader.u32()?).map_err(|_| reader.malformed())?;
    reader.bytes(total.checked_sub(4).ok_or(reader.malformed())?)?;
    Ok(reader)
}

/// A SQL batch.
pub(super) fn parse_batch(payload: &[u8]) -> Result<Request, Malformed> {
    let reader = skip_headers(payload, "SQL batch")?;
    let text = reader.rest();
    if !text.len().is_multiple_of(2) {
        return Err(reader.malformed());
    }
    Ok(Request::Batch(String::from_utf16_lossy(&units_of(text))))
}

/// How the length before a name counts. The specification says characters, and some clients
/// (tiberius) do; SqlClient has always sent bytes, and servers take it.
#[derive(Clone, Copy)]
enum NameLength {
    Bytes,
    Units,
}

/// A transaction-manager request, which may ask for two things in a row: to end a transaction, and
/// to begin the next at another isolation level.
///
/// It is read with either meaning of names' lengths; the one that ends where the message ends is
/// the one that was meant.
pub(super) fn parse_transaction(
    payload: &[u8],
) -> Result<Result<Vec<TransactionRequest>, SqlError>, Malformed> {
    let mut reader = skip_headers(payload, "transaction manager request")?;
    let kind = reader.u16()?;
    if !matches!(kind, BEGIN | COMMIT | ROLLBACK | SAVE) {
        let text = format!(
            "Transaction manager request {kind} (distributed transactions) is not supported."
        );
        return Ok(Err(SqlError::new(8501, 16, 3, text)));
    }
    [NameLength::Bytes, NameLength::Units]
        .into_iter()
        .find_map(|names| read_transaction(reader, kind, names).ok())
        .map(Ok)
        .ok_or(reader.malformed())
}

fn read_transaction(
    mut reader: Reader<'_>,
    kind: u16,
    names: NameLength,
) -> Result<Vec<TransactionRequest>, Malformed> {
    let requests = match kind {
        BEGIN => {
            let level = read_level(&mut reader)?;
            let _name = read_name(&mut reader, names)?;
            vec![TransactionRequest::Begin(level)]
        }
        COMMIT => {
            let _name = read_name(&mut reader, names)?;
            let next = read_next(&mut reader, names)?;
            end_and_begin(next, |begin_again| TransactionRequest::Commit { begin_again })
        }
        ROLLBACK => {
            let savepoint = read_name(&mut reader, names)?;
            let next = read_next(&mut reader, names)?;
            end_and_begin(next, |begin_again| TransactionRequest::Rollback {
                savepoint,
                begin_again,
            })
        }
        _ => vec![TransactionRequest::Save(read_name(&mut reader, names)?)],
    };
    if reader.is_empty() { Ok(requests) } else { Err(reader.malformed()) }
}

/// Whether to begin again, and at which level.
enum Next {
    No,
    Begin(Option<IsolationLevel>),
}

fn read_next(reader: &mut Reader<'_>, names: NameLength) -> Result<Next, Malformed> {
    const BEGIN_AGAIN: u8 = 0x01;
    // Some clients leave the flags out.
    if reader.is_empty() || reader.u8()? & BEGIN_AGAIN == 0 {
        return Ok(Next::No);
    }
    let level = read_level(reader)?;
    let _name = read_name(reader, names)?;
    Ok(Next::Begin(level))
}

fn end_and_begin(
    next: Next,
    end: impl FnOnce(bool) -> TransactionRequest,
) -> Vec<TransactionRequest> {
    match next {
        Next::No => vec![end(false)],
        Next::Begin(None) => vec![end(true)],
        Next::Begin(level) => vec![end(false), TransactionRequest::Begin(level)],
    }
}

fn read_level(reader: &mut Reader<'_>) -> Result<Option<IsolationLevel>, Malformed> {
    Ok(match reader.u8()? {
        0 => None,
        1 => Some(IsolationLevel::ReadUncommitted),
        2 => Some(IsolationLevel::ReadCommitted),
        3 => Some(IsolationLevel::RepeatableRead),
        4 => Some(IsolationLevel::Serializable),
        5 => Some(IsolationLevel::Snapshot),
        _ => return Err(reader.malformed()),
    })
}

fn read_name(reader: &mut Reader<'_>, names: NameLength) -> Result<String, Malformed> {
    let length = usize::from(reader.u8()?);
    let bytes = match names {
        NameLength::Bytes => length,
        NameLength::Units => length * 2,
    };
    if !bytes.is_multiple_of(2) {
        return Err(reader.malformed());
    }
    reader.text(bytes / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_headers(body: &[u8]) -> Vec<u8> {
        // One header: transaction descriptor 0, one outstanding request.
        let headers = [22u32.to_le_bytes(), 18u32.to_le_bytes()].concat();
        [&headers[..], &[2, 0], &[0; 8], &1u32.to_le_bytes(), body].concat()
    }

    fn transaction(body: &[u8]) -> Vec<TransactionRequest> {
        parse_transaction(&with_headers(body)).expect("well-formed").expect("supported")
    }

    #[test]
    fn a_batch_is_the_text_behind_the_headers() {
        let text: Vec<u8> = "SELECT N'ß'".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(parse_batch(&with_headers(&text)), Ok(Request::Batch("SELECT N'ß'".into())));
        assert!(parse_batch(&with_headers(&text[..3])).is_err());
        assert!(parse_batch(&text[..2]).is_err());
    }

    #[test]
    fn transaction_requests_are_told_apart() {
        assert_eq!(
            transaction(&[5, 0, 5, 0]),
            [TransactionRequest::Begin(Some(IsolationLevel::Snapshot))]
        );
        assert_eq!(transaction(&[7, 0, 0, 0]), [TransactionRequest::Commit { begin_again: false }]);
        assert_eq!(
            transaction(&[7, 0, 0, 1, 0, 0]),
            [TransactionRequest::Commit { begin_again: true }]
        );
        assert_eq!(
            transaction(&[8, 0, 2, b's', 0, 1, 4, 0]),
            [
                TransactionRequest::Rollback { savepoint: "s".into(), begin_again: false },
                TransactionRequest::Begin(Some(IsolationLevel::Serializable)),
            ]
        );
        let save = [TransactionRequest::Save("p".into())];
        assert_eq!(transaction(&[9, 0, 2, b'p', 0]), save, "length in bytes");
        assert_eq!(transaction(&[9, 0, 1, b'p', 0]), save, "length in units");
    }

    #[test]
    fn distributed_transactions_are_refused() {
        let refused = parse_transaction(&with_headers(&[0, 0])).expect("well-formed");
        assert_eq!(refused.expect_err("refused").number, 8501);
    }
}
