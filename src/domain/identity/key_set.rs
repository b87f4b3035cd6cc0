//! The key set that a node has now, and the question for a newer one. Whoever loads sets publishes here, and whoever
//! verifies reads here without waiting. Not here: loading (`lifecycle::key_set`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::keys::{BadKey, Key, TokenRules};

/// Between two loads that are made because of a key's name that is not known: made-up names cost nothing.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How long a token whose key is not known waits for a newer set.
const ASK_PATIENCE: Duration = Duration::from_secs(6);

/// Handle to the set; clones share it.
#[derive(Clone)]
pub struct KeySet(Arc<Inner>);

struct Inner {
    rules: TokenRules,
    state: watch::Sender<State>,
    asked: Notify,
}

#[derive(Clone, Default)]
struct State {
    /// `None`: no set has come yet.
    keys: Option<Arc<[Key]>>,
    /// Loads that have come to an end.
    loads: u64,
    has_failed: bool,
    is_loading: bool,
    is_asked: bool,
    /// When a load may be asked for again.
    ask_after: Option<Instant>,
}

impl State {
    /// Whether this is the first who asks for the next load.
    fn ask(&mut self) -> bool {
        !self.is_loading && !std::mem::replace(&mut self.is_asked, true)
    }
}

/// What asking for a newer set came to.
pub(super) enum Asked {
    /// This is the newest.
    Newest(Arc<[Key]>),
    /// It cannot be had now.
    Failed,
}

impl KeySet {
    /// An empty one: until a set is published, nothing that it should judge is judged.
    pub fn new(rules: TokenRules) -> Self {
        Self(Arc::new(Inner {
            rules,
            state: watch::Sender::default(),
            asked: Notify::new(),
        }))
    }

    /// A load begins; it ends by one of the three calls below. `asked`: somebody waits for it, by [`KeySet::asked`].
    pub fn begin(&self, asked: bool) {
        self.0.state.send_modify(|state| {
            state.is_loading = true;
            if std::mem::take(&mut state.is_asked) || asked {
                state.ask_after = Some(Instant::now() + ASK_EVERY);
            }
        });
    }

    /// Whether a set has come.
    pub fn has_come(&self) -> bool {
        self.0.state.borrow().keys.is_some()
    }

    /// Takes the text of a set; how many keys it gives. A bad one changes nothing.
    pub fn publish(&self, json: &str) -> Result<usize, BadKey> {
        let keys: Arc<[Key]> = self.0.rules.set(json)?.into();
        let count = keys.len();
        self.end_load(Some(keys));
        Ok(count)
    }

    /// A load brought nothing new, and the set that is here is still the newest.
    pub fn keep(&self) {
        let keys = self.keys();
        self.end_load(keys);
    }

    /// A load came to nothing: the set that was here stays.
    pub fn fail(&self) {
        self.end_load(None);
    }

    fn end_load(&self, keys: Option<Arc<[Key]>>) {
        self.0.state.send_modify(|state| {
            state.loads += 1;
            state.is_loading = false;
            state.has_failed = keys.is_none();
            state.keys = keys.or(state.keys.take());
        });
    }

    /// Returns when somebody has asked for a newer set.
    pub async fn asked(&self) {
        loop {
            self.0.asked.notified().await;
            // The load that was asked for may have begun by itself meanwhile.
            if self.0.state.borrow().is_asked {
                return;
            }
        }
    }

    pub(super) fn keys(&self) -> Option<Arc<[Key]>> {
        self.0.state.borrow().keys.clone()
    }

    /// Asks for a newer set, unless one was asked for lately. Many who ask at the same time wait for the same load.
    pub(super) async fn newest(&self) -> Asked {
        let mut changes = self.0.state.subscribe();
        let state = changes.borrow_and_update().clone();
        let asked_lately = state.ask_after.is_some_and(|after| Instant::now() < after);
        let ended = if asked_lately && !state.is_loading {
            Some(state)
        } else {
            if self.0.state.send_if_modified(State::ask) {
                self.0.asked.notify_one();
            }
            let next = timeout(ASK_PATIENCE, changes.wait_for(|now| now.loads != state.loads)).await;
            next.ok().and_then(Result::ok).map(|state| state.clone())
        };
        match ended {
            Some(State {
                keys: Some(keys),
                has_failed: false,
                ..
            }) => Asked::Newest(keys),
            _ => Asked::Failed,
        }
    }
}
