//! Wires everything: what a node consists of, started in the order of its parts, ended in reverse with a deadline.

mod archive;
mod drain;
mod metrics;
mod settings;
mod sink;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::future::{FutureExt as _, join_all};
use prometheus::Registry;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use self::settings::hot_settings;
use crate::archive::{Archive, ArchiveError};
use crate::config::{Config, Recovery, Secret};
use crate::domain::drain::Drain;
use crate::domain::identity::{BadKey, KeySet, Verifier};
use crate::domain::journal::Journal;
use crate::domain::restore::Gate;
use crate::engine::{Application, Server, Tag};
use crate::gateway::{self, Ask, Dispatcher, Encoder, Node, Shard};
use crate::hot::bus::{Bus, SHARDS_MAX};
use crate::hot::keys::{Keys, Lease, Partition};
use crate::hot::presence::Held;
use crate::hot::{self, Hot, HotError};
use crate::http::{self, ApiKeys, Routes};
use crate::lifecycle::beat::Beats;
use crate::lifecycle::heartbeat::Holders;
use crate::lifecycle::key_set::{LoadError, Loader, Source};
use crate::lifecycle::sweep::Sweeper;
use crate::lifecycle::{self, heartbeat};

/// Questions to a shard that wait; only the heartbeat asks.
const ASKS_MAX: usize = 1_024;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hot state cannot be made.
    #[error(transparent)]
    Hot(#[from] HotError),
    /// The archive cannot be made.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The key of the tokens is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The file of the tokens' key set is none.
    #[error("the key set of the tokens: {0}")]
    KeySet(#[from] LoadError),
    /// Two collectors share a name.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The port is taken, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where the node was told to listen.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The threads of the shards did not start.
    #[error("the engine did not start: {0}")]
    Engine(std::io::Error),
    /// The thread of the sink did not start.
    #[error("the sink did not start: {0}")]
    Sink(std::io::Error),
}

/// Runs a node until `stop`, then ends it; returns within the drain timeout.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), Error> {
    let registry = Registry::new();
    let settings = settings::hot_settings_in(&config, &registry)?;
    let hot = Hot::open(settings.clone())?;
    let shards = config.shards.clamp(1, SHARDS_MAX);

    let metrics = gateway::metrics::Metrics::new(&registry)?;
    let encoder = Encoder {
        shape: config.custom_status_shape,
        tells_presence: config.enable_presence,
        recovers: config.recovery != Recovery::Off,
    };
    let latest_us = Arc::new(AtomicU64::new(0));
    let (dispatcher, inboxes) = Dispatcher::new(shards, encoder, metrics.clone(), Arc::clone(&latest_us));
    let keys = Keys::new(&config.redis_prefix);
    let (bus, driver) = Bus::open(
        config.redis_url.expose(),
        keys,
        config.node_id.clone(),
        dispatcher.into_sink(),
        &settings.metrics,
    )?;
    let bus_task = AbortOnDropHandle::new(tokio::spawn(driver.run()));

    let drain = Drain::default();
    let works = lifecycle::Metrics::new(&registry)?;
    let key_set = config
        .jwt
        .has_key_set()
        .then(|| KeySet::new(settings::token_rules(&config)));
    let secret = config.jwt.secret.as_ref().map(|secret| secret.expose());
    let verifier = Verifier::new(secret, settings::token_rules(&config), key_set.clone())?;
    let loader = match key_set {
        Some(set) => key_set_loader(&config, set, works.clone()).await?,
        None => None,
    };
    let archive = Archive::new(config.database_url.as_ref())?;
    archive.register(&registry)?;
    let gate = Gate::new(config.database_url.is_some());
    let (sink, sink_running) = sink::start(&config, &settings, &archive, &registry)?.unzip();
    let (journal, noted) = Journal::new(config.database_url.is_some());
    let node = Arc::new(Node {
        id: config.node_id.clone(),
        settings: settings::gateway_settings(&config),
        verifier,
        bus: bus.clone(),
        hot: hot.clone(),
        metrics,
        gate: gate.clone(),
        sink: sink.clone().filter(|_| config.durable_policy),
        messages: config.persist_messages.then(|| archive.clone()),
        has_archive: config.database_url.is_some(),
        journal,
        drain: drain.clone(),
        connections: AtomicU64::new(0),
        latest_us,
    });

    let routes = Routes {
        health: config.enable_health.then(|| config.health_path.clone()),
        metrics: config.enable_metrics.then(|| config.metrics_path.clone()),
        origins: settings::origins(&config),
        compression: config.enable_compression,
    };
    let state = Arc::new(http::State {
        hot: hot.clone(),
        bus,
        archive: archive.clone(),
        gate,
        sink,
        durable_policy: config.durable_policy,
        words: settings::words(&config),
        registry: registry.clone(),
        figures: http::Figures::default(),
        api_keys: ApiKeys::new(config.api_keys.iter().map(Secret::expose)),
        sockets: settings::sockets(&node),
        node: config.node_id.clone(),
        version: env!("CARGO_PKG_VERSION"),
        started: Instant::now(),
        drain,
    });
    let administration = administration(&config, &state, &routes)?;
    let at_main = administration.is_none().then(|| (Arc::clone(&state), &routes));
    let fallback = Arc::new(http::fallback(at_main));

    let address = config.listen();
    let listener = TcpListener::bind(address).map_err(|source| Error::Listen { address, source })?;
    let (asks, make) = shard_maker(Arc::clone(&node), settings, inboxes);
    let server =
        Server::start(listener, settings::engine_settings(&config), shards, make, fallback).map_err(Error::Engine)?;
    metrics::register(&registry, server.counters(), &node.metrics, config.metrics_socket_io)?;
    tracing::info!(
        address = %server.local_addr(),
        shards,
        node = %config.node_id,
        sids = Tag::of(config.node_id.as_str()).as_str(), // what they end with; a balancer in front may want to know
        version = env!("CARGO_PKG_VERSION"),
        "listening"
    );

    let revived = Arc::new(Notify::new());
    let mut tasks = start_lifecycle(
        &config,
        &node,
        asks.clone(),
        Arc::clone(&revived),
        works.clone(),
        loader,
    );
    tasks.push(drain::start(&config, &node, &asks, works));
    if let Some(noted) = noted {
        let parts = archive::Parts {
            hot,
            archive,
            node: Arc::clone(&node),
            asks: asks.clone(),
            noted,
            revived,
        };
        tasks.extend(archive::start(&config, parts));
    }
    let notifying = drain::start_notifier(&node, &asks, state);
    stop.cancelled().await;

    let parts = drain::Parts {
        node,
        server,
        tasks,
        sink: sink_running,
    };
    drain::end(&config, parts).await;
    // To the last: whoever waits for the process sees that it turns, and its calls may need the bus.
    drop((notifying, bus_task, administration));
    tracing::info!("stopped");
    Ok(())
}

