//! What users complain about elsewhere, and may not complain about here.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::Node;
use crate::support::postgres::Postgres;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{migrate, own_postgres, rows, value};

/// Elsewhere a backend is not told when somebody goes, least of all when the node that should tell it died. Here the same step
/// that ends a connection writes it down, so it comes to Postgres once, also where that was away meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complaint_16_a_backend_hears_of_every_end_once() {
    let redis = Redis::start().await;
    let (postgres, database) = own_postgres().await;
    let url = database.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_NODE_BEAT", "300"),
        ("REALTIME_NODE_LEASE", "1200"),
        ("REALTIME_PRESENCE_GRACE", "500"),
    ];
    let dying = Node::start(&redis.url(), &settings).await;
    let other = Node::start(&redis.url(), &settings).await;
    let ann = Raw::member(&dying, "ann", "auto:lobby").await;
    let bob = Raw::member(&other, "bob", "auto:lobby").await;
    let cat = Raw::member(&other, "cat", "auto:lobby").await;

    postgres.stop().await;
    dying.signal("KILL");
    dying.ended(Duration::from_secs(10)).await;
    drop(ann);
    cat.disconnect().await;
    for gone in ["ann", "cat"] {
        bob.heard("user:left", |left| left["userId"] == gone).await;
    }
    postgres.restart().await;
    let client = database.connect().await;
    let ends = "SELECT user_id, payload ->> 'reason' AS reason FROM realtime_events WHERE event_type = 'disconnect' ORDER BY 1";
    eventually("both ends are in Postgres", async || {
        rows(&client, ends).await.len() >= 2
    })
    .await;
    assert_eq!(
        rows(&client, ends).await,
        [
            json!({ "user_id": "ann", "reason": "node_lost" }),
            json!({ "user_id": "cat", "reason": "client namespace disconnect" }),
        ]
    );
    let here = "SELECT c.user_id, c.status, p.status AS shown FROM realtime_connections c
        JOIN realtime_presence p ON p.user_id = c.user_id ORDER BY 1";
    let row = |user: &str, status: &str, shown: &str| json!({ "user_id": user, "status": status, "shown": shown });
    assert_eq!(
        rows(&client, here).await,
        [
            row("ann", "disconnected", "offline"),
            row("bob", "connected", "online"),
            row("cat", "disconnected", "offline"),
        ]
    );
}

/// Whatever clients have made of a room outlasts an emptied Redis, and so do they.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_made_is_back_after_redis_was_emptied() {
    let redis = Redis::start().await;
    let postgres = Postgres::shared().await;
    let database = postgres.database().await;
    migrate(&database).await.expect("the migrations run");
    let url = database.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_PRESENCE_HEARTBEAT", "1000"),
    ];
    let nodes = [
        Node::start(&redis.url(), &settings).await,
        Node::start(&redis.url(), &settings).await,
    ];
    let admin = Raw::member(&nodes[0], "admin", "auto:club").await;
    let friend = Raw::member(&nodes[1], "friend", "auto:club").await;
    let foe = Raw::member(&nodes[1], "foe", "auto:club").await;
    let club = || json!({ "roomName": "auto:club" });
    let on = |user: &str| json!({ "roomName": "auto:club", "userId": user });
    let mut promotion = on("friend");
    promotion["role"] = "moderator".into();
    admin.done("room:role", promotion).await;
    admin.done("room:mute", on("guest")).await;
    admin.done("room:ban", on("foe")).await;
    friend
        .done(
            "presence:update",
            json!({ "status": "busy", "customStatus": { "text": "reading" } }),
        )
        .await;
    let client = database.connect().await;
    eventually("Postgres knows what was chosen", async || {
        value(&client, "SELECT count(*) FROM realtime_presence WHERE chosen = 'busy'").await == 1
    })
    .await;

    let _: String = redis::cmd("FLUSHALL")
        .query_async(&mut redis.connection().await)
        .await
        .expect("redis empties itself");
    // Under load: everybody asks all the time, and whoever is banned hears nothing else but that, or that it is too early.
    let refused = async {
        loop {
            let ack = foe.ask("room:join", club()).await;
            match ack["error"]["code"].as_str() {
                Some("UNAVAILABLE") => {}
                Some("BANNED") => return,
                _ => panic!("the banned user hears {ack}"),
            }
        }
    };
    let back = async {
        for member in [&admin, &friend] {
            member
                .heard("room:reset", |reset| reset["roomName"] == "auto:club")
                .await;
        }
    };
    tokio::join!(refused, back);
    let members = admin.done("room:members", club()).await;
    let member = |user: &str| {
        let all = members["members"].as_array().expect("a list");
        all.iter()
            .find(|member| member["userId"] == user)
            .cloned()
            .unwrap_or(Value::Null)
    };
    assert_eq!(member("friend")["status"], "busy", "{members}");
    assert_eq!(member("foe"), Value::Null, "{members}");
    // The powers that were given hold.
    friend.done("room:unmute", on("guest")).await;
    friend.refused("FORBIDDEN", "room:kick", on("admin")).await;
    assert!(admin.all("user:left", |left| left["userId"] == "friend").is_empty());
    assert!(admin.all("user:joined", |joined| joined["userId"] == "friend").len() <= 1);
}
