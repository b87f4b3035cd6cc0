//! A room's history goes on in Postgres where Redis' ends.

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::{Node, binary};
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{migrated, own_postgres, value};

const SAID: u64 = 30;

fn seqs(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().expect("a list");
    messages
        .iter()
        .map(|message| message["seq"].as_u64().expect("a seq"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_on_past_what_redis_keeps() {
    let redis = Redis::start().await;
    let (postgres, database) = own_postgres().await;
    let url = database.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_PERSIST_MESSAGES", "true"),
        ("REALTIME_HISTORY_SIZE", "5"),
        ("REALTIME_PRESENCE_HEARTBEAT", "1000"),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    let ann = Raw::member(&node, "ann", "auto:talk").await;
    for number in 1..=SAID {
        let said =
            json!({ "roomName": "auto:talk", "content": format!("message {number}"), "metadata": { "n": number } });
        ann.done("message:send", said).await;
    }
    let client = database.connect().await;
    eventually("Postgres has every message", async || {
        value(&client, "SELECT count(*) FROM realtime_messages").await == SAID
    })
    .await;

    let page = async |wanted: Value| {
        let mut wanted = wanted;
        wanted["roomName"] = "auto:talk".into();
        ann.done("message:history", wanted).await
    };
    let last = page(json!({ "limit": 10 })).await;
    assert_eq!((seqs(&last), &last["more"]), ((21..=30).collect(), &json!(true)));
    let (old, new) = (&last["messages"][0], &last["messages"][9]);
    assert_eq!(
        (&old["content"], &old["metadata"]["n"]),
        (&json!("message 21"), &json!(21))
    );
    let keys = |message: &Value| {
        message
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(old), keys(new), "wherever it comes from, a message looks the same");
    let middle = page(json!({ "limit": 15, "beforeSeq": 21 })).await;
    assert_eq!((seqs(&middle), &middle["more"]), ((6..=20).collect(), &json!(true)));
    let first = page(json!({ "limit": 15, "beforeSeq": 6 })).await;
    assert_eq!((seqs(&first), &first["more"]), ((1..=5).collect(), &json!(false)));
    let forward = page(json!({ "limit": 10, "afterSeq": 0 })).await;
    assert_eq!((seqs(&forward), &forward["more"]), ((1..=10).collect(), &json!(true)));
    let across = page(json!({ "limit": 10, "afterSeq": 22 })).await;
    assert_eq!((seqs(&across), &across["more"]), ((23..=30).collect(), &json!(false)));

    let exact = page(json!({ "limit": 5 })).await;
    assert_eq!((seqs(&exact), &exact["more"]), ((26..=30).collect(), &json!(true)));

    // Whatever lies in Redis needs no Postgres; what lies beyond is to be asked for again.
    postgres.stop().await;
    let kept = page(json!({ "limit": 5 })).await;
    assert_eq!((seqs(&kept), &kept["more"]), ((26..=30).collect(), &json!(true)));
    let part = page(json!({ "limit": 10 })).await;
    assert_eq!(
        (seqs(&part), &part["more"]),
        ((26..=30).collect(), &json!(true)),
        "what Redis has is the page"
    );
    assert_eq!(seqs(&page(json!({ "afterSeq": 30 })).await), Vec::<u64>::new());
    ann.refused(
        "UNAVAILABLE",
        "message:history",
        json!({ "roomName": "auto:talk", "beforeSeq": 20 }),
    )
    .await;
    postgres.restart().await;

    // An emptied Redis numbers on from what Postgres has.
    let _: String = redis::cmd("FLUSHALL")
        .query_async(&mut redis.connection().await)
        .await
        .expect("redis empties itself");
    ann.heard("room:reset", |reset| reset["roomName"] == "auto:talk").await;
    let said = ann
        .done("message:send", json!({ "roomName": "auto:talk", "content": "and on" }))
        .await;
    assert_eq!(said["seq"], SAID + 1);
    assert_eq!(seqs(&page(json!({ "limit": 3 })).await), (29..=31).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_in_an_earlier_room_of_the_name_is_not_for_its_members() {
    let redis = Redis::start().await;
    let (database, client) = migrated().await;
    let url = database.url();
    let settings = [
        ("REALTIME_DATABASE_URL", url.as_str()),
        ("REALTIME_PERSIST_MESSAGES", "true"),
        ("REALTIME_PRESENCE_HEARTBEAT", "1000"),
    ];
    let node = Node::start(&redis.url(), &settings).await;
    let ann = Raw::member(&node, "ann", "auto:board").await;
    for _ in 0..3 {
        ann.done(
            "message:send",
            json!({ "roomName": "auto:board", "content": "among us" }),
        )
        .await;
    }
    let kept = "SELECT count(*) FROM realtime_messages";
    eventually("Postgres has them", async || value(&client, kept).await == 3).await;
    let closed = binary()
        .args(["rooms", "close", "auto:board"])
        .env("REALTIME_REDIS_URL", redis.url())
        .env("REALTIME_DATABASE_URL", &url)
        .output()
        .expect("the binary starts");
    assert!(closed.status.success(), "{closed:?}");
    let eve = Raw::member(&node, "eve", "auto:board").await;
    let asked = async |wanted: Value| {
        let mut wanted = wanted;
        wanted["roomName"] = "auto:board".into();
        eve.done("message:history", wanted).await
    };
    for wanted in [
        json!({}),
        json!({ "beforeSeq": 1_000_000 }),
        json!({ "afterSeq": 0 }),
        json!({ "afterSeq": 0, "beforeSeq": 1_000_000 }),
    ] {
        let page = asked(wanted.clone()).await;
        assert_eq!((seqs(&page), &page["more"]), (vec![], &json!(false)), "{wanted}");
    }
    eve.done("message:send", json!({ "roomName": "auto:board", "content": "anew" }))
        .await;
    eventually("Postgres has it, too", async || value(&client, kept).await == 4).await;
    let _: String = redis::cmd("FLUSHALL")
        .query_async(&mut redis.connection().await)
        .await
        .expect("redis empties itself");
    eve.heard("room:reset", |reset| reset["roomName"] == "auto:board").await;
    assert_eq!(seqs(&asked(json!({})).await), [1], "nor after a restore");
}
