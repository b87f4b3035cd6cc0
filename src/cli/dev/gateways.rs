//! The gateways of `dev`: this same program as `serve`, one process per node.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::Envs;
use super::leash::{Leash, Spec};
use crate::cli::Error;
use crate::config::Flags;

/// Where the first node listens, when it is free.
const FIRST_PORT: u16 = 3101;
/// How far to look for free ports.
const PORTS: u16 = 1000;
/// How long a gateway may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two questions.
const RETRY: Duration = Duration::from_millis(50);

/// A running gateway.
pub(super) struct Gateway {
    pub leash: Leash,
    pub address: SocketAddr,
}

impl Gateway {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Starts a gateway for every name. `envs` is what they share; the flags of the command line are theirs too.
pub(super) fn start(names: &[String], flags: &Flags, envs: &Envs, running: &mut Vec<Gateway>) -> Result<(), Error> {
    let program = std::env::current_exe().map_err(|error| Error::Io("cannot find this program", error))?;
    let own = ["REALTIME_HOST", "REALTIME_PORT", "REALTIME_NODE_ID"];
    let except: Vec<_> = own.into_iter().chain(envs.iter().map(|(name, _)| *name)).collect();
    let mut ports = (FIRST_PORT..FIRST_PORT + PORTS).filter(|port| is_free(*port));
    for name in names {
        let port = ports
            .next()
            .ok_or_else(|| Error::Failed(format!("no free port from {FIRST_PORT} on")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut spec = Spec::new(name, &program).args(["serve"]).args(flags.to_args(&except));
        spec.envs = envs.clone();
        spec.envs.push(("REALTIME_HOST", address.ip().to_string()));
        spec.envs.push(("REALTIME_PORT", port.to_string()));
        spec.envs.push(("REALTIME_NODE_ID", name.clone()));
        let leash = Leash::start(spec).map_err(|error| Error::Io("cannot start a gateway", error))?;
        running.push(Gateway { leash, address });
    }
    Ok(())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Waits until the gateway there says that it is ready; fails when it takes too long.
pub(super) async fn ready(name: &str, address: SocketAddr) -> Result<(), Error> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut last = String::from("no answer");
    while Instant::now() < deadline {
        match timeout(ANSWER_TIMEOUT, readyz(address)).await {
            Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => return Ok(()),
            Ok(Ok(answer)) => last = answer.lines().last().unwrap_or_default().to_owned(),
            // Not listening yet, or busy.
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(RETRY).await;
    }
    Err(Error::Failed(format!(
        "{name} is not ready after {} s: {last}",
        START_TIMEOUT.as_secs()
    )))
}

async fn readyz(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
