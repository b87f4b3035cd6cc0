//! Plays a script to one server, and traces what comes back. It ends when the connection does, or when the server's own
//! heartbeat shows that there is no more. Not here: what is sent (`scripts`) and what is compared (`trace`).

use std::time::{Duration, Instant};

use crate::client::{PING_INTERVAL, SEPARATOR, Target, open_packet};
use crate::scripts::{Script, Server, Step};
use crate::trace::{Trace, hex, normal, shortened};
use crate::wire::{self, CLOSE, FIN, Frame, PING, PONG, TEXT, WEBSOCKET_HEADERS, Wire, http_request};

/// A server that has been silent for so long, pings included, has nothing to say.
const SILENCE: Duration = Duration::from_secs(3);

/// Plays one script; gives its trace.
pub async fn play(script: &Script, target: Target) -> String {
    let mut player = Player {
        target,
        sid: String::new(),
        websocket: None,
        last_sent: Instant::now(),
        trace: Trace::default(),
    };
    for step in &script.steps {
        player.step(step).await;
    }
    player.drain().await;
    player.still_serves(script.server).await;
    player.trace.line()
}

struct Player {
    target: Target,
    /// The polling session's id, once there is one.
    sid: String,
    websocket: Option<Wire>,
    last_sent: Instant,
    trace: Trace,
}

