//! Encode once, deliver to many: turns what the bus brings into frames, once per node, and hands them to the shards that
//! listen. Not here: which client of a shard hears it (`shard`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::client::replacing_key;
use super::metrics::Metrics;
use super::outgoing;
use crate::config::CustomStatusShape;
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
        key: Option<u64>,
        except: Option<UserId>,
        /// Who is sent out of the room: hears it as the last thing.
        expelled: Option<UserId>,
        frame: Frame,
        news: Option<News>,
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
    /// The bus brought nothing of this room for a while.
    RoomRestored { room: RoomName, outage: Duration },
    /// The same of a user's own channel.
    UserRestored { user: UserId },
}

/// What a shard takes its deliveries from.
pub type Inbox = mpsc::Receiver<Arc<Delivery>>;

/// Makes deliveries of events: the frame is encoded here, once for all who get it.
#[derive(Clone, Copy)]
pub struct Encoder {
    pub shape: CustomStatusShape,
    /// `REALTIME_ENABLE_PRESENCE`: without it presence is kept, and not told.
    pub tells_presence: bool,
}

/// Stands between the bus and the shards.
pub struct Dispatcher {
    inboxes: Vec<mpsc::Sender<Arc<Delivery>>>,
    encoder: Encoder,
    metrics: Metrics,
}

impl Dispatcher {
    /// A dispatcher, and the inbox of each shard.
    pub fn new(shards: usize, encoder: Encoder, metrics: Metrics) -> (Self, Vec<Inbox>) {
        let (inboxes, receivers) = (0..shards).map(|_| mpsc::channel(INBOX_MAX)).unzip();
        let dispatcher = Self {
            inboxes,
            encoder,
            metrics,
        };
        (dispatcher, receivers)
    }

    /// What the bus calls with every frame.
    pub fn into_sink(self) -> Sink {
        Box::new(move |topic, shards, payload| match frame::decode(payload) {
            Some(event) => {
                if let Some(delivery) = self.encoder.delivery(topic, event) {
                    self.dispatch(shards, &Arc::new(delivery));
                }
            }
            None => self.metrics.bad_frames.inc(),
        })
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

    fn delivery(&self, topic: &Topic, event: BusEvent) -> Option<Delivery> {
        match (topic, event) {
            (Topic::Room(room), event) => self.room_delivery(room.clone(), event),
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
            (Topic::User(user), BusEvent::Restored { .. }) => Some(Delivery::UserRestored { user: user.clone() }),
            _ => None,
        }
    }

    /// An event of a room, for everybody of a shard who is in it.
    pub fn room_delivery(&self, room: RoomName, event: BusEvent) -> Option<Delivery> {
        let mut expelled = None;
        let (order, key, except, frame, news) = match event {
            BusEvent::Message {
                epoch,
                seq,
                sent_ms,
                body,
            } => {
                let frame = outgoing::message_new(&body, &epoch, seq, sent_ms);
                (Order::Seq { epoch, seq }, None, None, frame, None)
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
                (Order::Rev { epoch, rev }, None, Some(user), frame, news)
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
                (Order::Rev { epoch, rev }, None, Some(user), frame, news)
            }
            BusEvent::Typing {
                thread,
                room_type,
                except,
                users,
            } => {
                let frame = outgoing::typing_event(&room, thread.as_deref(), room_type.as_deref(), &users);
                (
                    Order::None,
                    Some(replacing_key(("typing", &room, thread))),
                    except,
                    frame,
                    None,
                )
            }
            BusEvent::Count { members } => (
                Order::None,
                Some(replacing_key(("count", &room))),
                None,
                outgoing::room_count(&room, members),
                None,
            ),
            BusEvent::Restored { outage_ms } => {
                let outage = Duration::from_millis(outage_ms);
                return Some(Delivery::RoomRestored { room, outage });
            }
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
            key,
            except,
            expelled,
            frame,
            news,
        })
    }
}
