//! The application of these tests: does what the event's name says, and writes down what it was called for.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures_util::future::LocalBoxFuture;
use nself_realtime::engine::{
    Application, CloseReason, ConnectError, Event, Fallback, Frame, Handshake, Refusal, Server, Settings, Socket,
    Transport,
};
use tokio::sync::{mpsc, watch};

/// What the application was called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Connected,
    Event(String),
    Upgraded,
    Disconnected(CloseReason),
}

/// A server with the application, as a test holds it.
pub struct Running {
    pub server: Server,
    pub calls: mpsc::UnboundedReceiver<Call>,
    /// Handlers of `gate` go on when this is true.
    pub gate: watch::Sender<bool>,
    /// New sessions are refused while this is true.
    pub is_full: Arc<AtomicBool>,
}

#[derive(Clone)]
struct App {
    calls: mpsc::UnboundedSender<Call>,
    gate: watch::Receiver<bool>,
    is_full: Arc<AtomicBool>,
}

pub fn start(settings: Settings, shards: usize) -> Running {
    let (sender, calls) = mpsc::unbounded_channel();
    let (gate, receiver) = watch::channel(false);
    let is_full = Arc::new(AtomicBool::new(false));
    let app = App {
        calls: sender,
        gate: receiver,
        is_full: is_full.clone(),
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let make = move |_| -> Rc<dyn Application> { Rc::new(app.clone()) };
    let fallback: Fallback = Arc::new(|_| Box::pin(async { http::Response::default() }));
    let server = Server::start(listener, settings, shards, make, fallback).unwrap();
    Running {
        server,
        calls,
        gate,
        is_full,
    }
}

impl Running {
    pub async fn next_call(&mut self) -> Call {
        let call = tokio::time::timeout(super::PATIENCE, self.calls.recv()).await;
        call.expect("a call in time").expect("the application lives")
    }

    /// The end of the only connection, once its events are over.
    pub async fn end(&mut self) -> CloseReason {
        loop {
            if let Call::Disconnected(reason) = self.next_call().await {
                return reason;
            }
        }
    }
}

impl Application for App {
    fn admit<'a>(
        &'a self,
        _request: &'a http::request::Parts,
        _remote: std::net::SocketAddr,
    ) -> LocalBoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async {
            if !self.is_full.load(SeqCst) {
                return Ok(());
            }
            Err(Refusal {
                status: http::StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(std::time::Duration::from_millis(1_500)),
                message: "full".into(),
            })
        })
    }

    fn connect(
        self: Rc<Self>,
        socket: Socket,
        _handshake: Rc<Handshake>,
        auth: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), ConnectError>> {
        Box::pin(async move {
            if auth.as_deref() == Some(r#"{"token":"bad"}"#) {
                return Err(ConnectError {
                    message: "Invalid token".into(),
                    data: Some(r#"{"code":"INVALID"}"#.into()),
                });
            }
            match auth.as_deref() {
                Some(r#"{"wait":"before"}"#) => drop(self.gate.clone().wait_for(|is_open| *is_open).await),
                Some(r#"{"token":"unavailable"}"#) => {
                    socket.close(CloseReason::Unavailable);
                    return Err(ConnectError {
                        message: "never told".into(),
                        data: None,
                    });
                }
                _ => {}
            }
            socket.accept(Some("pid-1"));
            let _test_is_over = self.calls.send(Call::Connected);
            Ok(())
        })
    }

    fn event(self: Rc<Self>, socket: Socket, event: Event) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let args: Vec<serde_json::Value> = serde_json::from_str(&event.args).unwrap();
            let name = args[0].as_str().unwrap();
            self.act(&socket, name, args.get(1)).await;
            let _test_is_over = self.calls.send(Call::Event(name.into()));
            if let Some(id) = event.ack {
                socket.ack(id, "[]");
            }
        })
    }

    fn upgraded(self: Rc<Self>, socket: Socket) {
        assert_eq!(socket.transport(), Transport::Websocket);
        let _test_is_over = self.calls.send(Call::Upgraded);
    }

    fn disconnected(self: Rc<Self>, _socket: Socket, reason: CloseReason) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            // Not in one step, so that a shutdown that does not wait is seen.
            tokio::task::yield_now().await;
            let _test_is_over = self.calls.send(Call::Disconnected(reason));
        })
    }
}

impl App {
    async fn act(&self, socket: &Socket, name: &str, arg: Option<&serde_json::Value>) {
        let number = arg.and_then(serde_json::Value::as_u64).unwrap_or(0);
        match name {
            "yield" => {
                for _ in 0..number {
                    tokio::task::yield_now().await;
                }
            }
            "panic" => panic!("as the test asked"),
            "gate" => drop(self.gate.clone().wait_for(|is_open| *is_open).await),
            "flood" => {
                let frame = Frame::event(&format!(r#"["flood","{}"]"#, "x".repeat(64 << 10)));
                (0..number).for_each(|_| socket.send(&frame));
            }
            "stream" => self.stream(socket).await,
            "latest" => {
                socket.send_latest(1, &Frame::event(r#"["typing","old"]"#));
                socket.send(&Frame::event(r#"["message"]"#));
                socket.send_latest(1, &Frame::event(r#"["typing","new"]"#));
                socket.send_latest(2, &Frame::event(r#"["presence"]"#));
            }
            "kick" => socket.disconnect(CloseReason::Kicked),
            "drain" => socket.close(CloseReason::Draining),
            _ => {}
        }
    }

    /// Counts until the gate opens.
    async fn stream(&self, socket: &Socket) {
        let mut pace = tokio::time::interval(std::time::Duration::from_millis(1));
        let mut sent = 0;
        while !*self.gate.borrow() {
            pace.tick().await;
            socket.send(&Frame::event(&format!(r#"["n",{sent}]"#)));
            sent += 1;
        }
        socket.send(&Frame::event(&format!(r#"["sent",{sent}]"#)));
    }
}
