//! The talk: what frames and lines come to, without input or output.
//!
//! Frames and lines go in, [`Act`]s come out. A message is sealed under the room's current key; when another version won
//! meanwhile, it is sealed anew under that one, with the same message and request id.

use std::collections::{BTreeMap, VecDeque};

use chamberlain_core::id::{KeyVersion, MessageId, RequestId, Revision, RoomId, SiteId};
use chamberlain_core::keys::{Blob, BodyKind, Claim, Opener, RoomSecret, Sealer};
use chamberlain_core::room::{Command, Content, CurrentKey, Event, MessageContent, Outcome, Reason, Submit};
use chamberlain_core::wire::{Answer, ClientFrame, Hello, Item, Open, Query, ResetWhy, RoomView, ServerFrame};
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

    fn key(&mut self, room: RoomId, version: KeyVersion, secret: &[u8]) {
        let secret = secret.try_into().ok().and_then(|bytes| RoomSecret::from_bytes(bytes).ok());
        match (secret, &self.site) {
            (Some(secret), Some(site)) if Some(room) == self.room => {
                self.openers.insert(version, Opener::new(site, room, version, secret, SEALERS));
            }
            _ => self.show(format!("* the key of version {version} makes no sense")),
        }
    }

    fn item(&mut self, item: Item) {
        let Item { revision, time, account, event, body } = item;
        match event {
            Event::Message { message, kind, version, .. } => {
                let seen = Seen { revision, message, kind, edits: 0 };
                let text = match &body {
                    None => "(taken back)".to_owned(),
                    Some(envelope) => self.text(&seen, &account, envelope, 0),
                };
                if self.seen.len() == REMEMBERED {
                    self.seen.pop_front();
                }
                self.seen.push_back(seen);
                let line = match kind {
                    BodyKind::Message => shown::said(revision, version, time, &account, &text),
                    BodyKind::System => format!("* {}", crate::cli::output::shown(&text)),
                };
                self.show(line);
            }
            Event::Edited { revision: of, edit, version } => {
                let text = match (self.seen.iter().position(|seen| seen.revision == of), &body) {
                    (Some(at), Some(envelope)) => {
                        self.seen[at].edits = edit;
                        let Seen { message, kind, .. } = self.seen[at];
                        self.text(&Seen { revision: of, message, kind, edits: edit }, &account, envelope, edit)
                    }
                    (Some(at), None) => {
                        self.seen[at].edits = edit;
                        "(taken back)".to_owned()
                    }
                    (None, _) => "(an edit of something earlier)".to_owned(),
                };
                self.show(format!("{} (edited)", shown::said(of, version, time, &account, &text)));
            }
            Event::Deleted { revision } => self.show(format!("* {account} took back #{revision}")),
            Event::KeyRotated { version, public } => {
                self.current = Some(CurrentKey { version, public });
                if version > KeyVersion::FIRST {
                    self.show(format!("* key version {version} from here on"));
                }
            }
            Event::RoleSet { account, role } => self.show(format!("* {account} is {role:?} now").to_lowercase()),
            Event::Created { .. }
            | Event::MembersAdded { .. }
            | Event::MembersRemoved { .. }
            | Event::Renamed { .. }
            | Event::Archived
            | Event::Unchanged => {}
        }
    }

    /// What an envelope says, or why it does not.
    fn text(
        &mut self,
        seen: &Seen,
        sender: &chamberlain_core::id::AccountId,
        envelope: &chamberlain_core::keys::Envelope,
        edit: u32,
    ) -> String {
        let (Some(room), Some(opener)) = (self.room, self.openers.get_mut(&envelope.version)) else {
            return format!("(no key of version {})", envelope.version);
        };
        let claim = Claim { room, version: envelope.version, kind: seen.kind, sender, message: seen.message, edit };
        match opener.open(&claim, envelope) {
            Ok(plain) => MessageContent::parse(&plain).map_or_else(|| "(not text)".to_owned(), |content| content.text),
            Err(why) => format!("(cannot be opened: {why})"),
        }
    }

    fn say(&mut self, text: String) {
        let message = MessageId::from_digest(&self.random());
        self.seal_and_send(text, message, BodyKind::Message, 0, None);
    }

    fn command(&mut self, verb: &str, rest: &str) {
        let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let at = first.trim_start_matches('#').parse().map(Revision);
        match (verb, self.room) {
            ("quit", _) => {
                self.options.stay = false;
                self.input_ended();
            }
            ("members", Some(room)) => {
                let query = Query::Members { room, after: None, limit: None };
                self.request(|id| ClientFrame::Query { id, query }, Waiting::Members);
            }
            ("delete", Some(room)) if let Ok(revision) = at => {
                self.request(
                    |id| ClientFrame::Command { id, command: Command::Delete { room, revision } },
                    Waiting::Taken,
                );
            }
            ("edit", Some(_))
                if let Ok(revision) = at
                    && !text.trim().is_empty() =>
            {
                match self.seen.iter().find(|seen| seen.revision == revision) {
                    Some(seen) => {
                        let (message, kind, edit) = (seen.message, seen.kind, seen.edits + 1);
                        self.seal_and_send(text.to_owned(), message, kind, edit, Some(revision));
                    }
                    None => self.show(format!("* nothing was said at #{revision}, as far as was seen here")),
                }
            }
            ("help", _) => self.show(shown::HELP.to_owned()),
            _ => self.show(format!("* /{verb} is not understood; /help says what there is")),
        }
    }

    fn seal_and_send(&mut self, text: String, message: MessageId, kind: BodyKind, edit: u32, at: Option<Revision>) {
        let id = RequestId::from_random(self.random());
        let what = Waiting::Said { text: text.clone(), message, kind, edit, at, reseals: 0 };
        if let Some(frame) = self.sealed(id, &text, message, kind, edit, at) {
            self.send(frame.clone());
            self.requests.push(Request { id, frame, what, again: false });
        }
    }

    /// A message or an edit, sealed under the current key.
    fn sealed(
        &mut self,
        id: RequestId,
        text: &str,
        message: MessageId,
        kind: BodyKind,
        edit: u32,
        at: Option<Revision>,
    ) -> Option<ClientFrame> {
        let (room, current, site) = (self.room?, self.current?, self.site.clone()?);
        if self.sealer.as_ref().is_none_or(|sealer| sealer.version() != current.version) {
            match Sealer::new(&site, room, current.version, &current.public, &mut self.rng) {
                Ok(sealer) => self.sealer = Some(sealer),
                Err(why) => {
                    self.show(format!("* the room's key makes no sense: {why}"));
                    return None;
                }
            }
        }
        let claim = Claim { room, version: current.version, kind, sender: &self.options.account, message, edit };
        let content = MessageContent { text: text.to_owned() };
        let envelope = match self.sealer.as_mut()?.seal(&claim, &content.to_bytes()) {
            Ok(envelope) => envelope,
            Err(why) => {
                // The next one encapsulates anew.
                self.sealer = None;
                self.show(format!("* not sent: {why}"));
                return None;
            }
        };
        let content = Content::Sealed(envelope);
        let command = match at {
            None => Command::Submit(Submit { room, message, content }),
            Some(revision) => Command::Edit { room, revision, edit, content },
        };
        Some(ClientFrame::Command { id, command })
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
