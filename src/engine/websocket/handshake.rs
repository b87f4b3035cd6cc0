//! The opening handshake: whether a request asks for a WebSocket as RFC 6455 wants it, and the answer that opens one.

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, request};
use sha1::{Digest as _, Sha1};

use super::extensions;

const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const SUPPORTED_VERSION: HeaderValue = HeaderValue::from_static("13");
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request that asks for a WebSocket does not get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    Version,
    Request,
}

/// Whether the request asks for a WebSocket at all.
pub fn is_asked(headers: &HeaderMap) -> bool {
    has_token(headers, UPGRADE, "websocket")
}

/// The answer 101 to a well-formed request, and whether its messages may be compressed from then on.
pub fn answer(request: &request::Parts, compression: bool) -> Result<(Response<Body>, bool), Malformed> {
    if request.headers.get(VERSION) != Some(&SUPPORTED_VERSION) {
        return Err(Malformed::Version);
    }
    let is_upgrade = request.method == Method::GET
        && request.version == http::Version::HTTP_11
        && is_asked(&request.headers)
        && has_token(&request.headers, CONNECTION, "upgrade");
    let accept = request.headers.get(KEY).and_then(accept_of);
    let (true, Some(accept)) = (is_upgrade, accept) else {
        return Err(Malformed::Request);
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(ACCEPT, accept);
    let negotiated = compression.then(|| extensions::negotiate(&request.headers)).flatten();
    let may_compress = negotiated.is_some();
    if let Some(extension) = negotiated {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, extension);
    }
    Ok((response, may_compress))
}

/// The answer 426 to a version that is not 13.
pub fn wrong_version() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    response.headers_mut().insert(VERSION, SUPPORTED_VERSION);
    response
}

fn accept_of(key: &HeaderValue) -> Option<HeaderValue> {
    let nonce = BASE64_STANDARD.decode(key.as_bytes()).ok()?;
    if nonce.len() != 16 {
        return None;
    }
    let mut sha = Sha1::new();
    sha.update(key.as_bytes());
    sha.update(GUID);
    let accept = BASE64_STANDARD.encode(sha.finalize());
    Some(HeaderValue::try_from(accept).expect("base64 is a header value"))
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> request::Parts {
        let mut builder = http::Request::builder();
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_key_of_the_standard_gets_the_answer_of_the_standard() {
        let (response, may_compress) = answer(&request(&GOOD), true).unwrap();
        assert!(!may_compress && !response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS));
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_header_is_needed() {
        for missing in 0..GOOD.len() {
            let mut headers = GOOD.to_vec();
            headers.remove(missing);
            assert!(answer(&request(&headers), true).is_err(), "{missing}");
        }
    }

    #[test]
    fn a_short_key_and_an_old_version_are_refused() {
        let mut headers = GOOD;
        headers[3].1 = "c2hvcnQ=";
        assert_eq!(answer(&request(&headers), true).unwrap_err(), Malformed::Request);
        headers[2].1 = "8";
        assert_eq!(answer(&request(&headers), true).unwrap_err(), Malformed::Version);
    }

    #[test]
    fn compression_is_agreed_to_when_it_is_asked_for_and_switched_on() {
        let offer = ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits");
        let headers = [&GOOD[..], &[offer]].concat();
        let (response, may_compress) = answer(&request(&headers), true).unwrap();
        let answered = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert!(may_compress);
        assert_eq!(response.headers()[SEC_WEBSOCKET_EXTENSIONS], answered);
        let (response, may_compress) = answer(&request(&headers), false).unwrap();
        assert!(!may_compress && !response.headers().contains_key(SEC_WEBSOCKET_EXTENSIONS));
    }
}
