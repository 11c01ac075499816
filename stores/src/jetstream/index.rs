//! Where the logs' records lie in the stream, as far as it is known: never the truth, and bounded.
//!
//! What is known holds for one connection: a server that came back may have lost something, so that everything is forgotten
//! when the connection is another one. A place says "the record that begins here was at this sequence": when it was rewritten
//! since, whoever goes there finds what follows, and knows what to look for.

use std::collections::BTreeMap;

use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::Head;

/// Places kept of one log; beyond, every other one is forgotten.
const PLACES_MOST: usize = 256;

/// The last message of a log, and the head that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its sequence in the stream; zero when the log has none.
    pub(super) sequence: u64,
    pub(super) head: Head,
}

/// What is known of the logs.
#[derive(Debug)]
pub(super) struct Index {
    logs: BTreeMap<LogId, Known>,
    /// Which connection it was learned through.
    connection: u64,
    uses: u64,
    most: usize,
}

#[derive(Debug, Default)]
struct Known {
    last: Option<Place>,
    /// Sequences of records, by first revision.
    places: BTreeMap<Revision, u64>,
    used: u64,
}

impl Index {
    /// Knows at most `most` logs, the ones used last.
    pub(super) fn new(most: usize) -> Self {
        Self { logs: BTreeMap::new(), connection: 0, uses: 0, most: most.max(1) }
    }

    /// Forgets everything that was learned through another connection than this one.
    pub(super) fn at(&mut self, connection: u64) -> &mut Self {
        if self.connection != connection {
            self.connection = connection;
            self.logs.clear();
        }
        self
    }

    /// Where the log ended when it was last seen.
    pub(super) fn last(&self, log: &LogId) -> Option<Place> {
        self.logs.get(log).and_then(|known| known.last)
    }

    /// The log ends here, unless it is known to end later.
    pub(super) fn ends(&mut self, log: &LogId, place: Place) {
        let known = self.known(log);
        if known.last.is_none_or(|last| last.sequence <= place.sequence) {
            known.last = Some(place);
        }
    }

    /// Whatever is known of the log's end is wrong.
    pub(super) fn forget_end(&mut self, log: &LogId) {
        if let Some(known) = self.logs.get_mut(log) {
            known.last = None;
        }
    }

    /// The record that begins at `first` is at `sequence`.
    pub(super) fn lies(&mut self, log: &LogId, first: Revision, sequence: u64) {
        let places = &mut self.known(log).places;
        places.insert(first, sequence);
        if places.len() > PLACES_MOST {
            let mut nth = 0;
            places.retain(|_, _| {
                nth += 1;
                nth % 2 == 0
            });
        }
    }

    /// The beginning of a record at or before `wanted`, and a sequence before which nothing of it or after it lies.
    pub(super) fn before(&self, log: &LogId, wanted: Revision) -> (Revision, u64) {
        let places = self.logs.get(log).map(|known| &known.places);
        let before = places.and_then(|places| places.range(..=wanted).next_back());
        before.map_or((Revision(1), 1), |(first, sequence)| (*first, *sequence))
    }

    fn known(&mut self, log: &LogId) -> &mut Known {
        self.uses += 1;
        if self.logs.len() >= self.most && !self.logs.contains_key(log) {
            self.forget_half();
        }
        let known = self.logs.entry(log.clone()).or_default();
        known.used = self.uses;
        known
    }

    /// Forgets the logs that were used longest ago.
    fn forget_half(&mut self) {
        let mut uses: Vec<u64> = self.logs.values().map(|known| known.used).collect();
        uses.sort_unstable();
        let middle = uses[uses.len() / 2];
        self.logs.retain(|_, known| known.used > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(nth: usize) -> LogId {
        LogId::Account(format!("a{nth}").parse().expect("an account"))
    }

    #[test]
    fn a_log_that_was_not_used_for_long_is_forgotten() {
        let mut index = Index::new(8);
        for nth in 0..100 {
            index.ends(&log(nth), Place { sequence: nth as u64 + 1, head: Head::EMPTY });
            assert!(index.logs.len() <= 8);
        }
        assert_eq!(index.last(&log(99)).map(|place| place.sequence), Some(100));
        assert_eq!(index.last(&log(0)), None);
    }

    #[test]
    fn places_thin_out_and_stay_true() {
        let mut index = Index::new(8);
        for nth in 1..10_000 {
            index.lies(&log(0), Revision(nth), 10 * nth);
        }
        for wanted in [1, 2, 500, 9_999, 20_000] {
            let (first, sequence) = index.before(&log(0), Revision(wanted));
            assert!(first <= Revision(wanted) && (sequence == 10 * first.0 || (first, sequence) == (Revision(1), 1)));
        }
        assert!(index.logs[&log(0)].places.len() <= PLACES_MOST);
    }

    #[test]
    fn another_connection_knows_nothing() {
        let mut index = Index::new(8);
        index.at(1).ends(&log(0), Place { sequence: 1, head: Head::EMPTY });
        assert!(index.at(1).last(&log(0)).is_some());
        assert!(index.at(2).last(&log(0)).is_none());
    }
}
