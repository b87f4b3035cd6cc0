//! The opening handshake: whether a request asks for a WebSocket as RFC 6455 wants it, and the answer that opens one.

use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, request};
use sha1::{Digest as _, Sha1};

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

/// The answer 101 to a well-formed request.
pub fn answer(request: &request::Parts) -> Result<Response<Body>, Malformed> {
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
    Ok(response)
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
        let response = answer(&request(&GOOD)).unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_header_is_needed() {
        for missing in 0..GOOD.len() {
            let mut headers = GOOD.to_vec();
            headers.remove(missing);
            assert!(answer(&request(&headers)).is_err(), "{missing}");
        }
    }

    #[test]
    fn a_short_key_and_an_old_version_are_refused() {
        let mut headers = GOOD;
        headers[3].1 = "c2hvcnQ=";
        assert_eq!(answer(&request(&headers)).unwrap_err(), Malformed::Request);
        headers[2].1 = "8";
        assert_eq!(answer(&request(&headers)).unwrap_err(), Malformed::Version);
    }
}
