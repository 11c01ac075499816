//! The machines under criterion: what one message costs before any input or output. `cargo bench -p chamberlain-bench`.
//!
//! The same work as the first figures of the report, for finding out whether a change of a machine made it slower.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use chamberlain_bench::decide::{ColdRoom, Decider, GrownRoom, Requests, Sequenced};
use chamberlain_bench::deliver::Audience;
use chamberlain_bench::seal::Ends;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const MEMBERS: usize = 10_000;
/// Messages in the room before the first that is measured: as many as there are answers to remember.
const MESSAGES: u64 = 20_000;

fn seal(criterion: &mut Criterion) {
    let mut ends = Ends::new();
    let sealed = ends.seal();
    let mut group = criterion.benchmark_group("256 bytes");
    group.bench_function("seal under a known key", |bencher| bencher.iter(|| black_box(ends.seal())));
    group.bench_function("open under a known key", |bencher| bencher.iter(|| black_box(ends.open(&sealed))));
    group.bench_function("encapsulate", |bencher| bencher.iter(|| black_box(ends.encapsulate())));
    group.bench_function("decapsulate and open", |bencher| bencher.iter(|| black_box(ends.open_first(&sealed))));
}

fn decide(criterion: &mut Criterion) {
    let room = GrownRoom::new(MEMBERS, MESSAGES, |_, _| {});
    let mut group = criterion.benchmark_group("one message in a room of 10,000");
    let (mut decider, mut requests) = (Decider::new(&room), Requests::new(MEMBERS, MESSAGES));
    group.bench_function("decide and apply", |bencher| {
        bencher.iter_custom(|count| {
            timed_in_parts(count, |part| {
                let requests = requests.take(part);
                let begun = Instant::now();
                requests.iter().for_each(|request| decider.submit(request));
                begun.elapsed()
            })
        });
    });
    let (mut sequenced, mut requests) = (Sequenced::new(&room), Requests::new(MEMBERS, MESSAGES));
    group.bench_function("decide, seal, apply, hash, encode", |bencher| {
        bencher.iter_custom(|count| {
            timed_in_parts(count, |part| {
                let requests = requests.take(part);
                let begun = Instant::now();
                sequenced.submit(requests);
                begun.elapsed()
            })
        });
    });
    group.finish();
    let cold = ColdRoom::new(1_000, 100_000);
    criterion.bench_function("cold start of 100,000 revisions", |bencher| bencher.iter(|| black_box(cold.start())));
}

/// Adds up parts: requests are made a few at a time, so that they are fresh in the cache as from a gateway.
fn timed_in_parts(count: u64, mut part: impl FnMut(usize) -> Duration) -> Duration {
    const PART: u64 = 64;
    (0..count.div_ceil(PART)).map(|nth| part((count - nth * PART).min(PART) as usize)).sum()
}

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("claim, pack, emit");
    for sockets in [1_000, 10_000] {
        let mut audience = Audience::new(sockets, true);
        group.throughput(Throughput::Elements(sockets as u64));
        group.bench_function(format!("{sockets} sockets"), |bencher| {
            bencher.iter_custom(|count| {
                (0..count)
                    .map(|_| {
                        audience.say(1);
                        let begun = Instant::now();
                        black_box(audience.deliver());
                        begun.elapsed()
                    })
                    .sum()
            });
        });
    }
}

criterion_group! {
    name = machines;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(30);
    targets = seal, decide, deliver
}
criterion_main!(machines);
