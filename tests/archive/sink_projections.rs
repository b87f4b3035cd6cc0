//! The tables that show how things are now say what the records came to, whether they came in one transaction or in many.

use nself_realtime::domain::sink::Pump;
use serde_json::{Value, json};

use crate::sink_stage::World;
use crate::{rows, run, value};

/// Records, in their order, and what a table holds behind each or behind all of them.
struct Story {
    world: World,
    pump: Pump,
}

impl Story {
    async fn new() -> Self {
        let world = World::new().await;
        let pump = world.pump();
        Self { world, pump }
    }

    /// Writes the records, one by one or all in one transaction, which must come to the same.
    async fn told(&mut self, at_once: bool, records: &[(&str, Value)]) {
        for (kind, what) in records {
            self.world.add(1, kind, what.clone()).await;
            if !at_once {
                self.world.drain(&mut self.pump).await;
            }
        }
        self.world.drain(&mut self.pump).await;
    }

    async fn rows(&self, query: &str) -> Vec<Value> {
        rows(&self.world.client, query).await
    }

    async fn members(&self, room: &str) -> Vec<Value> {
        let question = format!(
            "SELECT user_id AS u, role, is_joined AS j, is_muted AS m, is_banned AS b, policy AS p \
             FROM realtime_room_members AS x JOIN realtime_rooms AS r ON r.id = x.room_id WHERE r.name = '{room}' ORDER BY 1"
        );
        self.rows(&question).await
    }
}

fn created(room: &str) -> (&'static str, Value) {
    let what = json!({
        "room": room, "id": "6e735b9e-8b4e-4c8e-9a27-0000000000aa", "type": "group", "visibility": "secret", "max": 7,
    });
    ("room_created", what)
}

fn join(room: &str, user: &str) -> (&'static str, Value) {
    let what = json!({"room": room, "user": user, "conn": format!("{user}.1"), "node": "n", "first": true});
    ("join", what)
}

fn leave(room: &str, user: &str, reason: &str) -> (&'static str, Value) {
    let what = json!({"room": room, "user": user, "conn": format!("{user}.1"), "reason": reason, "last": true});
    ("leave", what)
}

fn act(kind: &'static str, user: &str, policy: Value) -> (&'static str, Value) {
    let mut what = json!({"room": "den", "user": user, "by": "ann"});
    if !policy.is_null() {
        what["policy"] = policy;
    }
    (kind, what)
}

fn member(user: &str, is_joined: bool) -> Value {
    json!({"u": user, "role": "member", "j": is_joined, "m": false, "b": false, "p": null})
}

#[tokio::test]
async fn a_member_stands_from_the_join_to_the_leave_and_while_there_is_a_policy() {
    for at_once in [false, true] {
        let mut story = Story::new().await;
        let records = [
            created("den"),
            join("den", "left"),
            join("den", "lost"),
            join("den", "kicked"),
            join("den", "banned"),
            join("den", "muted"),
            join("den", "anon:1"),
            leave("den", "left", "left"),
            leave("den", "lost", "disconnected"),
            leave("den", "anon:1", "disconnected"),
            leave("den", "kicked", "kicked"),
            act("kick", "kicked", Value::Null),
            (
                "leave",
                json!({"room": "den", "user": "banned", "reason": "banned", "last": true, "policy": {"ban": 0}}),
            ),
            act("ban", "banned", json!({"ban": 0})),
            act(
                "mute",
                "muted",
                json!({"mute": 4_000_000_000_000_i64, "role": "moderator"}),
            ),
            act("role", "stranger", json!({"role": "guest"})),
            act("ban", "pardoned", json!({"ban": 4_000_000_000_000_i64})),
            act("unban", "pardoned", Value::Null),
        ];
        story.told(at_once, &records).await;
        assert_eq!(
            story.members("den").await,
            [
                json!({"u": "banned", "role": "member", "j": false, "m": false, "b": true, "p": {"ban": 0}}),
                member("lost", true),
                json!({"u": "muted", "role": "moderator", "j": true, "m": true, "b": false,
                    "p": {"mute": 4_000_000_000_000_i64, "role": "moderator"}}),
                json!({"u": "stranger", "role": "guest", "j": false, "m": false, "b": false, "p": {"role": "guest"}}),
            ],
            "at once: {at_once}"
        );
        let ends = story
            .rows("SELECT user_id, muted_until, banned_until FROM realtime_room_members WHERE is_muted OR is_banned ORDER BY 1")
            .await;
        assert_eq!(ends[0]["banned_until"], Value::Null, "for ever");
        assert_eq!(ends[1]["muted_until"], "2096-10-02T07:06:40+00:00");

        // What is taken back leaves nothing behind, where nobody has joined.
        let records = [
            leave("den", "muted", "left"),
            act("unmute", "muted", json!({"role": "moderator"})),
            act("unban", "banned", Value::Null),
            leave("den", "lost", "left"),
        ];
        story.told(at_once, &records).await;
        let left: Vec<Value> = story.members("den").await.iter().map(|row| row["u"].clone()).collect();
        assert_eq!(left, ["muted", "stranger"], "at once: {at_once}");
    }
}

