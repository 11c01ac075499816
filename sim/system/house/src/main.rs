//! `chamberlain-sim-system`: the system level of the simulator, as a program. Usually called as `cargo xtask sim --level system`.
//!
//! Every run is a process of its own: what a run leaves behind in memory is not there for the next, and a run that hangs or
//! dies takes no other with it. This program is parent and child.
#![allow(clippy::print_stdout, reason = "a command-line tool speaks on its standard output")]

mod batch;
mod child;
mod diverge;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "chamberlain-sim-system", about = "The system level of Chamberlain's simulator")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs seeds and judges each.
    Run(Run),
    /// Runs a recorded tape, or a seed, again and prints its whole trace.
    Replay(Replay),
    /// Runs a seed in two processes with different environments and tells the first difference.
    Diverge(Diverge),
    /// Lists the scenarios.
    Scenarios,
    /// Lists the probes: states that a batch of runs must visit.
    Probes,
    /// One run, in this process.
    #[command(hide = true)]
    One(One),
}

#[derive(Args)]
struct Run {
    /// Only this seed.
    #[arg(long, conflicts_with_all = ["seeds", "from", "budget"])]
    seed: Option<u64>,
    /// So many seeds.
    #[arg(long)]
    seeds: Option<u64>,
    /// From this one on.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// As many seeds as fit: `60s`, `5m`.
    #[arg(long, value_parser = span)]
    budget: Option<Duration>,
    /// A scenario instead of what the seed makes of it.
    #[arg(long)]
    scenario: Option<String>,
    /// Runs at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// End at the first failure, with a line of JSON, for programs.
    #[arg(long)]
    json: bool,
    /// Writes the trace of the one seed to a file, or to `-`.
    #[arg(long, requires = "seed")]
    trace: Option<PathBuf>,
    /// Has the production code of the one seed log to standard error.
    #[arg(long, requires = "seed")]
    log: bool,
}

#[derive(Args)]
struct Replay {
    /// The tape, as a failing run left it.
    #[arg(required_unless_present = "seed")]
    tape: Option<PathBuf>,
    /// A seed instead of a tape.
    #[arg(long)]
    seed: Option<u64>,
    /// Where to write the trace.
    #[arg(long, default_value = "-")]
    trace: PathBuf,
}

#[derive(Args)]
struct Diverge {
    /// The seed.
    #[arg(required_unless_present = "seed_option")]
    seed: Option<u64>,
    /// The seed.
    #[arg(long = "seed", id = "seed_option", value_name = "SEED")]
    seed_option: Option<u64>,
    /// How many seeds, from that one on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// A scenario instead of what the seed makes of it.
    #[arg(long)]
    scenario: Option<String>,
}

#[derive(Args, Clone, Default)]
struct One {
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long)]
    tape: Option<PathBuf>,
    #[arg(long)]
    scenario: Option<String>,
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Where to write the tape.
    #[arg(long)]
    keep: Option<PathBuf>,
    #[arg(long)]
    log: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(run) => batch::run(&run),
        Command::Replay(replay) => {
            let Replay { tape, seed, trace } = replay;
            child::run(&One { tape, seed, trace: Some(trace), ..One::default() })
        }
        Command::Diverge(diverge) => diverge::run(&diverge),
        Command::Scenarios => {
            for scenario in house::scenarios::ALL {
                println!("{:<24} {}", scenario.name, scenario.what);
            }
            Ok(true)
        }
        Command::Probes => {
            house::probes::ALL.iter().chain(house::probes::AMONG).for_each(|probe| println!("{probe}"));
            Ok(true)
        }
        Command::One(one) => child::run(&one),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("{why}");
            ExitCode::from(2)
        }
    }
}

/// `60s`, `5m`, or seconds alone.
fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.trim_end_matches('s'), 1),
    };
    let number: u64 = number.parse().map_err(|_| "must be like 60s or 5m".to_owned())?;
    Ok(Duration::from_secs(number * unit))
}
