//! Kicks, bans, mutes and roles: who may, what follows, and that it holds. How sockets hear of it: `tests/e2e`.

use std::time::Duration;

use nself_realtime::domain::moderation::{self, Act, Actor, Entry, POLICY_MAX, Reach, Receipt, Refusal, Term};
use nself_realtime::domain::rooms::{self as domain, Heard, JoinRefusal, NewRoom};
use nself_realtime::hot::healing::{self, Healed};
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::messages::{Send, SendRequest};
use nself_realtime::hot::typing::{self, Mark, Typing};
use nself_realtime::types::{NodeId, Role, RoomName, RoomType, UserId, Visibility};

use crate::ear::{Ear, words};
use crate::stage::{Stage, lease, node, now_ms, room, send_one, user};

fn by<'a>(actor: &'a Lease, room: &'a RoomName, user: &'a UserId) -> Act<'a> {
    Act {
        actor: Actor::Member(actor),
        room,
        user,
        reason: None,
    }
}

pub(crate) fn by_administration<'a>(room: &'a RoomName, user: &'a UserId) -> Act<'a> {
    Act {
        actor: Actor::Administration,
        room,
        user,
        reason: None,
    }
}

async fn members(stage: &Stage, room: &RoomName, ids: &[&str]) -> Vec<Lease> {
    let leases: Vec<_> = ids.iter().map(|id| lease(id, 1)).collect();
    for lease in &leases {
        stage.connect(lease).await;
        stage.join(lease, room).await;
    }
    leases
}

pub(crate) async fn appoint(stage: &Stage, room: &RoomName, id: &str, role: Role) {
    let appointed = moderation::appoint(&stage.hot, &by_administration(room, &user(id)), role).await;
    appointed.unwrap().unwrap();
}

async fn policy_of(stage: &Stage, room: &RoomName, id: &str) -> Option<serde_json::Value> {
    let entry: Option<String> = stage.ask("HGET", (stage.keys().room_policy(room), id)).await;
    entry.map(|entry| serde_json::from_str(&entry).unwrap())
}

async fn say(stage: &Stage, lease: &Lease, room: &RoomName) -> Send {
    let request = SendRequest {
        lease,
        room,
        body: "{",
        client_message_id: None,
        listens_only: false,
        tokens: 1,
    };
    send_one(&stage.hot, request).await.unwrap()
}

fn reach(nodes: &[(&str, u64)]) -> Receipt {
    let reach = |&(id, sockets): &(&str, u64)| Reach {
        node: node(id),
        sockets,
    };
    Receipt {
        reach: nodes.iter().map(reach).collect(),
        record: None,
    }
}

#[tokio::test]
async fn a_kick_takes_every_connection_and_is_told_once() {
    let stage = Stage::new().await;
    let (lobby, other) = (stage.room("lobby").await, stage.room("other").await);
    let cast = members(&stage, &lobby, &["ada", "bob"]).await;
    let far = Lease {
        node: NodeId::parse("n0").unwrap(),
        ..lease("bob", 2)
    };
    for more in [&far, &lease("bob", 3)] {
        stage.connect(more).await;
        stage.join(more, &lobby).await;
    }
    stage.join(&cast[1], &other).await;
    appoint(&stage, &lobby, "ada", Role::Moderator).await;
    let mark = Mark {
        lease: &cast[1],
        room: &lobby,
        thread: "t",
        room_type: "",
    };
    typing::start(&stage.hot, &mark, Duration::from_secs(60)).await.unwrap();
    let mut ear = Ear::of_room(&stage, &lobby).await;

    let bob = user("bob");
    let kick = by(&cast[0], &lobby, &bob);
    let receipt = moderation::kick(&stage.hot, &kick).await.unwrap().unwrap();
    assert_eq!(receipt, reach(&[("n0", 1), ("n1", 2)]));
    let again = moderation::kick(&stage.hot, &kick).await.unwrap().unwrap();
    assert_eq!(again.reach, [], "a repeat finds nobody");
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["typing t[]", "left bob kicked"]
    );
    assert_eq!(stage.users_of(&lobby).await, ["ada"]);
    assert_eq!(stage.users_of(&other).await, ["bob"], "other rooms stay");
    assert!(matches!(say(&stage, &cast[1], &lobby).await, Send::Stranger));
    assert!(stage.join(&cast[1], &lobby).await.first, "a kick forbids nothing");
}

