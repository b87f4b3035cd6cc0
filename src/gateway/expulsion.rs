//! Whoever is kicked or banned leaves the rooms of this shard: told last of all, and then hears nothing more. Redis has
//! taken the connections out of the room already; the user's half is what remains.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::client::Client;
use super::fanout::Order;
use super::outgoing;
use super::parcel::Parcel;
use super::shard::Shard;
use crate::domain::moderation;
use crate::types::{LeaveReason, RoomName, UserId};

/// Tries to take the user's half; whoever disconnects meanwhile needs it no more.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(250);

impl Shard {
    /// Tells and removes a user's clients here; how many they were.
    pub(super) fn expel(self: &Rc<Self>, room: &RoomName, order: &Order, user: &UserId, parcel: &Parcel) -> usize {
        let expelled = self.rooms.borrow_mut().expel(room, order, user, parcel);
        for client in &expelled {
            self.forget_room(room, client);
        }
        expelled.len()
    }

    /// A room is no more: each who was in it hears of the own end, since a list of everybody's would be as long as the room
    /// is large; how many they were.
    pub(super) fn close_room(self: &Rc<Self>, room: &RoomName, epoch: &str, rev: u64, at_ms: i64) -> usize {
        let word = |user: &UserId| outgoing::user_left(room, user, at_ms, rev, LeaveReason::Kicked);
        let expelled = self.rooms.borrow_mut().close(room, epoch, rev, word);
        for client in &expelled {
            self.forget_room(room, client);
        }
        expelled.len()
    }

    /// The client is no longer in the room: here at once, in the user's partition as soon as its turn comes.
    pub(super) fn forget_room(self: &Rc<Self>, room: &RoomName, client: &Rc<Client>) {
        client.rooms.borrow_mut().remove(room);
        self.leave_room(room, client);
        let (shard, room, client) = (Rc::clone(self), room.clone(), Rc::clone(client));
        tokio::task::spawn_local(async move { shard.take_users_half(&room, &client).await });
    }

    /// In the client's turn, since a join that it asked for meanwhile writes the same entry.
    async fn take_users_half(&self, room: &RoomName, client: &Client) {
        for _ in 0..TRIES {
            {
                let _turn = client.turn.lock().await;
                if client.rooms.borrow().contains(room) || !client.socket.is_open() {
                    return;
                }
                match moderation::forget(&self.hot, &client.lease(), room).await {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(error = %error, "a room is still among the user's"),
                }
            }
            sleep(PAUSE).await;
        }
        tracing::warn!(user = %client.user, "a room stays among the user's until the connection ends");
    }
}
