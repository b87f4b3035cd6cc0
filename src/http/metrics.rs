//! `/metrics`: Prometheus' text format for whoever asks for that. Not here: what is counted, each layer registers its own; the
//! figures of the cluster, which everybody else gets (`figures`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::{Encoder, TextEncoder};

use super::State;
use super::figures::figures;

/// The types of Prometheus' text format; whoever asks for none of them gets the existing plugin's JSON.
const TEXTS: [&str; 2] = ["text/plain", "application/openmetrics-text"];

pub(super) async fn metrics(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    let answer = if wants_text(&headers) {
        text(&state).await
    } else {
        Json(figures(&state).await).into_response()
    };
    ([(header::VARY, "accept")], answer).into_response()
}

/// Whether one of the types is named, and not refused by a weight of zero.
fn wants_text(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse::<f32>().ok());
        TEXTS.iter().any(|text| kind.eq_ignore_ascii_case(text)) && weight != Some(0.0)
    })
}

async fn text(state: &State) -> Response {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_the_text_gets_it() {
        let wants = |accept: &[&str]| {
            let accept = accept.iter().map(|value| (header::ACCEPT, value.parse().unwrap()));
            wants_text(&accept.collect())
        };
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for text in [
            &[prometheus][..],
            &["Text/Plain"],
            &["application/json, text/plain"],
            &["a/b", "text/plain"],
        ] {
            assert!(wants(text), "{text:?}");
        }
        for json in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["text/html,*/*;q=0.8"],
            &["text/plain;q=0"],
        ] {
            assert!(!wants(json), "{json:?}");
        }
    }
}
