//! Many seeds: spread over threads, judged one by one, and what they reached counted.
//!
//! Which seed fails does not depend on how many threads there are: after a failure every seed below it is still run, and the
//! lowest that fails is told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chamberlain_sim::run::{self, PROBES, SCENARIOS, Scenario};
use chamberlain_sim::tape::Tape;
use indicatif::{ProgressBar, ProgressStyle};

use crate::report::{self, thousands};
use crate::{one, parse_budget};

/// Seeds of a batch, and the fewest that must reach every probe.
const SEEDS: u64 = 1_000;
/// So few seeds that what they did not reach says nothing.
const FEW: u64 = 20;
/// Runs nest closures; a thread's own two megabytes are few.
const STACK: usize = 32 << 20;

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The scenario, or `all`; the first of `sim scenarios` without it.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// How many seeds; 1000 without it, or as many as the budget has time for.
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    seeds: Option<u64>,
    /// One seed alone.
    #[arg(long, value_name = "S", conflicts_with = "from")]
    seed: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "K", default_value_t = 0)]
    from: u64,
    /// End after this long: `60s`, `10m`, `2h`.
    #[arg(long, value_parser = parse_budget)]
    budget: Option<Duration>,
    /// Threads; one per core without it.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// End with a line of JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// What programs are told of a batch.
#[derive(serde::Serialize)]
struct Told {
    /// The lowest seed that failed, and what is told of it.
    #[serde(flatten)]
    failure: Option<report::Failure>,
    /// Seeds that were run.
    seeds: u64,
    events: u64,
    cpu_seconds: f64,
    probes: BTreeMap<&'static str, u64>,
}

/// What a batch of one scenario came to.
#[derive(Default)]
struct Tally {
    seeds: u64,
    events: u64,
    probes: BTreeMap<&'static str, u64>,
}

/// Runs the batches, and prints their table.
pub(crate) fn main(args: &Args) -> Result<()> {
    let all = args.scenario.as_deref() == Some("all");
    let scenarios: Vec<&'static Scenario> =
        if all { SCENARIOS.iter().collect() } else { vec![one::scenario(args.scenario.as_deref())?] };
    let mut together = Tally::default();
    let mut failed = Vec::new();
    let mut first = None;
    let mut took = Duration::ZERO;
    for scenario in &scenarios {
        let started = Instant::now();
        let (tally, failure) = batch(args, scenario)?;
        took += started.elapsed();
        if let Some(seed) = failure {
            let failure = tell(scenario, seed)?;
            println!("{}", failure.words);
            failed.push(format!("{} at seed {seed}", scenario.name));
            first.get_or_insert(failure);
        }
        println!("{:<22} {}", scenario.name, figures(&tally, started.elapsed()));
        together.add(&tally);
    }
    if scenarios.len() > 1 {
        println!("{:<22} {}", "together", figures(&together, took));
    }
    let missed = reached(&together);
    if args.json {
        let Tally { seeds, events, probes } = &together;
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let told = Told { failure: first, seeds: *seeds, events: *events, cpu_seconds, probes: probes.clone() };
        println!("{}", serde_json::to_string(&told).context("writing JSON")?);
    }
    if !failed.is_empty() {
        bail!("{}", failed.join(", "));
    }
    let whole = scenarios.iter().any(|scenario| scenario.name == SCENARIOS[0].name) && together.seeds >= SEEDS;
    if whole && !missed.is_empty() {
        bail!("no seed of a full batch reached: {}", missed.join(", "));
    }
    Ok(())
}

/// The seeds of one scenario: what they reached, and the lowest that failed.
fn batch(args: &Args, scenario: &'static Scenario) -> Result<(Tally, Option<u64>)> {
    let (from, count) = match (args.seed, args.seeds, args.budget) {
        (Some(seed), ..) => (seed, 1),
        (None, Some(seeds), _) => (args.from, seeds),
        (None, None, Some(_)) => (args.from, u64::MAX - args.from),
        (None, None, None) => (args.from, SEEDS),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.unwrap_or(cores).clamp(1, 256).min(usize::try_from(count).unwrap_or(usize::MAX));
    let work = Work {
        scenario,
        next: AtomicU64::new(from),
        end: AtomicU64::new(from.saturating_add(count)),
        spent: AtomicBool::new(false),
        tally: Mutex::new(Tally::default()),
        started: Instant::now(),
        budget: args.budget,
        bar: bar(scenario, count),
    };
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..jobs {
            let worker = std::thread::Builder::new().stack_size(STACK);
            worker.spawn_scoped(scope, || work.go()).context("starting a thread")?;
        }
        Ok(())
    })?;
    work.bar.finish_and_clear();
    let end = work.end.into_inner();
    let failure = (end < from.saturating_add(count)).then_some(end);
    let tally = work.tally.into_inner().map_err(|_| anyhow::anyhow!("a thread of the batch died"))?;
    Ok((tally, failure))
}

