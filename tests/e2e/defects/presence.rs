//! Defects of presence: counters drifted, a second tab wiped what was chosen, and what should end did not.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::raw::{Raw, room, unique};

const TABS: usize = 12;
const ROUNDS: usize = 5;

async fn status_of(witness: &Raw, user: &str) -> Value {
    let answer = witness.done("presence:get", json!({"userIds": [user]})).await;
    answer["presences"][0].clone()
}

/// Tabs of one user come and go on both nodes at once; what remains is right, each time.
#[tokio::test]
async fn defect_11_many_tabs_end_with_the_right_presence() {
    let cluster = Cluster::shared().await;
    let room = room();
    let user = unique("ann");
    let witness = Raw::member(&cluster.nodes[0], &unique("witness"), &room).await;
    for round in 0..ROUNDS {
        let tabs = join_all((0..TABS).map(|tab| Raw::member(&cluster.nodes[tab % 2], &user, &room))).await;
        let keeps_one = round % 2 == 0;
        let mut tabs = tabs.into_iter();
        let kept = keeps_one.then(|| tabs.next().expect("there are tabs"));
        let from = witness.log().len();
        join_all(
            tabs.enumerate()
                .map(|(n, tab)| async move { if n % 3 == 0 { tab.lose() } else { tab.disconnect().await } }),
        )
        .await;
        if let Some(kept) = kept {
            kept.marker(&room, &[&witness]).await;
            assert_eq!(
                status_of(&witness, &user).await["status"],
                json!("online"),
                "round {round}"
            );
            kept.disconnect().await;
        }
        witness
            .heard_after(from, "user:left", |left| left["userId"] == user.as_str())
            .await;
        witness
            .heard_after(from, "presence:changed", |told| {
                told["userId"] == user.as_str() && told["status"] == "offline"
            })
            .await;
        assert_eq!(
            status_of(&witness, &user).await["status"],
            json!("offline"),
            "round {round}"
        );
        witness.marker(&room, &[&witness]).await;
        let of_user = |event: &str| witness.all(event, |told| told["userId"] == user.as_str()).len();
        assert_eq!(of_user("user:joined"), round + 1, "joined once a round");
        assert_eq!(of_user("user:left"), round + 1, "left once a round");
    }
}

/// A second tab, and its end, change neither the chosen status nor the custom one.
#[tokio::test]
async fn defect_13_a_second_tab_keeps_busy_and_custom_status() {
    let cluster = Cluster::shared().await;
    let room = room();
    let user = unique("ann");
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let ann = Raw::member(&cluster.nodes[0], &user, &room).await;
    let chosen = json!({"status": "busy", "customStatus": {"text": "deep work", "emoji": "🎧"}});
    ann.done("presence:update", chosen).await;
    bob.heard("presence:changed", |told| told["status"] == "busy").await;
    let from = bob.log().len();
    let kept =
        |told: &Value| told["status"] == "busy" && told["customStatus"] == "deep work" && told["customEmoji"] == "🎧";
    let tab = Raw::member(&cluster.nodes[1], &user, &room).await;
    let told = status_of(&bob, &user).await;
    assert!(kept(&told), "{told}");
    tab.disconnect().await;
    let told = status_of(&bob, &user).await;
    assert!(kept(&told), "{told}");
    ann.done("presence:update", json!({"status": "away"})).await;
    bob.heard("presence:changed", |told| told["status"] == "away").await;
    for heard in &bob.log()[from..] {
        if let crate::support::heard::Heard::Event(name, args) = heard
            && name == "presence:changed"
        {
            assert!(kept(&args[0]) || args[0]["status"] == "away", "{args:?}");
        }
    }
}

/// What was chosen is still chosen after the user was gone.
#[tokio::test]
async fn defect_13_a_disconnect_wipes_nothing() {
    let cluster = Cluster::shared().await;
    let room = room();
    let user = unique("ann");
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let ann = Raw::member(&cluster.nodes[0], &user, &room).await;
    ann.done(
        "presence:update",
        json!({"status": "busy", "customStatus": {"text": "deep work"}}),
    )
    .await;
    ann.disconnect().await;
    bob.heard("presence:changed", |told| {
        told["userId"] == user.as_str() && told["status"] == "offline"
    })
    .await;
    let _again = Raw::member(&cluster.nodes[1], &user, &room).await;
    let told = status_of(&bob, &user).await;
    assert_eq!(
        (&told["status"], &told["customStatus"]),
        (&json!("busy"), &json!("deep work")),
        "{told}"
    );
}

/// A custom status ends at its time, and the room is told.
#[tokio::test]
async fn defect_13_a_custom_status_expires() {
    let cluster = Cluster::shared().await;
    let room = room();
    let user = unique("ann");
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let ann = Raw::member(&cluster.nodes[0], &user, &room).await;
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(1500);
    let custom = json!({"text": "soon back", "emoji": "🚲", "expiresAt": format!("{ends:.3}")});
    ann.done("presence:update", json!({"status": "busy", "customStatus": custom}))
        .await;
    bob.heard("presence:changed", |told| told["customStatus"] == "soon back")
        .await;
    let from = bob.log().len();
    let told = bob
        .heard_after(from, "presence:changed", |told| told["userId"] == user.as_str())
        .await;
    assert_eq!(
        (&told["customStatus"], &told["customEmoji"]),
        (&Value::Null, &Value::Null),
        "{told}"
    );
    assert_eq!(
        told["status"],
        json!("busy"),
        "the chosen status has its own end: {told}"
    );
    assert!(jiff::Timestamp::now() >= ends, "not before its time");
}
