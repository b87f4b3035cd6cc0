//! The names that socket.io's own exporters use (`socket.io-prometheus-metrics` and its kin), so that their dashboards go on
//! working; off unless `REALTIME_METRICS_SOCKET_IO`. Theirs are kept as they are, misspelt ones too. What they count as
//! `socket_io_errors_total` does not exist here, and is left out.

use crate::engine::Totals;
use crate::gateway::metrics::{self, Metrics};
use crate::metrics::View;

pub(super) fn show(view: &mut View, totals: &Totals, gateway: &Metrics) {
    let (connects, disconnects) = (gateway.connects.get() as f64, gateway.disconnects.get() as f64);
    let connected = (connects - disconnects).max(0.0);
    view.gauge(
        "socket_io_connected",
        "Sockets that were let in and have not ended.",
        connected,
    );
    // There is one namespace.
    view.fix("namespace", "/");
    for (name, help, count) in [
        (
            "socket_io_connect_total",
            "Sockets let in (realtime_connects_total).",
            connects,
        ),
        (
            "socket_io_disconnect_total",
            "Ends of sockets that were let in (realtime_disconnects_total).",
            disconnects,
        ),
    ] {
        view.counter(name, help, count);
    }
    view.counters(
        "socket_io_events_received_total",
        "Events from clients (realtime_events_received_total).",
        "event",
        gateway.received(),
    );
    view.counters(
        "socket_io_recieve_bytes",
        "Bytes of events from clients (realtime_events_received_bytes_total).",
        "event",
        gateway.received_bytes(),
    );
    view.counters(
        "socket_io_events_sent_total",
        "Events to clients (realtime_events_sent_total).",
        "event",
        metrics::sent(&totals.labelled),
    );
    view.counters(
        "socket_io_transmit_bytes",
        "Bytes of events to clients (realtime_events_sent_bytes_total).",
        "event",
        metrics::sent(&totals.labelled_bytes),
    );
}
