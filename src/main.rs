//! The binary: hands the command line to `cli`, and `cli` what it needs of `app`.

use std::process::ExitCode;

use nself_realtime::{app, cli};

fn main() -> ExitCode {
    cli::run(app::run, app::hot_settings)
}
