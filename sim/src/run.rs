//! Runs of the model level: a scenario, a tape, and the story that comes of them.
//!
//! A run is a pure function of the code, the scenario and the tape. To add a scenario, name it in [`SCENARIOS`]: with what is
//! drawn for it, or with a script (see [`crate::house::scripts`]).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use crate::house::PROBES;
use crate::house::scripts::Play;
use crate::house::{House, Kind, Knobs, Rates, scenes};
use crate::judge::{Objection, judge};
use crate::story::Story;
use crate::tape::Tape;

/// A kind of run.
pub struct Scenario {
    /// Its name, as commands take it.
    pub name: &'static str,
    /// What it is about.
    pub what: &'static str,
    /// What comes of it is made by.
    pub(crate) made: Made,
}

/// How a run is made.
pub(crate) enum Made {
    /// Everything is drawn, and then changed.
    Drawn(fn(&mut Knobs)),
    /// A script.
    Scripted(fn() -> Play),
}

/// Every scenario; the first is the one that most seeds run.
pub const SCENARIOS: &[Scenario] = &[
    drawn(
        "default",
        "one to three nodes, two to eight clients, a random choice of everything that can go wrong",
        |_| {},
    ),
    drawn("calm", "the same, and nothing goes wrong: limits alone are met", |knobs| {
        knobs.faults = Rates::default();
        knobs.armed.clear();
    }),
    drawn("one-node", "everything that can go wrong, at one node", |knobs| knobs.nodes = 1),
    drawn("rivals", "three nodes that each believe to own every room, and are lost now and then", |knobs| {
        (knobs.nodes, knobs.stubborn, knobs.channels) = (3, true, 1);
        (knobs.faults.store_refuses, knobs.faults.bus_slow_us) = (250, 60_000);
        knobs.armed.extend([Kind::Trap, Kind::Crash]);
        knobs.faults.store_slow_us = 30_000;
    }),
    drawn("slow-readers", "connections with small windows, whose clients stop reading", |knobs| {
        (knobs.faults.link_narrow, knobs.eager) = (true, true);
        knobs.armed = vec![Kind::Stall, Kind::Burst];
        (knobs.blows, knobs.limits.slow_ms) = (12, 1_000);
    }),
    drawn("hot-room", "one room, and everybody says much in it", |knobs| {
        (knobs.channels, knobs.eager, knobs.blows) = (1, true, 12);
        knobs.armed.extend([Kind::Burst; 4]);
        (knobs.limits.submits_per_second, knobs.limits.submits_burst) = (1_000, 1_000);
    }),
    scripted(
        "own-among-others",
        "S-01, S-07, S-21: an author without batches in two rooms, others speaking, a second program of the author",
        scenes::own_among_others,
    ),
    scripted("batches-on-and-off", "S-06: what comes does not depend on how it is packed", scenes::batches_on_and_off),
    scripted(
        "positions-of-no-log",
        "S-09, N-17: invented positions, and one that the log does not have",
        scenes::positions_of_no_log,
    ),
    scripted("away-at-the-rotation", "K-18: keys after an absence, and keys refused", scenes::away_at_the_rotation),
    scripted("many-at-one-record", "S-20: loads per record do not grow with connections", scenes::many_at_one_record),
    scripted(
        "quiet-beside-busy",
        "S-10, S-14: a thin connection with a busy room and a quiet one",
        scenes::quiet_beside_busy,
    ),
    scripted("log-restored", "K-22, N-14: the log loses what it had acknowledged, and goes on", scenes::log_restored),
    scripted("vault-lost", "K-19: the secrets of a room are gone, and its log is not", scenes::vault_lost),
    scripted(
        "removal-retried",
        "M-21: a removal whose answer is lost in a crash, asked again",
        scenes::removal_retried,
    ),
    scripted("watcher-behind", "a watcher that reads nothing while much happens", scenes::watcher_behind),
    scripted(
        "two-at-once",
        "M-02, M-11, M-12: at two nodes at once, what only one of them can do",
        scenes::two_at_once,
    ),
    scripted(
        "behind-in-many-rooms",
        "nine rooms opened at once from their start, by a client that then reads nothing for a while",
        scenes::behind_in_many_rooms,
    ),
    scripted("far-behind", "S-08, N-19: closed as slow, and back again, far behind", scenes::far_behind),
];

const fn drawn(name: &'static str, what: &'static str, change: fn(&mut Knobs)) -> Scenario {
    Scenario { name, what, made: Made::Drawn(change) }
}

const fn scripted(name: &'static str, what: &'static str, script: fn() -> Play) -> Scenario {
    Scenario { name, what, made: Made::Scripted(script) }
}

/// A run, and what was seen of it.
pub struct Run {
    /// What was seen.
    pub story: Story,
    /// How many events it took.
    pub events: u64,
    /// Nodes, clients, limits, and what could go wrong, in a paragraph.
    pub configuration: String,
    /// What a machine said when it gave up.
    pub panic: Option<String>,
}

/// The scenario of this name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// Plays a scenario. With `detailed`, the story tells of messages and states as well.
pub fn play(scenario: &Scenario, tape: &mut Tape, detailed: bool) -> Run {
    let mut own = std::mem::replace(tape, Tape::of_bytes(&[]));
    let (knobs, script) = match &scenario.made {
        Made::Drawn(change) => {
            let mut knobs = Knobs::draw(&mut own);
            change(&mut knobs);
            (knobs, None)
        }
        Made::Scripted(script) => {
            let script = script();
            (script.knobs.clone(), Some(script))
        }
    };
    let configuration = knobs.describe();
    let mut house = House::new(knobs, own, detailed);
    let caught = catch_unwind(AssertUnwindSafe(|| house.run(script)));
    let panic = caught.err().map(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
    });
    *tape = house.tape;
    Run { story: house.story, events: house.events, configuration, panic }
}

/// What the oracles object to, and whether a machine gave up.
pub fn verdict(run: &Run) -> Vec<Objection> {
    let mut objections = judge(&run.story);
    objections.extend(run.panic.iter().map(|panic| Objection {
        oracle: "B1",
        invariant: "Poison input neither blocks nor loops: no input makes a machine panic.",
        what: format!("a machine gave up: {panic}"),
        at: run.story.seen.len().checked_sub(1),
    }));
    objections
}

/// A run as text: one line for each thing that was seen. Equal runs have equal text.
pub fn trace(story: &Story) -> impl fmt::Display {
    struct Trace<'a>(&'a Story);
    impl fmt::Display for Trace<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write_trace(self.0, f)
        }
    }
    Trace(story)
}

/// Writes [`trace`].
///
/// # Errors
/// Those of `out`.
pub fn write_trace(story: &Story, out: &mut impl fmt::Write) -> fmt::Result {
    story.seen.iter().try_for_each(|(at, seen)| writeln!(out, "{at} {seen:?}"))
}
