//! What of `/metrics` no layer tells by itself: the engine, which knows no Prometheus, named with the words of the gateway;
//! and the process. Not here: what the other layers count, each registers its own.

mod socket_io;

use std::sync::Arc;

use prometheus::process_collector::ProcessCollector;
use prometheus::{Error, Registry};
use tokio::runtime::Handle;

use crate::engine::{BACKLOG_BOUNDS, CloseReason, Counters, RefusalCause, Stray, Totals};
use crate::gateway;
use crate::metrics::{Register as _, View};

/// Registers what is known once the engine stands. `socket_io`: also under the names that socket.io's exporters use.
pub(super) fn register(
    registry: &Registry,
    counters: Arc<Counters>,
    gateway: &gateway::metrics::Metrics,
    socket_io: bool,
) -> Result<(), Error> {
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let runtime = Handle::current().metrics();
    let shared = gateway.clone();
    let engine = Arc::clone(&counters);
    registry.look_at(move |view| {
        let totals = engine.totals();
        sessions(view, &totals);
        refusals(view, &totals, &shared);
        traffic(view, &totals);
        queues(view, &totals);
        let main = (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker));
        let main = ("main".to_owned(), main.sum());
        view.counters(
            "realtime_runtime_busy_seconds_total",
            "Time in which a runtime's threads had something to do; a shard's is one thread.",
            "runtime",
            shared
                .shards
                .busy()
                .chain([main])
                .map(|(runtime, busy)| (runtime, busy.as_secs_f64())),
        );
        view.gauges(
            "realtime_build_info",
            "1, of the version that runs.",
            "version",
            [(env!("CARGO_PKG_VERSION"), 1.0)],
        );
    })?;
    if socket_io {
        let shared = gateway.clone();
        registry.look_at(move |view| socket_io::show(view, &counters.totals(), &shared))?;
    }
    Ok(())
}

fn sessions(view: &mut View, totals: &Totals) {
    view.gauges(
        "realtime_connections",
        "Sessions now, by transport.",
        "transport",
        [
            ("polling", totals.polling as f64),
            ("websocket", totals.websocket as f64),
        ],
    );
    let counts: [(&str, &str, u64); 2] = [
        ("realtime_handshakes_total", "Sessions opened.", totals.handshakes),
        (
            "realtime_upgrades_total",
            "Sessions that changed from polling to WebSocket.",
            totals.upgrades,
        ),
    ];
    for (name, help, count) in counts {
        view.counter(name, help, count as f64);
    }
    let closed = |reason: &CloseReason| (reason.as_str(), totals.closes[reason.index()] as f64);
    view.counters(
        "realtime_closes_total",
        "Sessions closed, by reason.",
        "reason",
        CloseReason::ALL.iter().map(closed),
    );
}

/// The engine and the gateway each turn some away, and never both the same one: where it is the application that does, the
/// gateway says why.
fn refusals(view: &mut View, totals: &Totals, gateway: &gateway::metrics::Metrics) {
    let causes = RefusalCause::ALL.into_iter();
    let engine = causes
        .filter(|cause| *cause != RefusalCause::Application)
        .map(|cause| (cause.as_str(), totals.refusals[cause.index()] as f64));
    view.counters(
        "realtime_refusals_total",
        "Requests, handshakes and CONNECTs that were turned down, by cause.",
        "cause",
        engine.chain(gateway.refused()),
    );
    view.counters(
        "realtime_unknown_sessions_total",
        "Requests of a session that this node does not know, by cause; elsewhere: the balancer sent them to the wrong node.",
        "cause",
        Stray::ALL.map(|stray| (stray.as_str(), totals.strays[stray.index()] as f64)),
    );
}

fn traffic(view: &mut View, totals: &Totals) {
    for (name, help, total) in [
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
            "realtime_frames_compressed_total",
            "Frames handed to connections compressed; each was compressed once, however many took it.",
            totals.compressed,
        ),
        (
            "realtime_compression_saved_bytes_total",
            "Bytes that these would have taken beyond what they took.",
            totals.saved_bytes,
        ),
        (
            "realtime_handler_panics_total",
            "Event handlers that panicked.",
            totals.panics,
        ),
    ] {
        view.counter(name, help, total as f64);
    }
    view.counters(
        "realtime_events_sent_total",
        "Events handed to sockets, by name; those of the administration are one.",
        "event",
        gateway::metrics::sent(&totals.labelled),
    );
    view.counters(
        "realtime_events_sent_bytes_total",
        "Bytes of the events handed to sockets, by name.",
        "event",
        gateway::metrics::sent(&totals.labelled_bytes),
    );
}

fn queues(view: &mut View, totals: &Totals) {
    let queued = totals.queued;
    for (name, help, now) in [
        (
            "realtime_backlogged_connections",
            "Sessions for which something waits to be written.",
            queued.sessions,
        ),
        (
            "realtime_send_queue_frames",
            "Frames that wait to be written, of all sessions.",
            queued.frames,
        ),
        (
            "realtime_send_queue_bytes",
            "Bytes that wait to be written, of all sessions.",
            queued.bytes,
        ),
    ] {
        view.gauge(name, help, now as f64);
    }
    view.histogram(
        "realtime_connection_backlog_bytes",
        "Bytes that a session's turn left unwritten, whenever it left some.",
        &BACKLOG_BOUNDS.map(|bound| bound as f64),
        &totals.backlogs,
        totals.backlog_bytes as f64,
    );
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn totals_are_shown_by_transport_reason_and_cause() {
        let mut totals = Totals {
            polling: 2,
            websocket: 5,
            handshakes: 7,
            ..Totals::default()
        };
        totals.refusals[RefusalCause::Application.index()] = 4;
        totals.refusals[RefusalCause::UnknownSession.index()] = 3;
        let registry = Registry::new();
        let gateway = gateway::metrics::Metrics::new(&registry).unwrap();
        gateway.refuse("full");
        let look = move |view: &mut View| {
            sessions(view, &totals);
            refusals(view, &totals, &gateway);
        };
        registry.look_at(look).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "realtime_connections{transport=\"polling\"} 2",
            "realtime_connections{transport=\"websocket\"} 5",
            "# TYPE realtime_handshakes_total counter\nrealtime_handshakes_total 7",
            "realtime_refusals_total{cause=\"full\"} 1",
            "realtime_refusals_total{cause=\"unknown_session\"} 3",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}: {text}");
        }
        assert!(!text.contains("cause=\"application\""), "the gateway says why: {text}");
        for reason in CloseReason::ALL {
            let line = format!("realtime_closes_total{{reason=\"{}\"}} 0\n", reason.as_str());
            assert!(text.contains(&line), "{text}");
        }
    }
}
