//! Writing for many sessions in one task: those that have something to be written and nothing else to do, in the order in which
//! that came up. A turn of each session's own task would cost more than the writes allow. Not here: whoever must wait until its
//! peer takes more does so in its own task (`drive`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::session::Session;

/// Sessions written before the other tasks of the shard have their turn; at some 5 µs a write.
const WRITES_PER_TURN: usize = 32;

/// The sessions of one shard that are to be written, each at most once.
#[derive(Default)]
pub(super) struct Writer {
    waiting: RefCell<VecDeque<Rc<Session>>>,
    /// Of the task, while it has nothing to do.
    waker: Cell<Option<Waker>>,
}

impl Writer {
    /// Writes for ever; one task of the shard.
    pub(super) async fn turn(&self) {
        std::future::poll_fn(|cx| self.poll_turn(cx)).await
    }

    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..WRITES_PER_TURN {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(session) = next else {
                self.waker.set(Some(cx.waker().clone()));
                return Poll::Pending;
            };
            session.write_now();
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Has the session written in its turn. What it sends until then goes with the same write.
    pub(super) fn add(&self, session: &Rc<Session>) {
        if !session.is_to_be_written.replace(true) {
            self.waiting.borrow_mut().push_back(session.clone());
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }
}
