//! `completions`: what a shell needs to complete this program's command line.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Whose words they are
    shell: Shell,
}

pub(super) fn run(options: &Options) {
    let mut words = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut words);
    // A reader that went away is no error.
    let _reader_gone = std::io::stdout().lock().write_all(&words);
}
