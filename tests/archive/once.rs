//! Nodes are killed, Postgres stops, crashes and comes back, all the while clients come, go and act: afterwards Postgres has
//! exactly what they caused, each once, and its tables say what Redis says. `PROVE_ARCHIVE=120` does so for as many seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nself_realtime::hot::keys::{Keys, Partition};
use nself_realtime::types::RoomName;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::support::node::Node;
use crate::support::postgres::{Database, Postgres};
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::{migrate, rows, value};

const USERS: usize = 12;
const ROOMS: usize = 5;
const NODES: usize = 3;
/// How long it goes on in `make test`.
const SHORT: Duration = Duration::from_secs(15);
/// How long Postgres may take to hear of everything, at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// (event type, user, room) → how often.
type Caused = BTreeMap<(String, String, Option<String>), u64>;

/// Somebody who is connected.
struct Visit {
    raw: Raw,
    node: usize,
    rooms: BTreeSet<usize>,
}

struct World {
    redis: Redis,
    nodes: Vec<Node>,
    settings: Vec<(String, String)>,
    visits: Vec<Option<Visit>>,
    chosen: Vec<&'static str>,
    caused: Caused,
    random: StdRng,
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

fn room(number: usize) -> String {
    format!("auto:{number}")
}

impl World {
    async fn begin(database: &Database, seed: u64) -> World {
        let redis = Redis::start().await;
        let url = database.url();
        let settings = [
            ("REALTIME_DATABASE_URL", url.as_str()),
            ("REALTIME_LOG_EVENT_TYPES", "*"),
            ("REALTIME_NODE_BEAT", "300"),
            ("REALTIME_NODE_LEASE", "1200"),
            ("REALTIME_PRESENCE_HEARTBEAT", "1000"),
            ("REALTIME_PRESENCE_GRACE", "500"),
        ];
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        let mut world = World {
            redis,
            nodes: Vec::new(),
            settings,
            visits: (0..USERS).map(|_| None).collect(),
            chosen: vec!["online"; USERS],
            caused: Caused::new(),
            random: StdRng::seed_from_u64(seed),
        };
        for _ in 0..NODES {
            let node = world.spawn();
            world.nodes.push(node);
        }
        for node in &world.nodes {
            node.becomes("/readyz", 200).await;
        }
        world
    }

    fn spawn(&self) -> Node {
        let settings: Vec<(&str, &str)> = self.settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        Node::spawn(&self.redis.url(), &settings)
    }

    fn cause(&mut self, kind: &str, number: usize, in_room: Option<usize>) {
        let key = (kind.to_owned(), user(number), in_room.map(room));
        *self.caused.entry(key).or_default() += 1;
    }

    /// Everybody does something, at the same time, and waits for the answer.
    async fn act(&mut self) {
        let plans: Vec<u32> = (0..USERS).map(|_| self.random.random_range(0..10)).collect();
        let nodes: Vec<usize> = (0..USERS).map(|_| self.random.random_range(0..NODES)).collect();
        let rooms: Vec<usize> = (0..USERS).map(|_| self.random.random_range(0..ROOMS)).collect();
        let visits = std::mem::take(&mut self.visits).into_iter().enumerate();
        let acts = visits.map(|(number, visit)| {
            let (plan, home, place) = (plans[number], nodes[number], rooms[number]);
            let (node, chosen) = (&self.nodes[home], self.chosen[number]);
            async move {
                let Some(mut visit) = visit else {
                    let raw = Raw::enter(node, &user(number)).await;
                    let visit = Visit {
                        raw,
                        node: home,
                        rooms: BTreeSet::new(),
                    };
                    return (Some(visit), vec![("connect", None)], chosen);
                };
                match plan {
                    0..=4 => {
                        visit.raw.done("room:join", json!({ "roomName": room(place) })).await;
                        let is_new = visit.rooms.insert(place);
                        let caused = is_new.then_some(("join", Some(place)));
                        (Some(visit), caused.into_iter().collect(), chosen)
                    }
                    5 | 6 => {
                        let Some(place) = visit.rooms.pop_first() else {
                            return (Some(visit), Vec::new(), chosen);
                        };
                        visit.raw.done("room:leave", json!({ "roomName": room(place) })).await;
                        (Some(visit), vec![("leave", Some(place))], chosen)
                    }
                    7 => {
                        let other = if chosen == "busy" { "away" } else { "busy" };
                        visit.raw.done("presence:update", json!({ "status": other })).await;
                        (Some(visit), vec![("status_change", None)], other)
                    }
                    _ => {
                        let mut caused: Vec<_> = visit.rooms.iter().map(|place| ("leave", Some(*place))).collect();
                        caused.push(("disconnect", None));
                        if plan == 8 {
                            visit.raw.disconnect().await;
                        } else {
                            visit.raw.lose();
                        }
                        (None, caused, chosen)
                    }
                }
            }
        });
        let done = join_all(acts.collect::<Vec<_>>()).await;
        for (number, (visit, caused, chosen)) in done.into_iter().enumerate() {
            self.visits.push(visit);
            self.chosen[number] = chosen;
            for (kind, place) in caused {
                self.cause(kind, number, place);
            }
        }
    }

