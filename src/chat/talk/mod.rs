//! The talk: what frames and lines come to, without input or output.
//!
//! Frames and lines go in, [`Act`]s come out. A message is sealed under the room's current key; when another version won
//! meanwhile, it is sealed anew under that one, with the same message and request id.

mod hear;
mod speak;

use std::collections::{BTreeMap, VecDeque};

use chamberlain_core::id::{KeyVersion, MessageId, RequestId, Revision, RoomId, SiteId};
use chamberlain_core::keys::{Blob, BodyKind, Opener, Sealer};
use chamberlain_core::room::{Command, CurrentKey, Outcome, Reason};
use chamberlain_core::wire::{Answer, ClientFrame, Hello, Open, Query, ResetWhy, RoomView, ServerFrame};
use rand::Rng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::{Options, shown};
use crate::cli::Failure;

/// Requests that wait for their answers; lines beyond wait to be read.
const WAITING: usize = 32;
/// Messages that are remembered, to show later edits of.
const REMEMBERED: usize = 1_000;
/// Sealers whose keys are kept derived.
const SEALERS: usize = 64;
/// How often a message is sealed anew because the key changed meanwhile.
const RESEALS: u32 = 10;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Act {
    /// Send this.
    Send(ClientFrame),
    /// Show this.
    Show(String),
    /// It is over.
    End(Result<(), Failure>),
}

/// What an unanswered request is for.
enum Waiting {
    /// Finding the room.
    Find,
    /// Making the room.
    Make,
    /// Showing the members.
    Members,
    /// Something said; the text, to be sealed again.
    Said { text: String, message: MessageId, kind: BodyKind, edit: u32, at: Option<Revision>, reseals: u32 },
    /// Something taken back.
    Taken,
}

struct Request {
    id: RequestId,
    frame: ClientFrame,
    what: Waiting,
    /// The server had no room for it: send it again in a moment.
    again: bool,
}

/// A message that was seen.
struct Seen {
    revision: Revision,
    message: MessageId,
    kind: BodyKind,
    edits: u32,
}

pub(super) struct Talk {
    options: Options,
    token: Zeroizing<String>,
    rng: StdRng,
    site: Option<SiteId>,
    room: Option<RoomId>,
    open: bool,
    position: Option<Blob>,
    /// What was shown, up to here.
    covered: Revision,
    /// The head when the room was opened: what was said before is shown before it ends.
    head: Revision,
    current: Option<CurrentKey>,
    sealer: Option<Sealer>,
    openers: BTreeMap<KeyVersion, Opener>,
    seen: VecDeque<Seen>,
    requests: Vec<Request>,
    input_ended: bool,
    /// What the server refused of what was said; then the end is not a good one.
    refused: Option<String>,
    acts: Vec<Act>,
}

impl Talk {
    pub(super) fn new(options: Options, token: &str, rng: StdRng) -> Self {
        Self {
            options,
            token: Zeroizing::new(token.to_owned()),
            rng,
            site: None,
            room: None,
            open: false,
            position: None,
            covered: Revision::ZERO,
            head: Revision::ZERO,
            current: None,
            sealer: None,
            openers: BTreeMap::new(),
            seen: VecDeque::new(),
            requests: Vec::new(),
            input_ended: false,
            refused: None,
            acts: Vec::new(),
        }
    }

    /// What is to be done now.
    pub(super) fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// Whether it was in the room before.
    pub(super) fn is_known(&self) -> bool {
        self.room.is_some()
    }

    /// Whether another line may come.
    pub(super) fn takes_lines(&self) -> bool {
        self.open && self.requests.len() < WAITING
    }

    /// There is a connection.
    pub(super) fn connected(&mut self) {
        self.open = false;
        let token = self.token.to_string();
        self.send(ClientFrame::Hello(Hello { token, batch: true }));
    }

    /// The connection was closed with this code.
    pub(super) fn closed(&mut self, code: u16) {
        match code {
            4000 | 4001 | 4003 | 4009 => {
                self.end(Err(Failure::failed(format!("the server ended the connection ({code})"))))
            }
            _ => {}
        }
    }

    /// Is anybody there?
    pub(super) fn ping(&mut self) {
        self.send(ClientFrame::Ping);
    }

    /// Sends again what the server had no room for.
    pub(super) fn again(&mut self) {
        for request in self.requests.iter_mut().filter(|request| request.again) {
            request.again = false;
            self.acts.push(Act::Send(request.frame.clone()));
        }
    }

