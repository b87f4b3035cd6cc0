//! Random lives of three users with three tabs each in two rooms, beside a small model: the hot state equals it after
//! every step, and nobody's coming or going is told twice or never.

use std::collections::{BTreeMap, BTreeSet};

use nself_realtime::domain::{endings, rooms};
use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::keys::Lease;
use nself_realtime::hot::presence;
use nself_realtime::types::{ConnectionId, RoomName, Status};
use proptest::prelude::*;

use crate::ear::Ear;
use crate::stage::{GRACE, Stage, lease, now_ms, partition, user};

// One is the beginning of another, and one has what separates ids elsewhere.
const USERS: [&str; 3] = ["al", "alice", "b:{b} \"\u{1f680}"];
const TABS: u32 = 3;
const ROOMS: [&str; 2] = ["red", "red:{2}"];

type Tab = (usize, u32);

#[derive(Debug, Clone, Copy)]
enum Step {
    Connect(Tab),
    Lose(Tab),
    Join(Tab, usize),
    Leave(Tab, usize),
    /// An explicit end.
    Finish(Tab),
    /// The lease, or its grace, runs out, and a sweep finds it.
    RunOut(Tab),
    /// The connection is ended by a node that dies before it has left the rooms.
    HalfFinish(Tab),
    /// Sweeps take over what dead nodes left undone.
    TakeOver,
}

fn steps() -> impl Strategy<Value = Vec<(Step, bool)>> {
    let tab = || (0..USERS.len(), 0..TABS);
    let step = prop_oneof![
        4 => tab().prop_map(Step::Connect),
        1 => tab().prop_map(Step::Lose),
        6 => (tab(), 0..ROOMS.len()).prop_map(|(tab, room)| Step::Join(tab, room)),
        2 => (tab(), 0..ROOMS.len()).prop_map(|(tab, room)| Step::Leave(tab, room)),
        1 => tab().prop_map(Step::Finish),
        1 => tab().prop_map(Step::RunOut),
        1 => tab().prop_map(Step::HalfFinish),
        1 => Just(Step::TakeOver),
    ];
    // Every call may be repeated, since its outcome may be unknown.
    proptest::collection::vec((step, any::<bool>()), 1..40)
}

#[derive(Debug, Clone, Default)]
struct Connection {
    in_grace: bool,
    rooms: BTreeSet<usize>,
}

/// What ought to be.
#[derive(Debug, Default)]
struct Model {
    live: BTreeMap<Tab, Connection>,
    /// Ended, and not out of their rooms yet.
    undone: Vec<(Tab, Connection)>,
    /// A connection's id is never used again.
    lives: BTreeMap<Tab, u32>,
    /// (room, user) → what was told, in order.
    told: BTreeMap<(usize, usize), Vec<&'static str>>,
}

impl Model {
    fn is_in(&self, user: usize, room: usize) -> bool {
        let mut all = self
            .live
            .iter()
            .chain(self.undone.iter().map(|(tab, connection)| (tab, connection)));
        all.any(|(tab, connection)| tab.0 == user && connection.rooms.contains(&room))
    }

    fn tell(&mut self, user: usize, room: usize, word: &'static str) {
        self.told.entry((room, user)).or_default().push(word);
    }

