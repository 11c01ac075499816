//! Logs that come back older than they were (RACES.md, N-14): given back by nodes that hold what is missing.

use std::time::Duration;

use chamberlain_core::codec;
use chamberlain_core::fleet::{Letter, LetterSealer, Verdict, open_letter};
use chamberlain_core::id::{AccountId, LogId, RequestId, Revision, RoomId};
use chamberlain_core::log::{Body, Head, Record};
use chamberlain_core::room::{Command, Event, History, Profile, Reason, Request};
use chamberlain_core::wire::{AccountChange, ResetWhy};
use chamberlain_net::bus::{Heard, LocalBus};
use chamberlain_net::node::Node;
use chamberlain_stores::Stores;
use chamberlain_stores::memory::MemoryStores;
use tokio::time::{sleep, timeout};

use super::harness::{Person, begin, keys, knows, life, metric, nodes};

/// Longer than a log is doubted.
pub(crate) const MENDED: Duration = Duration::from_secs(30);

fn all_gap(bus: &LocalBus, count: u8) {
    (1..=count).for_each(|number| bus.gap(life(number)));
}

pub(crate) async fn records(stores: &Stores, log: &LogId) -> Vec<bytes::Bytes> {
    let records = stores.logs.read(log, Revision::ZERO, usize::MAX).await.unwrap();
    records.into_iter().map(|record| record.bytes).collect()
}

async fn whole(nodes: &[&Node], times: u64) {
    let mended = async {
        while nodes.iter().any(|node| metric(node, "chamberlain_logs_mended_total") < times) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MENDED, mended).await.expect("the log is whole again");
}

pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(MENDED, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// The rooms that the log of an account says it is in.
pub(crate) async fn rooms_in_log(stores: &Stores, account: &str) -> Vec<RoomId> {
    let mut state = chamberlain_core::account::AccountState::default();
    for bytes in records(stores, &LogId::Account(account.parse().unwrap())).await {
        let record = Record::<AccountChange>::decode(&bytes).unwrap();
        let head = record.extend(state.head()).unwrap();
        assert!(state.apply(&record, head));
    }
    state.rooms().collect()
}

pub(crate) async fn effects_are_done(stores: &Stores, room: RoomId, revision: Revision) {
    eventually("effects are done", async || {
        let mark = stores.marks.get(&[format!("effects/{room}")]).await.unwrap();
        mark[0] >= revision.0
    })
    .await;
}

pub(crate) fn add(room: RoomId, name: &str) -> Command {
    let accounts = vec![name.parse().unwrap()];
    Command::Add { room, accounts, channels: Vec::new(), bots: false, history: History::All }
}

pub(crate) fn remove(room: RoomId, name: &str) -> Command {
    Command::Remove { room, accounts: vec![name.parse().unwrap()] }
}

/// A room in which ann and bob said something before and after the copy that comes back; what follows has effects of all kinds.
struct Story {
    memory: MemoryStores,
    stores: Stores,
    bus: LocalBus,
    room: RoomId,
    ann: Person,
    bob: Person,
    last: Revision,
    deleted: Revision,
}

async fn story(nodes: &[Node], memory: MemoryStores, bus: LocalBus) -> (Story, chamberlain_stores::memory::OlderLogs) {
    let stores = memory.stores();
    let mut ann = Person::come(&nodes[0], "ann").await;
    let mut bob = Person::come(nodes.last().unwrap(), "bob").await;
    for name in ["cay", "dan"] {
        drop(Person::come(&nodes[0], name).await);
    }
    let room = ann.channel(&["bob", "cay"]).await;
    bob.hears_of(room).await;
    ann.open(room).await;
    bob.open(room).await;
    let kept = ann.say(room, "this is kept").await;
    let deleted = ann.say(room, "this is taken back").await;
    effects_are_done(&stores, room, Revision(2)).await;
    let older = memory.copy_of_logs();
    bob.say(room, "this is forgotten").await;
    ann.ask(Command::Delete { room, revision: deleted }).await.unwrap();
    ann.ask(remove(room, "cay")).await.unwrap();
    ann.ask(add(room, "dan")).await.unwrap();
    let last = ann.say(room, "this, too").await;
    bob.reach(room, last).await;
    effects_are_done(&stores, room, Revision(last.0 - 2)).await;
    assert!(kept < deleted);
    (Story { memory, stores, bus, room, ann, bob, last, deleted }, older)
}

#[tokio::test]
async fn a_log_that_came_back_older_is_given_back_what_nodes_hold() {
    let (memory, bus) = (MemoryStores::new(), LocalBus::new());
    let nodes = nodes(2, &memory.stores(), &bus).await;
    let (mut story, older) = story(&nodes, memory, bus).await;
    let (stores, room) = (story.stores.clone(), story.room);
    let stores = &stores;
    let log = LogId::Room(room);
    let before = records(stores, &log).await;
    story.memory.put_back(older);
    assert!(records(stores, &log).await.len() < before.len());
    all_gap(&story.bus, 2);
    whole(&[&nodes[0], &nodes[1]], 1).await;

    assert_eq!(records(stores, &log).await, before, "the very bytes, erased bodies among them");
    let erased = |bytes: &bytes::Bytes| {
        let record = Record::<Event>::decode(bytes).unwrap();
        record.items().any(|item| item.revision == story.deleted && matches!(item.body, Body::Erased { .. }))
    };
    assert!(before.iter().any(erased), "what was taken back stays away");
    // Nobody was sent away, and everybody goes on.
    let next = story.bob.say(room, "as if nothing had been").await;
    assert_eq!(next, story.last.next());
    story.ann.reach(room, next).await;
    assert!(story.ann.reset.is_empty() && story.bob.reset.is_empty());
    // The logs of accounts went the same way, and were told again.
    eventually("who was removed is out", async || rooms_in_log(stores, "cay").await.is_empty()).await;
    eventually("who was added is in", async || rooms_in_log(stores, "dan").await == [room]).await;
    let mut dan = Person::come(&nodes[1], "dan").await;
    dan.open(room).await;
    dan.reach(room, next).await;
}

#[tokio::test]
async fn a_node_that_began_anew_is_helped_by_one_that_remembers() {
    let (memory, bus) = (MemoryStores::new(), LocalBus::new());
    let nodes = nodes(2, &memory.stores(), &bus).await;
    let (mut story, older) = story(&nodes, memory, bus).await;
    story.memory.put_back(older);
    // Nobody is told of a gap; but a node that never saw the room loads it, and finds that its effects are further.
    let third = begin(3, &story.stores, story.bus.connect(life(3)));
    knows(&third, 2).await;
    let mut eve = Person::come(&third, "bob").await;
    eve.next = 1_000;
    let opened = timeout(MENDED, eve.open(story.room)).await;
    opened.expect("it waits until the log is whole");
    eve.reach(story.room, story.last).await;
    let next = story.ann.say(story.room, "and on").await;
    eve.reach(story.room, next).await;
}

#[tokio::test]
async fn a_log_that_went_another_way_is_left_alone() {
    let (memory, bus) = (MemoryStores::new(), LocalBus::new());
    let nodes = nodes(1, &memory.stores(), &bus).await;
    let (mut story, older) = story(&nodes, memory, bus).await;
    story.memory.put_back(older);
    let log = LogId::Room(story.room);
    // Somebody who knew nothing of it appended something else.
    let stored = records(&story.stores, &log).await;
    let head =
        stored.iter().fold(Head::EMPTY, |head, bytes| Record::<Event>::decode(bytes).unwrap().extend(head).unwrap());
    let other = Record::<Event>::decode(&stored[1]).unwrap();
    let mut other = Record { first: head.revision.next(), ..other };
    other.entries[0].events[0].event = Event::Unchanged;
    other.entries[0].events[0].body = Body::None;
    let after = other.extend(head).unwrap();
    story.stores.logs.append(&log, head, other.encode(), after).await.unwrap();
    let forked = records(&story.stores, &log).await;

    all_gap(&story.bus, 1);
    eventually("it is noticed", async || metric(&nodes[0], "chamberlain_logs_quarantined_total") > 0).await;
    while story.bob.reset.is_empty() {
        story.bob.read().await;
    }
    assert_eq!(story.bob.reset[&story.room], ResetWhy::Quarantined);
    assert_eq!(story.ann.ask(remove(story.room, "bob")).await, Err(Reason::Quarantined));
    assert_eq!(records(&story.stores, &log).await, forked, "nothing is written");
    assert_eq!(metric(&nodes[0], "chamberlain_logs_mended_total"), 0);
}

#[tokio::test]
async fn a_node_that_was_shown_less_does_not_append_where_something_was() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let node = begin(1, &stores, bus.connect(life(1)));
    let mut ann = Person::come(&node, "ann").await;
    let room = ann.channel(&[]).await;
    ann.open(room).await;
    ann.say(room, "this is all there is").await;
    let mut other = bus.connect(life(9));
    let mut sealer = LetterSealer::new(&keys(), life(9));
    let ann = "ann".parse::<AccountId>().unwrap();
    let profile = Profile { name: "Ann".into(), bot: false, disabled: false, admin: false };
    let head = async || stores.logs.head(&LogId::Room(room)).await.unwrap().revision;

    for (id, more, declined) in [(1, 0, false), (2, 1, true)] {
        let before = head().await;
        let command = Command::Rename { room, name: "another".into() };
        let request = Request {
            room,
            account: ann.clone(),
            id: RequestId::from_random([id as u8; 16]),
            fingerprint: keys().fingerprint(&codec::encode(&command)),
            command,
            from_channels: Vec::new(),
            foreign_channel: false,
            people: [(ann.clone(), profile.clone())].into(),
        };
        let shown = Revision(before.0 + more);
        let letter = Letter::Command { from: life(9), id, shown, request: codec::encode(&request) };
        other.bus.send(life(1), sealer.seal(Some(life(1)), &letter).into(), id).await.unwrap();
        let answer = async {
            loop {
                let Some(Heard::Letter(bytes)) = other.heard.recv().await else { continue };
                if let Ok(Letter::Answer { verdict, .. }) = open_letter(&keys(), life(9), &bytes) {
                    return verdict;
                }
            }
        };
        let verdict = timeout(Duration::from_secs(5), answer).await.unwrap();
        assert_eq!(verdict == Verdict::Declined, declined, "{verdict:?}");
        assert_eq!(head().await > before, !declined);
    }
}
