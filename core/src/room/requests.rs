//! What was answered: the last changing requests of a room, so that a retry is answered the same and done once.
//!
//! Part of the fold, so it holds across nodes and crashes. Refusals are not kept: they changed nothing. The window is a list
//! in the order of the log, and two indexes into it; a snapshot holds the list alone.

use alloc::collections::{BTreeSet, VecDeque};

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
    /// Places in the window by id, whoever's it is: the account is looked at there. Small, for looking ids up is most of what
    /// folding a message costs.
    answered: BTreeSet<(u128, u64)>,
    messages: BTreeSet<(Name, u64)>,
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

/// The name of a message as the index compares it: a word at a time and not by the byte.
type Name = [u64; 3];

fn name(message: MessageId) -> Name {
    // Different for different names: none holds a zero byte, with which the last word is filled.
    let mut full = [0; 24];
    let text = message.as_str().as_bytes();
    full[..text.len()].copy_from_slice(text);
    let word = |nth: usize| full[nth * 8..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    [word(0), word(1), word(2)]
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
            answered: BTreeSet::new(),
            messages: BTreeSet::new(),
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
            self.messages.insert((name(message), place));
        }
        self.answered.insert((new.request.bits(), place));
        self.window.push_back(new);
        self.forget();
    }

    fn forget(&mut self) {
        while self.window.len() > self.most as usize {
            let Some(old) = self.window.pop_front() else { return };
            if let Some(message) = old.message {
                self.messages.remove(&(name(message), self.forgotten));
            }
            self.answered.remove(&(old.request.bits(), self.forgotten));
            self.forgotten += 1;
        }
    }

    /// What stands at the last of these places that is of the account.
    fn last_of<K>(&self, account: &AccountId, places: impl DoubleEndedIterator<Item = (K, u64)>) -> Option<Answered> {
        places.rev().find_map(|(_, place)| {
            let index = usize::try_from(place.checked_sub(self.forgotten)?).ok()?;
            let remembered = self.window.get(index)?;
            (remembered.account == *account).then_some(remembered.answered)
        })
    }

    /// The answer to this request of this account.
    pub fn answered(&self, account: &AccountId, request: RequestId) -> Option<Answered> {
        let bits = request.bits();
        self.last_of(account, self.answered.range((bits, 0)..=(bits, u64::MAX)).copied())
    }

    /// The answer to whichever request of this account brought this message.
    pub fn sent(&self, account: &AccountId, message: MessageId) -> Option<Answered> {
        let name = name(message);
        self.last_of(account, self.messages.range((name, 0)..=(name, u64::MAX)).copied())
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
        let answered = places().map(|(one, place)| (one.request.bits(), place)).collect();
        let messages = places().filter_map(|(one, place)| Some((name(one.message?), place))).collect();
        Ok(Self { room, most, kind, window, forgotten, answered, messages, entry: Entry::default() })
    }
}
