//! Runs the sink of a node: on a thread of its own, so that what it reckons holds up neither sockets nor heartbeats. One node
//! at a time writes what all have to tell; every node writes at once what somebody waits for.
//! Not here: what is written, and how (`domain::sink`).

mod flush;
mod keeper;
mod lease;
mod metrics;

pub use self::metrics::Metrics;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::flush::Flusher;
use self::keeper::Keeper;
use self::lease::Lease;
use crate::archive::Archive;
use crate::domain::sink::{Chosen, Demand, Pump, Retention, Sink};
use crate::hot::{self, Hot};
use crate::types::NodeId;

/// What a sink is made of.
#[derive(Clone)]
pub struct Settings {
    pub hot: hot::Settings,
    pub archive: Archive,
    pub node: NodeId,
    /// Which events become rows.
    pub chosen: Chosen,
    pub retention: Retention,
    /// Between two looks at what is too old.
    pub tidy_every: Duration,
    /// How long the last writing of a node that stops may take.
    pub farewell: Duration,
}

/// A sink that runs. Dropped without [`Running::stop`], it ends in the middle of whatever it does, which does no harm.
pub struct Running {
    stop: CancellationToken,
    ended: oneshot::Receiver<()>,
}

impl Running {
    /// Starts the thread. Fails when the system gives none.
    pub fn start(
        settings: Settings,
        sink: Sink,
        demands: mpsc::Receiver<Demand>,
        metrics: Metrics,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let (tell, ended) = oneshot::channel();
        let stopping = stop.clone();
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            runtime.block_on(run(settings, sink, demands, metrics, stopping));
            // Nobody may be waiting for it.
            let _nobody_waits = tell.send(());
        })?;
        Ok(Self { stop, ended })
    }

    /// Lets it write what waits, for as long as its farewell may take, and waits for its end.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // The thread says so, or is gone.
        let _is_over = (&mut self.ended).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run(
    settings: Settings,
    sink: Sink,
    demands: mpsc::Receiver<Demand>,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let hot = match Hot::open(settings.hot.clone()) {
        Ok(hot) => hot,
        Err(error) => {
            tracing::error!(error = %error, "the sink does not run");
            return;
        }
    };
    let pump = || Pump::new(hot.clone(), settings.archive.clone(), settings.chosen.clone());
    let (wanted, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let lease = Lease {
        hot: hot.clone(),
        // A process that comes back under the same name is another one.
        who: format!("{}/{:016x}", settings.node, rand::random::<u64>()),
        wanted: Arc::clone(&wanted),
        held: Arc::clone(&held),
    };
    let keeper = Keeper::new(pump(), sink.clone(), metrics.clone(), &settings, wanted, held);
    let flusher = Flusher {
        pump: pump(),
        sink,
        metrics,
    };
    tokio::select! {
        // Its end is the end: it hears of the stop, and the others go on meanwhile.
        () = keeper.run(stop) => {}
        () = lease.run() => {}
        () = flusher.run(demands) => {}
    }
    if let Err(error) = lease.resign().await {
        tracing::debug!(error = %error, "the office of the sink runs out by itself");
    }
}
