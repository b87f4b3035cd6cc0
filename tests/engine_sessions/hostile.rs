//! Peers that mean no good: slow heads and bodies, too many connections, abandoned sessions, packets of every shape.

use std::time::Duration;

use nself_realtime::engine::{CloseReason, Settings};
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::PATIENCE;
use super::app::{Call, start};
use super::client::{Client, Poller};

/// Everything the server says on a connection until it ends it.
async fn answer(tcp: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut answer)).await;
    // A reset is an end too.
    let _end = read.expect("an end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let settings = Settings {
        header_read_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let running = start(settings, 1);
    let mut tcp = TcpStream::connect(running.server.local_addr()).await.unwrap();
    tcp.write_all(b"GET /socket.io/ HTTP/1.1\r\nHost: a\r\n").await.unwrap();
    let answer = answer(&mut tcp).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_head_over_its_bound_is_refused() {
    let running = start(Settings::default(), 1);
    let mut tcp = TcpStream::connect(running.server.local_addr()).await.unwrap();
    let head = format!("GET /socket.io/ HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    let _may_be_cut_off = tcp.write_all(head.as_bytes()).await;
    let answer = answer(&mut tcp).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_with_its_session() {
    let settings = Settings {
        body_read_timeout: Duration::from_millis(200),
        ..Settings::default()
    };
    let mut running = start(settings, 1);
    let addr = running.server.local_addr();
    let poller = Poller::connected(addr).await;
    let mut tcp = TcpStream::connect(addr).await.unwrap();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", poller.sid);
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n42[");
    tcp.write_all(head.as_bytes()).await.unwrap();
    assert!(answer(&mut tcp).await.starts_with("HTTP/1.1 408"));
    assert_eq!(running.end().await, CloseReason::TransportError);
}

#[tokio::test]
async fn connections_over_the_bound_are_told_and_the_next_one_fits_again() {
    let settings = Settings {
        http_connections: 1,
        ..Settings::default()
    };
    let running = start(settings, 1);
    let addr = running.server.local_addr();
    let first = TcpStream::connect(addr).await.unwrap();
    let mut second = TcpStream::connect(addr).await.unwrap();
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 503"));
    drop(first);
    // A WebSocket is no HTTP connection any more, so any number of them may stand; each needs the place of the one before.
    let mut open = Vec::new();
    while open.len() < 3 {
        let tcp = TcpStream::connect(addr).await.unwrap();
        let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket");
        if let Ok((socket, _response)) = tokio_tungstenite::client_async(url, tcp).await {
            open.push(socket);
        }
    }
}

#[tokio::test]
async fn an_abandoned_poller_is_forgotten() {
    let settings = Settings {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    let mut running = start(settings, 1);
    let _abandoned = Poller::connected(running.server.local_addr()).await;
    assert_eq!(running.end().await, CloseReason::PingTimeout);
    assert_eq!(running.server.counters().connections(), 0);
}

#[tokio::test]
async fn no_packet_ends_more_than_its_own_connection() {
    const PACKETS: usize = 600;
    let mut running = start(Settings::default(), 2);
    let addr = running.server.local_addr();
    let mut runner = TestRunner::deterministic();
    let packet = "4?[0-6]?[0-9]{0,3}-?(/[a-zé]{0,3},?)?[0-9]{0,20}[\\[{]?(\"[a-zé\\\\]{0,5}\"|[0-9]|null|\\{\\}|\\[|\\]|,|\\{\"_placeholder\":true,\"num\":[0-9]\\}){0,5}[\\]}]?";
    let packets = proptest::string::string_regex(packet).unwrap();
    for n in 0..PACKETS {
        let packet = packets.new_tree(&mut runner).unwrap().current();
        let mut client = Client::connected(addr).await;
        client.send(&packet).await;
        let binary = Message::binary(vec![0xFF; n % 3]);
        let _may_be_closed_by_now = futures_util::SinkExt::send(&mut client.0, binary).await;
    }
    let mut ends = 0;
    while ends < PACKETS {
        ends += usize::from(matches!(running.next_call().await, Call::Disconnected(_)));
    }
    let totals = running.server.counters().totals();
    assert_eq!(totals.panics, 0);
    assert!(
        totals.closes[CloseReason::ParseError.index()] > 0,
        "some were malformed"
    );
    let mut client = Client::connected(addr).await;
    client.send(r#"421["fine"]"#).await;
    assert_eq!(client.text().await, "431[]");
}
