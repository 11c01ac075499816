//! What waits to be written to a client.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, BytesMut};
use tokio::sync::Notify;

/// Bytes on their way to one client, up to a limit.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
    most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// Taken out, and not yet written.
    under_way: usize,
    ending: Option<Ending>,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Once what waits is written.
    Written,
    /// At once.
    Slow,
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next {
    Write(BytesMut),
    End,
    Wait,
}

impl Outbox {
    pub(crate) fn new(most: usize) -> Self {
        Self { waiting: Mutex::default(), changed: Notify::new(), most }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing between lock and unlock leaves it half changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts parts in, one after the other; says whether the client is too slow and is cut off for it.
    pub(crate) fn put(&self, parts: &[&[u8]]) -> bool {
        let mut waiting = self.waiting();
        if waiting.ending.is_some() {
            return false;
        }
        let more: usize = parts.iter().map(|part| part.len()).sum();
        let slow = waiting.bytes.len() + waiting.under_way + more > self.most;
        if slow {
            waiting.ending = Some(Ending::Slow);
        } else {
            waiting.bytes.reserve(more);
            parts.iter().for_each(|part| waiting.bytes.put_slice(part));
        }
        drop(waiting);
        self.changed.notify_one();
        slow
    }

    /// Nothing more is put in.
    pub(crate) fn end(&self, how: Ending) {
        self.waiting().ending.get_or_insert(how);
        self.changed.notify_one();
    }

    /// Whether it still takes something.
    pub(crate) fn is_open(&self) -> bool {
        self.waiting().ending.is_none()
    }

    /// What was taken out is written; what is next.
    pub(crate) fn next(&self) -> Next {
        let mut waiting = self.waiting();
        waiting.under_way = 0;
        match waiting.ending {
            Some(Ending::Slow) => Next::End,
            Some(Ending::Written) if waiting.bytes.is_empty() => Next::End,
            _ if waiting.bytes.is_empty() => Next::Wait,
            _ => {
                let bytes = std::mem::take(&mut waiting.bytes);
                waiting.under_way = bytes.len();
                Next::Write(bytes)
            }
        }
    }

    /// Until something changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
