//! The archive's questions over HTTP: who may ask, in which form, in pages, and what is said where Postgres is away.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::migrate;
use crate::support::node::Node;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::trail::{Entry, Trail, at, entry};

const KEY: &str = "a key of the administration";

/// A gateway on a database, with two keys.
async fn gateway(redis: &Redis, database_url: &str) -> Node {
    let keys = format!("another key, {KEY}");
    let settings = [
        ("REALTIME_API_KEYS", keys.as_str()),
        ("REALTIME_DATABASE_URL", database_url),
        ("REALTIME_EVENT_RETENTION_DAYS", "0"), // the trail of these tests is old
    ];
    Node::start(&redis.url(), &settings).await
}

struct Answer {
    status: StatusCode,
    content_type: String,
    body: Value,
}

async fn ask(node: &Node, path: &str) -> Answer {
    asked(
        reqwest::Client::new()
            .get(format!("{}{path}", node.url()))
            .header("X-API-Key", KEY),
    )
    .await
}

async fn asked(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("the node answers");
    let content_type = response
        .headers()
        .get("content-type")
        .map(|value| value.to_str().unwrap().to_owned());
    let (status, text) = (response.status(), response.text());
    let text = text.await.unwrap();
    Answer {
        status,
        content_type: content_type.unwrap_or_default(),
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

async fn found(node: &Node, path: &str) -> Value {
    let answer = ask(node, path).await;
    assert_eq!(
        (answer.status, &*answer.content_type),
        (StatusCode::OK, "application/json"),
        "{path}: {}",
        answer.body
    );
    answer.body
}

#[track_caller]
fn is_problem(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.content_type, "application/problem+json");
    let Value::Object(problem) = &answer.body else {
        panic!("{}", answer.body)
    };
    let fields: Vec<_> = problem
        .keys()
        .map(String::as_str)
        .filter(|name| *name != "field")
        .collect();
    assert_eq!(fields, ["code", "detail", "status", "title", "type"]);
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&code.into(), &status.as_u16().into())
    );
}

#[tokio::test]
async fn nobody_asks_without_a_key() {
    let (redis, trail) = tokio::join!(Redis::start(), Trail::new());
    let node = gateway(&redis, &trail.database.url()).await;
    let client = reqwest::Client::new();
    for path in [
        "/api",
        "/api/",
        "/api/events",
        "/api/who",
        "/api/users/ann/sessions",
        "/api/dance",
    ] {
        let url = format!("{}{path}", node.url());
        let answer = asked(client.get(&url)).await;
        is_problem(&answer, StatusCode::UNAUTHORIZED, "UNAUTHENTICATED");
        for wrong in ["", "a key", "another key, a key of the administration"] {
            let answer = asked(client.get(&url).header("X-API-Key", wrong)).await;
            is_problem(&answer, StatusCode::UNAUTHORIZED, "UNAUTHENTICATED");
        }
        let answer = asked(client.post(&url).header("X-API-Key", "x")).await;
        is_problem(&answer, StatusCode::UNAUTHORIZED, "UNAUTHENTICATED");
    }
    let response = client.get(format!("{}/api/events", node.url())).send().await.unwrap();
    assert!(response.headers().contains_key("www-authenticate"));
    for key in [KEY, "another key"] {
        let request = client
            .get(format!("{}/api/events", node.url()))
            .header("x-api-key", key);
        assert_eq!(asked(request).await.status, StatusCode::OK);
    }
    for path in [
        "/api",
        "/api/",
        "/api/dance",
        "/api/users/ann",
        "/api/users/a%ffb/sessions",
    ] {
        is_problem(&ask(&node, path).await, StatusCode::NOT_FOUND, "UNKNOWN_EVENT");
    }
    let post = client
        .post(format!("{}/api/events", node.url()))
        .header("x-api-key", KEY);
    is_problem(&asked(post).await, StatusCode::METHOD_NOT_ALLOWED, "UNKNOWN_EVENT");
    let log = node.log_text();
    assert!(!log.contains(KEY) && !log.contains("another key"), "{log}");
}

