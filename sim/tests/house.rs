//! The model level: runs of the house, and what must hold of running it.

use std::collections::BTreeSet;

use chamberlain_core::limits::Limits;
use chamberlain_sim::run::{PROBES, Run, SCENARIOS, play, scenario, trace, verdict};
use chamberlain_sim::story::{Lane, Seen};
use chamberlain_sim::tape::{Tape, TapeFile};

/// Seeds of the default scenario that every test run plays.
const SEEDS: u64 = 150;
/// Seeds of every other scenario.
const FEW: u64 = 10;

fn holds(name: &str, seed: u64) -> Run {
    let run = play(scenario(name).expect("its name"), &mut Tape::seeded(seed), false);
    assert_eq!(verdict(&run), [], "{name}, seed {seed}: {}", run.configuration);
    // A room whose log or keys were lost on purpose stands still.
    let unwell = run.story.ending.unwell.iter().filter(|_| run.story.stores_whole).collect::<Vec<_>>();
    assert_eq!(unwell, Vec::<&String>::new(), "{name}, seed {seed}: {}", run.configuration);
    run
}

/// Every probe is hit by the default scenario in a soak of 10,000 seeds; here the other scenarios help.
#[test]
fn runs_hold_and_visit_every_state() {
    let mut hit = BTreeSet::new();
    for seed in 0..SEEDS {
        hit.extend(holds("default", seed).story.probes);
    }
    for scenario in &SCENARIOS[1..] {
        for seed in 0..FEW {
            hit.extend(holds(scenario.name, seed).story.probes);
        }
    }
    let missed: Vec<&str> = PROBES.iter().map(|(name, _)| *name).filter(|name| !hit.contains(name)).collect();
    assert_eq!(missed, Vec::<&str>::new());
}

#[test]
fn the_same_seed_gives_the_same_story() {
    for seed in 0..10 {
        let once = trace(&holds("default", seed).story).to_string();
        let again = trace(&holds("default", seed).story).to_string();
        assert!(once == again, "seed {seed}");
    }
}

#[test]
fn a_kept_tape_gives_the_story_again() {
    for seed in 0..5 {
        let mut tape = Tape::seeded(seed).keeping();
        let once = trace(&play(&SCENARIOS[0], &mut tape, false).story).to_string();
        let file = TapeFile { decisions: tape.decisions().collect(), ..TapeFile::default() };
        let read: TapeFile = file.to_string().parse().expect("a tape");
        let again = trace(&play(&SCENARIOS[0], &mut read.tape(), false).story).to_string();
        assert!(once == again, "seed {seed}");
    }
}

#[test]
fn a_detailed_story_is_the_same_story() {
    let plain = holds("default", 7);
    let detailed = play(&SCENARIOS[0], &mut Tape::seeded(7), true);
    let told = |seen: &&(u64, Seen)| !matches!(seen.1, Seen::Passed { .. } | Seen::State { .. });
    let without: Vec<String> = detailed.story.seen.iter().filter(told).map(|seen| format!("{seen:?}")).collect();
    let with: Vec<String> = plain.story.seen.iter().map(|seen| format!("{seen:?}")).collect();
    assert!(without.len() < detailed.story.seen.len());
    assert!(with == without);
}

#[test]
fn nothing_is_done_in_the_quietest_run() {
    let run = play(&SCENARIOS[0], &mut Tape::recorded([]), false);
    assert_eq!(verdict(&run), []);
    assert!(run.story.ending.logs.is_empty(), "{}", trace(&run.story));
}

/// S-20: forty connections cost the store what three of them do.
#[test]
fn loads_do_not_grow_with_connections() {
    let reads = |name: &str| {
        let run = play(scenario(name).expect("its name"), &mut Tape::seeded(1), true);
        let first = run.story.seen.iter().position(|(_, seen)| matches!(seen, Seen::Sent { .. })).unwrap_or(0);
        let records = run.story.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Landed { .. })).count();
        let of_rooms = |what: &str| what.starts_with("read room/");
        let reads = run.story.seen[first..]
            .iter()
            .filter(|(_, seen)| matches!(seen, Seen::Passed { to: Lane::Logs, what, .. } if of_rooms(what)));
        (reads.count(), records)
    };
    let (reads, records) = reads("many-at-one-record");
    assert!(reads <= 4 * records, "{reads} reads of {records} records");
}

/// N-07: limits that would drop or fail everything are refused at the start.
#[test]
fn limits_of_zero_are_refused() {
    for (name, _, default, min, _) in Limits::TABLE.iter().filter(|(_, _, _, min, _)| *min > 0) {
        assert!(default >= min, "{name}");
    }
    let none = Limits { room_queue: 0, ..Limits::default() };
    assert_eq!(none.check().map_err(|error| error.name), Err("room_queue"));
}
