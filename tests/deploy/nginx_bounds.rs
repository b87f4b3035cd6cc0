//! What nginx keeps out, passes on, and never repeats; and that its times and sizes fit those of the program.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::future::join_all;
use nself_realtime::config::settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::nginx::addresses;
use crate::proxy::{Balancing, Nginx, Site, shipped};
use crate::support::node::Node;
use crate::support::raw::Raw;
use crate::support::redis::Redis;

const OPEN: &str = "/socket.io/?EIO=4&transport=polling";

/// HTTP from an address of this machine's.
pub fn client(from: &str) -> reqwest::Client {
    let from: IpAddr = from.parse().expect("an address");
    let client = reqwest::Client::builder().local_address(from).no_proxy();
    client.timeout(Duration::from_secs(30)).build().expect("a plain client")
}

pub async fn get(client: &reqwest::Client, url: &str) -> (u16, String) {
    let response = client.get(url).send().await.expect("nginx answers");
    let status = response.status().as_u16();
    (status, response.text().await.expect("a text"))
}

/// The id of a new polling session.
pub async fn open(client: &reqwest::Client, base: &str) -> String {
    let (status, text) = get(client, &format!("{base}{OPEN}")).await;
    assert_eq!(status, 200, "{text}");
    let open: serde_json::Value = serde_json::from_str(&text[1..]).expect("JSON");
    open["sid"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn nobody_says_to_come_from_elsewhere() {
    for balancing in [Balancing::Address, Balancing::Session] {
        let site = Site::start(balancing, &[]).await;
        let forged = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-real-ip", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
        ];
        let raw = Raw::open_at(site.nginx.port(), &forged).await;
        let token = crate::support::token::token("anybody");
        let answer = raw.connect(&serde_json::json!({ "token": token })).await;
        answer.expect("a good token");
        raw.heard("authenticated", |_| true).await;
        assert_eq!(addresses(&site).await, BTreeSet::from(["127.0.0.1".to_owned()]));
    }
}

#[tokio::test]
async fn socket_io_and_nothing_else_is_to_be_had() {
    let site = Site::start(Balancing::Session, &[("REALTIME_API_KEYS", "a-key-for-tests")]).await;
    let (own, other) = (client("127.0.0.1"), client("127.0.0.2"));
    for path in [
        "/",
        "/metrics",
        "/livez",
        "/readyz",
        "/api/rooms",
        "/api/openapi.json",
        "/socket.io/..%2fmetrics",
    ] {
        let (status, _) = get(&own, &format!("{}{path}", site.nginx.url())).await;
        assert_eq!(status, 404, "{path}");
    }
    let health = format!("{}/health", site.nginx.url());
    assert_eq!(get(&own, &health).await.0, 200);
    assert_eq!(get(&other, &health).await.0, 403);
    // What a node would answer is no matter: there is something to be kept out.
    assert_eq!(
        site.nodes[0].get("/metrics", "text/plain").await.expect("it answers").0,
        200
    );
}

#[tokio::test]
async fn a_flood_of_handshakes_from_one_address_is_cut_and_others_come_in() {
    let site = Site::start(Balancing::Session, &[]).await;
    let (flood, other) = (client("127.9.9.9"), client("127.8.8.8"));
    let sid = open(&flood, &site.nginx.url()).await;
    let url = format!("{}{OPEN}", site.nginx.url());
    let answers = join_all((0..600).map(|_| get(&flood, &url))).await;
    let count = |wanted| answers.iter().filter(|(status, _)| *status == wanted).count();
    assert_eq!(count(200) + count(429), 600, "{answers:?}");
    // 100 at once, less the one before, and 20 for each second that it took.
    assert!(count(200) >= 99 && count(429) > 0, "{} were let in", count(200));
    assert_eq!(get(&other, &url).await.0, 200);
    // Those who have a session are served on.
    let posted = flood.post(format!("{url}&sid={sid}")).body("3").send().await;
    assert_eq!(posted.expect("nginx answers").status(), 200);
}

#[tokio::test]
async fn the_largest_packet_passes_and_a_larger_one_is_refused() {
    let site = Site::start(Balancing::Address, &[]).await;
    let client = client("127.0.0.1");
    let url = format!("{}{OPEN}", site.nginx.url());
    for (bytes, wanted) in [(1_000_000, 200), (1_000_001, 413), (1_100_000, 413)] {
        let sid = open(&client, &site.nginx.url()).await;
        // A message of another namespace: read, and of no consequence.
        let body = format!("42/other,{}", "x".repeat(bytes - 9));
        let posted = client.post(format!("{url}&sid={sid}")).body(body).send().await;
        let status = posted.expect("nginx answers").status().as_u16();
        if wanted == 200 {
            // Whatever the node makes of it, it was not too large.
            assert_ne!(status, 413, "{bytes} bytes");
        } else {
            assert_eq!(status, wanted, "{bytes} bytes");
        }
    }
}

/// A node that takes requests and ends the connection, or says that it takes nobody.
async fn bad_node(answer: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let mut head = vec![0; 4_096];
                if matches!(tcp.read(&mut head).await, Ok(1..)) {
                    count.fetch_add(1, Relaxed);
                    // Whether it is heard is nginx's business.
                    let _ = tcp.write_all(answer).await;
                }
            });
        }
    });
    (port, asked)
}

