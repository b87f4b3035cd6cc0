//! How a node goes away: starts what takes its steps and tells its supervisor, and ends the node in the reverse order of its
//! start. Not here: the steps (`lifecycle::drain`), what the sockets are told (`gateway`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{FutureExt as _, join_all};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{self, Config};
use crate::domain::drain::Phase;
use crate::engine::Server;
use crate::gateway::{Ask, Node};
use crate::hot::nodes;
use crate::http;
use crate::lifecycle::drain::{Plan, Steps};
use crate::lifecycle::sink::Running;
use crate::lifecycle::systemd::{self, Notifier};
use crate::lifecycle::{self};

/// A shard that does not answer so long is not waited for.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// How long each part of stopping may take.
pub(super) fn plan(config: &Config) -> Plan {
    Plan::new(config.drain_wait, config.drain_window, config.drain_timeout)
}

/// Starts what takes the node's steps when it is told to go away, by whomever.
pub(super) fn start(
    config: &Config,
    node: &Arc<Node>,
    asks: &[mpsc::Sender<Ask>],
    metrics: lifecycle::Metrics,
) -> AbortOnDropHandle<()> {
    let (shards, plan) = (asks.to_vec(), plan(config));
    if (plan.wait, plan.window) != (config.drain_wait, config.drain_window) {
        let (wait_ms, window_ms) = (plan.wait.as_millis() as u64, plan.window.as_millis() as u64);
        tracing::warn!(
            wait_ms,
            window_ms,
            "REALTIME_DRAIN_TIMEOUT leaves less to wait and window than they were given"
        );
    }
    let steps = Steps {
        drain: node.drain.clone(),
        plan,
        send_away: Box::new(move |window| send_away(shards.clone(), window).boxed()),
        connections: connections(node),
        metrics,
    };
    AbortOnDropHandle::new(tokio::spawn(steps.run()))
}

/// Tells the supervisor how the node is, where there is one.
pub(super) fn start_notifier(
    node: &Arc<Node>,
    asks: &[mpsc::Sender<Ask>],
    state: Arc<http::State>,
) -> Option<AbortOnDropHandle<()>> {
    let shards = asks.to_vec();
    let notifier = Notifier {
        drain: node.drain.clone(),
        connections: connections(node),
        unready: Box::new(move || {
            let state = Arc::clone(&state);
            async move { http::unready(&state).await.map(|(reason, _)| reason) }.boxed()
        }),
        turn: Box::new(move || turn(shards.clone()).boxed()),
    };
    config::is_supervised().then(|| AbortOnDropHandle::new(tokio::spawn(notifier.run())))
}

fn connections(node: &Arc<Node>) -> Box<dyn Fn() -> u64 + Send + Sync> {
    let node = Arc::clone(node);
    Box::new(move || node.connections.load(Ordering::Relaxed))
}

async fn send_away(shards: Vec<mpsc::Sender<Ask>>, window: Duration) {
    if !all_answer(&shards, |told| Ask::Drain(window, told), TOLD_WITHIN).await {
        tracing::warn!("not every socket was told that the node goes away");
    }
}

/// Returns when every shard has answered.
async fn turn(shards: Vec<mpsc::Sender<Ask>>) {
    all_answer(&shards, Ask::Turn, Duration::MAX).await;
}

/// Whether all shards answer in time. One that has ended has nothing to say.
async fn all_answer(
    shards: &[mpsc::Sender<Ask>],
    ask: impl Fn(oneshot::Sender<()>) -> Ask,
    patience: Duration,
) -> bool {
    let answers = shards.iter().map(|shard| {
        let (answer, answered) = oneshot::channel();
        let ask = ask(answer);
        async move {
            if shard.send(ask).await.is_ok() {
                drop(answered.await);
            }
        }
    });
    tokio::time::timeout(patience, join_all(answers)).await.is_ok()
}

/// What a node consists of when it is to end, in the order in which it ends.
pub(super) struct Parts {
    pub node: Arc<Node>,
    pub server: Server,
    /// What the node does by itself; dropped when its sockets are gone.
    pub tasks: Vec<AbortOnDropHandle<()>>,
    pub sink: Option<Running>,
}

/// Ends the node, by its limit at the latest, whatever Redis, Postgres and its clients do.
pub(super) async fn end(config: &Config, parts: Parts) {
    let (plan, signalled) = (plan(config), Instant::now());
    tracing::info!("stopping");
    systemd::stopping(config.drain_timeout);
    if timeout_at(signalled + plan.over_by, end_within(config, plan, signalled, parts))
        .await
        .is_err()
    {
        tracing::warn!("stopped in the middle of something, since the time for it is over");
    }
}

async fn end_within(config: &Config, plan: Plan, signalled: Instant, parts: Parts) {
    let Parts {
        node,
        server,
        tasks,
        sink,
    } = parts;
    node.drain.begin();
    // A node that had been told to go away before has less to do, or nothing.
    let drained = timeout_at(signalled + plan.gone_by, node.drain.reached(Phase::Drained));
    if drained.await.is_err() {
        // Its sockets are told by the server's end that it is none any more.
        node.drain.advance(Phase::Leaving);
    }
    server.shutdown(left(signalled + plan.transports_by)).await;
    // Behind the sockets, and before the sink, which still has to bring it to Postgres.
    node.journal.close(left(signalled + plan.written_by) / 2).await;
    drop(tasks);
    // Behind the sockets: it writes their ends.
    if let Some(sink) = sink
        && timeout_at(signalled + plan.written_by, sink.stop()).await.is_err()
    {
        tracing::info!("what the sink has not written is left to another node, or to the next start");
    }
    // Nobody buries a node that is struck off: what it could not write of its sockets passes into grace here.
    let given_up = async {
        let left = nodes::bury(&node.hot, &node.id, config.drain_grace).await?;
        nodes::stop(&node.hot, &node.id).await.map(|()| left)
    };
    match given_up.await {
        Ok(0) => {}
        Ok(left) => tracing::info!(
            connections = left,
            "connections whose end was not written pass into grace"
        ),
        Err(error) => tracing::info!(error = %error, "the node is not struck off; the others will take it for dead"),
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
