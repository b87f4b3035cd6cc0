//! The cases of the official Socket.IO v5 protocol suite, in its order and under its names: its Engine.IO part again on the
//! Socket.IO path, then connect, disconnect and message. Not here: cases that the suite does not have.

use std::time::Instant;

use serde_json::Value;

use crate::client::{CONNECT_TIMEOUT, PING_INTERVAL, Polling, Received, Target, Ws};
use crate::engine_suite::{
    check_no_websocket, close_polling_closes_the_session, close_websocket_closes_the_session,
    handshake_polling_fails_with_an_invalid_eio, handshake_polling_fails_with_an_invalid_method,
    handshake_polling_fails_with_an_invalid_transport, handshake_polling_opens_a_session,
    handshake_websocket_fails_with_an_invalid_eio, handshake_websocket_fails_with_an_invalid_transport,
    handshake_websocket_opens_a_session, heartbeat_polling_ping_pong, heartbeat_polling_timeout_closes_the_session,
    heartbeat_websocket_ping_pong, heartbeat_websocket_timeout_closes_the_session,
};

crate::suite! {
    socket_echo:
    handshake_polling_opens_a_session
    handshake_polling_fails_with_an_invalid_eio
    handshake_polling_fails_with_an_invalid_transport
    handshake_polling_fails_with_an_invalid_method
    handshake_websocket_opens_a_session
    handshake_websocket_fails_with_an_invalid_eio
    handshake_websocket_fails_with_an_invalid_transport
    heartbeat_polling_ping_pong
    heartbeat_polling_timeout_closes_the_session
    heartbeat_websocket_ping_pong
    heartbeat_websocket_timeout_closes_the_session
    close_polling_closes_the_session
    close_websocket_closes_the_session
    upgrade_from_polling_to_websocket
    upgrade_then_http_with_the_same_sid_is_ignored
    upgrade_then_websocket_with_the_same_sid_is_ignored
    connect_main_namespace
    connect_main_namespace_with_a_payload
    connect_custom_namespace
    connect_custom_namespace_with_a_payload
    connect_unknown_namespace_is_refused
    connect_invalid_handshake_closes
    connect_missing_handshake_closes
    disconnect_main_namespace_keeps_the_transport
    disconnect_custom_namespace_keeps_the_main_one
    message_text
    message_binary
    message_text_with_ack
    message_binary_with_ack
    message_unknown_packet_type_closes
    message_invalid_payload_closes
    message_invalid_ack_id_closes
    ;
    ours_only:
}

/// A WebSocket that is connected to the main namespace, its CONNECT and `auth` already read.
pub async fn connected(target: Target) -> Ws {
    let (mut ws, _) = Ws::open(target).await;
    connect(&mut ws, "40", "", "{}").await;
    ws
}

/// Sends a CONNECT, and checks the answer and the `auth` event after it; `prefix` is the namespace's in packets.
async fn connect(ws: &mut Ws, packet: &str, prefix: &str, auth: &str) {
    ws.send(packet).await;
    let answer = ws.text().await;
    let json = answer
        .strip_prefix(&format!("40{prefix}"))
        .unwrap_or_else(|| panic!("not a CONNECT: {answer}"));
    let json: Value = serde_json::from_str(json).expect("JSON");
    let fields = json.as_object().expect("an object");
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["sid"]);
    assert!(!json["sid"].as_str().expect("sid is a string").is_empty());
    assert_eq!(ws.text().await, format!("42{prefix}[\"auth\",{auth}]"));
}

/// The packet makes the server close the transport, and say nothing more.
async fn check_closes(mut ws: Ws, packet: &str) {
    ws.send(packet).await;
    assert!(matches!(ws.packet().await, Received::Closed(_)), "after {packet}");
}

async fn upgrade_from_polling_to_websocket(target: Target) {
    let session = Polling::open(target).await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    ws.send("5").await;
    connect(&mut ws, "40", "", "{}").await;
}

async fn upgrade_then_http_with_the_same_sid_is_ignored(target: Target) {
    let session = Polling::open(target).await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    ws.send("5").await;
    connect(&mut ws, "40", "", "{}").await;
    assert_eq!(session.get().await.status, 400);
}

