//! Differential scripts: packets and frames over a WebSocket, and the change to it. Not here: Socket.IO (`socket_io`).

use super::{Script, Step, engine};
use crate::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, binary, frame, text, unmasked};

/// Engine.IO packets over a WebSocket, each whole in a frame.
pub fn packets() -> Vec<Script> {
    let texts = [
        ("packet: empty", ""),
        ("packet: empty message", "4"),
        ("packet: not ASCII", "4é€😀\0"),
        ("packet: separator in a message", "4a\u{1e}4b"),
        ("packet: unknown type", "9"),
        ("packet: a letter", "abc"),
        ("packet: not ASCII type", "é"),
        ("packet: open", "0{}"),
        ("packet: close", "1"),
        ("packet: close with data", "1abc"),
        ("packet: ping", "2"),
        ("packet: ping with data", "2abc"),
        ("packet: ping probe", "2probe"),
        ("packet: pong", "3"),
        ("packet: pong with data", "3abc"),
        ("packet: pong probe", "3probe"),
        ("packet: upgrade", "5"),
        ("packet: noop", "6"),
        ("packet: base64", "bAQIDBA=="),
        ("packet: not base64", "b!"),
    ];
    let mut scripts: Vec<_> = texts
        .into_iter()
        .map(|(name, packet)| engine(name, websocket([text(packet)])))
        .collect();
    let sized = [
        (
            "packet: text of the maximum",
            text(&format!("4{}", "x".repeat(999_999))),
        ),
        (
            "packet: text one byte too long",
            text(&format!("4{}", "x".repeat(1_000_000))),
        ),
        ("packet: binary empty", binary(b"")),
        ("packet: binary", binary(&[0, 1, 254, 255])),
        ("packet: binary of the maximum", binary(&[7; 1_000_000])),
        ("packet: binary one byte too long", binary(&[7; 1_000_001])),
    ];
    scripts.extend(
        sized
            .into_iter()
            .map(|(name, packet)| engine(name, websocket([packet]))),
    );
    scripts.push(engine("packet: 500 in one write", websocket([text("4x").repeat(500)])));
    scripts
}

/// A WebSocket session that sends these.
fn websocket(sent: impl IntoIterator<Item = Vec<u8>>) -> Vec<Step> {
    [Step::OpenWebsocket]
        .into_iter()
        .chain(sent.into_iter().map(Step::Send))
        .collect()
}

/// WebSocket frames, most of them forbidden.
pub fn frames() -> Vec<Script> {
    const RSV: [u8; 3] = [0x40, 0x20, 0x10];
    let message = || frame(FIN | TEXT, b"4x");
    let close = |code: u16, reason: &[u8]| frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat());
    let cases: Vec<(&'static str, Vec<Vec<u8>>)> = vec![
        ("frame: RSV1", vec![frame(FIN | RSV[0] | TEXT, b"4x")]),
        ("frame: RSV2", vec![frame(FIN | RSV[1] | TEXT, b"4x")]),
        ("frame: RSV3", vec![frame(FIN | RSV[2] | TEXT, b"4x")]),
        ("frame: RSV1 on a ping", vec![frame(FIN | RSV[0] | PING, b"")]),
        ("frame: opcode 3", vec![frame(FIN | 0x3, b"4x")]),
        ("frame: opcode 7", vec![frame(FIN | 0x7, b"")]),
        ("frame: opcode 11", vec![frame(FIN | 0xb, b"")]),
        ("frame: opcode 15", vec![frame(FIN | 0xf, b"")]),
        ("frame: not masked", vec![unmasked(FIN | TEXT, b"4x")]),
        ("frame: bad UTF-8", vec![frame(FIN | TEXT, b"4\xff")]),
        ("frame: cut UTF-8", vec![frame(FIN | TEXT, b"4\xe2\x82")]),
        ("frame: surrogate in UTF-8", vec![frame(FIN | TEXT, b"4\xed\xa0\x80")]),
        (
            "frame: UTF-8 across fragments",
            vec![frame(TEXT, b"4\xe2"), frame(CONTINUATION, b"\x82"), frame(FIN, b"\xac")],
        ),
        (
            "frame: bad UTF-8 across fragments",
            vec![frame(TEXT, b"4\xe2"), frame(FIN, b"(")],
        ),
        ("frame: bad UTF-8 in an unfinished message", vec![frame(TEXT, b"4\xff")]),
        (
            "frame: fragments",
            vec![frame(TEXT, b"4a"), frame(CONTINUATION, b"b"), frame(FIN, b"c")],
        ),
        (
            "frame: binary fragments",
            vec![frame(BINARY, &[1]), frame(CONTINUATION, &[2]), frame(FIN, &[3])],
        ),
        (
            "frame: empty fragments",
            vec![
                frame(TEXT, b""),
                frame(CONTINUATION, b""),
                frame(CONTINUATION, b"4a"),
                frame(FIN, b""),
            ],
        ),
        (
            "frame: ping between fragments",
            vec![frame(TEXT, b"4a"), frame(FIN | PING, b"p"), frame(FIN, b"b")],
        ),
        (
            "frame: 1,000 fragments of a byte",
            vec![
                [
                    frame(TEXT, b"4"),
                    frame(CONTINUATION, b"a").repeat(1000),
                    frame(FIN, b"z"),
                ]
                .concat(),
            ],
        ),
        ("frame: continuation of nothing", vec![frame(FIN, b"4x")]),
        (
            "frame: unfinished continuation of nothing",
            vec![frame(CONTINUATION, b"4x")],
        ),
        (
            "frame: a message within a message",
            vec![frame(TEXT, b"4a"), frame(FIN | TEXT, b"4b"), frame(FIN, b"c")],
        ),
        (
            "frame: binary within a text",
            vec![frame(TEXT, b"4a"), frame(FIN | BINARY, b"b")],
        ),
        (
            "frame: fragments beyond the maximum",
            vec![frame(TEXT, &[b'4'; 600_000]), frame(FIN, &[b'x'; 600_000])],
        ),
        (
            "frame: announces a gigabyte",
            vec![vec![FIN | TEXT, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4, 5]],
        ),
        (
            "frame: announces 2^63 bytes",
            vec![vec![FIN | TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]],
        ),
        (
            "frame: length in two bytes without need",
            vec![vec![FIN | TEXT, 0xfe, 0, 2, 0, 0, 0, 0, b'4', b'x']],
        ),
        (
            "frame: length in eight bytes without need",
            vec![vec![FIN | TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, b'4', b'x']],
        ),
        (
            "frame: in single bytes",
            message().into_iter().map(|byte| vec![byte]).collect(),
        ),
        ("frame: ping", vec![frame(FIN | PING, b"")]),
        ("frame: ping of 125 bytes", vec![frame(FIN | PING, &[b'p'; 125])]),
        ("frame: ping of 126 bytes", vec![frame(FIN | PING, &[b'p'; 126])]),
        ("frame: unfinished ping", vec![frame(PING, b"p"), frame(FIN, b"q")]),
        ("frame: pong that nobody asked for", vec![frame(FIN | PONG, b"p")]),
        ("frame: close", vec![frame(FIN | CLOSE, b"")]),
        ("frame: close 1000", vec![close(1000, b"")]),
        ("frame: close 1000 with a reason", vec![close(1000, b"bye")]),
        ("frame: close 4999", vec![close(4999, b"")]),
        ("frame: close 999", vec![close(999, b"")]),
        ("frame: close 1005", vec![close(1005, b"")]),
        ("frame: close 65535", vec![close(65535, b"")]),
        ("frame: close with one byte", vec![frame(FIN | CLOSE, b"\x03")]),
        ("frame: close with a bad reason", vec![close(1000, b"\xff")]),
        ("frame: close of 126 bytes", vec![close(1000, &[b'r'; 124])]),
        ("frame: unfinished close", vec![frame(CLOSE, b"")]),
        (
            "frame: HTTP instead of a frame",
            vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()],
        ),
        ("frame: zeroes", vec![vec![0; 100]]),
    ];
    cases
        .into_iter()
        .map(|(name, sent)| engine(name, websocket(sent)))
        .collect()
}

