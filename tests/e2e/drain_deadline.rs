//! A node that is told to stop ends with 0 before its limit, also where somebody who is to hear of it hears nothing: clients
//! that do not read, a Redis and a Postgres that hang.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::node::Node;
use crate::support::postgres::Postgres;
use crate::support::raw::{Raw, room};
use crate::support::redis::Redis;
use crate::support::token::token;

const LIMIT: Duration = Duration::from_secs(10);
const SETTINGS: &[(&str, &str)] = &[
    ("REALTIME_DRAIN_WAIT", "500"),
    ("REALTIME_DRAIN_WINDOW", "1000"),
    ("REALTIME_DRAIN_TIMEOUT", "10000"),
];

/// SIGTERM, and the end that was promised.
async fn ends_in_time(node: &Node) {
    let signalled = Instant::now();
    node.signal("TERM");
    let status = node.ended(LIMIT + Duration::from_secs(20)).await;
    let took = signalled.elapsed();
    assert_eq!(status.code(), Some(0), "{}", node.log_text());
    println!("ended in {:.1} s of {LIMIT:?}", took.as_secs_f64());
    assert!(took <= LIMIT, "it took {took:?}\n{}", node.log_text());
}

/// A text frame of a client; the mask is zero, so the payload stands as it is.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(len) if len < 126 => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

/// A member of `room` that will not read any more, and whose system keeps as little as it can.
async fn deaf_member(node: &Node, user: &str, room: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("it may be small");
    let address = format!("127.0.0.1:{}", node.port()).parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the node listens");
    let upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let join = format!("420{}", json!(["room:join", {"roomName": room}]));
    let connect = format!("40{}", json!({"token": token(user)}));
    for bytes in [upgrade.as_bytes(), &frame(&connect), &frame(&join)] {
        stream.write_all(bytes).await.expect("the node reads");
    }
    let mut heard = String::new();
    while !heard.contains("430[{\"success\":true") {
        let mut bytes = [0; 4_096];
        let count = stream.read(&mut bytes).await.expect("it answers");
        assert!(count > 0, "the node ended it: {heard}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    stream
}

#[tokio::test]
async fn clients_that_do_not_read_hold_up_nothing() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), SETTINGS).await;
    let room = room();
    let speaker = Raw::member(&node, "speaker", &room).await;
    let mut deaf = Vec::new();
    for number in 0..20 {
        deaf.push(deaf_member(&node, &format!("deaf-{number}"), &room).await);
    }
    // More than both systems keep for one connection, and less than ends a slow one.
    for _ in 0..58 {
        speaker
            .done("message:send", json!({"roomName": room, "content": "x".repeat(60_000)}))
            .await;
    }
    assert_eq!(
        node.metric("realtime_connections", "transport=\"websocket\"").await,
        Some(21.0)
    );
    ends_in_time(&node).await;
    for mut stream in deaf {
        let mut rest = Vec::new();
        // However it ended, this is what came before.
        let _ended = stream.read_to_end(&mut rest).await;
        let heard = String::from_utf8_lossy(&rest);
        assert!(
            !heard.contains("server:draining"),
            "it was stalled: the word stood behind the rest"
        );
    }
}

#[tokio::test]
async fn a_redis_that_hangs_holds_up_nothing() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), SETTINGS).await;
    let room = room();
    let mut members = Vec::new();
    for user in ["ann", "bob", "cleo"] {
        members.push(Raw::member(&node, user, &room).await);
    }
    redis.pause();
    ends_in_time(&node).await;
    for member in &members {
        member.heard("server:draining", |_| true).await;
        member.closed().await;
    }
    redis.resume();
}

#[tokio::test]
async fn a_postgres_that_hangs_holds_up_nothing() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::start());
    let url = postgres.url();
    let mut settings = SETTINGS.to_vec();
    settings.extend([("REALTIME_DATABASE_URL", url.as_str()), ("REALTIME_MIGRATE", "true")]);
    let node = Node::start(&redis.url(), &settings).await;
    node.logs(&["this node writes the archive"]).await;
    let room = room();
    let member = Raw::member(&node, "ann", &room).await;
    postgres.pause();
    // What waits for Postgres by now is left to the next start.
    member
        .done("message:send", json!({"roomName": room, "content": "waits"}))
        .await;
    ends_in_time(&node).await;
    postgres.resume();
}

#[tokio::test]
async fn both_that_hang_hold_up_nothing() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::start());
    let url = postgres.url();
    let mut settings = SETTINGS.to_vec();
    settings.extend([("REALTIME_DATABASE_URL", url.as_str()), ("REALTIME_MIGRATE", "true")]);
    let node = Node::start(&redis.url(), &settings).await;
    let member = Raw::enter(&node, "ann").await;
    postgres.pause();
    redis.pause();
    ends_in_time(&node).await;
    member.heard("server:draining", |_| true).await;
    postgres.resume();
    redis.resume();
}
