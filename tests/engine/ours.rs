//! The servers under test: the two examples, started in this process from their own source, on free ports.
//! Not here: programs that are started as programs (the binary's own tests).

use std::net::TcpListener;
use std::ops::Deref;
use std::sync::OnceLock;
use std::time::Duration;

use nself_realtime::engine::{Server, Settings};

use crate::client::{PATIENT_PING_TIMEOUT, Target};

#[path = "../../examples/engine_echo.rs"]
#[allow(dead_code, reason = "its main is for the command line")]
mod engine_echo;
#[path = "../../examples/socket_echo.rs"]
#[allow(dead_code, reason = "its main is for the command line")]
mod socket_echo;

/// More than one, so that requests meet sessions of other shards.
const SHARDS: usize = 3;

/// The Engine.IO echo server, one for all tests of this process.
pub fn engine_echo() -> Target {
    static SERVER: OnceLock<Own> = OnceLock::new();
    SERVER.get_or_init(|| engine_echo_with(|_| {})).target
}

/// The Socket.IO echo server, one for all tests of this process.
pub fn socket_echo() -> Target {
    static SERVER: OnceLock<Own> = OnceLock::new();
    SERVER.get_or_init(|| socket_echo_with(|_| {})).target
}

/// The Engine.IO echo server for clients that may be late.
pub fn patient_engine_echo() -> Target {
    static SERVER: OnceLock<Own> = OnceLock::new();
    SERVER.get_or_init(|| engine_echo_with(patient)).target
}

/// The Socket.IO echo server for clients that may be late.
pub fn patient_socket_echo() -> Target {
    static SERVER: OnceLock<Own> = OnceLock::new();
    SERVER.get_or_init(|| socket_echo_with(patient)).target
}

/// A server of a test's own, its settings changed.
pub struct Own {
    server: Server,
    pub target: Target,
}

impl Own {
    pub async fn shutdown(self, deadline: Duration) {
        self.server.shutdown(deadline).await;
    }
}

impl Deref for Own {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Lets a pong take as long as a busy machine needs.
pub fn patient(settings: &mut Settings) {
    settings.ping_timeout = PATIENT_PING_TIMEOUT;
}

/// An Engine.IO echo server of a test's own.
pub fn engine_echo_with(change: impl FnOnce(&mut Settings)) -> Own {
    let mut settings = engine_echo::settings();
    change(&mut settings);
    let server = engine_echo::start(listener(), SHARDS, settings).expect("the example starts");
    let target = Target {
        addr: server.local_addr(),
        path: "/engine.io/",
    };
    Own { server, target }
}

/// A Socket.IO echo server of a test's own.
pub fn socket_echo_with(change: impl FnOnce(&mut Settings)) -> Own {
    let mut settings = socket_echo::settings();
    change(&mut settings);
    let server = socket_echo::start(listener(), SHARDS, settings).expect("the example starts");
    let target = Target {
        addr: server.local_addr(),
        path: "/socket.io/",
    };
    Own { server, target }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a free port")
}
