//! Rooms, and who may do what in them, as the administration governs them over HTTP: what it is told, and what those in the
//! rooms hear of it on another node.

use serde_json::{Value, json};

use crate::support::api::{API_KEY, ask, ask_at};
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::node::Node;
use crate::support::raw::{Raw, room, unique};

async fn done(node: &Node, method: &str, path: &str, body: Value) -> Value {
    but_for_postgres(ask(node, method, path, body).await.done())
}

/// What is answered where Postgres is not away for the whole run; where it is, no change is durable.
fn but_for_postgres(mut answer: Value) -> Value {
    if std::env::var_os("REALTIME_TEST_POSTGRES").is_some()
        && let Some(durable) = answer.as_object_mut().and_then(|answer| answer.remove("durable"))
    {
        assert_eq!(durable, false);
    }
    answer
}

#[tokio::test]
async fn a_room_is_made_shown_changed_and_closed() {
    let cluster = Cluster::shared().await;
    let [one, other] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    let name = unique("den of/lions?");
    let path = format!(
        "/api/rooms/{}",
        name.replace(' ', "%20").replace('/', "%2F").replace('?', "%3F")
    );
    ask(one, "GET", &path, Value::Null)
        .await
        .is_problem(404, "ROOM_NOT_FOUND", None);
    let plan = json!({"name": name, "type": "group", "visibility": "private", "maxMembers": 2, "owner": "ada"});
    let made = ask(one, "POST", "/api/rooms", plan.clone()).await;
    assert_eq!(made.status, 201);
    let made = but_for_postgres(made.done());
    let shown = json!({
        "name": name, "type": "group", "visibility": "private", "maxMembers": 2, "createdAt": made["createdAt"],
        "memberCount": 0,
    });
    assert_eq!(made, shown);
    assert_eq!(done(other, "GET", &path, Value::Null).await, shown);
    let again = ask(other, "POST", "/api/rooms", json!({"name": name})).await;
    assert_eq!((again.status, but_for_postgres(again.done())), (200, shown));

    let bob = Raw::enter(other, &unique("bob")).await;
    let place = json!({"roomName": name});
    bob.refused("FORBIDDEN", "room:join", place.clone()).await;
    let changed = done(one, "PATCH", &path, json!({"visibility": "public", "maxMembers": 1})).await;
    assert_eq!(
        (&changed["type"], &changed["visibility"], &changed["maxMembers"]),
        (&json!("group"), &json!("public"), &json!(1))
    );
    bob.done("room:join", place.clone()).await;
    let eve = Raw::enter(one, &unique("eve")).await;
    eve.refused("ROOM_FULL", "room:join", place.clone()).await;
    let changed = done(other, "PATCH", &path, json!({"maxMembers": null, "type": "broadcast"})).await;
    assert_eq!(
        (&changed["maxMembers"], &changed["memberCount"]),
        (&Value::Null, &json!(1))
    );
    eve.done("room:join", place.clone()).await;
    eve.refused("FORBIDDEN", "message:send", json!({"roomName": name, "content": "x"}))
        .await;
    assert_eq!(done(one, "PATCH", &path, json!({})).await["type"], "broadcast");

    let closed = done(one, "DELETE", &path, Value::Null).await;
    assert_eq!(
        closed,
        json!({"nodes": [{"node": "node-0", "sockets": 1}, {"node": "node-1", "sockets": 1}]})
    );
    for raw in [&bob, &eve] {
        raw.heard("user:left", |left| left["userId"] == raw.user.as_str()).await;
    }
    for (method, body) in [("GET", Value::Null), ("PATCH", json!({})), ("DELETE", Value::Null)] {
        ask(other, method, &path, body)
            .await
            .is_problem(404, "ROOM_NOT_FOUND", None);
    }
}

#[tokio::test]
async fn a_room_that_was_made_by_joining_lasts_once_it_is_changed() {
    let cluster = Cluster::shared().await;
    let (room, node) = (room(), &cluster.nodes[0]);
    let path = format!("/api/rooms/{room}");
    let ada = Raw::member(node, &unique("ada"), &room).await;
    done(node, "PATCH", &path, json!({"type": "dm"})).await;
    ada.disconnect().await;
    eventually("she has left", async || {
        done(node, "GET", &path, Value::Null).await["memberCount"] == 0
    })
    .await;
    let mut key = redis::cmd("KEYS");
    key.arg(format!("rt:*room:{room}"));
    let keys: Vec<String> = cluster.redis.ask(&key).await;
    let mut ttl = redis::cmd("TTL");
    ttl.arg(&keys[0]);
    assert_eq!(cluster.redis.ask::<i64>(&ttl).await, -1, "{keys:?}");
}

