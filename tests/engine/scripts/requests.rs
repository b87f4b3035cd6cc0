//! Differential scripts: HTTP requests that open a session, or should not. Not here: requests of a session (`payloads`).

use super::{Script, Step, engine};
use crate::wire::WEBSOCKET_HEADERS;

/// HTTP requests without a session of their own: `GET path?query`.
pub fn requests() -> Vec<Script> {
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
        (
            "request: transport twice, good first",
            "EIO=4&transport=polling&transport=abc",
        ),
        (
            "request: transport twice, bad first",
            "EIO=4&transport=abc&transport=polling",
        ),
        ("request: transport __proto__", "EIO=4&transport=__proto__"),
        ("request: transport constructor", "EIO=4&transport=constructor"),
        ("request: transport hasOwnProperty", "EIO=4&transport=hasOwnProperty"),
        ("request: transport webtransport", "EIO=4&transport=webtransport"),
        ("request: transport percent-encoded", "EIO=4&transport=%70olling"),
        (
            "request: transport websocket without an upgrade",
            "EIO=4&transport=websocket",
        ),
        ("request: sid empty", "EIO=4&transport=polling&sid="),
        ("request: sid unknown", "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA"),
        (
            "request: sid unknown, 20 characters",
            "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA",
        ),
        (
            "request: sid too long",
            "EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        ("request: sid __proto__", "EIO=4&transport=polling&sid=__proto__"),
        ("request: sid constructor", "EIO=4&transport=polling&sid=constructor"),
        (
            "request: sid percent-encoded bytes",
            "EIO=4&transport=polling&sid=%00%ff%c3%a9",
        ),
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
        (
            "request: no question mark",
            "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".to_owned(),
        ),
        (
            "request: path without the slash",
            format!("GET {{base}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: path with more",
            format!("GET {{path}}more?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: path with another ending",
            format!("GET {{base}}-admin?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: path upper case",
            format!("GET /ENGINE.IO/?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: path with two slashes",
            format!("GET /{{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: path of nobody",
            "GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".to_owned(),
        ),
        (
            "request: absolute form",
            format!("GET http://{{host}}{{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: HTTP/1.0",
            format!("GET {{path}}?{good} HTTP/1.0\r\nhost: {{host}}\r\n\r\n"),
        ),
        ("request: no host", format!("GET {{path}}?{good} HTTP/1.1\r\n\r\n")),
        (
            "request: GET with a body",
            format!("GET {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\ncontent-length: 2\r\n\r\n4x"),
        ),
        (
            "request: HEAD",
            format!("HEAD {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: DELETE",
            format!("DELETE {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: OPTIONS",
            format!("OPTIONS {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: a method of its own",
            format!("BREW {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\n\r\n"),
        ),
        (
            "request: POST without a session",
            format!("POST {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\ncontent-length: 2\r\n\r\n4x"),
        ),
        ("request: not HTTP", "hello\r\n\r\n".to_owned()),
        (
            "request: two content-lengths",
            format!(
                "POST {{path}}?{good}&sid=AAAAAAAAAAAAAAAA HTTP/1.1\r\nhost: {{host}}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n4x"
            ),
        ),
        (
            "request: a header with a bare newline in it",
            format!("GET {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\nx: a\nb: c\r\n\r\n"),
        ),
        (
            "request: a header with a NUL in it",
            format!("GET {{path}}?{good} HTTP/1.1\r\nhost: {{host}}\r\nx: a\0b\r\n\r\n"),
        ),
    ];
    scripts.extend(
        whole
            .into_iter()
            .map(|(name, request)| engine(name, vec![Step::Http(request.into_bytes())])),
    );
    scripts
}

/// WebSocket handshakes that lack something.
pub fn websocket_requests() -> Vec<Script> {
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "sec-websocket-version: 13\r\n";
    let asked = "connection: Upgrade\r\nupgrade: websocket\r\n";
    let headers = [
        ("websocket request: complete", format!("{asked}{version}{key}")),
        ("websocket request: no key", format!("{asked}{version}")),
        (
            "websocket request: empty key",
            format!("{asked}{version}sec-websocket-key:\r\n"),
        ),
        (
            "websocket request: key too short",
            format!("{asked}{version}sec-websocket-key: abc\r\n"),
        ),
        ("websocket request: two keys", format!("{asked}{version}{key}{key}")),
        ("websocket request: no version", format!("{asked}{key}")),
        (
            "websocket request: version 12",
            format!("{asked}sec-websocket-version: 12\r\n{key}"),
        ),
        (
            "websocket request: no upgrade header",
            format!("connection: Upgrade\r\n{version}{key}"),
        ),
        (
            "websocket request: upgrade to something else",
            format!("connection: Upgrade\r\nupgrade: h2c\r\n{version}{key}"),
        ),
        (
            "websocket request: upgrade in capitals",
            format!("connection: UPGRADE\r\nupgrade: WEBSOCKET\r\n{version}{key}"),
        ),
        (
            "websocket request: upgrade among others",
            format!("connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n{version}{key}"),
        ),
        (
            "websocket request: no connection header",
            format!("upgrade: websocket\r\n{version}{key}"),
        ),
        (
            "websocket request: connection keep-alive",
            format!("connection: keep-alive\r\nupgrade: websocket\r\n{version}{key}"),
        ),
        (
            "websocket request: unknown extension",
            format!("{asked}{version}{key}sec-websocket-extensions: x-nothing; a=b\r\n"),
        ),
        (
            "websocket request: broken extension",
            format!("{asked}{version}{key}sec-websocket-extensions: ;;,=,\"\r\n"),
        ),
        (
            "websocket request: a subprotocol",
            format!("{asked}{version}{key}sec-websocket-protocol: chat\r\n"),
        ),
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
        (
            "websocket request: transport __proto__",
            "GET",
            "EIO=4&transport=__proto__",
        ),
        ("websocket request: sid empty", "GET", "EIO=4&transport=websocket&sid="),
        (
            "websocket request: sid __proto__",
            "GET",
            "EIO=4&transport=websocket&sid=__proto__",
        ),
        (
            "websocket request: sid unknown",
            "GET",
            "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAA",
        ),
    ];
    scripts.extend(lines.into_iter().map(|(name, method, query)| {
        let request = format!("{method} {{path}}?{query} HTTP/1.1\r\nhost: {{host}}\r\n{WEBSOCKET_HEADERS}\r\n");
        engine(name, vec![Step::Http(request.into_bytes())])
    }));
    scripts
}
