//! The log and the vault of a simulated world. Each operation takes place at one moment, wholly or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use chamberlain_core::id::{KeyVersion, Revision, RoomId};
use chamberlain_core::keys::RoomSecret;
use chamberlain_core::log::{Head, Record, RecordBytes, erase_body};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Event, Fold};
use chamberlain_core::sequencer::{Append, Input};
use rand::{Rng, RngExt};

use crate::decided_room::find;
use crate::plan;
use crate::room_history::{History, Seen};

/// An effect on its way to a store. A quiet one has an effect, and nobody is told.
#[derive(Debug)]
pub(super) enum Act {
    Load,
    Append { expected: Head, record: RecordBytes, after: Head, loud: bool },
    ReadBack { after: Revision },
    Put { version: KeyVersion, secret: RoomSecret, loud: bool },
    Get { version: KeyVersion },
    Find { revision: Revision },
}

impl Act {
    /// It failed, and nothing happened.
    pub(super) fn failed_before(&self) -> Input {
        self.failed(Failure::Transient)
    }

    /// It is not known whether it happened; none for what changes nothing, which simply fails.
    pub(super) fn unknown(&self) -> Option<Input> {
        Some(self.failed(Failure::Unknown))
    }

    /// The same without an answer, of what has an effect.
    pub(super) fn silenced(self) -> Option<Self> {
        match self {
            Self::Append { expected, record, after, .. } => Some(Self::Append { expected, record, after, loud: false }),
            Self::Put { version, secret, .. } => Some(Self::Put { version, secret, loud: false }),
            Self::Load | Self::ReadBack { .. } | Self::Get { .. } | Self::Find { .. } => None,
        }
    }

    fn failed(&self, failure: Failure) -> Input {
        match self {
            Self::Load => Input::Loaded(Err(failure)),
            Self::Append { .. } => Input::Appended(Err(failure)),
            Self::ReadBack { .. } => Input::ReadBack(Err(failure)),
            Self::Put { version, .. } => Input::SecretPut { version: *version, secret: Err(failure) },
            Self::Get { version } => Input::SecretGot { version: *version, secret: Err(failure) },
            Self::Find { revision } => Input::MessageFound { revision: *revision, target: Err(failure) },
        }
    }
}

pub(super) struct Stores {
    room: RoomId,
    /// As it was taken, and as it is after erasures.
    log: Vec<(RecordBytes, RecordBytes)>,
    head: Head,
    vault: BTreeMap<KeyVersion, RoomSecret>,
    snapshots: Vec<(Revision, Bytes)>,
}

impl Stores {
    pub(super) fn new(room: RoomId) -> Self {
        Self { room, log: Vec::new(), head: Head::EMPTY, vault: BTreeMap::new(), snapshots: Vec::new() }
    }

    /// The effect takes place.
    pub(super) fn act(&mut self, act: Act, history: &mut History, now: u64, rng: &mut impl Rng) -> Option<Input> {
        match act {
            Act::Load => Some(Input::Loaded(Ok(Box::new(self.load(rng))))),
            Act::Append { expected, record, after, loud } => {
                let appended = if expected == self.head {
                    self.head = after;
                    self.log.push((record.clone(), record.clone()));
                    history.seen.push((now, Seen::Landed));
                    self.erase_what_was_deleted(&record);
                    Append::Done
                } else {
                    Append::Conflict
                };
                loud.then_some(Input::Appended(Ok(appended)))
            }
            Act::ReadBack { after } => {
                let next = self.log.iter().find(|(_, record)| record.first > after);
                Some(Input::ReadBack(Ok(next.map(|(_, record)| record.clone()))))
            }
            Act::Put { version, secret, loud } => {
                let winner = self.vault.entry(version).or_insert_with(|| {
                    history.seen.push((now, Seen::Put { version }));
                    secret
                });
                let secret = winner.clone();
                if !loud {
                    return None;
                }
                history.seen.push((now, Seen::Told { version, secret: secret.clone() }));
                Some(Input::SecretPut { version, secret: Ok(secret) })
            }
            Act::Get { version } => {
                let secret = self.vault.get(&version).cloned().ok_or(Failure::Permanent);
                if let Ok(secret) = &secret {
                    history.seen.push((now, Seen::Told { version, secret: secret.clone() }));
                }
                Some(Input::SecretGot { version, secret })
            }
            Act::Find { revision } => {
                Some(Input::MessageFound { revision, target: Ok(find(&self.records(), revision)) })
            }
        }
    }

    /// From the first record, or from one of the snapshots.
    fn load(&self, rng: &mut impl Rng) -> Fold {
        let from = rng.random_range(0..=self.snapshots.len());
        let mut fold = match self.snapshots.get(from) {
            Some((_, bytes)) => Fold::from_snapshot(bytes).expect("it was kept whole"),
            None => Fold::new(self.room, plan::limits().remembered_requests),
        };
        for record in self.records() {
            if record.first > fold.state.head().revision {
                let after = record.extend(fold.state.head()).expect("the log has no gaps");
                fold.apply(&record, after).expect("the log does not contradict itself");
            }
        }
        assert_eq!(fold.state.head(), self.head, "the log's digests are those it was appended with");
        fold
    }

    pub(super) fn keep(&mut self, revision: Revision, bytes: Bytes) {
        self.snapshots.push((revision, bytes));
    }

    pub(super) fn records(&self) -> Vec<Record<Event>> {
        self.log.iter().map(|(_, record)| Record::decode(&record.bytes).expect("it was encoded")).collect()
    }

    fn erase_what_was_deleted(&mut self, record: &RecordBytes) {
        let record = Record::<Event>::decode(&record.bytes).expect("it was encoded");
        for item in record.items() {
            if let Event::Deleted { revision } = item.event {
                self.erase(*revision);
            }
        }
    }

    /// The message and its edits.
    fn erase(&mut self, message: Revision) {
        for record in self.records() {
            for item in record.items() {
                let edits_it = matches!(item.event, Event::Edited { revision, .. } if *revision == message);
                if item.revision == message || edits_it {
                    let stored = self.log.iter_mut().find(|(_, stored)| stored.first == record.first);
                    let (_, stored) = stored.expect("it stands there");
                    *stored = erase_body(stored, item.revision).expect("it has a body");
                }
            }
        }
    }

    pub(super) fn finish(&self, history: &mut History) {
        (history.log, history.erased) = self.log.iter().cloned().unzip();
        history.vault = self.vault.clone();
    }
}
