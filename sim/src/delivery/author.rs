//! Writes plausible logs of a room: every record follows, and none contradicts the one before.
//!
//! Keeps the plainest model of a room there is, a list of facts, apart from what core folds: oracles judge by it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Encapsulation, Envelope, RoomPublic, RoomSecret};
use chamberlain_core::log::{Body, Entry, Head, Logged, Record};
use chamberlain_core::room::{Event, History, RoomKind};
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;

/// Something an account does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Says something of about so many bytes.
    Say(u16),
    /// Edits one of the messages.
    Edit(u8),
    /// Deletes one of the messages.
    Delete(u8),
    /// Adds one of the accounts.
    Add(u8, History),
    /// Removes one of the accounts; the key rotates with it.
    Remove(u8),
    /// Rotates the key.
    Rotate,
    /// Something that has no body.
    Nothing,
}

/// One revision, as anybody may check it.
#[derive(Debug, Clone)]
pub struct Fact {
    /// When.
    pub time: Timestamp,
    /// Who.
    pub account: AccountId,
    /// By which request.
    pub request: Option<RequestId>,
    /// What.
    pub event: Event,
    /// With which envelope.
    pub body: Option<Envelope>,
    /// The head of the log there.
    pub head: Head,
}

/// A room's log, and what is known of it.
#[derive(Debug)]
pub struct Author {
    /// The room.
    pub room: RoomId,
    /// Who may come and go.
    pub cast: Vec<AccountId>,
    /// The records, with the head after each.
    pub records: Vec<(Record<Event>, Head)>,
    /// Every revision; the first one at index zero.
    pub facts: Vec<Fact>,
    public: RoomPublic,
    version: u32,
    members: BTreeSet<AccountId>,
    said: Vec<Revision>,
    edits: BTreeMap<Revision, u32>,
    ordinal: u64,
}

/// Events of one entry, and their bodies.
type Events = Vec<(Event, Option<Envelope>)>;

impl Author {
    /// A channel with the first of the cast in it.
    pub fn new(room: RoomId, cast: Vec<AccountId>) -> Self {
        let public = RoomSecret::from_bytes(&[7; 32]).expect("a scalar").public();
        let mut author = Self {
            room,
            cast,
            records: Vec::new(),
            facts: Vec::new(),
            public,
            version: 0,
            members: BTreeSet::new(),
            said: Vec::new(),
            edits: BTreeMap::new(),
            ordinal: 0,
        };
        let first = author.cast[0].clone();
        author.members.insert(first.clone());
        let created = Event::Created {
            kind: RoomKind::Channel,
            site: "here".parse().expect("valid"),
            name: None,
            owner: Some(first.clone()),
        };
        let added = Event::MembersAdded { accounts: vec![first.clone()], history: History::All };
        let rotated = Event::KeyRotated { version: KeyVersion(0), public };
        author.append(vec![(first, None, vec![(created, None), (added, None), (rotated, None)])]);
        author
    }

    /// Whether the account is a member at the end of the log.
    pub fn is_member(&self, account: &AccountId) -> bool {
        self.members.contains(account)
    }

    /// The end of the log.
    pub fn head(&self) -> Head {
        self.records.last().map_or(Head::EMPTY, |(_, head)| *head)
    }

    /// Appends one record with these deeds; gives the last revision of each deed. A deed that makes no sense now leaves
    /// `Unchanged`.
    pub fn write(&mut self, deeds: &[(Deed, AccountId, Option<RequestId>)]) -> Vec<Revision> {
        let mut next = self.head().revision.next();
        let (mut entries, mut lasts) = (Vec::new(), Vec::new());
        for (deed, account, request) in deeds {
            let events = self.events(*deed, next);
            next = next.plus(events.len() as u64);
            lasts.push(next.previous());
            entries.push((account.clone(), *request, events));
        }
        self.append(entries);
        lasts
    }

