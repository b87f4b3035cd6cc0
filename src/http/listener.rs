//! A port of its own for plain HTTP, where `REALTIME_ADMIN_PORT` asks for one. Not here: the main port, which is the
//! engine's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt as _;

use super::{Routes, State, router};

/// Connections at once; further ones wait. Monitoring and an application's servers need few.
const CONNECTIONS_MAX: usize = 256;
/// How long the head of a request may take to come; also how long a connection may say nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Between two tries to accept, where the system has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// The task that answers, and where it listens; it ends when it is dropped.
pub struct Listener {
    listener: tokio::net::TcpListener,
    router: Router,
}

impl Listener {
    /// Takes the port on the current runtime; 0 lets the system choose.
    pub fn bind(address: SocketAddr, state: Arc<State>, routes: &Routes) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: tokio::net::TcpListener::from_std(listener)?,
            router: router(state, routes),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut serving = JoinSet::new();
        loop {
            while serving.try_join_next().is_some() {}
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("nobody closes it");
            match self.listener.accept().await {
                Ok((tcp, remote)) => drop(serving.spawn(serve(self.router.clone(), tcp, remote, place))),
                Err(error) => {
                    tracing::debug!(%error, "no connection of the administration can be accepted; trying again");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn serve(router: Router, tcp: TcpStream, remote: SocketAddr, _place: OwnedSemaphorePermit) {
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(remote));
        request
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(tcp), TowerToHyperService::new(service));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection of the administration ended");
    }
}
