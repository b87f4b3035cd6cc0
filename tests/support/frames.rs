//! A WebSocket by hand, frame by frame, for what no client does: odd bits, torn and poisoned compression. It compresses by
//! itself (RFC 7692), so it shares no code with the gateway that it tests.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

pub const FIN: u8 = 0x80;
pub const RSV1: u8 = 0x40;
pub const RSV2: u8 = 0x20;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;

/// As browsers ask for it.
pub const OFFER: &str = "permessage-deflate; client_max_window_bits";
/// Longer than anything that is waited for takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a flush leaves behind, and no frame carries.
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// An open WebSocket.
pub struct Frames {
    tcp: BufReader<TcpStream>,
    /// What the server answered to the extensions that were offered.
    pub extensions: Option<String>,
}

impl Frames {
    /// A WebSocket of an Engine.IO session of its own, or of the one that polls under `sid`.
    pub async fn open(addr: SocketAddr, sid: Option<&str>, offer: Option<&str>) -> Frames {
        let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let offer = offer.map(|offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{sid} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
            offer.unwrap_or_default()
        );
        let tcp = TcpStream::connect(addr).await.expect("it listens");
        tcp.set_nodelay(true).expect("it is TCP");
        let mut tcp = BufReader::with_capacity(32 << 10, tcp);
        tcp.write_all(request.as_bytes()).await.expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(patiently(tcp.read_u8()).await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("a head is text").to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        let extensions = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-extensions: "));
        let extensions = extensions.map(str::to_owned);
        Frames { tcp, extensions }
    }

    /// The same, connected to `/`.
    pub async fn connected(addr: SocketAddr, offer: Option<&str>) -> Frames {
        let mut frames = Frames::open(addr, None, offer).await;
        assert!(frames.text().await.starts_with('0'));
        frames.send(FIN | TEXT, b"40").await;
        assert!(frames.text().await.starts_with("40"));
        frames
    }

    /// One frame, by its first byte.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let bytes = frame(first, payload);
        // The server may have had enough; whoever waits for what it says then sees it.
        let _may_be_over = self.tcp.write_all(&bytes).await;
    }

    /// A text as a client sends it that compresses.
    pub async fn send_compressed(&mut self, text: &str) {
        self.send(FIN | RSV1 | TEXT, &deflate(text.as_bytes())).await;
    }

    /// The next frame: its first byte and its payload. `None` when there is none.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        patiently(self.read()).await
    }

    /// The next text, inflated if need be; Engine.IO's pings are answered on the way.
    pub async fn text(&mut self) -> String {
        loop {
            let (first, payload) = self.next().await.expect("a frame");
            let payload = if first & RSV1 == 0 { payload } else { inflate(&payload) };
            assert_eq!(first & !RSV1, FIN | TEXT, "{:?}", String::from_utf8_lossy(&payload));
            match &payload[..] {
                b"2" => self.send(FIN | TEXT, b"3").await,
                _ => return String::from_utf8(payload).expect("a text"),
            }
        }
    }

    /// Reads to the end; the close code, if the server said one.
    pub async fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some((first, payload)) = self.next().await {
            if first == FIN | CLOSE {
                code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
        code
    }

    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.tcp.read_u8().await.ok()?;
        let len = match self.tcp.read_u8().await.ok()? {
            126 => u64::from(self.tcp.read_u16().await.ok()?),
            127 => self.tcp.read_u64().await.ok()?,
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).expect("it fits")];
        self.tcp.read_exact(&mut payload).await.ok()?;
        Some((first, payload))
    }
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes in time")
}

/// A client's frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xA5, 0x00, 0x3C, 0x77];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The payload of a compressed message.
pub fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).expect("memory takes everything");
    encoder.flush().expect("memory takes everything");
    let mut deflated = encoder.get_ref().clone();
    deflated.truncate(deflated.len() - TAIL.len());
    deflated
}

/// A compressed message as it was.
pub fn inflate(payload: &[u8]) -> Vec<u8> {
    let last_block = [1, 0, 0, 0xFF, 0xFF];
    let deflated = [payload, &TAIL, &last_block].concat();
    let mut inflated = Vec::new();
    DeflateDecoder::new(&deflated[..])
        .read_to_end(&mut inflated)
        .expect("it is deflated");
    inflated
}
