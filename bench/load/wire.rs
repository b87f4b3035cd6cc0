//! The two ways of a client: a WebSocket, or long polling with one request that waits and one that brings. It cuts packets out of what is
//! read, and writes packets; what they say is its client's matter.

use std::io;
use std::ops::Range;
use std::rc::Rc;

use memchr::{memchr, memmem};
use mio::{Registry, Token};

use super::client::{refused, text_behind};
use super::frame::{Head, put_masked};
use super::pipe::Pipe;

/// Between two packets of one body.
pub const SEPARATOR: u8 = 0x1e;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// How clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Polling,
}

/// A socket, and the beginning of something whose end has not come.
pub struct Half {
    pub pipe: Pipe,
    pub rest: Vec<u8>,
}

/// What stands first in some bytes.
pub struct Piece {
    /// Bytes until the next.
    pub length: usize,
    /// Of the packets, with separators between.
    pub packets: Range<usize>,
}

pub enum Wire {
    WebSocket { half: Half, is_open: bool },
    Polling(Box<Polling>),
}

pub struct Polling {
    /// It brings packets.
    get: Half,
    /// It takes them; servers close it when it has been idle for some seconds.
    post: Half,
    is_closed: bool,
    registry: Rc<Registry>,
    number: usize,
    port: u16,
    /// Empty until the session stands.
    sid: String,
    /// What the next POST takes.
    waiting: Vec<u8>,
    /// The POST that has no answer yet.
    posted: Vec<u8>,
}

/// The token of a client's socket: each client has two, of which a WebSocket needs one.
pub fn token(number: usize, half: usize) -> Token {
    Token(number * 2 + half)
}

/// Whose socket it is, and which one.
pub fn owner(token: Token) -> (usize, usize) {
    (token.0 / 2, token.0 % 2)
}

impl Half {
    fn open(port: u16, registry: &Registry, token: Token) -> io::Result<Self> {
        Ok(Self {
            pipe: Pipe::open(port, registry, token)?,
            rest: Vec::new(),
        })
    }
}

impl Wire {
    /// Begins to connect.
    pub fn open(transport: Transport, number: usize, port: u16, registry: &Rc<Registry>) -> io::Result<Self> {
        let mut half = Half::open(port, registry, token(number, 0))?;
        if transport == Transport::WebSocket {
            let request = format!(
                "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            half.pipe.queue().extend_from_slice(request.as_bytes());
            return Ok(Self::WebSocket { half, is_open: false });
        }
        let mut polling = Polling {
            get: half,
            post: Half::open(port, registry, token(number, 1))?,
            is_closed: false,
            registry: Rc::clone(registry),
            number,
            port,
            sid: String::new(),
            waiting: Vec::new(),
            posted: Vec::new(),
        };
        polling.poll();
        Ok(Self::Polling(Box::new(polling)))
    }

    pub fn half(&mut self, half: usize) -> &mut Half {
        match self {
            Self::WebSocket { half, .. } => half,
            Self::Polling(polling) => match half {
                0 => &mut polling.get,
                _ => &mut polling.post,
            },
        }
    }

    /// Bytes that have come on one socket; `None` when there are none.
    pub fn read(&mut self, half: usize, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        let read = self.half(half).pipe.read(scratch);
        match self {
            Self::Polling(polling) if half == 1 && read.is_err() => polling.closed().map(|()| None),
            _ => read,
        }
    }

    /// Queues a packet for `flush`.
    pub fn say(&mut self, packet: &[u8]) {
        match self {
            Self::WebSocket { half, .. } => put_masked(packet, half.pipe.queue()),
            Self::Polling(polling) => {
                if !polling.waiting.is_empty() {
                    polling.waiting.push(SEPARATOR);
                }
                polling.waiting.extend_from_slice(packet);
            }
        }
    }

    /// Writes what was queued, as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::WebSocket { half, .. } => half.pipe.flush(),
            Self::Polling(polling) => {
                polling.bring()?;
                polling.get.pipe.flush()?;
                polling.post.pipe.flush()
            }
        }
    }

    /// Cuts the first piece off what one socket has read; `None` when it is not whole yet.
    pub fn cut(&mut self, half: usize, bytes: &[u8]) -> io::Result<Option<Piece>> {
        match self {
            Self::WebSocket { is_open: true, .. } => frame(bytes),
            Self::WebSocket { is_open, .. } => {
                let Some(end) = memmem::find(bytes, HEAD_END) else {
                    return Ok(None);
                };
                if !bytes.starts_with(b"HTTP/1.1 101") {
                    return Err(refused(bytes));
                }
                *is_open = true;
                Ok(Some(Piece {
                    length: end + HEAD_END.len(),
                    packets: 0..0,
                }))
            }
            Self::Polling(polling) => {
                let Some(mut piece) = response(bytes)? else {
                    return Ok(None);
                };
                if half == 0 {
                    polling.polled(&bytes[piece.packets.clone()])?;
                } else {
                    polling.posted.clear();
                    piece.packets = 0..0; // it says ok
                }
                Ok(Some(piece))
            }
        }
    }
}

