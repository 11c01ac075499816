//! A store that fails before or after the effect: what is told and listed stays true.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chamberlain_core::id::{LogId, RequestId, Revision, RoomId};
use chamberlain_core::limits::Limits;
use chamberlain_core::log::{Head, RecordBytes};
use chamberlain_core::room::{Command, Outcome, Reason};
use chamberlain_core::site::{MasterKey, SiteKeys};
use chamberlain_core::time::Timestamp;
use chamberlain_core::wire::{AccountChange, Answer, ClientFrame, Codec, Hello, Query, ServerFrame};
use chamberlain_net::auth::{AuthError, Authenticate, Identity};
use chamberlain_net::gateway;
use chamberlain_net::node::{Node, Retain, Settings};
use chamberlain_stores::memory::MemoryStores;
use chamberlain_stores::{Appended, LogStore, Moved, Pending, StoreError};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::broadcast;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Logs whose next calls fail.
struct Unsure {
    inner: Arc<dyn LogStore>,
    /// So many appends to logs of accounts take place, and say that they may not have.
    unknown_appends: AtomicU32,
    /// So many reads of logs of rooms fail.
    failing_reads: AtomicU32,
}

fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

impl LogStore for Unsure {
    fn append<'a>(&'a self, log: &'a LogId, expected: Head, record: RecordBytes, after: Head) -> Pending<'a, Appended> {
        Box::pin(async move {
            let appended = self.inner.append(log, expected, record, after).await?;
            if matches!(log, LogId::Account(_)) && take(&self.unknown_appends) {
                return Err(StoreError::Unknown("on purpose".into()));
            }
            Ok(appended)
        })
    }

    fn read<'a>(&'a self, log: &'a LogId, after: Revision, max_bytes: usize) -> Pending<'a, Vec<RecordBytes>> {
        if matches!(log, LogId::Room(_)) && take(&self.failing_reads) {
            return Box::pin(std::future::ready(Err(StoreError::Unavailable("on purpose".into()))));
        }
        self.inner.read(log, after, max_bytes)
    }

    fn head<'a>(&'a self, log: &'a LogId) -> Pending<'a, Head> {
        self.inner.head(log)
    }

    fn erase<'a>(&'a self, log: &'a LogId, revision: Revision) -> Pending<'a, ()> {
        self.inner.erase(log, revision)
    }

    fn watch(&self) -> broadcast::Receiver<Moved> {
        self.inner.watch()
    }

    fn list<'a>(&'a self, after: Option<&'a LogId>, limit: usize) -> Pending<'a, Vec<LogId>> {
        self.inner.list(after, limit)
    }
}

struct AnyName;

impl Authenticate for AnyName {
    fn authenticate(&self, token: &str, _: Timestamp) -> Result<Identity, AuthError> {
        Ok(who(token))
    }

    fn sign_in(&self) -> &'static str {
        "development"
    }

    fn provision(&self) -> bool {
        true
    }
}

fn who(name: &str) -> Identity {
    Identity { account: name.parse().unwrap(), name: None, admin: false, expires: None }
}

/// A node, and the logs beneath it; the stores outlive the node.
fn node(memory: &MemoryStores) -> (Node, Arc<Unsure>) {
    let mut stores = memory.stores();
    let logs = Arc::new(Unsure {
        inner: stores.logs.clone(),
        unknown_appends: AtomicU32::new(0),
        failing_reads: AtomicU32::new(0),
    });
    stores.logs = logs.clone();
    let settings = Settings {
        keys: Arc::new(SiteKeys::new("here".parse().unwrap(), &MasterKey::from_bytes([7; 32]))),
        node: "n1".into(),
        limits: Arc::new(Limits { retry_first_ms: 1, retry_most_ms: 5, ..Limits::default() }),
        retain: Retain::All,
        framing: gateway::frame,
    };
    (Node::start(settings, stores), logs)
}

async fn create(node: &Node, name: &str) -> RoomId {
    let command =
        Command::CreateChannel { name: name.into(), accounts: vec!["bob".parse().unwrap()], channels: vec![] };
    let id = RequestId::from_random([name.len() as u8; 16]);
    match node.command(&who("ada"), id, command).await.unwrap() {
        Outcome::Created { room, .. } => room,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_account_is_told_of_a_room_although_the_append_did_not_say_that_it_took_place() {
    let (node, logs) = node(&MemoryStores::new());
    for name in ["ada", "bob"] {
        node.sign_in(&who(name), true).await.unwrap();
    }
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(gateway::run(theirs, Codec::Json, node.clone(), Arc::new(AnyName)));
    let mut bob = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let hello = Codec::Json.encode(&ClientFrame::Hello(Hello { token: "bob".into(), batch: true }));
    bob.send(Message::text(String::from_utf8(hello).unwrap())).await.unwrap();
    assert!(matches!(next(&mut bob).await, ServerFrame::Welcome(_)));
    logs.unknown_appends.store(2, Ordering::Relaxed);
    let room = create(&node, "tea").await;
    match next(&mut bob).await {
        ServerFrame::Account { revision: Revision(1), event: AccountChange::Joined { room: told, .. } } => {
            assert_eq!(told, room);
        }
        other => panic!("{other:?}"),
    }
    node.drain().await;
}

async fn next(ws: &mut WebSocketStream<tokio::io::DuplexStream>) -> ServerFrame {
    let message = tokio::time::timeout(Duration::from_secs(5), ws.next()).await.expect("in time");
    match message.expect("open").expect("readable") {
        Message::Text(text) => Codec::Json.decode_server(text.as_bytes()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_list_of_rooms_that_cannot_be_complete_is_refused() {
    let memory = MemoryStores::new();
    let (first, _) = node(&memory);
    for name in ["ada", "bob"] {
        first.sign_in(&who(name), true).await.unwrap();
    }
    create(&first, "tea").await;
    create(&first, "coffee").await;
    first.drain().await;
    let (again, logs) = node(&memory);
    logs.failing_reads.store(1, Ordering::Relaxed);
    let refused = again.query(&who("ada"), Query::Rooms).await.expect_err("one of the rooms cannot be reached");
    assert_eq!(refused.reason, Reason::StoreUnavailable);
    match again.query(&who("ada"), Query::Rooms).await.unwrap() {
        Answer::Rooms { rooms, .. } => assert_eq!(rooms.len(), 2),
        other => panic!("{other:?}"),
    }
    again.drain().await;
}
