//! A room as the spike needs it: a head that moves, frames encoded once, and how many sockets are still behind.
//!
//! One revision at a time: the next is published when every socket has taken this one, so that every shape makes the same
//! number of writes of the same bytes and none gains by batching.

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

const FRAMES_IN_RING: usize = 64;

/// Shared by the publisher and every socket's task.
pub(crate) struct Room {
    ring: Vec<(Bytes, Bytes)>,
    head: AtomicU64,
    behind: AtomicUsize,
    caught_up: Notify,
    blocked: AtomicU64,
}

impl Room {
    /// A room whose every payload has `payload_bytes`.
    pub(crate) fn new(payload_bytes: usize) -> Self {
        let ring = (0..FRAMES_IN_RING)
            .map(|index| {
                let payload = Bytes::from(vec![index as u8; payload_bytes]);
                (crate::frame::server_frame(&payload), payload)
            })
            .collect();
        Self {
            ring,
            head: AtomicU64::new(0),
            behind: AtomicUsize::new(0),
            caught_up: Notify::new(),
            blocked: AtomicU64::new(0),
        }
    }

    /// Bytes on the wire of one revision.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.ring[0].0.len()
    }

    /// The encoded frame of a revision.
    pub(crate) fn frame(&self, revision: u64) -> &[u8] {
        &self.ring[slot(revision)].0
    }

    /// What the libraries are given to frame themselves.
    pub(crate) fn payload(&self, revision: u64) -> Bytes {
        self.ring[slot(revision)].1.clone()
    }

    /// The first revision that is not published yet.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::SeqCst)
    }

    /// Moves the head over one revision that `sockets` will have to take.
    pub(crate) fn publish(&self, sockets: usize) {
        self.behind.store(sockets, Ordering::SeqCst);
        self.head.fetch_add(1, Ordering::SeqCst);
    }

    /// One socket took the published revision.
    pub(crate) fn delivered(&self) {
        let before = self.behind.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "delivered more often than published");
        if before == 1 {
            self.caught_up.notify_one();
        }
    }

    /// Resolves once after every socket has taken the published revision.
    pub(crate) async fn all_delivered(&self) {
        self.caught_up.notified().await;
    }

    /// Notes a write that the kernel did not take whole at once.
    pub(crate) fn note_blocked(&self) {
        self.blocked.fetch_add(1, Ordering::Relaxed);
    }

    /// How many writes were not taken at once.
    pub(crate) fn blocked(&self) -> u64 {
        self.blocked.load(Ordering::Relaxed)
    }
}

fn slot(revision: u64) -> usize {
    revision as usize % FRAMES_IN_RING
}