async fn upgrade_then_websocket_with_the_same_sid_is_ignored(target: Target) {
    let session = Polling::open(target).await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    ws.send("5").await;
    connect(&mut ws, "40", "", "{}").await;
    check_no_websocket(target, &format!("EIO=4&transport=websocket&sid={}", session.sid)).await;
}

async fn connect_main_namespace(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    connect(&mut ws, "40", "", "{}").await;
}

async fn connect_main_namespace_with_a_payload(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    connect(&mut ws, r#"40{"token":"123"}"#, "", r#"{"token":"123"}"#).await;
}

async fn connect_custom_namespace(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    connect(&mut ws, "40/custom,", "/custom,", "{}").await;
}

async fn connect_custom_namespace_with_a_payload(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    connect(
        &mut ws,
        r#"40/custom,{"token":"abc"}"#,
        "/custom,",
        r#"{"token":"abc"}"#,
    )
    .await;
}

async fn connect_unknown_namespace_is_refused(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    ws.send("40/random").await;
    assert_eq!(ws.text().await, r#"44/random,{"message":"Invalid namespace"}"#);
}

async fn connect_invalid_handshake_closes(target: Target) {
    let (ws, _) = Ws::open(target).await;
    check_closes(ws, "4abc").await;
}

/// Pings are answered, so that it is the missing CONNECT that ends the connection.
async fn connect_missing_handshake_closes(target: Target) {
    let (mut ws, _) = Ws::open(target).await;
    let opened = Instant::now();
    assert!(matches!(ws.packet().await, Received::Closed(_)));
    assert!(
        opened.elapsed() > CONNECT_TIMEOUT - PING_INTERVAL,
        "closed too early: {:?}",
        opened.elapsed()
    );
}

async fn disconnect_main_namespace_keeps_the_transport(target: Target) {
    let mut ws = connected(target).await;
    ws.send("41").await;
    assert_eq!(ws.receive().await, Received::Text("2".into()));
}

async fn disconnect_custom_namespace_keeps_the_main_one(target: Target) {
    let mut ws = connected(target).await;
    connect(&mut ws, "40/custom", "/custom,", "{}").await;
    ws.send("41/custom").await;
    ws.send(r#"42["message","message to main namespace"]"#).await;
    assert_eq!(ws.text().await, r#"42["message-back","message to main namespace"]"#);
}

async fn message_text(target: Target) {
    let mut ws = connected(target).await;
    ws.send(r#"42["message",1,"2",{"3":[true]}]"#).await;
    assert_eq!(ws.text().await, r#"42["message-back",1,"2",{"3":[true]}]"#);
}

async fn message_binary(target: Target) {
    let mut ws = connected(target).await;
    ws.send(r#"452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    ws.send_binary([1, 2, 3]).await;
    ws.send_binary([4, 5, 6]).await;
    let expected = r#"452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;
    assert_eq!(ws.text().await, expected);
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2, 3]));
    assert_eq!(ws.packet().await, Received::Binary(vec![4, 5, 6]));
}

async fn message_text_with_ack(target: Target) {
    let mut ws = connected(target).await;
    ws.send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#).await;
    assert_eq!(ws.text().await, r#"43456[1,"2",{"3":[false]}]"#);
}

async fn message_binary_with_ack(target: Target) {
    let mut ws = connected(target).await;
    ws.send(r#"452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#)
        .await;
    ws.send_binary([1, 2, 3]).await;
    ws.send_binary([4, 5, 6]).await;
    assert_eq!(
        ws.text().await,
        r#"462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#
    );
    assert_eq!(ws.packet().await, Received::Binary(vec![1, 2, 3]));
    assert_eq!(ws.packet().await, Received::Binary(vec![4, 5, 6]));
}

async fn message_unknown_packet_type_closes(target: Target) {
    check_closes(connected(target).await, "4abc").await;
}

async fn message_invalid_payload_closes(target: Target) {
    check_closes(connected(target).await, "42{}").await;
}

async fn message_invalid_ack_id_closes(target: Target) {
    check_closes(
        connected(target).await,
        r#"42abc["message-with-ack",1,"2",{"3":[false]}]"#,
    )
    .await;
}
