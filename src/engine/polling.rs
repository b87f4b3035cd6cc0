//! The polling transport as a session sees it: at most one GET that waits for packets, at most one POST that brings some. The
//! requests live on whatever shard accepted them and are joined to the session by one-shot channels, so a lost request is seen.
//! Not here: HTTP itself (`http`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use engineioxide_core::Packet;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::answers::Problem;
use super::counters::add;
use super::session::{Phase, Session};
use super::upgrade::Upgrade;
use super::{CloseReason, Transport};

const NOOP: &[u8] = b"6";
const CLOSE: &[u8] = b"1";

/// What answers a GET: a payload, or why there is none.
pub(super) type Payload = Result<Vec<u8>, Problem>;

/// The requests of a polling session.
#[derive(Default)]
pub(super) struct Polling {
    pub(super) get: Option<oneshot::Sender<Payload>>,
    post: Option<Post>,
    /// A WebSocket is being probed.
    pub(super) upgrade: Option<Upgrade>,
    /// The waiting GET is to be let go, so that the client may change its transport.
    pub(super) owes_noop: bool,
    /// While closing: when a farewell by WebSocket is over. A poller's is over before, unless it upgrades.
    pub(super) farewell_end: Option<Instant>,
}

enum Post {
    Reading(oneshot::Receiver<Posted>),
    Handling(Posted),
}

/// The packets of a POST.
pub(super) struct Posted {
    pub(super) packets: VecDeque<Packet>,
    /// Why nothing can follow these packets.
    pub(super) failure: Option<(CloseReason, Problem)>,
    pub(super) done: oneshot::Sender<Result<(), Problem>>,
}

// What requests do.
impl Session {
    /// A GET begins to wait. A second one ends the session: two pollers would tear the order.
    pub(super) fn begin_get(self: &Rc<Self>, get: oneshot::Sender<Payload>) {
        if let Err(problem) = self.check_polling() {
            let _the_request_is_gone = get.send(Err(problem));
            return;
        }
        let mut polling = self.polling.borrow_mut();
        match polling.as_deref_mut() {
            Some(Polling { get: waiting, .. }) if waiting.is_none() => {
                *waiting = Some(get);
                drop(polling);
                self.wake();
            }
            _ => {
                drop(polling);
                let _the_request_is_gone = get.send(Err(Problem::BadRequest));
                self.close(CloseReason::PollOverlap);
            }
        }
    }

    /// A POST begins to send its body. A second one ends the session. During the farewell too: an error would have the client
    /// give its transport up before it has heard what waits for it.
    pub(super) fn begin_post(self: &Rc<Self>, body: oneshot::Receiver<Posted>) -> Result<(), Problem> {
        self.check_polling()?;
        let mut polling = self.polling.borrow_mut();
        match polling.as_deref_mut() {
            Some(Polling { post, .. }) if post.is_none() => {
                *post = Some(Post::Reading(body));
                drop(polling);
                self.wake();
                Ok(())
            }
            _ => {
                drop(polling);
                self.close(CloseReason::PollOverlap);
                Err(Problem::BadRequest)
            }
        }
    }

    fn check_polling(self: &Rc<Self>) -> Result<(), Problem> {
        self.tick(Instant::now());
        if self.is_severed() {
            return Err(Problem::UnknownSid);
        }
        match self.transport() {
            Transport::Polling => Ok(()),
            Transport::Websocket => Err(Problem::BadRequest),
        }
    }
}

// What the session's task does.
impl Session {
    /// Takes packets from the POST while there is room. True when none of them is left behind.
    pub(super) fn poll_post(self: &Rc<Self>, cx: &mut Context<'_>) -> bool {
        let take = || self.polling.borrow_mut().as_deref_mut()?.post.take();
        let Some(post) = take() else {
            return true;
        };
        let left = match post {
            Post::Handling(body) => self.handle(body),
            Post::Reading(mut receiver) => match Pin::new(&mut receiver).poll(cx) {
                Poll::Ready(Ok(body)) => self.handle(body),
                Poll::Ready(Err(_lost)) => {
                    self.close(CloseReason::TransportClose);
                    None
                }
                Poll::Pending if !self.is_severed() => Some(Post::Reading(receiver)),
                // The request learns of the end when it finds nobody to send its body to.
                Poll::Pending => None,
            },
        };
        let is_left_behind = matches!(left, Some(Post::Handling(_)));
        if let Some(polling) = self.polling.borrow_mut().as_deref_mut() {
            polling.post = left;
        }
        !is_left_behind
    }

