//! Socket.IO alone: sends `auth` with the handshake's auth, answers `message` by `message-back` and `message-with-ack` by an ack,
//! attachments included. The server that socket.io's Socket.IO protocol suite expects, on `PORT` (3000).

use std::borrow::Cow;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use nself_realtime::engine::{
    Application, CloseReason, ConnectError, Event, Fallback, Handshake, Origins, Server, Settings, Socket,
};

struct Echo;

impl Application for Echo {
    fn has_namespace(&self, namespace: &str) -> bool {
        matches!(namespace, "/" | "/custom")
    }

    fn connect(
        self: Rc<Self>,
        socket: Socket,
        _handshake: Rc<Handshake>,
        auth: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), ConnectError>> {
        Box::pin(async move {
            socket.accept(None);
            let auth = auth.as_deref().unwrap_or("{}");
            socket.emit(&format!(r#"["auth",{auth}]"#), &[]);
            Ok(())
        })
    }

    fn event(self: Rc<Self>, socket: Socket, event: Event) -> LocalBoxFuture<'static, ()> {
        answer(&socket, &event);
        Box::pin(async {})
    }

    fn disconnected(self: Rc<Self>, _socket: Socket, _reason: CloseReason) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

fn answer(socket: &Socket, event: &Event) {
    let args: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(&event.args).expect("the engine checked that it is an array");
    let Some((name, args)) = args.split_first() else {
        return;
    };
    let name: Cow<'_, str> = serde_json::from_str(name.get()).expect("the engine checked that it is a string");
    let args: Vec<&str> = args.iter().map(|arg| arg.get()).collect();
    match (name.as_ref(), event.ack) {
        ("message", _) => {
            let back = [&[r#""message-back""#], args.as_slice()].concat().join(",");
            socket.emit(&format!("[{back}]"), &event.attachments);
        }
        ("message-with-ack", Some(id)) => {
            socket.ack_with(id, &format!("[{}]", args.join(",")), &event.attachments);
        }
        _ => {}
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
    Server::start(listener, settings, shards, |_| Rc::new(Echo), nothing())
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
