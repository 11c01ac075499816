//! Records that were read from the store for a socket that is behind what the hub holds in memory.
//!
//! Consecutive, at least one. Shared by whoever waited for the same ones; what is served of them is decided when it is
//! served, by the hub's fold of that moment, so nothing that was deleted meanwhile gets out.

use alloc::vec::Vec;

use crate::id::Revision;
use crate::log::Record;
use crate::room::Event;

/// Consecutive records of one room's log.
#[derive(Debug)]
pub struct Past {
    records: Vec<Record<Event>>,
    last: Revision,
}

impl Past {
    /// These records, oldest first; `None` when there are none, or they are not consecutive.
    pub fn new(records: Vec<Record<Event>>) -> Option<Self> {
        let last = records.last()?.last();
        let consecutive = records.windows(2).all(|pair| pair[1].first == pair[0].last().next());
        consecutive.then_some(Self { records, last })
    }

    /// The last revision held.
    pub fn last(&self) -> Revision {
        self.last
    }

    /// Whether it holds the revision after `after`.
    pub(super) fn follows(&self, after: Revision) -> bool {
        self.records.first().is_some_and(|record| record.first <= after.next()) && after < self.last
    }

    /// The records that hold revisions after `after`.
    pub(super) fn after(&self, after: Revision) -> impl Iterator<Item = &Record<Event>> {
        self.records.iter().skip_while(move |record| record.last() <= after)
    }
}
