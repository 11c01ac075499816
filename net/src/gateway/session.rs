//! A connection that has said hello: the driver of its socket machine.
//!
//! Carries out what the machine wants (writes, reads of older records, keys) and brings back what came of it. What the
//! client asks is worked on in [`super::requests`], one at a time and in order.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chamberlain_core::fanout::{Ask, Effect, Input, Pack, Socket, View};
use chamberlain_core::id::RoomId;
use chamberlain_core::room::{Reason, Refused};
use chamberlain_core::wire::{ResetWhy, ServerFrame};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, Event, Incoming};
use super::framing;
use super::rate::Rate;
use crate::auth::{Authenticate, Identity};
use crate::node::{Handle, Inner, Notes, Room};

/// What a request of the client came to, to be brought before the machine.
pub(super) enum Done {
    /// Nothing more than what the machine will be told anyway.
    Nothing,
    /// To be told.
    Told(Input),
    /// A room is loaded and may be opened.
    Opened { room: Arc<Room>, input: Box<Input> },
    /// A newer token.
    Refreshed(Identity),
    /// The connection ends.
    End { code: u16, refused: Refused },
}

/// The rooms that this connection has open, as the machine looks at them.
#[derive(Default)]
struct Rooms(BTreeMap<RoomId, Arc<Room>>);

impl View for Rooms {
    fn pack(&mut self, room: RoomId, ask: &Ask<'_>) -> Pack {
        match self.0.get(&room) {
            Some(room) => room.hub.lock().pack(ask),
            None => Pack::Nothing,
        }
    }
}

pub(super) struct Session {
    pub(super) inner: Arc<Inner>,
    pub(super) auth: Arc<dyn Authenticate>,
    pub(super) who: Identity,
    pub(super) handle: Arc<Handle>,
    pub(super) rate: Rate,
    machine: Socket,
    rooms: Rooms,
    notes: Notes,
    effects: Vec<Effect>,
    under_way: FuturesUnordered<BoxFuture<'static, Input>>,
    request: Option<BoxFuture<'static, Done>>,
    ended: Option<u16>,
    /// Whether a write of the machine's is out. Pings, pongs and close frames are written without it.
    writing: bool,
}

impl Session {
    pub(super) fn new(
        inner: Arc<Inner>,
        auth: Arc<dyn Authenticate>,
        who: Identity,
        handle: Arc<Handle>,
        batch: bool,
    ) -> Self {
        let limits = inner.settings.limits.clone();
        let now = inner.clock.now();
        Self {
            machine: Socket::new(who.account.clone(), handle.codec, batch, limits.clone(), inner.settings.framing, now),
            rate: Rate::new(&limits),
            rooms: Rooms::default(),
            notes: Notes::default(),
            effects: Vec::new(),
            under_way: FuturesUnordered::new(),
            request: None,
            ended: None,
            writing: false,
            inner,
            auth,
            who,
            handle,
        }
    }

    /// Whether a room is open here.
    pub(super) fn is_open(&self, room: RoomId) -> bool {
        self.machine.is_open(room)
    }

    /// How many are.
    pub(super) fn open_rooms(&self) -> usize {
        self.machine.open_rooms()
    }

    /// Queues a frame to the client.
    pub(super) fn send(&mut self, frame: &ServerFrame) {
        let frame = framing::frame(self.handle.codec, self.handle.codec.encode(frame));
        self.step(Input::Control { frame });
    }

