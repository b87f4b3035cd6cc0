//! What the benches measure with, held to be right: frames that come in pieces, the ledger of what was lost, the better of two
//! runs, what follows from measured costs. Not here: the loads themselves (bench/), which need servers and time.
#![allow(dead_code, reason = "parts of the benches, of which a test uses some")]

#[path = "../bench/scaling/by_hand.rs"]
mod by_hand;
#[path = "../bench/compare/figures.rs"]
mod figures;
#[path = "../bench/load/frame.rs"]
mod frame;
#[path = "../bench/load/ledger.rs"]
mod ledger;
#[path = "../bench/scaling/million.rs"]
mod million;
#[path = "../bench/scaling/point.rs"]
mod point;
#[path = "../bench/scaling/units.rs"]
mod units;

use figures::{Figure, Run};
use frame::{Head, put_masked, put_plain};
use ledger::{Ledger, Reader, Stamp};
use million::{Assumed, MILLION, Resource};
use point::{Paced, Pair, Point};
use units::{Line, Units};

#[test]
fn a_frame_is_read_once_it_is_whole_however_it_comes() {
    for length in [0, 1, 125, 126, 127, 65_535] {
        let payload = vec![b'x'; length];
        let (mut masked, mut plain) = (Vec::new(), Vec::new());
        put_masked(&payload, &mut masked);
        put_plain(&payload, &mut plain);
        for mut bytes in [masked, plain] {
            let head = Head::read(&bytes).expect("the head is there");
            assert_eq!((head.opcode, head.payload), (1, length));
            assert_eq!(head.length + head.payload, bytes.len());
            for cut in 0..head.length {
                assert_eq!(
                    Head::read(&bytes[..cut]),
                    None,
                    "{cut} bytes of a head of {}",
                    head.length
                );
            }
            head.unmask(&mut bytes[head.length..]);
            assert_eq!(&bytes[head.length..], payload);
        }
    }
}

#[test]
fn a_stamp_is_found_wherever_a_server_puts_it() {
    let stamp = Stamp {
        speaker: 1_999,
        number: 12_345_678,
        said_us: 999_999_999_999,
    };
    let blank = Stamp {
        speaker: 0,
        number: 0,
        said_us: 0,
    };
    let mut reader = Reader::default();
    for fields in ["", "\"seq\":1,", "\"seq\":10,", ""] {
        let mut packet = format!("42[\"message:new\",{{{fields}\"content\":\"{}\"}}]", blank.content()).into_bytes();
        stamp.write(&mut packet);
        assert_eq!(reader.read(&packet), Some(stamp));
    }
    assert_eq!(
        reader.read(b"42[\"message:new\",{\"content\":\"of somebody else\"}]"),
        None
    );
}

/// Two rooms of two with a voice each; both speakers say so many messages, and these numbers are heard by whom they are for.
fn ledger(said: u32, heard: &[(usize, usize, u32)]) -> Ledger {
    let mut ledger = Ledger::new(4, 2, 1);
    for _ in 0..said {
        ledger.say(0);
        ledger.say(2);
    }
    for &(listener, speaker, number) in heard {
        let stamp = Stamp {
            speaker,
            number,
            said_us: 5,
        };
        ledger.hear(listener, stamp, 7);
    }
    ledger
}

#[test]
fn everything_heard_once_and_in_order_is_nothing_lost() {
    let ledger = ledger(
        2,
        &[
            (0, 0, 0),
            (1, 0, 0),
            (0, 0, 1),
            (1, 0, 1),
            (2, 2, 0),
            (2, 2, 1),
            (3, 2, 0),
            (3, 2, 1),
        ],
    );
    assert_eq!((ledger.expected(), ledger.heard), (8, 8));
    assert_eq!((ledger.lost(), ledger.strange), (0, 0));
    assert_eq!(ledger.ways.max(), 2);
}

#[test]
fn what_is_missing_doubled_or_in_the_wrong_place_is_counted() {
    let all = [(0, 0, 0), (1, 0, 0), (2, 2, 0), (3, 2, 0)];
    assert_eq!(ledger(1, &all[..3]).lost(), 1, "the last one is missing");
    assert_eq!(
        ledger(2, &[(0, 0, 1)]).lost(),
        1 + 2 + 2 + 2,
        "one was passed over, and three heard nothing"
    );
    let doubled = ledger(1, &[&all[..], &[(1, 0, 0)]].concat());
    assert_eq!((doubled.lost(), doubled.strange), (0, 1));
    let astray = ledger(1, &[&all[..], &[(1, 2, 0)]].concat());
    assert_eq!((astray.lost(), astray.strange), (0, 1), "another room's");
    let mute = ledger(1, &[&all[..], &[(1, 1, 0)]].concat());
    assert_eq!((mute.lost(), mute.strange), (0, 1), "of somebody who said nothing");
}