    /// A line was typed.
    pub(super) fn line(&mut self, line: &str) {
        let line = line.trim_end();
        match line.strip_prefix('/') {
            _ if line.trim().is_empty() => {}
            None => self.say(line.to_owned()),
            Some(rest) if rest.starts_with('/') => self.say(rest.to_owned()),
            Some(rest) => {
                let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                self.command(verb, rest.trim());
            }
        }
    }

    /// There will be no more lines.
    pub(super) fn input_ended(&mut self) {
        self.input_ended = true;
        self.finish();
    }

    /// A frame came.
    pub(super) fn take(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Welcome(welcome) if welcome.account != self.options.account => {
                let (token, wanted) = (welcome.account, &self.options.account);
                self.end(Err(Failure::usage(format!("the token is {token}'s, and not {wanted}'s"))));
            }
            ServerFrame::Welcome(welcome) => {
                self.site = Some(welcome.site);
                let making = self.requests.iter().position(|request| matches!(request.what, Waiting::Make));
                match (self.room, making) {
                    (Some(room), _) => self.open(room),
                    // Under the same request id, so that no second room is made.
                    (None, Some(at)) => self.send(self.requests[at].frame.clone()),
                    (None, None) => self.find(),
                }
            }
            ServerFrame::Opened { room, after, head } => {
                (self.covered, self.head) = (after, head);
                self.opened(&room);
            }
            ServerFrame::Batch { items, to, position, .. } => {
                for item in items {
                    self.item(item);
                }
                self.covers(to, position);
            }
            ServerFrame::Void { to, position, .. } => self.covers(to, position),
            ServerFrame::Key { room, version, secret, .. } => self.key(room, version, &secret),
            ServerFrame::Ok { id, answer } => self.answered(id, answer),
            ServerFrame::Error { id, reason, message, current, .. } => self.refused(id, reason, message, current),
            ServerFrame::Reset { why, .. } => self.reset(why),
            ServerFrame::Bye { reason, .. } => self.show(format!("* the server says goodbye: {reason}")),
            ServerFrame::Account { .. }
            | ServerFrame::Watched { .. }
            | ServerFrame::WatchLagged { .. }
            | ServerFrame::Pong => {}
        }
    }

    fn find(&mut self) {
        self.requests.retain(|request| !matches!(request.what, Waiting::Find));
        if let Some(account) = self.options.room.strip_prefix('@') {
            match account.parse() {
                Ok(account) => self
                    .request(|id| ClientFrame::Command { id, command: Command::CreateDm { account } }, Waiting::Make),
                Err(why) => self.end(Err(Failure::usage(format!("{:?}: {why}", self.options.room)))),
            }
        } else {
            self.request(|id| ClientFrame::Query { id, query: Query::Rooms }, Waiting::Find);
        }
    }

    fn found(&mut self, rooms: &[RoomView]) {
        let named = self.options.room.as_str();
        let fits = |room: &&RoomView| {
            let counterpart = room.counterpart.as_ref().is_some_and(|account| account.as_str() == named);
            room.room.as_str() == named || counterpart || (room.counterpart.is_none() && room.name == named)
        };
        let mut fitting = rooms.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(room), None) => self.open(room.room),
            (Some(_), Some(_)) => {
                self.end(Err(Failure::usage(format!("several rooms are called {named:?}: give the id of one"))))
            }
            (None, _) if self.options.create => {
                let name = named.to_owned();
                let command = Command::CreateChannel { name, accounts: Vec::new(), channels: Vec::new() };
                self.request(|id| ClientFrame::Command { id, command }, Waiting::Make);
            }
            (None, _) => match named.parse() {
                Ok(room) => self.open(room),
                Err(_) => {
                    let names: Vec<_> = rooms.iter().take(20).map(|room| room.name.as_str()).collect();
                    let account = &self.options.account;
                    let message = if names.is_empty() {
                        format!("{account} is in no room; --create makes the channel {named:?}")
                    } else {
                        format!(
                            "{account} is in no room {named:?}, but in: {}; --create makes the channel",
                            names.join(", ")
                        )
                    };
                    self.end(Err(Failure::failed(message)));
                }
            },
        }
    }

    fn open(&mut self, room: RoomId) {
        self.room = Some(room);
        let position = self.position.clone();
        let limit = position.is_none().then_some(self.options.last);
        self.send(ClientFrame::Open(Open { room, position, from: None, kinds: None, limit }));
    }

    fn opened(&mut self, room: &RoomView) {
        self.current = Some(room.key);
        if self.position.is_none() {
            self.show(shown::opened(room));
        }
        self.open = true;
        // What the connection before took to its grave.
        for request in &mut self.requests {
            request.again = false;
            self.acts.push(Act::Send(request.frame.clone()));
        }
    }

    fn covers(&mut self, to: Revision, position: Blob) {
        self.covered = to;
        self.position = Some(position);
        self.finish();
    }

    fn answered(&mut self, id: RequestId, answer: Answer) {
        let Some(request) = self.forget(id) else { return };
        match (request.what, answer) {
            (Waiting::Find, Answer::Rooms { rooms, .. }) => self.found(&rooms),
            (Waiting::Make, Answer::Outcome(Outcome::Created { room, .. })) => self.open(room),
            (Waiting::Members, Answer::Members { members, total, more, .. }) => {
                self.show(shown::members(&members, total, more));
            }
            _ => {}
        }
        self.finish();
    }

    fn refused(&mut self, id: Option<RequestId>, reason: Reason, message: String, current: Option<CurrentKey>) {
        let known = id.and_then(|id| self.requests.iter_mut().find(|request| request.id == id));
        if let Some(request) = known
            && matches!(reason, Reason::RateLimited | Reason::Busy)
        {
            request.again = true;
            return;
        }
        let request = id.and_then(|id| self.forget(id));
        match request.map(|request| (request.id, request.what)) {
            Some((id, Waiting::Said { text, message, kind, edit, at, reseals }))
                if reason == Reason::StaleKey && current.is_some() && reseals < RESEALS =>
            {
                self.current = current;
                if let Some(frame) = self.sealed(id, &text, message, kind, edit, at) {
                    self.send(frame.clone());
                    let what = Waiting::Said { text, message, kind, edit, at, reseals: reseals + 1 };
                    self.requests.push(Request { id, frame, what, again: false });
                }
            }
            Some((_, Waiting::Find | Waiting::Make)) => self.end(Err(Failure::failed(message))),
            Some((_, Waiting::Said { .. } | Waiting::Taken)) => {
                self.show(format!("* refused: {message}"));
                self.refused = Some(message);
            }
            Some((_, Waiting::Members)) => self.show(format!("* refused: {message}")),
            // The room could not be opened, or hello was refused.
            None if !self.open => self.end(Err(Failure::failed(message))),
            None => self.show(format!("* refused: {message}")),
        }
        self.finish();
    }

    fn reset(&mut self, why: ResetWhy) {
        self.open = false;
        match (why, self.room) {
            (ResetWhy::UnknownPosition, Some(room)) => {
                self.show(
                    "* the server does not know what was seen here: it was restored, or is another one".to_owned(),
                );
                self.position = None;
                self.open(room);
            }
            (ResetWhy::Quarantined, _) => {
                self.end(Err(Failure::failed("the room's log is damaged, and an administrator must see to it")));
            }
            _ => self.end(Err(Failure::failed(format!("{} was removed from the room", self.options.account)))),
        }
    }

    /// Ends when there is nothing left to do.
    fn finish(&mut self) {
        let caught_up = self.open && self.covered >= self.head;
        if self.input_ended && caught_up && !self.options.stay && self.requests.is_empty() {
            let refused = self.refused.take();
            self.end(
                refused.map_or(Ok(()), |message| Err(Failure::failed(format!("not everything was taken: {message}")))),
            );
        }
    }

    fn request(&mut self, frame: impl FnOnce(RequestId) -> ClientFrame, what: Waiting) {
        let id = RequestId::from_random(self.random());
        let frame = frame(id);
        self.send(frame.clone());
        self.requests.push(Request { id, frame, what, again: false });
    }

    fn forget(&mut self, id: RequestId) -> Option<Request> {
        let at = self.requests.iter().position(|request| request.id == id)?;
        Some(self.requests.remove(at))
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn send(&mut self, frame: ClientFrame) {
        self.acts.push(Act::Send(frame));
    }

    fn show(&mut self, text: String) {
        self.acts.push(Act::Show(text));
    }

    fn end(&mut self, ended: Result<(), Failure>) {
        self.acts.push(Act::End(ended));
    }
}
