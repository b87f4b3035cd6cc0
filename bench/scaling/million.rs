//! What many connections need, from unit costs: each line is a count times a cost. Not here: where the costs come from (`units`), and
//! how lines are printed (`report`).

use super::units::Units;

/// Engine pings and lease renewals, by default.
const PING_S: f64 = 25.0;
const HEARTBEAT_S: f64 = 30.0;
/// Ethernet, IP, TCP with timestamps, and a frame of WebSocket, of each packet that goes by itself.
const HEADERS_BYTES: f64 = 14.0 + 20.0 + 32.0 + 8.0;
/// Nodes need shards and shards nodes; this many looks settle it.
const LOOKS: usize = 100;

/// What is taken for granted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumed {
    pub connections: f64,
    /// Members of a room; everybody is in one.
    pub room: f64,
    /// Of each connection, a minute.
    pub messages: f64,
    /// Of each connection, an hour: how often it comes anew.
    pub connects: f64,
    /// Of one gateway node, and of one shard of Redis, which works on one core.
    pub node_cores: f64,
    pub node_gb: f64,
    pub shard_gb: f64,
    /// Of either, each way, Gbit/s.
    pub gbit: f64,
    /// No node holds more: so many come back at once when it is lost.
    pub node_connections: f64,
    /// Beside each shard.
    pub replicas: f64,
    /// Cores, memory and network are loaded no more than this.
    pub load: f64,
}

/// The question of the report.
pub const MILLION: Assumed = Assumed {
    connections: 1_000_000.0,
    room: 10.0,
    messages: 1.0,
    connects: 1.0,
    node_cores: 4.0,
    node_gb: 16.0,
    shard_gb: 16.0,
    gbit: 1.0,
    node_connections: 50_000.0,
    replicas: 1.0,
    load: 0.5,
};

/// What is needed of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    GatewayCores,
    GatewayMemory,
    GatewayNetwork,
    RedisCores,
    RedisMemory,
    RedisNetwork,
}

/// `count × cost = need`.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    pub resource: Resource,
    pub what: &'static str,
    pub count: f64,
    /// µs, KB or bytes of each; of what lasts, µs a second.
    pub cost: f64,
    /// Cores, GB, or Gbit/s.
    pub need: f64,
}

/// How many of something one resource asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    pub resource: Resource,
    pub need: f64,
    /// Of one node or shard, loaded as much as it may be.
    pub of_one: f64,
    pub ones: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    pub messages_s: f64,
    pub connects_s: f64,
    /// Nodes that have a part of a room, as chance spreads it.
    pub spread: f64,
    pub terms: Vec<Term>,
    pub nodes: f64,
    pub shards: f64,
    /// What asks for most nodes, `None` when it is what a node may hold; and for most shards.
    pub nodes_by: Option<Resource>,
    pub shards_by: Resource,
}

impl Resource {
    pub const ALL: [Self; 6] = [
        Self::GatewayCores,
        Self::GatewayMemory,
        Self::GatewayNetwork,
        Self::RedisCores,
        Self::RedisMemory,
        Self::RedisNetwork,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::GatewayCores => "Gateway, processor",
            Self::GatewayMemory => "Gateway, memory",
            Self::GatewayNetwork => "Gateway, network out",
            Self::RedisCores => "Redis, processor",
            Self::RedisMemory => "Redis, memory",
            Self::RedisNetwork => "Redis, network out",
        }
    }

    /// Of a count's cost, and of the need.
    pub fn units(self) -> (&'static str, &'static str) {
        match self {
            Self::GatewayCores | Self::RedisCores => ("µs", "cores"),
            Self::GatewayMemory | Self::RedisMemory => ("KB", "GB"),
            Self::GatewayNetwork | Self::RedisNetwork => ("bytes", "Gbit/s"),
        }
    }

    /// Of one cost's unit, in the need's.
    pub fn scale(self) -> f64 {
        match self {
            Self::GatewayCores | Self::RedisCores => 1e-6,
            Self::GatewayMemory | Self::RedisMemory => 1.0 / (1024.0 * 1024.0),
            Self::GatewayNetwork | Self::RedisNetwork => 8e-9,
        }
    }

    pub fn is_redis(self) -> bool {
        matches!(self, Self::RedisCores | Self::RedisMemory | Self::RedisNetwork)
    }
}

impl Assumed {
    /// What of one node or shard may be used, in the unit of the need.
    fn of_one(&self, resource: Resource) -> f64 {
        self.load
            * match resource {
                Resource::GatewayCores => self.node_cores,
                Resource::GatewayMemory => self.node_gb,
                Resource::RedisCores => 1.0,
                Resource::RedisMemory => self.shard_gb,
                Resource::GatewayNetwork | Resource::RedisNetwork => self.gbit,
            }
    }

    /// Of `nodes`, how many have a member of a room when each member is on any of them.
    fn spread(&self, nodes: f64) -> f64 {
        nodes * (1.0 - (1.0 - 1.0 / nodes).powf(self.room))
    }

    /// What they need. More nodes make a message dearer and are swept by, so it is looked again until nothing changes.
    pub fn need(&self, units: &Units) -> Need {
        let mut need = self.with(units, 1.0, 1.0);
        for _ in 0..LOOKS {
            let next = self.with(units, need.nodes, need.shards);
            let is_settled = (next.nodes, next.shards) == (need.nodes, need.shards);
            need = next;
            if is_settled {
                break;
            }
        }
        need
    }