#[tokio::test]
async fn a_join_that_does_not_know_of_a_ban_does_not_lift_it() {
    let mut story = Story::new().await;
    let records = [
        act("ban", "mallory", json!({"ban": 0})),
        join("den", "mallory"),
        leave("den", "mallory", "left"),
    ];
    story.told(false, &records).await;
    assert_eq!(
        story.members("den").await,
        [json!({"u": "mallory", "role": "member", "j": false, "m": false, "b": true, "p": {"ban": 0}})]
    );
}

#[tokio::test]
async fn a_second_connection_is_no_second_member_and_not_the_last_to_leave() {
    let mut story = Story::new().await;
    let mut second = join("den", "ann");
    second.1["first"] = false.into();
    let mut one_leaves = leave("den", "ann", "left");
    one_leaves.1["last"] = false.into();
    story.told(false, &[join("den", "ann"), second, one_leaves]).await;
    assert_eq!(story.members("den").await, [member("ann", true)]);
}

#[tokio::test]
async fn a_room_has_one_row_through_all_of_its_lives() {
    for at_once in [false, true] {
        let mut story = Story::new().await;
        let mut again = created("den");
        again.1["id"] = "6e735b9e-8b4e-4c8e-9a27-0000000000bb".into();
        again.1["visibility"] = "public".into();
        again.1["max"] = 0.into();
        let records = [
            created("den"),
            join("den", "ann"),
            act("role", "ann", json!({"role": "admin"})),
            ("room_closed", json!({"room": "den"})),
            again,
            join("den", "bob"),
        ];
        story.told(at_once, &records).await;
        let question = "SELECT id, type, visibility, max_members, is_active, auto_created, expires_at, metadata FROM realtime_rooms";
        let expected = json!({
            "id": if at_once { "6e735b9e-8b4e-4c8e-9a27-0000000000bb" } else { "6e735b9e-8b4e-4c8e-9a27-0000000000aa" },
            "type": "group", "visibility": "public", "max_members": null, "is_active": true, "auto_created": false,
            "expires_at": null, "metadata": {},
        });
        assert_eq!(story.rows(question).await, [expected], "at once: {at_once}");
        assert_eq!(story.members("den").await, [member("bob", true)], "at once: {at_once}");
        story.told(at_once, &[("room_closed", json!({"room": "den"}))]).await;
        assert_eq!(
            value(&story.world.client, "SELECT is_active FROM realtime_rooms").await,
            false
        );
        assert!(story.members("den").await.is_empty());
        story.told(at_once, &[leave("den", "bob", "disconnected")]).await;
        assert_eq!(
            value(&story.world.client, "SELECT is_active FROM realtime_rooms").await,
            false
        );
    }
}

#[tokio::test]
async fn a_room_made_by_joining_runs_out_while_it_is_empty() {
    let mut story = Story::new().await;
    let mut made = created("den");
    made.1["auto"] = true.into();
    made.1["by"] = "ann".into();
    made.1["owner"] = true.into();
    made.1["policy"] = json!({"role": "admin"});
    let mut empty = leave("den", "ann", "disconnected");
    empty.1["ends"] = 4_000_000_000_000_i64.into();
    let room = "SELECT auto_created, expires_at, metadata ->> 'owner' AS owner FROM realtime_rooms";
    story
        .told(true, &[made.clone(), join("den", "ann"), empty.clone()])
        .await;
    assert_eq!(
        story.rows(room).await,
        [json!({"auto_created": true, "expires_at": "2096-10-02T07:06:40+00:00", "owner": "ann"})]
    );
    assert_eq!(story.members("den").await[0]["role"], "admin");
    story.told(false, &[join("den", "bob")]).await;
    assert_eq!(story.rows(room).await[0]["expires_at"], Value::Null);
    // It ran out unseen, and somebody else makes it anew: whoever had only joined is not in it.
    let mut anew = made.clone();
    anew.1["by"] = "carol".into();
    story.told(false, &[empty.clone(), anew, join("den", "carol")]).await;
    let members: Vec<Value> = story
        .members("den")
        .await
        .iter()
        .map(|row| json!([row["u"], row["j"]]))
        .collect();
    assert_eq!(members, [json!(["ann", false]), json!(["carol", true])]);
    assert_eq!(story.rows(room).await[0]["owner"], "carol");
    // An operator keeps it.
    story.told(false, &[empty, ("room_kept", json!({"room": "den"}))]).await;
    let kept = &story.rows(room).await[0];
    assert_eq!(
        (&kept["auto_created"], &kept["expires_at"]),
        (&false.into(), &Value::Null)
    );
    // One that Redis had lost is what the nodes knew it to be, with its members.
    let mut known = made;
    known.1["anew"] = true.into();
    story.told(false, &[known]).await;
    assert_eq!(
        value(
            &story.world.client,
            "SELECT count(*) FROM realtime_room_members WHERE is_joined"
        )
        .await,
        1
    );
}

