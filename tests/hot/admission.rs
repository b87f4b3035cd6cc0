//! Who may join: the rules of a room, written as the moderation will write them, and ends that come before a join.

use nself_realtime::domain::endings;
use nself_realtime::domain::rooms::{self as domain, JoinRefusal, MembersRefusal};
use nself_realtime::hot::messages::{Send, SendRequest};
use nself_realtime::hot::presence;
use nself_realtime::hot::rooms::{self, Join, JoinRequest, Making};
use nself_realtime::hot::typing::{self, Mark, Typing};
use nself_realtime::types::{Role, RoomType, Visibility};

use crate::ear::{Ear, words};
use crate::stage::{GRACE, Stage, lease, now_ms, send_one};

const SILENCE: [&str; 0] = [];

#[tokio::test]
async fn rules_refuse_before_anything_is_written() {
    let stage = Stage::new().await;
    let later = now_ms() + 100_000;
    let cases = [
        (
            "banned",
            Visibility::Public,
            r#"{"ban":0}"#.to_owned(),
            JoinRefusal::Banned,
        ),
        (
            "banned until",
            Visibility::Public,
            format!(r#"{{"ban":{later}}}"#),
            JoinRefusal::Banned,
        ),
        ("private", Visibility::Private, "{}".to_owned(), JoinRefusal::Forbidden),
        ("secret", Visibility::Secret, "{}".to_owned(), JoinRefusal::NotFound),
        (
            "secret, banned",
            Visibility::Secret,
            r#"{"ban":0}"#.to_owned(),
            JoinRefusal::NotFound,
        ),
        (
            "invited, banned",
            Visibility::Secret,
            r#"{"role":"member","ban":0}"#.to_owned(),
            JoinRefusal::Banned,
        ),
        (
            "private, banned",
            Visibility::Private,
            r#"{"ban":0}"#.to_owned(),
            JoinRefusal::Banned,
        ),
    ];
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    for (name, visibility, policy, refusal) in cases {
        let room = stage.make_room(name, RoomType::Channel, visibility, None).await;
        stage.policy(&room, &alice.user, &policy).await;
        assert_eq!(
            stage.try_join(&alice, &room, true).await.unwrap_err(),
            refusal,
            "{name}"
        );
        assert_eq!(stage.users_of(&room).await, SILENCE, "{name}");
    }
    let found = presence::read_all(&stage.hot, &[alice.user]).await.unwrap();
    assert_eq!(found[0].1, [], "a refused room is none of the user's");
}

#[tokio::test]
async fn rules_let_in_whom_they_name() {
    let stage = Stage::new().await;
    let earlier = now_ms() - 1;
    let cases = [
        (
            "ban ran out",
            Visibility::Public,
            format!(r#"{{"ban":{earlier}}}"#),
            Role::Member,
        ),
        ("muted", Visibility::Public, r#"{"mute":0}"#.to_owned(), Role::Member),
        (
            "private",
            Visibility::Private,
            r#"{"role":"guest"}"#.to_owned(),
            Role::Guest,
        ),
        (
            "secret",
            Visibility::Secret,
            r#"{"role":"admin"}"#.to_owned(),
            Role::Admin,
        ),
    ];
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    for (name, visibility, policy, role) in cases {
        let room = stage.make_room(name, RoomType::Channel, visibility, None).await;
        stage.policy(&room, &alice.user, &policy).await;
        assert_eq!(stage.join(&alice, &room).await.role, role, "{name}");
    }
}

#[tokio::test]
async fn the_anonymous_are_in_public_rooms_alone() {
    let stage = Stage::new().await;
    let nobody = lease("anon:x", 1);
    stage.connect(&nobody).await;
    let private = stage
        .make_room("private", RoomType::Channel, Visibility::Private, None)
        .await;
    stage.policy(&private, &nobody.user, r#"{"role":"member"}"#).await;
    assert_eq!(
        stage.try_join(&nobody, &private, false).await.unwrap_err(),
        JoinRefusal::Forbidden
    );
    assert!(
        stage
            .try_join(&nobody, &stage.room("public").await, false)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_full_room_takes_the_tabs_of_those_who_are_in() {
    let stage = Stage::new().await;
    let narrow = stage
        .make_room("narrow", RoomType::Channel, Visibility::Public, Some(2))
        .await;
    let all = ["alice", "bob", "carol"].map(|id| lease(id, 1));
    for lease in &all {
        stage.connect(lease).await;
    }
    stage.join(&all[0], &narrow).await;
    stage.join(&all[1], &narrow).await;
    assert_eq!(
        stage.try_join(&all[2], &narrow, false).await.unwrap_err(),
        JoinRefusal::Full
    );
    stage.connect(&lease("alice", 2)).await;
    assert!(!stage.join(&lease("alice", 2), &narrow).await.first);
    domain::leave(&stage.hot, &all[1], &narrow).await.unwrap();
    assert_eq!(stage.join(&all[2], &narrow).await.member_count, 2);
}

#[tokio::test]
async fn a_refused_rejoin_leaves_no_ghost() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    stage.policy(&lobby, &alice.user, r#"{"ban":0}"#).await;
    assert_eq!(
        stage.try_join(&alice, &lobby, false).await.unwrap_err(),
        JoinRefusal::Banned
    );
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    assert_eq!(stage.users_of(&lobby).await, SILENCE);
}

#[tokio::test]
async fn an_ended_connection_cannot_join_late() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    // The first half of the join is done; the connection ends before the second.
    let presence::Enter::Entered(seen) = presence::enter(&stage.hot, &alice, &lobby, None).await.unwrap().0 else {
        panic!("it lives");
    };
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    let request = JoinRequest {
        lease: &alice,
        room: &lobby,
        presence: &seen,
        autocreate: Some(Making::CHANNEL),
        is_named: false,
        known: None,
        members: 0,
        since: None,
    };
    for _ in 0..2 {
        assert!(matches!(rooms::join(&stage.hot, &request).await.unwrap(), Join::Gone));
    }
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE);
    let ttl: i64 = stage
        .ask("PTTL", stage.keys().tombstone(&lobby, &alice.connection))
        .await;
    assert!(ttl > 100_000);
    stage.connect(&lease("alice", 2)).await;
    assert!(
        stage.join(&lease("alice", 2), &lobby).await.first,
        "another connection of the user may"
    );
}

/// Whoever was never in a secret room cannot tell it from one that does not exist, whatever is tried.
#[tokio::test]
async fn a_secret_room_is_not_told_apart_from_a_missing_one() {
    let stage = Stage::new().await;
    let (alice, mallory) = (lease("alice", 1), lease("mallory", 1));
    let den = stage.make_room("den", RoomType::Group, Visibility::Secret, None).await;
    stage.policy(&den, &alice.user, r#"{"role":"member"}"#).await;
    for lease in [&alice, &mallory] {
        stage.connect(lease).await;
    }
    stage.join(&alice, &den).await;
    let say = |lease| SendRequest {
        lease,
        room: &den,
        body: "{",
        client_message_id: None,
        listens_only: false,
        tokens: 1,
    };
    let mark = Mark {
        lease: &mallory,
        room: &den,
        thread: "",
        room_type: "",
    };
    let hot = &stage.hot;
    assert!(matches!(send_one(hot, say(&mallory)).await.unwrap(), Send::Missing));
    assert!(matches!(send_one(hot, say(&alice)).await.unwrap(), Send::Sent(_)));
    assert_eq!(typing::start(hot, &mark, GRACE).await.unwrap(), Typing::Missing);
    assert_eq!(typing::stop(hot, &mark).await.unwrap(), Typing::Missing);
    let page = domain::members(hot, &mallory, &den, None, 10).await.unwrap();
    assert_eq!(page.unwrap_err(), MembersRefusal::NotFound);
    assert!(domain::leave(hot, &mallory, &den).await.unwrap().is_none());
    assert!(domain::leave(hot, &alice, &den).await.unwrap().is_some());
}
