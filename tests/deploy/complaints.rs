//! What users of such systems complain about, the lines that are about balancers: each is shown as its user sees it.

use std::time::Duration;

use serde_json::json;

use crate::crowd::{Crowd, scattered};
use crate::nginx_bounds::{client, get, open};
use crate::proxy::{Balancing, Site, strays_of};

const BACK_LIMIT: Duration = Duration::from_secs(30);

/// Twice the clients of a node, so that a spread is one, and few enough that the node's own limit (100 a minute from one
/// address) lets all of them in.
const OFFICE: usize = 36;

#[tokio::test]
async fn complaint_10_an_unknown_session_is_answered_clearly_and_counted_by_cause() {
    let site = Site::start(Balancing::Session, &[]).await;
    let (node, other) = (&site.nodes[0], &site.nodes[1]);
    let client = client("127.0.0.1");
    let of_other = open(&client, &other.url()).await;
    let ended = open(&client, &node.url()).await;
    let at_node = |sid: &str| format!("{}/socket.io/?EIO=4&transport=polling&sid={sid}", node.url());
    // The client says goodbye: an Engine.IO close.
    let goodbye = client.post(at_node(&ended)).body("1").send().await.expect("it answers");
    assert_eq!(goodbye.status(), 200);

    for (sid, cause) in [
        (of_other.as_str(), "elsewhere"),
        (&ended, "ended"),
        ("__proto__", "malformed"),
    ] {
        assert_eq!(strays_of(node, cause).await, 0, "{cause}");
        let (status, text) = get(&client, &at_node(sid)).await;
        assert_eq!(status, 400, "{cause}: {text}");
        let body: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(body, json!({"code": 1, "message": "Session ID unknown"}), "{cause}");
        let posted = client.post(at_node(sid)).body("3").send().await.expect("it answers");
        assert_eq!(posted.status(), 400, "{cause}");
        assert_eq!(strays_of(node, cause).await, 2, "{cause}");
    }
    // By way of nginx the same id finds its node, whichever that is, and a made-up one hears the same.
    let by_nginx = |sid: &str| format!("{}/socket.io/?EIO=4&transport=polling&sid={sid}", site.nginx.url());
    let posted = client
        .post(by_nginx(&of_other))
        .body("40")
        .send()
        .await
        .expect("nginx answers");
    assert_eq!(posted.status(), 200);
    assert_eq!(get(&client, &by_nginx("made-up")).await.0, 400);
}

#[tokio::test]
async fn complaint_10_a_stock_client_whose_session_is_unknown_makes_a_new_one_and_misses_nothing() {
    let site = Site::start(Balancing::Address, &[]).await;
    let mut crowd = Crowd::enter(&site.nginx.url(), None, 12, scattered).await;
    let before = site.spread().await;
    let most = (0..3).max_by_key(|node| before[*node]).expect("there are three");
    let mark = crowd.mark();
    // Gone without a word; the polls of its clients are dealt to the others, who know nothing of them.
    site.nodes[most].signal("KILL");
    crowd.back(mark, before[most], BACK_LIMIT).await;
    assert!(site.strays("elsewhere").await > 0, "nobody polled");
    crowd.speak(3, 2, Duration::ZERO);
    let acked = crowd.spoken(3).await;
    crowd.all_heard(&acked).await;
}

/// An office behind one address: what ip_hash makes of it, and that it works all the same, with the limits as they are shipped.
async fn one_office(balancing: Balancing) -> Vec<usize> {
    let site = Site::start(balancing, &[("REALTIME_LIMITS", "enforce")]).await;
    let mut crowd = Crowd::enter(&site.nginx.url(), None, OFFICE, |_| "127.77.77.77".to_owned()).await;
    let spread = site.spread().await;
    assert_eq!(spread.iter().sum::<usize>(), OFFICE, "{spread:?}");
    crowd.speak(6, 3, Duration::ZERO);
    let acked = crowd.spoken(6).await;
    assert_eq!(acked.len(), 18, "users are limited each for himself");
    crowd.all_heard(&acked).await;
    println!("{balancing:?}: {OFFICE} clients of one address on three nodes: {spread:?}");
    spread
}

#[tokio::test]
async fn complaint_11_an_office_behind_one_address_is_on_one_node_by_address_and_works() {
    let spread = one_office(Balancing::Address).await;
    assert_eq!(spread.iter().filter(|count| **count > 0).count(), 1, "{spread:?}");
}

#[tokio::test]
async fn complaint_11_an_office_behind_one_address_is_spread_over_all_nodes_by_session() {
    let spread = one_office(Balancing::Session).await;
    // In turn, or to the fewest: no node has twice its share.
    assert!(
        spread.iter().all(|count| (1..OFFICE * 2 / 3).contains(count)),
        "{spread:?}"
    );
}
