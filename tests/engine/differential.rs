//! Plays every script to the oracle and to our example, and compares what came back, packet by packet: the same, or a
//! difference that is listed with its reason. Not here: the scripts (`scripts`), how they are played (`player`), and the reasons (`differences`).

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, stream};

use crate::client::within;
use crate::differences::{DIFFERENCES, Outcome};
use crate::player::play;
use crate::scripts::{self, Script, Server};
use crate::{oracle, ours};

/// Scripts that are played at a time.
const AT_A_TIME: usize = 16;

/// How often a script is played before an unexpected outcome is believed: a server that a busy machine holds up may ping
/// before it answers, which looks like a difference, but not three times.
const ATTEMPTS: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_get_the_same_packets_or_a_listed_difference() {
    let outcomes = DIFFERENCES.iter().flat_map(|difference| difference.scripts);
    let count = outcomes.clone().count();
    let listed: HashMap<&str, _> = outcomes.map(|outcome| (outcome.script, outcome)).collect();
    assert_eq!(listed.len(), count, "each script is listed once");
    assert!(
        DIFFERENCES.iter().all(|difference| !difference.why.is_empty()),
        "each has its reason"
    );
    let scripts = scripts::all();
    let names: HashSet<_> = scripts.iter().map(|script| script.name).collect();
    assert_eq!(names.len(), scripts.len(), "names of scripts are unique");
    let unknown: Vec<_> = listed.keys().filter(|name| !names.contains(*name)).collect();
    assert!(unknown.is_empty(), "listed, but there is no such script: {unknown:?}");

    let outcomes: Vec<_> = stream::iter(scripts)
        .map(|script| {
            let known = listed.get(script.name).copied();
            tokio::spawn(async move { check(&script, known).await.err() })
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let faults: Vec<_> = outcomes
        .into_iter()
        .filter_map(|outcome| outcome.expect("a script plays to its end"))
        .collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Plays a script to both servers, and says what is wrong with the outcome.
async fn check(script: &Script, known: Option<&Outcome>) -> Result<(), String> {
    let (ours, oracle) = match script.server {
        Server::Engine => (ours::patient_engine_echo(), oracle::patient_engine_echo()),
        Server::Socket => (ours::patient_socket_echo(), oracle::patient_socket_echo()),
    };
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let both = async { tokio::join!(play(script, ours), play(script, oracle)) };
        let (ours, oracle) = within(script.name, both).await;
        let traces = format!("\n    ours:   {ours}\n    oracle: {oracle}");
        outcome = match known {
            None if ours == oracle => Ok(()),
            None => Err(format!("{}: not listed{traces}", script.name)),
            Some(_) if ours == oracle => Err(format!("{}: listed, but the same{traces}", script.name)),
            Some(known) if known.ours == ours && known.oracle == oracle => Ok(()),
            Some(_) => Err(format!("{}: listed, but another difference{traces}", script.name)),
        };
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}
