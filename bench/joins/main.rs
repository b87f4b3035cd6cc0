//! What Postgres costs a `room:join`: the same joins, interleaved, on gateways whose Postgres is at full speed, slow (half a
//! second in a trigger of every statement on realtime_events), stopped, and not there at all. Prints percentiles and ratios.
//!
//! `cargo bench --bench joins [-- <joins of each>]`

#[path = "../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use nself_realtime::archive::Archive;
use nself_realtime::config::SecretUrl;
use rand::seq::SliceRandom;
use serde_json::json;

use support::node::Node;
use support::postgres::Postgres;
use support::raw::Raw;
use support::redis::Redis;

const JOINS: usize = 5_000;
/// Left out: connections are made, scripts are loaded.
const WARM_UP: usize = 200;

const SLOW: &str = "
    CREATE FUNCTION dawdle() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
    CREATE TRIGGER dawdle AFTER INSERT ON realtime_events FOR EACH STATEMENT EXECUTE FUNCTION dawdle();";

struct Case {
    name: &'static str,
    node: Node,
    client: Raw,
    took: Vec<Duration>,
    _redis: Redis,
    _postgres: Option<Arc<Postgres>>,
}

async fn case(name: &'static str, statements: Option<&str>) -> Case {
    let redis = Redis::start().await;
    let mut settings = vec![
        ("REALTIME_LOG_EVENT_TYPES".to_owned(), "*".to_owned()),
        ("REALTIME_LIMITS".to_owned(), "off".to_owned()),
    ];
    let mut postgres = None;
    if let Some(statements) = statements {
        let server = Postgres::start().await;
        let database = server.database().await;
        let url = SecretUrl::new(database.url().parse().expect("a URL"));
        let archive = Archive::new(Some(&url)).expect("Postgres understands it");
        archive
            .migrate(Duration::from_secs(60))
            .await
            .expect("the migrations run");
        database
            .connect()
            .await
            .batch_execute(statements)
            .await
            .expect("Postgres takes it");
        settings.push(("REALTIME_DATABASE_URL".to_owned(), database.url()));
        postgres = Some(server);
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    let node = Node::start(&redis.url(), &settings).await;
    let client = Raw::enter(&node, "ann").await;
    Case {
        name,
        node,
        client,
        took: Vec::new(),
        _redis: redis,
        _postgres: postgres,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let joins = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(JOINS);
    let mut cases = vec![
        case("no Postgres", None).await,
        case("at full speed", Some("SELECT 1")).await,
        case("slow", Some(SLOW)).await,
        case("stopped", Some("SELECT 1")).await,
    ];
    let stopped = cases[3]._postgres.clone().expect("it has one");
    stopped.stop().await;
    for number in 0..WARM_UP + joins {
        cases.shuffle(&mut rand::rng());
        for case in &mut cases {
            let room = json!({ "roomName": format!("auto:{number}") });
            let asked = Instant::now();
            case.client.done("room:join", room.clone()).await;
            let took = asked.elapsed();
            case.client.done("room:leave", room).await;
            if number >= WARM_UP {
                case.took.push(took);
            }
        }
    }
    cases.sort_by_key(|case| case.name);
    let percentile =
        |case: &Case, part: f64| case.took[(case.took.len() as f64 * part) as usize].as_secs_f64() * 1_000.0;
    cases.iter_mut().for_each(|case| case.took.sort_unstable());
    let full = cases
        .iter()
        .find(|case| case.name == "at full speed")
        .expect("it is a case");
    println!("{joins} joins of each, interleaved");
    println!(
        "{:<16} {:>9} {:>9} {:>9}   p99 to full speed",
        "Postgres", "p50 ms", "p95 ms", "p99 ms"
    );
    for case in &cases {
        println!(
            "{:<16} {:>9.3} {:>9.3} {:>9.3}   {:.2}",
            case.name,
            percentile(case, 0.5),
            percentile(case, 0.95),
            percentile(case, 0.99),
            percentile(case, 0.99) / percentile(full, 0.99),
        );
        assert!(case.node.is_running());
    }
}
