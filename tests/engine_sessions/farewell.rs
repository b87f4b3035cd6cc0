//! The end of a session that is just changing from polling to WebSocket: the client has stopped polling, so what it is told last,
//! and the close, must reach it by the WebSocket; and when that fails, by polling after all.

use std::time::{Duration, Instant};

use nself_realtime::engine::{CloseReason, Settings};
use tokio::sync::mpsc::error::TryRecvError;

use super::app::{Running, start};
use super::client::{Client, Poller};

/// Longer than a poller has that does not upgrade.
const LONGER_THAN_POLLS: Duration = Duration::from_millis(2_300);

const LATEST: [&str; 3] = [r#"42["typing","new"]"#, r#"42["message"]"#, r#"42["presence"]"#];
const LATEST_AND_KICK: &str = "42[\"latest\"]\u{1e}42[\"kick\"]";

/// A WebSocket whose probe was answered: the client polls no more.
async fn probed(running: &Running, poller: &Poller) -> Client {
    let mut socket = Client::open(running.server.local_addr(), Some(&poller.sid)).await;
    probe(&mut socket).await;
    socket
}

async fn probe(socket: &mut Client) {
    socket.send("2probe").await;
    assert_eq!(socket.text().await, "3probe");
}

/// Has the session queue its last words and close; when this returns, its end has begun.
async fn kick(running: &mut Running, poller: &Poller) {
    poller.post(LATEST_AND_KICK).await;
    assert_eq!(running.end().await, CloseReason::Kicked);
}

/// The client's last step of an upgrade; it must hear everything by the WebSocket then.
async fn hears_all_by_websocket(running: &mut Running, poller: &Poller, mut socket: Client) {
    socket.send("5").await;
    for word in LATEST {
        assert_eq!(socket.text().await, word);
    }
    assert_eq!(socket.text().await, "41");
    assert_eq!(socket.close_code().await, Some(1000));
    assert_eq!(poller.try_get().await.unwrap_err(), 400);
    let totals = running.server.counters().totals();
    assert_eq!((totals.upgrades, totals.polling, totals.websocket), (1, 0, 0));
    let later = running.calls.try_recv();
    assert_eq!(
        later,
        Err(TryRecvError::Empty),
        "who has ended it is told of no upgrade"
    );
}

#[tokio::test]
async fn a_session_closed_between_probe_and_change_says_farewell_by_websocket() {
    // With four shards, requests of the session come in by others than its own.
    for shards in [1, 4] {
        let mut running = start(Settings::default(), shards);
        let poller = Poller::connected(running.server.local_addr()).await;
        let socket = probed(&running, &poller).await;
        kick(&mut running, &poller).await;
        hears_all_by_websocket(&mut running, &poller, socket).await;
    }
}

#[tokio::test]
async fn a_probe_after_the_close_is_answered() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    let mut socket = Client::open(running.server.local_addr(), Some(&poller.sid)).await;
    kick(&mut running, &poller).await;
    probe(&mut socket).await;
    hears_all_by_websocket(&mut running, &poller, socket).await;
}

#[tokio::test]
async fn a_websocket_opened_after_the_close_takes_the_farewell_over() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    kick(&mut running, &poller).await;
    let socket = probed(&running, &poller).await;
    hears_all_by_websocket(&mut running, &poller, socket).await;
}

/// The client may have sent a poll before it heard that its probe was answered. It gets what waits, but no close: the client
/// would act on that before it has changed.
#[tokio::test]
async fn a_poll_during_the_change_gets_what_waits_and_then_is_let_go() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    let mut socket = probed(&running, &poller).await;
    kick(&mut running, &poller).await;
    assert_eq!(poller.get().await, [&LATEST[..], &["41"]].concat());
    assert_eq!(poller.get().await, ["6"]);
    assert_eq!(poller.get().await, ["6"]);
    socket.send("5").await;
    assert_eq!(socket.close_code().await, Some(1000));
}

#[tokio::test]
async fn the_change_has_all_the_time_for_a_farewell() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    let mut socket = probed(&running, &poller).await;
    poller.post(r#"42["drain"]"#).await;
    assert_eq!(running.end().await, CloseReason::Draining);
    let begun = Instant::now();
    while begun.elapsed() < LONGER_THAN_POLLS {
        assert_eq!(poller.get().await, ["6"]);
    }
    socket.send("5").await;
    assert_eq!(socket.close_code().await, Some(1001));
}

#[tokio::test]
async fn a_change_that_never_comes_ends_with_the_time_for_a_farewell() {
    let close_timeout = Duration::from_secs(1);
    let settings = Settings {
        close_timeout,
        ..Settings::default()
    };
    let mut running = start(settings, 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    let mut socket = probed(&running, &poller).await;
    let begun = Instant::now();
    kick(&mut running, &poller).await;
    assert_eq!(poller.get().await, [&LATEST[..], &["41"]].concat());
    let last = loop {
        match poller.try_get().await {
            Ok(packets) if packets == ["6"] => {}
            last => break last,
        }
    };
    assert!(begun.elapsed() >= close_timeout);
    // A poll that waits at the end is told so, one that comes after it finds nothing.
    assert!(
        matches!(&last, Ok(packets) if packets == &["1"]) || last == Err(400),
        "{last:?}"
    );
    assert_eq!(
        socket.close_code().await,
        Some(1000),
        "its probe is over, long before its own time"
    );
    assert_eq!(poller.try_get().await.unwrap_err(), 400);
    assert_eq!(running.server.counters().totals().upgrades, 0);
}

#[tokio::test]
async fn a_websocket_that_fails_gives_the_farewell_back_to_polling() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    let socket = probed(&running, &poller).await;
    kick(&mut running, &poller).await;
    drop(socket);
    assert_eq!(poller.get().await, [&LATEST[..], &["41"]].concat());
    let mut last = poller.get().await;
    while last == ["6"] {
        // The server may not have seen yet that the WebSocket is lost.
        last = poller.get().await;
    }
    assert_eq!(last, ["1"]);
}

/// A stock client takes an error for a lost transport, and hears nothing more.
#[tokio::test]
async fn what_is_posted_during_the_farewell_is_taken_and_forgotten() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    kick(&mut running, &poller).await;
    poller.post(r#"42["late"]"#).await;
    assert_eq!(poller.get().await, [&LATEST[..], &["41"]].concat());
    assert_eq!(poller.get().await, ["1"]);
    running.server.shutdown(super::PATIENCE).await;
    assert!(running.calls.recv().await.is_none(), "the late event is not run");
}
