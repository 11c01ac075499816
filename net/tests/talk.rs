//! Two people talk over the gateway, in memory: the whole of net without a socket.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{LogId, RequestId, Revision, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Head, Record};
use chamberlain_core::room::{Command, Content, Event, Outcome, Submit};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{Answer, ClientFrame, Codec, Hello, Item, Open, ResetWhy, ServerFrame};
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use chamberlain_net::gateway;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_stores::Stores;
use chamberlain_stores::memory::MemoryStores;
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

struct AnyName;

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

fn node(stores: Stores) -> Node {
    let settings = Settings {
        keys: Arc::new(SiteKeys::new("here".parse().unwrap(), &MasterKey::from_bytes([7; 32]))),
        node: "n1".into(),
        limits: Arc::new(Limits::default()),
        retain: Retain::All,
        framing: gateway::frame,
    };
    Node::start(settings, stores)
}

struct Person {
    ws: WebSocketStream<DuplexStream>,
    codec: Codec,
    items: BTreeMap<Revision, Item>,
    keys: usize,
    last: Revision,
    reset: Option<ResetWhy>,
    next: u8,
}

impl Person {
    async fn come(node: &Node, name: &str, codec: Codec) -> Self {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(gateway::run(theirs, codec, node.clone(), Arc::new(AnyName)));
        let ws = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        let mut person = Self {
            ws,
            codec,
            items: BTreeMap::new(),
            keys: 0,
            last: Revision::ZERO,
            reset: None,
            next: name.len() as u8 * 7,
        };
        person.send(&ClientFrame::Hello(Hello { token: name.into(), batch: true })).await;
        assert!(matches!(person.read().await, ServerFrame::Welcome(_)));
        person
    }

    async fn send(&mut self, frame: &ClientFrame) {
        let bytes = self.codec.encode(frame);
        let message = match self.codec {
            Codec::Json => Message::text(String::from_utf8(bytes).unwrap()),
            Codec::Bincode => Message::binary(bytes),
        };
        self.ws.send(message).await.unwrap();
    }

    async fn read(&mut self) -> ServerFrame {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(5), self.ws.next()).await.expect("in time");
            let frame = match message.expect("open").expect("readable") {
                Message::Text(text) => self.codec.decode_server(text.as_bytes()).unwrap(),
                Message::Binary(bytes) => self.codec.decode_server(&bytes).unwrap(),
                _ => continue,
            };
            match &frame {
                ServerFrame::Opened { after, .. } => self.last = *after,
                ServerFrame::Batch { from, to, items, .. } => {
                    assert_eq!(*from, self.last.next());
                    self.last = *to;
                    self.items.extend(items.iter().map(|item| (item.revision, item.clone())));
                }
                ServerFrame::Void { from, to, .. } => {
                    assert_eq!(*from, self.last.next());
                    self.last = *to;
                }
                ServerFrame::Key { .. } => self.keys += 1,
                ServerFrame::Reset { why, .. } => self.reset = Some(*why),
                ServerFrame::Error { message, .. } => panic!("refused: {message}"),
                _ => {}
            }
            return frame;
        }
    }

    async fn ask(&mut self, command: Command) -> Outcome {
        self.next += 1;
        let id = RequestId::from_random([self.next; 16]);
        self.send(&ClientFrame::Command { id, command }).await;
        loop {
            if let ServerFrame::Ok { id: answered, answer: Answer::Outcome(outcome) } = self.read().await {
                assert_eq!(answered, id);
                return outcome;
            }
        }
    }

    async fn open(&mut self, room: RoomId) {
        let open = Open { room, position: None, from: Some(Revision(1)), kinds: None, limit: None };
        self.send(&ClientFrame::Open(open)).await;
        while !matches!(self.read().await, ServerFrame::Opened { .. }) {}
    }

    async fn say(&mut self, room: RoomId, text: &str) -> Revision {
        self.next += 1;
        let message = format!("{:0>20}", self.next).parse().unwrap();
        let content = Content::Plain { text: text.into() };
        match self.ask(Command::Submit(Submit { room, message, content })).await {
            Outcome::Sent { revision, .. } => {
                // The answer follows the message itself.
                assert!(self.last >= revision, "the answer came before the message");
                revision
            }
            other => panic!("{other:?}"),
        }
    }

    async fn reach(&mut self, revision: Revision) {
        while self.last < revision {
            self.read().await;
        }
    }
}

#[tokio::test]
async fn two_people_talk_and_one_is_removed() {
    let node = node(MemoryStores::new().stores());
    let mut ada = Person::come(&node, "ada", Codec::Json).await;
    let mut bob = Person::come(&node, "bob", Codec::Bincode).await;
    let created =
        Command::CreateChannel { name: "tea".into(), accounts: vec!["bob".parse().unwrap()], channels: vec![] };
    let Outcome::Created { room, exists: false, .. } = ada.ask(created).await else { panic!("not created") };
    ada.open(room).await;
    bob.open(room).await;
    let said = ada.say(room, "hello").await;
    bob.reach(said).await;
    assert_eq!(bob.items.len() as u64, said.0);
    assert_eq!((ada.keys, bob.keys), (1, 1));

    let removed = Command::Remove { room, accounts: vec!["bob".parse().unwrap()] };
    assert!(matches!(ada.ask(removed).await, Outcome::Done { .. }));
    let later = ada.say(room, "alone").await;
    assert_eq!(ada.keys, 2);
    while bob.reset.is_none() {
        bob.read().await;
    }
    assert_eq!(bob.reset, Some(ResetWhy::Removed));
    assert!(bob.last <= said && later > said);
    assert_eq!(bob.keys, 1);
    node.drain().await;
}

/// The logs and the mark of what was done for them are in different servers: one of them may forget alone.
#[tokio::test]
async fn an_account_whose_log_lost_a_room_is_told_of_it_again_when_it_opens_the_room() {
    let stores = MemoryStores::new().stores();
    let before = node(stores.clone());
    let mut ada = Person::come(&before, "ada", Codec::Json).await;
    let created = Command::CreateChannel { name: "tea".into(), accounts: vec![], channels: vec![] };
    let Outcome::Created { room, .. } = ada.ask(created).await else { panic!("not created") };
    drop(ada);
    before.drain().await;

    // Logs that hold what the room did, and nothing of whom it was told to.
    let logs = MemoryStores::new().stores().logs;
    let (log, mut head) = (LogId::Room(room), Head::EMPTY);
    for bytes in stores.logs.read(&log, Revision::ZERO, usize::MAX).await.unwrap() {
        let after = Record::<Event>::decode(&bytes.bytes).unwrap().extend(head).unwrap();
        logs.append(&log, head, bytes, after).await.unwrap();
        head = after;
    }
    let done = stores.marks.get(&[format!("effects/{room}")]).await.unwrap();
    assert_eq!(done, [head.revision.0], "what was done is not done again");

    let after = node(Stores { logs: logs.clone(), ..stores });
    let mut ada = Person::come(&after, "ada", Codec::Json).await;
    ada.open(room).await;
    let said = ada.say(room, "who is there?").await;
    assert!(ada.items.contains_key(&said) && ada.keys == 1);
    assert_eq!(logs.head(&LogId::Account("ada".parse().unwrap())).await.unwrap().revision, Revision(1));
}
