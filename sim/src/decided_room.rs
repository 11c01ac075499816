//! A room driven through `decide` and `apply` alone: no sequencer, no stores, nothing that fails.

use chamberlain_core::codec;
use chamberlain_core::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Opener, RoomSecret};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Body, Entry, Head, Logged, Record};
use chamberlain_core::room::{
    Command, Context, Decision, Draft, DraftBody, Event, Fold, Need, Outcome, Refused, Request, Target, decide,
};
use chamberlain_core::site::SiteKeys;
use chamberlain_core::time::Timestamp;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use crate::plan::{self, Known};

/// The room and its log. Bodies that the server would seal are recorded as they are.
pub struct DecidedRoom {
    /// The fold.
    pub fold: Fold,
    /// Everything recorded.
    pub log: Vec<Record<Event>>,
    /// Where the log ends.
    pub head: Head,
    limits: Limits,
    keys: SiteKeys,
    secrets: Vec<RoomSecret>,
    rng: ChaCha20Rng,
}

impl DecidedRoom {
    /// A room that did not begin yet.
    pub fn new(room: RoomId) -> Self {
        let limits = plan::limits();
        Self {
            fold: Fold::new(room, limits.remembered_requests),
            log: Vec::new(),
            head: Head::EMPTY,
            limits,
            keys: plan::site_keys(),
            secrets: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(1),
        }
    }

    /// Carries out a command.
    pub fn ask(&mut self, who: &AccountId, id: RequestId, command: &Command) -> Result<Outcome, Refused> {
        let request = Request {
            room: self.fold.state.room(),
            account: who.clone(),
            id,
            fingerprint: self.keys.fingerprint(&codec::encode(command)),
            command: command.clone(),
            from_channels: Vec::new(),
            foreign_channel: false,
            people: plan::profiles(),
        };
        let (mut staged, mut opener, mut target) = (None, None, None);
        loop {
            let (limits, keys) = (&self.limits, &self.keys);
            let mut context = Context { limits, keys, staged, opener: opener.as_mut(), target: target.as_ref() };
            match decide(&self.fold.state, &self.fold.requests, &request, &mut context)? {
                Decision::Answered(outcome) => return Ok(outcome),
                Decision::Record(drafts) => return Ok(self.record(&request, drafts)),
                Decision::Needs(Need::Stage(version)) => staged = Some((version, self.secret(version).public())),
                Decision::Needs(Need::Secret(version)) => {
                    let secret = self.secret(version);
                    opener = Some(Opener::new(&plan::site(), self.fold.state.room(), version, secret, 4));
                }
                Decision::Needs(Need::Target(revision)) => target = Some(find(&self.log, revision)),
            }
        }
    }

    /// What a member could know of it.
    pub fn known(&self) -> Known {
        let state = &self.fold.state;
        let items = self.log.iter().flat_map(Record::items);
        let said = items.filter(|item| matches!(item.event, Event::Message { kind: BodyKind::Message, .. }));
        Known {
            messages: said.map(|item| (item.revision, state.edits(item.revision).len() as u32)).collect(),
            publics: (0..state.next_version().0).filter_map(|version| state.public(KeyVersion(version))).collect(),
        }
    }

    fn secret(&mut self, version: KeyVersion) -> RoomSecret {
        while self.secrets.len() <= version.0 as usize {
            self.secrets.push(RoomSecret::generate(&mut self.rng));
        }
        self.secrets[version.0 as usize].clone()
    }

    fn record(&mut self, request: &Request, drafts: Vec<Draft>) -> Outcome {
        let body = |body| match body {
            DraftBody::None => Body::None,
            DraftBody::Sealed(envelope) => Body::Present(Blob(envelope.to_bytes())),
            DraftBody::Seal { plaintext, .. } => Body::Present(plaintext.into()),
        };
        let entry = Entry {
            account: request.account.clone(),
            request: Some(request.id),
            fingerprint: request.fingerprint,
            events: drafts.into_iter().map(|draft| Logged { event: draft.event, body: body(draft.body) }).collect(),
        };
        let time = Timestamp(1_000 + self.log.len() as u64);
        let record = Record { first: self.head.revision.next(), time, entries: vec![entry] };
        self.head = record.extend(self.head).expect("it follows");
        self.fold.apply(&record, self.head).expect("what is decided never contradicts");
        self.log.push(record);
        self.fold.requests.answered(&request.account, request.id).expect("it is remembered").outcome
    }
}

/// The message at a revision of a log.
pub fn find(log: &[Record<Event>], revision: Revision) -> Target {
    let record = log.iter().find(|record| record.first <= revision && revision <= record.last());
    let message = record.and_then(|record| {
        record.items().find(|item| item.revision == revision).and_then(|item| match item.event {
            Event::Message { message, kind: BodyKind::Message, .. } => Some((item.account.clone(), *message)),
            _ => None,
        })
    });
    Target { revision, message }
}
