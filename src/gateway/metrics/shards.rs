//! What is looked up of each shard when somebody asks, so that it costs nothing while nobody does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Registry;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::mpsc::WeakSender;

use super::super::fanout::Delivery;
use crate::metrics::Register as _;

/// The shards' runtimes, and what waits for each.
#[derive(Clone)]
pub struct Shards {
    runtimes: Arc<Mutex<Vec<(usize, RuntimeMetrics)>>>,
    inboxes: Arc<Mutex<Vec<WeakSender<Arc<Delivery>>>>>,
}

impl Shards {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let shards = Self {
            runtimes: Arc::default(),
            inboxes: Arc::default(),
        };
        let shown = shards.clone();
        registry.look_at(move |view| {
            view.gauges(
                "realtime_delivery_queue",
                "Deliveries of the bus that a shard has not taken yet.",
                "shard",
                shown.waiting(),
            );
        })?;
        Ok(shards)
    }

    /// The current thread's runtime is that of a shard.
    pub fn enter(&self, shard: usize) {
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        runtimes.push((shard, Handle::current().metrics()));
    }

    /// The shards' inboxes, in their order.
    pub fn watch(&self, inboxes: Vec<WeakSender<Arc<Delivery>>>) {
        *self.inboxes.lock().unwrap_or_else(PoisonError::into_inner) = inboxes;
    }

    /// How long each shard had something to do.
    pub fn busy(&self) -> impl Iterator<Item = (String, Duration)> + use<> {
        let runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let busy = |(shard, runtime): (usize, RuntimeMetrics)| {
            (format!("shard-{shard}"), runtime.worker_total_busy_duration(0))
        };
        runtimes.into_iter().map(busy)
    }

    fn waiting(&self) -> Vec<(String, f64)> {
        let inboxes = self.inboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |(shard, inbox): (usize, &WeakSender<Arc<Delivery>>)| {
            let inbox = inbox.upgrade()?;
            Some((shard.to_string(), (inbox.max_capacity() - inbox.capacity()) as f64))
        };
        inboxes.iter().enumerate().filter_map(waiting).collect()
    }
}
