//! One client: what it says until it is in its room, and whatever it hears from then on, which is
//! its crowd's matter. Not here: how packets travel (`wire`).

use std::io;
use std::mem;
use std::rc::Rc;

use mio::Registry;

use super::wire::{SEPARATOR, Transport, Wire};

/// The ack of a join is asked for by this number, those of everything later by `ASKED`.
const JOIN: u8 = b'0';
pub const ASKED: u8 = b'1';

const AUTHENTICATED: &[u8] = b"42[\"authenticated\"";
/// Stands before the name that a server knows a client by.
pub const USER: &[u8] = b"\"userId\":\"";

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Connecting,
    Joining,
    In,
}

pub struct Client {
    pub number: usize,
    pub phase: Phase,
    /// What the server calls it.
    pub user: Vec<u8>,
    wire: Wire,
}

/// Who comes, and where to.
pub struct Entry<'a> {
    pub number: usize,
    pub port: u16,
    pub transport: Transport,
    pub token: &'a str,
    pub room: &'a str,
}

impl Client {
    /// Begins to connect.
    pub fn open(entry: &Entry<'_>, registry: &Rc<Registry>) -> io::Result<Self> {
        Ok(Self {
            number: entry.number,
            phase: Phase::Connecting,
            user: Vec::new(),
            wire: Wire::open(entry.transport, entry.number, entry.port, registry)?,
        })
    }

    /// Takes its next step into the room, if this packet is what it waits for.
    pub fn enter(&mut self, packet: &[u8], entry: &Entry<'_>) -> io::Result<()> {
        match (self.phase, packet) {
            (Phase::Connecting, [b'0', ..]) => self.say(format!("40{{\"token\":\"{}\"}}", entry.token).as_bytes()),
            (Phase::Connecting, [b'4', b'0', ..]) => {
                self.phase = Phase::Joining;
                let join = format!(
                    "42{}[\"room:join\",{{\"roomName\":\"{}\"}}]",
                    char::from(JOIN),
                    entry.room
                );
                self.say(join.as_bytes());
            }
            (Phase::Joining, _) if packet.starts_with(AUTHENTICATED) => {
                let name = text_behind(USER, packet).ok_or_else(|| refused(packet))?;
                self.user = name.to_vec();
            }
            (Phase::Joining, [b'4', b'3', JOIN, b'[', ..]) if is_success(packet) => self.phase = Phase::In,
            (Phase::Joining, [b'4', b'3', ..]) | (_, [b'4', b'4', ..]) => return Err(refused(packet)),
            _ => {}
        }
        Ok(())
    }

    /// Queues a packet for `flush`.
    pub fn say(&mut self, packet: &[u8]) {
        self.wire.say(packet);
    }

    /// Writes what was queued, as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        self.wire.flush()
    }

    /// Reads what has come on one of its sockets, and gives each packet to `hear`; pings are answered here. With `to_the_end`, until
    /// its end.
    pub fn receive(
        &mut self,
        half: usize,
        scratch: &mut [u8],
        to_the_end: bool,
        mut hear: impl FnMut(&mut Self, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some(read) = self.wire.read(half, scratch)? {
            let rest = &mut self.wire.half(half).rest;
            if rest.is_empty() {
                let used = self.cut(half, &scratch[..read], &mut hear)?;
                self.wire.half(half).rest.extend_from_slice(&scratch[used..read]);
            } else {
                let mut bytes = mem::take(rest);
                bytes.extend_from_slice(&scratch[..read]);
                let used = self.cut(half, &bytes, &mut hear)?;
                self.wire.half(half).rest.extend_from_slice(&bytes[used..]);
            }
            // Less than was asked for: there is no more, and what comes later is told.
            if read < scratch.len() && !to_the_end {
                break;
            }
        }
        Ok(())
    }

    /// How many bytes whole pieces took.
    fn cut(
        &mut self,
        half: usize,
        bytes: &[u8],
        hear: &mut impl FnMut(&mut Self, &[u8]) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut start = 0;
        while let Some(piece) = self.wire.cut(half, &bytes[start..])? {
            let mut packets = &bytes[start..][piece.packets];
            start += piece.length;
            while !packets.is_empty() {
                let end = memchr::memchr(SEPARATOR, packets).unwrap_or(packets.len());
                match &packets[..end] {
                    b"2" => self.say(b"3"),
                    b"6" => {} // ends a poll that nothing came for
                    packet => hear(self, packet)?,
                }
                packets = packets.get(end + 1..).unwrap_or_default();
            }
        }
        Ok(start)
    }
}

/// The text whose name and opening quote are these.
pub fn text_behind<'a>(name: &[u8], packet: &'a [u8]) -> Option<&'a [u8]> {
    let rest = &packet[memchr::memmem::find(packet, name)? + name.len()..];
    Some(&rest[..memchr::memchr(b'"', rest)?])
}

/// Whether an ack says so.
pub fn is_success(ack: &[u8]) -> bool {
    memchr::memmem::find(ack, b"\"success\":true").is_some()
}

/// What a server said instead of yes.
pub fn refused(said: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(&said[..said.len().min(300)]).into_owned();
    io::Error::other(format!("refused: {said}"))
}
