//! What is asked of each contestant, and what is read off it. Not here: the servers (`stage`) and the load itself.

use std::io;
use std::time::Duration;

use clap::ValueEnum;

use super::contestant::Contestant;
use super::figures::{Figure, Run};
use super::stage::{Bill, RedisCore, Stage};
use crate::load::crowd::{Crowd, Plan};
use crate::load::news::{News, Topic};
use crate::load::talk::Heard;
use crate::load::wire::Transport;

/// Clients that connect at the same time.
const AT_ONCE: usize = 64;
/// For all of them to be in; a slow peer takes half a minute for 10,000.
const ENTRY_LIMIT: Duration = Duration::from_secs(120);
/// Until what the joins set off is over.
const SETTLING: Duration = Duration::from_secs(2);
/// Before anything is counted: programs that are compiled while they run have to have been.
const WARM_UP: Duration = Duration::from_secs(1);
/// Members of a room, unless a case says otherwise.
const ROOM: usize = 10;
const TENS: People = People {
    clients: 2_000,
    room: ROOM,
    transport: Transport::WebSocket,
};
const HOT: People = People {
    clients: 500,
    room: 500,
    ..TENS
};
const ALONE: People = People {
    clients: 200,
    room: 1,
    ..TENS
};
const POLLING: People = People {
    transport: Transport::Polling,
    ..TENS
};
const HOT_VOICES: usize = 16;
const TYPISTS: usize = 3;
/// Under way by each speaker of a flood, who waits for the ack.
const CLOSED: usize = 1;
/// The same of one who does not.
const AHEAD: usize = 16;

/// Who is asked for in a case.
#[derive(Clone, Copy)]
struct People {
    clients: usize,
    room: usize,
    transport: Transport,
}

/// One row of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// One room of 500, 16 of them speak
    Hot,
    /// 200 rooms of 10, one speaks in each
    Rooms,
    /// 200 rooms of one: everybody hears themselves
    Echo,
    /// As hot, each speaker with 16 messages under way
    HotAhead,
    /// As rooms, each speaker with 16 messages under way
    RoomsAhead,
    /// As echo, each speaker with 16 messages under way
    EchoAhead,
    /// Many connect, with token and join
    Connects,
    /// They do nothing: memory and processor
    Idle,
    /// 10,000 deliveries a second in rooms of 10
    Paced,
    /// 50,000 deliveries a second in rooms of 10
    Fast,
    /// The same as rooms, by long polling
    Polling,
    /// Two nodes over one Redis, rooms of 10 across both
    Nodes,
    /// Everybody in 200 rooms of 10 changes their status, over and over
    Presence,
    /// Three in each of 200 rooms of 10 type
    Typing,
    /// All connections are cut at once, and come back at once
    Avalanche,
}

/// What the command line says of all cases.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub seconds: u64,
    pub idle_seconds: u64,
    pub connections: usize,
    pub window: Option<usize>,
    pub redis_core: RedisCore,
}

