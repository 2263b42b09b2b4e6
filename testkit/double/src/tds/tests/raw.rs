//! What no driver at hand sends, sent byte by byte.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::tds::encode::{put_type_info, put_units};
use crate::tds::packet::{Framer, HEADER, PacketType, read_message};

/// A client that speaks TDS without a driver.
struct RawClient(TcpStream);

impl RawClient {
    async fn connect(double: &Wire) -> RawClient {
        let mut client = RawClient(TcpStream::connect(double.addr()).await.expect("listens"));
        client.send(PacketType::PreLogin, &[1, 0, 6, 0, 1, 0xFF, 2]).await;
        client.receive().await;
        client.send(PacketType::Login, &login()).await;
        assert_eq!(last_done(&client.receive().await).0, 0);
        client
    }

    async fn send(&mut self, kind: PacketType, payload: &[u8]) {
        self.send_with(kind, payload, 0).await;
    }

    /// Sends a message whose first packet has the `status` bits.
    async fn send_with(&mut self, kind: PacketType, payload: &[u8], status: u8) {
        let mut packets = Vec::new();
        Framer::new(kind, 4096, 0).frame_last(payload, &mut packets);
        packets[1] |= status;
        self.0.write_all(&packets).await.expect("sent");
    }

    async fn receive(&mut self) -> Vec<u8> {
        read_message(&mut self.0).await.expect("reads").expect("a message").payload
    }
}

fn utf16(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_units(&mut out, &text.encode_utf16().collect::<Vec<u16>>());
    out
}

fn login() -> Vec<u8> {
    let mut fixed = vec![0; 94];
    fixed[4..8].copy_from_slice(&0x7400_0004u32.to_le_bytes());
    let password: Vec<u8> = utf16(PASSWORD).iter().map(|b| b.rotate_left(4) ^ 0xA5).collect();
    for (entry, bytes) in [(40, utf16("sa")), (44, password)] {
        let place = (fixed.len() as u16).to_le_bytes();
        fixed[entry..entry + 2].copy_from_slice(&place);
        fixed[entry + 2..entry + 4].copy_from_slice(&(bytes.len() as u16 / 2).to_le_bytes());
        fixed.extend_from_slice(&bytes);
    }
    fixed
}

fn with_headers(body: &[u8]) -> Vec<u8> {
    [&4u32.to_le_bytes(), body].concat()
}

fn batch(text: &str) -> Vec<u8> {
    with_headers(&utf16(text))
}

/// Status and row count of the token a response ends with.
fn last_done(payload: &[u8]) -> (u16, u64) {
    let done = &payload[payload.len() - 13..];
    assert!((0xFD..=0xFF).contains(&done[0]), "a DONE token, not {:02X}", done[0]);
    let status = u16::from_le_bytes([done[1], done[2]]);
    (status, u64::from_le_bytes(done[5..].try_into().expect("eight bytes")))
}

/// The acknowledgement of an attention, as seen of SQL Server.
fn acknowledgement() -> Vec<u8> {
    vec![0xFD, 0x20, 0, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

#[tokio::test]
async fn an_attention_after_the_response_is_acknowledged_on_its_own() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    client.send(PacketType::Batch, &batch("count 1")).await;
    assert_eq!(last_done(&client.receive().await), (0x10, 1));
    for _ in 0..3 {
        client.send(PacketType::Attention, &[]).await;
        assert_eq!(client.receive().await, acknowledgement());
    }
    client.send(PacketType::Batch, &batch("count 2")).await;
    assert_eq!(last_done(&client.receive().await), (0x10, 2));
}

#[tokio::test]
async fn an_attention_that_races_the_response_is_acknowledged_exactly_once() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    for rows in 0..300 {
        let text = format!("count {rows}");
        client.send(PacketType::Batch, &batch(&text)).await;
        client.send(PacketType::Attention, &[]).await;
        let end = last_done(&client.receive().await);
        assert!(end == (0x10, rows) || end == (0x02, 0), "{end:?}");
        assert_eq!(client.receive().await, acknowledgement());
        client.send(PacketType::Batch, &batch("count 7")).await;
        assert_eq!(last_done(&client.receive().await), (0x10, 7), "nothing is left over");
    }
}

