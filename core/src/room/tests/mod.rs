//! Behaviours of a room: what commands do to it, one by one, without a sequencer.

mod access;
mod going_on;
mod membership;
mod messages;
mod refusals;
mod requests;
mod systems;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::codec;
use crate::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId};
use crate::keys::{Blob, BodyKind, Claim, Envelope, Opener, RoomSecret, Sealer};
use crate::limits::Limits;
use crate::log::{Body, Entry, Head, Logged, Record};
use crate::site::{MasterKey, SiteKeys};
use crate::time::Timestamp;

pub(super) fn id<T: core::str::FromStr>(text: &str) -> T
where
    T::Err: core::fmt::Debug,
{
    text.parse().expect("a valid id")
}

pub(super) fn ids(names: &[&str]) -> Vec<AccountId> {
    names.iter().map(|name| id(name)).collect()
}

pub(super) fn message_id(n: u32) -> MessageId {
    id(&alloc::format!("message{n:013}"))
}

pub(super) fn text(text: &str) -> Content {
    Content::Plain { text: text.into() }
}

/// A room with everything around it; plain bodies are recorded unsealed, so that tests can read them.
pub(super) struct House {
    pub(super) fold: Fold,
    pub(super) log: Vec<Record<Event>>,
    pub(super) head: Head,
    pub(super) limits: Limits,
    pub(super) keys: SiteKeys,
    pub(super) people: BTreeMap<AccountId, Profile>,
    pub(super) secrets: Vec<RoomSecret>,
    pub(super) from_channels: Vec<AccountId>,
    pub(super) foreign_channel: bool,
    rng: ChaCha20Rng,
    requests: u64,
}

impl House {
    pub(super) fn empty() -> Self {
        let keys = SiteKeys::new(id("home"), &MasterKey::from_bytes([7; 32]));
        let limits = Limits::default();
        let room = RoomId::from_digest(&[5; 32]);
        let mut people = BTreeMap::new();
        for name in ["ada", "bob", "cyd", "dan", "eve"] {
            people.insert(id(name), profile(name));
        }
        people.insert(id("root"), Profile { admin: true, ..profile("root") });
        people.insert(id("robot"), Profile { bot: true, ..profile("robot") });
        people.insert(id("gone"), Profile { disabled: true, ..profile("gone") });
        Self {
            fold: Fold::new(room, limits.remembered_requests),
            log: Vec::new(),
            head: Head::EMPTY,
            limits,
            keys,
            people,
            secrets: Vec::new(),
            from_channels: Vec::new(),
            foreign_channel: false,
            rng: ChaCha20Rng::from_seed([3; 32]),
            requests: 0,
        }
    }

    /// A channel of ada's with these others in it.
    pub(super) fn channel(others: &[&str]) -> Self {
        let mut house = Self::empty();
        let create = Command::CreateChannel { name: "Hall".into(), accounts: ids(others), channels: Vec::new() };
        house.ask("ada", create).expect("created");
        house
    }

    /// The room of ada and bob.
    pub(super) fn dm() -> Self {
        let mut house = Self::empty();
        house.ask("ada", Command::CreateDm { account: id("bob") }).expect("created");
        house
    }

    pub(super) fn room(&self) -> RoomId {
        self.fold.state.room()
    }

    pub(super) fn state(&self) -> &RoomState {
        &self.fold.state
    }

