//! What breaks each invariant: small changes to the good story, each of which its oracle must notice.

mod deliveries;
mod logs;
mod results;

use chamberlain_core::id::RoomId;
use chamberlain_sim::story::Story;

/// A story that is not good.
pub(crate) struct Case {
    /// The oracle that must object.
    pub(crate) oracle: &'static str,
    /// What is wrong with it.
    pub(crate) what: &'static str,
    /// Makes it so.
    pub(crate) spoil: fn(&mut Story, RoomId),
}

/// All of them.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    deliveries::CASES.iter().chain(logs::CASES).chain(results::CASES)
}

const fn case(oracle: &'static str, what: &'static str, spoil: fn(&mut Story, RoomId)) -> Case {
    Case { oracle, what, spoil }
}
