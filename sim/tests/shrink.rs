//! Shrinking finds the few decisions that matter, whatever surrounds them, and never gives back a tape that does not fail.

use std::collections::BTreeMap;

use chamberlain_sim::shrink::{Drawn, Shrunk, shrink};
use chamberlain_sim::tape::{Actor, Place, Tape};
use proptest::prelude::*;

/// A toy run: six clients take steps; the world may stop a link. It fails when client 4's third step is at least 30 after
/// client 1 has hesitated at its second.
fn toy(tape: &mut Tape) -> bool {
    let mut hesitated = false;
    for round in 0..12 {
        for number in 0..6 {
            let client = Actor::nth("client", number);
            let step = tape.draw(client, "step", 100);
            if tape.chance(client, "hesitates", 30) && (number, round) == (1, 1) {
                hesitated = true;
            }
            if (number, round) == (4, 2) && hesitated && step >= 30 {
                return true;
            }
        }
        tape.draw(Actor::only("world"), "stops", 4);
    }
    false
}

fn attempt(mut tape: Tape) -> Option<Drawn> {
    toy(&mut tape).then(|| tape.decisions().collect())
}

fn shrunk(decisions: Drawn) -> Shrunk {
    shrink(decisions, |decisions| attempt(Tape::recorded(decisions.clone()).keeping()), |_| true)
}

fn failing() -> Drawn {
    (0..10_000).find_map(|seed| attempt(Tape::seeded(seed).keeping())).expect("a seed that fails")
}

fn place(role: &str, number: u32, kind: &str, ordinal: u32) -> Place {
    (role.to_owned(), number, kind.to_owned(), ordinal)
}

#[test]
fn what_matters_is_all_that_is_left() {
    let failing = failing();
    assert!(failing.len() > 15, "there is something to take away");
    let shrunk = shrunk(failing);
    assert!(shrunk.smallest);
    let left: BTreeMap<Place, u64> = shrunk.decisions.into_iter().collect();
    let wanted = [(place("client", 1, "hesitates", 1), 70), (place("client", 4, "step", 2), 30)];
    assert_eq!(left, wanted.into());
}

#[test]
fn a_shrunk_tape_shrinks_no_further() {
    let once = shrunk(failing());
    let again = shrunk(once.decisions.clone());
    assert_eq!(again.decisions, once.decisions);
}

#[test]
fn a_spent_budget_gives_the_best_so_far_and_says_so() {
    let failing = failing();
    let fails = |decisions: &BTreeMap<Place, u64>| attempt(Tape::recorded(decisions.clone()).keeping());
    let stopped = shrink(failing.clone(), fails, |progress| progress.runs < 3);
    assert_eq!((stopped.runs, stopped.smallest), (3, false));
    assert!(stopped.decisions.len() <= failing.len());
    assert!(fails(&stopped.decisions.into_iter().collect()).is_some());
}

#[test]
fn what_always_fails_shrinks_to_nothing() {
    let all = |decisions: &BTreeMap<Place, u64>| Some(decisions.clone().into_iter().collect());
    assert_eq!(shrink(failing(), all, |_| true).decisions, []);
}

proptest! {
    /// Any three decisions of sixty that must be there together, each with its least value.
    #[test]
    fn the_smallest_set_is_found(wanted in proptest::collection::btree_map(0_u32..60, 1_u64..50, 1..4)) {
        let all: Drawn = (0..60).map(|at| (place("client", at % 5, "step", at), 50)).collect();
        let fails = |decisions: &BTreeMap<Place, u64>| {
            let there = |(at, least): (&u32, &u64)| {
                decisions.get(&place("client", at % 5, "step", *at)).is_some_and(|value| value >= least)
            };
            wanted.iter().all(there).then(|| decisions.clone().into_iter().collect())
        };
        let left: BTreeMap<Place, u64> = shrink(all, fails, |_| true).decisions.into_iter().collect();
        let expected = wanted.iter().map(|(at, least)| (place("client", at % 5, "step", *at), *least)).collect();
        prop_assert_eq!(left, expected);
    }
}
