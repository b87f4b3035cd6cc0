//! What callers of Redis hold: one `line` to each master, and the way of each command to the one that has its slot. The
//! masters are looked up again whenever one is in doubt. A call never waits longer than [`PATIENCE`] for a connection
//! or a reply. Not here: one server's connection (`line`), who the masters are (`topology`), pub/sub (`bus`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Cmd, ConnectionAddr, Pipeline, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

pub use super::line::PATIENCE;
pub(super) use super::line::backoff;
use super::line::{Line, LineConnection, SILENCE_PATIENCE, away, is_error};
use super::metrics::Dials;
use super::slots;
use super::topology::{Layout, Topology, redirection};

/// A routed call, with whatever redirections it meets: a little more than one reply may take, so that a server that
/// does not answer is known to be silent before the call is given up.
const ROUTED_PATIENCE: Duration = Duration::from_millis(1_650);
/// Between two tries of a call that the Cluster cannot serve yet.
const RETRY_INTERVAL: Duration = Duration::from_millis(25);
/// Masters are looked up this often without any doubt: a new one is not told of by the others.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(5);
/// Between two look-ups, whatever the doubts.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(100);

/// What is sent to a master. Who that is, is known only when it is sent: by then it may be another than a moment before.
pub trait Request: Sync {
    /// Of its first key; `None` where any master may have it.
    fn slot(&self) -> Option<u16>;

    /// `master`: the replication id of the server that it goes to, empty where it told none.
    fn command(&self, master: &str) -> Cmd;
}

impl Request for Cmd {
    fn slot(&self) -> Option<u16> {
        slots::of_command(self)
    }

    fn command(&self, _master: &str) -> Cmd {
        self.clone()
    }
}

/// The lines to the masters as they are now.
#[derive(Debug)]
struct Routes {
    layout: Layout,
    /// In the order of the layout's masters.
    lines: Vec<Line>,
}

impl Routes {
    /// `None`: a slot that nobody has.
    fn line(&self, slot: Option<u16>) -> Option<&Line> {
        let owner = slot.map_or(Some(0), |slot| self.layout.owner(slot))?;
        self.lines.get(owner)
    }
}

#[derive(Debug)]
struct Shared {
    topology: Topology,
    routes: watch::Sender<Option<Arc<Routes>>>,
    /// Nobody could say who the masters are, and a call has waited for that in vain.
    lost: AtomicBool,
    doubt: Arc<Notify>,
    dials: Dials,
}

/// Shared by all callers of one runtime; ends when the last clone goes.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
    _keeper: Arc<AbortOnDropHandle<()>>,
}

impl Link {
    /// Starts dialling on the current runtime; returns at once.
    pub fn open(topology: Topology, dials: Dials) -> Self {
        let shared = Arc::new(Shared {
            topology,
            dials,
            routes: watch::Sender::new(None),
            lost: AtomicBool::new(false),
            doubt: Arc::new(Notify::new()),
        });
        if let Some(layout) = shared.topology.fixed() {
            shared.publish(layout);
        }
        let keeper = tokio::spawn(keep(Arc::clone(&shared)));
        Self {
            shared,
            _keeper: Arc::new(AbortOnDropHandle::new(keeper)),
        }
    }

    /// Whether every master answered lately.
    pub fn is_up(&self) -> bool {
        let routes = self.shared.routes.borrow();
        routes
            .as_ref()
            .is_some_and(|routes| routes.lines.iter().all(Line::is_up))
    }

