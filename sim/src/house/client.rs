//! A client: one program of one person. It verifies nothing; it keeps a view, asks again what was not answered, and comes
//! back to where it was.

use std::collections::{BTreeMap, BTreeSet};

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind, RoomPublic, Sealer};
use chamberlain_core::room::{Code, Command, Event as Happened, Outcome, Reason};
use chamberlain_core::wire::{
    AccountChange, Answer, ClientFrame, Codec, Hello, Item, Open, Query, ResetWhy, ServerFrame,
};

use super::{Event, House};
use crate::story::{ClientId, LinkId, Seen};
use crate::tape::Actor;

/// Silence after which a client says ping, and after which it gives the connection up, in microseconds.
const SILENCE: (u64, u64) = (2_000_000, 6_000_000);
/// How often it looks.
const LOOKS: u64 = 1_000_000;
/// How often it looks what is left to do at the end.
const SETTLES: u64 = 400_000;
/// How long a client waits for an answer before it asks again over the same connection, in microseconds.
const PATIENT: u64 = 4_000_000;

/// A client.
pub(super) struct Client {
    pub(super) account: AccountId,
    pub(super) codec: Codec,
    pub(super) batch: bool,
    pub(super) link: Option<LinkId>,
    pub(super) welcomed: bool,
    /// It was told to stay away.
    pub(super) shut_out: bool,
    pub(super) rooms: BTreeMap<RoomId, Seat>,
    pub(super) unanswered: BTreeMap<RequestId, ClientFrame>,
    /// When each of those is asked again over the same connection: an answer may only be slow to come.
    again: BTreeMap<RequestId, u64>,
    /// What was carried out, to be asked again or otherwise.
    pub(super) done: Vec<(RequestId, Command)>,
    pub(super) steps: u64,
    pub(super) asked: u64,
    pub(super) said: u64,
    pub(super) sealers: BTreeMap<(RoomId, KeyVersion), Sealer>,
    heard: u64,
    /// The last connection ended because this client was slow.
    was_slow: bool,
    retry_after: u64,
    waits: bool,
}

/// A room as a client sees it.
#[derive(Default)]
pub(super) struct Seat {
    pub(super) open: bool,
    /// An opening was asked for and not answered.
    pub(super) asked: bool,
    /// To be opened again after a reconnect.
    pub(super) wanted: bool,
    /// The last revision that came, of this opening or one before.
    pub(super) last: Revision,
    pub(super) position: Blob,
    /// The public halves of the keys that came.
    pub(super) publics: BTreeMap<KeyVersion, RoomPublic>,
    /// Messages that came, and how many edits of each.
    pub(super) messages: Vec<(Revision, u32, MessageId, AccountId)>,
    pub(super) deleted: Vec<(Revision, u32, MessageId)>,
    pub(super) members: BTreeSet<AccountId>,
    pub(super) gone: bool,
    /// An opening was refused, not for now but altogether.
    refused: bool,
}

/// What a client is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cue {
    /// The next of its steps.
    Step,
    /// Connect, unless it is connected.
    Connect,
    /// Look whether the other end is still there.
    Look,
    /// At the end: whatever is left to be done.
    Settle,
}

/// A client's name in the story.
pub(super) fn id(client: usize) -> ClientId {
    ClientId(client as u32)
}

impl Client {
    pub(super) fn new(account: AccountId, codec: Codec, batch: bool, steps: u64) -> Self {
        Self {
            account,
            codec,
            batch,
            link: None,
            welcomed: false,
            shut_out: false,
            rooms: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            again: BTreeMap::new(),
            done: Vec::new(),
            steps,
            asked: 0,
            said: 0,
            sealers: BTreeMap::new(),
            heard: 0,
            was_slow: false,
            retry_after: 0,
            waits: false,
        }
    }

    /// Whether it may send.
    pub(super) fn is_on(&self) -> bool {
        self.link.is_some() && self.welcomed
    }
}

