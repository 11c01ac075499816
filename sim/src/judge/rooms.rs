//! A room as its log tells it, revision by revision: the plainest reading there is, to hold everything else against.

use std::collections::BTreeMap;

use chamberlain_core::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use chamberlain_core::keys::{BodyKind, Envelope, RoomPublic};
use chamberlain_core::log::{Body, Head, Record};
use chamberlain_core::room::{Event, History, Outcome, Role, RoomKind};
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;

/// One revision of a room.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) revision: Revision,
    /// Index into the story of the moment at which it became durable, where that is told.
    pub(super) landed: Option<usize>,
    pub(super) time: Timestamp,
    pub(super) account: AccountId,
    pub(super) request: Option<RequestId>,
    pub(super) event: Event,
    /// As it was recorded, whatever was erased since.
    pub(super) body: Option<Envelope>,
    /// Where the log ends with it.
    pub(super) head: Head,
    /// Messages of members up to here.
    pub(super) messages: u64,
    /// The current version from here on.
    pub(super) version: Option<KeyVersion>,
}

/// What one command recorded.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) who: AccountId,
    pub(super) request: Option<RequestId>,
    /// Of the command.
    pub(super) fingerprint: Fingerprint,
    pub(super) first: Revision,
    pub(super) last: Revision,
    /// What has to be answered to it.
    pub(super) outcome: Outcome,
}

/// Who is in a room, and what it is, from one revision to the next change.
#[derive(Debug, Clone, Default)]
pub(super) struct Roster {
    /// From this revision on.
    pub(super) since: Revision,
    pub(super) name: Option<String>,
    pub(super) archived: bool,
    /// Members with their roles and the revision that added them.
    pub(super) members: BTreeMap<AccountId, (Role, Revision)>,
}

impl Roster {
    pub(super) fn owners(&self) -> usize {
        self.members.values().filter(|(role, _)| *role == Role::Owner).count()
    }
}

/// An account came, or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Came(History),
    Went,
}

/// A key version, as the log names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    pub(super) since: Revision,
    pub(super) public: RoomPublic,
}

/// A room's log.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) id: RoomId,
    pub(super) kind: Option<RoomKind>,
    pub(super) facts: Vec<Fact>,
    pub(super) entries: Vec<Entry>,
    /// First and last revision of every record.
    pub(super) records: Vec<(Revision, Revision)>,
    /// Oldest first; the first one is of revision zero.
    pub(super) rosters: Vec<Roster>,
    pub(super) steps: BTreeMap<AccountId, Vec<(Revision, Step)>>,
    pub(super) versions: Vec<Version>,
    /// Messages and edits that were taken back, by the revision that did it.
    pub(super) taken_back: BTreeMap<Revision, Revision>,
    /// What the log contradicts itself in.
    pub(super) contradictions: Vec<(String, Option<usize>)>,
    owner: Option<AccountId>,
    edits: BTreeMap<Revision, Vec<Revision>>,
}

impl Room {
    pub(super) fn new(id: RoomId) -> Self {
        Self {
            id,
            kind: None,
            facts: Vec::new(),
            entries: Vec::new(),
            records: Vec::new(),
            rosters: vec![Roster::default()],
            steps: BTreeMap::new(),
            versions: Vec::new(),
            taken_back: BTreeMap::new(),
            contradictions: Vec::new(),
            owner: None,
            edits: BTreeMap::new(),
        }
    }

    pub(super) fn head(&self) -> Head {
        self.facts.last().map_or(Head::EMPTY, |fact| fact.head)
    }

    pub(super) fn fact(&self, revision: Revision) -> Option<&Fact> {
        self.facts.get((revision.0 as usize).checked_sub(1)?)
    }

    /// The facts of these revisions, those that are there.
    pub(super) fn facts(&self, from: Revision, to: Revision) -> &[Fact] {
        let end = (to.0 as usize).min(self.facts.len());
        self.facts.get((from.0 as usize).saturating_sub(1).min(end)..end).unwrap_or_default()
    }

    /// The last revision that was durable before the `seen`th thing came to pass.
    pub(super) fn durable(&self, seen: usize) -> Revision {
        Revision(self.facts.partition_point(|fact| fact.landed.is_none_or(|landed| landed < seen)) as u64)
    }

    pub(super) fn roster(&self, at: Revision) -> &Roster {
        &self.rosters[self.rosters.partition_point(|roster| roster.since <= at) - 1]
    }

    pub(super) fn is_member(&self, account: &AccountId, at: Revision) -> bool {
        self.roster(at).members.contains_key(account)
    }

