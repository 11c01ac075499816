//! Sockets over hubs, driven by an arbitrary schedule: everything that may wait, waits until an act says otherwise.
//!
//! Commits, notices, fetches, keys, answers, account events and reads of the transport are separate acts, so any of them can
//! be late, fail, or come in another order. Every frame is judged by the oracle of its socket at the moment it is handed over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use chamberlain_core::fanout::{Ask, Effect, Hub, Input, KindSet, OpeningId, Pack, Past, Socket, View};
use chamberlain_core::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, RoomSecret};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Digest, Position};
use chamberlain_core::room::{CurrentKey, Event, Outcome, Role, RoomKind, RoomState};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::{Instant, Timestamp};
use chamberlain_core::wire::{AccountChange, Answer, Codec, RoomView, ServerFrame};

use super::author::{Author, Deed};
use super::oracle::{Delivery, Objection, Received, Shown};
use super::schedule::{Act, CAST, Setting};

/// What a driver owes a socket.
#[derive(Debug, Clone, Copy)]
enum Owed {
    Fetch { room: RoomId, opening: OpeningId, after: Revision },
    Key { room: RoomId, opening: OpeningId, version: KeyVersion },
}

/// One device: its connection, and what it received over all of them.
struct Device {
    account: AccountId,
    codec: Codec,
    batch: bool,
    socket: Socket,
    judge: Delivery,
    received: Received,
    /// Frames of the write that is under way, not yet taken.
    transit: VecDeque<Bytes>,
    writing: bool,
    owed: Vec<Owed>,
    moved: BTreeSet<RoomId>,
    /// How many of the account's events this socket was told of.
    told: usize,
    replies: Vec<(RequestId, RoomId, Revision)>,
    ended: bool,
}

struct Hubs(BTreeMap<RoomId, Hub>);

impl View for Hubs {
    fn pack(&mut self, room: RoomId, ask: &Ask<'_>) -> Pack {
        self.0.get_mut(&room).map_or(Pack::Nothing, |hub| hub.pack(ask))
    }
}

/// Everything there is in a run.
pub struct World {
    now: Instant,
    setting: Setting,
    limits: Arc<Limits>,
    keys: Arc<SiteKeys>,
    hubs: Hubs,
    authors: Vec<Author>,
    /// Rooms that each account was added to, in order.
    joined: BTreeMap<AccountId, Vec<RoomId>>,
    devices: Vec<Device>,
    requests: u64,
}

fn plain(_: Codec, payload: Vec<u8>) -> Bytes {
    payload.into()
}

impl World {
    /// Rooms with their owner in them, and every device connected.
    pub fn new(setting: Setting) -> Self {
        let limits = Limits {
            batch_items: setting.batch_items,
            frame_out_bytes: setting.frame_bytes,
            tail_records: setting.tail,
            ..Limits::default()
        };
        let limits = Arc::new(limits);
        let keys = SiteKeys::new("here".parse().expect("valid"), &MasterKey::from_bytes([1; 32]));
        let cast: Vec<AccountId> = CAST.iter().map(|name| name.parse().expect("valid")).collect();
        let mut world = Self {
            now: Instant(0),
            limits,
            keys: Arc::new(keys),
            hubs: Hubs(BTreeMap::new()),
            authors: Vec::new(),
            joined: cast.iter().map(|account| (account.clone(), Vec::new())).collect(),
            devices: Vec::new(),
            requests: 0,
            setting,
        };
        for room in 0..world.setting.rooms {
            let room = RoomId::from_digest(&[room; 32]);
            let hub = Hub::new(RoomState::new(room), world.keys.clone(), &world.limits, plain);
            world.hubs.0.insert(room, hub);
            world.authors.push(Author::new(room, cast.clone()));
        }
        for room in 0..world.authors.len() {
            world.show(room);
        }
        for (account, json, batch) in world.setting.devices.clone() {
            let codec = if json { Codec::Json } else { Codec::Bincode };
            let device = world.connect(cast[usize::from(account) % cast.len()].clone(), codec, batch);
            world.devices.push(device);
        }
        world
    }

    fn connect(&self, account: AccountId, codec: Codec, batch: bool) -> Device {
        let joined = &self.joined[&account];
        Device {
            socket: Socket::new(account.clone(), codec, batch, self.limits.clone(), plain, self.now),
            judge: Delivery::new(account.clone(), batch, joined.iter().copied().collect()),
            received: Received::default(),
            transit: VecDeque::new(),
            writing: false,
            owed: Vec::new(),
            moved: BTreeSet::new(),
            told: joined.len(),
            replies: Vec::new(),
            ended: false,
            account,
            codec,
            batch,
        }
    }