#[tokio::test]
async fn an_attention_stops_an_endless_result_and_the_connection_goes_on() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    for _ in 0..20 {
        client.send(PacketType::Batch, &batch("endless")).await;
        client.send(PacketType::Attention, &[]).await;
        assert_eq!(last_done(&client.receive().await), (0x02, 0));
        assert_eq!(client.receive().await, acknowledgement());
    }
}

#[tokio::test]
async fn a_request_that_waits_or_sleeps_in_the_engine_hears_the_attention() {
    let (double, script) = start().await;
    let mut client = RawClient::connect(&double).await;
    for text in ["wait", "block", "wait", "block"] {
        client.send(PacketType::Batch, &batch(text)).await;
        script.waiting.notified().await;
        client.send(PacketType::Attention, &[]).await;
        assert_eq!(last_done(&client.receive().await), (0x02, 0));
        assert_eq!(client.receive().await, acknowledgement());
        script.cancelled.notified().await;
    }
}

#[tokio::test]
async fn a_request_given_up_while_sent_does_not_run() {
    let (double, script) = start().await;
    let mut client = RawClient::connect(&double).await;
    client.send_with(PacketType::Batch, &batch("count 1"), 0x02).await;
    assert_eq!(last_done(&client.receive().await).0, 0x02);
    assert!(script.seen.lock().expect("not poisoned").is_empty());
}

#[tokio::test]
async fn a_reset_is_done_before_the_request_and_acknowledged() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    for (resets, status) in [(1u32, 0x08), (2, 0x10), (2, 0)] {
        client.send_with(PacketType::Batch, &batch("resets"), status).await;
        let answer = client.receive().await;
        let acknowledged = answer.starts_with(&[0xE3, 3, 0, 18, 0, 0]);
        assert_eq!(acknowledged, status != 0);
        let row = [&[0xD1][..], &resets.to_le_bytes()].concat();
        assert!(answer.windows(5).any(|window| window == row), "{resets}");
    }
}

/// An argument of an RPC.
fn argument(name: &str, flags: u8, ty: &SqlType, value: &[u8]) -> Vec<u8> {
    let mut out = vec![name.encode_utf16().count() as u8];
    out.extend_from_slice(&utf16(name));
    out.push(flags);
    put_type_info(&mut out, ty, true, Default::default());
    out.extend_from_slice(value);
    out
}

fn text_argument(text: &str) -> Vec<u8> {
    let bytes = utf16(text);
    let value = [&(bytes.len() as u16).to_le_bytes(), &bytes[..]].concat();
    argument("", 0, &SqlType::NVarChar(Some(4000)), &value)
}

fn int_argument(name: &str, flags: u8, value: Option<i32>) -> Vec<u8> {
    let value = value.map_or(vec![0], |v| [&[4][..], &v.to_le_bytes()].concat());
    argument(name, flags, &SqlType::Int, &value)
}

fn numbered(id: u16, arguments: &[Vec<u8>]) -> Vec<u8> {
    let head = [0xFF, 0xFF, id as u8, (id >> 8) as u8, 0, 0];
    [&head[..], &arguments.concat()].concat()
}

/// The int a RETURNVALUE of `name` carries.
fn returned(payload: &[u8], name: &str) -> Option<i32> {
    let units = utf16(name);
    let head = [&[name.len() as u8][..], &units, &[1, 0, 0, 0, 0, 0, 0, 0x26, 4, 4]].concat();
    let at = payload.windows(head.len()).position(|window| window == head)? + head.len();
    Some(i32::from_le_bytes(payload[at..at + 4].try_into().expect("four bytes")))
}

/// Whether the response has an error of this number.
fn has_error(payload: &[u8], number: i32) -> bool {
    let number = number.to_le_bytes();
    payload.windows(7).any(|window| window[0] == 0xAA && window[3..] == number)
}

async fn call(client: &mut RawClient, calls: &[Vec<u8>]) -> Vec<u8> {
    let body = calls.join(&0xFF);
    client.send(PacketType::Rpc, &with_headers(&body)).await;
    client.receive().await
}

