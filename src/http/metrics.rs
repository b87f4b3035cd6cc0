//! `/metrics`: Prometheus' text format for whoever asks for that, and the engine's counters in it. Not here: what the other
//! layers count, each registers its own; the figures of the cluster, which everybody else gets (`figures`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGaugeVec, Opts, TextEncoder};

use super::State;
use super::figures::figures;
use crate::engine::{CloseReason, Counters, Totals};

/// The types of Prometheus' text format; whoever asks for none of them gets the existing plugin's JSON.
const TEXTS: [&str; 2] = ["text/plain", "application/openmetrics-text"];

pub(super) async fn metrics(Extract(state): Extract<Arc<State>>, headers: HeaderMap) -> Response {
    let answer = if wants_text(&headers) {
        text(&state)
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

fn text(state: &State) -> Response {
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

/// Shows the engine's counters, which each shard counts for itself; the sums are taken when somebody looks.
pub struct EngineCollector {
    counters: Arc<Counters>,
    descriptions: Vec<Desc>,
}

impl EngineCollector {
    /// Register it once per server.
    pub fn new(counters: Arc<Counters>) -> Self {
        let families = Families::of(&Totals::default());
        Self {
            counters,
            descriptions: families.0.iter().flat_map(|part| part.desc()).cloned().collect(),
        }
    }
}

impl Collector for EngineCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        Families::of(&self.counters.totals())
            .0
            .iter()
            .flat_map(|part| part.collect())
            .collect()
    }
}

/// One look at the totals, as Prometheus' own types, which write names, help and labels right.
struct Families(Vec<Box<dyn Collector>>);

const VALID: &str = "the names of these metrics and labels are valid";

impl Families {
    fn of(totals: &Totals) -> Self {
        let mut families = Self(Vec::new());
        families.connections(totals);
        for (name, help, total) in [
            ("realtime_handshakes_total", "Sessions opened.", totals.handshakes),
            (
                "realtime_refusals_total",
                "Requests that got no session.",
                totals.refusals,
            ),
            (
                "realtime_upgrades_total",
                "Sessions that changed from polling to WebSocket.",
                totals.upgrades,
            ),
            (
                "realtime_events_received_total",
                "Socket.IO events received.",
                totals.events_in,
            ),
            (
                "realtime_frames_sent_total",
                "Frames written to clients.",
                totals.frames_out,
            ),
            (
                "realtime_received_bytes_total",
                "Payload bytes received.",
                totals.bytes_in,
            ),
            ("realtime_sent_bytes_total", "Payload bytes written.", totals.bytes_out),
            (
                "realtime_frames_replaced_total",
                "Frames that a newer one replaced before they were written.",
                totals.replaced,
            ),
            (
                "realtime_handler_panics_total",
                "Event handlers that panicked.",
                totals.panics,
            ),
        ] {
            let counter = IntCounter::new(name, help).expect(VALID);
            counter.inc_by(total);
            families.0.push(Box::new(counter));
        }
        families.closes(totals);
        families
    }

    fn connections(&mut self, totals: &Totals) {
        let opts = Opts::new("realtime_connections", "Sessions now, by transport.");
        let gauges = IntGaugeVec::new(opts, &["transport"]).expect(VALID);
        for (transport, count) in [("polling", totals.polling), ("websocket", totals.websocket)] {
            gauges
                .with_label_values(&[transport])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.0.push(Box::new(gauges));
    }

    fn closes(&mut self, totals: &Totals) {
        let opts = Opts::new("realtime_closes_total", "Sessions closed, by reason.");
        let counters = IntCounterVec::new(opts, &["reason"]).expect(VALID);
        for reason in CloseReason::ALL {
            counters
                .with_label_values(&[reason.as_str()])
                .inc_by(totals.closes[reason.index()]);
        }
        self.0.push(Box::new(counters));
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

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

    #[test]
    fn totals_are_shown_by_transport_and_reason() {
        let totals = Totals {
            polling: 2,
            websocket: 5,
            handshakes: 7,
            ..Totals::default()
        };
        let registry = Registry::new();
        for part in Families::of(&totals).0 {
            registry.register(part).unwrap();
        }
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(
            text.contains("realtime_connections{transport=\"polling\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("realtime_connections{transport=\"websocket\"} 5\n"),
            "{text}"
        );
        assert!(
            text.contains("# TYPE realtime_handshakes_total counter\nrealtime_handshakes_total 7\n"),
            "{text}"
        );
        for reason in CloseReason::ALL {
            assert!(
                text.contains(&format!("realtime_closes_total{{reason=\"{}\"}} 0\n", reason.as_str())),
                "{text}"
            );
        }
    }
}
