//! The model level's commands: `cargo xtask sim` builds this and hands its words on.
//!
//! Everything that a run needs comes from its seed or its tape; this program adds the clock that budgets are kept by, the
//! threads that seeds are spread over, and files.
#![allow(clippy::print_stdout, reason = "a command-line tool speaks on its standard output")]

mod batch;
mod diverge;
mod one;
mod report;
mod shrinking;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chamberlain_sim::judge::ORACLES;
use chamberlain_sim::run::{PROBES, SCENARIOS};
use clap::{Parser, Subcommand};

/// The simulator of Chamberlain, model level.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs many seeds, judges each, and tells what they reached.
    Run(batch::Args),
    /// Runs a tape or a seed again and prints its whole trace, then the verdict.
    Replay(one::ReplayArgs),
    /// Makes the tape of a failing run as small as it gets.
    Shrink(shrinking::Args),
    /// Draws a run as one HTML page that needs nothing else.
    Explain(one::ExplainArgs),
    /// Runs a seed in two processes with different environments; prints the first line in which their traces differ.
    Diverge(diverge::Args),
    /// Lists the scenarios.
    Scenarios,
    /// Lists the oracles and their invariants.
    Oracles,
    /// Lists the probes: states that a full batch of runs must visit.
    Probes,
    /// What `diverge` runs in processes of their own.
    #[command(hide = true)]
    Digests(diverge::DigestsArgs),
}

fn main() -> ExitCode {
    // A defect that a run finds is an objection like any other, told once and in order.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = match Cli::parse().command {
        Command::Run(args) => batch::main(&args),
        Command::Replay(args) => one::replay(&args),
        Command::Shrink(args) => shrinking::main(&args),
        Command::Explain(args) => one::explain(&args),
        Command::Diverge(args) => diverge::main(&args),
        Command::Digests(args) => diverge::digests(&args),
        Command::Scenarios => {
            SCENARIOS.iter().for_each(|scenario| println!("{:<22} {}", scenario.name, scenario.what));
            Ok(())
        }
        Command::Oracles => {
            ORACLES.iter().for_each(|oracle| println!("{:<6} {}", oracle.name, oracle.invariant));
            Ok(())
        }
        Command::Probes => {
            PROBES.iter().for_each(|(name, what)| println!("{name:<46}  {what}"));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nfailed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `90s`, `10m`, `2h`; a bare number is seconds.
fn parse_budget(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().context("a number and s, m or h, as in 60s")?;
    let seconds = match unit {
        "" | "s" => number,
        "m" => number * 60,
        "h" => number * 3_600,
        _ => bail!("a number and s, m or h, as in 60s"),
    };
    Ok(Duration::from_secs(seconds))
}
