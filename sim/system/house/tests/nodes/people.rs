//! People who talk at any node that takes them, come back when it is gone, and ask again what was not answered, with the same
//! request id. What they are sent they check as it comes; in the end every answer is held against what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::{Blob, BodyKind};
use chamberlain_core::room::{Code, Command, Content, Event, Outcome, Submit};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{AccountChange, Answer, ClientFrame, Codec, Hello, Item, Open, Query, ServerFrame};
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::{ROOMS, World};

/// After so long without an answer, a connection is believed to be dead.
const DEAD: Duration = Duration::from_secs(13);
/// What did not succeed is tried again after this.
const AGAIN: Duration = Duration::from_millis(300);
/// How long a node may take to let somebody in.
const WAITS: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Talk,
    Finish,
}

pub(crate) struct AnyName;

impl Authenticate for AnyName {
    fn authenticate(&self, token: &str, _: Timestamp) -> Result<Identity, AuthError> {
        let account = token.parse().map_err(|_| AuthError::Invalid("name".into()))?;
        Ok(Identity { account, name: None, admin: false, expires: None })
    }

    fn sign_in(&self) -> &'static str {
        "development"
    }

    fn provision(&self) -> bool {
        true
    }
}

struct Asked {
    command: Command,
    sent: Instant,
    /// When it is to be asked again; none while an answer may come.
    again: Option<Instant>,
    answer: Option<Outcome>,
}

pub(crate) struct Person {
    number: usize,
    world: Arc<World>,
    phase: watch::Receiver<Phase>,
    socket: Option<WebSocketStream<DuplexStream>>,
    connections: usize,
    room: Option<RoomId>,
    told: BTreeSet<RoomId>,
    /// Versions given on this connection.
    keys: BTreeSet<KeyVersion>,
    last: Option<Revision>,
    position: Option<Blob>,
    items: BTreeMap<Revision, Item>,
    asked: BTreeMap<RequestId, Asked>,
    next: u32,
}

impl Person {
    pub(crate) fn new(number: usize, world: Arc<World>, phase: watch::Receiver<Phase>) -> Self {
        Self {
            number,
            world,
            phase,
            socket: None,
            connections: 0,
            room: None,
            told: BTreeSet::new(),
            keys: BTreeSet::new(),
            last: None,
            position: None,
            items: BTreeMap::new(),
            asked: BTreeMap::new(),
            next: 0,
        }
    }

    fn name(number: usize) -> String {
        format!("person{number}")
    }

    /// The first of a room begins it with the others.
    fn begins(&self) -> bool {
        self.number.is_multiple_of(3)
    }

    pub(crate) async fn live(&mut self) {
        loop {
            let finish = *self.phase.borrow_and_update() == Phase::Finish;
            let waits = self.asked.values().any(|asked| asked.answer.is_none());
            if finish && !waits && self.last.is_some() {
                return;
            }
            if self.socket.is_none() && !self.come().await {
                sleep(AGAIN).await;
                continue;
            }
            if !waits && !finish {
                self.speak().await;
            }
            self.listen().await;
            if self
                .asked
                .values()
                .any(|asked| asked.answer.is_none() && asked.again.is_none() && asked.sent.elapsed() > DEAD)
            {
                self.end("does not answer");
            }
        }
    }

    fn end(&mut self, why: &str) {
        self.world.trace.note(format_args!("{} leaves: {why}", Self::name(self.number)));
        self.socket = None;
    }

    /// Connects to the next node, and goes on where it was.
    async fn come(&mut self) -> bool {
        self.connections += 1;
        let Some(pipe) = self.world.connect(self.number + self.connections) else { return false };
        self.socket = Some(WebSocketStream::from_raw_socket(pipe, Role::Client, None).await);
        self.keys.clear();
        let name = Self::name(self.number);
        self.send(&ClientFrame::Hello(Hello { token: name.clone(), batch: true })).await;
        let rooms = self.request();
        self.send(&ClientFrame::Query { id: rooms, query: Query::Rooms }).await;
        let deadline = Instant::now() + WAITS;
        loop {
            match self.read(deadline).await {
                Some(ServerFrame::Ok { id, answer: Answer::Rooms { rooms: found, .. } }) if id == rooms => {
                    self.told.extend(found.iter().map(|view| view.room));
                    break;
                }
                Some(ServerFrame::Error { id: Some(id), .. }) if id == rooms => {
                    self.end("rooms cannot be listed");
                    return false;
                }
                Some(_) => {}
                None => {
                    self.end("is not let in");
                    return false;
                }
            }
        }
        self.world.trace.note(format_args!("{name} is at {}", (self.number + self.connections) % 3));
        for asked in self.asked.values_mut().filter(|asked| asked.answer.is_none()) {
            asked.again = Some(Instant::now());
        }
        if let Some(room) = self.room {
            self.open(room).await;
        }
        true
    }

