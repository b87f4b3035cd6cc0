//! The avalanche: everybody is cut off at once, by the death of the one node that held them, and comes back at once, with
//! what was said meanwhile. Bare WebSockets, since so many stock clients would be the slower side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rand::Rng;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::support::node::Node;
use crate::support::raw::Raw;
use crate::support::redis::Redis;
use crate::support::token::token;

const SHORT: usize = 1_000;
const FULL: usize = 10_000;
const IN_A_ROOM: usize = 100;
/// Promised for ten thousand on two cores.
const BACK_WITHIN: Duration = Duration::from_secs(30);
const GATHER_LIMIT: Duration = Duration::from_secs(180);
/// Handshakes at a time while they gather; afterwards they come as they like.
const AT_ONCE: usize = 200;
/// The stock client's first wait before it reconnects, ms.
const RECONNECT_MS: std::ops::Range<u64> = 500..1_500;
const ATTEMPT_LIMIT: Duration = Duration::from_secs(20);

/// What a client has to tell.
#[derive(Debug, PartialEq, Clone, Copy)]
enum News {
    Arrived,
    /// The message that was said while it was away.
    Heard,
}

struct Client {
    number: usize,
    urls: Arc<[String; 2]>,
    news: mpsc::UnboundedSender<News>,
    since: Option<Value>,
}

impl Client {
    fn room(&self) -> String {
        room_of(self.number)
    }

    async fn live(mut self) {
        for attempt in 0_usize.. {
            if attempt > 0 {
                let pause = rand::rng().random_range(RECONNECT_MS);
                tokio::time::sleep(Duration::from_millis(pause)).await; // as the stock client does
            }
            // Whoever was here before goes to the node that is left.
            let url = self.urls[usize::from(self.since.is_some())].clone();
            self.visit(&url).await;
        }
    }

    /// From the handshake to the loss of the transport.
    async fn visit(&mut self, url: &str) {
        let Ok(Ok((mut socket, _))) = tokio::time::timeout(ATTEMPT_LIMIT, tokio_tungstenite::connect_async(url)).await
        else {
            return;
        };
        let auth = json!({"token": token(&format!("user-{}", self.number))});
        if socket.send(Message::text(format!("40{auth}"))).await.is_err() {
            return;
        }
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            let answer = if text.as_str() == "2" {
                Some("3".to_owned())
            } else if text.starts_with("40") {
                let mut join = json!({"roomName": self.room()});
                if let Some(since) = &self.since {
                    join["since"] = since.clone();
                }
                Some(format!("420{}", json!(["room:join", join])))
            } else if let Some(ack) = text.strip_prefix("430") {
                if !self.joined(ack) {
                    return;
                }
                None
            } else {
                if text.starts_with(r#"42["message:new""#) {
                    self.tell(News::Heard);
                }
                None
            };
            if let Some(answer) = answer
                && socket.send(Message::text(answer)).await.is_err()
            {
                return;
            }
        }
    }

    fn joined(&mut self, ack: &str) -> bool {
        let ack: Value = serde_json::from_str(ack).expect("an ack is JSON");
        let data = &ack[0]["data"];
        if ack[0]["success"] != true {
            return false; // UNAVAILABLE: comes again
        }
        if self.since.is_some() {
            assert_eq!(data["recovered"], true, "{data}");
        }
        for _ in data["messages"].as_array().into_iter().flatten() {
            self.tell(News::Heard);
        }
        self.since = Some(json!({"epoch": data["epoch"], "seq": data["seq"]}));
        self.tell(News::Arrived);
        true
    }

    fn tell(&self, news: News) {
        let _ = self.news.send(news); // nobody counts any more: the test is over
    }
}

fn room_of(number: usize) -> String {
    format!("auto:avalanche-{}", number / IN_A_ROOM)
}

/// Waits until `count` of the clients have told `wanted`.
async fn all(news: &mut mpsc::UnboundedReceiver<News>, wanted: &[(News, usize)], limit: Duration) {
    let mut left = wanted.to_vec();
    let counted = async {
        while left.iter().any(|(_, count)| *count > 0) {
            let came = news.recv().await.expect("the clients live");
            if let Some((_, count)) = left.iter_mut().find(|(kind, _)| *kind == came) {
                *count = count.saturating_sub(1);
            }
        }
    };
    if tokio::time::timeout(limit, counted).await.is_err() {
        panic!("after {limit:?} these are missing: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_who_was_cut_off_at_once_comes_back() {
    let clients = if std::env::var_os("PROVE_MESSAGES").is_some() {
        FULL
    } else {
        SHORT
    };
    let redis = Redis::start().await;
    let settings = [("REALTIME_MAX_CONNECTIONS", "20000"), ("LOG_LEVEL", "error")];
    let (first, second) = (
        Node::start(&redis.url(), &settings).await,
        Node::start(&redis.url(), &settings).await,
    );
    let url = |node: &Node| format!("ws://127.0.0.1:{}/socket.io/?EIO=4&transport=websocket", node.port());
    let urls = Arc::new([url(&first), url(&second)]);
    let (sender, mut news) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    let gathering = Instant::now();
    for start in (0..clients).step_by(AT_ONCE) {
        let end = clients.min(start + AT_ONCE);
        for number in start..end {
            let (urls, news) = (Arc::clone(&urls), sender.clone());
            tasks.spawn(
                Client {
                    number,
                    urls,
                    news,
                    since: None,
                }
                .live(),
            );
        }
        all(&mut news, &[(News::Arrived, end - start)], GATHER_LIMIT).await;
    }
    println!(
        "{clients} clients gathered in {:.1} s",
        gathering.elapsed().as_secs_f64()
    );

    let speaker = Raw::enter(&second, "speaker").await;
    let rooms: Vec<String> = (0..clients).step_by(IN_A_ROOM).map(room_of).collect();
    for room in &rooms {
        speaker.done("room:join", json!({"roomName": room})).await;
    }
    let cut = Instant::now();
    first.signal("KILL");
    for room in &rooms {
        speaker
            .done(
                "message:send",
                json!({"roomName": room, "content": "said while they were away"}),
            )
            .await;
    }
    all(
        &mut news,
        &[(News::Arrived, clients), (News::Heard, clients)],
        BACK_WITHIN,
    )
    .await;
    println!(
        "{clients} of {clients} clients are back after {:.1} s, with what they missed",
        cut.elapsed().as_secs_f64()
    );
    tasks.shutdown().await;
}
