//! What the engine can be told: times, limits, queues, origins. Everything that grows has its bound here.
//! Not here: where the values come from (the configuration's business).

use std::time::Duration;

use super::Tag;

/// Which browser origins may talk to the engine. A request without `Origin` comes from no browser and passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every origin, answered with `*`, therefore without credentials.
    Any,
    /// Only pages that were served by the same host and port.
    SameOrigin,
    /// These, written as browsers send them: `https://app.example.org`, no slash at the end.
    List(Vec<String>),
}

/// Times and bounds of one server. The default is what socket.io's server does, with the bounds that it does not have.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the ids of this server's sessions end with. Servers behind one balancer have names, and so tags, of their own.
    pub tag: Tag,
    /// Path of the engine; requests may leave its last slash out.
    pub path: String,
    /// Time between a pong (or the handshake) and the next ping.
    pub ping_interval: Duration,
    /// Time that a client has to answer a ping.
    pub ping_timeout: Duration,
    /// Bytes of one packet, one WebSocket message, one POST body, and of all attachments of one packet together.
    pub max_payload: usize,
    /// Packets in one POST. Stock clients put what waited during one round trip into one; a flood is cut before it is queued.
    pub max_packets: usize,
    /// Binary attachments of one Socket.IO packet.
    pub max_attachments: usize,
    /// Compress for clients that ask for it: messages by WebSocket (permessage-deflate), payloads by polling (gzip).
    pub compression: bool,
    /// Fragments of one WebSocket message; browsers send one, proxies a few.
    pub max_fragments: usize,
    /// Time from the WebSocket's opening to the client's upgrade packet.
    pub upgrade_timeout: Duration,
    /// Time that a connection may stand without a Socket.IO namespace.
    pub connect_timeout: Duration,
    /// Time without progress of a write after which the peer counts as gone.
    pub write_stall: Duration,
    /// Time for saying farewell: sending what waits, the closing handshake. A polling client has 2 s of it at most, unless it
    /// upgrades meanwhile: then it is the time for that too.
    pub close_timeout: Duration,
    /// Frames given to one vectored write; more than 128 are 128.
    pub frames_per_write: usize,
    /// Frames that may wait to be written to one connection.
    pub out_frames: usize,
    /// Bytes that may wait to be written to one connection.
    pub out_bytes: usize,
    /// Messages that may wait for the handler of one connection; when they do, reading stops. Their bytes are bounded by `max_payload`.
    pub in_events: usize,
    /// Time to send the head of an HTTP request, also the first of a connection, and the idle time of a kept one.
    pub header_read_timeout: Duration,
    /// Time to send the body of a POST.
    pub body_read_timeout: Duration,
    /// HTTP connections of the node that are no WebSockets (yet); more are answered 503 at once.
    pub http_connections: usize,
    /// Connections that the kernel keeps ready until they are accepted.
    pub backlog: i32,
    /// Who may talk to the engine from a browser.
    pub origins: Origins,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tag: Tag::of(""),
            path: String::from("/socket.io/"),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            max_packets: 1_000,
            max_attachments: 10,
            compression: true,
            max_fragments: 1_024,
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            write_stall: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            frames_per_write: 100,
            out_frames: 1_024,
            out_bytes: 4 << 20,
            in_events: 64,
            header_read_timeout: Duration::from_secs(15),
            body_read_timeout: Duration::from_secs(30),
            http_connections: 16_384,
            backlog: 4_096,
            origins: Origins::SameOrigin,
        }
    }
}