impl Polling {
    fn polled(&mut self, body: &[u8]) -> io::Result<()> {
        if self.sid.is_empty() {
            let sid = text_behind(b"\"sid\":\"", body).ok_or_else(|| refused(body))?;
            self.sid = String::from_utf8_lossy(sid).into_owned();
        }
        self.poll();
        Ok(())
    }

    fn path(&self) -> String {
        let sid = if self.sid.is_empty() { "" } else { "&sid=" };
        format!("/socket.io/?EIO=4&transport=polling{sid}{}", self.sid)
    }

    fn poll(&mut self) {
        let request = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.path(), self.port);
        self.get.pipe.queue().extend_from_slice(request.as_bytes());
    }

    /// One POST at a time, as clients have to.
    fn bring(&mut self) -> io::Result<()> {
        if !self.posted.is_empty() || self.waiting.is_empty() || self.sid.is_empty() {
            return Ok(());
        }
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n",
            self.path(),
            self.port,
            self.waiting.len()
        );
        self.posted.extend_from_slice(head.as_bytes());
        self.posted.append(&mut self.waiting);
        if self.is_closed {
            self.reopen()?;
        } else {
            self.post.pipe.queue().extend_from_slice(&self.posted);
        }
        Ok(())
    }

    /// A POST that the server closed upon is sent again, as browsers do.
    fn closed(&mut self) -> io::Result<()> {
        self.is_closed = true;
        if self.posted.is_empty() { Ok(()) } else { self.reopen() }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.post = Half::open(self.port, &self.registry, token(self.number, 1))?;
        self.is_closed = false;
        self.post.pipe.queue().extend_from_slice(&self.posted);
        Ok(())
    }
}

fn frame(bytes: &[u8]) -> io::Result<Option<Piece>> {
    let Some(head) = Head::read(bytes) else {
        return Ok(None);
    };
    let length = head.length + head.payload;
    match head.opcode {
        Head::CLOSE => Err(io::ErrorKind::ConnectionAborted.into()),
        Head::PING => Err(io::Error::other("a ping of WebSocket's own, which no contestant sends")),
        _ => Ok((bytes.len() >= length).then_some(Piece {
            length,
            packets: head.length..length,
        })),
    }
}

/// An answer that says how long it is, or comes in one chunk.
fn response(bytes: &[u8]) -> io::Result<Option<Piece>> {
    let Some(end) = memmem::find(bytes, HEAD_END) else {
        return Ok(None);
    };
    if !bytes.starts_with(b"HTTP/1.1 200") {
        return Err(refused(bytes));
    }
    let start = end + HEAD_END.len();
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let (packets, length) = if let Some(length) = value("content-length:") {
        let length: usize = length.parse().map_err(io::Error::other)?;
        (start..start + length, start + length)
    } else if value("transfer-encoding:") == Some("chunked") {
        let Some(line) = memchr(b'\n', &bytes[start..]) else {
            return Ok(None);
        };
        let size = String::from_utf8_lossy(&bytes[start..start + line]).into_owned();
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        let begin = start + line + 1;
        let tail = b"\r\n0\r\n\r\n";
        match bytes.get(begin + size..begin + size + tail.len()) {
            None => return Ok(None),
            Some(last) if last != tail => return Err(io::Error::other("an answer in several chunks")),
            Some(_) => (begin..begin + size, begin + size + tail.len()),
        }
    } else {
        return Err(refused(bytes));
    };
    Ok((bytes.len() >= length).then_some(Piece { length, packets }))
}
