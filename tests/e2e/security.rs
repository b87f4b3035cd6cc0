//! The classes of vulnerability that servers of this kind have had, each as the bytes that an attacker would send to a node as
//! it is configured by default. After each, the node serves others. Where the engine is held to more of a class, the
//! tests are in `tests/engine` (`bounds`, `faults`, `scripts`) and `tests/engine_sessions`; here is what the whole node does.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::raw::{PATIENCE, Raw, unique};

const WEBSOCKET: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const FIN: u8 = 0x80;
const TEXT: u8 = 1;

async fn node() -> &'static Node {
    &Cluster::shared().await.nodes[0]
}

/// Whoever is beside the attacker notices nothing.
async fn serves(node: &Node) {
    let raw = Raw::enter(node, &unique("ann")).await;
    raw.done("presence:get", json!({"userIds": ["bob"]})).await;
}

fn request(method: &str, query: &str, headers: &str) -> Vec<u8> {
    format!("{method} /socket.io/?{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes()
}

/// Sends bytes, and reads until the node has answered one head or closed; "" where it only closed.
async fn sent(node: &Node, bytes: &[u8]) -> (TcpStream, String) {
    let mut tcp = TcpStream::connect(("127.0.0.1", node.port()))
        .await
        .expect("it listens");
    let _refused_midway = tcp.write_all(bytes).await;
    let mut head = Vec::new();
    let answer = async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            // A reset is an end too.
            match tcp.read_buf(&mut head).await {
                Ok(count) if count > 0 => {}
                _ => break,
            }
        }
    };
    timeout(PATIENCE, answer).await.expect("an answer or an end in time");
    (tcp, String::from_utf8_lossy(&head).into_owned())
}

fn status(head: &str) -> u16 {
    let status = head.split(' ').nth(1);
    status.map_or(0, |status| status.parse().expect("a status is a number"))
}

async fn websocket(node: &Node) -> TcpStream {
    let (tcp, head) = sent(node, &request("GET", "EIO=4&transport=websocket", WEBSOCKET)).await;
    assert_eq!(status(&head), 101, "{head}");
    tcp
}

/// A frame whose mask is zero, so that the payload stands as it is.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let mut bytes = vec![
        first_byte,
        0x80 | length.expect("short frames suffice here"),
        0,
        0,
        0,
        0,
    ];
    bytes.extend_from_slice(payload);
    bytes
}

/// The node must end this connection before long.
async fn is_closed(mut tcp: TcpStream) {
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, tcp.read_to_end(&mut rest)).await;
    let _reset_or_end = end.expect("the node closes it");
}

async fn open_polling(node: &Node) -> (String, String) {
    let (mut tcp, mut answer) = sent(
        node,
        &request("GET", "EIO=4&transport=polling", "connection: close\r\n"),
    )
    .await;
    timeout(PATIENCE, tcp.read_to_string(&mut answer))
        .await
        .expect("in time")
        .expect("a body");
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    let open: serde_json::Value =
        serde_json::from_str(&body[1..]).unwrap_or_else(|_| panic!("no open packet: {answer}"));
    (open["sid"].as_str().expect("sid is a text").to_owned(), answer)
}

async fn post(node: &Node, sid: &str, body: &str) -> u16 {
    let head = format!("content-length: {}\r\n", body.len());
    let mut bytes = request("POST", &format!("EIO=4&transport=polling&sid={sid}"), &head);
    bytes.extend_from_slice(body.as_bytes());
    status(&sent(node, &bytes).await.1)
}

#[tokio::test]
async fn cve_2017_16031_ids_are_not_predictable() {
    const DRAWN: usize = 300;
    let node = node().await;
    let mut ids = BTreeSet::new();
    for _ in 0..DRAWN {
        ids.insert(open_polling(node).await.0);
    }
    assert_eq!(ids.len(), DRAWN);
    // Twenty characters of 64 are 120 bits, if each is drawn: of 300 draws fewer than 48 different ones do not happen.
    let drawn = |at: usize| ids.iter().map(|id| id.as_bytes()[at]).collect::<BTreeSet<u8>>().len();
    let random = (0..20).filter(|at| drawn(*at) >= 48).count();
    assert_eq!(random, 20, "{:?}", ids.first());
}

#[tokio::test]
async fn cve_2020_28481_no_foreign_origin_by_default() {
    let node = node().await;
    let foreign = "origin: https://evil.example\r\n";
    for (query, headers) in [
        ("EIO=4&transport=polling", ""),
        ("EIO=4&transport=websocket", WEBSOCKET),
    ] {
        let (_, head) = sent(node, &request("GET", query, &format!("{foreign}{headers}"))).await;
        assert_eq!(status(&head), 403, "{query}: {head}");
        assert!(
            !head.to_ascii_lowercase().contains("access-control-allow-origin"),
            "{head}"
        );
        // Without an origin it is no browser.
        let (_, head) = sent(node, &request("GET", query, headers)).await;
        assert!([200, 101].contains(&status(&head)), "{query}: {head}");
    }
}

