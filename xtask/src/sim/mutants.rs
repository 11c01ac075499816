//! `cargo xtask sim mutants`: brings failures back, one at a time, and sees whether the simulator finds each.
//!
//! A mutant is planted in a scratch copy of the tree, the simulator of its level is built and runs seeds until an oracle
//! objects. The tree as it is runs first, over the same seeds: an objection to a mutant counts only where there is none to the
//! tree. A mutant that survives is a hole in the simulator, or no failure; it is named, and the command fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::list::{self, Level, Mutant};
use super::report::{Outcome, Report, Row};
use super::scratch::Scratch;
use crate::run::{Workspace, time};
use crate::soak::parse_budget;

/// Seeds that are tried, by level, unless somebody asks for another number.
const SEEDS: [(Level, u64); 2] = [(Level::Model, 2_000), (Level::System, 200)];

/// Scenarios that are drawn, as the default one is, and not made for a mutant: as many seeds are tried in them.
const DRAWN: &[&str] = &["several-nodes"];

/// Which mutants, and how hard to look.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Names of mutants, or rows of sim/races.toml; all of them when none is given.
    ids: Vec<String>,
    /// How many seeds to try: 2,000 at the model level and 200 at the system level without it, a tenth of that in a scenario
    /// that a mutant names.
    #[arg(long)]
    seeds: Option<u64>,
    /// Only mutants of this level: model or system.
    #[arg(long, value_parser = Level::parse)]
    level: Option<Level>,
    /// The longest that one mutant may run, building apart.
    #[arg(long, default_value = "15m", value_parser = parse_budget)]
    budget: Duration,
    /// How many seeds to run at the same time; as many as there are processors without it.
    #[arg(long)]
    jobs: Option<usize>,
    /// Keep the tape of each finding as target/sim/mutants/ID.tape.
    #[arg(long)]
    keep: bool,
    /// Shrink the tape of each finding of the model level, and tell how small it got. Keeps the small tape.
    #[arg(long)]
    shrink: bool,
    /// Do not run the tree as it is first.
    #[arg(long)]
    no_baseline: bool,
    /// Print the mutants and stop.
    #[arg(long)]
    list: bool,
    /// Write the table here as well: Markdown, or JSON where the name ends so.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// How to look.
struct Hunt<'a> {
    args: &'a Args,
    folder: PathBuf,
}

/// What a run of many seeds came to.
pub(crate) struct Found {
    seed: u64,
    /// Oracle and objection.
    objections: Vec<(String, String)>,
    tape: Option<PathBuf>,
}

impl Found {
    /// The objection of an oracle that the mutant is expected to break, or else the first.
    fn foremost(&self, breaks: &[String]) -> (String, String) {
        let expected = self.objections.iter().find(|(oracle, _)| breaks.contains(oracle));
        expected.or(self.objections.first()).cloned().unwrap_or_else(|| ("?".into(), "?".into()))
    }
}

/// A run of many seeds.
pub(crate) struct Search {
    found: Option<Found>,
    seeds: u64,
    cpu_seconds: f64,
}

