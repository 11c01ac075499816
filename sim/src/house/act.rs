//! What clients do: each step one act, drawn from the tape. 0 is to do nothing.

use chamberlain_core::id::{KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Sealer};
use chamberlain_core::log::{Digest, Head, Position};
use chamberlain_core::room::{Command, Content, History, MessageContent, Role, Submit};
use chamberlain_core::wire::{ClientFrame, HistoryRange, Open, Query};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::House;
use super::acts::{Act, How, Lie};
use super::client::Cue;
use crate::plan;
use crate::tape::Actor;

/// Acts by how often they are drawn, of all together. The first is to do nothing.
const WEIGHTS: [(u64, &str); 30] = [
    (8, "nothing"),
    (4, "create"),
    (4, "dm"),
    (9, "add"),
    (7, "remove"),
    (2, "leave"),
    (3, "role"),
    (1, "rename"),
    (4, "rotate"),
    (26, "say"),
    (10, "seal"),
    (6, "edit"),
    (5, "delete"),
    (1, "edit-deleted"),
    (1, "disable"),
    (20, "open"),
    (3, "close"),
    (3, "watch"),
    (4, "mark"),
    (4, "key"),
    (5, "ask"),
    (3, "retry"),
    (2, "repeat"),
    (1, "reuse"),
    (4, "reconnect"),
    (2, "burst"),
    (4, "lie"),
    (2, "borrow"),
    (2, "exodus"),
    (2, "crowd"),
];

/// How long a client that is not connected waits before it looks again, in microseconds.
const OFFLINE: u64 = 20_000;

/// How long before all leave the second owner is made, in microseconds.
const EXODUS: u64 = 400_000;

/// Numbers taken out of one draw, so that every step draws the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        let below = below.max(1);
        let value = self.0 % below;
        self.0 /= below;
        value
    }

    fn some(&mut self) -> Vec<u8> {
        let bits = self.below(128);
        (0..plan::NAMES.len() as u8).filter(|nth| bits & (1 << nth) != 0).collect()
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == many - 1
    }
}

impl House {
    pub(super) fn client_step(&mut self, client: usize) {
        if self.clients[client].steps == 0 {
            return;
        }
        if !self.clients[client].is_on() && !self.clients[client].shut_out {
            // Nobody acts before it is connected.
            return self.cue_in(client, OFFLINE, Cue::Step);
        }
        self.clients[client].steps -= 1;
        let actor = Actor::nth("client", client as u32);
        let all: u64 = WEIGHTS.iter().map(|(weight, _)| weight).sum();
        let mut what = self.tape.draw(actor, "step", all);
        let dice = Dice(self.tape.draw(actor, "how", 1 << 48));
        let wait = 100 + self.tape.draw(actor, "think", self.knobs.think_us + 1);
        if self.clients[client].steps > 0 {
            self.cue_in(client, wait, Cue::Step);
        }
        let kind = WEIGHTS.iter().find(|(weight, _)| {
            let here = what < *weight;
            what = what.saturating_sub(*weight);
            here
        });
        let kind = kind.map_or("nothing", |(_, name)| name);
        if self.clients[client].is_on()
            && let Some(act) = self.choose(client, kind, dice)
        {
            self.act(client, act);
        }
    }

