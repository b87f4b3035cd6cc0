//! Differential scripts: what a polling session may be sent. Not here: its upgrade (`websocket`).

use super::{Script, Step, engine};

/// Payloads of POSTs on a polling session, and other requests that name it.
pub fn payloads() -> Vec<Script> {
    let repeated = |packet: &str, count: usize| vec![packet; count].join("\u{1e}").into_bytes();
    let bodies: Vec<(&'static str, Vec<u8>)> = vec![
        ("payload: empty", b"".to_vec()),
        ("payload: one separator", b"\x1e".to_vec()),
        ("payload: separators", b"\x1e\x1e\x1e".to_vec()),
        ("payload: leading separator", b"\x1e4a".to_vec()),
        ("payload: trailing separator", b"4a\x1e".to_vec()),
        ("payload: two separators in a row", b"4a\x1e\x1e4b".to_vec()),
        ("payload: empty message", b"4".to_vec()),
        ("payload: NUL in a message", b"4a\0b".to_vec()),
        ("payload: newline in a message", b"4a\r\nb".to_vec()),
        ("payload: not ASCII", "4é€😀".as_bytes().to_vec()),
        ("payload: bad UTF-8", b"4\xff\xfe".to_vec()),
        ("payload: cut UTF-8", b"4a\xc3".to_vec()),
        ("payload: good, then bad", b"4a\x1eabc".to_vec()),
        ("payload: unknown type", b"9".to_vec()),
        ("payload: open", b"0{}".to_vec()),
        ("payload: close between messages", b"4a\x1e1\x1e4b".to_vec()),
        ("payload: ping", b"2".to_vec()),
        ("payload: ping probe", b"2probe".to_vec()),
        ("payload: pong", b"3".to_vec()),
        ("payload: pongs", repeated("3", 50)),
        ("payload: pong with data", b"3abc".to_vec()),
        ("payload: pong probe", b"3probe".to_vec()),
        ("payload: upgrade", b"5".to_vec()),
        ("payload: noop", b"6".to_vec()),
        ("payload: binary", b"bAQIDBA==".to_vec()),
        ("payload: binary empty", b"b".to_vec()),
        ("payload: binary without padding", b"bAQIDBA".to_vec()),
        ("payload: binary URL-safe alphabet", b"b-_-_".to_vec()),
        ("payload: binary not base64", b"b!!!!".to_vec()),
        ("payload: binary with stray bits", b"bAQIDBB==".to_vec()),
        ("payload: raw binary", b"\x04\x01\x02".to_vec()),
        ("payload: as protocol 3 would", b"6:4hello".to_vec()),
        ("payload: 500 messages", repeated("4a", 500)),
        ("payload: 50,000 packets", repeated("3", 50_000)),
        ("payload: 50,000 separators", vec![0x1e; 50_000]),
        ("payload: the maximum", [b"4".as_slice(), &[b'x'; 999_999]].concat()),
        (
            "payload: one byte too many",
            [b"4".as_slice(), &[b'x'; 1_000_000]].concat(),
        ),
    ];
    let mut scripts: Vec<_> = bodies
        .into_iter()
        .map(|(name, body)| engine(name, vec![Step::OpenPolling, Step::Post(body)]))
        .collect();
    let requests = [
        (
            "session request: PUT",
            "PUT {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\n4x",
        ),
        (
            "session request: DELETE",
            "DELETE {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n",
        ),
        (
            "session request: POST without a length",
            "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n",
        ),
        (
            "session request: POST in chunks",
            "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n3\r\n4he\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        (
            "session request: POST in broken chunks",
            "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n4he\r\n",
        ),
        (
            "session request: POST as octets",
            "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/octet-stream\r\ncontent-length: 2\r\n\r\n4x",
        ),
        (
            "session request: POST announces too much",
            "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000001\r\n\r\n4x",
        ),
        (
            "session request: EIO 3",
            "GET {path}?EIO=3&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n",
        ),
        (
            "session request: transport abc",
            "GET {path}?EIO=4&transport=abc&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n",
        ),
        (
            "session request: transport websocket without an upgrade",
            "GET {path}?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n",
        ),
        (
            "session request: sid with a suffix",
            "GET {path}?EIO=4&transport=polling&sid={sid}x HTTP/1.1\r\nhost: {host}\r\n\r\n",
        ),
        (
            "session request: sid percent-encoded",
            "GET {path}?EIO=4&transport=polling&sid=%41{sid} HTTP/1.1\r\nhost: {host}\r\n\r\n",
        ),
    ];
    scripts.extend(
        requests
            .into_iter()
            .map(|(name, bytes)| engine(name, vec![Step::OpenPolling, Step::Http(bytes.as_bytes().to_vec())])),
    );
    scripts.push(engine(
        "payload: after a close",
        vec![Step::OpenPolling, Step::Post(b"1".to_vec()), Step::Post(b"4x".to_vec())],
    ));
    scripts
}
