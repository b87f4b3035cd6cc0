//! A client's WebSocket frames. The input is what came on the wire, after the opening handshake.

use nself_realtime::engine::websocket::{Decoder, Item, Limits, Violation};

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits {
    message_bytes: 300,
    fragments: 4,
    may_compress: true,
};
/// The same of a client that has not negotiated it.
const PLAIN: Limits = Limits {
    may_compress: false,
    ..LIMITS
};
/// Bytes of a control frame's payload, as RFC 6455 has it.
const CONTROL_BYTES: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// What was decoded, and why it went no further.
type Decoded = (Vec<Item>, Option<Violation>);

/// The pieces in which bytes come change nothing; nothing exceeds its bound; and what was read, written anew by a client
/// that masks, cuts and compresses otherwise, is read again. Who has not negotiated compression is read the same until it compresses.
pub fn hold(data: &[u8]) {
    let (items, violation) = decode(data, data.len().max(1));
    for size in super::piece_sizes(data) {
        assert_eq!(
            decode(data, size),
            (items.clone(), violation),
            "in pieces of {size} bytes"
        );
        let (plain, refused) = decode_within(data, size, PLAIN);
        assert!(items.starts_with(&plain));
        assert!(refused == violation && plain == items || refused == Some(Violation::Protocol));
    }
    items.iter().for_each(is_bounded);
    let mask = data.first_chunk().copied().unwrap_or([0x5A, 0, 0xFF, 7]);
    let whole: Vec<u8> = items.iter().flat_map(|item| frame_of(item, mask)).collect();
    assert_eq!(
        decode(&whole, whole.len().max(1)),
        (items.clone(), None),
        "one frame each"
    );
    let compressed: Vec<u8> = items.iter().flat_map(|item| compressed_frame_of(item, mask)).collect();
    assert_eq!(decode(&compressed, 11), (items.clone(), None), "compressed");
    let cut: Vec<u8> = items.iter().flat_map(|item| fragments_of(item, mask)).collect();
    let messages = items.iter().filter(|item| is_message(item)).count();
    let (found, violation) = decode(&cut, 5);
    assert_eq!(violation, None);
    // Between two fragments of each message a ping was put.
    assert_eq!(found.len(), items.len() + messages, "in two fragments each");
    let pinged = Item::Ping(b"between".to_vec());
    let found: Vec<Item> = without_one_before_each_message(found, &pinged);
    assert_eq!(found, items, "in two fragments each");
}

fn decode(data: &[u8], size: usize) -> Decoded {
    decode_within(data, size, LIMITS)
}

fn decode_within(data: &[u8], size: usize, limits: Limits) -> Decoded {
    let mut decoder = Decoder::default();
    let mut items = Vec::new();
    for piece in data.to_vec().chunks_mut(size) {
        let mut rest = piece;
        while !rest.is_empty() {
            match decoder.next(rest, limits) {
                Ok((taken, item)) => {
                    assert!(taken > 0, "something is taken, or it would never end");
                    assert!(item.is_some() || taken == rest.len(), "without an item all is taken");
                    items.extend(item);
                    rest = &mut rest[taken..];
                }
                Err(violation) => return (items, Some(violation)),
            }
        }
    }
    (items, None)
}

fn is_bounded(item: &Item) {
    match item {
        Item::Text(text) => assert!(text.len() <= LIMITS.message_bytes),
        Item::Binary(data) => assert!(data.len() <= LIMITS.message_bytes),
        Item::Ping(data) => assert!(data.len() <= CONTROL_BYTES),
        Item::Pong | Item::Close(None) => {}
        Item::Close(Some(code)) => assert!((1000..5000).contains(code) && !(1004..=1006).contains(code)),
    }
}

fn is_message(item: &Item) -> bool {
    matches!(item, Item::Text(_) | Item::Binary(_))
}

fn payload(item: &Item) -> (u8, Vec<u8>) {
    match item {
        Item::Text(text) => (TEXT, text.clone().into_bytes()),
        Item::Binary(data) => (BINARY, data.clone()),
        Item::Ping(data) => (PING, data.clone()),
        Item::Pong => (PONG, Vec::new()),
        Item::Close(code) => (CLOSE, code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec())),
    }
}

fn frame_of(item: &Item, mask: [u8; 4]) -> Vec<u8> {
    let (opcode, payload) = payload(item);
    frame(FIN | opcode, mask, &payload)
}

/// A message in one block, which is stored as it is.
fn compressed_frame_of(item: &Item, mask: [u8; 4]) -> Vec<u8> {
    if !is_message(item) {
        return frame_of(item, mask);
    }
    let (opcode, payload) = payload(item);
    let len = (payload.len() as u16).to_le_bytes();
    let block = [&[0][..], &len, &len.map(|byte| !byte), &payload, &[0]].concat();
    frame(FIN | RSV1 | opcode, mask, &block)
}

/// A message in two fragments around a ping, cut in its middle, if need be within a character.
fn fragments_of(item: &Item, mask: [u8; 4]) -> Vec<u8> {
    if !is_message(item) {
        return frame_of(item, mask);
    }
    let (opcode, payload) = payload(item);
    let (front, back) = payload.split_at(payload.len() / 2);
    let mut turned = mask;
    turned.reverse();
    [
        frame(opcode, mask, front),
        frame(FIN | PING, turned, b"between"),
        frame(FIN | CONTINUATION, turned, back),
    ]
    .concat()
}

fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len @ 0..=125) => bytes.push(0x80 | len),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

fn without_one_before_each_message(items: Vec<Item>, pinged: &Item) -> Vec<Item> {
    let mut kept: Vec<Item> = Vec::new();
    for item in items {
        if is_message(&item) {
            assert_eq!(
                kept.pop().as_ref(),
                Some(pinged),
                "the ping comes before the message's end"
            );
        }
        kept.push(item);
    }
    kept
}
