//! Well-behaved Engine.IO clients: HTTP long-polling over reqwest, WebSocket over tungstenite, so that the tests speak
//! through implementations that are not ours. Not here: bytes that no client would send (`wire`).

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// What the examples are configured with; the oracle is given the same.
pub const PING_INTERVAL: Duration = Duration::from_millis(300);
pub const PING_TIMEOUT: Duration = Duration::from_millis(200);
/// The ping timeout of servers in tests that are not about the heartbeat: as much as a busy machine needs for a pong.
pub const PATIENT_PING_TIMEOUT: Duration = Duration::from_secs(10);
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
pub const MAX_PAYLOAD: usize = 1_000_000;

/// No single wait of a test is longer; what takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Separates the packets of one polling payload.
pub const SEPARATOR: char = '\u{1e}';

/// A server under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub addr: SocketAddr,
    pub path: &'static str,
}

impl Target {
    pub fn url(&self, scheme: &str, query: &str) -> String {
        format!("{scheme}://{}{}?{query}", self.addr, self.path)
    }
}

/// Fails the test instead of hanging it.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: nothing after {PATIENCE:?}"),
    }
}

/// The answer to one HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn packets(&self) -> Vec<&str> {
        self.body.split(SEPARATOR).collect()
    }
}

/// Sends one HTTP request with the given query, and the session's if it names none.
pub async fn request(http: &reqwest::Client, method: &str, url: &str, body: Option<Vec<u8>>) -> Answer {
    let method = method.parse().expect("a method");
    let mut request = http.request(method, url);
    if let Some(body) = body {
        request = request.header("content-type", "text/plain;charset=UTF-8").body(body);
    }
    let response = within(url, request.send()).await.expect("an answer");
    Answer {
        status: response.status().as_u16(),
        body: within(url, response.text()).await.expect("a body"),
    }
}

/// How requests of one polling session reach the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Kept alive and reused, as browsers do.
    Reused,
    /// Every request on a TCP connection of its own, which may be any shard's.
    OnePerRequest,
}

/// One Engine.IO session over HTTP long-polling.
#[derive(Clone)]
pub struct Polling {
    pub http: reqwest::Client,
    pub target: Target,
    pub sid: String,
    pub handshake: Value,
}

impl Polling {
    pub async fn open(target: Target) -> Polling {
        Polling::open_with(target, Connections::Reused).await
    }

    pub async fn open_with(target: Target, connections: Connections) -> Polling {
        let mut builder = reqwest::Client::builder().no_proxy();
        if connections == Connections::OnePerRequest {
            builder = builder.pool_max_idle_per_host(0);
        }
        let http = builder.build().expect("a client");
        let url = target.url("http", "EIO=4&transport=polling");
        let answer = request(&http, "GET", &url, None).await;
        assert_eq!(answer.status, 200, "the handshake: {answer:?}");
        let handshake = open_packet(&answer.body);
        let sid = handshake["sid"].as_str().expect("sid is a string").to_owned();
        Polling {
            http,
            target,
            sid,
            handshake,
        }
    }

    pub fn url(&self) -> String {
        self.target
            .url("http", &format!("EIO=4&transport=polling&sid={}", self.sid))
    }

    /// One poll, as it is answered.
    pub async fn get(&self) -> Answer {
        request(&self.http, "GET", &self.url(), None).await
    }

    /// One payload to the server, as it is answered.
    pub async fn post(&self, payload: impl Into<Vec<u8>>) -> Answer {
        request(&self.http, "POST", &self.url(), Some(payload.into())).await
    }

    /// Sends a payload that the server must take.
    pub async fn send(&self, payload: &str) {
        let answer = self.post(payload).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "ok"),
            "after {payload:.80}"
        );
    }

    /// The packets of the next poll that brings any besides the server's pings, which are answered.
    pub async fn packets(&self) -> Vec<String> {
        loop {
            let answer = self.get().await;
            assert_eq!(answer.status, 200, "a poll: {answer:?}");
            let (pings, packets): (Vec<_>, Vec<_>) = answer.packets().into_iter().partition(|packet| *packet == "2");
            if !pings.is_empty() {
                self.send("3").await;
            }
            if !packets.is_empty() {
                return packets.into_iter().map(str::to_owned).collect();
            }
        }
    }

    /// The first answer to a poll that is not merely a ping.
    pub async fn poll(&self) -> Answer {
        loop {
            let answer = self.get().await;
            if answer.body != "2" {
                return answer;
            }
            self.send("3").await;
        }
    }

    /// Packets of as many polls as it takes to have `count` of them.
    pub async fn take(&self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.packets().await);
        }
        all
    }

    /// A WebSocket that asks to take this session over.
    pub async fn upgrade(&self) -> Ws {
        let query = format!("EIO=4&transport=websocket&sid={}", self.sid);
        Ws::connect(self.target, &query).await.expect("the WebSocket handshake")
    }
}

