//! What the engine promises the application above it: order, one `disconnected` each, farewells, refusals, `pid`, the newest
//! frame of a key, the latency. Not here: what a client alone can see (the other modules).

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use http::StatusCode;
use nself_realtime::engine::{
    Application, CloseReason, ConnectError, Event, Frame, Handshake, Refusal, RefusalCause, Server, Settings, Socket,
    Transport,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::client::{PATIENT_PING_TIMEOUT, PING_INTERVAL, PING_TIMEOUT, Polling, Received, Target, Ws, within};
use crate::wire::{Wire, http_request};

/// An application that does what its client's events name, and tells the test what it saw.
struct Probe {
    seen: mpsc::UnboundedSender<String>,
    /// What `wait` waits for; the test adds permits.
    gate: Arc<Semaphore>,
}

impl Probe {
    fn saw(&self, what: impl Into<String>) {
        let _the_test_may_have_seen_enough = self.seen.send(what.into());
    }
}

impl Application for Probe {
    fn admit<'a>(
        &'a self,
        request: &'a http::request::Parts,
        _: SocketAddr,
    ) -> LocalBoxFuture<'a, Result<(), Refusal>> {
        async move {
            if request.headers.contains_key("x-full") {
                let retry_after = Some(Duration::from_millis(1500));
                return Err(Refusal {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    retry_after,
                    message: "full".into(),
                });
            }
            Ok(())
        }
        .boxed_local()
    }

    fn connect(
        self: Rc<Self>,
        socket: Socket,
        handshake: Rc<Handshake>,
        auth: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), ConnectError>> {
        async move {
            let auth: Value = auth.map_or(Value::Null, |auth| serde_json::from_str(&auth).expect("JSON"));
            self.saw(format!("connect {}", handshake.query.as_deref().unwrap_or_default()));
            match auth["do"].as_str() {
                Some("refuse") => {
                    let data = Some(json!({"code": "NO"}).to_string());
                    return Err(ConnectError {
                        message: "you \"may\" not".into(),
                        data,
                    });
                }
                Some("unavailable") => {
                    socket.close(CloseReason::Unavailable);
                    return Err(ConnectError {
                        message: "never told".into(),
                        data: None,
                    });
                }
                Some("accept") => {
                    socket.accept(Some("the-pid"));
                    socket.send(&Frame::event(r#"["welcome"]"#));
                }
                Some("wait") => self.gate.acquire().await.expect("open").forget(),
                _ => {}
            }
            Ok(())
        }
        .boxed_local()
    }

    fn event(self: Rc<Self>, socket: Socket, event: Event) -> LocalBoxFuture<'static, ()> {
        async move {
            let args: Vec<Value> = serde_json::from_str(&event.args).expect("JSON");
            match args[0].as_str().expect("a name") {
                "wait" => self.gate.acquire().await.expect("open").forget(),
                "kick" => socket.disconnect(CloseReason::Kicked),
                "close" => socket.close(CloseReason::Draining),
                "panic" => panic!("a handler panics, as the test wants"),
                "latest" => (0..100).for_each(|id| {
                    socket.send_latest(7, &Frame::event(&format!(r#"["latest",{id}]"#)));
                }),
                "latency" => {
                    let micros = socket.latency().map(|latency| latency.as_micros() as u64);
                    socket.send(&Frame::event(&json!(["latency", micros]).to_string()));
                }
                _ => {}
            }
            self.saw(format!("event {}", event.args));
            if let Some(id) = event.ack {
                socket.ack(id, "[]");
            }
        }
        .boxed_local()
    }

    fn upgraded(self: Rc<Self>, socket: Socket) {
        self.saw(format!("upgraded {}", socket.transport() == Transport::Websocket));
    }

    fn disconnected(self: Rc<Self>, socket: Socket, reason: CloseReason) -> LocalBoxFuture<'static, ()> {
        assert!(!socket.is_open());
        self.saw(format!("disconnected {reason}"));
        async {}.boxed_local()
    }
}

/// A server of the probe, and what the probe saw.
struct Probed {
    server: Server,
    target: Target,
    seen: mpsc::UnboundedReceiver<String>,
    gate: Arc<Semaphore>,
}

impl Probed {
    /// A server whose clients have time enough for their pongs.
    fn start() -> Probed {
        Probed::start_with(PATIENT_PING_TIMEOUT)
    }

    fn start_with(ping_timeout: Duration) -> Probed {
        let settings = Settings {
            ping_interval: PING_INTERVAL,
            ping_timeout,
            origins: nself_realtime::engine::Origins::Any,
            ..Settings::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let gate = Arc::new(Semaphore::new(0));
        let (sender, seen) = mpsc::unbounded_channel();
        let make = {
            let gate = Arc::clone(&gate);
            move |_| {
                Rc::new(Probe {
                    seen: sender.clone(),
                    gate: Arc::clone(&gate),
                }) as Rc<dyn Application>
            }
        };
        let fallback: nself_realtime::engine::Fallback =
            Arc::new(|_| async { http::Response::new(axum::body::Body::empty()) }.boxed());
        let server = Server::start(listener, settings, 2, make, fallback).expect("the server starts");
        let target = Target {
            addr: server.local_addr(),
            path: "/socket.io/",
        };
        Probed {
            server,
            target,
            seen,
            gate,
        }
    }

    /// A connection whose CONNECT was answered.
    async fn connected(&mut self) -> Ws {
        let (mut ws, _) = Ws::open(self.target).await;
        ws.send("40").await;
        assert!(ws.text().await.starts_with("40{"));
        self.saw("connect EIO=4&transport=websocket").await;
        ws
    }

    async fn saw(&mut self, expected: &str) {
        let seen = within(expected, self.seen.recv()).await.expect("the probe lives");
        assert_eq!(seen, expected);
    }

    /// Ends the server; the probe must have seen nothing more.
    async fn end(mut self) {
        within("the end", self.server.shutdown(Duration::from_secs(5))).await;
        assert_eq!(self.seen.recv().await, None);
    }
}

#[tokio::test]
async fn events_sent_with_connect_wait_for_it() {
    let mut probed = Probed::start();
    let (mut ws, _) = Ws::open(probed.target).await;
    ws.send_all([
        r#"40{"do":"wait"}"#.to_owned(),
        r#"421["first"]"#.to_owned(),
        r#"422["second"]"#.to_owned(),
    ])
    .await;
    probed.saw("connect EIO=4&transport=websocket").await;
    probed.gate.add_permits(1);
    assert!(ws.text().await.starts_with("40{"));
    assert_eq!(ws.text().await, "431[]");
    assert_eq!(ws.text().await, "432[]");
    probed.saw(r#"event ["first"]"#).await;
    probed.saw(r#"event ["second"]"#).await;
    drop(ws);
    probed.saw("disconnected transport_close").await;
    probed.end().await;
}

#[tokio::test]
async fn a_slow_handler_holds_back_its_own_connection_only() {
    let mut probed = Probed::start();
    let mut slow = probed.connected().await;
    let mut quick = probed.connected().await;
    slow.send_all([r#"421["wait"]"#.to_owned(), r#"422["after"]"#.to_owned()])
        .await;
    quick.send(r#"421["quick"]"#).await;
    assert_eq!(quick.text().await, "431[]");
    probed.saw(r#"event ["quick"]"#).await;
    probed.gate.add_permits(1);
    assert_eq!(slow.text().await, "431[]");
    assert_eq!(slow.text().await, "432[]");
    probed.saw(r#"event ["wait"]"#).await;
    probed.saw(r#"event ["after"]"#).await;
}

#[tokio::test]
async fn a_lost_transport_cancels_no_handler_and_is_told_last() {
    let mut probed = Probed::start();
    let mut ws = probed.connected().await;
    ws.send_all([r#"42["wait"]"#.to_owned(), r#"42["after"]"#.to_owned(), "1".to_owned()])
        .await;
    assert_eq!(ws.until_closed().await, []);
    probed.gate.add_permits(1);
    probed.saw(r#"event ["wait"]"#).await;
    probed.saw(r#"event ["after"]"#).await;
    probed.saw("disconnected transport_close").await;
    probed.end().await;
}

#[tokio::test]
async fn each_end_has_its_reason_once() {
    let mut probed = Probed::start();

    let mut ws = probed.connected().await;
    ws.send("41").await;
    probed.saw("disconnected client_disconnect").await;
    drop(ws);

    let mut ws = probed.connected().await;
    ws.send("4x").await;
    probed.saw("disconnected parse_error").await;
    assert!(matches!(ws.packet().await, Received::Closed(_)));

    let mut ws = probed.connected().await;
    ws.send(format!("42[\"{}\"]", "x".repeat(1_000_000))).await;
    probed.saw("disconnected payload_too_large").await;

    let mut ws = probed.connected().await;
    probed.server.stop_accepting();
    let Probed { server, mut seen, .. } = probed;
    within("the end", server.shutdown(Duration::from_secs(5))).await;
    assert_eq!(seen.recv().await.as_deref(), Some("disconnected shutdown"));
    assert_eq!(seen.recv().await, None);
    assert!(matches!(ws.packet().await, Received::Closed(_)));
}

#[tokio::test]
async fn a_missing_pong_is_the_end_with_a_reason_too() {
    let mut probed = Probed::start_with(PING_TIMEOUT);
    let mut ws = probed.connected().await;
    assert_eq!(ws.until_closed().await, [Received::Text("2".into())]);
    probed.saw("disconnected ping_timeout").await;
    probed.end().await;
}

#[tokio::test]
async fn a_kick_says_disconnect_and_a_close_does_not() {
    let mut probed = Probed::start();
    let mut ws = probed.connected().await;
    ws.send(r#"42["kick"]"#).await;
    assert_eq!(ws.text().await, "41");
    assert!(matches!(ws.packet().await, Received::Closed(_)));
    probed.saw(r#"event ["kick"]"#).await;
    probed.saw("disconnected kicked").await;

    let mut ws = probed.connected().await;
    ws.send(r#"42["close"]"#).await;
    assert!(
        matches!(ws.packet().await, Received::Closed(_)),
        "without DISCONNECT stock clients come back"
    );
    probed.saw(r#"event ["close"]"#).await;
    probed.saw("disconnected draining").await;
    probed.end().await;
}

/// A stock client drops what follows a close packet, and hears the close before the packets of the same payload: so what
/// waits goes first, and the close is an answer of its own, whether a poll waits for it or comes later.
#[tokio::test]
async fn over_polling_what_waits_comes_before_the_farewell() {
    for is_polling in [false, true] {
        for (end, farewell) in [("kick", &["41"][..]), ("close", &[])] {
            let mut probed = Probed::start();
            let session = Polling::open(probed.target).await;
            session.send("40").await;
            assert!(session.packets().await[0].starts_with("40{"));
            probed.saw("connect EIO=4&transport=polling").await;
            let expected = [&["431[]", "432[]"], farewell].concat();
            let events = format!("421[\"first\"]\u{1e}422[\"second\"]\u{1e}42[\"{end}\"]");
            let poller = {
                let (session, count) = (session.clone(), expected.len());
                async move { session.take(count).await }
            };
            let packets = if is_polling {
                let poller = tokio::spawn(poller);
                session.send(&events).await;
                within("the poller", poller).await.expect("no panic")
            } else {
                session.send(&events).await;
                poller.await
            };
            assert_eq!(packets, expected, "polling meanwhile: {is_polling}");
            assert_eq!(session.packets().await, ["1"]);
            assert_eq!(session.get().await.status, 400);
        }
    }
}

#[tokio::test]
async fn an_upgrade_is_told_once_and_before_what_comes_by_it() {
    let mut probed = Probed::start();
    let session = Polling::open(probed.target).await;
    session.send("40").await;
    assert!(session.packets().await[0].starts_with("40{"));
    probed.saw("connect EIO=4&transport=polling").await;
    let mut ws = session.upgrade().await;
    ws.probe().await;
    ws.send_all(["5".to_owned(), r#"421["by WebSocket"]"#.to_owned()]).await;
    assert_eq!(ws.text().await, "431[]");
    probed.saw("upgraded true").await;
    probed.saw(r#"event ["by WebSocket"]"#).await;
    ws.send("1").await;
    probed.saw("disconnected transport_close").await;
    probed.end().await;
}

#[tokio::test]
async fn an_accepted_socket_may_be_sent_to_before_connect_returns() {
    let probed = Probed::start();
    let (mut ws, _) = Ws::open(probed.target).await;
    ws.send(r#"40{"do":"accept"}"#).await;
    let answer: Value = serde_json::from_str(&ws.text().await[2..]).expect("JSON");
    assert_eq!(answer["pid"], "the-pid");
    assert_eq!(answer["sid"].as_str().map(str::len), Some(20));
    assert_eq!(ws.text().await, r#"42["welcome"]"#);
}

#[tokio::test]
async fn a_refused_connect_says_why() {
    let mut probed = Probed::start();
    let (mut ws, _) = Ws::open(probed.target).await;
    ws.send(r#"40{"do":"refuse"}"#).await;
    let answer = ws.text().await;
    let answer: Value = serde_json::from_str(answer.strip_prefix("44").expect("CONNECT_ERROR")).expect("JSON");
    assert_eq!(answer, json!({"message": "you \"may\" not", "data": {"code": "NO"}}));
    probed.saw("connect EIO=4&transport=websocket").await;
    drop(ws);
    probed.end().await; // a socket that never was is never told to have gone
}

/// The stock client gives up on CONNECT_ERROR; for what passes it must come back, and so sees a lost transport.
#[tokio::test]
async fn a_connect_that_is_unavailable_only_closes() {
    let probed = Probed::start();
    let (mut ws, _) = Ws::open(probed.target).await;
    ws.send(r#"40{"do":"unavailable"}"#).await;
    assert!(matches!(ws.packet().await, Received::Closed(_)));
}

#[tokio::test]
async fn a_refusal_is_answered_before_there_is_a_session() {
    let probed = Probed::start();
    let mut peer = Wire::connect(probed.target).await;
    let request = http_request(probed.target, "GET", "EIO=4&transport=polling", "x-full: 1\r\n", b"");
    peer.write(&request).await;
    let answer = peer.response().await.expect("an answer");
    assert_eq!(answer.status, 503);
    assert!(
        answer.head.to_ascii_lowercase().contains("\r\nretry-after: 2\r\n"),
        "{}",
        answer.head
    );
    let totals = probed.server.counters().totals();
    let refusals = totals.refusals[RefusalCause::Application.index()];
    assert_eq!((totals.handshakes, refusals), (0, 1));
}

#[tokio::test]
async fn only_the_newest_frame_of_a_key_is_sent() {
    let mut probed = Probed::start();
    let session = Polling::open(probed.target).await;
    session.send("40").await;
    assert!(session.packets().await[0].starts_with("40{"));
    probed.saw("connect EIO=4&transport=polling").await;
    session.send(r#"421["latest"]"#).await;
    probed.saw(r#"event ["latest"]"#).await;
    assert_eq!(session.take(2).await, [r#"42["latest",99]"#, "431[]"]);
    assert_eq!(probed.server.counters().totals().replaced, 99);
}

#[tokio::test]
async fn the_latency_is_that_of_the_last_ping() {
    let mut probed = Probed::start();
    let mut ws = probed.connected().await;
    ws.send(r#"42["latency"]"#).await;
    assert_eq!(ws.text().await, r#"42["latency",null]"#);
    assert_eq!(ws.receive().await, Received::Text("2".into()));
    let delay = PING_TIMEOUT / 4;
    tokio::time::sleep(delay).await; // the latency that is to be measured
    ws.send("3").await;
    ws.send(r#"42["latency"]"#).await;
    let answer: Value = serde_json::from_str(&ws.text().await[2..]).expect("JSON");
    let latency = Duration::from_micros(answer[1].as_u64().expect("a latency"));
    assert!(latency >= delay && latency < PATIENT_PING_TIMEOUT, "{latency:?}");
}

#[tokio::test]
async fn a_panicking_handler_ends_its_connection_alone() {
    let mut probed = Probed::start();
    let mut other = probed.connected().await;
    let mut ws = probed.connected().await;
    ws.send(r#"42["panic"]"#).await;
    assert!(matches!(ws.packet().await, Received::Closed(_)));
    probed.saw("disconnected internal").await;
    other.send(r#"421["still here"]"#).await;
    assert_eq!(other.text().await, "431[]");
    assert_eq!(probed.server.counters().totals().panics, 1);
}
