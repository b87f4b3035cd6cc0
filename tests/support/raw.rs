//! A bare Socket.IO client over WebSocket, for what a stock client cannot do: odd bytes, no waiting, a lost transport.
//! It writes packets by hand, so it shares no code with the gateway that it tests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::heard::{Heard, parse};
use super::node::Node;
use super::token::token;

/// How long a test waits for what must come; a promised bound is asserted by the test itself.
pub const PATIENCE: Duration = Duration::from_secs(10);

type Log = Arc<Mutex<Vec<Heard>>>;

/// A connection to a node.
pub struct Raw {
    /// The user, when `enter` made this connection.
    pub user: String,
    out: mpsc::UnboundedSender<Message>,
    log: Log,
    changed: watch::Receiver<usize>,
    task: JoinHandle<()>,
    acks: AtomicU64,
}

impl Raw {
    /// A WebSocket with an open Engine.IO session; no CONNECT was sent.
    pub async fn open(node: &Node) -> Raw {
        let url = format!("ws://127.0.0.1:{}/socket.io/?EIO=4&transport=websocket", node.port());
        Raw::dial(&url, &[]).await
    }

    /// The same, with headers of the caller's: a proxy's, or a browser's.
    pub async fn open_with(node: &Node, headers: &[(&'static str, &str)]) -> Raw {
        Raw::open_at(node.port(), headers).await
    }

    /// The same at a port that need not be a node's.
    pub async fn open_at(port: u16, headers: &[(&'static str, &str)]) -> Raw {
        let url = format!("ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket");
        Raw::dial(&url, headers).await
    }

    /// Takes a polling session over to WebSocket.
    pub async fn upgrade(node: &Node, sid: &str) -> Raw {
        let url = format!(
            "ws://127.0.0.1:{}/socket.io/?EIO=4&transport=websocket&sid={sid}",
            node.port()
        );
        let raw = Raw::dial(&url, &[]).await;
        raw.send("2probe");
        let probed = |heard: &Heard| matches!(heard, Heard::Other(text) if text == "3probe").then_some(());
        raw.first("3probe", 0, probed).await;
        raw.send("5");
        raw
    }

    async fn dial(url: &str, headers: &[(&'static str, &str)]) -> Raw {
        let mut request = url.into_client_request().expect("a WebSocket URL");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a header's value"));
        }
        let (socket, _) = tokio_tungstenite::connect_async(request)
            .await
            .expect("the node accepts a WebSocket");
        let (out, queue) = mpsc::unbounded_channel::<Message>();
        let (changes, changed) = watch::channel(0);
        let log = Log::default();
        let task = tokio::spawn(converse(socket, queue, out.clone(), Arc::clone(&log), changes));
        Raw {
            user: String::new(),
            out,
            log,
            changed,
            task,
            acks: AtomicU64::new(0),
        }
    }

    /// Connected as `user`, and told so.
    pub async fn enter(node: &Node, user: &str) -> Raw {
        let mut raw = Raw::open(node).await;
        user.clone_into(&mut raw.user);
        let answer = raw.connect(&json!({"token": token(user)})).await;
        answer.unwrap_or_else(|refusal| panic!("{user} is refused: {refusal}\n{}", node.log_text()));
        raw.heard("authenticated", |_| true).await;
        raw
    }

    /// Enters and joins `room`.
    pub async fn member(node: &Node, user: &str, room: &str) -> Raw {
        let raw = Raw::enter(node, user).await;
        raw.done("room:join", json!({"roomName": room})).await;
        raw
    }

    /// Sends CONNECT: the answer's payload, or the refusal's.
    pub async fn connect(&self, auth: &Value) -> Result<Value, Value> {
        self.send(&format!("40{auth}"));
        self.first("an answer to CONNECT", 0, |heard| match heard {
            Heard::Connect(payload) => Some(Ok(payload.clone())),
            Heard::ConnectError(payload) => Some(Err(payload.clone())),
            _ => None,
        })
        .await
    }

    /// Sends one WebSocket text message as it is.
    pub fn send(&self, packet: &str) {
        self.send_message(Message::text(packet));
    }

    pub fn send_message(&self, message: Message) {
        let _ = self.out.send(message); // the socket is gone: whoever waits for an answer says so
    }

    /// Emits without an ack.
    pub fn emit(&self, event: &str, payload: Value) {
        self.send(&format!("42{}", json!([event, payload])));
    }

    /// Emits with an ack, without waiting; `answer` takes what this returns.
    pub fn pose(&self, event: &str, args: &[Value]) -> u64 {
        let id = self.acks.fetch_add(1, Ordering::Relaxed);
        let mut array = vec![json!(event)];
        array.extend_from_slice(args);
        self.send(&format!("42{id}{}", Value::from(array)));
        id
    }

    /// The ack of `pose`.
    pub async fn answer(&self, id: u64) -> Value {
        self.first(&format!("ack {id}"), 0, |heard| match heard {
            Heard::Ack(came, value) if *came == id => Some(value.clone()),
            _ => None,
        })
        .await
    }

    /// The whole ack.
    pub async fn ask(&self, event: &str, payload: Value) -> Value {
        self.answer(self.pose(event, &[payload])).await
    }

    /// The data of an ack that says success; `null` when it has none.
    pub async fn done(&self, event: &str, payload: Value) -> Value {
        let ack = self.ask(event, payload).await;
        assert_eq!(ack["success"], json!(true), "{event} by {}: {ack}", self.user);
        ack["data"].clone()
    }

    /// The error of an ack that says `code`.
    pub async fn refused(&self, code: &str, event: &str, payload: Value) -> Value {
        let ack = self.ask(event, payload.clone()).await;
        assert_eq!(ack["success"], json!(false), "{event} {payload}: {ack}");
        assert_eq!(ack["error"]["code"], json!(code), "{event} {payload}: {ack}");
        ack["error"].clone()
    }

    /// The payload of the first such event, heard already or to come.
    pub async fn heard(&self, event: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.heard_after(0, event, wanted).await
    }

    /// The same, without the log's first `from` entries.
    pub async fn heard_after(&self, from: usize, event: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.first(event, from, |heard| match heard {
            Heard::Event(name, args) if name == event => {
                let payload = args.first().cloned().unwrap_or(Value::Null);
                wanted(&payload).then_some(payload)
            }
            _ => None,
        })
        .await
    }

    /// The payloads of all such events so far; for absence, say a marker first.
    pub fn all(&self, event: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let payloads = self.log().into_iter().filter_map(|heard| match heard {
            Heard::Event(name, args) if name == event => args.into_iter().next(),
            _ => None,
        });
        payloads.filter(|payload| wanted(payload)).collect()
    }

    /// Everything heard so far.
    pub fn log(&self) -> Vec<Heard> {
        lock(&self.log).clone()
    }

    /// Waits until the node ends the transport, and says how it did.
    pub async fn closed(&self) -> String {
        let end = |heard: &Heard| match heard {
            Heard::Closed(how) => Some(how.clone()),
            _ => None,
        };
        self.first("the end of the transport", 0, end).await
    }

    /// Says something in `room`, and waits until `listeners` heard it: what was told there before is in their logs.
    pub async fn marker(&self, room: &str, listeners: &[&Raw]) {
        let content = unique("marker");
        self.done("message:send", json!({"roomName": room, "content": content}))
            .await;
        for listener in listeners {
            listener
                .heard("message:new", |message| message["content"] == content.as_str())
                .await;
        }
    }

    /// Leaves on purpose, as the stock client does: a Socket.IO DISCONNECT, then the end of the transport.
    pub async fn disconnect(self) {
        self.send("41");
        self.send_message(Message::Close(None));
        self.closed().await;
    }

    /// Loses the transport: the TCP connection ends, nothing is said.
    pub fn lose(self) {
        self.task.abort();
    }

    async fn first<T>(&self, what: &str, from: usize, pick: impl Fn(&Heard) -> Option<T>) -> T {
        let mut changed = self.changed.clone();
        let mut next = from;
        let search = async {
            loop {
                {
                    let log = lock(&self.log);
                    if let Some(found) = log[next.min(log.len())..].iter().find_map(&pick) {
                        return found;
                    }
                    next = next.max(log.len());
                    assert!(
                        !matches!(log.last(), Some(Heard::Closed(_))),
                        "{}: the transport ended before {what}; heard {log:#?}",
                        self.user
                    );
                }
                changed.changed().await.expect("the reader notes its end last");
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => found,
            Err(_) => panic!("{}: {what} did not come; heard {:#?}", self.user, self.log()),
        }
    }
}

/// Writes what is queued and notes what comes, until the transport ends; pings are answered.
async fn converse(
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    mut queue: mpsc::UnboundedReceiver<Message>,
    pongs: mpsc::UnboundedSender<Message>,
    log: Log,
    changes: watch::Sender<usize>,
) {
    let (mut sink, mut stream) = socket.split();
    let note = |entry| {
        let mut log = lock(&log);
        log.push(entry);
        let _ = changes.send(log.len()); // nobody waits any more: the test is over
    };
    let writer = async {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                break; // the reader says how it ended
            }
        }
        std::future::pending::<()>().await;
    };
    let reader = async {
        let end = loop {
            match stream.next().await {
                Some(Ok(Message::Text(text))) if text.as_str() == "2" => {
                    let _ = pongs.send(Message::text("3")); // fails when the socket is ending
                }
                Some(Ok(Message::Text(text))) => note(parse(&text)),
                Some(Ok(Message::Close(frame))) => break format!("close {frame:?}"),
                Some(Ok(other)) => note(Heard::Other(format!("{other:?}"))),
                Some(Err(cause)) => break format!("error {cause}"),
                None => break "end".to_owned(),
            }
        };
        note(Heard::Closed(end));
    };
    tokio::select! { () = writer => {}, () = reader => {} }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `word` with something that nobody else has.
pub fn unique(word: &str) -> String {
    format!("{word}-{:016x}", rand::random::<u64>())
}

/// A room that the cluster creates when it is first joined, and that no other test uses.
pub fn room() -> String {
    unique("auto:room")
}

fn lock(log: &Log) -> MutexGuard<'_, Vec<Heard>> {
    log.lock().unwrap_or_else(|broken| broken.into_inner())
}