    /// Every master that one of these links knows, and whether it answered lately on all of them.
    pub(super) fn standing<'a>(links: impl Iterator<Item = &'a Self>) -> BTreeMap<String, bool> {
        let mut standing = BTreeMap::new();
        for link in links {
            let routes = link.shared.routes.borrow();
            for line in routes.iter().flat_map(|routes| &routes.lines) {
                *standing.entry(line.address().to_string()).or_insert(true) &= line.is_up();
            }
        }
        standing
    }

    /// The masters as they are known now.
    pub fn masters(&self) -> Vec<ConnectionAddr> {
        let routes = self.shared.routes.borrow();
        routes
            .as_ref()
            .map(|routes| routes.layout.masters.clone())
            .unwrap_or_default()
    }

    /// Whether the keys of a script have to be of one slot: in a Cluster, and for a member of one that is asked as a single
    /// server.
    pub fn parts_slots(&self) -> bool {
        let routes = self.shared.routes.borrow();
        self.shared.topology.is_cluster()
            || routes
                .as_ref()
                .is_some_and(|routes| routes.lines.iter().any(Line::parts_slots))
    }

    /// A connection, once there is one; fails after [`PATIENCE`], or much earlier while Redis is silent. In a Cluster it
    /// is each command's own line that is waited for, when the command is sent.
    pub async fn connection(&self) -> Result<Connection, RedisError> {
        let shared = &self.shared;
        if shared.topology.is_cluster() {
            shared.known(shared.patience()).await?;
            return Ok(Connection(Way::Routed(Arc::clone(shared))));
        }
        shared
            .ready(None)
            .await
            .map(|line| Connection(Way::Straight(Box::new(line))))
    }
}

impl Shared {
    /// Makes lines to new masters, keeps those that stay, and drops the others with their connections.
    fn publish(&self, layout: Layout) {
        let known = self.routes.borrow().clone();
        if known.as_ref().is_some_and(|known| known.layout == layout) {
            return;
        }
        let mut lines = Vec::with_capacity(layout.masters.len());
        for master in &layout.masters {
            let line = known
                .iter()
                .flat_map(|known| &known.lines)
                .find(|line| line.address() == master);
            match (line, self.topology.client(master)) {
                (Some(line), _) => lines.push(line.clone()),
                (None, Ok(client)) => lines.push(Line::open(client, Arc::clone(&self.doubt), self.dials.clone())),
                (None, Err(error)) => {
                    tracing::error!(address = %master, error = %error, "a master's address is of no use");
                    return;
                }
            }
        }
        if !self.topology.is_fixed() {
            let masters: Vec<String> = layout.masters.iter().map(ToString::to_string).collect();
            tracing::info!(?masters, "the masters of Redis are known");
        }
        self.lost.store(false, Ordering::Relaxed);
        self.routes.send_replace(Some(Arc::new(Routes { layout, lines })));
    }

    fn patience(&self) -> Duration {
        if self.lost.load(Ordering::Relaxed) {
            SILENCE_PATIENCE
        } else {
            PATIENCE
        }
    }

    async fn known(&self, patience: Duration) -> Result<Arc<Routes>, RedisError> {
        if let Some(routes) = &*self.routes.borrow() {
            return Ok(Arc::clone(routes));
        }
        let mut routes = self.routes.subscribe();
        match timeout(patience, routes.wait_for(Option::is_some)).await {
            Ok(Ok(routes)) => Ok(Arc::clone(routes.as_ref().expect("waited for routes"))),
            _ => {
                self.lost.store(true, Ordering::Relaxed);
                Err(away("nobody says who the masters of Redis are"))
            }
        }
    }

    /// The connection to whoever has the slot (any server, where there is none), also when that changes meanwhile.
    async fn ready(&self, slot: Option<u16>) -> Result<LineConnection, RedisError> {
        let patience = self.patience();
        let deadline = Instant::now() + patience;
        let mut changes = self.routes.subscribe();
        let mut routes = self.known(patience).await?;
        loop {
            changes.mark_unchanged();
            if let Some(latest) = &*changes.borrow() {
                routes = Arc::clone(latest);
            }
            let connection = async {
                match routes.line(slot) {
                    Some(line) => line.connection().await,
                    None => {
                        self.doubt.notify_one();
                        sleep(SILENCE_PATIENCE).await;
                        Err(away("no master has this slot"))
                    }
                }
            };
            tokio::select! {
                biased;
                connection = connection => return connection,
                changed = timeout_at(deadline, changes.changed()) => match changed {
                    Ok(Ok(())) => {}
                    _ => return Err(away("Redis is not reachable")),
                },
            }
        }
    }

