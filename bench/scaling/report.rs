//! bench/SCALING.md: what was measured, the calculation of a million, and what runs out first. Not here: the picture (`plot`).

use std::fmt::Write as _;
use std::io;

use super::by_hand::{BEGIN, END};
use super::facts;
use super::markdown::{grouped, line, number};
use super::measure::LARGE;
use super::million::{Assumed, MILLION, Need, Resource};
use super::point::{Pair, Point};
use super::units::Units;
use super::{Options, Points};

/// The whole report, in Markdown.
pub fn report(options: &Options, points: &Points) -> io::Result<String> {
    let units = Units::of(&points.sizes, &points.rooms, &points.nodes);
    let units = units.ok_or_else(|| io::Error::other("a calculation needs sizes, rooms, and one node among nodes"))?;
    let empty = points.nodes.iter().find(|point| point.nodes == 1);
    let empty = empty.and_then(|point| point.empty).unwrap_or_default();
    let mut text = String::from(
        "# The gateway as it grows\n\n\
         Written by `make bench`. All gateways run on one core, the load and Redis on the other, so it is cost that is shown, not\n\
         throughput. All features are on, tokens are checked, limits enforced and so high that nobody meets them. Each row has nodes and\n\
         a Redis of its own, fresh ones. A message's cost is what was spent beyond what the same nodes spend with nobody on them.\n\n",
    );
    let say = "a text takes all";
    for (name, value) in facts::machine()? {
        writeln!(text, "- {name}: {value}").expect(say);
    }
    writeln!(
        text,
        "- asked: {} deliveries a second of all together (more in rooms beyond {}) for {} s, {} s of doing nothing\n\n\
         ![Cost per connection, message and node](SCALING.svg)",
        grouped(options.pace as i64),
        LARGE,
        options.seconds,
        options.idle_seconds
    )
    .expect(say);
    text.push_str("\n## Connections on one node, in rooms of 10\n\n");
    table(
        &mut text,
        "connections",
        &points.sizes,
        |point| point.connections,
        |_| empty,
    );
    text.push_str("\n## Members of a room, on one node\n\n");
    table(&mut text, "members", &points.rooms, |point| point.room, |_| empty);
    text.push_str("\n## Nodes on one Redis, rooms of 10 across all of them\n\n");
    table(
        &mut text,
        "nodes",
        &points.nodes,
        |point| point.nodes,
        |point| point.empty.unwrap_or_default(),
    );
    let need = MILLION.need(&units);
    calculation(&mut text, &MILLION, &need, &units);
    first(&mut text, &units);
    write!(
        text,
        "\n## The next bottleneck\n\n{BEGIN}\nNot written yet: read it off the tables above.\n{END}\n"
    )
    .expect(say);
    Ok(text)
}

/// A row of each point.
fn table(text: &mut String, of: &str, points: &[Point], at: fn(&Point) -> usize, empty: impl Fn(&Point) -> Pair) {
    let heads = [
        "gateway, µs per connect",
        "Redis, µs per connect",
        "gateway, KB per connection",
        "Redis, KB per connection",
        "empty: gateway, % of a core",
        "empty: Redis, %",
        "idle: gateway, % of a core",
        "idle: Redis, %",
        "gateway, µs per message",
        "Redis, µs per message",
        "gateway, µs per delivery",
        "Redis, µs per delivery",
        "p50, ms",
        "p99, ms",
        "lost, doubled, refused or unanswered",
    ];
    // What was not asked in any of these rows has no column.
    let rows: Vec<_> = points.iter().map(|point| cells(point, empty(point))).collect();
    let shown: Vec<_> = (0..heads.len())
        .filter(|&column| rows.iter().any(|row| row[column].is_some()))
        .collect();
    line(
        text,
        of,
        &shown.iter().map(|&column| heads[column].to_owned()).collect::<Vec<_>>(),
    );
    line(text, "---:", &vec!["---:".to_owned(); shown.len()]);
    for (point, row) in points.iter().zip(&rows) {
        let shown = shown.iter().map(|&column| row[column].map_or("–".to_owned(), number));
        line(text, &grouped(at(point) as i64), &shown.collect::<Vec<_>>());
    }
}

fn cells(point: &Point, empty: Pair) -> [Option<f64>; 15] {
    let (message, delivery) = (point.paced.per_message_us(empty), point.paced.per_delivery_us(empty));
    [
        Some(point.connect_us.gateway),
        Some(point.connect_us.redis),
        Some(point.memory_kb.gateway),
        Some(point.memory_kb.redis),
        point.empty.map(|share| share.gateway),
        point.empty.map(|share| share.redis),
        point.idle.map(|share| share.gateway),
        point.idle.map(|share| share.redis),
        Some(message.gateway),
        Some(message.redis),
        Some(delivery.gateway),
        Some(delivery.redis),
        Some(point.paced.p50_ms),
        Some(point.paced.p99_ms),
        Some(point.wrong as f64),
    ]
}

