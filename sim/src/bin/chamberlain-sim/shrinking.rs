//! `shrink`: the fewest and smallest decisions with the same oracle's objection.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chamberlain_sim::explain;
use chamberlain_sim::run;
use chamberlain_sim::shrink::shrink;
use chamberlain_sim::tape::Tape;
use indicatif::{ProgressBar, ProgressStyle};

use crate::one::Which;
use crate::{parse_budget, report};

/// Steps of a story that are few enough to be printed.
const FEW_STEPS: usize = 60;

/// What to shrink.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// Where the smaller tape goes; beside the tape, or into `target/sim`, without it.
    #[arg(short, long, value_name = "TAPE", alias = "out")]
    output: Option<PathBuf>,
    /// End after this long.
    #[arg(long, value_parser = parse_budget, default_value = "60s")]
    budget: Duration,
    /// The oracle whose objection is to stay; the first that objects, without it.
    #[arg(long, value_name = "NAME")]
    oracle: Option<String>,
    /// End with a line of JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// Shrinks, and says how far it came.
pub(crate) fn main(args: &Args) -> Result<()> {
    let chosen = args.which.choose()?;
    let (first, decisions) = chosen.play(false);
    let objections = run::verdict(&first);
    let wanted = match &args.oracle {
        Some(name) => objections.iter().find(|objection| objection.oracle == name),
        None => objections.first(),
    };
    let Some(wanted) = wanted else {
        bail!(
            "{} of {} breaks nothing that could be kept: {}",
            chosen.name,
            chosen.scenario.name,
            report::broken(&objections)
        );
    };
    let oracle = wanted.oracle;
    println!("{} broken: {}", oracle, wanted.invariant);
    println!("from {} decisions: {}", decisions.len(), report::cast(&first.story));

    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} runs, {per_sec}, {msg}, {elapsed}") {
        bar.set_style(style);
    }
    let started = Instant::now();
    let fails = |decisions: &BTreeMap<_, u64>| {
        let mut tape = Tape::recorded(decisions.clone()).keeping();
        let run = run::play(chosen.scenario, &mut tape, false);
        // A quiet choice can make a story longer; such a one is no easier to read.
        let short = run.events <= first.events + first.events / 10;
        let same = short && run::verdict(&run).iter().any(|objection| objection.oracle == oracle);
        same.then(|| tape.decisions().collect())
    };
    let shrunk = shrink(decisions, fails, |progress| {
        bar.set_position(progress.runs);
        bar.set_message(format!("{} decisions left, trying {}", progress.left, progress.trying));
        started.elapsed() < args.budget
    });
    bar.finish_and_clear();

    let mut tape = Tape::recorded(shrunk.decisions.clone()).keeping();
    let run = run::play(chosen.scenario, &mut tape, true);
    let mut objections = run::verdict(&run);
    // What was asked for comes first, whatever else breaks with it.
    objections.sort_by_key(|objection| objection.oracle != oracle);
    let mut file = report::tape(chosen.scenario, None, &run, &shrunk.decisions, &objections);
    file.head.extend(chosen.head.get("seed").map(|seed| ("seed".to_owned(), seed.clone())));
    let path = match (&args.output, &chosen.path) {
        (Some(output), _) => output.clone(),
        (None, Some(tape)) => tape.with_extension("small.tape"),
        (None, None) => {
            report::folder()?.join(format!("{}-{}.small.tape", chosen.scenario.name, chosen.name.replace("seed ", "")))
        }
    };
    std::fs::write(&path, file.to_string()).with_context(|| format!("writing {}", path.display()))?;

    println!("to {} decisions: {}", shrunk.decisions.len(), report::cast(&run.story));
    let runs = report::thousands(shrunk.runs);
    println!(
        "{runs} runs in {:.1} s; {}",
        started.elapsed().as_secs_f64(),
        if shrunk.smallest {
            "nothing more can be taken away"
        } else {
            "the budget ended, a larger --budget may get further"
        }
    );
    println!("{}", report::objections(&run, &objections));
    let steps = explain::steps(&run.story, &objections);
    if steps.lines().count() <= FEW_STEPS {
        println!("\n{steps}");
    }
    let path = report::shown(&path);
    println!("tape:     {path}\npicture:  cargo xtask sim explain {path}");
    if args.json {
        let (events, decisions) = (report::happenings(&run.story), shrunk.decisions.len());
        println!("{{\"events\":{events},\"decisions\":{decisions},\"oracle\":\"{oracle}\"}}");
    }
    Ok(())
}
