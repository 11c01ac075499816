//! The last frames of one room, so that ten thousand sockets share one encoding.
//!
//! A frame is here only if it says the same to everybody who is where it begins: no own marks, no filter, nothing left out
//! for want of entitlement. Bounded in frames and in bytes; emptied when a body is deleted.

use alloc::collections::VecDeque;

use super::pack::Packed;
use crate::id::Revision;
use crate::log::Digest;
use crate::wire::Codec;

/// Frames kept.
const FRAMES: usize = 16;

/// What a frame was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) after: Revision,
    pub(super) through: Revision,
    pub(super) codec: Codec,
    pub(super) batch: bool,
}

/// A frame and where it may be used.
#[derive(Debug)]
struct Cached {
    key: Key,
    /// The digest at `after`, as the frame's position was chained on; from the tail, our own.
    before: Option<Digest>,
    from_tail: bool,
    packed: Packed,
}

/// The last frames, oldest first.
#[derive(Debug)]
pub(super) struct Cache {
    frames: VecDeque<Cached>,
    bytes: usize,
    max_bytes: usize,
}

impl Cache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, max_bytes }
    }

    /// The frame for somebody whose chain is `chain`. One that was chained on what some client showed serves only those who
    /// showed the same.
    pub(super) fn get(&self, key: Key, chain: Option<Digest>) -> Option<&Packed> {
        let usable =
            |cached: &&Cached| cached.key == key && (cached.before == chain || (cached.from_tail && chain.is_none()));
        self.frames.iter().rev().find(usable).map(|cached| &cached.packed)
    }

    pub(super) fn put(&mut self, key: Key, before: Option<Digest>, from_tail: bool, packed: Packed) {
        self.bytes += packed.bytes.len();
        self.frames.push_back(Cached { key, before, from_tail, packed });
        while self.frames.len() > FRAMES || (self.bytes > self.max_bytes && self.frames.len() > 1) {
            if let Some(gone) = self.frames.pop_front() {
                self.bytes -= gone.packed.bytes.len();
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }
}
