//! Messages on their way to Redis. Many go in one call: as many as have come while the calls before them
//! were under way, so an idle node waits for nothing, and a busy one makes few calls. A partition is in one call at a time, so
//! messages keep the order in which they came. Not here: which of them go next (`lanes`), reading a message (`events::messages`),
//! delivering it (`rooms`).

mod lanes;

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ahash::RandomState;
use futures_util::FutureExt as _;
use tokio::sync::Notify;

use self::lanes::Batch;
pub(super) use self::lanes::Lanes;
use super::client::Client;
use super::metrics::UntilAck;
use super::outgoing::{self, iso};
use super::protocol::{ErrorCode, Failure, ack, incoming};
use super::rooms::Ack;
use super::shard::Shard;
use crate::domain::messages::{self, Send, SendRequest, Sent};
use crate::engine::{CloseReason, Frame};
use crate::hot::keys::{Lease, PARTITIONS, Partition};
use crate::hot::{Hot, HotError};
use crate::types::RoomName;

/// Messages of one connection that are under way; the next waits, and with it all that the connection sends behind it.
const UNDER_WAY_MAX: u8 = 32;
/// Each so many bytes of a message count as one more, so that those under way are few where they are large.
const COUNTED_BYTES: usize = 4 * 1024;
/// Longer in a queue, and behind a call that failed, a message is not tried any more: its answer is promised in two seconds,
/// of which a call may take all but these.
const QUEUE_PATIENCE: Duration = Duration::from_millis(350);
/// What the rate of a user in one room is called in metrics.
const ROOM_MESSAGES: &str = "room_messages";

/// A message that was read, and may be sent as far as its node knows.
pub struct Said {
    pub room: RoomName,
    /// The event's JSON object without its end.
    pub body: String,
    pub client_message_id: Option<String>,
    /// Anonymous, and not allowed to speak.
    pub listens_only: bool,
}

/// The same with whoever said it.
pub(super) struct Message {
    pub said: Said,
    pub way: Way,
    /// The id to answer with, if the client waits for an ack.
    pub ack: Option<u64>,
    pub until_ack: Option<UntilAck>,
    pub began: Instant,
    /// Of the user's rate in the room, to be drawn with it; its call knows how many.
    pub tokens: u32,
}

impl Message {
    fn request<'a>(&'a self, lease: &'a Lease) -> SendRequest<'a> {
        SendRequest {
            lease,
            room: &self.said.room,
            body: &self.said.body,
            client_message_id: self.said.client_message_id.as_deref(),
            listens_only: self.said.listens_only,
            tokens: self.tokens,
        }
    }
}

/// Messages of one connection that are under way: what it sends behind them and is no message waits for them.
#[derive(Default)]
pub struct UnderWay {
    count: Cell<u8>,
    /// The room of them all, by a digest.
    room: Cell<u32>,
    /// How many of them wait for the client's turn, in which the membership is put back.
    mending: Cell<u8>,
    fewer: Notify,
}

/// The place of a message among those under way, given back with it.
pub(super) struct Way {
    pub client: Rc<Client>,
    weight: u8,
}

impl Drop for Way {
    fn drop(&mut self) {
        let under_way = &self.client.under_way;
        under_way.count.set(under_way.count.get().saturating_sub(self.weight));
        under_way.fewer.notify_waiters();
        if std::thread::panicking() {
            // What was said gets no answer: as behind every handler that panics, the client is to ask again.
            self.client.socket.close(CloseReason::Internal);
        }
    }
}

impl UnderWay {
    /// One more. Those of two rooms would overtake each other, so there are only those of one at a time.
    pub(super) async fn begin(client: &Rc<Client>, said: &Said) -> Way {
        let under_way = &client.under_way;
        let (room, weight) = (digest(&said.room), weight(&said.body));
        under_way
            .wait_until(|count| count == 0 || (under_way.room.get() == room && count + weight <= UNDER_WAY_MAX))
            .await;
        under_way.room.set(room);
        under_way.count.set(under_way.count.get() + weight);
        Way {
            client: Rc::clone(client),
            weight,
        }
    }

    /// Resolves when all of them have their outcome.
    pub(super) async fn over(&self) {
        self.wait_until(|count| count == 0).await;
    }

