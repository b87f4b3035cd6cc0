//! Leases: connect, renew, lose, finish, and the user's half of joining and leaving.

use std::slice;
use std::time::Duration;

use nself_realtime::domain::endings;
use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::presence::{self, Connect, Enter, Facts};
use nself_realtime::types::Status;

use crate::ear::{Ear, words};
use crate::stage::{GRACE, ODD_NAMES, Stage, held, lease, now_ms, partition, room, user};

async fn in_grace(stage: &Stage, lease: &Lease) -> Option<i64> {
    stage.score(stage.keys().grace(partition(lease)), &lease.encode()).await
}

async fn leased_until(stage: &Stage, lease: &Lease) -> Option<i64> {
    stage
        .score(stage.keys().leases(partition(lease)), &lease.encode())
        .await
}

async fn look_up(stage: &Stage, id: &str) -> (Status, Vec<String>) {
    let mut found = presence::read_all(&stage.hot, &[user(id)]).await.unwrap();
    let (presence, rooms) = found.remove(0);
    (presence.status, rooms.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_connection_is_a_lease_with_a_record() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let facts = Facts {
        transport: "websocket".into(),
        ip: "192.0.2.1".into(),
        agent: "a browser".into(),
        device: r#"{"type":"web"}"#.into(),
        session: "s1".into(),
        idle: Duration::ZERO,
        recovers: false,
        socket: "its-socket".to_owned(),
    };
    let before_ms = now_ms();
    let connected = presence::connect(&stage.hot, &alice, &facts, None).await.unwrap();
    let Connect::Connected {
        presence,
        now_ms: at_ms,
        rooms,
        returned: false,
        is_over: false,
    } = connected
    else {
        panic!("alice has no other connection");
    };
    assert_eq!((presence.status, rooms.len()), (Status::Online, 0));
    assert!((before_ms..=now_ms()).contains(&at_ms));
    assert_eq!(leased_until(&stage, &alice).await, Some(at_ms + 60_000));
    let record: Vec<String> = stage
        .ask(
            "HMGET",
            (
                stage.keys().connection(&alice.user, &alice.connection),
                &[
                    "user",
                    "node",
                    "transport",
                    "ip",
                    "agent",
                    "device",
                    "session",
                    "connected",
                ],
            ),
        )
        .await;
    let connected_ms = at_ms.to_string();
    let told = [
        "alice",
        "n1",
        "websocket",
        "192.0.2.1",
        "a browser",
        r#"{"type":"web"}"#,
        "s1",
        &connected_ms,
    ];
    assert_eq!(record, told);
    let of_node = presence::node_leases(&stage.hot, partition(&alice), &alice.node).await;
    assert_eq!(of_node.unwrap(), [alice]);
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 1);
}

#[tokio::test]
async fn a_repeated_connect_appears_once() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let mut ear = Ear::of_user(&stage, &alice.user).await;
    let first = stage.connect(&alice).await;
    let second = stage.connect(&alice).await;
    assert_eq!(first, second);
    assert_eq!(words(&ear.heard_of(&stage, &alice.user).await), ["online alice"]);
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 1);
}

#[tokio::test]
async fn a_second_tab_is_no_news() {
    let stage = Stage::new().await;
    let (first, second) = (lease("alice", 1), lease("alice", 2));
    stage.connect(&first).await;
    let mut ear = Ear::of_user(&stage, &first.user).await;
    stage.connect(&second).await;
    endings::finish(&stage.hot, &first, "asked").await.unwrap();
    assert_eq!(words(&ear.heard_of(&stage, &first.user).await), [] as [&str; 0]);
    endings::finish(&stage.hot, &second, "asked").await.unwrap();
    assert_eq!(words(&ear.heard_of(&stage, &first.user).await), ["offline alice"]);
}

#[tokio::test]
async fn one_user_has_so_many_connections_and_no_more() {
    let stage = Stage::with(|terms| terms.user_connections = 2).await;
    for number in 1..=2 {
        stage.connect(&lease("alice", number)).await;
    }
    let third = lease("alice", 3);
    let refused = presence::connect(&stage.hot, &third, &Facts::default(), None)
        .await
        .unwrap();
    assert!(matches!(refused, Connect::Full));
    assert_eq!(leased_until(&stage, &third).await, None);
    stage.connect(&lease("alice", 2)).await; // a repeat is not another one
    stage.connect(&lease("bob", 1)).await;
    presence::finish(&stage.hot, &lease("alice", 1), "asked").await.unwrap();
    stage.connect(&third).await;
}

