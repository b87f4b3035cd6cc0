//! What a busy service tells its outboxes: people come, join rooms, leave them and go, now and then somebody is muted, and now
//! and then somebody is refused.

use std::time::{SystemTime, UNIX_EPOCH};

use nself_realtime::hot::keys::Partition;
use nself_realtime::types::{RoomName, UserId};
use serde_json::{Value, json};

const USERS: usize = 20_000;
const ROOMS: usize = 500;
const AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("in range")
}

/// Entries without an end: of which partition, what, and its record.
pub fn entries() -> impl Iterator<Item = (Partition, &'static str, Value)> {
    let rooms = (0..ROOMS).map(|room| {
        let what = json!({
            "room": name(room), "type": "channel", "visibility": "public", "max": 0, "id": uuid(room),
        });
        (of_room(room), "room_created", what)
    });
    rooms.chain((0..).flat_map(visit))
}

/// One visit of one user: 14 entries.
fn visit(number: usize) -> Vec<(Partition, &'static str, Value)> {
    let user = number * 7919 % USERS;
    let (id, conn) = (format!("user-{user}"), format!("p{number:012x}.{:x}", number * 31));
    let presence =
        |status: &str| json!({ "status": status, "version": format!("{}", now_ms() * 1_000 + number as u64) });
    let mut entries = vec![(
        of_user(&id),
        "connect",
        json!({
            "user": id, "conn": conn, "socket": format!("s{number:018x}"), "node": "node-1", "transport": "websocket",
            "ip": format!("10.{}.{}.{}", user % 200, number % 250, number % 199), "agent": AGENT,
            "device": "{\"type\":\"web\",\"os\":\"linux\"}", "session": format!("p{number:012x}"),
            "presence": presence("online"), "conns": 1,
        }),
    )];
    let visited: Vec<usize> = (0..4).map(|step| (user + step * 131 + number) % ROOMS).collect();
    for room in &visited {
        let what = json!({ "room": name(*room), "user": id, "conn": conn, "node": "node-1", "first": true });
        entries.push((of_room(*room), "join", what));
    }
    entries.push((
        of_user(&id),
        "status",
        json!({ "user": id, "conn": conn, "cause": "chosen", "presence": presence("busy"), "conns": 1 }),
    ));
    entries.push(match number % 4 {
        0 => (
            of_room(visited[0]),
            "mute",
            json!({ "room": name(visited[0]), "user": id, "by": "user-1", "policy": { "mute": now_ms() + 60_000 } }),
        ),
        1 => (
            of_room(visited[0]),
            "role",
            json!({ "room": name(visited[0]), "user": id, "policy": { "role": "moderator" } }),
        ),
        2 => (
            of_user(&id),
            "rate_limited",
            json!({ "user": id, "class": "messages", "node": "node-1", "count": 17 }),
        ),
        _ => (
            of_user(&id),
            "auth_failure",
            json!({ "ip": "192.0.2.7", "code": "INVALID_TOKEN", "agent": AGENT, "node": "node-1", "count": 1 }),
        ),
    });
    for room in &visited {
        let what = json!({
            "room": name(*room), "user": id, "conn": conn, "node": "node-1", "reason": "left", "last": true,
        });
        entries.push((of_room(*room), "leave", what));
    }
    entries.push((
        of_user(&id),
        "disconnect",
        json!({
            "user": id, "conn": conn, "socket": format!("s{number:018x}"), "node": "node-1", "ip": "10.1.2.3",
            "cause": "client_disconnect", "presence": presence("offline"), "conns": 0,
        }),
    ));
    for (_, _, what) in &mut entries {
        what["at"] = now_ms().into();
    }
    entries
}

fn name(room: usize) -> String {
    format!("channel:{room}")
}

fn uuid(room: usize) -> String {
    format!("00000000-0000-4000-8000-{room:012x}")
}

fn of_room(room: usize) -> Partition {
    Partition::of_room(&RoomName::parse(&name(room)).expect("a valid name"))
}

fn of_user(user: &str) -> Partition {
    Partition::of_user(&UserId::parse(user).expect("a valid id"))
}
