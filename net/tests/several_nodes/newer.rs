//! Kinds of events that not every node knows (RACES.md, N-20).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chamberlain_core::fleet::{Announcement, Fleet, Letter, LetterSealer, Verdict, open_letter};
use chamberlain_core::id::{KeyVersion, LogId, Revision};
use chamberlain_core::log::{Body, Entry, Head, Logged, Record};
use chamberlain_core::room::{Command, EVENT_KINDS, Event, Reason};
use chamberlain_core::site::Fingerprint;
use chamberlain_net::auth::Identity;
use chamberlain_net::bus::{Connected, Heard, LocalBus};
use chamberlain_stores::Stores;
use chamberlain_stores::memory::MemoryStores;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::forgetting::eventually;
use super::harness::{Person, begin, keys, knows, life, metric};

/// Another node of the site that knows so many kinds; it answers every command it is asked for as one of an archived room.
fn stranger(mut connected: Connected, kinds: u32) -> Arc<Mutex<u32>> {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let said = Fleet::announcement("stranger".into(), life(9), "9.9.9".into());
    let said = Letter::Announce(Announcement { kinds, ..said });
    let mut sealer = LetterSealer::new(&keys(), life(9));
    tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                heard = connected.heard.recv() => {
                    let Some(heard) = heard else { return };
                    let Heard::Letter(bytes) = heard else { continue };
                    if let Ok(Letter::Command { from, id, .. }) = open_letter(&keys(), life(9), &bytes) {
                        *count.lock().unwrap() += 1;
                        let refused = Verdict::Refused { reason: Reason::Archived, message: "over".into(), current: None };
                        let answer = sealer.seal(Some(from), &Letter::Answer { id, verdict: refused });
                        connected.bus.send(from, answer.into(), 0).await.unwrap();
                    }
                }
                _ = every.tick() => drop(connected.bus.broadcast(sealer.seal(None, &said).into()).await),
            }
        }
    });
    asked
}

/// Events of a version that knows one kind more.
#[derive(Clone, Serialize, Deserialize)]
struct Newer(u32);

async fn append_newer(stores: &Stores, log: &LogId) {
    let before: Head = stores.logs.head(log).await.unwrap();
    let event = Logged { event: Newer(EVENT_KINDS.len() as u32), body: Body::None };
    let entry = Entry {
        account: "ann".parse().unwrap(),
        request: None,
        fingerprint: Fingerprint::default(),
        events: vec![event],
    };
    let time = chamberlain_core::time::Timestamp(4_000_000_000_000);
    let record = Record { first: before.revision.next(), time, entries: vec![entry] };
    // The number of a kind is encoded like any small number.
    assert!(Record::<Event>::decode(&record.encode().bytes).unwrap_err().is_newer());
    let after = record.extend(before).unwrap();
    stores.logs.append(log, before, record.encode(), after).await.unwrap();
}

#[tokio::test]
async fn a_kind_that_a_node_does_not_know_is_not_written() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let node = begin(1, &stores, bus.connect(life(1)));
    let mut ann = Person::come(&node, "ann").await;
    let room = ann.channel(&[]).await;
    stores.vault.destroy(room, KeyVersion(0)).await.unwrap();
    let older = EVENT_KINDS.len() as u32 - 1;
    let asked = stranger(bus.connect(life(9)), older);
    knows(&node, 1).await;
    let root = Identity { account: "root".parse().unwrap(), name: None, admin: true, expires: None };
    let told = node.continue_room(&root, room, None).await.unwrap();
    assert!(told.lossy);
    assert_eq!(told.older_nodes, ["stranger (9.9.9)"]);
    let before = stores.logs.head(&LogId::Room(room)).await.unwrap();
    let refused = node.continue_room(&root, room, Some(told.head)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::OlderNode);
    assert!(refused.message.contains("stranger (9.9.9)"), "{refused}");
    assert_eq!(stores.logs.head(&LogId::Room(room)).await.unwrap(), before);
    assert_eq!(*asked.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_log_that_a_newer_version_wrote_to_is_left_to_nodes_that_can_read_it() {
    let (stores, bus) = (MemoryStores::new().stores(), LocalBus::new());
    let node = begin(1, &stores, bus.connect(life(1)));
    let mut ann = Person::come(&node, "ann").await;
    let (room, cold) = (ann.channel(&[]).await, ann.channel(&[]).await);
    ann.open(room).await;
    let last = ann.say(room, "this can be read").await;
    append_newer(&stores, &LogId::Room(room)).await;
    eventually("it is noticed", async || metric(&node, "chamberlain_logs_newer_total") == 1).await;

    let rename = |name: &str| Command::Rename { room, name: name.into() };
    assert_eq!(ann.ask(rename("alone")).await, Err(Reason::NewerLog));
    // What can be read is served, to whoever comes as well.
    let mut other = Person::come(&node, "ann").await;
    other.next = 1_000;
    other.open(room).await;
    other.reach(room, last).await;
    assert_eq!(node.any_room(room).await.unwrap().problem, Some(Reason::NewerLog));
    // Nothing is wrong with it.
    bus.gap(life(1));
    assert_eq!(metric(&node, "chamberlain_logs_quarantined_total"), 0);

    // One that knows more is asked, whoever owns the room.
    let asked = stranger(bus.connect(life(9)), EVENT_KINDS.len() as u32 + 1);
    knows(&node, 1).await;
    for nth in 0..4 {
        assert_eq!(ann.ask(rename(&format!("name {nth}"))).await, Err(Reason::Archived));
    }
    assert_eq!(*asked.lock().unwrap(), 4);
    assert_eq!(metric(&node, "chamberlain_logs_quarantined_total"), 0);
    assert!(ann.reset.is_empty() && other.reset.is_empty());

    // Found out when it is loaded, as after a restart.
    append_newer(&stores, &LogId::Room(cold)).await;
    let fresh = begin(2, &stores, LocalBus::new().connect(life(2)));
    let mut third = Person::come(&fresh, "ann").await;
    third.next = 2_000;
    timeout(Duration::from_secs(5), third.open(cold)).await.expect("at once");
    third.reach(cold, Revision(4)).await;
    let alone = Command::Rename { room: cold, name: "alone".into() };
    assert_eq!(third.ask(alone).await, Err(Reason::NewerLog));
    assert_eq!(metric(&fresh, "chamberlain_logs_quarantined_total"), 0);
}