#[tokio::test]
async fn renewing_extends_and_never_creates() {
    let stage = Stage::new().await;
    let (alive, gone) = (lease("alice", 1), lease("alice", 2));
    stage.connect(&alive).await;
    stage
        .let_run_out(stage.keys().leases(partition(&alive)), &alive.encode())
        .await;
    let both = [held(&alive), held(&gone)];
    for _ in 0..2 {
        let missing = presence::renew(&stage.hot, partition(&alive), &both).await.unwrap();
        assert_eq!(missing, slice::from_ref(&gone));
        assert!(leased_until(&stage, &alive).await.unwrap() >= now_ms() + 59_000);
        assert_eq!(leased_until(&stage, &gone).await, None);
    }
    assert_eq!(presence::renew(&stage.hot, partition(&alive), &[]).await.unwrap(), []);
}

#[tokio::test]
async fn renewing_never_shortens_a_lease() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let later = now_ms() + 1_000_000;
    let () = stage
        .ask("ZADD", (stage.keys().leases(partition(&alice)), later, alice.encode()))
        .await;
    presence::renew(&stage.hot, partition(&alice), &[held(&alice)])
        .await
        .unwrap();
    assert_eq!(leased_until(&stage, &alice).await, Some(later));
}

#[tokio::test]
async fn a_lost_transport_moves_the_lease_into_grace_which_no_beat_extends() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    assert!(presence::lose(&stage.hot, &alice, GRACE, "test").await.unwrap());
    let ends = in_grace(&stage, &alice).await.unwrap();
    assert!((now_ms() + 4_000..=now_ms() + 5_000).contains(&ends));
    assert_eq!(leased_until(&stage, &alice).await, None);
    assert!(!presence::lose(&stage.hot, &alice, GRACE * 2, "test").await.unwrap());
    let missing = presence::renew(&stage.hot, partition(&alice), &[held(&alice)])
        .await
        .unwrap();
    assert_eq!(missing, slice::from_ref(&alice));
    assert_eq!(in_grace(&stage, &alice).await, Some(ends));
    assert_eq!(look_up(&stage, "alice").await.0, Status::Online);
    assert!(
        !presence::lose(&stage.hot, &lease("nobody", 1), GRACE, "test")
            .await
            .unwrap()
    );
    assert_eq!(in_grace(&stage, &lease("nobody", 1)).await, None);
}

#[tokio::test]
async fn a_connection_comes_back_out_of_grace() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let mut ear = Ear::of_user(&stage, &alice.user).await;
    presence::lose(&stage.hot, &alice, GRACE, "test").await.unwrap();
    stage.connect(&alice).await;
    assert_eq!(in_grace(&stage, &alice).await, None);
    assert!(leased_until(&stage, &alice).await.is_some());
    assert_eq!(
        words(&ear.heard_of(&stage, &alice.user).await),
        [] as [&str; 0],
        "nobody sees a flap"
    );
}

#[tokio::test]
async fn whoever_comes_back_prolongs_what_is_in_grace_once() {
    let stage = Stage::new().await;
    let lost = lease("alice", 1);
    stage.connect(&lost).await;
    presence::lose(&stage.hot, &lost, GRACE, "test").await.unwrap();
    let ends = in_grace(&stage, &lost).await.unwrap();
    stage.connect(&lease("bob", 1)).await;
    assert_eq!(
        in_grace(&stage, &lost).await,
        Some(ends),
        "another user's return is none of its business"
    );
    for number in 2..=4 {
        stage.connect(&lease("alice", number)).await;
        assert_eq!(in_grace(&stage, &lost).await, Some(ends + 5_000));
    }
}