    async fn wait_until(&self, is_so: impl Fn(u8) -> bool) {
        loop {
            // Before the look, so that no word is missed in between.
            let fewer = self.fewer.notified();
            if is_so(self.count.get()) {
                return;
            }
            fewer.await;
        }
    }
}

/// Of a message that counts as all of them, there is one under way.
fn weight(body: &str) -> u8 {
    u8::try_from(1 + body.len() / COUNTED_BYTES).map_or(UNDER_WAY_MAX, |weight| weight.min(UNDER_WAY_MAX))
}

/// Of two rooms that share one by chance, messages of one connection may be told in another order than they were sent.
fn digest(room: &RoomName) -> u32 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(room) as u32
}

/// What waits for its call. There is one lane, or where calls cannot be shared, one for each partition: then those whose
/// master is there go on.
pub(super) fn lanes(hot: &Hot) -> Lanes<Message> {
    Lanes::new(PARTITIONS, if messages::share_calls(hot) { 1 } else { PARTITIONS })
}

impl Shard {
    /// Puts a message on its way. Its order among those of its connection is that of these calls.
    pub(super) fn say(self: &Rc<Self>, message: Message) {
        let partition = Partition::of_room(&message.said.room).index();
        self.go_on_with(self.sends.push(partition, message.said.body.len(), message));
    }

    fn go_on_with(self: &Rc<Self>, lane: Option<usize>) {
        if let Some(lane) = lane {
            tokio::task::spawn_local(Rc::clone(self).send_all(lane));
        }
    }

    async fn send_all(self: Rc<Self>, lane: usize) {
        let most = self.node.settings.batch_size.min(messages::most_at_once(&self.hot));
        loop {
            // Whatever else is to be done now comes first, and brings what else is to be sent: nothing on an idle shard, and
            // on a busy one no more than one turn of all its tasks.
            tokio::task::yield_now().await;
            let share_calls = messages::share_calls(&self.hot);
            let Some(batch) = self.sends.take(lane, most, if share_calls { PARTITIONS } else { 1 }) else {
                return;
            };
            self.go_on_with(batch.beside);
            self.send(batch).await;
        }
    }

    /// However the call ends, the lane goes on.
    async fn send(self: &Rc<Self>, batch: Batch<Message>) {
        let Batch {
            lane,
            partitions,
            messages,
            ..
        } = batch;
        let sending = AssertUnwindSafe(Rc::clone(self).try_send(lane, messages));
        if sending.catch_unwind().await.is_err() {
            tracing::error!("a call of messages panicked; their connections are closed");
        }
        self.sends.put_back(lane, &partitions);
    }

    async fn try_send(self: Rc<Self>, lane: usize, mut batch: Vec<Message>) {
        // Behind one whose membership is being put back, in its turn.
        for message in batch.extract_if(.., |message| message.way.client.under_way.mending.get() > 0) {
            self.mend(message);
        }
        if batch.is_empty() {
            return;
        }
        let rate = self.hot.terms().room_messages;
        for message in &mut batch {
            let (room, user) = (&message.said.room, &message.way.client.user);
            message.tokens = self.limits.advances.take(rate, room, user);
        }
        let leases: Vec<Lease> = batch.iter().map(|message| message.way.client.lease()).collect();
        let requests: Vec<SendRequest<'_>> = batch
            .iter()
            .zip(&leases)
            .map(|(message, lease)| message.request(lease))
            .collect();
        let behind = self.node.latest_us.load(Ordering::Relaxed);
        match messages::send(&self.hot, &requests, behind).await {
            Ok(outcomes) => {
                for (message, outcome) in batch.into_iter().zip(outcomes) {
                    self.settle(message, outcome);
                }
            }
            Err(error) => {
                let is_late = |message: &Message| message.began.elapsed() > QUEUE_PATIENCE;
                batch.extend(self.sends.overdue(lane, is_late));
                tracing::warn!(error = %error, messages = batch.len(), "messages not sent");
                for message in batch {
                    let outcome = self.judge(&message, Send::Unknown);
                    self.finish(message, outcome);
                }
            }
        }
    }

    fn settle(self: &Rc<Self>, message: Message, outcome: Send) {
        let client = &message.way.client;
        let is_lost = matches!(outcome, Send::Stranger) && client.rooms.borrow().contains(&message.said.room);
        if is_lost {
            self.mend(message);
        } else {
            let outcome = self.judge(&message, outcome);
            self.finish(message, outcome);
        }
    }

