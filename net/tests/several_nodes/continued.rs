//! Rooms that go on after a loss because an operator says so (RACES.md, N-14, K-19, K-22).

use std::sync::Arc;

use chamberlain_core::id::{KeyVersion, LogId, Revision, RoomId};
use chamberlain_core::log::Record;
use chamberlain_core::room::{Command, Event, Fold, Outcome, Reason, Refused};
use chamberlain_core::wire::{Answer, ResetWhy};
use chamberlain_net::auth::Identity;
use chamberlain_net::bus::LocalBus;
use chamberlain_net::node::{Loss, Node};
use chamberlain_stores::memory::{MemoryStores, OlderLogs};
use chamberlain_stores::{Pending, Snapshot, SnapshotStore, StoreError, Stores};
use tokio::runtime::Runtime;

use super::forgetting::{add, effects_are_done, eventually, remove, rooms_in_log};
use super::harness::{Person, life, metric, nodes};

fn root() -> Identity {
    Identity { account: "root".parse().unwrap(), name: None, admin: true, expires: None }
}

/// What happens in one life of all nodes; nothing of their memory is left of it.
fn in_one_life<T>(happens: impl Future<Output = T>) -> T {
    let runtime = Runtime::new().unwrap();
    let came = runtime.block_on(happens);
    runtime.shutdown_background();
    came
}

async fn ask(node: &Node, room: RoomId, head: Option<&str>) -> Result<Loss, Refused> {
    node.continue_room(&root(), room, head.map(str::to_owned)).await
}

/// A room whose key was moved on in what is lost; cay was removed there and dan was added. The last revision, and the copy.
async fn story(memory: &MemoryStores) -> (RoomId, Revision, OlderLogs) {
    let (stores, bus) = (memory.stores(), LocalBus::new());
    let nodes = nodes(2, &stores, &bus).await;
    let mut ann = Person::come(&nodes[0], "ann").await;
    for name in ["bob", "cay", "dan"] {
        drop(Person::come(&nodes[0], name).await);
    }
    let room = ann.channel(&["bob", "cay"]).await;
    ann.open(room).await;
    ann.say(room, "this is kept").await;
    effects_are_done(&stores, room, Revision(2)).await;
    eventually("cay hears of it", async || rooms_in_log(&stores, "cay").await == [room]).await;
    let older = memory.copy_of_logs();
    ann.say(room, "this is forgotten").await;
    ann.ask(remove(room, "cay")).await.unwrap();
    ann.ask(add(room, "dan")).await.unwrap();
    ann.ask(Command::Rotate { room }).await.unwrap();
    let last = ann.say(room, "this, too").await;
    ann.reach(room, last).await;
    eventually("dan hears of it", async || rooms_in_log(&stores, "dan").await == [room]).await;
    eventually("cay hears of it", async || rooms_in_log(&stores, "cay").await.is_empty()).await;
    (room, last, older)
}

/// Somebody who was there in another life, and asks under other request ids.
async fn again(node: &Node, name: &'static str) -> Person {
    let mut person = Person::come(node, name).await;
    person.next = 1_000;
    person
}

/// Keeps the fold of a room as it is, as a node does every so often.
async fn keep_snapshot(stores: &Stores, room: RoomId) {
    let log = LogId::Room(room);
    let mut fold = Fold::new(room, 100);
    for stored in stores.logs.read(&log, Revision::ZERO, usize::MAX).await.unwrap() {
        let record = Record::<Event>::decode(&stored.bytes).unwrap();
        let after = record.extend(fold.state.head()).unwrap();
        fold.apply(&record, after).unwrap();
    }
    let snapshot = Snapshot { revision: fold.state.head().revision, bytes: fold.to_snapshot().into() };
    stores.snapshots.put(&log, snapshot).await.unwrap();
}

