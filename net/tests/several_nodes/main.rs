//! Several nodes over the same stores, which speak to each other over a bus: people at different nodes talk as if there were one.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod continued;
mod forgetting;
mod harness;
mod newer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chamberlain_core::fleet::{Fleet, Letter, LetterSealer};
use chamberlain_core::id::{LogId, Revision};
use chamberlain_core::log::{Head, RecordBytes};
use chamberlain_core::room::{Command, History, Outcome, Reason};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::wire::{Answer, Query, ResetWhy};
use chamberlain_net::bus::{Heard, LocalBus};
use chamberlain_stores::directory::LoggedDirectory;
use chamberlain_stores::directory::memory::MemoryTables;
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Appended, LogStore, Moved, Pending, Stores};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use harness::{Person, begin, keys, knows, life, metric, nodes};

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

/// The directory's own log tells of its changes, also where letters are lost.
#[tokio::test]
async fn who_is_shut_out_at_a_node_that_is_cut_off_is_put_out_at_all() {
    let (stores, bus, tables) = (MemoryStores::new().stores(), LocalBus::new(), Arc::new(MemoryTables::new()));
    let nodes = [1, 2].map(|number| {
        let directory = LoggedDirectory::new(stores.logs.clone(), tables.clone(), 64 * 1024);
        begin(number, &Stores { directory: Arc::new(directory), ..stores.clone() }, bus.connect(life(number)))
    });
    let mut root = Person::come(&nodes[0], "root").await;
    let mut bob = Person::come(&nodes[1], "bob").await;
    bus.cut(life(1));
    root.ask(Command::DisableAccount { account: "bob".parse().unwrap() }).await.unwrap();
    while bob.bye.is_none() {
        bob.read().await;
    }
    assert_eq!(bob.bye, Some(4003));
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
