//! Engine.IO alone: every message is sent back. The server that socket.io's Engine.IO protocol suite expects, on `PORT` (3000).

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nself_realtime::engine::{Connection, Fallback, Frame, Message, Origins, Protocol, Server, Settings, Work};

struct Echo;

impl Protocol for Echo {
    fn message(self: Rc<Self>, connection: Connection, message: Message) -> Work {
        match message {
            Message::Text(text) => connection.send(&Frame::message(&text)),
            Message::Binary(data) => connection.send(&Frame::binary(&data)),
        }
        None
    }
}

fn main() -> std::io::Result<()> {
    let _server = start(listen()?, shards(), settings())?;
    loop {
        std::thread::park();
    }
}

/// What the protocol suite expects.
pub fn settings() -> Settings {
    Settings {
        path: "/engine.io/".into(),
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        max_payload: 1_000_000,
        connect_timeout: Duration::from_secs(1),
        origins: Origins::Any,
        ..Settings::default()
    }
}

/// Starts the server; it serves as long as the value is held.
pub fn start(listener: TcpListener, shards: usize, settings: Settings) -> std::io::Result<Server> {
    Server::start_protocol(listener, settings, shards, |_| Rc::new(Echo), nothing())
}

fn listen() -> std::io::Result<TcpListener> {
    let host = std::env::var("HOST").unwrap_or("127.0.0.1".into());
    let port = std::env::var("PORT").unwrap_or("3000".into());
    TcpListener::bind(format!("{host}:{port}"))
}

fn shards() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What is not the engine's is not found.
fn nothing() -> Fallback {
    Arc::new(|_| {
        Box::pin(async {
            let mut response = http::Response::default();
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            response
        })
    })
}