#[tokio::test]
async fn a_ban_keeps_out_until_its_end_or_its_lifting() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let cast = members(&stage, &lobby, &["ada", "bob"]).await;
    appoint(&stage, &lobby, "ada", Role::Admin).await;
    appoint(&stage, &lobby, "bob", Role::Moderator).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let bob = user("bob");
    let act = by(&cast[0], &lobby, &bob);
    for sockets in [reach(&[("n1", 1)]), reach(&[])] {
        let receipt = moderation::ban(&stage.hot, &act, Term::Forever).await.unwrap();
        assert_eq!(receipt, Ok(sockets));
    }
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["left bob banned"]);
    assert_eq!(
        stage.try_join(&cast[1], &lobby, true).await.unwrap_err(),
        JoinRefusal::Banned
    );
    assert!(matches!(say(&stage, &cast[1], &lobby).await, Send::Banned));
    assert_eq!(
        moderation::kick(&stage.hot, &by(&cast[1], &lobby, &user("eve")))
            .await
            .unwrap(),
        Err(Refusal::Banned)
    );
    assert_eq!(
        policy_of(&stage, &lobby, "bob").await,
        Some(serde_json::json!({"ban": 0})),
        "powers go with a ban"
    );
    assert_eq!(moderation::unban(&stage.hot, &act).await.unwrap(), Ok(reach(&[])));
    assert_eq!(
        policy_of(&stage, &lobby, "bob").await,
        None,
        "nothing is left to remember"
    );
    assert_eq!(stage.join(&cast[1], &lobby).await.role, Role::Member);

    let past = moderation::ban(&stage.hot, &act, Term::Until(now_ms() - 1))
        .await
        .unwrap();
    assert_eq!(past, Err(Refusal::Past));
    let later = now_ms() + 100_000;
    moderation::ban(&stage.hot, &act, Term::Until(later))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        policy_of(&stage, &lobby, "bob").await,
        Some(serde_json::json!({"ban": later}))
    );
    // Its end has come.
    let ended = format!(r#"{{"ban":{}}}"#, now_ms() - 1);
    stage.policy(&lobby, &bob, &ended).await;
    stage.join(&cast[1], &lobby).await;
    moderation::unmute(&stage.hot, &act).await.unwrap().unwrap();
    let mute = Term::Until(now_ms() + 100_000);
    moderation::mute(&stage.hot, &act, mute).await.unwrap().unwrap();
    let left = policy_of(&stage, &lobby, "bob").await.unwrap();
    assert!(left.get("ban").is_none(), "what ran out goes with the next act: {left}");
}

#[tokio::test]
async fn a_mute_is_heard_nothing_of_and_takes_marks_back() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let cast = members(&stage, &lobby, &["ada", "bob"]).await;
    appoint(&stage, &lobby, "ada", Role::Moderator).await;
    let mark = Mark {
        lease: &cast[1],
        room: &lobby,
        thread: "",
        room_type: "",
    };
    typing::start(&stage.hot, &mark, Duration::from_secs(60)).await.unwrap();
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let bob = user("bob");
    let act = by(&cast[0], &lobby, &bob);
    for _ in 0..2 {
        let receipt = moderation::mute(&stage.hot, &act, Term::Forever).await.unwrap();
        assert_eq!(receipt, Ok(reach(&[("n1", 1)])));
    }
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["typing []"], "once");
    assert!(matches!(say(&stage, &cast[1], &lobby).await, Send::Muted));
    let typed = typing::start(&stage.hot, &mark, Duration::from_secs(60)).await.unwrap();
    assert_eq!(typed, Typing::Muted);
    for _ in 0..2 {
        let receipt = moderation::unmute(&stage.hot, &act).await.unwrap();
        assert_eq!(receipt, Ok(reach(&[("n1", 1)])));
    }
    assert!(matches!(say(&stage, &cast[1], &lobby).await, Send::Sent(_)));
    assert_eq!(policy_of(&stage, &lobby, "bob").await, None);
}