#[test]
fn a_run_that_lost_something_is_never_the_best() {
    let run = |figure: Figure, wrong| Run {
        figures: vec![figure],
        wrong,
    };
    assert!(run(Figure::more("deliveries/s", 2.0), 0).beats(&run(Figure::more("deliveries/s", 1.0), 0)));
    assert!(run(Figure::less("p99, ms", 1.0), 0).beats(&run(Figure::less("p99, ms", 2.0), 0)));
    assert!(!run(Figure::more("deliveries/s", 9.0), 1).beats(&run(Figure::more("deliveries/s", 1.0), 0)));
    assert!(run(Figure::more("deliveries/s", 1.0), 0).beats(&run(Figure::more("deliveries/s", 9.0), 1)));
}

#[test]
fn times_better_is_above_one_whether_more_or_less_is() {
    assert_eq!(
        Figure::more("deliveries/s", 8.0).times(&Figure::more("deliveries/s", 2.0)),
        Some(4.0)
    );
    assert_eq!(
        Figure::less("p99, ms", 2.0).times(&Figure::less("p99, ms", 8.0)),
        Some(4.0)
    );
    assert_eq!(
        Figure::more("deliveries/s", 8.0).times(&Figure::more("deliveries/s", 0.0)),
        None
    );
    assert_eq!(
        Figure::aside("load, % of a core", 8.0).times(&Figure::aside("load, % of a core", 2.0)),
        None
    );
}

#[test]
fn a_line_goes_through_its_points_and_costs_nothing_less_than_nothing() {
    let line = Line::through(&[(2.0, 26.0), (10.0, 50.0), (1_000.0, 3_020.0)]);
    assert_about(line.at_zero, 20.0);
    assert_about(line.slope, 3.0);
    assert_about(line.at(100.0), 320.0);
    let falling = Line::through(&[(1.0, 4.0), (2.0, 2.0)]);
    assert_eq!(falling.slope, 0.0);
    assert!((2.0..4.0).contains(&falling.at_zero), "{falling:?}");
    let from_below = Line::through(&[(2.0, 1.0), (4.0, 10.0)]);
    assert_eq!(from_below.at_zero, 0.0);
    assert!(from_below.slope > 0.0);
    let level = Line {
        at_zero: 7.0,
        slope: 0.0,
    };
    assert_eq!(Line::through(&[(3.0, 7.0)]), level, "one point is a level");
    assert_eq!(
        Line::through(&[(1.0, 0.0)]),
        Line::default(),
        "nothing seen is nothing known"
    );
}

/// Where a message costs a gateway 20 µs, each delivery 3, each further node 5; Redis 40, each further node 2; a join 10 and 1.
fn place(nodes: usize, connections: usize, room: usize) -> Point {
    let (seconds, messages) = (10.0, 5_000.0);
    let further = nodes as f64 - 1.0;
    let empty = Pair {
        gateway: 0.5 * nodes as f64,
        redis: 0.2 + 0.4 * nodes as f64,
    };
    let spent = |empty: f64, cost: f64| empty / 100.0 * seconds * 1e6 + messages * cost;
    Point {
        nodes,
        connections,
        room,
        empty: Some(empty),
        empty_traffic: [2_000.0, 1_000.0],
        connect_us: Pair {
            gateway: 150.0 + 10.0 * further,
            redis: 60.0 + further,
        },
        memory_kb: Pair {
            gateway: 5.0,
            redis: 1.5,
        },
        idle: Some(Pair {
            gateway: empty.gateway + 2.0,
            redis: empty.redis + 1.0,
        }),
        idle_seconds: 30.0,
        paced: Paced {
            seconds,
            messages,
            deliveries: messages * room as f64,
            spent_us: Pair {
                gateway: spent(empty.gateway, 20.0 + 3.0 * room as f64 + 5.0 * further),
                redis: spent(empty.redis, 40.0 + 2.0 * further),
            },
            message_bytes: 150.0,
            delivery_bytes: 300.0,
            ack_bytes: 100.0,
            redis_read: messages * 500.0 + seconds * 2_000.0,
            redis_written: messages * (100.0 + 400.0 * nodes as f64) + seconds * 1_000.0,
            ..Paced::default()
        },
        wrong: 0,
    }
}

fn units() -> Units {
    let sizes = [place(1, 100, 10), place(1, 10_000, 10)];
    let rooms = [2, 10, 100, 1_000].map(|room| place(1, 3_000, room));
    let nodes = [1, 2, 3, 4].map(|nodes| place(nodes, 3_000, 10));
    Units::of(&sizes, &rooms, &nodes).expect("all that is needed is there")
}

