//! The cases of the official Engine.IO v4 protocol suite, in its order and under its names: handshake, message, heartbeat,
//! close, upgrade; each over HTTP long-polling and over WebSocket. Not here: cases that the suite does not have.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{Answer, MAX_PAYLOAD, PING_INTERVAL, PING_TIMEOUT, Polling, Received, Target, Ws, request};
use crate::wire::{Wire, http_request};

crate::suite! {
    engine_echo:
    handshake_polling_opens_a_session
    handshake_polling_fails_with_an_invalid_eio
    handshake_polling_fails_with_an_invalid_transport
    handshake_polling_fails_with_an_invalid_method
    handshake_websocket_opens_a_session
    handshake_websocket_fails_with_an_invalid_eio
    handshake_websocket_fails_with_an_invalid_transport
    message_polling_one_text_packet
    message_polling_several_text_packets
    message_polling_text_and_binary_packets
    message_polling_invalid_packet_closes_the_session
    message_polling_duplicate_poll_closes_the_session
    message_websocket_text_packet
    message_websocket_binary_packet
    message_websocket_invalid_packet_closes_the_session
    heartbeat_polling_ping_pong
    heartbeat_polling_timeout_closes_the_session
    heartbeat_websocket_ping_pong
    heartbeat_websocket_timeout_closes_the_session
    close_polling_closes_the_session
    close_websocket_closes_the_session
    upgrade_from_polling_to_websocket
    upgrade_then_http_with_the_same_sid_is_ignored
    upgrade_then_websocket_with_the_same_sid_is_ignored
    ;
    ours_only:
    message_polling_cancelled_poll_closes_the_session
}

/// An HTTP request without a session.
pub async fn bare(target: Target, method: &str, query: &str) -> Answer {
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    request(&http, method, &target.url("http", query), None).await
}

/// The five fields of the handshake, and nothing else.
pub fn check_handshake(handshake: &Value, upgrades: Value) {
    let fields = handshake.as_object().expect("an object");
    let mut keys: Vec<_> = fields.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
    assert!(!handshake["sid"].as_str().expect("sid is a string").is_empty());
    assert_eq!(handshake["upgrades"], upgrades);
    assert_eq!(handshake["pingInterval"], PING_INTERVAL.as_millis() as u64);
    assert_eq!(handshake["pingTimeout"], PING_TIMEOUT.as_millis() as u64);
    assert_eq!(handshake["maxPayload"], MAX_PAYLOAD);
}

/// A WebSocket that must not come to be: refused with 400, or closed before it said anything.
pub async fn check_no_websocket(target: Target, query: &str) {
    match Ws::connect(target, query).await {
        Err(status) => assert_eq!(status, 400, "{query}"),
        Ok(mut ws) => assert_eq!(ws.until_closed().await, [], "{query}"),
    }
}

/// The server closes, and says nothing before; a ping may have been on its way.
async fn check_closes(mut ws: Ws) {
    let said = ws.until_closed().await;
    assert!(
        said.iter().all(|packet| *packet == Received::Text("2".into())),
        "{said:?}"
    );
}

/// The session is gone: whoever names it is told so.
pub async fn check_gone(session: &Polling) {
    let answer = session.get().await;
    assert_eq!(answer.status, 400, "a poll of a session that is gone: {answer:?}");
}

pub async fn handshake_polling_opens_a_session(target: Target) {
    check_handshake(&Polling::open(target).await.handshake, json!(["websocket"]));
}

pub async fn handshake_polling_fails_with_an_invalid_eio(target: Target) {
    assert_eq!(bare(target, "GET", "transport=polling").await.status, 400);
    assert_eq!(bare(target, "GET", "EIO=abc&transport=polling").await.status, 400);
}

pub async fn handshake_polling_fails_with_an_invalid_transport(target: Target) {
    assert_eq!(bare(target, "GET", "EIO=4").await.status, 400);
    assert_eq!(bare(target, "GET", "EIO=4&transport=abc").await.status, 400);
}

pub async fn handshake_polling_fails_with_an_invalid_method(target: Target) {
    assert_eq!(bare(target, "POST", "EIO=4&transport=polling").await.status, 400);
    assert_eq!(bare(target, "PUT", "EIO=4&transport=polling").await.status, 400);
}

pub async fn handshake_websocket_opens_a_session(target: Target) {
    let (_ws, handshake) = Ws::open(target).await;
    check_handshake(&handshake, json!([]));
}

pub async fn handshake_websocket_fails_with_an_invalid_eio(target: Target) {
    check_no_websocket(target, "transport=websocket").await;
    check_no_websocket(target, "EIO=abc&transport=websocket").await;
}

pub async fn handshake_websocket_fails_with_an_invalid_transport(target: Target) {
    check_no_websocket(target, "EIO=4").await;
    check_no_websocket(target, "EIO=4&transport=abc").await;
}

async fn message_polling_one_text_packet(target: Target) {
    let session = Polling::open(target).await;
    session.send("4hello").await;
    assert_eq!(session.packets().await, ["4hello"]);
}

