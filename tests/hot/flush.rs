//! Redis may forget every script at any moment: each one works directly after, alone and among others.

use std::slice;
use std::time::Duration;

use nself_realtime::domain::{endings, limits, rooms as domain_rooms};
use nself_realtime::hot::archive::{self, Question};
use nself_realtime::hot::keys::Perch;
use nself_realtime::hot::moderation::{self, Act, Actor, Term};
use nself_realtime::hot::outbox::{self, Note};
use nself_realtime::hot::presence::{self, Choice};
use nself_realtime::hot::restore::{self, LostRoom, LostStatus};
use nself_realtime::hot::revocations::Subject;
use nself_realtime::hot::typing::{self, Mark};
use nself_realtime::hot::{
    broadcasts, connections, doctor, explain, healing, messages, nodes, revocations, rooms, script, sessions, stats,
};
use nself_realtime::types::{Presence, Rate, Role, RoomName, Status};

use crate::stage::{GRACE, Stage, held, lease, now_ms, partition, room, send_one, user};
use crate::support::redis_any::AnyRedis;

impl Stage {
    pub async fn forget_scripts(&self) {
        let _: Vec<String> = self.ask_all("SCRIPT", "FLUSH").await;
    }

    /// How often each script came back with a valid reply, and how often without.
    fn calls(&self) -> (Vec<String>, f64) {
        let (mut called, mut failed) = (Vec::new(), 0.0);
        for family in self.registry.gather() {
            for metric in family.get_metric() {
                match family.name() {
                    "realtime_script_failures_total" => failed += metric.get_counter().get_value(),
                    "realtime_script_duration_seconds" => called.push(metric.get_label()[0].value().to_owned()),
                    _ => {}
                }
            }
        }
        (called, failed)
    }
}

#[tokio::test]
async fn every_script_works_after_redis_forgot_it() {
    let servers = AnyRedis::start().await;
    call_every_script(&Stage::of(&servers, |_| {}).await, true).await;
}

