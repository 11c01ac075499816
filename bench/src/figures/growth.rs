//! How costs grow: deliveries with sockets, submits with members and with the log, memory with lag.

use anyhow::Result;
use chamberlain_bench::decide::{GrownRoom, Requests, Sequenced};

use super::Run;
use super::machines::sequence;
use super::pair::{Pair, Shape};
use crate::figure::{Axis, Figure, Found, Line, Plot};

const GROUP: &str = "growth";

/// All of it.
pub(crate) fn growth(run: &Run) -> Result<Found> {
    let mut found = Found::default();
    for part in [with_sockets, with_members, with_length, with_lag] {
        let more = part(run)?;
        found.figures.extend(more.figures);
        found.plots.extend(more.plots);
    }
    Ok(found)
}

/// Microseconds of CPU time of a delivery, against the number of sockets.
fn with_sockets(run: &Run) -> Result<Found> {
    let most = run.most_sockets();
    let counts = [100, 300, 1_000, 3_000, 10_000].into_iter().filter(|count| *count <= most);
    let mut points = Vec::new();
    for sockets in counts {
        let mut pair = Pair::start(run, Shape::new(sockets))?;
        pair.pump(10, 1)?;
        let messages = (if run.quick { 30_000 } else { 200_000 }) / sockets as u64;
        let mut rounds = Vec::new();
        for _ in run.rounds(3) {
            rounds.push(1e6 / pair.pump(messages, 16)?.per_core());
        }
        points.push((sockets as f64, chamberlain_bench::cost::median(rounds)));
    }
    let growth = points.last().map_or(1.0, |last| last.1) / points[0].1;
    let figure = Figure::new(GROUP, "a delivery: most sockets to 100 sockets", "", vec![growth])
        .note("CPU time per delivery; 1 is linear growth. A hundred sockets stay in the processor's cache");
    Ok(curve(figure, "CPU time of a delivery", Axis::log("sockets"), points))
}

/// Microseconds of a submit, sealed, chained and encoded, against the number of members.
fn with_members(run: &Run) -> Result<Found> {
    let mut points = Vec::new();
    for members in [10, 100, 1_000, 10_000] {
        points.push((members as f64, submit(run, members, 20_000)));
    }
    let growth = points[3].1 / points[0].1;
    let figure =
        Figure::new(GROUP, "a submit: 10,000 members to 10", "", vec![growth]).note("CPU time; 1 is independent");
    Ok(curve(figure, "CPU time of a submit, by members", Axis::log("members"), points))
}

/// The same, against the length of the log.
fn with_length(run: &Run) -> Result<Found> {
    let mut points = Vec::new();
    for messages in [1_000, 10_000, 30_000, 100_000] {
        points.push((messages as f64, submit(run, 100, messages)));
    }
    let growth = points[3].1 / points[1].1;
    let figure = Figure::new(GROUP, "a submit: a log of 100,000 to one of 10,000", "", vec![growth])
        .note("CPU time; 1 is independent. Up to 16,384 answers are remembered, and fewer cost less");
    Ok(curve(figure, "CPU time of a submit, by length of the log", Axis::log("messages in the log before"), points))
}

fn submit(run: &Run, members: usize, messages: u64) -> f64 {
    let room = GrownRoom::new(members, messages, |_, _| {});
    let (mut sequenced, mut requests) = (Sequenced::new(&room), Requests::new(members, messages));
    let count = if run.quick { 1_024 } else { 8_192 };
    let rounds = run.rounds(5).map(|_| sequence(&mut sequenced, &mut requests, count)).collect();
    chamberlain_bench::cost::median(rounds)
}

/// Memory of a socket that does not read, against how far it is behind.
fn with_lag(run: &Run) -> Result<Found> {
    const SOCKETS: usize = 100;
    // The kernel takes some megabytes a socket before the server has anything to hold.
    let (first, step, steps) = if run.quick { (24_000, 4_000, 2) } else { (32_000, 8_000, 4) };
    let mut grown = Vec::new();
    for sockets in [SOCKETS, 1] {
        let mut pair = Pair::start(run, Shape { members: SOCKETS, disk: false, ..Shape::new(sockets) })?;
        run.say(format!("{sockets} sockets do not read"));
        let mut resident = vec![pair.say_to_nobody(first)?.resident as f64];
        for _ in 0..steps {
            resident.push(pair.say_to_nobody(step)?.resident as f64);
        }
        grown.push(resident);
    }
    let extra = |at: usize| (grown[0][at] - grown[1][at]) / (SOCKETS - 1) as f64;
    let points: Vec<(f64, f64)> =
        (0..=steps).map(|at| ((first + step * at as u64) as f64, extra(at) / 1024.0)).collect();
    let slope = (extra(steps) - extra(0)) / (step * steps as u64) as f64;
    let held: Vec<f64> = points.iter().map(|(_, kib)| *kib).collect();
    let figure = Figure::new(GROUP, "memory of a lagging socket, per revision behind", "B", vec![slope])
        .note("process only, above a server with one such socket; 0 is constant");
    let mut found = curve(figure, "Memory of a socket that does not read", Axis::linear("revisions behind"), points);
    found.figures.push(Figure::new(GROUP, "memory of a lagging socket", "KiB", held));
    found.plots[0].y = Axis::linear("KiB");
    Ok(found)
}

fn curve(figure: Figure, title: &str, x: Axis, points: Vec<(f64, f64)>) -> Found {
    let lines = vec![Line::new(title, points)];
    let plot = Plot { group: GROUP, title: title.into(), x, y: Axis::linear("us"), lines };
    Found { figures: vec![figure], plots: vec![plot] }
}