#[tokio::test]
async fn a_room_that_is_changed_is_shown_so_and_keeps_its_owner() {
    let mut story = Story::new().await;
    let mut made = created("den");
    made.1["by"] = "ann".into();
    made.1["owner"] = true.into();
    let changed = |kind: &str, most: i64| {
        let what = json!({"room": "den", "type": kind, "visibility": "secret", "max": most});
        ("room_changed", what)
    };
    let room = "SELECT type, visibility, max_members, is_active, metadata ->> 'owner' AS owner FROM realtime_rooms";
    let shown = |kind: &str, most: Value| json!({"type": kind, "visibility": "secret", "max_members": most, "is_active": true, "owner": "ann"});
    // In one go with its making, in another one, and again.
    story.told(true, &[made, changed("group", 7)]).await;
    assert_eq!(story.rows(room).await, [shown("group", 7.into())]);
    for _ in 0..2 {
        story.told(false, &[join("den", "bob"), changed("dm", 0)]).await;
        assert_eq!(story.rows(room).await, [shown("dm", Value::Null)]);
    }
    story
        .told(false, &[changed("group", 1), ("room_closed", json!({"room": "den"}))])
        .await;
    assert_eq!(story.rows(room).await[0]["is_active"], false);
}

#[tokio::test]
async fn a_room_that_was_never_told_of_is_taken_for_private_until_it_is() {
    let mut story = Story::new().await;
    story.told(false, &[join("den", "ann")]).await;
    let room = "SELECT visibility, is_active, metadata FROM realtime_rooms";
    assert_eq!(
        story.rows(room).await,
        [json!({"visibility": "private", "is_active": true, "metadata": {"assumed": true}})]
    );
    let mut told = created("den");
    told.1["anew"] = true.into();
    story.told(false, &[told]).await;
    assert_eq!(
        story.rows(room).await,
        [json!({"visibility": "secret", "is_active": true, "metadata": {}})]
    );
    assert_eq!(story.members("den").await, [member("ann", true)]);
}

fn connect(socket: &str, conn: &str, at: i64) -> (&'static str, Value) {
    let what = json!({
        "at": at, "user": "ann", "conn": conn, "socket": socket, "node": "n", "transport": "polling", "ip": "192.0.2.1",
        "agent": "A", "device": "{\"os\":\"x\"}", "session": "p",
        "presence": {"status": "online", "version": format!("{at}")}, "conns": 1,
    });
    ("connect", what)
}

fn ended(conn: &str, at: i64, cause: &str) -> (&'static str, Value) {
    (
        "disconnect",
        json!({"at": at, "user": "ann", "conn": conn, "cause": cause, "conns": 0}),
    )
}

#[tokio::test]
async fn a_socket_has_one_row_of_its_present_life() {
    for at_once in [false, true] {
        let mut story = Story::new().await;
        let state = "SELECT socket_id AS s, status, transport AS t, host(ip_address) AS ip, user_agent AS a, device_info AS d, \
             session_id AS p, (extract(epoch FROM connected_at) * 1000)::int8 AS since, \
             (extract(epoch FROM disconnected_at) * 1000)::int8 AS until, metadata AS m FROM realtime_connections ORDER BY 1";
        let row = |socket: &str, conn: &str, status: &str, since: i64, until: Value, cause: Value| {
            let mut metadata = json!({"connection": conn, "node": "n"});
            if !cause.is_null() {
                metadata["cause"] = cause;
            }
            json!({"s": socket, "status": status, "t": "polling", "ip": "192.0.2.1", "a": "A", "d": {"os": "x"}, "p": "p",
                "since": since, "until": until, "m": metadata})
        };
        let records = [
            connect("a", "a.1", 1_000),
            connect("b", "b.1", 1_000),
            connect("c", "c.1", 1_000),
            (
                "lost",
                json!({"at": 2_000, "user": "ann", "conn": "a.1", "cause": "transport_error"}),
            ),
            ended("b.1", 3_000, "grace ran out"),
            // Registered anew under another name, before the end of the former life is told.
            connect("c", "c.2", 4_000),
            ended("c.1", 5_000, "lease ran out"),
        ];
        story.told(at_once, &records).await;
        assert_eq!(
            story.rows(state).await,
            [
                row("a", "a.1", "reconnecting", 1_000, Value::Null, Value::Null),
                row("b", "b.1", "disconnected", 1_000, 3_000.into(), "grace ran out".into()),
                row(
                    "c",
                    "c.2",
                    "connected",
                    if at_once { 4_000 } else { 1_000 },
                    Value::Null,
                    Value::Null
                ),
            ],
            "at once: {at_once}"
        );
        let mut regained = connect("a", "a.1", 6_000);
        regained.0 = "regained";
        story.told(at_once, &[regained, ended("b.1", 7_000, "again")]).await;
        let rows = story.rows(state).await;
        assert_eq!(rows[0], row("a", "a.1", "connected", 1_000, Value::Null, Value::Null));
        assert_eq!(rows[1]["until"], 3_000, "an end is an end");
    }
}

