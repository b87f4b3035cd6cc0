//! What one stage showed: so many nodes, connections, members of a room. Not here: how it was measured (`measure`), and what follows
//! from several of them (`units`).

/// The same of both parties.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pair {
    /// Of all gateways together.
    pub gateway: f64,
    pub redis: f64,
}

/// Messages at a pace, and everything that was spent meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Paced {
    pub seconds: f64,
    pub messages: f64,
    pub deliveries: f64,
    /// Time on the processor, µs.
    pub spent_us: Pair,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Bytes of a message, of one delivery of it, and of its ack, without frames and headers.
    pub message_bytes: f64,
    pub delivery_bytes: f64,
    pub ack_bytes: f64,
    /// Bytes that Redis read and wrote.
    pub redis_read: f64,
    pub redis_written: f64,
}

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    pub nodes: usize,
    pub connections: usize,
    pub room: usize,
    /// Before anybody came, % of a core.
    pub empty: Option<Pair>,
    /// And what Redis read and wrote then, bytes a second.
    pub empty_traffic: [f64; 2],
    /// Of each connect, with token and join, µs.
    pub connect_us: Pair,
    /// Of each connection, KB: by how much resident memory grew.
    pub memory_kb: Pair,
    /// While all are in and nobody says anything, % of a core.
    pub idle: Option<Pair>,
    /// For so long.
    pub idle_seconds: f64,
    pub paced: Paced,
    /// Deliveries that were lost, doubled or out of order, and messages without an answer.
    pub wrong: u64,
}

impl Pair {
    /// Both of them, changed alike.
    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            gateway: change(self.gateway),
            redis: change(self.redis),
        }
    }

    /// What is more than another; never less than nothing, for that is noise.
    pub fn beyond(self, other: Self) -> Self {
        Self {
            gateway: (self.gateway - other.gateway).max(0.0),
            redis: (self.redis - other.redis).max(0.0),
        }
    }
}

impl Paced {
    /// What a message costs beyond what the same nodes spend without anybody (`empty`, % of a core), µs.
    pub fn per_message_us(&self, empty: Pair) -> Pair {
        let of_empty = empty.map(|percent| percent / 100.0 * self.seconds * 1e6);
        self.spent_us.beyond(of_empty).map(|us| us / self.messages)
    }

    /// The same of a delivery, µs.
    pub fn per_delivery_us(&self, empty: Pair) -> Pair {
        let of_message = self.per_message_us(empty);
        of_message.map(|us| us * self.messages / self.deliveries)
    }
}

impl Point {
    /// Bytes of a message that Redis reads and writes, beyond what goes by without anybody.
    pub fn traffic_per_message(&self) -> [f64; 2] {
        let [read, written] = self.empty_traffic.map(|bytes| bytes * self.paced.seconds);
        let more = |bytes: f64, empty: f64| (bytes - empty).max(0.0) / self.paced.messages;
        [
            more(self.paced.redis_read, read),
            more(self.paced.redis_written, written),
        ]
    }

    /// What a connection costs while it idles, of the time that was looked at, µs.
    pub fn round_us(&self, empty: Pair) -> Option<Pair> {
        let share = self.idle?.beyond(empty);
        Some(share.map(|percent| percent / 100.0 * self.idle_seconds * 1e6 / self.connections as f64))
    }
}
