//! Random lives in a cluster of two to four nodes that are killed, restarted, put to sleep and buried, beside a model: the
//! hot state equals it after every step, and nobody's leave is told twice or never. Each node has its own connection and
//! its own memory; time passes where a step says so, by moving ends into the past. With `SOAK_SECONDS` set (`make soak`)
//! for so long; `SOAK_SEED` repeats a run.

use std::time::{Duration, Instant};

use nself_realtime::types::Status;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::again::assert_repeats_are_rare;
use crate::lives_model::{ROOMS, TABS, Tab, USERS};
use crate::lives_world::World;
use crate::support::redis_any::AnyRedis;

/// Nothing ends by itself within a sequence, however slow the machine.
pub const LONG: Duration = Duration::from_secs(3_600);
const SEQUENCES: u32 = 200;
const NODES_MAX: usize = 4;

#[derive(Debug, Clone, Copy)]
pub enum Step {
    Connect(Tab, usize),
    /// The transport is lost.
    Lose(Tab),
    /// An explicit end.
    Disconnect(Tab),
    /// Lost, and back on this node, where the client joins its rooms again.
    Rejoin(Tab, usize),
    Join(Tab, usize),
    Leave(Tab, usize),
    Choose(usize, Status),
    /// A process is killed, and another takes its place, under the same name or a new one.
    Kill(usize, bool),
    Pause(usize),
    Continue(usize),
    /// The own leases of nodes that do not run come to their end, and the others bury them, two at once.
    Bury,
    /// All grace runs out, and two nodes sweep at once.
    EndGraces,
    /// Leases that nobody holds run out.
    EndLeases,
    ForgetScripts,
}

fn steps() -> impl Strategy<Value = (usize, Vec<Step>)> {
    let tab = || (0..USERS.len(), 0..TABS);
    let process = || 0..NODES_MAX;
    let status = prop_oneof![
        Just(Status::Online),
        Just(Status::Busy),
        Just(Status::Away),
        Just(Status::Offline)
    ];
    let step = prop_oneof![
        4 => (tab(), process()).prop_map(|(tab, process)| Step::Connect(tab, process)),
        2 => tab().prop_map(Step::Lose),
        1 => tab().prop_map(Step::Disconnect),
        4 => (tab(), process()).prop_map(|(tab, process)| Step::Rejoin(tab, process)),
        6 => (tab(), 0..ROOMS).prop_map(|(tab, room)| Step::Join(tab, room)),
        1 => (tab(), 0..ROOMS).prop_map(|(tab, room)| Step::Leave(tab, room)),
        2 => (0..USERS.len(), status).prop_map(|(user, status)| Step::Choose(user, status)),
        2 => (process(), any::<bool>()).prop_map(|(process, same)| Step::Kill(process, same)),
        2 => process().prop_map(Step::Pause),
        2 => process().prop_map(Step::Continue),
        2 => Just(Step::Bury),
        2 => Just(Step::EndGraces),
        1 => Just(Step::EndLeases),
        1 => Just(Step::ForgetScripts),
    ];
    (2..=NODES_MAX, proptest::collection::vec(step, 1..30))
}

async fn live(servers: &AnyRedis, processes: usize, steps: &[Step]) {
    let mut world = World::new(servers, processes).await;
    for step in steps {
        world.take(*step).await;
        world.assert_equals().await;
    }
    // Everybody wakes, and goes.
    for process in 0..processes {
        world.take(Step::Continue(process)).await;
    }
    for tab in world.model.sockets.keys().copied().collect::<Vec<_>>() {
        world.take(Step::Disconnect(tab)).await;
    }
    for step in [Step::Bury, Step::EndLeases, Step::EndGraces] {
        world.take(step).await;
        world.assert_equals().await;
    }
    assert!(world.model.connections.is_empty());
    world.assert_told().await;
    world.stage.assert_only_lasting_keys_last().await;
    let _: Vec<String> = world.stage.ask_all("FLUSHALL", "ASYNC").await; // thousands of sequences follow each other
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn nodes_may_die_and_sleep_and_nobody_is_told_wrongly() {
    let seed = number("SOAK_SEED").unwrap_or_else(rand::random);
    println!("SOAK_SEED={seed}"); // shown when the test fails
    let until = number("SOAK_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut bytes, mut sequences) = ([0; 32], 0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let servers = runtime.block_on(AnyRedis::start());
    drop(runtime);
    loop {
        bytes[..8].copy_from_slice(&seed.wrapping_add(sequences).to_le_bytes());
        let config = Config {
            cases: SEQUENCES,
            max_shrink_iters: 500,
            failure_persistence: None,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let outcome = runner.run(&steps(), |(processes, steps)| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(live(&servers, processes, &steps));
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("SOAK_SEED={seed}: {failure}");
        }
        sequences += u64::from(SEQUENCES);
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    println!("{sequences} sequences");
    assert_repeats_are_rare();
}
