//! A way to Redis that can be closed for those who subscribe: their connections stand, and nothing passes any more, as when
//! a network forgets them. Whoever sends commands alone is not held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::redis::Redis;

const SUBSCRIBES: &[u8] = b"SSUBSCRIBE";

/// Passes connections on to a redis-server, until it goes.
pub struct Valve {
    port: u16,
    is_open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Valve {
    /// Open to begin with.
    pub async fn before(redis: &Redis) -> Valve {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (is_open, gate) = watch::channel(true);
        let task = tokio::spawn(accept(listener, redis.port(), gate));
        Valve { port, is_open, task }
    }

    /// `redis://127.0.0.1:<port>/0`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// From now on nothing passes on the connections of those who subscribe, those to come included.
    pub fn close(&self) {
        self.is_open.send_replace(false);
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, gate: watch::Receiver<bool>) {
    let mut passing = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let gate = gate.clone();
        passing.spawn(async move {
            // Without a server the client finds its connection closed.
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let subscribes = Arc::new(AtomicBool::new(false));
            tokio::select! {
                () = pass(from_client, to_server, &subscribes, gate.clone()) => {}
                () = pass(from_server, to_client, &subscribes, gate) => {}
            }
        });
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    subscribes: &AtomicBool,
    mut gate: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(count) = from.read(&mut bytes).await {
        let bytes = &bytes[..count];
        if bytes.windows(SUBSCRIBES.len()).any(|window| window == SUBSCRIBES) {
            subscribes.store(true, Ordering::Relaxed);
        }
        if subscribes.load(Ordering::Relaxed) && gate.wait_for(|is_open| *is_open).await.is_err() {
            return;
        }
        if count == 0 || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
