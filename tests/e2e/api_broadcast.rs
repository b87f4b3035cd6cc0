//! What an application's server says over HTTP, where the stock clients cannot look: bounds, Redis that goes away under it,
//! joins at the same moment. What is said and who hears it: scenarios/broadcast.mjs.

use serde_json::{Value, json};

use crate::support::api::{API_KEY, ask, ask_at};
use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::heard::Heard;
use crate::support::node::Node;
use crate::support::raw::{Raw, room, unique};

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_told() {
    let cluster = Cluster::shared().await;
    let (node, room) = (&cluster.nodes[0], room());
    let ada = Raw::member(&cluster.nodes[1], &unique("ada"), &room).await;
    let sound = json!({"eventType": "x:y", "rooms": [room], "payload": {}});
    let with = |field: &str, value: Value| {
        let mut event = sound.clone();
        event[field] = value;
        event
    };
    let without = |field: &str| {
        let mut event = sound.clone();
        event.as_object_mut().unwrap().remove(field);
        event
    };
    let rooms = |count: usize| json!((0..count).map(|n| format!("r{n}")).collect::<Vec<_>>());
    for (event, field) in [
        (with("eventType", json!("")), "eventType"),
        (with("eventType", json!("a\nb")), "eventType"),
        (with("eventType", json!("x".repeat(129))), "eventType"),
        (with("eventType", json!(7)), "eventType"),
        (without("eventType"), "eventType"),
        (with("rooms", json!([])), "rooms"),
        (with("rooms", json!("lobby")), "rooms"),
        (with("rooms", rooms(101)), "rooms"),
        (with("rooms", json!(["a", ""])), "rooms[1]"),
        (with("rooms", json!(["a\u{7f}"])), "rooms[0]"),
        (with("rooms", json!(["x".repeat(256)])), "rooms[0]"),
        (without("rooms"), "rooms"),
        (without("payload"), "payload"),
        // The stock client would take it for the place that it has come to.
        (with("payload", json!("a text")), "payload"),
        (with("eventId", json!("")), "eventId"),
        (with("eventId", json!("x".repeat(129))), "eventId"),
        (with("eventId", json!({})), "eventId"),
        (json!([]), "body"),
    ] {
        let answer = ask(node, "POST", "/api/broadcast", event).await;
        answer.is_problem(400, "INVALID_PAYLOAD", Some(field));
    }
    let deep = format!(
        r#"{{"eventType": "x:y", "rooms": ["r"], "payload": {}1{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let answer = ask_at(node.port(), "POST", "/api/broadcast", Some(API_KEY), Some(deep)).await;
    answer.is_problem(400, "INVALID_PAYLOAD", Some("payload"));
    let answer = ask_at(node.port(), "POST", "/api/broadcast", Some(API_KEY), Some("{".into())).await;
    answer.is_problem(400, "INVALID_PAYLOAD", Some("body"));
    let large = with("payload", json!({"x": "x".repeat(65_536)}));
    ask(node, "POST", "/api/broadcast", large)
        .await
        .is_problem(413, "TOO_LARGE", Some("payload"));
    let huge = with("payload", json!({"x": "x".repeat(2 << 20)}));
    ask(node, "POST", "/api/broadcast", huge)
        .await
        .is_problem(413, "TOO_LARGE", Some("body"));
    let many = json!({"events": vec![sound.clone(); 101]});
    ask(node, "POST", "/api/broadcast/batch", many)
        .await
        .is_problem(400, "INVALID_PAYLOAD", Some("events"));
    let full = json!({"events": vec![with("rooms", rooms(100)); 11]});
    ask(node, "POST", "/api/broadcast/batch", full)
        .await
        .is_problem(400, "INVALID_PAYLOAD", Some("events"));
    for (key, path) in [(None, "/api/broadcast"), (Some("wrong"), "/api/broadcast/batch")] {
        let answer = ask_at(node.port(), "POST", path, key, Some(sound.to_string())).await;
        answer.is_problem(401, "UNAUTHENTICATED", None);
    }
    ada.marker(&room, &[&ada]).await;
    assert!(ada.all("x:y", |_| true).is_empty());
    let bound = with("rooms", json!([room, "x".repeat(255)]));
    assert_eq!(
        ask(node, "POST", "/api/broadcast", bound).await.done(),
        json!({"recipientCount": 1})
    );
    ada.heard("x:y", |payload| *payload == json!({})).await;
}

/// Says it until it is done.
async fn insist(node: &Node, event: &Value) -> Value {
    loop {
        let answer = ask(node, "POST", "/api/broadcast", event.clone()).await;
        if answer.status == 200 {
            return answer.done();
        }
        answer.is_problem(503, "UNAVAILABLE", None);
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

/// With the same id it is said again until it is done, through a failing Redis and over both nodes: heard once.
#[tokio::test]
async fn a_try_of_unknown_outcome_is_made_again_and_heard_once() {
    let cluster = Cluster::start(2, &[("REALTIME_API_KEYS", API_KEY)]).await;
    let rooms: Vec<String> = (0..8).map(|_| room()).collect();
    let ada = Raw::member(&cluster.nodes[0], "ada", &rooms[0]).await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &rooms[7]).await;
    for room in &rooms {
        for raw in [&ada, &bob] {
            raw.done("room:join", json!({"roomName": room})).await;
        }
    }
    for round in 0..20 {
        let event = json!({"eventType": "x:y", "rooms": rooms, "payload": {"round": round}, "eventId": unique("e")});
        let nodes = [&cluster.nodes[round % 2], &cluster.nodes[(round + 1) % 2]];
        let (answer, ()) = tokio::join!(insist(nodes[0], &event), cluster.redis.cut_commands());
        assert_eq!(answer, json!({"recipientCount": 2}));
        assert_eq!(insist(nodes[1], &event).await, json!({"recipientCount": 2}));
    }
    ada.marker(&rooms[0], &[&ada, &bob]).await;
    for raw in [&ada, &bob] {
        let heard: Vec<Value> = raw.all("x:y", |_| true);
        let rounds: Vec<Value> = (0..20).map(|round| json!({"round": round})).collect();
        assert_eq!(heard, rounds, "{}", raw.user);
    }
}

/// It stands where it was told, between the messages before it and those behind it. A node whose bus is so slow that it reads
/// a message from the history is told it late, and never early.
#[tokio::test]
async fn it_stands_in_the_order_of_the_room() {
    const ROUNDS: usize = 50;
    let cluster = Cluster::start(2, &[("REALTIME_API_KEYS", API_KEY)]).await;
    let room = room();
    let ada = Raw::member(&cluster.nodes[0], "ada", &room).await;
    let bob = Raw::member(&cluster.nodes[1], "bob", &room).await;
    let mut in_time = 0;
    for round in 0..ROUNDS {
        let healed = [healed(&cluster.nodes[0]).await, healed(&cluster.nodes[1]).await];
        let from = [ada.log().len(), bob.log().len()];
        let say = |content: &str| ada.done("message:send", json!({"roomName": room, "content": content}));
        say("before").await;
        let event = json!({"eventType": "x:y", "rooms": [room], "payload": {"round": round}});
        ask(&cluster.nodes[round % 2], "POST", "/api/broadcast", event)
            .await
            .done();
        say("after").await;
        for (number, raw) in [&ada, &bob].into_iter().enumerate() {
            raw.heard("x:y", |payload| payload["round"] == round).await;
            raw.marker(&room, &[raw]).await;
            let heard: Vec<String> = raw.log()[from[number]..].iter().filter_map(word).collect();
            let place = |word: &str| heard.iter().position(|heard| heard == word).expect("it came");
            assert!(place("before") < place("x:y"), "{heard:?}");
            if healed[number] == self::healed(&cluster.nodes[number]).await {
                assert!(place("x:y") < place("after"), "{heard:?}");
                in_time += 1;
            }
        }
    }
    assert!(in_time > 0, "nothing but healing");
}

async fn healed(node: &Node) -> f64 {
    let healed = node.metric("realtime_rooms_healed_total", "").await;
    healed.expect("it is counted")
}

fn word(heard: &Heard) -> Option<String> {
    match heard {
        Heard::Event(name, args) if name == "message:new" => args[0]["content"].as_str().map(str::to_owned),
        Heard::Event(name, _) => Some(name.clone()),
        _ => None,
    }
}

/// Whoever leaves one of the rooms while it is said in all of them hears it all the same, once.
#[tokio::test]
async fn whoever_changes_rooms_meanwhile_hears_it_once() {
    let cluster = Cluster::shared().await;
    let (first, second) = (room(), room());
    let ada = Raw::member(&cluster.nodes[0], &unique("ada"), &first).await;
    ada.done("room:join", json!({"roomName": second})).await;
    for round in 0..100 {
        let one = json!({"roomName": if round % 2 == 0 { &first } else { &second }});
        let leaves = ada.pose("room:leave", std::slice::from_ref(&one));
        let event = json!({"eventType": "x:y", "rooms": [first, second], "payload": {"round": round}});
        let told = ask(&cluster.nodes[1], "POST", "/api/broadcast", event).await.done();
        assert_eq!(
            told,
            json!({"recipientCount": 1}),
            "she is in one of them all the while"
        );
        assert_eq!(ada.answer(leaves).await["success"], true);
        ada.heard("x:y", |payload| payload["round"] == round).await;
        ada.done("room:join", one).await;
    }
    for room in [&first, &second] {
        ada.marker(room, &[&ada]).await;
    }
    assert_eq!(ada.all("x:y", |_| true).len(), 100);
}

/// A join that is refused, or that begins behind it, takes nothing away from whoever hears it in another room. She asks so
/// often that she is joining almost all the while.
#[tokio::test]
async fn whoever_is_joining_one_of_the_rooms_hears_it_in_the_other() {
    const JOINS: usize = 20;
    const OTHERS: usize = 8;
    const ROUNDS: usize = 50;
    let settings = [("REALTIME_API_KEYS", API_KEY), ("REALTIME_LIMITS", "off")];
    let cluster = Cluster::start(1, &settings).await;
    let node = &cluster.nodes[0];
    cluster.create_room("secret", "group", "private");
    let lobby = room();
    let open = room();
    let ada = Raw::member(node, "ada", &lobby).await;
    // On every shard the bus brings what is said in these rooms.
    let mut others = Vec::new();
    for n in 0..OTHERS {
        others.push(Raw::member(node, &format!("bob{n}"), &open).await);
    }
    for round in 0..ROUNDS {
        let name = if round % 2 == 0 { "secret" } else { &open };
        let one = json!({"roomName": name});
        let mut asked = Vec::new();
        for _ in 0..JOINS {
            asked.push(ada.pose("room:join", std::slice::from_ref(&one)));
            if name == open {
                ada.pose("room:leave", std::slice::from_ref(&one));
            }
        }
        let event = json!({"eventType": "x:y", "rooms": [name, lobby], "payload": {"round": round}});
        ask(node, "POST", "/api/broadcast", event).await.done();
        for id in asked {
            assert_eq!(ada.answer(id).await["success"], name == open);
        }
        ada.marker(&lobby, &[&ada]).await;
        let heard = ada.all("x:y", |payload| payload["round"] == round);
        assert_eq!(heard.len(), 1, "round {round}, in {name}");
    }
    let sent = (ROUNDS + OTHERS * ROUNDS / 2) as f64;
    eventually("what was sent is counted by its label", async || {
        let counted = node.metric("realtime_events_sent_total", "event=\"broadcast\"").await;
        counted == Some(sent)
    })
    .await;
}
