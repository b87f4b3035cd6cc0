//! The oracle: the socketioxide project's servers, programmed and configured as our examples are.
//! Not here: any judgement about which of the two is right (`differences`).

use std::convert::Infallible;
use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::{FromMessageParts, MessageHandler};
use socketioxide::{ParserConfig, SocketIo};
use socketioxide_core::Value;

use crate::client::{CONNECT_TIMEOUT, MAX_PAYLOAD, PATIENT_PING_TIMEOUT, PING_INTERVAL, PING_TIMEOUT, Target};

/// As many attachments as our engine takes in one packet.
const MAX_ATTACHMENTS: usize = 10;

/// The Engine.IO echo server, one for all tests of this process.
pub fn engine_echo() -> Target {
    static ADDR: OnceLock<SocketAddr> = OnceLock::new();
    engine_at(*ADDR.get_or_init(|| start_engine(PING_TIMEOUT)))
}

/// The Socket.IO echo server, one for all tests of this process.
pub fn socket_echo() -> Target {
    static ADDR: OnceLock<SocketAddr> = OnceLock::new();
    socket_at(*ADDR.get_or_init(|| start_socket(PING_TIMEOUT)))
}

/// The Engine.IO echo server for clients that may be late.
pub fn patient_engine_echo() -> Target {
    static ADDR: OnceLock<SocketAddr> = OnceLock::new();
    engine_at(*ADDR.get_or_init(|| start_engine(PATIENT_PING_TIMEOUT)))
}

/// The Socket.IO echo server for clients that may be late.
pub fn patient_socket_echo() -> Target {
    static ADDR: OnceLock<SocketAddr> = OnceLock::new();
    socket_at(*ADDR.get_or_init(|| start_socket(PATIENT_PING_TIMEOUT)))
}

fn engine_at(addr: SocketAddr) -> Target {
    Target {
        addr,
        path: "/engine.io/",
    }
}

fn socket_at(addr: SocketAddr) -> Target {
    Target {
        addr,
        path: "/socket.io/",
    }
}

fn start_engine(ping_timeout: Duration) -> SocketAddr {
    let config = EngineIoConfig::builder()
        .req_path("/engine.io")
        .ping_interval(PING_INTERVAL)
        .ping_timeout(ping_timeout)
        .max_payload(MAX_PAYLOAD as u64)
        .ws_max_message_size(MAX_PAYLOAD)
        .ws_max_frame_size(MAX_PAYLOAD)
        .max_buffer_size(1024)
        .build();
    serve(EngineIoService::with_config(Arc::new(Echo), config))
}

fn start_socket(ping_timeout: Duration) -> SocketAddr {
    let (service, io) = SocketIo::builder()
        .ping_interval(PING_INTERVAL)
        .ping_timeout(ping_timeout)
        .connect_timeout(CONNECT_TIMEOUT)
        .max_payload(MAX_PAYLOAD as u64)
        .ws_max_message_size(MAX_PAYLOAD)
        .ws_max_frame_size(MAX_PAYLOAD)
        .max_buffer_size(1024)
        .with_parser(ParserConfig::common().max_incoming_binaries(MAX_ATTACHMENTS))
        .build_svc();
    io.ns("/", on_connect);
    io.ns("/custom", on_connect);
    serve(service)
}

#[derive(Debug)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}

    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<()>>) {
        let _a_full_queue_loses_it = socket.emit(message); // which is the oracle's way
    }

    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<()>>) {
        let _a_full_queue_loses_it = socket.emit_binary(data);
    }
}

/// Handlers stand before anything is said, so that no event of the client overtakes them.
async fn on_connect(socket: SocketRef, Data(auth): Data<serde_json::Value>) {
    socket.on("message", MessageBack);
    socket.on("message-with-ack", MessageWithAck);
    let _a_full_queue_loses_it = socket.emit("auth", &auth);
}

/// A handler of its own: socketioxide spawns a task for each event of a closure, so their order would be chance.
struct MessageBack;

impl MessageHandler<LocalAdapter, ()> for MessageBack {
    fn call(&self, socket: Arc<socketioxide::socket::Socket>, mut value: Value, ack: Option<i64>) {
        if let Ok(Data(args)) = Data::<Args>::from_message_parts(&socket, &mut value, &ack) {
            let _a_full_queue_loses_it = socket.emit("message-back", &args);
        }
    }
}

struct MessageWithAck;

impl MessageHandler<LocalAdapter, ()> for MessageWithAck {
    fn call(&self, socket: Arc<socketioxide::socket::Socket>, mut value: Value, ack: Option<i64>) {
        let sender = AckSender::from_message_parts(&socket, &mut value, &ack);
        let args = Data::<Args>::from_message_parts(&socket, &mut value, &ack);
        if let (Ok(sender), Ok(Data(args))) = (sender, args) {
            let _a_full_queue_loses_it = sender.send(&args);
        }
    }
}

/// All arguments of an event, attachments in their places; socketioxide takes only tuples for several arguments.
#[derive(Debug)]
struct Args(Vec<rmpv::Value>);

impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for value in &self.0 {
            tuple.serialize_element(value)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Args;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Args, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = seq.next_element()? {
                    all.push(value);
                }
                Ok(Args(all))
            }
        }
        deserializer.deserialize_tuple(1, All) // the length only says "a tuple"; JSON arrays bring their own
    }
}

/// Serves until the process ends, on threads of its own: tests come and go with their runtimes.
fn serve<S, B>(service: S) -> SocketAddr
where
    S: hyper::service::Service<hyper::Request<Incoming>, Response = hyper::Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: hyper::body::Body<Data: Send, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .set_nonblocking(true)
        .expect("a socket can be made non-blocking");
    let addr = listener.local_addr().expect("a bound socket has an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("inside a runtime");
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                stream.set_nodelay(true).expect("TCP_NODELAY");
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service.clone())
                    .with_upgrades();
                tokio::spawn(async move {
                    let _is_for_the_test_to_see = connection.await;
                });
            }
        });
    });
    addr
}
