//! Rooms: making, joining, leaving, members, counts, the list. Who is refused: `admission`.

use std::time::Duration;

use nself_realtime::domain::rooms::{self as domain, Created, JoinRefusal, MembersRefusal, NewRoom};
use nself_realtime::domain::{endings, presence as domain_presence};
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::keys::{Lease, Partition};
use nself_realtime::hot::presence::{self, Choice};
use nself_realtime::hot::rooms::{self, Join, JoinRequest, Known, LeaveRequest};
use nself_realtime::types::{LeaveReason, Role, RoomName, RoomType, Status, Visibility};

use crate::ear::{Ear, words};
use crate::stage::{ODD_NAMES, Stage, lease, now_ms, partition, room, user};

const SILENCE: [&str; 0] = [];

async fn people(stage: &Stage, ids: &[&str]) -> Vec<Lease> {
    let leases: Vec<_> = ids.iter().map(|id| lease(id, 1)).collect();
    for lease in &leases {
        stage.connect(lease).await;
    }
    leases
}

#[tokio::test]
async fn a_room_is_made_once() {
    let stage = Stage::new().await;
    let new = NewRoom {
        name: room("lobby"),
        kind: RoomType::Group,
        visibility: Visibility::Private,
        max_members: Some(7),
        owner: None,
    };
    let Created::New(made) = domain::create(&stage.hot, &new).await.unwrap().0 else {
        panic!("there was none");
    };
    assert_eq!(
        (made.kind, made.visibility, made.max_members),
        (RoomType::Group, Visibility::Private, Some(7))
    );
    let epoch: String = stage.ask("HGET", (stage.keys().room(&new.name), "epoch")).await;
    let other = NewRoom {
        kind: RoomType::Broadcast,
        max_members: None,
        ..new.clone()
    };
    assert_eq!(
        domain::create(&stage.hot, &other).await.unwrap().0,
        Created::Existing(made),
        "it stays as it is"
    );
    assert_eq!(
        stage
            .ask::<String>("HGET", (stage.keys().room(&new.name), "epoch"))
            .await,
        epoch
    );
}

#[tokio::test]
async fn a_join_and_a_leave_are_told_once_per_user() {
    let stage = Stage::new().await;
    let (first, second, lobby) = (lease("alice", 1), lease("alice", 2), stage.room("lobby").await);
    stage.connect(&first).await;
    stage.connect(&second).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;

    let joined = stage.join(&first, &lobby).await;
    assert_eq!(
        (joined.first, joined.member_count, joined.seq, joined.rev),
        (true, 1, 0, 1)
    );
    assert_eq!((joined.kind, joined.role), (RoomType::Channel, Role::Member));
    assert_eq!(joined.members.len(), 1);
    let again = stage.join(&first, &lobby).await;
    assert_eq!((again.first, again.rev, again.epoch), (false, 1, joined.epoch));
    assert!(!stage.join(&second, &lobby).await.first);

    assert!(domain::leave(&stage.hot, &first, &lobby).await.unwrap().is_some());
    assert!(
        domain::leave(&stage.hot, &first, &lobby).await.unwrap().is_some(),
        "a repeat"
    );
    assert_eq!(stage.users_of(&lobby).await, ["alice"]);
    assert!(domain::leave(&stage.hot, &second, &lobby).await.unwrap().is_some());
    assert!(domain::leave(&stage.hot, &second, &lobby).await.unwrap().is_some());
    let nowhere = domain::leave(&stage.hot, &second, &room("nowhere")).await.unwrap();
    assert!(nowhere.is_none());
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["joined alice", "left alice left"]
    );
    let rev: u64 = stage.ask("HGET", (stage.keys().room(&lobby), "rev")).await;
    assert_eq!(rev, 2);
}

#[tokio::test]
async fn a_membership_that_redis_lost_is_put_back_untold() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    let presence = stage.connect(&alice).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    // The room that the node knows was in another epoch.
    let known = Known {
        epoch: "before".to_owned(),
        kind: RoomType::Channel,
        visibility: Visibility::Public,
        max_members: None,
    };
    let request = JoinRequest {
        lease: &alice,
        room: &lobby,
        presence: &presence,
        autocreate: None,
        is_named: false,
        known: Some(&known),
        members: 0,
        since: None,
    };
    let Join::Joined(joined) = rooms::join(&stage.hot, &request).await.unwrap() else {
        panic!("nothing is in the way");
    };
    assert!(joined.members.is_empty());
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE);
    assert_eq!(stage.users_of(&lobby).await, ["alice"]);
}

