//! What the design promises of traffic and of peers that fail: order, heartbeat, upgrade under load, stalled and vanished
//! peers, any request on any connection. Not here: limits (`bounds`) and origins (`origins`).

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::client::{Connections, PING_INTERVAL, PING_TIMEOUT, Polling, Received, Target, Ws, within};
use crate::ours;
use crate::socket_suite::connected;
use crate::wire::{self, FIN, Frame, PING, PONG, WEBSOCKET_HEADERS, Wire, http_request};

/// How much later than promised a busy machine may be.
const SLACK: Duration = Duration::from_secs(2);

/// A server that answers a stranger is alive and well.
async fn check_serves(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    ws.send("4are you there?").await;
    assert_eq!(ws.text().await, "4are you there?");
    let session = Polling::open(target).await;
    session.send("4and you?").await;
    assert_eq!(session.packets().await, ["4and you?"]);
}

#[tokio::test]
async fn pipelined_events_are_handled_in_their_order() {
    let mut ws = connected(ours::patient_socket_echo()).await;
    let events = (0..1000).map(|id| match id % 2 {
        0 => format!(r#"42["message",{id}]"#),
        _ => format!(r#"42{id}["message-with-ack",{id}]"#),
    });
    ws.send_all(events).await;
    for id in 0..1000 {
        let expected = match id % 2 {
            0 => format!(r#"42["message-back",{id}]"#),
            _ => format!("43{id}[{id}]"),
        };
        assert_eq!(ws.text().await, expected);
    }
}

#[tokio::test]
async fn binary_and_text_events_keep_their_order() {
    let mut ws = connected(ours::patient_socket_echo()).await;
    for id in 0..100u8 {
        ws.send(format!(r#"42["message",{id}]"#)).await;
        ws.send(format!(r#"451-["message",{id},{{"_placeholder":true,"num":0}}]"#))
            .await;
        ws.send_binary([id]).await;
    }
    for id in 0..100u8 {
        assert_eq!(ws.text().await, format!(r#"42["message-back",{id}]"#));
        assert_eq!(
            ws.text().await,
            format!(r#"451-["message-back",{id},{{"_placeholder":true,"num":0}}]"#)
        );
        assert_eq!(ws.packet().await, Received::Binary(vec![id]));
    }
}

#[tokio::test]
async fn packets_of_a_payload_and_of_many_payloads_keep_their_order() {
    let session = Polling::open(ours::patient_engine_echo()).await;
    let expected: Vec<String> = (0..500).map(|id| format!("4{id}")).collect();
    for payload in expected.chunks(50) {
        session.send(&payload.join("\u{1e}")).await;
    }
    assert_eq!(session.take(expected.len()).await, expected);
}

/// python-engineio refuses payloads of more than sixteen packets, and drops its connection.
#[tokio::test]
async fn one_poll_brings_at_most_sixteen_packets() {
    let session = Polling::open(ours::patient_engine_echo()).await;
    let expected: Vec<String> = (0..100).map(|id| format!("4{id}")).collect();
    session.send(&expected.join("\u{1e}")).await;
    let mut echoes = Vec::new();
    while echoes.len() < expected.len() {
        let packets = session.packets().await;
        assert!(packets.len() <= 16, "{} packets in one answer", packets.len());
        echoes.extend(packets);
    }
    assert_eq!(echoes, expected);
}

/// Any shard takes any request: a TCP connection says nothing about where its session lives.
#[tokio::test]
async fn every_request_of_a_session_may_come_over_another_connection() {
    let target = ours::patient_engine_echo();
    let sessions: Vec<_> = (0..32)
        .map(|number| async move {
            let session = Polling::open_with(target, Connections::OnePerRequest).await;
            for round in 0..5 {
                let message = format!("4session {number}, round {round}");
                session.send(&message).await;
                assert_eq!(session.packets().await, [message]);
            }
            let mut ws = session.upgrade().await;
            ws.probe().await;
            ws.send("5").await;
            ws.send(format!("4session {number}, upgraded")).await;
            assert_eq!(ws.text().await, format!("4session {number}, upgraded"));
        })
        .collect();
    within("all sessions", futures_util::future::join_all(sessions)).await;
}

/// A thousand messages are sent before, while and after the transport changes, as the stock client does it: the probe
/// runs beside the traffic, then polling is paused, the upgrade is confirmed, and the rest goes over the WebSocket.
#[tokio::test]
async fn an_upgrade_under_traffic_loses_and_reorders_nothing() {
    let expected: Vec<String> = (0..1000).map(|id| format!("4{id}")).collect();
    let (before, after) = expected.split_at(600);
    let session = Polling::open(ours::patient_engine_echo()).await;

    // The poller ends with the answer that the server gives to every poll of a session that probes.
    let poller = {
        let session = session.clone();
        tokio::spawn(async move {
            let mut echoes = Vec::new();
            loop {
                let packets = session.packets().await;
                let paused = packets.iter().any(|packet| packet == "6");
                echoes.extend(packets.into_iter().filter(|packet| packet != "6"));
                if paused {
                    return echoes;
                }
            }
        })
    };
    let sender = {
        let session = session.clone();
        let payloads: Vec<String> = before.chunks(10).map(|chunk| chunk.join("\u{1e}")).collect();
        tokio::spawn(async move {
            for payload in payloads {
                session.send(&payload).await;
            }
        })
    };
    let mut ws = session.upgrade().await;
    ws.probe().await;
    let mut echoes = within("the poller", poller).await.expect("polls are answered");
    within("the sender", sender).await.expect("payloads are taken");
    ws.send("5").await;
    ws.send_all(after.iter().cloned()).await;
    while echoes.len() < expected.len() {
        echoes.push(ws.text().await);
    }
    assert_eq!(echoes, expected);
}

#[tokio::test]
async fn pings_come_an_interval_apart_and_an_answered_one_keeps_the_connection() {
    let begin = Instant::now();
    let (mut ws, _) = Ws::open(ours::engine_echo()).await;
    for round in 1..=5 {
        assert_eq!(ws.receive().await, Received::Text("2".into()));
        let elapsed = begin.elapsed();
        assert!(elapsed >= PING_INTERVAL * round, "ping {round} after {elapsed:?}");
        assert!(
            elapsed < (PING_INTERVAL + SLACK) * round,
            "ping {round} after {elapsed:?}"
        );
        ws.send("3").await;
    }
}

/// Also where clients have longer for a pong than there is between two pings, as the product has it.
#[tokio::test]
async fn the_next_ping_comes_an_interval_after_the_pong() {
    let (mut ws, _) = Ws::open(ours::patient_engine_echo()).await;
    let mut ponged = Instant::now();
    for round in 1..=5 {
        assert_eq!(ws.receive().await, Received::Text("2".into()));
        let elapsed = ponged.elapsed();
        assert!(elapsed < PING_INTERVAL + SLACK, "ping {round} after {elapsed:?}");
        ponged = Instant::now();
        ws.send("3").await;
    }
}

#[tokio::test]
async fn an_unanswered_ping_ends_the_connection_when_it_should() {
    let begin = Instant::now();
    let (mut ws, _) = Ws::open(ours::engine_echo()).await;
    assert_eq!(ws.until_closed().await, [Received::Text("2".into())]);
    let elapsed = begin.elapsed();
    assert!(elapsed >= PING_INTERVAL + PING_TIMEOUT, "closed after {elapsed:?}");
    assert!(
        elapsed < PING_INTERVAL + PING_TIMEOUT + SLACK,
        "closed after {elapsed:?}"
    );
}

/// Messages show that a client lives, but only pongs answer pings: a peer that floods is still timed out.
#[tokio::test]
async fn a_peer_that_reads_nothing_is_closed_and_disturbs_nobody() {
    let target = ours::engine_echo();
    let mut stalled = Wire::connect(target).await;
    let bytes = http_request(target, "GET", "EIO=4&transport=websocket", WEBSOCKET_HEADERS, b"");
    stalled.write(&bytes).await;
    let flood = tokio::spawn(async move {
        let message = wire::text(&format!("4{}", "x".repeat(50_000)));
        // Ends by an error, when the server has closed; it must, since nothing is read and nothing is ponged.
        while stalled.offer(&message).await {}
    });
    let (mut ws, _) = Ws::open(target).await;
    for round in 0..200 {
        let message = format!("4round {round}");
        ws.send(message.clone()).await;
        assert_eq!(ws.text().await, message);
    }
    within("the stalled peer's end", flood).await.expect("no panic");
    check_serves(target).await;
}

/// Resets at every point of the two handshakes and of an upgrade.
#[tokio::test]
async fn peers_that_vanish_disturb_nobody() {
    let target = ours::engine_echo();
    let session = Polling::open(target).await;
    let new = http_request(target, "GET", "EIO=4&transport=websocket", WEBSOCKET_HEADERS, b"");
    let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
    let upgrade = http_request(target, "GET", &query, WEBSOCKET_HEADERS, b"");
    let poll = http_request(
        target,
        "GET",
        &format!("EIO=4&transport=polling&sid={}", session.sid),
        "",
        b"",
    );
    for (request, frames) in [
        (&new, wire::text("4x")),
        (&upgrade, wire::text("2probe")),
        (&poll, Vec::new()),
    ] {
        for sent in [0, 1, request.len() / 2, request.len()] {
            let mut peer = Wire::connect(target).await;
            peer.write(&request[..sent]).await;
            peer.reset();
        }
        if frames.is_empty() {
            continue;
        }
        for sent in [0, 1, frames.len()] {
            let mut peer = Wire::connect(target).await;
            peer.write(request).await;
            // The session may be gone by an earlier round; then there is no WebSocket to lose.
            peer.response().await;
            peer.offer(&frames[..sent]).await;
            peer.reset();
        }
    }
    check_serves(target).await;
}

/// Two requests in one write are answered in their order, on the connection they came on.
#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let target = ours::engine_echo();
    let mut peer = Wire::connect(target).await;
    let good = http_request(target, "GET", "EIO=4&transport=polling", "", b"");
    let bad = http_request(target, "GET", "EIO=4&transport=abc", "", b"");
    peer.write(&[good.clone(), bad, good].concat()).await;
    for status in [200, 400, 200] {
        assert_eq!(peer.response().await.expect("an answer").status, status);
    }
}

/// Sessions that nobody polls are forgotten when their ping times out, and leave nothing behind.
#[tokio::test]
async fn abandoned_sessions_are_forgotten() {
    let server = ours::engine_echo_with(|_| {});
    for _ in 0..50 {
        Polling::open(server.target).await;
    }
    let counters = server.counters();
    assert_eq!(counters.totals().handshakes, 50);
    within("forgetting", async {
        while counters.connections() > 0 {
            sleep(Duration::from_millis(10)).await; // a count tells nobody that it changed
        }
    })
    .await;
}

#[tokio::test]
async fn pings_of_the_websocket_protocol_are_answered_with_their_payload() {
    let target = ours::engine_echo();
    let mut peer = Wire::connect(target).await;
    let request = http_request(target, "GET", "EIO=4&transport=websocket", WEBSOCKET_HEADERS, b"");
    peer.write(&request).await;
    assert_eq!(peer.response().await.expect("an answer").status, 101);
    peer.write(&wire::frame(FIN | PING, b"payload")).await;
    let pong = Frame::Data {
        first_byte: FIN | PONG,
        payload: b"payload".to_vec(),
    };
    while peer.frame().await != pong {}
}