/// What the threads of a batch share.
struct Work {
    scenario: &'static Scenario,
    next: AtomicU64,
    /// No seed from here on: the end of the batch, or the lowest seed that failed.
    end: AtomicU64,
    /// Whether the budget is.
    spent: AtomicBool,
    tally: Mutex<Tally>,
    started: Instant,
    budget: Option<Duration>,
    bar: ProgressBar,
}

impl Work {
    fn go(&self) {
        loop {
            if self.budget.is_some_and(|budget| self.started.elapsed() >= budget) {
                self.spent.store(true, Ordering::Relaxed);
            }
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if self.spent.load(Ordering::Relaxed) || seed >= self.end.load(Ordering::Relaxed) {
                return;
            }
            let run = run::play(self.scenario, &mut Tape::seeded(seed), false);
            if !run::verdict(&run).is_empty() {
                self.end.fetch_min(seed, Ordering::Relaxed);
            }
            let Ok(mut tally) = self.tally.lock() else { return };
            tally.seeds += 1;
            tally.events += run.events;
            for probe in &run.story.probes {
                *tally.probes.entry(probe).or_default() += 1;
            }
            let events = tally.events as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            drop(tally);
            self.bar.set_message(format!("{} events/s", thousands(events as u64)));
            self.bar.inc(1);
        }
    }
}

fn bar(scenario: &Scenario, count: u64) -> ProgressBar {
    let (bar, template) = if count > u64::MAX / 2 {
        (ProgressBar::new_spinner(), "{prefix} {human_pos} seeds, {per_sec}, {msg}, {elapsed}")
    } else {
        (ProgressBar::new(count), "{prefix} {wide_bar} {human_pos}/{human_len} seeds, {per_sec}, {msg}, {eta} left")
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_prefix(scenario.name)
}

/// Runs the failing seed once more, for its words and its tape.
fn tell(scenario: &'static Scenario, seed: u64) -> Result<report::Failure> {
    let mut tape = Tape::seeded(seed).keeping();
    let run = run::play(scenario, &mut tape, false);
    let objections = run::verdict(&run);
    if objections.is_empty() {
        bail!("seed {seed} of {} failed once and not again: see `cargo xtask sim diverge {seed}`", scenario.name);
    }
    let decisions: Vec<_> = tape.decisions().collect();
    report::failure(scenario, seed, &run, &decisions, &objections)
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.events += other.events;
        for (probe, count) in &other.probes {
            *self.probes.entry(probe).or_default() += count;
        }
    }
}

/// `1,000 seeds in 3.2 s (18,700/min), 5,300,000 events (1,650,000/s)`.
fn figures(tally: &Tally, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    format!(
        "{} in {seconds:.1} s ({}/min), {} events ({}/s)",
        if tally.seeds == 1 { "1 seed".to_owned() } else { format!("{} seeds", thousands(tally.seeds)) },
        thousands((tally.seeds as f64 / seconds * 60.0) as u64),
        thousands(tally.events),
        thousands((tally.events as f64 / seconds) as u64),
    )
}

/// Prints how many runs reached each probe; gives those that none did.
fn reached(tally: &Tally) -> Vec<&'static str> {
    let missed: Vec<&'static str> =
        PROBES.iter().map(|(name, _)| *name).filter(|name| !tally.probes.contains_key(name)).collect();
    if tally.seeds <= FEW {
        let reached: Vec<&str> = tally.probes.keys().copied().collect();
        println!("probes reached: {}", if reached.is_empty() { "none".to_owned() } else { reached.join(", ") });
        return missed;
    }
    println!("\nprobes: {} of {} reached", PROBES.len() - missed.len(), PROBES.len());
    let widest = PROBES.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, what) in PROBES {
        let runs = tally.probes.get(name).map_or_else(|| "never".to_owned(), |runs| thousands(*runs));
        println!("  {runs:>9}  {name:<widest$}  {what}");
    }
    missed
}
