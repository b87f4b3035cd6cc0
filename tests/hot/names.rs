//! Rooms that are named as nchat names them: how joining makes them, and whom their names let in.

use nself_realtime::domain::moderation::{self, Act, Actor, Term};
use nself_realtime::domain::names;
use nself_realtime::domain::rooms::{self, JoinOptions, JoinRefusal, Joined, Known};
use nself_realtime::hot::keys::Lease;
use nself_realtime::types::{Role, RoomName, RoomType, UserId, Visibility};

use crate::stage::{Stage, lease, room};

/// Nobody owns what joining makes, as under the profile.
async fn nchats() -> Stage {
    Stage::with(|terms| (terms.nchat_names, terms.makers_own) = (true, false)).await
}

async fn people(stage: &Stage) -> [Lease; 3] {
    let people = ["ada", "bob", "eve"].map(|id| lease(id, 1));
    for lease in &people {
        stage.connect(lease).await;
    }
    people
}

async fn forbids(stage: &Stage, lease: &Lease, room: &RoomName) {
    for autocreate in [false, true] {
        let refused = stage.try_join(lease, room, autocreate).await.unwrap_err();
        assert_eq!(refused, JoinRefusal::Forbidden, "{room} {}", lease.user);
    }
}

fn act<'a>(room: &'a RoomName, user: &'a UserId) -> Act<'a> {
    Act {
        actor: Actor::Administration,
        room,
        user,
        reason: None,
    }
}

fn is_private(joined: &Joined, kind: RoomType) {
    assert_eq!((joined.kind, joined.visibility), (kind, Visibility::Private));
    assert_eq!(joined.role, Role::Member, "nobody owns it");
}

async fn policies(stage: &Stage, room: &RoomName) -> (u64, bool) {
    let key = stage.keys().room_policy(room);
    let ends: i64 = stage.ask("PTTL", &key).await;
    (stage.ask("HLEN", &key).await, ends > 0)
}

#[tokio::test]
async fn a_direct_room_that_names_nobody_is_of_whoever_comes_first() {
    let stage = nchats().await;
    let [ada, bob, eve] = people(&stage).await;
    let dm = room("dm:7");
    let refused = stage.try_join(&ada, &dm, false).await.unwrap_err();
    assert_eq!(refused, JoinRefusal::NotFound, "nothing makes it");
    is_private(&stage.try_join(&ada, &dm, true).await.unwrap(), RoomType::Dm);
    forbids(&stage, &bob, &dm).await;
    forbids(&stage, &eve, &dm).await;
    // It is ada's on every device, and after she left: until then the invitation is hers alone, and goes with the room.
    let phone = lease("ada", 2);
    stage.connect(&phone).await;
    assert!(!stage.join(&phone, &dm).await.first);
    for lease in [&ada, &phone] {
        rooms::leave(&stage.hot, lease, &dm).await.unwrap().unwrap();
    }
    assert_eq!(policies(&stage, &dm).await, (1, true));
    forbids(&stage, &eve, &dm).await;
    stage.join(&ada, &dm).await;
    assert_eq!(policies(&stage, &dm).await, (1, false));

    let invited = moderation::appoint(&stage.hot, &act(&dm, &bob.user), Role::Member).await;
    invited.unwrap().unwrap();
    is_private(&stage.join(&bob, &dm).await, RoomType::Dm);
    for lease in [&ada, &bob] {
        rooms::leave(&stage.hot, lease, &dm).await.unwrap().unwrap();
    }
    assert_eq!(policies(&stage, &dm).await, (2, false), "an invitation stays");
}

#[tokio::test]
async fn a_direct_room_of_two_names_lets_in_those_two() {
    let stage = nchats().await;
    let [ada, bob, eve] = people(&stage).await;
    let dm = room("dm:ada:bob");
    forbids(&stage, &eve, &dm).await;
    assert!(!stage.ask::<bool>("EXISTS", stage.keys().room(&dm)).await);
    is_private(&stage.try_join(&bob, &dm, true).await.unwrap(), RoomType::Dm);
    is_private(&stage.join(&ada, &dm).await, RoomType::Dm);
    forbids(&stage, &eve, &dm).await;
    assert_eq!(policies(&stage, &dm).await.0, 0, "a name needs no memory");

    // The administration is above names.
    moderation::ban(&stage.hot, &act(&dm, &bob.user), Term::Forever)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stage.try_join(&bob, &dm, true).await.unwrap_err(), JoinRefusal::Banned);
    moderation::unban(&stage.hot, &act(&dm, &bob.user))
        .await
        .unwrap()
        .unwrap();
    stage.join(&bob, &dm).await;
    moderation::appoint(&stage.hot, &act(&dm, &eve.user), Role::Guest)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stage.join(&eve, &dm).await.role, Role::Guest);
}

