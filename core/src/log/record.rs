//! A record: one or more events, each with its own revision, committed together.
//!
//! Stored form: one version byte, the length of the rest of the head (u32, big-endian), bincode of `{first, time, entries:
//! [{account, request, fingerprint, events}]}`, then one slot per event for its body: `0` for none; `1`, SHA-256, length (u32,
//! big-endian) and the bytes; or `2` for an erased one, with the same hash and length and zeros for bytes. A stored record is
//! never re-encoded; [`erase_body`] overwrites in place.

use alloc::vec::Vec;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::digest::Head;
use crate::codec::{self, DecodeError};
use crate::id::{AccountId, RequestId, Revision};
use crate::keys::Blob;
use crate::site::Fingerprint;
use crate::time::Timestamp;

/// The version written today.
const VERSION: u8 = 1;

/// What was decided together, from `first` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<E> {
    /// Revision of the first event.
    pub first: Revision,
    /// When the sequencing node decided it; never before the record before it.
    pub time: Timestamp,
    /// One per command.
    pub entries: Vec<Entry<E>>,
}

/// What one command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<E> {
    /// Who asked for it.
    pub account: AccountId,
    /// The request it answers; none for what the server does of itself.
    pub request: Option<RequestId>,
    /// Fingerprint of the command, so that the same request id with another command is noticed.
    pub fingerprint: Fingerprint,
    /// At least one.
    pub events: Vec<Logged<E>>,
}

/// An event and the sealed body that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged<E> {
    /// What happened.
    pub event: E,
    /// The sealed body, of those events that have one.
    pub body: Body,
}

/// The sealed part of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The event has none.
    None,
    /// An envelope, as [`crate::keys::Envelope::to_bytes`] writes it.
    Present(Blob),
    /// It was erased; its hash and length remain.
    Erased {
        /// SHA-256 of what stood here.
        hash: [u8; 32],
        /// Its length in bytes.
        len: u32,
    },
}

impl Body {
    fn hash(&self) -> [u8; 32] {
        match self {
            Self::None => Sha256::digest([]).into(),
            Self::Present(bytes) => Sha256::digest(&bytes[..]).into(),
            Self::Erased { hash, .. } => *hash,
        }
    }
}

/// One event with everything around it, as a fold or a socket sees it.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a, E> {
    /// Its revision.
    pub revision: Revision,
    /// The record's time.
    pub time: Timestamp,
    /// Who asked for it.
    pub account: &'a AccountId,
    /// The request it answers.
    pub request: Option<RequestId>,
    /// Fingerprint of the command.
    pub fingerprint: Fingerprint,
    /// Whether this is the first event of its entry.
    pub opens_entry: bool,
    /// Whether this is the last event of its entry.
    pub closes_entry: bool,
    /// What happened.
    pub event: &'a E,
    /// Its sealed body.
    pub body: &'a Body,
}

/// A record as it is stored, with what a store must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordBytes {
    /// Revision of its first event.
    pub first: Revision,
    /// Revision of its last event.
    pub last: Revision,
    /// The stored form.
    pub bytes: Bytes,
}

impl RecordBytes {
    /// Reads first and last revision out of stored bytes.
    pub fn from_bytes<E: DeserializeOwned>(bytes: Bytes) -> Result<Self, MalformedRecord> {
        let record = Record::<E>::decode(&bytes)?;
        Ok(Self { first: record.first, last: record.last(), bytes })
    }
}

/// Why stored bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRecord {
    /// Written by a newer version.
    #[error("record version {0} is newer than this program")]
    NewerVersion(u8),
    /// The head cannot be read.
    #[error("record head: {0}")]
    Head(#[from] DecodeError),
    /// It holds no event, or an entry without one.
    #[error("record without events")]
    Empty,
    /// Its revisions begin at zero, or go beyond the last number.
    #[error("record at impossible revisions")]
    Revisions,
    /// A body slot is cut off, of unknown state, or too many.
    #[error("record bodies are malformed")]
    Bodies,
    /// A body does not match its hash.
    #[error("body at revision {0} does not match its hash")]
    BodyHash(Revision),
    /// Nothing stands at the revision that was to be erased.
    #[error("no body at revision {0}")]
    NoBody(Revision),
}