impl Player {
    async fn step(&mut self, step: &Step) {
        match step {
            Step::OpenPolling => {
                let Answer::Status(200, body) = self.request("GET", "EIO=4&transport=polling", b"").await else {
                    return self.trace.add("no session");
                };
                let open = open_packet(&body);
                self.sid = open["sid"].as_str().expect("a sid").to_owned();
            }
            Step::OpenWebsocket => {
                self.open_websocket("EIO=4&transport=websocket".to_owned()).await;
                self.expect_packet("0{").await;
            }
            Step::Connect => {
                self.send(&wire::text("40")).await;
                self.expect_packet("40{").await;
                self.expect_packet("42[\"auth\",{}]").await;
            }
            Step::Upgrade => {
                let query = format!("EIO=4&transport=websocket&sid={}", self.sid);
                self.open_websocket(query).await;
            }
            Step::Http(request) => {
                let answer = self.raw(&self.filled(request)).await;
                self.record_http(answer).await;
            }
            Step::Get => {
                let query = format!("EIO=4&transport=polling&sid={}", self.sid);
                let answer = self.request("GET", &query, b"").await;
                self.record_http(answer).await;
            }
            Step::Post(body) => {
                let query = format!("EIO=4&transport=polling&sid={}", self.sid);
                let bytes = http_request(self.target, "POST", &query, "content-type: text/plain\r\n", body);
                let answer = self.raw(&bytes).await;
                self.record_http(answer).await;
            }
            Step::Send(bytes) => {
                self.send(bytes).await;
            }
            Step::Await => {
                self.next_packet().await;
            }
            Step::Settle => self.drain().await,
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.last_sent = Instant::now();
        if let Some(websocket) = &mut self.websocket {
            websocket.offer(bytes).await; // the reader sees whether it is closed
        }
    }

    /// Bytes of a script, made for this server and session.
    fn filled(&self, bytes: &[u8]) -> Vec<u8> {
        let host = self.target.addr.to_string();
        let path = self.target.path;
        [
            ("{path}", path),
            ("{base}", path.trim_end_matches('/')),
            ("{host}", &host),
            ("{sid}", &self.sid),
        ]
        .iter()
        .fold(bytes.to_vec(), |bytes, (from, to)| {
            replaced(&bytes, from.as_bytes(), to.as_bytes())
        })
    }

    async fn open_websocket(&mut self, query: String) {
        let mut wire = Wire::connect(self.target).await;
        let bytes = http_request(self.target, "GET", &query, WEBSOCKET_HEADERS, b"");
        wire.write(&bytes).await;
        match wire.response().await.map(|response| response.status) {
            Some(101) => self.websocket = Some(wire),
            other => self.trace.add(format!("no WebSocket: {other:?}")),
        }
    }

    /// One HTTP request on a connection of its own.
    async fn raw(&mut self, bytes: &[u8]) -> Answer {
        self.last_sent = Instant::now();
        let mut wire = Wire::connect(self.target).await;
        wire.offer(bytes).await; // a server may refuse before it has read all
        match tokio::time::timeout(SILENCE, wire.response()).await {
            Ok(Some(response)) => Answer::Status(response.status, String::from_utf8_lossy(&response.body).into_owned()),
            Ok(None) => Answer::Closed,
            Err(_) => Answer::Silence,
        }
    }

    async fn request(&mut self, method: &str, query: &str, body: &[u8]) -> Answer {
        self.raw(&http_request(self.target, method, query, "", body)).await
    }

    /// Of refusals the status counts, of the rest the packets too; a ping is answered.
    async fn record_http(&mut self, answer: Answer) {
        match answer {
            Answer::Closed => self.trace.add("http closed"),
            Answer::Silence => self.trace.add("http silent"),
            Answer::Status(200, body) => {
                let (pings, packets): (Vec<_>, Vec<_>) = body.split(SEPARATOR).partition(|packet| *packet == "2");
                let packets: Vec<_> = packets.into_iter().map(normal).collect();
                self.trace.add(format!("http 200 {}", packets.join(" + ")));
                if !pings.is_empty() {
                    let query = format!("EIO=4&transport=polling&sid={}", self.sid);
                    self.request("POST", &query, b"3").await;
                }
            }
            Answer::Status(status, _) => self.trace.add(format!("http {status}")),
        }
    }

    /// Reads the next packet, which is recorded only when it does not begin as it should.
    async fn expect_packet(&mut self, beginning: &str) {
        let before = self.trace.len();
        self.next_packet().await;
        self.trace.forget(before, beginning);
    }

    /// Records the next frame that is no Engine.IO ping, unless the server shows that it has none.
    async fn next_packet(&mut self) {
        while self.websocket.is_some() {
            match tokio::time::timeout(SILENCE, self.frame()).await {
                Ok(Some(Heard::Ping)) if self.had_time() => return,
                Ok(Some(Heard::Ping | Heard::Farewell)) => {}
                Ok(Some(Heard::Packet) | None) => return,
                Err(_) => return self.trace.add("silent"),
            }
        }
    }

    /// Records what comes until the connection ends, or until the server shows that there is no more.
    async fn drain(&mut self) {
        if self.websocket.is_some() {
            self.drain_websocket().await;
        } else if !self.sid.is_empty() {
            self.drain_polling().await;
        }
    }

    async fn drain_websocket(&mut self) {
        while self.websocket.is_some() {
            match tokio::time::timeout(SILENCE, self.frame()).await {
                Ok(Some(Heard::Ping)) if self.had_time() => return,
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(_) => return self.trace.add("silent"),
            }
        }
    }

    /// Whether the server, whose ping has just come, has had most of an interval since the last byte of the script:
    /// its own heartbeat is the marker behind which nothing more is expected.
    fn had_time(&self) -> bool {
        self.last_sent.elapsed() > PING_INTERVAL * 3 / 4
    }

    /// A connection that has not been closed is asked for one more echo.
    async fn still_serves(&mut self, server: Server) {
        if self.websocket.is_some() {
            self.trace.add("open");
            let message = match server {
                Server::Engine => "4after",
                Server::Socket => r#"42["message","after"]"#,
            };
            self.send(&wire::text(message)).await;
            self.next_packet().await;
        }
    }

    /// Reads one frame, and records it unless it is a ping, which is answered; `None` at the end.
    async fn frame(&mut self) -> Option<Heard> {
        let websocket = self.websocket.as_mut()?;
        let (first_byte, payload) = match websocket.frame().await {
            Frame::End => {
                self.trace.add("closed");
                self.websocket = None;
                return None;
            }
            Frame::Data { first_byte, payload } => (first_byte, payload),
        };
        let text = String::from_utf8_lossy(&payload).into_owned();
        match first_byte & 0x0f {
            TEXT if text == "2" => {
                websocket.offer(&wire::text("3")).await; // closed by now is seen by the next read
                return Some(Heard::Ping);
            }
            TEXT if text == "1" => return Some(Heard::Farewell), // only announces the close, which is what counts
            TEXT => self.trace.packet(&text),
            CLOSE => {
                websocket.offer(&wire::frame(FIN | CLOSE, &payload)).await; // the server may have closed already
                websocket.until_closed().await;
                self.trace.add("closed");
                self.websocket = None;
                return None;
            }
            PING => self.trace.add("ping"),
            PONG => self.trace.add(format!("pong {} bytes", payload.len())),
            opcode => self.trace.add(format!("opcode {opcode} {}", shortened(&hex(&payload)))),
        }
        if first_byte & FIN == 0 {
            self.trace.add("unfinished");
        }
        Some(Heard::Packet)
    }

    /// As `drain_websocket`, poll by poll.
    async fn drain_polling(&mut self) {
        let last_sent = self.last_sent;
        loop {
            let query = format!("EIO=4&transport=polling&sid={}", self.sid);
            let body = match self.request("GET", &query, b"").await {
                Answer::Status(200, body) => body,
                Answer::Status(status, _) => return self.trace.add(format!("gone {status}")),
                Answer::Closed => return self.trace.add("poll closed"),
                Answer::Silence => return self.trace.add("silent"),
            };
            let settled = last_sent.elapsed() > PING_INTERVAL * 3 / 4;
            let mut pinged = false;
            for packet in body.split(SEPARATOR) {
                match packet {
                    "2" => pinged = true,
                    packet => self.trace.packet(packet),
                }
            }
            if pinged {
                self.request("POST", &query, b"3").await;
            }
            if pinged && settled {
                return self.trace.add("open");
            }
        }
    }
}

/// What came of an HTTP request.
enum Answer {
    Status(u16, String),
    Closed,
    Silence,
}

#[derive(PartialEq, Eq)]
enum Heard {
    Ping,
    Farewell,
    Packet,
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    result.extend_from_slice(rest);
    result
}
