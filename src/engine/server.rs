//! A running server: its threads, its start and its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Application, Counters, Settings};

/// Answers whatever is not under the engine's path.
pub type Fallback = Arc<
    dyn Fn(
            http::Request<hyper::body::Incoming>,
        ) -> BoxFuture<'static, http::Response<axum::body::Body>>
        + Send
        + Sync,
>;

/// A running server.
pub struct Server;

impl Server {
    /// Starts `shards` threads. `make` runs on each shard's thread, inside its runtime.
    pub fn start(
        _listener: TcpListener,
        _settings: Settings,
        _shards: usize,
        _make: impl Fn(usize) -> Rc<dyn Application> + Send + Sync + 'static,
        _fallback: Fallback,
    ) -> io::Result<Server> {
        unimplemented!()
    }

    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!()
    }

    /// What the engine counts.
    pub fn counters(&self) -> Arc<Counters> {
        unimplemented!()
    }

    /// Runs a closure on a shard's thread, inside its runtime; it may `spawn_local`.
    pub fn run_on(&self, _shard: usize, _f: impl FnOnce() + Send + 'static) {
        unimplemented!()
    }

    /// Stops taking connections; those that stand are served on.
    pub fn stop_accepting(&self) {
        unimplemented!()
    }

    /// Closes every transport, waits for the `disconnected` handlers and ends the threads, at the latest at the deadline.
    pub async fn shutdown(self, _deadline: Duration) {
        unimplemented!()
    }
}
