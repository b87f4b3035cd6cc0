//! The WebSocket decoder against tungstenite's: the same client bytes, in whatever pieces, give the same messages, or an error in
//! both. Known differences, which the generator avoids or the comparison allows: tungstenite answers a close frame with an
//! illegal code instead of failing, stops at the first close frame, and counts no fragments.

use std::io::{self, Read, Write};

use nself_realtime::engine::websocket::{Decoder, Item, Limits};
use proptest::prelude::*;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

const LIMITS: Limits = Limits {
    message_bytes: 400,
    fragments: 1_000,
    // tungstenite does not speak it.
    may_compress: false,
};

/// What both decoders are reduced to.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// What came, and whether it ended in an error.
type Outcome = (Vec<Seen>, bool);

fn ours(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for mut piece in pieces(bytes, cuts) {
        let mut rest = piece.as_mut_slice();
        while !rest.is_empty() {
            let Ok((len, item)) = decoder.next(rest, LIMITS) else {
                return (seen, true);
            };
            rest = &mut rest[len..];
            let Some(item) = item else { continue };
            let is_close = matches!(item, Item::Close(_));
            seen.push(match item {
                Item::Text(text) => Seen::Text(text),
                Item::Binary(data) => Seen::Binary(data),
                Item::Ping(data) => Seen::Ping(data),
                Item::Pong => Seen::Pong,
                Item::Close(_) => Seen::Close,
            });
            if is_close {
                return (seen, false);
            }
        }
    }
    (seen, false)
}

fn theirs(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let peer = Peer {
        pieces: pieces(bytes, cuts),
    };
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMITS.message_bytes))
        .max_frame_size(Some(LIMITS.message_bytes));
    let mut socket = WebSocket::from_raw_socket(peer, Role::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.to_string())),
            Ok(Message::Binary(data)) => seen.push(Seen::Binary(data.to_vec())),
            Ok(Message::Ping(data)) => seen.push(Seen::Ping(data.to_vec())),
            Ok(Message::Pong(_)) => seen.push(Seen::Pong),
            Ok(Message::Close(_)) => {
                seen.push(Seen::Close);
                return (seen, false);
            }
            Ok(Message::Frame(_)) => unreachable!("read gives no raw frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (seen, false);
            }
            Err(_) => return (seen, true),
        }
    }
}

fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle().take(bytes.len()) {
        let (piece, tail) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = tail;
    }
    pieces.push(rest.to_vec());
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// A client whose bytes come piece by piece, and then no more.
struct Peer {
    pieces: Vec<Vec<u8>>,
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.first_mut() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let len = piece.len().min(buf.len());
        buf[..len].copy_from_slice(&piece[..len]);
        piece.drain(..len);
        if piece.is_empty() {
            self.pieces.remove(0);
        }
        Ok(len)
    }
}

impl Write for Peer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn encode(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    if payload.len() < 126 {
        bytes.push(mask_bit | payload.len() as u8);
    } else {
        bytes.push(mask_bit | 126);
        bytes.extend((payload.len() as u16).to_be_bytes());
    }
    let key = mask.unwrap_or_default();
    bytes.extend(mask.into_iter().flatten());
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Mostly legal frames, so that sequences grow long.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        6 => Just(0x0_u8), 6 => Just(0x1), 3 => Just(0x2), 2 => Just(0x9), 2 => Just(0xA), 1 => Just(0x8), 1 => 0x0..=0xF_u8,
    ];
    let payload = prop_oneof![
        6 => "[aé€😀]{0,12}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..5),
        1 => (100..300_usize).prop_map(|len| vec![b'x'; len]),
        1 => Just("€😀".as_bytes()[..5].to_vec()),
        1 => Just("€😀".as_bytes()[5..].to_vec()),
    ];
    let reserved = prop_oneof![40 => Just(0_u8), 1 => (1..8_u8).prop_map(|bits| bits << 4)];
    let mask = prop_oneof![40 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    let frame = (opcode, any::<bool>(), payload, reserved, mask);
    let frame = frame.prop_map(|(opcode, fin, payload, reserved, mask)| {
        let fin = if fin || opcode >= 0x8 { 0x80 } else { 0 };
        // Illegal close codes are one of the known differences.
        let payload = match opcode {
            0x8 if payload.len() < 2 || payload.len() > 125 => Vec::new(),
            0x8 => [&[0x03, 0xE8], &payload[2..]].concat(),
            _ => payload,
        };
        encode(fin | reserved | opcode, mask, &payload)
    });
    prop::collection::vec(frame, 0..12).prop_map(|frames| frames.concat())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..40_usize, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn frames_mean_the_same_to_tungstenite(bytes in frames(), our_cuts in cuts(), their_cuts in cuts()) {
        prop_assert_eq!(ours(&bytes, &our_cuts), theirs(&bytes, &their_cuts));
    }

    #[test]
    fn no_bytes_are_accepted_that_tungstenite_refuses(bytes in prop::collection::vec(any::<u8>(), 0..64), cuts in cuts()) {
        let (our_seen, our_error) = ours(&bytes, &cuts);
        let (their_seen, their_error) = theirs(&bytes, &cuts);
        prop_assert!(our_error || !their_error, "ours {our_seen:?}, theirs {their_seen:?}");
    }
}

/// The comparison would prove little if its sequences never got anywhere.
#[test]
fn a_long_legal_sequence_is_seen_by_both() {
    let mask = Some([1, 2, 3, 4]);
    let bytes = [
        encode(0x01, mask, "a€".as_bytes()),
        encode(0x89, mask, b"p"),
        encode(0x80, mask, b"b"),
        encode(0x82, mask, &[0xFF; 300]),
        encode(0x88, mask, &[0x03, 0xE8]),
    ]
    .concat();
    let expected = vec![
        Seen::Ping(b"p".to_vec()),
        Seen::Text("a€b".into()),
        Seen::Binary(vec![0xFF; 300]),
        Seen::Close,
    ];
    assert_eq!(theirs(&bytes, &[3]), (expected, false));
    assert_eq!(ours(&bytes, &[5]), theirs(&bytes, &[3]));
}
