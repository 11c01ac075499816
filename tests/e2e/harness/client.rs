//! A client that checks what it is sent, as it comes: every revision once and in order, every key before its ciphertext.
//!
//! What it finds wrong it says by panicking. It shares the core's codecs and envelopes with the server, and none of its state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId, SiteId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret, Sealer};
use chamberlain_core::room::{Code, Command, Content, CurrentKey, Event, MessageContent, Outcome, Reason, Submit};
use chamberlain_core::wire::{
    AccountChange, Answer, ClientFrame, Codec, Hello, Item, Open, Query, ResetWhy, ServerFrame, Welcome,
};
use futures_util::{SinkExt, StreamExt};
use rand::SeedableRng;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::room_log::{RoomLog, opened_text, sealed_text};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) room: Option<RoomId>,
    pub(crate) code: Code,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) current: Option<CurrentKey>,
}

pub(crate) struct Client {
    ws: WebSocketStream<TcpStream>,
    pub(crate) codec: Codec,
    pub(crate) account: AccountId,
    pub(crate) welcome: Option<Welcome>,
    pub(crate) rooms: BTreeMap<RoomId, RoomLog>,
    /// Rooms that the account's log told of, here or before this connection.
    pub(crate) joined: BTreeSet<RoomId>,
    /// Account events, as they came.
    pub(crate) told: Vec<AccountChange>,
    /// Every request sent here, and the room it is about.
    asked: BTreeMap<RequestId, Option<RoomId>>,
    pub(crate) answers: BTreeMap<RequestId, Result<Answer, Refusal>>,
    /// Refusals without a request.
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) watched: Vec<(RoomId, Item)>,
    pub(crate) bye: Option<(u16, Option<u64>)>,
    pub(crate) closed: Option<u16>,
    pub(crate) pongs: usize,
    sealers: BTreeMap<(RoomId, KeyVersion), Sealer>,
}

impl Client {
    /// Connects and says hello; the account's name is the token.
    pub(crate) async fn connect(address: SocketAddr, name: &str, codec: Codec) -> Self {
        Self::connect_as(address, name, name, codec, true).await
    }

    /// Connects and says hello with a token.
    pub(crate) async fn connect_as(address: SocketAddr, name: &str, token: &str, codec: Codec, batch: bool) -> Self {
        let mut client = Self::dial(address, name, codec).await;
        client.send(&ClientFrame::Hello(Hello { token: token.into(), batch })).await;
        client.until(|client| client.welcome.is_some() || client.closed.is_some()).await;
        assert!(client.welcome.is_some(), "no welcome for {name}, but {:?} and {:?}", client.bye, client.refusals);
        let Ok(Answer::Rooms { rooms, .. }) = client.query(Query::Rooms).await else {
            panic!("who may connect has rooms")
        };
        client.joined.extend(rooms.iter().map(|room| room.room));
        client
    }

    /// Connects, and says nothing.
    pub(crate) async fn dial(address: SocketAddr, name: &str, codec: Codec) -> Self {
        Self::try_dial(address, name, codec).await.expect("the server takes connections and speaks WebSocket")
    }

    /// Connects if somebody is there, and says nothing.
    pub(super) async fn try_dial(address: SocketAddr, name: &str, codec: Codec) -> Option<Self> {
        let mut request = format!("ws://{address}/v1/socket").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", codec.subprotocol().parse().unwrap());
        let stream = TcpStream::connect(address).await.ok()?;
        let (ws, _) = tokio_tungstenite::client_async(request, stream).await.ok()?;
        Some(Self {
            ws,
            codec,
            account: name.parse().unwrap_or_else(|_| "nobody".parse().unwrap()),
            welcome: None,
            rooms: BTreeMap::new(),
            joined: BTreeSet::new(),
            told: Vec::new(),
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            refusals: Vec::new(),
            watched: Vec::new(),
            bye: None,
            closed: None,
            pongs: 0,
            sealers: BTreeMap::new(),
        })
    }