const PREPARE: u16 = 11;
const EXECUTE: u16 = 12;
const PREPARE_AND_EXECUTE: u16 = 13;
const UNPREPARE: u16 = 15;
const BY_REFERENCE: u8 = 1;

#[tokio::test]
async fn prepared_statements_live_until_unprepared() {
    let (double, script) = start().await;
    let mut client = RawClient::connect(&double).await;
    let prepare = numbered(
        PREPARE,
        &[
            int_argument("@handle", BY_REFERENCE, None),
            text_argument("@a int, @b int OUTPUT"),
            text_argument("the statement"),
        ],
    );
    let handle = returned(&call(&mut client, &[prepare]).await, "@handle").expect("a handle");
    let execute = |handle, a, b| {
        numbered(
            EXECUTE,
            &[
                int_argument("", 0, Some(handle)),
                int_argument("", 0, Some(a)),
                int_argument("@b", BY_REFERENCE, Some(b)),
            ],
        )
    };
    for (a, b) in [(1, 2), (3, 4)] {
        let answer = call(&mut client, &[execute(handle, a, b)]).await;
        assert_eq!(returned(&answer, "@b"), Some(b));
        let seen = script.seen.lock().expect("not poisoned").pop();
        let param = |name: &str, value, output| Param {
            name: name.into(),
            ty: SqlType::Int,
            value: Value::Int(value),
            output,
        };
        assert_eq!(
            seen,
            Some(Request::Statement {
                sql: "the statement".into(),
                params: vec![param("@a", a, false), param("@b", b, true)],
            })
        );
    }
    let unprepare = numbered(UNPREPARE, &[int_argument("", 0, Some(handle))]);
    assert_eq!(last_done(&call(&mut client, &[unprepare]).await).0, 0);
    assert!(has_error(&call(&mut client, &[execute(handle, 1, 2)]).await, 8179));
}

#[tokio::test]
async fn several_calls_in_a_message_are_answered_in_one() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    let prepare_and_execute = numbered(
        PREPARE_AND_EXECUTE,
        &[
            int_argument("@h", BY_REFERENCE, None),
            text_argument("@a int"),
            text_argument("s"),
            int_argument("@a", 0, Some(11)),
        ],
    );
    let unknown = numbered(EXECUTE, &[int_argument("", 0, Some(77))]);
    let execute = numbered(EXECUTE, &[int_argument("", 0, Some(1)), int_argument("", 0, Some(22))]);
    let answer = call(&mut client, &[prepare_and_execute, unknown, execute]).await;
    assert_eq!(returned(&answer, "@h"), Some(1));
    assert!(has_error(&answer, 8179));
    for value in [11u8, 22] {
        assert!(answer.windows(6).any(|window| window == [0xD1, 4, value, 0, 0, 0]));
    }
    let ends = answer.windows(3).filter(|window| window[0] == 0xFE && window[2] == 0);
    assert!(ends.count() >= 3, "a DONEPROC for each call");
    assert_eq!(last_done(&answer), (0, 0));
}

#[tokio::test]
async fn exec_in_a_batch_ends_like_a_call() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    client.send(PacketType::Batch, &batch("call 0")).await;
    let answer = client.receive().await;
    let tail = &answer[answer.len() - (13 + 5 + 13 + 13)..];
    // The statement inside, the status, the procedure, and the batch's next statement.
    assert_eq!(tail[0], 0xFF, "DONEINPROC");
    assert_eq!(tail[1], 0x11, "MORE, COUNT");
    assert_eq!(&tail[13..18], &[0x79, 7, 0, 0, 0], "RETURNSTATUS");
    assert_eq!(tail[18], 0xFE, "DONEPROC");
    assert_eq!(tail[31], 0xFD, "DONE");
    assert_eq!(last_done(&answer), (0, 0));
}

