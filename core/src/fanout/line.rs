//! One revision of a room as it is served: encoded at most once per codec, shared by every socket.
//!
//! A line whose body was deleted is a tombstone: the body and its encodings are gone from it, and nothing can bring them
//! back. A line knows the digest at its revision where the chain up to it is known.

use alloc::vec::Vec;
use core::cell::OnceCell;

use crate::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use crate::keys::{Blob, Envelope};
use crate::log::{self, Body, Digest, Head, Position, Record};
use crate::room::Event;
use crate::site::SiteKeys;
use crate::time::Timestamp;
use crate::wire::{self, Codec};

/// A revision, ready to be sent.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) revision: Revision,
    pub(super) account: AccountId,
    pub(super) request: Option<RequestId>,
    pub(super) event: Event,
    /// The digest at this revision.
    pub(super) digest: Option<Digest>,
    time: Timestamp,
    /// The envelope in its stored form.
    body: Option<Blob>,
    encoded: [OnceCell<Vec<u8>>; 2],
    position: OnceCell<Blob>,
}

impl Line {
    /// A revision of a record, with its body unless that was taken back.
    pub(super) fn new(item: &log::Item<'_, Event>, erased: bool, digest: Option<Digest>) -> Self {
        let body = match item.body {
            Body::Present(body) if !erased => Some(body.clone()),
            _ => None,
        };
        Self {
            revision: item.revision,
            account: item.account.clone(),
            request: item.request,
            event: item.event.clone(),
            digest,
            time: item.time,
            body,
            encoded: [const { OnceCell::new() }; 2],
            position: OnceCell::new(),
        }
    }

    /// The lines of a record after `after`, chained on from the digest there where that is known.
    pub(super) fn of_record(
        record: &Record<Event>,
        after: Revision,
        digest: Option<Digest>,
        erased: impl Fn(Revision) -> bool,
    ) -> impl Iterator<Item = Self> {
        let mut heads = digest.map(|digest| record.heads(Head { revision: after, digest }));
        record.items().skip_while(move |item| item.revision <= after).map(move |item| {
            let digest = heads.as_mut().and_then(Iterator::next).map(|head| head.digest);
            Self::new(&item, erased(item.revision), digest)
        })
    }

    /// The version without whose key the line cannot be read.
    pub(super) fn needs(&self) -> Option<KeyVersion> {
        self.body.as_ref().and_then(|_| self.event.sealed_under())
    }

    /// Takes the body away, and every encoding that holds it.
    pub(super) fn bury(&mut self) {
        self.body = None;
        self.encoded = [const { OnceCell::new() }; 2];
    }

    /// The line as a [`wire::Item`].
    pub(super) fn encoded(&self, codec: Codec) -> &[u8] {
        let slot = match codec {
            Codec::Json => 0,
            Codec::Bincode => 1,
        };
        self.encoded[slot].get_or_init(|| {
            codec.encode(&wire::Item {
                revision: self.revision,
                time: self.time,
                account: self.account.clone(),
                event: self.event.clone(),
                body: self.body.as_ref().and_then(|body| Envelope::from_bytes(body).ok()),
            })
        })
    }

    /// What a client resumes from after this line; empty where the chain is not known.
    pub(super) fn position(&self, room: RoomId, keys: &SiteKeys) -> Blob {
        match self.digest {
            Some(digest) => {
                let head = Head { revision: self.revision, digest };
                self.position.get_or_init(|| Position { room, head }.to_blob(keys)).clone()
            }
            None => Blob::default(),
        }
    }

    /// What it takes in memory, both encodings included, in bytes.
    pub(super) fn weight(&self) -> usize {
        let names = match &self.event {
            Event::MembersAdded { accounts, .. } | Event::MembersRemoved { accounts } => accounts.len(),
            _ => 0,
        };
        512 + self.body.as_ref().map_or(0, |body| body.len() * 4) + names * 3 * 24
    }
}
