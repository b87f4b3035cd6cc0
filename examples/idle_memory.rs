//! Measures what an idle connection costs: starts `socket_echo` beside it, opens 10,000 WebSockets (or the number given), connects
//! each to `/`, answers their pings, and prints the resident memory of the server per connection. Ends by itself.
//!
//! cargo build --release --example socket_echo && cargo run --release --example idle_memory

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

type Failure = Box<dyn Error + Send + Sync>;

const CONNECTIONS: usize = 10_000;
/// Connections that are being opened at the same time.
const AT_ONCE: usize = 64;
/// Time for the last pings and the allocator to settle.
const REST: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(120);

/// The server's process; it ends with this one.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _has_ended = self.0.wait();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let count = match std::env::args().nth(1) {
        Some(number) => number.parse()?,
        None => CONNECTIONS,
    };
    tokio::time::timeout(DEADLINE, measure(count)).await?
}

async fn measure(count: usize) -> Result<(), Failure> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let program = std::env::current_exe()?.with_file_name("socket_echo");
    let server = Server(Command::new(program).env("PORT", port.to_string()).spawn()?);
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while TcpStream::connect(addr).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = resident_kb(server.0.id())?;
    let opening = Arc::new(Semaphore::new(AT_ONCE));
    let (opened, mut openings) = mpsc::channel(AT_ONCE);
    let lost = Arc::new(AtomicUsize::new(0));
    for _ in 0..count {
        let (opening, opened, lost) = (opening.clone(), opened.clone(), lost.clone());
        tokio::spawn(async move {
            if let Err(error) = hold(addr, &opening, &opened).await {
                lost.fetch_add(1, Relaxed);
                eprintln!("a connection was lost: {error}");
            }
        });
    }
    for _ in 0..count {
        openings.recv().await.ok_or("every connection was lost")?;
    }
    tokio::time::sleep(REST).await;
    let after = resident_kb(server.0.id())?;
    let lost = lost.load(Relaxed);
    if lost > 0 {
        return Err(format!("{lost} connections were lost: the figure would be too good").into());
    }
    let bytes = (after - before) * 1024 / count as u64;
    println!("{count} idle connections: {before} KB before, {after} KB after, {bytes} bytes each");
    Ok(())
}

/// Opens a connection, connects it to `/`, and answers pings for ever.
async fn hold(addr: SocketAddr, opening: &Semaphore, opened: &mpsc::Sender<()>) -> Result<(), Failure> {
    let permit = opening.acquire().await?;
    let tcp = TcpStream::connect(addr).await?;
    let url = format!("ws://{addr}/socket.io/?EIO=4&transport=websocket");
    let config = WebSocketConfig::default().read_buffer_size(512);
    let (mut socket, _response) = tokio_tungstenite::client_async_with_config(url, tcp, Some(config)).await?;
    socket.send(Message::text("40")).await?;
    let mut permit = Some(permit);
    while let Some(message) = socket.next().await {
        match message?.to_text()? {
            "2" => socket.send(Message::text("3")).await?,
            text if text.starts_with(r#"42["auth""#) => {
                drop(permit.take());
                opened.send(()).await?;
            }
            _ => {}
        }
    }
    Err("closed by the server".into())
}

fn resident_kb(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
