//! Messages on their way to Redis. Those of one partition go in one call: as many as have come while the calls before them
//! were under way, so an idle node waits for nothing, and a busy one makes few calls. A lane of partitions has one call at a
//! time, so messages keep the order in which they came. Not here: reading a message (`events::messages`), delivering it
//! (`rooms`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Notify;

use super::client::Client;
use super::metrics::UntilAck;
use super::outgoing::{self, iso};
use super::protocol::{ErrorCode, Failure, ack, incoming};
use super::rooms::Ack;
use super::shard::Shard;
use crate::domain::messages::{self, Send, SendRequest, Sent};
use crate::engine::Frame;
use crate::hot::keys::{Lease, PARTITIONS, Partition};
use crate::types::RoomName;

/// Messages of one connection that are under way; the next waits, and with it all that the connection sends behind it.
const UNDER_WAY_MAX: u32 = 32;
/// Bytes of the messages of one call, unless one alone is larger: well below the longest frame of the bus, which may hold all.
const CALL_MAX_BYTES: usize = 1024 * 1024;
/// Partitions beside each other, which one master has in most Clusters: where it is away, the others' messages go on.
const LANE: usize = 8;
/// Messages that an empty queue may keep room for.
const KEPT_ROOM: usize = 16;
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
    pub client: Rc<Client>,
    /// The id to answer with, if the client waits for an ack.
    pub ack: Option<u64>,
    pub until_ack: Option<UntilAck>,
    pub began: Instant,
}

impl Message {
    fn request<'a>(&'a self, lease: &'a Lease) -> SendRequest<'a> {
        SendRequest {
            lease,
            room: &self.said.room,
            body: &self.said.body,
            client_message_id: self.said.client_message_id.as_deref(),
            listens_only: self.said.listens_only,
        }
    }
}

/// Messages of one connection that are under way: what it sends behind them and is no message waits for them.
#[derive(Default)]
pub struct UnderWay {
    count: Cell<u32>,
    partition: Cell<u8>,
    fewer: Notify,
}

impl UnderWay {
    /// One more. Those of two partitions would overtake each other, so there are only those of one at a time.
    async fn begin(&self, partition: Partition) {
        let partition = partition.index() as u8;
        self.wait_until(|count| count == 0 || (self.partition.get() == partition && count < UNDER_WAY_MAX))
            .await;
        self.partition.set(partition);
        self.count.set(self.count.get() + 1);
    }

    fn end(&self) {
        self.count.set(self.count.get() - 1);
        self.fewer.notify_waiters();
    }

    /// Resolves when all of them have their outcome.
    pub(super) async fn over(&self) {
        self.wait_until(|count| count == 0).await;
    }

    async fn wait_until(&self, is_so: impl Fn(u32) -> bool) {
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

/// What waits for its call.
pub(super) struct Sends {
    /// By partition.
    waiting: RefCell<Vec<VecDeque<Message>>>,
    lanes: RefCell<Vec<Lane>>,
}

#[derive(Default)]
struct Lane {
    /// Partitions of which something waits, each once.
    next: VecDeque<usize>,
    is_busy: bool,
}

impl Default for Sends {
    fn default() -> Self {
        Self {
            waiting: RefCell::new((0..PARTITIONS).map(|_| VecDeque::new()).collect()),
            lanes: RefCell::new((0..PARTITIONS.div_ceil(LANE)).map(|_| Lane::default()).collect()),
        }
    }
}

impl Sends {
    /// The lane whose calls somebody has to begin with, if it was at rest.
    fn push(&self, message: Message) -> Option<usize> {
        let partition = Partition::of_room(&message.said.room).index();
        let waiting = &mut self.waiting.borrow_mut()[partition];
        let lane = &mut self.lanes.borrow_mut()[partition / LANE];
        if waiting.is_empty() {
            lane.next.push_back(partition);
        }
        waiting.push_back(message);
        let was_busy = std::mem::replace(&mut lane.is_busy, true);
        (!was_busy).then_some(partition / LANE)
    }

    /// The messages of a lane's next call, all of one partition; none, and the lane is at rest.
    fn take(&self, lane: usize, most: usize) -> Vec<Message> {
        let lane = &mut self.lanes.borrow_mut()[lane];
        let Some(partition) = lane.next.pop_front() else {
            lane.is_busy = false;
            return Vec::new();
        };
        let waiting = &mut self.waiting.borrow_mut()[partition];
        let (mut count, mut bytes) = (0, 0);
        for message in waiting.iter().take(most) {
            bytes += message.said.body.len();
            if count > 0 && bytes > CALL_MAX_BYTES {
                break;
            }
            count += 1;
        }
        let taken = waiting.drain(..count).collect();
        if waiting.is_empty() {
            waiting.shrink_to(KEPT_ROOM);
        } else {
            lane.next.push_back(partition);
        }
        taken
    }
}

impl Shard {
    /// Puts a message on its way. Its order among those of its connection is that of these calls.
    pub(super) async fn say(self: &Rc<Self>, message: Message) {
        let partition = Partition::of_room(&message.said.room);
        message.client.under_way.begin(partition).await;
        if let Some(lane) = self.sends.push(message) {
            tokio::task::spawn_local(Rc::clone(self).send_all(lane));
        }
    }

    async fn send_all(self: Rc<Self>, lane: usize) {
        loop {
            let batch = self.sends.take(lane, self.node.settings.batch_size);
            if batch.is_empty() {
                return;
            }
            self.send(batch).await;
        }
    }

    async fn send(self: &Rc<Self>, batch: Vec<Message>) {
        let leases: Vec<Lease> = batch.iter().map(|message| message.client.lease()).collect();
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
                tracing::warn!(error = %error, messages = batch.len(), "messages not sent");
                for message in batch {
                    self.finish(message, Err(Failure::unavailable()));
                }
            }
        }
    }

