//! Many clients in rooms of the same size, and the loop that drives them all. Not here: what they say once they are in (`talk`).

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry};

use super::client::{Client, Entry, Phase};
use super::wire::{Transport, owner};
use crate::support::token::token;

/// Shared by all sockets: what one has for us at once, in a hot room as well.
const SCRATCH: usize = 256 * 1024;
const EVENTS: usize = 4_096;
/// The kernel counts the time that we wait for events in these.
const MOMENT: Duration = Duration::from_millis(1);

/// Who they are.
pub struct Plan<'a> {
    /// Of the servers, in turn.
    pub ports: &'a [u16],
    pub clients: usize,
    pub transport: Transport,
    /// Clients in each room.
    pub room: usize,
    /// How the names of the rooms begin.
    pub name: &'a str,
}

/// Where a client belongs.
struct Ticket {
    port: u16,
    transport: Transport,
    token: String,
    room: String,
}

pub struct Crowd {
    poll: Poll,
    registry: Rc<Registry>,
    events: Events,
    scratch: Vec<u8>,
    tickets: Vec<Ticket>,
    clients: Vec<Client>,
    /// Clients that are in.
    inside: usize,
    pub room: usize,
}

impl Crowd {
    /// Nobody is connected yet, but everybody has a token.
    pub fn new(plan: &Plan<'_>) -> io::Result<Self> {
        let ticket = |number| Ticket {
            port: plan.ports[number % plan.ports.len()],
            transport: plan.transport,
            token: token(&format!("user-{number}")),
            room: format!("auto:{}-{}", plan.name, number / plan.room),
        };
        let poll = Poll::new()?;
        Ok(Self {
            registry: Rc::new(poll.registry().try_clone()?),
            poll,
            events: Events::with_capacity(EVENTS),
            scratch: vec![0; SCRATCH],
            tickets: (0..plan.clients).map(ticket).collect(),
            clients: Vec::with_capacity(plan.clients),
            inside: 0,
            room: plan.room,
        })
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    pub fn client(&mut self, number: usize) -> &mut Client {
        &mut self.clients[number]
    }

    /// The room that a client is in.
    pub fn room_of(&self, number: usize) -> &str {
        &self.tickets[number].room
    }

    /// Connects everybody, so many at a time, and has them join; how long it took until the last was in.
    pub fn enter(&mut self, at_once: usize, limit: Duration) -> io::Result<Duration> {
        let started = Instant::now();
        while self.inside < self.tickets.len() {
            while self.clients.len() < self.tickets.len() && self.clients.len() - self.inside < at_once {
                let number = self.clients.len();
                let client = Client::open(&self.tickets[number].entry(number), &self.registry)?;
                self.clients.push(client);
            }
            if started.elapsed() > limit {
                let (inside, all) = (self.inside, self.tickets.len());
                return Err(io::Error::other(format!("{inside} of {all} were in after {limit:?}")));
            }
            self.turn(MOMENT, |_, _| Ok(()))?;
        }
        Ok(started.elapsed())
    }

    /// Only answers pings.
    pub fn idle(&mut self, time: Duration) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < time {
            self.turn(MOMENT * 10, |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// Cuts every connection; nobody says farewell.
    pub fn cut(&mut self) {
        self.clients.clear();
        self.inside = 0;
    }

    /// Waits at most so long for something to come, and gives every packet for those who are in to `hear`; what it has its client
    /// say is written in one go.
    pub fn turn(
        &mut self,
        wait: Duration,
        mut hear: impl FnMut(&mut Client, &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let (tickets, inside) = (&self.tickets, &mut self.inside);
        for event in &self.events {
            let (number, half) = owner(event.token());
            let Some(client) = self.clients.get_mut(number) else {
                continue; // of a connection that was cut
            };
            let receiving = |client: &mut Client, packet: &[u8]| {
                if client.phase == Phase::In {
                    return hear(client, packet);
                }
                client.enter(packet, &tickets[client.number].entry(client.number))?;
                *inside += usize::from(client.phase == Phase::In);
                Ok(())
            };
            let mut received = Ok(());
            if event.is_readable() {
                received = client.receive(half, &mut self.scratch, event.is_read_closed(), receiving);
            }
            received
                .and_then(|()| client.flush())
                .map_err(|error| io::Error::new(error.kind(), format!("client {number}: {error}")))?;
        }
        Ok(())
    }
}

impl Ticket {
    fn entry(&self, number: usize) -> Entry<'_> {
        Entry {
            number,
            port: self.port,
            transport: self.transport,
            token: &self.token,
            room: &self.room,
        }
    }
}