    /// SIGKILL, and another in its place: who was on it is gone.
    async fn kill_a_node(&mut self) {
        let dead = self.random.random_range(0..NODES);
        self.nodes[dead].signal("KILL");
        self.nodes[dead].ended(Duration::from_secs(10)).await;
        for number in 0..USERS {
            if self.visits[number].as_ref().is_some_and(|visit| visit.node == dead) {
                let visit = self.visits[number].take().expect("it was looked at");
                for place in visit.rooms {
                    self.cause("leave", number, Some(place));
                }
                self.cause("disconnect", number, None);
            }
        }
        let node = self.spawn();
        node.becomes("/livez", 200).await;
        self.nodes[dead] = node;
        self.nodes[dead].becomes("/readyz", 200).await;
    }

    /// Until everything that happened stands in Postgres, which must be there for it.
    async fn settle(&self) {
        let keys = Keys::new("rt");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut pipeline = redis::pipe();
            for partition in Partition::all() {
                pipeline.cmd("XLEN").arg(keys.outbox(partition));
                pipeline
                    .zcard(keys.grace(partition))
                    .cmd("XLEN")
                    .arg(keys.todo(partition));
            }
            let lengths: Vec<u64> = pipeline
                .query_async(&mut self.redis.connection().await)
                .await
                .expect("redis answers");
            let held: u64 = self.leases().await;
            let here = self.visits.iter().flatten().count() as u64;
            if lengths.iter().sum::<u64>() == 0 && held == here {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{held} leases, {here} are here, lengths {lengths:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await; // no event tells it
        }
    }

    async fn leases(&self) -> u64 {
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.zcard(Keys::new("rt").leases(partition));
        }
        let counts: Vec<u64> = pipeline
            .query_async(&mut self.redis.connection().await)
            .await
            .expect("redis answers");
        counts.iter().sum()
    }

    /// The tables say what Redis says.
    async fn assert_projections(&self, client: &Client) {
        let here: BTreeSet<String> = (0..USERS)
            .filter(|number| self.visits[*number].is_some())
            .map(user)
            .collect();
        let listed = rows(
            client,
            "SELECT user_id FROM realtime_connections WHERE status = 'connected' ORDER BY 1",
        )
        .await;
        let listed: Vec<&str> = listed.iter().filter_map(|row| row["user_id"].as_str()).collect();
        assert_eq!(
            listed,
            here.iter().map(String::as_str).collect::<Vec<_>>(),
            "connections"
        );
        let came = (0..USERS).filter(|number| self.caused.contains_key(&("connect".to_owned(), user(*number), None)));
        let mut wanted: Vec<Value> = came
            .map(|number| {
                let is_here = self.visits[number].is_some();
                let chosen = self.chosen[number];
                let shown = if is_here { chosen } else { "offline" };
                json!({ "user_id": user(number), "status": shown, "chosen": chosen, "count": u64::from(is_here) })
            })
            .collect();
        wanted.sort_by_key(|row| row["user_id"].to_string());
        let presence = "SELECT user_id, status, coalesce(chosen, 'online') AS chosen, connections_count AS count
            FROM realtime_presence ORDER BY user_id COLLATE \"C\"";
        assert_eq!(rows(client, presence).await, wanted, "presence");
        self.assert_members(client).await;
        for place in 0..ROOMS {
            let name = RoomName::parse(&room(place)).expect("a name");
            let mut hot: Vec<String> = redis::cmd("HKEYS")
                .arg(Keys::new("rt").room_users(&name))
                .query_async(&mut self.redis.connection().await)
                .await
                .expect("redis answers");
            hot.sort();
            let here: Vec<String> = (0..USERS)
                .filter(|number| {
                    self.visits[*number]
                        .as_ref()
                        .is_some_and(|visit| visit.rooms.contains(&place))
                })
                .map(user)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            assert_eq!(hot, here, "Redis' members of {name}");
        }
    }

