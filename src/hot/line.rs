//! The connection to one server, shared by many callers: pipelined, with TCP_NODELAY, dialled again when it breaks. A
//! call never waits longer than [`PATIENCE`], and not at all while the server is known to be silent. Not here: which
//! server a call belongs to (`link`), pub/sub (`wires`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, Pipeline, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::metrics::Dials;
use super::script;

/// Longest wait of one call, for the connection or for the reply. Below two seconds, so that a client hears
/// `UNAVAILABLE` in time.
pub const PATIENCE: Duration = Duration::from_millis(1_500);

/// How long a call waits while the server is known to be silent: whoever has just seen it answer elsewhere is not turned
/// away because this connection finds out a moment later. Short, since the events of a socket wait one after the other.
const RECOVERY_PATIENCE: Duration = Duration::from_millis(20);
/// How long a call waits for a master that is being looked for.
pub(super) const SILENCE_PATIENCE: Duration = Duration::from_millis(250);

const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
const BACKOFF_MIN_MS: u64 = 50;
const BACKOFF_MAX_MS: u64 = 1_000;
/// A probe without an answer for this long: the connection is dead, dial anew.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// Commands waiting to be written before callers wait.
const PIPELINE_BUFFER: usize = 4_096;

/// A connection, and the replication id that its server had as the master that it is.
#[derive(Debug, Clone)]
struct Dialled {
    connection: MultiplexedConnection,
    master: Arc<str>,
    /// It takes no script whose keys are of several slots, whoever has those.
    parts_slots: bool,
}

#[derive(Debug)]
struct State {
    address: ConnectionAddr,
    current: watch::Sender<Option<Dialled>>,
    /// Raised with each connection, so that an old error does not break a new one.
    generation: AtomicU64,
    /// The server did not answer in time, and has not since: calls fail almost at once.
    silent: watch::Sender<bool>,
    troubled: Notify,
    /// Told of whatever may mean that the data has moved to another server.
    doubt: Arc<Notify>,
    dials: Dials,
}

/// Shared by all callers of one runtime; ends when the last clone goes.
#[derive(Debug, Clone)]
pub struct Line {
    state: Arc<State>,
    _keeper: Arc<AbortOnDropHandle<()>>,
}

impl Line {
    /// Starts dialling on the current runtime; returns at once. `doubt` is told when the server may no longer be the
    /// one to talk to.
    pub fn open(client: Client, doubt: Arc<Notify>, dials: Dials) -> Self {
        let state = Arc::new(State {
            address: client.get_connection_info().addr().clone(),
            current: watch::Sender::new(None),
            generation: AtomicU64::new(0),
            silent: watch::Sender::new(false),
            troubled: Notify::new(),
            doubt,
            dials,
        });
        let keeper = tokio::spawn(keep(client, Arc::clone(&state)));
        Self {
            state,
            _keeper: Arc::new(AbortOnDropHandle::new(keeper)),
        }
    }

    pub fn address(&self) -> &ConnectionAddr {
        &self.state.address
    }

    /// Whether the server is known to take no script whose keys are of several slots.
    pub fn parts_slots(&self) -> bool {
        self.state
            .current
            .borrow()
            .as_ref()
            .is_some_and(|dialled| dialled.parts_slots)
    }

    pub fn is_up(&self) -> bool {
        self.state.current.borrow().is_some() && !*self.state.silent.borrow()
    }

    /// The connection, once there is one; fails after [`PATIENCE`], or much earlier while the server is silent.
    pub async fn connection(&self) -> Result<LineConnection, RedisError> {
        if *self.state.silent.borrow() {
            let mut silent = self.state.silent.subscribe();
            let answers = timeout(RECOVERY_PATIENCE, silent.wait_for(|silent| !silent)).await;
            if !matches!(answers, Ok(Ok(_))) {
                return Err(away("Redis does not answer"));
            }
        }
        let generation = self.state.generation.load(Ordering::Acquire);
        if let Some(inner) = self.state.current.borrow().clone() {
            return Ok(LineConnection {
                inner,
                generation,
                state: Arc::clone(&self.state),
            });
        }
        let mut current = self.state.current.subscribe();
        let found = timeout(PATIENCE, current.wait_for(Option::is_some)).await;
        match found {
            Ok(Ok(inner)) => Ok(LineConnection {
                inner: inner.clone().expect("waited for a connection"),
                generation: self.state.generation.load(Ordering::Acquire),
                state: Arc::clone(&self.state),
            }),
            _ => {
                // Whoever comes next need not find out by waiting. The keeper takes the mark back; it is called, since
                // it may have connected in this very moment.
                self.state.silent.send_replace(true);
                self.state.troubled.notify_one();
                Err(away("Redis is not reachable"))
            }
        }
    }
}

pub(super) fn away(why: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Io, why))
}

/// A borrowed connection; errors that break it are reported to the keeper.
pub struct LineConnection {
    inner: Dialled,
    generation: u64,
    state: Arc<State>,
}