#[tokio::test]
async fn finishing_ends_once() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    let mut ear = Ear::of_user(&stage, &alice.user).await;
    stage.connect(&alice).await;
    stage.join(&alice, &lobby).await;
    let finished = presence::finish(&stage.hot, &alice, "asked")
        .await
        .unwrap()
        .expect("it lived");
    assert_eq!(finished.rooms, [lobby]);
    assert!(finished.todo.is_some());
    let offline = finished.changed.expect("the last connection");
    assert_eq!(offline.status, Status::Offline);
    assert!(offline.seen_ms.unwrap() <= now_ms());
    assert!(presence::finish(&stage.hot, &alice, "asked").await.unwrap().is_none());
    assert_eq!(
        words(&ear.heard_of(&stage, &alice.user).await),
        ["online alice", "offline alice"]
    );
    assert_eq!(presence::count_connections(&stage.hot).await.unwrap(), 0);
    assert!(
        presence::finish(&stage.hot, &lease("nobody", 1), "asked")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn an_end_that_two_sweeps_saw_ends_once() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    stage
        .let_run_out(stage.keys().leases(partition(&alice)), &alice.encode())
        .await;
    let seen = leased_until(&stage, &alice).await.unwrap();
    let due = [(alice.clone(), seen), (alice.clone(), seen)];
    let ended = presence::finish_due(&stage.hot, &due).await.unwrap();
    let ended: Vec<bool> = ended.into_iter().map(|end| end.unwrap().is_some()).collect();
    assert_eq!(ended, [true, false]);
}

#[tokio::test]
async fn an_end_that_moved_meanwhile_is_left_alone() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    let current = leased_until(&stage, &alice).await.unwrap();
    for seen in [current, current - 60_001] {
        let ended = presence::finish_due(&stage.hot, &[(alice.clone(), seen)])
            .await
            .unwrap();
        assert!(
            ended[0].as_ref().unwrap().is_none(),
            "it ends at {current}, seen {seen}"
        );
    }
    assert_eq!(leased_until(&stage, &alice).await, Some(current));
}

#[tokio::test]
async fn a_plain_user_s_record_expires_and_comes_back_with_the_user() {
    let stage = Stage::with(|terms| terms.keep = Duration::from_secs(100)).await;
    let alice = lease("alice", 1);
    let key = stage.keys().user(&alice.user);
    let first = stage.connect(&alice).await;
    presence::finish(&stage.hot, &alice, "asked").await.unwrap();
    let ttl: i64 = stage.ask("PTTL", &key).await;
    assert!((90_000..=100_000).contains(&ttl), "{ttl}");
    let second = stage.connect(&lease("alice", 2)).await;
    assert_eq!(stage.ask::<i64>("PTTL", &key).await, -1);
    assert!(second.version > first.version);
}

#[tokio::test]
async fn nothing_of_an_anonymous_user_stays() {
    let stage = Stage::new().await;
    let nobody = lease("anon:abc", 1);
    stage.connect(&nobody).await;
    let choice = presence::Choice {
        status: Status::Busy,
        text: Some("hidden".into()),
        emoji: None,
        until_ms: None,
    };
    presence::update(&stage.hot, &nobody, &choice).await.unwrap();
    endings::finish(&stage.hot, &nobody, "asked").await.unwrap();
    let ttl: i64 = stage.ask("PTTL", stage.keys().user(&nobody.user)).await;
    assert!(ttl == -2 || (0..=1).contains(&ttl), "{ttl}");
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn entering_needs_a_lease() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), room("lobby"));
    assert!(matches!(
        presence::enter(&stage.hot, &alice, &lobby, None).await.unwrap().0,
        Enter::Gone
    ));
    stage.connect(&alice).await;
    for _ in 0..2 {
        let entered = presence::enter(&stage.hot, &alice, &lobby, None).await.unwrap().0;
        assert!(matches!(entered, Enter::Entered(presence) if presence.status == Status::Online));
        assert_eq!(look_up(&stage, "alice").await.1, ["lobby"]);
    }
    presence::lose(&stage.hot, &alice, GRACE, "test").await.unwrap();
    assert!(matches!(
        presence::enter(&stage.hot, &alice, &lobby, None).await.unwrap().0,
        Enter::Gone
    ));
}

