//! A connection on a node: the driver of its socket machine, and the notes that others leave for it.
//!
//! As in `net`: notes about rooms coalesce, all else is bounded; one request of the client is worked on at a time, while
//! deliveries go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use chamberlain_core::fanout::{Effect, Input, Socket};
use chamberlain_core::id::{AccountId, RoomId};
use chamberlain_core::keys::Envelope;
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event as Happened, Reason, Refused};
use chamberlain_core::time::Instant;
use chamberlain_core::wire::{Codec, Item, ResetWhy, ServerFrame};

use super::link::{Piece, framing};
use super::room::Cell;
use super::view::Hubs;
use super::{Event, House};
use crate::story::{Lane, LinkId, Seen};
use crate::tape::Actor;

/// A connection that has said hello.
pub(super) struct Session {
    pub(super) account: AccountId,
    pub(super) codec: Codec,
    pub(super) admin: bool,
    pub(super) machine: Socket,
    /// The rooms that it has open, as the machine looks at them.
    pub(super) open: BTreeSet<RoomId>,
    pub(super) rate: Rate,
    /// A request of the client is being worked on.
    pub(super) busy: bool,
    inputs: VecDeque<Input>,
    moved: Vec<RoomId>,
    woken: bool,
    overflowed: bool,
    inbox: VecDeque<Bytes>,
    /// A write of the machine's is out.
    writing: bool,
    tick: Option<u64>,
    /// The most that was held for it so far.
    held: (u64, u64),
}

/// How many commands a connection may send: so many a second, so many at once.
pub(super) struct Rate {
    every: Duration,
    ahead: Duration,
    empty_at: Instant,
}

impl Rate {
    fn new(limits: &Limits) -> Self {
        let every = Duration::from_secs(1) / limits.submits_per_second;
        Self { every, ahead: every * limits.submits_burst, empty_at: Instant::default() }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let empty_at = self.empty_at.max(now).after(self.every);
        let allowed = empty_at.since(now) <= self.ahead;
        if allowed {
            self.empty_at = empty_at;
        }
        allowed
    }
}

impl Session {
    pub(super) fn new(machine: Socket, account: AccountId, codec: Codec, admin: bool, limits: &Limits) -> Self {
        Self {
            account,
            codec,
            admin,
            machine,
            open: BTreeSet::new(),
            rate: Rate::new(limits),
            busy: false,
            inputs: VecDeque::new(),
            moved: Vec::new(),
            woken: false,
            overflowed: false,
            inbox: VecDeque::new(),
            writing: false,
            tick: None,
            held: (0, 0),
        }
    }
}

impl House {
    /// Leaves a note for a connection.
    pub(super) fn tell_socket(&mut self, node: usize, link: LinkId, input: Input) {
        let most = self.story.limits.replies_waiting as usize * 2;
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        if session.inputs.len() >= most {
            session.overflowed = true;
        } else {
            session.inputs.push_back(input);
        }
        self.wake_socket(node, link);
    }

    fn wake_socket(&mut self, node: usize, link: LinkId) {
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        if !session.woken {
            session.woken = true;
            let lazy = self.knobs.faults.wake_late_us;
            let late = self.tape.draw(Actor::nth("node", node as u32), "wake", lazy + 1);
            self.schedule(self.now + late, Event::Wake { node, link });
        }
    }

    /// Wakes who has the room open, and tells who watches.
    pub(super) fn tell(&mut self, node: usize, id: RoomId, record: &Record<Happened>) {
        let listeners: Vec<LinkId> = self.nodes[node].registry.listeners(id).collect();
        for link in listeners {
            if let Some(session) = self.nodes[node].sessions.get_mut(&link) {
                if session.moved.last() != Some(&id) && !session.moved.contains(&id) {
                    session.moved.push(id);
                }
                self.probe_rotation(node, link, id, record);
                self.wake_socket(node, link);
            }
        }
        if self.nodes[node].registry.has_watchers() {
            self.tell_watchers(node, id, record);
        }
    }

    fn probe_rotation(&mut self, node: usize, link: LinkId, id: RoomId, record: &Record<Happened>) {
        let Some(session) = self.nodes[node].sessions.get(&link) else { return };
        let removed = record.items().any(
            |item| matches!(item.event, Happened::MembersRemoved { accounts } if accounts.contains(&session.account)),
        );
        if removed && session.open.contains(&id) {
            self.probe("rotation while a removed member is connected");
        }
    }

