//! The end of a log, in memory: the last elements in order, without gap or duplicate.
//!
//! Bounded in count and in bytes; what falls out is read from the store again. An element covers the revisions
//! `first..=last`, and each one offered must follow the last one held.

use alloc::collections::VecDeque;

use crate::id::Revision;

/// The last elements of a log, oldest first. `T` is whatever is kept of a record.
#[derive(Debug)]
pub struct Tail<T> {
    items: VecDeque<Held<T>>,
    /// Last revision known, held or not.
    head: Revision,
    bytes: usize,
    max_items: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Held<T> {
    first: Revision,
    last: Revision,
    bytes: usize,
    value: T,
}

/// What came of offering an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It was the next one.
    Next,
    /// It lies at or below the head.
    Duplicate,
    /// Something between the head and it is missing: fetch after `after`.
    Gap {
        /// The last revision before the gap.
        after: Revision,
    },
}

impl<T> Tail<T> {
    /// A tail that holds nothing of a log that ends at `head`. At least one element is always kept.
    pub fn new(head: Revision, max_items: usize, max_bytes: usize) -> Self {
        Self { items: VecDeque::new(), head, bytes: 0, max_items: max_items.max(1), max_bytes }
    }

    /// The last revision.
    pub fn head(&self) -> Revision {
        self.head
    }

    /// The revision after which everything is held.
    pub fn floor(&self) -> Revision {
        self.items.front().map_or(self.head, |held| held.first.previous())
    }

    /// Says what an element covering `first..` would be, without taking it.
    pub fn judge(&self, first: Revision) -> Offer {
        if first <= self.head {
            Offer::Duplicate
        } else if first == self.head.next() {
            Offer::Next
        } else {
            Offer::Gap { after: self.head }
        }
    }

    /// Takes the element if it is the next one; `bytes` is its weight.
    pub fn offer(&mut self, first: Revision, last: Revision, bytes: usize, value: T) -> Offer {
        debug_assert!(first <= last);
        let offer = self.judge(first);
        if offer == Offer::Next {
            self.items.push_back(Held { first, last, bytes, value });
            self.head = last;
            self.bytes += bytes;
            while self.items.len() > self.max_items || (self.bytes > self.max_bytes && self.items.len() > 1) {
                if let Some(gone) = self.items.pop_front() {
                    self.bytes -= gone.bytes;
                }
            }
        }
        offer
    }

    /// The elements that cover revisions after `after`, oldest first; `None` when some of them are no longer held.
    pub fn after(&self, after: Revision) -> Option<impl Iterator<Item = &T>> {
        if after < self.floor() {
            return None;
        }
        let from = self.items.partition_point(|held| held.last <= after);
        Some(self.items.range(from..).map(|held| &held.value))
    }

    /// The element that covers `revision`, to change it in place.
    pub fn get_mut(&mut self, revision: Revision) -> Option<&mut T> {
        let at = self.items.partition_point(|held| held.last < revision);
        self.items.get_mut(at).filter(|held| held.first <= revision).map(|held| &mut held.value)
    }

    /// The element that covers `revision`.
    pub fn get(&self, revision: Revision) -> Option<&T> {
        let at = self.items.partition_point(|held| held.last < revision);
        self.items.get(at).filter(|held| held.first <= revision).map(|held| &held.value)
    }

    /// The elements held, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.items.iter().rev().map(|held| &held.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn offer(tail: &mut Tail<u64>, revision: u64) -> Offer {
        tail.offer(Revision(revision), Revision(revision), 10, revision)
    }

    fn after(tail: &Tail<u64>, revision: u64) -> Option<Vec<u64>> {
        tail.after(Revision(revision)).map(|held| held.copied().collect())
    }

    #[test]
    fn takes_only_what_follows() {
        let mut tail = Tail::new(Revision(4), 10, 1_000);
        assert_eq!(offer(&mut tail, 4), Offer::Duplicate);
        assert_eq!(offer(&mut tail, 6), Offer::Gap { after: Revision(4) });
        assert_eq!(offer(&mut tail, 5), Offer::Next);
        assert_eq!(after(&tail, 4), Some(alloc::vec![5]));
        assert_eq!(after(&tail, 5), Some(alloc::vec![]));
    }

    #[test]
    fn says_when_the_past_is_no_longer_held() {
        let mut tail = Tail::new(Revision::ZERO, 100, 35);
        for revision in 1..=9 {
            assert_eq!(offer(&mut tail, revision), Offer::Next);
        }
        assert_eq!(tail.floor(), Revision(6));
        assert_eq!(after(&tail, 5), None);
        assert_eq!(after(&tail, 6), Some(alloc::vec![7, 8, 9]));
    }

    #[test]
    fn an_element_may_cover_several_revisions() {
        let mut tail = Tail::new(Revision::ZERO, 10, 1_000);
        assert_eq!(tail.offer(Revision(1), Revision(3), 1, 'a'), Offer::Next);
        assert_eq!(tail.offer(Revision(4), Revision(4), 1, 'b'), Offer::Next);
        assert_eq!(tail.get(Revision(2)), Some(&'a'));
        assert_eq!(tail.get(Revision(5)), None);
        let from_the_middle: Vec<char> = tail.after(Revision(2)).expect("held").copied().collect();
        assert_eq!(from_the_middle, ['a', 'b']);
    }
}
