//! Who holds the data now: one server, whichever master the Sentinels name, or the masters of a Cluster, each with its
//! slots. Not here: the connections to them (`line`, `wires`).

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use rand::seq::SliceRandom as _;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo as _,
    RedisError, Value,
};
use tokio::time::timeout;

use super::slots::SLOTS;
use crate::config::{RedisServers, RedisUrl};

/// Longest wait for one server's answer about the topology.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
const USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Members of a Cluster that are asked at once; the one that knows most is believed.
const ASKED_AT_ONCE: usize = 5;

/// How the servers are found.
#[derive(Debug, Clone)]
pub struct Topology {
    kind: Kind,
    /// Login, database and TCP settings of every server that holds data; its address is replaced.
    model: ConnectionInfo,
}

#[derive(Debug, Clone)]
enum Kind {
    One,
    Sentinel {
        /// With their own login.
        sentinels: Vec<ConnectionInfo>,
        master: String,
    },
    Cluster {
        seeds: Vec<ConnectionAddr>,
    },
}

/// The masters, and which slots each has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub masters: Vec<ConnectionAddr>,
    /// First and last slot, and the index of the owner; in ascending order.
    ranges: Vec<(u16, u16, usize)>,
    /// Every member that was named, also those without slots: whom to ask next time.
    members: Vec<ConnectionAddr>,
}

impl Layout {
    fn one(master: ConnectionAddr) -> Self {
        Self {
            members: vec![master.clone()],
            masters: vec![master],
            ranges: vec![(0, SLOTS - 1, 0)],
        }
    }

    /// The index of the master that has the slot; `None` for a slot that nobody has.
    pub fn owner(&self, slot: u16) -> Option<usize> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, owner) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(*owner)
    }
}

impl Topology {
    /// Fails when the URL is none.
    pub fn parse(url: &str) -> Result<Self, RedisError> {
        let invalid = || RedisError::from((ErrorKind::InvalidClientConfig, "no URL of Redis"));
        let url = RedisUrl::parse(url).ok_or_else(invalid)?;
        let info = |url: &crate::config::SecretUrl| url.expose().into_connection_info();
        let addresses = |urls: &[crate::config::SecretUrl]| -> Result<Vec<ConnectionAddr>, RedisError> {
            urls.iter().map(|url| Ok(info(url)?.addr().clone())).collect()
        };
        let (kind, model) = match url.servers() {
            RedisServers::One(url) => (Kind::One, info(url)?),
            RedisServers::Sentinel {
                sentinels,
                master,
                model,
            } => {
                let sentinels = sentinels.iter().map(info).collect::<Result<_, _>>()?;
                let master = master.clone();
                (Kind::Sentinel { sentinels, master }, info(model)?)
            }
            RedisServers::Cluster { seeds } => {
                let model = info(seeds.first().ok_or_else(invalid)?)?;
                let seeds = addresses(seeds)?;
                (Kind::Cluster { seeds }, model)
            }
        };
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(USER_TIMEOUT);
        let topology = Self {
            kind,
            model: model.set_tcp_settings(tcp),
        };
        topology.client(topology.model.addr())?;
        Ok(topology)
    }

