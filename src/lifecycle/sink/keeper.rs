//! The loop of the sink: connects to Postgres, and, where this node has the lease, moves what waits there, turn by turn.
//! Without Postgres it waits longer and longer, and says how much waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::Rng as _;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Metrics, Settings};
use crate::domain::sink::{Failure, Postgres, Pump, Retention, Sink, Turn};

/// Between two looks, where nothing waits.
const IDLE: Duration = Duration::from_millis(100);
/// Between two looks whether this node has the lease.
const BYSTANDING: Duration = Duration::from_millis(250);
/// How often a node that does not write asks Postgres whether it is there.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Between two tries while Postgres is away.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How often it is measured what waits meanwhile.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Moves what waits.
pub(super) struct Keeper {
    pump: Pump,
    sink: Sink,
    metrics: Metrics,
    retention: Retention,
    tidy_every: Duration,
    farewell: Duration,
    wanted: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    failures: u32,
    heard: Instant,
    tidied: Option<Instant>,
}

impl Keeper {
    pub fn new(
        pump: Pump,
        sink: Sink,
        metrics: Metrics,
        settings: &Settings,
        wanted: Arc<AtomicBool>,
        held: Arc<AtomicBool>,
    ) -> Self {
        Self {
            pump,
            sink,
            metrics,
            retention: settings.retention,
            tidy_every: settings.tidy_every,
            farewell: settings.farewell,
            wanted,
            held,
            failures: 0,
            heard: Instant::now(),
            tidied: None,
        }
    }

    /// Runs until `stop`, and then writes what still waits, as far as the farewell goes.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut pause, farewell) = (Duration::ZERO, self.farewell);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            pause = tokio::select! {
                pause = self.step() => pause,
                () = cancelled_for(&stop, farewell) => return,
            };
        }
        if timeout(farewell, self.empty()).await.is_err() {
            tracing::info!("what still waits for Postgres is left to another node, or to the next start");
        }
    }

    /// One step; how long to wait behind it.
    async fn step(&mut self) -> Duration {
        match self.try_step().await {
            Ok(pause) => {
                self.failures = 0;
                pause
            }
            Err(error) => self.fail(&error).await,
        }
    }

    async fn try_step(&mut self) -> Result<Duration, Failure> {
        if !self.pump.is_connected() {
            self.pump.connect().await?;
            self.note_up();
        } else if matches!(self.sink.status().postgres, Postgres::Away(_)) {
            // Somebody else had no answer in time.
            self.pump.ping().await?;
            self.note_up();
        }
        self.wanted.store(true, Ordering::Relaxed);
        let is_writing = self.held.load(Ordering::Relaxed);
        self.sink.note_writing(is_writing);
        if !is_writing {
            self.sink.note_backlog(None);
            self.metrics.note_backlog(None);
            if self.heard.elapsed() >= PING_EVERY {
                self.pump.ping().await?;
                self.note_up();
            }
            return Ok(BYSTANDING);
        }
        let turn = self.turn().await?;
        self.tidy(turn.is_caught_up).await?;
        Ok(if turn.has_more { Duration::ZERO } else { IDLE })
    }

    async fn turn(&mut self) -> Result<Turn, Failure> {
        let turn = self.pump.turn().await?;
        if !turn.transactions.is_empty() {
            self.note_up();
        }
        self.metrics.note_turn(&turn);
        self.metrics.note_backlog(Some(turn.backlog));
        self.sink.note_backlog(Some(turn.backlog));
        if turn.written.gaps > 0 {
            let (gaps, lost) = (turn.written.gaps, turn.written.lost);
            tracing::warn!(gaps, lost, "entries are lost to the archive; a gap says so");
        }
        Ok(turn)
    }

    async fn tidy(&mut self, is_caught_up: bool) -> Result<(), Failure> {
        if self.tidied.is_some_and(|tidied| tidied.elapsed() < self.tidy_every) {
            return Ok(());
        }
        self.tidied = Some(Instant::now());
        let tidied = self.pump.tidy(&self.retention, is_caught_up).await?;
        if tidied.days + tidied.rows > 0 {
            tracing::debug!(?tidied, "the archive let go what is too old");
        }
        if tidied.ghosts > 0 {
            tracing::info!(rows = tidied.ghosts, "the archive ended what nobody told the end of");
        }
        Ok(())
    }

    fn note_up(&mut self) {
        self.heard = Instant::now();
        if self.sink.note_up() {
            tracing::info!("the sink writes to Postgres");
        }
    }

    /// How long to wait.
    async fn fail(&mut self, error: &Failure) -> Duration {
        if let Failure::Hot(error) = error {
            // What waits is safe or lost with Redis; Postgres has nothing to do with it.
            tracing::debug!(error = %error, "the outboxes cannot be read");
            self.metrics.note_failure("redis");
            return BYSTANDING;
        }
        self.metrics.note_failure("postgres");
        if !error.is_of_postgres() {
            tracing::warn!(error = %error, "others write what the sink writes; it is tried again");
            return BYSTANDING;
        }
        let is_slow = matches!(error, Failure::Sink(error) if error.is_slow());
        if self.sink.note_away() {
            tracing::warn!(error = %error, is_slow, "the sink cannot write to Postgres; what happens waits in Redis");
        } else {
            tracing::debug!(error = %error, "the sink still cannot write to Postgres");
        }
        if !is_slow {
            // Another node may reach it.
            self.wanted.store(false, Ordering::Relaxed);
            self.sink.note_writing(false);
        }
        let pause = RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        let pause = pause.mul_f64(rand::rng().random_range(0.5..1.0));
        self.measure(pause).await
    }

    /// Says what waits while nothing can be written; what is left of the pause.
    async fn measure(&mut self, pause: Duration) -> Duration {
        let started = Instant::now();
        loop {
            match self.pump.measure().await {
                Ok(backlog) => {
                    self.metrics.note_backlog(Some(backlog));
                    self.sink.note_backlog(Some(backlog));
                }
                Err(error) => tracing::debug!(error = %error, "the outboxes cannot be measured"),
            }
            let left = pause.saturating_sub(started.elapsed());
            if left <= MEASURE_EVERY {
                return left;
            }
            sleep(MEASURE_EVERY).await;
        }
    }

    /// Writes everything that waits, if this node is the one that writes.
    async fn empty(&mut self) {
        while self.held.load(Ordering::Relaxed) {
            match self.turn().await {
                Ok(turn) if turn.has_more => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(error = %error, "the last turn of the sink failed");
                    return;
                }
            }
        }
    }
}

/// When a stop was asked for so long ago.
async fn cancelled_for(stop: &CancellationToken, patience: Duration) {
    stop.cancelled().await;
    sleep(patience).await;
}
