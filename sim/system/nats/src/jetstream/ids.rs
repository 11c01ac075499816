//! Ids by which a stream knows messages that it has, for a while.

use std::collections::{BTreeMap, VecDeque};

/// The ids of a stream.
#[derive(Debug)]
pub(crate) struct MessageIds {
    /// Sequences and times.
    known: BTreeMap<String, (u64, u64)>,
    /// By time.
    order: VecDeque<(u64, String)>,
    most: usize,
}

impl MessageIds {
    /// Knows at most so many; the oldest is forgotten for the next.
    pub(crate) fn new(most: usize) -> Self {
        Self { known: BTreeMap::new(), order: VecDeque::new(), most: most.max(1) }
    }

    /// The sequence at which an id was met inside the window that ends now, in nanoseconds.
    pub(crate) fn find(&mut self, id: &str, now: u64, window: u64) -> Option<u64> {
        while self.order.front().is_some_and(|(time, _)| time.saturating_add(window) <= now) {
            self.forget_oldest();
        }
        self.known.get(id).map(|(sequence, _)| *sequence)
    }

    pub(crate) fn add(&mut self, id: &str, sequence: u64, time: u64) {
        if self.known.len() >= self.most {
            self.forget_oldest();
        }
        self.known.insert(id.to_owned(), (sequence, time));
        self.order.push_back((time, id.to_owned()));
    }

    fn forget_oldest(&mut self) {
        if let Some((time, id)) = self.order.pop_front()
            && self.known.get(&id).is_some_and(|(_, known)| *known == time)
        {
            self.known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_inside_the_window() {
        let mut ids = MessageIds::new(2);
        ids.add("a", 1, 100);
        assert_eq!(ids.find("a", 109, 10), Some(1));
        assert_eq!(ids.find("a", 110, 10), None);
        for (nth, id) in ["a", "b", "c"].into_iter().enumerate() {
            ids.add(id, nth as u64, 200);
        }
        assert_eq!((ids.find("a", 200, 10), ids.find("c", 200, 10)), (None, Some(2)));
    }
}
