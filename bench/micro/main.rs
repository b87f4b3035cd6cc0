//! What the gateway's inner parts cost by themselves, one group a file: `encode`, `decode`, `bus`, `fanout`. Needs no Redis. Not here:
//! whole servers, and their peers (`bench/compare`).
//!
//! `cargo bench --bench micro [-- <group or part of a name>]`, less than two minutes; `--save-baseline` and `--baseline` compare.

mod bus;
mod decode;
mod encode;
mod fanout;
mod said;

use std::time::Duration;

use criterion::Criterion;

/// The gateway's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of each figure: with some forty of them all are done in less than a minute and a half.
const WARM_UP: Duration = Duration::from_millis(300);
const MEASUREMENT: Duration = Duration::from_millis(1_200);
const SAMPLES: usize = 50;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(WARM_UP)
        .measurement_time(MEASUREMENT)
        .sample_size(SAMPLES)
        .without_plots()
        .configure_from_args();
    encode::bench(&mut criterion);
    decode::bench(&mut criterion);
    bus::bench(&mut criterion);
    fanout::bench(&mut criterion);
    criterion.final_summary();
}
