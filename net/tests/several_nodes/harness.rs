//! Nodes over stores in memory, and people at them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::fleet::Life;
use chamberlain_core::id::{KeyVersion, RequestId, Revision, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::room::{Command, Content, Event, Outcome, Reason, Submit};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{
    AccountChange, Answer, ClientFrame, Codec, Hello, Item, Open, Query, ResetWhy, ServerFrame,
};
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use chamberlain_net::bus::{Connected, LocalBus};
use chamberlain_net::gateway;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_stores::Stores;
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

struct AnyName;

impl Authenticate for AnyName {
    fn authenticate(&self, token: &str, _: Timestamp) -> Result<Identity, AuthError> {
        let account = token.parse().map_err(|_| AuthError::Invalid("name".into()))?;
        Ok(Identity { account, name: None, admin: token == "root", expires: None })
    }

    fn sign_in(&self) -> &'static str {
        "development"
    }

    fn provision(&self) -> bool {
        true
    }
}

pub(crate) fn keys() -> Arc<SiteKeys> {
    Arc::new(SiteKeys::new("here".parse().unwrap(), &MasterKey::from_bytes([7; 32])))
}

pub(crate) fn life(number: u8) -> Life {
    Life([number; 16])
}

/// Short waits, so that tests end soon.
pub(crate) fn limits() -> Limits {
    Limits {
        announce_ms: 50,
        silent_ms: 300,
        forward_ms: 400,
        drain_ms: 50,
        submits_per_second: 10_000,
        submits_burst: 10_000,
        ..Limits::default()
    }
}

pub(crate) fn settings(number: u8) -> Settings {
    let node = format!("n{number}");
    Settings { keys: keys(), node, limits: Arc::new(limits()), retain: Retain::All, framing: gateway::frame }
}

pub(crate) fn begin(number: u8, stores: &Stores, connected: Connected) -> Node {
    Node::start_among(settings(number), stores.clone(), connected)
}

/// Nodes 1 to `count` that know of each other.
pub(crate) async fn nodes(count: u8, stores: &Stores, bus: &LocalBus) -> Vec<Node> {
    let nodes: Vec<Node> = (1..=count).map(|number| begin(number, stores, bus.connect(life(number)))).collect();
    for node in &nodes {
        knows(node, usize::from(count) - 1).await;
    }
    nodes
}

pub(crate) async fn knows(node: &Node, others: usize) {
    let met = async {
        while node.others().iter().filter(|said| said.serves).count() != others {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), met).await.expect("nodes hear of each other");
}

pub(crate) struct Person {
    pub(crate) ws: WebSocketStream<DuplexStream>,
    pub(crate) name: &'static str,
    pub(crate) last: BTreeMap<RoomId, Revision>,
    pub(crate) items: BTreeMap<RoomId, Vec<Item>>,
    pub(crate) keys: BTreeSet<(RoomId, KeyVersion)>,
    pub(crate) told: BTreeSet<RoomId>,
    pub(crate) reset: BTreeMap<RoomId, ResetWhy>,
    pub(crate) bye: Option<u16>,
    pub(crate) next: u32,
}

impl Person {
    pub(crate) async fn come(node: &Node, name: &'static str) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(gateway::run(theirs, Codec::Bincode, node.clone(), Arc::new(AnyName)));
        let ws = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        let mut person = Self {
            ws,
            name,
            last: BTreeMap::new(),
            items: BTreeMap::new(),
            keys: BTreeSet::new(),
            told: BTreeSet::new(),
            reset: BTreeMap::new(),
            bye: None,
            next: 0,
        };
        person.send(&ClientFrame::Hello(Hello { token: name.into(), batch: true })).await;
        assert!(matches!(person.read().await, ServerFrame::Welcome(_)));
        person
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        self.ws.send(Message::binary(Codec::Bincode.encode(frame))).await.unwrap();
    }

    pub(crate) async fn read(&mut self) -> ServerFrame {
        loop {
            let message = timeout(Duration::from_secs(10), self.ws.next()).await;
            let message = message.unwrap_or_else(|_| panic!("{} waits too long", self.name));
            let Message::Binary(bytes) = message.expect("open").expect("readable") else { continue };
            let frame = Codec::Bincode.decode_server(&bytes).unwrap();
            self.took(&frame);
            return frame;
        }
    }