    /// Until the connection ends; the close code.
    pub(super) async fn run<S>(mut self, connection: &mut Connection<S>) -> u16
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handle = self.handle.clone();
        // Set anew only for an earlier deadline: most move later with every write, and a timer that goes off early costs less
        // than one that is set for each.
        let mut timer = pin!(tokio::time::sleep_until(self.deadline()));
        loop {
            self.read_notes();
            self.carry_out(connection);
            if let Some(code) = self.ended {
                break code;
            }
            let listen = self.request.is_none() && !self.machine.is_congested();
            let deadline = self.deadline();
            if timer.is_elapsed() || deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                event = connection.next(listen) => match event {
                    Event::Wrote { all } => self.wrote(all),
                    Event::Came(incoming) => self.came(incoming),
                },
                () = handle.wake.notified() => {}
                Some(input) = self.under_way.next() => self.step(input),
                done = next_request(&mut self.request) => self.done(done),
                () = timer.as_mut() => self.tick(),
            }
        }
    }

    fn deadline(&self) -> tokio::time::Instant {
        let clock = self.inner.clock;
        let machine = self.machine.next_deadline().map(|at| clock.to_tokio(at));
        let expires = self.who.expires.map(|at| {
            let left = at.0.saturating_sub(clock.wall().0);
            clock.to_tokio(clock.now().after(std::time::Duration::from_millis(left)))
        });
        let far = || clock.to_tokio(clock.now().after(std::time::Duration::from_secs(3_600)));
        machine.into_iter().chain(expires).min().unwrap_or_else(far)
    }

    fn tick(&mut self) {
        if self.who.expires.is_some_and(|at| at <= self.inner.clock.wall()) {
            self.who.expires = None;
            let expired = Refused::from(Reason::TokenExpired);
            self.refuse(None, None, &expired);
            self.end(4001, &expired.message);
        }
        self.step(Input::Tick);
    }

    /// Ends the connection in an orderly way: what is queued before is written, then `bye`.
    pub(super) fn end(&mut self, code: u16, reason: &str) {
        self.step(Input::Bye { code, reason: reason.to_owned().into(), retry_after_ms: None });
    }

    fn wrote(&mut self, all: bool) {
        if self.writing {
            self.writing = !all;
            self.step(if all { Input::Written } else { Input::Progress });
        }
    }

    fn read_notes(&mut self) {
        let mut notes = std::mem::take(&mut self.notes);
        self.handle.take(&mut notes);
        for input in notes.inputs.drain(..) {
            self.step(input);
        }
        for room in notes.moved.drain(..) {
            let head = self.rooms.0.get(&room).map(|room| room.hub.lock().state().head().revision);
            if let Some(head) = head {
                self.step(Input::Moved { room, head });
            }
        }
        self.notes = notes;
        if self.handle.overflowed.swap(false, Ordering::AcqRel) {
            self.end(4008, "more answers wait than the limit; read faster");
        }
    }

    pub(super) fn step(&mut self, input: Input) {
        self.machine.step(self.inner.clock.now(), input, &mut self.rooms, &mut self.effects);
    }

    fn came(&mut self, incoming: Incoming) {
        self.step(Input::Heard);
        match incoming {
            Incoming::Frame(bytes) => {
                self.inner.metrics.frames_in(1);
                self.request = self.begin_request(&bytes);
            }
            Incoming::Refused(refused) => self.refuse(None, None, &refused),
            Incoming::Sign => {}
            Incoming::Broken(refused) => {
                self.refuse(None, None, &refused);
                self.end(4000, &refused.message);
            }
            Incoming::Closed => self.ended = Some(1000),
        }
    }

    fn done(&mut self, done: Done) {
        self.request = None;
        match done {
            Done::Nothing => {}
            Done::Told(input) => self.step(input),
            Done::Opened { room, input } => {
                // Notes first: an account event that tells of the room comes before the room's key.
                self.read_notes();
                let (id, head) = (room.id, room.hub.lock().state().head().revision);
                self.rooms.0.insert(id, room);
                self.step(*input);
                // It may have moved since its head was looked at, and the note of it found the room not open yet.
                self.step(Input::Moved { room: id, head });
            }
            Done::Refreshed(who) => self.who.expires = who.expires,
            Done::End { code, refused } => {
                self.refuse(None, None, &refused);
                self.end(code, &refused.message);
            }
        }
    }

    /// Does what the machine wants. What it wants written goes to the connection; the rest comes back as inputs.
    fn carry_out<S>(&mut self, connection: &mut Connection<S>) {
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Write(frames) => {
                    self.writing = true;
                    let frames = frames.as_slice();
                    let bytes = frames.iter().map(|frame| frame.len() as u64).sum();
                    self.inner.metrics.frames_out(frames.len() as u64, bytes);
                    for frame in frames {
                        connection.push(frame.clone());
                    }
                }
                Effect::Ping => connection.push(framing::ping()),
                Effect::End { code, .. } => self.ended = Some(code),
                Effect::Reset { room, why } => {
                    self.inner.sockets.unlisten(&self.handle, room);
                    self.rooms.0.remove(&room);
                    if why == ResetWhy::UnknownPosition {
                        self.inner.metrics.position_ahead();
                    }
                }
                effect => self.begin_effect(effect),
            }
        }
        self.effects = effects;
    }

    fn begin_effect(&mut self, effect: Effect) {
        let input = match effect {
            Effect::Fetch { room, opening, after, .. } => {
                super::requests::fetch(self.inner.clone(), room, opening, after).boxed()
            }
            Effect::Key { room: id, opening, version } => {
                let room = self.rooms.0.get(&id).cloned();
                super::requests::key(self.inner.clone(), self.handle.clone(), room, id, opening, version).boxed()
            }
            _ => return,
        };
        self.under_way.push(input);
    }

    /// No longer delivers a room.
    pub(super) fn close(&mut self, room: RoomId) {
        self.inner.sockets.unlisten(&self.handle, room);
        self.step(Input::Close { room });
        self.rooms.0.remove(&room);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inner.sockets.leave(&self.handle);
    }
}

async fn next_request(request: &mut Option<BoxFuture<'static, Done>>) -> Done {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}
