//! Sessions that poll, and how they become WebSockets.

use nself_realtime::engine::{CloseReason, Settings};

use super::app::{Call, start};
use super::client::{Client, Poller};

#[tokio::test]
async fn a_kicked_poller_gets_everything_with_its_next_poll() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    poller.post("42[\"latest\"]\u{1e}42[\"kick\"]").await;
    assert_eq!(running.end().await, CloseReason::Kicked);
    let payload = poller.get().await;
    assert_eq!(&payload[payload.len() - 2..], ["41", "1"]);
    assert_eq!(payload.len(), 5);
}

#[tokio::test]
async fn an_upgrade_in_a_stream_loses_and_reorders_nothing() {
    // With four shards, requests of the session come in by others than its own.
    for shards in [1, 4] {
        let running = start(Settings::default(), shards);
        let addr = running.server.local_addr();
        let poller = Poller::connected(addr).await;
        poller.post(r#"42["stream"]"#).await;
        let mut seen = poller.get().await;
        let mut socket = Client::open(addr, Some(&poller.sid)).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        // The last poll before the change; it may still bring packets.
        seen.extend(poller.get().await);
        socket.send("5").await;
        seen.retain(|packet| packet != "6");
        let by_polling = seen.len();
        while seen.len() < by_polling + 100 {
            seen.push(socket.text().await);
        }
        running.gate.send_replace(true);
        while !seen.last().is_some_and(|packet| packet.starts_with(r#"42["sent""#)) {
            seen.push(socket.text().await);
        }
        let sent = seen.len() - 1;
        assert_eq!(seen.pop(), Some(format!(r#"42["sent",{sent}]"#)));
        let expected: Vec<_> = (0..sent).map(|n| format!(r#"42["n",{n}]"#)).collect();
        assert_eq!(seen, expected);
        assert_eq!(running.server.counters().totals().upgrades, 1);
    }
}

#[tokio::test]
async fn an_accepted_socket_hears_of_its_upgrade_once() {
    let mut running = start(Settings::default(), 2);
    let addr = running.server.local_addr();
    let poller = Poller::connected(addr).await;
    assert_eq!(running.next_call().await, Call::Connected);
    let mut socket = poller.upgraded(addr).await;
    assert_eq!(running.next_call().await, Call::Upgraded);
    socket.send(r#"42["marker"]"#).await;
    assert_eq!(running.next_call().await, Call::Event("marker".into()));
}

#[tokio::test]
async fn an_upgrade_before_the_socket_was_accepted_is_told_afterwards() {
    let mut running = start(Settings::default(), 2);
    let addr = running.server.local_addr();
    let poller = Poller::open(addr).await;
    poller.post(r#"40{"wait":"before"}"#).await;
    let mut socket = poller.upgraded(addr).await;
    let counters = running.server.counters();
    while counters.totals().upgrades == 0 {
        tokio::task::yield_now().await;
    }
    running.gate.send_replace(true);
    assert!(socket.text().await.starts_with("40"));
    socket.send(r#"42["marker"]"#).await;
    for call in [Call::Connected, Call::Upgraded, Call::Event("marker".into())] {
        assert_eq!(running.next_call().await, call);
    }
}