    /// The same where there are so many already.
    fn with(&self, units: &Units, nodes: f64, shards: f64) -> Need {
        let spread = self.spread(nodes);
        let messages_s = self.connections * self.messages / 60.0;
        let connects_s = self.connections * self.connects / 3_600.0;
        let terms = self.terms(units, [nodes, shards], [messages_s, connects_s], spread - 1.0);
        let mut need = Need {
            messages_s,
            connects_s,
            spread,
            terms,
            nodes: (self.connections / self.node_connections).ceil().max(1.0),
            shards: 1.0,
            nodes_by: None,
            shards_by: Resource::RedisCores,
        };
        for bound in self.bounds(&need) {
            if bound.resource.is_redis() && bound.ones > need.shards {
                (need.shards, need.shards_by) = (bound.ones, bound.resource);
            } else if !bound.resource.is_redis() && bound.ones > need.nodes {
                (need.nodes, need.nodes_by) = (bound.ones, Some(bound.resource));
            }
        }
        need
    }

    /// Each line of the calculation; `further` nodes beside the first have a part of a room.
    fn terms(
        &self,
        units: &Units,
        [nodes, shards]: [f64; 2],
        [messages_s, connects_s]: [f64; 2],
        further: f64,
    ) -> Vec<Term> {
        // The time that was looked at saw one ping and one heartbeat of each; the shorter of the two comes around more often.
        let rounds_s = self.connections / PING_S * (units.round_seconds / HEARTBEAT_S).max(1.0).recip();
        let deliveries_s = messages_s * self.room;
        let us_a_second = |percent: f64| percent * 1e4;
        let term = |resource: Resource, what, count: f64, cost: f64| Term {
            resource,
            what,
            count,
            cost,
            need: count * cost * resource.scale(),
        };
        use Resource::{GatewayCores, GatewayMemory, GatewayNetwork, RedisCores, RedisMemory, RedisNetwork};
        let headers = |bytes: f64| bytes + HEADERS_BYTES;
        vec![
            term(GatewayCores, "messages/s", messages_s, units.message_gateway.at_zero),
            term(GatewayCores, "deliveries/s", deliveries_s, units.message_gateway.slope),
            term(
                GatewayCores,
                "further nodes that hear a message, /s",
                messages_s * further,
                units.further_node_us.gateway,
            ),
            term(GatewayCores, "connects/s", connects_s, units.connect_us.gateway),
            term(
                GatewayCores,
                "further nodes that hear a join, /s",
                connects_s * further,
                units.further_connect_us.gateway,
            ),
            term(
                GatewayCores,
                "pings with heartbeat, /s",
                rounds_s,
                units.round_us.gateway,
            ),
            term(
                GatewayCores,
                "nodes by themselves",
                nodes,
                us_a_second(units.node.gateway),
            ),
            term(RedisCores, "messages/s", messages_s, units.message_redis_us),
            term(
                RedisCores,
                "further nodes that hear a message, /s",
                messages_s * further,
                units.further_node_us.redis,
            ),
            term(RedisCores, "connects/s", connects_s, units.connect_us.redis),
            term(
                RedisCores,
                "further nodes that hear a join, /s",
                connects_s * further,
                units.further_connect_us.redis,
            ),
            term(RedisCores, "pings with heartbeat, /s", rounds_s, units.round_us.redis),
            term(
                RedisCores,
                "nodes by themselves: sweeps",
                nodes,
                us_a_second(units.node.redis),
            ),
            term(
                RedisCores,
                "shards by themselves",
                shards,
                us_a_second(units.redis_alone),
            ),
            term(GatewayMemory, "connections", self.connections, units.memory_kb.gateway),
            term(RedisMemory, "connections", self.connections, units.memory_kb.redis),
            term(
                GatewayNetwork,
                "deliveries/s",
                deliveries_s,
                headers(units.delivery_bytes),
            ),
            term(GatewayNetwork, "acks/s", messages_s, headers(units.ack_bytes)),
            term(GatewayNetwork, "messages to Redis, /s", messages_s, units.redis_read),
            term(GatewayNetwork, "pings/s", self.connections / PING_S, headers(1.0)),
            term(
                RedisNetwork,
                "messages to the first node, /s",
                messages_s,
                headers(units.redis_written.at(1.0)),
            ),
            term(
                RedisNetwork,
                "further nodes that hear a message, /s",
                messages_s * further,
                headers(units.redis_written.slope),
            ),
            term(
                RedisNetwork,
                "messages to replicas, /s",
                messages_s * self.replicas,
                headers(units.redis_read),
            ),
        ]
    }

    /// How many nodes or shards each resource asks for.
    pub fn bounds(&self, need: &Need) -> Vec<Bound> {
        let bound = |resource: Resource| {
            let (sum, of_one) = (need.total(resource), self.of_one(resource));
            Bound {
                resource,
                need: sum,
                of_one,
                ones: (sum / of_one).ceil(),
            }
        };
        Resource::ALL.into_iter().map(bound).collect()
    }
}

impl Need {
    /// Of one resource, all together.
    pub fn total(&self, resource: Resource) -> f64 {
        let terms = self.terms.iter().filter(|term| term.resource == resource);
        terms.map(|term| term.need).sum()
    }

    /// Servers of Redis, with their replicas.
    pub fn redis_servers(&self, assumed: &Assumed) -> f64 {
        self.shards * (1.0 + assumed.replicas)
    }
}