    /// Sends to the owner of the request's slot, and follows where it is sent on.
    async fn routed(&self, request: &dyn Request) -> Result<Value, RedisError> {
        let slot = request.slot();
        let mut moved: Option<ConnectionAddr> = None;
        let tries = async {
            loop {
                let mut connection = match moved.take().and_then(|address| self.line_to(&address)) {
                    Some(line) => line.connection().await?,
                    None => self.ready(slot).await?,
                };
                let result = connection.send(&request.command(&connection.master())).await;
                let Err(error) = &result else { return result };
                match error.code() {
                    Some("MOVED") => {
                        self.doubt.notify_one();
                        moved = redirection(error, connection.address());
                        if moved.as_ref().is_none_or(|address| self.line_to(address).is_none()) {
                            sleep(RETRY_INTERVAL).await;
                        }
                    }
                    Some("ASK") => {
                        let asked = redirection(error, connection.address());
                        match asked.and_then(|address| self.line_to(&address)) {
                            Some(line) => {
                                let value = ask(&line, request).await?;
                                if !is_error(&value, "TRYAGAIN") {
                                    return value.extract_error();
                                }
                            }
                            None => self.doubt.notify_one(),
                        }
                        sleep(RETRY_INTERVAL).await;
                    }
                    Some("TRYAGAIN") => sleep(RETRY_INTERVAL).await,
                    Some("CLUSTERDOWN") => {
                        self.doubt.notify_one();
                        sleep(SILENCE_PATIENCE).await;
                    }
                    _ => return result,
                }
            }
        };
        match timeout(ROUTED_PATIENCE, tries).await {
            Ok(result) => result,
            Err(_) => Err(away("the Cluster did not serve a call in time")),
        }
    }

    fn line_to(&self, address: &ConnectionAddr) -> Option<Line> {
        let routes = self.routes.borrow();
        routes
            .as_ref()?
            .lines
            .iter()
            .find(|line| line.address() == address)
            .cloned()
    }

