//! The scripts of the differential test: what is sent, byte by byte. Not here: what is expected; the oracle says that.

use crate::wire::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, WEBSOCKET_HEADERS, binary, frame, text, unmasked};

/// Which of the two echo servers a script is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Engine,
    Socket,
}

pub enum Step {
    /// Bytes on a TCP connection of their own; `{path}`, `{base}` (without the slash), `{host}`, `{sid}` are filled in.
    Http(Vec<u8>),
    /// Opens a polling session.
    OpenPolling,
    /// One poll of the session; its answer is recorded.
    Get,
    /// One POST of the session.
    Post(Vec<u8>),
    /// Opens a WebSocket session.
    OpenWebsocket,
    /// Opens a WebSocket on the polling session.
    Upgrade,
    /// Bytes on the WebSocket's connection.
    Send(Vec<u8>),
    /// Connects to the main namespace of Socket.IO, and waits for CONNECT and `auth`.
    Connect,
    /// Waits for a packet from the WebSocket.
    Await,
    /// Waits until the server has nothing more to say, so that nothing races with the next bytes.
    Settle,
}

pub struct Script {
    pub name: &'static str,
    pub server: Server,
    pub steps: Vec<Step>,
}

/// Every script.
pub fn all() -> Vec<Script> {
    [requests(), websocket_requests(), payloads(), packets(), frames(), upgrades(), crate::scripts_socket::all()]
        .into_iter()
        .flatten()
        .collect()
}

fn engine(name: &'static str, steps: Vec<Step>) -> Script {
    Script { name, server: Server::Engine, steps }
}

