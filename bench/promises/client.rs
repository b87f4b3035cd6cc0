//! A client that costs little: one WebSocket, frames by hand. It keeps what it needs to count, and nothing else.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::support::token::token;

/// Stands before the time at which a message was sent, µs since the crowd's beginning.
const SENT: &[u8] = b"\"content\":\"sent ";
const HEAD_END: &[u8] = b"\r\n\r\n";
const SCRATCH: usize = 64 * 1024;

/// What all clients of a crowd have heard.
#[derive(Default)]
pub struct Ears {
    /// Ways of messages, µs.
    pub ways: RefCell<Vec<u32>>,
    /// Acks of messages.
    pub acks: Cell<usize>,
    /// Acks that say no.
    pub refusals: Cell<usize>,
}

/// One socket; it hears until it is dropped.
pub struct Client {
    writer: OwnedWriteHalf,
    room: String,
    under_way: Rc<Cell<usize>>,
    acked: Rc<Notify>,
    _hearing: tokio_util::task::AbortOnDropHandle<()>,
}

impl Client {
    /// Connects, is told that it is connected, and joins.
    pub async fn enter(port: u16, number: usize, room: String, since: Instant, ears: Rc<Ears>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // One source address has some 28,000 ports.
        let source = Ipv4Addr::new(127, 0, 1 + (number / 20_000) as u8, 1);
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        let mut greeting = Greeting {
            stream,
            got: Vec::new(),
        };
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        greeting.stream.write_all(request.as_bytes()).await?;
        greeting.wait_for(HEAD_END).await?;
        let connect = format!("40{{\"token\":\"{}\"}}", token(&format!("user-{number}")));
        greeting.stream.write_all(&framed(connect.as_bytes())).await?;
        greeting.wait_for(b"42[\"authenticated\"").await?;
        let join = format!("420[\"room:join\",{{\"roomName\":\"{room}\"}}]");
        greeting.stream.write_all(&framed(join.as_bytes())).await?;
        greeting.wait_for(b"430[{\"success\":true").await?;
        let (reader, writer) = greeting.stream.into_split();
        let (under_way, acked) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        let hearing = Hearing {
            ears,
            since,
            under_way: Rc::clone(&under_way),
            acked: Rc::clone(&acked),
        };
        // What came behind the ack belongs to frames that are only counted from now on.
        let rest = greeting.got;
        Ok(Self {
            writer,
            room,
            under_way,
            acked,
            _hearing: tokio_util::task::AbortOnDropHandle::new(tokio::task::spawn_local(async move {
                // The end of the gateway, or of the bench.
                let _ended = hearing.run(reader, rest).await;
            })),
        })
    }

    /// Says one message; with `window`, waits until fewer than that are under way.
    pub async fn say(&mut self, since: Instant, window: usize) -> io::Result<()> {
        while self.under_way.get() >= window {
            self.acked.notified().await;
        }
        self.under_way.set(self.under_way.get() + 1);
        let sent = since.elapsed().as_micros();
        let message = format!(
            "421[\"message:send\",{{\"roomName\":\"{}\",\"content\":\"sent {sent} and thirty-two bytes of talk besides\"}}]",
            self.room
        );
        self.writer.write_all(&framed(message.as_bytes())).await
    }
}

/// Everything before the join's answer.
struct Greeting {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Greeting {
    /// Reads until a frame that holds this is whole, or the end of the handshake's answer, and forgets everything up to it.
    async fn wait_for(&mut self, words: &[u8]) -> io::Result<()> {
        loop {
            if let Some(at) = find(&self.got, words)
                && let Some(end) = self.end_of_what_holds(at, words)
            {
                self.got.drain(..end);
                return Ok(());
            }
            if self.stream.read_buf(&mut self.got).await? == 0 {
                let got = String::from_utf8_lossy(&self.got).into_owned();
                return Err(io::Error::other(format!("the gateway closed: {got}")));
            }
        }
    }

    fn end_of_what_holds(&self, place: usize, words: &[u8]) -> Option<usize> {
        if words == HEAD_END {
            return Some(place + words.len());
        }
        let mut end = 0;
        while end <= place {
            let (head, length) = frame(&self.got[end..])?;
            end += head + length;
        }
        (end <= self.got.len()).then_some(end)
    }
}

/// What hears for a client.
struct Hearing {
    ears: Rc<Ears>,
    since: Instant,
    under_way: Rc<Cell<usize>>,
    acked: Rc<Notify>,
}

impl Hearing {
    async fn run(self, reader: OwnedReadHalf, mut rest: Vec<u8>) -> io::Result<()> {
        loop {
            reader.readable().await?;
            BUFFER.with_borrow_mut(|buffer| {
                let read = match reader.try_read(buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                };
                if rest.is_empty() {
                    let used = self.hear(&reader, &buffer[..read]);
                    rest.extend_from_slice(&buffer[used..read]);
                } else {
                    rest.extend_from_slice(&buffer[..read]);
                    let used = self.hear(&reader, &rest);
                    rest.drain(..used);
                }
                if rest.is_empty() && rest.capacity() > 0 {
                    rest = Vec::new();
                }
                Ok(())
            })?;
        }
    }

    /// How many bytes whole frames took.
    fn hear(&self, reader: &OwnedReadHalf, bytes: &[u8]) -> usize {
        let mut start = 0;
        while let Some((head, length)) = frame(&bytes[start..]) {
            let Some(payload) = bytes.get(start + head..start + head + length) else {
                break;
            };
            start += head + length;
            if payload.starts_with(b"42[\"message:new\"") {
                let sent = find(payload, SENT).and_then(|at| number(&payload[at + SENT.len()..]));
                let now = self.since.elapsed().as_micros() as u64;
                let way = now.saturating_sub(sent.expect("every message says when it was sent"));
                self.ears.ways.borrow_mut().push(way as u32);
            } else if payload.starts_with(b"431[") {
                let is_refused = find(payload, b"\"success\":true").is_none();
                self.ears
                    .refusals
                    .set(self.ears.refusals.get() + usize::from(is_refused));
                self.ears.acks.set(self.ears.acks.get() + 1);
                self.under_way.set(self.under_way.get() - 1);
                self.acked.notify_one();
            } else if payload == b"2" {
                // Seven bytes, and little else is ever written here: they fit, or the gateway ends the silence.
                let _full = AsRef::<TcpStream>::as_ref(reader).try_write(&framed(b"3"));
            }
        }
        start
    }
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// A client's frame, masked with zeros.
fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.push(0x81);
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).expect("short messages").to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Length of the next frame's head and payload; `None` when more bytes have to come.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().expect("two"))),
        )),
        127 => Some((
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().expect("eight")) as usize,
        )),
        length => Some((2, usize::from(length))),
    }
}

fn find(bytes: &[u8], words: &[u8]) -> Option<usize> {
    bytes.windows(words.len()).position(|window| window == words)
}

fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
}
