//! Two nodes over one Redis, or what stands for it, as most tests want them; and a shared one for tests that leave it as they found it.

use std::process::Stdio;

use tokio::sync::OnceCell;

use super::api::API_KEY;
use super::node::{Node, binary};
use super::redis_any::AnyRedis;

/// Redis, as `REALTIME_TEST_REDIS` says, and gateway nodes.
pub struct Cluster {
    pub redis: AnyRedis,
    pub nodes: Vec<Node>,
}

/// How long a shared cluster waits for somebody to come back, and keeps a typing mark: short, so that tests are.
const SHARED: &[(&str, &str)] = &[
    ("REALTIME_PRESENCE_GRACE", "1000"),
    ("REALTIME_TYPING_TIMEOUT", "2000"),
    ("REALTIME_API_KEYS", API_KEY),
];

pub const PRIVATE_ROOM: &str = "made-private";
pub const SECRET_ROOM: &str = "made-secret";
pub const BROADCAST_ROOM: &str = "made-broadcast";

impl Cluster {
    /// `count` nodes of the same settings over servers of their own.
    pub async fn start(count: usize, settings: &[(&str, &str)]) -> Cluster {
        let redis = AnyRedis::start().await;
        let names: Vec<String> = (0..count).map(|node| format!("node-{node}")).collect();
        let nodes: Vec<Node> = names
            .iter()
            .map(|name| {
                let mut settings = settings.to_vec();
                settings.push(("REALTIME_NODE_ID", name));
                Node::spawn(&redis.url(), &settings)
            })
            .collect();
        for node in &nodes {
            node.becomes("/readyz", 200).await;
        }
        Cluster { redis, nodes }
    }

    /// Two nodes that every test of this binary may use, and none may harm: each test brings its own users and rooms.
    pub async fn shared() -> &'static Cluster {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        CLUSTER
            .get_or_init(|| async {
                let cluster = Cluster::start(2, SHARED).await;
                cluster.create_room(PRIVATE_ROOM, "channel", "private");
                cluster.create_room(SECRET_ROOM, "channel", "secret");
                cluster.create_room(BROADCAST_ROOM, "broadcast", "public");
                cluster
            })
            .await
    }

    /// `nself-realtime create-room`
    pub fn create_room(&self, name: &str, room_type: &str, visibility: &str) {
        let done = binary()
            .args(["create-room", name, "--type", room_type, "--visibility", visibility])
            .env("REALTIME_REDIS_URL", self.redis.url())
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        assert!(done.status.success(), "create-room {name}: {done:?}");
    }

    /// The nodes' URLs, as the client programs take them.
    pub fn urls(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(Node::url).collect();
        urls.join(",")
    }

    /// The nodes' process ids, as the client programs take them.
    pub fn pids(&self) -> String {
        let pids: Vec<String> = self.nodes.iter().map(|node| node.pid().to_string()).collect();
        pids.join(",")
    }
}