impl House {
    pub(super) fn cue(&mut self, client: usize, what: Cue) {
        match what {
            Cue::Step => self.client_step(client),
            Cue::Connect => self.client_connect(client),
            Cue::Look => self.client_look(client),
            Cue::Settle => self.client_settle(client),
        }
    }

    pub(super) fn cue_in(&mut self, client: usize, micros: u64, what: Cue) {
        self.schedule(self.now + micros, Event::Client { client, what });
    }

    fn client_connect(&mut self, client: usize) {
        self.clients[client].waits = false;
        if self.clients[client].link.is_some() || self.clients[client].shut_out {
            return;
        }
        let actor = Actor::nth("client", client as u32);
        let node = self.tape.draw(actor, "node", self.nodes.len() as u64) as usize;
        // Whoever finds a node away tries the next one.
        let nodes = self.nodes.len();
        let reachable = |node: &usize| self.nodes[*node].up && !self.nodes[*node].clients_cut;
        let Some(node) = (node..node + nodes).map(|node| node % nodes).find(reachable) else {
            return self.connect_in(client, 200_000);
        };
        let found = &mut self.clients[client];
        let (account, codec, batch) = (found.account.clone(), found.codec, found.batch);
        found.welcomed = false;
        found.heard = self.now;
        let hello = ClientFrame::Hello(Hello { token: account.as_str().to_owned(), batch });
        let link = self.connect(client, node, hello);
        self.clients[client].link = Some(link);
        let (client, node) = (id(client), super::node::id(node));
        self.note(Seen::Connected { link, client, account, node, codec, batch });
    }

    fn connect_in(&mut self, client: usize, micros: u64) {
        if !std::mem::replace(&mut self.clients[client].waits, true) {
            self.cue_in(client, micros, Cue::Connect);
        }
    }

    /// The connection is over, as its client sees it.
    pub(super) fn ended(&mut self, client: usize, link: LinkId, code: Option<u16>) {
        if self.clients[client].link != Some(link) {
            return;
        }
        self.note(Seen::Ended { link, code });
        self.client_gone(link);
        let found = &mut self.clients[client];
        found.link = None;
        found.welcomed = false;
        found.was_slow = code == Some(4008);
        // Once all is well, who has too many connections has them.
        found.shut_out |= code == Some(4003) || (code == Some(4009) && self.healed);
        for seat in found.rooms.values_mut() {
            seat.open = false;
            seat.asked = false;
        }
        // A client that was asked to come back later does so.
        let crowded = if code == Some(4009) { 1_000_000 } else { 0 };
        let wait = 5_000 + crowded + std::mem::take(&mut found.retry_after).min(3_000_000);
        let jitter = self.tape.draw(Actor::nth("client", client as u32), "reconnect", 300_000);
        self.connect_in(client, wait + jitter);
    }

    /// A client that hears nothing says something, and gives up in the end.
    fn client_look(&mut self, client: usize) {
        self.cue_in(client, LOOKS, Cue::Look);
        let Some(link) = self.clients[client].link else { return };
        let silent = self.now - self.clients[client].heard;
        if silent > SILENCE.1 {
            self.ended(client, link, None);
        } else if silent > SILENCE.0 && self.clients[client].welcomed {
            self.send(link, ClientFrame::Ping);
        }
    }