/// A short life in which every script is called; where `forgetful`, Redis has just forgotten it each time.
pub async fn call_every_script(stage: &Stage, forgetful: bool) {
    let forget = async || {
        if forgetful {
            stage.forget_scripts().await;
        }
    };
    let (hot, alice, lobby) = (&stage.hot, lease("alice", 1), stage.room("lobby").await);
    let busy = Choice {
        status: Status::Busy,
        text: Some("x".into()),
        emoji: None,
        until_ms: Some(now_ms() + 100_000),
    };
    let mark = Mark {
        lease: &alice,
        room: &lobby,
        thread: "",
        room_type: "",
    };
    let request = messages::SendRequest {
        lease: &alice,
        room: &lobby,
        body: "{",
        client_message_id: None,
        listens_only: false,
        tokens: 1,
    };

    forget().await;
    stage.connect(&alice).await;
    forget().await;
    assert_eq!(
        presence::renew(hot, partition(&alice), &[held(&alice)]).await.unwrap(),
        []
    );
    forget().await;
    stage.join(&alice, &lobby).await; // enter, then join and members in a pipeline
    forget().await;
    presence::refresh(hot, &alice, "polling", None).await.unwrap();
    forget().await;
    let told = presence::update(hot, &alice, &busy).await.unwrap().unwrap();
    forget().await;
    rooms::tell_all(hot, &alice.user, &told.presence, &told.rooms)
        .await
        .unwrap();
    forget().await;
    assert!(presence::expire(hot, &alice.user).await.unwrap().is_none());
    forget().await;
    assert!(presence::idle(hot, &alice.user).await.unwrap().is_none());
    forget().await;
    assert!(doctor::connections(hot, slice::from_ref(&alice), true).await.unwrap()[0].is_whole());
    forget().await;
    assert_eq!(doctor::room(hot, &lobby, true).await.unwrap(), []);
    forget().await;
    let explained = explain::explain(hot, &alice.user).await.unwrap();
    assert_eq!((explained.connections.len(), explained.rooms.len()), (1, 1));
    forget().await;
    let listed = connections::page(hot, &connections::Filter::default(), None, 10).await;
    assert_eq!(listed.unwrap().connections.len(), 1);
    forget().await;
    assert_eq!(stats::figures(hot).await.unwrap().presence.busy, 1);
    forget().await;
    assert!(presence::wake(hot, &alice.user).await.unwrap().is_none());
    forget().await;
    assert!(
        presence::restore(hot, &alice.user, &Presence::UNKNOWN)
            .await
            .unwrap()
            .is_none()
    );
    forget().await;
    assert_eq!(
        presence::read_all(hot, &[user("alice"), user("bob")])
            .await
            .unwrap()
            .len(),
        2
    );
    forget().await;
    assert!(matches!(send_one(hot, request).await.unwrap(), messages::Send::Sent(_)));
    forget().await;
    let emission = broadcasts::Emission {
        room: &lobby,
        token: "t",
        keep: GRACE,
        is_of_many: false,
        named_max: 0,
        event: "x:y",
        payload: "{}",
    };
    assert!(
        broadcasts::emit(hot, &[emission]).await.unwrap()[0]
            .as_ref()
            .unwrap()
            .is_new
    );
    forget().await;
    let recalled = broadcasts::recall(hot, &[("t", Some(1))], GRACE).await.unwrap();
    assert_eq!(*recalled[0].as_ref().unwrap(), Some(1));
    forget().await;
    connections::dismiss(hot, &[alice.connection.to_string()])
        .await
        .unwrap();
    forget().await;
    let changed = rooms::change(hot, &lobby, &rooms::Settings::default()).await;
    assert!(changed.unwrap().is_some());
    forget().await;
    nodes::sing(hot, &alice.node, &[Perch::Nodes]).await.unwrap();
    forget().await;
    typing::start(hot, &mark, Duration::ZERO).await.unwrap();
    forget().await;
    assert_eq!(typing::expire(hot, &lobby).await.unwrap(), 1);
    forget().await;
    typing::stop(hot, &mark).await.unwrap();
    forget().await;
    rooms::count(hot, &lobby).await.unwrap();
    stage.forget_scripts().await;
    let heard = healing::Heard {
        epoch: "another".to_owned(),
        seq: 0,
        rev: 0,
    };
    healing::heal(hot, &lobby, &heard, &[], GRACE).await.unwrap();
    forget().await;
    assert!(healing::positions(hot, slice::from_ref(&lobby)).await.unwrap()[0].is_some());
    forget().await;
    rooms::strangers(hot, &lobby, slice::from_ref(&alice)).await.unwrap();
    forget().await;
    let page = messages::PageRequest {
        before: None,
        after: None,
        limit: 1,
    };
    messages::history(hot, &alice, &lobby, page).await.unwrap();
    forget().await;
    let since = rooms::Since {
        epoch: "another".to_owned(),
        seq: 0,
    };
    messages::missed_all(hot, &[(lobby.clone(), since.clone())], &[])
        .await
        .unwrap();
    forget().await;
    sessions::read(hot, &alice.user, &alice.connection.pid()).await.unwrap();
    forget().await;
    sessions::keep(hot, &alice, &lobby, &since).await.unwrap();
    forget().await;
    assert!(
        rooms::members(hot, &lobby, None, 10, &alice)
            .await
            .unwrap()
            .unwrap()
            .is_some()
    );
    forget().await;
    call_moderation(stage, &lobby, &forget).await;
    stage.room("lobby").await;
    forget().await;
    assert_eq!(domain_rooms::list(hot).await.unwrap().len(), 1);
    forget().await;
    assert!(domain_rooms::leave(hot, &alice, &lobby).await.unwrap().is_some()); // leave, exit
    forget().await;
    assert!(
        presence::exit(hot, &alice.user, &alice.connection, &lobby)
            .await
            .is_ok()
    );
    forget().await;
    assert!(presence::lose(hot, &alice, GRACE, "test").await.unwrap());
    forget().await;
    stage.sweep().await;
    forget().await;
    assert!(presence::finish(hot, &alice, "asked").await.unwrap().is_some());
    forget().await;
    assert!(
        nodes::beat(hot, &alice.node, "{}", Duration::from_secs(6))
            .await
            .unwrap()
    );
    forget().await;
    assert!(nodes::ask_to_drain(hot, &alice.node).await.unwrap());
    forget().await;
    nodes::bury(hot, &alice.node, GRACE).await.unwrap();
    forget().await;
    nodes::stop(hot, &alice.node).await.unwrap();
    forget().await;
    hot.check().await.unwrap();
    forget().await;
    let (class, rate) = (limits::Class::Messages, Rate::new(60, 1).unwrap());
    let one = limits::Draw { owed: 0, wanted: 1 };
    assert_eq!(
        limits::draw(hot, &alice.user, class, rate, one).await.unwrap().granted,
        1
    );
    forget().await;
    let revoked = Subject::User(alice.user.clone());
    assert_ne!(revocations::add(hot, &revoked).await.unwrap(), revocations::Added::Full);
    forget().await;
    assert!(revocations::check(hot, &alice.user, None).await.unwrap().0.is_some());
    forget().await;
    assert_eq!(revocations::since(hot, GRACE).await.unwrap().len(), 1);
    call_archive(stage, &forget).await;

    let (called, failed) = stage.calls();
    // Within a pipeline the first script alone is measured.
    let in_pipelines = ["rooms/members"];
    let missing: Vec<&str> = script::all()
        .into_iter()
        .map(script::Script::name)
        .filter(|name| !called.iter().any(|called| called == name) && !in_pipelines.contains(name))
        .collect();
    assert!(missing.is_empty(), "never called: {missing:?}");
    assert!((failed - 0.0).abs() < f64::EPSILON, "{failed} calls failed");
}