impl LineConnection {
    pub fn address(&self) -> &ConnectionAddr {
        &self.state.address
    }

    /// The replication id of the master at the other end; another one is another life of the data. Empty: it told none.
    pub fn master(&self) -> Arc<str> {
        Arc::clone(&self.inner.master)
    }

    pub async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let result = self
            .inner
            .connection
            .send_packed_command(command)
            .await
            .and_then(Value::extract_error);
        self.noticed(result)
    }

    /// The replies in order; a command's own error is a `Value::ServerError` in its place.
    pub async fn send_all(&mut self, pipeline: &Pipeline, count: usize) -> Result<Vec<Value>, RedisError> {
        let result = self.inner.connection.send_packed_commands(pipeline, 0, count).await;
        if let Ok(values) = &result
            && values.iter().any(|value| is_error(value, READONLY))
        {
            self.give_up();
        }
        self.noticed(result)
    }

    fn noticed<T>(&self, result: Result<T, RedisError>) -> Result<T, RedisError> {
        if let Err(error) = &result {
            if error.is_timeout() {
                self.state.silent.send_replace(true);
                self.state.troubled.notify_one();
            } else if error.is_unrecoverable_error() || error.code() == Some(READONLY) {
                self.give_up();
            }
        }
        result
    }

    fn give_up(&self) {
        if self.generation == self.state.generation.load(Ordering::Acquire) {
            self.state.current.send_replace(None);
            self.state.troubled.notify_one();
        }
    }
}

/// What a server says that is no master any more.
const READONLY: &str = "READONLY";

pub(super) fn is_error(value: &Value, code: &str) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == code)
}

/// Dials, watches, dials again, for as long as there is a [`Line`].
async fn keep(client: Client, state: Arc<State>) {
    // Host and port, or a path; never the password.
    let address = state.address.to_string();
    let mut failures: u32 = 0;
    loop {
        match dial(&client).await {
            Ok(dialled) => {
                failures = 0;
                state.dials.made.inc();
                state.generation.fetch_add(1, Ordering::AcqRel);
                state.silent.send_replace(false);
                state.current.send_replace(Some(dialled.clone()));
                tracing::info!(%address, "Redis is connected");
                watch_over(dialled.connection, &state).await;
                state.current.send_replace(None);
                state.doubt.notify_one();
                tracing::warn!(%address, "Redis connection lost; dialling again");
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                state.dials.failed.inc();
                if failures == 1 || failures.is_multiple_of(10) {
                    tracing::warn!(%address, failures, error = %error, "Redis is not reachable; retrying");
                }
                state.doubt.notify_one();
                sleep(backoff(failures)).await;
            }
        }
    }
}

async fn dial(client: &Client) -> Result<Dialled, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DIAL_TIMEOUT))
        .set_response_timeout(Some(PATIENCE))
        .set_pipeline_buffer_size(PIPELINE_BUFFER);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut preload = Pipeline::new();
    for script in script::all() {
        preload.cmd("SCRIPT").arg("LOAD").arg(script.source()).ignore();
    }
    preload.exec_async(&mut connection).await?;
    // Asked on the connection itself: a server that becomes another's replica, or its successor, ends its connections.
    let mut questions = Pipeline::new();
    for section in ["replication", "cluster"] {
        questions.cmd("INFO").arg(section);
    }
    let (replication, cluster): (String, String) = questions.query_async(&mut connection).await?;
    let master = replication.lines().find_map(|line| line.strip_prefix("master_replid:"));
    Ok(Dialled {
        master: Arc::from(master.unwrap_or_default().trim()),
        parts_slots: cluster.contains("cluster_enabled:1"),
        connection,
    })
}

/// Returns when the connection is of no more use.
async fn watch_over(mut connection: MultiplexedConnection, state: &State) {
    loop {
        state.troubled.notified().await;
        if state.current.borrow().is_none() {
            return;
        }
        if !*state.silent.borrow() {
            continue;
        }
        tracing::warn!("Redis does not answer; probing");
        let recovered = timeout(PROBE_MAX, async {
            loop {
                state.doubt.notify_one();
                match connection.send_packed_command(&redis::cmd("PING")).await {
                    Ok(_) => return true,
                    // The next one is on its way at once: it waits as long, and its answer is the first to come.
                    Err(error) if error.is_timeout() => {}
                    Err(_) => return false,
                }
            }
        });
        if !recovered.await.unwrap_or(false) {
            return;
        }
        state.silent.send_replace(false);
        tracing::info!("Redis answers again");
    }
}

/// Doubles up to a bound; half of it is jitter, so that nodes do not come back in step.
pub(super) fn backoff(failures: u32) -> Duration {
    let full = (BACKOFF_MIN_MS << failures.min(10)).min(BACKOFF_MAX_MS);
    Duration::from_millis(full / 2 + rand::rng().random_range(0..=full / 2))
}