    /// Whether the account was in at every revision of these.
    pub(super) fn is_always_member(&self, account: &AccountId, from: Revision, to: Revision) -> bool {
        self.is_member(account, from) && !self.changes(account, from, to).any(|step| step == Step::Went)
    }

    /// Whether the account was in at one of these revisions.
    pub(super) fn is_ever_member(&self, account: &AccountId, from: Revision, to: Revision) -> bool {
        self.is_member(account, from) || self.changes(account, from, to).any(|step| step != Step::Went)
    }

    fn changes(&self, account: &AccountId, after: Revision, to: Revision) -> impl Iterator<Item = Step> {
        let steps = self.steps.get(account).map_or(&[][..], Vec::as_slice);
        steps.iter().filter(move |(at, _)| after < *at && *at <= to).map(|(_, step)| *step)
    }

    /// Whether the log up to `head` lets the account read a revision: it was a member then, or came later and may read all.
    /// Once it may, it always may.
    pub(super) fn readable(&self, account: &AccountId, revision: Revision, head: Revision) -> bool {
        let mut member = false;
        for (at, step) in self.steps.get(account).into_iter().flatten().take_while(|(at, _)| *at <= head) {
            if member && revision < *at {
                return true;
            }
            match step {
                Step::Came(History::All) if revision < *at => return true,
                Step::Came(_) => member = *at <= revision || member,
                Step::Went => member = false,
            }
        }
        member && revision <= head
    }

    /// Revisions under a version, as far as `head`: the first, and the first no longer.
    pub(super) fn reign(&self, version: KeyVersion, head: Revision) -> Option<(Revision, Revision)> {
        let at = version.0 as usize;
        let since = self.versions.get(at)?.since;
        let until = self.versions.get(at + 1).map_or(head.next(), |next| next.since.min(head.next()));
        (since < until).then_some((since, until))
    }

    /// Whether the log up to `head` lets the account hold a version: it may read a revision under it.
    pub(super) fn may_hold(&self, account: &AccountId, version: KeyVersion, head: Revision) -> bool {
        let reign = self.reign(version, head);
        reign.is_some_and(|(since, until)| (since.0..until.0).any(|at| self.readable(account, Revision(at), head)))
    }

    /// Whether the log up to `head` takes the body at this revision back.
    pub(super) fn is_taken_back(&self, revision: Revision, head: Revision) -> bool {
        self.taken_back.get(&revision).is_some_and(|by| *by <= head)
    }

    /// The entries of a request.
    pub(super) fn of_request(&self, who: &AccountId, request: RequestId) -> impl Iterator<Item = &Entry> {
        let who = who.clone();
        self.entries.iter().filter(move |entry| entry.request == Some(request) && entry.who == who)
    }

    /// The message that stands at a revision: its sender and name.
    pub(super) fn message(&self, revision: Revision) -> Option<(&AccountId, chamberlain_core::id::MessageId)> {
        match self.fact(revision)? {
            Fact { account, event: Event::Message { message, .. }, .. } => Some((account, *message)),
            _ => None,
        }
    }

    /// Everybody who ever was a member.
    pub(super) fn everybody(&self) -> impl Iterator<Item = &AccountId> {
        self.steps.keys()
    }

    /// Takes the next record. `false` when it does not follow.
    pub(super) fn take(&mut self, record: &Record<Event>, landed: Option<usize>) -> bool {
        let before = self.head();
        if record.first != before.revision.next() {
            return false;
        }
        let heads: Vec<Head> = record.heads(before).collect();
        for (item, head) in record.items().zip(heads) {
            if item.opens_entry {
                let (who, request) = (item.account.clone(), item.request);
                let outcome = Outcome::Done { revision: item.revision };
                let (first, last, fingerprint) = (item.revision, item.revision, item.fingerprint);
                self.entries.push(Entry { who, request, fingerprint, first, last, outcome });
            }
            self.settle(item.event, item.revision, item.time);
            let contradiction = self.fold(item.event, item.account, item.revision);
            let what = |what: &str| (format!("{} of {}: {what}", item.revision, self.id), landed);
            self.contradictions.extend(contradiction.map(what));
            let body = match item.body {
                Body::Present(bytes) => Envelope::from_bytes(bytes).ok(),
                _ => None,
            };
            if matches!((item.body, &body), (Body::Present(_), None)) {
                self.contradictions.push((format!("{} of {}: the body is none", item.revision, self.id), landed));
            }
            let said = matches!(item.event, Event::Message { kind: BodyKind::Message, .. });
            self.facts.push(Fact {
                revision: item.revision,
                landed,
                time: item.time,
                account: item.account.clone(),
                request: item.request,
                event: item.event.clone(),
                body,
                head,
                messages: self.facts.last().map_or(0, |fact| fact.messages) + u64::from(said),
                version: self.versions.len().checked_sub(1).map(|version| KeyVersion(version as u32)),
            });
        }
        self.records.push((record.first, record.last()));
        true
    }

