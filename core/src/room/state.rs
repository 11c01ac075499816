//! A room as its log says it is: the fold over every event.
//!
//! Pure: the same records give the same state everywhere. An event that contradicts what came before it is a
//! [`Contradiction`]; whoever folds then quarantines the log, for nothing that a sequencer decides ever contradicts.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::event::{Event, History, Role, RoomKind, RoomName};
use super::refused::CurrentKey;
use super::versions::Versions;
use crate::id::{AccountId, KeyVersion, Revision, RoomId, SiteId};
use crate::keys::{BodyKind, RoomPublic};
use crate::log::{Body, Head, Item, Record};
use crate::time::Timestamp;

/// The fold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomState {
    room: RoomId,
    head: Head,
    time: Timestamp,
    born: Option<Birth>,
    name: Option<RoomName>,
    archived: bool,
    /// Everybody who ever was a member.
    accounts: BTreeMap<AccountId, Access>,
    members: u32,
    owners: u32,
    versions: Versions,
    messages: u64,
    /// Of every edited message, the revisions of its edits.
    edits: BTreeMap<Revision, Vec<Revision>>,
    /// Revisions whose bodies were taken back: messages and their edits.
    erased: BTreeSet<Revision>,
    /// Snapshots have it beside the rest, and only where there is one.
    #[serde(skip)]
    continued: Option<Continuation>,
}

/// Where an operator had the room go on after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continuation {
    /// The revision of the last such decision.
    pub at: Revision,
    /// Up to here, what is remembered and is not in the log was given up.
    pub known: Revision,
}

/// What `Created` said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Birth {
    kind: RoomKind,
    site: SiteId,
    owner: Option<AccountId>,
}

/// One account's past and present in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
struct Access {
    member: Option<Membership>,
    /// What it may read, oldest first, disjoint.
    intervals: Vec<Interval>,
}

/// A member, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// What it may do.
    pub role: Role,
    /// The revision that added it.
    pub since: Revision,
}

/// Revisions `from..until` (for ever, without `until`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Interval {
    from: Revision,
    until: Option<Revision>,
}

/// An event that cannot follow what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("revision {revision} contradicts the log before it: {what}")]
pub struct Contradiction {
    /// Where.
    pub revision: Revision,
    /// What is wrong.
    pub what: &'static str,
}

impl RoomState {
    /// A room of which nothing is known: before its first revision.
    pub fn new(room: RoomId) -> Self {
        Self {
            room,
            head: Head::EMPTY,
            time: Timestamp::default(),
            born: None,
            name: None,
            archived: false,
            accounts: BTreeMap::new(),
            members: 0,
            owners: 0,
            versions: Versions::default(),
            messages: 0,
            edits: BTreeMap::new(),
            erased: BTreeSet::new(),
            continued: None,
        }
    }

    /// Folds a record that follows, and leads to the head `after`.
    pub fn apply(&mut self, record: &Record<Event>, after: Head) -> Result<(), Contradiction> {
        if record.first != self.head.revision.next() {
            return Err(Contradiction { revision: record.first, what: "the record does not follow" });
        }
        record.items().try_for_each(|item| self.apply_item(&item))?;
        debug_assert_eq!(self.head.revision, after.revision);
        self.head = after;
        Ok(())
    }