#[tokio::test]
async fn a_post_that_a_node_may_have_read_is_never_sent_again() {
    let (first, asked_first) = bad_node(b"").await;
    let (second, asked_second) = bad_node(b"").await;
    let (third, asked_third) = bad_node(b"").await;
    let asked = || [&asked_first, &asked_second, &asked_third].map(|asked| asked.load(Relaxed));
    for balancing in [Balancing::Address, Balancing::Session] {
        let nginx = Nginx::start(balancing, [first, second, third]).await;
        let client = client("127.0.0.1");
        let before: usize = asked().iter().sum();
        let url = format!("{}{OPEN}&sid=unknown", nginx.url());
        let posted = client.post(&url).body("42[]").send().await.expect("nginx answers");
        assert_eq!(posted.status(), 502);
        assert_eq!(
            asked().iter().sum::<usize>() - before,
            1,
            "{balancing:?}: {:?}",
            asked()
        );
        // A GET is: so the above is no accident of nodes that nobody asks.
        let got = get(&client, &url).await;
        assert_eq!(got.0, 502);
        assert!(
            asked().iter().sum::<usize>() - before > 2,
            "{balancing:?}: {:?}",
            asked()
        );
    }
}

#[tokio::test]
async fn a_node_that_takes_nobody_is_passed_over() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[("REALTIME_NODE_ID", "realtime-3")]).await;
    const NOBODY: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for balancing in [Balancing::Address, Balancing::Session] {
        let (first, asked_first) = bad_node(NOBODY).await;
        let (second, asked_second) = bad_node(NOBODY).await;
        let nginx = Nginx::start(balancing, [first, second, node.port()]).await;
        for from in 1..=30 {
            let client = client(&format!("127.{from}.{from}.1"));
            open(&client, &nginx.url()).await;
        }
        let asked = asked_first.load(Relaxed) + asked_second.load(Relaxed);
        assert!(asked > 0, "{balancing:?}: nobody was passed over");
    }
}

/// The value of a directive in the shipped files, in seconds or bytes as it is written.
fn directive(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(shipped().join(file)).expect("it is shipped");
    let value = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
    let value = value.and_then(|value| value.split(';').next());
    let value = value.unwrap_or_else(|| panic!("{file} does not say {name}"));
    let (digits, unit) = value.split_at(value.len() - 1);
    let number: u64 = digits.parse().expect("a number and a unit");
    match unit {
        "s" => number,
        "m" if name.contains("size") => number << 20,
        other => panic!("{name} {value}: nobody knows {other}"),
    }
}

fn default_of(name: &str) -> u64 {
    let setting = settings().find(|setting| setting.name == name).expect("a setting");
    setting.default.parse().expect("a number")
}

#[test]
fn times_and_sizes_fit_those_of_the_program() {
    let engine = nself_realtime::engine::Settings::default();
    let silence = default_of("REALTIME_PING_INTERVAL") + default_of("REALTIME_PING_TIMEOUT");
    assert!(directive("parts/server.inc", "proxy_read_timeout") * 1_000 > silence);
    let stall = engine.write_stall.as_secs();
    assert!(directive("parts/server.inc", "proxy_send_timeout") > stall);
    assert!(directive("parts/server.inc", "send_timeout") >= stall);
    assert!(directive("parts/server.inc", "client_max_body_size") >= default_of("REALTIME_MAX_PAYLOAD"));
    for file in ["realtime.conf", "realtime-sid.conf"] {
        // nginx must not send a request on a connection that the node is just ending.
        assert!(directive(file, "keepalive_timeout") < engine.header_read_timeout.as_secs());
    }
    assert!(directive("site/sids.inc", "keepalive_timeout") < engine.header_read_timeout.as_secs());
}
