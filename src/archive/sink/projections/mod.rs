//! What records change in the tables that show how things are now. Records are folded, in their order, into the last state
//! of each room, member, connection and user, so that each table gets one statement, and each row is written once.
//! Not here: the trail of what happened (`events`).

mod connections;
mod members;
mod messages;
mod presence;
mod rooms;

pub(super) use self::connections::{CONNECTED, ConnectedColumns, ENDED, EndedColumns};
pub(super) use self::members::{MEMBERS, MemberColumns};
pub(super) use self::messages::{MESSAGES, MessageColumns};
pub(super) use self::presence::{PRESENCE, PresenceColumns};
pub(super) use self::rooms::{EMPTIED, EmptiedColumns, ROOMS, RoomColumns};

use std::collections::BTreeSet;

use super::events::Day;
use super::record::{Kind, Record};

/// The last state of everything that records have changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    rooms: rooms::Rooms,
    members: members::Members,
    connections: connections::Connections,
    presence: presence::Presences,
    messages: MessageColumns,
}

/// The same as columns, one set for each statement.
#[derive(Debug, Default)]
pub(super) struct ChangeColumns {
    pub rooms: RoomColumns,
    pub emptied: EmptiedColumns,
    pub members: MemberColumns,
    pub connected: ConnectedColumns,
    pub ended: EndedColumns,
    pub presence: PresenceColumns,
    pub messages: MessageColumns,
}

impl Changes {
    /// Takes in a record that is newer than all before it.
    pub fn apply(&mut self, record: &Record) {
        match record.kind {
            Kind::Connect | Kind::Regained => {
                self.connections.connect(record);
                self.presence.take(record, true);
            }
            Kind::Lost => self.connections.lose(record),
            Kind::Disconnect => {
                self.connections.disconnect(record);
                self.presence.take(record, true);
            }
            Kind::Status => {
                // Neither is anything that the user did.
                let is_idle = matches!(record.text("cause"), Some("inactivity" | "custom status ended"));
                self.presence.take(record, !is_idle);
            }
            Kind::Presence => self.presence.take(record, false),
            Kind::RoomCreated => {
                self.rooms.create(record);
                // A room that ran out said nothing of its end; one that a node knew has its members still.
                if !record.flag("anew") {
                    self.members.empty(record, false);
                }
                self.members.govern(record, record.text("by"));
            }
            Kind::RoomKept => self.rooms.keep(record),
            Kind::RoomChanged => self.rooms.change(record),
            Kind::RoomClosed => {
                self.rooms.close(record);
                self.members.empty(record, true);
            }
            Kind::Join => {
                self.rooms.enter(record);
                self.members.join(record);
            }
            Kind::Leave => {
                self.rooms.leave(record);
                self.members.leave(record);
            }
            Kind::Policy => {
                self.rooms.mention(record);
                self.members.govern(record, record.user.as_deref());
            }
            Kind::Kick | Kind::Ban => {
                self.rooms.mention(record);
                self.members.send_out(record);
            }
            Kind::Message => self.messages.push(record),
            Kind::Restored | Kind::Other => {}
        }
    }

    /// The days that messages are of.
    pub fn message_days(&self) -> BTreeSet<Day> {
        self.messages.days()
    }

    pub fn columns(self) -> ChangeColumns {
        let (rooms, emptied) = self.rooms.columns();
        let (connected, ended) = self.connections.columns();
        ChangeColumns {
            rooms,
            emptied,
            members: self.members.columns(),
            connected,
            ended,
            presence: self.presence.columns(),
            messages: self.messages,
        }
    }
}
