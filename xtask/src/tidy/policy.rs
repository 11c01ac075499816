//! What the rules ask and what they tolerate, in one place. A tolerated exception says why; one whose file is gone is
//! itself a finding.

use std::collections::BTreeSet;

use super::Finding;

/// The most lines of code a file may have, tests apart. Beyond that it asks to become a folder.
pub(crate) const MOST_LINES: usize = 600;

/// Files that may be longer, each with the reason.
pub(crate) const LONG_FILES: &[(&str, &str)] = &[];

/// Which of our crates each may depend on, development included. Nothing depends on tests, bench or xtask.
pub(crate) const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("chamberlain-core", &[]),
    ("chamberlain-sim", &["chamberlain-core"]),
    ("chamberlain-stores", &["chamberlain-core"]),
    ("chamberlain-net", &["chamberlain-core", "chamberlain-stores"]),
    ("chamberlain-web", &[]),
    ("chamberlain", &["chamberlain-core", "chamberlain-stores", "chamberlain-net", "chamberlain-web"]),
    ("chamberlain-bench", EVERYTHING),
    ("chamberlain-tests", EVERYTHING),
    ("chamberlain-sim-nats", &[]),
    ("chamberlain-sim-system", EVERYTHING),
    ("chamberlain-sim-valkey", &[]),
    ("xtask", &[]),
];

const EVERYTHING: &[&str] = &[
    "chamberlain",
    "chamberlain-core",
    "chamberlain-net",
    "chamberlain-sim",
    "chamberlain-sim-valkey",
    "chamberlain-sim-nats",
    "chamberlain-stores",
    "chamberlain-web",
];

/// Something that must not be written in certain folders, outside tests.
pub(crate) struct Ban {
    /// As it stands in the code, a whole path or the end of one.
    pub(crate) call: &'static str,
    pub(crate) folders: &'static [&'static str],
    pub(crate) why: &'static str,
    pub(crate) instead: &'static str,
}

/// What runs inside the simulator, or alongside it.
pub(crate) const SIMULATED: &[&str] =
    &["core/src/", "net/src/", "sim/src/", "sim/system/house/src/", "sim/system/nats/src/"];

/// Where `select!` must say `biased;`: also in the stores, whose network side runs in the simulator.
pub(crate) const BIASED: &[&str] = &["core/src/", "net/src/", "sim/src/", "sim/system/", "stores/src/"];

const ALL: &[&str] = &["core/src/", "net/src/", "sim/src/", "stores/src/", "src/"];

const CLOCK: &str = "a run must be repeatable from its seed, and a wall clock is not part of it";
const RANDOM: &str = "a run must be repeatable from its seed, and the process's randomness is not part of it";
const THREAD: &str = "the simulator cannot order what a thread does";
const ORDER: &str = "its iteration order differs from run to run and leaks into what is sent";
const BOUND: &str = "every queue has a bound: a slow reader must cost a bounded amount of memory";
const WIRING: &str = "net works over any store; only src chooses one";