    /// What has to be answered, with one more event.
    fn settle(&mut self, event: &Event, revision: Revision, time: Timestamp) {
        let (room, kind) = (self.id, self.kind);
        let Some(entry) = self.entries.last_mut() else { return };
        entry.last = revision;
        match event {
            Event::Created { kind, .. } => {
                entry.outcome = Outcome::Created { room, kind: *kind, exists: false };
            }
            // A room of two, found again after one of them was shut out.
            Event::MembersAdded { .. } if entry.first > Revision(1) && kind.is_some_and(|k| k != RoomKind::Channel) => {
                if let Some(kind) = kind {
                    entry.outcome = Outcome::Created { room, kind, exists: true };
                }
            }
            Event::Message { kind: BodyKind::Message, version, .. } | Event::Edited { version, .. } => {
                entry.outcome = Outcome::Sent { revision, time, version: *version };
            }
            _ => {
                if let Outcome::Done { revision: last } = &mut entry.outcome {
                    *last = revision;
                }
            }
        }
    }

    /// Folds one event, and says what it contradicts.
    fn fold(&mut self, event: &Event, account: &AccountId, at: Revision) -> Option<&'static str> {
        if (at == Revision(1)) != matches!(event, Event::Created { .. }) {
            return Some("a room is created once, and first");
        }
        match event {
            Event::Created { kind, name, owner, .. } => {
                (self.kind, self.owner) = (Some(*kind), owner.clone());
                self.change(at).name = name.as_ref().map(|name| name.as_str().to_owned());
            }
            Event::MembersAdded { accounts, history } => {
                for account in accounts {
                    let owns = self.owner.as_ref() == Some(account) && at == Revision(2);
                    let role = if owns { Role::Owner } else { Role::Member };
                    if self.change(at).members.insert(account.clone(), (role, at)).is_some() {
                        return Some("a member is added again");
                    }
                    self.steps.entry(account.clone()).or_default().push((at, Step::Came(*history)));
                }
            }
            Event::MembersRemoved { accounts } => {
                for account in accounts {
                    if self.change(at).members.remove(account).is_none() {
                        return Some("who is no member is removed");
                    }
                    self.steps.entry(account.clone()).or_default().push((at, Step::Went));
                }
            }
            Event::RoleSet { account, role } => match self.change(at).members.get_mut(account) {
                Some(member) => member.0 = *role,
                None => return Some("who is no member is given a role"),
            },
            Event::Renamed { name } => self.change(at).name = Some(name.as_str().to_owned()),
            Event::Archived => self.change(at).archived = true,
            Event::KeyRotated { version, public } => {
                if version.0 as usize != self.versions.len() {
                    return Some("a key version is skipped, or used again");
                }
                self.versions.push(Version { since: at, public: *public });
            }
            Event::Message { version, ordinal, kind, .. } => {
                let before = self.facts.last().map_or(0, |fact| fact.messages);
                if version.0 as usize + 1 != self.versions.len() {
                    return Some("a message under a version that is not the current one");
                }
                if *ordinal != before + u64::from(*kind == BodyKind::Message) {
                    return Some("a message with another ordinal");
                }
            }
            Event::Edited { revision, edit, version } => {
                let sender = self.message(*revision).map(|(sender, _)| sender.clone());
                let edits = self.edits.entry(*revision).or_default();
                edits.push(at);
                if sender.as_ref() != Some(account) || self.taken_back.contains_key(revision) {
                    return Some("an edit of what is not there");
                }
                if edits.len() != *edit as usize || version.0 as usize + 1 != self.versions.len() {
                    return Some("an edit with another number or version");
                }
            }
            Event::Deleted { revision } => {
                if self.message(*revision).is_none() {
                    return Some("a deletion of what is not there");
                }
                let edits = self.edits.get(revision).cloned().unwrap_or_default();
                for gone in edits.into_iter().chain([*revision]) {
                    self.taken_back.entry(gone).or_insert(at);
                }
            }
            Event::Unchanged => {}
            Event::Continued { .. } => return Some("a room that goes on after a loss, which no operator decided"),
        }
        None
    }

    /// The roster from this revision on, to be changed.
    fn change(&mut self, at: Revision) -> &mut Roster {
        if self.rosters[self.rosters.len() - 1].since != at {
            let next = Roster { since: at, ..self.rosters[self.rosters.len() - 1].clone() };
            self.rosters.push(next);
        }
        let last = self.rosters.len() - 1;
        &mut self.rosters[last]
    }
}
