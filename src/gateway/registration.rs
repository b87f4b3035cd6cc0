//! Puts back what Redis has lost of a connection: its lease, and its rooms, each in the client's own turn, quietly. Not here:
//! how a connection is registered at first (`session`).

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::client::Client;
use super::healing::EPOCH_CHANGED;
use super::outgoing;
use super::rooms::{GoneOn, Position};
use super::session::USER_CONNECTIONS;
use super::shard::Shard;
use crate::domain::presence::Connect;
use crate::domain::rooms::{JoinOptions, JoinRefusal, Joined, Since};
use crate::domain::{presence, rooms, sessions};
use crate::engine::CloseReason;
use crate::hot::HotError;
use crate::hot::keys::Lease;
use crate::types::{LeaveReason, RoomName};

/// Tries to put a member back; whoever disconnects meanwhile needs it no more.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_millis(250);

impl Shard {
    /// Leases that Redis no longer has: registers their connections anew, each in its own turn, quietly.
    pub fn register_anew(self: &Rc<Self>, missing: &[Lease]) {
        for client in missing.iter().filter_map(|lease| self.holder(lease)) {
            let shard = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let _turn = client.turn.lock().await;
                if let Err(error) = shard.renew_registration(&client).await {
                    tracing::warn!(error = %error, user = %client.user, "connection not registered anew; the next beat tries again");
                }
            });
        }
    }

    /// A new life for a connection whose lease is gone: a new id, the same rooms. A room is told only if it saw the user leave. The caller holds
    /// the client's turn.
    pub(super) async fn renew_registration(self: &Rc<Self>, client: &Rc<Client>) -> Result<(), HotError> {
        if !client.socket.is_open() {
            return Ok(());
        }
        client
            .lease
            .replace(self.node.new_lease(&client.lease().connection.pid(), &client.user));
        let known = self.known_presence(&client.user);
        if matches!(self.register(client, known.as_deref()).await?, Connect::Full) {
            // Others of the user have taken its place meanwhile; a socket without a lease would be one in name alone.
            self.node.is_barred(USER_CONNECTIONS, true);
            client.socket.close(CloseReason::Unavailable);
            return Ok(());
        }
        let joined: Vec<RoomName> = client.rooms.borrow().iter().cloned().collect();
        for room in joined {
            if let Err(error) = self.put_back(client, &room).await {
                // The lease is there by now, so no beat would come back to this.
                tracing::debug!(error = %error, "a room is joined again a little later");
                self.look_at_member_soon(client, &room, true);
            }
        }
        tracing::info!(connection = %client.lease().connection, user = %client.user, "registered anew");
        Ok(())
    }

    /// Joins a room again that the client is in as far as this node knows; nobody is told. Where the client was sent out of
    /// it meanwhile, or may not be in it, it hears that. The caller holds the client's turn.
    pub(super) async fn put_back(self: &Rc<Self>, client: &Rc<Client>, room: &RoomName) -> Result<(), HotError> {
        let known = self.rooms.borrow().known(room, client);
        let options = JoinOptions {
            autocreate: self.node.settings.room_autocreate.matches(room.as_str()),
            known: known.as_ref(),
            members: 0,
            since: None,
            toll: None,
        };
        match rooms::join(&self.hot, &client.lease(), room, options).await? {
            Ok(joined) => {
                self.keep_session(client, room, &joined).await?;
                self.go_on(client, room, &joined);
            }
            // The lease is gone again: the next beat finds that, and everything is put back with it.
            Err(JoinRefusal::Unregistered) => {}
            Err(JoinRefusal::Banned) => self.send_out(client, room, LeaveReason::Banned),
            Err(_) => self.send_out(client, room, LeaveReason::Kicked),
        }
        Ok(())
    }

    fn send_out(self: &Rc<Self>, client: &Rc<Client>, room: &RoomName, reason: LeaveReason) {
        let rev = self.rooms.borrow().heard_so_far(room).map_or(0, |heard| heard.rev);
        let frame = outgoing::user_left(room, &client.user, outgoing::now_ms(), rev, reason);
        client.socket.send(&frame);
        self.forget_room(room, client);
    }

    /// What was missed of a room was not told one by one: whoever of its clients Redis does not know as a member was sent
    /// out, or, where Redis `has_lost` something, is put back.
    pub(super) async fn look_at_members(self: &Rc<Self>, room: &RoomName, has_lost: bool) {
        let clients = self.rooms.borrow().clients(room);
        let leases: Vec<Lease> = clients.iter().map(|client| client.lease()).collect();
        let strangers = match rooms::strangers(&self.hot, room, &leases).await {
            Ok(strangers) => strangers,
            Err(error) => {
                tracing::debug!(error = %error, "members of a room that is reset are not looked at");
                return;
            }
        };
        for index in strangers {
            self.look_at_member_soon(&clients[index], room, has_lost);
        }
    }

    /// In the client's turn: its registration may be under way, and come to this room by itself.
    fn look_at_member_soon(self: &Rc<Self>, client: &Rc<Client>, room: &RoomName, has_lost: bool) {
        let (shard, room, client) = (Rc::clone(self), room.clone(), Rc::clone(client));
        tokio::task::spawn_local(async move { shard.look_at_member(&client, &room, has_lost).await });
    }

    async fn look_at_member(self: &Rc<Self>, client: &Rc<Client>, room: &RoomName, has_lost: bool) {
        for _ in 0..TRIES {
            {
                let _turn = client.turn.lock().await;
                if !client.rooms.borrow().contains(room) || !client.socket.is_open() {
                    return;
                }
                let looked = self.find_its_place(client, room, has_lost);
                match looked.await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!(error = %error, "a member of a room that is reset is not looked at yet")
                    }
                }
            }
            sleep(PAUSE).await;
        }
        tracing::warn!(user = %client.user, "a member that Redis may have lost is not put back");
    }

    async fn find_its_place(
        self: &Rc<Self>,
        client: &Rc<Client>,
        room: &RoomName,
        has_lost: bool,
    ) -> Result<(), HotError> {
        let lease = client.lease();
        if rooms::strangers(&self.hot, room, std::slice::from_ref(&lease))
            .await?
            .is_empty()
        {
            return Ok(());
        }
        // Without a lease it is registered anew with the next beat, and joins again with that.
        if has_lost {
            self.put_back(client, room).await?;
        } else if presence::is_registered(&self.hot, &lease).await? {
            self.send_out(client, room, LeaveReason::Kicked);
        }
        Ok(())
    }

    /// From here on what is said in the room is the client's to hear, also when it comes back.
    pub(super) async fn keep_session(&self, client: &Client, room: &RoomName, joined: &Joined) -> Result<(), HotError> {
        if !client.recovers {
            return Ok(());
        }
        let since = Since {
            epoch: joined.epoch.clone(),
            seq: joined.seq,
        };
        sessions::keep(&self.hot, &client.lease(), room, &since).await
    }

    fn go_on(self: &Rc<Self>, client: &Client, room: &RoomName, joined: &Joined) {
        let position = Position::of(joined);
        let gone_on = self.rooms.borrow_mut().go_on(room, client, position.clone());
        match gone_on {
            GoneOn::Same => {}
            GoneOn::Reset => self.tell_reset(client, room, &position, EPOCH_CHANGED),
            GoneOn::Unheard => self.heal_anew(room, Duration::ZERO),
        }
    }
}