#[tokio::test]
async fn a_users_room_is_closed_to_others_whatever_it_says() {
    let stage = nchats().await;
    let [ada, bob, _] = people(&stage).await;
    let own = room("user:ada");
    forbids(&stage, &bob, &own).await;
    is_private(&stage.try_join(&ada, &own, true).await.unwrap(), RoomType::Channel);
    forbids(&stage, &bob, &own).await;
    moderation::appoint(&stage.hot, &act(&own, &bob.user), Role::Admin)
        .await
        .unwrap()
        .unwrap();
    forbids(&stage, &bob, &own).await;
    let public = stage.room("user:bob").await;
    forbids(&stage, &ada, &public).await;
    assert_eq!(stage.users_of(&own).await, ["ada"]);
}

#[tokio::test]
async fn what_an_earlier_direct_room_left_says_whose_the_next_one_is() {
    let stage = nchats().await;
    let [ada, bob, eve] = people(&stage).await;
    let dm = room("dm:7");
    stage.try_join(&ada, &dm, true).await.unwrap();
    moderation::appoint(&stage.hot, &act(&dm, &bob.user), Role::Member)
        .await
        .unwrap()
        .unwrap();
    rooms::leave(&stage.hot, &ada, &dm).await.unwrap().unwrap();
    let () = stage.ask("DEL", stage.keys().room(&dm)).await;
    let refused = stage.try_join(&eve, &dm, true).await.unwrap_err();
    assert_eq!(refused, JoinRefusal::Forbidden);
    is_private(&stage.try_join(&bob, &dm, true).await.unwrap(), RoomType::Dm);
    is_private(&stage.join(&ada, &dm).await, RoomType::Dm);
    forbids(&stage, &eve, &dm).await;
}

#[tokio::test]
async fn a_direct_room_that_redis_lost_comes_back_private() {
    let stage = nchats().await;
    let [ada, bob, eve] = people(&stage).await;
    let dm = room("dm:7");
    let joined = stage.try_join(&ada, &dm, true).await.unwrap();
    let known = Known {
        epoch: joined.epoch,
        kind: joined.kind,
        visibility: joined.visibility,
        max_members: joined.max_members,
    };
    let keys = stage.keys();
    for key in [
        keys.room(&dm),
        keys.room_live(&dm),
        keys.room_users(&dm),
        keys.room_policy(&dm),
    ] {
        let () = stage.ask("DEL", key).await;
    }
    let back = JoinOptions {
        autocreate: true,
        known: Some(&known),
        members: 0,
        since: None,
        toll: None,
    };
    let joined = rooms::join(&stage.hot, &ada, &dm, back).await.unwrap().unwrap();
    is_private(&joined, RoomType::Dm);
    for lease in [&bob, &eve] {
        forbids(&stage, lease, &dm).await;
    }
}

/// After SCRIPT FLUSH, and where whoever makes a room owns it.
#[tokio::test]
async fn where_makers_own_the_first_is_its_admin() {
    let stage = Stage::with(|terms| terms.nchat_names = true).await;
    let [ada, bob, _] = people(&stage).await;
    let () = stage.ask("SCRIPT", "FLUSH").await;
    for name in ["dm:7", "dm:ada,bob", "user:ada"] {
        let made = stage.try_join(&ada, &room(name), true).await.unwrap();
        assert_eq!(
            (made.role, made.visibility),
            (Role::Admin, Visibility::Private),
            "{name}"
        );
    }
    assert_eq!(stage.join(&bob, &room("dm:ada,bob")).await.role, Role::Member);
    forbids(&stage, &bob, &room("dm:7")).await;
}

/// Without the profile the same names are names like others.
#[tokio::test]
async fn elsewhere_these_names_say_nothing() {
    let stage = Stage::new().await;
    let [ada, bob, _] = people(&stage).await;
    for name in ["dm:7", "dm:eve:mallory", "user:ada", "channel:7"] {
        let name = room(name);
        let made = stage.try_join(&ada, &name, true).await.unwrap();
        assert_eq!((made.kind, made.visibility), (RoomType::Channel, Visibility::Public));
        assert!(stage.join(&bob, &name).await.first, "{name}");
        assert_eq!(names::door(false, &name, &bob.user).standing, names::Standing::Unnamed);
    }
}
