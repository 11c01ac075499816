//! One connection: what it is sent next.
//!
//! One write is under way at a time. It is filled in one step, from frames that the hubs pack for this very moment: first
//! what belongs to no room, then the open rooms in turn, one frame each, until the write is full; so a busy room starves
//! nobody. A key goes into the write just before the first frame that needs it, an answer just after the revision it follows.
//! What waits is bounded: a cursor and not a queue per room, few fetched pages, few answers. Being far behind costs nothing
//! and is no reason to end a connection; not taking a byte for long is.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::cursor::Cursor;
use super::hub::Framing;
use super::io::{Effect, Input, OpeningId};
use super::opening::{Answer, Opening, Wait};
use super::pack::View;
use super::queue::{Queue, WatchQueue};
use super::serve::enqueue;
use crate::id::{AccountId, RequestId, Revision, RoomId};
use crate::limits::Limits;
use crate::time::Instant;
use crate::wire::{Codec, ResetWhy, ServerFrame};

/// Answers that wait may take as many bytes as this many of the largest frames.
const WAITING_FRAMES: usize = 8;
/// Close code of a connection that does not take what it is sent.
const SLOW: u16 = 4008;

/// The machine of one connection, from its welcome on.
#[derive(Debug)]
pub struct Socket {
    pub(super) account: AccountId,
    pub(super) codec: Codec,
    pub(super) batch: bool,
    pub(super) limits: Arc<Limits>,
    framing: Framing,
    /// Boxed: a node of the map has space for eleven, and most sockets have few.
    pub(super) rooms: BTreeMap<RoomId, Box<Opening>>,
    /// Rooms that have something to be sent, each once.
    pub(super) ready: VecDeque<RoomId>,
    /// Openings with frames in the write that is under way.
    pub(super) in_flight: Vec<(RoomId, OpeningId)>,
    /// When the write that is under way last made progress.
    pub(super) writing: Option<Instant>,
    pub(super) control: Queue,
    pub(super) watched: WatchQueue,
    /// Commands sent on this socket that are not answered yet.
    pub(super) asked: BTreeSet<RequestId>,
    /// Answers that wait in openings, and their bytes.
    pub(super) held: usize,
    pub(super) held_bytes: usize,
    /// Openings that hold a place for what is read from the store, and those that wait for one.
    pub(super) fetching: usize,
    pub(super) fetch_line: VecDeque<RoomId>,
    failures: u32,
    retry_at: Option<Instant>,
    heard: Instant,
    pinged: Instant,
    next_id: u64,
    pub(super) ending: Option<(u16, Cow<'static, str>)>,
    pub(super) ended: bool,
}

impl Socket {
    /// A connection of `account` that said hello at `now`; `batch` as it asked for.
    pub fn new(
        account: AccountId,
        codec: Codec,
        batch: bool,
        limits: Arc<Limits>,
        framing: Framing,
        now: Instant,
    ) -> Self {
        Self {
            account,
            codec,
            batch,
            limits,
            framing,
            rooms: BTreeMap::new(),
            ready: VecDeque::new(),
            in_flight: Vec::new(),
            writing: None,
            control: Queue::default(),
            watched: WatchQueue::default(),
            asked: BTreeSet::new(),
            held: 0,
            held_bytes: 0,
            fetching: 0,
            fetch_line: VecDeque::new(),
            failures: 0,
            retry_at: None,
            heard: now,
            pinged: now,
            next_id: 0,
            ending: None,
            ended: false,
        }
    }

    /// Whether the room is open.
    pub fn is_open(&self, room: RoomId) -> bool {
        self.rooms.contains_key(&room)
    }

    /// How many rooms are open. Whoever opens one more sees to the limit.
    pub fn open_rooms(&self) -> usize {
        self.rooms.len()
    }

    /// How many openings wait for their turn to read what the hub no longer holds.
    pub fn waiting_for_turn(&self) -> usize {
        self.fetch_line.len()
    }

    /// Whether so many answers wait that no more commands should be read from the client for now.
    pub fn is_congested(&self) -> bool {
        let most = self.limits.replies_waiting as usize;
        self.held + self.control.len() > most / 2 || self.asked.len() > most / 2
    }

    /// How many frames wait, rooms aside: for metrics and for tests.
    pub fn waiting(&self) -> usize {
        self.held + self.control.len() + self.watched.len()
    }

    /// How many bytes they are: for tests.
    pub fn waiting_bytes(&self) -> usize {
        self.held_bytes + self.control.bytes() + self.watched.bytes()
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let slow = self.writing.map(|since| since.after(ms(self.limits.slow_ms)));
        let silent = Some(self.heard.after(ms(self.limits.dead_ms)));
        let ping = Some(self.ping_at());
        [slow, silent, ping, self.retry_at].into_iter().flatten().min()
    }