#[tokio::test]
async fn without_keys_there_is_no_administration() {
    let (redis, trail) = tokio::join!(Redis::start(), Trail::new());
    let node = Node::start(&redis.url(), &[("REALTIME_DATABASE_URL", &trail.database.url())]).await;
    for path in ["/api", "/api/events", "/api/who", "/api/users/ann/sessions"] {
        assert_eq!(ask(&node, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn without_a_database_there_is_no_answer() {
    let redis = Redis::start().await;
    let node = Node::start(&redis.url(), &[("REALTIME_API_KEYS", KEY)]).await;
    is_problem(
        &ask(&node, "/api/events").await,
        StatusCode::NOT_IMPLEMENTED,
        "FEATURE_DISABLED",
    );
}

#[tokio::test]
async fn events_sessions_and_who_are_answered_in_pages() {
    let (redis, mut trail) = tokio::join!(Redis::start(), Trail::new());
    let node = gateway(&redis, &trail.database.url()).await;
    let connect = Entry {
        ip: Some("192.0.2.1".parse().unwrap()),
        ..entry("connect", at(0), "", "ann", "c.1")
    };
    trail.batch(7, &[connect]).await;
    trail
        .tell(&[
            entry("join", at(1), "den of lions", "ann", "c.1"),
            entry("join", at(2), "den of lions", "bob", "c.2"),
            entry("leave", at(3), "den of lions", "bob", "c.2"),
        ])
        .await;

    let first = found(&node, "/api/events?limit=3").await;
    let kinds = |answer: &Value| -> Vec<String> {
        let events = answer["events"].as_array().unwrap().iter();
        events.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&first), ["leave", "join", "join"]);
    let cursor = first["cursor"].as_str().expect("there is more");
    let second = found(&node, &format!("/api/events?limit=3&cursor={cursor}")).await;
    assert_eq!(
        (kinds(&second), &second["cursor"]),
        (vec!["connect".to_owned()], &Value::Null)
    );
    let event = &second["events"][0];
    assert_eq!(
        *event,
        json!({
            "id": event["id"], "type": "connect", "createdAt": "2026-01-30T12:00:00.000Z", "userId": "ann", "roomName": null,
            "roomId": null, "socketId": "socket of c.1", "ip": "192.0.2.1", "payload": {},
            "metadata": {"connection": "c.1", "node": "node-a"},
        })
    );
    for (query, expected) in [
        ("type=leave,connect", &["leave", "connect"][..]),
        ("user=bob", &["leave", "join"]),
        ("room=den%20of+lions&type=join", &["join", "join"]),
        (
            "since=2026-01-30T12:00:02Z&until=2026-01-30T13:00:03%2B01:00",
            &["join"],
        ),
        ("since=1s", &[]),
        ("user=", &["leave", "join", "join", "connect"]),
    ] {
        assert_eq!(
            kinds(&found(&node, &format!("/api/events?{query}")).await),
            expected,
            "{query}"
        );
    }

    let who = found(&node, "/api/who?room=den%20of%20lions&at=2026-01-30T12:00:02Z&limit=1").await;
    assert_eq!(
        who,
        json!({
            "roomName": "den of lions", "at": "2026-01-30T12:00:02.000Z", "complete": true, "caveats": [], "cursor": "ann",
            "users": [{"userId": "ann", "since": "2026-01-30T12:00:01.000Z", "connections": ["c.1"]}],
        })
    );
    let rest = found(
        &node,
        "/api/who?room=den%20of%20lions&at=2026-01-30T12:00:02Z&cursor=ann",
    )
    .await;
    assert_eq!(
        (&rest["users"][0]["userId"], &rest["cursor"]),
        (&"bob".into(), &Value::Null)
    );
    let unknown = found(&node, "/api/who?room=nowhere&at=1m").await;
    assert_eq!((&unknown["complete"], &unknown["users"]), (&false.into(), &json!([])));
    assert_eq!(unknown["caveats"], json!([{"because": "no_records"}]));

    let sessions = found(&node, "/api/users/ann/sessions").await;
    assert_eq!(
        (&sessions["userId"], &sessions["cursor"]),
        (&"ann".into(), &Value::Null)
    );
    assert_eq!(sessions["sessions"][0]["connectedAt"], "2026-01-30T12:00:00.000Z");
    assert_eq!(found(&node, "/api/users/b%20o%2Fb/sessions").await["userId"], "b o/b");
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let (redis, trail) = tokio::join!(Redis::start(), Trail::new());
    let node = gateway(&redis, &trail.database.url()).await;
    let long = "x".repeat(256);
    for (path, name) in [
        ("/api/events?limit=0", "limit"),
        ("/api/events?limit=1001", "limit"),
        ("/api/events?limit=ten", "limit"),
        ("/api/events?limit=1&limit=2", "limit"),
        ("/api/events?since=soon", "since"),
        ("/api/events?until=2026-01-30", "until"),
        ("/api/events?user=%00", "user"),
        ("/api/events?type=join,,leave", "type"),
        ("/api/events?type=%00", "type"),
        ("/api/events?cursor=1", "cursor"),
        // Of another route.
        ("/api/events?cursor=1.socket", "cursor"),
        ("/api/events?usr=ann", "usr"),
        ("/api/who?at=1m", "room"),
        ("/api/who?room=den", "at"),
        ("/api/who?room=den&at=never", "at"),
        (&format!("/api/who?at=1m&room={long}"), "room"),
        (&format!("/api/users/{long}/sessions"), "user"),
        ("/api/users/ann/sessions?cursor=.", "cursor"),
        ("/api/users/ann/sessions?since=1m", "since"),
    ] {
        let answer = ask(&node, path).await;
        is_problem(&answer, StatusCode::BAD_REQUEST, "INVALID_PAYLOAD");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("{name}: ")), "{path}: {detail}");
        assert_eq!(answer.body["field"], name, "{path}");
    }
}

#[tokio::test]
async fn a_postgres_that_is_away_or_silent_is_said_in_time() {
    let (redis, postgres) = tokio::join!(Redis::start(), Postgres::start());
    let database = postgres.database().await;
    let node = gateway(&redis, &database.url()).await;
    let lacking = ask(&node, "/api/events").await;
    is_problem(&lacking, StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    assert_eq!(lacking.body["detail"], "the database has no schema");
    migrate(&database).await.unwrap();
    found(&node, "/api/events").await;

    let paths = ["/api/events", "/api/who?room=den&at=1m", "/api/users/ann/sessions"];
    postgres.pause();
    let begun = Instant::now();
    let answers = futures_util::future::join_all(paths.iter().map(|path| ask(&node, path))).await;
    for answer in &answers {
        is_problem(answer, StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    }
    // Promised are two seconds; the rest is this machine's, which may be busy. Postgres itself would never answer, and the
    // client gives up soon after.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    postgres.resume();
    postgres.stop().await;
    for path in paths {
        is_problem(&ask(&node, path).await, StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE");
    }
    postgres.restart().await;
    crate::support::eventually("the archive answers again", async || {
        ask(&node, "/api/events").await.status == StatusCode::OK
    })
    .await;
}