#[tokio::test]
async fn rooms_and_members_come_in_pages() {
    let cluster = Cluster::start(2, &[("REALTIME_API_KEYS", API_KEY)]).await;
    let node = &cluster.nodes[0];
    let names: Vec<String> = (0..25).map(|n| format!("room-{n:02}")).collect();
    for name in &names {
        done(node, "POST", "/api/rooms", json!({"name": name})).await;
    }
    let mut users = Vec::new();
    for n in 0..7 {
        users.push(Raw::member(&cluster.nodes[n % 2], &format!("user {n}"), &names[3]).await);
    }
    for (path, list, id, wanted) in [
        ("/api/rooms?limit=10", "rooms", "name", names.clone()),
        (
            "/api/rooms/room-03/members?limit=3",
            "members",
            "userId",
            users.iter().map(|raw| raw.user.clone()).collect(),
        ),
    ] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = done(node, "GET", &format!("{path}{cursor}"), Value::Null).await;
            let items = page[list].as_array().unwrap();
            found.extend(items.iter().map(|item| item[id].as_str().unwrap().to_owned()));
            let Some(next) = page["cursor"].as_str() else { break };
            assert_eq!(items.len(), if list == "rooms" { 10 } else { 3 });
            cursor = format!("&cursor={}", next.replace(' ', "%20"));
        }
        assert_eq!(found, wanted);
    }
    let members = done(node, "GET", "/api/rooms/room-03/members", Value::Null).await;
    assert_eq!(members["members"][0]["status"], "online");
    for path in [
        "/api/rooms/nowhere/members",
        "/api/rooms/nowhere/roles",
        "/api/rooms/nowhere/bans",
    ] {
        ask(node, "GET", path, Value::Null)
            .await
            .is_problem(404, "ROOM_NOT_FOUND", None);
    }
}

