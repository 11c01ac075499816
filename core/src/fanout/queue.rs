//! What waits for a connection and belongs to no room: answers, account events, watched events.
//!
//! Both queues are bounded. Answers are never dropped: a queue of them that overflows ends the connection. Watched events
//! are dropped, counted, and the client is told how many, at the place where they are missing; so are those that wait with a
//! text that is taken back meanwhile.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::id::{Revision, RoomId};

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
    /// Beside each event, the message whose text it has.
    queue: VecDeque<(Watched, Option<(RoomId, Revision)>)>,
    bytes: usize,
}

impl WatchQueue {
    pub(super) fn push(&mut self, frame: Bytes, says: Option<(RoomId, Revision)>) {
        let full = self.queue.len() >= WATCHED_FRAMES || self.bytes + frame.len() > WATCHED_BYTES;
        match self.queue.back_mut() {
            Some((Watched::Missed(missed), _)) if full => *missed += 1,
            _ if full => self.queue.push_back((Watched::Missed(1), None)),
            _ => {
                self.bytes += frame.len();
                self.queue.push_back((Watched::Frame(frame), says));
            }
        }
    }

    /// Events with the text of this message are missing from now on.
    pub(super) fn take_back(&mut self, room: RoomId, message: Revision) {
        for (event, says) in &mut self.queue {
            if says.take_if(|says| *says == (room, message)).is_some()
                && let Watched::Frame(frame) = core::mem::replace(event, Watched::Missed(1))
            {
                self.bytes -= frame.len();
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Watched> {
        let (next, _) = self.queue.pop_front()?;
        if let Watched::Frame(frame) = &next {
            self.bytes -= frame.len();
        }
        Some(next)
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
            queue.push(Bytes::from_static(b"event"), None);
        }
        assert_eq!(queue.len(), WATCHED_FRAMES + 1);
        for _ in 0..2 {
            assert!(matches!(queue.pop(), Some(Watched::Frame(_))));
        }
        queue.push(Bytes::from_static(b"later"), None);
        for _ in 2..WATCHED_FRAMES {
            assert!(matches!(queue.pop(), Some(Watched::Frame(_))));
        }
        assert_eq!(queue.pop(), Some(Watched::Missed(5)));
        assert_eq!(queue.pop(), Some(Watched::Frame(Bytes::from_static(b"later"))));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn a_text_that_is_taken_back_does_not_wait_any_longer() {
        let room = RoomId::from_digest(&[1; 32]);
        let mut queue = WatchQueue::default();
        queue.push(Bytes::from_static(b"message"), Some((room, Revision(4))));
        queue.push(Bytes::from_static(b"other"), Some((room, Revision(5))));
        queue.push(Bytes::from_static(b"edit"), Some((room, Revision(4))));
        queue.take_back(room, Revision(4));
        assert_eq!(queue.bytes(), 5);
        assert_eq!(queue.pop(), Some(Watched::Missed(1)));
        assert_eq!(queue.pop(), Some(Watched::Frame(Bytes::from_static(b"other"))));
        assert_eq!(queue.pop(), Some(Watched::Missed(1)));
        assert_eq!((queue.pop(), queue.bytes()), (None, 0));
    }
}
