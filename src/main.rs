//! The binary: hands the command line to `cli`, and `cli` what it needs of `app`.

use std::process::ExitCode;

use nself_realtime::{app, cli};

/// A message is some forty small allocations, most of which one thread makes and another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(app::run, app::hot_settings)
}