#[tokio::test]
async fn joining_makes_a_room_only_where_that_is_allowed() {
    let stage =
        Stage::with(|terms| (terms.keep, terms.history.ttl) = (Duration::from_secs(100), Duration::from_secs(10)))
            .await;
    let (alice, den) = (lease("alice", 1), room("den"));
    stage.connect(&alice).await;
    assert_eq!(
        stage.try_join(&alice, &den, false).await.unwrap_err(),
        JoinRefusal::NotFound
    );
    let joined = stage.try_join(&alice, &den, true).await.unwrap();
    assert_eq!((joined.first, joined.kind, joined.rev), (true, RoomType::Channel, 1));
    let ttl = async || stage.ask::<i64>("PTTL", stage.keys().room(&den)).await;
    assert_eq!(ttl().await, -1);
    domain::leave(&stage.hot, &alice, &den).await.unwrap();
    assert!(
        (90_000..=100_000).contains(&ttl().await),
        "an empty room goes by itself"
    );
    let back = stage.try_join(&alice, &den, false).await.unwrap();
    assert_eq!((back.epoch, ttl().await), (joined.epoch, -1));
    let bob = people(&stage, &["bob"]).await.remove(0);
    stage.join(&bob, &den).await;
    domain::leave(&stage.hot, &bob, &den).await.unwrap();
    assert_eq!(ttl().await, -1, "somebody is still there");
    domain::leave(&stage.hot, &alice, &den).await.unwrap();
    stage.room("den").await;
    assert_eq!(ttl().await, -1, "a room that an administrator makes stays");
    stage.join(&alice, &den).await;
    domain::leave(&stage.hot, &alice, &den).await.unwrap();
    assert_eq!(ttl().await, -1);
}

#[tokio::test]
async fn a_leave_says_why_and_what_became_of_the_user() {
    let stage = Stage::new().await;
    let (alice, lobby) = (lease("alice", 1), stage.room("lobby").await);
    stage.connect(&alice).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    for reason in [
        LeaveReason::Left,
        LeaveReason::Disconnected,
        LeaveReason::Kicked,
        LeaveReason::Banned,
    ] {
        stage.join(&alice, &lobby).await;
        let request = LeaveRequest {
            lease: &alice,
            room: &lobby,
            reason,
            presence: None,
            ended: false,
        };
        rooms::leave_all(&stage.hot, &[request.clone(), request]).await.unwrap();
        let said = words(&ear.heard_in(&stage, &lobby).await);
        assert_eq!(said, ["joined alice".to_owned(), format!("left alice {reason}")]);
    }
    stage.join(&alice, &lobby).await;
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    let events = ear.heard_in(&stage, &lobby).await;
    let with_presence = matches!(&events[1], BusEvent::Left { presence: Some(presence), .. }
        if presence.status == Status::Offline);
    assert!(with_presence, "{events:?}");
}

/// What follows from the end of a connection takes its way through every room; its user may be back before that.
#[tokio::test]
async fn the_end_of_an_earlier_connection_says_nothing_of_who_is_back() {
    let stage = Stage::new().await;
    let (before, after, lobby) = (lease("alice", 1), lease("alice", 2), stage.room("lobby").await);
    stage.connect(&before).await;
    stage.join(&before, &lobby).await;
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let ended = presence::finish(&stage.hot, &before, "asked").await.unwrap().unwrap();
    assert_eq!(ended.changed.as_ref().unwrap().status, Status::Offline);
    stage.connect(&after).await;
    stage.join(&after, &lobby).await;
    let request = LeaveRequest {
        lease: &before,
        room: &lobby,
        reason: LeaveReason::Disconnected,
        presence: ended.changed.as_ref(),
        ended: true,
    };
    rooms::leave_all(&stage.hot, &[request]).await.unwrap();
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["online alice"]);
    let page = rooms::page_of(&stage.hot, &lobby, None, 10).await.unwrap();
    assert_eq!(page.members[0].status, Status::Online);
}

#[tokio::test]
async fn members_come_in_pages_by_user_whatever_their_tabs() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let mut ids: Vec<String> = (0..7).map(|n| format!("user{n}")).collect();
    // One is the beginning of another, and some sort around the separators.
    ids.extend(["user", "user 1", "user!", "user1x", "ü", "@"].map(str::to_owned));
    for id in &ids {
        for number in 1..=3 {
            stage.connect(&lease(id, number)).await;
            stage.join(&lease(id, number), &lobby).await;
        }
    }
    ids.sort();
    for limit in [1, 2, 5, 12, 13, 14] {
        let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = domain::members(&stage.hot, &lease("user", 1), &lobby, after.as_ref(), limit).await;
            let page = page.unwrap().unwrap();
            assert!(page.members.len() <= limit as usize);
            pages += 1;
            found.extend(page.members.iter().map(|member| member.user.to_string()));
            after = page.members.last().map(|member| member.user.clone());
            if !page.more {
                break;
            }
        }
        assert_eq!(found, ids, "in pages of {limit}");
        assert_eq!(
            pages,
            ids.len().div_ceil(limit as usize),
            "no empty page behind the last of {limit}"
        );
    }
}

