//! Encode once, deliver to many: turns what the bus brings into frames, once per node, and hands them to the shards that
//! listen. Not here: which client of a shard hears it (`shard`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::client::replacing_key;
use super::metrics::Metrics;
use super::outgoing;
use super::parcel::Parcel;
use crate::config::CustomStatusShape;
use crate::domain::offset::Positions;
use crate::domain::revocations::Revocation;
use crate::engine::Frame;
use crate::hot::bus::{Shards, Sink, Topic};
use crate::hot::frame::{self, BusEvent};
use crate::types::{LeaveReason, Presence, RoomName, UserId};

/// Deliveries that a shard has not taken yet; what comes beyond is lost to it, and counted.
pub const INBOX_MAX: usize = 65_536;

/// Where an event stands in its room's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Seq {
        epoch: String,
        seq: u64,
    },
    Rev {
        epoch: String,
        rev: u64,
    },
    /// No number of its own: for whoever was in the room when it was this far.
    Behind {
        epoch: String,
        seq: u64,
        rev: u64,
    },
    /// Hints without an order: typing, presence, counts.
    None,
}

/// A presence that changed, ready to be sent.
#[derive(Clone)]
pub struct News {
    pub user: UserId,
    pub presence: Arc<Presence>,
    pub key: u64,
    pub frame: Frame,
}

/// What a shard delivers.
pub enum Delivery {
    /// To everybody in the room, but the user named.
    Room {
        room: RoomName,
        order: Order,
        except: Option<UserId>,
        /// Who is sent out of the room: hears it as the last thing.
        expelled: Option<UserId>,
        /// The same comes through other rooms, too: each client hears it once.
        token: Option<Arc<str>>,
        parcel: Parcel,
        news: Option<News>,
    },
    /// The room is no more: each who was in it hears of the own end, as the last thing.
    RoomClosed {
        room: RoomName,
        epoch: String,
        rev: u64,
        at_ms: i64,
    },
    /// A presence, to everybody in the room.
    RoomPresence { room: RoomName, news: News },
    /// A presence, to the user's own sockets and to those who watch the user and share one of the rooms.
    UserPresence {
        origin: Option<String>,
        rooms: Vec<RoomName>,
        news: News,
    },
    /// A presence, to everybody.
    Presence { origin: Option<String>, news: News },
    /// The bus brings nothing of this room until it is restored.
    RoomInterrupted { room: RoomName },
    /// The bus brought nothing of this room for a while.
    RoomRestored { room: RoomName, outage: Duration },
    /// The same of a user's own channel.
    UserRestored { user: UserId },
    /// Tokens are no longer good.
    Revoked(Revocation),
    /// Connections are to be sent away.
    Dismissed(Vec<String>),
    /// Revocations of this long may not have come.
    RevocationsRestored { outage: Duration },
}

/// What a shard takes its deliveries from.
pub type Inbox = mpsc::Receiver<Arc<Delivery>>;

/// Makes deliveries of events: the frame is encoded here, once for all who get it.
#[derive(Clone, Copy)]
pub struct Encoder {
    pub shape: CustomStatusShape,
    /// `REALTIME_ENABLE_PRESENCE`: without it presence is kept, and not told.
    pub tells_presence: bool,
    /// `REALTIME_RECOVERY`: whether there are clients that want offsets.
    pub recovers: bool,
}

/// Stands between the bus and the shards.
pub struct Dispatcher {
    inboxes: Vec<mpsc::Sender<Arc<Delivery>>>,
    encoder: Encoder,
    metrics: Metrics,
    /// How far each master has been heard.
    positions: Positions,
    /// The latest of them, for the shards that send.
    latest_us: Arc<AtomicU64>,
}

impl Dispatcher {
    /// A dispatcher, and the inbox of each shard.
    pub fn new(shards: usize, encoder: Encoder, metrics: Metrics, latest_us: Arc<AtomicU64>) -> (Self, Vec<Inbox>) {
        let (inboxes, receivers): (Vec<mpsc::Sender<_>>, _) = (0..shards).map(|_| mpsc::channel(INBOX_MAX)).unzip();
        metrics
            .shards
            .watch(inboxes.iter().map(mpsc::Sender::downgrade).collect());
        let dispatcher = Self {
            inboxes,
            encoder,
            metrics,
            positions: Positions::default(),
            latest_us,
        };
        (dispatcher, receivers)
    }

    /// What the bus calls with every frame.
    pub fn into_sink(mut self) -> Sink {
        Box::new(move |topic, shards, payload| match frame::decode(payload) {
            Some(BusEvent::Messages(messages)) => {
                for message in messages {
                    self.hand_on(topic, shards, BusEvent::Message(message));
                }
            }
            Some(event) => self.hand_on(topic, shards, event),
            None => self.metrics.bad_frames.inc(),
        })
    }

    fn hand_on(&mut self, topic: &Topic, shards: Shards, event: BusEvent) {
        let offset = self.offset_of(&event);
        if let Some(delivery) = self.encoder.delivery(topic, event, offset) {
            self.dispatch(shards, &Arc::new(delivery));
        }
    }

    /// How far whoever hears this event has heard; `None` where its position does not tell, since a clock went back.
    fn offset_of(&mut self, event: &BusEvent) -> Option<String> {
        let BusEvent::Message(message) = event else { return None };
        let rises = self.positions.advance(&message.position);
        self.latest_us.store(self.positions.latest_us(), Ordering::Relaxed);
        (rises && self.encoder.recovers).then(|| self.positions.to_string())
    }

