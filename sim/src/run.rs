//! Runs of the model level: a scenario, a tape, and the story that comes of them.
//!
//! A run is a pure function of the code, the scenario and the tape. To add a scenario, name it in [`SCENARIOS`]: with what is
//! drawn for it, or with a script (see [`crate::house::scripts`]).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use crate::house::PROBES;
use crate::house::scripts::Play;
use crate::house::{House, Knobs};
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
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "default",
    what: "one to three nodes, two to eight clients, and a random choice of everything that can go wrong",
    made: Made::Drawn(|_| {}),
}];

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