async fn call_archive(stage: &Stage, forget: impl AsyncFn()) {
    let (hot, partition) = (&stage.hot, partition(&lease("nobody", 1)));
    forget().await;
    assert_eq!(
        outbox::open(hot, &[partition]).await.unwrap(),
        0,
        "without an archive all are open"
    );
    forget().await;
    let note = Note {
        partition,
        kind: "error",
        what: "{}".to_owned(),
    };
    outbox::note_all(hot, &[note]).await.unwrap();
    forget().await;
    let question = Question {
        partition,
        entries: 1,
        bytes: 1,
        incarnation: String::new(),
        done: "0-0".to_owned(),
    };
    assert!(archive::look(hot, &[question]).await.unwrap().is_empty());
    forget().await;
    assert!(archive::claim(hot, "one", GRACE).await.unwrap());
    forget().await;
    let lost = LostRoom {
        name: room("restored"),
        id: String::new(),
        kind: "channel".to_owned(),
        visibility: "public".to_owned(),
        max_members: 0,
        created_ms: now_ms(),
        is_auto: true,
        seq: 0,
        owner: None,
        policy: vec![(user("nobody"), r#"{"ban":0}"#.to_owned())],
    };
    restore::rooms(hot, &[lost]).await.unwrap();
    forget().await;
    let lost = LostStatus {
        user: user("nobody"),
        version: 1,
        chosen: Some("online".to_owned()),
        text: None,
        emoji: None,
        until_ms: 0,
        seen_ms: 0,
    };
    restore::statuses(hot, &[lost]).await.unwrap();
}

async fn call_moderation(stage: &Stage, room: &RoomName, forget: impl AsyncFn()) {
    let (hot, nobody) = (&stage.hot, user("nobody"));
    let act = Act {
        actor: Actor::Administration,
        room,
        user: &nobody,
        reason: None,
    };
    moderation::expel(hot, &act, Some(Term::Forever))
        .await
        .unwrap()
        .unwrap();
    forget().await;
    moderation::unban(hot, &act).await.unwrap().unwrap();
    forget().await;
    moderation::mute(hot, &act, Some(Term::Forever)).await.unwrap().unwrap();
    forget().await;
    moderation::appoint(hot, &act, Role::Guest).await.unwrap().unwrap();
    forget().await;
    moderation::invite(hot, &act).await.unwrap().unwrap();
    forget().await;
    assert_eq!(moderation::read(hot, room, 10).await.unwrap().0, 1);
    forget().await;
    assert!(
        moderation::close(hot, &RoomName::parse("nowhere").unwrap())
            .await
            .unwrap()
            .is_none()
    );
    forget().await;
}

#[tokio::test]
async fn a_pipeline_keeps_its_order_when_scripts_are_forgotten() {
    let servers = AnyRedis::start().await;
    let stage = Stage::of(&servers, |_| {}).await;
    let leases: Vec<_> = (0..600).map(|number| lease(&format!("user{number}"), 1)).collect();
    for lease in &leases {
        stage.connect(lease).await;
    }
    // More than one round trip, each outcome in the place of its call.
    let users: Vec<_> = leases.iter().map(|lease| lease.user.clone()).collect();
    let () = stage
        .ask("HSET", (stage.keys().user(&users[599]), "chosen", "busy"))
        .await;
    stage.forget_scripts().await;
    let found = presence::read_all(&stage.hot, &users).await.unwrap();
    let busy = found.iter().position(|(presence, _)| presence.status == Status::Busy);
    assert_eq!((found.len(), busy), (600, Some(599)));
}

#[tokio::test]
async fn a_join_shows_the_joiner_when_its_script_alone_was_forgotten() {
    let servers = AnyRedis::start().await;
    let stage = Stage::of(&servers, |_| {}).await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    let nowhere: RoomName = room("nowhere");
    stage.forget_scripts().await;
    // Somebody else's call brings one of the two scripts back.
    rooms::members(&stage.hot, &nowhere, None, 10, &alice).await.unwrap();
    let joined = stage.join(&alice, &lobby).await;
    assert_eq!(joined.members.len(), 1);
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
}
