//! What clients tell without words: that they type, and how they are. Each tells the next as soon as the last is acked. A server may
//! leave out what is no longer so, but everybody in the room must have heard of every typist, and at last of every status as it is
//! at last. Not here: messages (`talk`).

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem;

use super::client::{ASKED, Client, USER, is_success, text_behind};
use super::crowd::Crowd;
use super::ledger::ways;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Typing,
    Presence,
}

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// What is still under way at the end may come so late.
const PATIENCE: Duration = Duration::from_secs(10);
const STATUS: &[u8] = b"\"status\":\"";
/// How people are, in turn: each is a change.
const STATUSES: [&str; 2] = ["busy", "online"];

/// A topic, and what became of it since the last `Crowd::tell` began.
pub struct News {
    topic: Topic,
    room: usize,
    /// Those in each room who tell: its first.
    voices: usize,
    rooms: Vec<String>,
    /// Clients by what the server calls them.
    names: HashMap<Vec<u8>, usize, ahash::RandomState>,
    /// Of each client, how often it told, and when the last time (µs).
    said: Vec<(usize, u64)>,
    /// Of each client and each voice of its room, the last that it heard.
    known: Vec<Option<usize>>,
    started: Instant,
    told: u64,
    pub acked: u64,
    refused: u64,
    /// By others than whoever told.
    pub heard: u64,
    /// Until the last ack.
    pub time: Duration,
    /// From telling to the ack, µs.
    pub ways: Histogram<u64>,
}

impl News {
    /// Nothing was told yet.
    pub fn new(crowd: &mut Crowd, topic: Topic, voices: usize) -> Self {
        let count = crowd.len();
        let rooms = (0..count).map(|number| crowd.room_of(number).to_owned());
        Self {
            topic,
            room: crowd.room,
            voices,
            rooms: rooms.collect(),
            names: (0..count)
                .map(|number| (crowd.client(number).user.clone(), number))
                .collect(),
            said: vec![(0, 0); count],
            known: vec![None; count * voices],
            started: Instant::now(),
            told: 0,
            acked: 0,
            refused: 0,
            heard: 0,
            time: Duration::ZERO,
            ways: ways(),
        }
    }

    /// Whatever was not as promised.
    pub fn wrong(&self) -> u64 {
        let is_wrong = |&place: &usize| {
            let (listener, voice) = (place / self.voices, place % self.voices);
            let speaker = listener / self.room * self.room + voice;
            let last = self.said[speaker].0.checked_sub(1).map(|count| self.state(count));
            speaker != listener && self.known[place] != last
        };
        let unknown = (0..self.known.len()).filter(is_wrong).count();
        unknown as u64 + self.told - self.acked + self.refused
    }

    /// What is so once a client has told for the time of this number.
    fn state(&self, count: usize) -> usize {
        match self.topic {
            Topic::Typing => 0,
            Topic::Presence => count % STATUSES.len(),
        }
    }

    fn say(&mut self, client: &mut Client) {
        let (id, room, count) = (
            char::from(ASKED),
            &self.rooms[client.number],
            self.said[client.number].0,
        );
        let packet = match self.topic {
            Topic::Typing => format!("42{id}[\"typing:start\",{{\"roomName\":\"{room}\"}}]"),
            Topic::Presence => {
                let status = STATUSES[self.state(count)];
                format!("42{id}[\"presence:update\",{{\"status\":\"{status}\"}}]")
            }
        };
        client.say(packet.as_bytes());
        self.said[client.number] = (count + 1, self.started.elapsed().as_micros() as u64);
        self.told += 1;
    }

    /// Whether it was the ack of the client's last.
    fn hear(&mut self, client: &Client, packet: &[u8]) -> bool {
        let (is_typing, is_presence) = (
            packet.starts_with(b"42[\"typing:event\""),
            packet.starts_with(b"42[\"presence:changed\""),
        );
        if is_typing && self.topic == Topic::Typing {
            self.heard += 1;
            for at in memmem::find_iter(packet, USER) {
                let name = text_behind(USER, &packet[at..]).unwrap_or_default();
                self.learn(client.number, name, 0);
            }
        } else if is_presence && self.topic == Topic::Presence {
            let name = text_behind(USER, packet).unwrap_or_default();
            let status = text_behind(STATUS, packet).unwrap_or_default();
            if let Some(state) = STATUSES.iter().position(|known| known.as_bytes() == status) {
                self.heard += u64::from(self.learn(client.number, name, state));
            }
        } else if packet.starts_with(&[b'4', b'3', ASKED, b'[']) {
            self.time = self.started.elapsed();
            let (_, when) = self.said[client.number];
            self.ways.saturating_record(self.time.as_micros() as u64 - when);
            self.acked += 1;
            self.refused += u64::from(!is_success(packet));
            return true;
        }
        false
    }

    /// Notes how a user is; false where that is the listener, who need not be told.
    fn learn(&mut self, listener: usize, name: &[u8], state: usize) -> bool {
        let Some(&speaker) = self.names.get(name) else {
            return true;
        };
        let voice = speaker % self.room;
        if speaker / self.room == listener / self.room && voice < self.voices {
            self.known[listener * self.voices + voice] = Some(state);
        }
        speaker != listener
    }
}

impl Crowd {
    /// As much as goes, each voice with one under way.
    pub fn tell(&mut self, news: &mut News, time: Duration) -> io::Result<()> {
        (news.told, news.acked, news.refused, news.heard) = (0, 0, 0, 0);
        news.ways.reset();
        news.started = Instant::now();
        let (room, voices) = (news.room, news.voices);
        for speaker in (0..self.len()).filter(|number| number % room < voices) {
            let client = self.client(speaker);
            news.say(client);
            client.flush()?;
        }
        while news.started.elapsed() < time {
            self.turn(TICK, |client, packet| {
                if news.hear(client, packet) {
                    news.say(client);
                }
                Ok(())
            })?;
        }
        let ended = Instant::now();
        while (news.acked < news.told || news.wrong() > news.refused) && ended.elapsed() < PATIENCE {
            self.turn(TICK, |client, packet| {
                news.hear(client, packet);
                Ok(())
            })?;
        }
        Ok(())
    }
}
