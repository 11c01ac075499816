//! One run, in this process, told on standard output in lines that the parent reads and a person can.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use chamberlain_sim::tape::{Tape, TapeFile};
use house::run::{Watch, run as run_tape};
use house::scenarios::{self, Scenario};

use crate::One;

/// The tape and the scenario that are asked for.
fn run_of(one: &One) -> Result<(Tape, Option<Scenario>), String> {
    let (tape, head) = match (&one.tape, one.seed) {
        (Some(path), _) => {
            let text = fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
            let file: TapeFile = text.parse().map_err(|why| format!("{}: {why}", path.display()))?;
            (file.tape(), file.head)
        }
        (None, seed) => (Tape::seeded(seed.unwrap_or(1)), BTreeMap::new()),
    };
    let name = one.scenario.clone().or_else(|| head.get("scenario").cloned());
    let scenario = name.map(|name| {
        let found = scenarios::ALL.iter().find(|scenario| scenario.name == name);
        found.copied().ok_or_else(|| format!("there is no scenario {name}"))
    });
    Ok((tape, scenario.transpose()?))
}

/// Runs, and tells what came of it; whether nothing is wrong.
pub(crate) fn run(one: &One) -> Result<bool, String> {
    let (tape, scenario) = run_of(one)?;
    let tape = if one.keep.is_some() { tape.keeping() } else { tape };
    let report = run_tape(tape, scenario, Watch { traced: one.trace.is_some(), logged: one.log });
    if let (Some(path), Some(trace)) = (&one.trace, &report.seal.trace) {
        write(path, trace)?;
    }
    let mut out = String::new();
    for line in report.plan.lines() {
        out.push_str(&format!("plan: {line}\n"));
    }
    out.push_str(&format!("digest: {}\nlines: {}\n", report.seal.digest, report.seal.lines));
    out.push_str(&format!("simulated: {:.3}\n", report.simulated));
    for probe in &report.seal.story.probes {
        out.push_str(&format!("probe: {probe}\n"));
    }
    for objection in &report.objections {
        let at = objection.at.and_then(|at| report.seal.story.seen.get(at));
        let at = at.map_or_else(String::new, |(at, _)| format!(" at {}.{:06} s", at / 1_000_000, at % 1_000_000));
        let what = objection.what.replace('\n', " ");
        out.push_str(&format!("objection: {} | {} | {what}{at}\n", objection.oracle, objection.invariant));
    }
    // With the trace on standard output, what else there is to say goes beside it.
    if one.trace.as_deref() == Some(Path::new("-")) {
        let _closed = std::io::stderr().write_all(out.as_bytes());
    } else {
        let _closed = std::io::stdout().write_all(out.as_bytes());
    }
    if let Some(path) = &one.keep {
        let mut head = BTreeMap::from([("level".to_owned(), "system".to_owned())]);
        if let Some(scenario) = scenario {
            head.insert("scenario".to_owned(), scenario.name.to_owned());
        }
        if let Some(objection) = report.objections.first() {
            head.insert("oracle".to_owned(), objection.oracle.to_owned());
            head.insert("story".to_owned(), objection.what.clone());
        }
        let file = TapeFile { head, decisions: report.seal.tape.decisions().collect() };
        write(path, &file.to_string())?;
    }
    Ok(report.objections.is_empty())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    if path == Path::new("-") {
        // Whoever read it may have had enough.
        let _closed = std::io::stdout().write_all(text.as_bytes());
        return Ok(());
    }
    fs::write(path, text).map_err(|why| format!("{}: {why}", path.display()))
}