    /// Whether a command must be sent to the owner of its slot.
    pub fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster { .. })
    }

    /// Whether the masters can never be others.
    pub fn is_fixed(&self) -> bool {
        matches!(self.kind, Kind::One)
    }

    /// How to reach one server that holds data: with TCP_NODELAY, and a bound on unacknowledged data.
    pub fn info(&self, server: &ConnectionAddr) -> ConnectionInfo {
        self.model.clone().set_addr(server.clone())
    }

    /// The same, as a client. Fails when the address is of a kind that this build cannot reach.
    pub fn client(&self, server: &ConnectionAddr) -> Result<Client, RedisError> {
        Client::open(self.info(server))
    }

    /// The masters when there is nothing to be asked.
    pub fn fixed(&self) -> Option<Layout> {
        self.is_fixed().then(|| Layout::one(self.model.addr().clone()))
    }

    /// Asks who the masters are; takes no longer than about a second. `known` names members to ask beside the URL's.
    pub async fn layout(&self, known: Option<&Layout>) -> Result<Layout, RedisError> {
        match &self.kind {
            Kind::One => Ok(Layout::one(self.model.addr().clone())),
            Kind::Sentinel { sentinels, master } => self.master(sentinels, master).await.map(Layout::one),
            Kind::Cluster { seeds } => self.cluster(seeds, known).await,
        }
    }

    /// The server that most Sentinels call the master, and that says so itself.
    async fn master(&self, sentinels: &[ConnectionInfo], name: &str) -> Result<ConnectionAddr, RedisError> {
        let named = join_all(sentinels.iter().map(async |sentinel| {
            let mut query = redis::cmd("SENTINEL");
            query.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
            ask::<Option<(String, u16)>>(sentinel.clone(), &query).await
        }))
        .await;
        let mut votes: HashMap<(String, u16), usize> = HashMap::new();
        let mut failure = RedisError::from((ErrorKind::Io, "no Sentinel knows this master"));
        for answer in named {
            match answer {
                Ok(Some(address)) => *votes.entry(address).or_default() += 1,
                Ok(None) => {}
                Err(error) => failure = refusal(error, "a Sentinel refuses sentinel_username or sentinel_password"),
            }
        }
        let mut candidates: Vec<_> = votes.into_iter().collect();
        candidates.sort_by_key(|(_, votes)| std::cmp::Reverse(*votes));
        for ((host, port), _) in candidates {
            let address = ConnectionAddr::Tcp(host, port);
            match ask::<Vec<Value>>(self.info(&address), &redis::cmd("ROLE")).await {
                Ok(role) if matches!(role.first(), Some(Value::BulkString(role)) if role == b"master") => {
                    return Ok(address);
                }
                Ok(_) => failure = RedisError::from((ErrorKind::Io, "the server that Sentinel names is no master")),
                Err(error) => failure = refusal(error, "the master refuses the user or the password before the host"),
            }
        }
        Err(failure)
    }

    /// The layout by the member that is in the latest epoch, of the first few that answer.
    async fn cluster(&self, seeds: &[ConnectionAddr], known: Option<&Layout>) -> Result<Layout, RedisError> {
        let mut members = seeds.to_vec();
        for member in known.into_iter().flat_map(|layout| &layout.members) {
            if !members.contains(member) {
                members.push(member.clone());
            }
        }
        members.shuffle(&mut rand::rng());
        let mut failure = RedisError::from((ErrorKind::Io, "no member of the Cluster knows its slots"));
        for members in members.chunks(ASKED_AT_ONCE) {
            let answers = join_all(members.iter().map(|member| self.view(member))).await;
            let mut best: Option<((bool, u64), Layout)> = None;
            for answer in answers {
                match answer {
                    Ok((rank, layout)) if best.as_ref().is_none_or(|(known, _)| rank > *known) => {
                        best = Some((rank, layout));
                    }
                    Ok(_) => {}
                    Err(error) => failure = error,
                }
            }
            if let Some((_, layout)) = best {
                return Ok(layout);
            }
        }
        Err(failure)
    }

    /// What one member says; and whether it finds the Cluster well, and its epoch: how much it is worth.
    async fn view(&self, member: &ConnectionAddr) -> Result<((bool, u64), Layout), RedisError> {
        let mut info = redis::cmd("CLUSTER");
        info.arg("INFO");
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let bounded = timeout(ANSWER_TIMEOUT, async {
            let mut connection = dial(self.info(member)).await?;
            let info: String = info.query_async(&mut connection).await?;
            let slots: Vec<Vec<Value>> = slots.query_async(&mut connection).await?;
            Ok::<_, RedisError>((info, slots))
        });
        let (info, slots) = bounded.await.map_err(|_| late())??;
        let layout = read_slots(slots, member).filter(|layout| !layout.masters.is_empty());
        let unknown = || RedisError::from((ErrorKind::Io, "a member of the Cluster knows no slots"));
        let epoch = info
            .lines()
            .find_map(|line| line.strip_prefix("cluster_current_epoch:"));
        let epoch = epoch.and_then(|epoch| epoch.trim().parse().ok()).unwrap_or(0);
        Ok(((info.contains("cluster_state:ok"), epoch), layout.ok_or_else(unknown)?))
    }
}

