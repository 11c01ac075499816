//! Deciding and folding one message in a large, old room: without sealing, and as a sequencer does it, sealing and all.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_core::codec;
use chamberlain_core::id::{AccountId, KeyVersion, Revision};
use chamberlain_core::keys::{Blob, BodyKind, Encapsulation, Envelope, RoomSecret};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Body, Digest, Entry, Head, Logged, Record, RecordBytes};
use chamberlain_core::room::{
    Command, Content, Context, Decision, Event, Fold, History, Outcome, Profile, Request, RoomKind, Submit, decide,
};
use chamberlain_core::sequencer::{Append, Effect, Input, Sequencer, Ticket};
use chamberlain_core::site::{Fingerprint, SiteKeys};
use chamberlain_core::time::{Instant, Timestamp};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::names;

/// Members that one event adds.
const ADDED_AT_ONCE: usize = 1_000;
/// When everything in here happens.
const TIME: Timestamp = Timestamp(1_790_000_000_000);

/// Limits under which every member of a large room may write, an owner comes on top of 10,000, and no key wears out.
pub fn limits() -> Limits {
    let room_members = 20_000;
    Limits { room_members, large_room: 100_000, messages_per_key: 1_000_000_000, ..Limits::default() }
}

/// A room, as its log makes it.
pub struct GrownRoom {
    /// The fold at its head.
    pub fold: Fold,
    /// Secret of its one key version.
    pub secret: RoomSecret,
    /// How many members it has beside the owner.
    pub members: usize,
}

impl GrownRoom {
    /// A channel with so many members beside its owner, and so many messages. `keep` is shown each record of the log.
    pub fn new(members: usize, messages: u64, mut keep: impl FnMut(&Record<Event>, Head)) -> Self {
        let secret = RoomSecret::generate(&mut ChaCha20Rng::from_seed([2; 32]));
        let mut fold = Fold::new(names::room(0), limits().remembered_requests);
        let mut add = |events: Vec<Logged<Event>>, nth: u64, sender| {
            let before = fold.state.head();
            let record = record(before.revision.next(), nth, sender, events);
            let after = record.extend(before).expect("it follows");
            fold.apply(&record, after).expect("a log that does not contradict itself");
            keep(&record, after);
        };
        let created = Event::Created {
            kind: RoomKind::Channel,
            site: names::site(),
            name: Some("grown".parse().expect("a name")),
            owner: Some(names::owner()),
        };
        let owner = Event::MembersAdded { accounts: vec![names::owner()], history: History::All };
        let key = Event::KeyRotated { version: KeyVersion::FIRST, public: secret.public() };
        add([created, owner, key].map(bare).into(), u64::MAX, names::owner());
        let everybody: Vec<_> = (0..members).map(names::member).collect();
        for some in everybody.chunks(ADDED_AT_ONCE) {
            let nth = u64::MAX - 1 - some.len() as u64;
            add(vec![bare(Event::MembersAdded { accounts: some.into(), history: History::All })], nth, names::owner());
        }
        for nth in 0..messages {
            let event = message(nth, nth + 1);
            add(vec![Logged { event, body: body(nth) }], nth, sender(nth, members));
        }
        Self { fold, secret, members }
    }
}

fn record(first: Revision, nth: u64, account: AccountId, events: Vec<Logged<Event>>) -> Record<Event> {
    let request = Some(names::request(nth));
    let entry = Entry { account, request, fingerprint: Fingerprint([3; 16]), events };
    Record { first, time: TIME, entries: vec![entry] }
}

fn bare(event: Event) -> Logged<Event> {
    Logged { event, body: Body::None }
}

/// A message in the log.
pub(crate) fn message(nth: u64, ordinal: u64) -> Event {
    Event::Message { message: names::message(nth), kind: BodyKind::Message, version: KeyVersion::FIRST, ordinal }
}

/// A body as long as one of 256 bytes is when it is sealed; it opens nowhere.
pub(crate) fn body(nth: u64) -> Body {
    let envelope = Envelope {
        version: KeyVersion::FIRST,
        encapsulation: Encapsulation([4; 65]),
        counter: nth,
        ciphertext: Blob(Bytes::from(vec![nth as u8; crate::seal::BODY_BYTES + 16])),
    };
    Body::Present(Blob(envelope.to_bytes()))
}

fn sender(nth: u64, members: usize) -> AccountId {
    if members == 0 { names::owner() } else { names::member((names::scattered(nth) % members as u64) as usize) }
}

/// Requests to say something, as a gateway hands them in.
pub struct Requests {
    keys: SiteKeys,
    members: usize,
    next: u64,
}

impl Requests {
    /// From somewhere among so many members; the first is the `from`th request of all.
    pub fn new(members: usize, from: u64) -> Self {
        Self { keys: names::keys(), members, next: from }
    }

