//! Who was in a room: by what is kept of joins and leaves, across an emptied Redis, gaps and the retention.

use std::time::Duration;

use nself_realtime::archive::query::{Caveat, Who};
use nself_realtime::types::RoomName;
use serde_json::json;

use crate::trail::{Entry, Trail, at, entry, partition_of};
use crate::{archive, run};

const PATIENCE: Duration = Duration::from_secs(30);

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

async fn who(trail: &Trail, name: &str, seconds: i64) -> Who {
    let archive = archive(&trail.database);
    let partition = usize::from(partition_of(name));
    let answer = archive
        .who(&room(name), partition, at(seconds), None, 1_000, PATIENCE)
        .await;
    answer.expect("Postgres answers")
}

fn names(who: &Who) -> Vec<&str> {
    who.users.iter().map(|user| user.user_id.as_str()).collect()
}

#[tokio::test]
async fn who_was_in_a_room_is_told_by_joins_and_leaves_of_each_connection() {
    let mut trail = Trail::new().await;
    trail
        .tell(&[
            entry("join", at(0), "den", "ann", "c.1"),
            entry("join", at(10), "den", "ann", "c.2"),
            entry("join", at(10), "den", "bob", "c.3"),
            entry("join", at(10), "attic", "eve", "c.4"),
            entry("leave", at(20), "den", "ann", "c.1"),
            entry("leave", at(30), "den", "ann", "c.2"),
            entry("join", at(40), "den", "ann", "c.2"),
            entry("leave", at(50), "den", "ann", "c.2"),
            // Out and in within one millisecond: the stream's order counts.
            entry("leave", at(60), "den", "bob", "c.3"),
            entry("join", at(60), "den", "bob", "c.3"),
        ])
        .await;
    for (seconds, expected) in [
        (-1, &[][..]),
        (0, &["ann"]),
        (9, &["ann"]),
        (10, &["ann", "bob"]),
        (25, &["ann", "bob"]),
        (30, &["bob"]),
        (45, &["ann", "bob"]),
        (50, &["bob"]),
        (60, &["bob"]),
        (86_400, &["bob"]),
    ] {
        let who = who(&trail, "den", seconds).await;
        assert_eq!(
            (names(&who), &who.caveats[..]),
            (expected.to_vec(), &[][..]),
            "at {seconds}"
        );
    }
    let both = who(&trail, "den", 15).await;
    assert_eq!(both.users[0].connections, ["c.1", "c.2"]);
    assert_eq!(both.users[0].since, Some(at(0)));
    // In pages.
    let archive = archive(&trail.database);
    let partition = usize::from(partition_of("den"));
    let page = async |after: Option<&str>| {
        let page = archive.who(&room("den"), partition, at(15), after, 1, PATIENCE).await;
        page.expect("Postgres answers")
    };
    assert_eq!(names(&page(None).await), ["ann"]);
    assert_eq!(names(&page(Some("ann")).await), ["bob"]);
    assert_eq!(names(&page(Some("bob")).await), [""; 0]);
}

#[tokio::test]
async fn whoever_left_the_room_with_everybody_was_in_it_no_longer() {
    let mut trail = Trail::new().await;
    trail
        .tell(&[
            entry("join", at(0), "den", "ann", "c.1"),
            entry("room_closed", at(10), "den", "", ""),
            entry("join", at(20), "den", "bob", "c.2"),
        ])
        .await;
    for (seconds, expected) in [(5, &["ann"][..]), (10, &[]), (20, &["bob"])] {
        assert_eq!(names(&who(&trail, "den", seconds).await), expected, "at {seconds}");
    }
}

