//! Tests of the decoder, frame by frame; `tests/engine_websocket.rs` compares it with tungstenite's.

use super::*;

const LIMITS: Limits = Limits {
    message_bytes: 200_000,
    fragments: 4,
};
const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Decodes bytes that come in pieces of that size, and whether the decoder is idle at the end.
fn decode_in(bytes: &[u8], piece: usize) -> (Vec<Item>, Result<bool, Violation>) {
    let mut decoder = Decoder::default();
    let mut items = Vec::new();
    for piece in bytes.to_vec().chunks_mut(piece) {
        let mut taken = 0;
        while taken < piece.len() {
            match decoder.next(&mut piece[taken..], LIMITS) {
                Ok((len, item)) => {
                    taken += len;
                    items.extend(item);
                }
                Err(violation) => return (items, Err(violation)),
            }
        }
    }
    (items, Ok(decoder.is_idle()))
}

/// The same, which must not depend on the size of the pieces.
fn decode(bytes: &[u8]) -> (Vec<Item>, Result<bool, Violation>) {
    let whole = decode_in(bytes, bytes.len().max(1));
    for piece in [1, 2, 3, 7, 1_000] {
        assert_eq!(decode_in(bytes, piece), whole, "in pieces of {piece}");
    }
    whole
}

fn violation(bytes: &[u8]) -> Violation {
    decode(bytes).1.unwrap_err()
}

#[test]
fn messages_of_every_length_arrive() {
    for len in [0, 1, 7, 8, 9, 125, 126, 127, 65_535, 65_536] {
        let text = "x".repeat(len);
        let (items, end) = decode(&frame(FIN | TEXT, text.as_bytes()));
        assert_eq!((items, end), (vec![Item::Text(text)], Ok(true)));
    }
}

#[test]
fn a_fragmented_message_is_put_together_around_control_frames() {
    let euro = "€".as_bytes();
    let bytes = [
        frame(TEXT, &euro[..1]),
        frame(FIN | PING, b"now"),
        frame(CONTINUATION, &euro[1..2]),
        frame(FIN | CONTINUATION, &euro[2..]),
        frame(FIN | BINARY, &[0xFF]),
    ];
    let (items, end) = decode(&bytes.concat());
    assert_eq!(end, Ok(true));
    let expected = [
        Item::Ping(b"now".to_vec()),
        Item::Text("€".into()),
        Item::Binary(vec![0xFF]),
    ];
    assert_eq!(items, expected);
}

#[test]
fn a_message_under_way_is_not_idle() {
    assert_eq!(decode(&frame(TEXT, b"a")), (vec![], Ok(false)));
    assert_eq!(decode(&frame(FIN | TEXT, b"abc")[..7]), (vec![], Ok(false)));
}

#[test]
fn illegal_heads_are_refused() {
    let unmasked = [FIN | TEXT, 1, b'a'];
    let reserved_bit = frame(FIN | 0x40 | TEXT, b"a");
    let reserved_opcode = frame(FIN | 0x3, b"a");
    let fragmented_control = frame(PING, b"a");
    let long_control = frame(FIN | PING, &[0; 126]);
    let loose_continuation = frame(FIN | CONTINUATION, b"a");
    let second_start = [frame(TEXT, b"a"), frame(FIN | TEXT, b"b")].concat();
    for bytes in [
        &unmasked[..],
        &reserved_bit,
        &reserved_opcode,
        &fragmented_control,
        &long_control,
        &loose_continuation,
        &second_start,
    ] {
        assert_eq!(violation(bytes), Violation::Protocol, "{:x?}", &bytes[..2]);
    }
}

#[test]
fn text_must_be_utf8_and_whole() {
    assert_eq!(violation(&frame(FIN | TEXT, &[0xFF])), Violation::InvalidUtf8);
    assert_eq!(
        violation(&frame(FIN | TEXT, &"€".as_bytes()[..2])),
        Violation::InvalidUtf8
    );
    assert_eq!(violation(&frame(TEXT, &[b'a', 0xFF])), Violation::InvalidUtf8);
    let cut = [frame(TEXT, &"€".as_bytes()[..2]), frame(FIN | CONTINUATION, b"a")];
    assert_eq!(violation(&cut.concat()), Violation::InvalidUtf8);
}

#[test]
fn bytes_and_fragments_are_bounded_before_they_are_taken() {
    let head_alone = &frame(FIN | BINARY, &vec![0; 200_001])[..14];
    assert_eq!(violation(head_alone), Violation::TooLarge);
    let huge = [
        FIN | BINARY,
        0xFF,
        0xFF,
        0xFF,
        0xFF,
        0xFF,
        0xFF,
        0xFF,
        0xFF,
        0xFF,
        0,
        0,
        0,
        0,
    ];
    assert_eq!(violation(&huge), Violation::TooLarge);
    let two_halves = [frame(BINARY, &[0; 150_000]), frame(FIN | CONTINUATION, &[0; 50_001])];
    assert_eq!(violation(&two_halves.concat()), Violation::TooLarge);
    let mut flood = frame(BINARY, b"");
    for _ in 0..4 {
        flood.extend(frame(CONTINUATION, b""));
    }
    assert_eq!(violation(&flood), Violation::TooLarge);
}

#[test]
fn the_closing_handshake_is_checked() {
    let close = |payload: &[u8]| decode(&frame(FIN | CLOSE, payload));
    assert_eq!(close(b"").0, [Item::Close(None)]);
    assert_eq!(close(&[0x03, 0xE8, b'b', b'y', b'e']).0, [Item::Close(Some(1000))]);
    assert_eq!(close(&[0x03]).1, Err(Violation::Protocol));
    assert_eq!(close(&1005_u16.to_be_bytes()).1, Err(Violation::Protocol));
    assert_eq!(close(&999_u16.to_be_bytes()).1, Err(Violation::Protocol));
    assert_eq!(close(&[0x03, 0xE8, 0xFF]).1, Err(Violation::InvalidUtf8));
}

#[test]
fn each_violation_has_its_close_code() {
    assert_eq!(Violation::Protocol.close_code(), 1002);
    assert_eq!(Violation::InvalidUtf8.close_code(), 1007);
    assert_eq!(Violation::TooLarge.close_code(), 1009);
}