/// What answers at a port of its own, where one is configured; it ends with its handle.
fn administration(
    config: &Config,
    state: &Arc<http::State>,
    routes: &Routes,
) -> Result<Option<AbortOnDropHandle<()>>, Error> {
    let Some(port) = config.admin_port else { return Ok(None) };
    let address = std::net::SocketAddr::new(config.host, port);
    let failed = |source| Error::Listen { address, source };
    let listener = http::Listener::bind(address, Arc::clone(state), routes).map_err(failed)?;
    tracing::info!(address = %listener.local_addr().map_err(failed)?, "listening for health, metrics and /api");
    Ok(Some(AbortOnDropHandle::new(tokio::spawn(listener.run()))))
}

fn start_lifecycle(
    config: &Config,
    node: &Arc<Node>,
    asks: Vec<mpsc::Sender<Ask>>,
    revived: Arc<Notify>,
    metrics: lifecycle::Metrics,
    loader: Option<Loader>,
) -> Vec<AbortOnDropHandle<()>> {
    let connections = {
        let node = Arc::clone(node);
        move || node.connections.load(Ordering::Relaxed)
    };
    let (hot, bus) = (&node.hot, node.bus.clone());
    let singing = lifecycle::canary::run(hot.clone(), bus, config.node_id.clone(), config.node_beat);
    let beating = Beats {
        hot: hot.clone(),
        node: config.node_id.clone(),
        every: config.node_beat,
        lease: config.node_lease,
        grace: config.presence_grace,
        drain: node.drain.clone(),
        revived: Arc::clone(&revived),
    }
    .run(connections);
    let every = config.presence_heartbeat;
    let renewing = heartbeat::run(hot.clone(), every, holders(asks), revived, metrics.clone());
    let looking = lifecycle::drift::run(hot.clone(), metrics.clone());
    let (every, grace) = (config.sweep_interval, config.presence_grace);
    let sweeping = Sweeper {
        hot: hot.clone(),
        every,
        grace,
        metrics,
    }
    .run();
    let mut tasks = vec![
        AbortOnDropHandle::new(tokio::spawn(beating)),
        AbortOnDropHandle::new(tokio::spawn(singing)),
        AbortOnDropHandle::new(tokio::spawn(renewing)),
        AbortOnDropHandle::new(tokio::spawn(sweeping)),
        AbortOnDropHandle::new(tokio::spawn(looking)),
    ];
    tasks.extend(loader.map(|loader| AbortOnDropHandle::new(tokio::spawn(loader.run()))));
    tasks
}

