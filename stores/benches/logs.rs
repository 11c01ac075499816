//! Appends to JetStream on a real server that syncs each write, beside the embedded store, in one run on one disk:
//! `cargo bench --package chamberlain-stores --features jetstream --bench logs`.
#![allow(clippy::print_stdout, reason = "its figures are what it is for")]

#[allow(dead_code, reason = "of a server, nothing but its start is needed here")]
#[path = "../tests/support/nats.rs"]
mod nats;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chamberlain_core::id::Revision;
use chamberlain_core::site::MasterKey;
use chamberlain_stores::conformance::Writer;
use chamberlain_stores::embedded::{self, Embedded};
use chamberlain_stores::jetstream::{JetStream, Options, Syncing};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{LogStore, Stores};

/// How long each figure is measured.
const EACH: Duration = Duration::from_secs(4);

/// Logs written at once, events in a record, bytes of each.
const LOADS: [(u64, usize, usize); 4] = [(1, 1, 400), (8, 1, 400), (64, 1, 400), (64, 32, 400)];

#[tokio::main]
async fn main() {
    let site = "home".parse().expect("a site");
    let server = nats::Server::start();
    let options = Options::new(site, server.url(), Syncing::Promised);
    let jetstream = JetStream::open(options.clone()).await.expect("opened");
    let folder = tempfile::tempdir().expect("a folder");
    let master = MasterKey::from_bytes([1; 32]);
    let embedded =
        Embedded::open(folder.path(), &master, &options.site, embedded::Options::default()).await.expect("opened");
    for (name, logs) in [("embedded", embedded.stores().logs), ("jetstream", Arc::new(jetstream) as Arc<dyn LogStore>)]
    {
        let stores = Stores { logs, ..MemoryStores::new().stores() };
        for (writers, events, bytes) in LOADS {
            appends(name, &stores, writers, events, bytes).await;
        }
    }
    reads(&JetStream::open(options).await.expect("opened")).await;
}

async fn appends(name: &str, stores: &Stores, writers: u64, events: usize, bytes: usize) {
    let started = Instant::now();
    let writing: Vec<_> = (0..writers)
        .map(|nth| {
            let stores = stores.clone();
            tokio::spawn(async move {
                let mut room = Writer::of_room(&format!("{writers} {events} {nth}"), nth);
                let mut took = Vec::new();
                while started.elapsed() < EACH {
                    let began = Instant::now();
                    room.append(&stores, events, bytes).await;
                    took.push(began.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for writing in writing {
        took.extend(writing.await.expect("wrote"));
    }
    took.sort_unstable();
    let at = |thousandths: usize| took[(took.len() * thousandths / 1_000).min(took.len() - 1)];
    println!(
        "{name}: {writers} logs, {events} events of {bytes} bytes a record: {:.0} records/s, p50 {:?}, p99 {:?}, p99.9 {:?}",
        took.len() as f64 / started.elapsed().as_secs_f64(),
        at(500),
        at(990),
        at(999)
    );
}

/// Reads a log that this connection knows nothing of.
async fn reads(logs: &dyn LogStore) {
    let room = Writer::of_room("1 1 0", 0);
    let revisions = logs.head(room.log()).await.expect("head").revision.0;
    let began = Instant::now();
    for nth in 0..100 {
        logs.read(room.log(), Revision(nth * revisions / 100), 1).await.expect("read");
    }
    println!("jetstream: one record from anywhere among {revisions}: {:?}", began.elapsed() / 100);
    let began = Instant::now();
    let mut after = Revision::ZERO;
    let mut count = 0;
    while let Some(last) = logs.read(room.log(), after, 1 << 20).await.expect("read").last() {
        count += 1;
        after = last.last;
    }
    println!("jetstream: all of them in order: {:?} in {count} reads", began.elapsed());
}
