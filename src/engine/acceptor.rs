//! Accepts connections on a thread of its own and deals them to the shards in turn. Nothing ends it but being told to: when the
//! kernel has no descriptor left, it waits and tries again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::RefusalCause;
use super::shard::{Common, Mail};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// One of the `http_connections`; dropping it gives it back.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let slot = Self(taken.clone());
        // Counted before it is compared, so that the drop of a refused slot gives back what it took.
        (taken.fetch_add(1, Relaxed) < max).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Accepts until it is told to stop.
pub(super) async fn run(listener: TcpListener, common: Common, stop: CancellationToken) {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut shards = common.mailboxes.iter().cycle();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = stop.cancelled() => return,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted; trying again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        let settings = &common.settings;
        let Some(slot) = Slot::take(&taken, settings.http_connections) else {
            common.counters.of(0).refuse(RefusalCause::HttpConnections);
            let _is_best_effort = io::Write::write(&mut &tcp, FULL);
            continue;
        };
        if let Err(error) = prepare(&tcp, settings.write_stall) {
            tracing::debug!(%error, "a connection ended before it began");
            continue;
        }
        if let Some(shard) = shards.next() {
            // A shard that has ended drops the connection.
            let _is_over = shard.send(Mail::Connection(tcp, remote, slot));
        }
    }
}

/// Takes the connection off this thread's runtime, since it will live in a shard's.
async fn accept(listener: &TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let (tcp, remote) = listener.accept().await?;
    Ok((tcp.into_std()?, remote))
}

fn prepare(tcp: &std::net::TcpStream, write_stall: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    // Also bounds what the kernel still holds of a connection that we have given up.
    SockRef::from(tcp).set_tcp_user_timeout(Some(write_stall))
}

/// The peer was gone before it was accepted: no reason to wait.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
