//! Tells a supervisor of systemd's kind how the node is: that it is ready, what it does, that it turns, that it stops. Only
//! where one asks for it (`NOTIFY_SOCKET`).

use std::time::Duration;

use futures_util::future::BoxFuture;
use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::domain::drain::{Drain, Phase};

/// Between two looks at how the node is, where no watchdog asks for more.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two looks whether it is ready yet.
const READY_EVERY: Duration = Duration::from_millis(100);
/// A node that listens is started, ready or not: without Redis it turns everybody away and waits, which a supervisor that gives
/// up a start (after 90 s, where nobody says otherwise) must not end.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// What the end of a process takes beside what is planned.
const ENDING: Duration = Duration::from_secs(5);

/// What there is to tell.
pub struct Notifier {
    pub drain: Drain,
    /// Sockets that the node holds now.
    pub connections: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Why no clients should be sent here.
    pub unready: Box<dyn Fn() -> BoxFuture<'static, Option<&'static str>> + Send + Sync>,
    /// Returns when every shard has answered.
    pub turn: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Notifier {
    /// Tells until it is dropped; begins when the node listens.
    pub async fn run(self) {
        self.get_ready().await;
        let watchdog = sd_notify::watchdog_enabled();
        // A half for the pause, a quarter for the answers: always sooner than asked for.
        let every = watchdog.map_or(LOOK_EVERY, |watchdog| LOOK_EVERY.min(watchdog / 2));
        let patience = watchdog.map_or(LOOK_EVERY, |watchdog| watchdog / 4);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut steps, mut said, mut turned) = (self.drain.steps(), String::new(), true);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = steps.changed() => {}
            }
            let turns = timeout(patience, (self.turn)()).await.is_ok();
            if turns != turned {
                turned = turns;
                match turns {
                    true => tracing::info!("every shard answers again"),
                    false => tracing::error!("a shard does not answer; the watchdog hears nothing until it does"),
                }
            }
            if turns && watchdog.is_some() {
                notify(&[NotifyState::Watchdog]);
            }
            // Bounded as `/readyz` is; asked behind the watchdog, which must not wait for Redis.
            let status = self.status(patience).await;
            if status != said {
                notify(&[NotifyState::Status(&status)]);
                said = status;
            }
        }
    }

    async fn get_ready(&self) {
        let deadline = Instant::now() + READY_WITHIN;
        notify(&[NotifyState::Status("starting")]);
        while (self.unready)().await.is_some() && Instant::now() < deadline {
            sleep(READY_EVERY).await;
        }
        notify(&[NotifyState::Ready]);
    }

    async fn status(&self, patience: Duration) -> String {
        let connections = (self.connections)();
        match self.drain.phase() {
            Phase::Serving => match timeout(patience, (self.unready)()).await {
                Ok(None) => format!("serving {connections} connections"),
                Ok(Some(reason)) => format!("not ready ({reason}); {connections} connections"),
                Err(_) => format!("not ready (silence); {connections} connections"),
            },
            Phase::Draining => format!("draining: not ready, and serving {connections} connections on"),
            Phase::Leaving => format!("draining: {connections} connections are to be sent away"),
            Phase::Drained => format!("drained: {connections} connections left"),
        }
    }
}

/// The node stops; that takes no longer than `within`, whatever the unit says.
pub fn stopping(within: Duration) {
    let extend = format!("EXTEND_TIMEOUT_USEC={}", (within + ENDING).as_micros());
    notify(&[NotifyState::Stopping, NotifyState::Custom(&extend)]);
}

/// Says it, or nothing where nobody asks. A supervisor that does not hear is none of the node's troubles.
fn notify(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the supervisor was not told");
    }
}
