//! What a crowd says to itself in its rooms: as much as goes, with a window of what is under way, or at a pace. Every message is
//! acked and heard by the whole room, or counted as lost.

use std::io;
use std::time::{Duration, Instant};

use super::client::{ASKED, Client, is_success, refused};
use super::crowd::Crowd;
use super::ledger::{Ledger, Reader, Stamp};

/// Between two portions of what is said at a pace.
const TICK: Duration = Duration::from_millis(1);
/// Messages that are said before the next look at what came: whoever is late with saying must not be deaf meanwhile.
const PORTION: usize = 64;
/// What is still under way at the end may come so late.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of what was said.
pub struct Heard {
    pub ledger: Ledger,
    /// Messages without an ack, or with one that says no.
    pub unanswered: u64,
    /// From the first message to the last that was heard.
    pub time: Duration,
    pub bytes: Bytes,
}

/// Of packets, without the frames around them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes {
    pub said: u64,
    pub heard: u64,
    pub acks: u64,
}

/// A conversation that goes on.
struct Talk {
    started: Instant,
    /// Of each client, its next packet; only its numbers change.
    packets: Vec<Vec<u8>>,
    ledger: Ledger,
    reader: Reader,
    acked: u64,
    refused: u64,
    bytes: Bytes,
    /// When something was heard last.
    last: Duration,
}

impl Heard {
    /// Deliveries a second.
    pub fn deliveries(&self) -> f64 {
        self.ledger.heard as f64 / self.time.as_secs_f64()
    }

    /// Messages a second.
    pub fn messages(&self) -> f64 {
        self.ledger.messages() as f64 / self.time.as_secs_f64()
    }

    /// From saying to hearing, ms; `part` of all took no longer.
    pub fn percentile_ms(&self, part: f64) -> f64 {
        self.ledger.ways.value_at_quantile(part) as f64 / 1_000.0
    }

    /// Whatever was not as promised.
    pub fn wrong(&self) -> u64 {
        self.ledger.lost() + self.ledger.strange + self.unanswered
    }
}

impl Crowd {
    /// As much as goes, from the first `voices` of each room, each with so many messages under way.
    pub fn flood(&mut self, voices: usize, window: usize, time: Duration) -> io::Result<Heard> {
        let (mut talk, room) = (Talk::begin(self, voices), self.room);
        for speaker in (0..self.len()).filter(|number| number % room < voices) {
            let client = self.client(speaker);
            (0..window).for_each(|_| talk.say(client));
            client.flush()?;
        }
        while talk.started.elapsed() < time {
            self.turn(TICK, |client, packet| talk.hear(client, packet, true))?;
        }
        self.finish(talk)
    }

    /// So many messages a second, from all in turn.
    pub fn pace(&mut self, rate: usize, time: Duration) -> io::Result<Heard> {
        let mut talk = Talk::begin(self, self.room);
        let (mut said, rooms) = (0, self.len() / self.room);
        while talk.started.elapsed() < time {
            let due = (rate as f64 * talk.started.elapsed().as_secs_f64()) as usize;
            let portion = due.min(said + PORTION);
            while said < portion {
                // From room to room, and then the next in each.
                let speaker = said % rooms * self.room + said / rooms % self.room;
                let client = self.client(speaker);
                talk.say(client);
                client.flush()?;
                said += 1;
            }
            self.turn(TICK, |client, packet| talk.hear(client, packet, false))?;
        }
        self.finish(talk)
    }

    /// Waits until all of it was heard and acked, or will not be.
    fn finish(&mut self, mut talk: Talk) -> io::Result<Heard> {
        let (ended, messages, expected) = (Instant::now(), talk.ledger.messages(), talk.ledger.expected());
        while (talk.ledger.heard < expected || talk.acked < messages) && ended.elapsed() < PATIENCE {
            self.turn(TICK, |client, packet| talk.hear(client, packet, false))?;
        }
        Ok(Heard {
            unanswered: messages.saturating_sub(talk.acked) + talk.refused,
            ledger: talk.ledger,
            time: talk.last,
            bytes: talk.bytes,
        })
    }
}

impl Talk {
    fn begin(crowd: &Crowd, voices: usize) -> Self {
        let packet = |number| {
            let stamp = Stamp {
                speaker: number,
                number: 0,
                said_us: 0,
            };
            let (id, room, content) = (char::from(ASKED), crowd.room_of(number), stamp.content());
            let packet = format!("42{id}[\"message:send\",{{\"roomName\":\"{room}\",\"content\":\"{content}\"}}]");
            packet.into_bytes()
        };
        Self {
            packets: (0..crowd.len()).map(packet).collect(),
            ledger: Ledger::new(crowd.len(), crowd.room, voices),
            reader: Reader::default(),
            acked: 0,
            refused: 0,
            bytes: Bytes::default(),
            last: Duration::ZERO,
            started: Instant::now(),
        }
    }

    fn say(&mut self, client: &mut Client) {
        let stamp = Stamp {
            speaker: client.number,
            number: self.ledger.say(client.number),
            said_us: self.started.elapsed().as_micros() as u64,
        };
        let packet = &mut self.packets[client.number];
        stamp.write(packet);
        self.bytes.said += packet.len() as u64;
        client.say(packet);
    }

    /// With `goes_on`, an ack is followed by the next message.
    fn hear(&mut self, client: &mut Client, packet: &[u8], goes_on: bool) -> io::Result<()> {
        if packet.starts_with(b"42[\"message:new\"") {
            let stamp = self.reader.read(packet).ok_or_else(|| refused(packet))?;
            self.last = self.started.elapsed();
            self.bytes.heard += packet.len() as u64;
            self.ledger.hear(client.number, stamp, self.last.as_micros() as u64);
        } else if packet.starts_with(&[b'4', b'3', ASKED, b'[']) {
            self.acked += 1;
            self.bytes.acks += packet.len() as u64;
            self.refused += u64::from(!is_success(packet));
            if goes_on {
                self.say(client);
            }
        }
        Ok(())
    }
}
