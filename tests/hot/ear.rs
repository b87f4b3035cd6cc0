//! Hears what scripts publish, through the product's own bus. Absence is shown by a marker that comes later on the same
//! channel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nself_realtime::hot::Metrics;
use nself_realtime::hot::bus::{Bus, Topic};
use nself_realtime::hot::frame::{self, BusEvent};
use nself_realtime::hot::keys::Perch;
use nself_realtime::types::{RoomName, UserId};
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::stage::{Stage, node};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

static MARKERS: AtomicU64 = AtomicU64::new(1_000_000_000);

/// One listener, with the topics that it was opened for.
pub struct Ear {
    pub bus: Bus,
    frames: mpsc::UnboundedReceiver<(Topic, u64, Vec<u8>)>,
    /// Events of other topics, for when they are asked for.
    heard: Vec<(Topic, BusEvent)>,
    driver: AbortHandle,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Ear {
    pub async fn open(stage: &Stage, topics: &[Topic]) -> Self {
        let (sender, frames) = mpsc::unbounded_channel();
        let sink = move |topic: &Topic, shards, frame: &[u8]| {
            // Fails only when the test has ended.
            sender.send((topic.clone(), shards, frame.to_vec())).unwrap_or_default();
        };
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let (bus, driver) = Bus::open(&stage.url, stage.keys().clone(), node("ear"), Box::new(sink), &metrics).unwrap();
        let driver = tokio::spawn(driver.run()).abort_handle();
        for topic in topics {
            bus.subscribe(topic.clone(), 0).await.unwrap();
        }
        Self {
            bus,
            frames,
            heard: Vec::new(),
            driver,
        }
    }

    pub async fn of_room(stage: &Stage, room: &RoomName) -> Self {
        Self::open(stage, &[Topic::Room(room.clone())]).await
    }

    pub async fn of_user(stage: &Stage, user: &UserId) -> Self {
        Self::open(stage, &[Topic::User(user.clone())]).await
    }

    /// The next frame that somebody published: its topic, the shards that it is for, its bytes.
    pub async fn frame(&mut self) -> (Topic, u64, Vec<u8>) {
        loop {
            let frame = self.any_frame().await;
            if !frame.2.starts_with(b"!") && !frame.2.starts_with(b"?") {
                return frame;
            }
        }
    }

    /// The next frame, also one that the bus itself says of a topic that was asked for.
    pub async fn any_frame(&mut self) -> (Topic, u64, Vec<u8>) {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.frames.recv()).await;
            let frame = next.expect("nothing comes").expect("the bus stands");
            if frame.0 != Topic::Everybody || !matches!(frame.2[0], b'!' | b'?') {
                return frame;
            }
        }
    }

    /// What was told to a topic that this ear listens to, since the last call for it and until now.
    pub async fn heard(&mut self, stage: &Stage, topic: &Topic) -> Vec<BusEvent> {
        let marker = MARKERS.fetch_add(1, Ordering::Relaxed);
        publish(stage, topic, format!("c {marker}\n").as_bytes()).await;
        let (mut events, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.heard)
            .into_iter()
            .partition(|(from, _)| from == topic);
        self.heard = others;
        loop {
            let (from, _, frame) = self.frame().await;
            match frame::decode(&frame) {
                Some(BusEvent::Count { members }) if members == marker => break,
                Some(BusEvent::Messages(messages)) => {
                    let each = messages
                        .into_iter()
                        .map(|message| (from.clone(), BusEvent::Message(message)));
                    (if from == *topic { &mut events } else { &mut self.heard }).extend(each);
                }
                Some(event) if from == *topic => events.push((from, event)),
                Some(event) => self.heard.push((from, event)),
                None => {}
            }
        }
        events.into_iter().map(|(_, event)| event).collect()
    }

    pub async fn heard_in(&mut self, stage: &Stage, room: &RoomName) -> Vec<BusEvent> {
        self.heard(stage, &Topic::Room(room.clone())).await
    }

    pub async fn heard_of(&mut self, stage: &Stage, user: &UserId) -> Vec<BusEvent> {
        self.heard(stage, &Topic::User(user.clone())).await
    }
}

/// Puts a frame on a topic's channel, as another node's script would.
pub async fn publish(stage: &Stage, topic: &Topic, frame: &[u8]) {
    let channel = match topic {
        Topic::Room(room) => stage.keys().room_channel(room),
        Topic::User(user) => stage.keys().user_channel(user),
        Topic::Presence(partition) => stage.keys().presence_channel(*partition),
        Topic::Node(node) => stage.keys().canary(node, Perch::Nodes),
        Topic::Canary(node, partition) => stage.keys().canary(node, Perch::Partition(*partition)),
        Topic::Everybody => stage.keys().everybody_channel(),
    };
    let listeners: u64 = stage.ask("SPUBLISH", (channel, frame)).await;
    assert!(listeners > 0, "nobody listens to {topic:?}");
}

/// Events as short words, for comparisons: `joined alice`, `left alice disconnected`, `online alice`, `typing alice,bob`…
pub fn words(events: &[BusEvent]) -> Vec<String> {
    events.iter().map(word).collect()
}

fn word(event: &BusEvent) -> String {
    match event {
        BusEvent::Messages(messages) => format!("{} messages", messages.len()),
        BusEvent::Message(message) => format!("message {} {}", message.seq, message.body),
        BusEvent::Joined { user, .. } => format!("joined {user}"),
        BusEvent::Left { user, reason, .. } => format!("left {user} {reason}"),
        BusEvent::Presence { user, presence, .. } => format!("{} {user}", presence.status),
        BusEvent::Typing { thread, users, .. } => {
            let mut names: Vec<_> = users.iter().map(|(user, _)| user.as_str()).collect();
            names.sort_unstable();
            format!("typing {}[{}]", thread.as_deref().unwrap_or_default(), names.join(","))
        }
        BusEvent::Closed { .. } => "closed".to_owned(),
        BusEvent::Emitted { event, payload, .. } => format!("{event} {payload}"),
        BusEvent::Count { members } => format!("count {members}"),
        BusEvent::Dismissed(connections) => format!("dismissed {connections:?}"),
        BusEvent::Revoked(revocation) => format!("revoked {:?}", revocation.subject),
        BusEvent::Interrupted => "interrupted".to_owned(),
        BusEvent::Restored { .. } => "restored".to_owned(),
    }
}
