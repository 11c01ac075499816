//! The model level: runs of the house, and what must hold of running it.

use chamberlain_sim::run::{SCENARIOS, play, trace, verdict};
use chamberlain_sim::tape::{Tape, TapeFile};

/// Seeds of the default scenario that every test run plays.
const SEEDS: u64 = 150;

#[test]
fn seeds_of_the_default_scenario_hold() {
    for seed in 0..SEEDS {
        let run = play(&SCENARIOS[0], &mut Tape::seeded(seed), false);
        assert_eq!(verdict(&run), [], "seed {seed}: {}", run.configuration);
        assert_eq!(run.story.ending.unwell, Vec::<String>::new(), "seed {seed}: {}", run.configuration);
    }
}

#[test]
fn the_same_seed_gives_the_same_story() {
    for seed in 0..10 {
        let once = trace(&play(&SCENARIOS[0], &mut Tape::seeded(seed), false).story).to_string();
        let again = trace(&play(&SCENARIOS[0], &mut Tape::seeded(seed), false).story).to_string();
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
fn nothing_is_done_in_the_quietest_run() {
    let run = play(&SCENARIOS[0], &mut Tape::recorded([]), false);
    assert_eq!(verdict(&run), []);
    assert!(run.story.ending.logs.is_empty(), "{}", trace(&run.story));
}
