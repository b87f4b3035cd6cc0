//! The outbox: what each change leaves for Postgres to hear, once, in the step that makes it; and what is closed without it.

use nself_realtime::domain::moderation::{self, Act, Actor, Term};
use nself_realtime::domain::rooms::{self, NewRoom};
use nself_realtime::domain::{endings, presence as domain};
use nself_realtime::hot::keys::Partition;
use nself_realtime::hot::outbox::{self, Note};
use nself_realtime::hot::presence::{self, Choice, Facts};
use nself_realtime::hot::restore::{self, LostRoom, LostStatus};
use nself_realtime::types::{Role, RoomType, Status, Visibility};
use redis::Value;
use serde_json::json;

use crate::stage::{GRACE, Stage, lease, room, user};

/// A stage with an archive that nothing was lost of.
async fn archived(most: u32) -> Stage {
    let stage = Stage::with(|terms| terms.outbox = most).await;
    let all: Vec<Partition> = Partition::all().collect();
    outbox::open(&stage.hot, &all).await.unwrap();
    stage
}

/// What stands in an outbox behind its opening: kind, and the record without its time.
async fn records(stage: &Stage, partition: Partition) -> Vec<(String, serde_json::Value)> {
    type Entry = (String, Vec<(String, String)>);
    let entries: Vec<Entry> = stage.ask("XRANGE", (stage.keys().outbox(partition), "-", "+")).await;
    let record = |(_, fields): Entry| {
        let [(_, kind), (_, what)] = <[_; 2]>::try_from(fields).unwrap();
        let mut what: serde_json::Value = serde_json::from_str(&what).unwrap();
        let at = what.as_object_mut().unwrap().remove("at");
        assert!(at.and_then(|at| at.as_i64()).is_some_and(|at| at > 1_700_000_000_000));
        (kind, what)
    };
    entries
        .into_iter()
        .map(record)
        .filter(|(kind, _)| kind != "restored")
        .collect()
}

fn kinds(records: &[(String, serde_json::Value)]) -> Vec<&str> {
    records.iter().map(|(kind, _)| &**kind).collect()
}

#[tokio::test]
async fn the_life_of_a_connection_is_written_down_once() {
    let stage = archived(1_000).await;
    let (alice, facts) = (
        lease("alice", 1),
        Facts {
            socket: "s1".into(),
            ip: "192.0.2.1".into(),
            ..Facts::default()
        },
    );
    for _ in 0..2 {
        presence::connect(&stage.hot, &alice, &facts, None).await.unwrap();
    }
    let choice = Choice {
        status: Status::Busy,
        text: Some("here".into()),
        emoji: None,
        until_ms: None,
    };
    for _ in 0..2 {
        domain::choose(&stage.hot, &alice, &choice).await.unwrap().unwrap();
    }
    domain::lose(&stage.hot, &alice, GRACE, "ping_timeout").await.unwrap();
    presence::connect(&stage.hot, &alice, &facts, None).await.unwrap();
    endings::finish(&stage.hot, &alice, "client_disconnect").await.unwrap();
    endings::finish(&stage.hot, &alice, "client_disconnect").await.unwrap();

    let found = records(&stage, Partition::of_user(&user("alice"))).await;
    assert_eq!(kinds(&found), ["connect", "status", "lost", "regained", "disconnect"]);
    let [(_, connect), (_, status), (_, lost), _, (_, end)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (&connect["user"], &connect["socket"], &connect["ip"]),
        (&json!("alice"), &json!("s1"), &json!("192.0.2.1"))
    );
    assert_eq!(
        (&connect["conns"], &connect["presence"]["status"]),
        (&json!(1), &json!("online"))
    );
    assert_eq!(
        (&status["cause"], &status["presence"]["text"]),
        (&json!("chosen"), &json!("here"))
    );
    assert_eq!(lost["cause"], "ping_timeout");
    assert_eq!(
        (&end["cause"], &end["conns"], &end["socket"]),
        (&json!("client_disconnect"), &json!(0), &json!("s1"))
    );
    assert_eq!(
        (&end["presence"]["status"], &end["presence"]["chosen"]),
        (&json!("offline"), &json!("busy"))
    );
}

#[tokio::test]
async fn what_ended_a_connection_is_its_transport_s_end_or_its_node_s() {
    let stage = archived(1_000).await;
    let (lost, alone) = (lease("bob", 1), lease("bob", 2));
    stage.connect(&lost).await;
    stage.connect(&alone).await;
    domain::lose(&stage.hot, &lost, GRACE, "transport_close").await.unwrap();
    stage.end_everybody().await;
    let found = records(&stage, Partition::of_user(&user("bob"))).await;
    let mut causes: Vec<&str> = found
        .iter()
        .filter(|(kind, _)| kind == "disconnect")
        .map(|(_, end)| end["cause"].as_str().unwrap())
        .collect();
    causes.sort_unstable();
    assert_eq!(causes, ["lease_expired", "transport_close"]);
}

