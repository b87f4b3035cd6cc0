//! Every bound of the engine has a test that exceeds it: the offender is refused or closed, counted, and nobody else is
//! disturbed. AnyRedis of their own, with bounds small enough to reach. Not here: what the protocol forbids (`scripts`).

use std::time::{Duration, Instant};

use nself_realtime::engine::CloseReason;
use tokio::time::sleep;

use crate::client::{Connections, MAX_PAYLOAD, PING_INTERVAL, Polling, Received, Ws, within};
use crate::ours::{self, Own};
use crate::wire::{self, CONTINUATION, TEXT, WEBSOCKET_HEADERS, Wire, http_request};

/// How much later than promised a busy machine may be.
const SLACK: Duration = Duration::from_secs(3);

/// Waits until a close was counted for this reason.
async fn counted(server: &Own, reason: CloseReason) {
    let counters = server.counters();
    within(reason.as_str(), async {
        while counters.closes(reason) == 0 {
            sleep(Duration::from_millis(5)).await; // a count tells nobody that it changed
        }
    })
    .await;
}

/// A server that still answers.
async fn check_serves(server: &Own) {
    let (mut ws, _) = Ws::open(server.target).await;
    ws.send("4still there").await;
    assert_eq!(ws.text().await, "4still there");
}

#[tokio::test]
async fn a_websocket_message_over_the_maximum_closes_and_is_counted() {
    let server = ours::engine_echo_with(ours::patient);
    let (mut ws, _) = Ws::open(server.target).await;
    let largest = format!("4{}", "x".repeat(MAX_PAYLOAD - 1));
    ws.send(largest.clone()).await;
    assert_eq!(ws.text().await, largest);
    ws.send(format!("{largest}x")).await;
    assert_eq!(ws.packet().await, Received::Closed(Some(1009)));
    counted(&server, CloseReason::PayloadTooLarge).await;
    check_serves(&server).await;
}

#[tokio::test]
async fn a_body_over_the_maximum_ends_the_session_and_is_counted() {
    let server = ours::engine_echo_with(ours::patient);
    let session = Polling::open(server.target).await;
    let answer = session.post(vec![b'4'; MAX_PAYLOAD + 1]).await;
    assert_eq!(answer.status, 413);
    assert_eq!(session.get().await.status, 400);
    counted(&server, CloseReason::PayloadTooLarge).await;
    check_serves(&server).await;
}

/// A length that is announced is believed; nobody waits for the rest.
#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_at_once() {
    let server = ours::engine_echo_with(|settings| settings.body_read_timeout = Duration::from_secs(3600));
    let session = Polling::open(server.target).await;
    let mut peer = Wire::connect(server.target).await;
    let head = format!(
        "POST {}?EIO=4&transport=polling&sid={} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n4",
        server.target.path,
        session.sid,
        MAX_PAYLOAD + 1
    );
    peer.write(head.as_bytes()).await;
    assert_eq!(peer.response().await.expect("an answer").status, 413);
}

#[tokio::test]
async fn a_body_in_chunks_over_the_maximum_ends_the_session() {
    let server = ours::engine_echo_with(ours::patient);
    let session = Polling::open(server.target).await;
    let mut peer = Wire::connect(server.target).await;
    let head = format!(
        "POST {}?EIO=4&transport=polling&sid={} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
        server.target.path, session.sid
    );
    peer.write(head.as_bytes()).await;
    let chunk = [b"10000\r\n".as_slice(), &[b'4'; 0x10000], b"\r\n"].concat();
    for _ in 0..MAX_PAYLOAD / 0x10000 + 1 {
        peer.offer(&chunk).await; // a server may refuse before it has read all
    }
    assert_eq!(peer.response().await.expect("an answer").status, 413);
    assert_eq!(session.get().await.status, 400);
}

#[tokio::test]
async fn more_packets_than_a_payload_may_have_end_the_session() {
    let server = ours::engine_echo_with(|settings| settings.max_packets = 10);
    let session = Polling::open(server.target).await;
    session.send(&["4a"; 10].join("\u{1e}")).await;
    assert_eq!(session.take(10).await, ["4a"; 10]);
    assert!([400, 413].contains(&session.post(["4a"; 11].join("\u{1e}")).await.status));
    assert_eq!(session.get().await.status, 400);
    check_serves(&server).await;
}

