//! Tokens by a key set: from a URL, served well and badly, and from a file that changes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::issuer::{Answer, Issuer, Key, key_set};
use crate::support::node::Node;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::token::{seconds_from_now, token};

/// What a node is told of its issuer; a secret beside the key set only where a test brings one.
fn by_url(issuer: &Issuer) -> Vec<(&'static str, String)> {
    vec![
        ("REALTIME_JWT_SECRET", String::new()),
        ("REALTIME_JWT_JWKS_URL", issuer.url.clone()),
        ("SSL_CERT_FILE", issuer.authority.to_str().expect("a path").to_owned()),
    ]
}

fn spawn(redis: &Redis, settings: &[(&str, String)]) -> Node {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Node::spawn(&redis.url(), &settings)
}

async fn loaded(node: &Node) {
    eventually("the key set has come", async || {
        let at = node.metric("realtime_key_set_loaded_timestamp_seconds", "").await;
        at.is_some_and(|at| at > 0.0)
    })
    .await;
}

async fn connects(node: &Node, auth: &Value) -> Result<Value, Value> {
    Raw::open(node).await.connect(auth).await
}

async fn is_invalid(node: &Node, auth: &Value) {
    let refusal = connects(node, auth).await.expect_err("this must not get in");
    assert_eq!(
        refusal,
        json!({"message": "Invalid token", "data": {"code": "UNAUTHENTICATED"}})
    );
}

#[tokio::test]
async fn keys_rotate_at_the_url_and_made_up_names_are_one_fetch() {
    let (redis, old, new) = (Redis::start().await, Key::new("old"), Key::new("new"));
    let issuer = Issuer::https(Answer::Document(key_set(&[&old]))).await;
    let node = spawn(&redis, &by_url(&issuer));
    node.becomes("/readyz", 200).await;
    loaded(&node).await;
    assert_eq!(issuer.fetches(), 1);
    connects(&node, &old.auth("ann")).await.expect("a good token");
    is_invalid(&node, &Key::new("old").auth("ann")).await;
    let expired = old.sign(&json!({"sub": "ann", "exp": seconds_from_now(-5)}));
    is_invalid(&node, &json!({"token": expired})).await;
    assert_eq!(issuer.fetches(), 1, "known names are judged by what is there");

    issuer.answers(Answer::Document(key_set(&[&old, &new])));
    let users: Vec<Value> = (0..20).map(|n| new.auth(&format!("user{n}"))).collect();
    for answer in join_all(users.iter().map(|auth| connects(&node, auth))).await {
        answer.expect("the new key is fetched");
    }
    assert_eq!(issuer.fetches(), 2, "whoever waits, waits for the same fetch");
    for n in 0..20 {
        is_invalid(&node, &Key::new(&format!("made-up-{n}")).auth("eve")).await;
    }
    assert_eq!(issuer.fetches(), 2);

    // The secret's own kind of token is none of a key set's.
    is_invalid(&node, &json!({"token": token("ann")})).await;
    let ann = Raw::open(&node).await;
    ann.connect(&new.auth("ann")).await.expect("a good token");
    let refreshed = ann.done("auth:refresh", new.auth("ann")).await;
    assert_eq!(refreshed["userId"], "ann");
    ann.refused("UNAUTHENTICATED", "auth:refresh", Key::new("old").auth("ann"))
        .await;
}

/// Whatever is wrong with the answer: nobody is told that his token is, and a good answer heals it.
#[tokio::test]
async fn until_a_set_has_come_nobody_is_refused_for_his_token() {
    let key = Key::new("k");
    for wrong in [
        Answer::Status(500),
        Answer::Silence,
        Answer::Huge,
        Answer::RedirectToItself,
        Answer::RedirectTo("ftp://localhost/keys".to_owned()),
        Answer::Document("{\"keys\": []}".to_owned()),
        Answer::Document("<html>".to_owned()),
    ] {
        let redis = Redis::start().await;
        let issuer = Issuer::http(wrong).await;
        let node = spawn(&redis, &by_url(&issuer));
        node.becomes("/readyz", 200).await;
        eventually("a fetch has failed", async || {
            node.metric("realtime_key_set_failures_total", "").await >= Some(1.0)
        })
        .await;
        let url = format!("{}/socket.io/?EIO=4&transport=polling", node.url());
        let answer = reqwest::get(&url).await.expect("the node listens");
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let line = node.logs(&["key set", "not up to date"]).await;
        assert!(!line.contains("/keys"), "no log line names the URL: {line}");
        issuer.answers(Answer::Document(key_set(&[&key])));
        loaded(&node).await;
        connects(&node, &key.auth("ann")).await.expect("a good token");
    }
}

