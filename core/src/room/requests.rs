//! What was answered: the last changing requests of a room, so that a retry is answered the same and done once.
//!
//! Part of the fold, so it holds across nodes and crashes. Refusals are not kept: they changed nothing. The window is a list
//! in the order of the log, and two indexes into it; a snapshot holds the list alone.

use alloc::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::command::Outcome;
use super::event::{Event, RoomKind};
use crate::id::{AccountId, MessageId, RequestId, RoomId};
use crate::keys::BodyKind;
use crate::log::{Item, Record};
use crate::site::Fingerprint;

/// The last so many answered requests of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests {
    room: RoomId,
    most: u32,
    kind: Option<RoomKind>,
    /// Oldest first.
    window: VecDeque<Remembered>,
    /// How many were forgotten: the place of the first of `window` among all there ever were.
    forgotten: u64,
    /// Places in the window. The random id comes first: it nearly always decides the comparison.
    answered: BTreeMap<(Key<5>, AccountId), u64>,
    messages: BTreeMap<(Key<3>, AccountId), u64>,
    entry: Entry,
}

/// A request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// What was asked, as a keyed hash.
    pub fingerprint: Fingerprint,
    /// What came of it.
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    account: AccountId,
    request: RequestId,
    message: Option<MessageId>,
    answered: Answered,
}

/// An id as the indexes compare it: a few words at a time and not by the byte. Looking ids up is most of what folding a message
/// costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Key<WORDS> {
    /// Different for different ids: none holds a zero byte, with which the last word is filled.
    fn of(id: &str) -> Self {
        debug_assert!(id.len() <= WORDS * 8);
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(id.as_bytes().chunks(8)) {
            let mut full = [0; 8];
            full[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_be_bytes(full);
        }
        Self(words)
    }
}

impl From<RequestId> for Key<5> {
    fn from(id: RequestId) -> Self {
        Self::of(id.as_str())
    }
}

impl From<MessageId> for Key<3> {
    fn from(id: MessageId) -> Self {
        Self::of(id.as_str())
    }
}

/// What the entry that is being folded came to so far; empty between entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Entry {
    created: bool,
    joined: bool,
    sent: Option<Outcome>,
    message: Option<MessageId>,
}

impl Requests {
    /// Remembers at most `most` requests.
    pub fn new(room: RoomId, most: u32) -> Self {
        Self {
            room,
            most,
            kind: None,
            window: VecDeque::new(),
            forgotten: 0,
            answered: BTreeMap::new(),
            messages: BTreeMap::new(),
            entry: Entry::default(),
        }
    }

    /// Changes how many are remembered; the oldest go first.
    pub fn set_most(&mut self, most: u32) {
        self.most = most;
        self.forget();
    }

    /// Folds a whole record.
    pub fn apply(&mut self, record: &Record<Event>) {
        record.items().for_each(|item| self.apply_item(&item));
    }

    /// Folds one event; the request is remembered with the last event of its entry.
    pub(crate) fn apply_item(&mut self, item: &Item<'_, Event>) {
        match item.event {
            Event::Created { kind, .. } => {
                self.kind = Some(*kind);
                self.entry.created = true;
            }
            Event::MembersAdded { .. } => self.entry.joined = true,
            Event::Message { kind: BodyKind::Message, message, version, .. } => {
                self.entry.sent = Some(Outcome::Sent { revision: item.revision, time: item.time, version: *version });
                self.entry.message = Some(*message);
            }
            Event::Edited { version, .. } => {
                self.entry.sent = Some(Outcome::Sent { revision: item.revision, time: item.time, version: *version });
            }
            _ => {}
        }
        if !item.closes_entry {
            return;
        }
        let entry = core::mem::take(&mut self.entry);
        if let Some(request) = item.request {
            let outcome = match (self.kind, entry.sent) {
                (Some(kind), _) if entry.created => Outcome::Created { room: self.room, kind, exists: false },
                // Members come into a room of two when it is asked for again after one was shut out.
                (Some(kind @ (RoomKind::Dm | RoomKind::BotDm)), _) if entry.joined => {
                    Outcome::Created { room: self.room, kind, exists: true }
                }
                (_, Some(sent)) => sent,
                (_, None) => Outcome::Done { revision: item.revision },
            };
            let answered = Answered { fingerprint: item.fingerprint, outcome };
            self.remember(Remembered { account: item.account.clone(), request, message: entry.message, answered });
        }
    }

    fn remember(&mut self, new: Remembered) {
        let place = self.forgotten + self.window.len() as u64;
        if let Some(message) = new.message {
            self.messages.insert((message.into(), new.account.clone()), place);
        }
        self.answered.insert((new.request.into(), new.account.clone()), place);
        self.window.push_back(new);
        self.forget();
    }

    fn forget(&mut self) {
        while self.window.len() > self.most as usize {
            let Some(old) = self.window.pop_front() else { return };
            let place = self.forgotten;
            self.forgotten += 1;
            if let Some(message) = old.message {
                remove_if(&mut self.messages, (message.into(), old.account.clone()), place);
            }
            remove_if(&mut self.answered, (old.request.into(), old.account), place);
        }
    }

    fn at(&self, place: u64) -> Option<Answered> {
        let index = usize::try_from(place.checked_sub(self.forgotten)?).ok()?;
        self.window.get(index).map(|remembered| remembered.answered)
    }

    /// The answer to this request of this account.
    pub fn answered(&self, account: &AccountId, request: RequestId) -> Option<Answered> {
        self.at(*self.answered.get(&(request.into(), account.clone()))?)
    }

    /// The answer to whichever request of this account brought this message.
    pub fn sent(&self, account: &AccountId, message: MessageId) -> Option<Answered> {
        self.at(*self.messages.get(&(message.into(), account.clone()))?)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }
}

/// Removes what still says `place`: a later one under the same name stays.
fn remove_if<K: Ord>(index: &mut BTreeMap<K, u64>, key: K, place: u64) {
    if let alloc::collections::btree_map::Entry::Occupied(found) = index.entry(key)
        && *found.get() == place
    {
        found.remove();
    }
}

#[derive(Serialize)]
struct StoredRef<'a> {
    room: RoomId,
    most: u32,
    kind: Option<RoomKind>,
    forgotten: u64,
    window: &'a VecDeque<Remembered>,
}

#[derive(Deserialize)]
struct Stored {
    room: RoomId,
    most: u32,
    kind: Option<RoomKind>,
    forgotten: u64,
    window: VecDeque<Remembered>,
}

/// Between records, when no entry is half folded.
impl Serialize for Requests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        debug_assert_eq!(self.entry, Entry::default());
        let Self { room, most, kind, forgotten, window, .. } = self;
        StoredRef { room: *room, most: *most, kind: *kind, forgotten: *forgotten, window }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Requests {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { room, most, kind, forgotten, window } = Stored::deserialize(deserializer)?;
        let places = || window.iter().zip(forgotten..);
        let answered = places().map(|(one, place)| ((one.request.into(), one.account.clone()), place)).collect();
        let messages =
            places().filter_map(|(one, place)| Some(((one.message?.into(), one.account.clone()), place))).collect();
        Ok(Self { room, most, kind, window, forgotten, answered, messages, entry: Entry::default() })
    }
}
