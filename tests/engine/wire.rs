//! A client without manners: bytes over TCP, HTTP/1.1 answers and WebSocket frames read back by hand.
//! Not here: well-behaved clients (`client`).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Target, within};

/// The longest answer that is read.
const ANSWER_MAX_BYTES: usize = 8_000_000;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
/// Bits of a frame's first byte.
pub const FIN: u8 = 0x80;

/// One HTTP answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// One WebSocket frame from the server, or the end of the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Data { first_byte: u8, payload: Vec<u8> },
    End,
}

/// One TCP connection to a server.
pub struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub async fn connect(target: Target) -> Wire {
        let stream = within("connect", TcpStream::connect(target.addr))
            .await
            .expect("the server listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Wire {
            stream,
            read: Vec::new(),
        }
    }

    /// Writes to a server that must take it all.
    pub async fn write(&mut self, bytes: &[u8]) {
        assert!(self.offer(bytes).await, "the server has closed");
    }

    /// Writes to a server that may have closed, or may close without reading it all; says whether everything was taken.
    pub async fn offer(&mut self, bytes: &[u8]) -> bool {
        within("write", self.stream.write_all(bytes)).await.is_ok()
    }

    /// What the other side would see if this program were killed: a reset instead of an orderly end.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("SO_LINGER");
    }

    /// Reads the next HTTP answer; `None` when the connection ends before one is complete.
    pub async fn response(&mut self) -> Option<Response> {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end);
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let body = match (header(&head, "content-length"), header(&head, "transfer-encoding")) {
            (_, Some("chunked")) => self.chunks().await?,
            (Some(length), _) => self.exactly(length.parse().ok()?).await?,
            (None, _) => Vec::new(),
        };
        Some(Response { status, head, body })
    }

    /// Reads the next WebSocket frame.
    pub async fn frame(&mut self) -> Frame {
        self.try_frame().await.unwrap_or(Frame::End)
    }

    async fn try_frame(&mut self) -> Option<Frame> {
        let head = self.exactly(2).await?;
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.exactly(2).await?.try_into().ok()?)),
            127 => u64::from_be_bytes(self.exactly(8).await?.try_into().ok()?),
            short => u64::from(short),
        };
        let payload = self.exactly(usize::try_from(length).ok()?).await?;
        Some(Frame::Data {
            first_byte: head[0],
            payload,
        })
    }

    /// Waits until the server has closed; what it still sends is dropped.
    pub async fn until_closed(&mut self) {
        while self.more().await.is_some() {
            self.read.clear();
        }
    }

    async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        assert!(count <= ANSWER_MAX_BYTES, "an answer of {count} bytes");
        while self.read.len() < count {
            self.more().await?;
        }
        Some(self.read.drain(..count).collect())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = find(&self.read, b"\r\n") {
                    break at;
                }
                self.more().await?;
            };
            let size = usize::from_str_radix(std::str::from_utf8(&self.read[..end]).ok()?, 16).ok()?;
            self.read.drain(..end + 2);
            let chunk = self.exactly(size + 2).await?;
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    async fn more(&mut self) -> Option<()> {
        let count = within("read", self.stream.read_buf(&mut self.read)).await.ok()?;
        (count > 0).then_some(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// An HTTP request as a client would write it; `extra` are whole header lines.
pub fn http_request(target: Target, method: &str, query: &str, extra: &str, body: &[u8]) -> Vec<u8> {
    let length = if method == "GET" {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let head = format!(
        "{method} {}?{query} HTTP/1.1\r\nhost: {}\r\n{extra}{length}\r\n",
        target.path, target.addr
    );
    [head.as_bytes(), body].concat()
}

/// The header lines that ask for a WebSocket.
pub const WEBSOCKET_HEADERS: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// One frame, masked as a client's must be. `first_byte` is FIN, reserved bits and opcode.
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = frame_head(first_byte, 0x80, payload.len());
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// One frame as a client must not send it: without a mask.
pub fn unmasked(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_head(first_byte, 0, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

fn frame_head(first_byte: u8, mask_bit: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    match length {
        0..=125 => bytes.push(mask_bit | length as u8),
        126..=0xffff => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes
}

/// A whole text message in one frame.
pub fn text(payload: &str) -> Vec<u8> {
    frame(FIN | TEXT, payload.as_bytes())
}

/// A whole binary message in one frame.
pub fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}
