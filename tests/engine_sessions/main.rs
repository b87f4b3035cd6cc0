//! Sessions of the engine from outside: order, back-pressure, bounds, ends. What the official protocol suites send is tested
//! elsewhere; here is what they do not ask for.

mod app;
mod client;
mod compression;
mod farewell;
#[path = "../support/frames.rs"]
mod frames;
mod hostile;
mod polling;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use app::{Call, start};
use client::{Client, Poller};
use futures_util::{SinkExt as _, StreamExt as _};
use nself_realtime::engine::{CloseReason, Origins, RefusalCause, Settings};
use tokio_tungstenite::tungstenite::Message;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn events_run_in_order_while_handlers_take_different_times() {
    let running = start(Settings::default(), 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    for id in 0..1_000 {
        let event = format!(r#"42{id}["yield",{}]"#, (id * 7) % 5);
        client.0.feed(Message::text(event)).await.unwrap();
    }
    client.0.flush().await.unwrap();
    for id in 0..1_000 {
        assert_eq!(client.text().await, format!("43{id}[]"));
    }
}

#[tokio::test]
async fn a_connection_carries_the_pid_and_an_error_its_data() {
    let running = start(Settings::default(), 1);
    let mut client = Client::open(running.server.local_addr(), None).await;
    client.text().await;
    client.send(r#"40{"token":"bad"}"#).await;
    let refused = r#"44{"message":"Invalid token","data":{"code":"INVALID"}}"#;
    assert_eq!(client.text().await, refused);
    client.send(r#"40{"token":"good"}"#).await;
    assert!(client.text().await.ends_with(r#","pid":"pid-1"}"#));
}

/// The stock client gives up on CONNECT_ERROR; for what passes it must come back, and so sees a lost transport.
#[tokio::test]
async fn a_connect_that_is_unavailable_only_closes() {
    let running = start(Settings::default(), 1);
    let addr = running.server.local_addr();
    let connect = r#"40{"token":"unavailable"}"#;
    let mut client = Client::open(addr, None).await;
    assert!(client.text().await.starts_with('0'));
    client.send(connect).await;
    let end = tokio::time::timeout(PATIENCE, client.0.next()).await.unwrap();
    assert!(matches!(end, Some(Ok(Message::Close(_)))), "{end:?}");

    let poller = Poller::open(addr).await;
    poller.post(connect).await;
    assert_eq!(poller.get().await, ["1"]);
    assert_eq!(running.server.counters().closes(CloseReason::Unavailable), 2);
}

#[tokio::test]
async fn a_panic_closes_its_own_connection_alone() {
    let mut running = start(Settings::default(), 1);
    let addr = running.server.local_addr();
    let mut unlucky = Client::connected(addr).await;
    let mut other = Client::connected(addr).await;
    unlucky.send(r#"42["panic"]"#).await;
    assert_eq!(unlucky.close_code().await, Some(1011));
    assert_eq!(running.end().await, CloseReason::Internal);
    other.send(r#"421["still there"]"#).await;
    assert_eq!(other.text().await, "431[]");
    assert_eq!(running.server.counters().totals().panics, 1);
}

#[tokio::test]
async fn what_waits_is_run_before_a_lost_connection_is_told() {
    let mut running = start(Settings::default(), 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    client.send(r#"42["gate"]"#).await;
    client.send(r#"42["a"]"#).await;
    client.send(r#"42["b"]"#).await;
    drop(client);
    assert_eq!(running.next_call().await, Call::Connected);
    let counters = running.server.counters();
    while counters.connections() > 0 {
        tokio::task::yield_now().await;
    }
    running.gate.send_replace(true);
    for name in ["gate", "a", "b"] {
        assert_eq!(running.next_call().await, Call::Event(name.into()));
    }
    let end = Call::Disconnected(CloseReason::TransportClose);
    assert_eq!(running.next_call().await, end);
}

#[tokio::test]
async fn what_follows_a_malformed_packet_is_not_run() {
    let mut running = start(Settings::default(), 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    for packet in [r#"42["gate"]"#, r#"42["a"]"#, "42{}", r#"42["b"]"#] {
        client.send(packet).await;
    }
    running.gate.send_replace(true);
    assert_eq!(client.close_code().await, Some(1002));
    drop(client);
    running.server.shutdown(PATIENCE).await;
    let mut calls = Vec::new();
    while let Some(call) = running.calls.recv().await {
        calls.push(call);
    }
    let expected = [
        Call::Connected,
        Call::Event("gate".into()),
        Call::Event("a".into()),
        Call::Disconnected(CloseReason::ParseError),
    ];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_a_slow_consumer() {
    let settings = Settings {
        out_frames: 100,
        ..Settings::default()
    };
    let mut running = start(settings, 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    client.send(r#"42["flood",1000]"#).await;
    assert_eq!(running.end().await, CloseReason::SlowConsumer);
    assert_eq!(running.server.counters().closes(CloseReason::SlowConsumer), 1);
}

#[tokio::test]
async fn complaint_13_a_peer_that_stops_reading_is_gone() {
    assert_eq!(
        Settings::default().write_stall,
        Duration::from_secs(30),
        "as every node has it"
    );
    let settings = Settings {
        write_stall: Duration::from_millis(300),
        out_bytes: 1 << 30,
        ..Settings::default()
    };
    let mut running = start(settings, 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    // More than the socket buffers of both sides take.
    client.send(r#"42["flood",400]"#).await;
    assert_eq!(running.end().await, CloseReason::WriteStalled);
}

#[tokio::test]
async fn a_full_inbox_stops_the_reading_and_excuses_the_pong() {
    let settings = Settings {
        in_events: 4,
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(700),
        ..Settings::default()
    };
    let mut running = start(settings, 1);
    let addr = running.server.local_addr();
    let mut client = Client::connected(addr).await;
    client.send(r#"42["gate"]"#).await;
    let event = format!(r#"42["big","{}"]"#, "x".repeat(100_000));
    let sending = tokio::spawn(async move {
        for _ in 0..400 {
            client.send(&event).await;
            // The answer to a ping, which stands behind what is not read.
            client.send("3").await;
        }
        client
    });
    // Another connection lives through several heartbeats meanwhile.
    let mut clock = Client::connected(addr).await;
    for id in 0..20 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        clock.send(&format!(r#"42{id}["tick"]"#)).await;
        assert_eq!(clock.text().await, format!("43{id}[]"));
    }
    assert!(!sending.is_finished(), "40 MB cannot be anywhere but unsent");
    assert!(running.server.counters().totals().bytes_in < 2_000_000);
    drop(clock);
    running.gate.send_replace(true);
    let mut big = 0;
    while big < 400 {
        match running.next_call().await {
            Call::Event(name) => big += u32::from(name == "big"),
            Call::Connected | Call::Upgraded => {}
            Call::Disconnected(reason) => assert_ne!(reason, CloseReason::PingTimeout),
        }
    }
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn the_newest_of_a_key_is_sent_in_the_place_of_the_older() {
    let running = start(Settings::default(), 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    client.send(r#"42["latest"]"#).await;
    assert_eq!(client.text().await, r#"42["typing","new"]"#);
    assert_eq!(client.text().await, r#"42["message"]"#);
    assert_eq!(client.text().await, r#"42["presence"]"#);
    assert_eq!(running.server.counters().totals().replaced, 1);
}

#[tokio::test]
async fn a_kicked_client_is_told_and_what_it_still_sent_is_not_run() {
    let mut running = start(Settings::default(), 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    for event in [r#"42["gate"]"#, r#"42["kick"]"#, r#"42["after"]"#] {
        client.send(event).await;
    }
    running.gate.send_replace(true);
    assert_eq!(client.text().await, "41");
    assert_eq!(client.close_code().await, Some(1000));
    for call in [
        Call::Connected,
        Call::Event("gate".into()),
        Call::Event("kick".into()),
        Call::Disconnected(CloseReason::Kicked),
    ] {
        assert_eq!(running.next_call().await, call);
    }
    drop(client);
    running.server.shutdown(PATIENCE).await;
    assert!(running.calls.recv().await.is_none(), "exactly once");
}

#[tokio::test]
async fn a_drained_client_loses_its_transport_only() {
    let mut running = start(Settings::default(), 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    client.send(r#"421["drain"]"#).await;
    assert_eq!(client.close_code().await, Some(1001));
    assert_eq!(running.end().await, CloseReason::Draining);
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back() {
    let running = start(Settings::default(), 1);
    running.is_full.store(true, SeqCst);
    let url = format!(
        "http://{}/socket.io/?EIO=4&transport=polling",
        running.server.local_addr()
    );
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "2");
    let refusals = running.server.counters().totals().refusals;
    assert_eq!(refusals[RefusalCause::Application.index()], 1);
}

#[tokio::test]
async fn a_foreign_origin_gets_nothing_by_either_transport() {
    let settings = Settings {
        origins: Origins::List(vec!["https://good.example".into()]),
        ..Settings::default()
    };
    let running = start(settings, 1);
    let http = reqwest::Client::new();
    for transport in ["polling", "websocket"] {
        let addr = running.server.local_addr();
        let url = format!("http://{addr}/socket.io/?EIO=4&transport={transport}");
        let evil = http.get(&url).header("origin", "https://evil.example");
        assert_eq!(evil.send().await.unwrap().status(), 403);
    }
    let refusals = running.server.counters().totals().refusals;
    assert_eq!(refusals[RefusalCause::Origin.index()], 2);
}

#[tokio::test]
async fn a_shutdown_waits_for_the_last_call() {
    let mut running = start(Settings::default(), 2);
    let addr = running.server.local_addr();
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Client::connected(addr).await);
    }
    let closing = tokio::spawn(async move {
        for client in &mut clients {
            assert_eq!(client.close_code().await, Some(1001));
        }
    });
    running.server.shutdown(PATIENCE).await;
    let mut ends = 0;
    while let Some(call) = running.calls.recv().await {
        ends += u32::from(call == Call::Disconnected(CloseReason::Shutdown));
    }
    assert_eq!(ends, 10);
    closing.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_leaves_a_handler_that_does_not_end() {
    let running = start(Settings::default(), 1);
    let mut client = Client::connected(running.server.local_addr()).await;
    client.send(r#"42["gate"]"#).await;
    let begun = Instant::now();
    running.server.shutdown(Duration::from_millis(300)).await;
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn closures_for_a_shard_are_bounded() {
    let running = start(Settings::default(), 1);
    let (began, begins) = tokio::sync::oneshot::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let hold = move || {
        began.send(()).unwrap();
        goes_on.recv().unwrap();
    };
    running.server.run_on(0, hold).unwrap();
    begins.await.unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = || {
        let ran = ran.clone();
        move || {
            ran.fetch_add(1, SeqCst);
        }
    };
    let mut taken = 0;
    while running.server.run_on(0, count()).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 1_024);
    go_on.send(()).unwrap();
    running.server.shutdown(PATIENCE).await;
    assert_eq!(ran.load(SeqCst), taken);
}
