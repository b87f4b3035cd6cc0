//! nchat works: its client (tests/clients/js/nchat.mjs) on two nodes with `REALTIME_PROFILE=nchat`, what its server says to
//! them, and the tokens that it shows today.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::clients;
use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::raw::{Raw, unique};
use crate::support::redis_any::AnyRedis;
use crate::support::token::token;

/// The profile, and no more of its own than the tests need: limits hold, but all clients come from one address.
const PROFILE: &[(&str, &str)] = &[
    ("REALTIME_PROFILE", "nchat"),
    ("REALTIME_ROOM_AUTOCREATE", ""), // as if it were not set
    ("REALTIME_LIMITS", "enforce"),
    ("REALTIME_RATE_LIMIT", "10000"),
    ("REALTIME_API_KEYS", "a key of the tests for nchat alone"),
];

async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(|| Cluster::start(2, PROFILE)).await
}

#[tokio::test]
async fn its_client_works() {
    clients::javascript(cluster().await, "nchat", "websocket").await;
}

#[tokio::test]
async fn its_server_is_heard() {
    clients::javascript(cluster().await, "nchat_server", "websocket").await;
}

#[tokio::test]
async fn a_profile_that_is_overridden_is_told() {
    let mut settings = PROFILE.to_vec();
    settings.push(("REALTIME_CUSTOM_STATUS_SHAPE", "flat"));
    let redis = AnyRedis::shared().await;
    let node = Node::start(&redis.url(), &settings).await;
    node.logs(&["REALTIME_CUSTOM_STATUS_SHAPE", "REALTIME_PROFILE=nchat", "warn"])
        .await;
}

const INSECURE: (&str, &str) = ("REALTIME_INSECURE_USER_TOKENS", "true");

async fn shows(node: &Node, token: &str, headers: &[(&'static str, &str)]) -> Result<Raw, Value> {
    let raw = Raw::open_with(node, headers).await;
    raw.connect(&json!({"token": token})).await.map(|_| raw)
}

fn is_invalid(refusal: &Value) -> bool {
    refusal["message"] == "Invalid token" && refusal["data"]["code"] == "UNAUTHENTICATED"
}

#[tokio::test]
async fn a_token_that_only_names_a_user_is_none() {
    let refusal = shows(&Cluster::shared().await.nodes[0], "user:ada", &[]).await.err();
    assert!(refusal.as_ref().is_some_and(is_invalid), "{refusal:?}");
}

/// Where it was asked for, of this machine's programs, and so that nobody overlooks it.
#[tokio::test]
async fn a_token_that_only_names_a_user_counts_where_a_setting_says_so() {
    let redis = AnyRedis::shared().await;
    let node = Node::start(&redis.url(), &[INSECURE]).await;
    node.logs(&["\"level\":\"error\"", "REALTIME_INSECURE_USER_TOKENS is true"])
        .await;
    let (ada, bob) = (unique("ada"), unique("bob"));
    let names = |user: &str| format!("user:{user}");
    let raw = shows(&node, &names(&ada), &[]).await.expect("it is believed");
    raw.heard("authenticated", |told| told["userId"] == ada.as_str()).await;
    node.logs(&["\"level\":\"warn\"", "without any proof", &ada]).await;
    shows(&node, &token(&ada), &[])
        .await
        .expect("a token that proves something is as good");
    shows(&node, &names(&ada), &[("x-forwarded-for", "127.0.0.1")])
        .await
        .expect("a proxy of this machine passes it on for a program of this machine");

    for wrong in ["user:", "user:anon:x", "User:ada", &"user:x".repeat(100)] {
        let refusal = shows(&node, wrong, &[]).await.err();
        assert!(refusal.as_ref().is_some_and(is_invalid), "{wrong}: {refusal:?}");
    }
    for header in [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "203.0.113.7, 127.0.0.1"),
        ("x-forwarded-for", "not an address"),
        ("x-real-ip", "203.0.113.7"),
        ("forwarded", "for=203.0.113.7"),
    ] {
        let refusal = shows(&node, &names(&ada), &[header]).await.err();
        assert!(refusal.as_ref().is_some_and(is_invalid), "{header:?}: {refusal:?}");
        let far = shows(&node, &token(&ada), &[header])
            .await
            .expect("a real token passes");
        far.refused("UNAUTHENTICATED", "auth:refresh", json!({"token": names(&ada)}))
            .await;
    }

    let told = raw.done("auth:refresh", json!({"token": names(&ada)})).await;
    assert_eq!(told, json!({"userId": ada, "expiresAt": null}));
    raw.refused("UNAUTHENTICATED", "auth:refresh", json!({"token": names(&bob)}))
        .await;
    let log = node.log_text();
    assert!(
        !log.contains(&names(&ada)) && !log.contains(&names(&bob)),
        "no token is logged: {log}"
    );
}

#[tokio::test]
async fn without_a_key_only_such_tokens_are_believed() {
    let redis = AnyRedis::shared().await;
    let node = Node::start(&redis.url(), &[INSECURE, ("REALTIME_JWT_SECRET", "")]).await;
    let ada = unique("ada");
    let raw = shows(&node, &format!("user:{ada}"), &[]).await.expect("it is believed");
    raw.heard("authenticated", |told| told["userId"] == ada.as_str()).await;
    let refusal = shows(&node, &token(&ada), &[]).await.err();
    assert!(refusal.as_ref().is_some_and(is_invalid), "{refusal:?}");
}
