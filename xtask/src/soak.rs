//! `cargo xtask soak`: what takes longer than anybody waits for on every change.
//!
//! Properties run with fresh seeds and ever more cases until their share of the budget is spent. Crash loops read
//! `CHAMBERLAIN_SOAK` (seconds) and go on for that long. All of it is built with optimization and with debug assertions.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{Workspace, run, run_watched, time};
use crate::tools::{self, Install, Tool};

/// Cases per property in the first round; proptest's own default is 256.
const FIRST_CASES: u32 = 1_024;

/// How long to soak.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Time to spend, building apart: `90s`, `10m`, `2h`.
    #[arg(long, default_value = "10m", value_parser = parse_budget)]
    budget: Duration,
    /// Say what is missing and install nothing.
    #[arg(long)]
    no_install: bool,
}

/// Spends the budget: two fifths on properties, the rest on the crash loops of the stores and of the whole server.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    let started = Instant::now();
    let install = Install::unless(args.no_install);
    let chromium = tools::provide(workspace, Tool::Chromium, install)?;
    tools::provide(workspace, Tool::Node, install)?;
    tools::provide(workspace, Tool::NpmPackages, install)?;
    let servers = tools::provide_servers(workspace, install)?;

    println!("soak: building");
    run(optimized(workspace, &["build", "--bin", "chamberlain", "--profile", "release"]).arg("--locked"))?;
    run(optimized(workspace, &["test", "--workspace", "--release", "--no-run"]).arg("--locked"))?;

    let mut failed = Vec::new();
    let mut part = |name: &str, outcome: Result<()>| {
        if let Err(error) = outcome {
            println!("soak: {name} failed: {error:#}");
            failed.push(name.to_string());
        }
    };
    part("properties", properties(workspace, args.budget * 2 / 5));

    let share = args.budget * 3 / 10;
    println!("\n== soak: crash loops of the stores, {}", time(share));
    let args = ["test", "--release", "--locked", "--package", "chamberlain-stores", "--all-features"];
    let mut stores = optimized(workspace, &args);
    stores.envs(servers.clone()).env("CHAMBERLAIN_SOAK", share.as_secs().to_string());
    part("stores", run_watched(&mut stores, "crash loops of the stores", share));

    println!("\n== soak: the whole server, {}", time(share));
    let mut server = optimized(workspace, &["test", "--release", "--locked", "--package", "chamberlain-tests"]);
    server.env("CHAMBERLAIN_SOAK", share.as_secs().to_string());
    server.envs(servers).env("CHROMIUM", chromium);
    let binary = format!("soak/release/chamberlain{}", std::env::consts::EXE_SUFFIX);
    server.env("CHAMBERLAIN_BIN", workspace.target.join(binary));
    part("server", run_watched(&mut server, "the whole server", share));

    println!("\nsoak: {} in all, {} parts failed", time(started.elapsed()), failed.len());
    println!("{} passed, {} failed", 3 - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    Ok(())
}

/// Rounds of all properties, each with as many cases as the last round's speed says will fit.
fn properties(workspace: &Workspace, budget: Duration) -> Result<()> {
    let started = Instant::now();
    let mut cases = FIRST_CASES;
    for round in 1.. {
        println!("\n== soak: properties, round {round}: {cases} cases each, {} left", time(left(started, budget)));
        let began = Instant::now();
        let mut command = optimized(workspace, &["test", "--workspace", "--release", "--locked", "--lib", "--tests"]);
        command.args(["--exclude", "chamberlain-tests"]).env("PROPTEST_CASES", cases.to_string());
        run_watched(&mut command, "properties", left(started, budget))?;
        match next_cases(cases, began.elapsed(), left(started, budget)) {
            Some(next) => cases = next,
            None => break,
        }
    }
    Ok(())
}

fn left(started: Instant, budget: Duration) -> Duration {
    budget.saturating_sub(started.elapsed())
}

/// At most four times as many cases as last time; none when even as many would not fit.
fn next_cases(cases: u32, took: Duration, left: Duration) -> Option<u32> {
    let fits = left.as_secs_f64() / took.as_secs_f64().max(0.001);
    if fits < 1.0 {
        return None;
    }
    Some((f64::from(cases) * fits.min(4.0)) as u32)
}

/// A cargo command whose release profile keeps debug assertions, in a target folder of its own.
fn optimized(workspace: &Workspace, args: &[&str]) -> Command {
    let mut command = workspace.cargo(args);
    command.env("CARGO_TARGET_DIR", workspace.target.join("soak"));
    command.env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true").env("CARGO_PROFILE_RELEASE_LTO", "off");
    command
}

/// A span of time as people write it: `90s`, `10m`, `2h`.
pub(crate) fn parse_budget(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().context("a number and s, m or h, as in 10m")?;
    let seconds = match unit {
        "" | "s" => number,
        "m" => number * 60,
        "h" => number * 3_600,
        _ => bail!("a number and s, m or h, as in 10m"),
    };
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_number_and_a_unit() {
        assert_eq!(parse_budget("90s").expect("valid"), Duration::from_secs(90));
        assert_eq!(parse_budget("10m").expect("valid"), Duration::from_secs(600));
        assert_eq!(parse_budget("2h").expect("valid"), Duration::from_secs(7_200));
        assert!(parse_budget("m").is_err());
        assert!(parse_budget("3 days").is_err());
    }

    #[test]
    fn rounds_grow_until_none_fits() {
        let second = Duration::from_secs(1);
        assert_eq!(next_cases(100, second, second * 100), Some(400));
        assert_eq!(next_cases(100, second * 2, second * 3), Some(150));
        assert_eq!(next_cases(100, second * 2, second), None);
    }
}
