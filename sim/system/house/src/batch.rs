//! Many runs: the parent hands seeds to children, two at a time, and gathers what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{One, Run, child};

/// A run that takes longer than this hangs.
const LONGEST: Duration = Duration::from_secs(180);
/// How often the parent says how far it is.
const TELL: Duration = Duration::from_secs(5);
/// From so many seeds on, every probe must have been hit.
const ENOUGH: u64 = 200;
/// Failing seeds after which a batch ends.
const FAILURES: usize = 5;
/// Where tapes of failing runs are left, below where the user stands.
const LEFT: &str = "target/sim";

/// What a child said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) lines: BTreeMap<String, Vec<String>>,
    /// What went to standard error: where it panicked.
    pub(crate) errors: String,
    pub(crate) good: bool,
}

impl Said {
    /// Everything under a key.
    pub(crate) fn all(&self, key: &str) -> &[String] {
        self.lines.get(key).map_or(&[], Vec::as_slice)
    }

    fn simulated(&self) -> f64 {
        self.all("simulated").first().and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }
}

/// A child at work.
pub(crate) struct Running {
    pub(crate) seed: u64,
    child: Child,
    begun: Instant,
    out: Option<std::thread::JoinHandle<String>>,
    errors: Option<std::thread::JoinHandle<String>>,
}

/// Starts a child of this program.
pub(crate) fn start(one: &One, environment: &[(&str, String)]) -> Result<Running, String> {
    let program = std::env::current_exe().map_err(|why| format!("where am I? {why}"))?;
    let seed = one.seed.unwrap_or(1);
    let mut command = Command::new(program);
    command.args(["one", "--seed", &seed.to_string()]);
    let paths = [("--trace", &one.trace), ("--keep", &one.keep)];
    for (name, path) in paths.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
        command.arg(name).arg(path);
    }
    if let Some(scenario) = &one.scenario {
        command.args(["--scenario", scenario]);
    }
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|why| format!("no child: {why}"))?;
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    Ok(Running { seed, child, begun: Instant::now(), out: out.map(reader), errors: errors.map(reader) })
}