    /// Folds one event. The digest of the head is left behind until the record is whole.
    pub(crate) fn apply_item(&mut self, item: &Item<'_, Event>) -> Result<(), Contradiction> {
        let revision = item.revision;
        let contradiction = |what| Contradiction { revision, what };
        if self.born.is_some() == matches!(item.event, Event::Created { .. }) {
            return Err(contradiction("a room is created once, and first"));
        }
        if item.event.sealed_under().is_some() == matches!(item.body, Body::None) {
            return Err(contradiction("messages and edits have a body, and nothing else has"));
        }
        let begins = self.continued.is_some_and(|continued| continued.at.next() == revision);
        if begins && !matches!(item.event, Event::KeyRotated { .. }) {
            return Err(contradiction("what goes on after a loss begins with another event than its key"));
        }
        match item.event {
            Event::Created { kind, site, name, owner } => {
                self.born = Some(Birth { kind: *kind, site: site.clone(), owner: owner.clone() });
                self.name.clone_from(name);
            }
            Event::MembersAdded { accounts, history } => {
                for account in accounts {
                    self.admit(account, *history, revision).map_err(contradiction)?;
                }
            }
            Event::MembersRemoved { accounts } => {
                for account in accounts {
                    self.dismiss(account, revision).map_err(contradiction)?;
                }
            }
            Event::RoleSet { account, role } => self.set_role(account, *role).map_err(contradiction)?,
            Event::Renamed { name } => self.name = Some(name.clone()),
            Event::Archived => self.archived = true,
            Event::KeyRotated { version, public } => {
                self.versions.rotate(*version, *public, revision, item.time).map_err(contradiction)?;
            }
            Event::Message { kind, version, ordinal, .. } => {
                self.messages += u64::from(*kind == BodyKind::Message);
                if *ordinal != self.messages || Some(*version) != self.versions.current() {
                    return Err(contradiction("a message with another ordinal or key version"));
                }
                self.versions.count_message();
            }
            Event::Edited { revision: message, edit, version } => {
                if *message >= revision || self.erased.contains(message) {
                    return Err(contradiction("an edit of what is not there"));
                }
                let edits = self.edits.entry(*message).or_default();
                edits.push(revision);
                if edits.len() != *edit as usize || Some(*version) != self.versions.current() {
                    return Err(contradiction("an edit with another number or key version"));
                }
                self.versions.count_message();
            }
            Event::Deleted { revision: message } => {
                self.erased.insert(*message);
                self.erased.extend(self.edits.remove(message).unwrap_or_default());
            }
            Event::Unchanged => {}
            Event::Continued { ended, known, version } => {
                if *ended >= revision {
                    return Err(contradiction("a room goes on where its log did not end"));
                }
                self.versions.skip_to(*version, revision.next(), item.time).map_err(contradiction)?;
                let before = self.continued.map_or(Revision::ZERO, |continued| continued.known);
                self.continued = Some(Continuation { at: revision, known: before.max(*known) });
            }
        }
        self.time = self.time.max(item.time);
        self.head.revision = revision;
        Ok(())
    }

    /// Completes a record whose events were folded one by one.
    pub(crate) fn settle(&mut self, after: Head) {
        debug_assert_eq!(self.head.revision, after.revision);
        self.head = after;
    }