#[tokio::test]
async fn a_room_s_life_is_written_down_once() {
    let stage = archived(1_000).await;
    let (alice, bob, lobby) = (lease("alice", 1), lease("bob", 1), room("lobby"));
    stage.connect(&alice).await;
    stage.connect(&bob).await;
    let new = NewRoom {
        name: lobby.clone(),
        kind: RoomType::Group,
        visibility: Visibility::Public,
        max_members: Some(7),
        owner: Some(user("alice")),
    };
    let (_, record) = rooms::create(&stage.hot, &new).await.unwrap();
    assert_eq!(
        record.as_ref().map(|record| record.partition),
        Some(Partition::of_room(&lobby))
    );
    assert_eq!(
        rooms::create(&stage.hot, &new).await.unwrap().1,
        record,
        "a repeat changes nothing, and waits for what it repeats"
    );
    for lease in [&alice, &bob, &alice] {
        stage.join(lease, &lobby).await;
    }
    let act = Act {
        actor: Actor::Member(&alice),
        room: &lobby,
        user: &user("bob"),
        reason: Some("noise"),
    };
    let done = moderation::mute(&stage.hot, &act, Term::Forever)
        .await
        .unwrap()
        .unwrap();
    assert!(done.record.is_some());
    let lifted = moderation::unmute(&stage.hot, &act).await.unwrap().unwrap().record;
    assert!(lifted.is_some());
    let again = moderation::unmute(&stage.hot, &act).await.unwrap().unwrap().record;
    assert_eq!(
        again, lifted,
        "nothing was to be lifted, and how far the outbox is by now"
    );
    let again = moderation::unban(&stage.hot, &act).await.unwrap().unwrap().record;
    assert_eq!(again, lifted, "the same");
    moderation::appoint(&stage.hot, &act, Role::Moderator)
        .await
        .unwrap()
        .unwrap();
    moderation::ban(&stage.hot, &act, Term::Forever).await.unwrap().unwrap();
    moderation::unban(&stage.hot, &act).await.unwrap().unwrap();
    for _ in 0..2 {
        rooms::leave(&stage.hot, &alice, &lobby).await.unwrap();
    }
    moderation::close(&stage.hot, &lobby).await.unwrap().unwrap();

    let found = records(&stage, Partition::of_room(&lobby)).await;
    assert_eq!(
        kinds(&found),
        [
            "room_created",
            "join",
            "join",
            "mute",
            "unmute",
            "role",
            "leave",
            "ban",
            "unban",
            "leave",
            "room_closed"
        ]
    );
    let created = &found[0].1;
    assert_eq!(
        (&created["type"], &created["max"], &created["by"]),
        (&json!("group"), &json!(7), &json!("alice"))
    );
    assert_eq!(created["policy"], json!({ "role": "admin" }));
    assert_eq!(
        (&found[1].1["first"], &found[1].1["conn"]),
        (&json!(true), &json!(alice.connection.as_str()))
    );
    let mute = &found[3].1;
    assert_eq!(
        (&mute["by"], &mute["user"], &mute["reason"]),
        (&json!("alice"), &json!("bob"), &json!("noise"))
    );
    assert_eq!(mute["policy"], json!({ "mute": 0 }));
    let gone = &found[6].1;
    assert_eq!(
        (&gone["reason"], &gone["last"], &gone["user"]),
        (&json!("banned"), &json!(true), &json!("bob"))
    );
    assert_eq!(found[7].1["policy"], json!({ "ban": 0 }), "powers go with a ban");
    assert_eq!(found[8].1.get("policy"), None);
}

#[tokio::test]
async fn an_empty_room_that_was_made_by_joining_says_when_it_runs_out() {
    let stage = archived(1_000).await;
    let (alice, lobby) = (lease("alice", 1), room("auto"));
    stage.connect(&alice).await;
    stage.try_join(&alice, &lobby, true).await.unwrap();
    rooms::leave(&stage.hot, &alice, &lobby).await.unwrap();
    let found = records(&stage, Partition::of_room(&lobby)).await;
    assert_eq!(kinds(&found), ["room_created", "join", "leave"]);
    assert_eq!(
        (&found[0].1["auto"], &found[0].1["owner"]),
        (&json!(true), &json!(true))
    );
    assert!(found[2].1["ends"].as_i64().is_some());
    assert_eq!(found[2].1["policy"], json!({ "role": "admin" }));
}

#[tokio::test]
async fn a_closed_partition_lets_nobody_in_and_changes_nothing() {
    let stage = Stage::with(|terms| terms.outbox = 1_000).await;
    let (alice, lobby) = (lease("alice", 1), room("lobby"));
    let error = presence::connect(&stage.hot, &alice, &Facts::default(), None)
        .await
        .unwrap_err();
    assert!(error.is_restoring(), "{error}");
    outbox::open(&stage.hot, &[Partition::of_user(&user("alice"))])
        .await
        .unwrap();
    stage.connect(&alice).await;
    let new = NewRoom {
        name: lobby.clone(),
        kind: RoomType::Channel,
        visibility: Visibility::Public,
        max_members: None,
        owner: None,
    };
    assert!(rooms::create(&stage.hot, &new).await.unwrap_err().is_restoring());
    let act = Act {
        actor: Actor::Administration,
        room: &lobby,
        user: &user("bob"),
        reason: None,
    };
    assert!(
        moderation::ban(&stage.hot, &act, Term::Forever)
            .await
            .unwrap_err()
            .is_restoring()
    );
    assert!(!stage.ask::<bool>("EXISTS", stage.keys().room(&lobby)).await);
    let note = |partition| Note {
        partition,
        kind: "error",
        what: "{}".to_owned(),
    };
    let notes = [
        note(Partition::of_room(&lobby)),
        note(Partition::of_user(&user("alice"))),
    ];
    let written = outbox::note_all(&stage.hot, &notes).await.unwrap();
    assert_eq!(written, [false, true], "and says what is not written down");
    let open = outbox::lives(&stage.hot)
        .await
        .unwrap()
        .into_iter()
        .filter(|life| life.is_open);
    assert_eq!(open.count(), 1);
}

