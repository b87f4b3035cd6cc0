//! `serve`: runs one gateway until SIGTERM or SIGINT. Not here: what a gateway consists of (`app`).

use std::fmt::Display;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::config::{Config, Flags};
use crate::log;

pub(super) async fn run<E: Display, F: Future<Output = Result<(), E>>>(
    flags: &Flags,
    serve: impl FnOnce(Config, CancellationToken) -> F,
) -> Result<(), Error> {
    let config = Config::load(flags)?;
    log::start(&config);
    let stop = stop_signals()?;
    serve(config, stop)
        .await
        .map_err(|error| Error::Failed(error.to_string()))
}

/// Signals that come so soon after the first one are the same one: a terminal, or a supervisor, tells a whole group of processes,
/// and npm, being one of them, passes it on besides.
const SAME: Duration = Duration::from_secs(2);

/// A token that the first SIGTERM or SIGINT cancels. A later one ends the process at once: somebody is impatient.
pub(super) fn stop_signals() -> Result<CancellationToken, Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::Io("cannot listen for signals", error));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancel.cancel();
        let stopping = Instant::now();
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stopping.elapsed() >= SAME {
                #[allow(
                    clippy::exit,
                    reason = "the person who asks twice does not want to wait for anything"
                )]
                std::process::exit(1);
            }
        }
    });
    Ok(stop)
}
