//! Compression of a node from outside: what a bomb does to it, what the administration's answers look like, what the metrics say.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::support::api::API_KEY;
use crate::support::frames::{CONTINUATION, FIN, Frames, OFFER, RSV1, TEXT, deflate};
use crate::support::node::Node;
use crate::support::raw::{Raw, room};
use crate::support::redis::Redis;
use crate::support::token::token;

const OFF: (&str, &str) = ("REALTIME_ENABLE_COMPRESSION", "false");
const KEYS: (&str, &str) = ("REALTIME_API_KEYS", API_KEY);
/// What a node may grow by while one bomb after the other comes: the bound of a message, some times over.
const GROWTH_KB: u64 = 24 << 10;

fn address(node: &Node) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, node.port()).into()
}

/// A gigabyte of spaces, in little less than the bytes that a message may have.
fn bomb() -> Vec<u8> {
    let mebibyte = deflate(&vec![b' '; 1 << 20]);
    // Each piece ends where the next one may begin, and refers to nothing before it.
    let pieces = (1_000_000 - 10) / (mebibyte.len() + 4);
    assert!(pieces > 900, "{pieces} MB");
    let mut bomb = [&mebibyte[..], &[0, 0, 0xFF, 0xFF]].concat().repeat(pieces);
    bomb.truncate(bomb.len() - 4);
    bomb
}

#[tokio::test]
async fn a_bomb_takes_no_memory_and_no_time_of_others() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[]).await;
    let room = room();
    let ada = Raw::member(&node, "ada", &room).await;
    let bomb = bomb();
    // The first of each kind makes what a thread keeps.
    throw(&node, &bomb, bomb.len()).await;
    throw(&node, &bomb, 1_000).await;
    let before = node.peak_kb();
    for cut in [bomb.len(), 1_000, 100_000] {
        for _ in 0..4 {
            let asked = ada.ask("ping", json!({"timestamp": 1}));
            let ((), ack) = tokio::join!(throw(&node, &bomb, cut), asked);
            assert_eq!(ack["success"], json!(true), "{ack}");
        }
    }
    let grown = node.peak_kb() - before;
    assert!(grown < GROWTH_KB, "{grown} KB for bombs of 900 MB");
    assert_eq!(
        node.metric("realtime_closes_total", r#"reason="payload_too_large""#)
            .await,
        Some(14.0)
    );
}

/// Sends it whole, or cut in two at that place, and hears what is said of it.
async fn throw(node: &Node, bomb: &[u8], cut: usize) {
    let mut mallory = Frames::open(address(node), None, Some(OFFER)).await;
    if cut < bomb.len() {
        mallory.send(RSV1 | TEXT, &bomb[..cut]).await;
        mallory.send(FIN | CONTINUATION, &bomb[cut..]).await;
    } else {
        mallory.send(FIN | RSV1 | TEXT, bomb).await;
    }
    assert_eq!(mallory.close_code().await, Some(1009));
}

#[tokio::test]
async fn one_message_reaches_those_who_take_it_compressed_and_those_who_do_not() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[]).await;
    let room = room();
    let plain = Raw::member(&node, "plain", &room).await;
    let mut compressed = Vec::new();
    for user in ["bea", "cem", "dan"] {
        let mut frames = Frames::open(address(&node), None, Some(OFFER)).await;
        frames
            .send_compressed(&format!("40{}", json!({"token": token(user)})))
            .await;
        let join = json!(["room:join", {"roomName": room}]);
        frames.send_compressed(&format!("427{join}")).await;
        while !frames.text().await.starts_with("437") {}
        compressed.push(frames);
    }
    for len in [1, 300, 600, 4_000, 60_000] {
        let content = "a word and another ".repeat(len / 19 + 1);
        plain
            .done("message:send", json!({"roomName": room, "content": content}))
            .await;
        plain
            .heard("message:new", |message| message["content"] == content)
            .await;
        for frames in &mut compressed {
            let message = loop {
                let text = frames.text().await;
                if text.starts_with(r#"42["message:new""#) {
                    break serde_json::from_str::<Value>(&text[2..]).expect("it is JSON");
                }
            };
            assert_eq!(message[1]["content"], content);
        }
    }
    let count = async |name| node.metric(name, "").await.expect("it is counted");
    assert!(
        count("realtime_frames_compressed_total").await >= 9.0,
        "three of three each"
    );
    assert!(count("realtime_compression_saved_bytes_total").await > 3.0 * 50_000.0);
}