fn assert_about(value: f64, expected: f64) {
    assert!(
        (value - expected).abs() <= expected.abs() * 1e-6,
        "{value}, not {expected}"
    );
}

#[test]
fn unit_costs_come_out_of_points_as_they_went_in() {
    let units = units();
    assert_about(units.message_gateway.at_zero, 20.0);
    assert_about(units.message_gateway.slope, 3.0);
    assert_about(units.message_redis_us, 40.0);
    assert_about(units.further_node_us.gateway, 5.0);
    assert_about(units.further_node_us.redis, 2.0);
    assert_about(units.further_connect_us.gateway, 10.0);
    assert_about(units.further_connect_us.redis, 1.0);
    assert_about(units.node.gateway, 0.5);
    assert_about(units.node.redis, 0.4);
    assert_about(units.redis_alone, 0.2);
    // 2 % of 30 s, and 1 %, for 10,000.
    assert_about(units.round_us.gateway, 60.0);
    assert_about(units.round_us.redis, 30.0);
    assert_about(units.redis_read, 500.0);
    assert_about(units.redis_written.slope, 400.0);
    assert_eq!(units.connections, 10_000);
    assert_eq!(Units::of(&[], &[], &[]), None);
}

#[test]
fn a_need_is_the_sum_of_counts_times_costs() {
    let (units, need) = (units(), MILLION.need(&units()));
    for term in &need.terms {
        assert_about(term.need, term.count * term.cost * term.resource.scale());
    }
    // By hand: 16,666.7 messages/s, 277.8 connects/s, 40,000 pings/s, on the nodes that there are then.
    let (messages, connects, pings, nodes) = (1e6 / 60.0, 1e6 / 3_600.0, 40_000.0, need.nodes);
    let further = nodes * (1.0 - (1.0 - 1.0 / nodes).powi(10)) - 1.0;
    let gateway_us = messages * (20.0 + 3.0 * 10.0 + 5.0 * further)
        + connects * (150.0 + 10.0 * further)
        + pings * 60.0
        + nodes * 5_000.0;
    assert_about(need.total(Resource::GatewayCores), gateway_us / 1e6);
    let redis_us = messages * (40.0 + 2.0 * further)
        + connects * (60.0 + further)
        + pings * 30.0
        + nodes * 4_000.0
        + need.shards * 2_000.0;
    assert_about(need.total(Resource::RedisCores), redis_us / 1e6);
    assert_about(need.total(Resource::GatewayMemory), 5e6 / (1024.0 * 1024.0));
    assert_about(need.spread, further + 1.0);
    // 1,000,000 of at most 50,000 each; 2.1 cores of Redis, half loaded.
    assert_eq!((nodes, need.nodes_by), (20.0, None));
    assert_eq!((need.shards, need.shards_by), (5.0, Resource::RedisCores));
    assert_eq!(need.redis_servers(&MILLION), 10.0);
    assert_about(units.message_bytes, 150.0);
}

#[test]
fn what_grows_is_what_runs_out_first() {
    let units = units();
    let talkative = Assumed {
        messages: 60.0,
        ..MILLION
    };
    let need = talkative.need(&units);
    assert!(need.nodes > 20.0 && need.shards > 5.0, "{need:?}");
    assert_eq!(need.shards_by, Resource::RedisCores);
    for bound in talkative.bounds(&need) {
        let there = if bound.resource.is_redis() {
            need.shards
        } else {
            need.nodes
        };
        assert!(there * bound.of_one >= bound.need, "{bound:?} of {there}");
    }
    let small = Assumed {
        node_gb: 0.1,
        shard_gb: 0.1,
        ..MILLION
    };
    let need = small.need(&units);
    assert_eq!(need.nodes_by, Some(Resource::GatewayMemory));
    assert_eq!(need.shards_by, Resource::RedisMemory);
    let fewer = Assumed {
        connections: 1_000.0,
        ..MILLION
    };
    let need = fewer.need(&units);
    assert_eq!((need.nodes, need.shards, need.spread), (1.0, 1.0, 1.0));
}

#[test]
fn a_new_report_keeps_what_was_written_by_hand() {
    let new = format!("new\n{}\nblank\n{}\nend\n", by_hand::BEGIN, by_hand::END);
    let old = format!("old\n{}\nwritten,\n\ntwice\n{}\n", by_hand::BEGIN, by_hand::END);
    let kept = by_hand::keep(&new, &old);
    assert!(
        kept.starts_with("new\n") && kept.contains("written,\n\ntwice") && kept.ends_with("end\n"),
        "{kept}"
    );
    assert!(!kept.contains("blank"), "{kept}");
    assert_eq!(by_hand::keep(&new, "an old one without marks"), new);
}
