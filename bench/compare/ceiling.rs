//! What socketioxide itself can do: the events of the bench on its own adapter, with no Redis, no token, no rules. It is the
//! ceiling of that library, and neither a gateway nor an example of one.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use tokio::net::TcpSocket;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 4096;
/// Packets that may wait for one connection; what comes beyond would be lost, and its own default is 128.
const QUEUE: usize = 1 << 16;
/// As long as a room's epoch.
const EPOCH: &str = "00000000ce111119";

static SEQ: AtomicU64 = AtomicU64::new(0);

/// Serves on the runtime of its caller for as long as it is polled; says `listening` once it does.
pub async fn serve(port: u16) -> io::Result<()> {
    let (service, io) = SocketIo::builder().max_buffer_size(QUEUE).build_svc();
    io.ns("/", welcome);
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let listener = socket.listen(BACKLOG)?;
    println!("listening");
    io::stdout().flush()?;
    let service = TowerToHyperService::new(service);
    loop {
        let (stream, _) = listener.accept().await?;
        let _gone = stream.set_nodelay(true);
        // hyper by itself: under axum, each connection takes 4 KB more.
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(connection.with_upgrades());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Room {
    room_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    room_name: String,
    content: String,
}

#[derive(Deserialize)]
struct Change {
    status: String,
}

#[derive(Serialize)]
struct Success<T> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Authenticated<'a> {
    user_id: &'a str,
    session_id: &'a str,
    rooms: [&'a str; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined<'a> {
    room_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    message_id: String,
    epoch: &'static str,
    seq: u64,
    timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    room_name: &'a str,
    user_id: &'a str,
    content: &'a str,
    #[serde(flatten)]
    made: &'a Made,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typing<'a> {
    room_name: &'a str,
    users: [Typist<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typist<'a> {
    user_id: &'a str,
    started_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Presence<'a> {
    user_id: &'a str,
    status: &'a str,
    custom_status: Option<&'a str>,
    custom_emoji: Option<&'a str>,
}

// What cannot be sent was for a connection that has ended; if it was not, the load counts it as lost.

async fn welcome(socket: SocketRef) {
    socket.on("room:join", join);
    socket.on("message:send", send);
    socket.on("typing:start", start_typing);
    socket.on("presence:update", update_presence);
    let id = socket.id.as_str();
    let authenticated = Authenticated {
        user_id: id,
        session_id: id,
        rooms: [],
    };
    let _gone = socket.emit("authenticated", &authenticated);
}

async fn join(socket: SocketRef, Data(Room { room_name }): Data<Room>, ack: AckSender) {
    socket.join(room_name.clone());
    answer(ack, Some(Joined { room_name: &room_name }));
}

async fn send(socket: SocketRef, Data(said): Data<Said>, ack: AckSender) {
    let seq = SEQ.fetch_add(1, Ordering::Relaxed) + 1;
    let made = Made {
        message_id: format!("{EPOCH}-{seq}"),
        epoch: EPOCH,
        seq,
        timestamp: now(),
    };
    let message = Message {
        room_name: &said.room_name,
        user_id: socket.id.as_str(),
        content: &said.content,
        made: &made,
    };
    let everybody = socket.within(said.room_name.clone());
    let _gone = everybody.emit("message:new", &message).await;
    answer(ack, Some(made));
}

async fn start_typing(socket: SocketRef, Data(Room { room_name }): Data<Room>, ack: AckSender) {
    let typist = Typist {
        user_id: socket.id.as_str(),
        started_at: now(),
    };
    let typing = Typing {
        room_name: &room_name,
        users: [typist],
    };
    let others = socket.to(room_name.clone());
    let _gone = others.emit("typing:event", &typing).await;
    answer(ack, None::<()>);
}

async fn update_presence(socket: SocketRef, Data(Change { status }): Data<Change>, ack: AckSender) {
    let presence = Presence {
        user_id: socket.id.as_str(),
        status: &status,
        custom_status: None,
        custom_emoji: None,
    };
    let rooms = socket.rooms();
    // To no room would be to everybody.
    if !rooms.is_empty() {
        let _gone = socket.to(rooms).emit("presence:changed", &presence).await;
    }
    answer(ack, Some(presence));
}

fn answer(ack: AckSender, data: Option<impl Serialize>) {
    let _gone = ack.send(&Success { success: true, data });
}

/// ISO-8601, ms.
fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}
