//! A running server: its threads, its start and its end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::BoxFuture;
use socket2::SockRef;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::id::MAX_SHARDS;
use super::protocol::Protocol;
use super::shard::{self, Common, Mail, Mailbox};
use super::socket_io::SocketIo;
use super::{Application, Counters, Settings, acceptor};

/// Closures that may wait for one shard. They are an exception to what a shard does by itself, and each should be short.
const CLOSURES_PER_SHARD: usize = 1_024;

/// Answers whatever is not under the engine's path. The request carries the peer's address as axum's `ConnectInfo<SocketAddr>`.
pub type Fallback = Arc<
    dyn Fn(http::Request<hyper::body::Incoming>) -> BoxFuture<'static, http::Response<axum::body::Body>> + Send + Sync,
>;

/// A running server. Dropping it closes everything at once, without waiting.
pub struct Server {
    local_addr: SocketAddr,
    counters: Arc<Counters>,
    remote: Remote,
    acceptor: CancellationToken,
    threads: Vec<Thread>,
}

struct Thread {
    handle: JoinHandle<()>,
    /// Ends with the thread.
    ended: oneshot::Receiver<()>,
}

impl Server {
    /// Starts `shards` threads that serve Socket.IO. `make` runs on each shard's thread, inside its runtime.
    ///
    /// # Errors
    /// When the listener or a thread cannot be set up, or `shards` is 0 or over 4,096.
    pub fn start(
        listener: TcpListener,
        settings: Settings,
        shards: usize,
        make: impl Fn(usize) -> Rc<dyn Application> + Send + Sync + 'static,
        fallback: Fallback,
    ) -> io::Result<Server> {
        let bounds = settings.clone();
        let make = move |shard| -> Rc<dyn Protocol> { Rc::new(SocketIo::new(make(shard), &bounds)) };
        Self::start_protocol(listener, settings, shards, make, fallback)
    }

    /// The same one level lower: `make` gives what stands directly above Engine.IO.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_protocol(
        listener: TcpListener,
        settings: Settings,
        shards: usize,
        make: impl Fn(usize) -> Rc<dyn Protocol> + Send + Sync + 'static,
        fallback: Fallback,
    ) -> io::Result<Server> {
        if !(1..=MAX_SHARDS).contains(&shards) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "number of shards"));
        }
        let local_addr = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        SockRef::from(&listener).listen(settings.backlog)?;
        let (mailboxes, mails): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        let common = Common {
            settings: Arc::new(settings),
            counters: Arc::new(Counters::new(shards)),
            fallback,
            mailboxes: mailboxes.into(),
        };
        let stop = CancellationToken::new();
        let mut server = Server {
            local_addr,
            counters: common.counters.clone(),
            remote: Remote::new(common.mailboxes.clone()),
            acceptor: stop.clone(),
            threads: Vec::with_capacity(shards + 1),
        };
        let make = Arc::new(make);
        let (ready, started) = std::sync::mpsc::channel();
        for (index, mail) in mails.into_iter().enumerate() {
            let (common, make, ready) = (common.clone(), make.clone(), ready.clone());
            server.spawn(format!("shard-{index}"), move || {
                shard::run(index, common, mail, || make(index), &ready);
            })?;
        }
        drop(ready);
        for _ in 0..shards {
            let died = |_| io::Error::other("a shard's thread ended at its start");
            started.recv().map_err(died)??;
        }
        server.spawn("acceptor".into(), move || accept(listener, common, stop))?;
        Ok(server)
    }

    /// Where the server listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What the engine counts.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.remote.mailboxes.len()
    }

    /// As [`Remote::run_on`].
    ///
    /// # Errors
    /// When too many closures wait for the shard already.
    pub fn run_on(&self, shard: usize, f: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        self.remote.run_on(shard, f)
    }

    /// A handle that can be given away, to run closures on shards.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// Stops taking connections; those that stand are served on. Polling clients may not come through any more.
    pub fn stop_accepting(&self) {
        self.acceptor.cancel();
    }

    /// Closes every transport, waits for the `disconnected` handlers and ends the threads, at the latest at the deadline. A
    /// thread that a handler blocks beyond it is left behind. Connections are accepted until the last session is gone, since a
    /// polling client fetches its farewell by a new one; new sessions are answered 503 meanwhile.
    pub async fn shutdown(mut self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        let (farewell, mut over) = mpsc::channel(1);
        self.tell_shards(|| Mail::Close(farewell.clone()));
        drop(farewell);
        // Nothing is ever sent: the end of the channel is what is waited for, and the deadline as good.
        let _over_or_too_late = tokio::time::timeout_at(deadline, over.recv()).await;
        self.end(deadline);
        for thread in std::mem::take(&mut self.threads) {
            // The sender is dropped, never used: an error is the end.
            let ended = tokio::time::timeout_at(deadline, thread.ended).await;
            if ended.is_ok() && thread.handle.join().is_err() {
                tracing::error!("a thread of the engine panicked");
            }
        }
    }

    fn end(&self, deadline: Instant) {
        self.stop_accepting();
        self.tell_shards(|| Mail::End(deadline));
    }

    fn tell_shards(&self, mail: impl Fn() -> Mail) {
        for mailbox in self.remote.mailboxes.iter() {
            let _has_ended = mailbox.send(mail());
        }
    }

    fn spawn(&mut self, name: String, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let (guard, ended) = oneshot::channel::<()>();
        let run = move || {
            run();
            drop(guard);
        };
        let handle = std::thread::Builder::new().name(name).spawn(run)?;
        self.threads.push(Thread { handle, ended });
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}

/// Runs closures on the shards of a server, from any thread.
#[derive(Clone)]
pub struct Remote {
    mailboxes: Arc<[Mailbox]>,
    /// For each shard, how many more closures may wait.
    places: Arc<[Arc<Semaphore>]>,
}

/// A shard has not begun the closures that it was given before, and takes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many closures wait for the shard")]
pub struct Busy;

impl Remote {
    fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        let places = mailboxes.iter().map(|_| Arc::new(Semaphore::new(CLOSURES_PER_SHARD)));
        Self {
            places: places.collect(),
            mailboxes,
        }
    }

    /// Runs a closure on a shard's thread, inside its runtime; it may `spawn_local`. After the shard's end the closure is dropped.
    ///
    /// # Errors
    /// When 1,024 closures wait for the shard already; this one was not taken.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn run_on(&self, shard: usize, f: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        let place = self.places[shard].clone().try_acquire_owned().map_err(|_| Busy)?;
        let run = move || {
            drop(place);
            f();
        };
        let _has_ended = self.mailboxes[shard].send(Mail::Run(Box::new(run)));
        Ok(())
    }
}

fn accept(listener: TcpListener, common: Common, stop: CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let accepted = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            acceptor::run(listener, common, stop).await;
            Ok(())
        })
    });
    if let Err(error) = accepted {
        tracing::error!(%error, "no connection will be accepted");
    }
}
