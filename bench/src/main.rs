//! The benchmarks of Chamberlain: what PERFORMANCE.md asks for, measured on loopback and written down.
//!
//! `cargo xtask bench` runs it. Machines are measured alone; everything else through the production node and gateway, in a
//! process of its own, against clients in another, so that CPU time and memory are the server's. A figure is a median of
//! rounds. What misses its bar is said and is no failure: the program ends with 0 whatever the figures are.

#![allow(clippy::print_stdout, reason = "the table is the product")]

mod figure;
mod figures;
mod peer;
mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use figures::{GROUPS, Group, Run};
use indicatif::{ProgressBar, ProgressStyle};
use report::{Failed, Report};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::figure::Found;

/// The benchmarks of Chamberlain.
#[derive(Parser)]
struct Options {
    /// Little work and few rounds: shows that everything works, in a few minutes.
    #[arg(long)]
    quick: bool,
    /// Only the groups with this in their names; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Names the groups, and measures nothing.
    #[arg(long)]
    list: bool,
    /// Where the report goes; `bench` in cargo's target folder, without it.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Where stores lie while they are measured, and so which disk is; beside the report, without it.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

fn main() -> Result<()> {
    raise_descriptor_limit()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == peer::ROLE
    {
        return peer::live(rest);
    }
    let options = Options::parse();
    if options.list {
        GROUPS.iter().for_each(|group| println!("{:<12} {}", group.name, group.what));
        return Ok(());
    }
    let wanted = |group: &&Group| options.only.is_empty() || options.only.iter().any(|name| group.name.contains(name));
    let groups: Vec<&Group> = GROUPS.iter().filter(wanted).collect();
    ensure!(!groups.is_empty(), "--only: no group has {:?} in its name; --list names them", options.only);

    let begun = Instant::now();
    let progress = ProgressBar::new(groups.len() as u64);
    progress.set_style(ProgressStyle::with_template("{bar:24} {pos}/{len} {prefix:<12} {wide_msg}")?);
    let folder = options.report.map_or_else(report_folder, Ok)?;
    let run = Run { quick: options.quick, progress, scratch: options.data.unwrap_or_else(|| folder.join("data")) };
    let (mut found, mut failed) = (Found::default(), Vec::new());
    for group in groups {
        run.progress.set_prefix(group.name);
        run.say("preparing");
        let group_begun = Instant::now();
        let measured = (group.measure)(&run);
        if run.progress.is_hidden() {
            eprintln!("{}: {} s", group.name, group_begun.elapsed().as_secs());
        }
        match measured {
            Ok(more) => {
                found.figures.extend(more.figures);
                found.plots.extend(more.plots);
            }
            Err(why) => failed.push(Failed { group: group.name, why: format!("{why:#}") }),
        }
        run.progress.inc(1);
    }
    run.progress.finish_and_clear();

    let report = Report::new(found, failed, options.quick, begun.elapsed().as_secs());
    println!("{}", report.table());
    println!("\n{}", report.write(&folder)?.display());
    Ok(())
}

/// `bench` in the target folder that this program was built in.
fn report_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("a program two folders below the root")?;
    Ok(target.join("bench"))
}

/// Up to the hard limit: a thousand sockets are just above the usual soft one.
fn raise_descriptor_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}