    fn mend(self: &Rc<Self>, message: Message) {
        let mending = &message.way.client.under_way.mending;
        mending.set(mending.get() + 1);
        tokio::task::spawn_local(Rc::clone(self).send_again(message));
    }

    /// Redis does not know of a membership that this node knows of: a failover has lost it. It is put back, and the message
    /// is sent then, before all that the connection sends behind it.
    async fn send_again(self: Rc<Self>, message: Message) {
        let (client, room) = (&message.way.client, &message.said.room);
        let turn = client.turn.lock().await;
        let again = async {
            self.put_back(client, room).await?;
            if !client.rooms.borrow().contains(room) {
                return Ok(Send::Stranger);
            }
            let (lease, behind) = (client.lease(), self.node.latest_us.load(Ordering::Relaxed));
            let outcomes = messages::send(&self.hot, &[message.request(&lease)], behind).await?;
            Ok::<_, HotError>(outcomes.into_iter().next().unwrap_or(Send::Stranger))
        };
        let outcome = again.await;
        drop(turn);
        let mending = &client.under_way.mending;
        mending.set(mending.get() - 1);
        let outcome = match outcome {
            Ok(Send::Stranger) if client.rooms.borrow().contains(room) => self.judge(&message, Send::Unknown),
            Ok(outcome) => self.judge(&message, outcome),
            Err(error) => {
                tracing::warn!(error = %error, user = %client.user, "message not sent");
                self.judge(&message, Send::Unknown)
            }
        };
        self.finish(message, outcome);
    }

    /// What the outcome of a message means to who sent it.
    fn judge(&self, message: &Message, outcome: Send) -> Result<Sent, Failure> {
        let (room, user) = (&message.said.room, &message.way.client.user);
        self.limits.advances.settle(message.tokens, room, user, &outcome);
        match outcome {
            Send::Sent(sent) => {
                self.node.is_barred(ROOM_MESSAGES, sent.is_over);
                Ok(sent)
            }
            Send::Limited(wait) => {
                self.node.is_barred(ROOM_MESSAGES, true);
                Err(Failure::rate_limited(wait))
            }
            Send::Damaged | Send::Closed | Send::Broken | Send::Unknown => Err(Failure::unavailable()),
            Send::Missing => Err(Failure::room_not_found()),
            Send::Banned => Err(Failure::new(ErrorCode::Banned, "You are banned from this room")),
            Send::Stranger => Err(Failure::not_a_member()),
            Send::Muted => Err(Failure::new(ErrorCode::Muted, "You are muted in this room")),
            Send::Forbidden => Err(Failure::new(ErrorCode::Forbidden, "You may only listen here")),
        }
    }

    /// Answers. The ack stands behind its own message: the sender hears what it said before it hears that it was said.
    fn finish(&self, message: Message, outcome: Result<Sent, Failure>) {
        let Message {
            said,
            way,
            ack: id,
            until_ack,
            began,
            ..
        } = message;
        let client = &way.client;
        match (outcome, id) {
            (Ok(sent), Some(id)) => {
                let ack = Ack {
                    client: Rc::clone(client),
                    frame: Frame::ack(id, &ack(Some(&receipt(&sent)))),
                    until: until_ack,
                };
                self.rooms.borrow_mut().ack_behind(&said.room, sent.seq, ack);
            }
            (Ok(_), None) => {}
            (Err(failure), _) => {
                self.note_failure(client, incoming::MESSAGE_SEND, &failure);
                self.fail(client, id, &failure);
                if let Some(until_ack) = until_ack {
                    until_ack.end();
                }
            }
        }
        self.node.metrics.event(incoming::MESSAGE_SEND).done(began);
    }
}

/// What an ack says of a message.
fn receipt(sent: &Sent) -> String {
    let (epoch, seq, at) = (&sent.epoch, sent.seq, iso(sent.sent_ms));
    let duplicate = if sent.duplicate { r#","duplicate":true"# } else { "" };
    // An epoch is hexadecimal: nothing of this needs an escape.
    format!(
        r#"{{"epoch":"{epoch}","messageId":"{id}","seq":{seq},"timestamp":"{at}"{duplicate}}}"#,
        id = outgoing::message_id(epoch, seq)
    )
}
