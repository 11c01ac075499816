//! Judges everything that one socket hands to its transport: S1, S2, K1, K4, D1, own marks, deletions.
//!
//! Sees only frames, decoded as a client decodes them, and the rooms' facts. Frames are judged when they are handed over,
//! against the logs of that moment; [`Received`] is what came through, which is all that a client knows after a reconnect.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{AccountId, KeyVersion, RequestId, Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::log::Position;
use chamberlain_core::site::SiteKeys;
use chamberlain_core::wire::{AccountChange, Item, OwnRevision, ResetWhy, ServerFrame, VoidWhy};

use super::author::Author;

/// The rooms as the hubs know them: the log, and how far it was shown.
pub type Shown<'a> = BTreeMap<RoomId, (&'a Author, Revision)>;

/// One opening, as the client sees it.
#[derive(Debug)]
struct Opening {
    last: Revision,
    kinds: Option<BTreeSet<String>>,
    keys: BTreeSet<KeyVersion>,
}

/// The judge of one socket.
#[derive(Debug)]
pub struct Delivery {
    account: AccountId,
    batch: bool,
    /// Rooms that the account knows of on this socket.
    told: BTreeSet<RoomId>,
    open: BTreeMap<RoomId, Opening>,
    asks: Asks,
    /// Filters of rooms that were asked to be opened.
    kinds: BTreeMap<RoomId, Option<BTreeSet<String>>>,
    /// Requests sent here and not answered yet.
    asked: BTreeSet<RequestId>,
    /// The revision that each answered request recorded.
    recorded: BTreeMap<RequestId, (RoomId, Revision)>,
    /// Versions that the account was refused.
    refused: BTreeSet<(RoomId, KeyVersion)>,
    answers: u64,
}

/// What a judge objects to, in words that name the invariant.
pub type Objection = String;

macro_rules! must {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(format!($($words)+));
        }
    };
}

impl Delivery {
    /// A socket of `account` that was welcomed knowing these rooms.
    pub fn new(account: AccountId, batch: bool, told: BTreeSet<RoomId>) -> Self {
        Self {
            account,
            batch,
            told,
            open: BTreeMap::new(),
            asks: Asks::default(),
            kinds: BTreeMap::new(),
            asked: BTreeSet::new(),
            recorded: BTreeMap::new(),
            refused: BTreeSet::new(),
            answers: 0,
        }
    }

    /// The client asked to open a room.
    pub fn asked_to_open(&mut self, room: RoomId, kinds: Option<BTreeSet<String>>) {
        self.kinds.insert(room, kinds);
        self.asks.open(room);
    }

    /// The client asked to close a room.
    pub fn asked_to_close(&mut self, room: RoomId) {
        self.open.remove(&room);
        self.asks.close(room);
    }

    /// The client sent a command.
    pub fn asked(&mut self, request: RequestId) {
        self.asked.insert(request);
    }

    /// The command recorded this revision last.
    pub fn recorded(&mut self, request: RequestId, room: RoomId, revision: Revision) {
        self.recorded.insert(request, (room, revision));
    }

    /// How far the room is, if it is open.
    pub fn at(&self, room: RoomId) -> Option<Revision> {
        self.open.get(&room).map(|opening| opening.last)
    }

    /// Requests that were sent and are not answered.
    pub fn unanswered(&self) -> usize {
        self.asked.len()
    }

    /// How many answers came.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// The key of this version was refused.
    pub fn refused(&mut self, room: RoomId, version: KeyVersion) {
        self.refused.insert((room, version));
    }

