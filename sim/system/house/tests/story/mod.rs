//! A story that is simulated: its trace, and the same seed in processes with different environments.

use std::fmt::Display;
use std::process::Command;
use std::sync::{Arc, Mutex};

use madsim::runtime::Runtime;
use tokio::sim;

/// What happened, in order, with the simulated microsecond.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn note(&self, words: impl Display) {
        self.0.lock().unwrap().push(format!("{} {words}", sim::elapsed().as_micros()));
    }
}

/// A simulation in a thread in which nothing was hashed or drawn before; its trace.
pub(crate) fn simulate<F: Future<Output = ()> + 'static>(
    seed: u64,
    run: impl FnOnce(Trace) -> F + Send + 'static,
) -> Vec<String> {
    let trace = Trace::default();
    let seen = trace.clone();
    let simulation = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(run(seen));
    });
    simulation.unwrap().join().unwrap();
    let trace = trace.0.lock().unwrap();
    trace.clone()
}

/// Tells the process that a test starts which seed's story to tell.
const TELL: &str = "CHAMBERLAIN_TEST_TELLS";

/// The traces of these seeds, each the same in two processes. `test` is the calling test: it is started again in processes of
/// its own, in which it tells a story and gets none.
///
/// A process for each, as everywhere at this level: in whose order tokio's watch channels wake those who wait is drawn from a
/// generator whose seed is counted in the process (`thread_rng_n` in its `sync/watch.rs`).
pub(crate) fn twins<const N: usize>(
    test: &str,
    seeds: [u64; N],
    tell: impl Fn(u64) -> Vec<String>,
) -> Option<[Vec<String>; N]> {
    if let Some(seed) = std::env::var_os(TELL) {
        let seed = seed.to_str().and_then(|seed| seed.parse().ok()).expect("a seed");
        tell(seed).iter().for_each(|line| println!("\ntold: {line}"));
        return None;
    }
    let told = |seed: u64, padding: usize| -> Vec<String> {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args(["--exact", test, "--nocapture"]).env(TELL, seed.to_string()).env("PADDING", "x".repeat(padding));
        let output = process.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().filter_map(|line| line.strip_prefix("told: ")).map(str::to_owned).collect()
    };
    Some(seeds.map(|seed| {
        let (first, again) = (told(seed, 1), told(seed, 40_000));
        assert_eq!(first.iter().zip(&again).find(|(one, other)| one != other), None, "seed {seed}");
        assert_eq!(first.len(), again.len(), "seed {seed}");
        first
    }))
}