    fn events(&mut self, deed: Deed, at: Revision) -> Events {
        let version = KeyVersion(self.version);
        let rotate = |version: &mut u32, public| {
            *version += 1;
            (Event::KeyRotated { version: KeyVersion(*version), public }, None)
        };
        match deed {
            Deed::Say(len) => {
                self.ordinal += 1;
                self.said.push(at);
                let message = MessageId::from_digest(&[at.0 as u8; 32]);
                let event = Event::Message { message, kind: BodyKind::Message, version, ordinal: self.ordinal };
                vec![(event, Some(envelope(version, at, len.into())))]
            }
            Deed::Edit(pick) if !self.said.is_empty() => {
                let revision = self.said[usize::from(pick) % self.said.len()];
                let edit = self.edits.entry(revision).or_default();
                *edit += 1;
                let event = Event::Edited { revision, edit: *edit, version };
                vec![(event, Some(envelope(version, at, 20)))]
            }
            Deed::Delete(pick) if !self.said.is_empty() => {
                let revision = self.said.remove(usize::from(pick) % self.said.len());
                self.edits.remove(&revision);
                vec![(Event::Deleted { revision }, None)]
            }
            Deed::Add(pick, history) => {
                let account = self.cast[usize::from(pick) % self.cast.len()].clone();
                if !self.members.insert(account.clone()) {
                    return vec![(Event::Unchanged, None)];
                }
                let added = (Event::MembersAdded { accounts: vec![account], history }, None);
                match history {
                    History::All => vec![added],
                    History::None => vec![added, rotate(&mut self.version, self.public)],
                }
            }
            Deed::Remove(pick) => {
                let account = self.cast[usize::from(pick) % self.cast.len()].clone();
                if !self.members.remove(&account) {
                    return vec![(Event::Unchanged, None)];
                }
                let removed = (Event::MembersRemoved { accounts: vec![account] }, None);
                vec![removed, rotate(&mut self.version, self.public)]
            }
            Deed::Rotate => vec![rotate(&mut self.version, self.public)],
            _ => vec![(Event::Unchanged, None)],
        }
    }

    fn append(&mut self, entries: Vec<(AccountId, Option<RequestId>, Events)>) {
        let before = self.head();
        let time = Timestamp(1_000 + before.revision.0);
        let mut facts = Vec::new();
        let entries = entries.into_iter().map(|(account, request, events)| Entry {
            account: account.clone(),
            request,
            fingerprint: Fingerprint::default(),
            events: events
                .into_iter()
                .map(|(event, body)| {
                    let account = account.clone();
                    facts.push(Fact { time, account, request, event: event.clone(), body: body.clone(), head: before });
                    Logged { event, body: body.map_or(Body::None, |body| Body::Present(Blob(body.to_bytes()))) }
                })
                .collect(),
        });
        let record = Record { first: before.revision.next(), time, entries: entries.collect() };
        for (fact, head) in facts.iter_mut().zip(record.heads(before)) {
            fact.head = head;
        }
        let after = record.extend(before).expect("it follows");
        self.facts.extend(facts);
        self.records.push((record, after));
    }

    /// What is at a revision.
    pub fn fact(&self, revision: Revision) -> &Fact {
        &self.facts[revision.0 as usize - 1]
    }

    /// Which revisions the account may read, as the log says up to `head`: found by going through every event of it.
    pub fn readable(&self, account: &AccountId, head: Revision) -> BTreeSet<Revision> {
        let (mut readable, mut member) = (BTreeSet::new(), false);
        for (fact, at) in self.facts.iter().zip(1..=head.0) {
            match &fact.event {
                Event::MembersAdded { accounts, history } if accounts.contains(account) => {
                    member = true;
                    if *history == History::All {
                        readable = (1..at).map(Revision).collect();
                    }
                }
                Event::MembersRemoved { accounts } if accounts.contains(account) => member = false,
                _ => {}
            }
            if member {
                readable.insert(Revision(at));
            }
        }
        readable
    }

    /// Which bodies are taken back by what the log says up to `head`.
    pub fn erased(&self, head: Revision) -> BTreeSet<Revision> {
        let facts = || self.facts.iter().zip(1..=head.0);
        let messages: BTreeSet<Revision> = facts()
            .filter_map(|(fact, _)| match fact.event {
                Event::Deleted { revision } => Some(revision),
                _ => None,
            })
            .collect();
        let edits = facts().filter_map(|(fact, at)| match fact.event {
            Event::Edited { revision, .. } if messages.contains(&revision) => Some(Revision(at)),
            _ => None,
        });
        edits.collect::<BTreeSet<_>>().into_iter().chain(messages).collect()
    }

    /// Whether the account was a member at `head`.
    pub fn was_member(&self, account: &AccountId, head: Revision) -> bool {
        let mut member = false;
        for fact in &self.facts[..head.0 as usize] {
            match &fact.event {
                Event::MembersAdded { accounts, .. } if accounts.contains(account) => member = true,
                Event::MembersRemoved { accounts } if accounts.contains(account) => member = false,
                _ => {}
            }
        }
        member
    }
}

fn envelope(version: KeyVersion, at: Revision, len: usize) -> Envelope {
    Envelope {
        version,
        encapsulation: Encapsulation([at.0 as u8; 65]),
        counter: at.0,
        ciphertext: Blob(Bytes::from(vec![at.0 as u8; len + 16])),
    }
}
