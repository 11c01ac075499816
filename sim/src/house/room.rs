//! A room on a node: its sequencer and its hub, driven over the stores.

use std::collections::BTreeMap;

use chamberlain_core::fanout::Hub;
use chamberlain_core::id::{KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::keys::{BodyKind, RoomSecret};
use chamberlain_core::log::{Head, Offer, Record, RecordBytes};
use chamberlain_core::retry::Failure;
use chamberlain_core::room::{Event as Happened, Fold, Reason, Refused, Request, Target};
use chamberlain_core::sequencer::{Append, Effect, Input, Sequencer, Ticket};
use chamberlain_core::wire::ResetWhy;

use super::{Answer, House, Op, Reply, Then, Told};
use crate::story::{Lane, Seen};

/// How much is read at once while folding.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Secrets of old versions kept in memory per room.
const SECRETS_KEPT: usize = 64;

/// A room that somebody asked for.
pub(super) enum Cell {
    /// Being loaded; these wait.
    Loading(Vec<Then<Result<(), Refused>>>),
    /// Loaded.
    Ready(Box<Room>),
}

/// A room in memory.
pub(super) struct Room {
    /// Which loading of it this is: completions for another are thrown away.
    pub(super) born: u64,
    pub(super) hub: Hub,
    pub(super) sequencer: Sequencer,
    pub(super) waiting: BTreeMap<Ticket, Reply>,
    pub(super) tick: Option<u64>,
    secrets: BTreeMap<KeyVersion, RoomSecret>,
    next_ticket: u64,
    /// A reading of what others appended is under way, and these wait for its end.
    catching: Option<Vec<Then<bool>>>,
    /// Another was asked for meanwhile, by these.
    again: Vec<Then<bool>>,
    /// Store operations under way.
    under_way: u32,
    /// A secret was put for a record that is not appended yet.
    pub(super) staging: bool,
    /// A record landed that was not announced yet.
    pub(super) appended: bool,
    pub(super) quarantined: Option<&'static str>,
}

impl Cell {
    pub(super) fn ready(&self) -> Option<&Room> {
        match self {
            Self::Ready(room) => Some(room),
            Self::Loading(_) => None,
        }
    }

    pub(super) fn ready_mut(&mut self) -> Option<&mut Room> {
        match self {
            Self::Ready(room) => Some(room),
            Self::Loading(_) => None,
        }
    }
}

impl Room {
    /// Whether it may be dropped, and loaded again when it is needed.
    pub(super) fn is_idle(&self) -> bool {
        self.sequencer.is_idle() && self.waiting.is_empty() && self.catching.is_none() && self.under_way == 0
    }
}

impl House {
    pub(super) fn room_at(&mut self, node: usize, id: RoomId) -> Option<&mut Room> {
        self.nodes[node].rooms.get_mut(&id)?.ready_mut()
    }

    /// Goes on when the room is loaded. A room that does not exist is an empty one: nobody is a member of it.
    pub(super) fn room(
        &mut self,
        node: usize,
        id: RoomId,
        then: impl FnOnce(&mut Self, Result<(), Refused>) + 'static,
    ) {
        match self.nodes[node].rooms.get_mut(&id) {
            Some(Cell::Ready(_)) => then(self, Ok(())),
            Some(Cell::Loading(waiting)) => waiting.push(Box::new(then)),
            None => {
                self.nodes[node].rooms.insert(id, Cell::Loading(vec![Box::new(then)]));
                self.load(node, id, move |house, fold| house.room_loaded(node, id, fold));
            }
        }
    }

    fn room_loaded(&mut self, node: usize, id: RoomId, fold: Result<Box<Fold>, Failure>) {
        let Some(Cell::Loading(waiting)) = self.nodes[node].rooms.remove(&id) else { return };
        let result = match fold {
            Err(failure) => Err(super::node::refusal(failure)),
            Ok(fold) => {
                let (keys, limits) = (self.story.keys.clone(), self.limits());
                let hub = Hub::new(fold.state.clone(), keys.clone(), &limits, super::link::framing);
                let (mut effects, seed) = (Vec::new(), self.fresh());
                let sequencer = Sequencer::new(id, keys, limits, seed, &mut effects);
                // The room was just folded for the hub: that answers the load which the sequencer begins with.
                debug_assert!(matches!(effects[..], [Effect::Load]));
                let room = Room {
                    born: self.fresh,
                    hub,
                    sequencer,
                    waiting: BTreeMap::new(),
                    tick: None,
                    secrets: BTreeMap::new(),
                    next_ticket: 0,
                    catching: None,
                    again: Vec::new(),
                    under_way: 0,
                    staging: false,
                    appended: false,
                    quarantined: None,
                };
                self.nodes[node].rooms.insert(id, Cell::Ready(Box::new(room)));
                self.sequence(node, id, Input::Loaded(Ok(fold)));
                Ok(())
            }
        };
        for then in waiting {
            then(self, result.clone());
        }
    }

    /// Folds a room to the head of its log, from the latest snapshot and what came after it.
    fn load(&mut self, node: usize, id: RoomId, then: impl FnOnce(&mut Self, Result<Box<Fold>, Failure>) + 'static) {
        let remembered = self.limits().remembered_requests;
        self.call(node, Op::Latest { log: Self::log_of(id), stale: 0 }, move |house, told| {
            let kept = match told {
                Ok(Answer::Snapshot(kept)) => kept,
                _ => None,
            };
            let fold = kept.and_then(|(_, bytes)| Fold::from_snapshot(&bytes).ok());
            if fold.is_some() {
                house.probe("snapshot used at load");
            }
            let fold = Box::new(fold.unwrap_or_else(|| Fold::new(id, remembered)));
            house.load_on(node, id, fold, Box::new(then));
        });
    }

    fn load_on(&mut self, node: usize, id: RoomId, mut fold: Box<Fold>, then: Then<Result<Box<Fold>, Failure>>) {
        let op = Op::Read { log: Self::log_of(id), after: fold.state.head().revision, bytes: READ_BYTES };
        self.call(node, op, move |house, told| {
            let records = match told {
                Ok(Answer::Records(records)) => records,
                Ok(_) => Vec::new(),
                Err(failure) => return then(house, Err(failure)),
            };
            if records.is_empty() {
                return then(house, Ok(fold));
            }
            for stored in &records {
                let Ok(record) = Record::<Happened>::decode(&stored.bytes) else {
                    return then(house, Err(Failure::Permanent));
                };
                let applied = record.extend(fold.state.head()).map(|after| fold.apply(&record, after));
                if !matches!(applied, Some(Ok(()))) {
                    return then(house, Err(Failure::Permanent));
                }
            }
            house.load_on(node, id, fold, then);
        });
    }

    /// Puts a command into the room's queue. The room is loaded.
    pub(super) fn submit(&mut self, node: usize, request: Box<Request>, reply: Reply) {
        let id = request.room;
        let most = self.limits().room_queue as usize;
        let Some(room) = self.room_at(node, id) else { return reply(self, Err(Reason::StoreUnavailable.into())) };
        if room.waiting.len() >= most {
            return reply(self, Err(Reason::Busy.into()));
        }
        let ticket = Ticket(room.next_ticket);
        room.next_ticket += 1;
        room.waiting.insert(ticket, reply);
        self.sequence(node, id, Input::Request { ticket, request });
    }

    /// One step of a room's sequencer, and everything that comes of it.
    pub(super) fn sequence(&mut self, node: usize, id: RoomId, input: Input) {
        let (now, wall) = (self.instant(), self.wall(node));
        let mut out = Vec::new();
        let Some(room) = self.room_at(node, id) else { return };
        let waited = room.waiting.len();
        room.sequencer.step(now, wall, input, &mut out);
        if self.story.detailed && waited > 0 {
            let words = super::words::of_sequencer(id, waited, &out);
            self.state(Lane::Node(super::node::id(node)), words);
        }
        for effect in out {
            self.carry_out_room(node, id, effect);
        }
        self.schedule_room_tick(node, id);
    }

    fn carry_out_room(&mut self, node: usize, id: RoomId, effect: Effect) {
        let log = Self::log_of(id);
        match effect {
            Effect::Committed { record, after } => self.show(node, id, &record, after),
            Effect::Answer { ticket, result } => {
                let reply = self.room_at(node, id).and_then(|room| room.waiting.remove(&ticket));
                if let Some(reply) = reply {
                    reply(self, result);
                }
            }
            Effect::Quarantined { what } => {
                if let Some(room) = self.room_at(node, id) {
                    room.quarantined = Some(what);
                }
                self.note(Seen::Quarantined { room: id, what: what.to_owned() });
            }
            Effect::Snapshot { revision, bytes } => self.call(node, Op::Keep { log, revision, bytes }, |_, _| {}),
            Effect::Load => {
                self.probe("room loaded again");
                self.load(node, id, move |house, fold| {
                    house.catch_up(node, id, move |house, _| house.sequence(node, id, Input::Loaded(fold)));
                });
            }
            Effect::Append { expected, record, after } => {
                if let Some(room) = self.room_at(node, id) {
                    room.appended = true;
                    room.staging = false;
                }
                self.ask(node, id, Op::Append { log, expected, record, after }, |house, told| {
                    Input::Appended(match told {
                        Ok(Answer::Appended(true)) => Ok(Append::Done),
                        Ok(_) => {
                            house.probe("conflict");
                            Ok(Append::Conflict)
                        }
                        Err(failure) => Err(failure),
                    })
                });
            }
            Effect::ReadBack { after } => {
                self.ask(node, id, Op::Read { log, after, bytes: 1 }, |_, told| {
                    Input::ReadBack(told.map(|answer| match answer {
                        Answer::Records(records) => records.into_iter().next(),
                        _ => None,
                    }))
                });
            }
            Effect::PutSecret { version, secret } => {
                if let Some(room) = self.room_at(node, id) {
                    room.staging = true;
                }
                let put = secret.clone();
                self.ask(node, id, Op::Put { room: id, version, secret }, move |house, told| {
                    if let Ok(Answer::Secret(Some(winner))) = &told
                        && *winner != put
                    {
                        house.probe("another key was put first");
                    }
                    Input::SecretPut { version, secret: secret_of(told) }
                });
            }
            Effect::GetSecret { version } => {
                self.ask(node, id, Op::Get { room: id, version }, move |_, told| Input::SecretGot {
                    version,
                    secret: secret_of(told),
                });
            }
            Effect::FindMessage { revision } => {
                self.ask(node, id, Op::Read { log, after: revision.previous(), bytes: 1 }, move |_, told| {
                    let target = told.and_then(|answer| find(answer, revision));
                    Input::MessageFound { revision, target }
                });
            }
        }
    }

    /// Asks a store for the sequencer.
    fn ask(&mut self, node: usize, id: RoomId, op: Op, input: impl FnOnce(&mut Self, Told) -> Input + 'static) {
        let Some(room) = self.room_at(node, id) else { return };
        let born = room.born;
        room.under_way += 1;
        self.call(node, op, move |house, told| {
            let Some(room) = house.room_at(node, id).filter(|room| room.born == born) else { return };
            room.under_way -= 1;
            let input = input(house, told);
            house.sequence(node, id, input);
        });
    }

    /// A record is durable: the hub, who listens, who watches, and the effects.
    fn show(&mut self, node: usize, id: RoomId, record: &Record<Happened>, after: Head) {
        if let Some(room) = self.room_at(node, id) {
            room.appended = false;
        }
        let says = |event: &Happened| event.sealed_under().is_some();
        let rotates = |event: &Happened| matches!(event, Happened::KeyRotated { .. });
        let both = |entry: &chamberlain_core::log::Entry<Happened>| {
            entry.events.first().is_some_and(|first| says(&first.event))
                && entry.events.iter().any(|logged| rotates(&logged.event))
        };
        if record.entries.iter().any(both) {
            self.probe("rotation by count");
        }
        self.push_effects(node, id);
        let Some(room) = self.room_at(node, id) else { return };
        match room.hub.commit(record, after) {
            Ok(Offer::Next) => self.tell(node, id, record),
            Ok(Offer::Duplicate) => {}
            Ok(Offer::Gap { .. }) => {
                self.probe("gap filled by reading");
                self.catch_up(node, id, |_, _| {});
            }
            Err(_) => self.contradicted(node, id),
        }
    }

    fn contradicted(&mut self, node: usize, id: RoomId) {
        self.note(Seen::Quarantined { room: id, what: "the log contradicts itself".into() });
        self.reset_listeners(node, id, ResetWhy::Quarantined);
    }

    /// Shows the hub what was appended by others. Goes on when it was, and says whether it could be read.
    pub(super) fn catch_up(&mut self, node: usize, id: RoomId, then: impl FnOnce(&mut Self, bool) + 'static) {
        let Some(room) = self.room_at(node, id) else { return then(self, false) };
        if room.catching.is_some() {
            room.again.push(Box::new(then));
            return;
        }
        room.catching = Some(vec![Box::new(then)]);
        self.catch_on(node, id);
    }

    fn catch_on(&mut self, node: usize, id: RoomId) {
        let Some(room) = self.room_at(node, id) else { return };
        let (born, after) = (room.born, room.hub.state().head().revision);
        self.call(node, Op::Read { log: Self::log_of(id), after, bytes: READ_BYTES }, move |house, told| {
            if house.room_at(node, id).is_none_or(|room| room.born != born) {
                return;
            }
            match told {
                Ok(Answer::Records(records)) if !records.is_empty() => {
                    if house.take_records(node, id, &records) {
                        house.catch_on(node, id)
                    } else {
                        house.caught(node, id, false)
                    }
                }
                told => house.caught(node, id, told.is_ok()),
            }
        });
    }

    fn take_records(&mut self, node: usize, id: RoomId, records: &[RecordBytes]) -> bool {
        for stored in records {
            let Ok(record) = Record::<Happened>::decode(&stored.bytes) else { return false };
            let Some(room) = self.room_at(node, id) else { return false };
            let Some(after) = record.extend(room.hub.state().head()) else { continue };
            match room.hub.commit(&record, after) {
                Ok(Offer::Next) => self.tell(node, id, &record),
                Ok(_) => {}
                Err(_) => {
                    self.contradicted(node, id);
                    return false;
                }
            }
        }
        true
    }

    fn caught(&mut self, node: usize, id: RoomId, whole: bool) {
        let Some(room) = self.room_at(node, id) else { return };
        let waiting = room.catching.take().unwrap_or_default();
        let again = std::mem::take(&mut room.again);
        if !again.is_empty() {
            room.catching = Some(again);
            self.catch_on(node, id);
        }
        for then in waiting {
            then(self, whole);
        }
    }

    /// Whether the key of a version is handed out still.
    pub(super) fn is_kept(&mut self, node: usize, id: RoomId, version: KeyVersion) -> bool {
        let (wall, grace) = (self.wall(node), self.knobs.grace_ms);
        let expired = |ms| self.room_at(node, id).is_some_and(|room| room.hub.state().is_expired(version, wall, ms));
        !grace.is_some_and(expired)
    }

    /// The secret of a version, checked against the public half in the log. Entitlement is the caller's business.
    pub(super) fn secret(
        &mut self,
        node: usize,
        id: RoomId,
        version: KeyVersion,
        then: impl FnOnce(&mut Self, Result<RoomSecret, Refused>) + 'static,
    ) {
        let Some(room) = self.room_at(node, id) else { return then(self, Err(Reason::StoreUnavailable.into())) };
        if let Some(secret) = room.secrets.get(&version) {
            let secret = secret.clone();
            return then(self, Ok(secret));
        }
        let Some(public) = room.hub.state().public(version) else { return then(self, Err(Reason::NoSuchKey.into())) };
        self.call(node, Op::Get { room: id, version }, move |house, told| {
            let secret = match secret_of(told) {
                Ok(secret) if secret.public() != public => Err(Reason::Quarantined.into()),
                Ok(secret) => {
                    house.probe("key fetched from the vault");
                    if let Some(room) = house.room_at(node, id) {
                        if room.secrets.len() >= SECRETS_KEPT {
                            room.secrets.pop_first();
                        }
                        room.secrets.insert(version, secret.clone());
                    }
                    Ok(secret)
                }
                Err(Failure::Permanent) => Err(Reason::NoSuchKey.into()),
                Err(failure) => Err(super::node::refusal(failure)),
            };
            then(house, secret);
        });
    }
}

fn secret_of(told: Told) -> Result<RoomSecret, Failure> {
    match told? {
        Answer::Secret(Some(secret)) => Ok(secret),
        _ => Err(Failure::Permanent),
    }
}

/// The sender and name of the message at a revision.
fn find(answer: Answer, revision: Revision) -> Result<Target, Failure> {
    let Answer::Records(records) = answer else { return Err(Failure::Permanent) };
    let mut message = None;
    if let Some(stored) = records.first() {
        let record = Record::<Happened>::decode(&stored.bytes).map_err(|_| Failure::Permanent)?;
        message = record.items().find(|item| item.revision == revision).and_then(|item| match item.event {
            Happened::Message { message, kind: BodyKind::Message, .. } => Some((item.account.clone(), *message)),
            _ => None,
        });
    }
    Ok(Target { revision, message })
}

/// The room of a log, where it is one.
pub(super) fn room_of(log: &LogId) -> Option<RoomId> {
    match log {
        LogId::Room(room) => Some(*room),
        LogId::Account(_) | LogId::Directory => None,
    }
}