    /// Shows the record's events to those who watch their kinds: members what they may read, administrators the rest without
    /// bodies.
    fn tell_watchers(&mut self, node: usize, id: RoomId, record: &Record<Happened>) {
        let found = &self.nodes[node];
        let Some(state) = found.rooms.get(&id).and_then(Cell::ready).map(|room| room.hub.state()) else { return };
        let mut notes = Vec::new();
        for item in record.items() {
            if let Happened::Deleted { revision: message } = *item.event {
                let said: BTreeSet<LinkId> =
                    found.registry.watchers("message").chain(found.registry.watchers("edited")).collect();
                notes.extend(said.into_iter().map(|link| (link, Input::TakenBack { room: id, message })));
            }
            let says = item.event.text_of(item.revision).map(|message| (id, message));
            let mut frames: BTreeMap<(Codec, bool), Bytes> = BTreeMap::new();
            for link in found.registry.watchers(item.event.kind()) {
                let Some(session) = found.sessions.get(&link) else { continue };
                let entitled = state.entitlement(&session.account, item.revision, item.revision).0;
                if !entitled && !session.admin {
                    continue;
                }
                let frame = frames.entry((session.codec, entitled)).or_insert_with(|| {
                    let body = match item.body {
                        Body::Present(bytes) if entitled && !state.is_erased(item.revision) => {
                            Envelope::from_bytes(bytes).ok()
                        }
                        _ => None,
                    };
                    let item = Item {
                        revision: item.revision,
                        time: item.time,
                        account: item.account.clone(),
                        event: item.event.clone(),
                        body,
                    };
                    framing(session.codec, session.codec.encode(&ServerFrame::Watched { room: id, item }))
                });
                notes.push((link, Input::Watched { frame: frame.clone(), says }));
            }
        }
        for (link, input) in notes {
            self.tell_socket(node, link, input);
        }
    }

    /// The room is closed to everybody, for a reason that is not in its log.
    pub(super) fn reset_listeners(&mut self, node: usize, room: RoomId, why: ResetWhy) {
        let listeners: Vec<LinkId> = self.nodes[node].registry.listeners(room).collect();
        for link in listeners {
            self.tell_socket(node, link, Input::Reset { room, why });
        }
    }

    pub(super) fn wake(&mut self, node: usize, link: LinkId) {
        if let Some(session) = self.nodes[node].sessions.get_mut(&link) {
            session.woken = false;
            self.turn(node, link);
        }
    }

    /// Something came from the client: a frame, or with `None` a sign of life.
    pub(super) fn came(&mut self, node: usize, link: LinkId, frame: Option<Bytes>) {
        self.step(node, link, Input::Heard);
        if let Some(session) = self.nodes[node].sessions.get_mut(&link) {
            session.inbox.extend(frame);
            self.turn(node, link);
        }
    }

    pub(super) fn wrote(&mut self, node: usize, link: LinkId, all: bool) {
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        if session.writing {
            session.writing = !all;
            self.step(node, link, if all { Input::Written } else { Input::Progress });
            self.turn(node, link);
        }
    }

    pub(super) fn socket_tick(&mut self, node: usize, link: LinkId) {
        let now = self.now;
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        if session.tick.is_none_or(|tick| tick > now) {
            return;
        }
        session.tick = None;
        if session.machine.next_deadline().is_some_and(|due| due.0 <= now) {
            self.step(node, link, Input::Tick);
        }
        self.turn(node, link);
    }

    /// What the request in hand came to.
    pub(super) fn request_done(&mut self, node: usize, link: LinkId, told: Option<Input>) {
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        session.busy = false;
        if let Some(input) = told {
            self.step(node, link, input);
        }
        // In an event of its own, as everything that a request ends in.
        self.wake_socket(node, link);
    }

    /// One step of the machine.
    pub(super) fn step(&mut self, node: usize, link: LinkId, input: Input) {
        let now = self.instant();
        let found = &mut self.nodes[node];
        let Some(session) = found.sessions.get_mut(&link) else { return };
        let mut out = Vec::new();
        let mut hubs = Hubs { rooms: &mut found.rooms, open: &session.open };
        session.machine.step(now, input, &mut hubs, &mut out);
        for effect in out {
            self.carry_out_socket(node, link, effect);
        }
    }

    /// Notes, what came from the client, and the next deadline.
    pub(super) fn turn(&mut self, node: usize, link: LinkId) {
        self.read_notes(node, link);
        self.tell_holds(node, link);
        loop {
            let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
            if session.busy || session.machine.is_congested() {
                break;
            }
            let Some(bytes) = session.inbox.pop_front() else { break };
            self.begin_request(node, link, &bytes);
            self.read_notes(node, link);
        }
        let now = self.now;
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        if let Some(due) = session.machine.next_deadline() {
            let due = due.0.max(now);
            if session.tick.is_none_or(|tick| tick > due) {
                session.tick = Some(due);
                self.schedule(due, Event::SocketTick { node, link });
            }
        }
    }

    pub(super) fn read_notes(&mut self, node: usize, link: LinkId) {
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        let (inputs, moved) = (std::mem::take(&mut session.inputs), std::mem::take(&mut session.moved));
        let overflowed = std::mem::take(&mut session.overflowed);
        for input in inputs {
            self.step(node, link, input);
        }
        for room in moved {
            self.step_moved(node, link, room);
        }
        if overflowed {
            let bye =
                Input::Bye { code: 4008, reason: "more answers wait than the limit".into(), retry_after_ms: None };
            self.step(node, link, bye);
        }
    }