    /// One act.
    ///
    /// # Errors
    /// What an oracle objects to.
    pub fn act(&mut self, act: &Act) -> Result<(), Objection> {
        let device = |n: &u8, world: &Self| usize::from(*n) % world.devices.len();
        let room = |n: &u8, world: &Self| usize::from(*n) % world.authors.len();
        match act {
            Act::Commit(n, deeds) => self.commit(room(n, self), deeds),
            Act::Show(n) => {
                self.show(room(n, self));
                Ok(())
            }
            Act::Notice(n) => self.notice(device(n, self)),
            Act::Read(n, frames) => self.read(device(n, self), (*frames).into()),
            Act::Finish(n, which, well) => self.finish(device(n, self), (*which).into(), *well),
            Act::Open(n, at, from, kinds) => self.open(device(n, self), room(at, self), *from, *kinds),
            Act::Close(n, at) => {
                let (n, room) = (device(n, self), self.authors[room(at, self)].room);
                self.devices[n].judge.asked_to_close(room);
                self.devices[n].received.asked_to_close(room);
                self.step(n, Input::Close { room })
            }
            Act::Reconnect(n) => {
                self.reconnect(device(n, self));
                Ok(())
            }
            Act::Tell(n) => self.tell(device(n, self)),
            Act::Reply(n, which) => self.reply(device(n, self), (*which).into()),
            Act::Wait(ms) => self.wait((*ms).into()),
        }
    }

    /// Steps a machine, and has everything that it hands over judged.
    fn step(&mut self, n: usize, input: Input) -> Result<(), Objection> {
        let mut effects = Vec::new();
        self.devices[n].socket.step(self.now, input, &mut self.hubs, &mut effects);
        let shown = shown(&self.authors, &self.hubs);
        let device = &mut self.devices[n];
        for effect in effects {
            match effect {
                Effect::Write(frames) => {
                    if device.writing {
                        return Err("S4: two writes at once".into());
                    }
                    device.writing = true;
                    for frame in frames.as_slice() {
                        let decoded = device.codec.decode_server(frame).map_err(|error| error.to_string())?;
                        device.judge.judge(&decoded, &shown, &self.keys)?;
                        device.transit.push_back(frame.clone());
                    }
                }
                Effect::Fetch { room, opening, after, .. } => device.owed.push(Owed::Fetch { room, opening, after }),
                Effect::Key { room, opening, version } => device.owed.push(Owed::Key { room, opening, version }),
                Effect::End { .. } => device.ended = true,
                Effect::Reset { .. } | Effect::Ping => {}
            }
        }
        let most = self.limits.replies_waiting as usize + self.limits.open_rooms as usize;
        if device.socket.waiting() > most {
            return Err("S4: more waits than may".into());
        }
        Ok(())
    }

    fn commit(&mut self, at: usize, deeds: &[(Deed, Option<u8>)]) -> Result<(), Objection> {
        let mut entries = Vec::new();
        let mut asked = Vec::new();
        for (deed, by) in deeds {
            self.requests += 1;
            let request = RequestId::from_random(u128::from(self.requests).to_be_bytes());
            let by = by.map(|by| usize::from(by) % self.devices.len());
            let account = by.map_or_else(|| CAST[0].parse().expect("valid"), |by| self.devices[by].account.clone());
            if let Some(by) = by.filter(|by| !self.devices[*by].ended) {
                self.devices[by].judge.asked(request);
                self.step(by, Input::Asked { request })?;
                asked.push((entries.len(), by, request));
            }
            entries.push((*deed, account, Some(request)));
        }
        let lasts = self.authors[at].write(&entries);
        let room = self.authors[at].room;
        for (nth, by, request) in asked {
            let device = &mut self.devices[by];
            device.judge.recorded(request, room, lasts[nth]);
            device.replies.push((request, room, lasts[nth]));
        }
        Ok(())
    }

    fn show(&mut self, at: usize) {
        let author = &self.authors[at];
        let Some(hub) = self.hubs.0.get_mut(&author.room) else { return };
        for (record, after) in &author.records {
            if record.first > hub.state().head().revision {
                hub.commit(record, *after).expect("the author contradicts nothing");
                for item in record.items() {
                    if let Event::MembersAdded { accounts, .. } = item.event {
                        for account in accounts {
                            self.joined.entry(account.clone()).or_default().push(author.room);
                        }
                    }
                }
            }
        }
        for device in &mut self.devices {
            device.moved.insert(author.room);
        }
    }

