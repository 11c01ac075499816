//! Whether a seed, or each of several, is the same run in every process: two of them, with environments of different sizes.

use std::fs;

use crate::batch::{Said, start};
use crate::{Diverge, One};

/// Tells the first difference; whether there is none.
pub(crate) fn run(asked: &Diverge) -> Result<bool, String> {
    let first = asked.seed.or(asked.seed_option).unwrap_or(1);
    let folder = std::env::temp_dir().join(format!("chamberlain-diverge-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|why| why.to_string())?;
    let mut compared = Ok(true);
    for seed in first..first.saturating_add(asked.seeds) {
        compared = compare(asked, seed, &folder);
        if !matches!(compared, Ok(true)) {
            break;
        }
    }
    // Whatever came of it, the files are of no more use.
    let _left = fs::remove_dir_all(&folder);
    compared
}

fn compare(asked: &Diverge, seed: u64, folder: &std::path::Path) -> Result<bool, String> {
    let mut traces = Vec::new();
    let mut said: Vec<Said> = Vec::new();
    for (name, padding) in [("one", 1), ("other", 40_000)] {
        let path = folder.join(name);
        let one =
            One { seed: Some(seed), scenario: asked.scenario.clone(), trace: Some(path.clone()), ..One::default() };
        said.push(start(&one, &[("PADDING", "x".repeat(padding)), ("RUST_BACKTRACE", "0".into())])?.wait()?);
        traces.push(fs::read_to_string(&path).map_err(|why| format!("no trace: {why}"))?);
    }
    if traces[0] == traces[1] && said[0].all("digest") == said[1].all("digest") {
        let digest = said[0].all("digest").first().cloned().unwrap_or_default();
        println!("seed {seed}: {} events, the same in both processes, {digest}", traces[0].lines().count());
        return Ok(true);
    }
    let mut lines = traces[0].lines().zip(traces[1].lines()).enumerate();
    match lines.find(|(_, (one, other))| one != other) {
        Some((at, (one, other))) => println!("seed {seed} differs in event {at}:\n  {one}\n  {other}"),
        None => println!("seed {seed}: one process saw more than the other"),
    }
    Ok(false)
}
