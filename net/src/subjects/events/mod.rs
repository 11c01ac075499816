//! Events: what accounts and rooms hear on their subjects, published by the node that committed it, at most once.
//!
//! One queue and one task for a share of the rooms, over one connection: what is published of a room keeps its order. An account
//! hears of a room before it gets the room's key, and a key is published before the first event under it: the key of a version
//! goes to members who have heard of the room, and to the others with what tells them. A key event is written once, however
//! many get it. Keys go to accounts that the fold of this very moment has among the members and lets hold them.

mod heard;
mod writer;
mod written;

use std::sync::Arc;

use async_nats::Client;
use bytes::Bytes;
use chamberlain_core::account::AccountChange;
use chamberlain_core::id::{AccountId, KeyVersion, Revision, RoomId};
use chamberlain_core::keys::BodyKind;
use chamberlain_core::log::{Body, Record};
use chamberlain_core::room::{Event, RoomKind};
use chamberlain_core::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::answer::kind_of;
use super::figures::Kind;
use crate::metrics::Metrics;
use crate::node::{Inner, Node, Observer, Room};
use writer::Writer;
use written::Header;

/// Tasks that publish.
const SHARES: usize = 8;
/// What waits for one of them; more is dropped, and counted.
const BACKLOG: usize = 2_048;

/// Something that was shown.
enum Told {
    Room(Box<Shown>),
    Account(Box<Changed>),
    /// The effects of a room are done up to where this was asked for: who has not heard of the room here heard of it elsewhere,
    /// from another node or an earlier run.
    Settled(Box<Settled>),
    /// Nothing follows; answered when everything before it was published.
    Close(oneshot::Sender<()>),
}

struct Shown {
    room: Arc<Room>,
    kind: RoomKind,
    /// The record's first revision.
    first: Revision,
    /// Up to where members had been told of the room when this was shown, where this node knows.
    told_until: Option<Revision>,
    moments: Vec<Moment>,
}

struct Settled {
    room: Arc<Room>,
    /// A version's key that these members, who came at these revisions, were not sent.
    owed: Option<(KeyVersion, Vec<(AccountId, Revision)>)>,
    /// Whether it is so; otherwise it took too long, and what waited is dropped.
    sure: bool,
    _place: OwnedSemaphorePermit,
}

struct Changed {
    account: AccountId,
    revision: Revision,
    time: Timestamp,
    change: AccountChange,
}

/// What is published of a record.
enum Moment {
    Key(KeyVersion),
    Said(Box<Said>),
    Deleted { revision: Revision, time: Timestamp, target: Revision },
}

struct Said {
    kind: &'static str,
    revision: Revision,
    time: Timestamp,
    version: KeyVersion,
    /// The message, of an edit.
    target: Option<Revision>,
    header: Header,
    body: Bytes,
}

/// Hears what the node shows, and hands it to the tasks.
pub(super) struct Publisher {
    shares: Vec<mpsc::Sender<Told>>,
    metrics: Metrics,
    inner: std::sync::Weak<Inner>,
}

impl Publisher {
    /// Starts the tasks.
    pub(super) fn start(node: &Node, client: Client) -> Arc<Self> {
        let mut shares = Vec::new();
        for _ in 0..SHARES {
            let (share, told) = mpsc::channel(BACKLOG);
            let writer = Writer::new(node.inner().clone(), client.clone(), share.downgrade());
            tokio::spawn(writer.run(told));
            shares.push(share);
        }
        Arc::new(Self { shares, metrics: node.metrics().clone(), inner: Arc::downgrade(node.inner()) })
    }

    /// Publishes what was shown so far, and ends.
    pub(super) async fn close(&self) {
        for share in &self.shares {
            let (done, ended) = oneshot::channel();
            if share.send(Told::Close(done)).await.is_ok() {
                let _ended = ended.await;
            }
        }
    }

    fn hand_over(&self, room: RoomId, told: Told) {
        let share = room.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        if let Err(full) = self.shares[share % SHARES].try_send(told) {
            let kinds = match full.into_inner() {
                Told::Room(shown) => shown.moments.iter().map(|moment| moment.kind_in(shown.kind)).collect(),
                Told::Account(_) => vec![Kind::Subscription],
                Told::Settled(_) | Told::Close(_) => Vec::new(),
            };
            kinds.into_iter().for_each(|kind| self.metrics.subjects().dropped(kind, 1));
        }
    }
}

impl Observer for Publisher {
    fn record(&self, room: &Arc<Room>, record: &Record<Event>, here: bool) {
        if !here {
            return;
        }
        let moments = moments(record);
        let (Some(inner), false) = (self.inner.upgrade(), moments.is_empty()) else { return };
        let Some(kind) = room.hub.lock().state().kind() else { return };
        let told_until = inner.effects_done(room.id);
        let shown = Shown { room: room.clone(), kind, first: record.first, told_until, moments };
        self.hand_over(room.id, Told::Room(Box::new(shown)));
    }

    fn account(&self, account: &AccountId, revision: Revision, time: Timestamp, change: &AccountChange, here: bool) {
        if here {
            let changed = Changed { account: account.clone(), revision, time, change: change.clone() };
            self.hand_over(change.source().0, Told::Account(Box::new(changed)));
        }
    }
}

impl Moment {
    fn kind_in(&self, room: RoomKind) -> Kind {
        match (self, room) {
            (Self::Key(_), _) => Kind::Key,
            (_, RoomKind::Channel) => Kind::Channel,
            _ => Kind::Room,
        }
    }
}

fn moments(record: &Record<Event>) -> Vec<Moment> {
    let moment = |item: chamberlain_core::log::Item<'_, Event>| {
        let (version, message_id, edit, kind) = match *item.event {
            Event::KeyRotated { version, .. } => return Some(Moment::Key(version)),
            Event::Deleted { revision: target } => {
                return Some(Moment::Deleted { revision: item.revision, time: item.time, target });
            }
            Event::Message { message, kind, version, .. } => (version, Some(message), 0, kind),
            Event::Edited { edit, version, .. } => (version, None, edit, BodyKind::Message),
            _ => return None,
        };
        let Body::Present(body) = item.body else { return None };
        let header = Header { revision: item.revision, kind, sender: item.account.clone(), message_id, edit };
        let kind = kind_of(item.event);
        let (revision, time) = (item.revision, item.time);
        let target = item.event.text_of(revision).filter(|target| *target != revision);
        Some(Moment::Said(Box::new(Said { kind, revision, time, version, target, header, body: body.0.clone() })))
    };
    record.items().filter_map(moment).collect()
}