#[tokio::test]
async fn calls_that_do_not_fit_are_refused_with_the_servers_numbers() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    let sql = |list: &str, values: &[Vec<u8>]| {
        numbered(10, &[&[text_argument("s"), text_argument(list)], values].concat())
    };
    let nan = argument("@a", 0, &SqlType::Float, &[&[8][..], &f64::NAN.to_le_bytes()].concat());
    for (call_bytes, number) in [
        (sql("@a int", &[]), 8178),
        (sql("@a int", &[int_argument("@b", 0, Some(1))]), 8145),
        (sql("@a int", &[int_argument("", 0, None), int_argument("", 0, None)]), 8144),
        (sql("@a nosuchtype", &[]), 2715),
        (sql("@a float", &[nan]), 8023),
        (numbered(1, &[]), 16937),
        (numbered(2, &[]), 201),
        (numbered(99, &[]), 2812),
    ] {
        let answer = call(&mut client, &[call_bytes]).await;
        assert!(has_error(&answer, number), "{number}");
        assert_eq!(last_done(&answer).0 & 0x02, 0x02, "{number}");
    }
    client.send(PacketType::Batch, &batch("count 1")).await;
    assert_eq!(last_done(&client.receive().await), (0x10, 1));
}

#[tokio::test]
async fn values_in_chunks_of_unknown_length_are_read() {
    let (double, script) = start().await;
    let mut client = RawClient::connect(&double).await;
    let mut value = (u64::MAX - 1).to_le_bytes().to_vec();
    for chunk in [&b"a\0b"[..], b"\0", b"c\0"] {
        value.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        value.extend_from_slice(chunk);
    }
    value.extend_from_slice(&[0; 4]);
    let argument = argument("@a", 0, &SqlType::NVarChar(None), &value);
    let statement =
        numbered(10, &[text_argument("s"), text_argument("@a nvarchar(max)"), argument]);
    assert_eq!(last_done(&call(&mut client, &[statement]).await).0, 0);
    let seen = script.seen.lock().expect("not poisoned").pop();
    let abc: Vec<u16> = "abc".encode_utf16().collect();
    assert!(matches!(seen, Some(Request::Statement { params, .. })
        if params[0].value == Value::NString(abc.into())));
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_ends_the_connection() {
    let (double, _) = start().await;
    let truncated = &numbered(10, &[text_argument("s")])[..19];
    for (kind, payload) in [
        (PacketType::Rpc, with_headers(truncated)),
        (PacketType::Batch, vec![200, 0, 0, 0]),
        (PacketType::Transaction, with_headers(&[5])),
        (PacketType::BulkLoad, vec![]),
    ] {
        let mut client = RawClient::connect(&double).await;
        client.send(kind, &payload).await;
        assert!(has_error(&client.receive().await, 4002), "{kind:?}");
        assert!(read_message(&mut client.0).await.expect("closed").is_none());
    }
}

#[tokio::test]
async fn an_idle_connection_closes_when_it_is_dropped() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    double.faults().drop_connections();
    assert!(read_message(&mut client.0).await.expect("closed").is_none());
}

#[tokio::test]
async fn packets_of_a_response_are_numbered_and_full() {
    let (double, _) = start().await;
    let mut client = RawClient::connect(&double).await;
    client.send(PacketType::Batch, &batch("count 20000")).await;
    let mut stream = Vec::new();
    while stream.len() < HEADER || !ends(&stream) {
        let mut piece = [0; 8192];
        let read = tokio::io::AsyncReadExt::read(&mut client.0, &mut piece).await.expect("reads");
        assert_ne!(read, 0);
        stream.extend_from_slice(&piece[..read]);
    }
    let packets = split(&stream);
    assert!(packets.len() > 20);
    for (i, packet) in packets.iter().enumerate() {
        let last = i + 1 == packets.len();
        assert_eq!((packet[0], packet[1]), (0x04, u8::from(last)));
        assert_eq!(packet[6], (i as u8).wrapping_add(1), "packet id");
        assert!(last || packet.len() == 4096);
    }
}

fn split(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while stream.len() >= HEADER {
        let length = usize::from(u16::from_be_bytes([stream[2], stream[3]]));
        if length > stream.len() {
            break;
        }
        let (packet, rest) = stream.split_at(length);
        packets.push(packet);
        stream = rest;
    }
    packets
}

fn ends(stream: &[u8]) -> bool {
    split(stream).last().is_some_and(|packet| packet[1] == 1)
}