    /// Takes an input, and says what is to be done.
    pub fn step(&mut self, now: Instant, input: Input, view: &mut impl View, out: &mut Vec<Effect>) {
        if self.ended {
            return;
        }
        self.take(now, input, out);
        if self.is_overflowing() {
            self.control.clear();
            self.say_bye(SLOW, "too many answers wait".into(), None);
        }
        self.fill(now, view, out);
    }

    fn take(&mut self, now: Instant, input: Input, out: &mut Vec<Effect>) {
        match input {
            // The bye is the last frame; what comes after it, a client asks for again with the same request id.
            Input::Open { .. }
            | Input::Reply { .. }
            | Input::Control { .. }
            | Input::Watched { .. }
            | Input::AccountEvent { .. }
            | Input::Asked { .. }
                if self.ending.is_some() => {}
            Input::Moved { room, head } => {
                if let Some(opening) = self.rooms.get_mut(&room) {
                    opening.cursor.moved(head);
                    enqueue(&mut self.ready, room, opening);
                }
            }
            Input::Written => self.written(),
            Input::Progress => self.writing = self.writing.map(|_| now),
            Input::Heard => self.heard = now,
            Input::Tick => self.tick(now, out),
            Input::Asked { request } => {
                self.asked.insert(request);
            }
            Input::Reply { request, frame, follows } => self.reply(request, frame, follows),
            Input::Control { frame } => self.control.push(frame),
            Input::Watched { frame, says } => self.watched.push(frame, says),
            Input::TakenBack { room, message } => self.watched.take_back(room, message),
            Input::AccountEvent { frame, room, told_until } => {
                self.control.push(frame);
                if let Some(opening) = self.rooms.get_mut(&room) {
                    opening.told_until = told_until;
                    if opening.wait == Wait::Told {
                        self.resume(Some(room));
                    }
                }
            }
            Input::Open { room, after, head, chain, kinds, opened, told_until } => {
                self.close(room);
                self.control.push(opened);
                let mut cursor = Cursor::new(after);
                cursor.moved(head);
                let id = OpeningId(self.next_id);
                self.next_id += 1;
                let mut opening = Box::new(Opening {
                    id,
                    cursor,
                    sent: after,
                    chain,
                    vouched: None,
                    kinds,
                    told_until,
                    given: None,
                    refused: None,
                    key: None,
                    past: None,
                    wait: Wait::Nothing,
                    queued: false,
                    in_flight: false,
                    answers: BTreeMap::new(),
                });
                enqueue(&mut self.ready, room, &mut opening);
                self.rooms.insert(room, opening);
            }
            Input::Close { room } => self.close(room),
            Input::Reset { room, why } => self.reset(room, why, out),
            Input::Fetched { room, opening, past } => {
                if let Some(found) = self.waiting_for(room, opening, Wait::Fetch) {
                    found.past = Some(past);
                    self.failures = 0;
                    self.resume(Some(room));
                }
            }
            Input::FetchFailed { room, opening } => {
                if self.waiting_for(room, opening, Wait::Fetch).is_some() {
                    self.retry_later(now, room);
                }
            }
            Input::KeyFailed { room, opening, version } => {
                if self.waiting_for(room, opening, Wait::Key(version)).is_some() {
                    self.retry_later(now, room);
                }
            }
            Input::Key { room, opening, version, frame } => {
                if let Some(found) = self.waiting_for(room, opening, Wait::Key(version)) {
                    match frame {
                        Some(frame) => found.key = Some((version, frame)),
                        None => found.refused = Some(version),
                    }
                    self.failures = 0;
                    self.resume(Some(room));
                }
            }
            Input::Bye { code, reason, retry_after_ms } => self.say_bye(code, reason, retry_after_ms),
        }
    }

    fn reply(&mut self, request: Option<RequestId>, frame: Bytes, follows: Option<(RoomId, Revision)>) {
        if let Some((room, revision)) = follows
            && let Some(opening) = self.rooms.get_mut(&room).filter(|opening| opening.sent < revision)
        {
            self.held += 1;
            self.held_bytes += frame.len();
            opening.answers.insert((revision, self.next_id), Answer { request, frame });
            self.next_id += 1;
            return;
        }
        if let Some(request) = request {
            self.asked.remove(&request);
        }
        self.control.push(frame);
    }

    /// Forgets an opening; the answers that waited in it need wait no longer.
    fn close(&mut self, room: RoomId) {
        let Some(opening) = self.rooms.remove(&room) else { return };
        if opening.queued {
            self.ready.retain(|queued| *queued != room);
        }
        if opening.wait == Wait::Turn {
            self.fetch_line.retain(|queued| *queued != room);
        }
        for answer in opening.answers.values() {
            self.held -= 1;
            self.held_bytes -= answer.frame.len();
            self.control.push(answer.frame.clone());
            if let Some(request) = &answer.request {
                self.asked.remove(request);
            }
        }
        if opening.holds_place() {
            self.free_place();
        }
    }