    fn choose(&mut self, client: usize, kind: &str, mut dice: Dice) -> Option<Act> {
        let found = &self.clients[client];
        let rooms: Vec<RoomId> = found
            .rooms
            .iter()
            .filter(|(_, seat)| !seat.gone || dice.0.is_multiple_of(7))
            .map(|(room, _)| *room)
            .collect();
        match kind {
            "nothing" => return None,
            "create" if self.channels < self.knobs.channels => return Some(Act::Create { others: dice.some() }),
            "create" => return None,
            "dm" => return Some(Act::Dm { other: dice.below(7) as u8, both: dice.one_in(2) }),
            "watch" => return Some(Act::Watch(!dice.one_in(4))),
            "retry" => return Some(Act::Retry),
            "repeat" => return Some(Act::Repeat(dice.below(1 << 16))),
            "reuse" => return Some(Act::Reuse(dice.below(1 << 16))),
            "reconnect" => return Some(Act::Reconnect),
            "disable" => return Some(Act::Disable(dice.below(7) as u8)).filter(|_| found.account == plan::account(5)),
            _ => {}
        }
        if rooms.is_empty() {
            let begin = self.channels < self.knobs.channels;
            return begin.then(|| Act::Create { others: dice.some() });
        }
        let room = rooms[dice.below(rooms.len() as u64) as usize];
        let seat = &found.rooms[&room];
        Some(match kind {
            "add" => Act::Add { room, none: dice.one_in(2), accounts: dice.some() },
            "remove" => {
                let members: Vec<u8> = (0..7).filter(|nth| seat.members.contains(&plan::account(*nth))).collect();
                let one = members.get(dice.below(members.len() as u64) as usize).copied();
                let accounts = if dice.one_in(4) { dice.some() } else { one.into_iter().collect() };
                Act::Remove { room, accounts }
            }
            "leave" => Act::Leave(room),
            "role" => Act::Role { room, account: dice.below(7) as u8, owner: !dice.one_in(3) },
            "rename" if dice.one_in(6) => Act::Archive(room),
            "rename" => Act::Rename(room),
            "rotate" => Act::Rotate(room),
            "say" => Act::Say { room, sealed: None, same_name: dice.one_in(12) },
            "seal" => Act::Say { room, sealed: Some(u8::from(dice.one_in(4))), same_name: dice.one_in(12) },
            "edit" => Act::Edit { room, which: dice.below(1 << 16), beside: u32::from(dice.one_in(5)) },
            "delete" => Act::Delete { room, which: dice.below(1 << 16) },
            "edit-deleted" => Act::EditDeleted(room),
            "open" => {
                let how = match dice.below(12) {
                    0..=3 => How::Resume,
                    4 | 5 => How::Now,
                    6 | 7 => How::Start,
                    8 | 9 => How::Limit(dice.below(30) as u32),
                    10 => How::Beside,
                    _ => How::Invented,
                };
                Act::Open { room, how, kinds: dice.one_in(5) }
            }
            "close" => Act::Close(room),
            "mark" => Act::MarkRead { room, beyond: dice.one_in(5) },
            "key" => Act::Key { room, version: dice.one_in(2).then(|| dice.below(5) as u32) },
            "ask" => match dice.below(3) {
                0 => Act::History(room),
                1 => Act::Members(room),
                _ => Act::Rooms,
            },
            "lie" => {
                let how = [Lie::Relabelled, Lie::Replayed, Lie::Bent][dice.below(3) as usize];
                Act::Lie { room, how, which: dice.below(1 << 16) }
            }
            "borrow" => Act::Borrow { room, which: dice.below(1 << 16) },
            "exodus" => Act::Exodus { room, stay: dice.one_in(2) },
            "crowd" => Act::Crowd { room, first: dice.below(7) as u8 },
            _ => Act::Burst(room, 3 + dice.below(20)),
        })
    }