    /// Members are those whose last word was a join, or an end that was no leave of theirs; nobody who left by room:leave.
    async fn assert_members(&self, client: &Client) {
        let told = "SELECT DISTINCT ON (room_name, user_id) room_name, user_id,
                CASE event_type WHEN 'join' THEN 'join' ELSE payload ->> 'reason' END AS word
            FROM realtime_events WHERE event_type = 'join' OR event_type = 'leave' AND (payload ->> 'last')::boolean
            ORDER BY room_name, user_id, split_part(stream_id, '-', 1)::numeric DESC, split_part(stream_id, '-', 2)::numeric DESC";
        let pair = |row: &Value| {
            let text = |name: &str| row[name].as_str().expect("a text").to_owned();
            (text("room_name"), text("user_id"))
        };
        let mut wanted = BTreeSet::new();
        for row in &rows(client, told).await {
            match row["word"].as_str() {
                Some("join" | "disconnected") => assert!(wanted.insert(pair(row))),
                Some("left") => {}
                word => panic!("nobody was sent out, and yet: {word:?}"),
            }
        }
        let found = "SELECT r.name AS room_name, m.user_id FROM realtime_room_members m JOIN realtime_rooms r ON r.id = m.room_id
            WHERE m.is_joined";
        let found: BTreeSet<(String, String)> = rows(client, found).await.iter().map(pair).collect();
        assert_eq!(found, wanted, "members");
        // By what was done here, too.
        for (number, visit) in self.visits.iter().enumerate() {
            for place in 0..ROOMS {
                let is_in = visit.as_ref().is_some_and(|visit| visit.rooms.contains(&place));
                let has_been_in = self
                    .caused
                    .contains_key(&("join".to_owned(), user(number), Some(room(place))));
                let is_member = found.contains(&(room(place), user(number)));
                assert!(
                    (is_member || !is_in) && (has_been_in || !is_member),
                    "{} in {}: is in {is_in}, has been in {has_been_in}, is a member {is_member}",
                    user(number),
                    room(place)
                );
            }
        }
    }
}

/// What Postgres has, in the shape of what was caused.
async fn written(client: &Client) -> Caused {
    let query = "SELECT event_type, coalesce(user_id, '') AS user_id, room_name, count(*) AS times FROM realtime_events
        WHERE event_type IN ('connect', 'disconnect', 'join', 'leave', 'status_change') GROUP BY 1, 2, 3";
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let row = |row: &Value| {
        let key = (
            text(&row["event_type"]).expect("a type"),
            text(&row["user_id"]).expect("a user"),
            text(&row["room_name"]),
        );
        (key, row["times"].as_u64().expect("a number"))
    };
    rows(client, query).await.iter().map(row).collect()
}

fn difference(caused: &Caused, written: &Caused) -> String {
    let keys: BTreeSet<_> = caused.keys().chain(written.keys()).collect();
    let of = |tally: &Caused, key| tally.get(key).copied().unwrap_or(0);
    let lines = keys
        .into_iter()
        .filter(|key| of(caused, *key) != of(written, *key))
        .map(|key| format!("{key:?}: caused {}, written {}", of(caused, key), of(written, key)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Stops, kills and starts Postgres at random until it is told to end; leaves it running.
async fn trouble(postgres: Arc<Postgres>, seed: u64, end: Instant) {
    let mut random = StdRng::seed_from_u64(seed);
    while Instant::now() < end {
        let (up, away) = (random.random_range(300..2_000), random.random_range(100..2_500));
        tokio::time::sleep(Duration::from_millis(up)).await;
        if random.random_bool(0.5) {
            postgres.stop().await;
        } else {
            postgres.kill().await;
        }
        tokio::time::sleep(Duration::from_millis(away)).await;
        postgres.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_hears_everything_once_whatever_dies() {
    let lasts = std::env::var("PROVE_ARCHIVE").map_or(SHORT, |seconds| {
        Duration::from_secs(seconds.parse().expect("PROVE_ARCHIVE is a number of seconds"))
    });
    let seed = std::env::var("PROVE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("a number"));
    println!("PROVE_SEED={seed}");
    let postgres = Postgres::start().await;
    let database = postgres.database().await;
    migrate(&database).await.expect("the migrations run");
    let mut world = World::begin(&database, seed).await;
    let end = Instant::now() + lasts;
    let troubling = tokio::spawn(trouble(Arc::clone(&postgres), seed, end));
    let (mut rounds, mut kills) = (0, 0);
    while Instant::now() < end {
        world.act().await;
        rounds += 1;
        if rounds % 25 == 0 {
            world.kill_a_node().await;
            kills += 1;
        }
    }
    troubling.await.expect("Postgres is back");
    world.settle().await;
    let client = database.connect().await;
    let found = written(&client).await;
    assert!(found == world.caused, "{}", difference(&world.caused, &found));
    assert_eq!(
        value(&client, "SELECT count(*) FROM realtime_events WHERE event_type = 'gap'").await,
        0
    );
    world.assert_projections(&client).await;
    let total: u64 = world.caused.values().sum();
    println!("{total} events of {rounds} rounds, with {kills} nodes killed, each once");
    let verified = crate::archive(&database)
        .verify(&[], |finding| println!("{finding}"))
        .await
        .expect("Postgres answers");
    assert_eq!(verified.findings, 0, "the trail is whole");
    assert!(verified.rows >= total, "{verified:?}");
}
