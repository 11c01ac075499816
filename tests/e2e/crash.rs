//! kill -9 under load: what was acknowledged is there, once, at its revision; what was not is asked again with the same id
//! and bytes, and happens once; connections resume where they were.
//!
//! `CHAMBERLAIN_SOAK` (seconds) makes it go on for that long.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};

use crate::harness::load::{Load, UNHURRIED};
use crate::harness::{Server, fresh};

/// Rounds of killing when nobody asked for more.
const ROUNDS: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_survives_being_killed_under_load() {
    let soak = std::env::var("CHAMBERLAIN_SOAK").ok().and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let begun = Instant::now();
    let mut server = Server::start_with(&[], UNHURRIED);
    let mut load = Load::begin(&server, 4, 3).await;
    let mut rng = rand::rngs::StdRng::from_seed(fresh());

    let mut rounds = 0;
    while rounds < ROUNDS || soak.is_some_and(|soak| begun.elapsed() < soak) {
        rounds += 1;
        let answers = 20 + rng.next_u32() as usize % 200;
        load.talk(answers, || server.kill()).await;
        server.go();
        load.come_back(&server).await;
        eprintln!("round {rounds}: {} requests answered, {:?}", load.answered(), begun.elapsed());
    }

    load.audit(&server).await;
    // And once more, read from the log alone.
    server.kill();
    server.go();
    load.come_back(&server).await;
    load.audit(&server).await;
}
