//! `cargo xtask test`: every step that the README promises, in order, with a table of how each went.
//!
//! A step that fails does not keep later ones from running, unless they need what it makes. A step that cannot run has
//! failed: nothing is skipped in silence.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run::{Workspace, run, time};
use crate::tidy;
use crate::tools::{self, Install, Tool};

/// Which steps to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this step alone, and what it needs; may be given again.
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Print the steps and stop.
    #[arg(long)]
    list: bool,
    /// Say what is missing and install nothing.
    #[arg(long)]
    no_install: bool,
}

/// A named part of the test run.
struct Step {
    name: &'static str,
    what: &'static str,
    /// Steps that must have passed; they run too when this one is asked for alone.
    after: &'static [&'static str],
    tools: &'static [Tool],
    act: fn(&Workspace) -> Result<()>,
}

/// Everything, in order: what fails soonest comes first.
const STEPS: &[Step] = &[
    Step { name: "tidy", what: "format and the rules of the tree", after: &[], tools: &[], act: tidy::main },
    Step { name: "deny", what: "licences, sources, duplicates", after: &[], tools: &[Tool::CargoDeny], act: deny },
    Step { name: "clippy", what: "lints, no warnings", after: &[], tools: &[], act: clippy },
    Step {
        name: "unit",
        what: "unit tests, properties, conformance of all stores on real servers, doc tests",
        after: &[],
        tools: &[Tool::Node, Tool::NpmPackages, Tool::Nats, Tool::OldNats, Tool::Valkey],
        act: unit,
    },
    Step { name: "build", what: "the server", after: &[], tools: &[], act: build },
    Step {
        name: "e2e",
        what: "end-to-end and browser tests of the built server; simulated servers beside real ones",
        after: &["build"],
        tools: &[Tool::Node, Tool::Chromium, Tool::NpmPackages, Tool::Nats, Tool::OldNats, Tool::Valkey],
        act: end_to_end,
    },
    Step { name: "docs", what: "documentation, no warnings", after: &[], tools: &[], act: docs },
];

/// Runs the steps asked for.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.list {
        for step in STEPS {
            println!("{:8} {}", step.name, step.what);
        }
        return Ok(());
    }
    let chosen = choose(&args.only)?;
    let mut outcomes = Vec::new();
    let wanted: BTreeSet<Tool> = chosen.iter().flat_map(|step| step.tools).copied().collect();
    let missing = if wanted.is_empty() {
        BTreeSet::new()
    } else {
        provide(workspace, &wanted, Install::unless(args.no_install), &mut outcomes)
    };
    for step in chosen {
        perform(&mut outcomes, step.name, step.what, |earlier| {
            if let Some(tool) = step.tools.iter().find(|tool| missing.contains(tool)) {
                bail!("could not run: {} is missing", tool.name());
            }
            if let Some(before) = step.after.iter().find(|name| !passed(earlier, name)) {
                bail!("could not run: {before} failed");
            }
            (step.act)(workspace)
        });
    }
    summary(&outcomes)
}

/// How a step went.
struct Outcome {
    name: &'static str,
    took: Duration,
    error: Option<String>,
}

fn passed(outcomes: &[Outcome], name: &str) -> bool {
    outcomes.iter().any(|outcome| outcome.name == name && outcome.error.is_none())
}

/// The steps named, and the steps that they come after; all when none is named.
fn choose(only: &[String]) -> Result<Vec<&'static Step>> {
    for name in only {
        if !STEPS.iter().any(|step| step.name == name) {
            let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            bail!("there is no step {name}; there are {}", names.join(", "));
        }
    }
    let asked = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    let needed = |name: &str| STEPS.iter().any(|step| asked(step.name) && step.after.contains(&name));
    Ok(STEPS.iter().filter(|step| asked(step.name) || needed(step.name)).collect())
}

/// The step before all others: finds or installs the tools, and gives those that are still missing.
fn provide(
    workspace: &Workspace,
    wanted: &BTreeSet<Tool>,
    install: Install,
    outcomes: &mut Vec<Outcome>,
) -> BTreeSet<Tool> {
    let mut missing = BTreeSet::new();
    perform(outcomes, "tools", "what the other steps need beyond cargo", |_| {
        for &tool in wanted {
            match tools::provide(workspace, tool, install) {
                Ok(path) => println!("{}: {}", tool.name(), path.display()),
                Err(error) => {
                    println!("{}: {error:#}", tool.name());
                    missing.insert(tool);
                }
            }
        }
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|tool| tool.name()).collect();
            bail!("missing: {}", names.join(", "));
        }
        Ok(())
    });
    missing
}

