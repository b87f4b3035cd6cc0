//! Defects of typing: marks had twins, and never ran out for those who watched.

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::raw::{Raw, room, unique};

fn names(typing: &Value) -> Vec<&str> {
    let users = typing["users"].as_array().expect("users is a list");
    users
        .iter()
        .map(|user| user["userId"].as_str().expect("a user has an id"))
        .collect()
}

/// However often it starts, a user types once; without a thread, in a thread, and in another.
#[tokio::test]
async fn defect_16_typing_marks_are_unique() {
    let cluster = Cluster::shared().await;
    let room = room();
    let user = unique("ann");
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let ann = Raw::member(&cluster.nodes[0], &user, &room).await;
    let tab = Raw::member(&cluster.nodes[1], &user, &room).await;
    for _ in 0..5 {
        for typist in [&ann, &tab] {
            typist.done("typing:start", json!({"roomName": room})).await;
            typist
                .done("typing:start", json!({"roomName": room, "threadId": "t"}))
                .await;
        }
    }
    ann.marker(&room, &[&bob, &tab]).await;
    for typing in bob.all("typing:event", |_| true) {
        assert!(names(&typing).len() <= 1, "{typing}");
    }
    bob.heard("typing:event", |typing| {
        names(typing) == [user.as_str()] && typing["threadId"].is_null()
    })
    .await;
    bob.heard("typing:event", |typing| {
        names(typing) == [user.as_str()] && typing["threadId"] == "t"
    })
    .await;
    for typist in [&ann, &tab] {
        assert!(
            typist.all("typing:event", |_| true).is_empty(),
            "not to the typist's sockets"
        );
    }
}

/// A mark ends after REALTIME_TYPING_TIMEOUT, and the room is told once.
#[tokio::test]
async fn defect_16_a_typing_mark_runs_out_with_an_event() {
    let cluster = Cluster::start(2, &[("REALTIME_TYPING_TIMEOUT", "700")]).await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    let ann = Raw::member(&cluster.nodes[0], "ann", &room).await;
    for thread in [None, Some("t")] {
        let from = bob.log().len();
        let mut payload = json!({"roomName": room});
        if let Some(thread) = thread {
            payload["threadId"] = json!(thread);
        }
        let started = std::time::Instant::now();
        ann.done("typing:start", payload).await;
        bob.heard_after(from, "typing:event", |typing| names(typing) == ["ann"])
            .await;
        let ended = bob
            .heard_after(from, "typing:event", |typing| names(typing).is_empty())
            .await;
        assert_eq!(ended["threadId"].as_str(), thread, "{ended}");
        assert!(started.elapsed().as_millis() >= 700, "not before its time");
        bob.marker(&room, &[&bob]).await;
    }
    assert_eq!(bob.all("typing:event", |_| true).len(), 4, "start and end, twice");
}
