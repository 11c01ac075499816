//! What this surface counts.

use chamberlain_core::room::Code;
use prometheus_client::registry::Registry;

use crate::metrics::{Counted, OUTCOMES, counter, counters};

/// What is published of itself, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Subscription,
    Key,
    Room,
    Channel,
}

const KINDS: [&str; 4] = ["subscription", "key", "room", "channel"];

/// The counters, all there from the start.
pub(crate) struct Figures {
    /// One per outcome, in the order of [`OUTCOMES`].
    answered: Vec<Counted>,
    pub(super) unreadable: Counted,
    pub(super) replies_ignored: Counted,
    pub(super) unanswered: Counted,
    /// One per [`Kind`].
    published: Vec<Counted>,
    /// One per [`Kind`].
    dropped: Vec<Counted>,
    pub(super) slow: Counted,
    pub(super) errors: Counted,
    pub(super) reconnected: Counted,
}

impl Figures {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let outcomes = OUTCOMES.map(|outcome| [("outcome", outcome)]);
        let kinds = KINDS.map(|kind| [("kind", kind)]);
        let mut one = |name: &str, help: &str| counter(registry, name, help);
        Self {
            unreadable: one("subject_requests_unreadable", "Requests whose subject does not say who asks"),
            replies_ignored: one(
                "subject_replies_ignored",
                "Reply subjects that the requester may not read, not answered",
            ),
            unanswered: one("subject_answers_dropped", "Answers that NATS did not take in time"),
            slow: one("subject_slow_consumers", "Times that requests came faster than they were taken"),
            errors: one("subject_server_errors", "Errors that the NATS server told of, refused permissions among them"),
            reconnected: one("subject_reconnections", "Connections to NATS that followed a lost one"),
            answered: counters(registry, "subject_requests", "Requests over NATS, by what came of them", outcomes),
            published: counters(registry, "subject_events", "Events published on subjects", kinds),
            dropped: counters(
                registry,
                "subject_events_dropped",
                "Events that were not published: too many, or too late",
                kinds,
            ),
        }
    }

    pub(super) fn answered(&self, refused: Option<Code>) {
        self.answered[refused.map_or(0, |code| 1 + code as usize)].inc();
    }

    pub(super) fn published(&self, kind: Kind, count: u64) {
        self.published[kind as usize].inc_by(count);
    }

    pub(super) fn dropped(&self, kind: Kind, count: u64) {
        self.dropped[kind as usize].inc_by(count);
    }
}