    fn gone(&mut self, user: usize, rooms: &BTreeSet<usize>) {
        for room in rooms {
            if !self.is_in(user, *room) {
                self.tell(user, *room, "disconnected");
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Connect(tab) => self.live.entry(tab).or_default().in_grace = false,
            Step::Lose(tab) => {
                if let Some(connection) = self.live.get_mut(&tab) {
                    connection.in_grace = true;
                }
            }
            Step::Join(tab, room) => {
                let was_in = self.is_in(tab.0, room);
                let Some(connection) = self.live.get_mut(&tab).filter(|connection| !connection.in_grace) else {
                    return;
                };
                connection.rooms.insert(room);
                if !was_in {
                    self.tell(tab.0, room, "joined");
                }
            }
            Step::Leave(tab, room) => {
                let Some(connection) = self.live.get_mut(&tab) else {
                    return;
                };
                if connection.rooms.remove(&room) && !self.is_in(tab.0, room) {
                    self.tell(tab.0, room, "left");
                }
            }
            Step::Finish(tab) | Step::RunOut(tab) => {
                if let Some(connection) = self.end(tab) {
                    self.gone(tab.0, &connection.rooms);
                }
            }
            Step::HalfFinish(tab) => {
                if let Some(connection) = self.end(tab) {
                    self.undone.push((tab, connection));
                }
            }
            Step::TakeOver => {
                // One after the other: a later one still holds the user in the room, until its own turn.
                while !self.undone.is_empty() {
                    let (tab, connection) = self.undone.remove(0);
                    self.gone(tab.0, &connection.rooms);
                }
            }
        }
    }

    fn end(&mut self, tab: Tab) -> Option<Connection> {
        let connection = self.live.remove(&tab)?;
        *self.lives.entry(tab).or_default() += 1;
        Some(connection)
    }

    fn lease(&self, tab: Tab) -> Lease {
        let lease = lease(USERS[tab.0], tab.1);
        let life = self.lives.get(&tab).copied().unwrap_or_default();
        Lease {
            connection: ConnectionId::parse(&format!("{}{life}", lease.connection)).unwrap(),
            ..lease
        }
    }

    fn users_in(&self, room: usize) -> Vec<String> {
        let mut users: Vec<String> = (0..USERS.len())
            .filter(|user| self.is_in(*user, room))
            .map(|user| USERS[user].to_owned())
            .collect();
        users.sort();
        users
    }
}

/// The product, put to the same steps.
struct Product {
    stage: Stage,
    rooms: Vec<RoomName>,
    ear: Ear,
    told: BTreeMap<(usize, usize), Vec<&'static str>>,
}

impl Product {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let mut rooms = Vec::new();
        for name in ROOMS {
            rooms.push(stage.room(name).await);
        }
        let topics: Vec<Topic> = rooms.iter().cloned().map(Topic::Room).collect();
        let ear = Ear::open(&stage, &topics).await;
        Self {
            stage,
            rooms,
            ear,
            told: BTreeMap::new(),
        }
    }

    async fn take(&self, step: Step, model: &Model) {
        let (stage, hot) = (&self.stage, &self.stage.hot);
        match step {
            Step::Connect(tab) => drop(stage.connect(&model.lease(tab)).await),
            Step::Lose(tab) => drop(presence::lose(hot, &model.lease(tab), GRACE, "test").await.unwrap()),
            Step::Join(tab, room) => drop(stage.try_join(&model.lease(tab), &self.rooms[room], false).await),
            Step::Leave(tab, room) => drop(rooms::leave(hot, &model.lease(tab), &self.rooms[room]).await.unwrap()),
            Step::Finish(tab) => drop(endings::finish(hot, &model.lease(tab), "asked").await.unwrap()),
            Step::RunOut(tab) => {
                let lease = model.lease(tab);
                for key in [
                    stage.keys().leases(partition(&lease)),
                    stage.keys().grace(partition(&lease)),
                ] {
                    if stage.score(key.clone(), &lease.encode()).await.is_some() {
                        stage.let_run_out(key, &lease.encode()).await;
                    }
                }
                stage.sweep().await;
            }
            Step::HalfFinish(tab) => {
                let lease = model.lease(tab);
                let finished = presence::finish(hot, &lease, "asked").await.unwrap();
                if finished.is_some_and(|finished| finished.todo.is_some()) {
                    // Not yet old, however long this takes.
                    stage.date_todos(&lease.user, now_ms() + 3_600_000).await;
                }
            }
            Step::TakeOver => {
                for id in USERS {
                    if stage.todo_length(&user(id)).await > 0 {
                        stage.make_todos_old(&user(id)).await;
                    }
                }
                stage.sweep().await;
            }
        }
    }

    async fn hear(&mut self) {
        for (index, room) in self.rooms.iter().enumerate() {
            for event in self.ear.heard_in(&self.stage, room).await {
                let (user, word) = match event {
                    BusEvent::Joined { user, .. } => (user, "joined"),
                    BusEvent::Left { user, reason, .. } => (user, reason.as_str()),
                    BusEvent::Presence { .. } => continue,
                    other => panic!("nobody caused {other:?}"),
                };
                let user = USERS.iter().position(|id| *id == user.as_str()).unwrap();
                self.told.entry((index, user)).or_default().push(word);
            }
        }
    }

