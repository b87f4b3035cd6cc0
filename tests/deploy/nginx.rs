//! The two configurations of nginx in front of three nodes: stock clients over every transport, from many addresses; the death
//! of a node under load; TLS. Not here: what nginx keeps out (`nginx_bounds`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::crowd::{Crowd, TRANSPORTS, scattered, transport};
use crate::nginx_bounds::{client, get};
use crate::proxy::{Balancing, Site};

const CLIENTS: usize = 24;
const SPEAKERS: usize = 6;
/// A node is noticed to be dead by its connections; the stock client waits 1 s ± 50 % before it comes back, and twice that after a
/// failure. The rest is slack for a busy machine.
const BACK_LIMIT: Duration = Duration::from_secs(30);

async fn every_transport_works(balancing: Balancing) {
    let site = Site::start(balancing, &[]).await;
    let mut crowd = Crowd::enter(&site.nginx.url(), None, CLIENTS, scattered).await;
    let spread = site.spread().await;
    assert_eq!(spread.iter().sum::<usize>(), CLIENTS, "{spread:?}");
    assert!(spread.iter().all(|count| *count > 0), "{balancing:?}: {spread:?}");
    println!("{balancing:?}: {CLIENTS} clients on three nodes: {spread:?}");

    crowd.speak(SPEAKERS, 10, Duration::from_millis(20));
    let acked = crowd.spoken(SPEAKERS).await;
    assert_eq!(acked.len(), SPEAKERS * 10);
    crowd.all_heard(&acked).await;
    for (client, report) in crowd.reports().await.iter().enumerate() {
        let wanted = if transport(client) == TRANSPORTS[0] {
            "polling"
        } else {
            "websocket"
        };
        assert_eq!(report.transport, wanted, "client {client}");
        assert!(report.connected);
    }
    // Everything of a session came to its node, and nobody was sent away.
    for cause in ["elsewhere", "ended", "malformed"] {
        assert_eq!(site.strays(cause).await, 0, "{cause}\n{}", site.nginx.log());
    }
    let known = addresses(&site).await;
    let came: BTreeSet<String> = (0..CLIENTS).map(scattered).collect();
    assert_eq!(known, came, "the nodes know the clients' own addresses");
}

#[tokio::test]
async fn by_address_every_transport_works_and_nodes_know_the_clients() {
    every_transport_works(Balancing::Address).await;
}

#[tokio::test]
async fn by_session_every_transport_works_and_nodes_know_the_clients() {
    every_transport_works(Balancing::Session).await;
}

/// The addresses that Redis has of those who are connected.
pub async fn addresses(site: &Site) -> BTreeSet<String> {
    let mut redis = site.redis.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("rt:*:conn:*")
        .query_async(&mut redis)
        .await
        .expect("Redis answers");
    let mut addresses = BTreeSet::new();
    for key in keys {
        let ip: Option<String> = redis::cmd("HGET")
            .arg(&key)
            .arg("ip")
            .query_async(&mut redis)
            .await
            .expect("Redis answers");
        addresses.insert(ip.unwrap_or_else(|| panic!("{key} has no address")));
    }
    addresses
}

async fn a_node_is_killed_under_load(balancing: Balancing) {
    let site = Site::start(balancing, &[]).await;
    let mut crowd = Crowd::enter(&site.nginx.url(), None, CLIENTS, scattered).await;
    let before = site.spread().await;
    let most = (0..3).max_by_key(|node| before[*node]).expect("there are three");
    crowd.speak(SPEAKERS, 60, Duration::from_millis(50));
    // In the middle of it: the first messages are there.
    while crowd.reports().await[0].heard.len() < SPEAKERS * 5 {}
    let mark = crowd.mark();
    site.nodes[most].signal("KILL");
    let took = crowd.back(mark, before[most], BACK_LIMIT).await;
    println!(
        "{balancing:?}: {} clients of a killed node were back after {took:.1?}",
        before[most]
    );

    let acked = crowd.spoken(SPEAKERS).await;
    assert_eq!(acked.len(), SPEAKERS * 60);
    crowd.all_heard(&acked).await;
    assert!(crowd.reports().await.iter().all(|report| report.connected));
}

#[tokio::test]
async fn by_address_a_node_that_is_killed_under_load_loses_nobody_and_nothing() {
    a_node_is_killed_under_load(Balancing::Address).await;
}

#[tokio::test]
async fn by_session_a_node_that_is_killed_under_load_loses_nobody_and_nothing() {
    a_node_is_killed_under_load(Balancing::Session).await;
}

/// As above, but the node is told to stop, and sends its clients away.
async fn a_node_is_stopped_under_load(balancing: Balancing) {
    let settings = [("REALTIME_DRAIN_WINDOW", "2000"), ("REALTIME_DRAIN_TIMEOUT", "10000")];
    let site = Site::start(balancing, &settings).await;
    let mut crowd = Crowd::enter(&site.nginx.url(), None, CLIENTS, scattered).await;
    let before = site.spread().await;
    let most = (0..3).max_by_key(|node| before[*node]).expect("there are three");
    crowd.speak(SPEAKERS, 60, Duration::from_millis(50));
    let mark = crowd.mark();
    site.nodes[most].signal("TERM");
    crowd.back(mark, before[most], BACK_LIMIT).await;
    let status = site.nodes[most].ended(BACK_LIMIT).await;
    assert!(status.success(), "{status}\n{}", site.nodes[most].log_text());

    let acked = crowd.spoken(SPEAKERS).await;
    assert_eq!(acked.len(), SPEAKERS * 60);
    crowd.all_heard(&acked).await;
}

#[tokio::test]
async fn by_address_a_node_that_is_stopped_under_load_loses_nobody_and_nothing() {
    a_node_is_stopped_under_load(Balancing::Address).await;
}

#[tokio::test]
async fn by_session_a_node_that_is_stopped_under_load_loses_nobody_and_nothing() {
    a_node_is_stopped_under_load(Balancing::Session).await;
}

#[tokio::test]
async fn by_session_those_who_are_there_stay_while_every_node_turns_new_clients_down() {
    let site = Site::start(
        Balancing::Session,
        &[("REALTIME_MAX_CONNECTIONS", "1"), ("REALTIME_LIMITS", "enforce")],
    )
    .await;
    let mut crowd = Crowd::enter(&site.nginx.url(), None, 3, scattered).await;
    assert_eq!(site.spread().await, [1, 1, 1]);
    let mark = crowd.mark();
    let newcomer = client("127.0.0.1");
    for _ in 0..5 {
        let (status, text) = get(
            &newcomer,
            &format!("{}/socket.io/?EIO=4&transport=polling", site.nginx.url()),
        )
        .await;
        assert!([502, 503].contains(&status), "{status}: {text}");
    }
    crowd.speak(3, 2, Duration::ZERO);
    let acked = crowd.spoken(3).await;
    crowd.all_heard(&acked).await;
    assert!(!crowd.anybody_lost(mark), "a session did not stand");
}

#[tokio::test]
async fn over_tls_every_transport_works() {
    let site = Site::start(Balancing::Session, &[]).await;
    let certificate = site.nginx.certificate();
    let ca = certificate.to_str().expect("a plain path");
    let mut crowd = Crowd::enter(&site.nginx.secure_url(), Some(ca), 6, scattered).await;
    crowd.speak(3, 2, Duration::ZERO);
    let acked = crowd.spoken(3).await;
    crowd.all_heard(&acked).await;
}
