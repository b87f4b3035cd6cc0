//! Tests of the decoder, frame by frame; `tests/engine_websocket.rs` compares it with tungstenite's.

use proptest::prelude::*;

use super::super::deflate::deflate;
use super::*;

const LIMITS: Limits = Limits {
    message_bytes: 200_000,
    fragments: 4,
    may_compress: false,
};
const COMPRESSING: Limits = Limits {
    may_compress: true,
    ..LIMITS
};
const RSV1: u8 = 0x40;
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
fn decode_in(bytes: &[u8], limits: Limits, piece: usize) -> (Vec<Item>, Result<bool, Violation>) {
    let mut decoder = Decoder::default();
    let mut items = Vec::new();
    for piece in bytes.to_vec().chunks_mut(piece) {
        let mut taken = 0;
        while taken < piece.len() {
            match decoder.next(&mut piece[taken..], limits) {
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
    decode_within(bytes, LIMITS)
}

fn decode_within(bytes: &[u8], limits: Limits) -> (Vec<Item>, Result<bool, Violation>) {
    let whole = decode_in(bytes, limits, bytes.len().max(1));
    for piece in [1, 2, 3, 7, 1_000] {
        assert_eq!(decode_in(bytes, limits, piece), whole, "in pieces of {piece}");
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
fn a_compressed_message_arrives_whole_or_in_fragments_around_control_frames() {
    let text = "room and message, message and room; ".repeat(100);
    let deflated = deflate(text.as_bytes()).unwrap();
    let (front, back) = deflated.split_at(deflated.len() / 2);
    let bytes = [
        frame(FIN | RSV1 | TEXT, &deflated),
        frame(RSV1 | TEXT, b""),
        frame(CONTINUATION, front),
        frame(FIN | PING, b"now"),
        frame(FIN | CONTINUATION, back),
        // What is not marked is not compressed, also here.
        frame(FIN | TEXT, b"plain"),
        frame(FIN | RSV1 | BINARY, &deflated),
    ];
    let expected = [
        Item::Text(text.clone()),
        Item::Ping(b"now".to_vec()),
        Item::Text(text.clone()),
        Item::Text("plain".into()),
        Item::Binary(text.into_bytes()),
    ];
    let (items, end) = decode_within(&bytes.concat(), COMPRESSING);
    assert_eq!((items.as_slice(), end), (&expected[..], Ok(true)));
}

#[test]
fn the_bit_of_compression_stands_where_a_negotiated_message_begins_and_nowhere_else() {
    let nothing = [0];
    let refused = |bytes: &[u8]| decode_within(bytes, COMPRESSING).1.unwrap_err();
    assert_eq!(
        decode_within(&frame(FIN | RSV1 | TEXT, &nothing), COMPRESSING).0,
        [Item::Text(String::new())]
    );
    assert_eq!(
        violation(&frame(FIN | RSV1 | TEXT, &nothing)),
        Violation::Protocol,
        "not negotiated"
    );
    assert_eq!(refused(&frame(FIN | RSV1 | PING, b"")), Violation::Protocol);
    assert_eq!(refused(&frame(FIN | RSV1 | CLOSE, b"")), Violation::Protocol);
    let again = [frame(RSV1 | TEXT, b""), frame(FIN | RSV1 | CONTINUATION, &nothing)].concat();
    assert_eq!(refused(&again), Violation::Protocol);
    let late = [frame(TEXT, b""), frame(FIN | RSV1 | CONTINUATION, &nothing)].concat();
    assert_eq!(refused(&late), Violation::Protocol);
    for bit in [0x20, 0x10] {
        assert_eq!(refused(&frame(FIN | RSV1 | bit | TEXT, &nothing)), Violation::Protocol);
    }
}

#[test]
fn what_is_inflated_is_bounded_whole_and_text() {
    let refused = |bytes: &[u8]| decode_within(bytes, COMPRESSING).1.unwrap_err();
    let longest = deflate(&[b'x'; LIMITS.message_bytes]).unwrap();
    let (items, _) = decode_within(&frame(FIN | RSV1 | TEXT, &longest), COMPRESSING);
    assert!(matches!(&items[..], [Item::Text(text)] if text.len() == LIMITS.message_bytes));
    let longer = deflate(&[b'x'; LIMITS.message_bytes + 1]).unwrap();
    assert_eq!(refused(&frame(FIN | RSV1 | TEXT, &longer)), Violation::TooLarge);
    let cut = [
        frame(RSV1 | TEXT, &longer[..9]),
        frame(FIN | CONTINUATION, &longer[9..]),
    ]
    .concat();
    assert_eq!(refused(&cut), Violation::TooLarge);
    assert_eq!(refused(&frame(FIN | RSV1 | TEXT, &longest[..9])), Violation::Corrupt);
    assert_eq!(refused(&frame(FIN | RSV1 | BINARY, b"")), Violation::Corrupt);
    let no_text = deflate(&[0xFF; 100]).unwrap();
    assert_eq!(refused(&frame(FIN | RSV1 | TEXT, &no_text)), Violation::InvalidUtf8);
    let cut = [
        frame(RSV1 | TEXT, &no_text[..3]),
        frame(FIN | CONTINUATION, &no_text[3..]),
    ]
    .concat();
    assert_eq!(refused(&cut), Violation::InvalidUtf8);
}

/// Incompressible bytes of the longest message come as blocks that are only stored, which takes a few bytes more.
#[test]
fn the_longest_message_may_come_stored() {
    let data: Vec<u8> = (0..LIMITS.message_bytes).map(|_| rand::random()).collect();
    let stored = |chunk: &[u8]| {
        let len = (chunk.len() as u16).to_le_bytes();
        [&[0][..], &len, &[!len[0], !len[1]], chunk].concat()
    };
    let mut deflated = data.chunks(16_383).flat_map(stored).collect::<Vec<u8>>();
    deflated.push(0);
    let (items, _) = decode_within(&frame(FIN | RSV1 | BINARY, &deflated), COMPRESSING);
    assert!(items == [Item::Binary(data)]);
    let far_longer = vec![0; LIMITS.message_bytes + LIMITS.message_bytes / 16];
    assert_eq!(
        decode_within(&frame(FIN | RSV1 | BINARY, &far_longer)[..14], COMPRESSING).1,
        Err(Violation::TooLarge),
        "before it is taken"
    );
}

proptest! {
    #[test]
    fn what_is_deflated_and_cut_anywhere_is_read_as_it_was(
        words in prop::collection::vec("[a-zé€😀]{1,6}", 30..400),
        cuts in prop::collection::vec(0..2_000_usize, 0..3),
        piece in 1..3_000_usize,
    ) {
        let text = words.join(" \"content\":") + &words.concat();
        let Some(deflated) = deflate(text.as_bytes()) else {
            return Ok(());
        };
        let mut cuts: Vec<_> = cuts.iter().map(|cut| (*cut).min(deflated.len())).collect();
        cuts.sort_unstable();
        let (mut bytes, mut begin, mut first) = (Vec::new(), 0, RSV1 | TEXT);
        for cut in cuts {
            bytes.extend(frame(first, &deflated[begin..cut]));
            bytes.extend(frame(FIN | PING, b""));
            (begin, first) = (cut, CONTINUATION);
        }
        bytes.extend(frame(FIN | first, &deflated[begin..]));
        let (mut items, end) = decode_in(&bytes, COMPRESSING, piece);
        prop_assert_eq!(items.pop(), Some(Item::Text(text)));
        prop_assert!(items.iter().all(|item| *item == Item::Ping(vec![])));
        prop_assert_eq!(end, Ok(true));
    }
}

#[test]
fn each_violation_has_its_close_code() {
    assert_eq!(Violation::Protocol.close_code(), 1002);
    assert_eq!(Violation::InvalidUtf8.close_code(), 1007);
    assert_eq!(Violation::Corrupt.close_code(), 1007);
    assert_eq!(Violation::TooLarge.close_code(), 1009);
}
