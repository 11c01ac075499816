//! What waits for a connection and belongs to no room: answers, account events, watched events.
//!
//! Both queues are bounded. Answers are never dropped: a queue of them that overflows ends the connection. Watched events
//! are dropped, counted, and the client is told how many, at the place where they are missing.

use alloc::collections::VecDeque;

use bytes::Bytes;

/// Frames in order, and their bytes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Watched events that wait at most.
pub(super) const WATCHED_FRAMES: usize = 256;
/// Bytes of watched events that wait at most.
const WATCHED_BYTES: usize = 1024 * 1024;

/// What a watcher is sent next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// An event.
    Frame(Bytes),
    /// That many events are missing here.
    Missed(u64),
}

/// Watched events in order.
#[derive(Debug, Default)]
pub(super) struct WatchQueue {
    queue: VecDeque<Watched>,
    bytes: usize,
}

impl WatchQueue {
    pub(super) fn push(&mut self, frame: Bytes) {
        let full = self.queue.len() >= WATCHED_FRAMES || self.bytes + frame.len() > WATCHED_BYTES;
        match self.queue.back_mut() {
            Some(Watched::Missed(missed)) if full => *missed += 1,
            _ if full => self.queue.push_back(Watched::Missed(1)),
            _ => {
                self.bytes += frame.len();
                self.queue.push_back(Watched::Frame(frame));
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Watched> {
        let next = self.queue.pop_front();
        if let Some(Watched::Frame(frame)) = &next {
            self.bytes -= frame.len();
        }
        next
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_slow_watcher_missed_is_counted_where_it_is_missing() {
        let mut queue = WatchQueue::default();
        for _ in 0..WATCHED_FRAMES + 5 {
            queue.push(Bytes::from_static(b"event"));
        }
        assert_eq!(queue.len(), WATCHED_FRAMES + 1);
        for _ in 0..2 {
            assert!(matches!(queue.pop(), Some(Watched::Frame(_))));
        }
        queue.push(Bytes::from_static(b"later"));
        for _ in 2..WATCHED_FRAMES {
            assert!(matches!(queue.pop(), Some(Watched::Frame(_))));
        }
        assert_eq!(queue.pop(), Some(Watched::Missed(5)));
        assert_eq!(queue.pop(), Some(Watched::Frame(Bytes::from_static(b"later"))));
        assert_eq!(queue.pop(), None);
    }
}
