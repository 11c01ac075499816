//! What was answered: the last changing requests of a room, so that a retry is answered the same and done once.
//!
//! Part of the fold, so it holds across nodes and crashes. Refusals are not kept: they changed nothing.

use alloc::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::command::Outcome;
use super::event::{Event, RoomKind};
use crate::id::{AccountId, MessageId, RequestId, RoomId};
use crate::keys::BodyKind;
use crate::log::{Item, Record};
use crate::site::Fingerprint;

/// The last so many answered requests of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    room: RoomId,
    most: u32,
    answered: BTreeMap<(AccountId, RequestId), Answered>,
    messages: BTreeMap<(AccountId, MessageId), RequestId>,
    order: VecDeque<(AccountId, RequestId, Option<MessageId>)>,
    /// Of the entry whose events are being folded.
    created: Option<RoomKind>,
    sent: Option<Outcome>,
    message: Option<MessageId>,
}

/// A request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// What was asked, as a keyed hash.
    pub fingerprint: Fingerprint,
    /// What came of it.
    pub outcome: Outcome,
}

impl Requests {
    /// Remembers at most `most` requests.
    pub fn new(room: RoomId, most: u32) -> Self {
        Self {
            room,
            most,
            answered: BTreeMap::new(),
            messages: BTreeMap::new(),
            order: VecDeque::new(),
            created: None,
            sent: None,
            message: None,
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
        if item.opens_entry {
            (self.created, self.sent, self.message) = (None, None, None);
        }
        match item.event {
            Event::Created { kind, .. } => self.created = Some(*kind),
            Event::Message { kind: BodyKind::Message, message, version, .. } => {
                self.sent = Some(Outcome::Sent { revision: item.revision, time: item.time, version: *version });
                self.message = Some(*message);
            }
            Event::Edited { version, .. } => {
                self.sent = Some(Outcome::Sent { revision: item.revision, time: item.time, version: *version });
            }
            _ => {}
        }
        if let (true, Some(request)) = (item.closes_entry, item.request) {
            let outcome = match (self.created, self.sent) {
                (Some(kind), _) => Outcome::Created { room: self.room, kind, exists: false },
                (None, Some(sent)) => sent,
                (None, None) => Outcome::Done { revision: item.revision },
            };
            self.remember(item.account.clone(), request, Answered { fingerprint: item.fingerprint, outcome });
        }
    }

    fn remember(&mut self, account: AccountId, request: RequestId, answered: Answered) {
        if let Some(message) = self.message {
            self.messages.insert((account.clone(), message), request);
        }
        self.answered.insert((account.clone(), request), answered);
        self.order.push_back((account, request, self.message));
        self.forget();
    }

    fn forget(&mut self) {
        while self.order.len() > self.most as usize {
            if let Some((account, request, message)) = self.order.pop_front() {
                if let Some(message) = message {
                    self.messages.remove(&(account.clone(), message));
                }
                self.answered.remove(&(account, request));
            }
        }
    }

    /// The answer to this request of this account.
    pub fn answered(&self, account: &AccountId, request: RequestId) -> Option<Answered> {
        self.answered.get(&(account.clone(), request)).copied()
    }

    /// The answer to whichever request of this account brought this message.
    pub fn sent(&self, account: &AccountId, message: MessageId) -> Option<Answered> {
        let request = self.messages.get(&(account.clone(), message))?;
        self.answered(account, *request)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