    /// A client does something, if it can.
    pub(super) fn act(&mut self, client: usize, act: Act) {
        let Some(link) = self.clients[client].link.filter(|_| self.clients[client].welcomed) else { return };
        let accounts = |list: &[u8]| list.iter().map(|nth| plan::account(*nth)).collect();
        let command = match act {
            Act::Create { others } => {
                self.channels += 1;
                let name = format!("Hall {}", self.channels);
                Command::CreateChannel { name, accounts: accounts(&others), channels: Vec::new() }
            }
            Act::Dm { other, both } => {
                let account = plan::account(other);
                let twin = self.clients.iter().position(|one| one.account == account && one.is_on());
                if let (true, Some(twin)) = (both, twin) {
                    self.probe("room of two begun from both ends");
                    self.ask_for(twin, Command::CreateDm { account: self.clients[client].account.clone() });
                }
                Command::CreateDm { account }
            }
            Act::Add { room, accounts: named, none } => {
                let history = if none { History::None } else { History::All };
                Command::Add { room, accounts: accounts(&named), channels: Vec::new(), bots: true, history }
            }
            Act::Remove { room, accounts: named } => Command::Remove { room, accounts: accounts(&named) },
            Act::Leave(room) => Command::Remove { room, accounts: vec![self.clients[client].account.clone()] },
            Act::Role { room, account, owner } => {
                let role = if owner { Role::Owner } else { Role::Member };
                Command::SetRole { room, account: plan::account(account), role }
            }
            Act::Rename(room) => Command::Rename { room, name: format!("Tower {}", self.clients[client].asked) },
            Act::Archive(room) => Command::Archive { room },
            Act::Rotate(room) => Command::Rotate { room },
            Act::Say { room, sealed, same_name } => match self.say(client, room, sealed, same_name) {
                Some(command) => command,
                None => return,
            },
            Act::Edit { room, which, beside } => {
                let found = &self.clients[client];
                let own = found.rooms.get(&room).map_or(&[][..], |seat| &seat.messages);
                let Some((revision, edits, ..)) = pick(own, which).cloned() else { return };
                self.edit(client, room, revision, edits + 1 + beside)
            }
            Act::EditDeleted(room) => {
                let found = self.clients[client].rooms.get(&room).and_then(|seat| seat.deleted.last().copied());
                let Some((revision, edits, _)) = found else { return };
                self.probe("edit of a deleted message");
                self.edit(client, room, revision, edits + 1)
            }
            Act::Delete { room, which } => {
                let found = self.clients[client].rooms.get(&room).map_or(&[][..], |seat| &seat.messages);
                let Some((revision, ..)) = pick(found, which) else { return };
                Command::Delete { room, revision: *revision }
            }
            Act::Disable(account) => Command::DisableAccount { account: plan::account(account) },
            Act::MarkRead { room, beyond } => {
                let last = self.clients[client].rooms.get(&room).map_or(Revision::ZERO, |seat| seat.last);
                Command::MarkRead { room, revision: if beyond { last.plus(1_000) } else { last } }
            }
            Act::Open { room, how, kinds } => return self.open_as(client, room, how, kinds),
            Act::Close(room) => {
                if let Some(seat) = self.clients[client].rooms.get_mut(&room).filter(|seat| seat.open) {
                    (seat.open, seat.wanted) = (false, false);
                    self.send(link, ClientFrame::Close { room });
                }
                return;
            }
            Act::Watch(on) => {
                let kinds = if on { vec!["*".to_owned()] } else { Vec::new() };
                return self.send(link, ClientFrame::Watch { kinds });
            }
            Act::Key { room, version } => {
                return self.inquire(client, Query::Key { room, version: version.map(KeyVersion) });
            }
            Act::History(room) => {
                return self.inquire(client, Query::History { room, range: HistoryRange::Latest, limit: None });
            }
            Act::Members(room) => return self.inquire(client, Query::Members { room, after: None, limit: None }),
            Act::Rooms => return self.inquire(client, Query::Rooms),
            Act::Retry => return self.ask_again(client),
            Act::Repeat(which) => {
                let Some((id, command)) = self.settled(client, which) else { return };
                self.probe("answered request asked again");
                let frame = ClientFrame::Command { id, command };
                self.clients[client].unanswered.insert(id, frame.clone());
                return self.send(link, frame);
            }
            Act::Reuse(which) => {
                // In the same room: another room knows nothing of it.
                let Some((id, former)) = self.settled(client, which) else { return };
                let Some(room) = former.room() else { return };
                self.probe("request id reused for something else");
                let frame = ClientFrame::Command { id, command: Command::Rename { room, name: "Cellar".into() } };
                self.clients[client].unanswered.insert(id, frame.clone());
                return self.send(link, frame);
            }
            Act::Reconnect => return self.ended(client, link, None),
            Act::Lie { room, how, which } => match self.lie(client, room, how, which) {
                Some(command) => command,
                None => return,
            },
            Act::Borrow { room, which } => {
                let found = &self.clients[client];
                let seat = found.rooms.get(&room).map_or(&[][..], |seat| &seat.messages);
                let others: Vec<MessageId> =
                    seat.iter().filter(|message| message.3 != found.account).map(|message| message.2).collect();
                let text = format!("{} says it too", found.account);
                let Some(message) = pick(&others, which).copied() else { return };
                self.probe("message under a name that another sender used");
                Command::Submit(Submit { room, message, content: Content::Plain { text } })
            }
            Act::Exodus { room, stay } => return self.exodus(client, room, stay),
            Act::Crowd { room, first } => {
                self.act(client, Act::Burst(room, 2));
                for (nth, one) in self.who_is_in(room).into_iter().enumerate() {
                    let account = plan::account((first + nth as u8) % plan::NAMES.len() as u8);
                    let (channels, history) = (Vec::new(), History::All);
                    let add = Command::Add { room, accounts: vec![account], channels, bots: true, history };
                    self.ask_for(one, add);
                }
                return;
            }
            Act::Burst(room, count) => {
                for _ in 0..count {
                    if let Some(command) = self.say(client, room, None, false) {
                        self.ask_for(client, command);
                    }
                }
                return;
            }
        };
        self.ask_for(client, command);
    }