    fn dispatch(&self, shards: Shards, delivery: &Arc<Delivery>) {
        for (shard, inbox) in self.inboxes.iter().enumerate() {
            if shards & (1 << shard) != 0 && inbox.try_send(Arc::clone(delivery)).is_err() {
                self.metrics.lost_deliveries.inc();
            }
        }
    }
}

impl Encoder {
    /// A presence that is news; `None` where presence is not told.
    pub fn news(&self, user: &UserId, presence: &Presence) -> Option<News> {
        self.tells_presence.then(|| News {
            user: user.clone(),
            presence: Arc::new(presence.clone()),
            key: replacing_key(("presence", user)),
            frame: outgoing::presence_changed(user, presence, self.shape),
        })
    }

    fn delivery(&self, topic: &Topic, event: BusEvent, offset: Option<String>) -> Option<Delivery> {
        match (topic, event) {
            (Topic::Room(room), event) => self.room_delivery(room.clone(), event, offset),
            (
                Topic::User(_),
                BusEvent::Presence {
                    origin,
                    user,
                    rooms,
                    presence,
                },
            ) => Some(Delivery::UserPresence {
                origin,
                rooms,
                news: self.news(&user, &presence)?,
            }),
            (
                Topic::Presence(_),
                BusEvent::Presence {
                    origin, user, presence, ..
                },
            ) => Some(Delivery::Presence {
                origin,
                news: self.news(&user, &presence)?,
            }),
            (Topic::Everybody, BusEvent::Revoked(revocation)) => Some(Delivery::Revoked(revocation)),
            (Topic::Everybody, BusEvent::Dismissed(ids)) => Some(Delivery::Dismissed(ids)),
            (Topic::Everybody, BusEvent::Restored { outage_ms }) => Some(Delivery::RevocationsRestored {
                outage: Duration::from_millis(outage_ms),
            }),
            (Topic::User(user), BusEvent::Restored { .. }) => Some(Delivery::UserRestored { user: user.clone() }),
            _ => None,
        }
    }

    /// An event of a room, for everybody of a shard who is in it.
    pub fn room_delivery(&self, room: RoomName, event: BusEvent, offset: Option<String>) -> Option<Delivery> {
        let (mut expelled, mut once) = (None, None);
        let (order, except, parcel, news) = match event {
            BusEvent::Message(message) => {
                let (epoch, seq) = (message.epoch.clone(), message.seq);
                (Order::Seq { epoch, seq }, None, Parcel::message(message, offset), None)
            }
            BusEvent::Joined {
                epoch,
                rev,
                at_ms,
                user,
                presence,
                ..
            } => {
                let frame = outgoing::user_joined(&room, &user, at_ms, rev);
                let news = if user.is_anonymous() {
                    None
                } else {
                    self.news(&user, &presence)
                };
                (Order::Rev { epoch, rev }, Some(user), Parcel::new(frame, None), news)
            }
            BusEvent::Left {
                epoch,
                rev,
                at_ms,
                reason,
                user,
                presence,
            } => {
                let frame = outgoing::user_left(&room, &user, at_ms, rev, reason);
                if matches!(reason, LeaveReason::Kicked | LeaveReason::Banned) {
                    expelled = Some(user.clone());
                }
                let news = presence
                    .filter(|_| !user.is_anonymous())
                    .and_then(|presence| self.news(&user, &presence));
                (Order::Rev { epoch, rev }, Some(user), Parcel::new(frame, None), news)
            }
            BusEvent::Typing {
                thread,
                room_type,
                except,
                users,
            } => {
                let frame = outgoing::typing_event(&room, thread.as_deref(), room_type.as_deref(), &users);
                let key = replacing_key(("typing", &room, thread));
                (Order::None, except, Parcel::new(frame, Some(key)), None)
            }
            BusEvent::Count { members } => {
                let frame = outgoing::room_count(&room, members);
                let key = replacing_key(("count", &room));
                (Order::None, None, Parcel::new(frame, Some(key)), None)
            }
            BusEvent::Emitted {
                epoch,
                seq,
                rev,
                token,
                event,
                payload,
            } => {
                once = token.map(Arc::from);
                let parcel = Parcel::new(outgoing::emitted(&event, &payload), None);
                (Order::Behind { epoch, seq, rev }, None, parcel, None)
            }
            BusEvent::Closed { epoch, rev, at_ms } => {
                return Some(Delivery::RoomClosed {
                    room,
                    epoch,
                    rev,
                    at_ms,
                });
            }
            BusEvent::Interrupted => return Some(Delivery::RoomInterrupted { room }),
            BusEvent::Restored { outage_ms } => {
                let outage = Duration::from_millis(outage_ms);
                return Some(Delivery::RoomRestored { room, outage });
            }
            // Several messages are handed on one by one.
            BusEvent::Messages(_) | BusEvent::Revoked(_) | BusEvent::Dismissed(_) => return None,
            BusEvent::Presence { user, presence, .. } => {
                return Some(Delivery::RoomPresence {
                    room,
                    news: self.news(&user, &presence)?,
                });
            }
        };
        Some(Delivery::Room {
            room,
            order,
            except,
            expelled,
            token: once,
            parcel,
            news,
        })
    }
}
