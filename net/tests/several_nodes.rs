//! Several nodes over the same stores, which speak to each other over a bus: people at different nodes talk as if there were one.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chamberlain_core::fleet::{Fleet, Letter, LetterSealer, Life};
use chamberlain_core::id::{KeyVersion, LogId, RequestId, Revision, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Head, RecordBytes};
use chamberlain_core::room::{Command, Content, Event, History, Outcome, Reason, Submit};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{
    AccountChange, Answer, ClientFrame, Codec, Hello, Item, Open, Query, ResetWhy, ServerFrame,
};
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use chamberlain_net::bus::{Connected, Heard, LocalBus};
use chamberlain_net::gateway;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Appended, LogStore, Moved, Pending, Stores};
use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::broadcast;
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

fn keys() -> Arc<SiteKeys> {
    Arc::new(SiteKeys::new("here".parse().unwrap(), &MasterKey::from_bytes([7; 32])))
}

fn life(number: u8) -> Life {
    Life([number; 16])
}

/// Short waits, so that tests end soon.
fn limits() -> Limits {
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

fn settings(number: u8) -> Settings {
    let node = format!("n{number}");
    Settings { keys: keys(), node, limits: Arc::new(limits()), retain: Retain::All, framing: gateway::frame }
}

fn begin(number: u8, stores: &Stores, connected: Connected) -> Node {
    Node::start_among(settings(number), stores.clone(), connected)
}

/// Nodes 1 to `count` that know of each other.
async fn nodes(count: u8, stores: &Stores, bus: &LocalBus) -> Vec<Node> {
    let nodes: Vec<Node> = (1..=count).map(|number| begin(number, stores, bus.connect(life(number)))).collect();
    for node in &nodes {
        knows(node, usize::from(count) - 1).await;
    }
    nodes
}

async fn knows(node: &Node, others: usize) {
    let met = async {
        while node.others().iter().filter(|said| said.serves).count() != others {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), met).await.expect("nodes hear of each other");
}

struct Person {
    ws: WebSocketStream<DuplexStream>,
    name: &'static str,
    last: BTreeMap<RoomId, Revision>,
    items: BTreeMap<RoomId, Vec<Item>>,
    keys: BTreeSet<(RoomId, KeyVersion)>,
    told: BTreeSet<RoomId>,
    reset: BTreeMap<RoomId, ResetWhy>,
    bye: Option<u16>,
    next: u32,
}

impl Person {
    async fn come(node: &Node, name: &'static str) -> Self {
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

    async fn send(&mut self, frame: &ClientFrame) {
        self.ws.send(Message::binary(Codec::Bincode.encode(frame))).await.unwrap();
    }

    async fn read(&mut self) -> ServerFrame {
        loop {
            let message = timeout(Duration::from_secs(10), self.ws.next()).await;
            let message = message.unwrap_or_else(|_| panic!("{} waits too long", self.name));
            let Message::Binary(bytes) = message.expect("open").expect("readable") else { continue };
            let frame = Codec::Bincode.decode_server(&bytes).unwrap();
            self.took(&frame);
            return frame;
        }
    }

    fn took(&mut self, frame: &ServerFrame) {
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

    fn request(&mut self) -> RequestId {
        self.next += 1;
        let mut bytes = [self.name.as_bytes()[0]; 16];
        bytes[..4].copy_from_slice(&self.next.to_be_bytes());
        RequestId::from_random(bytes)
    }

    async fn answer(&mut self, id: RequestId) -> Result<Answer, Reason> {
        loop {
            match self.read().await {
                ServerFrame::Ok { id: answered, answer } if answered == id => return Ok(answer),
                ServerFrame::Error { id: Some(answered), reason, .. } if answered == id => return Err(reason),
                _ => {}
            }
        }
    }

    async fn ask(&mut self, command: Command) -> Result<Outcome, Reason> {
        let id = self.request();
        self.send(&ClientFrame::Command { id, command }).await;
        self.answer(id).await.map(|answer| match answer {
            Answer::Outcome(outcome) => outcome,
            other => panic!("{other:?}"),
        })
    }

    async fn query(&mut self, query: Query) -> Result<Answer, Reason> {
        let id = self.request();
        self.send(&ClientFrame::Query { id, query }).await;
        self.answer(id).await
    }

    async fn channel(&mut self, others: &[&str]) -> RoomId {
        let accounts = others.iter().map(|name| name.parse().unwrap()).collect();
        match self.ask(Command::CreateChannel { name: "room".into(), accounts, channels: Vec::new() }).await {
            Ok(Outcome::Created { room, .. }) => room,
            other => panic!("{other:?}"),
        }
    }

    async fn open(&mut self, room: RoomId) {
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

    async fn hears_of(&mut self, room: RoomId) {
        while !self.told.contains(&room) {
            self.read().await;
        }
    }

    async fn begin_to_say(&mut self, room: RoomId, text: &str) -> RequestId {
        let id = self.request();
        let message = format!("{}{:0>19}", &self.name[..1], self.next).parse().unwrap();
        let content = Content::Plain { text: text.into() };
        let command = Command::Submit(Submit { room, message, content });
        self.send(&ClientFrame::Command { id, command }).await;
        id
    }

    async fn say(&mut self, room: RoomId, text: &str) -> Revision {
        let id = self.begin_to_say(room, text).await;
        match self.answer(id).await {
            Ok(Answer::Outcome(Outcome::Sent { revision, .. })) => revision,
            other => panic!("{other:?}"),
        }
    }

    async fn reach(&mut self, room: RoomId, revision: Revision) {
        while self.last[&room] < revision {
            self.read().await;
        }
    }

    fn messages(&self, room: RoomId) -> Vec<(Revision, String)> {
        let items = self.items[&room].iter();
        items
            .filter(|item| matches!(item.event, Event::Message { .. }))
            .map(|item| (item.revision, item.account.as_str().to_owned()))
            .collect()
    }
}

#[tokio::test]
async fn people_at_three_nodes_talk_as_if_there_were_one() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let nodes = nodes(3, &stores, &bus).await;
    let mut people = Vec::new();
    for (node, name) in nodes.iter().zip(["ann", "bob", "cay"]) {
        people.push(Person::come(node, name).await);
    }
    for _ in 0..8 {
        let room = people[0].channel(&["bob", "cay"]).await;
        for person in &mut people {
            person.hears_of(room).await;
            person.open(room).await;
        }
        let mut last = Revision::ZERO;
        for round in 0..5 {
            let mut asked = Vec::new();
            for person in &mut people {
                asked.push(person.begin_to_say(room, &format!("round {round}")).await);
            }
            for (person, id) in people.iter_mut().zip(asked) {
                match person.answer(id).await {
                    Ok(Answer::Outcome(Outcome::Sent { revision, .. })) => {
                        assert!(person.last[&room] >= revision, "what one said came before the answer");
                        last = last.max(revision);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        for person in &mut people {
            person.reach(room, last).await;
        }
        assert_eq!(people[0].messages(room), people[1].messages(room));
        assert_eq!(people[1].messages(room), people[2].messages(room));
        // Removed at one node, the third hears of it at its own, and is let in nowhere.
        let out = Command::Remove { room, accounts: vec!["cay".parse().unwrap()] };
        people[0].ask(out).await.unwrap();
        while !people[2].reset.contains_key(&room) {
            people[2].read().await;
        }
        assert_eq!(people[2].reset[&room], ResetWhy::Removed);
        let members = Query::Members { room, after: None, limit: None };
        assert_eq!(people[2].query(members).await, Err(Reason::NotAMember));
        let last = people[1].say(room, "she is gone").await;
        people[0].reach(room, last).await;
        assert!(people[2].last[&room] < last);
    }
    let answered: u64 =
        nodes.iter().map(|node| metric(node, "chamberlain_commands_forwarded_total{outcome=\"answered\"}")).sum();
    assert!(answered > 20, "commands went to the owners of their rooms: {answered}");
    let else_where: u64 = ["late", "nobody", "declined"]
        .iter()
        .flat_map(|how| {
            nodes
                .iter()
                .map(move |node| metric(node, &format!("chamberlain_commands_forwarded_total{{outcome=\"{how}\"}}")))
        })
        .sum();
    assert_eq!(else_where, 0);
}

fn metric(node: &Node, name: &str) -> u64 {
    let text = node.metrics().encode();
    let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::trim).map(str::to_owned));
    line.unwrap_or_else(|| panic!("{name} is not among {text}")).parse().unwrap()
}

#[tokio::test]
async fn who_is_told_of_a_room_at_one_node_may_open_it_at_once() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let nodes = nodes(2, &stores, &bus).await;
    let mut ann = Person::come(&nodes[0], "ann").await;
    let mut bob = Person::come(&nodes[1], "bob").await;
    let mut cay = Person::come(&nodes[1], "cay").await;
    for _ in 0..40 {
        // The room is in memory at bob's node before bob is in it.
        let room = ann.channel(&["cay"]).await;
        cay.hears_of(room).await;
        cay.open(room).await;
        let accounts = vec!["bob".parse().unwrap()];
        ann.ask(Command::Add { room, accounts, channels: Vec::new(), bots: false, history: History::All })
            .await
            .unwrap();
        bob.open(room).await;
        let last = bob.say(room, "here I am").await;
        cay.reach(room, last).await;
    }
}

#[tokio::test]
async fn rooms_of_a_node_that_is_cut_off_go_on_at_the_others() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let nodes = nodes(3, &stores, &bus).await;
    let mut ann = Person::come(&nodes[0], "ann").await;
    let mut rooms = Vec::new();
    for _ in 0..12 {
        rooms.push(ann.channel(&[]).await);
    }
    let begun = Instant::now();
    bus.cut(life(2));
    for room in &rooms {
        ann.say(*room, "does it go on?").await;
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    knows(&nodes[0], 1).await;
    // It serves on its own: it cannot know that it is the one who is gone. What it appends is in the same logs.
    knows(&nodes[1], 0).await;
    let mut bob = Person::come(&nodes[1], "ann").await;
    bob.next = 1_000;
    for room in &rooms {
        bob.open(*room).await;
        let (here, there) = (bob.say(*room, "one side").await, ann.say(*room, "the other").await);
        assert!(there > here, "compare-and-append puts both in order");
    }
}

/// A node that announces itself and answers nothing, as one whose process is stopped.
#[tokio::test]
async fn commands_of_rooms_whose_owner_does_not_answer_are_carried_out_here() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let node = begin(1, &stores, bus.connect(life(1)));
    let mut mute = bus.connect(life(9));
    let mut sealer = LetterSealer::new(&keys(), life(9));
    let announced = Letter::Announce(Fleet::announcement("mute".into(), life(9), "1".into()));
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                biased;
                heard = mute.heard.recv() => if heard.is_none() { return },
                _ = every.tick() => drop(mute.bus.broadcast(sealer.seal(None, &announced).into()).await),
            }
        }
    });
    knows(&node, 1).await;
    let mut ann = Person::come(&node, "ann").await;
    for _ in 0..6 {
        let room = ann.channel(&[]).await;
        let begun = Instant::now();
        ann.say(room, "is anybody there?").await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        // What is refused here may still be done there, when it wakes: that is not the last word.
        let refused = ann.ask(Command::Rename { room, name: "  ".into() }).await;
        assert!(matches!(refused, Err(Reason::Deadline | Reason::InvalidName)), "{refused:?}");
    }
    assert!(metric(&node, "chamberlain_commands_forwarded_total{outcome=\"late\"}") > 0);
}