    /// Judges the next frame that was handed over.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub fn judge(&mut self, frame: &ServerFrame, shown: &Shown<'_>, keys: &SiteKeys) -> Result<(), Objection> {
        match frame {
            ServerFrame::Opened { room, after, .. } => {
                if !self.asks.opened(room.room)? {
                    return Ok(());
                }
                let kinds = self.kinds.get(&room.room).cloned().flatten();
                let opening = Opening { last: *after, kinds, keys: BTreeSet::new() };
                self.open.insert(room.room, opening);
            }
            ServerFrame::Batch { room, from, to, items, position, own } => {
                self.covers(*room, *from, *to)?;
                self.judge_batch((*room, *from, *to), items, own, shown)?;
                judge_position(*room, *to, position, shown, keys)?;
            }
            ServerFrame::Void { room, from, to, why, position } => {
                self.covers(*room, *from, *to)?;
                self.judge_void(*room, (*from, *to), *why, shown)?;
                judge_position(*room, *to, position, shown, keys)?;
            }
            ServerFrame::Key { room, version, .. } => {
                must!(self.told.contains(room), "K4: key of {room} before the account was told of it");
                must!(!self.refused.contains(&(*room, *version)), "K1: a refused key of {room} was given");
                let opening = self.open.get_mut(room).ok_or("K1: a key of a room that is not open")?;
                must!(opening.keys.insert(*version), "K1: key {version} of {room} was given twice");
            }
            ServerFrame::Account { event: AccountChange::Joined { room, .. }, .. } => {
                self.told.insert(*room);
            }
            ServerFrame::Ok { id, .. } => {
                self.answers += 1;
                must!(self.asked.remove(id), "X3: {id} was answered twice, or never asked");
                if let Some((room, revision)) = self.recorded.get(id)
                    && let Some(opening) = self.open.get(room)
                {
                    let last = opening.last;
                    must!(last >= *revision, "S2: the answer overtakes: {room} is at {last}, not yet at {revision}");
                }
            }
            ServerFrame::Reset { room, why } => {
                self.open.remove(room);
                let (author, head) = shown.get(room).ok_or("D1: reset of no room")?;
                let member = author.was_member(&self.account, *head);
                must!(*why == ResetWhy::Removed && !member, "D1: {room} was reset as {why:?}, member: {member}");
            }
            _ => {}
        }
        Ok(())
    }

    fn covers(&mut self, room: RoomId, from: Revision, to: Revision) -> Result<(), Objection> {
        let opening = self.open.get_mut(&room).ok_or("D1: a frame of a room that is not open")?;
        must!(from == opening.last.next() && from <= to, "S1: {from}..={to} of {room} after {}", opening.last);
        opening.last = to;
        Ok(())
    }

    fn judge_batch(
        &self,
        (room, from, to): (RoomId, Revision, Revision),
        items: &[Item],
        own: &[OwnRevision],
        shown: &Shown<'_>,
    ) -> Result<(), Objection> {
        let opening = self.open.get(&room).ok_or("D1: not open")?;
        let (author, head) = shown.get(&room).ok_or("D1: no such room")?;
        must!(to <= *head, "L1: {room} was sent up to {to}, but goes to {head}");
        must!(self.batch || items.len() <= 1, "batches were declined");
        let readable = author.readable(&self.account, *head);
        let erased = author.erased(*head);
        let wanted =
            |at: &Revision| opening.kinds.as_ref().is_none_or(|kinds| kinds.contains(author.fact(*at).event.kind()));
        let expected: Vec<Revision> = (from.0..=to.0).map(Revision).filter(wanted).collect();
        let found: Vec<Revision> = items.iter().map(|item| item.revision).collect();
        must!(expected == found, "S1: {room} {from}..={to} holds {found:?}, not {expected:?}");
        for item in items {
            let (at, fact) = (item.revision, author.fact(item.revision));
            must!(readable.contains(&at), "D1: {at} of {room} is not for {}", self.account);
            let as_written = (&fact.event, &fact.account, fact.time) == (&item.event, &item.account, item.time);
            must!(as_written, "X3: {at} of {room} is not what was written");
            let body = fact.body.as_ref().filter(|_| !erased.contains(&at));
            must!(item.body.as_ref() == body, "a body at {at} of {room}: deleted {}", erased.contains(&at));
            if let Some(body) = body {
                must!(opening.keys.contains(&body.version), "K1: {at} of {room} before key {}", body.version);
            }
        }
        let mine = |at: &&Revision| {
            let fact = author.fact(**at);
            fact.account == self.account && fact.request.is_some_and(|request| self.asked.contains(&request))
        };
        let expected: Vec<Revision> = found.iter().filter(mine).copied().collect();
        let marked: Vec<Revision> = own.iter().map(|mark| mark.revision).collect();
        must!(expected == marked, "own: {room} {from}..={to} marks {marked:?}, not {expected:?}");
        let right = own.iter().all(|mark| author.fact(mark.revision).request == Some(mark.request));
        must!(right, "own: another request is marked");
        Ok(())
    }

    fn judge_void(
        &self,
        room: RoomId,
        (from, to): (Revision, Revision),
        why: VoidWhy,
        shown: &Shown<'_>,
    ) -> Result<(), Objection> {
        let opening = self.open.get(&room).ok_or("D1: not open")?;
        let (author, head) = shown.get(&room).ok_or("D1: no such room")?;
        let readable = author.readable(&self.account, *head);
        let erased = author.erased(*head);
        for at in (from.0..=to.0).map(Revision) {
            let fact = author.fact(at);
            let wanted = opening.kinds.as_ref().is_none_or(|kinds| kinds.contains(fact.event.kind()));
            let just = match why {
                VoidWhy::NotEntitled => !readable.contains(&at),
                VoidWhy::Filtered => readable.contains(&at) && !wanted,
                VoidWhy::Expired => fact.body.as_ref().is_some_and(|body| {
                    self.refused.contains(&(room, body.version)) && !erased.contains(&at) && readable.contains(&at)
                }),
            };
            must!(just, "D1: {at} of {room} is void as {why:?}");
        }
        Ok(())
    }
}