#[tokio::test]
async fn members_are_for_members() {
    let stage = Stage::new().await;
    let lobby = stage.room("lobby").await;
    let all = people(&stage, &["alice", "bob"]).await;
    stage.join(&all[0], &lobby).await;
    let ask = async |asker, room: &RoomName| domain::members(&stage.hot, asker, room, None, 10).await.unwrap();
    assert!(ask(&all[0], &lobby).await.is_ok());
    assert_eq!(ask(&all[1], &lobby).await.unwrap_err(), MembersRefusal::NotAMember);
    assert_eq!(
        ask(&all[1], &room("nowhere")).await.unwrap_err(),
        MembersRefusal::NotFound
    );
    let behind = domain::members(&stage.hot, &all[0], &lobby, Some(&user("zoe")), 10)
        .await
        .unwrap()
        .unwrap();
    assert!(behind.members.is_empty() && !behind.more);
}

#[tokio::test]
async fn a_large_room_hears_counts_and_not_too_often() {
    let stage = Stage::with(|terms| terms.presence_limit = 2).await;
    let lobby = stage.room("lobby").await;
    let due = stage.keys().due(Partition::of_room(&lobby));
    let mut ear = Ear::of_room(&stage, &lobby).await;
    let all = people(&stage, &["a", "b", "c", "d", "e"]).await;
    for lease in &all[..3] {
        let joined = stage.join(lease, &lobby).await;
        assert_eq!(
            joined.members.is_empty(),
            joined.member_count > 2,
            "a large room's join brings no people"
        );
    }
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["joined a", "joined b", "count 3"]
    );
    for lease in &all[3..] {
        stage.join(lease, &lobby).await;
    }
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), SILENCE, "within the second");
    assert!(stage.score(due.clone(), "count\0lobby").await.unwrap() > now_ms() - 1_000);

    let a_second_passes = async || {
        let long_ago = ("counted", now_ms() - 1_001);
        let () = stage.ask("HSET", (stage.keys().room(&lobby), long_ago)).await;
    };
    a_second_passes().await;
    stage.let_run_out(due.clone(), "count\0lobby").await;
    stage.sweep().await;
    assert_eq!(words(&ear.heard_in(&stage, &lobby).await), ["count 5"]);
    assert_eq!(stage.score(due.clone(), "count\0lobby").await, None);
    rooms::count(&stage.hot, &lobby).await.unwrap();
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        SILENCE,
        "a count that is not due is not told"
    );

    a_second_passes().await;
    for lease in &all {
        endings::finish(&stage.hot, lease, "asked").await.unwrap();
    }
    let said = words(&ear.heard_in(&stage, &lobby).await);
    assert_eq!(said, ["count 4", "left d disconnected", "left e disconnected"]);
    a_second_passes().await;
    stage.let_run_out(due.clone(), "count\0lobby").await;
    stage.sweep().await;
    assert_eq!(
        words(&ear.heard_in(&stage, &lobby).await),
        ["count 0"],
        "the count after the last that was told"
    );
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn a_count_of_a_room_that_is_gone_is_dropped() {
    let stage = Stage::new().await;
    let gone = room("gone");
    let due = stage.keys().due(Partition::of_room(&gone));
    let () = stage.ask("ZADD", (&due, now_ms() - 1, "count\0gone")).await;
    rooms::count(&stage.hot, &gone).await.unwrap();
    assert_eq!(stage.keys_left().await, []);
}

#[tokio::test]
async fn odd_room_names_are_rooms_like_others() {
    let stage = Stage::new().await;
    let alice = lease("alice", 1);
    stage.connect(&alice).await;
    for name in ODD_NAMES {
        assert!(
            stage.try_join(&alice, &room(name), true).await.unwrap().first,
            "{name:?}"
        );
    }
    let found = presence::read_all(&stage.hot, &[user("alice")]).await.unwrap();
    assert_eq!(found[0].1.len(), ODD_NAMES.len());
    let mut ear = Ear::of_room(&stage, &room(ODD_NAMES[0])).await;
    let busy = Choice {
        status: Status::Busy,
        text: None,
        emoji: None,
        until_ms: None,
    };
    domain_presence::choose(&stage.hot, &alice, &busy).await.unwrap();
    endings::finish(&stage.hot, &alice, "asked").await.unwrap();
    let heard = words(&ear.heard_in(&stage, &room(ODD_NAMES[0])).await);
    assert_eq!(heard, ["busy alice", "left alice disconnected"]);
    for name in ODD_NAMES {
        assert_eq!(stage.users_of(&room(name)).await, SILENCE, "{name:?}");
    }
    let left: u64 = stage.ask("EXISTS", stage.keys().leases(partition(&alice))).await;
    assert_eq!(left, 0);
    stage.assert_only_lasting_keys_last().await;
}

