//! What this level sees beyond the story's oracles: a server that is unwell at the end.

use chamberlain_sim::judge::Objection;
use chamberlain_sim::story::Story;

/// What is wrong.
pub(crate) fn object(story: &Story) -> Vec<Objection> {
    let unwell = story.ending.unwell.iter().map(|what| Objection {
        oracle: "V1",
        invariant: "once faults stop, everyone is caught up within a bounded time",
        what: what.clone(),
        at: None,
    });
    unwell.collect()
}