#[tokio::test]
async fn a_node_that_drains_hands_its_rooms_over() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let nodes = nodes(2, &stores, &bus).await;
    let mut ann = Person::come(&nodes[0], "ann").await;
    let mut rooms = Vec::new();
    for _ in 0..6 {
        rooms.push(ann.channel(&[]).await);
    }
    let going = nodes[1].clone();
    let drained = tokio::spawn(async move { going.drain().await });
    for room in rooms.iter().cycle().take(60) {
        ann.say(*room, "meanwhile").await;
    }
    drained.await.unwrap();
    knows(&nodes[0], 0).await;
    for how in ["late", "nobody"] {
        let name = format!("chamberlain_commands_forwarded_total{{outcome=\"{how}\"}}");
        assert_eq!(metric(&nodes[0], &name), 0, "nothing waited for a node that went in an orderly way");
    }
}

#[tokio::test]
async fn who_is_shut_out_at_one_node_is_put_out_at_all() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let nodes = nodes(2, &stores, &bus).await;
    let mut root = Person::come(&nodes[0], "root").await;
    let mut bob = Person::come(&nodes[1], "bob").await;
    let room = root.channel(&["bob"]).await;
    bob.hears_of(room).await;
    root.ask(Command::DisableAccount { account: "bob".parse().unwrap() }).await.unwrap();
    while bob.bye.is_none() {
        bob.read().await;
    }
    assert_eq!(bob.bye, Some(4003));
    let accounts = vec!["bob".parse().unwrap()];
    let again = Command::Add { room, accounts, channels: Vec::new(), bots: false, history: History::All };
    assert_eq!(root.ask(again).await, Err(Reason::AccountDisabled));
}