fn shown(kind: &'static str, at: i64, cause: &str, presence: Value, conns: i64) -> (&'static str, Value) {
    (
        kind,
        json!({"at": at, "user": "ann", "cause": cause, "presence": presence, "conns": conns}),
    )
}

#[tokio::test]
async fn presence_is_the_newest_and_says_what_was_chosen() {
    for at_once in [false, true] {
        let mut story = Story::new().await;
        let state = "SELECT user_id AS u, status AS s, chosen AS c, custom_status AS t, custom_emoji AS e, expires_at AS until, \
             version AS v, connections_count AS n, (extract(epoch FROM last_active) * 1000)::int8 AS active, \
             (extract(epoch FROM last_heartbeat) * 1000)::int8 AS heard FROM realtime_presence";
        let records = [
            shown("connect", 1_000, "", json!({"status": "online", "version": "10"}), 1),
            shown(
                "status",
                2_000,
                "chosen",
                json!({"status": "busy", "chosen": "busy", "text": "in a call", "emoji": "📞", "until": 4_000_000_000_000_i64,
                    "version": "20"}),
                1,
            ),
            // What was overtaken.
            shown(
                "status",
                3_000,
                "chosen",
                json!({"status": "online", "version": "15"}),
                3,
            ),
        ];
        story.told(at_once, &records).await;
        let mut expected = json!({
            "u": "ann", "s": "busy", "c": "busy", "t": "in a call", "e": "📞", "until": "2096-10-02T07:06:40+00:00", "v": 20,
            "n": 1, "active": 2_000, "heard": 2_000,
        });
        assert_eq!(story.rows(state).await, [expected.clone()], "at once: {at_once}");
        let away = json!({"status": "away", "version": "30"});
        story
            .told(at_once, &[shown("status", 4_000, "inactivity", away, 1)])
            .await;
        let offline = json!({"status": "offline", "chosen": "busy", "seen": 5_000, "version": "40"});
        story
            .told(at_once, &[shown("disconnect", 5_000, "left", offline, 0)])
            .await;
        let chosen = json!({"status": "offline", "chosen": "away", "version": "40"});
        story.told(at_once, &[shown("presence", 6_000, "", chosen, 0)]).await;
        for (field, value) in [
            ("s", json!("offline")),
            ("c", json!("away")),
            ("v", json!(40)),
            ("n", json!(0)),
        ] {
            expected[field] = value;
        }
        for field in ["t", "e", "until"] {
            expected[field] = Value::Null;
        }
        (expected["active"], expected["heard"]) = (5_000.into(), 6_000.into());
        assert_eq!(story.rows(state).await, [expected], "at once: {at_once}");
        let anonymous = json!({"user": "anon:1", "presence": {"status": "online"}, "conn": "x.1", "socket": "x"});
        story.told(at_once, &[("connect", anonymous)]).await;
        assert_eq!(
            value(&story.world.client, "SELECT count(*) FROM realtime_presence").await,
            1
        );
    }
}

#[tokio::test]
async fn rows_of_the_existing_plugin_keep_what_no_policy_says() {
    let mut story = Story::new().await;
    run(
        &story.world.client,
        "INSERT INTO realtime_rooms (name) VALUES ('den'); \
         INSERT INTO realtime_room_members (room_id, user_id, role, is_banned, is_joined) \
         SELECT id, u, r, b, TRUE FROM realtime_rooms, (VALUES ('admin', 'admin', FALSE), ('plain', 'member', FALSE), \
             ('banned', 'member', TRUE)) AS m (u, r, b)",
    )
    .await;
    let leaves = [
        leave("den", "admin", "left"),
        leave("den", "plain", "left"),
        leave("den", "banned", "left"),
    ];
    story.told(true, &leaves).await;
    let left: Vec<Value> = story
        .members("den")
        .await
        .iter()
        .map(|row| json!([row["u"], row["role"], row["b"]]))
        .collect();
    assert_eq!(
        left,
        [json!(["admin", "admin", false]), json!(["banned", "member", true])]
    );
    story.told(true, &[act("unban", "banned", Value::Null)]).await;
    assert_eq!(story.members("den").await.len(), 1);
}