/// Each line of it, so that a reader can follow.
fn calculation(text: &mut String, assumed: &Assumed, need: &Need, units: &Units) {
    let say = "a text takes all";
    let whole = |value: f64| grouped(value.round() as i64);
    write!(
        text,
        "\n## What {} connections need\n\n\
         Assumed: everybody in one room of {}; {} message of each a minute ({} messages and {} deliveries a second); {} connect of each\n\
         an hour ({} a second); a ping every 25 s and a heartbeat every 30 s, the cost of which was measured together and is counted\n\
         every 25 s; nodes of {} cores and {} GB, shards of Redis of one core and {} GB, {} Gbit/s each; nothing loaded beyond {} %; no\n\
         node with more than {} connections; {} replica of each shard. Members come to nodes as chance has it, so a room of {} stands\n\
         on {} nodes.\n\n\
         Costs are those of the run above, in part lines through it: connects, memory and pings at {} connections on one node, messages (and\n\
         what further nodes add to a join) as rooms and nodes grow. Under load calls carry more at once, so that a message is cheaper than\n\
         here; memory is the processes', the kernel's for sockets comes on top. Headers of network packets are counted for each delivery by itself.\n\n",
        whole(assumed.connections),
        whole(assumed.room),
        number(assumed.messages),
        whole(need.messages_s),
        whole(need.messages_s * assumed.room),
        number(assumed.connects),
        whole(need.connects_s),
        whole(assumed.node_cores),
        whole(assumed.node_gb),
        whole(assumed.shard_gb),
        number(assumed.gbit),
        whole(assumed.load * 100.0),
        whole(assumed.node_connections),
        whole(assumed.replicas),
        whole(assumed.room),
        number(need.spread),
        whole(units.connections as f64),
    )
    .expect(say);
    text.push_str("| resource | of what | how many | × cost of each | = need |\n| --- | --- | ---: | ---: | ---: |\n");
    for resource in Resource::ALL {
        let (cost, of_need) = resource.units();
        for term in need.terms.iter().filter(|term| term.resource == resource) {
            let cells = [
                term.what.to_owned(),
                whole(term.count),
                format!("{} {cost}", number(term.cost)),
                format!("{} {of_need}", number(term.need)),
            ];
            line(text, resource.name(), &cells);
        }
        let sum = format!("**{} {of_need}**", number(need.total(resource)));
        line(
            text,
            &format!("**{}**", resource.name()),
            &[String::new(), String::new(), String::new(), sum],
        );
    }
    text.push_str(
        "\n| resource | need | ÷ of one, loaded as assumed | = nodes or shards |\n| --- | ---: | ---: | ---: |\n",
    );
    for bound in assumed.bounds(need) {
        let unit = bound.resource.units().1;
        let cells = [
            format!("{} {unit}", number(bound.need)),
            format!("{} {unit}", number(bound.of_one)),
            whole(bound.ones),
        ];
        line(text, bound.resource.name(), &cells);
    }
    let most = whole(assumed.node_connections);
    line(
        text,
        "Connections of a node",
        &[
            whole(assumed.connections),
            most,
            whole((assumed.connections / assumed.node_connections).ceil()),
        ],
    );
    writeln!(
        text,
        "\n**{} nodes**, and one to spare; **{} shards** of Redis, {} servers with replicas. {} connections on each node: {} were measured.",
        whole(need.nodes),
        whole(need.shards),
        whole(need.redis_servers(assumed)),
        whole(assumed.connections / need.nodes),
        whole(units.connections as f64)
    )
    .expect(say);
}

/// As one thing grows and the rest stays.
fn first(text: &mut String, units: &Units) {
    text.push_str(
        "\n## What runs out first\n\n\
         The same calculation, with one assumption changed. *By* is the resource that asks for most nodes, or shards.\n\n\
         | changed | messages/s | gateway cores | Redis cores | of that, sweeps | gateway GB | Redis GB | Gbit/s out of gateways | nodes | by | shards | by |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- |\n",
    );
    for (changed, assumed) in changes() {
        let need = assumed.need(units);
        let sweeps = need.nodes * units.node.redis / 100.0;
        let by = need.nodes_by.map_or("connections of a node", Resource::name);
        let cells = [
            grouped(need.messages_s.round() as i64),
            number(need.total(Resource::GatewayCores)),
            number(need.total(Resource::RedisCores)),
            number(sweeps),
            number(need.total(Resource::GatewayMemory)),
            number(need.total(Resource::RedisMemory)),
            number(need.total(Resource::GatewayNetwork)),
            grouped(need.nodes as i64),
            by.to_owned(),
            grouped(need.shards as i64),
            need.shards_by.name().to_owned(),
        ];
        line(text, changed, &cells);
    }
}

fn changes() -> Vec<(&'static str, Assumed)> {
    let base = MILLION;
    vec![
        ("nothing", base),
        (
            "100,000 connections",
            Assumed {
                connections: base.connections / 10.0,
                ..base
            },
        ),
        (
            "10,000,000 connections",
            Assumed {
                connections: base.connections * 10.0,
                ..base
            },
        ),
        (
            "a message of each every 6 s",
            Assumed {
                messages: base.messages * 10.0,
                ..base
            },
        ),
        ("rooms of 2", Assumed { room: 2.0, ..base }),
        ("rooms of 100", Assumed { room: 100.0, ..base }),
        ("rooms of 1,000", Assumed { room: 1_000.0, ..base }),
        (
            "10 connects of each an hour",
            Assumed {
                connects: base.connects * 10.0,
                ..base
            },
        ),
        (
            "nodes of 10,000 connections",
            Assumed {
                node_connections: 10_000.0,
                ..base
            },
        ),
    ]
}