#[tokio::test]
async fn the_outbox_is_bounded_and_loses_its_oldest() {
    let stage = archived(200).await;
    let partition = Partition::all().next().unwrap();
    let note = |number: u32| Note {
        partition,
        kind: "error",
        what: json!({ "code": number.to_string() }).to_string(),
    };
    let notes: Vec<Note> = (0..500).map(note).collect();
    outbox::note_all(&stage.hot, &notes).await.unwrap();
    let found = records(&stage, partition).await;
    assert!((198..=200).contains(&found.len()), "{}", found.len());
    assert_eq!(found.last().unwrap().1["code"], "499");
    let about: Vec<Value> = stage.ask("XINFO", ("STREAM", stage.keys().outbox(partition))).await;
    let added = about
        .chunks(2)
        .find(|pair| pair[0] == Value::BulkString(b"entries-added".to_vec()))
        .unwrap();
    assert_eq!(added[1], Value::Int(501), "what went is counted");
}

#[tokio::test]
async fn what_was_lost_is_brought_back_where_nothing_newer_is_known() {
    let stage = archived(1_000).await;
    let (alice, bob) = (lease("alice", 1), lease("bob", 1));
    stage.connect(&alice).await;
    stage.connect(&bob).await;
    let lost = |name: &str, policy: &[(&str, &str)]| LostRoom {
        name: room(name),
        id: "0e37df36-f698-11e6-8dd4-cb9ced3df976".into(),
        kind: "group".into(),
        visibility: "public".into(),
        max_members: 5,
        created_ms: 1_700_000_000_000,
        is_auto: false,
        seq: 0,
        owner: None,
        policy: policy
            .iter()
            .map(|(id, entry)| (user(id), (*entry).to_owned()))
            .collect(),
    };
    let many: Vec<(String, &str)> = (0..1_200)
        .map(|number| (format!("u{number}"), r#"{"ban":0}"#))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(id, entry)| (&**id, *entry)).collect();
    let rooms_lost = [
        lost("lobby", &[("bob", r#"{"ban":0}"#), ("alice", r#"{"role":"admin"}"#)]),
        lost("crowd", &many),
    ];
    for _ in 0..2 {
        restore::rooms(&stage.hot, &rooms_lost).await.unwrap();
    }
    assert_eq!(
        moderation::policy(&stage.hot, &room("crowd"), 10).await.unwrap().0,
        1_200
    );
    let found = rooms::find(&stage.hot, &room("lobby")).await.unwrap().unwrap();
    assert_eq!(
        (found.kind, found.max_members, found.created_ms),
        (RoomType::Group, Some(5), 1_700_000_000_000)
    );
    stage.join(&alice, &room("lobby")).await;
    assert_eq!(
        stage.try_join(&bob, &room("lobby"), false).await.unwrap_err(),
        rooms::JoinRefusal::Banned
    );
    let act = Act {
        actor: Actor::Administration,
        room: &room("lobby"),
        user: &user("bob"),
        reason: None,
    };
    moderation::mute(&stage.hot, &act, Term::Forever)
        .await
        .unwrap()
        .unwrap();
    restore::rooms(&stage.hot, &rooms_lost).await.unwrap();
    let (_, policy) = moderation::policy(&stage.hot, &room("lobby"), 10).await.unwrap();
    assert!(
        policy
            .iter()
            .any(|entry| entry.user == user("bob") && entry.mute == Some(Term::Forever)),
        "the newer one stays"
    );

    let status = |id: &str, chosen: &str| LostStatus {
        user: user(id),
        version: 7,
        chosen: Some(chosen.to_owned()),
        text: Some("gone fishing".into()),
        emoji: None,
        until_ms: 0,
        seen_ms: 1_700_000_000_000,
    };
    restore::statuses(&stage.hot, &[status("alice", "busy"), status("carol", "busy")])
        .await
        .unwrap();
    let found = domain::look_up(&stage.hot, &[user("alice"), user("carol")])
        .await
        .unwrap();
    assert_eq!(
        (found[0].0.chosen, found[0].0.status),
        (None, Status::Online),
        "whoever is here is known better"
    );
    assert_eq!(
        (found[1].0.chosen, found[1].0.status),
        (Some(Status::Busy), Status::Offline)
    );
    assert_eq!(found[1].0.text.as_deref(), Some("gone fishing"));
}
