//! What is read from a request's head: the engine's query, and what the application gets to see of it.

use std::net::SocketAddr;

use http::header::{ACCEPT_LANGUAGE, AUTHORIZATION, COOKIE, FORWARDED, HOST, HeaderName, ORIGIN, USER_AGENT};
use http::{HeaderMap, HeaderValue, request};

use super::answers::Problem;
use super::id::Sid;
use super::{Handshake, Transport};

/// The headers that mean something to an application; the rest is not kept.
const KEPT_HEADERS: [HeaderName; 12] = [
    AUTHORIZATION,
    COOKIE,
    ORIGIN,
    HOST,
    USER_AGENT,
    ACCEPT_LANGUAGE,
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
];
/// Values of one header; a request's head is bounded as a whole.
const VALUES_PER_HEADER: usize = 8;

/// The engine's part of a query.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) transport: Transport,
    pub(super) sid: Option<Sid>,
    pub(super) is_version_4: bool,
}

impl Query {
    /// Reads `transport`, `sid` and `EIO`. When a name comes twice, the first counts.
    pub(super) fn parse(query: &str) -> Result<Self, Problem> {
        let value = |name: &str| {
            query.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (key == name).then_some(value)
            })
        };
        let transport = match value("transport") {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::Websocket,
            _ => return Err(Problem::UnknownTransport),
        };
        let sid = match value("sid") {
            Some(sid) => Some(sid.parse().map_err(|_| Problem::UnknownSid)?),
            None => None,
        };
        Ok(Self {
            transport,
            sid,
            is_version_4: value("EIO") == Some("4"),
        })
    }
}

/// What the application gets to see of the request; copies, since the request's own headers would keep the whole read buffer.
pub(super) fn handshake(request: &request::Parts, remote: SocketAddr) -> Handshake {
    let mut headers = HeaderMap::new();
    for name in &KEPT_HEADERS {
        for value in request.headers.get_all(name).iter().take(VALUES_PER_HEADER) {
            let mut copy = HeaderValue::from_bytes(value.as_bytes()).expect("it was a value");
            copy.set_sensitive(value.is_sensitive());
            headers.append(name, copy);
        }
    }
    Handshake {
        remote,
        headers,
        query: request.uri.query().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_in_any_order() {
        let query = Query::parse("t=x&transport=polling&b64=1&EIO=4").unwrap();
        assert_eq!(query.transport, Transport::Polling);
        assert!(query.is_version_4 && query.sid.is_none());
    }

    #[test]
    fn what_is_no_query_of_ours_has_its_code() {
        for (query, problem) in [
            ("", Problem::UnknownTransport),
            ("EIO=4", Problem::UnknownTransport),
            ("EIO=4&transport=__proto__", Problem::UnknownTransport),
            ("EIO=4&transport=polling&sid=__proto__", Problem::UnknownSid),
            ("EIO=4&transport=polling&sid=", Problem::UnknownSid),
        ] {
            assert_eq!(Query::parse(query).unwrap_err(), problem, "{query}");
        }
        assert!(!Query::parse("EIO=3&transport=polling").unwrap().is_version_4);
    }

    #[test]
    fn useful_headers_are_copied_and_others_left() {
        let request = http::Request::builder()
            .uri("/socket.io/?a=b")
            .header("cookie", "c=1")
            .header("x-other", "1");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let handshake = handshake(&parts, ([127, 0, 0, 1], 1).into());
        assert_eq!(handshake.headers.len(), 1);
        assert_eq!(handshake.headers[COOKIE], "c=1");
        assert_eq!(handshake.query.as_deref(), Some("a=b"));
    }
}