    /// Takes over what an earlier connection of the account knew, to resume from.
    pub(crate) fn inherit(&mut self, earlier: Client) {
        self.rooms = earlier.rooms;
        for room in self.rooms.values_mut() {
            room.open = false;
        }
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        if let ClientFrame::Command { id, command } = frame {
            self.asked.insert(*id, command.room());
        }
        let bytes = self.codec.encode(frame);
        self.send_raw(match self.codec {
            Codec::Json => Message::text(String::from_utf8(bytes).unwrap()),
            Codec::Bincode => Message::binary(bytes),
        })
        .await;
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        if let Err(error) = self.ws.send(message).await {
            self.closed.get_or_insert(1006);
            eprintln!("{}: a frame was not sent: {error}", self.account);
        }
    }

    /// Reads frames until `done`, or fails after a while.
    pub(crate) async fn until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done(self) {
            let bye = &self.bye;
            assert!(self.closed.is_none(), "{} was closed ({:?}, {bye:?}) while it waited", self.account, self.closed);
            let read = tokio::time::timeout_at(deadline, self.read()).await;
            assert!(read.is_ok(), "{} waited in vain", self.account);
        }
    }

    /// Reads frames for so long.
    pub(crate) async fn listen(&mut self, span: Duration) {
        let deadline = tokio::time::Instant::now() + span;
        while self.closed.is_none() && tokio::time::timeout_at(deadline, self.read()).await.is_ok() {}
    }

    /// Reads frames until the server ended the connection; the close code.
    pub(crate) async fn until_closed(&mut self) -> u16 {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.closed.is_none() {
            let read = tokio::time::timeout_at(deadline, self.read()).await;
            assert!(read.is_ok(), "{} was not closed", self.account);
        }
        self.closed.unwrap()
    }

    /// Reads until the server answered hello in one way or the other.
    pub(crate) async fn until_answered(&mut self) {
        self.until(|client| client.welcome.is_some() || client.bye.is_some()).await;
    }

    /// Everything that the server had to say before it answers a ping.
    pub(crate) async fn settle(&mut self) {
        let pongs = self.pongs;
        self.send(&ClientFrame::Ping).await;
        self.until(|client| client.pongs > pongs).await;
    }

    /// Reads one message. `false` when the connection is closed.
    pub(crate) async fn read(&mut self) -> bool {
        match self.ws.next().await {
            Some(Ok(Message::Text(text))) => self.took(text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => self.took(&bytes),
            Some(Ok(Message::Close(frame))) => {
                self.closed = Some(frame.map_or(1005, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => {
                self.closed.get_or_insert(1006);
            }
        }
        self.closed.is_none()
    }

    fn took(&mut self, bytes: &[u8]) {
        let frame = self.codec.decode_server(bytes).expect("the server sends frames that can be read");
        match frame {
            ServerFrame::Welcome(welcome) => self.welcome = Some(welcome),
            ServerFrame::Opened { room, after, .. } => {
                let id = room.room;
                let log = self.rooms.entry(id).or_insert_with(RoomLog::new);
                if let Some(from) = log.resumes.take() {
                    assert_eq!(after, from, "resumed at another place (S3)");
                }
                // What was seen beyond the position comes again, and has to be the same.
                log.again.extend(log.items.split_off(&after.next()));
                (log.last, log.reset, log.open) = (after, None, true);
                log.given.clear();
                log.current = Some(room.key);
                log.view = Some(room);
            }
            ServerFrame::Batch { room, from, to, items, position, own } => {
                let log = self.rooms.get_mut(&room).expect("batches come for rooms that were opened");
                log.covers(from, to, None, position);
                for item in items {
                    assert!((from..=to).contains(&item.revision), "an item outside its batch");
                    if let Some(version) = item.body.as_ref().map(|body| body.version) {
                        assert!(log.given.contains(&version), "ciphertext before its key (K1)");
                    }
                    if let Event::KeyRotated { version, public } = item.event {
                        log.current = Some(CurrentKey { version, public });
                    }
                    if let Some(before) = log.again.remove(&item.revision) {
                        assert_eq!(before.event, item.event, "a revision came back as another (S3)");
                    }
                    assert!(log.items.insert(item.revision, item).is_none(), "a revision came twice (S1)");
                }
                for own in own {
                    assert!(
                        self.asked.contains_key(&own.request),
                        "marked as its own what another connection asked for"
                    );
                    assert!((from..=to).contains(&own.revision), "a mark outside its batch");
                    log.own.insert(own.revision, own.request);
                }
            }
            ServerFrame::Void { room, from, to, why, position } => {
                let log = self.rooms.get_mut(&room).expect("voids come for rooms that were opened");
                log.covers(from, to, Some(why), position);
            }
            ServerFrame::Key { room, version, public, secret } => {
                assert!(self.joined.contains(&room), "a key before the account was told of the room (K4)");
                let secret = RoomSecret::from_bytes(secret[..].try_into().unwrap()).unwrap();
                assert_eq!(secret.public(), public, "two halves that do not belong together");
                let site = self.site();
                let log = self.rooms.get_mut(&room).expect("keys come for rooms that were opened");
                log.given.insert(version);
                log.openers.entry(version).or_insert_with(|| Opener::new(&site, room, version, secret, 16));
            }
            ServerFrame::Account { event, .. } => {
                match event {
                    AccountChange::Joined { room, .. } => drop(self.joined.insert(room)),
                    AccountChange::Left { room, .. } => drop(self.joined.remove(&room)),
                }
                self.told.push(event);
            }
            ServerFrame::Watched { room, item } => self.watched.push((room, item)),
            ServerFrame::WatchLagged { .. } => {}
            ServerFrame::Ok { id, answer } => {
                self.does_not_overtake(id, &answer);
                assert!(self.answers.insert(id, Ok(answer)).is_none(), "a request was answered twice");
            }
            ServerFrame::Error { id, room, code, reason, message, current } => {
                if let (Some(current), Some(log)) = (current, room.and_then(|room| self.rooms.get_mut(&room))) {
                    log.current = Some(current);
                }
                assert_eq!(code, reason.code(), "a reason under another code than the documented");
                let refusal = Refusal { room, code, reason, message, current };
                match id {
                    Some(id) => {
                        assert!(self.answers.insert(id, Err(refusal)).is_none(), "a request was answered twice");
                    }
                    None => self.refusals.push(refusal),
                }
            }
            ServerFrame::Reset { room, why } => {
                let log = self.rooms.entry(room).or_insert_with(RoomLog::new);
                (log.reset, log.open, log.resumes) = (Some(why), false, None);
                if why == ResetWhy::UnknownPosition {
                    log.position = None;
                }
            }
            ServerFrame::Pong => self.pongs += 1,
            ServerFrame::Bye { code, retry_after_ms, .. } => self.bye = Some((code, retry_after_ms)),
        }
    }

    /// What an answer tells of was delivered before it, where the room is open (S2).
    fn does_not_overtake(&self, id: RequestId, answer: &Answer) {
        let (Answer::Outcome(Outcome::Sent { revision, .. } | Outcome::Done { revision }), Some(Some(room))) =
            (answer, self.asked.get(&id))
        else {
            return;
        };
        if let Some(log) = self.rooms.get(room).filter(|log| log.open) {
            assert!(log.last >= *revision, "the answer came before the revision it tells of (S2)");
        }
    }

    fn site(&self) -> SiteId {
        self.welcome.as_ref().unwrap().site.clone()
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn command(&mut self, command: Command) -> Result<Outcome, Refusal> {
        self.command_as(super::request_id(), command).await
    }

    pub(crate) async fn command_as(&mut self, id: RequestId, command: Command) -> Result<Outcome, Refusal> {
        self.send(&ClientFrame::Command { id, command }).await;
        self.until(|client| client.answers.contains_key(&id)).await;
        match self.answers.remove(&id).unwrap() {
            Ok(Answer::Outcome(outcome)) => Ok(outcome),
            Ok(other) => panic!("a command was answered with {other:?}"),
            Err(refusal) => Err(refusal),
        }
    }

    pub(crate) async fn query(&mut self, query: Query) -> Result<Answer, Refusal> {
        let id = super::request_id();
        self.send(&ClientFrame::Query { id, query }).await;
        self.until(|client| client.answers.contains_key(&id)).await;
        self.answers.remove(&id).unwrap()
    }

    /// Sends a command that has to succeed; the last revision of what came of it.
    pub(crate) async fn done(&mut self, command: Command) -> Revision {
        let name = command.name();
        match self.command(command).await {
            Ok(Outcome::Done { revision } | Outcome::Sent { revision, .. } | Outcome::Marked { revision }) => revision,
            Ok(other) => panic!("{name}: {other:?}"),
            Err(refusal) => panic!("{name} of {} was refused: {refusal:?}", self.account),
        }
    }

    /// Sends a command that has to be refused.
    pub(crate) async fn refused(&mut self, command: Command) -> Refusal {
        self.refused_as(super::request_id(), command).await
    }

    pub(crate) async fn refused_as(&mut self, id: RequestId, command: Command) -> Refusal {
        let name = command.name();
        match self.command_as(id, command).await {
            Err(refusal) => refusal,
            Ok(outcome) => panic!("{name} of {} was not refused, but {outcome:?}", self.account),
        }
    }

    /// The one room of mine that has this name.
    pub(crate) async fn rooms_by_name(&mut self, name: &str) -> RoomId {
        let Ok(Answer::Rooms { rooms, .. }) = self.query(Query::Rooms).await else { panic!("who is here has rooms") };
        let mut named = rooms.iter().filter(|room| room.name == name).map(|room| room.room);
        let room = named.next().unwrap_or_else(|| panic!("{} is in no room {name:?}", self.account));
        assert_eq!(named.next(), None, "several rooms are called {name:?}");
        self.joined.insert(room);
        room
    }

    /// Opens a room: from the position it holds, else from the first revision.
    pub(crate) async fn open(&mut self, room: RoomId) {
        let position =
            self.rooms.get(&room).and_then(|log| log.position.as_ref()).map(|(_, position)| position.clone());
        let from = if position.is_some() { None } else { Some(Revision(1)) };
        self.open_as(Open { room, position, from, kinds: None, limit: None }).await;
        let log = &self.rooms[&room];
        assert!(log.open, "{room} was not opened for {}: {:?}", self.account, log.reset);
    }

    /// Opens a room in a way of its own, and waits until it is open, or reset.
    pub(crate) async fn open_as(&mut self, open: Open) {
        let room = open.room;
        let log = self.rooms.entry(room).or_insert_with(RoomLog::new);
        log.reset = None;
        log.resumes = match (&open.position, &log.position) {
            (Some(sent), Some((revision, held))) if sent == held => Some(*revision),
            _ => None,
        };
        self.send(&ClientFrame::Open(open)).await;
        let refused = self.refusals.len();
        self.until(|client| {
            assert_eq!(client.refusals.len(), refused, "{room} was not opened: {:?}", client.refusals.last());
            client.rooms.get(&room).is_some_and(|log| log.open || log.reset.is_some())
        })
        .await;
    }

    /// Opens a room that has to be refused.
    pub(crate) async fn not_opened(&mut self, open: Open) -> Refusal {
        let room = open.room;
        let refused = self.refusals.len();
        self.send(&ClientFrame::Open(open)).await;
        self.until(|client| client.refusals.len() > refused).await;
        let refusal = self.refusals.pop().unwrap();
        assert_eq!(refusal.room, Some(room), "a refusal names the room");
        refusal
    }

    /// No longer takes a room.
    pub(crate) async fn close(&mut self, room: RoomId) {
        self.send(&ClientFrame::Close { room }).await;
        self.settle().await;
        self.rooms.get_mut(&room).unwrap().open = false;
    }

    /// Waits until the account was told of a room, opens it, and has taken everything up to its head.
    pub(crate) async fn enter(&mut self, room: RoomId) {
        self.until(|client| client.joined.contains(&room)).await;
        self.open(room).await;
        let head = self.rooms[&room].view.as_ref().unwrap().head;
        self.reach(room, head).await;
    }

    /// Begins a channel with these people, and opens it.
    pub(crate) async fn channel(&mut self, name: &str, people: &[&str]) -> RoomId {
        let accounts = people.iter().map(|name| super::account(name)).collect();
        let created = self.command(Command::CreateChannel { name: name.into(), accounts, channels: vec![] }).await;
        match created {
            Ok(Outcome::Created { room, .. }) => {
                self.open(room).await;
                room
            }
            Ok(other) => panic!("created {other:?}"),
            Err(refusal) => panic!("not created: {}", refusal.message),
        }
    }

    /// A submit of a text, sealed under the current version.
    pub(crate) fn sealed(&mut self, room: RoomId, text: &str) -> Command {
        let message = super::message_id();
        let envelope = self.seal(room, message, 0, text);
        Command::Submit(Submit { room, message, content: Content::Sealed(envelope) })
    }

    /// A text as the body of a message of this client's, or of an edit of one.
    pub(crate) fn seal(&mut self, room: RoomId, message: MessageId, edit: u32, text: &str) -> Envelope {
        let version = self.rooms[&room].current.expect("an open room has a key").version;
        let account = self.account.clone();
        let claim = Claim { room, version, kind: BodyKind::Message, sender: &account, message, edit };
        self.seal_as(room, &claim, text)
    }

    /// A text sealed with the room's current key as whatever it claims to be.
    pub(crate) fn seal_as(&mut self, room: RoomId, claim: &Claim<'_>, text: &str) -> Envelope {
        let site = self.site();
        let log = &self.rooms[&room];
        let public = match log.openers.get(&claim.version) {
            Some(opener) => opener.public(),
            None => log.current.expect("an open room has a key").public,
        };
        let mut rng = rand::rngs::StdRng::from_seed(super::fresh());
        let sealer = self
            .sealers
            .entry((claim.room, claim.version))
            .or_insert_with(|| Sealer::new(&site, claim.room, claim.version, &public, &mut rng).unwrap());
        sealer.seal(claim, &MessageContent { text: text.into() }.to_bytes()).unwrap()
    }

    /// Bytes sealed as a message of this client's that are not the content of one.
    pub(crate) fn seal_bare(&mut self, room: RoomId, message: MessageId, plaintext: &[u8]) -> Envelope {
        let version = self.rooms[&room].current.expect("an open room has a key").version;
        let account = self.account.clone();
        let claim = Claim { room, version, kind: BodyKind::Message, sender: &account, message, edit: 0 };
        let _sealer_is_there = self.seal_as(room, &claim, "");
        self.sealers.get_mut(&(room, version)).unwrap().seal(&claim, plaintext).unwrap()
    }

    /// Says something and waits until it is durable.
    pub(crate) async fn say(&mut self, room: RoomId, text: &str) -> Revision {
        let command = self.sealed(room, text);
        match self.command(command).await {
            Ok(Outcome::Sent { revision, .. }) => revision,
            Ok(other) => panic!("said {other:?}"),
            Err(refusal) => panic!("not said: {}", refusal.message),
        }
    }

    /// Waits until a room was covered up to a revision.
    pub(crate) async fn reach(&mut self, room: RoomId, revision: Revision) {
        self.until(|client| client.rooms[&room].last >= revision).await;
    }

    /// The text of a message, opened with the keys this client was given.
    pub(crate) fn text(&mut self, room: RoomId, revision: Revision) -> Option<String> {
        let log = self.rooms.get_mut(&room)?;
        let item = log.items.get(&revision)?.clone();
        sealed_text(room, &item, log.openers.get_mut(&item.body.as_ref()?.version).into_iter())
    }

    /// What a message says after an edit of it.
    pub(crate) fn edited_text(&mut self, room: RoomId, revision: Revision) -> Option<String> {
        let log = self.rooms.get_mut(&room)?;
        let item = log.items.get(&revision)?.clone();
        let Event::Edited { revision, edit, .. } = item.event else { return None };
        let Event::Message { message, kind, .. } = log.items.get(&revision)?.event else { return None };
        let opener = log.openers.get_mut(&item.body.as_ref()?.version);
        opened_text(room, &item, (message, kind, edit), opener.into_iter())
    }

    /// The revision at which a text was said; fails when it was said more than once.
    pub(crate) fn find(&mut self, room: RoomId, text: &str) -> Option<Revision> {
        let revisions: Vec<Revision> = self.rooms[&room].items.keys().copied().collect();
        let mut said = revisions.into_iter().filter(|revision| self.text(room, *revision).as_deref() == Some(text));
        let first = said.next();
        assert_eq!(said.next(), None, "{text:?} was said twice");
        first
    }

    /// Waits until a text was said in a room.
    pub(crate) async fn hear(&mut self, room: RoomId, text: &str) -> Revision {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(revision) = self.find(room, text) {
                return revision;
            }
            let read = tokio::time::timeout_at(deadline, self.read()).await;
            assert_eq!(read, Ok(true), "{} never heard {text:?}", self.account);
        }
    }
}
