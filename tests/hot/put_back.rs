//! What Redis has lost of a user, and a node knows: it is put back, and told only where the telling was lost too.

use std::slice;

use nself_realtime::domain::presence as domain_presence;
use nself_realtime::hot::presence::{self, Connect, Facts};
use nself_realtime::types::{Presence, Status};

use crate::ear::{Ear, words};
use crate::stage::{Stage, lease, now_ms};

#[tokio::test]
async fn what_the_node_knows_of_a_user_is_put_back_where_redis_has_lost_it() {
    let stage = Stage::new().await;
    let (first, second) = (lease("alice", 1), lease("alice", 2));
    let known = Presence {
        version: 7,
        status: Status::Busy,
        chosen: Some(Status::Busy),
        text: Some("Lunch".to_owned()),
        until_ms: Some(now_ms() + 60_000),
        ..Presence::UNKNOWN
    };
    let mut ear = Ear::of_user(&stage, &first.user).await;
    for lease in [&first, &second] {
        let Connect::Connected { presence, .. } = presence::connect(&stage.hot, lease, &Facts::default(), Some(&known))
            .await
            .unwrap()
        else {
            panic!("there is room");
        };
        assert_eq!(presence, known);
    }
    assert_eq!(ear.heard_of(&stage, &first.user).await, [], "nobody was told of a loss");

    let older = Presence {
        version: 3,
        chosen: Some(Status::Away),
        ..known.clone()
    };
    presence::connect(&stage.hot, &lease("alice", 3), &Facts::default(), Some(&older))
        .await
        .unwrap();
    assert!(
        presence::restore(&stage.hot, &first.user, &older)
            .await
            .unwrap()
            .is_none()
    );
    let (now, _) = presence::read_all(&stage.hot, slice::from_ref(&first.user))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(now.status, Status::Busy, "what Redis knows counts where it is newer");
}

/// A failover may take back what somebody has chosen last, and every node has heard of.
#[tokio::test]
async fn what_redis_knows_an_older_state_of_is_put_back_and_told_where_that_was_lost_too() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    let before = stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let chosen = Presence {
        version: before.version + 1,
        status: Status::Busy,
        chosen: Some(Status::Busy),
        text: Some("Lunch".to_owned()),
        ..Presence::UNKNOWN
    };
    let (mut of_user, mut of_room) = (
        Ear::of_user(&stage, &alice.user).await,
        Ear::of_room(&stage, &lobby).await,
    );
    for _ in 0..2 {
        domain_presence::restore(&stage.hot, &alice.user, &chosen)
            .await
            .unwrap();
    }
    let (now, _) = presence::read_all(&stage.hot, slice::from_ref(&alice.user))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(now, chosen);
    assert_eq!(
        of_user.heard_of(&stage, &alice.user).await,
        [],
        "who listens has heard it"
    );
    assert_eq!(words(&of_room.heard_in(&stage, &lobby).await), ["busy alice"], "once");
    let nobody = lease("nobody", 1).user;
    assert!(presence::restore(&stage.hot, &nobody, &chosen).await.unwrap().is_none());
}
