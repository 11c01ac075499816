//! `cargo xtask sim races`: the failures that systems like this have had, row by row, and how each is provoked here.
//!
//! A row is good when each of its mutants was found, each of its scenarios is green, and the test that it names is there. A row
//! that waits for a part of the server that is not there yet says so: nothing is left out in silence.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::list::{self, Level, Mutant, Race};
use super::mutants;
use super::report::{Outcome, Report};
use crate::run::Workspace;

/// Seeds that a scenario runs with, where it draws anything at all.
const SEEDS: u64 = 20;

/// Which rows.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rows, as `S-01`; all of them when none is given.
    ids: Vec<String>,
    /// Go by the last report of `sim mutants`, even if the tree has changed since, and do not look for mutants.
    #[arg(long)]
    last_report: bool,
    /// Print the rows and stop.
    #[arg(long)]
    list: bool,
}

/// Goes through the rows.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    let races = list::races(&workspace.root)?;
    let mutants = list::mutants(&workspace.root)?;
    if let Some(id) = args.ids.iter().find(|id| !races.iter().any(|race| race.id == **id)) {
        bail!("there is no row {id}");
    }
    let chosen: Vec<&Race> = races.iter().filter(|race| args.ids.is_empty() || args.ids.contains(&race.id)).collect();
    if args.list {
        chosen.iter().for_each(|race| println!("{}  {}\n      {}", race.id, race.breaks.join(" "), race.what));
        return Ok(());
    }
    let report = report(workspace, args, &mutants)?;
    let of_race = mutants::by_race(&mutants);
    let mut bad = Vec::new();
    for race in &chosen {
        println!("{}  {}\n      {}", race.id, race.breaks.join(" "), race.what);
        let mut good = true;
        for mutant in of_race.get(race.id.as_str()).into_iter().flatten() {
            let row = report.rows.iter().find(|row| row.id == mutant.id);
            good &= row.is_some_and(|row| row.is_good());
            let said = row.map_or_else(|| "not looked for yet".into(), |row| row.line());
            println!("      mutant {}: {said}", mutant.id);
            if let (Some(Outcome::Impossible), Some(why)) = (row.map(|row| &row.outcome), &mutant.impossible) {
                println!("      {why}");
            }
        }
        for (level, name) in &race.scenarios {
            let said = scenario(workspace, *level, name);
            good &= said.is_ok();
            println!(
                "      scenario {name}: {}",
                said.as_ref().map_or_else(|error| format!("{error:#}"), |()| "green".into())
            );
        }
        if let Some(test) = &race.test {
            let said = test_is_there(workspace, test);
            good &= said.is_ok();
            println!(
                "      test {test}: {}",
                said.as_ref().map_or_else(|error| format!("{error:#}"), |()| "there".into())
            );
        }
        if let Some(part) = &race.later {
            println!("      later: {part}");
        }
        if !good {
            bad.push(race.id.as_str());
        }
    }
    let later = chosen.iter().filter(|race| race.later.is_some()).count();
    println!("\n{} rows, {} not as they should be, {later} wait for a later part", chosen.len(), bad.len());
    if bad.is_empty() { Ok(()) } else { bail!("not as they should be: {}", bad.join(", ")) }
}

/// The report of this tree; made now, if there is none, or not of every mutant.
fn report(workspace: &Workspace, args: &Args, mutants: &[Mutant]) -> Result<Report> {
    let file = mutants::report_file(workspace);
    if args.last_report {
        let text = std::fs::read_to_string(&file).context("there is no report; run cargo xtask sim mutants")?;
        return Report::from_json(&text).context("the last report cannot be read");
    }
    let report = Report::continued(&file, &mutants::tree(workspace)?);
    let whole = mutants.iter().all(|mutant| report.rows.iter().any(|row| row.id == mutant.id));
    if whole { Ok(report) } else { mutants::all(workspace) }
}

/// Plays a scenario; an error when something is objected to.
fn scenario(workspace: &Workspace, level: Level, name: &str) -> Result<()> {
    let program = super::program(workspace, level)?;
    let mut command = Command::new(program);
    command.current_dir(&workspace.target).args(["run", "--scenario", name, "--seeds", &SEEDS.to_string()]);
    let output = command.stdin(Stdio::null()).output().context("starting the simulator")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.trim());
    }
    Ok(())
}

/// A row may name an ordinary test as `FILE: NAME`.
fn test_is_there(workspace: &Workspace, test: &str) -> Result<()> {
    let (file, name) = test.split_once(": ").context("a test is named as FILE: NAME")?;
    let text = std::fs::read_to_string(workspace.root.join(file)).with_context(|| format!("reading {file}"))?;
    if !text.contains(&format!("fn {name}()")) {
        bail!("{file} has no test {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_test_that_a_row_names_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_owned();
        let workspace = Workspace { target: root.join("target"), root, metadata: serde_json::Value::Null };
        for race in list::races(&workspace.root).expect("readable") {
            if let Some(test) = &race.test {
                test_is_there(&workspace, test).unwrap_or_else(|error| panic!("{}: {error:#}", race.id));
            }
        }
    }
}