/// What each shard is made with on its own thread: its own connection to Redis, its inbox, its questions.
fn shard_maker(
    node: Arc<Node>,
    settings: hot::Settings,
    inboxes: Vec<gateway::Inbox>,
) -> (
    Vec<mpsc::Sender<Ask>>,
    impl Fn(usize) -> Rc<dyn Application> + Send + Sync + 'static,
) {
    let (asks, receivers): (Vec<_>, Vec<_>) = inboxes.iter().map(|_| mpsc::channel(ASKS_MAX)).unzip();
    let parts: Vec<_> = inboxes.into_iter().zip(receivers).map(Some).collect();
    let parts = Mutex::new(parts);
    let make = move |index: usize| -> Rc<dyn Application> {
        let mut parts = parts.lock().expect("no holder of this lock panics");
        let (inbox, asks) = parts[index].take().expect("each shard is made once");
        let hot = Hot::open(settings.clone()).expect("the same settings made a handle before");
        Shard::start(index, Arc::clone(&node), hot, inbox, asks)
    };
    (asks, make)
}

fn holders(asks: Vec<mpsc::Sender<Ask>>) -> Holders {
    let askers = asks.clone();
    let leases = move |partition: Partition| {
        let questions: Vec<_> = askers
            .iter()
            .cloned()
            .map(|shard| ask_leases(shard, partition))
            .collect();
        async move { join_all(questions).await.into_iter().flatten().collect() }.boxed()
    };
    let missing = move |leases: Vec<Lease>| {
        for shard in &asks {
            // A shard with no place for it hears of it at the next beat.
            if shard.try_send(Ask::RegisterAnew(leases.clone())).is_err() {
                tracing::warn!(
                    leases = leases.len(),
                    "a shard had no place for leases to be registered anew"
                );
            }
        }
    };
    Holders {
        leases: Box::new(leases),
        missing: Box::new(missing),
    }
}

async fn ask_leases(shard: mpsc::Sender<Ask>, partition: Partition) -> Vec<Held> {
    let (answer, answered) = oneshot::channel();
    if shard.send(Ask::Leases(partition, answer)).await.is_err() {
        return Vec::new();
    }
    // A shard that has ended holds nothing.
    answered.await.unwrap_or_default()
}

/// What keeps the key set up to date. A file that is no key set stops the start; a URL is fetched in the background.
async fn key_set_loader(
    config: &Config,
    set: KeySet,
    metrics: lifecycle::Metrics,
) -> Result<Option<Loader>, LoadError> {
    let file = config.jwt.jwks_file.clone().map(Source::File);
    let url = config.jwt.jwks_url.as_ref().map(|url| Source::Url(url.url().clone()));
    match file.or(url) {
        Some(source) => Loader::open(source, set, metrics).await.map(Some),
        None => Ok(None),
    }
}
