//! The machines alone, without input or output: sealing, deciding, cold starts, the bookkeeping of delivery. In CPU time of
//! the thread, for a machine does not wait.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use chamberlain_bench::cost::thread_time;
use chamberlain_bench::decide::{ColdRoom, Decider, GrownRoom, Requests, Sequenced};
use chamberlain_bench::deliver::Audience;
use chamberlain_bench::seal::Ends;

use super::Run;
use crate::figure::{Axis, Figure, Found, Line, Plot, number};

/// Members of the large room.
const MEMBERS: usize = 10_000;
/// Messages in a room before the first that is measured: more than there are answers to remember.
const MESSAGES: u64 = 20_000;
/// Commands that come at once where they are decided in groups.
const AT_ONCE: usize = 64;

/// Sealing and opening 256 bytes.
pub(crate) fn seal(run: &Run) -> Result<Found> {
    const GROUP: &str = "seal";
    let mut ends = Ends::new();
    let sealed = ends.seal();
    let (many, few) = if run.quick { (20_000, 100) } else { (200_000, 1_000) };
    let [mut seals, mut opens, mut firsts, mut secrets] = [const { Vec::new() }; 4];
    for _ in run.rounds(7) {
        seals.push(each(many, || ends.seal()) * 1e6);
        opens.push(each(many, || ends.open(&sealed)) * 1e6);
        firsts.push(each(few, || ends.encapsulate()) * 1e6);
        secrets.push(each(few, || ends.open_first(&sealed)) * 1e6);
    }
    let of_sender = "once per sender, room and key version; with the tables of the production binary";
    Ok(Found {
        figures: vec![
            Figure::new(GROUP, "seal 256 B under a known key", "us", seals).at_most(1.5),
            Figure::new(GROUP, "open 256 B under a known key", "us", opens).at_most(1.5),
            Figure::new(GROUP, "encapsulate: a new sealer", "us", firsts).note(of_sender),
            Figure::new(GROUP, "decapsulate: a sealer not heard before", "us", secrets).note(of_sender),
        ],
        plots: Vec::new(),
    })
}

/// Deciding and folding one message.
pub(crate) fn decide(run: &Run) -> Result<Found> {
    const GROUP: &str = "decide";
    let room = GrownRoom::new(MEMBERS, MESSAGES, |_, _| {});
    let (mut decider, mut sequenced) = (Decider::new(&room), Sequenced::new(&room));
    let mut ours = [Requests::new(MEMBERS, MESSAGES), Requests::new(MEMBERS, MESSAGES)];
    let count = if run.quick { 4_096 } else { 32_768 };
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for _ in run.rounds(7) {
        bare.push(decide_and_apply(&mut decider, &mut ours[0], count));
        whole.push(sequence(&mut sequenced, &mut ours[1], count));
    }
    Ok(Found {
        figures: vec![
            Figure::new(GROUP, "decide + apply, room of 10,000", "us", bare)
                .at_most(2.0)
                .note("a message of a random member; 16,384 answers remembered; without sealing, hashing, encoding"),
            Figure::new(GROUP, "the same, sealed, chained, encoded", "us", whole)
                .note("as a sequencer does it, in records of up to 64 commands"),
        ],
        plots: Vec::new(),
    })
}

/// Microseconds per message. Requests are made a few at a time: as from a gateway, they are fresh in the cache.
fn decide_and_apply(decider: &mut Decider, requests: &mut Requests, count: usize) -> f64 {
    in_parts(count, || {
        let requests = requests.take(AT_ONCE);
        let begun = thread_time();
        requests.iter().for_each(|request| decider.submit(request));
        thread_time() - begun
    })
}

/// Microseconds per message.
pub(super) fn sequence(sequenced: &mut Sequenced, requests: &mut Requests, count: usize) -> f64 {
    in_parts(count, || {
        let requests = requests.take(AT_ONCE);
        let begun = thread_time();
        sequenced.submit(requests);
        thread_time() - begun
    })
}

fn in_parts(count: usize, part: impl FnMut() -> Duration) -> f64 {
    let parts = count / AT_ONCE;
    let spent: Duration = std::iter::repeat_with(part).take(parts).sum();
    spent.as_secs_f64() * 1e6 / (parts * AT_ONCE) as f64
}

/// Folding a long room from its snapshot and what came after it.
pub(crate) fn cold(run: &Run) -> Result<Found> {
    const GROUP: &str = "cold";
    const REVISIONS: u64 = 100_000;
    let mut figures = Vec::new();
    for members in [100_usize, MEMBERS] {
        let cold = ColdRoom::new(members, REVISIONS);
        let mut rounds = Vec::new();
        for _ in run.rounds(7) {
            rounds.push(each(if run.quick { 1 } else { 5 }, || cold.start()) * 1e3);
        }
        figures.push(
            Figure::new(GROUP, format!("fold 100,000 revisions, {} members", number(members as f64)), "ms", rounds)
                .at_most(50.0)
                .note(format!(
                    "snapshot and {} single records after it, the most there are; in memory",
                    cold.tail_records()
                )),
        );
    }
    Ok(Found { figures, plots: Vec::new() })
}

/// Claim, pack, emit.
pub(crate) fn fanout(run: &Run) -> Result<Found> {
    const GROUP: &str = "fanout";
    let mut found = Found::default();
    let mut curve = Vec::new();
    for sockets in [100_usize, 1_000, 10_000] {
        let mut audience = Audience::new(sockets, true);
        let turns = (if run.quick { 40_000 } else { 400_000 }) / sockets;
        let mut rounds = Vec::new();
        for _ in run.rounds(7) {
            let mut spent = Duration::ZERO;
            for _ in 0..turns {
                audience.say(1);
                let begun = thread_time();
                let frames = black_box(audience.deliver());
                spent += thread_time() - begun;
                assert_eq!(frames, sockets, "each socket is sent each batch");
            }
            rounds.push(spent.as_secs_f64() * 1e9 / (turns * sockets) as f64);
        }
        let figure =
            Figure::new(GROUP, format!("claim + pack + emit, {} sockets", number(sockets as f64)), "ns", rounds);
        curve.push((sockets as f64, figure.value));
        if sockets >= 1_000 {
            let note = "per socket and batch, the one encoding of the batch included";
            found.figures.push(figure.at_most(200.0).note(note));
        }
    }
    let bar = vec![(100.0, 200.0), (10_000.0, 200.0)];
    found.plots.push(Plot {
        group: GROUP,
        title: "Bookkeeping per socket and batch".into(),
        x: Axis::log("sockets"),
        y: Axis::linear("ns"),
        lines: vec![Line::new("claim + pack + emit", curve), Line::bar("bar", bar)],
    });
    Ok(found)
}

/// Seconds per call.
fn each<T>(count: u32, mut act: impl FnMut() -> T) -> f64 {
    let begun = thread_time();
    (0..count).for_each(|_| drop(black_box(act())));
    (thread_time() - begun).as_secs_f64() / f64::from(count)
}
