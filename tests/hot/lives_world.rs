//! The product under the steps of `lives`: nodes with a connection and a memory of their own, and a listener. Each step is
//! taken by the product and by the model; what the product answers is held against the model at once.

use std::collections::{BTreeMap, BTreeSet};

use nself_realtime::domain::rooms::{self, JoinOptions, Known};
use nself_realtime::domain::{endings, presence as domain_presence};
use nself_realtime::hot::bus::Topic;
use nself_realtime::hot::frame::BusEvent;
use nself_realtime::hot::keys::{Lease, Partition};
use nself_realtime::hot::presence::{self, Choice, Facts};
use nself_realtime::hot::{Hot, Metrics, Settings, nodes};
use nself_realtime::types::{RoomName, Status};
use prometheus::Registry;

use crate::again::again;
use crate::ear::Ear;
use crate::lives::{LONG, Step};
use crate::lives_model::{Model, Process, TABS, Tab, USERS, lease_of};
use crate::stage::{Stage, held as held_now, node, partition, terms, user};
use crate::support::redis_any::AnyRedis;

/// The product, put to the same steps.
pub struct World {
    pub stage: Stage,
    hots: Vec<Hot>,
    rooms: Vec<RoomName>,
    known: Vec<Option<Known>>,
    ear: Ear,
    pub model: Model,
}

impl World {
    pub async fn new(servers: &AnyRedis, processes: usize) -> World {
        let stage = Stage::of(servers, |_| {}).await;
        let mut rooms = Vec::new();
        for name in ["red", "red:{2}"] {
            rooms.push(stage.room(name).await);
        }
        let topics = rooms.iter().cloned().map(Topic::Room);
        let topics: Vec<Topic> = topics.chain(USERS.iter().map(|id| Topic::User(user(id)))).collect();
        let ear = Ear::open(&stage, &topics).await;
        let open = || {
            let mut terms = terms();
            terms.lease = LONG;
            let metrics = Metrics::new(&Registry::new()).unwrap();
            let (url, prefix) = (stage.url.clone(), stage.prefix.clone());
            let settings = Settings {
                url,
                prefix,
                terms,
                metrics,
            };
            Hot::open(settings).unwrap()
        };
        let hots = (0..processes).map(|_| open()).collect();
        let mut world = World {
            hots,
            known: vec![None; rooms.len()],
            rooms,
            ear,
            stage,
            model: Model::default(),
        };
        for process in 0..processes {
            let name = format!("n{}", world.model.new_name());
            world.model.processes.push(Process::Running(name));
            world.beat(process).await;
        }
        world
    }

    /// A node's own lease: it hears whether that was gone.
    async fn beat(&mut self, process: usize) {
        let name = self.model.processes[process].name().to_owned();
        let hot = &self.hots[process];
        let (revived, repeated) = again(async || nodes::beat(hot, &node(&name), "{}", LONG).await).await;
        let was_dead = self.model.alive.insert(name.clone());
        assert!(revived == was_dead || repeated, "{name} is told whether it was dead");
        self.model.listed.insert(name);
    }

