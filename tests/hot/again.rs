//! Calls as the product makes them on a machine that does other things: one that timed out has an unknown outcome, and is
//! repeated. Everything else that fails is a failure, and so is a repeat too often.

use std::sync::atomic::{AtomicU64, Ordering};

use nself_realtime::hot::HotError;

/// Repeats of one call. With the product's patience of 1.5 s each, no machine that still works needs more.
const REPEATS_MAX: u32 = 20;
/// Of so many calls one may be repeated: where it is more, the product is slow and not the machine.
const CALLS_PER_REPEAT: u64 = 500;

static CALLS: AtomicU64 = AtomicU64::new(0);
static REPEATS: AtomicU64 = AtomicU64::new(0);

/// The answer, and whether the call was repeated: then it may be the answer of a repeat, which finds everything done.
pub async fn again<T>(call: impl AsyncFn() -> Result<T, HotError>) -> (T, bool) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    for repeat in 0..=REPEATS_MAX {
        match call().await {
            Ok(answer) => return (answer, repeat > 0),
            Err(HotError::Redis { source, .. }) if source.is_io_error() => {
                REPEATS.fetch_add(1, Ordering::Relaxed);
                // What is said to be silent is not asked again at once.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a call timed out {REPEATS_MAX} times in a row")
}

/// Says how many calls were repeated, and fails where a slow machine does not explain it.
pub fn assert_repeats_are_rare() {
    let (calls, repeats) = (CALLS.load(Ordering::Relaxed), REPEATS.load(Ordering::Relaxed));
    println!("{repeats} of {calls} calls timed out and were repeated");
    let most = REPEATS_MAX as u64 + calls / CALLS_PER_REPEAT;
    assert!(repeats <= most, "{repeats} of {calls} calls were repeated");
}