    fn notice(&mut self, n: usize) -> Result<(), Objection> {
        for room in std::mem::take(&mut self.devices[n].moved) {
            let head = self.hubs.0[&room].state().head().revision;
            self.step(n, Input::Moved { room, head })?;
        }
        Ok(())
    }

    fn read(&mut self, n: usize, frames: usize) -> Result<(), Objection> {
        let device = &mut self.devices[n];
        if !device.writing {
            return Ok(());
        }
        for _ in 0..frames {
            let Some(frame) = device.transit.pop_front() else { break };
            device.received.take(&device.codec.decode_server(&frame).map_err(|error| error.to_string())?)?;
        }
        device.writing = !device.transit.is_empty();
        let input = if device.writing { Input::Progress } else { Input::Written };
        self.step(n, input)
    }

    fn finish(&mut self, n: usize, which: usize, well: bool) -> Result<(), Objection> {
        let device = &mut self.devices[n];
        if device.owed.is_empty() {
            return Ok(());
        }
        let owed = device.owed.swap_remove(which % device.owed.len());
        let input = match owed {
            Owed::Fetch { room, opening, .. } if !well => Input::FetchFailed { room, opening },
            Owed::Key { room, opening, version } if !well => Input::KeyFailed { room, opening, version },
            Owed::Fetch { room, opening, after } => {
                let author = self.authors.iter().find(|author| author.room == room).expect("a room of ours");
                let records = author.records.iter().map(|(record, _)| record).filter(|record| record.last() > after);
                let past = Past::new(records.take(1 + which % 4).cloned().collect()).expect("it is there");
                Input::Fetched { room, opening, past: Arc::new(past) }
            }
            Owed::Key { room, opening, version } => {
                let state = self.hubs.0[&room].state();
                if !state.may_hold(&device.account, version) {
                    return Err(format!("K2: key {version} of {room} is asked for {}", device.account));
                }
                let refused = self.setting.refuse.is_some_and(|refuse| version.0 % 5 == refuse);
                if refused {
                    device.judge.refused(room, version);
                }
                let public = state.public(version).expect("it may be held");
                let key = ServerFrame::Key { room, version, public, secret: Blob::from(vec![1; 32]) };
                let frame = (!refused).then(|| device.codec.encode(&key).into());
                Input::Key { room, opening, version, frame }
            }
        };
        self.step(n, input)
    }

    fn open(&mut self, n: usize, at: usize, from: u8, filtered: bool) -> Result<(), Objection> {
        let room = self.authors[at].room;
        let hub = &self.hubs.0[&room];
        let device = &mut self.devices[n];
        if device.socket.is_open(room) || device.ended || !hub.state().is_member(&device.account) {
            return Ok(());
        }
        let head = hub.state().head();
        let (after, chain) = match device.received.places.get(&room) {
            Some((last, position)) => {
                let position = Position::from_blob(position, room, &self.keys);
                (*last, position.map(|position| position.head.digest))
            }
            None => match from % 4 {
                0 => (head.revision, Some(head.digest)),
                1 => (Revision::ZERO, Some(Digest::ZERO)),
                2 => (Revision::ZERO, None),
                _ => (Revision(head.revision.0.saturating_sub(3)), None),
            },
        };
        let names = ["message", "deleted"];
        let kinds = filtered.then(|| KindSet::parse(&names).expect("known"));
        device.judge.asked_to_open(room, filtered.then(|| names.map(String::from).into()));
        device.received.asked_to_open(room);
        let told = self.joined[&device.account][..device.told].contains(&room);
        let told_until = Revision(if told { u64::MAX } else { 0 });
        let opened = ServerFrame::Opened { room: room_view(hub.state()), after, head: head.revision };
        let opened = device.codec.encode(&opened).into();
        self.step(n, Input::Open { room, after, head: head.revision, chain, kinds, opened, told_until })
    }

    fn reconnect(&mut self, n: usize) {
        let old = &self.devices[n];
        let mut device = self.connect(old.account.clone(), old.codec, old.batch);
        device.received = std::mem::take(&mut self.devices[n].received);
        device.received.lost();
        self.devices[n] = device;
    }