impl MalformedRecord {
    /// Whether the record may well be one, of a program newer than this one: with a kind of event that is not known here, or of
    /// the next version of the form. What says that it is of a later one is taken for damage.
    pub fn is_newer(&self) -> bool {
        match self {
            Self::NewerVersion(version) => *version == VERSION + 1,
            Self::Head(DecodeError::UnknownKind(_)) => true,
            _ => false,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct StoredHead<E> {
    first: Revision,
    time: Timestamp,
    entries: Vec<StoredEntry<E>>,
}

#[derive(Serialize, Deserialize)]
struct StoredEntry<E> {
    account: AccountId,
    request: Option<RequestId>,
    fingerprint: Fingerprint,
    events: Vec<E>,
}

impl<E> Record<E> {
    /// Every event in order, with its revision.
    pub fn items(&self) -> impl Iterator<Item = Item<'_, E>> {
        let events = self.entries.iter().flat_map(|entry| {
            let last = entry.events.len() - 1;
            entry.events.iter().enumerate().map(move |(at, logged)| (entry, at == 0, at == last, logged))
        });
        events.enumerate().map(|(offset, (entry, opens_entry, closes_entry, logged))| Item {
            revision: self.first.plus(offset as u64),
            time: self.time,
            account: &entry.account,
            request: entry.request,
            fingerprint: entry.fingerprint,
            opens_entry,
            closes_entry,
            event: &logged.event,
            body: &logged.body,
        })
    }

    /// How many revisions it holds.
    pub fn count(&self) -> u64 {
        self.entries.iter().map(|entry| entry.events.len() as u64).sum()
    }

    /// Revision of its last event.
    pub fn last(&self) -> Revision {
        self.first.plus(self.count()).previous()
    }
}

impl<E: Serialize + Clone> Record<E> {
    /// The stored form.
    pub fn encode(&self) -> RecordBytes {
        let head =
            StoredHead { first: self.first, time: self.time, entries: self.entries.iter().map(stored_entry).collect() };
        let head = codec::encode(&head);
        let mut bytes = Vec::with_capacity(head.len() + 64);
        bytes.push(VERSION);
        bytes.extend((head.len() as u32).to_be_bytes());
        bytes.extend(head);
        for item in self.items() {
            match item.body {
                Body::None => bytes.push(0),
                Body::Present(body) => {
                    bytes.push(1);
                    bytes.extend(item.body.hash());
                    bytes.extend((body.len() as u32).to_be_bytes());
                    bytes.extend_from_slice(body);
                }
                Body::Erased { hash, len } => {
                    bytes.push(2);
                    bytes.extend(hash);
                    bytes.extend(len.to_be_bytes());
                    bytes.resize(bytes.len() + *len as usize, 0);
                }
            }
        }
        RecordBytes { first: self.first, last: self.last(), bytes: bytes.into() }
    }

    /// The head of the log after this record, when `before` is its head now; `None` when the record does not follow.
    pub fn extend(&self, before: Head) -> Option<Head> {
        if self.first != before.revision.next() {
            return None;
        }
        self.heads(before).last()
    }

    /// The head at each of its revisions after `before` in turn, where `before` is the head just before the record or at
    /// one of its revisions.
    pub fn heads(&self, before: Head) -> impl Iterator<Item = Head> {
        debug_assert!(self.first <= before.revision.next() && before.revision <= self.last());
        let items = self.items().skip_while(move |item| item.revision <= before.revision);
        items.scan(before.digest, |digest, item| {
            *digest = digest.link(item.revision, &event_hash(&item), &item.body.hash());
            Some(Head { revision: item.revision, digest: *digest })
        })
    }
}

impl<E: DeserializeOwned> Record<E> {
    /// Reads the stored form; every body that is there is checked against its hash.
    pub fn decode(bytes: &Bytes) -> Result<Self, MalformedRecord> {
        let layout = Layout::of(bytes)?;
        let head: StoredHead<E> = codec::decode(&bytes[layout.head])?;
        if head.entries.is_empty() || head.entries.iter().any(|entry| entry.events.is_empty()) {
            return Err(MalformedRecord::Empty);
        }
        let count = head.entries.iter().fold(0_u64, |count, entry| count.saturating_add(entry.events.len() as u64));
        if head.first == Revision::ZERO || head.first.0.checked_add(count).is_none() {
            return Err(MalformedRecord::Revisions);
        }
        let mut slots = Slots { bytes, at: layout.bodies };
        let mut revision = head.first;
        let mut entries = Vec::with_capacity(head.entries.len());
        for entry in head.entries {
            let mut events = Vec::with_capacity(entry.events.len());
            for event in entry.events {
                let body = slots.next().ok_or(MalformedRecord::Bodies)?.read(bytes, revision)?;
                events.push(Logged { event, body });
                revision = revision.next();
            }
            entries.push(Entry {
                account: entry.account,
                request: entry.request,
                fingerprint: entry.fingerprint,
                events,
            });
        }
        if slots.at != bytes.len() {
            return Err(MalformedRecord::Bodies);
        }
        Ok(Self { first: head.first, time: head.time, entries })
    }
}

/// Overwrites the body at `revision` with zeros, in place: the same length, the same hash, the same digests. Erasing twice
/// is the same as erasing once.
pub fn erase_body(record: &RecordBytes, revision: Revision) -> Result<RecordBytes, MalformedRecord> {
    let missing = MalformedRecord::NoBody(revision);
    if revision < record.first || revision > record.last {
        return Err(missing);
    }
    let layout = Layout::of(&record.bytes)?;
    let mut slots = Slots { bytes: &record.bytes, at: layout.bodies };
    let slot = slots.nth(revision.since(record.first) as usize).ok_or(MalformedRecord::Bodies)?;
    if slot.state == 0 {
        return Err(missing);
    }
    let mut bytes = record.bytes.to_vec();
    bytes[slot.at] = 2;
    bytes[slot.body.clone()].fill(0);
    Ok(RecordBytes { bytes: bytes.into(), ..*record })
}

/// Where the parts of a stored record lie.
struct Layout {
    head: core::ops::Range<usize>,
    bodies: usize,
}

impl Layout {
    fn of(bytes: &[u8]) -> Result<Self, MalformedRecord> {
        let (&version, rest) = bytes.split_first().ok_or(MalformedRecord::Bodies)?;
        if version != VERSION {
            return Err(MalformedRecord::NewerVersion(version));
        }
        let len = rest.first_chunk::<4>().ok_or(MalformedRecord::Bodies)?;
        let bodies = 5 + u32::from_be_bytes(*len) as usize;
        if bodies > bytes.len() {
            return Err(MalformedRecord::Bodies);
        }
        Ok(Self { head: 5..bodies, bodies })
    }
}

struct Slots<'a> {
    bytes: &'a [u8],
    at: usize,
}

struct Slot {
    at: usize,
    state: u8,
    hash: [u8; 32],
    body: core::ops::Range<usize>,
}

impl Iterator for Slots<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let at = self.at;
        let state = *self.bytes.get(at)?;
        if state == 0 {
            self.at = at + 1;
            return Some(Slot { at, state, hash: [0; 32], body: at + 1..at + 1 });
        }
        let hash = *self.bytes.get(at + 1..)?.first_chunk::<32>()?;
        let len = u32::from_be_bytes(*self.bytes.get(at + 33..)?.first_chunk::<4>()?) as usize;
        let body = at + 37..at + 37 + len;
        if state > 2 || body.end > self.bytes.len() {
            return None;
        }
        self.at = body.end;
        Some(Slot { at, state, hash, body })
    }
}

impl Slot {
    fn read(self, bytes: &Bytes, revision: Revision) -> Result<Body, MalformedRecord> {
        match self.state {
            0 => Ok(Body::None),
            1 => {
                let body = Body::Present(Blob(bytes.slice(self.body)));
                if body.hash() == self.hash { Ok(body) } else { Err(MalformedRecord::BodyHash(revision)) }
            }
            _ => Ok(Body::Erased { hash: self.hash, len: self.body.len() as u32 }),
        }
    }
}

fn stored_entry<E: Clone>(entry: &Entry<E>) -> StoredEntry<E> {
    StoredEntry {
        account: entry.account.clone(),
        request: entry.request,
        fingerprint: entry.fingerprint,
        events: entry.events.iter().map(|logged| logged.event.clone()).collect(),
    }
}

fn event_hash<E: Serialize>(item: &Item<'_, E>) -> [u8; 32] {
    let around = (item.time, item.account, item.request, item.fingerprint, item.opens_entry, item.event);
    Sha256::digest(codec::encode(&around)).into()
}
