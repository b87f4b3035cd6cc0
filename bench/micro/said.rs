//! What is said in these benches: one message, with contents of several lengths.

use nself_realtime::gateway::outgoing::message_body;
use nself_realtime::hot::frame::{Message, Position};
use nself_realtime::types::{RoomName, UserId};

/// Bytes of a message's content.
pub const CONTENTS: [usize; 4] = [50, 200, 1_000, 16_000];
/// How far who hears it has heard.
pub const OFFSET: &str = "0a1b2c3d.1700000000000123";

/// Words and numbers, some of which repeat, as in a chat; of exactly that many bytes.
pub fn content(len: usize) -> String {
    const WORDS: [&str; 12] = [
        "gateway", "room", "again", "tomorrow", "latency", "release", "before", "nobody", "metrics", "late", "please",
        "thanks",
    ];
    let mut text = String::with_capacity(len + 32);
    for number in 0.. {
        if text.len() >= len {
            break;
        }
        // Neither word follows the other regularly, or it would deflate to nothing.
        let (word, next) = (WORDS[number * number % 11], WORDS[number * 7 % 12]);
        text.push_str(&format!("{word} {} {next}, ", number * 7_919 % 10_007));
    }
    text.truncate(len);
    text
}

pub fn room() -> RoomName {
    RoomName::parse("channel:lobby").expect("a name")
}

pub fn user() -> UserId {
    UserId::parse("5b0e2a1c-7d1f-4c58-9f0e-3d2b1a0c9e8f").expect("an id")
}

/// A message as every node gets it.
pub fn message(len: usize) -> Message {
    Message {
        epoch: "k3JmZ1xQ".to_owned(),
        seq: 7_000,
        sent_ms: 1_700_000_000_000,
        position: Position {
            master: "0a1b2c3d".to_owned(),
            at_us: 1_700_000_000_000_123,
        },
        body: message_body(&room(), &user(), &content(len), None, None, None),
    }
}

/// The same as the scripts publish it.
pub fn published(message: &Message) -> String {
    let Message {
        epoch,
        seq,
        sent_ms,
        position,
        body,
    } = message;
    format!("m {epoch} {seq} {sent_ms} {position} c5f1.1/2\n{body}")
}
