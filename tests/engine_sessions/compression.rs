//! Compression as it stands on the wire, frame by frame and answer by answer: what is agreed, what comes compressed, what is refused.

use std::io::Read as _;

use flate2::read::GzDecoder;
use nself_realtime::engine::{CloseReason, Settings};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};

use super::app::start;
use super::client::Poller;
use super::frames::{BINARY, CONTINUATION, FIN, Frames, OFFER, PING, RSV1, RSV2, TEXT, deflate, inflate};

const ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// A name, frames by their first byte and payload, and the close code that they get.
type Case<'a> = (&'a str, &'a [(u8, &'a [u8])], u16);

fn off() -> Settings {
    Settings {
        compression: false,
        ..Settings::default()
    }
}

/// What `flood` sends.
fn flood() -> String {
    format!(r#"42["flood","{}"]"#, "x".repeat(64 << 10))
}

#[tokio::test]
async fn messages_go_compressed_both_ways_where_it_was_agreed_and_pays() {
    let running = start(Settings::default(), 1);
    let addr = running.server.local_addr();
    let mut client = Frames::connected(addr, Some(OFFER)).await;
    assert_eq!(client.extensions.as_deref(), Some(ANSWER));
    client.send_compressed(r#"421["flood",2]"#).await;
    for _ in 0..2 {
        let (first, payload) = client.next().await.unwrap();
        assert_eq!(first, FIN | RSV1 | TEXT);
        assert!(payload.len() < 1_000, "{}", payload.len());
        assert_eq!(inflate(&payload), flood().into_bytes());
    }
    assert_eq!(
        client.next().await,
        Some((FIN | TEXT, b"431[]".to_vec())),
        "too short to pay"
    );
    let totals = running.server.counters().totals();
    assert_eq!(totals.compressed, 2);
    assert!(totals.saved_bytes > 128_000 && totals.bytes_out < 4_000, "{totals:?}");
    assert!(
        totals.labelled_bytes[0] as usize > 2 * flood().len(),
        "packets count as they are"
    );
}

#[tokio::test]
async fn who_did_not_ask_or_may_not_gets_nothing_compressed() {
    for (settings, offer) in [
        (Settings::default(), None),
        (
            Settings::default(),
            Some("permessage-deflate; server_max_window_bits=10"),
        ),
        (Settings::default(), Some("x-webkit-deflate-frame, nonsense;;=")),
        (off(), Some(OFFER)),
    ] {
        let mut running = start(settings, 1);
        let mut client = Frames::connected(running.server.local_addr(), offer).await;
        assert_eq!(client.extensions, None, "{offer:?}");
        client.send(FIN | TEXT, br#"42["flood",1]"#).await;
        assert_eq!(client.next().await, Some((FIN | TEXT, flood().into_bytes())));
        client.send_compressed(r#"42["any"]"#).await;
        assert_eq!(client.close_code().await, Some(1002), "{offer:?}");
        assert_eq!(running.end().await, CloseReason::ParseError);
    }
}

#[tokio::test]
async fn each_violation_closes_with_its_code() {
    let settings = Settings {
        max_payload: 100_000,
        ..Settings::default()
    };
    let mut running = start(settings, 1);
    let addr = running.server.local_addr();
    let event = deflate(format!(r#"42["any","{}"]"#, "content ".repeat(20)).as_bytes());
    let too_large = deflate(&vec![b'4'; 100_001]);
    let no_text = deflate(&[0xFF; 200]);
    let cases: [Case<'_>; 12] = [
        ("a control frame", &[(FIN | RSV1 | PING, b"")], 1002),
        (
            "a continuation",
            &[(RSV1 | TEXT, &event[..9]), (FIN | RSV1 | CONTINUATION, &event[9..])],
            1002,
        ),
        (
            "a late one",
            &[(TEXT, b"42["), (FIN | RSV1 | CONTINUATION, &event)],
            1002,
        ),
        ("another bit", &[(FIN | RSV1 | RSV2 | TEXT, &event)], 1002),
        ("not deflated", &[(FIN | RSV1 | TEXT, br#"42["any"]"#)], 1007),
        ("cut", &[(FIN | RSV1 | TEXT, &event[..event.len() - 9])], 1007),
        (
            "cut in fragments",
            &[(RSV1 | TEXT, &event[..9]), (FIN | CONTINUATION, &event[9..20])],
            1007,
        ),
        ("empty", &[(FIN | RSV1 | TEXT, b"")], 1007),
        ("no text", &[(FIN | RSV1 | TEXT, &no_text)], 1007),
        (
            "a reference to the message before",
            &[(FIN | RSV1 | TEXT, &event), (FIN | RSV1 | TEXT, &[2, 0x72, 0])],
            1007,
        ),
        ("too large", &[(FIN | RSV1 | TEXT, &too_large)], 1009),
        (
            "too large in fragments",
            &[
                (RSV1 | BINARY, &too_large[..20]),
                (FIN | CONTINUATION, &too_large[20..]),
            ],
            1009,
        ),
    ];
    for (name, frames, code) in cases {
        let mut client = Frames::connected(addr, Some(OFFER)).await;
        for (first, payload) in frames {
            client.send(*first, payload).await;
        }
        assert_eq!(client.close_code().await, Some(code), "{name}");
        let reason = if code == 1009 {
            CloseReason::PayloadTooLarge
        } else {
            CloseReason::ParseError
        };
        assert_eq!(running.end().await, reason, "{name}");
    }
    assert_eq!(running.server.counters().totals().panics, 0);
}

/// Over two shards, so that the WebSocket comes in by the one that the session does not live on, about every other time.
#[tokio::test]
async fn a_session_that_upgrades_is_compressed_from_then_on_with_what_waited() {
    let running = start(Settings::default(), 2);
    let addr = running.server.local_addr();
    for offer in [Some(OFFER), None, Some(OFFER), None] {
        let poller = Poller::connected(addr).await;
        let mut socket = Frames::open(addr, Some(&poller.sid), offer).await;
        socket.send(FIN | TEXT, b"2probe").await;
        assert_eq!(socket.text().await, "3probe");
        poller.post(r#"42["flood",1]"#).await;
        socket.send(FIN | TEXT, b"5").await;
        let (first, payload) = socket.next().await.unwrap();
        let first_bits = if offer.is_some() { FIN | RSV1 | TEXT } else { FIN | TEXT };
        // No GET takes what the event sends, so it comes by WebSocket alone.
        assert_eq!(first, first_bits, "{offer:?}");
        let payload = if offer.is_some() { inflate(&payload) } else { payload };
        assert_eq!(payload, flood().into_bytes());
        if offer.is_some() {
            socket.send_compressed(r#"421["any"]"#).await;
        } else {
            socket.send(FIN | TEXT, br#"421["any"]"#).await;
        }
        assert_eq!(socket.text().await, "431[]");
    }
}

async fn polled(poller: &Poller, accepted: Option<&str>) -> (reqwest::header::HeaderMap, Vec<u8>) {
    let mut request = reqwest::Client::new().get(&poller.url);
    if let Some(accepted) = accepted {
        request = request.header(ACCEPT_ENCODING, accepted);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    (answer.headers().clone(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn polling_answers_are_compressed_as_their_client_accepts_it() {
    let running = start(Settings::default(), 1);
    let poller = Poller::connected(running.server.local_addr()).await;
    for (accepted, is_compressed) in [
        (Some("gzip, deflate, br"), true),
        (Some("*"), true),
        (Some("gzip;q=0.5"), true),
        (None, false),
        (Some("identity"), false),
        (Some("gzip;q=0"), false),
        (Some("gzip;q=0, *;q=0.5"), false),
        (Some("br, deflate"), false),
        (Some(""), false),
    ] {
        poller.post(r#"42["flood",1]"#).await;
        let (headers, body) = polled(&poller, accepted).await;
        assert_eq!(
            headers
                .get_all(VARY)
                .iter()
                .filter(|value| *value == "accept-encoding")
                .count(),
            1,
            "{accepted:?}"
        );
        assert_eq!(
            headers.get(CONTENT_ENCODING).is_some_and(|coding| coding == "gzip"),
            is_compressed,
            "{accepted:?}"
        );
        let mut text = String::new();
        if is_compressed {
            assert!(body.len() < 1_000);
            GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
        } else {
            assert_eq!(headers["content-length"], body.len().to_string());
            text = String::from_utf8(body).unwrap();
        }
        assert_eq!(text, flood());
    }
    // Short ones are left.
    poller.post(r#"421["any"]"#).await;
    let (headers, body) = polled(&poller, Some("gzip")).await;
    assert!(!headers.contains_key(CONTENT_ENCODING));
    assert_eq!(body, b"431[]");
}

#[tokio::test]
async fn polling_answers_are_left_where_compression_is_off() {
    let running = start(off(), 1);
    let poller = Poller::connected(running.server.local_addr()).await;
    poller.post(r#"42["flood",1]"#).await;
    let (headers, body) = polled(&poller, Some("gzip")).await;
    assert!(!headers.contains_key(CONTENT_ENCODING) && !headers.contains_key(VARY));
    assert_eq!(body, flood().into_bytes());
}

/// Nobody agreed to it, so it is no payload; it must not be taken for one.
#[tokio::test]
async fn a_compressed_post_is_refused() {
    let mut running = start(Settings::default(), 1);
    let poller = Poller::connected(running.server.local_addr()).await;
    let mut gzip = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(&br#"42["any"]"#[..], flate2::Compression::fast());
    encoder.read_to_end(&mut gzip).unwrap();
    let request = reqwest::Client::new()
        .post(&poller.url)
        .header(CONTENT_ENCODING, "gzip");
    let answer = request.body(gzip).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(running.end().await, CloseReason::ParseError);
}
