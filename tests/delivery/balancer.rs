//! A balancer as simple as they come: it asks each node's `/readyz`, gives each new connection to the next that is ready, and
//! copies bytes. When connections came is kept, since that is the herd.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

struct Backend {
    port: u16,
    is_ready: AtomicBool,
}

struct Shared {
    backends: Mutex<Vec<Arc<Backend>>>,
    next: AtomicUsize,
    came: Mutex<Vec<Instant>>,
}

/// A running balancer; ends with its handle, and its connections with it.
pub struct Balancer {
    port: u16,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

impl Balancer {
    pub async fn start(ports: &[u16]) -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let shared = Arc::new(Shared {
            backends: Mutex::new(ports.iter().map(|port| backend(*port)).collect()),
            next: AtomicUsize::new(0),
            came: Mutex::default(),
        });
        Balancer {
            port: listener.local_addr().expect("it is bound").port(),
            tasks: [
                tokio::spawn(accept(listener, Arc::clone(&shared))),
                tokio::spawn(look(Arc::clone(&shared))),
            ],
            shared,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Another node stands in the place of one.
    pub fn replace(&self, former: u16, successor: u16) {
        for known in lock(&self.shared.backends)
            .iter_mut()
            .filter(|known| known.port == former)
        {
            *known = backend(successor);
        }
    }

    /// When connections came since then.
    pub fn came_since(&self, start: Instant) -> Vec<Instant> {
        let came = lock(&self.shared.came);
        came.iter().copied().filter(|at| *at >= start).collect()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn backend(port: u16) -> Arc<Backend> {
    Arc::new(Backend {
        port,
        is_ready: AtomicBool::new(false),
    })
}

async fn look(shared: Arc<Shared>) {
    let client = reqwest::Client::builder().timeout(ANSWER_LIMIT);
    let client = client.build().expect("a plain client");
    loop {
        let backends = lock(&shared.backends).clone();
        for backend in backends {
            let answer = client
                .get(format!("http://127.0.0.1:{}/readyz", backend.port))
                .send()
                .await;
            let is_ready = answer.is_ok_and(|answer| answer.status() == 200);
            backend.is_ready.store(is_ready, Ordering::Relaxed);
        }
        tokio::time::sleep(LOOK_EVERY).await; // what every balancer does
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("it listens");
        lock(&shared.came).push(Instant::now());
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(client, Arc::clone(&shared)));
    }
}

async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let ready: Vec<u16> = {
        let backends = lock(&shared.backends);
        let ready = backends
            .iter()
            .filter(|backend| backend.is_ready.load(Ordering::Relaxed));
        ready.map(|backend| backend.port).collect()
    };
    let first = shared.next.fetch_add(1, Ordering::Relaxed);
    for turn in 0..ready.len() {
        let port = ready[(first + turn) % ready.len()];
        if let Ok(mut node) = TcpStream::connect(("127.0.0.1", port)).await {
            // Small frames both ways: nobody waits for more of them.
            let _ = (client.set_nodelay(true), node.set_nodelay(true));
            let _ = copy_bidirectional(&mut client, &mut node).await; // however it ends, it ends for both
            return;
        }
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(|broken| broken.into_inner())
}
