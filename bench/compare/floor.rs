//! The floor: what the kernel allows when every delivery is one send(2) and nothing else is done. It takes whoever comes, knows rooms
//! by name, and copies what is said in one to its members. No token, no Redis, no JSON; answers are canned.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use memchr::memmem;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use crate::load::client::text_behind;
use crate::load::frame::{Head, put_plain};
use crate::load::pipe::Pipe;

const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 4_096;
const SCRATCH: usize = 64 * 1024;

/// The answer to the one key that the bench asks with.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const OPENED: &[u8] =
    br#"0{"sid":"floor","upgrades":[],"pingInterval":25000,"pingTimeout":60000,"maxPayload":1000000}"#;
const CONNECTED: &[u8] = br#"40{"sid":"floor"}"#;
const AUTHENTICATED: &[u8] = b"42[\"authenticated\",{\"userId\":\"";

struct Member {
    pipe: Pipe,
    is_upgraded: bool,
    room: usize,
    /// The beginning of something whose end has not come.
    rest: Vec<u8>,
}

#[derive(Default)]
struct Floor {
    members: HashMap<usize, Member, ahash::RandomState>,
    names: HashMap<Vec<u8>, usize>,
    rooms: Vec<Vec<usize>>,
    /// The frame that is being said.
    frame: Vec<u8>,
}

/// Serves until the process is ended.
pub fn serve(port: u16) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(BACKLOG)?;
    let mut listener = TcpListener::from_std(socket.into());
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1_024));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut floor, mut scratch, mut next) = (Floor::default(), vec![0; SCRATCH], 0);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    floor
                        .members
                        .insert(next, Member::new(Pipe::accepted(stream, poll.registry(), Token(next))?));
                    next += 1;
                }
            } else if floor.serve(event.token().0, &mut scratch).is_err() {
                floor.forget(event.token().0);
            }
        }
    }
}

impl Member {
    fn new(pipe: Pipe) -> Self {
        Self {
            pipe,
            is_upgraded: false,
            room: usize::MAX,
            rest: Vec::new(),
        }
    }

    fn answer(&mut self, packet: &[u8], frame: &mut Vec<u8>) -> io::Result<()> {
        frame.clear();
        put_plain(packet, frame);
        self.pipe.write(frame)
    }
}

impl Floor {
    /// Reads what a member has said, and does it.
    fn serve(&mut self, number: usize, scratch: &mut [u8]) -> io::Result<()> {
        let Some(member) = self.members.get_mut(&number) else {
            return Ok(());
        };
        member.pipe.flush()?;
        loop {
            let Some(member) = self.members.get_mut(&number) else {
                return Ok(());
            };
            let Some(read) = member.pipe.read(scratch)? else {
                return Ok(());
            };
            let mut bytes = std::mem::take(&mut member.rest);
            bytes.extend_from_slice(&scratch[..read]);
            let used = self.take(number, &mut bytes)?;
            if let Some(member) = self.members.get_mut(&number)
                && used < bytes.len()
            {
                member.rest = bytes.split_off(used);
            }
            if read < scratch.len() {
                return Ok(());
            }
        }
    }

    /// How many bytes whole packets took.
    fn take(&mut self, number: usize, bytes: &mut [u8]) -> io::Result<usize> {
        let member = self.members.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        let mut start = 0;
        if !member.is_upgraded {
            let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
                return Ok(0);
            };
            member.is_upgraded = true;
            member.pipe.write(UPGRADED)?;
            member.answer(OPENED, &mut self.frame)?;
            start = end + 4;
        }
        while let Some(head) = Head::read(&bytes[start..]) {
            let begin = start + head.length;
            let Some(packet) = bytes.get_mut(begin..begin + head.payload) else {
                break;
            };
            start = begin + head.payload;
            head.unmask(packet);
            self.hear(number, packet)?;
        }
        Ok(start)
    }

    fn hear(&mut self, number: usize, packet: &[u8]) -> io::Result<()> {
        let member = self.members.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        if packet.starts_with(b"40") {
            member.answer(CONNECTED, &mut self.frame)?;
            let name = format!("{number}\"}}]");
            return member.answer(&[AUTHENTICATED, name.as_bytes()].concat(), &mut self.frame);
        }
        let Some(asked) = packet.strip_prefix(b"42") else {
            return Ok(());
        };
        let (id, event) = asked.split_at(asked.iter().position(|&byte| byte == b'[').unwrap_or_default());
        let ack = [b"43", id, br#"[{"success":true}]"#].concat();
        if event.starts_with(br#"["room:join""#) {
            let name = text_behind(b"\"roomName\":\"", event).unwrap_or_default().to_vec();
            let rooms = &mut self.rooms;
            let room = *self.names.entry(name).or_insert_with(|| {
                rooms.push(Vec::new());
                rooms.len() - 1
            });
            rooms[room].push(number);
            member.room = room;
        } else if let Some(payload) = event.strip_prefix(br#"["message:send","#) {
            let room = member.room;
            self.say(room, None, &[br#"42["message:new","#, payload].concat())?;
        } else if event.starts_with(br#"["typing:start""#) {
            let (room, packet) = (
                member.room,
                format!("42[\"typing:event\",{{\"users\":[{{\"userId\":\"{number}\"}}]}}]"),
            );
            self.say(room, Some(number), packet.as_bytes())?;
        } else if event.starts_with(br#"["presence:update""#) {
            let status = String::from_utf8_lossy(text_behind(b"\"status\":\"", event).unwrap_or_default()).into_owned();
            let packet = format!("42[\"presence:changed\",{{\"userId\":\"{number}\",\"status\":\"{status}\"}}]");
            let room = member.room;
            self.say(room, Some(number), packet.as_bytes())?;
        }
        match self.members.get_mut(&number) {
            Some(member) => member.answer(&ack, &mut self.frame),
            None => Ok(()),
        }
    }

    /// One write to each member but one.
    fn say(&mut self, room: usize, but: Option<usize>, packet: &[u8]) -> io::Result<()> {
        self.frame.clear();
        put_plain(packet, &mut self.frame);
        for number in self.rooms.get(room).into_iter().flatten() {
            if Some(*number) != but
                && let Some(member) = self.members.get_mut(number)
            {
                // Whoever is gone is forgotten at its own event.
                let _is_gone = member.pipe.write(&self.frame).is_err();
            }
        }
        Ok(())
    }

    fn forget(&mut self, number: usize) {
        if let Some(member) = self.members.remove(&number)
            && let Some(room) = self.rooms.get_mut(member.room)
        {
            room.retain(|&other| other != number);
        }
    }
}
