//! What a client does next, out of its own will.

use std::time::Duration;

use chamberlain_core::id::{MessageId, Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::room::{Command, Content, History, Role, Submit};
use chamberlain_core::wire::{ClientFrame, HistoryRange, Open, Query};
use rand::RngExt;

use super::memory::Opening;
use super::{Client, Line, Turn};
use crate::house::Phase;

/// Requests that a client has open at the same time, at most.
const PENDING: usize = 30;
/// Rooms that a client begins, at most.
const ROOMS: usize = 5;

/// What a client may do, and how often; the first is nothing.
const STEPS: &[(Step, u32)] = &[
    (Step::Nothing, 60),
    (Step::Say, 250),
    (Step::Seal, 150),
    (Step::Burst, 25),
    (Step::Edit, 50),
    (Step::Delete, 35),
    (Step::Open, 90),
    (Step::Close, 30),
    (Step::Mark, 40),
    (Step::Channel, 35),
    (Step::Dm, 20),
    (Step::Add, 55),
    (Step::Remove, 45),
    (Step::Role, 15),
    (Step::Rename, 15),
    (Step::Rotate, 15),
    (Step::Archive, 2),
    (Step::Ask, 50),
    (Step::Ping, 10),
    (Step::Invent, 8),
    (Step::Trespass, 10),
    (Step::Nap, 15),
    (Step::Vanish, 20),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Say,
    Seal,
    Burst,
    Edit,
    Delete,
    Open,
    Close,
    Mark,
    Channel,
    Dm,
    Add,
    Remove,
    Role,
    Rename,
    Rotate,
    Archive,
    Ask,
    Ping,
    Invent,
    Trespass,
    Nap,
    Vanish,
}

impl Client {
    /// Does something.
    pub(super) fn step(&mut self, line: &mut Line) -> Turn {
        if !self.welcomed {
            return Turn::On;
        }
        if self.house.phase() != Phase::Working {
            self.catch_up(line);
            return Turn::On;
        }
        let total: u32 = STEPS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.draw("step", total.into()) as u32;
        let step = STEPS.iter().find(|(_, weight)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        });
        let step = step.map_or(Step::Nothing, |(step, _)| *step);
        match step {
            Step::Nap | Step::Vanish => return self.leave(step),
            _ if self.memory.pending.len() >= PENDING || line.waiting() > 50 => self.retry_one(line),
            _ => self.act(step, line),
        }
        Turn::On
    }

    /// Does something to its connection, where the plan says that such things happen.
    fn leave(&mut self, step: Step) -> Turn {
        let armed = self.house.plan.armed;
        let witness = self.house.witness.clone();
        if step == Step::Nap {
            if !self.is_armed(armed.slow) {
                return Turn::On;
            }
            let ms = 200 + self.draw("nap", 12_000);
            witness.fault(format!("client {} reads nothing for {ms} ms", self.id.0));
            return Turn::Nap(Duration::from_millis(ms));
        }
        let mut ways =
            vec![(Turn::Close, "closes its connection", None), (Turn::Drop, "lets go of its connection", None)];
        if self.is_armed(armed.reset) {
            ways.push((Turn::Reset, "resets its connection", Some("connection reset")));
        }
        if self.is_armed(armed.silence) {
            ways.push((Turn::Lose, "vanishes without a word", Some("connection lost in silence")));
        }
        if self.is_armed(armed.half_close) {
            ways.push((Turn::HalfClose, "closes half of its connection", Some("half closed")));
        }
        let at = self.draw("vanish", ways.len() as u64) as usize;
        let (turn, words, probe) = ways.swap_remove(at);
        witness.fault(format!("client {} {words}", self.id.0));
        if let Some(probe) = probe {
            witness.probe(probe);
        }
        turn
    }

    fn act(&mut self, step: Step, line: &mut Line) {
        match step {
            Step::Nothing | Step::Nap | Step::Vanish => {}
            Step::Ping => self.send(line, ClientFrame::Ping),
            Step::Channel if self.memory.rooms.len() < ROOMS => {
                let count = self.draw("people", 4) as usize;
                let accounts = (0..count).map(|_| self.somebody()).collect();
                let name = format!("room of {} {}", self.id.0, self.draw("name", 1_000));
                self.command(line, Command::CreateChannel { name, accounts, channels: Vec::new() });
            }
            Step::Dm => {
                let account = self.somebody();
                self.command(line, Command::CreateDm { account });
            }
            Step::Trespass => {
                let rooms = self.house.rooms();
                if let Some(room) = self.one_of(&rooms) {
                    self.open(line, room);
                }
            }
            step => {
                let rooms: Vec<RoomId> = self.memory.rooms.keys().copied().collect();
                if let Some(room) = self.one_of(&rooms) {
                    self.act_in(step, room, line);
                }
            }
        }
    }

    fn act_in(&mut self, step: Step, room: RoomId, line: &mut Line) {
        match step {
            Step::Say => self.say(line, room),
            Step::Seal => self.say_sealed(line, room),
            Step::Burst => {
                for _ in 0..3 + self.draw("burst", 12) {
                    self.say(line, room);
                }
            }
            Step::Edit => self.edit(line, room),
            Step::Delete => {
                if let Some((revision, ..)) = self.some_message(room, false) {
                    self.house.witness.probe("message deleted");
                    self.command(line, Command::Delete { room, revision });
                }
            }
            Step::Open => self.open(line, room),
            Step::Close => {
                if let Some(known) = self.memory.rooms.get_mut(&room).filter(|known| known.opening == Opening::Open) {
                    known.close();
                    self.send(line, ClientFrame::Close { room });
                }
            }
            Step::Mark => {
                let revision = self.memory.rooms[&room].last;
                if revision > Revision::ZERO {
                    self.command(line, Command::MarkRead { room, revision });
                }
            }
            Step::Add => {
                let accounts = (0..=self.draw("people", 2)).map(|_| self.somebody()).collect();
                let history = self.house.witness.pick(self.actor, "history", &[History::All, History::None]);
                let command = Command::Add { room, accounts, channels: Vec::new(), bots: false, history };
                self.command(line, command);
            }
            Step::Remove => {
                let account = if self.chance("leave", 25) { self.account.clone() } else { self.member(room) };
                self.command(line, Command::Remove { room, accounts: vec![account] });
            }
            Step::Role => {
                let account = self.member(room);
                let role = self.house.witness.pick(self.actor, "role", &[Role::Owner, Role::Member]);
                self.command(line, Command::SetRole { room, account, role });
            }
            Step::Rename => {
                let name = format!("renamed {}", self.draw("name", 1_000));
                self.command(line, Command::Rename { room, name });
            }
            Step::Rotate => self.command(line, Command::Rotate { room }),
            Step::Archive => self.command(line, Command::Archive { room }),
            Step::Ask => self.ask(line, room),
            Step::Invent => self.invent(line, room),
            _ => {}
        }
    }

    fn one_of<T: Clone>(&self, all: &[T]) -> Option<T> {
        let at = self.draw("which", all.len() as u64) as usize;
        all.get(at).cloned()
    }

    fn somebody(&self) -> chamberlain_core::id::AccountId {
        self.one_of(&self.house.accounts).unwrap_or_else(|| self.account.clone())
    }

    /// Somebody who is in a room, as far as is known.
    fn member(&self, room: RoomId) -> chamberlain_core::id::AccountId {
        let people: Vec<_> = self.memory.rooms[&room].people.iter().cloned().collect();
        self.one_of(&people).unwrap_or_else(|| self.somebody())
    }

    fn words(&self) -> String {
        let len = self.house.witness.pick(self.actor, "length", &[20_usize, 3, 200, 3_000]);
        let mut text = format!("{} says {} ", self.account, self.draw("words", 10_000));
        while text.len() < len {
            text.push_str("and on ");
        }
        text
    }

    fn message_id(&mut self) -> MessageId {
        MessageId::from_digest(&self.rng.random())
    }

    fn say(&mut self, line: &mut Line, room: RoomId) {
        let (message, text) = (self.message_id(), self.words());
        self.command(line, Command::Submit(Submit { room, message, content: Content::Plain { text } }));
    }

    fn say_sealed(&mut self, line: &mut Line, room: RoomId) {
        let (message, text) = (self.message_id(), self.words());
        if let Some(content) = self.seal(room, message, 0, &text) {
            self.house.witness.probe("client sealed a message");
            self.command(line, Command::Submit(Submit { room, message, content }));
        }
    }

    fn seal(&mut self, room: RoomId, message: MessageId, edit: u32, text: &str) -> Option<Content> {
        let site = self.memory.site.clone()?;
        let known = self.memory.rooms.get_mut(&room)?;
        known.seal(&site, room, (&self.account, message, edit), text, &mut self.rng)
    }

    /// A message of a room; one's own unless anybody's will do.
    fn some_message(&self, room: RoomId, own: bool) -> Option<(Revision, MessageId, u32)> {
        let known = self.memory.rooms.get(&room)?;
        let messages = known.messages.iter().filter(|message| !message.deleted);
        let messages = messages.filter(|message| !own || message.sender == self.account);
        let messages: Vec<_> = messages.map(|message| (message.revision, message.name, message.edits)).collect();
        self.one_of(&messages)
    }

    fn edit(&mut self, line: &mut Line, room: RoomId) {
        let Some((revision, message, edits)) = self.some_message(room, true) else { return };
        self.house.witness.probe("message edited");
        let (edit, text) = (edits + 1, self.words());
        let content = if self.chance("sealed", 50) { self.seal(room, message, edit, &text) } else { None };
        let content = content.unwrap_or(Content::Plain { text });
        self.command(line, Command::Edit { room, revision, edit, content });
    }

    fn ask(&mut self, line: &mut Line, room: RoomId) {
        let query = match self.draw("question", 4) {
            0 => Query::Members { room, after: None, limit: None },
            1 => Query::Key { room, version: None },
            2 => Query::History { room, range: HistoryRange::Latest, limit: Some(20) },
            _ => {
                let head = self.memory.rooms[&room].last;
                let around = Revision(self.draw("around", head.0 + 2));
                Query::History { room, range: HistoryRange::Around(around), limit: None }
            }
        };
        self.query(line, query);
    }

    /// Opens a room with a position that nobody gave it.
    fn invent(&mut self, line: &mut Line, room: RoomId) {
        if !self.memory.rooms[&room].opening.is_closed() {
            return;
        }
        self.house.witness.probe("a position was invented");
        let position = match self.memory.rooms[&room].position.clone() {
            // A genuine one with one bit turned.
            Some(position) if self.chance("bend", 50) => {
                let mut bytes = position.to_vec();
                let at = self.rng.random_range(0..bytes.len());
                bytes[at] ^= 1;
                Blob::from(bytes)
            }
            _ => Blob::from(self.rng.random::<[u8; 48]>().to_vec()),
        };
        if let Some(known) = self.memory.rooms.get_mut(&room) {
            known.opening = Opening::Asked;
        }
        self.send(
            line,
            ClientFrame::Open(Open { room, position: Some(position), from: None, kinds: None, limit: None }),
        );
    }

    /// Asks again for one thing that was not answered.
    fn retry_one(&mut self, line: &mut Line) {
        if line.waiting() > 50 {
            return;
        }
        if let Some((id, command, times)) = self.memory.pending.first_mut() {
            *times += 1;
            let frame = ClientFrame::Command { id: *id, command: command.clone() };
            self.send(line, frame);
        }
    }

    /// Has everything answered, and every room open and covered to its head.
    fn catch_up(&mut self, line: &mut Line) {
        if line.waiting() == 0 && self.memory.asked_for_rooms.is_none() {
            if let Some(mine) = &self.memory.mine {
                let there = mine.iter().all(|(room, head)| {
                    let known = self.memory.rooms.get(room);
                    known.is_some_and(|known| known.opening == Opening::Open && known.last >= *head)
                });
                self.house.set_caught_up(self.id.0, there && self.memory.pending.is_empty());
                let closed: Vec<RoomId> = mine
                    .keys()
                    .filter(|room| self.memory.rooms.get(room).is_none_or(|known| known.opening.is_closed()))
                    .copied()
                    .collect();
                closed.into_iter().for_each(|room| self.open(line, room));
            }
            let id = self.query(line, Query::Rooms);
            self.memory.asked_for_rooms = Some(id);
            self.retry(line);
        }
    }
}