    pub async fn take(&mut self, step: Step) {
        match step {
            Step::Connect(tab, process) => {
                self.model.remembered.entry(tab).or_default().clear();
                if !self.model.sockets.contains_key(&tab) {
                    self.connect(tab, process, false).await;
                }
            }
            Step::Rejoin(tab, process) => {
                self.close(tab, false).await;
                self.connect(tab, process, false).await;
            }
            Step::Lose(tab) => self.close(tab, false).await,
            Step::Disconnect(tab) => self.close(tab, true).await,
            Step::Join(tab, room) => {
                if let Some((id, process)) = self.model.socket(tab) {
                    self.join(process, id, room, false).await;
                }
            }
            Step::Leave(tab, room) => {
                if let Some((id, process)) = self.model.socket(tab) {
                    let lease = self.model.lease(id);
                    let (hot, room_name) = (&self.hots[process], &self.rooms[room]);
                    again(async || rooms::leave(hot, &lease, room_name).await).await;
                    self.model.leave(id, room);
                }
            }
            Step::Choose(user, status) => self.choose(user, status).await,
            Step::Kill(process, same) => self.kill(process, same).await,
            Step::Pause(process) => self.pause(process),
            Step::Continue(process) => self.go_on(process).await,
            Step::Bury => self.bury().await,
            Step::EndGraces => {
                let ended = self
                    .model
                    .connections
                    .iter()
                    .filter(|(_, connection)| connection.in_grace);
                let ended: Vec<u32> = ended.map(|(id, _)| *id).collect();
                self.run_out(&ended).await;
            }
            Step::EndLeases => {
                let held: BTreeSet<u32> = self.model.sockets.values().map(|(id, _)| *id).collect();
                let asleep: BTreeSet<u32> = self.model.unnoticed.iter().map(|(id, ..)| *id).collect();
                let all = self
                    .model
                    .connections
                    .iter()
                    .filter(|(_, connection)| !connection.in_grace);
                let ended = all
                    .map(|(id, _)| *id)
                    .filter(|id| !held.contains(id) && !asleep.contains(id));
                let ended: Vec<u32> = ended.collect();
                self.run_out(&ended).await;
            }
            Step::ForgetScripts => {
                self.stage.forget_scripts().await;
            }
        }
    }

    /// A client comes, and joins what it remembers; or (`anew`) its process does so for it.
    async fn connect(&mut self, tab: Tab, process: usize, anew: bool) {
        let process = process % self.hots.len();
        if !self.model.is_running(process) {
            return;
        }
        let id = self.model.connect(tab, process);
        let facts = Facts::default();
        let (hot, lease) = (&self.hots[process], self.model.lease(id));
        again(async || domain_presence::connect(hot, &lease, &facts, None).await).await;
        for room in self.model.remembered.get(&tab).cloned().unwrap_or_default() {
            self.join(process, id, room, anew).await;
        }
    }

    async fn join(&mut self, process: usize, id: u32, room: usize, anew: bool) {
        let options = || JoinOptions {
            autocreate: false,
            known: self.known[room].as_ref().filter(|_| anew),
            members: 0,
            since: None,
            toll: None,
        };
        let (hot, lease, name) = (&self.hots[process], self.model.lease(id), &self.rooms[room]);
        let (joined, repeated) = again(async || rooms::join(hot, &lease, name, options()).await).await;
        let joined = joined.expect("it is registered");
        let first = !self.model.is_in(self.model.connections[&id].tab.0, room);
        assert!(joined.first == first || repeated);
        self.known[room] = Some(Known {
            epoch: joined.epoch,
            kind: joined.kind,
            visibility: joined.visibility,
            max_members: joined.max_members,
        });
        self.model.join(id, room);
    }

    /// A socket closes; a process that sleeps finds out when it wakes.
    async fn close(&mut self, tab: Tab, explicit: bool) {
        let Some((id, process)) = self.model.sockets.remove(&tab) else {
            return;
        };
        if self.model.is_running(process) {
            let lease = self.model.lease(id);
            self.closed(process, id, &lease, explicit).await;
        } else {
            self.model.unnoticed.push((id, process, explicit));
        }
    }

    async fn closed(&mut self, process: usize, id: u32, lease: &Lease, explicit: bool) {
        let hot = &self.hots[process];
        if explicit {
            let (ended, repeated) = again(async || endings::finish(hot, lease, "asked").await).await;
            if repeated {
                self.take_over().await;
            }
            let lived = self.model.end(id);
            assert!(ended == lived || repeated, "an end is the first or it is none");
        } else {
            again(async || presence::lose(hot, lease, LONG, "test").await).await;
            self.model.lose(id);
        }
    }