    fn admit(&mut self, account: &AccountId, history: History, at: Revision) -> Result<(), &'static str> {
        let access = self.accounts.entry(account.clone()).or_default();
        if access.member.is_some() {
            return Err("a member is added again");
        }
        let owner = self.born.as_ref().and_then(|birth| birth.owner.as_ref());
        let role = if at.0 == 2 && owner == Some(account) { Role::Owner } else { Role::Member };
        access.member = Some(Membership { role, since: at });
        match history {
            History::All => access.intervals = alloc::vec![Interval { from: Revision(1), until: None }],
            History::None => access.intervals.push(Interval { from: at, until: None }),
        }
        self.members += 1;
        self.owners += u32::from(role == Role::Owner);
        Ok(())
    }

    fn dismiss(&mut self, account: &AccountId, at: Revision) -> Result<(), &'static str> {
        let access = self.accounts.get_mut(account).ok_or("who never was a member is removed")?;
        let gone = access.member.take().ok_or("who is no member is removed")?;
        if let Some(interval) = access.intervals.last_mut() {
            interval.until = Some(at);
        }
        self.members -= 1;
        self.owners -= u32::from(gone.role == Role::Owner);
        Ok(())
    }

    fn set_role(&mut self, account: &AccountId, role: Role) -> Result<(), &'static str> {
        let member = self.accounts.get_mut(account).and_then(|access| access.member.as_mut());
        let member = member.ok_or("who is no member is given a role")?;
        self.owners -= u32::from(member.role == Role::Owner);
        self.owners += u32::from(role == Role::Owner);
        member.role = role;
        Ok(())
    }

    /// The room.
    pub fn room(&self) -> RoomId {
        self.room
    }

    /// The last revision that was folded, and the digest there.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Time of the last record.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What the room is for; none before it is created.
    pub fn kind(&self) -> Option<RoomKind> {
        self.born.as_ref().map(|birth| birth.kind)
    }

    /// The room's origin site.
    pub fn site(&self) -> Option<&SiteId> {
        self.born.as_ref().map(|birth| &birth.site)
    }

    /// The channel's name.
    pub fn name(&self) -> Option<&RoomName> {
        self.name.as_ref()
    }

    /// Whether nothing can be said any more.
    pub fn is_archived(&self) -> bool {
        self.archived
    }

    /// Whether this account is a member now.
    pub fn is_member(&self, account: &AccountId) -> bool {
        self.member(account).is_some()
    }

    /// Whether this account is a member, or was one.
    pub fn was_member(&self, account: &AccountId) -> bool {
        self.accounts.contains_key(account)
    }

    /// This account's membership.
    pub fn member(&self, account: &AccountId) -> Option<Membership> {
        self.accounts.get(account)?.member
    }

    /// Members in the order of their accounts, those after `after`.
    pub fn members_after<'a>(&'a self, after: Option<&AccountId>) -> impl Iterator<Item = (&'a AccountId, Membership)> {
        use core::ops::Bound;
        let from = after.map_or(Bound::Unbounded, |account| Bound::Excluded(account.clone()));
        self.accounts.range((from, Bound::Unbounded)).filter_map(|(account, access)| Some((account, access.member?)))
    }

    /// How many members there are.
    pub fn member_count(&self) -> u32 {
        self.members
    }

    /// How many of them are owners.
    pub fn owner_count(&self) -> u32 {
        self.owners
    }

    /// The other one in a direct message room; oneself, in notes to oneself.
    pub fn counterpart(&self, account: &AccountId) -> Option<&AccountId> {
        if self.kind()? == RoomKind::Channel {
            return None;
        }
        self.accounts.keys().find(|other| *other != account).or_else(|| self.accounts.keys().next())
    }

    /// Whether `account` may read the revision `from`, and up to which revision, at most `to`, the answer stays the same.
    pub fn entitlement(&self, account: &AccountId, from: Revision, to: Revision) -> (bool, Revision) {
        debug_assert!(from <= to);
        let intervals = self.accounts.get(account).map_or(&[][..], |access| &access.intervals);
        for interval in intervals {
            if from < interval.from {
                return (false, to.min(interval.from.previous()));
            }
            match interval.until {
                Some(until) if from >= until => {}
                Some(until) => return (true, to.min(until.previous())),
                None => return (true, to),
            }
        }
        (false, to)
    }

    /// Whether the body at this revision was taken back.
    pub fn is_erased(&self, revision: Revision) -> bool {
        self.erased.contains(&revision)
    }

    /// The revisions of a message's edits, oldest first.
    pub fn edits(&self, message: Revision) -> &[Revision] {
        self.edits.get(&message).map_or(&[], Vec::as_slice)
    }

    /// The revisions whose bodies this event takes away, seen before the event is folded.
    pub fn erased_by(&self, event: &Event) -> Vec<Revision> {
        match event {
            Event::Deleted { revision } => {
                core::iter::once(*revision).chain(self.edits(*revision).iter().copied()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// How many messages of members there are.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// The key to seal under; none before the room is created.
    pub fn current_key(&self) -> Option<CurrentKey> {
        let version = self.versions.current()?;
        Some(CurrentKey { version, public: self.versions.public(version)? })
    }

    /// The public half of a version.
    pub fn public(&self, version: KeyVersion) -> Option<RoomPublic> {
        self.versions.public(version)
    }

    /// The last decision of an operator to go on after a loss.
    pub fn continued(&self) -> Option<Continuation> {
        self.continued
    }

    pub(super) fn set_continued(&mut self, continued: Option<Continuation>) {
        self.continued = continued;
    }

    /// Whether the version was current when an operator had the room go on, or before: it may be that nobody holds it any more.
    pub fn may_be_lost(&self, version: KeyVersion) -> bool {
        self.continued
            .is_some_and(|continued| self.versions.range(version).is_some_and(|(since, _)| since < continued.at))
    }

    /// The version after the last.
    pub fn next_version(&self) -> KeyVersion {
        self.versions.next()
    }

    /// Messages and edits sealed under the current version so far.
    pub fn messages_under_current(&self) -> u64 {
        self.versions.messages_under_current()
    }

    /// Whether a version was replaced, and is out of grace at `now`: replaced at least `grace_ms` before.
    pub fn is_expired(&self, version: KeyVersion, now: Timestamp, grace_ms: u64) -> bool {
        self.versions.retired_at(version).is_some_and(|retired| now.0 >= retired.0.saturating_add(grace_ms))
    }

    /// Whether this account may hold this version: one of its intervals covers a revision under it.
    pub fn may_hold(&self, account: &AccountId, version: KeyVersion) -> bool {
        let Some((since, until)) = self.versions.range(version) else { return false };
        self.accounts.get(account).is_some_and(|access| {
            access.intervals.iter().any(|interval| {
                interval.from < until.unwrap_or(Revision(u64::MAX)) && interval.until.is_none_or(|end| since < end)
            })
        })
    }
}