#[tokio::test]
async fn the_list_has_every_room_once() {
    let stage = Stage::new().await;
    let mut names: Vec<&str> = ODD_NAMES.to_vec();
    names.extend(["y", "lobby", "room:y"]);
    for name in &names {
        stage.room(name).await;
    }
    // Ids that look like a room's key when they are read carelessly.
    let sly = lease("x}:room:y", 1);
    stage.connect(&sly).await;
    stage.join(&sly, &room("x}:room:y")).await;
    names.sort_unstable();
    let listed = domain::list(&stage.hot).await.unwrap();
    let found: Vec<&str> = listed.iter().map(|room| room.name.as_str()).collect();
    assert_eq!(found, names);
    let members: u64 = listed.iter().map(|room| room.members).sum();
    assert_eq!(members, 1);
}

#[tokio::test]
async fn a_room_is_changed_in_what_is_said_and_lasts() {
    let stage = Stage::new().await;
    let [alice] = &people(&stage, &["alice"]).await[..] else {
        panic!("one")
    };
    let made = room("made");
    let options = domain::JoinOptions {
        autocreate: true,
        known: None,
        members: 0,
        since: None,
        toll: None,
    };
    domain::join(&stage.hot, alice, &made, options).await.unwrap().unwrap();
    let settings = rooms::Settings {
        visibility: Some(Visibility::Secret),
        ..rooms::Settings::default()
    };
    for _ in 0..2 {
        let (room, record) = rooms::change(&stage.hot, &made, &settings).await.unwrap().unwrap();
        assert_eq!(
            (room.kind, room.visibility, room.max_members, room.members, record),
            (RoomType::Channel, Visibility::Secret, None, 1, None)
        );
    }
    let positions = domain::positions(&stage.hot, std::slice::from_ref(&made))
        .await
        .unwrap();
    let (_, known) = positions[0].as_ref().expect("it is there");
    assert_eq!(
        known.visibility,
        Visibility::Secret,
        "nodes hear of it with their heartbeats"
    );
    let bound = |most| rooms::Settings {
        max_members: Some(most),
        ..rooms::Settings::default()
    };
    for most in [Some(u32::MAX), None] {
        let (room, _) = rooms::change(&stage.hot, &made, &bound(most)).await.unwrap().unwrap();
        assert_eq!((room.visibility, room.max_members), (Visibility::Secret, most));
    }
    domain::leave(&stage.hot, alice, &made).await.unwrap().unwrap();
    for key in [stage.keys().room(&made), stage.keys().room_policy(&made)] {
        assert_eq!(
            stage.ask::<i64>("PTTL", key).await,
            -1,
            "it lasts, and so does who owns it"
        );
    }
    assert_eq!(
        rooms::change(&stage.hot, &room("nowhere"), &settings).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn rooms_come_in_pages_by_name() {
    let stage = Stage::new().await;
    let mut names: Vec<RoomName> = ODD_NAMES.iter().map(|name| room(name)).collect();
    for name in &names {
        stage.room(name.as_str()).await;
    }
    names.sort();
    for limit in [1, 2, names.len(), names.len() + 1] {
        let (mut found, mut more) = (Vec::new(), true);
        while more {
            let after = found.last().map(|last: &domain::Room| last.name.clone());
            let (page, follows) = rooms::list_page(&stage.hot, after.as_ref(), limit).await.unwrap();
            assert!(page.len() == limit || !follows);
            found.extend(page);
            more = follows;
        }
        let found: Vec<RoomName> = found.into_iter().map(|room| room.name).collect();
        assert_eq!(found, names);
    }
}

/// The scan meets names in no order, and all of them more than once where tables grow: no page leaves one out.
#[tokio::test]
async fn pages_are_whole_while_others_are_read() {
    let stage = Stage::new().await;
    let mut names: Vec<RoomName> = (0..300).map(|n| room(&format!("room {n}"))).collect();
    for name in &names {
        stage.room(name.as_str()).await;
    }
    names.sort();
    let pages = (0..6).map(async |start: usize| {
        let after = &names[start * 40];
        let (page, more) = rooms::list_page(&stage.hot, Some(after), 50).await.unwrap();
        let found: Vec<RoomName> = page.into_iter().map(|room| room.name).collect();
        assert_eq!(found, names[start * 40 + 1..start * 40 + 51]);
        assert!(more);
    });
    futures_util::future::join_all(pages).await;
    let (rest, more) = rooms::list_page(&stage.hot, Some(&names[297]), 2).await.unwrap();
    assert_eq!((rest.len(), more), (2, false));
    assert_eq!(rooms::list(&stage.hot).await.unwrap().len(), 300);
}
