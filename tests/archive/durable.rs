//! A change of role, mute or ban is answered once Postgres has it, or says that it has not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{own_postgres, value};

/// Longer than an answer waits for Postgres.
const BOUND: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_says_whether_postgres_has_a_change() {
    let redis = Redis::start().await;
    let (postgres, database) = own_postgres().await;
    let url = database.url();
    // Two nodes: whichever writes, the one that is asked knows.
    let settings = [("REALTIME_DATABASE_URL", url.as_str())];
    let nodes = [
        Node::start(&redis.url(), &settings).await,
        Node::start(&redis.url(), &settings).await,
    ];
    let admin = Raw::member(&nodes[0], "admin", "auto:lobby").await;
    let other = Raw::member(&nodes[1], "other", "auto:lobby").await;
    let on = |user: &str| json!({ "roomName": "auto:lobby", "userId": user });
    let promoted = admin
        .ask(
            "room:role",
            json!({ "roomName": "auto:lobby", "userId": "other", "role": "moderator" }),
        )
        .await;
    assert_eq!(promoted, json!({ "success": true }));

    let client = database.connect().await;
    for (number, asker) in [&admin, &other, &admin, &other].into_iter().enumerate() {
        let victim = format!("victim-{number}");
        let ack = asker.ask("room:ban", on(&victim)).await;
        assert_eq!((&ack["success"], ack.get("details")), (&json!(true), None), "{ack}");
        // Without waiting: it was there before the answer was.
        let banned = format!("SELECT count(*) FROM realtime_room_members WHERE user_id = '{victim}' AND is_banned");
        assert_eq!(value(&client, &banned).await, 1, "{ack}");
    }
    drop(client);

    let not_durable = |ack: &Value| ack["success"] == true && ack["details"]["durable"] == false;
    postgres.pause();
    let asked = Instant::now();
    let ack = admin.ask("room:mute", on("silent")).await;
    assert!(
        not_durable(&ack) && asked.elapsed() < BOUND,
        "{ack} after {:?}",
        asked.elapsed()
    );
    postgres.resume();
    postgres.stop().await;
    let ack = other.ask("room:ban", on("late")).await;
    assert!(not_durable(&ack), "{ack}");
    let ack = admin.ask("room:kick", on("nobody")).await;
    assert_eq!(ack.get("details"), None, "nothing of a kick has to last: {ack}");
    postgres.restart().await;
    let client = database.connect().await;
    eventually("Postgres has heard of both", async || {
        let query = "SELECT count(*) FROM realtime_room_members WHERE (user_id = 'silent' AND is_muted) OR (user_id = 'late' AND is_banned)";
        value(&client, query).await == 2
    })
    .await;
    eventually("answers are durable again", async || {
        // Each writes a record of its own, which has to be there.
        other.ask("room:ban", on("late")).await.get("details").is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_that_changes_nothing_is_no_more_durable_than_the_first() {
    let redis = Redis::start().await;
    let (postgres, database) = own_postgres().await;
    let url = database.url();
    let node = Node::start(&redis.url(), &[("REALTIME_DATABASE_URL", url.as_str())]).await;
    let admin = Raw::member(&node, "admin", "auto:lobby").await;
    let on = |user: &str| json!({ "roomName": "auto:lobby", "userId": user });
    admin.done("room:ban", on("bob")).await;
    admin.done("room:mute", on("bob")).await;
    postgres.stop().await;
    for event in ["room:unban", "room:unmute"] {
        for time in ["the first", "a repeat"] {
            let ack = admin.ask(event, on("bob")).await;
            assert_eq!(
                (&ack["success"], &ack["details"]["durable"]),
                (&json!(true), &json!(false)),
                "{event}, {time}: {ack}"
            );
        }
    }
    postgres.restart().await;
    let client = database.connect().await;
    eventually("a repeat is durable once the first is", async || {
        let ack = admin.ask("room:unban", on("bob")).await;
        let lifted = "SELECT count(*) = 0 FROM realtime_room_members WHERE user_id = 'bob' AND (is_banned OR is_muted)";
        match ack.get("details") {
            Some(_) => false,
            None => {
                assert_eq!(value(&client, lifted).await, true, "{ack}");
                true
            }
        }
    })
    .await;
}