/// A position is of this revision of this log, or empty.
fn judge_position(
    room: RoomId,
    to: Revision,
    position: &Blob,
    shown: &Shown<'_>,
    keys: &SiteKeys,
) -> Result<(), Objection> {
    if position.is_empty() {
        return Ok(());
    }
    let (author, _) = shown.get(&room).ok_or("D1: no such room")?;
    let read = Position::from_blob(position, room, keys).ok_or("S3: a position that does not verify")?;
    must!(read.head == author.fact(to).head, "S3: the position after {to} of {room} is another one");
    Ok(())
}

/// What came through to one device, over all its connections: where it is in each room.
#[derive(Debug, Default)]
pub struct Received {
    /// Of each room the last revision, and the position there.
    pub places: BTreeMap<RoomId, (Revision, Blob)>,
    asks: Asks,
    /// Rooms of which frames are taken: opened, and not closed since. What was under way when the client closed a room is not
    /// for the next opening of it.
    live: BTreeSet<RoomId>,
}

impl Received {
    /// The client asked to open the room where it is.
    pub fn asked_to_open(&mut self, room: RoomId) {
        self.asks.open(room);
    }

    /// The client closed the room.
    pub fn asked_to_close(&mut self, room: RoomId) {
        self.live.remove(&room);
        self.asks.close(room);
    }

    /// The client lost its connection.
    pub fn lost(&mut self) {
        self.live.clear();
        self.asks = Asks::default();
    }

    /// The next frame came through.
    ///
    /// # Errors
    /// S1 or S3, when it does not go on where the device is.
    pub fn take(&mut self, frame: &ServerFrame) -> Result<(), Objection> {
        match frame {
            ServerFrame::Opened { room, after, .. } => {
                let room = room.room;
                if !self.asks.opened(room)? {
                    return Ok(());
                }
                if let Some((last, _)) = self.places.get(&room) {
                    must!(after == last, "S3: opened after {after}, but the client is at {last}");
                }
                self.places.entry(room).or_insert((*after, Blob::default()));
                self.live.insert(room);
            }
            ServerFrame::Reset { room, .. } => {
                self.live.remove(room);
            }
            ServerFrame::Batch { room, from, to, position, .. }
            | ServerFrame::Void { room, from, to, position, .. }
                if self.live.contains(room) =>
            {
                let (last, at) = self.places.get_mut(room).ok_or("S1: a frame of a room that is not open")?;
                must!(*from == last.next(), "S1: {from}..={to} of {room} came after {last}");
                (*last, *at) = (*to, position.clone());
            }
            _ => {}
        }
        Ok(())
    }
}

/// Tells the `opened` frame that a client waits for from one of an opening that it closed before.
#[derive(Debug, Default)]
struct Asks {
    /// Rooms that were asked to be opened, and are not yet.
    awaited: BTreeSet<RoomId>,
    /// How many openings were closed before they were seen to be open.
    stale: BTreeMap<RoomId, u32>,
}

impl Asks {
    fn open(&mut self, room: RoomId) {
        self.awaited.insert(room);
    }

    fn close(&mut self, room: RoomId) {
        if self.awaited.remove(&room) {
            *self.stale.entry(room).or_default() += 1;
        }
    }

    /// A room was opened: whether that is what is waited for.
    fn opened(&mut self, room: RoomId) -> Result<bool, Objection> {
        if let Some(stale) = self.stale.get_mut(&room).filter(|stale| **stale > 0) {
            *stale -= 1;
            return Ok(false);
        }
        must!(self.awaited.remove(&room), "X3: {room} was opened, and nobody asked for it");
        Ok(true)
    }
}