async fn message_polling_several_text_packets(target: Target) {
    let session = Polling::open(target).await;
    session.send("4test1\u{1e}4test2\u{1e}4test3").await;
    assert_eq!(session.take(3).await, ["4test1", "4test2", "4test3"]);
}

async fn message_polling_text_and_binary_packets(target: Target) {
    let session = Polling::open(target).await;
    session.send("4hello\u{1e}bAQIDBA==").await;
    assert_eq!(session.take(2).await, ["4hello", "bAQIDBA=="]);
}

async fn message_polling_invalid_packet_closes_the_session(target: Target) {
    let session = Polling::open(target).await;
    assert_eq!(session.post("abc").await.status, 400);
    check_gone(&session).await;
}

/// The suite sends the second poll 5 ms after the first; here both are sent at once, and either may be the first.
async fn message_polling_duplicate_poll_closes_the_session(target: Target) {
    let session = Polling::open(target).await;
    assert_eq!(session.get().await.body, "2", "the next ping is an interval away");
    session.send("3").await;
    let (one, two) = tokio::join!(session.get(), session.get());
    let (kept, refused) = if one.status == 200 { (one, two) } else { (two, one) };
    assert_eq!((kept.status, kept.body.as_str()), (200, "1"));
    assert!([400, 500].contains(&refused.status), "{refused:?}");
    check_gone(&session).await;
}

/// Nothing tells that the server has a poll waiting, or that it noticed its end: so the case waits a little before it
/// cancels, and then asks until the session is gone; the pongs see to it that it does not end by its ping.
async fn message_polling_cancelled_poll_closes_the_session(target: Target) {
    let session = Polling::open(target).await;
    let query = format!("EIO=4&transport=polling&sid={}", session.sid);
    let mut poll = Wire::connect(target).await;
    poll.write(&http_request(target, "GET", &query, "", b"")).await;
    sleep(PING_INTERVAL / 6).await;
    drop(poll);
    while session.post("3").await.status != 400 {
        sleep(Duration::from_millis(5)).await;
    }
    check_gone(&session).await;
}

async fn message_websocket_text_packet(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    ws.send("4hello").await;
    assert_eq!(ws.text().await, "4hello");
}

async fn message_websocket_binary_packet(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    ws.send_binary([1, 2, 3, 4]).await;
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2, 3, 4]));
}

async fn message_websocket_invalid_packet_closes_the_session(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    ws.send("abc").await;
    check_closes(ws).await;
}

pub async fn heartbeat_polling_ping_pong(target: Target) {
    let session = Polling::open(target).await;
    for _ in 0..3 {
        let answer = session.get().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "2"));
        session.send("3").await;
    }
}

/// The one case with nothing to wait for: it is about a client that is not heard at all.
pub async fn heartbeat_polling_timeout_closes_the_session(target: Target) {
    let session = Polling::open(target).await;
    sleep(PING_INTERVAL + PING_TIMEOUT + Duration::from_millis(250)).await;
    assert_eq!(session.post("3").await.status, 400);
    check_gone(&session).await;
}

pub async fn heartbeat_websocket_ping_pong(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    for _ in 0..3 {
        assert_eq!(ws.receive().await, Received::Text("2".into()));
        ws.send("3").await;
    }
}

pub async fn heartbeat_websocket_timeout_closes_the_session(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    assert_eq!(ws.until_closed().await, [Received::Text("2".into())]);
}

/// The suite sends both at once; when the close wins, the poll finds no session, and the case begins anew.
pub async fn close_polling_closes_the_session(target: Target) {
    loop {
        let session = Polling::open(target).await;
        let (answer, ()) = tokio::join!(session.poll(), async {
            sleep(PING_INTERVAL / 3).await; // nothing tells that the server has the poll
            session.send("1").await;
        });
        if answer.status == 200 {
            assert_eq!(answer.body, "6");
            return check_gone(&session).await;
        }
    }
}

pub async fn close_websocket_closes_the_session(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    ws.send("1").await;
    check_closes(ws).await;
}

async fn upgrade_from_polling_to_websocket(target: Target) {
    let session = Polling::open(target).await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    let answer = session.get().await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "6"),
        "a noop ends the poll"
    );
    ws.send("5").await;
    ws.send("4hello").await;
    assert_eq!(ws.text().await, "4hello");
}

async fn upgrade_then_http_with_the_same_sid_is_ignored(target: Target) {
    let session = Polling::open(target).await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    ws.send("5").await;
    ws.send("4upgraded").await;
    assert_eq!(ws.text().await, "4upgraded");
    assert_eq!(session.get().await.status, 400);
    assert_eq!(session.post("4lost").await.status, 400);
    ws.send("4hello").await;
    assert_eq!(ws.text().await, "4hello");
}

async fn upgrade_then_websocket_with_the_same_sid_is_ignored(target: Target) {
    let session = Polling::open(target).await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    ws.send("5").await;
    ws.send("4upgraded").await;
    assert_eq!(ws.text().await, "4upgraded");
    let query = format!("EIO=4&transport=websocket&sid={}", session.sid);
    check_no_websocket(target, &query).await;
    ws.send("4hello").await;
    assert_eq!(ws.text().await, "4hello");
}