#[tokio::test]
async fn beside_a_secret_a_set_that_has_not_come_closes_the_transport_of_its_own_tokens_alone() {
    let (redis, key) = (Redis::start().await, Key::new("k"));
    let issuer = Issuer::http(Answer::Status(503)).await;
    let mut settings = by_url(&issuer);
    settings.remove(0);
    let node = spawn(&redis, &settings);
    node.becomes("/readyz", 200).await;
    connects(&node, &json!({"token": token("ann")}))
        .await
        .expect("the secret's token");
    let eve = Raw::open(&node).await;
    eve.send(&format!("40{}", key.auth("eve")));
    eve.closed().await;
    let log = format!("{:?}", eve.log());
    assert!(!log.contains("ConnectError"), "{log}");
    issuer.answers(Answer::Document(key_set(&[&key])));
    loaded(&node).await;
    connects(&node, &key.auth("eve")).await.expect("the set's token");
}

#[tokio::test]
async fn a_set_that_cannot_be_fetched_anew_stays_and_judges() {
    let (redis, key) = (Redis::start().await, Key::new("k"));
    let issuer = Issuer::http(Answer::Document(key_set(&[&key]))).await;
    let node = spawn(&redis, &by_url(&issuer));
    node.becomes("/readyz", 200).await;
    loaded(&node).await;
    issuer.answers(Answer::Status(500));
    // A name that is not known makes the node ask, and nobody can say that the name is wrong.
    let bob = Raw::open(&node).await;
    bob.send(&format!("40{}", Key::new("other").auth("bob")));
    bob.closed().await;
    assert_eq!(issuer.fetches(), 2);
    connects(&node, &key.auth("ann")).await.expect("the old set stays");
}

#[tokio::test]
async fn an_authority_that_the_system_does_not_trust_is_not_believed() {
    let (redis, key) = (Redis::start().await, Key::new("k"));
    let issuer = Issuer::https(Answer::Document(key_set(&[&key]))).await;
    let other = Issuer::https(Answer::Silence).await;
    let mut settings = by_url(&issuer);
    settings[2].1 = other.authority.to_str().expect("a path").to_owned();
    let node = spawn(&redis, &settings);
    node.becomes("/readyz", 200).await;
    node.logs(&["key set", "ertificate"]).await;
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let (redis, old, new) = (Redis::start().await, Key::new("old"), Key::new("new"));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keys.json");
    std::fs::write(&path, key_set(&[&old])).expect("a file");
    let settings = [
        ("REALTIME_JWT_SECRET", String::new()),
        ("REALTIME_JWT_JWKS_FILE", path.to_str().expect("a path").to_owned()),
    ];
    let node = spawn(&redis, &settings);
    node.becomes("/readyz", 200).await;
    connects(&node, &old.auth("ann")).await.expect("a good token");

    std::fs::write(&path, "half a fi").expect("a file");
    node.logs(&["key set", "not up to date"]).await;
    connects(&node, &old.auth("ann")).await.expect("the old set stays");

    let next = directory.path().join("next.json");
    std::fs::write(&next, key_set(&[&new])).expect("a file");
    std::fs::rename(&next, &path).expect("the same directory");
    // The unknown name makes the node look at once.
    connects(&node, &new.auth("ann")).await.expect("the new key");
    is_invalid(&node, &old.auth("ann")).await;

    std::fs::write(&path, "{}").expect("a file");
    let broken = spawn(&redis, &settings);
    let status = broken.ended(Duration::from_secs(10)).await;
    assert!(!status.success(), "a file that is no key set stops the start");
}
