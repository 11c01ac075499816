//! Builds stories by hand: a house where nothing fails and nothing waits. Records are decided by the core and sealed for real,
//! frames are put together as the rules ask for. Tests then change what they are about.

use std::collections::BTreeMap;
use std::sync::Arc;

use chamberlain_core::account::{AccountChange, AccountState};
use chamberlain_core::codec;
use chamberlain_core::id::{AccountId, KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::{Blob, Claim, Envelope, Opener, RoomSecret, Sealer};
use chamberlain_core::log::{Body, Entry, Head, Logged, Position, Record, RecordBytes, erase_body};
use chamberlain_core::room::{
    Command, Content, Context, Decision, Draft, DraftBody, Event, Fold, Need, Outcome, Refused, Request, Submit,
    Target, decide,
};
use chamberlain_core::site::Fingerprint;
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{
    Answer, ClientFrame, Codec, Item, MemberView, Open, OwnRevision, Query, ResetWhy, RoomView, ServerFrame, VoidWhy,
    Welcome,
};
use chamberlain_sim::plan;
use chamberlain_sim::story::{ClientId, LinkId, NodeId, Seen, Story};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

/// Microseconds between two things.
const STEP: u64 = 1_000;

struct Log {
    fold: Fold,
    records: Vec<Record<Event>>,
    stored: Vec<RecordBytes>,
    sealers: BTreeMap<KeyVersion, Sealer>,
}

#[derive(Default)]
struct Account {
    state: AccountState,
    stored: Vec<RecordBytes>,
}

struct Opening {
    link: LinkId,
    room: RoomId,
    last: Revision,
    kinds: Option<Vec<String>>,
    given: Option<KeyVersion>,
}

/// A house, and the story of it.
pub(crate) struct Builder {
    pub(crate) story: Story,
    rooms: BTreeMap<RoomId, Log>,
    accounts: BTreeMap<AccountId, Account>,
    links: BTreeMap<LinkId, AccountId>,
    openings: Vec<Opening>,
    secrets: BTreeMap<(RoomId, KeyVersion), RoomSecret>,
    rng: ChaCha20Rng,
}

pub(crate) fn account(name: &str) -> AccountId {
    name.parse().expect("valid")
}

pub(crate) fn say(room: RoomId, n: u8, text: &str) -> Command {
    let message = format!("message{n:013}").parse().expect("valid");
    Command::Submit(Submit { room, message, content: Content::Plain { text: text.into() } })
}

impl Builder {
    pub(crate) fn new() -> Self {
        let keys = Arc::new(plan::site_keys());
        let mut story = Story::new(keys, Arc::new(plan::limits()), 60_000_000);
        story.people = plan::people();
        Self {
            story,
            rooms: BTreeMap::new(),
            accounts: BTreeMap::new(),
            links: BTreeMap::new(),
            openings: Vec::new(),
            secrets: BTreeMap::new(),
            rng: ChaCha20Rng::seed_from_u64(7),
        }
    }

    pub(crate) fn note(&mut self, seen: Seen) {
        let at = self.story.seen.last().map_or(0, |(at, _)| at + STEP);
        self.story.note(at, seen);
    }

    fn came(&mut self, link: LinkId, frame: ServerFrame) {
        self.note(Seen::Came { link, frame });
    }

    pub(crate) fn sent(&mut self, link: LinkId, frame: ClientFrame) {
        self.note(Seen::Sent { link, frame });
    }

    /// Somebody connects, and is welcomed.
    pub(crate) fn connect(&mut self, link: u32, name: &str) -> LinkId {
        let (id, who) = (LinkId(link), account(name));
        let (client, codec) = (ClientId(link), Codec::Bincode);
        self.note(Seen::Connected { link: id, client, account: who.clone(), node: NodeId(0), codec, batch: true });
        let account_revision = self.accounts.entry(who.clone()).or_default().state.head().revision;
        let welcome = Welcome {
            account: who.clone(),
            name: name.into(),
            admin: name == "root",
            site: plan::site(),
            node: "one".into(),
            time: Timestamp(0),
            account_revision,
            expires: None,
            limits: (*self.story.limits).clone(),
        };
        self.came(id, ServerFrame::Welcome(welcome));
        self.links.insert(id, who);
        id
    }

    pub(crate) fn lose(&mut self, link: LinkId) {
        self.note(Seen::Ended { link, code: None });
        self.links.remove(&link);
        self.openings.retain(|opening| opening.link != link);
    }

    /// Sends a command, carries it out, delivers what it recorded, and answers.
    pub(crate) fn ask(&mut self, link: LinkId, n: u64, command: Command) -> Result<Outcome, Refused> {
        let (who, id) = (self.links[&link].clone(), plan::request_id(n));
        self.sent(link, ClientFrame::Command { id, command: command.clone() });
        if let Command::MarkRead { revision, .. } = command {
            let outcome = Outcome::Marked { revision };
            self.came(link, ServerFrame::Ok { id, answer: Answer::Outcome(outcome) });
            return Ok(outcome);
        }
        let keys = self.story.keys.clone();
        let room = match &command {
            Command::CreateDm { account } => keys.dm_id(&who, account),
            other => other.room().unwrap_or_else(|| keys.channel_id(&who, id)),
        };
        let request = Request {
            room,
            account: who,
            id,
            fingerprint: keys.fingerprint(&codec::encode(&command)),
            command,
            from_channels: Vec::new(),
            foreign_channel: false,
            people: plan::profiles(),
        };
        let result = self.decide(&request, Some((link, id)));
        let frame = match &result {
            Ok(outcome) => ServerFrame::Ok { id, answer: Answer::Outcome(*outcome) },
            Err(refused) => ServerFrame::Error {
                id: Some(id),
                room: Some(room),
                code: refused.code(),
                reason: refused.reason,
                message: refused.message.clone().into_owned(),
                current: refused.current,
            },
        };
        self.came(link, frame);
        result
    }

    fn decide(
        &mut self,
        request: &Request,
        own: Option<(LinkId, chamberlain_core::id::RequestId)>,
    ) -> Result<Outcome, Refused> {
        let (room, limits, keys) = (request.room, self.story.limits.clone(), self.story.keys.clone());
        let remembered = limits.remembered_requests;
        self.rooms.entry(room).or_insert_with(|| Log {
            fold: Fold::new(room, remembered),
            records: Vec::new(),
            stored: Vec::new(),
            sealers: BTreeMap::new(),
        });
        let (mut staged, mut opener, mut target): (_, Option<Opener>, Option<Target>) = (None, None, None);
        loop {
            let mut context =
                Context { limits: &limits, keys: &keys, staged, opener: opener.as_mut(), target: target.as_ref() };
            let log = &self.rooms[&room];
            match decide(&log.fold.state, &log.fold.requests, request, &mut context)? {
                Decision::Answered(outcome) => return Ok(outcome),
                Decision::Record(drafts) => return Ok(self.record(request, drafts, own)),
                Decision::Needs(Need::Stage(version)) => staged = Some((version, self.secret(room, version).public())),
                Decision::Needs(Need::Secret(version)) => {
                    let secret = self.secret(room, version);
                    opener = Some(Opener::new(&plan::site(), room, version, secret, 4));
                }
                Decision::Needs(Need::Target(revision)) => {
                    target = Some(chamberlain_sim::decided_room::find(&log.records, revision));
                }
            }
        }
    }

    fn secret(&mut self, room: RoomId, version: KeyVersion) -> RoomSecret {
        if let Some(secret) = self.secrets.get(&(room, version)) {
            return secret.clone();
        }
        let secret = RoomSecret::generate(&mut self.rng);
        self.secrets.insert((room, version), secret.clone());
        self.note(Seen::Put { room, version, secret: secret.clone() });
        secret
    }

    fn seal(&mut self, room: RoomId, version: KeyVersion, body: DraftBody) -> Body {
        match body {
            DraftBody::None => Body::None,
            DraftBody::Sealed(envelope) => Body::Present(Blob(envelope.to_bytes())),
            DraftBody::Seal { kind, message, sender, edit, plaintext } => {
                let public = self.secret(room, version).public();
                let rng = &mut self.rng;
                let log = self.rooms.get_mut(&room).expect("there");
                let sealer = log
                    .sealers
                    .entry(version)
                    .or_insert_with(|| Sealer::new(&plan::site(), room, version, &public, rng).expect("a key"));
                let claim = Claim { room, version, kind, sender: &sender, message, edit };
                Body::Present(Blob(sealer.seal(&claim, &plaintext).expect("fresh").to_bytes()))
            }
        }
    }

    fn record(
        &mut self,
        request: &Request,
        drafts: Vec<Draft>,
        own: Option<(LinkId, chamberlain_core::id::RequestId)>,
    ) -> Outcome {
        let room = request.room;
        let mut events = Vec::new();
        for Draft { event, body } in drafts {
            let version = event.sealed_under().unwrap_or_default();
            events.push(Logged { body: self.seal(room, version, body), event });
        }
        let entry = Entry {
            account: request.account.clone(),
            request: Some(request.id),
            fingerprint: request.fingerprint,
            events,
        };
        let log = self.rooms.get_mut(&room).expect("there");
        let head = log.fold.state.head();
        let time = Timestamp(1_000 + log.records.len() as u64);
        let record = Record { first: head.revision.next(), time, entries: vec![entry] };
        let after = record.extend(head).expect("it follows");
        log.fold.apply(&record, after).expect("what is decided never contradicts");
        log.records.push(record.clone());
        log.stored.push(record.encode());
        let outcome = log.fold.requests.answered(&request.account, request.id).expect("remembered").outcome;
        self.note(Seen::Landed { log: LogId::Room(room), record: record.encode() });
        self.effects(room, &record);
        self.deliver(room, own);
        outcome
    }

    /// Account logs, and erasures.
    fn effects(&mut self, room: RoomId, record: &Record<Event>) {
        let kind = self.rooms[&room].fold.state.kind().expect("it began");
        for item in record.items() {
            let at = item.revision;
            match item.event {
                Event::MembersAdded { accounts, .. } => {
                    for who in accounts {
                        let joined = AccountChange::Joined { room, at, kind, name: None, counterpart: None };
                        self.tell(who, joined);
                    }
                }
                Event::MembersRemoved { accounts } => {
                    accounts.iter().for_each(|who| self.tell(who, AccountChange::Left { room, at }));
                }
                Event::Deleted { revision } => {
                    let gone = |edited: &Event| matches!(edited, Event::Edited { revision: of, .. } if of == revision);
                    let log = self.rooms.get_mut(&room).expect("there");
                    let edits = log.records.iter().flat_map(Record::items).filter(|item| gone(item.event));
                    let bodies: Vec<Revision> = edits.map(|item| item.revision).chain([*revision]).collect();
                    for revision in bodies {
                        let log = self.rooms.get_mut(&room).expect("there");
                        let stored = log.stored.iter_mut().find(|record| record.last >= revision).expect("there");
                        *stored = erase_body(stored, revision).expect("a body");
                        self.note(Seen::Erased { log: LogId::Room(room), revision });
                    }
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, who: &AccountId, event: AccountChange) {
        let own = self.accounts.entry(who.clone()).or_default();
        let head = own.state.head();
        let logged = Logged { event: event.clone(), body: Body::None };
        let entry =
            Entry { account: who.clone(), request: None, fingerprint: Fingerprint::default(), events: vec![logged] };
        let record = Record { first: head.revision.next(), time: Timestamp(head.revision.0), entries: vec![entry] };
        let after = record.extend(head).expect("it follows");
        own.state.apply(&record, after);
        own.stored.push(record.encode());
        self.note(Seen::Landed { log: LogId::Account(who.clone()), record: record.encode() });
        let links: Vec<LinkId> =
            self.links.iter().filter(|(_, account)| *account == who).map(|(link, _)| *link).collect();
        for link in links {
            self.came(link, ServerFrame::Account { revision: after.revision, event: event.clone() });
        }
    }

    /// Opens a room, and delivers what is there.
    pub(crate) fn open(&mut self, link: LinkId, open: Open) {
        let (room, head) = (open.room, self.rooms[&open.room].fold.state.head());
        let position = open.position.as_ref().and_then(|blob| Position::from_blob(blob, room, &self.story.keys));
        let after = match (position, open.from, open.limit) {
            (Some(position), ..) => position.head.revision,
            (_, Some(from), _) => from.previous().min(head.revision),
            (_, _, Some(limit)) => Revision(head.revision.0.saturating_sub(limit.into())),
            _ => head.revision,
        };
        self.sent(link, ClientFrame::Open(open.clone()));
        let view = self.view(link, room);
        self.came(link, ServerFrame::Opened { room: view, after, head: head.revision });
        self.openings.push(Opening { link, room, last: after, kinds: open.kinds, given: None });
        self.deliver(room, None);
    }

    pub(crate) fn close(&mut self, link: LinkId, room: RoomId) {
        self.sent(link, ClientFrame::Close { room });
        self.openings.retain(|opening| (opening.link, opening.room) != (link, room));
    }

    pub(crate) fn view(&self, link: LinkId, room: RoomId) -> RoomView {
        let state = &self.rooms[&room].fold.state;
        RoomView {
            room,
            kind: state.kind().expect("it began"),
            name: state.name().map(|name| name.as_str().into()).unwrap_or_default(),
            counterpart: None,
            role: state.member(&self.links[&link]).expect("a member").role,
            archived: state.is_archived(),
            members: state.member_count(),
            head: state.head().revision,
            time: state.time(),
            messages: state.messages(),
            unread: 0,
            read: Revision::ZERO,
            key: state.current_key().expect("there"),
        }
    }

    /// Everybody who has the room open gets what is new there.
    fn deliver(&mut self, room: RoomId, own: Option<(LinkId, chamberlain_core::id::RequestId)>) {
        let mut openings = std::mem::take(&mut self.openings);
        openings.retain_mut(|opening| opening.room != room || self.serve(opening, own));
        self.openings = openings;
    }

    fn serve(&mut self, opening: &mut Opening, own: Option<(LinkId, chamberlain_core::id::RequestId)>) -> bool {
        let (link, room, who) = (opening.link, opening.room, self.links[&opening.link].clone());
        let head = self.rooms[&room].fold.state.head().revision;
        while opening.last < head {
            let state = &self.rooms[&room].fold.state;
            let from = opening.last.next();
            let (entitled, to) = state.entitlement(&who, from, head);
            if !entitled && to == head && !state.is_member(&who) {
                self.came(link, ServerFrame::Reset { room, why: ResetWhy::Removed });
                return false;
            }
            if !entitled {
                let position = self.position(room, to);
                self.came(link, ServerFrame::Void { room, from, to, why: VoidWhy::NotEntitled, position });
                opening.last = to;
                continue;
            }
            let (mut items, mut needs, mut last) = (Vec::new(), None, opening.last);
            for item in self.items(room).into_iter().filter(|item| (from..=to).contains(&item.revision)) {
                let wanted =
                    opening.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| kind == item.event.kind()));
                let version = item.body.as_ref().map(|body| body.version).filter(|_| wanted);
                if version.is_some() && needs.is_some() && needs != version {
                    break;
                }
                needs = needs.or(version);
                last = item.revision;
                items.extend(wanted.then_some(item));
            }
            if let Some(version) = needs.filter(|version| opening.given != Some(*version)) {
                let secret = self.secret(room, version);
                let (public, secret) = (secret.public(), Blob::from(secret.to_bytes().to_vec()));
                self.came(link, ServerFrame::Key { room, version, public, secret });
                opening.given = Some(version);
            }
            let position = self.position(room, last);
            let marks = own.filter(|(on, _)| *on == link).map(|(_, request)| self.marks(room, &who, request, &items));
            let frame = if items.is_empty() {
                ServerFrame::Void { room, from, to: last, why: VoidWhy::Filtered, position }
            } else {
                ServerFrame::Batch { room, from, to: last, items, position, own: marks.unwrap_or_default() }
            };
            self.came(link, frame);
            opening.last = last;
        }
        true
    }

    fn marks(
        &self,
        room: RoomId,
        who: &AccountId,
        request: chamberlain_core::id::RequestId,
        items: &[Item],
    ) -> Vec<OwnRevision> {
        let asked = self.rooms[&room].records.iter().flat_map(Record::items);
        let asked = asked.filter(|item| item.request == Some(request) && item.account == who);
        let asked = asked.filter(|asked| items.iter().any(|item| item.revision == asked.revision));
        asked.map(|item| OwnRevision { revision: item.revision, request }).collect()
    }

    pub(crate) fn items(&self, room: RoomId) -> Vec<Item> {
        let log = &self.rooms[&room];
        let items = log.records.iter().flat_map(Record::items).map(|item| Item {
            revision: item.revision,
            time: item.time,
            account: item.account.clone(),
            event: item.event.clone(),
            body: match item.body {
                Body::Present(bytes) if !log.fold.state.is_erased(item.revision) => Envelope::from_bytes(bytes).ok(),
                _ => None,
            },
        });
        items.collect()
    }

    pub(crate) fn position(&self, room: RoomId, at: Revision) -> Blob {
        let mut head = Head::EMPTY;
        for record in &self.rooms[&room].records {
            if let Some(found) = record.heads(head).find(|head| head.revision == at) {
                return Position { room, head: found }.to_blob(&self.story.keys);
            }
            head = record.extend(head).expect("it follows");
        }
        panic!("{at} is not there")
    }

    /// Asks, and answers as the fold of now has it.
    pub(crate) fn query(&mut self, link: LinkId, n: u64, query: Query) {
        let (who, id) = (self.links[&link].clone(), plan::request_id(n));
        self.sent(link, ClientFrame::Query { id, query: query.clone() });
        let answer = match query {
            Query::History { room, .. } => {
                let state = &self.rooms[&room].fold.state;
                let to = state.head().revision;
                let readable = |item: &Item| state.entitlement(&who, item.revision, to).0;
                let items = self.items(room).into_iter().filter(readable).collect();
                Answer::History { room, items, from: Revision(1), to, more: false }
            }
            Query::Members { room, .. } => {
                let state = &self.rooms[&room].fold.state;
                let member = |(account, member): (&AccountId, chamberlain_core::room::Membership)| MemberView {
                    account: account.clone(),
                    name: account.as_str().into(),
                    role: member.role,
                    bot: false,
                    since: member.since,
                    read: Revision::ZERO,
                };
                let members: Vec<MemberView> = state.members_after(None).map(member).collect();
                let (total, read_floor) = (state.member_count(), Revision::ZERO);
                Answer::Members { room, members, total, read_floor, more: false }
            }
            Query::Rooms => {
                let state = &self.accounts[&who].state;
                let rooms = state.rooms().map(|room| self.view(link, room)).collect();
                Answer::Rooms { rooms, account_revision: state.head().revision }
            }
            Query::Key { room, version } => {
                let version = version.unwrap_or_default();
                let secret = self.secret(room, version);
                let (public, secret) = (secret.public(), Blob::from(secret.to_bytes().to_vec()));
                Answer::Key { room, version, public, secret }
            }
        };
        self.came(link, ServerFrame::Ok { id, answer });
    }

    /// Shows an event to somebody who watches.
    pub(crate) fn watched(&mut self, link: LinkId, room: RoomId, revision: Revision, with_body: bool) {
        let mut item = self.items(room).into_iter().find(|item| item.revision == revision).expect("there");
        item.body = item.body.filter(|_| with_body);
        self.came(link, ServerFrame::Watched { room, item });
    }

    /// A snapshot of the room as it is.
    pub(crate) fn keep(&mut self, room: RoomId) {
        let fold = &self.rooms[&room].fold;
        let (revision, bytes) = (fold.state.head().revision, fold.to_snapshot().into());
        self.note(Seen::Kept { log: LogId::Room(room), revision, bytes });
    }

    pub(crate) fn head(&self, room: RoomId) -> Revision {
        self.rooms[&room].fold.state.head().revision
    }

    /// The end: everybody is caught up.
    pub(crate) fn end(mut self) -> Story {
        self.note(Seen::Healed);
        self.note(Seen::Quiet);
        let rooms = self.rooms.iter().map(|(room, log)| (LogId::Room(*room), log.stored.clone()));
        let accounts = self.accounts.iter().map(|(who, own)| (LogId::Account(who.clone()), own.stored.clone()));
        self.story.ending.logs = rooms.chain(accounts).collect();
        self.story.ending.vault = self.secrets.clone();
        self.story
    }
}
