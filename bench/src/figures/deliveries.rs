//! Real sockets: deliveries per core beside a bare loop, batches, latency at half of the maximum rate.

use anyhow::Result;

use super::Run;
use super::pair::{Bare, Pair, Shape};
use crate::figure::{Axis, Figure, Found, Line, Plot, number};

/// Messages before the first that is measured.
const WARM_UP: u64 = 30;
/// Messages that are on their way at the same time, under load.
const UNDER_LOAD: u64 = 16;

/// One revision per frame, beside the bare loop.
pub(crate) fn deliveries(run: &Run) -> Result<Found> {
    const GROUP: &str = "deliveries";
    let mut found = Found::default();
    for sockets in run.socket_counts() {
        let messages = if run.quick { 40 } else { 300_000 / sockets as u64 };
        let mut pair = Pair::start(run, Shape::new(sockets))?;
        let mut bare = Bare::start(sockets)?;
        let warm = pair.pump(WARM_UP, 1)?.pumped;
        let bytes = (warm.bytes / warm.frames) as usize;
        bare.per_core(WARM_UP, bytes)?;
        let [mut single, mut loaded, mut bares, mut bare_singles, mut singly, mut loadedly, mut wall] =
            [const { Vec::new() }; 7];
        for _ in run.rounds(5) {
            let one = pair.pump(messages, 1)?;
            let many = pair.pump(messages, UNDER_LOAD)?;
            let beside = bare.per_core(messages, bytes)?;
            let beside_one = bare.per_core_one_at_a_time(messages, bytes)?;
            single.push(one.per_core());
            loaded.push(many.per_core());
            wall.push(many.per_second());
            singly.push(one.per_core() / beside_one);
            loadedly.push(many.per_core() / beside);
            bares.push(beside);
            bare_singles.push(beside_one);
        }
        let sockets = number(sockets as f64);
        let of = format!("{sockets} sockets, {bytes} B a frame, batch: false, one publisher over its own socket");
        found.figures.extend([
            Figure::new(GROUP, format!("per core, {sockets} sockets, {UNDER_LOAD} in flight"), "/s", loaded)
                .at_least(100_000.0)
                .note(of),
            Figure::new(GROUP, format!("  to the bare loop, {sockets} sockets"), "", loadedly).at_least(0.8),
            Figure::new(GROUP, format!("per core, {sockets} sockets, one at a time"), "/s", single)
                .at_least(100_000.0)
                .note("the next message is said when every socket has the last: each task wakes for every one"),
            Figure::new(GROUP, format!("  to the bare loop, {sockets} sockets, one at a time"), "", singly)
                .at_least(0.8),
            Figure::new(GROUP, format!("bare loop, {sockets} sockets"), "/s", bares)
                .note("one thread, nothing but write calls of as many bytes, per second of its CPU time"),
            Figure::new(GROUP, format!("bare loop, {sockets} sockets, one at a time"), "/s", bare_singles)
                .note("each frame when all have read the one before"),
            Figure::new(GROUP, format!("per wall second, {sockets} sockets"), "/s", wall)
                .note("server, clients and everything else on the same cores"),
        ]);
    }
    Ok(found)
}

/// Several revisions per frame.
pub(crate) fn batching(run: &Run) -> Result<Found> {
    const GROUP: &str = "batching";
    const SOCKETS: usize = 1_000;
    let (messages, window) = if run.quick { (4_000, 2_000) } else { (20_000, 4_000) };
    let mut pair = Pair::start(run, Shape { batch: true, ..Shape::new(SOCKETS) })?;
    pair.pump(window, window)?;
    let [mut per_core, mut wall, mut size] = [const { Vec::new() }; 3];
    for _ in run.rounds(5) {
        let pumping = pair.pump(messages, window)?;
        per_core.push(pumping.per_core());
        wall.push(pumping.per_second());
        size.push(pumping.pumped.deliveries as f64 / pumping.pumped.frames as f64);
    }
    Ok(Found {
        figures: vec![
            Figure::new(GROUP, "revisions per core, 1,000 sockets", "/s", per_core)
                .at_least(1_000_000.0)
                .note(format!("one publisher, {window} messages on their way at the same time")),
            Figure::new(GROUP, "revisions per wall second, 1,000 sockets", "/s", wall),
            Figure::new(GROUP, "revisions per frame", "", size),
        ],
        plots: Vec::new(),
    })
}

/// Publish to deliver at half of the maximum rate.
pub(crate) fn latency(run: &Run) -> Result<Found> {
    const GROUP: &str = "latency";
    const SOCKETS: usize = 1_000;
    let mut pair = Pair::start(run, Shape::new(SOCKETS))?;
    pair.pump(WARM_UP, 1)?;
    let (messages, seconds) = if run.quick { (100, 3.0) } else { (400, 10.0) };
    let mut most = Vec::new();
    for _ in run.rounds(3) {
        most.push(pair.pump(messages, UNDER_LOAD)?.per_second() / SOCKETS as f64);
    }
    let most = Figure::new(GROUP, "maximum rate: messages to 1,000 sockets", "/s", most);
    let rate = most.value / 2.0;
    let [mut median, mut high, mut highest] = [const { Vec::new() }; 3];
    let mut lines = Vec::new();
    for nth in run.rounds(5) {
        let latencies = pair.pace(rate, (rate * seconds).ceil().max(10.0) as u64)?;
        median.push(latencies.at(50.0));
        high.push(latencies.at(99.0));
        highest.push(latencies.most);
        let points = latencies.curve.iter().map(|(at, ms)| (100.0 / (100.0 - at), *ms)).collect();
        lines.push(Line::new(format!("round {}", nth + 1), points));
    }
    lines.push(Line::bar("bar at p99", vec![(100.0, 50.0), (100.0, 1.0)]));
    Ok(Found {
        figures: vec![
            Figure::new(GROUP, "p99 at half of the maximum rate, 1,000 sockets", "ms", high).at_most(50.0).note(
                format!(
                    "{} messages/s, from when each was to be said until each socket had it; durable first",
                    number(rate)
                ),
            ),
            Figure::new(GROUP, "p50 at half of the maximum rate", "ms", median),
            Figure::new(GROUP, "slowest of all", "ms", highest),
            most,
        ],
        plots: vec![Plot {
            group: GROUP,
            title: "Publish to deliver, 1,000 sockets, half of the maximum rate".into(),
            x: Axis::log("one in so many is slower (p90 = 10, p99 = 100)"),
            y: Axis::log("ms"),
            lines,
        }],
    })
}