    /// The clients that are connected and in the room, as far as they know.
    fn who_is_in(&self, room: RoomId) -> Vec<usize> {
        let there = |client: &usize| {
            let found = &self.clients[*client];
            found.is_on() && found.rooms.get(&room).is_some_and(|seat| !seat.gone)
        };
        (0..self.clients.len()).filter(there).collect()
    }

    fn exodus(&mut self, client: usize, room: RoomId, stay: bool) {
        let own = self.clients[client].account.clone();
        let twin = self.who_is_in(room).into_iter().find(|one| self.clients[*one].account != own);
        let Some(twin) = twin else { return };
        let account = self.clients[twin].account.clone();
        self.ask_for(client, Command::SetRole { room, account, role: Role::Owner });
        self.later(EXODUS, move |house| {
            if house.healed || !house.clients[client].is_on() {
                return;
            }
            house.probe("owners leave at once");
            house.act(client, Act::Burst(room, 2));
            for one in [client, twin] {
                let account = house.clients[one].account.clone();
                let command = match stay {
                    true => Command::SetRole { room, account, role: Role::Member },
                    false => Command::Remove { room, accounts: vec![account] },
                };
                house.ask_for(one, command);
            }
        });
    }

    /// An envelope that the server must not believe.
    fn lie(&mut self, client: usize, room: RoomId, how: Lie, which: u64) -> Option<Command> {
        let said = &mut self.clients[client].said;
        *said += 1;
        let message = message_id(client, *said);
        let envelope = match how {
            Lie::Relabelled => {
                let publics = &self.clients[client].rooms.get(&room)?.publics;
                let (version, _) = publics.last_key_value()?;
                let (version, public) = (*version, *publics.iter().rev().nth(1)?.1);
                let mut rng = ChaCha20Rng::from_seed(self.fresh());
                let mut sealer = Sealer::new(&plan::site(), room, version, &public, &mut rng).ok()?;
                let sender = &self.clients[client].account;
                let claim = Claim { room, version, kind: BodyKind::Message, sender, message, edit: 0 };
                sealer.seal(&claim, &MessageContent { text: "a lie".to_owned() }.to_bytes()).ok()?
            }
            Lie::Replayed | Lie::Bent => {
                let all = self.clients.iter().flat_map(|client| &client.done);
                let sealed = all.filter_map(|(_, command)| match command {
                    Command::Submit(Submit { room: there, content: Content::Sealed(envelope), .. }) => {
                        (*there == room).then_some(envelope)
                    }
                    _ => None,
                });
                let last: Vec<_> = sealed.collect();
                let mut envelope = (*pick(&last, which)?).clone();
                if how == Lie::Bent {
                    let mut bytes = envelope.ciphertext.to_vec();
                    *bytes.last_mut()? ^= 1;
                    envelope.ciphertext = bytes.into();
                }
                envelope
            }
        };
        self.probe("envelope that lies");
        Some(Command::Submit(Submit { room, message, content: Content::Sealed(envelope) }))
    }