    pub(super) fn request(&mut self) -> RequestId {
        self.requests += 1;
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&self.requests.to_be_bytes());
        RequestId::from_random(bytes)
    }

    pub(super) fn ask(&mut self, who: &str, command: Command) -> Result<Outcome, Refused> {
        let request = self.request();
        self.ask_as(who, request, command)
    }

    /// Refused for this reason, or the outcome.
    pub(super) fn refused(&mut self, who: &str, command: Command) -> Option<Reason> {
        let head = self.head;
        let refused = self.ask(who, command).err();
        assert!(refused.is_none() || self.head == head, "a refusal writes nothing");
        refused.map(|refused| refused.reason)
    }

    pub(super) fn ask_as(&mut self, who: &str, request: RequestId, command: Command) -> Result<Outcome, Refused> {
        let request = Request {
            room: self.room(),
            account: id(who),
            id: request,
            fingerprint: self.keys.fingerprint(&codec::encode(&command)),
            command,
            from_channels: self.from_channels.clone(),
            foreign_channel: self.foreign_channel,
            people: self.people.clone(),
        };
        let (mut staged, mut opener, mut target) = (None, None, None);
        loop {
            let mut context = Context {
                limits: &self.limits,
                keys: &self.keys,
                staged,
                opener: opener.as_mut(),
                target: target.as_ref(),
            };
            match decide(&self.fold.state, &self.fold.requests, &request, &mut context)? {
                Decision::Answered(outcome) => return Ok(outcome),
                Decision::Record(drafts) => return Ok(self.record(&request, drafts)),
                Decision::Needs(Need::Stage(version)) => {
                    while self.secrets.len() <= version.0 as usize {
                        self.secrets.push(RoomSecret::generate(&mut self.rng));
                    }
                    staged = Some((version, self.secrets[version.0 as usize].public()));
                }
                Decision::Needs(Need::Secret(version)) => {
                    let secret = self.secrets[version.0 as usize].clone();
                    opener = Some(Opener::new(&id("home"), self.room(), version, secret, 4));
                }
                Decision::Needs(Need::Target(revision)) => target = Some(self.target(revision)),
            }
        }
    }

    fn target(&self, revision: Revision) -> Target {
        let items = self.log.iter().flat_map(Record::items);
        let message = items.filter(|item| item.revision == revision).find_map(|item| match item.event {
            Event::Message { message, kind: BodyKind::Message, .. } => Some((item.account.clone(), *message)),
            _ => None,
        });
        Target { revision, message }
    }

    fn record(&mut self, request: &Request, drafts: Vec<Draft>) -> Outcome {
        let events = drafts.into_iter().map(|draft| Logged {
            event: draft.event,
            body: match draft.body {
                DraftBody::None => Body::None,
                DraftBody::Sealed(envelope) => Body::Present(Blob(envelope.to_bytes())),
                DraftBody::Seal { plaintext, .. } => Body::Present(plaintext.into()),
            },
        });
        let entry = Entry {
            account: request.account.clone(),
            request: Some(request.id),
            fingerprint: request.fingerprint,
            events: events.collect(),
        };
        let time = Timestamp(1_000 + self.log.len() as u64);
        let record = Record { first: self.head.revision.next(), time, entries: alloc::vec![entry] };
        self.head = record.extend(self.head).expect("follows");
        self.fold.apply(&record, self.head).expect("what is decided never contradicts");
        self.log.push(record);
        self.fold.requests.answered(&request.account, request.id).expect("remembered").outcome
    }

    /// What the last record holds, by the names of its events.
    pub(super) fn last_kinds(&self) -> Vec<&'static str> {
        self.log.last().expect("a record").items().map(|item| item.event.kind()).collect()
    }

    /// What the room said in the last record.
    pub(super) fn last_said(&self) -> Vec<String> {
        let items = self.log.last().expect("a record").items();
        let said = items.filter_map(|item| match (item.event, item.body) {
            (Event::Message { kind: BodyKind::System, .. }, Body::Present(body)) => {
                Some(serde_json::from_slice::<SystemContent>(body).expect("JSON").text)
            }
            _ => None,
        });
        said.collect()
    }

    pub(super) fn version(&self) -> KeyVersion {
        self.state().current_key().expect("a key").version
    }

    pub(super) fn members(&self) -> Vec<&str> {
        self.state().members_after(None).map(|(account, _)| account.as_str()).collect()
    }

    pub(super) fn add(&self, accounts: &[&str]) -> Command {
        let (room, accounts) = (self.room(), ids(accounts));
        Command::Add { room, accounts, channels: Vec::new(), bots: false, history: History::All }
    }

    pub(super) fn add_without_history(&self, accounts: &[&str]) -> Command {
        let (room, accounts) = (self.room(), ids(accounts));
        Command::Add { room, accounts, channels: Vec::new(), bots: false, history: History::None }
    }

    pub(super) fn remove(&self, accounts: &[&str]) -> Command {
        Command::Remove { room: self.room(), accounts: ids(accounts) }
    }

    pub(super) fn role(&self, account: &str, role: Role) -> Command {
        Command::SetRole { room: self.room(), account: id(account), role }
    }

    pub(super) fn rename(&self, name: &str) -> Command {
        Command::Rename { room: self.room(), name: name.into() }
    }

    pub(super) fn archive(&self) -> Command {
        Command::Archive { room: self.room() }
    }

    pub(super) fn say(&self, n: u32, content: Content) -> Command {
        Command::Submit(Submit { room: self.room(), message: message_id(n), content })
    }

    pub(super) fn edit(&self, revision: Revision, edit: u32, content: Content) -> Command {
        Command::Edit { room: self.room(), revision, edit, content }
    }

    pub(super) fn delete(&self, revision: Revision) -> Command {
        Command::Delete { room: self.room(), revision }
    }

    /// Says something, and tells where it stands.
    pub(super) fn said(&mut self, who: &str, n: u32) -> Revision {
        let say = self.say(n, text("hello"));
        match self.ask(who, say).expect("said") {
            Outcome::Sent { revision, .. } => revision,
            other => panic!("{other:?}"),
        }
    }

    /// An envelope as a client makes it.
    pub(super) fn envelope(&mut self, version: KeyVersion, sender: &str, n: u32, plaintext: &[u8]) -> Envelope {
        let public = self.secrets[version.0 as usize].public();
        let room = self.room();
        let mut sealer = Sealer::new(&id("home"), room, version, &public, &mut self.rng).expect("a key");
        let sender = id(sender);
        let (kind, message) = (BodyKind::Message, message_id(n));
        let claim = Claim { room, version, kind, sender: &sender, message, edit: 0 };
        sealer.seal(&claim, plaintext).expect("sealed")
    }
}

pub(super) fn profile(name: &str) -> Profile {
    Profile { name: name.to_uppercase(), bot: false, disabled: false, admin: false }
}