/// HTTP requests without a session of their own: `GET path?query`.
fn requests() -> Vec<Script> {
    let queries = [
        ("request: no query", ""),
        ("request: EIO alone", "EIO=4"),
        ("request: transport alone", "transport=polling"),
        ("request: EIO empty", "EIO=&transport=polling"),
        ("request: EIO 3", "EIO=3&transport=polling"),
        ("request: EIO 5", "EIO=5&transport=polling"),
        ("request: EIO 04", "EIO=04&transport=polling"),
        ("request: EIO twice, good first", "EIO=4&EIO=3&transport=polling"),
        ("request: EIO twice, bad first", "EIO=3&EIO=4&transport=polling"),
        ("request: EIO lower case", "eio=4&transport=polling"),
        ("request: transport empty", "EIO=4&transport="),
        ("request: transport upper case", "EIO=4&transport=POLLING"),
        ("request: transport twice, good first", "EIO=4&transport=polling&transport=abc"),
        ("request: transport twice, bad first", "EIO=4&transport=abc&transport=polling"),
        ("request: transport __proto__", "EIO=4&transport=__proto__"),
        ("request: transport constructor", "EIO=4&transport=constructor"),
        ("request: transport hasOwnProperty", "EIO=4&transport=hasOwnProperty"),
        ("request: transport webtransport", "EIO=4&transport=webtransport"),
        ("request: transport percent-encoded", "EIO=4&transport=%70olling"),
        ("request: transport websocket without an upgrade", "EIO=4&transport=websocket"),
        ("request: sid empty", "EIO=4&transport=polling&sid="),
        ("request: sid unknown", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA"),
        ("request: sid unknown, 20 characters", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA"),
        ("request: sid too long", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("request: sid __proto__", "EIO=4&transport=polling&sid=__proto__"),
        ("request: sid constructor", "EIO=4&transport=polling&sid=constructor"),
        ("request: sid percent-encoded bytes", "EIO=4&transport=polling&sid=%00%ff%c3%a9"),
        ("request: sid bad percent encoding", "EIO=4&transport=polling&sid=%zz"),
        ("request: unknown parameters", "x=1&EIO=4&&=&y&transport=polling&t=Oabc"),
        ("request: b64", "EIO=4&transport=polling&b64=1"),
        ("request: JSONP", "EIO=4&transport=polling&j=0"),
    ];
    let mut scripts: Vec<_> = queries
        .into_iter()
        .map(|(name, query)| {
            let request = format!("GET {{path}}?{query} HTTP/1.1\r\nhost: {{host}}\r\n\r\n");
            engine(name, vec![Step::Http(request.into_bytes())])
        })
        .collect();
    let good = "EIO=4&transport=polling";
    let whole = [
        ("request: no question mark", "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".to_owned()),
        ("request: path without the slash", format!("GET {{base}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: path with more", format!("GET {{path}}more?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: path with another ending", format!("GET {{base}}-admin?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: path upper case", format!("GET /ENGINE.IO/?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: path with two slashes", format!("GET /{{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: path of nobody", "GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".to_owned()),
        ("request: absolute form", format!("GET http://{{host}}{{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: HTTP/1.0", format!("GET {{path}}?{good} HTTP/1.0\r\nhost: {{host}}\r\n\r\n")),
        ("request: no host", format!("GET {{path}}?{good} HTTP/1.1\r\n\r\n")),
        ("request: GET with a body", format!("GET {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\ncontent-length: 2\r\n\r\n4x")),
        ("request: HEAD", format!("HEAD {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: DELETE", format!("DELETE {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: OPTIONS", format!("OPTIONS {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: a method of its own", format!("BREW {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n")),
        ("request: POST without a session", format!("POST {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\ncontent-length: 2\r\n\r\n4x")),
        ("request: not HTTP", "hello\r\n\r\n".to_owned()),
        ("request: two content-lengths", format!("POST {{path}}?{good}&sid=AAAAAAAAAAAAAAAA HTTP/1.1\r\nhost: {{host}}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n4x")),
        ("request: a header with a bare newline in it", format!("GET {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\nx: a\nb: c\r\n\r\n")),
        ("request: a header with a NUL in it", format!("GET {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\nx: a\0b\r\n\r\n")),
    ];
    scripts.extend(whole.into_iter().map(|(name, request)| engine(name, vec![Step::Http(request.into_bytes())])));
    scripts
}

/// WebSocket handshakes that lack something.
fn websocket_requests() -> Vec<Script> {
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "sec-websocket-version: 13\r\n";
    let asked = "connection: Upgrade\r\nupgrade: websocket\r\n";
    let headers = [
        ("websocket request: complete", format!("{asked}{version}{key}")),
        ("websocket request: no key", format!("{asked}{version}")),
        ("websocket request: empty key", format!("{asked}{version}sec-websocket-key:\r\n")),
        ("websocket request: key too short", format!("{asked}{version}sec-websocket-key: abc\r\n")),
        ("websocket request: two keys", format!("{asked}{version}{key}{key}")),
        ("websocket request: no version", format!("{asked}{key}")),
        ("websocket request: version 12", format!("{asked}sec-websocket-version: 12\r\n{key}")),
        ("websocket request: no upgrade header", format!("connection: Upgrade\r\n{version}{key}")),
        ("websocket request: upgrade to something else", format!("connection: Upgrade\r\nupgrade: h2c\r\n{version}{key}")),
        ("websocket request: upgrade in capitals", format!("connection: UPGRADE\r\nupgrade: WEBSOCKET\r\n{version}{key}")),
        ("websocket request: upgrade among others", format!("connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n{version}{key}")),
        ("websocket request: no connection header", format!("upgrade: websocket\r\n{version}{key}")),
        ("websocket request: connection keep-alive", format!("connection: keep-alive\r\nupgrade: websocket\r\n{version}{key}")),
        ("websocket request: unknown extension", format!("{asked}{version}{key}sec-websocket-extensions: x-nothing; a=b\r\n")),
        ("websocket request: broken extension", format!("{asked}{version}{key}sec-websocket-extensions: ;;,=,\"\r\n")),
        ("websocket request: a subprotocol", format!("{asked}{version}{key}sec-websocket-protocol: chat\r\n")),
    ];
    let mut scripts: Vec<_> = headers
        .into_iter()
        .map(|(name, headers)| {
            let request = format!("GET {{path}}?EIO=4&transport=websocket HTTP/1.1\r\nhost: {{host}}\r\n{headers}\r\n");
            engine(name, vec![Step::Http(request.into_bytes())])
        })
        .collect();
    let lines = [
        ("websocket request: by POST", "POST", "EIO=4&transport=websocket"),
        ("websocket request: EIO 3", "GET", "EIO=3&transport=websocket"),
        ("websocket request: transport polling", "GET", "EIO=4&transport=polling"),
        ("websocket request: transport __proto__", "GET", "EIO=4&transport=__proto__"),
        ("websocket request: sid empty", "GET", "EIO=4&transport=websocket&sid="),
        ("websocket request: sid __proto__", "GET", "EIO=4&transport=websocket&sid=__proto__"),
        ("websocket request: sid unknown", "GET", "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA"),
    ];
    scripts.extend(lines.into_iter().map(|(name, method, query)| {
        let request = format!("{method} {{path}}?{query} HTTP/1.1\r\nhost: {{host}}\r\n{WEBSOCKET_HEADERS}\r\n");
        engine(name, vec![Step::Http(request.into_bytes())])
    }));
    scripts
}

/// Payloads of POSTs on a polling session, and other requests that name it.
fn payloads() -> Vec<Script> {
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
        ("payload: one byte too many", [b"4".as_slice(), &[b'x'; 1_000_000]].concat()),
    ];
    let mut scripts: Vec<_> =
        bodies.into_iter().map(|(name, body)| engine(name, vec![Step::OpenPolling, Step::Post(body)])).collect();
    let requests = [
        ("session request: PUT", "PUT {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\n4x"),
        ("session request: DELETE", "DELETE {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("session request: POST without a length", "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("session request: POST in chunks", "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\n3\r\n4he\r\n3\r\nllo\r\n0\r\n\r\n"),
        ("session request: POST in broken chunks", "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n4he\r\n"),
        ("session request: POST as octets", "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/octet-stream\r\ncontent-length: 2\r\n\r\n4x"),
        ("session request: POST announces too much", "POST {path}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000001\r\n\r\n4x"),
        ("session request: EIO 3", "GET {path}?EIO=3&transport=polling&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("session request: transport abc", "GET {path}?EIO=4&transport=abc&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("session request: transport websocket without an upgrade", "GET {path}?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("session request: sid with a suffix", "GET {path}?EIO=4&transport=polling&sid={sid}x HTTP/1.1\r\nhost: {host}\r\n\r\n"),
        ("session request: sid percent-encoded", "GET {path}?EIO=4&transport=polling&sid=%41{sid} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    ];
    scripts.extend(
        requests.into_iter().map(|(name, bytes)| engine(name, vec![Step::OpenPolling, Step::Http(bytes.as_bytes().to_vec())])),
    );
    scripts.push(engine("payload: after a close", vec![Step::OpenPolling, Step::Post(b"1".to_vec()), Step::Post(b"4x".to_vec())]));
    scripts
}

/// Engine.IO packets over a WebSocket, each whole in a frame.
fn packets() -> Vec<Script> {
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
        ("packet: text of the maximum", text(&format!("4{}", "x".repeat(999_999)))),
        ("packet: text one byte too long", text(&format!("4{}", "x".repeat(1_000_000)))),
        ("packet: binary empty", binary(b"")),
        ("packet: binary", binary(&[0, 1, 254, 255])),
        ("packet: binary of the maximum", binary(&[7; 1_000_000])),
        ("packet: binary one byte too long", binary(&[7; 1_000_001])),
    ];
    scripts.extend(sized.into_iter().map(|(name, packet)| engine(name, websocket([packet]))));
    scripts.push(engine("packet: 500 in one write", websocket([text("4x").repeat(500)])));
    scripts
}

/// A WebSocket session that sends these.
fn websocket(sent: impl IntoIterator<Item = Vec<u8>>) -> Vec<Step> {
    [Step::OpenWebsocket].into_iter().chain(sent.into_iter().map(Step::Send)).collect()
}

/// WebSocket frames, most of them forbidden.
fn frames() -> Vec<Script> {
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
        ("frame: UTF-8 across fragments", vec![frame(TEXT, b"4\xe2"), frame(CONTINUATION, b"\x82"), frame(FIN, b"\xac")]),
        ("frame: bad UTF-8 across fragments", vec![frame(TEXT, b"4\xe2"), frame(FIN, b"(")]),
        ("frame: bad UTF-8 in an unfinished message", vec![frame(TEXT, b"4\xff")]),
        ("frame: fragments", vec![frame(TEXT, b"4a"), frame(CONTINUATION, b"b"), frame(FIN, b"c")]),
        ("frame: binary fragments", vec![frame(BINARY, &[1]), frame(CONTINUATION, &[2]), frame(FIN, &[3])]),
        ("frame: empty fragments", vec![frame(TEXT, b""), frame(CONTINUATION, b""), frame(CONTINUATION, b"4a"), frame(FIN, b"")]),
        ("frame: ping between fragments", vec![frame(TEXT, b"4a"), frame(FIN | PING, b"p"), frame(FIN, b"b")]),
        ("frame: 1,000 fragments of a byte", vec![[frame(TEXT, b"4"), frame(CONTINUATION, b"a").repeat(1000), frame(FIN, b"z")].concat()]),
        ("frame: continuation of nothing", vec![frame(FIN, b"4x")]),
        ("frame: unfinished continuation of nothing", vec![frame(CONTINUATION, b"4x")]),
        ("frame: a message within a message", vec![frame(TEXT, b"4a"), frame(FIN | TEXT, b"4b"), frame(FIN, b"c")]),
        ("frame: binary within a text", vec![frame(TEXT, b"4a"), frame(FIN | BINARY, b"b")]),
        ("frame: fragments beyond the maximum", vec![frame(TEXT, &[b'4'; 600_000]), frame(FIN, &[b'x'; 600_000])]),
        ("frame: announces a gigabyte", vec![vec![FIN | TEXT, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4, 5]]),
        ("frame: announces 2^63 bytes", vec![vec![FIN | TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]]),
        ("frame: length in two bytes without need", vec![vec![FIN | TEXT, 0xfe, 0, 2, 0, 0, 0, 0, b'4', b'x']]),
        ("frame: length in eight bytes without need", vec![vec![FIN | TEXT, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, b'4', b'x']]),
        ("frame: in single bytes", message().into_iter().map(|byte| vec![byte]).collect()),
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
        ("frame: HTTP instead of a frame", vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()]),
        ("frame: zeroes", vec![vec![0; 100]]),
    ];
    cases.into_iter().map(|(name, sent)| engine(name, websocket(sent))).collect()
}

/// Upgrades, finished and not.
fn upgrades() -> Vec<Script> {
    use Step::{Await, Get, OpenPolling, Post, Send, Upgrade};
    vec![
        engine("upgrade: as it should be", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Send(text("5")), Send(text("4a"))]),
        engine("upgrade: all at once", vec![OpenPolling, Upgrade, Send([text("2probe"), text("5"), text("4a")].concat())]),
        engine("upgrade: waiting messages come first", vec![OpenPolling, Post(b"4a\x1e4b".to_vec()), Upgrade, Send(text("2probe")), Await, Send(text("5")), Send(text("4c"))]),
        engine("upgrade: POST while probing", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Post(b"4a".to_vec()), Send(text("5")), Send(text("4b"))]),
        engine("upgrade: without a probe", vec![OpenPolling, Upgrade, Send(text("5")), Send(text("4a"))]),
        engine("upgrade: message instead of a probe", vec![OpenPolling, Upgrade, Send(text("4a"))]),
        engine("upgrade: wrong probe", vec![OpenPolling, Upgrade, Send(text("2prob"))]),
        engine("upgrade: binary instead of a probe", vec![OpenPolling, Upgrade, Send(binary(b"2probe"))]),
        engine("upgrade: message instead of the end", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Send(text("4a"))]),
        engine("upgrade: probe twice", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Send(text("2probe")), Send(text("5")), Send(text("4a"))]),
        engine("upgrade: twice", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Send(text("5")), Send(text("4a")), Await, Send(text("5"))]),
        engine("upgrade: closed while probing", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Send(frame(FIN | CLOSE, b"")), Await]),
        engine("upgrade: poll while probing", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Get, Send(text("5")), Send(text("4a"))]),
        engine("upgrade: poll after it", vec![OpenPolling, Upgrade, Send(text("2probe")), Await, Send(text("5")), Send(text("4a")), Await, Get, Post(b"4b".to_vec())]),
        engine("upgrade: bad frame while probing", vec![OpenPolling, Upgrade, Send(frame(FIN | 0x40 | TEXT, b"2probe"))]),
    ]
}
