//! A person in a script: connects when told, sends what it is told, and waits for what must come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{AccountId, KeyVersion, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::keys::Blob;
use chamberlain_core::room::{Command, Content, Outcome, Reason, Submit};
use chamberlain_core::wire::{Answer, ClientFrame, Codec, Hello, Open, Query, ResetWhy, ServerFrame};
use chamberlain_sim::story::{ClientId, LinkId, Seen};

use crate::client::{Event, Line};
use crate::house::House;

/// How long a person waits for what must come.
const WAITS: Duration = Duration::from_secs(100);

/// What a person knows of a room.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    pub(crate) last: Revision,
    pub(crate) position: Option<Blob>,
    pub(crate) keys: BTreeSet<KeyVersion>,
    pub(crate) reset: Option<ResetWhy>,
}

/// A person on a connection.
pub(crate) struct Person {
    house: Arc<House>,
    name: String,
    line: Line,
    link: LinkId,
    client: ClientId,
    pub(crate) rooms: BTreeMap<RoomId, Known>,
    /// The goodbye that came.
    pub(crate) bye: Option<(u16, Option<u64>)>,
    pub(crate) ended: bool,
    answers: VecDeque<(RequestId, Result<Answer, Reason>)>,
    /// Numbers requests and messages, over all connections.
    next: u32,
}

impl Person {
    /// Connects and says hello; `client` numbers the program, `before` is what it remembers.
    pub(crate) async fn come(house: &Arc<House>, client: u32, name: &str, before: Option<Self>) -> Option<Self> {
        Self::come_to(house, 0, client, name, before).await
    }

    /// The same, at one of several nodes.
    pub(crate) async fn come_to(
        house: &Arc<House>,
        node: usize,
        client: u32,
        name: &str,
        before: Option<Self>,
    ) -> Option<Self> {
        let server = &house.servers[node];
        let codec = if client.is_multiple_of(2) { Codec::Json } else { Codec::Bincode };
        let line = Line::open(server.address(), codec).await.ok()?;
        let (rooms, next) = before.map_or_else(Default::default, |before| (before.rooms, before.next));
        let mut person = Self {
            house: house.clone(),
            name: name.to_owned(),
            line,
            link: house.link(),
            client: ClientId(client),
            rooms,
            bye: None,
            ended: false,
            answers: VecDeque::new(),
            next,
        };
        house.witness.note(Seen::Connected {
            link: person.link,
            client: person.client,
            account: person.account(),
            node: server.id(),
            codec,
            batch: true,
        });
        person.line.send(&ClientFrame::Hello(Hello { token: name.to_owned(), batch: true }));
        match person.next().await {
            Some(ServerFrame::Welcome(_)) => Some(person),
            _ => None,
        }
    }

    pub(crate) fn account(&self) -> AccountId {
        self.name.parse().expect("names in scripts are names")
    }

    /// The next frame; none when the connection ended, or nothing came for long.
    pub(crate) async fn next(&mut self) -> Option<ServerFrame> {
        loop {
            if self.ended {
                return None;
            }
            let line = &mut self.line;
            let talk = async {
                loop {
                    match line.next().await {
                        Event::Ping => {}
                        other => break other,
                    }
                }
            };
            match tokio::time::timeout(WAITS, talk).await.ok()? {
                Event::Frame(frame) => {
                    self.house.witness.note(Seen::Came { link: self.link, frame: (*frame).clone() });
                    self.took(&frame);
                    return Some(*frame);
                }
                Event::Garbage(what) => {
                    self.house.objects(format!("{} was sent garbage: {what}", self.name));
                    self.end(None);
                }
                Event::Ended(code) => self.end(code),
                Event::Ping => {}
            }
        }
    }

    /// Only listens, for so long.
    pub(crate) async fn rest(&mut self, span: Duration) {
        let _over = tokio::time::timeout(span, async { while self.next().await.is_some() {} }).await;
    }

    fn end(&mut self, code: Option<u16>) {
        self.ended = true;
        self.house.witness.note(Seen::Ended { link: self.link, code });
    }

