//! The body of a polling client's POST. The input is the body.

use std::collections::VecDeque;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};

use http_body_util::StreamBody;
use hyper::body::Frame;
use nself_realtime::engine::payload::{self, Limits, Packet, Unreadable};

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits { bytes: 400, packets: 8 };
const SEPARATOR: u8 = 0x1E;

type Read = (Vec<Packet>, Result<(), Unreadable>);

/// The pieces in which a body comes change neither its packets nor whether it is one; nothing exceeds its bound; and what
/// was read, written anew, is read again.
pub fn hold(data: &[u8]) {
    let (packets, verdict) = read(data, data.len().max(1));
    for size in super::piece_sizes(data) {
        let (others, other) = read(data, size);
        assert_eq!(other.is_ok(), verdict.is_ok(), "in pieces of {size} bytes");
        // A body that turns out to be too large may have been read for a while, so that something else is wrong first.
        let common = packets.len().min(others.len());
        assert_eq!(packets[..common], others[..common], "in pieces of {size} bytes");
        assert!(verdict.is_err() || packets.len() == others.len());
    }
    assert!(packets.len() <= LIMITS.packets);
    assert!(packets.iter().map(size).sum::<usize>() <= data.len());
    match verdict {
        Ok(()) => {
            assert!(data.len() <= LIMITS.bytes);
            assert_eq!(
                packets.len(),
                data.split(|byte| *byte == SEPARATOR)
                    .filter(|text| !text.is_empty())
                    .count()
            );
            assert_eq!(read(&write(&packets), 3), (packets, Ok(())), "written anew");
        }
        Err(Unreadable::TooLarge) => assert!(data.len() > LIMITS.bytes || packets.len() == LIMITS.packets),
        Err(Unreadable::Malformed) => assert!(data.len() <= LIMITS.bytes),
    }
}

fn read(data: &[u8], size: usize) -> Read {
    let pieces = data
        .chunks(size)
        .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))));
    let body = StreamBody::new(stream::iter(pieces.collect::<Vec<_>>()));
    let mut packets = VecDeque::new();
    let verdict = payload::read(body, LIMITS, &mut packets)
        .now_or_never()
        .expect("all of the body is there");
    (packets.into(), verdict)
}

/// Bytes that a packet keeps.
fn size(packet: &Packet) -> usize {
    match packet {
        Packet::Message(text) => text.len(),
        Packet::Binary(data) => data.len(),
        _ => 0,
    }
}

fn write(packets: &[Packet]) -> Vec<u8> {
    let texts: Vec<String> = packets.iter().cloned().map(String::from).collect();
    texts.join(char::from(SEPARATOR).encode_utf8(&mut [0; 1])).into_bytes()
}