    /// A client says much at once, in the first of its rooms.
    pub(super) fn burst(&mut self, client: usize, count: u64) {
        let room = self.clients[client].rooms.iter().find(|(_, seat)| !seat.gone).map(|(room, _)| *room);
        if let Some(room) = room {
            self.act(client, Act::Burst(room, count));
        }
    }

    fn say(&mut self, client: usize, room: RoomId, sealed: Option<u8>, same_name: bool) -> Option<Command> {
        let found = &mut self.clients[client];
        found.said += u64::from(!same_name || found.said == 0);
        let message = message_id(client, found.said);
        let text = format!("{} says the {}th thing", found.account, found.asked);
        let content = match sealed {
            None => Content::Plain { text },
            Some(late) => self.seal(client, room, late, message, 0, &text)?,
        };
        Some(Command::Submit(Submit { room, message, content }))
    }

    /// One of the requests that were carried out, and that nothing is asked under now.
    fn settled(&self, client: usize, which: u64) -> Option<(RequestId, Command)> {
        let found = &self.clients[client];
        pick(&found.done, which).filter(|(id, _)| !found.unanswered.contains_key(id)).cloned()
    }

    fn edit(&mut self, client: usize, room: RoomId, revision: Revision, edit: u32) -> Command {
        let text = format!("edit {edit} by {}", self.clients[client].account);
        Command::Edit { room, revision, edit, content: Content::Plain { text } }
    }

    /// Seals under a key that really came, or one before it.
    fn seal(
        &mut self,
        client: usize,
        room: RoomId,
        late: u8,
        message: MessageId,
        edit: u32,
        text: &str,
    ) -> Option<Content> {
        let publics = &self.clients[client].rooms.get(&room)?.publics;
        let (version, public) = publics.iter().rev().nth(late.into()).or(publics.first_key_value())?;
        let (version, public) = (*version, *public);
        if !self.clients[client].sealers.contains_key(&(room, version)) {
            let mut rng = ChaCha20Rng::from_seed(self.fresh());
            let sealer = Sealer::new(&plan::site(), room, version, &public, &mut rng).ok()?;
            self.clients[client].sealers.insert((room, version), sealer);
        }
        let found = &mut self.clients[client];
        let sender = &found.account;
        let claim = Claim { room, version, kind: BodyKind::Message, sender, message, edit };
        let sealer = found.sealers.get_mut(&(room, version))?;
        Some(Content::Sealed(sealer.seal(&claim, &MessageContent { text: text.to_owned() }.to_bytes()).ok()?))
    }

    fn open_as(&mut self, client: usize, room: RoomId, how: How, kinds: bool) {
        let Some(link) = self.clients[client].link else { return };
        let keys = self.story.keys.clone();
        let seat = self.clients[client].rooms.entry(room).or_default();
        if seat.asked || seat.open {
            return;
        }
        if how == How::Resume {
            return self.reopen(client, room);
        }
        // Before the first revision there is nothing that it could be beside of.
        let how = if how == How::Beside && seat.last == Revision::ZERO { How::Now } else { how };
        (seat.asked, seat.wanted) = (true, true);
        let kinds = kinds.then(|| vec!["message".to_owned(), "edited".to_owned()]);
        let (position, from, limit) = match how {
            How::Resume | How::Now => (None, None, None),
            How::Start => (None, Some(Revision(1)), None),
            How::Limit(limit) => (None, None, Some(limit)),
            How::Invented => (Some(Blob::from(vec![7; 57])), None, None),
            How::Beyond | How::Beside => {
                let ahead = if how == How::Beyond { 1_000 } else { 0 };
                let head = Head { revision: seat.last.plus(ahead), digest: Digest([9; 32]) };
                (Some(Position { room, head }.to_blob(&keys)), None, None)
            }
        };
        self.send(link, ClientFrame::Open(Open { room, position, from, kinds, limit }));
    }
}

fn pick<T>(all: &[T], which: u64) -> Option<&T> {
    all.get((which % all.len().max(1) as u64) as usize)
}

fn message_id(client: usize, nth: u64) -> MessageId {
    format!("m{client:03}x{nth:015}").parse().expect("twenty letters and digits")
}