    /// A frame came.
    pub(super) fn frame_came(&mut self, client: usize, link: LinkId, frame: ServerFrame) {
        if self.clients[client].link != Some(link) {
            return;
        }
        self.look_for_probes(&frame);
        self.note(Seen::Came { link, frame: frame.clone() });
        self.clients[client].heard = self.now;
        match frame {
            ServerFrame::Welcome(_) => self.welcomed(client),
            ServerFrame::Opened { room, after, .. } => {
                let found = &mut self.clients[client];
                let seat = found.rooms.entry(room.room).or_default();
                let resumed = after > Revision::ZERO && after == seat.last;
                (seat.open, seat.asked, seat.wanted, seat.gone) = (true, false, true, false);
                (seat.refused, seat.last) = (false, after);
                if resumed && std::mem::take(&mut found.was_slow) {
                    self.probe("slow connection closed and resumed");
                }
            }
            ServerFrame::Batch { room, to, items, position, .. } => {
                let seat = self.clients[client].rooms.entry(room).or_default();
                (seat.last, seat.position) = (to, position);
                items.iter().for_each(|item| seat.take(item));
            }
            ServerFrame::Void { room, to, position, .. } => {
                let seat = self.clients[client].rooms.entry(room).or_default();
                (seat.last, seat.position) = (to, position);
            }
            ServerFrame::Key { room, version, public, .. } => {
                self.clients[client].rooms.entry(room).or_default().publics.insert(version, public);
            }
            ServerFrame::Account { event, .. } => match event {
                AccountChange::Joined { room, .. } => {
                    let seat = self.clients[client].rooms.entry(room).or_default();
                    (seat.gone, seat.refused) = (false, false);
                    if self.knobs.eager && !seat.open && !seat.asked {
                        self.reopen(client, room);
                    }
                }
                AccountChange::Left { room, .. } => {
                    self.clients[client].rooms.entry(room).or_default().gone = true;
                }
            },
            ServerFrame::Ok { id, answer } => self.answered(client, id, &answer),
            ServerFrame::Error { id: Some(id), code, reason, .. } => {
                // What may be asked again is, sooner or later.
                let again = matches!(code, Code::Unavailable | Code::TooManyRequests) && reason != Reason::Quarantined;
                if again {
                    self.clients[client].again.insert(id, self.now);
                } else {
                    self.clients[client].unanswered.remove(&id);
                }
            }
            ServerFrame::Error { room: Some(room), code, .. } => {
                let seat = self.clients[client].rooms.entry(room).or_default();
                seat.asked = false;
                seat.refused = code != Code::Unavailable;
                seat.wanted &= !seat.refused;
            }
            ServerFrame::Reset { room, why } => {
                let seat = self.clients[client].rooms.entry(room).or_default();
                (seat.open, seat.asked) = (false, false);
                seat.wanted = why == ResetWhy::UnknownPosition;
                // From the beginning, then.
                (seat.last, seat.position) = (Revision::ZERO, Blob::default());
            }
            ServerFrame::Bye { retry_after_ms, .. } => {
                self.clients[client].retry_after = retry_after_ms.unwrap_or(0) * 1_000;
            }
            _ => {}
        }
    }

    fn welcomed(&mut self, client: usize) {
        self.clients[client].welcomed = true;
        let rooms = self.clients[client].rooms.iter();
        let wanted: Vec<RoomId> = rooms.filter(|(_, seat)| seat.wanted).map(|(room, _)| *room).collect();
        for room in wanted {
            self.reopen(client, room);
        }
        self.ask_again(client);
    }

    /// What was not answered, once more under the same id.
    pub(super) fn ask_again(&mut self, client: usize) {
        let all = self.clients[client].unanswered.keys().copied().collect();
        self.repeat(client, all);
    }

    /// What was refused for now, or was not answered for long; so many of it.
    fn ask_again_in_time(&mut self, client: usize, most: usize) {
        let now = self.now;
        let Client { unanswered, again, .. } = &mut self.clients[client];
        let due = unanswered.keys().filter(|id| *again.entry(**id).or_insert(now + PATIENT) <= now);
        let due = due.take(most).copied().collect();
        self.repeat(client, due);
    }

    fn repeat(&mut self, client: usize, requests: Vec<RequestId>) {
        let Some(link) = self.clients[client].link.filter(|_| self.clients[client].welcomed) else { return };
        for id in requests {
            let Some(frame) = self.clients[client].unanswered.get(&id).cloned() else { continue };
            self.clients[client].again.insert(id, self.now + PATIENT);
            self.probe("request asked again");
            self.send(link, frame);
        }
    }

