//! A bare client: packets as text, by WebSocket or polling.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::PATIENCE;

pub struct Client(pub WebSocketStream<TcpStream>);

impl Client {
    /// A WebSocket, of a session that polls or of its own.
    pub async fn open(addr: SocketAddr, sid: Option<&str>) -> Self {
        let tcp = TcpStream::connect(addr).await.unwrap();
        let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket{sid}");
        let (socket, _response) = tokio_tungstenite::client_async(url, tcp).await.unwrap();
        Self(socket)
    }

    /// A WebSocket that is connected to `/`.
    pub async fn connected(addr: SocketAddr) -> Self {
        let mut client = Self::open(addr, None).await;
        assert!(client.text().await.starts_with('0'));
        client.send("40").await;
        assert!(client.text().await.starts_with(r#"40{"sid":"#));
        client
    }

    pub async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next text; pings are answered on the way.
    pub async fn text(&mut self) -> String {
        loop {
            match self.message().await {
                Message::Text(text) if text == "2" => self.send("3").await,
                Message::Text(text) => return text.to_string(),
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    /// Reads to the end; the close code, if the server said one.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.unwrap() {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn message(&mut self) -> Message {
        let message = tokio::time::timeout(PATIENCE, self.0.next()).await;
        message.expect("a message in time").expect("an open socket").unwrap()
    }
}

/// A session on polling.
pub struct Poller {
    http: reqwest::Client,
    pub url: String,
    pub sid: String,
}

impl Poller {
    pub async fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr).await.unwrap()
    }

    /// The answer, when it is an error.
    pub async fn try_open(addr: SocketAddr) -> Result<Self, reqwest::Response> {
        let base = format!("http://{addr}/socket.io/?EIO=4&transport=polling");
        // A connection for each request, so that each comes in by another shard.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let answer = http.get(&base).send().await.unwrap();
        if answer.status() != 200 {
            return Err(answer);
        }
        let open = answer.text().await.unwrap();
        let open: serde_json::Value = serde_json::from_str(&open[1..]).unwrap();
        let sid = open["sid"].as_str().unwrap().to_owned();
        let url = format!("{base}&sid={sid}");
        Ok(Self { http, url, sid })
    }

    /// A session that is connected to `/`.
    pub async fn connected(addr: SocketAddr) -> Self {
        let poller = Self::open(addr).await;
        poller.post("40").await;
        assert!(poller.get().await[0].starts_with("40"));
        poller
    }

    /// A WebSocket that has taken over; what the last poll brought is dropped.
    pub async fn upgraded(&self, addr: SocketAddr) -> Client {
        let mut socket = Client::open(addr, Some(&self.sid)).await;
        socket.send("2probe").await;
        assert_eq!(socket.text().await, "3probe");
        self.get().await;
        socket.send("5").await;
        socket
    }

    pub async fn post(&self, payload: &str) {
        let request = self.http.post(&self.url).body(payload.to_owned());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "ok");
    }

    pub async fn get(&self) -> Vec<String> {
        self.try_get().await.unwrap()
    }

    /// The status, when it is an error.
    pub async fn try_get(&self) -> Result<Vec<String>, u16> {
        let answer = self.http.get(&self.url).send().await.unwrap();
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        let payload = answer.text().await.unwrap();
        Ok(payload.split('\u{1e}').map(str::to_owned).collect())
    }
}
