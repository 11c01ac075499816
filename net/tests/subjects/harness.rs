//! Nodes over stores in memory behind a real nats-server with the accounts that we generate, and people with a NATS client each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, Message, Subscriber};
use chamberlain_core::id::{AccountId, MessageId, RoomId};
use chamberlain_core::keys::{BodyKind, Claim, Envelope, Opener, RoomSecret};
use chamberlain_core::limits::Limits;
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_net::subjects::permissions::Users;
use chamberlain_net::subjects::{Credentials, Options, Subjects};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Account, Stores};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

use crate::nats::{Server, Version};

pub(crate) const SITE: &str = "here";
/// Everybody's password, and its bcrypt hash of the least cost.
const PASSWORD: &str = "ada-password";
pub(crate) const HASH: &str = "$2b$04$2Wy3lsjQN6fIAOYVVe7I7u0C5Ro90WoUrEcjRK99PCr3EZSyAYQpu";
/// Whom every directory knows; all but `stranger` of those who may connect.
pub(crate) const PEOPLE: [&str; 5] = ["ada", "bob", "cyd", "dan.l@corp.example", "off"];
/// How long an answer or an event may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come for it to be nothing.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

pub(crate) struct House {
    /// None of a house that is on no subjects.
    server: Option<Server>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) subjects: Vec<Subjects>,
}

/// The list that permissions are made of.
pub(crate) fn users() -> String {
    let people = PEOPLE.iter().chain(&["stranger", "chamberlain"]);
    let kind = |name: &str| if name == "chamberlain" { "service" } else { "user" };
    let mut list: String = people.map(|name| format!("{} {name} {HASH}\n", kind(name))).collect();
    list += &format!("peer-service chamberlain-peers {HASH}\npeer away {HASH}\n");
    list
}

pub(crate) fn configuration() -> String {
    Users::read(&users(), &SITE.parse().unwrap(), |_| false).unwrap().render()
}

impl House {
    pub(crate) async fn start() -> Self {
        Self::with(Version::Current, 1, Limits::default()).await
    }

    pub(crate) async fn with(version: Version, nodes: usize, limits: Limits) -> Self {
        let server = Server::start_with(version, &configuration());
        let stores = MemoryStores::new().stores();
        let people: Vec<Account> = PEOPLE.iter().map(|name| account(name)).collect();
        stores.directory.put(&people).await.unwrap();
        let mut house = Self { server: Some(server), nodes: Vec::new(), subjects: Vec::new() };
        for nth in 0..nodes {
            let node = node(nth, &stores, limits.clone());
            house.subjects.push(Subjects::open(&node, &house.options_at(&house.server().url())).await.unwrap());
            house.nodes.push(node);
        }
        house
    }

    /// A node that is on no subjects yet.
    pub(crate) fn nowhere() -> Self {
        let node = node(0, &MemoryStores::new().stores(), Limits::default());
        Self { server: None, nodes: vec![node], subjects: Vec::new() }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("a house on subjects")
    }

    pub(crate) fn restart_server(&mut self) {
        let server = self.server.as_mut().expect("a house on subjects");
        server.kill();
        server.start_again();
    }

    pub(crate) fn options_at(&self, url: &str) -> Options {
        let as_user = |user: &str| Some(Credentials { user: user.into(), password: PASSWORD.into() });
        Options {
            servers: vec![url.to_owned()],
            credentials: as_user("chamberlain"),
            peers: as_user("chamberlain-peers"),
            trust: Vec::new(),
            reserved: |account| account.as_str().starts_with("chamberlain"),
            opening: PATIENCE,
        }
    }

    /// A person's own client.
    pub(crate) async fn person(&self, name: &'static str) -> Person {
        let token = name.replace('.', "%2E");
        let client = connect(&self.server().url(), name, &format!("_INBOX.{token}")).await;
        Person { client, token }
    }

    /// A line of the figures of all nodes, added up.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let of = |node: &Node| -> u64 {
            let text = node.metrics().encode();
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
            line.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
        };
        self.nodes.iter().map(of).sum()
    }
}

fn node(nth: usize, stores: &Stores, limits: Limits) -> Node {
    let settings = Settings {
        keys: Arc::new(SiteKeys::new(SITE.parse().unwrap(), &MasterKey::from_bytes([7; 32]))),
        node: format!("n{nth}"),
        limits: Arc::new(limits),
        retain: Retain::All,
        framing: chamberlain_net::gateway::frame,
    };
    Node::start(settings, stores.clone())
}

pub(crate) async fn connect(url: &str, user: &str, inbox: &str) -> Client {
    let options = ConnectOptions::with_user_and_password(user.into(), PASSWORD.into());
    options.custom_inbox_prefix(inbox).connect(url).await.unwrap()
}

fn account(name: &str) -> Account {
    let account = Account::new(name.parse().unwrap(), SITE.parse().unwrap(), name.to_uppercase());
    Account { disabled: name == "off", ..account }
}

/// A request id that was not used before.
pub(crate) fn fresh() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("018f4e3c-0000-7000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn with_id(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("X-Request-ID", id);
    headers
}

pub(crate) struct Person {
    pub(crate) client: Client,
    /// The account, as it stands in subjects.
    pub(crate) token: String,
}

impl Person {
    pub(crate) fn create(&self) -> String {
        format!("chat.user.{}.request.room.{SITE}.create", self.token)
    }

    pub(crate) fn verb(&self, room: &str, verb: &str) -> String {
        format!("chat.user.{}.request.room.{room}.{SITE}.{verb}", self.token)
    }

