//! Why no connection came about: the pool tries until its time is over, and says no more than that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::query::words;

/// The last error of connecting, for whoever is told that Postgres is away. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble {
    last: Arc<Mutex<Option<String>>>,
    count: Arc<AtomicU64>,
}

impl Trouble {
    /// Postgres' own words, or the system's; no password is among them.
    pub fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often there was one.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl bb8::ErrorSink<tokio_postgres::Error> for Trouble {
    fn sink(&self, error: tokio_postgres::Error) {
        let cause = words(&error);
        tracing::debug!(cause, "no connection to Postgres");
        self.count.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<tokio_postgres::Error>> {
        Box::new(self.clone())
    }
}