    /// Shows the machine how far a room is that it has open.
    pub(super) fn step_moved(&mut self, node: usize, link: LinkId, room: RoomId) {
        let found = &self.nodes[node];
        let open = found.sessions.get(&link).is_some_and(|session| session.open.contains(&room));
        let head = found.rooms.get(&room).and_then(Cell::ready).map(|room| room.hub.state().head().revision);
        if let (true, Some(head)) = (open, head) {
            self.step(node, link, Input::Moved { room, head });
        }
    }

    fn carry_out_socket(&mut self, node: usize, link: LinkId, effect: Effect) {
        match effect {
            Effect::Write(frames) => {
                if let Some(session) = self.nodes[node].sessions.get_mut(&link) {
                    session.writing = true;
                }
                let pieces = frames.as_slice().iter().cloned().map(Piece::Frame);
                self.write(link, pieces);
            }
            Effect::Ping => self.write(link, [Piece::Ping]),
            Effect::End { code, .. } => {
                if code == 4008 {
                    self.probe("slow connection closed");
                }
                self.leave(node, link);
                self.server_closes(link, code);
            }
            Effect::Reset { room, why } => {
                let found = &mut self.nodes[node];
                found.registry.unlisten(link, room);
                if let Some(session) = found.sessions.get_mut(&link) {
                    session.open.remove(&room);
                }
                if why == ResetWhy::UnknownPosition {
                    self.probe("resume refused");
                }
            }
            Effect::Fetch { room, opening, after, .. } => {
                self.probe("fetched from below the tail");
                if self.nodes[node].sessions.get(&link).is_some_and(|session| session.machine.waiting_for_turn() > 0) {
                    self.probe("rooms waited for their turn to fetch");
                }
                self.fetch(node, link, room, opening, after);
            }
            Effect::Key { room, opening, version } => self.give_key(node, link, room, opening, version),
        }
    }

    /// Forgets a connection and everything it listened to.
    pub(super) fn leave(&mut self, node: usize, link: LinkId) {
        let found = &mut self.nodes[node];
        found.registry.remove(link);
        if let Some(session) = found.sessions.remove(&link)
            && let Some(own) = found.of_account.get_mut(&session.account)
        {
            own.remove(&link);
            if own.is_empty() {
                found.of_account.remove(&session.account);
            }
        }
    }

    /// Answers with a refusal, at once.
    pub(super) fn refuse(
        &mut self,
        node: usize,
        link: LinkId,
        id: Option<chamberlain_core::id::RequestId>,
        room: Option<RoomId>,
        refused: &Refused,
    ) {
        let Some(session) = self.nodes[node].sessions.get(&link) else { return };
        let frame = framing(session.codec, session.codec.encode(&error_frame(id, room, refused)));
        self.step(node, link, Input::Control { frame });
    }

    /// Ends every connection of an account that is shut out.
    pub(super) fn shut_out(&mut self, node: usize, account: &AccountId) {
        self.nodes[node].shut.insert(account.clone());
        for link in self.nodes[node].of_account.get(account).cloned().unwrap_or_default() {
            self.probe("account disabled while connected");
            let reason = Reason::AccountDisabled.describe().trim();
            self.tell_socket(node, link, Input::Bye { code: 4003, reason: reason.into(), retry_after_ms: None });
        }
    }

    fn tell_holds(&mut self, node: usize, link: LinkId) {
        let written = self.links.get(&link).map_or((0, 0), |link| link.waits());
        let Some(session) = self.nodes[node].sessions.get_mut(&link) else { return };
        let items = (session.machine.waiting() + session.inputs.len() + session.moved.len()) as u64 + written.0;
        let bytes = session.machine.waiting_bytes() as u64 + written.1;
        let grew = items > session.held.0 || bytes > session.held.1;
        if grew {
            session.held = (session.held.0.max(items), session.held.1.max(bytes));
            self.note(Seen::Holds { link, items, bytes });
        }
        if self.story.detailed {
            self.tell_cursors(node, link);
        }
    }

    fn tell_cursors(&mut self, node: usize, link: LinkId) {
        let Some(session) = self.nodes[node].sessions.get(&link) else { return };
        if session.open.is_empty() {
            return;
        }
        let rooms: Vec<String> = session.open.iter().map(|room| super::words::short(*room)).collect();
        let what = format!("link {}: {} open, {} frames wait", link.0, rooms.join(" "), session.machine.waiting());
        self.state(Lane::Node(super::node::id(node)), what);
    }
}

pub(super) fn error_frame(
    id: Option<chamberlain_core::id::RequestId>,
    room: Option<RoomId>,
    refused: &Refused,
) -> ServerFrame {
    ServerFrame::Error {
        id,
        room,
        code: refused.code(),
        reason: refused.reason,
        message: refused.message.clone().into_owned(),
        current: refused.current,
    }
}
