//! socket.io on Node with the gateway's events (bench/peers/node.mjs), where it is installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::port::free_port;
use crate::support::process::Process;
use crate::support::token::SECRET;

const START_LIMIT: Duration = Duration::from_secs(20);

pub struct Peer {
    port: u16,
    process: Process,
}

impl Peer {
    /// Starts it, with `deflate` as its DEFLATE; `None` when it is not there. `PEERS` says where, if not here.
    pub async fn start(deflate: &str, redis_url: &str) -> Option<Self> {
        let home = std::env::var_os("PEERS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers"),
            |home| Path::new(&home).to_owned(),
        );
        if !home.join("node_modules").is_dir() {
            return None;
        }
        let port = free_port();
        let mut command = Command::new("node");
        command
            .arg("node.mjs")
            .current_dir(home)
            .env("PORT", port.to_string())
            .env("REDIS_URL", redis_url)
            .env("JWT_SECRET", SECRET)
            .env("DEFLATE", deflate)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let process = Process::spawn("node", &mut command);
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(
                process.exited().is_none() && Instant::now() < deadline,
                "node does not listen"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(Self { port, process })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}
