//! What clients tell without words: that they type, and how they are. Each tells the next as soon as the last is acked; the others
//! in the room must hear of each. Not here: messages (`talk`).

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memchr::memmem;

use super::client::{ASKED, Client, is_success, refused};
use super::crowd::Crowd;
use super::ledger::ways;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Typing,
    Presence,
}

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);
/// What is still under way at the end may come so late.
const PATIENCE: Duration = Duration::from_secs(10);
/// How people are, in turn: each is a change.
const STATUSES: [&str; 2] = ["busy", "online"];

/// What became of what was told.
pub struct Told {
    news: News,
    /// Listeners of each.
    others: u64,
    started: Instant,
    /// Of each client, how much it told, and when the last (µs).
    said: Vec<(u32, u64)>,
    told: u64,
    acked: u64,
    pub heard: u64,
    /// From the first to the last ack.
    pub time: Duration,
    /// From telling to the ack, µs.
    pub ways: Histogram<u64>,
}

impl Told {
    /// News a second that were acked.
    pub fn rate(&self) -> f64 {
        self.acked as f64 / self.time.as_secs_f64()
    }

    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Whatever was not as promised. That a typing mark runs out is told, too: there more is right.
    pub fn wrong(&self) -> u64 {
        let expected = self.acked * self.others;
        let unheard = match self.news {
            News::Typing => expected.saturating_sub(self.heard),
            News::Presence => expected.abs_diff(self.heard),
        };
        unheard + self.told - self.acked
    }

    fn say(&mut self, client: &mut Client, room: &str) {
        let (id, (count, when)) = (char::from(ASKED), &mut self.said[client.number]);
        *when = self.started.elapsed().as_micros() as u64;
        let packet = match self.news {
            News::Typing => format!("42{id}[\"typing:start\",{{\"roomName\":\"{room}\"}}]"),
            News::Presence => {
                let status = STATUSES[*count as usize % STATUSES.len()];
                format!("42{id}[\"presence:update\",{{\"status\":\"{status}\"}}]")
            }
        };
        *count += 1;
        self.told += 1;
        client.say(packet.as_bytes());
    }

    /// Whether it was the ack of the client's last.
    fn hear(&mut self, client: &Client, packet: &[u8]) -> io::Result<bool> {
        if packet.starts_with(b"42[\"typing:event\"") {
            self.heard += u64::from(self.news == News::Typing);
        } else if packet.starts_with(b"42[\"presence:changed\"") {
            // Some tell whoever changed as well.
            let is_of_others = memmem::find(packet, &client.user).is_none();
            self.heard += u64::from(self.news == News::Presence && is_of_others);
        } else if packet.starts_with(&[b'4', b'3', ASKED, b'[']) {
            if !is_success(packet) {
                return Err(refused(packet));
            }
            self.acked += 1;
            self.time = self.started.elapsed();
            let (_, when) = self.said[client.number];
            self.ways.saturating_record(self.time.as_micros() as u64 - when);
            return Ok(true);
        }
        Ok(false)
    }
}

impl Crowd {
    /// As much as goes, from the first `voices` of each room, each with one under way.
    pub fn tell(&mut self, news: News, voices: usize, time: Duration) -> io::Result<Told> {
        let room = self.room;
        let mut told = Told {
            news,
            others: room as u64 - 1,
            started: Instant::now(),
            said: vec![(0, 0); self.len()],
            told: 0,
            acked: 0,
            heard: 0,
            time: Duration::ZERO,
            ways: ways(),
        };
        let rooms: Vec<_> = (0..self.len()).map(|number| self.room_of(number).to_owned()).collect();
        for speaker in (0..self.len()).filter(|number| number % room < voices) {
            let client = self.client(speaker);
            told.say(client, &rooms[speaker]);
            client.flush()?;
        }
        while told.started.elapsed() < time {
            self.turn(TICK, |client, packet| {
                if told.hear(client, packet)? {
                    told.say(client, &rooms[client.number]);
                }
                Ok(())
            })?;
        }
        let ended = Instant::now();
        while (told.acked < told.told || told.heard < told.acked * told.others) && ended.elapsed() < PATIENCE {
            self.turn(TICK, |client, packet| told.hear(client, packet).map(drop))?;
        }
        Ok(told)
    }
}