    pub(crate) fn took(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Opened { room, after, .. } => drop(self.last.insert(room.room, *after)),
            ServerFrame::Batch { room, from, to, items, .. } => {
                assert_eq!(*from, self.last[room].next(), "{} is sent each revision once and in order", self.name);
                self.last.insert(*room, *to);
                for item in items {
                    if let Some(version) = item.event.sealed_under() {
                        assert!(self.keys.contains(&(*room, version)), "the key comes before the ciphertext");
                    }
                }
                self.items.entry(*room).or_default().extend(items.iter().cloned());
            }
            ServerFrame::Void { room, from, to, .. } => {
                assert_eq!(*from, self.last[room].next());
                self.last.insert(*room, *to);
            }
            ServerFrame::Key { room, version, .. } => drop(self.keys.insert((*room, *version))),
            ServerFrame::Account { event: AccountChange::Joined { room, .. }, .. } => drop(self.told.insert(*room)),
            ServerFrame::Reset { room, why } => drop(self.reset.insert(*room, *why)),
            ServerFrame::Bye { code, .. } => self.bye = Some(*code),
            _ => {}
        }
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next += 1;
        let mut bytes = [self.name.as_bytes()[0]; 16];
        bytes[..4].copy_from_slice(&self.next.to_be_bytes());
        RequestId::from_random(bytes)
    }

    pub(crate) async fn answer(&mut self, id: RequestId) -> Result<Answer, Reason> {
        loop {
            match self.read().await {
                ServerFrame::Ok { id: answered, answer } if answered == id => return Ok(answer),
                ServerFrame::Error { id: Some(answered), reason, .. } if answered == id => return Err(reason),
                _ => {}
            }
        }
    }

    pub(crate) async fn ask(&mut self, command: Command) -> Result<Outcome, Reason> {
        let id = self.request();
        self.send(&ClientFrame::Command { id, command }).await;
        self.answer(id).await.map(|answer| match answer {
            Answer::Outcome(outcome) => outcome,
            other => panic!("{other:?}"),
        })
    }

    pub(crate) async fn query(&mut self, query: Query) -> Result<Answer, Reason> {
        let id = self.request();
        self.send(&ClientFrame::Query { id, query }).await;
        self.answer(id).await
    }

    pub(crate) async fn channel(&mut self, others: &[&str]) -> RoomId {
        let accounts = others.iter().map(|name| name.parse().unwrap()).collect();
        match self.ask(Command::CreateChannel { name: "room".into(), accounts, channels: Vec::new() }).await {
            Ok(Outcome::Created { room, .. }) => room,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn open(&mut self, room: RoomId) {
        let open = Open { room, position: None, from: Some(Revision(1)), kinds: None, limit: None };
        self.send(&ClientFrame::Open(open)).await;
        loop {
            match self.read().await {
                ServerFrame::Opened { .. } => return,
                ServerFrame::Error { room: Some(of), reason, .. } if of == room => {
                    panic!("{} may not open the room: {reason:?}", self.name)
                }
                _ => {}
            }
        }
    }

    /// Opens a room from its first revision, if it may.
    pub(crate) async fn try_open(&mut self, room: RoomId) -> bool {
        let open = Open { room, position: None, from: Some(Revision(1)), kinds: None, limit: None };
        self.send(&ClientFrame::Open(open)).await;
        loop {
            match self.read().await {
                ServerFrame::Opened { .. } => return true,
                ServerFrame::Error { room: Some(of), .. } if of == room => return false,
                _ => {}
            }
        }
    }

    pub(crate) async fn hears_of(&mut self, room: RoomId) {
        while !self.told.contains(&room) {
            self.read().await;
        }
    }

    pub(crate) async fn begin_to_say(&mut self, room: RoomId, text: &str) -> RequestId {
        let id = self.request();
        let message = format!("{}{:0>19}", &self.name[..1], self.next).parse().unwrap();
        let content = Content::Plain { text: text.into() };
        let command = Command::Submit(Submit { room, message, content });
        self.send(&ClientFrame::Command { id, command }).await;
        id
    }

    pub(crate) async fn say(&mut self, room: RoomId, text: &str) -> Revision {
        let id = self.begin_to_say(room, text).await;
        match self.answer(id).await {
            Ok(Answer::Outcome(Outcome::Sent { revision, .. })) => revision,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn reach(&mut self, room: RoomId, revision: Revision) {
        while self.last[&room] < revision {
            self.read().await;
        }
    }

    pub(crate) fn messages(&self, room: RoomId) -> Vec<(Revision, String)> {
        let items = self.items[&room].iter();
        items
            .filter(|item| matches!(item.event, Event::Message { .. }))
            .map(|item| (item.revision, item.account.as_str().to_owned()))
            .collect()
    }
}

pub(crate) fn metric(node: &Node, name: &str) -> u64 {
    let text = node.metrics().encode();
    let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::trim).map(str::to_owned));
    line.unwrap_or_else(|| panic!("{name} is not among {text}")).parse().unwrap()
}
