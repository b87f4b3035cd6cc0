//! Compression of HTTP answers, as their client accepts it. Not here: that of WebSocket messages (`websocket`).

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, Request, Response};
use tower::{Layer as _, ServiceExt as _};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Shorter answers fit into one segment either way.
const LEAST_BYTES: u64 = 1_024;

/// What compresses the answers of a service by gzip, from 1,024 bytes on. Streams of events are left: they would wait for the
/// compressor.
pub fn layer() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new()
        .gzip(true)
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(LEAST_BYTES).and(NotForContentType::SSE))
}

/// An answer to a request with these headers, compressed if it accepts that.
pub(super) async fn encoded(request: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let mut asked = Request::new(response);
    for accepted in request.get_all(ACCEPT_ENCODING) {
        asked.headers_mut().append(ACCEPT_ENCODING, accepted.clone());
    }
    let answering = tower::service_fn(|asked: Request<_>| ready(Ok::<_, Infallible>(asked.into_body())));
    let answered = layer().layer(answering).oneshot(asked).await;
    answered.unwrap_or_else(|never| match never {}).map(Body::new)
}
