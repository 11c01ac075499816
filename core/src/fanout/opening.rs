//! One room as one socket has it open: how far it is, what it waits for, and the answers that wait for it.
//!
//! `cursor.delivered() <= sent <= the claim's end`: `sent` is what was handed to the transport, in order, and nothing after
//! a revision is handed over before it. Keys go by the order of the log, so the last one given is all there is to remember.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use bytes::Bytes;

use super::cursor::Cursor;
use super::io::OpeningId;
use super::kinds::KindSet;
use super::past::Past;
use crate::id::{KeyVersion, RequestId, Revision};
use crate::log::Digest;

/// What an opening waits for before it can be sent more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing.
    Nothing,
    /// Records from the store.
    Fetch,
    /// Its turn to fetch.
    Turn,
    /// The time to fetch again.
    Retry,
    /// The key of this version.
    Key(KeyVersion),
    /// An account event that tells of the room (K4).
    Told,
}

/// An answer that waits for a revision.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) request: Option<RequestId>,
    pub(super) frame: Bytes,
}

/// A room, open.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: OpeningId,
    pub(super) cursor: Cursor,
    /// The last revision that was handed to the transport.
    pub(super) sent: Revision,
    /// The digest there.
    pub(super) chain: Option<Digest>,
    pub(super) vouched: Option<Revision>,
    pub(super) kinds: Option<KindSet>,
    /// The account was told that it is in the room for revisions before this one.
    pub(super) told_until: Revision,
    /// The version whose key was given last.
    pub(super) given: Option<KeyVersion>,
    /// The version whose key was refused last.
    pub(super) refused: Option<KeyVersion>,
    /// A key frame that came and was not given yet.
    pub(super) key: Option<(KeyVersion, Bytes)>,
    pub(super) past: Option<Arc<Past>>,
    pub(super) wait: Wait,
    /// Whether it is in the line of rooms to be served.
    pub(super) queued: bool,
    /// Whether frames of it are in the write that is under way.
    pub(super) in_flight: bool,
    /// Answers by the revision that they follow, then by arrival.
    pub(super) answers: BTreeMap<(Revision, u64), Answer>,
}

impl Opening {
    /// Whether it could be sent something now.
    pub(super) fn is_ready(&self) -> bool {
        self.wait == Wait::Nothing && self.cursor.head() > self.sent
    }

    /// Whether it takes one of the places for what is read from the store.
    pub(super) fn holds_place(&self) -> bool {
        self.wait == Wait::Fetch || self.past.is_some()
    }
}