#[tokio::test]
async fn one_connection_is_in_so_many_rooms_and_no_more() {
    let stage = Stage::with(|terms| terms.connection_rooms = 2).await;
    let (first, second) = (lease("alice", 1), lease("alice", 2));
    stage.connect(&first).await;
    stage.connect(&second).await;
    let enter = async |lease, name| presence::enter(&stage.hot, lease, &room(name), None).await.unwrap().0;
    assert!(matches!(enter(&first, "a").await, Enter::Entered(_)));
    assert!(matches!(enter(&first, "b").await, Enter::Entered(_)));
    assert!(matches!(enter(&first, "c").await, Enter::TooManyRooms));
    assert!(
        matches!(enter(&first, "b").await, Enter::Entered(_)),
        "a rejoin needs no place"
    );
    assert!(
        matches!(enter(&second, "c").await, Enter::Entered(_)),
        "each connection for itself"
    );
    presence::exit(&stage.hot, &first.user, &first.connection, &room("a"))
        .await
        .unwrap();
    assert!(matches!(enter(&first, "c").await, Enter::Entered(_)));
}

#[tokio::test]
async fn exiting_removes_one_connection_s_room() {
    let stage = Stage::new().await;
    let (first, second) = (lease("alice", 1), lease("alice", 2));
    for lease in [&first, &second] {
        stage.connect(lease).await;
        let _entered = presence::enter(&stage.hot, lease, &room("lobby"), None).await.unwrap();
    }
    let exit = async |lease: &Lease| {
        presence::exit(&stage.hot, &lease.user, &lease.connection, &room("lobby"))
            .await
            .unwrap();
        look_up(&stage, "alice").await.1
    };
    assert_eq!(exit(&first).await, ["lobby"]);
    assert_eq!(exit(&first).await, ["lobby"]);
    assert_eq!(exit(&second).await, [] as [&str; 0]);
    assert_eq!(exit(&second).await, [] as [&str; 0]);
}

#[tokio::test]
async fn refreshing_keeps_a_record_true_and_raises_no_dead() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    let key = stage.keys().connection(&alice.user, &alice.connection);
    presence::refresh(&stage.hot, &alice, "websocket", Some(7))
        .await
        .unwrap();
    assert!(!stage.ask::<bool>("EXISTS", &key).await);
    stage.connect(&alice).await;
    presence::refresh(&stage.hot, &alice, "polling", Some(7)).await.unwrap();
    presence::refresh(&stage.hot, &alice, "websocket", None).await.unwrap();
    let record: Vec<String> = stage.ask("HMGET", (&key, &["transport", "latency", "user"])).await;
    assert_eq!(record, ["websocket", "7", "alice"]);
}

#[tokio::test]
async fn with_the_audience_all_presence_goes_to_the_partition_s_channel() {
    let stage = Stage::with(|terms| terms.presence_to_all = true).await;
    let alice = lease("alice", 1);
    let topic = Topic::Presence(partition(&alice));
    let mut ear = Ear::open(&stage, &[topic.clone(), Topic::User(alice.user.clone())]).await;
    stage.connect(&alice).await;
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    assert_eq!(
        words(&ear.heard(&stage, &topic).await),
        ["online alice", "offline alice"]
    );
    assert_eq!(words(&ear.heard_of(&stage, &alice.user).await), [] as [&str; 0]);
}

#[tokio::test]
async fn odd_user_ids_are_people_like_others() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    for id in ODD_NAMES {
        for number in 1..=2 {
            stage.connect(&lease(id, number)).await;
            stage.join(&lease(id, number), &lobby).await;
        }
        assert_eq!(
            look_up(&stage, id).await,
            (Status::Online, vec!["lobby".to_owned()]),
            "{id:?}"
        );
    }
    assert_eq!(stage.users_of(&lobby).await.len(), ODD_NAMES.len());
    for id in ODD_NAMES {
        for number in 1..=2 {
            endings::finish(&stage.hot, &lease(id, number), "asked").await.unwrap();
        }
        assert_eq!(look_up(&stage, id).await, (Status::Offline, Vec::new()), "{id:?}");
    }
    let joined = ODD_NAMES.iter().map(|id| format!("joined {id}"));
    let left = ODD_NAMES.iter().map(|id| format!("left {id} disconnected"));
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        joined.chain(left).collect::<Vec<_>>()
    );
    stage.assert_only_lasting_keys_last().await;
}
