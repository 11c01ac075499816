//! Packs consecutive revisions into one frame, bounded in items and bytes.
//!
//! A frame ends where another key would be needed, so that it needs at most one; a void is one run of revisions that are
//! left out for one reason. At least one revision is covered, however large it is, and revisions that a filter leaves out
//! are covered by the frame around them.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::frame;
use super::kinds::KindSet;
use super::line::Line;
use crate::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use crate::keys::Blob;
use crate::log::Digest;
use crate::site::SiteKeys;
use crate::wire::{Codec, OwnRevision, ServerFrame, VoidWhy};

/// What goes into a frame, and for whom.
pub(super) struct Packer<'a> {
    pub(super) room: RoomId,
    pub(super) keys: &'a SiteKeys,
    pub(super) codec: Codec,
    pub(super) max_items: usize,
    pub(super) max_bytes: usize,
    pub(super) kinds: Option<KindSet>,
    pub(super) refused: Option<KeyVersion>,
    pub(super) account: &'a AccountId,
    pub(super) own: &'a BTreeSet<RequestId>,
}

/// A frame before it is framed.
pub(super) struct Payload {
    pub(super) bytes: Vec<u8>,
    pub(super) to: Revision,
    pub(super) needs: Option<KeyVersion>,
    pub(super) chain: Option<Digest>,
    /// Whether it says the same to everybody.
    pub(super) shared: bool,
}

impl Packer<'_> {
    /// The next frame of these lines, which follow `after` and are all for this account; `None` when there are none.
    pub(super) fn pack<'l>(&self, after: Revision, lines: impl Iterator<Item = &'l Line>) -> Option<Payload> {
        let mut items: Vec<&[u8]> = Vec::new();
        let mut own = Vec::new();
        let mut needs = None;
        let mut bytes = frame::AROUND;
        let mut why = VoidWhy::Filtered;
        let mut last: Option<&Line> = None;
        for line in lines {
            debug_assert_eq!(line.revision, last.map_or(after, |last| last.revision).next());
            if self.kinds.is_some_and(|kinds| !kinds.contains(&line.event)) {
                if why == VoidWhy::Expired {
                    break;
                }
                last = Some(line);
                continue;
            }
            let key = line.needs();
            if key.is_some() && key == self.refused {
                if last.is_some() && why != VoidWhy::Expired {
                    break;
                }
                why = VoidWhy::Expired;
                last = Some(line);
                continue;
            }
            let mark = self.mark(line);
            let encoded = line.encoded(self.codec);
            let grown = bytes + encoded.len() + 1 + if mark.is_some() { frame::MARK } else { 0 };
            let full = items.len() >= self.max_items || (grown > self.max_bytes && !items.is_empty());
            if full || why == VoidWhy::Expired || (key.is_some() && needs.is_some() && key != needs) {
                break;
            }
            needs = needs.or(key);
            bytes = grown;
            items.push(encoded);
            own.extend(mark);
            last = Some(line);
        }
        let last = last?;
        let (from, to) = (after.next(), last.revision);
        let position = last.position(self.room, self.keys);
        let shared = own.is_empty() && self.kinds.is_none() && !items.is_empty();
        let bytes = if items.is_empty() {
            self.void(from, to, why, position)
        } else {
            frame::batch(self.codec, self.room, (from, to), &items, position, own)
        };
        Some(Payload { bytes, to, needs, chain: last.digest, shared })
    }

    /// Revisions without content.
    pub(super) fn void(&self, from: Revision, to: Revision, why: VoidWhy, position: Blob) -> Vec<u8> {
        self.codec.encode(&ServerFrame::Void { room: self.room, from, to, why, position })
    }

    /// The mark of a revision that this very socket asked for.
    pub(super) fn mark(&self, line: &Line) -> Option<OwnRevision> {
        let request = line.request.filter(|request| self.own.contains(request))?;
        (line.account == *self.account).then_some(OwnRevision { revision: line.revision, request })
    }
}
