//! What HTTP answers: payloads, and the coded errors of socket.io's server. Not here: which request gets which (`http`).

use axum::body::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::Refusal;

/// Why a request is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    UnknownTransport,
    UnknownSid,
    BadHandshakeMethod,
    BadRequest,
    Forbidden,
    UnsupportedVersion,
    TooLarge,
    Timeout,
    Stopping,
}

impl Problem {
    /// Status, the code of socket.io's server where it has one, and its words.
    fn parts(self) -> (StatusCode, u8, &'static str) {
        match self {
            Problem::UnknownTransport => (StatusCode::BAD_REQUEST, 0, "Transport unknown"),
            Problem::UnknownSid => (StatusCode::BAD_REQUEST, 1, "Session ID unknown"),
            Problem::BadHandshakeMethod => (StatusCode::BAD_REQUEST, 2, "Bad handshake method"),
            Problem::BadRequest => (StatusCode::BAD_REQUEST, 3, "Bad request"),
            Problem::Forbidden => (StatusCode::FORBIDDEN, 4, "Forbidden"),
            Problem::UnsupportedVersion => (StatusCode::BAD_REQUEST, 5, "Unsupported protocol version"),
            Problem::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 3, "Payload too large"),
            Problem::Timeout => (StatusCode::REQUEST_TIMEOUT, 3, "Request timed out"),
            Problem::Stopping => (StatusCode::SERVICE_UNAVAILABLE, 3, "The server is stopping"),
        }
    }

    pub(super) fn response(self) -> Response<Body> {
        let (status, code, message) = self.parts();
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        let mut response = respond(status, "application/json", body);
        if self == Problem::Stopping {
            // By then the proxy in front has found another node.
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A polling payload.
pub(super) fn payload(payload: Vec<u8>) -> Response<Body> {
    respond(StatusCode::OK, "text/plain; charset=UTF-8", payload)
}

/// What a POST is told when all is well.
pub(super) fn ok() -> Response<Body> {
    respond(StatusCode::OK, "text/html", "ok")
}

/// The application does not want this client, or not now.
pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    let body = serde_json::json!({"code": 4, "message": refusal.message}).to_string();
    let mut response = respond(refusal.status, "application/json", body);
    if let Some(time) = refusal.retry_after {
        let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