    /// Opens a room where this client left it.
    pub(super) fn reopen(&mut self, client: usize, room: RoomId) {
        let Some(link) = self.clients[client].link.filter(|_| self.clients[client].welcomed) else { return };
        let seat = self.clients[client].rooms.entry(room).or_default();
        if seat.open || seat.asked {
            return;
        }
        (seat.asked, seat.wanted) = (true, true);
        let kept = !self.knobs.forgetful;
        let position = Some(seat.position.clone()).filter(|position| kept && !position.is_empty());
        let from = position.is_none().then(|| if kept { seat.last.next() } else { Revision(1) });
        self.send(link, ClientFrame::Open(Open { room, position, from, kinds: None, limit: None }));
    }

    fn answered(&mut self, client: usize, id: RequestId, answer: &Answer) {
        let found = &mut self.clients[client];
        if let Some(ClientFrame::Command { command, .. }) = found.unanswered.remove(&id) {
            found.done.push((id, command));
        }
        if let Answer::Outcome(Outcome::Created { room, exists, .. }) = answer {
            found.rooms.entry(*room).or_default();
            if *exists {
                self.probe("room of two existed");
            }
            if self.knobs.eager {
                self.reopen(client, *room);
            }
        }
    }

    /// At the end: connect, open everything that the account is in, ask again what was not answered.
    fn client_settle(&mut self, client: usize) {
        if !self.healed {
            return;
        }
        self.cue_in(client, SETTLES, Cue::Settle);
        if self.clients[client].link.is_none() {
            return self.connect_in(client, 10_000);
        }
        if !self.clients[client].welcomed {
            return;
        }
        let closed = self.clients[client]
            .rooms
            .iter()
            .filter(|(_, seat)| !seat.gone && !seat.refused && !seat.open && !seat.asked);
        for room in closed.map(|(room, _)| *room).collect::<Vec<_>>() {
            self.reopen(client, room);
        }
        self.ask_again_in_time(client, 4);
    }

    /// Asks for something under a new request id.
    pub(super) fn ask_for(&mut self, client: usize, command: Command) -> Option<RequestId> {
        let link = self.clients[client].link.filter(|_| self.clients[client].welcomed)?;
        let request = self.next_request(client);
        let frame = ClientFrame::Command { id: request, command };
        self.clients[client].unanswered.insert(request, frame.clone());
        self.send(link, frame);
        Some(request)
    }

    pub(super) fn inquire(&mut self, client: usize, query: Query) {
        let Some(link) = self.clients[client].link.filter(|_| self.clients[client].welcomed) else { return };
        let id = self.next_request(client);
        let frame = ClientFrame::Query { id, query };
        self.clients[client].unanswered.insert(id, frame.clone());
        self.send(link, frame);
    }

    fn next_request(&mut self, client: usize) -> RequestId {
        let asked = &mut self.clients[client].asked;
        *asked += 1;
        crate::plan::request_id(((client as u64) << 32) | *asked)
    }
}

impl Seat {
    fn take(&mut self, item: &Item) {
        match &item.event {
            Happened::Message { kind: BodyKind::Message, message, .. } => {
                self.messages.push((item.revision, 0, *message, item.account.clone()));
            }
            Happened::Edited { revision, edit, .. } => {
                let found = self.messages.iter_mut().find(|(at, ..)| at == revision);
                found.into_iter().for_each(|(_, edits, ..)| *edits = *edit);
            }
            Happened::Deleted { revision } => {
                if let Some(at) = self.messages.iter().position(|(found, ..)| found == revision) {
                    let (revision, edits, message, _) = self.messages.remove(at);
                    self.deleted.push((revision, edits, message));
                }
            }
            Happened::MembersAdded { accounts, .. } => self.members.extend(accounts.iter().cloned()),
            Happened::MembersRemoved { accounts } => {
                accounts.iter().for_each(|account| drop(self.members.take(account)));
            }
            _ => {}
        }
    }
}