    async fn choose(&mut self, user: usize, status: Status) {
        let Some((id, process)) = (0..TABS).find_map(|tab| self.model.socket((user, tab))) else {
            return;
        };
        let choice = Choice {
            status,
            text: None,
            emoji: None,
            until_ms: None,
        };
        let (hot, lease) = (&self.hots[process], self.model.lease(id));
        let (chosen, repeated) = again(async || domain_presence::choose(hot, &lease, &choice).await).await;
        assert_eq!(chosen.expect("it is registered").status, status);
        if repeated {
            self.take_over().await;
        }
        self.model.choose(user, status);
    }

    async fn kill(&mut self, process: usize, same_name: bool) {
        let process = process % self.hots.len();
        self.model.sockets.retain(|_, (_, holder)| *holder != process);
        self.model.unnoticed.retain(|(_, holder, _)| *holder != process);
        let name = if same_name {
            self.model.processes[process].name().to_owned()
        } else {
            format!("n{}", self.model.new_name())
        };
        // The first thing that a process does: one that died under its name left connections that nobody holds.
        let hot = &self.hots[process];
        let (left, repeated) = again(async || nodes::bury(hot, &node(&name), LONG).await).await;
        let moved = self.model.bury(&BTreeSet::from([name.clone()]));
        assert!(left == moved || repeated, "each lease is moved once");
        self.model.processes[process] = Process::Running(name);
        self.beat(process).await;
    }

    fn pause(&mut self, process: usize) {
        let process = process % self.hots.len();
        self.model.processes[process] = Process::Paused(self.model.processes[process].name().to_owned());
    }

    /// A process wakes: it hears which sockets are closed, beats, renews, and registers anew what Redis no longer has.
    async fn go_on(&mut self, process: usize) {
        let process = process % self.hots.len();
        let Process::Paused(name) = self.model.processes[process].clone() else {
            return;
        };
        self.model.processes[process] = Process::Running(name.clone());
        for (id, holder, explicit) in std::mem::take(&mut self.model.unnoticed) {
            if holder != process {
                self.model.unnoticed.push((id, holder, explicit));
            } else if self.model.connections.contains_key(&id) {
                let lease = self.model.lease(id);
                self.closed(process, id, &lease, explicit).await;
            }
        }
        self.beat(process).await;
        let held: Vec<(Tab, u32)> = self
            .model
            .sockets
            .iter()
            .filter(|(_, (_, holder))| *holder == process)
            .map(|(tab, (id, _))| (*tab, *id))
            .collect();
        for (tab, id) in held {
            let lease = lease_of(id, tab, &name);
            let beat = [held_now(&lease)];
            let hot = &self.hots[process];
            let (missing, _) = again(async || domain_presence::renew(hot, partition(&lease), &beat).await).await;
            let is_missing = !missing.is_empty();
            let lives = self
                .model
                .connections
                .get(&id)
                .is_some_and(|connection| !connection.in_grace);
            assert_eq!(
                is_missing, !lives,
                "a renewal neither raises the dead nor loses the living"
            );
            if is_missing {
                self.connect(tab, process, true).await;
            }
        }
    }

    async fn bury(&mut self) {
        let running = self.model.running();
        let (Some(one), Some(other)) = (running.first(), running.last()) else {
            return;
        };
        let names: BTreeSet<String> = running
            .iter()
            .map(|process| self.model.processes[*process].name().to_owned())
            .collect();
        for name in self.model.alive.difference(&names) {
            let () = self.stage.ask("DEL", self.stage.keys().node(&node(name))).await;
        }
        self.model.alive.retain(|name| names.contains(name));
        let (one, other) = (&self.hots[*one], &self.hots[*other]);
        let (one, other) = tokio::join!(
            again(async || endings::bury_dead(one, LONG).await),
            again(async || endings::bury_dead(other, LONG).await)
        );
        let (buried, repeated) = ([one.0, other.0].concat(), one.1 || other.1);
        let found: BTreeSet<String> = buried.iter().map(|(name, _)| name.to_string()).collect();
        let dead: BTreeSet<String> = self.model.listed.difference(&names).cloned().collect();
        assert!(found == dead || repeated, "the dead are found, and nobody else");
        self.model.listed = names;
        let (moved, told) = (self.model.bury(&dead), buried.iter().map(|(_, held)| held).sum::<u64>());
        assert!(told == moved || repeated, "each lease is moved once");
    }

