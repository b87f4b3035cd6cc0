//! The scripts of the differential test: what is sent, byte by byte. Not here: what is expected; the oracle says that.

mod payloads;
mod requests;
mod socket_io;
mod websocket;

/// Which of the two echo servers a script is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Engine,
    Socket,
}

pub enum Step {
    /// Bytes on a TCP connection of their own; `{path}`, `{base}` (without the slash), `{host}`, `{sid}` are filled in.
    Http(Vec<u8>),
    /// Opens a polling session.
    OpenPolling,
    /// One poll of the session; its answer is recorded.
    Get,
    /// One POST of the session.
    Post(Vec<u8>),
    /// Opens a WebSocket session.
    OpenWebsocket,
    /// Opens a WebSocket on the polling session.
    Upgrade,
    /// Bytes on the WebSocket's connection.
    Send(Vec<u8>),
    /// Connects to the main namespace of Socket.IO, and waits for CONNECT and `auth`.
    Connect,
    /// Waits for a packet from the WebSocket.
    Await,
    /// Waits until the server has nothing more to say, so that nothing races with the next bytes.
    Settle,
}

pub struct Script {
    pub name: &'static str,
    pub server: Server,
    pub steps: Vec<Step>,
}

/// Every script.
pub fn all() -> Vec<Script> {
    [
        requests::requests(),
        requests::websocket_requests(),
        payloads::payloads(),
        websocket::packets(),
        websocket::frames(),
        websocket::upgrades(),
        socket_io::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A script for the Engine.IO server.
fn engine(name: &'static str, steps: Vec<Step>) -> Script {
    Script {
        name,
        server: Server::Engine,
        steps,
    }
}
