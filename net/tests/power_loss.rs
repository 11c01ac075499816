//! The power fails under load: whatever was acknowledged is there, once, and whatever was not can be asked again.
//!
//! The whole node over the real embedded store, on a disk that drops or tears what was not synced.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chamberlain_core::id::{AccountId, LogId, MessageId, RequestId, Revision, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Head, Record};
use chamberlain_core::room::{Command, Content, Event, Outcome, Submit};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_net::auth::Identity;
use chamberlain_net::gateway;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_stores::embedded::{Embedded, Options};
use chamberlain_stores::faulty::{Disk, Faults};

const WRITERS: u64 = 6;
const ROOMS: u64 = 3;
const PER_WRITER: u64 = 30;

/// A command, and what was answered before the power failed.
struct Asked {
    who: Identity,
    id: RequestId,
    command: Command,
    answered: Option<Outcome>,
}

async fn start(disk: &Disk) -> Option<(Node, Embedded)> {
    let master = MasterKey::from_bytes([9; 32]);
    let site = "here".parse().unwrap();
    let options = Options { cache_bytes: 1024 * 1024, ..Options::default() };
    let store = Embedded::open_medium(disk.clone(), &master, &site, options).await.ok()?;
    let settings = Settings {
        keys: Arc::new(SiteKeys::new(site, &master)),
        node: "n1".into(),
        limits: Arc::new(Limits {
            command_deadline_ms: 400,
            retry_first_ms: 5,
            retry_most_ms: 20,
            ..Limits::default()
        }),
        retain: Retain::All,
        framing: gateway::frame,
    };
    Some((Node::start(settings, store.stores()), store))
}

fn who(writer: u64) -> Identity {
    Identity { account: format!("writer-{writer}").parse().unwrap(), name: None, admin: false, expires: None }
}

fn request(seed: u64, writer: u64, nth: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(seed << 32 | writer << 16 | nth).to_be_bytes());
    RequestId::from_random(bytes)
}

/// Begins rooms and writes into them until the power fails or everything is said.
async fn write(node: Node, seed: u64, writer: u64) -> Vec<Asked> {
    let who = who(writer);
    let mut asked = Vec::new();
    let mut rooms = Vec::new();
    for nth in 0..PER_WRITER {
        let id = request(seed, writer, nth);
        let command = if nth < ROOMS {
            Command::CreateChannel { name: format!("room {nth}"), accounts: vec![], channels: vec![] }
        } else {
            let room = rooms[(nth % ROOMS) as usize];
            let message: MessageId = format!("{nth:0>20}").parse().unwrap();
            Command::Submit(Submit { room, message, content: Content::Plain { text: format!("text {nth}") } })
        };
        let answered = node.command(&who, id, command.clone()).await.ok();
        if let Some(Outcome::Created { room, .. }) = answered {
            rooms.push(room);
        }
        let done = answered.is_some();
        asked.push(Asked { who: who.clone(), id, command, answered });
        if !done {
            break;
        }
    }
    asked
}

/// Every entry of a room's log by its request, with the revisions it recorded; the chain is checked on the way.
async fn entries(store: &Embedded, room: RoomId) -> BTreeMap<(AccountId, RequestId), Vec<(Revision, Revision)>> {
    let log = LogId::Room(room);
    let logs = store.stores().logs;
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut head = Head::EMPTY;
    loop {
        let records = logs.read(&log, head.revision, 1 << 20).await.unwrap();
        if records.is_empty() {
            assert_eq!(logs.head(&log).await.unwrap(), head, "the head is another than the chain leads to");
            return found;
        }
        for bytes in records {
            let record = Record::<Event>::decode(&bytes.bytes).unwrap();
            head = record.extend(head).expect("the chain goes on");
            let mut first = Revision::ZERO;
            for item in record.items() {
                if item.opens_entry {
                    first = item.revision;
                }
                if let (true, Some(request)) = (item.closes_entry, item.request) {
                    found.entry((item.account.clone(), request)).or_default().push((first, item.revision));
                }
            }
        }
    }
}

async fn round(seed: u64) -> bool {
    let disk = Disk::new(seed);
    let (node, store) = start(&disk).await.unwrap();
    for writer in 0..WRITERS {
        node.sign_in(&who(writer), true).await.unwrap();
    }
    let crash_at = disk.calls() + 1 + (seed * 37) % 900;
    disk.set_faults(Faults { crash_at: Some(crash_at), ..Faults::default() });
    let writing: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(node.clone(), seed, writer))).collect();
    let mut asked = Vec::new();
    for writer in writing {
        asked.extend(writer.await.unwrap());
    }
    let crashed = disk.has_crashed();
    drop((node, store));

    disk.power_on();
    let (node, store) = start(&disk).await.expect("what survived can be opened");
    for asked in &asked {
        let again = node.command(&asked.who, asked.id, asked.command.clone()).await;
        let again = again.unwrap_or_else(|refused| panic!("seed {seed}: refused after the restart: {refused}"));
        let Some(before) = asked.answered else { continue };
        assert_eq!(before, again, "seed {seed}: a retry is answered otherwise");
    }
    for asked in &asked {
        let room = match node.command(&asked.who, asked.id, asked.command.clone()).await.unwrap() {
            Outcome::Created { room, .. } => room,
            _ => asked.command.room().unwrap(),
        };
        let entries = entries(&store, room).await;
        let recorded = &entries[&(asked.who.account.clone(), asked.id)];
        assert_eq!(recorded.len(), 1, "seed {seed}: {} was recorded {} times", asked.id, recorded.len());
        if let Some(Outcome::Sent { revision, .. }) = asked.answered {
            assert_eq!(recorded[0].0, revision, "seed {seed}: at another revision than was acknowledged");
        }
    }
    tokio::time::timeout(Duration::from_secs(5), node.drain()).await.expect("drained");
    crashed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_is_there_once_whenever_the_power_fails() {
    let seconds = std::env::var("CHAMBERLAIN_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut crashes = 0;
    let mut seed = 0;
    while seed < 24 || tokio::time::Instant::now() < until {
        crashes += u32::from(round(seed).await);
        seed += 1;
    }
    assert!(crashes > 12, "the power failed in {crashes} rounds only: the test proves little");
}