    /// The leases of connections, or their grace, come to their end, and two nodes sweep at once.
    async fn run_out(&mut self, ended: &[u32]) {
        for id in ended {
            let (lease, keys) = (self.model.lease(*id), self.stage.keys());
            let key = if self.model.connections[id].in_grace {
                keys.grace(partition(&lease))
            } else {
                keys.leases(partition(&lease))
            };
            self.stage.let_run_out(key, &lease.encode()).await;
        }
        let (one, other) = tokio::join!(self.stage.sweep_again(), self.stage.sweep_again());
        let repeated = one.1 || other.1;
        if repeated {
            self.take_over().await;
        }
        let (one, other) = (one.0, other.0);
        let swept = one.leases + one.graces + other.leases + other.graces;
        assert!(
            swept == ended.len() as u64 || repeated,
            "of two sweeps at once one ends it"
        );
        for id in ended {
            self.model.end(*id);
        }
    }

    /// Of a call that was repeated the answer is lost, and with it the next step: a sweep takes that.
    async fn take_over(&self) {
        let people: Vec<_> = USERS.iter().map(|id| user(id)).collect();
        self.stage.take_over(&people).await;
    }

    pub async fn assert_equals(&self) {
        let (stage, model) = (&self.stage, &self.model);
        let mut pipeline = redis::pipe();
        for partition in Partition::all() {
            pipeline.zrange(stage.keys().leases(partition), 0, -1);
            pipeline.zrange(stage.keys().grace(partition), 0, -1);
        }
        let found: Vec<Vec<String>> = stage.ask_many(&pipeline).await;
        let names = |from: usize| {
            found
                .iter()
                .skip(from)
                .step_by(2)
                .flatten()
                .cloned()
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(names(0), model.names_of(false), "leases");
        assert_eq!(names(1), model.names_of(true), "in grace");
        for (index, room) in self.rooms.iter().enumerate() {
            let mut expected: Vec<&str> = (0..USERS.len())
                .filter(|user| model.is_in(*user, index))
                .map(|user| USERS[user])
                .collect();
            expected.sort_unstable();
            assert_eq!(stage.users_of(room).await, expected, "in {room}");
        }
        let people: Vec<_> = USERS.iter().map(|id| user(id)).collect();
        let (seen, _) = again(async || presence::read_all(&stage.hot, &people).await).await;
        for (index, (seen, _)) in seen.iter().enumerate() {
            assert_eq!(seen.status, model.status(index), "{}", USERS[index]);
        }
    }

    pub async fn assert_told(&mut self) {
        let (mut told, mut shown) = (BTreeMap::new(), BTreeMap::new());
        for (index, room) in self.rooms.iter().enumerate() {
            for event in self.ear.heard_in(&self.stage, room).await {
                let (who, word) = match event {
                    BusEvent::Joined { user, .. } => (user, "joined"),
                    BusEvent::Left { user, reason, .. } => (user, reason.as_str()),
                    _ => continue,
                };
                let who = USERS.iter().position(|id| *id == who.as_str()).unwrap();
                told.entry((index, who)).or_insert_with(Vec::new).push(word);
            }
        }
        for (index, id) in USERS.iter().enumerate() {
            for event in self.ear.heard_of(&self.stage, &user(id)).await {
                if let BusEvent::Presence { presence, .. } = event {
                    shown.entry(index).or_insert_with(Vec::new).push(presence.status);
                }
            }
        }
        assert_eq!(told, self.model.told, "what rooms were told");
        assert_eq!(shown, self.model.shown, "what was told of users");
    }
}