/// Fragments of one byte, or of none, cost more than they bring.
#[tokio::test]
async fn a_flood_of_fragments_is_closed() {
    let server = ours::engine_echo_with(|settings| settings.max_fragments = 100);
    for fragment in [&b"a"[..], b""] {
        let mut peer = Wire::connect(server.target).await;
        let request = http_request(
            server.target,
            "GET",
            "EIO=4&transport=websocket",
            WEBSOCKET_HEADERS,
            b"",
        );
        peer.write(&request).await;
        assert_eq!(peer.response().await.expect("an answer").status, 101);
        peer.offer(&wire::frame(TEXT, b"4")).await;
        peer.offer(&wire::frame(CONTINUATION, fragment).repeat(10_000)).await;
        let begin = Instant::now();
        peer.until_closed().await;
        assert!(begin.elapsed() < SLACK, "by the bound, not by the heartbeat alone");
    }
    counted(&server, CloseReason::PayloadTooLarge).await;
    check_serves(&server).await;
}

/// A client that polls too rarely for what it asks for loses its session, not the server its memory.
#[tokio::test]
async fn more_than_the_output_queue_holds_ends_the_session() {
    let server = ours::engine_echo_with(|settings| settings.out_frames = 16);
    let session = Polling::open(server.target).await;
    let answer = session.post(["4a"; 100].join("\u{1e}")).await;
    assert!([200, 400].contains(&answer.status), "{answer:?}");
    counted(&server, CloseReason::SlowConsumer).await;
    assert_eq!(session.get().await.status, 400);
    check_serves(&server).await;
}

#[tokio::test]
async fn more_bytes_than_the_output_queue_holds_end_the_session() {
    let server = ours::engine_echo_with(|settings| settings.out_bytes = 100_000);
    let session = Polling::open(server.target).await;
    for _ in 0..3 {
        let answer = session.post(format!("4{}", "x".repeat(60_000))).await;
        assert!([200, 400].contains(&answer.status), "{answer:?}");
    }
    counted(&server, CloseReason::SlowConsumer).await;
    check_serves(&server).await;
}

/// Connections whose request never ends are closed in time, and keep nobody out meanwhile.
#[tokio::test]
async fn slow_heads_are_closed_and_disturb_nobody() {
    let server = ours::engine_echo_with(|settings| settings.header_read_timeout = Duration::from_millis(700));
    let begin = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut peer = Wire::connect(server.target).await;
        peer.write(format!("GET {} HTTP/1.1\r\nhost: x\r\n", server.target.path).as_bytes())
            .await;
        slow.push(tokio::spawn(async move {
            // A header byte at a time never ends the head.
            for byte in b"x-slow: ".iter().chain(std::iter::repeat(&b'a')) {
                tokio::select! {
                    () = peer.until_closed() => break,
                    () = sleep(Duration::from_millis(50)) => {}
                }
                if !peer.offer(&[*byte]).await {
                    break;
                }
            }
        }));
    }
    check_serves(&server).await;
    for peer in slow {
        within("the slow peer's end", peer).await.expect("no panic");
    }
    assert!(
        begin.elapsed() < Duration::from_millis(700) + SLACK,
        "closed after {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = ours::engine_echo_with(|settings| settings.header_read_timeout = Duration::from_millis(300));
    let begin = Instant::now();
    let mut peer = Wire::connect(server.target).await;
    peer.until_closed().await;
    assert!(
        begin.elapsed() < Duration::from_millis(300) + SLACK,
        "closed after {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let server = ours::engine_echo_with(|settings| {
        settings.body_read_timeout = Duration::from_millis(300);
        settings.ping_timeout = Duration::from_secs(60);
    });
    let session = Polling::open(server.target).await;
    let mut peer = Wire::connect(server.target).await;
    let head = format!(
        "POST {}?EIO=4&transport=polling&sid={} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n4",
        server.target.path, session.sid
    );
    let begin = Instant::now();
    peer.write(head.as_bytes()).await;
    if let Some(response) = peer.response().await {
        assert!([400, 408].contains(&response.status), "{response:?}");
    }
    peer.until_closed().await;
    assert!(
        begin.elapsed() < Duration::from_millis(300) + SLACK,
        "given up after {:?}",
        begin.elapsed()
    );
    check_serves(&server).await;
}

