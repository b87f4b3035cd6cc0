//! Tokens that are revoked while their sockets are connected, and what is left of them afterwards.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::node::{Node, binary};
use crate::support::raw::Raw;
use crate::support::redis_any::AnyRedis;
use crate::support::token::{seconds_from_now, signed};

/// Promised: on every node within a second.
const EFFECTIVE_WITHIN: Duration = Duration::from_secs(1);

fn revoke(redis: &AnyRedis, args: &[&str]) -> Output {
    binary()
        .arg("revoke")
        .args(args)
        .env("REALTIME_REDIS_URL", redis.url())
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn revoked(redis: &AnyRedis, args: &[&str]) -> String {
    let output = revoke(redis, args);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn auth(user: &str, jti: &str, issued_s: i64) -> Value {
    let claims = json!({"sub": user, "jti": jti, "iat": seconds_from_now(issued_s), "exp": seconds_from_now(3_600)});
    json!({"token": signed(&claims)})
}

async fn enter(node: &Node, auth: &Value) -> Raw {
    let raw = Raw::open(node).await;
    raw.connect(auth).await.expect("a good token");
    raw.heard("authenticated", |_| true).await;
    raw
}

async fn is_sent_away(raw: &Raw) {
    let told = raw.heard("auth:error", |_| true).await;
    assert_eq!(told, json!({"code": "UNAUTHENTICATED", "message": "Token revoked"}));
    raw.closed().await;
}

async fn is_refused(node: &Node, auth: &Value) {
    let refusal = Raw::open(node).await.connect(auth).await.expect_err("a revoked token");
    assert_eq!(
        refusal,
        json!({"message": "Invalid token", "data": {"code": "UNAUTHENTICATED"}})
    );
}

#[tokio::test]
async fn complaint_14_a_revoked_token_does_not_stay_connected() {
    let cluster = Cluster::start(2, &[]).await;
    let (node, other) = (&cluster.nodes[0], &cluster.nodes[1]);
    let (one, two) = (auth("ann", "one", 0), auth("ann", "two", 0));
    let (first, second) = (enter(node, &one).await, enter(other, &two).await);
    let bob = enter(other, &auth("bob", "three", 0)).await;
    let told: Value = serde_json::from_str(&revoked(&cluster.redis, &["--token", "one", "--json"])).expect("JSON");
    assert_eq!(told["token"], "one");
    is_sent_away(&first).await;
    is_refused(other, &one).await;
    second.refused("UNAUTHENTICATED", "auth:refresh", one.clone()).await;
    second.done("ping", json!({})).await;

    assert!(revoked(&cluster.redis, &["--user", "ann"]).starts_with("✓ Revoked: user ann, at 2"));
    is_sent_away(&second).await;
    is_refused(node, &two).await;
    is_refused(node, &json!({"token": signed(&json!({"sub": "ann"}))})).await;
    enter(node, &auth("ann", "four", 2)).await;
    bob.done("ping", json!({})).await;
    assert_eq!(node.metric("realtime_revoked_connections_total", "").await, Some(1.0));
}

#[tokio::test]
async fn complaint_14_an_expired_token_does_not_stay_connected() {
    let cluster = Cluster::start(1, &[("REALTIME_JWT_LEEWAY", "2000")]).await;
    let expires_s = seconds_from_now(1);
    let ann = Raw::open(&cluster.nodes[0]).await;
    let token = signed(&json!({"sub": "ann", "exp": expires_s}));
    ann.connect(&json!({"token": token})).await.expect("a good token");
    let told = ann.heard("auth:error", |_| true).await;
    assert_eq!(told, json!({"code": "UNAUTHENTICATED", "message": "Token expired"}));
    ann.closed().await;
    let late_s = seconds_from_now(0) - expires_s;
    assert!((2..=4).contains(&late_s), "with leeway, and no later: {late_s}");
}

/// A refresh puts another token in the place of the first: its own id and time count from then on.
#[tokio::test]
async fn a_refreshed_connection_stands_and_falls_with_its_new_token() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let ann = enter(node, &auth("ann", "old", 0)).await;
    ann.done("auth:refresh", auth("ann", "new", 0)).await;
    revoked(&cluster.redis, &["--token", "old"]);
    let bob = enter(node, &auth("bob", "marker", 0)).await;
    revoked(&cluster.redis, &["--token", "marker"]);
    is_sent_away(&bob).await;
    ann.done("ping", json!({})).await;
    revoked(&cluster.redis, &["--token", "new"]);
    is_sent_away(&ann).await;
}

/// What was revoked while a node heard nothing is applied as soon as it hears again.
#[tokio::test]
async fn a_revocation_that_the_bus_dropped_is_not_lost() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    let ann = enter(node, &auth("ann", "one", 0)).await;
    let bob = enter(node, &auth("bob", "two", 0)).await;
    // Added behind the bus's back: as if the connection had broken at this very moment.
    let at = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_millis();
    let entry = ("rt:{nodes}:revocations", at.to_string(), "token\0one");
    let () = cluster.redis.ask(redis::cmd("ZADD").arg(entry)).await;
    cluster.redis.cut_bus().await;
    is_sent_away(&ann).await;
    bob.done("ping", json!({})).await;
}

/// Revocations and connects race: whoever got in is sent away, whoever did not is refused, and nobody stays.
#[tokio::test]
async fn nobody_slips_in_beside_a_revocation() {
    let cluster = Cluster::start(1, &[]).await;
    let node = &cluster.nodes[0];
    for round in 0..20 {
        let jti = format!("race{round}");
        let auth = auth("ann", &jti, 0);
        let raw = Raw::open(node).await;
        let late = Duration::from_micros(500 * round);
        let (answer, ()) = tokio::join!(raw.connect(&auth), async {
            tokio::time::sleep(late).await;
            publish_revocation(&cluster.redis, &jti).await;
        });
        if answer.is_ok() {
            is_sent_away(&raw).await;
        }
    }
}

/// `revocations/add.lua`, without the time that a process takes to start.
async fn publish_revocation(redis: &AnyRedis, jti: &str) {
    let mut add = redis::cmd("EVAL");
    add.arg((include_str!("../../lua/revocations/add.lua"), 2))
        .arg(&["rt:{nodes}:revocations", "rt:{nodes}:bus.all"])
        .arg(&["token", jti, "3600000", "1000", "100"]);
    let (added, _at_ms): (i64, String) = redis.ask(&add).await;
    assert_eq!(added, 1);
}

#[tokio::test]
async fn a_revocation_is_effective_on_every_node_within_a_second() {
    let cluster = Cluster::start(2, &[]).await;
    let mut took = Vec::new();
    for n in 0..60 {
        let jti = format!("token{n}");
        let raw = enter(&cluster.nodes[1], &auth("ann", &jti, 0)).await;
        publish_revocation(&cluster.redis, &jti).await;
        let acknowledged = Instant::now();
        raw.closed().await;
        took.push(acknowledged.elapsed());
    }
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    println!(
        "from the answer to the disconnect, {} revocations: p50 {:?}, p99 {p99:?}",
        took.len(),
        took[30]
    );
    assert!(took.iter().all(|took| *took < EFFECTIVE_WITHIN), "{took:?}");
}

#[tokio::test]
async fn what_is_to_be_revoked_must_be_said() {
    let redis = AnyRedis::start().await;
    for args in [&[][..], &["--user", "ann", "--token", "one"], &["--user", "a\u{7}"]] {
        assert_eq!(revoke(&redis, args).status.code(), Some(2), "{args:?}");
    }
}
