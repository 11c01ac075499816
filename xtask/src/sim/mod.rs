//! `cargo xtask sim`: the simulator's commands.
//!
//! The simulator is two programs, one a level; this builds the one that a command needs, in release, and hands the command
//! on. What a command takes is said by the program itself: `cargo xtask sim run --help`. The programs run where the user
//! stands, so that paths of tapes and pages are his.

pub(crate) mod derive;
mod list;
mod mutants;
mod races;
mod report;
mod scratch;
mod system;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::{Workspace, cargo};
use list::Level;
pub(crate) use list::check as check_lists;
pub(crate) use scratch::remove_others;

/// What to do with the simulator.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Runs many seeds and judges each; `--level model|system|both`, model without it.
    #[command(disable_help_flag = true)]
    Run(Rest),
    /// Runs a tape or a seed again and prints its whole trace.
    #[command(disable_help_flag = true)]
    Replay(Rest),
    /// Makes a failing tape as small as it gets.
    #[command(disable_help_flag = true)]
    Shrink(Rest),
    /// Draws a run as one HTML page.
    #[command(disable_help_flag = true)]
    Explain(Rest),
    /// Runs a seed in two processes with different environments and tells the first difference.
    #[command(disable_help_flag = true)]
    Diverge(Rest),
    /// Lists the scenarios.
    #[command(disable_help_flag = true)]
    Scenarios(Rest),
    /// Lists the oracles.
    #[command(disable_help_flag = true)]
    Oracles(Rest),
    /// Lists the probes: states that a batch of runs must visit.
    #[command(disable_help_flag = true)]
    Probes(Rest),
    /// Brings failures back, one at a time, and sees whether the simulator finds each.
    Mutants(mutants::Args),
    /// Goes through the failures that systems like this have had, and how each is provoked here.
    Races(races::Args),
    /// Makes the copies of madsim and tokio that the system level is built on, below target/.
    Derive,
    /// Runs the tests of the system level; the root workspace's own tests do so, too.
    TestSystem,
}

/// What is handed on.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    rest: Vec<OsString>,
}

/// Runs a command of the simulator.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    let (name, rest) = match &args.command {
        Command::Run(rest) => ("run", rest),
        Command::Replay(rest) => ("replay", rest),
        Command::Shrink(rest) => ("shrink", rest),
        Command::Explain(rest) => ("explain", rest),
        Command::Diverge(rest) => ("diverge", rest),
        Command::Scenarios(rest) => ("scenarios", rest),
        Command::Oracles(rest) => ("oracles", rest),
        Command::Probes(rest) => ("probes", rest),
        Command::Mutants(args) => return mutants::main(workspace, args),
        Command::Races(args) => return races::main(workspace, args),
        Command::Derive => return derive::main(workspace),
        Command::TestSystem => return system::test(workspace),
    };
    let (levels, rest) = levels(&rest.rest)?;
    for level in levels {
        let program = program(workspace, level)?;
        let status = Process::new(&program).arg(name).args(&rest).stdin(Stdio::null()).status();
        let status = status.with_context(|| format!("starting {}", program.display()))?;
        if !status.success() {
            bail!("sim {name} at the {} level ended with {status}", level.name());
        }
    }
    Ok(())
}

/// The program of a level, freshly built.
fn program(workspace: &Workspace, level: Level) -> Result<PathBuf> {
    match level {
        Level::Model => {
            let mut command = Process::new(cargo());
            command.current_dir(&workspace.root).args(["build", "--release", "--locked"]);
            command.args(["--package", "chamberlain-sim", "--bin", "chamberlain-sim"]);
            if !command.stdin(Stdio::null()).status().context("starting cargo")?.success() {
                bail!("the simulator does not build");
            }
            let name = format!("chamberlain-sim{}", std::env::consts::EXE_SUFFIX);
            Ok(workspace.target.join("release").join(name))
        }
        Level::System => system::program(workspace),
    }
}

/// Takes the level out of the arguments: as `--level` says, else as the tape among them says, else the model.
fn levels(arguments: &[OsString]) -> Result<(Vec<Level>, Vec<OsString>)> {
    let mut rest = Vec::new();
    let mut asked = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--level" {
            let value = arguments.next().context("--level takes model, system or both")?;
            asked = Some(value.to_string_lossy().into_owned());
        } else if let Some(value) = text.strip_prefix("--level=") {
            asked = Some(value.to_owned());
        } else {
            rest.push(argument.clone());
        }
    }
    let asked = asked.or_else(|| rest.iter().find_map(level_of_tape));
    let levels = match asked.as_deref() {
        None | Some("model") => vec![Level::Model],
        Some("system") => vec![Level::System],
        Some("both") => vec![Level::Model, Level::System],
        Some(other) => bail!("--level takes model, system or both, not {other}"),
    };
    Ok((levels, rest))
}

/// What the head of a tape says, where the argument is one.
fn level_of_tape(argument: &OsString) -> Option<String> {
    let path = PathBuf::from(argument);
    if path.extension()? != "tape" {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("level: ")).map(|level| level.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(arguments: &[&str]) -> (Vec<Level>, Vec<OsString>) {
        levels(&arguments.iter().map(OsString::from).collect::<Vec<_>>()).expect("arguments")
    }

    #[test]
    fn the_level_is_taken_out_wherever_it_stands() {
        assert_eq!(taken(&["--seeds", "5"]), (vec![Level::Model], vec!["--seeds".into(), "5".into()]));
        assert_eq!(taken(&["--seed", "5", "--level", "system"]).0, [Level::System]);
        assert_eq!(
            taken(&["--level=both", "--seed", "5"]),
            (vec![Level::Model, Level::System], vec!["--seed".into(), "5".into()])
        );
        assert!(levels(&["--level".into(), "toy".into()]).is_err());
    }
}