/// Reads a pipe to its end, so that a child never waits for us.
fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came until then is what there is.
        let _broken = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// What it said, once it has ended; it is ended when it hangs.
    pub(crate) fn poll(&mut self) -> Result<Option<Said>, String> {
        let ended = self.child.try_wait().map_err(|why| why.to_string())?;
        let hangs = ended.is_none() && self.begun.elapsed() > LONGEST;
        if ended.is_none() && !hangs {
            return Ok(None);
        }
        if hangs {
            // It may end at this very moment by itself.
            let _ended = self.child.kill();
            let _ended = self.child.wait();
        }
        let text = |reader: &mut Option<std::thread::JoinHandle<String>>| {
            reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
        };
        let (out, errors) = (text(&mut self.out), text(&mut self.errors));
        let mut said = Said { good: ended.is_some_and(|status| status.success()), errors, ..Said::default() };
        for (key, value) in out.lines().filter_map(|line| line.split_once(": ")) {
            said.lines.entry(key.to_owned()).or_default().push(value.to_owned());
        }
        if hangs {
            let seconds = LONGEST.as_secs();
            let what = format!("hang | a run ends | it still ran after {seconds} s");
            said.lines.entry("objection".to_owned()).or_default().push(what);
        } else if let (false, Some(status), true) = (said.good, ended, said.all("objection").is_empty()) {
            let what = format!("death | a run ends well | {status}");
            said.lines.entry("objection".to_owned()).or_default().push(what);
        }
        Ok(Some(said))
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Result<Said, String> {
        loop {
            if let Some(said) = self.poll()? {
                return Ok(said);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Runs what is asked for; whether all is well.
pub(crate) fn run(asked: &Run) -> Result<bool, String> {
    if let Some(seed) = asked.seed {
        return single(asked, seed);
    }
    let seeds = asked.seeds.unwrap_or(if asked.budget.is_some() { u64::MAX } else { 50 });
    let begun = Instant::now();
    let mut told = begun;
    let mut next = asked.from;
    let end = asked.from.saturating_add(seeds);
    let mut running: Vec<Running> = Vec::new();
    let (mut done, mut simulated) = (0_u64, 0.0);
    let mut hit: BTreeSet<String> = BTreeSet::new();
    let mut failed = Vec::new();
    let (mut first, mut spent): (Option<(u64, Said)>, f64) = (None, 0.0);
    let most = if asked.json { 1 } else { FAILURES };
    loop {
        let more = next < end && failed.len() < most && asked.budget.is_none_or(|budget| begun.elapsed() < budget);
        if more && running.len() < asked.jobs.max(1) {
            let one = One { seed: Some(next), scenario: asked.scenario.clone(), ..One::default() };
            running.push(start(&one, &[])?);
            next += 1;
            continue;
        }
        if running.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
        let mut left = Vec::new();
        for mut child in running {
            match child.poll()? {
                None => left.push(child),
                Some(said) => {
                    done += 1;
                    simulated += said.simulated();
                    // A child is one thread that never waits for anything but its turn.
                    spent += child.begun.elapsed().as_secs_f64();
                    hit.extend(said.all("probe").iter().cloned());
                    if !said.good {
                        tell(asked, child.seed, &said);
                        failed.push(child.seed);
                        if first.as_ref().is_none_or(|(lowest, _)| child.seed < *lowest) {
                            first = Some((child.seed, said));
                        }
                    }
                }
            }
        }
        running = left;
        if told.elapsed() > TELL {
            told = Instant::now();
            eprintln!("{}", summary(done, failed.len(), simulated, begun));
        }
    }
    println!("{}", summary(done, failed.len(), simulated, begun));
    if asked.json {
        println!("{}", in_json(first.as_ref(), done, spent));
    }
    let wanted = house::probes::of(asked.scenario.as_deref());
    let missed: Vec<&str> = wanted.iter().copied().filter(|probe| !hit.contains(*probe)).collect();
    if !missed.is_empty() {
        println!("no seed hit: {}", missed.join(", "));
    }
    Ok(failed.is_empty() && (done < ENOUGH || missed.is_empty()))
}

fn summary(done: u64, failed: usize, simulated: f64, begun: Instant) -> String {
    let wall = begun.elapsed().as_secs_f64();
    format!(
        "{done} seeds, {failed} failed; {simulated:.0} simulated seconds in {wall:.0} s, {:.0} seeds a minute",
        done as f64 * 60.0 / wall.max(0.001)
    )
}

/// What programs are told: the lowest seed that failed, what was objected to it, and what it took.
fn in_json(first: Option<&(u64, Said)>, seeds: u64, seconds: f64) -> Value {
    let mut told = json!({ "seeds": seeds, "cpu_seconds": seconds });
    if let Some((seed, said)) = first {
        let objected = |objection: &String| {
            let mut parts = objection.splitn(3, " | ");
            let (oracle, what) = (parts.next(), parts.nth(1));
            json!({ "oracle": oracle, "what": what })
        };
        let objections: Vec<Value> = said.all("objection").iter().map(objected).collect();
        (told["seed"], told["objections"]) = (json!(seed), json!(objections));
        told["tape"] = json!(tape_of(*seed).display().to_string());
    }
    told
}

fn tape_of(seed: u64) -> PathBuf {
    PathBuf::from(LEFT).join(format!("system-{seed}.tape"))
}

/// One seed, in this process, told in full.
fn single(asked: &Run, seed: u64) -> Result<bool, String> {
    let one = One {
        seed: Some(seed),
        scenario: asked.scenario.clone(),
        trace: asked.trace.clone(),
        log: asked.log,
        ..One::default()
    };
    child::run(&one)
}

/// Tells of a failing seed, and leaves its tape.
fn tell(asked: &Run, seed: u64, said: &Said) {
    println!("\nseed {seed} fails");
    for objection in said.all("objection").iter().take(5) {
        let mut parts = objection.splitn(3, " | ");
        let (oracle, invariant, what) = (parts.next(), parts.next(), parts.next());
        println!("  {}: {}", oracle.unwrap_or_default(), invariant.unwrap_or_default());
        println!("    {}", what.unwrap_or_default());
    }
    if said.all("objection").len() > 5 {
        println!("  and {} more", said.all("objection").len() - 5);
    }
    for line in said.errors.lines().take(12) {
        println!("  {line}");
    }
    for line in said.all("plan") {
        println!("  {line}");
    }
    let scenario = asked.scenario.as_ref().map_or_else(String::new, |name| format!(" --scenario {name}"));
    println!("  again: cargo xtask sim run --level system --seed {seed}{scenario}");
    let tape = tape_of(seed);
    let kept = std::fs::create_dir_all(LEFT).map_err(|why| why.to_string()).and_then(|()| {
        let one =
            One { seed: Some(seed), scenario: asked.scenario.clone(), keep: Some(tape.clone()), ..One::default() };
        start(&one, &[])?.wait()
    });
    if kept.is_ok() && tape.is_file() {
        println!("  tape:  {}", tape.display());
    }
    println!();
}