/// Plants and looks for the mutants asked for.
pub(crate) fn main(workspace: &Workspace, args: &Args) -> Result<()> {
    let mutants = chosen(list::mutants(&workspace.root)?, args)?;
    if args.list {
        mutants.iter().for_each(|mutant| println!("{}", described(mutant)));
        return Ok(());
    }
    let report = hunt(workspace, args, &mutants)?;
    println!("\n{}", report.markdown());
    if let Some(path) = &args.report {
        let json = path.extension().is_some_and(|ends| ends == "json");
        let text = if json { report.to_json() } else { report.markdown() };
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    report.verdict()
}

/// Looks for all mutants, for a command that wants a fresh report.
pub(crate) fn all(workspace: &Workspace) -> Result<Report> {
    let args = Args {
        ids: Vec::new(),
        seeds: None,
        level: None,
        budget: Duration::from_secs(900),
        jobs: None,
        keep: false,
        shrink: false,
        no_baseline: false,
        list: false,
        report: None,
    };
    hunt(workspace, &args, &list::mutants(&workspace.root)?)
}

/// Where the last report is.
pub(crate) fn report_file(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("report.json")
}

/// The tree of today, as reports name it.
pub(crate) fn tree(workspace: &Workspace) -> Result<String> {
    Ok(Scratch::make(workspace, &folder(workspace))?.tree)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("sim").join("mutants")
}

fn chosen(mutants: Vec<Mutant>, args: &Args) -> Result<Vec<Mutant>> {
    for id in &args.ids {
        if !mutants.iter().any(|mutant| mutant.id == *id || mutant.race == *id) {
            bail!("there is no mutant {id}; cargo xtask sim mutants --list names them");
        }
    }
    let asked = |mutant: &Mutant| {
        (args.ids.is_empty() || args.ids.iter().any(|id| *id == mutant.id || *id == mutant.race))
            && args.level.is_none_or(|level| level == mutant.level)
    };
    Ok(mutants.into_iter().filter(asked).collect())
}

fn described(mutant: &Mutant) -> String {
    let Mutant { id, race, breaks, level, what, impossible, .. } = mutant;
    let why = impossible.as_ref().map(|why| format!("\n    impossible: {why}")).unwrap_or_default();
    format!("{race}  {id}  {} {}\n    {what}{why}", level.name(), breaks.join(" "))
}

fn hunt(workspace: &Workspace, args: &Args, mutants: &[Mutant]) -> Result<Report> {
    let hunt = Hunt { args, folder: folder(workspace) };
    std::fs::create_dir_all(&hunt.folder)?;
    let scratch = Scratch::make(workspace, &hunt.folder)?;
    let mut report = Report::continued(&report_file(workspace), &scratch.tree);
    let to_find: Vec<&Mutant> = mutants.iter().filter(|mutant| !mutant.edits.is_empty()).collect();
    let levels: BTreeSet<Level> = to_find.iter().map(|mutant| mutant.level).collect();
    for level in levels {
        if level == Level::System {
            scratch.borrow_derived(workspace)?;
        }
        let of_level: Vec<&&Mutant> = to_find.iter().filter(|mutant| mutant.level == level).collect();
        if !args.no_baseline {
            let program = scratch.build(level)?;
            let scenarios: BTreeSet<Option<&str>> = of_level.iter().map(|mutant| mutant.scenario.as_deref()).collect();
            scenarios.into_iter().try_for_each(|scenario| hunt.baseline(&program, level, scenario))?;
        }
        for (nth, mutant) in of_level.iter().enumerate() {
            println!("[{}/{}] {} {}", nth + 1, of_level.len(), mutant.race, mutant.id);
            let row = hunt.one(workspace, &scratch, mutant);
            // Whatever came of it, the next one begins with the tree as it is.
            scratch.restore(workspace, mutant)?;
            let row = row?;
            println!("        {}", row.line());
            report.put(row);
            report.write(&report_file(workspace))?;
        }
    }
    for mutant in mutants.iter().filter(|mutant| mutant.edits.is_empty()) {
        report.put(Row::of(mutant, Outcome::Impossible));
    }
    report.write(&report_file(workspace))?;
    report.keep_only(mutants);
    Ok(report)
}

impl Hunt<'_> {
    /// A scenario that a mutant names is made for it: a tenth of the seeds is enough.
    fn seeds(&self, level: Level, scenario: Option<&str>) -> u64 {
        let usual = SEEDS.iter().find(|(of, _)| *of == level).map_or(0, |(_, seeds)| *seeds);
        let is_script = scenario.is_some_and(|name| !DRAWN.contains(&name));
        self.args.seeds.unwrap_or(if is_script { usual / 10 } else { usual })
    }

    /// The tree as it is: nothing may be objected to.
    fn baseline(&self, program: &Path, level: Level, scenario: Option<&str>) -> Result<()> {
        let named = scenario.map(|name| format!(", scenario {name}")).unwrap_or_default();
        println!("the tree as it is, {} level{named}, {} seeds", level.name(), self.seeds(level, scenario));
        match self.search(program, level, scenario)? {
            None => bail!("the tree as it is did not end within {}", time(self.args.budget)),
            Some(Search { found: Some(found), .. }) => bail!(
                "there is an objection to the tree as it is, so none to a mutant would mean anything: seed {}, {}: {}",
                found.seed,
                found.foremost(&[]).0,
                found.foremost(&[]).1
            ),
            Some(search) => {
                println!("        nothing objected to, {:.1} s of CPU", search.cpu_seconds);
                Ok(())
            }
        }
    }

    fn one(&self, workspace: &Workspace, scratch: &Scratch, mutant: &Mutant) -> Result<Row> {
        scratch.plant(workspace, mutant)?;
        let program = match scratch.build(mutant.level) {
            Ok(program) => program,
            Err(error) => return Ok(Row::of(mutant, Outcome::Broken(format!("{error:#}")))),
        };
        let Some(search) = self.search(&program, mutant.level, mutant.scenario.as_deref())? else {
            return Ok(Row::of(mutant, Outcome::Endless(self.args.budget.as_secs_f64())));
        };
        let Some(found) = search.found else {
            return Ok(Row::of(mutant, Outcome::Survived { seeds: search.seeds, cpu_seconds: search.cpu_seconds }));
        };
        let kept = self.folder.join(format!("{}.tape", mutant.id));
        if let Some(tape) = found.tape.as_ref().filter(|_| self.args.keep || self.args.shrink) {
            std::fs::copy(self.folder.join(tape), &kept).with_context(|| format!("keeping {}", tape.display()))?;
        }
        let (oracle, what) = found.foremost(&mutant.breaks);
        let shrunk =
            if self.args.shrink && mutant.level == Level::Model { shrink(&program, &kept, &oracle)? } else { None };
        Ok(Row::of(
            mutant,
            Outcome::Found {
                seed: found.seed,
                seeds: search.seeds,
                cpu_seconds: search.cpu_seconds,
                oracle,
                what,
                shrunk,
            },
        ))
    }

    /// Runs seeds until something is objected to; `None` when it takes too long.
    fn search(&self, program: &Path, level: Level, scenario: Option<&str>) -> Result<Option<Search>> {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).args(["run", "--json", "--seeds", &self.seeds(level, scenario).to_string()]);
        if let Some(scenario) = scenario {
            command.args(["--scenario", scenario]);
        }
        if let Some(jobs) = self.args.jobs {
            command.args(["--jobs", &jobs.to_string()]);
        }
        let Some(said) = within(command, self.args.budget)? else { return Ok(None) };
        searched(&said).map(Some)
    }
}