/// Every act by every role on every role: the higher alone may, and from moderator on.
#[tokio::test]
async fn ranks_decide_who_may_act_on_whom() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let cast = members(&stage, &lobby, &["actor", "target"]).await;
    let roles = [Role::Guest, Role::Member, Role::Moderator, Role::Admin];
    let target = user("target");
    let hot = &stage.hot;
    for (rank, role) in roles.into_iter().enumerate() {
        for (other_rank, other) in roles.into_iter().enumerate() {
            appoint(&stage, &lobby, "actor", role).await;
            appoint(&stage, &lobby, "target", other).await;
            let act = by(&cast[0], &lobby, &target);
            let may = rank >= 2 && rank > other_rank;
            let what = format!("{role} on {other}");
            let verdict = |outcome: Result<(), Refusal>| assert_eq!(outcome.is_ok(), may, "{what}: {outcome:?}");
            verdict(moderation::mute(hot, &act, Term::Forever).await.unwrap().map(drop));
            verdict(moderation::unmute(hot, &act).await.unwrap().map(drop));
            verdict(moderation::unban(hot, &act).await.unwrap().map(drop));
            verdict(moderation::kick(hot, &act).await.unwrap().map(drop));
            for (given_rank, given) in roles.into_iter().enumerate() {
                appoint(&stage, &lobby, "target", other).await;
                let may = may && (given_rank < rank || role == Role::Admin);
                let outcome = moderation::appoint(hot, &act, given).await.unwrap();
                assert_eq!(outcome.is_ok(), may, "{what}: {given}");
            }
            appoint(&stage, &lobby, "target", other).await;
            verdict(moderation::ban(hot, &act, Term::Forever).await.unwrap().map(drop));
            moderation::unban(hot, &by_administration(&lobby, &target))
                .await
                .unwrap()
                .unwrap();
            stage.join(&cast[1], &lobby).await;
        }
    }
    let own = user("actor");
    let oneself = by(&cast[0], &lobby, &own);
    assert_eq!(moderation::kick(hot, &oneself).await.unwrap(), Err(Refusal::Forbidden));
}

#[tokio::test]
async fn who_is_not_in_the_room_does_not_govern_it() {
    let stage = Stage::new().await;
    let (lobby, den) = (
        stage.room("lobby").await,
        stage
            .make_room("den", RoomType::Channel, Visibility::Secret, None)
            .await,
    );
    let (ada, bob) = (lease("ada", 1), user("bob"));
    stage.connect(&ada).await;
    let hot = &stage.hot;
    for (room, refusal) in [
        (&lobby, Refusal::Stranger),
        (&den, Refusal::Missing),
        (&room("nowhere"), Refusal::Missing),
    ] {
        let act = by(&ada, room, &bob);
        assert_eq!(moderation::kick(hot, &act).await.unwrap(), Err(refusal), "{room}");
        assert_eq!(moderation::unban(hot, &act).await.unwrap(), Err(refusal), "{room}");
        assert_eq!(moderation::unmute(hot, &act).await.unwrap(), Err(refusal), "{room}");
        let role = moderation::appoint(hot, &act, Role::Member).await.unwrap();
        assert_eq!(role, Err(refusal), "{room}");
    }
    appoint(&stage, &den, "ada", Role::Admin).await;
    let act = by(&ada, &den, &bob);
    assert_eq!(moderation::kick(hot, &act).await.unwrap(), Err(Refusal::Stranger));
}

#[tokio::test]
async fn a_large_room_is_told_of_kicks_and_of_no_other_leave() {
    let stage = Stage::with(|terms| terms.presence_limit = 1).await;
    let lobby = stage.room("lobby").await;
    let cast = members(&stage, &lobby, &["ada", "bob", "cleo"]).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let rev: u64 = stage.ask("HGET", (stage.keys().room(&lobby), "rev")).await;
    moderation::kick(&stage.hot, &by_administration(&lobby, &user("bob")))
        .await
        .unwrap()
        .unwrap();
    domain::leave(&stage.hot, &cast[2], &lobby).await.unwrap();
    let heard = words(&ear.heard_in(&stage, &lobby).await);
    let heard: Vec<_> = heard.iter().filter(|word| !word.starts_with("count")).collect();
    assert_eq!(heard, ["left bob kicked"]);
    let epoch: String = stage.ask("HGET", (stage.keys().room(&lobby), "epoch")).await;
    let known = Heard { epoch, seq: 0, rev };
    let healed = healing::heal(&stage.hot, &lobby, &known, &[], Duration::ZERO)
        .await
        .unwrap();
    let Healed::Missed { events, .. } = healed else {
        panic!("{healed:?}");
    };
    assert_eq!(words(&events), ["left bob kicked"], "it is healed like every change");
}

