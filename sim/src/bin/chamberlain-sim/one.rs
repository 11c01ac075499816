//! One run: where its decisions come from, its trace, its page.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chamberlain_sim::explain::{self, Heading};
use chamberlain_sim::run::{self, Run, SCENARIOS, Scenario};
use chamberlain_sim::tape::{Place, Tape, TapeFile};

use crate::report;

/// A tape, or a seed.
#[derive(clap::Args)]
pub(crate) struct Which {
    /// A tape, as `run` writes it for a failing seed.
    #[arg(required_unless_present = "seed", conflicts_with_all = ["seed", "scenario"])]
    tape: Option<PathBuf>,
    /// A seed instead.
    #[arg(long)]
    seed: Option<u64>,
    /// The seed's scenario; the first of `sim scenarios` without it.
    #[arg(long, value_name = "NAME", requires = "seed")]
    scenario: Option<String>,
}

/// What to run again.
#[derive(clap::Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    which: Which,
    /// The steps in words instead of the trace: what `explain` draws.
    #[arg(long)]
    steps: bool,
}

/// What to draw.
#[derive(clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    which: Which,
    /// Where the page goes; beside the tape, or into `target/sim`, without it.
    #[arg(short, long, value_name = "PAGE")]
    output: Option<PathBuf>,
}

/// Decisions that were read, and for what.
pub(crate) struct Chosen {
    pub(crate) scenario: &'static Scenario,
    /// The seed, or the recorded decisions.
    source: Source,
    /// What the tape's head says of itself.
    pub(crate) head: std::collections::BTreeMap<String, String>,
    /// `seed 7`, or the tape's file name.
    pub(crate) name: String,
    /// As one types it after the command.
    pub(crate) words: String,
    /// The tape's file.
    pub(crate) path: Option<PathBuf>,
}

enum Source {
    Seed(u64),
    Tape(TapeFile),
}

impl Which {
    /// Reads it.
    pub(crate) fn choose(&self) -> Result<Chosen> {
        if let Some(path) = &self.tape {
            return from_file(path);
        }
        let seed = self.seed.context("a tape or --seed")?;
        let scenario = scenario(self.scenario.as_deref())?;
        Ok(Chosen {
            scenario,
            source: Source::Seed(seed),
            head: std::collections::BTreeMap::new(),
            name: format!("seed {seed}"),
            words: format!("--scenario {} --seed {seed}", scenario.name),
            path: None,
        })
    }
}

/// The scenario of this name, or the first.
pub(crate) fn scenario(name: Option<&str>) -> Result<&'static Scenario> {
    let Some(name) = name else { return SCENARIOS.first().context("there is no scenario") };
    run::scenario(name).with_context(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario {name}; there are {}", names.join(", "))
    })
}

fn from_file(path: &Path) -> Result<Chosen> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("reading the tape {shown}"))?;
    let file: TapeFile = text.parse().with_context(|| format!("reading the tape {shown}"))?;
    if let Some(level) = file.head.get("level").filter(|level| *level != "model") {
        bail!("{shown} is a tape of the {level} level: use `--level {level}`");
    }
    let scenario = file.head.get("scenario").with_context(|| format!("{shown} does not say its scenario"))?;
    Ok(Chosen {
        scenario: self::scenario(Some(scenario))?,
        head: file.head.clone(),
        source: Source::Tape(file),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        words: shown.to_string(),
        path: Some(path.to_owned()),
    })
}

impl Chosen {
    /// The decisions, kept as they are drawn.
    pub(crate) fn tape(&self) -> Tape {
        match &self.source {
            Source::Seed(seed) => Tape::seeded(*seed).keeping(),
            Source::Tape(file) => file.tape().keeping(),
        }
    }

    /// Runs it; also what it drew.
    pub(crate) fn play(&self, detailed: bool) -> (Run, Vec<(Place, u64)>) {
        let mut tape = self.tape();
        let run = run::play(self.scenario, &mut tape, detailed);
        let decisions = tape.decisions().collect();
        (run, decisions)
    }
}

/// The same run again, all of it.
pub(crate) fn replay(args: &ReplayArgs) -> Result<()> {
    let chosen = args.which.choose()?;
    let (run, decisions) = chosen.play(true);
    let objections = run::verdict(&run);
    if args.steps {
        print!("{}", explain::steps(&run.story, &objections));
    } else {
        let mut trace = String::new();
        run::write_trace(&run.story, &mut trace).context("writing the trace")?;
        print!("{trace}");
    }
    println!(
        "\nscenario {}, {}: {} decisions, {} events",
        chosen.scenario.name,
        chosen.name,
        decisions.len(),
        run.events
    );
    println!("configuration:\n{}", report::indented(&run.configuration));
    println!("digest of the trace: {}", report::digest(&run.story)?);
    if objections.is_empty() {
        println!("verdict: every invariant holds");
        return Ok(());
    }
    println!("verdict:\n{}", report::objections(&run, &objections));
    bail!("{}", report::broken(&objections));
}

/// The run as a page.
pub(crate) fn explain(args: &ExplainArgs) -> Result<()> {
    let chosen = args.which.choose()?;
    let (run, decisions) = chosen.play(true);
    let objections = run::verdict(&run);
    let mut facts = vec![format!("{} decisions", decisions.len())];
    facts.extend(chosen.head.get("story").cloned());
    let heading = Heading {
        scenario: chosen.scenario.name.to_owned(),
        source: chosen.name.clone(),
        facts,
        configuration: run.configuration.clone(),
        commands: vec![
            (format!("cargo xtask sim replay {}", chosen.words), "The same run, its whole trace:".to_owned()),
            (format!("cargo xtask sim explain {}", chosen.words), "This page:".to_owned()),
        ],
    };
    let path = match (&args.output, &chosen.path) {
        (Some(output), _) => output.clone(),
        (None, Some(tape)) => tape.with_extension("html"),
        (None, None) => {
            report::folder()?.join(format!("{}-{}.html", chosen.scenario.name, chosen.name.replace(' ', "-")))
        }
    };
    let page = explain::page(&run.story, &heading, &objections);
    std::fs::write(&path, &page).with_context(|| format!("writing {}", path.display()))?;
    println!("{}: {}", report::shown(&path), report::broken(&objections));
    Ok(())
}
