//! The log of an account: which rooms it is in, from when. A socket learns of a room from it before it learns the room's key.
//!
//! Written by the effects of rooms, at least once and in any order between rooms; the fold remembers per room the last
//! room revision it acted on, also after leaving, so that nothing late resurrects a membership (RACES.md M-27).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{AccountId, Revision, RoomId};
use crate::log::{Head, Record};
use crate::room::{RoomKind, RoomName};

/// What happens to an account. New kinds are added at the end, and never change: they are what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountChange {
    /// It is in a room now.
    Joined {
        /// The room.
        room: RoomId,
        /// The room's revision that did it.
        at: Revision,
        /// What the room is for.
        kind: RoomKind,
        /// The channel's name then.
        name: Option<RoomName>,
        /// The other one in a direct message room.
        counterpart: Option<AccountId>,
    },
    /// It is no longer in a room.
    Left {
        /// The room.
        room: RoomId,
        /// The room's revision that did it.
        at: Revision,
    },
}

impl AccountChange {
    /// The room, and the room's revision that did it.
    pub fn source(&self) -> (RoomId, Revision) {
        match self {
            Self::Joined { room, at, .. } | Self::Left { room, at } => (*room, *at),
        }
    }

    /// The first revision of the room for which an account that heard this was not told that it is in.
    pub fn told_until(&self) -> Revision {
        match self {
            Self::Joined { .. } => Revision(u64::MAX),
            Self::Left { at, .. } => *at,
        }
    }
}

/// The fold of an account's log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AccountState {
    head: Head,
    rooms: BTreeMap<RoomId, Seen>,
}

/// What the account's log last said about a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    at: Revision,
    /// The account revision that told of the room, while the account is in it.
    joined: Option<Revision>,
}

impl AccountState {
    /// The last revision folded.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Whether this change is news: later in its room than what was acted on.
    pub fn is_news(&self, change: &AccountChange) -> bool {
        let (room, at) = change.source();
        self.rooms.get(&room).is_none_or(|seen| at > seen.at)
    }

    /// Folds a record that follows; changes that are no news change nothing. `false` when it does not follow.
    pub fn apply(&mut self, record: &Record<AccountChange>, after: Head) -> bool {
        if record.first != self.head.revision.next() {
            return false;
        }
        for item in record.items() {
            if self.is_news(item.event) {
                let (room, at) = item.event.source();
                let joined = matches!(item.event, AccountChange::Joined { .. }).then_some(item.revision);
                self.rooms.insert(room, Seen { at, joined });
            }
        }
        self.head = after;
        true
    }

    /// What this one has heard of and the other has not: the room, the room's revision that did it, whether it is in. Nothing,
    /// where the other is the same log further on.
    pub fn beyond(&self, other: &Self) -> Vec<(RoomId, Revision, bool)> {
        let later =
            self.rooms.iter().filter(|(room, seen)| other.rooms.get(room).is_none_or(|heard| heard.at < seen.at));
        later.map(|(room, seen)| (*room, seen.at, seen.joined.is_some())).collect()
    }

    /// The rooms it is in.
    pub fn rooms(&self) -> impl Iterator<Item = RoomId> + '_ {
        self.rooms.iter().filter(|(_, seen)| seen.joined.is_some()).map(|(room, _)| *room)
    }

    /// The first revision of this room for which the account was not told that it is in: zero before it heard of the room.
    pub fn told_until(&self, room: RoomId) -> Revision {
        self.rooms.get(&room).map_or(Revision::ZERO, |seen| match seen.joined {
            Some(_) => Revision(u64::MAX),
            None => seen.at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Body, Entry, Logged};
    use crate::site::Fingerprint;
    use crate::time::Timestamp;

    fn room(n: u8) -> RoomId {
        RoomId::from_digest(&[n; 32])
    }

    fn joined(n: u8, at: u64) -> AccountChange {
        let kind = RoomKind::Channel;
        AccountChange::Joined { room: room(n), at: Revision(at), kind, name: None, counterpart: None }
    }

    fn left(n: u8, at: u64) -> AccountChange {
        AccountChange::Left { room: room(n), at: Revision(at) }
    }

    fn fold(state: &mut AccountState, changes: impl IntoIterator<Item = AccountChange>) -> bool {
        let events = changes.into_iter().map(|event| Logged { event, body: Body::None }).collect();
        let account = "ada".parse().expect("valid");
        let entry = Entry { account, request: None, fingerprint: Fingerprint::default(), events };
        let first = state.head().revision.next();
        let record = Record { first, time: Timestamp(1), entries: alloc::vec![entry] };
        let after = record.extend(state.head()).expect("follows");
        state.apply(&record, after) && state.head() == after
    }

    #[test]
    fn what_comes_late_resurrects_nothing() {
        let mut state = AccountState::default();
        assert!(fold(&mut state, [joined(1, 2), joined(2, 2)]));
        assert!(fold(&mut state, [left(1, 20)]));
        assert!(!state.is_news(&joined(1, 10)));
        assert!(fold(&mut state, [joined(1, 10), left(1, 20)]));
        assert_eq!(state.rooms().collect::<Vec<_>>(), [room(2)]);
        let until = [1, 2, 3].map(|n| state.told_until(room(n)).0);
        assert_eq!(until, [20, u64::MAX, 0]);
    }

    #[test]
    fn a_log_that_forgot_is_known_by_what_it_does_not_say() {
        let (mut older, mut state) = (AccountState::default(), AccountState::default());
        assert!(fold(&mut older, [joined(1, 2)]));
        assert!(fold(&mut state, [joined(1, 2), joined(2, 2), left(1, 20), joined(3, 5)]));
        let (gone, there) =
            ((room(1), Revision(20), false), [(room(2), Revision(2), true), (room(3), Revision(5), true)]);
        assert_eq!(state.beyond(&older), [&[gone][..], &there].concat());
        assert!(older.beyond(&state).is_empty() && state.beyond(&state).is_empty());
    }

    #[test]
    fn who_returns_is_told_anew() {
        let mut state = AccountState::default();
        assert!(fold(&mut state, [joined(1, 2), left(1, 20), joined(1, 30)]));
        assert_eq!(state.told_until(room(1)), Revision(u64::MAX));
    }

    #[test]
    fn a_record_that_does_not_follow_is_not_folded() {
        let mut state = AccountState::default();
        assert!(fold(&mut state, [joined(1, 2)]));
        let before = state.clone();
        let record = Record { first: Revision(3), time: Timestamp(1), entries: Vec::new() };
        assert!(!state.apply(&record, Head::EMPTY));
        assert_eq!(state, before);
    }
}