#[tokio::test]
async fn a_policy_is_bounded_and_what_ran_out_makes_place() {
    let stage = Stage::new().await;
    let (lobby, key) = (stage.room("lobby").await, stage.keys().room_policy(&room("lobby")));
    let fill = async |from: u32, count: u32, entry: &str| {
        let entries: Vec<String> = (from..from + count)
            .flat_map(|number| [format!("u{number}"), entry.to_owned()])
            .collect();
        let _: u64 = stage.ask("HSET", (&key, entries)).await;
    };
    fill(0, POLICY_MAX, r#"{"ban":0}"#).await;
    let newcomer = user("newcomer");
    let act = by_administration(&lobby, &newcomer);
    let hot = &stage.hot;
    assert_eq!(
        moderation::ban(hot, &act, Term::Forever).await.unwrap(),
        Err(Refusal::Full)
    );
    assert_eq!(
        moderation::mute(hot, &act, Term::Forever).await.unwrap(),
        Err(Refusal::Full)
    );
    assert_eq!(
        moderation::appoint(hot, &act, Role::Guest).await.unwrap(),
        Err(Refusal::Full)
    );
    let known = user("u7");
    let on_known = by_administration(&lobby, &known);
    assert!(moderation::mute(hot, &on_known, Term::Forever).await.unwrap().is_ok());
    fill(100, POLICY_MAX - 100, r#"{"ban":1}"#).await;
    assert!(moderation::ban(hot, &act, Term::Forever).await.unwrap().is_ok());
}

#[tokio::test]
async fn whoever_makes_a_room_by_joining_is_its_admin_as_long_as_it_is() {
    let stage = Stage::new().await;
    let (ada, bob, den) = (lease("ada", 1), lease("bob", 1), room("den"));
    stage.connect(&ada).await;
    stage.connect(&bob).await;
    assert_eq!(stage.try_join(&ada, &den, true).await.unwrap().role, Role::Admin);
    assert_eq!(stage.try_join(&bob, &den, true).await.unwrap().role, Role::Member);
    let policy = stage.keys().room_policy(&den);
    let ttl = async || stage.ask::<i64>("PTTL", &policy).await;
    assert_eq!(ttl().await, -1);
    for lease in [&ada, &bob] {
        domain::leave(&stage.hot, lease, &den).await.unwrap();
    }
    assert!(ttl().await > 0, "it goes with the empty room");
    assert_eq!(stage.try_join(&bob, &den, true).await.unwrap().role, Role::Member);
    assert_eq!(ttl().await, -1, "somebody came in time");
    domain::leave(&stage.hot, &bob, &den).await.unwrap();
    let () = stage.ask("DEL", (stage.keys().room(&den), &policy)).await;
    assert_eq!(stage.try_join(&bob, &den, true).await.unwrap().role, Role::Admin);

    // Any other policy outlasts the room, and says whose it is.
    let act = user("ada");
    let ban = by(&bob, &den, &act);
    moderation::ban(&stage.hot, &ban, Term::Forever).await.unwrap().unwrap();
    domain::leave(&stage.hot, &bob, &den).await.unwrap();
    assert_eq!(ttl().await, -1);
    let () = stage.ask("DEL", stage.keys().room(&den)).await;
    let cleo = lease("cleo", 1);
    stage.connect(&cleo).await;
    assert_eq!(stage.try_join(&cleo, &den, true).await.unwrap().role, Role::Member);
    assert_eq!(stage.try_join(&bob, &den, true).await.unwrap().role, Role::Admin);
}

#[tokio::test]
async fn nobody_owns_what_joining_makes_where_a_setting_says_so() {
    let stage = Stage::with(|terms| terms.makers_own = false).await;
    let (ada, den) = (lease("ada", 1), room("den"));
    stage.connect(&ada).await;
    assert_eq!(stage.try_join(&ada, &den, true).await.unwrap().role, Role::Member);
    assert!(!stage.ask::<bool>("EXISTS", stage.keys().room_policy(&den)).await);
}

#[tokio::test]
async fn a_room_can_be_made_with_an_owner() {
    let stage = Stage::new().await;
    let new = |owner| NewRoom {
        name: room("den"),
        kind: RoomType::Group,
        visibility: Visibility::Private,
        max_members: None,
        owner: Some(user(owner)),
    };
    for owner in ["ada", "bob"] {
        domain::create(&stage.hot, &new(owner)).await.unwrap();
    }
    let ada = lease("ada", 1);
    stage.connect(&ada).await;
    assert_eq!(stage.join(&ada, &room("den")).await.role, Role::Admin);
    assert_eq!(policy_of(&stage, &room("den"), "bob").await, None, "it was there");
}

#[tokio::test]
async fn what_a_room_remembers_can_be_read() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    appoint(&stage, &lobby, "ada", Role::Moderator).await;
    let (bob, eve) = (user("bob"), user("eve"));
    let until = Term::Until(now_ms() + 100_000);
    let on_bob = by_administration(&lobby, &bob);
    moderation::ban(&stage.hot, &on_bob, until).await.unwrap().unwrap();
    moderation::mute(&stage.hot, &on_bob, Term::Forever)
        .await
        .unwrap()
        .unwrap();
    stage.policy(&lobby, &eve, r#"{"role":"guest","ban":1}"#).await;
    let entry = |id, role, ban, mute| Entry {
        user: user(id),
        role,
        ban,
        mute,
    };
    let all = [
        entry("ada", Some(Role::Moderator), None, None),
        entry("bob", None, Some(until), Some(Term::Forever)),
        entry("eve", Some(Role::Guest), None, None),
    ];
    let (count, entries) = moderation::policy(&stage.hot, &lobby, 10).await.unwrap();
    assert_eq!((count, &entries[..]), (3, &all[..]));
    let (count, entries) = moderation::policy(&stage.hot, &lobby, 2).await.unwrap();
    assert_eq!((count, entries.len()), (3, 2));
    let nothing = moderation::policy(&stage.hot, &room("nowhere"), 2).await.unwrap();
    assert_eq!(nothing, (0, vec![]));
}

#[tokio::test]
async fn a_closed_room_leaves_nothing_but_the_word_of_it() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let cast = members(&stage, &lobby, &["ada", "bob"]).await;
    appoint(&stage, &lobby, "ada", Role::Admin).await;
    assert!(matches!(say(&stage, &cast[0], &lobby).await, Send::Sent(_)));
    let mark = Mark {
        lease: &cast[1],
        room: &lobby,
        thread: "",
        room_type: "",
    };
    typing::start(&stage.hot, &mark, Duration::from_secs(60)).await.unwrap();
    let epoch: String = stage.ask("HGET", (stage.keys().room(&lobby), "epoch")).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let receipt = moderation::close(&stage.hot, &lobby).await.unwrap();
    assert_eq!(receipt, Some(reach(&[("n1", 2)])));
    assert_eq!(moderation::close(&stage.hot, &lobby).await.unwrap(), None, "a repeat");
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["closed"]);
    let known = Heard { epoch, seq: 1, rev: 2 };
    let heal = async || {
        healing::heal(&stage.hot, &lobby, &known, &[], Duration::ZERO)
            .await
            .unwrap()
    };
    assert!(matches!(heal().await, Healed::Closed(_)), "whoever missed it is told");
    assert!(matches!(say(&stage, &cast[0], &lobby).await, Send::Missing));
    assert_eq!(stage.try_join(&cast[1], &lobby, true).await.unwrap().member_count, 1);
    assert!(matches!(heal().await, Healed::Anew(_)), "another room of the name");
    stage.end_everybody().await;
    stage.assert_only_lasting_keys_last().await;
}