/// What the last line of a run says.
fn searched(said: &str) -> Result<Search> {
    let last = said.lines().rev().find(|line| line.starts_with('{'));
    let last = last.with_context(|| format!("the simulator did not say what came of it: {}", tail(said)))?;
    let value: Value = serde_json::from_str(last).with_context(|| format!("reading {last}"))?;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let objections = value["objections"].as_array().into_iter().flatten();
    let objections = objections.map(|one| (text(&one["oracle"]), text(&one["what"]))).collect();
    let tape = value["tape"].as_str().map(PathBuf::from);
    let found = value["seed"].as_u64().map(|seed| Found { seed, objections, tape });
    Ok(Search {
        found,
        seeds: value["seeds"].as_u64().unwrap_or(0),
        cpu_seconds: value["cpu_seconds"].as_f64().unwrap_or(0.0),
    })
}

/// Shrinks a tape in place; how many events and decisions are left.
fn shrink(program: &Path, tape: &Path, oracle: &str) -> Result<Option<(u64, u64)>> {
    let mut command = Command::new(program);
    command.args(["shrink", "--json", "--oracle", oracle, "--out"]).arg(tape).arg(tape);
    let Some(said) = within(command, Duration::from_secs(600))? else { return Ok(None) };
    let Some(last) = said.lines().rev().find(|line| line.starts_with('{')) else { return Ok(None) };
    let value: Value = serde_json::from_str(last).with_context(|| format!("reading {last}"))?;
    Ok(value["events"].as_u64().zip(value["decisions"].as_u64()))
}

/// Runs a program and gives what it printed; `None` when it took too long, and was ended.
fn within(mut command: Command, budget: Duration) -> Result<Option<String>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut out = child.stdout.take().context("its output is ours")?;
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        out.read_to_string(&mut said).map(|_| said)
    });
    let began = Instant::now();
    while child.try_wait()?.is_none() {
        if began.elapsed() > budget {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    match reader.join() {
        Ok(said) => Ok(Some(said?)),
        Err(_) => bail!("reading what the simulator said broke off"),
    }
}

fn tail(said: &str) -> String {
    let lines: Vec<&str> = said.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

/// Mutants by row of the races.
pub(crate) fn by_race(mutants: &[Mutant]) -> BTreeMap<&str, Vec<&Mutant>> {
    let mut rows: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        rows.entry(&mutant.race).or_default().push(mutant);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_a_run_is_read() {
        let said = "seed 3\n{\"seed\":3,\"objections\":[{\"oracle\":\"S1\",\"what\":\"a gap\"},{\"oracle\":\"V1\",\"what\":\"late\"}],\
                    \"seeds\":4,\"cpu_seconds\":0.5,\"tape\":\"a.tape\"}\n";
        let search = searched(said).expect("readable");
        let found = search.found.expect("found");
        assert_eq!((found.seed, search.seeds), (3, 4));
        assert_eq!(found.foremost(&["V1".into()]).0, "V1");
        assert_eq!(found.foremost(&["K1".into()]).0, "S1");
        let quiet = searched("{\"seed\":null,\"seeds\":2000,\"cpu_seconds\":9.1}").expect("readable");
        assert!(quiet.found.is_none() && quiet.seeds == 2_000);
        assert!(searched("it broke").is_err());
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let mut endless = Command::new("sleep");
        endless.arg("60");
        assert_eq!(within(endless, Duration::from_millis(100)).expect("it runs"), None);
    }
}
