//! A room of 50 by bare WebSockets that ask for compression: one says so many things, the others count what comes. They inflate
//! nothing while they are measured.

use std::net::SocketAddr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use crate::machine::{Clock, Spent};
use crate::payload::json_like;
use crate::support::frames::{FIN, Frames, OFFER, TEXT};
use crate::support::raw;
use crate::support::token::token;

/// One of them speaks.
pub const MEMBERS: usize = 50;
/// Messages under way.
const WINDOW: usize = 16;
/// Whatever is shorter is no message of the measured ones: a ping.
const LEAST_BYTES: usize = 150;
/// Of a frame below 64 KB, beside its payload.
const HEADER_BYTES: usize = 4;

pub struct Room {
    name: String,
    speaker: Frames,
    listeners: Vec<Frames>,
}

/// What the listeners heard, and what it took.
pub struct Heard {
    pub deliveries: usize,
    pub expected: usize,
    /// Of WebSocket, without TCP's.
    pub bytes: usize,
    pub spent: Spent,
}

impl Heard {
    /// Of the server, for a delivery.
    pub fn cpu_us(&self) -> f64 {
        self.spent.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }
}

impl Room {
    pub async fn enter(address: SocketAddr) -> Room {
        let name = raw::room();
        let mut members = Vec::new();
        for member in 0..MEMBERS {
            let mut frames = Frames::open(address, None, Some(OFFER)).await;
            let auth = json!({"token": token(&format!("member-{member}"))});
            frames.send(FIN | TEXT, format!("40{auth}").as_bytes()).await;
            let join = json!(["room:join", {"roomName": name}]);
            heard(&mut frames, "40").await;
            frames.send(FIN | TEXT, format!("420{join}").as_bytes()).await;
            heard(&mut frames, "430").await;
            members.push(frames);
        }
        let mut speaker = members.pop().expect("there are 50");
        // Behind it everything that is said of the joins has been heard.
        say(&mut speaker, &name, 1, "marker").await;
        for listener in &mut members {
            heard(listener, r#"42["message:new""#).await;
        }
        heard(&mut speaker, "431").await;
        Room {
            name,
            speaker,
            listeners: members,
        }
    }

    /// Says `messages` things of `len` bytes while the server's process is watched.
    pub async fn measure(mut self, pid: u32, messages: usize, len: usize) -> Heard {
        let mut random = StdRng::seed_from_u64(len as u64);
        let contents: Vec<_> = (0..64).map(|_| json_like(len, &mut random)).collect();
        let expected = messages * self.listeners.len();
        let clock = Clock::start(pid);
        let listening: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| tokio::spawn(count(listener, messages)))
            .collect();
        let (mut said, mut acknowledged) = (0, 0);
        while acknowledged < messages {
            while said < messages && said - acknowledged < WINDOW {
                say(&mut self.speaker, &self.name, 2, &contents[said % contents.len()]).await;
                said += 1;
            }
            heard(&mut self.speaker, "432").await;
            acknowledged += 1;
        }
        let (mut deliveries, mut bytes) = (0, 0);
        for listener in listening {
            let counted = listener.await.expect("a listener counts to the end");
            deliveries += counted.0;
            bytes += counted.1;
        }
        Heard {
            deliveries,
            expected,
            bytes,
            spent: clock.stop(),
        }
    }
}

async fn say(speaker: &mut Frames, room: &str, ack: u32, content: &str) {
    let event = json!(["message:send", {"roomName": room, "content": content}]);
    speaker.send(FIN | TEXT, format!("42{ack}{event}").as_bytes()).await;
}

/// Reads until a text begins so.
async fn heard(frames: &mut Frames, beginning: &str) {
    while !frames.text().await.starts_with(beginning) {}
}

/// Messages and bytes, until all came or the connection ended.
async fn count(mut listener: Frames, messages: usize) -> (usize, usize) {
    let (mut deliveries, mut bytes) = (0, 0);
    while deliveries < messages {
        match listener.next().await {
            Some((_, payload)) if payload.len() >= LEAST_BYTES => {
                deliveries += 1;
                bytes += payload.len() + HEADER_BYTES;
            }
            Some((_, payload)) if payload == b"2" => listener.send(FIN | TEXT, b"3").await,
            Some(_) => {}
            None => break,
        }
    }
    (deliveries, bytes)
}