    async fn open(&mut self, room: RoomId) {
        let position = self.position.clone();
        let from = position.is_none().then_some(Revision(1));
        if position.is_none() {
            self.items.clear();
        }
        self.last = None;
        self.send(&ClientFrame::Open(Open { room, position, from, kinds: None, limit: None })).await;
    }

    fn request(&mut self) -> RequestId {
        self.next += 1;
        let mut bytes = [self.number as u8; 16];
        bytes[..4].copy_from_slice(&self.next.to_be_bytes());
        RequestId::from_random(bytes)
    }

    async fn speak(&mut self) {
        let command = match self.room {
            None if self.begins() && self.asked.is_empty() => {
                let accounts = [1, 2].map(|other| Self::name(self.number + other).parse().unwrap()).to_vec();
                Command::CreateChannel { name: "room".into(), accounts, channels: Vec::new() }
            }
            None => return,
            Some(room) => {
                let message: MessageId = format!("{:0>9}{:0>11}", self.number, self.next).parse().unwrap();
                let content = Content::Plain { text: format!("{} says {}", self.number, self.next) };
                Command::Submit(Submit { room, message, content })
            }
        };
        let id = self.request();
        self.send(&ClientFrame::Command { id, command: command.clone() }).await;
        self.asked.insert(id, Asked { command, sent: Instant::now(), again: None, answer: None });
    }

    async fn send(&mut self, frame: &ClientFrame) {
        if let Some(socket) = &mut self.socket
            && !matches!(timeout(WAITS, socket.send(Message::binary(Codec::Bincode.encode(frame)))).await, Ok(Ok(())))
        {
            self.end("cannot be written to");
        }
    }

    /// The next frame until then; none when there is none, or the connection ended.
    async fn read(&mut self, until: Instant) -> Option<ServerFrame> {
        loop {
            let socket = self.socket.as_mut()?;
            match timeout_at(until, socket.next()).await {
                Err(_) => return None,
                Ok(Some(Ok(Message::Binary(bytes)))) => {
                    let frame = Codec::Bincode.decode_server(&bytes).unwrap();
                    self.took(&frame);
                    return Some(frame);
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Ok(ended) => {
                    self.end(if ended.is_none() { "the node is gone" } else { "the node ended it" });
                    return None;
                }
            }
        }
    }

    fn took(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Opened { after, .. } => {
                self.last = Some(*after);
            }
            ServerFrame::Batch { from, to, items, position, .. } => {
                assert_eq!(Some(*from), self.last.map(Revision::next), "each revision once and in order (S1)");
                (self.last, self.position) =
                    (Some(*to), Some(position.clone()).filter(|position| !position.is_empty()));
                for item in items {
                    if let Some(version) = item.event.sealed_under() {
                        assert!(self.keys.contains(&version), "the key comes before the ciphertext (K1)");
                    }
                    let before = self.items.insert(item.revision, item.clone());
                    assert!(before.is_none_or(|before| before.event == item.event), "another event at a revision (S3)");
                }
            }
            ServerFrame::Void { from, to, position, .. } => {
                assert_eq!(Some(*from), self.last.map(Revision::next));
                (self.last, self.position) =
                    (Some(*to), Some(position.clone()).filter(|position| !position.is_empty()));
            }
            ServerFrame::Key { room, version, .. } => {
                assert!(self.told.contains(room), "the account is told of the room before its key (K4)");
                self.keys.insert(*version);
            }
            ServerFrame::Account { event: AccountChange::Joined { room, .. }, .. } => drop(self.told.insert(*room)),
            ServerFrame::Reset { why, .. } => panic!("{} is reset: {why:?}", Self::name(self.number)),
            _ => {}
        }
    }