/// Status, headers and text of an answer.
async fn ask(node: &Node, path: &str, accepted: &str) -> (u16, reqwest::header::HeaderMap, String) {
    let request = reqwest::Client::new().get(format!("{}{path}", node.url()));
    let request = request
        .header("X-API-Key", API_KEY)
        .header("Accept", "text/plain")
        .header("Accept-Encoding", accepted);
    let answer = request.send().await.expect("it answers");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = answer.bytes().await.expect("it comes to its end");
    let mut text = String::new();
    if headers.contains_key("content-encoding") {
        assert_eq!(headers["content-encoding"], "gzip");
        GzDecoder::new(&body[..]).read_to_string(&mut text).expect("it is gzip");
    } else {
        text = String::from_utf8(body.to_vec()).expect("it is text");
    }
    (status, headers, text)
}

#[tokio::test]
async fn long_answers_of_the_administration_are_compressed_as_their_client_accepts_it() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[KEYS]).await;
    for path in ["/metrics", "/api/openapi.json"] {
        for (accepted, is_compressed) in [
            ("gzip, br", true),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip;q=0.1, identity;q=0.9", false),
        ] {
            let (status, headers, text) = ask(&node, path, accepted).await;
            assert_eq!(status, 200, "{path}: {text}");
            assert!(text.len() > 1_024, "{path}");
            assert_eq!(
                headers.contains_key("content-encoding"),
                is_compressed,
                "{path} for {accepted}"
            );
            assert_eq!(
                headers.contains_key("content-length"),
                !is_compressed,
                "{path} for {accepted}"
            );
            let vary = headers.get_all("vary").iter();
            let vary: Vec<_> = vary.flat_map(|value| value.to_str().unwrap().split(", ")).collect();
            assert!(vary.contains(&"accept-encoding"), "{path}: {vary:?}");
        }
    }
    let (_, headers, text) = ask(&node, "/livez", "gzip").await;
    assert!(text.len() < 1_024 && !headers.contains_key("content-encoding"));
}

/// Nobody agreed to it, so the body is what it looks like: no JSON.
#[tokio::test]
async fn a_compressed_request_is_refused() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[KEYS]).await;
    let mut gzip = Vec::new();
    let body = json!({"eventType": "x:y", "rooms": [room()], "payload": {}}).to_string();
    let mut encoder = flate2::read::GzEncoder::new(body.as_bytes(), flate2::Compression::fast());
    encoder.read_to_end(&mut gzip).expect("memory can be read");
    let request = reqwest::Client::new().post(format!("{}/api/broadcast", node.url()));
    let request = request
        .header("X-API-Key", API_KEY)
        .header("Content-Type", "application/json");
    let answer = request.header("Content-Encoding", "gzip").body(gzip).send().await;
    assert_eq!(answer.expect("it answers").status(), 400);
}

#[tokio::test]
async fn nothing_is_compressed_where_it_is_off() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[KEYS, OFF]).await;
    let frames = Frames::open(address(&node), None, Some(OFFER)).await;
    assert_eq!(frames.extensions, None);
    for path in ["/metrics", "/api/openapi.json"] {
        let (_, headers, text) = ask(&node, path, "gzip").await;
        assert!(
            text.len() > 1_024 && !headers.contains_key("content-encoding"),
            "{path}"
        );
    }
}
