//! Sessions that poll, and how they become WebSockets.

use std::time::{Duration, Instant};

use nself_realtime::engine::{CloseReason, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::app::{Call, start};
use super::client::{Client, Poller};

#[tokio::test]
async fn a_kicked_poller_gets_everything_and_the_close_with_the_poll_after_it() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    poller.post("42[\"latest\"]\u{1e}42[\"kick\"]").await;
    assert_eq!(running.end().await, CloseReason::Kicked);
    let payload = poller.get().await;
    assert_eq!(payload.last().unwrap(), "41");
    assert_eq!(payload.len(), 4);
    assert_eq!(poller.get().await, ["1"]);
    assert_eq!(poller.try_get().await.unwrap_err(), 400);
}

#[tokio::test]
async fn a_poll_that_waits_gets_the_farewell_without_the_close() {
    let mut running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    assert_eq!(running.next_call().await, Call::Connected);
    poller.post(r#"42["gate"]"#).await;
    poller.post(r#"42["kick"]"#).await;
    let (farewell, ()) = tokio::join!(poller.get(), async {
        running.gate.send_replace(true);
    });
    assert_eq!(farewell, ["41"]);
    assert_eq!(poller.get().await, ["1"]);
}

#[tokio::test]
async fn a_long_farewell_takes_several_polls() {
    let running = start(Settings::default(), 2);
    let poller = Poller::connected(running.server.local_addr()).await;
    poller.post("42[\"flood\",40]\u{1e}42[\"kick\"]").await;
    let mut counts = Vec::new();
    let mut last = String::new();
    while last != "1" {
        let mut payload = poller.get().await;
        counts.push(payload.len());
        last = payload.pop().unwrap();
    }
    assert_eq!(counts.iter().sum::<usize>(), 40 + ["41", "1"].len());
    assert!(counts.iter().all(|count| *count <= 16), "{counts:?}");
}

#[tokio::test]
async fn a_poller_that_is_gone_is_not_waited_for() {
    let mut running = start(Settings::default(), 1);
    let poller = Poller::connected(running.server.local_addr()).await;
    poller.post(r#"42["kick"]"#).await;
    assert_eq!(running.end().await, CloseReason::Kicked);
    let begun = Instant::now();
    running.server.shutdown(PATIENCE).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
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

#[tokio::test]
async fn a_shutdown_answers_the_last_polls_and_refuses_new_sessions() {
    // The requests come in by any shard, also by those that have no session left.
    let mut running = start(Settings::default(), 4);
    let addr = running.server.local_addr();
    let poller = Poller::connected(addr).await;
    poller.post(r#"42["latest"]"#).await;
    assert_eq!(running.next_call().await, Call::Connected);
    assert_eq!(running.next_call().await, Call::Event("latest".into()));
    let stopping = tokio::spawn(running.server.shutdown(PATIENCE));
    let end = Call::Disconnected(CloseReason::Shutdown);
    let told = tokio::time::timeout(PATIENCE, running.calls.recv()).await;
    assert_eq!(told.unwrap(), Some(end));

    // One that came before its shard heard of the end may still be let in.
    let mut refusal = Poller::try_open(addr).await;
    while refusal.is_ok() {
        refusal = Poller::try_open(addr).await;
    }
    let refusal = refusal.err().unwrap();
    assert_eq!(refusal.status(), 503);
    assert_eq!(refusal.headers()["retry-after"], "1");

    assert_eq!(poller.get().await.len(), 3, "what waited");
    assert_eq!(poller.get().await, ["1"]);
    let begun = Instant::now();
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let late = TcpStream::connect(addr).await;
    assert!(late.is_err(), "the listener is closed");
}

#[tokio::test]
async fn a_post_whose_body_comes_after_the_end_is_answered() {
    let mut running = start(Settings::default(), 2);
    let addr = running.server.local_addr();
    let poller = Poller::connected(addr).await;
    // The farewell has begun, and takes the POST; its body does not come.
    poller.post("42[\"kick\"]").await;
    assert_eq!(running.end().await, CloseReason::Kicked);
    let mut late = TcpStream::connect(addr).await.expect("the server listens");
    let head = format!(
        "POST /socket.io/?EIO=4&transport=polling&sid={} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: text/plain\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n",
        poller.sid
    );
    late.write_all(head.as_bytes()).await.expect("it is open");
    let mut answer = [0; 512];
    let read = late.read(&mut answer).await.expect("it is open");
    assert!(answer[..read].starts_with(b"HTTP/1.1 100"), "the body is wanted");
    // Everything is fetched: the session is over.
    while poller.try_get().await.is_ok() {}
    late.write_all(b"1").await.expect("it is open");
    let read = tokio::time::timeout(Duration::from_secs(5), late.read(&mut answer)).await;
    let read = read.expect("it is answered").expect("it is open");
    assert!(
        answer[..read].starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&answer[..read])
    );
}
