//! One client: what it says until it is in its room, and packets cut out of what it reads. What they mean once it is in is its
//! crowd's matter.

use std::io;
use std::mem;

use mio::{Registry, Token};

use super::frame::{Head, put_masked};
use super::pipe::Pipe;

/// The ack of a join is asked for by this number, those of everything later by `ASKED`.
const JOIN: u8 = b'0';
pub const ASKED: u8 = b'1';

const AUTHENTICATED: &[u8] = b"42[\"authenticated\"";
/// Stands before the name that a server knows a client by.
pub const USER: &[u8] = b"\"userId\":\"";

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The answer to the HTTP request has not come.
    Opening,
    /// The session stands, or is about to.
    Connecting,
    Joining,
    In,
}

pub struct Client {
    pub number: usize,
    pub phase: Phase,
    /// What the server calls it.
    pub user: Vec<u8>,
    pipe: Pipe,
    /// The beginning of something whose end has not come.
    rest: Vec<u8>,
}

/// Who comes, and where to.
pub struct Entry<'a> {
    pub number: usize,
    pub port: u16,
    pub token: &'a str,
    pub room: &'a str,
}

impl Client {
    /// Begins to connect.
    pub fn open(entry: &Entry<'_>, registry: &Registry) -> io::Result<Self> {
        let mut pipe = Pipe::open(entry.port, registry, Token(entry.number))?;
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            entry.port
        );
        pipe.queue().extend_from_slice(request.as_bytes());
        Ok(Self {
            number: entry.number,
            phase: Phase::Opening,
            user: Vec::new(),
            pipe,
            rest: Vec::new(),
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
        put_masked(packet, self.pipe.queue());
    }

    /// Writes what was queued, as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }

    /// Reads what has come, and gives each packet to `hear`; pings are answered here. With `to_the_end`, until its end.
    pub fn receive(
        &mut self,
        scratch: &mut [u8],
        to_the_end: bool,
        mut hear: impl FnMut(&mut Self, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while let Some(read) = self.pipe.read(scratch)? {
            if self.rest.is_empty() {
                let used = self.cut(&scratch[..read], &mut hear)?;
                self.rest.extend_from_slice(&scratch[used..read]);
            } else {
                let mut bytes = mem::take(&mut self.rest);
                bytes.extend_from_slice(&scratch[..read]);
                let used = self.cut(&bytes, &mut hear)?;
                self.rest.extend_from_slice(&bytes[used..]);
            }
            // Less than was asked for: there is no more, and what comes later is told.
            if read < scratch.len() && !to_the_end {
                break;
            }
        }
        Ok(())
    }

    /// How many bytes whole packets took.
    fn cut(&mut self, bytes: &[u8], hear: &mut impl FnMut(&mut Self, &[u8]) -> io::Result<()>) -> io::Result<usize> {
        let mut start = 0;
        if self.phase == Phase::Opening {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(refused(&bytes[..end]));
            }
            self.phase = Phase::Connecting;
            start = end + 4;
        }
        while let Some(head) = Head::read(&bytes[start..]) {
            let begin = start + head.length;
            let Some(packet) = bytes.get(begin..begin + head.payload) else {
                break;
            };
            start = begin + head.payload;
            match head.opcode {
                Head::CLOSE => return Err(io::ErrorKind::ConnectionAborted.into()),
                Head::PING => return Err(io::Error::other("a ping of WebSocket's own, which no contestant sends")),
                _ if packet == b"2" => self.say(b"3"),
                _ => hear(self, packet)?,
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