async fn version_of(person: &mut Person, room: RoomId, text: &str) -> KeyVersion {
    let id = person.begin_to_say(room, text).await;
    match person.answer(id).await {
        Ok(Answer::Outcome(Outcome::Sent { version, .. })) => version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_room_that_lost_its_end_goes_on_beyond_all_that_was_seen_when_an_operator_says_so() {
    let memory = MemoryStores::new();
    let (room, last, older) = in_one_life(story(&memory));
    let log = LogId::Room(room);
    in_one_life(keep_snapshot(&memory.stores(), room));
    memory.put_back_one(&log, &older);
    in_one_life(async {
        let (stores, bus) = (memory.stores(), LocalBus::new());
        let nodes = nodes(2, &stores, &bus).await;
        let ended = stores.logs.head(&log).await.unwrap().revision;
        let told = ask(&nodes[0], room, None).await.unwrap();
        assert!(told.lossy && told.continued.is_none());
        assert_eq!((told.ended, told.known, told.snapshot), (ended, last, last));
        assert!(told.effects > ended);
        assert!(told.known > ended && told.lost.is_empty(), "nobody holds it");
        assert_eq!(told.out, ["cay".parse().unwrap()], "her own log remembers that she left");
        // Removal, addition and rotation took a version each, or fewer: the vault holds them all.
        assert!(told.version > KeyVersion(2), "{told:?}");
        assert_eq!(stores.logs.head(&log).await.unwrap().revision, ended, "telling changes nothing");

        let other = ask(&nodes[0], room, Some("9-0123456789abcdef")).await.unwrap_err();
        assert_eq!(other.reason, Reason::Overtaken);
        let done = ask(&nodes[0], room, Some(&told.head)).await.unwrap();
        let at = done.continued.unwrap();
        assert!(at > told.known && done.version >= told.version);
        assert_eq!(ask(&nodes[1], room, Some(&told.head)).await.unwrap_err().reason, Reason::Overtaken);

        // Messages flow, under the new key, at both nodes.
        let mut ann = again(&nodes[0], "ann").await;
        let mut bob = again(&nodes[1], "bob").await;
        ann.open(room).await;
        bob.open(room).await;
        assert_eq!(version_of(&mut ann, room, "and on").await, done.version);
        let last = bob.say(room, "I hear you").await;
        assert!(last > at);
        ann.reach(room, last).await;
        bob.reach(room, last).await;
        assert_eq!(ann.messages(room), bob.messages(room));
        assert!(
            bob.items[&room]
                .iter()
                .any(|item| matches!(item.event, Event::Continued { known, .. } if known == told.known))
        );
        let again = ask(&nodes[1], room, None).await.unwrap();
        assert!(!again.lossy, "it is decided: {again:?}");
        assert_eq!(ask(&nodes[1], room, Some(&again.head)).await.unwrap_err().reason, Reason::NothingLost);

        // Who was removed stays out, who was in what is lost alone is told that he is not in.
        eventually("dan is out", async || rooms_in_log(&stores, "dan").await.is_empty()).await;
        eventually("cay is out", async || rooms_in_log(&stores, "cay").await.is_empty()).await;
        let mut cay = Person::come(&nodes[1], "cay").await;
        assert_eq!(cay.ask(Command::Rotate { room }).await, Err(Reason::NotAMember));
        ann.ask(add(room, "dan")).await.unwrap();
        let mut dan = Person::come(&nodes[1], "dan").await;
        eventually("dan is in again", async || rooms_in_log(&stores, "dan").await == [room]).await;
        dan.open(room).await;
        assert!(version_of(&mut dan, room, "here").await >= done.version);
    });
    // Another life: nothing was forgotten of it.
    in_one_life(async {
        let nodes = nodes(1, &memory.stores(), &LocalBus::new()).await;
        let mut ann = again(&nodes[0], "ann").await;
        ann.next = 2_000;
        ann.open(room).await;
        ann.say(room, "still here").await;
    });
}

/// Snapshots that cannot be kept.
struct Stiff(Arc<dyn SnapshotStore>);

impl SnapshotStore for Stiff {
    fn put<'a>(&'a self, _: &'a LogId, _: Snapshot) -> Pending<'a, ()> {
        Box::pin(async { Err(StoreError::Unavailable("as it happens".into())) })
    }

    fn latest<'a>(&'a self, log: &'a LogId) -> Pending<'a, Option<Snapshot>> {
        self.0.latest(log)
    }
}

#[test]
fn a_snapshot_of_what_was_lost_stands_in_nobodys_way() {
    let memory = MemoryStores::new();
    let (room, last, older) = in_one_life(story(&memory));
    in_one_life(keep_snapshot(&memory.stores(), room));
    memory.put_back_one(&LogId::Room(room), &older);
    let stores = memory.stores();
    in_one_life(async {
        let stiff = Stores { snapshots: Arc::new(Stiff(stores.snapshots.clone())), ..stores.clone() };
        let nodes = nodes(1, &stiff, &LocalBus::new()).await;
        let told = ask(&nodes[0], room, None).await.unwrap();
        assert!(ask(&nodes[0], room, Some(&told.head)).await.unwrap().continued.unwrap() > last);
    });
    let shadow = in_one_life(stores.snapshots.latest(&LogId::Room(room))).unwrap().unwrap();
    assert_eq!(shadow.revision, last, "it is of the lost branch, and still the latest");
    in_one_life(async {
        let nodes = nodes(1, &stores, &LocalBus::new()).await;
        let mut ann = again(&nodes[0], "ann").await;
        ann.open(room).await;
        let next = ann.say(room, "not as it was there").await;
        ann.reach(room, next).await;
        assert!(next > last);
        let told = ask(&nodes[0], room, None).await.unwrap();
        assert!(!told.lossy, "{told:?}");
    });
}

#[test]
fn a_node_that_remembers_the_lost_branch_gives_it_up_when_an_operator_did() {
    let memory = MemoryStores::new();
    let (room, last, older) = in_one_life(story(&memory));
    in_one_life(async {
        let (stores, bus) = (memory.stores(), LocalBus::new());
        let nodes = nodes(2, &stores, &bus).await;
        // Loaded from a snapshot or the log, and nothing of it held: it cannot give back what is lost.
        let mut bob = Person::come(&nodes[1], "bob").await;
        bob.open(room).await;
        bob.reach(room, last).await;
        memory.put_back(older);
        bus.gap(life(2));
        eventually("it is noticed", async || metric(&nodes[1], "chamberlain_logs_quarantined_total") > 0).await;
        while bob.reset.is_empty() {
            bob.read().await;
        }
        assert_eq!(bob.reset[&room], ResetWhy::Quarantined);
        assert!(!bob.try_open(room).await);
        let told = ask(&nodes[0], room, None).await.unwrap();
        assert_eq!(told.nodes, last, "the other node was heard");
        assert_eq!(told.known, last);
        let done = ask(&nodes[0], room, Some(&told.head)).await.unwrap();
        // The logs of accounts came back older as well: she is a member by all that is left.
        eventually("cay hears of it", async || rooms_in_log(&stores, "cay").await == [room]).await;
        bob.reset.clear();
        let mut ann = again(&nodes[0], "ann").await;
        ann.open(room).await;
        assert_eq!(version_of(&mut ann, room, "and on").await, done.version);
        bob.items.clear();
        eventually("it is open again", async || bob.try_open(room).await).await;
        let last = ann.say(room, "and on and on").await;
        bob.reach(room, last).await;
    });
}

#[test]
fn a_room_whose_key_the_vault_lost_goes_on_under_another() {
    let memory = MemoryStores::new();
    let (room, last, _) = in_one_life(story(&memory));
    in_one_life(async {
        let (stores, bus) = (memory.stores(), LocalBus::new());
        let nodes = nodes(2, &stores, &bus).await;
        let mut ann = again(&nodes[0], "ann").await;
        let healthy = ask(&nodes[0], room, None).await.unwrap();
        assert!(!healthy.lossy);
        let lost = KeyVersion(healthy.version.0 - 1);
        stores.vault.destroy(room, lost).await.unwrap();
        // Another was used and destroyed: it is not used again.
        stores.vault.destroy(room, healthy.version).await.unwrap();
        let mut bob = again(&nodes[1], "bob").await;
        bob.open(room).await;
        while bob.reset.is_empty() {
            bob.read().await;
        }
        assert_eq!(bob.reset[&room], ResetWhy::Quarantined);
        let told = ask(&nodes[1], room, None).await.unwrap();
        assert!(told.lossy);
        assert_eq!((told.unreadable.clone(), told.known), (vec![lost], told.ended));
        let done = ask(&nodes[1], room, Some(&told.head)).await.unwrap();
        assert_eq!(done.version, KeyVersion(lost.0 + 2));
        assert!(done.out.is_empty());
        // What was sealed under the lost one is passed over, and nothing else.
        bob.reset.clear();
        bob.items.clear();
        bob.open(room).await;
        let next = ann.say(room, "readable").await;
        bob.reach(room, next).await;
        assert!(bob.reset.is_empty());
        assert!(bob.messages(room).iter().any(|(revision, _)| *revision == next));
        assert!(bob.messages(room).iter().all(|(revision, _)| *revision != last));
        assert!(bob.messages(room).len() > 2);
        let again = ask(&nodes[0], room, None).await.unwrap();
        assert!(!again.lossy && again.unreadable == [lost], "it was given up: {again:?}");
    });
}