    /// Asks with a fresh request id.
    pub(crate) async fn ask(&self, subject: String, body: Value) -> Value {
        self.ask_with(subject, with_id(&fresh()), body.to_string()).await
    }

    pub(crate) async fn ask_with(&self, subject: String, headers: HeaderMap, body: String) -> Value {
        let answer = self.client.request_with_headers(subject, headers, body.into());
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time").unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// A new channel with these users; its id.
    pub(crate) async fn channel(&self, users: &[&str]) -> String {
        let made = self.ask(self.create(), json!({ "name": "Lobby", "users": users })).await;
        assert_eq!((&made["status"], &made["roomType"]), (&json!("accepted"), &json!("channel")), "{made}");
        made["roomId"].as_str().unwrap().to_owned()
    }

    /// Sends a message, and waits for what comes at `response.{requestId}`.
    pub(crate) async fn send(&self, room: &str, body: Value) -> Value {
        let id = fresh();
        let mut answers = self.hear(&format!("response.{id}")).await;
        let subject = format!("chat.user.{}.room.{room}.{SITE}.msg.send", self.token);
        self.client.publish_with_headers(subject, with_id(&id), body.to_string().into()).await.unwrap();
        next(&mut answers).await
    }

    /// Listens below its own subjects.
    pub(crate) async fn hear(&self, what: &str) -> Subscriber {
        self.listen(format!("chat.user.{}.{what}", self.token)).await
    }

    pub(crate) async fn listen(&self, subject: String) -> Subscriber {
        let mut listening = self.client.subscribe(subject.clone()).await.unwrap();
        // A flush says nothing of what the server has done; an answer to what was sent after does.
        let ready = format!("chat.user.{}.request.room.{SITE}.ready", self.token);
        self.ask_with(ready, HeaderMap::new(), String::new()).await;
        if subject.ends_with(&format!("{}.>", self.token)) {
            message(&mut listening).await;
        }
        listening
    }
}

pub(crate) async fn message(listening: &mut Subscriber) -> Message {
    tokio::time::timeout(PATIENCE, listening.next()).await.expect("something in time").expect("it goes on")
}

pub(crate) async fn next(listening: &mut Subscriber) -> Value {
    serde_json::from_slice(&message(listening).await.payload).unwrap()
}

pub(crate) async fn nothing(listening: &mut Subscriber) {
    if let Ok(message) = tokio::time::timeout(SILENCE, listening.next()).await {
        panic!("nothing was to come, and there is {message:?}");
    }
}

/// Subjects in the order in which they came over one connection of this person, from now on.
pub(crate) async fn order(house: &House, user: &str, subjects: &[String]) -> Lines<BufReader<TcpStream>> {
    let address = house.server().url();
    let stream = TcpStream::connect(address.trim_start_matches("nats://")).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let hello = json!({ "verbose": false, "pedantic": false, "user": user, "pass": PASSWORD });
    let mut said = format!("CONNECT {hello}\r\n");
    subjects.iter().enumerate().for_each(|(nth, subject)| said += &format!("SUB {subject} {nth}\r\n"));
    said += "PING\r\n";
    lines.get_mut().write_all(said.as_bytes()).await.unwrap();
    while lines.next_line().await.unwrap().unwrap() != "PONG" {}
    lines
}

/// The subject of the next message.
pub(crate) async fn next_subject(lines: &mut Lines<BufReader<TcpStream>>) -> String {
    loop {
        let line =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("something in time").unwrap().unwrap();
        if let Some(rest) = line.strip_prefix("MSG ") {
            return rest.split(' ').next().unwrap().to_owned();
        }
    }
}

/// A refusal's code and reason.
pub(crate) fn refused(answer: &Value) -> (&str, &str) {
    let field = |name: &str| answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"));
    assert!(!field("error").is_empty());
    (field("code"), field("reason"))
}

/// Opens what an event says with the key of a key event: the sender, and the text.
pub(crate) fn open(key: &Value, event: &Value) -> (String, Value) {
    let room: RoomId = event["roomId"].as_str().unwrap().parse().unwrap();
    let version = serde_json::from_value(key["version"].clone()).unwrap();
    let secret: chamberlain_core::keys::Blob = serde_json::from_value(key["privateKey"].clone()).unwrap();
    let secret = RoomSecret::from_bytes(secret.as_ref().try_into().unwrap()).unwrap();
    let site = event["siteId"].as_str().unwrap().parse().unwrap();
    let mut opener = Opener::new(&site, room, version, secret, 4);
    let envelope = |name: &str| -> Envelope { serde_json::from_value(event[name].clone()).unwrap() };
    let nobody: AccountId = "chamberlain-subjects".parse().unwrap();
    let message: MessageId = "00000000000000000000".parse().unwrap();
    let claim = Claim { room, version, kind: BodyKind::System, sender: &nobody, message, edit: 0 };
    let header = opener.open(&claim, &envelope("encryptedHeader")).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["revision"], event["revision"]);
    let sender: AccountId = header["sender"].as_str().unwrap().parse().unwrap();
    let claim = Claim {
        room,
        version,
        kind: serde_json::from_value(header["kind"].clone()).unwrap(),
        sender: &sender,
        message: header["messageId"].as_str().unwrap().parse().unwrap(),
        edit: serde_json::from_value(header["edit"].clone()).unwrap(),
    };
    let text = opener.open(&claim, &envelope("encryptedMessage")).unwrap();
    (sender.to_string(), serde_json::from_slice(&text).unwrap())
}
