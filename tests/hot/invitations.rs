//! Who is invited into a room, and what an invitation leaves as it is.

use nself_realtime::domain::moderation::{self, Refusal, Term};
use nself_realtime::domain::rooms::JoinRefusal;
use nself_realtime::types::{Role, RoomName, RoomType, Visibility};

use crate::moderation::{appoint, by_administration};
use crate::stage::{Stage, lease, user};

#[tokio::test]
async fn an_invitation_outlasts_a_ban() {
    let stage = Stage::new().await;
    let den = stage.make_room("den", RoomType::Group, Visibility::Secret, None).await;
    let (bob, id) = (lease("bob", 1), user("bob"));
    stage.connect(&bob).await;
    appoint(&stage, &den, "bob", Role::Moderator).await;
    stage.join(&bob, &den).await;
    let act = by_administration(&den, &id);
    moderation::ban(&stage.hot, &act, Term::Forever).await.unwrap().unwrap();
    assert_eq!(
        stage.try_join(&bob, &den, false).await.unwrap_err(),
        JoinRefusal::Banned
    );
    moderation::unban(&stage.hot, &act).await.unwrap().unwrap();
    assert_eq!(stage.join(&bob, &den).await.role, Role::Member);
}

#[tokio::test]
async fn an_invitation_takes_no_office_away() {
    let stage = Stage::new().await;
    let den = stage.make_room("den", RoomType::Group, Visibility::Secret, None).await;
    for (id, had, has) in [
        ("ada", Some(Role::Admin), Role::Admin),
        ("gus", Some(Role::Guest), Role::Guest),
        ("bob", None, Role::Member),
    ] {
        if let Some(role) = had {
            appoint(&stage, &den, id, role).await;
        }
        let id = user(id);
        let act = by_administration(&den, &id);
        for _ in 0..2 {
            let (role, _) = moderation::invite(&stage.hot, &act).await.unwrap().unwrap();
            assert_eq!(role, has, "{id}");
        }
    }
    let (bob, nowhere) = (lease("bob", 1), RoomName::parse("nowhere").unwrap());
    stage.connect(&bob).await;
    stage.join(&bob, &den).await;
    let bob = user("bob");
    let refused = moderation::invite(&stage.hot, &by_administration(&nowhere, &bob)).await;
    assert_eq!(refused.unwrap().unwrap_err(), Refusal::Missing);
}