#[tokio::test]
async fn cors_with_an_asterisk_lets_everybody_in_without_credentials() {
    let cluster = Cluster::start(1, &[("REALTIME_CORS_ORIGIN", "*")]).await;
    let foreign = "origin: https://any.example\r\n";
    let node = &cluster.nodes[0];
    let (_, head) = sent(node, &request("GET", "EIO=4&transport=polling", foreign)).await;
    let head = head.to_ascii_lowercase();
    assert_eq!(status(&head), 200);
    assert!(head.contains("access-control-allow-origin: *\r\n"), "{head}");
    assert!(!head.contains("access-control-allow-credentials"), "{head}");
    let headers = format!("{foreign}{WEBSOCKET}");
    let (_, head) = sent(node, &request("GET", "EIO=4&transport=websocket", &headers)).await;
    assert_eq!(status(&head), 101, "{head}");
}

#[tokio::test]
async fn cve_2024_38355_reserved_event_names_are_events_like_others() {
    let raw = Raw::enter(node().await, &unique("ann")).await;
    for event in [
        "error",
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        "__proto__",
        "constructor",
        "toString",
    ] {
        raw.emit(event, json!(null));
        raw.refused("UNKNOWN_EVENT", event, json!({})).await;
    }
    serves(node().await).await;
}

#[tokio::test]
async fn cve_2020_36048_packets_of_a_post_are_counted() {
    let node = node().await;
    let (sid, _) = open_polling(node).await;
    let flood = vec!["2"; 100_000].join("\u{1e}");
    assert!([400, 413].contains(&post(node, &sid, &flood).await));
    assert_eq!(post(node, &sid, "2").await, 400, "the session is gone");
    serves(node).await;
}

#[tokio::test]
async fn cve_2020_36049_a_body_over_the_maximum_is_not_waited_for() {
    let node = node().await;
    let (sid, _) = open_polling(node).await;
    let query = format!("EIO=4&transport=polling&sid={sid}");
    let head = request("POST", &query, "content-length: 1000001\r\n");
    assert_eq!(status(&sent(node, &head).await.1), 413);
    serves(node).await;
}

#[tokio::test]
async fn cve_2022_21676_reserved_bits_close_the_connection() {
    let node = node().await;
    for bit in [0x40, 0x20, 0x10, 0x70] {
        let mut tcp = websocket(node).await;
        tcp.write_all(&frame(FIN | bit | TEXT, b"2")).await.expect("it is open");
        is_closed(tcp).await;
    }
    serves(node).await;
}

#[tokio::test]
async fn cve_2022_41940_a_reset_at_any_step_of_an_upgrade_is_one_connections_end() {
    let node = node().await;
    let (sid, _) = open_polling(node).await;
    let upgrade = request("GET", &format!("EIO=4&transport=websocket&sid={sid}"), WEBSOCKET);
    let steps = [upgrade.clone(), frame(FIN | TEXT, b"2probe"), frame(FIN | TEXT, b"5")];
    for cut in 1..=steps.concat().len() {
        if cut % 16 != 0 && cut < upgrade.len() {
            continue;
        }
        let mut tcp = TcpStream::connect(("127.0.0.1", node.port()))
            .await
            .expect("it listens");
        tcp.write_all(&steps.concat()[..cut])
            .await
            .expect("a new connection takes it");
        tcp.set_zero_linger().expect("SO_LINGER");
        drop(tcp);
    }
    serves(node).await;
}

#[tokio::test]
async fn cve_2023_31125_and_2026_59724_odd_transports_and_sids_are_refused() {
    let node = node().await;
    let odd = [
        "__proto__",
        "constructor",
        "toString",
        "x",
        "",
        "webtransport",
        "%00",
        "%zz",
    ];
    let (sid, _) = open_polling(node).await;
    let mut queries: Vec<String> = Vec::new();
    for name in odd {
        queries.push(format!("EIO=4&transport={name}"));
        queries.push(format!("EIO=4&transport={name}&sid={sid}"));
        queries.push(format!("EIO=4&transport=polling&sid={name}x"));
        queries.push(format!("EIO=4&transport=websocket&sid={name}x"));
    }
    for query in queries {
        for headers in ["", WEBSOCKET] {
            let (_, head) = sent(node, &request("GET", &query, headers)).await;
            assert!((400..500).contains(&status(&head)), "{query}: {head}");
        }
    }
    serves(node).await;
}

/// Packets that a decoder of another language would trip over; each is refused, or ends its own connection alone.
async fn trips_nobody(packets: &[&str]) {
    let node = node().await;
    for packet in packets {
        let raw = Raw::enter(node, &unique("mallory")).await;
        raw.send(packet);
        serves(node).await;
    }
}