    fn took(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Opened { room, after, .. } => self.rooms.entry(room.room).or_default().last = *after,
            ServerFrame::Batch { room, to, position, .. } | ServerFrame::Void { room, to, position, .. } => {
                let known = self.rooms.entry(*room).or_default();
                known.last = *to;
                known.position = (!position.is_empty()).then(|| position.clone());
            }
            ServerFrame::Key { room, version, .. } => {
                self.rooms.entry(*room).or_default().keys.insert(*version);
            }
            ServerFrame::Reset { room, why } => self.rooms.entry(*room).or_default().reset = Some(*why),
            ServerFrame::Bye { code, retry_after_ms, .. } => self.bye = Some((*code, *retry_after_ms)),
            ServerFrame::Ok { id, answer } => self.answers.push_back((*id, Ok(answer.clone()))),
            ServerFrame::Error { id: Some(id), reason, .. } => self.answers.push_back((*id, Err(*reason))),
            _ => {}
        }
    }

    pub(crate) fn send(&mut self, frame: ClientFrame) {
        self.house.witness.note(Seen::Sent { link: self.link, frame: frame.clone() });
        self.line.send(&frame);
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.client.0 * 100_000 + self.next
    }

    fn request(&mut self) -> RequestId {
        let number = self.number();
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        RequestId::from_random(bytes)
    }

    /// Asks for a change without waiting for the answer.
    pub(crate) fn begin(&mut self, command: Command) -> RequestId {
        let id = self.request();
        self.send(ClientFrame::Command { id, command });
        id
    }

    /// The answer to what was asked; none when it did not come.
    pub(crate) async fn answer(&mut self, id: RequestId) -> Option<Result<Answer, Reason>> {
        loop {
            if let Some(at) = self.answers.iter().position(|(answered, _)| *answered == id) {
                return self.answers.remove(at).map(|(_, answer)| answer);
            }
            self.next().await?;
        }
    }

    /// Asks for a change that must succeed.
    pub(crate) async fn ask(&mut self, command: Command) -> Outcome {
        let id = self.begin(command);
        match self.answer(id).await {
            Some(Ok(Answer::Outcome(outcome))) => outcome,
            other => panic!("{} was answered {other:?}", self.name),
        }
    }

    /// Asks a question.
    pub(crate) async fn query(&mut self, query: Query) -> Option<Result<Answer, Reason>> {
        let id = self.request();
        self.send(ClientFrame::Query { id, query });
        self.answer(id).await
    }

    /// Begins a channel with others.
    pub(crate) async fn channel(&mut self, others: &[&str]) -> RoomId {
        let accounts = others.iter().map(|name| name.parse().expect("a name")).collect();
        match self.ask(Command::CreateChannel { name: "room".into(), accounts, channels: Vec::new() }).await {
            Outcome::Created { room, .. } => room,
            other => panic!("{other:?}"),
        }
    }

    /// The command that says something.
    pub(crate) fn words(&mut self, room: RoomId, text: &str) -> Command {
        let message: MessageId = format!("{:0>20}", self.number()).parse().expect("a name of a message");
        Command::Submit(Submit { room, message, content: Content::Plain { text: text.to_owned() } })
    }

    /// Says something and waits until it is durable.
    pub(crate) async fn say(&mut self, room: RoomId, text: &str) -> Revision {
        let command = self.words(room, text);
        match self.ask(command).await {
            Outcome::Sent { revision, .. } => revision,
            other => panic!("{other:?}"),
        }
    }

    /// Opens a room from where it is known, or from its beginning.
    pub(crate) fn open(&mut self, room: RoomId) {
        let known = self.rooms.entry(room).or_default();
        known.reset = None;
        let position = known.position.clone();
        let from = position.is_none().then(|| known.last.next());
        self.send(ClientFrame::Open(Open { room, position, from, kinds: None, limit: None }));
    }

    /// Takes frames until a room is covered up to a revision; whether it came to that.
    pub(crate) async fn reach(&mut self, room: RoomId, revision: Revision) -> bool {
        while self.rooms.get(&room).is_none_or(|known| known.last < revision) {
            if self.next().await.is_none() {
                return false;
            }
        }
        true
    }

    /// Nothing of the connection arrives anywhere from now on.
    pub(crate) fn vanish(mut self) -> Self {
        self.line.lose();
        self.end(None);
        self
    }

    /// Lets go of its connection.
    pub(crate) fn hang_up(&mut self) {
        if !self.ended {
            self.end(None);
        }
    }

    /// Leaves in an orderly way.
    pub(crate) async fn leave(mut self) {
        if !self.ended {
            self.end(None);
            self.line.close().await;
        }
    }
}
