//! What the archive answers: events in pages and as they come, who was in a room, when a user was connected.

use std::time::Duration;

use nself_realtime::archive::query::{Event, EventFilter, Place, QueryError};
use nself_realtime::types::{RoomName, UserId};
use serde_json::json;

use crate::trail::{Entry, Trail, at, entry};
use crate::{archive, run};

const PATIENCE: Duration = Duration::from_secs(30);

fn room(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

async fn events(trail: &Trail, filter: &EventFilter) -> Vec<Event> {
    let events = archive(&trail.database).events(filter, None, 1_000, PATIENCE).await;
    events.expect("Postgres answers")
}

fn told(events: &[Event]) -> Vec<(&str, i64)> {
    let second = |event: &Event| (event.at.as_millisecond() - at(0).as_millisecond()) / 1_000;
    events
        .iter()
        .map(|event| (event.kind.as_str(), second(event)))
        .collect()
}

#[tokio::test]
async fn events_are_found_by_what_is_asked_newest_first() {
    let mut trail = Trail::new().await;
    trail
        .tell(&[
            entry("join", at(0), "den", "ann", "c.1"),
            entry("join", at(10), "attic", "bob", "c.2"),
            entry("leave", at(20), "den", "ann", "c.1"),
            entry("join", at(86_400), "den", "bob", "c.2"),
        ])
        .await;
    // A row from before the schema has neither a room's name nor a batch.
    run(
        &trail.client,
        "INSERT INTO realtime_events (event_type, user_id, created_at, ip_address, payload) \
         VALUES ('connect', 'ann', '2026-01-30T11:59:00Z', '192.0.2.1', NULL)",
    )
    .await;
    let all = events(&trail, &EventFilter::default()).await;
    let expected = [
        ("join", 86_400),
        ("leave", 20),
        ("join", 10),
        ("join", 0),
        ("connect", -60),
    ];
    assert_eq!(told(&all), expected);
    let old = &all[4];
    assert_eq!(
        (old.ip.as_deref(), &old.payload, &old.room_name),
        (Some("192.0.2.1"), &None, &None)
    );
    let first = &all[3];
    assert_eq!(first.metadata, Some(json!({"connection": "c.1", "node": "node-a"})));
    assert_eq!(first.socket_id.as_deref(), Some("socket of c.1"));

    let kinds = |kinds: &[&str]| EventFilter {
        kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(),
        ..EventFilter::default()
    };
    let of = |name: &str| EventFilter {
        user: Some(user(name)),
        ..EventFilter::default()
    };
    let within = |name: &str| EventFilter {
        room: Some(room(name)),
        ..EventFilter::default()
    };
    let between = |since, until| EventFilter {
        since: Some(at(since)),
        until: Some(at(until)),
        ..EventFilter::default()
    };
    for (filter, expected) in [
        (kinds(&["leave"]), &[("leave", 20)][..]),
        (kinds(&["leave", "connect"]), &[("leave", 20), ("connect", -60)]),
        (kinds(&["dance"]), &[]),
        (of("bob"), &[("join", 86_400), ("join", 10)]),
        (within("den"), &[("join", 86_400), ("leave", 20), ("join", 0)]),
        (within("' OR TRUE --"), &[]),
        // From the first on, before the second.
        (between(0, 20), &[("join", 10), ("join", 0)]),
        (
            EventFilter {
                kinds: vec!["join".into()],
                user: Some(user("ann")),
                room: Some(room("den")),
                ..between(0, 86_400)
            },
            &[("join", 0)],
        ),
    ] {
        assert_eq!(told(&events(&trail, &filter).await), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn pages_show_everything_once() {
    let mut trail = Trail::new().await;
    // Many at the same time, on both sides of midnight, in several partitions, and some between two milliseconds.
    for partition in [0, 7, 63] {
        for day in [0, 1] {
            let entries: Vec<Entry> = (0..20)
                .map(|index| entry("join", at(day * 86_400 + index / 7), "den", "ann", "c.1"))
                .collect();
            trail.batch(partition, &entries).await;
        }
    }
    run(
        &trail.client,
        "INSERT INTO realtime_events (event_type, created_at) \
         SELECT 'connect', '2026-01-30T12:00:00Z'::timestamptz + n * interval '1 microsecond' FROM generate_series(1, 30) AS n",
    )
    .await;
    let all = events(&trail, &EventFilter::default()).await;
    assert_eq!(all.len(), 150);
    assert!(
        all.windows(2)
            .all(|pair| (pair[0].at, &pair[0].id) > (pair[1].at, &pair[1].id))
    );
    let archive = archive(&trail.database);
    for limit in [1, 7, 149, 150, 1_000] {
        let (mut pages, mut place): (Vec<Event>, Option<Place>) = (Vec::new(), None);
        loop {
            let page = archive
                .events(&EventFilter::default(), place.as_ref(), limit, PATIENCE)
                .await
                .unwrap();
            assert!(page.len() <= usize::from(limit));
            let Some(last) = page.last() else { break };
            // As a client would bring it back.
            place = Place::parse(&last.place().to_string());
            pages.extend(page);
        }
        assert_eq!(pages, all, "{limit}");
    }
    let odd = Place::parse("1.x").unwrap();
    let answer = archive.events(&EventFilter::default(), Some(&odd), 1, PATIENCE).await;
    assert!(matches!(answer, Err(QueryError::BadPlace)), "{answer:?}");
}

#[tokio::test]
async fn whoever_follows_hears_everything_once_in_whichever_order_it_is_committed() {
    let mut trail = Trail::new().await;
    let archive = archive(&trail.database);
    let filter = EventFilter {
        kinds: vec!["join".into()],
        ..EventFilter::default()
    };
    for second in 0..3 {
        trail.batch(7, &[entry("join", at(second), "den", "ann", "c.1")]).await;
    }
    let (begin, mut follower) = archive.follow(&filter, 2, PATIENCE).await.unwrap();
    assert_eq!(told(&begin), [("join", 2), ("join", 1)]);
    assert!(
        archive
            .news(&filter, &mut follower, PATIENCE)
            .await
            .unwrap()
            .events
            .is_empty()
    );

    // Under way: not there yet. What happened later, elsewhere, is there before.
    trail.written(7, &[entry("join", at(10), "den", "ann", "c.1")]).await;
    let mut second = Trail::beside(&trail).await;
    second
        .batch(
            40,
            &[
                entry("join", at(20), "attic", "bob", "c.2"),
                entry("leave", at(21), "attic", "bob", "c.2"),
            ],
        )
        .await;
    let news = archive.news(&filter, &mut follower, PATIENCE).await.unwrap();
    assert_eq!(told(&news.events), [("join", 20)]);
    trail.commit().await;
    // An earlier time, another day, and a partition that was silent so far.
    second
        .batch(3, &[entry("join", at(86_400), "attic", "bob", "c.2")])
        .await;
    second.batch(3, &[entry("join", at(5), "attic", "bob", "c.2")]).await;
    let news = archive.news(&filter, &mut follower, PATIENCE).await.unwrap();
    assert_eq!(told(&news.events), [("join", 5), ("join", 10), ("join", 86_400)]);
    assert!(
        archive
            .news(&filter, &mut follower, PATIENCE)
            .await
            .unwrap()
            .events
            .is_empty()
    );

    // Much at once comes in parts.
    for batch in 0..250 {
        second
            .batch(3, &[entry("join", at(100 + batch), "attic", "bob", "c.2")])
            .await;
    }
    let mut seconds = Vec::new();
    loop {
        let news = archive.news(&filter, &mut follower, PATIENCE).await.unwrap();
        seconds.extend(told(&news.events).into_iter().map(|(_, second)| second));
        if !news.more {
            break;
        }
    }
    assert_eq!(seconds, (100..350).collect::<Vec<_>>());
}

#[tokio::test]
async fn sessions_are_told_by_the_table_and_by_the_events() {
    let mut trail = Trail::new().await;
    let begin = |seconds, connection: &str| entry("connect", at(seconds), "", "ann", connection);
    let end = |seconds, connection: &str| Entry {
        payload: Some(json!({"cause": "asked for"})),
        ip: Some("192.0.2.1".parse().unwrap()),
        ..entry("disconnect", at(seconds), "", "ann", connection)
    };
    let entries = [
        begin(0, "c.1"),
        end(100, "c.1"),
        begin(50, "c.2"),
        begin(60, "c.3"),
        entry("connect", at(10), "", "bob", "c.4"),
    ];
    trail.batch(7, &entries).await;
    // c.1 was pruned, c.2 lasts, c.3 never told its end; an old row has no connection.
    run(
        &trail.client,
        "INSERT INTO realtime_connections \
            (socket_id, user_id, status, transport, ip_address, user_agent, device_info, connected_at, disconnected_at, metadata) \
         VALUES ('socket of c.2', 'ann', 'connected', 'websocket', '192.0.2.2', 'curl', '{\"type\": \"web\"}', \
            '2026-01-30T12:00:50Z', NULL, '{\"connection\": \"c.2\", \"node\": \"node-a\"}'), \
            ('old', 'ann', 'disconnected', 'polling', NULL, NULL, NULL, '2026-01-29T12:00:00Z', '2026-01-29T13:00:00Z', '{}')",
    )
    .await;
    let archive = archive(&trail.database);
    let sessions = archive.sessions(&user("ann"), None, 1_000, PATIENCE).await.unwrap();
    let seen: Vec<_> = sessions
        .iter()
        .map(|session| (session.connection.as_deref(), session.disconnected_at, session.open))
        .collect();
    let old_end = at(-82_800);
    assert_eq!(
        seen,
        [
            (Some("c.3"), None, false),
            (Some("c.2"), None, true),
            (Some("c.1"), Some(at(100)), false),
            (None, Some(old_end), false),
        ]
    );
    let open = serde_json::to_value(&sessions[1]).unwrap();
    assert_eq!(
        open,
        json!({
            "connection": "c.2", "socketId": "socket of c.2", "connectedAt": "2026-01-30T12:00:50.000Z", "disconnectedAt": null,
            "open": true, "cause": null, "node": "node-a", "transport": "websocket", "ip": "192.0.2.2", "userAgent": "curl",
            "device": {"type": "web"},
        })
    );
    assert_eq!(sessions[2].cause.as_deref(), Some("asked for"));
    assert_eq!(sessions[2].ip.as_deref(), Some("192.0.2.1"));
    assert_eq!(sessions[3].socket_id.as_deref(), Some("old"));

    let mut pages = Vec::new();
    let mut place: Option<Place> = None;
    loop {
        let page = archive
            .sessions(&user("ann"), place.as_ref(), 1, PATIENCE)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        place = Place::parse(&last.place().to_string());
        pages.extend(page);
    }
    assert_eq!(pages, sessions);
    assert!(
        archive
            .sessions(&user("nobody"), None, 10, PATIENCE)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn questions_leave_connections_to_the_sink_and_end_in_time() {
    let trail = Trail::new().await;
    // Whoever holds the table lets no question through.
    run(
        &trail.client,
        "BEGIN; LOCK TABLE realtime_events IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    let archive = archive(&trail.database);
    let patience = Duration::from_millis(300);
    let filter = EventFilter::default();
    let questions = (0..6).map(|_| archive.events(&filter, None, 1, patience));
    for answer in futures_util::future::join_all(questions).await {
        assert!(matches!(answer, Err(QueryError::TooSlow)), "{answer:?}");
    }
    let asking = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                  AND application_name = 'nself-realtime'";
    let connections: i64 = trail.client.query_one(asking, &[]).await.unwrap().get(0);
    assert!((1..=2).contains(&connections), "{connections}");
    run(&trail.client, "ROLLBACK").await;
    // A statement that nobody waits for any more does not stand in the way.
    assert!(archive.events(&filter, None, 1, PATIENCE).await.unwrap().is_empty());
}