    async fn assert_equals(&self, model: &Model) {
        for (index, room) in self.rooms.iter().enumerate() {
            assert_eq!(self.stage.users_of(room).await, model.users_in(index), "in {room}");
            let live: u64 = self.stage.ask("ZCARD", self.stage.keys().room_live(room)).await;
            let undone = model.undone.iter().map(|(_, connection)| connection);
            let members = model
                .live
                .values()
                .chain(undone)
                .filter(|connection| connection.rooms.contains(&index));
            assert_eq!(live, members.count() as u64, "connections in {room}");
        }
        let people: Vec<_> = USERS.iter().map(|id| user(id)).collect();
        let seen = presence::read_all(&self.stage.hot, &people).await.unwrap();
        for (index, (presence, rooms)) in seen.iter().enumerate() {
            let own: Vec<_> = model.live.iter().filter(|(tab, _)| tab.0 == index).collect();
            let status = if own.is_empty() {
                Status::Offline
            } else {
                Status::Online
            };
            assert_eq!(presence.status, status, "{}", USERS[index]);
            let found: BTreeSet<&str> = rooms.iter().map(RoomName::as_str).collect();
            let expected: BTreeSet<&str> = own
                .iter()
                .flat_map(|(_, own)| &own.rooms)
                .map(|room| ROOMS[*room])
                .collect();
            assert_eq!(found, expected, "rooms of {}", USERS[index]);
        }
        let in_grace = model.live.values().filter(|connection| connection.in_grace).count();
        let leases = presence::count_connections(&self.stage.hot).await.unwrap();
        assert_eq!(leases, (model.live.len() - in_grace) as u64);
    }
}

async fn live(steps: Vec<(Step, bool)>) {
    let (mut product, mut model) = (Product::new().await, Model::default());
    for (step, repeated) in steps {
        for _ in 0..1 + u32::from(repeated) {
            product.take(step, &model).await;
        }
        model.take(step);
        product.assert_equals(&model).await;
    }
    let rest = [Step::TakeOver]
        .into_iter()
        .chain(model.live.keys().copied().map(Step::Finish));
    for step in rest.collect::<Vec<_>>() {
        product.take(step, &model).await;
        model.take(step);
    }
    product.assert_equals(&model).await;
    product.hear().await;
    assert_eq!(product.told, model.told);
    product.stage.assert_only_lasting_keys_last().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_life_is_told_as_the_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(steps));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_comes_and_goes_at_once_is_told_in_turns() {
    let mut product = Product::new().await;
    let tabs = (0..USERS.len()).flat_map(|user| (0..TABS).map(move |tab| (user, tab)));
    let lives = tabs.map(|tab| {
        let (hot, rooms) = (product.stage.hot.clone(), product.rooms.clone());
        async move {
            for life in 0..10 {
                let lease = Lease {
                    connection: ConnectionId::parse(&format!("{}-{}.{life}", tab.0, tab.1)).unwrap(),
                    ..lease(USERS[tab.0], tab.1)
                };
                presence::connect(&hot, &lease, &presence::Facts::default(), None)
                    .await
                    .unwrap();
                for room in &rooms {
                    let options = rooms::JoinOptions {
                        autocreate: false,
                        known: None,
                        members: 0,
                        since: None,
                        toll: None,
                    };
                    rooms::join(&hot, &lease, room, options).await.unwrap().unwrap();
                }
                rooms::leave(&hot, &lease, &rooms[life % 2]).await.unwrap();
                let (one, other) = tokio::join!(
                    endings::finish(&hot, &lease, "asked"),
                    endings::finish(&hot, &lease, "asked")
                );
                assert!(one.unwrap() != other.unwrap(), "one of two ends ends it");
            }
        }
    });
    let lives: Vec<_> = lives.map(tokio::spawn).collect();
    for life in lives {
        life.await.unwrap();
    }
    product.assert_equals(&Model::default()).await;
    product.hear().await;
    assert_eq!(product.told.len(), USERS.len() * ROOMS.len());
    for (whom, told) in &product.told {
        for turn in told.chunks(2) {
            assert!(
                turn.len() == 2 && turn[0] == "joined" && turn[1] != "joined",
                "{whom:?}: {told:?}"
            );
        }
    }
    product.stage.assert_only_lasting_keys_last().await;
}
