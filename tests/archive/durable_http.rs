//! What the administration changes over HTTP: answered with `durable: false` where Postgres does not have it yet, and without
//! where it does.

use serde_json::{Value, json};

use crate::own_postgres;
use crate::support::api::{API_KEY, ask};
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::redis::Redis;

const ACTS: [(&str, &str, &str); 8] = [
    ("POST", "/api/rooms", r#"{"name": "new"}"#),
    ("PATCH", "/api/rooms/den", r#"{"type": "group"}"#),
    ("PUT", "/api/rooms/den/members/ann", "{}"),
    ("PUT", "/api/rooms/den/members/ann/role", r#"{"role": "admin"}"#),
    ("PUT", "/api/rooms/den/bans/bob", "{}"),
    ("DELETE", "/api/rooms/den/bans/bob", "null"),
    ("PUT", "/api/rooms/den/mutes/bob", "{}"),
    ("DELETE", "/api/rooms/new", "null"),
];

async fn act(node: &Node, (method, path, body): (&str, &str, &str)) -> Value {
    let body = serde_json::from_str(body).expect("JSON");
    ask(node, method, path, body).await.done()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_whether_postgres_has_a_change() {
    let redis = Redis::start().await;
    let (postgres, database) = own_postgres().await;
    let settings = [
        ("REALTIME_API_KEYS", API_KEY),
        ("REALTIME_DATABASE_URL", &database.url()),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    ask(&node, "POST", "/api/rooms", json!({"name": "den"})).await.done();
    for asked in ACTS {
        let done = act(&node, asked).await;
        assert_eq!(done.get("durable"), None, "{asked:?}: {done}");
    }
    let client = database.connect().await;
    let shown = client
        .query_one("SELECT type FROM realtime_rooms WHERE name = 'den'", &[])
        .await;
    assert_eq!(
        shown.expect("the row is there").get::<_, String>(0),
        "group",
        "what is durable is in Postgres"
    );
    postgres.stop().await;
    for asked in ACTS {
        let done = act(&node, asked).await;
        assert_eq!(done["durable"], false, "{asked:?}: {done}");
    }
    postgres.restart().await;
    eventually("answers are durable again", async || {
        act(&node, ACTS[1]).await.get("durable").is_none()
    })
    .await;
}
