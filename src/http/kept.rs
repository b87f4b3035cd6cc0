//! An answer that costs something: asked for once, however many want it, and kept for a while. Not here: what is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

/// Younger than this it is not asked for again …
const FRESH: Duration = Duration::from_secs(5);
/// … nor in this many times the time that it took, so that pollers take a twentieth of a connection at most.
const FRESH_FACTOR: u32 = 20;
/// Between two tries where the last one failed.
const RETRY: Duration = Duration::from_secs(1);
/// Whoever asks waits so long for a newer one, and gets the last one then.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Older than this, and than it may be while it is fresh, it is true of nothing any more.
const OLD: Duration = Duration::from_secs(30);

/// What is kept. Clones share it.
#[derive(Debug)]
pub(super) struct Kept<T> {
    known: Arc<watch::Sender<Known<T>>>,
    /// Held by whoever asks.
    turn: Arc<Mutex<()>>,
    /// Where it is asked: what belongs to one runtime is not left to whichever a request came on.
    runtime: Handle,
}

#[derive(Debug, Clone)]
struct Known<T> {
    answer: Option<Answer<T>>,
    failed: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Answer<T> {
    value: T,
    at: Instant,
    took: Duration,
}

impl<T> Answer<T> {
    fn fresh_for(&self) -> Duration {
        FRESH.max(self.took * FRESH_FACTOR)
    }
}

impl<T: Clone + Send + Sync + 'static> Kept<T> {
    /// Knows nothing yet; asks on the current runtime.
    pub fn new() -> Self {
        let known = Known {
            answer: None,
            failed: None,
        };
        Self {
            known: Arc::new(watch::Sender::new(known)),
            turn: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// The answer, asked for where none is fresh; `None` where there is none that is still true. Returns within 1.5 s.
    pub async fn get<F>(&self, ask: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut changes = self.known.subscribe();
        let known = changes.borrow_and_update().clone();
        if let Some(answer) = &known.answer
            && answer.at.elapsed() < answer.fresh_for()
        {
            return Some(answer.value.clone());
        }
        if known.failed.is_none_or(|failed| failed.elapsed() >= RETRY) {
            self.start(ask);
            // Whether it came or not, what is known then is what there is.
            let _in_time = timeout(PATIENCE, changes.changed()).await;
        }
        let known = changes.borrow();
        let answer = known.answer.as_ref()?;
        (answer.at.elapsed() < OLD.max(2 * answer.fresh_for())).then(|| answer.value.clone())
    }

    /// Asks, unless somebody does already.
    fn start<F>(&self, ask: impl FnOnce() -> F)
    where
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() else {
            return;
        };
        let (known, asked) = (Arc::clone(&self.known), ask());
        self.runtime.spawn(async move {
            let started = Instant::now();
            let value = asked.await;
            known.send_modify(|known| match value {
                Some(value) => {
                    let (at, took) = (Instant::now(), started.elapsed());
                    known.answer = Some(Answer { value, at, took });
                    known.failed = None;
                }
                None => known.failed = Some(Instant::now()),
            });
            drop(turn);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_who_want_it_ask_once() {
        let (kept, asked) = (Kept::new(), Arc::new(AtomicU32::new(0)));
        let get = async || {
            let asked = Arc::clone(&asked);
            kept.get(|| async move { Some(asked.fetch_add(1, Ordering::Relaxed)) })
                .await
        };
        let (one, other) = tokio::join!(get(), get());
        assert_eq!((one, other, get().await), (Some(0), Some(0), Some(0)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_and_a_failure_is_told() {
        let kept = Kept::<u32>::new();
        let started = tokio::time::Instant::now();
        assert_eq!(kept.get(pending).await, None);
        assert_eq!(started.elapsed(), PATIENCE);
        // The first is still asking; nobody asks beside it.
        assert_eq!(kept.get(|| async { Some(1) }).await, None);

        let kept = Kept::<u32>::new();
        let started = tokio::time::Instant::now();
        assert_eq!(kept.get(|| async { None }).await, None);
        assert_eq!(kept.get(|| async { Some(1) }).await, None, "not tried again at once");
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