    /// The next so many.
    pub fn take(&mut self, count: usize) -> Vec<Box<Request>> {
        (0..count).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> Box<Request> {
        let nth = self.next;
        self.next += 1;
        let account = sender(nth, self.members);
        let content = Content::Plain { text: text() };
        let command = Command::Submit(Submit { room: names::room(0), message: names::message(nth), content });
        let profile = Profile { name: account.as_str().to_owned(), bot: false, disabled: false, admin: false };
        Box::new(Request {
            room: names::room(0),
            id: names::request(nth),
            fingerprint: self.keys.fingerprint(&codec::encode(&command)),
            command,
            from_channels: Vec::new(),
            foreign_channel: false,
            people: BTreeMap::from([(account.clone(), profile)]),
            account,
        })
    }
}

/// A text whose body, as it is sealed, has 256 bytes.
pub fn text() -> String {
    "x".repeat(crate::seal::BODY_BYTES - br#"{"text":""}"#.len())
}

/// Decides and folds, and neither seals nor hashes nor stores.
pub struct Decider {
    fold: Fold,
    keys: SiteKeys,
    limits: Limits,
    sealed: Body,
}

impl Decider {
    /// Goes on from a room.
    pub fn new(room: &GrownRoom) -> Self {
        Self { fold: room.fold.clone(), keys: names::keys(), limits: limits(), sealed: body(0) }
    }

    /// Decides one request, and folds what it came to.
    pub fn submit(&mut self, request: &Request) {
        let mut context = Context { limits: &self.limits, keys: &self.keys, staged: None, opener: None, target: None };
        let decided = decide(&self.fold.state, &self.fold.requests, request, &mut context);
        let Ok(Decision::Record(drafts)) = decided else { panic!("a message is recorded, not {decided:?}") };
        let events = drafts.into_iter().map(|draft| Logged { event: draft.event, body: self.sealed.clone() }).collect();
        let entry = Entry {
            account: request.account.clone(),
            request: Some(request.id),
            fingerprint: request.fingerprint,
            events,
        };
        let record = Record { first: self.fold.state.head().revision.next(), time: TIME, entries: vec![entry] };
        let after = Head { revision: record.last(), digest: Digest::ZERO };
        self.fold.apply(&record, after).expect("what was decided can be folded");
    }
}

/// A sequencer over a log that takes every record at once.
pub struct Sequenced {
    sequencer: Sequencer,
    secret: RoomSecret,
    effects: Vec<Effect>,
    answered: u64,
    next: u64,
    bytes: usize,
}

impl Sequenced {
    /// Goes on from a room.
    pub fn new(room: &GrownRoom) -> Self {
        let mut effects = Vec::new();
        let (keys, limits) = (Arc::new(names::keys()), Arc::new(limits()));
        let mut sequencer = Sequencer::new(names::room(0), keys, limits, [5; 32], &mut effects);
        effects.clear();
        let loaded = Input::Loaded(Ok(Box::new(room.fold.clone())));
        sequencer.step(Instant(0), TIME, loaded, &mut effects);
        Self { sequencer, secret: room.secret.clone(), effects, answered: 0, next: 0, bytes: 0 }
    }

    /// Submits requests that come at once; returns when all are answered. The first makes a record of its own, the others one
    /// together, as under a log that takes its time.
    pub fn submit(&mut self, requests: Vec<Box<Request>>) {
        let expected = self.answered + requests.len() as u64;
        for request in requests {
            let ticket = Ticket(self.next);
            self.next += 1;
            self.step(Input::Request { ticket, request });
        }
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out(effect);
            }
        }
        assert_eq!(self.answered, expected, "every request is answered");
    }

    /// Bytes of records so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn step(&mut self, input: Input) {
        self.sequencer.step(Instant(0), TIME, input, &mut self.effects);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Append { record, .. } => {
                self.bytes += record.bytes.len();
                self.step(Input::Appended(Ok(Append::Done)));
            }
            Effect::Answer { result, .. } => {
                assert!(matches!(result, Ok(Outcome::Sent { .. })), "sent, not {result:?}");
                self.answered += 1;
            }
            Effect::GetSecret { version } => {
                let secret = Ok(self.secret.clone());
                self.step(Input::SecretGot { version, secret });
            }
            Effect::Committed { .. } | Effect::Snapshot { .. } => {}
            other => panic!("nothing asked for {other:?}"),
        }
    }
}

/// What a node reads when it loads a room: a snapshot, and the records after it.
pub struct ColdRoom {
    snapshot: Bytes,
    tail: Vec<RecordBytes>,
}

impl ColdRoom {
    /// A room whose last snapshot is as old as it gets.
    pub fn new(members: usize, revisions: u64) -> Self {
        let every = u64::from(limits().snapshot_every);
        let mut tail: Vec<(RecordBytes, Head)> = Vec::new();
        let before = 3 + members.div_ceil(ADDED_AT_ONCE) as u64;
        let messages = revisions - before;
        let early = messages - (every - 1);
        let snapshot = GrownRoom::new(members, early, |_, _| {}).fold.to_snapshot();
        GrownRoom::new(members, messages, |record, after| {
            if record.first.0 > before + early {
                tail.push((record.encode(), after));
            }
        });
        Self { snapshot: snapshot.into(), tail: tail.into_iter().map(|(record, _)| record).collect() }
    }

    /// Folds it to its head.
    pub fn start(&self) -> Fold {
        let mut fold = Fold::from_snapshot(&self.snapshot).expect("a snapshot of our own");
        for bytes in &self.tail {
            let record = Record::decode(&bytes.bytes).expect("a record of our own");
            let after = record.extend(fold.state.head()).expect("it follows");
            fold.apply(&record, after).expect("a log that does not contradict itself");
        }
        fold
    }

    /// Records after the snapshot.
    pub fn tail_records(&self) -> usize {
        self.tail.len()
    }
}