    fn settle(self: &Rc<Self>, message: Message, outcome: Send) {
        let is_lost = matches!(outcome, Send::Stranger) && message.client.rooms.borrow().contains(&message.said.room);
        if is_lost {
            tokio::task::spawn_local(Rc::clone(self).send_again(message));
        } else {
            let outcome = self.judge(outcome);
            self.finish(message, outcome);
        }
    }

    /// Redis does not know of a membership that this node knows of: a failover has lost it. It is put back, and the message
    /// is sent then. What the connection sends behind it, other messages excepted, waits.
    async fn send_again(self: Rc<Self>, message: Message) {
        let (client, room) = (&message.client, &message.said.room);
        let turn = client.turn.lock().await;
        let again = async {
            self.put_back(client, room).await?;
            if !client.rooms.borrow().contains(room) {
                return Ok(Send::Stranger);
            }
            let (lease, behind) = (client.lease(), self.node.latest_us.load(Ordering::Relaxed));
            let outcomes = messages::send(&self.hot, &[message.request(&lease)], behind).await?;
            Ok(outcomes.into_iter().next().unwrap_or(Send::Stranger))
        };
        let outcome = again.await;
        drop(turn);
        let outcome = match outcome {
            Ok(Send::Stranger) if client.rooms.borrow().contains(room) => Err(Failure::unavailable()),
            Ok(outcome) => self.judge(outcome),
            Err(error) => {
                let error: crate::hot::HotError = error;
                tracing::warn!(error = %error, user = %client.user, "message not sent");
                Err(Failure::unavailable())
            }
        };
        self.finish(message, outcome);
    }

    fn judge(&self, outcome: Send) -> Result<Sent, Failure> {
        match outcome {
            Send::Sent(sent) => {
                self.node.is_barred(ROOM_MESSAGES, sent.is_over);
                Ok(sent)
            }
            Send::Limited(wait) => {
                self.node.is_barred(ROOM_MESSAGES, true);
                Err(Failure::rate_limited(wait))
            }
            Send::Damaged => Err(Failure::unavailable()),
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
            client,
            ack: id,
            until_ack,
            began,
        } = message;
        match (outcome, id) {
            (Ok(sent), Some(id)) => {
                let ack = Ack {
                    client: Rc::clone(&client),
                    frame: Frame::ack(id, &ack(Some(&receipt(&sent)))),
                    until: until_ack,
                };
                self.rooms.borrow_mut().ack_behind(&said.room, sent.seq, ack);
            }
            (Ok(_), None) => {}
            (Err(failure), _) => {
                self.note_failure(&client, incoming::MESSAGE_SEND, &failure);
                self.fail(&client, id, &failure);
                if let Some(until_ack) = until_ack {
                    until_ack.end();
                }
            }
        }
        self.node.metrics.event(incoming::MESSAGE_SEND).done(began);
        client.under_way.end();
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