#[tokio::test]
async fn members_are_invited_appointed_muted_banned_and_kicked() {
    let cluster = Cluster::shared().await;
    let [one, other] = &cluster.nodes[..] else {
        panic!("two nodes")
    };
    let name = unique("club");
    done(one, "POST", "/api/rooms", json!({"name": name, "visibility": "secret"})).await;
    let bob = Raw::enter(other, &unique("bob")).await;
    let (user, place) = (bob.user.clone(), json!({"roomName": name}));
    let on = |what: &str| format!("/api/rooms/{name}/{what}/{user}");
    let here = json!({"nodes": [{"node": "node-1", "sockets": 1}]});

    bob.refused("ROOM_NOT_FOUND", "room:join", place.clone()).await;
    let invited = done(one, "PUT", &on("members"), json!({"reason": "a friend"})).await;
    assert_eq!(invited, json!({"userId": user, "role": "member"}));
    bob.done("room:join", place.clone()).await;
    let role = format!("{}/role", on("members"));
    assert_eq!(
        done(one, "PUT", &role, json!({"role": "moderator"})).await,
        json!({"userId": user, "role": "moderator"})
    );
    let roles = done(other, "GET", &format!("/api/rooms/{name}/roles"), Value::Null).await;
    assert_eq!(
        roles,
        json!({"roles": [{"userId": user, "role": "moderator"}], "complete": true})
    );

    let say = json!({"roomName": name, "content": "x"});
    assert_eq!(done(one, "PUT", &on("mutes"), Value::Null).await, here);
    bob.refused("MUTED", "message:send", say.clone()).await;
    let mutes = done(one, "GET", &format!("/api/rooms/{name}/mutes"), Value::Null).await;
    assert_eq!(mutes["mutes"], json!([{"userId": user, "until": null}]));
    assert_eq!(done(one, "DELETE", &on("mutes"), Value::Null).await, here);
    bob.done("message:send", say.clone()).await;

    assert_eq!(
        done(
            one,
            "DELETE",
            &format!("{}?reason=out%20of%20order", on("members")),
            Value::Null
        )
        .await,
        here
    );
    bob.heard("user:left", |left| left["reason"] == "kicked").await;
    bob.done("room:join", place.clone()).await;
    let until = "2999-12-31T23:59:59.000Z";
    assert_eq!(done(other, "PUT", &on("bans"), json!({"until": until})).await, here);
    bob.heard("user:left", |left| left["reason"] == "banned").await;
    bob.refused("BANNED", "room:join", place.clone()).await;
    let bans = done(one, "GET", &format!("/api/rooms/{name}/bans"), Value::Null).await;
    assert_eq!(
        bans,
        json!({"bans": [{"userId": user, "until": until}], "complete": true})
    );
    for _ in 0..2 {
        let lifted = done(other, "DELETE", &on("bans"), Value::Null).await;
        assert_eq!(lifted, json!({"nodes": []}), "also when it was lifted already");
    }
    bob.done("room:join", place).await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let cluster = Cluster::shared().await;
    let node = &cluster.nodes[0];
    let (long, name) = ("x".repeat(256), unique("hall"));
    done(node, "POST", "/api/rooms", json!({"name": name})).await;
    let at = |rest: &str| format!("/api/rooms/{name}{rest}");
    for (method, path, body, field) in [
        ("POST", "/api/rooms".to_owned(), json!({}), "name"),
        ("POST", "/api/rooms".into(), json!({"name": long}), "name"),
        (
            "POST",
            "/api/rooms".into(),
            json!({"name": "x", "type": "chanel"}),
            "type",
        ),
        (
            "POST",
            "/api/rooms".into(),
            json!({"name": "x", "maxMembers": 0}),
            "maxMembers",
        ),
        (
            "POST",
            "/api/rooms".into(),
            json!({"name": "x", "maxMembers": "9"}),
            "maxMembers",
        ),
        ("POST", "/api/rooms".into(), json!({"name": "x", "owner": ""}), "owner"),
        (
            "POST",
            "/api/rooms".into(),
            json!({"name": "x", "visible": "public"}),
            "visible",
        ),
        ("PATCH", at(""), json!({"visibility": "hidden"}), "visibility"),
        ("PATCH", at(""), json!({"maxMembers": 0}), "maxMembers"),
        ("PATCH", format!("/api/rooms/{long}"), json!({}), "name"),
        ("GET", "/api/rooms?limit=1001".into(), Value::Null, "limit"),
        ("GET", "/api/rooms?cursor=%00".into(), Value::Null, "cursor"),
        ("GET", at("?deep=1"), Value::Null, "deep"),
        ("GET", at("/members?cursor=%07"), Value::Null, "cursor"),
        ("PUT", at(&format!("/members/{long}")), Value::Null, "user"),
        ("PUT", at("/members/ann/role"), json!({"role": "king"}), "role"),
        ("PUT", at("/members/ann/role"), json!({}), "role"),
        ("PUT", at("/bans/ann"), json!({"until": "tomorrow"}), "until"),
        (
            "PUT",
            at("/bans/ann"),
            json!({"until": "2001-01-01T00:00:00Z"}),
            "until",
        ),
        ("PUT", at("/mutes/ann"), json!({"reason": "x".repeat(501)}), "reason"),
        (
            "DELETE",
            at(&format!("/mutes/ann?reason={}", "x".repeat(501))),
            Value::Null,
            "reason",
        ),
    ] {
        let answer = ask(node, method, &path, body).await;
        answer.is_problem(400, "INVALID_PAYLOAD", Some(field));
    }
    ask(node, "GET", "/api/room", Value::Null)
        .await
        .is_problem(404, "UNKNOWN_EVENT", None);
    let answer = ask(node, "POST", &at(""), json!({})).await;
    answer.is_problem(405, "UNKNOWN_EVENT", None);
    let client = reqwest::Client::new();
    let request = client
        .post(format!("{}/api/rooms", node.url()))
        .header("x-api-key", API_KEY);
    let plain = request
        .header("content-type", "text/plain")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(plain.status(), 415);
    for (method, path) in [
        ("GET", "/api/rooms"),
        ("DELETE", "/api/rooms/hall"),
        ("GET", "/api/openapi.json"),
    ] {
        let answer = ask_at(node.port(), method, path, None, None).await;
        answer.is_problem(401, "UNAUTHENTICATED", None);
    }
}