#[tokio::test]
async fn an_emptied_redis_ends_what_it_had_and_is_said() {
    let mut trail = Trail::new().await;
    trail
        .tell(&[
            entry("join", at(0), "den", "ann", "c.1"),
            entry("join", at(0), "den", "bob", "c.2"),
        ])
        .await;
    trail.incarnation = "second".to_owned();
    // Ann was registered anew, before anybody noticed; bob was not there any more.
    trail.tell(&[entry("join", at(20), "den", "ann", "c.3")]).await;
    let gap = Entry {
        payload: Some(
            json!({"count": null, "reason": "redis_emptied", "from": at(5).to_string(), "to": at(20).to_string()}),
        ),
        ..entry("gap", at(25), "", "", "")
    };
    trail.batch(partition_of("den"), &[gap]).await;
    let emptied = Caveat::RedisEmptied {
        from: Some(at(5)),
        to: at(25),
    };
    for (seconds, expected, caveats) in [
        (4, &["ann", "bob"][..], vec![]),
        // Between the two nothing is known.
        (10, &["ann", "bob"], vec![emptied.clone()]),
        (22, &["ann"], vec![emptied.clone()]),
        (30, &["ann"], vec![emptied.clone()]),
    ] {
        let who = who(&trail, "den", seconds).await;
        assert_eq!(
            (names(&who), &who.caveats),
            (expected.to_vec(), &caveats),
            "at {seconds}"
        );
    }
    let later = who(&trail, "den", 30).await;
    assert_eq!(later.users[0].connections, ["c.3"]);
}

#[tokio::test]
async fn gaps_of_the_room_s_partition_are_said() {
    let mut trail = Trail::new().await;
    let gap = |from, to| Entry {
        payload: Some(json!({"count": 7, "from": at(from).to_string(), "to": at(to).to_string()})),
        ..entry("gap", at(to), "", "", "")
    };
    trail.tell(&[entry("join", at(0), "den", "ann", "c.1")]).await;
    trail.batch(partition_of("den"), &[gap(10, 20)]).await;
    let other = (partition_of("den") + 1) % 64;
    trail.batch(other, &[gap(1, 2)]).await;
    assert_eq!(who(&trail, "den", 5).await.caveats, []);
    let said = Caveat::Gap {
        from: Some(at(10)),
        to: at(20),
        count: Some(7),
    };
    for seconds in [15, 30] {
        let who = who(&trail, "den", seconds).await;
        assert_eq!(
            (names(&who), &who.caveats[..]),
            (vec!["ann"], &[said.clone()][..]),
            "at {seconds}"
        );
    }
}

#[tokio::test]
async fn joins_that_are_kept_no_longer_are_told_by_leaves_and_by_the_members() {
    let mut trail = Trail::new().await;
    trail
        .tell(&[
            entry("join", at(0), "den", "ann", "c.1"),
            entry("join", at(0), "den", "bob", "c.2"),
            entry("join", at(0), "den", "cid", "c.3"),
            entry("join", at(86_400), "den", "dan", "c.4"),
            entry("leave", at(86_500), "den", "ann", "c.1"),
        ])
        .await;
    // The projection has those who are in now, and a row that stands for a ban.
    run(
        &trail.client,
        "INSERT INTO realtime_rooms (name) VALUES ('den'); \
         INSERT INTO realtime_room_members (room_id, user_id, joined_at, is_joined, is_banned) \
         SELECT id, member.name, member.at::timestamptz, member.joined, NOT member.joined FROM realtime_rooms, (VALUES \
            ('bob', '2026-01-30T12:00:00Z', TRUE), ('cid', '2026-01-30T12:00:00Z', TRUE), \
            ('dan', '2026-01-31T12:00:00Z', TRUE), ('eve', '2026-01-30T12:00:00Z', FALSE) \
         ) AS member (name, at, joined)",
    )
    .await;
    trail.drop_day("2026-01-30").await;
    let now = who(&trail, "den", 86_450).await;
    assert_eq!(
        (names(&now), &now.caveats[..]),
        (vec!["ann", "bob", "cid", "dan"], &[][..])
    );
    // What is not known any more is not made up.
    assert_eq!((now.users[0].since, now.users[0].connections.len()), (None, 1));
    assert_eq!((now.users[1].since, now.users[1].connections.len()), (Some(at(0)), 0));
    let then = who(&trail, "den", 100).await;
    assert_eq!(names(&then), ["ann", "bob", "cid"]);
    assert_eq!(
        then.caveats,
        [Caveat::Retention {
            since: "2026-01-31".into()
        }]
    );
    let later = who(&trail, "den", 86_600).await;
    assert_eq!(names(&later), ["bob", "cid", "dan"]);
}

#[tokio::test]
async fn a_room_without_records_says_so() {
    let trail = Trail::new().await;
    let nobody = who(&trail, "den", 0).await;
    assert_eq!(
        (names(&nobody), &nobody.caveats[..]),
        (vec![], &[Caveat::NoRecords][..])
    );
}