impl Case {
    /// As it is called on the command line.
    pub fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Hot => "Hot room: 500 members, 16 speak",
            Self::Rooms => "200 rooms of 10, 200 speak",
            Self::Echo => "Echo: 200 rooms of one",
            Self::HotAhead => "Hot room, each speaker with 16 messages under way",
            Self::RoomsAhead => "200 rooms of 10, each speaker with 16 messages under way",
            Self::EchoAhead => "Echo, each speaker with 16 messages under way",
            Self::Connects => "Connects, with token and join",
            Self::Idle => "Idle connections, in rooms of 10",
            Self::Paced => "10,000 deliveries a second, in rooms of 10",
            Self::Fast => "50,000 deliveries a second, in rooms of 10",
            Self::Polling => "Long polling: 200 rooms of 10, 200 speak",
            Self::Nodes => "Two nodes on one core over one Redis: 200 rooms of 10 across both, 200 speak",
            Self::Presence => "Presence: all 2,000 in rooms of 10 change their status, over and over",
            Self::Typing => "Typing: three in each of 200 rooms of 10",
            Self::Avalanche => "Avalanche: 2,000 connections in rooms of 10 are cut at once, and come back at once",
        }
    }

    /// Whether it can be asked of this contestant at all.
    pub fn suits(self, contestant: Contestant) -> bool {
        match self {
            Self::Nodes => contestant.is_cluster(),
            Self::Polling => contestant != Contestant::Floor,
            _ => true,
        }
    }

    /// Sets the stage, and asks.
    pub fn run(self, contestant: Contestant, terms: &Terms) -> io::Result<Run> {
        let stage = Stage::set(contestant, if self == Self::Nodes { 2 } else { 1 }, terms.redis_core)?;
        self.ask(&stage, terms).map_err(|cause| stage.explain(&cause))
    }

    fn ask(self, stage: &Stage, terms: &Terms) -> io::Result<Run> {
        match self {
            Self::Hot => flood(stage, terms, HOT, HOT_VOICES, CLOSED),
            Self::Rooms | Self::Nodes => flood(stage, terms, TENS, 1, CLOSED),
            Self::Echo => flood(stage, terms, ALONE, 1, CLOSED),
            Self::HotAhead => flood(stage, terms, HOT, HOT_VOICES, AHEAD),
            Self::RoomsAhead => flood(stage, terms, TENS, 1, AHEAD),
            Self::EchoAhead => flood(stage, terms, ALONE, 1, AHEAD),
            Self::Polling => flood(stage, terms, POLLING, 1, CLOSED),
            Self::Connects => connects(stage, terms),
            Self::Idle => idle(stage, terms),
            Self::Paced => pace(stage, terms, 10_000),
            Self::Fast => pace(stage, terms, 50_000),
            Self::Presence => tell(stage, terms, Topic::Presence, ROOM),
            Self::Typing => tell(stage, terms, Topic::Typing, TYPISTS),
            Self::Avalanche => avalanche(stage),
        }
    }
}

fn assemble(stage: &Stage, people: People) -> io::Result<Crowd> {
    Crowd::new(&Plan {
        ports: &stage.ports(),
        clients: people.clients,
        room: people.room,
        transport: people.transport,
        name: "compare",
    })
}

/// Everybody is in, and it is quiet.
fn crowd(stage: &Stage, people: People) -> io::Result<Crowd> {
    let mut crowd = assemble(stage, people)?;
    crowd.enter(AT_ONCE, ENTRY_LIMIT)?;
    crowd.idle(SETTLING)?;
    Ok(crowd)
}

fn flood(stage: &Stage, terms: &Terms, people: People, voices: usize, window: usize) -> io::Result<Run> {
    let mut crowd = crowd(stage, people)?;
    let window = terms.window.unwrap_or(window);
    crowd.flood(voices, window, WARM_UP)?;
    let meter = stage.meter();
    let heard = crowd.flood(voices, window, Duration::from_secs(terms.seconds))?;
    let bill = meter.read();
    let headline = if people.room == 1 {
        vec![Figure::more("messages/s", heard.messages())]
    } else {
        vec![
            Figure::more("deliveries/s", heard.deliveries()),
            Figure::more("messages/s", heard.messages()),
        ]
    };
    Ok(Run {
        figures: [
            headline,
            ways(&heard),
            costs(heard.ledger.heard, heard.ledger.messages(), &bill),
        ]
        .concat(),
        wrong: heard.wrong(),
    })
}

fn pace(stage: &Stage, terms: &Terms, deliveries: usize) -> io::Result<Run> {
    let mut crowd = crowd(stage, TENS)?;
    crowd.pace(deliveries / ROOM, WARM_UP)?;
    let meter = stage.meter();
    let heard = crowd.pace(deliveries / ROOM, Duration::from_secs(terms.seconds))?;
    let bill = meter.read();
    let mut ways = ways(&heard);
    ways.swap(0, 1); // p99 says who was better
    Ok(Run {
        figures: [ways, costs(heard.ledger.heard, heard.ledger.messages(), &bill)].concat(),
        wrong: heard.wrong(),
    })
}

fn ways(heard: &Heard) -> Vec<Figure> {
    vec![
        Figure::less("sent to heard, p50, ms", heard.percentile_ms(0.5)),
        Figure::less("p99, ms", heard.percentile_ms(0.99)),
        Figure::less("most, ms", heard.percentile_ms(1.0)),
    ]
}