/// Logs of which nobody is told when they grow.
struct Silent {
    inner: Arc<dyn LogStore>,
    mute: broadcast::Sender<Moved>,
}

impl LogStore for Silent {
    fn append<'a>(&'a self, log: &'a LogId, expected: Head, record: RecordBytes, after: Head) -> Pending<'a, Appended> {
        self.inner.append(log, expected, record, after)
    }

    fn read<'a>(&'a self, log: &'a LogId, after: Revision, max_bytes: usize) -> Pending<'a, Vec<RecordBytes>> {
        self.inner.read(log, after, max_bytes)
    }

    fn head<'a>(&'a self, log: &'a LogId) -> Pending<'a, Head> {
        self.inner.head(log)
    }

    fn erase<'a>(&'a self, log: &'a LogId, revision: Revision) -> Pending<'a, ()> {
        self.inner.erase(log, revision)
    }

    fn watch(&self) -> broadcast::Receiver<Moved> {
        self.mute.subscribe()
    }

    fn list<'a>(&'a self, after: Option<&'a LogId>, limit: usize) -> Pending<'a, Vec<LogId>> {
        self.inner.list(after, limit)
    }
}

/// RACES.md, N-15.
#[tokio::test]
async fn what_was_lost_while_the_bus_was_away_is_read_when_it_is_back() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let deaf = Stores {
        logs: Arc::new(Silent { inner: stores.logs.clone(), mute: broadcast::Sender::new(16) }),
        ..stores.clone()
    };
    let nodes = [begin(1, &stores, bus.connect(life(1))), begin(2, &deaf, bus.connect(life(2)))];
    knows(&nodes[0], 1).await;
    knows(&nodes[1], 1).await;
    let mut ann = Person::come(&nodes[0], "ann").await;
    let mut bob = Person::come(&nodes[1], "bob").await;
    let room = ann.channel(&["bob"]).await;
    sleep(Duration::from_millis(300)).await;
    assert!(bob.told.is_empty());
    bus.gap(life(2));
    bob.hears_of(room).await;
    bob.open(room).await;
    let last = ann.say(room, "can you hear me?").await;
    let quiet = timeout(Duration::from_millis(300), bob.reach(room, last)).await;
    // The owner shows it to its own people, whoever asked.
    if quiet.is_err() {
        bus.gap(life(2));
        bob.reach(room, last).await;
    }
}

#[tokio::test]
async fn a_letter_that_nobody_of_the_site_wrote_is_not_believed() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let node = begin(1, &stores, bus.connect(life(1)));
    let mut stranger = bus.connect(life(66));
    let foreign = SiteKeys::new("here".parse().unwrap(), &MasterKey::from_bytes([8; 32]));
    let mut sealer = LetterSealer::new(&foreign, life(66));
    let said = Letter::Announce(Fleet::announcement("mallory".into(), life(66), "1".into()));
    stranger.bus.broadcast(sealer.seal(None, &said).into()).await.unwrap();
    stranger.bus.broadcast(vec![0; 3].into()).await.unwrap();
    let heard = timeout(Duration::from_secs(5), stranger.heard.recv()).await.unwrap();
    assert!(matches!(heard, Some(Heard::Letter(_))), "the node announces itself");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(node.others(), []);
    assert_eq!(metric(&node, "chamberlain_letters_refused_total"), 2);
}
