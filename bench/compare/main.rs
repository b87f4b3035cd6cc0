//! This gateway beside its peers: the same load on each, in one run, interleaved. Servers run on one core, the load and Redis on the
//! other. Prints a table for each case; ends by itself, and ends all that it started.
//!
//! `cargo bench --bench compare -- --contestants gateway,floor --cases hot,rooms,echo --rounds 1 --seconds 3`

#[path = "../load/mod.rs"]
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;

mod cases;
mod ceiling;
mod contestant;
mod facts;
mod figures;
mod floor;
mod markdown;
mod report;
mod stage;
mod table;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use cases::{Case, Terms};
use contestant::Contestant;
use figures::Run;
use stage::{RedisCore, Stage};
use table::Results;

/// Compares this gateway with its peers
#[derive(Parser)]
#[command(about)]
struct Options {
    #[command(subcommand)]
    command: Option<Words>,
    /// Who; the first is compared with each other
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = all::<Contestant>())]
    contestants: Vec<Contestant>,
    /// What is asked
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = all::<Case>())]
    cases: Vec<Case>,
    /// How often, in turn; the best counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Of each load
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Of doing nothing
    #[arg(long, default_value_t = 35)]
    idle_seconds: u64,
    /// Of the cases that are about connections
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Messages that each speaker has under way [default: 1, and 16 where a case says so]
    #[arg(long)]
    window: Option<usize>,
    /// Where Redis runs
    #[arg(long, value_enum, default_value = "1")]
    redis_core: RedisCore,
    /// Keep the report in bench/RESULTS.md
    #[arg(long)]
    write: bool,
    /// Cargo says so to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Words {
    /// Is one of the contestants that are part of this program
    Serve {
        contestant: Contestant,
        #[arg(long, env = "PORT")]
        port: u16,
    },
}

fn all<T: ValueEnum>() -> Vec<T> {
    T::value_variants().to_vec()
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.command {
        Some(Words::Serve { contestant, port }) => serve(contestant, port),
        None => compare(&options),
    };
    match done {
        Ok(code) => code,
        Err(cause) => {
            eprintln!("compare: {cause}");
            ExitCode::FAILURE
        }
    }
}

fn serve(contestant: Contestant, port: u16) -> io::Result<ExitCode> {
    match contestant {
        Contestant::Floor => floor::serve(port)?,
        Contestant::Ceiling => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ceiling::serve(port))?;
        }
        other => return Err(io::Error::other(format!("{} is a program of its own", other.name()))),
    }
    Ok(ExitCode::SUCCESS)
}

fn compare(options: &Options) -> io::Result<ExitCode> {
    // Inherited by all that is started: each of 10,000 connections is a file on either side.
    rlimit::increase_nofile_limit(u64::MAX)?;
    stage::pin(std::process::id(), &stage::LOAD_CORE.to_string())?;
    let terms = Terms {
        seconds: options.seconds,
        idle_seconds: options.idle_seconds,
        connections: options.connections,
        window: options.window,
        redis_core: options.redis_core,
    };
    // Whoever cannot be started ends it now, and not as a gap in the tables.
    for &contestant in &options.contestants {
        Stage::set(contestant, 1, options.redis_core)?;
    }
    let mut results: Vec<Results> = options
        .cases
        .iter()
        .map(|&case| Results::new(case, &options.contestants))
        .collect();
    for round in 1..=options.rounds {
        for results in &mut results {
            for (contestant, best) in &mut results.best {
                eprintln!("round {round}: {} of {}", results.case.name(), contestant.name());
                let run = results.case.run(*contestant, &terms);
                keep_better(best, run);
            }
        }
    }
    let report = report::report(options, &results)?;
    println!("{report}");
    if options.write {
        std::fs::write(report::path(), report)?;
    }
    Ok(if results.iter().all(Results::all_count) {
        ExitCode::SUCCESS
    } else {
        eprintln!("compare: some figures do not count; the tables say which");
        ExitCode::FAILURE
    })
}

fn keep_better(best: &mut Option<Result<Run, String>>, run: io::Result<Run>) {
    let run = run.map_err(|cause| cause.to_string());
    if let Err(cause) = &run {
        eprintln!("{cause}");
    }
    let is_better = match (&run, &best) {
        (_, None) | (Ok(_), Some(Err(_))) => true,
        (Ok(run), Some(Ok(best))) => run.beats(best),
        (Err(_), Some(_)) => false,
    };
    if is_better {
        *best = Some(run);
    }
}