/// Who spent how much on it.
fn costs(deliveries: u64, messages: u64, bill: &Bill) -> Vec<Figure> {
    let (deliveries, messages) = (deliveries as f64, messages as f64);
    let us = |cpu: Duration, count: f64| cpu.as_secs_f64() * 1e6 / count;
    vec![
        Figure::less("server, µs per delivery", us(bill.servers, deliveries)),
        Figure::less("server, µs per message", us(bill.servers, messages)),
        Figure::less("Redis, µs per message", us(bill.redis, messages)),
        Figure::aside("server, % of that in the kernel", bill.percent_in_kernel()),
        Figure::aside("load, µs per delivery", us(bill.load, deliveries)),
        Figure::aside("server, % of a core", bill.percent(bill.servers)),
        Figure::aside("server, % waiting for its core", bill.percent(bill.waited)),
        Figure::aside("Redis, % of a core", bill.percent(bill.redis)),
        Figure::aside("load, % of a core", bill.percent(bill.load)),
        Figure::aside("load, % waiting for its core", bill.percent(bill.load_waited)),
    ]
}

/// As many as the command line says.
fn many(terms: &Terms) -> People {
    People {
        clients: terms.connections,
        ..TENS
    }
}

fn connects(stage: &Stage, terms: &Terms) -> io::Result<Run> {
    let mut crowd = assemble(stage, many(terms))?;
    let meter = stage.meter();
    let took = crowd.enter(AT_ONCE, ENTRY_LIMIT)?;
    let bill = meter.read();
    let count = terms.connections as f64;
    let us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count;
    Ok(Run {
        figures: vec![
            Figure::more("connects/s", count / took.as_secs_f64()),
            Figure::less("server, µs per connect", us(bill.servers)),
            Figure::less("Redis, µs per connect", us(bill.redis)),
            Figure::aside("server, % of that in the kernel", bill.percent_in_kernel()),
            Figure::aside("load, µs per connect", us(bill.load)),
            Figure::aside("load, % of a core", bill.percent(bill.load)),
        ],
        wrong: 0,
    })
}

fn idle(stage: &Stage, terms: &Terms) -> io::Result<Run> {
    let empty = stage.resident_kb();
    let mut crowd = crowd(stage, many(terms))?;
    let meter = stage.meter();
    crowd.idle(Duration::from_secs(terms.idle_seconds))?;
    let bill = meter.read();
    let full = stage.resident_kb();
    Ok(Run {
        figures: vec![
            Figure::less(
                "memory per connection, KB",
                (full - empty) as f64 / terms.connections as f64,
            ),
            Figure::less("memory without a connection, MB", empty as f64 / 1024.0),
            Figure::less("server, % of a core", bill.percent(bill.servers)),
            Figure::less("Redis, % of a core", bill.percent(bill.redis)),
        ],
        wrong: 0,
    })
}

fn tell(stage: &Stage, terms: &Terms, topic: Topic, voices: usize) -> io::Result<Run> {
    let mut crowd = crowd(stage, TENS)?;
    let mut news = News::new(&mut crowd, topic, voices);
    crowd.tell(&mut news, WARM_UP)?;
    let meter = stage.meter();
    crowd.tell(&mut news, Duration::from_secs(terms.seconds))?;
    let bill = meter.read();
    let ms = |part| news.ways.value_at_quantile(part) as f64 / 1_000.0;
    let mut figures = vec![
        Figure::more("events/s", news.acked as f64 / news.time.as_secs_f64()),
        Figure::aside("deliveries of each", news.heard as f64 / news.acked as f64),
        Figure::less("told to acked, p50, ms", ms(0.5)),
        Figure::less("p99, ms", ms(0.99)),
    ];
    figures.extend(costs(news.heard, news.acked, &bill));
    Ok(Run {
        figures,
        wrong: news.wrong(),
    })
}

fn avalanche(stage: &Stage) -> io::Result<Run> {
    let mut crowd = crowd(stage, TENS)?;
    let meter = stage.meter();
    crowd.cut();
    let took = crowd.enter(TENS.clients, ENTRY_LIMIT)?;
    let bill = meter.read();
    crowd.idle(SETTLING)?;
    // Whether they are really back.
    let heard = crowd.flood(1, 1, WARM_UP)?;
    Ok(Run {
        figures: vec![
            Figure::less("until all are back, s", took.as_secs_f64()),
            Figure::less(
                "server, µs per connection",
                bill.servers.as_secs_f64() * 1e6 / TENS.clients as f64,
            ),
            Figure::less(
                "Redis, µs per connection",
                bill.redis.as_secs_f64() * 1e6 / TENS.clients as f64,
            ),
            Figure::aside("load, % of a core", bill.percent(bill.load)),
        ],
        wrong: heard.wrong(),
    })
}