/// CLUSTER SLOTS: `[first, last, [host, port, …] of the master, the same of each replica…]…`.
fn read_slots(slots: Vec<Vec<Value>>, asked: &ConnectionAddr) -> Option<Layout> {
    let mut layout = Layout {
        masters: Vec::new(),
        ranges: Vec::new(),
        members: Vec::new(),
    };
    for range in slots {
        let mut values = range.into_iter();
        let first = u16::from_redis_value(values.next()?).ok()?;
        let last = u16::from_redis_value(values.next()?).ok()?;
        let mut members = values.filter_map(|member| server(member, asked));
        let master = members.next()?;
        let index = layout.masters.iter().position(|known| *known == master);
        let index = index.unwrap_or_else(|| {
            layout.masters.push(master.clone());
            layout.masters.len() - 1
        });
        layout.ranges.push((first, last, index));
        for member in std::iter::once(master).chain(members) {
            if !layout.members.contains(&member) {
                layout.members.push(member);
            }
        }
    }
    layout.ranges.sort_unstable();
    Some(layout)
}

fn server(member: Value, asked: &ConnectionAddr) -> Option<ConnectionAddr> {
    let Value::Array(parts) = member else { return None };
    let mut parts = parts.into_iter();
    let host: Option<String> = FromRedisValue::from_redis_value(parts.next()?).ok()?;
    let port = u16::from_redis_value(parts.next()?).ok()?;
    Some(resolved(host.as_deref().unwrap_or_default(), port, asked))
}

/// A member's address as another one tells it: without a host it is that of the teller.
fn resolved(host: &str, port: u16, teller: &ConnectionAddr) -> ConnectionAddr {
    match (host, teller) {
        ("" | "?", ConnectionAddr::Tcp(host, _)) => ConnectionAddr::Tcp(host.clone(), port),
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    }
}

/// Where a MOVED or ASK of `teller` points to.
pub fn redirection(error: &RedisError, teller: &ConnectionAddr) -> Option<ConnectionAddr> {
    let (address, _) = error.redirect_node()?;
    let (host, port) = address.rsplit_once(':')?;
    Some(resolved(host, port.parse().ok()?, teller))
}

/// An error about a login says which of the two was refused.
fn refusal(error: RedisError, whose: &'static str) -> RedisError {
    let denied = error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"));
    match denied {
        true => RedisError::from((ErrorKind::AuthenticationFailed, whose, error.to_string())),
        false => error,
    }
}

fn late() -> RedisError {
    RedisError::from((ErrorKind::Io, "no answer in time"))
}

async fn dial(info: ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

async fn ask<T: FromRedisValue>(info: ConnectionInfo, query: &redis::Cmd) -> Result<T, RedisError> {
    let asked = async { query.query_async(&mut dial(info).await?).await };
    timeout(ANSWER_TIMEOUT, asked).await.map_err(|_| late())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> ConnectionAddr {
        ConnectionAddr::Tcp("h".into(), port)
    }

    fn member(host: &str, port: i64) -> Value {
        Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)])
    }

    #[test]
    fn slots_have_their_owners() {
        let slots = vec![
            vec![Value::Int(8_000), Value::Int(16_383), member("h", 2), member("h", 4)],
            vec![Value::Int(0), Value::Int(99), member("", 1)],
            vec![Value::Int(200), Value::Int(7_999), member("h", 1)],
        ];
        let layout = read_slots(slots, &at(9)).unwrap();
        assert_eq!(layout.masters, [at(2), at(1)]);
        assert_eq!(layout.members, [at(2), at(4), at(1)]);
        for (slot, owner) in [
            (0, Some(1)),
            (99, Some(1)),
            (100, None),
            (200, Some(1)),
            (8_000, Some(0)),
            (16_383, Some(0)),
        ] {
            assert_eq!(layout.owner(slot), owner, "slot {slot}");
        }
    }
}