#[tokio::test]
async fn heads_with_too_much_in_them_are_refused() {
    let server = ours::engine_echo_with(ours::patient);
    let heads = [
        ("10,000 headers", "x: y\r\n".repeat(10_000)),
        ("one header of a megabyte", format!("x: {}\r\n", "y".repeat(1_000_000))),
        (
            "a megabyte of cookies",
            format!("cookie: {}\r\n", "a=b; ".repeat(200_000)),
        ),
    ];
    for (what, headers) in heads {
        let request = http_request(server.target, "GET", "EIO=4&transport=polling", &headers, b"");
        let mut peer = Wire::connect(server.target).await;
        peer.offer(&request).await; // a server may refuse before it has read all
        if let Some(response) = peer.response().await {
            assert!(
                [400, 413, 431].contains(&response.status),
                "{what}: {}",
                response.status
            );
        }
    }
    let query = format!("EIO=4&transport=polling&{}", "x".repeat(1_000_000));
    let mut peer = Wire::connect(server.target).await;
    peer.offer(&http_request(server.target, "GET", &query, "", b"")).await;
    if let Some(response) = peer.response().await {
        assert!(
            [400, 414, 431].contains(&response.status),
            "a long query: {}",
            response.status
        );
    }
    check_serves(&server).await;
}

#[tokio::test]
async fn more_http_connections_than_allowed_are_turned_away() {
    let server = ours::engine_echo_with(|settings| settings.http_connections = 4);
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut peer = Wire::connect(server.target).await;
        let request = http_request(server.target, "GET", "EIO=4&transport=polling", "", b"");
        peer.write(&request).await;
        assert_eq!(peer.response().await.expect("an answer").status, 200);
        idle.push(peer);
    }
    let mut fifth = Wire::connect(server.target).await;
    let request = http_request(server.target, "GET", "EIO=4&transport=polling", "", b"");
    fifth.offer(&request).await; // it may be closed by now
    if let Some(response) = fifth.response().await {
        assert_eq!(response.status, 503);
    }
    drop(idle);
    within("room for others again", async {
        loop {
            let mut peer = Wire::connect(server.target).await;
            peer.offer(&request).await;
            if peer.response().await.is_some_and(|response| response.status == 200) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A WebSocket that probes and never confirms is closed; what the session was before is the session's.
#[tokio::test]
async fn an_upgrade_that_is_not_finished_is_given_up() {
    let server = ours::engine_echo_with(|settings| {
        settings.upgrade_timeout = Duration::from_millis(300);
        settings.ping_interval = Duration::from_secs(60);
    });
    let session = Polling::open(server.target).await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    let begin = Instant::now();
    assert_eq!(ws.until_closed().await, []);
    assert!(
        begin.elapsed() < Duration::from_millis(300) + SLACK,
        "given up after {:?}",
        begin.elapsed()
    );
}

/// Whoever sends faster than it is served is slowed down by TCP, not by losing its messages.
#[tokio::test]
async fn a_full_input_queue_stops_reading_and_loses_nothing() {
    let server = ours::socket_echo_with(|settings| {
        ours::patient(settings);
        settings.in_events = 1;
    });
    let mut ws = crate::socket_suite::connected(server.target).await;
    for batch in 0..20 {
        ws.send_all((0..100).map(|id| format!(r#"42["message",{}]"#, batch * 100 + id)))
            .await;
        for id in 0..100 {
            assert_eq!(ws.text().await, format!(r#"42["message-back",{}]"#, batch * 100 + id));
        }
    }
}

#[tokio::test]
async fn shutdown_closes_every_transport_before_its_deadline() {
    let server = ours::engine_echo_with(|settings| settings.ping_interval = Duration::from_secs(60));
    let (mut ws, _) = Ws::open(server.target).await;
    let session = Polling::open(server.target).await;
    let poll = tokio::spawn(async move { session.get().await.status });
    sleep(PING_INTERVAL / 3).await; // nothing tells that the server has the poll
    let begin = Instant::now();
    let counters = server.counters();
    server.shutdown(Duration::from_secs(10)).await;
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "ended after {:?}",
        begin.elapsed()
    );
    assert_eq!(ws.until_closed().await, []);
    assert_eq!(within("the poll", poll).await.expect("no panic"), 200);
    assert_eq!(counters.closes(CloseReason::Shutdown), 2);
    assert_eq!(counters.connections(), 0);
}

/// Whoever polls comes back over a new TCP connection, and must still find what waits for it.
#[tokio::test]
async fn shutdown_gives_polling_sessions_what_waits_for_them() {
    let server = ours::engine_echo_with(|settings| settings.ping_interval = Duration::from_secs(60));
    let session = Polling::open_with(server.target, Connections::OnePerRequest).await;
    session.send("4last words").await;
    let begin = Instant::now();
    let shutdown = tokio::spawn(server.shutdown(Duration::from_secs(10)));
    assert_eq!(session.packets().await, ["4last words"]);
    assert_eq!(session.packets().await, ["1"]);
    within("the shutdown", shutdown).await.expect("no panic");
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "ended after {:?}",
        begin.elapsed()
    );
}