/// Upgrades, finished and not.
pub fn upgrades() -> Vec<Script> {
    use Step::{Await, Get, OpenPolling, Post, Send, Upgrade};
    vec![
        engine(
            "upgrade: as it should be",
            vec![
                OpenPolling,
                Upgrade,
                Send(text("2probe")),
                Await,
                Send(text("5")),
                Send(text("4a")),
            ],
        ),
        engine(
            "upgrade: all at once",
            vec![
                OpenPolling,
                Upgrade,
                Send([text("2probe"), text("5"), text("4a")].concat()),
            ],
        ),
        engine(
            "upgrade: waiting messages come first",
            vec![
                OpenPolling,
                Post(b"4a\x1e4b".to_vec()),
                Upgrade,
                Send(text("2probe")),
                Await,
                Send(text("5")),
                Send(text("4c")),
            ],
        ),
        engine(
            "upgrade: POST while probing",
            vec![
                OpenPolling,
                Upgrade,
                Send(text("2probe")),
                Await,
                Post(b"4a".to_vec()),
                Send(text("5")),
                Send(text("4b")),
            ],
        ),
        engine(
            "upgrade: without a probe",
            vec![OpenPolling, Upgrade, Send(text("5")), Send(text("4a"))],
        ),
        engine(
            "upgrade: message instead of a probe",
            vec![OpenPolling, Upgrade, Send(text("4a"))],
        ),
        engine("upgrade: wrong probe", vec![OpenPolling, Upgrade, Send(text("2prob"))]),
        engine(
            "upgrade: binary instead of a probe",
            vec![OpenPolling, Upgrade, Send(binary(b"2probe"))],
        ),
        engine(
            "upgrade: message instead of the end",
            vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Send(text("4a"))],
        ),
        engine(
            "upgrade: probe twice",
            vec![
                OpenPolling,
                Upgrade,
                Send(text("2probe")),
                Await,
                Send(text("2probe")),
                Send(text("5")),
                Send(text("4a")),
            ],
        ),
        engine(
            "upgrade: twice",
            vec![
                OpenPolling,
                Upgrade,
                Send(text("2probe")),
                Await,
                Send(text("5")),
                Send(text("4a")),
                Await,
                Send(text("5")),
            ],
        ),
        engine(
            "upgrade: closed while probing",
            vec![
                OpenPolling,
                Upgrade,
                Send(text("2probe")),
                Await,
                Send(frame(FIN | CLOSE, b"")),
                Await,
            ],
        ),
        engine(
            "upgrade: poll while probing",
            vec![
                OpenPolling,
                Upgrade,
                Send(text("2probe")),
                Await,
                Get,
                Send(text("5")),
                Send(text("4a")),
            ],
        ),
        engine(
            "upgrade: poll after it",
            vec![
                OpenPolling,
                Upgrade,
                Send(text("2probe")),
                Await,
                Send(text("5")),
                Send(text("4a")),
                Await,
                Get,
                Post(b"4b".to_vec()),
            ],
        ),
        engine(
            "upgrade: bad frame while probing",
            vec![OpenPolling, Upgrade, Send(frame(FIN | 0x40 | TEXT, b"2probe"))],
        ),
    ]
}
