//! The last records of a log as they are stored, so that a log that lost them can be given those very bytes again.
//!
//! Bounded like a [`Tail`], by which it is held. A body that is taken back is overwritten here as it is in the store, so that
//! nothing brings it back. What is given again follows the head that it is asked for exactly, digest and all (RACES.md, N-14).

use alloc::vec::Vec;

use super::digest::Head;
use super::record::{RecordBytes, erase_body};
use super::tail::{Offer, Tail};
use crate::id::Revision;

/// The end of a log, in its stored form.
#[derive(Debug)]
pub struct Suffix {
    tail: Tail<Stored>,
    head: Head,
    most: (usize, usize),
}

/// A stored record between two heads of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The head that it follows.
    pub before: Head,
    /// The record.
    pub bytes: RecordBytes,
    /// The head that it leads to.
    pub after: Head,
}

impl Suffix {
    /// Holds nothing yet of a log that ends at `head`; later at most so many records and bytes.
    pub fn new(head: Head, max_records: usize, max_bytes: usize) -> Self {
        Self { tail: Tail::new(head.revision, max_records, max_bytes), head, most: (max_records, max_bytes) }
    }

    /// Takes the next record, which leads to the head `after`. After a gap only what follows it is held.
    pub fn take(&mut self, bytes: RecordBytes, after: Head) {
        match self.tail.judge(bytes.first) {
            Offer::Duplicate => return,
            Offer::Gap { .. } => {
                *self = Self::new(after, self.most.0, self.most.1);
                return;
            }
            Offer::Next => {}
        }
        let (first, last, weight) = (bytes.first, bytes.last, bytes.bytes.len());
        debug_assert_eq!(last, after.revision);
        let stored = Stored { before: self.head, bytes, after };
        self.tail.offer(first, last, weight, stored);
        self.head = after;
    }

    /// Forgets the body at a revision.
    pub fn bury(&mut self, revision: Revision) {
        if let Some(stored) = self.tail.get_mut(revision)
            && let Ok(erased) = erase_body(&stored.bytes, revision)
        {
            stored.bytes = erased;
        }
    }

    /// What the log had after `head`, oldest first; `None` when its chain did not pass through that head from one record to the
    /// next, or when some of it is no longer held.
    pub fn after(&self, head: Head) -> Option<Vec<Stored>> {
        let stored: Vec<Stored> = self.tail.after(head.revision)?.cloned().collect();
        let begins = stored.first().map_or(self.head, |stored| stored.before);
        (begins == head).then_some(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Blob;
    use crate::log::{Body, Digest, Entry, Logged, Record};
    use crate::site::Fingerprint;
    use crate::time::Timestamp;

    /// Records of two events with a body each, and the head after each.
    fn log(count: u64) -> Vec<(RecordBytes, Head)> {
        let mut head = Head::EMPTY;
        let mut records = Vec::new();
        for nth in 0..count {
            let body = |half: u8| Body::Present(Blob(alloc::vec![nth as u8, half, 7].into()));
            let events = alloc::vec![Logged { event: nth, body: body(0) }, Logged { event: nth, body: body(1) }];
            let account = "ada".parse().expect("valid");
            let entry = Entry { account, request: None, fingerprint: Fingerprint::default(), events };
            let record = Record { first: head.revision.next(), time: Timestamp(nth), entries: alloc::vec![entry] };
            head = record.extend(head).expect("follows");
            records.push((record.encode(), head));
        }
        records
    }

    fn suffix(log: &[(RecordBytes, Head)], max_records: usize) -> Suffix {
        let mut suffix = Suffix::new(Head::EMPTY, max_records, 1_000_000);
        log.iter().for_each(|(bytes, after)| suffix.take(bytes.clone(), *after));
        suffix
    }

    #[test]
    fn gives_the_very_bytes_that_followed_a_head() {
        let log = log(4);
        let suffix = suffix(&log, 10);
        let again = suffix.after(log[1].1).expect("held");
        assert_eq!(again.iter().map(|stored| &stored.bytes).collect::<Vec<_>>(), [&log[2].0, &log[3].0]);
        assert_eq!((again[0].before, again[1].after), (log[1].1, log[3].1));
        assert_eq!(suffix.after(log[3].1), Some(Vec::new()));
        assert_eq!(suffix.after(Head::EMPTY).map(|all| all.len()), Some(4));
    }

    #[test]
    fn gives_nothing_after_a_head_of_another_log_or_within_a_record() {
        let log = log(3);
        let suffix = suffix(&log, 10);
        assert_eq!(suffix.after(Head { digest: Digest([1; 32]), ..log[0].1 }), None);
        assert_eq!(suffix.after(Head { digest: Digest([1; 32]), ..log[2].1 }), None);
        assert_eq!(suffix.after(Head { revision: Revision(3), ..log[0].1 }), None);
        assert_eq!(suffix.after(Head { revision: Revision(99), ..log[0].1 }), None);
    }

    #[test]
    fn gives_nothing_where_the_first_of_it_is_no_longer_held() {
        let log = log(5);
        let suffix = suffix(&log, 2);
        assert_eq!(suffix.after(log[1].1), None);
        assert!(suffix.after(log[2].1).is_some());
    }

    #[test]
    fn a_gap_begins_anew() {
        let log = log(5);
        let mut suffix = suffix(&log[..2], 10);
        suffix.take(log[3].0.clone(), log[3].1);
        suffix.take(log[4].0.clone(), log[4].1);
        assert_eq!(suffix.after(log[2].1), None);
        assert_eq!(suffix.after(log[3].1).map(|held| held.len()), Some(1));
        suffix.take(log[4].0.clone(), log[4].1);
        assert_eq!(suffix.after(log[3].1).map(|held| held.len()), Some(1));
    }

    #[test]
    fn a_body_that_was_taken_back_is_not_given_again() {
        let log = log(2);
        let mut suffix = suffix(&log, 10);
        suffix.bury(Revision(3));
        suffix.bury(Revision(3));
        suffix.bury(Revision(77));
        let again = suffix.after(log[0].1).expect("held").remove(0);
        let read = Record::<u64>::decode(&again.bytes.bytes).expect("readable");
        let erased: Vec<bool> = read.items().map(|item| matches!(item.body, Body::Erased { .. })).collect();
        assert_eq!(erased, [true, false]);
        assert_eq!(read.extend(again.before), Some(again.after), "the chain is the same");
    }
}