    fn tell(&mut self, n: usize) -> Result<(), Objection> {
        let device = &mut self.devices[n];
        let Some(room) = self.joined[&device.account].get(device.told).copied() else { return Ok(()) };
        device.told += 1;
        let at = Revision::ZERO;
        let event = AccountChange::Joined { room, at, kind: RoomKind::Channel, name: None, counterpart: None };
        let frame = ServerFrame::Account { revision: Revision(device.told as u64), event };
        let frame = device.codec.encode(&frame).into();
        self.step(n, Input::AccountEvent { frame, room, told_until: Revision(u64::MAX) })
    }

    fn reply(&mut self, n: usize, which: usize) -> Result<(), Objection> {
        let device = &mut self.devices[n];
        if device.replies.is_empty() {
            return Ok(());
        }
        let (id, room, revision) = device.replies.swap_remove(which % device.replies.len());
        let frame = ServerFrame::Ok { id, answer: Answer::Outcome(Outcome::Done { revision }) };
        let frame = device.codec.encode(&frame).into();
        self.step(n, Input::Reply { request: Some(id), frame, follows: Some((room, revision)) })
    }

    fn wait(&mut self, ms: u64) -> Result<(), Objection> {
        self.now = Instant(self.now.0 + ms * 1_000);
        for n in 0..self.devices.len() {
            self.step(n, Input::Heard)?;
            if self.devices[n].socket.next_deadline().is_some_and(|at| at <= self.now) {
                self.step(n, Input::Tick)?;
            }
        }
        Ok(())
    }

    /// Lets everything that waits happen, well; then every open room is at its head, and every request is answered (V1).
    ///
    /// # Errors
    /// What an oracle objects to, or who was left behind.
    pub fn settle(&mut self) -> Result<(), Objection> {
        for at in 0..self.authors.len() {
            self.show(at);
        }
        // Each round moves whoever is not done by a revision at least.
        for _ in 0..200 + 4 * self.authors.iter().map(|author| author.facts.len()).sum::<usize>() {
            for n in 0..self.devices.len() {
                self.notice(n)?;
                self.read(n, usize::MAX)?;
                self.finish(n, 0, true)?;
                self.tell(n)?;
                self.reply(n, 0)?;
            }
            self.wait(self.limits.retry_most_ms.into())?;
            if self.devices.iter().all(|device| device.is_done(&self.joined)) {
                break;
            }
        }
        for device in self.devices.iter().filter(|device| !device.ended) {
            for (room, hub) in &self.hubs.0 {
                let head = hub.state().head().revision;
                if let Some(at) = device.judge.at(*room)
                    && (at < head || device.received.places[room].0 < head)
                {
                    return Err(format!("V1: {} stays at {at} of {head} in {room}", device.account));
                }
                if device.judge.at(*room).is_some() != device.socket.is_open(*room) {
                    return Err(format!("V1: the two ends disagree on whether {room} is open"));
                }
            }
            if device.judge.unanswered() > 0 {
                return Err(format!("X3: {} requests were never answered", device.judge.unanswered()));
            }
        }
        Ok(())
    }

    /// How many sockets were ended by their machines: none is, unless it takes nothing for long.
    pub fn ended(&self) -> usize {
        self.devices.iter().filter(|device| device.ended).count()
    }
}

impl Device {
    fn is_done(&self, joined: &BTreeMap<AccountId, Vec<RoomId>>) -> bool {
        self.ended
            || (!self.writing
                && self.owed.is_empty()
                && self.moved.is_empty()
                && self.replies.is_empty()
                && self.told == joined[&self.account].len())
    }
}

fn shown<'a>(authors: &'a [Author], hubs: &Hubs) -> Shown<'a> {
    let head = |author: &Author| hubs.0[&author.room].state().head().revision;
    authors.iter().map(|author| (author.room, (author, head(author)))).collect()
}

fn room_view(state: &RoomState) -> RoomView {
    let public = RoomSecret::from_bytes(&[7; 32]).expect("a scalar").public();
    RoomView {
        room: state.room(),
        kind: RoomKind::Channel,
        name: String::new(),
        counterpart: None,
        role: Role::Member,
        archived: false,
        members: state.member_count(),
        head: state.head().revision,
        time: Timestamp(0),
        messages: 0,
        unread: 0,
        read: Revision::ZERO,
        key: state.current_key().unwrap_or(CurrentKey { version: KeyVersion(0), public }),
    }
}
