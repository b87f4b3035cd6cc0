//! Unit costs, out of points: lines through what was measured, near each point in proportion to its size. Not here: what they come to
//! for many (`million`).

use super::point::{Pair, Point};

/// `at_zero + slope × x`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Line {
    pub at_zero: f64,
    pub slope: f64,
}

impl Line {
    /// The one whose relative distances from all points are least, in squares; neither part is below nothing, for costs are not.
    /// Points where nothing was seen do not count.
    pub fn through(points: &[(f64, f64)]) -> Self {
        let (mut w, mut x, mut y, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(at, value) in points.iter().filter(|(_, value)| *value > 0.0) {
            let weight = 1.0 / (value * value);
            w += weight;
            x += weight * at;
            y += weight * value;
            xx += weight * at * at;
            xy += weight * at * value;
        }
        if w == 0.0 {
            return Self::default();
        }
        let spread = w * xx - x * x;
        let slope = if spread > w * xx * 1e-9 {
            (w * xy - x * y) / spread
        } else {
            0.0 // all at one place
        };
        let at_zero = (y - slope * x) / w;
        match (at_zero < 0.0, slope < 0.0) {
            (_, true) => Self {
                at_zero: y / w,
                slope: 0.0,
            },
            (true, false) => Self {
                at_zero: 0.0,
                slope: xy / xx,
            },
            (false, false) => Self { at_zero, slope },
        }
    }

    pub fn at(&self, x: f64) -> f64 {
        self.at_zero + self.slope * x
    }
}

/// What everything costs, measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Units {
    /// Most connections on a node that these figures were seen at.
    pub connections: usize,
    pub connect_us: Pair,
    /// What each further node that has a part of the room adds to a connect with join, µs.
    pub further_connect_us: Pair,
    /// Of a connection in `round_seconds` of doing nothing: pings, heartbeats.
    pub round_us: Pair,
    pub round_seconds: f64,
    pub memory_kb: Pair,
    /// Of a message to a room on one node: what all cost, and what each member adds, µs.
    pub message_gateway: Line,
    pub message_redis_us: f64,
    /// What each further node that has a part of the room adds, µs.
    pub further_node_us: Pair,
    /// Of each node that nobody is on: sweeps, canaries, beats, % of a core.
    pub node: Pair,
    /// Redis by itself, % of a core.
    pub redis_alone: f64,
    pub message_bytes: f64,
    pub delivery_bytes: f64,
    pub ack_bytes: f64,
    /// Bytes of a message that Redis reads, and by the number of nodes that hear it, writes.
    pub redis_read: f64,
    pub redis_written: Line,
}

impl Units {
    /// Out of a run: points as connections grow, as rooms grow, as nodes grow. `None` when one of them is missing.
    pub fn of(sizes: &[Point], rooms: &[Point], nodes: &[Point]) -> Option<Self> {
        let largest = sizes.iter().max_by_key(|point| point.connections)?;
        let alone = nodes.iter().find(|point| point.nodes == 1)?;
        let empty = alone.empty?;
        let through = |points: &[Point], x: fn(&Point) -> usize, y: &dyn Fn(&Point) -> f64| {
            let points: Vec<_> = points.iter().map(|point| (x(point) as f64, y(point))).collect();
            Line::through(&points)
        };
        let of_empty = |part: fn(Pair) -> f64| {
            let empty = move |point: &Point| part(point.empty.unwrap_or_default());
            through(nodes, |point| point.nodes, &empty)
        };
        let as_nodes = |part: fn(Pair) -> f64| {
            let cost = move |point: &Point| part(point.paced.per_message_us(point.empty.unwrap_or_default()));
            through(nodes, |point| point.nodes, &cost)
        };
        let (gateways_empty, redis_empty) = (of_empty(|pair| pair.gateway), of_empty(|pair| pair.redis));
        let redis_as_nodes = as_nodes(|pair| pair.redis);
        let paced = largest.paced;
        Some(Self {
            connections: largest.connections,
            connect_us: largest.connect_us,
            further_connect_us: Pair {
                gateway: through(nodes, |point| point.nodes, &|point| point.connect_us.gateway).slope,
                redis: through(nodes, |point| point.nodes, &|point| point.connect_us.redis).slope,
            },
            round_us: largest.round_us(empty)?,
            round_seconds: largest.idle_seconds,
            memory_kb: largest.memory_kb,
            message_gateway: through(rooms, |point| point.room, &|point| {
                point.paced.per_message_us(empty).gateway
            }),
            message_redis_us: redis_as_nodes.at(1.0),
            further_node_us: Pair {
                gateway: as_nodes(|pair| pair.gateway).slope,
                redis: redis_as_nodes.slope,
            },
            node: Pair {
                // A line through all, and what it begins with is no gateway's: the whole by the number of nodes.
                gateway: nodes
                    .iter()
                    .map(|point| point.nodes as f64)
                    .reduce(f64::max)
                    .map_or(0.0, |most| gateways_empty.at(most) / most),
                redis: redis_empty.slope,
            },
            redis_alone: redis_empty.at_zero,
            message_bytes: paced.message_bytes,
            delivery_bytes: paced.delivery_bytes,
            ack_bytes: paced.ack_bytes,
            redis_read: alone.traffic_per_message()[0],
            redis_written: through(nodes, |point| point.nodes, &|point| point.traffic_per_message()[1]),
        })
    }
}