    async fn listen(&mut self) {
        let now = Instant::now();
        let due = self.asked.iter().filter(|(_, asked)| asked.again.is_some_and(|again| again <= now));
        let due: Vec<(RequestId, Command)> = due.map(|(id, asked)| (*id, asked.command.clone())).collect();
        for (id, command) in due {
            let asked = self.asked.get_mut(&id).unwrap();
            (asked.sent, asked.again) = (now, None);
            self.send(&ClientFrame::Command { id, command }).await;
        }
        let until = now + Duration::from_millis(150 + self.number as u64 * 37);
        while let Some(frame) = self.read(until).await {
            match frame {
                ServerFrame::Ok { id, answer: Answer::Outcome(outcome) } => self.heard(id, outcome),
                ServerFrame::Error { id: Some(id), code, message, .. } if self.asked.contains_key(&id) => {
                    let asked = self.asked.get_mut(&id).unwrap();
                    // Whom it names may not have been here yet.
                    let early = code == Code::NotFound && matches!(asked.command, Command::CreateChannel { .. });
                    assert!(early || code == Code::Unavailable, "person{}: {message}", self.number);
                    asked.again = Some(Instant::now() + AGAIN);
                }
                ServerFrame::Error { code, message, .. } => {
                    assert_eq!(code, Code::Unavailable, "{}: {message}", Self::name(self.number));
                    self.end("a room cannot be opened");
                }
                ServerFrame::Bye { .. } => self.end("the node asked for it"),
                _ => {}
            }
            if self.room.is_none()
                && let Some(room) = self.told.first().copied()
            {
                self.room = Some(room);
                self.open(room).await;
            }
        }
        if self.room.is_none()
            && let Some(room) = self.told.first().copied()
        {
            self.room = Some(room);
            self.open(room).await;
        }
    }

    fn heard(&mut self, id: RequestId, outcome: Outcome) {
        let Some(asked) = self.asked.get_mut(&id) else { return };
        if let (Outcome::Sent { revision, .. }, Some(last)) = (outcome, self.last) {
            assert!(last >= revision, "what one said comes before the answer (S2)");
            self.world.trace.note(format_args!("person{} is at {revision}", self.number));
        }
        let before = asked.answer.replace(outcome);
        assert!(before.is_none_or(|before| before == outcome), "{before:?}, and again {outcome:?} (L1)");
    }
}

/// Holds everything that was answered against what somebody sees who reads each room from its beginning.
pub(crate) async fn audit(world: &Arc<World>, people: Vec<Person>) {
    let (mut answered, mut said) = (0, 0);
    for nth in 0..ROOMS {
        let here = &people[nth * 3..nth * 3 + 3];
        let room = here[0].room.expect("it was begun");
        let (_, phase) = watch::channel(Phase::Finish);
        let mut auditor = Person::new(nth * 3, world.clone(), phase);
        let head = here.iter().filter_map(|person| person.last).max().unwrap();
        auditor.room = Some(room);
        while auditor.last.is_none_or(|last| last < head) {
            if auditor.socket.is_none() && !auditor.come().await {
                sleep(AGAIN).await;
            }
            auditor.listen().await;
        }
        let mut seen = BTreeMap::new();
        for item in auditor.items.values() {
            let Event::Message { message, kind: BodyKind::Message, .. } = item.event else { continue };
            let before = seen.insert((item.account.as_str().to_owned(), message), item.revision);
            assert!(before.is_none(), "a message is there twice (L1)");
        }
        let mut known = 0;
        for person in here {
            for (revision, item) in &person.items {
                let there = &auditor.items[revision].event;
                assert_eq!(
                    there, &item.event,
                    "person{} saw another log at {revision} of {room}, {:?} (S3)",
                    person.number, person.told
                );
            }
            for asked in person.asked.values() {
                let Command::Submit(submit) = &asked.command else { continue };
                let Some(Outcome::Sent { revision, .. }) = asked.answer else { panic!("{:?}", asked.answer) };
                let found = seen.get(&(Person::name(person.number), submit.message));
                assert_eq!(found, Some(&revision), "what was acknowledged is there, at its revision (L1)");
                known += 1;
            }
        }
        assert_eq!(known, seen.len(), "what nobody said is there");
        (answered, said) = (answered + known, said + seen.len());
    }
    assert!(answered > 100, "people were answered {answered} times");
    world.trace.note(format_args!("{said} messages are there, each once"));
}
