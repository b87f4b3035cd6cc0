//! One message for all members of a room: an engine server of one shard, and its clients on loopback, which do nothing but read.
//! Not here: who is a member (the gateway's shard), which would need Redis.

use std::cell::{LazyCell, RefCell};
use std::future::ready;
use std::hint::black_box;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::future::LocalBoxFuture;
use nself_realtime::engine::{
    Application, CloseReason, ConnectError, Event, Fallback, Frame, Handshake, Server, Settings, Socket,
};
use nself_realtime::gateway::outgoing::message_new;
use tungstenite::{Message, WebSocket};

use super::said;

const MEMBERS: [usize; 2] = [10, 500];
/// Bytes of the message's content.
const CONTENT: usize = 200;
/// The longest that a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than the bench: a ping is none of the bytes that a client expects.
const PING_INTERVAL: Duration = Duration::from_secs(3_600);

thread_local! {
    /// Members, on the shard's thread.
    static ROOM: RefCell<Vec<Socket>> = const { RefCell::new(Vec::new()) };
}

pub fn bench(criterion: &mut Criterion) {
    // Both ends of each connection are here.
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of files can be read and set");
    let message = said::message(CONTENT);
    let new = || message_new(&message, None);
    let mut group = criterion.benchmark_group("fanout");
    for members in MEMBERS {
        // Only where it was asked for.
        let room = LazyCell::new(|| Room::fill(members));
        group.throughput(Throughput::Elements(members as u64));
        // What the shard's thread does before anything is written.
        group.bench_function(BenchmarkId::new("queued", members), |bencher| {
            bencher.iter_custom(|messages| (0..messages).map(|_| room.say(&new())).sum());
        });
        // From encoding it to the last member's having it, which includes that the clients read one after the other.
        group.bench_function(BenchmarkId::new("heard by all", members), |bencher| {
            bencher.iter(|| room.say(black_box(&new())));
        });
    }
    group.finish();
}

/// A server, and who is connected to it.
struct Room {
    server: Server,
    clients: Vec<WebSocket<TcpStream>>,
}

impl Room {
    fn fill(members: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let settings = Settings {
            ping_interval: PING_INTERVAL,
            ..Settings::default()
        };
        let fallback: Fallback = Arc::new(|_| Box::pin(async { http::Response::default() }));
        let make = |_| -> Rc<dyn Application> { Rc::new(Members) };
        let server = Server::start(listener, settings, 1, make, fallback).expect("a server starts");
        let clients = (0..members).map(|_| connect(server.local_addr())).collect();
        Self { server, clients }
    }

    /// Sends to all, and reads it on each. Returns how long the shard took to queue it.
    fn say(&self, frame: &Frame) -> Duration {
        let (sender, queued) = mpsc::channel();
        let sent = frame.clone();
        let send = move || {
            let started = Instant::now();
            ROOM.with_borrow(|room| room.iter().for_each(|socket| socket.send(&sent)));
            sender.send(started.elapsed()).expect("the bench waits for it");
        };
        self.server.run_on(0, send).expect("the shard has nothing else to do");
        let mut heard = vec![0; frame.wire_for(false).len()];
        for client in &self.clients {
            client.get_ref().read_exact(&mut heard).expect("a message in time");
            debug_assert_eq!(heard, frame.wire_for(false));
        }
        queued.recv().expect("the shard has queued it")
    }
}

/// A client in namespace `/` that does not compress.
fn connect(address: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a time that is not zero");
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let (mut socket, _response) = tungstenite::client(url, stream).expect("a WebSocket opens");
    let opened = socket.read().expect("a session opens");
    assert!(opened.to_text().expect("a text").starts_with('0'), "{opened}");
    socket.send(Message::text("40")).expect("an open socket");
    let connected = socket.read().expect("an answer to CONNECT");
    assert!(connected.to_text().expect("a text").starts_with("40"), "{connected}");
    socket
}

/// Everybody who connects is a member, and says nothing.
struct Members;

impl Application for Members {
    fn connect(
        self: Rc<Self>,
        socket: Socket,
        _handshake: Rc<Handshake>,
        _auth: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), ConnectError>> {
        // A member before the client knows it: nothing is sent before all are connected.
        ROOM.with_borrow_mut(|room| room.push(socket));
        Box::pin(ready(Ok(())))
    }

    fn event(self: Rc<Self>, _socket: Socket, _event: Event) -> LocalBoxFuture<'static, ()> {
        Box::pin(ready(()))
    }

    fn disconnected(self: Rc<Self>, socket: Socket, _reason: CloseReason) -> LocalBoxFuture<'static, ()> {
        ROOM.with_borrow_mut(|room| room.retain(|member| member.id() != socket.id()));
        Box::pin(ready(()))
    }
}
