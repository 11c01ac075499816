//! Developer commands: `cargo xtask test`, `tidy`, `sim`, `fuzz`, `soak`, `bench`, `advisories`.
//!
//! `test` is what CI runs and what the README promises. A part of it that could not run is a failure, never a skip.
#![allow(clippy::print_stdout, reason = "a command-line tool speaks on its standard output")]

mod advisories;
mod bench;
mod fuzz;
mod run;
mod servers;
mod sim;
mod soak;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Chamberlain.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything the README promises: tidy, lints, tests, the end-to-end and browser tests, licences, documentation.
    Test(test::Args),
    /// Checks what no reviewer should have to say.
    Tidy,
    /// The simulator: seeds, tapes, pages, mutants.
    Sim(sim::Args),
    /// Fuzzes what strangers and disks may hand over, and schedules of the simulator.
    Fuzz(fuzz::Args),
    /// The longer work: more property cases, longer crash loops.
    Soak(soak::Args),
    /// Runs the benchmarks and writes their report.
    Bench(bench::Args),
    /// Checks the dependencies against the RustSec database. Needs the network.
    Advisories(advisories::Args),
}

fn main() -> ExitCode {
    let outcome = run::workspace().and_then(|workspace| match Cli::parse().command {
        Command::Test(args) => test::main(&workspace, &args),
        Command::Tidy => tidy::main(&workspace),
        Command::Sim(args) => sim::main(&workspace, &args),
        Command::Fuzz(args) => fuzz::main(&workspace, &args),
        Command::Soak(args) => soak::main(&workspace, &args),
        Command::Bench(args) => bench::main(&workspace, &args),
        Command::Advisories(args) => advisories::main(&workspace, &args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nfailed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
