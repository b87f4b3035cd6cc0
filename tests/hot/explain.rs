//! Why a user is shown so: what is looked at, and the transitions that are kept.

use nself_realtime::domain::explain::{Explained, Rule, State, explain};
use nself_realtime::domain::{endings, presence as domain};
use nself_realtime::hot::nodes;
use nself_realtime::hot::presence::{self, Choice, Facts};
use nself_realtime::types::Status;

use crate::stage::{GRACE, Stage, lease, now_ms, partition, user};

/// The transitions, the oldest first: `<status> <what>: <cause>`.
fn told(explained: &Explained) -> Vec<String> {
    let lines = explained.log.iter().rev();
    lines
        .map(|line| format!("{} {}: {}", line.status, line.what, line.cause))
        .collect()
}

#[tokio::test]
async fn a_life_is_explained() {
    let stage = Stage::new().await;
    let (phone, laptop, lobby) = (lease("alice", 1), lease("alice", 2), stage.room("lobby").await);
    let facts = Facts {
        transport: "websocket".into(),
        ip: "192.0.2.1".into(),
        device: r#"{"type":"web"}"#.into(),
        ..Facts::default()
    };
    presence::connect(&stage.hot, &phone, &facts, None).await.unwrap();
    nodes::beat(&stage.hot, &phone.node, "{}", GRACE).await.unwrap();
    stage.join(&phone, &lobby).await;
    presence::lose(&stage.hot, &phone, GRACE, "ping timeout").await.unwrap();
    stage.connect(&laptop).await;
    let busy = Choice {
        status: Status::Busy,
        text: Some("lunch".into()),
        emoji: None,
        until_ms: Some(now_ms() + 100_000),
    };
    domain::choose(&stage.hot, &laptop, &busy).await.unwrap();

    let (rule, explained) = explain(&stage.hot, &phone.user).await.unwrap();
    assert_eq!((rule, explained.presence.status), (Rule::Chosen, Status::Busy));
    assert!(explained.away_since_ms.is_none() && explained.away_at_ms.unwrap() > explained.now_ms);
    let [one, other] = &explained.connections[..] else {
        panic!("{:?}", explained.connections);
    };
    let (one, other) = if one.lease == phone { (one, other) } else { (other, one) };
    assert_eq!((one.state, other.state), (State::Grace, State::Leased));
    assert_eq!(
        (&*one.transport, &*one.ip, &*one.device),
        ("websocket", "192.0.2.1", r#"{"type":"web"}"#)
    );
    assert!(one.node_lives && one.connected_ms <= explained.now_ms);
    assert!((1..=60_000).contains(&(other.end_ms - explained.now_ms)));
    assert_eq!(explained.rooms_of(&phone.connection).collect::<Vec<_>>(), [&lobby]);
    assert_eq!(explained.rooms_of(&laptop.connection).count(), 0);
    assert_eq!(
        told(&explained),
        [
            "online connected: handshake",
            "online lost: ping timeout",
            "online connected: came back while alice-1.0 is in grace",
            "busy chose busy: presence:update",
        ]
    );

    stage
        .let_run_out(stage.keys().grace(partition(&phone)), &phone.encode())
        .await;
    stage.sweep().await;
    endings::finish(&stage.hot, &laptop, "asked").await.unwrap();
    let (rule, explained) = explain(&stage.hot, &phone.user).await.unwrap();
    assert_eq!((rule, explained.connections.len()), (Rule::NotConnected, 0));
    assert_eq!(
        told(&explained)[4..],
        ["busy ended: grace ran out", "offline ended: asked for"]
    );
    let ttl: i64 = stage.ask("PTTL", stage.keys().user_log(&phone.user)).await;
    assert!((1..=3_600_000).contains(&ttl), "{ttl}");
    let back = lease("alice", 3);
    stage.connect(&back).await;
    let ttl: i64 = stage.ask("PTTL", stage.keys().user_log(&phone.user)).await;
    assert_eq!(ttl, -1, "it stays while somebody is connected");
}

#[tokio::test]
async fn inactivity_is_explained() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    assert_eq!(explain(&stage.hot, &alice.user).await.unwrap().0, Rule::Connected);
    stage
        .let_run_out(stage.keys().due(partition(&alice)), "away\0alice")
        .await;
    stage.sweep().await;
    let (rule, explained) = explain(&stage.hot, &alice.user).await.unwrap();
    assert_eq!(rule, Rule::Inactive);
    assert!(explained.away_since_ms.is_some() && explained.away_at_ms.is_none());
    domain::wake(&stage.hot, &alice.user).await.unwrap();
    let (rule, explained) = explain(&stage.hot, &alice.user).await.unwrap();
    assert_eq!(rule, Rule::Connected);
    assert_eq!(
        told(&explained)[1..],
        ["away away: nobody was active", "online active: an event"]
    );
}

#[tokio::test]
async fn a_repeat_is_no_transition_and_only_so_many_are_kept() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    for _ in 0..2 {
        stage.connect(&alice).await;
    }
    assert_eq!(explain(&stage.hot, &alice.user).await.unwrap().1.log.len(), 1);
    for _ in 0..12 {
        presence::lose(&stage.hot, &alice, GRACE, "again").await.unwrap();
        presence::lose(&stage.hot, &alice, GRACE, "again").await.unwrap();
        stage.connect(&alice).await;
    }
    let (_, explained) = explain(&stage.hot, &alice.user).await.unwrap();
    assert_eq!(explained.log.len(), 20);
    assert_eq!(explained.log[0].cause, "out of grace");
    assert_eq!(explained.log[19].cause, "again");
}

#[tokio::test]
async fn nobody_is_explained_as_nobody_and_leaves_nothing() {
    let stage = Stage::new().await;
    let (rule, explained) = explain(&stage.hot, &user("nobody")).await.unwrap();
    assert_eq!((rule, explained.presence.status), (Rule::NotConnected, Status::Offline));
    assert!(explained.log.is_empty());
    let ghost = lease("anon:x", 1);
    stage.connect(&ghost).await;
    endings::finish(&stage.hot, &ghost, "asked").await.unwrap();
    assert!(explain(&stage.hot, &ghost.user).await.unwrap().1.log.is_empty());
    stage.end_everybody().await;
    assert!(!stage.keys_left().await.iter().any(|(key, _)| key.contains("user")));
}