    /// Splits requests by the owners of their slots. Those of one slot keep their order, also where they are redirected.
    async fn routed_all(&self, requests: &[&dyn Request]) -> Result<Vec<Value>, RedisError> {
        let routes = self.known(self.patience()).await?;
        let mut parts: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (index, request) in requests.iter().enumerate() {
            let owner = request.slot().map_or(Some(0), |slot| routes.layout.owner(slot));
            parts.entry(owner).or_default().push(index);
        }
        let answers = parts.into_values().map(async |part| {
            let sent = async {
                let mut connection = self.ready(requests[part[0]].slot()).await?;
                let pipeline = pipeline_of(part.iter().map(|&index| requests[index]), &connection.master());
                connection.send_all(&pipeline, part.len()).await
            };
            let sent = timeout(ROUTED_PATIENCE, sent).await;
            let late = || away("the Cluster did not serve a call in time");
            (part, sent.map_err(|_| late()).flatten())
        });
        let mut values = vec![Value::Nil; requests.len()];
        let mut failure = None;
        let mut answered = false;
        let deadline = Instant::now() + PATIENCE;
        for (part, answer) in join_all(answers).await {
            match answer {
                Ok(answer) => {
                    answered = true;
                    for (index, value) in part.into_iter().zip(answer) {
                        values[index] = match Instant::now() < deadline {
                            true => self.followed(requests[index], value).await,
                            false => value,
                        };
                    }
                }
                Err(error) => {
                    for index in part {
                        values[index] = unserved(&error);
                    }
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(values),
        }
    }

    /// A reply of a pipeline, or that of the server to which it sends on.
    async fn followed(&self, request: &dyn Request, value: Value) -> Value {
        let redirected = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"]
            .iter()
            .any(|code| is_error(&value, code));
        if !redirected {
            return value;
        }
        match self.routed(request).await {
            Ok(value) => value,
            Err(error) if error.code() == Some("NOSCRIPT") => server_error(&format!("NOSCRIPT {error}")),
            Err(error) => unserved(&error),
        }
    }
}

/// A master that cannot be reached, in its place among the replies: what the Cluster itself says of such a slot.
fn unserved(error: &RedisError) -> Value {
    server_error(&format!("CLUSTERDOWN {error}"))
}

fn server_error(text: &str) -> Value {
    let line = text.replace(['\r', '\n'], " ");
    redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap_or(Value::Nil)
}

/// ASKING stands for one command, and must come right before it.
async fn ask(line: &Line, request: &dyn Request) -> Result<Value, RedisError> {
    let mut connection = line.connection().await?;
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline
        .cmd("ASKING")
        .add_command(request.command(&connection.master()));
    let values = connection.send_all(&pipeline, 2).await?;
    Ok(values.into_iter().nth(1).unwrap_or(Value::Nil))
}

/// Looks the masters up when one is in doubt, for as long as there is a [`Link`].
async fn keep(shared: Arc<Shared>) {
    if shared.topology.is_fixed() {
        return;
    }
    let mut failures: u32 = 0;
    loop {
        let known = shared.routes.borrow().clone();
        let pause = match shared.topology.layout(known.as_ref().map(|known| &known.layout)).await {
            Ok(layout) => {
                failures = 0;
                shared.publish(layout);
                LOOK_UP_PAUSE
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 || failures.is_multiple_of(10) {
                    tracing::warn!(failures, error = %error, "nobody says who the masters of Redis are; retrying");
                }
                shared.doubt.notify_one();
                backoff(failures)
            }
        };
        sleep(pause).await;
        // Without any doubt this is the interval's end, and no less welcome.
        timeout(LOOK_UP_INTERVAL, shared.doubt.notified())
            .await
            .unwrap_or_default();
    }
}

/// A borrowed connection, or in a Cluster the way to each command's own.
pub struct Connection(Way);

enum Way {
    Straight(Box<LineConnection>),
    Routed(Arc<Shared>),
}

impl Connection {
    pub async fn send(&mut self, request: &dyn Request) -> Result<Value, RedisError> {
        match &mut self.0 {
            Way::Straight(line) => line.send(&request.command(&line.master())).await,
            Way::Routed(shared) => shared.routed(request).await,
        }
    }

    /// The replies in order; a command's own error is a `Value::ServerError` in its place, and so is the absence of a
    /// Cluster's master, unless all are away.
    pub async fn send_all(&mut self, requests: &[&dyn Request]) -> Result<Vec<Value>, RedisError> {
        match &mut self.0 {
            Way::Straight(line) => {
                let pipeline = pipeline_of(requests.iter().copied(), &line.master());
                line.send_all(&pipeline, requests.len()).await
            }
            Way::Routed(shared) => shared.routed_all(requests).await,
        }
    }

    /// The same of plain commands.
    pub async fn send_pipeline(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        match &mut self.0 {
            Way::Straight(line) => line.send_all(pipeline, pipeline.len()).await,
            Way::Routed(shared) => {
                let requests: Vec<&dyn Request> = pipeline.cmd_iter().map(|command| command as &dyn Request).collect();
                shared.routed_all(&requests).await
            }
        }
    }
}

fn pipeline_of<'a>(requests: impl ExactSizeIterator<Item = &'a dyn Request>, master: &str) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(requests.len());
    for request in requests {
        pipeline.add_command(request.command(master));
    }
    pipeline.ignore_errors();
    pipeline
}
