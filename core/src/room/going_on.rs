//! How a room goes on after its log, or its vault, lost something: the record that an operator's decision comes to.
//!
//! Revisions that were seen are not given to something else where anything remembers them: the log is filled until it is past them,
//! for marks and snapshots only ever grow. The version is above any that was seen, so that whoever was given one of those
//! cannot read what follows (RACES.md, K-22).

use alloc::vec::Vec;

use super::event::Event;
use super::state::RoomState;
use crate::id::{AccountId, KeyVersion, Revision};
use crate::keys::RoomPublic;
use crate::log::{Body, Entry, Logged, Record};
use crate::site::Fingerprint;
use crate::time::Timestamp;

/// Events that fill a record, at most. A longer gap takes several records, each of them a decision of its own: whatever comes
/// between two of them finds a key that nobody was ever given.
const FILLING_MOST: u64 = 4_096;
/// Accounts of one event.
const ACCOUNTS_MOST: usize = 1_000;

/// An operator's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoingOn {
    /// Who decided.
    pub by: AccountId,
    /// When.
    pub time: Timestamp,
    /// Where the log ended.
    pub ended: Revision,
    /// Up to where anything remembers it.
    pub known: Revision,
    /// Members of whom something remembers that they are none any more.
    pub out: Vec<AccountId>,
}

impl GoingOn {
    /// The next record, with this key, which the vault holds; and whether it is the last one.
    pub fn record(&self, state: &RoomState, version: KeyVersion, public: RoomPublic) -> (Record<Event>, bool) {
        let head = state.head().revision;
        let gap = self.known.0.saturating_sub(head.0);
        let mut events = Vec::new();
        events.resize(gap.min(FILLING_MOST) as usize, Event::Unchanged);
        let last = gap <= FILLING_MOST;
        if last {
            let out: Vec<AccountId> = self.out.iter().filter(|account| state.is_member(account)).cloned().collect();
            events.extend(out.chunks(ACCOUNTS_MOST).map(|some| Event::MembersRemoved { accounts: some.to_vec() }));
        }
        events.push(Event::Continued { ended: self.ended, known: self.known, version });
        events.push(Event::KeyRotated { version, public });
        let entry = Entry {
            account: self.by.clone(),
            request: None,
            fingerprint: Fingerprint::default(),
            events: events.into_iter().map(|event| Logged { event, body: Body::None }).collect(),
        };
        let time = self.time.max(state.time());
        (Record { first: head.next(), time, entries: alloc::vec![entry] }, last)
    }
}
