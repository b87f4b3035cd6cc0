//! Defects of access: anybody could join and speak anywhere, for ever, and was told everything about everybody.

use serde_json::json;

use crate::support::cluster::{BROADCAST_ROOM, Cluster, PRIVATE_ROOM, SECRET_ROOM};
use crate::support::heard::Heard;
use crate::support::raw::{Raw, room, unique};
use crate::support::token::{seconds_from_now, signed, token};

/// Speaking and typing take membership of this very connection; closed rooms are closed.
#[tokio::test]
async fn defect_05_membership_is_needed() {
    let cluster = Cluster::shared().await;
    let room = room();
    let bob = Raw::member(&cluster.nodes[1], &unique("bob"), &room).await;
    let eve = Raw::enter(&cluster.nodes[0], &unique("eve")).await;
    eve.refused(
        "NOT_A_MEMBER",
        "message:send",
        json!({"roomName": room, "content": "boo"}),
    )
    .await;
    eve.refused("NOT_A_MEMBER", "typing:start", json!({"roomName": room}))
        .await;
    eve.refused("FORBIDDEN", "room:join", json!({"roomName": PRIVATE_ROOM}))
        .await;
    eve.refused("ROOM_NOT_FOUND", "room:join", json!({"roomName": SECRET_ROOM}))
        .await;
    eve.done("room:join", json!({"roomName": BROADCAST_ROOM})).await;
    eve.refused(
        "FORBIDDEN",
        "message:send",
        json!({"roomName": BROADCAST_ROOM, "content": "boo"}),
    )
    .await;
    bob.marker(&room, &[&bob]).await;
    assert!(bob.all("message:new", |message| message["content"] == "boo").is_empty());
    assert!(bob.all("typing:event", |_| true).is_empty());
}

/// A connection ends with its token, and lives on with a new one.
#[tokio::test]
async fn defect_07_an_expired_token_ends_the_connection() {
    let cluster = Cluster::shared().await;
    let short = |user: &str| signed(&json!({"sub": user, "exp": seconds_from_now(3)}));
    let room = room();
    let witness = Raw::member(&cluster.nodes[1], &unique("witness"), &room).await;
    let [refreshes, goes] = [unique("refreshes"), unique("goes")];
    let stays = Raw::open(&cluster.nodes[0]).await;
    stays
        .connect(&json!({"token": short(&refreshes)}))
        .await
        .expect("a good token");
    stays.done("room:join", json!({"roomName": room})).await;
    stays.done("auth:refresh", json!({"token": token(&refreshes)})).await;

    let ends = Raw::open(&cluster.nodes[0]).await;
    ends.connect(&json!({"token": short(&goes)}))
        .await
        .expect("a good token");
    ends.done("room:join", json!({"roomName": room})).await;
    let told = ends.heard("auth:error", |_| true).await;
    assert_eq!(told["code"], json!("UNAUTHENTICATED"), "{told}");
    ends.closed().await;
    let disconnected = ends.log().iter().any(|heard| matches!(heard, Heard::Disconnect));
    assert!(
        disconnected,
        "a stock client must not come back by itself: {:#?}",
        ends.log()
    );
    witness.heard("user:left", |left| left["userId"] == goes.as_str()).await;

    stays.marker(&room, &[&witness]).await;
    assert!(
        witness
            .all("user:left", |left| left["userId"] == refreshes.as_str())
            .is_empty()
    );
}

/// Presence is told to those who share a room, and to nobody else.
#[tokio::test]
async fn defect_08_strangers_hear_no_presence() {
    let cluster = Cluster::shared().await;
    let [here, there] = [room(), room()];
    let [ann, bob, eve] = [unique("ann"), unique("bob"), unique("eve")];
    let stranger = Raw::member(&cluster.nodes[0], &eve, &there).await;
    let bob = Raw::member(&cluster.nodes[1], &bob, &here).await;
    let first = Raw::member(&cluster.nodes[0], &ann, &here).await;
    first.done("presence:update", json!({"status": "busy"})).await;
    bob.heard("presence:changed", |told| {
        told["userId"] == ann.as_str() && told["status"] == "busy"
    })
    .await;
    first.lose();
    bob.heard("user:left", |left| left["userId"] == ann.as_str()).await;

    // The marker: when ann comes into the stranger's room, this is the first that the stranger hears of her.
    let again = Raw::member(&cluster.nodes[1], &ann, &there).await;
    stranger
        .heard("presence:changed", |told| told["userId"] == ann.as_str())
        .await;
    let first_heard = stranger.log().into_iter().find_map(|heard| match heard {
        Heard::Event(name, args) if args.first().is_some_and(|told| told["userId"] == ann.as_str()) => Some(name),
        _ => None,
    });
    assert_eq!(first_heard.as_deref(), Some("user:joined"));
    drop(again);
}
