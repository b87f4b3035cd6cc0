//! Why no connection came about: the pool tries until its time is over, and says no more than that.

use std::sync::{Arc, Mutex, PoisonError};

use super::query::words;

/// The last error of connecting, for whoever is told that Postgres is away. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// Postgres' own words, or the system's; no password is among them.
    pub fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl bb8::ErrorSink<tokio_postgres::Error> for Trouble {
    fn sink(&self, error: tokio_postgres::Error) {
        let cause = words(&error);
        tracing::debug!(cause, "no connection to Postgres");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    fn boxed_clone(&self) -> Box<dyn bb8::ErrorSink<tokio_postgres::Error>> {
        Box::new(self.clone())
    }
}