/// Runs one step under its heading and notes how it went.
fn perform(outcomes: &mut Vec<Outcome>, name: &'static str, what: &str, act: impl FnOnce(&[Outcome]) -> Result<()>) {
    println!("\n== {name}: {what}");
    let started = Instant::now();
    let error = act(outcomes).err().map(|error| format!("{error:#}"));
    let took = started.elapsed();
    match &error {
        None => println!("== {name}: passed in {}", time(took)),
        Some(error) => println!("== {name}: FAILED after {}: {error}", time(took)),
    }
    outcomes.push(Outcome { name, took, error });
}

/// The table at the end, and the line that other programs read.
fn summary(outcomes: &[Outcome]) -> Result<()> {
    println!("\n== summary");
    for outcome in outcomes {
        let verdict = outcome.error.as_deref().map_or_else(|| "passed".to_string(), |why| format!("FAILED: {why}"));
        println!("{:8} {:>8}  {verdict}", outcome.name, time(outcome.took));
    }
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    println!("{:8} {:>8}", "total", time(total));
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| outcome.error.is_some()).map(|outcome| outcome.name).collect();
    println!("\n{} passed, {} failed", outcomes.len() - failed.len(), failed.len());
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    Ok(())
}

fn deny(workspace: &Workspace) -> Result<()> {
    let deny = tools::provide(workspace, Tool::CargoDeny, Install::Nothing)?;
    let mut command = workspace.command(deny);
    run(command.args(["--workspace", "--locked", "check", "bans", "licenses", "sources"]))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

fn unit(workspace: &Workspace) -> Result<()> {
    let args =
        ["test", "--workspace", "--exclude", "chamberlain-tests", "--all-features", "--locked", "--no-fail-fast"];
    run(workspace.cargo(&args).envs(tools::provide_servers(workspace, Install::Nothing)?))
}

fn build(workspace: &Workspace) -> Result<()> {
    run(&mut workspace.cargo(&["build", "--bin", "chamberlain", "--locked"]))?;
    let binary = binary(workspace);
    if !binary.is_file() {
        bail!("the build made no {}", binary.display());
    }
    Ok(())
}

/// The server as `build` makes it.
fn binary(workspace: &Workspace) -> PathBuf {
    workspace.target.join("debug").join(format!("chamberlain{}", std::env::consts::EXE_SUFFIX))
}

fn end_to_end(workspace: &Workspace) -> Result<()> {
    let chromium = tools::provide(workspace, Tool::Chromium, Install::Nothing)?;
    let mut command = workspace.cargo(&["test", "--package", "chamberlain-tests", "--locked", "--no-fail-fast"]);
    command.env("CHAMBERLAIN_BIN", binary(workspace)).env("CHROMIUM", chromium);
    command.envs(tools::provide_servers(workspace, Install::Nothing)?);
    run(&mut command).context("end-to-end tests")
}

fn docs(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo(&["doc", "--workspace", "--all-features", "--no-deps", "--locked"]);
    run(command.env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[&Step]) -> Vec<&'static str> {
        steps.iter().map(|step| step.name).collect()
    }

    #[test]
    fn a_step_asked_for_alone_brings_what_it_comes_after() {
        let chosen = choose(&["e2e".to_string()]).expect("a step");
        assert_eq!(names(&chosen), ["build", "e2e"]);
    }

    #[test]
    fn all_steps_run_when_none_is_named() {
        assert_eq!(choose(&[]).expect("all").len(), STEPS.len());
    }

    #[test]
    fn an_unknown_step_is_an_error_that_lists_the_known() {
        let error = choose(&["lint".to_string()]).err().expect("unknown").to_string();
        assert!(error.contains("clippy"));
    }

    #[test]
    fn one_failed_step_fails_the_run_and_later_ones_still_run() {
        let mut outcomes = Vec::new();
        perform(&mut outcomes, "first", "fails", |_| bail!("no"));
        perform(&mut outcomes, "second", "works", |_| Ok(()));
        assert!(!passed(&outcomes, "first") && passed(&outcomes, "second"));
        assert!(summary(&outcomes).is_err());
    }
}