/// What came over a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Text(String),
    Binary(Vec<u8>),
    /// Closed, with or without a closing handshake; the code if there was one.
    Closed(Option<u16>),
}

impl Received {
    pub fn text(self) -> String {
        match self {
            Received::Text(text) => text,
            other => panic!("not a text: {other:?}"),
        }
    }
}

/// One WebSocket. Pings of the WebSocket protocol are answered by tungstenite, those of Engine.IO by whoever calls `packet`.
pub struct Ws {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Ws {
    /// Opens a WebSocket; `Err` is the HTTP status that refused it.
    pub async fn connect(target: Target, query: &str) -> Result<Ws, u16> {
        let url = target.url("ws", query);
        match within(&url, tokio_tungstenite::connect_async(&url)).await {
            Ok((stream, _)) => Ok(Ws { stream }),
            Err(WsError::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{url}: {error}"),
        }
    }

    /// A new session; gives the handshake's JSON.
    pub async fn open(target: Target) -> (Ws, Value) {
        let mut ws = Ws::connect(target, "EIO=4&transport=websocket")
            .await
            .expect("the WebSocket handshake");
        let handshake = open_packet(&ws.receive().await.text());
        (ws, handshake)
    }

    pub async fn send(&mut self, text: impl Into<String>) {
        let message = Message::text(text.into());
        within("send", self.stream.send(message))
            .await
            .expect("the connection takes it");
    }

    pub async fn send_binary(&mut self, data: impl Into<Vec<u8>>) {
        let message = Message::binary(data.into());
        within("send", self.stream.send(message))
            .await
            .expect("the connection takes it");
    }

    /// Puts texts into as few writes as the buffers allow.
    pub async fn send_all(&mut self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            within("feed", self.stream.feed(Message::text(text)))
                .await
                .expect("the connection takes it");
        }
        within("flush", self.stream.flush())
            .await
            .expect("the connection takes it");
    }

    /// Whatever comes next.
    pub async fn receive(&mut self) -> Received {
        loop {
            match within("receive", self.stream.next()).await {
                Some(Ok(Message::Text(text))) => return Received::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(data))) => return Received::Binary(data.to_vec()),
                Some(Ok(Message::Close(frame))) => return Received::Closed(frame.map(|frame| frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                None | Some(Err(_)) => return Received::Closed(None),
            }
        }
    }

    /// The next packet that is no Engine.IO ping; pings are answered. A close packet only announces the close.
    pub async fn packet(&mut self) -> Received {
        loop {
            match self.receive().await {
                Received::Text(text) if text == "2" => self.send("3").await,
                Received::Text(text) if text == "1" => {}
                other => return other,
            }
        }
    }

    /// The text of the next packet that is no ping.
    pub async fn text(&mut self) -> String {
        self.packet().await.text()
    }

    /// Waits for the end without answering anything; what came before it is given, without a close packet.
    pub async fn until_closed(&mut self) -> Vec<Received> {
        let mut before = Vec::new();
        loop {
            match self.receive().await {
                Received::Closed(_) => return before,
                Received::Text(text) if text == "1" => {}
                other => before.push(other),
            }
        }
    }

    /// The probe of an upgrade, up to the server's answer.
    pub async fn probe(&mut self) {
        self.send("2probe").await;
        assert_eq!(self.receive().await, Received::Text("3probe".into()));
    }
}

/// The JSON of an open packet.
pub fn open_packet(packet: &str) -> Value {
    let json = packet
        .strip_prefix('0')
        .unwrap_or_else(|| panic!("not an open packet: {packet}"));
    serde_json::from_str(json).expect("JSON")
}
