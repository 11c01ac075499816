//! Well-formed records to fill logs with, chained as a sequencer would.

use bytes::Bytes;
use chamberlain_core::account::AccountChange;
use chamberlain_core::directory::DirectoryChange;
use chamberlain_core::id::{AccountId, KeyVersion, LogId, MessageId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind};
use chamberlain_core::log::{Body, Entry, Head, Logged, Record, RecordBytes};
use chamberlain_core::room::Event;
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;
use serde::Serialize;

use crate::{Appended, Stores};

/// Writes a log as one node would: knows its head, and what comes next. Equal tags and calls give equal bytes.
#[derive(Debug, Clone)]
pub struct Writer {
    log: LogId,
    head: Head,
    tag: u64,
}

impl Writer {
    /// The writer of a room's log that is empty. `tag` tells it from other writers of the same log.
    pub fn of_room(name: &str, tag: u64) -> Self {
        Self { log: LogId::Room(room(name)), head: Head::EMPTY, tag }
    }

    /// The writer of an account's log that is empty.
    pub fn of_account(account: &AccountId, tag: u64) -> Self {
        Self { log: LogId::Account(account.clone()), head: Head::EMPTY, tag }
    }

    /// The log.
    pub fn log(&self) -> &LogId {
        &self.log
    }

    /// The head as the writer knows it.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Goes on from this head.
    pub fn set_head(&mut self, head: Head) {
        self.head = head;
    }

    /// The next record: `events` messages with bodies of `body_bytes` each, and the head after it. Account logs have no bodies.
    pub fn next(&self, events: usize, body_bytes: usize) -> (RecordBytes, Head) {
        let first = self.head.revision.next();
        match &self.log {
            LogId::Room(_) => self.record((0..events).map(|nth| self.message(first.plus(nth as u64), body_bytes))),
            LogId::Account(_) => self.record((0..events).map(|nth| {
                let at = first.plus(nth as u64);
                let event = AccountChange::Left { room: room(&format!("{} {at}", self.tag)), at };
                Logged { event, body: Body::None }
            })),
            LogId::Directory => self.record((0..events).map(|nth| {
                let account = account(&format!("a{}-{}", self.tag, first.plus(nth as u64)));
                Logged { event: DirectoryChange::Disabled { account }, body: Body::None }
            })),
        }
    }

    /// Appends the next record; panics unless it is accepted.
    pub async fn append(&mut self, stores: &Stores, events: usize, body_bytes: usize) -> RecordBytes {
        let (record, after) = self.next(events, body_bytes);
        let appended = stores.logs.append(&self.log, self.head, record.clone(), after).await;
        assert_eq!(appended, Ok(Appended::Done(after)), "{} at {:?}", self.log, self.head);
        self.head = after;
        record
    }

    /// The head that these records lead to from an empty log, when each follows the one before it and each body is what its
    /// hash says.
    pub fn verify(&self, records: &[RecordBytes]) -> Option<Head> {
        records.iter().try_fold(Head::EMPTY, |head, stored| match self.log {
            LogId::Room(_) => Record::<Event>::decode(&stored.bytes).ok()?.extend(head),
            LogId::Account(_) => Record::<AccountChange>::decode(&stored.bytes).ok()?.extend(head),
            LogId::Directory => Record::<DirectoryChange>::decode(&stored.bytes).ok()?.extend(head),
        })
    }

    fn message(&self, revision: Revision, body_bytes: usize) -> Logged<Event> {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&revision.0.to_be_bytes());
        name[8..16].copy_from_slice(&self.tag.to_be_bytes());
        let event = Event::Message {
            message: MessageId::from_digest(&name),
            kind: BodyKind::Message,
            version: KeyVersion::FIRST,
            ordinal: revision.0,
        };
        // Differs from record to record and from writer to writer, and does not compress.
        let mut state = revision.0 ^ self.tag.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15;
        let body: Bytes = (0..body_bytes)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        Logged { event, body: Body::Present(Blob(body)) }
    }

    fn record<E: Serialize + Clone>(&self, events: impl Iterator<Item = Logged<E>>) -> (RecordBytes, Head) {
        let record = Record {
            first: self.head.revision.next(),
            time: Timestamp(1_700_000_000_000 + self.tag),
            entries: vec![Entry {
                account: account("writer"),
                request: None,
                fingerprint: Fingerprint::default(),
                events: events.collect(),
            }],
        };
        let after = record.extend(self.head).expect("it begins after the head");
        (record.encode(), after)
    }
}

/// A room of this name: the same again for the same name.
pub(super) fn room(name: &str) -> RoomId {
    // FNV-1a: a name is to give an id, and nobody is to be kept from finding another name for it.
    let mut digest = [0; 32];
    for (at, lane) in digest.chunks_exact_mut(8).enumerate() {
        let start = 0xcbf2_9ce4_8422_2325_u64.wrapping_add(at as u64);
        let hash = name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        lane.copy_from_slice(&hash.to_be_bytes());
    }
    RoomId::from_digest(&digest)
}

/// An account of this name.
pub(super) fn account(name: &str) -> AccountId {
    name.parse().expect("names of accounts in cases are valid")
}
