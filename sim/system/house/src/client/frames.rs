//! What a client makes of the server's frames.

use std::time::Duration;

use chamberlain_core::room::{Code, Outcome, Reason, RoomKind};
use chamberlain_core::wire::{AccountChange, Answer, ClientFrame, Open, Query, ResetWhy, ServerFrame};

use super::memory::Opening;
use super::{Client, Line};
use crate::house::Phase;

impl Client {
    /// Takes a frame.
    pub(super) fn took(&mut self, frame: ServerFrame, line: &mut Line) {
        let witness = self.house.witness.clone();
        match frame {
            ServerFrame::Welcome(welcome) => {
                self.welcomed = true;
                self.memory.site = Some(welcome.site);
                if self.house.phase() == Phase::Working {
                    self.begin(line);
                }
            }
            ServerFrame::Opened { room: view, after, head } => {
                let room = self.memory.rooms.entry(view.room).or_default();
                room.opening = Opening::Open;
                room.last = after;
                room.head = head;
                room.is_channel = view.kind == RoomKind::Channel;
                room.set_key(view.key.version, view.key.public);
                self.house.tell_of(view.room);
            }
            ServerFrame::Batch { room, from, to, items, position, .. } => {
                if items.len() > 1 {
                    witness.probe("batch of several revisions");
                }
                let room = self.memory.rooms.entry(room).or_default();
                room.take(&items);
                room.last = to;
                if position.is_empty() {
                    witness.probe("gap fetched from the log");
                }
                room.position = (!position.is_empty()).then_some(position);
                debug_assert!(from <= to);
            }
            ServerFrame::Void { room, to, position, .. } => {
                witness.probe("void came");
                let room = self.memory.rooms.entry(room).or_default();
                room.last = to;
                room.position = (!position.is_empty()).then_some(position);
            }
            ServerFrame::Key { room, version, public, .. } => {
                witness.probe("key given over a socket");
                let room = self.memory.rooms.entry(room).or_default();
                room.keys.insert(version);
                room.set_key(version, public);
            }
            ServerFrame::Account { event, .. } => {
                witness.probe("account event came");
                if let AccountChange::Joined { room, .. } = event {
                    self.house.tell_of(room);
                    let known = self.memory.rooms.entry(room).or_default();
                    if known.opening.is_closed() && self.chance("open_new", 60) {
                        self.open(line, room);
                    }
                }
            }
            ServerFrame::Watched { .. } => witness.probe("event watched"),
            ServerFrame::Ok { id, answer } => self.answered(id, answer),
            ServerFrame::Error { id, room, code, reason, current, .. } => {
                self.refused(id, room, code, reason);
                let room = room.and_then(|room| self.memory.rooms.get_mut(&room));
                if let (Some(room), Some(current)) = (room, current) {
                    witness.probe("refused as stale");
                    room.set_key(current.version, current.public);
                }
            }
            ServerFrame::Reset { room, why } => {
                let room = self.memory.rooms.entry(room).or_default();
                match why {
                    ResetWhy::Removed => {
                        if room.opening == Opening::Open {
                            witness.probe("removed while the room was open");
                        }
                        room.close();
                    }
                    // What we have is of another log, or was made up.
                    ResetWhy::UnknownPosition => room.forget(),
                    ResetWhy::Quarantined => room.close(),
                }
            }
            ServerFrame::Bye { code, retry_after_ms, .. } => {
                if code == 4008 {
                    witness.probe("closed as slow");
                }
                self.stay_away = retry_after_ms.map(Duration::from_millis);
            }
            ServerFrame::WatchLagged { .. } | ServerFrame::Pong => {}
        }
    }

    fn answered(&mut self, id: chamberlain_core::id::RequestId, answer: Answer) {
        self.memory.queries.remove(&id);
        if let Some(at) = self.memory.pending.iter().position(|(pending, ..)| *pending == id) {
            let (_, _, times) = self.memory.pending.remove(at);
            if times > 1 {
                self.house.witness.probe("request answered after a retry");
            }
        }
        match answer {
            Answer::Outcome(Outcome::Created { room, kind, .. }) => {
                self.memory.rooms.entry(room).or_default().is_channel = kind == RoomKind::Channel;
                self.house.tell_of(room);
            }
            Answer::Rooms { rooms, .. } if self.memory.asked_for_rooms == Some(id) => {
                self.memory.asked_for_rooms = None;
                self.memory.mine = Some(rooms.iter().map(|view| (view.room, view.head)).collect());
                for view in rooms {
                    let room = self.memory.rooms.entry(view.room).or_default();
                    room.is_channel = view.kind == RoomKind::Channel;
                    room.set_key(view.key.version, view.key.public);
                }
            }
            _ => {}
        }
    }

    fn refused(
        &mut self,
        id: Option<chamberlain_core::id::RequestId>,
        room: Option<chamberlain_core::id::RoomId>,
        code: Code,
        reason: Reason,
    ) {
        if reason == Reason::RateLimited {
            self.house.witness.probe("rate limited");
        }
        let Some(id) = id else {
            // An opening that was refused.
            if let Some(room) = room.and_then(|room| self.memory.rooms.get_mut(&room))
                && room.opening == Opening::Asked
            {
                room.close();
            }
            return;
        };
        self.memory.queries.remove(&id);
        if self.memory.asked_for_rooms == Some(id) {
            self.memory.asked_for_rooms = None;
        }
        let again = matches!(code, Code::Unavailable | Code::TooManyRequests | Code::Internal);
        if !again {
            self.memory.pending.retain(|(pending, ..)| *pending != id);
        }
    }

    /// What it does first on a new connection.
    fn begin(&mut self, line: &mut Line) {
        if self.chance("retry", 85) {
            self.retry(line);
        }
        let rooms: Vec<_> = self.memory.rooms.keys().copied().collect();
        for room in rooms {
            if self.chance("reopen", 75) {
                self.open(line, room);
            }
        }
        if self.chance("look", 50) {
            let id = self.query(line, Query::Rooms);
            self.memory.asked_for_rooms = Some(id);
        }
        if self.chance("watch", 15) {
            self.send(line, ClientFrame::Watch { kinds: vec!["*".into()] });
        }
    }

    /// Opens a room from where it has it.
    pub(super) fn open(&mut self, line: &mut Line, id: chamberlain_core::id::RoomId) {
        let witness = self.house.witness.clone();
        let new = self.memory.rooms.get(&id).is_none_or(|room| room.last.0 == 0);
        let beginning = if new { self.draw("beginning", 4) } else { 0 };
        let room = self.memory.rooms.entry(id).or_default();
        if !room.opening.is_closed() {
            return;
        }
        room.opening = Opening::Asked;
        let mut open = Open { room: id, position: None, from: None, kinds: None, limit: None };
        match &room.position {
            Some(position) => {
                witness.probe("resumed with a position");
                open.position = Some(position.clone());
            }
            None if room.last.0 > 0 => {
                witness.probe("opened again with the revision alone");
                open.from = Some(room.last.next());
            }
            None => match beginning {
                1 => open.limit = Some(3),
                2 => {}
                _ => open.from = Some(chamberlain_core::id::Revision(1)),
            },
        }
        self.send(line, ClientFrame::Open(open));
    }
}
