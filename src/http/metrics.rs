//! `/metrics`: Prometheus' text format. Not here: what is counted; each layer registers its own.

use std::sync::Arc;

use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, TextEncoder};

use super::State;

pub(super) async fn metrics(Extract(state): Extract<Arc<State>>) -> Response {
    // Known for three seconds, and asked anew for one at the longest: a scrape tells how Postgres is.
    state.archive.check().await;
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&state.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