    pub(super) fn reset(&mut self, room: RoomId, why: ResetWhy, out: &mut Vec<Effect>) {
        if self.rooms.contains_key(&room) {
            self.control.push(self.frame(&ServerFrame::Reset { room, why }));
            self.close(room);
            out.push(Effect::Reset { room, why });
        }
    }

    /// The opening, if it is still this one and waits for just this.
    fn waiting_for(&mut self, room: RoomId, id: OpeningId, wait: Wait) -> Option<&mut Box<Opening>> {
        self.rooms.get_mut(&room).filter(|opening| opening.id == id && opening.wait == wait)
    }

    /// What the room waited for is there.
    fn resume(&mut self, room: Option<RoomId>) {
        if let Some(room) = room
            && let Some(opening) = self.rooms.get_mut(&room)
        {
            opening.wait = Wait::Nothing;
            enqueue(&mut self.ready, room, opening);
        }
    }

    /// What the room waited for failed: it is asked again after a while, together with whatever else failed meanwhile.
    pub(super) fn retry_later(&mut self, now: Instant, room: RoomId) {
        let Some(opening) = self.rooms.get_mut(&room) else { return };
        let held_place = opening.holds_place();
        opening.past = None;
        opening.wait = Wait::Retry;
        if !opening.in_flight {
            opening.cursor.abandon();
        }
        let first = u64::from(self.limits.retry_first_ms) << self.failures.min(16);
        let delay = Duration::from_millis(first.min(self.limits.retry_most_ms.into()));
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(self.retry_at.unwrap_or(now.after(delay)));
        if held_place {
            self.free_place();
        }
    }

    pub(super) fn drop_past(&mut self, room: RoomId) {
        if self.rooms.get_mut(&room).is_some_and(|opening| opening.past.take().is_some()) {
            self.free_place();
        }
    }

    fn free_place(&mut self) {
        debug_assert!(self.fetching > 0);
        self.fetching = self.fetching.saturating_sub(1);
        let next = self.fetch_line.pop_front();
        self.resume(next);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let passed = |since: Instant, span: u32| now >= since.after(ms(span));
        if self.writing.is_some_and(|since| passed(since, self.limits.slow_ms)) {
            return self.end(SLOW, "no byte was taken for too long".into(), out);
        }
        if passed(self.heard, self.limits.dead_ms) {
            return self.end(SLOW, "no sign of life".into(), out);
        }
        if now >= self.ping_at() {
            self.pinged = now;
            out.push(Effect::Ping);
        }
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            for (room, opening) in &mut self.rooms {
                if opening.wait == Wait::Retry {
                    opening.wait = Wait::Nothing;
                    enqueue(&mut self.ready, *room, opening);
                }
            }
        }
    }

    /// Sends what waits and belongs to no room, a word, and then nothing more. An answer whose revision did not go out is
    /// not sent ahead of it (S2): the client asks again, with the same request id.
    fn say_bye(&mut self, code: u16, reason: Cow<'static, str>, retry_after_ms: Option<u64>) {
        if self.ending.is_some() {
            return;
        }
        for opening in self.rooms.values_mut() {
            for answer in core::mem::take(&mut opening.answers).values() {
                self.held -= 1;
                self.held_bytes -= answer.frame.len();
            }
        }
        while let Some(room) = self.rooms.keys().next().copied() {
            self.close(room);
        }
        if code == SLOW {
            self.control.clear();
        }
        self.watched = WatchQueue::default();
        let bye = ServerFrame::Bye { code, reason: reason.clone().into_owned(), retry_after_ms };
        self.control.push(self.frame(&bye));
        self.ending = Some((code, reason));
    }

    pub(super) fn end(&mut self, code: u16, reason: Cow<'static, str>, out: &mut Vec<Effect>) {
        self.ended = true;
        self.rooms.clear();
        self.ready.clear();
        self.control.clear();
        self.watched = WatchQueue::default();
        out.push(Effect::End { code, reason });
    }

    fn is_overflowing(&self) -> bool {
        let frames = self.limits.replies_waiting as usize + self.limits.open_rooms as usize;
        let bytes = self.limits.frame_out_bytes as usize * WAITING_FRAMES;
        self.ending.is_none()
            && (self.held + self.control.len() > frames
                || self.held_bytes + self.control.bytes() > bytes
                || self.asked.len() > self.limits.replies_waiting as usize)
    }

    fn ping_at(&self) -> Instant {
        self.heard.max(self.pinged).after(ms(self.limits.ping_ms))
    }

    pub(super) fn frame(&self, frame: &ServerFrame) -> Bytes {
        (self.framing)(self.codec, self.codec.encode(frame))
    }
}

fn ms(limit: u32) -> Duration {
    Duration::from_millis(limit.into())
}