/// The banned calls. Those of clippy.toml hold in tests too; these do not.
pub(crate) const BANS: &[Ban] = &[
    ban("Instant::now", SIMULATED, CLOCK, "take `now` as an argument, or the clock from net::clock"),
    ban("SystemTime::now", SIMULATED, CLOCK, "take the timestamp as an argument, or the clock from net::clock"),
    ban("thread_rng", SIMULATED, RANDOM, "take the bytes as an argument, or from net::entropy"),
    ban("rand::rng", SIMULATED, RANDOM, "take the bytes as an argument, or from net::entropy"),
    ban("rand::random", SIMULATED, RANDOM, "take the bytes as an argument, or from net::entropy"),
    ban("OsRng", SIMULATED, RANDOM, "take the bytes as an argument, or from net::entropy"),
    ban("SysRng", SIMULATED, RANDOM, "take the bytes as an argument, or from net::entropy"),
    ban("getrandom", SIMULATED, RANDOM, "take the bytes as an argument, or from net::entropy"),
    ban("thread::spawn", SIMULATED, THREAD, "spawn a task"),
    ban("thread::Builder", SIMULATED, THREAD, "spawn a task"),
    ban("thread::sleep", SIMULATED, THREAD, "tokio::time::sleep in a task, a deadline in a machine"),
    ban("spawn_blocking", SIMULATED, THREAD, "do blocking work in a store, behind its trait"),
    ban(
        "HashMap",
        SIMULATED,
        ORDER,
        "BTreeMap, or an exception in xtask/src/tidy/policy.rs that says why order is safe",
    ),
    ban(
        "HashSet",
        SIMULATED,
        ORDER,
        "BTreeSet, or an exception in xtask/src/tidy/policy.rs that says why order is safe",
    ),
    ban("RandomState", SIMULATED, ORDER, "a hasher with fixed keys, where no outsider chooses the keys"),
    ban("unbounded_channel", ALL, BOUND, "a bounded channel, and say what happens when it is full"),
    ban("UnboundedSender", ALL, BOUND, "a bounded channel, and say what happens when it is full"),
    ban("chamberlain_stores::memory", &["net/src/"], WIRING, "name the trait"),
    ban("chamberlain_stores::embedded", &["net/src/"], WIRING, "name the trait"),
];

/// A file that may do what is banned elsewhere.
pub(crate) struct Exception {
    pub(crate) file: &'static str,
    pub(crate) calls: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// The exceptions to `BANS`.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        file: "net/src/clock.rs",
        calls: &["Instant::now", "SystemTime::now"],
        why: "the one place where time enters",
    },
    Exception {
        file: "sim/src/bin/chamberlain-sim/batch.rs",
        calls: &["Instant::now", "thread::Builder"],
        why: "whole runs are spread over threads and counted by the clock; no run sees either",
    },
    Exception {
        file: "sim/src/bin/chamberlain-sim/shrinking.rs",
        calls: &["Instant::now"],
        why: "the budget of a shrinking; no run sees it",
    },
    Exception {
        file: "sim/system/house/src/batch.rs",
        calls: &["Instant::now", "thread::spawn", "thread::sleep"],
        why: "the parent of the runs, which waits for them; no run is in this process",
    },
    Exception {
        file: "sim/system/house/src/run.rs",
        calls: &["thread::Builder"],
        why: "a run begins in a fresh thread, in which nothing was hashed or drawn before",
    },
    Exception {
        file: "sim/system/nats/src/clock.rs",
        calls: &["Instant::now"],
        why: "the one place where time enters the simulated server, from tokio's clock",
    },
    Exception { file: "net/src/entropy.rs", calls: &["SysRng"], why: "the one place where randomness enters" },
];

const fn ban(call: &'static str, folders: &'static [&'static str], why: &'static str, instead: &'static str) -> Ban {
    Ban { call, folders, why, instead }
}

/// Exceptions for files that are not there any more.
pub(crate) fn stale(paths: &BTreeSet<String>) -> Vec<Finding> {
    let excepted = EXCEPTIONS.iter().map(|exception| (exception.file, exception.why)).chain(LONG_FILES.iter().copied());
    excepted
        .filter(|(file, _)| !paths.contains(*file))
        .map(|(file, reason)| {
            let why = format!("{file} is excepted ({reason}) and is not there");
            Finding::new("xtask/src/tidy/policy.rs", 1, "stale-exception", why, "remove the exception")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_for_a_file_that_is_gone_is_stale() {
        assert_eq!(stale(&BTreeSet::new()).len(), EXCEPTIONS.len() + LONG_FILES.len());
        let there = EXCEPTIONS.iter().map(|exception| exception.file).chain(LONG_FILES.iter().map(|(file, _)| *file));
        assert_eq!(stale(&there.map(str::to_string).collect()), []);
    }
}
