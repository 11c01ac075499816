//! `diverge`: the same seeds in two processes whose environment, folder and address space differ; their traces must not.
//!
//! Digests of many seeds are compared first, and traces only of a seed whose digests differ.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use chamberlain_sim::run;
use chamberlain_sim::tape::Tape;

use crate::{one, report};

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The seed.
    #[arg(default_value_t = 0)]
    seed: u64,
    /// How many seeds, from that one on.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// The scenario; the first of `sim scenarios` without it.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
}

/// What a process of its own is to print.
#[derive(clap::Args)]
pub(crate) struct DigestsArgs {
    #[arg(long)]
    scenario: String,
    #[arg(long)]
    from: u64,
    #[arg(long)]
    seeds: u64,
    /// The detailed trace of each seed instead of its digest.
    #[arg(long)]
    trace: bool,
}

/// Compares two processes.
pub(crate) fn main(args: &Args) -> Result<()> {
    let scenario = one::scenario(args.scenario.as_deref())?;
    let digests = both(scenario.name, args.seed, args.seeds, false)?;
    let Some((line, [one, other])) = first_difference(&digests) else {
        println!(
            "{}: {} alike in two processes, traces and all",
            scenario.name,
            report::counted(args.seeds as usize, "seed")
        );
        return Ok(());
    };
    let seed = args.seed + line as u64;
    println!("scenario {}, seed {seed}: digests differ\n  {one}\n  {other}", scenario.name);
    let traces = both(scenario.name, seed, 1, true)?;
    match first_difference(&traces) {
        Some((line, [one, other])) => println!("first in line {} of the trace:\n  {one}\n  {other}", line + 1),
        None => println!("their detailed traces are alike, this time"),
    }
    bail!("seed {seed} of {} runs differently in two processes", scenario.name);
}

/// What this process says of the seeds.
pub(crate) fn digests(args: &DigestsArgs) -> Result<()> {
    let scenario = one::scenario(Some(&args.scenario))?;
    for seed in args.from..args.from.saturating_add(args.seeds) {
        let run = run::play(scenario, &mut Tape::seeded(seed), args.trace);
        if args.trace {
            let mut trace = String::new();
            run::write_trace(&run.story, &mut trace).context("writing the trace")?;
            print!("{trace}");
        } else {
            println!("seed {seed}: {} after {} events", report::digest(&run.story)?, run.events);
        }
    }
    Ok(())
}

/// The output of two processes: one as we are, one with a large environment of other content, elsewhere.
fn both(scenario: &str, from: u64, seeds: u64, trace: bool) -> Result<[String; 2]> {
    let program = std::env::current_exe().context("asking where this program lies")?;
    let command = || {
        let mut command = Command::new(&program);
        command.args(["digests", "--scenario", scenario, "--from", &from.to_string(), "--seeds", &seeds.to_string()]);
        if trace {
            command.arg("--trace");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        command
    };
    let mut other = command();
    other.env_clear().current_dir(std::env::temp_dir()).env("HOME", PathBuf::from("nowhere"));
    for number in 0..500 {
        other.env(format!("CHAMBERLAIN_DUMMY_{number}"), "x".repeat(number));
    }
    let children = [command().spawn(), other.spawn()];
    let mut outputs = Vec::new();
    // Read one after the other: the second may fill its pipe and wait.
    for child in children {
        let output = child.and_then(std::process::Child::wait_with_output).context("starting this program again")?;
        if !output.status.success() {
            bail!("a process of the comparison ended with {}", output.status);
        }
        outputs.push(String::from_utf8(output.stdout).context("a trace is text")?);
    }
    <[String; 2]>::try_from(outputs).map_err(|_| anyhow::anyhow!("two processes give two outputs"))
}

/// The first line in which two texts differ.
fn first_difference([one, other]: &[String; 2]) -> Option<(usize, [&str; 2])> {
    const END: &str = "(no more lines)";
    let mut lines = (one.lines(), other.lines());
    for number in 0.. {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => return Some((number, [one.unwrap_or(END), other.unwrap_or(END)])),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_found_and_so_is_a_missing_one() {
        let texts = |one: &str, other: &str| [one.to_owned(), other.to_owned()];
        assert_eq!(first_difference(&texts("a\nb\n", "a\nb\n")), None);
        assert_eq!(first_difference(&texts("a\nb\n", "a\nc\n")), Some((1, ["b", "c"])));
        assert_eq!(first_difference(&texts("a\n", "a\nc\n")), Some((1, ["(no more lines)", "c"])));
    }
}
