//! The groups of figures, in the order of the report.

mod connections;
mod deliveries;
mod growth;
mod machines;
mod pair;
mod servers;
mod subjects;
mod submits;

use std::path::PathBuf;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use rustix::process::{Resource, getrlimit};
use tempfile::TempDir;

use crate::figure::Found;

/// A group of figures: the name that `--only` takes, what it is, and how it is measured.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measure: fn(&Run) -> Result<Found>,
}

/// All of them.
pub(crate) const GROUPS: &[Group] = &[
    group("seal", "seal and open 256 bytes, encapsulate", machines::seal),
    group("decide", "decide and fold one message in a room of 10,000", machines::decide),
    group("cold", "fold a room of 100,000 revisions from snapshot and tail", machines::cold),
    group("fanout", "claim, pack and emit for up to 10,000 socket machines", machines::fanout),
    group("submits", "durable submits in 64 rooms through a node, and the store beneath", submits::submits),
    group("servers", "submits and deliveries over JetStream and Valkey beside the embedded store", servers::servers),
    group(
        "deliveries",
        "one revision per frame to 1,000 and 10,000 sockets, beside a bare loop",
        deliveries::deliveries,
    ),
    group("batching", "many revisions per frame to 1,000 sockets", deliveries::batching),
    group("latency", "publish to deliver at half of the maximum rate, 1,000 sockets", deliveries::latency),
    group("idle", "memory of an idle socket", connections::idle),
    group("removal", "a removal in a room of 10,000 until all connected hold the next key", connections::removal),
    group("subjects", "a rotation in a room of 10,000, heard on NATS subjects", subjects::subjects),
    group("growth", "cost against sockets, members, length of the log; memory against lag", growth::growth),
];

const fn group(name: &'static str, what: &'static str, measure: fn(&Run) -> Result<Found>) -> Group {
    Group { name, what, measure }
}

/// How to measure.
pub(crate) struct Run {
    /// Little work and few rounds: shows that it works.
    pub(crate) quick: bool,
    pub(crate) progress: ProgressBar,
    /// Where stores are put while they are measured.
    pub(crate) scratch: PathBuf,
}

impl Run {
    /// So many rounds, or the few of a quick run; each is shown as it begins.
    pub(crate) fn rounds(&self, usual: usize) -> impl Iterator<Item = usize> {
        let count = if self.quick { 2 } else { usual };
        (0..count).inspect(move |nth| self.say(format!("round {} of {count}", nth + 1)))
    }

    /// Shows what is being done.
    pub(crate) fn say(&self, what: impl Into<String>) {
        self.progress.set_message(what.into());
        self.progress.tick();
    }

    /// An empty folder on the disk that is measured, gone when it is dropped.
    pub(crate) fn folder(&self) -> Result<TempDir> {
        std::fs::create_dir_all(&self.scratch)?;
        TempDir::new_in(&self.scratch).with_context(|| format!("making a folder in {}", self.scratch.display()))
    }

    /// The most sockets to be measured: 1,000 in a quick run, 10,000 where the descriptors suffice.
    pub(crate) fn most_sockets(&self) -> usize {
        const BESIDE: u64 = 200;
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        if !self.quick && limit >= 10_000 + BESIDE { 10_000 } else { 1_000 }
    }

    /// 1,000 sockets, and the most.
    fn socket_counts(&self) -> Vec<usize> {
        let most = self.most_sockets();
        if most == 1_000 { vec![most] } else { vec![1_000, most] }
    }
}
