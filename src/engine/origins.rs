//! Which browser pages may talk to the engine, and how they are told (CORS).

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::Origins;

const PREFLIGHT_LIFE_S: HeaderValue = HeaderValue::from_static("600");

impl Origins {
    /// Whether a request with these headers may pass. Without `Origin` it comes from no browser.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(ORIGIN) else {
            return true;
        };
        match self {
            Origins::Any => true,
            Origins::SameOrigin => headers.get(HOST).is_some_and(|host| is_of(origin, host)),
            Origins::List(list) => list.iter().any(|listed| listed.as_bytes() == origin),
        }
    }

    /// Tells the browser that the page may read the answer.
    pub(super) fn mark(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let Some(origin) = request.get(ORIGIN) else {
            return;
        };
        if *self == Origins::Any {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        }
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let yes = HeaderValue::from_static("true");
        response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        response.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// The answer to a preflight; the page may send what it asked to send.
pub(super) fn preflight(request: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, OPTIONS");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_LIFE_S);
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    response
}

/// Whether the origin, without its scheme, is the host that was asked.
fn is_of(origin: &HeaderValue, host: &HeaderValue) -> bool {
    let (Ok(origin), Ok(host)) = (origin.to_str(), host.to_str()) else {
        return false;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let without_port = |text: &str| text.strip_suffix(default_port).unwrap_or(text).to_owned();
    without_port(authority).eq_ignore_ascii_case(&without_port(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &str, host: &str) -> HeaderMap {
        HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap()), (HOST, host.parse().unwrap())])
    }

    #[test]
    fn the_same_origin_is_the_same_host_and_port() {
        let admits = |origin, host| Origins::SameOrigin.admit(&headers(origin, host));
        assert!(admits("http://a.example:3000", "a.example:3000"));
        assert!(admits("https://a.example", "A.example:443"));
        assert!(!admits("http://a.example:3001", "a.example:3000"));
        assert!(!admits("http://a.example.evil", "a.example"));
        assert!(!admits("null", "a.example"));
        assert!(Origins::SameOrigin.admit(&HeaderMap::new()));
    }

    #[test]
    fn a_list_admits_exactly_its_entries_with_credentials() {
        let origins = Origins::List(vec!["https://a.example".into()]);
        assert!(origins.admit(&headers("https://a.example", "b")));
        assert!(!origins.admit(&headers("https://a.example.evil", "b")));
        let mut response = HeaderMap::new();
        origins.mark(&headers("https://a.example", "b"), &mut response);
        assert_eq!(response[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
        assert_eq!(response[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
    }

    #[test]
    fn any_origin_gets_no_credentials() {
        let mut response = HeaderMap::new();
        Origins::Any.mark(&headers("https://a.example", "b"), &mut response);
        assert_eq!(response[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!response.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
}
