//! Users and their connections, as the administration sees them over HTTP, and sends them away.

use serde_json::{Value, json};

use crate::support::api::{API_KEY, ask};
use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::raw::{Raw, room, unique};

async fn done(node: &Node, method: &str, path: &str, body: Value) -> Value {
    ask(node, method, path, body).await.done()
}

fn field(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().expect("a list").iter();
    let mut found: Vec<String> = items
        .map(|item| item[field].as_str().expect("a text").to_owned())
        .collect();
    found.sort();
    found
}

fn socket_of(raw: &Raw) -> String {
    let connected = raw.all("connected", |_| true);
    connected[0]["socketId"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn presence_of_many_is_told_as_clients_hear_it() {
    let cluster = Cluster::shared().await;
    let (ada, bob) = (unique("ada"), unique("bob"));
    let raw = Raw::enter(&cluster.nodes[1], &ada).await;
    let choice = json!({"status": "busy", "customStatus": {"text": "at sea", "emoji": "⛵"}});
    raw.done("presence:update", choice).await;
    let wanted = json!({"presences": [
        {"userId": bob, "status": "offline", "customStatus": null, "customEmoji": null},
        {"userId": ada, "status": "busy", "customStatus": "at sea", "customEmoji": "⛵"},
    ]});
    let node = &cluster.nodes[0];
    let asked = done(node, "POST", "/api/presence", json!({"userIds": [bob, ada]})).await;
    assert_eq!(asked, wanted);
    let looked = done(node, "GET", &format!("/api/presence?userIds={bob},{ada}"), Value::Null).await;
    assert_eq!(looked, wanted);
    for (body, field) in [
        (json!({"userIds": vec!["x"; 201]}), "userIds"),
        (json!({"userIds": ["x", ""]}), "userIds[1]"),
        (json!({}), "userIds"),
        (json!({"userIds": [7]}), "userIds[0]"),
    ] {
        let answer = ask(node, "POST", "/api/presence", body).await;
        answer.is_problem(400, "INVALID_PAYLOAD", Some(field));
    }
}

#[tokio::test]
async fn connections_are_listed_by_user_and_node() {
    let cluster = Cluster::start(2, &[("REALTIME_API_KEYS", API_KEY)]).await;
    let mut raws = Vec::new();
    for n in 0..9 {
        raws.push(Raw::enter(&cluster.nodes[n % 2], ["ann", "bob", "eve"][n % 3]).await);
    }
    let room = room();
    raws[0].done("room:join", json!({"roomName": room})).await;
    let node = &cluster.nodes[1];
    let (mut sockets, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = done(node, "GET", &format!("/api/connections?limit=4{cursor}"), Value::Null).await;
        sockets.extend(field(&page["connections"], "socketId"));
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    sockets.sort();
    let mut all: Vec<String> = raws.iter().map(socket_of).collect();
    all.sort();
    assert_eq!(sockets, all);
    let of_node = done(node, "GET", "/api/connections?node=node-0", Value::Null).await;
    assert_eq!(of_node["connections"].as_array().unwrap().len(), 5);
    let of_both = done(node, "GET", "/api/connections?node=node-0&user=ann", Value::Null).await;
    assert_eq!(field(&of_both["connections"], "socketId").len(), 2);
    let of_user = done(node, "GET", "/api/users/ann/connections", Value::Null).await;
    let first = of_user["connections"].as_array().unwrap().iter();
    let first = first
        .clone()
        .find(|one| one["socketId"] == socket_of(&raws[0]).as_str());
    let first = first.expect("the first is hers");
    for (name, value) in [
        ("userId", json!("ann")),
        ("node", json!("node-0")),
        ("state", json!("live")),
        ("transport", json!("websocket")),
        ("ip", json!("127.0.0.1")),
        ("rooms", json!(1)),
    ] {
        assert_eq!(first[name], value, "{first}");
    }
    let nobody = done(node, "GET", "/api/users/nobody/connections", Value::Null).await;
    assert_eq!(nobody, json!({"connections": [], "cursor": null}));
    for path in ["/api/connections?cursor=.", "/api/users/ann/connections?limit=0"] {
        assert_eq!(ask(node, "GET", path, Value::Null).await.status, 400, "{path}");
    }
}

#[tokio::test]
async fn a_socket_or_a_user_is_sent_away_from_any_node() {
    let cluster = Cluster::shared().await;
    let (ada, bob, room) = (unique("ada"), unique("bob"), room());
    let watcher = Raw::member(&cluster.nodes[0], &bob, &room).await;
    let mut tabs = Vec::new();
    for n in 0..4 {
        tabs.push(Raw::member(&cluster.nodes[n % 2], &ada, &room).await);
    }
    let [one, other] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    // By the socket's id, by the connection's, and the rest by the user's.
    let by_socket = format!("/api/connections/{}", socket_of(&tabs[0]));
    let sent = json!({"nodes": [{"node": "node-0", "sockets": 1}], "remaining": 0});
    assert_eq!(done(other, "DELETE", &by_socket, Value::Null).await, sent);
    assert!(tabs[0].closed().await.contains("close"), "the transport ends");
    let listed = done(one, "GET", &format!("/api/users/{ada}/connections"), Value::Null).await;
    let listed = listed["connections"].as_array().unwrap().clone();
    assert_eq!(listed.len(), 3);
    let second = listed
        .iter()
        .find(|one| one["socketId"] == socket_of(&tabs[1]).as_str());
    let by_id = format!(
        "/api/connections/{}",
        second.expect("it is there")["id"].as_str().unwrap()
    );
    let sent = json!({"nodes": [{"node": "node-1", "sockets": 1}], "remaining": 0});
    assert_eq!(done(one, "DELETE", &by_id, Value::Null).await, sent);
    tabs[1].closed().await;
    for path in [by_socket, by_id] {
        let gone = done(one, "DELETE", &path, Value::Null).await;
        assert_eq!(gone, json!({"nodes": [], "remaining": 0}));
    }
    let path = format!("/api/users/{ada}/disconnect");
    let sent = json!({
        "nodes": [{"node": "node-0", "sockets": 1}, {"node": "node-1", "sockets": 1}], "remaining": 0,
    });
    assert_eq!(done(one, "POST", &path, Value::Null).await, sent);
    for tab in &tabs[2..] {
        tab.closed().await;
    }
    let is_hers = |left: &Value| left["userId"] == ada.as_str();
    watcher.heard("user:left", is_hers).await;
    watcher.marker(&room, &[&watcher]).await;
    assert_eq!(watcher.all("user:left", is_hers).len(), 1, "once, with the last");
    // It is no ban.
    Raw::member(other, &ada, &room).await;
}

#[tokio::test]
async fn a_word_that_the_bus_dropped_is_said_again() {
    let cluster = Cluster::start(2, &[("REALTIME_API_KEYS", API_KEY)]).await;
    for round in 0..5 {
        let ada = Raw::enter(&cluster.nodes[1], &format!("ada-{round}")).await;
        cluster.redis.cut_bus().await;
        let path = format!("/api/users/{}/disconnect", ada.user);
        let mut remaining = 1;
        while remaining > 0 {
            let sent = done(&cluster.nodes[0], "POST", &path, Value::Null).await;
            remaining = sent["remaining"].as_u64().unwrap();
        }
        ada.closed().await;
    }
}

#[tokio::test]
async fn a_revocation_sends_away_and_keeps_out() {
    let cluster = Cluster::shared().await;
    let ada = Raw::enter(&cluster.nodes[1], &unique("ada")).await;
    let path = format!("/api/users/{}/revoke", ada.user);
    let revoked = done(&cluster.nodes[0], "POST", &path, Value::Null).await;
    assert!(revoked["revokedAt"].as_str().unwrap().ends_with('Z'));
    ada.heard("auth:error", |error| error["code"] == "UNAUTHENTICATED")
        .await;
    ada.closed().await;
    let token = done(
        &cluster.nodes[0],
        "POST",
        "/api/tokens/some%20token/revoke",
        Value::Null,
    )
    .await;
    assert!(token["revokedAt"].is_string());
}