#[tokio::test]
async fn cve_2022_2421_placeholders_name_what_is_there() {
    for num in ["5", "-1", "0.5", "\"0\"", "\"__proto__\"", "null", "1e99", "{}"] {
        let packet = format!(r#"451-["message:send",{{"_placeholder":true,"num":{num}}}]"#);
        let raw = Raw::enter(node().await, &unique("mallory")).await;
        raw.send(&packet);
        raw.send_message(vec![1u8, 2, 3].into());
        serves(node().await).await;
    }
}

#[tokio::test]
async fn cve_2023_32695_event_names_that_are_no_text() {
    trips_nobody(&[
        "42[{}]",
        "42[[]]",
        "42[null]",
        "42[true]",
        "42[{\"toString\":\"x\"}]",
        "42{}",
        "42",
    ])
    .await;
}

#[tokio::test]
async fn cve_2026_33151_announced_attachments_are_bounded() {
    let node = node().await;
    for packet in [
        "455999999-[\"a\"]",
        "4511-[\"a\"]",
        "4518446744073709551616-[\"a\"]",
        "45-1-[\"a\"]",
    ] {
        let raw = Raw::enter(node, &unique("mallory")).await;
        raw.send(packet);
        raw.closed().await;
    }
    serves(node).await;
}

#[tokio::test]
async fn cve_2016_10542_a_giant_message_is_refused_by_its_announcement() {
    let node = node().await;
    for length in [u64::MAX, 1 << 63, 1 << 40, 1_000_001] {
        let mut tcp = websocket(node).await;
        let mut head = vec![FIN | TEXT, 0x80 | 127];
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        tcp.write_all(&head).await.expect("it is open");
        is_closed(tcp).await;
    }
    serves(node).await;
}

#[tokio::test]
async fn cve_2021_32640_and_2024_37890_heads_are_bounded() {
    let node = node().await;
    let long = "a,".repeat(32 << 10);
    for headers in [
        format!("{WEBSOCKET}sec-websocket-extensions: {long}\r\n"),
        format!("{WEBSOCKET}sec-websocket-protocol: {long}\r\n"),
        format!("{WEBSOCKET}x: {long}\r\n"),
        format!("{WEBSOCKET}{}", "x: y\r\n".repeat(10_000)),
    ] {
        let (_, head) = sent(node, &request("GET", "EIO=4&transport=websocket", &headers)).await;
        assert!([0, 400, 413, 431].contains(&status(&head)), "{head}");
    }
    serves(node).await;
}

#[tokio::test]
async fn cve_2026_48779_fragments_are_counted() {
    let node = node().await;
    for fragment in [&b"a"[..], b""] {
        let mut tcp = websocket(node).await;
        let _closed_midway = tcp.write_all(&frame(TEXT, b"4")).await;
        let _closed_midway = tcp.write_all(&frame(0, fragment).repeat(10_000)).await;
        is_closed(tcp).await;
    }
    serves(node).await;
}

#[tokio::test]
async fn cve_2024_47764_no_cookie_is_set() {
    let node = node().await;
    let (_, answer) = open_polling(node).await;
    assert!(!answer.to_ascii_lowercase().contains("set-cookie"), "{answer}");
    let (_, head) = sent(node, &request("GET", "EIO=4&transport=websocket", WEBSOCKET)).await;
    assert!(!head.to_ascii_lowercase().contains("set-cookie"), "{head}");
}

/// As many as one attacker, one after the other over one connection, can leave behind.
async fn abandon(node: &Node, sessions: usize) {
    let mut tcp = TcpStream::connect(("127.0.0.1", node.port()))
        .await
        .expect("it listens");
    let (open, mut read) = (request("GET", "EIO=4&transport=polling", ""), vec![0; 4_096]);
    for _ in 0..sessions {
        tcp.write_all(&open).await.expect("it is kept");
        let mut answer = Vec::new();
        // The open packet is the whole body, and ends with its brace.
        while !answer.ends_with(b"}") {
            let count = timeout(PATIENCE, tcp.read(&mut read))
                .await
                .expect("in time")
                .expect("it is kept");
            assert!(count > 0, "the node closed the connection");
            answer.extend_from_slice(&read[..count]);
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

/// socketioxide #731: polling sessions that nobody polls again were never freed.
#[tokio::test]
async fn complaint_12_abandoned_polling_sessions_leave_no_memory_behind() {
    const ROUNDS: u32 = 10;
    let haste = [("REALTIME_PING_INTERVAL", "500"), ("REALTIME_PING_TIMEOUT", "500")];
    let cluster = Cluster::start(1, &haste).await;
    let node = &cluster.nodes[0];
    let wait = async |abandoned: f64| {
        let ended = async || node.metric("realtime_closes_total", "reason=\"ping_timeout\"").await;
        let all = async {
            while ended().await.unwrap_or(0.0) < abandoned {
                tokio::time::sleep(Duration::from_millis(20)).await; // HTTP has no event for this
            }
        };
        timeout(Duration::from_secs(30), all).await.expect("they are forgotten");
    };
    // In rounds, so that as many stand at once at the end as at the beginning, however fast the machine is.
    let mut resident = Vec::new();
    for round in 1..=ROUNDS {
        abandon(node, 2_000).await;
        wait(2_000.0 * f64::from(round)).await;
        resident.push(node.resident_kb());
    }
    // Had 14,000 sessions left half a kilobyte each, it would be 7 MB.
    let (before, after) = (resident[2], resident[resident.len() - 1]);
    assert!(after < before + 6_000, "kB after each round: {resident:?}");
}
