//! Debian's nginx with the shipped configuration: byte for byte that of deploy/nginx, but for what deploy/nginx/site says a
//! site has to change: the addresses of the nodes, where it listens, where it logs.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::node::Node;
use crate::support::port::free_port;
use crate::support::redis::Redis;

const START_LIMIT: Duration = Duration::from_secs(20);
/// As the shipped site/sids.inc knows them.
const NAMES: [&str; 3] = ["realtime-1", "realtime-2", "realtime-3"];

/// Stops nginx with its workers when its input ends, which it does with this process, however that ends.
const LEASH: &str = r#"nginx "$@" & read -r _; kill -TERM $!; wait $!"#;

/// One of the two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balancing {
    /// realtime.conf
    Address,
    /// realtime-sid.conf
    Session,
}

impl Balancing {
    fn file(self) -> &'static str {
        match self {
            Balancing::Address => "realtime.conf",
            Balancing::Session => "realtime-sid.conf",
        }
    }
}

/// A running nginx; ends with its handle.
pub struct Nginx {
    plain: u16,
    tls: u16,
    dir: TempDir,
    leash: Child,
    input: Option<ChildStdin>,
}

impl Nginx {
    /// Starts nginx in front of three nodes on these ports.
    pub async fn start(balancing: Balancing, ports: [u16; 3]) -> Nginx {
        let dir = tempfile::Builder::new()
            .prefix("nginx-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("cargo made its directory for tests");
        let (plain, tls) = (free_port(), free_port());
        render(dir.path(), ports, plain, tls);
        let mut leash = Command::new("sh");
        leash
            .args(["-c", LEASH, "sh", "-e"])
            .arg(dir.path().join("error.log"))
            .arg("-g")
            .arg(format!("daemon off; pid {};", dir.path().join("nginx.pid").display()))
            .arg("-c")
            .arg(dir.path().join(balancing.file()))
            .env("PATH", path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let mut leash = leash.spawn().expect("sh starts");
        let nginx = Nginx {
            plain,
            tls,
            dir,
            input: leash.stdin.take(),
            leash,
        };
        let deadline = Instant::now() + START_LIMIT;
        while tokio::net::TcpStream::connect(("127.0.0.1", plain)).await.is_err() {
            assert!(
                Instant::now() < deadline,
                "nginx does not listen: {}",
                nginx.written("error.log")
            );
            tokio::time::sleep(Duration::from_millis(10)).await; // no event says that it does
        }
        nginx
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.plain)
    }

    pub fn secure_url(&self) -> String {
        format!("https://localhost:{}", self.tls)
    }

    pub fn port(&self) -> u16 {
        self.plain
    }

    /// The certificate of the secure port, which has signed itself.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("tls/realtime.crt")
    }

    /// What it has written down of requests.
    pub fn log(&self) -> String {
        self.written("realtime.log")
    }

    fn written(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_else(|error| format!("{file}: {error}"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.input.take());
        self.leash.wait().expect("the child is ours to wait for");
    }
}

/// Where nginx lies on Debian, also for those who are not root.
fn path() -> String {
    format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}

pub fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx")
}

fn render(to: &Path, ports: [u16; 3], plain: u16, tls: u16) {
    let make = |dir: &str| std::fs::create_dir(to.join(dir)).expect("it is a new directory");
    for dir in ["parts", "site", "tls"] {
        make(dir);
    }
    for file in [
        "realtime.conf",
        "realtime-sid.conf",
        "parts/http.inc",
        "parts/server.inc",
    ] {
        std::fs::copy(shipped().join(file), to.join(file)).expect("it is shipped");
    }
    let nodes = [1, 2, 3].map(|node| (format!("10.0.0.1{node}:3101"), format!("127.0.0.1:{}", ports[node - 1])));
    let logs = (String::from("/var/log/nginx/"), format!("{}/", to.display()));
    let listen = (
        String::from("listen 443 ssl;"),
        format!("listen 127.0.0.1:{tls} ssl; listen 127.0.0.1:{plain};"),
    );
    let without_v6 = (String::from("listen [::]:443 ssl;"), String::new());
    change(to, "nodes.inc", &nodes);
    change(to, "sids.inc", &nodes);
    change(to, "limits.inc", &[]);
    change(to, "server.inc", &[logs, listen, without_v6]);
    let certified = rcgen::generate_simple_self_signed([String::from("localhost")]).expect("a key can be made");
    let write = |file, text| std::fs::write(to.join(file), text).expect("the directory is ours");
    write("tls/realtime.crt", certified.cert.pem());
    write("tls/realtime.key", certified.signing_key.serialize_pem());
}

/// Copies a file of site/ with other values in it, each of which must have been there.
fn change(to: &Path, file: &str, changes: &[(String, String)]) {
    let file = format!("site/{file}");
    let mut text = std::fs::read_to_string(shipped().join(&file)).expect("it is shipped");
    for (shipped, ours) in changes {
        assert!(text.contains(shipped.as_str()), "{file} does not say {shipped}");
        text = text.replace(shipped.as_str(), ours);
    }
    std::fs::write(to.join(file), text).expect("the directory is ours");
}

/// Three nodes over a Redis of their own, with nginx in front.
pub struct Site {
    pub nginx: Nginx,
    pub nodes: Vec<Node>,
    pub redis: Redis,
}

impl Site {
    pub async fn start(balancing: Balancing, settings: &[(&str, &str)]) -> Site {
        let redis = Redis::start().await;
        let spawn = |name| {
            let mut settings = settings.to_vec();
            settings.push(("REALTIME_NODE_ID", name));
            Node::spawn(&redis.url(), &settings)
        };
        let nodes = NAMES.map(spawn);
        for node in &nodes {
            node.becomes("/readyz", 200).await;
        }
        let nginx = Nginx::start(balancing, [0, 1, 2].map(|node| nodes[node].port())).await;
        Site {
            nginx,
            nodes: nodes.into(),
            redis,
        }
    }

    /// How many connections each node has.
    pub async fn spread(&self) -> Vec<usize> {
        let mut spread = Vec::new();
        for node in &self.nodes {
            let on = async |transport| {
                let labels = format!("transport=\"{transport}\"");
                node.metric("realtime_connections", &labels).await.expect("it is shown") as usize
            };
            spread.push(on("polling").await + on("websocket").await);
        }
        spread
    }

    /// Requests of sessions that the node asked does not know, for this cause, on all nodes that run.
    pub async fn strays(&self, cause: &str) -> usize {
        let mut strays = 0;
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            strays += strays_of(node, cause).await;
        }
        strays
    }
}

pub async fn strays_of(node: &Node, cause: &str) -> usize {
    let labels = format!("cause=\"{cause}\"");
    let count = node.metric("realtime_unknown_sessions_total", &labels).await;
    count.expect("it is shown from the start") as usize
}