    fn handle(self: &Rc<Self>, mut body: Posted) -> Option<Post> {
        let was_open = self.is_open();
        while self.is_open() {
            if !self.has_room() {
                return Some(Post::Handling(body));
            }
            match body.packets.pop_front() {
                Some(packet) => self.receive(packet),
                None => break,
            }
        }
        let answer = match (body.failure, self.phase()) {
            (Some((reason, problem)), _) => {
                self.close(reason);
                Err(problem)
            }
            (None, Phase::Open | Phase::Severed(CloseReason::TransportClose)) => Ok(()),
            // It came during the farewell, and is taken and forgotten.
            (None, Phase::Closing(_)) if !was_open => Ok(()),
            (None, _) => Err(Problem::BadRequest),
        };
        if was_open && !self.is_open() {
            // The answer tells the client all that there is to say.
            self.sever();
        }
        let _the_request_is_gone = body.done.send(answer);
        None
    }

    /// Answers the waiting GET if there is something to say.
    pub(super) fn poll_get(self: &Rc<Self>, cx: &mut Context<'_>) {
        let mut slot = self.polling.borrow_mut();
        let Some(polling) = slot.as_deref_mut() else {
            return;
        };
        if self.is_severed() {
            polling.upgrade = None;
        }
        let is_upgraded = self.transport() == Transport::Websocket;
        let is_probed = polling.upgrade.as_ref().is_some_and(Upgrade::is_answered);
        if let Some(get) = &mut polling.get {
            if get.poll_closed(cx).is_ready() {
                polling.get = None;
                drop(slot);
                return self.lose_get(is_upgraded);
            }
            if let Some(payload) = self.payload(is_upgraded, is_probed, polling.owes_noop) {
                polling.owes_noop = false;
                let is_last = payload == CLOSE;
                let sent = polling.get.take().map(|get| get.send(Ok(payload)));
                drop(slot);
                if let Some(Err(_lost_payload)) = sent {
                    self.lose_get(is_upgraded);
                }
                if is_last {
                    self.sever();
                }
                return;
            }
        }
        if is_upgraded && polling.get.is_none() && polling.post.is_none() {
            *slot = None;
        }
    }

    /// Packets may have gone with the request, so the session cannot go on; unless it left polling before.
    fn lose_get(self: &Rc<Self>, is_upgraded: bool) {
        if !is_upgraded {
            self.close(CloseReason::TransportClose);
            self.sever();
        }
    }

    fn payload(&self, is_upgraded: bool, is_probed: bool, owes_noop: bool) -> Option<Vec<u8>> {
        if is_upgraded {
            return Some(NOOP.to_vec());
        }
        match self.phase() {
            Phase::Open | Phase::Closing(_) if !self.outbox.borrow().is_empty() => Some(self.take_payload()),
            Phase::Open => owes_noop.then(|| NOOP.to_vec()),
            // The WebSocket says it, once the client has changed to it.
            Phase::Closing(_) if is_probed => owes_noop.then(|| NOOP.to_vec()),
            // A stock client acts on the close packet before it hands out the packets in front of it, so it gets a poll of its own.
            Phase::Closing(_) => Some(CLOSE.to_vec()),
            Phase::Severed(CloseReason::TransportClose) => Some(NOOP.to_vec()),
            Phase::Severed(_) => Some(CLOSE.to_vec()),
        }
    }

    /// What waits, as far as one answer takes it, counted as written.
    pub(super) fn take_payload(&self) -> Vec<u8> {
        let (payload, frames) = self.outbox.borrow_mut().take_payload();
        add(&self.shard().tally().frames_out, frames);
        add(&self.shard().tally().bytes_out, payload.len());
        payload
    }
}
